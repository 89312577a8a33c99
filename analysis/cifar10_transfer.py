# %% [markdown]
# # What does a network that knows ImageNet know of CIFAR-10, or of images of one's own?
#
# A network with weights from elsewhere learns these images in one of four ways, `unfreezing`: its new **head** alone, on features
# that are computed once and cached; the head and the **last block**; **gradual**, from the top down until half of the training;
# **all** at once. The same with random weights, or an own CNN, says what the weights were worth. Of each setting (network,
# weights, unfreezing, resolution, number of training images) the parameters of training are chosen on validation.

# %%
import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choices, choose, framed
from analysis.core.figures import bars
from analysis.core.settings import select, varied

OWN, METRIC = ("airbench_small", "airbench"), "test_accuracy"
WAYS = {"head": "head (cached)", "last_block": "last block", "gradual": "gradual", "all": "all layers"}


run = report.open("cifar10_transfer", words={
    "network": tell.network, "weights": tell.start, "unfreezing": WAYS, "resolution": "{} px",
    "train_images": lambda images: f"{images:,.0f} images",
})  # fmt: skip

# %%
WHAT = ["network", "weights", "unfreezing", "train_images"]
tried = [axis for axis in run.axes if axis not in (*WHAT, "resolution", "seed")]  # the parameters of training
images = run.cells.groupby("train_size")["train_images"].max()  # all, and more than there are, come to the same
planned = run.cells.assign(train_images=run.cells["train_size"].map(images))
settings = sorted(
    run.settings(but=tried, first=WHAT, cells=planned),
    key=lambda s: (s.axes["network"] in OWN, s.axes["network"], s.axes["weights"], s.axes["train_images"]),
)
chosen = choices(settings, tried, margin=run.margin)
tests = {s: choice.by_seed() for s, choice in chosen.items()}  # test accuracy by seed
configs = {s: choice.students.to_dict("records")[0] for s, choice in chosen.items()}  # how its students were trained
own_images = run.show_classes()

# %% [markdown]
# ## The models
# Stages as they freeze and thaw, from the stem to the new head, as torchinfo finds them for one image, and in which of this run's
# settings a stage is trained.

# %%
layers = run.table("layers").groupby(["network", "resolution", "position"], sort=False, as_index=False).first()
DEPTHS = {"head": 1, "last_block": 2}  # stages that are trained, from the head on; all by the others


def show_stages(network, resolution):
    part = select(layers, {"network": network, "resolution": resolution})
    top, inner = part[part["depth"] == 1], part[part["depth"] == 2]
    kinds: dict = {stage: ", ".join(dict.fromkeys(of["kind"])) for stage, of in inner.groupby("stage")}
    there = set(select(run.students, {"network": network, "resolution": resolution})["unfreezing"])
    lines = [
        {"stage": row.stage, "consists of": kinds.get(row.stage, row.kind), "output": row.output,
         "parameters": f"{row.parameters:,}", "multiplications": f"{row.multiplications:,}",
         "trained by": ", ".join(way for way in WAYS if way in there and DEPTHS.get(way, len(top)) > above)}
        for above, row in zip(reversed(range(len(top))), top.itertuples(), strict=True)
    ]  # fmt: skip
    total, work = top["parameters"].sum() / 1e6, top["multiplications"].sum() / 1e6
    apart = " without its whitening, whose filters are data, not parameters" * (network in OWN)
    size = f"{total:.2f} M parameters, {work:,.0f} M multiplications an image{apart}"
    run.show(lines, f"{tell.network(network)} at {resolution} x {resolution} pixels: {size}")


for shape in dict.fromkeys(zip(layers["network"], layers["resolution"], strict=True)):
    show_stages(*shape)

# %% [markdown]
# ## How each was initialised and trained, and what it cost
# The head is always new: one linear layer to the classes. Weights `imagenet` come with their normalisation; `random` ones are drawn
# from the seed by the family's own rule (a random body that stays frozen, from seed 0). Learning rates are peaks, after a warm-up
# and before a linear decay. Where features were cached, "passes" are of the head alone. "Seconds" are of a student's training with its
# evaluations on one worker (a head's: its share of a population's), those "a pass" of one over the training images alone.

# %%
TRANSFER = {
    "head": ("feature extraction", "the head; all else is frozen"),
    "last_block": ("partial fine-tuning", "the head and the last stage; all else is frozen"),
    "gradual": ("gradual fine-tuning", "every stage, thawed from the top until half of the training"),
    "all": ("full fine-tuning", "every stage from the first step"),
}


