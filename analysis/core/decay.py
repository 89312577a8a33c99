"""How fast knowledge goes: numbers of one curve, an accuracy over the iterations since the task changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
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


def decays(evaluations: pd.DataFrame, metric: str, known: pd.Series, offset: float = 0) -> pd.DataFrame:
    """One line per seed: `half_life`, `area` (see above) and `backward_transfer`, the last value of the metric less the known
    one.     Lopez-Paz & Ranzato 2017, arXiv 1706.08840, section 2

    evaluations: one line per seed and `step`, the steps after `offset` counting from there; known: the metric at `offset`, by seed.
    """
    lines = {
        seed: {
            "half_life": half_life(steps, values, known[seed]),
            "area": area(steps, values),
            "backward_transfer": values[-1] - known[seed],
        }
        for seed, steps, values in _by_seed(evaluations, metric, offset)
    }
    return pd.DataFrame.from_dict(lines, orient="index", columns=["half_life", "area", "backward_transfer"])


def first_losses(evaluations: pd.DataFrame, metric: str, known: pd.Series, loss: float = 0.05) -> pd.Series:
    """Iterations until a metric has lost so much of what was known, by seed; inf where it never does. See `decays`."""
    times = {
        seed: half_life(steps, values, known[seed], known[seed] - 2 * loss)
        for seed, steps, values in _by_seed(evaluations, metric)
    }
    return pd.Series(times, dtype=float)


def _by_seed(evaluations: pd.DataFrame, metric: str, offset: float = 0) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Seed, steps since `offset` and values of each curve, where the metric is measured."""
    after = evaluations[evaluations["step"] > offset].dropna(subset=[metric]).sort_values("step")
    for seed, line in after.groupby("seed"):
        yield seed, line["step"].to_numpy() - offset, line[metric].to_numpy()


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
