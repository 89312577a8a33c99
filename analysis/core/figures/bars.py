"""Bars from zero, with intervals: one per line of a table, or in groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from analysis.core.figures.scales import HOLE, label, reach, whiskers


def bars(
    table: pd.DataFrame, name: str, value: str, hue: str | None = None, limit: float = 100, ax: Axes | None = None,
    digits: int = 1, given: str | None = None,
) -> Axes:  # fmt: skip
    """Horizontal bars from 0 on an axis that ends at `limit`, the first line on top, each with its number.

    hue: a column of colours. given: one that says whose numbers stand with all their digits. Lines without an interval (low is NaN)
    have no whisker.
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
    exact = table[given] if given else [False] * len(table)
    for y, mean, width, both, whole, (below, above), color in zip(at, table[value], half, two, exact, error.T, colors, strict=True):
        dark = np.dot(to_rgb(color), (0.299, 0.587, 0.114)) < 0.6
        spread = f" ({mean - below:z.{digits}f}, {mean + above:z.{digits}f})" if both else f" ±{width:z.{digits}f}"
        text = f"{mean:.4g}" if whole else f"{mean:z.{digits}f}" + (spread if width else "")
        inside = mean + above > min(0.85, 1 - 0.012 * len(text)) * limit  # no room beyond it
        ax.annotate(
            text, (mean - below if inside else mean + above, y), (-6 if inside else 6, 0), textcoords="offset points",
            ha="right" if inside else "left", va="center", fontsize=8.5, color="white" if inside and dark else "black",
        )  # fmt: skip
    ax.set_yticks(at, list(table[name]))
    ax.set(xlim=(0, limit), xlabel=label(value))
    return ax


def grouped(table: pd.DataFrame, ax: Axes, colors: Mapping[str, Any], y: str, limit: float = 100) -> None:
    """Bars in groups, each with its number and interval, and what is published of the same as a mark across it.

    table: group, kind (of `colors`), mean, low, high (NaN without interval), perhaps n and published (NaN where nothing is); a line whose
    mean is NaN is a hole, drawn hatched, with its `note`. y: what the bars are.
    """
    low, high = (np.clip(end, 0, limit) for end in whiskers(table, "mean"))
    table = table.assign(low=low, high=high)

    def number(value: float, x: float, y: float, on_bar: bool, published: bool = False) -> None:
        """Above the place, or below it in white; what is published with all its digits."""
        color, away = ("white", -11) if on_bar else ("black", 3)
        text = f"{value:.4g}" if published else f"{value:.1f}"
        ax.annotate(text, (x, y), (0, away), textcoords="offset points", ha="center", fontsize=8, color=color)

    kinds = [kind for kind in colors if (table["kind"] == kind).any()]
    groups, width = list(dict.fromkeys(table["group"])), 0.8 / max(table.groupby("group")["kind"].nunique().max(), 1)
    for i, group in enumerate(groups):
        part = table[table["group"] == group]
        part = part.sort_values("kind", key=lambda column: column.map({kind: k for k, kind in enumerate(colors)}), kind="stable")
        for j, line in enumerate(part.to_dict("records")):
            x = i + (j - (len(part) - 1) / 2) * width
            if np.isnan(line["mean"]):
                ax.bar(x, limit / 2, width=0.8, color="white", edgecolor=HOLE, hatch="//", linewidth=0.8, linestyle="--", alpha=0.6)
                box = {"facecolor": "white", "edgecolor": "none", "pad": 2}
                ax.annotate(line["note"], (x, limit / 4), ha="center", va="center", fontsize=8, bbox=box)
                continue
            ax.bar(x, line["mean"], width=0.92 * width, color=colors[line["kind"]])
            top = line["mean"]
            if not np.isnan(line["low"]):
                top = line["high"]
                ends = [[line["mean"] - line["low"]], [top - line["mean"]]]
                ax.errorbar(x, line["mean"], ends, fmt="none", ecolor="black", capsize=2.5, linewidth=1.1)
            if (theirs := line.get("published", np.nan)) > 0:
                ax.plot([x - width / 2, x + width / 2], [theirs] * 2, color="black", linewidth=2.2)
                number(theirs, x, theirs, on_bar=theirs <= line["mean"], published=True)
            inside = 0 < theirs - top < limit / 8 or line["mean"] < theirs < top  # no room for a number below the mark
            foot = line["mean"] if np.isnan(line["low"]) else line["low"]
            number(line["mean"], x, foot if inside else top, on_bar=inside)
    ax.set_xticks(range(len(groups)), groups)
    ax.set(ylim=(0, 1.08 * limit), xlim=(-0.6, len(groups) - 0.4), ylabel=y)
    ax.spines[["top", "right"]].set_visible(False)
    for kind in kinds:
        ax.bar(0, 0, color=colors[kind], label=kind)
    if "published" in table and table["published"].notna().any():
        ax.plot([], [], color="black", linewidth=2.2, label="published")
