"""45 fits of scikit-learn's LogisticRegression against all pairs solved together, side by side in one run.

    python benchmarks/pairwise_logreg.py [--data-root DIR] [--features pooled] [--l2 0.1 0.001]

Both get the same standardised features in memory, the same penalties and as many threads, and start from zero weights. Ours
forms no problem's images anew: it keeps them by class. Printed for each penalty: seconds of both, their ratio (also in
processor time, which a busy machine disturbs less), and by how much the worst of the 45 objectives exceeds the better one of
the two.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from trainables.core import data
from trainables.logistic import GAP, PAIRS, Config, Problems, Splits, solve, view


@dataclass
class Arguments:
    data: Literal["full", "sample"] = "full"
    """which data"""
    data_root: Path | None = None
    """folder of the data sets"""
    features: str = "pixels"
    """pixels, pooled or pca"""
    l2: tuple[float, ...] = (0.1, 0.01, 0.001, 0.0001)
    """penalties; scikit-learn's C is 1 / (n l2)"""
    solver: str = "lbfgs"
    """scikit-learn's solver"""
    max_iter: int = 2000
    """scikit-learn's limit; its tolerance is its default"""
    dtype: str = "float64"
    """of scikit-learn's features: float64 as its StandardScaler returns them, or float32, faster and less exact"""
    gap: float = GAP
    """how far above its minimum our objective may end"""
    threads: int = 1
    """of both"""


def main(a: Arguments) -> None:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(a.threads)
    sets = Splits({**data.load("mnist", a.data, a.data_root)}, "cpu")
    seen = view(Config(a.features, 64, 1.0, 0), sets.images[sets.train])
    xs = sets.by_class(sets.train, seen)
    arrays = []
    for first, second in PAIRS:
        x = torch.cat([xs[first], xs[second]])[:, :-1].numpy().astype(a.dtype)
        arrays.append((x, np.repeat([0, 1], [len(xs[first]), len(xs[second])])))
    print(
        f"{a.data} data, {xs[0].shape[1] - 1} features ({a.features}), {a.threads} thread(s) each, scikit-learn in {a.dtype}",
        flush=True,
    )
    for l2 in a.l2:
        problems = Problems(xs, torch.tensor(PAIRS), torch.full((len(PAIRS),), l2))

        def together(problems=problems):
            return solve(problems, torch.zeros_like(problems.penalty), a.gap)[0]

        def one_by_one(l2=l2):
            fits = [
                LogisticRegression(C=1 / (len(y) * l2), solver=a.solver, max_iter=a.max_iter).fit(x, y)
                for x, y in arrays
            ]
            return torch.from_numpy(np.stack([np.append(f.coef_, f.intercept_) for f in fits])).float()

        with threadpool_limits(a.threads):
            theirs, wall, busy = timed(one_by_one)
        ours, our_wall, our_busy = timed(together)
        values = [problems.objective(problems.margins(w), w) for w in (theirs, ours)]
        gaps = [float((v - torch.minimum(*values)).max()) for v in values]
        print(
            f"l2 {l2:g}: scikit-learn {wall:.1f} s (processor {busy:.1f}), ours {our_wall:.1f} s ({our_busy:.1f}), "
            f"ratio {wall / our_wall:.1f} ({busy / our_busy:.1f}); "
            f"worst excess of the objective: scikit-learn {gaps[0]:.1e}, ours {gaps[1]:.1e}",
            flush=True,
        )


def timed(f):
    """What f returns, its seconds, and its processor seconds."""
    wall, busy = time.perf_counter(), time.process_time()
    value = f()
    return value, time.perf_counter() - wall, time.process_time() - busy


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
