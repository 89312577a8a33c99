"""Single components out of lists, and what their errors are compared with."""

import numpy as np
import pandas as pd
import pytest

from analysis.core.components import against_exact, each, enough


def lines():
    errors = {"exact": [1.0, 2.0, 0.0], "uniform": [3.0, 2.0, 0.5]}
    return pd.DataFrame([
        {"method": m, "seed": s, "error": np.array(e) * (s + 1), "variance": [9.0, 9, 0], "component_bits": [2, 2, 2]}
        for m, e in errors.items() for s in (0, 1)
    ])  # fmt: skip


def test_each_component_is_compared_with_itself():
    found = against_exact(each(lines()), ["seed"])
    assert len(each(lines())) == 12 and set(found["method"]) == {"uniform"}
    for _, part in found.groupby("seed"):
        assert part.sort_values("component")["ratio"].tolist()[:2] == [3.0, 1.0]
        assert np.isnan(part["ratio"]).sum() == 1  # a constant component


def test_enough_is_where_the_goal_is_reached_for_good():
    means = pd.DataFrame({"bytes": [64, 16, 32, 8], "test_accuracy": [97.0, 96.0, 94.0, 96.5]})
    assert enough(means, "test_accuracy", 95) == 64
    assert enough(means, "test_accuracy", 90) == 8
    assert np.isnan(enough(means, "test_accuracy", 98)) and np.isnan(enough(means.iloc[:0], "test_accuracy", 0))
    assert enough(means, "test_accuracy", 97) == pytest.approx(64)
