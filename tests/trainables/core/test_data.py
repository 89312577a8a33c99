"""The data are what they claim to be, or there is one clear line; no test here leaves this machine."""

import functools
import gzip
import hashlib
import http.server
import io
import multiprocessing
import os
import pickle
import re
import resource
import shutil
import socket
import tarfile
import threading
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studies.harness.command import run
from studies.mnistm_kd import STUDY
from trainables.core import data, files
from trainables.core.cache import cached
from trainables.core.data import DataError

NOBODY = ("http://127.0.0.1:9/",)  # a port where nobody listens


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has an empty cache and a network without mirrors."""
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(data, "IDX_MIRRORS", {"MNIST": NOBODY, "FashionMNIST": NOBODY})
    monkeypatch.setattr(data, "CIFAR_MIRRORS", NOBODY)
    monkeypatch.setattr(data, "PHOTO_MIRRORS", NOBODY)
    return tmp_path / "cache"


def idx(array: np.ndarray) -> bytes:
    """The IDX format: two zero bytes, the type, the rank, the sizes, the values."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site with a small MNIST and a small BSDS500 of its own, and the checksums that belong to them."""
    from torchvision import datasets

    rng, site = np.random.default_rng(1), tmp_path / "site"
    site.mkdir()
    files, resources = {}, []
    for name in data.IDX_FILES["MNIST"]:
        shape = (30, 28, 28) if "images" in name else (30,)
        content = idx(rng.integers(0, 10, shape, np.uint8))
        (site / f"{name}.gz").write_bytes(gzip.compress(content))
        files[name] = (30, hashlib.md5(content).hexdigest())
        resources.append((f"{name}.gz", hashlib.md5((site / f"{name}.gz").read_bytes()).hexdigest()))
    monkeypatch.setattr(data, "IDX_FILES", {"MNIST": files, "FashionMNIST": files})
    for title in data.IDX_FILES:
        monkeypatch.setattr(getattr(datasets, title), "resources", resources)
    with tarfile.open(site / data.PHOTO_ARCHIVE, "w:gz") as archive:
        for folder, count in (("train", 2), ("val", 1), ("test", 2)):
            for number in range(count):
                jpeg = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(jpeg, "jpeg")
                member = tarfile.TarInfo(f"BSR/BSDS500/data/images/{folder}/{folder}{number}.jpg")
                member.size = jpeg.tell()
                jpeg.seek(0)
                archive.addfile(member, jpeg)
        archive.addfile(tarfile.TarInfo("BSR/BSDS500/data/images/train/Thumbs.db"))
        archive.addfile(tarfile.TarInfo("BSR/BSDS500/data/groundTruth/train/train0.mat"))
    monkeypatch.setattr(data, "PHOTO_COUNTS", {"train": 2, "val": 1, "test": 2})
    whole = hashlib.sha256((site / data.PHOTO_ARCHIVE).read_bytes()).hexdigest()
    monkeypatch.setattr(data, "PHOTO_ARCHIVE_SHA256", whole)
    return site


