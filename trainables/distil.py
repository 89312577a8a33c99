"""Knowledge distillation, and distillation as domain adaptation.

A teacher is trained on a source domain (MNIST); students are trained on a target domain (MNIST-M) by
(1 - kd_weight) CE + kd_weight T^2 KL(teacher || student)      Hinton et al. 2015 (arXiv 1503.02531), section 2.
Two ways to adapt without target labels come on top: the teacher's batch-normalisation statistics are re-estimated on the
target images (AdaBN, arXiv 1603.04779), and the student of a round becomes the teacher of the next, from the confident
answers only (self-training, class-balanced as in Zou et al. 2018, arXiv 1810.07911).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.core import splits, teachers
from trainables.core.batches import balanced, batch_index, substream
from trainables.core.limits import above, between, checked, count_or_all, one_of
from trainables.core.losses import cross_entropy, distillation, mixed
from trainables.core.metrics import information
from trainables.core.nets import Layer, graph, normalised, summary
from trainables.core.pack import Pack
from trainables.core.population import ADAM, INITIALISATION, PRECISIONS, Population, footprint
from trainables.core.schedules import WARMUP_LINEAR

CLASSES, SHAPE = 10, (3, 28, 28)
TRANSFER, LABELLED, TEACHER, ROUND, INVERSION = range(5)  # purposes that draw random numbers
TEACHER_LR, TEACHER_BATCH = 3e-3, 128
ROUND_TEMPERATURE, ROUND_LR = 1.0, 3e-3  # of students that become teachers
SHARPENING = 0.5  # the temperature at which their answers are taken, as in MixMatch (arXiv 1905.02249)
STUDIED = ("cnn_small", "cnn", "cnn_norm", "cnn_pool")
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

    teacher_view: Annotated[str, one_of(*VIEWS)]
    target_labels: Annotated[str, count_or_all(CLASSES)]
    rounds: Annotated[int, above(0)]
    adaptation: Annotated[str, one_of(*ADAPTATIONS)]
    filtering: Annotated[str, one_of(*FILTERS)]
    augmentation: Annotated[str, one_of(*AUGMENTATIONS)]
    network: Annotated[str, one_of(*STUDIED)]
    teacher: Annotated[str, one_of(*STUDIED)]
    teacher_steps: Annotated[int, above(0)]
    precision: Annotated[str, one_of(*PRECISIONS)]
    steps: Annotated[int, above(0)]
    batch_size: Annotated[int, above(1)]
    lr: Annotated[float, above(0)]
    temperature: Annotated[float, above(0)]
    kd_weight: Annotated[float, between(0, 1)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)
        if self.adaptation == "batch_norm" and not normalised(self.teacher):
            raise ValueError(
                f"adaptation batch_norm needs a teacher with batch normalisation, which {self.teacher} has not"
            )


@dataclass(frozen=True)
class Teacher:
    """One teacher: its network, training length in batches, seed, and whether it is adapted to the target domain."""

    network: str
    steps: int
    seed: int
    adaptation: str


Arrays = Mapping[str, np.ndarray]


def share_kept(rounds: int) -> float:
    """The share of the training images that a round keeps: 30 % in the first, a tenth more in each later one, up to 80."""
    return min(0.1 * (rounds + 2), 0.8)


class Distillation(Pack):
    """Students of MNIST-M and of a teacher of MNIST. datasets: {"mnistm": its arrays}."""

    config_type = Config
    may_differ = frozenset({"temperature", "kd_weight", "lr"})
    takes_steps = True
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": INITIALISATION
        + " Teachers, and the students of each further round, start from other draws of the seed.",
        "loss": (
            "(1 - kd_weight) CE(y, softmax(z)) + kd_weight T^2 KL(softmax(t/T) || softmax(z/T)), mean over the batch; "
            "z, t: logits of student and teacher, y: labels, T: temperature. Where only some digits are labelled, CE "
            "is over half as many of these, drawn beside the batch. filtering confident: KL is over the digits that "
            f"the teacher answers most surely, of each class alike, {share_kept(1):.0%} of the digits in round 1, "
            f"{share_kept(2) - share_kept(1):.0%} more in each further one, at most 80%."
        ),
        "optimiser": f"{ADAM}, peak rate lr. {WARMUP_LINEAR} Batches: reshuffled passes over the training images.",
        "images": (
            "3 x 28 x 28 in [-1, 1]; clean digits are repeated over the channels. augmentation inversion: the student "
            "sees every image of a batch in inverted colours with probability 1/2."
        ),
        "teacher": (
            f"The network that the axis names, trained by CE on the clean digits of the training images with {ADAM}, "
            f"peak rate {TEACHER_LR:g}, the same schedule, teacher_steps batches of {TEACHER_BATCH}. It answers once, "
            "in evaluation mode, for the image that teacher_view names. adaptation batch_norm: its running means and "
            "variances are first re-estimated on the MNIST-M training images, without labels."
        ),
        "rounds": (
            "The teacher of round r + 1 is the student of round r, trained alike but with kd_weight 1 (no label), "
            f"temperature {ROUND_TEMPERATURE:g} and lr {ROUND_LR:g}; its logits are divided by {SHARPENING:g}."
        ),
        "evaluation": (
            "After each quarter of the steps: val_accuracy, of MNIST-M. At the end: test_accuracy, of MNIST-M, and "
            "source_accuracy, of MNIST's clean test digits."
        ),
        "split": splits.SPLIT,
    }
    students: Population

    @classmethod
    def architecture(cls, config: Config) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
        return graph(config.network, CLASSES), SHAPE

    @classmethod
    def described(cls, config: Config) -> dict[str, str]:
        names = {"student": config.network, "teacher": config.teacher}
        return {f"{who}: {network}": summary(graph(network, CLASSES), SHAPE) for who, network in names.items()}

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
        recipe = {**_recipe(artifact.network), "steps": artifact.steps, "seed": artifact.seed}
        made = teachers.once(
            "teacher", recipe, datasets["mnistm"], lambda: _teach(artifact, datasets["mnistm"], device)
        )
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

        def make() -> dict[str, Tensor | float]:
            answers, _ = cls.prepare(cls.artifact(student), datasets, device)
            pack = cls([student], datasets, answers, device)
            while not pack.finished:
                row = pack.step()[0]
            if row["status"] == "failed":
                raise ValueError(f"the student of round {student.rounds} came to nothing: {row['error']}")
            shown = pack.sets.images if student.teacher_view == "target" else pack.sets.digits
            levels = dict(zip(LEVELS, (row["source_accuracy"], row["test_accuracy"]), strict=True))
            return {
                "answers": pack.students.answers(shown, to_float)[0] / SHARPENING,
                **levels,
                "seconds": pack.seconds,
            }

        recipe = {
            "recipe": 2,
            **asdict(student),
            "graph": repr(graph(student.network, CLASSES)),
            "sharpening": SHARPENING,
            "shares": [share_kept(r + 1) for r in range(student.rounds)],
            "teacher": _recipe(student.teacher),
        }
        made = teachers.once("student", recipe, datasets["mnistm"], make)
        about = {name: value for name, value in asdict(student).items() if isinstance(value, str | int)}
        about["rounds"] = student.rounds + 1  # the round it teaches in
        levels = {name: float(made[name]) for name in (*LEVELS, "seconds")}
        return {student.teacher_view: made["answers"]}, about | levels

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes."""
        return footprint(graph(config.network, CLASSES), SHAPE, max(config.batch_size * 3 // 2, 2000 // 3))

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, device)
        c = self.common
        self.temperature, self.kd_weight = self.column("temperature"), self.column("kd_weight")
        # a fresh start each round: distillation is easier between networks that share their first weights
        start = c.seed if c.rounds == 1 else substream(c.seed, ROUND, c.rounds)
        self.students = Population(
            *self.architecture(c), [start] * len(configs), [c.lr for c in configs], self.device, c.precision
        )
        self.sets = PairedSplits(datasets["mnistm"], self.device)
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
        z = students.answers(sets.images[sets.val], to_float)
        self.named = z.argmax(-1)
        metrics = {
            "val_accuracy": (self.named == sets.labels[sets.val]).float().mean(1),
            "val_information": information(z),
        }
        if self.finished:
            metrics["test_accuracy"] = self.tested(students.named(sets.test_images, to_float), sets.test_labels)
            metrics["source_accuracy"] = students.accuracy(sets.test_digits, sets.test_labels, to_float)
        return metrics

    def tables(self) -> list[dict[str, list[dict]]]:
        """At the end also what students that saw no label name each validation image, as a string of digits: where no label may
        choose, students can be asked whether they agree."""
        found = super().tables()
        if self.finished:
            for tables, c, row in zip(found, self.configs, self.named.tolist(), strict=True):
                tables |= {"answers": [{"named": "".join(map(str, row))}]} if c.kd_weight == 1 else {}
        return found


class PairedSplits(splits.Splits):
    """MNIST-M with the clean digit behind every image: digits, test_digits (N, 28, 28)."""

    def __init__(self, arrays: Arrays, device: torch.device | str) -> None:
        super().__init__(arrays, device)
        self.digits, self.test_digits = (splits.shared(arrays[f"{part}_digits"], device) for part in ("train", "test"))

    def target(self, index: Tensor) -> Tensor:
        return to_float(self.images[index])


def to_float(x: Tensor) -> Tensor:
    """uint8 images (B, 3, 28, 28), or digits (B, 28, 28) repeated over the channels, to floats in [-1, 1]."""
    if x.dim() == 3:
        x = x[:, None].expand(-1, 3, -1, -1)
    return x.to(memory_format=torch.channels_last).float().div_(127.5).sub_(1)


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


def train_teacher(teacher: Population, artifact: Teacher, sets: PairedSplits) -> None:
    """Plain supervised training on the clean training digits."""

    def loss(index: Tensor) -> Tensor:
        return cross_entropy(teacher.logits(to_float(sets.digits[index])), sets.labels[index])

    teachers.train(teacher, sets.train, artifact.steps, TEACHER_BATCH, artifact.seed, TEACHER, loss)


def _teach(artifact: Teacher, datasets: Arrays, device: str) -> dict[str, Tensor]:
    """A trained teacher's logits on all training digits and on the images made from them, and its accuracies on both test
    sets; the same once more with `batch_norm_` before the names, where it has batch normalisation to adapt."""
    sets = PairedSplits(datasets, device)
    views = {"target": sets.images, "source": sets.digits}
    images = {"source": sets.test_digits, "target": sets.test_images}
    tests = {f"{domain}_test_accuracy": (x, sets.test_labels) for domain, x in images.items()}
    teacher = new_teacher(artifact, device)
    train_teacher(teacher, artifact, sets)
    made = teachers.answers(teacher, views, tests, to_float)
    if normalised(artifact.network):
        teacher.reestimate(sets.images[sets.train], to_float)
        adapted = teachers.answers(teacher, views, tests, to_float)
        made |= {f"batch_norm_{name}": value for name, value in adapted.items()}
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
