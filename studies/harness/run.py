"""One run of a study, from its plan to its figures. Torch and Ray are imported only to train."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import math
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.harness import folder as folders
from studies.harness import machine
from studies.harness.arguments import Options
from studies.harness.progress import Reporter, duration, say
from studies.harness.study import Cell, Config, InputError, Study, Trial, flag, student_hash

INTERRUPTED = 130
OVERHEAD = 25  # seconds of a run that are not training: start of Ray, data, figures


class Run:
    """One run from its plan to its figures."""

    def __init__(self, study: Study, options: Options, words: Sequence[str]) -> None:
        self.study, self.options, self.words = study, options, words
        self.earlier = self._earlier()
        self.info = self.earlier.read_json() if self.earlier else {}
        if self.earlier:
            self._check_earlier()
        o = options
        if o.data_root is None and self.info.get("data_root"):
            o.data_root = Path(self.info["data_root"])
        self.data, self.data_why = self._data()
        if o.resume:
            o.preset, o.search, o.samples, o.scheduler = (
                self.info[k] for k in ("preset", "search", "samples", "scheduler")
            )
            o.pack = o.pack or self.info["pack"]
            self.values = {k: tuple(v) for k, v in self.info["axes"].items()}
            self.given = {k: tuple(v) for k, v in self.info["given"].items()}
        elif o.extend:
            o.preset = self.info["preset"]
            before = {k: tuple(v) for k, v in self.info["axes"].items()}
            self.values = {k: tuple(dict.fromkeys((*v, *o.axes.get(k, ())))) for k, v in before.items()}
            self.given = {}
        else:
            self.values, self.given = study.chosen(o.preset, self.data, o.axes), o.axes
        self.preset = study.presets[o.preset]
        self.ranges = study.searched(self.given) if o.search != "grid" else {}
        self.workers = self._workers()
        self.fractions: dict[str, float] = {}
        self.folder = self.earlier or folders.RunFolder(o.storage, study.name, folders.new_name())

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

    def _check_earlier(self) -> None:
        o = self.options
        if o.extend and self.info["search"] != "grid":
            raise InputError(
                f"--extend {o.extend}: only a grid can be extended, this run was a {self.info['search']} search"
            )
        if o.extend and o.search != "grid":
            raise InputError("--extend adds grid points; it goes without --search")
        if set(self.info["axes"]) != set(self.study.axes):
            raise InputError(
                f"{self.info['run']} has other axes than this version of the study and cannot be continued"
            )

    def _data(self) -> tuple[str, str]:
        from trainables.core import data

        variant = self.info.get("data", self.options.data)
        try:
            return data.resolve(variant, self.study.dataset, self.options.data_root)
        except data.DataError as error:
            raise InputError(str(error)) from None

    def _workers(self) -> int:
        """Workers at a time; InputError where more is asked for than this machine has."""
        o = self.options
        have = machine.available_cores()
        if o.address not in ("local", "inline"):
            return o.num_gpus or o.num_cpus or 10_000  # the cluster's resources are the limit
        if (o.num_cpus or 0) > have:
            raise InputError(f"--num-cpus {o.num_cpus}: this machine has {have} for this process")
        if o.num_gpus:
            gpus = machine.gpus()
            if o.num_gpus > len(gpus):
                found = f"{len(gpus)} ({', '.join(gpus)})" if gpus else "none that torch can use"
                raise InputError(f"--num-gpus {o.num_gpus}: this machine has {found}")
        if o.address == "inline":
            return 1
        return o.num_gpus or o.num_cpus or have

    # The plan

    def plan(self) -> None:
        """Cells, the students that answer them, and the trials that are left to do."""
        o, study = self.options, self.study
        statuses = self.folder.statuses() if self.earlier else {}
        self.finished = {student for student, status in statuses.items() if status in ("done", "stopped")}
        self.cells: list[Cell] = []
        self.trials: list[Trial] = []
        if o.search == "optuna":
            self.total = o.samples * len(self.values["seed"]) * len(study.regimes(self.values))
            return
        points = self._random_points() if o.search == "random" else None
        self.cells = study.cells(self.values, points)
        if o.scheduler == "asha":
            self.trials = study.config_trials(self.cells, self.finished)
        else:
            self.trials = study.grid_trials(self.cells, self._pack(), self.finished)
        self.total = len({cell.student for cell in self.cells})

    def _pack(self) -> int:
        """Students side by side: on a GPU what its memory holds; on CPUs the preset's number, or fewer where every
        worker should get several packs, so that none waits long for the last."""
        o = self.options
        if not o.pack:
            count = len({cell.student for cell in self.cells})
            o.pack = max(1, min(self._most(), math.ceil(count / (4 * min(self.workers, 64)))))
        return o.pack

    def _most(self) -> int:
        o = self.options
        if not o.num_gpus or o.dry_run or o.address not in ("local", "inline"):
            return self.preset.pack
        import torch

        cls = self.study.load()
        free, _ = torch.cuda.mem_get_info()
        return int(0.6 * free / max(cls.student_bytes(cls.config_type(**cell.config)) for cell in self.cells))

    def _random_points(self) -> list[Config]:
        import numpy as np

        if not self.ranges:
            raise InputError("--search random: no axis is left to search; give at most the ends of its range")
        rng = np.random.default_rng(0)  # a resumed run draws the points of the first
        columns = {}
        for name, r in self.ranges.items():
            u = rng.random(self.options.samples)
            drawn = (
                np.exp(np.log(r.low) + u * (np.log(r.high) - np.log(r.low))) if r.log else r.low + u * (r.high - r.low)
            )
            columns[name] = [float(v) for v in drawn]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def describe(self) -> list[str]:
        o = self.options
        left = self.total - len(self.finished & self._planned())
        core_seconds, how = self._core_seconds()
        workers = min(self.workers, max(len(self.trials), 1)) if o.search != "optuna" else self.workers
        seconds = left * core_seconds / workers + OVERHEAD
        axes = "  ".join(
            f"{name} {_short(values)}"
            for name, values in self.values.items()
            if len(values) > 1 and name not in self.ranges
        )
        drawn = "  ".join(f"{name} in [{r.low:g}, {r.high:g}]" for name, r in self.ranges.items())
        lines = [
            f"{self.study.name}: {self.study.question.strip().splitlines()[0]}",
            f"data      {self.data_why}",
            f"axes      {axes}" + (f"  drawn: {drawn}" if drawn else ""),
            f"plan      {len(self.cells) or self.total} cells, {self.total} students"
            + (f", {left} left" if self.finished else "")
            + (
                f", in {sum(len(t.packs) for t in self.trials)} packs, {len(self.trials)} trials" if self.trials else ""
            ),
            f"workers   {workers} ({'GPU' if o.num_gpus else 'one core'} each), {o.address}",
            f"estimate  {duration(seconds)}, {workers * self.preset.worker_mib / 1024:.1f} GiB ({how})",
        ]
        return lines

    def _planned(self) -> set[str]:
        return {cell.student for cell in self.cells} if self.cells else self.finished

    def _core_seconds(self) -> tuple[float, str]:
        """Training time of a student: from the latest finished run here of the same size, else the preset's figure."""
        o = self.options
        if "://" not in o.storage:
            for name in reversed(folders.runs(o.storage, self.study.name)):
                with contextlib.suppress(OSError, ValueError, KeyError):
                    info = json.loads(Path(o.storage, self.study.name, name, "run.json").read_text())
                    if (info["preset"], info["data"], info["status"]) == (o.preset, self.data, "done"):
                        return info["core_seconds_per_student"], f"from run {name}"
        return self.preset.core_seconds, "from the preset's reference machine"

    # The run

    def go(self) -> int:
        self.plan()
        for line in self.describe():
            say(line)
        if self.options.dry_run:
            return 0
        if self.data == "sample" and self.options.data == "auto":
            say("NOTE      this run uses the small shipped sample; --data full takes the whole data set")
        self.folder.create()
        with self._only_one():
            start = time.monotonic()
            self._begin()
            try:
                stopped = self._train()
            except KeyboardInterrupt:
                stopped = True
            except OSError as error:
                return self._broken(error)
            except InputError:
                self.folder.write_json(self.info | {"status": "failed"})
                raise
            return self._end(stopped, time.monotonic() - start)

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
        session = {"command": shlex.join([f"studies/{self.study.name}.py", *self.words]), "start": folders.now()}
        first = {
            "study": self.study.name, "run": self.folder.run, "command": session["command"], "start": session["start"],
            "git_commit": machine.commit(), "versions": machine.versions(),
            "devices": {"cpu": machine.processor(), "cores": machine.available_cores(), "gpus": machine.gpus() if o.num_gpus else []},
        }  # fmt: skip
        self.info = {**first, **self.info} | {
            "preset": o.preset, "axes": self.values, "given": self.given, "trial_axes": list(self.study.trials),
            "student_axes": list(self.study.students), "metric": self.study.metric, "mode": self.study.mode,
            "search": o.search, "samples": o.samples, "scheduler": o.scheduler, "pack": o.pack, "address": o.address,
            "data_root": o.data_root and str(o.data_root.absolute()), "data": self.data, "data_description": data.describe(self.study.dataset, self.data),
            "students": self.total, "cells": len(self.cells), "workers": self.workers, "status": "running",
            "sessions": [*self.info.get("sessions", []), session],
        }  # fmt: skip
        self.folder.write_json(self.info)
        say(f"run       {self.folder.uri}")
        from analysis.records import schema

        self.schema = schema({name: axis.type for name, axis in self.study.axes.items()}, self.study.metrics)
        self.by_student: dict[str, list[Config]] = {}
        for cell in self.cells:
            self.by_student.setdefault(cell.student, []).append(cell.config)
        if self.earlier:
            self._answer_new_cells()
        self.over: dict[str, str] = {student: "done" for student in self.finished & self._planned()}

    def _answer_new_cells(self) -> None:
        """Cells that an extension added, and that a finished student answers already, get copies of its rows."""
        axes = list(self.study.axes)
        known: dict[str, dict[tuple, list[dict]]] = {}
        for row in self.folder.read_rows():
            known.setdefault(row["student"], {}).setdefault(tuple(row[a] for a in axes), []).append(row)
        for cell in self.cells:
            answered = known.get(cell.student, {})
            if cell.student in self.finished and tuple(cell.config.values()) not in answered:
                copies = [{**row, **cell.config} for row in next(iter(answered.values()))]
                self.folder.write_rows("rows", f"cell-{student_hash(cell.config)}", copies, self.schema)

    def _train(self) -> bool:
        """Train all that is left; True where the user stopped it."""
        self.progress = Reporter(self.total, len(self.over), self.study.metric, self.study.mode)
        try:
            if self.options.address == "inline":
                return self._train_inline()
            return self._train_on_ray()
        finally:
            self.progress.close()

    def _train_inline(self) -> bool:
        from studies.harness import engine

        engine.prepare_process(self.options.num_cpus or machine.available_cores())
        device = "cuda" if self.options.num_gpus else "cpu"
        datasets = self._datasets() if self.trials else {}
        before = signal.signal(signal.SIGTERM, _as_interrupt)
        try:
            engine.run_inline(
                self.study, self.trials, datasets, device,
                self.record, self.record_lesson, self.folder.checkpoint, self.folder.write_checkpoint,
            )  # fmt: skip
        finally:
            signal.signal(signal.SIGTERM, before)
        return False

    def _train_on_ray(self) -> bool:
        if not self.trials and self.options.search != "optuna":
            return False
        o, study = self.options, self.study
        if o.dashboard and importlib.util.find_spec("aiohttp_cors") is None:
            raise InputError("--dashboard needs an extra: pip install 'stillroom[dashboard]'")
        from studies.harness import ray_adapter as adapter

        searches = []
        trials = self.trials
        if o.search == "optuna":
            searches = [adapter.Search(fixed, self.ranges, self.values["seed"], o.samples) for fixed in self._regimes()]
            if not self.ranges:
                raise InputError("--search optuna: no axis is left to search; give at most the ends of its range")
            # every suggestion has the same lessons: those of its regime and seeds
            middle = {name: (r.low + r.high) / 2 for name, r in self.ranges.items()}
            trials = [searched.trial(study, middle) for searched in searches]
        datasets = self._datasets()
        num_cpus = o.num_cpus or (machine.available_cores() if o.address == "local" else None)
        with adapter.cluster(o.address, num_cpus, o.num_gpus, o.dashboard) as context:
            if o.dashboard:
                say(f"dashboard http://{context.dashboard_url}")
            shared = adapter.share(datasets)
            self.progress.say("preparing teachers")
            answers = adapter.prepare(study, trials, shared, o.num_gpus, self.record_lesson)
            self.progress.restart_clock()
            plan = adapter.Plan(
                study, self.folder, self.trials, searches, o.scheduler == "asha", o.num_gpus, self.workers
            )
            return adapter.run(plan, shared, answers, self.record)

    def _datasets(self) -> Mapping[str, Any]:
        from trainables.core import data

        try:
            return self.study.load().datasets(self.data, self.options.data_root)
        except data.DataError as error:
            raise InputError(str(error)) from None

    def _regimes(self) -> list[Config]:
        """Combinations of everything that is not searched, save the seeds, which are averaged."""
        fixed = {name: v for name, v in self.values.items() if name not in self.ranges and name != "seed"}
        for name in self.study.students:
            if name in fixed and len(fixed[name]) > 1:
                raise InputError(f"--search optuna: {flag(name)} has no range to search; give it one value")
        combinations: list[Config] = [{}]
        for name, values in fixed.items():
            combinations = [{**c, name: value} for c in combinations for value in values]
        return combinations

    def record(self, trial: Trial, evaluation: int, rows: list[dict]) -> None:
        """Keep one flush of a trial: every row once for each cell that its student answers."""
        configs = {student_hash(c): c for c in trial.students}
        fixed = {
            "study": self.study.name,
            "run": self.folder.run,
            "trial": trial.name,
            "preset": self.options.preset,
            "data": self.data,
        }
        table, best, work = [], [], 0.0
        for row in rows:
            student = row["student"]
            fraction = row.get("fraction", 0.0)
            if row["status"] != "running":
                self.over[student] = row["status"]
                fraction = 1.0
            work += fraction - self.fractions.get(student, 0.0)
            self.fractions[student] = fraction
            value = row.get(self.study.metric)
            if value is not None and row["status"] != "running":
                best.append(value)
            row = {k: v for k, v in row.items() if k != "fraction"}
            for cell in self.by_student.get(student) or [configs[student]]:
                table.append({**fixed, **cell, **row})
        self.folder.write_rows("rows", f"{trial.name}-{evaluation:03d}", table, self.schema)
        better = max if self.study.mode == "max" else min
        self.progress.update(len(self.over), work, better(best) if best else None)

    def record_lesson(self, row: Mapping[str, Any]) -> None:
        table = self.study.lesson_table
        name = "-".join(str(v) for v in row.values() if isinstance(v, str | int))
        self.folder.write_rows(
            table, name, [{"study": self.study.name, "run": self.folder.run, "data": self.data, **row}], None
        )

    # The end

    def _broken(self, error: OSError) -> int:
        what = (
            "the disk is full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else f"the run folder cannot be written ({error})"
        )
        say(f"{self.study.name}: {what}; the rows so far are kept; {self._resume_hint()}")
        return 1

    def _resume_hint(self) -> str:
        where = "" if self.options.storage == "results" else f" --storage {self.options.storage}"
        return f"to go on: python studies/{self.study.name}.py --resume {self.folder.run}{where}"

    def _end(self, stopped: bool, seconds: float) -> int:
        failed = sorted(s for s, status in self.over.items() if status == "failed")
        missing = self.total - len(self.over)
        stopped = stopped and missing > 0
        status = "interrupted" if stopped else "failed" if failed or missing else "done"
        self.info["sessions"][-1] |= {"end": folders.now(), "seconds": round(seconds, 1)}
        total_seconds = sum(s.get("seconds", 0.0) for s in self.info["sessions"])
        trained = self.total if self.earlier is None else None
        self.info |= {
            "status": status,
            "end": folders.now(),
            "seconds": round(total_seconds, 1),
            "students": self.total,
        }
        if trained and status == "done":
            self.info["core_seconds_per_student"] = (
                max(seconds - OVERHEAD, 1) * min(self.workers, max(len(self.trials), 1)) / trained
            )
        self.folder.write_json(self.info)
        if status == "done":
            self.folder.drop_checkpoints()
        for student in failed[:10]:
            say(f"failed    student {student} (the rows say why)")
        say(f"{status:9} {len(self.over) - len(failed)} of {self.total} students have results; {duration(seconds)}")
        if status in ("interrupted", "failed") and missing:
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
        return subprocess.run([sys.executable, page.origin, self.folder.path], check=False).returncode


def _as_interrupt(number, frame):
    raise KeyboardInterrupt


def _short(values: tuple) -> str:
    return f"{values[0]}..{values[-1]}" if values == tuple(range(len(values))) else " ".join(map(str, values))
