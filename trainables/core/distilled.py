"""Small sets of images that stand for a data set: chosen, averaged or learnt, made once and cached by content.

random          images of the training set
class_means     of each class, the means of equal parts drawn at random: with one image per class, the class mean
kmeans          of each class, the centres of k-means (Lloyd, from k-means++)
dm              distribution matching: mean features of freshly drawn networks agree by class    arXiv 2110.04181, eq. 5
kip             kernel inducing points: regression on the images with the kernel of an infinitely wide network of one hidden
                layer is right on real ones                                                      arXiv 2011.00050, alg. 1
mtt             matching of the training trajectories of experts                                 arXiv 2203.11932, alg. 1
dm, kip and mtt start from the centres of k-means. All images are inputs of networks, standardised; learnt ones may be beyond black and white.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.core.augment import differentiably
from trainables.core.batches import batch_index, substream
from trainables.core.kernel import coded, predicted
from trainables.core.losses import cross_entropy
from trainables.core.matching import matched
from trainables.core.nets import graph
from trainables.core.population import Population, footprint
from trainables.core.schedules import warmup_linear
from trainables.core.splits import CLASSES, Splits, shape, to_float
from trainables.core.teachers import once

DRAWN, EXPERT, ORDER, MATCH, FRESH, JUDGE, AUGMENT = 0, 3, 4, 5, 6, 7, 8  # purposes that draw random numbers
CHOSEN, LEARNT = ("random", "class_means", "kmeans"), ("dm", "kip", "mtt")
METHODS = (*CHOSEN, *LEARNT)
EXPERT_BATCH, REAL_BATCH = 256, 64  # images of an expert's step; of each class, of a step of dm
MOST = 256  # synthetic images of one step
KEPT = 2**30  # bytes of the inner graphs, up to which they are kept rather than made twice
LLOYD = 20  # rounds of k-means
JUDGES, JUDGED_FOR, JUDGE_LR = 3, 200, 0.03  # networks that judge a set on validation, their steps, their peak rate
CHANNELS = {  # means and deviations of pixels in [0, 1]
    "mnist": ((0.1307,), (0.3081,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
RATE_LR = 0.02  # Adam's, of the logarithm of the inner rate
LOOKS = 8  # evaluations of a set while it is learnt

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Effort:
    """What learning a set may cost.

    experts: how many; every: steps of SGD from one of their checkpoints to the next; latest, span: the last checkpoint that
    is a start, and how many checkpoints later its target is; lr: of the experts, plain SGD, batches of 256. inner: steps on the
    synthetic set (N). iterations: outer steps; image_lr, rate: Adam's rate of the images, and the inner rate at first.
    augmented: whether the images are shown augmented (`augment.differentiably`), to experts and in inner steps.
    """

    experts: int
    every: int
    latest: int
    span: int
    lr: float
    inner: int
    iterations: int
    image_lr: float
    rate: float
    augmented: bool


EFFORTS = {
    "smoke": Effort(4, 5, 1, 2, 0.1, 3, 8, 0.03, 0.1, False),
    "course": Effort(40, 10, 2, 18, 0.15, 15, 300, 0.03, 0.2, False),
    "brief": Effort(10, 20, 1, 9, 0.05, 15, 80, 0.03, 0.1, False),  # of colour images, which cost four times as much
    # the defaults of github.com/GeorgeCazenavette/mtt-distillation, with starts as in its example: experts of 180 steps an epoch, starts
    # in the first 20, targets three epochs on, 20 inner steps; its images are whitened and learnt by SGD, ours neither
    "paper": Effort(100, 180, 20, 3, 0.01, 20, 5000, 0.01, 0.01, True),
}
METHOD = (
    "random: images of the training set. class_means: means of equal parts of a class, drawn at random. kmeans: centres of k-means of a "
    f"class, {LLOYD} rounds of Lloyd from k-means++. dm, kip, mtt: learnt from the start of kmeans with Adam; dm: the mean "
    f"features, of one new network at a time, of {REAL_BATCH} real images of a class and of its synthetic ones agree; kip: least squared error, on "
    f"{REAL_BATCH} real images of each class, of regression with the kernel of core/kernel.py; mtt, one expert at a time: |theta_N - theta*|^2 / "
    "|theta_0 - theta*|^2, see core/matching.py, with a learnt inner rate. What effort means: "
    + "; ".join(f"{name}: {', '.join(f'{k} {v}' for k, v in asdict(b).items())}" for name, b in EFFORTS.items())
    + f". Experts: plain SGD on batches of {EXPERT_BATCH}. After each {LOOKS}th of the iterations {JUDGES} new networks learn from "
    "the set; kept is the set of the most validation accuracy."
)


@dataclass(frozen=True)
class Recipe:
    """A set: of which data, by which method, images per class; network and effort of what is learnt (empty where nothing is); seed:
    start, experts and order."""

    dataset: str
    method: str
    per_class: int
    network: str
    effort: str
    seed: int


def standardised(dataset: str) -> Callable[[Tensor], Tensor]:
    """What makes network inputs of uint8 images: every channel with mean 0 and deviation 1 over the data set."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in CHANNELS[dataset])

    def to_input(x: Tensor) -> Tensor:
        return ((to_float(x) + 1) / 2 - mean.to(x.device)) / deviation.to(x.device)

    return to_input


