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
    loss: InnerLoss, start: Weights, target: Weights, images: Tensor, rate: Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The matching loss (), and its gradients in the images (M, ...) and in the rate ().

    start, target: theta_0 and theta*; rate: a, (). The exact gradient by the adjoint of the inner steps: with
    g_n = grad_theta l(theta_n, X) and mu_N = 2 (theta_N - theta*) / |theta_0 - theta*|^2,
        mu_n = mu_{n+1} - a d/dtheta <g_n, mu_{n+1}>,   dX = - a sum_n d/dX <g_n, mu_{n+1}>,   da = - sum_n <g_n, mu_{n+1}>
    The weights of every step are kept, the graph of one step at a time: memory does not grow with the graph's length.
    """
    path = [[p.detach() for p in start]]
    for n in range(steps):
        weights = [p.detach().requires_grad_() for p in path[-1]]
        g = torch.autograd.grad(loss(weights, images.detach(), n), weights)
        path.append([p.detach() - rate.detach() * d for p, d in zip(weights, g, strict=True)])
    moved = apart(start, target)
    value = apart(path[-1], target) / moved
    mu = [2 * (p - q) / moved for p, q in zip(path[-1], target, strict=True)]
    d_images, d_rate = torch.zeros_like(images), torch.zeros_like(rate)
    x = images.detach().requires_grad_()
    for n in reversed(range(steps)):
        weights = [p.requires_grad_() for p in path[n]]
        g = torch.autograd.grad(loss(weights, x, n), weights, create_graph=True)
        along = torch.stack([(d * m).sum() for d, m in zip(g, mu, strict=True)]).sum()
        *second, by_image = torch.autograd.grad(along, [*weights, x])
        d_rate -= along.detach()
        d_images -= rate.detach() * by_image
        mu = [m - rate.detach() * h for m, h in zip(mu, second, strict=True)]
    return value, d_images, d_rate
