from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trainables import two_teachers as module
from trainables.core import data
from trainables.two_teachers import (
    HALF,
    JOINED,
    LIFTINGS,
    Artifact,
    Config,
    Teachers,
    TwoTeachers,
    even,
    joined,
    share,
    to_float,
    two_teachers,
)  # fmt: skip

TRAINABLES = (TwoTeachers,)
PLAIN = Config(
    inputs="strokes", lifting="zeros", pool=300, network="cnn_small", teacher="cnn_norm", teacher_steps=40,
    generator_steps=5, precision="fp32", steps=6, batch_size=32, lr=3e-3, temperature=4.0, kd_weight=0.5, seed=0,
)  # fmt: skip
T, W = torch.tensor([1.0, 4.0, 16.0]), torch.tensor([0.2, 0.5, 0.9])


@pytest.fixture(scope="module")
def answers():
    """Student logits (3, 7, 10) and both teachers' (7, 5)."""
    g = torch.Generator().manual_seed(0)
    return tuple(torch.randn(*shape, generator=g) * 4 for shape in ((3, 7, 10), (7, 5), (7, 5)))


@pytest.fixture(scope="module")
def datasets():
    return {name: data.load(name, "sample") for name in ("mnist", "fashion_mnist")}


def test_the_plain_loss_is_the_assignments(answers):
    """lambda T^2 KL(p1 + zeros || q) + (1 - lambda) T^2 KL(zeros + p2 || q), as torch writes KL."""
    z, first, second = answers
    for s in range(3):
        parts = []
        for k, t in enumerate((first, second)):
            p = F.pad(F.softmax(t / T[s], -1), (HALF, 0) if k else (0, HALF))
            parts.append(T[s] ** 2 * F.kl_div(F.log_softmax(z[s] / T[s], -1), p, reduction="batchmean"))
        expected = W[s] * parts[0] + (1 - W[s]) * parts[1]
        assert torch.isclose(two_teachers(z, first, second, T, W, "zeros")[s], expected, rtol=1e-5)


def test_the_mask_says_nothing_about_the_others_classes(answers):
    """Neither the student's other logits nor a common shift of its own move a masked teacher's divergence."""
    z, first, second = answers
    one = torch.ones(3)
    loss = two_teachers(z, first, second, T, one, "mask")
    moved = z.clone()
    moved[..., HALF:] += torch.randn(3, 7, 5)
    moved[..., :HALF] += 3.0
    assert torch.allclose(two_teachers(moved, first, second, T, one, "mask"), loss, rtol=1e-4)
    assert not torch.allclose(
        two_teachers(moved, first, second, T, one, "zeros"), two_teachers(z, first, second, T, one, "zeros"), rtol=1e-2
    )


@pytest.mark.parametrize("lifting", LIFTINGS)
def test_at_the_ends_of_lambda_one_teacher_is_not_heard(answers, lifting):
    z, first, second = answers
    for weight, unheard in ((1.0, 1), (0.0, 0)):
        said = [first, second]
        loss = two_teachers(z, *said, T, torch.full((3,), weight), lifting)
        said[unheard] = torch.randn(7, 5) * 9
        assert torch.isfinite(loss).all()
        assert torch.allclose(two_teachers(z, *said, T, torch.full((3,), weight), lifting), loss)


@pytest.mark.parametrize("lifting", LIFTINGS)
def test_the_teachers_parts_sum_to_one_and_follow_lambda(answers, lifting):
    _, first, second = answers
    v = share(first, second, T, W, lifting)
    swapped = share(second, first, T, 1 - W, lifting)
    assert v.shape == (3, 7) and (v >= 0).all() and torch.allclose(v + swapped, torch.ones(3, 7), atol=1e-6)
    assert (share(first, second, T, W + 0.05, lifting) >= v).all()


def test_energy_at_one_half_teaches_the_softmax_over_both_teachers(answers):
    z, first, second = answers
    z = z.requires_grad_()
    loss = two_teachers(z, first, second, T, torch.full((3,), 0.5), "energy")
    both = torch.cat([first, second], -1)
    t = T[:, None, None]
    expected = T**2 * F.kl_div(F.log_softmax(z / t, -1), F.softmax(both / t, -1), reduction="none").sum(-1).mean(-1)
    (a,), (b,) = (torch.autograd.grad(x.sum(), z, retain_graph=True) for x in (loss, expected))
    assert torch.allclose(a, b, atol=1e-5)  # the losses differ by the entropy of the parts, which no student moves


def test_joined_teachers_say_what_the_surer_one_says():
    sure, unsure = torch.tensor([[9.0, 0, 0, 0, 0]]), torch.tensor([[0.0, 1, 0, 0, 0]])
    for how in JOINED:
        assert joined(sure, unsure, how).item() == 0 and joined(unsure, sure, how).item() == HALF


