"""What can be known of students without a label, and what is chosen by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.core.choice import Choice, choose
from analysis.core.settings import select
from analysis.core.statistics import kappa, summarise

AGREEMENT, INFORMATION = "val_agreement", "val_information"


def agreement(students: pd.DataFrame, cell: Sequence[str], answers: pd.DataFrame) -> pd.Series:
    """Of each student, the mean kappa of its answers and those of each other seed of its cell; NaN where there is none.

    students: one line each, with `student` and the columns `cell`, which tell cells apart. answers: `student` and `named`, the
    class that it names for each image, one character each, of the same images in the same order. Returns a series by the index
    of `students`.
    """
    texts = answers.reindex(columns=["student", "named"]).to_numpy()
    named = {student: np.frombuffer(text.encode(), np.uint8) for student, text in texts}
    means = {}
    for _, part in students.groupby(list(cell)):
        known = part.loc[part["student"].isin(named), "student"]
        for i, student in known.items():
            others = [kappa(named[student], named[other]) for other in known.drop(i)]
            means[i] = float(np.mean(others)) if others else np.nan
    return pd.Series(means, students.index, dtype=float)


@dataclass(frozen=True)
class Unlabelled:
    """Students that learnt without labels, and what different rules choose among them.

    rule: the measure by which the rule without labels chooses, AGREEMENT, or INFORMATION where no cell has two seeds with answers.
    cell: the columns that tell cells apart. picked: the students of the value of one of these that the rule chooses, for each
    combination of the others. choices: of all cells, by who chooses: "rule", "validation labels", "information", and where some
    students had augmentation and some none, "rule, without augmentation". truth: `summarise` of the test accuracy, a line per cell.
    """

    rule: str
    cell: list[str]
    picked: pd.DataFrame = field(repr=False)
    choices: dict[str, Choice] = field(repr=False)
    truth: pd.DataFrame = field(repr=False)

    def by_cell(self, who: str) -> pd.DataFrame:
        """The truth of each cell and its `score`, the mean of what is chosen by."""
        return self.choices[who].cells[[*self.cell, "score"]].merge(self.truth)


def without_labels(students: pd.DataFrame, keys: Sequence[str], along: str, answers: pd.DataFrame) -> Unlabelled:
    """What rules choose among students, whose cells the columns `keys` and `along` tell apart; `picked` has a value of `along` for
    each combination of the others. students, answers: see `agreement`."""
    cell = [*keys, along]
    found = agreement(students, cell, answers)
    rule, table = INFORMATION if found.isna().all() else AGREEMENT, students.assign(**{AGREEMENT: found})
    plain = select(table, {"augmentation": "none"})
    ways = {"rule": (table, rule), "validation labels": (table, "val_accuracy"), "information": (table, INFORMATION)}
    ways |= {"rule, without augmentation": (plain, rule)} if len(plain) < len(table) else {}
    choices = {who: choice for who, (part, by) in ways.items() if (choice := choose(part, cell, by=by))}
    parts = [choose(part, [along], by=rule) for _, part in table.groupby(list(keys), sort=False)]
    picked = pd.concat(choice.students for choice in parts if choice)
    return Unlabelled(rule, cell, picked, choices, summarise(table, cell, "test_accuracy"))
