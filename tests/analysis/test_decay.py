"""Numbers of curves by student, and their figure, on small tables."""

import math

import pandas as pd
import pytest

from analysis.core.decay import decays, first_losses, medians
from analysis.core.figures.lifetimes import lifetimes


def curves(values):
    """Evaluations at 0, and after 1, 10 and 100 iterations, in no order; what is before 0, or not measured, does not count."""
    order = (100, 0, 10, 1)
    of = {0: 0, 1: 1, 10: 2, 100: 3}
    lines = [{"student": s, "since": t, "known": line[of[t]]} for s, line in values.items() for t in order]
    return pd.DataFrame([*lines, {"student": "a", "since": -5, "known": 0.0}, {"student": "a", "since": 3}])


def test_each_student_has_its_half_life_area_and_backward_transfer():
    """a crosses (0.9 + 0.5) / 2 midway between the decades of 10 and 100; b never does."""
    found = decays(curves({"a": (0.9, 0.9, 0.9, 0.5), "b": (0.8, 0.8, 0.8, 0.8)}), "known")
    assert found.index.tolist() == ["a", "b"]
    assert found["half_life"].tolist() == pytest.approx([10**1.5, math.inf])
    assert found["area"].tolist() == pytest.approx([0.8, 0.8])
    assert found["backward_transfer"].tolist() == pytest.approx([-0.4, 0.0])


def test_what_is_lost_first_is_lost_when_five_points_are_gone():
    found = first_losses(curves({"a": (1.0, 1.0, 1.0, 0.9), "b": (1.0, 1.0, 0.99, 0.98)}), "known")
    assert found.tolist() == pytest.approx([10**1.5, math.inf])


def test_a_student_whose_start_is_not_known_has_no_line():
    table = curves({"a": (0.9, 0.9, 0.9, 0.5), "b": (0.8, 0.8, 0.8, 0.8)})
    assert decays(table[(table["student"] == "a") | (table["since"] > 0)], "known").index.tolist() == ["a"]
    assert decays(table[:0], "known").empty


def test_medians_are_lines_like_means_and_bear_what_never_happened():
    table = pd.DataFrame({"which": ["a"] * 7 + ["b"], "life": [1, 2, 3, 4, math.inf, math.inf, math.inf, 5]})
    found = medians(table, ["which"], "life")
    assert found["life"].tolist() == [4, 5] and found["n"].tolist() == [7, 1]
    assert found.loc[0, ["low", "high"]].tolist() == [1, math.inf] and math.isnan(found.loc[1, "low"])


def test_what_outlives_the_training_is_an_arrow_and_what_is_over_at_once_stays_on_the_axis():
    table = pd.DataFrame(
        {"name": ["long", "short"], "life": [math.inf, 0.2], "low": [50, 0.1], "high": [math.inf, 3], "n": 7}
    )
    ax = lifetimes(table, "name", "life", 100, ["red", "blue"])
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["> 100", "below 1"]
    assert all(ax.get_xlim()[0] < x < ax.get_xlim()[1] for line in ax.lines[:-1] for x in line.get_xdata())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["long", "short"]
