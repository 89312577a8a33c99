"""Network graphs as plain layer lists. The population engine turns a list into stacked parameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conv:
    """k x k convolution with padding k // 2, optional batch normalisation, optional pool x pool max-pooling, then ReLU."""

    channels: int
    kernel: int
    stride: int = 1
    pool: int = 1
    norm: bool = False


@dataclass(frozen=True)
class Linear:
    """Fully connected layer; ReLU after it, except after the last of the network."""

    units: int


Layer = Conv | Linear

NETWORKS: dict[str, tuple[Layer, ...]] = {
    # name: layers before the last Linear(classes)
    "cnn_small": (Conv(16, 5, stride=2), Conv(32, 3, stride=2), Linear(64)),
    "cnn_small_norm": (Conv(16, 5, stride=2, norm=True), Conv(32, 3, stride=2, norm=True), Linear(64)),
    "cnn": (Conv(32, 5, stride=2), Conv(64, 3, stride=2), Linear(128)),
    "cnn_norm": (Conv(32, 5, stride=2, norm=True), Conv(64, 3, stride=2, norm=True), Linear(128)),
    "cnn_pool": (Conv(16, 5, pool=2), Conv(32, 5, pool=2)),
    **{f"mlp_{units}": (Linear(units), Linear(units)) for units in (30, 300, 600, 800, 1200)},
}

MLPS, CNNS = (tuple(name for name in NETWORKS if name.startswith(kind)) for kind in ("mlp", "cnn"))


def normalised(network: str) -> bool:
    """Whether a named network has batch normalisation, and so statistics that can be re-estimated."""
    return any(isinstance(layer, Conv) and layer.norm for layer in NETWORKS[network])


def graph(network: str, classes: int) -> tuple[Layer, ...]:
    """The layers of a named network with its classifier."""
    return (*NETWORKS[network], Linear(classes))


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
