import math

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot, rc_context
from scipy import stats

from analysis.core import pairs
from analysis.core.figures import pairs as figures
from analysis.core.statistics import holm


def test_benjamini_hochberg_rejects_what_its_authors_rejected():
    """Benjamini & Hochberg 1995, section 3.2: four of fifteen hypotheses at 5 %, where Bonferroni's way rejects three."""
    p = [.0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344, .0459, .3240, .4262, .5719, .6528, .7590, 1.0]  # fmt: skip
    corrected = pairs.benjamini_hochberg(p)
    assert (corrected < 0.05).tolist() == [True] * 4 + [False] * 11 and (holm(p) < 0.05).sum() == 3
    assert corrected == pytest.approx(stats.false_discovery_control(p))
    assert pairs.benjamini_hochberg([0.04, 0.01, math.nan]) == pytest.approx([0.06, 0.03, 1.0])


def test_the_interval_of_a_proportion_is_scipys():
    reference = stats.binomtest(388, 400).proportion_ci(method="wilson")
    found = pairs.wilson(388, 400)
    assert (found.mean, found.n) == (0.97, 400) and (found.low, found.high) == pytest.approx(
        (reference.low, reference.high)
    )


def test_a_partial_correlation_is_what_a_third_feature_does_not_explain():
    x = np.random.default_rng(4).normal(size=(4000, 3))
    x[:, 1] += x[:, 0]  # a chain: 0 and 2 depend on each other through 1 alone
    x[:, 2] += x[:, 1]
    correlation = np.corrcoef(x.T)
    partial = pairs.partial_correlations(correlation, 0.0)
    given = np.column_stack([x[:, 1], np.ones(len(x))])
    a, b = (v - given @ np.linalg.lstsq(given, v)[0] for v in (x[:, 0], x[:, 2]))
    assert partial[0, 2] == pytest.approx(np.corrcoef(a, b)[0, 1]) and abs(partial[0, 2]) < 0.05 < correlation[0, 2]


@pytest.fixture
def view():
    """Four pixels of a 3 x 3 grid; the first two are one, the last is alone."""
    covariance = np.diag([4.0, 4.0, 1.0, 1.0])
    covariance[0, 1] = covariance[1, 0] = 4.0
    means = np.tile([0.5, 0.5, 0.5, 0.001], (10, 1))
    return pairs.View(3, np.array([0, 1, 4, 8]), covariance, means, 5)


def test_a_view_knows_where_its_pixels_are_and_what_depends_on_what(view):
    assert np.allclose(view.correlation, [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert list(zip(view.row, view.column, strict=True)) == [(0, 0), (0, 1), (1, 1), (2, 2)]
    assert view.nearest(1.2, 0.9) == 2
    links = view.strongest(view.correlation, 9)  # those of the last pixel, which has no ink, are left out
    assert links[["first", "second"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 2]]
    assert links["strength"].tolist() == [1, 0, 0] and links["apart"].tolist() == pytest.approx([1, 2**0.5, 1])
    assert view.strongest(-view.correlation, 1)["strength"].tolist() == [-1]
    assert view.strongest(view.correlation, 9, least=1.2)[["first", "second"]].to_numpy().tolist() == [[0, 2]]
    order = list(view.clustered)
    assert sorted(order) == [0, 1, 2, 3] and abs(order.index(0) - order.index(1)) == 1


def test_only_weights_that_are_far_from_0_and_have_ink_are_significant(view):
    weight, spread = np.array([5.0, 0.1, 0.0, 9.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0, 1.0])  # the bias last
    index = pd.MultiIndex.from_tuples(pairs.PAIRS, names=["first", "second"])
    lines = pd.DataFrame({"weight": [weight] * 45, "error": [spread] * 45, "sampling_error": [spread] * 45}, index)
    found = pairs.estimates(lines, view.class_means)
    assert found["significant"][3, 7].tolist() == [True, False, False, False]  # the last has no ink
    assert (
        found["z"][0, 1][0] == 5
        and np.isnan(found["z"][0, 1][3])
        and found["weight"][8, 9].tolist() == [5.0, 0.1, 0.0, 9.0]
    )
    assert pairs.tested(lines, None)[1][0].tolist() == [True, False, False, True]


def test_pairs_are_hardest_first_by_validation_with_the_interval_of_their_test():
    index = pd.MultiIndex.from_tuples(pairs.PAIRS)
    lines = pd.DataFrame(
        {"test_accuracy": 0.97, "test_digits": 400, "val_accuracy": np.linspace(0.9, 0.99, 45)[::-1]}, index
    )
    accuracy, hardest = pairs.accuracies(lines)
    assert hardest[0] == (8, 9) and hardest[-1] == (0, 1) and accuracy[4, 9] == pairs.wilson(388, 400)


def test_the_correlation_of_weights_is_read_without_the_bias():
    r = np.array([[1, 0.5, 0.1], [0.5, 1, 0.2], [0.1, 0.2, 1]], np.float16)  # the bias last
    assert pairs.weight_correlation(pd.Series({"correlation": r.tobytes()})).tolist() == [[1, 0.5], [0.5, 1]]


def test_lengths_say_how_many_pairs_are_separable():
    lines = [(0, k, l2, k / l2, k == 1) for k in (1, 2, 3) for l2 in (0.1, 1.0)]
    table = pd.DataFrame(lines, columns=["first", "second", "l2", "norm", "separable"])
    with rc_context({"backend": "agg"}):
        (ax,) = figures.lengths({"pixels": table}).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["separable: 1", "no hyperplane found: 2"]
    assert [line.get_color() for line in ax.lines[:3]] == [figures.SPLIT[k == 1] for k in (1, 2, 3)]
    assert ax.lines[1].get_ydata().tolist() == [20, 2] and ax.get_title() == "pixels"
    pyplot.close("all")
