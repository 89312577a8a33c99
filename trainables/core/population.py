"""Many students with the same graph, trained side by side as stacked tensors.

Parameters lead with the students, (S, ...); the input batch is shared by all of them, so the first layer reads it
once. Two ways to run the convolutions, equal to rounding:
`stacked`  one grouped convolution over the channels of all students: best on a GPU, where dispatch dominates;
`loop`     one channels-last convolution per student: best on CPUs, whose grouped kernels are slower.
Fully connected layers are always batched matrix products.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.core.nets import Block, Conv, Convolution, Layer, Linear, output, parameters
from trainables.core.strided import NARROW, Strided, phases

MOMENTUM = 0.1  # of batch normalisation's running statistics: the share of the newest batch
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "nesterov": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}
# What reports say of `initial`, and of OPTIMISERS["adam"]
INITIALISATION = (
    "Weights and biases uniform in +-1/sqrt(fan in), torch's default, drawn from the seed; batch normalisation, where "
    "a network has it, starts with scale 1 and shift 0. Students of one seed and network start from the same weights."
)
ADAM = "Adam (beta 0.9 and 0.999, eps 1e-8, no weight decay)"


class Population:
    """S networks of one graph with Adam or SGD, each with its own learning rate and initial weights.

    layers: the graph with its classifier; shape: one input, (C, H, W) or (D,); seeds, lr: one per student, (S,).
    precision: of the products, "fp32" or "bf16"; parameters, losses and Adam's moments stay in fp32.
    optimiser: "adam", "sgd" (plain) or "nesterov" (momentum 0.9).
    Two students with one seed start from the same weights. Students never see each other: a student of a population
    takes the steps it would take alone.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        shape: tuple[int, ...],
        seeds: Sequence[int],
        lr: Sequence[float],
        device: torch.device | str = "cpu",
        precision: str = "fp32",
        mode: str | None = None,
        dtype: torch.dtype = torch.float32,
        optimiser: str = "adam",
    ) -> None:
        self.layers, self.shape, self.device = tuple(layers), shape, torch.device(device)
        self.mode = mode or ("stacked" if self.device.type == "cuda" else "loop")
        self.chunk = 2000 if self.device.type == "cuda" else 250  # inputs at a time where nothing is trained
        self.cast = dtype if precision == "fp32" else PRECISIONS[precision]
        self.parameters = initial(self.layers, shape, seeds, self.device, dtype)
        self.statistics = [  # running mean and variance of every batch normalisation, (S, channels)
            start(len(lr), layer.channels, device=self.device, dtype=dtype)
            for layer in self.layers if isinstance(layer, Conv) and layer.norm
            for start in (torch.zeros, torch.ones)
        ]  # fmt: skip
        self.lr = list(lr)
        self._groups = _by_value(self.lr)
        if len(self._groups) == 1:
            tensors = [self.parameters]
        else:  # views of the stacked parameters: one group per distinct learning rate
            tensors = [[p.detach()[s] for p in self.parameters for s in group] for group in self._groups.values()]
        fused = dtype == torch.float32
        self.optimiser: torch.optim.Optimizer = OPTIMISERS[optimiser](
            [{"params": t, "lr": lr} for t, lr in zip(tensors, self._groups, strict=True)], fused=fused
        )

    def __len__(self) -> int:
        return len(self.lr)

    def logits(
        self,
        x: Tensor,
        training: bool = True,
        taps: list[Tap] | None = None,
        parameters: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """x: one batch for all students, (B, C, H, W) or (B, D) -> logits (S, B, classes), in the parameters' type.

        training: batch normalisation by the batch, whose statistics are gathered; else by those gathered so far.
        taps: receives every layer's input and its products, which gradients can be asked of.
        parameters: who is asked in place of the students, stacked like them.
        """
        S = len(self)
        if isinstance(self.layers[0], Linear):
            x = x.flatten(1)
        params, statistics = iter(parameters or self.parameters), iter(self.statistics)
        convolutions: list[tuple[Convolution, Tensor, Tensor, Norm | None]] = []
        h = x.to(self.cast)
        for i, layer in enumerate(self.layers):
            w, b = next(params).to(self.cast), next(params).to(self.cast)
            if isinstance(layer, Convolution):
                norm: Norm | None = None
                if isinstance(layer, Block):
                    norm = (next(params), next(params))
                elif layer.norm:
                    norm = (next(statistics), next(statistics), next(params), next(params), training)
                convolutions.append((layer, w, b, norm))
                continue
            if convolutions:
                h, convolutions = self._features(convolutions, h, taps), []
            given = h.expand(S, -1, -1) if h.dim() == 2 else h
            h = torch.baddbmm(b, given, w)
            if taps is not None:
                taps.append((given, h))
            if i + 1 < len(self.layers):
                h = _relu(h, taps)
        return h.to(self.parameters[0].dtype)

    def _features(
        self,
        convolutions: Sequence[tuple[Convolution, Tensor, Tensor, Norm | None]],
        x: Tensor,
        taps: list[Tap] | None,
    ) -> Tensor:
        """What convolutions, each with the weights, biases and normalisations of all students, make of the shared input x,
        (B, C, H, W): features of each student, (S, B, D), D in the order (H, W, C)."""
        S, h = len(self), x
        if self.mode == "stacked":
            for i, (layer, w, b, norm) in enumerate(convolutions):
                flat: Any = norm and tuple(part if isinstance(part, bool) else part.flatten() for part in norm)
                wide = _conv(layer, h, w.flatten(0, 1), b.flatten(), groups=S if i else 1)
                if taps is not None:
                    taps.append((h, wide))
                h = _after(layer, wide, flat, taps)
            B, _, H, W = h.shape
            return h.permute(0, 2, 3, 1).reshape(B, H * W, S, -1).permute(2, 0, 1, 3).reshape(S, B, -1)
        # Student by student through all layers, so that what one layer makes is still in the processor's cache for the next. The
        # first takes two students at once in bf16: faster there, slower in fp32 and where its slices are pooled.
        (first, w, b, norm), *deeper = convolutions
        together = 2 if self.cast == torch.bfloat16 and first.pool == 1 else 1
        heads = zip(w.split(together), b.split(together), strict=True)
        norms, before = _each(norm, S), norm is None and taps is None  # the ReLU comes before the students are taken apart
        # unbind, not indexing: the backward of S indexings would fill S tensors of all students
        apart = [
            [(layer, *parts) for parts in zip(w.unbind(0), b.unbind(0), _each(norm, S), _kernels(layer, w), strict=True)]
            for layer, w, b, norm in deeper
        ]
        features: list[Tensor] = []
        tapped: list[list[tuple[Tensor, Tensor]]] = []
        for weights, biases in heads:
            wide = _conv(first, x, weights.flatten(0, 1), biases.flatten())
            if before:
                wide = _after(first, wide, None, taps)
            for h in wide.split(first.channels, 1) if len(weights) > 1 else [wide]:
                student = len(features)
                if taps is not None:
                    tapped.append([(x, h)])
                if not before:
                    h = _after(first, h, norms[student], taps)
                for parts in apart:
                    layer, weight, bias, own, kernels = parts[student]
                    product = _conv(layer, h, weight, bias, kernels=kernels)
                    if taps is not None:
                        tapped[-1].append((h, product))
                    h = _after(layer, product, own, taps)
                features.append(h.permute(0, 2, 3, 1).flatten(1))
        if taps is not None:
            taps += [([g for g, _ in seen], [p for _, p in seen]) for seen in zip(*tapped, strict=True)]
        return torch.stack(features)

    def step(self, loss: Tensor, lr_scale: float = 1.0) -> None:
        """One step of the optimiser for all students. loss: (S,); lr_scale multiplies every learning rate.

        The sum of the losses is only a way to call `backward` once: a student whose loss is NaN stays in its slice.
        """
        gradients = torch.autograd.grad(loss.sum(), self.parameters)
        for p, g in zip(self.parameters, gradients, strict=True):
            p.grad = g
        for group, (lr, members) in zip(self.optimiser.param_groups, self._groups.items(), strict=True):
            group["lr"] = lr * lr_scale
            if len(self._groups) > 1:
                views = itertools.chain.from_iterable([g[s] for s in members] for g in gradients)
                for view, g in zip(group["params"], views, strict=True):
                    view.grad = g
        self.optimiser.step()

    @torch.no_grad()
    def named(self, x: Tensor, to_input) -> Tensor:
        """The class that each student names, (S, N). x: all inputs (N, ...); to_input: x -> network input."""
        return torch.cat([self.logits(to_input(xb), training=False).argmax(-1) for xb in x.split(self.chunk)], dim=1)

    def accuracy(self, x: Tensor, y: Tensor, to_input) -> Tensor:
        """Share of right answers of each student, (S,). x: all inputs (N, ...); y: (N,); to_input: x -> network input."""
        return (self.named(x, to_input) == y).sum(1) / len(y)

    @torch.no_grad()
    def answers(self, x: Tensor, to_input) -> Tensor:
        """Logits on all inputs, (S, N, classes). x: (N, ...); to_input: x -> network input."""
        return torch.cat([self.logits(to_input(xb), training=False) for xb in x.split(self.chunk)], dim=1)

    @torch.no_grad()
    def reestimate(self, x: Tensor, to_input, batch: int = 1000) -> None:
        """The statistics of every batch normalisation taken from other inputs, the weights kept: adaptive batch
        normalisation, Li et al. 2016 (arXiv 1603.04779). Each is the mean over the batches of what a batch has.

        x: all inputs (N, ...); to_input: x -> network input.
        """
        totals = [torch.zeros_like(s) for s in self.statistics]
        for xb in x.split(batch):
            for s in self.statistics:
                s.zero_()  # so that MOMENTUM times the batch's own is left
            self.logits(to_input(xb), training=True)
            for total, s in zip(totals, self.statistics, strict=True):
                total += s * (len(xb) / (MOMENTUM * len(x)))
        for total, s in zip(totals, self.statistics, strict=True):
            s.copy_(total)

    def state_dict(self) -> dict:
        """Everything a resumed population needs, as copies."""
        return {
            "parameters": [p.detach().clone() for p in self.parameters],
            "statistics": [p.clone() for p in self.statistics],
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
        }

    def load_state_dict(self, state: dict) -> None:
        with torch.no_grad():
            kept = [*state["parameters"], *state["statistics"]]
            for p, saved in zip([*self.parameters, *self.statistics], kept, strict=True):
                p.copy_(saved)
        self.optimiser.load_state_dict(state["optimiser"])


def initial(
    layers: Sequence[Layer], shape: tuple[int, ...], seeds: Sequence[int], device: torch.device, dtype: torch.dtype
) -> list[Tensor]:
    """Weights and biases, stacked over students: uniform in +-1/sqrt(fan in), torch's default for its layers; then, for a
    normalisation, its scale and shift, 1 and 0.

    Conv weights are (S, out, k, k, in), so that each student's is channels-last; Linear weights (S, in, out).
    """
    drawn: dict[int, list[Tensor]] = {}
    for seed in set(seeds):
        g = torch.Generator().manual_seed(seed)
        tensors, size = [], shape
        for layer in layers:
            if isinstance(layer, Convolution):
                fan_in = size[0] * layer.kernel**2
                weight: tuple[int, ...] = (layer.channels, layer.kernel, layer.kernel, size[0])
                bias: tuple[int, ...] = (layer.channels,)
            else:
                fan_in = math.prod(size)
                weight, bias = (fan_in, layer.units), (1, layer.units)
            size, bound = output(layer, size), fan_in**-0.5
            tensors += [(torch.rand(s, generator=g) * 2 - 1) * bound for s in (weight, bias)]
            if isinstance(layer, Convolution) and layer.norm:
                tensors += [torch.ones(layer.channels), torch.zeros(layer.channels)]
        drawn[seed] = tensors
    stacked = [torch.stack(column).to(device, dtype) for column in zip(*(drawn[s] for s in seeds), strict=True)]
    return [p.requires_grad_() for p in stacked]


def footprint(layers: Sequence[Layer], shape: tuple[int, ...], batch: int) -> int:
    """Bytes that one student takes while it is trained on `batch` inputs, fp32: weights, gradients and Adam's two
    moments, the weights' working copy, and the activations with their gradients."""
    numbers, size = 0, shape
    activations = 0
    for layer in layers:
        numbers += parameters(layer, size)
        if isinstance(layer, Convolution):
            before = (layer.channels, *(math.ceil(n / layer.stride) for n in size[1:]))
            activations += math.prod(before) * (1 + layer.norm) + (layer.pool > 1) * math.prod(output(layer, size))
        else:
            activations += layer.units
        size = output(layer, size)
    return 4 * (5 * numbers + 3 * batch * activations)


# Of one layer: its input and its products, before normalisation and ReLU. Of a Linear (S, B, D) and (S, B, units); of a Conv
# a list with (B, C, H, W) of each student, or in stacked mode one tensor with the channels of all, (B, S C, H, W), where
# the first input is shared and stays (B, C, H, W).
Tap = tuple[Tensor | list[Tensor], Tensor | list[Tensor]]

# Of one batch normalisation: running mean, running variance, scale, shift; whether it is trained. Of an instance normalisation:
# scale, shift.
Norm = tuple[Tensor, Tensor, Tensor, Tensor, bool] | tuple[Tensor, Tensor]


def _conv(
    layer: Convolution, x: Tensor, w: Tensor, b: Tensor, groups: int = 1, kernels: Tensor | None = None
) -> Tensor:
    w = w.permute(0, 3, 1, 2)
    if kernels is not None:
        return Strided.apply(x, w, b, kernels)
    return F.conv2d(x, w, b, stride=layer.stride, padding=layer.kernel // 2, groups=groups)


def _kernels(layer: Convolution, w: Tensor) -> Sequence[Tensor | None]:
    """Of each student those of the gradient in the input, where they make it faster. w: (S, out, k, k, in)."""
    faster = w.dtype == torch.bfloat16 and layer.stride == 2 and w.shape[-1] <= NARROW and w.requires_grad
    return phases(w.detach()).unbind(0) if faster else [None] * len(w)


def _after(layer: Convolution, h: Tensor, norm: Norm | None, taps: list[Tap] | None) -> Tensor:
    """What follows the products of a convolution."""
    if isinstance(layer, Block):
        assert norm and len(norm) == 2
        return F.avg_pool2d(F.relu(F.instance_norm(h, weight=norm[0], bias=norm[1])), layer.pool)
    if norm:
        assert len(norm) == 5
        h = F.batch_norm(h, *norm, MOMENTUM)
    if layer.pool > 1:  # before the ReLU: the same result on fewer numbers
        h = F.max_pool2d(h, layer.pool)
    return _relu(h, taps)


def _relu(h: Tensor, taps: list[Tap] | None) -> Tensor:
    """In place, unless somebody looks at what comes in."""
    return F.relu_(h) if taps is None else F.relu(h)


def _each(norm: Norm | None, students: int) -> Sequence[Norm | None]:
    """The normalisation of each student."""
    if norm is None:
        return [None] * students
    return [*zip(*([part] * students if isinstance(part, bool) else part.unbind(0) for part in norm), strict=True)]


def _by_value(lr: Sequence[float]) -> dict[float, list[int]]:
    groups: dict[float, list[int]] = {}
    for s, value in enumerate(lr):
        groups.setdefault(value, []).append(s)
    return groups
