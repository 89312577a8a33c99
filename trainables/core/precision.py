"""Which precision of its products trains a population faster and no worse: what `--precision auto` comes to; and how long a step takes.

bf16 where the processor has instructions for it, where it was shown to cost a network no accuracy, and where it is faster by a
tenth; else fp32. Imports torch only to look at a GPU, and to time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from trainables.core.nets import Layer

EQUAL: frozenset[tuple[str, str]] = frozenset(
    {("mnistm_kd", "cnn_small"), ("mnist_kd", "mlp_600"), ("missing_digit", "mlp_600"), ("pseudo_labels", "mlp_300")}
)
"""Studies whose students of a network were shown to be as accurate in bf16 as in fp32 (benchmarks/precision.py says what that takes)."""
INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux calls them: of x86, and of Arm
MOST = 0.9  # of the time of fp32 that bf16 may take
WARM, TIMED = 1, 12  # steps that are not timed, and most that are
LIMIT = 3.0  # seconds after which the next ones are let go
WIDEST = 16  # students side by side that are timed: two packs at once must not fill a GPU


def instructions(device: str) -> bool:
    """Whether the processor multiplies in bf16 by itself, as far as that can be known."""
    if device == "cuda":
        import torch

        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    info = Path("/proc/cpuinfo")
    return info.exists() and bool(INSTRUCTIONS & set(info.read_text().split()))


def against_bf16(study: str, networks: Iterable[str], device: str) -> str:
    """Why a study's students of these networks are trained in fp32, however long a step takes; empty where nothing is against bf16."""
    if not instructions(device):
        return f"this {'GPU' if device == 'cuda' else 'processor'} has no bf16"
    unknown = sorted(name for name in set(networks) if (study, name) not in EQUAL)
    return f"bf16 was not shown to be as accurate for {', '.join(unknown)}" if unknown else ""


def step_seconds(
    layers: Sequence[Layer], shape: tuple[int, ...], batch: int, ways: Sequence[tuple[str, int]], device: str
) -> list[float]:
    """Seconds of a training step for one student of a pack: medians of steps that take turns. They are seconds of the processor,
    which other work disturbs less; of a GPU by the clock. ways: the precision, and how many students are side by side."""
    import torch

    from trainables.core.losses import cross_entropy
    from trainables.core.population import Population

    clock, wait = time.process_time, lambda: None
    if device == "cuda":
        clock, wait = time.perf_counter, torch.cuda.synchronize
    x = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    x = x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
    y = torch.zeros(batch, dtype=torch.long, device=device)
    packs = [Population(layers, shape, [0] * n, [1e-3] * n, device, name) for name, n in ways]
    seconds: list[list[float]] = [[] for _ in packs]
    until = time.monotonic() + LIMIT
    while len(seconds[0]) <= WARM or (len(seconds[0]) < WARM + TIMED and time.monotonic() < until):
        for each, pack in zip(seconds, packs, strict=True):
            start = clock()
            pack.step(cross_entropy(pack.logits(x), y))
            wait()
            each.append((clock() - start) / len(pack))
    del packs, pack
    if device == "cuda":
        torch.cuda.empty_cache()  # for the workers, and for who asks how much is free
    return [statistics.median(each[WARM:]) for each in seconds]


def preferred(timed: Sequence[tuple[str, Mapping[str, float]]]) -> tuple[str, str]:
    """The precision for students of these networks, all alike, and what it was chosen by, in words. timed: names, and the seconds of
    a step in each precision."""
    pays = all(seconds["bf16"] <= MOST * seconds["fp32"] for _, seconds in timed)
    value, other = ("bf16", "fp32") if pays else ("fp32", "bf16")
    said = (
        f"{network}, a step of a student takes {1e3 * seconds[value]:.3g} ms of the processor, in {other} {1e3 * seconds[other]:.3g}"
        for network, seconds in timed
    )
    return value, f"{value}: {'; '.join(said)}"
