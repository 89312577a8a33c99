"""What makes a metric, a label and a difference of two search engines worth trusting?

Three tasks, each a sweep over simulated worlds. metrics: five usual metrics of search quality and three of our own,
judged by whether they order results pages as simulated users do. labels: majority vote, Dawid-Skene and GLAD, and three
methods that repair the labels of bad assessors. pvalue: is Google significantly better than Yandex for a query, by six
tests, on judgements of a file and in worlds where the truth is known.

Expected (5 seeds, intervals of 95 %): on mixed pages users agree with unharmed success in 77.7 % of pairs of pages
(77.2 to 78.2), with pFound in 5.6 points fewer; swift success is ahead for those alone who pay for effort. With five
labels per document and 40 % bad assessors adaptive labels are 80.4 % right (79.2 to 81.6). 50 queries find a difference
of 0.4 grades in 86.8 % of comparisons (79.3 to 94.3); one query finds one of two grades in 32 % by permutation, in 91 %
by t. Two minutes on two cores.

    python studies/search_quality.py
    python studies/search_quality.py --form mine.csv          # an empty form, for judgements of your own
    python studies/search_quality.py --preset judgements --judgements mine.csv --level 0.01
"""

from studies.harness import Preset, Study, above, at_least, between, grid, main, one_of
from trainables.search_quality import TASKS, assessors, judgements, metrics, significance
from trainables.search_quality.judgements import GRADINGS
from trainables.search_quality.worlds import CLICK_MODELS, PAGES

OF_TASK = {
    "metrics": ("depth", "page", "click_model", "noise", "missing", "measure"),
    "labels": ("labels", "bad_share", "fault", "method"),
    "pvalue": ("depth", "judgements", "grading", "p_break", "level", "queries", "assessors", "effect", "gains", "test"),
}
ASIDE = {
    "depth": 10, "page": "plain", "click_model": "cascade", "noise": 0.0, "missing": 0.0, "measure": "ndcg",
    "labels": 1.0, "bad_share": 0.0, "fault": "mixed", "method": "majority",
    "judgements": "example", "grading": "yandex", "p_break": 0.15, "level": None, "queries": 1, "assessors": 1,
    "effect": 0.5, "gains": "even", "test": "sign",
}  # fmt: skip


def canonical(config):
    """Axes of other tasks are set aside. A plain page draws no looks to its blocks; of many queries to swap is to
    permute."""
    c = {**config, **{name: value for name, value in ASIDE.items() if name not in OF_TASK[config["task"]]}}
    if c["task"] == "metrics" and c["page"] == "plain" and c["click_model"] == "federated":
        c["click_model"] = "position_based"
    if c["task"] == "pvalue" and c["queries"] == 1:
        c["gains"] = "even"
    elif c["task"] == "pvalue" and c["test"] == "swap":
        c["test"] = "permutation"
    if c["level"] == significance.LEVEL:
        c["level"] = None  # so are students called that are older than the axis
    return c


METRICS = {"task": ("metrics",), "method": ("majority",), "test": ("sign",)}
LABELS = {"task": ("labels",), "measure": ("ndcg",), "test": ("sign",)}
PVALUE = {"task": ("pvalue",), "measure": ("ndcg",), "method": ("majority",)}
MULTIVERSE = {
    **PVALUE, "worlds": (200,), "depth": (3, 5, 10), "grading": tuple(GRADINGS), "p_break": (0.05, 0.15, 0.4),
}  # fmt: skip
MANY = {**PVALUE, "worlds": (200,), "test": ("permutation", "bootstrap", "t", "wilcoxon", "sign")}

