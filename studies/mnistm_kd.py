"""Can a teacher of MNIST teach MNIST-M?

Hinton's distillation (arXiv 1503.02531) as a special case of domain adaptation: the student sees MNIST-M, the teacher
was trained on MNIST and answers. Asked: the student's test accuracy over temperature and kd_weight (lambda), for both
readings of "the teacher's answer" and with few or all target labels. The loss is
(1 - kd_weight) CE + kd_weight T^2 KL(teacher || student).

Expected (full data, intervals of 95 %): with 500 labels a teacher that sees MNIST-M lifts the student from 65.5 to 70.4
% (+4.9 points, +3.5 to +6.3, 10 seeds); with all labels it does not help. Without labels (`unlabelled`, 5 seeds) three
rounds with inverted images reach 80.6 % (79.4 to 81.9; DANN 76.66), without inversion 64.6 %. About 12 minutes on two
cores with bf16.

    python studies/mnistm_kd.py --num-gpus 4
    python studies/mnistm_kd.py --preset unlabelled
"""

from studies.harness import Preset, Study, above, between, count_or_all, grid, loguniform, main, one_of, uniform
from trainables.core.nets import normalised

TRAINING = 55_000  # digits of the full data set, without those held out
UNTAUGHT = {"temperature": 1.0, "teacher_view": "target", "adaptation": "none", "rounds": 1, "filtering": "none"}


def canonical(config):
    """kd_weight 0 hears no teacher; 1 reads no label; a teacher without batch normalisation has no statistics to
    adapt."""
    if config["kd_weight"] == 0:
        config = {**config, **UNTAUGHT}
    if config["kd_weight"] == 1 or (config["target_labels"] != "all" and int(config["target_labels"]) >= TRAINING):
        config = {**config, "target_labels": "all"}
    return config if normalised(config["teacher"]) else {**config, "adaptation": "none"}


networks = ("cnn_small", "cnn", "cnn_norm", "cnn_pool")

STUDY = Study(
    name="mnistm_kd",
    question=__doc__,
    trainable="trainables.distil:Distillation",
    datasets=("mnistm",),
    metric="val_accuracy",
    mode="max",
    noise=0.0028,
    metrics=("train_loss", "val_accuracy", "val_information", "test_accuracy", "source_accuracy"),
    tables={"answers": (), "confusions": ("truth", "answer")},
    trials={
        "teacher_view": grid(
            *("target", "source"),
            limit=one_of("target", "source"),
            help="Image the teacher is shown: the MNIST-M image itself, or the clean digit behind it.",
        ),
        "target_labels": grid(
            *("500", "all"),
            images=True,
            limit=count_or_all(10),
            help="MNIST-M labels the student has, balanced over the classes; the other digits serve unlabelled.",
        ),
        "rounds": grid(1, limit=above(0), help="1: students of the teacher; r + 1: of the student of round r."),
        "filtering": grid(
            "none",
            limit=one_of("none", "confident"),
            help=(
                "confident: of the teacher's answers only the surest teach, as many of each class; more in each round."
            ),
        ),
        "adaptation": grid(
            "none",
            limit=one_of("none", "batch_norm"),
            help="batch_norm: the statistics of the teacher's batch normalisation re-estimated on MNIST-M.",
        ),
        "augmentation": grid(
            "none",
            limit=one_of("none", "inversion"),
            help="inversion: the student sees every second image, drawn at random, in inverted colours.",
        ),
        "network": grid("cnn_small", limit=one_of(*networks), help="The student's network."),
        "teacher": grid("cnn", limit=one_of(*networks), help="The teacher's network."),
        "teacher_steps": grid(1500, limit=above(0), help="Length of the teacher's training, in batches of 128."),
        "precision": grid(
            "fp32",
            limit=one_of("fp32", "bf16"),
            auto=True,
            help="Precision of the students' products; auto: bf16 where it is faster here and as accurate, else fp32.",
        ),
        "steps": grid(1100, limit=above(0), help="Length of a student's training, in batches."),
        "batch_size": grid(
            128, limit=above(1), help="Images per batch; with few labels, half as many labelled images come on top."
        ),
    },
    students={
        "temperature": grid(
            1.0, 2.0, 4.0, 8.0, 16.0, limit=above(0), help="T of the softened softmax.", search=loguniform(1, 64)
        ),
        "kd_weight": grid(
            *(0.0, 0.05, 0.1, 0.25, 0.5, 1.0),
            limit=between(0, 1),
            help="lambda, weight of the distillation term.",
            search=uniform(0, 1),
        ),
        "lr": grid(3e-3, limit=above(0), help="Adam's peak learning rate."),
        "seed": grid(0, 1, 2, help="Initial weights, order of the data, labelled digits, and teacher."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.4,
            axes={
                "temperature": (1.0, 8.0),
                "kd_weight": (0.0, 0.5, 1.0),
                "precision": ("fp32",),
                "steps": (40,),
                "teacher_steps": (80,),
                "seed": (0, 1),
            },
        ),
        "course": Preset(
            "what the assignment asks: about 12 minutes on two cores with bf16 and the full data, less with the sample",
            core_seconds=6.0,
            sample={"steps": (400,), "teacher_steps": (600,)},
        ),
        "tour": Preset(
            "the first figure in four minutes: a part of course, to which --extend takes it",
            core_seconds=6.0,
            part_of="course",
            axes={"temperature": (1.0, 4.0, 16.0), "kd_weight": (0.0, 0.05, 0.5, 1.0)},
            sample={"steps": (400,), "teacher_steps": (600,)},
        ),
        "unlabelled": Preset(
            "adaptation without target labels: 8 minutes on two cores with the full data",
            core_seconds=3.0,
            axes={
                "teacher_view": ("target",),
                "target_labels": ("all",),
                "kd_weight": (1.0,),
                "temperature": (1.0, 4.0),
                "seed": tuple(range(5)),
                "rounds": (1, 3),
                "filtering": ("confident",),
                "teacher": ("cnn", "cnn_norm"),
                "adaptation": ("none", "batch_norm"),
                "augmentation": ("none", "inversion"),
                "precision": ("bf16",),
            },
            sample={"steps": (400,), "teacher_steps": (600,)},
        ),
        "paper": Preset(
            "a finer grid, larger networks, longer training: for GPUs",
            core_seconds=400.0,
            pack=8,
            axes={
                "network": ("cnn_pool",),
                "temperature": (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0),
                "kd_weight": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0),
                "target_labels": ("100", "500", "2000", "all"),
                "steps": (8000,),
                "teacher_steps": (8000,),
                "seed": tuple(range(5)),
            },
        ),
    },
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
