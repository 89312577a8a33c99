"""Lines over one axis, one per group, with a band from low to high."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from analysis.core.figures.scales import (
    LOG2,
    LOG2_FROM_0,
    dress,
    label,
    number,
    ordered,
    palette,
    positions,
    reach,
    whiskers,
)


def curves(
    table: pd.DataFrame,
    x: str,
    y: str,
    group: str,
    colors: Mapping[str, Any] | None = None,
    marker: str = "o",
    ax: Axes | None = None,
) -> Axes:
    """y over x, a line per value of `group` (colours in the order of its values), the interval as a band.

    colors: of the groups by name, in the order they are to be drawn; those that the table has not are left out. Ticks at
    the grid points where x is geometric, at matplotlib's choice elsewhere. Holes break the line.
    """
    ax = ax or pyplot.figure(figsize=(7, 4.5)).add_subplot()
    for name, color, line in _groups(table, x, group, colors):
        at, (low, high) = positions(line[x], x), whiskers(line, y)
        ax.plot(at, line[y], color=color, marker=marker, markersize=3.5, linewidth=1.5, label=name)
        ax.fill_between(at, low, high, color=color, alpha=0.14, linewidth=0)
    if x in LOG2 | LOG2_FROM_0:
        dress(ax.xaxis, table[x], x)
    ax.set(xlabel=label(x), ylabel=label(y))
    return ax


def dots(
    table: pd.DataFrame, x: str, y: str, group: str, colors: Mapping[str, Any] | None = None, ax: Axes | None = None
) -> Axes:
    """The same for points that lie on no line, such as those of a search: each with its interval as a whisker."""
    ax = ax or pyplot.figure(figsize=(7, 4.5)).add_subplot()
    for name, color, part in _groups(table, x, group, colors):
        error = reach(part, y)
        ax.errorbar(positions(part[x], x), part[y], error, fmt="o", markersize=4, color=color, label=name)
    dress(ax.xaxis, table[x], x)
    ax.set_ylabel(label(y))
    return ax


def _groups(
    table: pd.DataFrame, x: str, group: str, colors: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Any, pd.DataFrame]]:
    """Name, colour and lines of each group, in the order of the groups and of x."""
    names = ordered(table[group])
    shades = palette(names) if colors is None else colors
    for name in (name for name in (colors or shades) if name in names):
        text = number(name) if isinstance(name, float | int | np.number) else str(name)
        yield text, shades[name], table[table[group] == name].sort_values(x)
