"""How fast knowledge goes: numbers of one curve, an accuracy over the iterations since the task changed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from analysis.statistics import Interval, interval


def half_life(steps: Sequence[float], accuracy: Sequence[float], start: float, chance: float = 0.5) -> float:
    """Iterations until half of what was known above chance is gone: the first crossing of (start + chance) / 2.

    steps: ascending, above 0; accuracy: after each; start: before the first. Between evaluations the accuracy is taken as
    linear in the logarithm of the step (in the step itself before the first). inf where it is never crossed.
    """
    x, y = np.asarray(steps, dtype=float), np.asarray(accuracy, dtype=float)
    level = (start + chance) / 2
    below = np.flatnonzero(y < level)
    if not len(below):
        return math.inf
    i = int(below[0])
    if i == 0:
        return float(x[0] * (start - level) / (start - y[0]))
    part = (y[i - 1] - level) / (y[i - 1] - y[i])
    return float(x[i - 1] * (x[i] / x[i - 1]) ** part)


def area(steps: Sequence[float], accuracy: Sequence[float]) -> float:
    """Mean accuracy over the logarithm of the iterations: the area under the curve as it is drawn, over its width."""
    x, y = np.log(np.asarray(steps, dtype=float)), np.asarray(accuracy, dtype=float)
    return float(np.trapezoid(y, x) / np.ptp(x)) if len(x) > 1 else float(y[0])


def geometric(values: Sequence[float]) -> Interval:
    """Geometric mean of positive numbers and its interval, Student's t on their logarithms; n = 0 if one is infinite."""
    if not all(map(math.isfinite, values)):
        return Interval(math.nan, math.nan, math.nan, 0)
    of = interval(map(math.log, values))
    return Interval(math.exp(of.mean), math.exp(of.low), math.exp(of.high), of.n)
