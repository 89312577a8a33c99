"""Levels that a figure is read against: our own baselines and published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes


@dataclass(frozen=True)
class Reference:
    """A level in the unit of the value axis. source: where it is published (drawn dashed); empty if it is ours.
    digits: of ours."""

    label: str
    value: float
    source: str = ""
    color: str = "0.25"
    digits: int = 1

    @property
    def text(self) -> str:
        return (
            f"{self.label} {self.value:.4g} (published)"
            if self.source
            else f"{self.label} {self.value:.{self.digits}f}"
        )

    @property
    def style(self) -> str:
        return "--" if self.source else "-"


def levels(values: Mapping[str, pd.Series], colors: Sequence[str] = ("0.25",), digits: int = 1) -> list[Reference]:
    """Our own levels in per cent: the means of those that were measured. values: shares by seed, by what they are called."""
    found = zip(values.items(), cycle(colors), strict=False)
    return [Reference(name, 100 * v.mean(), color=color, digits=digits) for (name, v), color in found if len(v)]


def spread(values: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Positions for labels at `values`: in the same order, within [low, high], at least `gap` apart if they fit."""
    order = np.argsort(values, kind="stable")
    gap = min(gap, (high - low) / max(len(values) - 1, 1))
    at = np.clip(np.asarray(values, dtype=float)[order], low, high)
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + gap)
    ceiling = high
    for i in range(len(at) - 1, -1, -1):
        at[i] = min(at[i], ceiling)
        ceiling = at[i] - gap
    placed = np.empty_like(at)
    placed[order] = at
    return placed


def lines(references: Sequence[Reference], ax: Axes) -> Axes:
    """Horizontal lines over the whole width, each named at the right edge. Call when the limits are final."""
    bottom, top = ax.get_ylim()
    shown = [r for r in references if bottom <= r.value <= top]
    at = spread([r.value for r in shown], 0.05 * (top - bottom), bottom, top)
    for reference, y in zip(shown, at, strict=True):
        ax.axhline(reference.value, color=reference.color, linestyle=reference.style, linewidth=1, zorder=1)
        ax.annotate(
            reference.text,
            (1.0, reference.value),
            (1.03, y),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=7.5,
            color=reference.color,
            arrowprops={"arrowstyle": "-", "color": reference.color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )
    return ax
