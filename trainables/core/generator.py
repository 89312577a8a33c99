"""Images made for teachers whose own data are gone, by a network that is trained against them.

A conditional generator in the manner of DAFL (Chen et al. 2019, arXiv 1904.01186: one-hot answers, balanced classes) and
ZSKT (Micaelli, Storkey 2019, arXiv 1905.09768: against a student that learns along), with the teachers' batch-norm
statistics as in DeepInversion (Yin et al. 2020, arXiv 1912.08795). Several teachers: each class belongs to one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.core.augment import written_otherwise
from trainables.core.nets import Conv
from trainables.core.population import Population
from trainables.core.schedules import warmup_linear

SIDE, LATENT, LR = 28, 64, 2e-3
MARGIN, BLACK = 2, -2.0  # what MNIST leaves free round its digits, in cells of two pixels; a field that is black
WARM = 0.3  # share of the training after which what is made is kept


class Generator(nn.Module):
    """(noise (B, 64), class (B,)) -> a field (B, 1, 14, 14), whose tanh is how white each place is.

    Its prior: half of the resolution, enlarged smoothly; a black margin; and that things may be written otherwise.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.start = nn.Sequential(
            nn.Linear(LATENT + classes, 48 * 7 * 7, bias=False), nn.BatchNorm1d(48 * 7 * 7), nn.ReLU()
        )
        self.grow = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(48, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        code = torch.cat([noise, F.one_hot(label, self.classes)], 1)
        field = self.grow(self.start(code).view(-1, 48, 7, 7))
        return F.pad(field[..., MARGIN:-MARGIN, MARGIN:-MARGIN], [MARGIN] * 4, value=BLACK)


def listen(teacher: Population, x: Tensor, own: slice) -> tuple[Tensor, Tensor]:
    """Logits (B, C) of a population's only network, and how far the batch statistics of x[own] lie from those that its
    batch normalisations have gathered: mean over channels of ((m - M) / S)^2 + (s / S - 1)^2, summed over layers."""
    params, statistics = (p.detach()[0] for p in teacher.parameters), (s[0] for s in teacher.statistics)
    h, gap = x, x.new_zeros(())
    for i, layer in enumerate(teacher.layers):
        w, b = next(params), next(params)
        if isinstance(layer, Conv):
            h = F.conv2d(h, w.permute(0, 3, 1, 2), b, stride=layer.stride, padding=layer.kernel // 2)
            if layer.norm:
                mean, var = next(statistics), next(statistics)
                seen_var, seen_mean = torch.var_mean(h[own], dim=(0, 2, 3))
                gap = gap + ((seen_mean - mean) ** 2 / var + ((seen_var / var).sqrt() - 1) ** 2).mean()
                h = F.batch_norm(h, mean, var, next(params), next(params))
            h = F.relu(F.max_pool2d(h, layer.pool) if layer.pool > 1 else h)
        else:
            h = (h.permute(0, 2, 3, 1).flatten(1) if h.dim() == 4 else h.flatten(1)) @ w + b
            h = F.relu(h) if i + 1 < len(teacher.layers) else h
    return h, gap


def pool(
    teachers: Sequence[Population], student: Population, count: int, batch: int, steps: int, seed: int,
    statistics: float = 5.0, adversary: float = 0.5, variety: float = 10.0,
) -> np.ndarray:  # fmt: skip
    """`count` images (count, 28, 28) uint8 of a generator while it learns, from WARM of its training on.

    teachers: each one network with C classes, on its device; student: one network with all classes of all teachers, which
    learns along and is then forgotten. The generator's loss is
    CE(class, softmax over all teachers' logits) + statistics * gap to each teacher's statistics, by its own classes
    - adversary * KL(teachers || student) - variety * the mean difference of neighbours in the batch, mostly of one class,
    the last two up to a limit.
    """
    device, classes = teachers[0].device, student.parameters[-1].shape[-1]
    each = classes // len(teachers)
    g = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(classes).to(device)
    adam = torch.optim.Adam(generator.parameters(), lr=LR, betas=(0.5, 0.999), fused=True)
    labels = torch.arange(batch).mul(classes).div(batch, rounding_mode="floor").to(device)  # as many of each, in order
    owner = labels // each
    parts = [slice(int((owner < k).sum()), int((owner <= k).sum())) for k in range(len(teachers))]
    kept: list[Tensor] = []
    for step in range(steps):
        field = generator(torch.randn(batch, LATENT, generator=g).to(device), labels)
        apart = (field[1:].tanh() - field[:-1].tanh()).abs().mean((1, 2, 3)).clamp(max=0.3).mean()
        x = written_otherwise(field, g, SIDE, "bicubic").tanh()
        heard = [listen(teacher, x, part) for teacher, part in zip(teachers, parts, strict=True)]
        log_p = F.log_softmax(torch.cat([logits for logits, _ in heard], 1), 1)
        doubt = (log_p.exp() * (log_p - F.log_softmax(student.logits(x)[0], 1))).sum(1).mean().clamp(max=2)
        gaps = torch.stack([gap for _, gap in heard]).sum()
        loss = F.nll_loss(log_p, labels) + statistics * gaps - adversary * doubt - variety * apart
        adam.param_groups[0]["lr"] = LR * warmup_linear(step / steps)
        weights = list(generator.parameters())
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        adam.step()
        still, log_p = x.detach(), log_p.detach()
        student.step((log_p.exp() * (log_p - F.log_softmax(student.logits(still), -1))).sum(-1).mean(-1))
        if step >= WARM * steps:
            kept.append(still[:, 0].add(1).mul(127.5).round().byte().cpu())
    order = torch.randperm(sum(map(len, kept)), generator=g)[:count]
    return torch.cat(kept)[order].numpy()
