"""Schedules: functions of the fraction of training in [0, 1)."""

from __future__ import annotations


def warmup_linear(fraction: float, warmup: float = 0.05) -> float:
    """Multiplier of the learning rate: rises from 0 to 1 over `warmup`, then falls linearly to 0 at the end."""
    return fraction / warmup if fraction < warmup else (1 - fraction) / (1 - warmup)
