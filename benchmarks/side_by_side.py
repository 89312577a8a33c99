"""What the benchmarks share: the way a user would write a study today, this project's run of it, and the bare products.

Imported by the scripts of this folder.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import nn

from trainables.core.data import DataError
from trainables.core.nets import Block, Convolution, Layer, output
from trainables.core.population import PRECISIONS, Population
from trainables.core.schedules import warmup_linear

ROOT = Path(__file__).resolve().parents[1]
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def start(main: Callable[[Any], None], arguments: type, text: str | None) -> None:
    """A benchmark from its command line; exit code 2 and one line where data are missing."""
    try:
        main(tyro.cli(arguments, description=text))
    except DataError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


# The plain way


def module(layers: Sequence[Layer], shape: tuple[int, ...]) -> nn.Sequential:
    """The same network in torch.nn."""
    parts: list[nn.Module] = []
    size = shape
    for i, layer in enumerate(layers):
        if isinstance(layer, Convolution):
            parts.append(nn.Conv2d(size[0], layer.channels, layer.kernel, layer.stride, layer.kernel // 2))
            if isinstance(layer, Block):
                parts += [nn.InstanceNorm2d(layer.channels, affine=True), nn.ReLU(), nn.AvgPool2d(layer.pool)]
            elif layer.pool > 1:
                parts.append(nn.MaxPool2d(layer.pool))
            size = output(layer, size)
        else:
            if i == 0 or isinstance(layers[i - 1], Convolution):
                parts.append(nn.Flatten())
            parts.append(nn.Linear(int(np.prod(size)), layer.units))
            size = (layer.units,)
        if i + 1 < len(layers):
            parts.append(nn.ReLU())
    return nn.Sequential(*parts)


@torch.no_grad()
def copied(population: Population) -> nn.Sequential:
    """The first network of a population as a torch.nn module."""
    net, weights = module(population.layers, population.shape), iter(population.parameters)
    channels = 0  # of the features that the first Linear reads, where they come from a Conv
    for part in net:
        if isinstance(part, nn.Conv2d):
            part.weight.copy_(next(weights)[0].permute(0, 3, 1, 2))
            assert part.bias is not None
            part.bias.copy_(next(weights)[0])
            channels = part.out_channels
        elif isinstance(part, nn.Linear):
            w = next(weights)[0]
            if channels:  # our features run (H, W, C), torch's (C, H, W)
                side = int((w.shape[0] / channels) ** 0.5)
                w = w.view(side, side, channels, -1).permute(2, 0, 1, 3).flatten(0, 2)
                channels = 0
            part.weight.copy_(w.T)
            part.bias.copy_(next(weights)[0, 0])
    return net


class Pictures(torch.utils.data.Dataset):
    """As torchvision's own data sets: a PIL image per item, then transforms. images: (N, H, W) or (N, H, W, 3) uint8."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        from torchvision import transforms

        self.images, self.labels = images, labels
        half = (0.5,) * (3 if images.ndim == 4 else 1)
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(half, half)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        from PIL import Image

        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def loader(part: tuple[np.ndarray, np.ndarray], batch: int, shuffle: bool) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(Pictures(*part), batch, shuffle, drop_last=shuffle)


