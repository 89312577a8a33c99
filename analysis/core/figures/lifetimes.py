"""How long something lasts, on a logarithmic axis that ends with the training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes


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
    ax.set(xscale="log", xlim=(0.9, 4 * end), ylim=(len(table) - 0.4, -0.6))
    ax.xaxis.set_major_formatter("{x:g}")
    return ax
