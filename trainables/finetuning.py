"""Fine-tuning of a pretrained network with three things on or off: iterative augmentation, iterative unfreezing, an adaptive
learning rate.

Unfreezing is that of ULMFiT (Howard & Ruder 2018, arXiv 1801.06146, section 3.3): the head is trained first, the stages below
thaw one after another, and a stage learns at 1/discrimination of the rate of the one above it. Augmentation grows from none
to full strength in stages. The rate follows one cycle (Smith 2018, arXiv 1803.09820), or falls where the validation loss
stalls. All of them are functions of the fraction of the training, save the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.core.augment import COLOUR, MOVE, PATCH, photographed_otherwise
from trainables.core.batches import balanced, batch_index, substream
from trainables.core.limits import above, at_least, checked, one_of
from trainables.core.losses import cross_entropy
from trainables.core.nets import PRETRAINED
from trainables.core.network import ADAMW, DECAYED, Network, NetworkPack
from trainables.core.population import PRECISIONS
from trainables.core.pretrained import INITIALISATION, build, described, resized, stages
from trainables.core.schedules import THAWED_BY, Plateau, one_cycle, stairs
from trainables.core.splits import CLASSES, Splits, classes, images_at

HEAD, TRAINING, VALIDATION, TEST, AUGMENTATION, ORDER = range(6)  # purposes that draw random numbers
WEIGHT_DECAY = 0.01  # of AdamW, torch's default
EVALUATIONS = 6
FLIGHTS = 4  # of iterative augmentation: strength 0, 1/3, 2/3, 1
RECORDED = 50  # moments of a training at which its schedules are recorded
AUGMENTATIONS, UNFREEZINGS = ("none", "iterative", "full"), ("all", "gradual", "head")
RATES, STATISTICS = ("constant", "one_cycle", "plateau"), ("kept", "batch")


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
    """Weights to start from."""

    network: str
    weights: str


class FineTuning(NetworkPack):
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
        "evaluation": f"{EVALUATIONS} times, evenly spaced: val_loss, val_accuracy. At the end: test_accuracy.",
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
        return Source(config.network, config.weights)

    @staticmethod
    def prepare(artifact: Source, datasets: Mapping, device: str) -> tuple[dict[str, np.ndarray], dict]:
        """The weights by the names of their parameters and buffers, read once, without the head; and their row for `networks`."""
        model = build(artifact.network, classes(next(iter(datasets.values()))), artifact.weights, seed=0)
        parts = stages(model)
        count = {name: float(sum(p.numel() for p in stage.parameters())) for name, stage in parts.items()}
        arrays = {name: t.numpy() for name, t in model.state_dict().items() if not name.startswith("head.")}
        about = {"parameters": sum(count.values()), **{f"parameters_{name}": n for name, n in count.items()}}
        return arrays, asdict(artifact) | about

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes: about 400 kept activations per pixel, and 25 M
        parameters with their gradients and Adam's moments."""
        return 4 * (400 * config.resolution**2 * max(config.batch_size, 64) + 4 * 25_000_000)

    def __init__(self, configs: Sequence[Config], datasets: Mapping, answers: Mapping, device: str) -> None:
        super().__init__(configs, datasets, answers, device)
        c = self.common
        sets = Splits(images_at(datasets, c.resolution), self.device)
        tests = torch.arange(len(sets.test_labels), device=self.device)
        self.sets = {  # images and labels by purpose
            "train": _some(sets.images, sets.labels, sets.train, c.train_size, c.seed, TRAINING),
            "val": _some(sets.images, sets.labels, sets.val, c.val_size, 0, VALIDATION),
            "test": _some(sets.test_images, sets.test_labels, tests, c.test_size, 0, TEST),
        }
        images, _ = self.sets["train"]
        model = build(c.network, sets.classes, "random", substream(c.seed, HEAD), images)
        if c.weights != "random":  # random ones are the seed's
            weights = {name: torch.from_numpy(np.array(a)) for name, a in answers.items()}
            model.load_state_dict({**model.state_dict(), **weights})
        lower = c.discrimination if c.unfreezing == "gradual" else 1.0
        rates = [lower**-depth for depth in range(len(model))]
        self.students = Network(model, c.resolution, "adamw", c.lr, WEIGHT_DECAY, self.device, c.precision, rates)
        self.plateau = Plateau()
        self.lines: list[dict] = []  # of the table of schedules, since the last evaluation

    def evaluations(self) -> list[int]:
        return sorted({max(1, round(self.total_steps * (i + 1) / EVALUATIONS)) for i in range(EVALUATIONS)})

    def strength(self, fraction: float) -> float:
        """Of the augmentation, in [0, 1]."""
        kind = self.common.augmentation
        return stairs(fraction, FLIGHTS) if kind == "iterative" else float(kind == "full")

    def rate(self, fraction: float) -> float:
        kind = self.common.rate
        return one_cycle(fraction) if kind == "one_cycle" else self.plateau.scale if kind == "plateau" else 1.0

    def shown(self, images: Tensor, step: int) -> Tensor:
        """Training images as the network sees them in a step, (B, 3, resolution, resolution) in [0, 1]. images: (B, 3, H, W) uint8."""
        c, strength = self.common, self.strength(step / self.total_steps)
        x = images.float() / 255
        if strength > 0:
            g = torch.Generator().manual_seed(substream(c.seed, AUGMENTATION, step))
            x = photographed_otherwise(x, strength, g)
        return resized(x, c.resolution)

    def loss(self, step: int) -> Tensor:
        images, labels = self.sets["train"]
        students, c = self.students, self.common
        index = batch_index(torch.arange(len(labels)), c.batch_size, step, c.seed, stream=ORDER)
        self.thaw(step)
        if c.statistics == "kept":
            students.model.eval()  # batch normalisation alone differs: these networks have no dropout
        return cross_entropy(students.logits(self.shown(images[index], step)), labels[index])

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
        images, labels = self.sets["val"]
        z = self.students.answers(images)
        loss = cross_entropy(z, labels)
        self.plateau.look(float(loss))
        metrics = {"val_loss": loss, "val_accuracy": (z.argmax(-1) == labels).float().mean(1)}
        if self.finished:
            metrics["test_accuracy"] = self.students.accuracy(*self.sets["test"])
        counts = {f"{name}_images": torch.tensor([float(len(labels))]) for name, (_, labels) in self.sets.items()}
        return metrics | counts

    def tables(self) -> list[dict[str, list[dict]]]:
        """What was trained at what rate since the last evaluation, stage by stage, as the optimiser had it."""
        lines, self.lines = self.lines, []
        return [{"schedules": lines}] if lines else [{}]

    def state_dict(self) -> dict:
        return {**super().state_dict(), "plateau": asdict(self.plateau)}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.plateau = Plateau(**state["plateau"])


def _some(images: Tensor, labels: Tensor, pool: Tensor, count: int, seed: int, stream: int) -> tuple[Tensor, Tensor]:
    """Images (uint8) and labels of `count` members of a pool, as many of each class; all of it where it has fewer."""
    index = balanced(labels, pool, count, seed, stream)
    return images[index], labels[index]
