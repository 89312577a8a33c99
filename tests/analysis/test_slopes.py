import numpy as np
import pandas as pd
import pytest

from analysis.core.slopes import extrapolated, follows, gaussian_norms, knee, slopes
from analysis.core.statistics import Interval


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
    colder, hotter = gaussian_norms(deviation, deviation, [T, 2 * T])
    assert np.log2(hotter / colder) == pytest.approx(slope, abs=0.02)
