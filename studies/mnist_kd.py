"""Does a student of MNIST come near its teacher, and which temperature and lambda bring it there?

Hinton, Vinyals, Dean 2015 (arXiv 1503.02531), section 3. A teacher of two hidden layers of 1,200 teaches a student of
two of 600 by CE + kd_weight T^2 C (lambda is additive; `--convention convex` for the mix). Asked: the student's test
errors over T and kd_weight. The default is a course's short training.

Expected (full data, 3 seeds, intervals of 95 %): errors of 3.44 % (teacher), 7.04 % (student alone), 4.98 % (student at
its best T and lambda, -2.06 points, -2.69 to -1.43); but 5.01 % without a teacher at twice the learning rate
(`control`). With 5,000 digits and Adam (`widths`) distillation halves the errors, from 4.83 to 2.40 % (2.09 to 2.70).
`paper`: 111, 145 and 119 errors of 10,000 for teacher, student alone and distilled. 2 minutes on two cores with bf16.

    python studies/mnist_kd.py --num-gpus 4
    python studies/mnist_kd.py --preset control     # what a larger step does without a teacher
    python studies/mnist_kd.py --preset widths      # which T is best for 30, 300, 600 units, with few and all digits
    python studies/mnist_kd.py --preset paper       # 67, 146 and 74 errors in the paper
"""

from studies.harness import Preset, Study, above, at_least, count_or_all, grid, loguniform, main, one_of
from trainables.core.nets import MLPS


def canonical(config):
    """kd_weight 0 asks no teacher, so every temperature and both conventions are one student."""
    return {**config, "temperature": 1.0, "convention": "additive"} if config["kd_weight"] == 0 else config


STUDY = Study(
    name="mnist_kd",
    question=__doc__,
    trainable="trainables.hinton:MnistDistillation",
    metric="val_accuracy",
    mode="max",
    noise=0.0010,
    metrics=("train_loss", "val_accuracy", "test_accuracy"),
    tables={"confusions": ("truth", "answer")},
    trials={
        "convention": grid(
            "additive",
            limit=one_of("additive", "convex"),
            help="CE + kd_weight T^2 C, or (1 - kd_weight) CE + kd_weight T^2 C.",
        ),
        "train_size": grid(
            "all",
            images=True,
            limit=count_or_all(10),
            help="Digits the student sees, balanced over the classes; the teacher saw all.",
        ),
        "network": grid(
            "mlp_600", limit=one_of(*MLPS), help="The student's network: units of each of its two hidden layers."
        ),
        "teacher": grid(
            "plain",
            limit=one_of("plain", "regularised"),
            help="How the teacher of 2 x 1200 is trained: plainly; with dropout, max-norm and jitter of two pixels.",
        ),
        "teacher_steps": grid(500, limit=above(0), help="Length of the teacher's training, in batches of 128."),
        "precision": grid(
            "fp32",
            limit=one_of("fp32", "bf16"),
            auto=True,
            help="Precision of the students' products; auto: bf16 where it is faster here and as accurate, else fp32.",
        ),
        "optimiser": grid(
            "sgd",
            limit=one_of("adam", "sgd"),
            help=(
                "sgd, without momentum, is the short course's: to it a larger loss is a larger step. To adam it is not."
            ),
        ),
        "steps": grid(860, limit=above(0), help="Length of a student's training, in batches."),
        "batch_size": grid(128, limit=above(1), help="Images per batch."),
        "lr": grid(0.08, limit=above(0), help="Peak learning rate."),
    },
    students={
        "temperature": grid(
            1.0, 2.0, 4.0, 8.0, 20.0, limit=above(0), help="T of the softened softmax.", search=loguniform(1, 64)
        ),
        "kd_weight": grid(
            *(0.0, 0.05, 0.1, 0.2, 0.4, 0.6),
            limit=at_least(0),
            help="lambda, weight of the distillation term; at most 1 in the convex convention.",
            search=loguniform(0.01, 10),
        ),
        "seed": grid(0, 1, 2, help="Initial weights, order of the data, which digits, and teacher."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.5,
            prepare_seconds=6,
            axes={
                "temperature": (1.0, 8.0),
                "kd_weight": (0.0, 0.5),
                "precision": ("fp32",),
                "steps": (40,),
                "teacher_steps": (30,),
                "seed": (0, 1),
            },
        ),
        "course": Preset(
            "what the assignment asks, by a course's short training: 2 minutes on two cores with bf16",
            core_seconds=3.0,
            pack=14,
        ),
        "control": Preset(
            "labels only at larger learning rates beside T = 8, kd_weight = 0.4: 2 minutes on two cores",
            core_seconds=4.5,
            axes={"lr": (0.08, 0.16, 0.32), "temperature": (8.0,), "kd_weight": (0.0, 0.4)},
        ),
        "widths": Preset(
            "which T is best for which width, with 5,000 and all digits and a good teacher: 10 minutes on two cores",
            core_seconds=3.0,
            pack=14,
            axes={
                "network": ("mlp_30", "mlp_300", "mlp_600"),
                "train_size": ("5000", "all"),
                "temperature": (1.0, 2.5, 4.0, 8.0, 20.0, 40.0),
                "kd_weight": (0.0, 10.0),
                "optimiser": ("adam",),
                "lr": (1e-3,),
                "steps": (1700,),
                "teacher_steps": (2500,),
            },
        ),
        "paper": Preset(
            "after section 3 of the paper, cut to 20 passes of the teacher, 15 of the students: 28 minutes on two "
            "shared cores",
            core_seconds=60.0,
            pack=3,
            axes={
                "network": ("mlp_800",),
                "teacher": ("regularised",),
                "temperature": (20.0,),
                "kd_weight": (0.0, 1.0, 10.0),
                "optimiser": ("adam",),
                "lr": (1e-3,),
                "steps": (6450,),
                "teacher_steps": (8600,),
                "precision": ("bf16",),
            },
        ),
    },
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
