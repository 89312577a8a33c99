"""Pseudo-labels: a network learns from few labels and from its own answers to images that have none.

    CE(labelled) + weight a(t) (1/B) sum_b 1[max q_b >= threshold] H(target(q_b), learnt_b)

q_b is what the network answers to an unlabelled image, and no gradient goes through it; the target is its largest class, or q_b
itself, sharpened; a(t) may rise. Methods differ in what is asked, when, and in what is learnt from:

pseudo_label   asked in every step about the very image that it learns from                   Lee 2013 (ICML workshop)
self_training  asked by the network as it was when the round began, about the image as it is  Scudder 1965
fixmatch       asked about a weakly augmented image, learns on it strongly augmented          Sohn et al. 2020 (arXiv 2001.07685)
supervised*    the labelled images alone, as they are or augmented

Students are populations of small networks from random weights (`Stacked`), or one network with pretrained weights that is
fine-tuned by a recipe, as in the study finetuning (`Whole`).
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.core import augment
from trainables.core.batches import balanced, batch_index, substream
from trainables.core.contract import Kinds
from trainables.core.files import DataError
from trainables.core.limits import above, at_least, between, checked, one_of
from trainables.core.losses import cross_entropy
from trainables.core.nets import PRETRAINED, Layer, graph, summary
from trainables.core.network import ADAMW
from trainables.core.pack import Pack
from trainables.core.population import ADAM, INITIALISATION, PRECISIONS, Population, footprint
from trainables.core.pretrained import INITIALISATION as PRETRAINED_START
from trainables.core.pretrained import check_weights, described, resized
from trainables.core.schedules import WARMUP_LINEAR, rise
from trainables.core.splits import CLASSES, SPLIT, Splits, classes, shape, to_float
from trainables.core.tuned import TRAINING, WEIGHT_DECAY, Tuned, tuned_bytes, weights_of

OWN_IMAGES = ("images_32", "images_64", "images_96")
DATASETS = ("mnist", "cifar10", *OWN_IMAGES)
STUDIED = ("mlp_300", "mlp_600", "cnn_small_norm", "cnn_norm", *PRETRAINED)
LABELLED, UNLABELLED, ASKED, LEARNT, VIEW, START, DRAWN, OWN, WATCH, OTHERS = range(10)  # purposes of random numbers
RISE_FROM = 1 / 6  # of the ramp: Lee's weight begins to rise at pass 100 and is full at 600
WATCHED = 2000  # unlabelled images whose answers are judged
OWN_SHARE = 0.2  # validation images that a user would label, for each label to train on
WATCHED_WHOLE = 400  # the same, of a network that trains alone
BINS = 10  # of confidence, equally wide
EVALUATIONS, EVALUATIONS_WHOLE = 8, 4


@dataclass(frozen=True)
class Method:
    """How images are shown: `labelled` ones; unlabelled ones, `learnt` from (not at all, where empty) and `asked` about (where
    empty, in the very forward pass that is learnt from). rounds: asked is the network as it was when the round began."""

    labelled: str
    learnt: str = ""
    asked: str = ""
    rounds: bool = False


METHODS = {
    "supervised": Method("none"),
    "supervised_weak": Method("weak"),
    "supervised_strong": Method("strong"),
    "pseudo_label": Method("none", learnt="none"),
    "self_training": Method("none", learnt="none", asked="none", rounds=True),
    "fixmatch": Method("weak", learnt="strong", asked="weak"),
}


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned: values of the axes of these names in the study finetuning."""

    augmentation: str = "none"
    unfreezing: str = "all"
    rate: str = "constant"


RECIPES = {
    "plain": Recipe(),
    "augmentation": Recipe("iterative"),
    "unfreezing": Recipe(unfreezing="gradual"),
    "rate": Recipe(rate="one_cycle"),
    "unfreezing_rate": Recipe(unfreezing="gradual", rate="one_cycle"),
    "all": Recipe("iterative", "gradual", "one_cycle"),
}
DISCRIMINATION = 2.6  # of gradual unfreezing, as ULMFiT has it


