"""The tables of search_quality's labels: which method is better than which, in worlds that both saw."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.core import tell
from analysis.core.settings import by_seed, select
from analysis.core.statistics import compare

WAYS = {
    "majority": "majority vote",
    "dawid_skene": "Dawid-Skene",
    "glad": "GLAD",
    "types": "trust by types (control)",
    "gold": "gold tasks (ours)",
    "adaptive": "adaptive labels (ours)",
    "pairwise": "comparisons (ours)",
}
OWN = ("gold", "adaptive", "pairwise")
BASES = ("majority", "dawid_skene", "types")


def leads(
    table: pd.DataFrame, by: Sequence[str], metric: str, own: Sequence[str] = OWN, bases: Sequence[str] = BASES
) -> pd.DataFrame:
    """A line for each seed, own method, base and values of `by`: `lead_accuracy`, the metric of the method less that of the base in the
    same worlds; `way` and `base` say both in words. table: one line for each student, with its `method`."""
    wide = table.pivot_table(index=[*by, "seed"], columns="method", values=metric)
    found = [
        (wide[a] - wide[b]).rename("lead_accuracy").dropna().reset_index().assign(way=WAYS[a], base=f"against {WAYS[b]}")
        for a in own
        for b in bases
        if {a, b} <= set(wide)
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def told(table: pd.DataFrame, by: Sequence[str], metric: str) -> pd.DataFrame:
    """The same paired by seed and judged together (see `statistics.compare`): a line for each way, base and values of `by`."""
    pairs = {}
    for values, part in table.groupby(list(by), observed=True):
        scores = {m: by_seed(select(part, {"method": m}), metric) for m in set(part["method"])}
        for a in OWN:
            for b in BASES:
                if {a, b} <= set(scores):
                    pairs[(WAYS[a], f"against {WAYS[b]}", *values)] = (scores[a], scores[b])
    return compare(pairs, ["way", "base", *by])


def summary(table: pd.DataFrame) -> list[dict[str, str]]:
    """A line for each method, to read: labels that are true and the error of nDCG on them, with intervals over seeds. table: one
    line for each student, with its `way`."""
    shares = {"labels that are true": "test_accuracy", "error of nDCG": "test_ndcg_error"}
    return [
        {"method": str(way), **{what: tell.percent(by_seed(lines, name)) for what, name in shares.items()}}
        for way, lines in table.groupby("way", sort=True, observed=True)
    ]
