"""Matching of training trajectories as its papers' code has it against this project, side by side in one run.

    python benchmarks/matching.py

The plain way: experts one by one, each a torch.nn module with torch's SGD on the same tensors and batches; the inner loop as one graph
by `torch.func.functional_call`, and autograd through all of it. Ours: experts as one population; the exact adjoint (core/matching.py).
Random images take the place of data. Memory: bytes that autograd keeps for the way back, at the most, each storage once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import side_by_side
import torch
import torch.nn.functional as F
from torch import nn

from trainables.core.losses import cross_entropy
from trainables.core.matching import apart, matched
from trainables.core.nets import Block, graph
from trainables.core.population import Population, initial
from trainables.core.splits import CLASSES

SHAPE = (1, 28, 28)


@dataclass
class Arguments:
    experts: int = 40
    """experts of ours; the plain way trains the first of them"""
    plain_experts: int = 4
    """experts that the plain way trains"""
    batch: int = 256
    """images of an expert's step"""
    epoch: int = 215
    """steps of an epoch: of MNIST's 55,000 images that train"""
    inner: int = 15
    """steps on the synthetic set"""
    convnet: str = "convnet_16"
    """the network with convolutions"""
    rounds: int = 7
    """turns of each way, of which the median counts"""
    threads: int = 1
    """of torch"""


class Kept:
    """Bytes that autograd keeps for the way back."""

    def __init__(self) -> None:
        self.held, self.size, self.now, self.most = Counter[int](), dict[int, int](), 0, 0

    def pack(self, tensor: torch.Tensor) -> Any:
        kept, storage = self, tensor.untyped_storage()
        key = storage.data_ptr()

        class Slot:
            def __init__(self) -> None:
                self.tensor = tensor
                if not kept.held[key]:
                    kept.size[key] = storage.nbytes()
                    kept.now += storage.nbytes()
                    kept.most = max(kept.most, kept.now)
                kept.held[key] += 1

            def __del__(self) -> None:
                kept.held[key] -= 1
                if not kept.held[key]:
                    kept.now -= kept.size[key]

        return Slot()

    def of(self, f: Callable[[], object]) -> int:
        with torch.autograd.graph.saved_tensors_hooks(self.pack, lambda slot: slot.tensor):
            f()
        return self.most


def module(network: str) -> nn.Sequential:
    """The same network in torch.nn."""
    if not isinstance(graph(network, CLASSES)[0], Block):
        return side_by_side.module(graph(network, CLASSES), SHAPE)
    parts: list[nn.Module] = []
    channels, side = SHAPE[0], SHAPE[1]
    for layer in graph(network, CLASSES)[:-1]:
        assert isinstance(layer, Block)
        parts += [nn.Conv2d(channels, layer.channels, 3, padding=1), nn.InstanceNorm2d(layer.channels, affine=True)]
        parts += [nn.ReLU(), nn.AvgPool2d(2)]
        channels, side = layer.channels, side // 2
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(channels * side * side, CLASSES))


def experts(a: Arguments) -> None:
    g, shape = torch.Generator().manual_seed(0), (a.batch, *SHAPE)
    x, y = torch.randn(shape, generator=g), torch.randint(CLASSES, (a.batch,), generator=g)
    layers = graph("perceptron_128", CLASSES)
    ours = Population(layers, SHAPE, range(a.experts), [0.1] * a.experts, optimiser="sgd")
    theirs = [module("perceptron_128") for _ in range(a.plain_experts)]
    optimisers = [torch.optim.SGD(net.parameters(), 0.1) for net in theirs]

    def plain() -> None:
        for net, optimiser in zip(theirs, optimisers, strict=True):
            optimiser.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimiser.step()

    with torch.no_grad():
        w = [p.detach() for p in ours.parameters[::2]]
        hidden, wrong = torch.randn(a.experts, a.batch, w[0].shape[2]), torch.randn(a.experts, a.batch, w[1].shape[2])
    wide = x.flatten(1).expand(a.experts, -1, -1)

    def products() -> None:  # of a step: two forward, two for the weights' gradients, one back to the hidden layer
        for one, other in ((wide, w[0]), (hidden, w[1]), (wide.mT, hidden), (hidden.mT, wrong), (wrong, w[1].mT)):
            torch.bmm(one, other)

    ways = plain, lambda: ours.step(cross_entropy(ours.logits(x), y)), products
    theirs_s, ours_s, bare = side_by_side.in_turns(ways, 2 * a.rounds)
    one, mine = theirs_s / a.plain_experts, ours_s / a.experts
    print(f"experts, perceptron_128: {a.epoch * one:.3f} s an epoch one by one, {a.epoch * mine:.3f} s of {a.experts} side by side: "
          f"{one / mine:.2f} times as fast; ours takes {ours_s / bare:.2f} times its bare products", flush=True)  # fmt: skip


def steps(a: Arguments, network: str, per_class: int) -> None:
    layers, g = graph(network, CLASSES), torch.Generator().manual_seed(0)
    net, plain = Population(layers, SHAPE, [0], [1.0]), module(network)
    x, labels = torch.randn(10 * per_class, *SHAPE, generator=g), torch.arange(10).repeat_interleave(per_class)
    rate = torch.tensor(0.1)
    start = [p.detach() for p in initial(layers, SHAPE, [1], torch.device("cpu"), torch.float32)]
    target = [p + 0.01 * torch.randn(p.shape, generator=g) for p in start]
    first = {name: p.detach() for name, p in plain.named_parameters()}
    last = {name: p + 0.01 * torch.randn(p.shape, generator=g) for name, p in first.items()}

    def adjoint(keep: bool = False) -> None:
        matched(
            lambda w, images, n: cross_entropy(net.logits(images, parameters=w), labels)[0],
            start,
            target,
            x,
            rate,
            a.inner,
            keep,
        )

    def unrolled() -> None:
        images, lr = x.clone().requires_grad_(), rate.clone().requires_grad_()
        weights = {name: p.clone().requires_grad_() for name, p in first.items()}
        for _ in range(a.inner):
            loss = F.cross_entropy(torch.func.functional_call(plain, weights, images), labels)
            gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {name: p - lr * d for (name, p), d in zip(weights.items(), gradients, strict=True)}
        moved = apart(list(first.values()), list(last.values()))
        torch.autograd.grad(apart(list(weights.values()), list(last.values())) / moved, (images, lr))

    ways = unrolled, adjoint, lambda: adjoint(keep=True)
    seconds = side_by_side.in_turns(ways, a.rounds)
    kept = [Kept().of(f) / 2**20 for f in ways]
    kept[1] += a.inner * sum(p.numel() for p in start) * 4 / 2**20  # the weights of every step, which the others' graphs hold
    print(f"step, {network}, {per_class} per class, N = {a.inner}: unrolled {1e3 * seconds[0]:.0f} ms, {kept[0]:.0f} MiB; adjoint "
          f"{seconds[1] / seconds[0]:.2f} times as long in {kept[1] / kept[0]:.2f} of the memory; with all graphs kept "
          f"{seconds[2] / seconds[0]:.2f} and {kept[2] / kept[0]:.2f}", flush=True)  # fmt: skip


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision("medium")
    experts(a)
    for network in ("perceptron_128", a.convnet):
        for per_class in (1, 10):
            steps(a, network, per_class)


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
