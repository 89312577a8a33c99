"""Trains one trial, in this process or in a worker of Ray: the same code, so the same rows."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import platform
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from studies.harness.folder import RunFolder
from studies.harness.ledger import Ledger
from studies.harness.students import Trial, student_hash
from studies.harness.study import Study

Answers = dict[Any, Mapping[str, Any]]  # what was prepared, by artifact


class TrialRunner:
    """A trial's packs in lockstep: `step` trains each to its next evaluation. keep(student, state) keeps the networks of
    finished students."""

    def __init__(
        self,
        study: Study,
        trial: Trial,
        datasets: Mapping,
        answers: Answers,
        device: str,
        keep: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self.study, self.trial, self.keep = study, trial, keep
        self.datasets, self.answers, self.device = datasets, answers, device
        self._begin()

    def _begin(self) -> None:
        cls = self.study.load()
        self.packs: list[Any] = []
        for configs in self.trial.packs:
            pack = [cls.config_type(**config) for config in configs]
            self.packs.append(cls(pack, self.datasets, self.answers[cls.artifact(pack[0])], self.device))
        self.evaluations = 0

    @property
    def finished(self) -> bool:
        return all(pack.finished for pack in self.packs)

    def step(self) -> list[dict]:
        """One row per student that was trained: the pack's rows with `student` added."""
        self.evaluations += 1
        rows = []
        for configs, pack in zip(self.trial.packs, self.packs, strict=True):
            if not pack.finished:
                news = [{"student": student_hash(c), **row} for c, row in zip(configs, pack.step(), strict=True)]
                if self.keep and pack.finished:  # before the rows are written: a student with a row lacks nothing
                    for row, network in zip(news, pack.networks(), strict=True):
                        if row["status"] == "done":
                            self.keep(row["student"], _saved(network))
                rows += news
        return rows

    def go_on(self, folder: RunFolder) -> list[str]:
        """Goes on from the newest checkpoint of the trial that is whole and its own, else from the start. Others are set aside;
        a line on each."""
        import torch

        said: list[str] = []
        for path in folder.checkpoints(self.trial.name):
            content = folder.read_checkpoint(path)
            try:
                self.load(content)
                return said
            except (MemoryError, torch.OutOfMemoryError):  # not the file's fault
                raise
            except Exception as error:  # whatever a file that is damaged, another's or malicious may raise
                folder.set_aside(path)
                said.append(f"{path} cannot be gone on from ({_line(error)}); it is set aside")
                self._begin()
        return said

    def save(self) -> bytes:
        packs = [pack.state_dict() for pack in self.packs]
        return _saved({"trial": self.trial.name, "evaluations": self.evaluations, "packs": packs})

    def load(self, content: bytes) -> None:
        """Any error, where it is not what `save` gave for this trial."""
        state = _loaded(content)
        if state.get("trial", self.trial.name) != self.trial.name:
            raise ValueError(f"it is of the trial {state['trial']}")
        self.evaluations = state["evaluations"]
        for pack, saved in zip(self.packs, state["packs"], strict=True):
            pack.load_state_dict(saved)


def evaluations_before(folder: RunFolder, trial: str) -> int:
    """How many evaluations the checkpoint of a trial, if there is one, comes after: a failure must not take their place."""
    for path in folder.checkpoints(trial):
        with contextlib.suppress(Exception):  # one that is damaged
            return int(_loaded(folder.read_checkpoint(path))["evaluations"])
    return 0


def _loaded(content: bytes) -> dict[str, Any]:
    """What `_saved` saved; an error where a part of it has not the checksum that it names. Nothing in it is executed."""
    import torch

    with zipfile.ZipFile(io.BytesIO(content)) as parts:  # torch.save's format; torch.load checks no sums
        if damaged := parts.testzip():
            raise ValueError(f"{damaged} is damaged")
    return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")


def _saved(state: Mapping[str, Any]) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


# What training itself may raise (out of memory on a device, a shape, an overflow). Anything else is a fault of the
# harness or the machine and is not swallowed.
TRAINING_ERRORS = (RuntimeError, MemoryError, ValueError, ArithmeticError)


