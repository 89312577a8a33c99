"""45 fits of scikit-learn's LogisticRegression against all pairs solved together, side by side in one run.

    python benchmarks/pairwise_logreg.py [--data-root DIR] [--features pooled] [--l2 0.1 0.001]

All get the same standardised features in memory, pair by pair for scikit-learn, by class for ours, and as many threads; all
start from zero weights. Excess: of the worst of the 45 objectives over its minimum, both in fp64; the minimum is that of our
solver in fp64, to 1e-9. In brackets: processor time, which a busy machine disturbs less. Ours is asked for a gap; scikit-learn, which has no such bound, gets its default tolerance, and the
loosest of several with which it keeps the same gap: in fp64, with one pair per thread, and with features in fp32.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import side_by_side
import torch
from side_by_side import clocked, said
from torch import Tensor

from studies.harness.engine import prepare_process
from trainables.core import data
from trainables.logistic import PAIRS, Config, PairwiseSplits, Problems, solve, view

TOLERANCES, DEFAULT = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6), 1e-4  # of scikit-learn


@dataclass
class Arguments:
    data: Literal["full", "sample"] = "full"
    """which data"""
    data_root: Path | None = None
    """folder of the data sets"""
    features: str = "pixels"
    """pixels, pooled or pca"""
    l2: tuple[float, ...] = (1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001)
    """penalties; scikit-learn's C is 1 / (n l2)"""
    gap: float = 1e-4
    """how far above its minimum an objective may end"""
    solver: str = "lbfgs"
    """scikit-learn's solver: this one is its fastest here"""
    threads: int = os.cpu_count() or 1
    """of each"""


def best(problems: Problems, gap: float) -> Tensor:
    """Our weights, from 0."""
    return solve(problems, torch.zeros_like(problems.penalty), gap)[0]


def main(a: Arguments) -> None:
    prepare_process(a.threads)
    sets = PairwiseSplits({**data.load("mnist", a.data, a.data_root)}, "cpu")
    seen = view(Config(a.features, 64, 1.0, 0), sets.images[sets.train])
    xs = sets.by_class(sets.train, seen)
    print(f"{a.data} data, {xs[0].shape[1] - 1} features ({a.features}), {a.threads} threads each", flush=True)
    arrays = [
        (torch.cat([xs[i], xs[j]])[:, :-1].double().numpy(), np.repeat([0, 1], [len(xs[i]), len(xs[j])]))
        for i, j in PAIRS
    ]
    single = [(x.astype(np.float32), y) for x, y in arrays]
    few = Problems([x[::50] for x in xs], torch.tensor(PAIRS), torch.ones(len(PAIRS)))
    solve(few, torch.zeros_like(few.penalty)), fits(arrays[:1], 1.0, 1e-2, a)  # both warm
    for l2 in a.l2:
        problems = Problems(xs, few.pairs, few.l2 * l2)
        excess = judge(problems)
        w, ours = clocked(partial(best, problems, a.gap))
        print(f"l2 {l2:g}: ours {said(ours)} s, excess {excess(w):.0e}; scikit-learn:", flush=True)

        def compared(what: str, *how: Any, excess: Callable = excess, ours: np.ndarray = ours) -> float:
            w, seconds = clocked(partial(fits, *how))
            reached = excess(w)
            print(f"    {what:27} {said(seconds)} s, excess {reached:.0e}, ratio {said(seconds / ours)}", flush=True)
            return reached

        for tol in TOLERANCES:
            if compared(f"tolerance {tol:g}", arrays, l2, tol, a) <= a.gap:
                break
        compared("the same in fp32", single, l2, tol, a)
        compared(f"the same, {a.threads} pairs at a time", arrays, l2, tol, a, a.threads)
        if tol > DEFAULT:
            compared(f"tolerance {DEFAULT:g}, the default", arrays, l2, DEFAULT, a)


def judge(problems: Problems) -> Callable[[Tensor], float]:
    """Weights -> how far the worst of their objectives is above its minimum, in fp64."""
    exact = Problems([x.double() for x in problems.xs], problems.pairs, problems.l2.double())
    objective = lambda w: exact.objective(exact.margins(w.double()), w.double())  # noqa: E731
    least = objective(solve(exact, torch.zeros_like(exact.penalty), 1e-9)[0])
    return lambda w: float((objective(w) - least).max())


def fits(arrays: list[tuple[np.ndarray, np.ndarray]], l2: float, tol: float, a: Arguments, jobs: int = 1) -> Tensor:
    """Weights and intercepts of scikit-learn's models, (P, D + 1): one after another, each with all threads, or several
    at a time."""
    from joblib import Parallel, delayed
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        model = LogisticRegression(C=1 / (len(y) * l2), solver=a.solver, tol=tol, max_iter=10_000).fit(x, y)
        return np.append(model.coef_, model.intercept_)

    with threadpool_limits(a.threads // jobs):
        found = Parallel(jobs, prefer="threads")(delayed(fit)(x, y) for x, y in arrays)
    return torch.from_numpy(np.stack(found))


if __name__ == "__main__":
    side_by_side.start(main, Arguments, __doc__)
