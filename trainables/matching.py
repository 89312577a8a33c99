"""Networks that learn from a small set of images in place of a data set: how well, by how the set was made.

The sets, learnt ones among them (matching training trajectories, arXiv 2203.11932; distribution matching, arXiv 2110.04181), are
those of `core/distilled.py`. Each is judged as the field does: by freshly drawn networks that see nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.core import distilled
from trainables.core.augment import differentiably
from trainables.core.batches import batch_index, substream
from trainables.core.distilled import EFFORTS, LEARNT, METHODS, MOST, Recipe
from trainables.core.limits import above, checked, one_of
from trainables.core.losses import cross_entropy
from trainables.core.nets import CONVNETS, NETWORKS, PERCEPTRONS, graph, summary
from trainables.core.pack import Pack
from trainables.core.population import INITIALISATION, Population, footprint
from trainables.core.schedules import WARMUP_LINEAR
from trainables.core.splits import CLASSES, SPLIT, Splits, shape, to_float

ORDER, NETWORK, AUGMENT = range(3)  # purposes that draw random numbers
DATASETS = ("mnist", "cifar10")
WHOLE = "whole"  # not a small set at all
SOURCES = (WHOLE, *METHODS)
BATCH = 128  # of the whole data


@dataclass(frozen=True)
class Config:
    """One student: several networks that learn from one set.

    method: how the set is made, see `core/distilled.py`, or whole, all images that train. per_class: images of each class in it.
    network: what it is learnt for; effort: what learning it may cost. learner: what learns from it; networks: how many, freshly
    drawn. steps: of their training; lr: their peak rate. seed: the set, its experts, the networks.
    """

    dataset: Annotated[str, one_of(*DATASETS)]
    method: Annotated[str, one_of(*SOURCES)]
    per_class: Annotated[int, above(0)]
    network: Annotated[str, one_of(*PERCEPTRONS, *CONVNETS)]
    effort: Annotated[str, one_of(*EFFORTS)]
    learner: Annotated[str, one_of(*NETWORKS)]
    networks: Annotated[int, above(0)]
    steps: Annotated[int, above(0)]
    lr: Annotated[float, above(0)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)


Arrays = Mapping[str, np.ndarray]


class Learners(Pack):
    """Students of one set. datasets: {name: its arrays}."""

    config_type = Config
    may_differ = frozenset({"lr"})
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": INITIALISATION + " Each of a student's networks starts from a draw of its own.",
        "loss": f"CE(y, softmax(z)), mean over the set, or over {MOST} of its images; of the whole data over {BATCH}.",
        "optimiser": f"SGD with Nesterov momentum 0.9, peak rate lr. {WARMUP_LINEAR}",
        "sets": distilled.METHOD,
        "evaluation": (
            "Half-way and at the end: val_accuracy, the mean over a student's networks. At the end: test_accuracy, and spread, the standard "
            "deviation of test accuracy from one network of the set to the next."
        ),
        "split": f"{SPLIT} Experts and sets see the images that train.",
    }
    students: Population

    @classmethod
    def described(cls, config: Config) -> dict[str, str]:
        found = {f"learns: {config.learner}": summary(graph(config.learner, CLASSES), shape(config.dataset))}
        if config.method in LEARNT:
            found[f"set learnt for: {config.network}"] = summary(graph(config.network, CLASSES), shape(config.dataset))
        return found

    @staticmethod
    def artifact(config: Config) -> Recipe | None:
        c = config
        if c.method == WHOLE:
            return None
        return distilled.recipe(c.dataset, c.method, c.per_class, c.network, c.effort, c.seed)

    @classmethod
    def prepare(
        cls, artifact: Recipe | None, datasets: Mapping[str, Arrays], device: str
    ) -> tuple[dict[str, np.ndarray], dict]:
        """images (M, C, H, W), labels (M,), and the set's row, with pictures of it and how it was learnt in tables."""
        if artifact is None:
            return {}, {}
        return distilled.shown(artifact, distilled.distilled(artifact, datasets[artifact.dataset], device))

    @staticmethod
    def student_bytes(config: Config) -> int:
        return config.networks * footprint(graph(config.learner, CLASSES), shape(config.dataset), MOST)

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, device)
        c = self.common
        self.sets = Splits(datasets[c.dataset], self.device)
        if c.method == WHOLE:
            self.pool, self.size = self.sets.train, BATCH
        else:
            self.images, self.labels = (torch.from_numpy(np.array(answers[name])).to(self.device) for name in ("images", "labels"))
            self.pool, self.size = torch.arange(len(self.labels), device=self.device), MOST
        seeds = [substream(c.seed, NETWORK, i) for i in range(c.networks)] * len(configs)
        rates = [each.lr for each in configs for _ in range(c.networks)]
        self.students = Population(
            graph(c.learner, CLASSES), shape(c.dataset), seeds, rates, self.device, optimiser="nesterov"
        )

    def loss(self, step: int) -> Tensor:
        index = batch_index(self.pool, self.size, step, self.common.seed, stream=ORDER)
        if self.common.method == WHOLE:
            x, y = to_float(self.sets.images[index]), self.sets.labels[index]
        else:
            x, y = self.images[index], self.labels[index]
        if EFFORTS[self.common.effort].augmented:
            x = differentiably(x, torch.Generator().manual_seed(substream(self.common.seed, AUGMENT, step)))
        return self._each(cross_entropy(self.students.logits(x), y)).mean(1)

    def update(self, loss: Tensor, rate: float) -> None:
        """Every network takes the step of its own loss, of which a student's is the mean."""
        super().update(loss * self.common.networks, rate)

    def _each(self, values: Tensor) -> Tensor:
        """(students, networks) of what is (students x networks,)."""
        return values.view(-1, self.common.networks)

    def evaluations(self) -> list[int]:
        return [(self.common.steps + 1) // 2, self.common.steps]

    def measure(self) -> dict[str, Tensor]:
        s = self.sets
        found = {"val_accuracy": self._each(self.students.accuracy(s.images[s.val], s.labels[s.val], to_float)).mean(1)}
        if self.finished:
            each = self._each(self.students.accuracy(s.test_images, s.test_labels, to_float))
            spread = each.std(1) if self.common.networks > 1 else torch.full_like(each[:, 0], torch.nan)
            found |= {"test_accuracy": each.mean(1), "spread": spread}
        return found
