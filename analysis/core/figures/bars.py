"""Bars from zero, one per line of a table, with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from analysis.core.figures.scales import label


def bars(
    table: pd.DataFrame, name: str, value: str, hue: str | None = None, limit: float = 100, ax: Axes | None = None,
    digits: int = 1,
) -> Axes:  # fmt: skip
    """Horizontal bars from 0 on an axis that ends at `limit`, the first line on top, each with its number.

    hue: a column of colours. Lines without an interval (low is NaN) have no whisker.
    """
    ax = ax or pyplot.figure(figsize=(8, 0.45 * len(table) + 1.2)).add_subplot()
    at = np.arange(len(table))[::-1]
    ax.barh(at, table[value], color=table[hue] if hue else "0.6", height=0.7)
    half = ((table["high"] - table["low"]) / 2).fillna(0).to_numpy(dtype=float)
    measured = half > 0
    ax.errorbar(
        table[value][measured], at[measured], xerr=half[measured], fmt="none", ecolor="black", capsize=3, linewidth=1.2
    )
    colors = table[hue] if hue else ["0.6"] * len(table)
    for y, mean, width, color in zip(at, table[value], half, colors, strict=True):
        dark = np.dot(to_rgb(color), (0.299, 0.587, 0.114)) < 0.6
        text = f"{mean:.{digits}f}" + (f" ±{width:.{digits}f}" if width else "")
        inside = mean + width > 0.85 * limit
        ax.annotate(
            text, (mean - width if inside else mean + width, y), (-6 if inside else 6, 0), textcoords="offset points",
            ha="right" if inside else "left", va="center", fontsize=8.5, color="white" if inside and dark else "black",
        )  # fmt: skip
    ax.set_yticks(at, list(table[name]))
    ax.set(xlim=(0, limit), xlabel=label(value))
    return ax


def columns(
    table: pd.DataFrame, name: str, value: str, hue: str | None = None, limit: float = 100, ax: Axes | None = None,
    digits: int = 1,
) -> Axes:  # fmt: skip
    """The same upright, the first line on the left, its name (which may have several lines) slanted below."""
    ax = ax or pyplot.figure(figsize=(0.9 * len(table) + 2, 5)).add_subplot()
    at = np.arange(len(table))
    ax.bar(at, table[value], color=table[hue] if hue else "0.6", width=0.7)
    half = ((table["high"] - table["low"]) / 2).fillna(0).to_numpy(dtype=float)
    measured = half > 0
    ax.errorbar(
        at[measured], table[value][measured], yerr=half[measured], fmt="none", ecolor="black", capsize=3, linewidth=1.2
    )
    for x, mean, width in zip(at, table[value], half, strict=True):
        text = f"{mean:.{digits}f}" + (f"\n±{width:.{digits}f}" if width else "")
        ax.annotate(
            text, (x, mean + width), (0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=8.5,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )  # fmt: skip
    ax.set_xticks(at, list(table[name]), rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    ax.set(ylim=(0, limit), ylabel=label(value))
    return ax
