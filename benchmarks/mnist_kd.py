"""mnist_kd and missing_digit as a user would write them today against this project, side by side in one run.

    python benchmarks/mnist_kd.py [--study missing_digit] [--data-root DIR]

The plain way: one Ray Tune trial per config, torchvision transforms and a DataLoader, the teacher's forward pass in every step.
Ours: the study's command, which finds its teachers' answers in the cache (neither way trains them). The plain way trains
a few of the same cells: its rate does not depend on which.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import side_by_side
import torch
import torch.nn.functional as F

from trainables import hinton
from trainables.core import data
from trainables.core.nets import graph
from trainables.core.population import OPTIMISERS
from trainables.hinton import CLASSES, SHAPE, Config, MnistDistillation, Splits

TEACHER_STEPS, OMITTED = 500, 3


@dataclass
class Arguments:
    study: Literal["mnist_kd", "missing_digit"] = "mnist_kd"
    """which study"""
    data: Literal["full", "sample"] = "full"
    """which data"""
    data_root: Path | None = None
    """folder of the data sets"""
    steps: int = 430
    """length of a training, in batches"""
    plain_kd_weight: tuple[float, ...] = (0.1, 0.4)
    """weights that the plain way trains, at T = 4, with both seeds"""


def plain(number: int, report, configs: list[Config], parts: dict, teachers: dict) -> dict:
    """One student the plain way; its last row."""
    c = configs[number]
    torch.manual_seed(c.seed)

    def loss(z, t, y):
        return F.cross_entropy(z, y) + c.kd_weight * side_by_side.soft_loss(z, t, c.temperature)

    student, teacher = side_by_side.module(graph(c.network, CLASSES), SHAPE), copy.deepcopy(teachers[c.seed])
    return side_by_side.train_plainly(student, teacher, loss, parts, c, "cpu", report, OPTIMISERS[c.optimiser])


def main(a: Arguments) -> None:
    from studies.harness.engine import prepare_process
    from studies.harness.machine import available_cores

    prepare_process(1)
    datasets = {"mnist": data.load("mnist", a.data, a.data_root)}
    arrays, sets = datasets["mnist"], Splits(datasets["mnist"], torch.device("cpu"))
    optimiser, lr = ("sgd", 0.08) if a.study == "mnist_kd" else ("adam", 1e-3)
    base = Config(
        "additive", "all", "mlp_600", "plain", TEACHER_STEPS, "fp32", optimiser, a.steps, 128, lr, 4.0, 0.1, 0
    )
    configs = [replace(base, kd_weight=w, seed=s) for w in a.plain_kd_weight for s in (0, 1)]
    print(f"{a.study}, {a.steps} steps, {a.data} data, on {available_cores()} cores", flush=True)

    teachers = {}
    for seed in (0, 1):
        artifact = MnistDistillation.artifact(replace(base, seed=seed))
        MnistDistillation.prepare(artifact, datasets, "cpu")
        # once more, as a module: the plain way asks it in every step
        teachers[seed] = side_by_side.copied(hinton.train_teacher(artifact, sets))
    transfer = sets.train if a.study == "mnist_kd" else sets.train[sets.labels[sets.train] != OMITTED]
    images, labels = arrays["train_images"], arrays["train_labels"]
    parts = {name: (images[i], labels[i]) for name, i in (("train", transfer.numpy()), ("val", sets.val.numpy()))}
    parts["test"] = (arrays["test_images"], arrays["test_labels"])

    start = time.monotonic()
    theirs = side_by_side.on_tune(
        plain, len(configs), available_cores(), configs=configs, parts=parts, teachers=teachers
    )
    plain_seconds = time.monotonic() - start

    words = [
        "--data",
        a.data,
        "--seeds",
        2,
        "--steps",
        a.steps,
        "--teacher-steps",
        TEACHER_STEPS,
        "--precision",
        "fp32",
        "--temperature",
        1,
        2,
        4,
        8,
    ]
    words += ["--kd-weight", *((0, 0.05, 0.1, 0.2, 0.3, 0.4) if a.study == "mnist_kd" else (0.1, 0.4))]
    words += ["--omitted", "none", OMITTED] if a.study == "missing_digit" else []
    words += ["--data-root", str(a.data_root)] if a.data_root else []
    rows, seconds, info = side_by_side.study_run(a.study, words)
    side_by_side.compare(len(configs), plain_seconds, rows, seconds, info["workers"])
    print("test accuracy, %     plain               ours")
    for w in a.plain_kd_weight:
        mine = rows[(rows.temperature == 4) & (rows.kd_weight == w)]
        if a.study == "missing_digit":
            mine = mine[mine.omitted == str(OMITTED)]
        other = [r["test_accuracy"] for c, r in zip(configs, theirs, strict=True) if c.kd_weight == w]
        print(f"  T 4 weight {w:4g}  {side_by_side.interval(other)}     {side_by_side.interval(mine.test_accuracy)}")


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
