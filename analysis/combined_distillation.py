# %% [markdown]
# # Is a small model better off with distilled data, with a large model's answers, or with both?
#
# **Data distillation** makes a few images that stand for a whole data set, so that training on them comes near training on all of it
# (here matching of training trajectories, MTT, arXiv 2203.11932). **Model distillation** lets a small network learn from the answers of
# a large one, by (1 - λ) CE + λ T² KL(teacher/T ‖ student/T) (Hinton et al. 2015, arXiv 1503.02531). **Together**: the large network
# learns from the few images, and the small one from the same images and from what the large one says of them.
#
# The whole cross: all real images, random ones, centres of k-means, or MTT's; the small network from hard labels, after a large network
# that learnt from the same images (*same*), or after one that learnt from all real images (*all*, the upper bound: it needs the data
# that were to be replaced); and the large network itself. T, λ and the learning rate are chosen on validation in each of these.
#
# The control that matters is random images with a teacher: Qin et al. 2024 (arXiv 2406.10485) found that soft labels, not the images, do
# most of the work of later data distillation. The assignment calls the combination new; that paper and DD-Ranking have since touched it.

# %%
import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choices, framed
from analysis.core.figures.references import levels
from analysis.core.figures.scales import logarithmic, reach
from analysis.core.settings import by_seed, select

METRIC, PLANE = "test_accuracy", ("temperature", "kd_weight")
NAMED = {
    "full": "all real images",
    "random": "random real",
    "class_means": "class means",
    "kmeans": "k-means",
    "dm": "DM",
    "kip": "KIP",
    "mtt": "MTT",
}
DATA = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
ARMS = {
    ("small", "none"): "small, hard labels", ("small", "same"): "large first, small from its answers",
    ("small", "full"): "small from a teacher of all data", ("large", "none"): "large itself, hard labels",
}  # fmt: skip
TINTS = dict(zip(ARMS.values(), ("#E69F00", "#0072B2", "#009E73", "0.55"), strict=True))
MARKS = dict(zip(NAMED.values(), "sovP^XD", strict=True))
TAUGHT = {"none": "no teacher", "same": "teacher of the same images", "full": "teacher of all data"}
WORDS: report.Words = {
    "images": NAMED, "dataset": DATA, "teacher": TAUGHT, "learner": "{} network", "temperature": "T = {:g}", "kd_weight": "λ = {:g}", "lr": "lr {:g}",
    "per_class": lambda n: "1 image per class" if n == 1 else f"{n} images per class",
}  # fmt: skip
run = report.open("combined_distillation", words=WORDS)
settings = run.settings(but=[*PLANE, "lr"], first=["dataset", "per_class", "images", "learner", "teacher"])
chosen = choices(settings, [*PLANE, "lr"], margin=run.margin)
best = pd.concat(
    [
        c.students.assign(**s.axes, arm=ARMS[s.axes["learner"], s.axes["teacher"]], data_set=NAMED[s.axes["images"]])
        for s, c in chosen.items()
    ]
)
order = [name for name in NAMED.values() if (best["data_set"] == name).any()]
panels = [axis for axis in ("dataset", "per_class") if best[axis].nunique() > 1]


def reached(dataset, per_class, images, learner, teacher):
    """Test accuracy by seed of what validation chose."""
    return by_seed(
        select(
            best, {"dataset": dataset, "per_class": per_class, "images": images, "learner": learner, "teacher": teacher}
        ),
        METRIC,
    )


# %% [markdown]
# ## The comparison that was asked for
# Each bar is what validation chose; whiskers are intervals over seeds. All real images have one result, shown in every panel.


# %%
def grouped(ax, panel):
    """Bars beside each other for each sort of data."""
    means = statistics.summarise(panel.table, ["arm", "data_set"], METRIC)
    for i, (arm, color) in enumerate(TINTS.items()):
        part = means[means["arm"] == arm]
        at = part["data_set"].map(order.index) + blocks.beside(i, len(TINTS))
        ax.bar(
            at,
            part[METRIC],
            0.7 / len(TINTS),
            yerr=reach(part, METRIC),
            color=color,
            label=arm,
            capsize=2,
            error_kw={"linewidth": 1},
        )
        for x, value in zip(at, part[METRIC], strict=True):
            ax.text(
                x,
                2,
                f"{value:.1f}",
                rotation=90,
                ha="center",
                va="bottom",
                fontsize=8,
                color="white" if i in (1, 2) else "black",
            )
    ax.set_xticks(range(len(order)), order)
    ax.set(ylim=(0, 100), ylabel="test accuracy, %")
    ax.grid(axis="y", linewidth=0.3)


