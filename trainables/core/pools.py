"""Images that nobody photographed: what a teacher may be asked about when its own data are gone. All (N, 28, 28) uint8."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

SIDE, INK = 28, 20  # MNIST fits a digit into a box of 20 pixels and puts it in the middle of 28
SCALES = (4, 6, 8, 11, 16, 28)  # cells along the side of the grids that noise is drawn on


def noise(count: int, seed: int) -> np.ndarray:
    """Gaussian noise on grids from coarse to fine, enlarged to 28 pixels and pushed towards black and white.

    Its prior: grey levels that vary smoothly at some scale, more black than white. No lines, no middle.
    """
    g = torch.Generator().manual_seed(seed)
    images = torch.empty(count, SIDE, SIDE)
    for scale, part in zip(SCALES, images.tensor_split(len(SCALES)), strict=True):
        grid = torch.randn(len(part), 1, scale, scale, generator=g)
        field = F.interpolate(grid, size=(SIDE, SIDE), mode="bicubic", align_corners=False)[:, 0]
        threshold = torch.rand(len(part), 1, 1, generator=g) * 1.5
        part.copy_(torch.sigmoid(6 * (field / field.std((1, 2), keepdim=True) - threshold)))
    return (255 * images[torch.randperm(count, generator=g)]).round().byte().numpy()


def strokes(count: int, seed: int) -> np.ndarray:
    """One to three pen strokes per image: smooth curves through random points, in a box of 20 pixels in the middle.

    Its prior: how people write, pale ink on black, few connected lines of one width, of the size and in the place where
    MNIST has its digits. No digit is drawn on purpose.
    """
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    zoom = 4  # drawn large and averaged down, for smooth edges
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for image in images:
        curves = [_curve(rng) for _ in range(rng.choice((1, 2, 3), p=(0.5, 0.35, 0.15)))]
        points = np.concatenate(curves)
        low, size = points.min(0), np.ptp(points, axis=0).max()
        middle = low + np.ptp(points, axis=0) / 2
        width = rng.uniform(1.5, 4.0)
        canvas = Image.new("L", (SIDE * zoom, SIDE * zoom))
        draw = ImageDraw.Draw(canvas)
        for curve in curves:
            placed = ((curve - middle) * (INK - width) / size + SIDE / 2) * zoom
            draw.line([tuple(p) for p in placed], fill=255, width=round(width * zoom), joint="curve")
        image[:] = np.asarray(canvas.reduce(zoom))
    return images


def _curve(rng: np.random.Generator) -> np.ndarray:
    """Points along a uniform cubic B-spline of 4 to 8 random control points, some closed: (P, 2)."""
    knots = np.cumsum(rng.normal(size=(rng.integers(4, 9), 2)), axis=0) * 0.6 + rng.normal(size=2) * 0.7
    if rng.random() < 0.25:
        knots = np.concatenate([knots, knots[:3]])
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    a, b, c, d = knots[:-3], knots[1:-2], knots[2:-1], knots[3:]
    spline = ((1 - t) ** 3 * a + (3 * t**3 - 6 * t**2 + 4) * b + (-3 * t**3 + 3 * t**2 + 3 * t + 1) * c + t**3 * d) / 6
    return spline.transpose(1, 0, 2).reshape(-1, 2)
