"""Distillation from MNIST to MNIST, as in Hinton, Vinyals, Dean 2015 (arXiv 1503.02531), section 3.

The loss is additive, CE + kd_weight T^2 C, or convex, (1 - kd_weight) CE + kd_weight T^2 C. The assignment's C is the
cross-entropy - sum p log q at temperature T; KL, which is used here, is less by the entropy of p, which no weight moves:
the gradient is the same.
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
from trainables.core.batches import balanced, batch_index, substream
from trainables.core.limits import above, at_least, checked, count_or_all, one_of, some_digits
from trainables.core.losses import added, cross_entropy, distillation, mixed
from trainables.core.nets import MLPS, Layer, graph, summary
from trainables.core.pack import Pack
from trainables.core.population import ADAM, INITIALISATION, PRECISIONS, Population, footprint
from trainables.core.schedules import WARMUP_LINEAR
from trainables.core.splits import HELD_OUT, SPLIT, Splits

CLASSES, SHAPE = 10, (28 * 28,)
TRANSFER, FEW, TEACHER, NOISE = range(4)  # purposes that draw random numbers
CONVENTIONS = {"additive": added, "convex": mixed}
TEACHER_NETWORK, TEACHER_BATCH, TEACHER_LR = "mlp_1200", 128, 1e-3
BIASES = np.arange(-4.0, 20.01, 0.25)  # shifts of the omitted digits' biases that are tried


@dataclass(frozen=True)
class Recipe:
    """How a teacher is regularised. dropout: of inputs and of hidden units; max_norm: of the weights into a hidden unit;
    jitter: largest shift of an image, in pixels."""

    dropout: tuple[float, float] = (0.0, 0.0)
    max_norm: float = float("inf")
    jitter: int = 0


TEACHERS = {
    "plain": Recipe(),
    # max-norm: squared length 15, as in Hinton et al. 2012 (arXiv 1207.0580), appendix A. Their dropout, 0.2 and 0.5, is
    # for thousands of passes; in tens of passes it underfits.
    "regularised": Recipe(dropout=(0.1, 0.4), max_norm=15**0.5, jitter=2),
}


@dataclass(frozen=True)
class Config:
    """One student.

    convention: "additive" or "convex", how kd_weight (lambda) mixes both terms. train_size: how many digits the student
    sees, a count or "all". network: the student's; teacher: the recipe of its teacher of two layers of 1,200;
    teacher_steps: its training in batches. optimiser: "adam", or "sgd" without momentum, to whom a larger loss is a larger
    step. lr: peak learning rate. steps, batch_size: training length in batches and their size. temperature T > 0;
    kd_weight >= 0. seed: initial weights, order of the data, which digits, and which teacher.
    """

    convention: Annotated[str, one_of(*CONVENTIONS)]
    train_size: Annotated[str, count_or_all(CLASSES)]
    network: Annotated[str, one_of(*MLPS)]
    teacher: Annotated[str, one_of(*TEACHERS)]
    teacher_steps: Annotated[int, above(0)]
    precision: Annotated[str, one_of(*PRECISIONS)]
    optimiser: Annotated[str, one_of("adam", "sgd")]
    steps: Annotated[int, above(0)]
    batch_size: Annotated[int, above(1)]
    lr: Annotated[float, above(0)]
    temperature: Annotated[float, above(0)]
    kd_weight: Annotated[float, at_least(0)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)
        if self.convention == "convex" and self.kd_weight > 1:
            raise ValueError(f"kd_weight must be at most 1 in the convex convention, not {self.kd_weight}")


@dataclass(frozen=True)
class Teacher:
    """One teacher: its recipe, training length in batches, and seed."""

    recipe: str
    steps: int
    seed: int


Arrays = Mapping[str, np.ndarray]


class MnistDistillation(Pack):
    """Students of MNIST and of a teacher of MNIST. datasets: {"mnist": its arrays}."""

    config_type: ClassVar[type] = Config
    may_differ = frozenset({"temperature", "kd_weight"})
    takes_steps = True
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": INITIALISATION + " Teachers start from another draw of the seed.",
        "loss": (
            "CE(y, softmax(z)) + kd_weight T^2 KL(softmax(t/T) || softmax(z/T)) in the additive convention, "
            "(1 - kd_weight) CE + kd_weight T^2 KL in the convex one, mean over the batch; z, t: logits of student and "
            "teacher, y: labels, T: temperature."
        ),
        "optimiser": (
            f"adam: {ADAM}; sgd: without momentum and weight decay. Peak rate lr. {WARMUP_LINEAR} Batches: reshuffled "
            "passes over the student's digits."
        ),
        "images": "784 pixels in [-1, 1]; the student's are not augmented.",
        "teacher": (
            f"{TEACHER_NETWORK}, trained by CE on all training digits with {ADAM}, peak rate {TEACHER_LR:g}, the same "
            f"schedule, teacher_steps batches of {TEACHER_BATCH}. plain: nothing else. regularised: dropout of "
            f"{TEACHERS['regularised'].dropout[0]:.0%} of the inputs and {TEACHERS['regularised'].dropout[1]:.0%} of "
            f"the hidden units, weights into a hidden unit of length at most {TEACHERS['regularised'].max_norm:.2f} "
            f"(squared {TEACHERS['regularised'].max_norm ** 2:.0f}), images moved by up to "
            f"{TEACHERS['regularised'].jitter} pixels. It answers once for each image as it is, without dropout."
        ),
        "evaluation": "Half-way and at the end: val_accuracy. At the end: test_accuracy.",
        "split": f"{SPLIT} train_size: the student's digits, of those that train, as many of each class.",
    }
    students: Population

    @classmethod
    def architecture(cls, config: Config) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
        return graph(config.network, CLASSES), SHAPE

    @classmethod
    def described(cls, config: Config) -> dict[str, str]:
        names = {"student": config.network, "teacher": TEACHER_NETWORK}
        return {f"{who}: {network}": summary(graph(network, CLASSES), SHAPE) for who, network in names.items()}

    @staticmethod
    def artifact(config: Config) -> Teacher:
        """What must be prepared before a student can be trained: its teacher's answers."""
        return Teacher(config.teacher, config.teacher_steps, config.seed)

    @staticmethod
    def prepare(artifact: Teacher, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """The teacher's logits on every training image as it is, without jitter, (N, 10), and its row for the `teachers`
        table. Trained once; a second run finds the answers in the cache."""
        recipe = {
            "version": 1, "network": repr(graph(TEACHER_NETWORK, CLASSES)), "recipe": repr(TEACHERS[artifact.recipe]), "lr": TEACHER_LR,
            "batch": TEACHER_BATCH, "held_out": HELD_OUT, "steps": artifact.steps, "seed": artifact.seed,
        }  # fmt: skip

        def make() -> dict[str, Tensor]:
            sets = Splits(datasets["mnist"], device)
            tests = {"test_accuracy": (sets.test_images, sets.test_labels)}
            found = teachers.answers(train_teacher(artifact, sets), {"logits": sets.images}, tests, to_float)
            right = found["logits"][sets.val].argmax(-1) == sets.labels[sets.val]
            return found | {"val_accuracy": right.float().mean()}

        made = teachers.once("hinton", recipe, datasets["mnist"], make)
        row = {"teacher": artifact.recipe, "teacher_steps": artifact.steps, "seed": artifact.seed}
        return {"logits": made["logits"]}, row | teachers.measured(made)

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes."""
        return footprint(graph(config.network, CLASSES), SHAPE, max(config.batch_size, 1000 // 3))

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, device)
        c = self.common
        self.temperature, self.kd_weight = self.column("temperature"), self.column("kd_weight")
        self.students = Population(
            *self.architecture(c), [c.seed] * len(configs), [c.lr for c in configs], self.device, c.precision,
            optimiser=c.optimiser,
        )  # fmt: skip
        self.sets = Splits(datasets["mnist"], self.device)
        self.answers = torch.from_numpy(np.array(answers["logits"])).to(self.device)
        self.transfer = self.sets.train
        if c.train_size != "all":
            self.transfer = balanced(self.sets.labels, self.sets.train, int(c.train_size), c.seed, FEW)

    def evaluations(self) -> list[int]:
        """Half-way and at the end: a test costs as much as dozens of steps."""
        return sorted({(self.common.steps + 1) // 2, self.common.steps})

    def loss(self, step: int) -> Tensor:
        c, sets = self.common, self.sets
        index = batch_index(self.transfer, c.batch_size, step, c.seed, stream=TRANSFER)
        z = self.students.logits(to_float(sets.images[index]))
        hard, soft = cross_entropy(z, sets.labels[index]), distillation(z, self.answers[index], self.temperature)
        return CONVENTIONS[c.convention](hard, soft, self.kd_weight)

    def measure(self) -> dict[str, Tensor]:
        sets, students = self.sets, self.students
        metrics = {"val_accuracy": students.accuracy(sets.images[sets.val], sets.labels[sets.val], to_float)}
        if self.finished:
            metrics["test_accuracy"] = self.tested(students.named(sets.test_images, to_float), sets.test_labels)
        return metrics


@dataclass(frozen=True)
class MissingConfig(Config):
    """One student whose transfer set lacks digits. omitted: these digits, such as "3" or "01234569", or "none"."""

    omitted: Annotated[str, some_digits]


class MissingDigit(MnistDistillation):
    """Students whose transfer set lacks all images of some digits; validation and test have them."""

    config_type = MissingConfig
    method: ClassVar[Mapping[str, str]] = {
        **MnistDistillation.method,
        "split": (
            f"{MnistDistillation.method['split']} The student's digits then lose all images of the omitted classes, "
            "whose outputs it keeps; the teacher, validation and test have them."
        ),
        "evaluation": (
            f"{MnistDistillation.method['evaluation']} There too, on validation and test: errors by digit, and on "
            f"omitted and other digits once {BIASES[0]:g} to {BIASES[-1]:g}, in steps of {BIASES[1] - BIASES[0]:g}, "
            "are added to the logits of the omitted ones."
        ),
    }

    def __init__(self, configs: Sequence[MissingConfig], datasets: Mapping, answers: Arrays, device: str) -> None:
        super().__init__(configs, datasets, answers, device)
        c = self.common
        self.omitted = torch.tensor([c.omitted != "none" and str(k) in c.omitted for k in range(CLASSES)]).to(device)
        self.transfer = self.transfer[~self.omitted[self.sets.labels[self.transfer]]]

    def measure(self) -> dict[str, Tensor]:
        if not self.finished:
            return super().measure()
        self.logits = {split: self.students.answers(x, to_float) for split, (x, _) in self._parts().items()}
        named, sets = {split: z.argmax(-1) for split, z in self.logits.items()}, self.sets
        val = (named["val"] == sets.labels[sets.val]).float().mean(1)
        return {"val_accuracy": val, "test_accuracy": self.tested(named["test"], sets.test_labels)}

    def tables(self) -> list[dict[str, list[dict]]]:
        """At the end, on validation and on test: `digits`, errors by digit; `biases`, errors on omitted and on other digits
        once the biases of the omitted digits are raised by a shift. Lowering those of all others is the same."""
        if not self.finished:
            return super().tables()
        found: list[dict[str, list[dict]]] = [{**tables, "digits": [], "biases": []} for tables in super().tables()]
        for split, z in self.logits.items():  # (S, N, 10)
            y = self._parts()[split][1]
            of_digit = F.one_hot(y, CLASSES).float()  # (N, 10)
            images = of_digit.sum(0).tolist()
            wrong = (z.argmax(-1) != y).float() @ of_digit  # (S, 10)
            curves = bias_errors(z, y, self.omitted, torch.from_numpy(BIASES).to(z))
            for tables, by_digit, (missing, others) in zip(found, wrong.tolist(), curves.tolist(), strict=True):
                tables["digits"] += [
                    {"split": split, "digit": k, "images": int(images[k]), "errors": int(by_digit[k])}
                    for k in range(CLASSES)
                ]
                if self.omitted.any():
                    tables["biases"] += [
                        {"split": split, "bias": float(b), "omitted_errors": int(m), "other_errors": int(o)}
                        for b, m, o in zip(BIASES, missing, others, strict=True)
                    ]
        return [{name: rows for name, rows in tables.items() if rows} for tables in found]

    def _parts(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Images and labels by split."""
        sets = self.sets
        return {"val": (sets.images[sets.val], sets.labels[sets.val]), "test": (sets.test_images, sets.test_labels)}


def bias_errors(z: Tensor, y: Tensor, omitted: Tensor, shifts: Tensor) -> Tensor:
    """Errors on images of omitted digits and of the others, (S, 2, shifts), once each shift is added to the logits of the
    omitted digits.

    z: (S, N, 10); y: (N,); omitted: (10,) bool; shifts ascend. An image is right while its digit's logit leads: one
    margin between the best omitted and the best other logit tells from which shift on, so that no shift is tried.
    """
    low = torch.finfo(z.dtype).min
    inside, outside = z.masked_fill(~omitted, low), z.masked_fill(omitted, low)
    margin = (outside.max(-1).values - inside.max(-1).values)[..., None]  # (S, N, 1)
    raised = shifts > margin  # an omitted digit leads (S, N, shifts)
    among = torch.where(omitted[y], inside.argmax(-1) == y, outside.argmax(-1) == y)[..., None]  # right on its own side
    missing = omitted[y][:, None]
    wrong = ~(among & (raised == missing))
    return torch.stack([(wrong & missing).sum(1), (wrong & ~missing).sum(1)], dim=1)


def to_float(x: Tensor) -> Tensor:
    """uint8 images (B, 28, 28) to (B, 784) in [-1, 1]: mean and deviation 0.5 of pixels in [0, 1]."""
    return x.flatten(1).float().div_(127.5).sub_(1)


def jittered(x: Tensor, pixels: int, g: torch.Generator) -> Tensor:
    """Each image moved by up to `pixels` to each side, every move alike likely, black coming in; x: (B, H, W)."""
    B, H, W = x.shape
    padded = F.pad(x, (pixels,) * 4)
    dy, dx = torch.randint(0, 2 * pixels + 1, (2, B, 1), generator=g).to(x.device)
    rows, columns = dy + torch.arange(H, device=x.device), dx + torch.arange(W, device=x.device)  # (B, H), (B, W)
    return padded[torch.arange(B, device=x.device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def dropped(h: Tensor, rate: float, g: torch.Generator) -> Tensor:
    """h without a share `rate` of its numbers, the rest scaled up to the same mean."""
    if rate == 0:
        return h
    return h * (torch.rand(h.shape, generator=g) >= rate).to(h).div_(1 - rate)


@torch.no_grad()
def bound(weights: Sequence[Tensor], max_norm: float) -> None:
    """Scale down what comes into a unit to the length `max_norm`, in place; weights: (S, in, out) each."""
    for w in weights:
        w.mul_((max_norm / w.norm(dim=1, keepdim=True)).clamp(max=1))


def train_teacher(artifact: Teacher, sets: Splits) -> Population:
    """A trained teacher, a population of one. Its start is drawn apart from the students' of the same seed."""
    recipe, seed = TEACHERS[artifact.recipe], substream(artifact.seed, TEACHER)
    teacher = Population(graph(TEACHER_NETWORK, CLASSES), SHAPE, [seed], [TEACHER_LR], sets.images.device)
    hidden = teacher.parameters[:-2:2]
    g = torch.Generator().manual_seed(substream(artifact.seed, NOISE))

    def loss(index: Tensor) -> Tensor:
        x = sets.images[index]
        h = to_float(jittered(x, recipe.jitter, g) if recipe.jitter else x)[None]  # (1, B, 784)
        for i in range(0, len(teacher.parameters), 2):
            w, b = teacher.parameters[i : i + 2]
            h = torch.baddbmm(b, dropped(F.relu(h) if i else h, recipe.dropout[i > 0], g), w)
        return cross_entropy(h, sets.labels[index])

    def after() -> None:
        if recipe.max_norm < float("inf"):
            bound(hidden, recipe.max_norm)

    return teachers.train(teacher, sets.train, artifact.steps, TEACHER_BATCH, artifact.seed, TEACHER, loss, after)
