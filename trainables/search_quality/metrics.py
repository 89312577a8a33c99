"""Metrics of search quality, and what one may ask of a metric.

The usual: nDCG, ERR, RBP, AP, pFound. Three of our own: `swift_success`, `block_coverage`, `unharmed_success`. Ranks are the last
axis, (..., K), the first result first; grades are 0 to 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtr

from trainables.search_quality.worlds import HIGHEST, KINDS, Judged, draw, exponential

RELEVANT = 2  # the least grade that counts where a metric knows only yes or no
LEVEL = 0.05
EFFORT = np.array([1.0, 0.5, 0.5, 1.0])  # of a look at one element, in looks at a plain result, by kind
SIDE_BY_SIDE = (KINDS.index("image"), KINDS.index("ad"))
SEEN = np.array(
    [1.0, 1.0, 1.0, 0.5]
)  # chance that an element is taken note of, by kind: a guess, that half overlook ads


def discounts(K: int) -> np.ndarray:
    """1 / log2(1 + rank), (K,)"""
    return 1 / np.log2(np.arange(2, K + 2))


def ndcg(gains: np.ndarray, ideal: np.ndarray | None = None) -> np.ndarray:
    """DCG = sum gain_i / log2(1 + i), over that of the best order        Järvelin and Kekäläinen 2002, TOIS 20:422

    gains: (..., K) of the list; ideal: (..., N) of all that is judged, the list itself unless given. 0 where nothing is relevant.
    """
    K = gains.shape[-1]
    best = -np.sort(-(gains if ideal is None else ideal), axis=-1)[..., :K]
    found, norm = gains @ discounts(K), best @ discounts(best.shape[-1])
    return np.divide(found, norm, out=np.zeros_like(found), where=norm > 0)


def looks(leaves: np.ndarray) -> np.ndarray:
    """The chance that a user who goes down the page still looks at each result: product of 1 - leaves_j over those before, (..., K)"""
    stays = np.cumprod(1 - leaves[..., :-1], axis=-1)
    return np.concatenate([np.ones_like(leaves[..., :1]), stays], axis=-1)


def err(R: np.ndarray) -> np.ndarray:
    """sum 1/i R_i prod_(j<i) (1 - R_j)        Chapelle et al. 2009, CIKM; R: (..., K) chance that a result satisfies"""
    return (looks(R) * R) @ (1 / np.arange(1, R.shape[-1] + 1))


def rbp(gains: np.ndarray, p: float) -> np.ndarray:
    """(1 - p) sum gain_i p^(i-1)        Moffat and Zobel 2008, TOIS 27:2; gains: in [0, 1]; p: persistence"""
    return (1 - p) * gains @ p ** np.arange(gains.shape[-1])


def average_precision(relevant: np.ndarray, total: np.ndarray) -> np.ndarray:
    """sum of the precision at each relevant result, over the number of all that are relevant; 0 where none is

    relevant: (..., K) of 0 and 1; total: (...,) how many there are in all.
    """
    precision = np.cumsum(relevant, axis=-1) / np.arange(1, relevant.shape[-1] + 1)
    return np.divide((precision * relevant).sum(-1), total, out=np.zeros(relevant.shape[:-1]), where=total > 0)


def pfound(prel: np.ndarray, p_break: float) -> np.ndarray:
    """sum pLook_i pRel_i, pLook_1 = 1, pLook_i = pLook_(i-1) (1 - pRel_(i-1)) (1 - pBreak)        Segalovich 2010, ROMIP

    prel: (..., K) chance that a result is what was looked for; p_break: that the user gives up after one that is not.
    """
    return (looks(1 - (1 - prel) * (1 - p_break)) * prel).sum(-1)


# Three of our own


def swift_success(R: np.ndarray, kind: np.ndarray, p_break: float, patience: float) -> np.ndarray:
    """sum pLook_i R_i exp(-C_i / patience): success counts, the less the more effort went before

    C_i: effort up to and with element i, in looks at a plain result (`EFFORT`). R, kind: (..., K). Of the family of time-biased
    gain (Smucker and Clarke 2012, SIGIR), with pFound's user in place of its fixed decay.
    """
    spent = np.cumsum(EFFORT[kind], axis=-1)
    return (looks(1 - (1 - R) * (1 - p_break)) * R * np.exp(-spent / patience)).sum(-1)


def block_coverage(
    R: np.ndarray, kind: np.ndarray, intent: np.ndarray, weights: np.ndarray, decay: float
) -> np.ndarray:
    """sum_u w_u [1 - prod_(i of intent u) (1 - seen_i decay^(block_i) R_i)]: of all that people mean, what share the page serves

    Neighbouring images and neighbouring ads are one block, seen at one glance; every link and answer is one of its own. Rank counts
    blocks, not elements.
    seen: `SEEN` by kind. R, kind, intent: (..., K); weights w: (..., U), sum 1. Of the family of intent-aware metrics (Agrawal
    et al. 2009, WSDM).
    """
    new = np.ones_like(kind)
    new[..., 1:] = (kind[..., 1:] != kind[..., :-1]) | ~np.isin(kind[..., 1:], SIDE_BY_SIDE)
    served = SEEN[kind] * decay ** (np.cumsum(new, axis=-1) - 1) * R
    missed = [np.where(intent == u, 1 - served, 1.0).prod(-1) for u in range(weights.shape[-1])]
    return (weights * (1 - np.stack(missed, axis=-1))).sum(-1)


def unharmed_success(R: np.ndarray, harm: np.ndarray, p_break: float) -> np.ndarray:
    """sum pLook_i (1 - h_i) R_i, where a harmful element that is looked at ends the walk: success before any harm

    harm h: (..., K) of 0 and 1: broken, stale or misleading. pLook_i: chance of a look and of no harm before it.
    """
    good = (1 - harm) * R
    return (looks(1 - (1 - good) * (1 - harm) * (1 - p_break)) * good).sum(-1)


# A measure of judged pages, with its one parameter: the usual value, and a lower and a higher one that others would choose


def _ndcg(pages: Judged, power: float) -> np.ndarray:
    """power: of the gain 2^(power g) - 1; near 0 it is linear"""
    gains, ideal = (2.0 ** (power * np.maximum(g, 0)) - 1 for g in (pages.grades, pages.pool))
    return ndcg(gains, ideal[..., None, :])


def _average_precision(pages: Judged, least: float) -> np.ndarray:
    return average_precision(pages.grades >= least, (pages.pool >= least).sum(-1)[..., None])


Measure = Callable[[Judged, float], np.ndarray]
MEASURES: Mapping[str, tuple[Measure, float, tuple[float, float]]] = {
    "ndcg": (_ndcg, 1.0, (0.1, 1.5)),
    "err": (lambda pages, top: err(top * exponential(pages.grades)), 1.0, (0.5, 1.06)),
    "rbp": (lambda pages, p: rbp(np.maximum(pages.grades, 0) / HIGHEST, p), 0.8, (0.5, 0.95)),
    "ap": (_average_precision, float(RELEVANT), (1.0, 3.0)),
    "pfound": (lambda pages, p_break: pfound(exponential(pages.grades), p_break), 0.15, (0.05, 0.4)),
    "swift_success": (lambda pages, t: swift_success(exponential(pages.grades), pages.kind, 0.15, t), 5.0, (2.5, 10.0)),
    "block_coverage": (
        lambda pages, decay: block_coverage(
            exponential(pages.grades), pages.kind, pages.intent, pages.weights[..., None, :], decay
        ),
        0.8,
        (0.6, 0.95),
    ),
    "unharmed_success": (lambda pages, p_break: unharmed_success(exponential(pages.grades), pages.harm, p_break), 0.15, (0.05, 0.4)),
}  # fmt: skip
OWN = ("swift_success", "block_coverage", "unharmed_success")
COLUMNS = (
    *(
        "val_users_agreement",
        "test_users_agreement",
        "test_system_agreement",
        "test_separated_share",
        "test_wrong_share",
    ),
    *("test_kept_share", "test_parameter_share"),
)


def evaluate(measures: Sequence[str], c: Any) -> list[dict[str, Any]]:
    """What each measure is worth on the worlds of a config, see `COLUMNS`.

    users_agreement: share of pairs of pages for one query that it orders as the users' satisfaction does, a tie counting half;
    system_agreement: of pairs of systems by their means over a world's queries. separated_share: of pairs of systems that a paired
    t-test over a world's queries tells apart at 5 %; wrong_share: that it tells apart against the satisfaction on these queries.
    kept_share: of pairs of pages that are ordered with the missing judgements as without them; parameter_share: with the lower of the
    measure's own parameter as with the higher.
    """
    rows: list[dict[str, Any]] = [{} for _ in measures]
    for split in ("val", "test"):
        world = draw(c, split)
        judged, full = world.judged(c.depth, c.missing), world.judged(c.depth, 0.0)
        truth = differences(world.satisfaction(c.click_model))  # (W, Q, pairs)
        for row, name in zip(rows, measures, strict=True):
            formula, usual, (low, high) = MEASURES[name]
            pairs = differences(formula(judged, usual))
            row[f"{split}_users_agreement"] = alike(pairs, truth)
            if split == "test":
                separated = told_apart(pairs)
                wrong = separated & (np.sign(pairs.mean(1)) != np.sign(truth.mean(1)))
                row |= {
                    "test_system_agreement": alike(pairs.mean(1), truth.mean(1)),
                    "test_separated_share": float(separated.mean()),
                    "test_wrong_share": float(wrong.mean()),
                    "test_kept_share": alike(pairs, differences(formula(full, usual))),
                    "test_parameter_share": alike(*(differences(formula(judged, value)) for value in (low, high))),
                }
    return rows


def differences(values: np.ndarray) -> np.ndarray:
    """Of all pairs of systems, (..., S) -> (..., S (S - 1) / 2); what is no more than rounding is 0."""
    first, second = np.triu_indices(values.shape[-1], 1)
    found = values[..., first] - values[..., second]
    return np.where(np.abs(found) > 1e-9, found, 0.0)


def alike(found: np.ndarray, truth: np.ndarray) -> float:
    """The share of differences with the sign of the true one, 0 counting half; where the truth has none it is not asked."""
    agree = np.sign(found) * np.sign(truth)
    return float((1 + agree[truth != 0]).mean() / 2)


def told_apart(pairs: np.ndarray) -> np.ndarray:
    """Which mean differences over queries a paired t-test tells from 0, two-sided at 5 %: (W, Q, pairs) -> (W, pairs)"""
    Q = pairs.shape[1]
    error = pairs.std(1, ddof=1) / np.sqrt(Q)
    t = np.divide(pairs.mean(1), error, out=np.zeros_like(error), where=error > 0)
    return 2 * stdtr(Q - 1, -np.abs(t)) < LEVEL
