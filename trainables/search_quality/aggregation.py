"""From what assessors said to the grades of documents: many worlds at once, none of which sees another.

All models read the same list of labels. A world has its own documents and its own assessors; their numbers run on over all worlds
(document i of world w is w N + i), so one sparse matrix holds thousands of worlds and nothing loops over them. No model is told
what is true, save of documents whose grade is `known`: gold tasks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit, ndtr

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]
TINY = 1e-10  # no probability is less: a logarithm is taken of it


@dataclass(frozen=True)
class Labels:
    """Who said what of which document, L labels in all.

    document, assessor: (L,) numbers that run on over all worlds; grade: (L,) from 0 to grades - 1. worlds, documents, assessors: how
    many worlds there are, and how many of each a world has.
    """

    document: Ints
    assessor: Ints
    grade: Ints
    worlds: int
    documents: int
    assessors: int
    grades: int

    def __add__(self, more: Labels) -> Labels:
        """These labels and more of the same worlds."""
        return replace(
            self,
            document=np.concatenate([self.document, more.document]),
            assessor=np.concatenate([self.assessor, more.assessor]),
            grade=np.concatenate([self.grade, more.grade]),
        )

    def votes(self) -> Floats:
        """How many assessors gave each grade, (worlds, documents, grades)."""
        cell = self.document * self.grades + self.grade
        count = np.bincount(cell, minlength=self.worlds * self.documents * self.grades)
        return count.reshape(self.worlds, self.documents, self.grades).astype(float)

    def matrix(self) -> csr_array:
        """1 where an assessor gave a document a grade, (all documents, all assessors x grades)."""
        shape = (self.worlds * self.documents, self.worlds * self.assessors * self.grades)
        said = self.assessor * self.grades + self.grade
        return csr_array((np.ones(len(said)), (self.document, said)), shape=shape)


@dataclass(frozen=True)
class Fit:
    """posterior: of each document's grade, (worlds, documents, grades). history: what the model raises from step to step, by world,
    (steps, worlds). trust: what it came to think of each assessor, (worlds, assessors, ...)."""

    posterior: Floats
    history: Floats
    trust: Floats


def normalised(joint: Floats) -> tuple[Floats, Floats]:
    """Probabilities (..., n) in the proportions of exp(joint), and the logarithm of what that sums to, (...). Column by column, which
    for few columns is several times faster than numpy's reduction of a last axis."""
    columns = range(joint.shape[-1])
    top = functools.reduce(np.maximum, (joint[..., k] for k in columns))
    share = np.exp(joint - top[..., None])
    total = functools.reduce(np.add, (share[..., k] for k in columns))
    share /= total[..., None]
    return share, top + np.log(total)


class Settling:
    """Worlds whose posterior, (all documents, grades), moved by less than the tolerance in a step keep what they had: what becomes of a
    world does not depend on those beside it."""

    def __init__(self, worlds: int, tolerance: float) -> None:
        self.moving, self.tolerance = np.ones(worlds, bool), tolerance

    def __call__(self, before: Floats, after: Floats) -> Floats:
        shape = (len(self.moving), -1, after.shape[-1])
        moved = np.abs(after - before).reshape(shape).max((1, 2))
        kept = np.where(self.moving[:, None, None], after.reshape(shape), before.reshape(shape))
        self.moving &= moved >= self.tolerance
        return kept.reshape(after.shape)


def majority(labels: Labels) -> Floats:
    """The shares of the votes, (worlds, documents, grades); all alike where nobody voted."""
    votes = labels.votes()
    total = votes.sum(-1, keepdims=True)
    return np.where(total > 0, votes / np.maximum(total, 1), 1 / labels.grades)


def dawid_skene(labels: Labels, most: int = 50, tolerance: float = 1e-3) -> Fit:
    """Each assessor has a confusion matrix P(says l | is k); EM from the majority's shares; maximum likelihood, no prior.

    trust: the confusion matrices, (worlds, assessors, l, k). history: log likelihood.
    Dawid & Skene 1979, Appl. Statist. 28:20-28
    """
    W, N, A, K = labels.worlds, labels.documents, labels.assessors, labels.grades
    said = labels.matrix()
    heard = said.T.tocsr()
    posterior, history, settle = majority(labels).reshape(W * N, K), [], Settling(W, tolerance)
    for _ in range(most):
        share = posterior.reshape(W, N, K).mean(1)
        counts = np.maximum((heard @ posterior).reshape(W, A, K, K), TINY)  # (W, A, l, k)
        confusion = counts / counts.sum(2, keepdims=True)
        joint = (said @ np.log(confusion).reshape(-1, K)).reshape(W, N, K) + np.log(np.maximum(share, TINY))[:, None]
        new, evidence = normalised(joint.reshape(W * N, K))
        posterior = settle(posterior, new)
        history.append(evidence.reshape(W, N).sum(1))
        if not settle.moving.any():
            break
    return Fit(posterior.reshape(W, N, K), np.array(history), confusion)


