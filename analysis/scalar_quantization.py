# %% [markdown]
# # How few bits per component do vectors need?
#
# Vectors of a network's penultimate layer are kept in few bits, each component apart from the others: product quantisation in the extreme
# case M = D. There instead of clusters a component has thresholds, and those with the least squared error can be found exactly, by dynamic
# programming over its sorted values. Beside them stand thresholds that are easier to find, bits dealt to the components that deserve them,
# the same after a turn onto principal axes (PCA), and faiss's quantisers at equal bytes.
#
# A third of the vectors of training images teaches the quantisers, the others are the database; held-out images are the queries that choose,
# test images those that report. Queries are not quantised (asymmetric distances). recall@R is the share of the R true nearest
# neighbours that are among the R found; accuracy is that of the majority of ten neighbours. Seeds say which vectors teach.

# %%
from itertools import product

import numpy as np
import pandas as pd

from analysis.core import blocks, components, report, statistics, tell
from analysis.core.choice import choices
from analysis.core.figures import levels as figures
from analysis.core.settings import by_seed, select

METHODS = {
    "uniform": "uniform", "quantile": "quantiles", "lloyd": "Lloyd-Max", "exact": "exact", "allocated": "exact, bits allocated",
    "faiss_sq": "faiss SQ", "faiss_pq": "faiss PQ",
}  # fmt: skip
TURNS = {"none": "", "pca": " after PCA", "opq": " after OPQ"}
COLORS = {
    "uniform": "#E69F00", "quantiles": "#56B4E9", "Lloyd-Max": "#009E73", "exact": "#0072B2", "exact, bits allocated": "#D55E00",
    "faiss SQ": "#7A5195", "faiss PQ": "#CC79A7", "faiss PQ after OPQ": "#000000", "exact after PCA": "#88AACC",
    "exact, bits allocated after PCA": "#A02C00",
}  # fmt: skip
run = report.open("scalar_quantization", words={"dataset": tell.data, "bits": "{} bits"})


def named(table):
    """The lines with the column `way`: how they quantise, in words."""
    ways = table["method"].map(METHODS) + table["rotation"].map(TURNS)
    return table.assign(way=pd.Categorical(ways, [way for way in COLORS if (ways == way).any()], ordered=True))


students = named(run.students)
settings = run.settings(but=["method", "rotation"], first=["dataset", "bits"], canonical=True)
chosen = choices(settings, ["method", "rotation"], by="val_recall_10", report="test_recall_10", margin=run.margin)

# %% [markdown]
# ## Error over bytes
# The mean squared error of database vectors, which taught nothing, over their variance. Above, how thresholds are found; below, what else
# can be done with as many bytes. A component gets 8 bits at most: an allocation ends where all that vary have them.

# %%
THRESHOLDS, BYTES = "how thresholds are found", "at equal bytes"
GROUPS = {
    THRESHOLDS: ["uniform", "quantiles", "Lloyd-Max", "exact", "faiss SQ"],
    BYTES: ["exact", "exact, bits allocated", "exact after PCA", "exact, bits allocated after PCA", "faiss PQ", "faiss PQ after OPQ"],
}  # fmt: skip
grouped = pd.concat([students[students["way"].isin(ways)].assign(group=group) for group, ways in GROUPS.items()])
over: dict = {
    "per": "way", "rows": ["group"], "columns": ["dataset"], "colors": COLORS, "log": True, "legend": "", "share": False,
    "xlabel": "bytes per vector; below them: bits per component", "note": "where Lloyd-Max is not seen it lies under exact",
}  # fmt: skip
blocks.learning(
    run, grouped, "bytes", "distortion", "Squared error over bytes", name="distortion", ylabel="squared error / variance",
    also=blocks.drawn(figures.sized, True), **over,
)  # fmt: skip

# %% [markdown]
# ## Neighbours over bytes
# What the error costs a search: recall@10 of test queries, then all three recalls at equal bytes.

# %%
RECALL = "test_recall_10"
blocks.learning(
    run, grouped, "bytes", RECALL, "Recall@10 of the exact neighbours over bytes, test queries", name="recall",
    ylabel="recall@10, %", limits=(0, 101), also=blocks.drawn(figures.sized, False), **over,
)  # fmt: skip


