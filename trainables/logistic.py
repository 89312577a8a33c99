"""Logistic regression between all pairs of classes, solved together.

For a pair of classes, y = -1 and +1, with n images between them, the weights w and the intercept b minimise

    f(w, b) = 1/n sum log(1 + exp(-y (x w + b))) + l2/2 |w|^2

which is scikit-learn's LogisticRegression with C = 1 / (n l2). Every class takes part in nine problems, so images are
kept by class and each product serves nine problems at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, softplus

from trainables.core import splits
from trainables.core.limits import above, checked, one_of
from trainables.core.pack import Pack

CLASSES, SIDE = 10, 28
PAIRS = list(combinations(range(CLASSES), 2))
FEATURES = ("pixels", "pooled", "pca")
GAP = 1e-6  # an objective is at most this far above its minimum
FLOOR = 1e-8  # the weakest penalty at which a separating hyperplane is looked for
HARDEST, SHOWN = 6, 24  # pairs whose misclassified digits are kept, and how many of each


@dataclass(frozen=True)
class Config:
    """One student: the 45 pairwise models of one penalty.

    features: pixels, pooled (2 x 2 means) or pca; constant ones are dropped and all are standardised. components: how
    many principal components pca keeps. l2 > 0: penalty on the mean loss of a pair. seed: which digits are held out.
    """

    features: Annotated[str, one_of(*FEATURES)]
    components: Annotated[int, above(0)]
    l2: Annotated[float, above(0)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)


class Problems:
    """P binary problems between classes that share their images.

    xs: images by class, (n_k, D) each, the last column 1 for the intercept; pairs: (P, 2) classes, y = -1 for the
    first and +1 for the second; l2: (P,). What depends on image and problem is a list over the classes of (n_k, P_k),
    P_k the problems that the class takes part in.
    """

    def __init__(self, xs: Sequence[Tensor], pairs: Tensor, l2: Tensor) -> None:
        self.xs, self.pairs, self.l2 = xs, pairs, l2
        counts = torch.tensor([len(x) for x in xs], dtype=l2.dtype, device=l2.device)
        self.n = counts[pairs].sum(1)  # (P,)
        self.takes_part = [(pairs == k).any(1).nonzero()[:, 0] for k in range(len(xs))]
        self.y = [torch.where(pairs[p, 1] == k, 1.0, -1.0).to(l2) for k, p in enumerate(self.takes_part)]
        self.penalty = l2[:, None].repeat(1, xs[0].shape[1])  # (P, D)
        self.penalty[:, -1] = 0

    def only(self, chosen: Tensor) -> Problems:
        return Problems(self.xs, self.pairs[chosen], self.l2[chosen])

    def thinned(self, stride: int) -> Problems:
        """The same of every so many images of each class."""
        return Problems([x[::stride].contiguous() for x in self.xs], self.pairs, self.l2)

    def rounded(self) -> Problems:
        """The same with images in bf16."""
        return Problems([x.bfloat16() for x in self.xs], self.pairs, self.l2)

    def margins(self, w: Tensor) -> list[Tensor]:
        """y (x w), (n_k, P_k) by class; w: (P, D)."""
        return [self._seen(x, w[p] * y[:, None]) for x, p, y in zip(self.xs, self.takes_part, self.y, strict=True)]

    def losses(self, m: Sequence[Tensor]) -> Tensor:
        """Mean log loss without the penalty, (P,)."""
        total = torch.zeros_like(self.n)
        for p, z in zip(self.takes_part, m, strict=True):
            total.index_add_(0, p, softplus(-z).sum(0))
        return total / self.n

    def objective(self, m: Sequence[Tensor], w: Tensor) -> Tensor:
        return self.losses(m) + (self.penalty * w * w).sum(1) / 2

    def gradient(self, m: Sequence[Tensor], w: Tensor) -> Tensor:
        """(P, D): l2 w - 1/n sum y sigmoid(-m) x."""
        residuals = [torch.sigmoid(-z) * -y for y, z in zip(self.y, m, strict=True)]
        return self._back(residuals) / self.n[:, None] + self.penalty * w

    def tolerance(self, gap: float) -> Tensor:
        """Norm of the gradient at which f is at most `gap` above its minimum, (P,), where the intercept is at its best:
        by strong convexity in the weights. Not below what rounding leaves of a gradient."""
        return (2 * gap * self.l2).sqrt().clamp(min=8 * torch.finfo(self.l2.dtype).eps)

    def curvature(self, m: Sequence[Tensor]) -> list[Tensor]:
        """Weight of each image in the Hessian, sigmoid(m) sigmoid(-m) / n, (n_k, P_k) by class."""
        wrong = [torch.sigmoid(-z) for z in m]
        return [q * (1 - q) / self.n[p] for q, p in zip(wrong, self.takes_part, strict=True)]

    def hessian_times(self, c: Sequence[Tensor], v: Tensor) -> Tensor:
        """(P, D) for v (P, D), without forming a Hessian."""
        inner = [self._seen(x, v[p]) * weight for x, p, weight in zip(self.xs, self.takes_part, c, strict=True)]
        return self._back(inner) + self.penalty * v

    def hessian(self, c: Sequence[Tensor], problem: int) -> Tensor:
        """X^T diag(c) X + l2 I of one problem, (D, D); the intercept has no penalty."""
        h = torch.diag(self.penalty[problem])
        for x, p, weight in zip(self.xs, self.takes_part, c, strict=True):
            for column in (p == problem).nonzero()[:, 0].tolist():
                rows = x * weight[:, column, None].sqrt()
                h.addmm_(rows.T, rows)
        return h

    def of(self, values: Sequence[Tensor], problem: int) -> tuple[Tensor, Tensor]:
        """What the two classes of a problem have, (n_first,) and (n_second,)."""
        first, second = (
            values[k][:, (self.takes_part[k] == problem).nonzero()[0, 0]] for k in self.pairs[problem].tolist()
        )
        return first, second

    def _back(self, values: Sequence[Tensor]) -> Tensor:
        """Sums over images, (P, D): x^T values of the two classes of each problem."""
        total = torch.zeros_like(self.penalty)
        for x, p, v in zip(self.xs, self.takes_part, values, strict=True):
            total.index_add_(0, p, (v.T.to(x.dtype) @ x).to(v.dtype))
        return total

    @staticmethod
    def _seen(x: Tensor, w: Tensor) -> Tensor:
        """x w^T in the precision of w, multiplied in that of x."""
        return (x @ w.T.to(x.dtype)).to(w.dtype)


def solve(problems: Problems, w: Tensor, gap: float = GAP, most: int = 100) -> tuple[Tensor, Tensor]:
    """The minimisers, (P, D), and the Newton steps that each took, (P,), from w (P, D).

    gap: how far above their minimum the objectives may end. L-BFGS goes as far as it quickly gets, from nothing on every
    eighth image first. Newton's method, whose steps are few and dear, does the rest for the problems that are left: each
    system is solved by conjugate gradients, preconditioned by an inverse Hessian of an earlier step. A problem that is
    done leaves the batch. What need not be exact is done with images rounded to bf16 where such products are fast.
    """
    moves: list[Move] = []
    fast = problems.rounded() if w.dtype == torch.float32 and multiplies_bf16(w.device) else problems
    if not w.any():
        w, _, moves = descend(fast.thinned(8), w, 10 * gap, moves)
    w, m, moves = descend(fast, w, gap, moves)
    if fast is not problems:
        w, m, _ = descend(problems, w, gap, moves, DESCENTS // 4)
    steps = torch.zeros(len(w), dtype=torch.long, device=w.device)
    active, inverse, rounds = torch.arange(len(w), device=w.device), None, 0
    part, v = problems, w.clone()
    for _ in range(most):
        g = part.gradient(m, v)
        tolerance = part.tolerance(gap)
        left = g.norm(dim=1) > tolerance
        if not left.any():
            break
        if not left.all():
            active, g, v, tolerance = active[left], g[left], v[left], tolerance[left]
            m = [z[:, left[p]] for z, p in zip(m, part.takes_part, strict=True)]
            part = problems.only(active)
            inverse = None if inverse is None else inverse[left]
        c = part.curvature(m)
        if inverse is None or rounds > REFRESH:
            inverse = preconditioner(part, c)
        direction, rounds = conjugate_gradients(fast.only(active), c, g, inverse, tolerance)
        length, m = line_search(part, m, c, v, direction, g)
        v, m = with_best_intercepts(part, v + length[:, None] * direction, m)
        w[active] = v
        steps[active] += 1
    return w, steps


def with_best_intercepts(problems: Problems, w: Tensor, m: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Weights (P, D) and margins after a Newton step in the intercepts alone, which needs no product with the images.

    What is left of the gradient is then that of min over b of f(w, b), a function as strongly convex as its penalty.
    """
    slope, bend = torch.zeros_like(problems.n), torch.zeros_like(problems.n)
    for p, y, z in zip(problems.takes_part, problems.y, m, strict=True):
        wrong = torch.sigmoid(-z)
        slope.index_add_(0, p, -y * wrong.sum(0))
        bend.index_add_(0, p, (wrong - wrong * wrong).sum(0))
    shift = (-slope / bend.clamp(min=torch.finfo(w.dtype).tiny)).clamp(-0.1, 0.1)
    w = torch.cat([w[:, :-1], w[:, -1:] + shift[:, None]], 1)
    return w, [z + shift[p] * y for z, p, y in zip(m, problems.takes_part, problems.y, strict=True)]


