"""What a run needs at hand before it starts: data and weights, or one line that says what is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from studies.harness.arguments import Options
from studies.harness.plan import Plan
from studies.harness.progress import say
from studies.harness.study import InputError, Study


@dataclass(frozen=True)
class Data:
    """Data sets by name, which variant of them a run takes (sample or full), and why."""

    names: tuple[str, ...]
    variant: Literal["sample", "full"]
    why: str
    root: Path | None

    def load(self) -> Mapping[str, Any]:
        from trainables.core import data

        try:
            return {name: data.load(name, self.variant, self.root) for name in self.names}
        except data.DataError as error:
            raise InputError(str(error)) from None

    def describe(self) -> str:
        from trainables.core import data

        return data.describe(self.names, self.variant, self.root)


def data_of(study: Study, o: Options, info: Mapping[str, Any]) -> Data:
    """The data of a run; info: run.json of the run that is continued, or empty. InputError where they cannot be had; a dry
    run downloads nothing and says what a run would."""
    from trainables.core import data

    names = study.datasets
    if axis := study.axes.get("dataset"):
        before = tuple(info.get("axes", {}).get("dataset", ()))
        usual = () if before and o.axes else study.presets[o.preset].axes.get("dataset", axis.values)
        chosen = o.axes.get("dataset") or usual
        names = tuple(dict.fromkeys((*before, *chosen))) if o.extend or not before else before
    try:
        with data.offline() if o.dry_run else contextlib.nullcontext():
            wanted = "full" if o.dry_run and o.data == "auto" else o.data
            variant, why = data.resolve(wanted, names, o.data_root)
    except data.DataMissing as missing:
        if not o.dry_run:
            raise InputError(str(missing)) from None
        otherwise = ", else the shipped sample" if o.data == "auto" else ""
        why = f"The full data, if a run can download them{otherwise}: {missing}."
        return Data(names, "full", why, o.data_root)
    except data.DataError as error:
        raise InputError(str(error)) from None
    if variant == "sample" and o.data == "auto" and o.data_root:
        raise InputError(f"--data-root {o.data_root}: {why} Ask for the sample with --data sample.")
    return Data(names, variant, why, o.data_root)


def require(study: Study, o: Options, plan: Plan) -> None:
    """InputError where something that the students start from is not at hand; a dry run names what would be downloaded.
    Imports torch."""
    from trainables.core import data

    configs = [config for trial in plan.trials for config in trial.students]
    configs += [search.config({name: r.low for name, r in search.ranges.items()}) for search in plan.searches()]
    cls = study.load()
    if o.keep_weights and not cls.keeps_networks:
        raise InputError(
            f"--keep-weights: the students of {study.name} are numbers of a population, not networks to keep"
        )
    try:
        students = [cls.config_type(**config) for config in configs]
        if students:
            with data.offline() if o.dry_run else contextlib.nullcontext():
                cls.require(students)
    except data.DataMissing as missing:
        if not o.dry_run:
            raise InputError(str(missing)) from None
        say(f"weights   a run must download them: {missing}")
    except ValueError as error:  # a config that makes no sense, or a DataError
        raise InputError(str(error)) from None
