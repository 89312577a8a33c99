"""Simulated results pages, the users who look at them, and the judges who grade them.

W worlds of Q queries and S systems. Each query has N candidates; a system sorts them by what it believes of them and shows
the first K. Arrays of pages are (W, Q, S, K).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

KINDS = ("organic", "answer", "image", "ad")
PAGES = ("plain", "mixed")
CLICK_MODELS = ("position_based", "cascade", "dbn", "federated", "hurried")
QUERIES, SYSTEMS, CANDIDATES, SHOWN, INTENTS = 50, 6, 60, 20, 3
GRADE_SHARES = (0.5, 0.2, 0.14, 0.1, 0.06)  # of candidates, grades 0 to 4
KIND_SHARES = (0.62, 0.06, 0.16, 0.16)
HARMFUL = 0.15  # share of candidates that are broken, stale or misleading
ATTRACTION = np.array([0.9, 1.0, 0.8, 0.5])  # by kind
HIGHEST = 4  # grade
OTHER_INTENT = 0.15  # what a result is worth to a user who meant something else
PERSISTENCE = 0.85  # of a dbn user after a result that did not satisfy
LEAVES = 0.5  # chance that a user who was harmed leaves
COST = np.array([1.0, 0.4, 0.6, 0.9])  # of a look at an element, to a hurried user, by kind
PATIENCE = 4.0  # of a hurried user: looks after which a success is worth 1/e
DETECTED = 0.9  # share of harm that judges notice


def exponential(grades: np.ndarray) -> np.ndarray:
    """What grades are worth, (2^g - 1) / 2^4, which is ERR's chance of satisfaction; an unjudged one (-1) nothing. grades: whole."""
    return (2.0 ** np.maximum(grades, 0) - 1) / 2**HIGHEST


@dataclass(frozen=True)
class Judged:
    """Pages as judges leave them, to a depth: grades (W, Q, S, K), -1 where nobody judged; pool: grades of all candidates,
    (W, Q, N); kind, intent, harm: (W, Q, S, K); weights: of intents, (W, Q, U)."""

    grades: np.ndarray
    pool: np.ndarray
    kind: np.ndarray
    intent: np.ndarray
    harm: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class World:
    """Candidates, (W, Q, N) each: true grade, what judges say (`said`), when a candidate goes unjudged (`luck`), kind, intent, harm, harm
    that judges noticed. order: the candidates that each system shows, (W, Q, S, K). weights: of intents, (W, Q, U)."""

    grade: np.ndarray = field(repr=False)
    said: np.ndarray = field(repr=False)
    luck: np.ndarray = field(repr=False)
    kind: np.ndarray = field(repr=False)
    intent: np.ndarray = field(repr=False)
    harm: np.ndarray = field(repr=False)
    noticed: np.ndarray = field(repr=False)
    order: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)

    def shown(self, of: np.ndarray, depth: int | None = None) -> np.ndarray:
        """A property of the candidates as pages show it, (W, Q, S, K)."""
        return np.take_along_axis(of[:, :, None], self.order[..., :depth], axis=-1)

    def judged(self, depth: int, missing: float) -> Judged:
        """missing: share of the candidates that nobody judged, the same ones for all systems."""
        known = self.luck >= missing
        grades, harm = np.where(known, self.said, -1), known & self.noticed
        shown = (self.shown(of, depth) for of in (grades, self.kind, self.intent, harm))
        grade, kind, intent, harmful = shown
        return Judged(grade, grades, kind, intent, harmful.astype(float), self.weights)

    def satisfaction(self, click_model: str) -> np.ndarray:
        """The share of users that leave satisfied, (W, Q, S), exactly: no user is drawn. Of hurried ones, how satisfied they leave.

        Users differ in what they mean (`weights`). position_based: looks fall with the rank, whatever is seen (Craswell et al.
        2008, WSDM). cascade: from the top to the first click (the same). dbn: goes on after a click that did not satisfy (Chapelle
        and Zhang 2009, WWW). federated: as position_based, and answers and images draw looks to themselves and what is next to
        them (after Chen et al. 2012, WSDM). hurried: as dbn, and a success is worth the less the more was looked at up to and with it, exp(-cost /
        PATIENCE): the only ones here who pay for effort. A harmful element satisfies nobody, and who clicked it leaves with a chance
        of one half.
        """
        worth = exponential(self.shown(self.grade))
        kind, intent, harm = self.shown(self.kind), self.shown(self.intent), self.shown(self.harm)
        click = ATTRACTION[kind] * (0.3 + 0.7 * worth)
        found = np.zeros(kind.shape[:-1])
        for u in range(self.weights.shape[-1]):
            fits = np.where(intent == u, 1.0, OTHER_INTENT) * worth * ~harm
            found += self.weights[..., None, u] * _satisfied(click_model, click, fits, harm, kind)
        return found


