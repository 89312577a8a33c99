"""The page on a made-up run, executed once; its numbers are arithmetic."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.core.records import schema

PAGE = Path(__file__).parents[2] / "analysis" / "repeat_copy.py"
AXES = {"schedule": str, "max_length": int, "repeats": int, "bits": int, "lr": float, "seed": int}
METRICS = ("tokens", "val_bits", "val_exact", "test_bits", "test_exact")
# final validation and test accuracy, and the step at which validation gets there
FINAL = {
    ("short_first", 0.01): (0.97, 0.96, 30), ("short_first", 0.1): (0.50, 0.99, 10),
    ("long_first", 0.01): (0.60, 0.50, 40), ("long_first", 0.1): (0.70, 0.66, 40),
    ("bandit", 0.01): (0.99, 0.995, 20), ("bandit", 0.1): (0.20, 0.20, 20), ("bandit", 1.0): (0.9895, 0.2, 10),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory, told):
    """What the page says, its sentences and its tables line by line: learning rates, three seeds, four evaluations, lengths 1 to 4 (tested to 8)."""
    path = tmp_path_factory.mktemp("results") / "repeat_copy" / "made-up"
    rows, lengths = [], []
    for (schedule, lr), (val, test, step_there) in FINAL.items():
        for seed in range(3):
            cell = dict(zip(AXES, (schedule, 4, 1, 2, lr, seed), strict=True))
            base = {
                "study": "repeat_copy",
                "run": "made-up",
                "trial": "x",
                "student": f"{schedule}{lr}{seed}",
                "data": "full",
            }
            if lr == 1.0 and seed < 2:  # only the luckiest seed is left: 0.9905, more than the mean at 0.01
                rows.append({**base, **cell, "status": "failed", "error": "RuntimeError: made up", "step": 10})
                continue
            for step in (10, 20, 30, 40):
                luck = 0.001 * (seed - 1)
                exact, last = (val if step >= step_there else 0.3) + luck, step == 40
                tokens = step * (150.0 if schedule == "long_first" else 100.0)
                row = {"status": "done" if last else "running", "step": step, "seconds": 1.0, "tokens": tokens}
                row |= {"val_exact": exact, "val_bits": 1 - exact}
                row |= {"test_exact": test + luck, "test_bits": 1 - test - luck} if last else {}
                rows.append({**base, **cell, **row})
                for length in range(1, 9 if last else 5):
                    share = (0.7 if length == (4 if step > 20 else 1) else 0.1) if length < 5 else 0.0
                    line = {"step": step, "length": length, "val_exact": exact, "val_bits": 1 - exact, "share": share}
                    line |= {"test_exact": test + luck if length < 5 else 0.0, "test_bits": 1.0} if last else {}
                    line = {"test_exact": None, "test_bits": None, **line}
                    lengths.append({"student": base["student"], **cell, **line})
    for name, table, form in (("rows", rows, schema(AXES, METRICS)), ("lengths", lengths, None)):
        (path / name).mkdir(parents=True)
        content = pa.Table.from_pylist(table, form)
        if form is None:
            content = content.replace_schema_metadata({"axes": json.dumps([*AXES, "length"])})
        pq.write_table(content, path / name / "a.parquet")
    info = {"study": "repeat_copy", "run": "made-up", "preset": "smoke", "data": "full", "status": "done", "start": "2026-01-01",
            "data_description": "MADE UP for a test", "axes": {}}  # fmt: skip
    (path / "run.json").write_text(json.dumps(info))
    done = subprocess.run([sys.executable, PAGE, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    cells = json.loads((path / "report.ipynb").read_text())["cells"]
    tables = [
        out["data"]["text/plain"] for cell in cells for out in cell.get("outputs", ()) if "text/html" in out["data"]
    ]
    return "\n".join([told(path), done.stdout, *("".join(table) for table in tables)])


def sentence(said, *parts):
    return next(line for line in said.splitlines() if all(part in line for part in parts))


def line_of(said, column, schedule):
    """The line of a schedule in the first table that has this column."""
    lines = said[said.index(f"  {column}") :].splitlines()
    return next(line for line in lines if f" {schedule} " in line)


def test_each_schedule_has_the_setting_that_validation_chose_and_is_reported_on_test(said):
    line = sentence(said, "Priority to short")
    assert "96.0 %" in line and "66.0 %" in line, "short_first is better on test at lr 0.1, but validation chose 0.01"
    assert "+30.0 points (+30.0 to +30.0): a gain" in line and "per target bit -0.300" in line
    assert " 0.01 " in sentence(said, " short first ", " 0.0 %") and " 0.10 " in sentence(
        said, " long first ", " 0.0 %"
    )


def test_the_goal_names_who_reaches_it(said):
    line = sentence(said, "99 % exact test sequences at trained lengths")
    assert line.endswith("trained lengths up to 4: 1 of 3 schedules: bandit."), "the run trains no longer ones"


def test_iterations_to_the_threshold_are_the_first_above_it_and_never_is_said(said):
    assert "30 (30 to 30)" in line_of(said, "iterations", "short first")
    assert line_of(said, "iterations", "short first").endswith("0.00 (0.00 to 0.00)")
    assert line_of(said, "iterations", "long first").count("never for 3 of 3 seeds") == 2


def test_long_sequences_cost_more_time_steps(said):
    """40 iterations of short_first are 4,000 time steps: long_first is then between its evaluations at 20 and 30."""
    assert "long first saw 1.50 times as many time steps" in sentence(said, "Priority to short")
    line = sentence(said, "validation, after 0 million time steps")
    assert "97.0 %" in line and "30.0 %" in line and "+67.0 points" in line


def test_what_the_bandit_chose_is_said(said):
    """Lengths .7 at 1, later at 4, the others .1: mean 1.6, then 3.4."""
    line = sentence(said, "The bandit chose")
    assert "1.6 in the first fifth" in line and "3.4 in the last, +1.8" in line and "longer" in line


def test_nothing_is_exact_beyond_the_longest_trained_length(said):
    for schedule, percent in (("short first", "96.0 %"), ("long first", "66.0 %"), ("bandit", "99.5 %")):
        line = sentence(said, f" {schedule} ", percent, " 0.0 %")
        assert line.count(percent) == 4 and line.count(" 0.0 %") == 2, "four ranges of trained lengths, two beyond"


def test_a_setting_whose_other_seeds_failed_does_not_win_by_the_lucky_one(said):
    assert "20 (20 to 20)" in line_of(said, "iterations", "bandit"), "it would be 10 at lr 1"
    assert "2 of 21 students failed" in said


def test_no_line_is_named_that_is_not_drawn(said, seen):
    """The run has no uniform schedule to compare with."""
    report = next(line for line in said.splitlines() if line.startswith("Report: ")).split()[1]
    text = seen(Path(report).parent)
    assert "gainst uniform" not in said and "gainst uniform" not in text and "Every schedule, by iterations" in text
