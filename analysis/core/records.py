"""The contract of a run folder: run.json, what columns its rows have, digests of both, and how runs are found and read.

Whatever a folder holds is taken for data of a stranger: it is checked, and what is damaged or not ours is named in one line.
Imports nothing heavy by itself, so that a study's `--help` may import it.
"""

from __future__ import annotations

import contextlib
import hashlib
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


NO_TABLES = ("tune", "figures", "tensorboard")  # kept networks, weights/*.pt, are no Parquet, and a study may have a table of that name
"""Folders of a run that hold no table."""

SHARE = re.compile(
    r"(^|_)(accuracy|error|exact|passing|ece|agreement|share|change|recall)(_|$)|^(task_|accuracy_|kept_errors$|test_old$|test_new$)"
)


VALUES = {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}}
GRID = {"type": "object", "additionalProperties": VALUES}
COUNT = {"type": ["integer", "null"], "minimum": 0}
POSITIVE: dict = {"type": ["number", "null"], "exclusiveMinimum": 0}
NOT_BELOW_0: dict = {"type": ["number", "null"], "minimum": 0}
WORD: dict = {"type": "string"}
WORDS: dict = {"type": "object", "additionalProperties": WORD}
INFO: dict = {
    "type": "object",
    "required": ["axes", "preset", "data"],
    "properties": {
        **dict.fromkeys(("study", "run", "preset", "data", "search", "scheduler", "address", "start", "metric", "data_caveat"), WORD),
        **dict.fromkeys(("samples", "num_gpus", "per_gpu", "num_cpus", "pack", "budget", "workers"), COUNT),
        **dict.fromkeys(("decide", "core_seconds_per_student", "fixed_seconds"), POSITIVE),
        **dict.fromkeys(("method", "networks", "axes_help", "versions", "goals"), WORDS),
        "axes": GRID, "overrides": GRID, "given": GRID, "grids": {"type": "array", "items": GRID, "minItems": 1},
        "mode": {"enum": ["max", "min"]}, **dict.fromkeys(("margin", "noise"), NOT_BELOW_0),
        "data_root": {"type": ["string", "null"]}, "keep_weights": {"type": "boolean"},
        "devices": {"type": "object"}, "datasets": {"type": "array", "items": WORD},
        "sessions": {"type": "array", "items": {"type": "object", "properties": {"seconds": {"type": "number"}}}},
    },
}  # fmt: skip
"""What run.json must be, as a JSON schema."""


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


def file_name(words: str) -> str:
    """Words as the name of a file on any system, of at most 129 letters: blanks are `_`; where more had to go, a hash tells such names apart."""
    plain = re.sub(r"[^\w.+=-]", "_", words, flags=re.ASCII).lstrip(".")[:120]
    lost = plain != re.sub(r"[\s,]", "_", words)
    return f"{plain}_{hashlib.sha256(words.encode('utf-8', 'replace')).hexdigest()[:8]}" if lost else plain


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
    """The folder of a run: by its path, by its name under root/study, or the `latest` to have started of those with rows. study: ""
    where it may be of any.

    RecordsError where there is none, or where runs of several studies have the name.
    """
    home = Path(root) / study
    names = sorted((path.parent for path in home.glob(f"{'' if study else '*/'}*/run.json")), key=lambda path: path.name)
    if run == "latest":
        if not names:
            start = f"; start one: python studies/{study}.py" if study else ""
            raise RecordsError(f"no run of {study or 'any study'} under {home.absolute()}{start}")
        names = [path for path in names if any((path / "rows").glob("*.parquet"))] or names
        return max(names, key=_start)
    for path in (Path(run).expanduser(), home / run):
        if (path / "run.json").is_file():
            return path
    told = {path: path.relative_to(home).as_posix() for path in names}
    called = [path for path in names if path.name == run]
    if len(called) > 1:
        raise RecordsError(f"run {run!r} is one of several studies: name {' or '.join(told[path] for path in called)}")
    if called:
        return called[0]
    known = ", ".join(told[path] for path in names[-5:]) or "none"
    raise RecordsError(f"no run {run!r} of {study or 'any study'} under {home.absolute()} (there: {known})")


def _start(run: Path) -> tuple[str, str]:
    """When a run started, for sorting; one that nobody can read started before all others."""
    try:
        return str(info(run).get("start") or ""), run.name
    except RecordsError:
        return "", run.name


def info(run: str | Path | Watched) -> dict[str, Any]:
    """run.json of a run. RecordsError if it cannot be read or is not what `INFO` says."""
    return info_in(*open_folder(run))


