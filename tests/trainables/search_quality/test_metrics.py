"""Metrics of search quality against worked examples, references and libraries; the simulated users against users drawn one by one."""

import dataclasses

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, nDCG
from sklearn.metrics import ndcg_score

from trainables.search_quality import Config
from trainables.search_quality import metrics as m
from trainables.search_quality.worlds import (
    ATTRACTION,
    CLICK_MODELS,
    COST,
    LEAVES,
    OTHER_INTENT,
    PATIENCE,
    PERSISTENCE,
    _satisfied,
    draw,
)

CONFIG = Config(
    task="metrics", worlds=4, depth=10, page="mixed", click_model="dbn", noise=0.5, missing=0.2, labels=1.0, bad_share=0.0, fault="mixed",
    judgements="example", grading="yandex", p_break=0.15, queries=1, assessors=1, effect=0.5, gains="even", measure="ndcg",
    method="majority", test="sign", seed=0,
)  # fmt: skip


def rankings(n=30, K=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, (n, K)), rng.integers(0, 4, (n, K)), rng.random((n, K)) < 0.3, rng.integers(0, 3, (n, K))


def test_worked_examples():
    grades = np.array([3.0, 2, 3, 0, 1, 2])  # the example of Wikipedia's article on DCG
    assert m.ndcg(grades) == pytest.approx(6.861 / 7.141, abs=1e-3)
    assert m.average_precision(np.array([1, 0, 1, 0]), np.array(2)) == pytest.approx((1 + 2 / 3) / 2)
    assert m.rbp(np.array([1.0, 0, 1]), 0.5) == pytest.approx(0.5 * (1 + 0.25))
    assert m.pfound(np.array([0.4, 0.4]), 0.15) == pytest.approx(0.4 + 0.6 * 0.85 * 0.4)
    assert m.err(np.array([15 / 16, 3 / 16])) == pytest.approx(15 / 16 + 0.5 * (1 / 16) * 3 / 16)


def test_ndcg_and_average_precision_are_those_of_the_libraries():
    rng = np.random.default_rng(1)
    K, N = 8, 20
    pool = rng.integers(0, 5, (25, N))
    shown = np.argsort(rng.random((25, N)), axis=-1)[:, :K]
    listed = np.take_along_axis(pool, shown, -1)
    qrels = [ir_measures.Qrel(str(q), str(d), int(pool[q, d])) for q in range(25) for d in range(N)]
    run = [ir_measures.ScoredDoc(str(q), str(d), float(-i)) for q in range(25) for i, d in enumerate(shown[q])]
    theirs = {
        (x.measure, int(x.query_id)): x.value for x in ir_measures.iter_calc([nDCG @ K, AP(rel=2) @ K], qrels, run)
    }
    ours = m.ndcg(listed.astype(float), pool.astype(float))
    assert ours == pytest.approx([theirs[nDCG @ K, q] for q in range(25)])
    total = (pool >= 2).sum(-1)
    assert m.average_precision(listed >= 2, total) == pytest.approx([theirs[AP(rel=2) @ K, q] for q in range(25)])
    order = -np.arange(K)[None].repeat(25, 0)
    alone = [ndcg_score(listed[[q]], order[[q]]) for q in range(25)]
    assert m.ndcg(listed.astype(float)) == pytest.approx(alone)


def walk(R, stop, weight):
    """Expected weight of the place where a user who goes down the page, and gives up after a failure with chance `stop`, finds it."""
    found, looks = 0.0, 1.0
    for i, r in enumerate(R):
        found += looks * r * weight(i)
        looks *= (1 - r) * (1 - stop)
    return found


def test_cascades_are_those_of_a_user_who_walks():
    grades, kind, harm, _ = rankings()
    R = m.exponential(grades)
    spent = np.cumsum(m.EFFORT[kind], -1)
    assert m.err(R) == pytest.approx([walk(r, 0.0, lambda i: 1 / (i + 1)) for r in R])
    assert m.pfound(R, 0.15) == pytest.approx([walk(r, 0.15, lambda i: 1.0) for r in R])
    swift = [walk(r, 0.15, lambda i, s=s: np.exp(-s[i] / 5)) for r, s in zip(R, spent, strict=True)]
    assert m.swift_success(R, kind, 0.15, 5.0) == pytest.approx(swift)
    before = [
        walk(np.where(h, 0, r)[: np.argmax(h)] if h.any() else r, 0.15, lambda i: 1.0)
        for r, h in zip(R, harm, strict=True)
    ]
    assert m.unharmed_success(R, harm.astype(float), 0.15) == pytest.approx(before)  # it ends at the first harm


