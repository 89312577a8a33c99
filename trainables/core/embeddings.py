"""Vectors of the penultimate layer of a trained network, made once per data set.

mnist: a convolutional network trained here, on the training split alone; its last hidden layer after the ReLU, D = 128.
cifar10: EfficientNet-lite0 with ImageNet's weights, which has never seen CIFAR-10; the mean over the image, D = 1280.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trainables.core.batches import substream
from trainables.core.cache import digest
from trainables.core.losses import cross_entropy
from trainables.core.nets import graph, summary
from trainables.core.population import Population
from trainables.core.pretrained import build, described, features
from trainables.core.splits import CLASSES, Splits, to_float
from trainables.core.teachers import once, train

ORDER, DRAWN = range(2)  # purposes that draw random numbers
DIMENSIONS = {"mnist": 128, "cifar10": 1280}
DATASETS = tuple(DIMENSIONS)
NETWORK, STEPS, BATCH, LR = "cnn", 300, 128, 2e-3  # of mnist's network
LITE, RESOLUTION = "efficientnet_lite0", 64
COUNTS = {"train": 12_000, "val": 500, "test": 1_000}  # vectors of each split, or as many as there are

Arrays = Mapping[str, np.ndarray]


def layers(dataset: str) -> dict[str, str]:
    """The network that makes the vectors, as text by its name."""
    if dataset == "mnist":
        return {f"{NETWORK}, {STEPS} steps on MNIST": summary(graph(NETWORK, CLASSES), (1, 28, 28))}
    return {f"{LITE} at {RESOLUTION} pixels, ImageNet's weights": described(LITE, CLASSES, RESOLUTION)}


def embeddings(dataset: str, arrays: Arrays, device: str) -> dict[str, np.ndarray]:
    """The vectors of a data set, cached by its content, and the `seconds` that they took.

    Of each split, train, val (held-out training images) and test: `<split>`, (N, D) fp16; `<split>_labels`, (N,); `<split>_ids`,
    (N,), the place of the image in the training set, or in the test set. Errors: DataError where lite0's weights are absent.
    """
    if dataset == "mnist":
        recipe: dict[str, object] = {"network": NETWORK, "steps": STEPS, "batch": BATCH, "lr": LR}
        return once("embeddings", {"recipe": 1, "counts": COUNTS, **recipe}, arrays, lambda: _mnist(arrays, device))
    model = build(LITE, CLASSES, "imagenet", seed=0)
    weights = digest(*(t.numpy() for t in model[:-1].state_dict().values()))
    recipe = {"network": LITE, "resolution": RESOLUTION, "weights": weights}
    return once(
        "embeddings", {"recipe": 1, "counts": COUNTS, **recipe}, arrays, lambda: _cifar10(model, arrays, device)
    )


def _drawn(arrays: Arrays, device: str) -> tuple[Splits, dict[str, Tensor]]:
    """The data, and which images of each split become vectors: drawn once, ascending."""
    sets = Splits(arrays, device)
    pools = {
        "train": sets.train,
        "val": sets.val,
        "test": torch.arange(len(sets.test_labels), device=sets.train.device),
    }
    g = torch.Generator().manual_seed(substream(0, DRAWN))
    return sets, {
        split: pool[torch.randperm(len(pool), generator=g)[: COUNTS[split]].sort().values.to(pool.device)]
        for split, pool in pools.items()
    }


def _gathered(sets: Splits, ids: Mapping[str, Tensor], of) -> dict[str, Tensor]:
    """What is kept of each split. of: images, uint8 -> vectors."""
    found: dict[str, Tensor] = {}
    for split, index in ids.items():
        images, labels = (sets.test_images, sets.test_labels) if split == "test" else (sets.images, sets.labels)
        found |= {split: of(images[index]).half(), f"{split}_labels": labels[index], f"{split}_ids": index}
    return found


def _cifar10(model: torch.nn.Sequential, arrays: Arrays, device: str) -> dict[str, Tensor]:
    sets, ids = _drawn(arrays, device)
    model = model.to(device)
    with torch.no_grad():
        return _gathered(sets, ids, lambda images: features(model, images, RESOLUTION, "fp32"))


def _mnist(arrays: Arrays, device: str) -> dict[str, Tensor]:
    sets, ids = _drawn(arrays, device)
    net = Population(graph(NETWORK, CLASSES), (1, 28, 28), [0], [LR], device)

    def loss(index: Tensor) -> Tensor:
        return cross_entropy(net.logits(to_float(sets.images[index])), sets.labels[index])

    train(net, sets.train, STEPS, BATCH, 0, ORDER, loss)

    @torch.no_grad()
    def hidden(images: Tensor) -> Tensor:
        parts = []
        for part in images.split(net.chunk):
            taps: list = []
            net.logits(to_float(part), training=False, taps=taps)
            parts.append(taps[-1][0][0])  # what the last layer was given
        return torch.cat(parts)

    made = _gathered(sets, ids, hidden)
    return made | {"test_accuracy": net.accuracy(sets.test_images, sets.test_labels, to_float)[0]}
