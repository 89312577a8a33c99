"""What do augmentation, gradual unfreezing and an adaptive learning rate each add to fine-tuning?

A network with pretrained weights is fine-tuned on a part of CIFAR-10, plainly or with any of three things on: iterative
augmentation (its strength grows in stages), iterative unfreezing (layers thaw from the top, lower ones learn more
slowly: ULMFiT, arXiv 1801.06146), an adaptive learning rate (one cycle, or falling where validation stalls). Asked:
test accuracy of all eight combinations, the effect of each thing and their interactions.

Expected (EfficientNet-lite0, 1,000 labels, each combination at the rate that suits it, 3 seeds, intervals of 95 %):
plain 59.8 % (57.4 to 62.3), unfreezing + adaptive rate 62.3 %, augmentation 57.4 %, all three 56.7 %: alone, none is
better or worse than plain as far as 3 seeds can tell. Over all eight, augmentation costs 4.7 points (3.1 to 6.3);
whether unfreezing or the rate helps cannot be told. At ten times its best rate plain breaks (20.8 %), and either of
unfreezing and one cycle saves it. 11 minutes on two cores.

    python studies/finetuning.py
    python studies/finetuning.py --preset architectures       # which network to fine-tune
    python studies/finetuning.py --data-root photos           # images of your own: photos/train/<class>/*
    python studies/finetuning.py --rate constant one_cycle plateau --unfreezing all --train-size 500 2000
"""

from studies.harness import Preset, Study, above, at_least, grid, loguniform, main, one_of
from trainables.core.nets import PRETRAINED


def canonical(config):
    """Where layers do not thaw one after another, all have one rate."""
    return config if config["unfreezing"] == "gradual" else {**config, "discrimination": 1.0}


STUDY = Study(
    name="finetuning",
    question=__doc__,
    trainable="trainables.finetuning:FineTuning",
    datasets=("cifar10",),
    own_images="images_{resolution}",
    metric="val_accuracy",
    noise=0.023,
    mode="max",
    among=("augmentation", "unfreezing", "rate", "discrimination", "lr"),
    metrics=(
        "train_loss",
        "val_loss",
        "val_accuracy",
        "test_accuracy",
        "train_images",
        "val_images",
        "test_images",
    ),
    artifact_table="networks",
    tables={"schedules": ("at", "depth"), "confusions": ("truth", "answer")},
    trials={
        "augmentation": grid(
            *("none", "iterative"),
            limit=one_of("none", "iterative", "full"),
            help="iterative: its strength grows from none to full in stages; full: from the start.",
        ),
        "unfreezing": grid(
            *("all", "gradual"),
            limit=one_of("all", "gradual", "head"),
            help=(
                "all: every layer from the start, at one rate; gradual: thawing from the head down, lower layers "
                "at lower rates; head: nothing else."
            ),
        ),
        "rate": grid(
            *("constant", "one_cycle"),
            limit=one_of("constant", "one_cycle", "plateau"),
            help="one_cycle: up, then down to 0; plateau: down where the validation loss stalls.",
        ),
        "discrimination": grid(
            2.6, limit=at_least(1), help="Of gradual: a stage's rate over that of the stage below it; ULMFiT has 2.6."
        ),
        "network": grid("efficientnet_lite0", limit=one_of(*PRETRAINED), help="The network that is fine-tuned."),
        "weights": grid(
            "imagenet",
            help=(
                "Where its weights come from: imagenet, random, the path of a checkpoint, or run:RUN/STUDENT of a "
                "run with --keep-weights."
            ),
        ),
        "statistics": grid(
            "kept",
            limit=one_of("kept", "batch"),
            help="Of batch normalisation where layers are trained: those of the weights, or of the batch.",
        ),
        "resolution": grid(48, limit=at_least(32), help="Side in pixels that the images are enlarged to."),
        "train_size": grid(1000, images=True, limit=above(0), help="Images to train on, as many of each class."),
        "val_size": grid(400, limit=above(0), help="Images to choose by; the same for all students."),
        "test_size": grid(2000, limit=above(0), help="Images to report; the same for all students; 10000 are all."),
        "precision": grid(
            "fp32", limit=one_of("fp32", "bf16"), help="Precision of the products; bf16 is faster on GPUs."
        ),
        "steps": grid(80, limit=above(0), help="Length of the training, in batches."),
        "batch_size": grid(50, limit=above(1), help="Images per batch."),
        "lr": grid(
            *(1e-4, 3e-4, 1e-3),
            limit=above(0),
            help="AdamW's peak learning rate, of the head.",
            search=loguniform(1e-4, 1e-2),
        ),
    },
    students={"seed": grid(0, 1, 2, help="Training images, their order and augmentation, first weights of the head.")},
    presets={
        "smoke": Preset(
            "about a minute, to see that all works: random weights, which need no download",
            core_seconds=0.5,
            pack=1,
            axes={
                "network": ("airbench_small",),
                "weights": ("random",),
                "resolution": (32,),
                "statistics": ("batch",),
                "train_size": (100,),
                "val_size": (30,),
                "test_size": (50,),
                "steps": (12,),
                "batch_size": (20,),
                "lr": (1e-2,),
                "seed": (0, 1),
            },
        ),
        "course": Preset("what the assignment asks, on few labels: 11 minutes on two cores", core_seconds=18.0, pack=1),
        "architectures": Preset(
            "which network to fine-tune: heads on frozen features of EfficientNet-lite0, 1 and 2, and an own CNN",
            core_seconds=20.0,
            pack=1,
            axes={"augmentation": ("none",), "rate": ("one_cycle",)},
            grids=(
                {
                    "network": ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
                    "unfreezing": ("head",),
                    "lr": (3e-3, 1e-2),
                },
                {
                    "network": ("airbench",),
                    "weights": ("random",),
                    "unfreezing": ("all",),
                    "statistics": ("batch",),
                    "resolution": (32,),
                    "lr": (1e-3, 3e-3),
                },
            ),
        ),
        "paper": Preset(
            "all labels at 128 pixels, for GPUs",
            core_seconds=20000.0,
            pack=1,
            worker_mib=8000,
            axes={
                "rate": ("constant", "one_cycle", "plateau"),
                "resolution": (128,),
                "train_size": (45000,),
                "val_size": (4000,),
                "test_size": (10000,),
                "steps": (7000,),
                "batch_size": (128,),
                "seed": tuple(range(5)),
            },
        ),
    },
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
