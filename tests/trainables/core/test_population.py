"""The fast engine against a slow reference that trains one student at a time, as the papers write it."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainables.core.losses import cross_entropy, distillation, mixed
from trainables.core.nets import NETWORKS, Block, Conv, Convolution, Linear, graph, output, summary
from trainables.core.population import Population, footprint, initial

CNN = (Conv(4, 5, stride=2), Conv(6, 3, pool=2), Linear(8), Linear(10))
NORM = (Conv(4, 5, stride=2, norm=True), Conv(6, 3, pool=2, norm=True), Linear(8), Linear(10))
BLOCKS = (Block(4), Block(6), Linear(10))
MLP = (Linear(16), Linear(12), Linear(10))
SHAPES = {CNN: (3, 12, 12), NORM: (3, 12, 12), BLOCKS: (3, 12, 12), MLP: (20,)}
T, WEIGHT, LR = [1.0, 4.0, 16.0], [0.0, 0.4, 1.0], [1e-2, 3e-3, 1e-2]


class Alone(nn.Module):
    """One student as a user would write it, started from the given weights."""

    def __init__(self, layers, weights):
        super().__init__()
        self.layers = layers
        self.parts = nn.ModuleList()
        weights = iter(weights)
        for layer in layers:
            w, b = next(weights), next(weights)
            if isinstance(layer, Convolution):
                part = nn.Conv2d(w.shape[-1], layer.channels, layer.kernel, layer.stride, layer.kernel // 2)
                w = w.permute(0, 3, 1, 2)
                kind = nn.BatchNorm2d if isinstance(layer, Conv) else partial(nn.InstanceNorm2d, affine=True)
                part.norm = kind(layer.channels).to(w.dtype) if layer.norm else nn.Identity()
                if layer.norm:
                    next(weights), next(weights)  # 1 and 0, as torch starts
            else:
                part, w, b = nn.Linear(w.shape[0], layer.units), w.T, b[0]
            with torch.no_grad():
                part.to(w.dtype).weight.copy_(w)
                part.bias.copy_(b)
            self.parts.append(part)

    def forward(self, x):
        for i, (layer, part) in enumerate(zip(self.layers, self.parts, strict=True)):
            if isinstance(layer, Linear) and x.dim() == 4:
                x = x.permute(0, 2, 3, 1).flatten(1)
            x = part(x)
            if isinstance(layer, Convolution):
                x = part.norm(x)
            if isinstance(layer, Conv) and layer.pool > 1:
                x = F.max_pool2d(x, layer.pool)
            if i + 1 < len(self.layers):
                x = F.relu(x)
            if isinstance(layer, Block):
                x = F.avg_pool2d(x, layer.pool)
        return x


def batches(layers, count, dtype=torch.float64):
    g = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.randn(9, *SHAPES[layers], generator=g, dtype=dtype)
        yield x, 3 * torch.randn(9, 10, generator=g, dtype=dtype), torch.randint(10, (9,), generator=g)


def train(population, layers, count=6, T=T, weight=WEIGHT, dtype=torch.float64):
    for i, (x, t, y) in enumerate(batches(layers, count, dtype)):
        z = population.logits(x)
        values = (torch.tensor(v, dtype=dtype) for v in (T, weight))
        temperature, kd_weight = values
        population.step(mixed(cross_entropy(z, y), distillation(z, t, temperature), kd_weight), lr_scale=1 - i / count)
    return population


def population(layers, mode, lr=LR, seeds=(0, 1, 2), dtype=torch.float64, optimiser="adam"):
    return Population(layers, SHAPES[layers], seeds, lr, mode=mode, dtype=dtype, optimiser=optimiser)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("mode", ["loop", "stacked"])
@pytest.mark.parametrize("layers", [CNN, NORM, BLOCKS, MLP], ids=["cnn", "norm", "blocks", "mlp"])
def test_a_population_takes_the_steps_of_students_trained_alone(layers, mode, optimiser):
    start = initial(layers, SHAPES[layers], (0, 1, 2), torch.device("cpu"), torch.float64)
    trained = train(population(layers, mode, optimiser=optimiser), layers)
    x = next(batches(layers, 1))[0]
    for s in range(3):
        student = Alone(layers, [p.detach()[s] for p in start])
        alone = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimiser](student.parameters(), lr=LR[s])
        for i, (xb, t, y) in enumerate(batches(layers, 6)):
            z = student(xb)
            kl = F.kl_div(F.log_softmax(z / T[s], 1), F.softmax(t / T[s], 1), reduction="batchmean")
            alone.param_groups[0]["lr"] = LR[s] * (1 - i / 6)
            alone.zero_grad()
            ((1 - WEIGHT[s]) * F.cross_entropy(z, y) + WEIGHT[s] * T[s] ** 2 * kl).backward()
            alone.step()
        student.eval()
        assert torch.allclose(trained.logits(x, training=False)[s], student(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("mode", ["loop", "stacked"])
def test_students_do_not_see_each_other(mode):
    alike = dict(lr=[1e-2] * 3)
    base = train(population(NORM, mode, **alike), NORM)
    other = train(population(NORM, mode, **alike), NORM, T=[1.0, 2.0, 16.0], weight=[0.0, torch.nan, 1.0])
    for p, q in zip(base.parameters, other.parameters, strict=True):
        assert torch.equal(p[0], q[0]) and torch.equal(p[2], q[2])
        assert q[1].isnan().all(), "the diverged student stays in its own slice"


@pytest.mark.parametrize("lr", [LR, [1e-2] * 3], ids=["own lr", "one lr"])
def test_a_resumed_population_is_the_same_population(lr):
    whole = train(
        train(population(NORM, "loop", lr, dtype=torch.float32), NORM, dtype=torch.float32), NORM, dtype=torch.float32
    )
    first = train(population(NORM, "loop", lr, dtype=torch.float32), NORM, dtype=torch.float32)
    second = population(NORM, "loop", lr, seeds=(7, 8, 9), dtype=torch.float32)
    second.load_state_dict(first.state_dict())
    train(second, NORM, dtype=torch.float32)
    for kept in ("parameters", "statistics"):
        assert all(torch.equal(p, q) for p, q in zip(getattr(whole, kept), getattr(second, kept), strict=True))


def test_one_seed_is_one_start():
    same, other = population(CNN, "loop", seeds=(3, 3, 4)).parameters[0].unbind(0)[1:]
    again = population(CNN, "loop", seeds=(3, 3, 4)).parameters[0]
    assert torch.equal(again[0], again[1]) and torch.equal(again[0], same) and not torch.equal(same, other)


def test_bf16_products_stay_near_fp32():
    x = next(batches(CNN, 1, torch.float32))[0]
    full = population(NORM, "loop", dtype=torch.float32).logits(x)
    half = Population(NORM, SHAPES[NORM], (0, 1, 2), LR, precision="bf16", mode="loop").logits(x)
    assert 0 < (full - half).norm() / full.norm() < 2e-2


def test_the_footprint_counts_every_weight():
    for layers, shape in SHAPES.items():
        weights = sum(p.numel() for p in initial(layers, shape, [0], torch.device("cpu"), torch.float32))
        grows = footprint(layers, shape, 20) - footprint(layers, shape, 10)
        assert footprint(layers, shape, 0) == 20 * weights and grows > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_a_summary_accounts_for_every_parameter_of_a_network(name):
    layers, shape = graph(name, 10), (3, 28, 28)
    weights = sum(p.numel() for p in initial(layers, shape, [0], torch.device("cpu"), torch.float32))
    lines = summary(layers, shape).splitlines()
    counts = [int(line.split()[-1].replace(",", "")) for line in lines[2:]]  # below the heading and the input
    assert counts[-1] == sum(counts[:-1]) == weights and len(counts) == len(layers) + 1


def test_shapes_of_a_summary_are_those_of_the_layers():
    x = torch.zeros(1, 3, 13, 13)
    for layer in (Conv(4, 5, stride=2), Conv(4, 3, pool=2), Conv(4, 5, stride=2, pool=3)):
        made = F.conv2d(x, torch.zeros(4, 3, layer.kernel, layer.kernel), None, layer.stride, layer.kernel // 2)
        assert output(layer, (3, 13, 13)) == tuple(F.max_pool2d(made, layer.pool).shape[1:])
    assert "5 x 5, stride 2, batch normalisation, ReLU" in summary(NORM, SHAPES[NORM])


@pytest.mark.gpu
def test_a_gpu_population_agrees_with_the_cpu():
    x = next(batches(CNN, 1))[0]
    on_gpu = Population(NORM, SHAPES[NORM], (0, 1, 2), LR, device="cuda", dtype=torch.float64)
    assert torch.allclose(on_gpu.logits(x.cuda()).cpu(), population(NORM, "loop").logits(x), atol=1e-9)


@pytest.mark.parametrize("mode", ["loop", "stacked"])
def test_reestimated_statistics_are_those_of_the_new_inputs(mode):
    """Then normalising by them is normalising by the batch, save that torch gathers the variance of n - 1 numbers."""
    x = 1 + 3 * torch.randn(64, 3, 12, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    once, twice = population(NORM, mode), population(NORM, mode)
    start = [p.detach().clone() for p in once.parameters]
    once.reestimate(x, lambda part: part)
    twice.reestimate(torch.cat([x, x]), lambda part: part, batch=len(x))
    assert all(torch.equal(p, q) for p, q in zip(start, once.parameters, strict=True))
    assert all(torch.allclose(a, b) for a, b in zip(once.statistics, twice.statistics, strict=True))
    by_statistics, by_batch = (once.logits(x, training=training) for training in (False, True))
    assert torch.allclose(by_batch, by_statistics, rtol=0, atol=1e-3)
