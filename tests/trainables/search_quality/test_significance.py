"""Tests of one engine against another: exact ones against full enumeration, all against their calibration."""

import dataclasses
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from trainables.search_quality import Config, judgements
from trainables.search_quality import significance as s
from trainables.search_quality.metrics import pfound

CONFIG = Config(
    task="pvalue", worlds=400, depth=10, page="plain", click_model="cascade", noise=0.0, missing=0.0, labels=1.0, bad_share=0.0, fault="mixed",
    judgements="example", grading="yandex", p_break=0.15, queries=1, assessors=3, effect=1.0, gains="even", measure="ndcg",
    method="majority", test="sign", seed=0,
)  # fmt: skip
EXAMPLE = judgements.read("example").arrays()


def within(count, n, p):
    """Whether so many of n are what chance p gives, to 4.5 standard deviations."""
    return abs(count - n * p) <= 4.5 * np.sqrt(n * p * (1 - p)) + 1


def difference(google, yandex, p_break):
    return float(pfound(np.array(google), p_break) - pfound(np.array(yandex), p_break))


def test_randomisation_is_full_enumeration():
    d = np.random.default_rng(0).normal(0.3, 1, (5, 8))
    d[0] = np.round(d[0])  # with ties
    all_flips = np.array(list(product((1, -1), repeat=8)))
    sums = d @ all_flips.T
    slow = (sums >= d.sum(-1, keepdims=True) - 1e-9).mean(-1)
    assert s.randomisation(d, 10, np.random.default_rng(1)) == pytest.approx(slow)


def test_drawn_flips_come_near_all_flips():
    d = np.random.default_rng(1).normal(0.25, 1, 16)
    assert s.EXACT < 2**16
    all_flips = 1 - 2 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    slow = (all_flips @ d >= d.sum() - 1e-9).mean()
    p = s.randomisation(d, 20_000, np.random.default_rng(2))
    assert within(p * 20_001 - 1, 20_000, slow)


def test_pooled_permutation_is_full_enumeration():
    rng = np.random.default_rng(3)
    x = judgements.prel(rng.integers(0, 5, (4, 2, 3)).astype(float), "yandex")
    for world, p in zip(x, s.pooled(x, 0.15, 1, rng), strict=True):
        seen = difference(*world, 0.15)
        dealt = [difference(order[:3], order[3:], 0.15) for order in permutations(world.ravel())]
        assert p == pytest.approx(np.mean(np.array(dealt) >= seen - 1e-9))


def test_swaps_are_full_enumeration():
    rng = np.random.default_rng(4)
    x = judgements.prel(rng.integers(0, 5, (3, 2, 5)).astype(float), "linear")
    for world, p in zip(x, s.swap(x, 0.3, 1, rng), strict=True):
        seen = difference(*world, 0.3)
        dealt = [
            difference(np.where(flip, world[1], world[0]), np.where(flip, world[0], world[1]), 0.3)
            for flip in product((False, True), repeat=5)
        ]
        assert p == pytest.approx(np.mean(np.array(dealt) >= seen - 1e-9))


def test_an_arrangement_from_the_last_rank_up_is_pfound():
    x = np.random.default_rng(5).random((7, 2, 6)).astype(np.float32)
    found = s.arranged(lambda engine, rank: x[None, :, engine, rank], 6, 0.15)
    assert found[0] == pytest.approx([difference(*world, 0.15) for world in x], abs=1e-6)


def test_t_wilcoxon_and_sign_are_those_of_scipy():
    rng = np.random.default_rng(6)
    d = rng.normal(0.2, 1, (20, 9))
    assert s.t(d) == pytest.approx(stats.ttest_1samp(d, 0, axis=-1, alternative="greater").pvalue)
    exact = [stats.wilcoxon(row, alternative="greater", method="exact").pvalue for row in d]
    assert s.wilcoxon(d, 10, rng) == pytest.approx(exact)
    d[:, 0] = 0  # which is dropped
    theirs = [stats.binomtest(int((row > 0).sum()), 8, alternative="greater").pvalue for row in d]
    assert s.sign(d) == pytest.approx(theirs)


def test_other_side_other_p():
    """Exact p of "google is better" and of "yandex is better" leave out only what is as large as the one seen."""
    d = np.random.default_rng(7).normal(0, 1, (10, 7))
    rng = np.random.default_rng(8)
    both = s.randomisation(d, 1, rng) + s.randomisation(-d, 1, rng)
    assert both == pytest.approx(1 + 1 / 2**7)