def recipe(dataset: str, method: str, per_class: int, network: str, effort: str, seed: int) -> Recipe:
    """The recipe with all that plays no part set aside."""
    learnt = method in LEARNT
    return Recipe(dataset, method, per_class, network * learnt, effort * learnt, seed)


def distilled(r: Recipe, arrays: Arrays, device: str) -> dict[str, np.ndarray]:
    """A set, made once and cached by the content of the data.

    images (M, C, H, W) fp32, labels (M,): of class after class; `seconds` in all, those of its experts included. Of sets that are learnt, of each look: iterations (L,), loss
    (L,), rates (L,), val_accuracy (L,) and images_then (L, M, C, H, W); the set is that of the most val_accuracy.
    """

    def make() -> dict[str, object]:
        sets, start = Splits(arrays, device), time.perf_counter()
        labels = torch.arange(CLASSES, device=sets.train.device).repeat_interleave(r.per_class)
        if r.method in CHOSEN:
            made: dict[str, object] = {"images": chosen(r, sets)}
        else:
            first = distilled(replace(r, method="kmeans", network="", effort=""), arrays, device)
            trained = experts(r, arrays, device) if r.method == "mtt" else {}
            before = sum(float(each["seconds"]) for each in (first, trained) if each)  # made now, or found
            start = time.perf_counter() - before
            made = _learnt(r, sets, torch.from_numpy(first["images"]).to(labels.device), labels, trained)
        return {**made, "labels": labels, "seconds": time.perf_counter() - start}

    about = asdict(r) | {"recipe": 2, "lloyd": LLOYD, "judges": [JUDGES, JUDGED_FOR, JUDGE_LR, LOOKS]}
    if r.method in LEARNT:
        about |= {"graph": repr(graph(r.network, CLASSES)), "costs": asdict(EFFORTS[r.effort])}
    return once("distilled", about, arrays, make)


def images_seen(r: Recipe, train: int) -> int:
    """How many real images of so many that train making a set reads, each as often as it does (by k-means: once)."""
    if r.method == "random":
        return r.per_class * CLASSES
    if r.method not in LEARNT:
        return train
    e = EFFORTS[r.effort]
    steps = e.every * (e.latest + e.span) * e.experts * EXPERT_BATCH
    return train + (steps if r.method == "mtt" else e.iterations * REAL_BATCH * CLASSES)


