import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import compare
from analysis.core import report

ROOT = Path(__file__).parents[2]


def accuracy(view, labels, t, w, seed):
    return 0.7 + 0.05 * w + 0.01 * seed + 0.001 * ((seed * 7 + int(t)) % 3)


def one_better(view, labels, t, w, seed):
    """On another machine: rounding everywhere, and one cell that is another."""
    return (
        accuracy(view, labels, t, w, seed)
        + 0.0001 * ((seed + int(t)) % 2)
        + 0.05 * ((view, labels, t, w) == ("target", "500", 4.0, 0.5))
    )


def without_last(*cell):
    return None if cell[-1] == 2 else accuracy(*cell)


def said(capsys, a, b, *words):
    code = compare.main([str(a), str(b), *words])
    out = capsys.readouterr()
    return code, out.out + out.err


@pytest.fixture
def runs(tmp_path, made_up_run):
    return {f.__name__: made_up_run(tmp_path / f.__name__, f) for f in (accuracy, one_better, without_last)}


def test_a_run_does_not_differ_from_its_copy_and_is_not_compared_with_itself(runs, capsys, tmp_path):
    code, text = said(capsys, runs["accuracy"], shutil.copytree(runs["accuracy"], tmp_path / "copy"))
    assert (
        code == 0
        and "not alike" not in text
        and "mean +0.00 points" in text
        and "Told to differ (paired t, Holm over all cells): 0." in text
    )
    code, text = said(capsys, runs["accuracy"], runs["accuracy"].parent / "." / runs["accuracy"].name)
    assert (code, text) == (2, f"compare: both are the run {runs['accuracy']}; name two\n")
    assert compare.main([str(runs["accuracy"])]) == 2
    assert capsys.readouterr().err == "compare: two runs are compared, and 1 named: RUN RUN (see --help)\n"


def changed(monkeypatch, cells_of):
    """Runs whose cells are changed as they are opened."""

    def opened(path):
        run = report.open_run(path)
        return dataclasses.replace(run, cells=cells_of(path, run.cells))

    monkeypatch.setattr(compare, "open_run", opened)


def test_axes_without_a_common_value_are_named(runs, capsys, monkeypatch):
    half = {runs["accuracy"]: (1.0, 16.0), runs["one_better"]: (4.0, 8.0)}
    changed(monkeypatch, lambda path, cells: cells[cells["temperature"].isin(half[path])])
    code, text = said(capsys, runs["accuracy"], runs["one_better"])
    given = "; ".join(f"{t:g}" for t in report.open_run(runs["accuracy"]).cells["temperature"].unique() if t in (4, 8))
    expected = f"they share no value of temperature (1; 16, in the other {given})\n"
    assert (code, text) == (2, f"compare: no cell and seed is done in both runs; {expected}")


def test_an_axis_with_one_value_in_each_run_tells_the_runs_apart_and_not_their_cells(runs, capsys, monkeypatch):
    """As `--precision auto` does, which is bf16 on one machine and fp32 on another."""
    names = {runs["one_better"]: "target", runs["accuracy"]: "target"}
    changed(monkeypatch, lambda path, cells: cells[cells["teacher_view"] == "target"].assign(teacher_view=names[path]))
    alike = said(capsys, runs["one_better"], runs["accuracy"])
    names[runs["one_better"]] = "another"
    code, text = said(capsys, runs["one_better"], runs["accuracy"])
    line = "not alike: teacher_view: another, in the other target\n"
    assert line in text and (code, text.replace(line, "")) == alike and code == 1


def test_the_cell_that_is_another_is_found_and_only_it(runs, capsys):
    code, text = said(capsys, runs["one_better"], runs["accuracy"])
    assert code == 1 and ": 1.\n" in text and "\n  teacher view target, target labels 500, T = 4, λ = 0.5: +5.0" in text


