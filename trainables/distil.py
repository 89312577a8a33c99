"""Knowledge distillation, and distillation as domain adaptation.

A teacher is trained on a source domain (MNIST); students are trained on a target domain (MNIST-M) by
(1 - kd_weight) CE + kd_weight T^2 KL(teacher || student)      Hinton et al. 2015 (arXiv 1503.02531), section 2.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.core import data
from trainables.core.batches import balanced, batch_index, substream
from trainables.core.cache import cached, digest
from trainables.core.losses import cross_entropy, distillation, mixed
from trainables.core.nets import NETWORKS, graph
from trainables.core.pack import Pack
from trainables.core.population import PRECISIONS, Population, footprint
from trainables.core.schedules import warmup_linear

CLASSES, SHAPE = 10, (3, 28, 28)
TRANSFER, LABELLED, TEACHER = range(3)  # purposes that draw random numbers
TEACHER_LR, TEACHER_BATCH = 3e-3, 128
HELD_OUT = 1 / 12  # share of the training digits that only choose: 5,000 of 60,000


@dataclass(frozen=True)
class Config:
    """One student.

    teacher_view: which image the teacher is shown, "target" (the MNIST-M image itself) or "source" (the clean digit
    behind it). target_labels: how many MNIST-M labels the student has, a count or "all"; the other digits serve
    unlabelled. temperature T > 0; kd_weight, the lambda of the loss, in [0, 1]. lr: peak learning rate of Adam.
    steps, batch_size: training length in batches and their size in images. seed: initial weights, order of the data,
    choice of the labelled digits, and which teacher.
    """

    teacher_view: str
    target_labels: str
    network: str
    teacher: str
    teacher_steps: int
    precision: str
    steps: int
    batch_size: int
    lr: float
    temperature: float
    kd_weight: float
    seed: int

    def __post_init__(self) -> None:
        labels = self.target_labels
        for holds, what in (
            (self.teacher_view in ("target", "source"), f"teacher_view is target or source, not {self.teacher_view!r}"),
            (
                labels == "all" or (labels.isdecimal() and int(labels) > 0),
                f"target_labels is a count or all, not {labels!r}",
            ),
            (self.network in NETWORKS, f"network is one of {', '.join(NETWORKS)}, not {self.network!r}"),
            (self.teacher in NETWORKS, f"teacher is one of {', '.join(NETWORKS)}, not {self.teacher!r}"),
            (self.precision in PRECISIONS, f"precision is one of {', '.join(PRECISIONS)}, not {self.precision!r}"),
            (self.temperature > 0, f"temperature must be above 0, not {self.temperature}"),
            (0 <= self.kd_weight <= 1, f"kd_weight must lie in [0, 1], not {self.kd_weight}"),
            (self.lr > 0, f"lr must be above 0, not {self.lr}"),
            (min(self.steps, self.teacher_steps) > 0, "steps and teacher_steps must be above 0"),
            (self.batch_size > 1, f"batch_size must be above 1, not {self.batch_size}"),
        ):
            if not holds:
                raise ValueError(what)


@dataclass(frozen=True)
class Teacher:
    """One teacher: its network, training length in batches, and seed."""

    network: str
    steps: int
    seed: int


Arrays = Mapping[str, np.ndarray]


class Distillation(Pack):
    """Students of MNIST-M and of a teacher of MNIST. datasets: {"mnistm": its arrays}."""

    config_type = Config

    @staticmethod
    def lesson(config: Config) -> Teacher:
        """What must be prepared before a student can be trained: its teacher's answers."""
        return Teacher(config.teacher, config.teacher_steps, config.seed)

    @staticmethod
    def prepare(lesson: Teacher, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """The teacher's logits on every training image, (N, 10) per view, and its row for the `teachers` table.

        Trained once; a second run finds the answers in the cache, keyed by the teacher and the content of the data.
        """
        depends = {
            "network": repr(graph(lesson.network, CLASSES)),
            "lr": TEACHER_LR,
            "batch": TEACHER_BATCH,
            "held_out": HELD_OUT,
        }
        mnistm = datasets["mnistm"]
        content = {name: digest(mnistm[name]) for name in sorted(mnistm)}
        key = {"recipe": 2, **depends, "steps": lesson.steps, "seed": lesson.seed, "data": content}
        answers = cached("teacher", key, lambda: _teach(lesson, mnistm, device))
        accuracies = {name: float(value) for name, value in answers.items() if value.ndim == 0}
        row = {"teacher": lesson.network, "teacher_steps": lesson.steps, "seed": lesson.seed, **accuracies}
        return {view: answers[view] for view in ("target", "source")}, row

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes."""
        return footprint(graph(config.network, CLASSES), SHAPE, max(config.batch_size * 3 // 2, 2000 // 3))

    def __init__(self, pack: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(pack, device)
        c = self.common
        self.temperature, self.kd_weight = self.column("temperature"), self.column("kd_weight")
        self.students = Population(
            graph(c.network, CLASSES), SHAPE, [c.seed] * len(pack), [c.lr for c in pack], self.device, c.precision
        )
        self.sets = Splits(datasets["mnistm"], self.device)
        self.answers = torch.from_numpy(np.array(answers[c.teacher_view])).to(self.device)
        self.labelled = None  # every digit
        if c.target_labels != "all" and int(c.target_labels) < len(self.sets.train):
            self.labelled = balanced(self.sets.labels, self.sets.train, int(c.target_labels), c.seed, LABELLED)

    def loss(self, step: int) -> Tensor:
        c, sets = self.common, self.sets
        index = batch_index(sets.train, c.batch_size, step, c.seed, stream=TRANSFER)
        if self.labelled is None:  # every digit of the batch has its label
            z = self.students.logits(sets.target(index))
            hard = cross_entropy(z, sets.labels[index])
        else:  # half as many labelled digits come beside the batch, for the hard term alone
            labelled = batch_index(self.labelled, c.batch_size // 2, step, c.seed, stream=LABELLED)
            z, z_labelled = self.students.logits(sets.target(torch.cat([index, labelled]))).split(
                [len(index), len(labelled)], dim=1
            )
            hard = cross_entropy(z_labelled, sets.labels[labelled])
        return mixed(hard, distillation(z, self.answers[index], self.temperature), self.kd_weight)

    def measure(self) -> dict[str, Tensor]:
        sets, students = self.sets, self.students
        metrics = {"val_accuracy": students.accuracy(sets.images[sets.val], sets.labels[sets.val], prepare)}
        if self.finished:
            metrics["test_accuracy"] = students.accuracy(sets.test_images, sets.test_labels, prepare)
            metrics["source_accuracy"] = students.accuracy(sets.test_digits, sets.test_labels, prepare)
        return metrics


class Splits:
    """The data sets as tensors on one device, with the training digits split into train and validation."""

    def __init__(self, datasets: Arrays, device: torch.device) -> None:
        tensor = lambda name: torch.from_numpy(np.asarray(datasets[name])).to(device)  # noqa: E731
        self.images, self.digits, self.labels = (
            tensor("train_images"),
            tensor("train_digits"),
            tensor("train_labels").long(),
        )
        self.test_images, self.test_digits = tensor("test_images"), tensor("test_digits")
        self.test_labels = tensor("test_labels").long()
        n = len(self.labels)
        train, val = data.holdout(n, round(n * HELD_OUT), seed=0)
        self.train, self.val = torch.from_numpy(train).to(device), torch.from_numpy(val).to(device)

    def target(self, index: Tensor) -> Tensor:
        return prepare(self.images[index])


def prepare(x: Tensor) -> Tensor:
    """uint8 images (B, 3, 28, 28), or digits (B, 28, 28) repeated over the channels, to floats in [-1, 1]."""
    if x.dim() == 3:
        x = x[:, None].expand(-1, 3, -1, -1)
    return x.to(memory_format=torch.channels_last).float().div_(127.5).sub_(1)


def new_teacher(lesson: Teacher, device: torch.device | str) -> Population:
    """An untrained teacher. Its start is drawn apart from the students' of the same seed: distillation is easier between
    networks that share their first weights."""
    seed = substream(lesson.seed, TEACHER)
    return Population(graph(lesson.network, CLASSES), SHAPE, [seed], [TEACHER_LR], device)


def train_teacher(teacher: Population, lesson: Teacher, sets: Splits) -> None:
    """Plain supervised training on the clean training digits."""
    for step in range(lesson.steps):
        index = batch_index(sets.train, TEACHER_BATCH, step, lesson.seed, stream=TEACHER)
        loss = cross_entropy(teacher.logits(prepare(sets.digits[index])), sets.labels[index])
        teacher.step(loss, warmup_linear(step / lesson.steps))


def _teach(lesson: Teacher, datasets: Arrays, device: str) -> dict[str, np.ndarray]:
    """A trained teacher's logits on all training digits and on the images made from them, and its accuracies."""
    start = time.perf_counter()
    sets = Splits(datasets, torch.device(device))
    teacher = new_teacher(lesson, device)
    train_teacher(teacher, lesson, sets)
    with torch.no_grad():
        answers = {
            view: teacher.answers(images, prepare)[0].cpu().numpy()
            for view, images in (("target", sets.images), ("source", sets.digits))
        }
    for domain, images in (("source", sets.test_digits), ("target", sets.test_images)):
        answers[f"{domain}_test_accuracy"] = teacher.accuracy(images, sets.test_labels, prepare)[0].cpu().numpy()
    return answers | {"seconds": np.asarray(time.perf_counter() - start)}
