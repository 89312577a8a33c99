"""Do a network's own answers replace labels?

A classifier has labels for 100 to 3,000 digits, answers to the others, and learns from its answers. Asked: what that
adds to supervised training with the same labels and as many steps, over the confidence that an answer needs (threshold)
and the number of labels; how right and sure the answers are; and when it hurts. Methods: Lee 2013 (asked in every step,
with a rising weight), self-training in rounds, FixMatch (Sohn et al. 2020, arXiv 2001.07685).

Expected (full data, 5 seeds, intervals of 95 %): MNIST, 1,000 labels, threshold chosen on validation: errors of 9.9 %
supervised, 6.2 % (5.7 to 6.6) with weak views, 9.5 % by Lee's pseudo-labels, 9.9 % by self-training, 4.9 % (4.7 to 5.1)
by FixMatch. With 250 labels of CIFAR-10 (`cifar10`, 3 seeds) FixMatch stands out, 59.1 % errors against 69.2 %
supervised; with 4,000 weak views are not told from it. Of fine-tuned EfficientNet-lite0 (`transfer`, 1,000 labels of
CIFAR-10, 3 seeds) the best recipe has 37.7 % errors (34.8 to 40.7); of pseudo-labels no change is told in any of four
recipes.
4 minutes on two cores with bf16.

    python studies/pseudo_labels.py --num-gpus 4
    python studies/pseudo_labels.py --preset cnn         # the same with a small convolutional network
    python studies/pseudo_labels.py --preset cifar10     # and on CIFAR-10 at a small budget
    python studies/pseudo_labels.py --preset transfer    # fine-tuned EfficientNet-lite0, the solution of homework 1
    python studies/pseudo_labels.py --data-root photos   # images of your own: photos/train/<class>/*
    python studies/pseudo_labels.py --preset targets     # hard or soft labels, with and without the ramp
"""

from studies.harness import Preset, Study, above, at_least, between, grid, loguniform, main, one_of, uniform
from trainables.core.nets import PRETRAINED

METHODS = ("supervised", "supervised_weak", "supervised_strong", "pseudo_label", "self_training", "fixmatch")
WITHOUT = {"pseudo_label": "supervised", "self_training": "supervised", "fixmatch": "supervised_weak"}

RECIPES = ("plain", "augmentation", "unfreezing", "rate", "unfreezing_rate", "all")
OF_PRETRAINED = ("recipe", "weights", "resolution", "val_size", "test_size")


def whole(config):
    """Whether the network has pretrained weights and trains alone."""
    return config["network"] in PRETRAINED


def canonical(config):
    """Without a weight the labelled images are left; only self-training has rounds, and only Lee's weight rises.

    Recipes and weights are of pretrained networks, whose labelled images the recipe shows.
    """
    c = dict(config)
    if whole(c):
        c["method"] = c["method"] if c["method"] in WITHOUT and c["weight"] else "supervised"
    else:
        c |= dict.fromkeys(OF_PRETRAINED)
        c["method"] = c["method"] if c["weight"] else WITHOUT.get(c["method"], c["method"])
    if c["method"] not in WITHOUT:
        c |= {"threshold": 0.95, "target_temperature": 0.0, "weight": 0.0, "ratio": 1}
    c["rounds"] = c["rounds"] if c["method"] == "self_training" else 1
    c["ramp"] *= c["method"] == "pseudo_label"
    return c


OWN_IMAGES = ("images_32", "images_64", "images_96")
WHAT = "What is classified; images_64, the default where --data-root has train/<class>/*: these images at 64 pixels."

