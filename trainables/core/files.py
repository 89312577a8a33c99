"""The files of data sets as people have them: in folders and behind links, in zips, beside what other systems leave there.

Whatever is read here may be anybody's: sizes are limited before anything is unpacked, and nothing is written.
"""

from __future__ import annotations

import functools
import io
import os
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

SAMPLE = Path(__file__).parent / "sample"  # ships with the package
PICTURE = re.compile(r"\.(jpe?g|png|bmp|gif|tiff?|webp|p[pg]m)$", re.IGNORECASE)  # how the name of one ends
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # Pillow has others, some of which start programs
MOST_BYTES = 2**26  # of a picture's file
MOST_UNPACKED = 2**32  # of all that is read from a zip
MOST_PIXELS = 2**26  # of a picture, such as 8,192 x 8,192
LEFT_BEHIND = (
    "__macosx",
    "thumbs.db",
    "desktop.ini",
)  # by other systems; whatever begins with a dot (._x, .DS_Store) too


class DataError(ValueError):
    """One line: what is missing or damaged, where it was looked for, how to get it."""


class DataMissing(DataError):
    """Absent and not to be fetched: then `auto` falls back on the sample. Damaged is not absent."""


class Place:
    """A folder, a zip or a tar with the files of a data set; what LEFT_BEHIND names is passed over.

    Nothing is read before `files` is asked for. Errors: DataError where it cannot be read.
    """

    def __init__(self, path: Path, within: Sequence[str] = ("",), own: bool = False) -> None:
        """within: the files and subfolders of a folder to keep to. own: whether the files are the user's own, which are had nowhere
        else."""
        self.path, self.within, self.own = path, within, own

    @functools.cached_property
    def files(self) -> dict[str, Any]:
        """What `read` finds each regular file by, by its name from the place on, with `/`, sorted; links are followed in
        folders and left out of archives."""
        found: dict[str, Any] = {}
        with _readable(self.path, self.own):
            if self.path.is_dir():
                for part in self.within:
                    found |= {os.path.relpath(file, self.path): Path(file) for file in _walked(self.path / part)}
            elif self.path.suffix == ".zip":
                with zipfile.ZipFile(self.path) as archive:  # some zips from Windows have backslashes
                    found = {e.filename.replace("\\", "/"): e for e in archive.infolist() if not e.is_dir()}
            else:
                with tarfile.open(self.path) as tar:
                    found = {member.name: member for member in tar if member.isfile()}
        return {name: found[name] for name in sorted(found) if not any(map(left_behind, name.split("/")))}

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The content of some files, by the paths that messages name them by. Errors: DataError, which names the file."""
        paths = {name: f"{self.path}/{name}" for name in names}
        if gone := [name for name in names if name not in self.files]:
            raise DataError(f"{paths[gone[0]]} is not there any more")
        with _readable(self.path, self.own):
            if self.path.is_dir():
                for name in names:
                    _limited(paths[name], self.files[name].stat().st_size, MOST_BYTES)
                return {paths[name]: self.files[name].read_bytes() for name in names}
            if self.path.suffix == ".zip":
                for name in names:
                    _unpackable(paths[name], self.files[name])
                _limited(str(self.path), sum(self.files[name].file_size for name in names), MOST_UNPACKED)
                with zipfile.ZipFile(self.path) as archive:
                    return {paths[name]: archive.read(self.files[name]) for name in names}
            with tarfile.open(self.path) as tar:
                return {paths[name]: tar.extractfile(self.files[name]).read() for name in names}  # type: ignore[union-attr]


@contextmanager
def _readable(path: Path, own: bool = False) -> Iterator[None]:
    """Inside, what damaged or unreadable files raise becomes a DataError that names the path."""
    try:
        yield
    except DataError:
        raise
    # RuntimeError is what zipfile says of entries that it cannot unpack, ValueError of their names
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({reason(error)}): {remedy(path, own)}") from error


def _unpackable(path: str, entry: zipfile.ZipInfo) -> None:
    """DataError for an entry of a zip that is not to be unpacked: others than these know no bound."""
    if entry.flag_bits & 1:
        raise DataError(f"{path} is encrypted: put a zip without a password there")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{path} is compressed by method {entry.compress_type}, and only deflate is read: zip it anew")
    _limited(path, entry.file_size, MOST_BYTES)


def _limited(path: str, size: int, most: int) -> None:
    if size > most:
        raise DataError(f"{path} has {size:,} bytes{' unpacked' * ('.zip' in path)}, and at most {most:,} are read")


def left_behind(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or what macOS and Windows leave beside files."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def visible(folder: Path) -> list[os.DirEntry]:
    """What stands in a folder, by name, without what is left behind; nothing where it is no folder. Errors: DataError."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not left_behind(e.name)), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({reason(error)})") from error


