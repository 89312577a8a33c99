"""Networks that learn from a small set of images in place of a data set: how well, by how the set was made.

The sets, learnt ones among them (matching training trajectories, arXiv 2203.11932; distribution matching, arXiv 2110.04181), are
those of `core/distilled.py`. Each is judged as the field does: by freshly drawn networks that see nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from torch import Tensor

from trainables.core import distilled, learners
from trainables.core.distilled import EFFORTS, LEARNT, METHODS, MOST, Recipe
from trainables.core.learners import Learners
from trainables.core.limits import above, checked, one_of
from trainables.core.losses import cross_entropy
from trainables.core.nets import CONVNETS, NETWORKS, PERCEPTRONS, graph, summary
from trainables.core.population import footprint
from trainables.core.splits import CLASSES, SPLIT, shape

DATASETS = ("mnist", "cifar10")
WHOLE = "whole"  # not a small set at all
SOURCES = (WHOLE, *METHODS)


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


class Matching(Learners):
    """Students of one set. datasets: {name: its arrays}."""

    config_type = Config
    may_differ = frozenset({"lr"})
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": learners.STARTS,
        "loss": f"CE(y, softmax(z)), {learners.BATCHES}.",
        "optimiser": learners.OPTIMISER,
        "sets": distilled.METHOD,
        "evaluation": learners.EVALUATION,
        "split": f"{SPLIT} Experts and sets see the images that train.",
    }

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
        return distilled.shown(artifact, datasets[artifact.dataset], device)

    @staticmethod
    def student_bytes(config: Config) -> int:
        return config.networks * footprint(graph(config.learner, CLASSES), shape(config.dataset), MOST)

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, datasets, answers, device, configs[0].learner)

    def losses(self, step: int) -> Tensor:
        index, x = self.batch(step)
        return cross_entropy(self.students.logits(x), self.labels[index])
