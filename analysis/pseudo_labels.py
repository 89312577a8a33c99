# %% [markdown]
# # Do a network's own answers replace labels?
#
# A classifier has labels for few images, answers to the others, and learns from its answers (pseudo-labels) where they are sure
# enough (`threshold`):
#
# - labels only (`supervised`): the labelled images, as they are; `supervised_weak`, `supervised_strong`: the same, augmented;
# - pseudo-labels (`pseudo_label`, Lee 2013): asked in every step about the very image that it learns from, with a rising weight;
# - self-training (`self_training`): asked by the network as it was when the round began; round 0 has labels only;
# - FixMatch (`fixmatch`, Sohn et al. 2020, arXiv 2001.07685): asked about a weakly augmented image, it learns on a strongly augmented one.
#
# All have the same labels, initial weights, number of steps and order of the labelled images, so differences are paired by seed.
# The true labels of the other training images only judge the pseudo-labels. The threshold is chosen on held-out validation images.
#
# With the preset `transfer` the classifier is the solution of homework 1: a pretrained network, fine-tuned by a `recipe` of the study
# finetuning (plain; augmentation; unfreezing and an adaptive rate; all). Then recipes stand where numbers of labels stand otherwise.

# %%
import numpy as np
import pandas as pd

from analysis.core import blocks, calibration, report, statistics, tell
from analysis.core.choice import choices, choose, choose_each, chosen_by_each_seed, framed
from analysis.core.figures.scales import logarithmic
from analysis.core.settings import changed, each_against, each_further, select, stacked

COLORS = {
    "supervised": "0.3", "supervised_weak": "0.65", "supervised_strong": "#9E4F80",
    "pseudo_label": "#D55E00", "self_training": "#0072B2", "fixmatch": "#009E73",
}  # fmt: skip
ALONE, TAUGHT = [*COLORS][:3], [*COLORS][3:]  # by labels alone; by their own answers
METRIC, CELL = "test_error", ["method", "threshold"]
PUBLISHED_AT = ("dataset", "labels", "method")
VARIANTS = {"target_temperature": "T {:g}", "ramp": "ramp {:g}", "rounds": "rounds {}"}
METHODS = {
    "supervised": "labels only", "supervised_weak": "labels, weak views", "supervised_strong": "labels, strong views",
    "pseudo_label": "pseudo-labels", "self_training": "self-training", "fixmatch": "FixMatch",
}  # fmt: skip
RECIPES = {
    "plain": "plain", "augmentation": "augmentation", "unfreezing": "unfreezing", "rate": "adaptive rate",
    "unfreezing_rate": "unfreezing, adaptive rate", "all": "all three",
}  # fmt: skip
WORDS: report.Words = {"dataset": tell.data, "network": tell.network, "labels": "{:,} labels"}
run = report.open("pseudo_labels", words={**WORDS, "method": METHODS, "recipe": RECIPES, **VARIANTS})
TINTS = {method: color for method, color in COLORS.items() if method in set(run.cells["method"])}

# %%
# figures at one threshold have the nearest to 0.95, and the methods without one, whatever a search has drawn for these
thresholds = run.cells["threshold"].where(run.cells["method"].isin(TAUGHT))
common = min(thresholds.dropna(), key=lambda threshold: abs(threshold - 0.95), default=0.95)
ranked = run.cells.assign(threshold=thresholds.fillna(common), rank=run.cells["method"].map([*COLORS].index))
across = "recipe" if "recipe" in run.varied() else "labels"  # what cases of a setting differ in
own_rate = across == "recipe" and run.cells.groupby("recipe")["lr"].nunique().max() == 1
tied = ["lr"] if own_rate else []  # which then is no axis of its own
by = [across, "rank", "threshold", "status"]  # of cells that are now one, that which is done comes first
plan = ranked.sort_values(by, kind="stable").drop_duplicates([*run.axes])
alike = [axis for axis in run.axes if axis not in CELL]  # the change against supervised, all else and the seed alike
planned = plan.assign(change=changed(plan, {"method": "supervised"}, alike, METRIC))
# a setting has figures of its own; in each of its cases, of one number of labels or recipe, validation chooses
settings = run.settings(but=[*CELL, across, *tied], first=["dataset", "network"], cells=planned)
cases = run.settings(but=[*CELL, *tied], first=["dataset", "network", across], cells=planned)
ends = {s: f"_{s.name}" * (len(settings) > 1) for s in settings}  # of the names of their files
run.show_classes()


