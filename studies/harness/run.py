"""One run of a study, from its plan to its figures. Torch and Ray are imported only to train."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.core import interpreter
from analysis.core.records import unit
from studies.harness import folder as folders
from studies.harness import machine, needs, race
from studies.harness.arguments import Options, storage
from studies.harness.earlier import KEPT, WHERE, Earlier, take_up
from studies.harness.ledger import Ledger
from studies.harness.plan import Plan
from studies.harness.precise import packed, precise
from studies.harness.progress import duration, say
from studies.harness.study import InputError, Study

if TYPE_CHECKING:
    from studies.harness.engine import Engine
    from studies.harness.ray_adapter import Tuning
    from trainables.core.images import Own

INTERRUPTED = 130
MOST_NETWORKS = 10  # whose layers run.json has


class Run:
    """One run from its plan to its figures. info: what run.json says."""

    def __init__(self, study: Study, options: Options, words: Sequence[str]) -> None:
        self.goes_on = bool(options.resume or options.extend)
        if self.goes_on:
            options, self.folder, self.earlier = take_up(study, options)
        else:
            self.folder = folders.RunFolder(options.storage, study.name, folders.new_name())
            self.earlier = Earlier()
            options = needs.settled(study, options)
        self.info: dict[str, Any] = dict(self.earlier.info)
        self.data = needs.data_of(study, options, self.info)
        study = needs.fitted(study, self.data)
        if options.decide is not None:
            options = replace(options, decide=study.margin_of(options.decide) * unit(study.metric))
        self.found_out: list[str] = []  # which precision and packs a new run takes, and why
        seconds = None
        if not self.goes_on:
            options, found = precise(study, options, self.data)
            options, packs = packed(study, options, self.data)
            seconds = found.seconds
            self.found_out = [f"precision {found.why}"] * bool(found.why) + [f"packs     {packs}"] * bool(packs)
        self.study, self.options, self.words = study, options, words
        self.plan = Plan(study, options, self.data.variant, self.earlier, seconds)

    def go(self) -> int:
        """The exit code."""
        o = self.options
        say(f"{self.study.name}: {self.study.question.strip().splitlines()[0]}")
        for line in (f"data      {self.data.why}", *self.found_out, *self.plan.lines()):
            say(line)
        for line in needs.told(self.study, o, self.plan, self.data):
            say(f"NOTE      {line}")
        if self.folder.local:  # where weights=run:RUN/STUDENT are looked for, by workers too
            os.environ["STILLROOM_RESULTS"] = str(Path(o.storage).expanduser().absolute())
        if not o.dry_run or o.keep_weights or "weights" in self.study.axes:
            needs.require(self.study, o, self.plan, self.data)  # imports torch, which other dry runs do without
        if o.dry_run:
            self.folder.check()
            return 0
        if self.goes_on and (names := self.folder.unchecked()):
            without = f"without a digest, as in runs of older versions: {', '.join(names)}"
            say(f"NOTE      {without}; whether that is what the run wrote is not checked")
        if self.data.variant == "sample" and o.data == "auto":
            say("NOTE      this run uses the small shipped sample; --data full takes the whole data set")
        self.folder.create()
        with self.folder.only_one():
            try:
                return self._go()
            except InputError:
                if self.goes_on or self.folder.has_rows():
                    self._note("interrupted")
                else:  # a run that never was is not the latest
                    self.folder.discard()
                raise
            except folders.FolderError as error:
                self._note("failed")
                say(f"{self.study.name}: {error}; the rows so far are kept; {self._resume_hint()}")
                return 1
            except KeyboardInterrupt:  # before the training, or after it
                if not self.goes_on and not self.folder.begun:
                    self.folder.discard()
                    raise
                self._note("interrupted" if self.info["status"] == "running" else self.info["status"])
                say(f"interrupted {self._resume_hint()}")
                return INTERRUPTED
            except BaseException:
                self._note("failed")
                raise

    def _note(self, status: str) -> None:
        """How the run ended, wherever that can be written."""
        with contextlib.suppress(folders.FolderError):
            self.folder.write_end(self.info | {"status": status})

    def _go(self) -> int:
        start = time.monotonic()
        self._begin()
        ledger = Ledger(self.plan, self.folder, self.earlier)
        try:
            stopped = self._train(ledger)
        except KeyboardInterrupt:
            stopped = True
        finally:
            ledger.progress.close()
        if stopped:
            ledger.progress.stopping()
        return self._end(ledger, stopped, time.monotonic() - start)

    def _begin(self) -> None:
        o, study, plan = self.options, self.study, self.plan
        session = {
            "command": shlex.join([f"studies/{study.name}.py", *self.words]),
            "start": folders.now(),
            "git_commit": machine.commit(),
        }
        gpus = machine.gpus() if o.num_gpus else []
        first = {
            "study": study.name, "run": self.folder.run, **session, "versions": machine.versions(),
            "devices": {"cpu": machine.processor(), "cores": machine.available_cores(), "gpus": gpus},
        }  # fmt: skip
        self.info = {**first, **self.info} | {
            **{name: getattr(o, name) for name in (*KEPT, *WHERE)}, "pack": plan.pack,
            "data_root": o.data_root and str(o.data_root.absolute()), **self.data.about(),
            "axes": plan.values, "grids": plan.grids, "overrides": plan.overrides, "trial_axes": list(study.trials),
            "student_axes": list(study.students), "metric": study.metric, "goals": dict(study.goals), "mode": study.mode, "margin": study.margin_of(o.decide),
            "axes_help": {name: axis.help for name, axis in study.axes.items()}, **how_made(plan, self.data.own),
            "students": plan.total, "cells": len(plan.cells), "workers": plan.workers, "status": "running",
            # done: before this session, so that whoever reads tells how fast this one is
            "sessions": [*self.info.get("sessions", []), {**session, "done": len(plan.done())}],
        }  # fmt: skip
        self.info.pop("given", None)  # what older runs called overrides
        self.folder.write_json(self.info)
        for table, lines in self.data.tables().items():
            self.folder.write_rows(
                table, table, [{"study": study.name, "run": self.folder.run, **line} for line in lines]
            )
        say(f"run       {self.folder.uri}")

    # Training

    def _train(self, ledger: Ledger) -> bool:
        """Train all that is left; True where the user stopped it."""
        ledger.write_plan()
        if searches := self.plan.searches():
            with self._ray(ledger) as tuning:
                return tuning.search(searches)
        more = race.Race(self.plan, self.folder).more if self.options.decide is not None else lambda: False
        if not self.plan.trials and not more():
            return False
        start: Callable[[Ledger], AbstractContextManager[Engine]]
        start = self._inline if self.options.address == "inline" else self._ray
        with start(ledger) as engine:
            while trials := self.plan.more() or (more() and self.plan.more()):
                ledger.write_plan()
                if engine.train(trials):
                    return True
        return False

    @contextlib.contextmanager
    def _inline(self, ledger: Ledger) -> Iterator[Engine]:
        from studies.harness.engine import Inline

        o = self.options
        threads, device = o.num_cpus or machine.available_cores(), "cuda" if o.num_gpus else "cpu"
        kept = self.plan.telling if o.keep_weights else None
        engine = Inline(self.study, self.data.load(), device, threads, ledger, kept)
        try:
            yield engine
        finally:
            self.info["devices"]["float32_products"] = sorted(engine.products)

    @contextlib.contextmanager
    def _ray(self, ledger: Ledger) -> Iterator[Tuning]:
        if self.study.timed:  # Ray's workers are nice, and what is timed shall not wait for whatever else runs
            os.environ.setdefault("RAY_worker_niceness", "0")
        from studies.harness import ray_adapter as adapter

        o = self.options
        datasets = self.data.load()
        num_cpus = o.num_cpus or (machine.available_cores() if o.address == "local" else None)
        with adapter.cluster(
            o.address, num_cpus, o.num_gpus, o.dashboard, lambda: self._ray_died(ledger), o.per_gpu, o.wait
        ) as context:
            if o.dashboard:
                say(f"dashboard http://{context.dashboard_url}, which asks for the token of: {adapter.token_from()}")
            if o.address != "local" and self.folder.local:
                say("NOTE      on several machines --storage must be a folder that they all share, or s3://...")
            engine = adapter.Tuning(self.plan, datasets, ledger)
            try:
                yield engine
            finally:
                self.info["devices"]["float32_products"] = sorted(engine.products)
                if o.address != "local":
                    self.info["devices"]["nodes"] = engine.nodes()
                    for node in self.info["devices"]["nodes"]:
                        lost = "" if node["alive"] else ", lost"
                        say(f"node      {node['address']} ({node['host']}{lost}): {node['trials']} trials ended there")

    def _ray_died(self, ledger: Ledger) -> int:
        """Says so; the exit code. Where a signal has asked for a stop, Ray had it too: batch systems send it to all processes."""
        if ledger.progress.stopped:
            ledger.progress.close()
            self._note("interrupted")
            had = sum(status != "failed" for status in ledger.outcomes.values())
            say(f"interrupted {had} of {self.plan.total} students have results")
            say(self._resume_hint())
            return INTERRUPTED
        self._note("failed")
        say(f"{self.study.name}: Ray died (out of memory, or killed); the rows so far are kept; {self._resume_hint()}")
        return 1

    # The end

    def _resume_hint(self) -> str:
        o = self.options
        where = "" if o.storage == storage() else f" --storage {shlex.quote(o.storage)}"
        where += f" --address {shlex.quote(o.address)}" * (o.address not in ("local", "inline"))
        return f"to go on: {interpreter()} studies/{self.study.name}.py --resume {self.folder.run}{where}"

    def _end(self, ledger: Ledger, stopped: bool, seconds: float) -> int:
        plan, outcomes = self.plan, ledger.outcomes
        total = plan.total
        if self.options.search == "optuna" and not stopped:  # a searcher may ask for one student twice
            total = len(outcomes)
        for flush in self.folder.lost_flushes():
            say(
                f"NOTE      rows/{flush}.parquet is not there any more: the curves of its students lack that evaluation"
            )
        ended = (row for row in self.folder.read_rows(columns=["student", "status"]) if row["status"] != "running")
        lost = set(outcomes) - {row["student"] for row in ended}
        for student in lost:
            del outcomes[student]
        failed = sorted(s for s, status in outcomes.items() if status == "failed")
        missing = total - len(outcomes)
        stopped = stopped and missing > 0
        status = "interrupted" if stopped else "failed" if failed or missing else "done"
        self.info["sessions"][-1] |= {"end": folders.now(), "seconds": round(seconds, 1)}
        in_all = sum(s.get("seconds", 0.0) for s in self.info["sessions"])
        self.info |= {"status": status, "end": folders.now(), "seconds": round(in_all, 1)}
        self.info |= {"students": total, "cells": len(plan.cells)}
        if status == "done" and not self.goes_on and plan.trials and self.options.scheduler == "none":
            busy = sum(spent for _, spent in ledger.trained.values())  # seconds of workers
            fixed = max(seconds - busy / min(plan.workers, len(plan.trials)), 1.0)
            self.info |= {"core_seconds_per_student": busy / total, "fixed_seconds": fixed} if busy else {}
        if status == "done":
            self.folder.put_together(("rows", "students", "cells", self.study.artifact_table, *self.study.tables))
            if (noise := race.noise(self.study, self.folder)) is not None:
                self.info["noise"] = noise
        self.folder.write_end(self.info)
        if status == "done":
            self.folder.drop_checkpoints()
        if lost:
            say(f"lost      {len(lost)} students had results whose rows are not in the run folder any more")
        for student in failed[:10]:
            say(f"failed    student {student}: {ledger.errors.get(student, 'the rows say why')}")
        say(f"{status:9} {len(outcomes) - len(failed)} of {total} students have results; {duration(seconds)}")
        if self.options.keep_weights:
            start_from = f"to start from one: --weights run:{self.folder.run}/STUDENT"
            say(f"weights   {self.folder.uri}/weights, one file for each student; {start_from}")
            for metric, (_, student) in ledger.best.items():
                say(f"          best {metric} so far: run:{self.folder.run}/{student}")
        if missing or failed:
            say(self._resume_hint())
        drawn = self._draw() if outcomes else 0
        if self.options.report and not (missing or failed or drawn):  # who draws nothing goes on in a way of his own
            for line in self._next():
                say(f"next      {line}")
        if stopped or drawn == INTERRUPTED:
            return INTERRUPTED
        return 1 if failed or missing or drawn else 0

    def _next(self) -> Iterator[str]:
        """What to type after a run that is done."""
        o, start = self.options, f"{interpreter()} studies/{self.study.name}.py"
        where = "" if o.storage == storage() else f" --storage {shlex.quote(o.storage)}"
        if (larger := self.plan.preset.part_of) and not self.data.own:
            yield f"{start} --extend {self.folder.run} --preset {larger}{where}    adds what {larger} has more"
        if o.preset == "smoke":
            data = " --data sample" * (self.data.variant == "sample" and bool(self.study.datasets))
            data += f" --data-root {shlex.quote(str(o.data_root))}" * (o.data_root is not None)
            yield f"{start}{data}{where}    the default preset; --dry-run says how long it takes"
        if self.data.variant == "sample" and self.study.datasets:
            yield f"{start} --data full{where}    the whole data set, downloaded once"
        if self.folder.local:  # of what lies elsewhere the page has said where it put the report
            page = f"{interpreter()} analysis/{self.study.name}.py {self.folder.run}"
            yield f"{page}{where.replace('--storage', '--root')} --zip    draws it again, and packs one file to hand in"

    def _draw(self) -> int:
        """The study's page, in a process of its own: it needs neither torch nor Ray."""
        if not self.options.report:
            return 0
        page = importlib.util.find_spec(f"analysis.{self.study.name}")
        assert page is not None and page.origin is not None, f"analysis/{self.study.name}.py is missing"
        command = [sys.executable, page.origin, self.folder.uri]
        say("drawing   figures and report (Ctrl-C leaves them out)")
        try:
            return subprocess.run(command, check=False).returncode
        except KeyboardInterrupt:
            say(f"the rows are kept; to draw: {interpreter()} analysis/{self.study.name}.py {shlex.quote(self.folder.uri)}")
            return INTERRUPTED


def how_made(plan: Plan, own: Own | None = None) -> dict[str, Any]:
    """What run.json says of how a plan's students are made and trained: their method, and the layers of their networks by
    name, or of the first ones where these are very many. own: the user's images, if any. Imports torch, where the trainable
    does."""
    cls = plan.study.load()
    found: dict[str, str] = {}
    for config in plan.apart():
        found |= cls.described(cls.config_type(**config), **({"classes": len(own.classes)} if own else {}))
    shown = dict(list(found.items())[:MOST_NETWORKS])
    if more := list(found)[MOST_NETWORKS:]:
        shown[f"{len(more)} more"] = "\n".join(more)
    return {"method": {**cls.method, **({"split": own.split} if own else {})}, "networks": shown}
