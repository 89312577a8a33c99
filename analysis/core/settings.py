"""A run of temperature x kd_weight, split into the planes that may share one surface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.core import records, statistics

PLANE = ("temperature", "kd_weight")


@dataclass(frozen=True)
class Regime:
    """The rows of one combination of all other axes. axes: that combination, where it distinguishes regimes."""

    axes: Mapping[str, Any]
    rows: pd.DataFrame
    done: pd.DataFrame

    @property
    def name(self) -> str:
        """For file names: `target_500`."""
        return "_".join(str(value) for value in self.axes.values())

    def plane(self, metric: str) -> pd.DataFrame:
        """Every (temperature, kd_weight): `metric` in per cent, low, high, n; NaN where no student is done."""
        cells = self.rows[[*PLANE]].drop_duplicates()
        table = statistics.summarise(self.done, PLANE, metric).rename(columns={"mean": metric})
        table[[metric, "low", "high"]] *= 100
        merged = cells.merge(table, how="left", on=[*PLANE]).sort_values([*PLANE], ignore_index=True)
        return merged.fillna({"n": 0})

    def verdict(self, choose: str, report: str) -> statistics.Verdict | None:
        """The cell chosen on `choose`; None where no student is done."""
        if self.done[[choose, report]].dropna().empty:
            return None
        return statistics.stands_out(self.done, PLANE, choose, report)

    def by_seed(self, metric: str, cell: Mapping[str, Any]) -> pd.Series:
        """A metric of one cell, as a fraction, by seed."""
        return by_seed(select(self.done, cell), metric)


def split(
    rows: pd.DataFrame, by: Sequence[str], order: Mapping[str, Sequence], within: Sequence[str] = PLANE
) -> list[Regime]:
    """The regimes of a run: by the axes named, and by any other axis with several values, so that nothing is mixed but
    the axes `within` a regime.

    order: the values of each axis as run.json has them, which is how regimes are sorted.
    """
    axes = rows.attrs["axes"]
    fixed = {*within, "seed", *by}
    keys = [*by, *(name for name in axes if name not in fixed and rows[name].nunique() > 1)]
    done = records.final(rows)
    regimes = []
    for values, part in rows.groupby(keys, sort=False):
        cell = dict(zip(keys, values, strict=True))
        regimes.append(Regime(cell, part, select(done, cell)))
    ranks = {name: {value: i for i, value in enumerate(values)} for name, values in order.items()}
    return sorted(regimes, key=lambda regime: [ranks.get(name, {}).get(v, 0) for name, v in regime.axes.items()])


def select(table: pd.DataFrame, cell: Mapping[str, Any]) -> pd.DataFrame:
    """The lines that have these values; columns that the table has not are not asked."""
    for name, value in cell.items():
        if name in table:
            table = table[table[name] == value]
    return table


def by_seed(table: pd.DataFrame, metric: str) -> pd.Series:
    """A metric by seed; cells that share a student count it once."""
    key = ["student"] if "student" in table else ["seed"]
    return table.dropna(subset=[metric]).drop_duplicates([*key, "seed"]).groupby("seed")[metric].mean()