def glad(labels: Labels, most: int = 40, tolerance: float = 1e-3, inner: int = 1) -> Fit:
    """An assessor of ability a grades a document of difficulty 1 / e^b rightly with probability sigmoid(a e^b), and else says any of
    the other grades; a and b have normal priors N(1, 1), grades a uniform one. Generalised EM: no step lowers the posterior density.

    trust: the abilities, (worlds, assessors). history: log posterior density. `inner`: steps of a and of b in an M step.
    Whitehill et al. 2009, NeurIPS 22, sections 2-3
    """
    W, N, A, K = labels.worlds, labels.documents, labels.assessors, labels.grades
    d, s = labels.document, labels.assessor
    a, b = np.ones(W * A), np.ones(W * N)
    posterior, history, settle = np.zeros((W * N, K)), [], Settling(W, tolerance)

    def over(index: Ints, values: Floats, size: int) -> Floats:
        return np.asarray(np.bincount(index, values, size), float)

    def log_sigmoid(x: Floats) -> Floats:
        return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))

    def of_documents(b: Floats, right: Floats) -> Floats:
        """What the M step raises, by document, up to what does not depend on b."""
        x = a[s] * np.exp(b[d])
        return over(d, log_sigmoid(x) - (1 - right) * x, W * N) - (b - 1) ** 2 / 2

    for _ in range(most):
        x = a[s] * np.exp(b[d])
        wrong = log_sigmoid(-x) - np.log(K - 1)
        said = over(d * K + labels.grade, x + np.log(K - 1), W * N * K).reshape(W * N, K)
        new, evidence = normalised(over(d, wrong, W * N)[:, None] + said)
        posterior = settle(posterior, new)
        prior = -((a.reshape(W, A) - 1) ** 2).sum(1) / 2 - ((b.reshape(W, N) - 1) ** 2).sum(1) / 2
        history.append((evidence - np.log(K)).reshape(W, N).sum(1) + prior)
        if not settle.moving.any():
            break
        right = posterior[d, labels.grade]
        for _ in range(inner):
            e = np.exp(b[d])
            slope = over(s, (right - expit(a[s] * e)) * e, W * A) - (a - 1)
            a = a + slope / (
                over(s, e * e, W * A) / 4 + 1
            )  # the curvature of log sigmoid is at most 1/4: never too far
            x = a[s] * e
            p = expit(x)
            slope = over(d, (right - p) * x, W * N) - (b - 1)
            bend = over(d, p * (1 - p) * x * x + np.abs((right - p) * x), W * N) + 1
            stride, now = np.clip(slope / bend, -1, 1), of_documents(b, right)
            for part in (0.5, 0.5, 0):  # documents do not share a b: each shortens its own step until it gains
                falls = of_documents(b + stride, right) < now
                if not falls.any():
                    break
                stride = np.where(falls, part * stride, stride)
            b = b + stride
    return Fit(posterior.reshape(W, N, K), np.array(history), a.reshape(W, A))


BIASES = (-1.2, -0.6, 0.0, 0.6, 1.2)  # in grades
NOISES = (0.3, 0.6, 1.0, 1.8)  # in grades
SLIP = 0.02  # of all that is said is said by mistake, by whatever type
COUNT = 3.0  # so many assessors are thought to have been seen before, in the shares of `expected`


def types(grades: int) -> Floats:
    """P(says l | is k) of each type that an assessor may be of, (types, l, k): readers with a bias and a noise, in grades, who round what
    they see to the nearest grade; those who always say one grade; and those who say anything.

    A guess about people, made before any label is seen. It is no fit to the simulated assessors, but it is of the same family.
    """
    edges = np.arange(grades - 1) + 0.5
    kinds = []
    for bias in BIASES:
        for noise in NOISES:
            below = ndtr((edges[:, None] - np.arange(grades) - bias) / noise)  # (l, k)
            kinds.append(np.diff(below, axis=0, prepend=0, append=1))
    kinds += [np.repeat(np.eye(grades)[:, [only]], grades, axis=1) for only in range(grades)]
    kinds.append(np.full((grades, grades), 1 / grades))
    return (1 - SLIP) * np.stack(kinds) + SLIP / grades


def expected(grades: int) -> Floats:
    """The shares of the types before anything is known, (types,): four in five assessors read, most of them with little bias and noise."""
    readers = np.exp(-np.square(BIASES)[:, None] / 2 - np.array(NOISES)).ravel()
    return np.concatenate([0.8 * readers / readers.sum(), np.full(grades + 1, 0.2 / (grades + 1))])


