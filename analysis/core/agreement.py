"""How much students of different seeds agree: what can be known of them without a label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.core.statistics import kappa


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
