"""mnistm_kd as a user would write it today against this project, side by side in one run.

    python benchmarks/mnistm_kd.py [--data-root DIR] [--precision bf16] [--packs 1 4 16]

The plain way: one Ray Tune trial per config, torchvision transforms and a DataLoader, the teacher's forward pass in every
step, torch's default Adam. Ours: `studies/mnistm_kd.py` on the same cells, its own way through Ray. Both take the same
number of steps with the same batch size, schedule, network, teacher and split. Printed: cells per minute of both and
their ratio, accuracies with intervals over seeds, our time per step against the bare products, and what is not training.
"""

from __future__ import annotations

import copy
import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import nn

from trainables import distil
from trainables.core.nets import Conv, graph
from trainables.core.population import PRECISIONS
from trainables.core.schedules import warmup_linear
from trainables.distil import CLASSES, EVALUATIONS, SHAPE, Config, Distillation, Splits

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Arguments:
    data: str = "full"
    """full or sample"""
    data_root: Path | None = None
    """folder of the data sets"""
    seeds: int = 3
    """replicates"""
    steps: int = 1100
    """length of a training, in batches"""
    temperature: tuple[float, ...] = (1.0, 8.0)
    """temperatures"""
    kd_weight: tuple[float, ...] = (0.0, 0.1, 1.0)
    """weights of the distillation term"""
    precision: str = "fp32"
    """precision of our products; the plain way is fp32"""
    packs: Annotated[tuple[int, ...], tyro.conf.arg(help="also time our step at these pack sizes")] = ()
    device: str = "cpu"
    """cuda compares without Ray: a plain loop over configs against packs in one process"""


