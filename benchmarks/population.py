"""What each step from the tutorials' loop to a stacked population gains: milliseconds per training step and student.

    python benchmarks/population.py [--networks mlp_600 cnn_small] [--packs 1 8 14] [--device cuda]

Batch 128, one thread, hard and soft loss. The ladder: a DataLoader over PIL images, the teacher's forward pass in every
step and torch's default Adam; then images in memory, teacher answers cached, Adam fused, our packs in fp32 and in bf16. The
floor: the bare matrix and convolution products of one student's step, and Adam's pass over the weights. MLPs see MNIST digits, CNNs MNIST-M.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import side_by_side
import torch
import torch.nn.functional as F
from side_by_side import timed

from trainables.core import data
from trainables.core.losses import cross_entropy, distillation, mixed
from trainables.core.nets import NETWORKS, Linear, graph
from trainables.core.population import PRECISIONS, Population

BATCH = 128


@dataclass
class Arguments:
    networks: tuple[str, ...] = ("mlp_600", "cnn_small", "cnn_pool")
    """students' networks"""
    packs: tuple[int, ...] = (1, 8, 14)
    """students side by side"""
    repeats: int = 20
    """timed steps; the median counts"""
    device: str = "cpu"


def main(a: Arguments) -> None:
    from studies.harness.engine import prepare_process

    how = torch.cuda.get_device_name() if a.device == "cuda" else f"one thread, float32 products: {prepare_process(1)}"
    print(f"{'':44s}{'ms per step and student':>24s}    ({how})")
    for network in a.networks:
        mlp = isinstance(NETWORKS[network][0], Linear)
        found = data.load("mnist" if mlp else "mnistm", "sample")
        images, labels = found["train_images"], found["train_labels"]
        shape = (784,) if mlp else images.shape[1:]
        teacher = "mlp_1200" if mlp else "cnn"
        print(f"{network}, teacher {teacher}")
        ladder(network, teacher, images, labels, shape, a)


def ladder(network: str, teacher: str, images: np.ndarray, labels: np.ndarray, shape: tuple, a: Arguments) -> None:
    def say(what: str, step: Callable[[], object], students: int = 1) -> None:
        print(f"  {what:42s}{1e3 * timed(step, a.repeats, a.device) / students:24.2f}", flush=True)

    pictures = images if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    batches = iter(())
    big = side_by_side.module(graph(teacher, 10), shape).to(a.device).eval()
    small = side_by_side.module(graph(network, 10), shape).to(a.device)
    memory = torch.from_numpy(images).float().div(127.5).sub(1).to(a.device)
    memory = memory[:, None] if memory.dim() == 3 else memory.to(memory_format=torch.channels_last)
    y_all, turn = torch.from_numpy(labels).long().to(a.device), iter(range(10**9))
    answers = torch.randn(len(labels), 10, device=a.device)
    index = torch.randperm(len(labels), device=a.device)

    def some() -> torch.Tensor:
        start = next(turn) * BATCH % (len(labels) - BATCH)
        return index[start : start + BATCH]

    def loaded():
        nonlocal batches
        if (batch := next(batches, None)) is None:
            batches = iter(side_by_side.loader((pictures, labels), BATCH, True))
            batch = next(batches)
        x, y = (part.to(a.device) for part in batch)
        return x, y, asked(x)

    @torch.no_grad()
    def asked(x):
        return big(x)

    def in_memory():
        i = some()
        return memory[i], y_all[i], asked(memory[i])

    def cached():
        i = some()
        return memory[i], y_all[i], answers[i]

    def plain(batch: Callable, adam: torch.optim.Optimizer) -> Callable[[], None]:
        def step() -> None:
            x, y, t = batch()
            z = small(x)
            adam.zero_grad()
            (F.cross_entropy(z, y) + side_by_side.soft_loss(z, t, 4.0)).backward()
            adam.step()

        return step

    for what, batch, fused in (
        ("DataLoader, teacher in every step, Adam", loaded, None),
        ("images in memory", in_memory, None),
        ("teacher answers cached", cached, None),
        ("Adam fused", cached, True),
    ):
        adam = torch.optim.Adam(small.parameters(), lr=1e-5, fused=fused)
        say(what, plain(batch, adam))
    say("Adam's own pass over the weights, fused", adam.step)
    for precision in PRECISIONS:
        for size in a.packs:
            pack = Population(graph(network, 10), shape, [0] * size, [1e-5] * size, a.device, precision)
            T, weight = torch.full((size,), 4.0, device=a.device), torch.full((size,), 0.5, device=a.device)

            def step(pack=pack, T=T, weight=weight) -> None:
                x, y, t = cached()
                z = pack.logits(x)
                pack.step(mixed(cross_entropy(z, y), distillation(z, t, T), weight))

            say(f"packs of {size}, {precision}", step, size)
        floor = side_by_side.products(graph(network, 10), shape, BATCH, precision, a.device)
        print(f"  {'bare products, ' + precision:42s}{1e3 * floor:24.2f}", flush=True)


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