MEMORY, DESCENTS = 10, 40  # of L-BFGS: steps that it remembers, and takes at most
Move = tuple[Tensor, Tensor, Tensor]  # step s, change of the gradient y, 1 / (s y)


def descend(
    problems: Problems, w: Tensor, gap: float, moves: Sequence[Move], most: int = DESCENTS
) -> tuple[Tensor, list[Tensor], list[Move]]:
    """Weights (P, D) after at most so many steps of L-BFGS from w, each of two products with the images, their margins, and
    the last moves, which go on from those of similar problems.

    Liu & Nocedal 1989; Nocedal & Wright 2006, algorithm 7.4.
    """
    dot = lambda a, b: (a * b).sum(1, keepdim=True)  # noqa: E731
    inverse = lambda a: torch.where(a > 0, 1 / a, 0.0)  # noqa: E731
    tolerance, moves, m = problems.tolerance(gap), list(moves), problems.margins(w)
    g = problems.gradient(m, w)
    for _ in range(most):
        if (g.norm(dim=1) <= tolerance).all():
            break
        d, shares = -g, []
        for s, y, r in reversed(moves):
            shares.append(r * dot(s, d))
            d = d - shares[-1] * y
        if moves:
            s, y, _ = moves[-1]
            scale = dot(s, y) * inverse(dot(y, y))
            d = torch.where(scale > 0, scale, 1.0) * d
        for (s, y, r), share in zip(moves, reversed(shares), strict=True):
            d = d + (share - r * dot(y, d)) * s
        length, m = line_search(problems, m, problems.curvature(m), w, d, g)
        before = w, g
        w, m = with_best_intercepts(problems, w + length[:, None] * d, m)
        g = problems.gradient(m, w)
        s, y = w - before[0], g - before[1]
        moves = [*moves, (s, y, inverse(dot(s, y)))][-MEMORY:]
    return w, m, moves


