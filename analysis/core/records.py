"""The Parquet contract: what columns a run's rows have, and how runs are found and read.

Imports nothing heavy by itself, so that a study's `--help` may import it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

STATUSES = ("running", "failed", "stopped", "done")
"""running: an evaluation on the way. failed: no result, see `error`. stopped: ended early by a scheduler. done: the last
evaluation. Of several lines of a student the later of these counts: one that failed and was done when it was tried again is done."""

BASE_COLUMNS: Mapping[str, type] = {
    "study": str,
    "run": str,
    "trial": str,
    "student": str,  # hash of the config; cells with the same mathematics share a student
    "seed": int,
    "preset": str,
    "data": str,  # "sample" or "full"; generated data are full
    "status": str,  # one of STATUSES
    "error": str,  # null unless failed
    "step": int,
    "seconds": float,  # training time of this student so far
}


SHARE = re.compile(
    r"(^|_)(accuracy|error|exact|passing|ece|agreement|share|change)(_|$)|^(task_|accuracy_|kept_errors$|test_old$|test_new$)"
)


class RecordsError(Exception):
    """A run that is not there or cannot be read, said in one line."""


def is_share(metric: str) -> bool:
    """Whether a column holds fractions of 1, which figures and sentences say in per cent, as differences of them in points."""
    return bool(SHARE.search(metric))


def margin(metric: str) -> float:
    """The difference in a metric that does not matter, unless a study or a user says otherwise: half a point of a share, else none."""
    return 0.005 if is_share(metric) else 0.0


def unit(metric: str) -> float:
    """What a value is multiplied by to be drawn: 100 where it is a share."""
    return 100.0 if is_share(metric) else 1.0


def table_schema(columns: Mapping[str, type]) -> pa.Schema:
    """A Parquet schema from Python types: str, int (64 bit), float (64 bit) or bool. KeyError for any other."""
    import pyarrow as pa

    arrow = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return pa.schema([(name, arrow[kind]) for name, kind in columns.items()])


def schema(axes: Mapping[str, type], metrics: Iterable[str]) -> pa.Schema:
    """The schema of the table `rows`: base columns, then axes, then metrics (float64, null where not measured).

    The names of the axes are kept in the file, for they tell cells from measurements when it is read. An axis `seed` is
    the base column. ValueError if a metric has the name of another column.
    """
    columns = {**BASE_COLUMNS, **{name: kind for name, kind in axes.items() if name not in BASE_COLUMNS}}
    for metric in metrics:
        if metric in columns:
            raise ValueError(f"metric {metric!r} has the name of another column")
        columns[metric] = float
    return table_schema(columns).with_metadata({b"axes": json.dumps(list(axes)).encode()})


def plan_schemas(axes: Mapping[str, type]) -> dict[str, pa.Schema]:
    """The schemas of the tables that are written before training, by name; the names of the axes are kept in the files.

    students: one line per student, the axes of its canonical config, and its pack, which is the trial it was planned in.
    cells: one line per planned grid point and the student that answers it.
    """
    name = {"student": str}
    columns = {"students": name | {"seed": int, "pack": str} | dict(axes), "cells": name | dict(axes)}
    kept = {b"axes": json.dumps(list(axes)).encode()}
    return {table: table_schema(kinds).with_metadata(kept) for table, kinds in columns.items()}


def find_run(study: str, run: str = "latest", root: str | Path = "results") -> Path:
    """The folder of a run: by its path, by its name under root/study, or the `latest` to have started of those with rows.

    RecordsError where there is none.
    """
    home = Path(root) / study
    names = sorted(path.parent for path in home.glob("*/run.json"))
    if run == "latest":
        if not names:
            raise RecordsError(f"no run of {study} under {home.absolute()}; start one: python studies/{study}.py")
        names = [path for path in names if any((path / "rows").glob("*.parquet"))] or names
        return max(names, key=lambda path: (str(info(path).get("start") or ""), path.name))
    for path in (Path(run).expanduser(), home / run):
        if (path / "run.json").is_file():
            return path
    known = ", ".join(path.name for path in names[-5:]) or "none"
    raise RecordsError(f"no run {run!r} of {study} under {home.absolute()} (there: {known})")


def info(run: str | Path) -> dict[str, Any]:
    """run.json of a run. RecordsError if it cannot be read."""
    fs, path = _open(run)
    try:
        with fs.open_input_stream(f"{path}/run.json") as stream:
            return json.loads(stream.read())
    except (OSError, ValueError) as error:
        raise RecordsError(f"{run}/run.json cannot be read: {_line(error)}") from None


def read(run: str | Path, table: str = "rows") -> pd.DataFrame:
    """All rows of one table of a run, without repetitions; `attrs["axes"]` names the axes where the table has some.

    run: a folder, or a URI that pyarrow.fs opens. table: `students` and `cells` are what the functions of these names
    give. Of rows that repeat the same student, cell and step (a flush rerun under another name) the one of the last file
    counts. RecordsError names a damaged file, or the table if it is empty.
    """
    if table in ("students", "cells"):
        return _planned(run, table, None)
    files = _files(run, table)
    if not files:
        raise RecordsError(f"{run} has no {table} yet")
    return _read(run, table, files)


def students(run: str | Path, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Each student of a run once: `student`, `seed`, `pack` (the trial it was planned in) and the axes of its canonical
    config, which `attrs["axes"]` names.

    rows: the run's rows, where they have been read already. Students that have rows and no line in the table, as in runs
    from before the table, get the axes of the first cell that they answer: rows do not say which one is canonical.
    RecordsError where the run has neither.
    """
    return _planned(run, "students", rows)


