"""How long something lasts, or takes, on an axis that ends with the training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from analysis.core.figures.scales import logarithmic, reach
from analysis.core.statistics import summarise


def lifetimes(
    table: pd.DataFrame, name: str, value: str, end: float, colors: Sequence[Any], ax: Axes | None = None
) -> Axes:
    """A point with its interval for each line, the first on top; arrows lie beyond `end`, where nobody looked.

    table: as `decay.medians` makes it; value, low and high may be inf, or below 1, and are then drawn at 1.
    """
    ax = ax or pyplot.figure(figsize=(7, 0.4 * len(table) + 1)).add_subplot()
    beyond = 1.5 * end
    for y, (color, (_, line)) in enumerate(zip(colors, table.iterrows(), strict=True)):
        middle, low, high = np.clip(line[[value, "low", "high"]].to_numpy(dtype=float), 1, beyond)
        ax.plot([low, high], [y, y], color=color, linewidth=1.6)
        ax.plot(middle, y, ">" if math.isinf(line[value]) else "o", color=color)
        ax.plot(high, y, ">" if math.isinf(line["high"]) else "", color=color)
        text = f"> {end:g}" if math.isinf(line[value]) else f"{line[value]:.0f}" if line[value] >= 1 else "below 1"
        place = (np.nanmax([middle, high]), y), (8, 0)
        ax.annotate(text, *place, textcoords="offset points", va="center", fontsize=8.5)
    ax.axvline(end, color="0.8", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(table)), list(table[name]))
    logarithmic(ax, "x")
    ax.set(xlim=(0.9, 4 * end), ylim=(len(table) - 0.4, -0.6))
    return ax


def arrivals(
    table: pd.DataFrame, name: str, value: str, end: float, colors: Mapping[Any, Any], ax: Axes | None = None
) -> Axes:
    """When each seed gets there: a dot, and below all dots of a line their mean with its interval; beyond `end`, where nobody
    looked, a cross that counts those that never do. The first line is on top.

    table: one line per seed, NaN where it never gets there. colors: of the lines by name, in their order.
    """
    ax = ax or pyplot.figure(figsize=(7, 0.5 * len(colors) + 1)).add_subplot()
    shown = [known for known in colors if (table[name] == known).any()]
    for y, known in enumerate(shown):
        part = table[table[name] == known]
        never, color = int(part[value].isna().sum()), colors[known]
        ax.scatter(part[value], [y] * len(part), color=color, s=22, alpha=0.6)
        note: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8}
        if never:
            ax.scatter(1.06 * end, y, marker="x", color=color)
            ax.annotate(f"{never} of {len(part)}", (1.06 * end, y), (8, 0), va="center", **note)
            continue
        mean = summarise(part, [name], value)
        place = float(mean[value].iloc[0]), y + 0.25
        ax.errorbar(*place, xerr=reach(mean, value), fmt="|", color=color, markersize=9, capsize=3)
        ax.annotate(f"{place[0]:.3g}", place, (0, -5), ha="center", va="top", **note)
    ax.axvline(end, color="0.5", linewidth=0.8)
    ax.set_yticks(range(len(shown)), [str(known) for known in shown])
    ax.set(xlim=(0, 1.22 * end), ylim=(len(shown) - 0.3, -0.5))
    ax.grid(alpha=0.25)
    return ax
