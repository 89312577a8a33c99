# %% [markdown]
# # How few images can stand for a whole data set?
#
# Of each class one image, ten or fifty make a set, and networks that see nothing else are tested on real images. Data set
# distillation learns the images: min over X of the error on real data of a network trained on X. What is compared:
#
# - `random`: real images; `class means`, `k-means`: averages of them, which cost nothing to speak of.
# - `dm`: distribution matching (Zhao, Bilen 2021, arXiv 2110.04181): the mean features of freshly drawn networks agree, class by class.
# - `kip`: kernel inducing points (Nguyen et al. 2021, arXiv 2011.00050): regression on the images with the kernel of an infinitely wide
#   network is right on real ones. That regression needs no training; the networks that learn from its images are another matter.
# - `mtt`: matching training trajectories (Cazenavette et al. 2022, arXiv 2203.11932): experts learn from the real data; the images are
#   such that N steps on them lead from an expert's weights to those it has many steps later: |θ_N - θ*|² / |θ_0 - θ*|² is least. The
#   learning rate of the N steps is learnt along.
# - `whole`: the same networks on all real images, with as many steps.
#
# A student is several freshly drawn networks that learn from one set, and its accuracy their mean; each seed makes its own set, with
# experts of its own. The learning rate of the learners is chosen on validation for every set and learner; among the looks that were
# taken while images were learnt, validation chose too.

# %%
from itertools import product
from typing import Any

import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choices, choose
from analysis.core.settings import by_seed, select

METRIC, LEARNT, CHEAP = "test_accuracy", ("dm", "kip", "mtt"), ("random", "class_means", "kmeans")
NAMED: dict[Any, str] = {
    "whole": "whole data", "random": "random real", "class_means": "class means", "kmeans": "k-means",
    "dm": "DM", "kip": "KIP", "mtt": "MTT",
}  # fmt: skip
TINTS = dict(zip(NAMED.values(), ("0.3", "#E69F00", "#009E73", "#56B4E9", "#CC79A7", "#7A5195", "#0072B2"), strict=True))
WORDS: report.Words = {
    "method": NAMED, "per_class": lambda n: "1 image per class" if n == 1 else f"{n} images per class", "dataset": tell.data,
    "learner": lambda name: f"learner {tell.network(name)}", "lr": "lr {:g}", "network": lambda name: f"learnt for {tell.network(name)}",
}  # fmt: skip
run = report.open("dataset_distillation", words=WORDS)
settings = run.settings(but=["lr"], first=["dataset", "method", "per_class", "learner"])
chosen = choices(settings, ["lr"], margin=run.margin)
known = [name for name in NAMED.values() if name in {NAMED[s.axes["method"]] for s in chosen}]
named = [{**s.axes, "what": NAMED[s.axes["method"]]} for s in chosen]
students = pd.concat([c.students.assign(**each) for c, each in zip(chosen.values(), named, strict=True)])
best = students.assign(what=pd.Categorical(students["what"], known))
own = best[best["learner"] == best["network"]] if (best["learner"] == best["network"]).any() else best
networks = list(dict.fromkeys(run.students["network"]))

# %% [markdown]
# ## What the images look like, and how learnt ones change
# The sets of the first seed with one image per class, and with more the first of each class; then MTT's from its start (k-means) over the
# iterations. Values beyond black and white are cut off.

# %%
sets, pictures, progress = (run.table(name) for name in ("sets", "images", "progress"))


def draw_images(dataset, per_class, of):
    """All final sets, and MTT's on its way."""
    where, name = f"{tell.data(dataset)}, {run.word('per_class', per_class)}", f"{dataset}_{per_class}"
    final = of[of["iteration"] < 0].sort_values("method", key=lambda m: m.map([*NAMED].index), kind="stable")
    blocks.strips(run, final, "method", f"{where}: what stands for the data", name=f"images_{name}", also=NAMED.__getitem__)
    then = of[(of["iteration"] >= 0) & (of["method"] == "mtt")].sort_values("iteration", kind="stable")
    blocks.strips(run, then, "iteration", f"{where}: MTT on its way", name=f"change_{name}", also="iteration {}".format)


if len(pictures):
    for (dataset_, n_), shown_images in select(pictures, {"seed": pictures["seed"].min()}).groupby(["dataset", "per_class"]):
        draw_images(dataset_, n_, shown_images)

# %% [markdown]
# ## Test accuracy over images per class
# One panel for each network that learns from the sets. Sets are learnt for one of them; others ask whether what was learnt serves them too.

# %%
over: dict = {"per": "what", "colors": TINTS, "legend": ""}
shown = [axis for axis in ("dataset", "learner") if best[axis].nunique() > 1]
blocks.learning(
    run,
    best,
    "per_class",
    METRIC,
    "Test accuracy over images per class",
    columns=shown,
    name="per_class",
    xlabel="images per class",
    **over,
)