# %%
def bytes_line(key, part):
    """A line of the table at equal bytes."""
    size, dataset, way = key
    bits, error = part["bits"].iloc[0], 100 * by_seed(part, "distortion")
    shares = {**{f"recall@{r}, %": f"test_recall_{r}" for r in (1, 10, 100)}, "kNN accuracy, %": "test_accuracy"}
    return {
        "data": run.word("dataset", dataset), "bytes": f"{size:g}", "bits": bits, "quantiser": way,
        "error / variance, %": tell.number(error, 2 if bits < 8 else 4, least=0),
        **{name: tell.number(100 * by_seed(part, metric), 1, least=0, most=100) for name, metric in shares.items()},
    }  # fmt: skip


even = students[students["bits"].isin((1, 2, 4, 8))].groupby(["bytes", "dataset", "way"], observed=True, sort=True)
run.show([bytes_line(*each) for each in even], "At equal bytes: test queries")

# %% [markdown]
# ## Thresholds over the components that they cut
# Components of the first seed, from left to right by variance: the largest, the upper quarter, the median, one of the smallest. Grey is how
# many teaching vectors have a value, linear to 10, then logarithmic. Lines are thresholds, ticks at the foot are levels; the error is that of
# the teaching vectors over the component's variance. Where many values are 0, several quantiles are 0 as well, and their levels are lost.

# %%
cut = run.table("thresholds")
if len(cut):
    drawn = named(select(cut, {"seed": min(cut["seed"]), "bits": 2 if (cut["bits"] == 2).any() else cut["bits"].max()}))
    for dataset, part in drawn.groupby("dataset"):
        tints = {way: COLORS[way] for way in drawn["way"].cat.categories}
        figure = figures.cuts(part, tints)
        heading = f"Thresholds of {part['bits'].iloc[0]} bits on {run.word('dataset', dataset)} vectors, seed {part['seed'].iloc[0]}"
        figure.suptitle(run.title(heading), fontsize=11)
        run.figure(figure, f"thresholds_{dataset}")

# %% [markdown]
# ## What other thresholds cost each component
# The error of a component in the database over that of exact thresholds, which are the best for the vectors that taught; on others a component
# may come out below 1. At 3 bits.

# %%
AT, PLAIN = 3, ["uniform", "quantile", "lloyd", "exact"]
single = components.each(run.table("components"))
plain = select(single, {"rotation": "none", "bits": AT})
paid = named(components.against_exact(plain[plain["method"].isin(PLAIN)], ["dataset", "seed", "bits"]))
if len(paid):
    own = {way: COLORS[way] for way in paid["way"].cat.categories}
    blocks.facets(
        run, paid, lambda ax, panel: figures.costs(panel.table, own, ax), f"What a component pays for other thresholds, {AT} bits",
        name="components", columns=["dataset"],
    )  # fmt: skip

# %% [markdown]
# ## Which components deserve bits
# Of two bits per component in the mean, each gets what lowers the summed error most; the sum of bytes is the same. For Gaussian components
# rate-distortion theory gives a bit more for each doubling of the deviation (Gersho, Gray 1992, section 8.3).

# %%
AXES = {"none": "components as they are", "pca": "principal axes"}
dealt = select(
    single.assign(axes=single["rotation"].map(AXES)), {"method": "allocated", "bits": 2, "seed": run.axes["seed"][0]}
)
blocks.facets(
    run, dealt, blocks.drawn(figures.deserved), f"Bits that each component gets, 2 in the mean, seed {run.axes['seed'][0]}", name="allocation",
    rows=["dataset"], columns=["axes"],
)  # fmt: skip

# %% [markdown]
# ## What it takes
# Seconds of one core and of all components; for exact thresholds one pass gives those of 1 to 8 bits. Timings are of the machine as it was: its load
# per core stands beside them, and above 1 they say little.

# %%
COST = {"train_seconds": "training, s", "encode_ms": "encoding a vector, ms", "search_ms": "a query, ms", "load": "load per core"}  # fmt: skip


def cost_line(key, part):
    medians = {text: f"{part[metric].median():.3g}" for metric, text in COST.items()}
    return {"data": run.word("dataset", key[0]), "quantiser": key[1], **medians}


timed = select(students, {"bits": 4}).groupby(["dataset", "way"], observed=True, sort=False)
run.show([cost_line(*each) for each in timed], "Costs at 4 bits, medians over seeds")

# %% [markdown]
# ## What came out
# Computed from the rows.

