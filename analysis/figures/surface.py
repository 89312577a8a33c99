"""A value over two axes, on paper. Beside it belongs a heatmap with the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, pyplot
from matplotlib.colors import Normalize
from mpl_toolkits.mplot3d import Axes3D

from analysis.figures.references import Reference, spread
from analysis.figures.scales import dress, grid, positions, scattered

HOLE = "#D55E00"
MAP = "viridis"


def surface(
    table: pd.DataFrame,
    x: str,
    y: str,
    z: str,
    references: Sequence[Reference] = (),
    best: Mapping[str, Any] | None = None,
    limits: tuple[float, float] = (0, 100),
    ax: Axes3D | None = None,
) -> Axes3D:
    """z over the grid of x and y, with a whisker from low to high at each cell; the z axis spans `limits`, uncut.

    references are planes, named at the left rear edge. Holes tear the surface and are crossed on the floor. best: the
    cell to mark, {column: value}. Points of a search, which fill no grid, are drawn as stems. Without `ax` a new figure
    is made.
    """
    if ax is None:
        ax = pyplot.figure(figsize=(8, 6.5)).add_subplot(projection="3d")
    norm = Normalize(*limits)
    X, Y, Z = grid(table, x, y, z)
    if scattered(table, x, y):
        _stems(table, x, y, z, limits, ax)
    elif min(Z.shape) > 1:
        faces = colormaps[MAP](norm(_face_means(Z)))
        ax.plot_surface(
            X, Y, Z, facecolors=faces, edgecolor="0.25", linewidth=0.4, alpha=0.85, rstride=1, cstride=1, shade=False
        )
    else:
        ax.plot(X.ravel(), Y.ravel(), Z.ravel(), color="0.25")
    _cells(table, x, y, z, limits, norm, ax)
    if best is not None:
        _mark(table, x, y, z, best, limits, ax)
    _planes(references, limits, X, Y, ax)
    dress(ax.xaxis, table[x], x)
    dress(ax.yaxis, table[y], y)
    ax.set_zlim(*limits)
    ax.view_init(elev=20, azim=-55)
    return ax


def _face_means(Z: np.ndarray) -> np.ndarray:
    """Values at the corners (h, w) -> means of the faces (h, w); matplotlib ignores the last row and column."""
    faces = np.zeros_like(Z)
    faces[:-1, :-1] = (Z[:-1, :-1] + Z[1:, :-1] + Z[:-1, 1:] + Z[1:, 1:]) / 4
    return np.nan_to_num(faces)


def _cells(
    table: pd.DataFrame, x: str, y: str, z: str, limits: tuple[float, float], norm: Normalize, ax: Axes3D
) -> None:
    px, py, value = positions(table[x], x), positions(table[y], y), table[z].to_numpy(dtype=float)
    hole = np.isnan(value)
    ax.scatter(
        px[~hole], py[~hole], value[~hole], c=value[~hole], cmap=MAP, norm=norm, s=12, edgecolors="0.2",
        linewidths=0.4, depthshade=False,
    )  # fmt: skip
    for i in np.flatnonzero(~hole & table["low"].notna().to_numpy()):
        low, high = np.clip(table[["low", "high"]].iloc[i], *limits)
        ax.plot([px[i]] * 2, [py[i]] * 2, [low, high], color="0.1", linewidth=1)
    if hole.any():
        ax.scatter(px[hole], py[hole], limits[0], marker="x", color=HOLE, s=40, linewidths=2, depthshade=False)


def _stems(table: pd.DataFrame, x: str, y: str, z: str, limits: tuple[float, float], ax: Axes3D) -> None:
    for px, py, value in zip(positions(table[x], x), positions(table[y], y), table[z], strict=True):
        ax.plot([px, px], [py, py], [limits[0], value], color="0.7", linewidth=0.6)


def _mark(
    table: pd.DataFrame, x: str, y: str, z: str, best: Mapping[str, Any], limits: tuple[float, float], ax: Axes3D
) -> None:
    row = table[(table[x] == best[x]) & (table[y] == best[y])].iloc[0]
    px, py = float(positions(row[x], x)), float(positions(row[y], y))
    ax.plot([px, px], [py, py], [limits[0], row[z]], color="black", linestyle=":", linewidth=1, zorder=20)
    ax.plot(
        [px], [py], [row[z]], marker="*", color="white", markeredgecolor="black", markersize=13, linestyle="", zorder=21
    )


def _planes(
    references: Sequence[Reference], limits: tuple[float, float], X: np.ndarray, Y: np.ndarray, ax: Axes3D
) -> None:
    """Outlined planes, faint inside so that the surface stays readable, named at the left rear corner."""
    (x0, x1), (y0, y1) = ([a.min(), a.max()] if np.ptp(a) else [a.min() - 0.5, a.max() + 0.5] for a in (X, Y))
    corner_x, corner_y = np.meshgrid([x0, x1], [y0, y1])
    at = spread([r.value for r in references], 0.065 * (limits[1] - limits[0]), *limits)
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
