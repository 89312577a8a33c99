"""What tells two digits apart, and how sure can a linear model be?

Binary logistic regression on all 45 pairs of MNIST classes, by features and penalty. Asked: the accuracy of each pair,
the covariance of the features and of the estimated weights, and which dependencies in the feature space are
significant. A pair minimises its mean log loss + l2/2 |w|^2 (scikit-learn's C is 1 / (n l2)) on standardised features.

Expected (full data, 3 seeds, interval of 95 %): 98.8 % (98.8 to 98.9) of a pair's test digits in the mean of 45 pairs;
hardest 5/8, 96.4 %. With pixels 38 of 45 pairs are separable, so without a penalty they have no finite solution. 3
minutes on two cores.

    python studies/pairwise_logreg.py
"""

from studies.harness import Preset, Study, above, grid, loguniform, main, one_of


def canonical(config):
    """Only principal components are counted."""
    return config if config["features"] == "pca" else {**config, "components": 64}


features = ("pixels", "pooled", "pca")

STUDY = Study(
    name="pairwise_logreg",
    question=__doc__,
    trainable="trainables.logistic:PairwiseLogistic",
    metric="val_accuracy",
    noise=0.0003,
    mode="max",
    metrics=("train_loss", "val_accuracy", "test_accuracy", "worst_test_accuracy", "vote_accuracy"),
    trials={
        "features": grid(
            *features,
            limit=one_of(*features),
            help=(
                "Pixels, means of 2 x 2 pixels, or principal components; constant ones are dropped, all are "
                "standardised."
            ),
        ),
        "components": grid(64, limit=above(0), help="Principal components that pca keeps."),
    },
    students={
        "l2": grid(
            *(1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5),
            limit=above(0),
            help="Penalty on the mean loss of a pair; scikit-learn's C is 1 / (n l2).",
            search=loguniform(1e-5, 1),
        ),
        "seed": grid(0, 1, 2, help="Which twelfth of the training digits is held out for validation."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.6,
            axes={"features": ("pooled",), "l2": (0.1, 1e-3), "seed": (0, 1)},
        ),
        "course": Preset("what the assignment asks: 3 minutes on two cores with the full data", core_seconds=4.0),
        "paper": Preset(
            "a finer path, more components, ten folds",
            core_seconds=20.0,
            axes={
                "components": (16, 64, 256),
                "l2": tuple(10 ** (-k / 3) for k in range(16)),
                "seed": tuple(range(10)),
            },
            pack=16,
        ),
    },
    artifact_table="features",
    tables={
        "pairs": ("first", "second"),
        "weights": ("first", "second"),
        "weight_correlations": ("first", "second"),
        "errors": ("first", "second", "position"),
        "separability": ("first", "second"),
    },
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
