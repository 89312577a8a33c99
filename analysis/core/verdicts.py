"""What p-values say in words at a level that was chosen before, and how large a comparison would have to be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.core.statistics import LEVEL, holm

ALPHA = 1 - LEVEL
POWER = 0.8


def verdict(p: float, level: float = ALPHA) -> str:
    """`significantly better` or `not shown to be better`, of a one-sided p; what cannot be tested says so."""
    if np.isnan(p):
        return "cannot be tested so"
    return "significantly better" if p <= level else "not shown to be better"


def by_query(lines: pd.DataFrame) -> pd.DataFrame:
    """One line for each query: google, yandex (pFound), difference, p, in the order of the judgements, each the mean over seeds (which
    draw other rearrangements of the same judgements), and `holm`: p corrected for looking at all these queries."""
    order = list(dict.fromkeys(lines["query"]))
    means = lines.groupby("query")[["google", "yandex", "difference", "p", "results", "judges"]].mean().loc[order]
    return means.assign(holm=holm(means["p"].to_numpy())).reset_index()


def needed(table: pd.DataFrame, x: str, power: str, by: Sequence[str], goal: float = POWER) -> pd.DataFrame:
    """For each value of `by` the least x from which on the mean power over seeds stays at `goal` or above, NaN where none that was
    tried does; `most`: the largest x that was tried."""
    found = []
    for values, part in table.dropna(subset=[power]).groupby(list(by), observed=True):
        means = part.groupby(x)[power].mean().sort_index()
        below = means.index[means < goal]
        enough = means.index[means.index > below.max()] if len(below) else means.index
        line = dict(zip(by, values, strict=True))
        found.append({**line, x: float(enough.min()) if len(enough) else np.nan, "most": float(means.index.max())})
    return pd.DataFrame(found, columns=[*by, x, "most"])
