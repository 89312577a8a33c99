"""A made-up run for tests: its numbers are arithmetic, nothing was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.core.records import schema, table_schema

TEMPERATURES, WEIGHTS, SEEDS = (1.0, 4.0, 16.0), (0.0, 0.5, 1.0), (0, 1, 2)
AXES = {"teacher_view": str, "target_labels": str, "temperature": float, "kd_weight": float, "seed": int}
METRICS = ("val_accuracy", "test_accuracy", "source_accuracy", "train_loss")
TEACHER = {"study": str, "run": str, "seed": int, "data": str, "teacher": str}
TEACHER |= {"source_test_accuracy": float, "target_test_accuracy": float, "seconds": float}


@pytest.fixture(scope="session")
def made_up_run() -> Callable[..., Path]:
    """See `write`."""
    return write


Accuracy = Callable[[str, str, float, float, int], float | None]


def write(folder: Path, accuracy: Accuracy, teachers: bool = True) -> Path:
    """A run under folder/mnistm_kd; accuracy(view, labels, T, kd_weight, seed) is None where the student failed.

    Students are shared as in the study: kd_weight 0 hears no teacher, kd_weight 1 sees no labels.
    """
    path = folder / "mnistm_kd" / "made-up"
    rows = []
    for view in ("target", "source"):
        for labels in ("500", "all"):
            for t in TEMPERATURES:
                for w in WEIGHTS:
                    for seed in SEEDS:
                        cell = dict(zip(AXES, (view, labels, t, w, seed), strict=True))
                        rows += student_rows(cell, accuracy(view, labels, t, w, seed))
    (path / "rows").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema(AXES, METRICS)), path / "rows" / "a.parquet")
    if teachers:
        (path / "teachers").mkdir()
        levels = [
            {"seed": s, "teacher": "mlp", "source_test_accuracy": 0.99, "target_test_accuracy": 0.5} for s in SEEDS
        ]
        pq.write_table(pa.Table.from_pylist(levels, table_schema(TEACHER)), path / "teachers" / "a.parquet")
    values = {name: list(dict.fromkeys(row[name] for row in rows)) for name in AXES}
    info = {
        "study": "mnistm_kd", "run": "made-up", "preset": "smoke", "axes": values, "data": "sample",
        "data_description": "MADE UP for a test: no data at all", "start": "2026-01-01T00:00:00+00:00",
        "status": "done", "students": len({row["student"] for row in rows}),
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(info))
    return path


def student_rows(cell: dict, accuracy: float | None) -> list[dict]:
    """Two evaluations of a student, or its failure."""
    heard = (cell["teacher_view"], cell["temperature"]) if cell["kd_weight"] > 0 else ()
    seen = (cell["target_labels"],) if cell["kd_weight"] < 1 else ()
    name = "-".join(map(str, (*heard, *seen, cell["kd_weight"], cell["seed"])))
    base = {"study": "mnistm_kd", "run": "made-up", "trial": "x", "student": name, "preset": "smoke", "data": "sample"}
    base |= cell
    if accuracy is None:
        return [{**base, "status": "failed", "error": "RuntimeError: made up", "step": 0}]
    last = {"val_accuracy": accuracy, "test_accuracy": accuracy, "source_accuracy": 0.9 * accuracy, "train_loss": 0.1}
    return [
        {**base, "status": "running", "step": 50, "seconds": 1.0, "val_accuracy": accuracy / 2, "train_loss": 0.2},
        {**base, "status": "done", "step": 100, "seconds": 2.0, **last},
    ]
