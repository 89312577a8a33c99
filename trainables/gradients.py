"""Gradients of distillation: how large they are at every temperature, and which way they point.

A teacher of the same data answers; students learn by (1 - kd_weight) CE + kd_weight T^2 KL(teacher || student). On a fixed
probe batch the gradients of both terms are taken apart, in the logits and in the weights of each layer.
Hinton et al. 2015 (arXiv 1503.02531), eq. 2: dC/dz = (q - p)/T; eq. 4: at high T and for centred logits (z - v)/(N T^2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.core import teachers
from trainables.core.batches import batch_index, substream
from trainables.core.limits import above, between, checked, one_of, power_of_two
from trainables.core.losses import cross_entropy, distillation, mixed
from trainables.core.nets import Conv, graph, summary
from trainables.core.pack import Pack
from trainables.core.population import ADAM, INITIALISATION, Population, footprint
from trainables.core.schedules import WARMUP_LINEAR
from trainables.core.splits import HELD_OUT, SPLIT, Splits, shape, to_float

CLASSES = 10
DATASETS = ("mnist", "fashion_mnist", "cifar10")
STUDIED = ("cnn_small", "cnn", "cnn_pool", "mlp_600", "mlp_1200")
TRANSFER, TEACHER, PROBE = range(3)  # purposes that draw random numbers
TEACHER_LR, TEACHER_BATCH = 3e-3, 128
PROBED = 128  # images of the probe batch
COLDEST = 0.5  # the lowest probe temperature


@dataclass(frozen=True)
class Config:
    """One student.

    dataset: what teacher and student see. doublings: gradients are probed at T = 0.5, 1, 2, ..., 0.5 2^doublings.
    temperature T > 0 and kd_weight, the lambda of the loss, in [0, 1]: of the student's own training. lr: peak learning rate
    of Adam. steps, batch_size: training length in batches and their size in images. seed: initial weights, order of the
    data, and which teacher.
    """

    dataset: Annotated[str, one_of(*DATASETS)]
    network: Annotated[str, one_of(*STUDIED)]
    teacher: Annotated[str, one_of(*STUDIED)]
    teacher_steps: Annotated[int, above(0)]
    steps: Annotated[int, above(0)]
    batch_size: Annotated[int, above(0)]
    doublings: Annotated[int, above(0)]
    lr: Annotated[float, above(0)]
    temperature: Annotated[float, power_of_two]
    kd_weight: Annotated[float, between(0, 1)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)


@dataclass(frozen=True)
class Teacher:
    """One teacher: its data set, network, training length in batches, and seed."""

    dataset: str
    network: str
    steps: int
    seed: int


Arrays = Mapping[str, np.ndarray]


class Gradients(Pack):
    """Students of one data set whose gradients are measured while they learn. datasets: {name: its arrays}."""

    config_type = Config
    may_differ = frozenset({"temperature", "kd_weight", "lr"})
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": INITIALISATION + " Teachers start from another draw of the seed.",
        "loss": (
            "(1 - kd_weight) CE(y, softmax(z)) + kd_weight T^2 KL(softmax(t/T) || softmax(z/T)), mean over the batch; "
            "z, t: logits of student and teacher, y: labels, T: temperature."
        ),
        "optimiser": f"{ADAM}, peak rate lr. {WARMUP_LINEAR} Batches: reshuffled passes over the training images.",
        "images": "In [-1, 1], not augmented.",
        "teacher": (
            f"The network that the axis names, trained by CE on the same training images with {ADAM}, peak rate "
            f"{TEACHER_LR:g}, the same schedule, teacher_steps batches of {TEACHER_BATCH}."
        ),
        "gradients": (
            f"At every evaluation, on the same {PROBED} held-out images, of CE and of KL(softmax(t/T) || softmax(z/T)) "
            f"at T = {COLDEST:g}, {2 * COLDEST:g}, {4 * COLDEST:g}, ... (doublings times doubled): in the logits of "
            "each image, in the weights of each layer and in all weights, biases apart; from the logits to the loss "
            "in fp64."
        ),
        "evaluation": (
            "Before the first step, at the end, and at the end halved again and again: val_accuracy and the "
            "gradients. At the end: test_accuracy."
        ),
        "split": SPLIT,
    }
    students: Population

    @classmethod
    def described(cls, config: Config) -> dict[str, str]:
        names = {"student": config.network, "teacher": config.teacher}
        return {
            f"{who}: {network} ({config.dataset})": summary(graph(network, CLASSES), shape(config.dataset))
            for who, network in names.items()
        }

    @staticmethod
    def artifact(config: Config) -> Teacher:
        return Teacher(config.dataset, config.teacher, config.teacher_steps, config.seed)

    @staticmethod
    def prepare(artifact: Teacher, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """The teacher's logits on every training image, (N, 10), and its row; trained once, then found in the cache."""
        arrays = datasets[artifact.dataset]
        recipe: dict[str, object] = {"recipe": 1, "lr": TEACHER_LR, "batch": TEACHER_BATCH, "held_out": HELD_OUT}
        recipe |= {"network": repr(graph(artifact.network, CLASSES)), "steps": artifact.steps, "seed": artifact.seed}

        def make() -> dict[str, Tensor]:
            sets = Splits(arrays, device)
            tests = {"test_accuracy": (sets.test_images, sets.test_labels)}
            return teachers.answers(train_teacher(artifact, sets), {"logits": sets.images}, tests, to_float)

        made = teachers.once("gradients-teacher", recipe, arrays, make)
        about = {"dataset": artifact.dataset, "teacher": artifact.network, "teacher_steps": artifact.steps}
        return {"logits": made["logits"]}, {**about, "seed": artifact.seed, **teachers.measured(made)}

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes."""
        return footprint(
            graph(config.network, CLASSES), shape(config.dataset), max(config.batch_size, PROBED, 1000 // 3)
        )

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, device)
        c = self.common
        self.temperature, self.kd_weight = self.column("temperature"), self.column("kd_weight")
        self.sets = Splits(datasets[c.dataset], self.device)
        layers = graph(c.network, CLASSES)
        lr = [c.lr for c in configs]
        self.students = Population(layers, shape(c.dataset), [c.seed] * len(configs), lr, self.device)
        self.names = [f"{i} {'conv' if isinstance(layer, Conv) else 'linear'}" for i, layer in enumerate(layers, 1)]
        self.answers = torch.from_numpy(np.array(answers["logits"])).to(self.device)
        self.probe = batch_index(self.sets.val, PROBED, 0, seed=0, stream=PROBE)  # the same for every student and seed

    def loss(self, step: int) -> Tensor:
        c, sets = self.common, self.sets
        index = batch_index(sets.train, c.batch_size, step, c.seed, stream=TRANSFER)
        z = self.students.logits(to_float(sets.images[index]))
        soft = distillation(z, self.answers[index], self.temperature)
        return mixed(cross_entropy(z, sets.labels[index]), soft, self.kd_weight)

    def evaluations(self) -> list[int]:
        """0, before the first step, and the end halved again and again, so that the middle is among them; not 1, for the
        warm-up's first step is no step."""
        steps = self.common.steps
        return sorted({0, steps, *(round(steps / 2**k) for k in range(1, steps.bit_length() - 1))})

    def measure(self) -> dict[str, Tensor]:
        sets = self.sets
        metrics = {"val_accuracy": self.students.accuracy(sets.images[sets.val], sets.labels[sets.val], to_float)}
        if self.finished:
            metrics["test_accuracy"] = self.students.accuracy(sets.test_images, sets.test_labels, to_float)
        return metrics

    def tables(self) -> list[dict[str, list[dict]]]:
        """`gradients`: for every student, probe temperature and layer ("logits", "weights": all of them, and each layer's
        weights) the norms of the gradients of the soft loss KL(T), of the hard loss, and their cosine.

        In the logits a norm is the mean over the images of ||dC/dz||, C the loss of one image, and the cosine likewise; in
        weights they are those of the batch's mean loss. The columns of logits alone: `exact_norm`, the mean of
        ||q - p||/T; `limit_norm`, the mean of ||z - v||/(N T^2); the deviations of z and v over the classes.
        """
        x, y, t = (
            to_float(self.sets.images[self.probe]),
            self.sets.labels[self.probe],
            self.answers[self.probe].double(),
        )
        weights = [p for p in self.students.parameters if _is_weight(p)]
        # fp64 from the logits on: at high T the two softmaxes agree in most of their digits
        z = self.students.logits(x, training=False).double()  # (S, B, N)
        hard = gradients(cross_entropy(z, y), z, weights)
        v = centred(t)
        u = centred(z.detach())
        known = {"student_deviation": deviation(u), "teacher_deviation": deviation(v).expand(len(self.configs))}
        lines: list[dict[str, Tensor | float | str]] = []
        for T in [COLDEST * 2.0**k for k in range(self.common.doublings + 1)]:
            soft = gradients(distillation(z, t, z.new_full((len(self.configs),), T)) / T**2, z, weights)
            exact = (F.softmax(u / T, -1) - F.softmax(v / T, -1)) / T
            theory = {"exact_norm": exact.norm(dim=-1).mean(-1)}
            theory["limit_norm"] = (u - v).norm(dim=-1).mean(-1) / (CLASSES * T**2)
            for name, s, h in zip(["logits", "weights", *self.names], soft, hard, strict=True):
                norm, other = s.norm(dim=-1).mean(-1), h.norm(dim=-1).mean(-1)
                cosine = F.cosine_similarity(s, h, dim=-1, eps=0).mean(-1)
                line = {"probe_temperature": T, "layer": name, "soft_norm": norm, "scaled_norm": T**2 * norm}
                line |= {"hard_norm": other, "ratio": T**2 * norm / other, "cosine": cosine}
                lines.append(line | (theory | known if name == "logits" else {}))
        columns = [{k: v.tolist() if isinstance(v, Tensor) else v for k, v in line.items()} for line in lines]
        return [
            {"gradients": [{k: v[s] if isinstance(v, list) else v for k, v in line.items()} for line in columns]}
            for s in range(len(self.configs))
        ]