STUDY = Study(
    name="pseudo_labels",
    question=__doc__,
    trainable="trainables.pseudo_labels:PseudoLabels",
    own_images="images_64",
    metric="val_accuracy",
    noise=0.0045,
    mode="max",
    among=("method", "threshold", "target_temperature", "weight", "ramp", "lr"),
    artifact_table="draws",
    metrics=(
        "train_loss",
        "val_accuracy",
        "own_val_accuracy",
        "test_accuracy",
        "test_ece",
        "passing",
        "passing_accuracy",
        "pseudo_accuracy",
        "pseudo_ece",
        "kept_errors",
    ),
    tables={"calibration": ("split", "bin"), "confusions": ("truth", "answer")},
    trials={
        "dataset": grid("mnist", limit=one_of("mnist", "cifar10", *OWN_IMAGES), help=WHAT),
        "network": grid(
            "mlp_300",
            limit=one_of("mlp_300", "mlp_600", "cnn_small_norm", "cnn_norm", *PRETRAINED),
            help="The network: small, from random weights; or pretrained (from the fifth on), fine-tuned by a recipe.",
        ),
        "method": grid(*METHODS, limit=one_of(*METHODS), help="Who labels what, when, and how images are shown."),
        "labels": grid(
            *(100, 600, 1000, 3000),
            images=True,
            limit=at_least(10),
            help="Labelled training images, balanced over the classes; all others are unlabelled.",
        ),
        "rounds": grid(3, limit=above(0), help="Of self-training: how often labels are made anew."),
        "precision": grid(
            "fp32",
            limit=one_of("fp32", "bf16"),
            auto=True,
            help="Precision of the products; auto: bf16 where it is faster here and as accurate, else fp32.",
        ),
        "steps": grid(500, limit=above(0), help="Length of the training, in batches."),
        "batch_size": grid(64, limit=above(1), help="Labelled images per batch."),
        "ratio": grid(2, limit=above(0), help="Unlabelled images per labelled one in a batch (7 in FixMatch)."),
        "recipe": grid(
            "plain",
            limit=one_of(*RECIPES),
            help="Of pretrained networks: how they are fine-tuned, see finetuning: plainly, or with what is named.",
        ),
        "weights": grid(
            "imagenet",
            help=(
                "Of pretrained networks: imagenet, random, the path of a checkpoint, or run:RUN/STUDENT of a run with "
                "--keep-weights."
            ),
        ),
        "resolution": grid(48, limit=at_least(32), help="Of pretrained networks: side of the images, in pixels."),
        "val_size": grid(400, limit=above(0), help="Of pretrained networks: images to choose by, the same for all."),
        "test_size": grid(2000, limit=above(0), help="Of pretrained networks: images to report, the same for all."),
    },
    students={
        "threshold": grid(
            *(0.0, 0.8, 0.95, 0.99),
            limit=between(0, 1, "[)"),
            help="Confidence that a pseudo-label needs.",
            search=uniform(0, 0.999),
        ),
        "target_temperature": grid(
            0.0,
            limit=at_least(0),
            help="T of the pseudo-labels: 0 the largest class (hard), 1 the answer itself (soft), between: sharpened.",
            search=uniform(0, 1),
        ),
        "weight": grid(1.0, limit=at_least(0), help="Weight of the pseudo-labels' term.", search=loguniform(0.1, 10)),
        "ramp": grid(
            0.6,
            limit=between(0, 1),
            help=(
                "Fraction of the training at which Lee's weight is full; it rises from a sixth of that on; 0: full "
                "at once."
            ),
            search=uniform(0, 1),
        ),
        "lr": grid(3e-3, limit=above(0), help="Adam's peak learning rate."),
        "seed": grid(0, 1, 2, 3, 4, help="Initial weights, which images have labels, order of the data."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.5,
            axes={
                "labels": (40, 200),
                "precision": ("fp32",),
                "threshold": (0.0, 0.95),
                "steps": (24,),
                "batch_size": (32,),
                "seed": (0, 1),
            },
        ),
        "course": Preset("MNIST, what the assignment asks: 4 minutes on two cores with bf16", core_seconds=1.7),
        "cnn": Preset(
            "a small convolutional network with batch normalisation: an estimated 9 minutes on two cores",
            core_seconds=11.0,
            axes={"network": ("cnn_small_norm",), "labels": (100, 1000), "threshold": (0.0, 0.95)},
        ),
        "targets": Preset(
            "hard and soft labels, with and without the ramp",
            core_seconds=3.5,
            axes={
                "method": ("supervised", "pseudo_label", "fixmatch"),
                "labels": (100, 1000),
                "threshold": (0.0, 0.95),
                "target_temperature": (0.0, 0.5, 1.0),
                "ramp": (0.0, 0.6),
            },
        ),
        "rounds": Preset(
            "self-training in one round or several",
            core_seconds=3.5,
            axes={"method": ("supervised", "self_training"), "labels": (100, 1000), "rounds": (1, 3, 7)},
        ),
        "cifar10": Preset(
            "CIFAR-10 at a small budget: 4 minutes on two cores",
            core_seconds=16.0,
            axes={
                "dataset": ("cifar10",),
                "network": ("cnn_small_norm",),
                "method": ("supervised", "supervised_weak", "supervised_strong", "pseudo_label", "fixmatch"),
                "labels": (250, 4000),
                "threshold": (0.0, 0.95),
                "steps": (600,),
                "seed": (0, 1, 2),
            },
            sample={"labels": (100, 1000)},
        ),
        "transfer": Preset(
            "the solution of homework 1, fine-tuned EfficientNet-lite0 on CIFAR-10, with and without pseudo-labels",
            core_seconds=45.0,
            pack=1,
            axes={
                "dataset": ("cifar10",),
                "network": ("efficientnet_lite0",),
                "method": ("supervised", "pseudo_label", "self_training"),
                "labels": (1000,),
                "rounds": (1,),
                "steps": (80,),
                "batch_size": (50,),
                "ratio": (1,),
                "threshold": (0.8,),
                "seed": (0, 1, 2),
            },
            # each recipe at the rate that validation chose for it in finetuning
            grids=(
                {"recipe": ("plain", "augmentation"), "lr": (1e-4,)},
                {"recipe": ("unfreezing_rate", "all"), "lr": (1e-3,)},
            ),
        ),
        "paper": Preset(
            "longer training, larger networks, FixMatch's counts of labels: for GPUs",
            core_seconds=2000.0,
            axes={
                "dataset": ("mnist", "cifar10"),
                "network": ("cnn_norm",),
                "labels": (40, 100, 250, 1000, 4000),
                "steps": (30000,),
                "ratio": (7,),
                "rounds": (7,),
                "threshold": (0.0, 0.5, 0.8, 0.95, 0.99),
            },
            sample={"labels": (40, 100, 1000)},
        ),
    },
    canonical=canonical,
    trains_alone=whole,
)

if __name__ == "__main__":
    main(STUDY)