REFRESH = 8  # more rounds of conjugate gradients than this cost more than a new preconditioner
MOST_ROUNDS = 16
FORGOTTEN = 1e-3  # images with less than this share of the largest curvature play no part in a preconditioner


def preconditioner(problems: Problems, c: Sequence[Tensor]) -> Tensor:
    """Inverse Hessians, (P, D, D): roughly, for only the speed of the solution depends on them."""
    size = problems.penalty.shape[1]
    inverse = problems.penalty.new_empty(len(problems.pairs), size, size)
    with fast_products():
        for problem, pair in enumerate(problems.pairs.tolist()):
            h = torch.diag(problems.penalty[problem])
            parts = problems.of(c, problem)
            least = FORGOTTEN * max(part.max() for part in parts)
            for k, part in zip(pair, parts, strict=True):
                seen = part > least
                rows = problems.xs[k][seen] * part[seen, None].sqrt()
                h.addmm_(rows.T, rows)
            inverse[problem] = _inverse(h)
    return inverse


def _inverse(h: Tensor) -> Tensor:
    """Of a positive semidefinite matrix, (D, D), its diagonal raised by as little as makes it definite in spite of rounding."""
    diagonal = h.diagonal()
    diagonal += 1e-6 * diagonal.mean()
    for share in (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1):
        diagonal *= 1 + share
        factor, trouble = torch.linalg.cholesky_ex(h)
        if not trouble:
            return torch.cholesky_inverse(factor)
    return torch.diag(1 / diagonal)  # nothing but NaN comes this far