def module(network: str) -> nn.Sequential:
    """The same network in torch.nn."""
    parts: list[nn.Module] = []
    size = SHAPE
    layers = graph(network, CLASSES)
    for i, layer in enumerate(layers):
        if isinstance(layer, Conv):
            parts.append(nn.Conv2d(size[0], layer.channels, layer.kernel, layer.stride, layer.kernel // 2))
            if layer.pool > 1:
                parts.append(nn.MaxPool2d(layer.pool))
            size = tuple(nn.Sequential(*parts)(torch.zeros(1, *SHAPE)).shape[1:])
        else:
            if len(size) > 1:
                parts.append(nn.Flatten())
            parts.append(nn.Linear(int(np.prod(size)), layer.units))
            size = (layer.units,)
        if i + 1 < len(layers):
            parts.append(nn.ReLU())
    return nn.Sequential(*parts)


class Photos(torch.utils.data.Dataset):
    """As torchvision's own data sets: a PIL image per item, then transforms."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        from torchvision import transforms

        self.images, self.labels = images, labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        from PIL import Image

        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def plain(config: Config, arrays: dict, teacher: nn.Module, device: str, report=lambda row: None) -> dict:
    """Train one student the plain way; its last row."""
    torch.manual_seed(config.seed)
    loader = lambda part, shuffle: torch.utils.data.DataLoader(Photos(*arrays[part]), 128, shuffle, drop_last=shuffle)  # noqa: E731
    student = module(config.network).to(device)
    teacher = teacher.to(device).eval()
    adam = torch.optim.Adam(student.parameters(), lr=config.lr)
    T, weight, step, row = config.temperature, config.kd_weight, 0, {}
    while step < config.steps:
        for x, y in loader("train", True):
            x, y = x.to(device), y.to(device)
            adam.param_groups[0]["lr"] = config.lr * warmup_linear(step / config.steps)
            with torch.no_grad():
                t = teacher(x)
            z = student(x)
            kl = F.kl_div(F.log_softmax(z / T, 1), F.softmax(t / T, 1), reduction="batchmean")
            loss = (1 - weight) * F.cross_entropy(z, y) + weight * T * T * kl
            adam.zero_grad()
            loss.backward()
            adam.step()
            step += 1
            if step == config.steps or step % (config.steps // EVALUATIONS or 1) == 0:
                parts = ("val", "test", "source") if step == config.steps else ("val",)
                row = {f"{part}_accuracy": accuracy(student, loader(part, False), device) for part in parts}
                report(row)
            if step == config.steps:
                break
    return row


@torch.no_grad()
def accuracy(student: nn.Module, loader, device: str) -> float:
    student.eval()
    right = sum((student(x.to(device)).argmax(1).cpu() == y).sum().item() for x, y in loader)
    student.train()
    return right / len(loader.dataset)


def plain_on_tune(configs: list[Config], arrays: dict, teachers: dict[int, nn.Module], workers: int) -> list[dict]:
    """One Tune trial per config, as its tutorials show."""
    import logging
    import os

    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "RAY_AUTH_MODE": "token", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
    import ray
    from ray import tune

    def trainable(point, configs=None, arrays=None, teachers=None):
        torch.set_num_threads(1)
        config = configs[point["config"]]
        plain(config, arrays, copy.deepcopy(teachers[config.seed]), "cpu", tune.report)

    ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_parameters(trainable, configs=configs, arrays=arrays, teachers=teachers),
            param_space={"config": tune.grid_search(list(range(len(configs))))},
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        rows = [result.metrics for result in results]
    ray.shutdown()
    return rows


def products(config: Config, images: int, device: str) -> float:
    """Seconds of the bare matrix and convolution products of one student's step: forward, weights, inputs."""
    cast, total, size = PRECISIONS[config.precision], 0.0, SHAPE
    for i, layer in enumerate(graph(config.network, CLASSES)):
        if isinstance(layer, Conv):
            seconds, size = conv_products(layer, size, images, i == 0, device, cast)
        else:
            seconds, size = linear_products(int(np.prod(size)), layer.units, images, device, cast), (layer.units,)
        total += seconds
    return total


def conv_products(layer: Conv, size, images: int, first: bool, device: str, cast) -> tuple[float, tuple[int, ...]]:
    x = torch.randn(images, *size, device=device, dtype=cast).to(memory_format=torch.channels_last)
    w = torch.randn(layer.channels, size[0], layer.kernel, layer.kernel, device=device, dtype=cast)
    w = w.to(memory_format=torch.channels_last)
    how = ([layer.stride] * 2, [layer.kernel // 2] * 2, [1, 1], False, [0, 0], 1)
    y = torch.convolution(x, w, None, *how)
    backward = torch.ops.aten.convolution_backward
    mask = [not first, True, True]  # nobody asks for the gradient in the images
    seconds = timed(lambda: torch.convolution(x, w, None, *how), 30, device)
    seconds += timed(lambda: backward(y, x, w, [layer.channels], *how, mask), 30, device)
    return seconds, (layer.channels, *(n // layer.pool for n in y.shape[2:]))


def linear_products(inputs: int, units: int, images: int, device: str, cast) -> float:
    x = torch.randn(images, inputs, device=device, dtype=cast)
    w = torch.randn(inputs, units, device=device, dtype=cast)
    y = x @ w
    return sum(timed(f, 30, device) for f in (lambda: x @ w, lambda: x.T @ y, lambda: y @ w.T))


def timed(f, repeats: int, device: str) -> float:
    """Median seconds of one call, after a warm-up."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times = []
    for i in range(repeats + 3):
        start = time.perf_counter()
        f()
        wait()
        if i >= 3:
            times.append(time.perf_counter() - start)
    return float(np.median(times))


def step_seconds(config: Config, pack: int, datasets, answers, device: str, repeats: int = 20) -> float:
    """Seconds of one training step of our engine, per student of a pack."""
    configs = [replace(config, temperature=1.0 + i % 16, kd_weight=0.5) for i in range(pack)]
    students = Distillation(configs, datasets, answers, device)
    counter = itertools.count()

    def step():
        i = next(counter)
        students.students.step(students._loss(i), 1e-6)

    return timed(step, repeats, device) / pack


def interval(values: list[float]) -> str:
    from scipy import stats

    mean, n = 100 * np.mean(values), len(values)
    half = 100 * stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5 if n > 1 else float("nan")
    return f"{mean:6.2f} +- {half:4.2f}"


def main(a: Arguments) -> None:
    from studies.harness.engine import prepare_process
    from studies.harness.machine import available_cores

    workers = available_cores()
    name = torch.cuda.get_device_name() if a.device == "cuda" else f"{workers} cores"
    datasets = Distillation.datasets(a.data, a.data_root)
    sets = Splits(datasets, torch.device("cpu"))
    base = Config("target", "all", "cnn_small", "cnn", 1500, a.precision, a.steps, 128, 3e-3, 1.0, 0.0, 0)
    configs = [
        replace(base, precision="fp32", temperature=T, kd_weight=w, seed=s)
        for T in a.temperature for w in a.kd_weight for s in range(a.seeds)
    ]  # fmt: skip
    print(f"{len(configs)} cells of {a.steps} steps, {a.data} data, on {name}; ours in {a.precision}", flush=True)

    prepare_process(1)
    lessons = {
        s: Distillation.prepare(Distillation.lesson(replace(base, seed=s)), datasets, a.device)[0]
        for s in range(a.seeds)
    }
    channels_last = lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1))  # noqa: E731
    train, val = sets.train.numpy(), sets.val.numpy()
    images, labels = datasets["train_images"], datasets["train_labels"]
    arrays = {
        "train": (channels_last(images[train]), labels[train]),
        "val": (channels_last(images[val]), labels[val]),
        "test": (channels_last(datasets["test_images"]), datasets["test_labels"]),
        "source": (np.repeat(datasets["test_digits"][..., None], 3, -1), datasets["test_labels"]),
    }
    teachers = {s: teacher(replace(base, seed=s), sets) for s in range(a.seeds)}

    floor, pack = products(base, 128, a.device), 12
    ours_step = step_seconds(base, pack, datasets, lessons[0], a.device)
    print(f"step per student: ours {1e3 * ours_step:.2f} ms in packs of {pack}, bare products {1e3 * floor:.2f} ms, "
          f"ratio {ours_step / floor:.2f}", flush=True)  # fmt: skip
    for size in a.packs:
        each = step_seconds(base, size, datasets, lessons[0], a.device)
        print(
            f"  packs of {size:5d}: {1e3 * each:.3f} ms per student and step, {60 / each / a.steps:.1f} students a minute"
        )

    start = time.monotonic()
    if a.device == "cuda":
        theirs = [plain(c, arrays, teachers[c.seed], "cuda") for c in configs[:2]]
        plain_seconds = (time.monotonic() - start) / 2 * len(configs)
    else:
        theirs = plain_on_tune(configs, arrays, teachers, workers)
        plain_seconds = time.monotonic() - start
    print(f"plain: {plain_seconds:.0f} s, {60 * len(configs) / plain_seconds:.2f} cells a minute", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        words = ["--storage", folder, "--no-report", "--data", a.data, "--seeds", str(a.seeds), "--teacher-view", "target",
                 "--target-labels", "all", "--steps", str(a.steps), "--precision", a.precision,
                 "--temperature", *map(str, a.temperature), "--kd-weight", *map(str, a.kd_weight)]  # fmt: skip
        words += ["--data-root", str(a.data_root)] if a.data_root else []
        words += ["--address", "inline", "--num-gpus", "1"] if a.device == "cuda" else []
        subprocess.run(
            [sys.executable, str(ROOT / "studies" / "mnistm_kd.py"), *words], check=True, stderr=subprocess.DEVNULL
        )
        seconds = time.monotonic() - start
        from analysis import records

        path = records.find_run("mnistm_kd", "latest", root=folder)
        rows = records.final(records.read(path))
        info = json.loads((path / "run.json").read_text())
    students = rows.student.nunique()
    busy = rows.drop_duplicates("student").seconds.sum() / info["workers"]
    print(
        f"ours:  {seconds:.0f} s, {60 * len(rows) / seconds:.2f} cells a minute ({students} students trained for {len(rows)} cells)"
    )
    print(f"ratio: {plain_seconds / seconds * len(rows) / len(configs):.1f} in cells, "
          f"{plain_seconds / len(configs) / (seconds / students):.1f} in students trained; "
          f"{100 * (1 - busy / seconds):.0f} % of our time here is not training (start, data, last packs)")  # fmt: skip
    print("test accuracy, %     plain               ours")
    for T, w in itertools.product(a.temperature, a.kd_weight):
        mine = rows[(rows.temperature == T) & (rows.kd_weight == w)].test_accuracy.tolist()
        other = [
            r["test_accuracy"] for c, r in zip(configs, theirs, strict=False) if (c.temperature, c.kd_weight) == (T, w)
        ]
        print(f"  T {T:4g} weight {w:4g}  {interval(other) if other else '-':18s}  {interval(mine)}")


def teacher(config: Config, sets: Splits) -> nn.Module:
    """The cached teacher as a torch.nn module: the plain way asks it in every step."""
    population = distil.new_teacher(Distillation.lesson(config), "cpu")
    distil.train_teacher(population, Distillation.lesson(config), sets)
    net, weights = module(config.teacher), iter(population.parameters)
    size: tuple[int, ...] = SHAPE
    with torch.no_grad():
        for part in net:
            if isinstance(part, nn.Conv2d):
                part.weight.copy_(next(weights)[0].permute(0, 3, 1, 2))
                part.bias.copy_(next(weights)[0])
                size = ()
            elif isinstance(part, nn.Linear):
                w = next(weights)[0]
                if not size:  # our features run (H, W, C), torch's (C, H, W)
                    channels = [layer.channels for layer in graph(config.teacher, CLASSES) if isinstance(layer, Conv)][
                        -1
                    ]
                    side = int((w.shape[0] / channels) ** 0.5)
                    w = w.view(side, side, channels, -1).permute(2, 0, 1, 3).flatten(0, 2)
                    size = (0,)
                part.weight.copy_(w.T)
                part.bias.copy_(next(weights)[0, 0])
    return net


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
