"""Which students a figure is about, what p-values say in words, and how much must be judged."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from analysis.core.search import (
    EFFORT,
    MEANT,
    MODELS,
    PAGE,
    PARAMETERS,
    USUAL,
    by_hand,
    by_query,
    by_test,
    crossed,
    needed,
    robust,
    serves,
    usual,
    verdict,
)
from trainables.search_quality import metrics
from trainables.search_quality.worlds import CLICK_MODELS, exponential


def test_a_p_at_the_level_is_significant_and_one_above_it_is_not():
    assert verdict(0.05) == "significantly better" and verdict(0.0501) == "not shown to be better"
    assert verdict(0.01, level=0.001) == "not shown to be better" and "cannot" in verdict(np.nan)


def test_a_test_that_cannot_reach_the_level_has_no_verdict():
    assert verdict(0.2, 0.05, 0.2, "assessors") == "cannot tell: too few assessors (p is never below 0.2)"
    assert verdict(0.2, 0.2, 0.2) == "significantly better" and verdict(0.6, 0.05, 0.01) == "not shown to be better"
    lines = pd.DataFrame(
        [{"test": t, "p": 0.2, "least": 0.2, "how": "all 4 draws"} for t in ("bootstrap", "sign", "t")]
    )
    one = {line["test"]: line for line in by_test(lines, False)}
    assert "too few assessors" in one["bootstrap"]["at 5 %"] and "too few results" in one["sign"]["at 5 %"]
    assert one["sign"]["least possible p"] == "0.2000" and "too few queries" in by_test(lines, True)[0]["at 5 %"]
    loose = {line["test"]: line for line in by_test(lines, False, 0.25)}
    assert "would see" in loose["bootstrap"]["at 25 %"] and loose["sign"]["at 25 %"] == "significantly better"


def test_a_verdict_that_one_choice_turns_is_none():
    turned = robust(pd.Series([0.01, 0.02, 0.2]))
    assert "in 2 of 3 choices" in turned and "not told" in turned and "0.010 to 0.200" in turned
    assert "turns the verdict" in turned and "not told" not in robust(pd.Series([0.01, 0.02]))
    ways, least = pd.Series([0.01, 0.02, 0.2]), pd.Series([0.01, 0.01, 0.1])
    assert "in 2 of 2" in robust(ways, 0.05, least) and "1 more are left out" in robust(ways, 0.05, least)
    assert "no choice" in robust(ways, 0.05, least) and "none of 3" in robust(ways, 0.001, least)
    assert "no choice turns" in robust(pd.Series([0.3, 0.2])) and "not told" in robust(pd.Series([0.3, 0.2]), 0.25)


def test_a_metric_of_ours_serves_those_users_for_whom_it_is_ahead():
    rng, lines = np.random.default_rng(0), []
    lead = {"dbn": -0.05, "hurried": 0.05}
    for users, seed, (m, name) in product(
        lead, range(5), (("pfound", "pFound"), ("err", "ERR"), ("swift_success", "swift"))
    ):
        value = 0.7 + rng.normal(0, 0.002) + {"pfound": 0.01, "swift_success": lead[users]}.get(m, 0)
        lines.append({"clicks": users, "seed": seed, "measure": m, "metric": name, "student": f"{users}{seed}{m}",
                      "val_users_agreement": value, "test_users_agreement": value})  # fmt: skip
    found = serves(pd.DataFrame(lines), "swift_success", 0.005).set_index("users")
    assert found["told"].to_dict() == {"dbn": "less", "hurried": "more"} and set(found["base"]) == {"pFound"}


def test_the_parameters_that_a_page_names_are_those_that_were_tried():
    assert {name: ends for name, (_, *ends) in PARAMETERS.items()} == {
        m: [*how[2]] for m, how in metrics.MEASURES.items()
    }
    assert list(MODELS) == list(CLICK_MODELS)


def test_queries_keep_their_order_and_pay_for_being_many():
    lines = [
        {"query": q, "google": 0.5, "yandex": 0.4, "difference": 0.1, "p": p + shift, "results": 10, "judges": 3}
        for q, p in (("b", 0.02), ("a", 0.3), ("c", 0.04))
        for shift in (-0.01, 0.01)
    ]
    found = by_query(pd.DataFrame(lines))
    assert found["query"].tolist() == ["b", "a", "c"] and found["p"].tolist() == pytest.approx([0.02, 0.3, 0.04])
    assert found["holm"].tolist() == pytest.approx([0.06, 0.3, 0.08])


def test_enough_is_where_power_stays_above_the_goal():
    power = {0.2: [0.1, 0.85, 0.7, 0.9], 0.4: [0.8, 0.9, 0.95, 1.0], 0.1: [0.1, 0.2, 0.3, 0.4]}
    lines = [
        {"effect": e, "queries": n, "power": p, "seed": 0}
        for e, row in power.items()
        for n, p in zip((5, 10, 25, 50), row, strict=True)
    ]
    found = needed(pd.DataFrame(lines), "queries", "power", ["effect"]).set_index("effect")
    assert found.loc[0.2, "queries"] == 50 and found.loc[0.4, "queries"] == 5  # a lucky 10 is not enough
    assert np.isnan(found.loc[0.1, "queries"]) and (found["most"] == 50).all()


def students():
    base = {
        "measure": "ndcg",
        "method": "majority",
        "test": "sign",
        "click_model": "dbn",
        "assessors": 1,
        "task": "metrics",
        "worlds": 50,
        **USUAL["metrics"],
    }
    return pd.DataFrame([{**base, "noise": n, "click_model": m} for n in (0.0, 0.5) for m in MODELS])


def test_a_figure_is_about_the_usual_values_of_what_it_does_not_show():
    found = usual(students(), "metrics", "click_model")
    assert set(found["noise"]) == {0.5} and list(found["clicks"].cat.categories) == list(MODELS.values())
    assert len(usual(students(), "metrics")) == 1 and len(
        usual(students(), "metrics", "noise", "click_model")
    ) == 2 * len(MODELS)
    assert set(usual(students(), "metrics", noise=0.0)["click_model"]) == {"dbn"}
    there = students().query("noise == 0.0")
    assert len(usual(there, "metrics")) == 1  # of a run that has no usual value the first is taken
    assert usual(students(), "pvalue").empty and usual(students(), "metrics", noise=7.0).empty
    mixed = pd.concat([students(), students().assign(worlds=20)])  # other worlds are not averaged with these
    assert len(usual(mixed, "metrics")) == 1 and set(usual(mixed, "metrics")["worlds"]) == {50}


def test_only_whole_grids_are_drawn_as_grids():
    cells = [(3, "a"), (3, "b"), (5, "a"), (5, "b"), (20, "a")]
    found = crossed(pd.DataFrame(cells, columns=["depth", "grading"]), "depth", "grading")
    assert set(found["depth"]) == {3, 5}


def test_a_bootstrap_of_assessors_gives_no_verdict_on_engines():
    lines = pd.DataFrame(
        [{"test": t, "p": 0.00001, "how": "20,000 drawn"} for t in ("permutation", "swap", "bootstrap")]
    )
    one, many = ({line["test"]: line for line in by_test(lines, of_many)} for of_many in (False, True))
    assert one["permutation"]["at 5 %"] == "significantly better" and one["permutation"]["p"] == "< 0.0001"
    assert "other assessors" in one["bootstrap"]["at 5 %"]
    assert many["bootstrap"]["at 5 %"] == "significantly better" and "swap at each rank" not in many


def test_what_is_calculated_by_hand_is_what_the_study_computes():
    """The page's example, and pages drawn at random, element by element against the trainable's arrays."""
    rng = np.random.default_rng(0)
    drawn = [
        pd.DataFrame(
            {
                "kind": rng.choice(list(EFFORT), 8),
                "means": rng.choice(list(MEANT), 8),
                "harm": rng.integers(0, 2, 8) * rng.integers(0, 2, 8),
                "grade": rng.integers(0, 5, 8),
            }
        )
        for _ in range(20)
    ]
    kinds = {"link": 0, "answer": 1, "image": 2, "ad": 3}
    for page in (PAGE, *drawn):
        _, found = by_hand(page)
        R, kind = exponential(page["grade"].to_numpy()), page["kind"].map(kinds).to_numpy()
        intent = page["means"].map({"A": 0, "B": 1}).to_numpy()
        assert found == pytest.approx(
            {
                "pfound": metrics.pfound(R, 0.15),
                "swift_success": metrics.swift_success(R, kind, 0.15, 5.0),
                "block_coverage": metrics.block_coverage(R, kind, intent, np.array([*MEANT.values()]), 0.8),
                "unharmed_success": metrics.unharmed_success(R, page["harm"].to_numpy(), 0.15),
            }
        )
