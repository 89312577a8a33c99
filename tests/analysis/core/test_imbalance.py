"""Prevalence in theory, and the small calculations of the homework against scikit-learn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from analysis.core import imbalance
from analysis.core.figures import imbalance as figures

FREE = ("recall", "specificity", "balanced_accuracy", "g_mean", "roc_auc")


def test_what_has_no_prevalence_in_its_formula_does_not_move():
    rare, balanced = (imbalance.theory("fixed", 1.5, pi) for pi in (0.001, 0.5))
    assert set(rare) == set(imbalance.TERMS)
    for metric, (_, formula) in imbalance.TERMS.items():
        if metric in FREE:
            assert rare[metric] == pytest.approx(balanced[metric]) and "π" not in formula
        elif metric not in ("brier", "log_loss"):  # in a symmetric model these two stay by luck
            assert abs(rare[metric] / balanced[metric] - 1) > 0.05 and ("π" in formula or "q" in formula)


@pytest.mark.parametrize("d, pi", [(1.0, 0.3), (2.0, 0.01)])
def test_rules_do_what_they_say(d, pi):
    def called(rule):
        T, F = imbalance.rates(d, imbalance.threshold(rule, d, pi))
        return T, F, pi * T + (1 - pi) * F

    assert called("fixed")[1] == pytest.approx(0.05)
    assert called("break_even")[2] == pytest.approx(pi)  # so precision is recall
    at = imbalance.threshold("calibrated", d, pi)
    assert d * at + np.log(pi / (1 - pi)) == pytest.approx(0)
    best = imbalance.theory("best_f1", d, pi)["f1"]
    assert all(best >= imbalance.theory(rule, d, pi)["f1"] - 1e-9 for rule in ("fixed", "calibrated", "break_even"))


def test_f_beta_lies_between_precision_and_recall_and_tends_to_them():
    assert imbalance.f_beta(0.2, 0.8, 1e-6) == pytest.approx(0.2) and imbalance.f_beta(0.2, 0.8, 1e6) == pytest.approx(
        0.8
    )
    assert imbalance.f_beta(0.2, 0.8, 1) == pytest.approx(2 / (1 / 0.2 + 1 / 0.8)) and imbalance.f_beta(0, 0, 1) == 0
    thresholds = [imbalance.best_threshold(2.0, 0.1, beta) for beta in (0.5, 1, 2, 4)]
    assert thresholds == sorted(thresholds, reverse=True)  # the more a miss counts, the more is called positive


def test_the_least_cost_is_where_the_formula_says():
    d, pi, miss, alarm = 2.0, 0.05, 30.0, 1.0
    at = (np.log(alarm / miss) - np.log(pi / (1 - pi))) / d
    least = imbalance.cost(d, pi, at, miss, alarm)
    assert all(least < imbalance.cost(d, pi, at + move, miss, alarm) for move in (-0.1, 0.1))
    assert imbalance.cost(d, pi, 50.0, miss, alarm) == pytest.approx(1000 * pi * miss)  # nothing is called positive


def test_roc_auc_is_the_pairs_and_the_area_and_scikit_learns():
    rng = np.random.default_rng(1)
    for _ in range(5):
        scores, labels = rng.integers(0, 8, 30) / 8, np.r_[1, 0, rng.integers(0, 2, 28)]
        pairs, steps = imbalance.pairs(scores, labels), imbalance.staircase(scores, labels)
        theirs = reference.roc_auc_score(labels, scores)
        assert pairs["counts"].mean() == pytest.approx(theirs) == np.trapezoid(steps["tpr"], steps["fpr"])
        assert len(pairs) == labels.sum() * (1 - labels).sum()


@pytest.mark.parametrize("classes", [None, [1, 2]])
def test_averages_are_scikit_learns(classes):
    matrix = np.random.default_rng(2).integers(1, 30, (4, 4))
    truth, answer = (np.repeat(index.ravel(), matrix.ravel()) for index in np.indices(matrix.shape))
    for how, values in imbalance.averages(matrix, classes).items():
        theirs = reference.precision_recall_fscore_support(truth, answer, average=how, labels=classes)[:3]
        assert (values["precision"], values["recall"], values["F1"]) == pytest.approx(theirs)
    every = imbalance.averages(matrix)
    accuracy = reference.accuracy_score(truth, answer)
    assert every["micro"] == pytest.approx(dict.fromkeys(("precision", "recall", "F1"), accuracy))
    assert every["weighted"]["recall"] == pytest.approx(accuracy)


def test_a_ratio_of_nothing_is_drawn_at_the_edge_of_its_logarithmic_axis():
    lines = [("a", 0.0, -0.1, 0.1), ("b", 0.0, 0.0, 0.0), ("c", 1.0, 0.99, 1.01), ("d", 0.5, np.nan, np.nan)]
    table = pd.DataFrame(lines, columns=["metric", "mean", "low", "high"]).assign(verdict="sensitive")
    figure, ax = plt.subplots()
    figures.ratios(table, list("abcd"), (0.95, 1.05), ax)
    figure.canvas.draw()
    assert list(ax.containers[0].lines[0].get_xdata()) == [figures.LEAST, figures.LEAST, 1.0, 0.5]
    plt.close(figure)


def test_theory_stands_beside_the_mean_over_seeds_of_each_point():
    rule, d, pi = "calibrated", 1.5, 0.1
    lines = [
        {
            "rule": rule,
            "separability": d,
            "prevalence": pi,
            "metric": name,
            "value": k * imbalance.theory(rule, d, pi)[m],
        }
        for m, (name, _) in imbalance.TERMS.items()
        for k in (1.0, 2.0)
    ]
    found = imbalance.against_theory(pd.DataFrame(lines))
    assert len(found) == len(imbalance.TERMS) and found["ratio"].to_numpy() == pytest.approx(1.5)


@pytest.mark.parametrize("pi", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 7.0])
def test_the_best_threshold_by_f_beta_is_where_the_page_says(pi, beta):
    """At a probability of the best F_beta over 1 + beta^2, for one: below one half wherever beta is 1 or more."""
    t = imbalance.best_threshold(2.0, pi, beta)
    T, F = imbalance.rates(2.0, t)
    best = imbalance.f_beta(pi * T / (pi * T + (1 - pi) * F), T, beta)
    assert 1 / (1 + np.exp(-2 * t) * (1 - pi) / pi) == pytest.approx(best / (1 + beta**2), abs=1e-4)
