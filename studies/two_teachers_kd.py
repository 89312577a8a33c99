"""Can two teachers, each of half of the digits, teach all ten without the data?

MNIST is unavailable; only the answers of two teachers are, one trained on 0 to 4, one on 5 to 9. The loss is
kd_weight Dist_1 + (1 - kd_weight) Dist_2. Asked: the student's test accuracy over temperature and kd_weight (lambda),
for several sorts of images to ask the teachers about and several ways to put five classes on ten outputs.

    python studies/two_teachers_kd.py --num-gpus 4
"""

from studies.harness import Preset, Study, grid, loguniform, main, positive, uniform


def canonical(config):
    """Where one teacher is not heard, nothing is left to weigh."""
    if config["kd_weight"] in (0, 1) and config["lifting"] in ("confidence", "energy"):
        return {**config, "lifting": "zeros"}
    return config


networks = ("cnn_small", "cnn_small_norm", "cnn", "cnn_norm", "cnn_pool")
inputs = ("real", "generator", "strokes", "fashion", "noise")
liftings = ("zeros", "mask", "confidence", "energy")

STUDY = Study(
    name="two_teachers_kd",
    question=__doc__,
    trainable="trainables.two_teachers:TwoTeachers",
    datasets=("mnist", "fashion_mnist"),
    metric="val_accuracy",
    mode="max",
    metrics=("train_loss", "val_accuracy", "test_accuracy", "test_accuracy_0_4", "test_accuracy_5_9"),
    trials={
        "inputs": grid(*inputs, choices=inputs, help="Images that the teachers are asked about; real ones are the upper bound."),
        "lifting": grid("zeros", "confidence", choices=liftings, help="How five classes are put on ten outputs: zeros; mask, a softmax over the teacher's own classes; teachers weighed per image by confidence or energy."),
        "pool": grid(30000, help="How many images there are, as many of each class as the teachers see.", **positive),
        "network": grid("cnn_small_norm", choices=networks, help="The student's network."),
        "teacher": grid("cnn_norm", choices=networks, help="The teachers' network."),
        "teacher_steps": grid(600, help="Length of a teacher's training, in batches of 128.", **positive),
        "generator_steps": grid(600, help="Length of the generator's training, in batches of 128.", **positive),
        "precision": grid("fp32", choices=("fp32", "bf16"), help="Precision of the students' products; bf16 is faster where the processor has it (Xeon with AMX, GPUs)."),
        "steps": grid(200, help="Length of a student's training, in batches.", **positive),
        "batch_size": grid(128, help="Images per batch.", valid=lambda v: v > 1, must="above 1"),
    },
    students={
        "temperature": grid(1.0, 2.0, 4.0, 8.0, 16.0, help="T of the softened softmax.", search=loguniform(1, 64), **positive),
        "kd_weight": grid(0.0, 0.25, 0.5, 0.75, 1.0, help="lambda, weight of the teacher of 0 to 4.", search=uniform(0, 1), valid=lambda v: 0 <= v <= 1, must="in [0, 1]"),
        "lr": grid(5e-3, help="Adam's peak learning rate.", **positive),
        "seed": grid(0, 1, 2, help="Initial weights, images and their order, and both teachers."),
    },
    presets={
        "smoke": Preset("half a minute, to see that all works", core_seconds=0.2, axes={"lifting": ("zeros", "mask"), "temperature": (1.0, 8.0), "kd_weight": (0.0, 0.5, 1.0), "pool": (500,), "steps": (20,), "teacher_steps": (40,), "generator_steps": (12,), "seed": (0, 1)}),
        "course": Preset("what the assignment asks", core_seconds=1.6),
        "liftings": Preset("all four ways to put five classes on ten outputs", core_seconds=1.6, axes={"lifting": liftings, "temperature": (1.0, 4.0, 16.0)}),
        "paper": Preset("a finer grid, larger networks, longer training: for GPUs", core_seconds=100.0, axes={
            "lifting": liftings, "network": ("cnn_norm",), "temperature": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0), "kd_weight": tuple(i / 10 for i in range(11)),
            "pool": (60000,), "steps": (5000,), "teacher_steps": (4000,), "generator_steps": (8000,), "seed": tuple(range(5))}),
    },
    canonical=canonical,
)  # fmt: skip

if __name__ == "__main__":
    main(STUDY)
