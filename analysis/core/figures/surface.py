"""A value over two axes, on paper. Beside it belongs a heatmap with the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, pyplot
from matplotlib.colors import Normalize
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from analysis.core.figures.references import Reference, spread
from analysis.core.figures.scales import HOLE, MAP, dress, grid, matching, positions, scattered, whiskers


def surface(
    table: pd.DataFrame,
    x: str,
    y: str,
    z: str,
    references: Sequence[Reference] = (),
    framed: Sequence[Mapping[str, Any]] = (),
    limits: tuple[float, float] = (0, 100),
    colors: tuple[float, float] = (0, 100),
    ax: Axes3D | None = None,
) -> Axes3D:
    """z over the grid of x and y, with a whisker from low to high at each cell; the z axis spans `limits`, uncut,
    the colours `colors`.

    references are planes, named at the left rear edge. Holes tear the surface and are crossed on the floor. framed:
    cells to mark with a star, {column: value}, each with all cells along a column that it leaves out; with a white point where its
    `state` is "as good", a grey one where it is "open". Points of a search, which
    fill no grid, are drawn as stems. Without `ax` a new figure is made.
    """
    if ax is None:
        ax = pyplot.figure(figsize=(8, 6.5)).add_subplot(projection="3d")
    norm = Normalize(*colors)
    X, Y, Z = grid(table, x, y, z)
    if scattered(table, x, y):
        _stems(table, x, y, z, limits, ax)
    elif min(Z.shape) > 1:
        ax.add_collection3d(_faces(X, Y, Z, norm))
    else:
        ax.plot(X.ravel(), Y.ravel(), Z.ravel(), color="0.25")
    _cells(table, x, y, z, limits, norm, ax)
    for cell in framed:
        _mark(table, x, y, z, cell, limits, ax)
    _planes(references, limits, X, Y, ax)
    dress(ax.xaxis, table[x], x)
    dress(ax.yaxis, table[y], y)
    ax.set_zlim(*limits)
    ax.set_box_aspect((1, 1, 0.85), zoom=1.1)
    ax.view_init(elev=26, azim=-55)
    return ax


def _faces(X: np.ndarray, Y: np.ndarray, Z: np.ndarray, norm: Normalize) -> Poly3DCollection:
    """The quadrilaterals between cells, coloured by their mean; none where a corner is missing, which plot_surface
    would patch with a triangle."""
    corners = np.stack([X, Y, Z], axis=-1)  # (h, w, 3)
    quads = np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=2).reshape(-1, 4, 3)
    quads = quads[~np.isnan(quads).any(axis=(1, 2))]
    colors = colormaps[MAP](norm(quads[:, :, 2].mean(axis=1)))
    return Poly3DCollection(quads, facecolors=colors, edgecolors="0.25", linewidths=0.4, alpha=0.85)


def _cells(
    table: pd.DataFrame, x: str, y: str, z: str, limits: tuple[float, float], norm: Normalize, ax: Axes3D
) -> None:
    px, py, value = positions(table[x], x), positions(table[y], y), table[z].to_numpy(dtype=float)
    hole = np.isnan(value)
    ax.scatter(
        px[~hole], py[~hole], value[~hole], c=value[~hole], cmap=MAP, norm=norm, s=12, edgecolors="0.2",
        linewidths=0.4, depthshade=False,
    )  # fmt: skip
    low, high = (np.clip(end, *limits) for end in whiskers(table, z))
    for i in np.flatnonzero(~hole & ~np.isnan(low)):
        ax.plot([px[i]] * 2, [py[i]] * 2, [low[i], high[i]], color="0.1", linewidth=1)
    if hole.any():
        ax.scatter(px[hole], py[hole], limits[0], marker="x", color=HOLE, s=40, linewidths=2, depthshade=False)


def _stems(table: pd.DataFrame, x: str, y: str, z: str, limits: tuple[float, float], ax: Axes3D) -> None:
    for px, py, value in zip(positions(table[x], x), positions(table[y], y), table[z], strict=True):
        ax.plot([px, px], [py, py], [limits[0], value], color="0.7", linewidth=0.6)


def _mark(
    table: pd.DataFrame, x: str, y: str, z: str, best: Mapping[str, Any], limits: tuple[float, float], ax: Axes3D
) -> None:
    chosen = matching(table, best)
    px, py = positions(chosen[x], x), positions(chosen[y], y)
    state = best.get("state", "chosen")
    mark: dict[str, Any] = {"color": "0.6" if state == "open" else "white", "markeredgecolor": "black", "linestyle": ""}
    mark |= (
        {"marker": "*", "markersize": 13 if len(chosen) == 1 else 8}
        if state == "chosen"
        else {"marker": "o", "markersize": 6}
    )
    ax.plot(px, py, chosen[z], zorder=21 if state == "chosen" else 20, **mark)
    if len(chosen) == 1 and state == "chosen":
        ax.plot([px[0]] * 2, [py[0]] * 2, [limits[0], chosen[z].iloc[0]], color="black", linestyle=":", linewidth=1)


def _planes(
    references: Sequence[Reference], limits: tuple[float, float], X: np.ndarray, Y: np.ndarray, ax: Axes3D
) -> None:
    """Outlined planes, faint inside so that the surface stays readable, named at the left rear corner."""
    (x0, x1), (y0, y1) = ([a.min(), a.max()] if np.ptp(a) else [a.min() - 0.5, a.max() + 0.5] for a in (X, Y))
    corner_x, corner_y = np.meshgrid([x0, x1], [y0, y1])
    at = spread([r.value for r in references], 0.07 * (limits[1] - limits[0]), *limits)
    for reference, height in zip(references, at, strict=True):
        level = np.full_like(corner_x, reference.value)
        ax.plot_surface(corner_x, corner_y, level, color=reference.color, alpha=0.07, linewidth=0, shade=False)
        ax.plot(
            [x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], reference.value, color=reference.color,
            linestyle=reference.style, linewidth=0.9,
        )  # fmt: skip
        ax.text(
            x0 - 0.1 * (x1 - x0), y0, height, reference.text, color=reference.color, fontsize=7.5, ha="right",
            va="center",
        )  # fmt: skip
