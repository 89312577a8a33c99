"""How fast knowledge goes: numbers of one curve, an accuracy over the iterations since the task changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.stats import binom

from analysis.core.statistics import LEVEL, Interval

CALLED = {"l2": "L2", "ewc": "EWC", "lwf": "LwF"}
LOSSES = ("none", *CALLED.values())
FROZEN = "freeze first", "freeze features", "freeze readout"
Numbers = Sequence[float] | np.ndarray


def half_life(steps: Numbers, accuracy: Numbers, start: float, chance: float = 0.5) -> float:
    """Iterations until half of what was known above chance is gone: the first crossing of (start + chance) / 2.

    steps: ascending, above 0; accuracy: after each; start: before the first. Between evaluations the accuracy is taken as
    linear in the logarithm of the step (in the step itself before the first). inf where it is never crossed.
    """
    x, y = np.asarray(steps, dtype=float), np.asarray(accuracy, dtype=float)
    level = (start + chance) / 2
    below = np.flatnonzero(y < level)
    if not len(below):
        return math.inf
    i = int(below[0])
    if i == 0:
        return float(x[0] * (start - level) / (start - y[0]))
    part = (y[i - 1] - level) / (y[i - 1] - y[i])
    return float(x[i - 1] * (x[i] / x[i - 1]) ** part)


def area(steps: Numbers, accuracy: Numbers) -> float:
    """Mean accuracy over the logarithm of the iterations: the area under the curve as it is drawn, over its width."""
    x, y = np.log(np.asarray(steps, dtype=float)), np.asarray(accuracy, dtype=float)
    return float(np.trapezoid(y, x) / np.ptp(x)) if len(x) > 1 else float(y[0])


def tables(
    students: pd.DataFrame, evaluations: pd.DataFrame, starts: pd.DataFrame, axes: Iterable[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The study of forgetting: its students with their `method` and what they knew (see `by_task`, `methods`, `known`), in the order
    of the methods, and its evaluations by task, those before the first step included.

    students: what was planned, as `Run.asked` has it, with the axes; evaluations: of those that did not fail; starts: the table of the
    networks that they start from. Logistic regression with its one layer frozen learns nothing at all and is left out.
    """
    history = by_task(pd.concat([evaluations, untaught(students[["student", *axes]], starts)]))
    told = by_task(students).assign(method=methods(students)).join(known(history), on="student")
    learns = (told["network"] != "logistic") | ~told["remedy"].str.startswith("freeze")
    return told[learns].sort_values("method", kind="stable").copy(), history  # in few blocks: pandas warns of a hundred


def methods(students: pd.DataFrame) -> pd.Series:
    """What each remedy is called, of rehearsal with its memory where there are several; categories: those without a layer frozen,
    rehearsal by memory, those with."""
    remedy, memory = students["remedy"].str.replace("_", " ").replace(CALLED), students["memory"]
    sizes = sorted(memory[remedy == "rehearsal"].unique())
    several = (remedy == "rehearsal") & (len(sizes) > 1)
    names = remedy.where(~several, remedy + " " + memory.astype(str))
    rehearsals = [f"rehearsal {size}" for size in sizes] if len(sizes) > 1 else ["rehearsal"]
    order = [*LOSSES, *rehearsals, *FROZEN]
    return pd.Series(pd.Categorical(names, order), students.index)


def by_task(table: pd.DataFrame) -> pd.DataFrame:
    """Students or evaluations of the study of forgetting with `task_0` ... `task_4`, the accuracy on a pair of digits, which count
    alike; `task_last`; `since`, the iterations since the digits were new (below 0 in the first of five tasks); `training_step`."""
    pairs = {k: [f"accuracy_{2 * k}", f"accuracy_{2 * k + 1}"] for k in range(5)}
    tasks = {f"task_{k}": table[pair].mean(axis=1, skipna=False) for k, pair in pairs.items()}
    five = table["tasks"] == "five"
    last, since = tasks["task_4"].where(five, tasks["task_1"]), table["step"] - table["steps"].where(five, 0)
    return table.assign(**tasks, task_last=last, since=since, training_step=table["step"])


def untaught(students: pd.DataFrame, starts: pd.DataFrame) -> pd.DataFrame:
    """The networks that students start from as evaluations at step 0; students: `student` and its axes, starts: their table."""
    width = students["width"].where(students["network"] != "logistic", 0)  # it has none, whatever a cell says
    keys = ["tasks", "network", "width", "old_steps", "seed"]
    return students.assign(width=width, step=0).merge(starts, on=keys)


