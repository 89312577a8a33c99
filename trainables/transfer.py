"""Transfer learning: a network with weights from elsewhere learns CIFAR-10, or images of the user's own, by its head alone, from the top, or whole.

heads     where all but the head is frozen, the features of every image are computed once, kept in the cache, and heads
          are trained on them as one population: hundreds of configurations in the time of one. Augmentation comes
          before the features, as further views of each training image. Features are standardised, which a linear head
          could do itself.
networks  where more is trained, one network at a time. What is frozen keeps its parameters and its batch
          normalisation's statistics to the bit.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.core.augment import flipped, shifted
from trainables.core.batches import balanced, batch_index, substream
from trainables.core.cache import cached, content, digest
from trainables.core.contract import Kinds
from trainables.core.limits import above, at_least, between, checked, count_or_all, one_of
from trainables.core.losses import cross_entropy
from trainables.core.nets import PRETRAINED, Linear
from trainables.core.network import ADAMW, DECAYED, OPTIMISERS, SGD, Network, NetworkPack
from trainables.core.pack import Pack
from trainables.core.population import PRECISIONS, Population
from trainables.core.pretrained import (
    BODY,
    HEAD,
    OWN_BODY,
    WHITENED,
    architecture,
    build,
    check_weights,
    described,
    family,
    features,
    resized,
)
from trainables.core.schedules import THAWED_BY, UNFREEZINGS, WARMUP_LINEAR
from trainables.core.splits import CLASSES, SPLIT, Splits, images_at, shared

ORDER, LABELLED, AUGMENTATION, VIEW = range(4)  # purposes that draw random numbers
AUGMENTATIONS, HEAD_STARTS = ("none", "flip", "flip_shift"), ("uniform", "zero")
SHIFT = 1 / 16  # of the side: 2 of 32 pixels
EARLY = 1000  # validation images, about, that are looked at before the end of a network's training

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Config:
    """One student.

    network: a name of `core.nets.FAMILIES`. weights: "imagenet", "random", the path of a checkpoint or run:RUN/STUDENT.
    unfreezing: which stages are trained, "head", "last_block" (and the head), "gradual" (from the top, all from half of
    the training on) or "all". resolution: side of the images in pixels that the network sees. train_size: training
    images, a count (balanced over the classes) or "all". augmentation: "none", "flip" or "flip_shift" (by up to 2 of 32
    pixels). views: of each training image whose features are cached; the first is the image itself. test_views: of each
    validation and test image, whose logits are averaged: 1, or 2 with its mirror image (not of heads). optimiser: "sgd"
    (Nesterov momentum 0.9) or "adamw". precision: of the products, "fp32" or "bf16". passes: over the training images,
    in batches of batch_size. lr: peak learning rate. label_smoothing: share of a label that is spread over all classes.
    weight_decay: of weights; in "sgd" a term of the loss, in "adamw" decoupled. head_start: "uniform" in +-1/sqrt(D) or
    "zero". seed: which images, their order, the head's start, and random weights.
    """

    network: Annotated[str, one_of(*PRETRAINED)]
    weights: str
    unfreezing: Annotated[str, one_of(*UNFREEZINGS)]
    resolution: Annotated[int, at_least(32)]
    train_size: Annotated[str, count_or_all(CLASSES)]
    augmentation: Annotated[str, one_of(*AUGMENTATIONS)]
    views: Annotated[int, above(0)]
    test_views: Annotated[int, one_of(1, 2)]
    optimiser: Annotated[str, one_of(*OPTIMISERS)]
    precision: Annotated[str, one_of(*PRECISIONS)]
    passes: Annotated[int, above(0)]
    batch_size: Annotated[int, above(1)]
    label_smoothing: Annotated[float, between(0, 1, "[)")]
    lr: Annotated[float, above(0)]
    weight_decay: Annotated[float, at_least(0)]
    head_start: Annotated[str, one_of(*HEAD_STARTS)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)
        if self.frozen and self.test_views > 1:
            raise ValueError(f"test_views must be 1 for heads, not {self.test_views}")

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


class Heads(Pack):
    """Heads on the same cached features, as one population."""

    config_type = Config
    may_differ = frozenset({"lr", "weight_decay", "head_start"})
    keeps_networks = True
    students: Population

    @staticmethod
    def artifact(config: Config) -> Source:
        c = config
        return Source(c.network, c.weights, c.resolution, True, c.precision, c.augmentation, c.views)

    @classmethod
    def prepare(
        cls, artifact: Source, datasets: Mapping[str, Arrays], device: str
    ) -> tuple[dict[str, np.ndarray], dict]:
        """The features of the training images, (views, N, D), and of the test images, (N, D)."""
        images = images_at(datasets, artifact.resolution)
        model = _body(artifact.network, artifact.weights, Splits(images, "cpu"))
        key = {
            "recipe": 1, "source": repr(artifact), "shift": SHIFT,
            "weights": digest(*(t.numpy() for t in model[:-1].state_dict().values())),
            "data": content(images),
        }  # fmt: skip
        made = cached("features", key, lambda: _features(model, artifact, images, device))
        return {k: v for k, v in made.items() if k != "seconds"}, _row(artifact, model, float(made["seconds"]))

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Of its parameters four times, and what it makes of the validation images."""
        return 4 * (4 * 2048 * CLASSES + 5000 * CLASSES)

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, device)
        c = self.common
        self.sets, self.pool = _data(c, datasets, self.device)
        self.steps_per_pass = max(1, len(self.pool) // c.batch_size)
        self.weight_decay, self.lr = self.column("weight_decay"), self.column("lr")
        self.views, self.test = (shared(answers[name], self.device) for name in ("train", "test"))
        sample = self.views[0, self.pool].float()
        self.mean, self.deviation = sample.mean(0), sample.std(0) + 1e-5
        optimiser = {"sgd": "nesterov", "adamw": "adam"}[c.optimiser]
        self.students = Population(
            (Linear(self.sets.classes),), (self.views.shape[-1],), [c.seed] * len(configs), [p.lr for p in configs], self.device,
            mode="stacked", optimiser=optimiser,
        )  # fmt: skip
        zero = torch.tensor([p.head_start == "zero" for p in configs], device=self.device)
        with torch.no_grad():
            for p in self.students.parameters:
                p[zero] = 0

    @property
    def total_steps(self) -> int:
        return self.common.passes * self.steps_per_pass

    def loss(self, step: int) -> Tensor:
        c = self.common
        index = batch_index(self.pool, c.batch_size, step, c.seed, stream=ORDER)
        g = torch.Generator().manual_seed(substream(c.seed, VIEW, step))
        view = torch.randint(c.views, (len(index),), generator=g).to(index.device)
        z = self.students.logits(self.standardised(self.views[view, index]))
        loss = cross_entropy(z, self.sets.labels[index], c.label_smoothing)
        if c.optimiser == "sgd":
            loss = loss + self.weight_decay / 2 * self.students.parameters[0].square().sum((1, 2))
        return loss

    def update(self, loss: Tensor, rate: float) -> None:
        """One step; under "adamw" weights shrink first by their own lr x weight_decay, as torch.optim.AdamW does."""
        if self.common.optimiser == "adamw":
            with torch.no_grad():
                self.students.parameters[0].mul_((1 - rate * self.lr * self.weight_decay)[:, None, None])
        super().update(loss, rate)

    def standardised(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) / self.deviation

    def measure(self) -> dict[str, Tensor]:
        sets, students = self.sets, self.students
        val = students.accuracy(self.views[0, sets.val], sets.labels[sets.val], self.standardised)
        metrics = {"val_accuracy": val}
        if self.finished:
            metrics["test_accuracy"] = self.tested(students.named(self.test, self.standardised), sets.test_labels)
        return metrics | _about(self, sum(p[0].numel() for p in students.parameters))

    def networks(self) -> list[dict[str, Tensor]]:
        """The state of every student's whole network, as `pretrained.load` reads it; its head standardises the features."""
        c = self.common
        body = _body(c.network, c.weights, self.sets).state_dict()
        found = []
        parameters = (p.detach().cpu() for p in self.students.parameters)
        for weight, bias in zip(*parameters, strict=True):  # (D, classes), (1, classes)
            scaled = weight / self.deviation.cpu()[:, None]
            found.append(body | {"head.weight": scaled.T.contiguous(), "head.bias": bias[0] - self.mean.cpu() @ scaled})
        return found


class WholeNetwork(NetworkPack):
    """One network of which more than the head is trained."""

    config_type = Config

    @staticmethod
    def artifact(config: Config) -> Source:
        return Source(config.network, config.weights, config.resolution, False)

    @classmethod
    def prepare(
        cls, artifact: Source, datasets: Mapping[str, Arrays], device: str
    ) -> tuple[dict[str, np.ndarray], dict]:
        """Nothing that students need."""
        images = images_at(datasets, artifact.resolution)
        return {}, _row(artifact, _body(artifact.network, artifact.weights, Splits(images, "cpu")), 0.0)

    @staticmethod
    def student_bytes(config: Config) -> int:
        return 1  # it trains alone

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, datasets, answers, device)
        c = self.common
        self.sets, self.pool = _data(c, datasets, self.device)
        self.steps_per_pass = max(1, len(self.pool) // c.batch_size)
        model = build(c.network, self.sets.classes, c.weights, c.seed, self.sets.images[self.pool[:WHITENED]])
        if c.head_start == "zero":
            with torch.no_grad():
                for p in model[-1].parameters():
                    p.zero_()
        self.students = Network(model, c.resolution, c.optimiser, c.lr, c.weight_decay, self.device, c.precision)
        g = torch.Generator().manual_seed(substream(c.seed, AUGMENTATION))
        self.mirrored = (torch.rand(len(self.sets.images), generator=g) < 0.5).to(self.device)  # in the first pass

    @property
    def total_steps(self) -> int:
        return self.common.passes * self.steps_per_pass

    def evaluations(self) -> list[int]:
        """Half-way and at the end: an evaluation is dear."""
        return sorted({max(1, self.total_steps // 2), self.total_steps})

    def loss(self, step: int) -> Tensor:
        c = self.common
        index = batch_index(self.pool, c.batch_size, step, c.seed, stream=ORDER)
        self.thaw(step)
        z = self.students.logits(resized(self.shown(index, step), c.resolution))
        return cross_entropy(z, self.sets.labels[index], c.label_smoothing)

    def shown(self, index: Tensor, step: int) -> Tensor:
        """Training images, uint8, as the network sees them in a step: moved, and mirrored in every second pass, each with
        its own start (Jordan 2024, arXiv 2404.00498, section 3.6)."""
        x, how = self.sets.images[index], self.common.augmentation
        if how == "none":
            return x
        mirrored = self.mirrored[index] ^ bool(step // self.steps_per_pass % 2)
        x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
        g = torch.Generator().manual_seed(substream(self.common.seed, AUGMENTATION, step))
        return moved(x, g) if how == "flip_shift" else x

    def measure(self) -> dict[str, Tensor]:
        sets, students, mirrored = self.sets, self.students, self.common.test_views == 2
        val = sets.val if self.finished else sets.val[:: len(sets.val) // EARLY + 1]
        metrics = {"val_accuracy": students.accuracy(sets.images[val], sets.labels[val], mirrored)}
        if self.finished:
            metrics["test_accuracy"] = self.tested(students.named(sets.test_images, mirrored), sets.test_labels)
        return metrics | _about(self, sum(p.numel() for p in students.model.parameters() if p.requires_grad))


class Transfer(Kinds):
    """Heads or a whole network, as the configs say. datasets: {"cifar10": its arrays}, or {"images_64": those of the user's
    own images at 64 pixels, ...}."""

    config_type = Config
    may_differ = Heads.may_differ
    keeps_networks = True
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": (
            f"{BODY} {HEAD} head_start zero: of zeros. A random body that stays frozen is drawn from seed 0."
        ),
        "loss": (
            "(1 - s) CE(y, softmax(z)) + s mean over the classes of -log softmax(z), s: label_smoothing, mean over "
            "the batch. sgd: + weight_decay/2 ||W||^2."
        ),
        "optimiser": (
            f"sgd: {SGD}; adamw: {ADAMW}, weight decay decoupled. Peak rate lr, the same for all layers. {DECAYED} "
            f"{WARMUP_LINEAR} Batches: reshuffled passes over the training images, the last incomplete batch left out."
        ),
        "trained": (
            "unfreezing head: the head alone, on features of the frozen body in evaluation mode, which are computed "
            "once, kept in fp16 and standardised by the training images; last_block: the last stage too; gradual: "
            f"from the head down, stage after stage at equal distances, all from {THAWED_BY:.0%} of the training on; "
            "all: all. What is frozen keeps its parameters and its batch normalisation's statistics; what is trained "
            "normalises by the batch."
        ),
        "images": (
            "In [0, 1], bilinearly resized to resolution, then normalised as the weights expect. flip: mirrored in "
            f"every second pass; flip_shift: also moved by up to {SHIFT:g} of the side, each time anew. Heads: from "
            "the second view on, of which a batch draws one for each image; flip: the mirror image; flip_shift: "
            "mirrored with probability 1/2 and moved."
        ),
        "evaluation": (
            f"Heads: after each quarter: val_accuracy. Networks: half-way, on about {EARLY:,} held-out images (all, if fewer), "
            "and at the end. At the end: test_accuracy; test_views 2: by the mean of the logits for an image and its mirror "
            "image, val_accuracy too."
        ),
        "split": f"{SPLIT} train_size: of the images that train, drawn from the seed, as many of each class.",
    }

    @classmethod
    def described(cls, config: Config, classes: int = CLASSES) -> dict[str, str]:
        layers = described(config.network, classes, config.resolution)
        found = {f"{config.network} at {config.resolution} pixels": layers}
        if family(config.network) == "own":
            found["how an own CNN begins, from random weights"] = textwrap.fill(OWN_BODY, 60)
        return found

    @classmethod
    def require(cls, configs: Iterable[Config], images: int | None = None) -> None:
        """DataError where weights are not at hand and cannot be fetched."""
        check_weights((c.network, c.weights) for c in configs)

    @classmethod
    def prepare(
        cls, artifact: Source, datasets: Mapping[str, Arrays], device: str
    ) -> tuple[dict[str, np.ndarray], dict]:
        """See `Heads` and `WholeNetwork`; the source's row, and its layers for the table `layers`."""
        return (Heads if artifact.cached else WholeNetwork).prepare(artifact, datasets, device)

    @staticmethod
    def kind(config: Config) -> type[Heads] | type[WholeNetwork]:
        return Heads if config.frozen else WholeNetwork


def _data(c: Config, datasets: Mapping[str, Arrays], device: torch.device) -> tuple[Splits, Tensor]:
    """The data set, and indices of the training images that a student sees."""
    sets = Splits(images_at(datasets, c.resolution), device)
    count = len(sets.train) if c.train_size == "all" else int(c.train_size)
    return sets, balanced(sets.labels, sets.train, count, c.seed, LABELLED)


def _about(pack: Heads | WholeNetwork, trained: int) -> dict[str, Tensor]:
    """What a pack's students have in common at an evaluation, (S,) each. trained: parameters of one student."""
    common = {
        "cached": float(pack.common.frozen),
        "trained_parameters": float(trained),
        "train_images": float(len(pack.pool)),
        "pass_seconds": pack.stepping * pack.steps_per_pass / pack.done_steps / len(pack.configs),
    }
    return {name: torch.full((len(pack.configs),), value) for name, value in common.items()}


def moved(x: Tensor, g: torch.Generator) -> Tensor:
    """Images (B, 3, H, W), each moved by its own draw."""
    return shifted(x, g, round(SHIFT * x.shape[-1]))


def _body(network: str, weights: str, sets: Splits) -> torch.nn.Sequential:
    """The network that stays frozen: where its weights are random, drawn once."""
    return build(network, sets.classes, weights, seed=0, images=sets.images[sets.train[:WHITENED]])


def _row(source: Source, model: torch.nn.Sequential, seconds: float) -> dict:
    """A source's row, with its layers for the table `layers`."""
    layers = architecture(model, source.resolution)
    top = [layer for layer in layers if layer["depth"] == 1]
    name = {"network": source.network, "weights": source.weights, "resolution": source.resolution}
    row = {
        **name, "cached": int(source.cached), "precision": source.precision, "augmentation": source.augmentation,
        "views": source.views, "seconds": seconds, "parameters": float(sum(layer["parameters"] for layer in top)),
        "multiplications": float(sum(layer["multiplications"] for layer in top)),
    }  # fmt: skip
    return {**row, "tables": {"layers": [{**name, "position": i, **layer} for i, layer in enumerate(layers)]}}


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