def protocol(setting):
    """What the assignment asks to tell of a model; values that runs of older versions lack are left out."""
    c, choice = configs[setting], chosen[setting]
    transfer, trained = TRANSFER[c["unfreezing"]]
    how = f"{c['optimiser']}, lr {c['lr']:g}, weight decay {c['weight_decay']:g}, {c['passes']} passes of batches of {c['batch_size']}"
    smoothing = f", label smoothing {c['label_smoothing']:g}" if c.get("label_smoothing") else ""
    of_a_pass = choice.students["pass_seconds"].mean() if "pass_seconds" in choice.students else float("nan")
    return {
        "model": tell.network(c["network"]), "initialised": f"{tell.start(c['weights'])}; head {c['head_start']}",
        "transfer": "none" if c["weights"] == "random" else transfer, "trained": f"{trained}: {c['trained_parameters']:,.0f} parameters",
        "features": "cached" if c["cached"] else "-", "pixels": c["resolution"], "images": f"{c['train_images']:,.0f}", "optimiser": f"{how}, {c['precision']}{smoothing}",
        "augmentation": c["augmentation"] + f", {c['views']} views" * (c["views"] > 1), "test views": c.get("test_views", 1),
        "chosen of": len(choice.cells), "validation, %": f"{100 * choice.by_seed('val_accuracy').mean():.1f}",
        "test, %": tell.percent(tests[setting]), "seconds": f"{choice.students['seconds'].mean():.0f}", "seconds a pass": "-" if c["cached"] else f"{of_a_pass:.1f}",
    }  # fmt: skip


devices = run.info.get("devices", {})
workers = devices.get("gpus", []) if run.info.get("num_gpus") else [devices.get("cpu")]
OUTCOME = ["chosen of", "validation, %", "test, %", "seconds", "seconds a pass"]
trained = pd.DataFrame(map(protocol, chosen))  # in two tables, which one page is wide enough for
run.show(trained.drop(columns=[*OUTCOME, "trained", "features"]), "How each was trained")
outcome = trained[["model", "initialised", "trained", "features", "pixels", "images", *OUTCOME]]
run.show(outcome, f"What came out; workers: {', '.join(dict.fromkeys(filter(None, workers))) or 'unknown'}")
sources = run.table("sources")
cached = sources[sources["cached"] == 1] if len(sources) else sources
heads = run.students[run.students["unfreezing"] == "head"]
if len(cached):
    costs = cached[["network", "weights", "resolution", "views", "precision", "seconds"]].round({"seconds": 0})
    sums = f"{cached['seconds'].sum():.0f} s; {len(heads)} heads on them took {heads['seconds'].sum():.0f} s"
    run.show(costs.astype({"seconds": int}), f"Cached features cost one worker, once, {sums}:")

# %% [markdown]
# ## The models compared
# Models beside each other, at equal numbers of images with labels; colours are configurations. Networks with random weights transfer
# nothing; they are grey, an own CNN pink.

# %%
PUBLISHED = {
    ("resnet50", "imagenet", "head"): 93.6, ("resnet50", "imagenet", "all"): 97.5, ("resnet50", "random", "all"): 95.9,
    ("resnet18", "random", "all"): 95.32, ("airbench", "random", "all"): 94.01,
}  # fmt: skip
SOURCES = (
    "Marks of the comparison: published for that network with all 50,000 images, and larger budgets: ResNet-50 at 224 pixels (SimCLR, arXiv "
    "2002.05709, Table B.5), ResNet-18 from scratch (WeihaoZhuang/cifar10-100-fast-training), and airbench94, which the own CNN follows "
    "(KellerJordan/cifar10-airbench)."
)
HOLE = "The assignment asks for four pretrained networks: the hole of the comparison says what fills it."
TINTS = {
    "head": "#56B4E9", "finer": "#7A5195", "last_block": "#009E73", "gradual": "#E69F00", "all": "#0072B2",
    "random head": "0.85", "random last_block": "0.75", "random gradual": "0.65", "random all": "0.5",
    "own head": "#F0D0E2", "own last_block": "#E3B0CC", "own gradual": "#D794BB", "own all": "#CC79A7",
}  # fmt: skip


def kind(setting):
    """Whose weights a setting starts from."""
    network, weights = setting.axes["network"], setting.axes["weights"]
    return "own CNN, random" if network in OWN and weights == "random" else tell.start(weights).partition(" ")[0]


