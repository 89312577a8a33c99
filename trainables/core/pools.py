"""Images that nobody photographed: what a teacher may be asked about when its own data are gone. All (N, 28, 28) uint8."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

SIDE, INK = 28, 20  # MNIST fits a digit into a box of 20 pixels and puts it in the middle of 28
# Of random strokes: how many points one goes through (the end excluded); share of drawings that have a second one; width
# in pixels; width of a drawing by its height.
POINTS, TWO, WIDTH, SLIMNESS = (2, 8), 0.4, (1.8, 4.0), (0.3, 1)
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
    """One or two pen strokes per image: smooth curves through random points, in a box of 20 pixels in the middle.

    Its prior: how people write, white ink on black, few long lines of one width, often from the top down, of the size and in
    the place where MNIST has its digits. No digit is drawn on purpose.
    """
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    zoom = 4  # drawn large and averaged down, for smooth edges
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for image in images:
        curves = [curve(points(rng, 1, n)[0]) for n in rng.integers(*POINTS, rng.choice((1, 2), p=(1 - TWO, TWO)))]
        places, width = np.concatenate(curves), rng.uniform(*WIDTH)
        low, extent = places.min(0), np.ptp(places, axis=0)
        box = (INK - width) * np.array([rng.uniform(*SLIMNESS), 1])  # digits are rather tall than wide
        canvas = Image.new("L", (SIDE * zoom, SIDE * zoom))
        draw = ImageDraw.Draw(canvas)
        for line in curves:
            placed = zoom * (((line - low) / extent - 0.5) * box + SIDE / 2)
            draw.line([*map(tuple, placed)], fill=255, width=round(width * zoom), joint="curve")
        image[:] = np.asarray(canvas.reduce(zoom))
    return images


def points(rng: np.random.Generator, count: int, number: int) -> np.ndarray:
    """Uniform in the unit square, (count, number, 2); in every second stroke roughly from the top down, as people write."""
    places = rng.random((count, number, 2))
    down = rng.random(count) < 0.5
    places[down, :, 1] = np.sort(places[down, :, 1], 1) + 0.15 * rng.normal(size=(down.sum(), number))
    return places


def curve(points: np.ndarray, pieces: int = 8) -> np.ndarray:
    """A smooth line through all points (P, D), in straight pieces: ((P - 1) pieces + 1, D).    Catmull, Rom 1974"""
    a = np.concatenate([2 * points[:1] - points[1:2], points[:-2]])
    d = np.concatenate([points[2:], 2 * points[-1:] - points[-2:-1]])
    b, c = points[:-1], points[1:]
    t = np.linspace(0, 1, pieces, endpoint=False)[:, None, None]
    line = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d)))
    return np.concatenate([line.transpose(1, 0, 2).reshape(-1, points.shape[1]), points[-1:]])
