# %% [markdown]
# # What does a network that knows ImageNet know of CIFAR-10?
#
# A network with weights from elsewhere learns CIFAR-10 in one of four ways, `unfreezing`: its new **head** alone, on features
# that are computed once and cached; the head and the **last block**; **gradual**, from the top down until half of the training;
# **all** at once. The same with random weights, and an own CNN, say what the weights were worth. Of each experiment (model,
# weights, unfreezing, resolution, number of training images) the parameters of training are chosen on validation; the test
# set only reports. Every number is a mean over seeds with Student's 95 % interval.

# %%
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML, display

from analysis.core import records, report, statistics, tell
from analysis.core.figures.bars import columns
from analysis.core.figures.curves import curves
from analysis.core.figures.heatmap import heatmap
from analysis.core.settings import by_seed, select

run = report.start("cifar10_transfer")
EXPERIMENT = ["network", "weights", "unfreezing", "resolution", "train_images"]
METRIC = "test_accuracy"
OWN, UNFREEZINGS = ("airbench_small", "airbench"), ("head", "last_block", "gradual", "all")
done = records.final(run.rows).drop_duplicates("student")
tried = [a for a in run.rows.attrs["axes"] if a not in (*EXPERIMENT, "seed")]  # the parameters of training
sources = run.table("sources")


def experiments():
    """Of each experiment the config that validation chose, and how many there were to choose from."""
    found = []
    for values, part in done.groupby(EXPERIMENT, sort=False):
        cells = statistics.summarise(part, tried, "val_accuracy")
        best = cells[cells["n"] == cells["n"].max()].sort_values("mean", ascending=False).iloc[0]
        cell = {**dict(zip(EXPERIMENT, values, strict=True)), **{name: best[name] for name in tried}}
        seeds = select(done, cell)
        found.append({
            **cell, "configs": len(cells), "seeds": seeds, "val": by_seed(seeds, "val_accuracy"), "test": by_seed(seeds, METRIC),
            "images": int(cell["train_images"]),
        })  # fmt: skip
    return sorted(found, key=place)


def place(e):
    """Where an experiment stands in tables and figures: the own CNN last, few images before many."""
    model = (e["network"] in OWN, e["network"], e["weights"])
    return *model, e["images"], UNFREEZINGS.index(e["unfreezing"]), e["resolution"]


found = experiments()
multiple = done["resolution"].nunique() > 1
owns, checkpoints = ({e[k] for e in found} for k in ("network", "weights"))
owns, checkpoints = owns & set(OWN), checkpoints - {"imagenet", "random"}


def start_of(e):
    """Where the weights came from, in a word or two."""
    name = f"checkpoint {e['weights'].rpartition('/')[2]}" if len(checkpoints) > 1 else "checkpoint"
    return {"imagenet": "ImageNet", "random": "random"}.get(e["weights"], name)


def name_of(e, sep=", "):
    """An experiment in a few words, and in no other's."""
    what = e["network"] if e["network"] not in OWN else "own CNN" if len(owns) == 1 else f"own {e['network']}"
    how = {"head": "head (cached)", "last_block": "last block", "gradual": "gradual", "all": "all layers"}
    size = f"{e['images']:,} images" + (f", {e['resolution']} px" if multiple else "")
    return sep.join([what, f"{start_of(e)}: {how[e['unfreezing']]}", size])


def smoothed(e):
    """Its label smoothing in words, where there is some."""
    return f", label smoothing {e['label_smoothing']:g}" if e.get("label_smoothing") else ""


def percent(series):
    i = statistics.interval(series)
    return 100 * i.mean, 100 * i.low, 100 * i.high, i.n


def table_html(rows):
    """A table to read, without its index."""
    display(HTML(pd.DataFrame(rows).to_html(index=False, escape=True, border=0)))


# %% [markdown]
# ## The models
# Stages as they freeze and thaw, from the stem to the new head, as torchinfo finds them: shapes for one image, parameters,
# multiplications of one image (without those of the own CNN's whitening, whose filters are data, not parameters), and in which of
# this run's experiments the stage is trained.

# %%
layers = run.table("layers").drop_duplicates(["network", "resolution", "position"])
for (network, resolution), part in layers.groupby(["network", "resolution"], sort=False):
    top = part[part["depth"] == 1].sort_values("position")
    kinds = {
        stage: ", ".join(dict.fromkeys(inner.sort_values("position")["kind"]))
        for stage, inner in part[part["depth"] == 2].groupby("stage")
    }
    there = set(select(done, {"network": network, "resolution": resolution})["unfreezing"])
    ways = [u for u in UNFREEZINGS if u in there]
    depths = {"head": 1, "last_block": 2}  # stages that are trained, from the head on; all by the others
    total, work = top["parameters"].sum(), top["multiplications"].sum()
    display(HTML(
        f"<h4>{network} at {resolution} x {resolution} pixels: {total / 1e6:.2f} M parameters, "
        f"{work / 1e6:,.0f} M multiplications an image</h4>"
    ))  # fmt: skip
    table_html([
        {"stage": row.stage, "consists of": kinds.get(str(row.stage), str(row.kind)), "output": row.output, "parameters": f"{row.parameters:,}",
         "multiplications": f"{row.multiplications:,}", "trained by": ", ".join(u for u in ways if depths.get(u, len(top)) > above)}
        for above, row in zip(reversed(range(len(top))), top.itertuples(), strict=True)
    ])  # fmt: skip

