"""Numbers of learning curves whose iterations cost different amounts, and of the lengths that a schedule trains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def at_common_points(
    evaluations: pd.DataFrame, x: str, columns: Sequence[str], by: Sequence[str], points: int = 25
) -> pd.DataFrame:
    """The curves of the seeds of each group of `by`, linear between evaluations, at common points of x, so that means can be taken:
    columns `by`, seed, x and `columns`. The points reach from where the last of the seeds begins to where the first ends.
    """
    parts = []
    for group, part in evaluations.groupby(list(by), sort=False):
        ends = part.groupby("seed")[x].agg(["min", "max"])
        at = np.linspace(ends["min"].max(), ends["max"].min(), points)
        for seed, line in part.sort_values(x).groupby("seed"):
            values = {column: np.interp(at, line[x], line[column]) for column in columns}
            parts.append(pd.DataFrame({**dict(zip(by, group, strict=True)), "seed": seed, x: at, **values}))
    return pd.concat(parts, ignore_index=True)


def to_common_end(evaluations: pd.DataFrame, x: str, y: str, by: str, points: int = 200) -> pd.DataFrame:
    """Of each curve, from y = 0 at x = 0 and linear between evaluations, up to where the first of all curves ends: `last`, its
    value there, and `mean`, its average on the way; a line per value of `by` and seed, which are the index."""
    at = np.linspace(0, evaluations.groupby([by, "seed"])[x].max().min(), points)
    lines = {
        key: np.interp(at, [0, *line[x]], [0, *line[y]])
        for key, line in evaluations.sort_values(x).groupby([by, "seed"])
    }
    index = pd.MultiIndex.from_tuples(lines, names=[by, "seed"])
    return pd.DataFrame([(line[-1], line.mean()) for line in lines.values()], index, ["last", "mean"])


def first_at(evaluations: pd.DataFrame, y: str, level: float, columns: Sequence[str]) -> pd.DataFrame:
    """`columns` of the first evaluation at which y is `level` or more, by student; NaN where there is none."""
    there = evaluations[evaluations[y] >= level].sort_values("step").drop_duplicates("student").set_index("student")
    return there[list(columns)].reindex(evaluations["student"].unique())


def mean_lengths(lengths: pd.DataFrame) -> pd.DataFrame:
    """Mean length that was trained in the first and in the last fifth of the evaluations: a line per seed, columns `first` and
    `last`. lengths: `share` of each `length` in the batches, by seed and step."""
    part = lengths.assign(part=lengths["share"] * lengths["length"])
    mean = part.groupby(["seed", "step"])["part"].sum().unstack("step")
    fifth = max(1, mean.shape[1] // 5)
    return pd.DataFrame({"first": mean.iloc[:, :fifth].mean(axis=1), "last": mean.iloc[:, -fifth:].mean(axis=1)})


def over_ranges(tested: pd.DataFrame, metric: str, short: int) -> pd.DataFrame:
    """Mean of a metric over ranges of lengths (columns) by student. tested: a line per student and `length`, trained up to
    `max_length`; short: to where a range of short lengths goes, if so long ones are trained."""
    length, longest = tested["length"], tested["max_length"]
    ranges = {
        "all trained": length <= longest,
        f"trained up to {short}": length <= longest.clip(upper=short),
        "below the longest": length < longest,
        "the longest": length == longest,
        "one vector longer": length == longest + 1,
        "all longer ones": length > longest,
    }
    means = {name: tested[inside].groupby("student")[metric].mean() for name, inside in ranges.items()}
    return pd.DataFrame(means)