def info_in(fs: Any, folder: str, needed: Sequence[str] = ()) -> dict[str, Any]:
    """As `info`, of a folder in a file system of pyarrow. needed: keys that it must have beside those that every page reads."""
    import jsonschema

    try:
        with fs.open_input_stream(f"{folder}/run.json") as stream:
            found = json.loads(stream.read())
        json.dumps(found, ensure_ascii=False).encode()  # a text that no file can hold is none
    except (OSError, ValueError, RecursionError) as error:
        raise RecordsError(f"{folder}/run.json cannot be read: {_line(error)}") from None
    required = {**INFO, "required": [*INFO["required"], *needed]}
    wrong = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(required).iter_errors(found))
    if wrong:
        where = "".join(f"{key}: " for key in wrong.absolute_path)
        raise RecordsError(f"{folder}/run.json is not of a run: {where}{wrong.message[:120]}")
    return found


def sealed(info: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json is to say, with its digest."""
    plain = json.loads(json.dumps({k: v for k, v in info.items() if k != "digest"}, default=str))
    return {**plain, "digest": _json_digest(plain)}


def unchecked(run: str | Path) -> list[str]:
    """What of a run carries no digest, as all of it in versions that kept none: run.json and tables, by name."""
    return unchecked_in(*open_folder(run))


def unchecked_in(fs: Any, folder: str) -> list[str]:
    """As `unchecked`, of a folder in a file system of pyarrow. What cannot be read is left to whoever reads it."""
    import pyarrow as pa
    import pyarrow.fs as pafs
    import pyarrow.parquet as pq

    names = []
    with contextlib.suppress(RecordsError):
        names += ["run.json"] * ("digest" not in info_in(fs, folder))
    entries = fs.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    for table in sorted(entry.base_name for entry in entries if entry.type == pafs.FileType.Directory):
        with contextlib.suppress(RecordsError, pa.ArrowException, OSError):
            footers = (pq.read_schema(fs.open_input_file(file)).metadata or {} for file in files(fs, folder, table))
            names += [table] * any(b"digest" not in footer for footer in footers)
    return names


def altered(info: Mapping[str, Any]) -> bool:
    """Whether run.json is not what the run wrote, as far as it has a digest."""
    return "digest" in info and info["digest"] != _json_digest({k: v for k, v in info.items() if k != "digest"})


def _json_digest(info: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()


def digest(table: pa.Table) -> str:
    """SHA-256 of what a table holds: names, types and values of its columns in their order, and its metadata but the digest."""
    found = hashlib.sha256()
    kept = {key: value for key, value in (table.schema.metadata or {}).items() if key != b"digest"}
    found.update(repr(sorted(kept.items())).encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        # what a list holds is called otherwise once it was in Parquet
        kind = str(column.type).replace("<item:", "<element:")
        found.update(repr((name, kind, _plain(column))).encode())
    return found.hexdigest()


def _plain(column: pa.ChunkedArray) -> Any:
    """What a column holds, as Python's repr can tell; of vectors, millions of numbers, the digest of their bytes."""
    import pyarrow as pa

    if not pa.types.is_fixed_size_list(column.type):
        return column.to_pylist()
    found = hashlib.sha256()
    for chunk in column.chunks:
        found.update(chunk.flatten().to_numpy(zero_copy_only=False).tobytes())
    return found.hexdigest()


def load(fs: Any, folder: str, table: str, columns: Sequence[str] | None = None) -> list[pa.Table]:
    """The files of a table in order, none where it has none; without those that another of them replaces (rows of a finished run
    are put together in one file, at which a reader may find that what it had listed is gone, and lists again). columns: all unless
    given. RecordsError names a file that is damaged or not ours."""
    for last in (False, False, True):
        paths = files(fs, folder, table)
        try:
            found = [_load(fs, file, table, columns or ()) for file in paths]
            break
        except FileNotFoundError as error:
            if last:
                raise RecordsError(f"{folder}/{table}: {_line(error)}") from None
    replaced = {name for part in found for name in _listed(part, b"replaces")}
    kept = [part for file, part in zip(paths, found, strict=True) if file.rsplit("/", 1)[-1] not in replaced]
    return [part.select(columns) for part in kept] if columns else kept


def _load(fs: Any, file: str, table: str, needed: Sequence[str] = ()) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with fs.open_input_file(file) as stream:
            content = stream.read()  # at once, which over a network is one request instead of many
        found = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=len(content) > 2**20)
        known = (found.schema.metadata or {}).get(b"digest")
        damaged = known is not None and known.decode() != digest(found)
        axes, _ = _listed(found, b"axes"), _listed(found, b"replaces")
        names = set(found.column_names)
        statuses = set(found["status"].unique().to_pylist()) if "status" in names else set()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise RecordsError(f"{file} is damaged: {_line(error)}") from None
    own = {"rows": ("student", "seed", "status", "step"), "students": ("student", "seed"), "cells": ("student",)}
    for name in (*own.get(table, ()), *axes, *needed):
        if name not in names:
            raise RecordsError(f"{file} is not of a run: it has no column {name}")
    for column in table_schema(BASE_COLUMNS) if table in own else ():
        kind = found.schema.field(column.name).type if column.name in names else column.type
        if kind not in (column.type, pa.null()):
            raise RecordsError(
                f"{file} is not of a run: its column {column.name} has the type {kind}, not {column.type}"
            )
    if strange := statuses - {*STATUSES}:
        raise RecordsError(f"{file} is not of a run: unknown status {min(map(str, strange))[:40]!r}")
    if damaged:
        raise RecordsError(f"{file} is damaged: its content has not the digest that it names")
    return found


