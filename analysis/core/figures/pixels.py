"""Values that belong to pixels, drawn where the pixels lie, and links between them."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage

SIGNED = "RdBu_r"
"""Diverging, white at 0; red and blue are told apart by colour-blind readers too."""

NOTHING = "0.82"
"""Pixels without a value."""


def picture(values: np.ndarray, kept: np.ndarray, side: int) -> np.ndarray:
    """(F,) values at positions `kept` of a side x side grid as an image (side, side), NaN elsewhere."""
    image = np.full(side * side, np.nan)
    image[kept] = values
    return image.reshape(side, side)


def pixel_map(values: np.ndarray, kept: np.ndarray, side: int, ax: Axes, limit: float | None = None) -> AxesImage:
    """Signed values on the grid, red above 0 and blue below, from -limit to limit (their largest size unless given)."""
    limit = limit or float(np.nanmax(np.abs(values))) or 1.0
    ax.set_facecolor(NOTHING)
    image = ax.imshow(picture(values, kept, side), cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    return image


def matrix(values: np.ndarray, ax: Axes, limit: float = 1.0) -> AxesImage:
    """A symmetric matrix (F, F) with the same colours."""
    image = ax.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="antialiased")
    ax.set(xticks=[], yticks=[])
    return image


def digit(image: np.ndarray, ax: Axes) -> AxesImage:
    """A digit as ink on paper."""
    shown = ax.imshow(image, cmap="gray_r", interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    return shown


def photograph(image: bytes, ax: Axes) -> AxesImage:
    """An image from its bytes: of a square, grey (side * side of them) or of three colours, (side, side, 3)."""
    values = np.frombuffer(image, np.uint8)
    side = math.isqrt(len(values))
    shape = (side, side) if side * side == len(values) else (math.isqrt(len(values) // 3),) * 2 + (3,)
    shown = ax.imshow(values.reshape(shape), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    return shown


def links(pairs: np.ndarray, strength: np.ndarray, kept: np.ndarray, side: int, ax: Axes) -> Axes:
    """Lines between the pixels of each pair: red where strength is above 0, blue below, thicker where it is larger.

    pairs: (L, 2) indices into kept; strength: (L,).
    """
    at = np.stack([kept[pairs] % side, kept[pairs] // side], axis=-1)  # (L, 2, 2): x, y of both ends
    size = np.abs(strength) / np.abs(strength).max()
    colors = np.where(strength > 0, "#B2182B", "#2166AC")
    ax.add_collection(LineCollection(list(at), colors=list(colors), linewidths=0.6 + 2.2 * size, alpha=0.85))
    ax.scatter(at[..., 0].ravel(), at[..., 1].ravel(), s=5, color="black", zorder=3)
    ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), xticks=[], yticks=[], aspect="equal")
    return ax