STUDY = Study(
    name="search_quality",
    question=__doc__,
    trainable="trainables.search_quality:SearchQuality",
    datasets=(),  # simulated, and a file of judgements
    metric="val_users_agreement",
    goals={"metrics": "val_users_agreement", "labels": "val_accuracy", "pvalue": "val_detected_share"},
    mode="max",
    metrics=(*metrics.COLUMNS, *assessors.COLUMNS, *significance.COLUMNS),
    artifact_table="judgements",
    tables={"verdicts": ("query",)},
    among=("measure", "method", "test"),
    writes_form=judgements.write_form,
    trials={
        "task": grid(*TASKS, limit=one_of(*TASKS), help="Metrics of search quality, labels of assessors, or p-values."),
        "worlds": grid(
            50,
            limit=at_least(2),
            help="Simulated worlds, in each of validation and test (labels: in pairs, an odd number is one more).",
        ),
        "depth": grid(10, limit=between(1, 20), help="Results of an engine that are judged (metrics, pvalue)."),
        "page": grid(
            "mixed",
            limit=one_of(*PAGES),
            help=(
                "metrics: plain has links alone, one intent and no harm; mixed has answers, images, ads, and harmful "
                "results."
            ),
        ),
        "click_model": grid("dbn", limit=one_of(*CLICK_MODELS), help="metrics: how users look at a page and click."),
        "noise": grid(0.5, limit=at_least(0), help="metrics: standard deviation of a judge's grade, in grades."),
        "missing": grid(0.0, limit=between(0, 1, "[)"), help="metrics: share of the results that nobody judged."),
        "labels": grid(3.0, limit=between(1, assessors.ASSESSORS), help="labels: labels per item in the mean."),
        "bad_share": grid(0.0, limit=between(0, 1), help="labels: share of the assessors who are bad."),
        "fault": grid(
            "mixed",
            limit=one_of(*assessors.CREWS),
            help="labels: what is wrong with the bad ones; mixed: with each something else.",
        ),
        "judgements": grid(
            "example",
            stamp=judgements.stamped,
            help="pvalue: a CSV file of query,engine,rank,url,grade,assessor (see --form), or the made-up example.",
        ),
        "grading": grid("yandex", limit=one_of(*GRADINGS), help="pvalue: what a grade is worth, as pRel."),
        "p_break": grid(0.15, limit=between(0, 1, "[)"), help="pvalue: chance that a user gives up after a result."),
        "level": grid(
            significance.LEVEL,
            limit=between(0.01, 0.5),
            help="pvalue: the level, chosen before looking: the largest p that is called significant (least here: 499 "
            "rearrangements of a simulated comparison say little below).",
        ),
        "queries": grid(1, limit=at_least(1), help="pvalue: queries of a simulated comparison."),
        "assessors": grid(3, limit=at_least(1), help="pvalue: assessors of a simulated comparison."),
        "effect": grid(
            0.5, limit=above(0), help="pvalue: by how much google is better in a simulated comparison, in grades."
        ),
        "gains": grid(
            "even",
            limit=one_of(*significance.GAINS),
            help="pvalue: whether every query has the effect, or one in five all of it.",
        ),
    },
    students={
        "measure": grid(*metrics.MEASURES, limit=one_of(*metrics.MEASURES), help="metrics: the metric."),
        "method": grid(
            *assessors.METHODS, limit=one_of(*assessors.METHODS), help="labels: what makes labels of answers."
        ),
        "test": grid(*significance.TESTS, limit=one_of(*significance.TESTS), help="pvalue: the statistical test."),
        "seed": grid(0, 1, 2, 3, 4, help="The simulated worlds, and what a test draws."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.05,
            pack=8,
            worker_mib=500,
            axes={"worlds": (20,), "seed": (0, 1)},
            grids=(
                {**METRICS, "click_model": ("cascade", "dbn"), "noise": (0.0, 1.0)},
                {**LABELS, "labels": (3.0, 5.0), "bad_share": (0.2, 0.4)},
                {**PVALUE, "grading": ("yandex", "binary"), "p_break": (0.15, 0.3)},
                {**PVALUE, "queries": (10, 20)},
            ),
        ),
        "judgements": Preset(
            "p-values of a file of judgements alone, for every choice of depth, grading and p_break: a minute",
            core_seconds=0.2,
            pack=8,
            worker_mib=500,
            grids=(MULTIVERSE,),
            axes={"seed": (0,)},
        ),
        "course": Preset(
            "what the assignment asks: two minutes on two cores",
            core_seconds=0.045,
            pack=8,
            worker_mib=800,
            grids=(
                {**METRICS, "page": PAGES, "click_model": CLICK_MODELS},
                {**METRICS, "noise": (0.0, 0.5, 1.0, 1.5), "missing": (0.0, 0.2, 0.4, 0.6)},
                {**METRICS, "depth": (3, 5, 10, 20)},
                {
                    **LABELS,
                    "worlds": (60,),
                    "labels": (1.0, 2.0, 3.0, 5.0, 8.0, 12.0),
                    "bad_share": (0.0, 0.2, 0.4, 0.6),
                },
                {**LABELS, "worlds": (60,), "labels": (5.0,), "bad_share": (0.4,), "fault": assessors.CREWS},
                {**MULTIVERSE, "seed": (0, 1, 2)},
                {**PVALUE, "worlds": (200,), "depth": (5, 10, 20), "effect": (0.5, 1.0, 2.0), "assessors": (1, 3, 10)},
                {**MANY, "queries": (5, 10, 25, 50, 100), "effect": (0.1, 0.2, 0.4)},
                {**MANY, "queries": (50,), "effect": (0.2, 0.4), "gains": significance.GAINS},
            ),
        ),
    },
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
