"""Seeds where they matter: after the grid, more of them for the cells that are not decided yet.

In each setting (a combination of the axes that are not compared) validation chooses a cell, and its rivals are as good, worse or
open (`analysis.core.choice`, asked about validation alone: no decision reads test). The chosen cell and those that are open get
further seeds, round after round, until none is open or the budget is spent: a race as in Maron and Moore 1994 (NIPS 6) and
F-Race (Birattari et al. 2002, GECCO), which here also ends where cells are alike. What a round asks for depends on the rows alone, so
an interrupted race goes on as it would have gone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from studies.harness.folder import RunFolder
from studies.harness.plan import Plan
from studies.harness.progress import say
from studies.harness.students import Cell, cell_of
from studies.harness.study import Study

if TYPE_CHECKING:
    import pandas as pd

ROUND = 16  # most seeds that one cell gets at a time, on however many workers


class Race:
    """Asks a plan for more seeds. margin: the difference in the metric that does not matter; budget: students beyond the grid."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self.plan, self.study, self.folder = plan, plan.study, folder
        self.margin = plan.study.margin_of(plan.options.decide)
        self.compared = list(plan.study.compared)
        self.others = plan.study.others
        grid = {cell.student for cell in plan.cells if cell.config["seed"] in plan.values["seed"]}
        self.added = len(set(plan.students) - grid)  # by earlier sessions of the run
        self.budget = plan.options.budget or len(grid)

    def more(self) -> bool:
        """Whether a further round was added to the plan; says how the settings stand."""
        settings = settings_of(self.study, self.folder)
        rounds = [cells for cells in map(self._round, settings) if cells]
        new: list[Cell] = []
        for cells in rounds:  # as many settings as the budget bears
            if self.added + _students([*new, *cells]) <= self.budget:
                new += cells
        stand = f"decide    {len(settings) - len(rounds)} of {len(settings)} settings are decided"
        if new:
            say(f"{stand}; {_students(new)} students more ({self.added} of at most {self.budget} before)")
            self.added += _students(new)
            self.plan.add(new)
        elif rounds:
            say(f"{stand}; {self.added} students were added, and the budget of {self.budget} bears no further round")
        else:
            say(f"{stand}; {self.added} students were added")
        return bool(new)

    def _round(self, table: pd.DataFrame) -> list[Cell]:
        """The next seeds of a setting's chosen cell and of those that are open; none where all are decided.

        All get the same seeds, so that they are compared on them; ones that nobody of the setting had, so that what fails is not
        tried again and again.
        """
        from analysis.core.choice import choose

        choice = choose(table, self.compared, by="value", report="value", margin=self.margin)
        if choice is None or choice.state("open").empty:
            return []
        shown = choice.cells[choice.cells["state"].isin(["chosen", "open"])]
        setting = {name: table[name].iloc[0] for name in self.others}
        alike = [cell.config for cell in self.plan.cells if setting.items() <= cell.config.items()]
        first = 1 + max(config["seed"] for config in alike)
        found = []
        for seed in range(first, first + self._at_a_time()):
            for _, point in shown.iterrows():
                config = {**setting, **{name: point[name] for name in self.compared}, "seed": seed}
                found.append(cell_of(self.study, {n: axis.type(config[n]) for n, axis in self.study.axes.items()}))
        return found

    def _at_a_time(self) -> int:
        """Seeds that give every worker a pack."""
        settings = math.prod(len(self.plan.values[name]) for name in self.others)
        return max(1, min(ROUND, self.plan.workers) // settings)


def settings_of(study: Study, folder: RunFolder) -> list[pd.DataFrame]:
    """Of each setting the cells that are done: axes, student, and `value`, the metric of their task as more is better."""
    import pandas as pd

    columns = [*study.axes, "student", "status", *study.all_metrics]
    table = pd.DataFrame(folder.read_rows(columns=columns), columns=columns)
    done = table[table["status"] == "done"].drop_duplicates(list(study.axes), keep="last")
    value = pd.Series([line[study.metric_of(line)] for line in done.to_dict("records")], done.index, dtype=float)
    done = done.assign(value=value * (1 if study.mode == "max" else -1))
    return [part for _, part in done.groupby(study.others, sort=False)] if study.others else [done]


def noise(study: Study, folder: RunFolder) -> float | None:
    """Standard deviation of the metric from seed to seed, beside what a seed does to all cells of a setting alike: the median over
    cells; None where no setting has several cells on several seeds, or where tasks have metrics of their own, whose noise is no one
    number."""
    import numpy as np

    from analysis.core.contrasts import adjusted

    if study.goals:
        return None
    found: list[float] = []
    for table in settings_of(study, folder):
        cells = [part.dropna(subset=["value"]) for _, part in table.groupby(list(study.compared))]
        means = adjusted(
            {tuple(part["student"]): part.set_index("seed")["value"] for part in cells}
        )  # the same students, one cell
        found += list(np.sqrt(means.variance)) if means.pooled else []
    return float(np.median(found)) if found else None


def _students(cells: Sequence[Cell]) -> int:
    return len({cell.student for cell in cells})
