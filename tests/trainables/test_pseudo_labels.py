import io
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from studies.harness.command import run
from studies.pseudo_labels import STUDY
from trainables import finetuning, pseudo_labels
from trainables.core import data
from trainables.core.pretrained import build
from trainables.pseudo_labels import (
    METHODS,
    Config,
    Method,
    PseudoLabels,
    Stacked,
    calibration_error,
    pseudo_cross_entropy,
    reliability,
)

TRAINABLES = (Stacked,)
PLAIN = Config(
    dataset="mnist", network="cnn_small_norm", method="pseudo_label", labels=40, rounds=2, precision="fp32", steps=9,
    batch_size=20, ratio=2, threshold=0.0, target_temperature=0.0, weight=1.0, ramp=0.0, lr=3e-3, seed=0,
)  # fmt: skip
TAUGHT = [name for name, method in METHODS.items() if method.learnt]


@pytest.fixture(scope="module")
def datasets():
    """The first digits of the sample: enough to learn from, and quick to judge."""
    mnist = data.load("mnist", "sample")
    return {"mnist": {name: array[:600] for name, array in mnist.items()}}


def weights(students, s=slice(None)):
    return [p.detach()[s] for p in (*students.students.parameters, *students.students.statistics)]


def equal(a, b):
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def near(a, b):
    return all(torch.allclose(p, q, rtol=0, atol=1e-7) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("method", TAUGHT)
def test_without_weight_or_above_every_confidence_it_is_the_supervised_student(rig, method):
    """To the rounding of a place in a pack, batch normalisation included; and the study trains these as the one student
    that they are."""
    lonely = replace(PLAIN, method=method, weight=0.0)
    none, unsure, taught = (
        weights(
            rig.train(replace(PLAIN, method=method), lonely, replace(PLAIN, method=method, threshold=0.999999))[0], s
        )
        for s in (1, 2, 0)
    )
    same = STUDY.canonical(asdict(lonely))
    assert same["method"].startswith("supervised")
    supervised = weights(rig.train(Config(**same))[0], 0)
    assert near(none, supervised) and near(unsure, supervised)
    assert not near(taught, supervised)


@pytest.mark.parametrize("method", TAUGHT)
def test_hidden_labels_change_no_weight(method, datasets):
    answers = Stacked.prepare(Stacked.artifact(PLAIN), datasets, "cpu")[0]
    hidden = np.setdiff1d(np.arange(600), answers["labelled"])
    labels = datasets["mnist"]["train_labels"].copy()
    labels[hidden] = np.random.default_rng(0).permutation(9 - labels[hidden])
    trained = []
    for given in (datasets, {"mnist": {**datasets["mnist"], "train_labels": labels}}):
        students = Stacked([replace(PLAIN, method=method)], given, answers, "cpu")
        while not students.finished:
            students.step()
        trained.append(students)
    assert equal(*map(weights, trained))
    assert not torch.equal(trained[0].measure()["pseudo_accuracy"], trained[1].measure()["pseudo_accuracy"])


def test_soft_labels_of_the_very_pass_that_learns_teach_nothing(rig):
    """dH(q, softmax z)/dz = softmax z - q, which is 0 where q = softmax z: soft labels at T = 1 and threshold 0 equal none."""
    soft, none = rig.train(replace(PLAIN, target_temperature=1.0, threshold=0.0), replace(PLAIN, weight=0.0))[
        0
    ].students.parameters[0]
    assert torch.allclose(soft, none, atol=1e-4) and not torch.equal(
        soft, rig.train(replace(PLAIN, threshold=0.0))[0].students.parameters[0][0]
    )
    z = torch.randn(1, 6, 10, dtype=torch.float64, requires_grad=True)
    loss = pseudo_cross_entropy(z, z.detach(), torch.zeros(1), torch.ones(1))
    assert torch.autograd.grad(loss.sum(), z)[0].abs().max() < 1e-15


def test_the_colder_the_softer_targets_the_harder():
    z, answers = torch.randn(2, 1, 50, 10, generator=torch.Generator().manual_seed(0)).double()
    hard, cold, warm = (pseudo_cross_entropy(z, answers, torch.zeros(1), torch.tensor([T])) for T in (0.0, 1e-4, 1.0))
    assert torch.allclose(hard, cold) and not torch.allclose(hard, warm)


def test_the_loss_is_the_papers_written_out():
    g = torch.Generator().manual_seed(0)
    z, answers = 2 * torch.randn(2, 3, 20, 10, generator=g)
    threshold, T = torch.tensor([0.0, 0.4, 0.6]), torch.tensor([0.0, 0.5, 0.0])
    ours = pseudo_cross_entropy(z, answers, threshold, T)
    for s in range(3):
        total = 0.0
        for learnt, answer in zip(z[s], answers[s], strict=True):
            q = F.softmax(answer, 0)
            if q.max() >= threshold[s]:
                target = F.softmax(answer / T[s], 0) if T[s] else F.one_hot(q.argmax(), 10).float()
                total -= float(target @ F.log_softmax(learnt, 0))
        assert math.isclose(ours[s], total / 20, rel_tol=1e-5)


def test_fixmatch_without_augmentation_is_lees_pseudo_label_without_a_ramp(rig, monkeypatch):
    monkeypatch.setitem(METHODS, "fixmatch", Method("none", learnt="none", asked="none"))
    a, b = (rig.train(replace(PLAIN, method=method))[0] for method in ("fixmatch", "pseudo_label"))
    assert equal(weights(a), weights(b))


def test_the_weight_rises_from_a_sixth_of_the_ramp_to_its_end(rig):
    students = rig.build(*[replace(PLAIN, steps=120, ramp=ramp, weight=3.0) for ramp in (0.6, 0.0)])
    risen = torch.stack([students.weights(step) for step in range(120)])
    assert (risen[:12, 0] == 0).all() and risen[13, 0] > 0 and (risen[72:, 0] == 3).all() and (risen[71, 0] < 3)
    assert torch.allclose(risen[13:72, 0].diff(), risen[13:72, 0].diff()[0], atol=1e-5)
    assert (risen[:, 1] == 3).all()


@pytest.mark.parametrize(("method", "network"), [("self_training", "cnn_small_norm"), ("fixmatch", "mlp_300")])
def test_a_resumed_pack_is_the_same_pack_with_its_tables(rig, method, network):
    pack = [replace(PLAIN, method=method, network=network, threshold=t) for t in (0.0, 0.15)]
    whole, rows = rig.train(*pack)
    for stop in (2, 5):
        again, same = rig.resumed(*pack, until=stop)
        assert equal(weights(whole), weights(again))
        assert repr(same) == repr(rows)  # where NaN equals itself
    assert {row["split"] for row in whole.tables()[0]["calibration"]} == {"unlabelled", "test"}


def test_a_round_is_labelled_by_the_network_that_began_it(rig):
    students = rig.build(replace(PLAIN, method="self_training", steps=12))
    starts = {}
    for step in range(12):
        now = students.round(step)
        if now not in starts:
            starts[now] = [p.detach().clone() for p in students.students.parameters]
        students.update(students.loss(step), 1.0)
        if now:
            assert equal([p.detach() for p in students.before.parameters], starts[now])
    assert [*starts] == [0, 1, 2] and {4, 8} <= set(students.evaluations())


def test_images_with_labels_without_and_held_out_are_apart(rig):
    students = rig.build(replace(PLAIN, labels=50))
    parts = [set(p.tolist()) for p in (students.labelled, students.unlabelled, students.sets.val)]
    assert [len(p) for p in parts] == [50, 500, 50] and len(set.union(*parts)) == 600
    assert torch.bincount(students.sets.labels[students.labelled]).tolist() == [5] * 10
    assert set(students.watched.tolist()) <= parts[1] and len(students.own_val) == 10
    with pytest.raises(ValueError, match="unlabelled"):
        rig.build(replace(PLAIN, labels=550))


def test_methods_share_what_they_have_in_common(rig):
    """Initial weights, the labelled images of every step and how they are shown."""
    lee, fixmatch, weak = (rig.build(replace(PLAIN, method=m)) for m in ("pseudo_label", "fixmatch", "supervised_weak"))
    assert equal(weights(lee), weights(fixmatch))
    views = [students.shown(students.labelled, "weak", pseudo_labels.LABELLED, 3) for students in (fixmatch, weak)]
    assert torch.equal(*views) and not torch.equal(views[0], lee.shown(lee.labelled, "none", pseudo_labels.LABELLED, 3))


def test_calibration_is_counted_bin_by_bin():
    g = torch.Generator().manual_seed(0)
    confidence = torch.rand(2, 500, generator=g)
    right = torch.rand(2, 500, generator=g) < confidence
    ece = calibration_error(reliability(confidence, right))
    for s in range(2):
        bins = (confidence[s] * 10).long()
        gaps = [
            (bins == b).float().mean() * abs(right[s][bins == b].float().mean() - confidence[s][bins == b].mean())
            for b in range(10)
        ]
        assert math.isclose(ece[s], sum(gaps), rel_tol=1e-4)
    sure = torch.ones(1, 8)
    assert calibration_error(reliability(sure, torch.arange(8)[None] < 6)).item() == 0.25


def test_views_show_the_same_thing_otherwise():
    x = torch.full((300, 1, 28, 28), -1.0)
    x[:, :, 10:18, 10:18] = 1.0
    g = torch.Generator().manual_seed(0)
    shown = pseudo_labels.weak(x, g)
    where = [(image[0] > 0).nonzero().min(0).values - 10 for image in shown]
    assert torch.stack(where).abs().max() == 2 and len({tuple(w.tolist()) for w in where}) == 25
    assert torch.equal(shown.sum((1, 2, 3)), x.sum((1, 2, 3)))
    photos = torch.rand(300, 3, 32, 32, generator=g) * 2 - 1
    for view in (pseudo_labels.weak, pseudo_labels.strong):
        a, b, c = (view(photos, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
        assert torch.equal(a, b) and not torch.equal(a, c) and a.shape == photos.shape and a.abs().max() <= 1


@pytest.mark.parametrize(
    ("change", "word"),
    [({"method": "guess"}, "method"), ({"labels": 9}, "labels"), ({"threshold": -0.1}, "threshold"), ({"threshold": 1.0}, "threshold"), ({"ramp": 1.5}, "ramp"),
     ({"target_temperature": -1.0}, "target_temperature"), ({"dataset": "photos"}, "dataset"), ({"rounds": 0}, "rounds")],
)  # fmt: skip
def test_a_config_that_makes_no_sense_names_its_field(change, word):
    with pytest.raises(ValueError, match=word):
        replace(PLAIN, **change)


# A network with pretrained weights, fine-tuned by a recipe; what real weights add is a matter of these

PHOTOS = {
    f"{part}_{what}": np.random.default_rng(0).integers(
        256 if what == "images" else 10, size=(n, *size), dtype=np.uint8
    )
    for part, n in (("train", 240), ("test", 40))
    for what, size in (("images", (3, 32, 32)), ("labels", ()))
}
WHOLE = replace(
    PLAIN, dataset="cifar10", network="airbench_small", labels=60, rounds=1, steps=8, batch_size=10, ratio=1, lr=1e-3,
    threshold=0.1, recipe="all", weights="random", resolution=32, val_size=20, test_size=20,
)  # fmt: skip


def whole(config, until=None, state=None):
    """A student after `until` evaluations, or all, and its rows without the clock."""
    student = PseudoLabels([config], {"cifar10": PHOTOS}, prepared(config), "cpu")
    if state:
        student.load_state_dict(state)
    rows = []
    while not student.finished and until != len(rows):
        rows += [{k: v for k, v in row.items() if k != "seconds"} for row in student.step()]
    return student, rows


def prepared(config):
    return PseudoLabels.prepare(PseudoLabels.artifact(config), {"cifar10": PHOTOS}, "cpu")[0]


@pytest.mark.parametrize("recipe", ["plain", "augmentation", "unfreezing_rate", "all"])
@pytest.mark.parametrize("method", TAUGHT)
def test_without_weight_a_recipe_is_the_student_of_finetuning_to_the_bit(method, recipe):
    c = replace(WHOLE, method=method, recipe=recipe, weight=0.0)
    names = ("network", "weights", "resolution", "train_size", "val_size", "test_size", "augmentation", "unfreezing", "rate", "discrimination", "statistics", "precision", "steps", "batch_size", "lr", "seed")  # fmt: skip
    tuned = finetuning.Config(**{name: getattr(c, name) for name in names})
    answers, _ = finetuning.FineTuning.prepare(finetuning.FineTuning.artifact(tuned), {"cifar10": PHOTOS}, "cpu")
    reference = finetuning.FineTuning([tuned], {"cifar10": PHOTOS}, answers, "cpu")
    while not reference.finished:
        last = reference.step()[0]
    student, rows = whole(c)
    ours, theirs = student.networks()[0], reference.networks()[0]
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert all(rows[-1][name] == last[name] for name in ("val_accuracy", "test_accuracy"))
    assert STUDY.canonical(asdict(c))["method"] == "supervised"
    taught = whole(replace(c, weight=1.0))[0].networks()[0]
    assert not all(torch.equal(taught[k], theirs[k]) for k in theirs)


@pytest.mark.parametrize("method", TAUGHT)
def test_a_whole_network_learns_from_unlabelled_images_alone_beside_its_labels(method):
    """Neither from validation nor from test images, nor by a hidden label."""
    c = replace(WHOLE, method=method)
    pack = PseudoLabels([c], {"cifar10": PHOTOS}, prepared(c), "cpu").pack
    parts = [set(p.tolist()) for p in (pack.labelled, pack.unlabelled, pack.sets.val)]
    assert [len(p) for p in parts] == [60, 160, 20] and len(set.union(*parts)) == 240
    assert set(pack.val.tolist()) <= parts[2] and set(pack.watched.tolist()) <= parts[1]
    begun, seen = pack.state_dict(), []
    term = pack.pseudo
    pack.pseudo = lambda index, step: (seen.extend(index.tolist()), term(index, step))[1]
    while not pack.finished:
        pack.step()
    assert set(seen) <= parts[1] and len(set(seen)) > 20
    labels = PHOTOS["train_labels"].copy()
    hidden = sorted(parts[1])
    labels[hidden] = np.random.default_rng(1).permutation(labels[hidden])
    other = PseudoLabels([c], {"cifar10": {**PHOTOS, "train_labels": labels}}, prepared(c), "cpu").pack
    other.load_state_dict(begun)
    other.labelled, other.unlabelled, other.val = pack.labelled, pack.unlabelled, pack.val  # balanced by all labels
    while not other.finished:
        other.step()
    a, b = (p.networks()[0] for p in (pack, other))
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("method", TAUGHT)
@pytest.mark.parametrize("threshold", [0.0, 0.1118, 0.999])
def test_images_that_do_not_pass_need_no_backward_pass(method, threshold):
    """Loss and gradients are those of the formula over all images of the batch."""
    c = replace(WHOLE, method=method, threshold=threshold, recipe="augmentation", steps=1, rounds=1, ratio=3)
    pack = PseudoLabels([c], {"cifar10": PHOTOS}, prepared(c), "cpu").pack
    pack.thaw(0)
    pack.students.model.eval()
    index, weights = pack.unlabelled[:30], [p for p in pack.students.model.parameters() if p.requires_grad]
    asked = pack.viewed(index, pack.way.asked, pseudo_labels.ASKED, 0) if pack.way.asked else pack.learnt(index, 0)
    answers = pack.students.logits(asked, pack.before).detach()
    assert (answers.softmax(-1).max(-1).values >= threshold).any() == (threshold < 0.9)
    whole_batch = pseudo_cross_entropy(pack.students.logits(pack.learnt(index, 0)), answers, pack.threshold, pack.target_temperature)  # fmt: skip
    ours = pack.pseudo(index, 0)
    torch.testing.assert_close(ours, whole_batch, rtol=1e-5, atol=1e-6)
    if ours.requires_grad:
        for a, b in zip(*(torch.autograd.grad(loss.sum(), weights) for loss in (ours, whole_batch)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_round_of_a_whole_network_is_labelled_by_the_network_that_began_it():
    c = replace(WHOLE, method="self_training", recipe="plain")
    pack = PseudoLabels([c], {"cifar10": PHOTOS}, prepared(c), "cpu").pack
    start = None
    for step in range(c.steps):
        if pack.round(step) and start is None:
            start = {k: v.clone() for k, v in pack.networks()[0].items()}
        pack.update(pack.loss(step), 1.0)
        pack.done_steps += 1
    assert all(torch.equal(v, start[k]) for k, v in pack.before.state_dict().items())
    assert not torch.equal(pack.networks()[0]["head.weight"], start["head.weight"])


@pytest.mark.parametrize("method", TAUGHT)
def test_a_resumed_whole_network_is_the_same_student(method):
    c = replace(WHOLE, method=method)
    rows = whole(c)[1]
    for until in (1, 2, 3):
        first, before = whole(c, until)
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        assert repr(before + whole(c, state=torch.load(file, weights_only=True))[1]) == repr(rows)


def test_kept_weights_are_those_that_another_study_starts_from(tmp_path, monkeypatch):
    words = ["--preset", "transfer", "--network", "airbench_small", "--weights", "random", "--resolution", "32", "--labels", "20", "--steps", "2", "--batch-size", "10", "--val-size", "10", "--test-size", "10", "--seeds", "1", "--recipe", "plain", "--method", "self_training", "--lr", "0.001"]  # fmt: skip
    run_words = [*words, "--data", "sample", "--storage", str(tmp_path), "--address", "inline", "--no-report"]
    assert run(STUDY, [*run_words, "--keep-weights"]) == 0
    (file,) = tmp_path.glob("pseudo_labels/*/weights/*.pt")
    name = f"run:{file.parents[1].name}/{file.stem}"
    monkeypatch.setenv("STILLROOM_RESULTS", str(tmp_path))
    kept, started = torch.load(file, weights_only=True), build("airbench_small", 10, name, 0).state_dict()
    assert all(torch.equal(kept[k], started[k]) for k in started if not k.startswith("head."))
    again = replace(WHOLE, weights=name)
    assert all(np.array_equal(prepared(again)[k], kept[k].numpy()) for k in prepared(again))


def test_weights_of_populations_are_not_kept_and_digits_are_no_photographs(capsys, tmp_path):
    where = ["--storage", str(tmp_path), "--data", "sample", "--address", "inline", "--no-report"]
    assert run(STUDY, ["--preset", "smoke", "--keep-weights", *where]) == 2
    assert "--keep-weights" in capsys.readouterr().err.strip().splitlines()[-1]
    assert run(STUDY, ["--preset", "smoke", "--network", "airbench_small", "--weights", "random", *where]) == 2
    assert "photographs" in capsys.readouterr().err.strip().splitlines()[-1]
