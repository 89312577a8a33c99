"""Means over seeds with their uncertainty, and whether a winner is more than luck."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm as normal
from scipy.stats import t as student_t

LEVEL = 0.95  # of every interval and, as 1 - LEVEL, of every test


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
    nothing is known of the noise)."""

    p: float


def interval(values: Iterable[float], level: float = LEVEL) -> Interval:
    """Mean and Student's t interval, mean +- t(n - 1) s / sqrt(n); NaN values are left out.     Student 1908"""
    x = np.asarray([v for v in values if not math.isnan(v)], dtype=float)
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    half = float(student_t.ppf((1 + level) / 2, n - 1) * x.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return Interval(mean, mean - half, mean + half, n)


def summarise(table: pd.DataFrame, by: Sequence[str], value: str, level: float = LEVEL) -> pd.DataFrame:
    """One line per group of `by`: its columns, then mean, low, high (unit of `value`) and n, as `interval` has them.

    Rows where `value` is not measured do not count; a group without any has no line.
    """
    groups = table.dropna(subset=[value]).groupby(list(by), sort=True)[value]
    lines = []
    for key, group in groups:
        i = interval(group, level)
        lines.append((*key, i.mean, i.low, i.high, i.n))
    return pd.DataFrame(lines, columns=[*by, "mean", "low", "high", "n"])


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
    elif (error := float(d.std(ddof=1)) / math.sqrt(i.n)) > 1e-12:  # above rounding
        p = float(2 * student_t.sf(abs(i.mean) / error, i.n - 1))
    else:
        p = 1.0 if abs(i.mean) < 1e-12 else math.nan if i.n == 2 else 0.0
    return Difference(i.mean, i.low, i.high, i.n, p)


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


def benjamini_hochberg(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p values corrected so that those up to q have a false discovery rate of at most q; in the same order, NaN counts
    as 1.     Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289-300"""
    raw = np.nan_to_num(np.asarray(p, dtype=float), nan=1.0)
    order = np.argsort(-raw, kind="stable")
    steps = raw[order] * len(raw) / np.arange(len(raw), 0, -1)
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(np.minimum.accumulate(steps), 1.0)
    return corrected


def wilson(successes: int, n: int, level: float = LEVEL) -> Interval:
    """A proportion of n independent trials with its score interval.     Wilson 1927, J. Am. Stat. Assoc. 22:209-212"""
    share, z = successes / n, float(normal.ppf((1 + level) / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Interval(share, middle - half, middle + half, n)


def partial_correlations(correlation: np.ndarray, ridge: float) -> np.ndarray:
    """Correlation of each two features given all others, (F, F), from the inverse P of (correlation + ridge I):
    -P_ij / sqrt(P_ii P_jj). The ridge makes the inverse exist where features are linearly dependent.
    """
    precision = np.linalg.inv(correlation + ridge * np.eye(len(correlation)))
    scale = 1 / np.sqrt(np.diag(precision))
    partial = -precision * scale * scale[:, None]
    np.fill_diagonal(partial, 1.0)
    return partial


@dataclass(frozen=True)
class Verdict:
    """What a choice on validation is worth.

    best: the cell chosen, runner_up: the second, as {column: value}. lead: best minus runner-up on the reported metric
    (uncorrected). ties: rivals that are not shown to be worse, best on validation first. uncorrected_ties: how many
    these were if each rival were the only one. rivals: how many there were. n: seeds
    of the best.
    """

    best: dict[str, Any]
    runner_up: dict[str, Any] | None
    lead: Difference | None
    ties: tuple[dict[str, Any], ...]
    uncorrected_ties: int
    rivals: int
    n: int

    @property
    def stands_out(self) -> bool:
        """The winner is better than every rival by more than noise; otherwise it is a tie."""
        return self.rivals > 0 and not self.ties


def stands_out(table: pd.DataFrame, cell: Sequence[str], choose: str, report: str, seed: str = "seed") -> Verdict:
    """The cell with the best mean of `choose`, and whether `report` tells it from its rivals.

    table: one row per cell and seed. Winner against each rival: a paired t test over seeds on `report`, Holm-corrected
    over the rivals, two-sided, where only the winner's side counts. The test looks at another metric than the choice,
    so the choice does not flatter it, save for what luck of a seed moves both. Cells of the same students (column
    `student`) are one cell, named by the first. ValueError if no row has both metrics.

    With three seeds this finds large differences only. Variances pooled over the cells would find smaller ones, but
    where cells differ in noise they find them among equals too, so each rival answers for its own.
    """
    measured = table.dropna(subset=[choose, report])
    if measured.empty:
        raise ValueError(f"no row has both {choose} and {report}")
    distinct: dict[Any, tuple] = {}
    groups = {key: group.set_index(seed).sort_index() for key, group in measured.groupby(list(cell), sort=True)}
    for key, group in groups.items():
        distinct.setdefault(tuple(group["student"]) if "student" in group else key, key)
    ranking = scores({key: groups[key][choose] for key in distinct.values()})
    ranked = sorted(ranking, key=lambda key: -ranking[key])
    best, rivals = ranked[0], ranked[1:]
    leads = [paired(groups[best][report], groups[rival][report]) for rival in rivals]
    raw = np.nan_to_num([lead.p if lead.mean > 0 else 1.0 for lead in leads], nan=1.0)
    named = [dict(zip(cell, key, strict=True)) for key in ranked]
    return Verdict(
        best=named[0],
        runner_up=named[1] if rivals else None,
        lead=leads[0] if rivals else None,
        ties=tuple(name for name, corrected in zip(named[1:], holm(raw), strict=True) if corrected >= 1 - LEVEL),
        uncorrected_ties=int((raw >= 1 - LEVEL).sum()),
        rivals=len(rivals),
        n=len(groups[best]),
    )


def scores(values: Mapping[Any, pd.Series]) -> dict[Any, float]:
    """What cells are ranked by, the more the better: means over seeds. values: a metric of each cell by seed, without NaN.

    A cell with fewer seeds than the fullest, which may have been the lucky ones, is ranked by its lead on its own seeds
    over the best of the fullest; without a seed in common it has no score.
    """
    most = max(len(v) for v in values.values())
    full = {key: float(v.mean()) for key, v in values.items() if len(v) == most}
    first = max(full, key=lambda key: full[key])
    leads = {key: paired(v, values[first]) for key, v in values.items() if key not in full}
    return full | {key: full[first] + lead.mean for key, lead in leads.items() if lead.n}


def share_of_gap(value: pd.Series, low: pd.Series, high: pd.Series) -> pd.Series:
    """(value - low) / (high - low) by label (seed), for labels that all three have; NaN where high <= low.

    0 is no gain over `low`, 1 reaches `high`. As in Ganin et al. 2016 (arXiv 1505.07818), Table 2: low is source only,
    high is trained on target.
    """
    v, a, b = (part for _, part in pd.concat([value, low, high], axis=1, join="inner").items())
    return (v - a) / (b - a).where(lambda gap: gap > 0)
