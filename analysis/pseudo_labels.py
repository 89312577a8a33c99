# %% [markdown]
# # Do a network's own answers replace labels?
#
# A classifier has labels for few images, answers to the others, and learns from its answers (pseudo-labels) where they are sure
# enough (`threshold`):
#
# - `supervised`: the labelled images alone, as they are; `supervised_weak`, `supervised_strong`: the same images augmented;
# - `pseudo_label` (Lee 2013): asked in every step about the very image that it learns from, with a rising weight;
# - `self_training`: asked by the network as it was when the round began; round 0 has labels only;
# - `fixmatch` (Sohn et al. 2020, arXiv 2001.07685): asked about a weakly augmented image, it learns on a strongly augmented one.
#
# All have the same labels, initial weights, number of steps and order of the labelled images, so differences are paired by seed.
# Training images without a label keep their true one hidden: it only judges the pseudo-labels. The threshold is chosen on held-out
# validation images and the test images only report, as the assignment's train-val-test split has it. Every number is a mean over
# seeds with Student's 95 % interval.

# %%
import numpy as np
import pandas as pd

from analysis.core import blocks, calibration, report, statistics, tell
from analysis.core.choice import choices, choose_each, chosen_by_each_seed
from analysis.core.settings import each_against, select

COLORS = {
    "supervised": "0.3", "supervised_weak": "0.65", "supervised_strong": "#9E4F80",
    "pseudo_label": "#D55E00", "self_training": "#0072B2", "fixmatch": "#009E73",
}  # fmt: skip
ALONE, TAUGHT = [*COLORS][:3], [*COLORS][3:]  # by labels alone; by their own answers
METRIC, CELL = "test_error", ["method", "threshold"]
VARIANTS = {"target_temperature": "T {:g}", "ramp": "ramp {:g}", "rounds": "rounds {}"}
WORDS = {"dataset": "{}", "network": "{}", "method": "{}", "labels": "{:,} labels"}
run = report.open("pseudo_labels", words={**WORDS, **VARIANTS})

# %%
# figures at one threshold have the nearest to 0.95, and the methods without one, whatever a search has drawn for these
thresholds = run.cells["threshold"].where(run.cells["method"].isin(TAUGHT))
common = min(thresholds.dropna(), key=lambda threshold: abs(threshold - 0.95), default=0.95)
ranks = run.cells["method"].map([*COLORS].index)
by = ["labels", "rank", "threshold", "status"]  # of cells that are now one, that which is done comes first
ranked = run.cells.assign(threshold=thresholds.fillna(common), rank=ranks).sort_values(by, kind="stable")
plan = ranked.drop_duplicates([*run.axes])
# the change against supervised, all else and the seed alike
alike = [axis for axis in run.axes if axis not in CELL]
base = select(plan, {"method": "supervised"}).set_index(alike)[METRIC].rename("base")
planned = plan.assign(change=plan[METRIC] - plan.join(base, on=alike)["base"])
# a setting has figures of its own; in each of its cases, of one number of labels, validation chooses
settings = run.settings(but=[*CELL, "labels"], first=["dataset", "network"], cells=planned)
cases = run.settings(but=CELL, first=["dataset", "network", "labels"], cells=planned)
titles = {s.name: run.named(s.axes) for s in [*settings, *cases]}
classes = run.table("classes")  # of images of the user's own
if len(classes):
    run.show(classes[["label", "class", "train", "val", "test"]], "The classes, and how many images each has")


def named(cell):
    return f"{cell['method']}, threshold {cell['threshold']:g}" if cell["method"] in TAUGHT else cell["method"]


def each(draw):
    """Draws a figure for each setting; the name of its file ends in `suffix`."""
    for setting in settings:
        draw(setting, suffix=f"_{setting.name}" * (len(settings) > 1))


# %% [markdown]
# ## Test errors over the number of labels
# Each method at the threshold that validation chose for it at each number of labels. Diamonds: published, with other networks and
# far longer training; Lee's 3.46 % come after a denoising autoencoder saw all images. In the table changes are paired by seed and
# not corrected.

