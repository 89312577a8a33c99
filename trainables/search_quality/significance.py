"""Is one engine better than the other, or is it chance? Tests for one query and for many, and what they find in simulated worlds.

The statistic is pFound of google less that of yandex (for t, Wilcoxon and sign: paired differences of its parts). p is one-sided, of
the claim "google is better". What a test asks:

one query   permutation   the 2K judged results dealt anew to the 2K places: does it matter which engine and rank a result has?
            swap          at each rank the two results change places or not: does it matter which engine a result has?
            bootstrap     assessors drawn anew, the pages are as they are: would other assessors see these pages so too?
            t, wilcoxon, sign   of the K differences of pRel at equal ranks: as if ranks were independent trials, without weights
many        permutation   at each query the engines change places or not (paired randomisation, Fisher; Smucker et al. 2007, CIKM)
            bootstrap     queries drawn anew, means shifted to no difference (Savoy 1997, IPM 33:495)
            t, wilcoxon, sign   of the differences of pFound by query
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
from scipy.special import stdtr
from scipy.stats import binom, rankdata

from trainables.search_quality.judgements import prel
from trainables.search_quality.metrics import pfound

GAINS = ("even", "few")
TESTS = ("permutation", "swap", "bootstrap", "t", "wilcoxon", "sign")
LEVEL = 0.05
COLUMNS = (
    "val_detected_share",
    "test_detected_share",
    "test_nominal_share",
    "test_false_share",
    "test_median_p",
    "p_value",
    "difference",
)
EXACT = 2**15  # rearrangements up to which all are tried, not drawn
DRAWS, SIMULATED = 20_000, 499  # that are drawn: of a file of judgements, and of each simulated comparison
AT_A_TIME = 1_000_000  # numbers
SLACK = 2e-6  # float32 statistics that are equal differ by rounding
FEW = 0.2  # share of the queries that have all of the effect, where few have it
FALL = 0.15  # of the mean grade from rank to rank, simulated
FIRST, OF_QUERY, OF_PAGE = 2.6, 0.5, 1.2  # mean grade at rank 1; deviations over queries and pages
OF_ASSESSOR, OF_GRADE = 0.3, 0.6  # deviation of an assessor's severity, and of each single grade


# How an arrangement is tried again and again. `seen` and p: (...,), one for each comparison


def flips(n: int, most: int, rng: np.random.Generator, at_a_time: int) -> Iterator[np.ndarray]:
    """Which of n pairs change places, (ways, n) of 0 and 1, in parts: all 2^n ways where these are no more than EXACT, else `most`
    drawn."""
    ways = 2**n if 2**n <= EXACT else most
    for start in range(0, ways, at_a_time):
        some = np.arange(start, min(start + at_a_time, ways))
        if 2**n <= EXACT:
            yield (some[:, None] >> np.arange(n)) & 1
        else:
            drawn = np.frombuffer(rng.bytes(len(some) * math.ceil(n / 8)), np.uint8).reshape(len(some), -1)
            yield np.unpackbits(drawn, axis=1, count=n)


def randomisation(d: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Paired randomisation: under no difference each of n paired differences may as well have the other sign. d: (..., n).

    p is the share of flips with a sum as large as the one seen: exact over all of them where n is small, else over `most` drawn
    ones, to which the one seen is added (Phipson and Smyth 2010, SAGMB 9:39).
    """
    n = d.shape[-1]
    flat = d.reshape(-1, n)
    slack = SLACK * np.abs(flat).sum(-1)
    twice = 2 * flat.T.astype(np.float32)
    count, ways = np.zeros(len(flat), dtype=np.int64), 0
    for some in flips(n, most, rng, max(1, AT_A_TIME // max(n, len(flat)))):
        count += (some.astype(np.float32) @ twice <= slack).sum(0)  # what flips take off the sum
        ways += len(some)
    p = count / ways if 2**n <= EXACT else (count + 1) / (ways + 1)
    return p.reshape(d.shape[:-1])


def wilcoxon(d: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Signed ranks, zeros dropped (Wilcoxon 1945), by randomisation, so that ties need no correction."""
    size = np.abs(d)
    ranks = rankdata(size, axis=-1) - (size == 0).sum(-1, keepdims=True)
    return randomisation(np.sign(d) * ranks, most, rng)


def sign(d: np.ndarray) -> np.ndarray:
    """Binomial of how many differences are positive, zeros dropped."""
    return binom.sf((d > 0).sum(-1) - 1, (d != 0).sum(-1), 0.5)


def t(d: np.ndarray) -> np.ndarray:
    """Student's paired t; 1 where nothing differs."""
    n = d.shape[-1]
    mean, error = d.mean(-1), d.std(-1, ddof=1) / math.sqrt(n)
    ratio = np.divide(mean, error, out=np.where(mean > 0, np.inf, -np.inf), where=error > 1e-12)
    return stdtr(n - 1, -ratio)


def bootstrap(d: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Queries drawn anew with replacement, the mean shifted to 0: the share of means as large as the one seen, which is counted too.
    All n^n draws where these are few: p is never less than one of them, for so few queries cannot say more. d: (..., n)"""
    n = d.shape[-1]
    flat = (d - d.mean(-1, keepdims=True)).reshape(-1, n).T
    seen = d.mean(-1).reshape(-1)
    count = np.zeros(len(seen), dtype=np.int64)
    ways = draws(n, most)
    parts = _parts(most, max(n, flat.shape[1]))
    drawn = (rng.multinomial(n, np.full(n, 1 / n), size) / n for size in parts)
    for weights in drawn if n**n > EXACT else np.array_split(redrawn(n), math.ceil(ways * flat.shape[1] / AT_A_TIME)):
        count += (weights @ flat >= seen - 1e-12).sum(0)
    return ((count + 1) / (ways + 1)).reshape(d.shape[:-1])


def draws(n: int, most: int) -> int:
    """How many draws with replacement a bootstrap of n tries: all n^n where these are few, else `most`."""
    return n**n if n**n <= EXACT else most


def redrawn(n: int) -> np.ndarray:
    """All n^n draws of n with replacement, as the weight of each of the n: (n^n, n)"""
    whom = np.array(list(product(range(n), repeat=n)))
    return (whom[..., None] == np.arange(n)).mean(1)


Dealt = Callable[[int, int], np.ndarray]
"""pRel of the results that stand at an engine's rank, counted from 0, in so many arrangements of so many worlds: (ways, worlds)."""


def arranged(dealt: Dealt, K: int, p_break: float) -> np.ndarray:
    """pFound of google less that of yandex in each arrangement, (ways, worlds), from the last rank up: what a user finds from rank i on
    is pRel_i + (1 - pRel_i) (1 - pBreak) times what he finds from i + 1 on."""
    found = []
    for engine in (0, 1):
        below: Any = np.float32(0)
        for rank in reversed(range(K)):
            x = dealt(engine, rank)
            below = x + (1 - x) * (np.float32(1 - p_break) * below)
        found.append(below)
    return found[0] - found[1]


def pooled(x: np.ndarray, p_break: float, most: int, rng: np.random.Generator) -> np.ndarray:
    """Permutation of the pooled pages of one query over all places. x: pRel (W, 2, K) -> p (W,). Exact for (2K)! <= EXACT."""
    K = x.shape[-1]
    pages = x.reshape(len(x), 2 * K).T.astype(np.float32)  # (2K, W)
    exact = math.factorial(2 * K) <= EXACT

    def orders() -> Iterator[np.ndarray]:
        if exact:
            yield np.array(list(permutations(range(2 * K))))
            return
        for size in _parts(most, 2 * len(x)):
            yield rng.random((size, 2 * K), dtype=np.float32).argsort(axis=-1)

    def in_order(order: np.ndarray) -> Dealt:
        return lambda engine, rank: pages[order[:, engine * K + rank]]

    return _p((arranged(in_order(o), K, p_break) for o in orders()), _difference(x, p_break), exact)


def swap(x: np.ndarray, p_break: float, most: int, rng: np.random.Generator) -> np.ndarray:
    """At each rank the engines change places or not, in all 2^K ways where these are few. x: pRel (W, 2, K) -> p (W,)"""
    K = x.shape[-1]
    pages = x.transpose(1, 2, 0).astype(np.float32)  # (2, K, W)

    def changed(places: np.ndarray) -> Dealt:
        return lambda engine, rank: np.where(places[:, rank, None], pages[1 - engine, rank], pages[engine, rank])

    ways = flips(K, most, rng, max(1, AT_A_TIME // (2 * len(x))))
    return _p((arranged(changed(some), K, p_break) for some in ways), _difference(x, p_break), 2**K <= EXACT)


def assessors(x: np.ndarray, p_break: float, most: int, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap over assessors who judged all pages. x: pRel (W, 2, K, A) -> p (W,); NaN for fewer than two.

    A page's pRel is its mean over those drawn. p is the share of draws that lie as far above the difference seen as that lies
    above 0: T* - T >= T. All A^A draws where these are few; p is never less than one of them, for so few people cannot say more.
    """
    A, K = x.shape[-1], x.shape[-2]
    if A < 2:
        return np.full(len(x), np.nan)
    pages = x.transpose(1, 2, 3, 0).astype(np.float32)  # (2, K, A, W)

    def weighed(weights: np.ndarray) -> Dealt:
        return lambda engine, rank: weights @ pages[engine, rank]

    if A**A <= EXACT:
        weights = redrawn(A).astype(np.float32)
        ways = iter(np.array_split(weights, math.ceil(2 * len(x) * len(weights) / AT_A_TIME)))
    else:
        ways = (rng.multinomial(A, np.full(A, 1 / A), n).astype(np.float32) / A for n in _parts(most, 2 * len(x)))
    return _p((arranged(weighed(each), K, p_break) for each in ways), 2 * _difference(x.mean(-1), p_break), False)


def _p(parts: Iterable[np.ndarray], seen: np.ndarray, exact: bool) -> np.ndarray:
    """The share of arrangements with a statistic as large as `seen` (W,); the one seen is counted too where they were drawn."""
    count, ways = np.zeros(seen.shape, dtype=np.int64), 0
    for found in parts:  # (ways, W)
        count += (found >= seen - SLACK).sum(0)
        ways += len(found)
    return count / ways if exact else (count + 1) / (ways + 1)


def _difference(x: np.ndarray, p_break: float) -> np.ndarray:
    """pFound of google less that of yandex. x: pRel (..., 2, K)"""
    found = pfound(x, p_break)
    return found[..., 0] - found[..., 1]


def _parts(ways: int, numbers: int) -> Iterator[int]:
    """Sizes of parts whose numbers, so many for each way, fit in memory."""
    most = max(1, AT_A_TIME // max(numbers, 1))
    for start in range(0, ways, most):
        yield min(most, ways - start)


def p_of_one(test: str, x: np.ndarray, p_break: float, most: int, rng: np.random.Generator) -> np.ndarray:
    """One query: x: pRel (W, 2, K, A) -> p (W,), one-sided: google is better. NaN where the test cannot be made."""
    mean = np.nanmean(x, axis=-1)
    d = mean[:, 0] - mean[:, 1]
    if test == "permutation":
        return pooled(mean, p_break, most, rng)
    if test == "swap":
        return swap(mean, p_break, most, rng)
    if test == "bootstrap":
        whole = np.isfinite(x).all(axis=(0, 1, 2))
        return assessors(x[..., whole], p_break, most, rng)
    return _of_differences(test, d, most, rng)


def p_of_many(test: str, d: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Many queries: differences of pFound (..., Q) -> p (...,), one-sided: google is better."""
    if test in ("permutation", "swap"):
        return randomisation(d, most, rng)
    return bootstrap(d, most, rng) if test == "bootstrap" else _of_differences(test, d, most, rng)


def _of_differences(test: str, d: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if test == "wilcoxon":
        return wilcoxon(d, most, rng)
    if test == "t":
        return t(d) if d.shape[-1] > 1 else np.full(d.shape[:-1], np.nan)
    return sign(d)


# Simulated comparisons


def compared(c: Any, split: str, effect: float) -> np.ndarray:
    """Grades (worlds, queries, 2, depth, assessors) of worlds where google's pages are better by `effect` grades in the mean.

    A page's truth falls with the rank, and differs by query and by page. The effect is that of every query, or (`few`) a large one of one
    query in five. An assessor adds his severity and an error, and rounds. The
    worlds with an effect are those without it, shifted.
    """
    rng = np.random.default_rng(np.random.SeedSequence((c.seed, split == "test")))
    W, Q, K, A = c.worlds, c.queries, c.depth, c.assessors
    truth = FIRST - FALL * np.arange(K) + OF_QUERY * rng.standard_normal((W, Q, 1, 1))
    truth = truth + OF_PAGE * rng.standard_normal((W, Q, 2, K))
    gains = rng.random((W, Q, 1)) < FEW if c.gains == "few" else np.ones((W, Q, 1), dtype=bool)
    truth[:, :, 0] += effect / (FEW if c.gains == "few" else 1) * gains
    severity = OF_ASSESSOR * rng.standard_normal((W, 1, 1, 1, A))
    error = OF_GRADE * rng.standard_normal((W, Q, 2, K, A), dtype=np.float32)
    return np.clip(np.rint(truth[..., None] + severity + error), 0, 4)


def least_of_one(test: str, x: np.ndarray, p_break: float, most: int, rng: np.random.Generator) -> float:
    """The least p that a test can give of these very judgements of one query, whichever engine had shown which result where: that of the
    strongest case for google. x: pRel (2, K, A). A bootstrap of A assessors has no other judgements to try, but only so many draws; t,
    a formula, has no least (NaN)."""
    A, K, mean = int(np.isfinite(x).all(axis=(0, 1)).sum()), x.shape[1], np.nanmean(x, axis=-1)
    if test == "t" or (test == "bootstrap" and A < 2):
        return math.nan
    if test == "bootstrap":
        return 1 / (draws(A, most) + 1)
    ranked = np.sort(mean, axis=None)[::-1]
    dealt = np.stack([ranked[:K], ranked[K:][::-1]])  # google has the best, best first, yandex the rest, worst first
    best = dealt if test == "permutation" else -np.sort(-mean, axis=0)
    return float(p_of_one(test, best[None, ..., None], p_break, most, rng)[0])


def least_of_many(test: str, d: np.ndarray, most: int, rng: np.random.Generator) -> float:
    """The same of many queries, each with the difference that it has, all for google. d: (Q,)"""
    return math.nan if test == "t" else float(p_of_many(test, np.abs(d), most, rng))


def p_values(test: str, c: Any, grades: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Of every world. grades: (worlds, queries, 2, K, A)"""
    x = prel(grades, c.grading)
    if c.queries == 1:
        return p_of_one(test, x[:, 0], c.p_break, most, rng)
    return p_of_many(test, _difference(x.mean(-1), c.p_break), most, rng)


def evaluate(tests: Sequence[str], c: Any, judged: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """What each test finds in simulated worlds, and of the judgements at hand.

    median_p: of worlds with the effect. false_share: of worlds without a difference where p <= level; nominal_share: of worlds with the
    `effect` where p <= level; detected_share: where p is no more than the level, nor than what such a share of the worlds without a
    difference falls below: a test that finds too much there is held to the level. p_value and difference: of the judgements, of their
    first query where the design has
    one query, else of all. Table `verdicts`: a line for each query, and one for all together.
    """
    rows: list[dict[str, Any]] = [{} for _ in tests]
    level = LEVEL if c.level is None else c.level
    for split in ("val", "test"):
        worlds = {name: compared(c, split, effect) for name, effect in (("none", 0.0), ("effect", c.effect))}
        for row, test in zip(rows, tests, strict=True):
            rng = np.random.default_rng(np.random.SeedSequence((c.seed, split == "test", TESTS.index(test))))
            p = {name: p_values(test, c, grades, SIMULATED, rng) for name, grades in worlds.items()}
            if np.isnan(p["none"]).any():
                continue  # one assessor says nothing about others
            row[f"{split}_detected_share"] = float((p["effect"] <= held(p["none"], level)).mean())
            if split == "test":
                row["test_nominal_share"] = float((p["effect"] <= level).mean())
                row["test_median_p"] = float(np.median(p["effect"]))
                row["test_false_share"] = float((p["none"] <= level).mean())
    for row, test in zip(rows, tests, strict=True):
        lines = verdicts(test, c, judged)
        asked = next((line for line in lines if (line["query"] == ALL) == (c.queries > 1)), None)
        if asked and np.isfinite(asked["p"]):
            row |= {"p_value": asked["p"]}
        if asked:
            row |= {"difference": asked["difference"]}
        row["tables"] = {"verdicts": lines}
    return rows


ALL = ""  # in the place of a query: all together


def held(p: np.ndarray, level: float = LEVEL) -> float:
    """The largest p <= level at which no more than such a share of worlds without a difference are called different; -1 where there
    is none."""
    candidates = np.unique(p[p <= level])
    share = np.searchsorted(np.sort(p), candidates, side="right") / len(p)
    fine = candidates[share <= level]
    if len(fine) == len(candidates):
        return level
    return float(fine[-1]) if len(fine) else -1.0


def verdicts(test: str, c: Any, judged: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The judgements' p by query and of all queries, the least that it could be, pFound of both engines and their difference."""
    lines, by_query = [], []
    rng, other = (np.random.default_rng(np.random.SeedSequence((c.seed, TESTS.index(test), *of))) for of in ((), (1,)))
    for query, grades in zip(judged["queries"].tolist(), judged["grades"], strict=True):
        there = np.isfinite(grades).any(axis=(0, 2)) if grades.size else np.zeros(0, dtype=bool)
        x = prel(grades[:, there][:, : c.depth], c.grading)
        found = pfound(np.nanmean(x, axis=-1), c.p_break)
        by_query.append(found)
        p = float(p_of_one(test, x[None], c.p_break, DRAWS, rng)[0])
        least = least_of_one(test, x, c.p_break, DRAWS, other)
        judges = int(np.isfinite(x).any(axis=(0, 1)).sum())
        lines.append(_line(query, found, (p, least), x.shape[1], judges, tried(test, x.shape[1], False, judges)))
    if len(by_query) > 1:
        found = np.array(by_query)
        d = found[:, 0] - found[:, 1]
        p, least = float(p_of_many(test, d, DRAWS, rng)), least_of_many(test, d, DRAWS, other)
        judges = judged["grades"].shape[-1]
        lines.append(_line(ALL, found.mean(0), (p, least), len(found), judges, tried(test, len(found), True, judges)))
    return lines


def tried(test: str, n: int, many: bool, judges: int) -> str:
    """How p was counted, of n results of each engine, or of n queries: `all 1,024 arrangements`, `20,000 drawn`, `formula`."""
    if test in ("t", "sign"):
        return "formula"
    if test == "bootstrap":  # of queries, or of judges
        anew = n if many else judges
        return f"all {anew**anew:,} draws" if anew**anew <= EXACT else f"{DRAWS:,} drawn"
    ways = math.factorial(2 * n) if test == "permutation" and not many else 2**n
    return f"all {ways:,} arrangements" if ways <= EXACT else f"{DRAWS:,} drawn"


def _line(query: str, found: np.ndarray, p: tuple[float, float], results: int, judges: int, how: str) -> dict[str, Any]:
    return {
        "query": query, "google": float(found[0]), "yandex": float(found[1]), "difference": float(found[0] - found[1]),
        "p": p[0], "least": p[1], "results": results, "judges": judges, "how": how,
    }  # fmt: skip
