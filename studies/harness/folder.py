"""The run folder: run.json, Parquet rows, checkpoints. The rows are the truth; everything is resumed from them."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studies.harness.study import InputError


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

    def create(self) -> None:
        """InputError where nothing can be written."""
        try:
            self._write(f"{self.path}/rows/.writable", b"")
            self.fs.delete_file(f"{self.path}/rows/.writable")
        except FolderError as error:
            raise InputError(f"--storage: {error}") from None

    @contextlib.contextmanager
    def only_one(self) -> Iterator[None]:
        """One process writes a run folder; InputError in another."""
        if not self.local:
            yield
            return
        from filelock import FileLock, Timeout

        try:
            with FileLock(f"{self.path}/.lock", timeout=0):
                yield
        except Timeout:
            raise InputError(f"{self.run} is being written by another process") from None

    def write_json(self, info: Mapping[str, Any]) -> None:
        self._write(f"{self.path}/run.json", json.dumps(info, indent=2, default=str).encode())

    def read_json(self) -> dict[str, Any]:
        try:
            with self.fs.open_input_stream(f"{self.path}/run.json") as stream:
                return json.loads(stream.read())
        except (OSError, ValueError) as error:
            raise InputError(f"{self.uri}/run.json cannot be read ({_reason(error)})") from None

    def write_rows(
        self, table: str, name: str, rows: Sequence[Mapping[str, Any]], schema=None, keys: Sequence[str] = ()
    ) -> None:
        """Rows of one flush; a rerun of the flush writes the same file.

        Without a schema the first row names the columns; `keys` tell rows of one student and step apart.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        content = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        if keys:
            content = content.replace_schema_metadata({"axes": json.dumps(list(keys))})
        pq.write_table(content, sink)
        self._write(f"{self.path}/{table}/{name}.parquet", sink.getvalue())

    def read_rows(self, table: str = "rows", columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """All lines of a table, in the order of the files; none where it has none. InputError names a damaged file."""
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = []
        for file in self._files(table):
            try:
                rows += pq.read_table(file, columns=columns, filesystem=self.fs).to_pylist()
            except (OSError, ValueError) as error:
                again = "train its students again" if table == "rows" else "have it written anew"
                raise InputError(f"{file} is damaged ({_reason(error)}); delete it to {again}") from None
        return rows

    def _files(self, table: str) -> list[str]:
        import pyarrow.fs as pafs

        selector = pafs.FileSelector(f"{self.path}/{table}", allow_not_found=True)
        return sorted(f.path for f in self.fs.get_file_info(selector) if f.path.endswith(".parquet"))

    def _write(self, path: str, content: bytes) -> None:
        """Whole or not at all: written under a temporary name and renamed (an object store does so by itself)."""
        try:
            self.fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
            if not self.local:
                with self.fs.open_output_stream(path) as stream:
                    stream.write(content)
                return
            temporary = Path(f"{path}.tmp")
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "the disk is full" if full else f"{self.uri} cannot be written ({_reason(error)})"
            raise FolderError(what) from None

    # Checkpoints lie as Tune lays them, so both engines and every resume find the same files:
    # tune/<trial>/checkpoint_<number>/state.pt

    def checkpoint(self, trial: str) -> bytes | None:
        """The newest complete checkpoint of a trial."""
        import pyarrow.fs as pafs

        found = self.fs.get_file_info(
            pafs.FileSelector(f"{self.path}/tune/{trial}", recursive=True, allow_not_found=True)
        )
        # a trial keeps its name over resumes, each of which numbers its checkpoints anew: the newest is the last written
        states = sorted((f.mtime, f.path) for f in found if f.path.endswith("/state.pt"))
        for _, path in reversed(states):
            with self.fs.open_input_stream(path) as stream:
                content = stream.read()
            if zipfile.is_zipfile(io.BytesIO(content)):  # torch.save's format; its directory comes last
                return content
        return None

    def write_checkpoint(self, trial: str, content: bytes) -> None:
        self._write(f"{self.path}/tune/{trial}/checkpoint_000000/state.pt", content)

    def write_weights(self, student: str, content: bytes) -> None:
        self._write(f"{self.path}/weights/{student}.pt", content)

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
        return pafs.LocalFileSystem(), str(Path(storage).expanduser().absolute())
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


def new_name() -> str:
    """A run's name: its start, to the second, and two digits of the process, so that runs sort by age."""
    return f"{datetime.now().strftime('%Y%m%d-%H%M%S')}-{os.getpid() % 100:02d}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
