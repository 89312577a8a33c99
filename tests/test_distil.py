import dataclasses

import numpy as np
import pytest
import torch

from trainables import distil
from trainables.core import data
from trainables.core.batches import balanced, batch_index
from trainables.distil import Config, Distillation, Splits

PLAIN = Config(
    teacher_view="target", target_labels="500", network="cnn_small", teacher="cnn_small", teacher_steps=6,
    precision="fp32", steps=8, batch_size=32, lr=3e-3, temperature=4.0, kd_weight=0.5, seed=0,
)  # fmt: skip


def variant(**changes):
    return dataclasses.replace(PLAIN, **changes)


@pytest.fixture(scope="module")
def datasets():
    torch.set_num_threads(1)
    return {"mnistm": data.load("mnistm", "sample")}


@pytest.fixture(scope="module")
def answers(datasets):
    return Distillation.prepare(Distillation.lesson(PLAIN), datasets, "cpu")[0]


def train(pack, datasets, answers, until=None):
    students, rows = Distillation(pack, datasets, answers, "cpu"), []
    while not students.finished and (until is None or len(rows) < until * len(pack)):
        rows += students.step()
    return students, [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def weights(students, s):
    return torch.cat([p.detach()[s].flatten() for p in students.students.parameters])


def apart(a, b):
    """Distance of two students' weights, relative to their size; rounding alone stays well below 1e-3 here."""
    return float((a - b).norm() / a.norm())


def test_a_resumed_trial_is_the_same_trial(datasets, answers):
    pack = [PLAIN, variant(temperature=1.0), variant(kd_weight=0.0)]
    _, whole = train(pack, datasets, answers)
    first, before = train(pack, datasets, answers, until=2)
    second = Distillation(pack, datasets, answers, "cpu")
    second.load_state_dict(first.state_dict())
    after = []
    while not second.finished:
        after += [{k: v for k, v in row.items() if k != "seconds"} for row in second.step()]
    assert before + after == whole


def test_a_student_of_a_pack_is_the_student_alone(datasets, answers):
    pack = [variant(kd_weight=w, temperature=T) for w in (0.1, 0.9) for T in (1.0, 16.0)]
    together, _ = train(pack, datasets, answers)
    for s, config in enumerate(pack):
        alone, _ = train([config], datasets, answers)
        assert apart(weights(together, s), weights(alone, 0)) < 1e-3


def test_what_the_study_calls_the_same_student_is_the_same_student(datasets, answers):
    """kd_weight 0 asks no teacher; kd_weight 1 reads no label: these cells may share one training."""
    for same in (
        (variant(kd_weight=0.0), variant(kd_weight=0.0, temperature=9.0, teacher_view="source")),
        (variant(kd_weight=1.0), variant(kd_weight=1.0, target_labels="all")),
    ):
        a, b = (train([config], datasets, answers)[0] for config in same)
        # the labelled images change the shape of the batch, so the same sums are taken in another order
        assert apart(weights(a, 0), weights(b, 0)) < 1e-3
    a, b = (train([c], datasets, answers)[0] for c in (PLAIN, variant(target_labels="all")))
    assert apart(weights(a, 0), weights(b, 0)) > 1e-2


def test_validation_digits_are_never_trained_on(datasets):
    sets = Splits(datasets["mnistm"], torch.device("cpu"))
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
    sets = Splits(datasets["mnistm"], torch.device("cpu"))
    few = balanced(sets.labels, sets.train, 200, seed=0, stream=1)
    assert sets.labels[few].bincount().tolist() == [20] * 10 and len(few.unique()) == 200
    assert set(few.tolist()) <= set(sets.train.tolist())
    assert torch.equal(balanced(sets.labels, sets.train, len(sets.train) + 1, seed=0, stream=1), sets.train)


def test_a_teacher_does_not_start_where_its_students_start(datasets, answers):
    students = Distillation([PLAIN], datasets, answers, "cpu").students
    teacher = distil.new_teacher(Distillation.lesson(PLAIN), "cpu")
    for p, q in zip(students.parameters, teacher.parameters, strict=True):
        assert torch.isclose(p.detach(), q.detach(), atol=1e-7).float().mean() < 0.01


def test_teacher_answers_are_made_once_and_tell_the_views_apart(datasets, answers, monkeypatch):
    monkeypatch.setattr(distil, "_teach", lambda *_: pytest.fail("trained again"))
    again, row = Distillation.prepare(Distillation.lesson(PLAIN), datasets, "cpu")
    assert np.array_equal(again["source"], answers["source"]) and row["seed"] == 0
    assert not np.allclose(answers["source"], answers["target"])
    assert answers["target"].shape == (len(datasets["mnistm"]["train_labels"]), 10)


def test_a_diverged_student_is_a_failed_row_and_its_neighbours_go_on(datasets, answers):
    _, rows = train([variant(lr=1e30), PLAIN], datasets, answers)
    last = rows[-2:]
    assert [row["status"] for row in last] == ["failed", "done"]
    assert "test_accuracy" not in last[0] and "loss" in last[0]["error"] and last[1]["test_accuracy"] > 0


@pytest.mark.parametrize(
    ("change", "word"),
    [({"temperature": 0.0}, "temperature"), ({"kd_weight": 1.5}, "kd_weight"), ({"teacher_view": "both"}, "teacher_view"),
     ({"target_labels": "none"}, "target_labels"), ({"network": "resnet"}, "network"), ({"steps": 0}, "steps")],
)  # fmt: skip
def test_a_config_that_makes_no_sense_names_its_field(change, word):
    with pytest.raises(ValueError, match=word):
        variant(**change)


def test_a_pack_shares_its_batches(datasets, answers):
    with pytest.raises(ValueError, match="seed"):
        Distillation([PLAIN, variant(seed=1)], datasets, answers, "cpu")
