"""A study of a thousand trials that cost nothing: what the harness itself takes, and what of it grows with their number.

    python benchmarks/soak.py [--trials 1000] [--evaluations 2] [--workers 2]

Every trial is one student of arithmetic. Each line is of the trials since the line before: seconds a trial; memory of the driver; time in
the ledger (rows, curves) for a flush; Tune's snapshots of its state of all trials, and what they hold. Then what the end of the run takes, and how long
as many rows as in `--rows` take to be read and drawn, in files as a run writes them and put together as it leaves them (in brackets: of
the processor, which a busy machine disturbs less).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import side_by_side
from side_by_side import clocked, said

from analysis.core import live, records
from studies.harness import Preset, Study, at_least, between, grid
from studies.harness.command import run as run_study
from studies.harness.folder import RunFolder
from studies.harness.ledger import Ledger
from studies.harness.plan import cells_of
from trainables.core.contract import Trainable

LINES = 10  # of the table


@dataclass
class Arguments:
    trials: int = 1000
    """students, each a trial of its own"""
    evaluations: int = 2
    """of each trial, so flushes of its rows"""
    workers: int = 2
    """at a time"""
    rows: int = 10_000
    """to be read and drawn"""


@dataclass(frozen=True)
class Config:
    a: float
    b: float
    evaluations: int
    seed: int


class Arithmetic(Trainable):
    """Its accuracy is a function of a and b."""

    config_type = Config
    may_differ = frozenset({"a", "b"})

    def __init__(self, configs: list[Config], datasets: Any, answers: Any, device: str) -> None:
        self.configs, self.steps = configs, 0

    @classmethod
    def prepare(cls, artifact: Any, datasets: Any, device: str) -> tuple[dict, dict]:
        return {}, {"seconds": 0.0}

    @staticmethod
    def artifact(config: Config) -> None:
        return None

    @staticmethod
    def student_bytes(config: Config) -> int:
        return 1

    @property
    def finished(self) -> bool:
        return self.steps >= self.configs[0].evaluations

    def step(self) -> list[dict[str, Any]]:
        self.steps += 1
        return [self.row(config) for config in self.configs]

    def row(self, c: Config) -> dict[str, Any]:
        accuracy = 0.5 + 0.4 * np.sin(3 * c.a) * np.cos(2 * c.b) + 0.01 * np.sin(1e4 * (c.a + c.b + c.seed))
        status = "done" if self.finished else "running"
        known = {"step": self.steps, "fraction": self.steps / c.evaluations, "status": status, "seconds": 1e-3}
        return {**known, "val_accuracy": float(accuracy), "test_accuracy": float(accuracy) - 0.01}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


def study(trials: int, evaluations: int) -> Study:
    side, seeds = 16, max(1, round(trials / 256))
    a, b = (tuple(float(v) for v in np.linspace(0.0, 1.0, n)) for n in (side, -(-trials // (side * seeds))))
    return Study(
        name="soak", question="What does nothing cost?", trainable="soak:Arithmetic", metric="val_accuracy", mode="max",
        metrics=("val_accuracy", "test_accuracy"), datasets=(),
        trials={"evaluations": grid(evaluations, limit=at_least(1))},
        students={"a": grid(*a, limit=between(0, 1)), "b": grid(*b, limit=between(0, 1)), "seed": grid(*range(seeds))},
        presets={"course": Preset("all", pack=1)},
    )  # fmt: skip


@dataclass
class Clock:
    """How often something was called, and how many seconds it took in all."""

    calls: int = 0
    seconds: float = 0.0

    def around(self, function: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.calls += 1
                self.seconds += time.perf_counter() - start

        return timed


def memory() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Table:
    """The lines that are printed while the study runs, one for so many trials."""

    every: int
    ledger: Clock = field(default_factory=Clock)
    snapshots: Clock = field(default_factory=Clock)
    last: np.ndarray | None = None

    def line(self, ledger: Ledger) -> None:
        now = np.array(
            [len(ledger.outcomes), time.perf_counter(), self.ledger.calls, self.ledger.seconds, self.snapshots.seconds]
        )
        if self.last is None:
            print("trials  s/trial  driver MiB  ms/flush in the ledger  s/trial in snapshots  MB of state")
            self.last = now
        if now[0] - self.last[0] >= self.every:
            trials, seconds, flushes, in_ledger, in_snapshots = now - self.last
            size = sum(path.stat().st_size for path in Path(ledger.folder.path, "tune").glob("experiment_state*")) / 1e6
            costs = f"{1e3 * in_ledger / flushes:22.2f}  {in_snapshots / trials:20.3f}  {size:11.1f}"
            print(f"{now[0]:6.0f}  {seconds / trials:7.3f}  {memory():10.0f}  {costs}", flush=True)
            self.last = now


def main(a: Arguments) -> None:
    from studies.harness import ray_adapter  # first, for it sets what Ray reads when it is imported

    controller: Any = ray_adapter.ray.tune.execution.tune_controller.TuneController  # type: ignore[attr-defined]
    table, end, record = Table(-(-a.trials // LINES)), Clock(), Ledger.record

    def recorded(ledger: Ledger, *what: Any) -> None:
        table.ledger.around(record)(ledger, *what)
        table.line(ledger)

    with tempfile.TemporaryDirectory() as storage, contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(Ledger, "record", recorded))
        stack.enter_context(patch.object(controller, "checkpoint", table.snapshots.around(controller.checkpoint)))
        for name in ("read_rows", "put_together", "lost_flushes", "drop_checkpoints"):
            stack.enter_context(patch.object(RunFolder, name, end.around(getattr(RunFolder, name))))
        words = ["--num-cpus", str(a.workers), "--storage", storage, "--no-report", "--pack", "1"]
        code, took = clocked(lambda: run_study(study(a.trials, a.evaluations), words))
        if code:
            raise SystemExit(code)
        parts = f"snapshots {table.snapshots.seconds:.1f}, ledger {table.ledger.seconds:.1f}, the end {end.seconds:.1f}"
        print(f"in all {said(took)} s, of which {parts}")
        drawn(a.rows, storage)


def drawn(rows: int, storage: str) -> None:
    """A run of so many rows, read and drawn: first in a thousand files, as while it is written, then in one."""
    asked, folder = study(rows // 2, 2), RunFolder(storage, "soak", "large")
    cells = cells_of(asked, {name: axis.values for name, axis in asked.axes.items()})
    known = records.schema({name: axis.type for name, axis in asked.axes.items()}, asked.metrics)
    folder.write_json(
        {"axes": {name: axis.values for name, axis in asked.axes.items()}, "preset": "course", "data": "full"}
    )
    lines = []
    for cell in cells:
        student = Arithmetic([Config(**cell.config)], {}, {}, "cpu")
        fixed = {"student": cell.student, "trial": "x", **cell.config}
        lines += [{**fixed, **student.step()[0]} for _ in range(2)]
    for i in range(1000):
        folder.write_rows("rows", f"x-{i:04}", lines[len(lines) * i // 1000 : len(lines) * (i + 1) // 1000], known)
    for files in ("1,000 files", "one file"):
        run, read = clocked(lambda: _first(live.Results(folder.path)).run)
        view = live.first_view(run)
        assert view
        chosen, choosing = clocked(partial(live.best, run, view))
        _, drawing = clocked(partial(live.picture, run, view, chosen))
        print(
            f"{len(run.rows):,} rows in {files}: read {said(read)} s, drawn {said(drawing)} s, chosen {said(choosing)} s"
        )
        folder.put_together(["rows"])


def _first(results: live.Results) -> Any:
    """A look at the run that lies there."""
    return results.look(results.entries()[0])


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
