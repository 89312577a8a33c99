"""All thresholds of 10,000 x 512 vectors: the exact dynamic programme against scikit-learn's KMeans per component, and libraries.

    python benchmarks/scalar_quantization.py [--bits 1 4 6 8] [--components 512] [--few 2]

Ours trains all components, and in one pass all numbers of bits up to the one asked for; the others train `few` of the components, and their
time is that of one times the number of components. Seconds of one core; in brackets of the processor, which a busy machine disturbs less. Error: the
summed squared error of these few components, as a multiple of ours. numpy: the same programme with every split point tried at once, a row of the
table in one expression for each last point, as it is without a compiled loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import side_by_side
from side_by_side import clocked, said

from studies.harness.engine import prepare_process
from trainables.core.levels import exact


@dataclass
class Arguments:
    vectors: int = 10_000
    """how many teach"""
    components: int = 512
    """of each vector"""
    bits: tuple[int, ...] = (1, 4, 6, 8)
    """of a component"""
    few: int = 2
    """components that the others train"""
    starts: int = 3
    """of scikit-learn's KMeans; more are better and slower"""


def by_sklearn(x: np.ndarray, k: int, starts: int) -> float:
    from sklearn.cluster import KMeans

    return float(KMeans(k, n_init=starts, random_state=0).fit(x[:, None]).inertia_)


def by_kmeans1d(x: np.ndarray, k: int) -> float:
    import kmeans1d

    found = kmeans1d.cluster(x, k)
    return float(((x - np.array(found.centroids)[found.clusters]) ** 2).sum())


def by_ckwrap(x: np.ndarray, k: int) -> float:
    import ckwrap

    return float(ckwrap.ckmeans(x, k).withinss.sum())


def by_numpy(x: np.ndarray, k: int) -> float:
    """E[k, i] = min over all j of E[k - 1, j - 1] + cost(j, i), one expression for each i."""
    x = np.sort(x)
    n, S, Q = len(x), np.append(0, np.cumsum(x)), np.append(0, np.cumsum(x * x))
    counts = np.arange(1, n + 1)
    row = Q[1:] - S[1:] ** 2 / counts
    for cells in range(1, k):
        new = np.zeros(n)
        for i in range(cells, n):
            j = np.arange(cells, i + 1)
            new[i] = (row[j - 1] + Q[i + 1] - Q[j] - (S[i + 1] - S[j]) ** 2 / (i + 1 - j)).min()
        row = new
    return float(row[-1])


def summed(method: Callable[[np.ndarray, int], float], columns: list[np.ndarray], k: int) -> float:
    """Squared error of all columns with k levels each."""
    return sum(method(column, k) for column in columns)


def main(a: Arguments) -> None:
    prepare_process(1)
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(a.vectors, a.components)) + rng.normal(size=a.components), 0).astype(np.float32)
    x[:, ::2] = rng.normal(size=(a.vectors, (a.components + 1) // 2))  # half of them normal, half after a ReLU
    exact(x[:100, :2], 2)  # compiled
    columns = [x[:, d].astype(np.float64) for d in range(a.few)]
    print(f"{a.vectors:,} x {a.components} vectors, one core", flush=True)
    for bits in a.bits:
        found, ours = clocked(partial(exact, x, bits))
        least = found[1][: a.few, bits].sum() * a.vectors
        print(f"{bits} bits, {2**bits} levels: ours {said(ours)} s", flush=True)
        rivals: dict[str, Callable[[np.ndarray, int], float]] = {
            f"KMeans, {a.starts} starts": lambda column, k: by_sklearn(column, k, a.starts), "ckwrap": by_ckwrap, "kmeans1d": by_kmeans1d,
        }  # fmt: skip
        if bits == 1:
            rivals["numpy"] = by_numpy
        for name, rival in rivals.items():
            errors, seconds = clocked(partial(summed, rival, columns, 2**bits))
            all_of_them = seconds * a.components / a.few
            print(
                f"    {name:17} {said(all_of_them)} s, ratio {said(all_of_them / ours)}, error {errors / least:.6f}",
                flush=True,
            )


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
