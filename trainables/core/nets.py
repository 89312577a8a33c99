"""Network graphs as plain layer lists. The population engine turns a list into stacked parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Conv:
    """k x k convolution with padding k // 2, optional batch normalisation, optional pool x pool max-pooling, then ReLU."""

    channels: int
    kernel: int
    stride: int = 1
    pool: int = 1
    norm: bool = False


@dataclass(frozen=True)
class Block:
    """3 x 3 convolution, instance normalisation with scale and shift, ReLU, 2 x 2 average pooling: a block of the ConvNet that
    data sets are distilled for (Gidaris and Komodakis 2018, arXiv 1804.09458; Zhao et al. 2021, arXiv 2006.05929, section 4.1)."""

    channels: int
    kernel: ClassVar[int] = 3
    stride: ClassVar[int] = 1
    pool: ClassVar[int] = 2
    norm: ClassVar[bool] = True


@dataclass(frozen=True)
class Linear:
    """Fully connected layer; ReLU after it, except after the last of the network."""

    units: int


Convolution = Conv | Block
Layer = Convolution | Linear

NETWORKS: dict[str, tuple[Layer, ...]] = {
    # name: layers before the last Linear(classes)
    "cnn_small": (Conv(16, 5, stride=2), Conv(32, 3, stride=2), Linear(64)),
    "cnn_small_norm": (Conv(16, 5, stride=2, norm=True), Conv(32, 3, stride=2, norm=True), Linear(64)),
    "cnn": (Conv(32, 5, stride=2), Conv(64, 3, stride=2), Linear(128)),
    "cnn_norm": (Conv(32, 5, stride=2, norm=True), Conv(64, 3, stride=2, norm=True), Linear(128)),
    "cnn_pool": (Conv(16, 5, pool=2), Conv(32, 5, pool=2)),
    **{f"perceptron_{units}": (Linear(units),) for units in (32, 128)},
    **{f"convnet_{width}": (Block(width),) * 3 for width in (16, 32, 128)},
    **{f"mlp_{units}": (Linear(units), Linear(units)) for units in (30, 300, 600, 800, 1200)},
}

MLPS, CNNS, PERCEPTRONS, CONVNETS = (
    tuple(name for name in NETWORKS if name.startswith(kind)) for kind in ("mlp", "cnn", "perceptron", "convnet")
)


def normalised(network: str) -> bool:
    """Whether a named network has batch normalisation, and so statistics that can be re-estimated."""
    return any(isinstance(layer, Conv) and layer.norm for layer in NETWORKS[network])


def graph(network: str, classes: int) -> tuple[Layer, ...]:
    """The layers of a named network with its classifier."""
    return (*NETWORKS[network], Linear(classes))


def output(layer: Layer, size: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a layer makes of an input of shape `size`, (C, H, W) or (D,)."""
    if isinstance(layer, Convolution):
        return (layer.channels, *(math.ceil(n / layer.stride) // layer.pool for n in size[1:]))
    return (layer.units,)


def parameters(layer: Layer, size: tuple[int, ...]) -> int:
    """How many a layer has whose input has the shape `size`, scale and shift of its batch normalisation included."""
    if isinstance(layer, Convolution):
        return layer.channels * (size[0] * layer.kernel**2 + 1 + 2 * layer.norm)
    return layer.units * (math.prod(size) + 1)


def summary(layers: Sequence[Layer], shape: tuple[int, ...]) -> str:
    """A network as text: its layers, the shape of what each makes of one input of `shape`, and their parameters."""
    rows, size = [("input", shape, 0)], shape
    for i, layer in enumerate(layers, 1):
        count, size = parameters(layer, size), output(layer, size)
        rows.append((_words(layer, last=i == len(layers)), size, count))
    return table((what, " x ".join(map(str, made)), count) for what, made, count in rows)


def table(rows: Iterable[tuple[str, str, int]]) -> str:
    """Text in columns: a line for each (layer, shape of its output, parameters), and a last one with the total."""
    found = [*rows]
    cells = [(layer, made, f"{count:,}" if count else "") for layer, made, count in found]
    cells = [("layer", "output", "parameters"), *cells, ("total", "", f"{sum(row[2] for row in found):,}")]
    first, second, third = (max(map(len, column)) for column in zip(*cells, strict=True))
    return "\n".join(f"{a:<{first}}  {b:<{second}}  {c:>{third}}".rstrip() for a, b, c in cells)


def _words(layer: Layer, last: bool) -> str:
    if isinstance(layer, Linear):
        return "linear" if last else "linear, ReLU"
    parts = [f"convolution {layer.kernel} x {layer.kernel}"]
    if isinstance(layer, Block):
        return ", ".join([*parts, "instance normalisation", "ReLU", "average pooling 2 x 2"])
    parts += [f"stride {layer.stride}"] * (layer.stride > 1) + ["batch normalisation"] * layer.norm
    parts += [f"max-pooling {layer.pool} x {layer.pool}"] * (layer.pool > 1)
    return ", ".join([*parts, "ReLU"])


# Networks of torch.nn that core/pretrained.py builds, by family; named here because studies list them without torch.
FAMILIES: dict[str, tuple[str, ...]] = {
    "own": ("airbench_small", "airbench"),
    "resnet": ("resnet18", "resnet34", "resnet50"),
    "vgg": ("vgg11_bn", "vgg16_bn"),
    "mobilenet": ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    "efficientnet": (
        *("efficientnet_b0", "efficientnet_b1", "efficientnet_b2"),
        *("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
    ),
}
PRETRAINED = tuple(name for members in FAMILIES.values() for name in members)