def typed(labels: Labels, known: Ints | None = None, most: int = 40, tolerance: float = 1e-3) -> Fit:
    """Bayesian trust: each assessor is of one of `types`, of which is inferred together with the grades, by mean-field variational
    Bayes from the `expected` shares; shares of types and of grades are estimated by world.

    The first step hears no one's record: all are trusted as `expected`. known: (worlds, documents) true grades of gold documents, -1
    elsewhere. trust: P(type), (worlds, assessors, types). history: the lower bound of the
    evidence.     Bayesian classifier combination: Kim & Ghahramani 2012, AISTATS; types of workers: Venanzi et al. 2014, WWW
    """
    W, N, A, K = labels.worlds, labels.documents, labels.assessors, labels.grades
    said, kinds = labels.matrix(), np.log(types(K))
    heard, T = said.T.tocsr(), len(kinds)
    flat, guess = kinds.reshape(T, K * K), COUNT * expected(K)
    posterior = np.zeros((W * N, K))  # at first nothing is heard
    gold = np.zeros(W * N, bool) if known is None else known.ravel() >= 0
    truth = np.eye(K)[np.zeros(0, int) if known is None else known.ravel()[gold]]
    settle = Settling(W, tolerance)
    share, mix, history = np.full((W, K), -np.log(K)), np.repeat(np.log(guess / COUNT)[None], W, 0), []
    for _ in range(most):
        seen = (heard @ posterior).reshape(W * A, K * K) @ flat.T
        trust, _ = normalised(seen.reshape(W, A, T) + mix[:, None])
        says = (trust.reshape(W * A, T) @ flat).reshape(W * A * K, K)
        joint = said @ says + np.repeat(share, N, axis=0)
        new, _ = normalised(joint)
        new[gold] = truth
        posterior = settle(posterior, new)
        bound = (posterior * (joint - np.log(np.maximum(posterior, TINY)))).sum(-1).reshape(W, N).sum(1)
        bound += (trust * (mix[:, None] - np.log(np.maximum(trust, TINY)))).sum((1, 2))
        history.append(bound + 0.5 * share.sum(-1) + mix @ guess)
        mix, share = trust.sum(1) + guess, posterior.reshape(W, N, K).sum(1) + 0.5
        mix, share = (np.log(counts / counts.sum(-1, keepdims=True)) for counts in (mix, share))
        if not settle.moving.any():
            break
    return Fit(posterior.reshape(W, N, K), np.array(history), trust)


def reliability(trust: Floats, grades: int) -> Floats:
    """Chance that an assessor of these probabilities of types grades rightly, if all grades were as frequent, (worlds, assessors)."""
    return trust @ np.trace(types(grades), axis1=1, axis2=2) / grades


def bradley_terry(
    wins: Floats, mean: Floats | float = 0.0, precision: Floats | float = 1e-6, start: Floats | None = None, most: int = 50,
    tolerance: float = 1e-6,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Scores s, (groups, n), of which P(i beats j) = sigmoid(s_i - s_j), and their standard deviations.

    wins: (groups, n, n), how often i beat j, fractions allowed. mean, precision: of a normal prior of each score; the default leaves
    all to the comparisons, and centres the scores. Newton's method on a concave function, a step of at most 1.
    Bradley & Terry 1952, Biometrika 39:324-345
    """
    s = np.zeros(wins.shape[:2]) if start is None else start.copy()
    n, prior = wins + wins.swapaxes(1, 2), np.broadcast_to(precision, s.shape)
    eye = np.eye(s.shape[1])
    for _ in range(most):
        p = expit(s[:, :, None] - s[:, None])
        slope = (wins - n * p).sum(2) - prior * (s - mean)
        c = n * p * (1 - p)
        bend = (c.sum(2) + prior)[:, :, None] * eye - c
        move = np.linalg.solve(bend, slope[..., None])[..., 0]
        move /= np.maximum(np.abs(move).max(1, keepdims=True), 1)
        s = s + move
        if np.abs(move).max() < tolerance:
            break
    return s, np.sqrt(np.diagonal(np.linalg.inv(bend), axis1=1, axis2=2))


def krippendorff(votes: Floats) -> Floats:
    """Agreement beyond chance of assessors on ordinal grades, Krippendorff's alpha, (worlds,); NaN where no document has two labels or
    all labels are alike.

    votes: (worlds, documents, grades). Documents with one label do not count.
    Krippendorff 2011, Computing Krippendorff's alpha-reliability, section E
    """
    K, many = votes.shape[-1], votes.sum(-1, keepdims=True)
    paired = np.where(many > 1, votes, 0)
    weighted = paired / np.maximum(many - 1, 1)
    together = np.swapaxes(weighted, 1, 2) @ paired - weighted.sum(1)[..., None] * np.eye(K)  # (W, c, k)
    n = paired.sum(1)  # (W, K)
    upto = np.cumsum(n, -1)
    far = (
        np.abs(upto[:, None] - n[:, None] / 2 - upto[..., None] + n[..., None] / 2) ** 2
    )  # sum of n from c to k, ends half
    observed, total = (together * far).sum((1, 2)), n.sum(-1)
    chance = (n[:, :, None] * n[:, None] * far).sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance > 0, 1 - (total - 1) * observed / chance, np.nan)
