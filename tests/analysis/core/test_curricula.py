"""Learning curves that cost different amounts, and the lengths that were trained, on small tables."""

import math

import pandas as pd
import pytest

from analysis.core.curricula import at_common_points, first_at, mean_lengths, over_ranges, to_common_end
from analysis.core.figures.lifetimes import arrivals

LINES = pd.DataFrame(
    [
        {"student": f"{which}{seed}", "which": which, "seed": seed, "step": step, "tokens": cost * step, "exact": 0.1 * step}
        for which, seed, cost in (("a", 0, 10), ("a", 1, 20), ("b", 0, 100))
        for step in (4, 1, 2)
    ]
)  # fmt: skip


def test_curves_are_compared_where_all_seeds_of_a_group_have_been():
    found = at_common_points(LINES, "tokens", ["exact", "step"], ["which"], points=3)
    a = found[found["which"] == "a"]
    assert a[a["seed"] == 0]["tokens"].tolist() == [20, 30, 40], "seed 1 begins at 20, seed 0 ends at 40"
    assert a[a["seed"] == 0]["exact"].tolist() == pytest.approx([0.2, 0.3, 0.4])
    assert a[a["seed"] == 1]["exact"].tolist() == pytest.approx([0.1, 0.15, 0.2])
    assert a[a["seed"] == 1]["step"].tolist() == pytest.approx([1, 1.5, 2]), "as many columns as are asked for"
    assert found[found["which"] == "b"]["tokens"].max() == 400


def test_an_untrained_network_is_right_in_nothing_and_curves_are_compared_up_to_where_the_first_ends():
    """By tokens the curve of a, seed 0, ends first, at 40: there seed 1 is at 2 steps of 20, b on its way to its first."""
    found = to_common_end(LINES, "tokens", "exact", "which")
    assert found["last"].to_dict() == pytest.approx({("a", 0): 0.4, ("a", 1): 0.2, ("b", 0): 0.04})
    assert found["mean"].to_dict() == pytest.approx({("a", 0): 0.2, ("a", 1): 0.1, ("b", 0): 0.02})


def test_the_first_evaluation_at_the_level_counts_and_never_is_nan():
    lines = pd.concat([LINES, LINES.tail(1).assign(student="never", exact=0.0)])
    found = first_at(lines, "exact", 0.2, ["step", "tokens"])
    assert found.loc["a1"].tolist() == [2, 40] and math.isnan(found.loc["never", "step"])


def test_mean_lengths_are_weighted_by_their_shares():
    lines = [{"seed": 0, "step": s, "length": n, "share": p} for s, n, p in ((5, 1, 0.25), (5, 3, 0.75), (9, 1, 1.0))]
    assert mean_lengths(pd.DataFrame(lines)).loc[0].to_dict() == {"first": 2.5, "last": 1.0}


def test_mean_lengths_are_of_the_first_and_the_last_fifth_of_the_evaluations():
    lines = [{"seed": 0, "step": s, "length": s, "share": 1.0} for s in range(1, 11)]
    assert mean_lengths(pd.DataFrame(lines)).loc[0].to_dict() == {"first": 1.5, "last": 9.5}


def test_ranges_of_lengths_go_by_the_longest_that_each_student_trained():
    """A length is worth itself: the mean of 1 to 12 is 6.5."""
    lines = [
        {"student": f"to {n}", "max_length": n, "length": k, "exact": k} for n in (12, 2) for k in range(1, 2 * n + 1)
    ]
    found = over_ranges(pd.DataFrame(lines), "exact", 10)
    assert found.loc["to 12"].tolist() == [6.5, 5.5, 6, 12, 13, 18.5] and found.loc["to 2"].tolist() == [
        1.5,
        1.5,
        1,
        2,
        3,
        3.5,
    ]


def test_a_line_that_lost_seeds_has_no_mean_but_a_count():
    table = pd.DataFrame({"which": ["a", "a", "b", "b"], "step": [10, 30, 5, math.nan]})
    ax = arrivals(table, "which", "step", 40, {"b": "red", "a": "blue", "absent": "green"})
    assert [text.get_text() for text in ax.texts] == ["1 of 2", "20"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "a"]
