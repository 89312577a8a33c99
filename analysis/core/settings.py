"""The rows of a run, split into settings: the rows of one combination of everything that is not being compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True, eq=False)
class Setting:
    """The rows of one combination of everything that is not being compared.

    axes: that combination, as far as it distinguishes settings of the run. cells: its planned grid points with the last
    evaluation of the student that answers each, NaN where it has no result. rows: all evaluations. title: the axes in words.
    """

    axes: Mapping[str, Any]
    cells: pd.DataFrame = field(repr=False)
    rows: pd.DataFrame = field(repr=False)
    title: str = ""

    @property
    def name(self) -> str:
        """For file names: `target_500`."""
        return "_".join(str(value) for value in self.axes.values())

    @property
    def done(self) -> pd.DataFrame:
        """The cells that have a result; a student has a line for each cell that it answers."""
        return self.cells[self.cells["status"] == "done"]

    @property
    def students(self) -> pd.DataFrame:
        """The students that are done, each once, named by the first of its cells here."""
        return once(self.done)

    def by_seed(self, metric: str, cell: Mapping[str, Any]) -> pd.Series:
        """A metric of one cell by seed."""
        return by_seed(select(self.done, cell), metric)

    def history(self, cell: Mapping[str, Any]) -> pd.DataFrame:
        """All evaluations of the students of one cell, each once; failed ones have none."""
        return evaluations(select(self.rows, cell))


def split(
    cells: pd.DataFrame,
    rows: pd.DataFrame,
    but: Sequence[str],
    order: Mapping[str, Sequence],
    first: Sequence[str] = (),
    named: Callable[[Mapping[str, Any]], str] = lambda axes: "",
) -> list[Setting]:
    """A setting for each combination of the axes that vary, other than those in `but` and the seed; those in `first` are named
    even where they do not vary, and before the others.

    order: the axes of the run with their planned values, which is how settings are sorted. named: axes in words.
    """
    keys = [*first, *varied(cells, [a for a in order if a not in (*first, *but)])]
    if not keys:
        return [Setting({}, cells, rows, named({}))]
    found = []
    for values, part in cells.groupby(keys, sort=False):
        axes = dict(zip(keys, values, strict=True))
        found.append(Setting(axes, part, select(rows, axes), named(axes)))
    ranks = {name: {value: i for i, value in enumerate(values)} for name, values in order.items()}
    return sorted(found, key=lambda setting: [ranks.get(k, {}).get(v, 0) for k, v in setting.axes.items()])


def find(settings: Sequence[Setting], values: Mapping[str, Any]) -> Setting:
    """The setting with these values of its axes, such as those of a panel."""
    return next(s for s in settings if all(values.get(k, v) == v for k, v in s.axes.items()))


def varied(table: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """Those of the axes, save the seed, that have several values in the table."""
    return [name for name in axes if name != "seed" and name in table and table[name].nunique() > 1]


def select(table: pd.DataFrame, cell: Mapping[str, Any]) -> pd.DataFrame:
    """The lines that have these values; columns that the table has not are not asked."""
    for name, value in cell.items():
        if name in table:
            table = table[table[name] == value]
    return table


def evaluations(rows: pd.DataFrame) -> pd.DataFrame:
    """Each evaluation of each student once; of students that failed none, what they measured before included, lest a mean change
    its seeds on the way."""
    failed = set(rows.loc[rows["status"] == "failed", "student"]) - set(rows.loc[rows["status"] == "done", "student"])
    rows = rows[(rows["status"] != "failed") & ~rows["student"].isin(failed)]
    return rows.drop_duplicates(["student", "step"])


def once(table: pd.DataFrame) -> pd.DataFrame:
    """Each student once, as its first line has it."""
    return table.drop_duplicates(["student", "seed"])


def stacked(table: pd.DataFrame, what: str, value: str, metrics: Mapping[str, str] | Sequence[str]) -> pd.DataFrame:
    """The lines once for each of the metrics {name: column}: its name in the column `what`, what it is in the column `value`. Columns
    alone are their own names."""
    metrics = metrics if isinstance(metrics, Mapping) else {metric: metric for metric in metrics}
    columns: list[dict[str, Any]] = [{what: name, value: table[metric]} for name, metric in metrics.items()]
    return pd.concat([table.assign(**each) for each in columns])


def by_seed(table: pd.DataFrame, metric: str) -> pd.Series:
    """A metric by seed; cells that share a student count it once. Of a table without lines, which may lack columns, nothing."""
    if table.empty:
        return pd.Series(dtype=float)
    key = ["student"] if "student" in table else []
    return table.dropna(subset=[metric]).drop_duplicates([*key, "seed"]).groupby("seed")[metric].mean()


def each_against(
    table: pd.DataFrame, base: Mapping[str, Any], among: Sequence[str], alike: Sequence[str], metric: str
) -> Iterator[tuple[dict[str, Any], tuple[pd.Series, pd.Series]]]:
    """Each combination of the columns `among` and `alike`, in the order of the table: {column: value}, the metric by seed, and that of
    the lines with the values `base` where the columns `alike` are the same; without the combinations that are the base."""
    for values, part in table.groupby([*alike, *among], sort=False):
        cell = dict(zip([*alike, *among], values, strict=True))
        if not base.items() <= cell.items():
            same = select(table, {**{name: cell[name] for name in alike}, **base})
            yield cell, (by_seed(part, metric), by_seed(same, metric))


def each_further(
    table: pd.DataFrame, axes: Mapping[str, Any], keys: Sequence[str], metric: str
) -> Iterator[tuple[str, Any, dict[str, Any], tuple[pd.Series, pd.Series]]]:
    """Each further value of each axis against its first, all else alike: the axis, that value, all else as {column: value}, and the
    metric by seed at both.

    axes: {axis: its first value}. keys: the columns that tell cells apart, these axes too.
    """
    for axis, first in axes.items():
        alike = [name for name in keys if name != axis]
        for cell, pair in each_against(table, {axis: first}, [axis], alike, metric):
            yield axis, cell[axis], {name: cell[name] for name in alike}, pair


def changed(table: pd.DataFrame, base: Mapping[str, Any], alike: Sequence[str], metric: str) -> pd.Series:
    """Of each line the metric less that of the line with the values `base` where the columns `alike` are the same, of which there is
    one; NaN where there is none."""
    found = select(table, base).set_index(list(alike))[metric].rename("base")
    return table[metric] - table.join(found, on=list(alike))["base"]
