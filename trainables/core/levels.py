"""Scalar quantisation: every component of a vector has levels and thresholds of its own (product quantisation with M = D).

`exact` finds the levels with the least squared error there is: optimal k-means in one dimension by dynamic programming over the
sorted values (Bruce 1965; Wang, Song 2011; Gronlund et al. 2017, arXiv 1701.07204). With cost(j, i) the squared error of the values j..i
in one cell,

    E[k, i] = min over j of  E[k - 1, j - 1] + cost(j, i)

and the best j grows with i and with k, so that few are tried. One pass over k gives the optimum for every number of levels.
`uniform`, `quantile` and `lloyd` are what it is compared with. The loops are numba's: a step needs the one before it, which numpy
can only do by trying all j (`benchmarks/scalar_quantization.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

MOST_BITS = 8  # a code is a byte at most


@dataclass(frozen=True)
class Codebook:
    """Levels of D components. levels: (D, K) float32, ascending; thresholds: (D, K - 1), x is in the cell after all thresholds that
    are below it; bits: (D,), of each code. A component of fewer than log2 K bits uses the first 2^bits levels."""

    levels: np.ndarray
    thresholds: np.ndarray
    bits: np.ndarray

    @property
    def bytes(self) -> int:
        """Of one packed vector."""
        return -(-int(self.bits.sum()) // 8)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Codes (N, D) uint8 of vectors (N, D)."""
        return _encode(np.ascontiguousarray(x, np.float32), self.thresholds)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Vectors (N, D) float32 of codes."""
        return self.levels[np.arange(len(self.levels)), codes]

    def pack(self, codes: np.ndarray) -> np.ndarray:
        """Codes in as few bytes as their bits fill, (N, bytes) uint8."""
        each = np.unpackbits(codes[..., None], axis=-1)  # (N, D, 8), the highest bit first
        return np.packbits(each[:, self._used], axis=1)

    def unpack(self, packed: np.ndarray) -> np.ndarray:
        """Codes (N, D) of packed ones."""
        each = np.zeros((len(packed), len(self.bits), 8), np.uint8)
        each[:, self._used] = np.unpackbits(packed, axis=1, count=int(self.bits.sum()))
        return np.packbits(each, axis=-1)[..., 0]

    @property
    def _used(self) -> np.ndarray:
        return np.arange(8) >= 8 - self.bits[:, None]  # (D, 8)

    def tables(self, queries: np.ndarray) -> np.ndarray:
        """(query - level)^2 of every component and level, (Q, D, K)."""
        return (queries[:, :, None] - self.levels) ** 2

    def distances(self, queries: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Squared distances (Q, N) of queries, which are not quantised, to coded vectors: sums of table entries (asymmetric
        distances, Jegou et al. 2011, section III)."""
        return np.stack([_sums(self.tables(q[None])[0], codes) for q in np.asarray(queries, np.float32)])


def uniform(x: np.ndarray, bits: int) -> Codebook:
    """The range of each component in 2^bits equal cells, their middles as levels. x: (n, D)."""
    low, high = x.min(0)[:, None].astype(np.float64), x.max(0)[:, None].astype(np.float64)
    k = 2**bits
    return _codebook(low + (high - low) * (np.arange(k) + 0.5) / k, low + (high - low) * np.arange(1, k) / k, bits)


