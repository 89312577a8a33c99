"""The contract is all that the harness asks for: work in numpy, without torch and without a pack, is a study too."""

import sys
import types
from dataclasses import dataclass

import numpy as np

from studies.harness.engine import Inline
from studies.harness.folder import RunFolder
from studies.harness.students import trial_of
from studies.harness.study import Preset, Study, grid
from trainables.core.contract import Trainable


@dataclass(frozen=True)
class Config:
    power: int
    seed: int


class Sums(Trainable):
    config_type = Config
    may_differ = frozenset({"power"})

    def __init__(self, configs, datasets, answers, device):
        self.configs, self.numbers, self.done = configs, answers["numbers"], 0

    @staticmethod
    def artifact(config):
        return config.seed

    @classmethod
    def prepare(cls, artifact, datasets, device):
        return {"numbers": np.random.default_rng(artifact).random(10)}, {"seed": artifact}

    @staticmethod
    def student_bytes(config):
        return 1

    @property
    def finished(self):
        return self.done == 2

    def step(self):
        self.done += 1
        status = "done" if self.finished else "running"
        return [
            {"step": self.done, "status": status, "total": float((self.numbers**c.power).sum())} for c in self.configs
        ]

    def state_dict(self):
        return {"done": self.done}

    def load_state_dict(self, state):
        self.done = state["done"]


def test_work_in_numpy_is_trained_and_resumed_like_any_other(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sums", types.SimpleNamespace(Sums=Sums))
    study = Study(
        name="sums", question="A sum.", trainable="sums:Sums", metric="total", mode="max", metrics=("total",), trials={},
        students={"power": grid(1, 2), "seed": grid(0)}, presets={"course": Preset("all")},
    )  # fmt: skip
    trial, rows, made = trial_of((({"power": 1, "seed": 0}, {"power": 2, "seed": 0}),)), [], []
    folder = RunFolder(str(tmp_path), "sums", "run")

    def train():
        ledger = types.SimpleNamespace(
            folder=folder, record=lambda t, e, r: rows.append(r), record_artifact=made.append
        )
        Inline(study, {}, "cpu", 1, ledger, kept=None).train([trial])

    train()
    assert made[:1] == [{"seed": 0}] and [[r["status"] for r in each] for each in rows] == [
        ["running"] * 2,
        ["done"] * 2,
    ]
    train()  # from the checkpoint that the first one left after its first step
    assert rows[2:] == rows[1:2]
    assert not Sums.keeps_networks and Sums.require([]) is None
