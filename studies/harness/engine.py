"""Trains one trial, in this process or in a worker of Ray: the same code, so the same rows."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import os
import platform
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from studies.harness.folder import RunFolder
from studies.harness.ledger import Ledger
from studies.harness.students import Trial, student_hash
from studies.harness.study import Config, Study

Answers = dict[Any, Mapping[str, Any]]  # what was prepared, by artifact


class TrialRunner:
    """A trial's packs in lockstep: `step` trains each to its next evaluation. Where memory does not hold them, half of their students are
    trained, then the other half, and so on down to one. keep(config, state) keeps the networks of finished students.

    rounds: packs side by side, one round after another; the first is under way, and began after so many evaluations (start). said:
    lines for the user.
    """

    def __init__(
        self,
        study: Study,
        trial: Trial,
        datasets: Mapping,
        answers: Answers,
        device: str,
        keep: Callable[[Config, bytes], None] | None = None,
    ) -> None:
        self.study, self.trial, self.keep = study, trial, keep
        self.datasets, self.answers, self.device = datasets, answers, device
        self.said: list[str] = []
        self._begin()

    def _begin(self) -> None:
        self.rounds: list[tuple[tuple[Config, ...], ...]] = [self.trial.packs]
        self.packs: list[Any] = []  # of the first round, once it is built
        self.evaluations = self.start = 0

    def _build(self) -> None:
        cls = self.study.load()
        for configs in self.rounds[0]:
            pack = [cls.config_type(**config) for config in configs]
            self.packs.append(cls(pack, self.datasets, self.answers[cls.artifact(pack[0])], self.device))

    @property
    def finished(self) -> bool:
        return not self.rounds

    def step(self) -> list[dict]:
        """One row per student that was trained: the pack's rows with `student` added."""
        while True:
            try:
                return self._step()
            except Exception as error:
                if not out_of_memory(error) or sum(map(len, self.rounds[0])) == 1:
                    raise
            self._halve()  # not above, where the error holds on to what has filled the memory

    def _step(self) -> list[dict]:
        if not self.packs:
            self._build()
        rows = []
        for configs, pack in zip(self.rounds[0], self.packs, strict=True):
            if not pack.finished:
                news = [{"student": student_hash(c), **row} for c, row in zip(configs, pack.step(), strict=True)]
                if self.keep and pack.finished:  # before the rows are written: a student with a row lacks nothing
                    for config, row, network in zip(configs, news, pack.networks(), strict=True):
                        if row["status"] == "done":
                            self.keep(config, _saved(network))
                rows += news
        self.evaluations += 1
        if all(pack.finished for pack in self.packs):
            self.packs, self.start = [], self.evaluations
            del self.rounds[0]
        return rows

    def _halve(self) -> None:
        """Two rounds in place of the first. Both begin anew, and their rows take the places of those that the first has written."""
        first = self.rounds[0]
        if len(first) > 1:
            half = len(first) // 2
            halves = [first[:half], first[half:]]
        else:
            (pack,), half = first, len(first[0]) // 2
            halves = [(pack[:half],), (pack[half:],)]
        students = sum(map(len, first))
        self.said.append(
            f"memory does not hold {students} students side by side: {sum(map(len, halves[0]))} now, the others after them"
        )
        self.rounds[:1] = halves
        self.packs, self.evaluations = [], self.start
        gc.collect()
        if self.device == "cuda":
            import torch

            torch.cuda.empty_cache()

    def go_on(self, folder: RunFolder) -> list[str]:
        """Goes on from the newest checkpoint of the trial that is whole and its own, else from the start. Others are set aside;
        a line on each."""
        import torch

        said: list[str] = []
        for path in folder.checkpoints(self.trial.name):
            damaged: Exception  # whatever a file that is damaged, another's or malicious may raise
            try:
                states = self._read(folder.read_checkpoint(path))
            except Exception as error:
                damaged = error
            else:
                if states:
                    self._build()  # its errors are those of training, not the file's fault
                try:
                    self._fill(states)
                    return said
                except (MemoryError, torch.OutOfMemoryError):
                    raise
                except Exception as error:
                    damaged = error
            folder.set_aside(path)
            said.append(f"{path} cannot be gone on from ({_line(damaged)}); it is set aside")
            self._begin()
        return said

    def save(self) -> bytes:
        packs = [pack.state_dict() for pack in self.packs]
        rounds = [[[student_hash(config) for config in pack] for pack in packs] for packs in self.rounds]
        counts = {"evaluations": self.evaluations, "start": self.start}
        return _saved({"trial": self.trial.name, **counts, "rounds": rounds, "packs": packs})

    def load(self, content: bytes) -> None:
        """Goes on from what `save` gave for this trial."""
        if states := self._read(content):
            self._build()
        self._fill(states)

    def _read(self, content: bytes) -> list[Any]:
        """Where the trial was; the states of the packs that were under way. Any error, where it is not what `save` gave."""
        state = _loaded(content)
        if state.get("trial", self.trial.name) != self.trial.name:
            raise ValueError(f"it is of the trial {state['trial']}")
        self._begin()
        self.evaluations, self.start = state["evaluations"], state.get("start", 0)
        if "rounds" in state:  # older versions had one
            of = {student_hash(config): config for config in self.trial.students}
            self.rounds = [tuple(tuple(of[name] for name in pack) for pack in packs) for packs in state["rounds"]]
        return list(state["packs"])

    def _fill(self, states: Sequence[Any]) -> None:
        for pack, saved in zip(self.packs, states, strict=True):
            pack.load_state_dict(saved)


def out_of_memory(error: Exception) -> bool:
    """Whether memory of a device or of the machine has run out; torch says the latter in a plain RuntimeError."""
    import torch

    told = "can't allocate memory" in str(error) or "not enough memory" in str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (isinstance(error, RuntimeError) and told)


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
        self, study: Study, datasets: Mapping, device: str, threads: int, ledger: Ledger, kept: Sequence[str] | None
    ) -> None:
        self.study, self.datasets, self.device, self.ledger = study, datasets, device, ledger
        self.keep = partial(ledger.folder.write_weights, kept) if kept else None
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
                while runner.said:
                    self.ledger.progress.say(runner.said.pop(0))
                record(trial, runner.evaluations, rows)
                if not runner.finished:
                    folder.write_checkpoint(trial.name, runner.save())
        except TRAINING_ERRORS as error:
            record_failure(self.ledger, trial, error)