def _satisfied(model: str, click: np.ndarray, fits: np.ndarray, harm: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Of users of one intent; click: chance of a click on what is looked at, fits: that a click satisfies, (..., K)."""
    K = click.shape[-1]
    if model in ("cascade", "dbn", "hurried"):
        looks, found = np.ones(click.shape[:-1]), np.zeros(click.shape[:-1])
        worth = np.exp(-np.cumsum(COST[kind], axis=-1) / PATIENCE) if model == "hurried" else np.ones(click.shape)
        for i in range(K):
            clicked, satisfied = looks * click[..., i], looks * click[..., i] * fits[..., i]
            found += satisfied * worth[..., i]
            if model == "cascade":
                looks = looks - clicked
            else:
                looks = PERSISTENCE * (looks - satisfied - LEAVES * clicked * harm[..., i])
        return found
    looks = np.broadcast_to(np.arange(1, K + 1) ** -0.7, click.shape)
    if model == "federated":
        drawn = np.isin(kind, (1, 2)).astype(float)
        beside = np.zeros_like(drawn)
        beside[..., 1:] += drawn[..., :-1]
        beside[..., :-1] += drawn[..., 1:]
        looks = looks + (1 - looks) * np.clip(0.5 * drawn + 0.15 * beside, 0, 0.9)
    satisfied = 1 - (1 - looks * click * fits).prod(-1)
    harmed = 1 - (1 - looks * click * harm).prod(-1)
    return satisfied * (1 - LEAVES * harmed)


def draw(c: Any, split: str) -> World:
    """The worlds of a seed; validation and test are different draws, whatever is judged of them is not.

    Pages: plain: links alone, one intent, no harm. mixed: answers, images and ads among the links, three intents, harm. Systems
    differ in how well they know relevance, and on mixed pages in how they treat harm, ads and the main intent.
    """
    rng = np.random.default_rng(np.random.SeedSequence((c.seed, split == "test", c.page == "mixed")))
    W, Q, S, N = c.worlds, QUERIES, SYSTEMS, CANDIDATES
    shape = (W, Q, N)
    grade = rng.choice(5, shape, p=GRADE_SHARES)
    mixed = c.page == "mixed"
    kind = rng.choice(4, shape, p=KIND_SHARES) if mixed else np.zeros(shape, dtype=int)
    harm = rng.random(shape) < HARMFUL if mixed else np.zeros(shape, dtype=bool)
    weights = -np.sort(-rng.dirichlet(np.ones(INTENTS), (W, Q))) if mixed else np.ones((W, Q, 1))
    u = rng.random(shape)
    intent = (
        (u[..., None] > np.cumsum(weights, axis=-1)[:, :, None, :-1]).sum(-1) if mixed else np.zeros(shape, dtype=int)
    )
    error, luck, notices = rng.standard_normal(shape), rng.random(shape), rng.random(shape)
    said = np.clip(np.rint(grade + c.noise * error), 0, 4).astype(int)

    def trait(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (W, 1, S, 1))

    blur, filters, greed, narrow = trait(0.6, 2.4), trait(0.0, 2.0), trait(0.0, 2.0), trait(-0.5, 1.5)
    belief = grade[:, :, None] + blur * rng.standard_normal((W, Q, S, N))
    if mixed:
        belief += greed * (kind == 3)[:, :, None] - filters * harm[:, :, None] + narrow * (intent == 0)[:, :, None]
    order = np.argsort(-belief, axis=-1)[..., :SHOWN]
    return World(grade, said, luck, kind, intent, harm, harm & (notices < DETECTED), order, weights)