def decays(evaluations: pd.DataFrame, metric: str) -> pd.DataFrame:
    """By student: `half_life`, `area` (see above), `backward_transfer`, the last value of the metric less the one at 0
    (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, section 2), and `watched`, the iterations until the last value.

    evaluations: one line per `student` and `since`, iterations since the task changed; what is before 0 does not count. Students
    without a value at 0, or none after, have no line.
    """
    lines = {
        student: {
            "half_life": half_life(steps, values, known),
            "area": area(steps, values),
            "backward_transfer": values[-1] - known,
            "watched": steps[-1],
        }
        for student, known, steps, values in _curves(evaluations, metric)
    }
    return pd.DataFrame.from_dict(lines, orient="index", columns=["half_life", "area", "backward_transfer", "watched"])


def known(evaluations: pd.DataFrame) -> pd.DataFrame:
    """By student of the study of forgetting: what it knew before its first step (`start_X` for every column X), how that decays
    (see `decays`, of the first task), and after how many iterations it lost 5 points of each old digit (`lost_0`, `lost_1`)."""
    starts = evaluations[evaluations["since"] == 0].set_index("student").add_prefix("start_")
    times = {f"lost_{digit}": first_losses(evaluations, f"accuracy_{digit}") for digit in (0, 1)}
    return starts.join(decays(evaluations, "task_0")).assign(**times)


def first_losses(evaluations: pd.DataFrame, metric: str, loss: float = 0.05) -> pd.Series:
    """Iterations until a metric has lost so much of its value at 0, by student; inf where it never does. See `decays`."""
    times = {
        student: half_life(steps, values, known, known - 2 * loss)
        for student, known, steps, values in _curves(evaluations, metric)
    }
    return pd.Series(times, dtype=float)


def _curves(evaluations: pd.DataFrame, metric: str) -> Iterator[tuple[str, float, np.ndarray, np.ndarray]]:
    """Student, value at 0, iterations and values after it, where the metric is measured."""
    measured = evaluations[evaluations["since"] >= 0].dropna(subset=[metric]).sort_values("since")
    for student, line in measured.groupby("student"):
        steps, values = line["since"].to_numpy(dtype=float), line[metric].to_numpy(dtype=float)
        if steps[0] == 0 and len(steps) > 1:
            yield str(student), values[0], steps[1:], values[1:]


def median(values: Iterable[float], level: float = LEVEL) -> Interval:
    """Median (in `mean`) and its interval without a distribution, between two order statistics; values may be inf, and then
    so may its ends. NaN ends where n is too small for the level (below 6 for 95 %).

    x_(k) to x_(n + 1 - k) misses the median with probability 2 P(Binomial(n, 1/2) < k).     Thompson 1936, Ann. Math. Stat. 7
    """
    x = np.sort(np.asarray(list(values), dtype=float))
    n = len(x)
    if not n:
        return Interval(math.nan, math.nan, math.nan, 0)
    middle = float(x[n // 2]) if n % 2 else float((x[n // 2 - 1] + x[n // 2]) / 2)
    k = int(binom.ppf((1 - level) / 2, n, 0.5))  # the least with P(B <= k) >= (1 - level) / 2, so P(B < k) is less
    return Interval(middle, float(x[k - 1]), float(x[n - k]), n) if k else Interval(middle, math.nan, math.nan, n)


def medians(table: pd.DataFrame, by: Sequence[str], metric: str, level: float = LEVEL) -> pd.DataFrame:
    """One line per group of `by` as `statistics.summarise` has them, with `median` for the mean; values may be inf."""
    found = [(key, median(group[metric].dropna(), level)) for key, group in table.groupby(list(by), sort=True)]
    lines = [(*key, i.mean, i.low, i.high, i.n) for key, i in found if i.n]
    return pd.DataFrame(lines, columns=[*by, metric, "low", "high", "n"])


def lifetime(students: pd.DataFrame) -> str:
    """The median half-life of students in words, `97 (42 to beyond 200)`."""
    _, middle, span = _lifetime(students)
    return middle + span


def gone(students: pd.DataFrame) -> str:
    """The same as a sentence goes on, `is gone after 97 iterations (42 to beyond 200)`, the median over seeds."""
    half, middle, span = _lifetime(students)
    if math.isinf(half):
        return f"is not gone within {students['watched'].max():g} iterations{span}"
    return f"is gone after {middle} iterations{span}" if half >= 1 else f"is gone within the first iteration{span}"


def _lifetime(students: pd.DataFrame) -> tuple[float, str, str]:
    """The median half-life of students, it in words, and its interval, ` (42 to beyond 200)`, where there is one."""
    found, watched = median(students["half_life"].dropna()), students["watched"].max()
    middle, low, high = (iterations(value, watched) for value in (found.mean, found.low, found.high))
    return found.mean, middle, "" if math.isnan(found.low) else f" ({low} to {high})"


def iterations(value: float, watched: float) -> str:
    """`97`, `1.4`, `below 1`, or `beyond 200` where so many were watched"""
    if math.isinf(value):
        return f"beyond {watched:g}"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 1 else "below 1"
