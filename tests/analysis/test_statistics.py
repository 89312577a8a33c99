import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.core import statistics as st
from analysis.core import tell


def table(cells: dict[str, list[float]], students: dict[str, str] | None = None) -> pd.DataFrame:
    """One row per cell and seed; validation equals test."""
    rows = [
        {"cell": cell, "seed": seed, "val": v, "test": v, "student": f"{(students or {}).get(cell, cell)}-{seed}"}
        for cell, values in cells.items()
        for seed, v in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_the_interval_is_scipys_and_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(0.7, 0.1, (1000, 4))
    found = [st.interval(x) for x in draws]
    reference = stats.t.interval(0.95, 3, draws[0].mean(), stats.sem(draws[0]))
    assert (found[0].low, found[0].high) == pytest.approx(reference)
    assert np.mean([i.low < 0.7 < i.high for i in found]) == pytest.approx(0.95, abs=0.02)


def test_one_seed_has_a_mean_and_no_interval():
    line = st.summarise(pd.DataFrame({"t": [1.0], "seed": [0], "acc": [0.5]}), ["t"], "acc").iloc[0]
    assert line["mean"] == 0.5 and line["n"] == 1 and math.isnan(line["low"]) and math.isnan(line["high"])


def test_what_is_not_measured_does_not_count():
    lines = st.summarise(pd.DataFrame({"t": [1, 1, 2], "acc": [0.4, np.nan, np.nan]}), ["t"], "acc")
    assert lines[["t", "mean", "n"]].to_numpy().tolist() == [[1, 0.4, 1]]


def test_a_paired_test_sees_what_an_unpaired_one_misses():
    rng = np.random.default_rng(1)
    seeds = rng.normal(0.7, 0.1, 5)  # luck of the seed, ten times the effect
    a, b = pd.Series(seeds + 0.01 + rng.normal(0, 0.001, 5)), pd.Series(seeds + rng.normal(0, 0.001, 5))
    assert stats.ttest_ind(a, b).pvalue > 0.5
    difference = st.paired(a, b)
    assert difference.p == pytest.approx(stats.ttest_rel(a, b).pvalue) and difference.p < 0.01
    assert difference.low < 0.01 < difference.high


def test_two_equal_differences_tell_nothing_of_the_noise():
    a = pd.Series([0.5, 0.7])
    same, equal = st.paired(a, a), st.paired(a + 0.1, a)
    assert same.p == 1 and math.isnan(equal.p) and equal.n == 2
    assert st.holm([equal.p]) == 1
    assert "nothing is known" in tell.moves(equal) and tell.moves(same) == "not distinguishable from no difference"


def test_pairs_are_made_by_seed_not_by_order():
    a, b = pd.Series([1.0, 2.0, 3.0], [0, 1, 2]), pd.Series([2.0, 0.0, 1.0], [2, 0, 1])
    assert st.paired(a, b).mean == 1 and st.paired(a, b.drop(0)).n == 2


def test_holm_keeps_the_family_wise_error():
    assert st.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    p = np.random.default_rng(2).uniform(size=(1000, 20))
    assert np.mean([st.holm(row).min() < 0.05 for row in p]) == pytest.approx(0.05, abs=0.015)


def test_benjamini_hochberg_rejects_what_its_authors_rejected():
    """Benjamini & Hochberg 1995, section 3.2: four of fifteen hypotheses at 5 %, where Bonferroni's way rejects three."""
    p = [.0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344, .0459, .3240, .4262, .5719, .6528, .7590, 1.0]  # fmt: skip
    corrected = st.benjamini_hochberg(p)
    assert (corrected < 0.05).tolist() == [True] * 4 + [False] * 11 and (st.holm(p) < 0.05).sum() == 3
    assert corrected == pytest.approx(stats.false_discovery_control(p))
    assert st.benjamini_hochberg([0.04, 0.01, math.nan]) == pytest.approx([0.06, 0.03, 1.0])


def test_the_interval_of_a_proportion_is_scipys():
    reference = stats.binomtest(388, 400).proportion_ci(method="wilson")
    found = st.wilson(388, 400)
    assert (found.mean, found.n) == (0.97, 400) and (found.low, found.high) == pytest.approx(
        (reference.low, reference.high)
    )


def test_a_partial_correlation_is_what_a_third_feature_does_not_explain():
    x = np.random.default_rng(4).normal(size=(4000, 3))
    x[:, 1] += x[:, 0]  # a chain: 0 and 2 depend on each other through 1 alone
    x[:, 2] += x[:, 1]
    correlation = np.corrcoef(x.T)
    partial = st.partial_correlations(correlation, 0.0)
    given = np.column_stack([x[:, 1], np.ones(len(x))])
    a, b = (v - given @ np.linalg.lstsq(given, v)[0] for v in (x[:, 0], x[:, 2]))
    assert partial[0, 2] == pytest.approx(np.corrcoef(a, b)[0, 1]) and abs(partial[0, 2]) < 0.05 < correlation[0, 2]


def test_a_clear_winner_stands_out_and_a_noisy_one_is_a_tie():
    clear = st.stands_out(table({"a": [0.5, 0.51, 0.5], "b": [0.9, 0.91, 0.905]}), ["cell"], "val", "test")
    assert clear.best == {"cell": "b"} and clear.stands_out
    noisy = {"a": [0.5, 0.51, 0.5], "b": [0.9, 0.91, 0.905], "c": [0.91, 0.90, 0.9]}
    tie = st.stands_out(table(noisy), ["cell"], "val", "test")
    assert tie.best == {"cell": "b"} and not tie.stands_out and tie.ties == ({"cell": "c"},) and tie.rivals == 2


def test_among_equals_hardly_a_winner_beats_any_rival():
    rng = np.random.default_rng(3)
    beaten = []
    for _ in range(150):
        rows = table({str(c): [0.0] * 3 for c in range(8)})
        noise = np.repeat(np.exp(0.5 * rng.normal(size=8)), 3)  # cells differ in it
        luck = 3 * rng.normal(size=3)[rows["seed"]] + noise * rng.normal(size=24)  # moves validation and test alike
        rows["val"], rows["test"] = luck + 0.5 * rng.normal(size=24), luck
        verdict = st.stands_out(rows, ["cell"], "val", "test")
        beaten.append(len(verdict.ties) < verdict.rivals)
    assert np.mean(beaten) < 0.12  # 5 %, and what the choice by shared luck adds


def test_the_choice_is_made_on_validation_alone():
    rows = table({"a": [0.5, 0.6, 0.5], "b": [0.7, 0.8, 0.9]})
    rows["val"] = 1 - rows["test"]
    verdict = st.stands_out(rows, ["cell"], "val", "test")
    assert verdict.best == {"cell": "a"} and verdict.lead.mean < 0 and not verdict.stands_out


def test_cells_of_the_same_students_do_not_rival_each_other():
    same = table({"a": [0.9, 0.9, 0.91], "b": [0.9, 0.9, 0.91], "c": [0.1, 0.1, 0.11]}, students={"b": "a"})
    verdict = st.stands_out(same, ["cell"], "val", "test")
    assert verdict.rivals == 1 and verdict.stands_out


def test_a_survivor_of_a_lucky_seed_does_not_win():
    verdict = st.stands_out(table({"a": [0.9, 0.5, 0.51], "survivor": [0.85]}), ["cell"], "val", "test")
    assert verdict.best == {"cell": "a"} and not verdict.stands_out


def test_a_cell_that_leads_on_its_only_seed_wins_but_does_not_stand_out():
    verdict = st.stands_out(table({"a": [0.5, 0.6, 0.6], "young": [0.9]}), ["cell"], "val", "test")
    assert verdict.best == {"cell": "young"} and verdict.n == 1 and not verdict.stands_out


def test_the_share_of_the_gap_is_nought_at_source_only_and_one_at_the_oracle():
    low, high = pd.Series([0.5, 0.6]), pd.Series([0.9, 0.9])
    assert st.share_of_gap(low, low, high).tolist() == [0, 0]
    assert st.share_of_gap(high, low, high).tolist() == [1, 1]
    assert st.share_of_gap(high, high, low).isna().all()
    assert st.share_of_gap(high.drop(0), low, high).tolist() == [1]


def test_kappa_is_agreement_beyond_chance():
    rng = np.random.default_rng(0)
    a, b = rng.integers(10, size=(2, 20_000))
    assert st.kappa(a, a) == 1 and abs(st.kappa(a, b)) < 0.02
    assert st.kappa(a * 0, b * 0) == 0 and st.kappa(a * 0, b) == pytest.approx(0)
    # 45 of 50 by hand: p_o = .9, p_e = .5 * .6 + .5 * .4
    x, y = np.repeat([0, 1], 25), np.repeat([0, 1, 1, 0], [25, 20, 0, 5])
    assert st.kappa(x, y) == pytest.approx((0.9 - 0.5) / 0.5)
