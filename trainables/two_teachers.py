"""One student of two teachers, each of whom knows half of the classes, when the data they learnt from are gone.

kd_weight Dist_1 + (1 - kd_weight) Dist_2, each Dist the distillation of Hinton et al. 2015 (arXiv 1503.02531) from a
teacher of five classes into a student of ten. What the teachers are asked about (`inputs`) and how five classes are put
on ten outputs (`lifting`) are axes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.core import generator, pools, teachers
from trainables.core.augment import written_otherwise
from trainables.core.batches import batch_index, substream
from trainables.core.cache import cached, content
from trainables.core.limits import above, between, checked, one_of
from trainables.core.losses import cross_entropy, log_odds
from trainables.core.nets import CNNS, Layer, graph, summary
from trainables.core.pack import Pack
from trainables.core.population import ADAM, INITIALISATION, PRECISIONS, Population, footprint
from trainables.core.schedules import WARMUP_LINEAR
from trainables.core.splits import HELD_OUT, SPLIT, Splits

CLASSES, HALF, SHAPE = 10, 5, (1, 28, 28)
TRANSFER, TEACHER, POOL = range(3)  # purposes that draw random numbers
TEACHER_LR, TEACHER_BATCH, SMOOTHING = 3e-3, 128, 0.1
GENERATOR_BATCH = 128
INPUTS = ("real", "generator", "strokes", "fashion", "noise")
LIFTINGS = ("zeros", "mask", "confidence", "energy")
IMITATOR = "cnn_small"  # learns along with the generator
SHOWN = 40  # images of each pool that are kept to be looked at


@dataclass(frozen=True)
class Config:
    """One student.

    inputs: the images that the teachers are asked about. lifting: how the answer of a teacher of five classes is put on
    ten outputs, see `two_teachers`. pool: how many images there are. temperature T > 0; kd_weight, the lambda of the
    loss, in [0, 1]: the weight of the teacher of 0 to 4. lr: peak learning rate of Adam. steps, batch_size: training
    length in batches and their size in images. seed: initial weights, order and choice of the images, and both teachers.
    """

    inputs: Annotated[str, one_of(*INPUTS)]
    lifting: Annotated[str, one_of(*LIFTINGS)]
    pool: Annotated[int, above(0)]
    network: Annotated[str, one_of(*CNNS)]
    teacher: Annotated[str, one_of(*CNNS)]
    teacher_steps: Annotated[int, above(0)]
    generator_steps: Annotated[int, above(0)]
    precision: Annotated[str, one_of(*PRECISIONS)]
    steps: Annotated[int, above(0)]
    batch_size: Annotated[int, above(1)]
    lr: Annotated[float, above(0)]
    temperature: Annotated[float, above(0)]
    kd_weight: Annotated[float, between(0, 1)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)


@dataclass(frozen=True)
class Artifact:
    """Two teachers, and the images that they are asked about."""

    inputs: str
    pool: int
    network: str
    steps: int
    generator_steps: int  # 0 where the pool needs no generator
    seed: int


Arrays = Mapping[str, np.ndarray]


def two_teachers(z: Tensor, first: Tensor, second: Tensor, T: Tensor, kd_weight: Tensor, lifting: str) -> Tensor:
    """T^2 mean_b [ v_b KL(p1_b || q1_b) + (1 - v_b) KL(p2_b || q2_b) ],  p_k = softmax(teacher k / T)

    z: student logits (S, B, 10); first, second: logits (B, 5) of the teachers of 0-4 and of 5-9; T, kd_weight: (S,).
    zeros       q = softmax(z/T) over all ten: a teacher says 0 for the classes that it does not know. v = kd_weight
    mask        q_k = softmax over the classes of teacher k alone, which says nothing about the others. v = kd_weight
    confidence  q as for zeros; v_b by how sure each teacher is, the odds of its first answer
    energy      q as for zeros; v_b by logsumexp(teacher k / T), the (negative) energy
    Returns (S,), in nats.
    """
    t = T[:, None, None]
    log_p = [F.log_softmax(answer / t, -1) for answer in (first, second)]
    halves = (z / t).split(HALF, -1)
    log_q = [F.log_softmax(h, -1) for h in halves] if lifting == "mask" else F.log_softmax(z / t, -1).split(HALF, -1)
    divergence = [(p.exp() * (p - q)).sum(-1) for p, q in zip(log_p, log_q, strict=True)]  # (S, B) each
    v = share(first, second, T, kd_weight, lifting)
    return T**2 * (v * divergence[0] + (1 - v) * divergence[1]).mean(-1)


def share(first: Tensor, second: Tensor, T: Tensor, kd_weight: Tensor, lifting: str) -> Tensor:
    """v (S, B), the first teacher's part in each example; the second has the rest.

    kd_weight w where the lifting does not weigh; else Bayes' rule with prior w, w e1 / (w e1 + (1 - w) e2), where e_k is
    the evidence that the image belongs to teacher k. For `confidence` e_k = p / (1 - p), p the largest probability at
    temperature 1. For `energy` e_k = sum exp(logits / T): with w = 1/2 the student is taught the softmax over both
    teachers' logits side by side.
    """
    w = kd_weight[:, None]
    if lifting in ("zeros", "mask"):
        return w.expand(-1, len(first))
    if lifting == "confidence":
        evidence = [log_odds(answer) for answer in (first, second)]
    else:
        evidence = [(answer / T[:, None, None]).logsumexp(-1) for answer in (first, second)]
    return torch.sigmoid(torch.logit(w) + evidence[0] - evidence[1])


JOINED = {
    # how two teachers may be joined without a student: each teacher's claim on an image, from its logits (N, 5)
    "probability": lambda t: F.softmax(t, -1).amax(-1),
    "entropy": lambda t: (F.softmax(t, -1) * F.log_softmax(t, -1)).sum(-1),
    "logit": lambda t: t.amax(-1),
    "energy": lambda t: t.logsumexp(-1),
}


def joined(first: Tensor, second: Tensor, how: str) -> Tensor:
    """The class (N,) that the teacher with the larger claim names. first, second: logits (N, 5)."""
    claim = JOINED[how]
    return torch.where(claim(first) >= claim(second), first.argmax(-1), HALF + second.argmax(-1))


class TwoTeachers(Pack):
    """Students of two teachers and of no labels. datasets: {"mnist": its arrays, "fashion_mnist": its arrays}."""

    config_type = Config
    may_differ = frozenset({"temperature", "kd_weight", "lr"})
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": INITIALISATION + " Each teacher starts from another draw of the seed.",
        "loss": (
            "T^2 mean_b [v_b KL(p1_b || q1_b) + (1 - v_b) KL(p2_b || q2_b)], p_k = softmax(teacher k / T), q = "
            "softmax(z/T) over all ten classes (mask: over those of teacher k alone), z: the student's logits, T: "
            "temperature. v_b = kd_weight w for zeros and mask, else w e1 / (w e1 + (1 - w) e2); confidence: e_k = "
            "p/(1 - p), p the largest probability of teacher k at T = 1; energy: e_k = sum exp(teacher k / T). No "
            "label is read."
        ),
        "optimiser": f"{ADAM}, peak rate lr. {WARMUP_LINEAR} Batches: reshuffled passes over the pool.",
        "images": (
            "1 x 28 x 28 in [-1, 1]. real: the MNIST images that train; fashion: Fashion-MNIST's training images; "
            "noise, strokes, generator: made, without looking at images. As many are taken of each class that the "
            "teachers name, images of rare ones repeatedly; all but real ones are then turned, stretched, slanted and "
            "moved, each by its own amounts, once."
        ),
        "teachers": (
            f"Two networks as the axis names, each with five outputs, trained by CE with label smoothing {SMOOTHING:g} "
            "on the training digits 0 to 4 or 5 to 9, in every batch turned, stretched, slanted and moved, with "
            f"{ADAM}, peak rate {TEACHER_LR:g}, the same schedule, teacher_steps batches of {TEACHER_BATCH}."
        ),
        "generator": (
            f"Where it makes the inputs. {generator.METHOD} generator_steps batches of {GENERATOR_BATCH}; the pool is "
            f"drawn from what it made in all of them. Its student is {IMITATOR}."
        ),
        "evaluation": "Half-way and at the end: val_accuracy. At the end: test_accuracy, and that of each half.",
        "split": f"{SPLIT} Teachers, and students of real inputs, see the images that train.",
    }
    students: Population

    @classmethod
    def architecture(cls, config: Config) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
        return graph(config.network, CLASSES), SHAPE

    @classmethod
    def described(cls, config: Config) -> dict[str, str]:
        found = {
            f"student: {config.network}": summary(graph(config.network, CLASSES), SHAPE),
            f"teacher: {config.teacher}": summary(graph(config.teacher, HALF), SHAPE),
        }
        if config.inputs == "generator":
            found["generator: its network"] = generator.described(CLASSES)
            found[f"generator: its student, {IMITATOR}"] = summary(graph(IMITATOR, CLASSES), SHAPE)
        return found

    @staticmethod
    def artifact(config: Config) -> Artifact:
        """What must be prepared before a student can be trained: both teachers, the pool and their answers to it."""
        generator_steps = config.generator_steps if config.inputs == "generator" else 0
        return Artifact(config.inputs, config.pool, config.teacher, config.teacher_steps, generator_steps, config.seed)

    @staticmethod
    def prepare(artifact: Artifact, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """images (N, 28, 28) uint8 and answers (2, N, 5); the artifact's row, with some of the images in a table.

        Teachers and pools that are slow to make are made once and cached.
        """
        start = time.perf_counter()
        teachers = Teachers(artifact, datasets["mnist"], device)
        images = _pool(artifact, datasets, teachers)
        answers = teachers.answers(torch.from_numpy(images).to(teachers.device))
        said, sure = joined(answers[0], answers[1], "probability"), answers.softmax(-1).amax((0, 2))  # (N,) each
        row = {
            "inputs": artifact.inputs, "teacher": artifact.network, "teacher_steps": artifact.steps, "seed": artifact.seed,
            "images": len(images), **teachers.accuracies(),
            "distinct_images": len(np.unique(images.reshape(len(images), -1), axis=0)),
            "seconds": time.perf_counter() - start,
        }  # fmt: skip
        shown = [
            {"inputs": artifact.inputs, "seed": artifact.seed, "number": i, "said": int(said[i]),
             "probability": float(sure[i]), "image": images[i].tobytes()}
            for i in range(min(SHOWN, len(images)))
        ]  # fmt: skip
        return {"images": images, "answers": answers.cpu().numpy()}, {**row, "tables": {"images": shown}}

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes."""
        return footprint(graph(config.network, CLASSES), SHAPE, max(config.batch_size, 1000 // 3))

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, device)
        c = self.common
        self.temperature, self.kd_weight = self.column("temperature"), self.column("kd_weight")
        self.students = Population(
            *self.architecture(c), [c.seed] * len(configs), [c.lr for c in configs], self.device, c.precision
        )
        self.images = torch.from_numpy(np.array(answers["images"])).to(self.device)
        self.first, self.second = torch.from_numpy(np.array(answers["answers"])).to(self.device)
        self.all = torch.arange(len(self.images), device=self.device)
        self.digits = Splits(datasets["mnist"], self.device)

    def loss(self, step: int) -> Tensor:
        c = self.common
        i = batch_index(self.all, c.batch_size, step, c.seed, stream=TRANSFER)
        z = self.students.logits(to_float(self.images[i]))
        return two_teachers(z, self.first[i], self.second[i], self.temperature, self.kd_weight, c.lifting)

    def evaluations(self) -> list[int]:
        """Trainings are short, so only in the middle and at the end."""
        return [(self.common.steps + 1) // 2, self.common.steps]

    def measure(self) -> dict[str, Tensor]:
        """Labels of held-out digits choose among students, they train none."""
        digits, students = self.digits, self.students
        metrics = {"val_accuracy": students.accuracy(digits.images[digits.val], digits.labels[digits.val], to_float)}
        if self.finished:
            said = students.answers(digits.test_images, to_float).argmax(-1)  # (S, N)
            right, low = said == digits.test_labels, digits.test_labels < HALF
            metrics["test_accuracy"] = self.tested(said, digits.test_labels)
            metrics["test_accuracy_0_4"] = right[:, low].float().mean(1)
            metrics["test_accuracy_5_9"] = right[:, ~low].float().mean(1)
        return metrics


class Teachers:
    """The teacher of 0 to 4 and the teacher of 5 to 9, trained each on its own digits alone, or read from the cache."""

    def __init__(self, artifact: Artifact, mnist: Arrays, device: str) -> None:
        self.artifact, self.device = artifact, torch.device(device)
        self.digits = Splits(mnist, self.device)
        layers = graph(artifact.network, HALF)
        recipe = {
            "recipe": 2, "smoothing": SMOOTHING, "network": repr(layers), "lr": TEACHER_LR, "batch": TEACHER_BATCH, "held_out": HELD_OUT,
            "steps": artifact.steps, "seed": artifact.seed,
        }  # fmt: skip
        self.key = {**recipe, "data": content(mnist)}
        self.both = []
        for half in range(2):
            teacher = Population(layers, SHAPE, [substream(artifact.seed, TEACHER, half)], [TEACHER_LR], self.device)
            kept = teachers.once("half-teacher", {**recipe, "half": half}, mnist, partial(self._train, teacher, half))
            with torch.no_grad():
                for i, mine in enumerate([*teacher.parameters, *teacher.statistics]):
                    mine.copy_(torch.from_numpy(kept[f"{i:02d}"]))
            self.both.append(teacher)

    def _train(self, teacher: Population, half: int) -> dict[str, Tensor]:
        """Supervised training on the digits of one half, written otherwise at every step, with smoothed labels: both make
        a teacher less sure of digits that it does not know, which is all that tells whom to believe."""
        d, g = self.digits, torch.Generator().manual_seed(substream(self.artifact.seed, TEACHER, half))

        def loss(i: Tensor) -> Tensor:
            x = written_otherwise(to_float(d.images[i]), g, SHAPE[1])
            log_q = F.log_softmax(teacher.logits(x), -1)
            return (1 - SMOOTHING) * cross_entropy(log_q, d.labels[i] - half * HALF) - SMOOTHING * log_q.mean((1, 2))

        own = d.train[d.labels[d.train] // HALF == half]
        teachers.train(teacher, own, self.artifact.steps, TEACHER_BATCH, self.artifact.seed, TEACHER, loss)
        return {f"{i:02d}": p.detach() for i, p in enumerate((*teacher.parameters, *teacher.statistics))}

    def answers(self, images: Tensor) -> Tensor:
        """Logits of both on all images (N, 28, 28): (2, N, 5)."""
        return torch.stack([teacher.answers(images, to_float)[0] for teacher in self.both])

    def accuracies(self) -> dict[str, float]:
        """On test: each teacher on its own half, both joined without a student, and the first half's share of the digits."""
        x, y = self.digits.test_images, self.digits.test_labels
        first, second = self.answers(x)
        own = {
            "first_test_accuracy": (first.argmax(-1) == y)[y < HALF],
            "second_test_accuracy": (HALF + second.argmax(-1) == y)[y >= HALF],
        }
        both = {f"joined_{how}_test_accuracy": joined(first, second, how) == y for how in JOINED}
        rights = own | both | {"first_share": y < HALF}
        return {name: float(right.float().mean()) for name, right in rights.items()}


def _pool(artifact: Artifact, datasets: Mapping[str, Arrays], teachers: Teachers) -> np.ndarray:
    """(N, 28, 28) uint8, N = artifact.pool: of images that were found or made, as many of each class as the teachers see.

    Only `real` looks at MNIST's images. The others have few of some classes, which a student would then hardly name; so
    that these are not a few images many times, all of the others are written otherwise, each by its own amounts.
    """
    seed = substream(artifact.seed, POOL)
    found = _found(artifact, datasets, teachers, seed)
    first, second = teachers.answers(torch.from_numpy(found).to(teachers.device))
    said = joined(first, second, "probability").cpu().numpy()
    chosen = found[even(said, artifact.pool, np.random.default_rng(seed))]
    if artifact.inputs == "real":
        return chosen
    g = torch.Generator().manual_seed(seed)
    moved = [written_otherwise(to_float(part), g, SHAPE[1]) for part in torch.from_numpy(chosen).split(1000)]
    return torch.cat(moved)[:, 0].add(1).mul(127.5).round().byte().numpy()


def _found(artifact: Artifact, datasets: Mapping[str, Arrays], teachers: Teachers, seed: int) -> np.ndarray:
    """Images to choose from, (M, 28, 28) uint8; where they have to be made, made once and cached."""
    if artifact.inputs == "real":
        return teachers.digits.images[teachers.digits.train].cpu().numpy()
    if artifact.inputs == "fashion":
        return np.asarray(datasets["fashion_mnist"]["train_images"])
    key = {"recipe": 5, "inputs": artifact.inputs, "count": artifact.pool, "seed": seed}
    if artifact.inputs == "generator":
        key |= {"steps": artifact.generator_steps, "batch": GENERATOR_BATCH, "teachers": teachers.key}

    def make() -> dict[str, np.ndarray]:
        if artifact.inputs != "generator":
            return {"images": {"noise": pools.noise, "strokes": pools.strokes}[artifact.inputs](artifact.pool, seed)}
        student = Population(graph(IMITATOR, CLASSES), SHAPE, [seed], [generator.LR], teachers.device)
        made = generator.pool(teachers.both, student, artifact.pool, GENERATOR_BATCH, artifact.generator_steps, seed)
        return {"images": made}

    return cached("pool", key, make)["images"]


def even(said: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` indices into `said` (M,), as many of each value as of any other: the members of a rare one are repeated, each
    as often as the next; in random order."""
    dealt = []
    for members in (np.flatnonzero(said == value) for value in np.unique(said)):
        order = rng.permutation(members)
        dealt.append(np.resize(order, -(-count // len(np.unique(said)))))
    return rng.permutation(np.concatenate(dealt))[:count]


def to_float(x: Tensor) -> Tensor:
    """uint8 images (B, 28, 28) to floats in [-1, 1], (B, 1, 28, 28)."""
    return x[:, None].float().div_(127.5).sub_(1)
