"""What pages answer first, on made-up runs: their numbers are arithmetic, their answers short."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.core.records import schema
from analysis.core.report import marked

PAGES = Path(__file__).parents[2] / "analysis"
SEEDS = 3


def drawn(folder, study, rows, tables=None, **info):
    """Answer and details of a made-up run, which has no digests to speak of. rows: cells with their axes first, `metrics` named in each; tables: {name: lines}."""
    path, axes = folder / study / "made-up", dict.fromkeys(rows[0][0])
    kinds = {name: type(value) for name, value in rows[0][0].items()}
    base = {"study": study, "run": "made-up", "trial": "x", "data": "full", "status": "done", "step": 1, "seconds": 1.0}
    lines = [{**base, "student": "-".join(map(str, cell.values())), **cell, **measured} for cell, measured in rows]
    for name, (table, form) in {"rows": (lines, schema(kinds, [*rows[0][1]])), **(tables or {})}.items():
        (path / name).mkdir(parents=True)
        content = pa.Table.from_pylist(table, form)
        if form is None:
            content = content.replace_schema_metadata({"axes": json.dumps([*axes])})
        pq.write_table(content, path / name / "a.parquet")
    said = {"study": study, "run": "made-up", "preset": "course", "data": "full", "status": "done", "start": "2026-01-01"}
    planned = {axis: [*dict.fromkeys(cell[axis] for cell, _ in rows)] for axis in axes}
    (path / "run.json").write_text(json.dumps({**said, "data_description": "MADE UP", "axes": planned, **info}))
    done = subprocess.run([sys.executable, PAGES / f"{study}.py", path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(path / "report.ipynb", as_version=4)
    answer = [sentence for sentence in marked(notebook, "answer") if "Without a digest" not in sentence]
    return answer, "\n".join(marked(notebook, "details"))


def noisy(value, seed, noise=0.0):
    """The value of a seed: noise in turns, its mean over three seeds 0."""
    return value + noise * (seed % 3 - 1)


CROSS = {
    ("full", "small", "none"): 0.92, ("full", "small", "same"): 0.93, ("random", "small", "same"): 0.5, ("random", "small", "none"): 0.45,
    ("mtt", "small", "none"): 0.85, ("mtt", "large", "none"): 0.86, ("mtt", "small", "same"): 0.88, ("mtt", "small", "full"): 0.89,
}  # fmt: skip


def cross(seeds, both, noise=0.0):
    """Rows of combined_distillation with two sizes; `both` reach so much together, by images per class."""
    for (arm, value), n, seed in product(CROSS.items(), both, range(seeds)):
        images, learner, teacher = arm
        cell = {"dataset": "mnist", "images": images, "per_class": n, "teacher": teacher, "learner": learner}
        cell |= {"temperature": 1.0, "kd_weight": 0.0 if teacher == "none" else 0.5, "lr": 0.1, "seed": seed}
        together = arm == ("mtt", "small", "same")
        # no two differences alike: equal ones would be sure
        accuracy = noisy(both[n] if together else value, seed, 0.001 + noise * together + 0.0001 * [*CROSS].index(arm))
        metrics = {"val_accuracy": accuracy, "test_accuracy": accuracy, "cost_seconds": 1.0, "images_seen": 10.0}
        yield cell, metrics


@pytest.mark.parametrize(
    "both, noise, verdict",
    [
        ({1: 0.97, 10: 0.98}, 0.0, "Yes."),
        ({1: 0.88, 10: 0.89}, 0.2, "Open."),
        ({1: 0.97, 10: 0.8}, 0.0, "It depends"),
    ],
)
def test_both_together_are_better_than_each_alone_or_not(both, noise, verdict, tmp_path):
    answer, details = drawn(tmp_path, "combined_distillation", [*cross(SEEDS, both, noise)])
    assert len(answer) <= 5 and f"better off with both than with one of them? {verdict}" in answer[0]
    assert "p by Holm" in details and "Holm" not in "".join(answer) and "an interval is of one pair alone" in details
    assert ("cannot be told by 3 seeds" in answer[0]) == (verdict == "Open.")


def test_of_one_seed_and_of_a_part_of_the_cross_nothing_is_claimed(tmp_path):
    answer, _ = drawn(tmp_path / "one", "combined_distillation", [*cross(1, {1: 0.97})])
    assert "? Open.**" in answer[0] and "nothing is known of the noise" in answer[0]
    part = [line for line in cross(SEEDS, {1: 0.97}) if line[0]["images"] == "mtt" and line[0]["teacher"] == "same"]
    answer, _ = drawn(tmp_path / "part", "combined_distillation", part)
    assert "nothing yet to compare" in answer[0] and len(answer) == 2
