"""One value against another, along a third."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from analysis.core.figures.scales import ends, label, positions, reach
from analysis.core.records import unit
from analysis.core.settings import select
from analysis.core.statistics import summarise

RING: dict[str, Any] = {"s": 110, "facecolors": "none", "zorder": 5}


def paths(
    table: pd.DataFrame, x: str, y: str, along: str, group: str, colors: Mapping[str, Any],
    framed: Sequence[Mapping[str, Any]] = (), ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """A line for each value of `group` through the means of x and y, in the order of `along`, with the intervals of both.

    table: one line per student. framed: what is ringed, values of `group`, `along` and perhaps of other columns. Shares end at 100.
    """
    ax = ax or pyplot.figure(figsize=(6, 5)).add_subplot()
    for name, color in colors.items():
        part = table[table[group] == name]
        across, up = (summarise(part, [along], metric) for metric in (x, y))
        if across.empty:
            continue
        style = {"marker": "o", "markersize": 4, "linewidth": 1.2, "elinewidth": 0.7, "color": color}
        ax.errorbar(across[x], up[y], reach(up, y), reach(across, x), label=name, **style)
        for spot in (select(part, frame) for frame in framed):
            at = [summarise(spot, [along], metric)[metric] for metric in (x, y)]
            ax.scatter(*at, edgecolors=color, **RING)
    if ends(x):
        ax.set_xlim(right=min(101, ax.get_xlim()[1]))
    if ends(y):
        ax.set_ylim(top=min(101, ax.get_ylim()[1]))
    ax.set(xlabel=label(x), ylabel=label(y))
    return ax


def ringed(
    table: pd.DataFrame, x: str, y: str, group: str, colors: Mapping[str, Any], framed: Sequence[Mapping[str, Any]], ax: Axes
) -> Axes:  # fmt: skip
    """Rings around the mean of y at the x of each of the `framed` cells that the table has, in the colour of its `group`."""
    for frame in framed:
        spot = select(table, frame).dropna(subset=[y])
        if len(spot):
            place = positions([frame[x]], x), [unit(y) * spot[y].mean()]
            ax.scatter(*place, edgecolors=colors[frame[group]], **RING)
    return ax
