"""Images as arrays in memory: MNIST, Fashion-MNIST, CIFAR-10, BSDS500's photographs, and MNIST-M made of digits and photos.

`full` is the published data under a root folder, fetched once per machine; `sample` is the small real part of
it that the package ships (`sample/ORIGIN.md`). All images are uint8. A root holds

    MNIST/raw/train-images-idx3-ubyte ...           as torchvision.datasets.MNIST(root) leaves them
    FashionMNIST/raw/train-images-idx3-ubyte ...    or Debian's dataset-fashion-mnist is installed
    cifar-10-batches-py/data_batch_1 ...            or pictures: cifar10/{train,test}/<class>/*.jpg or cifar10_jpeg.zip
    BSDS500/images/{train,val,test}/*.jpg           or BSR/BSDS500/data/images/..., or bsds500_images.zip

or what people have instead: the files of MNIST without their folders, gzipped, or with a dot in their names; the archives of
CIFAR-10 and BSDS500 as they are published; pictures with other endings, in a zip with or without its outer folder, behind links.
The published files are known by their checksums, pictures by their number.
"""

import gzip
import hashlib
import http.client
import logging
import os
import pickle
import queue
import re
import shutil
import socket
import tarfile
import threading
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from trainables.core.cache import cache_root, cached, digest
from trainables.core.files import (
    PICTURE,
    SAMPLE,
    DataError,
    DataMissing,
    Place,
    picture,
    reason,
    remedy,
    there,
    visible,
)
from trainables.core.images import NAME, Own

log = logging.getLogger("stillroom")

Variant = Literal["sample", "full"]
Dataset = Literal["mnist", "fashion_mnist", "cifar10", "mnistm"]
Split = Literal["train", "test"]

