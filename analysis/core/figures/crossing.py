"""The interaction of two things that may be off or on: two lines, parallel where neither changes what the other does."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.core.figures.scales import reach


def crossing(means: pd.DataFrame, y: str, first: str, colors: tuple[str, str], ax: Axes) -> None:
    """y over the first thing off and on: a dashed line for the other thing off and a full one for it on, a little aside of each
    other, so that whiskers do not coincide.

    means: the columns `first` and `second` ("off" or "on") and what `statistics.summarise` adds. first: what the first thing
    is called. colors: of the two lines.
    """
    for state, color, style, aside in zip(("off", "on"), colors, ("--", "-"), (-0.02, 0.02), strict=True):
        line = means[means["second"] == state].sort_values("first")  # off, on
        look: dict = {"fmt": "o" + style, "color": color, "capsize": 4, "label": f"the other thing {state}"}
        ax.errorbar(np.arange(len(line)) + aside, line[y], reach(line, y), **look)
    ax.set_xticks([0, 1], [f"{first} off", f"{first} on"])
    ax.set_xlim(-0.3, 1.3)
    ax.grid(axis="y", alpha=0.25)
