"""Linear models of all pairs of digits: the features that they see, what depends on what, and which weights are significant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.stats import norm

from analysis.core.statistics import LEVEL, Interval

PAIRS = list(combinations(range(10), 2))
INK = 0.01  # pixels with less mean ink in both classes are not tested: the normal approximation asks for more digits


@dataclass(frozen=True)
class View:
    """What a model sees of a digit: F pixels of a side x side grid that vary over the training digits.

    kept: their places in the grid, (F,). covariance: (F, F). class_means: mean ink by digit, (10, F). constant: how many places
    do not vary.
    """

    side: int
    kept: np.ndarray
    covariance: np.ndarray
    class_means: np.ndarray
    constant: int

    @cached_property
    def correlation(self) -> np.ndarray:
        """(F, F)"""
        deviation = np.sqrt(np.diag(self.covariance))
        return self.covariance / deviation / deviation[:, None]

    @cached_property
    def clustered(self) -> np.ndarray:
        """An order of the features (F,) in which what varies together lies together: average linkage on 1 - |r|."""
        distance = np.maximum(1 - np.abs(self.correlation), 0)  # rounding makes some correlations exceed 1
        np.fill_diagonal(distance, 0)
        tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=len(self.kept) < 1000)
        return leaves_list(tree)

    @property
    def row(self) -> np.ndarray:
        return self.kept // self.side

    @property
    def column(self) -> np.ndarray:
        return self.kept % self.side

    def nearest(self, row: float, column: float) -> int:
        """The pixel that varies nearest to a place of the grid."""
        return int(np.argmin((self.row - row) ** 2 + (self.column - column) ** 2))

    def strongest(self, values: np.ndarray, count: int, least: float = 0) -> pd.DataFrame:
        """The `count` links between two pixels with the largest sizes of `values`, (F, F): `first`, `second`, their distance
        `apart` in pixels, which is `least` or more, and `strength`. Pixels that hardly ever have ink, which correlate by a
        handful of digits, are left out."""
        first, second = np.triu_indices(len(self.kept), 1)
        apart = np.hypot(self.row[first] - self.row[second], self.column[first] - self.column[second])
        links = pd.DataFrame({"first": first, "second": second, "apart": apart, "strength": values[first, second]})
        often = self.class_means.mean(0) > 0.02
        allowed = links[often[first] & often[second] & (apart >= least)]
        return allowed.sort_values("strength", key=lambda r: -r.abs(), kind="stable").head(count)


def view(line: pd.Series) -> View:
    """Of a line of the table `features`, whose arrays are bytes."""
    kept = np.frombuffer(line["kept"], np.int16).astype(int)
    covariance = np.frombuffer(line["covariance"], np.float32).reshape(len(kept), -1).astype(float)
    return View(int(line["side"]), kept, covariance, inks(line), int(line["constant"]))


def inks(line: pd.Series) -> np.ndarray:
    """Mean ink by digit, (10, F), of such a line."""
    return np.frombuffer(line["class_means"], np.float32).reshape(10, -1)


def weight_correlation(line: pd.Series) -> np.ndarray:
    """Of a line of the table `weight_correlations`: the correlation of the estimated weights, the bias left out, (F, F)."""
    r = np.frombuffer(line["correlation"], np.float16).astype(float)
    return r.reshape(math.isqrt(len(r)), -1)[:-1, :-1]


def partial_correlations(correlation: np.ndarray, ridge: float) -> np.ndarray:
    """Correlation of each two features given all others, (F, F), from the inverse P of (correlation + ridge I):
    -P_ij / sqrt(P_ii P_jj). The ridge makes the inverse exist where features are linearly dependent.
    """
    precision = np.linalg.inv(correlation + ridge * np.eye(len(correlation)))
    scale = 1 / np.sqrt(np.diag(precision))
    partial = -precision * scale * scale[:, None]
    np.fill_diagonal(partial, 1.0)
    return partial


def tested(lines: pd.DataFrame, class_means: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Wald's z of the weights of the 45 models, NaN where not tested, and which of them differ from 0 after
    Benjamini-Hochberg over all that are tested: (45, F) each, in the order of PAIRS.

    lines: `weight` and `sampling_error` by pair, the bias last. class_means: mean ink by digit, (10, F), or None.
    """
    w, deviation = (
        np.stack(list(lines[name].loc[PAIRS])).astype(float)[:, :-1] for name in ("weight", "sampling_error")
    )
    asked = deviation > 0
    if class_means is not None:
        asked &= np.stack([class_means[list(pair)].max(0) > INK for pair in PAIRS])
    z = np.divide(w, deviation, out=np.full(w.shape, np.nan), where=asked)
    found = np.zeros(z.shape, bool)
    found[asked] = benjamini_hochberg(2 * norm.sf(np.abs(z[asked]))) < 1 - LEVEL
    return z, found


def estimates(lines: pd.DataFrame, class_means: np.ndarray | None) -> dict[str, dict[tuple[int, int], np.ndarray]]:
    """By pair: `weight`, its `error` (inverse Fisher information), its `sampling_error` over data sets, Wald's `z`, and which are
    `significant`, see `tested`; (F,) each. lines: of one student, by pair."""
    z, found = tested(lines, class_means)
    stored = ("weight", "error", "sampling_error")
    arrays = {k: np.stack([np.asarray(line, float)[:-1] for line in lines[k].loc[PAIRS]]) for k in stored}
    return {k: dict(zip(PAIRS, values, strict=True)) for k, values in {**arrays, "z": z, "significant": found}.items()}


def accuracies(lines: pd.DataFrame) -> tuple[dict[tuple[int, int], Interval], list[tuple[int, int]]]:
    """By pair: test accuracy with Wilson's interval over test digits; and the pairs from the hardest on, by validation."""
    counts = {
        p: (round(lines["test_accuracy"][p] * lines["test_digits"][p]), int(lines["test_digits"][p])) for p in PAIRS
    }
    return {p: wilson(*n) for p, n in counts.items()}, sorted(PAIRS, key=lambda p: lines["val_accuracy"][p])


def benjamini_hochberg(p: Any) -> np.ndarray:
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
    share, z = successes / n, float(norm.ppf((1 + level) / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Interval(share, middle - half, middle + half, n)
