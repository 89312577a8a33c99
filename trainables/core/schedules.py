"""Schedules: functions of the fraction of training in [0, 1), and steps after which to look."""

from __future__ import annotations

import math


def warmup_linear(fraction: float, warmup: float = 0.05) -> float:
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