# %%
PUBLISHED = pd.DataFrame(
    [
        ("mnist", 1000, "pseudo_label", "Lee 2013, 1,000 labels", 0.0346, "Lee 2013, read in a later table"),
        ("cifar10", 40, "fixmatch", "FixMatch, 40 labels", 1 - 0.8619, "arXiv 2001.07685"),
        ("cifar10", 250, "fixmatch", "FixMatch, 250 labels", 1 - 0.9493, "arXiv 2001.07685"),
        ("cifar10", 4000, "fixmatch", "FixMatch, 4,000 labels", 1 - 0.9574, "arXiv 2001.07685"),
    ],
    columns=["dataset", "labels", "method", "name", "error", "source"],
)
chosen = {case.name: choose_each(case.students, "method", CELL) for case in cases}  # for each method


def publish(ax, panel):
    known = select(PUBLISHED, panel.values)
    for _, line in known[known["labels"].isin(panel.table["labels"])].iterrows():
        at, value, name = np.log2(line["labels"]), 100 * line["error"], f"published: {line['name']}"
        ax.plot(at, value, "d", color=COLORS[line["method"]], markerfacecolor="none", label=name)
        ax.annotate(f"{value:.2f}", (at, value), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    ax.set_ylim(0, None)


blocks.learning(
    run, pd.concat(choice.students for per in chosen.values() for choice in per.values()), "labels", METRIC,
    "Test errors over the number of labels, mean and 95 % interval", per="method", colors=COLORS, columns=[*settings[0].axes],
    limits=(0, None), share=False, also=publish, name="labels", legend="",
)  # fmt: skip

# %%
winners = choices(cases, CELL)  # of everything
alone = choices(cases, ["method"], heard=lambda students: students[students["method"].isin(ALONE)])


def less(choice, other):
    """The change of the test errors against another choice; empty against itself or none."""
    if other is None or other.best["method"] == choice.best["method"]:
        return ""
    return tell.points(statistics.paired(choice.by_seed(METRIC), other.by_seed(METRIC)), 2)


def line_of(case, choice):
    known = select(PUBLISHED, {**case.axes, "method": choice.best["method"]})
    return {
        **case.axes, "method": named(choice.best), "test errors": tell.percent(choice.by_seed(METRIC), 2),
        "against supervised": less(choice, chosen[case.name].get("supervised")),
        "against the best on labels alone": less(choice, alone.get(case.name)),
        "published": "".join(f"{100 * line['error']:.2f} % ({line['source']})" for _, line in known.iterrows()),
    }  # fmt: skip


run.show([line_of(case, choice) for case in cases for choice in chosen[case.name].values()])

# %% [markdown]
# ## Threshold x labels
# Test errors of each method that learns from its answers. The axis of the threshold is -log2(1 - threshold), so that each halving of
# the doubt is as long. Heatmaps: the same numbers, then the difference from `supervised` with the same labels (below zero: fewer
# errors); outlined is the threshold that validation chose.


# %%
def draw_planes(setting, suffix):
    taught = setting.cells[setting.cells["method"].isin(TAUGHT)]
    if min(taught["threshold"].nunique(), taught["labels"].nunique()) < 2:
        return
    here = [case for case in cases if setting.axes.items() <= case.axes.items()]
    framed = [{**case.axes, **choice.best} for case in here for choice in chosen[case.name].values()]
    how: dict = {"columns": ["method"], "suffix": suffix, "digits": 2, "framed": framed}
    over = "threshold", "labels"
    errors, changes = (statistics.summarise(taught, ["method", *over], metric) for metric in (METRIC, "change"))
    top, most = min(100, 1.1 * errors["high"].fillna(errors[METRIC]).max()), changes["change"].abs().max() or 1.0
    heading = f"Test errors over threshold and labels: {titles[setting.name]}"
    blocks.plane(run, taught, *over, METRIC, heading, limits=(0, top), colors=(0, top), **how)
    if len(changes):
        heading = f"Test errors less those of supervised, points: {titles[setting.name]}"
        how |= {"surfaces": False, "name": "changes", "colors": (-most, most)}
        blocks.plane(run, taught, *over, "change", heading, **how)


each(draw_planes)

# %% [markdown]
# ## The pseudo-labels while learning, and how sure they are at the end
# Asked about the same clean unlabelled images at every evaluation: how many answers pass the threshold, how many of these are right,
# and the expected calibration error of all answers (ECE: mean distance of confidence and accuracy over ten bins of confidence). All
# at one threshold; `supervised`, which does not learn from its answers, is asked at 0.95 for comparison. Dotted: where a round of
# `self_training` begins, whose labels are the answers there.
#
# Reliability diagrams at the end of the training, all seeds together: accuracy over confidence, a point per bin with at least ten
# images; on the grey diagonal confidence is accuracy, below it answers are surer than right. Below: how many images each bin has.

# %%
MEASURES = {"passing": "pass the threshold", "passing_accuracy": "of these right", "pseudo_ece": "ECE of all answers"}
LOOK: dict = {
    "per": "method", "rows": ["measure"], "columns": ["labels"], "colors": COLORS, "limits": (None, None), "share": "row",
    "legend": "", "ylabel": "%",
}  # fmt: skip


def dress(ax, panel):
    """Where rounds begin; an axis from 0, save of how many are right."""
    rounds = select(panel.table, {"method": "self_training"})[["rounds", "steps"]].drop_duplicates()
    for count, steps in rounds.itertuples(index=False):
        for begin in np.linspace(0, steps, count + 2)[1:-1]:
            ax.axvline(begin, color=COLORS["self_training"], linestyle=":", linewidth=0.9)
    if panel.values["measure"] != MEASURES["passing_accuracy"]:
        ax.set_ylim(bottom=0)


def draw_quality(setting, suffix):
    asked = select(setting.cells, {"threshold": common})[["student", "method", "labels"]]
    history = run.history.drop(columns=["method", "labels"]).merge(asked, on="student")
    history = history[history["method"].isin(["supervised", *TAUGHT])]
    lines = history.melt(["method", "labels", "rounds", "steps", "step", "seed"], [*MEASURES], "measure", "share")
    look: dict = {"also": dress, "size": (4.3, 2.9), "name": "quality" + suffix, **LOOK}
    heading = f"Pseudo-labels at threshold {common:g}: {titles[setting.name]}"
    blocks.learning(run, lines.replace(MEASURES), "step", "share", heading, **look)


# %%
def diagonal(ax, panel):
    ax.set_xlim(0, 103)
    if panel.values["measure"] == calibration.SHARE:
        ax.set_yscale("log")
    else:
        ax.set_ylim(0, 103)
        ax.plot([0, 100], [0, 100], color="0.8", linewidth=1, zorder=0)


def draw_reliability(setting, suffix):
    heading = f"Reliability of the answers to unlabelled images, at threshold {common:g}: {titles[setting.name]}"
    points = calibration.reliability(bins, select(ended, setting.axes), ["labels", "method"], least=10)
    look: dict = {"also": diagonal, "size": (4.3, 3.4), "name": "calibration" + suffix, **LOOK}
    blocks.learning(run, points, "confidence", "value", heading, xlabel="confidence, %", **look)


ended = select(planned, {"threshold": common, "status": "done"})
bins = select(run.table("calibration"), {"split": "unlabelled"})
each(draw_quality)
if len(bins):
    each(draw_reliability)

# %% [markdown]
# Confirmation: of the unlabelled images that the network named wrongly after an eighth of the training, the share that it still calls
# by the same wrong name at the end. A network that learns from its own errors keeps them. In the table means over seeds.

# %%
END = {**MEASURES, "kept_errors": "early errors that are kept"}
blocks.learning(
    run, ended, "labels", "kept_errors", f"Errors that stay, at threshold {common:g}, mean and 95 % interval", per="method", colors=COLORS, legend="",
    columns=[*settings[0].axes], limits=(0, None), share=False, ylabel="early errors that are kept, %", name="confirmation",
)  # fmt: skip
means = ended.groupby([*cases[0].axes, "method"], sort=False)[[*END]].mean().mul(100).round(2)
run.show(means.rename(columns=END).reset_index(), f"At the end, at threshold {common:g}, in per cent")

# %% [markdown]
# ## When it helps, and when it hurts
# Test error less that of `supervised` with the same labels, steps and seeds; 95 % intervals. Coloured where the difference survives
# Holm's correction over all comparisons of the figure. Then, where a run has several temperatures of the pseudo-labels (hard or
# soft), ramps or rounds, each further value less the first, all else alike; the table has the largest first.

# %%
CHANGE: dict = {"y": "which", "columns": ["labels"], "wrap": 5, "xlabel": "change of errors, points", "better": "less"}


def against_supervised(setting):
    """Every other method and threshold against supervised, by the number of labels; `which` in the order of methods and thresholds."""
    pairs = each_against(setting.students, {"method": "supervised"}, CELL, ["labels"], METRIC)
    found = statistics.compare({(cell["labels"], named(cell)): pair for cell, pair in pairs}, ["labels", "which"])
    order = setting.students.sort_values(["rank", "threshold"]).apply(named, axis=1)
    return found.assign(which=pd.Categorical(found["which"], order.unique()))


def draw_differences(setting, suffix):
    if len(compared[setting.name]):
        heading = f"Against supervised with the same labels: {titles[setting.name]}"
        blocks.forest(run, compared[setting.name], heading, name="differences" + suffix, **CHANGE)


compared = {s.name: against_supervised(s) for s in settings}
each(draw_differences)


# %%
def variants():
    """Every further value of these axes against the first, all else alike."""
    students, pairs = run.students[run.students["method"].isin(TAUGHT)].sort_values(CELL, kind="stable"), {}
    for axis in (name for name in run.varied() if name in VARIANTS):
        rest, first = [name for name in run.axes if name not in (axis, "seed")], run.axes[axis][0]
        for cell, pair in each_against(students, {axis: first}, [axis], rest, METRIC):
            alike = [run.word(name, cell[name]) for name in run.varied([*CELL, "labels", axis])]
            which = f"{', '.join([named(cell), *alike])}: {run.word(axis, cell[axis])} for {first:g}"
            pairs[which, cell["labels"]] = pair
    return statistics.compare(pairs, ["which", "labels"]).sort_values("mean", key=abs, ascending=False)


varied = variants()
if len(varied):
    blocks.forest(run, varied.sort_index(), "Against the first value, all else alike", name="variants", **CHANGE)
    changes = [tell.points(difference, 2) for difference in varied["difference"]]
    run.show(varied[["which", "labels", "told"]].assign(change=changes))

# %% [markdown]
# ## What came out
# Computed from the rows. Which methods have fewer or more errors than `supervised` is said after Holm's correction over all comparisons
# of a data set and network. All seeds share their test images. The validation images are more labels than a user with few of them has:
# the table says what it would cost that each seed chooses for itself by one image for five labels.

# %%
draws = run.table("draws")
known = [case for case in cases if case.name in winners]


def own_choice(case):
    """How the errors change where each seed chooses for itself, on few images."""
    sizes = select(draws, {axis: case.axes[axis] for axis in ("dataset", "labels")})
    few, many = (" or ".join(map(str, sizes[name].unique())) for name in ("own_val", "val"))
    own = chosen_by_each_seed(case.students, "own_val_accuracy", METRIC)
    change = tell.points(statistics.paired(own, winners[case.name].by_seed(METRIC)), 2)
    return {**case.axes, "validation images": f"{few}, not {many}", "change of test errors": change}


def answer(case):
    """What validation chooses of everything, whether it stands out, and what labels alone reach."""
    best, base = winners[case.name], alone.get(case.name)
    said = f"validation chooses {named(best.best)}, {tell.percent(best.by_seed(METRIC), 2)} test errors"
    if base and base.best["method"] != best.best["method"]:
        said += f"; of the classifiers on labels alone {base.best['method']}, {tell.percent(base.by_seed(METRIC), 2)}"
    return f"**{titles[case.name]}**: {said}. {tell.choice(best, named, 3)}"


def hurt(table, what, against):
    if len(table) and table["n"].max() > 1:
        told = tell.comparisons(table, lambda line: f"{line['which']} at {line['labels']:,} labels", against)
        yield f"{what}: {told}"


if len(draws):
    run.show([own_choice(case) for case in known], "Where each seed chooses for itself")
hurts = [sentence for s in settings for sentence in hurt(compared[s.name], titles[s.name], "supervised")]
differ = hurt(varied, "Temperature of the pseudo-labels, ramp and rounds", "the first value")
least = min(run.axes["labels"])
fewest, more = ([answer(c) for c in known if (c.axes["labels"] == least) == first] for first in (True, False))
run.close([*fewest, *hurts, *differ], more)
