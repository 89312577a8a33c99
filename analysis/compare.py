"""Two runs of a study side by side: two machines, two versions, own code against the reference.

    python -m analysis.compare RUN RUN [--metric test_accuracy]    # each by its name or its folder

Cells that both runs have are compared seed by seed, each student once: cells with the same students in both runs (those of λ = 0 at
every temperature) are one. An axis of which each run has one value, and another (bf16 on one machine, fp32 on the other), is a
difference of the runs and not of their cells. Printed: what makes the runs not comparable, how far they differ, and the cells that
are told to differ (paired t, Holm over all cells). Exit code 1 where some are, 2 where nothing can be compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.core import records, statistics, tell
from analysis.core.report import Run, open_run, printable, say, whatever_the_terminal
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


def done(run: Run, metric: str) -> pd.DataFrame:
    """The cells of a run that are done and have the metric."""
    return run.cells[run.cells["status"] == "done"].dropna(subset=[metric])


def pairs(a: Run, b: Run, metric: str, axes: Sequence[str]) -> dict[tuple, pd.DataFrame]:
    """By ((values of these axes, of each of its cells),): columns `a` and `b`, the metric in both runs by seed of cells that both have
    done, and the students, `of a` and `of b`. Cells that share these in both runs are together."""
    halves = []
    for run, name in ((a, "a"), (b, "b")):
        keyed = done(run, metric).sort_values("seed", kind="stable").groupby([*axes], sort=False, dropna=False)
        columns = {metric: name, "student": f"of {name}"}
        halves.append({key: part.drop_duplicates("seed").set_index("seed")[[*columns]].rename(columns=columns) for key, part in keyed})
    shared: dict[tuple, dict[tuple, pd.DataFrame]] = {}
    for key, one in halves[0].items():
        if key in halves[1] and len(both := one.join(halves[1][key], how="inner")):
            # the first seed tells whose cell it is, for others may have been added to one of several alone
            shared.setdefault((both["of a"].iloc[0], both["of b"].iloc[0]), {})[key] = both
    found = {(tuple(parts),): pd.concat(parts.values()) for parts in shared.values()}
    return {cells: lines[~lines.index.duplicated()] for cells, lines in found.items()}


def apart(a: Run, b: Run) -> dict[str, tuple[list, list]]:
    """The axes but the seed whose values the two runs do not share, with those of each run."""
    found = {axis: (a.cells[axis].unique().tolist(), b.cells[axis].unique().tolist()) for axis in a.axes if axis != "seed"}
    return {axis: values for axis, values in found.items() if not set(map(str, values[0])) & set(map(str, values[1]))}


def both(values: tuple[list, list]) -> str:
    """`1; 16, in the other 4`"""
    return ", in the other ".join(tell.listing([f"{v:g}" if isinstance(v, float) else str(v) for v in own]) for own in values)


def named(cells: pd.DataFrame) -> str:
    """`teacher view source, T = 1, λ = 0.5`: what cells of the same students have in common, for the axes in which they differ play no
    part. cells: a column for each axis that may be named."""
    first = cells.iloc[0].to_dict()
    alike = {axis: value for axis, value in first.items() if cells[axis].nunique() == 1} or first
    if alike.get("kd_weight") == 0 and "temperature" in first:
        alike["temperature"] = first["temperature"]  # without which no λ is said
    last = {axis: alike.pop(axis) for axis in tell.AXES if axis in alike}  # beside both `tell.cell` names no other
    return ", ".join(filter(None, (tell.cell(alike), tell.cell(last))))


def sentences(a: Run, b: Run, metric: str, axes: list[str], found: pd.DataFrame, each: Mapping[tuple, pd.DataFrame]) -> Iterator[str]:
    """The comparison in words. found: as `statistics.compare` has it; each: as `pairs` has it."""
    told = found[found["told"] != "open"]
    worth = tell.points if records.is_share(metric) else lambda d: tell.number(d, 4, signed=True)
    lines = pd.concat(each.values())
    less = lines["a"] - lines["b"]
    mean, points = statistics.interval(less), [cell for cells in found["cells"] for cell in cells]
    once = f" (of {len(points)}: those with the same students count once)" * (len(points) > len(found))
    yield (
        f"{tell.count(len(found), 'cell')} of both runs{once}, {tell.count(mean.n, 'student')} of each; "
        f"{metric}: the first less the second, mean {worth(mean)}."
    )
    largest = float(np.abs(less).max())
    yield f"Largest difference of one seed of a cell: {records.unit(metric) * largest:.3g}{' points' * records.is_share(metric)}."
    if (found["n"] < 2).all():
        yield "One seed in common: nothing is known of the noise, so no cell is told to differ."
    else:
        yield f"Told to differ (paired t, Holm over all cells): {len(told)}."
    shown = varied(pd.DataFrame(points, columns=axes), axes) or axes[:1]
    for _, line in told.reindex(told["mean"].abs().sort_values(ascending=False).index).head(MOST).iterrows():
        cells = pd.DataFrame(line["cells"], columns=axes)[shown]
        yield f"  {named(cells)}: {worth(line['difference'])} (n = {line['n']}, p = {line['p']:.2g})"
    for run, other, name in ((a, b, "a"), (b, a, "b")):
        if missing := done(run, metric)["student"].nunique() - lines[f"of {name}"].nunique():
            yield f"Of {run.path.name} alone: {tell.count(missing, 'student')}, not planned or not done in {other.path.name}."


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
        each = pairs(a, b, metric, axes)
        found = statistics.compare({cells: (lines["a"], lines["b"]) for cells, lines in each.items()}, ["cells"])
        if found.empty:
            common = ", nor ".join(f"of {axis} ({both(values)})" for axis, values in others.items() if axis not in single)
            raise records.RecordsError("no cell and seed is done in both runs" + f"; they share no value {common}" * bool(common))
    except (records.RecordsError, OSError) as problem:
        print(printable(f"compare: {problem}"), file=sys.stderr)
        return 2
    unlike = [*notes(a, b), *(f"{axis}: {both(values)}" for axis, values in single.items())]
    said = [*(f"not alike: {line}" for line in unlike), *sentences(a, b, metric, axes, found, each)]
    say(*map(printable, said))
    return int((found["told"] != "open").any())


def _reported(run: Run) -> str:
    """What a run reports: its metric on test, as far as it has one."""
    chosen = str(run.info.get("metric", "val_accuracy"))
    test = chosen.replace("val_", "test_", 1)
    return test if test in run.cells else chosen


if __name__ == "__main__":
    raise SystemExit(main())
