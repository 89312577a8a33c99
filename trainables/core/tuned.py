"""A network with pretrained weights that is fine-tuned on labelled images: how these are drawn and shown, what thaws, at what rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.core.augment import photographed_otherwise
from trainables.core.batches import balanced, batch_index, substream
from trainables.core.losses import cross_entropy
from trainables.core.network import Network, NetworkPack
from trainables.core.pretrained import architecture, build, resized, stages
from trainables.core.schedules import Plateau, one_cycle, stairs
from trainables.core.splits import Splits

HEAD, TRAINING, VALIDATION, TEST, AUGMENTATION, ORDER = range(6)  # purposes that draw random numbers
WEIGHT_DECAY = 0.01  # of AdamW, torch's default
FLIGHTS = 4  # of iterative augmentation: strength 0, 1/3, 2/3, 1
AUGMENTATIONS, UNFREEZINGS = ("none", "iterative", "full"), ("all", "gradual", "head")
RATES, STATISTICS = ("constant", "one_cycle", "plateau"), ("kept", "batch")


class Tuned(NetworkPack):
    """One network that is fine-tuned. Its config has `network`, `weights`, `resolution`, `train_size`, `val_size`, `test_size`,
    `augmentation`, `unfreezing`, `rate`, `discrimination`, `statistics`, `precision`, `batch_size`, `lr` and `seed`, as
    `finetuning.Config` says what they are; subclasses measure.

    sets: the data set; labelled, val: indices into its images, test: into its test images, as many of each class.
    """

    def __init__(self, configs: Sequence[Any], images: Mapping[str, np.ndarray], weights: Mapping, device: str) -> None:
        """images: the arrays of one data set; weights: what `weights_of` gives."""
        super().__init__(configs, {}, {}, device)
        c = self.common
        sets = self.sets = Splits(images, self.device)
        tests = torch.arange(len(sets.test_labels), device=self.device)
        self.labelled = balanced(sets.labels, sets.train, c.train_size, c.seed, TRAINING)
        self.val = balanced(sets.labels, sets.val, c.val_size, 0, VALIDATION)
        self.test = balanced(sets.test_labels, tests, c.test_size, 0, TEST)
        model = build(c.network, sets.classes, "random", substream(c.seed, HEAD), sets.images[self.labelled])
        if c.weights != "random":  # random ones are the seed's
            given = {name: torch.from_numpy(np.array(a)) for name, a in weights.items()}
            model.load_state_dict({**model.state_dict(), **given})
        lower = c.discrimination if c.unfreezing == "gradual" else 1.0
        rates = [lower**-depth for depth in range(len(model))]
        self.students = Network(model, c.resolution, "adamw", c.lr, WEIGHT_DECAY, self.device, c.precision, rates)
        self.plateau = Plateau()

    def strength(self, fraction: float) -> float:
        """Of the augmentation, in [0, 1]."""
        kind = self.common.augmentation
        return stairs(fraction, FLIGHTS) if kind == "iterative" else float(kind == "full")

    def rate(self, fraction: float) -> float:
        kind = self.common.rate
        return one_cycle(fraction) if kind == "one_cycle" else self.plateau.scale if kind == "plateau" else 1.0

    def shown(self, images: Tensor, step: int, purpose: int = AUGMENTATION) -> Tensor:
        """Training images as the network sees them in a step, (B, 3, resolution, resolution) in [0, 1]. images: (B, 3, H, W) uint8."""
        c, strength = self.common, self.strength(step / self.total_steps)
        x = images.float() / 255
        if strength > 0:
            g = torch.Generator().manual_seed(substream(c.seed, purpose, step))
            x = photographed_otherwise(x, strength, g)
        return resized(x, c.resolution)

    def loss(self, step: int) -> Tensor:
        students, c, sets = self.students, self.common, self.sets
        index = self.labelled[batch_index(torch.arange(len(self.labelled)), c.batch_size, step, c.seed, stream=ORDER)]
        self.thaw(step)
        if c.statistics == "kept":
            students.model.eval()  # batch normalisation alone differs: these networks have no dropout
        return cross_entropy(students.logits(self.shown(sets.images[index], step)), sets.labels[index])

    def state_dict(self) -> dict:
        return {**super().state_dict(), "plateau": asdict(self.plateau)}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.plateau = Plateau(**state["plateau"])


def weights_of(
    network: str, weights: str, classes: int, resolution: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The weights by the names of their parameters and buffers, read once, without the head; and how many parameters the network
    and its stages have, and how many multiplications an image of that side takes."""
    model = build(network, classes, weights, seed=0)
    count = {name: float(sum(p.numel() for p in stage.parameters())) for name, stage in stages(model).items()}
    arrays = {name: t.numpy() for name, t in model.state_dict().items() if not name.startswith("head.")}
    about = {"parameters": sum(count.values()), **{f"parameters_{name}": n for name, n in count.items()}}
    top = [layer for layer in architecture(model, resolution) if layer["depth"] == 1]
    return arrays, about | {"multiplications": float(sum(layer["multiplications"] for layer in top))}


def tuned_bytes(resolution: int, batch: int) -> int:
    """Memory that a network takes on the device while it learns from `batch` images, in bytes: about 400 kept activations per
    pixel, and 25 M parameters with their gradients and Adam's moments."""
    return 4 * (400 * resolution**2 * max(batch, 64) + 4 * 25_000_000)
