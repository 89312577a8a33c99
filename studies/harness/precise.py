"""What a new run finds out by timing a few steps: which precision it trains in (`--precision auto`), and on GPUs how large its packs are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from studies.harness import machine
from studies.harness.arguments import Options
from studies.harness.engine import prepare_process
from studies.harness.needs import Data
from studies.harness.plan import Plan
from studies.harness.study import AUTO, InputError, Study
from trainables.core import precision
from trainables.core.nets import Layer

QUARTER = 4  # by how much the smaller of two packs on a GPU is smaller
BESIDE = 1.3  # times its steps alone a student takes, with evaluations and another worker beside; benchmarks/mnistm_kd.py


@dataclass(frozen=True)
class Found:
    """What timing a few steps told. why: in words, or nothing where nothing was to be found out; seconds: the training of a student, as
    far as it is told by its steps."""

    why: str = ""
    seconds: float | None = None


def precise(study: Study, o: Options, data: Data) -> tuple[Options, Found]:
    """The options of a new run where `--precision auto`, if it was asked for, is a precision as if the user had named it; and why this
    one. Imports torch where bf16 may pay."""
    axis, preset = study.axes.get("precision"), study.presets[o.preset]
    named = any("precision" in values for values in (preset.axes, preset.sample, *preset.grids))
    asked = o.axes.get("precision", () if named else (AUTO,))
    if axis is None or not axis.auto or AUTO not in asked:
        return o, Found()
    others = {name: values for name, values in o.axes.items() if name != "precision"}
    value, found = _preferred(study, replace(o, axes={**others, "precision": ("fp32",)}), data)
    chosen = tuple(dict.fromkeys(value if word == AUTO else word for word in asked))
    return replace(o, axes={**others, "precision": chosen}), found


def packed(study: Study, o: Options, data: Data) -> tuple[Options, str]:
    """The options of a new run on GPUs of this machine where the size of packs was left open: as large as the memory bears, or a
    quarter of it where a step of a student is faster by a tenth so; and why, in words. Imports torch."""
    axis = study.axes.get("precision")
    here = o.num_gpus and o.per_gpu == 1 and o.address in ("local", "inline")
    if not here or o.pack or o.dry_run or axis is None or not axis.auto:
        return o, ""
    plan = Plan(study, o, data.variant)
    most = max((len(pack) for trial in plan.trials for pack in trial.packs), default=1)
    if most < QUARTER:
        return o, ""
    sizes = (most, most // QUARTER)
    try:
        timed = [
            precision.step_seconds(*step, [(student.precision, n) for n in sizes], "cuda")
            for student, step, _ in _steps(study, plan)
        ]
    except RuntimeError as error:  # of a GPU that is full
        return o, f"of up to {most} students (no step could be timed: {str(error).splitlines()[0]})"
    if all(small <= precision.MOST * large for large, small in timed):
        o = replace(o, pack=sizes[1])
    told = ", ".join(f"{1e3 * large:.3g} ms in packs of {sizes[0]}, {1e3 * small:.3g} in {sizes[1]}" for large, small in timed)
    return o, f"of up to {o.pack or most} students: a step of one takes {told}"


def _preferred(study: Study, o: Options, data: Data) -> tuple[str, Found]:
    """The precision for all students of a run, which is asked for in fp32, and why. InputError where it makes no sense."""
    device = "cuda" if o.num_gpus else "cpu"
    why = "other machines are not measured"
    if o.address in ("local", "inline"):
        why = precision.against_bf16(study.name, study.chosen(o.preset, data.variant, o.axes)["network"], device)
    if why:
        return "fp32", Found(f"fp32 ({why})")
    plan = Plan(study, o, data.variant)
    prepare_process((o.num_cpus or machine.available_cores()) if o.address == "inline" else plan.cores)
    timed: list[tuple[str, Mapping[str, float]]] = []
    students = []
    for student, step, together in _steps(study, plan):
        ways = [(name, min(together, precision.WIDEST)) for name in ("fp32", "bf16")]
        try:
            seconds = precision.step_seconds(*step, ways, device)
        except RuntimeError as error:  # of a GPU that is full
            return "fp32", Found(f"fp32 (no step could be timed: {str(error).splitlines()[0]})")
        timed.append((f"{student.network}, batches of {student.batch_size}", dict(zip(("fp32", "bf16"), seconds, strict=True))))
        students.append(student)
    value, why = precision.preferred(timed)
    if not study.load().takes_steps:
        return value, Found(why)
    alone = [student.steps * seconds[value] for student, (_, seconds) in zip(students, timed, strict=True)]
    return value, Found(why, BESIDE * mean(alone))


def _steps(study: Study, plan: Plan) -> Iterator[tuple[Any, tuple[Sequence[Layer], tuple[int, ...], int], int]]:
    """A student for each graph, shape of an input, batch size and precision in a plan; the first three; and how many are trained side by side. InputError
    where a config makes no sense."""
    cls, packs = study.load(), [pack for trial in plan.trials for pack in trial.packs]
    seen = set()
    for config in plan.apart():
        try:
            student = cls.config_type(**config)
        except ValueError as error:
            raise InputError(str(error)) from None
        layers, shape = cls.architecture(student)
        step = layers, shape, student.batch_size
        if (step, student.precision) not in seen:
            seen.add((step, student.precision))
            yield student, step, max((len(pack) for pack in packs if pack[0]["network"] == student.network), default=1)
