"""How large are the gradients of distillation at every temperature?

Students are distilled from a teacher (Hinton et al. 2015, arXiv 1503.02531) at temperatures T from 0.5 to 256. While they
learn, the gradients of the soft and of the hard loss are measured in the logits and in each layer's weights, with and without
the factor T^2. Asked: where the theory's (q - p)/T becomes (z - v)/(N T^2), so that T^2 keeps the soft loss level.

    python studies/kd_gradients.py --num-gpus 4
"""

import math

from studies.harness import Preset, Study, grid, main, positive, uniform

datasets = ("mnist", "fashion_mnist", "cifar10")
networks = ("cnn_small", "cnn", "cnn_pool", "mlp_600", "mlp_1200")

STUDY = Study(
    name="kd_gradients",
    question=__doc__,
    trainable="trainables.gradients:Gradients",
    metric="val_accuracy",
    mode="max",
    metrics=("train_loss", "val_accuracy", "test_accuracy"),
    trials={
        "dataset": grid(*datasets, choices=datasets, help="What teacher and student see."),
        "network": grid("cnn_small", choices=networks, help="The student's network."),
        "teacher": grid("cnn", choices=networks, help="The teacher's network."),
        "teacher_steps": grid(1200, help="Length of the teacher's training, in batches of 128.", **positive),
        "steps": grid(600, help="Length of a student's training, in batches.", **positive),
        "batch_size": grid(128, help="Images per batch.", **positive),
        "doublings": grid(11, help="Gradients are probed at T = 0.5, 1, 2, ...: so many times doubled.", **positive),
    },
    students={
        "temperature": grid(0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, help="T that a student is trained at, one of the probes.", valid=lambda v: v >= 0.5 and math.log2(v).is_integer(), must="0.5, 1, 2, 4 or another power of two"),
        "kd_weight": grid(0.5, help="lambda, weight of the distillation term in training.", search=uniform(0, 1), valid=lambda v: 0 <= v <= 1, must="in [0, 1]"),
        "lr": grid(3e-3, help="Adam's peak learning rate.", **positive),
        "seed": grid(0, 1, 2, help="Initial weights, order of the data, and teacher."),
    },
    presets={
        "smoke": Preset("seconds, to see that all works", core_seconds=0.3, pack=10, axes={"dataset": ("mnist", "cifar10"), "temperature": (1.0, 8.0, 64.0), "steps": (16,), "teacher_steps": (40,), "doublings": (9,), "seed": (0, 1)}),
        "course": Preset("what the assignment asks: 12 minutes on two shared cores with the full data, less with the sample", core_seconds=12.0, pack=10, sample={"steps": (300,), "teacher_steps": (400,)}),
        "paper": Preset("larger networks, longer training, more seeds: for GPUs", core_seconds=400.0, pack=10, axes={"network": ("cnn_pool",), "teacher_steps": (8000,), "steps": (8000,), "seed": tuple(range(5))}),
    },
    tables={"gradients": ("probe_temperature", "layer")},
)  # fmt: skip

if __name__ == "__main__":
    main(STUDY)
