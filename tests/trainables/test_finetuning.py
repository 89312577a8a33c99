"""On a small network of the project with made-up images; what a pretrained one adds is a matter of its weights."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables import finetuning
from trainables.core.pretrained import build, stages
from trainables.finetuning import Config, FineTuning

TRAINABLES = (FineTuning,)
PLAIN = Config(
    network="airbench_small", weights="random", resolution=32, train_size=60, val_size=20, test_size=20, augmentation="none",
    unfreezing="all", rate="constant", discrimination=2.0, statistics="kept", precision="fp32", steps=16, batch_size=10,
    lr=1e-3, seed=0,
)  # fmt: skip
ALL = {"augmentation": "iterative", "unfreezing": "gradual", "rate": "one_cycle"}


def made_up(n, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3, 32, 32), np.uint8), (np.arange(n) % 10).astype(np.uint8)


(TRAIN, TRAIN_LABELS), (TESTS, TEST_LABELS) = made_up(240, 0), made_up(40, 1)
DATASETS = {
    "cifar10": {"train_images": TRAIN, "train_labels": TRAIN_LABELS, "test_images": TESTS, "test_labels": TEST_LABELS}
}


@pytest.fixture(scope="module")
def datasets():
    return DATASETS


def weights(student):
    return {
        name: torch.cat([p.detach().flatten().clone() for p in stage.parameters()])
        for name, stage in stages(student.students.model).items()
    }


def images_of(student):
    """By what they serve."""
    s = student.sets
    return {
        "train": s.images[student.labelled], "val": s.images[student.val], "test": s.test_images[student.test]
    }  # fmt: skip


def one_step(student):
    """What a step of training changes: {stage: largest change of its parameters}."""
    before = weights(student)
    student.update(student.loss(student.done_steps), student.rate(student.done_steps / student.total_steps))
    student.done_steps += 1
    after = weights(student)
    return {name: float((after[name] - before[name]).abs().max()) for name in before}


@pytest.mark.parametrize("statistics", ["kept", "batch"])
def test_frozen_stages_keep_every_bit_and_thawed_ones_move(rig, statistics):
    student = rig.build(replace(PLAIN, unfreezing="gradual", statistics=statistics))
    start = {k: v.clone() for k, v in student.students.model.state_dict().items()}
    names, seen = list(stages(student.students.model)), []
    while not student.finished:
        moved = [name for name, change in one_step(student).items() if change > 0]
        assert moved == names[: len(moved)], "thawed from the head on, and nothing frozen moves"
        now = student.students.model.state_dict()
        frozen = [k for k in start if k.split(".")[0] not in moved]
        assert all(torch.equal(start[k], now[k]) for k in frozen), "neither do its statistics"
        seen.append(len(moved))
    assert seen[0] == 1 and seen[-1] == len(names) and seen == sorted(seen)
    assert seen.index(len(names)) == student.total_steps // 2


def test_the_head_alone_is_trained_where_nothing_else_is(rig):
    student = rig.build(replace(PLAIN, unfreezing="head"))
    for _ in range(student.total_steps):
        assert [name for name, change in one_step(student).items() if change > 0] == ["head"]


def test_batch_normalisation_keeps_its_statistics_unless_it_is_to_gather_them(rig):
    for statistics, kept in (("kept", True), ("batch", False)):
        student = rig.build(replace(PLAIN, statistics=statistics))
        start = {k: v.clone() for k, v in student.students.model.named_buffers() if "running" in k}
        rig.rows(student)
        now = dict(student.students.model.named_buffers())
        assert all(torch.equal(start[k], now[k]) for k in start) == kept


def rates(student):
    """{stage: rate} of the last lines recorded."""
    lines = student.lines
    return {line["stage"]: line["rate_used"] for line in lines if line["at"] == lines[-1]["at"]}


def test_rates_fall_with_depth_by_the_discrimination_and_are_equal_without_unfreezing(rig):
    gradual, whole = rig.build(replace(PLAIN, unfreezing="gradual")), rig.build(PLAIN)
    for student in (gradual, whole):
        for _ in range(student.total_steps):
            one_step(student)
    used = list(rates(gradual).values())
    assert used == pytest.approx([1e-3 / 2.0**depth for depth in range(len(used))])
    assert set(rates(whole).values()) == {1e-3}


def test_adam_moves_a_lower_stage_less_by_the_discrimination(rig):
    """The first step of Adam has the size of the rate, whatever the gradient; decoupled decay comes on top."""
    student = rig.build(replace(PLAIN, unfreezing="gradual", discrimination=4.0))
    student.done_steps = 8  # all stages are trained from here on, and none was before
    change = list(one_step(student).values())
    assert change == pytest.approx([1e-3 / 4.0**depth for depth in range(len(change))], rel=0.02)


def test_what_is_recorded_is_what_happens(rig):
    student, rows = rig.train(replace(PLAIN, **ALL))
    lines = [line for row in rows for line in row.get("tables", {}).get("schedules", [])]
    count = len(stages(student.students.model))
    assert [line["at"] for line in lines] == [step for step in range(16) for _ in range(count)]
    trained = [sum(line["trained"] for line in lines if line["at"] == step) for step in range(16)]
    assert trained[0] == 1 and trained == sorted(trained) and trained[8] == count
    assert all((line["rate_used"] > 0) == line["trained"] for line in lines)
    strength = [line["strength"] for line in lines[::count]]
    assert strength == pytest.approx([0] * 4 + [1 / 3] * 4 + [2 / 3] * 4 + [1] * 4)


def test_every_combination_starts_from_the_same_weights_and_sees_the_same_images(rig):
    first = rig.build(PLAIN)
    for changes in (ALL, {"unfreezing": "gradual"}, {"augmentation": "full"}):
        other = rig.build(replace(PLAIN, **changes))
        assert all(torch.equal(a, b) for a, b in zip(weights(first).values(), weights(other).values(), strict=True))
        for name in ("train", "val", "test"):
            assert torch.equal(images_of(first)[name], images_of(other)[name])
    another = images_of(rig.build(replace(PLAIN, seed=1)))
    assert not torch.equal(images_of(first)["train"], another["train"])
    assert torch.equal(images_of(first)["val"], another["val"])


def test_no_image_serves_two_purposes_and_classes_are_balanced(rig):
    student = rig.build(PLAIN)
    seen = {name: {x.numpy().tobytes() for x in images} for name, images in images_of(student).items()}
    assert not seen["train"] & seen["val"] and not seen["train"] & seen["test"] and not seen["val"] & seen["test"]
    assert student.sets.labels[student.labelled].bincount(minlength=10).tolist() == [6] * 10


def test_without_augmentation_the_network_sees_the_images_as_they_are(rig):
    images = torch.from_numpy(TRAIN[:4])
    assert torch.equal(rig.build(PLAIN).shown(images, 3), images / 255)
    iterative, full = (rig.build(replace(PLAIN, augmentation=a)) for a in ("iterative", "full"))
    assert torch.equal(iterative.shown(images, 0), images / 255), "strength 0"
    assert torch.equal(iterative.shown(images, 15), full.shown(images, 15)), "strength 1"
    assert not torch.equal(full.shown(images, 15), images / 255)


@pytest.mark.parametrize("rate", ["one_cycle", "plateau"])
def test_a_resumed_student_is_the_same_student(rig, rate):
    config = replace(PLAIN, **{**ALL, "rate": rate}, statistics="batch")
    whole, rows = rig.train(config)
    second, same = rig.resumed(config, until=3)
    assert same == rows
    for a, b in zip(
        whole.students.model.state_dict().values(), second.students.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_the_rate_falls_where_the_validation_loss_stalls(rig, monkeypatch):
    student = rig.build(replace(PLAIN, rate="plateau"))
    losses = iter([1.0, 0.9, 0.9, 0.5, 0.6, 0.4])
    monkeypatch.setattr(finetuning, "cross_entropy", lambda z, y, f=finetuning.cross_entropy: f(z, y) if z.requires_grad else torch.tensor([next(losses)]))  # fmt: skip
    used = [max(line["rate_used"] for line in row["tables"]["schedules"]) for row in rig.rows(student)]
    assert used == pytest.approx([1e-3] * 3 + [3e-4] * 2 + [9e-5])


def test_validation_is_measured_all_along_and_the_test_only_at_the_end(rig):
    rows = rig.train(PLAIN)[1]
    assert len(rows) == finetuning.EVALUATIONS and all("val_accuracy" in row for row in rows)
    assert ["test_accuracy" in row for row in rows] == [False] * 5 + [True] and rows[-1]["status"] == "done"
    assert all(math.isfinite(row["val_loss"]) for row in rows) and rows[-1]["test_images"] == 20


def test_given_weights_are_those_that_are_fine_tuned(rig, tmp_path):
    torch.save(build("airbench_small", 10, "random", 123).state_dict(), tmp_path / "made.pt")
    student = rig.build(replace(PLAIN, weights=str(tmp_path / "made.pt")))
    expected = stages(build("airbench_small", 10, "random", 123))
    for name, found in weights(student).items():
        same = torch.equal(found, torch.cat([p.flatten() for p in expected[name].parameters()]))
        assert same == (name != "head"), "the head is new"


@pytest.mark.parametrize(
    ("change", "word"),
    [({"network": "alexnet"}, "network"), ({"augmentation": "some"}, "augmentation"), ({"unfreezing": "none"}, "unfreezing"),
     ({"rate": "cosine"}, "rate"), ({"statistics": "x"}, "statistics"), ({"precision": "fp8"}, "precision"),
     ({"discrimination": 0.5}, "discrimination"), ({"resolution": 8}, "resolution"), ({"train_size": 0}, "train_size"),
     ({"steps": 0}, "steps"), ({"lr": 0.0}, "lr"), ({"batch_size": 1}, "batch_size")],
)  # fmt: skip
def test_a_config_that_makes_no_sense_names_its_field(change, word):
    with pytest.raises(ValueError, match=word):
        replace(PLAIN, **change)


def test_what_an_image_takes_is_counted_and_timed(datasets):
    """A convolutional network multiplies by each place, so four times as often at twice the side, whatever its weights."""
    made = [FineTuning.prepare(FineTuning.artifact(replace(PLAIN, resolution=side)), datasets, "cpu")[1] for side in (32, 64)]  # fmt: skip
    assert made[0]["parameters"] == made[1]["parameters"] > 1e4
    assert 3.9 < made[1]["multiplications"] / made[0]["multiplications"] < 4.7
    answers, _ = FineTuning.prepare(FineTuning.artifact(PLAIN), datasets, "cpu")
    student = FineTuning([PLAIN], datasets, answers, "cpu")
    rows = [student.step()[0] for _ in range(finetuning.EVALUATIONS)]
    assert ["image_ms" in row for row in rows] == [False] * 5 + [True] and rows[-1]["image_ms"] > 0
