"""Knowledge distillation, and distillation as domain adaptation.

A teacher is trained on a source domain (MNIST); students are trained on a target domain (MNIST-M) by
(1 - kd_weight) CE + kd_weight T^2 KL(teacher || student)      Hinton et al. 2015 (arXiv 1503.02531), section 2.
Two ways to adapt without target labels come on top: the teacher's batch-normalisation statistics are re-estimated on the
target images (AdaBN, arXiv 1603.04779), and the student of a round becomes the teacher of the next, from the confident
answers only (self-training, class-balanced as in Zou et al. 2018, arXiv 1810.07911).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainables.core import splits
from trainables.core.batches import balanced, batch_index, substream
from trainables.core.cache import cached, content
from trainables.core.losses import cross_entropy, distillation, mixed
from trainables.core.metrics import information
from trainables.core.nets import NETWORKS, graph, normalised
from trainables.core.pack import Pack, check
from trainables.core.population import PRECISIONS, Population, footprint
from trainables.core.schedules import warmup_linear

CLASSES, SHAPE = 10, (3, 28, 28)
TRANSFER, LABELLED, TEACHER, ROUND, INVERSION = range(5)  # purposes that draw random numbers
TEACHER_LR, TEACHER_BATCH = 3e-3, 128
ROUND_TEMPERATURE, ROUND_LR = 1.0, 3e-3  # of students that become teachers
SHARPENING = 0.5  # the temperature at which their answers are taken, as in MixMatch (arXiv 1905.02249)
VIEWS, LEVELS = ("target", "source"), ("source_test_accuracy", "target_test_accuracy")
ADAPTATIONS, FILTERS, AUGMENTATIONS = ("none", "batch_norm"), ("none", "confident"), ("none", "inversion")


@dataclass(frozen=True)
class Config:
    """One student.

    teacher_view: which image the teacher is shown, "target" (the MNIST-M image itself) or "source" (the clean digit
    behind it). target_labels: how many MNIST-M labels the student has, a count or "all"; the other digits serve
    unlabelled. rounds: 1, a student of the teacher; r + 1, of the student of round r, whose answers are sharpened.
    adaptation: of a teacher with batch normalisation, "none" or "batch_norm" (statistics re-estimated on the MNIST-M
    training images). filtering: which answers teach, "none" (all do) or "confident" (the surest of each class).
    augmentation: of the student's images, "none" or "inversion" (of the colours of every second one, at random), which
    keeps the label. temperature T > 0; kd_weight, the lambda of the loss, in [0, 1]. lr: peak learning rate of Adam.
    steps, batch_size: training length in batches and their size in images. seed: initial weights, order of the data,
    choice of the labelled digits, and which teacher.
    """

    teacher_view: str
    target_labels: str
    rounds: int
    adaptation: str
    filtering: str
    augmentation: str
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
        check(
            (self.teacher_view in VIEWS, f"teacher_view is target or source, not {self.teacher_view!r}"),
            (
                labels == "all" or (labels.isdecimal() and int(labels) > 0),
                f"target_labels is a count or all, not {labels!r}",
            ),
            (self.rounds > 0, f"rounds must be above 0, not {self.rounds}"),
            (self.adaptation in ADAPTATIONS, f"adaptation is one of {', '.join(ADAPTATIONS)}, not {self.adaptation!r}"),
            (
                self.adaptation == "none" or self.teacher not in NETWORKS or normalised(self.teacher),
                f"adaptation {self.adaptation} needs a teacher with batch normalisation, which {self.teacher} has not",
            ),
            (self.filtering in FILTERS, f"filtering is one of {', '.join(FILTERS)}, not {self.filtering!r}"),
            (
                self.augmentation in AUGMENTATIONS,
                f"augmentation is one of {', '.join(AUGMENTATIONS)}, not {self.augmentation!r}",
            ),
            (self.network in NETWORKS, f"network is one of {', '.join(NETWORKS)}, not {self.network!r}"),
            (self.teacher in NETWORKS, f"teacher is one of {', '.join(NETWORKS)}, not {self.teacher!r}"),
            (self.precision in PRECISIONS, f"precision is one of {', '.join(PRECISIONS)}, not {self.precision!r}"),
            (self.temperature > 0, f"temperature must be above 0, not {self.temperature}"),
            (0 <= self.kd_weight <= 1, f"kd_weight must lie in [0, 1], not {self.kd_weight}"),
            (self.lr > 0, f"lr must be above 0, not {self.lr}"),
            (min(self.steps, self.teacher_steps) > 0, "steps and teacher_steps must be above 0"),
            (self.batch_size > 1, f"batch_size must be above 1, not {self.batch_size}"),
        )


@dataclass(frozen=True)
class Teacher:
    """One teacher: its network, training length in batches, seed, and whether it is adapted to the target domain."""

    network: str
    steps: int
    seed: int
    adaptation: str


Arrays = Mapping[str, np.ndarray]


class Distillation(Pack):
    """Students of MNIST-M and of a teacher of MNIST. datasets: {"mnistm": its arrays}."""

    config_type = Config

    @staticmethod
    def artifact(config: Config) -> Teacher | Config:
        """What must be prepared before a student can be trained: the answers of its teacher, or of the student that the
        round before ended with. That student hears its own teacher alone (kd_weight 1), so it sees no target label."""
        if config.rounds == 1:
            return Teacher(config.teacher, config.teacher_steps, config.seed, config.adaptation)
        return replace(
            config, rounds=config.rounds - 1, kd_weight=1.0, target_labels="all",
            temperature=ROUND_TEMPERATURE, lr=ROUND_LR,
        )  # fmt: skip

    @classmethod
    def prepare(
        cls, artifact: Teacher | Config, datasets: Mapping[str, Arrays], device: str
    ) -> tuple[dict[str, np.ndarray], dict]:
        """The teacher's logits on every training image, (N, 10) per view, and its row for the `teachers` table.

        Trained once; a second run finds the answers in the cache, keyed by the teacher and the content of the data.
        """
        if isinstance(artifact, Config):
            return cls._prepare_round(artifact, datasets, device)
        mnistm = datasets["mnistm"]
        key = {**_recipe(artifact.network), "steps": artifact.steps, "seed": artifact.seed, "data": content(mnistm)}
        made = cached("teacher", key, lambda: _teach(artifact, mnistm, device))
        prefix = "" if artifact.adaptation == "none" else f"{artifact.adaptation}_"
        about = {
            "teacher": artifact.network, "teacher_steps": artifact.steps, "seed": artifact.seed,
            "rounds": 1, "adaptation": artifact.adaptation,
        }  # fmt: skip
        levels = {name: float(made[prefix + name]) for name in LEVELS}
        answers = {view: made[prefix + view] for view in VIEWS}
        return answers, about | levels | {"seconds": float(made["seconds"])}

    @classmethod
    def _prepare_round(
        cls, student: Config, datasets: Mapping[str, Arrays], device: str
    ) -> tuple[dict[str, np.ndarray], dict]:
        """The same of a student that becomes a teacher; before it, those of the rounds before."""

        def make() -> dict[str, np.ndarray]:
            answers, _ = cls.prepare(cls.artifact(student), datasets, device)
            pack = cls([student], datasets, answers, device)
            while not pack.finished:
                row = pack.step()[0]
            if row["status"] == "failed":
                raise ValueError(f"the student of round {student.rounds} came to nothing: {row['error']}")
            shown = pack.sets.images if student.teacher_view == "target" else pack.sets.digits
            numbers = (row["source_accuracy"], row["test_accuracy"], pack.seconds)
            measured = {name: np.asarray(n) for name, n in zip((*LEVELS, "seconds"), numbers, strict=True)}
            return {"answers": pack.students.answers(shown, prepare)[0].cpu().numpy() / SHARPENING} | measured

        depends = {
            "graph": repr(graph(student.network, CLASSES)),
            "sharpening": SHARPENING,
            "shares": [share_kept(r + 1) for r in range(student.rounds)],
            "teacher": _recipe(student.teacher),
        }
        made = cached("student", {"recipe": 2, **asdict(student), **depends, "data": content(datasets["mnistm"])}, make)
        about = {name: value for name, value in asdict(student).items() if isinstance(value, str | int)}
        about["rounds"] = student.rounds + 1  # the round it teaches in
        levels = {name: float(made[name]) for name in (*LEVELS, "seconds")}
        return {student.teacher_view: made["answers"]}, about | levels

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes."""
        return footprint(graph(config.network, CLASSES), SHAPE, max(config.batch_size * 3 // 2, 2000 // 3))

    def __init__(self, pack: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(pack, device)
        c = self.common
        self.temperature, self.kd_weight = self.column("temperature"), self.column("kd_weight")
        # a fresh start each round: distillation is easier between networks that share their first weights
        start = c.seed if c.rounds == 1 else substream(c.seed, ROUND, c.rounds)
        self.students = Population(
            graph(c.network, CLASSES), SHAPE, [start] * len(pack), [c.lr for c in pack], self.device, c.precision
        )
        self.sets = Splits(datasets["mnistm"], self.device)
        self.answers = torch.from_numpy(np.array(answers[c.teacher_view])).to(self.device)
        train = self.sets.train
        self.pool = train if c.filtering == "none" else confident(self.answers, train, share_kept(c.rounds))
        count = len(train) if c.target_labels == "all" else int(c.target_labels)
        self.labelled = None  # every digit
        if count < len(train) or (len(self.pool) < len(train) and (self.kd_weight < 1).any()):
            self.labelled = balanced(self.sets.labels, train, count, c.seed, LABELLED)

    def shown(self, index: Tensor, step: int) -> Tensor:
        """The images as the students see them in a step, in [-1, 1], (B, 3, 28, 28)."""
        x = self.sets.target(index)
        if self.common.augmentation == "inversion":
            g = torch.Generator().manual_seed(substream(self.common.seed, INVERSION, step))
            x = x * (1 - 2 * torch.randint(2, (len(x), 1, 1, 1), generator=g).to(x.device))
        return x

    def loss(self, step: int) -> Tensor:
        c, sets = self.common, self.sets
        index = batch_index(self.pool, c.batch_size, step, c.seed, stream=TRANSFER)
        if self.labelled is None:  # every digit of the batch has its label
            z = self.students.logits(self.shown(index, step))
            hard = cross_entropy(z, sets.labels[index])
        else:  # half as many labelled digits come beside the batch, for the hard term alone
            labelled = batch_index(self.labelled, c.batch_size // 2, step, c.seed, stream=LABELLED)
            both = self.students.logits(self.shown(torch.cat([index, labelled]), step))
            z, z_labelled = both.split([len(index), len(labelled)], dim=1)
            hard = cross_entropy(z_labelled, sets.labels[labelled])
        return mixed(hard, distillation(z, self.answers[index], self.temperature), self.kd_weight)

    def measure(self) -> dict[str, Tensor]:
        sets, students = self.sets, self.students
        z = students.answers(sets.images[sets.val], prepare)
        self.named = z.argmax(-1)
        metrics = {
            "val_accuracy": (self.named == sets.labels[sets.val]).float().mean(1),
            "val_information": information(z),
        }
        if self.finished:
            metrics["test_accuracy"] = students.accuracy(sets.test_images, sets.test_labels, prepare)
            metrics["source_accuracy"] = students.accuracy(sets.test_digits, sets.test_labels, prepare)
        return metrics

    def tables(self) -> list[dict[str, list[dict]]]:
        """At the end, what students that saw no label name each validation image, as a string of digits: where no label may
        choose, students can be asked whether they agree."""
        if not self.finished:
            return super().tables()
        named = ["".join(map(str, row)) for row in self.named.tolist()]
        return [{"answers": [{"named": n}]} if c.kd_weight == 1 else {} for c, n in zip(self.pack, named, strict=True)]


class Splits(splits.Splits):
    """MNIST-M with the clean digit behind every image: digits, test_digits (N, 28, 28)."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        super().__init__(arrays, device)
        self.digits, self.test_digits = (splits.shared(arrays[f"{part}_digits"], device) for part in ("train", "test"))

    def target(self, index: Tensor) -> Tensor:
        return prepare(self.images[index])


def prepare(x: Tensor) -> Tensor:
    """uint8 images (B, 3, 28, 28), or digits (B, 28, 28) repeated over the channels, to floats in [-1, 1]."""
    if x.dim() == 3:
        x = x[:, None].expand(-1, 3, -1, -1)
    return x.to(memory_format=torch.channels_last).float().div_(127.5).sub_(1)


def share_kept(rounds: int) -> float:
    """The share of the training images that a round keeps: 30 % in the first, a tenth more in each later one, at most 80."""
    return min(0.1 * (rounds + 2), 0.8)


def confident(answers: Tensor, pool: Tensor, share: float) -> Tensor:
    """The members of `pool` that a teacher answers most surely, ascending. answers: logits on all images (N, classes).

    As many of each class as it names, share len(pool) / classes, or all of them where it names fewer: the sure ones alone
    would be of easy classes (Zou et al. 2018, arXiv 1810.07911). No label is read.
    """
    surest, named = answers[pool].softmax(-1).max(-1)
    most = round(share * len(pool) / answers.shape[1])
    members = [(named == k).nonzero()[:, 0] for k in range(answers.shape[1])]
    kept = [m[surest[m].argsort(descending=True, stable=True)[:most]] for m in members]
    return pool[torch.cat(kept).sort().values]


def new_teacher(artifact: Teacher, device: torch.device | str) -> Population:
    """An untrained teacher. Its start is drawn apart from the students' of the same seed: distillation is easier between
    networks that share their first weights."""
    seed = substream(artifact.seed, TEACHER)
    return Population(graph(artifact.network, CLASSES), SHAPE, [seed], [TEACHER_LR], device)


def train_teacher(teacher: Population, artifact: Teacher, sets: Splits) -> None:
    """Plain supervised training on the clean training digits."""
    for step in range(artifact.steps):
        index = batch_index(sets.train, TEACHER_BATCH, step, artifact.seed, stream=TEACHER)
        loss = cross_entropy(teacher.logits(prepare(sets.digits[index])), sets.labels[index])
        teacher.step(loss, warmup_linear(step / artifact.steps))


def _teach(artifact: Teacher, datasets: Arrays, device: str) -> dict[str, np.ndarray]:
    """A trained teacher's logits on all training digits and on the images made from them, and its accuracies."""
    start = time.perf_counter()
    sets = Splits(datasets, torch.device(device))
    teacher = new_teacher(artifact, device)
    train_teacher(teacher, artifact, sets)
    made = _answers(teacher, sets)
    if normalised(artifact.network):
        teacher.reestimate(sets.images[sets.train], prepare)
        made |= {f"batch_norm_{name}": value for name, value in _answers(teacher, sets).items()}
    return made | {"seconds": np.asarray(time.perf_counter() - start)}


def _answers(teacher: Population, sets: Splits) -> dict[str, np.ndarray]:
    """A teacher's logits on the training set in both views, (N, 10) each, and its accuracies on both test sets."""
    made = {
        view: teacher.answers(images, prepare)[0].cpu().numpy()
        for view, images in (("target", sets.images), ("source", sets.digits))
    }
    for level, images in (("source_test_accuracy", sets.test_digits), ("target_test_accuracy", sets.test_images)):
        made[level] = teacher.accuracy(images, sets.test_labels, prepare)[0].cpu().numpy()
    return made


def _recipe(network: str) -> dict[str, object]:
    """All that a teacher's training depends on, save its length, its seed and the data."""
    recipe = {
        "recipe": 2,
        "network": repr(graph(network, CLASSES)),
        "lr": TEACHER_LR,
        "batch": TEACHER_BATCH,
        "held_out": splits.HELD_OUT,
    }
    return recipe | ({"adaptation": 1} if normalised(network) else {})  # as it is and adapted are made together
