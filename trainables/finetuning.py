"""Fine-tuning of a pretrained network with three things on or off: iterative augmentation, iterative unfreezing, an adaptive
learning rate.

Unfreezing is that of ULMFiT (Howard & Ruder 2018, arXiv 1801.06146, section 3.3): the head is trained first, the stages below
thaw one after another, and a stage learns at 1/discrimination of the rate of the one above it. Augmentation grows from none
to full strength in stages. The rate follows one cycle (Smith 2018, arXiv 1803.09820), or falls where the validation loss
stalls. All of them are functions of the fraction of the training, save the last.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.core.augment import COLOUR, MOVE, PATCH
from trainables.core.limits import above, at_least, checked, one_of
from trainables.core.losses import cross_entropy
from trainables.core.nets import PRETRAINED
from trainables.core.network import ADAMW, DECAYED, Network
from trainables.core.population import PRECISIONS
from trainables.core.pretrained import INITIALISATION, build, described, stages
from trainables.core.schedules import THAWED_BY, Plateau
from trainables.core.splits import CLASSES, classes, images_at, shared
from trainables.core.tuned import (
    AUGMENTATIONS,
    RATES,
    STATISTICS,
    UNFREEZINGS,
    WEIGHT_DECAY,
    Tuned,
    tuned_bytes,
    weights_of,
)

EVALUATIONS = 6
TIMED, TIMES = 100, 5  # images in a batch, and how often it is timed
RECORDED = 50  # moments of a training at which its schedules are recorded


@dataclass(frozen=True)
class Config:
    """One student.

    network, weights: as `core.pretrained.build` has them. resolution: side in pixels that images are enlarged to.
    train_size, val_size, test_size: images to train on, to choose by and to report, as many of each class, or all where
    there are fewer. augmentation: "none", "iterative" (in stages from none to full strength) or "full" (from the
    start). unfreezing: "all" (every stage is trained from the start, at one rate), "gradual" (from the head down, see
    `schedules.thawed`; a stage has 1/discrimination of the rate of the one above it) or "head" (nothing else is
    trained). rate: "constant", "one_cycle" or "plateau". statistics: of batch normalisation in the trained stages,
    "kept" (those of the weights) or "batch" (of the batch, gathered for the evaluations). lr: AdamW's peak rate, of the
    head. seed: training images, their order and augmentation, first weights of the head.
    """

    network: Annotated[str, one_of(*PRETRAINED)]
    weights: str
    resolution: Annotated[int, at_least(32)]
    train_size: Annotated[int, above(0)]
    val_size: Annotated[int, above(0)]
    test_size: Annotated[int, above(0)]
    augmentation: Annotated[str, one_of(*AUGMENTATIONS)]
    unfreezing: Annotated[str, one_of(*UNFREEZINGS)]
    rate: Annotated[str, one_of(*RATES)]
    discrimination: Annotated[float, at_least(1)]
    statistics: Annotated[str, one_of(*STATISTICS)]
    precision: Annotated[str, one_of(*PRECISIONS)]
    steps: Annotated[int, above(0)]
    batch_size: Annotated[int, above(1)]
    lr: Annotated[float, above(0)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)


@dataclass(frozen=True)
class Source:
    """Weights to start from, and the side of the images, which says how much work one is."""

    network: str
    weights: str
    resolution: int


class FineTuning(Tuned):
    """One network that is fine-tuned. datasets: {"cifar10": its arrays}, or {"images_64": those of the user's own
    images at 64 pixels, ...}."""

    config_type = Config
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": INITIALISATION,
        "loss": "CE(y, softmax(z)), mean over the batch.",
        "optimiser": (
            f"{ADAMW}, weight decay {WEIGHT_DECAY:g}, decoupled; rate lr. {DECAYED} constant: always lr. one_cycle: "
            "from lr/25 to lr over the first 30%, then to 0, both along half a cosine. plateau: lr, times "
            f"{Plateau.factor:g} at each evaluation whose validation loss is no new lowest. Batches: reshuffled passes "
            "over the training images."
        ),
        "trained": (
            "unfreezing all: every stage from the start, at one rate; gradual: from the head down, stage after stage "
            f"at equal distances, all from {THAWED_BY:.0%} of the training on, each at 1/discrimination of the rate of "
            "the one above it; head: the head alone. What is frozen keeps its parameters and its batch "
            "normalisation's statistics. Where layers are trained, these are those of the weights (statistics kept) "
            "or of the batch (batch)."
        ),
        "images": (
            "In [0, 1], augmented, bilinearly resized to resolution, then normalised as the weights expect. At full "
            f"strength: mirrored with probability 1/2, moved by up to {MOVE:g} of the side, brightness, contrast and "
            f"saturation changed by up to {COLOUR:.0%}, a square of {PATCH:g} of the side covered. iterative: strength "
            "0, 1/3, 2/3 and 1 in four equal parts of the training; full: 1; none: 0."
        ),
        "evaluation": f"{EVALUATIONS} times, evenly spaced: val_loss, val_accuracy. At the end: test_accuracy. Of each network, in "
        f"the table networks, image_ms: the least time of {TIMES} for {TIMED} test images at once, by image, before students are trained.",
        "split": (
            "1/12 of the training images is held out (of CIFAR-10 4,167 of 50,000). Of the other 11/12 train_size "
            "images train, drawn from the seed; of the held-out ones val_size choose (val_accuracy; their loss steers "
            "plateau); of the test set test_size only report, after the last step. As many of each class in all of "
            "them; the last two are the same for every student."
        ),
    }

    @classmethod
    def described(cls, config: Config, classes: int = CLASSES) -> dict[str, str]:
        layers = described(config.network, classes, config.resolution)
        return {f"{config.network} at {config.resolution} pixels": layers}

    @staticmethod
    def artifact(config: Config) -> Source:
        return Source(config.network, config.weights, config.resolution)

    @staticmethod
    def prepare(artifact: Source, datasets: Mapping, device: str) -> tuple[dict[str, np.ndarray], dict]:
        """The weights, see `weights_of`, and their row for `networks`, with what an image takes, see `image_ms`."""
        images, a = images_at(datasets, artifact.resolution), artifact
        arrays, about = weights_of(a.network, a.weights, classes(images), a.resolution)
        model = build(a.network, classes(images), "random", seed=0)  # whose time is that of any weights
        network = Network(model, a.resolution, "adamw", lr=0.0, weight_decay=0.0, device=device)
        taken = image_ms(network, shared(images["test_images"][:TIMED], device))
        return arrays, asdict(a) | about | {"image_ms": taken}

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes."""
        return tuned_bytes(config.resolution, config.batch_size)

    def __init__(self, configs: Sequence[Config], datasets: Mapping, answers: Mapping, device: str) -> None:
        super().__init__(configs, images_at(datasets, configs[0].resolution), answers, device)
        self.lines: list[dict] = []  # of the table of schedules, since the last evaluation

    def evaluations(self) -> list[int]:
        return sorted({max(1, round(self.total_steps * (i + 1) / EVALUATIONS)) for i in range(EVALUATIONS)})

    def update(self, loss: Tensor, rate: float) -> None:
        super().update(loss, rate)
        step = self.done_steps
        if step * RECORDED // self.total_steps > (step - 1) * RECORDED // self.total_steps:
            self._record(step)

    def _record(self, step: int) -> None:
        """Whether the step trained a stage, at what rate (0 where it was frozen), and how strong the augmentation was."""
        students, strength = self.students, self.strength(step / self.total_steps)
        rates = {id(p): group["lr"] for group in students.optimiser.param_groups for p in group["params"]}
        for depth, (name, stage) in enumerate(stages(students.model).items()):
            trained = [rates[id(p)] for p in stage.parameters() if p.grad is not None]
            line = {"stage": name, "trained": int(bool(trained)), "rate_used": max(trained, default=0.0)}
            self.lines.append({"at": step, "depth": depth, "strength": strength, **line})

    def measure(self) -> dict[str, Tensor]:
        sets, students = self.sets, self.students
        labels = sets.labels[self.val]
        z = students.answers(sets.images[self.val])
        loss = cross_entropy(z, labels)
        self.plateau.look(float(loss))
        metrics = {"val_loss": loss, "val_accuracy": (z.argmax(-1) == labels).float().mean(1)}
        if self.finished:
            metrics["test_accuracy"] = self.tested(students.named(sets.test_images[self.test]), sets.test_labels[self.test])
        counts = {"train_images": self.labelled, "val_images": self.val, "test_images": self.test}
        return metrics | {name: torch.tensor([float(len(index))]) for name, index in counts.items()}

    def tables(self) -> list[dict[str, list[dict]]]:
        """Also what was trained at what rate since the last evaluation, stage by stage, as the optimiser had it."""
        lines, self.lines = self.lines, []
        [found] = super().tables()
        return [found | ({"schedules": lines} if lines else {})]


def image_ms(network: Network, images: Tensor) -> float:
    """Milliseconds that a network takes for one of these images (N, 3, H, W) uint8, asked all at once in fp32: the least of TIMES,
    which what else the machine does can only lengthen."""
    taken = []
    for _ in range(TIMES):
        start = time.perf_counter()
        network.answers(images).cpu()
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken) / len(images)