blocks.facets(
    run,
    best,
    grouped,
    "Test accuracy by data and by labels",
    name="bars",
    columns=panels,
    size=(8.2, 4.6),
    wrap=1,
    share=True,
)

# %% [markdown]
# ## What adds, and what does not
# Differences over the seeds, in points; p by Holm over all of them.


# %%
def pairs():
    """{(data, images, which): both by seed}"""
    for (dataset, n), _ in best.groupby(["dataset", "per_class"]):
        where = DATA[dataset], run.word("per_class", n)
        both = reached(dataset, n, "mtt", "small", "same")
        found = {
            "combined less MTT alone (hard labels)": (both, reached(dataset, n, "mtt", "small", "none")),
            "combined less its large network": (both, reached(dataset, n, "mtt", "large", "none")),
            "combined less random images with their teacher": (both, reached(dataset, n, "random", "small", "same")),
            "combined less k-means with their teacher": (both, reached(dataset, n, "kmeans", "small", "same")),
            "MTT less random, teacher of all data": (reached(dataset, n, "mtt", "small", "full"), reached(dataset, n, "random", "small", "full")),
            "combined less the small network on all data": (both, reached(dataset, n, "full", "small", "none")),
            "combined less model distillation on all data": (both, reached(dataset, n, "full", "small", "same")),
            "model distillation on all data less hard labels": (reached(dataset, n, "full", "small", "same"), reached(dataset, n, "full", "small", "none")),
            "random: teacher of all data less hard labels": (reached(dataset, n, "random", "small", "full"), reached(dataset, n, "random", "small", "none")),
            "MTT: teacher of all data less hard labels": (reached(dataset, n, "mtt", "small", "full"), reached(dataset, n, "mtt", "small", "none")),
        }  # fmt: skip
        yield from (((*where, name), both) for name, both in found.items())


differences = statistics.compare(dict(pairs()), ["data", "images", "pair"])
differences = differences.assign(pair=pd.Categorical(differences["pair"], differences["pair"].unique()))
beside = [a for a in ("data", "images") if differences[a].nunique() > 1]
blocks.forest(
    run,
    differences,
    "What each part adds",
    y="pair",
    columns=beside,
    wrap=2,
    xlabel="points of test accuracy",
    better="more",
)

# %% [markdown]
# ## Over temperature and λ
# The small network after a large one, at the learning rate that validation chose; the planes are the small network from hard labels on
# the same images, and on all real ones.

# %%
hearing = [s for s in chosen if s.axes["teacher"] != "none" and s.axes["images"] in ("random", "mtt")]


def planes(values):
    """What a panel is read against."""
    known = {"dataset": run.axes["dataset"][0], "per_class": run.axes["per_class"][0], **values}
    alone = {
        name: reached(known["dataset"], known["per_class"], images, "small", "none")
        for name, images in (("hard labels", known["images"]), ("all data, hard labels", "full"))
    }
    return levels(alone, ("#B35900", "#0072B2"))


for number in run.axes["per_class"]:
    over = [s for s in hearing if s.axes["per_class"] == number]
    if over:
        cells = pd.concat([select(s.cells, {"lr": chosen[s].best["lr"]}).assign(per_class=number) for s in over])
        blocks.plane(
            run, cells, *PLANE, METRIC, f"Test accuracy, {run.word('per_class', number)}", rows=[*(["dataset"] if "dataset" in panels else []), "images"], columns=["teacher"],
            levels=lambda values, number=number: planes({**values, "per_class": number}), framed=framed((s, chosen[s]) for s in over), suffix=f"_{number}",
        )  # fmt: skip

# %% [markdown]
# ## What it costs
# Seconds of one core to make the set (experts included), the teacher and one of the student's networks; what was spent on learning rates,
# temperatures and λ that were not chosen is left out. A set, once made, serves many networks.


