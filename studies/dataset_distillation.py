"""How few images can stand for a whole data set?

Of each class one image, or ten, are chosen, averaged or learnt, so that a network that learns from them alone does well
on real ones. Asked: test accuracy of freshly drawn networks by how the images are made (random ones, means, k-means,
distribution matching, matching of training trajectories: MTT), by how many there are, and by what learns from them.

Expected (MNIST, an MLP of 128 units, 3 seeds, intervals of 95 %): MTT 88.7 % (86.4 to 91.0) with 1 image per class and
92.2 (91.9 to 92.4) with 10; random real images 46.8 and 77.1, k-means 80.7 and 87.6, the whole data 95.6. A small CNN
gets no more from MTT's images than from k-means that three seeds can tell. 4 to 13 minutes on two cores, by processor,
sets and experts included.

    python studies/dataset_distillation.py
"""

from studies.harness import Preset, Study, above, grid, main, one_of
from trainables.core.distilled import EFFORTS
from trainables.core.nets import CONVNETS, NETWORKS, PERCEPTRONS
from trainables.matching import DATASETS, SOURCES, WHOLE

FEW = tuple(method for method in SOURCES if method != WHOLE)


def rates(*methods):
    """Grids: all images at higher rates, sets of few images at the axis's own."""
    return {"method": (WHOLE,), "lr": (0.03, 0.1, 0.2)}, {"method": methods}


def canonical(config):
    """The whole data have as many images as they have."""
    return {**config, "per_class": 1} if config["method"] == WHOLE else config


STUDY = Study(
    name="dataset_distillation",
    question=__doc__,
    trainable="trainables.matching:Matching",
    datasets=("mnist", "cifar10"),
    metric="val_accuracy",
    mode="max",
    metrics=("train_loss", "val_accuracy", "test_accuracy", "spread"),
    tables={"confusions": ("truth", "answer")},
    trials={
        "dataset": grid("mnist", limit=one_of(*DATASETS), help="Whose images, and what is asked of those who learn."),
        "method": grid(
            *SOURCES,
            limit=one_of(*SOURCES),
            help=(
                "How the set is made: all images that train (whole), random ones, class means, centres of k-means, "
                "distribution matching (dm), kernel inducing points (kip), trajectory matching (mtt)."
            ),
        ),
        "per_class": grid(1, 10, limit=above(0), help="Images of each class in the set."),
        "network": grid(
            "perceptron_128", limit=one_of(*PERCEPTRONS, *CONVNETS), help="What dm and mtt learn the images for."
        ),
        "effort": grid(
            "course", limit=one_of(*EFFORTS), help="What learning a set may cost: experts, steps, iterations."
        ),
        "learner": grid(
            *("perceptron_128", "cnn_small"),
            limit=one_of(*NETWORKS),
            help="What learns from the set; others than `network` ask whether the set serves them too.",
        ),
        "networks": grid(5, limit=above(0), help="Freshly drawn networks of a student, whose mean counts."),
        "steps": grid(200, limit=above(0), help="Length of their training, in batches."),
    },
    students={
        "lr": grid(0.003, 0.01, 0.03, limit=above(0), help="Peak learning rate of SGD with Nesterov momentum."),
        "seed": grid(0, 1, 2, help="The set with its start and experts, and the networks."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.5,
            axes={
                "effort": ("smoke",),
                "network": ("perceptron_32",),
                "learner": ("perceptron_32",),
                "networks": (2,),
                "steps": (20,),
                "lr": (0.01, 0.1),
                "seed": (0, 1),
            },
        ),
        "course": Preset(
            "what the assignment asks, on MNIST and little effort",
            core_seconds=1.7,
            prepare_seconds=50,
            grids=rates(*FEW),
        ),
        "cifar10": Preset(
            "CIFAR-10 with still less effort",
            core_seconds=3.0,
            prepare_seconds=600,
            axes={"dataset": ("cifar10",), "effort": ("brief",), "learner": ("perceptron_128",)},
            grids=rates("random", "class_means", "kmeans", "mtt"),
        ),
        "paper": Preset(
            "the paper's: ConvNet of 128 channels, 100 experts, 5,000 iterations: for a GPU",
            core_seconds=1000.0,
            prepare_seconds=500_000,
            grids=rates(*FEW),
            axes={
                "dataset": ("cifar10", "mnist"),
                "per_class": (1, 10, 50),
                "network": ("convnet_128",),
                "learner": ("convnet_128",),
                "effort": ("paper",),
                "steps": (1000,),
                "seed": (0,),
            },
        ),
    },
    artifact_table="sets",
    among=("lr",),
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
