"""What every trainable of many students has in common: a pack trained from evaluation to evaluation."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from trainables.core.contract import Trainable
from trainables.core.metrics import confusions
from trainables.core.schedules import warmup_linear


class Students(Protocol):
    """What a pack asks of those that it trains: a Population has it, a Network, or whatever a method builds."""

    def step(self, loss: Tensor, lr_scale: float = 1.0) -> None: ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


class Pack(Trainable):
    """Students of one seed, trained side by side on the same batches (common random numbers).

    A subclass names its `config_type` (a frozen dataclass with at least `steps` and `seed`) and the fields that may
    differ inside a pack, builds `self.students` in its `__init__`, and defines `loss` and `measure`. A resumed pack
    equals an uninterrupted one.
    """

    students: Students

    def __init__(self, configs: Sequence[Any], device: str) -> None:
        self.configs, self.device, self.done_steps = list(configs), torch.device(device), 0
        self.seconds = self.stepping = 0.0  # of the whole pack: evaluations included, and of its steps alone
        self.measured = -1  # the step of the last evaluation
        self.confused: list[list[dict[str, int]]] = [[] for _ in configs]  # on test images, see `tested`
        c = self.common = configs[0]
        names = (f.name for f in fields(self.config_type))
        different = {name for name in names for other in configs if getattr(other, name) != getattr(c, name)}
        if different - self.may_differ:
            raise ValueError(f"students of one pack differ in {', '.join(sorted(different - self.may_differ))}")

    def column(self, name: str) -> Tensor:
        """A field of every student, (S,) fp32."""
        return torch.tensor([getattr(c, name) for c in self.configs], dtype=torch.float32, device=self.device)

    @abstractmethod
    def loss(self, step: int) -> Tensor:
        """(S,) losses on batch number `step`, which depends on the seed and the step alone."""

    @abstractmethod
    def measure(self) -> Mapping[str, Tensor]:
        """Metrics of the evaluation at `done_steps`, each (S,). What looks at a test set belongs to the last one."""

    def tested(self, named: Tensor, labels: Tensor) -> Tensor:
        """Share of right answers, (S,), at the end of the training; what was called what goes to the table `confusions`.

        named: the classes that the students name, (S, N); labels: (N,).
        """
        self.confused = confusions(named, labels)
        return (named == labels).float().mean(1)

    def tables(self) -> list[dict[str, list[dict]]]:
        """Rows of the study's further tables at this evaluation, a dict by table for every student: `confusions`, where the
        measurement counted any."""
        return [{"confusions": lines} if lines else {} for lines in self.confused]

    def evaluations(self) -> list[int]:
        """The steps after which is measured, ascending; 0 is before the first, the last is the end of the training."""
        return sorted({max(1, round(self.total_steps * (i + 1) / 4)) for i in range(4)})

    def rate(self, fraction: float) -> float:
        """Multiplier of the learning rates at a fraction of the training."""
        return warmup_linear(fraction)

    def update(self, loss: Tensor, rate: float) -> None:
        """One step of all students. loss: (S,); rate: multiplier of the learning rates."""
        self.students.step(loss, rate)

    @property
    def total_steps(self) -> int:
        return self.common.steps

    @property
    def finished(self) -> bool:
        return self.done_steps >= self.total_steps

    def step(self) -> list[dict]:
        start = time.perf_counter()
        until = next(step for step in self.evaluations() if step > self.measured)
        losses = []
        while self.done_steps < until:
            loss = self.loss(self.done_steps)
            losses.append(loss.detach())
            self.update(loss, self.rate(self.done_steps / self.total_steps))
            self.done_steps += 1
        self.measured = until
        train_loss = torch.stack(losses or [self.loss(0).detach()]).mean(0).cpu()
        self.stepping += time.perf_counter() - start
        rows = self._rows(train_loss)
        self.seconds += time.perf_counter() - start
        return [row | {"seconds": self.seconds / len(self.configs)} for row in rows]

    def _rows(self, train_loss: Tensor) -> list[dict]:
        values = {name: column.tolist() for name, column in self.measure().items()}
        rows = []
        for s, (loss, tables) in enumerate(zip(train_loss.tolist(), self.tables(), strict=True)):
            row: dict[str, Any] = {"step": self.done_steps, "fraction": self.done_steps / self.total_steps}
            if np.isfinite(loss):
                status = "done" if self.finished else "running"
                row |= {"status": status, "train_loss": loss, **{name: v[s] for name, v in values.items()}}
                row |= {"tables": tables} if tables else {}
            else:
                row |= {"status": "failed", "error": f"the loss was {loss} before step {self.done_steps}"}
            rows.append(row)
        return rows

    def state_dict(self) -> dict:
        counts = {name: getattr(self, name) for name in ("done_steps", "measured", "seconds", "stepping")}
        return {"students": self.students.state_dict(), **counts}

    def load_state_dict(self, state: dict) -> None:
        self.students.load_state_dict(state["students"])
        self.done_steps, self.measured = state["done_steps"], state["measured"]
        self.seconds, self.stepping = state["seconds"], state["stepping"]
