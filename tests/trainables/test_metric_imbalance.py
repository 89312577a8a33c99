"""Metrics of many test sets at once: scikit-learn's numbers, the theory's means, and the prevalence that was asked for."""

import numpy as np
import pytest
from sklearn import metrics as reference

from analysis.core import imbalance
from trainables.metric_imbalance import (
    METRICS,
    RULES,
    Config,
    MetricImbalance,
    Sets,
    at_threshold,
    counted,
    probable,
    ranked,
    simulated,
    thinned,
)


def config(**changes):
    given = {"source": "simulation", "separability": 2.0, "positive": 8, "size": 4000, "worlds": 100, "prevalence": 0.1}
    return Config(**{**given, "rule": "fixed", "seed": 0, **changes})


def rows(*configs, answers=None):
    return MetricImbalance(configs, {}, answers or {}, "cpu").step()


def test_all_metrics_are_those_of_scikit_learn_ties_included():
    rng = np.random.default_rng(0)
    sets = Sets(rng.normal(1, 1, (6, 37)).round(1), rng.normal(-1, 1, (6, 211)).round(1), 37)
    ours = {**at_threshold(*counted(sets, 0.3)), **ranked(sets), **probable(sets, -1.0)}
    assert set(ours) == set(METRICS)
    y = np.r_[np.ones(37), np.zeros(211)]
    for w in range(6):
        x = np.r_[sets.positives[w], sets.negatives[w]]
        called, p = x >= 0.3, 1 / (1 + np.exp(1 - x))
        theirs = {
            "accuracy": reference.accuracy_score(y, called),
            "precision": reference.precision_score(y, called),
            "recall": reference.recall_score(y, called),
            "specificity": reference.recall_score(1 - y, ~called),
            "npv": reference.precision_score(1 - y, ~called),
            **{n: reference.fbeta_score(y, called, beta=b) for n, b in (("f1", 1), ("f2", 2), ("f05", 0.5))},
            "jaccard": reference.jaccard_score(y, called),
            "balanced_accuracy": reference.balanced_accuracy_score(y, called),
            "mcc": reference.matthews_corrcoef(y, called),
            "kappa": reference.cohen_kappa_score(y, called),
            "roc_auc": reference.roc_auc_score(y, x),
            "pr_auc": reference.average_precision_score(y, x),
            "brier": reference.brier_score_loss(y, p),
            "log_loss": reference.log_loss(y, p),
        }
        theirs["g_mean"] = np.sqrt(theirs["recall"] * theirs["specificity"])
        theirs["lift"] = theirs["precision"] / y.mean()
        assert {name: ours[name][w] for name in METRICS} == pytest.approx(theirs, abs=1e-12)


def test_where_nothing_is_called_positive_metrics_are_zero_as_scikit_learn_says():
    found = at_threshold(np.zeros(1), np.zeros(1), 5, 95)
    assert [found[n][0] for n in ("precision", "f1", "mcc", "kappa", "lift")] == [0] * 5 and found["accuracy"][
        0
    ] == 0.95


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("prevalence", [0.02, 0.5])
def test_means_are_those_of_the_theory(rule, prevalence):
    """Within five standard errors of the simulation, and what a threshold found on few positives costs."""
    found = rows(config(rule=rule, prevalence=prevalence, size=20_000))[0]
    theory = imbalance.theory(rule, 2.0, prevalence)
    slack = 0.01 if rule in ("best_f1", "break_even") else 0.002
    for name in METRICS:
        error = 5 * found[f"spread_{name}"] / 10 + slack * max(1, theory[name])
        assert abs(found[f"test_{name}"] - theory[name]) < error, name


def test_what_is_said_within_a_class_hears_no_prevalence():
    """Recall, specificity and ROC-AUC at one threshold: the same within Monte Carlo error from balance to 1 in 100."""
    few, many = (simulated(config(prevalence=p, size=8000), held_out=False) for p in (0.01, 0.5))
    for metric in ("recall", "specificity", "roc_auc", "balanced_accuracy", "g_mean"):
        a, b = ({**at_threshold(*counted(s, 0.5)), **ranked(s)}[metric] for s in (few, many))
        assert abs(a.mean() - b.mean()) < 4 * np.sqrt((a.var() + b.var()) / len(a)) + 0.004 * (metric == "g_mean")
    for metric in ("precision", "f1", "mcc", "pr_auc"):
        a, b = ({**at_threshold(*counted(s, 0.5)), **ranked(s)}[metric] for s in (few, many))
        assert a.mean() < 0.7 * b.mean()


@pytest.mark.parametrize("prevalence", [0.01, 0.1, 0.5])
def test_digits_are_thinned_to_the_prevalence_and_none_is_repeated(prevalence):
    scores, positive = np.arange(1000.0), np.arange(1000) < 100
    sets = thinned(config(source="mnist", prevalence=prevalence), scores, positive, held_out=False)
    P, N = sets.positives.shape[1], sets.negatives.shape[1]
    assert abs(P / (P + N) - prevalence) < 0.001 and max(P / 100, N / 900) > 0.98
    for drawn in (sets.positives, sets.negatives):
        assert all(len(set(world)) == len(world) for world in drawn)
    assert set(sets.positives.ravel()) <= set(range(100)) and set(sets.negatives.ravel()) <= set(range(100, 1000))


def test_too_few_positives_fail_with_a_reason_and_leave_the_others():
    poor, good = rows(config(prevalence=0.001, size=1000), config(prevalence=0.1, size=1000))
    assert poor["status"] == "failed" and "1 positives; at least 3" in poor["error"] and good["status"] == "done"


def test_a_student_does_not_depend_on_its_pack():
    alone = rows(config(rule="best_f1"))[0]
    among = rows(config(), config(rule="best_f1"), config(prevalence=0.3))[1]
    assert {k: v for k, v in alone.items() if k != "seconds"} == {k: v for k, v in among.items() if k != "seconds"}
