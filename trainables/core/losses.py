"""Losses of populations. Shapes lead with the students S; every loss returns one value per student, (S,).

The mean over the batch is taken here; the sum over students is taken by whoever calls `backward`, so that each
student's gradient is its own.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(z: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """- (1/B) sum_b sum_c p_bc log softmax(z_b)[c], where p_b is 1 at y_b

    z: logits (S, B, C); y: labels (B,), the same for all students. smoothing: share of p_b that is spread over all classes
    (Szegedy et al. 2015, arXiv 1512.00567, section 7). Returns (S,), in nats.
    """
    log_q = F.log_softmax(z, dim=-1)
    hard = -log_q.gather(-1, y.expand(z.shape[0], -1)[..., None]).mean((1, 2))
    return hard if smoothing == 0 else (1 - smoothing) * hard - smoothing * log_q.mean((1, 2))


def distillation(z: Tensor, t: Tensor, temperature: Tensor) -> Tensor:
    """T^2 KL(softmax(t/T) || softmax(z/T)), mean over the batch        Hinton et al. 2015 (arXiv 1503.02531), s. 2

    z, t: student logits (S, B, C) and teacher logits (B, C); temperature T: (S,). Returns (S,), in nats.
    T^2 keeps the gradient's size: dC/dz = (q - p)/T for the cross-entropy C at temperature T (eq. 2).
    """
    T = temperature[:, None, None]
    log_p, log_q = F.log_softmax(t / T, dim=-1), F.log_softmax(z / T, dim=-1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(-1).mean(-1)


def mixed(hard: Tensor, soft: Tensor, kd_weight: Tensor) -> Tensor:
    """(1 - kd_weight) hard + kd_weight soft; all (S,). The convex convention: at 1 no label is read."""
    return (1 - kd_weight) * hard + kd_weight * soft


def added(hard: Tensor, soft: Tensor, kd_weight: Tensor) -> Tensor:
    """hard + kd_weight soft; all (S,). The additive convention: labels are read at every weight, which has no upper end."""
    return hard + kd_weight * soft


def log_odds(t: Tensor) -> Tensor:
    """log p / (1 - p) of the largest probability, from logits (B, C): exact where p rounds to 1."""
    ordered = t.sort(-1, descending=True).values
    return ordered[:, 0] - ordered[:, 1:].logsumexp(-1)
