"""Makes the shipped sample, digits.npz, fashion.npz, cifar10_jpeg.zip and photos.zip, from the full data.

    python -m trainables.core.sample.make --data-root DIR [--folder DIR]

Which images and which crops are drawn depends on SEED alone; ORIGIN.md says what they are. A rerun gives the
same bytes; another version of zlib or libjpeg may pack the same images and crops into other bytes.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainables.core import data

SEED = 0
DIGITS_PER_CLASS: dict[data.Split, int] = {"train": 600, "test": 200}
PER_CLASS = data.CIFAR_SAMPLE_COUNTS
CROPS: dict[data.Split, dict[str, int]] = {"train": {"train": 40, "val": 20}, "test": {"test": 30}}
SIDE = 160  # pixels
QUALITY = 95
EPOCH = (1980, 1, 1, 0, 0, 0)  # zip members carry a date; a fixed one keeps the bytes the same


def balanced(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Ascending indices of per_class items of every class, drawn without replacement; int32."""
    classes = (np.flatnonzero(labels == label) for label in np.unique(labels))
    drawn = [rng.choice(members, per_class, replace=False) for members in classes]
    return np.sort(np.concatenate(drawn)).astype(np.int32)


def write_arrays(full: data.Images, per_class: Mapping[data.Split, int], path: Path, rng: np.random.Generator) -> None:
    """An npz of {train,test}_{images,labels,index}; index is the place in the published set, from 0."""
    splits: dict[data.Split, tuple[np.ndarray, np.ndarray]] = {
        "train": (full.train_images, full.train_labels),
        "test": (full.test_images, full.test_labels),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for split, (images, labels) in splits.items():
            index = balanced(labels, per_class[split], rng)
            for name, array in (("images", images[index]), ("labels", labels[index]), ("index", index)):
                content = io.BytesIO()
                np.lib.format.write_array(content, array)
                member = zipfile.ZipInfo(f"{split}_{name}.npy", EPOCH)
                archive.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def write_jpegs(archive_path: Path, path: Path, rng: np.random.Generator) -> None:
    """cifar10_jpeg.zip: some members of the archive of the same name, byte for byte."""
    with zipfile.ZipFile(archive_path) as full, zipfile.ZipFile(path, "w") as archive:
        for split, count in PER_CLASS.items():
            for name in data.CIFAR_CLASSES:
                members = sorted(n for n in full.namelist() if n.startswith(f"cifar10/{split}/{name}/"))
                for index in np.sort(rng.choice(len(members), count, replace=False)):
                    member = zipfile.ZipInfo(members[index], EPOCH)
                    archive.writestr(member, full.read(members[index]), zipfile.ZIP_DEFLATED, compresslevel=9)


def write_photos(root: Path, path: Path, rng: np.random.Generator) -> None:
    """photos.zip: images/{train,val,test}/<name of the photo>.jpg, a random crop of each drawn photograph."""
    from PIL import Image

    with zipfile.ZipFile(path, "w") as archive:
        for split, counts in CROPS.items():
            names = [Path(name) for name in data.photo_files("full", root, split)]
            pictures = data.photos("full", root, split)
            for folder, count in counts.items():
                members = [index for index, name in enumerate(names) if name.parent.name == folder]
                for index in np.sort(rng.choice(members, count, replace=False)):
                    top, left = rng.integers(np.array(pictures[index].shape[:2]) - SIDE + 1)
                    crop = Image.fromarray(pictures[index][top : top + SIDE, left : left + SIDE])
                    content = io.BytesIO()
                    crop.save(content, "jpeg", quality=QUALITY, optimize=True)
                    member = zipfile.ZipInfo(f"images/{folder}/{names[index].name}", EPOCH)
                    archive.writestr(member, content.getvalue())


def main(data_root: Path, folder: Path = data.SAMPLE) -> None:
    """data_root: as in `trainables.core.data`, with cifar10_jpeg.zip; folder: where the files go."""
    digits_rng, photos_rng, fashion_rng, cifar_rng = np.random.default_rng(SEED).spawn(4)
    write_arrays(data.mnist("full", data_root), DIGITS_PER_CLASS, folder / "digits.npz", digits_rng)
    write_photos(data_root, folder / "photos.zip", photos_rng)
    write_arrays(data.fashion_mnist("full", data_root), PER_CLASS, folder / "fashion.npz", fashion_rng)
    write_jpegs(data_root / "cifar10_jpeg.zip", folder / "cifar10_jpeg.zip", cifar_rng)


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