def multiplies_bf16(device: torch.device) -> bool:
    """Whether products of bf16 are faster there than those of fp32: then `fast_products` takes them."""
    x = torch.full((64, 64), 1 + 2**-12, device=device)
    with fast_products():
        return device.type == "cuda" or bool((x @ x != 64 * x * x).any())


@contextmanager
def fast_products() -> Iterator[None]:
    """bf16 inputs with fp32 sums where the processor is faster so."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def conjugate_gradients(
    problems: Problems, c: Sequence[Tensor], g: Tensor, inverse: Tensor, tolerance: Tensor
) -> tuple[Tensor, int]:
    """Newton directions -H^-1 g, (P, D), to a residual that shrinks with g, and the rounds it took.

    Nocedal & Wright 2006, algorithms 5.3 and 7.1.
    """
    precondition = lambda r: torch.bmm(inverse, r[:, :, None])[:, :, 0]  # noqa: E731
    dot = lambda a, b: (a * b).sum(1)  # noqa: E731
    size = g.norm(dim=1)
    goal = torch.maximum(size * size.sqrt().clamp(0.01, 0.1), tolerance / 4)
    p, r = torch.zeros_like(g), -g
    z = precondition(r)
    d, rz = z, dot(r, z)
    rounds = 0
    while rounds < MOST_ROUNDS:
        rounds += 1
        live = r.norm(dim=1) > goal
        h = problems.hessian_times(c, d)
        a = torch.where(live, rz / dot(d, h), 0.0)[:, None]
        p, r = p + a * d, r - a * h
        if not (r.norm(dim=1) > goal).any():
            break
        z = precondition(r)
        before, rz = rz, dot(r, z)
        d = z + (rz / before)[:, None] * d
    return p, rounds


def line_search(
    problems: Problems, m: Sequence[Tensor], c: Sequence[Tensor], w: Tensor, direction: Tensor, g: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Step lengths, (P,), and the margins after the step: the minimum of the parabola along each direction, halved until
    Armijo's rule holds, with room for rounding. All lengths share one product with the images."""
    along = problems.margins(direction)
    before, slope = problems.objective(m, w), (g * direction).sum(1)
    bend = (problems.penalty * direction * direction).sum(1)
    for p, weight, u in zip(problems.takes_part, c, along, strict=True):
        bend.index_add_(0, p, (weight * u * u).sum(0))
    length = -slope / bend.clamp(min=torch.finfo(w.dtype).tiny)
    room = 4 * torch.finfo(w.dtype).eps * before.abs().clamp(min=1e-3)
    for _ in range(30):
        after = [z + length[p] * u for z, u, p in zip(m, along, problems.takes_part, strict=True)]
        short = problems.objective(after, w + length[:, None] * direction) > before + 1e-4 * length * slope + room
        if not short.any():
            break
        length = torch.where(short, length / 2, length)
    return length, after


