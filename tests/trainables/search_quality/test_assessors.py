from dataclasses import replace

import numpy as np
import pytest

from trainables.search_quality import assessors
from trainables.search_quality.aggregation import majority
from trainables.search_quality.assessors import (
    COLUMNS,
    CUTS,
    FAULTS,
    GRADES,
    LABELLERS,
    METHODS,
    SHARES,
    Crew,
    decide,
    evaluate,
    evenly,
    quality,
    simulate,
)

SOME = {name: SHARES.get(name, (0.0,))[-1] for name in METHODS}


@pytest.fixture(scope="module")
def world():
    return simulate(Crew(0.4), 20, seed=11)


def flawless(world, noise=0.0):
    """The same documents before assessors without a fault."""
    nothing = {name: np.zeros_like(world.noise) for name in ("bias", "drift", "tiring", "lazy")}
    return replace(world, noise=np.full_like(world.noise, noise), spam=np.zeros_like(world.spam), **nothing)


@pytest.mark.parametrize("name", METHODS)
def test_a_budget_is_spent_to_the_last_label_and_not_beyond(world, name):
    for budget in (1, 2, 3.5, 8):
        for share in SHARES.get(name, (0.0,)):
            assert (LABELLERS[name](world, budget, share).spent == round(100 * budget)).all()


@pytest.mark.parametrize("name", METHODS)
def test_one_world_at_a_time_is_all_at_once(world, name):
    together = LABELLERS[name](world, 4, SOME[name]).grades
    apart = [LABELLERS[name](world.take([w]), 4, SOME[name]).grades[0] for w in range(len(world))]
    assert (together == apart).all()


@pytest.mark.parametrize("name", METHODS)
def test_no_method_sees_the_truth(world, name):
    """Other truths of the same answers change nothing; only gold documents tell theirs."""
    other = replace(world, truth=GRADES - 1 - world.truth)
    if name != "gold":
        other = replace(other, gold_truth=GRADES - 1 - other.gold_truth)
    results = [LABELLERS[name](each, 4, SOME[name]).grades for each in (world, other)]
    assert (results[0] == results[1]).all()


@pytest.mark.parametrize("name", METHODS)
def test_assessors_without_a_fault_are_right(world, name):
    """But for comparisons, which tell apart what has one grade and so move it."""
    perfect = flawless(world)
    found = quality(perfect, LABELLERS[name](perfect, 3, SOME[name]))
    if name == "pairwise":
        assert 0.93 < found["accuracy"].mean() < 1
        return
    assert found["accuracy"].min() == 1 and found["ndcg_error"].max() == 0 and found["order_accuracy"].min() == 1
    assert found["alpha"] == pytest.approx(1) and found["crews_alpha"] == pytest.approx(1)


@pytest.mark.parametrize("name", METHODS)
def test_more_labels_of_careful_assessors_are_better(world, name):
    careful = flawless(world, noise=0.15)
    accuracy = [quality(careful, LABELLERS[name](careful, b, SOME[name]))["accuracy"].mean() for b in (2, 14.9, 15)]
    assert min(accuracy[1:]) > accuracy[0] and min(accuracy[1:]) > 0.93


def test_labels_are_dealt_evenly_and_nobody_is_asked_twice(world):
    labels = evenly(world, 370)
    each = np.bincount(labels.document, minlength=2000)
    assert set(each) == {3, 4} and (each.reshape(20, 100).sum(1) == 370).all()
    pairs = labels.document * 1000 + labels.assessor
    assert len(np.unique(pairs)) == len(pairs)
    with pytest.raises(ValueError, match="all assessors on all documents"):
        evenly(world, 1501)


def test_adaptive_labels_go_where_assessors_disagree(world):
    result = LABELLERS["adaptive"](world, 4, 0.4)
    votes = result.labels.votes()
    disputed = votes.max(-1) < votes.sum(-1)
    assert votes.sum(-1)[disputed].mean() > votes.sum(-1)[~disputed].mean() + 0.5
    pairs = result.labels.document * 1000 + result.labels.assessor
    assert len(np.unique(pairs)) == len(pairs)


def test_an_exam_keeps_spammers_from_work():
    """Of six spammers in fifteen few labels are left, and they would have given two in five."""
    spam = simulate(Crew(0.4, "spammer"), 40, seed=3)
    labels = LABELLERS["gold"](spam, 5, 0.2).labels
    theirs = spam.spam.ravel()[labels.assessor] > 0
    assert theirs.mean() < 0.1


