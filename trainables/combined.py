"""Model and data distillation together: a small network learns from few images, and from what a large one says of them.

Data: all real images, or a small set of `core/distilled.py`. Labels: hard, or softened answers of a large network (Hinton et al.
2015, arXiv 1503.02531), which itself learnt from the same images, or from all real ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.core import distilled, learners
from trainables.core.distilled import EFFORTS, METHODS, MOST
from trainables.core.learners import Learners
from trainables.core.limits import above, between, checked, one_of
from trainables.core.losses import cross_entropy, distillation, mixed
from trainables.core.nets import CONVNETS, NETWORKS, PERCEPTRONS, graph, summary
from trainables.core.population import Population, footprint
from trainables.core.splits import CLASSES, HELD_OUT, SPLIT, Splits, shape
from trainables.core.teachers import once

DATASETS, FULL = ("mnist", "cifar10"), "full"
IMAGES = (FULL, *METHODS)
TEACHERS = ("none", "same", FULL)
SIZES = ("small", "large")
TEACHER_LRS = (0.003, 0.01, 0.03, 0.1)  # tried side by side
KEPT = ("val_accuracy", "test_accuracy", "lr")  # of a teacher


@dataclass(frozen=True)
class Config:
    """One student: several networks that learn alike.

    images: what it learns from: all real images (full), or a set, see `core/distilled.py`, of per_class images of each class,
    learnt for `network` with so much `effort`. teacher: the large network that softens the labels: none, one that learnt from the same
    images, or from all real ones. learner: whether the small or the large network learns. networks: how many, freshly drawn. steps: of
    every training, the teacher's too; lr: peak rate. temperature T > 0; kd_weight: the lambda of the loss. seed: the set, the
    teacher, the networks.
    """

    dataset: Annotated[str, one_of(*DATASETS)]
    images: Annotated[str, one_of(*IMAGES)]
    per_class: Annotated[int, above(0)]
    network: Annotated[str, one_of(*PERCEPTRONS, *CONVNETS)]
    effort: Annotated[str, one_of(*EFFORTS)]
    teacher: Annotated[str, one_of(*TEACHERS)]
    learner: Annotated[str, one_of(*SIZES)]
    small: Annotated[str, one_of(*NETWORKS)]
    large: Annotated[str, one_of(*NETWORKS)]
    networks: Annotated[int, above(0)]
    steps: Annotated[int, above(0)]
    lr: Annotated[float, above(0)]
    temperature: Annotated[float, above(0)]
    kd_weight: Annotated[float, between(0, 1)]
    seed: int

    def __post_init__(self) -> None:
        checked(self)


Arrays = Mapping[str, np.ndarray]


class Combined(Learners):
    """Students of one lesson. datasets: {name: its arrays}."""

    config_type = Config
    may_differ = frozenset({"temperature", "kd_weight", "lr"})
    method: ClassVar[Mapping[str, str]] = {
        "initialisation": learners.STARTS,
        "loss": (
            "(1 - kd_weight) CE(y, softmax(z)) + kd_weight T^2 KL(softmax(t/T) || softmax(z/T)), "
            f"{learners.BATCHES}; z, t: logits of student and teacher, y: labels, T: temperature. Without a teacher CE alone."
        ),
        "optimiser": learners.OPTIMISER,
        "teacher": (
            "The large network, trained by CE on the images of the axis `images` (same) or on all real ones (full), as many steps as "
            f"students, with the same optimiser at peak rates {', '.join(map(str, TEACHER_LRS))} side by side; the one of the most "
            "validation accuracy teaches. It is the first of the large networks of its seed, and answers once, for every image as it is."
        ),
        "sets": distilled.METHOD,
        "cost": (
            "cost_seconds: of making the set, its experts included, of the teacher's training, and of that of one of the student's networks; "
            "images_seen: images that were read in all of this, each as often as it was. Rates that were tried in vain are not counted."
        ),
        "evaluation": learners.EVALUATION,
        "split": f"{SPLIT} Experts, sets and teachers see the images that train.",
    }

    @classmethod
    def described(cls, config: Config) -> dict[str, str]:
        c = config
        needed = dict.fromkeys((getattr(c, c.learner), c.large, c.network))
        return {network: summary(graph(network, CLASSES), shape(c.dataset)) for network in needed}

    @staticmethod
    def artifact(config: Config) -> Config:
        """The config as far as it says what is shown, and who softens the labels."""
        return replace(config, learner="small", networks=1, lr=1.0, temperature=1.0, kd_weight=0.0)

    @classmethod
    def prepare(
        cls, artifact: Config, datasets: Mapping[str, Arrays], device: str
    ) -> tuple[dict[str, np.ndarray], dict]:
        """images, labels (M,) of a small set; `answers`, the teacher's logits on it, or on all real images; `cost`, (2,): seconds and
        images seen. And a row: of the set, and of the teacher."""
        c, kept = artifact, dict[str, np.ndarray]()
        row: dict = {"dataset": c.dataset, "seed": c.seed, "seconds": 0.0, "images_seen": 0.0}
        if c.images != FULL:
            r = distilled.recipe(c.dataset, c.images, c.per_class, c.network, c.effort, c.seed)
            kept, row = distilled.shown(r, datasets[c.dataset], device)
        cost = [row["seconds"], row["images_seen"]]
        row |= {"images": c.images, "per_class": c.per_class, "teacher": c.teacher}
        if c.teacher != "none":  # the pictures of the set are in the table already
            row.pop("tables", None)
            made = cls._taught(c, datasets, device)
            kept["answers"] = _answers(c, made, kept.get("images"), datasets[c.dataset], device)
            cost = [cost[0] + float(made["seconds"]), cost[1] + float(made["images_seen"])]
            row |= {f"teacher_{name}": float(made[name]) for name in (*KEPT, "seconds")}
        return {**kept, "cost": np.array(cost)}, row

    @classmethod
    def _taught(cls, c: Config, datasets: Mapping[str, Arrays], device: str) -> dict[str, np.ndarray]:
        """The teacher: its parameters by number, its accuracies, `lr`, and its own `seconds` and images_seen. Trained at several rates
        as a student of one network that nobody teaches; made once and cached by the content of the data."""
        alone = replace(c, images=FULL if c.teacher == FULL else c.images, teacher="none", learner="large")

        def make() -> dict[str, object]:
            answers, _ = cls.prepare(cls.artifact(alone), datasets, device)
            pack = cls([replace(alone, lr=lr) for lr in TEACHER_LRS], datasets, answers, device)
            rows: list[dict] = []
            while not pack.finished:
                rows = pack.step()
            done = [s for s, row in enumerate(rows) if row["status"] == "done"]
            if not done:
                raise ValueError("no teacher came to anything")
            best = max(done, key=lambda s: rows[s]["val_accuracy"])
            weights = {f"{i:02d}": p.detach()[best] for i, p in enumerate(pack.students.parameters)}
            told = {name: rows[best].get(name, pack.configs[best].lr) for name in KEPT}
            return {**weights, **told, "seconds": pack.stepping / len(TEACHER_LRS), "images_seen": pack.size * c.steps}

        about = {
            "recipe": 1,
            "graph": repr(graph(c.large, CLASSES)),
            "lrs": TEACHER_LRS,
            "held_out": HELD_OUT,
            **asdict(alone),
        }
        if alone.images == FULL:
            about |= {"per_class": 0, "network": "", "effort": str(EFFORTS[c.effort].augmented)}
        return once("combined-teacher", about, datasets[c.dataset], make)

    @staticmethod
    def student_bytes(config: Config) -> int:
        return config.networks * footprint(graph(getattr(config, config.learner), CLASSES), shape(config.dataset), MOST)

    def __init__(self, configs: Sequence[Config], datasets: Mapping[str, Arrays], answers: Arrays, device: str) -> None:
        c = configs[0]
        super().__init__(configs, datasets, answers, device, getattr(c, c.learner))
        self.cost = np.array(answers["cost"])
        self.answers = torch.from_numpy(np.array(answers["answers"])).to(self.device) if c.teacher != "none" else None
        self.temperature, self.kd_weight = (
            self.column(name).repeat_interleave(c.networks) for name in ("temperature", "kd_weight")
        )

    def losses(self, step: int) -> Tensor:
        index, x = self.batch(step)
        z = self.students.logits(x)
        hard = cross_entropy(z, self.labels[index])
        if self.answers is None:
            return hard
        return mixed(hard, distillation(z, self.answers[index], self.temperature), self.kd_weight)

    def measure(self) -> dict[str, Tensor]:
        found = super().measure()
        if self.finished:
            S = len(self.configs)
            spent = self.stepping / S / self.common.networks, self.common.steps * self.size  # of one network
            names = ("cost_seconds", "images_seen")
            found |= {name: torch.full((S,), total) for name, total in zip(names, self.cost + spent, strict=True)}
        return found


def _answers(c: Config, made: Arrays, images: np.ndarray | None, arrays: Arrays, device: str) -> np.ndarray:
    """The teacher's logits on the images of a set, or on all real ones, (N, classes)."""
    net = Population(graph(c.large, CLASSES), shape(c.dataset), [0], [1.0], device)
    with torch.no_grad():
        for i, p in enumerate(net.parameters):
            p.copy_(torch.from_numpy(made[f"{i:02d}"])[None])
    if images is None:
        return net.answers(Splits(arrays, device).images, distilled.standardised(c.dataset))[0].cpu().numpy()
    return net.answers(torch.from_numpy(images).to(device), lambda x: x)[0].cpu().numpy()
