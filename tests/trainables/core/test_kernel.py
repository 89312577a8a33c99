"""The kernel against the wide network that it is the limit of."""

import torch

from trainables.core.kernel import BIAS, coded, ntk, predicted


def test_the_kernel_is_that_of_a_wide_network():
    """<df(x)/dw, df(z)/dw> of f = v.relu(sqrt(2 / D) A x + sqrt(2 B) b) / sqrt W, all drawn from N(0, 1)."""
    g, D, W = torch.Generator().manual_seed(0), 12, 100_000
    x = torch.randn(4, D, generator=g)
    A, b, v = (torch.randn(*shape, generator=g) for shape in ((W, D), (W,), (W,)))
    h = x @ A.T * (2 / D) ** 0.5 + b * (2 * BIAS) ** 0.5  # (4, W)
    on = (h > 0).float() * v
    by_v = h.relu() @ h.relu().T / W
    by_first = (on @ on.T / W) * 2 * (x @ x.T / D + BIAS)
    assert torch.allclose(ntk(x, x), by_v + by_first, rtol=0.03, atol=0.02)


def test_regression_says_of_the_images_of_a_set_what_their_labels_say():
    g = torch.Generator().manual_seed(1)
    images, labels = torch.randn(12, 1, 4, 4, generator=g), torch.arange(12) % 3
    assert torch.allclose(predicted(images, labels, images, 3), coded(labels, 3), atol=1e-2)
