import numpy as np
import pandas as pd
import pytest
from scipy.stats import studentized_range
from scipy.stats import t as student_t

from analysis.core import contrasts
from analysis.core.choice import choose
from analysis.core.contrasts import adjusted, together, told_from, usual_variance
from analysis.core.statistics import interval


def by_seed(values: np.ndarray) -> dict[int, pd.Series]:
    """Cells (rows) by seed (columns) as the functions take them; NaN is a lost seed."""
    return {cell: pd.Series(row).dropna() for cell, row in enumerate(values)}


def noise(cells: int, seeds: int, key: int = 0) -> np.ndarray:
    return np.random.default_rng(key).normal(size=(cells, seeds))


def test_means_are_plain_where_no_seed_is_lost_and_those_of_a_regression_where_some_are(monkeypatch):
    monkeypatch.setattr(contrasts, "CAUTION", -9.0)  # cells are known to be alike in noise, so all count alike
    values = noise(4, 5) + 10 * noise(1, 5, 1)
    assert adjusted(by_seed(values)).means == pytest.approx(values.mean(axis=1))
    values[0, 0] = values[1, 3:] = np.nan
    cell, seed = np.nonzero(~np.isnan(values))
    design = np.hstack([np.eye(4)[cell], np.eye(5)[seed][:, 1:]])  # the usual coding, without the first seed
    usual = np.linalg.lstsq(design, values[cell, seed], rcond=None)[0][:4]
    assert np.diff(adjusted(by_seed(values)).means) == pytest.approx(np.diff(usual))


