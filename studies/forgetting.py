"""How does a model forget?

A network learns the digits 0 and 1, then goes on to 2 (as class 0) and 3 (as class 1). Asked: its accuracy on 0 and on
1 over the iterations of that fine-tuning, from the first, for every remedy and its strength. With `--preset five` the
same on five tasks (0/1, 2/3, ... 8/9), the protocol of Hsu et al. 2018 (arXiv 1810.12488, domain-incremental
Split-MNIST). The loss is CE(new digits) + strength x remedy.

Expected (full data, 10 seeds, intervals of 95 %): plain fine-tuning takes an MLP from 99.9 to 76.9 % (73.6 to 80.1) in
200 iterations; rehearsal of 1 % of the old digits keeps 99.2 %, LwF 99.4 %. Five tasks (5 seeds): Adam 54.1 %
(published 55.16), EWC 59.2 (58.85), LwF 75.1 (71.02), rehearsal 94.8 (95.16). 4 minutes on two cores.

    python studies/forgetting.py --num-gpus 4
    python studies/forgetting.py --preset five
"""

from studies.harness import Preset, Study, above, at_least, grid, loguniform, main, one_of

NETWORKS, OPTIMISERS = ("logistic", "mlp", "cnn"), ("adam", "sgd")
REMEDIES = ("none", "l2", "ewc", "lwf", "rehearsal", "freeze_first", "freeze_features", "freeze_readout")


def canonical(config):
    """A remedy of strength 0 is none; layers are frozen or not; only rehearsal keeps a memory; logistic regression has
    one layer, its readout; five tasks start from an untrained network."""
    c = dict(config)
    if c["network"] == "logistic":
        c["width"], one = 0, {"freeze_first": "freeze_readout", "freeze_features": "none"}
        c["remedy"] = one.get(c["remedy"], c["remedy"])
    if c["strength"] == 0 or c["remedy"] == "none":
        c |= {"remedy": "none", "strength": 0.0}
    if c["remedy"].startswith("freeze"):
        c["strength"] = 1.0
    c["memory"] *= c["remedy"] == "rehearsal"
    c["old_steps"] *= c["tasks"] == "two"
    return c


STUDY = Study(
    name="forgetting",
    question=__doc__,
    trainable="trainables.forgetting:Forgetting",
    metric="val_accuracy",
    noise=0.013,
    mode="max",
    artifact_table="starts",
    metrics=(
        "train_loss",
        "val_accuracy",
        "test_accuracy",
        "test_old",
        "test_new",
        "old_loss",
        "new_loss",
        "distance",
        "probe_accuracy",
        *(f"accuracy_{d}" for d in range(10)),
        *(f"margin_{d}" for d in range(10)),
    ),
    trials={
        "tasks": grid(
            "two", limit=one_of("two", "five"), help="0/1 learnt before and 2/3 watched, or all five pairs in turn."
        ),
        "network": grid("mlp", "cnn", "logistic", limit=one_of(*NETWORKS), help="The network, with two outputs."),
        "width": grid(
            32, limit=at_least(8), help="Units per hidden layer; a CNN has width/8 and width/4 channels before them."
        ),
        "optimiser": grid("adam", limit=one_of(*OPTIMISERS), help="Of the fine-tuning."),
        "old_steps": grid(
            300, limit=above(0), help="Batches of 128 that the first of two tasks is learnt by (Adam, lr 0.001)."
        ),
        "steps": grid(200, limit=above(0), help="Batches per task."),
        "batch_size": grid(64, limit=above(0), help="New digits per batch; rehearsal brings as many old ones."),
        "memory": grid(110, limit=above(0), help="Old digits kept for rehearsal; 110 are 1 % of the digits 0 and 1."),
    },
    students={
        "lr": grid(1e-3, limit=above(0), help="Learning rate of the fine-tuning, constant."),
        "remedy": grid(*REMEDIES, limit=one_of(*REMEDIES), help="What holds the old knowledge."),
        "strength": grid(
            *(0.1, 0.3, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5),
            limit=at_least(0),
            help="Weight of the remedy's term; rehearsal of s is like a batch with s/(1 + s) old digits.",
            search=loguniform(0.01, 1e5),
        ),
        "seed": grid(*range(10), help="Initial weights, order of the data, memory."),
    },
    presets={
        "smoke": Preset(
            "about a minute, to see that all works",
            core_seconds=0.1,
            pack=40,
            axes={
                "network": ("mlp", "logistic"),
                "width": (16,),
                "old_steps": (20,),
                "steps": (20,),
                "strength": (1.0, 100.0),
                "seed": (0, 1),
            },
        ),
        "course": Preset(
            "what the assignment asks, ten seeds: four minutes on two cores with the full data",
            core_seconds=0.4,
            pack=40,
        ),
        "rates": Preset(
            "no remedy: learning rate, optimiser, network and width",
            core_seconds=0.6,
            pack=40,
            axes={
                "remedy": ("none",),
                "strength": (0.0,),
                "optimiser": OPTIMISERS,
                "lr": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
                "width": (16, 64),
            },
        ),
        "five": Preset(
            "five tasks on the protocol of Hsu et al. 2018, MLP 2 x 400",
            core_seconds=20.0,
            pack=10,
            axes={
                "tasks": ("five",),
                "network": ("mlp",),
                "width": (400,),
                "steps": (375,),
                "batch_size": (128,),
                "memory": (1100, 4400),
                "remedy": ("none", "l2", "lwf", "rehearsal"),
                "strength": (1.0,),
                "seed": tuple(range(5)),
            },
            sample={"steps": (40,), "memory": (110, 440)},
            grids=(
                {},
                {"remedy": ("lwf",), "strength": (0.3,)},
                {"remedy": ("ewc",), "strength": (200.0, 1e4)},
                {"remedy": ("none",), "optimiser": ("sgd",), "lr": (0.01,)},
            ),
        ),
        "paper": Preset(
            "wider networks, a finer grid, twenty seeds: for GPUs",
            core_seconds=60.0,
            pack=40,
            axes={
                "width": (64, 400),
                "strength": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 10000.0),
                "steps": (1000,),
                "memory": (11, 110, 1100),
                "optimiser": OPTIMISERS,
                "seed": tuple(range(20)),
            },
        ),
    },
    canonical=canonical,
)

if __name__ == "__main__":
    main(STUDY)
