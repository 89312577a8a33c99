"""A data set on one device, its training images in two parts: one trains, the other chooses."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trainables.core.data import holdout

HELD_OUT = 1 / 12  # share of the training images that only choose: 5,000 of MNIST's 60,000


class Splits:
    """images: all training images (N, ...) uint8, labels: (N,); train, val: indices into them, ascending, the same for
    every student unless a seed is named; test_images, test_labels: what nothing is chosen on."""

    def __init__(self, arrays: Mapping[str, np.ndarray], device: torch.device | str, seed: int = 0) -> None:
        self.images, self.labels = shared(arrays["train_images"], device), shared(arrays["train_labels"], device).long()
        self.test_images = shared(arrays["test_images"], device)
        self.test_labels = shared(arrays["test_labels"], device).long()
        n = len(self.labels)
        self.train, self.val = (torch.from_numpy(part).to(device) for part in holdout(n, round(n * HELD_OUT), seed))


def shared(array: np.ndarray, device: torch.device | str) -> Tensor:
    """A tensor of an array that all workers share, without a copy on a CPU: it is to be read, not written."""
    with warnings.catch_warnings(action="ignore"):  # torch warns of memory that must not be written
        return torch.from_numpy(np.asarray(array)).to(device)


def shape(dataset: str) -> tuple[int, int, int]:
    """Of one prepared image."""
    return (3, 32, 32) if dataset == "cifar10" else (1, 28, 28)


def to_float(x: Tensor) -> Tensor:
    """uint8 images (B, 28, 28) or (B, 3, 32, 32) to floats in [-1, 1], (B, 1, 28, 28) or (B, 3, 32, 32)."""
    x = x[:, None] if x.dim() == 3 else x
    return x.to(memory_format=torch.channels_last).float().div_(127.5).sub_(1)
