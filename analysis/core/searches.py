"""What a search tried, in Optuna's own figures. They are made from the rows: no database of a run is opened."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.core.records import is_share

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEAST = 4  # points that make a figure
DECADES = 20.0  # a range of more than this factor is drawn logarithmically


def drawn(students: pd.DataFrame, planned: Mapping[str, Sequence[Any]]) -> list[str]:
    """The axes that a search drew values for: numbers of which some were in no grid. planned: the grids of all axes."""
    numbers = [a for a in planned if a != "seed" and a in students and pd.api.types.is_numeric_dtype(students[a])]
    return [a for a in numbers if not set(students[a].dropna()) <= {v for v in planned[a] if not isinstance(v, str)}]


def figures(points: pd.DataFrame, axes: Sequence[str], metric: str, mode: str) -> dict[str, go.Figure]:
    """{name: figure} of optuna.visualization: history, importance (PED-ANOVA, Watanabe et al. 2023), slice, parallel coordinates,
    contour; importance and contour of two axes or more. Nothing of fewer than LEAST points.

    points: a line for each student, in the order of the search; its axes, and the metric, of which seeds are averaged. mode: "max" or "min".
    """
    import optuna
    from optuna import visualization
    from optuna.distributions import BaseDistribution, FloatDistribution

    means = points.dropna(subset=[*axes, metric]).groupby(list(axes), sort=False)[metric].mean().reset_index()
    varied = [axis for axis in axes if means[axis].nunique() > 1]
    if len(means) < LEAST or not varied or means[metric].nunique() < 2:
        return {}
    ends = {axis: (float(means[axis].min()), float(means[axis].max())) for axis in varied}
    space: dict[str, BaseDistribution] = {
        a: FloatDistribution(low, high, log=low > 0 and high > DECADES * low) for a, (low, high) in ends.items()
    }
    with warnings.catch_warnings(action="ignore"):  # some of it is experimental, and says so
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
            for line in means.to_dict("records"):
                values = {axis: float(line[axis]) for axis in varied}
                study.add_trial(
                    optuna.trial.create_trial(params=values, distributions=space, value=float(line[metric]))
                )
            named: dict[str, Any] = {"target_name": metric.replace("_", " ") + " (share)" * is_share(metric)}
            found = {
                "history": visualization.plot_optimization_history(study, **named),
                "slice": visualization.plot_slice(study, **named),
                "parallel coordinates": visualization.plot_parallel_coordinate(study, **named),
            }
            if len(varied) > 1:
                rated = optuna.importance.PedAnovaImportanceEvaluator()
                found["importance"] = visualization.plot_param_importances(study, evaluator=rated, **named)
                found["contour"] = visualization.plot_contour(study, **named)
        finally:
            optuna.logging.set_verbosity(level)
    return found
