"""What crowd-kit makes of three small inputs, written to crowdkit_reference.json beside this file.

crowd-kit is no dependency: it pulls transformers and nltk, which its models of classes and pairs do not use. Install it apart and
write the reference anew with

    pip install --no-deps crowd-kit==1.4.2
    python tests/trainables/search_quality/crowdkit_reference.py
"""

import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

FILE = Path(__file__).with_suffix(".json")
DAWID_SKENE_STEPS = 15


def answers(documents, assessors, grades, each, seed):
    """Labels of assessors of three kinds: (documents x each,) document, assessor, grade."""
    rng = np.random.default_rng(seed)
    truth = np.arange(documents) % grades
    document = np.repeat(np.arange(documents), each)
    assessor = np.concatenate([rng.permutation(assessors)[:each] for _ in range(documents)])
    right = rng.random(len(document)) < np.linspace(0.45, 0.9, assessors)[assessor]
    grade = np.where(right, truth[document], rng.integers(grades, size=len(document)))
    return document, assessor, grade


def duels(items, seed):
    """Everyone meets everyone four times; (winner, loser) of each."""
    rng = np.random.default_rng(seed)
    one, other = (np.repeat(index, 4) for index in np.triu_indices(items, 1))
    first = rng.random(len(one)) < 1 / (1 + np.exp((one - other) / items * 2))
    return np.where(first, one, other), np.where(first, other, one)


INPUTS = {
    "dawid_skene": {"documents": 40, "assessors": 7, "grades": 4, "each": 4, "seed": 1},
    "glad": {"documents": 30, "assessors": 6, "grades": 3, "each": 4, "seed": 2},
    "bradley_terry": {"items": 8, "seed": 3},
}


def compute():
    """Posteriors and scores by crowd-kit, as lists."""
    for name in (
        "nltk",
        "nltk.translate.gleu_score",
        "nltk.metrics.agreement",
        "nltk.metrics.distance",
        "transformers",
    ):
        unused(name)
    with warnings.catch_warnings():  # of what crowd-kit asks of newer libraries
        warnings.simplefilter("ignore")
        return _computed()


def _computed():
    from crowdkit.aggregation import GLAD, BradleyTerry, DawidSkene

    def table(name):
        return pd.DataFrame(dict(zip(("task", "worker", "label"), answers(**INPUTS[name]), strict=True)))

    won, lost = duels(**INPUTS["bradley_terry"])
    model = DawidSkene(n_iter=DAWID_SKENE_STEPS, tol=-np.inf)
    dawid_skene = model.fit_predict_proba(table("dawid_skene"))
    glad = GLAD(n_iter=25, tol=-np.inf, m_step_tol=1e-5, m_step_max_iter=50)
    certain = glad.fit_predict_proba(table("glad"))
    # 1.4.2 compares its scores with themselves and so stops after two steps, unless no change is small enough
    scores = BradleyTerry(3000, tol=-1).fit_predict(pd.DataFrame({"left": won, "right": lost, "label": won}))
    return {
        "dawid_skene": dawid_skene.sort_index().sort_index(axis=1).to_numpy().round(9).tolist(),
        "glad": certain.sort_index().sort_index(axis=1).to_numpy().round(9).tolist(),
        "glad_abilities": glad.alphas_.sort_index().to_numpy().round(9).tolist(),
        "bradley_terry": scores.sort_index().to_numpy().round(9).tolist(),
    }


def unused(name):
    """Puts modules without content where crowd-kit imports from a library that it does not use here."""
    parent, _, own = name.rpartition(".")
    if parent:
        unused(parent)
    module = sys.modules.setdefault(name, Empty(name))
    if parent:
        setattr(sys.modules[parent], own, module)


class Empty(ModuleType):
    """Whatever is asked of it is a class."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


if __name__ == "__main__":
    found = compute()
    versions = {name: version(name) for name in ("crowd-kit", "numpy", "pandas", "scipy")}
    FILE.write_text(json.dumps({"versions": versions, **found}) + "\n")
