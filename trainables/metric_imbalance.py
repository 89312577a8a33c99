"""What metrics of a binary classifier say when positives are rare: many test sets at each prevalence, judged at once.

A student is a classifier with a rule for its threshold, at one prevalence; its rows are means over many test sets (worlds)
and the spread from one test set to the next. Scores are log odds of a classifier for which both classes are as frequent;
what prevalence adds to them is logit(prevalence) (Elkan 2001, IJCAI, theorem 2; Saerens et al. 2002, Neural Comput. 14:21).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from trainables.core.contract import Trainable
from trainables.core.limits import above, at_least, between, checked, one_of

Arrays = Mapping[str, np.ndarray]

SOURCES = ("simulation", "mnist")
RULES = ("fixed", "calibrated", "best_f1", "break_even")
AT_THRESHOLD = (
    *("accuracy", "precision", "recall", "specificity", "npv", "f1", "f2", "f05", "jaccard"),
    *("balanced_accuracy", "g_mean", "mcc", "kappa", "lift"),
)
OF_SCORES = ("roc_auc", "pr_auc", "brier", "log_loss")
METRICS = (*AT_THRESHOLD, *OF_SCORES)
FALSE_POSITIVES = 0.05  # share of the negatives that the fixed threshold lets pass
LEAST = 3  # positives that a test set must have: the fewest of the shipped sample at the lowest prevalence are four
NATURAL = 0.1  # prevalence of a digit among MNIST's, about
STEPS, BATCH, LR = 2000, 128, 2e-3  # of the classifier of digits
POSITIVES, NEGATIVES, ORDER = range(3)  # purposes that draw random numbers


@dataclass(frozen=True)
class Config:
    """One student.

    source: whose scores, a simulation's or those of a classifier of MNIST. separability: d', the distance of the classes'
    normal scores in standard deviations. positive: the digit that is told from the others. size: of a simulated test set.
    worlds: how many test sets. prevalence: share of positives in them. rule: how the threshold is set.
    """

    source: Annotated[str, one_of(*SOURCES)]
    separability: Annotated[float, above(0)]
    positive: Annotated[int, between(0, 9)]
    size: Annotated[int, at_least(20)]
    worlds: Annotated[int, at_least(2)]
    prevalence: Annotated[float, between(0, 0.5, "(]")]
    rule: Annotated[str, one_of(*RULES)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)


class MetricImbalance(Trainable):
    """Students of one source and seed, on the same scores; those of one prevalence on the same test sets."""

    config_type = Config
    may_differ = frozenset({"prevalence", "rule"})
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": "The simulation trains nothing. The classifier of MNIST starts from weights uniform in +-1/28, drawn from the seed.",
        "scores": (
            "simulation: normal with deviation 1 and means +-d'/2, of which the log odds are d' times the score. mnist: logistic "
            "regression of each digit against the others on the pixels, all ten side by side; of its log odds those of the digit's "
            "share in the training images are taken off."
        ),
        "loss": "Binary cross-entropy of each of the ten outputs, summed, mean over the batch.",
        "optimiser": f"Adam, peak rate {LR:g}, linear warm-up and decline, {STEPS} batches of {BATCH}.",
        "test sets": (
            "Each world is a test set with exactly the share of positives that prevalence says. Simulated worlds are new draws. "
            f"MNIST's are its test digits, of which positives (or negatives, above {NATURAL:g}) are left out at random; negatives "
            "are never repeated. A validation set of the same make is drawn for each."
        ),
        "rules": (
            f"fixed: {100 * FALSE_POSITIVES:g} % of the negatives of a balanced validation set lie above, whatever the prevalence. "
            "calibrated: the probability of a positive, corrected for the prevalence, is at least one half. best_f1: the most F1 on "
            "the validation set. break_even: as many are called positive as the validation set has."
        ),
        "split": "Thresholds are set on validation sets, metrics reported on test sets.",
    }

    @classmethod
    def described(cls, config: Config) -> dict[str, str]:
        from trainables.core.nets import Linear, summary

        return {"classifier of MNIST": summary((Linear(10),), (784,))} if config.source == "mnist" else {}

    @staticmethod
    def artifact(config: Config) -> int | None:
        """The seed of the classifier."""
        return config.seed if config.source == "mnist" else None

    @classmethod
    def prepare(cls, artifact: int, datasets: Mapping, device: str) -> tuple[dict[str, np.ndarray], dict]:
        """Of held-out and test digits the log odds of all ten, (N, 10), as of balanced classes; and labels (N,)."""
        if artifact is None:
            return {}, {}
        return digits(artifact, datasets["mnist"], device)

    @staticmethod
    def student_bytes(config: Config) -> int:
        return 16 * 8 * config.size * config.worlds

    def __init__(self, configs: Sequence[Config], datasets: Mapping, answers: Mapping, device: str) -> None:
        self.configs, self.answers, self.judged = list(configs), answers, False

    @property
    def finished(self) -> bool:
        return self.judged

    def step(self) -> list[dict]:
        start, rows, drawn = time.perf_counter(), [], {}
        for c in self.configs:
            try:
                if c.prevalence not in drawn:  # those of one prevalence follow each other
                    val, test = (self._sets(c, held_out) for held_out in (True, False))
                    drawn = {c.prevalence: (val, test, ranked(test))}
                metrics = judged(c.rule, c.prevalence, *drawn[c.prevalence])
                rows.append({"status": "done", **metrics})
            except ValueError as error:
                rows.append({"status": "failed", "error": str(error)})
        self.judged, seconds = True, (time.perf_counter() - start) / len(rows)
        return [{"step": 1, "fraction": 1.0, "seconds": seconds, **row} for row in rows]

    def _sets(self, c: Config, held_out: bool) -> Sets:
        if c.source == "simulation":
            return simulated(c, held_out)
        scores, labels = (self.answers[f"{'val' if held_out else 'test'}_{name}"] for name in ("scores", "labels"))
        return thinned(c, scores[:, c.positive], labels == c.positive, held_out)

    def state_dict(self) -> dict:
        return {"finished": self.judged}

    def load_state_dict(self, state: dict) -> None:
        self.judged = state["finished"]


@dataclass(frozen=True)
class Sets:
    """Scores of W test sets: positives (W, P), negatives (W, N); balanced: how many of the latter a balanced set would have."""

    positives: np.ndarray
    negatives: np.ndarray
    balanced: int


def simulated(c: Config, held_out: bool) -> Sets:
    """New draws. A seed's sets of another prevalence share their numbers (common random numbers)."""
    P = round(c.size * c.prevalence)
    if P < LEAST:
        raise ValueError(
            f"{c.size} cases at prevalence {c.prevalence:g} have {P} positives; at least {LEAST} are needed"
        )
    means = {POSITIVES: c.separability / 2, NEGATIVES: -c.separability / 2}
    positives, negatives = (
        c.separability
        * (generator(c.seed, purpose, held_out).standard_normal((count, c.worlds), dtype=np.float32).T + means[purpose])
        for purpose, count in ((POSITIVES, P), (NEGATIVES, c.size - P))
    )
    return Sets(positives, negatives, c.size // 2)


def thinned(c: Config, scores: np.ndarray, positive: np.ndarray, held_out: bool) -> Sets:
    """The digits, less as many positives or negatives as the prevalence asks for. scores, positive: (n,)."""
    odds = c.prevalence / (1 - c.prevalence)
    there = int(positive.sum()), int((~positive).sum())
    P = min(there[0], round(there[1] * odds))
    N = min(there[1], round(P / odds))
    if P < LEAST:
        raise ValueError(
            f"{there[1]} other digits at prevalence {c.prevalence:g} go with {P} positives; at least {LEAST} are needed"
        )
    drawn = []
    for purpose, kind, count in ((POSITIVES, positive, P), (NEGATIVES, ~positive, N)):
        order = generator(c.seed, purpose, held_out).random((c.worlds, kind.sum()), dtype=np.float32).argsort(axis=1)
        drawn.append(scores[kind][order[:, :count]])
    positives, negatives = drawn
    return Sets(positives, negatives, min(there[0], N))


def generator(seed: int, purpose: int, held_out: bool) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, purpose, int(held_out))))


