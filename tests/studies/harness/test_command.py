"""What the user types, and the one line and exit code that wrong input gets, before any work."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import toys

from analysis.core import records
from studies import forgetting
from studies.harness.arguments import parse
from studies.harness.command import run
from studies.harness.machine import available_cores
from studies.harness.plan import BEGIN, PAGE, RAY, cells_of
from studies.harness.students import cell_of
from studies.harness.study import InputError
from studies.mnistm_kd import STUDY

SCRIPT = Path(__file__).parents[3] / "studies" / "mnistm_kd.py"
SAMPLE = ("--data", "sample")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num-gpus", "4096"], "--num-gpus 4096: this machine has"),
        (["--num-cpus", "100000"], f"--num-cpus 100000: this machine has {available_cores()}"),
        (["--kd-weight", "0.5", "1.5"], "--kd-weight 1.5: must be in [0, 1]"),
        (["--kd-weight", "nan"], "--kd-weight nan: must be in [0, 1]"),
        (["--temperature", "0"], "--temperature 0: must be above 0"),
        (["--temperature", "warm"], "--temperature warm: must be a number"),
        (["--temperature", "1,4,16"], "--temperature 1,4,16: must be a number, above 0; values stand apart by spaces"),
        (["--teacher-view", "target,source"], "must be one of target, source; values stand apart by spaces"),
        (["--seeds", "three"], "--seeds three: must be a whole number"),
        (["--seeds=2.5"], "--seeds 2.5: must be a whole number"),
        (["--wait", "soon", "--seeds", "2"], "--wait soon: must be a number"),
        (["--lambda", "0.5"], "--lambda: no such flag; did you mean --kd-weight?"),
        (["smoke"], "smoke: belongs to no flag; did you mean --preset smoke?"),
        (["--teacher-view", "both"], "--teacher-view both: must be one of target, source"),
        (["--target-labels", "-3"], "--target-labels"),
        (["--temprature", "2"], "did you mean --temperature?"),
        (["--preset", "huge"], "huge"),
        (["--seeds", "0"], "--seeds 0: must be at least 1"),
        (["--address", "auto"], "--address auto: say how much of the cluster, --num-gpus N or --num-cpus N"),
        (["--wait", "-1"], "--wait -1: must be at least 0"),
        (["--resume", "latest"], "there is no run of mnistm_kd"),
        (["--resume", "latest", "--temperature", "2"], "use --extend"),
        (["--data-root", "/no/such/folder", "--data", "full"], "/no/such/folder"),
        (["--storage", "/proc/none"], "/proc/none"),
        (["--scheduler", "asha", "--address", "inline"], "needs Ray"),
        (["--search", "optuna", "--storage", "s3://bucket/x"], "must then be a folder"),
        (["--target-labels", "5501"], "--target-labels 5501: the data have 5,500 images to train on"),
        (["--target-labels", "100", "5000000", "--dry-run"], "--target-labels 5000000: the data have"),
        (["--data-root", "~nosuchuser/x"], "nobody has that home"),
        (["--storage", "~nosuchuser/x"], "nobody has that home"),
        (["--samples", "5"], "give --search random or optuna too"),
        (["--resume", ""], "--resume: needs the name of a run"),
        (["--extend", " "], "--extend: needs the name of a run"),
        (["--temperature", "1", "--temperature", "4"], "--temperature stands twice"),
        (["--temp", "2"], "did you mean --temperature?"),
        (["--wibble", "2"], "--wibble: no such flag (see --help)"),
        (["--seeds", "1000000000"], "a run may have at most 200,000 cells"),
        (["--seeds", "100000"], "cells, and a run may have at most 200,000"),
        (["--storage", __file__, "--dry-run"], f"{__file__} is a file"),
        (["--storage", f"{__file__}/deeper"], "deeper"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "--data" not in words:
        words = [*words, *SAMPLE]
    assert run(STUDY, words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mnistm_kd: ")][-1:]
    assert lines and said in lines[0]
    assert not list(tmp_path.iterdir()), "nothing was written"


def test_a_truncated_file_is_named_and_nothing_falls_back_to_the_sample(capsys, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images", "t10k-images"):
        (raw / f"{name}-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03")
    for name in ("train-labels", "t10k-labels"):
        (raw / f"{name}-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01")
    assert run(STUDY, ["--data-root", str(tmp_path), "--dry-run"]) == 2
    assert "idx3-ubyte" in capsys.readouterr().err


def test_help_and_dry_run_import_neither_torch_nor_ray(tmp_path):
    for words in (["--help"], ["--dry-run", *SAMPLE]):
        code = (
            "import sys, runpy, trainables.core.precision\n"
            "trainables.core.precision.instructions = lambda device: False\n"  # where there are any, steps are timed
            f"sys.argv = [{str(SCRIPT)!r}, *{words!r}]\n"
            "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "assert not {'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        if words == ["--help"]:
            for name, axis in STUDY.axes.items():
                assert name == "seed" or ("--" + name.replace("_", "-") in done.stdout and axis.help)
        else:
            assert "276 students" in done.stderr and "360 cells" in done.stderr


def test_dry_run_says_what_would_be_done(capsys):
    assert (
        run(
            STUDY,
            [
                "--dry-run",
                *SAMPLE,
                "--preset",
                "smoke",
                "--seeds",
                "1",
                "--temperature",
                "2",
                "--kd-weight",
                "0",
                "0.5",
            ],
        )
        == 0
    )
    said = capsys.readouterr().err
    assert "8 cells, 6 students" in said and "estimate" in said


def test_a_dry_run_of_several_grids_shows_each(capsys, tmp_path):
    assert run(forgetting.STUDY, ["--preset", "five", "--dry-run", *SAMPLE, "--storage", str(tmp_path)]) == 0
    said = capsys.readouterr().err.splitlines()
    axes, *grids, usual = [line for line in said if line.startswith(("axes ", "grid ", "otherwise "))]
    spaces = forgetting.STUDY.grids("five", "sample", {})
    assert [line.split()[1] for line in grids] == [str(math.prod(map(len, space.values()))) for space in spaces] and len(grids) > 1
    assert "seed" in axes and "strength" not in axes and all("seed" not in grid for grid in grids)
    assert usual.startswith("otherwise ") and "remedy" in usual and "strength" in usual  # no axis is unsaid
    assert sum("remedy lwf" in grid and "strength 0.3" in grid for grid in grids) == 1
    assert run(forgetting.STUDY, ["--dry-run", *SAMPLE, "--storage", str(tmp_path)]) == 0
    assert "\ngrid " not in capsys.readouterr().err


def estimate(capsys, storage, *words):
    capsys.readouterr()
    assert run(toys.study(), ["--dry-run", "--storage", str(storage), *words]) == 0
    return re.search(r"estimate  (?:(\d+) min|(\d+) s) \((.*)\)", capsys.readouterr().err)


def test_the_estimate_has_what_a_run_takes_beside_training(capsys, tmp_path):
    every = [
        ["--seeds", "1", "--num-cpus", "1", *more]
        for more in ([], ["--no-report"], ["--no-report", "--address", "inline"])
    ]
    local, no_page, inline = (int(estimate(capsys, tmp_path, *words)[2]) for words in every)
    assert local - no_page == PAGE and no_page - inline == RAY and inline > BEGIN
    assert run(toys.study(), [*every[2], "--storage", str(tmp_path)]) == 0
    file = next(tmp_path.glob("toy/*/run.json"))
    info = json.loads(file.read_text())
    assert "fixed_seconds" not in info, "what took no time tells nothing"
    file.write_text(json.dumps(records.sealed({**info, "core_seconds_per_student": 0.5, "fixed_seconds": 30})))
    found = estimate(capsys, tmp_path, *every[2])
    assert int(found[2]) == 30 + 7 and found[3].startswith("as run"), "14 students of half a second"


@pytest.mark.parametrize(
    ("words", "flags"),
    [((), "--data sample --preset tour"), (("DATA=full",), "--data full"), (("STUDY=forgetting",), "--data sample"),
     (("FLAGS=--seeds 1",), "--data sample --seeds 1"), (("FLAGS=--dataset mnist",), "--data sample --dataset mnist"),
     (("FLAGS=--data-root X",), ".py  --data-root X")],
)  # fmt: skip
def test_make_run_shows_a_first_figure_soon(words, flags):
    apart = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}  # the suite itself is run by make
    command = ["make", "-n", "run", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPT.parents[1], env=apart)
    assert done.returncode == 0 and done.stdout.rstrip().endswith(flags)


def test_the_study_and_its_trainable_agree_on_the_config():
    cls = STUDY.load()
    for preset in STUDY.presets:
        cells = cells_of(STUDY, STUDY.chosen(preset, "full", {}))
        for cell in (cells[0], cells[-1]):
            assert cls.config_type(**STUDY.canonical(cell.config))


def test_input_errors_have_one_line():
    with pytest.raises(InputError):
        STUDY.axes["steps"].parse("steps", ["1.5"])


@pytest.mark.parametrize(
    ("data", "named", "otherwise"), [("auto", False, True), ("auto", True, False), ("full", True, False)]
)
def test_a_dry_run_downloads_nothing_and_says_that_a_run_would(data, named, otherwise, capsys, tmp_path, monkeypatch):
    """A root that the user names and that lacks the data is never passed over for the sample."""
    from trainables.core import data as datasets

    monkeypatch.setattr(datasets, "answering", lambda *_: pytest.fail("a mirror was asked"))
    root = ["--data-root", str(tmp_path)] if named else []
    assert run(STUDY, ["--dry-run", "--data", data, *root, "--storage", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "if a run can download them" in said and ("else the shipped sample" in said) == otherwise
    assert "MNIST is not in" in said and not list(tmp_path.iterdir())


def test_configs_with_the_same_mathematics_are_one_student():
    cell = {name: axis.values[-1] for name, axis in STUDY.axes.items()} | {"kd_weight": 0.5, "target_labels": "all"}
    student = lambda **changes: cell_of(STUDY, {**cell, **changes}).student  # noqa: E731
    assert student(target_labels="55000") == student(target_labels="60000") == student()
    assert student(target_labels="54999") != student() and student(rounds=2) != student(filtering="confident")
    assert student(adaptation="batch_norm") == student(), "this teacher has no statistics"
    assert student(adaptation="batch_norm", teacher="cnn_norm") != student(teacher="cnn_norm")
    assert student(kd_weight=1.0, target_labels="500") == student(kd_weight=1.0)
    untaught = student(kd_weight=0.0)
    for changes in ({"rounds": 3}, {"filtering": "confident"}, {"adaptation": "batch_norm"}, {"temperature": 2.0}):
        assert student(kd_weight=0.0, **changes) == untaught
    assert student(kd_weight=0.0, augmentation="inversion") != untaught, "what the student sees is its own"


def test_where_runs_go_is_told_by_the_node(monkeypatch):
    monkeypatch.setenv("STILLROOM_STORAGE", "s3://bucket/prefix")
    assert parse(STUDY, []).storage == "s3://bucket/prefix"
    assert parse(STUDY, ["--storage", "here"]).storage == "here"
