"""An earlier run that is resumed or extended: what it was asked, what it planned, what it finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studies.harness import folder as folders
from studies.harness.arguments import Options
from studies.harness.folder import RunFolder
from studies.harness.students import Cell, cell_of, student_hash
from studies.harness.study import AUTO, Config, InputError, Study, flag

Grid = dict[str, tuple]  # the values of every axis

KEPT = ("preset", "search", "samples", "scheduler", "data")
WHERE = ("data_root", "num_gpus", "per_gpu", "num_cpus", "address", "pack", "keep_weights", "decide", "budget")
"""Options that a continued run takes from run.json: the first may not be changed, the second may."""


@dataclass(frozen=True)
class Earlier:
    """What is known of the run that goes on; all empty for a new one.

    info: run.json. statuses: the best that is known of each student: done, stopped, failed or running; trials: the trial
    that this is known from; scores: of those that are done, the metric that they are chosen on and its value. cells, students (canonical configs): as the run's tables name them; a run from before these
    tables has none.
    """

    info: Mapping[str, Any] = field(default_factory=dict)
    statuses: Mapping[str, str] = field(default_factory=dict)
    trials: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    cells: Sequence[Cell] = ()
    students: Mapping[str, Config] = field(default_factory=dict)

    @property
    def finished(self) -> set[str]:
        return {student for student, status in self.statuses.items() if status in ("done", "stopped")}

    @property
    def grids(self) -> list[Grid]:
        found = self.info.get("grids", [self.info["axes"]] if self.info else [])
        return [{name: tuple(values) for name, values in each.items()} for each in found]

    @property
    def overrides(self) -> Grid:
        found = self.info.get("overrides", self.info.get("given", {}))  # as it was called first
        return {name: tuple(values) for name, values in found.items()}


def take_up(study: Study, options: Options) -> tuple[Options, RunFolder, Earlier]:
    """The run that --resume or --extend names, with the options it was started with. InputError where there is none, or
    where it cannot go on as the command line asks."""
    folder = _find(study, options)
    info = folder.read_json()
    options = _options(study, options, info)
    return options, folder, _read(study, folder, info)


def space(study: Study, options: Options, data: str, earlier: Earlier) -> tuple[list[Grid], Grid]:
    """The grids of a run, and what its first command line has overridden in the preset's; extensions add to that."""
    more, before = options.axes, earlier.overrides
    if options.resume:
        return earlier.grids, before
    if not options.extend:
        return study.grids(options.preset, data, more), more
    if not more:  # what the preset has gained since
        asked = study.grids(options.preset, data, before)
        return earlier.grids + [
            grid for grid in asked if not any(_within(grid, each) for each in earlier.grids)
        ], before
    return [
        {name: tuple(dict.fromkeys((*values, *more.get(name, ())))) for name, values in grid.items()}
        for grid in earlier.grids
    ], before


def _within(grid: Grid, larger: Grid) -> bool:
    return all(set(values) <= set(larger[name]) for name, values in grid.items())


def _find(study: Study, options: Options) -> RunFolder:
    name = options.resume or options.extend
    there = folders.runs(options.storage, study.name)
    if not there:
        raise InputError(f"there is no run of {study.name} under {options.storage}")
    if name == "latest":
        name = there[-1]
    if name not in there:
        raise InputError(f"there is no run {name} under {options.storage}/{study.name}; the latest is {there[-1]}")
    return RunFolder(options.storage, study.name, name)


def _options(study: Study, o: Options, info: Mapping[str, Any]) -> Options:
    """InputError where the command line says otherwise than the run that is continued."""
    run, address = info["run"], info.get("address", "local")
    earlier = Earlier(info)
    grids = [info["axes"], *earlier.grids]
    if any(set(grid) != set(study.axes) for grid in grids) or not set(earlier.overrides) <= set(study.axes):
        raise InputError(f"{run} has other axes than this version of the study and cannot be continued")
    if info["preset"] not in study.presets:
        raise InputError(f"{run} has a preset that this version of the study has not: {info['preset'][:40]}")
    for name, axis in study.axes.items():
        for value in (value for grid in [*grids, earlier.overrides] for value in grid.get(name, ())):
            if not axis.holds(value):
                raise InputError(
                    f"{run} cannot be continued: run.json has {flag(name)} {str(value)[:40]}, which cannot be"
                )
    if address not in ("local", "inline") and "address" not in o.given:  # whoever wrote run.json chooses no machine
        raise InputError(f"{run} ran on --address {address[:80]}; say that again, or another, to go on there")
    if o.extend and (info["search"], info["scheduler"]) != ("grid", "none"):
        raise InputError(f"--extend {o.extend}: only a grid without a scheduler can be extended")
    larger = study.presets[info["preset"]].part_of if o.extend else ""
    grows = bool(larger) and "preset" in o.given and o.preset == larger
    if grows and o.axes:
        raise InputError(f"--extend {o.extend} --preset {larger}: that alone, without axes; add these once it is done")
    for name in KEPT:
        if name in o.given and getattr(o, name) != info[name] and not (grows and name == "preset"):
            raise InputError(f"{flag(name)} {getattr(o, name)}: {info['run']} was started with {info[name]}")
    kept = {name: info[name] for name in KEPT if not (grows and name == "preset")}
    where = {name: info[name] for name in WHERE if name in info and name not in o.given}
    if where.get("data_root"):
        where["data_root"] = Path(where["data_root"])
    named = {name: tuple(v for v in values if v != AUTO or not study.axes[name].auto) for name, values in o.axes.items()}
    return replace(o, **kept, **where, axes={name: values for name, values in named.items() if values})


def _read(study: Study, folder: RunFolder, info: Mapping[str, Any]) -> Earlier:
    from analysis.core.records import STATUSES

    statuses: dict[str, str] = {}
    trials: dict[str, str] = {}
    scores: dict[str, tuple[str, float]] = {}
    for row in folder.read_rows(columns=["student", "status", "trial", *study.told_by]):
        student, status = row["student"], row["status"]
        if STATUSES.index(status) >= STATUSES.index(statuses.get(student, STATUSES[0])):
            statuses[student], trials[student] = status, row["trial"]
        metric = study.metric_of(row)
        if status == "done" and row[metric] is not None:
            scores[student] = metric, row[metric]
    students = dict(_lines(study, folder, "students"))
    for student, config in students.items():
        if student_hash(config) != student:
            raise _Unfit(f"{folder.uri}/students: {student} is not the name of its config")
    cells = [Cell(config, student) for student, config in _lines(study, folder, "cells")]
    for cell in cells:
        if cell.student not in students and cell_of(study, cell.config) != cell:
            raise _Unfit(f"{folder.uri}/cells names {cell.student}, which is no student")
    return Earlier(info, statuses, trials, scores, cells, students)


def _lines(study: Study, folder: RunFolder, table: str) -> list[tuple[str, Config]]:
    """The student and the axes, in the study's order, of every line of a table."""
    lines = folder.read_rows(table)
    for line in lines:
        if missing := {"student", *study.axes} - set(line):
            raise _Unfit(f"{folder.uri}/{table} has no column {min(missing)}")
    return [(line["student"], {name: line[name] for name in study.axes}) for line in lines]


class _Unfit(InputError):
    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; delete the folders students and cells to have them written anew")
