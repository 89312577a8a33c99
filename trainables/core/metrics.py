"""What can be said of a population's answers. Logits lead with the students, (S, N, C); values are (S,)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def entropy(z: Tensor) -> Tensor:
    """Mean over the images of - sum_k q_k log q_k, q = softmax(z), in nats: 0 is sure of everything, log C of nothing."""
    log_q = F.log_softmax(z, dim=-1)
    return -(log_q.exp() * log_q).sum(-1).mean(-1)


def information(z: Tensor) -> Tensor:
    """What an answer tells of its image: H(mean q) - mean H(q), in nats        Bridle, Heading & MacKay, NIPS 1991

    0 where all images get one answer, log C where every answer is sure and all classes are named equally often.
    """
    q = F.softmax(z, dim=-1).mean(-2)  # (S, C)
    return -(q * q.clamp_min(1e-12).log()).sum(-1) - entropy(z)


def confusions(named: Tensor, labels: Tensor) -> list[list[dict[str, int]]]:
    """Of each student how often a class was called another or itself, a line for each pair that occurs: truth, answer, images.

    named: classes that students name (S, N); labels: the true ones (N,).
    """
    classes = int(torch.maximum(named.max(), labels.max())) + 1
    return [
        [
            {"truth": pair // classes, "answer": pair % classes, "images": n}
            for pair, n in enumerate(torch.bincount(labels * classes + row).tolist()) if n
        ]
        for row in named
    ]  # fmt: skip
