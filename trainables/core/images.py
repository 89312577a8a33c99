"""Images of one's own: a folder with train/<class>/*, and val/ and test/ likewise, or a share of train in their place.

Which images such a share holds out is fixed by the content of each file: renaming files and adding others moves none of them. Within a class
images are in the order of these hashes.
As a data set they are called images_64, where 64 is the side in pixels that each is cropped and resized to, once.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.core.cache import cached
from trainables.core.files import PICTURE, DataError, Place, recognise, square, there, visible

NAME = re.compile(r"images_(\d+)")
HELD_OUT = {"test": (0, 1 / 6), "val": (1 / 6, 1 / 3)}  # which hashes of files under train, where a part has no folder
RECIPE = 1  # raised whenever the same files would give other pixels
FEW = 10  # test images of a class
FEW_CHOOSE = 100  # validation images, of which one is a point
SHOWN = 6  # most classes that a title names


@dataclass(frozen=True)
class Own:
    """root: the folder. classes: their names, in the order of the labels. files: of train, val and test, the name of each
    picture under the root and its label. held_out: the parts that are a share of train. repeated: images of test that
    are in train or val too. digest: of all contents by part and class."""

    root: Path
    classes: tuple[str, ...]
    files: Mapping[str, tuple[tuple[str, int], ...]]
    held_out: tuple[str, ...]
    repeated: int
    digest: str

    def counts(self, split: str) -> list[int]:
        """Images of each class."""
        found = Counter(label for _, label in self.files[split])
        return [found[label] for label in range(len(self.classes))]

    def table(self) -> list[dict]:
        """A line for each class."""
        counts = {split: self.counts(split) for split in self.files}
        return [{"label": k, "class": name, **{s: counts[s][k] for s in counts}} for k, name in enumerate(self.classes)]

    def describe(self) -> str:
        """The images in the words of a title."""
        names = [name if len(name) <= 20 else f"{name[:19]}…" for name in self.classes[:SHOWN]]
        rest = len(self.classes) - len(names)
        named = ", ".join(names) + f" and {rest} more" * bool(rest)
        train, val, test = (f"{len(self.files[split]):,}" for split in ("train", "val", "test"))
        text = f"Own images ({self.root.absolute().name}), {len(self.classes)} classes ({named}): {train} train / {val} validation / {test} test images"
        if self.held_out:
            parts = " and ".join({"val": "validation", "test": "test"}[part] for part in self.held_out) + ", together" * (len(self.held_out) - 1)
            text += f"; {parts}: about {('a sixth', 'a third')[len(self.held_out) - 1]} of train/, held out by file content"
        text += f"; {self.repeated} of the test images are training images too" * bool(self.repeated)
        return text

    def few(self) -> str:
        """Where a class has few test images: what an interval over seeds then means, in a sentence; else nothing."""
        least, name = min(zip(self.counts("test"), self.classes, strict=True))
        if least >= FEW:
            return ""
        each = f"one is {100 / least:.0f} points of that class" if least else "nothing is said of that class"
        return (
            f"The test set has {least} image{'s' * (least != 1)} of {name}, fewer than {FEW} ({each}): intervals are over seeds, on these"
            " very images, and tell nothing of how other images would do."
            + " Folders test/<class> of your own would say which images test." * ("test" in self.held_out)
        )

    def few_choose(self) -> str:
        """Where few images choose: how near settings may be for that, in a sentence; else nothing."""
        n = len(self.files["val"])
        if n >= FEW_CHOOSE:
            return ""
        choose = f"{n} images choose" if n > 1 else "1 image chooses"
        return f"{choose}: one is {100 / n:.1f} points, so validation cannot choose between settings that are nearer than that."

    def caveats(self) -> list[str]:
        """What the images are too few for, in sentences."""
        return [*filter(None, (self.few_choose(), self.few()))]

    @property
    def split(self) -> str:
        """The split in words."""
        own = " and ".join(f"{part}/" for part in ("val", "test") if part not in self.held_out)
        held = "".join(
            f" A sixth of the images under train/ is {part}, by the hash of the file." for part in self.held_out
        )
        return f"Images of the user's own.{held}{f' {own} as they are.' if own else ''} val chooses, test only reports, after the last step."

    def load(self, side: int) -> dict[str, np.ndarray]:
        """The images as (N, 3, side, side) uint8, labels, names of the classes, and which of the training images are `val`."""
        place = Place(self.root, tuple(self.files), own=True)
        parts = {"train": ("train", "val"), "test": ("test",)}
        count = sum(map(len, self.files.values()))
        if (size := 3 * side**2 * count) > memory() / 2:
            what = f"{count:,} images of {side} x {side} pixels take {size / 2**30:.2f} GiB"
            raise DataError(f"{what}, over half of this machine's memory: ask for a lower resolution, or take fewer")

        def make() -> dict[str, np.ndarray]:
            made = {}
            for split, of in parts.items():
                pixels = np.empty((sum(len(self.files[part]) for part in of), side, side, 3), np.uint8)
                for i, (name, _) in enumerate(pair for part in of for pair in self.files[part]):
                    ((path, content),) = place.read([name]).items()
                    pixels[i] = square(path, content, side)
                made[split] = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
            return made

        images = cached("images", {"recipe": RECIPE, "side": side, "content": self.digest}, make)
        found: dict[str, np.ndarray] = {"classes": np.array(self.classes)}
        kind = np.uint8 if len(self.classes) <= 256 else np.int64
        for split, of in parts.items():
            found[f"{split}_images"] = images[split]
            found[f"{split}_labels"] = np.array([label for part in of for _, label in self.files[part]], kind)
        n = len(self.files["train"])
        return found | {"val": np.arange(n, n + len(self.files["val"]))}


def memory() -> int:
    """Of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def found(root: Path) -> bool:
    """Whether a folder is an image set of one's own: it has a folder train with folders."""
    return any(entry.is_dir() for entry in visible(root / "train"))


