"""How a norm falls with the temperature: its slope on logarithmic axes, and where a power law begins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from analysis.core import statistics
from analysis.core.statistics import Interval

NEAR = 0.05
"""A slope this near to the law counts as the law, however narrow its interval is."""


def stages(steps: Iterable[int]) -> dict[str, int]:
    """start, middle and end of a training: the first step measured, the one nearest to half of the last, the last."""
    known = np.unique(list(steps))
    return {"start": known[0], "middle": known[np.abs(known - known[-1] / 2).argmin()], "end": known[-1]}


def staged(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The lines at start, middle and end of the training of each group of `by`, told apart by a column `stage`.

    table: the columns `by` and `training_step`; a step that is two stages has two lines."""
    groups = [(part, stages(part["training_step"])) for _, part in table.groupby(list(by), sort=False)]
    found = [
        part[part["training_step"] == step].assign(stage=stage) for part, of in groups for stage, step in of.items()
    ]
    lines = pd.concat(found)
    return lines.assign(stage=pd.Categorical(lines["stage"], ["start", "middle", "end"], ordered=True))


def seed_means(table: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """One line per seed and group of `by`, with the means of `columns` over its students: those of a seed share their teacher and
    the order of their data, so they are not independent, and count once in an interval."""
    return table.groupby(["seed", *by], observed=True)[list(columns)].mean().reset_index()


def geometric(log: Interval) -> Interval:
    """Of a mean of decadic logarithms and its interval: the geometric mean and its own."""
    return Interval(10**log.mean, 10**log.low, 10**log.high, log.n)


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


def holds(slope: Interval, law: float) -> str:
    """Whether a slope is the law's, as a sentence says it."""
    if math.isnan(slope.low):
        return "one seed, so there is no interval"
    if slope.low <= law <= slope.high:
        return f"{law:g} lies in the interval"
    distance = min(abs(slope.low - law), abs(slope.high - law))
    return f"{law:g} lies {distance:.1e} outside the interval" + ": the law is not reached" * (not follows(slope, law))


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


def gaussian_slopes(student: float, teacher: float, temperatures: np.ndarray) -> np.ndarray:
    """The slopes of `gaussian_norms` between neighbouring temperatures, (len(temperatures) - 1,)"""
    norms = gaussian_norms(student, teacher, temperatures.tolist())
    return np.diff(np.log2(norms)) / np.diff(np.log2(temperatures))


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