def gradients(loss: Tensor, z: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of every student's loss, one backward for all students: in the logits of each image, (S, B, N), as if its
    loss were not divided by B; in all weights, (S, 1, D); in each layer's, (S, 1, D').

    loss: (S,), a mean over the B images; z: the logits (S, B, N) it was made of; weights: (S, ...) each.
    """
    in_logits, *in_weights = torch.autograd.grad(loss.sum(), [z, *weights], retain_graph=True)
    flat = [g.detach().double().flatten(1)[:, None] for g in in_weights]
    return [in_logits.detach() * z.shape[1], torch.cat(flat, -1), *flat]


def centred(z: Tensor) -> Tensor:
    """Logits (..., N) less their mean over the classes."""
    return z - z.mean(-1, keepdim=True)


def deviation(z: Tensor) -> Tensor:
    """Root mean square of centred logits (..., B, N) over images and classes."""
    return z.square().mean((-1, -2)).sqrt()


def _is_weight(p: Tensor) -> bool:
    """Of a stacked parameter: Conv weights are (S, out, k, k, in), Linear weights (S, in, out) and biases (S, 1, out)."""
    return p.dim() == 5 or (p.dim() == 3 and p.shape[1] > 1)


def train_teacher(artifact: Teacher, sets: Splits) -> Population:
    """A teacher after its training. Its start is drawn apart from the students' of the same seed."""
    layers, device = graph(artifact.network, CLASSES), sets.images.device
    teacher = Population(layers, shape(artifact.dataset), [substream(artifact.seed, TEACHER)], [TEACHER_LR], device)

    def loss(index: Tensor) -> Tensor:
        return cross_entropy(teacher.logits(to_float(sets.images[index])), sets.labels[index])

    return teachers.train(teacher, sets.train, artifact.steps, TEACHER_BATCH, artifact.seed, TEACHER, loss)
