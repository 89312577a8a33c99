"""How a norm falls with the temperature: its slope on logarithmic axes, and where a power law begins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.core import statistics
from analysis.core.statistics import Interval

NEAR = 0.05
"""A slope this near to the law counts as the law, however narrow its interval is."""


def slopes(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """d log `column` / d log T between neighbouring probe temperatures: one line per seed and pair, with the lower T as
    `probe_temperature` and their geometric mean as `between`; a mean over the students of a seed.

    table: `seed`, `temperature` (which tells the students of a seed apart), `probe_temperature` and `column`.
    """
    logs = table.pivot(index=["seed", "temperature"], columns="probe_temperature", values=column).apply(np.log2)
    T = logs.columns.to_numpy(dtype=float)
    rises = (logs.diff(axis=1).iloc[:, 1:] / np.diff(np.log2(T))).set_axis(T[:-1], axis=1)
    lines = rises.groupby("seed").mean().rename_axis(columns="probe_temperature").stack().rename("slope").reset_index()
    return lines.assign(between=lines["probe_temperature"].map(dict(zip(T[:-1], np.sqrt(T[1:] * T[:-1]), strict=True))))


def at(lines: pd.DataFrame, temperature: float) -> Interval:
    """The slope between `temperature` and the next one, over seeds."""
    return statistics.interval(lines.loc[lines["probe_temperature"] == temperature, "slope"])


def extrapolated(lines: pd.DataFrame) -> Interval:
    """The slope at 1/T = 0, where what is left of it falls as 1/T: 2 s(2T) - s(T) of the last two pairs, over seeds."""
    by_seed = lines.pivot(index="seed", columns="probe_temperature", values="slope").iloc[:, -2:]
    return statistics.interval(2 * by_seed.iloc[:, -1] - by_seed.iloc[:, 0])


def follows(slope: Interval, law: float) -> bool:
    """The interval holds the law's slope, or lies within NEAR of it; without an interval the mean does."""
    low, high = (slope.mean, slope.mean) if math.isnan(slope.low) else (slope.low, slope.high)
    return low <= law <= high or max(abs(low - law), abs(high - law)) <= NEAR


def knee(lines: pd.DataFrame, law: float) -> float | None:
    """The lowest T from which on every slope `follows` the law; None if the last does not."""
    found = None
    for T in sorted(lines["probe_temperature"].unique(), reverse=True):
        if not follows(at(lines, T), law):
            break
        found = float(T)
    return found


def gaussian_norms(student: float, teacher: float, temperatures: Sequence[float], draws: int = 20_000) -> np.ndarray:
    """Mean of ||softmax(z/T) - softmax(v/T)||/T over independent Gaussian logits of ten classes with these deviations: what
    a student that knows nothing of its teacher would show. (len(temperatures),)"""
    rng = np.random.default_rng(0)
    z, v = student * rng.standard_normal((draws, 10)), teacher * rng.standard_normal((draws, 10))
    return np.array([np.linalg.norm(_softmax(z / T) - _softmax(v / T), axis=1).mean() / T for T in temperatures])


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