# The sets in MNIST's format by the name of torchvision's class. Of the decompressed files: items and md5; they are what
# torchvision's gzipped files unpack to.
IDX_FILES = {
    "MNIST": {
        "train-images-idx3-ubyte": (60_000, "6bbc9ace898e44ae57da46a324031adb"),
        "train-labels-idx1-ubyte": (60_000, "a25bea736e30d166cdddb491f175f624"),
        "t10k-images-idx3-ubyte": (10_000, "2646ac647ad5339dbf082846283269ea"),
        "t10k-labels-idx1-ubyte": (10_000, "27ae3e4e09519cfbb04c329615203637"),
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": (60_000, "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        "train-labels-idx1-ubyte": (60_000, "9018921c3c673c538a1fc5bad174d6f9"),
        "t10k-images-idx3-ubyte": (10_000, "8181f5470baa50b63fa0f6fddb340f0a"),
        "t10k-labels-idx1-ubyte": (10_000, "15d484375f8d13e6eb1aabb0c3f46965"),
    },
}
IDX_MIRRORS: dict[str, tuple[str, ...]] = {
    "MNIST": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "FashionMNIST": ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
}
IDX_FOLDERS = {  # of a root, where files may be; the first receives downloads
    "MNIST": ("MNIST/raw", "MNIST", "mnist", "raw", ""),
    "FashionMNIST": ("FashionMNIST/raw", "FashionMNIST", "fashion-mnist", "raw", ""),
}
MOST_LABELS = 100_000  # bytes of a file of labels
DEBIAN = Path("/usr/share/datasets")  # where Debian's packages put data sets
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_COUNTS: dict[Split, int] = {"train": 5000, "test": 1000}  # of each class
CIFAR_SAMPLE_COUNTS: dict[Split, int] = {"train": 200, "test": 50}
CIFAR_FILES = {  # of cifar-10-batches-py: md5
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CIFAR_MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
CIFAR_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR_PICTURES = r"cifar[-_]?10([-_](jpe?g|png|images|python))?(\.zip)?"  # names of folders and zips
CIFAR_ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
PHOTO_COUNTS = {"train": 200, "val": 100, "test": 200}
PHOTO_FOLDERS: dict[Split, tuple[str, ...]] = {"train": ("train", "val"), "test": ("test",)}
PHOTO_MIRRORS = ("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/",)
PHOTO_ARCHIVE = "BSR_bsds500.tgz"
PHOTO_PLACES = ("BSDS500/images", "BSR/BSDS500/data/images", "BSDS500/data/images", "images")
PHOTO_SIDE = 28  # at least, for a patch
# Berkeley publishes no checksum; several users of the archive (70,763,455 bytes) recorded this one.
PHOTO_ARCHIVE_SHA256 = "97e49d31764f3912f0c4122707d53062ac9e783ba0f095e447a4d53c1a41af8e"
PROBE_SECONDS = 4.0  # a mirror that has not answered by then is unreachable, name look-up included
STALL_SECONDS = 15.0  # a download that brings nothing for so long is given up

MNISTM_RECIPE = 1  # raised whenever the same inputs and seed would give other MNIST-M images


@dataclass(frozen=True)
class Images:
    """Images and labels (N,), all uint8: MNIST and Fashion-MNIST (N, 28, 28), white on black; CIFAR-10 (N, 3, 32, 32)."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Mnistm:
    """MNIST-M: images (N, 3, 28, 28) uint8; the digit behind each (N, 28, 28) uint8; labels (N,) uint8."""

    train_images: np.ndarray
    train_digits: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_digits: np.ndarray
    test_labels: np.ndarray


def mnist(variant: Variant, root: Path | None = None) -> Images:
    """MNIST (LeCun, Cortes, Burges): 60,000 and 10,000 digits in full, 6,000 and 2,000 in the sample.

    root: holds MNIST/raw, or receives it; the user's cache unless given. Errors: DataError.
    """
    return _sample_arrays("digits.npz") if variant == "sample" else _idx_set("MNIST", _root(root))


def fashion_mnist(variant: Variant, root: Path | None = None) -> Images:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf: arXiv 1708.07747): 60,000 and 10,000 in full, 2,000 and 500 in the sample.

    root: as for `mnist`. Errors: DataError.
    """
    return _sample_arrays("fashion.npz") if variant == "sample" else _idx_set("FashionMNIST", _root(root))


def cifar10(variant: Variant, root: Path | None = None) -> Images:
    """CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 in full, 2,000 and 500 in the sample; labels in the order of the classes.

    Where the root has pictures and not the published batches, these may be lossy: `describe` says so. Pictures, the sample
    among them, are decoded once per machine. Errors: DataError.
    """
    place = Place(_shipped("cifar10_jpeg.zip")) if variant == "sample" else _ensure_cifar(_root(root))
    if batches := _cifar_batches(place):
        return batches
    names, trouble = _cifar_names(place)
    if trouble:
        raise DataError(trouble)
    jpegs = {split: place.read([name for name, _ in names[split]]) for split in names}

    def make() -> dict[str, np.ndarray]:
        pixels = {split: [picture(*jpeg, size=(32, 32)) for jpeg in jpegs[split].items()] for split in jpegs}
        return {split: np.ascontiguousarray(np.stack(pixels[split]).transpose(0, 3, 1, 2)) for split in pixels}

    key = {"recipe": 1, **{split: _content(jpegs[split]) for split in jpegs}}
    images = cached("cifar10", key, make)
    labels = {split: np.array([label for _, label in names[split]], np.uint8) for split in names}
    return Images(images["train"], labels["train"], images["test"], labels["test"])


def photos(variant: Variant, root: Path | None = None, split: Split = "train") -> list[np.ndarray]:
    """BSDS500 photographs, each (H, W, 3) uint8        Arbelaez, Maire, Fowlkes, Malik: PAMI 33(5), 2011

    In full, 300 for train (the benchmark's train and val) and 200 for test, 321 x 481 or 481 x 321; in the
    sample, crops of 60 and of 30 of them, 160 x 160. Ordered by folder and file name. Errors: DataError.
    """
    return [_photo(path, jpeg) for path, jpeg in photo_files(variant, root, split).items()]


def photo_files(variant: Variant, root: Path | None = None, split: Split = "train") -> dict[str, bytes]:
    """The files behind `photos`, in the same order: path -> JPEG bytes. Errors: DataError."""
    place = Place(_shipped("photos.zip")) if variant == "sample" else _ensure_photos(_root(root))
    names = _photo_names(place)
    return place.read([name for folder in PHOTO_FOLDERS[split] for name in names[folder]])


def mnistm(variant: Variant, root: Path | None = None, seed: int = 0) -> Mnistm:
    """MNIST-M: every digit of `mnist`, in its order, over a random patch of a random photograph.

    Ganin et al. 2016 (arXiv 1505.07818), s. 5.2: I_ijk = |digit_ij - patch_ijk|. Train digits lie over train
    photographs only, test digits over test photographs only. The same seed gives the same images; they are
    made once per machine. Errors: DataError.
    """
    digits = mnist(variant, root)
    train, test = photo_files(variant, root, "train"), photo_files(variant, root, "test")
    key = {
        "recipe": MNISTM_RECIPE,
        "seed": seed,
        "digits": digest(digits.train_images, digits.test_images),
        "photos": [_content(train), _content(test)],
    }

    def make() -> dict[str, np.ndarray]:
        train_rng, test_rng = np.random.default_rng(seed).spawn(2)
        return {
            "train": blended(digits.train_images, [_photo(*jpeg) for jpeg in train.items()], train_rng),
            "test": blended(digits.test_images, [_photo(*jpeg) for jpeg in test.items()], test_rng),
        }

    images = cached("mnistm", key, make)
    return Mnistm(
        train_images=images["train"],
        train_digits=digits.train_images,
        train_labels=digits.train_labels,
        test_images=images["test"],
        test_digits=digits.test_images,
        test_labels=digits.test_labels,
    )


def random_patches(photos: Sequence[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """A uniformly drawn place in a uniformly drawn photograph, count times: (count, 3, 28, 28) uint8.

    photos: (H, W, 3) uint8 each, H and W at least 28.
    """
    which = rng.integers(len(photos), size=count)
    places = np.array([photo.shape[:2] for photo in photos])[which] - 27  # (count, 2)
    row, column = rng.integers(places[:, 0]), rng.integers(places[:, 1])
    patches = np.empty((count, 3, 28, 28), np.uint8)
    for index, photo in enumerate(photos):
        here = which == index
        windows = np.lib.stride_tricks.sliding_window_view(photo, (28, 28), (0, 1))
        patches[here] = windows[row[here], column[here]]  # windows: (H - 27, W - 27, 3, 28, 28)
    return patches


def blended(digits: np.ndarray, photos: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """|digit - patch| per pixel and channel: (N, 28, 28) over random patches gives (N, 3, 28, 28) uint8."""
    patches, ink = random_patches(photos, len(digits), rng), digits[:, None]
    # uint8 has no sign: the larger less the smaller
    return np.maximum(ink, patches) - np.minimum(ink, patches)


def load(
    name: str, variant: Variant | Literal["own"], root: Path | None = None, own: Own | None = None
) -> dict[str, np.ndarray]:
    """A data set by its name: the arrays of its dataclass, by their names, or those of `Own.load`. Errors: DataError."""
    if own and (side := NAME.fullmatch(name)):
        return own.load(int(side[1]))
    sets: dict[str, Callable[..., Images | Mnistm]] = {
        "mnist": mnist, "fashion_mnist": fashion_mnist, "cifar10": cifar10, "mnistm": mnistm
    }  # fmt: skip
    found = sets[name]("full" if variant == "own" else variant, root)
    return {f.name: getattr(found, f.name) for f in fields(found)}


def resolve(variant: str, datasets: Sequence[str], root: Path | None = None) -> tuple[Variant, str]:
    """Which variant there is of all these data sets, and a sentence that says why: ("full" or "sample", reason).

    `full` finds the files or fetches them. `auto` is full where that succeeds, and the sample where the data
    are absent and cannot be fetched. Without data sets it is full: generated data are all there. Errors: DataError
    where `full` is impossible, where files are damaged (under `auto` too), where a given root is not a folder.
    """
    if variant not in ("auto", "sample", "full"):
        raise DataError(f"--data {variant}: choose auto, sample or full")
    for dataset in datasets:
        if dataset not in get_args(Dataset):
            raise DataError(f"no data set is called {dataset}: choose {' or '.join(get_args(Dataset))}")
    if not datasets:
        return "full", "No data set: the data are generated."
    folder, elsewhere = _root(root), ""
    if variant == "sample":
        return "sample", "The shipped sample, as asked."
    try:
        if {"mnist", "mnistm"} & set(datasets):
            _idx_set("MNIST", folder)
        if "fashion_mnist" in datasets:
            _idx_set("FashionMNIST", folder)
            found = _ensure_idx("FashionMNIST", folder).values()
            apart = sorted({str(path.parent) for path in found if not path.is_relative_to(folder)})
            elsewhere = "".join(f" and {place}" for place in apart)
        if "cifar10" in datasets:
            _ensure_cifar(folder)
        if "mnistm" in datasets:
            _ensure_photos(folder)
    except DataMissing as missing:
        if variant == "full":
            raise
        return "sample", f"The shipped sample, since the full data are not at hand: {missing}."
    return "full", f"The full data, from {folder}{elsewhere}."


HELD_OUT = 1 / 12  # share of the training images that only choose: 5,000 of MNIST's 60,000
TRAINING = {
    "mnist": (60_000, 6_000), "mnistm": (60_000, 6_000), "fashion_mnist": (60_000, 2_000), "cifar10": (50_000, 2_000),
}  # fmt: skip
"""Training images of each published set and of its sample, before some are held out."""


def training(dataset: str, variant: str) -> int:
    """How many images of a published set train."""
    n = TRAINING[dataset][variant == "sample"]
    return n - round(n * HELD_OUT)


def holdout(n: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n items in two, drawn from the seed: (n - count,) indices to train on and (count,) to validate on.

    Both ascend, share nothing and cover all. Errors: ValueError.
    """
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n} items cannot be held out")
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[count:]), np.sort(order[:count])


def describe(datasets: Sequence[str], variant: str, root: Path | None = None) -> str:
    """The data in the words of a subtitle; root as for the data sets, which says where CIFAR-10 comes from."""
    return "; ".join(_described(dataset, variant, root) for dataset in datasets) or "Generated data"


def _described(dataset: str, variant: str, root: Path | None) -> str:
    full = variant == "full"
    which = "full" if full else "shipped sample"
    if dataset == "cifar10":
        place = find_cifar(_root(root)) if full else Place(_shipped("cifar10_jpeg.zip"))
        names = [name for part in _cifar_names(place)[0].values() for name, _ in part] if place else []
        kinds = " and ".join(sorted({Path(name).suffix[1:].upper().replace("JPG", "JPEG") for name in names}))
        counts = "50,000 train / 10,000 test" if full else "2,000 train / 500 test"
        return f"CIFAR-10{f' ({kinds})' * bool(kinds)}, {which} ({counts} images)"
    if dataset == "fashion_mnist":
        return f"Fashion-MNIST, {which} ({'60,000 train / 10,000 test' if full else '2,000 train / 500 test'} images)"
    digits = "60,000 train / 10,000 test digits" if full else "6,000 train / 2,000 test digits"
    if dataset == "mnist":
        return f"MNIST, {which} ({digits})"
    return f"MNIST-M, {which} ({digits}, {'300+200 BSDS500 photos' if full else '60+30 BSDS500 crops'})"


def _root(root: Path | None) -> Path:
    if root is None:
        return cache_root() / "data"
    root = root.expanduser()
    if not (os.access(root, os.R_OK | os.X_OK) and root.is_dir()):
        raise DataError(f"the data root {root} is not a readable folder; leave it out to use the cache")
    return root


def _shipped(name: str) -> Path:
    if not (SAMPLE / name).is_file():
        raise DataError(f"the shipped sample lacks {SAMPLE / name}: install the package again")
    return SAMPLE / name


def _sample_arrays(name: str) -> Images:
    path, parts = _shipped(name), ("train_images", "train_labels", "test_images", "test_labels")
    try:
        with np.load(path) as file:
            return Images(*(file[part] for part in parts))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged ({reason(error)}): {remedy(path)}") from error


def _idx_set(title: str, root: Path) -> Images:
    """A data set of four IDX files, each known to be the published one. Errors: DataMissing; DataError for damage."""
    paths = _ensure_idx(title, root)
    return Images(*(_idx(paths[name], title, name) for name in IDX_FILES[title]))


def _idx(path: Path, title: str, name: str) -> np.ndarray:
    """An IDX file as (N, 28, 28) or (N,) uint8, once its bytes are known to be the published ones."""
    count, md5 = IDX_FILES[title][name]
    shape, start = ((count, 28, 28), 16) if "idx3" in name else ((count,), 8)
    size = start + int(np.prod(shape))
    content = _unzipped(path, size + 1)
    if len(content) != size:
        have = f"{len(content):,}" if len(content) < size else "more"
        raise DataError(f"{path} has {have} bytes, not {size:,}: {remedy(path)}")
    if (found := _md5(content)) != md5:
        other = next((other for other, files in IDX_FILES.items() if found == files[name][1]), "")
        what = f"is of {other}, not of {title}" if other else f"is damaged, its md5 is not {md5}"
        raise DataError(f"{path} {what}: {remedy(path)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _unzipped(path: Path, most: int) -> bytearray:
    """The first bytes of a file, or of what is gzipped in it, whatever its name says; an array of them can be written."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.open(file) if packed else file as plain:
                return bytearray(plain.read(most))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged ({reason(error)}): {remedy(path)}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)})") from error


def _md5(content: bytes | bytearray) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _find_idx(title: str, root: Path) -> dict[str, Path]:
    """Those of a set's four files that are there, by their published names. MNIST's and Fashion-MNIST's have the same names: a
    folder with the labels of the other is passed over."""
    folders = [root / folder for folder in IDX_FOLDERS[title]]
    if title == "FashionMNIST":
        folders.append(DEBIAN / "fashion-mnist")
    others = {md5 for other, files in IDX_FILES.items() if other != title for _, md5 in files.values()}
    others -= {md5 for _, md5 in IDX_FILES[title].values()}
    found: dict[str, Path] = {}
    for folder in folders:
        here: dict[str, Path] = {}
        for entry in visible(folder):
            if (name := _published(entry.name)) in IDX_FILES[title]:
                inside = (
                    visible(Path(entry.path)) if entry.is_dir() else [entry]
                )  # some archives have a folder for each file
                same = [Path(e.path) for e in inside if e.is_file() and _published(e.name) == name]
                if same:
                    here.setdefault(name, same[0])
        labels = [path for name, path in here.items() if "labels" in name]
        if not any(_md5(_unzipped(path, MOST_LABELS)) in others for path in labels):
            found = here | found
    return found


def _published(name: str) -> str:
    """The name that an IDX file was published by."""
    return name.lower().removesuffix(".gz").replace(".idx", "-idx")


def _ensure_idx(title: str, root: Path) -> dict[str, Path]:
    """The four files by their published names, downloaded if need be. Errors: DataMissing; DataError for damage."""
    raw = root / IDX_FOLDERS[title][0]

    def absent() -> list[str]:
        found = _find_idx(title, root)
        return [name for name in IDX_FILES[title] if name not in found]

    def download(staging: Path) -> None:
        mirrors = answering(IDX_MIRRORS[title], "train-labels-idx1-ubyte.gz")
        from torchvision import datasets  # takes seconds, so not before somebody answers

        received = staging / title / "raw"
        published = getattr(datasets, title)
        try:
            # torchvision names the folder after the class and takes the mirrors from it
            type(title, (published,), {"mirrors": mirrors})(staging, download=True)
        except RuntimeError as error:
            for name, md5 in published.resources:
                if (received / name).exists():
                    _check_download(received / name, "md5", md5)
            raise OSError(str(error).replace("\n", " ")) from error
        raw.mkdir(parents=True, exist_ok=True)
        for name in absent():
            (received / name).replace(raw / name)

    if missing := absent():
        have = _find_idx(title, root).values()
        which = f"{title}'s {', '.join(missing)}" if have else title
        found = ", ".join(map(str, have)) or (f"{there(raw)} in {raw}" if visible(raw) else there(root))
        sought = f"{which} is not in {root} ({IDX_FOLDERS[title][0]}/*-ubyte, gzipped or not; found: {found})"
        fetch_once(root, lambda: not absent(), download, sought)
    return _find_idx(title, root)


def _ensure_cifar(root: Path) -> Place:
    """Where CIFAR-10 is, downloaded if need be. Errors: DataMissing; DataError for damage."""

    def download(staging: Path) -> None:
        mirrors = answering(CIFAR_MIRRORS, CIFAR_ARCHIVE)
        from torchvision.datasets.utils import download_url

        download_url(mirrors[0] + CIFAR_ARCHIVE, staging)
        _check_download(staging / CIFAR_ARCHIVE, "md5", CIFAR_ARCHIVE_MD5)
        with tarfile.open(staging / CIFAR_ARCHIVE) as archive:
            archive.extractall(staging, filter="data")
        (staging / "cifar-10-batches-py").replace(root / "cifar-10-batches-py")

    if (place := find_cifar(root)) is None:
        ways = f"cifar-10-batches-py, {CIFAR_ARCHIVE}, cifar10/{{train,test}}/<class>/*.jpg or cifar10_jpeg.zip"
        sought = f"CIFAR-10 is not in {root} ({ways}; found: {there(root)})"
        fetch_once(root, lambda: find_cifar(root) is not None, download, sought)
        place = find_cifar(root)
        assert place is not None
    return place


def find_cifar(root: Path) -> Place | None:
    """Where CIFAR-10 is under a root, as the published batches or as pictures. Errors: DataError if it is not whole."""
    partly = []
    for folder in (root / "cifar-10-batches-py", root):
        here = {entry.name for entry in visible(folder) if entry.is_file()}
        lacking = [name for name in CIFAR_FILES if name not in here]
        if not lacking:
            return Place(folder, tuple(CIFAR_FILES))
        if len(lacking) < len(CIFAR_FILES):
            partly.append(f"{folder} lacks {', '.join(lacking)}: {remedy(folder)}")
    if archive := _archive(root, CIFAR_ARCHIVE, "md5", CIFAR_ARCHIVE_MD5):
        return archive
    for entry in visible(root):
        if re.fullmatch(CIFAR_PICTURES, entry.name.lower()):
            names, trouble = _cifar_names(place := Place(Path(entry.path)))
            if not trouble or _batch_names(place):
                return place
            if any(names.values()):
                partly.append(trouble)
    if (root / "train").is_dir() and not _cifar_names(place := Place(root, ("train", "test")))[1]:
        return place
    if partly:
        raise DataError(partly[0])
    return None


def _archive(root: Path, name: str, algorithm: str, expected: str) -> Place | None:
    """A published archive that somebody put there. Errors: DataError if it is not the published one."""
    if not (root / name).is_file():
        return None
    _check(root / name, algorithm, expected, f"{root / name} is damaged", remedy(root / name))
    return Place(root / name)


def _batch_names(place: Place) -> dict[str, str]:
    """Where the published batches are in a place; empty where they are not all there."""
    names = {name.rpartition("/")[2]: name for name in place.files}
    return names if CIFAR_FILES.keys() <= names.keys() else {}


def _cifar_batches(place: Place) -> Images | None:
    """The published batches: pickles of {b"data": (N, 3072) uint8, b"labels": N numbers}, opened once their md5 is known. None
    where the place has pictures."""
    names = _batch_names(place)
    if not names:
        return None
    parts = []
    contents = place.read([names[name] for name in CIFAR_FILES])
    for (path, content), md5 in zip(contents.items(), CIFAR_FILES.values(), strict=True):
        if _md5(content) != md5:
            raise DataError(f"{path} is damaged, its md5 is not {md5}: {remedy(Path(path))}")
        parts.append(pickle.loads(content, encoding="bytes"))
    images = [np.asarray(part[b"data"], np.uint8).reshape(-1, 3, 32, 32) for part in parts]
    labels = [np.array(part[b"labels"], np.uint8) for part in parts]
    return Images(np.concatenate(images[:-1]), np.concatenate(labels[:-1]), images[-1], labels[-1])


def _cifar_names(place: Place) -> tuple[dict[str, list[tuple[str, int]]], str]:
    """train, test -> (name of a picture, its label), by class and name; and one line if there are not as many as expected."""
    found = _pictures(place, r"(train|test)/\w+")
    counts = CIFAR_SAMPLE_COUNTS if SAMPLE in place.path.parents else CIFAR_COUNTS
    names: dict[str, list[tuple[str, int]]] = {split: [] for split in counts}
    trouble = ""
    for split, count in counts.items():
        for label, name in enumerate(CIFAR_CLASSES):
            members = found.get(f"{split}/{name}", [])
            if len(members) != count and not trouble:
                trouble = f"{place.path} has {len(members)} images of {split}/{name}, not {count}: {remedy(place.path)}"
            names[split] += [(member, label) for member in members]
    return names, trouble


def _ensure_photos(root: Path) -> Place:
    """Where BSDS500 is, downloaded if need be. Errors: DataMissing; DataError for damage."""

    def download(staging: Path) -> None:
        mirrors = answering(PHOTO_MIRRORS, PHOTO_ARCHIVE)
        from torchvision.datasets.utils import download_url

        download_url(mirrors[0] + PHOTO_ARCHIVE, staging)
        _check_download(staging / PHOTO_ARCHIVE, "sha256", PHOTO_ARCHIVE_SHA256)
        with tarfile.open(staging / PHOTO_ARCHIVE) as archive:
            for member in archive:
                place = re.search(r"BSDS500/data/images/((?:train|val|test)/\w+\.jpg)$", member.name)
                if place and (content := archive.extractfile(member)):
                    target = staging / "images" / place[1]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content.read())
        (root / "BSDS500").mkdir(exist_ok=True)
        (staging / "images").replace(root / "BSDS500" / "images")

    if (place := _find_photos(root)) is None:
        ways = f"BSDS500/images, BSR/BSDS500/data/images, {PHOTO_ARCHIVE} or bsds500_images.zip"
        sought = f"BSDS500 is not in {root} ({ways}; found: {there(root)})"
        fetch_once(root, lambda: _find_photos(root) is not None, download, sought)
        place = _find_photos(root)
        assert place is not None
    return place


def _find_photos(root: Path) -> Place | None:
    """Where BSDS500 is under the root. Errors: DataError if it is not whole."""
    zips = [Path(e.path) for e in visible(root) if re.fullmatch(r"bsds[-_]?500.*\.zip", e.name.lower())]
    partly = []
    for path in (*(root / place for place in PHOTO_PLACES if visible(root / place)), *zips):
        place = Place(path)
        found = {folder: len(names) for folder, names in _photo_names(place).items()}
        if found == PHOTO_COUNTS:
            return place
        if any(found.values()):
            have, want = (" + ".join(f"{n} {k}" for k, n in each.items()) for each in (found, PHOTO_COUNTS))
            partly.append(f"{path} has {have} photographs, BSDS500 has {want}: {remedy(path)}")
    if archive := _archive(root, PHOTO_ARCHIVE, "sha256", PHOTO_ARCHIVE_SHA256):
        return archive
    if partly:
        raise DataError(partly[0])
    return None


def _photo_names(place: Place) -> dict[str, list[str]]:
    """train, val, test -> the names of its pictures."""
    return {"train": [], "val": [], "test": []} | _pictures(place, r"(train|val|test)")


def _photo(path: str, jpeg: bytes) -> np.ndarray:
    """(H, W, 3) uint8. Errors: DataError, also where no patch can be cut from it."""
    pixels = picture(path, jpeg)
    height, width, _ = pixels.shape
    if min(height, width) < PHOTO_SIDE:
        raise DataError(
            f"{path} has {width} x {height} pixels, fewer than a patch, {PHOTO_SIDE} x {PHOTO_SIDE}: {remedy(Path(path))}"
        )
    return pixels


def _pictures(place: Place, folders: str) -> dict[str, list[str]]:
    """Names of the pictures in folders whose last parts match, by these parts, in lower case."""
    names: dict[str, list[str]] = {}
    for name in place.files:
        folder, _, file = name.rpartition("/")
        where = re.search(rf"(?:^|/)({folders})$", folder, re.IGNORECASE)
        if where and PICTURE.search(file):
            names.setdefault(where[1].lower(), []).append(name)
    return names


def _content(jpegs: dict[str, bytes]) -> str:
    """sha256 of the files in their order; where they lie does not matter."""
    return hashlib.sha256(b"".join(hashlib.sha256(jpeg).digest() for jpeg in jpegs.values())).hexdigest()


def fetch_once(root: Path, present: Callable[[], bool], download: Callable[[Path], None], sought: str) -> None:
    """Calls `download` with an empty folder under the root, one process at a time, unless another was first.

    Errors: DataMissing, in the words `sought`, where the network or the folder does not allow it; DataError.
    """
    if _OFFLINE.get():
        raise DataMissing(f"{sought}, and nothing is downloaded now")
    from filelock import FileLock

    staging = root / ".download"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".download.lock"):
            if present():
                return
            log.info("%s; trying to download it", sought)
            shutil.rmtree(staging, ignore_errors=True)  # what a killed download left
            staging.mkdir()
            try:
                with _stalls_end():
                    download(staging)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except (OSError, http.client.HTTPException, tarfile.TarError, NotImplementedError) as error:
        reason = f"{sought} and cannot be downloaded ({error})"
        raise DataMissing(f"{reason}; connect to the network, or put it there by hand") from error


