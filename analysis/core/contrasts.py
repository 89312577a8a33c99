"""Many cells compared over few seeds: means that lost seeds do not shift, variances that borrow strength from each other, and
intervals that hold for all cells together, whichever was chosen.

Every cell has a mean, every seed moves all cells alike, and what is left is noise, of which cells may have more or less:

    y[c, s] = mean[c] + effect[s] + noise,    noise ~ N(0, variance[c])

With three seeds a cell knows its variance badly. `adjusted` moderates it towards what is usual among the cells, as limma does
for genes: by as much as the cells' variances are alike (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3, sections 3 to 6).
`together` takes from it how far the chosen cell may seem to lead among equals, by simulating noise, choice and differences
(step-down by the largest, Westfall and Young 1993, section 2.6; the choice is part of what is simulated, as in multiple
comparisons with the best, Hsu 1996, chapter 4). benchmarks/verdicts.py measures error rates and power.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import digamma, polygamma
from scipy.stats import f, norm, studentized_range

from analysis.core.statistics import ROUNDING

WORLDS = 4000  # simulated; the limit they give is then known within 2 %
FEWER = 1000  # of more than MOST / WORLDS values at least so many: within 4 %
MOST = 10_000_000  # values in all worlds: with many cells and seeds time and memory would grow with the square
CAUTION = 1.0  # standard errors by which cells are taken to differ more in noise than it seems
OUTLYING = 8  # one cell of so many may be left out of what is usual, if its noise lies far off


@dataclass(frozen=True)
class Means:
    """Cells over the same seeds. C cells, N values in all.

    keys: of the cells, C. means: least-squares means (C,), those of all seeds also where a cell lost some; plain means where
    none did. weights: means = weights @ values, (C, N). cell: which cell a value is of, (N,). noise: what cell and seed do not
    explain, (N,). variance: of the noise of one value, moderated, and its degrees of freedom, (C,) each; infinite where the cells
    are alike. pooled: degrees of freedom of all cells together; 0 where nothing is known of the noise.
    """

    keys: list
    means: np.ndarray
    weights: np.ndarray
    cell: np.ndarray
    noise: np.ndarray
    variance: np.ndarray
    freedom: np.ndarray
    pooled: float

    def errors(self, first: int) -> np.ndarray:
        """Standard error of the mean of cell `first` less that of each, (C,); 0 of itself."""
        contrasts = self.weights[first] - self.weights
        return np.sqrt(contrasts**2 @ self.variance[self.cell])

    def all_errors(self) -> np.ndarray:
        """The same for every cell as the first, (C, C)."""
        products = (self.weights * self.variance[self.cell]) @ self.weights.T
        own = products.diagonal()
        sums = own[:, None] + own
        squares = sums - 2 * products
        return np.sqrt(np.where(squares > 1e-12 * sums, squares, 0))  # what rounding leaves of cells that are one


def adjusted(values: Mapping[Any, pd.Series]) -> Means:
    """Means of cells and what is known of their noise. values: a metric of each cell by seed, without NaN.

    Cells that no chain of common seeds joins to the fullest are left out: nothing compares them with it.
    """
    table = pd.DataFrame(dict(enumerate(values.values())))  # (seeds, cells)
    joined = _joined(table.notna().to_numpy())
    table, keys = table.loc[:, joined], [key for key, there in zip(values, joined, strict=True) if there]
    known = table.notna().to_numpy().T
    cell, seed = np.nonzero(known)
    y, C, S = table.to_numpy(dtype=float).T[known], len(keys), len(table)
    design = np.hstack([np.eye(C)[cell], np.eye(S)[seed]])  # (N, C + S)
    of_all_seeds = np.hstack([np.eye(C), np.full((C, S), 1 / S)])
    usual = np.ones(C)
    for _ in range(3):  # a noisy cell moves the seeds' effects less, so that it makes no others noisy
        weight = usual[cell]
        solve = np.linalg.pinv(design.T @ (weight[:, None] * design), hermitian=True) @ (design.T * weight)
        noise = y - design @ (solve @ y)
        noise[np.abs(noise) < ROUNDING * np.abs(y).max()] = 0
        leverage = np.einsum("np,pn->n", design, solve)
        freedom = np.bincount(cell, 1 - leverage).round(9)
        own = np.divide(np.bincount(cell, noise**2), freedom, out=np.zeros(C), where=freedom > 0)
        strength, middle = usual_variance(own, freedom)
        total = strength + freedom
        with np.errstate(invalid="ignore"):
            variance = np.where(np.isfinite(total), (strength * middle + freedom * own) / total, middle)
        usual = np.divide(middle, variance, out=np.ones(C), where=variance > 0)
        usual = usual.clip(1e-6, 1)  # less, and a cell would be lost
    return Means(keys, of_all_seeds @ (solve @ y), of_all_seeds @ solve, cell, noise, variance, total, freedom.sum())


def usual_variance(own: np.ndarray, freedom: np.ndarray) -> tuple[np.ndarray, float]:
    """How strongly each cell's variance is drawn towards the usual one, in degrees of freedom (C,), and the usual variance.

    own: variances (C,), each with so many degrees of freedom; those with none do not count. By moments of log variances as
    Smyth 2004, section 6.2; but cells are taken to differ by CAUTION standard errors more than they seem to, and the noisiest,
    at most one in OUTLYING, keep their own variance where it lies beyond what the usual one allows (as Phipson et al. 2016,
    Ann. Appl. Stat. 10:946, have it for genes).
    """
    count = len(own)
    known = np.flatnonzero(freedom > 0)
    if not len(known) or not own[known].any():
        return np.full(count, math.inf), 0.0
    far: list[int] = []
    for _ in range(count // OUTLYING + 1):
        kept = np.setdiff1d(known, far)
        strength, middle = _prior(own[kept], freedom[kept])
        noisiest = kept[np.argmax(own[kept])]
        if len(far) == count // OUTLYING or not _beyond(own[noisiest], middle, freedom[noisiest], strength, count):
            break
        far.append(int(noisiest))
    strengths = np.full(count, strength)
    strengths[far] = 0.0
    return strengths, middle


def _prior(own: np.ndarray, freedom: np.ndarray) -> tuple[float, float]:
    """(d0, s0^2) of variances that are s0^2 F(freedom, d0)."""
    if len(own) < 3:  # two cells have one difference, whose noise nobody shares
        return math.inf, float(np.average(own, weights=freedom))
    half = freedom / 2
    logs = np.log(np.maximum(own, 1e-5 * np.median(own[own > 0]))) - digamma(half) + np.log(half)
    by_chance = polygamma(1, half).mean()
    error = math.sqrt((polygamma(3, half).mean() + 2 * by_chance**2) / len(own))
    spread = float(logs.var(ddof=1) - by_chance + CAUTION * error)
    if spread <= 0:
        return math.inf, float(np.average(own, weights=freedom))
    strength = 2 * _trigamma_inverse(spread)
    return strength, float(np.exp(logs.mean() + digamma(strength / 2) - np.log(strength / 2)))


def _beyond(own: float, middle: float, freedom: float, strength: float, count: int) -> bool:
    """Whether a variance is larger than chance makes the largest of `count` that belong together."""
    return bool(f.sf(own / middle, freedom, min(strength, 1e6)) * count < 0.05)


def _trigamma_inverse(value: float) -> float:
    """x with trigamma(x) = value, by Newton's steps on 1 / trigamma, which is convex.      Smyth 2004, appendix"""
    x = 0.5 + 1 / value
    for _ in range(50):
        at = polygamma(1, x)
        step = at * (1 - at / value) / polygamma(2, x)
        x += step
        if -step / x < 1e-8:
            break
    return float(x)