@dataclass(frozen=True)
class Config:
    """One student.

    labels: labelled training images, balanced over the classes. rounds: of self_training, beside the first part of the
    training, which has labels only; all parts are equally long. batch_size: labelled images per batch; ratio: unlabelled
    ones for each of them. threshold: the confidence that a pseudo-label needs. target_temperature: of the targets, softmax(z / T); 0
    is the largest class alone. weight: of the pseudo-labels' term, after it has risen up to the fraction `ramp` of the
    training. lr: peak learning rate of Adam. seed: initial weights, which images have labels, order of the data.

    Of a network with pretrained weights alone (None elsewhere): recipe: how it is fine-tuned, one of RECIPES. weights,
    resolution, val_size, test_size: as in `finetuning.Config`.
    """

    dataset: Annotated[str, one_of(*DATASETS)]
    network: Annotated[str, one_of(*STUDIED)]
    method: Annotated[str, one_of(*METHODS)]
    labels: Annotated[int, at_least(CLASSES)]
    rounds: Annotated[int, above(0)]
    precision: Annotated[str, one_of(*PRECISIONS)]
    steps: Annotated[int, above(0)]
    batch_size: Annotated[int, above(1)]
    ratio: Annotated[int, above(0)]
    threshold: Annotated[float, between(0, 1, "[)")]
    target_temperature: Annotated[float, at_least(0)]
    weight: Annotated[float, at_least(0)]
    ramp: Annotated[float, between(0, 1)]
    lr: Annotated[float, above(0)]
    seed: int
    recipe: Annotated[str | None, one_of(*RECIPES)] = None
    weights: str | None = None
    resolution: Annotated[int | None, at_least(32)] = None
    val_size: Annotated[int | None, above(0)] = None
    test_size: Annotated[int | None, above(0)] = None

    def __post_init__(self) -> None:
        checked(self, () if self.whole else ("recipe", "resolution", "val_size", "test_size"))
        if self.whole and self.dataset == "mnist":
            raise ValueError(
                f"{self.network} sees photographs: dataset must be cifar10 or images of your own, not mnist"
            )

    @property
    def whole(self) -> bool:
        """Whether it is a network that trains alone, from weights of elsewhere."""
        return self.network in PRETRAINED

    # What `core.tuned` asks of a config

    @property
    def train_size(self) -> int:
        return self.labels

    @property
    def augmentation(self) -> str:
        return RECIPES[self.recipe or "plain"].augmentation

    @property
    def unfreezing(self) -> str:
        return RECIPES[self.recipe or "plain"].unfreezing

    @property
    def rate(self) -> str:
        return RECIPES[self.recipe or "plain"].rate

    @property
    def discrimination(self) -> float:
        return DISCRIMINATION

    @property
    def statistics(self) -> str:
        return "kept"


@dataclass(frozen=True)
class Draw:
    """Which training images have labels; and of a network that trains alone its weights, and how many images choose and report."""

    dataset: str
    labels: int
    seed: int
    network: str = ""
    weights: str = ""
    resolution: int = 0
    val_size: int = 0
    test_size: int = 0


Arrays = Mapping[str, np.ndarray]


