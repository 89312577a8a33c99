"""What prevalence does to the metrics of a binary classifier, in theory; and the small calculations of a homework on them.

Binormal model: scores of positives are normal with mean d/2, of negatives with mean -d/2, deviation 1. A threshold t gives the
true positive rate T = Phi(d/2 - t) and the false positive rate F = Phi(-d/2 - t), which no prevalence moves; all else follows from T, F
and the prevalence pi. The log odds of a score x are d x + logit(pi).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, logit
from scipy.stats import norm

GRID = np.linspace(-12, 12, 4001)  # of scores, for integrals

TERMS: Mapping[
    str, tuple[str, str]
] = {  # a metric's name, and what it is of T, F, pi; q = pi T + (1 - pi) F is called positive
    "recall": ("recall (TPR)", "T"),
    "specificity": ("specificity (TNR)", "1 - F"),
    "balanced_accuracy": ("balanced accuracy", "(T + 1 - F) / 2"),
    "g_mean": ("G-mean", "√(T (1 - F))"),
    "roc_auc": ("ROC-AUC", "P(positive scores higher)"),
    "accuracy": ("accuracy", "π T + (1 - π)(1 - F)"),
    "precision": ("precision (PPV)", "π T / q"),
    "npv": ("NPV", "(1 - π)(1 - F) / (1 - q)"),
    "f05": ("F0.5", "1.25 π T / (q + 0.25 π)"),
    "f1": ("F1", "2 π T / (q + π)"),
    "f2": ("F2", "5 π T / (q + 4 π)"),
    "jaccard": ("Jaccard", "π T / (q + π - π T)"),
    "mcc": ("MCC", "(T - F) √(π (1 - π) / (q (1 - q)))"),
    "kappa": ("Cohen's κ", "2 π (1 - π)(T - F) / (π (1 - q) + q (1 - π))"),
    "lift": ("lift", "T / q"),
    "pr_auc": ("PR-AUC (average precision)", "mean of π T / q over positives"),
    "brier": ("Brier score", "π E(1 - p)² + (1 - π) E p²"),
    "log_loss": ("log loss", "-π E ln p - (1 - π) E ln(1 - p)"),
}
"""Metrics in the order in which pages show them."""


def rates(d: float, threshold: float) -> tuple[float, float]:
    """T and F at a threshold of the score."""
    return float(norm.sf(threshold - d / 2)), float(norm.sf(threshold + d / 2))


def of_rates(T: float, F: float, pi: float) -> dict[str, float]:
    """All metrics that need T, F and the prevalence alone; 0 / 0 is 0."""
    q = pi * T + (1 - pi) * F

    def over(a: float, b: float) -> float:
        return a / b if b > 0 else 0.0

    return {
        "recall": T,
        "specificity": 1 - F,
        "balanced_accuracy": (T + 1 - F) / 2,
        "g_mean": math.sqrt(T * (1 - F)),
        "accuracy": pi * T + (1 - pi) * (1 - F),
        "precision": over(pi * T, q),
        "npv": over((1 - pi) * (1 - F), 1 - q),
        **{name: f_beta(over(pi * T, q), T, beta) for name, beta in (("f05", 0.5), ("f1", 1.0), ("f2", 2.0))},
        "jaccard": over(pi * T, q + pi - pi * T),
        "mcc": over((T - F) * math.sqrt(pi * (1 - pi)), math.sqrt(q * (1 - q))),
        "kappa": over(2 * pi * (1 - pi) * (T - F), pi * (1 - q) + q * (1 - pi)),
        "lift": over(T, q),
    }


def f_beta(precision: float, recall: float, beta: float) -> float:
    """(1 + beta^2) P R / (beta^2 P + R): recall counts beta times as much as precision.     van Rijsbergen 1979, chapter 7

    beta -> 0 is precision, beta -> infinity recall; of two that are 0 it is 0."""
    below = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / below if below > 0 else 0.0


def of_scores(d: float, pi: float, shift: float) -> dict[str, float]:
    """ROC-AUC, PR-AUC, and Brier score and log loss of the probabilities expit(d x + shift)."""
    T, F = norm.sf(GRID - d / 2), norm.sf(GRID + d / 2)
    precision = pi * T / (pi * T + (1 - pi) * F)
    positive, negative = norm.pdf(GRID - d / 2), norm.pdf(GRID + d / 2)
    odds = d * GRID + shift

    def mean(wrong: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.trapezoid(pi * positive * wrong(-odds) + (1 - pi) * negative * wrong(odds), GRID))

    return {
        "roc_auc": float(norm.cdf(d / math.sqrt(2))),
        "pr_auc": float(np.trapezoid(precision * positive, GRID)),
        "brier": mean(lambda z: expit(z) ** 2),
        "log_loss": mean(lambda z: np.logaddexp(0, z)),
    }


def threshold(rule: str, d: float, pi: float, passing: float = 0.05) -> float:
    """Where a rule puts the threshold of the score x. passing: F of the fixed one."""
    if rule == "fixed":
        return float(norm.isf(passing) - d / 2)
    if rule == "calibrated":
        return float(-logit(pi) / d)

    def called(t: float) -> tuple[float, float]:
        T, F = rates(d, t)
        return T, pi * T + (1 - pi) * F

    if rule == "break_even":
        return float(brentq(lambda t: called(t)[1] - pi, -12, 12))
    return float(minimize_scalar(lambda t: -2 * pi * called(t)[0] / (called(t)[1] + pi), (-1.0, 1.0)).x)


def theory(rule: str, d: float, pi: float) -> dict[str, float]:
    """All metrics, for endless test sets. The fixed rule knows nothing of the prevalence, so its probabilities are those of balance."""
    shift = 0.0 if rule == "fixed" else float(logit(pi))
    return {**of_rates(*rates(d, threshold(rule, d, pi)), pi), **of_scores(d, pi, shift)}


def against_theory(lines: pd.DataFrame) -> pd.DataFrame:
    """Mean simulated values beside the theory of the same rule. lines: rule, separability, prevalence, metric (a name of `TERMS`), value, for
    each seed. A line for each point: these, `theory`, and `ratio`, the mean over the theory."""
    points = ["rule", "separability", "prevalence", "metric"]
    means = lines.groupby(points, observed=True, as_index=False)["value"].mean()
    metric_of = {term[0]: metric for metric, term in TERMS.items()}
    known = {point: theory(*point) for point in means[points[:3]].itertuples(index=False, name=None)}
    found = [
        known[rule, d, pi][metric_of[metric]]
        for rule, d, pi, metric in means[points].itertuples(index=False, name=None)
    ]
    return means.assign(theory=found, ratio=means["value"] / found)


def best_threshold(d: float, pi: float, beta: float) -> float:
    """Where F_beta is largest."""

    def loss(t: float) -> float:
        T, F = rates(d, t)
        return -f_beta(pi * T / (pi * T + (1 - pi) * F), T, beta)

    return float(minimize_scalar(loss, (-1.0, 1.0)).x)


def cost(d: float, pi: float, t: float, miss: float, alarm: float) -> float:
    """Expected cost of 1,000 cases: of a miss, and of a false alarm. Least at t = (ln(alarm / miss) - logit(pi)) / d."""
    T, F = rates(d, t)
    return 1000 * (pi * (1 - T) * miss + (1 - pi) * F * alarm)


def pairs(scores: Sequence[float], labels: Sequence[int]) -> pd.DataFrame:
    """Every positive beside every negative: their scores, and what the pair counts: 1 where the positive is higher, a half for a tie."""
    lines = [
        {"positive": p, "negative": n, "counts": 1.0 if p > n else 0.5 if p == n else 0.0}
        for (p, a), (n, b) in product(zip(scores, labels, strict=True), repeat=2)
        if a and not b
    ]
    return pd.DataFrame(lines)


def staircase(scores: Sequence[float], labels: Sequence[int]) -> pd.DataFrame:
    """The ROC curve: a line per threshold from the highest down, with tp, fp and the rates; scores that tie are one step."""
    positive = np.asarray(labels, dtype=bool)
    values = np.asarray(scores, dtype=float)
    lines = [
        (t, int((positive & (values >= t)).sum()), int((~positive & (values >= t)).sum()))
        for t in sorted(set(scores), reverse=True)
    ]
    steps = pd.DataFrame([(math.inf, 0, 0), *lines], columns=["threshold", "tp", "fp"])
    return steps.assign(tpr=steps["tp"] / positive.sum(), fpr=steps["fp"] / (~positive).sum())


def averages(matrix: np.ndarray, classes: Sequence[int] | None = None) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 averaged over classes: micro (all counts in one), macro (classes alike), weighted (by their size).

    matrix: counts, rows are the truth, columns the answer (K, K). classes: those that are averaged over, all unless named.
    """
    chosen = list(range(len(matrix))) if classes is None else list(classes)
    hit = np.diag(matrix)[chosen].astype(float)
    size, called = matrix.sum(axis=1)[chosen], matrix.sum(axis=0)[chosen]
    P, R = hit / np.maximum(called, 1), hit / size
    F1 = np.array([f_beta(p, r, 1.0) for p, r in zip(P, R, strict=True)])
    micro = hit.sum() / called.sum(), hit.sum() / size.sum()
    made = {
        "micro": (*micro, f_beta(*micro, 1.0)),
        "macro": (P.mean(), R.mean(), F1.mean()),
        "weighted": tuple(float(np.average(each, weights=size)) for each in (P, R, F1)),
    }
    return {
        how: dict(zip(("precision", "recall", "F1"), map(float, values), strict=True)) for how, values in made.items()
    }
