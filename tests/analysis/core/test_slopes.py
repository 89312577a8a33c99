import numpy as np
import pandas as pd
import pytest

from analysis.core.slopes import (
    extrapolated,
    follows,
    gaussian_slopes,
    geometric,
    holds,
    knee,
    seed_means,
    slopes,
    staged,
    stages,
)  # fmt: skip
from analysis.core.statistics import Interval, interval


def law(T, seed):
    """1/T up to T = 8, 1/T^2 from there on."""
    return (1 + 0.001 * seed) * (1 / T if T <= 8 else 8 / T**2)


def test_slopes_are_those_of_a_power_law_and_its_bend_is_the_knee():
    T = 2.0 ** np.arange(8)
    table = pd.DataFrame(
        [{"seed": s, "temperature": w, "probe_temperature": t, "norm": law(t, s)} for s in (0, 1, 2) for w in (1.0, 9.0) for t in T]
    )  # fmt: skip
    lines = slopes(table, "norm")
    assert len(lines) == 3 * 7
    assert lines.loc[lines["probe_temperature"] < 8, "slope"].to_numpy() == pytest.approx(-1)
    assert lines.loc[lines["probe_temperature"] >= 8, "slope"].to_numpy() == pytest.approx(-2)
    assert knee(lines, -2) == 8 and knee(lines, -3) is None and knee(lines[lines["between"] < 8], -1) == 1


def test_the_extrapolated_slope_is_that_of_the_limit():
    T = 2.0 ** np.arange(5, 10)
    norms = [(s, t, (1 + (1 + s) / t) / t**2) for s in (0, 1, 2) for t in T]
    table = pd.DataFrame(norms, columns=["seed", "probe_temperature", "norm"]).assign(temperature=1.0)
    lines = slopes(table, "norm")
    assert lines["slope"].max() < -2 - 1e-3
    assert extrapolated(lines).mean == pytest.approx(-2, abs=1e-4)


def test_a_slope_follows_a_law_in_its_interval_or_near_it():
    assert follows(Interval(-1.9, -2.1, -1.7, 3), -2)
    assert follows(Interval(-1.98, -1.981, -1.979, 3), -2)
    assert not follows(Interval(-1.9, -1.91, -1.89, 3), -2)
    assert follows(Interval(-1.99, np.nan, np.nan, 1), -2) and not follows(Interval(-1.9, np.nan, np.nan, 1), -2)


@pytest.mark.parametrize(
    ("deviation", "T", "slope"),
    [(2, 1, -1.81), (2, 2, -2.0), (5, 1, -1.35), (5, 2, -1.70), (5, 4, -1.96), (10, 1, -1.15), (10, 2, -1.35), (10, 4, -1.70), (10, 16, -2.0)],
)  # fmt: skip
def test_the_law_begins_where_the_temperature_passes_the_logits_deviation(deviation, T, slope):
    assert gaussian_slopes(deviation, deviation, np.array([T, 2 * T])) == pytest.approx([slope], abs=0.02)


def test_the_students_of_a_seed_count_once():
    table = pd.DataFrame({"seed": [0, 0, 0, 1], "T": [1, 1, 2, 1], "norm": [1.0, 3.0, 9.0, 5.0]})
    means = seed_means(table, ["T"], ["norm"])
    assert means.values.tolist() == [[0, 1, 2.0], [0, 2, 9.0], [1, 1, 5.0]]


def test_a_geometric_mean_is_that_of_the_product():
    mean = geometric(interval(np.log10([1.0, 100.0])))
    assert (
        mean.mean == pytest.approx(10) and mean.low < 1 and mean.high == pytest.approx(100 / mean.low) and mean.n == 2
    )


def test_the_middle_is_the_step_nearest_to_half_of_the_training():
    assert stages([24, 0, 3, 12, 6, 12]) == {"start": 0, "middle": 12, "end": 24}
    assert stages([0, 10, 16]) == {"start": 0, "middle": 10, "end": 16} and stages([7]) == dict.fromkeys(
        ("start", "middle", "end"), 7
    )


def test_each_group_has_its_own_stages():
    table = pd.DataFrame({"of": ["a"] * 3 + ["b"] * 2, "training_step": [0, 3, 6, 0, 20]})
    found = staged(table, ["of"])
    assert found["stage"].tolist() == ["start", "middle", "end"] * 2
    assert found["training_step"].tolist() == [0, 3, 6, 0, 0, 20]


@pytest.mark.parametrize(
    ("slope", "said"),
    [
        (Interval(-1.9, np.nan, np.nan, 1), "one seed, so there is no interval"),
        (Interval(-1.9, -2.1, -1.7, 3), "-2 lies in the interval"),
        (Interval(-1.98, -1.981, -1.979, 3), "-2 lies 1.9e-02 outside the interval"),
        (Interval(-1.9, -1.91, -1.89, 3), "-2 lies 9.0e-02 outside the interval: the law is not reached"),
    ],
)
def test_a_slope_beside_the_law_says_how_far(slope, said):
    assert holds(slope, -2) == said