def test_our_metrics_at_their_limits():
    grades, kind, harm, intent = rankings()
    R, one = m.exponential(grades), np.ones((len(grades), 1))
    assert m.swift_success(R, kind, 0.15, 1e9) == pytest.approx(m.pfound(R, 0.15))  # with all patience it is pFound
    assert m.unharmed_success(R, np.zeros_like(R), 0.15) == pytest.approx(m.pfound(R, 0.15))
    assert (m.unharmed_success(R, harm * 1.0, 0.15) <= m.pfound(R, 0.15) + 1e-12).all()
    links, images, same = np.zeros_like(kind), np.full_like(kind, 2), np.zeros_like(intent)
    assert m.block_coverage(R, images, same, one, 0.5) == pytest.approx(1 - (1 - m.SEEN[2] * R).prod(-1))  # one block
    ranks = 0.5 ** np.arange(R.shape[-1])
    assert m.block_coverage(R, links, same, one, 0.5) == pytest.approx(1 - (1 - m.SEEN[0] * ranks * R).prod(-1))
    weights = np.random.default_rng(2).dirichlet(np.ones(3), len(grades))
    several = m.block_coverage(R, kind, intent, weights, 0.8)
    assert ((several >= 0) & (several <= 1)).all()
    better = m.block_coverage(m.exponential(np.minimum(grades + 1, 4)), kind, intent, weights, 0.8)
    assert (better > several).any() and (better >= several).all()
    repeated = m.block_coverage(R, kind, np.zeros_like(intent), weights, 0.8)
    assert (repeated <= weights[:, 0] + 1e-12).all()  # who means something else is not served


@pytest.mark.parametrize("model", CLICK_MODELS[:3])
def test_satisfaction_is_that_of_users_drawn_one_by_one(model):
    world = draw(CONFIG, "val")
    exact = world.satisfaction(model)[0, 0, 0]
    users, rng = 40_000, np.random.default_rng(3)
    grade, kind, intent, harm = (world.shown(of)[0, 0, 0] for of in (world.grade, world.kind, world.intent, world.harm))
    worth, means = (2.0**grade - 1) / 16, rng.choice(3, users, p=world.weights[0, 0])
    click = ATTRACTION[kind] * (0.3 + 0.7 * worth)
    satisfied, harmed, there = np.zeros(users, bool), np.zeros(users, bool), np.ones(users, bool)
    for i in range(len(grade)):
        looks = there & (rng.random(users) < (i + 1) ** -0.7) if model == "position_based" else there
        clicked = looks & (rng.random(users) < click[i])
        pleased = clicked & (
            rng.random(users) < np.where(means == intent[i], 1, OTHER_INTENT) * worth[i] * (not harm[i])
        )
        satisfied |= pleased
        harmed |= clicked & harm[i]
        if model == "cascade":
            there &= ~clicked
        if model == "dbn":
            there &= ~pleased & ~(clicked & harm[i] & (rng.random(users) < LEAVES)) & (rng.random(users) < PERSISTENCE)
    if model == "position_based":
        satisfied &= ~(harmed & (rng.random(users) < LEAVES))
    assert abs(satisfied.mean() - exact) < 4.5 * np.sqrt(exact * (1 - exact) / users)


def test_blocks_draw_looks_on_mixed_pages_only():
    mixed, plain = draw(CONFIG, "val"), draw(dataclasses.replace(CONFIG, page="plain"), "val")
    assert (plain.satisfaction("federated") == plain.satisfaction("position_based")).all()
    assert (mixed.satisfaction("federated") >= 0.5 * mixed.satisfaction("position_based")).all()
    assert (mixed.satisfaction("federated") != mixed.satisfaction("position_based")).mean() > 0.9


def test_validation_and_test_are_different_draws_and_measures_do_not_see_each_other():
    assert (draw(CONFIG, "val").grade != draw(CONFIG, "test").grade).mean() > 0.5
    together = m.evaluate(list(m.MEASURES), CONFIG)
    assert [m.evaluate([name], CONFIG)[0] for name in m.MEASURES] == together
    assert all(set(row) == set(m.COLUMNS) for row in together)


def test_nothing_missing_changes_no_order_and_missing_judgements_do():
    full = m.evaluate(list(m.MEASURES), dataclasses.replace(CONFIG, missing=0.0))
    assert all(row["test_kept_share"] == 1 for row in full)
    assert all(row["test_kept_share"] < 1 for row in m.evaluate(list(m.MEASURES), CONFIG))


def test_agreement_of_the_truth_is_1_and_of_noise_one_half():
    truth = m.differences(draw(CONFIG, "val").satisfaction("dbn"))
    assert m.alike(truth, truth) == 1 and m.alike(-truth, truth) == 0 and m.alike(0 * truth, truth) == 0.5
    luck = m.alike(np.random.default_rng(4).standard_normal(truth.shape), truth)
    assert abs(luck - 0.5) < 4.5 * 0.5 / np.sqrt(truth.size)


def test_a_paired_t_test_finds_5_per_cent_where_there_is_nothing():
    found = m.told_apart(np.random.default_rng(5).standard_normal((2000, 20, 3)))
    assert abs(found.mean() - 0.05) < 4.5 * np.sqrt(0.05 * 0.95 / found.size)


def test_hurried_users_pay_for_effort_and_others_do_not():
    """An expensive kind in place of a cheap one before the only good result costs hurried users something, and no others anything."""
    grade = np.array([0, 4])
    click, fits = np.array([0.3, 0.9]), np.array([0.0, 1.0]) * (2.0**grade - 1) / 16
    harm = np.zeros(2, bool)
    cheap, dear = ({m: _satisfied(m, click, fits, harm, np.array([kind, 0])) for m in CLICK_MODELS} for kind in (1, 0))
    assert dear["hurried"] < cheap["hurried"] < cheap["dbn"]
    assert all(dear[m] == cheap[m] for m in ("position_based", "cascade", "dbn"))
    assert dear["hurried"] == pytest.approx(dear["dbn"] * np.exp(-2 * COST[0] / PATIENCE))
