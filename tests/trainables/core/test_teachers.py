"""Teachers: trained once, found again, asked about all images."""

import numpy as np
import torch

from trainables.core import teachers
from trainables.core.batches import batch_index
from trainables.core.losses import cross_entropy
from trainables.core.nets import Linear
from trainables.core.population import Population
from trainables.core.schedules import warmup_linear

STEPS, BATCH, SEED, STREAM = 7, 16, 3, 1
g = torch.Generator().manual_seed(0)
IMAGES, LABELS = torch.randn(50, 6, generator=g), torch.randint(0, 4, (50,), generator=g)
POOL = torch.arange(0, 50, 2)


def fresh():
    return Population((Linear(8), Linear(4)), (6,), [5], [1e-2])


def trained(after=lambda: None):
    teacher = fresh()

    def loss(index):
        return cross_entropy(teacher.logits(IMAGES[index]), LABELS[index])

    return teachers.train(teacher, POOL, STEPS, BATCH, SEED, STREAM, loss, after)


def test_a_teacher_takes_its_steps_on_the_batches_of_its_seed():
    slow, ended = fresh(), []
    for step in range(STEPS):
        index = batch_index(POOL, BATCH, step, SEED, STREAM)
        slow.step(cross_entropy(slow.logits(IMAGES[index]), LABELS[index]), warmup_linear(step / STEPS))
    for a, b in zip(trained(lambda: ended.append(1)).parameters, slow.parameters, strict=True):
        assert torch.equal(a, b)
    assert len(ended) == STEPS


def test_answers_are_logits_on_all_images_and_the_share_of_right_ones():
    teacher = trained()
    found = teachers.answers(teacher, {"logits": IMAGES}, {"accuracy": (IMAGES[:9], LABELS[:9])}, lambda x: x)
    assert found["logits"].shape == (50, 4)
    right = found["logits"][:9].argmax(-1) == LABELS[:9]
    assert torch.isclose(found["accuracy"], right.float().mean())


def test_what_depends_on_the_same_is_made_once():
    made, data = [], {"images": IMAGES.numpy()}

    def make():
        made.append(1)
        return {"logits": torch.ones(2, 3), "accuracy": 0.5}

    first = teachers.once("made", {"steps": 1}, data, make)
    again = teachers.once("made", {"steps": 1}, data, make)
    assert len(made) == 1 and np.array_equal(first["logits"], again["logits"])
    assert teachers.measured(again) == {"accuracy": 0.5, "seconds": float(first["seconds"])}
    teachers.once("made", {"steps": 2}, data, make)
    teachers.once("made", {"steps": 1}, {"images": IMAGES.numpy() + 1}, make)
    assert len(made) == 3


def test_a_maker_may_know_better_how_long_it_took():
    assert teachers.once("timed", {}, {}, lambda: {"seconds": 3.0})["seconds"] == 3.0
