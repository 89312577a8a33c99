"""The smoke preset of every study, from the command line to its page, on the shipped sample; and the study that CONTRIBUTING
writes."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from analysis.core import anew, records, report

ROOT = Path(__file__).parents[3]
STUDIES = sorted(p.stem for p in (ROOT / "studies").glob("*.py") if p.stem != "__init__")


ANSWERED = {
    "combined_distillation": "better off with both", "dataset_distillation": "can few images stand for all", "inference_speed": "The fastest that loses",
    "metric_imbalance": "are sensitive to imbalance", "scalar_quantization": "for the vote of ten neighbours",
    "search_quality": "Which metric orders two pages",
}  # fmt: skip
"""What the first sentence of a page answers, beside the verdict."""


@pytest.mark.parametrize("study", STUDIES)
def test_the_smoke_preset_gives_rows_figures_and_sentences(study, tmp_path, cache):
    storage = tmp_path / "a?b #c%20d=1 лампы"  # whatever a path may have
    words = [
        "--preset",
        "smoke",
        "--data",
        "sample",
        "--address",
        "inline",
        "--num-cpus",
        "1",
        "--storage",
        str(storage),
    ]
    script = str(ROOT / "studies" / f"{study}.py")
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    offered = [line for line in done.stderr.splitlines() if line.startswith("next ")]
    assert any("the default preset" in line and "--preset" not in line for line in offered)
    run = records.find_run(study, "latest", root=storage)
    info = json.loads((run / "run.json").read_text())
    rows = records.read(run)
    final = records.final(rows)
    assert info["status"] == "done" and final["student"].nunique() == info["students"]
    assert set(rows["data"]) == {info["data"]}
    goals = info["goals"]  # where tasks have metrics of their own
    chosen_on = [line[goals[line["task"]] if goals else info["metric"]] for line in final.to_dict("records")]
    assert not any(map(math.isnan, chosen_on))
    assert list((run / "figures").glob("*.png")) and (run / "report.html").stat().st_size > 10_000
    assert_whole(run)
    assert_counted(report.open_run(run))
    sentences = done.stdout.split("\nFigures in")[0]
    assert "nan" not in sentences.lower().replace("finan", ""), sentences
    assert len(sentences.strip().splitlines()) >= 2
    if study in ANSWERED:
        drawn, notebook = report.open_run(run), nbformat.read(run / "report.ipynb", as_version=4)
        about = {*drawn.warnings(), *drawn.caveats()}
        answer = [sentence for sentence in report.marked(notebook, "answer") if sentence not in about]
        assert len(answer) <= 5 and ANSWERED[study] in answer[0] and "Holm" not in "".join(answer), answer
        assert report.marked(notebook, "details")


def assert_counted(drawn):
    """What was taken for what is counted over all test images, so that its diagonal is the test accuracy of every student."""
    if len(counts := drawn.table("confusions")):
        right = counts[counts["truth"] == counts["answer"]].groupby("student")["images"].sum()
        done = records.final(drawn.rows)
        done = done[done["status"] == "done"].drop_duplicates("student").set_index("student")
        shares = (right / counts.groupby("student")["images"].sum()).reindex(done.index)
        np.testing.assert_allclose(shares, done["test_accuracy"], atol=1e-6)


def assert_whole(run):
    """What the notebook shows, its report shows: every table, figure and surface to turn, once."""
    cells = json.loads((run / "report.ipynb").read_text())["cells"]
    shown = [output["data"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
    seen, html = (run / "report.html").read_text(), ["".join(data.get("text/html", "")) for data in shown]
    assert seen.count('class="dataframe"') == sum(text.count('class="dataframe"') for text in html) > 0
    assert seen.count("<img") == sum("image/png" in data for data in shown) > 0
    turned = [text.split('<script type="application/json"')[0] for text in html if 'class="turn"' in text]
    assert all(text in seen for text in turned) and len(turned) == len(list((run / "figures").glob("*.html")))


def test_a_search_is_told_by_optunas_figures_in_the_report(tmp_path, cache):
    words = ["--preset", "smoke", "--data", "sample", "--num-cpus", "1", "--storage", str(tmp_path)]
    words += ["--search", "optuna", "--samples", "4", "--seeds", "1", "--teacher-view", "source", "--target-labels", "500"]
    done = subprocess.run([sys.executable, str(ROOT / "studies" / "mnistm_kd.py"), *words], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    run = records.find_run("mnistm_kd", "latest", root=tmp_path)
    assert_whole(run)
    seen = (run / "report.html").read_text()
    assert all(f"The search, {name}" in seen for name in ("history", "importance", "slice", "parallel coordinates", "contour"))


def last_code(folder):
    """The code of a notebook that trains a student anew."""
    cells = json.loads((folder / "report.ipynb").read_text())["cells"]
    return next("".join(c["source"]) for c in cells if "anew" in "".join(c["source"]) and c["cell_type"] == "code")


def photos(root, colours):
    """A folder of one's own images: a class for each colour."""
    for name, colour in colours.items():
        (root / "train" / name).mkdir(parents=True)
        for i in range(40):
            Image.new("RGB", (32, 32), tuple(min(255, c + i) for c in colour)).save(root / "train" / name / f"{i}.png")
    return root


