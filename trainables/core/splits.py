"""A data set on one device, its training images in two parts: one trains, the other chooses."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trainables.core.data import HELD_OUT, holdout
from trainables.core.images import NAME

CLASSES = 10  # of every published data set
SPLIT = (  # in words, of the full data sets
    "1/12 of the training images is held out, the same for every student (of the full MNIST 5,000 of 60,000, of CIFAR-10 "
    "4,167 of 50,000): the other 11/12 train. The held-out images choose (val_accuracy); the test set only reports, after the "
    "last step."
)


class Splits:
    """images: all training images (N, ...) uint8, labels: (N,); train, val: indices into them, ascending, the same for
    every student unless a seed is named, or those that the images come with; test_images, test_labels: what nothing is
    chosen on; classes: how many there are."""

    def __init__(self, arrays: Mapping[str, np.ndarray], device: torch.device | str, seed: int = 0) -> None:
        self.images, self.labels = shared(arrays["train_images"], device), shared(arrays["train_labels"], device).long()
        self.test_images = shared(arrays["test_images"], device)
        self.test_labels = shared(arrays["test_labels"], device).long()
        n = len(self.labels)
        parts = holdout(n, round(n * HELD_OUT), seed)
        if "val" in arrays:
            parts = np.setdiff1d(np.arange(n), arrays["val"]), np.array(arrays["val"])
        self.train, self.val = (torch.from_numpy(part).to(device) for part in parts)
        self.classes = classes(arrays)


def classes(arrays: Mapping[str, np.ndarray]) -> int:
    """How many classes a data set has."""
    return len(arrays["classes"]) if "classes" in arrays else CLASSES


def images_at(datasets: Mapping[str, Mapping[str, np.ndarray]], resolution: int) -> Mapping[str, np.ndarray]:
    """The user's own images at a resolution where the run has them, else CIFAR-10."""
    return datasets[f"images_{resolution}"] if f"images_{resolution}" in datasets else datasets["cifar10"]


def shared(array: np.ndarray, device: torch.device | str) -> Tensor:
    """A tensor of an array that all workers share, without a copy on a CPU: it is to be read, not written."""
    with warnings.catch_warnings(action="ignore"):  # torch warns of memory that must not be written
        return torch.from_numpy(np.asarray(array)).to(device)


def shape(dataset: str) -> tuple[int, int, int]:
    """Of one prepared image."""
    if own := NAME.fullmatch(dataset):
        return (3, int(own[1]), int(own[1]))
    return (3, 32, 32) if dataset == "cifar10" else (1, 28, 28)


def to_float(x: Tensor) -> Tensor:
    """uint8 images (B, H, W) or (B, 3, H, W) to floats in [-1, 1], (B, 1, H, W) or (B, 3, H, W)."""
    x = x[:, None] if x.dim() == 3 else x
    return x.to(memory_format=torch.channels_last).float().div_(127.5).sub_(1)