def test_cells_of_the_same_students_are_one_and_named_without_what_plays_no_part(runs, capsys, made_up_run, tmp_path):
    """λ = 0 hears no teacher, λ = 1 sees no labels: each such student answers several cells."""

    def other_labels(view, labels, t, w, seed):
        return one_better(view, labels, t, w, seed) + 0.03 * (w == 0 and labels == "all") - 0.04 * ((t, w) == (1.0, 1.0))

    other = made_up_run(tmp_path / "other_labels", other_labels)
    run = report.open_run(other)
    points = run.cells.groupby([axis for axis in run.axes if axis != "seed"]).ngroups
    students = len(run.students)
    code, text = said(capsys, other, runs["accuracy"])
    expected = f"{students // 3} cells of both runs (of {points}: those with the same students count once), {students} students of each; "
    assert code == 1 and text.startswith(expected) and "alone" not in text
    told = [line.partition(" points")[0] for line in text.splitlines() if line.startswith("  ")]
    assert told == [
        "  teacher view target, target labels 500, T = 4, λ = 0.5: +5.0",
        "  teacher view target, T = 1, λ = 1: -4.0",
        "  teacher view source, T = 1, λ = 1: -4.0",
        "  target labels all, labels only (λ = 0): +3.0",
    ]


def test_a_reader_who_has_seen_enough_is_no_error(runs, tmp_path):
    """`compare RUN RUN | head -1`, and the same of a page"""
    compare = ["-m", "analysis.compare", str(runs["one_better"]), str(runs["accuracy"])]
    page = ["analysis/mnistm_kd.py", str(runs["accuracy"]), "--out", str(tmp_path)]
    for words, code in ((compare, 1), (page, 0)):
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", code)
        process.stderr.close()


def test_seeds_that_only_one_has_are_said_and_left_out(runs, capsys):
    code, text = said(capsys, runs["accuracy"], runs["without_last"])
    students = report.open_run(runs["accuracy"]).students
    alone = (students["seed"] == 2).sum()
    assert code == 0 and f"Of made-up alone: {alone} students, not planned or not done in made-up.\n" in text
    assert f"{len(students) - alone} students of each" in text and text.count("alone") == 1


def test_what_makes_runs_not_comparable_is_said(runs, capsys):
    file = runs["one_better"] / "run.json"
    info = json.loads(file.read_text())
    file.write_text(json.dumps({**info, "preset": "\x1b[2Jpaper", "versions": {"torch": "9"}}))
    _, text = said(capsys, runs["accuracy"], runs["one_better"])
    assert "not alike: preset:" in text and "\x1b" not in text
    file.write_text(json.dumps({**info, "study": "another"}))
    assert said(capsys, runs["accuracy"], runs["one_better"]) == (
        2,
        "compare: runs of two studies: mnistm_kd and another\n",
    )


def test_wrong_input_is_one_line(runs, capsys, tmp_path):
    assert said(capsys, runs["accuracy"], tmp_path)[0] == 2
    code, text = said(capsys, runs["accuracy"], runs["one_better"], "--metric", "no_such")
    assert code == 2 and text.count("\n") == 1 and "no_such" in text


def test_runs_are_named_as_everywhere_whatever_their_study(made_up_run, capsys, tmp_path, monkeypatch):
    """By name under any study of the root, which a flag names where it is not ./results; the path stays good."""
    root = tmp_path / "results"
    one, other = made_up_run(tmp_path / "a", accuracy), made_up_run(tmp_path / "b", accuracy)
    for run, name in ((one, "2026-a"), (other, "2026-b")):
        (root / "mnistm_kd").mkdir(parents=True, exist_ok=True)
        run.rename(root / "mnistm_kd" / name)
    by_path = said(capsys, root / "mnistm_kd" / "2026-a", root / "mnistm_kd" / "2026-b")
    assert by_path[0] == 0
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "2026-a", "2026-b") == said(capsys, "mnistm_kd/2026-a", "2026-b") == by_path
    monkeypatch.chdir("/")
    assert said(capsys, "2026-a", "2026-b", "--root", str(root)) == by_path
    assert said(capsys, "latest", "2026-a", "--root", str(root))[0] == 0
    code, text = said(capsys, "2026-a", "2026-c", "--root", str(root))
    assert (code, text) == (2, f"compare: no run '2026-c' of any study under {root} (there: mnistm_kd/2026-a, mnistm_kd/2026-b)\n")
    code, text = said(capsys, "2026-a", "2026-c", "--root", str(tmp_path / "nothing"))
    assert code == 2 and text.endswith("nothing (there: none)\n") and "  " not in text
    (root / "other").mkdir()
    (root / "mnistm_kd" / "2026-b").rename(root / "other" / "2026-a")
    code, text = said(capsys, "2026-a", "2026-a", "--root", str(root))
    assert (code, text) == (2, "compare: run '2026-a' is one of several studies: name mnistm_kd/2026-a or other/2026-a\n")
