"""How large are the gradients of distillation at every temperature?

Students are distilled from a teacher (Hinton et al. 2015, arXiv 1503.02531) at temperatures T from 0.5 to 256. While
they learn, the gradients of the soft and of the hard loss are measured in the logits and in each layer's weights, with
and without the factor T^2. Asked: where the theory's (q - p)/T becomes (z - v)/(N T^2), so that T^2 keeps the soft loss
level.

Expected (full data, 3 seeds): the soft gradient in the logits falls as 1/T^2, with slopes from -2.0034 to -2.0004 over
data sets and stages of training at the highest T, but only once T is several times the deviation of the logits; at the
end of training T^2 keeps it level from T = 16 to 32 on. About 8 minutes on two cores.

    python studies/kd_gradients.py --num-gpus 4
"""

from studies.harness import Preset, Study, above, between, grid, main, one_of, uniform
from trainables.core.limits import power_of_two

datasets = ("mnist", "fashion_mnist", "cifar10")
networks = ("cnn_small", "cnn", "cnn_pool", "mlp_600", "mlp_1200")

STUDY = Study(
    name="kd_gradients",
    question=__doc__,
    trainable="trainables.gradients:Gradients",
    metric="val_accuracy",
    noise=0.0012,
    mode="max",
    metrics=("train_loss", "val_accuracy", "test_accuracy"),
    trials={
        "dataset": grid(*datasets, limit=one_of(*datasets), help="What teacher and student see."),
        "network": grid("cnn_small", limit=one_of(*networks), help="The student's network."),
        "teacher": grid("cnn", limit=one_of(*networks), help="The teacher's network."),
        "teacher_steps": grid(1200, limit=above(0), help="Length of the teacher's training, in batches of 128."),
        "steps": grid(600, limit=above(0), help="Length of a student's training, in batches."),
        "batch_size": grid(128, limit=above(0), help="Images per batch."),
        "doublings": grid(
            11, limit=above(0), help="Gradients are probed at T = 0.5, 1, 2, ...: so many times doubled."
        ),
    },
    students={
        "temperature": grid(
            *(0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
            limit=power_of_two,
            help="T that a student is trained at, one of the probes.",
        ),
        "kd_weight": grid(
            0.5, limit=between(0, 1), help="lambda, weight of the distillation term in training.", search=uniform(0, 1)
        ),
        "lr": grid(3e-3, limit=above(0), help="Adam's peak learning rate."),
        "seed": grid(0, 1, 2, help="Initial weights, order of the data, and teacher."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.3,
            pack=10,
            axes={
                "dataset": ("mnist", "cifar10"),
                "temperature": (1.0, 8.0, 64.0),
                "steps": (16,),
                "teacher_steps": (40,),
                "doublings": (9,),
                "seed": (0, 1),
            },
        ),
        "course": Preset(
            "what the assignment asks: about 8 minutes on two cores with the full data, less with the sample",
            core_seconds=7.0,
            prepare_seconds=110,
            pack=10,
            sample={"steps": (300,), "teacher_steps": (400,)},
        ),
        "paper": Preset(
            "larger networks, longer training, more seeds: for GPUs",
            core_seconds=400.0,
            pack=10,
            axes={"network": ("cnn_pool",), "teacher_steps": (8000,), "steps": (8000,), "seed": tuple(range(5))},
        ),
    },
    tables={"gradients": ("probe_temperature", "layer")},
)

if __name__ == "__main__":
    main(STUDY)
