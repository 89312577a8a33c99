"""two_teachers_kd as a user would write it today against this project, side by side in one run.

    python benchmarks/two_teachers_kd.py [--data-root DIR]

The plain way: one Ray Tune trial per config, torchvision transforms and a DataLoader, both teachers' forward passes in every
step, torch's default Adam. Ours: `studies/two_teachers_kd.py` on the same plane of temperature x kd_weight: drawn strokes,
plain loss. Networks without batch normalisation, the same for both; teachers and pool are made before the clock starts.
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
from torch import nn

from trainables.core import data
from trainables.core.nets import graph
from trainables.two_teachers import CLASSES, HALF, SHAPE, Config, Splits, Teachers, TwoTeachers


@dataclass
class Arguments:
    data: Literal["full", "sample"] = "full"
    """which data"""
    data_root: Path | None = None
    """folder of the data sets"""
    seeds: int = 3
    """replicates"""
    steps: int = 200
    """length of a training, in batches"""
    temperature: tuple[float, ...] = (1.0, 4.0, 16.0)
    """temperatures of our run"""
    kd_weight: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """weights of the first teacher of our run"""
    plain_temperature: tuple[float, ...] = (1.0, 16.0)
    """temperatures that the plain way trains too"""
    plain_kd_weight: tuple[float, ...] = (0.5,)
    """weights that the plain way trains too"""


class Both(nn.Module):
    """Two teachers' logits side by side, (B, 10)."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.first(x), self.second(x)], 1)


def plain(number: int, report, configs: list[Config], parts: dict, teachers: dict) -> dict:
    """One student the plain way; its last row."""
    c = configs[number]
    torch.manual_seed(c.seed)
    w, T = c.kd_weight, c.temperature

    def loss(z, t, y):
        log_q = F.log_softmax(z / T, 1)
        p = F.softmax(t[:, :HALF] / T, 1), F.softmax(t[:, HALF:] / T, 1)
        first = F.kl_div(log_q[:, :HALF], p[0], reduction="batchmean")
        second = F.kl_div(log_q[:, HALF:], p[1], reduction="batchmean")
        return T * T * (w * first + (1 - w) * second)

    student = side_by_side.module(graph(c.network, CLASSES), SHAPE)
    mine = {**parts, "train": parts["train"][c.seed]}
    return side_by_side.train_plainly(student, copy.deepcopy(teachers[c.seed]), loss, mine, c, "cpu", report)


def main(a: Arguments) -> None:
    from studies.harness.engine import prepare_process
    from studies.harness.machine import available_cores

    workers = available_cores()
    datasets = {name: data.load(name, a.data, a.data_root) for name in ("mnist", "fashion_mnist")}
    base = Config(
        inputs="strokes", lifting="zeros", pool=30000, network="cnn_small", teacher="cnn", teacher_steps=600,
        generator_steps=1, precision="fp32", steps=a.steps, batch_size=128, lr=5e-3, temperature=1.0, kd_weight=0.5, seed=0,
    )  # fmt: skip
    configs = [
        replace(base, temperature=T, kd_weight=w, seed=s)
        for T in a.plain_temperature for w in a.plain_kd_weight for s in range(a.seeds)
    ]  # fmt: skip
    print(f"{a.steps} steps, {a.data} data, on {workers} cores", flush=True)

    prepare_process(1)
    digits, teachers, pools = Splits(datasets["mnist"], torch.device("cpu")), {}, {}
    for s in range(a.seeds):
        artifact = TwoTeachers.artifact(replace(base, seed=s))
        made, _ = TwoTeachers.prepare(artifact, datasets, "cpu")
        teachers[s] = Both(*map(side_by_side.copied, Teachers(artifact, datasets["mnist"], "cpu").both))
        pools[s] = made["images"], made["answers"][0].argmax(-1)  # labels that nobody reads
    parts = {
        "train": pools,
        "val": (digits.images[digits.val].numpy(), digits.labels[digits.val].numpy()),
        "test": (digits.test_images.numpy(), digits.test_labels.numpy()),
    }
    start = time.monotonic()
    theirs = side_by_side.on_tune(plain, len(configs), workers, configs=configs, parts=parts, teachers=teachers)
    plain_seconds = time.monotonic() - start

    words = ["--data", a.data, "--seeds", a.seeds, "--inputs", "strokes", "--lifting", "zeros", "--network", base.network,
             "--teacher", base.teacher, "--precision", "fp32", "--steps", a.steps, "--temperature", *a.temperature,
             "--kd-weight", *a.kd_weight]  # fmt: skip
    words += ["--data-root", str(a.data_root)] if a.data_root else []
    rows, seconds, info = side_by_side.study_run("two_teachers_kd", words)
    side_by_side.compare(len(configs), plain_seconds, rows, seconds, info["workers"])
    print("test accuracy, %     plain               ours")
    for T, w in itertools.product(a.plain_temperature, a.plain_kd_weight):
        mine = rows[(rows.temperature == T) & (rows.kd_weight == w)].test_accuracy
        other = [
            r["test_accuracy"] for c, r in zip(configs, theirs, strict=True) if (c.temperature, c.kd_weight) == (T, w)
        ]
        print(f"  T {T:4g} weight {w:4g}  {side_by_side.interval(other)}     {side_by_side.interval(mine)}")


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