@pytest.fixture
def server(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The site on 127.0.0.1 as the only mirror; gives the list of the paths asked for so far."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path.strip("/"))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=published)) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{site.server_port}/"
        monkeypatch.setattr(data, "IDX_MIRRORS", dict.fromkeys(data.IDX_FILES, (*NOBODY, mirror)))
        monkeypatch.setattr(data, "CIFAR_MIRRORS", (mirror,))
        monkeypatch.setattr(data, "PHOTO_MIRRORS", (mirror,))
        yield asked
        site.shutdown()


def one_line(error: pytest.ExceptionInfo[DataError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


# MNIST-M


def test_mnistm_is_the_absolute_difference_of_digit_and_patch_per_pixel_and_channel() -> None:
    digits = data.mnist("sample").test_images[:50]
    scenes = data.photos("sample", split="test")
    fast = data.blended(digits, scenes, np.random.default_rng(3))

    rng = np.random.default_rng(3)  # the same draws, spent one image at a time
    which = rng.integers(len(scenes), size=50)
    heights = np.array([scenes[k].shape[0] - 27 for k in which])
    widths = np.array([scenes[k].shape[1] - 27 for k in which])
    top, left = rng.integers(heights), rng.integers(widths)
    for n in range(0, 50, 7):
        for channel in range(3):
            for i in range(28):
                for j in range(28):
                    photo = int(scenes[which[n]][top[n] + i, left[n] + j, channel])
                    assert fast[n, channel, i, j] == abs(int(digits[n, i, j]) - photo)


def test_black_shows_the_photo_and_white_its_negative() -> None:
    scenes = data.photos("sample")
    patches = data.random_patches(scenes, 20, np.random.default_rng(0))
    black, white = np.zeros((20, 28, 28), np.uint8), np.full((20, 28, 28), 255, np.uint8)
    assert np.array_equal(data.blended(black, scenes, np.random.default_rng(0)), patches)
    assert np.array_equal(data.blended(white, scenes, np.random.default_rng(0)), 255 - patches)


def test_patches_reach_every_edge_of_a_photo_and_every_photo() -> None:
    scenes = [np.full((30, 29, 3), k, np.uint8) for k in range(5)]
    for k, scene in enumerate(scenes):
        scene[[0, -1]] = scene[:, [0, -1]] = 100 + k
    patches = data.random_patches(scenes, 2000, np.random.default_rng(0))
    rims = patches >= 100
    for rim in (rims[:, :, 0], rims[:, :, -1], rims[..., 0], rims[..., -1]):
        assert rim.all((1, 2)).any()
    assert np.bincount(patches[:, 0, 14, 14]).min() > 300


def test_the_same_seed_gives_the_same_mnistm_and_another_seed_another() -> None:
    first = data.mnistm("sample", seed=0)
    for entry in (Path(os.environ["STILLROOM_CACHE"])).glob("*.arrays"):
        entry.unlink()
    again, other = data.mnistm("sample", seed=0), data.mnistm("sample", seed=1)
    assert np.array_equal(first.train_images, again.train_images)
    assert np.array_equal(first.test_images, again.test_images)
    assert (first.train_images != other.train_images).mean() > 0.5
    assert np.array_equal(first.train_digits, data.mnist("sample").train_images)


def test_no_photo_lies_behind_both_train_and_test_digits() -> None:
    train, test = (data.photo_files("sample", split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (60, 30)
    assert not {Path(path).name for path in train} & {Path(path).name for path in test}
    assert not set(train.values()) & set(test.values())


def test_train_digits_lie_over_train_photos_and_test_digits_over_test_photos() -> None:
    made = data.mnistm("sample")
    windows = {
        split: np.concatenate([
            np.lib.stride_tricks.sliding_window_view(photo, 28, 1).reshape(-1, 3, 28)
            for photo in data.photos("sample", split=split)
        ])
        for split in ("train", "test")
    }  # fmt: skip
    for split, other in (("train", "test"), ("test", "train")):
        images, digits = vars(made)[f"{split}_images"], vars(made)[f"{split}_digits"]
        for n in range(0, 1000, 200):
            assert not digits[n, 0].any()  # the first row is black, so it shows the bare photo
            found = {k: (windows[k] == images[n, :, 0]).all((1, 2)).any() for k in (split, other)}
            assert found == {split: True, other: False}


# The cache


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((50, 7)), "y": rng.integers(0, 9, 50), "none": np.zeros((0, 3), "u1")}


def same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    return list(one) == list(two) and all(one[k].dtype == two[k].dtype and np.array_equal(one[k], two[k]) for k in one)


def never() -> dict[str, np.ndarray]:
    raise AssertionError("the cache was to answer")


def test_a_cached_entry_is_found_by_its_key_and_equals_what_was_made(own_cache: Path) -> None:
    assert same(cached("a", {"seed": 0, "n": 2}, arrays), arrays())
    found = cached("a", {"n": 2, "seed": 0}, never)
    assert same(found, arrays())
    found["x"][0] = 1  # writable, as torch.from_numpy wishes
    assert same(cached("a", {"seed": 1, "n": 2}, lambda: arrays(1)), arrays(1))
    assert len(list(own_cache.glob("a-*.arrays"))) == 2
    assert not list(own_cache.glob("*.tmp"))


@pytest.mark.parametrize("place", [0, 70, 100, -400, -1])
@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_a_damaged_entry_is_reported_once_and_made_again(
    own_cache: Path, caplog: pytest.LogCaptureFixture, place: int, harm: str
) -> None:
    cached("a", {}, arrays)
    (entry,) = own_cache.glob("*.arrays")
    content = bytearray(entry.read_bytes())
    if harm == "flip":
        content[place] ^= 1
    else:
        del content[place:]
    entry.write_bytes(content)
    assert same(cached("a", {}, arrays), arrays())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(entry) in caplog.text
    assert same(cached("a", {}, never), arrays())


def build_slowly(folder: Path, log: Path, start: object) -> None:
    def make() -> dict[str, np.ndarray]:
        with log.open("a") as file:
            file.write("made\n")
        threading.Event().wait(0.5)
        return arrays()

    start.wait()  # type: ignore[attr-defined]
    assert same(cached("a", {}, make, folder), arrays())


def test_processes_that_ask_at_once_build_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    about = (tmp_path / "shared", tmp_path / "log", start)
    workers = [context.Process(target=build_slowly, args=about) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_folder_that_cannot_be_written_does_not_lose_the_arrays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    assert same(cached("a", {}, arrays, tmp_path / "file" / "cache"), arrays())
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_full_disk_does_not_lose_the_arrays(own_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # writes past it fail, as on a full disk
    try:
        made = cached("a", {}, arrays)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert same(made, arrays())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not [path for path in own_cache.iterdir() if path.suffix != ".lock"]


# Full data: found, downloaded, damaged, absent


def test_full_data_are_downloaded_once_and_then_found(
    published: Path, server: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    assert data.resolve("auto", ["mnistm"], root)[0] == "full"
    digits = data.mnist("full", root)
    for name, array in zip(data.IDX_FILES["MNIST"], vars(digits).values(), strict=True):
        assert idx(array) == gzip.decompress((published / f"{name}.gz").read_bytes())
    assert [len(data.photos("full", root, split)) for split in ("train", "test")] == [3, 2]
    assert data.mnistm("full", root).train_images.shape == (30, 3, 28, 28)
    assert sorted(path.name for path in (root / "BSDS500" / "images").rglob("*.*")) == [
        "test0.jpg", "test1.jpg", "train0.jpg", "train1.jpg", "val0.jpg",
    ]  # fmt: skip
    assert not (root / ".download").exists()
    asked = len(server)
    monkeypatch.setitem(data.IDX_MIRRORS, "MNIST", NOBODY)
    assert data.resolve("full", ["mnistm"], root)[0] == "full"
    assert len(server) == asked


def test_those_who_need_the_data_at_once_download_them_once(published: Path, server: list[str], tmp_path: Path) -> None:
    requests = []
    for readers in (1, 3):
        root = tmp_path / f"{readers}"
        root.mkdir()
        threads = [threading.Thread(target=data.resolve, args=("full", ["mnist"], root)) for _ in range(readers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        requests.append(server.count("train-images-idx3-ubyte.gz"))
        server.clear()
    assert requests[0] == requests[1] > 0


def test_the_official_archive_unpacked_and_a_zip_are_read_in_place(published: Path, tmp_path: Path) -> None:
    with tarfile.open(published / data.PHOTO_ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = data.photos("full", tmp_path)
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    with zipfile.ZipFile(zipped / "bsds500_images.zip", "w") as archive:
        for path in (tmp_path / "BSR" / "BSDS500" / "data" / "images").glob("*/*.jpg"):
            archive.writestr(f"BSDS500/images/{path.parent.name}/{path.name}", path.read_bytes())
    assert len(unpacked) == 3
    assert all(np.array_equal(*pair) for pair in zip(unpacked, data.photos("full", zipped), strict=True))


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.gz", data.PHOTO_ARCHIVE])
def test_a_download_with_a_wrong_checksum_is_refused_and_leaves_nothing(
    published: Path, server: list[str], tmp_path: Path, name: str
) -> None:
    content = bytearray((published / name).read_bytes())
    content[len(content) // 2] ^= 1
    (published / name).write_bytes(content)
    root = tmp_path / "root"
    root.mkdir()
    for variant in ("full", "auto"):
        with pytest.raises(DataError) as error:
            data.resolve(variant, ["mnistm"], root)
        one_line(error, name, "damaged")
    assert not list(root.rglob("t10k*" if "t10k" in name else "*.jpg"))


@pytest.mark.parametrize("harm", ["cut", "altered"])
def test_a_damaged_digit_file_is_an_error_that_names_it_and_never_a_silent_sample(
    published: Path, server: list[str], tmp_path: Path, harm: str
) -> None:
    data.resolve("full", ["mnist"], tmp_path)
    victim = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    content = bytearray(victim.read_bytes())
    victim.write_bytes(content[:-1] if harm == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    for attempt in (data.mnist, lambda variant, root: data.resolve("auto", ["mnist"], root)):
        with pytest.raises(DataError) as error:
            attempt("full", tmp_path)
        one_line(error, str(victim))


def test_damaged_photos_are_errors_too(published: Path, server: list[str], tmp_path: Path) -> None:
    data.resolve("full", ["mnistm"], tmp_path)
    victim = tmp_path / "BSDS500" / "images" / "val" / "val0.jpg"
    victim.write_bytes(victim.read_bytes()[:-200])
    with pytest.raises(DataError) as error:
        data.mnistm("full", tmp_path)
    one_line(error, str(victim))
    victim.unlink()
    with pytest.raises(DataError) as error:
        data.resolve("auto", ["mnistm"], tmp_path)
    one_line(error, str(tmp_path / "BSDS500" / "images"), "0 val", "1 val")


# Fashion-MNIST and CIFAR-10


def test_fashion_is_downloaded_or_read_gzipped_as_debian_packs_it(
    published: Path, server: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [tmp_path / name for name in ("empty", "beside", "other")]
    for root in roots:
        root.mkdir()
    shutil.copytree(published, roots[1] / "fashion-mnist")
    monkeypatch.setattr(data, "DEBIAN", tmp_path / "nowhere")
    sets = [data.fashion_mnist("full", root) for root in roots[:2]]
    assert (roots[0] / "FashionMNIST" / "raw").is_dir() and not (roots[1] / "FashionMNIST").exists()
    monkeypatch.setitem(data.IDX_MIRRORS, "FashionMNIST", NOBODY)
    monkeypatch.setattr(data, "DEBIAN", roots[1])
    sets.append(data.fashion_mnist("full", roots[2]))
    for other in sets[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(vars(sets[0]).values(), vars(other).values(), strict=True))
    victim = roots[1] / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    whole = victim.read_bytes()
    for harmed in (whole[:-9], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], gzip.compress(b"other")):
        victim.write_bytes(harmed)
        with pytest.raises(DataError) as error:
            data.resolve("auto", ["fashion_mnist"], roots[1])
        one_line(error, str(victim))


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a CIFAR-10 of three training images and one test image a class, as JPEGs in a folder."""
    monkeypatch.setattr(data, "CIFAR_COUNTS", {"train": 3, "test": 1})
    rng, root = np.random.default_rng(2), tmp_path / "root"
    for split, count in data.CIFAR_COUNTS.items():
        for name in data.CIFAR_CLASSES:
            (folder := root / "cifar10" / split / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number:04}.jpg")
    return root


def test_cifar10_reads_alike_from_a_folder_and_a_zip_of_jpegs_and_says_that_they_are(cifar: Path) -> None:
    folder = data.load("cifar10", "full", cifar)
    assert folder["train_labels"].tolist() == sorted(list(range(10)) * 3)
    with Image.open(cifar / "cifar10" / "train" / "bird" / "0001.jpg") as bird:
        assert np.array_equal(folder["train_images"][7], np.asarray(bird).transpose(2, 0, 1))
    with zipfile.ZipFile(cifar / "cifar10_jpeg.zip", "w") as archive:
        for path in sorted((cifar / "cifar10").rglob("*.jpg"), reverse=True):
            archive.write(path, path.relative_to(cifar))
    shutil.rmtree(cifar / "cifar10")
    assert same(folder, data.load("cifar10", "full", cifar))
    assert data.resolve("auto", ["cifar10"], cifar)[0] == "full"
    assert data.describe(["cifar10"], "full", cifar).startswith("CIFAR-10 (JPEG), full")


def test_missing_truncated_and_misshapen_jpegs_are_errors_that_name_them(cifar: Path) -> None:
    victim = cifar / "cifar10" / "test" / "dog" / "0000.jpg"
    whole = victim.read_bytes()
    for harm in ("cut", "large"):
        victim.write_bytes(whole[:-300])
        if harm == "large":
            Image.new("RGB", (33, 32)).save(victim)
        with pytest.raises(DataError) as error:
            data.cifar10("full", cifar)
        one_line(error, str(victim))
    victim.unlink()
    with pytest.raises(DataError) as error:
        data.resolve("auto", ["cifar10"], cifar)
    one_line(error, str(cifar / "cifar10"), "0 images of test/dog, not 1")
    (cifar / "cifar10").rename(cifar / "away")
    assert data.resolve("auto", ["cifar10"], cifar)[0] == "sample"
    (cifar / "cifar10_jpeg.zip").write_bytes(b"not a zip")
    with pytest.raises(DataError) as error:
        data.resolve("auto", ["cifar10"], cifar)
    one_line(error, "cifar10_jpeg.zip")


def test_the_published_batches_of_cifar10_are_downloaded_checked_and_exact(
    published: Path, server: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, contents = np.random.default_rng(3), {}
    with tarfile.open(published / data.CIFAR_ARCHIVE, "w:gz") as archive:
        for name in data.CIFAR_FILES:
            batch = {b"data": rng.integers(0, 256, (4, 3072), np.uint8), b"labels": rng.integers(0, 10, 4).tolist()}
            contents[name] = pickle.dumps(batch, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(contents[name])
            archive.addfile(member, io.BytesIO(contents[name]))
    md5 = lambda content: hashlib.md5(content).hexdigest()  # noqa: E731
    monkeypatch.setattr(data, "CIFAR_FILES", {name: md5(content) for name, content in contents.items()})
    monkeypatch.setattr(data, "CIFAR_ARCHIVE_MD5", md5((published / data.CIFAR_ARCHIVE).read_bytes()))
    root = tmp_path / "root"
    root.mkdir()
    assert data.resolve("auto", ["cifar10"], root)[0] == "full"
    images = data.cifar10("full", root)
    last = pickle.loads(contents["data_batch_5"])
    assert images.train_images.shape == (20, 3, 32, 32) and images.train_labels[16:].tolist() == last[b"labels"]
    assert np.array_equal(images.train_images[16:].reshape(4, -1), last[b"data"]) and len(images.test_labels) == 4
    assert data.describe(["cifar10"], "full", root).startswith("CIFAR-10, full")
    (tmp_path / "by hand").mkdir()
    shutil.copy(published / data.CIFAR_ARCHIVE, tmp_path / "by hand")
    (tmp_path / "zip").mkdir()
    with zipfile.ZipFile(tmp_path / "zip" / "cifar-10-python.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"cifar-10-batches-py/{name}", content)
    for place in (
        tmp_path / "by hand",
        root / "cifar-10-batches-py",
        tmp_path / "zip",
    ):  # the archive, the very folder, a zip
        assert data.resolve("full", ["cifar10"], place)[0] == "full"
        assert np.array_equal(data.cifar10("full", place).train_images, images.train_images)
        assert data.describe(["cifar10"], "full", place).startswith("CIFAR-10, full")
    victim = root / "cifar-10-batches-py" / "data_batch_2"
    victim.write_bytes(contents["data_batch_3"])
    with pytest.raises(DataError) as error:
        data.cifar10("full", root)
    one_line(error, str(victim), "md5")
    victim.unlink()
    with pytest.raises(DataError) as error:
        data.resolve("auto", ["cifar10"], root)
    one_line(error, "lacks data_batch_2")
    archive = tmp_path / "by hand" / data.CIFAR_ARCHIVE
    archive.write_bytes(archive.read_bytes()[:-9])
    with pytest.raises(DataError) as error:
        data.resolve("auto", ["cifar10"], tmp_path / "by hand")
    one_line(error, str(archive), "md5")


# As people have them


APPLE = b"\0\5\x16\7\0\2\0\0Mac OS X        "  # what macOS leaves beside files, as ._name


def beside(folder: Path) -> None:
    """What other systems leave there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("._0000.jpg", ".DS_Store", "Thumbs.db", "__MACOSX/train/._0000.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(APPLE)


@pytest.mark.parametrize("how", ["gz", "mixed", "flat", "dots", "folders", "renamed"])
@pytest.mark.parametrize("place", ["MNIST/raw", "mnist", ""])
def test_digits_are_read_gzipped_or_not_without_folders_and_with_dots(
    published: Path, tmp_path: Path, place, how
) -> None:
    root = tmp_path / "root"
    beside(root / place)
    for number, name in enumerate(data.IDX_FILES["MNIST"]):
        packed = (published / f"{name}.gz").read_bytes()
        plain = gzip.decompress(packed)
        dots = name.replace("-idx", ".idx")
        files = {
            "gz": (f"{name}.gz", packed), "mixed": (name, plain) if number % 2 else (f"{name}.gz", packed), "flat": (name, plain),
            "dots": (dots, plain) if number % 2 else (f"{dots}.gz", packed), "folders": (f"{name}/{dots}", plain),
            "renamed": (name, packed) if number % 2 else (f"{name}.gz", plain),  # unpacked by a browser that kept the name
        }  # fmt: skip
        (root / place / files[how][0]).parent.mkdir(exist_ok=True)
        (root / place / files[how][0]).write_bytes(files[how][1])
    assert data.resolve("full", ["mnist"], root)[0] == "full"
    for name, array in zip(data.IDX_FILES["MNIST"], vars(data.mnist("full", root)).values(), strict=True):
        assert idx(array) == gzip.decompress((published / f"{name}.gz").read_bytes())


def test_files_of_fashion_are_never_taken_for_digits(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dict.fromkeys(data.IDX_FILES["MNIST"], (30, "0" * 32))
    monkeypatch.setattr(data, "IDX_FILES", {"MNIST": other, "FashionMNIST": data.IDX_FILES["FashionMNIST"]})
    shutil.copytree(published, root := tmp_path / "root")
    assert len(data.fashion_mnist("full", root).train_labels) == 30
    with pytest.raises(data.DataMissing) as error:
        data.mnist("full", root)
    one_line(error, "MNIST is not in", "train-images-idx3-ubyte.gz")  # what is there


def test_what_misses_digits_names_what_was_found(published: Path, tmp_path: Path) -> None:
    (tmp_path / "root" / "mnist.npz").mkdir(parents=True)
    shutil.copy(published / "t10k-images-idx3-ubyte.gz", tmp_path / "root" / "raw.zip")
    with pytest.raises(data.DataMissing) as error:
        data.mnist("full", tmp_path / "root")
    one_line(error, "MNIST is not in", "mnist.npz/, raw.zip")
    shutil.copy(published / "t10k-images-idx3-ubyte.gz", tmp_path / "root")
    with pytest.raises(data.DataMissing) as error:
        data.mnist("full", tmp_path / "root")
    one_line(error, "MNIST's train-images-idx3-ubyte, ", str(tmp_path / "root" / "t10k-images-idx3-ubyte.gz"))


@pytest.mark.parametrize(
    "how", ["JPG", "jpeg", "png", "linked", "beside", "zip", "zip without folder", "zip of Windows", "itself"]
)
def test_pictures_of_cifar10_are_read_as_people_have_them(cifar: Path, how: str) -> None:
    expected, folder = data.load("cifar10", "full", cifar), cifar / "cifar10"
    if how in ("JPG", "jpeg", "png"):
        for number, path in enumerate(sorted(folder.rglob("*.jpg"))):
            if number % 2 and how == "png":
                with Image.open(path) as image:
                    image.save(path.with_suffix(".png"))
                path.unlink()
            elif number % 2:
                path.rename(path.with_suffix(f".{how}"))
    elif how == "linked":
        (folder / "train").rename(cifar / "elsewhere")
        (folder / "train").symlink_to("../elsewhere")
        (cifar / "elsewhere" / "bird").rename(cifar / "birds")
        (cifar / "elsewhere" / "bird").symlink_to(cifar / "birds")
        (folder / "test" / "again").symlink_to(folder)  # round in a circle
    elif how == "beside":
        for path in (cifar, folder, *folder.glob("*/*")):
            beside(path)
    elif how == "itself":
        for path in folder.iterdir():
            path.rename(cifar / path.name)
        folder.rmdir()
    else:
        with zipfile.ZipFile(cifar / "CIFAR-10.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*.jpg")):
                name = path.relative_to(folder if "without" in how else cifar).as_posix()
                archive.writestr(name.replace("/", "\\") if "Windows" in how else name, path.read_bytes())
                archive.writestr(f"__MACOSX/{path.parent.relative_to(cifar)}/._{path.name}", APPLE)
        shutil.rmtree(folder)
    assert same(expected, data.load("cifar10", "full", cifar))
    assert data.resolve("full", ["cifar10"], cifar)[0] == "full"
    kinds = "CIFAR-10 (JPEG and PNG)" if how == "png" else "CIFAR-10 (JPEG)"
    assert data.describe(["cifar10"], "full", cifar).startswith(kinds)


@pytest.mark.parametrize("how", ["endings", "linked", "beside", "zip without folder", "archive"])
def test_photographs_are_read_as_people_have_them(published: Path, tmp_path: Path, how: str) -> None:
    with tarfile.open(published / data.PHOTO_ARCHIVE) as archive:
        archive.extractall(tmp_path / "given", filter="data")
    folder, root = tmp_path / "given" / "BSR" / "BSDS500" / "data" / "images", tmp_path / "root"
    expected = [data.photos("full", tmp_path / "given", split) for split in ("train", "test")]
    root.mkdir()
    if how == "endings":
        for path, ending in zip(sorted(folder.rglob("*.jpg")), (".JPG", ".jpeg", ".JPEG", ".Jpg", ".jpg"), strict=True):
            path.rename(path.with_suffix(ending))
    elif how == "linked":
        (folder / "val").rename(tmp_path / "elsewhere")
        (folder / "val").symlink_to(tmp_path / "elsewhere")
    elif how == "beside":
        for path in folder.iterdir():
            beside(path)
    elif how == "archive":
        shutil.copy(published / data.PHOTO_ARCHIVE, root)
    else:
        with zipfile.ZipFile(root / "BSDS500.zip", "w") as archive:
            for path in folder.glob("*/*.jpg"):
                archive.writestr(path.relative_to(folder).as_posix(), path.read_bytes())
                archive.writestr(f"__MACOSX/{path.parent.name}/._{path.name}", APPLE)
    if not list(root.iterdir()):
        (root / "BSDS500").symlink_to(folder.parent)
    found = [data.photos("full", root, split) for split in ("train", "test")]
    assert all(
        np.array_equal(a, b) for one, two in zip(expected, found, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_an_empty_folder_of_a_set_is_not_the_set(tmp_path: Path) -> None:
    beside(tmp_path / "cifar10" / "train" / "bird")
    (tmp_path / "BSDS500" / "images").mkdir(parents=True)
    for sets, name in ((["cifar10"], "CIFAR-10"), (["mnistm"], "MNIST")):
        with pytest.raises(data.DataMissing) as error:
            data.resolve("full", sets, tmp_path)
        one_line(error, f"{name} is not in", "BSDS500/, cifar10/")


# Entries of zips, and pictures, that are not what they should be


def zipped(path: Path, content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("train/bird/0000.jpg", content)
    return path.read_bytes()


def png(side: int) -> bytes:
    """A picture of so many pixels a side that ends after its header."""
    header = b"IHDR" + np.array([side, side], ">u4").tobytes() + bytes([8, 2, 0, 0, 0])
    chunks = (header, b"IDAT" + zlib.compress(bytes(100)), b"IEND")
    packed = (
        np.uint32(len(c) - 4).byteswap().tobytes() + c + np.uint32(zlib.crc32(c)).byteswap().tobytes() for c in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def harmed(path: Path, harm: str, jpeg: bytes) -> None:
    """A zip with one entry that is not to be read."""
    if harm in ("bzip2", "lzma", "deflate64"):
        method = {"bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}.get(harm, zipfile.ZIP_DEFLATED)
        content = zipped(path, bytes(1_000_000), method)
        if harm == "deflate64":
            content = content.replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x09\0")
        path.write_bytes(content)
    elif harm == "encrypted":
        content = zipped(path, jpeg)
        path.write_bytes(
            content.replace(b"PK\3\4\x14\0\0", b"PK\3\4\x14\0\1").replace(
                b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"
            )
        )
    elif harm == "bomb":
        zipped(path, bytes(files.MOST_BYTES + 1), zipfile.ZIP_DEFLATED)
    elif harm == "bomb that lies":
        sizes = [np.uint32(size).tobytes() for size in (files.MOST_BYTES + 1, 1000)]
        path.write_bytes(zipped(path, bytes(files.MOST_BYTES + 1), zipfile.ZIP_DEFLATED).replace(*sizes))
    elif harm == "huge":
        zipped(path, png(9_000))
    elif harm == "vast":  # a bomb to Pillow too
        zipped(path, png(30_000))
    elif harm == "program":
        zipped(path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n(touched) run\n%%EOF\n")
    else:
        zipped(path, {"text": b"no picture", "cut": jpeg[: len(jpeg) // 2], "empty": b""}[harm])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("encrypted", "is encrypted"), ("bzip2", "compressed by method 12"), ("lzma", "compressed by method 14"),
        ("deflate64", "compressed by method 9"), ("bomb", "has 100,001 bytes unpacked, and at most 100,000"), ("bomb that lies", "CRC"),
        ("huge", "more than 67,108,864 pixels"), ("vast", "more than 67,108,864 pixels"), ("program", "no picture"), ("text", "no picture"),
        ("cut", "damaged"), ("empty", "no picture"),
    ],
)  # fmt: skip
def test_an_entry_of_a_zip_that_is_not_to_be_read_is_one_line_that_names_it(
    tmp_path: Path, harm: str, said: str, monkeypatch
) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 100_000)
    jpeg = io.BytesIO()
    Image.effect_noise((32, 32), 90).save(jpeg, "jpeg")
    harmed(tmp_path / "some.zip", harm, jpeg.getvalue())
    with pytest.raises(DataError) as error:
        for path, content in files.Place(tmp_path / "some.zip").read(["train/bird/0000.jpg"]).items():
            files.picture(path, content)
    one_line(error, "some.zip", "train/bird/0000.jpg", said)
    assert "object at 0x" not in str(error.value)


def test_what_is_unpacked_from_a_zip_is_limited_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zipped(tmp_path / "some.zip", bytes(1000))
    monkeypatch.setattr(files, "MOST_UNPACKED", 999)
    with pytest.raises(DataError) as error:
        files.Place(tmp_path / "some.zip").read(["train/bird/0000.jpg"])
    one_line(error, "some.zip has 1,000 bytes unpacked, and at most 999")


def test_a_gzipped_bomb_is_not_unpacked(published: Path, tmp_path: Path) -> None:
    for name in data.IDX_FILES["MNIST"]:
        shutil.copy(published / f"{name}.gz", tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(50_000_000), 1))
    tracemalloc.start()
    with pytest.raises(DataError) as error:
        data.mnist("full", tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    one_line(error, str(tmp_path / "train-images-idx3-ubyte.gz"), "has more bytes, not 23,536")


def test_a_photograph_that_is_none_ends_a_run_in_one_line_and_leaves_no_folder(
    published: Path, server: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / "root?x=1 #%41 é"
    root.mkdir()
    data.resolve("full", ["mnistm"], root)
    victim = root / "BSDS500" / "images" / "train" / "train0.jpg"
    words = ["--preset", "smoke", "--data", "full", "--data-root", str(root), "--address", "inline", "--num-cpus", "1"]
    for harm in ("20 x 40 pixels", "no picture"):
        Image.new("RGB", (20, 40)).save(victim)
        if harm == "no picture":
            victim.write_text("no picture")
        assert run(STUDY, [*words, "--storage", str(tmp_path / "results")]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert str(victim) in said and harm in said and "object at 0x" not in said
        assert not list((tmp_path / "results").glob("*/*"))


def test_no_message_advises_to_delete_what_is_a_users() -> None:
    for path in ("data.py", "files.py", "pretrained.py"):
        source = (Path(data.__file__).parent / path).read_text()
        assert not re.search(r"\b(delete|remove|erase)\b", source), path


def test_absent_data_without_a_network_fall_back_under_auto_only_and_say_so(tmp_path: Path) -> None:
    variant, reason = data.resolve("auto", ["mnistm"], tmp_path)
    assert variant == "sample"
    assert "MNIST is not in" in reason and str(tmp_path) in reason and "\n" not in reason
    assert data.resolve("auto", ["mnist"])[0] == "sample"
    assert data.resolve("sample", ["mnistm"], tmp_path)[0] == "sample"
    with pytest.raises(DataError) as error:
        data.resolve("full", ["mnistm"], tmp_path)
    one_line(error, str(tmp_path), "127.0.0.1:9", "by hand")


def test_mnistm_falls_back_where_only_the_photos_are_absent(
    published: Path, server: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "PHOTO_MIRRORS", NOBODY)
    assert data.resolve("auto", ["mnist"], tmp_path)[0] == "full"
    variant, reason = data.resolve("auto", ["mnistm"], tmp_path)
    assert variant == "sample" and "BSDS500 is not in" in reason


def test_a_mirror_that_never_answers_costs_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setitem(data.IDX_MIRRORS, "MNIST", (f"http://127.0.0.1:{silent.getsockname()[1]}/",))
        start = time.monotonic()
        assert data.resolve("auto", ["mnist"], tmp_path)[0] == "sample"
        assert time.monotonic() - start < 2


@pytest.mark.parametrize("variant", ["auto", "sample", "full"])
def test_a_data_root_that_does_not_exist_is_an_error(tmp_path: Path, variant: str) -> None:
    with pytest.raises(DataError) as error:
        data.resolve(variant, ["mnist"], tmp_path / "nowhere")
    one_line(error, str(tmp_path / "nowhere"))


def test_unknown_words_are_errors() -> None:
    for words in (("half", ["mnist"]), ("auto", ["mnist-m"])):
        with pytest.raises(DataError):
            data.resolve(*words)


# Splits and sample


@pytest.mark.parametrize(("n", "count"), [(6000, 1000), (10, 0), (10, 10)])
def test_a_holdout_is_disjoint_covers_all_and_depends_on_the_seed_alone(n: int, count: int) -> None:
    train, held = data.holdout(n, count, seed=5)
    assert len(held) == count
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(n))
    again = data.holdout(n, count, seed=5)
    assert np.array_equal(again[0], train) and np.array_equal(again[1], held)
    if 0 < count < n:
        assert not np.array_equal(data.holdout(n, count, seed=6)[1], held)
    with pytest.raises(ValueError):
        data.holdout(n, n + 1, seed=0)


def test_the_sample_is_balanced_and_is_what_its_origin_says() -> None:
    origin = (data.SAMPLE / "ORIGIN.md").read_text()
    sums = dict(re.findall(r"`([\w.]+)` \| `([0-9a-f]{64})`", origin))
    assert set(sums) == {path.name for path in data.SAMPLE.glob("*.*") if path.suffix in (".npz", ".zip")}
    for name, sha256 in sums.items():
        assert hashlib.sha256((data.SAMPLE / name).read_bytes()).hexdigest() == sha256
    digits = data.mnist("sample")
    assert np.array_equal(np.bincount(digits.train_labels), np.full(10, 600))
    assert np.array_equal(np.bincount(digits.test_labels), np.full(10, 200))
    assert "6,000 MNIST training digits (600" in origin and "2,000 MNIST test digits (200" in origin
    pictures = np.concatenate([digits.train_images, digits.test_images]).reshape(8000, -1)
    assert len(np.unique(pictures, axis=0)) == 8000
    assert all(crop.shape == (160, 160, 3) and crop.std() > 5 for crop in data.photos("sample"))
    assert sum(path.stat().st_size for path in data.SAMPLE.glob("*.*")) < 6e6
    assert "6,000 train / 2,000 test" in data.describe(["mnistm"], "sample")
    for name in ("fashion_mnist", "cifar10"):
        arrays = data.load(name, "sample")
        assert np.bincount(arrays["train_labels"]).tolist() == [200] * 10
        assert np.bincount(arrays["test_labels"]).tolist() == [50] * 10
        pictures = np.concatenate([arrays["train_images"], arrays["test_images"]]).reshape(2500, -1)
        assert len(np.unique(pictures, axis=0)) == 2500 and pictures.dtype == np.uint8
        assert "2,000 train / 500 test" in data.describe([name], "sample")
    assert arrays["train_images"].shape == (2000, 3, 32, 32) and "(JPEG)" in data.describe(["cifar10"], "sample")


@pytest.mark.full
@pytest.mark.skipif("STILLROOM_TEST_DATA" not in os.environ, reason="STILLROOM_TEST_DATA names no data root")
def test_the_full_sets_have_their_published_sizes_and_the_sample_is_part_of_them() -> None:
    root = Path(os.environ["STILLROOM_TEST_DATA"])
    digits, sample = data.mnist("full", root), data.mnist("sample")
    with np.load(data.SAMPLE / "digits.npz") as file:
        for split in ("train", "test"):
            index = file[f"{split}_index"]
            for part in (f"{split}_images", f"{split}_labels"):
                assert np.array_equal(vars(digits)[part][index], vars(sample)[part])
    for split, count in (("train", 300), ("test", 200)):
        scenes = data.photos("full", root, split)  # type: ignore[arg-type]
        assert len(scenes) == count
        assert {scene.shape for scene in scenes} == {(321, 481, 3), (481, 321, 3)}
        crops, whole = (data.photo_files(kind, root, split) for kind in ("sample", "full"))  # type: ignore[arg-type]
        assert {Path(path).name for path in crops} < {Path(path).name for path in whole}
    for name, shape in (("fashion_mnist", (60_000, 28, 28)), ("cifar10", (50_000, 3, 32, 32))):
        full, part = data.load(name, "full", root), data.load(name, "sample")
        assert full["train_images"].shape == shape and np.ptp(np.bincount(full["train_labels"])) == 0
        pixels = {image.tobytes() for image in full["test_images"]}
        assert all(image.tobytes() in pixels for image in part["test_images"]) or "JPEG" not in data.describe(
            [name], "full", root
        )
    both = data.mnistm("full", root)
    assert both.train_images.shape == (60_000, 3, 28, 28) and both.test_images.shape == (10_000, 3, 28, 28)
    assert np.array_equal(both.train_digits, digits.train_images)
    assert data.resolve("auto", ["mnistm"], root)[0] == "full"


@pytest.mark.parametrize("variant_asked", ["auto", "sample", "full"])
def test_a_study_without_data_sets_needs_no_files(variant_asked, tmp_path):
    assert data.resolve(variant_asked, (), tmp_path)[0] == "full"
    assert "enerated" in data.describe((), "full")


@pytest.mark.parametrize("name", data.TRAINING)
def test_so_many_images_train_as_are_said_to(name):
    from trainables.core.splits import Splits

    assert len(Splits(data.load(name, "sample"), "cpu").train) == data.training(name, "sample")
