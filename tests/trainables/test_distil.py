from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables import distil
from trainables.core import data
from trainables.core.batches import balanced, batch_index
from trainables.distil import Config, Distillation, PairedSplits, confident

TRAINABLES = (Distillation,)
PLAIN = Config(
    teacher_view="target", target_labels="500", rounds=1, adaptation="none", filtering="none", augmentation="none", network="cnn_small", teacher="cnn_small", teacher_steps=6,
    precision="fp32", steps=8, batch_size=32, lr=3e-3, temperature=4.0, kd_weight=0.5, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def datasets():
    return {"mnistm": data.load("mnistm", "sample")}


def test_a_resumed_trial_is_the_same_trial(rig):
    pack = [PLAIN, replace(PLAIN, temperature=1.0), replace(PLAIN, kd_weight=0.0)]
    assert rig.resumed(*pack, until=2)[1] == rig.train(*pack)[1]


def test_a_student_of_a_pack_is_the_student_alone(rig):
    pack = [replace(PLAIN, kd_weight=w, temperature=T) for w in (0.1, 0.9) for T in (1.0, 16.0)]
    together, _ = rig.train(*pack)
    for s, config in enumerate(pack):
        alone, _ = rig.train(config)
        assert rig.apart(rig.weights(together, s), rig.weights(alone)) < 1e-3


def test_what_the_study_calls_the_same_student_is_the_same_student(rig):
    """kd_weight 0 asks no teacher; kd_weight 1 reads no label: these cells may share one training."""
    for same in (
        (replace(PLAIN, kd_weight=0.0), replace(PLAIN, kd_weight=0.0, temperature=9.0, teacher_view="source")),
        (replace(PLAIN, kd_weight=1.0), replace(PLAIN, kd_weight=1.0, target_labels="all")),
    ):
        a, b = (rig.train(config)[0] for config in same)
        # the labelled images change the shape of the batch, so the same sums are taken in another order
        assert rig.apart(rig.weights(a), rig.weights(b)) < 1e-3
    a, b = (rig.train(c)[0] for c in (PLAIN, replace(PLAIN, target_labels="all")))
    assert rig.apart(rig.weights(a), rig.weights(b)) > 1e-2


def test_a_round_is_taught_by_the_student_of_the_round_before_and_made_once(rig, datasets, monkeypatch):
    config = replace(PLAIN, rounds=3, filtering="confident", augmentation="inversion", temperature=4.0, lr=1e-4)
    before = Distillation.artifact(config)
    assert (before.rounds, before.kd_weight, before.augmentation) == (2, 1.0, "inversion")
    assert before == Distillation.artifact(replace(config, kd_weight=1.0, temperature=1.0)), "one for a pack"
    assert Distillation.artifact(Distillation.artifact(before)) == Distillation.artifact(PLAIN)
    made, row = Distillation.prepare(before, datasets, "cpu")
    pool_answers = Distillation.prepare(Distillation.artifact(before), datasets, "cpu")[0]
    student = rig.train(before, answers=pool_answers)[0]
    shown = student.sets.images
    assert np.array_equal(
        made["target"], student.students.answers(shown, distil.to_float)[0].numpy() / distil.SHARPENING
    )
    assert row["rounds"] == 3 and 0 <= row["target_test_accuracy"] <= 1
    monkeypatch.setattr(Distillation, "step", lambda *_: pytest.fail("trained again"))
    assert np.array_equal(Distillation.prepare(before, datasets, "cpu")[0]["target"], made["target"])


def test_without_target_labels_none_is_read(rig, datasets):
    """At kd_weight 1, in any round: students of other labels are the same students."""
    rng = np.random.default_rng(0)
    other = {"mnistm": {**datasets["mnistm"], "train_labels": rng.permutation(datasets["mnistm"]["train_labels"])}}
    for rounds in (1, 2):
        config = replace(
            PLAIN, rounds=rounds, filtering="confident", kd_weight=1.0, target_labels="all", augmentation="inversion"
        )
        a, b = (rig.train(config, datasets=d, answers=rig.answers(PLAIN))[0] for d in (datasets, other))
        assert torch.equal(rig.weights(a), rig.weights(b))


def test_what_students_without_labels_name_is_kept_and_nobody_elses(rig):
    students, rows = rig.train(PLAIN, replace(PLAIN, kd_weight=1.0))
    assert not any("answers" in row.get("tables", {}) for row in rows[:-1])
    for row in rows[-2:]:
        lines = row["tables"]["confusions"]
        right = sum(line["images"] for line in lines if line["truth"] == line["answer"])
        assert right / sum(line["images"] for line in lines) == pytest.approx(row["test_accuracy"])
    named = torch.tensor([int(k) for k in rows[-1]["tables"]["answers"][0]["named"]])
    right = (named == students.sets.labels[students.sets.val]).float().mean()
    assert right.item() == pytest.approx(rows[-1]["val_accuracy"])


def test_a_round_keeps_the_surest_answers_as_many_of_each_class_named():
    g = torch.Generator().manual_seed(0)
    answers, pool = torch.randn(1000, 10, generator=g) * 3, torch.arange(100, 1000)
    kept = confident(answers, pool, 0.4)
    surest, named = answers.softmax(-1).max(-1)
    assert named[kept].bincount().tolist() == [36] * 10 and set(kept.tolist()) <= set(pool.tolist())
    left = torch.tensor(sorted(set(pool.tolist()) - set(kept.tolist())))
    for k in range(10):
        assert surest[kept[named[kept] == k]].min() >= surest[left[named[left] == k]].max()
    assert torch.equal(confident(answers, pool, 10.0), pool)
    assert [distil.share_kept(r) for r in (1, 2, 9)] == pytest.approx([0.3, 0.4, 0.8])


def test_labels_are_not_filtered(rig):
    """The confident images are the teacher's; the labelled ones are not filtered by it."""
    students = rig.build(replace(PLAIN, filtering="confident", target_labels="all"))
    assert len(students.pool) < len(students.sets.train) and torch.equal(students.labelled, students.sets.train)
    few = rig.build(replace(PLAIN, filtering="confident")).labelled
    assert torch.equal(few, rig.build(PLAIN).labelled)


def test_inversion_is_of_the_colours_and_of_some_images(rig):
    students = rig.build(replace(PLAIN, augmentation="inversion"))
    index = students.sets.train[:64]
    plain, seen = students.sets.target(index), students.shown(index, 0)
    inverted = distil.to_float(255 - students.sets.images[index])
    turned = (seen == plain).flatten(1).all(1)
    assert 16 < turned.sum() < 48 and torch.allclose(seen[~turned], inverted[~turned], atol=1e-6)
    assert torch.equal(seen, students.shown(index, 0)) and not torch.equal(seen, students.shown(index, 1))


def test_an_adapted_teacher_has_the_same_weights_and_other_answers(datasets):
    artifact = Distillation.artifact(replace(PLAIN, teacher="cnn_norm", teacher_steps=2))
    plain, row = Distillation.prepare(artifact, datasets, "cpu")
    adapted, other = Distillation.prepare(replace(artifact, adaptation="batch_norm"), datasets, "cpu")
    assert row["seconds"] == other["seconds"] and (row["adaptation"], other["adaptation"]) == ("none", "batch_norm")
    assert not np.allclose(plain["target"], adapted["target"])


def test_validation_digits_are_never_trained_on(datasets):
    sets = PairedSplits(datasets["mnistm"], torch.device("cpu"))
    assert not set(sets.train.tolist()) & set(sets.val.tolist())
    assert len(sets.train) + len(sets.val) == len(sets.labels)
    steps = len(sets.train) // 50
    seen = torch.cat([batch_index(sets.train, 50, step, seed=1, stream=0) for step in range(steps)])
    assert len(seen.unique()) == len(seen) and set(seen.tolist()) <= set(sets.train.tolist()), (
        "one pass meets each digit once"
    )
    again = batch_index(sets.train, 50, 3, seed=1, stream=0)
    assert torch.equal(again, seen[150:200]) and not torch.equal(
        again, batch_index(sets.train, 50, 3, seed=2, stream=0)
    )


def test_labelled_digits_are_balanced_and_as_many_as_asked(datasets):
    sets = PairedSplits(datasets["mnistm"], torch.device("cpu"))
    few = balanced(sets.labels, sets.train, 200, seed=0, stream=1)
    assert sets.labels[few].bincount().tolist() == [20] * 10 and len(few.unique()) == 200
    assert set(few.tolist()) <= set(sets.train.tolist())
    assert torch.equal(balanced(sets.labels, sets.train, len(sets.train) + 1, seed=0, stream=1), sets.train)


def test_a_teacher_does_not_start_where_its_students_start(rig):
    students = rig.build(PLAIN).students
    teacher = distil.new_teacher(Distillation.artifact(PLAIN), "cpu")
    for p, q in zip(students.parameters, teacher.parameters, strict=True):
        assert torch.isclose(p.detach(), q.detach(), atol=1e-7).float().mean() < 0.01


def test_teacher_answers_are_made_once_and_tell_the_views_apart(rig, datasets, monkeypatch):
    answers = rig.answers(PLAIN)
    monkeypatch.setattr(distil, "_teach", lambda *_: pytest.fail("trained again"))
    again, row = Distillation.prepare(Distillation.artifact(PLAIN), datasets, "cpu")
    assert np.array_equal(again["source"], answers["source"]) and row["seed"] == 0
    assert not np.allclose(answers["source"], answers["target"])
    assert answers["target"].shape == (len(datasets["mnistm"]["train_labels"]), 10)


def test_a_diverged_student_is_a_failed_row_and_its_neighbours_go_on(rig):
    _, rows = rig.train(replace(PLAIN, lr=1e30), PLAIN)
    last = rows[-2:]
    assert [row["status"] for row in last] == ["failed", "done"]
    assert "test_accuracy" not in last[0] and "loss" in last[0]["error"] and last[1]["test_accuracy"] > 0


@pytest.mark.parametrize(
    ("change", "word"),
    [({"temperature": 0.0}, "temperature"), ({"kd_weight": 1.5}, "kd_weight"), ({"teacher_view": "both"}, "teacher_view"),
     ({"target_labels": "none"}, "target_labels"), ({"target_labels": "5"}, "a count above 9, or all"), ({"network": "resnet"}, "network"), ({"steps": 0}, "steps"), ({"rounds": 0}, "rounds"),
     ({"adaptation": "batch_norm"}, "batch normalisation"), ({"augmentation": "flip"}, "augmentation"), ({"filtering": "some"}, "filtering")],
)  # fmt: skip
def test_a_config_that_makes_no_sense_names_its_field(change, word):
    with pytest.raises(ValueError, match=word):
        replace(PLAIN, **change)


def test_a_pack_shares_its_batches(rig):
    with pytest.raises(ValueError, match="seed"):
        rig.build(PLAIN, replace(PLAIN, seed=1))
