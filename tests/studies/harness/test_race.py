"""Seeds that are added where validation leaves cells open. An arithmetic toy with noise stands in for training."""

import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from toys import Toy, study

from analysis.core import records
from analysis.core.choice import choose
from analysis.core.contrasts import told_from
from studies.harness.arguments import parse
from studies.harness.command import run
from studies.harness.folder import RunFolder
from studies.harness.study import InputError

TOY = study(views=("near", "far"), kd_weights=(0.0, 0.5), seeds=3)
NOISE = 0.004


def noisy(mean, noise=NOISE):
    """Validation and test accuracy about the mean of a config."""

    def measure(config):
        key = [("near", "far").index(config.view), int(4 * config.temperature), int(4 * config.kd_weight), config.seed]
        return mean(config) + noise * np.random.default_rng(key).normal(size=2)

    return staticmethod(measure)


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Runs the toy inline; the last rows of its cells."""
    monkeypatch.setattr(Toy, "evaluations", 1)
    monkeypatch.setattr(Toy, "measure", noisy(lambda config: 0.9))

    def go(*words, code=0, storage=tmp_path):
        common = ["--address", "inline", "--num-cpus", "1", "--no-report", "--storage", str(storage)]
        assert run(TOY, [*common, *words]) == code
        return records.final(records.read(next(iter(storage.glob("toy/*")))))

    return go


def seeds(rows, **cell):
    for name, value in cell.items():
        rows = rows[rows[name] == value]
    return rows["seed"].nunique()


def near_is_hard(config):
    """In `near` two cells are as good and the others far below; in `far` one is far above."""
    if config.view == "far":
        return 0.9 if (config.temperature, config.kd_weight) == (4.0, 0.5) else 0.6
    return 0.9 if config.kd_weight and config.temperature > 1 else 0.6


def test_seeds_go_to_the_cells_that_are_open_until_all_is_decided(go, monkeypatch):
    monkeypatch.setattr(Toy, "measure", noisy(near_is_hard))
    rows = go("--decide", "0.5", "--budget", "200")
    assert seeds(rows, view="far") == 3, "nothing was open there"
    assert seeds(rows, view="near", kd_weight=0.0) == seeds(rows, view="near", temperature=1.0, kd_weight=0.5) == 3
    raced = [seeds(rows, view="near", temperature=t, kd_weight=0.5) for t in (2.0, 4.0)]
    assert raced[0] == raced[1] > 3
    choice = choose(rows[rows["view"] == "near"], ["temperature", "kd_weight"], report="val_accuracy", margin=0.005)
    assert choice.state("open").empty and len(choice.state("as good")) == 1


def test_among_equals_the_race_ends_with_its_budget_and_without_a_winner(go, capsys):
    rows = go("--decide", "0.01", "--budget", "30", "--view", "near")
    grid_students = 3 * (1 + 3)
    assert grid_students < rows["student"].nunique() <= grid_students + 30
    assert "the budget of 30 bears no further round" in capsys.readouterr().err
    choice = choose(rows, ["temperature", "kd_weight"], report="val_accuracy", margin=0.0001)
    assert not choice.stands_out and set(choice.rivals["state"]) <= {"open", "as good"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_race_goes_on_to_the_same_rows(go, tmp_path, monkeypatch, number):
    monkeypatch.setattr(Toy, "measure", noisy(near_is_hard))
    whole = go("--decide", storage=tmp_path / "whole")
    steps = iter(range(10**6))

    def before():
        if next(steps) == 11:  # the grid has 6 packs and two teachers
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Toy, "before", staticmethod(before))
    if not (child := os.fork()):
        try:
            go("--decide", code=130, storage=tmp_path / "part")
            os._exit(0)
        finally:
            os._exit(1)  # not on into the tests of its parent
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended == (0 if number == signal.SIGINT else -number)
    part = records.read(next((tmp_path / "part").glob("toy/*")))
    assert 24 <= part["student"].nunique() < whole["student"].nunique()
    resumed = go("--resume", "latest", storage=tmp_path / "part")
    columns = [*TOY.axes, "student", "val_accuracy", "test_accuracy"]
    sort = [part[columns].sort_values(columns, ignore_index=True) for part in (whole, resumed)]
    assert sort[0].equals(sort[1])


def test_no_decision_reads_test(go, monkeypatch):
    read = []
    plain = RunFolder.read_rows
    monkeypatch.setattr(RunFolder, "read_rows", lambda self, *a, **k: read.append((a, k)) or plain(self, *a, **k))
    go("--decide", "--budget", "4")
    assert read and all("test_accuracy" not in k["columns"] for _, k in read if "columns" in k)
    assert any("columns" in k for _, k in read)


def test_what_fails_does_not_keep_a_race_alive(go, monkeypatch):
    def fail(self, config):
        row = Toy.whole(self, config)
        return row if config.seed < 3 else {"step": 0, "status": "failed", "error": "no", "seconds": 0.0}

    monkeypatch.setattr(Toy, "whole", Toy.row, raising=False)
    monkeypatch.setattr(Toy, "row", fail)
    rows = go("--decide", "--budget", "12", code=1)
    assert rows["seed"].max() == 2


def test_a_finished_run_knows_its_noise_and_the_next_dry_run_says_what_seeds_can_tell(go, tmp_path, capsys):
    assert run(TOY, ["--view", "near", "--dry-run", "--storage", str(tmp_path)]) == 0
    assert "verdicts" not in capsys.readouterr().err, "before the first run nobody has asked"
    go("--view", "near", "--decide", "0.2", "--budget", "1")
    info = json.loads(next(tmp_path.glob("toy/*/run.json")).read_text())
    assert info["noise"] == pytest.approx(NOISE, rel=0.6) and info["margin"] == pytest.approx(0.002)
    capsys.readouterr()
    go("--view", "near", "--seeds", "4", "--dry-run")
    least = 100 * told_from(info["noise"], 4, 4, 0.95)
    told = f"with 4 seeds, differences of about {least:.2g} points of val_accuracy or more are told"
    assert told in capsys.readouterr().err
    go("--view", "near", "--seeds", "1", "--dry-run")
    assert "one seed tells no differences" in capsys.readouterr().err
    go("--view", "far", "--dry-run")
    said = capsys.readouterr().err
    assert said.count("verdicts") == 1 and "differences of about" not in said, "nobody knows the noise there"
    assert "verdicts  how small a difference 3 seeds can tell is known once such a run is done here" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--decide", "0"], "must be above 0"),
        (["--decide", "--scheduler", "asha"], "leave out --search and --scheduler"),
        (["--budget", "5"], "give that too"),
        (["--decide", "--budget", "0"], "at least 1"),
    ],
)
def test_what_makes_no_sense_is_said(words, said):
    with pytest.raises(InputError, match=said):
        parse(TOY, words)


def test_the_flag_may_stand_alone_or_say_the_points():
    assert parse(TOY, ["--decide"]).decide == parse(TOY, ["--decide", "--seeds", "2"]).decide == math.inf
    assert parse(TOY, ["--seeds", "2", "--decide", "0.25"]).decide == 0.25 and parse(TOY, []).decide is None
    for toy, words in ((TOY, ["--decide", "inf"]), (replace(TOY, margin=0.0), ["--decide"])):  # the second has no margin of its own
        with pytest.raises(InputError, match="must be above 0"):
            parse(toy, words)
