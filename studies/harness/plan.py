"""What a run will do: cells, students, packs, trials, and what they will cost. Imports torch only to size GPU packs."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.harness import folder as folders
from studies.harness import machine
from studies.harness.arguments import Options
from studies.harness.progress import duration
from studies.harness.study import Cell, Config, InputError, Study, Trial, flag, joined

OVERHEAD = 25  # seconds of a run that are not training: start of Ray, data, figures


class Plan:
    """The search space of one run, unfolded.

    grids: every axis's values in each grid of the space; values: those of all grids; ranges: what a searcher draws
    from; cells: grid points with the students that answer them; trials: what is left to train; total: how many different
    students there are.
    """

    def __init__(
        self, study: Study, options: Options, data: str, earlier: Mapping[str, Any], statuses: Mapping[str, str]
    ) -> None:
        """earlier: run.json of the run that is continued, or empty; statuses: what is known of its students."""
        self.study, self.options, self.data = study, options, data
        self.given = options.axes
        before = [{k: tuple(v) for k, v in each.items()} for each in earlier.get("grids", [earlier.get("axes", {})])]
        if options.resume:
            self.grids = before
            self.given = {k: tuple(v) for k, v in earlier["given"].items()}
        elif options.extend and not options.axes:  # by what the preset has gained since
            self.given = {k: tuple(v) for k, v in earlier["given"].items()}
            self.grids = before + [g for g in study.grids(options.preset, data, self.given) if g not in before]
        elif options.extend:
            more = options.axes
            self.grids = [{k: tuple(dict.fromkeys((*v, *more.get(k, ())))) for k, v in each.items()} for each in before]
            known = {k: tuple(v) for k, v in earlier["given"].items()}
            self.given = known | {k: tuple(dict.fromkeys((*known.get(k, ()), *v))) for k, v in more.items()}
        else:
            self.grids = study.grids(options.preset, data, options.axes)
        self.values = joined(self.grids)
        self.preset = study.presets[options.preset]
        self.ranges = study.searched(self.given) if options.search != "grid" else {}
        self.workers = self._workers()
        self.finished = {student for student, status in statuses.items() if status in ("done", "stopped")}
        self.cells: list[Cell] = []
        self.trials: list[Trial] = []
        self._check()
        self._unfold()

    def _workers(self) -> int:
        """Workers at a time; InputError where more is asked for than this machine has."""
        o, have = self.options, machine.available_cores()
        if o.address not in ("local", "inline"):
            return o.num_gpus * o.per_gpu or o.num_cpus or 10_000  # the cluster's resources are the limit
        if (o.num_cpus or 0) > have:
            raise InputError(f"--num-cpus {o.num_cpus}: this machine has {have} for this process")
        if o.num_gpus:
            gpus = machine.gpus()
            if o.num_gpus > len(gpus):
                found = f"{len(gpus)} ({', '.join(gpus)})" if gpus else "none that torch can use"
                raise InputError(f"--num-gpus {o.num_gpus}: this machine has {found}")
        if o.address == "inline":
            return 1
        return o.num_gpus * o.per_gpu or o.num_cpus or have

    def _check(self) -> None:
        o = self.options
        if o.search != "grid" and not self.ranges:
            raise InputError(f"--search {o.search}: no axis is left to search; give at most the ends of its range")
        if o.search == "optuna":
            for name in self.study.students:
                if name not in self.ranges and name != "seed" and len(self.values[name]) > 1:
                    raise InputError(f"--search optuna: {flag(name)} has no range to search; give it one value")
        if o.dashboard and importlib.util.find_spec("aiohttp_cors") is None:
            raise InputError("--dashboard needs an extra: pip install 'stillroom[dashboard]'")

    def _unfold(self) -> None:
        o, study = self.options, self.study
        if o.search == "optuna":
            self.total = o.samples * len(self.values["seed"]) * len(self.fields())
            return
        points = self._random_points() if o.search == "random" else None
        found = [cell for each in self.grids for cell in study.cells(each, points)]
        self.cells = list({tuple(cell.config.values()): cell for cell in found}.values())
        self.total = len({cell.student for cell in self.cells})
        if o.scheduler == "asha":
            self.trials = study.config_trials(self.cells, self.finished)
        else:
            self.trials = study.grid_trials(self.cells, self._pack(), self.finished)

    def fields(self) -> list[Config]:
        """Combinations of everything that is not searched, save the seeds, which are averaged: a searcher for each."""
        found = []
        for each in self.grids:
            fixed = {k: v for k, v in each.items() if k not in self.ranges and k != "seed"}
            found += [dict(zip(fixed, point, strict=True)) for point in itertools.product(*fixed.values())]
        return list({tuple(field.values()): field for field in found}.values())

    def _pack(self) -> int:
        """Students side by side: on a GPU what its memory holds; on CPUs the preset's number, or fewer where every
        worker should get several packs, so that none waits long for the last."""
        o = self.options
        if not o.pack:
            o.pack = max(1, min(self._most(), math.ceil(self.total / (4 * min(self.workers, 64)))))
        return o.pack

    def _most(self) -> int:
        o = self.options
        if not o.num_gpus or o.dry_run or o.address not in ("local", "inline"):
            return self.preset.pack
        import torch

        cls = self.study.load()
        free, _ = torch.cuda.mem_get_info()
        return int(
            0.6 * free / o.per_gpu / max(cls.student_bytes(cls.config_type(**cell.config)) for cell in self.cells)
        )

    def _random_points(self) -> list[Config]:
        import numpy as np

        rng = np.random.default_rng(0)  # a resumed run draws the points of the first
        columns = {}
        for name, r in self.ranges.items():
            u = rng.random(self.options.samples)
            drawn = r.low * (r.high / r.low) ** u if r.log else r.low + u * (r.high - r.low)
            columns[name] = [float(v) for v in drawn]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def done(self) -> set[str]:
        """Students of this plan that an earlier session finished."""
        return self.finished & {cell.student for cell in self.cells} if self.cells else set(self.finished)

    def lines(self) -> list[str]:
        """The plan in words, as `--dry-run` prints it."""
        o, left = self.options, self.total - len(self.done())
        core_seconds, how = self._core_seconds()
        workers = self.workers if o.search == "optuna" else min(self.workers, max(len(self.trials), 1))
        axes = [f"{k} {_short(v)}" for k, v in self.values.items() if len(v) > 1 and k not in self.ranges]
        axes += [f"{k} {_short(v)}" for k, v in self.given.items() if len(self.values[k]) == 1]
        axes += [f"{k} drawn from [{r.low:g}, {r.high:g}]" for k, r in self.ranges.items()]
        plan = [_count(len(self.cells) or self.total, "cell"), _count(self.total, "student")]
        plan += [f"{left} left"] if self.finished else []
        plan += (
            [f"in {_count(sum(len(t.packs) for t in self.trials), 'pack')}", _count(len(self.trials), "trial")]
            if self.trials
            else []
        )
        return [
            f"axes      {'  '.join(axes) or 'one value each'}",
            f"plan      {', '.join(plan)}",
            f"workers   {workers} ({'GPU' if o.num_gpus else 'one core'} each), {o.address}",
            f"estimate  {duration(left * core_seconds / workers + OVERHEAD)} ({how}), "
            f"{workers * self.preset.worker_mib / 1024:.1f} GiB",
        ]

    def _core_seconds(self) -> tuple[float, str]:
        """Training time of a student: from the latest finished grid here with the same trial axes, else the preset's."""
        o = self.options
        if "://" not in o.storage:
            for name in reversed(folders.runs(o.storage, self.study.name)):
                with contextlib.suppress(OSError, ValueError, KeyError):
                    info = json.loads(Path(o.storage, self.study.name, name, "run.json").read_text())
                    same = all(tuple(info["axes"][k]) == self.values[k] for k in self.study.trials)
                    if (
                        same
                        and info["data"] == self.data
                        and (info["num_gpus"], info["address"]) == (o.num_gpus, o.address)
                    ):
                        return info["core_seconds_per_student"], f"as run {name}"
        changed = sorted(set(self.given) - set(self.study.students))
        also = f", whatever {', '.join(map(flag, changed))} may change" if changed else ""
        return self.preset.core_seconds, f"rough, from the preset{also}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _short(values: tuple) -> str:
    counted = values == tuple(range(len(values))) and type(values[0]) is int and len(values) > 2
    return f"{values[0]}..{values[-1]}" if counted else " ".join(map(str, values))
