"""Worlds of web search, simulated by the thousand: which metrics a user would agree with, which labels one may trust, and which
difference of two engines is more than chance.

A student is a way to do one of three tasks: a metric of search quality (`metrics`), a method that makes labels of assessors'
answers (`labels`), a statistical test (`pvalue`). It is tried on simulated worlds; validation worlds, of which one is
chosen, and test worlds, which report, are different draws.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from trainables.core.contract import Trainable
from trainables.core.limits import above, at_least, between, checked, one_of
from trainables.search_quality import assessors, judgements, metrics, significance
from trainables.search_quality.judgements import GRADINGS
from trainables.search_quality.worlds import CLICK_MODELS, PAGES

TASKS = ("metrics", "labels", "pvalue")


@dataclass(frozen=True)
class Config:
    """One student. The fields of other tasks than its own play no part.

    worlds: simulated worlds in each of validation and test. depth: results of an engine that are judged.
    metrics: page: what a results page has, click_model: how users look at it, noise: standard deviation of the judges' grades,
    missing: share of the results that nobody judged, measure: the metric.
    labels: labels: of each item in the mean, bad_share: of the assessors, fault: theirs, method: what makes labels of them.
    pvalue: judgements: `example`, or a file as `judgements.stamped` names it, grading: what a grade is worth, p_break: chance that a
    user gives up after a result, level: the largest p that is told, None as the usual 5 %, queries and assessors: of a simulated
    comparison, effect: by how much google is better there in the mean, in grades, gains: on all queries or on few, test: the statistical test.
    """

    task: Annotated[str, one_of(*TASKS)]
    worlds: Annotated[int, at_least(2)]
    depth: Annotated[int, between(1, 20)]
    page: Annotated[str, one_of(*PAGES)]
    click_model: Annotated[str, one_of(*CLICK_MODELS)]
    noise: Annotated[float, at_least(0)]
    missing: Annotated[float, between(0, 1, "[)")]
    labels: Annotated[float, between(1, assessors.ASSESSORS)]
    bad_share: Annotated[float, between(0, 1)]
    fault: Annotated[str, one_of(*assessors.CREWS)]
    judgements: str
    grading: Annotated[str, one_of(*GRADINGS)]
    p_break: Annotated[float, between(0, 1, "[)")]
    queries: Annotated[int, at_least(1)]
    assessors: Annotated[int, at_least(1)]
    effect: Annotated[float, above(0)]
    gains: Annotated[str, one_of(*significance.GAINS)]
    measure: Annotated[str, one_of(*metrics.MEASURES)]
    method: Annotated[str, one_of(*assessors.METHODS)]
    test: Annotated[str, one_of(*significance.TESTS)]
    seed: int
    level: Annotated[float | None, between(0.01, 0.5)] = None

    def __post_init__(self) -> None:
        checked(self, unused=("level",) * (self.level is None))


class SearchQuality(Trainable):
    """Students of one task, on the same worlds."""

    config_type = Config
    may_differ = frozenset({"measure", "method", "test"})
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": "Nothing is trained: worlds are drawn from the seed.",
        "loss": "None: a student is a rule, and its worlds say what it is worth.",
        "optimiser": "None.",
        "split": "Chosen on validation worlds, reported on test worlds; these are different draws. A file of judgements is neither: it is what is asked about.",
    }

    @staticmethod
    def artifact(config: Config) -> str | None:
        """The file of judgements."""
        return config.judgements if config.task == "pvalue" else None

    @classmethod
    def prepare(cls, artifact: str | None, datasets: Mapping, device: str) -> tuple[dict, dict]:
        """What is judged, as arrays, and its lines for the run's table `judgements`."""
        if artifact is None:
            return {}, {}
        judged = judgements.read(artifact)
        return judged.arrays(), {
            "judgements": artifact,
            "tables": {"judged": [{"judgements": artifact, **line} for line in judged.lines()]},
        }

    @classmethod
    def require(cls, configs, images=None) -> None:
        for name in {c.judgements for c in configs if c.task == "pvalue"}:
            judgements.read(name)

    @staticmethod
    def student_bytes(config: Config) -> int:
        return 8 * 64 * config.worlds * config.depth * max(config.queries, 50)

    def __init__(self, configs: Sequence[Config], datasets: Mapping, answers: Mapping, device: str) -> None:
        self.configs, self.answers, self.done = list(configs), answers, False

    @property
    def finished(self) -> bool:
        return self.done

    def step(self) -> list[dict]:
        start = time.perf_counter()
        found = self._found()
        self.done, seconds = True, (time.perf_counter() - start) / len(found)
        return [{"step": 1, "fraction": 1.0, "seconds": seconds, "status": "done", **row} for row in found]

    def _found(self) -> list[dict[str, Any]]:
        c = self.configs[0]
        if c.task == "metrics":
            return metrics.evaluate([each.measure for each in self.configs], c)
        if c.task == "labels":
            methods = [each.method for each in self.configs]
            return assessors.evaluate(methods, c.labels, c.bad_share, c.worlds, c.seed, c.fault)
        return significance.evaluate([each.test for each in self.configs], c, self.answers)

    def state_dict(self) -> dict:
        return {"done": self.done}

    def load_state_dict(self, state: dict) -> None:
        self.done = state["done"]