def wald(problems: Problems, m: Sequence[Tensor], problem: int) -> Tensor:
    """Covariance of the estimated weights and intercept, (D, D) fp64: the inverse of n times the Hessian.

    With a penalty that is the posterior covariance of Laplace's approximation; see `sampling_errors`.
    """
    part = problems.only(torch.tensor([problem], device=problems.pairs.device))
    first, second = problems.of(m, problem)
    empty = first.new_empty
    margins = [empty(len(x), 0) for x in problems.xs]
    for k, values in zip(problems.pairs[problem].tolist(), (first, second), strict=True):
        margins[k] = values[:, None]
    h = part.hessian(part.curvature(margins), 0).double()
    return torch.cholesky_inverse(torch.linalg.cholesky(h)) / part.n.double()


def sampling_errors(covariance: Tensor, penalty: Tensor, n: Tensor) -> Tensor:
    """Standard deviations of the weights over data sets, (D,), of a Wald covariance C: those of C J C, J the Fisher
    information without the penalty, so C - C diag(n penalty) C. They belong to the weights that the penalty would give
    on endless data, and meet the Wald errors as the penalty vanishes. J is the model's own (the sandwich of Huber 1967 has
    the squared residuals), which is too large rather than too small where a penalty draws probabilities to 1/2."""
    shrunk = covariance.square() @ (n * penalty).double()
    return (covariance.diagonal() - shrunk).clamp(min=0).sqrt()


def certificate(problems: Problems, w: Tensor, m: Sequence[Tensor], problem: int) -> tuple[float, float]:
    """What a solution proves of the largest margin between the two classes, in units of the features: lower, upper.

    lower: the least margin of its own hyperplane; above 0 it separates the classes, and the maximum-likelihood weights
    are infinite. upper: half the distance of a point of either class's convex hull, weighted by sigmoid(-m): no
    hyperplane has a wider margin (the dual of the hard-margin SVM; Vapnik 1995).
    """
    parts = problems.of(m, problem)
    lower = min(part.min() for part in parts) / w[problem, :-1].norm()
    inside = []
    for k, part in zip(problems.pairs[problem].tolist(), parts, strict=True):
        share = torch.softmax(-softplus(part.double()), 0)  # proportional to sigmoid(-m)
        inside.append(share.to(w) @ problems.xs[k][:, :-1])
    return float(lower), float((inside[1] - inside[0]).norm() / 2)


@dataclass(frozen=True)
class View:
    """How images become features: x -> (x[kept] - mean) / deviation @ basis, all of them of unit variance.

    kept: (F,) positions that vary over the training digits; mean, deviation: (F,); basis: (F, D) or None.
    """

    pooled: bool
    kept: Tensor
    mean: Tensor
    deviation: Tensor
    basis: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """(N, 28, 28) uint8 to (N, D + 1), the last column 1 for the intercept."""
        x = (flat(images, self.pooled)[:, self.kept] - self.mean) / self.deviation
        x = x if self.basis is None else x @ self.basis
        return torch.cat([x, torch.ones_like(x[:, :1])], 1)


def flat(images: Tensor, pooled: bool) -> Tensor:
    """(N, 784) pixels in [0, 1], or (N, 196) means over 2 x 2 of them."""
    x = images.float() / 255
    return (avg_pool2d(x[:, None], 2) if pooled else x).flatten(1)


def view(config: Config, images: Tensor) -> View:
    """The view that the training images give. Principal components are those of the standardised pixels."""
    x = flat(images, config.features == "pooled")
    kept = (x.amax(0) > x.amin(0)).nonzero()[:, 0]
    x = x[:, kept]
    mean, deviation = x.mean(0), x.std(0, correction=0)
    if config.features != "pca":
        return View(config.features == "pooled", kept, mean, deviation)
    x = (x - mean) / deviation
    variance, basis = torch.linalg.eigh(x.T @ x / len(x))  # ascending
    variance, basis = variance.flip(0)[: config.components], basis.flip(1)[:, : config.components]
    return View(False, kept, mean, deviation, basis / variance.sqrt())


