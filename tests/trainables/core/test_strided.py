"""The gradient of a strided convolution over four phases against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from trainables.core.nets import Conv, Linear
from trainables.core.population import Population
from trainables.core.strided import Strided, phases


def case(k, H, W, dtype=torch.float64, channels=3, kernels=4):
    g = torch.Generator().manual_seed(k)
    shapes = ((2, channels, H, W), (2, kernels, k, k, channels), (kernels,))
    x, w, b = (torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for shape in shapes)
    return x.requires_grad_(), w, w[1].permute(0, 3, 1, 2).requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize("k", [1, 3, 5, 7, 9])
@pytest.mark.parametrize(("H", "W"), [(12, 12), (13, 8), (9, 7), (14, 9)])
def test_values_and_gradients_are_those_of_the_convolution(k, H, W):
    x, every, w, b = case(k, H, W)
    plain = F.conv2d(x, w, b, stride=2, padding=k // 2)
    ours = Strided.apply(x, w, b, phases(every)[1])
    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    assert torch.equal(ours, plain)
    pairs = zip(*(torch.autograd.grad((out * weights).sum(), (x, w, b)) for out in (ours, plain)), strict=True)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in pairs)


def test_in_bf16_it_is_as_near_to_the_gradient_as_the_librarys_own():
    exact, ours, plain = case(3, 14, 14, torch.float64, 16, 32), *(case(3, 14, 14, torch.bfloat16, 16, 32),) * 2
    made = [
        Strided.apply(x, w, b, phases(every)[1]) if way else F.conv2d(x, w, b, stride=2, padding=1)
        for way, (x, every, w, b) in ((0, exact), (1, ours), (0, plain))
    ]
    true, *found = (torch.autograd.grad(out.sum(), x)[0].double() for out, (x, *_) in zip(made, (exact, ours, plain), strict=True))
    errors = [(f - true).norm() / true.norm() for f in found]
    assert 0 < errors[0] < 1.1 * errors[1]


def test_a_gradient_of_the_gradient_is_that_of_the_convolution():
    x, every, w, b = case(3, 8, 8)
    found = []
    for out in (Strided.apply(x, w, b, phases(every)[1]), F.conv2d(x, w, b, stride=2, padding=1)):
        first = torch.autograd.grad(out.pow(3).sum(), (x, w), create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), (x, w, b)))
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-9) and a.abs().sum() > 0 for a, b in zip(*found, strict=True))


def test_students_in_bf16_get_the_gradients_that_each_would_get_alone():
    """Two share the first convolution, three do so in pairs and one; none of it may be seen."""
    layers, x = (Conv(8, 5, stride=2), Conv(8, 3, stride=2), Linear(10)), torch.randn(6, 3, 12, 12)
    together = Population(layers, (3, 12, 12), (0, 1, 2), (1e-2,) * 3, precision="bf16", mode="loop")
    of_all = torch.autograd.grad(together.logits(x).square().sum(), together.parameters)
    for s in range(3):
        alone = Population(layers, (3, 12, 12), (s,), (1e-2,), precision="bf16", mode="loop")
        of_one = torch.autograd.grad(alone.logits(x).square().sum(), alone.parameters)
        assert all(torch.allclose(a[s], b[0], rtol=2e-2, atol=2e-2 * float(b.abs().max())) for a, b in zip(of_all, of_one, strict=True))


def test_no_tap_is_changed_by_what_follows_it():
    """Products that somebody looks at are seen before the ReLU, in every way of running the convolutions."""
    layers, x = (Conv(4, 5, stride=2), Conv(6, 3, stride=2), Linear(8), Linear(10)), torch.randn(6, 3, 12, 12)
    for mode, precision in (("loop", "fp32"), ("loop", "bf16"), ("stacked", "fp32")):
        net, taps = Population(layers, (3, 12, 12), (0, 1, 2), (1e-2,) * 3, precision=precision, mode=mode), []
        z = net.logits(x, taps=taps)
        products = [t for _, product in taps for t in (product if isinstance(product, list) else [product])]
        assert torch.equal(z, net.logits(x)) and len(taps) == len(layers)
        assert all((t < 0).any() for t in products)
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(z.sum(), products))
