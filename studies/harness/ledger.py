"""Keeps what a run plans and what comes out: tables to Parquet, progress, the best so far."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from analysis.core.records import file_name
from studies.harness.curves import Curves
from studies.harness.earlier import Earlier
from studies.harness.folder import RunFolder, flush_name
from studies.harness.plan import Plan
from studies.harness.progress import Reporter
from studies.harness.students import Cell, Trial, student_hash
from studies.harness.study import Config

REGIMES = 4  # whose best are said, at most


class Ledger:
    """outcomes: how each student ended (done, stopped, failed) as far as it has; best: of each metric that students are chosen on, its
    best value and the student, of all that are done; regimes: the same by the trial axes that vary; trained: of each student of this session, the fraction of its training and its seconds."""

    def __init__(self, plan: Plan, folder: RunFolder, earlier: Earlier) -> None:
        from analysis.core.records import plan_schemas, schema

        study = plan.study
        kinds = {name: axis.type for name, axis in study.axes.items()}
        self.plan, self.study, self.folder, self.earlier = plan, study, folder, earlier
        self.schema = schema(kinds, study.metrics)
        self.schemas = plan_schemas(kinds)
        self.made = {"preset": plan.options.preset, "data": plan.data}
        self.outcomes: dict[str, str] = {student: "done" for student in plan.done()}
        self.errors: dict[str, str] = {}  # of the students that failed in this session
        self.better = max if study.mode == "max" else min
        self.best: dict[str, tuple[float, str]] = {}
        self.regimes: dict[tuple[str, tuple[str, ...]], float] = {}
        self.varied = [name for name in study.trials if len(plan.values[name]) > 1]
        for student, (metric, value) in earlier.scores.items():
            self._best(metric, value, student, earlier.students.get(student, {}))
        self.trained: dict[str, tuple[float, float]] = {}
        self.named = set(earlier.students)  # the students and cells that the tables have
        self.points = {tuple(cell.config.values()) for cell in earlier.cells}
        self.curves = Curves(plan, folder)
        self.progress = Reporter(plan.total, len(self.outcomes), self._to_do())

    def _to_do(self) -> Counter:
        planned = [config for trial in self.plan.trials for config in trial.students]
        return Counter(map(self._kind, planned)) if planned else Counter({False: self.plan.total - len(self.outcomes)})

    def _kind(self, config: Config) -> bool:
        """Students that train alone cost more than those of a pack; what a search will suggest is not known before."""
        return bool(self.plan.trials) and self.study.trains_alone(config)

    # What is planned

    def write_plan(self) -> None:
        """Writes down the students and cells of the plan that the tables do not have yet. Call before these are trained."""
        cells = [cell for cell in self.plan.cells if tuple(cell.config.values()) not in self.points]
        self._answer([cell for cell in cells if cell.student in self.earlier.statuses])
        students = {student: c for student, c in self.plan.students.items() if student not in self.named}
        trial_of = {**self.earlier.trials, **{student_hash(c): t.name for t in self.plan.trials for c in t.students}}
        self._write_plan(students, cells, trial_of)
        if students:
            self.progress.expect(self.plan.total, self._to_do())

    def suggested(self, trial: Trial) -> None:
        """Writes down the students that a searcher asks for; each has a cell of its own, as in the rows."""
        students = {student_hash(config): config for config in trial.students}
        cells = [Cell(config, student) for student, config in students.items()]
        self._write_plan(students, cells, dict.fromkeys(students, trial.name))

    def _write_plan(self, students: Mapping[str, Config], cells: Sequence[Cell], trial_of: Mapping[str, str]) -> None:
        lines = {
            "students": [{"student": s, "pack": trial_of.get(s), **config} for s, config in students.items()],
            "cells": [{"student": cell.student, **cell.config} for cell in cells],
        }
        for table, new in lines.items():  # the students first: no cell names one that is not there
            if new:  # named after its content, so that written again it is the same file
                digest = hashlib.sha256(json.dumps(new, sort_keys=True).encode()).hexdigest()[:10]
                self.folder.write_rows(table, digest, new, self.schemas[table])
        self.named |= set(students)
        self.points |= {tuple(cell.config.values()) for cell in cells}

    def _answer(self, cells: Sequence[Cell]) -> None:
        """Cells that were added, and that a student of an earlier session answers, get copies of its rows: those of one that goes on
        lack nothing of what went before."""
        if not cells:
            return
        known: dict[str, dict[tuple, list[dict]]] = {}
        for row in self.folder.read_rows():
            known.setdefault(row["student"], {}).setdefault(tuple(row[a] for a in self.study.axes), []).append(row)
        for cell in cells:
            answered = known.get(cell.student, {})
            if answered and tuple(cell.config.values()) not in answered:
                copies = [{**row, **cell.config} for row in next(iter(answered.values()))]
                self.folder.write_rows("rows", f"cell-{student_hash(cell.config)}", copies, self.schema)

    # What comes out

    def record(self, trial: Trial, evaluation: int, rows: list[dict]) -> None:
        """Keep one flush of a trial: every row once for each cell that its student answers, and the lines of further
        tables once for each student."""
        configs = {student_hash(c): c for c in trial.students}
        fixed = {"study": self.study.name, "run": self.folder.run, "trial": trial.name, **self.made}
        table = []
        work: Counter = Counter()
        spent: Counter = Counter()
        further: dict[str, list[dict]] = {}
        for row in rows:
            student = row["student"]
            fraction = row.get("fraction", 0.0)
            if row["status"] != "running":
                self.outcomes[student] = row["status"]
                if row.get("error"):
                    self.errors[student] = row["error"]
                fraction = 1.0
            kind, before = self._kind(configs[student]), self.trained.get(student, (0.0, 0.0))
            now = self.trained[student] = fraction, row.get("seconds", before[1])
            work[kind] += now[0] - before[0]
            spent[kind] += now[1] - before[1]
            metric = self.study.metric_of(configs[student])
            if row.get(metric) is not None and row["status"] == "done":
                self._best(metric, row[metric], student, configs[student])
            for name, lines in row.get("tables", {}).items():
                known = {**fixed, **configs[student], "student": student, "step": row["step"]}
                further.setdefault(name, []).extend({**known, **line} for line in lines)
            row = {k: v for k, v in row.items() if k not in ("fraction", "tables")}
            for cell in self.plan.cells_of.get(student) or [configs[student]]:
                table.append({**fixed, **cell, **row})
        flush = flush_name(trial.name, evaluation)
        for name, lines in further.items():  # before the rows: a student with a row lacks nothing
            self.folder.write_rows(name, flush, lines, keys=[*self.study.axes, *self.study.tables[name]])
        self.folder.write_rows("rows", flush, table, self.schema)
        for row in rows:
            self.curves.add(configs[row["student"]], row)
        self.progress.update(len(self.outcomes), work, spent, self._best_so_far())

    def _best(self, metric: str, value: float, student: str, config: Config) -> None:
        self.best[metric] = self.better((value, student), self.best.get(metric, (value, student)))
        regime = metric, tuple(f"{name} {config.get(name, '')}" for name in self.varied)
        self.regimes[regime] = self.better(value, self.regimes.get(regime, value))

    def _best_so_far(self) -> str:
        """`best val_accuracy 0.9511 (teacher_view source); 0.7012 (teacher_view target)`: of each combination of the trial axes that
        differ, where these are few; of the best one alone where the line has no room for all."""
        every, one, bare = [], [], []
        for metric, (value, _) in self.best.items():
            found = {values: best for (of, values), best in self.regimes.items() if of == metric}
            differ = [len(set(values)) > 1 for values in zip(*found, strict=True)]
            first = sorted(found, key=found.__getitem__, reverse=self.better is max)
            each = [f"{found[values]:.4f} ({', '.join(compress(values, differ))})" for values in first]
            bare.append(f"best {metric} {value:.4f}")
            one.append(f"best {metric} {each[0]}" if len(each) > 1 else bare[-1])
            every.append(f"best {metric} {'; '.join(each)}" if 1 < len(each) <= REGIMES else one[-1])
        lines = ["  ".join(said) for said in (every, one, bare)]
        return next((line for line in lines if len(line) <= self.progress.room), lines[-1])

    def record_artifact(self, row: Mapping[str, Any]) -> None:
        known = {"study": self.study.name, "run": self.folder.run, "data": self.plan.data}
        name = file_name("-".join(str(v) for v in row.values() if isinstance(v, str | int)))
        tables = {self.study.artifact_table: [{k: v for k, v in row.items() if k != "tables"}], **row.get("tables", {})}
        for table, lines in tables.items():
            if isinstance(lines, Mapping):
                self.folder.write_columns(table, name, {**known, **lines})
            else:
                self.folder.write_rows(table, name, [{**known, **line} for line in lines])
