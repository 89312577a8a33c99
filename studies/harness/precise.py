"""Which precision a new run trains in, where the user leaves it to the machine (`--precision auto`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from studies.harness import machine
from studies.harness.arguments import Options
from studies.harness.engine import prepare_process
from studies.harness.needs import Data
from studies.harness.plan import Plan
from studies.harness.study import AUTO, InputError, Study
from trainables.core import precision


def precise(study: Study, o: Options, found: Data) -> tuple[Options, str]:
    """The options of a new run where `--precision auto`, if it was asked for, is a precision as if the user had named it; and why this
    one, in words. Imports torch where bf16 may pay."""
    axis, preset = study.axes.get("precision"), study.presets[o.preset]
    named = any("precision" in values for values in (preset.axes, preset.sample, *preset.grids))
    asked = o.axes.get("precision", () if named else (AUTO,))
    if axis is None or not axis.auto or AUTO not in asked:
        return o, ""
    others = {name: values for name, values in o.axes.items() if name != "precision"}
    value, why = _preferred(study, replace(o, axes={**others, "precision": ("fp32",)}), found)
    chosen = tuple(dict.fromkeys(value if word == AUTO else word for word in asked))
    return replace(o, axes={**others, "precision": chosen}), why


def _preferred(study: Study, o: Options, found: Data) -> tuple[str, str]:
    """The precision for all students of a run, which is asked for in fp32, and why. InputError where it makes no sense."""
    device = "cuda" if o.num_gpus else "cpu"
    why = "other machines are not measured"
    if o.address in ("local", "inline"):
        why = precision.against_bf16(study.name, study.chosen(o.preset, found.variant, o.axes)["network"], device)
    if why:
        return "fp32", f"fp32 ({why})"
    plan, cls = Plan(study, o, found.variant), study.load()
    prepare_process((o.num_cpus or machine.available_cores()) if o.address == "inline" else plan.cores)
    packs = [pack for trial in plan.trials for pack in trial.packs]
    timed: dict[tuple, tuple[str, Mapping[str, float]]] = {}
    for config in plan.apart():
        try:
            student = cls.config_type(**config)
        except ValueError as error:
            raise InputError(str(error)) from None
        layers, shape = cls.architecture(student)
        if (step := (layers, shape, student.batch_size)) not in timed:
            together = max((len(pack) for pack in packs if pack[0]["network"] == student.network), default=1)
            try:
                seconds = precision.step_seconds(*step, together, device)
            except RuntimeError as error:  # of a GPU that is full
                return "fp32", f"fp32 (no step could be timed: {str(error).splitlines()[0]})"
            timed[step] = f"{student.network}, batches of {student.batch_size}", seconds
    return precision.preferred([*timed.values()])