def chosen(r: Recipe, sets: Splits) -> Tensor:
    """Images (M, C, H, W) of class after class: real ones, means of parts, or centres. ValueError where a class has too few."""
    g = torch.Generator().manual_seed(substream(r.seed, DRAWN))
    found, to_input = [], standardised(r.dataset)
    for k in range(CLASSES):
        members = sets.train[sets.labels[sets.train] == k]
        if len(members) < r.per_class:
            raise ValueError(f"{r.per_class} images per class were asked for, and class {k} has {len(members)}")
        members = members[torch.randperm(len(members), generator=g).to(members.device)]
        if r.method == "random":
            found.append(to_input(sets.images[members[: r.per_class]]))
        elif r.method == "class_means":
            found.append(torch.stack([to_input(sets.images[part]).mean(0) for part in members.chunk(r.per_class)]))
        else:
            found.append(centres(to_input(sets.images[members]), r.per_class, g))
    return torch.cat(found).contiguous()


def centres(x: Tensor, k: int, g: torch.Generator) -> Tensor:
    """Centres (k, ...) of k-means of x (N, ...): Lloyd's rounds from the start of k-means++ (Arthur and Vassilvitskii 2007)."""
    flat = x.flatten(1)
    picked = flat[:1]
    for _ in range(k - 1):
        near = torch.cdist(flat, picked).min(1).values.square().cpu()
        picked = torch.cat([picked, flat[torch.multinomial(near, 1, generator=g).to(flat.device)]])
    for _ in range(LLOYD):
        of = F.one_hot(torch.cdist(flat, picked).argmin(1), k).to(flat.dtype)  # (N, k)
        count = of.sum(0)[:, None]
        picked = torch.where(count > 0, of.T @ flat / count.clamp_min(1), picked)
    return picked.view(k, *x.shape[1:])


def experts(r: Recipe, arrays: Arrays, device: str) -> dict[str, np.ndarray]:
    """Checkpoints of networks that learn from the real images, side by side: a parameter by its number, (checkpoints, experts, ...).

    They start from their own draws and see the same batches. Cached by the content of the data.
    """
    b, layers, to_input = EFFORTS[r.effort], graph(r.network, CLASSES), standardised(r.dataset)

    def make() -> dict[str, Tensor]:
        sets = Splits(arrays, device)
        net = Population(
            layers,
            shape(r.dataset),
            [substream(r.seed, EXPERT, e) for e in range(b.experts)],
            [b.lr] * b.experts,
            device,
            optimiser="sgd",
        )
        kept = [[p.detach().clone() for p in net.parameters]]
        for step in range(b.every * (b.latest + b.span)):
            index = batch_index(sets.train, EXPERT_BATCH, step, r.seed, ORDER)
            x = to_input(sets.images[index])
            if b.augmented:
                x = differentiably(x, torch.Generator().manual_seed(substream(r.seed, AUGMENT, step)))
            net.step(cross_entropy(net.logits(x), sets.labels[index]))
            if (step + 1) % b.every == 0:
                kept.append([p.detach().clone() for p in net.parameters])
        accuracy = net.accuracy(sets.images[sets.val], sets.labels[sets.val], to_input).mean()
        columns = {f"{i:02d}": torch.stack(column) for i, column in enumerate(zip(*kept, strict=True))}
        return {**columns, "val_accuracy": accuracy}

    spent = {name: getattr(b, name) for name in ("experts", "every", "latest", "span", "lr", "augmented")}
    about = {"recipe": 2, "network": repr(layers), "batch": EXPERT_BATCH, "seed": r.seed, **spent}
    return once("experts", about, arrays, make)


def _learnt(r: Recipe, sets: Splits, images: Tensor, labels: Tensor, trained: Arrays) -> dict[str, object]:
    """See `distilled`: of all looks at the set the one that networks learn most from, on validation."""
    b = EFFORTS[r.effort]
    log_rate = torch.tensor(math.log(b.rate), device=images.device)
    ways = {"mtt": lambda: _mtt(r, trained, labels), "dm": lambda: _dm(r, sets), "kip": lambda: _kip(r, sets, labels)}
    pull = ways[r.method]()
    optimiser = torch.optim.Adam(
        [{"params": [images], "lr": b.image_lr}, {"params": [log_rate], "lr": RATE_LR}], betas=(0.5, 0.9)
    )
    at = sorted({round(b.iterations * i / LOOKS) for i in range(LOOKS + 1)})
    found: list[tuple[float, float, Tensor, Tensor]] = []
    losses: list[float] = []
    for iteration in range(at[-1] + 1):
        if iteration in at:
            mean = float(np.mean(losses)) if losses else math.nan
            found.append((mean, math.exp(log_rate), judged(r, sets, images, labels), images.clone()))
            losses = []
        if iteration < at[-1]:
            loss, images.grad, by_rate = pull(iteration, images, log_rate.exp())
            log_rate.grad = by_rate * log_rate.exp()
            optimiser.step()
            losses.append(float(loss))
    means, rates, accuracy, then = zip(*found, strict=True)
    best = int(torch.stack(accuracy).argmax())
    return {
        "images": then[best], "images_then": torch.stack(then), "iterations": np.array(at), "loss": np.array(means),
        "rates": np.array(rates), "val_accuracy": torch.stack(accuracy), "chosen": np.array(best),
    }  # fmt: skip


