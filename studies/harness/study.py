"""What is asked: studies, axes and presets. A declaration; imports neither torch nor Ray."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainables.core.limits import Limit

Config = dict[str, Any]
MOST_CELLS = 200_000  # of one run
AUTO = "auto"  # of an axis: whatever pays where the run begins


class InputError(Exception):
    """Wrong input, said in one line. The command line ends with exit code 2."""


@dataclass(frozen=True)
class Range:
    """What a searcher may draw from: uniform in value, or in its logarithm."""

    low: float
    high: float
    log: bool = False


def uniform(low: float, high: float) -> Range:
    return Range(low, high)


def loguniform(low: float, high: float) -> Range:
    return Range(low, high, log=True)


@dataclass(frozen=True)
class Axis:
    """One line of the search space.

    values: the grid. help: meaning, unit, reason. search: the range that a searcher may draw from (none: the axis
    stays on its grid). limit: what a value may be, the very one of the trainable's Config (none: whatever the type has).
    images: whether it counts images to train on, of which the data may have fewer. stamp: of an axis of files, what the run calls
    one, with a digest of its content; a ValueError says in one line what is wrong in it. auto: of the axis `precision`: whether a new run
    finds out which value pays (`precise.precise`), unless its preset or the command line names one. `values` never have the word itself.
    """

    values: tuple
    help: str = ""
    search: Range | None = None
    limit: Limit | None = None
    images: bool = False
    stamp: Callable[[str], str] | None = None
    auto: bool = False

    @property
    def choices(self) -> tuple:
        """All words of the command line, where they are a list."""
        return (AUTO,) * self.auto + self.limit.choices if self.limit else ()

    @property
    def type(self) -> type:
        return type(self.values[0])

    def holds(self, value: Any) -> bool:
        """Whether a value may be one of the axis."""
        finite = not isinstance(value, float) or math.isfinite(value)
        return type(value) is self.type and finite and (self.limit is None or self.limit.allows(value))

    def parse(self, name: str, words: Sequence[str]) -> tuple:
        """Values from the words of a command line; InputError names the axis, the word and what is allowed."""
        values, must = [], f"{AUTO}, or " * self.auto + (self.limit.words if self.limit else "")
        for word in words:
            if self.auto and word == AUTO:
                values.append(word)
                continue
            try:
                value = self.type(word)
            except ValueError:
                raise InputError(f"{flag(name)} {word}: must be {noun(self.type)}{must and ', ' + must}{_apart(word)}") from None
            if not self.holds(value):
                raise InputError(f"{flag(name)} {word}: must be {must or 'finite'}{_apart(word)}")
            try:
                value = self.stamp(value) if self.stamp else value
            except ValueError as error:
                raise InputError(str(error)) from None
            if value not in values:
                values.append(value)
        if not values:
            raise InputError(f"{flag(name)}: needs at least one value")
        return tuple(values)


def grid(*values: Any, **about: Any) -> Axis:
    """An axis from its grid points; about: the other fields of `Axis`."""
    return Axis(values, **about)


@dataclass(frozen=True)
class Preset:
    """A size of the study: axes it overrides (`sample` only where the shipped sample is used), and what it costs.

    grids: where the cells are no single grid but several side by side: of each, the axes that it has otherwise.
    core_seconds: training time of one student on one core of an AMD EPYC, for the estimate of
    `--dry-run` until a run here has measured it; prepare_seconds: of the artifacts (teachers, features), not yet cached. pack: the most students in one pack on a CPU.
    worker_mib: memory of one worker, in MiB. own: whether it is for images of the user's own alone. part_of: the preset that has all its students and more, to which `--extend RUN --preset ...`
    takes its runs.
    """

    help: str
    axes: Mapping[str, tuple] = field(default_factory=dict)
    sample: Mapping[str, tuple] = field(default_factory=dict)
    grids: Sequence[Mapping[str, tuple]] = ({},)
    core_seconds: float = 1.0
    prepare_seconds: float = 0.0
    pack: int = 8
    worker_mib: int = 1500
    own: bool = False
    part_of: str = ""


@dataclass(frozen=True)
class Study:
    """A question and the space where its answer is looked for.

    trainable: "module:class", imported only where students are trained. trials: axes that change the graph, the data
    or the batches; students: axes that change numbers only, which share a pack. canonical: maps a config to the one that
    stands for all configs with the same mathematics; an axis that plays no part for a kind of student may be None there. trains_alone: whether a student trains in a pack of one.
    timed: whether trials time what they do: then one runs at a time, has all cores, and has all students of its trial axes and seed in one pack. metric: chosen on,
    never a test metric; metrics: all columns that the trainable measures. datasets: names in `trainables.core.data`;
    where the study has an axis `dataset`, its values are the names. own_images: what stands for them where --data-root has
    images of the user's own (`trainables.core.images`), in terms of an axis or as a value of the axis `dataset`. artifact_table: where a row per prepared artifact (a
    teacher) is kept. among: the axes whose values compete, of which validation chooses; all student axes but the seed unless
    named. margin: the difference in the metric that does not matter, half a point of a share unless named. noise: standard deviation of the
    metric from seed to seed, beside what a seed does to all cells alike, on the full data. tables: further tables, each with the columns
    that tell its rows apart beside the student and the step. goals: where the study has several tasks, the metric of each by its value of the trial
    axis `task`, all of the same mode and unit; `metric` is that of the first. writes_form: writes an empty form for the user's own data, and says
    what to do with it; the study has a flag --form then.
    """

    name: str
    question: str
    trainable: str
    metric: str
    mode: str
    metrics: tuple[str, ...]
    trials: Mapping[str, Axis]
    students: Mapping[str, Axis]
    presets: Mapping[str, Preset]
    canonical: Callable[[Config], Config] = lambda config: config
    trains_alone: Callable[[Config], bool] = lambda config: False
    timed: bool = False
    datasets: tuple[str, ...] = ("mnist",)
    own_images: str = ""
    artifact_table: str = "teachers"
    among: tuple[str, ...] = ()
    margin: float | None = None
    noise: float | None = None
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    goals: Mapping[str, str] = field(default_factory=dict)
    writes_form: Callable[[Path], str] | None = None

    def metric_of(self, config: Mapping[Any, Any]) -> str:
        """What a student is chosen on."""
        return self.goals[config["task"]] if self.goals else self.metric

    @property
    def all_metrics(self) -> list[str]:
        """What students are chosen on: one metric, or one for each task."""
        return list(dict.fromkeys([self.metric, *self.goals.values()]))

    @property
    def told_by(self) -> list[str]:
        """The columns that say of a row what it is chosen on, and what that is worth."""
        return [*["task"] * bool(self.goals), *self.all_metrics]

    @property
    def axes(self) -> dict[str, Axis]:
        return {**self.trials, **self.students}

    @property
    def compared(self) -> tuple[str, ...]:
        """The axes whose values compete; the others make settings, each with a choice of its own."""
        return self.among or tuple(name for name in self.students if name != "seed")

    @property
    def others(self) -> list[str]:
        """The axes that make settings."""
        return [name for name in self.axes if name not in (*self.compared, "seed")]

    def margin_of(self, points: float | None) -> float:
        """The difference in the metric that does not matter: as --decide said it, in points where it is a share; the study's where it
        said none (None), or stood alone (inf)."""
        from analysis.core import records

        if points is not None and math.isfinite(points):
            return points / records.unit(self.metric)
        return records.margin(self.metric) if self.margin is None else self.margin

    def load(self) -> Any:
        """The trainable's class. Imports torch."""
        module, _, name = self.trainable.partition(":")
        return getattr(importlib.import_module(module), name)

    def grids(self, preset: str, data: str, overrides: Mapping[str, tuple]) -> list[dict[str, tuple]]:
        """The values of every axis in each grid of the preset: the study's, the preset's, the grid's own, the sample's, then
        the command line's. Where it names tasks, grids of other tasks are left out."""
        p = self.presets[preset]
        values = {name: axis.values for name, axis in self.axes.items()} | dict(p.axes)
        sample = p.sample if data == "sample" else {}
        grids = [{**values, **own, **sample, **overrides} for own in p.grids]
        if not self.goals:
            return grids
        for own, grid in zip(p.grids, grids, strict=True):
            grid["task"] = tuple(task for task in grid["task"] if task in own.get("task", grid["task"]))
        return [grid for grid in grids if grid["task"]]

    def chosen(self, preset: str, data: str, overrides: Mapping[str, tuple]) -> dict[str, tuple]:
        """All values that each axis has in the grids of a preset."""
        return joined(self.grids(preset, data, overrides))

    def searched(self, overrides: Mapping[str, tuple]) -> dict[str, Range]:
        """The axes that a searcher draws from. An axis given two or more values on the command line is searched
        between the least and the greatest; given one, it is fixed."""
        found = {}
        for name, axis in self.axes.items():
            if axis.search is None or len(overrides.get(name, ())) == 1:
                continue
            limits = overrides.get(name)
            found[name] = replace(axis.search, low=min(limits), high=max(limits)) if limits else axis.search
        return found


def joined(grids: Sequence[Mapping[str, tuple]]) -> dict[str, tuple]:
    """All values of each axis, in the order in which the grids bring them."""
    return {name: tuple(dict.fromkeys(v for each in grids for v in each[name])) for name in grids[0]}


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _apart(word: str) -> str:
    return "; values stand apart by spaces, and decimals have a point" * ("," in word)


def noun(kind: type) -> str:
    return {int: "a whole number", float: "a number"}.get(kind, "a word")
