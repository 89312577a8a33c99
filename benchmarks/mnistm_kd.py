"""mnistm_kd as a user would write it today against this project, side by side in one run.

    python benchmarks/mnistm_kd.py [--data-root DIR] [--precision fp32 auto] [--packs 1 4 16]

The plain way: one Ray Tune trial per config, torchvision transforms and a DataLoader (num_workers 0: every core already
trains), the teacher's forward pass in every step, torch's default Adam. Ours: `studies/mnistm_kd.py`, its own way through
Ray, on the default plane of temperature x kd_weight with all labels and both views. The plain way trains a sample of the
same cells: its rate does not depend on which. Both take the same number of steps with the same batch size, schedule,
network, teacher and split; neither trains the teachers, ours finds their answers in the cache (their training and answers,
timed apart, are printed). Printed: cells per minute of both and their ratio, accuracies of the cells that both trained with
intervals over seeds, our time per step against the bare products, and what is not training.
"""

from __future__ import annotations

import copy
import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import side_by_side
import torch
import torch.nn.functional as F
import tyro

from trainables import distil
from trainables.core import data
from trainables.core.nets import graph
from trainables.distil import CLASSES, SHAPE, Config, Distillation, PairedSplits, Teacher


@dataclass
class Arguments:
    data: Literal["full", "sample"] = "full"
    """which data"""
    data_root: Path | None = None
    """folder of the data sets"""
    seeds: int = 3
    """replicates"""
    steps: int = 1100
    """length of a training, in batches"""
    temperature: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    """temperatures of our run"""
    kd_weight: tuple[float, ...] = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
    """weights of the distillation term of our run"""
    plain_temperature: tuple[float, ...] = (1.0, 8.0)
    """temperatures that the plain way trains too"""
    plain_kd_weight: tuple[float, ...] = (0.0, 0.1, 1.0)
    """weights that the plain way trains too"""
    precision: tuple[Literal["fp32", "bf16", "auto"], ...] = ("fp32", "auto")
    """precisions of our products, a run of ours in each; auto is what the study takes by itself. The plain way is fp32"""
    packs: Annotated[tuple[int, ...], tyro.conf.arg(help="also time our step at these pack sizes")] = ()
    device: str = "cpu"
    """cuda compares without Ray: a plain loop over configs against packs in one process"""


def plain(number: int, report, configs: list[Config], parts: dict, teachers: dict, device: str = "cpu") -> dict:
    """One student the plain way; its last row."""
    c = configs[number]
    torch.manual_seed(c.seed)

    def loss(z, t, y):
        return (1 - c.kd_weight) * F.cross_entropy(z, y) + c.kd_weight * side_by_side.soft_loss(z, t, c.temperature)

    student = side_by_side.module(graph(c.network, CLASSES), SHAPE)
    return side_by_side.train_plainly(student, copy.deepcopy(teachers[c.seed]), loss, parts, c, device, report)


def main(a: Arguments) -> None:
    from studies.harness.engine import prepare_process
    from studies.harness.machine import available_cores

    workers = available_cores()
    name = torch.cuda.get_device_name() if a.device == "cuda" else f"{workers} cores"
    datasets = {"mnistm": data.load("mnistm", a.data, a.data_root)}
    arrays, sets = datasets["mnistm"], PairedSplits(datasets["mnistm"], torch.device("cpu"))
    base = Config(
        "target",
        "all",
        1,
        "none",
        "none",
        "none",
        "cnn_small",
        "cnn",
        1500,
        "fp32",
        a.steps,
        128,
        3e-3,
        1.0,
        0.0,
        0,
    )
    configs = [
        replace(base, temperature=T, kd_weight=w, seed=s)
        for T in a.plain_temperature for w in a.plain_kd_weight for s in range(a.seeds)
    ]  # fmt: skip
    print(f"{a.steps} steps, {a.data} data, on {name}", flush=True)

    prepare_process(1)
    teachers, training = {}, 0.0
    for s in range(a.seeds):
        artifact = Distillation.artifact(replace(base, seed=s))
        assert isinstance(artifact, Teacher)  # not a round's student
        answers, row = Distillation.prepare(artifact, datasets, a.device)
        training += row["seconds"]
        teacher = distil.new_teacher(artifact, "cpu")  # once more, as a module: the plain way asks it in every step
        distil.train_teacher(teacher, artifact, sets)
        teachers[s] = side_by_side.copied(teacher)
    print(f"teachers and their answers, made once: {training:.0f} s of one core", flush=True)
    channels_last = lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1))  # noqa: E731
    train, val = sets.train.numpy(), sets.val.numpy()
    images, labels = arrays["train_images"], arrays["train_labels"]
    parts = {
        "train": (channels_last(images[train]), labels[train]),
        "val": (channels_last(images[val]), labels[val]),
        "test": (channels_last(arrays["test_images"]), arrays["test_labels"]),
        "source": (np.repeat(arrays["test_digits"][..., None], 3, -1), arrays["test_labels"]),
    }

    shared: dict[str, Any] = {"configs": configs, "parts": parts, "teachers": teachers}
    start = time.monotonic()
    if a.device == "cuda":
        warm = {**shared, "configs": [replace(configs[0], steps=20)]}  # the first kernels are slow to load
        plain(0, lambda row: None, **warm, device="cuda")
        start = time.monotonic()
        theirs = [plain(i, lambda row: None, **shared, device="cuda") for i in range(len(configs))]
    else:
        theirs = side_by_side.on_tune(plain, len(configs), workers, **shared)
    plain_seconds = time.monotonic() - start

    words = ["--data", a.data, "--seeds", a.seeds, "--teacher-view", "target", "source", "--target-labels", "all",
             "--steps", a.steps, "--temperature", *a.temperature, "--kd-weight", *a.kd_weight]  # fmt: skip
    words += ["--data-root", str(a.data_root)] if a.data_root else []
    words += ["--address", "inline", "--num-gpus", "1"] if a.device == "cuda" else []
    for asked in a.precision:
        rows, seconds, info = side_by_side.study_run("mnistm_kd", [*words, "--precision", asked])
        (precision,) = info["axes"]["precision"]
        print(f"--precision {asked}" + f", which came to {precision}" * (asked != precision))
        side_by_side.compare(len(configs), plain_seconds, rows, seconds, info["workers"])
        print("test accuracy, %     plain               ours")
        for T, w in itertools.product(a.plain_temperature, a.plain_kd_weight):
            mine = rows[(rows.teacher_view == "target") & (rows.temperature == T) & (rows.kd_weight == w)]
            other = [
                r["test_accuracy"]
                for c, r in zip(configs, theirs, strict=True) if (c.temperature, c.kd_weight) == (T, w)
            ]  # fmt: skip
            both = f"{side_by_side.interval(other)}     {side_by_side.interval(mine.test_accuracy)}"
            print(f"  T {T:4g} weight {w:4g}  {both}")

        def pack(size: int, precision: str = precision) -> Distillation:
            students = [replace(base, precision=precision, temperature=1.0 + i % 16, kd_weight=0.5) for i in range(size)]
            return Distillation(students, datasets, answers, a.device)

        floor = side_by_side.products(graph(base.network, CLASSES), SHAPE, base.batch_size, precision, a.device)
        side_by_side.print_steps(pack, (info["pack"], *a.packs), floor, a.steps, a.device)


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
