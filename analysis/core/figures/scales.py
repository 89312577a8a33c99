"""How columns become axes: which are geometric, what they are called, where their ticks are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, LogFormatter, MaxNLocator, MultipleLocator
from scipy.stats import t as student_t

from analysis.core.records import is_share
from analysis.core.statistics import LEVEL

LOG2 = frozenset(
    {
        "prevalence",
        "temperature",
        "probe_temperature",
        "l2",
        "lr",
        "strength",
        "labels",
        "queries",
        "assessors",
        "per_class",
    }
)
"""Columns whose grid is geometric: on linear axes most of it would lie in a corner."""

LOG2_FROM_0 = frozenset({"training_step"})
"""Columns that have a 0 and are geometric beyond it: they lie at log2(1 + value)."""

NINES = frozenset({"threshold"})
"""Shares whose grid nears 1: they lie at -log2(1 - value), so that every halving of the doubt is as long."""

MAP = "viridis"
"""Perceptually uniform, and readable without seeing red from green."""

HOLE = "#D55E00"
"""Holes, and what must be found at once."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#000000")
"""Of what has no order: Okabe and Ito's colours, told apart by colour-blind readers too; the yellow is too pale for lines."""

LABELS = {
    "temperature": "temperature T",
    "probe_temperature": "probe temperature T",
    "kd_weight": "lambda (λ)",
    "l2": "penalty l2",
    "test_accuracy": "test accuracy, %",
    "val_accuracy": "validation accuracy, %",
    "val_balanced_accuracy": "balanced accuracy on validation, %",
    "val_exact": "exact validation sequences, %",
    "val_recall_10": "recall@10 on validation, %",
    "val_users_agreement": "pairs of validation pages ordered as by users, %",
    "test_error": "test errors, %",
    "task_0": "test accuracy on 0 and 1, %",
    "task_last": "test accuracy on the last pair, %",
    "bad_share": "share of bad assessors",
    "effect": "better by, grades",
    "missing": "share of judgements missing",
    "noise": "errors of judges, grades",
    "lead_accuracy": "ahead, points",
    "change": "change, points",
    "log_soft_norm": "log₁₀ of the norm",
    "log_scaled_norm": "log₁₀ of T² × norm",
    "source_accuracy": "accuracy on clean MNIST, %",
    "test_users_agreement": "pairs of pages ordered as by users, %",
    "test_detected_share": "true differences found, %",
    "test_false_share": "found where there is no difference, %",
    "p_break": "pBreak",
    "p_value": "p of google is better",
    "val_agreement": "agreement of seeds, Cohen's κ, on validation images (no label read)",
    "val_information": "information of the answers, nats, on validation images (no label read)",
}


def label(column: str) -> str:
    """The name of a column on an axis."""
    return LABELS.get(column, column.replace("_", " ") + (", %" if is_share(column) else ""))


def palette(names: Iterable[Any]) -> dict[Any, Any]:
    """A colour for each name, in their order: shades where they are numbers, PALETTE where they are words."""
    known = list(dict.fromkeys(names))
    if all(isinstance(name, int | float | np.number) for name in known):
        known = sorted(known)
        return dict(zip(known, colormaps[MAP](np.linspace(0, 0.88, len(known))), strict=True))
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(known)}


def ordered(column: pd.Series) -> list:
    """The values of a column in their order: of categories as given, of others ascending."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [value for value in column.cat.categories if (column == value).any()]
    return list(np.unique(column))


def whiskers(table: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the interval of each line is drawn from and to: of one seed nowhere (NaN), of two seeds between their two values, for
    which Student's interval is thirteen times as long; else `low` to `high`, which end where the quantity does."""
    low, high, mean = (table[name].to_numpy(dtype=float) for name in ("low", "high", column))
    if "n" in table:
        two = table["n"].to_numpy() == 2
        half = (high - low) / 2 / float(student_t.ppf((1 + LEVEL) / 2, 1))
        low, high = np.where(two, mean - half, low), np.where(two, mean + half, high)
    least = 0 if ends(column) else -100  # of a share, or of a difference of two
    return (np.clip(low, least, 100), np.clip(high, least, 100)) if is_share(column) else (low, high)


def reach(table: pd.DataFrame, column: str) -> np.ndarray:
    """The same as lengths below and above the value, (2, lines), as matplotlib's error bars ask for them; 0 for none."""
    low, high = whiskers(table, column)
    value = table[column].to_numpy(dtype=float)
    return np.nan_to_num(np.stack([value - low, high - value])).clip(min=0)


def ends(column: str) -> bool:
    """Whether a column lies between 0 and 100: a share in per cent that is no difference of two."""
    return is_share(column) and not {"change", "gain", "lead"} & set(column.split("_"))


