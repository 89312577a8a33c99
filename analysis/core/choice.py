"""Chosen on validation, reported on test: the one rule of all pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.core.settings import Setting, by_seed, select
from analysis.core.statistics import LEVEL, Difference, holm, paired, scores


@dataclass(frozen=True)
class Choice:
    """What validation chose, and what the choice is worth.

    best: the chosen cell, {column: value}. students: its lines, one per seed. cells: every candidate, best on validation
    first: its columns, `score` (what it was ranked by), `n`, `difference` (a `Difference`: the chosen less this one on the
    reported metric; None of the chosen), `low`, `high`, and `state`: "chosen"; "worse", told to be so by test; "as good" or
    "open"; `alone` is the state if the candidate were the only rival. metric: what is reported.
    """

    best: dict[str, Any]
    students: pd.DataFrame = field(repr=False)
    cells: pd.DataFrame = field(repr=False)
    metric: str

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

    @property
    def stands_out(self) -> bool:
        """The chosen cell is better than every rival by more than noise."""
        return len(self.rivals) > 0 and self.ties.empty

    def by_seed(self, metric: str | None = None) -> pd.Series:
        """A metric of the chosen cell by seed, the reported one unless named."""
        return by_seed(self.students, metric or self.metric)


def choose(
    table: pd.DataFrame, among: Sequence[str], by: str | Sequence[str] = "val_accuracy", report: str = "test_accuracy"
) -> Choice | None:
    """The cell with the best mean of `by`, and which of its rivals `report` tells to be worse; None where no line has both.

    table: one line per cell and seed. among: the columns that tell cells apart. by: a validation metric, or several, of which a
    later one breaks ties of those before; of a metric with a leading "-" less is better. report: a test metric of which more
    is better. Cells of the same students (column `student`) are one cell, named by the first. A cell that lost seeds is ranked
    as `statistics.scores` says, so that a lucky seed does not choose.
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
    ranks = [scores({key: _signed(groups[key], name) for key in keys}) for name in order]
    ranked = sorted(
        (key for key in ranks[0] if all(key in rank for rank in ranks)), key=lambda key: [-rank[key] for rank in ranks]
    )
    judged = _judge({key: groups[key][report] for key in ranked})
    lines = [(*key, ranks[0][key], len(groups[key]), *line) for key, line in zip(ranked, judged, strict=True)]
    cells = pd.DataFrame(lines, columns=[*among, "score", "n", "difference", "low", "high", "state", "alone"])
    best = dict(zip(among, ranked[0], strict=True))
    return Choice(best, select(measured, best).sort_values("seed"), cells, report)


def choices(
    settings: Sequence[Setting],
    among: Sequence[str],
    heard: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
    **how: Any,
) -> dict[str, Choice]:
    """A choice for each setting that has any, by its name. heard: of a setting's students those among which is chosen."""
    found = {s.name: choose(heard(s.students), among, **how) for s in settings}
    return {name: choice for name, choice in found.items() if choice}


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


def _judge(values: Mapping[Any, pd.Series]) -> list[tuple[Difference | None, float, float, str, str]]:
    """Difference, low, high, state and state alone of each cell; values: the reported metric by seed, the chosen one first.

    The chosen against each rival: a paired t test over seeds, Holm-corrected over the rivals, two-sided, where only the
    chosen one's side counts. The test looks at another metric than the choice, so the choice does not flatter it, save for
    what luck of a seed moves both. With three seeds it finds large differences only. Variances pooled over the cells would find
    smaller ones, but where cells differ in noise they find them among equals too, so each rival answers for its own.
    """
    first, *rest = values.values()
    leads = [paired(first, rival) for rival in rest]
    raw = np.nan_to_num([lead.p if lead.mean > 0 else 1.0 for lead in leads], nan=1.0)
    lines: list[tuple[Difference | None, float, float, str, str]] = [(None, np.nan, np.nan, "chosen", "chosen")]
    for lead, corrected, p in zip(leads, holm(raw), raw, strict=True):
        state, alone = ("worse" if value < 1 - LEVEL else "open" for value in (corrected, p))
        lines.append((lead, lead.low, lead.high, state, alone))
    return lines