def _listed(table: pa.Table, key: bytes) -> list[str]:
    """A list of names in a table's metadata; ValueError where it is none."""
    names = json.loads((table.schema.metadata or {}).get(key, b"[]"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its {key.decode()} are no names")
    return names


class Watched:
    """A run that is looked at again and again while it is written: given to `read`, `students` or `cells` in the place of its folder,
    of each table only the files are read that are new."""

    def __init__(self, run: str | Path) -> None:
        self.run, (self.fs, self.path) = run, open_folder(run)
        self.stamps: dict[str, dict[str, tuple]] = {}  # of each table: when its files were written, and their sizes
        self._parts: dict[str, list[pa.Table]] = {}

    def __str__(self) -> str:
        return str(self.run)

    def parts(self, table: str) -> list[pa.Table]:
        """As `load` gives them, those that were read before put together."""
        before, parts = self.stamps.get(table, {}), self._parts.get(table, [])
        now = {f.path: (f.mtime, f.size) for f in _files(self.fs, self.path, table)}
        new: list[pa.Table] | None = None
        if before.items() <= now.items():
            with contextlib.suppress(FileNotFoundError):
                new = [_load(self.fs, file, table) for file in sorted(now.keys() - before.keys())]
        if new is None or any(_listed(part, b"replaces") for part in new):  # files are gone, or written anew
            parts, new = [], load(self.fs, self.path, table)
        if new:
            parts = [together([*parts, *new], f"{self}/{table}").combine_chunks()]
        self.stamps[table], self._parts[table] = now, parts
        return parts

    @property
    def written(self) -> float:
        """When the last rows were written, in seconds since 1970; 0 where there are none."""
        return max((written.timestamp() for written, _ in self.stamps.get("rows", {}).values()), default=0.0)


def read(run: str | Path | Watched, table: str = "rows") -> pd.DataFrame:
    """All rows of one table of a run, without repetitions; `attrs["axes"]` names the axes where the table has some.

    run: a folder, or a URI that pyarrow.fs opens. table: `students` and `cells` are what the functions of these names
    give. Of rows that repeat the same student, cell and step (a flush rerun under another name) the one of the last file
    counts. RecordsError names a damaged file, or the table if it is empty.
    """
    if table in ("students", "cells"):
        return _planned(run, table, None)
    found = _read(run, table)
    if found is None:
        raise RecordsError(f"{run} has no {table} yet")
    return found


def students(run: str | Path | Watched, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Each student of a run once: `student`, `seed`, `pack` (the trial it was planned in) and the axes of its canonical
    config, which `attrs["axes"]` names.

    rows: the run's rows, where they have been read already. Students that have rows and no line in the table, as in runs
    from before the table, get the axes of the first cell that they answer: rows do not say which one is canonical.
    RecordsError where the run has neither.
    """
    return _planned(run, "students", rows)


def cells(run: str | Path | Watched, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """Each planned grid point of a run once: the `student` that answers it, and its axes, which `attrs["axes"]` names.

    A search plans a point when it suggests it. rows: the run's rows, where they have been read already; cells that have
    rows and no line in the table, as in runs from before the table, are taken from these. RecordsError where the run has
    neither.
    """
    return _planned(run, "cells", rows)


def _planned(run: str | Path | Watched, table: str, rows: pd.DataFrame | None) -> pd.DataFrame:
    """The lines of a table that was written before training, then those that only the rows know."""
    import pandas as pd

    own = _read(run, table)
    parts = [] if own is None else [own]
    rows = _read(run, "rows") if rows is None else rows
    if rows is None and own is None:
        raise RecordsError(f"{run} has no rows yet")
    if rows is not None:
        parts.append(rows.rename(columns={"trial": "pack"}))
    axes = next((part.attrs["axes"] for part in parts if part.attrs["axes"]), None) or list(info(run)["axes"])
    named = ["student", "seed", "pack"] if table == "students" else ["student"]
    columns = list(dict.fromkeys([*named, *axes]))
    lines = pd.concat([part.reindex(columns=columns) for part in parts], ignore_index=True)
    lines = lines.drop_duplicates("student" if table == "students" else axes, ignore_index=True)
    lines.attrs["axes"] = axes
    return lines


def files(fs: Any, folder: str, table: str) -> list[str]:
    """The Parquet files of a table, in order; not the hidden ones that file managers leave."""
    return sorted(f.path for f in _files(fs, folder, table))


def _files(fs: Any, folder: str, table: str) -> list[Any]:
    """As `files`, what the file system knows of each."""
    import pyarrow.fs as pafs

    try:
        found = fs.get_file_info(pafs.FileSelector(f"{folder}/{table}", allow_not_found=True))
    except OSError as error:
        raise RecordsError(f"{folder}/{table} cannot be listed: {_line(error)}") from None
    return [f for f in found if f.is_file and f.extension == "parquet" and not f.base_name.startswith(".")]


def together(parts: Sequence[pa.Table], where: str) -> pa.Table:
    """One table of several files, with the names of all their axes; RecordsError where they disagree about a column."""
    import pyarrow as pa

    axes = list(dict.fromkeys(name for part in parts for name in _listed(part, b"axes")))
    try:
        whole = pa.concat_tables([part.replace_schema_metadata() for part in parts], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise RecordsError(f"{where}: files disagree about a column: {_line(error)}") from None
    return whole.replace_schema_metadata({"axes": json.dumps(axes)})


def _read(run: str | Path | Watched, table: str) -> pd.DataFrame | None:
    """A table without repetitions; None where it has no files."""
    import pyarrow as pa

    parts = run.parts(table) if isinstance(run, Watched) else load(*open_folder(run), table)
    if not parts:
        return None
    whole = together(parts, f"{run}/{table}")
    axes = _listed(whole, b"axes")
    frame = whole.replace_schema_metadata().to_pandas()
    key = [name for name in ("student", *axes, "step") if name in frame]
    if "student" not in frame:  # a table without students: whole rows repeat, but for the clock
        nested = [field.name for field in whole.schema if pa.types.is_nested(field.type)]
        key = [name for name in frame if name != "seconds" and name not in nested]
    if "status" in frame:
        frame = frame.sort_values("status", key=ranks, kind="stable")
    frame = frame.drop_duplicates(key, keep="last").sort_index().reset_index(drop=True)
    frame.attrs["axes"] = axes
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


def fetched(run: str | Path, to: Path) -> Path:
    """A copy of what pages read of a run, run.json and the tables, in the folder `to`, which is made; without checkpoints and
    weights. RecordsError where it is no run."""
    import pyarrow.fs as pafs

    fs, folder = open_folder(run)
    info_in(fs, folder)
    found = [entry.base_name for entry in fs.get_file_info(pafs.FileSelector(folder)) if not entry.is_file]
    tables = [name for name in found if name not in NO_TABLES and re.fullmatch(r"\w[\w.-]*", name)]
    for last in (False, False, True):
        try:
            sources = [f"{folder}/run.json", *(file for table in tables for file in files(fs, folder, table))]
            contents = {file.removeprefix(f"{folder}/"): fs.open_input_file(file).read() for file in sources}
            break
        except FileNotFoundError as error:  # rows of a finished run were put together meanwhile, see `load`
            if last:
                raise RecordsError(f"{run}: {_line(error)}") from None
        except OSError as error:
            raise RecordsError(f"{run} cannot be read: {_line(error)}") from None
    for table in tables:
        for old in (to / table).glob("*.parquet"):
            old.unlink()
    for name, content in contents.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).unlink(missing_ok=True)  # a link there is not followed
        (to / name).write_bytes(content)
    return to


def open_folder(run: str | Path | Watched) -> tuple[Any, str]:
    """(file system, path) of a folder or a URI."""
    import pyarrow.fs as pafs

    if isinstance(run, Watched):
        return run.fs, run.path
    if "://" not in str(run):
        return pafs.LocalFileSystem(), str(Path(run).absolute())
    try:
        fs, path = pafs.FileSystem.from_uri(str(run))
    except (OSError, ValueError) as error:
        raise RecordsError(f"{run} cannot be opened: {_line(error)}") from None
    return fs, path.rstrip("/")


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