def positions(values: Any, column: str) -> np.ndarray:
    """Where values lie on the axis of their column: at their log2 where the column is geometric."""
    numbers = np.asarray(values, dtype=float)
    if column in NINES:
        return -np.log2(1 - numbers)
    return np.log2(numbers + (column in LOG2_FROM_0)) if column in LOG2 | LOG2_FROM_0 else numbers


def number(value: Any) -> str:
    """A number as figures name it: 1,000, 0.05."""
    return f"{value:,g}" if value == round(value) else f"{value:.4g}"


def ticks(values: Iterable[float], column: str, most: int = 9) -> tuple[np.ndarray, list[str]]:
    """Positions and texts of ticks: the grid points; where there are more than `most`, round numbers instead.

    A text that would lie on its neighbour's is left empty; the last one is not.
    """
    points = np.unique(np.asarray(list(values), dtype=float))
    if len(points) > most and column in LOG2:
        points = 2.0 ** np.arange(np.floor(np.log2(points[0])), np.ceil(np.log2(points[-1])) + 1)
    elif len(points) > most and column not in LOG2_FROM_0:
        points = np.array([v for v in MaxNLocator(5).tick_values(*points[[0, -1]]) if points[0] <= v <= points[-1]])
    at = positions(points, column)
    names = [number(value) for value in points]
    texts, last = [], -np.inf
    for place, name in zip(at, names, strict=True):
        crowded = place - last < 0.11 * np.ptp(at)  # its text would lie on its neighbour's
        texts.append("" if crowded else name)
        last = last if crowded else place
    if len(texts) > 2 and not texts[-1]:  # the end is named, rather than its neighbour
        texts[max(i for i, text in enumerate(texts) if text)] = ""
        texts[-1] = names[-1]
    return at, texts


def dress(axis: Axis, values: Iterable[float], column: str) -> None:
    """Ticks and label of one axis of a figure."""
    axis.set_ticks(*ticks(values, column))
    axis.set_label_text(label(column))


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Numbers(LogFormatter):
    """The ticks that matplotlib names on a logarithmic axis, as numbers: its own names are mathematics, which a page's texts are not."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return number(x) if super().__call__(x, pos) else ""


def logarithmic(ax: Axes, which: str, linthresh: float = 0, base: int = 10) -> None:
    """Makes the x or the y axis logarithmic; linear up to `linthresh`, if that is given. base: its ticks are powers of it."""
    axis = getattr(ax, f"{which}axis")
    if linthresh:
        getattr(ax, f"set_{which}scale")("symlog", linthresh=linthresh)
    else:
        getattr(ax, f"set_{which}scale")("log", base=base)
        axis.set_minor_formatter(Numbers() if base == 10 else "")
    axis.set_major_formatter(lambda x, pos: number(x))


def decades(axis: Axis, text: str) -> None:
    """Ticks and label of an axis whose values are decadic logarithms of what is read off it: at powers of ten, and 2 and 5 between
    them where there are few."""

    def name(value: float, place: float = 0) -> str:
        digit, few = round(10 ** (value % 1)) % 9, np.ptp(axis.get_view_interval()) < 2
        if not few:
            return "10" + f"{value:.0f}".translate(RAISED) if digit == 1 else ""
        return number(float(f"{10**value:.1g}")) if digit in (1, 2, 5) else ""

    axis.set_major_locator(MultipleLocator(1))
    axis.set_minor_locator(FixedLocator([e + np.log10(k) for e in range(-15, 15) for k in range(2, 10)]))
    axis.set_major_formatter(name)
    axis.set_minor_formatter(name)
    axis.set_label_text(text)


def stretch(ax: Axes) -> None:
    """A y axis of per cent with more room for high values: every halving of what lacks to 102 is as long. Its lower limit stays."""
    ax.set_yscale("function", functions=(lambda y: -np.log2(102 - y), lambda v: 102 - 2.0**-v))
    ax.set_yticks([tick for tick in (0, 50, 80, 90, 95, 98, 100) if tick >= ax.get_ylim()[0]])
    ax.grid(axis="y", linewidth=0.3)


def grid(table: pd.DataFrame, x: str, y: str, z: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions X, Y and values Z, each (len(y), len(x)), in ascending order; NaN where there is no cell."""
    wide = table.pivot(index=y, columns=x, values=z).sort_index().sort_index(axis=1)
    X, Y = np.meshgrid(positions(wide.columns, x), positions(wide.index, y))
    return X, Y, wide.to_numpy(dtype=float)


def matching(table: pd.DataFrame, best: Mapping[str, Any]) -> pd.DataFrame:
    """The lines of the cell `best`, {column: value}; of all cells along a column that it does not name. `state` is no column."""
    for column, value in best.items():
        if column != "state":
            table = table[table[column] == value]
    return table


def scattered(table: pd.DataFrame, x: str, y: str) -> bool:
    """The cells fill less than half of the grid of their values: points of a search, not a grid."""
    return len(table) < 0.5 * table[x].nunique() * table[y].nunique()
