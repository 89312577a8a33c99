"""Reliability diagrams of made-up bins."""

import numpy as np
import pandas as pd
import pytest

from analysis.core.calibration import ACCURACY, SHARE, reliability

BINS = pd.DataFrame(
    [("a", 5, 30, 0.55, 0.5), ("a", 9, 10, 0.95, 1.0), ("b", 5, 10, 0.51, 0.9), ("c", 5, 99, 0.5, 0.0)],
    columns=["student", "bin", "images", "confidence", "accuracy"],
)
STUDENTS = pd.DataFrame({"student": ["a", "b"], "method": "m", "seed": [0, 1]})


def values(points, measure):
    part = points[points["measure"] == measure].sort_values("confidence")
    return part[["confidence", "value"]].to_numpy()


def test_bins_of_several_students_weigh_as_their_images_and_strangers_are_left_out():
    points = reliability(BINS, STUDENTS, ["method"])
    assert values(points, ACCURACY) == pytest.approx(np.array([(54, 60), (95, 100)]))
    assert values(points, SHARE) == pytest.approx(np.array([(54, 80), (95, 20)]))


def test_accuracy_of_a_bin_with_few_images_is_not_shown_but_its_share_is():
    points = reliability(BINS, STUDENTS, ["method"], least=11)
    assert values(points, ACCURACY) == pytest.approx(np.array([(54, 60)]))
    assert len(values(points, SHARE)) == 2
