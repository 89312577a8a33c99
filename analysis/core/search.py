"""The tables of search_quality: which of its students a figure is about, what p-values say in words at a level that was chosen
before, and how large a comparison would have to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.core import tell
from analysis.core.choice import choose
from analysis.core.labels import WAYS
from analysis.core.settings import by_seed, select
from analysis.core.statistics import LEVEL, compare, holm

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
PARAMETERS = {
    "ndcg": ("power c of the gain 2^(c g) - 1", 0.1, 1.5),
    "err": ("R of the highest grade, over 15/16", 0.5, 1.06),
    "rbp": ("persistence p", 0.5, 0.95),
    "ap": ("least grade that counts as relevant", 1.0, 3.0),
    "pfound": ("pBreak", 0.05, 0.4),
    "swift_success": ("patience", 2.5, 10.0),
    "block_coverage": ("decay from block to block", 0.6, 0.95),
    "unharmed_success": ("pBreak", 0.05, 0.4),
}
"""The parameter that is a metric's own, and the low and the high value that it is tried with."""
ALPHA = round(1 - LEVEL, 6)
"""The usual level of a test."""
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
        "depth": 10, "grading": "yandex", "p_break": 0.15, "level": ALPHA, "queries": 1, "assessors": 3, "effect": 0.5, "gains": "even",
    },
}  # fmt: skip
"""Where the grids of the default preset meet, by task."""

POWER = 0.8


def usual(table: pd.DataFrame, task: str, *free: str, **fixed: Any) -> pd.DataFrame:
    """The students of a task that have the values `fixed` and, of every other axis that is not free, its usual value (`USUAL`) or, where
    that is not there, the first; in the most worlds that they have. With columns of words, in their order: metric, procedure (the
    test), clicks, way (to make labels), results, judges."""
    told = table["level"].fillna(ALPHA) if "level" in table else ALPHA  # older runs and the usual level have none
    lines = select(table.assign(level=told), {"task": task, **fixed})
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


def swept(table: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The table where it has several values of an axis, else none of its lines: there is nothing to see over a single one."""
    return table if table[axis].nunique() > 1 else table[:0]


def verdict(p: float, level: float = ALPHA, least: float = np.nan, few: str = "results that differ") -> str:
    """`significantly better` or `not shown to be better`, of a one-sided p; what cannot be tested says so, and so does a test whose
    least possible p is above the level. few: what there is too little of then."""
    if np.isnan(p):
        return "cannot be tested so"
    if least > level:
        return f"cannot tell: too few {few} (p is never below {least:.2g})"
    return "significantly better" if p <= level else "not shown to be better"


def robust(ways: pd.Series, level: float = ALPHA, least: pd.Series | None = None) -> str:
    """Whether the choices that nobody is forced to turn a verdict; ways: p under each of them. least: the least that it could be there;
    choices that cannot tell at the level are left out."""
    blind = pd.Series(False, ways.index) if least is None else least.reindex(ways.index) > level
    all_of_them, ways = len(ways), ways[~blind]
    if ways.empty:
        return f"none of {all_of_them} choices of depth, grading and pBreak could tell at that level"
    told, n = int((ways <= level).sum()), len(ways)
    said = f"p is at most {level:g} in {told} of {n} choices of depth, grading and pBreak ({ways.min():.3f} to {ways.max():.3f})"
    said += f" ({all_of_them - n} more are left out: p cannot get down to the level there)" * (n < all_of_them)
    if 0 < told < n:
        return f"{said}: **not robust**, a choice turns the verdict, so the difference is **not told**"
    return f"{said}: no choice turns the verdict"


def by_query(lines: pd.DataFrame) -> pd.DataFrame:
    """One line for each query: google, yandex (pFound), difference, p, the least that it can be (NaN in older runs), in the order of
    the judgements, each the mean over seeds (which draw other rearrangements of the same judgements), and `holm`: p corrected for looking
    at all these queries."""
    order = list(dict.fromkeys(lines["query"]))
    columns = ["google", "yandex", "difference", "p", "least", "results", "judges"]
    known = lines if "least" in lines else lines.assign(least=np.nan)
    means = known.groupby("query")[columns].mean().loc[order]
    return means.assign(holm=holm(means["p"].to_numpy())).reset_index()


def serves(table: pd.DataFrame, measure: str, margin: float | None) -> pd.DataFrame:
    """For which users a metric of ours may be the main one: a line for each kind of `clicks`, the metric against the best of the usual,
    which validation chooses for them (`base`), judged together (see `statistics.compare`). table: one line per student, see `usual`."""
    pairs = {}
    for users, lines in table.groupby("clicks", observed=True):
        known = lines[~lines["measure"].isin(OWN)]
        best = choose(known, ["metric"], by="val_users_agreement", report="test_users_agreement", margin=margin)
        if best:
            ours = by_seed(lines[lines["measure"] == measure], "test_users_agreement")
            pairs[str(users), best.best["metric"]] = ours, best.by_seed()
    return compare(pairs, ["users", "base"])


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


def by_test(lines: pd.DataFrame, many: bool, level: float = ALPHA) -> list[dict[str, str]]:
    """What each test says of one query, or of many, a line to show for each. lines: of the table `verdicts`, which in older runs has no
    `least`. What a bootstrap of assessors finds is no verdict on engines, and is not called one."""
    found = []
    for test, values in lines.groupby("test", sort=False):
        p, about = float(values["p"].mean()), ASKS[str(test)][many]
        least = float(values["least"].mean()) if "least" in values else np.nan
        of_assessors = test == "bootstrap" and not many
        few = "queries that differ" if many else "assessors" if of_assessors else "results that differ"
        said = verdict(p, level, least, few)
        if of_assessors and not (np.isnan(p) or least > level):
            said = "other assessors " + ("would see these pages so too" if p <= level else "may not see these pages so")
        line = {"test": TESTS[str(test)], "is about": about, "p": shown(p), "least possible p": shown(least)}
        found.append({**line, "counted over": values["how"].iloc[0], f"at {100 * level:g} %": said})
    return [line for line in found if line["is about"]]


def shown(p: float) -> str:
    """A p value as tables say it; blank where there is none."""
    return "" if np.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def query_lines(queries: pd.DataFrame) -> list[dict[str, str]]:
    """The lines of `by_query`, to show."""
    return [
        {
            "query": line["query"],
            **{engine: f"{line[engine]:.3f}" for engine in ENGINES},
            "difference": f"{line['difference']:+.3f}",
            "p": f"{line['p']:.4f}",
            "p, Holm": f"{line['holm']:.4f}",
            "least possible p": shown(line["least"]),
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

    A line for each element: R, looks (pFound's pLook), effort, swift (what it adds to swift success), block, seen (the chance that the kind of element is taken note of), served (seen_i .8^block R),
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
            "seen": SEEN[kind], "served": SEEN[kind] * DECAY**block * R, "safe_looks": safe, "unharmed": safe * (1 - harm) * R,
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
