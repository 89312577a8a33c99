"""What a run needs at hand before it starts: data and weights, or one line that says what is missing."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from analysis.core.records import is_share
from studies.harness.arguments import Options
from studies.harness.plan import Plan
from studies.harness.progress import say
from studies.harness.study import Config, InputError, Study, flag
from trainables.core import images
from trainables.core.images import Own


@dataclass(frozen=True)
class Data:
    """Data sets by name, which variant of them a run takes (sample, full or own), and why. own: the user's images, if any."""

    names: tuple[str, ...]
    variant: Literal["sample", "full", "own"]
    why: str
    root: Path | None
    own: Own | None = None

    def load(self) -> Mapping[str, Any]:
        from trainables.core import data

        try:
            return {name: data.load(name, self.variant, self.root, self.own) for name in self.names}
        except data.DataError as error:
            raise InputError(str(error)) from None

    def about(self) -> dict[str, Any]:
        """What run.json says of the data."""
        from trainables.core import data

        published = [name for name in self.names if not images.NAME.fullmatch(name)]
        said = data.describe(published, "full" if self.own else self.variant, self.root)
        if self.own:
            said = f"{said}; {self.own.describe()}" if published else self.own.describe()
        own = {"data_digest": self.own.digest, "data_caveat": " ".join(self.own.caveats())} if self.own else {}
        return {"data": self.variant, "data_description": said, "datasets": self.names, **own}

    def tables(self) -> dict[str, list[dict]]:
        """Tables beside the rows: the classes of the user's images by their labels, and how many images each has."""
        return {"classes": [{"data": self.variant, **line} for line in self.own.table()]} if self.own else {}


def settled(study: Study, o: Options) -> Options:
    """The options of a new run; where --data-root has images of the user's own and the study has an axis `dataset`, that is
    what they are called there, unless the command line says otherwise."""
    if "dataset" in study.axes and "dataset" not in o.axes and _has_own(study, o):
        return replace(o, axes={**o.axes, "dataset": (study.own_images,)})
    return o


def _has_own(study: Study, o: Options) -> bool:
    """Whether the data root has images of the user's own for a study that takes them. InputError where it has CIFAR-10 too."""
    from trainables.core import data

    if not study.own_images or o.data == "sample" or o.data_root is None:
        return False
    try:
        if not images.found(o.data_root):
            return False
        place = data.find_cifar(o.data_root)
    except data.DataError as error:
        raise InputError(str(error)) from None
    if place is not None and place.path != o.data_root:
        both = f"{place.path} is CIFAR-10, and {o.data_root}/train has images of another set"
        raise InputError(f"--data-root {o.data_root}: {both}; name a folder that has one of them")
    return place is None


def _planned(study: Study, o: Options, info: Mapping[str, Any], name: str) -> tuple:
    """The values of an axis in a run. info: see `data_of`."""
    before = tuple(info.get("axes", {}).get(name, ()))
    usual = () if before and o.axes else study.chosen(o.preset, "full", {})[name]
    chosen = o.axes.get(name) or usual
    return tuple(dict.fromkeys((*before, *chosen))) if o.extend or not before else before


def data_of(study: Study, o: Options, info: Mapping[str, Any]) -> Data:
    """The data of a run; info: run.json of the run that is continued, which goes on with the variant that it began with, or
    empty. InputError where they cannot be had; a dry run downloads nothing and says what a run would."""
    from trainables.core import data

    began = info.get("data")
    given = bool(o.data == "auto" and o.data_root and not began)  # where the sample is no way out
    names, own = study.datasets, began == "own" if began else _has_own(study, o)
    if study.presets[o.preset].own and not own and not began:
        needs = f"--preset {o.preset}: needs --data-root DIR with pictures in DIR/train/<class>"
        raise InputError(_flat(study, o) or needs + ", and no --data sample" * (o.data == "sample"))
    if "dataset" in study.axes:
        names = _planned(study, o, info, "dataset")
    elif own:
        names = tuple(study.own_images.format(resolution=side) for side in _planned(study, o, info, "resolution"))
    published = [name for name in names if not images.NAME.fullmatch(name)]
    try:
        if len(published) < len(names):
            return _own(names, published, o, info, own)
        with data.offline() if o.dry_run else contextlib.nullcontext():
            wanted = began or ("full" if given or (o.dry_run and o.data == "auto") else o.data)
            variant, why = data.resolve(wanted, names, o.data_root)
    except data.DataMissing as missing:
        if moved := _flat(study, o):
            raise InputError(moved) from None
        if not o.dry_run:
            sample = "; ask for the sample with --data sample" * given
            raise InputError(f"{missing}{_otherwise(study, o)}{sample}") from None
        otherwise = ", else the shipped sample" if o.data == "auto" and not o.data_root else ""
        why = f"The full data, if a run can download them{otherwise}: {missing}."
        return Data(names, "full", why, o.data_root)
    except data.DataError as error:
        raise InputError(str(error)) from None
    return Data(names, variant, why, o.data_root)


