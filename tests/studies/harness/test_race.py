"""Seeds that are added where validation leaves cells open. An arithmetic toy with noise stands in for training."""

import dataclasses
import json
import os
import signal
from typing import ClassVar

import numpy as np
import pytest

from analysis.core import records
from analysis.core.choice import choose
from analysis.core.contrasts import told_from
from studies.harness import Preset, Study, above, at_least, grid, one_of
from studies.harness.arguments import parse
from studies.harness.command import run
from studies.harness.folder import RunFolder
from studies.harness.study import InputError
from trainables.core.contract import Trainable

TOY = Study(
    name="toy", question="A toy.", trainable="nowhere:Nothing", metric="val_accuracy", mode="max", metrics=("val_accuracy", "test_accuracy"), datasets=(),
    trials={"view": grid("near", "far", limit=one_of("near", "far"))},
    students={"temperature": grid(1.0, 2.0, 4.0, limit=above(0)), "kd_weight": grid(0.0, 0.5, limit=at_least(0)), "seed": grid(0, 1, 2)},
    presets={"course": Preset("all")},
    canonical=lambda config: {**config, "temperature": 1.0} if config["kd_weight"] == 0 else config,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    view: str
    temperature: float
    kd_weight: float
    seed: int


class Toy(Trainable):
    """One evaluation. mean: of a config, noise: its standard deviation; before: called first in each step."""

    config_type = Config
    may_differ = frozenset({"temperature", "kd_weight"})
    mean: ClassVar = staticmethod(lambda config: 0.9)
    noise: ClassVar = 0.004
    before: ClassVar = staticmethod(lambda: None)

    def __init__(self, pack, datasets, answers, device):
        self.pack, self.steps = pack, 0

    @property
    def finished(self):
        return self.steps == 1

    @staticmethod
    def artifact(config):
        return config.view

    @staticmethod
    def student_bytes(config):
        return 1

    @classmethod
    def prepare(cls, artifact, datasets, device):
        return None, {"teacher": artifact, "seconds": 0.0}

    def step(self):
        type(self).before()
        self.steps += 1
        return [self.row(config) for config in self.pack]

    def row(self, config):
        key = [("near", "far").index(config.view), int(4 * config.temperature), int(4 * config.kd_weight), config.seed]
        val, test = self.mean(config) + self.noise * np.random.default_rng(key).normal(size=2)
        return {"step": 1, "fraction": 1.0, "status": "done", "seconds": 0.0, "val_accuracy": val, "test_accuracy": test}

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Runs the toy inline; the last rows of its cells."""
    monkeypatch.setattr(Study, "load", lambda self: Toy)
    for name in ("mean", "noise", "before"):
        monkeypatch.setattr(Toy, name, Toy.__dict__[name])

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
    monkeypatch.setattr(Toy, "mean", staticmethod(near_is_hard))
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
    monkeypatch.setattr(Toy, "mean", staticmethod(near_is_hard))
    whole = go("--decide", storage=tmp_path / "whole")
    steps = iter(range(10**6))

    def before():
        if next(steps) == 9:  # the grid has 6 packs
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Toy, "before", staticmethod(before))
    if not (child := os.fork()):
        go("--decide", code=130, storage=tmp_path / "part")
        os._exit(0)
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
    go("--view", "near", "--decide", "0.2", "--budget", "1")
    info = json.loads(next(tmp_path.glob("toy/*/run.json")).read_text())
    assert info["noise"] == pytest.approx(Toy.noise, rel=0.6) and info["margin"] == pytest.approx(0.002)
    capsys.readouterr()
    go("--view", "near", "--seeds", "4", "--dry-run")
    least = 100 * told_from(info["noise"], 4, 4, 0.95)
    assert f"4 seeds tell differences from about {least:.2g} points of val_accuracy on, among 4" in capsys.readouterr().err
    go("--view", "near", "--seeds", "1", "--dry-run")
    assert "one seed tells no differences" in capsys.readouterr().err
    go("--view", "far", "--dry-run")
    assert "verdicts" not in capsys.readouterr().err, "nobody knows the noise there"


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
    assert parse(TOY, ["--decide"]).decide == parse(TOY, ["--decide", "--seeds", "2"]).decide == 0.5
    assert parse(TOY, ["--seeds", "2", "--decide", "0.25"]).decide == 0.25 and parse(TOY, []).decide is None