# %%
def priced(ax, panel):
    """Accuracy over cost, a mark for each sort of data."""
    costs = panel.table.groupby(["arm", "data_set"])["cost_seconds"].mean()
    for _, line in statistics.summarise(panel.table, ["arm", "data_set"], METRIC).iterrows():
        arm, images = line["arm"], line["data_set"]
        error = reach(line.to_frame().T, METRIC)
        ax.errorbar(
            costs[arm, images], line[METRIC], error, fmt=MARKS[images], color=TINTS[arm], capsize=2, markersize=7
        )
    for images in order:
        ax.plot([], [], MARKS[images], color="black", label=images)
    for arm, color in TINTS.items():
        ax.plot([], [], "o", color=color, label=arm)
    logarithmic(ax, "x")
    ax.set(xlabel="seconds on one core", ylabel="test accuracy, %")
    ax.grid(which="both", linewidth=0.3)


blocks.facets(
    run, best, priced, "Test accuracy over cost", name="cost", columns=panels, size=(7.0, 4.8), wrap=2, share=True
)

# %% [markdown]
# ## The images
# The sets of the first seed: one image of each class.

# %%
pictures = run.table("images")
for (dataset, n), of in pictures.groupby(["dataset", "per_class"]) if len(pictures) else ():
    final = select(of, {"seed": of["seed"].min(), "iteration": -1})
    final = final.sort_values("method", key=lambda m: m.map([*NAMED].index), kind="stable")
    blocks.strips(
        run,
        final,
        "method",
        f"{DATA[dataset]}, {run.word('per_class', n)}: what stands for the data",
        name=f"images_{dataset}_{n}",
        also=NAMED.get,
    )

# %% [markdown]
# ## What came out


# %%
def line(setting):
    """What was chosen in a setting, what it is worth and what it cost."""
    choice, axes = chosen[setting], setting.axes
    students = choice.students
    heard = axes["teacher"] != "none"
    return {
        "data": DATA[axes["dataset"]], "images": NAMED[axes["images"]], "per class": axes["per_class"] if axes["images"] != "full" else "all",
        "who learns": ARMS[axes["learner"], axes["teacher"]], "chosen": run.named({k: v for k, v in choice.best.items() if heard or k == "lr"}),
        "test accuracy": tell.percent(choice.by_seed()), "seconds": f"{students['cost_seconds'].mean():.0f}", "images read": f"{students['images_seen'].mean():,.0f}",
    }  # fmt: skip


def answer(dataset, n):
    """The proposed solution, against each of its parts alone."""
    found = next(
        (
            c
            for s, c in chosen.items()
            if {"dataset": dataset, "per_class": n, "images": "mtt", "learner": "small", "teacher": "same"}.items()
            <= s.axes.items()
        ),
        None,
    )
    if found is None:
        return f"**{DATA[dataset]}, {run.word('per_class', n)}**: the combination has no result."
    against = {
        "distilled data alone": reached(dataset, n, "mtt", "small", "none"), "its large network": reached(dataset, n, "mtt", "large", "none"),
        "random images with their own teacher": reached(dataset, n, "random", "small", "same"), "model distillation on all data": reached(dataset, n, "full", "small", "same"),
        "the small network on all data": reached(dataset, n, "full", "small", "none"),
    }  # fmt: skip
    return tell.answer(
        f"{DATA[dataset]}, {run.word('per_class', n)}, both together",
        found,
        "test accuracy",
        name=run.named,
        against=against,
        lead=False,
    )


def soft(dataset, n):
    """The control: what a teacher of all data does for random images, and for MTT's."""
    each = {
        NAMED[images]: [reached(dataset, n, images, "small", teacher) for teacher in ("full", "none")]
        for images in ("random", "mtt")
    }
    said = [
        f"{name} {tell.percent(a)}, {tell.difference(a, b)} against hard labels"
        for name, (a, b) in each.items()
        if len(a) and len(b)
    ]
    return f"{DATA[dataset]}, {run.word('per_class', n)}, with a teacher of all data: {'; '.join(said)}."


asked = [key for key, _ in best.groupby(["dataset", "per_class"])]
seen = {
    (
        s.axes["images"],
        s.axes["learner"],
        s.axes["teacher"],
        s.axes["dataset"],
        "full" if s.axes["images"] == "full" else s.axes["per_class"],
    ): s
    for s in chosen
}
run.show(map(line, [s for key, s in seen.items() if key[0] != "full" or key[2] != "same"]), "The whole cross")
run.close([answer(*key) for key in asked], [soft(*key) for key in asked])
