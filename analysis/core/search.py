"""The tables of search_quality: which of its students a figure is about, what p-values say in words at a level that was chosen
before, and how large a comparison would have to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.core import tell
from analysis.core.labels import WAYS
from analysis.core.settings import select
from analysis.core.statistics import LEVEL, holm

MEASURES = {
    "ndcg": "nDCG",
    "err": "ERR",
    "rbp": "RBP",
    "ap": "AP",
    "pfound": "pFound",
    "swift_success": "swift success (ours)",
    "block_coverage": "block coverage (ours)",
    "unharmed_success": "unharmed success (ours)",
}
OWN = ("swift_success", "block_coverage", "unharmed_success")
TESTS = {
    "permutation": "permutation",
    "swap": "swap at each rank",
    "bootstrap": "bootstrap",
    "t": "t",
    "wilcoxon": "Wilcoxon",
    "sign": "sign",
}
MODELS = {
    "position_based": "position based",
    "cascade": "cascade",
    "dbn": "DBN",
    "federated": "federated",
    "hurried": "hurried",
}
USUAL: dict[str, dict[str, Any]] = {
    "metrics": {"depth": 10, "page": "mixed", "click_model": "dbn", "noise": 0.5, "missing": 0.0},
    "labels": {"labels": 5, "bad_share": 0.4, "fault": "mixed"},
    "pvalue": {
        "depth": 10, "grading": "yandex", "p_break": 0.15, "queries": 1, "assessors": 3, "effect": 0.5, "gains": "even",
    },
}  # fmt: skip
"""Where the grids of the default preset meet, by task."""

ALPHA = 1 - LEVEL
POWER = 0.8


def usual(table: pd.DataFrame, task: str, *free: str, **fixed: Any) -> pd.DataFrame:
    """The students of a task that have the values `fixed` and, of every other axis that is not free, its usual value (`USUAL`) or, where
    that is not there, the first; in the most worlds that they have. With columns of words, in their order: metric, procedure (the
    test), clicks, way (to make labels), results, judges."""
    lines = select(table, {"task": task, **fixed})
    lines = lines[lines["worlds"] == lines["worlds"].max()]
    for axis, value in USUAL[task].items():
        if axis not in (*free, *fixed) and len(lines):
            lines = lines[lines[axis] == (value if (lines[axis] == value).any() else lines[axis].iloc[0])]
    numbers = {axis: sorted(set(lines[axis])) for axis in ("depth", "assessors")}
    words = {
        "metric": ("measure", MEASURES),
        "procedure": ("test", TESTS),
        "clicks": ("click_model", MODELS),
        "way": ("method", WAYS),
        "results": ("depth", {n: tell.count(n, "result") for n in numbers["depth"]}),
        "judges": ("assessors", {n: tell.count(n, "assessor") for n in numbers["assessors"]}),
    }
    named = {to: pd.Categorical(lines[axis].map(known), list(known.values())) for to, (axis, known) in words.items()}
    return lines.assign(**named)


def crossed(table: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """The lines with those values of a that were tried with as many values of b as any was: a whole grid."""
    tried = table.groupby(a)[b].transform("nunique")
    return table[tried == tried.max()]


def verdict(p: float, level: float = ALPHA) -> str:
    """`significantly better` or `not shown to be better`, of a one-sided p; what cannot be tested says so."""
    if np.isnan(p):
        return "cannot be tested so"
    return "significantly better" if p <= level else "not shown to be better"


def by_query(lines: pd.DataFrame) -> pd.DataFrame:
    """One line for each query: google, yandex (pFound), difference, p, in the order of the judgements, each the mean over seeds (which
    draw other rearrangements of the same judgements), and `holm`: p corrected for looking at all these queries."""
    order = list(dict.fromkeys(lines["query"]))
    means = lines.groupby("query")[["google", "yandex", "difference", "p", "results", "judges"]].mean().loc[order]
    return means.assign(holm=holm(means["p"].to_numpy())).reset_index()


def needed(table: pd.DataFrame, x: str, power: str, by: Sequence[str], goal: float = POWER) -> pd.DataFrame:
    """For each value of `by` the least x from which on the mean power over seeds stays at `goal` or above, NaN where none that was
    tried does; `most`: the largest x that was tried."""
    found = []
    for values, part in table.dropna(subset=[power]).groupby(list(by), observed=True):
        means = part.groupby(x)[power].mean().sort_index()
        below = means.index[means < goal]
        enough = means.index[means.index > below.max()] if len(below) else means.index
        line = dict(zip(by, values, strict=True))
        found.append({**line, x: float(enough.min()) if len(enough) else np.nan, "most": float(means.index.max())})
    return pd.DataFrame(found, columns=[*by, x, "most"])


ENGINES = ("google", "yandex")
ASKS = {
    "permutation": ("places of these results", "engines within a query"),
    "swap": ("places within a rank", ""),
    "bootstrap": ("other assessors, these pages", "queries drawn anew"),
    "t": ("mean over ranks", "mean over queries"),
    "wilcoxon": ("ranks of differences", "ranks of differences"),
    "sign": ("signs of differences", "signs of differences"),
}
"""What each test is about: of one query, and of many, where to swap is to permute."""


def by_test(lines: pd.DataFrame, many: bool) -> list[dict[str, str]]:
    """What each test says of one query, or of many, a line to show for each. lines: of the table `verdicts`. What a bootstrap of assessors
    finds is no verdict on engines, and is not called one."""
    found = []
    for test, values in lines.groupby("test", sort=False):
        p, about = float(values["p"].mean()), ASKS[str(test)][many]
        said = verdict(p)
        if test == "bootstrap" and not many and not np.isnan(p):
            said = "other assessors " + ("would see these pages so too" if p <= ALPHA else "may not see these pages so")
        shown = "" if np.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}"
        how = values["how"].iloc[0]
        found.append({"test": TESTS[str(test)], "is about": about, "p": shown, "counted over": how, "at 5 %": said})
    return [line for line in found if line["is about"]]


def query_lines(queries: pd.DataFrame) -> list[dict[str, str]]:
    """The lines of `by_query`, to show."""
    return [
        {
            "query": line["query"],
            **{engine: f"{line[engine]:.3f}" for engine in ENGINES},
            "difference": f"{line['difference']:+.3f}",
            "p": f"{line['p']:.4f}",
            "p, Holm": f"{line['holm']:.4f}",
            "results": f"{line['results']:.0f}",
            "assessors": f"{line['judges']:.0f}",
        }
        for _, line in queries.iterrows()
    ]


PAGE = pd.DataFrame(
    {
        "kind": ["ad", "answer", "link", "image", "image", "link"],
        "means": ["A", "A", "A", "B", "B", "A"],
        "harm": [0, 0, 1, 0, 0, 0],
        "grade": [1, 2, 3, 3, 2, 4],
    }
)
"""A results page to calculate by hand, the first element first: means: which of two intents it serves; harm: 1 where the element harms."""
MEANT = {"A": 0.7, "B": 0.3}  # how many mean what
EFFORT = {"link": 1.0, "ad": 1.0, "answer": 0.5, "image": 0.5}
SEEN = {"link": 1.0, "ad": 0.5, "answer": 1.0, "image": 1.0}
P_BREAK, PATIENCE, DECAY = 0.15, 5.0, 0.8

BY_HAND = {
    "kind": "element", "looks": "pLook", "effort": "C", "swift": f"pLook R exp(-C / {PATIENCE:g})", "served": f"seen {DECAY:g}^block R",
    "safe_looks": "pLook, no harm before", "unharmed": "pLook (1 - h) R, no harm before",
}  # fmt: skip
SUMS = {
    "pfound": "sum of pLook R",
    "swift_success": f"sum of pLook R exp(-C / {PATIENCE:g})",
    "block_coverage": " + ".join(
        f"{w:g} (1 - product over {u} of 1 - seen {DECAY:g}^block R)" for u, w in MEANT.items()
    ),
    "unharmed_success": "sum of pLook (1 - h) R, no harm before",
}
"""What the columns of `by_hand` are called, and what its values are made of."""


def by_hand(page: pd.DataFrame = PAGE, meant: Mapping[str, float] = MEANT) -> tuple[pd.DataFrame, dict[str, float]]:
    """The three metrics of ours of one page, an element at a time, and their values: {metric: value}, pFound beside them.

    A line for each element: R, looks (pFound's pLook), effort, swift (what it adds to swift success), block, served (seen_i .8^block R),
    safe_looks (the chance of a look with no harm before it), unharmed (what it adds to unharmed success).
    """
    lines: list[dict[str, Any]] = []
    look, safe, effort, block, before = 1.0, 1.0, 0.0, -1, ""
    for kind, harm, grade in zip(page["kind"], page["harm"], page["grade"], strict=True):
        R = (2**grade - 1) / 16
        effort += EFFORT[kind]
        block += not (kind == before and kind in ("image", "ad"))
        lines.append({
            "R": R, "looks": look, "effort": effort, "swift": look * R * np.exp(-effort / PATIENCE), "block": block,
            "served": SEEN[kind] * DECAY**block * R, "safe_looks": safe, "unharmed": safe * (1 - harm) * R,
        })  # fmt: skip
        look, before = look * (1 - R) * (1 - P_BREAK), kind
        safe = 0.0 if harm else safe * (1 - R) * (1 - P_BREAK)
    found = page.reset_index(drop=True).join(pd.DataFrame(lines))
    missed = {u: float(np.prod(1 - found.loc[found["means"] == u, "served"])) for u in meant}
    return found, {
        "pfound": float((found["looks"] * found["R"]).sum()),
        "swift_success": float(found["swift"].sum()),
        "block_coverage": sum(weight * (1 - missed[u]) for u, weight in meant.items()),
        "unharmed_success": float(found["unharmed"].sum()),
    }