@pytest.mark.parametrize(("images", "cells", "seeds"), [(12, 3, 2), (50, 3, 3), (10_000, 3, 2), (12, 26, 3)])
def test_means_of_few_images_are_plain_whatever_cells_seem_to_know_of_their_noise(images, cells, seeds):
    """Few images give equal accuracies by chance, so that a cell seems to have no noise at all."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        values = rng.binomial(images, 0.5, (cells, seeds)) / images
        assert adjusted(by_seed(values)).means == pytest.approx(values.mean(axis=1), abs=1e-7)


def test_what_a_seed_does_to_all_cells_changes_no_contrast():
    values = noise(4, 5)
    values[2, 1] = np.nan
    a, b = adjusted(by_seed(values)), adjusted(by_seed(values + 100 * noise(1, 5, 1)))
    assert a.means - a.means[0] == pytest.approx(b.means - b.means[0])
    assert a.variance == pytest.approx(b.variance) and a.errors(1) == pytest.approx(b.errors(1))


def test_the_errors_of_all_pairs_are_those_of_each():
    values = noise(6, 4) * np.array([[1], [1], [1e-3], [50], [1], [1]])
    values[0, 0] = values[4, 2:] = np.nan
    for means in (adjusted(by_seed(values)), adjusted(by_seed(np.round(values * 0)))):
        each = np.array([means.errors(i) for i in range(6)])
        assert means.all_errors() == pytest.approx(each, rel=1e-9, abs=0) and (means.all_errors().diagonal() == 0).all()


def test_cells_that_share_no_seed_with_the_others_are_left_out():
    values = np.full((4, 5), np.nan)
    values[0, :3], values[1, 2:4], values[2, 3], values[3, 4] = 0.5, 0.6, 0.7, 0.9
    assert adjusted(by_seed(values)).keys == [0, 1, 2], "a chain of seeds joins these"


def test_two_cells_are_judged_by_the_paired_t_test():
    values = noise(2, 6) + 5 * noise(1, 6, 1)
    both, apart = adjusted(by_seed(values)), interval(values[0] - values[1])
    assert both.means[0] - both.means[1] == pytest.approx(apart.mean) and both.pooled == 5
    # the better one is chosen by the very values that judge: two-sided
    assert together(both, both, 0, 0.95) * both.errors(0)[1] == pytest.approx(apart.high - apart.mean, rel=0.04)


@pytest.mark.parametrize(("cells", "seeds"), [(5, 3), (26, 3), (12, 10)])
def test_cells_of_equal_noise_are_judged_by_the_studentised_range(cells, seeds, monkeypatch):
    """Where test itself chooses, the largest of all differences is asked for: Tukey 1949."""
    monkeypatch.setattr(contrasts, "CAUTION", -9.0)  # they are known to be alike
    both = adjusted(by_seed(noise(cells, seeds)))
    assert both.pooled == pytest.approx((cells - 1) * (seeds - 1)) and np.ptp(both.variance) == pytest.approx(
        0, abs=1e-12
    )
    tukey = studentized_range.ppf(0.95, cells, both.pooled) / np.sqrt(2)
    assert together(both, both, int(both.means.argmax()), 0.95) == pytest.approx(tukey, rel=0.04)


def test_a_choice_by_something_else_than_test_needs_a_smaller_lead():
    test = adjusted(by_seed(noise(10, 20)))
    apart, shared = (adjusted(by_seed(noise(10, 20, 1) + a * noise(10, 20))) for a in (0, 9))
    limits = [together(test, validation, 0, 0.95) for validation in (apart, shared, test)]
    assert limits[0] < limits[1] < 1.02 * limits[2]
    assert limits[0] > student_t.ppf(0.95, test.pooled), "but a larger one than a single rival would need"


def test_the_usual_variance_and_how_alike_variances_are_is_found_again(monkeypatch):
    monkeypatch.setattr(contrasts, "CAUTION", 0.0)
    rng = np.random.default_rng(0)
    freedom = np.full(4000, 4.0)
    true = 2.5 * 6 / rng.chisquare(6, 4000)
    strength, middle = usual_variance(true * rng.chisquare(4, 4000) / 4, freedom)
    assert strength[0] == pytest.approx(6, rel=0.1) and middle == pytest.approx(2.5, rel=0.05)
    strength, middle = usual_variance(2.5 * rng.chisquare(4, 4000) / 4, freedom)
    assert strength[0] > 50 and middle == pytest.approx(2.5, rel=0.05)


def test_a_cell_that_collapsed_makes_no_other_noisy():
    values = noise(16, 3)
    broken = values.copy()
    broken[3] += [0, 80, 0]
    whole, rest = adjusted(by_seed(values)), adjusted(by_seed(broken))
    others = np.arange(16) != 3
    assert (rest.variance[others] < 2 * whole.variance[others]).all() and rest.variance[3] > 500
    assert rest.freedom[3] < 3, "which nobody else vouches for"


def test_cells_without_noise_are_not_judged():
    assert adjusted(by_seed(np.array([[0.5, 0.6], [0.7, 0.8]]))).errors(0).tolist() == [0, 0]


@pytest.mark.parametrize(("cells", "seeds"), [(5, 3), (26, 5)])
def test_what_seeds_are_said_to_tell_is_told_in_four_worlds_of_five(cells, seeds):
    """One cell lies so far below its equals, whose luck on validation is that on test."""
    below, told, rng = told_from(0.01, cells, seeds, 0.95), 0, np.random.default_rng(1)
    for _ in range(60):
        values = 0.01 * rng.standard_normal((cells, seeds))
        values[1:] -= 0.1  # so that nobody's luck but the first's is chosen
        values[1] = values[1] - below + 0.1
        rows = pd.DataFrame(values).rename_axis(index="cell", columns="seed").stack().reset_index(name="test_accuracy")
        choice = choose(rows.assign(val_accuracy=rows["test_accuracy"]), ["cell"])
        assert choice
        told += 1 in set(choice.state("worse")["cell"])
    assert 0.6 <= told / 60 <= 1
    assert told_from(0.01, cells, 1, 0.95) == np.inf and below == pytest.approx(
        10 * told_from(0.001, cells, seeds, 0.95)
    )
