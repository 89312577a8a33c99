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
# validation images and the test images only report, as the assignment's train-val-test split has it; what a user with so few labels
# could choose by is asked at the end. Every number is a mean over seeds with Student's 95 % interval.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choose_each
from analysis.core.settings import by_seed, select

COLORS = {
    "supervised": "0.3", "supervised_weak": "0.65", "supervised_strong": "#9E4F80",
    "pseudo_label": "#D55E00", "self_training": "#0072B2", "fixmatch": "#009E73",
}  # fmt: skip
ALONE, TAUGHT = [*COLORS][:3], [*COLORS][3:]  # by labels alone; by their own answers
METRIC = "test_error"
WORDS = {"dataset": "{}", "network": "{}", "method": "{}", "setting": "{}", "measure": "{}", "labels": "{:,} labels"}
VARIANTS = {"target_temperature": "T {:g}", "ramp": "ramp {:g}", "rounds": "rounds {}"}
run = report.open("pseudo_labels", words={**WORDS, **VARIANTS})
settings = run.settings(but=("method", "labels", "threshold"), first=["dataset", "network"])
titles = {s.name: run.named(s.axes) for s in settings}
suffixes = {s.name: f"_{s.name}" * (len(settings) > 1) for s in settings}

# %% [markdown]
# ## What it is read against
# Published test errors, with other networks and far longer training, each for its number of labels; Lee's 3.46 % come after a denoising
# autoencoder saw all images.

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


def counts(setting):
    """The numbers of labels of a setting, ascending."""
    return sorted(setting.students["labels"].unique())


def of(setting, labels, methods):
    """Students of some methods with so many labels, each once."""
    return setting.students[(setting.students["labels"] == labels) & setting.students["method"].isin(methods)]


def named(cell):
    return f"{cell['method']}, threshold {cell['threshold']:g}" if cell["method"] in TAUGHT else cell["method"]


def each(draw):
    """Draws a figure for each setting where a method learns from its own answers."""
    for setting in settings:
        if setting.students["method"].isin(TAUGHT).any():
            draw(setting, [m for m in COLORS if m in set(setting.students["method"])])


# at each number of labels what validation chose for each method, and of all methods
CELL = ["method", "threshold"]
chosen = {(s.name, n): choose_each(of(s, n, COLORS), "method", CELL) for s in settings for n in counts(s)}
winners = {s.name: choose_each(s.students, "labels", CELL) for s in settings}

# %% [markdown]
# ## Test errors over the number of labels
# Each method at the threshold that validation chose for it at each number of labels. Diamonds: published.


