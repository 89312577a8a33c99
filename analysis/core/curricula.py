"""Numbers of learning curves whose iterations cost different amounts, and of the lengths that a schedule trains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def at_common_points(evaluations: pd.DataFrame, x: str, y: str, by: str, points: int = 25) -> pd.DataFrame:
    """The curves of the seeds of each value of `by`, linear between evaluations, at common points of x, so that means can be taken:
    columns `by`, seed, x, y. The points reach from where the last of the seeds begins to where the first ends.
    """
    parts = []
    for value, part in evaluations.groupby(by, sort=False):
        ends = part.groupby("seed")[x].agg(["min", "max"])
        at = np.linspace(ends["min"].max(), ends["max"].min(), points)
        for seed, line in part.sort_values(x).groupby("seed"):
            parts.append(pd.DataFrame({by: value, "seed": seed, x: at, y: np.interp(at, line[x], line[y])}))
    return pd.concat(parts, ignore_index=True)


def curve_from_0(evaluations: pd.DataFrame, x: str, y: str, at: Sequence[float] | np.ndarray) -> pd.DataFrame:
    """y of each seed at points of x, linear between evaluations and from 0 at x = 0: a line per seed, (seeds, points)."""
    lines = evaluations.sort_values(x).groupby("seed")
    return pd.DataFrame.from_dict(
        {seed: np.interp(at, [0, *line[x]], [0, *line[y]]) for seed, line in lines}, orient="index"
    )


def first_at(evaluations: pd.DataFrame, y: str, level: float, columns: Sequence[str]) -> pd.DataFrame:
    """`columns` of the first evaluation at which y is `level` or more, by student; NaN where there is none."""
    there = evaluations[evaluations[y] >= level].sort_values("step").drop_duplicates("student").set_index("student")
    return there[list(columns)].reindex(evaluations["student"].unique())


def mean_lengths(lengths: pd.DataFrame) -> pd.DataFrame:
    """Mean length that was trained between two evaluations: a line per seed, a column per step. lengths: `share` of each
    `length` in the batches, by seed and step."""
    part = lengths.assign(part=lengths["share"] * lengths["length"])
    return part.groupby(["seed", "step"])["part"].sum().unstack("step")
