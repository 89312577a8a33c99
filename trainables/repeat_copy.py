"""An LSTM learns repeat-copy while a schedule chooses the lengths that it sees.

The task is that of the Neural Turing Machine (Graves, Wayne, Danihelka 2014, arXiv 1410.5401, s. 4.2): read a sequence of
random bit vectors and a number of repeats, then say the sequence so many times and mark its end. A schedule is a
probability of every length as a function of the fraction of training; a bandit's depends on its own state too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.core.batches import substream
from trainables.core.limits import above, between, checked, one_of
from trainables.core.pack import Pack

WEIGHTS, TRAINING, VALIDATION, TEST = range(4)  # purposes that draw random numbers
VALIDATION_SEQUENCES, TEST_SEQUENCES = 64, 256  # of every length
EVALUATIONS = 25
BEYOND = 2  # the test goes up to so many times the longest trained length
CLIP = 1.0  # norm of a student's gradient, at most


# Schedules: the probability of every length 1..n, (n,). progress: how much of a curriculum's ramp is over, 0 to 1; the ramp is
# a share of the training, so a schedule is a function of the fraction of training alone


def _among(first: int, last: int, n: int) -> np.ndarray:
    """Equal probabilities for lengths first..last of 1..n."""
    p = np.zeros(n)
    p[first - 1 : last] = 1 / (last - first + 1)
    return p


def frontier(progress: float, n: int) -> int:
    """The length that a curriculum has come to: 1 at progress 0, n at 1, each for as long."""
    return min(1 + int(progress * n), n)


def short_first(progress: float, n: int) -> np.ndarray:
    """The shortest length alone, then ever longer ones too, equally often, until all are there."""
    return _among(1, frontier(progress, n), n)


def long_first(progress: float, n: int) -> np.ndarray:
    """Its mirror: the longest length alone, then ever shorter ones too."""
    return short_first(progress, n)[::-1]


def uniform(progress: float, n: int) -> np.ndarray:
    """All lengths equally often."""
    return _among(1, n, n)


def target_only(progress: float, n: int) -> np.ndarray:
    """The longest length alone."""
    return _among(n, n, n)


def linear_window(progress: float, n: int) -> np.ndarray:
    """A window over a third of the lengths slides from the shortest to the longest: what it left is not seen again."""
    width = math.ceil(n / 3)
    first = frontier(progress, n - width + 1)
    return _among(first, first + width - 1, n)


def combined(progress: float, n: int) -> np.ndarray:
    """Half the frontier alone ("naive"), half all lengths ("mix")        Zaremba, Sutskever 2014 (arXiv 1410.4615)"""
    c = frontier(progress, n)
    return 0.5 * _among(c, c, n) + 0.5 * _among(1, n, n)


def look_back_and_forward(progress: float, n: int) -> np.ndarray:
    """The same with 80 % at the frontier        Collier, Beel 2018 (CEUR-WS vol. 2259, paper 15) and their code"""
    c = frontier(progress, n)
    return 0.8 * _among(c, c, n) + 0.2 * _among(1, n, n)


SCHEDULES: dict[str, Callable[[float, int], np.ndarray]] = {
    schedule.__name__: schedule
    for schedule in (
        short_first, long_first, uniform, target_only, linear_window, combined, look_back_and_forward,
    )
}  # fmt: skip
BANDIT = "bandit"


class Exp3S:
    """A bandit over lengths that is paid in learning progress        Graves et al. 2017 (arXiv 1704.03003)

    pi = (1 - epsilon) softmax(w) + epsilon / n. Its reward is the prediction gain per time step of the batch,
    (L(x, theta) - L(x, theta')) / tau, scaled so that the 20th and 80th percentiles of all rewards so far become -1 and 1,
    and cut there. The fixed share alpha = 1/t keeps every length within reach. beta = 0, as in the paper.
    """

    ETA, EPSILON = 1e-3, 0.05  # the paper's

    def __init__(self, n: int) -> None:
        self.w = np.zeros(n)
        self.rewards: list[float] = []
        self.pending: tuple[int, float] | None = None  # the length that was played, and its loss before the step

    def probabilities(self) -> np.ndarray:
        e = np.exp(self.w - self.w.max())
        return (1 - self.EPSILON) * e / e.sum() + self.EPSILON / len(e)

    def update(self, length: int, reward: float) -> None:
        self.rewards.append(reward)
        low, high = np.quantile(self.rewards, [0.2, 0.8])
        r = np.clip(2 * (reward - low) / (high - low) - 1, -1, 1) if high > low else 0.0
        played = np.zeros(len(self.w))
        played[length - 1] = r / self.probabilities()[length - 1]
        alpha = 1 / (len(self.rewards) + 1)
        w = self.w + self.ETA * played
        e = np.exp(w - w.max())
        self.w = np.log((1 - alpha) * e + alpha * (e.sum() - e) / (len(e) - 1))

    def state_dict(self) -> dict:
        return {"w": self.w.tolist(), "rewards": list(self.rewards), "pending": self.pending}

    def load_state_dict(self, state: dict) -> None:
        self.w, self.rewards, self.pending = np.array(state["w"]), list(state["rewards"]), state["pending"]


# Sequences


def encode(bits: Tensor, repeats: int) -> tuple[Tensor, Tensor, Tensor]:
    """Input, target and mask of sequences of one length. bits: (L, B, W), 0 or 1.

        L = 3, R = 2     time     0   1   2   3   4   5   6   7   8   9  10  11
        input   W bits            .   b1  b2  b3  .   .   .   .   .   .   .   .     1 and -1, so that 0 is silence
                start             1   .   .   .   .   .   .   .   .   .   .   .
                repeats           .   .   .   .   R   .   .   .   .   .   .   .
        target  W bits                                b1  b2  b3  b1  b2  b3  .
                end                                   .   .   .   .   .   .   1
        mask    W bits                                1   1   1   1   1   1   .
                end                                   1   1   1   1   1   1   1

    Input (L + 2 + RL + 1, B, W + 2). Target (RL + 1, B, W + 1) and mask (RL + 1, 1, W + 1) cover the answer alone, which is
    the end of the input. The mask is 1 where an answer is asked for.
    """
    L, B, W = bits.shape
    answer = repeats * L + 1
    x, y = bits.new_zeros(L + 2 + answer, B, W + 2), bits.new_zeros(answer, B, W + 1)
    x[0, :, W] = 1
    x[1 : L + 1, :, :W] = 2 * bits - 1
    x[L + 1, :, W + 1] = repeats
    y[:-1, :, :W] = bits.repeat(repeats, 1, 1)
    y[-1, :, W] = 1
    mask = bits.new_ones(answer, 1, W + 1)
    mask[-1, :, :W] = 0
    return x, y, mask


def bits_per_answer(z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Mean of -log2 p(target) over what the mask asks for; 1 is chance. z: logits like y, (A, B, W + 1)."""
    losses = F.binary_cross_entropy_with_logits(z, y, reduction="none") * mask
    return losses.sum() / (mask.sum() * y.shape[1] * math.log(2))


def quality(z: Tensor, y: Tensor, mask: Tensor) -> tuple[float, float]:
    """Bits per target bit (1 is chance; the end marker does not count), and the share of sequences of which every bit and
    the end marker are right."""
    data = mask.clone()
    data[..., -1] = 0
    right = ((z > 0) == (y > 0)) | (mask == 0)
    return float(bits_per_answer(z, y, data)), float(right.all(-1).all(0).float().mean())


@dataclass(frozen=True)
class Config:
    """One student.

    schedule: who chooses the lengths, a name of SCHEDULES or "bandit". max_length: longest trained sequence, in bit
    vectors; bits: width of a vector; repeats: how often the sequence is said. ramp: the share of the training after which
    a curriculum has come to its end. cells: of the LSTM. steps, batch_size: batches and sequences in each, all of one
    length. lr: peak learning rate of Adam. seed: initial weights, training sequences and draws of the schedule.
    """

    schedule: Annotated[str, one_of(*SCHEDULES, BANDIT)]
    max_length: Annotated[int, above(1)]
    repeats: Annotated[int, above(0)]
    bits: Annotated[int, above(0)]
    cells: Annotated[int, above(0)]
    ramp: Annotated[float, between(0, 1, "(]")]
    steps: Annotated[int, above(0)]
    batch_size: Annotated[int, above(0)]
    lr: Annotated[float, above(0)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)


@dataclass(frozen=True)
class Task:
    """What the held-out sequences depend on."""

    max_length: int
    bits: int


class RepeatCopy(Pack):
    """Students of one schedule, one after another in a loop: on a CPU that is faster than stacking LSTMs.

    The sequences of a batch share their length: nothing is padded, and a batch is one play of the bandit.
    """

    config_type = Config
    may_differ = frozenset({"lr"})
    students: Copiers

    @staticmethod
    def artifact(config: Config) -> Task:
        return Task(config.max_length, config.bits)

    @staticmethod
    def prepare(artifact: Task, datasets: Mapping, device: str) -> tuple[dict[str, np.ndarray], dict]:
        """Held-out bit vectors, (sequences, longest, bits) for each of `val` and `test`, and their row for `tasks`.

        A held-out sequence of length L is the first L vectors of one of them. They are the same for every seed, and from
        streams that no training reads; yet of the shortest sequences there are too few to keep training from meeting them.
        """
        shape = (BEYOND * artifact.max_length, artifact.bits)
        held_out = {
            name: np.random.default_rng(substream(0, purpose)).integers(0, 2, (count, *shape), np.uint8)
            for name, purpose, count in (
                ("val", VALIDATION, VALIDATION_SEQUENCES), ("test", TEST, TEST_SEQUENCES),
            )
        }  # fmt: skip
        counts = {f"{name}_sequences": len(sequences) for name, sequences in held_out.items()}
        return held_out, {"max_length": artifact.max_length, "bits": artifact.bits, **counts}

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Memory that one more student takes on the device, in bytes: weights, gradients, Adam's moments; activations."""
        weights = 4 * config.cells * (config.bits + 2 + config.cells + 2)
        steps = (1 + config.repeats) * config.max_length + 3
        return 4 * (4 * weights + 12 * steps * max(config.batch_size, TEST_SEQUENCES) * config.cells)

    def __init__(self, configs: Sequence[Config], datasets: Mapping, answers: Mapping, device: str) -> None:
        super().__init__(configs, device)
        c = self.common
        start = substream(c.seed, WEIGHTS)
        self.students = Copiers(c.bits + 2, c.cells, c.bits + 1, start, [p.lr for p in configs], self.device)
        self.held_out = {name: torch.from_numpy(np.array(a)).float().to(self.device) for name, a in answers.items()}
        self.bandits = [Exp3S(c.max_length) for _ in configs] if c.schedule == BANDIT else []
        self.tokens = [0] * len(configs)  # time steps of all training sequences, read and answered
        self.plays = np.zeros((len(configs), c.max_length))  # batches of every length since the last evaluation

    def evaluations(self) -> list[int]:
        steps = self.common.steps
        return sorted({max(1, round(steps * (i + 1) / EVALUATIONS)) for i in range(EVALUATIONS)})

    def loss(self, step: int) -> Tensor:
        return torch.stack([self._loss(s, step) for s in range(len(self.configs))])

    def _loss(self, s: int, step: int) -> Tensor:
        c = self.common
        if self.bandits:
            self._reward(s, step)
            p = self.bandits[s].probabilities()
        else:
            p = SCHEDULES[c.schedule](min(step / (c.steps * c.ramp), 1.0), c.max_length)
        g = self._generator(step)
        u = float(torch.rand((), generator=g, dtype=torch.float64))
        length = 1 + min(int(np.searchsorted(p.cumsum(), u, side="right")), c.max_length - 1)
        loss = self._on_batch(s, length, g)
        self.plays[s, length - 1] += 1
        self.tokens[s] += c.batch_size * ((1 + c.repeats) * length + 3)
        if self.bandits:
            self.bandits[s].pending = length, loss.item()
        return loss

    @torch.no_grad()
    def _reward(self, s: int, step: int) -> None:
        """Pays the bandit for the last batch: how much the step on it lowered its own loss, per time step."""
        bandit = self.bandits[s]
        if bandit.pending:
            length, before = bandit.pending
            g = self._generator(step - 1)
            torch.rand((), generator=g, dtype=torch.float64)  # the draw of the length came first
            gain = before - float(self._on_batch(s, length, g))
            bandit.update(length, gain / ((1 + self.common.repeats) * length + 3))

    def _generator(self, step: int) -> torch.Generator:
        """Random numbers of a training step: those of every schedule with this seed."""
        return torch.Generator().manual_seed(substream(self.common.seed, TRAINING, step))

    def _on_batch(self, s: int, length: int, g: torch.Generator) -> Tensor:
        c = self.common
        bits = torch.randint(0, 2, (length, c.batch_size, c.bits), generator=g).float().to(self.device)
        x, y, mask = encode(bits, c.repeats)
        return bits_per_answer(self.students.nets[s](x)[-len(y) :], y, mask)

    def measure(self) -> dict[str, Tensor]:
        """Means over the trained lengths; what each length has is kept for `tables`."""
        n, splits = self.common.max_length, ["val", "test"] if self.finished else ["val"]
        longest = BEYOND * n if self.finished else n
        self.by_length = [
            [self._quality(s, length, splits) for length in range(1, longest + 1)] for s in range(len(self.configs))
        ]
        names = [name for name in self.by_length[0][0] if name != "length"]
        means = {name: [np.mean([line[name] for line in lines[:n]]) for lines in self.by_length] for name in names}
        return {name: torch.tensor(values) for name, values in {**means, "tokens": self.tokens}.items()}

    @torch.no_grad()
    def _quality(self, s: int, length: int, splits: Sequence[str]) -> dict[str, float]:
        line: dict[str, float] = {"length": length}
        for split in splits:
            x, y, mask = encode(self.held_out[split][:, :length].transpose(0, 1), self.common.repeats)
            z = self.students.nets[s](x)[-len(y) :]
            line[f"{split}_bits"], line[f"{split}_exact"] = quality(z, y, mask)
        return line

    def tables(self) -> list[dict[str, list[dict]]]:
        """Of every length: quality, and its share in the batches since the last evaluation."""
        shares = self.plays / self.plays.sum(1, keepdims=True)
        self.plays = np.zeros_like(self.plays)
        return [
            {"lengths": [
                {**line, "share": float(share[i]) if i < len(share) else 0.0} for i, line in enumerate(lines)
            ]}
            for lines, share in zip(self.by_length, shares, strict=True)
        ]  # fmt: skip

    def state_dict(self) -> dict:
        bandits = [bandit.state_dict() for bandit in self.bandits]
        return {**super().state_dict(), "tokens": list(self.tokens), "bandits": bandits}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.tokens = list(state["tokens"])
        for bandit, saved in zip(self.bandits, state["bandits"], strict=True):
            bandit.load_state_dict(saved)


class Copier(nn.Module):
    """An LSTM with a linear read-out: (T, B, inputs) -> (T, B, outputs). Weights are drawn as torch does by default; forget
    gates are open at first (Jozefowicz et al. 2015). nn.LSTM's second bias stays 0: it only doubles the first."""

    def __init__(self, inputs: int, cells: int, outputs: int, seed: int) -> None:
        super().__init__()
        self.lstm, self.readout = nn.LSTM(inputs, cells), nn.Linear(cells, outputs)
        g, biases = torch.Generator().manual_seed(seed), dict(self.lstm.named_parameters())
        with torch.no_grad():
            for p in self.parameters():
                p.copy_((torch.rand(p.shape, generator=g) * 2 - 1) * cells**-0.5)
            biases["bias_ih_l0"][cells : 2 * cells] = 1
            biases["bias_hh_l0"].zero_().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.lstm(x)[0])


class Copiers:
    """Networks from the same initial weights, each with its own Adam. lr: one per student, (S,)."""

    def __init__(
        self, inputs: int, cells: int, outputs: int, seed: int, lr: Sequence[float], device: torch.device
    ) -> None:
        self.lr = list(lr)
        self.nets = [Copier(inputs, cells, outputs, seed).to(device) for _ in lr]
        self.trained = [[p for p in net.parameters() if p.requires_grad] for net in self.nets]
        self.optimisers = [torch.optim.Adam(p, fused=True) for p in self.trained]

    def step(self, loss: Tensor, lr_scale: float = 1.0) -> None:
        """One step of Adam for every student, on its own gradient, cut to the norm CLIP. loss: (S,)."""
        gradients = torch.autograd.grad(loss.sum(), [p for trained in self.trained for p in trained])
        own = iter(gradients)
        for lr, trained, optimiser in zip(self.lr, self.trained, self.optimisers, strict=True):
            for p in trained:
                p.grad = next(own)
            nn.utils.clip_grad_norm_(trained, CLIP, foreach=True)
            optimiser.param_groups[0]["lr"] = lr * lr_scale
            optimiser.step()

    def state_dict(self) -> dict:
        """Everything that resumed students need, as copies."""
        return {
            "nets": [copy.deepcopy(net.state_dict()) for net in self.nets],
            "optimisers": [copy.deepcopy(optimiser.state_dict()) for optimiser in self.optimisers],
        }

    def load_state_dict(self, state: dict) -> None:
        for net, saved in zip(self.nets, state["nets"], strict=True):
            net.load_state_dict(saved)
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
