"""Images of one's own: classes, counts and splits are the folder's, and a held-out share is the files' content's."""

import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.core import records
from analysis.core.report import open_run
from studies import cifar10_transfer, finetuning, pseudo_labels
from studies.harness.arguments import parse
from studies.harness.command import run
from studies.harness.needs import Data, data_of, fitted, settled
from studies.harness.plan import Plan
from studies.harness.study import InputError
from trainables.core import data, images
from trainables.core.files import DataError

CLASSES = ("cups", "keys", "лампы")


def noise(seed: int, size: tuple[int, int] = (60, 48), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of 20, 30 and 40 pictures of several kinds and sizes, and what else lies about."""
    root = tmp_path / "photos"
    for k, name in enumerate(CLASSES):
        (root / "train" / name / "inner").mkdir(parents=True)
        for i in range(20 + 10 * k):
            place = root / "train" / name / ("inner" if i % 2 else "")
            (place / f"photo {i}.{('jpg', 'PNG', 'jpeg')[k]}").write_bytes(
                noise(100 * k + i, (60 + i, 48), "PNG" if k == 1 else "JPEG")
            )
        for other in ("._photo 0.jpg", "Thumbs.db", "notes.txt"):
            (root / "train" / name / other).write_bytes(b"no picture")
    (root / "train" / ".DS_Store").write_bytes(b"no picture")
    return root


def part(content: bytes) -> str:
    return images.held(hashlib.sha256(content).digest(), ("val", "test"))


def parts(root: Path) -> dict[bytes, str]:
    """The part of every picture, by its content."""
    own = images.survey(root)
    return {(root / name).read_bytes(): part for part, files in own.files.items() for name, _ in files}


def test_classes_counts_and_splits_come_from_the_folder(photos: Path) -> None:
    own = images.survey(photos)
    assert own.classes == CLASSES and own.held_out == ("val", "test")
    assert np.sum([own.counts(part) for part in own.files], 0).tolist() == [20, 30, 40]
    sizes = {part: len(files) for part, files in own.files.items()}
    assert all(5 <= sizes[part] <= 25 for part in own.held_out)
    assert f"3 classes (cups, keys, лампы): {sizes['train']} train" in own.describe() and "held out" in own.describe()
    arrays = own.load(40)
    n, held = len(arrays["train_labels"]), arrays["val"]
    assert (
        n == sizes["train"] + sizes["val"] and len(held) == sizes["val"] and len(arrays["test_labels"]) == sizes["test"]
    )
    assert arrays["train_images"].shape == (n, 3, 40, 40) and arrays["classes"].tolist() == list(CLASSES)
    for label, (name, at) in enumerate(own.files["val"][:3]):
        assert arrays["train_labels"][held[label]] == at and f"/{CLASSES[at]}/" in name


def test_renaming_adding_and_removing_files_moves_no_other_image_and_renaming_changes_nothing(photos: Path) -> None:
    before, digest, arrays = parts(photos), images.survey(photos).digest, images.survey(photos).load(16)
    for i, path in enumerate(sorted((photos / "train" / "keys").rglob("*.PNG"))):
        path.rename(photos / "train" / "keys" / f"{977 * i % 100:02} other.png")
    again = images.survey(photos)
    assert parts(photos) == before and again.digest == digest
    assert all(np.array_equal(again.load(16)[name], array) for name, array in arrays.items())
    for i in range(25):
        (photos / "train" / "cups" / f"a{i}.png").write_bytes(noise(1000 + i))
    (photos / "train" / "cups" / "photo 0.jpg").unlink()
    after = parts(photos)
    assert images.survey(photos).digest != digest and len(after) == len(before) + 24
    assert all(after[content] == part for content, part in before.items() if content in after)


def test_folders_of_their_own_are_used_as_they_are(photos: Path) -> None:
    before = parts(photos)
    (photos / "val" / "cups").mkdir(parents=True)
    for i in range(4):
        (photos / "val" / "cups" / f"{i}.png").write_bytes(noise(2000 + i))
    own, after = images.survey(photos), parts(photos)
    assert own.held_out == ("test",) and len(own.files["val"]) == 4 and own.counts("val") == [4, 0, 0]
    assert {c for c, part in after.items() if part == "test"} == {c for c, part in before.items() if part == "test"}
    shutil.copytree(photos / "train", photos / "test")
    own = images.survey(photos)
    assert own.held_out == () and len(own.files["train"]) == 90 and "held out" not in own.describe()
    assert own.few() == "", "20 test images of a class are enough"
    assert "90 of the test images are training images too" in own.describe()


def test_a_picture_is_cropped_to_its_middle_and_goes_through_no_smaller_size(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 140, 3), np.uint8)
    for name in ("a", "b"):
        for i in range(30):
            (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels + np.uint8(i + 30 * (name == "b"))).save(tmp_path / "train" / name / f"{i}.png")
    arrays = images.survey(tmp_path).load(96)
    whole = {(pixels[:, 22:118] + np.uint8(i)).transpose(2, 0, 1).tobytes() for i in range(60)}
    assert {x.tobytes() for split in ("train", "test") for x in arrays[f"{split}_images"]} == whole


def test_more_images_than_fit_into_memory_are_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "memory", lambda: 10_000_000)
    with pytest.raises(DataError, match=r"90 images of 200 x 200 pixels take 0.01 GiB.* ask for a lower resolution"):
        images.survey(photos).load(200)


def test_pictures_stand_upright_on_white_and_keep_their_greys(tmp_path: Path) -> None:
    from trainables.core.files import square

    def made(image: Image.Image, **how: object) -> np.ndarray:
        buffer = io.BytesIO()
        image.save(buffer, "png", **how)
        return square("x.png", buffer.getvalue(), 8)

    half = Image.new("RGB", (8, 8))
    half.paste("white", (0, 0, 8, 4))  # the upper half
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    assert made(half)[0].all() and not made(half)[-1].any()
    assert made(half, exif=exif)[:, -1].all() and not made(half, exif=exif)[:, 0].any()
    assert (made(Image.new("RGBA", (8, 8), (0, 0, 0, 0))) == 255).all()
    assert (made(Image.fromarray(np.full((8, 8), 128 * 256, np.uint16))) == 128).all()
    assert made(Image.new("L", (3, 5), 77)).shape == (8, 8, 3)


def test_names_of_classes_are_text_in_one_line(photos: Path) -> None:
    (photos / "train" / "cups").rename(photos / "train" / "a\nb$c$")
    (photos / "train" / "keys").rename(photos / "train" / os.fsdecode(b"c\xff"))
    own = images.survey(photos)
    assert own.classes == ("a?b$c$", "c?", "лампы") and "a?b$c$" in own.describe()
    assert own.load(8)["classes"].tolist() == list(own.classes)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("one class", "has the class cups alone"), ("empty class", "train/empty has no picture"), ("heic", "found: IMG_1.HEIC"),
        ("unknown class", "test/mugs is no class"), ("broken", "photo 0.jpg is no picture"),
        ("few", "no image is held out to"), ("none left", "none is left to train"), ("huge file", "at most 1,000 are read"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_image_set_is_one_line(
    photos: Path, harm: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = photos / "train"
    if harm in ("one class", "few"):
        for name in CLASSES[1:]:
            shutil.rmtree(train / name)
    if harm in ("empty class", "heic"):
        (train / "empty").mkdir()
        if harm == "heic":
            (train / "empty" / "IMG_1.HEIC").write_bytes(b"?")
    elif harm == "unknown class":
        shutil.copytree(train / "cups", photos / "test" / "mugs")
    elif harm == "broken":
        (train / "cups" / "photo 0.jpg").write_bytes(b"no picture")
    elif harm == "few":
        for name in ("cups", "keys"):
            shutil.rmtree(train / name, ignore_errors=True)
            (train / name).mkdir()
            (train / name / "one.png").write_bytes(
                next(picture for picture in map(noise, range(100)) if part(picture) == "train")
            )
    elif harm == "none left":
        (train / "one").mkdir()
        (train / "one" / "one.png").write_bytes(
            next(picture for picture in map(noise, range(100)) if part(picture) == "test")
        )
    elif harm == "huge file":
        monkeypatch.setattr("trainables.core.files.MOST_BYTES", 1000)
    with pytest.raises(DataError) as error:
        images.survey(photos).load(16)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_no_picture_is_found_before_any_work_and_nobody_is_told_of_a_download(photos: Path) -> None:
    (photos / "train" / "cups" / "photo 0.jpg").write_bytes(b"no picture")
    options = parse(cifar10_transfer.STUDY, ["--data-root", str(photos), "--dry-run"])
    with pytest.raises(InputError, match=r"photo 0\.jpg is no picture .*: put a good copy there, or move it away$"):
        data_of(cifar10_transfer.STUDY, options, {})


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry"])
def test_classes_without_train_are_told_where_to_go_and_the_sample_is_not_spoken_of(photos: Path, dry: list) -> None:
    options = parse(cifar10_transfer.STUDY, ["--data-root", str(photos / "train"), *dry])
    said = rf"^--data-root {photos}/train: folders of pictures \(cups, keys, лампы\): give --data-root {photos}$"
    with pytest.raises(InputError, match=said), data.offline():
        data_of(cifar10_transfer.STUDY, options, {})
    (photos / "train").rename(photos / "other")
    for words in ([], ["--preset", "photos"]):
        options = parse(cifar10_transfer.STUDY, ["--data-root", str(photos / "other"), *words, *dry])
        said = rf"^--data-root {photos}/other: folders of pictures \(cups, keys, лампы\): move these into {photos}/other/train/$"
        with pytest.raises(InputError, match=said), data.offline():
            data_of(cifar10_transfer.STUDY, options, {})
    options = parse(cifar10_transfer.STUDY, ["--data-root", str(photos)])
    with (
        pytest.raises(InputError, match=r"^CIFAR-10 is not in .*; ask for the sample with --data sample$"),
        data.offline(),
    ):
        data_of(cifar10_transfer.STUDY, options, {})


@pytest.mark.parametrize("words", [[], ["--dry-run"], ["--data", "sample"], ["--data-root", "/no/such"]])
def test_a_preset_for_images_of_ones_own_takes_no_others(photos: Path, words: list) -> None:
    study = cifar10_transfer.STUDY
    with pytest.raises(InputError, match=r"^--preset photos: needs --data-root DIR with pictures in DIR/train/<class>"):
        data_of(study, parse(study, ["--preset", "photos", *words]), {})
    mine = parse(study, ["--preset", "photos", "--data-root", str(photos)])
    began = {"run": "r", **data_of(study, mine, {}).about(), "axes": study.chosen("photos", "own", {})}
    on = parse(study, ["--extend", "latest", "--preset", "photos", "--data-root", str(photos)])
    assert data_of(study, on, began).variant == "own"


def test_counts_of_training_images_that_take_all_are_one_student(photos: Path) -> None:
    study = cifar10_transfer.STUDY
    options = parse(study, ["--data-root", str(photos), "--preset", "smoke", "--train-size", "20", "500", "2000", "all"])
    found = data_of(study, options, {})
    plan = Plan(fitted(study, found), options, found.variant)
    apart = {cell.student: cell.config["train_size"] for cell in plan.cells}
    assert len(plan.cells) == 2 * len(apart) == 2 * plan.total and set(apart.values()) == {"20", "all"}
    assert {config["train_size"] for config in plan.students.values()} == {"20", "all"}
    assert fitted(study, Data(("cifar10",), "full", "", None)) is study
    config = {name: axis.values[0] for name, axis in finetuning.STUDY.axes.items()}
    assert fitted(finetuning.STUDY, found).canonical(config) == finetuning.STUDY.canonical(config), "whose counts have no word for all"


def test_few_images_that_choose_or_test_are_owned_up_to_and_one_image_does_not_matter(photos: Path) -> None:
    study = cifar10_transfer.STUDY
    found = data_of(study, parse(study, ["--data-root", str(photos)]), {})
    n, m = (len(found.own.files[part]) for part in ("val", "test"))
    assert f"{n} images choose: one is {100 / n:.1f} points" in found.about()["data_caveat"]
    for alone in ([], ["--decide"]):
        assert fitted(study, found).margin_of(parse(study, alone).decide) == 1 / m > study.margin_of(None)
    assert fitted(study, found).margin_of(parse(study, ["--decide", "2"]).decide) == pytest.approx(0.02), "what was said holds"
    for part in ("val", "test"):
        (photos / part).mkdir()
        for name in CLASSES:
            (photos / part / name).mkdir()
            for i in range(100):
                (photos / part / name / f"{i}.png").write_bytes(noise(3000 + i))
    many = data_of(study, parse(study, ["--data-root", str(photos)]), {})
    assert many.about()["data_caveat"] == "" and fitted(study, many).margin_of(None) == study.margin_of(None)


def test_a_root_with_cifar10_is_cifar10_and_one_with_both_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "CIFAR_COUNTS", {"train": 1, "test": 1})
    for split in data.CIFAR_COUNTS:
        for name in data.CIFAR_CLASSES:
            (tmp_path / "cifar10" / split / name).mkdir(parents=True)
            (tmp_path / "cifar10" / split / name / "0.png").write_bytes(noise(0, (32, 32)))
    of = lambda study, root: data_of(study, settled(study, parse(study, ["--data-root", str(root)])), {})  # noqa: E731
    for root in (tmp_path, tmp_path / "cifar10"):
        assert of(cifar10_transfer.STUDY, root).names == ("cifar10",)
    assert of(cifar10_transfer.STUDY, photos).names == ("images_64", "images_160", "images_32")
    assert of(finetuning.STUDY, photos).names == ("images_48",)
    assert of(pseudo_labels.STUDY, photos).names == ("images_64",)
    shutil.copytree(tmp_path / "cifar10", photos / "cifar10")
    with pytest.raises(InputError, match="name a folder that has one of them"):
        of(cifar10_transfer.STUDY, photos)
    with pytest.raises(InputError, match=r"--dataset images_64: needs --data-root"):
        data_of(pseudo_labels.STUDY, parse(pseudo_labels.STUDY, ["--dataset", "images_64"]), {})


@pytest.mark.parametrize(
    ("study", "words"),
    [
        (cifar10_transfer.STUDY, ["--resolution", "40", "--unfreezing", "head", "all", "--network", "airbench_small", "--keep-weights"]),
        (finetuning.STUDY, ["--resolution", "40", "--unfreezing", "all", "--augmentation", "iterative", "--steps", "4"]),
        (pseudo_labels.STUDY, ["--labels", "20", "--method", "fixmatch", "--threshold", "0", "--network", "cnn_small_norm"]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_a_study_trains_on_them_and_says_so(
    study, words, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    common = ["--address", "inline", "--num-cpus", "1", "--no-report", "--storage", str(tmp_path / "results")]
    asked = ["--preset", "smoke", "--seeds", "1", "--data-root", str(photos), *words]
    assert run(study, [*common, *asked]) == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "results" / study.name).iterdir()
    rows, classes = records.read(folder), records.read(folder, "classes")
    info = json.loads((folder / "run.json").read_text())
    assert set(rows["data"]) == {"own"} and records.final(rows)["test_accuracy"].notna().all()
    assert classes["class"].tolist() == list(CLASSES) and classes[["train", "val", "test"]].sum(axis=1).tolist() == [
        20,
        30,
        40,
    ]
    assert info["datasets"] == ["images_64" if study is pseudo_labels.STUDY else "images_40"]
    least = min(zip(classes["test"], CLASSES, strict=True))
    few = f"The test set has {least[0]} image{'s' * (least[0] != 1)} of {least[1]}, fewer than 10"
    assert least[0] < 10 and f"NOTE      {few}" in capsys.readouterr().err
    assert any(few in told for told in open_run(folder).caveats())
    assert "3 classes (cups, keys, лампы)" in info["data_description"] and "hash" in info["method"]["split"]
    (layers, *_) = info["networks"].values()
    assert layers.splitlines()[-2].split()[-2] == "3", layers  # outputs of the head
    if study is pseudo_labels.STUDY:
        assert run(study, [*common, "--extend", folder.name, "--seeds", "2"]) == 0
    (photos / "train" / "keys" / "new.png").write_bytes(noise(5000))
    assert run(study, [*common, "--extend", folder.name, "--seeds", "3"]) == 2
    assert "no longer those that" in capsys.readouterr().err
    (photos / "train").rename(photos / "cifar10")
    assert run(study, [*common, "--extend", folder.name, "--seeds", "3"]) == 2
    assert f"{photos}/train has no folder of a class" in capsys.readouterr().err


def test_a_run_goes_on_with_the_data_that_it_began_with(photos: Path) -> None:
    study = cifar10_transfer.STUDY
    options = parse(study, ["--extend", "latest", "--data-root", str(photos)])
    axes = {name: list(axis.values) for name, axis in study.axes.items()}
    assert data_of(study, options, {"data": "sample", "axes": axes}).variant == "sample"
    with pytest.raises(InputError, match=r"CIFAR-10 is not in .* images of your own go into"), data.offline():
        data_of(study, options, {"data": "full", "axes": axes})


def test_labels_that_leave_no_image_unlabelled_are_refused_before_any_work(
    photos: Path, tmp_path: Path, capsys
) -> None:
    words = ["--data-root", str(photos), "--storage", str(tmp_path / "results"), "--labels", "20", "59"]
    assert run(pseudo_labels.STUDY, [*words, "--preset", "smoke", "--address", "inline"]) == 2
    assert "59 labels leave none of" in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "results").exists()
