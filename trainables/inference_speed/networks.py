"""The networks that answer: one that is fine-tuned here, the same with fewer channels, and a small one that it has taught."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from trainables.core.augment import flipped, shifted
from trainables.core.batches import batch_index, substream
from trainables.core.losses import cross_entropy, distillation, mixed
from trainables.core.network import Network
from trainables.core.pretrained import Normalised, Whitened, build, chunk_of, features, resized
from trainables.core.schedules import one_cycle, warmup_linear

ORDER, VIEW, HEAD = range(3)  # purposes that draw random numbers
BATCH, LR, WEIGHT_DECAY, SHIFT = 64, 1e-3, 0.05, 16  # of fine-tuning; moved by up to a 16th of the side
HEAD_STEPS, HEAD_BATCH, HEAD_LR = 400, 256, 3e-3  # of the new head on frozen features
SMALL, SMALL_RESOLUTION, SMALL_PASSES, SMALL_LR = "airbench_small", 32, 5, 0.25  # passes: times those of fine-tuning
TEMPERATURE, KD_WEIGHT = 4.0, 0.9  # of all distillation
PRUNED_PASSES = 2  # times those of fine-tuning
ROUND_TO = 8  # channels that pruning leaves are a multiple of this: vector instructions take so many

Arrays = Mapping[str, np.ndarray]
State = dict[str, np.ndarray]


# What is trained


def fine_tuned(
    network: str, weights: str, resolution: int, passes: int, images: Tensor, labels: Tensor, classes: int
) -> State:
    """The network of the study where no trained one is named: the recipe that may be exchanged for another.

    A new head on frozen features, then all layers, by AdamW with one cycle; batch normalisation keeps the statistics of its weights,
    unless these are random. images: (N, 3, H, W) uint8; labels: (N,).
    """
    model = build(network, classes, weights, substream(0, HEAD), images)
    if weights != "random":
        _head(model, features(model, images, resolution, "fp32"), labels)
    _trained(model, resolution, passes, images, lambda z, index: cross_entropy(z, labels[index]), weights == "random")
    return state_of(model)


def pruned(
    network: str, state: Arrays, kept: float, resolution: int, passes: int, images: Tensor, labels: Tensor
) -> State:
    """The network with a share of its channels, those whose weights have the largest norms over all layers that share them, then
    taught by what the whole network answers.         Fang et al. 2023, DepGraph, arXiv 2301.12900"""
    model = rebuilt(network, state)
    answers = answered(model, images, resolution)
    _cut(model, kept, resolution)
    loss = _taught(answers, labels)
    _trained(model, resolution, PRUNED_PASSES * passes, images, loss, True)
    return state_of(model)


def small(network: str, state: Arrays, resolution: int, passes: int, images: Tensor, labels: Tensor) -> State:
    """SMALL at SMALL_RESOLUTION pixels, taught by what the network answers about the same images."""
    answers = answered(rebuilt(network, state), images, resolution)
    student = build(SMALL, answers.shape[1], "random", 0, images)
    loss = _taught(answers, labels)
    _trained(student, SMALL_RESOLUTION, SMALL_PASSES * passes, images, loss, True, "sgd", SMALL_LR)
    return state_of(student)


def _head(model: nn.Sequential, x: Tensor, labels: Tensor) -> None:
    """Fits the head on features (N, D); they are standardised, which the head then does itself."""
    mean, deviation = x.mean(0), x.std(0) + 1e-5
    head: Any = model[-1]
    x, weight, bias = (x - mean) / deviation, torch.zeros_like(head.weight), torch.zeros_like(head.bias)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    optimiser = torch.optim.AdamW(parameters, HEAD_LR, weight_decay=WEIGHT_DECAY, fused=True)
    pool = torch.arange(len(labels))
    for step in range(HEAD_STEPS):
        index = batch_index(pool, HEAD_BATCH, step, 0, HEAD)
        for group in optimiser.param_groups:
            group["lr"] = HEAD_LR * warmup_linear(step / HEAD_STEPS)
        optimiser.zero_grad()
        F.cross_entropy(F.linear(x[index], weight, bias), labels[index]).backward()
        optimiser.step()
    with torch.no_grad():
        head.weight.copy_(weight / deviation)
        head.bias.copy_(bias - (weight / deviation) @ mean)


def _taught(answers: Tensor, labels: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """(1 - w) CE(y, z) + w T^2 KL(t/T || z/T)"""
    temperature, weight = torch.tensor([TEMPERATURE]), torch.tensor([KD_WEIGHT])

    def loss(z: Tensor, index: Tensor) -> Tensor:
        return mixed(cross_entropy(z, labels[index]), distillation(z, answers[index], temperature), weight)

    return loss


def _trained(
    model: nn.Sequential, resolution: int, passes: int, images: Tensor, loss: Callable[[Tensor, Tensor], Tensor], statistics: bool,
    optimiser: str = "adamw", lr: float = LR,
) -> None:  # fmt: skip
    """All layers, mirrored and moved images, one cycle. loss: of logits (1, B, C) and the places of their images; statistics: whether
    batch normalisation goes by the batch."""
    net = Network(model, resolution, optimiser, lr, WEIGHT_DECAY if optimiser == "adamw" else 1.3e-3)
    net.thaw(len(model))
    pool, per_pass = torch.arange(len(images)), max(1, len(images) // BATCH)
    for step in range(passes * per_pass):
        model.train(statistics)
        index = batch_index(pool, BATCH, step, 0, ORDER)
        g = torch.Generator().manual_seed(substream(0, VIEW, step))
        x = shifted(flipped(images[index], g), g, images.shape[-1] // SHIFT)
        net.step(loss(net.logits(resized(x, resolution)), index), one_cycle(step / (passes * per_pass)))
    model.eval()


def _cut(model: nn.Sequential, kept: float, resolution: int) -> None:
    with warnings.catch_warnings(action="ignore"):
        import torch_pruning as tp

        model.requires_grad_(True)
        pruner = tp.pruner.BasePruner(
            model, torch.zeros(1, 3, resolution, resolution), importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=1 - kept, round_to=ROUND_TO, ignored_layers=[model[-1]],
        )  # fmt: skip
        pruner.step()


@torch.no_grad()
def answered(model: nn.Module, images: Tensor, resolution: int) -> Tensor:
    """Logits (N, C) of all images, (N, 3, H, W) uint8."""
    parts = images.split(chunk_of(resolution, images.device))
    return torch.cat([model(resized(part, resolution)) for part in parts])


# States


def state_of(model: nn.Module) -> State:
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in model.state_dict().items()}


def rebuilt(network: str, state: Arrays) -> nn.Sequential:
    """The network of a state, in evaluation mode, whose layers may have fewer channels than the named network's."""
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    model = build(network, len(tensors["head.bias"]), "random", 0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and not isinstance(module, Whitened):
            (out, each), depthwise = tensors[f"{name}.weight"].shape[:2], module.groups == module.in_channels > 1
            module.groups = out if depthwise else module.groups
            module.out_channels, module.in_channels = out, each * module.groups
        elif isinstance(module, nn.BatchNorm2d):
            module.num_features = len(tensors[f"{name}.running_mean"])
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = tensors[f"{name}.weight"].shape
        for kind in (module._parameters, module._buffers):
            for key, old in kind.items():
                if old is not None and (new := tensors.get(f"{name}.{key}".lstrip("."))) is not None:
                    kind[key] = nn.Parameter(new, False) if isinstance(old, nn.Parameter) else new  # type: ignore[assignment]
    return model.eval().to(memory_format=torch.contiguous_format)


# What needs no training: the same function in fewer operations


class _Layers(fx.Tracer):
    """Traces down to layers; those that look at the size or the type of their input stay whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d | Normalised) or super().is_leaf_module(
            m, module_qualified_name
        )


def fused(model: nn.Module) -> fx.GraphModule:
    """Every batch normalisation after a convolution folded into it: W' = W g / s, b' = (b - mean) g / s + shift. The model is left as
    it is. What has a class of its own beside PyTorch's batch normalisation is not folded."""
    model = copy.deepcopy(model).eval()
    graph = _Layers().trace(model)
    layers = dict(model.named_modules())
    for node in list(graph.nodes):
        if node.op != "call_module" or type(layers[node.target]) is not nn.BatchNorm2d:
            continue
        before = node.args[0]
        conv = layers.get(before.target) if before.op == "call_module" else None
        if not isinstance(conv, nn.Conv2d) or len(before.users) > 1:
            continue
        norm: Any = layers[node.target]
        conv.weight, conv.bias = torch.nn.utils.fusion.fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        node.replace_all_uses_with(before)
        graph.erase_node(node)
    whole = fx.GraphModule(model, graph)
    whole.delete_all_unused_submodules()
    return whole


def settled(model: nn.Module, resolution: int) -> nn.Module:
    """A copy whose convolutions pad by what the resolution asks for, where they worked that out from every input: in the convolution
    itself where both sides are alike."""
    model, sizes = copy.deepcopy(model), {}
    looking = {name: m for name, m in model.named_modules() if type(m).__name__ == "Conv2dDynamicSamePadding"}
    hooks = [
        m.register_forward_pre_hook(lambda _, inputs, name=name: sizes.update({name: inputs[0].shape[-1]}))
        for name, m in looking.items()
    ]
    with torch.no_grad():
        model(torch.zeros(1, 3, resolution, resolution))
    for hook in hooks:
        hook.remove()
    for name, m in looking.items():
        size, k, stride = sizes[name], m.kernel_size[0], m.stride[0]
        lacking = max((-(-size // stride) - 1) * stride + k - size, 0)
        before, after = lacking // 2, lacking - lacking // 2
        pad = before if before == after else 0
        plain = nn.Conv2d(m.in_channels, m.out_channels, k, stride, pad, groups=m.groups, bias=m.bias is not None)
        plain.weight, plain.bias = m.weight, m.bias
        place, _, last = name.rpartition(".")
        new = plain if before == after else nn.Sequential(nn.ZeroPad2d((before, after, before, after)), plain)
        setattr(model.get_submodule(place), last, new)
    return model.eval()
