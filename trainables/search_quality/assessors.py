"""Assessors who are not all good, the labels that they give, and ways to spend a budget on them.

A world is a crew of assessors before the results of some queries. Its truth, its people and all luck are drawn with it, by a seed, so
what a method does there is a function of the world: the same labels asked twice are the same labels, and two methods that ask the same
person about the same document hear the same. Worlds 2j and 2j + 1 have the same documents and two crews: what both say alike is what
labels are worth without a truth.

A method is told a world, a budget and what share of it goes into its own device; it may ask for grades and comparisons, each at
the price of one label, and never reads the truth, save of gold documents. Gold documents come with their true grades at no cost, as of
experts who made them once for many jobs; the answers of assessors to them cost as any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.search_quality.aggregation import (
    Floats,
    Ints,
    Labels,
    bradley_terry,
    dawid_skene,
    glad,
    krippendorff,
    majority,
    reliability,
    typed,
)
from trainables.search_quality.metrics import ndcg

GRADES = 4
ASSESSORS = 15  # of a world, and the most labels that a document can have
CUTS = np.array([-0.13, 0.58, 1.28])
"""Where grades 1, 2, 3 begin on the scale of relevance, N(0, 1) over documents: shares of .45, .27, .18, .10."""
FAULTS = ("careless", "biased", "lazy", "drifting", "spammer")
CREWS = ("mixed", *FAULTS)
ENGINES = (0.5, 0.7, 0.9, 1.1, 1.3, 1.5)  # the noise with which each of six search engines sees relevance


@dataclass(frozen=True)
class Crew:
    """How worlds are drawn. bad_share: of the assessors, to the nearest person; fault: theirs, or "mixed", each one of FAULTS by chance.

    queries, documents: results judged are queries x documents per query. assessors: of each world.
    """

    bad_share: float
    fault: str = "mixed"
    queries: int = 10
    documents: int = 10
    assessors: int = ASSESSORS

    @property
    def items(self) -> int:
        return self.queries * self.documents


@dataclass(frozen=True)
class World:
    """W worlds of N documents and A assessors; all arrays lead with W.

    relevance, truth: (W, N) what a document is, on a scale and in grades; query q has documents q n to q n + n - 1. lists: (W, engines,
    queries, n) which document of the query each search engine shows at each place. Of assessors (W, A): noise and bias of what they see, drift of
    the bias and growth of the noise over the session (0 to 1), lazy: how often they say `default` (of two documents: the first
    shown) unseen; spam: 0 no, 1 says anything, 2 says `default` always. The rest is luck: queue (W, N, A) in what order assessors would
    be asked about a document, turn (W, N) in what order documents are served, seen, slip, anything (W, N, A) of each grade; tie
    (W, N, K); pair_* (W, rounds, N / 2) of comparisons; gold_* as the above for gold documents, G of them.
    """

    crew: Crew
    relevance: Floats
    truth: Ints
    lists: Ints
    noise: Floats
    bias: Floats
    drift: Floats
    tiring: Floats
    lazy: Floats
    default: Ints
    spam: Ints
    queue: Ints
    turn: Ints
    seen: NDArray
    slip: NDArray
    anything: Ints
    tie: NDArray
    gold_relevance: Floats
    gold_truth: Ints
    gold_seen: NDArray
    gold_slip: NDArray
    gold_anything: Ints
    pair_assessor: Ints
    pair_seen: NDArray
    pair_slip: NDArray
    pair_first: NDArray
    pair_order: NDArray

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, index: Any) -> World:
        """Some of the worlds."""
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "crew"}
        return replace(self, **arrays)

    def grade(self, w: Ints, document: Ints, assessor: Ints, time: Floats, gold: bool = False) -> Ints:
        """What assessors say of documents at a time of the session, 0 to 1; all arguments of one shape, w: which world."""
        prefix = "gold_" if gold else ""
        relevance, seen, slip, anything = (
            getattr(self, prefix + name) for name in ("relevance", "seen", "slip", "anything")
        )
        who, what = (w, assessor), (w, document, assessor)
        noise = self.noise[who] * (1 + self.tiring[who] * time)
        looks = relevance[w, document] + self.bias[who] + self.drift[who] * time + noise * seen[what]
        said = np.searchsorted(CUTS, looks, side="right")
        default = (self.spam[who] == 2) | (slip[what] < self.lazy[who])
        said = np.where(default, self.default[who], said)
        return np.where(self.spam[who] == 1, anything[what], said)

    def compare(self, rounds: int, one: Ints, other: Ints, time: float) -> NDArray[np.bool_]:
        """Whether `one` is called the better of two documents of a query, in a round of N / 2 comparisons; (W, N / 2).

        An assessor's bias acts on both documents alike and plays no part; each is seen with the noise of a grade.
        """
        w = np.arange(len(self))[:, None]
        who = (w, self.pair_assessor[:, rounds])
        noise = np.sqrt(2) * self.noise[who] * (1 + self.tiring[who] * time)
        better = self.relevance[w, one] - self.relevance[w, other] + noise * self.pair_seen[:, rounds] > 0
        slip, one_first = self.pair_slip[:, rounds], self.pair_first[:, rounds]
        better = np.where((self.spam[who] == 2) | (slip < self.lazy[who]), one_first, better)
        return np.where(self.spam[who] == 1, slip < 0.5, better)


def simulate(crew: Crew, worlds: int, seed: int) -> World:
    """That many worlds, an even number: each two share their documents."""
    if worlds % 2:
        raise ValueError(f"{worlds} worlds, must be even: each two share their documents")
    rng = np.random.default_rng(seed)
    W, N, A, n = worlds, crew.items, crew.assessors, crew.documents
    G, rounds = N // 2, 2 * A
    short = np.float32

    def twice(a: NDArray) -> NDArray:
        return np.repeat(a, 2, axis=0)

    def one_of(*values: float) -> Floats:
        return rng.choice(values, (W, A))

    relevance = twice(rng.standard_normal((W // 2, N)))
    shape = (W, 1, crew.queries, n)
    sees = twice(rng.standard_normal((W // 2, len(ENGINES), *shape[2:])))
    engine = relevance.reshape(shape) + np.array(ENGINES)[:, None, None] * sees
    gold_relevance = twice(rng.standard_normal((W // 2, G)))
    bad = np.arange(A) < round(crew.bad_share * A)
    drawn = rng.integers(len(FAULTS), size=(W, A))
    fault = np.where(bad, drawn if crew.fault == "mixed" else FAULTS.index(crew.fault), -1)
    careless, biased, lazy, drifting, spammer = (fault == k for k in range(len(FAULTS)))
    first_seen = rng.standard_normal((W, A))  # the lazy repeat the grade of the first document that they saw, or say 1
    default = np.where(rng.random((W, A)) < 0.5, np.searchsorted(CUTS, first_seen), 1)
    return World(
        crew=crew,
        relevance=relevance,
        truth=np.searchsorted(CUTS, relevance, side="right"),
        lists=np.argsort(-engine, -1),
        noise=np.exp(np.log(np.where(careless, 1.6, 0.4)) + 0.25 * rng.standard_normal((W, A))),
        bias=np.where(biased, one_of(-1, 1) * rng.uniform(0.8, 1.6, (W, A)), 0.15 * rng.standard_normal((W, A))),
        drift=np.where(drifting, one_of(-1, 1) * rng.uniform(1, 2, (W, A)), 0.1 * rng.standard_normal((W, A))),
        tiring=np.where(drifting, 1.5, 0.2) * np.ones((W, A)),
        lazy=np.where(lazy, rng.uniform(0.5, 0.9, (W, A)), 0.03),
        default=default,
        spam=np.where(spammer, one_of(1, 2), 0).astype(int),
        queue=np.argsort(rng.random((W, N, A), short), -1).astype(np.int8),
        turn=np.argsort(rng.random((W, N)), -1),
        seen=rng.standard_normal((W, N, A), short),
        slip=rng.random((W, N, A), short),
        anything=rng.integers(GRADES, size=(W, N, A), dtype=np.int8),
        tie=rng.random((W, N, GRADES), short),
        gold_relevance=gold_relevance,
        gold_truth=np.searchsorted(CUTS, gold_relevance, side="right"),
        gold_seen=rng.standard_normal((W, G, A), short),
        gold_slip=rng.random((W, G, A), short),
        gold_anything=rng.integers(GRADES, size=(W, G, A), dtype=np.int8),
        pair_assessor=rng.integers(A, size=(W, rounds, N // 2), dtype=np.int8),
        pair_seen=rng.standard_normal((W, rounds, N // 2), short),
        pair_slip=rng.random((W, rounds, N // 2), short),
        pair_first=rng.random((W, rounds, N // 2), short) < 0.5,
        pair_order=rng.standard_normal((W, rounds, N), short),
    )


@dataclass(frozen=True)
class Labelled:
    """What a method made of a world: grades (W, N); the grades that assessors gave on the way, of the documents in question; spent (W,)
    on grades, gold answers and comparisons; of these what the device of the method took."""

    grades: Ints
    labels: Labels
    spent: Ints
    device: int = 0


def asked(world: World, w: Ints, document: Ints, place: Ints, time: Floats, queue: Ints | None = None) -> Labels:
    """The labels that the assessors at those places of the documents' queues give; flat arrays."""
    N, A = world.crew.items, world.crew.assessors
    who = (world.queue if queue is None else queue)[w, document, place].astype(int)
    said = world.grade(w, document, who, time)
    return Labels(w * N + document, w * A + who, said, len(world), N, A, GRADES)


