"""The page on a made-up run, executed once; its numbers are arithmetic."""

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

PAGE = Path(__file__).parents[2] / "analysis" / "finetuning.py"
AXES = {"augmentation": str, "unfreezing": str, "rate": str, "network": str, "weights": str, "train_size": int}
AXES |= {"resolution": int, "steps": int, "lr": float, "seed": int}
METRICS = ("val_accuracy", "test_accuracy", "val_images", "test_images")
FACTORS = {"augmentation": ("none", "iterative"), "unfreezing": ("all", "gradual"), "rate": ("constant", "one_cycle")}


def accuracy(augmentation, unfreezing, rate, lr, seed):
    """Validation and test. Unfreezing adds 4 points, the rate 2, and 2 more together; augmentation nothing but luck. The better
    rate on validation is 0.01, on test 0.001."""
    on = [value == FACTORS[f][1] for f, value in zip(FACTORS, (augmentation, unfreezing, rate), strict=True)]
    luck = 0.001 * (seed - 1)
    value = 0.6 + 0.04 * on[1] + 0.02 * on[2] + 0.02 * (on[1] and on[2]) + 0.0005 * on[0] * (-1) ** seed
    return value + luck + (0.01 if lr == 0.01 else 0), value + luck + (0.1 if lr == 0.001 else 0)


@pytest.fixture(scope="module")
def said(tmp_path_factory, told):
    path = tmp_path_factory.mktemp("results") / "finetuning" / "made-up"
    rows, schedules = [], []
    for values in itertools.product(*FACTORS.values()):
        for lr, seed in itertools.product((0.001, 0.01), range(3)):
            val, test = accuracy(*values, lr, seed)
            cell = dict(zip(AXES, (*values, "net", "imagenet", 100, 64, 40, lr, seed), strict=True))
            base = {**cell, "student": "-".join(map(str, (*values, lr, seed))), "data": "full"}
            for step in (20, 40):
                last = step == 40
                row = {
                    "status": "done" if last else "running",
                    "step": step,
                    "seconds": step * (1 if values[1] == "gradual" else 2),
                }
                row |= {"val_accuracy": val if last else val / 2, "val_images": 50.0, "test_images": 60.0}
                rows.append({**base, **row, **({"test_accuracy": test} if last else {})})
                for at, depth in itertools.product(range(step - 20, step), range(3)):
                    trained = values[1] == "all" or at >= 10 * depth
                    line = {
                        "at": at,
                        "depth": depth,
                        "stage": ("head", "stage_2", "stage_1")[depth],
                        "trained": int(trained),
                    }
                    strength = float(values[0] == "iterative" and last)
                    schedules.append({**base, "step": step, **line, "rate_used": lr * trained, "strength": strength})
    for table, content, form in (("rows", rows, schema(AXES, METRICS)), ("schedules", schedules, None)):
        (path / table).mkdir(parents=True)
        made = pa.Table.from_pylist(content, form)
        if form is None:
            made = made.replace_schema_metadata({"axes": json.dumps([*AXES, "at", "depth"])})
        pq.write_table(made, path / table / "a.parquet")
    info = {"preset": "smoke", "data": "full", "data_description": "MADE UP", "status": "done", "axes": {}}
    (path / "run.json").write_text(json.dumps(info))
    done = subprocess.run([sys.executable, PAGE, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    notebook = json.loads((path / "report.ipynb").read_text())
    assert len(marked(nbformat.from_dict(notebook), "answer")) <= 5
    shown = [output["data"] for cell in notebook["cells"] for output in cell.get("outputs", ()) if "data" in output]
    tables = ["".join(data["text/plain"]) for data in shown if "<table" in "".join(data.get("text/html", ""))]
    return "\n".join([told(path), done.stdout, *(re.sub(" +", " ", table) for table in tables)])


def sentence(said, start):
    return next(line for line in said.splitlines() if line.startswith(start))


def test_each_combination_has_the_rate_that_validation_chose_and_is_reported_on_test(said):
    assert sentence(said, " plain ").startswith(" plain 0.01 60.0 %"), "test alone would choose 0.001 and 70.0 %"
    assert " unfreezing + adaptive rate 0.01 68.0 %" in said
    assert "Plain fine-tuning reaches 60.0 %" in said


def test_gains_are_gains_and_ties_are_ties(said):
    line = sentence(said, "Plain fine-tuning reaches")
    assert "unfreezing + adaptive rate +8.0 points (+8.0 to +8.0): a gain" in line
    assert "; augmentation +0.02 points" in line and "not told" in line


def test_effects_and_interactions_are_those_of_the_arithmetic(said):
    assert "\n unfreezing +5.0 points" in said and "\n adaptive rate +3.0 points" in said
    assert "\n augmentation +0.02" in said
    assert "\n unfreezing × adaptive rate +1.0 points (+1.0 to +1.0), a gain" in said


def test_the_winner_on_validation_is_named_and_cost_and_size_are_said(said):
    assert "+ adaptive rate: 68." in sentence(said, "Best: validation chooses")
    assert "0.50 (0.50 to 0.50) times the time, 40 s against 80 s" in said and "60 test images" in said


def test_every_figure_is_drawn(said):
    drawn = {"combinations.png", "effects.png", "interactions.png", "learning.png", "frozen.png"}
    assert drawn <= set(said.split())


def test_the_conclusion_follows_the_effects(said):
    line = sentence(said, "With these labels")
    assert "helps: unfreezing, adaptive rate; not told from doing nothing: augmentation" in line
    assert line.endswith("Interactions told from 0: unfreezing × adaptive rate.")
    first = said.splitlines()[1]
    assert first.startswith("Does each thing help, with and without the others? Augmentation: cannot be told by 3 seeds, +0.02 points")
    assert "; unfreezing: yes, +5.0 points" in first and "; adaptive rate: yes, +3.0 points" in first
