"""One value against another, along a third."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from analysis.core.figures.scales import ends, label, matching, reach
from analysis.core.statistics import summarise


def paths(
    table: pd.DataFrame, x: str, y: str, along: str, group: str, colors: Mapping[str, Any],
    framed: Sequence[Mapping[str, Any]] = (), ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """A line for each value of `group` through the means of x and y, in the order of `along`, with the intervals of both.

    table: one line per student. framed: values of `group` and `along` that are ringed. Shares end at 100.
    """
    ax = ax or pyplot.figure(figsize=(6, 5)).add_subplot()
    for name, color in colors.items():
        part = table[table[group] == name]
        across, up = (summarise(part, [along], metric) for metric in (x, y))
        if across.empty:
            continue
        style = {"marker": "o", "markersize": 4, "linewidth": 1.2, "elinewidth": 0.7, "color": color}
        ax.errorbar(across[x], up[y], reach(up, y), reach(across, x), label=name, **style)
        for frame in framed:
            if frame.get(group) == name:
                spot = {along: frame[along]}
                ring = {"s": 110, "facecolors": "none", "edgecolors": color, "zorder": 5}
                ax.scatter(matching(across, spot)[x], matching(up, spot)[y], **ring)
    if ends(x):
        ax.set_xlim(right=min(101, ax.get_xlim()[1]))
    if ends(y):
        ax.set_ylim(top=min(101, ax.get_ylim()[1]))
    ax.set(xlabel=label(x), ylabel=label(y))
    return ax
