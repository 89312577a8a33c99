"""The run folder: run.json, Parquet rows, checkpoints. The rows are the truth; everything is resumed from them."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.core import records
from studies.harness.progress import say
from studies.harness.students import called, student_hash
from studies.harness.study import Config, InputError

if TYPE_CHECKING:
    import pyarrow as pa


PATIENCE = 300.0  # seconds that a storage which does not answer is waited for, unless STILLROOM_PATIENCE says otherwise
SPARE = 2**16  # bytes kept free for the last run.json
FULL = (errno.ENOSPC, errno.EDQUOT)
PASSING = (
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNRESET,
)  # fmt: skip
"""What a file server says that may be back in a minute."""


FLUSH = re.compile(r"(\d+-[0-9a-f]{10})-(\d{3,})\.parquet$")  # trial and evaluation


class FolderError(Exception):
    """The run folder cannot be written, said in a few words."""


class RunFolder:
    """results/<study>/<run>/ on this machine or in an object store, through one pyarrow file system."""

    def __init__(self, storage: str, study: str, run: str) -> None:
        self.fs, root = filesystem(storage)
        self.local = "://" not in storage
        self.study, self.run = study, run
        self.path = f"{root}/{study}/{run}"
        self.uri = self.path if self.local else f"{storage.rstrip('/')}/{study}/{run}"
        self.begun = False  # there is a run.json of this session

    def check(self) -> None:
        """InputError where the folder can never be made. Writes nothing."""
        there = next((p for p in Path(self.path).parents if p.exists()), Path("/"))
        if self.local and not there.is_dir():
            raise InputError(f"--storage: {there} is a file")

    def create(self) -> None:
        """InputError where nothing can be written."""
        try:
            self._write(f"{self.path}/rows/.writable", b"")
            self.fs.delete_file(f"{self.path}/rows/.writable")
            self._write(f"{self.path}/.spare", os.urandom(SPARE))
        except FolderError as error:
            raise InputError(f"--storage: {error}") from None

    @contextlib.contextmanager
    def only_one(self) -> Iterator[None]:
        """One process writes a run folder; InputError in another. Where the file system has no locks, that is said."""
        from filelock import FileLock, Timeout

        with contextlib.ExitStack() as stack:
            try:
                if not self.local:
                    raise NotImplementedError("an object store")
                stack.enter_context(FileLock(f"{self.path}/.lock", timeout=0))
            except Timeout:
                raise InputError(f"{self.run} is being written by another process") from None
            except (OSError, NotImplementedError) as error:
                say(
                    f"NOTE      the file system of --storage has no locks ({_reason(error)}): let no other process go on with this run"
                )
            yield

    def write_json(self, info: Mapping[str, Any]) -> None:
        self._write(f"{self.path}/run.json", json.dumps(records.sealed(info), indent=2).encode())
        self.begun = True

    def write_end(self, info: Mapping[str, Any]) -> None:
        """The last run.json of a session, for which room was kept, should the disk be full."""
        with contextlib.suppress(OSError):
            self.fs.delete_file(f"{self.path}/.spare")
        self.write_json(info)

    def read_json(self) -> dict[str, Any]:
        """InputError where it is none, or not what the run wrote."""
        with _as_input():
            info = records.info_in(self.fs, self.path, ("run", "search", "samples", "scheduler"))
        if records.altered(info):
            raise InputError(f"{self.uri}/run.json is damaged: its content has not the digest that it names")
        return info

    def write_rows(
        self, table: str, name: str, rows: Sequence[Mapping[str, Any]], schema=None, keys: Sequence[str] = ()
    ) -> None:
        """Rows of one flush; a rerun of the flush writes the same file.

        Without a schema the first row names the columns, so that of no rows there is no file; `keys` tell rows of one student and
        step apart.
        """
        import pyarrow as pa

        if not rows and schema is None:
            return
        content = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        if keys:
            content = content.replace_schema_metadata({"axes": json.dumps(list(keys))})
        self._write_table(table, name, content)

    def write_columns(self, table: str, name: str, columns: Mapping[str, Any]) -> None:
        """A table of many numbers at once. columns: arrays (N,) or (N, D), which become lists of D; what is no array is the value of
        every line."""
        import pyarrow as pa

        n = next(len(values) for values in columns.values() if hasattr(values, "shape"))

        def column(values: Any) -> pa.Array:
            if not hasattr(values, "shape"):
                return pa.repeat(values, n)
            if values.ndim == 1:
                return pa.array(values)
            return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])

        self._write_table(table, name, pa.table({key: column(values) for key, values in columns.items()}))

    def _write_table(self, table: str, name: str, content: pa.Table) -> None:
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        metadata = {**(content.schema.metadata or {}), b"digest": records.digest(content).encode()}
        pq.write_table(content.replace_schema_metadata(metadata), sink)
        self._write(f"{self.path}/{table}/{name}.parquet", sink.getvalue())

    def read_rows(self, table: str = "rows", columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """All lines of a table, in the order of the files; none where it has none. InputError names a file that is damaged or not
        ours, or that lacks one of the columns."""
        again = "delete it to train its students again" if table == "rows" else "delete it to have it written anew"
        with _as_input(again):
            return [row for part in records.load(self.fs, self.path, table, columns) for row in part.to_pylist()]

    def unchecked(self) -> list[str]:
        """What of the run carries no digest, by name."""
        return records.unchecked_in(self.fs, self.path)

    def put_together(self, tables: Iterable[str]) -> None:
        """One file for each of the tables in place of its many, which the new one names: whoever reads between the two steps, or
        after a fault between them, passes them over. What carries no digest stays as it is: with one of today it would seem checked."""
        unchecked = self.unchecked()
        for table in tables:
            files = self._files(table)
            if len(files) < 2 or table in unchecked:
                continue
            with _as_input():
                whole = records.together(records.load(self.fs, self.path, table), f"{self.uri}/{table}")
            name = f"all-{records.digest(whole)[:10]}"
            old = [file for file in files if not file.endswith(f"/{name}.parquet")]
            replaces = json.dumps([file.rsplit("/", 1)[-1] for file in old]).encode()
            self._write_table(
                table, name, whole.replace_schema_metadata({**whole.schema.metadata, b"replaces": replaces})
            )
            with contextlib.suppress(OSError):  # what is left is passed over
                for file in old:
                    self.fs.delete_file(file)
                self._write_table(table, name, whole)  # a later file may have one of these names again

    def _write(self, path: str, content: bytes) -> None:
        """Whole or not at all. FolderError where the run was removed meanwhile, or where its storage cannot be written, which
        is tried again for as long as `PATIENCE` where that may be passing."""
        patience = _patience()
        until = time.monotonic() + patience
        while True:
            try:
                if self.begun and not self._there():
                    raise FolderError(f"{self.uri}/run.json is gone: the folder was removed while this run wrote it")
                return self._write_once(path, content)
            except OSError as error:
                passing = self.begun and (error.errno in PASSING or not self.local)
                if not passing or time.monotonic() > until:
                    full = error.errno in FULL
                    what = "the disk is full" if full else f"{self.uri} cannot be written ({_reason(error)})"
                    raise FolderError(what) from None
                time.sleep(min(5, patience / 10))

    def append(self, path: str, content: bytes) -> None:
        """Writes at the end of a file that is no table, in a folder of this machine. FolderError where that cannot be done."""
        file = Path(self.path, path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab") as stream:
                stream.write(content)
        except OSError as error:
            raise FolderError(f"{file} cannot be written ({_reason(error)})") from None

    def _there(self) -> bool:
        import pyarrow.fs as pafs

        return self.fs.get_file_info(f"{self.path}/run.json").type == pafs.FileType.File

    def _write_once(self, path: str, content: bytes) -> None:
        """Written under a temporary name and renamed (an object store does so by itself)."""
        if not self.local:
            import pyarrow.fs as pafs

            # In one call, into which no signal comes: a stream that is left before its end leaves an object that is cut off
            with tempfile.NamedTemporaryFile() as file:
                file.write(content)
                file.flush()
                pafs.copy_files(file.name, path, pafs.LocalFileSystem(), self.fs)
            return
        self.fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
        temporary = Path(f"{path}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def has_rows(self) -> bool:
        return bool(self._files("rows"))

    def _files(self, table: str) -> list[str]:
        with _as_input():
            return records.files(self.fs, self.path, table)

    def lost_flushes(self) -> list[str]:
        """Files of rows that were written before others of the same trial and are not there any more."""
        numbers: dict[str, set[int]] = {}
        for file in self._files("rows"):
            if flush := FLUSH.search(file):
                numbers.setdefault(flush[1], set()).add(int(flush[2]))
        return [flush_name(t, i) for t, there in numbers.items() for i in range(1, max(there)) if i not in there]

    # Checkpoints lie as Tune lays them, so both engines and every resume find the same files:
    # tune/<trial>/checkpoint_<number>/state.pt

    def checkpoints(self, trial: str) -> list[str]:
        """The checkpoints of a trial, the newest first."""
        import pyarrow.fs as pafs

        found = self.fs.get_file_info(
            pafs.FileSelector(f"{self.path}/tune/{trial}", recursive=True, allow_not_found=True)
        )
        # a trial keeps its name over resumes, each of which numbers its checkpoints anew: the newest is the last written
        states = sorted((f.mtime, f.path) for f in found if f.path.endswith("/state.pt"))
        return [path for _, path in reversed(states)]

    def read_checkpoint(self, path: str) -> bytes:
        with self.fs.open_input_stream(path) as stream:
            return stream.read()

    def set_aside(self, checkpoint: str) -> None:
        """A checkpoint that cannot be gone on from keeps its content under another name."""
        self.fs.move(checkpoint, f"{checkpoint}.damaged")

    def write_checkpoint(self, trial: str, content: bytes) -> None:
        self._write(f"{self.path}/tune/{trial}/checkpoint_000000/state.pt", content)

    def write_weights(self, axes: Sequence[str], config: Config, content: bytes) -> None:
        """The network of a student, in a file named after what it has on the axes and after itself."""
        self._write(f"{self.path}/weights/{called(config, axes)}_{student_hash(config)}.pt", content)

    def discard(self) -> None:
        self.fs.delete_dir(self.path)

    def drop_checkpoints(self) -> None:
        """A finished run needs none; Tune's logs beside them stay."""
        import pyarrow.fs as pafs

        selector = pafs.FileSelector(f"{self.path}/tune", recursive=True, allow_not_found=True)
        for info in self.fs.get_file_info(selector):
            if info.type == pafs.FileType.Directory and info.base_name.startswith("checkpoint_"):
                self.fs.delete_dir(info.path)


