"""What is known of cells against what is true of them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from analysis.core.figures.scales import ends, label, reach

MARKS = {"*": 260, "s": 150}
"""A star and a square, and how large they are around a point."""


def measures(table: pd.DataFrame, x: str, y: str, marked: Mapping[str, pd.DataFrame], ax: Axes | None = None) -> Axes:
    """A point for each line of the table, at its x and y, with the interval of y.

    table: as `statistics.summarise` makes it of y, with columns x, `kind` (what the legend says), and of each kind its `color` and
    whether its points are `hollow`. marked: lines of the table that get one of MARKS, by what the legend says of them.
    """
    ax = ax or pyplot.figure(figsize=(6.4, 4.2)).add_subplot()
    for (kind, color, hollow), part in table.groupby(["kind", "color", "hollow"]):
        face = "white" if hollow else color
        ax.errorbar(part[x], part[y], reach(part, y), fmt="o", color=color, markerfacecolor=face, label=kind)
    for (name, lines), (marker, size) in zip(marked.items(), MARKS.items(), strict=False):
        ax.scatter(lines[x], lines[y], size, c="none", marker=marker, edgecolors="black", label=name, zorder=5)
    ax.set(xlabel=label(x), ylabel=label(y))
    if ends(y):
        ax.set_ylim(0, 100)
    return ax
