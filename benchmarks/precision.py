"""fp32 against bf16, by study and network: the time of a step, and whether students are as accurate.

    python benchmarks/precision.py [--studies mnist_kd] [--network mlp_300] [--seeds 10] [--data sample] [--data-root DIR]

Of each study whose `--precision` may be auto, some cells of its default preset, with that preset's network unless another is named: one
run of the study trains the same students in both precisions, from the same teachers. Printed: milliseconds of a step for one student
of a pack, as `--precision auto` measures them; accuracies on test, and what bf16 adds to those on validation and on test, seed by
seed, with its interval of 95 %, for each cell and for all together. A network may be in `trainables.core.precision.EQUAL` for its study where these
intervals are within half a point of 0; more seeds make them shorter.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import side_by_side

from analysis.core import statistics
from trainables.core import precision

CELLS: dict[str, dict[str, tuple]] = {
    "mnistm_kd": {"teacher_view": ("target",), "target_labels": ("500", "all"), "temperature": (4,), "kd_weight": (0, 0.5)},
    "mnist_kd": {"temperature": (8,), "kd_weight": (0, 0.4)},
    "missing_digit": {"omitted": ("none", "3"), "kd_weight": (10,)},
    "two_teachers_kd": {"inputs": ("real", "strokes"), "lifting": ("zeros", "confidence"), "temperature": (4,), "kd_weight": (0.5,)},
    "pseudo_labels": {"method": ("supervised", "pseudo_label", "fixmatch"), "labels": (1000,), "threshold": (0.95,)},
}  # fmt: skip
MEASURED = ("val_accuracy", "test_accuracy")


@dataclass
class Arguments:
    studies: tuple[str, ...] = tuple(CELLS)
    """which studies"""
    network: str | None = None
    """the students' network, in place of that of the default preset"""
    data: Literal["full", "sample"] = "full"
    """which data"""
    data_root: Path | None = None
    """folder of the data sets"""
    seeds: int = 10
    """replicates"""
    steps: int | None = None
    """length of a training, in batches, in place of that of the default preset"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where students are trained and steps are timed"""


def main(a: Arguments) -> None:
    from studies.harness.engine import prepare_process

    prepare_process(1)
    for name in a.studies:
        compare(name, a)


def compare(name: str, a: Arguments) -> None:
    study, cells = importlib.import_module(f"studies.{name}").STUDY, CELLS[name]
    words: list[object] = ["--data", a.data, "--seeds", a.seeds, "--precision", "fp32", "bf16"]
    for axis, values in cells.items():
        words += ["--" + axis.replace("_", "-"), *values]
    words += ["--network", a.network] if a.network else []
    words += ["--steps", a.steps] if a.steps else []
    words += ["--data-root", a.data_root] if a.data_root else []
    words += ["--num-gpus", 1] if a.device == "cuda" else []
    rows, _, info = side_by_side.study_run(name, words)
    both = [rows[rows.precision == value] for value in ("fp32", "bf16")]

    cls, pack = study.load(), study.presets["course"].pack
    student = cls.config_type(**study.canonical({axis: values[0] for axis, values in info["grids"][0].items()}))
    layers, shape = cls.architecture(student)
    step = precision.step_seconds(layers, shape, student.batch_size, [("fp32", pack), ("bf16", pack)], a.device)
    print(f"{name}, {student.network}: {student.steps} steps, {a.data} data, {a.seeds} seeds")
    print(f"  packs of {pack}: {1e3 * step[0]:.2f} ms a step of a student in fp32, {1e3 * step[1]:.2f} in bf16, "
          f"{step[1] / step[0]:.2f} of it")  # fmt: skip
    print(f"  {'':44s}{'test, %: fp32':>16s}{'bf16':>17s}   {'bf16 - fp32, points: val':26s}test")
    varied = [axis for axis, values in cells.items() if len(values) > 1]
    for cell, plain in both[0].groupby(varied):
        told = " ".join(f"{axis} {value}" for axis, value in zip(varied, cell, strict=True))
        print(line(told, plain, dict(iter(both[1].groupby(varied)))[cell]))
    print(line("all", *both), flush=True)


def line(told: str, plain: pd.DataFrame, halved: pd.DataFrame) -> str:
    """Students of some cells in both precisions, compared by the means of each seed."""
    means = [table.groupby("seed")[list(MEASURED)].mean() for table in (plain, halved)]
    tests = "  ".join(side_by_side.interval(each["test_accuracy"].tolist()) for each in means)
    differences = [statistics.paired(means[1][metric], means[0][metric]) for metric in MEASURED]
    said = "  ".join(f"{100 * d.mean:+.2f} ({100 * d.low:+.2f} to {100 * d.high:+.2f})" for d in differences)
    return f"  {told:44s}{tests}   {said}"


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
