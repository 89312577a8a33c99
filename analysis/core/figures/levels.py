"""Figures of scalar quantisers: thresholds over what they cut, and what each component gets and pays. Functions of tidy tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.core.figures.scales import logarithmic

LEAST = 1e-8  # of the largest variance: what is below is rounding


def cuts(table: pd.DataFrame, ways: Mapping[str, str]) -> Figure:
    """The histogram of some components, one per column, cut by each way to find thresholds, one per row.

    table: a line for each way and component, the columns `way`, `component`, `counts` and `edges` (its histogram), `thresholds`, `levels`
    and `taught_error` (of the variance). ways: their colours, in order.
    """
    components = list(dict.fromkeys(table["component"]))
    figure, axes = plt.subplots(
        len(ways), len(components), figsize=(3.6 * len(components), 1.9 * len(ways) + 1.4), sharex="col", sharey="col",
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for i, (way, color) in enumerate(ways.items()):
        for j, component in enumerate(components):
            ax, line = axes[i, j], table[(table["way"] == way) & (table["component"] == component)].iloc[0]
            ax.stairs(line["counts"], line["edges"], fill=True, color="0.8")
            logarithmic(ax, "y", linthresh=10)
            for threshold in line["thresholds"]:
                ax.axvline(threshold, color=color, linewidth=1.2)
            ax.plot(
                line["levels"],
                np.zeros(len(line["levels"])),
                "|",
                color="black",
                markersize=11,
                markeredgewidth=2,
                clip_on=False,
            )
            ax.set_title(f"error {100 * line['taught_error']:.1f} %", loc="right", fontsize=9)
            if i == len(ways) - 1:
                ax.set_xlabel("value of the component")
            if not i:
                ax.set_title(f"component {component}", fontsize=10.5)
            if not j:
                ax.set_ylabel(way, fontsize=10.5)
    return figure


def sized(table: pd.DataFrame, decades: bool, ax: Axes) -> None:
    """Ticks of the x axis at the sizes that the column `bytes` has, `bits` below them; decades: whether y is logarithmic."""
    sizes = sorted(set(zip(table["bytes"], table["bits"], strict=True)))
    named = [f"{size:g}\n{bits}" if bits != 7 else "" for size, bits in sizes]  # 7 has no room beside 8
    ax.set_xticks([size for size, _ in sizes], named)
    ax.set_xticks([], minor=True)
    ax.grid(linewidth=0.3)
    if decades:
        logarithmic(ax, "y")


def costs(table: pd.DataFrame, colors: Mapping[str, Any], ax: Axes) -> None:
    """The error of every component against that of exact thresholds, largest first: a line for each way of the columns `way` and `ratio`."""
    ax.axhline(1, color="0.3", linewidth=1, label="exact")
    for way, color in colors.items():
        ratio = np.sort(table.loc[table["way"] == way, "ratio"].dropna())[::-1]
        if len(ratio):
            ax.plot(np.linspace(0, 100, len(ratio)), ratio, color=color, label=way)
    logarithmic(ax, "y")
    ax.set(xlabel="components, %, most costly first", ylabel="squared error / that of exact thresholds")


def deserved(table: pd.DataFrame, ax: Axes) -> None:
    """The bits that each component gets over its standard deviation, and what theory gives a Gaussian: a bit for each doubling.

    table: a line for each component, `variance` and `component_bits`.
    """
    varying = table[table["variance"] > LEAST * table["variance"].max()]
    deviation, bits = np.sqrt(varying["variance"].to_numpy()), varying["component_bits"].to_numpy(dtype=float)
    flat = len(table) - len(varying)
    rng = np.random.default_rng(0)
    ax.plot(
        deviation,
        bits + rng.uniform(-0.25, 0.25, len(bits)),
        ".",
        markersize=3,
        color="#0072B2",
        alpha=0.6,
        label="component (shaken by a quarter of a bit)",
    )
    level = np.log2(deviation[bits > 0]).mean() - bits[bits > 0].mean() if (bits > 0).any() else 0.0
    x = np.geomspace(deviation.min(), deviation.max(), 100)
    ax.plot(x, np.maximum(np.log2(x) - level, 0), color="#D55E00", label="a bit for each doubling of the deviation")
    if flat:
        ax.text(0.02, 0.97, f"{flat} that never vary get none", transform=ax.transAxes, va="top", fontsize=9)
    logarithmic(ax, "x")
    ax.set(xlabel="standard deviation of the component", ylabel="bits that it gets", ylim=(-0.5, 8.5))
