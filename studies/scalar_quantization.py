"""How few bits per component do vectors need, if every component has the best thresholds there are?

Product quantisation in the extreme case M = D: each component of a vector is quantised apart from the others, so
instead of clusters it needs thresholds, those for which the component's squared error is least. Asked: error, recall of
neighbours and accuracy of nearest neighbours over bits, by how thresholds are found, beside faiss at equal bytes.

Expected (full data, 3 seeds): exact thresholds of 4 bits leave .44 % of the variance of MNIST's vectors as error,
faiss's scalar quantiser 2.8 times that (CIFAR-10: .20 %, 6.6 times). Recall@10 with one bit per component: bits
allocated after PCA have 88.9 % on MNIST, faiss PQ of as many bytes 73.2 %; on CIFAR-10 it is 78.8 and 84.8 %.

    python studies/scalar_quantization.py
"""

from studies.harness import Preset, Study, between, grid, main, one_of

METHODS = ("uniform", "quantile", "lloyd", "exact", "allocated", "faiss_sq", "faiss_pq")
BITS = between(1, 8)
OWN: dict[str, tuple] = {"method": METHODS[:5], "rotation": ("none",), "bits": tuple(range(1, 9))}
TURNED: dict[str, tuple] = {"method": ("exact", "allocated"), "rotation": ("pca",), "bits": (1, 2, 4)}
FAISS: dict[str, tuple] = {"rotation": ("none",)}

STUDY = Study(
    name="scalar_quantization",
    question=__doc__,
    trainable="trainables.scalar_quantization:ScalarQuantization",
    datasets=("mnist", "cifar10"),
    metric="val_recall_10",
    noise=0.0022,
    mode="max",
    metrics=(
        *("train_distortion", "distortion", "bytes"),
        *(f"{split}_recall_{r}" for split in ("val", "test") for r in (1, 10, 100)),
        *("val_accuracy", "test_accuracy", "exact_val_accuracy", "exact_test_accuracy"),
        *("train_seconds", "encode_ms", "search_ms", "load"),
    ),
    artifact_table="vectors",
    among=("method", "rotation"),
    tables={"components": (), "thresholds": ("component",)},
    trials={
        "dataset": grid("mnist", "cifar10", limit=one_of("mnist", "cifar10"), help="Whose images become vectors."),
    },
    students={
        "method": grid(
            *METHODS,
            limit=one_of(*METHODS),
            help=(
                "How thresholds are found, the same bits for every component: uniform between the ends, quantiles, "
                "Lloyd-Max from several starts, exact; allocated: exact, bits by component of the same sum; faiss's "
                "scalar and product quantiser."
            ),
        ),
        "rotation": grid(
            "none",
            limit=one_of("none", "pca", "opq"),
            help="Of the vectors, before: none, onto principal axes, or these dealt to the subspaces of faiss_pq.",
        ),
        "bits": grid(*range(1, 9), limit=BITS, help="Per component, in the mean: bytes are bits x components / 8."),
        "seed": grid(0, 1, 2, help="Which vectors teach and which are the database; starts of lloyd and faiss."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works: MNIST, without faiss and without pretrained weights",
            core_seconds=0.3,
            axes={"dataset": ("mnist",), "seed": (0, 1)},
            grids=(
                {"method": ("uniform", "quantile", "lloyd", "exact", "allocated"), "bits": (1, 2, 3)},
                {"method": ("exact", "allocated"), "rotation": ("pca",), "bits": (1, 2)},
            ),
            pack=32,
        ),
        "course": Preset(
            "what the assignment asks, with the full data; needs the extras lite and quantization",
            core_seconds=3.0,
            grids=(
                OWN,
                TURNED,
                {**FAISS, "method": ("faiss_sq",), "bits": (4, 6, 8)},
                {**FAISS, "method": ("faiss_pq",), "bits": (1, 2, 4)},
                {"method": ("faiss_pq",), "rotation": ("opq",), "bits": (1, 2, 4)},
            ),
            pack=80,
            worker_mib=2500,
        ),
    },
)

if __name__ == "__main__":
    main(STUDY)