class Taught(Pack):
    """Students of few labels that may learn from their own answers; whatever they are.

    sets: the data set. labelled, unlabelled, val: indices into its images; test: into its test images. watched: of the unlabelled
    ones those whose pseudo-labels are judged. own_val: places in `val`.
    """

    config_type = Config
    may_differ = frozenset({"threshold", "target_temperature", "weight", "ramp", "lr"})
    looks: ClassVar[int]  # evaluations, evenly spaced
    watches: ClassVar[int]
    others: ClassVar[int]  # purpose of the order of the unlabelled images
    sets: Splits
    labelled: Tensor
    val: Tensor
    test: Tensor

    def _begin(self) -> None:
        """What all have, once `sets` and its parts are there."""
        c = self.common
        self.way = METHODS[c.method]
        self.threshold, self.weight = self.column("threshold"), self.column("weight")
        self.target_temperature = self.column("target_temperature")
        self.unlabelled = self.sets.train[~torch.isin(self.sets.train, self.labelled)]
        if not len(self.unlabelled):
            raise ValueError(f"{c.labels} labels leave none of {len(self.sets.train)} training images unlabelled")
        self.watched = _some(self.unlabelled, self.watches, 0, WATCH)
        self.own_val = _some(torch.arange(len(self.val), device=self.device), own_size(c.labels), c.seed, OWN)
        self.first = self.watched[:0]  # classes named at the first evaluation, (S, watched)
        self.bins: dict[str, Tensor] = {}

    @abstractmethod
    def supervised(self, step: int) -> Tensor:
        """The labelled images' term of the loss, (S,)."""

    @abstractmethod
    def pseudo(self, index: Tensor, step: int) -> Tensor:
        """The unlabelled images' term of the loss before its weight, (S,). index: these images, (B,)."""

    @abstractmethod
    def remember(self) -> None:
        """Keeps the students as they are, for a round of self-training."""

    @abstractmethod
    def look(self, images: Tensor) -> Tensor:
        """Logits of images as they are, in evaluation mode, (S, N, classes). images: uint8."""

    def round(self, step: int) -> int:
        """0 while there are labels only, then 1, 2, ...; equally long. Always 1 for a method without rounds."""
        return step * (self.common.rounds + 1) // self.common.steps if self.way.rounds else 1

    def evaluations(self) -> list[int]:
        """Evenly spaced, and where a round begins, for its answers become labels there."""
        c = self.common
        parts = [self.looks, *([c.rounds + 1] if self.way.rounds else [])]
        return sorted({max(1, -(-c.steps * k // n)) for n in parts for k in range(1, n + 1)})

    def loss(self, step: int) -> Tensor:
        c, way = self.common, self.way
        loss, weight = self.supervised(step), self.weights(step)
        if not weight.any():
            return loss
        index = batch_index(self.unlabelled, c.ratio * c.batch_size, step, c.seed, stream=self.others)
        if way.rounds and self.round(step) > self.round(step - 1):
            self.remember()
        return loss + weight * self.pseudo(index, step)

    def weights(self, step: int) -> Tensor:
        """Weight of the pseudo-labels' term in a step, (S,)."""
        if not self.way.learnt or self.round(step) == 0:
            return torch.zeros_like(self.weight)
        risen = [rise(step / self.common.steps, RISE_FROM * each.ramp, each.ramp) for each in self.configs]
        return self.weight * torch.tensor(risen, device=self.device)

    @torch.no_grad()
    def measure(self) -> dict[str, Tensor]:
        """Pseudo-labels are judged on clean unlabelled images, whose true labels nothing else reads."""
        sets = self.sets
        right = self.look(sets.images[self.val]).argmax(-1) == sets.labels[self.val]
        metrics = {"val_accuracy": right.float().mean(1), "own_val_accuracy": right[:, self.own_val].float().mean(1)}
        confidence, named = self.look(sets.images[self.watched]).softmax(-1).max(-1)
        truth = sets.labels[self.watched]
        passing = confidence >= self.threshold[:, None]
        self.bins = {"unlabelled": reliability(confidence, named == truth)}
        metrics |= {
            "pseudo_accuracy": (named == truth).float().mean(1),
            "passing": passing.float().mean(1),
            "passing_accuracy": (passing & (named == truth)).sum(1) / passing.sum(1),
            "pseudo_ece": calibration_error(self.bins["unlabelled"]),
        }
        if not len(self.first):
            self.first = named
        if self.finished:
            wrong = self.first != truth
            metrics["kept_errors"] = (wrong & (named == self.first)).sum(1) / wrong.sum(1)
            confidence, named = self.look(sets.test_images[self.test]).softmax(-1).max(-1)
            truth = sets.test_labels[self.test]
            self.bins["test"] = reliability(confidence, named == truth)
            metrics["test_accuracy"] = self.tested(named, truth)
            metrics["test_ece"] = calibration_error(self.bins["test"])
        return metrics

    def tables(self) -> list[dict[str, list[dict]]]:
        """At the end also `calibration`: images, mean confidence and accuracy by bin of confidence, on unlabelled and on test images."""
        found = super().tables()
        for split, bins in self.bins.items() if self.finished else ():
            for tables, counts in zip(found, bins.tolist(), strict=True):
                tables.setdefault("calibration", []).extend(
                    {"split": split, "bin": b, "images": int(n), "confidence": sure / n, "accuracy": right / n}
                    for b, (n, sure, right) in enumerate(zip(*counts, strict=True)) if n
                )  # fmt: skip
        return found

    def state_dict(self) -> dict:
        return {**super().state_dict(), "first": self.first}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.first = state["first"].to(self.device)


class Stacked(Taught):
    """Small networks from random weights, one population."""

    looks, watches, others = EVALUATIONS, WATCHED, UNLABELLED
    students: Population

    @classmethod
    def architecture(cls, config: Config, classes: int = CLASSES) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
        return graph(config.network, classes), shape(config.dataset)

    @classmethod
    def described(cls, config: Config, classes: int = CLASSES) -> dict[str, str]:
        return {f"{config.network} ({config.dataset})": summary(*cls.architecture(config, classes))}

    @staticmethod
    def artifact(config: Config) -> Draw:
        return Draw(config.dataset, config.labels, config.seed)

    @classmethod
    def prepare(cls, artifact: Draw, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """The labelled images, indices into the training set; the only reader of other training labels, which it balances by.
        And their row for the table `draws`."""
        sets = Splits(datasets[artifact.dataset], "cpu")
        labelled = balanced(sets.labels, sets.train, artifact.labels, artifact.seed, DRAWN)
        return {"labelled": labelled.numpy()}, _row(artifact, sets, len(labelled), len(sets.val), len(sets.test_labels))

    @staticmethod
    def student_bytes(config: Config) -> int:
        batch = max(config.batch_size * (1 + 2 * config.ratio), 2000 // 3)
        return footprint(graph(config.network, CLASSES), shape(config.dataset), batch)

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, device)
        self.sets = Splits(datasets[self.common.dataset], self.device)
        self.labelled = torch.from_numpy(np.array(answers["labelled"])).to(self.device)
        self.val, self.test = self.sets.val, torch.arange(len(self.sets.test_labels), device=self.device)
        self._begin()
        self.students = self._population()
        self.before = self._population() if self.way.rounds else self.students  # who is asked

    def _population(self) -> Population:
        c, rates = self.common, [each.lr for each in self.configs]
        start = [substream(c.seed, START)] * len(rates)
        return Population(*self.architecture(c, self.sets.classes), start, rates, self.device, c.precision)

    def shown(self, index: Tensor, view: str, purpose: int, step: int) -> Tensor:
        """Training images as they are shown in a step: the same to every student, and to every method with this view."""
        g = torch.Generator().manual_seed(substream(self.common.seed, VIEW, purpose, step))
        return VIEWS[view](to_float(self.sets.images[index]), g).contiguous(memory_format=torch.channels_last)

    def supervised(self, step: int) -> Tensor:
        c = self.common
        index = batch_index(self.labelled, c.batch_size, step, c.seed, stream=LABELLED)
        z = self.students.logits(self.shown(index, self.way.labelled, LABELLED, step))
        return cross_entropy(z, self.sets.labels[index])

    def pseudo(self, index: Tensor, step: int) -> Tensor:
        learnt = by_batch(self.students, self.shown(index, self.way.learnt, LEARNT, step))
        answers = self.asked(index, step) if self.way.asked else learnt.detach()
        return pseudo_cross_entropy(learnt, answers, self.threshold, self.target_temperature)

    @torch.no_grad()
    def asked(self, index: Tensor, step: int) -> Tensor:
        """Logits of the students, normalising by the batch as they learn, or as they were when the round began, by their gathered
        statistics; (S, B, classes)."""
        x = self.shown(index, self.way.asked, ASKED, step)
        return self.before.logits(x, training=False) if self.way.rounds else by_batch(self.students, x)

    def remember(self) -> None:
        with torch.no_grad():
            for p, now in zip(_kept(self.before), _kept(self.students), strict=True):
                p.copy_(now)

    def look(self, images: Tensor) -> Tensor:
        return self.students.answers(images, to_float)

    def state_dict(self) -> dict:
        asked = {"before": self.before.state_dict()} if self.way.rounds else {}
        return {**super().state_dict(), **asked}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        if self.way.rounds:
            self.before.load_state_dict(state["before"])


class Whole(Taught, Tuned):
    """One network with pretrained weights, fine-tuned by a recipe; without a weight it is the student of the study finetuning.

    The recipe shows labelled images, and unlabelled ones that are learnt from, where the method has no view of its own for them.
    """

    may_differ: ClassVar[frozenset[str]] = frozenset()
    looks, watches, others = EVALUATIONS_WHOLE, WATCHED_WHOLE, OTHERS

    @classmethod
    def described(cls, config: Config, classes: int = CLASSES) -> dict[str, str]:
        layers = described(config.network, classes, config.resolution or 0)
        return {f"{config.network} at {config.resolution} pixels": layers}

    @staticmethod
    def artifact(config: Config) -> Draw:
        c = config
        sizes = c.resolution or 0, c.val_size or 0, c.test_size or 0
        return Draw(c.dataset, c.labels, c.seed, c.network, c.weights or "", *sizes)

    @classmethod
    def prepare(cls, artifact: Draw, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """The weights, see `weights_of`, and the row of the draw for the table `draws`."""
        arrays = datasets[artifact.dataset]
        sets = Splits(arrays, "cpu")
        labelled = balanced(sets.labels, sets.train, artifact.labels, artifact.seed, TRAINING)
        val, test = min(artifact.val_size, len(sets.val)), min(artifact.test_size, len(sets.test_labels))
        weights, _ = weights_of(artifact.network, artifact.weights, classes(arrays), artifact.resolution)
        return weights, _row(artifact, sets, len(labelled), val, test)

    @staticmethod
    def student_bytes(config: Config) -> int:
        return tuned_bytes(config.resolution or 0, config.batch_size * (1 + config.ratio))

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        Tuned.__init__(self, configs, datasets[configs[0].dataset], answers, device)
        self._begin()
        self.before = copy.deepcopy(self.students.model).eval() if self.way.rounds else self.students.model

    def supervised(self, step: int) -> Tensor:
        return Tuned.loss(self, step)

    def viewed(self, index: Tensor, view: str, purpose: int, step: int) -> Tensor:
        """Unlabelled images in a view of a method, as the network takes them: in [0, 1], enlarged."""
        g = torch.Generator().manual_seed(substream(self.common.seed, VIEW, purpose, step))
        return resized(VIEWS[view](to_float(self.sets.images[index]), g) / 2 + 0.5, self.common.resolution or 0)

    def learnt(self, index: Tensor, step: int) -> Tensor:
        """Images as they are learnt from: as the recipe shows them, or in the view of the method."""
        if self.way.learnt == "none":
            return self.shown(self.sets.images[index], step, LEARNT)
        return self.viewed(index, self.way.learnt, LEARNT, step)

    def pseudo(self, index: Tensor, step: int) -> Tensor:
        """No image knows of another here, for batch normalisation keeps its statistics: only those that pass have a backward pass."""
        x = self.learnt(index, step)
        with torch.no_grad():
            asked = self.viewed(index, self.way.asked, ASKED, step) if self.way.asked else x
            answers = self.students.logits(asked, self.before)
        passing = (answers.softmax(-1).max(-1).values >= self.threshold[:, None])[0]
        if not passing.any():
            return torch.zeros_like(self.weight)
        z = self.students.logits(x[passing])
        term = pseudo_cross_entropy(z, answers[:, passing], self.threshold, self.target_temperature)
        return term * passing.float().mean()

    def remember(self) -> None:
        self.before.load_state_dict(self.students.model.state_dict())

    def look(self, images: Tensor) -> Tensor:
        return self.students.answers(images)

    def state_dict(self) -> dict:
        asked = {k: v.clone() for k, v in self.before.state_dict().items()} if self.way.rounds else {}
        return {**super().state_dict(), "before": asked}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        if self.way.rounds:
            self.before.load_state_dict(state["before"])


class PseudoLabels(Kinds):
    """Populations or a network that trains alone, as the configs say. datasets: {name: its arrays}."""

    config_type = Config
    may_differ = Taught.may_differ
    keeps_networks = True
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": f"{INITIALISATION} Networks with pretrained weights: {PRETRAINED_START}",
        "loss": (
            "CE(labelled) + weight a(t) (1/B) sum_b 1[max q_b >= threshold] H(target_b, softmax(z_b)) over unlabelled "
            "images; q_b = softmax(a_b), a_b: logits of the answer, through which no gradient goes; target_b = "
            "softmax(a_b / T), T: target_temperature, at 0 the largest class. a(t) rises linearly from 0 to 1 between "
            "a sixth of ramp and ramp, fractions of the training. supervised, supervised_weak, supervised_strong: the "
            "first term alone."
        ),
        "asked": (
            "pseudo_label: in the very step, about the image that is learnt from. self_training: the network as it "
            "was when the round began, in evaluation mode, about the image as it is; the first of rounds + 1 equal "
            "parts has labels only. fixmatch: in the very step, about the weakly augmented image; learnt from is the "
            "strongly augmented one."
        ),
        "images": (
            "In [-1, 1]. weak: moved by up to 2 pixels (MNIST), or mirrored with probability 1/2 and moved by up to 4 "
            "(CIFAR-10; of other images an eighth of the side). strong: weak, then turned, stretched, slanted and moved, CIFAR-10 recoloured, and a square "
            "of 8 (MNIST) or 16 (CIFAR-10; half of the side) pixels covered. Labelled images are weakly augmented in fixmatch and "
            "supervised_weak, strongly in supervised_strong, else not at all. Networks with pretrained weights see "
            "images in [0, 1], bilinearly resized to resolution; the recipe shows the labelled ones, and those learnt "
            "from by pseudo_label and self_training."
        ),
        "optimiser": (
            f"{ADAM}, peak rate lr. {WARMUP_LINEAR} Networks with pretrained weights: {ADAMW}, weight decay {WEIGHT_DECAY:g}, rate by the recipe. Batches: reshuffled passes over the labelled images, and others "
            "over the unlabelled ones. Batch normalisation gathers its running statistics from labelled images alone."
        ),
        "recipes": (
            "Networks with pretrained weights are fine-tuned as in the study finetuning. plain: all layers at the rate "
            "lr, no augmentation. augmentation: iterative. unfreezing: gradual, a stage has "
            f"1/{DISCRIMINATION} of the rate of the one above it. rate: one cycle. unfreezing_rate: both. all: all three. "
            "Batch normalisation keeps the statistics of the weights."
        ),
        "evaluation": (
            f"{EVALUATIONS} times ({EVALUATIONS_WHOLE} of networks with pretrained weights), evenly spaced, and where a round begins: val_accuracy, and pseudo-labels on "
            f"{WATCHED:,} ({WATCHED_WHOLE}) unlabelled images (all, if fewer) as they are, judged by their true labels. At the end: "
            "test_accuracy."
        ),
        "split": (
            f"{SPLIT} Of the images that train, the labelled ones are drawn from the seed, as many of each class; all "
            f"others are unlabelled. own_val_accuracy is of {OWN_SHARE:g} held-out images for each labelled one, at "
            f"least {CLASSES}, drawn from the seed. Networks with pretrained weights: val_size of the held-out images choose and "
            "test_size of the test set report, as many of each class, the same for every student."
        ),
    }

    @classmethod
    def keeps(cls, config: Config) -> bool:
        return config.whole

    @classmethod
    def described(cls, config: Config, classes: int = CLASSES) -> dict[str, str]:
        return cls.kind(config).described(config, classes)

    @classmethod
    def require(cls, configs: Iterable[Config], images: int | None = None) -> None:
        """DataError where a student's labels leave none of the user's own images unlabelled, or where weights are not at hand."""
        asked = list(configs)
        check_weights((c.network, c.weights) for c in asked if c.whole and c.weights)
        if images is not None and (most := max(c.labels for c in asked)) >= images:
            fewer = f"name fewer, such as --labels {CLASSES} {images // 2}" if images > 2 * CLASSES else "add images"
            raise DataError(f"{most} labels leave none of {images} training images unlabelled: {fewer}")

    @classmethod
    def prepare(cls, artifact: Draw, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """See `Stacked` and `Whole`."""
        return (Whole if artifact.network else Stacked).prepare(artifact, datasets, device)

    @staticmethod
    def kind(config: Config) -> type[Whole] | type[Stacked]:
        return Whole if config.whole else Stacked


def _row(draw: Draw, sets: Splits, labelled: int, val: int, test: int) -> dict:
    """A line of the table `draws`."""
    row = {"dataset": draw.dataset, "labels": draw.labels, "seed": draw.seed}
    named = {"network": draw.network, "weights": draw.weights} if draw.network else {}
    sizes = {"unlabelled": len(sets.train) - labelled, "val": val, "test": test}
    return row | named | sizes | {"own_val": min(own_size(draw.labels), val)}


def pseudo_cross_entropy(z: Tensor, answers: Tensor, threshold: Tensor, temperature: Tensor) -> Tensor:
    """(1/B) sum_b 1[max softmax(a_b) >= threshold] H(target_b, softmax(z_b)), target = softmax(a / T), at T = 0 its largest class

    z: logits (S, B, C) that learn; answers a: logits (S, B, C) that teach; threshold, temperature T: (S,). Returns (S,), in nats.
    Sohn et al. 2020, eq. 4; images that do not pass count in B.
    """
    passing = answers.softmax(-1).max(-1).values >= threshold[:, None]
    T = temperature[:, None, None]
    soft = (answers / torch.where(T > 0, T, 1)).softmax(-1)
    target = torch.where(T > 0, soft, F.one_hot(answers.argmax(-1), z.shape[-1]).to(z))
    return (passing * -(target * F.log_softmax(z, -1)).sum(-1)).mean(-1)


def reliability(confidence: Tensor, right: Tensor) -> Tensor:
    """Images, sum of confidences and right answers in each of BINS bins of confidence, (S, 3, BINS). Both (S, N)."""
    into = F.one_hot((confidence * BINS).long().clamp(0, BINS - 1), BINS).double()  # (S, N, BINS)
    values = torch.stack([torch.ones_like(confidence), confidence, right.to(confidence)], 1).double()
    return values @ into


def calibration_error(bins: Tensor) -> Tensor:
    """ECE = sum_b (n_b / N) |accuracy_b - confidence_b|, (S,)      Guo et al. 2017 (arXiv 1706.04599), eq. 3; bins: (S, 3, BINS)"""
    images, sure, right = bins.unbind(1)
    return (right - sure).abs().sum(-1) / images.sum(-1)


def by_batch(students: Population, x: Tensor) -> Tensor:
    """Logits while learning, which leave batch normalisation's running statistics to the labelled images: so a student without
    pseudo-labels is the supervised one, and none gains from seeing what unlabelled images look like. (S, B, 10)"""
    kept, students.statistics = students.statistics, [s.clone() for s in students.statistics]
    z = students.logits(x)
    students.statistics = kept
    return z


def _kept(students: Population) -> list[Tensor]:
    """All that a student answers by."""
    return [*students.parameters, *students.statistics]


def own_size(labels: int) -> int:
    """Validation images that a user with so many labels would have labelled too."""
    return max(CLASSES, round(OWN_SHARE * labels))


def _some(pool: Tensor, count: int, seed: int, purpose: int) -> Tensor:
    g = torch.Generator().manual_seed(substream(seed, purpose))
    return pool[torch.randperm(len(pool), generator=g)[:count].to(pool.device)]


# Views of prepared images (B, C, H, W). Weak: moved by up to an eighth of the side (a fourteenth of MNIST's, whose digits fill
# the middle), photographs mirrored too. Strong: then turned, stretched and slanted, photographs recoloured, and a square erased.


def weak(x: Tensor, g: torch.Generator) -> Tensor:
    if x.shape[1] == 1:
        return augment.shifted(x, g, 2)
    return augment.shifted(augment.flipped(x, g), g, x.shape[-1] // 8)


def strong(x: Tensor, g: torch.Generator) -> Tensor:
    x = augment.written_otherwise(weak(x, g), g, x.shape[-1])
    if x.shape[1] == 3:
        x = augment.recoloured(x, g)
    return augment.erased(x, x.shape[-1] // 2, g) if x.shape[1] == 3 else augment.erased(x, 8, g, value=-1)


VIEWS = {"none": lambda x, g: x, "weak": weak, "strong": strong}
