"""Lines over one axis, one per group, with a band from low to high."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps, pyplot
from matplotlib.axes import Axes

from analysis.figures.scales import LOG2, dress, label, positions


def curves(table: pd.DataFrame, x: str, y: str, group: str, ax: Axes | None = None) -> Axes:
    """y over x, a line per value of `group` (colours in the order of its values), the interval as a band.

    Ticks at the grid points where x is geometric, at matplotlib's choice elsewhere. Holes break the line.
    """
    ax = ax or pyplot.figure(figsize=(7, 4.5)).add_subplot()
    names = list(dict.fromkeys(table[group].sort_values()))
    for name, color in zip(names, colormaps["viridis"](np.linspace(0, 0.88, len(names))), strict=True):
        line = table[table[group] == name].sort_values(x)
        at = positions(line[x], x)
        text = f"{name:g}" if isinstance(name, float | int | np.number) else str(name)
        ax.plot(at, line[y], color=color, marker="o", markersize=3.5, linewidth=1.5, label=text)
        ax.fill_between(at, line["low"].astype(float), line["high"].astype(float), color=color, alpha=0.18, linewidth=0)
    if x in LOG2:
        dress(ax.xaxis, table[x], x)
    ax.set(xlabel=label(x), ylabel=label(y))
    return ax
