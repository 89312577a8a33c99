"""Students that are several networks each: freshly drawn, taught by one small set of images or by all real ones, judged by their mean."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.core.augment import differentiably
from trainables.core.batches import batch_index, substream
from trainables.core.distilled import EFFORTS, MOST, standardised
from trainables.core.nets import graph
from trainables.core.pack import Pack
from trainables.core.population import INITIALISATION, Population
from trainables.core.schedules import WARMUP_LINEAR
from trainables.core.splits import CLASSES, Splits, shape

ORDER, NETWORK, AUGMENT = range(3)  # purposes that draw random numbers
BATCH = 128  # of the real data
STARTS = INITIALISATION + " Each of a student's networks starts from a draw of its own."
OPTIMISER = f"SGD with Nesterov momentum 0.9, peak rate lr. {WARMUP_LINEAR}"
BATCHES = f"mean over the set, or over {MOST} of its images where it has more; of the real data over {BATCH}"
EVALUATION = (
    "Half-way and at the end: val_accuracy, the mean over a student's networks. At the end: test_accuracy, and spread, the standard "
    "deviation of test accuracy from one network of a student to the next."
)

Arrays = Mapping[str, np.ndarray]


class Learners(Pack):
    """Students of one set. Their configs have dataset, effort, networks, steps, lr and seed.

    answers: `images` (M, C, H, W) and `labels` (M,) of a small set; without them all real images that train are the set.
    """

    students: Population

    def __init__(
        self, configs: Sequence[Any], datasets: Mapping[str, Arrays], answers: Arrays, device: str, network: str
    ) -> None:
        super().__init__(configs, device)
        c = self.common
        self.sets, self.small = Splits(datasets[c.dataset], self.device), "images" in answers
        if self.small:
            self.images, self.labels = (
                torch.from_numpy(np.array(answers[n])).to(self.device) for n in ("images", "labels")
            )
        else:
            self.images, self.labels = self.sets.images, self.sets.labels
        self.to_input = standardised(c.dataset)
        self.pool = torch.arange(len(self.labels), device=self.device) if self.small else self.sets.train
        self.size = min(len(self.pool), MOST if self.small else BATCH)
        seeds = [substream(c.seed, NETWORK, i) for i in range(c.networks)] * len(configs)
        rates = [each.lr for each in configs for _ in range(c.networks)]
        layers = graph(network, CLASSES)
        self.students = Population(layers, shape(c.dataset), seeds, rates, self.device, optimiser="nesterov")

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Which images a step shows, and how, (B,) and (B, C, H, W)."""
        index = batch_index(self.pool, self.size, step, self.common.seed, stream=ORDER)
        x = self.images[index] if self.small else self.to_input(self.images[index])
        if EFFORTS[self.common.effort].augmented:
            x = differentiably(x, torch.Generator().manual_seed(substream(self.common.seed, AUGMENT, step)))
        return index, x

    def each(self, values: Tensor) -> Tensor:
        """(students, networks) of what is (students x networks,)."""
        return values.view(-1, self.common.networks)

    @abstractmethod
    def losses(self, step: int) -> Tensor:
        """Of every network, (students x networks,)."""

    def loss(self, step: int) -> Tensor:
        return self.each(self.losses(step)).mean(1)

    def update(self, loss: Tensor, rate: float) -> None:
        """Every network takes the step of its own loss, of which a student's is the mean."""
        super().update(loss * self.common.networks, rate)

    def evaluations(self) -> list[int]:
        return [(self.common.steps + 1) // 2, self.common.steps]

    def measure(self) -> dict[str, Tensor]:
        s = self.sets
        found = {
            "val_accuracy": self.each(self.students.accuracy(s.images[s.val], s.labels[s.val], self.to_input)).mean(1)
        }
        if self.finished:
            named = self.students.named(s.test_images, self.to_input)
            each = self.each((named == s.test_labels).float().mean(1))
            spread = each.std(1) if self.common.networks > 1 else torch.full_like(each[:, 0], torch.nan)
            of_all = named.view(len(each), -1), s.test_labels.repeat(self.common.networks)  # networks of a student together
            found |= {"test_accuracy": self.tested(*of_all), "spread": spread}
        return found
