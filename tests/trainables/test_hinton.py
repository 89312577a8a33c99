from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trainables import hinton
from trainables.core import data
from trainables.core.losses import added, cross_entropy, distillation
from trainables.hinton import Config, MissingConfig, MissingDigit, MnistDistillation, Splits, bias_errors

TRAINABLES = (MnistDistillation, MissingDigit)
PLAIN = Config(
    convention="additive", train_size="all", network="mlp_30", teacher="plain", teacher_steps=4, precision="fp32",
    optimiser="adam", steps=8, batch_size=32, lr=3e-3, temperature=4.0, kd_weight=0.5, seed=0,
)  # fmt: skip
MISSING = MissingConfig(**asdict(PLAIN), omitted="3")


@pytest.fixture(scope="module")
def datasets():
    return {"mnist": data.load("mnist", "sample")}


def test_the_additive_gradient_is_that_of_the_assignments_loss():
    """- sum t log softmax(z) - kd_weight T^2 sum p log softmax(z/T): cross-entropies, where the code takes KL. Its gradient is
    (softmax(z) - t) + kd_weight T (q - p)."""
    g = torch.Generator().manual_seed(0)
    z = (4 * torch.randn(1, 7, 10, generator=g, dtype=torch.float64)).requires_grad_()
    t, y = 4 * torch.randn(7, 10, generator=g, dtype=torch.float64), torch.arange(7)
    T, weight = torch.tensor([3.0]).double(), torch.tensor([2.5]).double()
    ours = torch.autograd.grad(added(cross_entropy(z, y), distillation(z, t, T), weight).sum(), z)[0]
    soft = -(F.softmax(t / T, -1) * F.log_softmax(z / T, -1)).sum(-1).mean()
    written = F.cross_entropy(z[0], y) + weight * T**2 * soft
    assert torch.allclose(ours, torch.autograd.grad(written.sum(), z)[0])
    q, p, label = F.softmax(z / T, -1), F.softmax(t / T, -1), F.one_hot(y, 10)
    assert torch.allclose(ours, (F.softmax(z, -1) - label + weight * T * (q - p)) / 7)


def test_kd_weight_zero_is_plain_cross_entropy_in_both_conventions(rig):
    answers = rig.answers(PLAIN)
    other = {"logits": -answers["logits"]}
    pairs = [
        (replace(PLAIN, kd_weight=0.0), answers),
        (replace(PLAIN, kd_weight=0.0, convention="convex", temperature=9.0), other),
    ]
    a, b = (rig.train(config, answers=heard)[1] for config, heard in pairs)
    assert a == b
    heard = [rig.train(PLAIN, answers=each)[1] for each in (answers, other)]
    assert heard[0] != heard[1]


def test_convex_weights_end_at_one():
    with pytest.raises(ValueError, match="kd_weight"):
        replace(PLAIN, convention="convex", kd_weight=1.5)


def test_a_resumed_trial_is_the_same_trial_with_its_tables(rig):
    pack = [MISSING, replace(MISSING, temperature=1.0)]
    _, whole = rig.train(*pack)
    assert rig.resumed(*pack, until=1)[1] == whole and {"digits", "biases", "confusions"} == set(whole[-1]["tables"])


def test_the_bias_curve_is_what_a_shifted_bias_would_score(rig):
    """The curve, without a forward pass for each shift, against students whose last bias is really moved."""
    students, rows = rig.train(replace(MISSING, steps=30))
    curve = {r["bias"]: r for r in rows[-1]["tables"]["biases"] if r["split"] == "test"}
    sets, bias = students.sets, students.students.parameters[-1]
    missing = sets.test_labels == 3
    for shift in (-4.0, 0.0, 1.5, 6.0):
        with torch.no_grad():
            bias[0, 0, 3] += shift
        wrong = students.students.answers(sets.test_images, hinton.to_float)[0].argmax(-1) != sets.test_labels
        with torch.no_grad():
            bias[0, 0, 3] -= shift
        found = (curve[shift]["omitted_errors"], curve[shift]["other_errors"])
        # an image whose margin is the shift itself, to rounding, may fall to either side
        assert np.allclose(found, (wrong[missing].sum(), wrong[~missing].sum()), atol=1)


def test_raising_the_omitted_biases_is_lowering_the_others():
    g = torch.Generator().manual_seed(0)
    z, y = torch.randn(2, 50, 10, generator=g), torch.randint(10, (50,), generator=g)
    omitted = torch.tensor([k not in (7, 8) for k in range(10)])
    lowered = z.masked_fill(~omitted, 0) + (z - 1.3).masked_fill(omitted, 0)
    wrong = lowered.argmax(-1) != y
    found = bias_errors(z, y, omitted, torch.tensor([1.3]))[..., 0]
    assert torch.equal(found, torch.stack([wrong[:, omitted[y]].sum(1), wrong[:, ~omitted[y]].sum(1)], 1))


def test_an_omitted_digit_is_in_validation_and_test_and_never_in_the_transfer_set(rig):
    for omitted, seen in (("3", set(range(10)) - {3}), ("01234569", {7, 8}), ("none", set(range(10)))):
        pack = rig.build(replace(MISSING, omitted=omitted))
        sets = pack.sets
        assert set(sets.labels[pack.transfer].tolist()) == seen
        assert not set(pack.transfer.tolist()) & set(sets.val.tolist())
        assert len(sets.labels[sets.val].unique()) == len(sets.test_labels.unique()) == 10


def test_a_regularised_teacher_keeps_its_weights_short(datasets, monkeypatch):
    monkeypatch.setitem(hinton.TEACHERS, "regularised", replace(hinton.TEACHERS["regularised"], max_norm=0.5))
    sets = Splits(datasets["mnist"], torch.device("cpu"))
    first, second, last = hinton.train_teacher(hinton.Teacher("regularised", 3, 0), sets).parameters[::2]
    for w in (first, second):
        assert w.norm(dim=1).max() < 0.5 + 1e-5
    assert w.norm(dim=1).max() > 0.49, "the bound must have been reached for this to say something"
    assert last.shape == (1, 1200, 10)


def test_jitter_moves_every_image_by_itself_and_loses_nothing_but_the_border():
    x = torch.zeros(200, 28, 28, dtype=torch.uint8)
    x[:, 14, 14] = 255
    moved = hinton.jittered(x, 2, torch.Generator().manual_seed(0))
    where = (moved == 255).nonzero()[:, 1:] - 14
    assert moved.shape == x.shape and len(where) == 200 and where.abs().max() == 2
    assert len(where.unique(dim=0)) == 25


def test_dropout_keeps_the_mean():
    h = torch.ones(1, 100, 1000)
    left = hinton.dropped(h, 0.4, torch.Generator().manual_seed(0))
    assert abs(left.mean() - 1) < 0.01 and abs((left == 0).float().mean() - 0.4) < 0.01


@pytest.mark.parametrize(
    ("base", "change", "word"),
    [(PLAIN, {"convention": "both"}, "convention"), (PLAIN, {"kd_weight": -1.0}, "kd_weight"), (PLAIN, {"teacher": "x"}, "teacher"),
     (PLAIN, {"train_size": "9"}, "train_size"), (MISSING, {"omitted": "33"}, "omitted"), (MISSING, {"omitted": "0123456789"}, "omitted")],
)  # fmt: skip
def test_a_config_that_makes_no_sense_names_its_field(base, change, word):
    with pytest.raises(ValueError, match=word):
        replace(base, **change)
