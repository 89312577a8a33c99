"""Should an LSTM that learns to copy see long sequences first, or short ones?

Repeat-copy (NTM, arXiv 1410.5401; curricula: arXiv 1704.03003): read bit vectors, then say them again and mark the end;
here once. Asked: quality by iterations when training prefers long sequences and when it prefers short ones, and under
the schedules of the literature. Iterations differ in cost, so quality is shown by time steps seen (tokens) too.

Expected (5 seeds, intervals of 95 %): long first says 98.0 % of the sequences exactly (95.7 to 100.0), short first 68.7
% (62.0 to 75.3), uniform 93.6 %; validation chooses combined, 99.6 %, and three rivals are open. About 8 minutes on
two cores.

    python studies/repeat_copy.py
"""

from studies.harness import Preset, Study, above, between, grid, loguniform, main, one_of

SCHEDULES = (
    "short_first",
    "long_first",
    "uniform",
    "target_only",
    "linear_window",
    "combined",
    "look_back_and_forward",
    "bandit",
)


def canonical(config):
    """These follow no curriculum, so every ramp is one student."""
    return {**config, "ramp": 0.5} if config["schedule"] in ("uniform", "target_only", "bandit") else config


STUDY = Study(
    name="repeat_copy",
    question=__doc__,
    trainable="trainables.repeat_copy:RepeatCopy",
    datasets=(),  # generated
    metric="val_exact",
    noise=0.016,
    mode="max",
    among=("schedule", "ramp", "lr"),
    metrics=("train_loss", "tokens", "val_bits", "val_exact", "test_bits", "test_exact"),
    trials={
        "schedule": grid(
            *SCHEDULES, limit=one_of(*SCHEDULES), help="Who chooses the lengths of the training sequences."
        ),
        "max_length": grid(
            12, limit=above(1), help="Longest training sequence, in bit vectors; the test goes up to twice that."
        ),
        "repeats": grid(1, limit=above(0), help="How often the sequence is to be said."),
        "bits": grid(4, limit=above(0), help="Width of a bit vector."),
        "cells": grid(128, limit=above(0), help="Cells of the LSTM."),
        "ramp": grid(
            0.5, limit=between(0, 1, "(]"), help="Share of the training after which a curriculum has come to its end."
        ),
        "steps": grid(4000, limit=above(0), help="Length of the training, in batches."),
        "batch_size": grid(32, limit=above(0), help="Sequences per batch, all of one length."),
    },
    students={
        "lr": grid(1e-2, limit=above(0), help="Adam's peak learning rate.", search=loguniform(1e-3, 3e-2)),
        "seed": grid(0, 1, 2, 3, 4, help="Initial weights, training sequences, and draws of the schedule."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.6,
            pack=1,
            worker_mib=700,
            axes={
                "schedule": ("short_first", "long_first", "bandit"),
                "max_length": (3,),
                "bits": (2,),
                "cells": (32,),
                "steps": (300,),
                "lr": (2e-2,),
                "seed": (0, 1),
            },
        ),
        "course": Preset(
            "what the assignment asks: eight minutes on two cores",
            core_seconds=22.0,
            pack=1,
            worker_mib=700,
        ),
        "paper": Preset(
            "sequences and vectors of the paper's size, larger networks, longer training",
            core_seconds=3000.0,
            pack=1,
            worker_mib=1000,
            axes={
                "max_length": (20,),
                "bits": (8,),
                "cells": (256, 512),
                "steps": (60_000,),
                "lr": (1e-3, 3e-3),
                "seed": tuple(range(10)),
            },
        ),
    },
    artifact_table="tasks",
    tables={"lengths": ("length",)},
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