def configured(setting):
    """What is trained of a setting, and whether at more pixels than others of its network, for its colour."""
    if setting.axes["weights"] == "random":
        return f"{'own' if kind(setting).startswith('own') else 'random'} {setting.axes['unfreezing']}"
    alike = [s.axes.get("resolution", 0) for s in chosen if {**s.axes, "resolution": 0} == {**setting.axes, "resolution": 0}]
    finer = setting.axes["unfreezing"] == "head" and setting.axes.get("resolution", 0) > min(alike)
    return "finer" if finer else setting.axes["unfreezing"]


# %%
def legend_of(way):
    """A configuration in words: layers, optimiser, and the rates that validation chose."""
    some = [s for s in chosen if configured(s) == way]
    rates = tell.span([float(f"{configs[s]['lr']:g}") for s in some])
    pixels = f", {tell.span([configs[s]['resolution'] for s in some])} px"
    optimisers = " or ".join(dict.fromkeys({"adamw": "AdamW", "sgd": "SGD"}[configs[s]["optimiser"]] for s in some))
    whose, _, what = way.rpartition(" ")
    layers = WAYS[{"finer": "head"}.get(what, what)]
    return f"{'own CNN ' * (whose == 'own')}{'from random weights, ' * bool(whose)}{layers}{pixels}; {optimisers}, lr {rates}"


def bar(setting, words):
    """A configuration of a model, with what is published of it with all images."""
    axes, value = setting.axes, statistics.interval(100 * tests[setting])
    said = PUBLISHED.get((axes["network"], axes["weights"], axes["unfreezing"]), float("nan"))
    comparable = not own_images and axes["train_images"] > 40_000
    weights = f"\n{tell.start(axes['weights'])}" * (axes["weights"] not in ("imagenet", "random"))
    return {
        "group": tell.network(axes["network"]).replace("-", "-\n", 1) + weights, "kind": words[configured(setting)],
        "mean": value.mean, "low": value.low, "high": value.high, "n": value.n, "published": said if comparable else float("nan"),
        "labels": axes["train_images"],
    }  # fmt: skip


# %%
ways = {way: legend_of(way) for way in TINTS if any(configured(s) == way for s in chosen)}
standing = [bar(s, ways) for s in chosen]
pretrained = {s.axes["network"]: s.axes["train_images"] for s in chosen if s.axes["weights"] == "imagenet"}
if run.info.get("preset") == "course" and 0 < len(pretrained) < 4 and not own_images:
    most = max(pretrained.values(), key=[*pretrained.values()].count)
    hole = {"group": "a fourth\nnetwork", "kind": "", "note": "not run yet:\n--extend RUN\n--preset four"}
    standing.append({**hole, "labels": most})
compared = pd.DataFrame(standing)
compared["images"] = compared["labels"].map("{:,.0f} images with labels".format)
remarks = [SOURCES] * bool(compared["published"].notna().any()) + [HOLE] * any("note" in line for line in standing)
looks = {words: TINTS[way] for way, words in ways.items()}
blocks.facets(
    run, compared, lambda ax, panel: bars.grouped(panel.table, ax, looks, "test accuracy, %"),
    f"Test accuracy{' on CIFAR-10' * (not own_images)}", name="comparison", rows=["images"], size=(10.5, 3.2), spread=True,
)  # fmt: skip

# %% [markdown]
# ## Over the number of labels
# Drawn where the same was done with several.

# %%
which = {s: run.named({k: v for k, v in s.axes.items() if k != "train_images"}) for s in chosen}
growing = pd.concat(c.students.assign(which=which[s], labels=s.axes["train_images"]) for s, c in chosen.items())
grown = growing[growing.groupby("which")["labels"].transform("nunique") > 1]
blocks.learning(
    run, grown, "labels", METRIC, "Test accuracy over the number of labels", per="which", name="labels", legend="",
    columns=["network"] * (grown["which"].nunique() > 8), xlabel="training images with labels", size=(8.6, 4.4),
)  # fmt: skip

# %% [markdown]
# ## Heads on cached features
# Validation accuracy of every head of a population over learning rate and weight decay: what one pass over the features and one
# population bought. At the highest resolution.