Pull = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Of an iteration, the images and the inner rate: a loss, and its gradients in both."""


def _mtt(r: Recipe, trained: Arrays, labels: Tensor) -> Pull:
    """One expert and one start for each iteration."""
    b = EFFORTS[r.effort]
    paths = [torch.from_numpy(trained[name]).to(labels.device) for name in sorted(trained) if name.isdecimal()]
    net = Population(graph(r.network, CLASSES), shape(r.dataset), [0], [1.0], labels.device)
    keep = b.inner * footprint(net.layers, shape(r.dataset), min(MOST, len(labels))) <= KEPT
    everything = torch.arange(len(labels), device=labels.device)

    def pull(iteration: int, images: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng(substream(r.seed, MATCH, iteration))
        expert, first = int(rng.integers(b.experts)), int(rng.integers(b.latest + 1))

        def loss(weights: Sequence[Tensor], x: Tensor, n: int) -> Tensor:
            index = batch_index(everything, MOST, iteration * b.inner + n, r.seed, MATCH)
            x = x[index]
            if b.augmented:
                g = torch.Generator().manual_seed(substream(r.seed, AUGMENT, iteration, n))
                x = differentiably(x, g)
            return cross_entropy(net.logits(x, parameters=weights), labels[index])[0]

        start, target = ([p[at, expert, None] for p in paths] for at in (first, first + b.span))
        return matched(loss, start, target, images, rate, b.inner, keep=keep)

    return pull


def _real(r: Recipe, sets: Splits) -> Callable[[int], tuple[Tensor, Tensor]]:
    """As many real images of each class, class by class, and their labels, by the iteration."""
    members, to_input = [sets.train[sets.labels[sets.train] == k] for k in range(CLASSES)], standardised(r.dataset)

    def batch(iteration: int) -> tuple[Tensor, Tensor]:
        index = torch.cat([batch_index(m, REAL_BATCH, iteration, r.seed, MATCH) for m in members])
        return to_input(sets.images[index]), sets.labels[index]

    return batch


def _kip(r: Recipe, sets: Splits, labels: Tensor) -> Pull:
    """A batch of real images for each iteration."""
    batch = _real(r, sets)

    def pull(iteration: int, images: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y = batch(iteration)
        images = images.detach().requires_grad_()
        loss = (predicted(images, labels, x, CLASSES) - coded(y, CLASSES)).square().sum(1).mean()
        return loss.detach(), torch.autograd.grad(loss, images)[0], torch.zeros_like(rate)

    return pull


def _dm(r: Recipe, sets: Splits) -> Pull:
    """One freshly drawn network for each iteration; its features are what its last layer is given."""
    b, layers, batch = EFFORTS[r.effort], graph(r.network, CLASSES), _real(r, sets)

    def pull(iteration: int, images: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        net = Population(layers, shape(r.dataset), [substream(r.seed, FRESH, iteration)], [1.0], sets.train.device)

        def means(x: Tensor) -> Tensor:
            """Of as many images of each class, (classes, D)."""
            if b.augmented:
                x = differentiably(x, torch.Generator().manual_seed(substream(r.seed, AUGMENT, iteration)))
            taps: list = []
            net.logits(x, taps=taps)
            return taps[-1][0][0].unflatten(0, (CLASSES, -1)).mean(1)

        x = images.detach().requires_grad_()
        with torch.no_grad():
            real = means(batch(iteration)[0])
        loss = (means(x) - real).square().sum()
        return loss.detach(), torch.autograd.grad(loss, x)[0], torch.zeros_like(rate)

    return pull


def judged(r: Recipe, sets: Splits, images: Tensor, labels: Tensor) -> Tensor:
    """Mean accuracy on validation of freshly drawn networks that learn from a set, ()."""
    seeds = [substream(r.seed, JUDGE, i) for i in range(JUDGES)]
    net = Population(
        graph(r.network, CLASSES), shape(r.dataset), seeds, [JUDGE_LR] * JUDGES, sets.train.device, optimiser="nesterov"
    )
    everything, to_input = torch.arange(len(labels), device=labels.device), standardised(r.dataset)
    for step in range(JUDGED_FOR):
        index = batch_index(everything, MOST, step, r.seed, JUDGE)
        net.step(cross_entropy(net.logits(images[index]), labels[index]), warmup_linear(step / JUDGED_FOR))
    return net.accuracy(sets.images[sets.val], sets.labels[sets.val], to_input).mean()


def shown(r: Recipe, arrays: Arrays, device: str) -> tuple[dict[str, np.ndarray], dict]:
    """A set as learners need it; and its row for a table, with the accuracy of `kernel.predicted` from it, and tables of the images and
    of how it was learnt."""
    made = distilled(r, arrays, device)
    names = {name: value for name, value in asdict(r).items() if name != "effort"}
    effort = {"effort": r.effort or "none"}
    seen = images_seen(r, len(Splits(arrays, device).train))
    row = {**names, "network": r.network or "none", **effort, "seconds": float(made["seconds"]), "images_seen": float(seen)}
    row |= {f"kernel_{name}": value for name, value in _kernel_accuracy(r, made, arrays, device).items()}
    frames, looks = [made["images"]], [-1]
    progress: list[dict] = []
    if r.method in LEARNT:
        frames, looks = [*frames, *made["images_then"]], [*looks, *made["iterations"].tolist()]
        columns = {"iteration": "iterations", "loss": "loss", "rate": "rates", "val_accuracy": "val_accuracy"}
        each = zip(*(made[name].tolist() for name in columns.values()), strict=True)
        progress = [{**names, **dict(zip(columns, values, strict=True))} for values in each]
        row |= {"iteration": progress[int(made["chosen"])]["iteration"], "rate": progress[int(made["chosen"])]["rate"]}
    images = [
        {**names, "iteration": look, "number": i, "label": int(label), "image": _bytes(image, r.dataset)}
        for look, frame in zip(looks, frames, strict=True)
        for i, (image, label) in enumerate(zip(frame, made["labels"], strict=True))
    ]
    kept = {name: np.asarray(made[name]) for name in ("images", "labels")}
    return kept, {**row, "tables": {"images": images, **({"progress": progress} if progress else {})}}


def _kernel_accuracy(r: Recipe, made: Arrays, arrays: Arrays, device: str) -> dict[str, float]:
    """Of an infinitely wide network that learnt from a set, on validation and test images."""
    sets, to_input = Splits(arrays, device), standardised(r.dataset)
    images, labels = (torch.from_numpy(np.array(made[name])).to(device) for name in ("images", "labels"))
    asked = {
        "val_accuracy": (sets.images[sets.val], sets.labels[sets.val]),
        "test_accuracy": (sets.test_images, sets.test_labels),
    }
    return {
        name: float((predicted(images, labels, to_input(x), CLASSES).argmax(1) == y).float().mean())
        for name, (x, y) in asked.items()
    }


def _bytes(image: np.ndarray, dataset: str) -> bytes:
    """An input (C, H, W) as an image (H, W, C) uint8, values beyond black and white cut off."""
    mean, deviation = (np.array(values)[:, None, None] for values in CHANNELS[dataset])
    return ((image * deviation + mean).clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0).tobytes()