def test_the_notebook_of_a_run_on_own_images_trains_on_these_or_not_at_all(tmp_path, cache):
    ours = photos(tmp_path / "photos", {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)})
    others = photos(tmp_path / "others", {"red": (200, 9, 0), "green": (9, 200, 0), "blue": (9, 0, 200)})
    words = ["--preset", "smoke", "--data-root", str(ours), "--address", "inline", "--num-cpus", "1", "--storage", str(tmp_path)]
    script = str(ROOT / "studies" / "cifar10_transfer.py")
    subprocess.run([sys.executable, script, *words], check=True, capture_output=True, timeout=280)
    folder = records.find_run("cifar10_transfer", root=tmp_path)
    code, run = last_code(folder), report.open_run(folder)
    names = {"run": run}
    exec(code, names)
    new, old = names["new"].iloc[0], names["old"]
    assert new["data"] == "own" and new["student"] == old["student"] and new["preset"] == old["preset"]
    assert new["test_accuracy"] == pytest.approx(old["test_accuracy"], abs=0.05)  # a test image is 5 points
    (line,) = [text for text in code.splitlines() if text.startswith("DATA_ROOT = ")]
    lost = "write their folder into DATA_ROOT"
    for there, said in ((others, "their digest is another"), (tmp_path / "nothing", lost), (None, lost)):
        with pytest.raises(anew.Stopped, match=said) as stopped:
            exec(code.replace(line, f"DATA_ROOT = {there and str(there)!r}"), {"run": run})
        assert stopped.value._render_traceback_() == [str(stopped.value)] and "\n" not in str(stopped.value)
    shutil.rmtree(ours)  # as on the machine of whoever marks it
    execute = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output", "again.ipynb", "report.ipynb"]
    subprocess.run(execute, check=True, capture_output=True, timeout=280, cwd=folder)
    assert lost in (folder / "again.ipynb").read_text()


def test_the_notebook_trains_one_student_anew_and_it_is_the_same(tmp_path, cache):
    words = ["--preset", "smoke", "--data", "sample", "--address", "inline", "--num-cpus", "1", "--storage", str(tmp_path)]
    script = str(ROOT / "studies" / "pairwise_logreg.py")
    subprocess.run([sys.executable, script, *words], check=True, capture_output=True, timeout=280)
    folder = records.find_run("pairwise_logreg", "latest", root=tmp_path)
    names = {"run": report.open_run(folder)}
    exec(last_code(folder), names)
    new, old = names["new"].iloc[0], names["old"]
    assert len(names["new"]) == 1 and new["student"] == old["student"]
    assert new["test_accuracy"] == pytest.approx(old["test_accuracy"], abs=1e-3)


def test_the_study_that_contributing_writes_runs_as_printed(tmp_path, cache):
    for package in ("studies", "trainables", "analysis"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    files = [tmp_path / p for p in ("trainables/noise.py", "studies/label_noise.py", "analysis/label_noise.py")]
    for file, text in zip(files, blocks, strict=True):
        file.write_text(text)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # the rules of the linter
    lint = subprocess.run([sys.executable, "-m", "ruff", "check", *files], cwd=tmp_path, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout
    words = [files[1], "--preset", "smoke", "--data", "sample", "--address", "inline", "--num-cpus", "1"]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "40 % wrong labels: validation chooses lr" in done.stdout
