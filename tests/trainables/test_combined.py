from dataclasses import replace

import pytest
import torch

from trainables.combined import Combined, Config
from trainables.core import data

TRAINABLES = (Combined,)
PLAIN = Config(
    dataset="mnist", images="random", per_class=2, network="perceptron_32", effort="smoke", teacher="same", learner="small",
    small="perceptron_32", large="perceptron_128", networks=2, steps=6, lr=0.03, temperature=4.0, kd_weight=0.5, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def datasets():
    return {"mnist": data.load("mnist", "sample")}


def test_a_teacher_that_is_not_heard_is_not_there(rig):
    unheard, alone = (rig.train(replace(PLAIN, kd_weight=0.0, teacher=teacher)) for teacher in ("same", "none"))
    assert torch.equal(rig.weights(unheard[0]), rig.weights(alone[0]))
    assert rig.apart(rig.weights(rig.train(PLAIN)[0]), rig.weights(alone[0])) > 1e-3


def test_at_weight_one_no_label_is_read(rig):
    answers = dict(rig.answers(PLAIN))
    taught = replace(PLAIN, kd_weight=1.0)
    wrong = {**answers, "labels": (answers["labels"] + 1) % 10}
    a, b = (rig.weights(rig.train(taught, answers=x)[0]) for x in (answers, wrong))
    assert torch.equal(a, b)
    assert not torch.equal(*(rig.weights(rig.train(PLAIN, answers=x)[0]) for x in (answers, wrong)))


def test_the_teacher_is_the_large_network_that_validation_likes_best(rig, datasets):
    made = Combined._taught(Combined.artifact(PLAIN), datasets, "cpu")
    alone = replace(PLAIN, teacher="none", learner="large", networks=1)
    rows = {lr: rig.train(replace(alone, lr=lr))[1][-1] for lr in (0.003, 0.01, 0.03, 0.1)}
    best = max(rows, key=lambda lr: rows[lr]["val_accuracy"])
    assert made["lr"] == best and made["test_accuracy"] == pytest.approx(rows[best]["test_accuracy"], abs=1e-3)


def test_whoever_learns_from_a_set_sees_no_other_image(rig, datasets):
    """Inverted real images change nothing of a large network that learns from a set, all of one that learns from all of them."""
    mnist = datasets["mnist"]
    inverted = {"mnist": {**mnist, "train_images": 255 - mnist["train_images"]}}
    for images, alike in (("random", True), ("full", False)):
        c = replace(PLAIN, images=images, teacher="none", kd_weight=0.0, learner="large")
        answers = rig.answers(c)
        a, b = (rig.weights(rig.train(c, datasets=sets, answers=answers)[0]) for sets in (datasets, inverted))
        assert torch.equal(a, b) == alike


def test_cost_is_the_sum_of_its_parts(rig):
    alone, taught = (
        rig.train(replace(PLAIN, teacher=teacher, kd_weight=w))[1][-1] for teacher, w in (("none", 0.0), ("same", 0.5))
    )
    assert alone["images_seen"] == 20 + 6 * 20 and taught["images_seen"] == 20 + 2 * 6 * 20
    whole = rig.train(replace(PLAIN, images="full", teacher="none", kd_weight=0.0))[1][-1]
    assert whole["images_seen"] == 6 * 128 and whole["cost_seconds"] > 0


def test_a_resumed_trial_is_the_same_trial(rig):
    pack = [PLAIN, replace(PLAIN, temperature=1.0), replace(PLAIN, kd_weight=1.0)]
    without = [
        [{k: v for k, v in row.items() if k != "cost_seconds"} for row in rows]
        for rows in (rig.resumed(*pack, until=1)[1], rig.train(*pack)[1])
    ]
    assert without[0] == without[1]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"images": "none"}, "images"),
        ({"teacher": "large"}, "teacher"),
        ({"kd_weight": 2.0}, "kd_weight"),
        ({"learner": "tiny"}, "learner"),
    ],
)
def test_a_config_that_makes_no_sense_names_its_field(change, word):
    with pytest.raises(ValueError, match=word):
        replace(PLAIN, **change)