def folders(root: Path) -> list[str]:
    """The folders in a folder that have pictures, by name."""
    inner = {entry.name: visible(Path(entry.path)) for entry in visible(root) if entry.is_dir()}
    return [name for name, entries in inner.items() if any(PICTURE.search(e.name) and e.is_file() for e in entries)]


def survey(root: Path) -> Own:
    """What is under the root, every file read once. Errors: DataError where that is no image set of two or more classes, where
    a file is no picture, or where nothing is left to train on, to choose by or to report."""
    pictures: dict[str, dict[str, list[str]]] = {"train": {}, "val": {}, "test": {}}
    place = Place(root, tuple(pictures), own=True)
    for name in place.files:
        part, _, rest = name.partition("/")
        of, _, inner = rest.partition("/")
        if inner and PICTURE.search(inner):
            pictures[part].setdefault(of, []).append(name)
    classes = [entry.name for entry in visible(root / "train") if entry.is_dir()]
    for name in classes:
        if name not in pictures["train"]:
            raise DataError(
                f"{root}/train/{name} has no picture (jpg, png, ...; found: {there(root / 'train' / name)})"
            )
    if len(classes) < 2:
        have = f"the class {classes[0]} alone" if classes else "no folder of a class"
        raise DataError(f"{root}/train has {have}: two or more are needed")
    for split in ("val", "test"):
        if unknown := sorted(pictures[split].keys() - set(classes)):
            raise DataError(
                f"{root}/{split}/{unknown[0]} is no class under {root}/train ({', '.join(classes[:SHOWN])})"
            )
    held_out = tuple(split for split in ("val", "test") if not pictures[split])
    known: dict[str, list[tuple[int, bytes, str]]] = {split: [] for split in pictures}  # label, hash, name
    for given, by_class in pictures.items():
        for label, of in enumerate(classes):
            for name in by_class.get(of, []):
                ((path, content),) = place.read([name]).items()
                recognise(path, content)
                key = hashlib.sha256(content).digest()
                known[held(key, held_out) if given == "train" else given].append((label, key, name))
    files = {split: tuple((name, label) for label, _, name in sorted(some)) for split, some in known.items()}
    for split, what in (("val", "choose by"), ("test", "report")):
        if not files[split]:
            raise DataError(
                f"of {root}/train no image is held out to {what}: add images, or put some under {root}/{split}"
            )
    for label, name in enumerate(classes):
        if label not in {of for _, of in files["train"]}:
            some = len(pictures["train"][name])
            raise DataError(
                f"{root}/train/{name} has {some} of which none is left to train: add images, or put some under {root}/test"
            )
    learnt = {key for split in ("train", "val") for _, key, _ in known[split]}
    repeated = sum(key in learnt for _, key, _ in known["test"])
    order = [(split, label, key) for split, some in known.items() for label, key, _ in sorted(some)]
    texts = (
        name.encode(errors="replace").decode() for name in classes
    )  # not all that a disk has is text, or one line of it
    names = tuple("".join(c if c.isprintable() else "?" for c in text) for text in texts)
    return Own(root, names, files, held_out, repeated, hashlib.sha256(repr(order).encode()).hexdigest())


def held(key: bytes, held_out: tuple[str, ...]) -> str:
    """The part that an image of train belongs to, by the hash of its file."""
    at = int.from_bytes(key[:8], "big") / 2**64
    return next((part for part in held_out if HELD_OUT[part][0] <= at < HELD_OUT[part][1]), "train")
