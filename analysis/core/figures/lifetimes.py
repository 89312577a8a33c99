"""How long something lasts, or takes, on an axis that ends with the training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from analysis.core.decay import medians
from analysis.core.figures.curves import curves, dots
from analysis.core.figures.scales import label, logarithmic, reach, stretch
from analysis.core.statistics import summarise


def lifetimes(table: pd.DataFrame, group: str, name: str, colors: Mapping[Any, Any], ax: Axes | None = None) -> Axes:
    """Median half-lives with their intervals, a line for each value of `group`, called as `name` says, in the order of the colours, the
    first on top; arrows lie beyond the training, where nobody looked.

    table: one line per student with `half_life`, which may be inf, or below 1 and is then drawn at 1, and `watched`, the iterations
    of the training.
    """
    found, end = medians(table, [group, name], "half_life"), table["watched"].max()
    found = found.sort_values(group, key=lambda names: names.map([*colors].index), kind="stable")
    ax = ax or pyplot.figure(figsize=(7, 0.4 * len(found) + 1)).add_subplot()
    for y, (_, line) in enumerate(found.iterrows()):
        life, color = line["half_life"], colors[line[group]]
        middle, low, high = np.clip([life, line["low"], line["high"]], 1, 1.5 * end)
        ax.plot([low, high], [y, y], color=color, linewidth=1.6)
        ax.plot(middle, y, ">" if math.isinf(life) else "o", color=color)
        ax.plot(high, y, ">" if math.isinf(line["high"]) else "", color=color)
        text = f"> {end:g}" if math.isinf(life) else f"{life:.0f}" if life >= 1 else "below 1"
        place = (np.nanmax([middle, high]), y), (8, 0)
        ax.annotate(text, *place, textcoords="offset points", va="center", fontsize=8.5)
    ax.axvline(end, color="0.8", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(found)), list(found[name]))
    logarithmic(ax, "x")
    ax.set(xlabel="half-life, iterations", xlim=(0.9, 4 * end), ylim=(len(found) - 0.4, -0.6))
    return ax


def over_tasks(table: pd.DataFrame, group: str, colors: Mapping[Any, Any], ax: Axes | None = None) -> Axes:
    """What is left of the first task, a line for each value of `group`: over the iterations of the second of two tasks, the first of
    them wide apart; over those of all five on a linear axis, with a mark where each begins. High accuracies have more room.

    table: evaluations as `decay.by_task` has them, of one plan.
    """
    ax = ax or pyplot.figure(figsize=(7, 4.5)).add_subplot()
    five, steps = table["tasks"].iloc[0] == "five", int(table["steps"].iloc[0])
    x = "step" if five else "training_step"
    means = summarise(table, [group, x], "task_0")
    curves(means, x, "task_0", group, colors, ax=ax)
    lowest = min(ax.get_ylim()[0], np.nanmin(means[["low", "task_0"]].clip(lower=0)) - 1)  # of all panels that share the axis
    for border in range(steps, 5 * steps, steps) if five else ():
        ax.axvline(border, color="0.8", linewidth=0.8, zorder=0)
    ax.set(xlabel="iteration over all five tasks" if five else "fine-tuning iteration", ylim=(max(lowest, 0), 100.3))
    ax.set_ylabel(f"{label('task_0')}\n(uneven scale: wider towards 100)")
    stretch(ax)
    return ax


def over_rates(table: pd.DataFrame, metric: str, group: str, colors: Mapping[Any, Any], ax: Axes | None = None) -> Axes:
    """A share over the learning rate `lr`, means in per cent; or `half_life`, medians on a logarithmic axis, where those that outlast
    the training lie above a grey line. A line for each value of `group`, dashed where it names sgd; dots where each lr has one student.

    table: one line per student, with `watched`, the iterations of the training.
    """
    ax = ax or pyplot.figure(figsize=(7, 4.5)).add_subplot()
    if metric == "half_life":
        end = table["watched"].max()
        found = medians(table, [group, "lr"], metric).replace(math.inf, 2 * end)
        logarithmic(ax, "y")
        ax.axhline(end, color="0.8", linewidth=0.8, zorder=0)
    else:
        found = summarise(table, [group, "lr"], metric)
        ax.set_ylim(0, 101)
    draw = dots if found["lr"].is_unique and found[group].nunique() > 1 else curves
    draw(found, "lr", metric, group, colors, ax=ax)
    for line in ax.lines:
        line.set_linestyle("--" if "sgd" in str(line.get_label()) else line.get_linestyle())
    ax.set_xlabel("learning rate")
    return ax


def arrivals(
    table: pd.DataFrame, name: str, value: str, end: float, colors: Mapping[Any, Any], ax: Axes | None = None
) -> Axes:
    """When each seed gets there: a dot, and below all dots of a line their mean with its interval; beyond `end`, where nobody
    looked, a cross that counts those that never do. The first line is on top.

    table: one line per seed, NaN where it never gets there. colors: of the lines by name, in their order.
    """
    ax = ax or pyplot.figure(figsize=(7, 0.5 * len(colors) + 1)).add_subplot()
    shown = [known for known in colors if (table[name] == known).any()]
    for y, known in enumerate(shown):
        part = table[table[name] == known]
        never, color = int(part[value].isna().sum()), colors[known]
        ax.scatter(part[value], [y] * len(part), color=color, s=22, alpha=0.6)
        note: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8}
        if never:
            ax.scatter(1.06 * end, y, marker="x", color=color)
            ax.annotate(f"{never} of {len(part)}", (1.06 * end, y), (8, 0), va="center", **note)
            continue
        mean = summarise(part, [name], value)
        place = float(mean[value].iloc[0]), y + 0.25
        ax.errorbar(*place, xerr=reach(mean, value), fmt="|", color=color, markersize=9, capsize=3)
        ax.annotate(f"{place[0]:,.0f}" if place[0] >= 100 else f"{place[0]:.3g}", place, (0, -5), ha="center", va="top", **note)
    ax.axvline(end, color="0.5", linewidth=0.8)
    ax.set_yticks(range(len(shown)), [str(known) for known in shown])
    ax.set(xlim=(0, 1.22 * end), ylim=(len(shown) - 0.3, -0.5))
    ax.grid(alpha=0.25)
    return ax
