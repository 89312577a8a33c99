"""Do the pages still say what they said? Small runs of every study, made and drawn by a named commit, drawn again by this tree.

    python tests/kept_runs.py make COMMIT DIR       runs of all presets by that commit, and what its pages say of them
    python tests/kept_runs.py compare DIR [STUDY]   draws the same run folders with this tree; names every number that moved

`make` may be typed again: it goes on where it stopped. The runs use the shipped sample and train for a few steps, so their numbers
mean nothing; they need only be the same.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHORT = ["--steps", "24", "--seeds", "2"]
HEARD = ["--temperature", "1", "4", "16", "--kd-weight", "0", "0.5", "1"]
BRIEF = [*SHORT, "--teacher-steps", "40"]
TINY = ["--network", "airbench_small", "--weights", "random", "--resolution", "32", "--passes", "1", "--seeds", "2"]
FEW = [
    "--train-size",
    "60",
    "--val-size",
    "30",
    "--test-size",
    "50",
    "--batch-size",
    "20",
    "--resolution",
    "32",
    "--seeds",
    "2",
    "--steps",
    "12",
]

# study: {label of the run: words of the command}; a label that begins with a preset's name runs that preset
RUNS: dict[str, dict[str, list[str]]] = {
    "mnistm_kd": {
        "smoke": ["--seeds", "3"],
        "course": [*BRIEF, "--temperature", "1", "4", "16"],
        "unlabelled": [*BRIEF, "--precision", "fp32"],
        "paper": [*BRIEF, *HEARD, "--target-labels", "100", "all", "--network", "cnn_small"],
        "course-random": [*BRIEF, "--search", "random", "--samples", "8", "--target-labels", "500"],
    },
    "mnist_kd": {
        "smoke": ["--seeds", "3"],
        "course": BRIEF, "control": BRIEF, "widths": [*BRIEF, "--train-size", "500", "all"], "paper": [*BRIEF, "--precision", "fp32"],
        "course-failed": [*BRIEF, "--lr", "0.08", "1e30", "--temperature", "1", "4"],
        "course-one-seed": ["--steps", "24", "--seeds", "1", "--teacher-steps", "40", "--temperature", "1", "4"],
    },
    "missing_digit": {
        "smoke": [], "course": BRIEF,
        "paper": [*BRIEF, "--network", "mlp_300", "--omitted", "none", "3", "01234569", "--temperature", "2", "20"],
    },
    "kd_gradients": {
        "smoke": [], "course": [*BRIEF, "--dataset", "mnist", "cifar10"],
        "paper": [*BRIEF, "--dataset", "fashion_mnist", "--network", "cnn_small", "--temperature", "1", "8", "64"],
    },
    "two_teachers_kd": {
        "smoke": [],
        "course": [*BRIEF, "--generator-steps", "12", "--pool", "500", "--temperature", "1", "4"],
        "liftings": [*BRIEF, "--generator-steps", "12", "--pool", "500", "--inputs", "real", "strokes", "--temperature", "1", "4"],
        "paper": [*BRIEF, "--generator-steps", "12", "--pool", "500", "--inputs", "noise", "--network", "cnn_small_norm", "--kd-weight", "0", "0.5", "1"],
    },
    "dataset_distillation": {"smoke": []},
    "combined_distillation": {"smoke": []},
    "pairwise_logreg": {
        "smoke": [], "course": ["--seeds", "2", "--features", "pooled", "pca", "--l2", "1", "0.1", "0.01"],
        "paper": ["--seeds", "2", "--features", "pca", "--components", "16", "--l2", "1", "0.1"],
        "course-pixels": ["--seeds", "2", "--features", "pixels", "--l2", "1", "0.1"],
    },
    "forgetting": {
        "smoke": ["--seeds", "3"], "course": [*SHORT, "--old-steps", "30", "--strength", "0.1", "10", "1000"],
        "rates": [*SHORT, "--old-steps", "30"], "five": ["--seeds", "2", "--steps", "12", "--width", "32"],
        "paper": [*SHORT, "--old-steps", "30", "--strength", "1", "100", "--width", "16", "32", "--network", "mlp"],
    },
    "repeat_copy": {
        "smoke": ["--seeds", "3"], "course": ["--steps", "60", "--seeds", "2", "--max-length", "3", "--cells", "16"],
        "paper": ["--steps", "40", "--seeds", "2", "--max-length", "3", "--cells", "16", "--bits", "2"],
    },
    "cifar10_transfer": {
        "smoke": [], "course": [*TINY, "--lr", "0.01", "0.1"], "own": [*TINY, "--train-size", "60"], "families": [*TINY, "--train-size", "60"],
        "paper": [*TINY, "--train-size", "60", "200", "--lr", "0.01"],
        "course-lite": ["--train-size", "40", "--passes", "1", "--seeds", "2", "--network", "efficientnet_lite0", "--resolution", "32", "--lr", "0.001", "0.01", "--weight-decay", "0", "0.3", "--unfreezing", "head", "all", "--precision", "fp32"],
    },
    "finetuning": {
        "smoke": ["--seeds", "3"], "course": [*FEW, "--network", "airbench_small", "--weights", "random", "--statistics", "batch"],
        "paper": [*FEW, "--network", "airbench_small", "--weights", "random", "--statistics", "batch"],
    },
    "pseudo_labels": {
        "smoke": [], "course": SHORT, "cnn": SHORT, "targets": SHORT, "rounds": SHORT, "cifar10": [*SHORT, "--labels", "50", "200"],
        "paper": [*SHORT, "--labels", "40", "100", "--network", "mlp_300", "--rounds", "2", "--dataset", "mnist"],
    },
}  # fmt: skip
EXTENDED = ("mnistm_kd", ["--seeds", "4"])  # a copy of its smoke run
INTERRUPTED = "forgetting"  # a copy of its course, stopped after the first rows


def make(commit: str, folder: Path) -> None:
    tree = folder / "tree"
    if not tree.exists():
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", tree, commit], check=True)
    jobs = [(study, label, words) for study, of in RUNS.items() for label, words in of.items()]
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for line in pool.map(lambda job: one(tree, folder, *job), jobs):
            print(line, flush=True)
    print(extend(tree, folder), flush=True)
    print(interrupt(tree, folder), flush=True)


def command(tree: Path, folder: Path, study: str, label: str, words: list[str]) -> list[str]:
    preset = label.partition("-")[0]
    common = [
        "--data",
        "sample",
        "--address",
        "inline",
        "--num-cpus",
        "1",
        "--storage",
        str(storage(folder, label)),
        "--no-report",
    ]
    return [sys.executable, str(tree / "studies" / f"{study}.py"), "--preset", preset, *common, *words]  # fmt: skip


def storage(folder: Path, label: str) -> Path:
    return folder / "results" / label


def environment(tree: Path, folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "STILLROOM_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def train(tree: Path, folder: Path, line: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(line, env=environment(tree, folder), cwd=folder, capture_output=True, text=True)


def run_of(folder: Path, study: str, label: str) -> Path | None:
    found = sorted((storage(folder, label) / study).glob("*/run.json"))
    return found[-1].parent if found else None


def one(tree: Path, folder: Path, study: str, label: str, words: list[str]) -> str:
    """Trains and draws one run; what was done already is kept."""
    record = folder / "said" / study / f"{label}.json"
    if record.exists():
        return f"{study} {label}: kept"
    start = time.monotonic()
    done = train(tree, folder, command(tree, folder, study, label, words))
    run = run_of(folder, study, label)
    if run is None:
        return f"{study} {label}: NO RUN, exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
    keep(tree, folder, study, label, run)
    return f"{study} {label}: exit {done.returncode}, {time.monotonic() - start:.0f} s"


def extend(tree: Path, folder: Path) -> str:
    study, words = EXTENDED
    if (folder / "said" / study / "smoke-extended.json").exists():
        return f"{study} smoke-extended: kept"
    shutil.copytree(storage(folder, "smoke") / study, storage(folder, "smoke-extended") / study, dirs_exist_ok=True)
    line = command(tree, folder, study, "smoke-extended", ["--extend", "latest", *words])
    done = train(tree, folder, line)
    run = run_of(folder, study, "smoke-extended")
    assert run is not None, done.stderr
    keep(tree, folder, study, "smoke-extended", run)
    return f"{study} smoke-extended: exit {done.returncode}"


def interrupt(tree: Path, folder: Path) -> str:
    study, label = INTERRUPTED, "course-interrupted"
    if (folder / "said" / study / f"{label}.json").exists():
        return f"{study} {label}: kept"
    line = command(tree, folder, study, label, RUNS[study]["course"])
    process = subprocess.Popen(line, env=environment(tree, folder), cwd=folder, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(storage(folder, label).glob("*/*/rows/*.parquet"))) < 24:
        time.sleep(0.02)
    process.terminate()  # a shell may have told its children to ignore Ctrl-C
    code = process.wait()
    run = run_of(folder, study, label)
    assert run is not None and code == 130, f"exit {code}"
    keep(tree, folder, study, label, run)
    return f"{study} {label}: exit {code}"


def keep(tree: Path, folder: Path, study: str, label: str, run: Path) -> None:
    """Draws a run where it lies and keeps what the page said."""
    record = folder / "said" / study / f"{label}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(draw(tree, folder, study, run), indent=1, ensure_ascii=False))


def draw(tree: Path, folder: Path, study: str, run: Path) -> dict:
    done = subprocess.run(
        [sys.executable, str(tree / "analysis" / f"{study}.py"), str(run)],
        env=environment(tree, folder), cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout.partition("\nFigures in")[0]
    return {
        "run": str(run.relative_to(folder)), "exit": done.returncode, "error": done.stderr, "sentences": said.splitlines(),
        "figures": sorted(p.name for p in run.glob("figures/*")),
    }  # fmt: skip


# Comparison


def numbers(sentences: list[str]) -> Counter:
    return Counter(n for s in sentences for n in re.findall(r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?", s))


def compare(folder: Path, only: list[str]) -> int:
    """Draws every kept run with this tree, in a copy of its folder, and prints what differs. The number of pages that do."""
    jobs = [p for p in sorted((folder / "said").glob("*/*.json")) if not only or p.parent.name in only]
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        return sum(pool.map(lambda path: against(folder, path), jobs))


def against(folder: Path, record: Path) -> bool:
    study, label = record.parent.name, record.stem
    before = json.loads(record.read_text())
    told = []
    copy = folder / "again" / label / study / Path(before["run"]).name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / before["run"], copy, ignore=shutil.ignore_patterns("figures", "report.*", "tune"))
    if not label.endswith("-failed"):  # one run stays as it was made: older runs are still drawn
        add_tables(study, copy)
    after = draw(ROOT, folder, study, copy)
    if before["exit"] != after["exit"]:
        told.append(f"exit {before['exit']} -> {after['exit']}: {after['error'].strip()[-400:]}")
    elif after["error"] != before["error"]:
        told.append(f"stderr: {before['error'].strip()[-200:]!r} -> {after['error'].strip()[-200:]!r}")
    old, new = numbers(before["sentences"]), numbers(after["sentences"])
    for sign, gone, texts in (("-", old - new, before["sentences"]), ("+", new - old, after["sentences"])):
        told += [f"{sign} {' '.join(hit)}   in: {s}" for s in texts if (hit := [n for n in numbers([s]) if n in gone])]
    told += [f"figure gone: {name}" for name in before["figures"] if name not in after["figures"]]
    told += [f"figure new: {name}" for name in after["figures"] if name not in before["figures"]]
    print(f"== {study} {label}: {'the same' if not told else ''}", *told, sep="\n   " if told else "", flush=True)
    return bool(told)


def add_tables(study: str, run: Path) -> None:
    """The tables `students` and `cells` that a run has today, from the plan in its run.json and its rows."""
    import importlib

    import pyarrow as pa
    import pyarrow.parquet as pq

    from analysis.core import records
    from studies.harness.plan import cells_of
    from studies.harness.students import cell_of

    of, info, rows = importlib.import_module(f"studies.{study}").STUDY, records.info(run), records.read(run)
    points = rows[list(of.axes)].drop_duplicates().to_dict("records")
    if info["search"] == "grid":
        points = [cell.config for grid in info["grids"] for cell in cells_of(of, grid)]
    cells = list({tuple(c.config.values()): c for c in (cell_of(of, point) for point in points)}.values())
    lines = {
        "cells": [{**c.config, "student": c.student} for c in cells],
        "students": list({c.student: {"student": c.student, **of.canonical(c.config)} for c in cells}.values()),
    }
    for name, table in lines.items():
        (run / name).mkdir()
        known = pa.Table.from_pylist(table).replace_schema_metadata({"axes": json.dumps(list(of.axes))})
        pq.write_table(known, run / name / "plan.parquet")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], Path(sys.argv[3]).resolve())
    else:
        sys.exit(min(compare(Path(sys.argv[2]).resolve(), sys.argv[3:]), 1))
