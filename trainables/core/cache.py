"""What is slow to make and always comes out the same is made once per machine, and found by its content."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

log = logging.getLogger("stillroom")


def cache_root() -> Path:
    """The folder that belongs to Stillroom on this machine: $STILLROOM_CACHE, or the user's cache folder; for a user without a
    home, one that nobody else may enter among the temporary files."""
    if chosen := os.environ.get("STILLROOM_CACHE"):
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    try:
        return user_cache_path("stillroom")
    except RuntimeError:
        folder = Path(tempfile.gettempdir(), f"stillroom-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise OSError(f"{folder} is somebody else's: set STILLROOM_CACHE to a folder of yours") from None
        return folder


def cached(
    name: str,
    key: Mapping[str, object],
    make: Callable[[], dict[str, np.ndarray]],
    folder: Path | None = None,
) -> dict[str, np.ndarray]:
    """The arrays that `make` makes for `key`: read where an earlier call left them, or made and left there.

    key: all that the arrays depend on, as JSON values (digests of large inputs, seeds, a recipe's version).
    folder: where entries lie, one file each; `cache_root()` unless given.
    Processes that ask at once wait for the first and build once. A damaged entry is built again, with a
    warning. Where the folder cannot be written, or the disk is full, the arrays are returned all the same,
    with a warning. Errors: what `make` raises; TypeError for a key that JSON cannot write, or for arrays of
    Python objects.
    """
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    folder = cache_root() if folder is None else folder
    path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.arrays"
    try:
        return _read(path, text)
    except (OSError, ValueError):
        pass  # absent or damaged: looked at again below, when nobody else is writing it
    with ExitStack() as stack:
        try:
            from filelock import FileLock

            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(path.with_suffix(".lock")))
        except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
            log.warning("%s is made, but not kept: %s cannot be written (%s)", name, folder, error)
            return make()
        try:
            return _read(path, text)
        except FileNotFoundError:
            log.info("%s is made once and kept in %s", name, path)
        except (OSError, ValueError) as error:
            log.warning("%s is damaged (%s) and is made again", path, error)
        arrays = make()
        try:
            _write(path, text, arrays)
        except OSError as error:
            log.warning("%s is made, but not kept: %s cannot be written (%s)", name, path, error)
        return arrays


def content(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """What a key needs to say of a data set: the digest of each of its arrays."""
    return {name: digest(arrays[name]) for name in sorted(arrays)}


def digest(*arrays: np.ndarray) -> str:
    """sha256 over the types, shapes and values of the arrays, as hex."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


# An entry is: the sha256 of the next line; that line, a JSON header with each array's name, type, shape and
# digest; the arrays' bytes, one after another. Nothing is believed before its digest agrees.


def _write(path: Path, key: str, arrays: Mapping[str, np.ndarray]) -> None:
    members = []
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"{path.name}: array {name!r} holds Python objects, which have no bytes to keep")
        about = {"name": name, "dtype": array.dtype.str, "shape": array.shape, "sha256": digest(array)}
        members.append(about)
    header = json.dumps({"key": key, "arrays": members}).encode()
    # Only the lock's holder writes: one fixed name does, and what a killed writer left is overwritten.
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(header).hexdigest().encode() + b"\n" + header + b"\n")
            for array in arrays.values():
                file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path, key: str) -> dict[str, np.ndarray]:
    """Errors: FileNotFoundError; OSError or ValueError for an entry that is not what was written."""
    with path.open("rb") as file:
        expected, header = file.readline().strip(), file.readline().strip()
        if hashlib.sha256(header).hexdigest().encode() != expected:
            raise ValueError("its header does not have its checksum")
        content = json.loads(header)
        if content["key"] != key:
            raise ValueError("it holds the arrays of another key")
        arrays = {}
        for member in content["arrays"]:
            shape = tuple(member["shape"])
            array = np.fromfile(file, member["dtype"], int(np.prod(shape, dtype=np.int64)))
            if array.size != np.prod(shape, dtype=np.int64):
                raise ValueError("it is truncated")
            arrays[member["name"]] = array.reshape(shape)
            if digest(arrays[member["name"]]) != member["sha256"]:
                raise ValueError(f"array {member['name']!r} does not have its checksum")
    return arrays