# %% [markdown]
# ## Beside published figures
# The learner for which the sets were learnt. Published ones are of a ConvNet of 128 channels (LD: LeNet), of larger budgets and other
# splits: neighbours, not the same experiment. They are as the KIP paper quotes them (arXiv 2107.13034, table 1), and for CIFAR-10 as later papers do.

# %%
PUBLISHED = {
    ("mnist", 1): {"LD": 0.609, "DC": 0.917, "DSA": 0.887, "KIP": 0.965}, ("mnist", 10): {"LD": 0.873, "DC": 0.974, "DSA": 0.978, "KIP": 0.991},
    ("mnist", 50): {"LD": 0.933, "DC": 0.988, "DSA": 0.992, "KIP": 0.995},
    ("cifar10", 1): {"random": 0.144, "DM": 0.26, "MTT": 0.463}, ("cifar10", 10): {"random": 0.26, "DM": 0.489, "MTT": 0.653},
    ("cifar10", 50): {"random": 0.434, "DM": 0.63, "MTT": 0.716},
}  # fmt: skip


def draw_ladder(dataset, per_class, of):
    """Ours and published ones of one size."""
    bars = [(what, by_seed(of[of["what"] == what], METRIC), what) for what in TINTS]
    kernel = by_seed(select(sets, {"dataset": dataset, "per_class": per_class, "method": "kip"}), "kernel_test_accuracy")
    bars.append(("KIP, regression with its kernel", kernel, "KIP"))
    theirs = {f"{name}, published": value for name, value in PUBLISHED.get((dataset, per_class), {}).items()}
    heading = f"{tell.data(dataset)}, {run.word('per_class', per_class)}: test accuracy"
    blocks.ladder(run, bars, METRIC, heading, TINTS, published=theirs, name=f"ladder_{dataset}_{per_class}")


for (data_, size_), own_students in own.groupby(["dataset", "per_class"]):
    draw_ladder(data_, size_, own_students)

# %% [markdown]
# ## While images are learnt
# Validation accuracy of three fresh networks that learn from the set as it was then. It is not the matching loss: that may fall on
# while accuracy falls, which is why validation chooses among the looks.

# %%
if len(progress):
    looks = progress.assign(what=progress["method"].map(NAMED))
    sides: dict = {
        "per": "what",
        "columns": [a for a in ("dataset", "per_class") if looks[a].nunique() > 1],
        "colors": TINTS,
        "legend": "",
    }
    blocks.learning(
        run,
        looks,
        "iteration",
        "val_accuracy",
        "Validation accuracy over iterations",
        name="progress",
        limits=(None, None),
        **sides,
    )
    blocks.learning(
        run, looks[(looks["method"] == "mtt") & looks["loss"].notna()], "iteration", "loss", "MTT's matching loss over iterations (1: no nearer to the expert than at its start)",
        name="loss", ylabel="matching loss", limits=(0, None), **sides,
    )  # fmt: skip

# %% [markdown]
# ## Against what costs nothing, and MTT against the others
# Every learnt set less the random, averaged and k-means sets of the same seeds, and MTT less the other learnt ones, in points of test
# accuracy. Told: by Holm over all of them, as in the sentences of the answer.


# %%
def less():
    """{(data, learner, images, pair): both by seed}"""
    for (dataset, learner, n), of in best.groupby(["dataset", "learner", "per_class"]):
        values = {method: by_seed(of[of["method"] == method], METRIC) for method in (*CHEAP, *LEARNT)}
        where = tell.data(dataset), run.word("learner", learner), run.word("per_class", n)
        for learnt, other in [*product(LEARNT, CHEAP), ("mtt", "dm"), ("mtt", "kip")]:
            yield (*where, f"{NAMED[learnt]} less {NAMED[other]}"), (values[learnt], values[other])


differences = statistics.compare(dict(less()), ["data", "who", "size", "pair"])
panels = [a for a in ("data", "who", "size") if differences[a].nunique() > 1]
blocks.forest(
    run,
    differences,
    "What learning the images adds",
    y="pair",
    columns=panels,
    wrap=2,
    xlabel="points of test accuracy",
    better="more",
    note=f"told from 0: Holm over all {len(differences)}",
)

# %% [markdown]
# ## What came out

# %%
LESS = "MTT less "


def answer(setting):
    """What MTT has for the learner that it was made for, against all others."""
    said = {"data": tell.data(setting.axes["dataset"]), "who": run.word("learner", setting.axes["learner"])}
    lines = select(differences, {**said, "size": run.word("per_class", setting.axes["per_class"])})
    lines = lines[lines["pair"].str.startswith(LESS)].assign(base=lines["pair"].str.removeprefix(LESS))
    return tell.answer(setting.title, chosen[setting], "test accuracy", against=lines, family=len(differences))