def train_plainly(
    student: nn.Module,
    teacher: nn.Module,
    loss: Loss,
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
    config: Any,
    device: str,
    report: Callable[[dict], object] = lambda row: None,
    optimiser: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
) -> dict:
    """Distil one student as a tutorial would; its last row. loss(student logits, teacher logits, labels); parts: train,
    val and those that the last evaluation looks at."""
    student, teacher = student.to(device), teacher.to(device).eval()
    trained = optimiser([{"params": student.parameters(), "lr": config.lr}])
    step, row = 0, {}
    while step < config.steps:
        for x, y in loader(parts["train"], config.batch_size, True):
            x, y = x.to(device), y.to(device)
            trained.param_groups[0]["lr"] = config.lr * warmup_linear(step / config.steps)
            with torch.no_grad():
                t = teacher(x)
            value = loss(student(x), t, y)
            trained.zero_grad()
            value.backward()
            trained.step()
            step += 1
            if step == config.steps or step % (config.steps // 4 or 1) == 0:
                seen = [name for name in parts if name != "train"] if step == config.steps else ["val"]
                row = {f"{name}_accuracy": accuracy(student, parts[name], config.batch_size, device) for name in seen}
                report(row)
            if step == config.steps:
                break
    return row


def soft_loss(z: torch.Tensor, t: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(softmax(t/T) || softmax(z/T)), the tutorials' way."""
    T = temperature
    return T * T * F.kl_div(F.log_softmax(z / T, 1), F.softmax(t / T, 1), reduction="batchmean")


@torch.no_grad()
def accuracy(student: nn.Module, part: tuple[np.ndarray, np.ndarray], batch: int, device: str) -> float:
    student.eval()
    right = sum((student(x.to(device)).argmax(1).cpu() == y).sum().item() for x, y in loader(part, batch, False))
    student.train()
    return right / len(part[1])


def on_tune(train: Callable[..., object], count: int, workers: int, **shared: Any) -> list[dict]:
    """train(number, report, **shared) for each number below count, one Tune trial each, as Tune's tutorials show; the
    last reports."""
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "RAY_AUTH_MODE": "token", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
    import ray
    from ray import tune

    def trainable(point, train=None, **shared):
        torch.set_num_threads(1)
        train(point["number"], tune.report, **shared)

    ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_parameters(trainable, train=train, **shared),
            param_space={"number": tune.grid_search(list(range(count)))},
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        rows = [results[i].metrics or {} for i in range(len(results))]
    ray.shutdown()
    return rows


# Ours


def study_run(study: str, words: Sequence[object]) -> tuple[Any, float, dict]:
    """Final rows of `python studies/<study>.py words...`, its seconds in all, and its run.json."""
    from analysis.core import records

    with tempfile.TemporaryDirectory() as folder:
        script = str(ROOT / "studies" / f"{study}.py")
        command = [sys.executable, script, "--storage", folder, "--no-report", *map(str, words)]
        start = time.monotonic()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        path = records.find_run(study, "latest", root=folder)
        return records.final(records.read(path)), seconds, json.loads((path / "run.json").read_text())


def compare(plain_cells: int, plain_seconds: float, rows: Any, seconds: float, workers: int) -> None:
    """Prints the rates of both, their ratios, and what of our time is not training."""
    students = rows.student.nunique()
    busy = rows.drop_duplicates("student").seconds.sum() / workers
    print(f"plain: {plain_cells} cells, {plain_seconds:.0f} s, {60 * plain_cells / plain_seconds:.2f} cells a minute")
    print(f"ours:  {len(rows)} cells, {seconds:.0f} s, {60 * len(rows) / seconds:.2f} cells a minute "
          f"({students} students trained)")  # fmt: skip
    each = plain_seconds / plain_cells
    print(f"ratio: {each * len(rows) / seconds:.1f} in cells, {each * students / seconds:.1f} in students trained; "
          f"{100 * (1 - busy / seconds):.0f} % of our time here is not training (start, data, last packs)",
          flush=True)  # fmt: skip


def interval(values: Sequence[float]) -> str:
    """Mean and half of its 95 % interval, in per cent."""
    from analysis.core import statistics

    found = statistics.interval(values)
    return f"{100 * found.mean:6.2f} +- {100 * (found.high - found.mean):4.2f}"


# The floor


def products(layers: Sequence[Layer], shape: tuple[int, ...], images: int, precision: str, device: str) -> float:
    """Seconds of the bare matrix and convolution products of one student's step: forward, weights, inputs."""
    cast, total, size = PRECISIONS[precision], 0.0, shape
    for i, layer in enumerate(layers):
        if isinstance(layer, Convolution):
            seconds, size = _conv_products(layer, size, images, i == 0, device, cast)
        else:
            seconds = _linear_products(int(np.prod(size)), layer.units, images, i == 0, device, cast)
            size = (layer.units,)
        total += seconds
    return total


def _conv_products(layer: Convolution, size, images: int, first: bool, device: str, cast) -> tuple[float, tuple[int, ...]]:
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


def _linear_products(inputs: int, units: int, images: int, first: bool, device: str, cast) -> float:
    x = torch.randn(images, inputs, device=device, dtype=cast)
    w = torch.randn(inputs, units, device=device, dtype=cast)
    y = x @ w
    asked = [lambda: x @ w, lambda: x.T @ y, *([] if first else [lambda: y @ w.T])]
    return sum(timed(f, 30, device) for f in asked)


def clocked(f: Callable[[], Any], repeats: int = 1) -> tuple[Any, np.ndarray]:
    """What f returns, and its least seconds: by the clock, and of the processor, which a busy machine disturbs less."""
    best = np.full(2, np.inf)
    for _ in range(repeats):
        start = np.array([time.perf_counter(), time.process_time()])
        value = f()
        best = np.minimum(best, np.array([time.perf_counter(), time.process_time()]) - start)
    return value, best


def said(seconds: np.ndarray) -> str:
    """Of `clocked`: those of the processor in brackets."""
    return "{:.4g} ({:.4g})".format(*seconds)


def timed(f: Callable[[], object], repeats: int, device: str) -> float:
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


def in_turns(ways: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of a call of each, on the processor: they take turns, after one round that warms up."""
    times = np.empty((rounds + 1, len(ways)))
    for turn in times:
        for i, way in enumerate(ways):
            start = time.perf_counter()
            way()
            turn[i] = time.perf_counter() - start
    return np.median(times[1:], axis=0).tolist()


def step_seconds(pack: Any, device: str, repeats: int = 20) -> float:
    """Seconds of one training step of our engine, per student of a pack."""
    counter = iter(range(10**9))
    return timed(lambda: pack.students.step(pack.loss(next(counter)), 1e-6), repeats, device) / len(pack.configs)


def print_steps(make: Callable[[int], Any], sizes: Sequence[int], floor: float, steps: int, device: str) -> None:
    """Our step in packs of several sizes against the bare products. make: a pack of so many students."""
    for size in dict.fromkeys(sizes):
        each = step_seconds(make(size), device)
        print(f"packs of {size}: {1e3 * each:.3f} ms per student and step, {60 / each / steps:.1f} students a minute; "
              f"{each / floor:.2f} times the bare products ({1e3 * floor:.3f} ms)", flush=True)  # fmt: skip
