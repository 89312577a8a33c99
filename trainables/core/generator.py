"""Images made for teachers whose own data are gone, by a network that is trained against them.

A conditional generator in the manner of DAFL (Chen et al. 2019, arXiv 1904.01186: one-hot answers, balanced classes) and
ZSKT (Micaelli, Storkey 2019, arXiv 1905.09768: against a student that learns along), with the teachers' batch-norm
statistics as in DeepInversion (Yin et al. 2020, arXiv 1912.08795). Several teachers: each class belongs to one of them.
It holds a pen: what it makes are points, and a picture is the lines through them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.core import pools
from trainables.core.augment import written_otherwise
from trainables.core.losses import log_odds
from trainables.core.nets import Conv, Linear, summary
from trainables.core.pools import INK, SIDE, WIDTH, curve
from trainables.core.population import Population
from trainables.core.schedules import warmup_linear

LR, UNITS = 2e-3, 256
POINTS, PIECES = 6, 5  # points of a stroke; straight pieces from one to the next
EDGE = 0.3  # pixels over which ink fades into paper
SURE = 0.2  # nats: a class that is seen as clearly as this is clear enough
STATISTICS, ADVERSARY, NEARNESS, DOUBT = 4.0, 0.5, 0.3, 2.0  # weights of the loss; nats of doubt that are enough
METHOD = (  # what reports say of `pool`
    "It moves the points of random drawings of one or two strokes, at first by nothing, and draws them. Loss, mean "
    f"over the batch: max(-log q_class, {SURE:g}) + {STATISTICS:g} x gap - {ADVERSARY:g} min(KL(q || student), "
    f"{DOUBT:g}) + {NEARNESS:g} x mean square move; q: the answers of all teachers together, gap: how far the batch's "
    "means and deviations lie from the running ones of the teachers' batch normalisation. Adam (beta 0.5 and 0.999), "
    f"peak rate {LR:g}, the students' schedule. The student, which learns along by KL(q || student), has Adam, "
    f"constant rate {LR:g}."
)


class Generator(nn.Module):
    """(random drawings (B, 26), class (B,)) -> drawings (B, 26), then drawn: (B, 1, 28, 28) in [-1, 1].

    A drawing: 2 strokes of 6 points in [-1, 1]^2, a width, and whether the second stroke is there. The network moves the
    points and changes the width; it begins by leaving all as it is, so that what it makes is as diverse as what it is given.
    Its prior: lines of one width and of even brightness, in a box of 20 pixels in the middle.
    """

    line: Tensor
    paper: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        numbers = 4 * POINTS + 1
        first, second = nn.Linear(numbers + 1 + classes, UNITS), nn.Linear(UNITS, UNITS)
        move = nn.Linear(UNITS, numbers)
        nn.init.zeros_(move.weight)
        nn.init.zeros_(move.bias)
        self.hand = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), move)
        line = torch.from_numpy(curve(np.eye(POINTS), PIECES)).float()
        self.register_buffer("line", line)  # (dots, points): a smooth line is linear in its points
        middle = torch.arange(SIDE) - (SIDE - 1) / 2
        self.register_buffer("paper", torch.cartesian_prod(middle, middle).flip(1))  # (784, 2): x, y of every pixel

    def forward(self, start: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Images, and how far each drawing was moved, (B,): the mean square over its numbers."""
        move = self.hand(torch.cat([start, F.one_hot(label, self.classes)], 1))
        drawing = start[:, :-1] + move
        dots = self.line @ drawing[:, :-1].view(len(start), 2, POINTS, 2)  # (B, 2, dots, 2)
        second = torch.where(start[:, -1, None, None] > 0, dots[:, 1], dots[:, 0])
        return self.draw(torch.cat([dots[:, 0], second], 1), drawing[:, -1]), move.square().mean(1)

    def draw(self, dots: Tensor, width: Tensor) -> Tensor:
        """White lines on black, fitted into the box. dots: (B, D, 2), one stroke after the other; width: (B,), in [-1, 1]."""
        width = (WIDTH[0] + (WIDTH[1] - WIDTH[0]) * (width.clamp(-1.2, 1.2) + 1) / 2)[:, None, None]  # in pixels
        low, high = dots.amin(1, keepdim=True), dots.amax(1, keepdim=True)
        scale = (INK - width) / (high - low).amax(-1, keepdim=True).clamp(min=0.1)
        dots = (dots - (low + high) / 2) * scale
        with torch.no_grad():  # the nearest dot of each pixel, by |d|^2 - 2 d.p
            nearest = torch.baddbmm(
                dots.square().sum(-1)[:, None], self.paper.expand(len(dots), -1, -1), dots.mT, alpha=-2
            )
            nearest = nearest.argmin(-1)
            place = nearest % len(self.line)
            before, after = nearest - (place > 0).long(), nearest + (place + 1 < len(self.line)).long()
        pick = lambda places: dots.gather(1, places[..., None].expand(-1, -1, 2))  # noqa: E731
        at = pick(nearest)  # (B, 784, 2)
        distance = torch.minimum(self.off_line(at, pick(before)), self.off_line(at, pick(after)))
        ink = torch.sigmoid((width[..., 0] / 2 - distance) / EDGE)
        return ink.mul(2).sub(1).view(-1, 1, SIDE, SIDE)

    def off_line(self, a: Tensor, b: Tensor) -> Tensor:
        """How far each pixel lies from the straight line between two places of its own, all (B, 784, 2)."""
        along, out = b - a, self.paper - a
        share = ((along * out).sum(-1) / along.square().sum(-1).clamp(min=1e-6)).clamp(0, 1)
        return ((out - share[..., None] * along).square().sum(-1) + 1e-4).sqrt()


