"""The exact adjoint against plain unrolling, and what the matching loss is at its ends."""

import pytest
import torch

from trainables.core.losses import cross_entropy
from trainables.core.matching import apart, matched
from trainables.core.nets import Block, Linear
from trainables.core.population import Population, initial

MLP, CONVNET = (Linear(6), Linear(3)), (Block(3), Block(4), Linear(3))
SHAPE, STEPS = (2, 8, 8), 4
GRAPHS = pytest.mark.parametrize("layers", [MLP, CONVNET], ids=["mlp", "convnet"])


def problem(layers):
    """The inner loss, an expert's two ends, images and a rate, in fp64; the images of every second step are mirrored."""
    g = torch.Generator().manual_seed(0)
    net = Population(layers, SHAPE, [0], [1.0], dtype=torch.float64)
    labels = torch.arange(6) % 3

    def loss(weights, images, n):
        return cross_entropy(net.logits(images.flip(-1) if n % 2 else images, parameters=weights), labels)[0]

    start = [p.detach() for p in initial(layers, SHAPE, [1], torch.device("cpu"), torch.float64)]
    target = [p + 0.1 * torch.randn(p.shape, generator=g, dtype=torch.float64) for p in start]
    images = torch.randn(6, *SHAPE, generator=g, dtype=torch.float64)
    return loss, start, target, images, torch.tensor(0.3, dtype=torch.float64)


def unrolled(loss, start, target, images, rate, steps):
    """As the paper's code has it: one graph of all inner steps, and autograd through it."""
    images, rate = images.clone().requires_grad_(), rate.clone().requires_grad_()
    weights = [p.clone().requires_grad_() for p in start]
    for n in range(steps):
        g = torch.autograd.grad(loss(weights, images, n), weights, create_graph=True)
        weights = [p - rate * d for p, d in zip(weights, g, strict=True)]
    value = apart(weights, target) / apart(start, target)
    return value, *torch.autograd.grad(value, (images, rate))


@GRAPHS
@pytest.mark.parametrize("keep", [False, True], ids=["again", "kept"])
def test_the_adjoint_is_unrolling(layers, keep):
    for a, b in zip(matched(*problem(layers), STEPS, keep), unrolled(*problem(layers), STEPS), strict=True):
        assert (a - b).norm() <= 1e-6 * b.norm() and b.norm() > 0


@GRAPHS
def test_the_gradient_is_that_of_finite_differences(layers):
    loss, start, target, images, rate = problem(layers)
    _, by_images, by_rate = matched(loss, start, target, images, rate, STEPS)
    way, h = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64), 1e-5
    ends = [matched(loss, start, target, images + s * h * way, rate, STEPS)[0] for s in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(float((by_images * way).sum()), rel=1e-4)
    ends = [matched(loss, start, target, images, rate + s * h, STEPS)[0] for s in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(float(by_rate), rel=1e-4)


@GRAPHS
def test_matching_loss_is_one_at_the_start_and_zero_at_the_expert(layers):
    loss, start, target, images, rate = problem(layers)
    assert matched(loss, start, target, images, torch.zeros_like(rate), STEPS)[0] == 1
    learnt = start  # an expert that learnt from these very images
    for n in range(STEPS):
        weights = [p.clone().requires_grad_() for p in learnt]
        g = torch.autograd.grad(loss(weights, images, n), weights)
        learnt = [p.detach() - rate * d for p, d in zip(weights, g, strict=True)]
    value, *gradients = matched(loss, start, learnt, images, rate, STEPS)
    assert value == pytest.approx(0, abs=1e-20) and all(g.abs().max() < 1e-9 for g in gradients)
