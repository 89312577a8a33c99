"""One run of a study, from its plan to its figures. Torch and Ray are imported only to train."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.harness import folder as folders
from studies.harness import machine
from studies.harness.arguments import Options
from studies.harness.plan import OVERHEAD, Plan
from studies.harness.progress import Reporter, duration, say
from studies.harness.study import Config, InputError, Study, Trial, flag, student_hash

INTERRUPTED = 130
KEPT = ("preset", "search", "samples", "scheduler", "data")
WHERE = ("data_root", "num_gpus", "per_gpu", "num_cpus", "address", "pack", "keep_weights")
"""Options that a continued run takes from run.json: the first may not be changed, the second may."""


class Run:
    """One run from its plan to its figures."""

    def __init__(self, study: Study, options: Options, words: Sequence[str]) -> None:
        self.study, self.options, self.words = study, options, words
        self.earlier = self._earlier()
        self.info = self.earlier.read_json() if self.earlier else {}
        if self.earlier:
            self._take_up()
        self.data, self.data_why = self._data()
        statuses = self.earlier.statuses() if self.earlier else {}
        self.plan = Plan(study, options, self.data, self.info, statuses)
        self.best: tuple[float, str] | None = None  # the metric and the student
        self.trained: dict[str, tuple[float, float]] = {}  # of each student: fraction of its training, and seconds
        self.folder = self.earlier or folders.RunFolder(options.storage, study.name, folders.new_name())

    # What is there already

    def _earlier(self) -> folders.RunFolder | None:
        name = self.options.resume or self.options.extend
        if not name:
            return None
        there = folders.runs(self.options.storage, self.study.name)
        if not there:
            raise InputError(f"there is no run of {self.study.name} under {self.options.storage}")
        if name == "latest":
            name = there[-1]
        if name not in there:
            raise InputError(
                f"there is no run {name} under {self.options.storage}/{self.study.name}; the latest is {there[-1]}"
            )
        return folders.RunFolder(self.options.storage, self.study.name, name)

    def _take_up(self) -> None:
        """Options of the run that is continued. InputError where the command line says otherwise."""
        o, info = self.options, self.info
        if set(info["axes"]) != set(self.study.axes):
            raise InputError(f"{info['run']} has other axes than this version of the study and cannot be continued")
        if o.extend and (info["search"], info["scheduler"]) != ("grid", "none"):
            raise InputError(f"--extend {o.extend}: only a grid without a scheduler can be extended")
        for name in KEPT:
            if name in o.given and getattr(o, name) != info[name]:
                raise InputError(f"{flag(name)} {getattr(o, name)}: {info['run']} was started with {info[name]}")
            setattr(o, name, info[name])
        for name in WHERE:
            if name not in o.given:
                setattr(o, name, info.get(name, getattr(o, name)))
        o.data_root = Path(o.data_root) if o.data_root else None

    def _data(self) -> tuple[Any, str]:
        from trainables.core import data

        o = self.options
        self.datasets = self.study.datasets
        if axis := self.study.axes.get("dataset"):
            before = tuple(self.info.get("axes", {}).get("dataset", ()))
            chosen = o.axes.get("dataset") or self.study.presets[o.preset].axes.get("dataset", axis.values)
            self.datasets = tuple(dict.fromkeys((*before, *chosen))) if o.extend or not before else before
        try:
            with data.offline() if o.dry_run else contextlib.nullcontext():
                wanted = "full" if o.dry_run and o.data == "auto" else o.data
                variant, why = data.resolve(wanted, self.datasets, o.data_root)
        except data.DataMissing as missing:
            if not o.dry_run:
                raise InputError(str(missing)) from None
            otherwise = ", else the shipped sample" if o.data == "auto" else ""
            return "full", f"The full data, if a run can download them{otherwise}: {missing}."
        except data.DataError as error:
            raise InputError(str(error)) from None
        if variant == "sample" and o.data == "auto" and o.data_root:
            raise InputError(f"--data-root {o.data_root}: {why} Ask for the sample with --data sample.")
        return variant, why

    # The run

    def go(self) -> int:
        say(f"{self.study.name}: {self.study.question.strip().splitlines()[0]}")
        for line in (f"data      {self.data_why}", *self.plan.lines()):
            say(line)
        if self.folder.local:  # where weights=run:RUN/STUDENT are looked for, by workers too
            os.environ["STILLROOM_RESULTS"] = str(Path(self.options.storage).expanduser().absolute())
        if not self.options.dry_run or self.options.keep_weights or "weights" in self.study.axes:
            self._require()  # imports torch, which other dry runs do without
        if self.options.dry_run:
            return 0
        if self.data == "sample" and self.options.data == "auto":
            say("NOTE      this run uses the small shipped sample; --data full takes the whole data set")
        self.folder.create()
        with self._only_one():
            start = time.monotonic()
            try:
                self._begin()
                try:
                    stopped = self._train()
                except KeyboardInterrupt:
                    stopped = True
                return self._end(stopped, time.monotonic() - start)
            except InputError:  # said before any training: a run that never was is not the latest
                if not self.earlier:
                    self.folder.discard()
                raise
            except folders.FolderError as error:
                say(f"{self.study.name}: {error}; the rows so far are kept; {self._resume_hint()}")
                return 1
            except BaseException:
                with contextlib.suppress(folders.FolderError):
                    self.folder.write_json(self.info | {"status": "failed"})
                raise

    def _require(self) -> None:
        """InputError where something that the students start from is not at hand; a dry run names what would be downloaded."""
        from trainables.core import data

        configs = [config for trial in self.plan.trials for config in trial.students]
        if self.options.search == "optuna":
            drawn = {name: r.low for name, r in self.plan.ranges.items()} | {"seed": self.plan.values["seed"][0]}
            configs = [{**fixed, **drawn} for fixed in self.plan.fields()]
        cls = self.study.load()
        if self.options.keep_weights and not hasattr(cls, "networks"):
            raise InputError(
                f"--keep-weights: the students of {self.study.name} are numbers of a population, not networks to keep"
            )
        try:
            students = [cls.config_type(**config) for config in configs]
            if students and hasattr(cls, "require"):
                with data.offline() if self.options.dry_run else contextlib.nullcontext():
                    cls.require(students)
        except data.DataMissing as missing:
            if not self.options.dry_run:
                raise InputError(str(missing)) from None
            say(f"weights   a run must download them: {missing}")
        except ValueError as error:  # a config that makes no sense, or a DataError
            raise InputError(str(error)) from None

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        """One process writes a run folder."""
        if not self.folder.local:
            yield
            return
        from filelock import FileLock, Timeout

        try:
            with FileLock(f"{self.folder.path}/.lock", timeout=0):
                yield
        except Timeout:
            raise InputError(f"{self.folder.run} is being written by another process") from None

    def _begin(self) -> None:
        from trainables.core import data

        o = self.options
        session = {
            "command": shlex.join([f"studies/{self.study.name}.py", *self.words]),
            "start": folders.now(),
            "git_commit": machine.commit(),
        }
        first = {
            "study": self.study.name, "run": self.folder.run, "command": session["command"], "start": session["start"],
            "git_commit": session["git_commit"], "versions": machine.versions(),
            "devices": {"cpu": machine.processor(), "cores": machine.available_cores(), "gpus": machine.gpus() if o.num_gpus else []},
        }  # fmt: skip
        self.info = {**first, **self.info} | {
            **{name: getattr(o, name) for name in KEPT}, **{name: getattr(o, name) for name in WHERE},
            "data_root": o.data_root and str(o.data_root.absolute()), "data": self.data,
            "data_description": data.describe(self.datasets, self.data, o.data_root),
            "axes": self.plan.values, "grids": self.plan.grids, "given": self.plan.given, "trial_axes": list(self.study.trials),
            "student_axes": list(self.study.students), "datasets": self.datasets, "metric": self.study.metric, "mode": self.study.mode,
            "students": self.plan.total, "cells": len(self.plan.cells), "workers": self.plan.workers, "status": "running",
            "sessions": [*self.info.get("sessions", []), session],
        }  # fmt: skip
        self.folder.write_json(self.info)
        say(f"run       {self.folder.uri}")
        from analysis.core.records import schema

        self.schema = schema({name: axis.type for name, axis in self.study.axes.items()}, self.study.metrics)
        self.by_student: dict[str, list[Config]] = {}
        for cell in self.plan.cells:
            self.by_student.setdefault(cell.student, []).append(cell.config)
        if self.earlier:
            self._answer_new_cells()
        self.over: dict[str, str] = {student: "done" for student in self.plan.done()}

    def _answer_new_cells(self) -> None:
        """Cells that an extension added, and that a finished student answers already, get copies of its rows."""
        axes = list(self.study.axes)
        known: dict[str, dict[tuple, list[dict]]] = {}
        for row in self.folder.read_rows():
            known.setdefault(row["student"], {}).setdefault(tuple(row[a] for a in axes), []).append(row)
        for cell in self.plan.cells:
            answered = known.get(cell.student, {})
            if cell.student in self.plan.finished and tuple(cell.config.values()) not in answered:
                copies = [{**row, **cell.config} for row in next(iter(answered.values()))]
                self.folder.write_rows("rows", f"cell-{student_hash(cell.config)}", copies, self.schema)

    def _train(self) -> bool:
        """Train all that is left; True where the user stopped it."""
        planned = [c for trial in self.plan.trials for c in trial.students]
        to_do = Counter(map(self._kind, planned)) if planned else {False: self.plan.total - len(self.over)}
        self.progress = Reporter(self.plan.total, len(self.over), to_do, self.study.metric)
        try:
            if self.options.address == "inline":
                return self._train_inline()
            return self._train_on_ray()
        finally:
            self.progress.close()

    def _kind(self, config: Config) -> bool:
        """Students that train alone cost more than those of a pack; what a search will suggest is not known before."""
        return bool(self.plan.trials) and self.study.trains_alone(config)

    def _train_inline(self) -> bool:
        from studies.harness import engine

        products = engine.prepare_process(self.options.num_cpus or machine.available_cores())
        self.info["devices"]["float32_products"] = [products]
        device = "cuda" if self.options.num_gpus else "cpu"
        datasets = self._datasets() if self.plan.trials else {}
        before = signal.signal(signal.SIGTERM, _as_interrupt)
        try:
            engine.run_inline(
                self.study, self.plan.trials, datasets, device,
                self.record, self.record_artifact, self.folder.checkpoint, self.folder.write_checkpoint,
                self.folder.write_weights if self.options.keep_weights else None,
            )  # fmt: skip
        finally:
            signal.signal(signal.SIGTERM, before)
        return False

    def _train_on_ray(self) -> bool:
        o, study, plan = self.options, self.study, self.plan
        if not plan.trials and o.search != "optuna":
            return False
        from studies.harness import ray_adapter as adapter

        searches, trials = [], plan.trials
        if o.search == "optuna":
            searches = [adapter.Search(fixed, plan.ranges, plan.values["seed"], o.samples) for fixed in plan.fields()]
            # every suggestion has the artifacts of its field and seeds, whatever the point
            middle = {name: (r.low + r.high) / 2 for name, r in plan.ranges.items()}
            trials = [searched.trial(study, middle) for searched in searches]
        datasets = self._datasets()
        num_cpus = o.num_cpus or (machine.available_cores() if o.address == "local" else None)
        with adapter.cluster(o.address, num_cpus, o.num_gpus, o.dashboard) as context:
            if o.dashboard:
                say(f"dashboard http://{context.dashboard_url}")
            if o.address != "local" and self.folder.local:
                say("NOTE      on several machines --storage must be a folder that they all share, or s3://...")
            shared = adapter.share(datasets)
            self.progress.say(f"preparing {study.artifact_table}")
            answers, products = adapter.prepare(study, trials, shared, o.num_gpus, self.record_artifact)
            self.info["devices"]["float32_products"] = products
            self.progress.restart_clock()
            jobs = adapter.Jobs(study, self.folder, plan.trials, searches, plan.workers, o)
            return adapter.run(jobs, shared, answers, self.record)

    def _datasets(self) -> Mapping[str, Any]:
        from trainables.core import data

        try:
            return {name: data.load(name, self.data, self.options.data_root) for name in self.datasets}
        except data.DataError as error:
            raise InputError(str(error)) from None

    def record(self, trial: Trial, evaluation: int, rows: list[dict]) -> None:
        """Keep one flush of a trial: every row once for each cell that its student answers, and the lines of further
        tables once for each student."""
        configs = {student_hash(c): c for c in trial.students}
        fixed = {
            "study": self.study.name,
            "run": self.folder.run,
            "trial": trial.name,
            "preset": self.options.preset,
            "data": self.data,
        }
        table, best = [], []
        work: Counter = Counter()
        spent: Counter = Counter()
        further: dict[str, list[dict]] = {}
        for row in rows:
            student = row["student"]
            fraction = row.get("fraction", 0.0)
            if row["status"] != "running":
                self.over[student] = row["status"]
                fraction = 1.0
            kind, before = self._kind(configs[student]), self.trained.get(student, (0.0, 0.0))
            now = self.trained[student] = fraction, row.get("seconds", before[1])
            work[kind] += now[0] - before[0]
            spent[kind] += now[1] - before[1]
            value = row.get(self.study.metric)
            if value is not None and row["status"] != "running":
                best.append((value, student))
            for name, lines in row.get("tables", {}).items():
                known = {**fixed, **configs[student], "student": student, "step": row["step"]}
                further.setdefault(name, []).extend({**known, **line} for line in lines)
            row = {k: v for k, v in row.items() if k not in ("fraction", "tables")}
            for cell in self.by_student.get(student) or [configs[student]]:
                table.append({**fixed, **cell, **row})
        flush = f"{trial.name}-{evaluation:03d}"
        for name, lines in further.items():  # before the rows: a student with a row lacks nothing
            self.folder.write_rows(name, flush, lines, keys=[*self.study.axes, *self.study.tables[name]])
        self.folder.write_rows("rows", flush, table, self.schema)
        better = max if self.study.mode == "max" else min
        self.best = better([*best, self.best] if self.best else best, default=None)
        self.progress.update(len(self.over), work, spent, self.best[0] if self.best else None)

    def record_artifact(self, row: Mapping[str, Any]) -> None:
        known = {"study": self.study.name, "run": self.folder.run, "data": self.data}
        name = "-".join(str(v) for v in row.values() if isinstance(v, str | int)).replace("/", "_")
        tables = {self.study.artifact_table: [{k: v for k, v in row.items() if k != "tables"}], **row.get("tables", {})}
        for table, lines in tables.items():
            self.folder.write_rows(table, name, [{**known, **line} for line in lines])

    # The end

    def _resume_hint(self) -> str:
        where = "" if self.options.storage == "results" else f" --storage {shlex.quote(self.options.storage)}"
        return f"to go on: {_interpreter()} studies/{self.study.name}.py --resume {self.folder.run}{where}"

    def _end(self, stopped: bool, seconds: float) -> int:
        total = self.plan.total
        if self.options.search == "optuna" and not stopped:  # a searcher may ask for one student twice
            total = len(self.over)
        failed = sorted(s for s, status in self.over.items() if status == "failed")
        missing = total - len(self.over)
        stopped = stopped and missing > 0
        status = "interrupted" if stopped else "failed" if failed or missing else "done"
        self.info["sessions"][-1] |= {"end": folders.now(), "seconds": round(seconds, 1)}
        in_all = sum(s.get("seconds", 0.0) for s in self.info["sessions"])
        self.info |= {"status": status, "end": folders.now(), "seconds": round(in_all, 1), "students": total}
        if status == "done" and not self.earlier and self.plan.trials and self.options.scheduler == "none":
            busy = max(seconds - OVERHEAD, 1) * min(self.plan.workers, len(self.plan.trials))
            self.info["core_seconds_per_student"] = busy / total
        self.folder.write_json(self.info)
        if status == "done":
            self.folder.drop_checkpoints()
        for student in failed[:10]:
            say(f"failed    student {student} (the rows say why)")
        say(f"{status:9} {len(self.over) - len(failed)} of {total} students have results; {duration(seconds)}")
        if self.options.keep_weights:
            say(
                f"weights   {self.folder.uri}/weights, one file for each student; to start from one: --weights run:{self.folder.run}/STUDENT"
            )
            if self.best:
                say(f"          best {self.study.metric} so far: run:{self.folder.run}/{self.best[1]}")
        if missing:
            say(self._resume_hint())
        drawn = self._draw() if self.over else 0
        if stopped:
            return INTERRUPTED
        return 1 if failed or missing or drawn else 0

    def _draw(self) -> int:
        """The study's page, in a process of its own: it needs neither torch nor Ray."""
        if not (self.options.report and self.folder.local):
            return 0
        page = importlib.util.find_spec(f"analysis.{self.study.name}")
        assert page is not None and page.origin is not None, f"analysis/{self.study.name}.py is missing"
        command = [sys.executable, page.origin, self.folder.path]
        try:
            return subprocess.run(command, check=False).returncode
        except KeyboardInterrupt:
            say(f"the rows are kept; to draw: python analysis/{self.study.name}.py {shlex.quote(self.folder.path)}")
            return INTERRUPTED


def _as_interrupt(number, frame):
    raise KeyboardInterrupt


def _interpreter() -> str:
    """How this Python is called from here: python where that is it, else its path, such as .venv/bin/python."""
    here = Path(sys.executable)
    if shutil.which("python") == sys.executable:
        return "python"
    return shlex.quote(str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here))
