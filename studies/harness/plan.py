"""What a run will do: cells, students, packs, trials, and what they will cost. Imports torch only to size GPU packs."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studies.harness import folder as folders
from studies.harness import machine
from studies.harness.arguments import Options
from studies.harness.earlier import Earlier, space
from studies.harness.progress import duration
from studies.harness.students import Cell, Trial, cell_of, student_hash, trial_of
from studies.harness.study import MOST_CELLS, Config, InputError, Range, Study, flag, joined

# seconds of a run that are not training, on cores that do nothing else: torch and data take 7 to 14, pages 9 to 25
BEGIN = 10  # torch, data, rows
RAY = 15
PAGE = 20

SAFE = 0.6  # of the memory of a GPU that is free: what a student takes is an estimate


@dataclass(frozen=True)
class Search:
    """One searcher's subspace: `fixed` is, `ranges` are drawn from, `seeds` are averaged over `samples` points."""

    fixed: Config
    ranges: Mapping[str, Range]
    seeds: tuple[int, ...]
    samples: int

    def config(self, point: Config) -> Config:
        """A suggestion's config, of the first seed."""
        return {**self.fixed, **{name: point[name] for name in self.ranges}, "seed": self.seeds[0]}

    def trial(self, study: Study, point: Config) -> Trial:
        """The trial of one suggestion: its seeds as packs of one student."""
        return trial_of(tuple((study.canonical({**self.config(point), "seed": seed}),) for seed in self.seeds))

    def middle(self) -> Config:
        """A point that stands for all: whatever is suggested, the artifacts are those of the subspace and its seeds."""
        return {name: (r.low + r.high) / 2 for name, r in self.ranges.items()}

    @property
    def name(self) -> str:
        return "/".join(str(v) for v in self.fixed.values())


