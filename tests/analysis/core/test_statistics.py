import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.core import statistics as st
from analysis.core import tell


def test_the_interval_is_scipys_and_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(0.7, 0.1, (1000, 4))
    found = [st.interval(x) for x in draws]
    reference = stats.t.interval(0.95, 3, draws[0].mean(), stats.sem(draws[0]))
    assert (found[0].low, found[0].high) == pytest.approx(reference)
    assert np.mean([i.low < 0.7 < i.high for i in found]) == pytest.approx(0.95, abs=0.02)


def test_one_seed_has_a_mean_and_no_interval():
    line = st.summarise(pd.DataFrame({"t": [1.0], "seed": [0], "acc": [0.5]}), ["t"], "acc").iloc[0]
    assert line["acc"] == 0.5 and line["n"] == 1 and math.isnan(line["low"]) and math.isnan(line["high"])


def test_what_is_not_measured_does_not_count():
    lines = st.summarise(pd.DataFrame({"t": [1, 1, 2], "acc": [0.4, np.nan, np.nan]}), ["t"], "acc")
    assert lines[["t", "acc", "n"]].to_numpy().tolist() == [[1, 0.4, 1]]


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
    assert "nothing is known" in tell.moves(equal) and tell.moves(same) == tell.TOO_FEW


def test_pairs_are_made_by_seed_not_by_order():
    a, b = pd.Series([1.0, 2.0, 3.0], [0, 1, 2]), pd.Series([2.0, 0.0, 1.0], [2, 0, 1])
    assert st.paired(a, b).mean == 1 and st.paired(a, b.drop(0)).n == 2


def test_holm_keeps_the_family_wise_error():
    assert st.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    p = np.random.default_rng(2).uniform(size=(1000, 20))
    assert np.mean([st.holm(row).min() < 0.05 for row in p]) == pytest.approx(0.05, abs=0.015)


def test_summaries_bear_the_name_of_their_metric_and_shares_are_in_per_cent():
    rows = pd.DataFrame(
        {"t": [1, 1, 2], "seed": [0, 1, 0], "test_error": [0.25, 0.75, np.nan], "bits": [2.0, 4.0, 1.0]}
    )
    error, bits = (st.summarise(rows, ["t"], metric, holes=True) for metric in ("test_error", "bits"))
    assert error["test_error"].tolist()[0] == 50 and bits["bits"].tolist() == [3, 1]
    assert error["n"].tolist() == [2, 0] and math.isnan(error["test_error"][1])
    assert len(st.summarise(rows, ["t"], "test_error")) == 1


def test_summaries_count_seeds_not_lines():
    table = pd.DataFrame({"cell": "a", "seed": [0, 0, 1, 1], "loss": [1.0, 3.0, 5.0, 7.0]})
    (line,) = st.summarise(table, ["cell"], "loss").to_dict("records")
    assert line["n"] == 2 and line["loss"] == 4 and line["high"] == pytest.approx(st.interval([2, 6]).high)


def test_differences_judged_together_are_corrected_together():
    base, rng = pd.Series([0.5, 0.51, 0.52, 0.5]), np.random.default_rng(0)
    pairs = {f"far {i}": (base + 0.1 + 0.001 * rng.normal(size=4), base) for i in range(2)}
    pairs["near"] = (base + np.array([0.004, 0.010, 0.012, 0.006]), base)  # p = .02 alone
    pairs["below"], pairs["apart"] = (
        (base - 0.2 + 0.001 * rng.normal(size=4), base),
        (base, base.set_axis([7, 8, 9, 10])),
    )
    for i in range(4):
        pairs[f"same {i}"] = (base + 0.001 * rng.normal(size=4), base)
    found = st.compare(pairs, ["name"]).set_index("name")
    assert "apart" not in found.index and len(found) == len(pairs) - 1
    assert found["told"].loc[["far 0", "far 1", "below"]].tolist() == ["more", "more", "less"]
    assert found.loc["near", "told"] == "open" and found.loc["near", "difference"].p < 0.05, "it is told alone"
    assert found.loc["below", "difference"] == st.paired(*pairs["below"]) and found.loc["below", "n"] == 4


@pytest.mark.parametrize("by", [["t"], ["t", "view"], ["seed"], ["view", "seed"]])
@pytest.mark.parametrize("holes", [False, True])
def test_all_groups_at_once_are_as_each_alone(by, holes):
    rng = np.random.default_rng(0)
    columns = {
        "t": rng.choice([1.0, 2.0, 8.0], 60),
        "view": rng.choice(["a", "b"], 60),
        "seed": rng.integers(4, size=60),
    }
    table = pd.DataFrame({**columns, "test_error": rng.random(60)})
    table.loc[rng.random(60) < 0.3, "test_error"] = np.nan
    table.loc[table["t"] == 8, "test_error"] = np.nan
    found = st.summarise(table, by, "test_error", holes)
    expected = []
    for key, group in table.groupby(by):
        i = st.interval(100 * group.groupby("seed")["test_error"].mean())
        expected += [(*key, i.mean, i.low, i.high, i.n)] if i.n or holes else []
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected, columns=[*by, "test_error", "low", "high", "n"]))


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


def test_differences_that_are_equal_but_for_float32_are_equal():
    a = pd.Series(np.float32([0.7, 0.6]).astype(float))
    b = pd.Series(np.float32([0.6965, 0.5965]).astype(float))
    assert 0 < (a - b).std() < 1e-6 and math.isnan(st.paired(a, b).p)
