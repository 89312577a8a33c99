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
from typing import Any

import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choices, framed
from analysis.core.figures import bars
from analysis.core.figures.references import levels
from analysis.core.figures.scales import logarithmic, reach
from analysis.core.settings import by_seed, select

METRIC, PLANE = "test_accuracy", ("temperature", "kd_weight")
NAMED: dict[Any, str] = {
    "full": "all real images", "random": "random real", "class_means": "class means", "kmeans": "k-means",
    "dm": "DM", "kip": "KIP", "mtt": "MTT",
}  # fmt: skip
ARMS = {
    ("small", "none"): "small, hard labels", ("small", "same"): "large first, small from its answers",
    ("small", "full"): "small from a teacher of all data", ("large", "none"): "large itself, hard labels",
}  # fmt: skip
TINTS = dict(zip(ARMS.values(), ("#E69F00", "#0072B2", "#009E73", "0.55"), strict=True))
MARKS = dict(zip(NAMED.values(), "sovP^XD", strict=True))
TAUGHT = {"none": "no teacher", "same": "teacher of the same images", "full": "teacher of all data"}
WORDS: report.Words = {
    "images": NAMED, "dataset": tell.data, "teacher": TAUGHT, "learner": "{} network", "temperature": "T = {:g}", "kd_weight": "λ = {:g}", "lr": "lr {:g}",
    "per_class": lambda n: "1 image per class" if n == 1 else f"{n} images per class",
}  # fmt: skip
run = report.open("combined_distillation", words=WORDS)
settings = run.settings(but=[*PLANE, "lr"], first=["dataset", "per_class", "images", "learner", "teacher"])
chosen = choices(settings, [*PLANE, "lr"], margin=run.margin)
named = [{**s.axes, "arm": ARMS[s.axes["learner"], s.axes["teacher"]], "data_set": NAMED[s.axes["images"]]} for s in chosen]
best = pd.concat([c.students.assign(**each) for c, each in zip(chosen.values(), named, strict=True)])
order = [name for name in NAMED.values() if (best["data_set"] == name).any()]
panels = [axis for axis in ("dataset", "per_class") if best[axis].nunique() > 1]


# %%
def reached(dataset, per_class, images, learner, teacher):
    """Test accuracy by seed of what validation chose."""
    axes = {"dataset": dataset, "per_class": per_class, "images": images, "learner": learner, "teacher": teacher}
    return by_seed(select(best, axes), METRIC)


# %% [markdown]
# ## The comparison that was asked for
# Each bar is what validation chose; whiskers are intervals over seeds. All real images have one result, shown in every panel.


# %%
def standing(ax, panel):
    """Bars beside each other for each sort of data."""
    means = statistics.summarise(panel.table, ["arm", "data_set"], METRIC)
    means = means.sort_values("data_set", key=lambda names: names.map(order.index), kind="stable")
    bars.grouped(means.rename(columns={"data_set": "group", "arm": "kind", METRIC: "mean"}), ax, TINTS, "test accuracy, %")


how: dict = {"columns": panels, "wrap": 2, "share": True}
blocks.facets(run, best, standing, "Test accuracy by data and by labels", name="bars", size=(7.6, 4.6), spread=True, **how)

# %% [markdown]
# ## What adds, and what does not
# Differences over the seeds, in points. Told: by Holm over all of them, as in the sentences of the answer.

# %%
BOTH, ORIGINAL, MODEL = ("mtt", "small", "same"), ("full", "small", "none"), ("full", "small", "same")
PAIRS = {
    "combined less MTT alone (hard labels)": (BOTH, ("mtt", "small", "none")),
    "combined less its large network": (BOTH, ("mtt", "large", "none")),
    "combined less random images with their teacher": (BOTH, ("random", "small", "same")),
    "combined less k-means with their teacher": (BOTH, ("kmeans", "small", "same")),
    "combined less the small network on all data": (BOTH, ORIGINAL),
    "combined less model distillation on all data": (BOTH, MODEL),
    "model distillation on all data less hard labels": (MODEL, ORIGINAL),
    "random: teacher of all data less hard labels": (("random", "small", "full"), ("random", "small", "none")),
    "MTT: teacher of all data less hard labels": (("mtt", "small", "full"), ("mtt", "small", "none")),
    "teacher of all data: MTT less random": (("mtt", "small", "full"), ("random", "small", "full")),
}
asked = [key for key, _ in best.groupby(["dataset", "per_class"])]
differences = statistics.compare(
    {
        (tell.data(dataset), run.word("per_class", n), name): tuple(reached(dataset, n, *arm) for arm in pair)
        for dataset, n in asked for name, pair in PAIRS.items()
    },
    ["data", "size", "pair"],
)  # fmt: skip
beside = [a for a in ("data", "size") if differences[a].nunique() > 1]
there = [pair for pair in PAIRS if (differences["pair"] == pair).any()]
listed = differences.assign(pair=pd.Categorical(differences["pair"], there))
blocks.forest(
    run, listed, "What each part adds", y="pair", columns=beside, wrap=2, xlabel="points of test accuracy", better="more",
    note=f"told from 0: Holm over all {len(differences)}",
)  # fmt: skip

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


