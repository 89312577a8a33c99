"""Is a small model better off with distilled data, with a large model's answers, or with both?

A large network hands its knowledge to a small one; a few images stand for a whole data set. Together: the large network
learns from the distilled images, and the small one from these images and from what the large one says of them. Asked:
the small network's test accuracy over data (all, random images, k-means, MTT), teacher (none, one that learnt from the
same images, one that learnt from all), temperature and lambda, and what it all costs.

Expected (MNIST, 3 seeds, intervals of 95 %, all trainings 200 steps): both together 87.5 % (85.3 to 89.7) with 1 image
per class, 91.3 (90.7 to 91.8) with 10; distilled data alone 84.4 (81.8 to 87.0) and 90.9 (90.3 to 91.6), not told
apart by Holm over all 20 comparisons; random images with their teacher 45.3, 76.9; all data 92.4 without and 93.1 %
with a teacher. 2 minutes on two cores.

    python studies/combined_distillation.py
"""

from studies.harness import Preset, Study, above, between, grid, loguniform, main, one_of, uniform
from trainables.combined import DATASETS, FULL, IMAGES, SIZES, TEACHERS
from trainables.core.distilled import EFFORTS
from trainables.core.nets import CONVNETS, NETWORKS, PERCEPTRONS


def canonical(config):
    """Who is not heard is not there; the large network is taught by nobody; all real images are as many as they are."""
    config = dict(config)
    if config["learner"] == "large" or config["kd_weight"] == 0:
        config["teacher"] = "none"
    if config["teacher"] == "none":
        config |= {"temperature": 1.0, "kd_weight": 0.0}
    if config["images"] == FULL:
        config |= {"per_class": 1, "teacher": FULL if config["teacher"] == "same" else config["teacher"]}
    return config


ALONE = {"teacher": ("none",), "kd_weight": (0.0,), "temperature": (1.0,)}

STUDY = Study(
    name="combined_distillation",
    question=__doc__,
    trainable="trainables.combined:Combined",
    datasets=("mnist", "cifar10"),
    metric="val_accuracy",
    noise=0.0038,
    mode="max",
    metrics=("train_loss", "val_accuracy", "test_accuracy", "spread", "cost_seconds", "images_seen"),
    tables={"confusions": ("truth", "answer")},
    trials={
        "dataset": grid("mnist", limit=one_of(*DATASETS), help="Whose images."),
        "images": grid(
            *(FULL, "random", "kmeans", "mtt"),
            limit=one_of(*IMAGES),
            help="What students learn from: all real images (full), or a small set: random, k-means, MTT, others.",
        ),
        "per_class": grid(1, 10, limit=above(0), help="Images of each class in a small set."),
        "network": grid(
            "perceptron_128", limit=one_of(*PERCEPTRONS, *CONVNETS), help="What MTT learns the images for."
        ),
        "effort": grid("course", limit=one_of(*EFFORTS), help="What learning a set may cost."),
        "teacher": grid(
            *TEACHERS,
            limit=one_of(*TEACHERS),
            help="Who softens the labels: nobody; the large network after the same images, or after all (full).",
        ),
        "learner": grid(*SIZES, limit=one_of(*SIZES), help="Which network learns; the large one from hard labels."),
        "small": grid("perceptron_32", limit=one_of(*NETWORKS), help="The small network."),
        "large": grid("mlp_300", limit=one_of(*NETWORKS), help="The large network."),
        "networks": grid(2, limit=above(0), help="Freshly drawn networks of a student, whose mean counts."),
        "steps": grid(200, limit=above(0), help="Length of every training, the teacher's too, in batches."),
    },
    students={
        "temperature": grid(
            *(1.0, 2.0, 4.0, 8.0), limit=above(0), help="T of the softened softmax.", search=loguniform(1, 64)
        ),
        "kd_weight": grid(
            *(0.25, 0.5, 0.75, 1.0), limit=between(0, 1), help="lambda, the teacher's weight.", search=uniform(0, 1)
        ),
        "lr": grid(0.03, limit=above(0), help="Peak learning rate of SGD with Nesterov momentum."),
        "seed": grid(0, 1, 2, help="The set with its start and experts, the teacher, and the networks."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.5,
            axes={
                "effort": ("smoke",),
                "network": ("perceptron_32",),
                "large": ("perceptron_128",),
                "per_class": (1,),
                "networks": (2,),
                "steps": (20,),
                "lr": (0.03,),
                "temperature": (1.0, 4.0),
                "kd_weight": (0.5, 1.0),
                "seed": (0, 1),
            },
            grids=(
                {**ALONE, "learner": SIZES},
                {"teacher": ("same", FULL), "learner": ("small",)},
            ),
            pack=48,
        ),
        "course": Preset(
            "what the assignment asks, on MNIST",
            core_seconds=0.12,
            prepare_seconds=70,
            grids=({**ALONE, "learner": SIZES}, {"teacher": ("same", FULL), "learner": ("small",)}),
            pack=48,
        ),
        "cifar10": Preset(
            "CIFAR-10 with still less effort",
            core_seconds=1.0,
            prepare_seconds=600,
            axes={
                "dataset": ("cifar10",),
                "images": (FULL, "random", "mtt"),
                "effort": ("brief",),
                "temperature": (1.0, 4.0),
                "kd_weight": (0.5, 1.0),
            },
            grids=({**ALONE, "learner": SIZES}, {"teacher": ("same", FULL), "learner": ("small",)}),
            pack=48,
        ),
        "paper": Preset(
            "ConvNets, and the effort of MTT's paper: for a GPU",
            core_seconds=1000.0,
            prepare_seconds=500_000,
            axes={
                "dataset": ("cifar10", "mnist"),
                "per_class": (1, 10, 50),
                "network": ("convnet_128",),
                "small": ("convnet_32",),
                "large": ("convnet_128",),
                "effort": ("paper",),
                "steps": (5000,),
            },
            grids=({**ALONE, "learner": SIZES}, {"teacher": ("same", FULL), "learner": ("small",)}),
        ),
    },
    artifact_table="lessons",
    among=("temperature", "kd_weight", "lr"),
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