def _check_download(path: Path, algorithm: str, expected: str) -> None:
    trouble = f"the download of {path.name} is damaged"
    _check(path, algorithm, expected, trouble, "try again, or put a good copy there by hand")


def _check(path: Path, algorithm: str, expected: str, trouble: str, remedy: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)})") from error
    if found != expected:
        raise DataError(f"{trouble}, its {algorithm} is not {expected}: {remedy}")


def answering(mirrors: Sequence[str], name: str) -> list[str]:
    """The mirrors that answer for the file within PROBE_SECONDS, in their order. Errors: OSError if none.

    All are asked at once, in threads that nobody waits for: a name look-up has no timeout of its own.
    """
    answers: queue.Queue[tuple[str, str]] = queue.Queue()

    def ask(mirror: str) -> None:
        try:
            with urllib.request.urlopen(mirror + name, timeout=PROBE_SECONDS):
                answers.put((mirror, ""))
        except (OSError, http.client.HTTPException) as error:
            answers.put((mirror, str(getattr(error, "reason", error))))

    for mirror in mirrors:
        threading.Thread(target=ask, args=(mirror,), daemon=True).start()
    end = time.monotonic() + PROBE_SECONDS
    trouble = dict.fromkeys(mirrors, "no answer")
    for _ in mirrors:
        try:
            mirror, trouble[mirror] = answers.get(timeout=max(0, end - time.monotonic()))
        except queue.Empty:
            break
    if good := [mirror for mirror in mirrors if not trouble[mirror]]:
        return good
    raise OSError("; ".join(f"{mirror}: {reason}" for mirror, reason in trouble.items()))


_OFFLINE = ContextVar("offline", default=False)


@contextmanager
def offline() -> Iterator[None]:
    """Inside, nothing is downloaded: what is absent is missing."""
    before = _OFFLINE.set(True)
    try:
        yield
    finally:
        _OFFLINE.reset(before)


@contextmanager
def _stalls_end() -> Iterator[None]:
    """torchvision's downloads know no timeout but the sockets' default."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
