"""What the page of metric_imbalance alone draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.core import imbalance
from analysis.core.figures.scales import PALETTE, logarithmic, whiskers

LEAST = 1e-4  # a logarithmic axis has no 0: what is less lies here
VERDICTS = {"insensitive": PALETTE[0], "sensitive": PALETTE[1], "open": "0.55"}


def ratios(table: pd.DataFrame, names: Sequence[str], within: tuple[float, float], ax: Axes) -> None:
    """Ratios with their intervals (of two seeds both), a line for each metric, coloured by verdict.

    table: metric, mean, low, high, n, verdict. names: of the metrics, from the top. within: what is as good as 1.
    """
    ax.axvspan(*within, color="0.9", zorder=0)
    for verdict, part in table.groupby("verdict", sort=False):
        at = [-list(names).index(metric) for metric in part["metric"]]
        middle, (low, high) = part["mean"].to_numpy(dtype=float).clip(min=LEAST), whiskers(part, "mean")
        reach = np.nan_to_num([middle - low.clip(min=LEAST), high.clip(min=LEAST) - middle]).clip(min=0)
        ax.errorbar(
            middle, at, xerr=reach, fmt="o", color=VERDICTS[str(verdict)], capsize=3, markersize=5, label=verdict
        )
    logarithmic(ax, "x")
    ax.set_yticks([-i for i in range(len(names))], names, fontsize=9)
    ax.set(ylim=(0.6 - len(names), 0.6), xlabel="rarest over balance")
    ax.grid(axis="x", linewidth=0.3)


def f_lines(beta: float, ax: Axes, d: float = 2.0, pi: float = 0.1) -> None:
    """Lines of equal F_beta over recall and precision, the curve of a binormal classifier and the best of its points."""
    R, P = np.meshgrid(np.linspace(0.005, 1, 200), np.linspace(0.005, 1, 200))
    lines = ax.contour(
        R, P, (1 + beta**2) * P * R / (beta**2 * P + R), levels=np.arange(0.1, 1, 0.1), cmap="viridis", linewidths=1
    )
    ax.clabel(lines, fontsize=7, fmt="%.1f")
    rates = np.array([imbalance.rates(d, t) for t in np.linspace(-4, 6, 400)])
    precision = pi * rates[:, 0] / (pi * rates[:, 0] + (1 - pi) * rates[:, 1])
    ax.plot(rates[:, 0], precision, color="black", label="what the classifier reaches")
    T, F = imbalance.rates(d, imbalance.best_threshold(d, pi, beta))
    ax.plot(
        T,
        pi * T / (pi * T + (1 - pi) * F),
        "*",
        color=PALETTE[1],
        markersize=14,
        markeredgecolor="black",
        label="best threshold",
    )
    ax.set(title=f"β = {beta:g}", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))


def stairs(steps: pd.DataFrame, ax: Axes) -> None:
    """The ROC curve of few predictions with the threshold at each of its corners. steps: see `imbalance.staircase`."""
    ax.fill_between(steps["fpr"], steps["tpr"], color=PALETTE[5], alpha=0.3)
    ax.plot(steps["fpr"], steps["tpr"], "o-", color=PALETTE[0])
    ax.plot([0, 1], [0, 1], ":", color="0.5")
    for _, step in steps[1:].iterrows():
        ax.annotate(
            f"≥ {step['threshold']:g}", (step["fpr"], step["tpr"]), (6, -11), textcoords="offset points", fontsize=8
        )
    ax.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.08), ylim=(-0.02, 1.05))
