"""Chosen on validation, reported on test: the one rule of all pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.core import records
from analysis.core.contrasts import Means, adjusted, together
from analysis.core.settings import Setting, by_seed, select
from analysis.core.statistics import LEVEL, Interval


@dataclass(frozen=True)
class Choice:
    """What validation chose, and what the choice is worth.

    best: the chosen cell, {column: value}. students: its lines, one per seed. cells: every candidate, best on validation
    first: its columns, `score` (what it was ranked by), `n`, `difference` (an `Interval`: the chosen less this one on the
    reported metric; None of the chosen), its `low` and `high`, and `state`: "chosen"; "as good", within the margin; "worse";
    or "open". metric: what is reported. margin: the difference that does not matter.
    """

    best: dict[str, Any]
    students: pd.DataFrame = field(repr=False)
    cells: pd.DataFrame = field(repr=False)
    metric: str
    margin: float

    @property
    def n(self) -> int:
        """Seeds of the chosen cell."""
        return self.students["seed"].nunique()

    @property
    def rivals(self) -> pd.DataFrame:
        return self.cells.iloc[1:]

    @property
    def ties(self) -> pd.DataFrame:
        """Rivals that are not told to be worse."""
        return self.rivals[self.rivals["state"] != "worse"]

    def state(self, state: str) -> pd.DataFrame:
        """The candidates of one state."""
        return self.cells[self.cells["state"] == state]

    def frames(self, axes: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The chosen cell and those that are not told to be worse, as `blocks.plane` outlines them: with the `axes` of a panel and their
        `state`. Where nothing is heard of a teacher (kd_weight 0) every temperature is the same cell."""
        shown = self.cells[self.cells["state"] != "worse"]
        found = [
            {**axes, **{name: line[name] for name in self.best}, "state": line["state"]} for _, line in shown.iterrows()
        ]
        return [{k: v for k, v in cell.items() if k != "temperature" or cell.get("kd_weight") != 0} for cell in found]

    @property
    def stands_out(self) -> bool:
        """The chosen cell is better than every rival by more than noise."""
        return len(self.rivals) > 0 and self.ties.empty

    def by_seed(self, metric: str | None = None) -> pd.Series:
        """A metric of the chosen cell by seed, the reported one unless named."""
        return by_seed(self.students, metric or self.metric)


def choose(
    table: pd.DataFrame,
    among: Sequence[str],
    by: str | Sequence[str] = "val_accuracy",
    report: str = "test_accuracy",
    margin: float | None = None,
) -> Choice | None:
    """The cell with the best mean of `by`, and how its rivals stand to it on `report`; None where no line has both.

    table: one line per cell and seed. among: the columns that tell cells apart. by: a validation metric, or several, of which a
    later one breaks ties of those before; of a metric with a leading "-" less is better. report: a test metric of which more
    is better. margin: the difference in it that does not matter, `records.margin` unless given. Cells of
    the same students (column `student`) are one cell, named by the first. Means are those of `contrasts.adjusted`, which a
    lost seed does not shift, so that no lucky survivor is chosen.
    """
    order = [by] if isinstance(by, str) else list(by)
    measured = table.dropna(subset=[*(name.removeprefix("-") for name in order), report])
    if measured.empty:
        return None
    distinct: dict[Any, tuple] = {}
    groups = {key: part.set_index("seed").sort_index() for key, part in measured.groupby(list(among), sort=True)}
    for key, group in groups.items():
        distinct.setdefault(tuple(group["student"]) if "student" in group else key, key)
    keys = list(distinct.values())
    heard = [adjusted({key: _signed(groups[key], name) for key in keys}) for name in order]
    test = adjusted({key: groups[key][report] for key in keys})
    scores = np.column_stack([m.means for m in heard]).round(12)  # equal ones are equal, whatever the rounding
    ranked = sorted(range(len(test.keys)), key=lambda i: [*-scores[i]])
    within = records.margin(report) if margin is None else margin
    against = _against(test, heard[0], ranked[0], {key: set(groups[key].index) for key in keys})
    lines = [(*test.keys[i], scores[i, 0], len(groups[test.keys[i]]), *_stand(against[i], within)) for i in ranked]
    cells = pd.DataFrame(lines, columns=[*among, "score", "n", "difference", "low", "high", "state"])
    best = dict(zip(among, test.keys[ranked[0]], strict=True))
    return Choice(best, select(measured, best).sort_values("seed"), cells, report, within)


def choices(
    settings: Sequence[Setting],
    among: Sequence[str],
    heard: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
    **how: Any,
) -> dict[Setting, Choice]:
    """A choice for each setting that has any. heard: of a setting's students those among which is chosen."""
    found = {setting: choose(heard(setting.students), among, **how) for setting in settings}
    return {setting: choice for setting, choice in found.items() if choice}


def framed(chosen: Mapping[Setting, Choice] | Iterable[tuple[Setting, Choice]]) -> list[dict[str, Any]]:
    """The `frames` of all choices, each with the axes of its setting."""
    pairs = chosen.items() if isinstance(chosen, Mapping) else chosen
    return [frame for setting, choice in pairs for frame in choice.frames(setting.axes)]


def choose_each(table: pd.DataFrame, per: str, among: Sequence[str], **how: Any) -> dict[Any, Choice]:
    """A choice for each value of the column `per` that has any, in the order of the table."""
    found = {value: choose(table[table[per] == value], among, **how) for value in dict.fromkeys(table[per])}
    return {value: choice for value, choice in found.items() if choice}


def chosen_by_each_seed(table: pd.DataFrame, by: str, report: str) -> pd.Series:
    """`report` by seed where each seed chooses for itself the cell with the most of `by`; the mean of several that are alike."""
    measured = table.dropna(subset=[by, report])
    return by_seed(measured[measured[by] == measured.groupby("seed")[by].transform("max")], report)


def _signed(group: pd.DataFrame, name: str) -> pd.Series:
    return -group[name[1:]] if name.startswith("-") else group[name]


def _against(test: Means, validation: Means, first: int, seeds: Mapping[Any, set]) -> list[Interval | None]:
    """The chosen cell less each on test, with intervals that hold together; None of itself."""
    lead, error = test.means[first] - test.means, test.errors(first)
    limit = together(test, validation, first, LEVEL) if len(lead) > 1 and test.pooled > 0 else np.nan
    found: list[Interval | None] = []
    for i, key in enumerate(test.keys):
        n = len(seeds[test.keys[first]] & seeds[key])
        reach = limit * error[i] if error[i] > 0 or n > 2 else np.nan  # two equal differences are equal by chance
        found.append(Interval(lead[i], lead[i] - reach, lead[i] + reach, n) if i != first else None)
    return found


def _stand(lead: Interval | None, margin: float) -> tuple[Interval | None, float, float, str]:
    """Difference, low, high and state of one cell."""
    if lead is None:
        return None, np.nan, np.nan, "chosen"
    good = -margin < lead.low and lead.high < margin
    return lead, lead.low, lead.high, "as good" if good else "worse" if lead.low > 0 else "open"
