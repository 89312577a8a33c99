"""A made-up run for tests: its numbers are arithmetic, nothing was trained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.core.records import plan_schemas, schema, table_schema
from analysis.core.report import marked

TEMPERATURES, WEIGHTS, SEEDS = (1.0, 4.0, 16.0), (0.0, 0.5, 1.0), (0, 1, 2)
AXES = {"teacher_view": str, "target_labels": str, "temperature": float, "kd_weight": float, "seed": int}
METRICS = ("val_accuracy", "test_accuracy", "source_accuracy", "train_loss")
TEACHER = {"study": str, "run": str, "seed": int, "data": str, "teacher": str}
TEACHER |= {"source_test_accuracy": float, "target_test_accuracy": float, "seconds": float}


@pytest.fixture(scope="session")
def made_up_run() -> Callable[..., Path]:
    """See `write`."""
    return write


@pytest.fixture(scope="session")
def seen() -> Callable[[Path], str]:
    """The report of a drawn run as it is seen before its folded code is opened."""

    def text(run: Path) -> str:
        return re.sub(r'<details class="code">.*?</details>', "", (run / "report.html").read_text(), flags=re.DOTALL)

    return text


@pytest.fixture(scope="session")
def told() -> Callable[[Path], str]:
    """All that the page of a drawn run says: its answer, which is printed too, and its details."""

    def sentences(run: Path) -> str:
        notebook = nbformat.read(run / "report.ipynb", as_version=4)
        return "\n".join([*marked(notebook, "answer"), *marked(notebook, "details")]).replace("**", "")

    return sentences


Accuracy = Callable[[str, str, float, float, int], float | None]


def write(
    folder: Path, accuracy: Accuracy, teachers: bool = True, reached: Callable[..., bool] = lambda *cell: True, status: str = "done"
) -> Path:  # fmt: skip
    """A run under folder/mnistm_kd; accuracy(view, labels, T, kd_weight, seed) is None where the student failed, and
    `reached` of the same is False where the run ended before the student.

    Students are shared as in the study: kd_weight 0 hears no teacher, kd_weight 1 sees no labels.
    """
    path = folder / "mnistm_kd" / "made-up"
    points = list(product(("target", "source"), ("500", "all"), TEMPERATURES, WEIGHTS, SEEDS))
    cells = [dict(zip(AXES, point, strict=True)) for point in points]
    rows = [
        row
        for point, cell in zip(points, cells, strict=True)
        if reached(*point)
        for row in student_rows(cell, accuracy(*point))
    ]
    students = {student(cell): {**canonical(cell), "student": student(cell), "pack": "x"} for cell in cells}
    tables = {
        "rows": (rows, schema(AXES, METRICS)),
        "cells": ([{**cell, "student": student(cell)} for cell in cells], plan_schemas(AXES)["cells"]),
        "students": (list(students.values()), plan_schemas(AXES)["students"]),
    }
    if teachers:
        levels = [
            {"seed": s, "teacher": "mlp", "source_test_accuracy": 0.99, "target_test_accuracy": 0.5} for s in SEEDS
        ]
        tables["teachers"] = (levels, table_schema(TEACHER))
    for name, (lines, fields) in tables.items():
        (path / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(lines, schema=fields), path / name / "a.parquet")
    info = {
        "study": "mnistm_kd", "run": "made-up", "preset": "smoke", "data": "sample", "status": status, "datasets": ["mnistm"],
        "axes": {name: list(dict.fromkeys(cell[name] for cell in cells)) for name in AXES},
        "data_description": "MADE UP for a test: no data at all", "start": "2026-01-01T00:00:00+00:00", "students": len(students),
        "method": {"Student": "learns from <nothing>"}, "networks": {"cnn_small": "Conv2d(3, 8), made up"},
        "axes_help": {"temperature": "T of the softened softmax."},
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(info))
    return path


def canonical(cell: dict) -> dict:
    """The config that a cell's student has whatever the cell: as in the study."""
    heard = cell if cell["kd_weight"] > 0 else {**cell, "teacher_view": "target", "temperature": 1.0}
    return heard if cell["kd_weight"] < 1 else {**heard, "target_labels": "all"}


def student(cell: dict) -> str:
    return "-".join(map(str, canonical(cell).values()))


def student_rows(cell: dict, accuracy: float | None) -> list[dict]:
    """Two evaluations of a student, or its failure."""
    base = {
        "study": "mnistm_kd",
        "run": "made-up",
        "trial": "x",
        "student": student(cell),
        "preset": "smoke",
        "data": "sample",
    }
    base |= cell
    if accuracy is None:
        return [{**base, "status": "failed", "error": "RuntimeError: made up", "step": 0}]
    last = {"val_accuracy": accuracy, "test_accuracy": accuracy, "source_accuracy": 0.9 * accuracy, "train_loss": 0.1}
    return [
        {**base, "status": "running", "step": 50, "seconds": 1.0, "val_accuracy": accuracy / 2, "train_loss": 0.2},
        {**base, "status": "done", "step": 100, "seconds": 2.0, **last},
    ]