def test_a_teacher_learns_from_its_own_digits_alone(datasets):
    """Other images under the other half's labels change nothing; under its own they do."""
    mnist = datasets["mnist"]
    plan = Artifact("noise", 10, "cnn_small", 3, 0, seed=0)

    def weights(of):
        images = mnist["train_images"].copy()
        images[mnist["train_labels"] // HALF == of] = 0
        teachers = Teachers(plan, {**mnist, "train_images": images}, "cpu")
        return [teacher.parameters[0].detach() for teacher in teachers.both]

    whole = [t.parameters[0].detach() for t in Teachers(plan, mnist, "cpu").both]
    assert torch.equal(weights(of=1)[0], whole[0]) and not torch.equal(weights(of=1)[1], whole[1])
    assert torch.equal(weights(of=0)[1], whole[1])


@pytest.mark.parametrize("inputs", module.INPUTS)
def test_only_real_inputs_hold_images_of_mnist(datasets, inputs):
    made, row = TwoTeachers.prepare(TwoTeachers.artifact(replace(PLAIN, inputs=inputs)), datasets, "cpu")
    known = {image.tobytes() for image in datasets["mnist"]["train_images"]}
    held_out = {image.tobytes() for image in datasets["mnist"]["test_images"]}
    ours = [image.tobytes() for image in made["images"]]
    assert (
        len(ours) == PLAIN.pool and made["images"].dtype == np.uint8 and made["answers"].shape == (2, PLAIN.pool, HALF)
    )
    assert sum(image in known for image in ours) == (PLAIN.pool if inputs == "real" else 0)
    assert not any(image in held_out for image in ours)
    assert row["inputs"] == inputs and len(row["tables"]["images"][0]["image"]) == 784


@pytest.mark.parametrize("inputs", module.INPUTS)
def test_only_real_inputs_need_images_of_mnist(datasets, inputs):
    artifact = TwoTeachers.artifact(replace(PLAIN, inputs=inputs))
    teachers = Teachers(artifact, datasets["mnist"], "cpu")
    del teachers.digits
    others = {name: arrays for name, arrays in datasets.items() if name != "mnist"}
    if inputs == "real":
        with pytest.raises(AttributeError):
            module._found(artifact, others, teachers, 0)
    else:
        assert module._found(artifact, others, teachers, 0).shape[1:] == (28, 28)


def test_pools_and_teachers_are_made_once(rig, datasets, monkeypatch):
    made = rig.answers(PLAIN)
    monkeypatch.setattr(Teachers, "_train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(module.pools, "strokes", lambda *_: pytest.fail("drawn again"))
    again, _ = TwoTeachers.prepare(TwoTeachers.artifact(PLAIN), datasets, "cpu")
    assert all(np.array_equal(again[name], made[name]) for name in again)


def test_every_class_that_is_seen_is_as_frequent_as_any_other():
    said = np.array([3] * 500 + [7] * 20 + [1])
    chosen = even(said, 90, np.random.default_rng(0))
    assert np.bincount(said[chosen])[[1, 3, 7]].tolist() == [30, 30, 30]
    assert len(np.unique(chosen[said[chosen] == 3])) == 30 and len(np.unique(chosen[said[chosen] == 7])) == 20


def test_a_resumed_trial_is_the_same_trial(rig):
    pack = [PLAIN, replace(PLAIN, temperature=1.0), replace(PLAIN, kd_weight=0.0)]
    assert rig.resumed(*pack, until=1)[1] == rig.train(*pack)[1]


def test_what_the_study_calls_the_same_student_is_the_same_student(rig):
    """Where one teacher is not heard, nothing is left to weigh."""
    for weight in (0.0, 1.0):
        a, b = (rig.train(replace(PLAIN, kd_weight=weight, lifting=x))[1][-1] for x in ("zeros", "energy"))
        assert a["test_accuracy"] == b["test_accuracy"] and a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"temperature": 0.0}, "temperature"), ({"kd_weight": -0.1}, "kd_weight"), ({"inputs": "photos"}, "inputs"),
     ({"lifting": "none"}, "lifting"), ({"teacher": "resnet"}, "teacher"), ({"generator_steps": 0}, "generator_steps")],
)  # fmt: skip
def test_a_config_that_makes_no_sense_names_its_field(change, word):
    with pytest.raises(ValueError, match=word):
        replace(PLAIN, **change)


def test_images_look_at_floats_between_minus_one_and_one():
    x = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1).expand(2, 28, 28)
    assert to_float(x).shape == (2, 1, 28, 28) and to_float(x).flatten(1).unique().tolist() == [-1.0, 1.0]