def cost():
    """What the sets cost, in the mean over seeds."""
    for (dataset, method, n), of in sets.groupby(["dataset", "method", "per_class"]) if len(sets) else ():
        yield {
            "data": tell.data(dataset),
            "set": NAMED[method],
            "images per class": n,
            "to make one, s": tell.seconds(of["seconds"].mean()),
            "kernel regression on it": tell.percent(by_seed(of, "kernel_test_accuracy")),
            "real images read": f"{of['images_seen'].mean():,.0f}",
        }


def line(setting):
    """The accuracy of a chosen cell, and how far the networks that learn from one set are apart."""
    choice, axes = chosen[setting], setting.axes
    spread = choice.by_seed("spread").mean()
    return {
        "data": tell.data(axes["dataset"]), "set": NAMED[axes["method"]], "images per class": axes["per_class"], "learner": run.word("learner", axes["learner"]),
        "lr": f"{choice.best['lr']:g}", "test accuracy": tell.percent(choice.by_seed()), "deviation between networks": f"{100 * spread:.1f} points",
    }  # fmt: skip


run.show(map(line, chosen), "All sets and learners")
run.show(cost(), "What the sets cost, and what regression with the kernel of an infinitely wide network reaches on them")
main = [s for s in chosen if s.axes["method"] == "mtt" and s.axes["learner"] in networks]


# %%
def few_of(dataset, learner):
    """{images per class: the set that validation chooses}"""
    of = select(run.cells, {"dataset": dataset, "learner": learner})
    sets_of = {n: part[part["method"] != "whole"] for n, part in of.groupby("per_class")}
    among = ["method", "lr", *run.varied(but=["dataset", "learner", "per_class", "method", "lr"])]
    found = {n: choose(part, among, margin=run.margin) for n, part in sets_of.items()}
    return {n: choice for n, choice in found.items() if choice}


few = {key: few_of(*key) for key, _ in best.groupby(["dataset", "learner"], sort=False)}
whole = {key: by_seed(select(best, {"dataset": key[0], "learner": key[1], "method": "whole"}), METRIC) for key in few}
short = statistics.compare(
    {(*key, n): (choice.by_seed(), whole[key]) for key, of in few.items() for n, choice in of.items()}, ["dataset", "learner", "per_class"]
)


# %% [markdown]
# ## What is taken for what
# By learners of the set of each size that validation chose, all seeds and networks together.

# %%
learnt = pd.concat([choice.students for of in few.values() for choice in of.values()] or [best[:0]])
over_sets = [a for a in ("dataset", "learner", "per_class") if learnt[a].nunique() > 1]
blocks.confusions(run, learnt, "Which class is taken for which, after the set of each size that validation chose", columns=over_sets)


# %%
def stands(dataset, learner):
    """How few images are as good as all of them, the best set of each size beside what all the data reach."""
    found, all_of_them = few[dataset, learner], whole[dataset, learner]
    lines = select(short, {"dataset": dataset, "learner": learner}).set_index("per_class")
    enough = [run.word("per_class", n) for n, line in lines.iterrows() if line["told"] == "more"]
    unsure = [run.word("per_class", n) for n, line in lines.iterrows() if line["told"] == "open"]
    head = f"yes, {enough[0]}" if enough else f"open for {' and '.join(unsure)}" if unsure else "no, not as few as were tried"
    each = [
        f"{run.word('per_class', n)} ({NAMED[choice.best['method']]}) {tell.percent(choice.by_seed())}"
        + (f": {tell.plainly(lines.loc[n])}" if n in lines.index else "")
        for n, choice in found.items()
    ]
    said = f"{head}. All data reach {tell.percent(all_of_them)}; " if len(lines) else "all data have no result here; "
    return f"**{tell.data(dataset)}, {run.word('learner', learner)}, can few images stand for all?** {tell.capital(said)}{'; '.join(each)}."


def pays(dataset, learner):
    """Whether MTT's images are better than the other sets, by images per class."""
    said = []
    for n in few[dataset, learner]:
        lines = select(differences, {"data": tell.data(dataset), "who": run.word("learner", learner), "size": run.word("per_class", n)})
        lines = lines[lines["pair"].str.startswith(LESS)]
        words = [tell.plainly(line, "better than", "worse than") for _, line in lines.iterrows()]
        counted = [f"{word}{':' * ('than' not in word)} {words.count(word)} of {len(words)}" for word in dict.fromkeys(words)]
        said += [f"with {run.word('per_class', n)} {', '.join(counted)}"] * bool(words)
    return f"**MTT's images against the other sets** ({tell.data(dataset)}, {run.word('learner', learner)}): {'; '.join(said)}." if said else ""


# %%
budget = "Published MTT has 100 experts of 50 epochs and a ConvNet; how much less is spent here stands under `sets` in the table of methods."
answers = [said for key, of in few.items() if of for said in (stands(*key), pays(*key)) if said]
run.close(answers, [*map(answer, main), budget])