def test_two_crews_share_their_documents_and_nothing_else(world):
    assert (world.truth[0::2] == world.truth[1::2]).all() and (world.lists[0::2] == world.lists[1::2]).all()
    assert (world.noise[0::2] != world.noise[1::2]).all() and (world.seen[0::2] != world.seen[1::2]).mean() > 0.99
    with pytest.raises(ValueError, match="must be even"):
        simulate(Crew(0.4), 21, seed=0)


def test_grades_come_in_the_shares_that_are_said():
    truth = simulate(Crew(0.0), 400, seed=1).truth[0::2]
    shares = np.bincount(truth.ravel()) / truth.size
    assert np.abs(shares - [0.45, 0.27, 0.18, 0.10]).max() < 4 * np.sqrt(0.25 / truth.size) + 0.005
    assert len(CUTS) == GRADES - 1


def said(fault, time):
    """Mean grade less truth, and the spread of it, of the bad assessors of a crew where all have the fault."""
    world = simulate(Crew(1.0, fault), 100, seed=5)
    w, d, a = np.indices((100, 100, 15))
    off = world.grade(w, d, a, np.full(w.shape, time)) - world.truth[:, :, None]
    return off.mean(1), off


def test_each_fault_is_what_it_says():
    means, _ = said("biased", 0.0)
    assert (np.abs(means) > 0.25).mean() > 0.95 and 0.35 < (
        means > 0
    ).mean() < 0.65  # towards high or low grades, alike often
    early, late = (np.abs(said("drifting", time)[0]).mean() for time in (0.0, 1.0))
    assert late > early + 0.5
    steady = [np.abs(said("careless", time)[1]).mean() for time in (0.0, 1.0)]
    assert steady[0] > 0.7
    lazy = simulate(Crew(1.0, "lazy"), 100, seed=5)
    w, d, a = np.indices((100, 100, 15))
    same = (lazy.grade(w, d, a, np.zeros(w.shape)) == lazy.default[:, None]).mean()
    assert same > 0.65
    spam = simulate(Crew(1.0, "spammer"), 100, seed=5)
    agree = (spam.grade(w, d, a, np.zeros(w.shape)) == spam.truth[:, :, None]).mean()
    assert agree == pytest.approx(0.25, abs=0.05)
    assert set(FAULTS) == {"biased", "drifting", "careless", "lazy", "spammer"}


def test_a_bias_plays_no_part_in_a_comparison(world):
    one, other = np.arange(0, 100, 2)[None].repeat(20, 0), np.arange(1, 100, 2)[None].repeat(20, 0)
    better = world.compare(0, one, other, 0.5)
    shifted = replace(world, bias=world.bias + 2)
    assert (shifted.compare(0, one, other, 0.5) == better).all()
    exact = flawless(world).compare(0, one, other, 0.5)
    assert (exact == (world.relevance[:, 0::2] > world.relevance[:, 1::2])).all()


def test_a_row_has_the_columns_and_depends_on_its_seed_alone():
    rows = evaluate(METHODS, 2.0, 0.4, 10, seed=0)
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert rows == evaluate(METHODS, 2.0, 0.4, 10, seed=0) != evaluate(METHODS, 2.0, 0.4, 10, seed=1)
    assert rows[3] == evaluate(["types"], 2.0, 0.4, 10, seed=0)[0]
    assert set(COLUMNS) - set(evaluate(["majority"], 1.0, 0.4, 10, seed=0)[0]) == {"test_alpha"}
    for budget in (0.5, 16):
        with pytest.raises(ValueError, match="labels per item, must be from 1 to 15"):
            evaluate(["majority"], budget, 0.4, 10, seed=0)


def test_a_share_is_chosen_on_validation_worlds(monkeypatch):
    """A device that spoils the test worlds is chosen all the same where validation worlds like it."""
    seen = []

    def device(world, budget, share):
        seen.append((share, world.truth))
        grades = world.truth if share == 0.2 and len(seen) < 3 else 0 * world.truth
        return assessors.Labelled(grades, evenly(world, 100), np.full(len(world), 100), round(100 * share))

    monkeypatch.setitem(assessors.LABELLERS, "adaptive", device)
    monkeypatch.setitem(assessors.SHARES, "adaptive", (0.1, 0.2))
    row = evaluate(["adaptive"], 1.0, 0.4, 10, seed=0)[0]
    assert row["device_share"] == 0.2 and row["val_accuracy"] == 1 and row["test_accuracy"] < 1
    assert (seen[0][1] == seen[1][1]).all() and not (seen[2][1] == seen[1][1]).all()


def test_ties_fall_by_lot(world):
    labels = evenly(world, 0)
    chosen = decide(majority(labels), world)
    assert np.bincount(chosen.ravel(), minlength=GRADES) / chosen.size == pytest.approx(np.full(4, 0.25), abs=0.05)