# %% [markdown]
# ## How each was initialised and trained, and what came out
# The head is always new. Weights `imagenet` come with their normalisation; `random` ones are drawn from the seed by the family's
# own rule (a random body that stays frozen, from seed 0). Where features were cached, "passes" are of the head alone.

# %%
table_html([
    {
        "model": e["network"], "initialised": f"{start_of(e)}; head {e['head_start']}",
        "trained": f"{e['unfreezing']}: {e['seeds']['trained_parameters'].iloc[0]:,.0f} parameters",
        "features": "cached" if e["seeds"]["cached"].iloc[0] else "-",
        "pixels": e["resolution"], "images": f"{e['images']:,}",
        "optimiser": f"{e['optimiser']}, lr {e['lr']:g}, weight decay {e['weight_decay']:g}, {e['passes']} passes of batches of {e['batch_size']}, {e['precision']}{smoothed(e)}",
        "augmentation": e["augmentation"] + (f", {e['views']} views" if e["views"] > 1 else ""), "test views": e.get("test_views", 1),
        "chosen of": e["configs"], "validation, %": f"{percent(e['val'])[0]:.1f}",
        "test, %": tell.percent(statistics.interval(e["test"])), "seconds": f"{e['seeds']['seconds'].mean():.0f}",
    }
    for e in found
])  # fmt: skip

# %% [markdown]
# "Seconds" are of one student's training and its evaluations on one worker; a head's, its share of a population's. Features that are
# cached cost, once:

# %%
cached = sources[sources["cached"] == 1] if len(sources) else sources
if len(cached):
    table_html([
        {"model": s.network, "weights": s.weights, "pixels": s.resolution, "views": s.views, "precision": s.precision,
         "seconds when they were made": f"{s.seconds:.0f}"}
        for s in cached.itertuples()
    ])  # fmt: skip

# %% [markdown]
# ## All experiments
# Model and type of experiment across, test accuracy up. Pale: published, all with 50,000 images: ResNet-50 at 224 pixels (SimCLR,
# arXiv 2002.05709, Table B.5) and ResNet-18 from scratch (WeihaoZhuang/cifar10-100-fast-training), with larger budgets; the fast
# own CNN that ours follows, airbench94 and its larger sister (KellerJordan/cifar10-airbench), over several views of each test image.

# %%
COLORS = {"ImageNet": "#0072B2", "checkpoint": "#9E4F80", "random": "#C46200", "own": "#007A5A", "published": "0.85"}
PUBLISHED = {
    "ResNet-50, ImageNet:\nhead [SimCLR, B.5]": 93.6,
    "ResNet-50, random:\nall layers [SimCLR, B.5]": 95.9,
    "ResNet-50, ImageNet:\nall layers [SimCLR, B.5]": 97.5,
    "ResNet-18, random:\nall layers [WeihaoZhuang]": 95.32,
    "own CNN [airbench94]": 94.01,
    "own CNN [airbench96]": 96.0,
}
entries = []
for e in found:
    mean, low, high, n = percent(e["test"])
    kind = "own" if e["network"] in OWN and e["weights"] == "random" else start_of(e).partition(" ")[0]
    entries.append({"name": name_of(e, "\n"), METRIC: mean, "low": low, "high": high, "kind": kind})
entries += [
    {"name": name, METRIC: value, "low": None, "high": None, "kind": "published"} for name, value in PUBLISHED.items()
]
bars = pd.DataFrame(entries).astype({"low": float, "high": float})
bars["color"] = bars["kind"].map(COLORS)
figure, ax = plt.subplots(figsize=(max(9, 0.68 * len(bars) + 1.5), 6.6), layout="constrained")
columns(bars, "name", METRIC, hue="color", limit=110, ax=ax)
ax.set_yticks(range(0, 101, 20))
for kind in dict.fromkeys(bars["kind"]):
    ax.bar(
        0,
        0,
        color=COLORS[kind],
        label={"own": "own CNN, random weights", "published": "published"}.get(kind, f"{kind} weights"),
    )
figure.legend(loc="outside lower center", ncols=5)
figure.suptitle(f"Test accuracy on CIFAR-10, mean and 95 % interval\n{run.subtitle}", fontsize=11)
run.figure(figure, "comparison")