def filesystem(storage: str):
    """(file system, root path) of a folder or a URI such as s3://bucket/path."""
    import pyarrow.fs as pafs

    if "://" not in storage:
        try:
            return pafs.LocalFileSystem(), str(Path(storage).expanduser().absolute())
        except RuntimeError:
            raise InputError(f"--storage {storage}: nobody has that home") from None
    try:
        if storage.startswith("s3://") and (endpoint := os.environ.get("AWS_ENDPOINT_URL")):
            return pafs.S3FileSystem(endpoint_override=endpoint), storage.removeprefix("s3://").rstrip("/")
        fs, root = pafs.FileSystem.from_uri(storage)
    except (OSError, ValueError) as error:
        raise InputError(f"--storage {storage}: {_reason(error)}") from None
    return fs, root.rstrip("/")


def runs(storage: str, study: str) -> list[str]:
    """Names of the study's runs, oldest first: the folders that have a run.json."""
    import pyarrow.fs as pafs

    fs, root = filesystem(storage)
    found = fs.get_file_info(pafs.FileSelector(f"{root}/{study}", allow_not_found=True))
    names = sorted(f.base_name for f in found if f.type == pafs.FileType.Directory)
    infos = fs.get_file_info([f"{root}/{study}/{name}/run.json" for name in names]) if names else []
    return [name for name, info in zip(names, infos, strict=True) if info.type == pafs.FileType.File]


def _patience() -> float:
    try:
        return float(os.environ.get("STILLROOM_PATIENCE", PATIENCE))
    except ValueError:
        raise InputError(
            f"STILLROOM_PATIENCE={os.environ['STILLROOM_PATIENCE']}: must be a number of seconds"
        ) from None


def flush_name(trial: str, evaluation: int) -> str:
    return f"{trial}-{evaluation:03d}"


def new_name() -> str:
    """A run's name: its start, to the second, and two digits of the process, so that runs sort by age."""
    return f"{datetime.now().strftime('%Y%m%d-%H%M%S')}-{os.getpid() % 100:02d}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def _as_input(remedy: str = "") -> Iterator[None]:
    """What cannot be read is wrong input."""
    try:
        yield
    except records.RecordsError as error:
        raise InputError(f"{error}{remedy and f'; {remedy}'}") from None


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
