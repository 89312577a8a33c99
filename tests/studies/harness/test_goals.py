"""A study of several tasks: each is chosen on its own metric, by progress, race, search and all that a later session reads."""

import dataclasses
from types import SimpleNamespace

import pytest
import toys

from studies.harness import Preset, grid, one_of
from studies.harness.command import run
from studies.harness.earlier import Earlier
from studies.harness.folder import RunFolder, runs
from studies.harness.ledger import Ledger
from studies.harness.race import noise, settings_of

STUDY = dataclasses.replace(
    toys.study(),
    trials={"task": grid("a", "b", limit=one_of("a", "b"))},
    trainable="test_goals_toy:Tasks",
    metric="val_accuracy",
    goals={"a": "val_accuracy", "b": "val_quality_share"},
    metrics=("val_accuracy", "val_quality_share"),
    presets={"course": Preset("all")},
)


@dataclasses.dataclass(frozen=True)
class Config:
    task: str
    temperature: float
    kd_weight: float
    seed: int


class Tasks(toys.Toy):
    config_type = Config
    evaluations = 1

    @staticmethod
    def artifact(config):
        return None

    def step(self):
        self.steps += 1
        metric = STUDY.goals[self.pack[0].task]
        low = {"a": 0.0, "b": 0.5}[self.pack[0].task]
        return [
            {"step": 1, "status": "done", "seconds": 0.0, metric: low + c.kd_weight / 10} for c in self.pack
        ]  # fmt: skip


@pytest.fixture
def ran(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(type(STUDY), "load", lambda self: Tasks)
    monkeypatch.chdir(tmp_path)
    assert run(STUDY, ["--address", "inline", "--no-report"]) == 0
    folder = RunFolder("results", "toy", runs("results", "toy")[-1])
    return folder, capsys.readouterr().err


def test_progress_names_the_best_of_each_task(ran):
    assert "best val_accuracy 0.1000  best val_quality_share 0.6000" in ran[1]


def test_each_setting_is_raced_on_its_own_metric(ran):
    tables = settings_of(STUDY, ran[0])
    assert [table["value"].max() for table in tables] == [0.1, 0.6] and all(t["value"].notna().all() for t in tables)
    assert noise(STUDY, ran[0]) is None  # of two metrics there is no one noise


def test_a_later_session_knows_what_each_student_was_worth(ran, tmp_path):
    from studies.harness.arguments import parse
    from studies.harness.earlier import take_up

    _, _, earlier = take_up(STUDY, parse(STUDY, ["--extend", "latest", "--seeds", "3"]))
    assert isinstance(earlier, Earlier)
    assert {metric for metric, _ in earlier.scores.values()} == {"val_accuracy", "val_quality_share"}
    assert run(STUDY, ["--extend", "latest", "--seeds", "3", "--address", "inline", "--no-report"]) == 0


def test_one_scheduler_does_not_weigh_two_metrics(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(STUDY, ["--scheduler", "asha", "--dry-run"]) == 2
    assert "give one --task" in capsys.readouterr().err


def test_progress_says_of_a_setting_what_tells_it_from_the_others(tmp_path, monkeypatch, capsys):
    """The task is that of the metric; which seed a best is of must be said, and that the number is a seed."""
    seeds = {"seed": grid(0, 1)}
    study = dataclasses.replace(
        STUDY, trials={**STUDY.trials, **seeds}, students={k: v for k, v in STUDY.students.items() if k != "seed"}
    )
    monkeypatch.setattr(type(study), "load", lambda self: Tasks)
    monkeypatch.chdir(tmp_path)
    assert run(study, ["--address", "inline", "--no-report"]) == 0
    said = "best val_accuracy 0.1000 (seed 0); 0.1000 (seed 1)  best val_quality_share 0.6000 (seed 0); 0.6000 (seed 1)"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "room", "said"),
    [
        ("max", 200, "best val_accuracy 0.9000 (view b, size 500); 0.5000 (view a, size 500); 0.4000 (view a, size all)"),
        ("min", 200, "best val_accuracy 0.4000 (view a, size all); 0.5000 (view a, size 500); 0.9000 (view b, size 500)"),
        ("max", 60, "best val_accuracy 0.9000 (view b, size 500)"),
        ("max", 10, "best val_accuracy 0.9000"),
    ],
)
def test_progress_says_as_much_of_the_best_as_a_line_holds_and_the_best_first(mode, room, said):
    ledger = Ledger.__new__(Ledger)
    ledger.better, ledger.best, ledger.regimes = {"max": max, "min": min}[mode], {}, {}
    ledger.varied, ledger.progress = ["view", "size", "same"], SimpleNamespace(room=room)
    for value, view, size in ((0.5, "a", "500"), (0.9, "b", "500"), (0.4, "a", "all")):
        ledger._best("val_accuracy", value, "x", {"view": view, "size": size, "same": 1})
    assert ledger._best_so_far() == said