def evenly(world: World, count: int, session: tuple[float, float] = (0, 1), queue: Ints | None = None) -> Labels:
    """`count` labels in each world, as many for each document, one more for those whose turn comes first; session: when they are given."""
    N = world.crew.items
    if not 0 <= count <= N * world.crew.assessors:
        raise ValueError(
            f"{count} labels, must be from 0 to {N * world.crew.assessors}: all assessors on all documents"
        )
    order = np.arange(-(-count // N)).reshape(-1, 1, 1) * N + world.turn  # (places, W, N)
    place, w, document = np.nonzero(order < count)
    time = session[0] + (session[1] - session[0]) * order[place, w, document] / max(count, 1)
    return asked(world, w, document, place, time, queue)


def decide(posterior: Floats, world: World) -> Ints:
    """The most probable grades, (W, N), of (W, N, grades), logarithms or not; a draw falls by lot."""
    return np.argmax(posterior + 1e-9 * world.tie, -1)


def _whole(world: World, budget: float) -> int:
    return round(budget * world.crew.items)


def by_majority(world: World, budget: float, share: float) -> Labelled:
    labels = evenly(world, _whole(world, budget))
    return _labelled(world, majority(labels), labels)


def by_dawid_skene(world: World, budget: float, share: float) -> Labelled:
    labels = evenly(world, _whole(world, budget))
    return _labelled(world, dawid_skene(labels).posterior, labels)


def by_glad(world: World, budget: float, share: float) -> Labelled:
    labels = evenly(world, _whole(world, budget))
    return _labelled(world, glad(labels).posterior, labels)


def by_types(world: World, budget: float, share: float) -> Labelled:
    """The Bayesian model of the three methods below, without their devices: what these are judged against."""
    labels = evenly(world, _whole(world, budget))
    return _labelled(world, typed(labels, most=ROUNDS).posterior, labels)


ROUNDS = 2
"""Steps of the Bayesian model. On worlds of other seeds than a study's more steps made labels worse: assessors who err on the same
borderline document are counted as independent witnesses, and the model talks itself into its errors."""
TRUSTED = 0.5  # chance of a right grade below which nobody is given work; settled on the same worlds
SPARE = 2  # so many more assessors than labels of a document stay at work, whatever gold says


def by_gold(world: World, budget: float, share: float) -> Labelled:
    """An exam on gold documents, for `share` of the budget, at the beginning. The answers say of what type each assessor is; those
    who are not trusted get no work, as long as enough others are there; all answers count by the trust in who gave them."""
    W, N, A = len(world), world.crew.items, world.crew.assessors
    total, pool = _whole(world, budget), world.gold_truth.shape[1]
    exam = min(round(share * total / A), pool)
    if not exam:
        return by_types(world, budget, share)
    w, document, who = (axis.ravel() for axis in np.indices((W, exam, A)))
    part = exam * A / total
    said = world.grade(w, document, who, part * document / exam, gold=True)
    known = world.gold_truth[:, :exam]
    answers = Labels(w * exam + document, w * A + who, said, W, exam, A, GRADES)
    trust = reliability(typed(answers, known, most=ROUNDS).trust, GRADES)  # (W, A)
    left = total - exam * A
    stay = min(-(-left // N) + SPARE, A)
    place = np.argsort(np.argsort(-trust, 1, kind="stable"), 1)
    dismissed = (trust < TRUSTED) & (place >= stay)
    late = np.take_along_axis(np.repeat(dismissed[:, None], N, 1), world.queue.astype(int), 2)
    queue = np.take_along_axis(world.queue, np.argsort(late, -1, kind="stable"), 2)
    labels = evenly(world, left, (part, 1), queue)
    work = replace(labels, document=labels.document // N * (N + exam) + labels.document % N, documents=N + exam)
    both = work + replace(answers, document=w * (N + exam) + N + document, documents=N + exam)
    grades = np.concatenate([np.full((W, N), -1), known], 1)
    found = typed(both, grades, most=ROUNDS)
    return _labelled(world, found.posterior[:, :N], labels, exam * A, exam * A)


BATCH = 0.25  # of the documents are asked about at a time, at the most


def by_uncertainty(world: World, budget: float, share: float) -> Labelled:
    """At first all documents have as many labels. The last `share` of the budget goes, batch by batch, to those documents of whose
    grade the model is least sure (the entropy of the posterior is greatest)."""
    W, N, A = len(world), world.crew.items, world.crew.assessors
    total = _whole(world, budget)
    first = max(total - round(share * total), min(total, N))
    labels = evenly(world, first, (0, first / total))
    given = np.bincount(labels.document, minlength=W * N).reshape(W, N)
    found, spent = typed(labels, most=ROUNDS), first
    while spent < total:
        room = int((given < A).sum(1).min())  # documents that somebody has not seen yet
        batch = min(total - spent, max(1, round(BATCH * N)), room)
        q = found.posterior
        doubt = -(q * np.log(np.maximum(q, 1e-12))).sum(-1) + 1e-9 * world.tie[..., 0]
        doubt = np.where(given < A, doubt, -1)
        document = np.argsort(-doubt, 1)[:, :batch]
        w = np.repeat(np.arange(W)[:, None], batch, 1)
        place = given[w, document]
        time = np.full(w.size, spent / total)
        labels = labels + asked(world, w.ravel(), document.ravel(), place.ravel(), time)
        given[w, document] += 1
        spent += batch
        found = typed(labels, most=ROUNDS)
    return _labelled(world, found.posterior, labels, device=total - first)


STEEP = 3.0  # log odds that the better of two documents is called so, for each grade between them
HEED = 0.8  # share of an assessor's comparisons that are meant, before any is seen, as if of 5


def by_pairs(world: World, budget: float, share: float) -> Labelled:
    """Grades first, one of each document at least; for `share` of the budget assessors then say which of two documents of a query is
    better, round by round between neighbours in an order drawn from the posterior. Scores are those of Bradley and Terry, with a normal
    prior that the grades give. What the comparisons add to that prior, a normal likelihood at each grade's place on the scale of
    scores, multiplies the probabilities of the grades."""
    W, N, n = len(world), world.crew.items, world.crew.documents
    total, pairs = _whole(world, budget), N // 2
    rounds = min(round(share * total / pairs), max(total - N, 0) // pairs, world.pair_seen.shape[1])
    first = total - rounds * pairs
    labels = evenly(world, first, (0, first / total))
    found, scale = typed(labels, most=ROUNDS).posterior, np.arange(GRADES)
    groups = (W * world.crew.queries, n)
    mean = (found @ scale).reshape(groups)
    variance = np.maximum((found @ scale**2).reshape(groups) - mean**2, 0.05)
    prior = (STEEP * mean, 1 / (STEEP**2 * variance))
    scores, sd = prior[0], prior[1] ** -0.5
    base, duels = np.arange(W)[:, None] * N, np.zeros((3, W, 0), int)
    for k in range(rounds):
        order = np.argsort(scores + sd * world.pair_order[:, k].reshape(groups), 1) + n * np.arange(groups[0])[:, None]
        one, other = order[:, 0::2].reshape(W, pairs), order[:, 1::2].reshape(W, pairs)
        better = world.compare(k, one - base, other - base, (first + k * pairs) / total)
        who = world.pair_assessor[:, k] + np.arange(W)[:, None] * world.crew.assessors
        duel = np.stack([np.where(better, one, other), np.where(better, other, one), who])
        duels = np.concatenate([duels, duel], 2)
        won, lost, said_by = duels.reshape(3, -1)
        last = k == rounds - 1
        scores, sd = heeded(won, lost, said_by, W * world.crew.assessors, scores, prior, 8 if last else 1)
    far = (
        STEEP * scale - scores[..., None],
        STEEP * scale - prior[0][..., None],
    )  # of each grade, from posterior and prior
    heard = (prior[1][..., None] * far[1] ** 2 - (far[0] / sd[..., None]) ** 2) / 2
    return _labelled(
        world, np.log(np.maximum(found, 1e-12)) + heard.reshape(found.shape), labels, rounds * pairs, rounds * pairs
    )


def heeded(
    won: Ints, lost: Ints, who: Ints, assessors: int, scores: Floats, prior: tuple[Floats, Floats], steps: int
) -> tuple[Floats, Floats]:
    """Bradley-Terry scores (groups, n) and standard deviations, from assessors who mean some of their comparisons and toss a coin for
    the rest: EM. won, lost, who: (comparisons,) numbers over all groups; prior: mean and precision of the scores.

    After Chen et al. 2013, WSDM 193-202, where the rest of the comparisons is reversed.
    """
    size, n = scores.shape
    heed = np.full(assessors, HEED)
    for _ in range(steps):
        p = 1 / (1 + np.exp(scores.ravel()[lost] - scores.ravel()[won]))
        meant = heed[who] * p / (heed[who] * p + (1 - heed[who]) / 2)
        heed = (np.bincount(who, meant, assessors) + 5 * HEED) / (np.bincount(who, minlength=assessors) + 5)
        wins = np.asarray(np.bincount(won * n + lost % n, meant, size * n * n), float).reshape(size, n, n)
        scores, sd = bradley_terry(wins, *prior, start=scores, most=3)
    return scores, sd


def _labelled(world: World, posterior: Floats, labels: Labels, besides: int = 0, device: int = 0) -> Labelled:
    spent = np.bincount(labels.document // labels.documents, minlength=len(world)) + besides
    return Labelled(decide(posterior, world), labels, spent, device)


LABELLERS: dict[str, Callable[[World, float, float], Labelled]] = {
    "majority": by_majority,
    "dawid_skene": by_dawid_skene,
    "glad": by_glad,
    "types": by_types,
    "gold": by_gold,
    "adaptive": by_uncertainty,
    "pairwise": by_pairs,
}
METHODS = tuple(LABELLERS)
SHARES = {"gold": (0.05, 0.1, 0.2), "adaptive": (0.2, 0.4, 0.6), "pairwise": (0.1, 0.25, 0.5)}
"""Shares of the budget that the device of a method may have; the others have none, and theirs is 0."""


def quality(world: World, result: Labelled) -> dict[str, Floats]:
    """By world, (W,), see COLUMNS; NaN where a world has no answer."""
    shape = (len(world), 1, world.crew.queries, world.crew.documents)

    def judged(grades: Ints) -> Floats:
        """nDCG of each engine for each query, gain 2^grade - 1, (W, engines, queries)."""
        gain = np.broadcast_to((2.0**grades - 1).reshape(shape), world.lists.shape)
        return ndcg(np.take_along_axis(gain, world.lists, -1))

    ours, true = judged(result.grades), judged(world.truth)
    one, other = np.triu_indices(len(ENGINES), 1)
    order = [np.sign(value.mean(-1)[:, one] - value.mean(-1)[:, other]) for value in (ours, true)]
    both = np.eye(GRADES)[result.grades].reshape(-1, 2, world.crew.items, GRADES).sum(1)
    return {
        "accuracy": (result.grades == world.truth).mean(1),
        "ndcg_error": np.abs(ours - true).mean((1, 2)),
        "ndcg_bias": (ours - true).mean((1, 2)),
        "grade_error": np.abs(result.grades - world.truth).mean(1) / (GRADES - 1),
        "order_accuracy": (order[0] == order[1]).mean(1),
        "alpha": krippendorff(result.labels.votes()),
        "crews_alpha": np.repeat(krippendorff(both), 2),
        "labels_spent": result.spent / world.crew.items,
    }


COLUMNS = (
    "val_accuracy", "test_accuracy", "test_ndcg_error", "test_ndcg_bias", "test_grade_error", "test_order_accuracy", "test_alpha",
    "test_crews_alpha", "labels_spent", "device_share",
)  # fmt: skip
"""Accuracy: share of documents with their true grade. ndcg_error, ndcg_bias: of an engine's nDCG for a query, absolute and signed.
grade_error: distance from the truth, as a share of the scale. order_accuracy: share of the pairs of engines whose mean nDCG is ordered as
by the truth. alpha: Krippendorff's, ordinal, of the grades that assessors gave; crews_alpha: of the labels that two crews came to for
the same documents. labels_spent: paid for, by document. device_share: of the budget that the device took; which of SHARES it
might take was chosen on validation worlds, and where the budget is too small for it, nothing is taken."""


def evaluate(
    methods: Sequence[str], budget: float, bad_share: float, worlds: int, seed: int, fault: str = "mixed"
) -> list[dict[str, float]]:
    """Means over worlds, COLUMNS by method; the columns that no world can answer are left out. All methods work in the same worlds, so
    many to choose a `device_share` by accuracy and so many others to report."""
    crew = Crew(bad_share, fault)
    if not 1 <= budget <= crew.assessors:
        raise ValueError(
            f"{budget:g} labels per item, must be from 1 to {crew.assessors}: each of {crew.assessors} assessors once"
        )
    split = [np.random.SeedSequence([seed, k, round(1e6 * bad_share)]).generate_state(1)[0] for k in (0, 1)]
    validation, test = (simulate(crew, worlds + worlds % 2, int(state)) for state in split)
    found = []
    for name in methods:
        label = LABELLERS[name]
        tried = {
            share: float((label(validation, budget, share).grades == validation.truth).mean())
            for share in SHARES.get(name, (0.0,))
        }
        share = max(tried, key=lambda s: tried[s])
        result = label(test, budget, share)
        means = {k: float(v.mean()) for k, v in quality(test, result).items()}
        row = {k if k == "labels_spent" else f"test_{k}": v for k, v in means.items() if not np.isnan(v)}
        found.append({"val_accuracy": tried[share], **row, "device_share": result.device / _whole(test, budget)})
    return found