# %%
searched = [s for s, c in configs.items() if c["unfreezing"] == "head" and len(chosen[s].cells) > 1]
finest = [s for s in searched if configs[s]["resolution"] == max(configs[h]["resolution"] for h in searched)]
if finest:
    fixed = [{k: v for k, v in chosen[s].best.items() if k not in ("lr", "weight_decay")} for s in finest]
    population = pd.concat(select(s.cells, cell) for s, cell in zip(finest, fixed, strict=True))
    blocks.plane(
        run, population, "lr", "weight_decay", "val_accuracy", "Heads: validation accuracy",
        columns=varied(population, list(finest[0].axes)) or ["network"], surfaces=False, name="heads",
        framed=framed((s, chosen[s]) for s in finest), framing="chosen on validation (bold); other frames: judged on test",
    )  # fmt: skip

# %% [markdown]
# ## What came out
# The best model is the setting with the best validation accuracy; where that transfers nothing, the best that does stands beside it.
# Intervals of differences are not corrected for their number. All settings share their test images, which seeds do not vary; where all
# training images are used, seeds differ in order and first weights only.


# %%
def best_of(some):
    """The setting that validation chooses of some, each with its own choice, and what that is worth."""
    students = pd.concat(chosen[s].students.assign(setting=s.name) for s in some)
    choice = choose(students, ["setting"], margin=run.margin)
    assert choice, "each is measured, or had no choice of its own"
    return next(s for s in some if s.name == choice.best["setting"]), choice


def not_chosen_between(choice):
    """Of the user's own images, few of which may choose: the settings at most one image behind what they chose."""
    if not own_images:
        return
    n = int(run.table("classes")["val"].sum())
    scores = choice.cells.set_index("setting")["score"]
    near = [s for s in chosen if scores.get(s.name, 0) >= scores.iloc[0] - 1 / n - 1e-6 and s.name != choice.best["setting"]]
    if near:
        told = tell.listing([f"{s.title}: {tell.percent(tests[s])}" for s in near])
        yield f"**Within one of {n:,} images of it on validation**, too little to choose by; on test {told}."


transfers = [s for s in chosen if s.axes["weights"] != "random"]
best, verdict = best_of([*chosen])
shown = {"the best model": best}
if transfers and best.axes["weights"] == "random":
    shown["the best transfer"] = best_of(transfers)[0]
run.show(pd.DataFrame({name: protocol(s) for name, s in shown.items()}).rename_axis("").reset_index())

blocks.confusions(
    run, pd.concat(chosen[s].students.assign(which=f"{name}:\n{s.title}") for name, s in shown.items()), "What is taken for what, on test images",
    columns=["which"], classes=tell.CIFAR,
)  # fmt: skip

# %%
UNLIKE = {
    "resolution": "{} and {} pixels", "passes": "{} and {} passes", "batch_size": "batches of {} and {}", "optimiser": "trained by {} and {}",
    "augmentation": "images {} and {}", "label_smoothing": "labels smoothed by {} and {}", "test_views": "{} and {} views of a test image",
    "precision": "{} and {}",
}  # fmt: skip
CALLED = {"adamw": "AdamW", "sgd": "SGD", "none": "as they are", "flip": "mirrored", "flip_shift": "mirrored and moved", 0.0: "0"}


def unlike(a, b):
    """What else is not alike in two settings."""
    one, other = configs[a], configs[b]
    told = [
        words.format(*(CALLED.get(c.get(k), c.get(k)) for c in (one, other))) for k, words in UNLIKE.items() if one.get(k) != other.get(k)
    ]
    of, among = (len(chosen[s].cells) for s in (a, b))
    return "; ".join(told + [f"chosen of {of} and {among}"] * (max(of, among) > 1))


def pairs(axis, value, question):
    """Each setting against that which differs in this axis alone."""
    for s, twin in ((s, t) for s in chosen for t in chosen if t.axes == {**s.axes, axis: value} and t is not s):
        yield {
            "question": question(s.axes[axis]), "of": s.title, "test accuracy": tell.percent(tests[s]), "against": tell.percent(tests[twin]),
            "difference": tell.difference(tests[s], tests[twin]), "unlike, too": unlike(s, twin),
        }  # fmt: skip


# %%
def best_at(count):
    """Of a number of images the best transfer and the best that started from random weights, an own CNN where there is one; nothing
    where one of both is missing."""
    some = [s for s in chosen if s.axes["train_images"] == count]
    scratch = [s for s in some if s.axes["weights"] == "random"]
    own = [s for s in scratch if s.axes["network"] in OWN and s.axes["unfreezing"] != "head"]
    rivals = [[s for s in some if s in transfers], own or scratch]
    return tuple(best_of(each)[0] for each in rivals) if all(rivals) else ()


