"""The page on made-up runs, executed once each; their numbers are arithmetic."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.core.records import schema
from analysis.core.report import marked

PAGE = Path(__file__).parents[2] / "analysis" / "cifar10_transfer.py"
FIXED = {
    "network": "efficientnet_lite0", "resolution": 64, "train_size": "all", "augmentation": "none", "views": 1, "test_views": 1,
    "optimiser": "adamw", "precision": "fp32", "passes": 3, "batch_size": 16, "label_smoothing": 0.0, "lr": 0.001,
    "weight_decay": 0.05, "head_start": "uniform",
}  # fmt: skip
AXES = {"weights": str, "unfreezing": str, **{name: type(value) for name, value in FIXED.items()}, "seed": int}
METRICS = ("val_accuracy", "test_accuracy", "cached", "trained_parameters", "train_images", "pass_seconds")
RIGHT = {("random", "all"): 20, ("imagenet", "all"): 19, ("imagenet", "head"): 17}  # of 23 that choose
TEST = {("random", "all"): 0.72, ("imagenet", "all"): 0.80, ("imagenet", "head"): 0.88}


def drawn(path: Path, own: bool) -> Path:
    """A run of 23 images of one's own that choose, or of all of CIFAR-10, with its page."""
    rows, layers = [], []
    for (weights, unfreezing), seed in itertools.product(RIGHT, range(3)):
        student = {"weights": weights, "unfreezing": unfreezing, **FIXED, "seed": seed}
        base = {**student, "student": f"{weights}-{unfreezing}-{seed}", "data": "own" if own else "full"}
        found = {
            "val_accuracy": RIGHT[weights, unfreezing] / 23,
            "test_accuracy": TEST[weights, unfreezing] + 0.01 * seed,
        }
        found |= {"cached": float(unfreezing == "head"), "trained_parameters": 10.0, "pass_seconds": 1.0}
        rows.append(
            {**base, "status": "done", "step": 9, "seconds": 2.0, "train_images": 72.0 if own else 45833.0, **found}
        )
    for i, stage in enumerate(("stage_1", "head")):
        layer = {
            "stage": stage,
            "layer": stage,
            "kind": "Linear",
            "depth": 1,
            "output": "3",
            "parameters": 5,
            "multiplications": 5,
        }
        layers.append({"network": FIXED["network"], "weights": "random", "resolution": 64, "position": i, **layer})
    tables = {"rows": pa.Table.from_pylist(rows, schema(AXES, METRICS)), "layers": pa.Table.from_pylist(layers)}
    if own:
        counts = {"train": 36, "test": 12}
        lines = [{"label": k, "class": name, **counts, "val": 11 + k} for k, name in enumerate(("grass", "sky"))]
        tables["classes"] = pa.Table.from_pylist(lines)
        asked = [(row["student"], *pair) for row in rows for pair in ((0, 0, 9), (0, 1, 3), (1, 1, 12))]
        tables["confusions"] = pa.Table.from_pylist(
            [dict(zip(("student", "truth", "answer", "images"), line, strict=True)) for line in asked]
        )
    for name, table in tables.items():
        keys = ["student", "truth", "answer"] if name == "confusions" else []
        (path / name).mkdir(parents=True)
        pq.write_table(
            table if name == "rows" else table.replace_schema_metadata({"axes": json.dumps(keys)}), path / name / "a.parquet"
        )
    info = {
        "preset": "course",
        "data": "own" if own else "full",
        "data_description": "MADE UP",
        "status": "done",
        "axes": {},
    }
    (path / "run.json").write_text(json.dumps(info))
    done = subprocess.run([sys.executable, PAGE, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module", params=[True, False], ids=["own", "cifar10"])
def page(request, tmp_path_factory, told, seen):
    path = drawn(tmp_path_factory.mktemp("results") / "cifar10_transfer" / "made-up", request.param)
    answer = marked(nbformat.read(path / "report.ipynb", as_version=4), "answer")
    verdict = f"With {'72' if request.param else '45,833'} training images: yes."
    assert len(answer) <= 5 and verdict in answer[0], "first the study's question"
    return request.param, told(path), re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", seen(path)))


def test_what_is_said_of_published_numbers_and_of_the_hole_is_said_where_they_are_drawn(page):
    own, told, seen = page
    assert ("the hole of the comparison" in told) != own
    assert not any(words in seen for words in ("50,000", "airbench94", "whitening")), (
        "no network of the run is published"
    )
    assert ("four pretrained networks" in seen) != own


def test_of_own_images_the_class_that_is_known_least_is_named(page):
    own, told, _ = page
    assert ("The class it knows least: grass, 75 % of 12 test images." in told.splitlines()) == own


def test_few_images_that_choose_do_not_choose_between_settings_one_image_apart(page):
    own, told, _ = page
    near = [
        line for line in told.splitlines() if line.startswith("Within one of 23 images of it on validation, too little")
    ]
    assert len(near) == own, "the best transfer is two images better than the other"
    if own:
        assert "EfficientNet-lite0, ImageNet, all layers, 72 images: 81.0 %" in near[0] and "head" not in near[0]