@pytest.mark.parametrize("test", ["permutation", "swap"])
def test_p_of_one_query_is_uniform_where_pages_are_alike(test):
    """Results dealt at random to all places: a share a of p lies at or below a, and none more."""
    n, rng = 2000, np.random.default_rng(9)
    x = judgements.prel(rng.integers(0, 5, (n, 2, 10, 1)).astype(float), "exponential")
    p = s.p_of_one(test, x, 0.15, 399, rng)
    for level in (0.05, 0.2, 0.5):
        assert within((p <= level).sum(), n, level)


@pytest.mark.parametrize("test", ["permutation", "bootstrap", "t", "wilcoxon", "sign"])
def test_p_of_many_queries_is_uniform_where_engines_are_alike(test):
    n, rng = 2000, np.random.default_rng(10)
    p = s.p_of_many(test, rng.normal(0, 1, (n, 30)), 499, rng)
    assert (p <= 0.05).sum() <= 0.05 * n + 4.5 * np.sqrt(0.05 * 0.95 * n) + (0.012 * n if test == "bootstrap" else 0)
    assert ((p <= 0.05).sum() > 0.02 * n and within((p <= 0.5).sum(), n, 0.5)) or test == "sign"


def test_the_order_of_tests_on_simulated_topics_is_that_of_smucker():
    """Smucker et al. 2007: sign .3222, Wilcoxon .0560, randomisation .0138, bootstrap .0107 on one pair of systems, 50 topics. Here the
    medians over many pairs."""
    c = dataclasses.replace(CONFIG, queries=50, effect=0.4, gains="few", worlds=600)
    tests = ["sign", "wilcoxon", "permutation", "bootstrap"]
    p = [row["test_median_p"] for row in s.evaluate(tests, c, EXAMPLE)]
    assert p == sorted(p, reverse=True) and p[0] > 1.2 * p[2]


def test_power_grows_with_effect_and_queries():
    def power(**how):
        return s.evaluate(["permutation"], dataclasses.replace(CONFIG, queries=10, **how), EXAMPLE)[0][
            "test_detected_share"
        ]

    assert power(effect=0.1) < power(effect=0.4) < power(effect=1.0)
    more = s.evaluate(["permutation"], dataclasses.replace(CONFIG, queries=40, effect=0.4), EXAMPLE)[0]
    assert power(effect=0.4) < more["test_detected_share"]


def test_a_test_that_finds_too_much_is_held_to_the_level():
    level = s.held(np.linspace(0.001, 1, 1000))
    assert level == 0.05
    eager = np.concatenate([np.full(300, 0.01), np.linspace(0.02, 1, 700)])
    assert s.held(eager) == -1  # it never keeps the level
    early = np.linspace(0.0001, 0.5, 1000)
    assert (early <= s.held(early)).mean() == pytest.approx(0.05)


def test_the_assessors_bootstrap_answers_another_question():
    """Alike engines show different pages, and assessors agree that they differ: it is no test of engines."""
    row = s.evaluate(["bootstrap"], dataclasses.replace(CONFIG, assessors=10), EXAMPLE)[0]
    assert row["test_false_share"] > 0.2
    alone = s.evaluate(["bootstrap"], dataclasses.replace(CONFIG, assessors=1), EXAMPLE)[0]
    assert "test_false_share" not in alone  # one assessor says nothing of others


def test_the_bootstrap_of_few_assessors_tries_all_draws_and_says_no_more_than_they_can():
    """Each draw by itself, in plain Python."""
    x = np.random.default_rng(0).random((6, 2, 4, 3))
    x[0, 0], x[0, 1] = 0.9, 0.1  # all agree
    found = s.assessors(x, 0.15, 99, np.random.default_rng(1))
    for world, p in zip(x, found, strict=True):
        t = [s._difference(world[..., list(who)].mean(-1), 0.15) for who in product(range(3), repeat=3)]
        seen = s._difference(world.mean(-1), 0.15)
        assert p == pytest.approx((1 + sum(each - seen >= seen - 1e-6 for each in t)) / 28)
    assert found[0] == pytest.approx(1 / 28)


