"""Numbers of learning curves whose iterations cost different amounts, and of the lengths that a schedule trains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def at_common_points(
    evaluations: pd.DataFrame, x: str, ys: Sequence[str], by: Sequence[str], points: int = 25
) -> pd.DataFrame:
    """The curves of the seeds of each group of `by` at common points of x, so that means can be taken: columns `by`, seed, `at`
    (of x), and `ys`.

    Where all seeds of a group were evaluated at the same x these are the points. Else they reach from where the last of the seeds
    begins to where the first ends, and curves are linear between evaluations.
    """
    parts = []
    for values, group in evaluations.sort_values(x).groupby(list(by), sort=False):
        lines = dict(list(group.groupby("seed")))
        at = np.unique(group[x])
        if len(at) * len(lines) != len(group):
            ends = group.groupby("seed")[x].agg(["min", "max"])
            at = np.linspace(ends["min"].max(), ends["max"].min(), points)
        for seed, line in lines.items():
            curve = {y: np.interp(at, line[x], line[y]) for y in ys}
            parts.append(pd.DataFrame({**dict(zip(by, values, strict=True)), "seed": seed, "at": at, **curve}))
    return pd.concat(parts, ignore_index=True)


def up_to_first_end(
    evaluations: pd.DataFrame, x: str, y: str, by: Sequence[str], points: int = 200
) -> tuple[pd.DataFrame, float]:
    """y of each line of `by` (the index) where the first of them ends on x, `last`, and its `mean` up to there; and that x.
    Curves are linear between evaluations and from 0 at x = 0.
    """
    lines = dict(list(evaluations.sort_values(x).groupby(list(by))))
    end = min(line[x].max() for line in lines.values())
    curves = {key: np.interp(np.linspace(0, end, points), [0, *line[x]], [0, *line[y]]) for key, line in lines.items()}
    found = {key: {"last": curve[-1], "mean": curve.mean()} for key, curve in curves.items()}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis(index=list(by)), end


def first_at(evaluations: pd.DataFrame, y: str, level: float, columns: Sequence[str]) -> pd.DataFrame:
    """`columns` of the first evaluation at which y is `level` or more, by student; NaN where there is none."""
    there = evaluations[evaluations[y] >= level].sort_values("step").drop_duplicates("student").set_index("student")
    return there[list(columns)].reindex(evaluations["student"].unique())


def mean_lengths(lengths: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Mean length that was trained in the first and in the last fifth of the evaluations, by seed. lengths: `share` of each
    `length` in the batches since the evaluation before, by seed and step."""
    part = lengths.assign(part=lengths["share"] * lengths["length"])
    mean = part.groupby(["seed", "step"])["part"].sum().unstack("step")
    fifth = max(1, mean.shape[1] // 5)
    return mean.iloc[:, :fifth].mean(axis=1), mean.iloc[:, -fifth:].mean(axis=1)


def over_ranges(tested: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean of a metric over ranges of lengths (columns) by student. tested: a line per student and `length`, trained up to
    `max_length`."""
    length, longest = tested["length"], tested["max_length"]
    ranges = {
        "all trained": length <= longest,
        "trained up to 10": length <= longest.clip(upper=10),
        "below the longest": length < longest,
        "the longest": length == longest,
        "one vector longer": length == longest + 1,
        "all longer ones": length > longest,
    }
    means = {name: tested[inside].groupby("student")[metric].mean() for name, inside in ranges.items()}
    return pd.DataFrame(means)