# %%
def publish(ax, panel):
    known = select(PUBLISHED, {"dataset": panel.table["dataset"].iloc[0]})
    for _, line in known[known["labels"].isin(panel.table["labels"])].iterrows():
        at, value = np.log2(line["labels"]), 100 * line["error"]
        style = {"color": COLORS[line["method"]], "markerfacecolor": "none", "linestyle": ""}
        ax.plot(at, value, marker="d", label=f"published: {line['name']}", **style)
        ax.annotate(f"{value:.2f}", (at, value), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    ax.set_ylim(0, None)


shown = [c.students.assign(setting=titles[name]) for (name, _), per in chosen.items() for c in per.values()]
blocks.learning(
    run, pd.concat(shown), "labels", METRIC, "Test errors over the number of labels, mean and 95 % interval", per="method",
    colors=COLORS, columns=["setting"], limits=(0, None), share=False, also=publish, name="labels", legend="",
)  # fmt: skip

# %% [markdown]
# ## Threshold x labels
# Test errors of each method that learns from its answers. The axis of the threshold is -log2(1 - threshold), so that each halving of
# the doubt is as long. Heatmaps: the same numbers, then the difference from `supervised` with the same labels (below zero: fewer
# errors); outlined is the threshold that validation chose.


# %%
def draw_planes(setting, methods):
    x, y = "threshold", "labels"
    cells = setting.cells[setting.cells["method"].isin(TAUGHT)]
    if min(cells[x].nunique(), cells[y].nunique()) < 2:
        return
    mean = statistics.summarise(cells, ["method", x, y], METRIC)
    top = min(100, 1.1 * mean["high"].fillna(mean[METRIC]).max())
    frames = [{y: n, **c.best} for (name, n), per in chosen.items() if name == setting.name for c in per.values()]
    how: dict = {"columns": ["method"], "suffix": suffixes[setting.name], "digits": 2, "framed": frames}
    heading = f"Test errors over threshold and labels: {titles[setting.name]}"
    blocks.plane(run, cells, x, y, METRIC, heading, limits=(0, top), colors=(0, top), **how)
    if "supervised" in methods:
        base = select(setting.students, {"method": "supervised"})[[y, "seed", METRIC]]
        both = cells.merge(base, on=[y, "seed"], suffixes=("", "_supervised"))
        changes = both.assign(change=both[METRIC] - both[f"{METRIC}_supervised"])
        most = statistics.summarise(changes, ["method", x, y], "change")["change"].abs().max() or 1.0
        heading = f"Test errors less those of supervised, points: {titles[setting.name]}"
        blocks.plane(run, changes, x, y, "change", heading, surfaces=False, name="changes", colors=(-most, most), **how)


each(draw_planes)

# %% [markdown]
# ## The pseudo-labels while learning
# Asked about the same clean unlabelled images at every evaluation: how many answers pass the threshold, how many of these are right,
# and the expected calibration error of all answers (ECE: mean distance of confidence and accuracy over ten bins of confidence). All
# at one threshold. `supervised` does not learn from its answers; they are asked for comparison. Dotted: where a round of
# `self_training` begins, whose labels are the answers there.

# %%
ASKED = 0.95  # the threshold at which methods without one are asked about unlabelled images
MEASURES = {"passing": "pass the threshold", "passing_accuracy": "of these right", "pseudo_ece": "ECE of all answers"}


def one_threshold(setting):
    """The threshold that all methods are drawn at: the one nearest to that which supervised is asked at."""
    grid = sorted(setting.cells.loc[setting.cells["method"].isin(TAUGHT), "threshold"].unique())
    return min(grid, key=lambda t: abs(t - ASKED), default=ASKED)


def at_threshold(setting, table):
    """Lines of all methods at that threshold; those of methods without one all."""
    return table[~table["method"].isin(TAUGHT) | (table["threshold"] == one_threshold(setting))]


# %%
def draw_quality(setting, methods):
    history = at_threshold(setting, setting.history({}))
    history = history[history["method"].isin(["supervised", *TAUGHT])]
    lines = history.melt(["method", "labels", "step", "seed"], MEASURES, "measure", "share").replace(MEASURES)
    if one_threshold(setting) != ASKED:  # supervised was not asked there
        lines = lines[(lines["method"] != "supervised") | (lines["measure"] == MEASURES["pseudo_ece"])]
    least = history.groupby(["method", "labels", "step"])["passing_accuracy"].mean().min()
    floors = {MEASURES["passing_accuracy"]: max(0, 10 * (100 * least // 10))}

    def rounds(ax, panel):
        part = select(history, {"method": "self_training", "labels": panel.values["labels"]})
        for n in part["rounds"].unique():
            for k in range(1, n + 1):
                ax.axvline(
                    part["step"].max() * k / (n + 1), color=COLORS["self_training"], linestyle=":", linewidth=0.9
                )
        top = None if panel.values["measure"] == MEASURES["pseudo_ece"] else 100.5
        ax.set_ylim(floors.get(panel.values["measure"], 0), top)

    blocks.learning(
        run, lines, "step", "share", f"Pseudo-labels at threshold {one_threshold(setting):g}: {titles[setting.name]}", per="method",
        rows=["measure"], columns=["labels"], colors=COLORS, limits=(0, None), share="row", also=rounds, size=(4.3, 2.9), legend="",
        name="quality" + suffixes[setting.name], ylabel="%",
    )  # fmt: skip


each(draw_quality)

# %% [markdown]
# ## How sure, and how right
# Reliability diagrams at the end of the training, on unlabelled training images: accuracy over confidence, a point per bin with at
# least ten images; on the grey diagonal confidence is accuracy, below it answers are surer than right. Below: how many images each
# bin has.

# %%
calibration = run.table("calibration")


def reliability(students):
    """By bin: images of all seeds together (and their share of all), mean confidence and accuracy in per cent."""
    found = select(calibration[calibration["student"].isin(students["student"])], {"split": "unlabelled"})
    weighed = found.assign(**{name: 100 * found[name] * found["images"] for name in ("confidence", "accuracy")})
    table = weighed.groupby("bin")[["images", "confidence", "accuracy"]].sum()
    means = table[["confidence", "accuracy"]].div(table["images"], axis=0)
    return table.assign(share=100 * table["images"] / table["images"].sum(), **means)


def draw_calibration(setting, methods):
    if calibration.empty:
        return
    sizes, final = counts(setting), at_threshold(setting, setting.students)
    look: dict = {"squeeze": False, "sharex": True, "sharey": "row", "height_ratios": (2, 1), "layout": "constrained"}
    figure, axes = plt.subplots(2, len(sizes), figsize=(max(8, 4.3 * len(sizes)), 7.4), **look)
    for labels, above, below in zip(sizes, *axes, strict=True):
        above.plot([0, 100], [0, 100], color="0.8", linewidth=1)
        for method in methods:
            part = select(final, {"labels": labels, "method": method})
            bins, ece = reliability(part), 100 * by_seed(part, "pseudo_ece").mean()
            large, style = bins[bins["images"] >= 10], {"color": COLORS[method], "marker": "o", "markersize": 3.5}
            above.plot(large["confidence"], large["accuracy"], label=f"{method}: ECE {ece:.1f}", **style)
            below.plot(10 * bins.index + 5, bins["share"], **style)
        above.set(title=f"{labels:,} labels", xlim=(0, 103), ylim=(0, 103))
        above.legend(fontsize=7.5, loc="upper left")
        below.set(xlabel="confidence, %", yscale="log")
    axes[0][0].set_ylabel("accuracy, %")
    axes[1][0].set_ylabel("images, %")
    at = f"threshold {one_threshold(setting):g}: {titles[setting.name]}"
    figure.suptitle(run.title(f"Reliability of the answers to unlabelled images, {at}"), fontsize=11)
    run.figure(figure, "calibration" + suffixes[setting.name])


each(draw_calibration)

# %% [markdown]
# ## When it helps, and when it hurts
# Test error less that of `supervised` with the same labels, steps and seeds; 95 % intervals. Coloured where the difference survives
# Holm's correction over all comparisons of the figure.

# %%
CHANGE: dict = {"columns": ["labels"], "xlabel": "change of test errors, points", "better": "less", "wrap": 5}


def against_supervised(setting):
    """Every method and threshold against supervised, by labels."""
    pairs = {}
    for labels in counts(setting):
        base, others = of(setting, labels, ["supervised"]), of(setting, labels, [*COLORS][1:])
        for key, part in others.groupby(["method", "threshold"]):
            pairs[labels, *key] = by_seed(part, METRIC), by_seed(base, METRIC)
    return statistics.compare(pairs, ["labels", "method", "threshold"])


def draw_differences(setting):
    lines = compared[setting.name].sort_values(["threshold"], kind="stable")
    lines = pd.concat([select(lines, {"method": method}) for method in COLORS])
    if len(lines):
        lines = lines.assign(which=[named(line) for _, line in lines.iterrows()])
        heading = f"Against supervised with the same labels: {titles[setting.name]}"
        blocks.forest(run, lines, heading, y="which", name="differences" + suffixes[setting.name], **CHANGE)


compared = {s.name: against_supervised(s) for s in settings}
for each_setting in settings:
    draw_differences(each_setting)

# %% [markdown]
# ## Hard or soft, at once or rising, one round or several
# Drawn where a run has several temperatures of the pseudo-labels, ramps or rounds: test error less that at the first value, all else and
# the seeds alike; 95 % intervals, coloured as above, corrected over all comparisons of the figure.


# %%
def variants():
    """Every further value of these axes against the first, all else alike."""
    students = run.students[run.students["method"].isin(TAUGHT)].sort_values(["method", "threshold"], kind="stable")
    pairs = {}
    for axis in VARIANTS:
        rest = [a for a in run.axes if a not in (axis, "seed")]
        first, *others = run.axes.get(axis, [None])
        for values, part in students.groupby(rest, sort=False):
            cell = dict(zip(rest, values, strict=True))
            also = run.named({a: cell[a] for a in run.varied(("method", "threshold", "labels", axis))})
            for value in others:
                mine, base = (by_seed(select(part, {axis: v}), METRIC) for v in (value, first))
                which = ", ".join(filter(None, [named(cell), also])) + f": {run.word(axis, value)} for {first:g}"
                pairs[which, cell["labels"]] = mine, base
    return statistics.compare(pairs, ["which", "labels"])


varied = variants()
if len(varied):
    blocks.forest(run, varied, "Against the first value, all else alike", y="which", name="variants", **CHANGE)

# %% [markdown]
# ## Confirmation
# Of the unlabelled images that the network named wrongly after an eighth of the training: the share that it still calls by the same
# wrong name at the end. A network that learns from its own errors keeps them.

# %%
where = {s.name: f"{titles[s.name]}, threshold {one_threshold(s):g}" for s in settings}
kept = pd.concat([at_threshold(s, s.students).assign(setting=where[s.name]) for s in settings])
blocks.learning(
    run, kept, "labels", "kept_errors", "Errors that stay, mean and 95 % interval", per="method", colors=COLORS, legend="",
    columns=["setting"], limits=(0, None), share=False, ylabel="early errors that are kept, %", name="confirmation",
)  # fmt: skip

# %% [markdown]
# ## What came out
# Computed from the rows. Intervals of single differences are not corrected; which methods have fewer or more errors than `supervised`
# is said after Holm's correction over all comparisons of a data set and network. All seeds share their test images.


# %%
def errors(values):
    return tell.percent(values, 2)


def label_sentences(setting):
    """Each method at its chosen threshold, beside supervised and the best classifier on labels alone."""
    best = choose_each(setting.students[setting.students["method"].isin(ALONE)], "labels", ["method"])
    for labels in counts(setting):
        per, alone = chosen[setting.name, labels], [best[labels].best["method"]] if labels in best else []
        levels = {m: per[m].by_seed(METRIC) for m in ("supervised", *alone) if m in per}
        words = {m: f"the best classifier on labels alone, by validation, is {m}: {errors(levels[m])}" for m in alone}
        words |= {m: f"supervised {errors(levels[m])} test errors" for m in levels if m == "supervised"}
        said = [words[m] for m in levels]
        for choice in (per[m] for m in TAUGHT if m in per):
            mine = choice.by_seed(METRIC)
            beside = [f"against {m} {tell.points(statistics.paired(mine, level), 2)}" for m, level in levels.items()]
            said.append(", ".join([named(choice.best), errors(mine), *beside]))
        yield f"**{titles[setting.name]}, {labels:,} labels**: {'; '.join(said)}."


# %%
def winner_sentences(setting):
    """Whether the best of all stands out, at each number of labels."""
    for labels, best in sorted(winners[setting.name].items()):
        worth = f"of everything, validation chooses {named(best.best)}. {tell.choice(best, named, 3)}"
        yield f"{titles[setting.name]}, {labels:,} labels: {worth}"


def hurt_sentences(setting):
    table = compared[setting.name]
    if len(table) and table["n"].max() > 1:
        told = tell.comparisons(table, lambda line: f"{named(line)} at {line['labels']:,} labels", "supervised")
        yield f"{titles[setting.name]}: {told}"


def variant_sentences():
    """What hard or soft pseudo-labels, the ramp and the rounds change."""
    if len(varied) and varied["n"].max() > 1:
        points = [tell.points(d, 2) for d in varied["difference"]]
        words = varied["which"] + ", at " + varied["labels"].map("{:,} labels: ".format) + points
        told = words[varied["told"] != "open"]
        yield (
            f"Temperature of the pseudo-labels, ramp and rounds: of {len(varied)} comparisons with the first value {len(told)} are told from no "
            f"difference (Holm){': ' * bool(len(told))}{tell.listing([*told], 6)}. The largest is {words[varied['mean'].abs().idxmax()]}."
        )


# %%
def quality_sentences(setting):
    final, asked = at_threshold(setting, setting.students), one_threshold(setting)
    for labels in dict.fromkeys((counts(setting)[0], counts(setting)[-1])):
        said = []
        for method in ("supervised", *TAUGHT):
            part = select(final, {"labels": labels, "method": method})
            names = ("passing", "passing_accuracy", "pseudo_ece", "kept_errors")
            passing, right, ece, stay = (100 * by_seed(part, name).mean() for name in names)
            of_them = f", {right:.2f} % of them right" if passing else ""
            passed = f"{passing:.1f} % pass{of_them}, " if method in TAUGHT or asked == ASKED else ""
            if len(part):
                said.append(f"{method} {passed}ECE {ece:.1f} points, {stay:.0f} % of early errors kept")
        at = f"{titles[setting.name]}, {labels:,} labels, at the end, threshold {asked:g}"
        yield f"{at}: {'; '.join(said)} (means of the seeds)."


def own_sentences(setting):
    """What choosing on a validation set of a user's size costs: each seed chooses for itself."""
    draws, said = select(run.table("draws"), {"dataset": setting.axes["dataset"]}), []
    for labels in counts(setting):
        found = of(setting, labels, COLORS).dropna(subset=["val_accuracy", "own_val_accuracy", METRIC])
        # of several cells alike on so few images a user would take any: their mean
        own = found[found["own_val_accuracy"] == found.groupby("seed")["own_val_accuracy"].transform("max")]
        d = statistics.paired(by_seed(own, METRIC), winners[setting.name][labels].by_seed(METRIC))
        size = select(draws, {"labels": labels})
        said.append(f"{labels:,} labels, {size['own_val'].iloc[0] if len(size) else '?'} images: {tell.points(d, 2)}")
    if len(draws):
        yield (
            f"{titles[setting.name]}: method and threshold were chosen on {draws['val'].iloc[0]:,} labelled validation images, more than a user with "
            f"few labels has. Chosen by each seed on its own, on one validation image for five labels, the test errors change by: {'; '.join(said)}."
        )


# %%
def published_sentences(setting):
    for _, line in select(PUBLISHED, {"dataset": setting.axes["dataset"]}).iterrows():
        choice = chosen.get((setting.name, line["labels"]), {}).get(line["method"])
        if choice:
            yield (
                f"Published: {line['name']}, {100 * line['error']:.2f} % test errors ({line['source']}); here {named(choice.best)} has "
                f"{errors(choice.by_seed(METRIC))}, another network and training."
            )


further = (winner_sentences, quality_sentences, own_sentences, published_sentences)
fewest = [sentence for s in settings for sentence in (*[*label_sentences(s)][:1], *hurt_sentences(s))]
others = [sentence for s in settings for sentence in [*label_sentences(s)][1:]]
more = [sentence for s in settings for say in further for sentence in say(s)]
run.close([*fewest, *variant_sentences()], [*others, *more])
