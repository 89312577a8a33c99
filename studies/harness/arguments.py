"""The flags of every study: the design's table, and one flag per axis with its grid, unit and range."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import itertools
import math
import os
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from studies.harness.study import AUTO, MOST_CELLS, InputError, Study, flag, noun

ALSO = {"lambda": "kd_weight"}  # what the field calls an axis whose flag has another name


@dataclasses.dataclass(frozen=True)
class Options:
    """What was asked for on the command line, whatever the study."""

    preset: str
    num_gpus: int
    per_gpu: int
    num_cpus: int | None
    seeds: int | None
    search: str
    samples: int
    scheduler: str
    data: str
    data_root: Path | None
    address: str
    wait: float
    storage: str
    resume: str | None
    extend: str | None
    pack: int | None
    decide: float | None  # inf where the flag stood alone
    budget: int | None
    keep_weights: bool
    dashboard: bool
    dry_run: bool
    report: bool
    form: Path | None
    axes: dict[str, tuple]
    given: frozenset[str]  # the flags, by name, that stand on the command line


def parse(study: Study, words: Sequence[str]) -> Options:
    """Options from the words of a command line. InputError, in one line, where they make no sense."""
    import tyro

    def arg(kind, default, text, **more):
        return Annotated[kind, tyro.conf.arg(help=text, **more)], dataclasses.field(default=default)

    from analysis.core.records import unit

    points = study.margin_of(None) * unit(study.metric)
    presets = "; ".join(f"{name}: {p.help}" for name, p in study.presets.items())
    own = (
        "; or of images of your own: DIR/train/<class>/*, two or more classes of any size, and DIR/val and DIR/test likewise (without them a share of train is held out)"
        * bool(study.own_images)
    )
    table = {
        "preset": arg(Literal[tuple(study.presets)], "course", f"Size of the study. {presets}."),
        "num_gpus": arg(int, 0, "GPUs the study may use in all."),
        "per_gpu": arg(int, 1, "Workers that share one GPU: more than one where networks train alone and leave most of it idle."),
        "num_cpus": arg(int | None, None, "Cores the study may use in all, one worker each.", metavar="INT", help_behavior_hint="(default: all)"),
        "seeds": arg(int | None, None, "Replicates of every config: how many in all, with --extend too.", metavar="INT", help_behavior_hint=f"(default: {len(study.axes['seed'].values)})"),
        "search": arg(Literal["grid", "random", "optuna"], "grid", "How configs are chosen: every grid point; points drawn from the axes' ranges; TPE, each regime searched on its own."),
        "samples": arg(int, 20, "Points per regime (a combination of trial axes) for random and optuna."),
        "scheduler": arg(Literal["none", "asha"], "none", "Whether weak configs are stopped early (ASHA, on the validation metric)."),
        "data": arg(Literal["auto", "sample", "full"], "auto", "full data set; the small real sample that ships with the package; or full where it can be had, else the sample."),
        "data_root": arg(Path | None, None, f"Folder of the data sets, in torchvision's layout{own}.", metavar="DIR", help_behavior_hint="(default: your cache folder)"),
        "address": arg(str, "local", "Where it runs: local (Ray on this machine), auto (the cluster this machine belongs to), HOST:PORT, ray://..., or inline (this process, without Ray).", metavar="WHERE"),
        "wait": arg(float, 20.0, "Minutes that a cluster has to bring the cores and GPUs asked for; machines of a cloud start, and install, when a study asks.", metavar="MINUTES"),
        "storage": arg(str, storage(), "Where run folders go: a folder or s3://bucket/path.", metavar="DIR|URI", help_behavior_hint=f"(default: {storage()}, from STILLROOM_STORAGE if set)"),
        "resume": arg(str | None, None, "Finish an interrupted run: its name, or latest.", help_behavior_hint="", metavar="RUN|latest"),
        "extend": arg(str | None, None, "Add seeds or grid points to a run, or, where none are given, what its preset has gained since: its name, or latest.", help_behavior_hint="", metavar="RUN|latest"),
        "pack": arg(int | None, None, "Most students trained side by side in one worker.", metavar="INT", help_behavior_hint="(default: the preset's on CPUs, by memory and time on GPUs)"),
        "decide": arg(float | None, None, f"After the grid, add seeds to the cells that are open, until each is as good as the chosen one or worse, to so many points of {study.metric}.", metavar="[POINTS]", help_behavior_hint=f"(alone: {points:g}" + ", or one test image of your own" * bool(study.own_images) + ")"),
        "budget": arg(int | None, None, "Most students that --decide may add.", metavar="INT", help_behavior_hint="(default: as many as the grid has)"),
        "keep_weights": arg(bool, False, "Keep the network of every finished student in the run folder, as weights/CONFIG_STUDENT.pt (cifar10_transfer, finetuning, and pseudo_labels with a pretrained network)."),
        "dashboard": arg(bool, False, "Start Ray's dashboard and print its address (needs the extra stillroom[dashboard])."),
        "dry_run": arg(bool, False, "Print the plan (students, packs, trials, estimated time and memory), look for weights that it needs, and stop."),
        "no_report": arg(bool, False, "Do not draw the figures and the report at the end."),
    }  # fmt: skip
    if study.writes_form:
        table["form"] = arg(Path | None, None, "Write an empty form for data of your own to FILE, and stop.", metavar="FILE", help_behavior_hint="")  # fmt: skip
    for name, axis in study.axes.items():
        if name == "seed":
            continue
        drawn = (
            f" Searched in [{axis.search.low:g}, {axis.search.high:g}]{' on a log scale' * axis.search.log}."
            if axis.search
            else ""
        )
        hint = f"(default: {AUTO if axis.auto else ' '.join(map(str, axis.values))})"
        table[name] = arg(
            tuple[str, ...],
            (),
            f"{axis.help}{drawn}",
            metavar=("{" + ",".join(map(str, axis.choices)) + "}" if axis.choices else axis.type.__name__.upper())
            + " ...",
            help_behavior_hint=hint,
        )
    fields = [(name, *spec) for name, spec in table.items()]
    form = tyro.conf.configure(tyro.conf.FlagCreatePairsOff)(dataclasses.make_dataclass("Arguments", fields))
    errors, completed = io.StringIO(), _complete(words, "--decide", f"{points:g}")
    try:
        with contextlib.redirect_stderr(errors):
            given, unknown = tyro.cli(  # type: ignore[var-annotated]
                form,
                prog=f"studies/{study.name}.py",
                description=_prose(study.question),
                args=completed,
                return_unknown_args=True,
            )
    except SystemExit as end:
        if not end.code:
            raise
        kinds = {flag(name): get_args(kind)[0] for name, (kind, _) in table.items()}
        raise InputError(_no_number(completed, kinds) or _one_line(errors.getvalue())) from None
    if unknown:
        no = "no such flag" if unknown[0].startswith("-") else "belongs to no flag"
        raise InputError(f"{unknown[0]}: {no}{_meant(unknown[0], list(table), study)} (see --help)")
    values = {name: getattr(given, name) for name in table}
    named = [w.partition("=")[0][2:].replace("-", "_") for w in words if w.startswith("--")]
    if twice := [name for name in named if named.count(name) > 1 and not isinstance(values.get(name), bool)]:
        raise InputError(f"{flag(twice[0])} stands twice: give all its values after one of them")
    flags = frozenset(named)
    axes = {name: study.axes[name].parse(name, values[name]) for name in values if name in study.axes and name in flags}
    if values["seeds"]:
        if values["seeds"] > MOST_CELLS:
            raise InputError(f"--seeds {values['seeds']}: a run may have at most {MOST_CELLS:,} cells")
        axes["seed"] = tuple(range(values["seeds"]))
    try:
        data_root = given.data_root and given.data_root.expanduser()
    except RuntimeError:
        raise InputError(f"--data-root {given.data_root}: nobody has that home") from None
    options = Options(
        **{k: v for k, v in values.items() if k not in ("no_report", "data_root", "form") and k not in study.axes},
        form=values.get("form"),
        data_root=data_root,
        report=not values["no_report"],
        axes=axes,
        given=flags,
    )
    _check(options)
    return options if completed == [*words] else dataclasses.replace(options, decide=math.inf)


def storage() -> str:
    """Where run folders go unless --storage says: what the environment names, as on the nodes of a cluster, else ./results."""
    return os.environ.get("STILLROOM_STORAGE", "results")


def _meant(word: str, names: Sequence[str], study: Study) -> str:
    """The flag that a wrong one begins, that it differs from by a letter or two, or that is meant by it; the preset whose name stands alone."""
    if word in study.presets:
        return f"; did you mean --preset {word}?"
    word, flags = word.split("=")[0], [flag(name) for name in names]
    near = [name for name in flags if len(word) > 3 and name.startswith(word)] or difflib.get_close_matches(
        word, flags, 1, 0.8
    )
    near += [flag(name) for other, name in ALSO.items() if word == flag(other) and name in study.axes]
    return f"; did you mean {near[0]}?" if near else ""


def _complete(words: Sequence[str], name: str, value: str) -> list[str]:
    """The words with a value after a flag that may stand alone."""
    found = []
    for word, following in itertools.zip_longest(words, words[1:], fillvalue="--"):
        found += [word, value] if word == name and following.startswith("--") else [word]
    return found


def _check(o: Options) -> None:
    for name, value, least in (
        ("num_gpus", o.num_gpus, 0), ("per_gpu", o.per_gpu, 1), ("num_cpus", o.num_cpus, 1), ("seeds", o.seeds, 1), ("samples", o.samples, 1), ("pack", o.pack, 1),
        ("budget", o.budget, 1),
    ):  # fmt: skip
        if value is not None and value < least:
            raise InputError(f"{flag(name)} {value}: must be at least {least}")
    if not 0 <= o.wait < math.inf:
        raise InputError(f"--wait {o.wait:g}: must be at least 0")
    if o.decide is not None and not 0 < o.decide < math.inf:
        raise InputError(f"--decide {o.decide:g}: must be above 0")
    if o.decide is not None and (o.search, o.scheduler) != ("grid", "none"):
        raise InputError("--decide adds seeds to a grid: leave out --search and --scheduler")
    if o.budget and o.decide is None and not o.resume and not o.extend:
        raise InputError("--budget limits what --decide adds: give that too")
    if "samples" in o.given and o.search == "grid" and not o.resume:
        raise InputError("--samples are drawn by a search: give --search random or optuna too")
    for name, run in (("resume", o.resume), ("extend", o.extend)):
        if run is not None and not run.strip():
            raise InputError(f"{flag(name)}: needs the name of a run, or latest")
    if o.resume and o.extend:
        raise InputError("--resume and --extend exclude each other")
    if o.resume and (o.axes or o.seeds):
        raise InputError("--resume finishes a run as it was planned; use --extend to add grid points or seeds")
    if o.address == "inline" and o.num_gpus > 1:
        raise InputError(f"--num-gpus {o.num_gpus}: --address inline trains in one process, on one GPU")
    if o.address == "inline" and o.scheduler != "none":
        raise InputError("--scheduler asha needs Ray: leave out --address inline")
    if o.address == "inline" and o.search == "optuna":
        raise InputError("--search optuna needs Ray: leave out --address inline")
    if o.search == "optuna" and "://" in o.storage:
        raise InputError("--search optuna keeps its database in the run folder, which must then be a folder, not a URI")


def _no_number(words: Sequence[str], kinds: Mapping[str, Any]) -> str:
    """The first flag of a number after which something else stands, or nothing. kinds: the type of each flag, such as int | None."""
    for word, following in itertools.pairwise([*words, "--"]):
        name, given, value = word.partition("=")
        value, kind = value if given else following, kinds.get(name.replace("_", "-"))
        for number in (int, float):
            if kind not in (number, number | None) or value.startswith("--"):
                continue
            try:
                number(value)
            except ValueError:
                return f"{name} {value}: must be {noun(number)}"
    return ""


def _prose(text: str) -> str:
    """A docstring folded to the terminal. tyro joins lines that begin with a letter and folds none, so the others hang."""
    width, folded = min(shutil.get_terminal_size().columns, 110), ""
    for part in text.strip().split("\n\n"):
        if part.startswith(" "):  # commands
            folded += f"\n{part}"
        else:
            folded += "\n\n" + textwrap.fill(" ".join(part.split()), width, subsequent_indent="  ", break_on_hyphens=False)
    return folded.strip()


def _one_line(text: str) -> str:
    """tyro's boxed message, without the title of its box, as one line."""
    inside = "\n".join(line for line in text.splitlines() if not line.startswith("\u256d"))
    return re.sub(r"\s+", " ", re.sub(r"[\u2500-\u257f]", " ", inside)).strip() or "wrong arguments (see --help)"