def draw_planes(number):
    """Surfaces and numbers of one number of images per class."""
    over = [s for s in hearing if s.axes["per_class"] == number]
    if over:
        cells = pd.concat([select(s.cells, {"lr": chosen[s].best["lr"]}).assign(per_class=number) for s in over])
        rows = [*(["dataset"] if "dataset" in panels else []), "images"]
        blocks.plane(
            run, cells, *PLANE, METRIC, f"Test accuracy, {run.word('per_class', number)}", rows=rows, columns=["teacher"], suffix=f"_{number}",
            levels=lambda values: planes({**values, "per_class": number}), framed=framed((s, chosen[s]) for s in over),
        )  # fmt: skip


for count in run.axes["per_class"]:
    draw_planes(count)

# %% [markdown]
# ## What is taken for what
# By the small network that has both, MTT's images and what the large network says of them; all seeds and networks together.

# %%
both_together = select(best, dict(zip(("images", "learner", "teacher"), BOTH, strict=True)))
blocks.confusions(run, both_together, "Which class is taken for which, both together", columns=panels)

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


blocks.facets(run, best, priced, "Test accuracy over cost", name="cost", size=(7.0, 4.8), spread=True, **how)

# %% [markdown]
# ## The images
# The sets of the first seed: one image of each class.

# %%
pictures = run.table("images")


def draw_images(dataset, n):
    """What stands for the data."""
    final = select(pictures, {"dataset": dataset, "per_class": n, "seed": pictures["seed"].min(), "iteration": -1})
    final = final.sort_values("method", key=lambda m: m.map([*NAMED].index), kind="stable")
    heading = f"{tell.data(dataset)}, {run.word('per_class', n)}: what stands for the data"
    blocks.strips(run, final, "method", heading, name=f"images_{dataset}_{n}", also=NAMED.__getitem__)


if len(pictures):
    for key in asked:
        draw_images(*key)

# %% [markdown]
# ## What came out


# %%
def line(setting):
    """What was chosen in a setting, what it is worth and what it cost."""
    choice, axes, heard = chosen[setting], setting.axes, setting.axes["teacher"] != "none"
    best_cell = {k: v for k, v in choice.best.items() if heard or k == "lr"}
    return {
        "data": tell.data(axes["dataset"]), "images": NAMED[axes["images"]],
        "per class": "all" if axes["images"] == "full" else axes["per_class"],
        "who learns": ARMS[axes["learner"], axes["teacher"]], "chosen": run.named(best_cell),
        "test accuracy": tell.percent(choice.by_seed()), "seconds": tell.seconds(choice.students["cost_seconds"].mean()),
        "images read": f"{choice.students['images_seen'].mean():,.0f}",
    }  # fmt: skip


told = {tuple(each.items()): each for each in map(line, chosen)}  # all real images once
run.show(told.values(), "The whole cross")


# %%
LESS = "combined less "


def of_size(dataset, n):
    """The differences of one size of the sets, judged among all."""
    return select(differences, {"data": tell.data(dataset), "size": run.word("per_class", n)})


def asked_of(dataset, n):
    """The proposed solution, against each of its parts alone."""
    wanted = dict(zip(("dataset", "per_class", "images", "learner", "teacher"), (dataset, n, *BOTH), strict=True))
    found = next((c for s, c in chosen.items() if wanted.items() <= s.axes.items()), None)
    where = f"{tell.data(dataset)}, {run.word('per_class', n)}"
    if found is None:
        return f"**{where}**: the combination has no result."
    parts = of_size(dataset, n)[lambda lines: lines["pair"].str.startswith(LESS)]
    parts = parts.assign(base=parts["pair"].str.removeprefix(LESS))
    title = f"{where}, both together"
    return tell.answer(title, found, "test accuracy", name=run.named, against=parts, family=len(differences))


