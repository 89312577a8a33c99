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


def rise(fraction: float, start: float, end: float) -> float:
    """0 up to `start`, 1 from `end` on, linear between; at once where both are equal."""
    return 1.0 if fraction >= end else max(0.0, (fraction - start) / (end - start))