class Plan:
    """The search space of one run, unfolded, and the trials that come of it.

    grids: every axis's values in each grid of the space; before: the same of the run that is continued; values: those of all grids; ranges: what a searcher draws
    from; cells: grid points with the students that answer them; students: their canonical configs; trials: what this
    session trains, handed out by `more`.
    """

    def __init__(
        self, study: Study, options: Options, data: str, earlier: Earlier | None = None, seconds: float | None = None
    ) -> None:
        """earlier: the run that is continued, if any. Its tables say which student answers a cell, and which cells it has
        beside its grids. seconds: the training of a student on one core, where steps were timed."""
        earlier = earlier or Earlier()
        self.study, self.options, self.data, self.seconds = study, options, data, seconds
        self.grids, self.overrides = space(study, options, data, earlier)
        self.before = earlier.grids
        self.values = joined(self.grids)
        self.preset = study.presets[options.preset]
        self.ranges = study.searched(self.overrides) if options.search != "grid" else {}
        self.workers = self._workers()
        self.finished = earlier.finished
        self.cells: list[Cell] = []
        self.cells_of: dict[str, list[Config]] = {}  # by student
        self.students: dict[str, Config] = {}
        self.trials: list[Trial] = []
        self.pack = options.pack
        self.memory = ""  # of a GPU, in words
        self._handed_out = 0
        self._check()
        if options.search != "optuna":  # whose points are not known before
            cells = self._unfold(earlier.cells)
            size = self._pack_size(cells)
            self.pack = options.pack or size
            self.add(cells, earlier.students)

    # A source of trials

    def more(self) -> list[Trial]:
        """The trials that were not handed out yet; none where the training is at its end. Both engines are given these
        and, when they have ended, what was appended meanwhile."""
        new = self.trials[self._handed_out :]
        self._handed_out = len(self.trials)
        return new

    def append(self, trials: Iterable[Trial]) -> None:
        """Trials that `more` is to hand out next, of students that are in the plan."""
        self.trials += trials

    def add(self, cells: Sequence[Cell], known: Mapping[str, Config] | None = None) -> None:
        """Cells that come on top, and trials of those of their students that are new. known: canonical configs of students,
        where they need not be what the study would make of the cell today."""
        there = {tuple(cell.config.values()) for cell in self.cells}
        fresh: dict[str, Config] = {}
        for cell in cells:
            point = tuple(cell.config.values())
            if point in there:
                continue
            there.add(point)
            self.cells.append(cell)
            self.cells_of.setdefault(cell.student, []).append(cell.config)
            if cell.student not in self.students:
                fresh[cell.student] = (known or {}).get(cell.student) or self.study.canonical(cell.config)
                self.students[cell.student] = fresh[cell.student]
        if self.options.scheduler == "asha":
            self.append(config_trials(fresh.values(), self.finished))
        elif fresh:
            self.append(grid_trials(self.study, fresh.values(), self.pack or 1, self.finished))

    @property
    def telling(self) -> tuple[str, ...]:
        """The axes that tell students apart; the seed in any case, for --decide may add some."""
        return tuple(a for a in self.study.axes if a == "seed" or len(self.values[a]) > 1 or a in self.ranges)

    @property
    def cores(self) -> int:
        """Those of a worker."""
        return (self.options.num_cpus or machine.available_cores()) if self.study.timed else 1

    # The space

    def _workers(self) -> int:
        """Workers at a time; InputError where more is asked for than this machine has."""
        o, have = self.options, machine.available_cores()
        if o.address not in ("local", "inline"):
            if not (o.num_gpus or o.num_cpus):  # else it would run on what happens to be there, such as the head alone
                raise InputError(f"--address {o.address}: say how much of the cluster, --num-gpus N or --num-cpus N")
            return 1 if self.study.timed else o.num_gpus * o.per_gpu or o.num_cpus or 1
        if (o.num_cpus or 0) > have:
            raise InputError(f"--num-cpus {o.num_cpus}: this machine has {have} for this process")
        if o.num_gpus:
            gpus = machine.gpus()
            if o.num_gpus > len(gpus):
                found = f"{len(gpus)} ({', '.join(gpus)})" if gpus else "none that torch can use"
                raise InputError(f"--num-gpus {o.num_gpus}: this machine has {found}")
        if o.address == "inline" or self.study.timed:
            return 1
        if o.num_gpus * o.per_gpu > (cores := o.num_cpus or have):
            workers = f"{o.num_gpus * o.per_gpu} workers need a core each"
            raise InputError(
                f"--num-gpus {o.num_gpus} --per-gpu {o.per_gpu}: {workers}, and there are {cores} for them"
            )
        return o.num_gpus * o.per_gpu or o.num_cpus or have

    def _check(self) -> None:
        o = self.options
        cells = sum(map(self._size, self.grids))
        if cells > MOST_CELLS:
            raise InputError(
                f"this grid has {cells:,} cells, and a run may have at most {MOST_CELLS:,}; give fewer values or seeds"
            )
        if o.scheduler == "asha" and self.study.goals and len(self.values["task"]) > 1:
            raise InputError(
                "--scheduler asha compares students by one metric, and each task has its own: give one --task"
            )
        if o.search != "grid" and not self.ranges:
            raise InputError(f"--search {o.search}: no axis is left to search; give at most the ends of its range")
        if o.search == "optuna":
            for name in self.study.students:
                if name not in self.ranges and name != "seed" and len(self.values[name]) > 1:
                    raise InputError(f"--search optuna: {flag(name)} has no range to search; give it one value")
        if o.dashboard and importlib.util.find_spec("aiohttp_cors") is None:
            raise InputError("--dashboard needs an extra: pip install 'stillroom[dashboard]'")

    def _size(self, grid: Mapping[str, tuple]) -> int:
        """How many cells a grid has."""
        values = [len(v) for k, v in grid.items() if k not in self.ranges]
        return math.prod(values) * (self.options.samples if self.ranges else 1)

    def _unfold(self, before: Sequence[Cell]) -> list[Cell]:
        """The cells of the grids, then others of `before`; those of `before` keep the students they have named."""
        points = self._random_points() if self.options.search == "random" else None
        found = [cell for grid in self.grids for cell in cells_of(self.study, grid, points)]
        by_point = {tuple(cell.config.values()): cell for cell in found}
        return list((by_point | {tuple(cell.config.values()): cell for cell in before}).values())

    def subspaces(self) -> list[Config]:
        """Combinations of everything that is not searched, save the seeds, which are averaged: a searcher for each."""
        found = []
        for grid in self.grids:
            fixed = {k: v for k, v in grid.items() if k not in self.ranges and k != "seed"}
            found += [dict(zip(fixed, point, strict=True)) for point in itertools.product(*fixed.values())]
        return list({tuple(fixed.values()): fixed for fixed in found}.values())

    def searches(self) -> list[Search]:
        """What searchers are to do, one after another; none where the points are known before."""
        if self.options.search != "optuna":
            return []
        seeds, samples = self.values["seed"], self.options.samples
        return [Search(fixed, self.ranges, seeds, samples) for fixed in self.subspaces()]

    def _pack_size(self, cells: Sequence[Cell]) -> int:
        """Students side by side: on a GPU what its memory holds; on CPUs the preset's number, or fewer where every
        worker should get several packs, so that none waits long for the last."""
        if self.study.timed:
            return len(cells)
        total = len({cell.student for cell in cells})
        return max(1, min(self._most(cells), math.ceil(total / (4 * min(self.workers, 64)))))

    def _most(self, cells: Sequence[Cell]) -> int:
        """InputError where what is asked for cannot lie in the memory of a GPU."""
        o = self.options
        if not o.num_gpus or o.dry_run or o.address not in ("local", "inline"):
            return self.preset.pack
        cls = self.study.load()
        each = max(cls.student_bytes(cls.config_type(**self.study.canonical(cell.config))) for cell in cells)
        free = machine.gpu_memory(o.num_gpus) / o.per_gpu
        most, asked = int(SAFE * free / each), o.pack or 1
        if asked * each > free:
            given = flag("pack") + f" {o.pack}" if o.pack else f"--per-gpu {o.per_gpu}"
            takes = f"{_count(asked, 'student')} of the largest network take about {_gib(asked * each)}"
            raise InputError(f"{given}: {takes}, and {_gib(free)} of GPU memory are free for a worker")
        self.memory = f", about {_gib(each)} of {_gib(free)} for a student"
        return max(most, 1)

    def _random_points(self) -> list[Config]:
        import numpy as np

        rng = np.random.default_rng(0)  # a resumed run draws the points of the first
        columns = {}
        for name, r in self.ranges.items():
            u = rng.random(self.options.samples)
            drawn = r.low * (r.high / r.low) ** u if r.log else r.low + u * (r.high - r.low)
            columns[name] = [float(v) for v in drawn]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    @property
    def total(self) -> int:
        """How many different students there are, or will be suggested."""
        return len(self.students) or sum(search.samples * len(search.seeds) for search in self.searches())

    def done(self) -> set[str]:
        """Students of this plan that an earlier session finished."""
        return self.finished & set(self.students) if self.cells else set(self.finished)

    def apart(self) -> list[Config]:
        """A canonical config for each combination of the axes that change graph, data or batches; of what a searcher draws,
        the least."""
        least = [search.config({name: r.low for name, r in search.ranges.items()}) for search in self.searches()]
        configs = [*self.students.values(), *map(self.study.canonical, least)]
        return list({tuple(config[name] for name in self.study.trials): config for config in configs}.values())

    # What it costs

    def lines(self) -> list[str]:
        """The plan in words, as `--dry-run` prints it."""
        o, left = self.options, self.total - len(self.done())
        core_seconds, fixed, how = self._seconds()
        workers = self.workers if o.search == "optuna" else min(self.workers, max(len(self.trials), 1))
        grids = list({repr(grid): grid for grid in self.grids}.values())
        apart = [k for k in self.values if k not in self.ranges and any(grid[k] != grids[0][k] for grid in grids)]
        usual = {k: Counter(grid[k] for grid in grids).most_common(1)[0][0] for k in apart}
        several = {k: v for k, v in self.values.items() if len(v) > 1 and k not in (*self.ranges, *apart)}
        axes = [_valued(several | {k: v for k, v in self.overrides.items() if len(self.values[k]) == 1})]
        axes += [f"{k} drawn from [{r.low:g}, {r.high:g}]" for k, r in self.ranges.items()]
        chosen = [f"search {o.search}"] * (o.search != "grid") + [f"scheduler {o.scheduler}"] * (o.scheduler != "none")
        if o.decide is not None:
            chosen.append(f"decide: at most {o.budget or self.total} students more, which the estimate leaves out")
        plan = [_count(len(self.cells) or self.total, "cell"), _count(self.total, "student")]
        plan += [f"{left} left"] if self.finished else []
        plan += (
            [f"in {_count(sum(len(t.packs) for t in self.trials), 'pack')}", _count(len(self.trials), "trial")]
            if self.trials
            else []
        )
        return [
            *[f"axes      {'  '.join(filter(None, axes)) or 'one value each'}"] * bool(any(axes) or not apart),
            *(f"grid      {_count(self._size(grid), 'cell')}: {_valued({k: grid[k] for k in apart if grid[k] != usual[k]}) or 'all as below'}" for grid in grids * bool(apart)),
            *[f"otherwise {_valued(usual)}"] * bool(apart),
            *([f"chosen    {', '.join(chosen)}"] if chosen else []),
            f"plan      {', '.join(plan)}",
            f"workers   {workers} ({_share_of(o) if o.num_gpus else _count(self.cores, 'core') if self.cores > 1 else 'one core'} each{self.memory}), {o.address}",
            *(
                [f"estimate  {duration(left * core_seconds / workers + fixed)} ({how}), {workers * self.preset.worker_mib / 1024:.1f} GiB"]
                * (left > 0 or o.decide is not None)
            ),
            *self._told(),
            *self._nothing_added(),
        ]

    def _nothing_added(self) -> list[str]:
        """Where an extension asks for what the run has: that, and what would add to it."""
        o, seeds = self.options, len(self.values["seed"])
        if not o.extend or self.grids != self.before or o.decide is not None:
            return []
        if not o.axes:
            return [f"NOTE      nothing is added: the run has all of preset {o.preset}; --seeds {seeds + 1} or other values of an axis add to it"]
        has = [f"{'seeds' if k == 'seed' else k} {_short(self.values[k]).replace(' ', ' and ')}" for k in o.axes]
        more = f"--seeds {seeds + 1} adds one" if "seed" in o.axes else "other values add to it"
        return [f"NOTE      nothing is added: the run has {', '.join(has)}; {more}"]

    def _told(self) -> list[str]:
        """What the seeds can tell, from the noise of the latest finished run here with the same trial axes, else the study's record."""
        study, seeds = self.study, len(self.values["seed"])
        settings: dict[tuple, set[str]] = {}
        for cell in self.cells:
            if cell.config["seed"] == self.values["seed"][0]:
                settings.setdefault(tuple(cell.config[name] for name in study.others), set()).add(cell.student)
        most = max(map(len, settings.values()), default=0)
        known = [(info["noise"], f"as in run {name}") for name, info in self._alike() if info.get("noise")]
        known += [(study.noise, "as this study records it")] if study.noise and self.data == "full" else []
        if most < 2:
            return []
        if seeds < 2:
            return ["verdicts  one seed tells no differences"]
        if not known:
            if study.goals or "://" in self.options.storage or not folders.runs(self.options.storage, study.name):
                return []  # where no run will say it either, or nobody has asked yet
            return [f"verdicts  how small a difference {seeds} seeds can tell is known once such a run is done here"]
        from analysis.core.contrasts import told_from
        from analysis.core.records import is_share, unit
        from analysis.core.statistics import LEVEL

        noise, source = known[0]
        least = unit(study.metric) * told_from(noise, most, seeds, LEVEL)
        what = f"{'points ' * is_share(study.metric)}of {study.metric}"
        told = f"with {seeds} seeds, differences of about {least:.2g} {what} or more are told four times in five"
        return [f"verdicts  {told} ({most} cells compared; noise {source})"]

    def _alike(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and run.json of the runs here with the same trial axes and data, the latest first."""
        if "://" in self.options.storage:
            return
        for name in reversed(folders.runs(self.options.storage, self.study.name)):
            with contextlib.suppress(InputError, KeyError):
                info = folders.RunFolder(self.options.storage, self.study.name, name).read_json()
                if info["data"] == self.data and all(
                    tuple(info["axes"][k]) == self.values[k] for k in self.study.trials
                ):
                    yield name, info

    def _seconds(self) -> tuple[float, float, str]:
        """Training time of a student, and what a run takes beside training: from the latest finished grid here with the same trial
        axes, else by the steps that were timed or the preset's, and what is usual."""
        o = self.options
        page = PAGE * o.report
        for name, info in self._alike():
            where = info.get("num_gpus"), info.get("address")
            seconds, fixed = info.get("core_seconds_per_student"), info.get("fixed_seconds")
            if seconds and fixed and where == (o.num_gpus, o.address):
                return seconds, fixed + page, f"as run {name}"
        usual = self.study.chosen(o.preset, self.data, {})
        changed = any(k in self.study.trials and v != usual[k] and not self.study.axes[k].auto for k, v in self.overrides.items())
        also = "; the flags may change it" if changed else ""
        beside = BEGIN + RAY * (o.address != "inline") + self.preset.prepare_seconds + page
        if self.seconds:
            return self.seconds, beside, "from the steps timed here"
        return self.preset.core_seconds, beside, f"rough, from the preset{also}"


def cells_of(study: Study, values: Mapping[str, tuple], points: Sequence[Config] | None = None) -> list[Cell]:
    """All grid points in the order of the axes; `points`, where given, stand in for the axes they name."""
    named = [name for name in study.axes if not points or name not in points[0]]
    configs = [
        {**dict(zip(named, combination, strict=True)), **point}
        for combination in itertools.product(*(values[name] for name in named))
        for point in points or [{}]
    ]
    return [cell_of(study, config) for config in configs]


def packs_of(study: Study, configs: Iterable[Config], most: int) -> list[tuple[Config, ...]]:
    """Packs of at most `most` students, as even as they come, the largest first. configs: canonical, each student once.

    Students of one pack have the same trial axes and the same seed, so the same batches.
    """
    groups: dict[tuple, list[Config]] = {}
    for config in configs:
        key = tuple(config[name] for name in study.axes if name in study.trials or name == "seed")
        groups.setdefault((*key, student_hash(config)) if study.trains_alone(config) else key, []).append(config)
    packs = []
    for students in groups.values():
        count = math.ceil(len(students) / most)
        cuts = [len(students) * i // count for i in range(count + 1)]
        packs += [tuple(students[a:b]) for a, b in itertools.pairwise(cuts)]
    return sorted(packs, key=len, reverse=True)


def grid_trials(study: Study, configs: Iterable[Config], most: int, done: set[str]) -> list[Trial]:
    """One trial per pack, without the students that are done.

    Names come from the students, so an interrupted pack meets its checkpoint again, and a pack that lost members
    to an earlier run never overwrites that run's rows.
    """
    left = (tuple(c for c in pack if student_hash(c) not in done) for pack in packs_of(study, configs, most))
    return [trial_of((pack,)) for pack in left if pack]


def config_trials(configs: Iterable[Config], done: set[str]) -> list[Trial]:
    """One trial per config, its seeds as packs of one: what a scheduler may stop on its own."""
    groups: dict[str, list[Config]] = {}
    for config in configs:
        groups.setdefault(json.dumps({**config, "seed": None}), []).append(config)
    return [trial_of(tuple((c,) for c in g)) for g in groups.values() if {student_hash(c) for c in g} - done]


def _share_of(o: Options) -> str:
    return "GPU" if o.per_gpu == 1 else f"1/{o.per_gpu} GPU"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2g} GiB"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _valued(axes: Mapping[str, tuple]) -> str:
    return "  ".join(f"{name} {_short(values)}" for name, values in axes.items())


def _short(values: tuple) -> str:
    counted = values == tuple(range(len(values))) and type(values[0]) is int and len(values) > 2
    said = (f"{v:g}" if isinstance(v, float) else str(v) for v in values)
    return f"{values[0]}..{values[-1]}" if counted else " ".join(said)
