"""What a quantiser does to single components, from the table `components`, in which a line is a student and holds lists."""

from __future__ import annotations

import numpy as np
import pandas as pd

LISTS = ["error", "variance", "component_bits"]


def each(lines: pd.DataFrame) -> pd.DataFrame:
    """A line for each component of each student: the columns of `lines`, where those of `LISTS` are single numbers, and `component`."""
    long = lines.assign(component=lines["error"].map(lambda values: np.arange(len(values))))
    return long.explode([*LISTS, "component"], ignore_index=True).astype(
        {**dict.fromkeys(LISTS, float), "component": int}
    )


def against_exact(table: pd.DataFrame, same: list[str]) -> pd.DataFrame:
    """The lines of `each` that are not of method exact, with `ratio`: the error over that of exact thresholds in the same component, where
    the columns `same` agree. A component without error under exact thresholds (a constant one) has none."""
    keys = [*same, "component"]
    exact = table[table["method"] == "exact"].set_index(keys)["error"].rename("least")
    others = table[table["method"] != "exact"].join(exact, on=keys)
    return others.assign(
        ratio=np.where(others["least"] > 0, others["error"] / others["least"].where(others["least"] > 0), np.nan)
    )


def enough(means: pd.DataFrame, value: str, goal: float, by: str = "bytes") -> float:
    """The least `by` from which on all lines reach the goal, NaN where the last does not. means: a line for each `by`."""
    if means.empty:
        return float("nan")
    reached = means.sort_values(by)[[by, value]].to_numpy(dtype=float)
    below = np.flatnonzero(reached[:, 1] < goal)
    first = below[-1] + 1 if len(below) else 0
    return float(reached[first, 0]) if first < len(reached) else float("nan")