def _joined(known: np.ndarray) -> np.ndarray:
    """Which cells chains of common seeds join to the fullest one, (C,). known: what is measured, (seeds, C)."""
    cells = np.arange(known.shape[1]) == known.sum(axis=0).argmax()
    for _ in range(len(known)):
        cells = known[known[:, cells].any(axis=1)].any(axis=0)
    return cells


def together(test: Means, validation: Means, first: int, level: float) -> float:
    """How many standard errors the chosen cell `first` must lead by before a rival is told to be worse, so that with
    probability `level` no cell is told so that is equal to it.

    test, validation: the reported metric and that of the choice, of the same cells and seeds. Simulated are worlds in which all cells
    are equal and have the noise that they seem to have, known as badly as it is; in each a cell is chosen by validation, whose
    noise correlates with that of test as it does here. Cells told to be worse leave the simulation, as long as there are any.
    """
    rng = np.random.default_rng(0)  # the same rows, the same verdict
    count, N = len(test.keys), len(test.cell)
    errors = test.all_errors()
    lead = np.divide(test.means[first] - test.means, errors[first], out=np.zeros(count), where=errors[first] > 0)
    worlds = min(WORLDS, max(FEWER, MOST // N))
    shared = rng.standard_normal((worlds, N))
    scale = np.sqrt(test.pooled / rng.chisquare(test.pooled, (worlds, 1))) * _tails(rng, test.freedom, worlds)[:, test.cell]
    r = _correlation(test, validation)
    heard = rng.standard_normal((worlds, N))
    heard *= math.sqrt(1 - r**2)
    heard += r * shared
    heard *= scale
    scores = heard @ (validation.weights * np.sqrt(validation.variance)[test.cell]).T  # (worlds, C)
    shared *= scale
    means = shared @ (test.weights * np.sqrt(test.variance)[test.cell]).T
    left = np.arange(count)
    while True:
        picked = left[scores[:, left].argmax(axis=1)]
        apart = means[np.arange(worlds), picked][:, None] - means[:, left]
        error = errors[np.ix_(picked, left)]
        most = np.divide(apart, error, out=np.zeros_like(apart), where=error > 0).max(axis=1)
        limit = float(np.quantile(most, level))
        stay = left[(lead[left] <= limit) | (left == first)]
        if len(stay) == len(left) or len(stay) < 2:
            return limit
        left = stay


def told_from(noise: float, cells: int, seeds: int, level: float, power: float = 0.8) -> float:
    """The true difference from which on a rival of the best of `cells` is told to be worse with probability `power`; infinite for one seed.

    noise: standard deviation of a value, beside what seeds do to all cells alike; equal in all cells. The limit is that of Tukey's
    studentised range, as where validation, which chooses, shares all luck of test (Hsu 1996, section 5.1).
    """
    if seeds < 2 or cells < 2:
        return math.inf
    limit = studentized_range.ppf(level, cells, (cells - 1) * (seeds - 1)) / math.sqrt(2)
    return float((limit + norm.ppf(power)) * noise * math.sqrt(2 / seeds))


def _tails(rng: np.random.Generator, freedom: np.ndarray, worlds: int) -> np.ndarray:
    """What makes the noise of each cell Student's t rather than normal, (worlds, C); with less than one degree of freedom it is
    Cauchy's, whose tails leave everything open."""
    finite = np.where(np.isfinite(freedom), freedom, 1.0).clip(min=1)
    return np.where(np.isfinite(freedom), np.sqrt(finite / rng.chisquare(finite, (worlds, len(finite)))), 1.0)


def _correlation(a: Means, b: Means) -> float:
    """Of the noise of two metrics of the same students, at least 0; 1 where it cannot be known."""
    x, y = (m.noise / np.sqrt(np.where(m.variance > 0, m.variance, 1.0))[m.cell] for m in (a, b))
    norm = math.sqrt(float((x @ x) * (y @ y)))
    return min(1.0, max(0.0, float(x @ y) / norm)) if norm > 0 else 1.0
