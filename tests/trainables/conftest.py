"""Builds, trains and resumes the packs of a test's module."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.core.contract import Trainable


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest, datasets: Mapping) -> Rig:
    """Of the module's TRAINABLES and the data of its fixture `datasets`."""
    torch.set_num_threads(1)
    return Rig(request.module.TRAINABLES, datasets)


class Rig:
    """Each config is trained by the trainable of its type; what has to be made before is made once."""

    def __init__(self, trainables: Sequence[type[Trainable]], datasets: Mapping) -> None:
        self.of = {cls.config_type: cls for cls in trainables}
        self.datasets, self.made = datasets, {}

    def answers(self, config: Any) -> Mapping:
        cls = self.of[type(config)]
        artifact = cls.artifact(config)
        if artifact not in self.made:
            self.made[artifact] = cls.prepare(artifact, self.datasets, "cpu")[0]
        return self.made[artifact]

    def build(self, *pack: Any, datasets: Mapping | None = None, answers: Mapping | None = None) -> Any:
        """Students that nothing was taught yet."""
        return self.of[type(pack[0])](pack, datasets or self.datasets, answers or self.answers(pack[0]), "cpu")

    def train(self, *pack: Any, until: int | None = None, **other: Any) -> tuple[Any, list[dict]]:
        """Students after `until` evaluations or all, and their rows; other: see `build`."""
        students = self.build(*pack, **other)
        return students, self.rows(students, until)

    def resumed(self, *pack: Any, until: int) -> tuple[Any, list[dict]]:
        """As `train`, where others take up, from a file, what the first students left after `until` evaluations."""
        first, before = self.train(*pack, until=until)
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second = self.build(*pack)
        second.load_state_dict(torch.load(file, weights_only=True))
        return second, before + self.rows(second)

    @staticmethod
    def rows(students: Any, until: int | None = None) -> list[dict]:
        """Of the next `until` evaluations or of all that are left, without the clock."""
        rows: list[dict] = []
        while not students.finished and (until is None or until > 0):
            rows += [{k: v for k, v in row.items() if k not in ("seconds", "image_ms")} for row in students.step()]
            until = until and until - 1
        return rows

    @staticmethod
    def weights(students: Any, s: int = 0) -> Tensor:
        """All of one student's, (W,)."""
        return torch.cat([p.detach()[s].flatten() for p in students.students.parameters])

    @staticmethod
    def apart(a: Tensor, b: Tensor) -> float:
        """Distance of two students' weights, relative to their size; rounding alone stays well below 1e-3 here."""
        return float((a - b).norm() / a.norm())
