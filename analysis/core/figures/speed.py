"""What the page of inference_speed alone draws. Functions of tidy tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from analysis.core.figures.scales import PALETTE, logarithmic

KINDS = {
    "convolution": PALETTE[0], "matrix product": PALETTE[5], "batch normalisation": PALETTE[1], "activation": PALETTE[4], "padding": PALETTE[6],
    "copies between layouts": PALETTE[3], "quantise, dequantise": PALETTE[7], "sum": "0.45", "pooling": "0.6", "compiled kernel": PALETTE[2],
    "other": "0.8",
}  # fmt: skip
"""Colours of the kinds of operators."""
GAIN, LOSS = PALETTE[2], PALETTE[1]


def pareto(table: pd.DataFrame, colors: Mapping[str, str], ax: Axes) -> None:
    """Accuracy over latency, a point for each line, coloured by `family`; those that nothing beats in both are joined.

    table: name, family, latency_ms, test_accuracy (a fraction), best (bool), told (bool: whether its name is set beside it).
    """
    x, y = table["latency_ms"].to_numpy(), 100 * table["test_accuracy"].to_numpy()
    for family, color in colors.items():
        part = (table["family"] == family).to_numpy()
        if part.any():
            ax.plot(x[part], y[part], "o", color=color, markersize=6, label=family)
    front = table[table["best"]].sort_values("latency_ms")
    joined: dict[str, Any] = {"where": "post", "color": "0.4", "linewidth": 1, "zorder": 0}
    ax.step(front["latency_ms"], 100 * front["test_accuracy"], label="nothing is both faster and better", **joined)
    logarithmic(ax, "x")
    span = max(np.ptp(y), 1.0)
    ax.set(ylim=(y.min() - 0.25 * span, y.max() + 0.3 * span), xlim=(x.min() / 1.6, x.max() * 1.6))
    ax.set(xlabel="latency of a call, ms (median)", ylabel="test accuracy, %")
    ax.grid(linewidth=0.3)
    ax.add_artist(Names(list(table["name"]), x, y, table["told"].to_numpy(), ax))


class Names(Artist):
    """The names of those `told`, set near their points, where they lie on no other name or point: anew whenever the figure is drawn, for
    what is added later, a legend or a title, moves and shrinks the axes."""

    def __init__(self, names: Sequence[str], x: np.ndarray, y: np.ndarray, told: np.ndarray, ax: Axes) -> None:
        super().__init__()
        self.set_in_layout(False)
        self.set_zorder(2.5)  # before texts
        self.points, self.called = np.column_stack([x, y]), ax
        arrow: dict[str, Any] = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        offset: dict[str, Any] = {"textcoords": "offset points", "in_layout": False, "annotation_clip": False}
        self.texts = [
            (
                ax.annotate("", point, (0, 0), arrowprops=arrow, **offset),
                ax.annotate(names[i], point, (0, 0), fontsize=7.5, va="center", **offset),
            )
            for i in np.argsort(-y, kind="stable")
            if told[i]
            for point in [(x[i], y[i])]
        ]
        for _, text in self.texts:
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6})
        self.place()

    def draw(self, renderer: Any) -> None:
        self.place()

    def place(self) -> None:
        """Where they lie best, as large as the figure is now."""
        ax = self.called
        taken = [(px - 5, py - 5, px + 5, py + 5) for px, py in ax.transData.transform(self.points)]
        room = ax.bbox.x0 + 3, ax.bbox.y0 + 3, ax.bbox.x1 - 3, ax.bbox.y1 - 3
        for arrow, text in self.texts:
            tried: list[tuple[float, int, tuple[float, float], tuple]] = []
            for place in _places():
                box = _box(text, place)
                outside = box[0] < room[0] or box[1] < room[1] or box[2] > room[2] or box[3] > room[3]
                tried.append((5 * outside + sum(_overlap(box, other) for other in taken), len(tried), place, box))
                if not tried[-1][0]:
                    break
            _, _, place, _ = min(tried)
            taken.append(_box(text, place))
            arrow.set_position(place)
            arrow.set_visible(max(map(abs, place)) > 12)


def _box(text: Annotation, place: tuple[float, float]) -> tuple[float, float, float, float]:
    """What a name covers that is set so far from its point."""
    text.set_horizontalalignment(_side(place[0]))
    text.set_position(place)
    b = text.get_window_extent()
    return b.x0 - 3, b.y0 - 2, b.x1 + 3, b.y1 + 2


def _places() -> list[tuple[float, float]]:
    """Shifts in points that are tried, near ones first: beside, above, below, and further away."""
    places = [(8.0, 0.0), (-8.0, 0.0), (0.0, 11.0), (0.0, -11.0)]
    return places + [
        (a, d * sign) for d in range(14, 110, 11) for sign in (1, -1) for a in (8.0, -8.0, 0.0, 30.0, -30.0)
    ]


def _side(across: float) -> Literal["left", "center", "right"]:
    return "left" if across > 0 else "right" if across < 0 else "center"


def _overlap(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def ratios(table: pd.DataFrame, colors: Mapping[str, str], ax: Axes) -> None:
    """How often a technique answers while the baseline does once: bars from 1 with intervals, in the order of the lines, the first on top.

    table: name, family, speedup, and `least` and `most`, between which a whisker is drawn.
    """
    at = -np.arange(len(table))
    value = table["speedup"].to_numpy(dtype=float)
    ax.barh(at, value - 1, left=1, color=table["family"].map(colors), height=0.72)
    low, high = (table[end].to_numpy(dtype=float) for end in ("least", "most"))
    ax.errorbar(
        value,
        at,
        xerr=[(value - low).clip(0), (high - value).clip(0)],
        fmt="none",
        ecolor="black",
        capsize=2,
        linewidth=1,
    )
    for y, v, lower, upper in zip(at, value, low, high, strict=True):
        outside = upper if v >= 1 else lower
        shift, side = (4, "left") if v >= 1 else (-4, "right")
        text = f"{v:.2g}" if v < 10 else f"{v:.0f}"
        ax.annotate(text, (outside, y), (shift, 0), textcoords="offset points", fontsize=8, va="center", ha=side)
    ax.axvline(1, color="0.2", linewidth=1)
    logarithmic(ax, "x", base=2)
    least, most = min(low.min(), 1), max(high.max(), 1)
    room = max(
        (most / least) ** 0.16, 1.3
    )  # for the numbers beside the ends of whiskers, which are as long on any axis
    ax.set_xlim(least / (room if (value < 1).any() else 1.3), most * room)
    ax.set_yticks(at, list(table["name"]), fontsize=8.5)
    ax.set(ylim=(at.min() - 0.6, 0.6), xlabel="times as fast as eager")
    ax.grid(axis="x", linewidth=0.3)
    for family, color in colors.items():
        if (table["family"] == family).any():
            ax.plot([], [], "s", color=color, label=family)


def steps(table: pd.DataFrame, ax: Axes) -> None:
    """A waterfall: the latency that is left after each technique, and what it took off or added.

    table: name, ms, before, factor, see `speed.waterfall`; the first line is the baseline.
    """
    at, after, before = np.arange(len(table)), table["ms"].to_numpy(), table["before"].to_numpy()
    ax.bar(at, after, color="0.75", width=0.62)
    for x, a, b, factor in zip(at, after, before, table["factor"], strict=True):
        if x:
            ax.bar(x, abs(b - a), bottom=min(a, b), color=GAIN if a < b else LOSS, alpha=0.55, width=0.62)
            ax.plot([x - 0.69, x + 0.31], [b, b], color="0.4", linewidth=0.7)
        times = f"÷ {factor:.2f}\n" if factor >= 1 else f"× {1 / factor:.2f}\n"
        said = f"{times * bool(x)}{a:.3g} ms"
        ax.annotate(said, (x, max(a, b)), (0, 3), textcoords="offset points", ha="center", fontsize=8.5)
    ax.set_xticks(at, list(table["name"]), fontsize=8.5)
    ax.set(ylabel="latency of a call, ms", ylim=(0, 1.22 * max(after.max(), before.max())))


def operators(table: pd.DataFrame, ax: Axes) -> None:
    """Milliseconds of a call by kind of operator, stacked, a bar for each technique, the first on top. table: name, kind, ms."""
    names = list(dict.fromkeys(table["name"]))
    left = np.zeros(len(names))
    for kind, color in KINDS.items():
        ms = table[table["kind"] == kind].set_index("name")["ms"].reindex(names).fillna(0).to_numpy()
        if ms.any():
            ax.barh(-np.arange(len(names)), ms, left=left, color=color, label=kind, height=0.72)
            left += ms
    ax.set_yticks(-np.arange(len(names)), names, fontsize=8.5)
    ax.set(xlabel="ms of a call, under the profiler", ylim=(0.4 - len(names), 0.6))
