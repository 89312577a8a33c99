"""What an infinitely wide network would predict that learnt from a set: regression with the neural tangent kernel.

The network has one hidden layer with ReLU, weights and biases of its first layer with variance 2 / D and 2 B, all layers trained (Jacot et
al. 2018, arXiv 1806.07572; Cho and Saul 2009 for the expectations). With s(x, z) = 2 (x.z / D + B), u the cosine that s makes of x and z:
    k0 = (pi - arccos u) / pi,   k1 = (u (pi - arccos u) + sqrt(1 - u^2)) / pi,   K = sqrt(s(x, x) s(z, z)) k1 / 2 + s k0 / 2
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BIAS = 0.1  # B
RIDGE = 1e-6  # share of the kernel's mean diagonal


def ntk(x: Tensor, z: Tensor) -> Tensor:
    """The kernel of inputs (N, ...) and (M, ...), (N, M)."""
    x, z = x.flatten(1), z.flatten(1)
    D = x.shape[1]
    s = 2 * (x @ z.T / D + BIAS)
    size = (4 * (x.square().sum(1) / D + BIAS)[:, None] * (z.square().sum(1) / D + BIAS)).sqrt()
    u = (s / size).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = math.pi - u.arccos()
    return (size * (u * angle + (1 - u * u).sqrt()) + s * angle) / (2 * math.pi)


def predicted(images: Tensor, labels: Tensor, x: Tensor, classes: int) -> Tensor:
    """Kernel ridge regression of a set's images (M, ...) onto its labels (M,), asked about x (N, ...): (N, classes), of which the largest
    is the class; labels are one-hot less their mean."""
    K = ntk(images, images)
    ridge = RIDGE * K.diagonal().mean() * torch.eye(len(K), device=K.device)
    return ntk(x, images) @ torch.linalg.solve(K + ridge, coded(labels, classes))


def coded(labels: Tensor, classes: int) -> Tensor:
    """Labels (M,) as numbers to regress on, (M, classes)."""
    return F.one_hot(labels, classes).float() - 1 / classes