def soft(dataset, n):
    """The control: what a teacher of all data does for random images, and for MTT's."""
    said = []
    for images, name in (("random", "random"), ("mtt", "MTT")):
        for _, each in select(of_size(dataset, n), {"pair": f"{name}: teacher of all data less hard labels"}).iterrows():
            taught = tell.percent(reached(dataset, n, images, "small", "full"))
            said.append(f"{NAMED[images]} {taught}, against hard labels {tell.judged(each)}")
    return f"{tell.data(dataset)}, {run.word('per_class', n)}, with a teacher of all data: {'; '.join(said)}."


# %%
ALONE = {
    "MTT alone (hard labels)": ("distilled images alone", ("mtt", "small", "none")),
    "model distillation on all data": ("a large model's answers on all images", MODEL),
}
BESIDE = {
    "random images with their teacher": ("random images with a teacher", ("random", "small", "same")),
    "the small network on all data": ("all images without a teacher", ORIGINAL),
}


def against(dataset, n, bases):
    """The lines of the differences of both together from each of `bases`, with what it is called and its arm."""
    lines = of_size(dataset, n).set_index("pair")
    return [(lines.loc[LESS + base], *what) for base, what in bases.items() if LESS + base in lines.index]


def stands(dataset, n):
    """Whether both are better than each alone: `Yes`, `No` or `Open`; nothing where there is nothing to compare with."""
    found = {line["told"] for line, *_ in against(dataset, n, ALONE)}
    return "Yes" if found == {"more"} else "No" if "less" in found else "Open" if found else ""


# %%
def means(dataset, sizes, arm):
    """`84.4 and 90.9 %`, over the sizes of the sets; once where all are alike."""
    return " and ".join(dict.fromkeys(f"{100 * reached(dataset, n, *arm).mean():.1f}" for n in sizes)) + " %"


def verdict(dataset, sizes):
    """Whether both together are better than each alone."""
    found = {n: stands(dataset, n) for n in sizes if stands(dataset, n)}
    if not found:
        return f"**{tell.data(dataset)}**: there is nothing yet to compare both together with."
    one = next(iter(found.values())) if len(set(found.values())) == 1 else "It depends on how many images there are"
    said = [f"Both reach {means(dataset, found, BOTH)} with {' and '.join(run.word('per_class', n) for n in found)}"]
    for base, (name, arm) in ALONE.items():
        words = {n: tell.plainly(line) for n in found for line, *_ in against(dataset, n, {base: ""})}
        alike = [*dict.fromkeys(words.values())]
        each = alike if len(alike) == 1 else [f"{word} with {run.word('per_class', n)}" for n, word in words.items()]
        said += [f"against {name} ({means(dataset, words, arm)}): {', '.join(each)}"] * bool(words)
    return f"**{tell.data(dataset)}, better off with both than with one of them? {one}.** {'; '.join(said)}."


def numbers(dataset, n):
    """What both together reach with one size of the sets, beside what is neither."""
    both = reached(dataset, n, *BOTH)
    by_word: dict[str, list[str]] = {}
    for line, name, arm in against(dataset, n, BESIDE):
        by_word.setdefault(tell.plainly(line, "better than", "worse than"), []).append(f"{name} ({means(dataset, [n], arm)})")
    here = f"both reach {tell.percent(both)}" if len(both) else "both together have no result"
    said = [f"{word}{':' * ('than' not in word)} {', '.join(names)}" for word, names in by_word.items()]
    return f"**{tell.data(dataset)}, {run.word('per_class', n)}**: {'; '.join([here, *said])}."


# %%
of_data = {dataset: [n for d, n in asked if d == dataset] for dataset, _ in asked}
answers = [said for d, sizes in of_data.items() for said in (verdict(d, sizes), *(numbers(d, n) for n in sizes))]
corrected = (
    f"p is corrected for all {len(differences)} that are compared, an interval is of one pair alone: it may exclude 0 where the pair is not told."
)
run.close(answers, [*(asked_of(*key) for key in asked), *(soft(*key) for key in asked), *[corrected] * (len(differences) > 1)])