def there(root: Path) -> str:
    """What stands in a folder, in words for a message that misses something."""
    names = [entry.name + "/" * entry.is_dir() for entry in visible(root)]
    return ", ".join([*names[:6], *(["..."] if len(names) > 6 else [])]) or "nothing"


def _walked(folder: Path | str, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Paths of all regular files below a folder, behind links too; a link back to a folder that it lies in is left out."""
    here = os.path.realpath(folder)
    if here in above:
        return
    if Path(folder).is_file():
        yield str(folder)
    for entry in visible(Path(folder)):
        if entry.is_dir():
            yield from _walked(entry.path, above | {here})
        elif entry.is_file():
            yield entry.path


def picture(path: str, content: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """A picture's file as (H, W, 3) uint8. Errors: DataError, which names the path, also where (W, H) is not `size`."""
    with _opened(path, content) as image:
        if size not in (None, image.size):
            raise OSError("{} x {} pixels, not {} x {}".format(*image.size, *size))
        return np.asarray(image.convert("RGB"))


def recognise(path: str, content: bytes) -> None:
    """Looks at how the user's own picture begins. Errors: as `picture`."""
    with _opened(path, content, own=True):
        pass


def square(path: str, content: bytes, side: int) -> np.ndarray:
    """The middle of the user's own picture, upright, as (side, side, 3) uint8; what shows through lies on white. Errors: as `picture`."""
    from PIL import Image, ImageOps

    with _opened(path, content, own=True) as image:
        image.draft(None, (2 * side, 2 * side))  # large JPEGs need not be decoded at more than twice that
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):  # which Pillow would cut off at 255
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        elif upright.mode in ("I", "F"):
            raise OSError(f"its pixels are of mode {upright.mode}, not of 8 or 16 bits")
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        return np.asarray(ImageOps.fit(upright.convert("RGB"), (side, side), Image.Resampling.BILINEAR))


@contextmanager
def _opened(path: str, content: bytes, own: bool = False) -> Iterator[Image.Image]:
    """A picture as Pillow has it; whatever goes wrong inside becomes a DataError that names the path."""
    from PIL import Image, UnidentifiedImageError

    try:
        quiet = warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning)  # the limit is ours
        with quiet, Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} has more than {MOST_PIXELS:,} pixels, the most that are read") from error
    except UnidentifiedImageError as error:  # whose text is the address of a buffer
        raise DataError(f"{path} is no picture ({', '.join(FORMATS)}): {remedy(Path(path), own)}") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them
        raise DataError(f"{path} is damaged ({reason(error)}): {remedy(Path(path), own)}") from error


def remedy(path: Path, own: bool = False) -> str:
    """How to get what is damaged; own: of files of the user's own."""
    if own:
        return "put a good copy there, or move it away"
    if SAMPLE in path.parents:
        return "install the package again"
    return "put a good copy there, or move it away to have it downloaded where it can be"


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    text = (getattr(error, "strerror", None) or str(error)).strip()
    return text.splitlines()[0] if text else type(error).__name__
