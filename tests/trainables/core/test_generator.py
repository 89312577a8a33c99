"""The pen that draws, and how it is told what a teacher says."""

import numpy as np
import torch

from trainables.core import generator
from trainables.core.nets import graph
from trainables.core.population import Population

SHAPE = (1, 28, 28)


def test_a_generator_hears_what_the_teacher_says():
    """Its own forward pass, which also looks at the statistics, is the population's."""
    teacher = Population(graph("cnn_norm", 5), SHAPE, [3], [1e-3])
    x = torch.randn(64, *SHAPE)
    teacher.logits(x)  # gathers statistics
    z, gap = generator.listen(teacher, x, slice(None))
    assert torch.allclose(z, teacher.logits(x, training=False)[0], atol=1e-5)
    for _ in range(200):
        teacher.logits(x)
    settled = generator.listen(teacher, x, slice(None))[1]
    assert settled < 1e-2 < gap  # a batch lies close to statistics that are its own


def test_an_untrained_generator_draws_what_it_is_given():
    start = generator.random_drawings(64, np.random.default_rng(0))
    images, moved = generator.Generator(10)(start, torch.arange(64) % 10)
    assert images.shape == (64, *SHAPE) and (moved == 0).all()
    paper = torch.ones(28, 28, dtype=torch.bool)
    paper[3:-3, 3:-3] = False  # the box of 20 pixels in the middle, and a pixel over which ink fades
    assert images[:, 0, paper].max() < -0.9 and (images.amax((1, 2, 3)) > 0.5).all()
    assert torch.isclose(start[:, 1:24:2].amin(1), torch.tensor(-1.0)).all()  # as high as the box


def test_a_pen_draws_where_its_points_lie_and_feels_where_they_should_lie():
    """A vertical line is white in the middle columns alone; a picture's gradient in the points is that of differences."""
    hand, label = generator.Generator(1).double(), torch.zeros(1, dtype=torch.long)
    upright = torch.zeros(1, 26, dtype=torch.float64)
    upright[0, 1:24:2] = torch.linspace(-1, 1, 6, dtype=torch.float64).repeat(2)
    white = (hand(upright, label)[0][0, 0] > 0).nonzero()
    assert white[:, 0].unique().tolist() == list(range(4, 24)) and white[:, 1].unique().tolist() == [13, 14]
    start = generator.random_drawings(1, np.random.default_rng(1)).double().requires_grad_()
    weight = torch.randn(*SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    score = lambda x: (hand(x, label)[0] * weight).sum()  # noqa: E731
    (slope,) = torch.autograd.grad(score(start), start)
    for i in (4, 9, 24):
        nudge = torch.zeros_like(start).index_fill(1, torch.tensor([i]), 1e-6)
        difference = (score(start + nudge) - score(start - nudge)) / 2e-6
        assert torch.isclose(slope[0, i], difference, rtol=1e-3, atol=1e-3)
