"""kd_gradients as a user would write it today against this project, side by side in one run.

    python benchmarks/kd_gradients.py [--data-root DIR]

The plain way: one Ray Tune trial per config, torchvision transforms and a DataLoader, the teacher's forward pass in every step,
torch's default Adam, and at each of four evaluations a forward and a backward per probe temperature. Ours:
`studies/kd_gradients.py` on the same data set, which measures more often. Both take the same number of steps with the same batch size,
schedule, network, teacher and split; neither trains the teachers. Printed: cells per minute of both and their ratio, accuracies of the
cells that both trained with intervals over seeds, our time per step against the bare products.
"""

from __future__ import annotations

import copy
import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import side_by_side
import torch
import torch.nn.functional as F

from trainables import gradients
from trainables.core import data
from trainables.core.nets import graph
from trainables.gradients import CLASSES, COLDEST, Config, Gradients, Splits, shape, to_float


@dataclass
class Arguments:
    data: Literal["full", "sample"] = "full"
    """which data"""
    data_root: Path | None = None
    """folder of the data sets"""
    dataset: str = "mnist"
    """mnist, fashion_mnist or cifar10"""
    seeds: int = 3
    """replicates"""
    steps: int = 300
    """length of a training, in batches"""
    teacher_steps: int = 1200
    """length of a teacher's training"""
    temperature: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
    """temperatures of our run"""
    plain_temperature: tuple[float, ...] = (1.0, 16.0)
    """temperatures that the plain way trains too"""


def plain(number: int, report, configs: list[Config], parts: dict, teachers: dict, probe: tuple) -> dict:
    """One student the plain way; its last row."""
    c = configs[number]
    torch.manual_seed(c.seed)
    x, y = probe
    student, teacher = side_by_side.module(graph(c.network, CLASSES), tuple(x.shape[1:])), teachers[c.seed]

    def loss(z, t, y):
        return (1 - c.kd_weight) * F.cross_entropy(z, y) + c.kd_weight * side_by_side.soft_loss(z, t, c.temperature)

    def measured(row):
        with torch.no_grad():
            t = teacher(x)
        for T in (None, *(COLDEST * 2.0**k for k in range(c.doublings + 1))):
            student.zero_grad()
            z = student(x)
            z.retain_grad()
            (F.cross_entropy(z, y) if T is None else side_by_side.soft_loss(z, t, T) / T**2).backward()
            assert z.grad is not None
            row[f"norm_{T}"] = len(x) * z.grad.norm(dim=1).mean().item()
            row |= {
                f"{name}_{T}": p.grad.norm().item()
                for name, p in student.named_parameters()
                if p.dim() > 1 and p.grad is not None
            }
        report(row)

    return side_by_side.train_plainly(student, copy.deepcopy(teacher), loss, parts, c, "cpu", measured)


def main(a: Arguments) -> None:
    from studies.harness.engine import prepare_process
    from studies.harness.machine import available_cores

    workers = available_cores()
    datasets = {a.dataset: data.load(a.dataset, a.data, a.data_root)}
    arrays, sets = datasets[a.dataset], Splits(datasets[a.dataset], torch.device("cpu"))
    base = Config(a.dataset, "cnn_small", "cnn", a.teacher_steps, a.steps, 128, 11, 3e-3, 1.0, 0.5, 0)
    configs = [replace(base, temperature=T, seed=s) for T, s in itertools.product(a.plain_temperature, range(a.seeds))]
    print(f"{a.dataset}, {a.steps} steps, {a.data} data, on {workers} cores", flush=True)

    prepare_process(1)
    teachers = {}
    for s in range(a.seeds):
        artifact = Gradients.artifact(replace(base, seed=s))
        answers, _ = Gradients.prepare(artifact, datasets, "cpu")
        teachers[s] = side_by_side.copied(gradients.train_teacher(artifact, sets))
    images = arrays["train_images"]
    as_pictures = (lambda x: x) if images.ndim == 3 else (lambda x: x.transpose(0, 2, 3, 1).copy())
    train, val = sets.train.numpy(), sets.val.numpy()
    parts = {
        "train": (as_pictures(images[train]), arrays["train_labels"][train]),
        "val": (as_pictures(images[val]), arrays["train_labels"][val]),
        "test": (as_pictures(arrays["test_images"]), arrays["test_labels"]),
    }
    probe = Gradients([base], datasets, answers, "cpu").probe
    shared = {"configs": configs, "parts": parts, "teachers": teachers}
    shared["probe"] = (to_float(sets.images[probe]), sets.labels[probe])
    start = time.monotonic()
    theirs = side_by_side.on_tune(plain, len(configs), workers, **shared)
    plain_seconds = time.monotonic() - start

    words = ["--data", a.data, "--dataset", a.dataset, "--seeds", a.seeds, "--steps", a.steps,
             "--teacher-steps", a.teacher_steps, "--temperature", *a.temperature]  # fmt: skip
    words += ["--data-root", str(a.data_root)] if a.data_root else []
    rows, seconds, info = side_by_side.study_run("kd_gradients", words)
    side_by_side.compare(len(configs), plain_seconds, rows, seconds, info["workers"])
    print("test accuracy, %     plain               ours")
    for T in a.plain_temperature:
        other = [r["test_accuracy"] for c, r in zip(configs, theirs, strict=True) if c.temperature == T]
        mine = rows[rows.temperature == T].test_accuracy
        print(f"  T {T:4g}             {side_by_side.interval(other)}     {side_by_side.interval(mine)}")

    def pack(size: int) -> Gradients:
        return Gradients([replace(base, temperature=2.0 ** (i % 9)) for i in range(size)], datasets, answers, "cpu")

    floor = side_by_side.products(graph(base.network, CLASSES), shape(a.dataset), base.batch_size, "fp32", "cpu")
    side_by_side.print_steps(pack, (info["pack"],), floor, a.steps, "cpu")


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