def against_random(count, first, rival):
    """The best transfer against the best from random weights, with what else is not alike in both."""
    a, b = tests[first], tests[rival]
    also = f" ({unlike(first, rival)})" * bool(unlike(first, rival))
    told = f"{tell.percent(a)} against {tell.percent(b)}, {tell.difference(a, b)}{also}"
    return f"**Transfer against {called(rival)} at {count:,.0f} images** ({first.title}): {told}."


def called(setting):
    """Whose weights a network starts from: `ResNet-18 from random weights`."""
    network, weights = tell.network(setting.axes["network"]), setting.axes["weights"]
    return f"{network} from {tell.start(weights)} weights" if weights == "random" else f"{network} with {tell.start(weights)} weights"


def in_short(first, rival):
    """The same, as the answer says it."""
    a, b = tests[first], tests[rival]
    less = f"{tell.points((a - b).dropna())}, {tell.stands(statistics.paired(a, b))}" if len((a - b).dropna()) else "no seed in common"
    how = WAYS[first.axes["unfreezing"]].removesuffix(" (cached)")
    return f"{called(first)} ({how}) {tell.percent(a)}, {called(rival)} {tell.percent(b)}: {less}."


# %%
def asked(at):
    """What the study asks, the verdict at each number of images, and the numbers."""
    each: dict = {}
    for count, first, rival in at:
        each.setdefault(tell.stands(statistics.paired(tests[first], tests[rival]), "yes", "no"), []).append(f"{count:,.0f}")
    told = tell.capital("; ".join(f"with {' and '.join(some)} training images: {verdict}" for verdict, some in each.items()))
    said = f"**Is a network that knows other images better than one that starts from random weights?** {told}."
    bodies = [in_short(*pair) for _, *pair in at]
    if len(at) == 1:
        return [f"{said} {tell.capital(bodies[0])}"]
    return [said, *(f"**{count:,.0f} images**: {body}" for (count, *_), body in zip(at, bodies, strict=True))] if at else []


# %%
def least_known():
    """Of the user's own images, the class that the best model names right least often, all its seeds together."""
    tested = run.table("confusions") if own_images else pd.DataFrame()
    if len(tested):
        named = tested[tested["student"].isin(chosen[best].students["student"])]
        right = named["images"].where(named["truth"] == named["answer"], 0).groupby(named["truth"]).sum()
        shares = right / named.groupby("truth")["images"].sum()
        if shares.nunique() > 1:
            worst = select(run.table("classes"), {"label": shares.idxmin()}).iloc[0]
            yield f"**The class it knows least**: {worst['class']}, {100 * shares.min():.0f} % of {tell.count(int(worst['test']), 'test image')}."


# %%
weighed = pairs("weights", "random", lambda weights: f"{tell.start(weights)} against random weights")
unfrozen = pairs("unfreezing", "head", lambda way: f"{WAYS[way]} against head")
plain = next((s.axes["network"] for s in transfers), "")
fewest = min((configs[s]["resolution"] for s in transfers), default=0)
others = pairs("network", plain, lambda network: f"{tell.network(network)} against {tell.network(plain)}")
finer = pairs("resolution", fewest, lambda pixels: f"{pixels} pixels against {fewest}")
run.show([*weighed, *unfrozen, *others, *finer], "Settings that differ in their weights, in what is trained, in the network or in the pixels")

# %%
titles = {s.name: s.title for s in chosen}
counts = sorted({s.axes["train_images"] for s in chosen})
against = [(count, *both) for count in counts if (both := best_at(count))]
how: dict = {"name": lambda cell: titles[cell["setting"]]}
short, full = (tell.answer("Best model", verdict, most=most, **how) for most in (0, 5))
details = [full] * (full != short)
for at in counts:
    some = [s for s in chosen if s.axes["train_images"] == at]
    if 1 < len(some) < len(chosen):
        details.append(tell.answer(f"Best with {at:,.0f} images", best_of(some)[1], **how))
if second := shown.get("the best transfer"):
    details.append(f"**Best transfer by validation**: {second.title}, {tell.percent(tests[second])} on test.")
    details.extend(not_chosen_between(best_of(transfers)[1]))
answers = [*asked(against), short, *not_chosen_between(verdict), *least_known()]
run.close(answers, [*details, *(against_random(*each) for each in against), *remarks])