def quantile(x: np.ndarray, bits: int) -> Codebook:
    """Cells of as many values each, their means as levels. x: (n, D)."""
    values, k = _sorted(x), 2**bits
    at = np.maximum(np.arange(1, k) * values.shape[1] // k, 1)
    thresholds = (values[:, at - 1] + values[:, at]) / 2
    return _codebook(_means(values, thresholds), thresholds, bits)


def lloyd(x: np.ndarray, bits: int, seed: int, starts: int = 3, rounds: int = 100) -> Codebook:
    """Lloyd-Max (Lloyd 1982; Max 1960): means of cells and middles between means in turn, until nothing moves or for so many
    rounds; from the levels of `uniform` and `quantile` and from `starts` draws of values, for each component the best. x: (n, D)."""
    values, rng = _sorted(x), np.random.default_rng(seed)
    k = min(2**bits, values.shape[1])
    drawn = [np.sort(values[:, rng.choice(values.shape[1], k, replace=False)], axis=1) for _ in range(starts)]
    drawn = [np.pad(each, ((0, 0), (0, 2**bits - k)), mode="edge") for each in drawn]
    first = np.stack([uniform(x, bits).levels.astype(np.float64), quantile(x, bits).levels.astype(np.float64), *drawn])
    return _between(_lloyd(values, first, rounds), bits)


def exact(x: np.ndarray, most: int = MOST_BITS) -> tuple[np.ndarray, np.ndarray]:
    """The levels of least squared error at 0, 1, ... most bits, (D, 2^(most + 1) - 1), those of b bits from 2^b - 1 on (see `best`), and
    the mean squared error of each component at each, (D, most + 1); all in one pass. x: (n, D)."""
    values = _sorted(x)
    levels = np.empty((len(values), 2 ** (most + 1) - 1))
    errors = np.empty((len(values), most + 1))
    for d, column in enumerate(values):
        points, counts = np.unique(column, return_counts=True)
        _exact(points, counts.astype(np.float64), levels[d], errors[d])
    return levels, errors / values.shape[1]


def best(levels: np.ndarray, bits: int) -> Codebook:
    """The codebook of so many bits for every component, of what `exact` found."""
    return _between(levels[:, 2**bits - 1 : 2 ** (bits + 1) - 1], bits)


def allocate(errors: np.ndarray, total: int) -> np.ndarray:
    """Bits of each component, (D,), that sum to `total` and have the least summed error, by dynamic programming over components and
    bits spent: with exact errors the best there is. errors: (D, most + 1), at 0, 1, ... bits."""
    D, options = errors.shape
    if total > D * (options - 1):
        raise ValueError(f"{D} components of at most {options - 1} bits cannot have {total} bits")
    best = np.full(total + 1, np.inf)
    best[0] = 0
    taken = np.empty((D, total + 1), np.int8)
    for d, each in enumerate(errors):
        tried = np.full((options, total + 1), np.inf)
        for b in range(min(options, total + 1)):
            tried[b, b:] = best[: total + 1 - b] + each[b]
        taken[d] = tried.argmin(0)
        best = tried.min(0)
    bits, left = np.empty(D, np.int64), total
    for d in range(D - 1, -1, -1):
        bits[d] = taken[d, left]
        left -= bits[d]
    return bits


def mixed(levels: np.ndarray, bits: np.ndarray) -> Codebook:
    """One codebook of components with different bits, (D,), of the levels that `exact` found."""
    K = 2 ** int(bits.max())
    own, thresholds = np.empty((len(bits), K), np.float32), np.full((len(bits), K - 1), np.inf, np.float32)
    for b in np.unique(bits):
        of, part = bits == b, best(levels, int(b))
        own[of, : 2**b], own[of, 2**b :] = part.levels[of], part.levels[of, -1:]
        thresholds[of, : 2**b - 1] = part.thresholds[of]
    return Codebook(own, thresholds, bits)


def _sorted(x: np.ndarray) -> np.ndarray:
    """Values of each component, (D, n) float64, ascending."""
    return np.sort(np.ascontiguousarray(x.T, np.float64), axis=1)


def _codebook(levels: np.ndarray, thresholds: np.ndarray, bits: int) -> Codebook:
    levels, thresholds = (np.ascontiguousarray(values, np.float32) for values in (levels, thresholds))
    return Codebook(levels, thresholds, np.full(len(levels), bits))


def _between(levels: np.ndarray, bits: int) -> Codebook:
    """Thresholds in the middle between levels: every value goes to the nearest."""
    return _codebook(levels, (levels[:, 1:] + levels[:, :-1]) / 2, bits)


@numba.njit(cache=True)
def _encode(x, thresholds):
    N, D = x.shape
    codes = np.empty((N, D), np.uint8)
    for d in range(D):
        own = thresholds[d]
        for n in range(N):
            codes[n, d] = np.searchsorted(own, x[n, d])
    return codes


@numba.njit(cache=True)
def _sums(table, codes):
    """(N,) sums over the components of table[d, codes[n, d]]."""
    found = np.zeros(len(codes), np.float32)
    for n in range(len(codes)):
        total = np.float32(0)
        for d in range(codes.shape[1]):
            total += table[d, codes[n, d]]
        found[n] = total
    return found


@numba.njit(cache=True)
def _cells(values, totals, thresholds, levels):
    """Means of the cells into `levels`, which keep what they are where a cell is empty; totals: cumulated values from 0 on."""
    before, n = 0, len(values)
    for k in range(len(levels)):
        until = np.searchsorted(values, thresholds[k], side="right") if k < len(thresholds) else n
        if until > before:
            levels[k] = (totals[until] - totals[before]) / (until - before)
        before = until


@numba.njit(cache=True)
def _means(values, thresholds):
    D, n = values.shape
    levels = np.empty((D, thresholds.shape[1] + 1))
    for d in range(D):
        totals = np.zeros(n + 1)
        totals[1:] = np.cumsum(values[d])
        levels[d, :-1] = thresholds[d]
        levels[d, -1] = values[d, -1]
        _cells(values[d], totals, thresholds[d], levels[d])
    return levels


@numba.njit(cache=True)
def _lloyd(values, first, rounds):
    """values: (D, n), ascending; first: levels of each start, (starts, D, K). The best levels (D, K)."""
    starts, D, K = first.shape
    n = values.shape[1]
    best = np.empty((D, K))
    for d in range(D):
        totals = np.zeros(n + 1)
        totals[1:] = np.cumsum(values[d])
        least = np.inf
        for s in range(starts):
            levels = first[s, d].copy()
            for _ in range(rounds):
                old = levels.copy()
                _cells(values[d], totals, (old[1:] + old[:-1]) / 2, levels)
                if (levels == old).all():
                    break
            thresholds, error, k = (levels[1:] + levels[:-1]) / 2, 0.0, 0
            for i in range(n):
                while k < K - 1 and values[d, i] > thresholds[k]:
                    k += 1
                error += (values[d, i] - levels[k]) ** 2
            if error < least:
                least = error
                best[d] = levels
    return best


@numba.njit(cache=True)
def _visits(m, halving):
    """In which order the last points i of a row are visited, (m, 3): i, and two points visited before, left and right of i, between
    whose j lies that of i; -1 for none. halving: the middle first, then the middles of both sides; else from the last one down."""
    visits, at, stride = np.empty((m, 3), np.int64), 0, 1
    while halving and stride < m:
        stride *= 2
    while halving and stride > 0:
        for i in range(stride - 1, m, 2 * stride):
            visits[at] = i, (i - stride if i >= stride else -1), (i + stride if i + stride < m else -1)
            at += 1
        stride //= 2
    for i in range(m - 1 - at, -1, -1):
        visits[m - 1 - i] = i, -1, (i + 1 if i + 1 < m else -1)
    return visits


@numba.njit(cache=True)
def _row(k, visits, before, start_before, W, S, Q, now, start):
    """E[k, i] into `now` and the best j, the first of several, into `start`, for all i; `before` and `start_before` are those of k - 1."""
    for v in range(len(visits)):
        i = visits[v, 0]
        if i <= k:  # a cell for each point
            start[i], now[i] = i, 0.0
            continue
        low, high = max(k, start_before[i]), i
        if visits[v, 1] >= 0:
            low = max(low, start[visits[v, 1]])
        if visits[v, 2] >= 0:
            high = max(low, min(high, start[visits[v, 2]]))
        at, least = low, np.inf
        w, s, q = W[i + 1], S[i + 1], Q[i + 1]
        for j in range(low, high + 1):
            total = s - S[j]
            value = before[j - 1] + max(q - Q[j] - total * total / (w - W[j]), 0.0)
            if value < least:
                at, least = j, value
        start[i], now[i] = at, least


@numba.njit(cache=True)
def _exact(points, weights, levels, errors):
    """One component. points: (m,), ascending, different; weights: how often each is there; levels: (2^(B + 1) - 1,), filled with those
    of 0 to B bits; errors: (B + 1,), filled with their summed squared errors."""
    m, bits = len(points), len(errors) - 1
    K = min(2**bits, m)
    x = points - (points * weights).sum() / weights.sum()  # so that no squares cancel
    W, S, Q = np.zeros(m + 1), np.zeros(m + 1), np.zeros(m + 1)
    W[1:], S[1:], Q[1:] = np.cumsum(weights), np.cumsum(weights * x), np.cumsum(weights * x * x)
    start = np.zeros((K, m), np.int32)  # of the last cell of 0..i in k + 1 cells
    now, before, total = Q[1:] - S[1:] ** 2 / W[1:], np.empty(m), np.zeros(K)
    total[0] = now[m - 1]
    halving, down = _visits(m, True), _visits(m, False)
    for k in range(1, K):
        before, now = now, before
        visits = halving if k * k * np.log2(m) < 2 * m else down  # with many cells neighbours alone bound j well
        _row(k, visits, before, start[k - 1], W, S, Q, now, start[k])
        total[k] = now[m - 1]
    for b in range(bits + 1):
        cells = min(2**b, K)
        errors[b] = max(total[cells - 1], 0.0)
        own = levels[2**b - 1 : 2 ** (b + 1) - 1]
        end = m
        for k in range(cells - 1, -1, -1):
            j = start[k, end - 1]
            own[k] = (points[j:end] * weights[j:end]).sum() / (W[end] - W[j])
            end = j
        own[cells:] = own[cells - 1]  # fewer different values than levels
