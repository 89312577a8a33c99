"""Means over seeds with their uncertainty, and differences that are more than luck."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from analysis.core.records import unit

LEVEL = 0.95  # of every interval and, as 1 - LEVEL, of every test

ROUNDING = 1e-6  # of a value: what is measured in float32 is alike to so much


@dataclass(frozen=True)
class Interval:
    """A mean over n seeds and its confidence interval; low and high are NaN for n = 1, all are for n = 0."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference over n pairs of runs with the same seed; p: two-sided, of no difference (NaN where
    nothing is known of the noise); two: of two pairs, whose interval says little, both differences, the lesser first."""

    p: float
    two: tuple[float, ...] = ()


def interval(values: Iterable[float], level: float = LEVEL) -> Interval:
    """Mean and Student's t interval, mean +- t(n - 1) s / sqrt(n); NaN values are left out.     Student 1908"""
    x = np.asarray([v for v in values if not math.isnan(v)], dtype=float)
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    half = float(student_t.ppf((1 + level) / 2, n - 1) * x.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return Interval(mean, mean - half, mean + half, n)


def summarise(table: pd.DataFrame, by: Sequence[str], metric: str, holes: bool = False) -> pd.DataFrame:
    """One line per group of `by`: its columns, then the mean in a column called `metric`, low, high and n, as `interval` has
    them; in per cent where the metric is a share.

    n counts seeds, where the table names them: several lines of one seed count as their mean. Rows where the metric is not
    measured do not count; a group without any has no line or, with `holes`, one with n = 0.
    """
    by, value = list(by), "value of the metric"
    values = table.assign(**{value: unit(metric) * table[metric].astype(float)})
    if "seed" in values:
        values = values.groupby(list(dict.fromkeys([*by, "seed"])), observed=True)[value].mean().reset_index()
    groups = values.groupby(by, sort=True, observed=True)[value]
    found = pd.DataFrame({"mean": groups.mean(), "s": groups.std(), "n": groups.count()})
    found = found if holes else found[found["n"] > 0]
    n = found["n"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        half = student_t.ppf((1 + LEVEL) / 2, n - 1) * found["s"].to_numpy() / np.sqrt(n)
    mean = found["mean"].to_numpy()
    keys = found.index if len(by) > 1 else [(key,) for key in found.index]
    lines = [(*key, *line) for key, *line in zip(keys, mean, mean - half, mean + half, n, strict=True)]
    return pd.DataFrame(lines, columns=[*by, metric, "low", "high", "n"])


def paired(a: pd.Series, b: pd.Series, level: float = LEVEL) -> Difference:
    """a - b over the labels (seeds) that both have: what a seed does to both cancels.

    Student's paired t test, Student 1908. Equal differences have s = 0: then p is 1 where they are 0, else 0; but NaN where there
    are two, which are equal by chance on few test images.
    """
    both = pd.concat([a.rename("a"), b.rename("b")], axis=1, join="inner").dropna()
    d = both["a"] - both["b"]
    i = interval(d, level)
    if i.n < 2:
        p = math.nan
    elif (error := float(d.std(ddof=1)) / math.sqrt(i.n)) > (rounding := ROUNDING * float(both.abs().to_numpy().max())):
        p = float(2 * student_t.sf(abs(i.mean) / error, i.n - 1))
    else:
        p = 1.0 if abs(i.mean) <= rounding else math.nan if i.n == 2 else 0.0
    return Difference(i.mean, i.low, i.high, i.n, p, tuple(map(float, sorted(d))) if i.n == 2 else ())


def kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two raters beyond chance, (p_o - p_e) / (1 - p_e)        Cohen 1960, Educ. Psychol. Meas. 20:37-46

    a, b: the class that each names, (N,). 1: they agree on everything; 0: as two who answer apart would, also where both
    name one class alone.
    """
    chance = sum(float((a == k).mean() * (b == k).mean()) for k in np.unique(a))
    return (float((a == b).mean()) - chance) / (1 - chance) if chance < 1 else 0.0


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p values corrected for their number, in the same order; NaN counts as 1.     Holm 1979, Scand. J. Stat. 6:65-70"""
    raw = np.nan_to_num(np.asarray(p, dtype=float), nan=1.0)
    order = np.argsort(raw, kind="stable")
    steps = raw[order] * np.arange(len(raw), 0, -1)
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def compare(pairs: Mapping[Any, tuple[pd.Series, pd.Series]], names: Sequence[str]) -> pd.DataFrame:
    """Several differences, a - b by seed, judged together: the columns `names`, which are the keys of `pairs`; `difference`
    (a `Difference`) and its mean, low, high, n; `told`: "more" or "less" where it is told from 0 after Holm's correction over
    all pairs, else "open"; `p`: after that correction, for `tell` to say.

    Pairs without a seed in common are left out.
    """
    found = {key: d for key, (a, b) in pairs.items() if (d := paired(a, b)).n}
    lines = []
    for (key, d), corrected in zip(found.items(), holm([d.p for d in found.values()]), strict=True):
        told = "open" if corrected >= 1 - LEVEL else "more" if d.mean > 0 else "less"
        lines.append((*(key if isinstance(key, tuple) else (key,)), d, d.mean, d.low, d.high, d.n, told, corrected))
    return pd.DataFrame(lines, columns=[*names, "difference", "mean", "low", "high", "n", "told", "p"])


def share_of_gap(value: pd.Series, low: pd.Series, high: pd.Series) -> pd.Series:
    """(value - low) / (high - low) by label (seed), for labels that all three have; NaN where high <= low.

    0 is no gain over `low`, 1 reaches `high`. As in Ganin et al. 2016 (arXiv 1505.07818), Table 2: low is source only,
    high is trained on target.
    """
    v, a, b = (part for _, part in pd.concat([value, low, high], axis=1, join="inner").items())
    return (v - a) / (b - a).where(lambda gap: gap > 0)
