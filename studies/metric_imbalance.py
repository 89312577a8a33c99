"""Which metrics of a classifier are sensitive to class imbalance?

A classifier stays as it is and the share of positives (prevalence) falls from 0.5 to 0.001: which of accuracy,
precision, recall, specificity, F_beta, MCC, kappa, ROC-AUC, PR-AUC, Brier score and others move, by which term, and
what else moves when the threshold follows the prevalence? Simulated normal scores, whose theory is known, and
logistic regression of MNIST's digits, one against the rest.

Expected (full data, 5 seeds): with a fixed threshold recall, specificity, balanced accuracy, G-mean and ROC-AUC stay;
at prevalence 0.001 precision has 0.014 of its value at balance, F1 0.033, MCC 0.14, PR-AUC 0.11 (of ten positives; in
theory 0.067). A threshold that follows the prevalence moves these too, but for ROC-AUC, which has none.

    python studies/metric_imbalance.py
"""

from studies.harness import Preset, Study, above, at_least, between, grid, main, one_of
from trainables.metric_imbalance import METRICS, RULES, SOURCES

SIMULATION = {"source": ("simulation",)}
MNIST = {"source": ("mnist",), "prevalence": (0.01, 0.03, 0.1, 0.3, 0.5)}


def canonical(config):
    """The simulation has no digits; digits are as many and as far apart as they are."""
    if config["source"] == "simulation":
        return {**config, "positive": 8}
    return {**config, "separability": 2.0, "size": 10_000}


STUDY = Study(
    name="metric_imbalance",
    question=__doc__,
    trainable="trainables.metric_imbalance:MetricImbalance",
    metric="val_balanced_accuracy",
    noise=0.0007,
    mode="max",
    metrics=(
        "val_balanced_accuracy",
        *(f"{of}_{name}" for of in ("test", "spread") for name in METRICS),
        "silent_share",
    ),
    trials={
        "source": grid(
            *SOURCES, limit=one_of(*SOURCES), help="Simulated normal scores, or logistic regression of MNIST's digits."
        ),
        "separability": grid(
            1.0,
            2.0,
            3.0,
            limit=above(0),
            help="d' of the simulation: distance of the classes' scores in standard deviations.",
        ),
        "positive": grid(0, 8, limit=between(0, 9), help="The digit of MNIST that is told from all others."),
        "size": grid(10_000, limit=at_least(20), help="Cases of a simulated test set, and of its validation set."),
        "worlds": grid(200, limit=at_least(2), help="Test sets of every student."),
    },
    students={
        "prevalence": grid(
            *(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5),
            limit=between(0, 0.5, "(]"),
            help="Share of positives in every test set.",
        ),
        "rule": grid(
            *RULES,
            limit=one_of(*RULES),
            help=(
                "How the threshold is set: 5 % of negatives above it, whatever the prevalence; a probability of one "
                "half; the most F1 on validation; as many called positive as there are."
            ),
        ),
        "seed": grid(*range(5), help="The test sets, and the classifier of digits."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.05,
            axes={"worlds": (20,), "size": (2000,), "seed": (0, 1), "separability": (2.0,), "positive": (8,)},
            grids=({**SIMULATION, "prevalence": (0.01, 0.1, 0.5)}, {**MNIST, "prevalence": (0.03, 0.1, 0.5)}),
            pack=32,
        ),
        "course": Preset("what the assignment asks", core_seconds=0.45, grids=(SIMULATION, MNIST), pack=32),
        "sizes": Preset(
            "how much one test set says: from 1,000 to 100,000 cases",
            core_seconds=1.0,
            axes={
                "source": ("simulation",),
                "separability": (2.0,),
                "size": (1000, 3000, 10_000, 30_000, 100_000),
                "prevalence": (0.01, 0.03, 0.1, 0.3, 0.5),
            },
            pack=32,
            worker_mib=4000,
        ),
        "digits": Preset(
            "every digit of MNIST against the rest",
            core_seconds=0.3,
            axes={**MNIST, "positive": tuple(range(10))},
            pack=32,
        ),
    },
    artifact_table="classifiers",
    among=("rule",),
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