# %%
TURNED = "exact, bits allocated after PCA"


def way(cell):
    return METHODS[cell["method"]] + TURNS[cell["rotation"]]


def values(dataset, name, bits, metric=RECALL):
    return by_seed(select(students, {"dataset": dataset, "way": name, "bits": bits}), metric)


def choice_line(setting, choice):
    """What validation chooses, and its rivals."""
    dataset, bits = setting.axes["dataset"], setting.axes["bits"]
    plain = {} if way(choice.best) == "exact" else {"exact alone": values(dataset, "exact", bits)}
    title = f"{run.word('dataset', dataset)}, {tell.count(bits, 'bit')}"
    return tell.answer(title, choice, "recall@10 on test", name=way, against=plain, most=9)


def exact_sentence(dataset):
    """The error of other thresholds as a multiple of that of exact ones."""
    for other, bits in {"Lloyd-Max": AT, "quantiles": AT, "uniform": AT, "faiss SQ": 4}.items():
        least, more = (values(dataset, name, bits, "distortion") for name in ("exact", other))
        if len(least) and len(more):
            ratio = statistics.interval(more / least)
            yield f"{other} {tell.number(ratio, 2 if ratio.mean > 1.1 else 3, n=True)} at {tell.count(bits, 'bit')}"


# %%
GAUSSIAN = {1: 36, 2: 12, 4: 0.95}  # Max 1960, table 1


def turn_sentence(dataset):
    """What the turn does to a component's error, bits being alike: axes are sums of many components, and near a Gaussian."""
    for bits, normal in GAUSSIAN.items():
        here, turned = (values(dataset, name, bits, "distortion") for name in ("exact", "exact after PCA"))
        if len(here) and len(turned):
            means = f"{100 * here.mean():.2g} % as components are, {100 * turned.mean():.2g} % on principal axes"
            yield f"{tell.count(bits, 'bit')}: {means}, {normal:g} % for a Gaussian"


def product_sentence(dataset):
    """Allocated bits after PCA against product quantisation of as many bytes, all judged together."""
    pairs = {
        f"{tell.count(bits, 'bit')} against {other}": tuple(values(dataset, name, bits) for name in (TURNED, other))
        for bits, other in product((1, 2, 4), ("faiss PQ", "faiss PQ after OPQ"))
    }
    there = {name: pair for name, pair in pairs.items() if all(map(len, pair))}
    if there:
        for _, line in statistics.compare(there, ["pair"]).iterrows():
            yield f"{line['pair']} {tell.points(line['difference'])}: {tell.verdict(line)}"


def votes_sentence(dataset):
    """From how many bytes on the neighbours' vote is as good as with exact vectors."""
    part = select(students, {"dataset": dataset})
    goal = by_seed(part, "exact_test_accuracy")
    said = []
    for name in ("uniform", "exact", "exact, bits allocated", TURNED, "faiss PQ"):
        means = statistics.summarise(select(part, {"way": name}), ["bytes"], "test_accuracy")
        least = components.enough(means, "test_accuracy", 100 * goal.mean() - 0.5)
        if np.isfinite(least):
            said.append(f"{name} from {least:g} bytes on")
    yield f"exact vectors have {tell.percent(goal)}"
    if said:
        yield "in the mean over seeds less than half a point is lost with " + "; ".join(said)


# %%
def vectors_sentence(dataset):
    made = select(run.table("vectors"), {"dataset": dataset}).iloc[0]
    still = (
        select(single, {"dataset": dataset, "method": "exact", "rotation": "none"})
        .groupby("component")["variance"]
        .max()
        == 0
    ).sum()
    yield f"{made['dimension']} components, {4 * made['dimension']:,} bytes as float32, of which {still} vary in no seed's database"


SENTENCES = {
    "squared error in multiples of that of exact thresholds": exact_sentence,
    "squared error of exact thresholds, the same bits for all, in % of the variance": turn_sentence,
    "recall@10 of allocated bits after PCA at equal bytes, p by Holm": product_sentence,
    "accuracy of ten neighbours": votes_sentence,
}  # fmt: skip
found = [(d, what, "; ".join(of(d))) for d in dict.fromkeys(students["dataset"]) for what, of in SENTENCES.items()]
few = [choice_line(s, chosen[s]) for s in settings if s in chosen and s.axes["bits"] in (1, 2, 4)]
parts = [f"**{run.word('dataset', dataset)}, {what}**: {said}." for dataset, what, said in found if said]


