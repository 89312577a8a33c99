"""Transfer learning: a network with weights from elsewhere learns CIFAR-10, by its head alone, from the top, or whole.

heads     where all but the head is frozen, the features of every image are computed once, kept in the cache, and heads are
          trained on them as one population: hundreds of configurations in the time of one. Augmentation comes before the
          features, as further views of each training image. Features are standardised, which a linear head could do itself.
networks  where more is trained, one network at a time. What is frozen keeps its parameters and its batch normalisation's
          statistics to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.core.augment import flipped, shifted
from trainables.core.batches import balanced, batch_index, substream
from trainables.core.cache import cached, content, digest
from trainables.core.losses import cross_entropy
from trainables.core.nets import Linear
from trainables.core.network import OPTIMISERS, Network
from trainables.core.pack import Pack, check
from trainables.core.population import PRECISIONS, Population
from trainables.core.pretrained import WHITENED, architecture, build, check_weights, family, features, resized
from trainables.core.schedules import UNFREEZINGS, thawed
from trainables.core.splits import Splits, shared

CLASSES = 10
ORDER, LABELLED, AUGMENTATION, VIEW = range(4)  # purposes that draw random numbers
AUGMENTATIONS, HEAD_STARTS = ("none", "flip", "flip_shift"), ("uniform", "zero")
SHIFT = 1 / 16  # of the side: 2 of 32 pixels
EARLY = 1000  # validation images, about, that are looked at before the end of a network's training

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Config:
    """One student.

    network: a name of `core.nets.FAMILIES`. weights: "imagenet", "random", the path of a checkpoint or run:RUN/STUDENT. unfreezing: which
    stages are trained, "head", "last_block" (and the head), "gradual" (from the top, all from half of the training on) or
    "all". resolution: side of the images in pixels that the network sees. train_size: training images, a count (balanced over
    the classes) or "all". augmentation: "none", "flip" or "flip_shift" (by up to 2 of 32 pixels). views: of each training
    image whose features are cached; the first is the image itself. test_views: of each validation and test image, whose logits
    are averaged: 1, or 2 with its mirror image (not of heads). optimiser: "sgd" (Nesterov momentum 0.9) or "adamw".
    precision: of the products, "fp32" or "bf16". passes: over the training images, in batches of batch_size. lr: peak
    learning rate. label_smoothing: share of a label that is spread over all classes. weight_decay: of weights; in "sgd" a term
    of the loss, in "adamw" decoupled. head_start: "uniform" in +-1/sqrt(D) or "zero". seed: which images, their order, the
    head's start, and random weights.
    """

    network: str
    weights: str
    unfreezing: str
    resolution: int
    train_size: str
    augmentation: str
    views: int
    test_views: int
    optimiser: str
    precision: str
    passes: int
    batch_size: int
    label_smoothing: float
    lr: float
    weight_decay: float
    head_start: str
    seed: int

    def __post_init__(self) -> None:
        family(self.network)  # ValueError for an unknown one
        for name, known in (
            ("unfreezing", UNFREEZINGS), ("augmentation", AUGMENTATIONS), ("optimiser", OPTIMISERS),
            ("precision", tuple(PRECISIONS)), ("head_start", HEAD_STARTS),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")
        size = self.train_size
        check(
            (
                size == "all" or (size.isdecimal() and int(size) >= CLASSES),
                f"train_size is a count from {CLASSES} on or all, not {size!r}",
            ),
            (self.resolution >= 32, f"resolution must be 32 or more, not {self.resolution}"),
            (min(self.views, self.passes) > 0, "views and passes must be above 0"),
            (
                self.test_views in ((1,) if self.frozen else (1, 2)),
                f"test_views is 1, or 2 for networks, not {self.test_views}",
            ),
            (self.batch_size > 1, f"batch_size must be above 1, not {self.batch_size}"),
            (0 <= self.label_smoothing < 1, f"label_smoothing is in [0, 1), not {self.label_smoothing}"),
            (self.lr > 0 and self.weight_decay >= 0, "lr must be above 0 and weight_decay not below"),
        )

    @property
    def frozen(self) -> bool:
        """Whether nothing but the head is trained, so that features can be cached."""
        return self.unfreezing == "head"


@dataclass(frozen=True)
class Source:
    """What students start from: a network with its weights; where they share frozen features, how those are made. A random
    body that stays frozen is drawn once, from seed 0."""

    network: str
    weights: str
    resolution: int
    cached: bool
    precision: str = "fp32"
    augmentation: str = "none"
    views: int = 1


class Transfer(Pack):
    """Heads on the same cached features, or one network. datasets: {"cifar10": its arrays}."""

    config_type = Config
    may_differ = frozenset({"lr", "weight_decay", "head_start"})
    keeps_networks = True
    students: Any  # a Population of heads, or one Network

    @staticmethod
    def require(configs: Iterable[Config]) -> None:
        """DataError where weights are not at hand and cannot be fetched."""
        check_weights((c.network, c.weights) for c in configs)

    @staticmethod
    def artifact(config: Config) -> Source:
        """What must be prepared before a student can be trained."""
        c = config
        if c.frozen:
            return Source(c.network, c.weights, c.resolution, True, c.precision, c.augmentation, c.views)
        return Source(c.network, c.weights, c.resolution, False)

    @staticmethod
    def prepare(artifact: Source, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """The features of all images where they are cached, of the training images (views, N, D) and of the test images (N, D);
        the source's row, and its layers for the table `layers`."""
        images = datasets["cifar10"]
        model = _body(artifact.network, artifact.weights, Splits(images, "cpu"))
        made: dict[str, np.ndarray] = {}
        if artifact.cached:
            key = {
                "recipe": 1, "source": repr(artifact), "shift": SHIFT,
                "weights": digest(*(t.numpy() for t in model[:-1].state_dict().values())),
                "data": content(images),
            }  # fmt: skip
            made = cached("features", key, lambda: _features(model, artifact, images, device))
        layers = architecture(model, artifact.resolution)
        top = [layer for layer in layers if layer["depth"] == 1]
        source = {"network": artifact.network, "weights": artifact.weights, "resolution": artifact.resolution}
        row = {
            **source, "cached": int(artifact.cached), "precision": artifact.precision, "augmentation": artifact.augmentation,
            "views": artifact.views, "seconds": float(made.get("seconds", 0.0)),
            "parameters": float(sum(layer["parameters"] for layer in top)),
            "multiplications": float(sum(layer["multiplications"] for layer in top)),
        }  # fmt: skip
        lines = [{**source, "position": i, **layer} for i, layer in enumerate(layers)]
        return {k: v for k, v in made.items() if k != "seconds"}, {**row, "tables": {"layers": lines}}

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes: of a head its parameters four times and what it makes of
        the validation images; a network trains alone."""
        return 4 * (4 * 2048 * CLASSES + 5000 * CLASSES) if config.frozen else 1

    def __init__(self, pack: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(pack, device)
        c = self.common
        self.sets = sets = Splits(datasets["cifar10"], self.device)
        train = sets.train
        count = len(train) if c.train_size == "all" else int(c.train_size)
        self.pool = balanced(sets.labels, train, count, c.seed, LABELLED)
        self.weight_decay, self.lr = self.column("weight_decay"), self.column("lr")
        if c.frozen:
            self.views, self.test = (shared(answers[name], self.device) for name in ("train", "test"))
            sample = self.views[0, self.pool].float()
            self.mean, self.deviation = sample.mean(0), sample.std(0) + 1e-5
            optimiser = {"sgd": "nesterov", "adamw": "adam"}[c.optimiser]
            width = self.views.shape[-1]
            self.students = Population(
                (Linear(CLASSES),), (width,), [c.seed] * len(pack), [p.lr for p in pack], self.device,
                mode="stacked", optimiser=optimiser,
            )  # fmt: skip
            zero = torch.tensor([p.head_start == "zero" for p in pack], device=self.device)
            with torch.no_grad():
                for p in self.students.parameters:
                    p[zero] = 0
        else:
            if len(pack) > 1:
                raise ValueError("networks train alone, in packs of one")
            model = build(c.network, CLASSES, c.weights, c.seed, sets.images[self.pool[:WHITENED]])
            if c.head_start == "zero":
                with torch.no_grad():
                    for p in model[-1].parameters():
                        p.zero_()
            self.students = Network(model, c.resolution, c.optimiser, c.lr, c.weight_decay, self.device, c.precision)
            g = torch.Generator().manual_seed(substream(c.seed, AUGMENTATION))
            self.mirrored = (torch.rand(len(sets.images), generator=g) < 0.5).to(self.device)  # in the first pass

    @property
    def steps_per_pass(self) -> int:
        return max(1, len(self.pool) // self.common.batch_size)

    @property
    def total_steps(self) -> int:
        return self.common.passes * self.steps_per_pass

    def evaluations(self) -> list[int]:
        """Of networks, whose evaluation is dear, at half of the training and at its end."""
        halves = sorted({max(1, self.total_steps // 2), self.total_steps})
        return super().evaluations() if self.common.frozen else halves

    def loss(self, step: int) -> Tensor:
        c = self.common
        index = batch_index(self.pool, c.batch_size, step, c.seed, stream=ORDER)
        if isinstance(self.students, Network):
            self.students.thaw(thawed(c.unfreezing, step / self.total_steps, len(self.students.model)))
            z = self.students.logits(resized(self.shown(index, step), c.resolution))
            return cross_entropy(z, self.sets.labels[index], c.label_smoothing)
        g = torch.Generator().manual_seed(substream(c.seed, VIEW, step))
        view = torch.randint(c.views, (len(index),), generator=g).to(index.device)
        z = self.students.logits(self.standardised(self.views[view, index]))
        loss = cross_entropy(z, self.sets.labels[index], c.label_smoothing)
        if c.optimiser == "sgd":
            loss = loss + self.weight_decay / 2 * self.students.parameters[0].square().sum((1, 2))
        return loss

    def shown(self, index: Tensor, step: int) -> Tensor:
        """Training images, uint8, as a network sees them in a step: mirrored in every second pass, each with its own start (Jordan
        2024, arXiv 2404.00498, section 3.6), and moved."""
        x, how = self.sets.images[index], self.common.augmentation
        if how == "none":
            return x
        mirrored = self.mirrored[index] ^ bool(step // self.steps_per_pass % 2)
        x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
        g = torch.Generator().manual_seed(substream(self.common.seed, AUGMENTATION, step))
        return moved(x, g) if how == "flip_shift" else x

    def update(self, loss: Tensor, rate: float) -> None:
        """One step; heads under "adamw" shrink first by their own lr x weight_decay, as torch.optim.AdamW does."""
        if isinstance(self.students, Population) and self.common.optimiser == "adamw":
            with torch.no_grad():
                self.students.parameters[0].mul_((1 - rate * self.lr * self.weight_decay)[:, None, None])
        self.students.step(loss, rate)

    def networks(self) -> list[dict[str, Tensor]]:
        """The state of every student's whole network, as `pretrained.load` reads it; the standardisation of features is in the head."""
        if isinstance(self.students, Network):
            return [self.students.model.state_dict()]
        c = self.common
        body = _body(c.network, c.weights, self.sets).state_dict()
        found = []
        for weight, bias in zip(
            *(p.detach().cpu() for p in self.students.parameters), strict=True
        ):  # (D, classes), (1, classes)
            scaled = weight / self.deviation.cpu()[:, None]
            found.append(body | {"head.weight": scaled.T.contiguous(), "head.bias": bias[0] - self.mean.cpu() @ scaled})
        return found

    def standardised(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) / self.deviation

    def measure(self) -> dict[str, Tensor]:
        c, students = self.common, self.students
        if isinstance(students, Network):
            val = self.sets.val if self.finished else self.sets.val[:: len(self.sets.val) // EARLY + 1]
            mirrored = c.test_views == 2
            metrics = {"val_accuracy": students.accuracy(self.sets.images[val], self.sets.labels[val], mirrored)}
            if self.finished:
                metrics["test_accuracy"] = students.accuracy(self.sets.test_images, self.sets.test_labels, mirrored)
            trained = sum(p.numel() for p in students.model.parameters() if p.requires_grad)
        else:
            val = self.sets.val
            accuracy = students.accuracy(self.views[0, val], self.sets.labels[val], self.standardised)
            metrics = {"val_accuracy": accuracy}
            if self.finished:
                metrics["test_accuracy"] = students.accuracy(self.test, self.sets.test_labels, self.standardised)
            trained = sum(p[0].numel() for p in students.parameters)
        same = {
            "cached": float(c.frozen), "trained_parameters": float(trained), "train_images": float(len(self.pool)),
            "pass_seconds": self.stepping * self.steps_per_pass / self.done_steps / len(self.pack),
        }  # fmt: skip
        return metrics | {name: torch.full((len(self.pack),), value) for name, value in same.items()}


def moved(x: Tensor, g: torch.Generator) -> Tensor:
    """Images (B, 3, H, W), each moved by its own draw."""
    return shifted(x, g, round(SHIFT * x.shape[-1]))


def _body(network: str, weights: str, sets: Splits) -> torch.nn.Sequential:
    """The network that stays frozen: where its weights are random, drawn once."""
    return build(network, CLASSES, weights, seed=0, images=sets.images[sets.train[:WHITENED]])


def _features(model: torch.nn.Sequential, source: Source, images: Arrays, device: str) -> dict[str, np.ndarray]:
    """Features in fp16: of the training images as they are and in further views, (views, N, D); of the test images (N, D)."""
    start = time.perf_counter()
    model = model.to(device)

    def of(x: Tensor) -> np.ndarray:
        found = features(model, x.to(device), source.resolution, source.precision).half().cpu()
        if not found.isfinite().all():
            raise ValueError(f"features of {source.network} are not finite")
        return found.numpy()

    train, test = (shared(images[name], "cpu") for name in ("train_images", "test_images"))
    views = [of(train)]
    for view in range(1, source.views):
        g = torch.Generator().manual_seed(substream(view, VIEW))
        # two views of "flip" are all there are: every image and its mirror image
        changed = [x.flip(-1) if source.augmentation == "flip" else moved(flipped(x, g), g) for x in train.split(4096)]
        views.append(of(torch.cat(changed)))
    made = {"train": np.stack(views), "test": of(test)}
    return made | {"seconds": np.asarray(time.perf_counter() - start)}
