"""How sure answers are and how often they are right, by bin of confidence: the points of a reliability diagram.

Guo et al. 2017, arXiv 1706.04599, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

ACCURACY, SHARE = "accuracy", "share of the images in each bin"


def reliability(bins: pd.DataFrame, students: pd.DataFrame, by: Sequence[str], least: int = 1) -> pd.DataFrame:
    """The points of reliability diagrams, as if one student had given all answers of a group of `by`: the columns `by`, `confidence`
    (mean of the bin, in per cent), `measure` (ACCURACY, of bins with `least` images, or SHARE, of the group's images) and `value`.

    bins: `student`, `bin`, `images`, and the means `confidence` and `accuracy` of these images, as fractions. students: `student` and
    the columns `by`; bins of others are left out.
    """
    columns, means = list(by), ["confidence", "accuracy"]
    found = bins[["student", "bin", "images", *means]].merge(students[["student", *columns]], on="student")
    found[means] = found[means].mul(found["images"], axis=0)
    sums = found.groupby([*columns, "bin"])[["images", *means]].sum().reset_index()
    sums[means] = 100 * sums[means].div(sums["images"], axis=0)
    sums[ACCURACY] = sums["accuracy"].where(sums["images"] >= least)
    sums[SHARE] = 100 * sums["images"] / sums.groupby(columns)["images"].transform("sum")
    return sums.melt([*columns, "confidence"], [ACCURACY, SHARE], "measure", "value").dropna()
