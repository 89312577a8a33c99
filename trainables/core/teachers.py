"""A teacher is trained once, found by its content ever after, and answers for all images at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from trainables.core.batches import batch_index
from trainables.core.cache import cached, content
from trainables.core.population import Population
from trainables.core.schedules import warmup_linear

Arrays = Mapping[str, np.ndarray]


def once(name: str, recipe: Mapping[str, object], data: Arrays, make: Callable[[], Mapping]) -> dict[str, np.ndarray]:
    """What `make` leaves, tensors or arrays by name, and the `seconds` it took: made once, then read from the cache.

    recipe: all that it depends on beside the data, as JSON values.
    """

    def timed() -> dict[str, np.ndarray]:
        start = time.perf_counter()
        made = {k: v.cpu().numpy() if isinstance(v, Tensor) else np.asarray(v) for k, v in make().items()}
        made.setdefault("seconds", np.asarray(time.perf_counter() - start))
        return made

    return cached(name, {**recipe, "data": content(data)}, timed)


def measured(made: Arrays) -> dict[str, float]:
    """The numbers among what was made: accuracies, seconds."""
    return {name: float(value) for name, value in made.items() if value.ndim == 0}


def train(
    teacher: Population,
    pool: Tensor,
    steps: int,
    batch: int,
    seed: int,
    stream: int,
    loss: Callable[[Tensor], Tensor],
    after: Callable[[], None] = lambda: None,
) -> Population:
    """The teacher after so many steps on batches out of `pool`.

    loss: of a batch, given its indices (B,); returns (1,). after: called after each step.
    """
    for step in range(steps):
        index = batch_index(pool, batch, step, seed, stream)
        teacher.step(loss(index), warmup_linear(step / steps))
        after()
    return teacher


def answers(
    teacher: Population,
    images: Mapping[str, Tensor],
    tests: Mapping[str, tuple[Tensor, Tensor]],
    to_float: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Logits on all images, (N, classes) by their name, and the accuracy on each test of images and labels, ().

    to_float: uint8 images -> the teacher's input.
    """
    found = {name: teacher.answers(x, to_float)[0] for name, x in images.items()}
    return found | {name: teacher.accuracy(x, y, to_float)[0] for name, (x, y) in tests.items()}
