"""A value over two axes, to turn: the same table and arguments as `surface`, made with plotly."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.colors import to_hex

from analysis.core.figures.references import Reference
from analysis.core.figures.scales import HOLE, grid, label, matching, positions, scattered, ticks, whiskers

STATES = {
    "chosen": ("chosen on validation", "diamond-open", 9),
    "as good": ("as good", "circle-open", 7),
    "open": ("open", "square-open", 6),
}
"""What cells of a state are called and marked with: name, symbol, size."""


def interactive(
    table: pd.DataFrame,
    x: str,
    y: str,
    z: str,
    title: str,
    references: Sequence[Reference] = (),
    framed: Sequence[Mapping[str, Any]] = (),
    limits: tuple[float, float] = (0, 100),
    colors: tuple[float, float] = (0, 100),
) -> go.Figure:
    """A surface (points, where they fill no grid) with interval bars; pointing shows a cell's numbers.

    A click in the legend hides a plane. `write_html(include_plotlyjs=True)` makes a file that opens offline.
    """
    figure = go.Figure(layout=_layout(table, x, y, z, title, limits))
    X, Y, Z = grid(table, x, y, z)
    if not scattered(table, x, y) and min(Z.shape) > 1:
        figure.add_surface(
            x=X, y=Y, z=Z, colorscale="Viridis", cmin=colors[0], cmax=colors[1], hoverinfo="skip", connectgaps=False,
            name="mean over seeds", showlegend=True, showscale=False,
        )  # fmt: skip
    _points(figure, table, x, y, z, limits[0], colors)
    for state, (name, symbol, size) in STATES.items():
        marked = [matching(table, cell) for cell in framed if cell.get("state", "chosen") == state]
        if marked:
            cells = pd.concat(marked)
            figure.add_scatter3d(
                x=positions(cells[x], x), y=positions(cells[y], y), z=cells[z], mode="markers", hoverinfo="skip", name=name,
                marker={"symbol": symbol, "size": size, "color": "black", "line": {"width": 3}},
            )  # fmt: skip
    side_x, side_y = np.meshgrid([X.min(), X.max()], [Y.min(), Y.max()])
    for r in references:
        color = to_hex(r.color)
        figure.add_surface(
            x=side_x, y=side_y, z=np.full_like(side_x, r.value), opacity=0.25, showscale=False, showlegend=True,
            colorscale=[[0, color], [1, color]], name=_text(r.text + (f", {r.source}" if r.source else "")), hoverinfo="name",
        )  # fmt: skip
    return figure


def _points(
    figure: go.Figure, table: pd.DataFrame, x: str, y: str, z: str, floor: float, colors: tuple[float, float]
) -> None:
    holes, cells = table[table[z].isna()], table[table[z].notna()]
    low, high = (np.where(np.isnan(end), cells[z], end) for end in whiskers(cells, z))
    figure.add_scatter3d(
        x=positions(cells[x], x), y=positions(cells[y], y), z=cells[z], mode="markers", name=f"cells, {'both seeds' if cells['n'].max() == 2 else '95 % intervals'}",
        marker={"size": 3.5, "color": cells[z], "colorscale": "Viridis", "cmin": colors[0], "cmax": colors[1],
                "line": {"width": 1, "color": "#333333"}, "showscale": True,
                "colorbar": {"x": 0, "xanchor": "left", "len": 0.5}},
        error_z={"type": "data", "symmetric": False, "array": high - cells[z], "arrayminus": cells[z] - low, "color": "#333333", "thickness": 2, "width": 0},
        customdata=np.stack([cells[x], cells[y], *whiskers(cells, z), cells["n"]], axis=-1),
        hovertemplate=f"{label(x)} %{{customdata[0]:.4g}}<br>{label(y)} %{{customdata[1]:.3g}}<br><b>%{{z:.2f}}</b>"
        " (%{customdata[2]:.2f} to %{customdata[3]:.2f}, n = %{customdata[4]})<extra></extra>",
    )  # fmt: skip
    if len(holes):
        figure.add_scatter3d(
            x=positions(holes[x], x), y=positions(holes[y], y), z=[floor] * len(holes), mode="markers",
            name="no result", marker={"symbol": "cross", "size": 5, "color": HOLE},
        )  # fmt: skip


def _layout(table: pd.DataFrame, x: str, y: str, z: str, title: str, limits: tuple[float, float]) -> dict[str, Any]:
    def axis(column: str) -> dict[str, Any]:
        at, texts = ticks(table[column], column)
        values = positions(table[column], column)
        margin = 0.04 * np.ptp(values) or 0.5  # plotly drops ticks at the very border
        span = [values.min() - margin, values.max() + margin]
        return {"title": {"text": label(column)}, "tickvals": list(at), "ticktext": texts, "range": span}

    return {
        "title": {"text": _text(title), "font": {"size": 15}},
        "scene": {
            "xaxis": axis(x),
            "yaxis": axis(y),
            "zaxis": {"title": {"text": label(z)}, "range": list(limits)},
            "camera": {"eye": {"x": 1.5, "y": -1.85, "z": 0.8}, "center": {"x": 0, "y": 0, "z": -0.12}},
            "aspectmode": "cube",
            "domain": {"x": [0.08, 1]},
        },
        "legend": {"x": 1, "y": 0.9},
        "margin": {"l": 0, "r": 0, "t": 80, "b": 0},
    }


def _text(words: str) -> str:
    """Words as plotly takes them: it reads tags, so links, in texts."""
    return html.escape(words, quote=False).replace("\n", "<br>")