def judged(rule: str, prevalence: float, val: Sets, test: Sets, order: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means over the worlds (test_*), deviations from one to the next (spread_*), the share in which nothing is called positive.

    order: `ranked` of the test sets.
    """
    threshold = THRESHOLDS[rule](val, prevalence)
    heard = at_threshold(*counted(val, threshold))
    counts = counted(test, threshold)
    told = {**at_threshold(*counts), **order, **probable(test, 0.0 if rule == "fixed" else logit(prevalence))}
    found: dict[str, float] = {"val_balanced_accuracy": float(heard["balanced_accuracy"].mean())}
    for name in METRICS:
        found[f"test_{name}"], found[f"spread_{name}"] = float(told[name].mean()), float(told[name].std(ddof=1))
    return found | {"silent_share": float((counts[0] + counts[1] == 0).mean())}


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def counted(sets: Sets, threshold: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, int, int]:
    """True and false positives, (W,) each, of P positives and N negatives; called positive is what reaches the threshold."""
    at = np.reshape(threshold, (-1, 1))
    hits = [(x >= at).sum(axis=1) for x in (sets.positives, sets.negatives)]
    return hits[0], hits[1], sets.positives.shape[1], sets.negatives.shape[1]


def at_threshold(tp: np.ndarray, fp: np.ndarray, P: int, N: int) -> dict[str, np.ndarray]:
    """All metrics of confusion matrices. tp, fp: (W,). What is 0 / 0 is 0, as in scikit-learn (kappa, MCC of no call, too)."""
    tp, fp = np.asarray(tp, dtype=float), np.asarray(fp, dtype=float)
    fn, tn = P - tp, N - fp
    recall, specificity, precision = tp / P, tn / N, _over(tp, tp + fp)
    agreed = (tp + tn) / (P + N)
    chance = ((tp + fp) * P + (fn + tn) * N) / (P + N) ** 2
    return {
        "accuracy": agreed,
        "precision": precision,
        "recall": recall,
        "specificity": specificity,
        "npv": _over(tn, tn + fn),
        **{
            name: _over((1 + b * b) * tp, (1 + b * b) * tp + b * b * fn + fp)
            for name, b in (("f1", 1), ("f2", 2), ("f05", 0.5))
        },
        "jaccard": tp / (tp + fp + fn),
        "balanced_accuracy": (recall + specificity) / 2,
        "g_mean": np.sqrt(recall * specificity),
        "mcc": _over(tp * tn - fp * fn, np.sqrt((tp + fp) * P * N * (tn + fn))),
        "kappa": _over(agreed - chance, 1 - chance),
        "lift": precision * (P + N) / P,
    }


def _over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def ranked(sets: Sets) -> dict[str, np.ndarray]:
    """Metrics of the order alone, (W,) each.

    roc_auc: share of the pairs in which the positive has the higher score, ties half (Mann and Whitney 1947). pr_auc: average
    precision, the mean over positives of the precision of all that score as high (scikit-learn's).
    """
    both = np.concatenate([sets.positives, sets.negatives], axis=1)
    P, N = sets.positives.shape[1], sets.negatives.shape[1]
    from_below = rankdata(both, "average", axis=1)[:, :P].sum(axis=1)
    as_high = rankdata(-both, "max", axis=1)[:, :P]  # of all, and of the positives alone
    hits = rankdata(-sets.positives, "max", axis=1)
    return {"roc_auc": (from_below - P * (P + 1) / 2) / (P * N), "pr_auc": (hits / as_high).mean(axis=1)}


def probable(sets: Sets, shift: float) -> dict[str, np.ndarray]:
    """Metrics of probabilities, (W,) each: Brier score and log loss in nats. shift: what makes the scores log odds."""
    wrong = np.concatenate([-(sets.positives + shift), sets.negatives + shift], axis=1).astype(
        float
    )  # log odds of the other class
    return {"brier": (expit(wrong) ** 2).mean(axis=1), "log_loss": np.logaddexp(0, wrong).mean(axis=1)}


def _fixed(val: Sets, prevalence: float) -> np.ndarray:
    return np.quantile(val.negatives[:, : val.balanced], 1 - FALSE_POSITIVES, axis=1)


def _best_f1(val: Sets, prevalence: float) -> np.ndarray:
    """Midway between the scores where F1 is largest and falls."""
    P = val.positives.shape[1]
    order, score = _sorted(val)
    f1 = 2 * (order < P).cumsum(axis=1) / (P + np.arange(1, order.shape[1] + 1))
    return _below(score, f1.argmax(axis=1))


def _break_even(val: Sets, prevalence: float) -> np.ndarray:
    _, score = _sorted(val)
    return _below(score, np.full(len(score), val.positives.shape[1] - 1))


def _sorted(sets: Sets) -> tuple[np.ndarray, np.ndarray]:
    """Whose scores, positives first, and the scores, from the highest down, (W, P + N) each."""
    both = np.concatenate([sets.positives, sets.negatives], axis=1)
    order = np.argsort(-both, axis=1, kind="stable")
    return order, np.take_along_axis(both, order, axis=1)


def _below(score: np.ndarray, place: np.ndarray) -> np.ndarray:
    """A threshold between the scores at `place` and the next, (W,)."""
    world = np.arange(len(score))
    return (score[world, place].astype(float) + score[world, np.minimum(place + 1, score.shape[1] - 1)]) / 2


THRESHOLDS: Mapping[str, Any] = {
    "fixed": _fixed,
    "calibrated": lambda val, prevalence: -logit(prevalence),
    "best_f1": _best_f1,
    "break_even": _break_even,
}
"""Thresholds of the log odds, (W,) or one for all, from the validation sets of each world and the prevalence."""


def digits(seed: int, arrays: Arrays, device: str) -> tuple[dict[str, np.ndarray], dict]:
    """See `MetricImbalance.prepare`: ten logistic regressions, trained once, then found in the cache; and their row."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

    from trainables.core import teachers
    from trainables.core.batches import substream
    from trainables.core.nets import Linear
    from trainables.core.population import Population
    from trainables.core.splits import Splits, to_float

    def make() -> dict[str, torch.Tensor]:
        sets = Splits(arrays, device)
        model = Population((Linear(10),), (784,), [substream(seed, ORDER)], [LR], device)
        targets = one_hot(sets.labels, 10).float()

        def loss(index: torch.Tensor) -> torch.Tensor:
            z = model.logits(to_float(sets.images[index]))
            each = binary_cross_entropy_with_logits(z, targets[index].expand_as(z), reduction="none")
            return each.sum(-1).mean(-1)

        teachers.train(model, sets.train, STEPS, BATCH, seed, ORDER, loss)
        share = targets[sets.train].mean(0)
        images = {"val": (sets.images[sets.val], sets.labels[sets.val]), "test": (sets.test_images, sets.test_labels)}
        made: dict[str, torch.Tensor] = {}
        for name, (x, y) in images.items():
            z = model.answers(x, to_float)[0]
            made |= {
                f"{name}_scores": z - torch.logit(share),
                f"{name}_labels": y,
                f"{name}_accuracy": (z.argmax(1) == y).float().mean(),
            }
        return made

    recipe = {"recipe": 1, "steps": STEPS, "batch": BATCH, "lr": LR, "seed": seed}
    made = teachers.once("metric-imbalance-digits", recipe, arrays, make)
    kept = {name: value for name, value in made.items() if value.ndim}
    return kept, {"seed": seed, **teachers.measured(made)}