@dataclass(frozen=True)
class Artifact:
    """What students of one view share."""

    features: str
    components: int
    seed: int


Arrays = Mapping[str, np.ndarray]


class PairwiseLogistic(Pack):
    """Students of one view and seed, from the strongest penalty to the weakest, each from the last one's weights: a step is
    a penalty, after which all are measured; tables come with the last. datasets: {"mnist": its arrays}."""

    config_type = Config
    may_differ = frozenset({"l2"})
    KEPT = ("weights", "losses", "newton_steps")  # by a checkpoint

    @staticmethod
    def artifact(config: Config) -> Artifact:
        return Artifact(config.features, config.components, config.seed)

    @staticmethod
    def prepare(artifact: Artifact, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """Nothing that students need; the row describes the features for the table `features`.

        covariance: of the features before they are standardised, over the training digits, (F, F) float32 bytes; kept,
        mean, deviation: their positions on the grid of side `side` and their moments.
        """
        sets = PairwiseSplits(datasets["mnist"], device, artifact.seed)
        seen = view(Config(artifact.features, artifact.components, 1.0, artifact.seed), sets.images[sets.train])
        x = flat(sets.images[sets.train], seen.pooled)
        constant = x.shape[1] - len(seen.kept)
        x = x[:, seen.kept] - seen.mean
        means = torch.stack([x[sets.labels[sets.train] == k].mean(0) + seen.mean for k in range(CLASSES)])
        count = len(seen.kept) if seen.basis is None else seen.basis.shape[1]
        explained = 1.0 if seen.basis is None else float((1 / (seen.basis.norm(dim=0) ** 2)).sum() / len(seen.kept))
        row = {
            "features": artifact.features, "components": artifact.components, "seed": artifact.seed,
            "side": SIDE // 2 if seen.pooled else SIDE, "constant": constant, "count": count, "explained": explained,
            "digits": len(x), "kept": packed(seen.kept, np.int16), "deviation": packed(seen.deviation),
            "mean": packed(seen.mean), "class_means": packed(means), "covariance": packed(x.T @ x / len(x)),
        }  # fmt: skip
        return {}, row

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes: its weights and intervals."""
        return 3 * 4 * len(PAIRS) * (SIDE * SIDE + 1)

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, device)
        self.sets = PairwiseSplits(datasets["mnist"], self.device, self.common.seed)
        self.view = view(self.common, self.sets.images[self.sets.train])
        self.xs = self.sets.by_class(self.sets.train, self.view)
        size = (len(configs), len(PAIRS), self.xs[0].shape[1])
        self.weights = self.xs[0].new_zeros(size)
        self.losses = self.weights.new_zeros(len(configs))
        self.newton_steps = torch.zeros(size[:2], dtype=torch.long, device=self.device)

    @property
    def total_steps(self) -> int:
        return len(self.configs)

    def evaluations(self) -> list[int]:
        return list(range(1, self.total_steps + 1))

    def loss(self, step: int) -> Tensor:
        """Mean losses, (S,), once the penalty number `step` from the strongest is solved: the weaker ones start there."""
        order = self.column("l2").argsort(descending=True, stable=True).tolist()
        s = order[step]
        problems = self._problems(s)
        w, self.newton_steps[s] = solve(problems, self.weights[s])
        self.weights[order[step:]] = w
        self.losses[order[step:]] = problems.losses(problems.margins(w)).mean()
        return self.losses.clone()

    def update(self, loss: Tensor, rate: float) -> None:
        """Nothing: a loss is of weights that are solved for."""

    def measure(self) -> dict[str, Tensor]:
        found: dict[str, list[float]] = {}
        for w in self.weights:
            right, count = self.sets.right(self.sets.val, self.view, w)
            values = {"val_accuracy": float((right / count).mean())}
            if self.finished:
                right, count = self.sets.right(None, self.view, w)
                values |= {"test_accuracy": float((right / count).mean())}
                values |= {"worst_test_accuracy": float((right / count).min())}
                values |= {"vote_accuracy": self.sets.vote(self.view, w)}
            for name, value in values.items():
                found.setdefault(name, []).append(value)
        return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}

    def tables(self) -> list[dict[str, list[dict]]]:
        if not self.finished:
            return super().tables()
        found = [self._tables(*solved, steps) for solved, steps in zip(self._solved(), self.newton_steps, strict=True)]
        weakest = min(range(len(self.configs)), key=lambda s: self.configs[s].l2)
        found[weakest]["separability"] = separability(self._problems(weakest), self.weights[weakest])
        return found

    def _problems(self, s: int) -> Problems:
        l2 = self.weights.new_full((len(PAIRS),), self.configs[s].l2)
        return Problems(self.xs, torch.tensor(PAIRS, device=self.device), l2)

    def _solved(self) -> list[tuple[Problems, Tensor]]:
        return [(self._problems(s), w) for s, w in enumerate(self.weights)]

    def _rows(self, train_loss: Tensor) -> list[dict]:
        rows = super()._rows(train_loss)
        if self.finished:
            for row, (problems, w) in zip(rows, self._solved(), strict=True):
                g = problems.gradient(problems.margins(w), w)
                left = int((g.norm(dim=1) > 2 * problems.tolerance(GAP)).sum())  # twice: rounding
                if left:
                    row |= {"status": "failed", "error": f"{left} of the 45 problems did not converge"}
        return rows

    def _tables(self, problems: Problems, w: Tensor, steps: Tensor) -> dict[str, list[dict]]:
        """A student's lines of the further tables."""
        m = problems.margins(w)
        seen = {"objective": problems.objective(m, w), "train_loss": problems.losses(m)}
        seen |= {"gradient": problems.gradient(m, w).norm(dim=1), "newton_steps": steps, "digits": problems.n.long()}
        seen |= {"norm": w[:, :-1].norm(dim=1)}
        for split, part in (("val", self.sets.val), ("test", None)):
            right, count = self.sets.right(part, self.view, w)
            seen |= {f"{split}_accuracy": right / count, f"{split}_digits": count}
        columns = {name: values.tolist() for name, values in seen.items()}
        lines, weights = [], []
        hardest = seen["val_accuracy"].argsort(stable=True)[:HARDEST].tolist()
        correlations = []
        for i, (first, second) in enumerate(PAIRS):
            pair = {"first": first, "second": second}
            lower, upper = certificate(problems, w, m, i)
            lines.append({**pair, **{k: v[i] for k, v in columns.items()}, "margin": lower, "margin_bound": upper})
            covariance = wald(problems, m, i)
            error = covariance.diagonal().sqrt()
            sampling = sampling_errors(covariance, problems.penalty[i], problems.n[i])
            estimates = {"weight": w[i], "error": error, "sampling_error": sampling}
            weights.append({**pair, **{name: v.float().cpu().numpy() for name, v in estimates.items()}})
            if i in hardest[:1]:
                correlations.append({**pair, "correlation": packed(covariance / error / error[:, None], np.float16)})
        errors = [line for i in hardest for line in self.sets.errors(i, self.view, w)]
        return {"pairs": lines, "weights": weights, "weight_correlations": correlations, "errors": errors}

    def state_dict(self) -> dict:
        counts = {"done_steps": self.done_steps, "measured": self.measured, "seconds": self.seconds}
        return {**{name: getattr(self, name).clone() for name in self.KEPT}, **counts}

    def load_state_dict(self, state: dict) -> None:
        self.done_steps, self.measured, self.seconds = state["done_steps"], state["measured"], state["seconds"]
        for name in self.KEPT:
            getattr(self, name).copy_(state[name])


def separability(problems: Problems, w: Tensor) -> list[dict]:
    """Whether a hyperplane separates each pair's training digits: a line per pair with the certificate's two bounds.

    From the optimum given, weaker penalties are tried until the hyperplane separates or the penalty is FLOOR.
    """
    found: dict[int, dict] = {}
    active = torch.arange(len(w), device=w.device)
    while len(active):
        m = problems.margins(w)
        left = []
        for i, problem in enumerate(active.tolist()):
            lower, upper = certificate(problems, w, m, i)
            first, second = problems.pairs[i].tolist()
            found[problem] = {"first": first, "second": second, "at_l2": float(f"{problems.l2[i]:.6g}")}
            found[problem] |= {"margin": lower, "margin_bound": upper, "separable": lower > 0}
            if lower <= 0 and problems.l2[i] > 2 * FLOOR:
                left.append(i)
        active, w = active[left], w[left]
        problems = problems.only(torch.tensor(left, dtype=torch.long, device=w.device))
        problems = Problems(problems.xs, problems.pairs, problems.l2 / 10)
        if left:
            w, _ = solve(problems, w)
    return [found[i] for i in range(len(found))]


class PairwiseSplits(splits.Splits):
    """MNIST, the training digits split by the seed; and what 45 weight vectors make of them."""

    def by_class(self, index: Tensor, view: View) -> list[Tensor]:
        """Features by class, (n_k, D + 1) each."""
        x, labels = view(self.images[index]), self.labels[index]
        return [x[labels == k] for k in range(CLASSES)]

    def _scores(self, index: Tensor | None, view: View, w: Tensor) -> tuple[Tensor, Tensor]:
        """x w of every pair, (N, 45), on training digits or, without an index, on the test digits, and labels (N,)."""
        images, labels = (
            (self.test_images, self.test_labels) if index is None else (self.images[index], self.labels[index])
        )
        return view(images) @ w.T, labels

    def right(self, index: Tensor | None, view: View, w: Tensor) -> tuple[Tensor, Tensor]:
        """How many digits of its two classes each pair tells apart, and how many there are, (45,) each."""
        z, labels = self._scores(index, view, w)
        first, second = (torch.tensor(side, device=z.device) for side in zip(*PAIRS, strict=True))
        is_first, is_second = labels[:, None] == first, labels[:, None] == second  # (N, 45)
        right = (is_first & (z <= 0)) | (is_second & (z > 0))
        return right.sum(0), (is_first | is_second).sum(0)

    def vote(self, view: View, w: Tensor) -> float:
        """Test accuracy on ten classes where each of the 45 has a vote; ties go to the larger sum of probabilities."""
        z, labels = self._scores(None, view, w)
        p = torch.sigmoid(z)
        votes = z.new_zeros(len(z), CLASSES)
        for i, (first, second) in enumerate(PAIRS):
            votes[:, first] += (z[:, i] <= 0) + (1 - p[:, i]) / 100
            votes[:, second] += (z[:, i] > 0) + p[:, i] / 100
        return float((votes.argmax(1) == labels).float().mean())

    def errors(self, pair: int, view: View, w: Tensor) -> list[dict]:
        """The test digits that a pair gets most wrong: position, label, probability of the other class, pixels."""
        z, labels = self._scores(None, view, w[pair : pair + 1])
        first, second = PAIRS[pair]
        m = torch.where(labels == second, z[:, 0], -z[:, 0])
        m[(labels != first) & (labels != second)] = torch.inf
        worst = m.argsort()[: min(SHOWN, int((m < 0).sum()))]
        return [
            {
                "first": first, "second": second, "position": i, "label": int(labels[i]),
                "probability": float(torch.sigmoid(-m[i])), "image": self.test_images[i].cpu().numpy().tobytes(),
            }
            for i in worst.tolist()
        ]  # fmt: skip


def packed(values: Tensor, kind: type = np.float32) -> bytes:
    """An array as a table keeps it: its values in C order, little-endian."""
    return values.cpu().numpy().astype(kind).tobytes()
