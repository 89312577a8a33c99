"""Bars from zero, one per line of a table, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from analysis.core.figures.scales import label, reach


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
    error, measured = reach(table, value), half > 0
    style: dict[str, Any] = {"fmt": "none", "capsize": 3}
    ax.errorbar(table[value][measured], at[measured], xerr=error[:, measured], ecolor="white", linewidth=3, **style)
    ax.errorbar(table[value][measured], at[measured], xerr=error[:, measured], ecolor="black", linewidth=1.2, **style)
    colors = table[hue] if hue else ["0.6"] * len(table)
    two = table["n"] == 2 if "n" in table else [False] * len(table)
    for y, mean, width, both, (below, above), color in zip(at, table[value], half, two, error.T, colors, strict=True):
        dark = np.dot(to_rgb(color), (0.299, 0.587, 0.114)) < 0.6
        spread = f" ({mean - below:.{digits}f}, {mean + above:.{digits}f})" if both else f" ±{width:.{digits}f}"
        text = f"{mean:.{digits}f}" + (spread if width else "")
        inside = mean + above > min(0.85, 1 - 0.012 * len(text)) * limit  # no room beyond it
        ax.annotate(
            text, (mean - below if inside else mean + above, y), (-6 if inside else 6, 0), textcoords="offset points",
            ha="right" if inside else "left", va="center", fontsize=8.5, color="white" if inside and dark else "black",
        )  # fmt: skip
    ax.set_yticks(at, list(table[name]))
    ax.set(xlim=(0, limit), xlabel=label(value))
    return ax
