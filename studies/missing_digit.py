"""Can a student know a digit that it never saw?

Hinton, Vinyals, Dean 2015 (arXiv 1503.02531), section 3. The transfer set lacks all images of a digit; the student
knows it only from the teacher's answers to other digits. It misses some of them, mostly because the bias of that
output is learnt too low; raising it brings most back. Asked: errors on the omitted digit and on the others
over that bias, for each digit, and for a transfer set of 7 and 8 only, with three ways of choosing the bias.

Expected (full data, 3 seeds, intervals of 95 %): without threes in its training the student misses 104 of 1,010 (66 to
142; Hinton 133); with the bias of that output raised as validation chooses, 46 (30 to 62; Hinton, who chose on test,
14). 4 minutes on two cores with bf16.

    python studies/missing_digit.py --num-gpus 4
    python studies/missing_digit.py --omitted none 3 --temperature 1 4 20 --kd-weight 1 10 100 --seeds 5
"""

from studies.harness import Preset, Study, above, at_least, count_or_all, grid, loguniform, main, one_of
from trainables.core.limits import some_digits
from trainables.core.nets import MLPS

STUDY = Study(
    name="missing_digit",
    question=__doc__,
    trainable="trainables.hinton:MissingDigit",
    metric="val_accuracy",
    noise=0.0013,
    mode="max",
    metrics=("train_loss", "val_accuracy", "test_accuracy"),
    tables={"digits": ("split", "digit"), "biases": ("split", "bias"), "confusions": ("truth", "answer")},
    trials={
        "omitted": grid(
            *("none", *"0123456789", "01234569"),
            limit=some_digits,
            help="Digits whose images the student does not see, such as 3, or 01234569 to see 7 and 8 only.",
        ),
        "convention": grid(
            "additive",
            limit=one_of("additive", "convex"),
            help="CE + kd_weight T^2 C, or (1 - kd_weight) CE + kd_weight T^2 C.",
        ),
        "train_size": grid(
            "all", images=True, limit=count_or_all(10), help="Digits in the transfer set before any are omitted."
        ),
        "network": grid(
            "mlp_600", limit=one_of(*MLPS), help="The student's network: units of each of its two hidden layers."
        ),
        "teacher": grid(
            "plain",
            limit=one_of("plain", "regularised"),
            help="How the teacher of 2 x 1200 is trained: plainly; with dropout, max-norm and jitter of two pixels.",
        ),
        "teacher_steps": grid(2000, limit=above(0), help="Length of the teacher's training, in batches of 128."),
        "precision": grid(
            "fp32",
            limit=one_of("fp32", "bf16"),
            auto=True,
            help="Precision of the students' products; auto: bf16 where it is faster here and as accurate, else fp32.",
        ),
        "optimiser": grid("adam", limit=one_of("adam", "sgd"), help="sgd is without momentum."),
        "steps": grid(1500, limit=above(0), help="Length of a student's training, in batches."),
        "batch_size": grid(128, limit=above(1), help="Images per batch."),
        "lr": grid(1e-3, limit=above(0), help="Peak learning rate."),
    },
    students={
        "temperature": grid(20.0, limit=above(0), help="T of the softened softmax.", search=loguniform(1, 64)),
        "kd_weight": grid(
            *(1.0, 10.0),
            limit=at_least(0),
            help="lambda, weight of the distillation term; at most 1 in the convex convention.",
            search=loguniform(0.1, 100),
        ),
        "seed": grid(0, 1, 2, help="Initial weights, order of the data, and teacher."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.2,
            axes={
                "omitted": ("none", "3", "01234569"),
                "temperature": (20.0,),
                "kd_weight": (10.0,),
                "precision": ("fp32",),
                "steps": (60,),
                "teacher_steps": (30,),
                "seed": (0, 1),
            },
        ),
        "course": Preset("every digit, and 7 and 8 only: 4 minutes on two cores with bf16", core_seconds=5.7),
        "paper": Preset(
            "a regularised teacher, a student of 2 x 800, a finer grid, longer training: for GPUs",
            core_seconds=120.0,
            axes={
                "network": ("mlp_800",),
                "teacher": ("regularised",),
                "teacher_steps": (43000,),
                "steps": (17000,),
                "temperature": (2.0, 4.0, 8.0, 20.0),
                "kd_weight": (0.1, 1.0, 10.0, 100.0),
                "seed": tuple(range(5)),
            },
        ),
    },
)

if __name__ == "__main__":
    main(STUDY)
