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
    """Answer and details of a made-up run, which has no digests to speak of. rows: (cell, its metrics) each; tables: {name: (lines, schema)}."""
    path, axes = folder / study / "made-up", [*rows[0][0]]
    kinds = {name: type(value) for name, value in rows[0][0].items()}
    base = {"study": study, "run": "made-up", "trial": "x", "data": "full", "status": "done", "step": 1, "seconds": 1.0}
    lines = [{**base, "student": "-".join(map(str, cell.values())), **cell, **measured} for cell, measured in rows]
    for name, (table, form) in {"rows": (lines, schema(kinds, [*rows[0][1]])), **(tables or {})}.items():
        (path / name).mkdir(parents=True)
        content = pa.Table.from_pylist(table, form)
        if form is None:
            content = content.replace_schema_metadata({"axes": json.dumps([axis for axis in axes if axis in table[0]])})
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


def sets(seeds, whole, mtt, learner="perceptron_128"):
    """Rows of dataset_distillation: all data, random images and MTT's, which reach so much by images per class."""
    reached = {"whole": dict.fromkeys(mtt, whole), "random": dict.fromkeys(mtt, 0.3), "mtt": mtt}
    for (method, of), seed in product(reached.items(), range(seeds)):
        for n, value in of.items():
            cell = {"dataset": "mnist", "method": method, "per_class": n, "network": "perceptron_128", "learner": learner, "lr": 0.1}
            accuracy = noisy(value, seed, 0.001 * (1 + [*reached].index(method)))
            yield {**cell, "seed": seed}, {"val_accuracy": accuracy, "test_accuracy": accuracy, "spread": 0.01}


def test_few_images_stand_for_all_data_where_they_are_as_good(tmp_path):
    answer, details = drawn(tmp_path / "no", "dataset_distillation", [*sets(SEEDS, 0.95, {1: 0.8, 10: 0.9})])
    assert len(answer) == 2 and "can few images stand for all?** No, not as few" in answer[0]
    assert "All data reach 95.0 %" in answer[0] and "10 images per class (MTT) 90.0 %" in answer[0]
    assert "better than 1 of 1" in answer[1] and "p by Holm" in details and "Holm" not in "".join(answer)
    answer, _ = drawn(tmp_path / "open", "dataset_distillation", [*sets(2, 0.95, {1: 0.8, 10: 0.9495})])
    assert "stand for all?** Open for" in answer[0] and " and " in answer[0] and "n = 2)" in answer[0]
    without = [line for line in sets(SEEDS, 0.95, {1: 0.8}) if line[0]["method"] != "whole"]
    answer, _ = drawn(tmp_path / "without", "dataset_distillation", without)
    assert "All data have no result here" in answer[0]


def timed(seeds):
    """Rows of inference_speed: of two techniques that lose no accuracy int8 is faster, but changes answers."""
    for (technique, speedup, same), n, seed in product((("eager", 1, 1), ("fused", 2, 1), ("onnx_int8", 4, 0.9)), (1, 32), range(seeds)):
        cell = {"network": "mobilenet_v2", "threads": 1, "technique": technique, "batch_size": n, "seed": seed}
        times = {"latency_ms": 8.0 / speedup, "p95_ms": 9.0, "cpu_ms": 8.0, "images_per_second": 1.0, "speedup": noisy(speedup, seed, 0.01)}
        rest = dict.fromkeys(("calls", "memory_mib", "busy_share", "max_difference", "size_bytes", "make_seconds"), 0.01)
        shares = {"val_accuracy": 0.7, "test_accuracy": 0.7, "val_agreement": float(same), "test_agreement": float(same)}
        yield cell, {**times, **rest, **shares}


def test_the_fastest_technique_is_named_for_accuracy_and_for_answers(tmp_path):
    made = {"network": "mobilenet_v2", "resolution": 32, "parameters": 9, "weights": "random", "seconds": 1.0, "processor": "made up"}
    answer, details = drawn(tmp_path, "inference_speed", [*timed(SEEDS)], {"models": ([{**made, "threads": 1}], None)})
    assert len(answer) == 3 and "ONNX Runtime int8 (2 of 2 settings: 4 times as fast as eager PyTorch)" in answer[0]
    assert "99 % of eager's answers it is channels last + conv-bn fused (2 of 2 settings: 2 times" in answer[0]
    assert "Of those that keep 99 % of the answers on validation" in details
