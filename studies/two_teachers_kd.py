"""Can two teachers, each of half of the digits, teach all ten without the data?

MNIST is unavailable; only the answers of two teachers are, one trained on 0 to 4, one on 5 to 9. The loss is
kd_weight Dist_1 + (1 - kd_weight) Dist_2. Asked: the student's test accuracy over temperature and kd_weight (lambda),
for several sorts of images to ask the teachers about and several ways to put five classes on ten outputs.

Expected (full data, 3 seeds, intervals of 95 %), plain loss at T = 4 and lambda = 0.5, without any choosing: 93.7 %
(92.8 to 94.6) from drawn strokes, 92.1 % (89.5 to 94.7) from a generator's images, 94.1 % from unlabelled real ones.
Where labelled digits choose loss, T and lambda: 93.9, 92.9, 96.6 %. Both teachers together, without a student: 96.5 %;
a student that hears only one of them, by the plain loss: at most 51 %. 8 minutes on two cores.

    python studies/two_teachers_kd.py --num-gpus 4
"""

from studies.harness import Preset, Study, above, between, grid, loguniform, main, one_of, uniform
from trainables.core.nets import CNNS


def canonical(config):
    """Where one teacher is not heard, nothing is left to weigh."""
    if config["kd_weight"] in (0, 1) and config["lifting"] in ("confidence", "energy"):
        return {**config, "lifting": "zeros"}
    return config


inputs = ("real", "generator", "strokes", "fashion", "noise")
liftings = ("zeros", "mask", "confidence", "energy")

STUDY = Study(
    name="two_teachers_kd",
    question=__doc__,
    trainable="trainables.two_teachers:TwoTeachers",
    datasets=("mnist", "fashion_mnist"),
    metric="val_accuracy",
    noise=0.012,
    mode="max",
    metrics=("train_loss", "val_accuracy", "test_accuracy", "test_accuracy_0_4", "test_accuracy_5_9"),
    tables={"confusions": ("truth", "answer")},
    trials={
        "inputs": grid(
            *inputs,
            limit=one_of(*inputs),
            help="Images that the teachers are asked about; real ones are the upper bound.",
        ),
        "lifting": grid(
            *("zeros", "confidence"),
            limit=one_of(*liftings),
            help=(
                "How five classes are put on ten outputs: zeros; mask, a softmax over the teacher's own classes; "
                "teachers weighed per image by confidence or energy."
            ),
        ),
        "pool": grid(
            30000, limit=above(0), help="How many images there are, as many of each class as the teachers see."
        ),
        "network": grid("cnn_small_norm", limit=one_of(*CNNS), help="The student's network."),
        "teacher": grid("cnn_norm", limit=one_of(*CNNS), help="The teachers' network."),
        "teacher_steps": grid(600, limit=above(0), help="Length of a teacher's training, in batches of 128."),
        "generator_steps": grid(600, limit=above(0), help="Length of the generator's training, in batches of 128."),
        "precision": grid(
            "fp32",
            limit=one_of("fp32", "bf16"),
            auto=True,
            help="Precision of the students' products; auto: bf16 where it is faster here and as accurate, else fp32.",
        ),
        "steps": grid(200, limit=above(0), help="Length of a student's training, in batches."),
        "batch_size": grid(128, limit=above(1), help="Images per batch."),
    },
    students={
        "temperature": grid(
            1.0, 2.0, 4.0, 8.0, 16.0, limit=above(0), help="T of the softened softmax.", search=loguniform(1, 64)
        ),
        "kd_weight": grid(
            *(0.0, 0.25, 0.5, 0.75, 1.0),
            limit=between(0, 1),
            help="lambda, weight of the teacher of 0 to 4.",
            search=uniform(0, 1),
        ),
        "lr": grid(5e-3, limit=above(0), help="Adam's peak learning rate."),
        "seed": grid(0, 1, 2, help="Initial weights, images and their order, and both teachers."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.2,
            axes={
                "lifting": ("zeros", "mask"),
                "temperature": (1.0, 8.0),
                "kd_weight": (0.0, 0.5, 1.0),
                "pool": (500,),
                "precision": ("fp32",),
                "steps": (20,),
                "teacher_steps": (40,),
                "generator_steps": (12,),
                "seed": (0, 1),
            },
        ),
        "course": Preset("what the assignment asks", core_seconds=1.15, prepare_seconds=130),
        "liftings": Preset(
            "all four ways to put five classes on ten outputs",
            core_seconds=1.6,
            axes={"lifting": liftings, "temperature": (1.0, 4.0, 16.0)},
        ),
        "paper": Preset(
            "a finer grid, larger networks, longer training: for GPUs",
            core_seconds=100.0,
            axes={
                "lifting": liftings,
                "network": ("cnn_norm",),
                "temperature": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
                "kd_weight": tuple(i / 10 for i in range(11)),
                "pool": (60000,),
                "steps": (5000,),
                "teacher_steps": (4000,),
                "generator_steps": (8000,),
                "seed": tuple(range(5)),
            },
        ),
    },
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
