"""Images on which a few steps of training lead where many steps on real data lead: matching of training trajectories.

    min over X, a of  |theta_N - theta*|^2 / |theta_0 - theta*|^2,     theta_{n+1} = theta_n - a grad_theta l(theta_n, X)

theta_0, theta*: an expert's weights, and those it has some steps later, when it learns from real data; l: the cross-entropy of
the images X with labels that stay; a: a learning rate that is learnt too.    Cazenavette et al. 2022 (arXiv 2203.11932), s. 3.2
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Weights = Sequence[Tensor]
InnerLoss = Callable[[Weights, Tensor, int], Tensor]
"""l of the weights, the images and the number of the step (which may choose a batch, or how it is augmented), ()."""


def apart(a: Weights, b: Weights) -> Tensor:
    """Squared distance of two sets of weights, ()."""
    return torch.stack([(p - q).square().sum() for p, q in zip(a, b, strict=True)]).sum()


def matched(
    loss: InnerLoss, start: Weights, target: Weights, images: Tensor, rate: Tensor, steps: int, keep: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The matching loss (), and its gradients in the images (M, ...) and in the rate ().

    start, target: theta_0 and theta*; rate: a, (). The exact gradient by the adjoint of the inner steps: with
    g_n = grad_theta l(theta_n, X) and mu_N = 2 (theta_N - theta*) / |theta_0 - theta*|^2,
        mu_n = mu_{n+1} - a d/dtheta <g_n, mu_{n+1}>,   dX = - a sum_n d/dX <g_n, mu_{n+1}>,   da = - sum_n <g_n, mu_{n+1}>
    The weights of every step are kept, and the graph of one step at a time, which is made again on the way back. keep: the
    graph of every step is kept and none is made twice: the time and the memory of unrolling, with the same result.
    """
    x, weights = images.detach().requires_grad_(), [p.detach() for p in start]
    path: list[tuple[list[Tensor], tuple[Tensor, ...]]] = []
    for n in range(steps):
        weights = [p.requires_grad_() for p in weights]
        g = torch.autograd.grad(loss(weights, x, n), weights, create_graph=keep)
        path.append((weights, g if keep else ()))
        weights = [p.detach() - rate.detach() * d.detach() for p, d in zip(weights, g, strict=True)]
    moved = apart(start, target)
    value = apart(weights, target) / moved
    mu = [2 * (p - q) / moved for p, q in zip(weights, target, strict=True)]
    d_images, d_rate = torch.zeros_like(images), torch.zeros_like(rate)
    for n in reversed(range(steps)):
        weights, kept = path.pop()
        g = kept or torch.autograd.grad(loss(weights, x, n), weights, create_graph=True)
        *second, by_image = torch.autograd.grad(g, [*weights, x], grad_outputs=mu)
        d_rate -= torch.stack([(d.detach() * m).sum() for d, m in zip(g, mu, strict=True)]).sum()
        d_images -= rate.detach() * by_image
        mu = [m - rate.detach() * h for m, h in zip(mu, second, strict=True)]
    return value, d_images, d_rate