def named(cell):
    what = METHODS[cell["method"]]
    return f"{what}, threshold {cell['threshold']:g}" if cell["method"] in TAUGHT else what


def draw_over(table, metric, heading, **how):
    """Means over the numbers of labels, or beside each other for each recipe."""
    how |= {"per": "method", "columns": [*settings[0].axes], "colors": TINTS, "limits": (0, None), "share": False}
    if across == "labels":
        blocks.learning(run, table, across, metric, heading, legend="", **how)
    else:
        kinds = pd.CategoricalDtype(run.axes[across])
        blocks.intervals(run, table.astype({across: kinds}), across, metric, heading, **how | {"also": None})


# %% [markdown]
# ## Test errors over the number of labels, or by recipe
# Each method at the threshold that validation chose for it at each number of labels or recipe. Diamonds: published, with other networks and
# far longer training; Lee's 3.46 % come after a denoising autoencoder saw all images. In the table changes are paired by seed and
# not corrected. The validation images are more labels than a user with few of them has: its last column says what it would cost that
# each seed chooses for itself by one image for five labels.

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
chosen = {case: choose_each(case.students, "method", CELL, margin=run.margin) for case in cases}  # for each method
picked = [(case, choice) for case, per in chosen.items() for choice in per.values()]


def publish(ax, panel):
    known = select(PUBLISHED, panel.values)
    for _, line in known[known["labels"].isin(panel.table["labels"])].iterrows():
        at, value, name = np.log2(line["labels"]), 100 * line["error"], f"published: {line['name']}"
        ax.plot(at, value, "d", color=COLORS[line["method"]], markerfacecolor="none", label=name)
        ax.annotate(f"{value:.2f}", (at, value), (7, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set_ylim(0, None)


reached = pd.concat(choice.students for _, choice in picked)
draw_over(reached, METRIC, "Test errors", also=publish, name=f"{across.removesuffix('s')}s")

# %%
draws, winners = run.table("draws"), choices(cases, CELL, margin=run.margin)  # of all methods
alone = choices(cases, ["method"], heard=lambda students: students[students["method"].isin(ALONE)])


def own_choice(case):
    """How the errors change where each seed chooses for itself, on few images."""
    sizes = select(draws, {axis: case.students[axis].iloc[0] for axis in ("dataset", "labels")})
    few, many = (" or ".join(f"{n:,}" for n in sizes[name].unique()) for name in ("own_val", "val"))
    own = chosen_by_each_seed(case.students, "own_val_accuracy", METRIC)
    return f"{tell.points(statistics.paired(own, winners[case].by_seed(METRIC)), 2)}, by {few} images, not {many}"


def in_words(axes):
    """Their values in a table that names them."""
    return {axis: f"{value:,}" if axis == "labels" else run.word(axis, value) for axis, value in axes.items()}


def line_of(case, choice):
    """What a choice is worth."""
    errors, change = choice.by_seed(METRIC), choice.by_seed("change")
    known = select(PUBLISHED, {axis: choice.students[axis].iloc[0] for axis in PUBLISHED_AT})
    line = {**in_words(case.axes), "method": named(choice.best), "test errors": tell.percent(errors, 2)}
    taught = len(change) and choice.best["method"] != "supervised"
    line["less labels only"] = tell.points(change, 2) if taught else ""
    if (base := alone.get(case)) and base.best["method"] != choice.best["method"]:
        line["less the best on labels alone"] = tell.points(statistics.paired(errors, base.by_seed(METRIC)), 2)
    line["published"] = "".join(f"{100 * of['error']:.2f} % ({of['source']})" for _, of in known.iterrows())
    best = winners[case].best == choice.best and len(draws) > 0
    return line | {"change where each seed chooses": own_choice(case) if best else ""}


run.show(line_of(*each) for each in picked)

# %% [markdown]
# ## What is taken for what
# Of what validation chose, all seeds together.

# %%
preferred = pd.concat([choice.students.assign(**case.axes) for case, choice in winners.items()]) if winners else pd.DataFrame()
blocks.confusions(run, preferred, "Which class of test images is taken for which", columns=[*cases[0].axes])

# %% [markdown]
# ## Threshold x labels
# Test errors of each method that learns from its answers; every halving of the doubt, 1 - threshold, is as long on the axis. Heatmaps:
# the same numbers, then the difference from the same labels only (below zero: fewer errors). A panel judges its own thresholds; the
# sentences at the end judge all methods together.

# %%
OVER = ("threshold", across)
for setting in settings:
    taught = setting.cells[setting.cells["method"].isin(TAUGHT)]
    if min(taught["threshold"].nunique(), taught[across].nunique()) > 1:
        here = framed((case, choice) for case, choice in picked if setting.axes.items() <= case.axes.items())
        how: dict = {"columns": ["method"], "suffix": ends[setting], "digits": 2, "framed": here, "framing": "chosen on validation for this method"}
        blocks.plane(run, taught, *OVER, METRIC, f"Test errors: {setting.title}", limits=(0, None), **how)
        most = statistics.summarise(taught, ["method", *OVER], "change")["change"].abs().max()
        if most > 0:
            less = f"Test errors less those of labels only, points: {setting.title}"
            blocks.plane(
                run, taught, *OVER, "change", less, name="changes", surfaces=False, colors=(-most, most), **how
            )

# %% [markdown]
# ## The pseudo-labels while learning, and how sure they are at the end
# Asked about the same clean unlabelled images at every evaluation: how many answers pass the threshold, how many of these are right,
# and the expected calibration error of all answers (ECE: mean distance of confidence and accuracy over ten bins of confidence).
# What learns from labels only is asked at 0.95 for comparison. Dotted: where a round of self-training
# begins, whose labels are the answers there. Reliability diagrams at the end, all seeds together: accuracy over confidence, a point
# per bin with at least ten images; below the grey diagonal answers are surer than right. Below: the share of the images in each bin.

# %%
MEASURES = {"passing": "pass the threshold", "passing_accuracy": "of these right", "pseudo_ece": "ECE of all answers"}
at = f"threshold {common:g}" + ", labels only at 0.95" * (common != 0.95)
at_common = select(planned, {"threshold": common})
ended = select(at_common, {"status": "done"})
bins = select(run.table("calibration"), {"split": "unlabelled"})


def begin_rounds(ax, panel):
    """Where rounds begin; axes from 0, save of how many are right."""
    ax.set_xlim(0, 1.02 * panel.table["steps"].max())
    rounds = select(panel.table, {"method": "self_training"})[["rounds", "steps"]].drop_duplicates()
    for count, steps in rounds.itertuples(index=False):
        for begin in np.linspace(0, steps, count + 2)[1:-1]:
            ax.axvline(begin, color=COLORS["self_training"], linestyle=":", linewidth=0.9)
    if panel.values["measure"] != MEASURES["passing_accuracy"]:
        ax.set_ylim(bottom=0)


def diagonal(ax, panel):
    ax.set_xlim(0, 103)
    if panel.values["measure"] == calibration.SHARE:
        logarithmic(ax, "y")
    else:
        ax.set_ylim(0, 103)
        ax.plot([0, 100], [0, 100], color="0.8", linewidth=1, zorder=0)


# %%
look: dict = {
    "per": "method", "rows": ["measure"], "columns": [across], "colors": TINTS, "limits": (None, None),
    "share": "row", "legend": "", "ylabel": "%", "size": (4.3, 3.1),
}  # fmt: skip
for one in settings:
    asked = select(at_common, one.axes)[["student", "method", across]]
    watched = run.history.drop(columns=["method", across]).merge(asked, on="student")
    answered = watched[watched["method"].isin(["supervised", *TAUGHT])]
    measured = stacked(answered, "measure", "share", {name: metric for metric, name in MEASURES.items()})
    heading = f"Pseudo-labels at {at}: {one.title}"
    blocks.learning(run, measured, "step", "share", heading, also=begin_rounds, name=f"quality{ends[one]}", **look)
    if len(bins):
        sure = f"Reliability of the answers to unlabelled images, at threshold {common:g}: {one.title}"
        points = calibration.reliability(bins, select(ended, one.axes), [across, "method"], least=10)
        sides: dict = {"also": diagonal, "name": f"calibration{ends[one]}", "xlabel": "confidence, %", **look}
        blocks.learning(run, points, "confidence", "value", sure, **sides)

# %% [markdown]
# Confirmation: of the unlabelled images that the network named wrongly after an eighth of the training, the share that it still calls
# by the same wrong name at the end. Whether learning from its own errors makes a network keep them shows against labels only. In the table means over seeds.

# %%
END = {**MEASURES, "kept_errors": "early errors that are kept"}
text = f"Errors that stay, at threshold {common:g}"
draw_over(ended, "kept_errors", text, ylabel="early errors that are kept, %", name="confirmation")
called = ended.assign(method=ended["method"].map(METHODS))
means = called.groupby([*cases[0].axes, "method"], sort=False)[[*END]].mean().mul(100).round(2).rename(columns=END).reset_index()
worded = {axis: [in_words({axis: value})[axis] for value in means[axis]] for axis in cases[0].axes}
run.show(means.assign(**worded), f"At the end, at {at}, in per cent")

# %% [markdown]
# ## When it helps, and when it hurts
# Test error less that of the same labels only, steps and seeds; coloured where the difference survives Holm's correction
# over all comparisons of the figure. Then, where a run has several temperatures of the pseudo-labels (hard or soft), ramps or
# rounds, each further value less the first, all else alike; the table has the largest first.

# %%
CHANGE: dict = {"y": "which", "columns": [across], "wrap": 5, "xlabel": "change of errors, points", "better": "less"}


def against_supervised(setting):
    """Every other method and threshold against supervised, in each case."""
    students = setting.students.sort_values(["rank", "threshold"], kind="stable")
    pairs = each_against(students, {"method": "supervised"}, CELL, [across], METRIC)
    return statistics.compare({(cell[across], named(cell)): pair for cell, pair in pairs}, [across, "which"])


compared = {s: against_supervised(s) for s in settings}
for of, table in compared.items():
    said = f"Against the same labels only{', by recipe' * (across == 'recipe')}: {of.title}"
    blocks.forest(run, table, said, name=f"differences{ends[of]}", note=f"told from 0: Holm over all {len(table)}", **CHANGE)


# %%
def against_first():
    """Every further value of temperature, ramp and rounds against the first, all else alike."""
    students = run.students[run.students["method"].isin(TAUGHT)].sort_values(CELL, kind="stable")
    firsts, pairs = {axis: run.axes[axis][0] for axis in run.varied() if axis in VARIANTS}, {}
    for axis, value, rest, pair in each_further(students, firsts, [a for a in run.axes if a != "seed"], METRIC):
        all_else = run.named({name: rest[name] for name in run.varied([across, axis])})
        pairs[f"{all_else}: {run.word(axis, value)} for {firsts[axis]:g}", rest[across]] = pair
    return statistics.compare(pairs, ["which", across])


further = against_first()
largest = further.sort_values("mean", key=abs, ascending=False)
blocks.forest(run, further, "Against the first value, all else alike", name="variants", note=f"told from 0: Holm over all {len(further)}", **CHANGE)
run.show(largest[["which", across, "told"]].assign(change=[tell.points(d, 2) for d in largest["difference"]]))

# %% [markdown]
# ## What came out
# Which methods have fewer or more errors than labels only is said after Holm's correction over all comparisons of a data set and network.
# All seeds share their test images.


# %%
def answer(case, choice):
    """What validation chooses of all methods, and what labels alone reach."""
    how: dict = {"metric": METRIC, "digits": 2, "name": named, "most": 3}
    if base := alone.get(case):
        reached = tell.percent(base.by_seed(METRIC), 2)
        how["then"] = f"Of what learns from labels alone it chooses {METHODS[base.best['method']]}: {reached}."
    return tell.answer(case.title, choice, "test errors", **how)


def homework(setting):
    """Of all recipes: which classifier validation chooses on labels alone, and what pseudo-labels change of its errors."""
    students, within, words = setting.students, [across, *CELL], {"more": "more errors", "less": "fewer errors"}
    learns_alone = students["method"].isin(ALONE)
    base, best = (choose(table, within, margin=run.margin) for table in (students[learns_alone], students))
    if base and best:
        errors, same = base.by_seed(METRIC), select(students[~learns_alone], {across: base.best[across]})
        chosen_for = choose_each(same, "method", CELL, margin=run.margin)
        others = {method: choice.by_seed(METRIC) for method, choice in chosen_for.items()}
        each = "; ".join(
            f"{METHODS[method]} by {change}" for method, change in tell.against(others, errors, digits=2, **words).items()
        )
        told = tell.percent(errors, 2)
        yield f"**{setting.title}**: of the classifiers on labels alone validation chooses {run.word(across, base.best[across])}: {told} test errors."
        yield f"Pseudo-labels change its errors, p by Holm over {len(others)}: {each}." * bool(others)
        how: dict = {"metric": METRIC, "digits": 2, "name": lambda cell: f"{run.word(across, cell[across])}, {named(cell)}", "most": 3}
        yield tell.answer("with and without pseudo-labels", best, "test errors", **how)


def compared_line(line):
    return f"{line['which']}, {run.word(across, line[across])}"


pairs = [(s.title, "labels only", lines) for s, lines in compared.items()]
pairs.append(("Temperature of the pseudo-labels, ramp and rounds", "the first value", further))
judged = [(what, base, lines) for what, base, lines in pairs if len(lines) and lines["n"].max() > 1]
hurts = [f"{what}: {tell.comparisons(lines, compared_line, base)}" for what, base, lines in judged]
singly = [f"{what}: {said}" for what, _, lines in judged if (said := tell.uncorrected(lines, compared_line))]
each_case = [answer(*each) for each in winners.items()] if across == "labels" else []

# %%
answering = choices(cases, CELL, heard=lambda students: students[students["method"].isin(TAUGHT)], margin=run.margin)
SAID = 4  # cases of which the answer says more


def against_labels(setting):
    """In each case its best method that learns from its answers, less labels only and less the best on labels alone, judged together."""
    pairs: dict = {}
    for case, choice in answering.items():
        if setting.axes.items() <= case.axes.items():
            bases = {"only": chosen[case].get("supervised"), "views": alone.get(case)}
            pairs |= {(case, base): (choice.by_seed(METRIC), of.by_seed(METRIC)) for base, of in bases.items() if of}
    return statistics.compare(pairs, ["case", "base"])


def verdict(setting):
    """Whether own answers help beyond labels, and beyond augmented views of these."""
    lines = against_labels(setting)
    only, views = (lines[lines["base"] == base].set_index("case") for base in ("only", "views"))
    if views.empty:
        return
    better, worse = (int((views["told"] == way).sum()) for way in ("less", "more"))
    head = "Own answers help" if better == len(views) else "Own answers help in part" if better else "Own answers hurt" if worse else "Cannot be told"
    cases_of = "recipes" if across == "recipe" else "numbers of labels"
    fewer = f"fewer errors than the same labels as they are at {(only['told'] == 'less').sum():d} of {len(only)} {cases_of}, and " * bool(len(only))
    seeds = int(views["n"].max())
    rest = f"; {len(views) - better - worse} cannot be told by {tell.count(seeds, 'seed')}" * bool(better + worse < len(views))
    most = [case for case in only.index.intersection(views.index) if 0 < -only["mean"][case] < 2 * (views["mean"] - only["mean"])[case]]
    gain = f" Most of the gain is of the augmented views at {len(most)} of {len(only)}." * bool(most)
    more = f", more errors at {worse}" * bool(worse)
    yield f"**{setting.title}: {head}**: {fewer}fewer than labels alone with the best views at {better} of {len(views)}{more}{rest}.{gain}"


# %%
def short(case, choice):
    """One case: what own answers reach, what labels alone do."""
    reached = f"**{case.title}**: {METHODS[choice.best['method']]} {tell.percent(choice.by_seed(METRIC), 2)} test errors"
    bases = {"supervised": chosen[case].get("supervised"), "best": alone.get(case)}
    told = {METHODS[of.best["method"]]: f"{100 * of.by_seed(METRIC).mean():.2f} %" for of in bases.values() if of}
    return "; ".join([reached, *(f"{name} {error}" for name, error in told.items())]) + "."


told_first = [line for setting in settings for line in verdict(setting)]
told_each = [short(*each) for each in answering.items()]
in_short = told_each * (len(told_first) + len(told_each) <= 1 + SAID)
told_more = [*each_case, *(line for s in settings if across == "recipe" for line in homework(s)), *hurts, *singly]
run.close([*told_first[: 1 + SAID], *in_short], [*told_first[1 + SAID :], *(told_each if not in_short else []), *told_more])
