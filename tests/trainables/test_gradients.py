"""The theory of softened gradients, and that the measurement is of one student at a time."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trainables import gradients as module
from trainables.core import data
from trainables.core.losses import cross_entropy, distillation
from trainables.gradients import Config, Gradients, centred, gradients

TRAINABLES = (Gradients,)
PLAIN = Config(
    dataset="mnist", network="cnn_small", teacher="cnn_small", teacher_steps=20, steps=8, batch_size=32, doublings=4,
    lr=3e-3, temperature=4.0, kd_weight=0.5, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def datasets():
    kept = {"train": 480, "test": 40}
    sets = {name: data.load(name, "sample") for name in ("mnist", "cifar10")}
    order = {split: np.random.default_rng(0).permutation(500)[:count] for split, count in kept.items()}
    return {name: {k: v[order[k.split("_")[0]]] for k, v in arrays.items()} for name, arrays in sets.items()}


def logits(seed=0, scale=3.0):
    g = torch.Generator().manual_seed(seed)
    z, v = (scale * torch.randn(s, generator=g, dtype=torch.float64) for s in ((3, 7, 10), (7, 10)))
    return z.requires_grad_(), v


def soft_gradient(z, v, T):
    """dC/dz of each image, (S, B, N), by autograd."""
    return gradients(distillation(z, v, torch.full((len(z),), T, dtype=z.dtype)) / T**2, z, [z])[0]


@pytest.mark.parametrize("T", [0.5, 1.0, 3.0, 20.0, 1000.0])
def test_the_soft_gradient_is_q_minus_p_over_T(T):
    z, v = logits()
    theory = (F.softmax(z.detach() / T, -1) - F.softmax(v / T, -1)) / T
    # KL's own sum of log-ratios cancels to rounding at high T, so the error is set against T
    assert torch.allclose(soft_gradient(z, v, T), theory, rtol=1e-9, atol=1e-15)


def test_the_hard_gradient_is_q_minus_the_label():
    z, _ = logits()
    y = torch.arange(7) % 10
    found = gradients(cross_entropy(z, y), z, [z])[0]
    assert torch.allclose(found, F.softmax(z.detach(), -1) - F.one_hot(y, 10), atol=1e-12)


def test_the_hot_limit_is_the_logits_difference_and_its_relative_error_falls_like_one_over_T():
    z, v = logits()
    u = centred(z.detach()) - centred(v)
    errors = []
    for T in (32.0, 64.0, 128.0, 256.0):
        limit = u / (10 * T**2)
        errors.append(float((soft_gradient(z, v, T) - limit).norm() / limit.norm()))
    assert errors[0] < 0.5
    for hot, hotter in itertools.pairwise(errors):
        assert hotter == pytest.approx(hot / 2, rel=0.1)


def test_T_squared_keeps_the_hot_gradient_level_and_nothing_else_does():
    z, v = logits()
    norms = {T: float(soft_gradient(z, v, T).norm()) for T in (128.0, 256.0, 0.25, 0.5)}
    assert 256**2 * norms[256.0] == pytest.approx(128**2 * norms[128.0], rel=0.03)
    assert norms[0.5] == pytest.approx(norms[0.25] / 2, rel=0.1), "cold softmaxes are labels: only the 1/T is left"


def test_uncentred_logits_change_nothing():
    z, v = logits()
    shifted = (z.detach() + 5).requires_grad_()
    assert torch.allclose(soft_gradient(z, v, 2.0), soft_gradient(shifted, v - 3, 2.0), atol=1e-12)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_gradients_of_a_student_in_a_pack_are_those_of_the_student_alone(rig, name):
    pack = [replace(PLAIN, dataset=name, temperature=T, kd_weight=w) for T, w in ((1.0, 0.9), (16.0, 0.1))]
    together, _ = rig.train(*pack, until=2)
    for s, config in enumerate(pack):
        alone = rig.build(config)
        for p, q in zip(alone.students.parameters, together.students.parameters, strict=True):
            p.data.copy_(q.data[s : s + 1])
        mine, theirs = alone.tables()[0]["gradients"], together.tables()[s]["gradients"]
        for a, b in zip(mine, theirs, strict=True):
            assert a == {k: v if isinstance(v, str) else pytest.approx(v, rel=1e-3, abs=1e-5) for k, v in b.items()}


def test_the_measured_norms_are_those_of_the_formula_and_of_the_plain_backward(rig):
    students, _ = rig.train(PLAIN, replace(PLAIN, temperature=1.0), until=2)
    lines = students.tables()[0]["gradients"]
    seen = {(line["layer"], line["probe_temperature"]): line for line in lines}
    assert len(seen) == len(lines) == 5 * 6  # probe temperatures; logits, all weights, four layers
    for T in (0.5, 1.0, 2.0, 4.0, 8.0):
        line = seen["logits", T]
        assert line["soft_norm"] == pytest.approx(line["exact_norm"], rel=1e-6)
        of_layers = [seen[name, T]["soft_norm"] for name in students.names]
        assert seen["weights", T]["soft_norm"] == pytest.approx(math.hypot(*of_layers), rel=1e-6)
    x, t = module.to_float(students.sets.images[students.probe]), students.answers[students.probe]
    z = students.students.logits(x)[0]
    loss = F.kl_div(F.log_softmax(z / 4, 1), F.softmax(t / 4, 1), reduction="batchmean")
    weight = students.students.parameters[0]
    norm = float(torch.autograd.grad(loss, weight)[0][0].norm())
    assert seen[students.names[0], 4.0]["soft_norm"] == pytest.approx(norm, rel=1e-4)


def test_the_first_evaluation_is_before_the_first_step(rig):
    students = rig.build(PLAIN)
    before = [p.detach().clone() for p in students.students.parameters]
    (row,) = students.step()
    assert row["step"] == 0 and row["status"] == "running" and row["train_loss"] > 0
    assert all(torch.equal(p, q) for p, q in zip(before, students.students.parameters, strict=True))
    assert students.evaluations() == [0, 2, 4, 8] and students.step()[0]["step"] == 2


@pytest.mark.parametrize("cut", [1, 2])
def test_a_resumed_trial_is_the_same_trial_and_repeats_no_line(rig, cut):
    pack = [PLAIN, replace(PLAIN, temperature=64.0)]
    whole = rig.train(*pack)[1]
    assert rig.resumed(*pack, until=cut)[1] == whole
    keys = [
        (i % 2, row["step"], line["probe_temperature"], line["layer"])
        for i, row in enumerate(whole)
        for line in row["tables"]["gradients"]
    ]
    assert len(set(keys)) == len(keys)


def test_probe_images_are_held_out_and_alike_for_every_seed(rig):
    students, other = (rig.build(replace(PLAIN, seed=seed)) for seed in (0, 1))
    assert torch.equal(students.probe, other.probe)
    assert not set(students.probe.tolist()) & set(students.sets.train.tolist())


@pytest.mark.parametrize("change", [{"dataset": "mnistm"}, {"temperature": 0.0}, {"kd_weight": 2.0}, {"doublings": 0}])
def test_a_config_that_makes_no_sense_names_its_field(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(PLAIN, **change)
