"""10^5 sign-flip permutations of 10^3 queries: ours, scipy.stats.permutation_test and a plain Python loop, side by side in one run.

    python benchmarks/search_quality.py [--queries 1000] [--permutations 100000]

One-sided p of the same paired differences of pFound. The plain loop, which would take minutes, is timed on a hundredth of the
permutations and its time multiplied. In brackets: processor time, which a busy machine disturbs less.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import side_by_side
from scipy.stats import permutation_test
from side_by_side import clocked, said

from trainables.search_quality.significance import randomisation

SHARE = 100  # of the permutations: one in so many that the plain loop does


@dataclass
class Arguments:
    queries: int = 1000
    """differences"""
    permutations: int = 100_000
    """drawn"""
    repeats: int = 3
    """of ours and scipy's, of which the fastest counts"""


def plain(d: np.ndarray, permutations: int, seed: int) -> float:
    """As one writes it first."""
    rng, values = random.Random(seed), d.tolist()
    seen, count = sum(values), 0
    for _ in range(permutations):
        count += sum(v if rng.random() < 0.5 else -v for v in values) >= seen
    return (count + 1) / (permutations + 1)


def library(d: np.ndarray, permutations: int, seed: int) -> float:
    found = permutation_test(
        (d,), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True, n_resamples=permutations,
        batch=1000, alternative="greater", rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.pvalue)


def main(a: Arguments) -> None:
    d = np.random.default_rng(0).normal(0.01, 0.2, a.queries)
    few = max(1, a.permutations // SHARE)
    randomisation(d, 100, np.random.default_rng(0)), library(d, 100, 0)  # both warm
    ours, least = clocked(lambda: float(randomisation(d, a.permutations, np.random.default_rng(1))), a.repeats)
    print(f"{a.permutations:,} permutations of {a.queries:,} queries")
    print(f"    {'ours':24} p {ours:.4f}  {said(least)} s")
    for name, value, seconds in (
        ("scipy.permutation_test", *clocked(lambda: library(d, a.permutations, 2), a.repeats)),
        (
            f"plain loop, {few:,} x {a.permutations / few:g}",
            *scaled(clocked(lambda: plain(d, few, 3)), a.permutations / few),
        ),
    ):
        print(f"    {name:24} p {value:.4f}  {said(seconds)} s, ratio {said(seconds / least)}", flush=True)


def scaled(found: tuple[float, np.ndarray], times: float) -> tuple[float, np.ndarray]:
    return found[0], found[1] * times


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
