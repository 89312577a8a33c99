"""How fast knowledge goes: numbers of one curve, an accuracy over the iterations since the task changed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

from analysis.core.statistics import LEVEL, Interval


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


def median(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Median (in `mean`) and its interval without a distribution, between two order statistics; values may be inf, and then
    so may its ends. NaN ends where n is too small for the level (below 6 for 95 %).

    x_(k) to x_(n + 1 - k) misses the median with probability 2 P(Binomial(n, 1/2) < k).     Thompson 1936, Ann. Math. Stat. 7
    """
    x = np.sort(np.asarray(values, dtype=float))
    n = len(x)
    if not n:
        return Interval(math.nan, math.nan, math.nan, 0)
    middle = float(x[n // 2]) if n % 2 else float((x[n // 2 - 1] + x[n // 2]) / 2)
    k = int(binom.ppf((1 - level) / 2, n, 0.5))  # the least with P(B <= k) >= (1 - level) / 2, so P(B < k) is less
    return Interval(middle, float(x[k - 1]), float(x[n - k]), n) if k else Interval(middle, math.nan, math.nan, n)