def test_worlds_with_an_effect_are_the_same_worlds_shifted():
    none, some = (s.compared(CONFIG, "val", effect) for effect in (0.0, 1.0))
    assert (none[:, :, 1] == some[:, :, 1]).all() and (some[:, :, 0] >= none[:, :, 0]).all()
    assert (none != s.compared(CONFIG, "test", 0.0)).any()


@pytest.mark.parametrize("test", ["permutation", "swap", "bootstrap", "wilcoxon", "sign"])
def test_no_order_of_the_same_results_has_a_p_below_the_least(test):
    """All orders of six results, some of them alike: the least p is reached and not gone below, save by bootstraps, which may not."""
    rng = np.random.default_rng(12)
    grades = np.array([[4, 1, 1], [3, 1, 0]], dtype=float)[..., None] + np.array([0, 0])
    least = s.least_of_one(test, judgements.prel(grades, "linear"), 0.15, 99, rng)
    if test in ("permutation", "bootstrap"):
        orders = [grades.reshape(6, 2)[list(order)].reshape(2, 3, 2) for order in permutations(range(6))]
    else:
        orders = [np.where(np.array(f)[None, :, None], grades[::-1], grades) for f in product((0, 1), repeat=3)]
    p = [s.p_of_one(test, judgements.prel(each, "linear")[None], 0.15, 99, rng)[0] for each in orders]
    assert min(p) >= least - 1e-12 and (test == "bootstrap" or min(p) == pytest.approx(least))


def test_so_few_can_say_no_more():
    """Two assessors: four draws. Four queries: 16 arrangements. Three results that differ: eight signs. One assessor, and t: no least."""
    x, rng = (
        judgements.prel(np.array([[[4, 4], [3, 3], [2, 2]], [[1, 1], [0, 0], [1, 1]]], dtype=float), "linear"),
        np.random.default_rng(0),
    )
    least = {test: s.least_of_one(test, x, 0.15, 99, rng) for test in s.TESTS}
    assert least["bootstrap"] == 1 / 5 and least["sign"] == least["wilcoxon"] == least["swap"] == 1 / 8
    assert np.isnan(least["t"]) and np.isnan(s.least_of_one("bootstrap", x[..., :1], 0.15, 99, rng))
    d = np.array([0.1, -0.2, 0.3, 0.05])
    assert s.least_of_many("permutation", d, 99, rng) == s.least_of_many("sign", d, 99, rng) == 1 / 16
    assert s.least_of_many("bootstrap", d[:2], 99, rng) == 1 / 5 == s.p_of_many("bootstrap", np.array([0.5, 0.6]), 99, rng)


def test_all_draws_of_few_queries_are_what_many_draws_come_near():
    d = np.random.default_rng(13).normal(0.3, 1, (6, 5))
    exact = s.p_of_many("bootstrap", d, 99, np.random.default_rng(0)) * (5**5 + 1) - 1
    flat, drawn = d - d.mean(-1, keepdims=True), np.random.default_rng(1).integers(0, 5, (20_000, 5))
    near = (flat[:, drawn].mean(-1) >= d.mean(-1, keepdims=True)).mean(-1)
    assert all(within(20_000 * b, 20_000, a / 5**5) for a, b in zip(exact, near, strict=True))


def test_a_stricter_level_finds_no_more_and_keeps_itself():
    found = [
        s.evaluate(["bootstrap", "t"], dataclasses.replace(CONFIG, level=level), EXAMPLE)
        for level in (None, 0.05, 0.01)
    ]
    assert found[0] == found[1]
    for loose, strict in zip(found[1], found[2], strict=True):
        assert strict["test_detected_share"] <= loose["test_detected_share"]
        assert (
            strict["test_false_share"] <= loose["test_false_share"]
            and strict["test_median_p"] == loose["test_median_p"]
        )


def test_more_results_are_no_more_power_to_the_permutation_where_grades_fall_with_the_rank():
    """pFound hardly hears deep results, but dealt to the top they widen what chance makes."""

    def found(depth, fall):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(s, "FALL", fall)
            c = dataclasses.replace(CONFIG, depth=depth, effect=2.0, worlds=300)
            x = judgements.prel(s.compared(c, "test", 2.0), c.grading).mean(-1)[:, 0]
            return (s.pooled(x, 0.15, 299, np.random.default_rng(0)) <= 0.05).mean()

    assert found(20, 0.15) < found(5, 0.15) - 0.1
    assert found(20, 0.0) > found(20, 0.15) + 0.1