# %%
def enough_bits(dataset):
    """The fewest bits with which the neighbours' vote loses less than half a point in the mean over seeds, and who does it."""
    part = select(students, {"dataset": dataset})
    goal = 100 * by_seed(part, "exact_test_accuracy").mean() - 0.5
    by_bits = {name: statistics.summarise(lines, ["bits"], "test_accuracy") for name, lines in part.groupby("way", observed=True)}
    least = {name: components.enough(of, "test_accuracy", goal, "bits") for name, of in by_bits.items()}
    reached = {name: bits for name, bits in least.items() if np.isfinite(bits)}
    fewest = min(reached.values(), default=np.nan)
    return fewest, [name for name, bits in reached.items() if bits == fewest]


def bits_sentence(dataset):
    """How few bits are enough for the vote of neighbours, and what they cost a search."""
    fewest, who = enough_bits(dataset)
    exact = tell.percent(by_seed(select(students, {"dataset": dataset}), "exact_test_accuracy"))
    most = tell.count(int(select(students, {"dataset": dataset})["bits"].max()), "bit")
    tried = select(students, {"dataset": dataset, "bits": fewest})["way"].nunique()
    does = f"{len(who)} of {tell.count(tried, 'quantiser')}"
    enough = f"{tell.count(fewest, 'bit')} per component {'is' if fewest == 1 else 'are'} enough" if who else f"open: no quantiser does it with up to {most}"
    vote = f"{does if who else 'none'} {'loses' if len(who) == 1 else 'lose'} less than half a point of the {exact} that exact vectors reach"
    best = {s.axes["bits"]: chosen[s] for s in settings if s in chosen and s.axes["dataset"] == dataset and s.axes["bits"] in (1, 2, 4)}
    recalls = [f"{100 * c.by_seed().mean():.1f} % with {tell.count(bits, 'bit')}" for bits, c in best.items()]
    search = f" Of the ten nearest, the best quantiser finds {', '.join(recalls)}." * bool(recalls)
    return f"**{run.word('dataset', dataset)}: {enough}** for the vote of ten neighbours: {vote}.{search}"


# %%
def best_sentence(dataset):
    """Which quantiser validation chooses at few bits, and how many rivals are not told to be worse."""
    said: dict[str, list[str]] = {}
    for setting in settings:
        if setting in chosen and setting.axes["dataset"] == dataset and setting.axes["bits"] in (1, 2, 4):
            choice, bits = chosen[setting], tell.count(setting.axes["bits"], "bit")
            near = len(choice.ties)
            worth = f" ({tell.count(near, 'rival')} not told to be worse)" * (near > 0) if choice.n > 1 else " (one seed)"
            worth = worth if len(choice.rivals) else " (nothing to compare with)"
            said.setdefault(way(choice.best), []).append(bits + worth)
    each = "; ".join(f"{name} at {', '.join(at)}" for name, at in said.items())
    return f"**{run.word('dataset', dataset)}, best at equal bits**: {each}." if each else ""


def worth_sentence():
    """What exact thresholds save beside those that are easier to find."""
    said = []
    for name in dict.fromkeys(students["dataset"]):
        ratios = {
            other: (values(name, other, AT, "distortion") / values(name, "exact", AT, "distortion")).mean()
            for other in ("Lloyd-Max", "quantiles", "uniform")
        }
        known = [f"{other} {ratio:.{2 if ratio < 1.1 else 1}f}" for other, ratio in ratios.items() if np.isfinite(ratio)]
        said += [f"{run.word('dataset', name)}: {', '.join(known)}"] * bool(known)
    return f"**Errors in multiples of exact thresholds'** at {tell.count(AT, 'bit')}: {'; '.join(said)}." if said else ""


# %%
datasets = [*dict.fromkeys(students["dataset"])]
answer = [*map(bits_sentence, datasets), *map(best_sentence, datasets), worth_sentence()]
vectors = [f"{run.word('dataset', d)}: {'; '.join(vectors_sentence(d))}." for d in datasets]
load = students["load"].median()
busy = f"The machine's load per core was {load:.1f} in the median, so the timings are of a busy machine."
run.close(filter(None, answer), [*few, *parts, *vectors, *[busy] * bool(load > 1.2)])
