"""Schedules: functions of the fraction of training in [0, 1), and steps after which to look."""

from __future__ import annotations

import math
from dataclasses import dataclass

WARMUP = 0.05
WARMUP_LINEAR = f"The rate rises from 0 to its peak over the first {WARMUP:.0%} of the steps and falls linearly to 0."


def warmup_linear(fraction: float, warmup: float = WARMUP) -> float:
    """Multiplier of the learning rate: rises from 0 to 1 over `warmup`, then falls linearly to 0 at the end."""
    return fraction / warmup if fraction < warmup else (1 - fraction) / (1 - warmup)


def log_spaced(end: int, per_decade: float) -> list[int]:
    """Whole steps from 1 to `end`, about as many in every decade; ascending, each once."""
    count = max(1, round(per_decade * math.log10(end)))
    return sorted({round(end ** (i / count)) for i in range(count + 1)})


UNFREEZINGS = ("head", "last_block", "gradual", "all")
THAWED_BY = 0.5  # of the training: then `gradual` trains every stage


def thawed(unfreezing: str, fraction: float, stages: int) -> int:
    """How many stages are trained, counted from the head, at a fraction of the training.

    head: 1; last_block: 2; all: all. gradual: one more at equal distances, all from THAWED_BY on, as in ULMFiT, which thaws one
    an epoch (Howard & Ruder 2018, arXiv 1801.06146, section 3.3).
    """
    fixed = {"head": 1, "last_block": 2, "all": stages}
    if unfreezing in fixed:
        return min(fixed[unfreezing], stages)
    return min(stages, 1 + int(fraction / THAWED_BY * (stages - 1) + 1e-9))


def rise(fraction: float, start: float, end: float) -> float:
    """0 up to `start`, 1 from `end` on, linear between; at once where both are equal."""
    return 1.0 if fraction >= end else max(0.0, (fraction - start) / (end - start))


def one_cycle(fraction: float, rising: float = 0.3, start: float = 1 / 25) -> float:
    """Multiplier of the learning rate: rises from `start` to 1 over the share `rising`, then falls to 0, both along half a
    cosine.     Smith 2018 (arXiv 1803.09820), with the legs of PyTorch's OneCycleLR"""
    if fraction < rising:
        return 1 - (1 - start) * 0.5 * (1 + math.cos(math.pi * fraction / rising))
    return 0.5 * (1 + math.cos(math.pi * (fraction - rising) / (1 - rising)))


def stairs(fraction: float, stages: int) -> float:
    """Rises from 0 to 1 in `stages` flights of equal length, the first at 0, the last at 1."""
    return min(int(fraction * stages + 1e-9), stages - 1) / (stages - 1)


@dataclass
class Plateau:
    """Multiplier of the learning rate that falls by `factor` when a loss has come no lower for more than `patience` looks in
    a row: ReduceLROnPlateau of PyTorch with threshold 0 and no least rate."""

    factor: float = 0.3
    patience: int = 0
    scale: float = 1.0
    best: float = math.inf
    waited: int = 0

    def look(self, loss: float) -> None:
        if loss < self.best:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.scale, self.waited = self.scale * self.factor, 0
