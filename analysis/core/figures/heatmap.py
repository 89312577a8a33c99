"""Numbers on a plane: each cell's mean and half interval (grids), or coloured points (searches)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, pyplot
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from analysis.core.figures.scales import HOLE, MAP, dress, grid, label, matching, number, ordered, positions, whiskers

OUTLINES: dict[str, dict[str, Any]] = {
    "chosen": {"linewidth": 3, "zorder": 6},
    "as good": {"linewidth": 1.4, "zorder": 5},
    "open": {"linewidth": 1.2, "linestyle": (0, (2, 2)), "zorder": 5},
}
"""How cells are framed by their state, see `choice.Choice`."""


def heatmap(
    table: pd.DataFrame,
    x: str,
    y: str,
    z: str,
    framed: Sequence[Mapping[str, Any]] = (),
    limits: tuple[float, float] = (0, 100),
    digits: int = 1,
    ax: Axes | None = None,
) -> Axes:
    """One field per cell: the mean, below it +- half its interval (of two seeds both values), and n where it is below that of
    other cells.

    y may be words, in the order of their categories. limits: of the colours only. framed: cells that are outlined, each with
    all fields along a column that it does not name; boldly, or as its `state` says (see OUTLINES). A cell that is NaN is hatched and crossed; a combination without a
    line in the table stays blank.
    """
    ax = ax or pyplot.figure(figsize=(7, 4.5)).add_subplot()
    columns, rows = ordered(table[x]), ordered(table[y])
    low, high = whiskers(table, z)
    norm, colors = Normalize(*limits), colormaps[MAP]
    most = table["n"].max()
    for (_, cell), least, greatest in zip(table.iterrows(), low, high, strict=True):
        i, j = columns.index(cell[x]), rows.index(cell[y])
        corner = (i - 0.5, j - 0.5)
        if np.isnan(cell[z]):
            ax.add_patch(Rectangle(corner, 1, 1, facecolor="0.9", edgecolor=HOLE, hatch="////", linewidth=0))
            ax.text(i, j, "×", ha="center", va="center", color=HOLE, fontsize=14, fontweight="bold")
            continue
        face = colors(norm(cell[z]))
        ax.add_patch(Rectangle(corner, 1, 1, facecolor=face, edgecolor="white"))
        dark = np.dot(face[:3], (0.299, 0.587, 0.114)) < 0.5
        half = (cell["high"] - cell["low"]) / 2
        spread = f"{least:z.{digits}f}, {greatest:z.{digits}f}" if cell["n"] == 2 else f"±{half:z.{digits}f}"
        text = f"{cell[z]:z.{digits}f}\n" + (spread if np.isfinite(half) else "n = 1")
        text += f" n={cell['n']:.0f}" if 2 < cell["n"] < most else ""
        ax.text(i, j, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    for frame in framed:
        chosen = matching(table, frame)
        across, up = (np.array([values.index(v) for v in chosen[c]]) for values, c in ((columns, x), (rows, y)))
        corner, width, height = (across.min() - 0.47, up.min() - 0.47), np.ptp(across) + 0.94, np.ptp(up) + 0.94
        ax.add_patch(
            Rectangle(corner, width, height, fill=False, edgecolor=HOLE, **OUTLINES[frame.get("state", "chosen")])
        )
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(rows) - 0.5), xlabel=label(x), ylabel=label(y))
    ax.set_xticks(range(len(columns)), [v if isinstance(v, str) else number(v) for v in columns])
    ax.set_yticks(range(len(rows)), [v if isinstance(v, str) else number(v) for v in rows])
    return ax


def confusion(shares: np.ndarray, names: Sequence[str], ax: Axes) -> None:
    """What was called what, in per cent of the true class, (classes, classes): a row for each truth, a column for each answer. Right
    ones, on the diagonal, are framed and not coloured: colours are of the errors, darkest where the most are."""
    values = 100 * shares
    errors = values * (1 - np.eye(len(names)))
    ax.imshow(errors, cmap="Oranges", vmin=0, vmax=1.3 * max(errors.max(), 1))
    many = len(names) > 20  # then colours must do, and every so many-th name
    shown = (values >= 0.05) | (np.eye(len(names), dtype=bool) & (values.sum(axis=1, keepdims=True) > 0))  # no right one is a 0, too
    for i, j in np.argwhere(shown) if not many else ():
        ax.text(j, i, f"{values[i, j]:.1f}", ha="center", va="center", fontsize=7.5, weight="bold" if i == j else None)
    for i in range(len(names)):
        ax.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="black"))
    words: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 2 else {}
    every = range(0, len(names), 1 + len(names) // 21)
    ax.set_xticks(every, [names[i] for i in every], **words)
    ax.set_yticks(every, [names[i] for i in every])
    ax.set(xlabel="answer", ylabel="truth")


def raster(table: pd.DataFrame, x: str, y: str, z: str, norm: Normalize, ax: Axes | None = None) -> Axes:
    """Fields in colour alone, for planes with too many cells to number; a cell without a line stays blank. norm: how values
    become colours."""
    ax = ax or pyplot.figure(figsize=(7, 4.5)).add_subplot()
    X, Y, Z = grid(table, x, y, z)
    ax.pcolormesh(X, Y, Z, cmap=MAP, norm=norm, shading="nearest", rasterized=True)
    ax.set(xlabel=label(x), ylabel=label(y))
    return ax


def scatter(
    table: pd.DataFrame,
    x: str,
    y: str,
    z: str,
    framed: Sequence[Mapping[str, Any]] = (),
    limits: tuple[float, float] = (0, 100),
    ax: Axes | None = None,
) -> Axes:
    """The same for points that lie on no grid: one dot per point, coloured by the mean; those framed are ringed, with their number."""
    ax = ax or pyplot.figure(figsize=(7, 4.5)).add_subplot()
    hole = table[z].isna()
    px, py = positions(table[x], x), positions(table[y], y)
    ax.scatter(
        px[~hole],
        py[~hole],
        c=table[z][~hole],
        cmap=MAP,
        norm=Normalize(*limits),
        s=60,
        edgecolors="0.2",
        linewidths=0.6,
    )
    ax.scatter(px[hole], py[hole], marker="x", color=HOLE, s=50, linewidths=2)
    for cell in framed:
        chosen = matching(table, cell)
        px, py = positions(chosen[x], x), positions(chosen[y], y)
        if cell.get("state", "chosen") != "chosen":
            ax.scatter(px, py, facecolors="none", edgecolors=HOLE, s=130, **OUTLINES[cell["state"]])
            continue
        ax.scatter(px, py, facecolors="none", edgecolors=HOLE, s=170, linewidths=2.5)
        ax.annotate(
            f"{chosen[z].iloc[0]:.1f}", (px[0], py[0]), (0, 12), textcoords="offset points", ha="center", fontsize=9
        )
    ax.margins(0.1)  # room for the number of a point at the border
    dress(ax.xaxis, table[x], x)
    dress(ax.yaxis, table[y], y)
    return ax