def cells(run: str | Path, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Each planned grid point of a run once: the `student` that answers it, and its axes, which `attrs["axes"]` names.

    A search plans a point when it suggests it. rows: the run's rows, where they have been read already; cells that have
    rows and no line in the table, as in runs from before the table, are taken from these. RecordsError where the run has
    neither.
    """
    return _planned(run, "cells", rows)


def _planned(run: str | Path, table: str, rows: pd.DataFrame | None) -> pd.DataFrame:
    """The lines of a table that was written before training, then those that only the rows know."""
    import pandas as pd

    files = _files(run, table)
    parts = [_read(run, table, files)] if files else []
    if rows is None and (not files or _files(run, "rows")):
        rows = read(run)
    if rows is not None:
        parts.append(rows.rename(columns={"trial": "pack"}))
    axes = next((part.attrs["axes"] for part in parts if part.attrs["axes"]), None) or list(info(run)["axes"])
    own = ["student", "seed", "pack"] if table == "students" else ["student"]
    columns = list(dict.fromkeys([*own, *axes]))
    lines = pd.concat([part.reindex(columns=columns) for part in parts], ignore_index=True)
    lines = lines.drop_duplicates("student" if table == "students" else axes, ignore_index=True)
    lines.attrs["axes"] = axes
    return lines


def _files(run: str | Path, table: str) -> list[str]:
    """The Parquet files of a table, in order."""
    import pyarrow.fs as pafs

    fs, path = _open(run)
    try:
        found = fs.get_file_info(pafs.FileSelector(f"{path}/{table}", allow_not_found=True))
    except OSError as error:
        raise RecordsError(f"{run} cannot be listed: {_line(error)}") from None
    return sorted(f.path for f in found if f.path.endswith(".parquet"))


def _read(run: str | Path, table: str, files: Sequence[str]) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.dataset as ds

    fs, _ = _open(run)
    parts: list[pa.Table] = []
    axes: dict[str, None] = {}
    for file in files:
        try:
            part = ds.dataset(file, format="parquet", filesystem=fs).to_table()
        except (OSError, ValueError) as error:
            raise RecordsError(f"{file} is damaged: {_line(error)}") from None
        axes |= dict.fromkeys(json.loads((part.schema.metadata or {}).get(b"axes", b"[]")))
        parts.append(part.replace_schema_metadata())
    try:
        frame = pa.concat_tables(parts, promote_options="permissive").to_pandas()
    except pa.ArrowInvalid as error:
        raise RecordsError(f"{run}/{table}: files disagree about a column: {_line(error)}") from None
    key = [name for name in ("student", *axes, "step") if name in frame]
    if "student" not in frame:  # a table without students: whole rows repeat, but for the clock
        key = [name for name in frame if name != "seconds"]
    if "status" in frame:
        frame = frame.sort_values("status", key=ranks, kind="stable")
    frame = frame.drop_duplicates(key, keep="last").sort_index().reset_index(drop=True)
    frame.attrs["axes"] = list(axes)
    return frame


def ranks(statuses: pd.Series) -> pd.Series:
    """Statuses by their place in `STATUSES`; an unknown one comes first."""
    return statuses.map({status: i for i, status in enumerate(STATUSES)}).fillna(-1)


def final(rows: pd.DataFrame, axes: Sequence[str] | None = None) -> pd.DataFrame:
    """The last row of every cell (axes and seed) that is done.

    axes: by default those that `read` found in the files; ValueError if there are none.
    """
    axes = rows.attrs.get("axes") if axes is None else axes
    if not axes:
        raise ValueError("the rows do not name their axes: pass them")
    cell = list(dict.fromkeys([*axes, "seed"]))
    done = rows[rows["status"] == "done"].sort_values("step", kind="stable")
    return done.drop_duplicates(cell, keep="last").sort_index().reset_index(drop=True)


def _open(run: str | Path):
    """(file system, path) of a folder or a URI."""
    import pyarrow.fs as pafs

    if "://" not in str(run):
        return pafs.LocalFileSystem(), str(Path(run).absolute())
    try:
        fs, path = pafs.FileSystem.from_uri(str(run))
    except (OSError, ValueError) as error:
        raise RecordsError(f"{run} cannot be opened: {_line(error)}") from None
    return fs, path.rstrip("/")


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
