"""Who is trained: the cells of a grid, the students that answer them, and the trials that train these."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core.records import file_name
from studies.harness.study import Config, InputError, Study


@dataclass(frozen=True)
class Cell:
    """One point of the grid, and the student that answers it."""

    config: Config
    student: str


@dataclass(frozen=True)
class Trial:
    """One job for one worker: packs that are trained in lockstep (one, save under a searcher or scheduler)."""

    name: str
    packs: tuple[tuple[Config, ...], ...]

    @property
    def students(self) -> list[Config]:
        return [config for pack in self.packs for config in pack]


def student_hash(config: Config) -> str:
    """A student's name: 12 hex digits of its canonical config. Axes that are set aside (None) are not in it, so that a study may
    gain axes for new students and the others keep their names."""
    named = {axis: value for axis, value in config.items() if value is not None}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:12]


def called(config: Config, axes: Sequence[str]) -> str:
    """A student as files are named after it: what it has on these axes, network=vgg11_bn_seed=0."""
    values = ((axis, config[axis]) for axis in axes)
    words = (f"{axis}={value:.6g}" if isinstance(value, float) else f"{axis}={value}" for axis, value in values)
    return file_name(" ".join(words) or "student")


def cell_of(study: Study, config: Config) -> Cell:
    """A grid point, its axes in the study's order, and the student that answers it. InputError where a file that it names is
    none that the study can use."""
    config = {name: config[name] for name in study.axes}
    try:
        return Cell(config, student_hash(study.canonical(config)))
    except ValueError as error:
        raise InputError(str(error)) from None


def trial_of(packs: tuple[tuple[Config, ...], ...]) -> Trial:
    """Named after its students, so that an interrupted trial meets its checkpoint again."""
    text = json.dumps(packs, sort_keys=True)
    return Trial(f"{packs[0][0].get('seed', 0)}-{hashlib.sha256(text.encode()).hexdigest()[:10]}", packs)
