"""Why faiss PQ or bits allocated after PCA have the nearer neighbours: the checks that the card of scalar_quantization quotes.

    python benchmarks/quantization_why.py [RUN] [--dataset mnist] [--bits 1 2 4]

The vectors of a run of scalar_quantization, split as for its seed 0, are quantised as they are, after the principal axes of the teaching vectors and
after those of the database itself; then copies of them: Gaussian vectors of the same mean and covariance (what is left of an order of the
methods is due to second moments), and the same vectors with every component shuffled apart (their components no longer depend on each other).
Printed: error (of the variance, in %, of the teaching vectors and of the database) and recall@10. One seed: an argument, no proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import side_by_side
import tyro

from analysis.core import records
from studies.harness.engine import prepare_process
from trainables.core import levels
from trainables.core.batches import substream
from trainables.scalar_quantization import (
    TEACHING,
    Config,
    by_faiss,
    nearest_of,
    rotation,
    shared_neighbours,
)  # fmt: skip

Vectors = tuple[np.ndarray, ...]  # teaching vectors, database, queries


@dataclass
class Arguments:
    run: Annotated[str, tyro.conf.Positional] = "latest"
    """the run whose vectors are taken: its name, folder, or latest"""
    dataset: str = "cifar10"
    """which of its data sets"""
    bits: tuple[int, ...] = (1, 2, 4)
    """of a component, in the mean"""
    root: str = "results"
    """where runs lie"""


def main(a: Arguments) -> None:
    prepare_process(1)
    folder = Path(a.run) if Path(a.run).is_dir() else records.find_run("scalar_quantization", a.run, root=a.root)
    kept = records.read(folder, f"embeddings_{a.dataset}")
    split = {name: np.stack(list(part["vector"])).astype(np.float32) for name, part in kept.groupby("split")}
    every = split["train"]
    order, third = np.random.default_rng(substream(0, TEACHING)).permutation(len(every)), len(every) // 3
    real = every[order[:third]], every[np.sort(order[third:])], split["test"]
    print(
        f"{a.dataset}, {third:,} teaching vectors, {len(real[1]):,} in the database, {len(real[2]):,} queries, of {folder.name}"
    )
    print(f"values that are 0: {100 * (every == 0).mean():.0f} %, at 6: {100 * (every >= 5.99).mean():.0f} %")
    for name, axes in (("components", None), ("principal axes", rotation(real[0]))):
        print(
            f"variances of {name}: arithmetic over geometric mean {spread(real[1] if axes is None else real[1] @ axes):.1f}"
        )

    rng = np.random.default_rng(5)
    variances, axes = np.linalg.eigh(np.cov(every, rowvar=False))
    turn = axes * np.sqrt(np.maximum(variances, 0))
    gaussian: Vectors = tuple((rng.normal(size=x.shape) @ turn.T + every.mean(0)).astype(np.float32) for x in real)
    mixed = np.concatenate(real)
    for column in mixed.T:
        column[:] = column[rng.permutation(len(column))]
    shuffled: Vectors = tuple(np.split(mixed, np.cumsum([len(x) for x in real])[:2]))
    for name, vectors in (("as they are", real), ("Gaussian", gaussian), ("shuffled", shuffled)):
        compare(name, vectors, a)


def spread(x: np.ndarray) -> float:
    """Of the variances of those components that vary: their arithmetic mean over the geometric."""
    variances = x.var(0)
    variances = variances[variances > 1e-8 * variances.max()]
    return float(variances.mean() / np.exp(np.log(variances).mean()))


def compare(name: str, vectors: Vectors, a: Arguments) -> None:
    taught, database, queries = vectors
    true = nearest_of(queries, database)[:, :10]

    def line(method: str, turn: str, bits: int, restored: Vectors, given: Vectors) -> None:
        errors = [
            ((r - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum() for r, x in zip(restored[:2], given[:2], strict=True)
        ]
        recall = shared_neighbours(nearest_of(given[2], restored[1])[:, :10], true)
        said = f"error {100 * errors[0]:5.1f} % taught, {100 * errors[1]:5.1f} database, recall@10 {100 * recall:.1f} %"
        print(f"  {name:12s}{method:10s}{turn:18s}{bits} bits  {said}", flush=True)

    for turn, axes in (("no turn", None), ("principal axes", rotation(taught)), ("the database's", rotation(database))):
        given: Vectors = vectors if axes is None else tuple(np.ascontiguousarray(x @ axes) for x in vectors)
        thresholds, errors = levels.exact(given[0])
        for bits in a.bits:
            books = {
                "exact": levels.best(thresholds, bits),
                "allocated": levels.mixed(thresholds, levels.allocate(errors, bits * taught.shape[1])),
            }
            for method, book in books.items():
                restored = tuple(book.decode(book.encode(x)) for x in given[:2])
                line(method, turn, bits, (*restored, given[2]), given)
    for bits in a.bits:
        made = by_faiss(Config(a.dataset, "faiss_pq", "none", bits, 0), taught, database)
        line("faiss_pq", "no turn", bits, (made.taught, made.restored, queries), vectors)


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
