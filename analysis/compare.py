"""Two runs of a study side by side: two machines, two versions, own code against the reference.

    python -m analysis.compare RUN RUN [--metric test_accuracy]    # each by its name or its folder

Cells that both runs have are compared seed by seed; an axis of which each run has one value, and another (bf16 on one machine,
fp32 on the other), is a difference of the runs and not of their cells. Printed: what makes the runs not comparable, how far they
differ, and the cells that are told to differ (paired t, Holm over all cells). Exit code 1 where some are, 2 where nothing can be
compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.core import records, statistics, tell
from analysis.core.report import Run, open_run, printable, whatever_the_terminal
from analysis.core.settings import varied

MOST = 12  # lines of cells


def notes(a: Run, b: Run) -> Iterator[str]:
    """What differs in how two runs were made: data, sizes, versions, machines; and that a run.json was changed."""
    for name in ("preset", "data", "data_description", "git_commit", "versions", "devices"):
        one, other = a.info.get(name), b.info.get(name)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            parts = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
            told = tell.listing([f"{key} {one.get(key)} and {other.get(key)}" for key in parts])
            yield f"{name.replace('_', ' ')}: {told}"
        else:
            yield f"{name.replace('_', ' ')}: {one} and {other}"
    for run in (a, b):
        if records.altered(run.info):
            yield f"{run.path.name}: run.json is damaged or was changed"


def pairs(a: Run, b: Run, metric: str, axes: Sequence[str]) -> dict[tuple, tuple[pd.Series, pd.Series]]:
    """By the values of these axes: the metric in both runs by seed, of cells that both have done."""
    halves = []
    for run in (a, b):
        done = run.cells[run.cells["status"] == "done"].dropna(subset=[metric])
        keyed = done.groupby([*axes], sort=False, dropna=False)
        halves.append({key: part.drop_duplicates("seed").set_index("seed")[metric] for key, part in keyed})
    return {key: (values, halves[1][key]) for key, values in halves[0].items() if key in halves[1]}


def apart(a: Run, b: Run) -> dict[str, tuple[list, list]]:
    """The axes but the seed whose values the two runs do not share, with those of each run."""
    found = {axis: (a.cells[axis].unique().tolist(), b.cells[axis].unique().tolist()) for axis in a.axes if axis != "seed"}
    return {axis: values for axis, values in found.items() if not set(map(str, values[0])) & set(map(str, values[1]))}


def both(values: tuple[list, list]) -> str:
    """`1; 16, in the other 4`"""
    return ", in the other ".join(tell.listing([f"{v:g}" if isinstance(v, float) else str(v) for v in own]) for own in values)


def sentences(a: Run, b: Run, metric: str, found: pd.DataFrame, each: dict) -> Iterator[str]:
    """The comparison in words. found: as `statistics.compare` has it."""
    told = found[found["told"] != "open"]
    worth = tell.points if records.is_share(metric) else lambda d: tell.number(d, 4, signed=True)
    less = pd.concat([x - y for x, y in each.values()]).dropna()
    mean = statistics.interval(less)
    yield f"{tell.count(len(found), 'cell')} of both runs, {mean.n} with their seeds; {metric}: the first less the second, mean {worth(mean)}."
    largest = float(np.abs(less).max())
    yield f"Largest difference of one seed of a cell: {records.unit(metric) * largest:.3g}{' points' * records.is_share(metric)}."
    if (found["n"] < 2).all():
        yield "One seed in common: nothing is known of the noise, so no cell is told to differ."
    else:
        yield f"Told to differ (paired t, Holm over all cells): {len(told)}."
    axes = [axis for axis in a.axes if axis in found]
    shown = varied(found, axes) or axes[:1]
    for _, line in told.reindex(told["mean"].abs().sort_values(ascending=False).index).head(MOST).iterrows():
        yield f"  {tell.cell({axis: line[axis] for axis in shown})}: {worth(line['difference'])} (n = {line['n']}, p = {line['p']:.2g})"
    for run, other in ((a, b), (b, a)):
        if missing := int((run.cells["status"] == "done").sum()) - len(less):
            yield f"Of {run.path.name} alone: {tell.count(missing, 'cell')} with their seeds, not planned or not done in {other.path.name}."


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m analysis.compare", usage="%(prog)s RUN RUN [--root ROOT] [--metric METRIC]", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("runs", nargs="*", metavar="RUN", help="name or folder of a run, or latest")
    parser.add_argument("--root", default="results", help="folder of all results (default: %(default)s)")
    parser.add_argument(
        "--metric", help="column to compare (default: test_ in place of val_ of what the study chooses on)"
    )
    whatever_the_terminal()
    given = parser.parse_args(words)
    try:
        if len(given.runs) != 2:
            raise records.RecordsError(f"two runs are compared, and {len(given.runs) or 'none'} named: RUN RUN (see --help)")
        a, b = (open_run(records.find_run("", run, given.root)) for run in given.runs)
        if a.path.resolve() == b.path.resolve():
            raise records.RecordsError(f"both are the run {a.path}; name two")
        if (one := a.info.get("study")) != (other := b.info.get("study")):
            raise records.RecordsError(f"runs of two studies: {one} and {other}")
        if set(a.axes) != set(b.axes):
            raise records.RecordsError(f"runs with other axes: {', '.join(sorted(set(a.axes) ^ set(b.axes)))}")
        metric = given.metric or _reported(a)
        for run in (a, b):
            if metric not in run.cells:
                raise records.RecordsError(f"{run.path} has no column {metric}")
        others = apart(a, b)
        single = {axis: values for axis, values in others.items() if len(values[0]) == len(values[1]) == 1}
        axes = [axis for axis in a.axes if axis != "seed" and axis not in single]
        if not axes:
            raise records.RecordsError("the runs share no value of any axis")
        each: dict[Any, Any] = pairs(a, b, metric, axes)
        found = statistics.compare(each, axes)
        if found.empty:
            common = ", nor ".join(f"of {axis} ({both(values)})" for axis, values in others.items() if axis not in single)
            raise records.RecordsError("no cell and seed is done in both runs" + f"; they share no value {common}" * bool(common))
    except (records.RecordsError, OSError) as problem:
        print(printable(f"compare: {problem}"), file=sys.stderr)
        return 2
    for line in (*notes(a, b), *(f"{axis}: {both(values)}" for axis, values in single.items())):
        print(printable(f"not alike: {line}"))
    print(*map(printable, sentences(a, b, metric, found, each)), sep="\n")
    return int((found["told"] != "open").any())


def _reported(run: Run) -> str:
    """What a run reports: its metric on test, as far as it has one."""
    chosen = str(run.info.get("metric", "val_accuracy"))
    test = chosen.replace("val_", "test_", 1)
    return test if test in run.cells else chosen


if __name__ == "__main__":
    raise SystemExit(main())
