"""Images that show the same thing otherwise, in whole batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TURN, ZOOM, SHEAR, SHIFT = 0.25, 0.15, 0.3, 2 / 14  # radians; shares; half a side is 1, so 2 of 28 pixels


def written_otherwise(x: Tensor, g: torch.Generator, size: int, mode: str = "bilinear") -> Tensor:
    """Every image turned, stretched either way, slanted and moved by its own amounts, uniform up to those above.

    x: (B, C, H, W) -> (B, C, size, size); what comes in over the edge is as the edge. g: draws on the CPU.
    """
    turn, zoom_x, zoom_y, slant, right, down = (torch.rand(6, len(x), generator=g) * 2 - 1).unbind()
    angle, zoom_x, zoom_y = TURN * turn, 1 + ZOOM * zoom_x, 1 + ZOOM * zoom_y
    rows = (
        zoom_x * angle.cos(), zoom_x * (SHEAR * slant - angle.sin()), SHIFT * right,
        zoom_y * angle.sin(), zoom_y * angle.cos(), SHIFT * down,
    )  # fmt: skip
    theta = torch.stack(rows, 1).view(-1, 2, 3).to(x.device)
    places = F.affine_grid(theta, [len(x), x.shape[1], size, size], align_corners=False)
    return F.grid_sample(x, places, mode, padding_mode="border", align_corners=False)


def flipped(x: Tensor, g: torch.Generator, probability: float = 0.5) -> Tensor:
    """Every image mirrored left to right with a probability. x: (B, C, H, W). g: draws on the CPU."""
    mirrored = (torch.rand(len(x), generator=g) < probability).to(x.device)
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def shifted(x: Tensor, g: torch.Generator, most: int) -> Tensor:
    """Every image moved by its own whole pixels, uniform in [-most, most] either way; what comes in is mirrored at the edge.
    x: (B, C, H, W), uint8 or float. g: draws on the CPU."""
    B, _, H, W = x.shape
    down, right = torch.randint(-most, most + 1, (2, B, 1), generator=g).to(x.device)
    rows = _mirrored(torch.arange(H, device=x.device) + down, H)  # (B, H)
    columns = _mirrored(torch.arange(W, device=x.device) + right, W)  # (B, W)
    each = torch.arange(B, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _mirrored(at: Tensor, n: int) -> Tensor:
    """Places beyond an edge, reflected at it without repeating the edge: -1 -> 1, n -> n - 2."""
    return (n - 1) - ((n - 1) - at.abs()).abs()


def recoloured(x: Tensor, g: torch.Generator, strength: float = 0.5) -> Tensor:
    """Contrast and brightness of every image, and of its channels apart, changed by up to `strength`; x: (B, C, H, W) in [-1, 1]."""
    contrast, brightness = (strength * (torch.rand(2, len(x), 1, 1, 1, generator=g) * 2 - 1)).to(x.device)
    tint = (strength / 2 * (torch.rand(*x.shape[:2], 1, 1, generator=g) * 2 - 1)).to(x.device)
    mean = x.mean((1, 2, 3), keepdim=True)
    return ((x - mean) * (1 + contrast) + mean + brightness + tint).clamp(-1, 1)


def erased(x: Tensor, side: float, g: torch.Generator, value: Tensor | float = 0) -> Tensor:
    """A square of `side` pixels filled in, centred on any place and cut at the border (cutout; DeVries, Taylor 2017, arXiv
    1708.04552). x: (B, C, H, W); value: one, or one for every image or channel, such as (B, C, 1, 1). g: draws on the CPU."""
    _, _, H, W = x.shape
    at = torch.rand(2, len(x), 1, generator=g).to(x.device)
    near_y, near_x = (
        (torch.arange(n, device=x.device) - p * n).abs() < side / 2 for n, p in zip((H, W), at, strict=True)
    )
    covered = (near_y[:, :, None] & near_x[:, None, :])[:, None]
    return torch.where(covered, torch.as_tensor(value, dtype=x.dtype, device=x.device), x)


# Of photographs, at full strength: the share of the side that an image moves, the share by which brightness, contrast and
# saturation change, and the side of the patch cut out, as a share (arXiv 1708.04552 has 16 of CIFAR-10's 32 pixels).
MOVE, COLOUR, PATCH = 1 / 8, 0.4, 1 / 2


def photographed_otherwise(x: Tensor, strength: float, g: torch.Generator) -> Tensor:
    """Every second image mirrored, each moved, recoloured and partly covered by its own amounts, uniform up to those above
    times `strength` in [0, 1]; at 0 nothing is changed.

    x: (B, C, H, W) in [0, 1] -> the same. A patch is covered with the image's mean colour. g: draws on the CPU.
    """
    _, _, H, W = x.shape
    x = shifted(flipped(x, g, strength / 2), g, round(strength * MOVE * min(H, W)))
    u = torch.rand(3, len(x), 1, 1, 1, generator=g).to(x.device)
    brightness, contrast, saturation = strength * COLOUR * (2 * u - 1)
    x = x + brightness * x
    x = x + contrast * (x - x.mean((1, 2, 3), keepdim=True))
    x = (x + saturation * (x - x.mean(1, keepdim=True))).clamp(0, 1)
    return erased(x, round(strength * PATCH * min(H, W)), g, x.mean((2, 3), keepdim=True))


def differentiably(x: Tensor, g: torch.Generator) -> Tensor:
    """Every second image mirrored, each moved by up to 1/8 of its side, turned and stretched, recoloured, and partly covered: what
    `written_otherwise` and `photographed_otherwise` do, for images that are learnt, so no value is cut off (differentiable siamese
    augmentation, Zhao and Bilen 2021, arXiv 2102.08259; each image draws its own). x: (B, C, S, S) with 0 as the middle grey.
    """
    x = written_otherwise(shifted(flipped(x, g), g, round(MOVE * x.shape[-1])), g, x.shape[-1])
    u = torch.rand(3, len(x), 1, 1, 1, generator=g).to(x.device)
    brightness, contrast, saturation = COLOUR * (2 * u - 1)
    x = x + brightness
    x = x + contrast * (x - x.mean((1, 2, 3), keepdim=True))
    x = x + saturation * (x - x.mean(1, keepdim=True))
    return erased(x, round(PATCH * x.shape[-1]), g)
