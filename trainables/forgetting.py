"""Catastrophic forgetting: pairs of digits learnt one after another by one network with two outputs.

The task k has the digits 2k -> class 0 and 2k + 1 -> class 1, so the class is the digit's parity and nothing but the images
tells the task: domain-incremental Split-MNIST. After the first task a student minimises

    CE(new digits) + strength R,    R one of the remedies

l2          1/2 ||w - w*||^2, w* the weights after the previous task
ewc         1/2 sum_k sum_i F_ki (w_i - w*_ki)^2, F_k the diagonal Fisher    Kirkpatrick et al. 2017 (arXiv 1612.00796), eq. 3
lwf         T^2 KL(answers of the previous network || own), T = 2, on the new digits    Li & Hoiem 2016 (arXiv 1606.09282)
rehearsal   CE on a memory of old digits; strength s is like a batch of which s / (1 + s) are old
freeze_*    no term: the gradient of some layers, and with it their motion, is masked
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.core import splits
from trainables.core.batches import batch_index, substream
from trainables.core.cache import cached, content
from trainables.core.limits import above, at_least, checked, one_of
from trainables.core.losses import cross_entropy, distillation
from trainables.core.nets import Conv, Layer, Linear
from trainables.core.pack import Pack
from trainables.core.population import Population, Tap, footprint
from trainables.core.schedules import log_spaced

CLASSES, LWF_TEMPERATURE, FISHER_DIGITS = 2, 2.0, 1000
OLD_LR, OLD_BATCH = 1e-3, 128  # of the training on the first task, where that comes before the study
MEMORY, REHEARSE, START = 100, 101, 102  # purposes that draw random numbers, beside the tasks 0, 1, ...
NETWORKS = ("logistic", "mlp", "cnn")
FROZEN = {"freeze_first": slice(0, 1), "freeze_features": slice(0, -1), "freeze_readout": slice(-1, None)}
REMEDIES = ("none", "l2", "ewc", "lwf", "rehearsal", *FROZEN)
PROBED = 2000  # training digits that a linear probe is fitted on
PER_DECADE = {"two": 5, "five": 0.8}  # evaluations in a factor of ten of the iterations


@dataclass(frozen=True)
class Config:
    """One student.

    tasks: "two" (0/1 learnt before the study by `old_steps` batches, then 2/3) or "five" (0/1, 2/3, ... 8/9, all in the
    study). width: units of each hidden layer, 0 for logistic regression. steps: batches per task. memory: old digits
    that are kept for rehearsal, over all tasks. remedy, strength: as above. seed: initial weights and all draws.
    """

    tasks: Annotated[str, one_of(*PER_DECADE)]
    network: Annotated[str, one_of(*NETWORKS)]
    width: Annotated[int, at_least(8)]
    optimiser: Annotated[str, one_of("adam", "sgd")]
    old_steps: Annotated[int, above(0)]
    steps: Annotated[int, above(0)]
    batch_size: Annotated[int, above(0)]
    memory: Annotated[int, above(0)]
    lr: Annotated[float, above(0)]
    remedy: Annotated[str, one_of(*REMEDIES)]
    strength: Annotated[float, at_least(0)]
    seed: int

    def __post_init__(self) -> None:
        unused = {
            "width": self.network == "logistic",
            "old_steps": self.tasks == "five",
            "memory": self.remedy != "rehearsal",
        }
        checked(self, tuple(name for name, plays_no_part in unused.items() if plays_no_part))


@dataclass(frozen=True)
class Start:
    """The network that a study starts from: trained on the first task for `steps` batches, or untrained (0)."""

    tasks: str
    network: str
    width: int
    steps: int
    seed: int


Arrays = Mapping[str, np.ndarray]


def layers(network: str, width: int) -> tuple[Layer, ...]:
    """The graph of a network with its two outputs."""
    hidden: dict[str, tuple[Layer, ...]] = {
        "logistic": (),
        "mlp": (Linear(width), Linear(width)),
        "cnn": (Conv(width // 8, 5, stride=2), Conv(width // 4, 3, stride=2), Linear(width)),
    }
    return (*hidden[network], Linear(CLASSES))


class TaskSplits(splits.Splits):
    """The digits of a study on one device, split into tasks. Five tasks are padded to 32 x 32, as in their benchmark."""

    def __init__(self, tasks: str, arrays: Arrays, device: torch.device | str) -> None:
        self.pad, self.count = (2, 5) if tasks == "five" else (0, 2)
        self.shape = (1, 28 + 2 * self.pad, 28 + 2 * self.pad)
        super().__init__(arrays, device)
        self.digits, self.labels = self.labels, self.labels % 2
        keep = self.test_labels < 2 * self.count
        self.test_images, self.test_digits = self.test_images[keep], self.test_labels[keep]
        self.pools = [self.train[self.digits[self.train] // 2 == k] for k in range(self.count)]
        self.val = self.val[self.digits[self.val] < 2 * self.count]

    def to_float(self, x: Tensor) -> Tensor:
        """uint8 (B, 28, 28) to floats (B, 1, H, W) of about zero mean and unit variance when padded to 32 x 32."""
        x = F.pad(x.float().div_(255), (self.pad,) * 4)
        return x.sub_(0.1).div_(0.2752)[:, None]


class Forgetting(Pack):
    """Students that go on to new digits. datasets: {"mnist": its arrays}."""

    config_type = Config
    may_differ = frozenset({"lr", "remedy", "strength"})
    students: Population

    @staticmethod
    def artifact(config: Config) -> Start:
        """What must be prepared before a student can be trained: the network that knows the first task."""
        steps = config.old_steps if config.tasks == "two" else 0
        return Start(config.tasks, config.network, config.width, steps, config.seed)

    @staticmethod
    def prepare(artifact: Start, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """The start's parameters, one student's, and its row for the `starts` table."""
        mnist = datasets["mnist"]
        key = {
            "recipe": 1, "lr": OLD_LR, "batch": OLD_BATCH, "held_out": splits.HELD_OUT, "start": repr(artifact),
            "network": repr(layers(artifact.network, artifact.width)), "data": content(mnist),
        }  # fmt: skip
        known = cached("forgetting", key, lambda: _learn(artifact, mnist, device))
        about = {name: float(value) for name, value in known.items() if not name.startswith("parameter")}
        row = {
            "tasks": artifact.tasks,
            "network": artifact.network,
            "width": artifact.width,
            "old_steps": artifact.steps,
        }
        return {k: v for k, v in known.items() if k.startswith("parameter")}, {**row, "seed": artifact.seed, **about}

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes; weights of the penalties count as one more half."""
        shape = (1, 32, 32) if config.tasks == "five" else (1, 28, 28)
        return footprint(layers(config.network, config.width), shape, 2 * config.batch_size) * 3 // 2

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        super().__init__(configs, device)
        c = self.common
        self.sets = TaskSplits(c.tasks, datasets["mnist"], self.device)
        self.students = _population(c, self.sets.shape, [p.lr for p in configs], c.optimiser, self.device)
        with torch.no_grad():
            for i, p in enumerate(self.students.parameters):
                p.copy_(torch.from_numpy(np.array(answers[f"parameter_{i}"])).expand_as(p))
        strength = self.column("strength")
        self.strength = {r: strength * self.column_of("remedy", r) for r in REMEDIES}
        self.uses = {r: bool(s.any()) for r, s in self.strength.items()}
        self.first_task = 1 if c.tasks == "two" else 0
        self.memories = [_shuffled(pool, c.seed, k) for k, pool in enumerate(self.sets.pools)]
        # of every digit in its pool
        self.position = torch.zeros(len(self.sets.images), dtype=torch.long, device=self.device)
        for pool in self.sets.pools:
            self.position[pool] = torch.arange(len(pool), device=self.device)
        self.old = [p.detach().clone() for p in self.students.parameters]  # weights after the previous task
        self.importance = [torch.zeros_like(p) for p in self.old]
        self.centre = [p.clone() for p in self.old]
        # logits of the previous network on the task's digits, (S, N, 2)
        self.answers = torch.zeros(0, device=self.device)

    def column_of(self, name: str, value: str) -> Tensor:
        """1 for the students whose field has this value, else 0; (S,)."""
        return torch.tensor([float(getattr(c, name) == value) for c in self.configs], device=self.device)

    @property
    def total_steps(self) -> int:
        return self.common.steps * (self.sets.count - self.first_task)

    def rate(self, fraction: float) -> float:
        """Constant: forgetting is watched over iterations, not over a schedule."""
        return 1.0

    def evaluations(self) -> list[int]:
        c = self.common
        within = log_spaced(c.steps, PER_DECADE[c.tasks])
        return [c.steps * k + step for k in range(self.sets.count - self.first_task) for step in within]

    def place(self, step: int) -> tuple[int, int]:
        """(task, step within it) of a step of the study."""
        task, local = divmod(step, self.common.steps)
        return self.first_task + task, local

    def loss(self, step: int) -> Tensor:
        c, sets = self.common, self.sets
        task, local = self.place(step)
        if local == 0 and task > 0:
            self.consolidate(task)
        index = batch_index(sets.pools[task], c.batch_size, local, c.seed, stream=task)
        kept = index[:0]
        if task > 0 and self.uses["rehearsal"]:
            memory = torch.cat([digits[: c.memory // task] for digits in self.memories[:task]])
            kept = batch_index(memory, c.batch_size, local, c.seed, stream=REHEARSE + task)
        z, z_kept = self.students.logits(sets.to_float(sets.images[torch.cat([index, kept])])).split(
            [len(index), len(kept)], dim=1
        )
        loss = cross_entropy(z, sets.labels[index])
        if task > 0:
            if self.uses["rehearsal"]:
                loss = loss + self.strength["rehearsal"] * cross_entropy(z_kept, sets.labels[kept])
            if self.uses["lwf"]:
                t = self.answers[:, self.position[index]]
                loss = loss + self.strength["lwf"] * distillation(z, t, torch.full_like(loss, LWF_TEMPERATURE))
            if self.uses["l2"] or self.uses["ewc"]:
                loss = loss + penalty(self.students.parameters, self.importance, self.centre)
        return loss

    def update(self, loss: Tensor, rate: float) -> None:
        """One step; what is frozen goes back to where it was, so that no optimiser's momentum moves it."""
        self.students.step(loss, rate)
        if self.place(self.done_steps)[0] > 0:
            with torch.no_grad():
                for remedy, which in FROZEN.items():
                    rows = self.strength[remedy].nonzero()[:, 0]
                    for p, old in list(zip(self.students.parameters, self.old, strict=True))[doubled(which)]:
                        p[rows] = old[rows]

    def consolidate(self, task: int) -> None:
        """What the remedies keep of the tasks before `task`: weights, importances, answers."""
        students, sets = self.students, self.sets
        self.old = [p.detach().clone() for p in students.parameters]
        if self.uses["l2"] or self.uses["ewc"]:
            known = sets.to_float(sets.images[self.memories[task - 1][:FISHER_DIGITS]])
            squares = fisher(students, known) if self.uses["ewc"] else [torch.zeros_like(p) for p in self.old]
            for A, centre, w, square in zip(self.importance, self.centre, self.old, squares, strict=True):
                shape = (-1, *[1] * (w.dim() - 1))
                l2, ewc = self.strength["l2"].view(shape), self.strength["ewc"].view(shape)
                # EWC: a sum of quadratics is one quadratic, whose centre is their weighted mean. L2: the latest alone.
                A.copy_(torch.where(l2 > 0, l2, A + ewc * square))
                share = torch.where(l2 > 0, torch.ones_like(A), ewc * square / A.clamp_min(torch.finfo(A.dtype).tiny))
                centre.lerp_(w, share)
        if self.uses["lwf"]:
            self.answers = students.answers(sets.images[sets.pools[task]], sets.to_float)

    @torch.no_grad()
    def measure(self) -> dict[str, Tensor]:
        """Accuracies and losses on test, at every evaluation, for the curve over iterations is what is asked; nothing is
        chosen on it. See `metrics` in the study for the names."""
        sets, students = self.sets, self.students
        task, _ = self.place(self.done_steps - 1)
        z = students.answers(sets.test_images, sets.to_float)
        metrics = per_digit(z, sets.test_digits)
        right = students.answers(sets.images[sets.val], sets.to_float).argmax(-1) == sets.labels[sets.val]
        tasks = sets.digits[sets.val] // 2
        metrics["val_accuracy"] = torch.stack([share(right, tasks == k) for k in range(sets.count)]).mean(0)
        right = z.argmax(-1) == sets.test_digits % 2
        by_task = torch.stack([share(right, sets.test_digits // 2 == k) for k in range(sets.count)])
        metrics |= {"test_accuracy": by_task.mean(0), "test_old": by_task[0], "test_new": by_task[task]}
        for name, k in (("old_loss", 0), ("new_loss", task)):
            of = sets.test_digits // 2 == k
            metrics[name] = cross_entropy(z[:, of], sets.test_digits[of] % 2)
        flat, old = (torch.cat([p.flatten(1) for p in of], 1) for of in (students.parameters, self.old))
        metrics["distance"] = (flat - old).norm(dim=1) / old.norm(dim=1)
        if self.done_steps in self.evaluations()[::-3]:
            metrics["probe_accuracy"] = probe(students, sets)
        return metrics

    def state_dict(self) -> dict:
        kept = {name: getattr(self, name) for name in ("old", "importance", "centre", "answers")}
        return {**super().state_dict(), "kept": kept}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        for name, value in state["kept"].items():
            to = value.to(self.device) if isinstance(value, Tensor) else [v.to(self.device) for v in value]
            setattr(self, name, to)


def penalty(parameters: Sequence[Tensor], importance: Sequence[Tensor], centre: Sequence[Tensor]) -> Tensor:
    """1/2 sum_i A_i (w_i - c_i)^2 of every student, (S,). All lists hold tensors (S, ...)."""
    terms = ((A * (w - c).square()).flatten(1).sum(1) for w, A, c in zip(parameters, importance, centre, strict=True))
    return 0.5 * torch.stack(list(terms)).sum(0)


def doubled(which: slice) -> slice:
    """The parameters (weight and bias of each) of a slice of layers."""
    start, stop = (None if end is None else 2 * end for end in (which.start, which.stop))
    return slice(start, stop)


def fisher(students: Population, x: Tensor) -> list[Tensor]:
    """Diagonal of the Fisher information of every parameter, (S, ...): mean over x of sum_y p(y|x) (d log p(y|x) / dw)^2.

    With two classes that is the mean of p0 p1 (d (z1 - z0) / dw)^2: one pass back, whose squares are taken image by
    image out of each layer's input and the gradient of its products. x: prepared inputs (N, C, H, W).
    """
    S, total = len(students), [torch.zeros_like(p) for p in students.parameters]
    for part in x.split(students.chunk):
        taps: list[Tap] = []
        z = students.logits(part, training=False, taps=taps)
        root = z.detach().softmax(-1).prod(-1).sqrt()  # of p0 p1, (S, B)
        products = [product for _, product in taps]
        flat = [h for product in products for h in (product if isinstance(product, list) else [product])]
        back = iter(torch.autograd.grad((root * (z[..., 1] - z[..., 0])).sum(), flat))
        for i, (layer, (given, product)) in enumerate(zip(students.layers, taps, strict=True)):
            if isinstance(layer, Linear):
                assert isinstance(given, Tensor)
                delta = next(back)
                total[2 * i] += given.detach().square().transpose(1, 2) @ delta.square()
                total[2 * i + 1] += delta.square().sum(1, keepdim=True)
                continue
            deltas = [next(back) for _ in product] if isinstance(product, list) else next(back).chunk(S, 1)
            inputs = given if isinstance(given, list) else [given] * S if i == 0 else given.chunk(S, 1)
            for s, (a, delta) in enumerate(zip(inputs, deltas, strict=True)):
                patches = F.unfold(a.detach(), layer.kernel, padding=layer.kernel // 2, stride=layer.stride)
                each = torch.einsum("bol,bpl->bop", delta.flatten(2), patches)  # one gradient per image
                square = each.square().sum(0).view(layer.channels, -1, layer.kernel, layer.kernel)
                total[2 * i][s] += square.permute(0, 2, 3, 1)
                total[2 * i + 1][s] += delta.sum((2, 3)).square().sum(0)
    return [t / len(x) for t in total]


def share(right: Tensor, of: Tensor) -> Tensor:
    """Share of right answers among some of the images, (S,). right: (S, N); of: (N,) bool."""
    return right[:, of].float().mean(1)


def per_digit(z: Tensor, digits: Tensor) -> dict[str, Tensor]:
    """accuracy_d and margin_d (mean of the right logit less the wrong one), each (S,), for every digit d there is."""
    margin = (z[..., 1] - z[..., 0]) * (2 * (digits % 2) - 1)
    found = {}
    for d in digits.unique().tolist():
        found[f"accuracy_{d}"] = share(margin > 0, digits == d)
        found[f"margin_{d}"] = margin[:, digits == d].mean(1)
    return found


@torch.no_grad()
def probe(students: Population, sets: TaskSplits) -> Tensor:
    """Test accuracy on the first task of a linear probe on the penultimate features, (S,).

    Ridge regression on +-1, in closed form, on training digits of the first task: what the features still know of it,
    whatever the readout says.
    """
    pool, of = sets.pools[0][:PROBED], sets.test_digits < 2
    train, test = (_features(students, sets, x) for x in (sets.images[pool], sets.test_images[of]))
    target = (2.0 * sets.labels[pool] - 1).expand(len(students), -1)[..., None]
    gram = train.transpose(1, 2) @ train
    ridge = 1e-3 * gram.diagonal(dim1=1, dim2=2).mean(1)
    identity = torch.eye(gram.shape[-1], device=gram.device)
    # unchecked: a diverged student is to fail alone
    w, _ = torch.linalg.solve_ex(gram + ridge[:, None, None] * identity, train.transpose(1, 2) @ target)
    right = ((test @ w)[..., 0] > 0) == (sets.test_digits[of] % 2 == 1)
    return right.float().mean(1)


def _features(students: Population, sets: TaskSplits, images: Tensor) -> Tensor:
    """Inputs of the readout with a constant 1, (S, N, D + 1)."""
    parts = []
    for x in images.split(students.chunk):
        taps: list[Tap] = []
        students.logits(sets.to_float(x), training=False, taps=taps)
        given = taps[-1][0]
        assert isinstance(given, Tensor)
        parts.append(given)
    h = torch.cat(parts, 1)
    return torch.cat([h, h.new_ones(*h.shape[:2], 1)], -1)


def pulls(student: Population, sets: TaskSplits) -> dict[str, float]:
    """pull_o_n: change of the mean margin of old digits o by one step of SGD on new digits n, per unit of learning rate.

    To first order - <d margin_o / dw, d CE_n / dw>: which new digit pushes which old one over, on 1,000 training digits
    of each.
    """

    def gradient(d: int, of) -> list[Tensor]:
        pool = sets.pools[d // 2]
        x = sets.to_float(sets.images[pool[sets.digits[pool] == d][:1000]])
        return list(torch.autograd.grad(of(student.logits(x, training=False), d % 2).sum(), student.parameters))

    def margin(z: Tensor, y: int) -> Tensor:
        return (z[..., y] - z[..., 1 - y]).mean(1)

    def hardness(z: Tensor, y: int) -> Tensor:
        return cross_entropy(z, torch.full(z.shape[1:2], y, device=z.device))

    old, new = ({d: gradient(d, of) for d in pair} for pair, of in (((0, 1), margin), ((2, 3), hardness)))
    return {
        f"pull_{o}_{n}": -sum(float((a * b).sum()) for a, b in zip(old[o], new[n], strict=True))
        for o in old
        for n in new
    }


def _population(c: Config | Start, shape: tuple, lr: Sequence[float], optimiser: str, device) -> Population:
    return Population(
        layers(c.network, c.width), shape, [substream(c.seed, START)] * len(lr), lr, device, optimiser=optimiser
    )


def _shuffled(pool: Tensor, seed: int, task: int) -> Tensor:
    g = torch.Generator().manual_seed(substream(seed, MEMORY, task))
    return pool[torch.randperm(len(pool), generator=g).to(pool.device)]


def _learn(artifact: Start, arrays: Arrays, device: str) -> dict[str, np.ndarray]:
    """Parameters of a network that was trained on the first task, and what it makes of all digits of the study."""
    start = time.perf_counter()
    sets = TaskSplits(artifact.tasks, arrays, device)
    student = _population(artifact, sets.shape, [OLD_LR], "adam", device)
    about = {"probe_untrained": float(probe(student, sets))}
    for step in range(artifact.steps):
        index = batch_index(sets.pools[0], OLD_BATCH, step, artifact.seed, stream=0)
        student.step(cross_entropy(student.logits(sets.to_float(sets.images[index])), sets.labels[index]))
    z = student.answers(sets.test_images, sets.to_float)
    about |= {name: float(value) for name, value in per_digit(z, sets.test_digits).items()}
    about |= {"probe_accuracy": float(probe(student, sets)), **pulls(student, sets)}
    about["seconds"] = time.perf_counter() - start
    known = {f"parameter_{i}": p.detach()[0].cpu().numpy() for i, p in enumerate(student.parameters)}
    return known | {name: np.asarray(value) for name, value in about.items()}