def described(classes: int) -> str:
    """The layers of a `Generator`; what it moves is then drawn without parameters."""
    numbers = 4 * POINTS + 1
    return summary((Linear(UNITS), Linear(UNITS), Linear(numbers)), (numbers + 1 + classes,))


def random_drawings(count: int, rng: np.random.Generator) -> Tensor:
    """What a generator starts from, (count, 26): the drawings of `pools.strokes`, each stroke by 6 points along it."""
    strokes = np.empty((2 * count, POINTS, 2))
    numbers = rng.integers(*pools.POINTS, 2 * count)
    for n in range(*pools.POINTS):
        rows = np.flatnonzero(numbers == n)
        along = pools.curve(np.eye(n), POINTS - 1)[:: n - 1]  # (6, n)
        strokes[rows] = along @ pools.points(rng, len(rows), n)
    pairs, second = strokes.reshape(count, 2, POINTS, 2), rng.random(count) < pools.TWO
    pairs[:, 1] = np.where(second[:, None, None], pairs[:, 1], pairs[:, 0])
    low, high = pairs.min((1, 2), keepdims=True), pairs.max((1, 2), keepdims=True)
    box = np.stack([rng.uniform(*pools.SLIMNESS, count), np.ones(count)], 1)[:, None, None]
    pairs = (2 * (pairs - low) / (high - low) - 1) * box
    width = rng.uniform(-1, 1, count)
    return torch.from_numpy(np.column_stack([pairs.reshape(count, -1), width, second])).float()


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
    statistics: float = STATISTICS, adversary: float = ADVERSARY, nearness: float = NEARNESS,
) -> np.ndarray:  # fmt: skip
    """`count` images (count, 28, 28) uint8 of a generator while it learns.

    teachers: each one network with C classes, on its device; student: one network with all classes of all teachers, which
    learns along and is then forgotten. The teachers answer together as q = [v_1 p_1, v_2 p_2], v_k in proportion to the odds
    of teacher k's first answer. The generator's loss is
    max(-log q_class, SURE) + statistics * gap to each teacher's statistics, by its own classes
    - adversary * KL(q || student), up to a limit, + nearness * how far the random drawings are moved.
    """
    device, classes = teachers[0].device, student.parameters[-1].shape[-1]
    each = classes // len(teachers)
    g, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(classes).to(device)
    weights = list(generator.parameters())
    adam = torch.optim.Adam(weights, lr=LR, betas=(0.5, 0.999), fused=True)
    labels = torch.arange(batch).mul(classes).div(batch, rounding_mode="floor").to(device)  # as many of each, in order
    owner = labels // each
    parts = [slice(int((owner < k).sum()), int((owner <= k).sum())) for k in range(len(teachers))]
    kept = torch.empty(steps, batch, SIDE, SIDE, dtype=torch.uint8)
    for step in range(steps):
        drawn, moved = generator(random_drawings(batch, rng).to(device), labels)
        x = written_otherwise(drawn, g, SIDE)
        heard = [listen(teacher, x, part) for teacher, part in zip(teachers, parts, strict=True)]
        odds = F.log_softmax(torch.stack([log_odds(logits) for logits, _ in heard], 1), 1)  # (B, teachers)
        log_q = torch.cat(
            [v[:, None] + F.log_softmax(z, 1) for v, (z, _) in zip(odds.unbind(1), heard, strict=True)], 1
        )
        doubt = (log_q.exp() * (log_q - F.log_softmax(student.logits(x)[0], 1))).sum(1).mean().clamp(max=DOUBT)
        gaps = torch.stack([gap for _, gap in heard]).sum()
        seen = F.nll_loss(log_q, labels, reduction="none").clamp(min=SURE).mean()
        loss = seen + statistics * gaps - adversary * doubt + nearness * moved.mean()
        adam.param_groups[0]["lr"] = LR * warmup_linear(step / steps)
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        adam.step()
        log_q = log_q.detach()
        student.step((log_q.exp() * (log_q - F.log_softmax(student.logits(x.detach()), -1))).sum(-1).mean(-1))
        kept[step] = drawn.detach()[:, 0].add(1).mul(127.5).round().byte().cpu()
    order = torch.randperm(steps * batch, generator=g)[:count]
    return kept.flatten(0, 1)[order].numpy()