# %% [markdown]
# ## Over the number of labels
# Drawn where an experiment was done with several.

# %%
growing = pd.DataFrame([
    {"images": e["images"], METRIC: mean, "low": low, "high": high, "n": n,
     "which": name_of({**e, "images": 0}).replace(", 0 images", "")}
    for e in found
    for mean, low, high, n in [percent(e["test"])]
])  # fmt: skip
growing = growing[growing.groupby("which")["images"].transform("nunique") > 1]
if len(growing):
    figure, ax = plt.subplots(figsize=(8.6, 4.8), layout="constrained")
    curves(growing, "images", METRIC, "which", ax=ax)
    ax.set(xscale="log", ylim=(0, 100), xlabel="training images with labels")
    ax.set_xticks(sorted(growing["images"].unique()), [f"{n:,}" for n in sorted(growing["images"].unique())])
    ax.minorticks_off()
    ax.legend(fontsize=8.5, loc="lower right")
    figure.suptitle(f"Test accuracy over the number of labels\n{run.subtitle}", fontsize=11)
    run.figure(figure, "labels")

# %% [markdown]
# ## Heads on cached features
# Validation accuracy of every head of a population over learning rate and weight decay: what one pass over the features and one
# population bought. The outlined one is chosen. At the highest resolution.

# %%
heads = [e for e in found if e["unfreezing"] == "head" and e["configs"] > 1]
studied = [e for e in heads if e["resolution"] == max(e["resolution"] for e in heads)]
if studied:
    across = min(3, len(studied))
    down = -(-len(studied) // across)
    figure, axes = plt.subplots(
        down, across, figsize=(max(8, 4.6 * across), 4 * down + 0.6), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(studied) :]:
        ax.axis("off")
    for e, ax in zip(studied, axes.flat[: len(studied)], strict=True):
        fixed = {k: e[k] for k in (*EXPERIMENT, *tried) if k not in ("lr", "weight_decay")}
        plane = statistics.summarise(select(done, fixed), ["lr", "weight_decay"], "val_accuracy")
        plane[["mean", "low", "high"]] *= 100
        best = {"lr": e["lr"], "weight_decay": e["weight_decay"]}
        limits = (plane["mean"].min(), plane["mean"].max())
        heatmap(plane.rename(columns={"mean": "val"}), "lr", "weight_decay", "val", best, limits, ax=ax)
        ax.set_title(name_of(e, "\n"), fontsize=9.5)
    figure.suptitle(f"Heads: validation accuracy, %, and half of its interval\n{run.subtitle}", fontsize=11)
    run.figure(figure, "heads")

# %% [markdown]
# ## The best model
# The experiment with the best validation accuracy in the mean over seeds; where that transfers nothing, the best that does, too.

# %%
MODIFIED = {
    "head": "the head, new: one linear layer to ten classes; all else is frozen",
    "last_block": "the head, new, and the last stage are trained; all else is frozen",
    "gradual": "the head is new; every stage is trained, thawed from the top until half of the training",
    "all": "the head is new; every stage is trained from the first step",
}
TYPE = {
    "head": "feature extraction",
    "last_block": "partial fine-tuning",
    "gradual": "gradual fine-tuning",
    "all": "full fine-tuning",
}


def description(e):
    """What the assignment asks to tell of the best: {name: value}."""
    counts = select(layers, {"network": e["network"], "resolution": e["resolution"]})
    whole = int(counts.loc[counts["depth"] == 1, "parameters"].sum())
    trained, random = int(e["seeds"]["trained_parameters"].iloc[0]), e["weights"] == "random"
    views = ", over two views of each image" if e.get("test_views") == 2 else ""
    return {
        "source model": f"{e['network']} ({whole / 1e6:.2f} M parameters), weights {e['weights']}",
        "modified layers": f"{'all are its own' if random else MODIFIED[e['unfreezing']]}; {trained:,} parameters are trained",
        "type of transfer": "none: trained from random weights" if random else TYPE[e["unfreezing"]],
        "training images": f"{e['images']:,} at {e['resolution']} x {e['resolution']} pixels, augmentation {e['augmentation']}",
        "optimiser": f"{e['optimiser']}, peak lr {e['lr']:g}, weight decay {e['weight_decay']:g}, {e['passes']} passes, batches of {e['batch_size']}, warm-up and linear decay{smoothed(e)}",
        "initialisation": f"{start_of(e)} weights; head {e['head_start']}",
        "test accuracy": tell.percent(statistics.interval(e["test"])) + views,
    }  # fmt: skip


best = max(found, key=lambda e: e["val"].mean())
transfers = [e for e in found if e["weights"] != "random"]
shown = {"the best model": best}
if transfers and best["weights"] == "random":
    shown["the best transfer"] = max(transfers, key=lambda e: e["val"].mean())
described = {of: description(e) for of, e in shown.items()}
table_html([
    {"": name, **{of: told[name] for of, told in described.items()}} for name in described["the best model"]
])  # fmt: skip

# %% [markdown]
# ## What came out
# Computed from the rows. Differences are paired by seed.


# %%
def compared(a, b, what):
    """A sentence on a paired difference of two experiments, and on what else is not alike in them."""
    d = statistics.paired(a["test"], b["test"])
    unlike = [
        f"{k.replace('_', ' ')} {a[k]} and {b[k]}"
        for k in (
            "resolution",
            "passes",
            "batch_size",
            "optimiser",
            "augmentation",
            "label_smoothing",
            "test_views",
            "precision",
        )
        if a.get(k) != b.get(k)
    ]
    if max(a["configs"], b["configs"]) > 1:
        unlike.append(f"chosen of {a['configs']} and {b['configs']}")
    also = f" ({'; '.join(unlike)})" if unlike else ""
    return f"{what}: {tell.percent(statistics.interval(a['test']))} against {tell.percent(statistics.interval(b['test']))}, {tell.points(d)}: {tell.moves(d)}{also}."


def pairs():
    """Sentences on pairs of experiments, by what they ask; the parameters of training may differ too, which they say."""
    for e in found:
        rest = {k: e[k] for k in EXPERIMENT}
        twin = next((o for o in found if {k: o[k] for k in EXPERIMENT} == {**rest, "weights": "random"}), None)
        if e["weights"] != "random" and twin:
            yield compared(e, twin, f"**{start_of(e)} against random weights** ({name_of(e)})")
    for e in found:
        head = next(
            (
                o
                for o in found
                if {k: o[k] for k in EXPERIMENT} == {**{k: e[k] for k in EXPERIMENT}, "unfreezing": "head"}
            ),
            None,
        )
        if e["unfreezing"] != "head" and head:
            yield compared(e, head, f"**{e['unfreezing']} against head** ({name_of(e)})")
    for images in sorted({e["images"] for e in found}):
        there = [e for e in found if e["images"] == images]
        own = [e for e in there if e["network"] in OWN and e["weights"] == "random" and e["unfreezing"] != "head"]
        transferred = [e for e in there if e["network"] not in OWN and e["weights"] != "random"]
        if own and transferred:
            first, rival = (max(some, key=lambda e: e["val"].mean()) for some in (transferred, own))
            yield compared(first, rival, f"**Transfer against the own CNN at {images:,} images** ({name_of(first)})")


def pace():
    """How long a pass of each kind of network takes, at the most images that it was trained on."""
    whole = {}
    for e in sorted(found, key=lambda e: e["images"]):
        if not e["seeds"]["cached"].iloc[0] and "pass_seconds" in done:  # runs of older versions lack it
            whole[e["network"], e["unfreezing"], e["resolution"]] = e
    each = [
        f"{network}, {unfreezing}, {e['images']:,} images of {resolution} px, {e['precision']}: {e['seeds']['pass_seconds'].mean():.1f} s"
        for (network, unfreezing, resolution), e in whole.items()
    ]
    devices = run.info.get("devices", {})
    gpus = devices.get("gpus", []) if run.info.get("num_gpus") else []
    where = "an unknown GPU" if run.info.get("num_gpus") else devices.get("cpu", "an unknown processor")
    on = ", ".join(dict.fromkeys(gpus)) or where
    if each:
        yield f"A pass over the training images took, without evaluations, of one worker on {on}: {tell.listing(each, 20)}."


def sentences():
    ranked = pd.concat([e["seeds"].assign(experiment=name_of(e)) for e in found])
    verdict = statistics.stands_out(ranked, ["experiment"], "val_accuracy", METRIC)
    yield f"**Best by validation**: {name_of(best)}, {tell.percent(statistics.interval(best['test']))} on test. {tell.verdict(verdict, lambda cell: cell['experiment'])}"
    if e := shown.get("the best transfer"):
        yield f"**Best transfer by validation**: {name_of(e)}, {tell.percent(statistics.interval(e['test']))} on test."
    yield from pairs()
    yield from pace()
    yield (
        "The intervals are over seeds and not corrected for the number of comparisons. All experiments share their test images, which seeds do "
        "not vary; where all training images are used, seeds differ in their order and the first weights only."
    )
    heads = done[done["unfreezing"] == "head"]
    if len(heads):
        made = f"; their features took {cached['seconds'].sum():.0f} s of one worker, once" if len(cached) else ""
        yield f"Heads trained on cached features: {len(heads)}, in {heads['seconds'].sum():.0f} s of one worker{made}."
    yield from run.caveats()


run.close(sentences())
