"""Heads on frozen features as a user would train them today against this project, side by side in one run.

    python benchmarks/cifar10_transfer.py

The plain way: for every head a DataLoader with a resize, the frozen network's forward pass in every step, torch.optim.AdamW on
the new head, with a batch normalisation before it that standardises the features, as linear probes have (He et al. 2022, arXiv
2111.06377, appendix A.1) and as ours does with the mean and deviation of all training images. Ours: the features of every image
once, all heads as one population. The plain way trains a few of the same heads.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import side_by_side
import torch
import torch.nn.functional as F

from trainables.core import data
from trainables.core.pretrained import build
from trainables.core.schedules import warmup_linear
from trainables.transfer import CLASSES, Config, Transfer


@dataclass
class Arguments:
    network: str = "efficientnet_lite0"
    """whose ImageNet weights are frozen"""
    resolution: int = 64
    """of the images, in pixels"""
    data: Literal["full", "sample"] = "sample"
    """which data"""
    data_root: Path | None = None
    """folder of the data sets"""
    train_size: str = "all"
    """training images, a count or all"""
    passes: int = 10
    """over the training images, in batches of 64"""
    plain_heads: int = 2
    """heads that the plain way trains"""
    lr: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    weight_decay: tuple[float, ...] = (0.0, 0.03, 0.3, 3.0)


class Pictures(torch.utils.data.Dataset):
    """A PIL image per item, resized and normalised, as torchvision's tutorials do. part: images (N, 3, 32, 32) uint8, labels (N,)."""

    def __init__(self, part: tuple[np.ndarray, np.ndarray], resolution: int) -> None:
        from torchvision import transforms

        self.images, self.labels = part[0].transpose(0, 2, 3, 1), part[1]
        self.transform = transforms.Compose([transforms.Resize(resolution), transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int):
        from PIL import Image

        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def plain(c: Config, parts: dict) -> float:
    """One head the plain way; its test accuracy."""
    torch.manual_seed(c.seed)
    model = build(c.network, CLASSES, c.weights, c.seed)  # all of it frozen, in evaluation mode
    body, linear = model[:-1], model[-1].requires_grad_(True)
    assert isinstance(linear, torch.nn.Linear)
    head = torch.nn.Sequential(torch.nn.BatchNorm1d(linear.in_features, affine=False), linear)
    decays = [
        {"params": [linear.weight], "weight_decay": c.weight_decay},
        {"params": [linear.bias], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(decays, lr=c.lr)
    batches = torch.utils.data.DataLoader(Pictures(parts["train"], c.resolution), c.batch_size, True, drop_last=True)
    step, steps = 0, c.passes * len(batches)
    for _ in range(c.passes):
        for x, y in batches:
            for group in optimiser.param_groups:
                group["lr"] = c.lr * warmup_linear(step / steps)
            with torch.no_grad():
                h = body(x)
            loss = F.cross_entropy(head(h), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
    seen = torch.utils.data.DataLoader(Pictures(parts["test"], c.resolution), c.batch_size)
    head.eval()
    with torch.no_grad():
        right = sum((head(body(x)).argmax(1) == y).sum().item() for x, y in seen)
    return right / len(parts["test"][1])


def main(a: Arguments) -> None:
    from studies.harness.engine import prepare_process

    prepare_process(1)
    arrays = data.load("cifar10", a.data, a.data_root)
    heads = [
        Config(a.network, "imagenet", "head", a.resolution, a.train_size, "none", 1, 1, "adamw", "fp32", a.passes, 64, 0.0, lr,
               decay, "uniform", 0)
        for lr, decay in itertools.product(a.lr, a.weight_decay)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as empty:  # the features are made here, not found
        os.environ["STILLROOM_CACHE"] = empty
        start = time.monotonic()
        answers, _ = Transfer.prepare(Transfer.artifact(heads[0]), {"cifar10": arrays}, "cpu")
        made = time.monotonic() - start
        transfer = Transfer(heads, {"cifar10": arrays}, answers, "cpu")
        while not transfer.finished:
            rows = transfer.step()
        ours = time.monotonic() - start
    shown, pool = len(heads) // 2, transfer.pack.pool.numpy()
    parts = {
        "train": (arrays["train_images"][pool], arrays["train_labels"][pool]),
        "test": (arrays["test_images"], arrays["test_labels"]),
    }
    print(f"{len(pool)} training images, {a.resolution} pixels, {a.passes} passes, fp32, one core", flush=True)
    compared = heads[shown : shown + a.plain_heads]
    start = time.monotonic()
    accuracies = [plain(c, parts) for c in compared]
    each = (time.monotonic() - start) / len(compared)
    print(f"plain: {len(compared)} heads, {each:.1f} s each")
    print(
        f"ours:  {len(heads)} heads, {ours:.1f} s in all, of which {made:.1f} s made the features: {ours / len(heads):.2f} s each"
    )
    print(f"ratio: {each * len(heads) / ours:.1f} for these {len(heads)} heads; the next {len(heads)} on the same features: "
          f"{each * len(heads) / (ours - made):.0f}")  # fmt: skip
    for c, plainly, row in zip(compared, accuracies, rows[shown:], strict=False):
        print(
            f"  lr {c.lr:g}, weight decay {c.weight_decay:g}: test accuracy {100 * plainly:.1f} plain, {100 * row['test_accuracy']:.1f} ours"
        )


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
