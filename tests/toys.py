"""A study of arithmetic in place of training, for tests of what a run does with its students."""

import dataclasses
import os
import signal
import time
from typing import ClassVar

from studies.harness import Preset, Study, above, at_least, grid, one_of
from studies.harness.students import student_hash
from trainables.core.contract import Trainable


def canonical(config):
    return {**config, "temperature": 1.0} if config["kd_weight"] == 0 else config


def study(views=("a", "b"), kd_weights=(0.0, 0.5, 1.0), seeds=2):
    return Study(
        name="toy", question="A toy.", trainable="toys:Toy", metric="val_accuracy", mode="max", metrics=("val_accuracy", "test_accuracy"), datasets=(),
        trials={"view": grid(*views, limit=one_of(*views))},
        students={"temperature": grid(1.0, 2.0, 4.0, limit=above(0)), "kd_weight": grid(*kd_weights, limit=at_least(0)), "seed": grid(*range(seeds))},
        presets={"course": Preset("all"), "tour": Preset("some", {"temperature": (1.0, 2.0)}, part_of="course")}, canonical=canonical,
    )  # fmt: skip


def hear():
    """For a process that a test starts: it hears the signals that are ignored where tests run in the background or under nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def students_of(study, cells):
    """The canonical config of every student that answers these cells, once each."""
    return {cell.student: study.canonical(cell.config) for cell in cells}


@dataclasses.dataclass(frozen=True)
class Config:
    view: str
    temperature: float
    kd_weight: float
    seed: int


class Toy(Trainable):
    """evaluations: how many there are; measure: validation and test accuracy of a config; before: called first in each step and
    each preparation (TOY_WITHOUT: views that cannot be prepared; TOY_DEADLY: views whose worker then dies); trained: the students of all steps; holds: how many of a
    pack memory holds in its second step. A test sets them by monkeypatch. TOY_SECONDS: how long a step takes; TOY_LOG: a file with a line for each step of a student."""

    config_type = Config
    may_differ = frozenset({"temperature", "kd_weight"})
    evaluations: ClassVar = int(os.environ.get("TOY_EVALUATIONS", 2))
    holds: ClassVar = int(os.environ.get("TOY_HOLDS", 10**6))
    measure: ClassVar = staticmethod(lambda c: (c.kd_weight / (1 + c.temperature + c.seed),) * 2)
    before: ClassVar = staticmethod(lambda: None)
    trained: ClassVar[list] = []

    def __init__(self, pack, datasets, answers, device):
        self.pack, self.steps = pack, 0

    @staticmethod
    def artifact(config):
        return config.view

    @staticmethod
    def student_bytes(config):
        return 1

    @classmethod
    def prepare(cls, artifact, datasets, device):
        cls.before()
        if str(artifact) in os.environ.get("TOY_WITHOUT", ""):
            raise ValueError("no teacher\nat all")
        if str(artifact) in os.environ.get("TOY_DEADLY", ""):
            os.kill(os.getpid(), signal.SIGKILL)
        return None, {"teacher": artifact, "seconds": 0.0}

    @property
    def finished(self):
        return self.steps == self.evaluations

    def step(self):
        type(self).before()
        if self.steps and len(self.pack) > self.holds:
            raise MemoryError
        time.sleep(float(os.environ.get("TOY_SECONDS", 0)))
        self.steps += 1
        if log := os.environ.get("TOY_LOG"):
            with open(log, "a") as file:  # noqa: PTH123
                file.writelines(
                    f"{time.time()} {student_hash(dataclasses.asdict(c))} {self.steps} {os.getpid()}\n"
                    for c in self.pack
                )
        type(self).trained += [student_hash(dataclasses.asdict(c)) for c in self.pack]
        return [self.row(config) for config in self.pack]

    def row(self, config):
        status = "done" if self.finished else "running"
        measured = dict(zip(("val_accuracy", "test_accuracy"), type(self).measure(config), strict=True))
        return {
            "step": self.steps,
            "fraction": self.steps / self.evaluations,
            "status": status,
            "seconds": 0.0,
            **measured,
        }

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]
