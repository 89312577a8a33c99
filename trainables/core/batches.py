"""Which images a training step sees: functions of a seed and the step alone, so that students can share their batches and
a resumed run sees those of an uninterrupted one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def substream(seed: int, *purpose: int) -> int:
    """A seed of its own for each purpose: what serves one purpose tells nothing about another."""
    return int(np.random.SeedSequence((seed, *purpose)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def batch_index(pool: Tensor, size: int, step: int, seed: int, stream: int) -> Tensor:
    """Batch number `step` of endless reshuffled passes over `pool`, (min(size, len(pool)),) of its members."""
    size = min(size, len(pool))
    per_pass = len(pool) // size
    turn, position = divmod(step, per_pass)
    return pool[_order(len(pool), seed, stream, turn)[position * size : (position + 1) * size].to(pool.device)]


def _order(n: int, seed: int, stream: int, turn: int) -> Tensor:
    key = (n, seed, stream, turn)
    if key not in _ORDERS:
        if len(_ORDERS) > 8:
            _ORDERS.clear()
        _ORDERS[key] = torch.randperm(n, generator=torch.Generator().manual_seed(substream(seed, stream, turn)))
    return _ORDERS[key]


_ORDERS: dict[tuple[int, int, int, int], Tensor] = {}  # the passes in use; a pass is drawn once, not at every step


def balanced(labels: Tensor, pool: Tensor, count: int, seed: int, stream: int) -> Tensor:
    """`count` members of `pool`, drawn from the seed and balanced over the classes as far as there are enough of each;
    all of it where it is no larger. labels: (N,) of all images; pool: indices into them."""
    if count >= len(pool):
        return pool
    g = torch.Generator().manual_seed(substream(seed, stream))
    order = pool[torch.randperm(len(pool), generator=g).to(pool.device)]
    by_class = [order[labels[order] == k] for k in labels[order].unique()]
    rounds = max(map(len, by_class))
    dealt = [
        members[r] for r in range(rounds) for members in by_class if r < len(members)
    ]  # an image of each class in turn
    return torch.stack(dealt[:count])