def failed_rows(trial: Trial, error: Exception | str) -> list[dict]:
    """What is recorded where a trial came to nothing: never a low point, always a named hole."""
    line = _line(f"{type(error).__name__}: {error}" if isinstance(error, Exception) else error)
    return [{"student": student_hash(c), "status": "failed", "error": line, "step": 0} for c in trial.students]


def _line(error: Exception | str) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def record_failure(ledger: Ledger, trial: Trial, error: Exception | str) -> None:
    """A trial that came to nothing, after the evaluations that its checkpoint has."""
    ledger.record(trial, evaluations_before(ledger.folder, trial.name) + 1, failed_rows(trial, error))


def artifacts(study: Study, trials: Iterable[Trial]) -> list:
    """What has to be prepared for these trials, once each, in order."""
    cls = study.load()
    return list(dict.fromkeys(cls.artifact(cls.config_type(**c)) for trial in trials for c in trial.students))


def prepare_process(threads: int) -> str:
    """Call before any torch work in a process that trains: its share of the cores, and freed memory kept for reuse.
    Returns the setting of float32 products, see `_float32_products`.

    glibc hands large buffers back to the kernel after every step otherwise; the page faults cost 6 to 20 % of a step.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if platform.libc_ver()[0] == "glibc":
        M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
        libc = ctypes.CDLL(None)
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            libc.mallopt(option, value)
    import torch

    torch.set_num_threads(threads)
    return _float32_products()


def _float32_products() -> str:
    """Chooses "medium" where that is another float32 kernel of the processor (twice as fast on some), and "highest" where it
    would round the factors to bfloat16 (relative error 2e-3), or where it would let a GPU round to TF32."""
    import torch

    if torch.cuda.is_available():
        return torch.get_float32_matmul_precision()
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=g) for shape in ((64, 512), (512, 64)))
    exact = a.double() @ b.double()
    torch.set_float32_matmul_precision("medium")
    if (a @ b - exact).norm() > 2e-6 * exact.norm():
        torch.set_float32_matmul_precision("highest")
    return torch.get_float32_matmul_precision()


class Engine(Protocol):
    """Trains what a plan hands out."""

    products: set[str]  # how its processes multiply in float32

    def train(self, trials: Sequence[Trial]) -> bool:
        """Trains these to their ends; rows and artifacts go to the ledger. True where the user stopped it."""


class Inline:
    """Trials one after another in this process."""

    def __init__(
        self, study: Study, datasets: Mapping, device: str, threads: int, ledger: Ledger, keep_weights: bool
    ) -> None:
        self.study, self.datasets, self.device, self.ledger = study, datasets, device, ledger
        self.keep = ledger.folder.write_weights if keep_weights else None
        self.answers: Answers = {}
        self.failures: dict[Any, Exception] = {}  # artifacts that cannot be prepared
        self.products = {prepare_process(threads)}

    def train(self, trials: Sequence[Trial]) -> bool:
        for trial in trials:
            try:
                self._prepare(trial)
            except TRAINING_ERRORS as error:
                record_failure(self.ledger, trial, error)
            else:
                self._train(trial)
        return False  # Ctrl-C raises

    def _prepare(self, trial: Trial) -> None:
        cls = self.study.load()
        for artifact in artifacts(self.study, [trial]):
            if artifact in self.failures:
                raise self.failures[artifact]
            if artifact not in self.answers:
                try:
                    self.answers[artifact], row = cls.prepare(artifact, self.datasets, self.device)
                except TRAINING_ERRORS as error:
                    self.failures[artifact] = error
                    raise
                self.ledger.record_artifact(row)

    def _train(self, trial: Trial) -> None:
        folder, record = self.ledger.folder, self.ledger.record
        try:
            runner = TrialRunner(self.study, trial, self.datasets, self.answers, self.device, self.keep)
            for line in runner.go_on(folder):
                self.ledger.progress.say(line)
            while not runner.finished:
                rows = runner.step()
                record(trial, runner.evaluations, rows)
                if not runner.finished:
                    folder.write_checkpoint(trial.name, runner.save())
        except TRAINING_ERRORS as error:
            record_failure(self.ledger, trial, error)
