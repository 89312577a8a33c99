"""Numbers of curves by seed, on small tables."""

import math

import pandas as pd
import pytest

from analysis.core.decay import decays, first_losses


def curves(values, offset=0):
    """Evaluations 1, 10 and 100 iterations after `offset`, and one before that does not count."""
    lines = [
        {"seed": seed, "step": offset + step, "known": v}
        for seed, line in values.items()
        for step, v in zip((100, 1, 10), (line[2], *line[:2]), strict=True)
    ]
    return pd.DataFrame([*lines, {"seed": 0, "step": offset, "known": 0.0}, {"seed": 0, "step": offset + 3}])


@pytest.mark.parametrize("offset", [0, 375])
def test_each_seed_has_its_half_life_area_and_backward_transfer(offset):
    """Seed 0 crosses (0.9 + 0.5) / 2 midway between the decades of 10 and 100; seed 1 never does."""
    found = decays(
        curves({0: (0.9, 0.9, 0.5), 1: (0.8, 0.8, 0.8)}, offset), "known", pd.Series({0: 0.9, 1: 0.8}), offset
    )
    assert found.index.tolist() == [0, 1]
    assert found["half_life"].tolist() == pytest.approx([10**1.5, math.inf])
    assert found["area"].tolist() == pytest.approx([0.8, 0.8])
    assert found["backward_transfer"].tolist() == pytest.approx([-0.4, 0.0])


def test_what_is_lost_first_is_lost_when_five_points_are_gone():
    found = first_losses(curves({0: (1.0, 1.0, 0.9), 1: (1.0, 0.99, 0.98)}), "known", pd.Series({0: 1.0, 1: 1.0}))
    assert found.tolist() == pytest.approx([10**1.5, math.inf])


def test_a_curve_without_evaluations_has_no_line():
    assert decays(pd.DataFrame({"seed": [], "step": [], "known": []}), "known", pd.Series(dtype=float)).empty