def fitted(study: Study, found: Data) -> Study:
    """The study on the user's images: where a word counts training images and there are no more than that, all are one student; and
    of few test images one does not matter."""
    if found.own is None:
        return study
    words = [name for name, axis in study.axes.items() if axis.images and axis.type is str]
    most, usual = len(found.own.files["train"]), study.canonical
    one = 1 / len(found.own.files["test"]) if is_share(study.metric) else 0.0

    def canonical(config: Config) -> Config:
        """As usual, once a count that takes all is "all"."""
        taken = {name: "all" for name in words if config[name] != "all" and int(config[name]) >= most}
        return usual({**config, **taken})

    return replace(study, canonical=canonical, margin=max(one, study.margin_of(None)))


def _otherwise(study: Study, o: Options) -> str:
    """What else a data root may hold, for a message that misses something there."""
    return f"; images of your own go into {o.data_root}/train/<class>" if study.own_images and o.data_root else ""


def _flat(study: Study, o: Options) -> str:
    """What to do where a data root has the classes of the user's images, but no train; nothing where it is another folder."""
    if not study.own_images or o.data_root is None or (o.data_root / "train").is_dir():
        return ""
    classes = images.folders(o.data_root)
    some = ", ".join(classes[: images.SHOWN]) + ", ..." * (len(classes) > images.SHOWN)
    remedy = f"move these into {o.data_root}/train/"
    if o.data_root.absolute().name == "train":
        above = o.data_root.parent if o.data_root.name else o.data_root.absolute().parent
        remedy = f"give --data-root {shlex.quote(str(above))}"
    return f"--data-root {o.data_root}: folders of pictures ({some}): {remedy}" if len(classes) > 1 else ""


def _own(names: tuple[str, ...], published: Sequence[str], o: Options, info: Mapping[str, Any], there: bool) -> Data:
    """Data that are images of the user's own, or some of them. Errors: InputError, DataError."""
    from trainables.core import data

    if not there or o.data_root is None:
        name = next(name for name in names if name not in published)
        raise InputError(f"--dataset {name}: needs --data-root DIR with pictures in DIR/train/<class>")
    if published:
        data.resolve("full", published, o.data_root)
    own = images.survey(o.data_root)
    if info.get("data_digest", own.digest) != own.digest:
        raise InputError(f"the images under {o.data_root} are no longer those that {info['run']} began with")
    return Data(names, "own", f"{own.describe()}.", o.data_root, own)


def told(study: Study, o: Options, plan: Plan, found: Data) -> list[str]:
    """What a preset asks for and the data do not have, and what the data are too few for, in words. InputError where the command line asks for more."""
    from trainables.core import data

    few = found.own.caveats() if found.own else []
    counted = [name for name, axis in study.axes.items() if axis.images]
    if not counted:
        return few
    most = (
        len(found.own.files["train"]) if found.own else min(data.training(name, found.variant) for name in found.names)
    )
    said = few
    for name in counted:
        for value in plan.values[name]:
            if value == "all" or int(value) <= most:
                continue
            if value in o.axes.get(name, ()):
                raise InputError(
                    f"{flag(name)} {value}: the data have {most:,} images to train on; give at most {most}"
                )
            said.append(
                f"{flag(name)} {value} of the preset: the data have {most:,} images to train on, and all are taken"
            )
    return said


def require(study: Study, o: Options, plan: Plan, found: Data) -> None:
    """InputError where something that the students start from is not at hand, or where the user's images are too few; a dry run
    names what would be downloaded. Imports torch."""
    from trainables.core import data

    configs = [config for trial in plan.trials for config in trial.students]
    configs += [search.config({name: r.low for name, r in search.ranges.items()}) for search in plan.searches()]
    cls = study.load()
    try:
        students = [cls.config_type(**config) for config in configs]
        if o.keep_weights and not all(map(cls.keeps, students)):
            some = "some students" if any(map(cls.keeps, students)) else "the students"
            raise InputError(
                f"--keep-weights: {some} of {study.name} are trained side by side in one population, so there is no network of one alone to keep"
            )
        if students:
            with data.offline() if o.dry_run else contextlib.nullcontext():
                cls.require(students, len(found.own.files["train"]) if found.own else None)
    except data.DataMissing as missing:
        if not o.dry_run:
            raise InputError(str(missing)) from None
        say(f"weights   a run must download them: {missing}")
    except ValueError as error:  # a config that makes no sense, or a DataError
        raise InputError(str(error)) from None
