"""A convolution of stride 2 whose gradient in its input is one convolution of stride 1.

oneDNN's own gradient of a strided convolution takes twice as long in bf16 where the layer is narrow (benchmarks/README.md). Of the
input's positions, those of one parity in each direction, a phase, depend on the gradient by a smaller kernel of stride 1: each second
tap of the kernel, turned round. The four phases are made as four times the channels and then put in their places (the sub-pixel
convolution of Shi et al. 2016, arXiv 1609.07009).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

NARROW = 16  # input channels up to which the phases are the faster way; at 32 both take as long


def phases(w: Tensor) -> Tensor:
    """Kernels of the gradient. w: kernels of several students, (S, K, k, k, C), k odd -> (S, 4 C, m, m, K)."""
    k = w.shape[2]
    taps = [[r + k // 2 - 2 * d for d in range(-((k // 2) // 2), (k // 2 + 1) // 2 + 1)] for r in (0, 1)]
    index = torch.tensor([[tap if 0 <= tap < k else k for tap in row] for row in taps])  # (2, m); the k-th tap is zero
    chosen = F.pad(w, (0, 0, 0, 1, 0, 1))[:, :, index][:, :, :, :, index]  # (S, K, 2, m, 2, m, C)
    return chosen.permute(0, 2, 4, 6, 3, 5, 1).flatten(1, 3)


class Strided(torch.autograd.Function):
    """Convolution of stride 2 with padding k // 2.

    x: (B, C, H, W); w: (K, C, k, k), k odd; b: (K,); kernels: those of `phases`, (4 C, m, m, K), which take no gradient: where a
    gradient of the gradient may be asked for, torch's own is taken.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, w: Tensor, b: Tensor, kernels: Tensor) -> Tensor:
        ctx.save_for_backward(x, w, kernels)
        return F.conv2d(x, w, b, stride=2, padding=w.shape[-1] // 2)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, w, kernels = ctx.saved_tensors
        padding = w.shape[-1] // 2
        how = ([2, 2], [padding, padding], [1, 1], False, [0, 0], 1)
        twice = torch.is_grad_enabled()
        of_x, of_w, of_b = torch.ops.aten.convolution_backward(g, x, w, [len(w)], *how, [twice, True, True])
        if twice:
            return of_x, of_w, of_b, None
        (B, _, h, v), (_, C, H, W) = g.shape, x.shape
        made = F.conv2d(F.pad(g, (padding // 2, (padding + 1) // 2) * 2), kernels.permute(0, 3, 1, 2))  # (B, 4 C, h, v)
        placed = made.permute(0, 2, 3, 1).reshape(B, h, v, 2, 2, C).transpose(2, 3).reshape(B, 2 * h, 2 * v, C)
        return placed[:, :H, :W].permute(0, 3, 1, 2), of_w, of_b, None
