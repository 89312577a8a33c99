# %% [markdown]
# # How does a model forget?
#
# A network with two outputs learns the digits 0 and 1, then goes on to the next pair: 2 as class 0, 3 as class 1. No old digit is
# shown any more, save to rehearsal. How long does it keep what it knew, which of 0 and 1 goes first, and what holds it? The
# loss is CE(new digits) + strength × remedy; the remedies are L2 towards the old weights, EWC (the same, weighted by the
# Fisher information), LwF (the old network's answers on the new digits), rehearsal of a few old digits, and frozen layers.
#
# Remedies are compared, each at its best strength, where all else is equal; every memory of rehearsal is a remedy of its own. The
# strength is chosen on validation by the mean accuracy over the tasks at the end; everything shown is measured on test. Every number
# is a mean over seeds with Student's 95 % interval; differences are paired by seed. What has no remedy at many learning rates is
# drawn over the learning rate instead.

# %%
import math
from itertools import cycle

import numpy as np
import pandas as pd

from analysis.core import blocks, decay, report, statistics, tell
from analysis.core.choice import choices, choose_each
from analysis.core.figures.lifetimes import lifetimes
from analysis.core.figures.paths import paths
from analysis.core.figures.references import Reference
from analysis.core.figures.scales import logarithmic, palette, positions
from analysis.core.settings import select

SHORT = {"width": "width {:g}", "lr": "lr {:g}", "tasks": "{} tasks"}
WORDS = dict.fromkeys(("network", "optimiser", "setting", "what", "method"), "{}")
run = report.open("forgetting", words=SHORT | WORDS)
sizes = sorted(run.asked.loc[run.asked["remedy"] == "rehearsal", "memory"].unique())
REHEARSALS = [f"rehearsal {size}" for size in sizes] if len(sizes) > 1 else ["rehearsal"]
LOSSES = {"none": "#000000", "l2": "#E69F00", "ewc": "#56B4E9", "lwf": "#009E73"}
FROZEN = {"freeze first": "#CC79A7", "freeze features": "#D55E00", "freeze readout": "#999999"}
COLORS = {**LOSSES, **dict(zip(REHEARSALS, cycle(("#0072B2", "#00305C", "#6BAED6")), strict=False)), **FROZEN}


# %%
def prepared(table):
    """The table by task and with the method of each student, in the order of COLORS."""
    size = np.where((table["remedy"] == "rehearsal") & (len(sizes) > 1), " " + table["memory"].astype(str), "")
    told = decay.by_task(table).assign(method=table["remedy"].str.replace("_", " ") + size)
    one_layer = (table["network"] == "logistic") & table["remedy"].str.startswith("freeze")  # learns nothing at all
    return told[~one_layer].sort_values("method", key=lambda names: names.map([*COLORS].index), kind="stable")


def named(axes, but=()):
    """Values in words; what is 0 plays no part."""
    return run.named({axis: value for axis, value in axes.items() if value != 0 and axis not in but})


before = decay.untaught(run.asked[["student", *run.axes]], run.table("starts"))
history = prepared(pd.concat([run.history, before]))
cells = prepared(run.asked).join(decay.known(history), on="student")
OTHER = ("remedy", "strength", "memory")
settings = [s for s in run.settings(but=OTHER, cells=cells, canonical=True) if len(s.done)]
best = {s.name: choose_each(s.students, "method", ["strength"]) for s in settings}

# %%
rates = cells["lr"].nunique() > 2
shown = [s for s in settings if not rates or set(best[s.name]) != {"none"}]
title = {s.name: named(s.axes) or s.cells["network"].iloc[0] for s in settings}
five = {s.name: s.cells["tasks"].iloc[0] == "five" for s in settings}
end = {s.name: int(history.loc[history["student"].isin(s.done["student"]), "since"].max()) for s in settings}
LAST = "last pair" if len(set(five.values())) > 1 else "8 and 9" if any(five.values()) else "2 and 3"


def label(setting, method):
    """`ewc, 1000`, `freeze first`"""
    fixed = method == "none" or method in FROZEN
    return method if fixed else f"{method}, {best[setting.name][method].best['strength']:g}"


nobody = cells[:0].assign(setting="", label="")
ends = pd.concat([nobody, *(s.cells.assign(setting=title[s.name]) for s in shown)])
winners = [c.students.assign(setting=title[s.name], label=label(s, m)) for s in shown for m, c in best[s.name].items()]
chosen = pd.concat([nobody, *winners])
framed = chosen[["setting", "method", "strength"]].drop_duplicates().to_dict("records")
watched = chosen[["student", "setting", "start_probe_untrained"]].merge(history, on="student")

# %% [markdown]
# ## What is left of the first task, iteration by iteration
# Accuracy on the digits 0 and 1, each remedy at its chosen strength (the half-lives below name it). Iteration 0 is the network
# before its first step. The axis gives more room to high accuracies, where most remedies lie.

# %%
TIME = {"two": ("training_step", "fine-tuning iteration"), "five": ("step", "iteration over all five tasks")}


def dress(ax, panel):
    ax.set_yscale("function", functions=(lambda y: -np.log2(102 - y), lambda v: 102 - 2.0**-v))
    ax.set_yticks([tick for tick in (0, 50, 80, 90, 95, 98, 100) if tick >= ax.get_ylim()[0]])
    ax.grid(axis="y", linewidth=0.3)
    plan = panel.table.iloc[0]
    for border in range(1, 5) if plan["tasks"] == "five" else ():
        ax.axvline(border * plan["steps"], color="0.8", linewidth=0.8, zorder=0)


def tens(accuracies):
    """The ten per cent below all of them, where an axis begins."""
    return 10 * math.floor(10 * accuracies.min())


def over_iterations(table, heading, name, columns=("setting",), **more):
    """What is left of 0 and 1 in a table of evaluations; of five tasks, which need a linear axis, in a figure apart."""
    for tasks, part in table.groupby("tasks", sort=False):
        x, over = TIME[tasks]
        apart = "_five" * (tasks == "five" and table["tasks"].nunique() > 1)
        blocks.learning(
            run, part, x, "task_0", heading, columns=columns, limits=(tens(part["task_0"]), 100.3), also=dress, xlabel=over,
            ylabel="test accuracy on 0 and 1, %", name=name + apart, **more,
        )  # fmt: skip


over_iterations(watched, "Forgetting 0 and 1, mean and 95 % interval", "curves", per="method", colors=COLORS, legend="")

# %% [markdown]
# ## Old against new
# At the end, one point per strength and one line per remedy. The ring is the strength that validation chose. Up and to the
# right is better.


# %%
def tradeoff(ax, panel):
    rings = [frame for frame in framed if frame["setting"] == panel.values["setting"]]
    paths(panel.table, "task_last", "task_0", "strength", "method", COLORS, rings, ax)
    ax.set(xlabel=f"test accuracy on {LAST}, %", ylabel="test accuracy on 0 and 1, %")


if len(ends):
    blocks.facets(run, ends, tradeoff, "What the new costs the old, at the end", name="tradeoff", columns=["setting"])

# %% [markdown]
# ## Strength by remedy
# Mean over the tasks, the first task, and the last, at the end: as numbers, where what validation chose is outlined and a cross
# is a strength without a result, and as lines over the strength, where it is ringed.

# %%
MEASURES = {"mean over tasks": "test_accuracy", "0 and 1": "task_0", LAST: "task_last"}
measured = pd.concat([ends.assign(what=what, test_accuracy=ends[metric]) for what, metric in MEASURES.items()])
scaled = measured[~measured["method"].isin(["none", *FROZEN])]


def none(panel):
    """What is reached without a remedy."""
    found = select(measured, {**panel, "method": "none"})["test_accuracy"].dropna()
    return [Reference("none", 100 * found.mean(), color=COLORS["none"])] * bool(len(found))


def ring(ax, panel):
    for frame in framed:
        at = select(panel.table, frame).dropna(subset=["test_accuracy"])
        x, y = positions(at["strength"][:1], "strength"), [100 * at["test_accuracy"].mean()] * bool(len(at))
        ax.scatter(x, y, s=110, facecolors="none", edgecolors=COLORS[frame["method"]], zorder=5)


def strengths():
    upward = scaled.assign(method=pd.Categorical(scaled["method"], [*COLORS][::-1], ordered=True))
    outlined = [frame for frame in framed if frame["method"] in set(scaled["method"])]
    sides: dict = {"rows": ["setting"], "columns": ["what"]}
    by_remedy, over = "Test accuracy by remedy and strength", "Test accuracy over the strength, mean and 95 % interval"
    blocks.plane(run, upward, "strength", "method", "test_accuracy", by_remedy, framed=outlined, **sides)
    blocks.learning(
        run, scaled, "strength", "test_accuracy", over, per="method", colors=COLORS, levels=none, also=ring, name="strengths",
        limits=(tens(scaled["test_accuracy"]), 101), legend="", note="ring: chosen on validation", **sides,
    )  # fmt: skip


if len(scaled):
    strengths()

# %% [markdown]
# ## Half-lives
# Iterations until half of what was known of 0 and 1 above chance is gone, at the chosen strength: the median over the seeds and
# its interval, which needs no distribution and bears seeds that did not forget so much within the training (an arrow).


# %%
def half_lives(ax, panel):
    (setting,) = (s for s in shown if title[s.name] == panel.values["setting"])
    life = decay.medians(panel.table, ["method", "label"], "half_life")
    life = life.sort_values("method", key=lambda names: names.map([*COLORS].index))
    lifetimes(life, "label", "half_life", end[setting.name], list(life["method"].map(COLORS)), ax)
    ax.set_xlabel("half-life, iterations")


if len(chosen):
    heading = "Half-life of the first task: median over seeds, 95 % interval"
    blocks.facets(run, chosen, half_lives, heading, name="half_lives", columns=["setting"], size=(6, 3.6))

# %% [markdown]
# ## Lost, or only not said?
# A linear probe (ridge regression in closed form on 2,000 training digits 0 and 1) reads the penultimate features, beside what
# the network's own readout says. Grey: a probe on the untrained network, which is what the features need not have learnt.

# %%
READERS = {"readout": "task_0", "probe": "probe_accuracy", "untrained network, probe": "start_probe_untrained"}
TINTS = dict(zip(READERS, ("#7A5195", "#E7298A", "0.6"), strict=True))
read = pd.concat([watched.assign(reader=reader, task_0=watched[metric]) for reader, metric in READERS.items()])
over_iterations(
    read[read["method"].isin(["none", "lwf", "freeze features"])], "0 and 1: what the readout says, and what a probe reads from the features",
    "probe", columns=["setting", "method"], per="reader", colors=TINTS, legend="",
)  # fmt: skip

# %% [markdown]
# ## Which of 0 and 1 suffers, and why
# Without a remedy: accuracy on each digit; the margin (right logit less wrong); and, before the first step, what one
# step of plain gradient descent on a new digit does to the margin of an old one (per unit of learning rate). Negative: it is
# pushed towards the wrong class.

# %%
OLD, NEW = {"0": "#0072B2", "1": "#D55E00"}, {"2": "#56B4E9", "3": "#E69F00"}
alone = watched[(watched["method"] == "none") & (watched["tasks"] == "two")]


def nought(ax, panel):
    ax.axhline(0, color="0.5", linewidth=0.8, zorder=0)


def digits():
    each = [alone.assign(digit=d, accuracy=alone[f"accuracy_{d}"], margin=alone[f"margin_{d}"]) for d in OLD | NEW]
    pulled = [alone.assign(digit=o, new=f"a new {n}", pull=alone[f"pull_{o}_{n}"]) for o in OLD for n in NEW]
    by_digit: dict = {"per": "digit", "columns": ["setting"], "colors": OLD | NEW}
    over: dict = {**by_digit, "xlabel": TIME["two"][1], "legend": "digit"}
    about = "of each digit without a remedy"
    blocks.learning(
        run, pd.concat(each), "training_step", "accuracy", f"Accuracy {about}", ylabel="test accuracy, %", name="digits", **over
    )
    blocks.learning(
        run, pd.concat(each[:2]), "training_step", "margin", f"Margin {about}", ylabel="margin, nats", name="margins", share=False,
        also=nought, **over,
    )  # fmt: skip
    blocks.intervals(
        run, pd.concat(pulled), "new", "pull", "First-order pull of a new digit on the margin of an old one", name="pulls", share=False,
        xlabel="one step on", ylabel="change of the old margin / lr", also=nought, **by_digit | {"colors": OLD},
    )  # fmt: skip


if len(alone):
    digits()

# %% [markdown]
# ## Five tasks, beside the published table
# Mean accuracy over the five tasks at the end. Pale bars are Hsu et al. 2018, Table 2, of the same protocol: five pairs
# in turn, one head of two outputs, MLP 2 x 400 on 32 x 32 images, batches of 128, four epochs a task, Adam at 0.001 (SGD at 0.01) that
# keeps its moments between tasks, a memory of 1,100 or 4,400 digits. Where we differ: 1/12 of the training digits are held out
# and choose the strength (their published code has one coefficient each, 0.5 for L2 and 100 for EWC, which are strengths 1 and 200 here);
# rehearsal takes 128 old digits beside 128 new ones (theirs mixes both in batches of 128, so it takes twice as many steps); EWC
# has the exact Fisher information of 1,000 digits (theirs squares gradients of whole batches at the predicted class).

# %%
PAPER = "arXiv 1810.12488, Table 2"
# mean over ten runs, in per cent; our optimiser and method, or none where we have no such method
PUBLISHED = {
    "Adam": (55.16, ("adam", "none")), "SGD": (63.20, ("sgd", "none")), "L2": (66.00, ("adam", "l2")), "EWC": (58.85, ("adam", "ewc")),
    "SI": (64.76, ("", "")), "MAS": (68.57, ("", "")), "LwF": (71.02, ("adam", "lwf")), "naive rehearsal": (95.16, ("adam", "rehearsal 1100")),
    "naive rehearsal-C": (97.11, ("adam", "rehearsal 4400")), "offline": (98.59, ("", "")),
}  # fmt: skip
THEIRS = {"network": "mlp", "lr": 1e-3, "optimiser": "adam"}, {"network": "mlp", "lr": 1e-2, "optimiser": "sgd"}
alike = {recipe["optimiser"]: s for recipe in THEIRS for s in settings if five[s.name] and len(select(s.cells, recipe))}


def beside():
    rungs, lines = [], []
    for name, (value, (optimiser, method)) in sorted(PUBLISHED.items(), key=lambda line: line[1]):
        rungs.append(blocks.rung(f"{name}, published", [value / 100], "published", "test_accuracy"))
        line = {"published": name, "%": f"{value:.2f}", "ours": "", "mean, %": "", "difference": ""}
        if optimiser in alike and method in best[alike[optimiser].name]:
            told, got = f"{optimiser}, {label(alike[optimiser], method)}", best[alike[optimiser].name][method].by_seed()
            rungs.append(blocks.rung(told, got, method, "test_accuracy"))
            line |= {"ours": told, "mean, %": tell.percent(got, 2), "difference": f"{100 * got.mean() - value:+.2f}"}
        lines.append(line)
    kinds = {"published": "0.85", **COLORS}
    heading = "Five tasks: mean test accuracy at the end"
    blocks.ladder(run, rungs, "test_accuracy", heading, kinds, descending=None, name="five", note=f"pale: {PAPER}")
    run.show(lines)


if alike:
    beside()

# %% [markdown]
# ## Learning rates, optimisers, widths
# Drawn where the run has many learning rates, for plain fine-tuning: how long the old lasts, and at what price the new is
# learnt. Half-lives are medians over seeds.

# %%
parts = run.settings(but=(*OTHER, "lr"), cells=cells[cells["method"] == "none"], canonical=True)
groups = [g for g in parts if rates and len(g.done) and g.cells["tasks"].iloc[0] == "two"]
network = {g.name: g.cells["network"].iloc[0] for g in groups}
kind = {g.name: named(g.axes, but=["network"]) or g.cells["optimiser"].iloc[0] for g in groups}
called = {name: f"{network[name]}, {kind[name]}" for name in kind}
fastest = choices(groups, ["lr"])
SHARES = {"0 and 1 at the end, %": "task_0", "2 and 3 at the end, %": "task_1"}


# %%
def over_rates():
    lines = pd.concat([g.students.assign(kind=kind[g.name], setting=called[g.name]) for g in groups])
    watched = lines[["student", "kind", "setting"]].merge(history, on="student")
    last = int(watched["since"].max())
    lived = lines.assign(what="half-life, iterations", value=lines["half_life"])
    rows = [lived, *(lines.assign(what=what, value=100 * lines[metric]) for what, metric in SHARES.items())]
    kinds = [*dict.fromkeys(kind.values())]

    def middle(table, by, metric):
        if table["what"].iloc[0] in SHARES:
            return statistics.summarise(table, by, metric)
        return decay.medians(table, by, metric).replace(math.inf, 2 * last)

    def side(ax, panel):
        ax.set(ylabel=panel.values["what"], title=panel.values["network"])
        for line in ax.lines:
            line.set_linestyle("--" if "sgd" in str(line.get_label()) else "-")
        if panel.place[0] == 0:
            logarithmic(ax, "y")
            ax.axhline(last, color="0.8", linewidth=0.8, zorder=0)
        else:
            ax.set_ylim(0, 101)

    blocks.learning(
        run, pd.concat(rows), "lr", "value", "Plain fine-tuning over the learning rate, 95 % intervals", per="kind", rows=["what"],
        columns=["network"], colors=dict(zip(kinds, palette(range(len(kinds))).values(), strict=True)), also=side, summary=middle,
        xlabel="learning rate", legend="", name="rates", share="row",
        note=f"above the grey line: half of the seeds or more did not lose half within {last} iterations",
    )  # fmt: skip
    wrap = max(list(network.values()).count(name) for name in network.values())
    heading = "Plain fine-tuning: what is left of 0 and 1, by learning rate"
    over_iterations(watched, heading, "rate_curves", per="lr", legend="learning rate", wrap=wrap)


if groups:
    over_rates()

# %% [markdown]
# ## What came out
# Computed from the rows. Differences are paired by seed; of the remedies of a network they are Holm-corrected together.


# %%
def values(setting, method, metric):
    return best[setting.name][method].by_seed(metric)


def brief(iterations, last):
    """`97`, `1.4`, `below 1`, `beyond 200`"""
    if math.isinf(iterations):
        return f"beyond {last}"
    return f"{iterations:.0f}" if iterations >= 9.95 else f"{iterations:.1f}" if iterations >= 1 else "below 1"


def life(setting, method):
    """`97 (42 to beyond 200)`"""
    found = decay.median(values(setting, method, "half_life"))
    middle, low, high = (brief(v, end[setting.name]) for v in (found.mean, found.low, found.high))
    return middle if math.isnan(found.low) else f"{middle} ({low} to {high})"


def remedies(setting):
    """A line for each remedy at its chosen strength: what it keeps, and how much more than none does."""
    ours, held = best[setting.name], [m for m in best[setting.name] if m != "none"]
    pairs = {m: (values(setting, m, "task_0"), values(setting, "none", "task_0")) for m in held if "none" in ours}
    against = statistics.compare(pairs, ["method"]).set_index("method")
    words = {"more": "keeps more", "less": "keeps less", "open": "not told from none"}
    for method in ours:
        left, mean, probe = (values(setting, method, metric) for metric in ("task_0", "test_accuracy", "probe_accuracy"))
        gain = against["difference"].get(method)
        yield {
            "": title[setting.name], "remedy": label(setting, method), "0 and 1 at the end": tell.percent(left),
            "mean over tasks": tell.percent(mean), "half-life, iterations": life(setting, method),
            "0 and 1 by a probe": tell.percent(probe) if len(probe) else "", "more than none on 0 and 1": tell.points(gain) if gain else "",
            "so it": words[against["told"][method]] if gain and gain.n > 1 else "",
        }  # fmt: skip


run.show([line for s in shown for line in remedies(s)], "Remedies at their chosen strengths")


# %%
def by_rate(group):
    """How long the old lasts over the learning rates of a network and optimiser, and the rate that validation chooses."""
    lives = decay.medians(group.students, ["lr"], "half_life").set_index("lr")["half_life"]
    choice = fastest[group.name]
    return {
        "": called[group.name], "shortest half-life": f"{brief(lives.min(), max(end.values()))} (lr {lives.idxmin():g})",
        "half of the seeds keep half at lr": ", ".join(f"{lr:g}" for lr in lives.index[np.isinf(lives)]),
        "chosen lr": f"{choice.best['lr']:g}", **{what: tell.percent(choice.by_seed(metric)) for what, metric in SHARES.items()},
    }  # fmt: skip


if groups:
    run.show([by_rate(g) for g in groups], "Plain fine-tuning by learning rate, the rate chosen by the mean over tasks")

overall = choose_each(chosen, "setting", ["method"])


def answers(setting):
    """What plain fine-tuning does, and which remedy validation chooses."""
    head = f"**{title[setting.name]}**"
    if "none" in best[setting.name]:
        known, left, lost, area = (values(setting, "none", m) for m in ("start_task_0", "task_0", "backward_transfer", "area"))
        yield (
            f"{head}: from {tell.percent(known)} on 0 and 1, plain fine-tuning ends at {tell.percent(left)}; half-life "
            f"{life(setting, 'none')} iterations; backward transfer {tell.points(statistics.interval(lost))}; area {area.mean():.3f}."
        )
    verdict = overall[title[setting.name]]
    if len(verdict.rivals):
        told = tell.choice(verdict, lambda cell: cell["method"], most=8)
        yield f"{head}: validation chooses {label(setting, verdict.best['method'])} by the mean over tasks. {told}"
    lost = [method for method in dict.fromkeys(setting.cells["method"]) if method not in best[setting.name]]
    if lost:
        yield f"{head}: no student of {tell.listing(lost, most=8)} has a result."


# %%
def digit_sentence(setting):
    """Which old digit suffers, and whether it is the one that is pulled."""
    plain = best[setting.name]["none"].by_seed
    loss = {d: plain(f"start_accuracy_{d}") - plain(f"accuracy_{d}") for d in (0, 1)}
    more = int(loss[1].mean() > loss[0].mean())
    difference = statistics.paired(loss[more], loss[1 - more])
    told = "beyond noise" if difference.low > 0 else "which the seeds do not tell from equal losses"
    pulls = {d: {n: plain(f"start_pull_{d}_{n}").mean() for n in (2, 3)} for d in (0, 1)}
    due = min(pulls, key=lambda d: sum(pulls[d].values()))
    worst = min(pulls[due], key=lambda n: pulls[due][n])
    first = plain(f"lost_{due}") < plain(f"lost_{1 - due}")
    twos, threes = (100 * (1 - plain(f"start_accuracy_{n}").mean()) for n in (2, 3))
    return (
        f"**{title[setting.name]}**: without a remedy {more} ends with the larger loss, by {tell.points(difference)}, {told}. The old "
        f"network calls {twos:.0f} % of the 2s class 1 and {threes:.0f} % of the 3s class 0, wrongly; one step on the {worst}s "
        f"moves the margin of {due} by {pulls[due][worst]:.0f} per unit of learning rate, so {due} should go first: it is the first to "
        f"lose 5 points in {first.sum()} of {len(first)} seeds."
    )


def probe_sentence(setting):
    read, said, blank = (values(setting, "none", m) for m in ("probe_accuracy", "task_0", "start_probe_untrained"))
    gap = statistics.paired(read, said)
    untrained = "" if five[setting.name] else f" (from untrained features: {tell.percent(blank)})"
    where = "the readout lost more than the features" if gap.low > 0 else "not told from the readout"
    return (
        f"**{title[setting.name]}**: without a remedy a linear probe still reads 0 and 1 from the features at {tell.percent(read)}{untrained}, "
        f"{tell.points(gap)} above the readout: {where}."
    )


# %%
def optimiser_sentences():
    for adam in (g for g in groups if "adam" in g.axes.values()):
        for sgd in (g for g in groups if g.axes == {**adam.axes, "optimiser": "sgd"}):
            a, b = fastest[sgd.name], fastest[adam.name]
            old, new = (statistics.paired(a.by_seed(metric), b.by_seed(metric)) for metric in ("task_0", "task_1"))
            yield (
                f"**{called[adam.name]}**: SGD less Adam, each at its chosen lr, uncorrected: {tell.points(old)} on 0 and 1 "
                f"({tell.moves(old)}), {tell.points(new)} on 2 and 3 ({tell.moves(new)})."
            )
    if groups:
        without = tell.count(len(settings) - len(shown), "setting")
        yield f"{without} of {len(settings)} have no remedy: they are lines under learning rates, and the other figures have no panel of them."


plainly = [s for s in shown if "none" in best[s.name]]
details = [
    *(digit_sentence(s) for s in plainly if not five[s.name]),
    *(probe_sentence(s) for s in plainly if s.cells["network"].iloc[0] != "logistic"),
    *optimiser_sentences(),
]
run.close([line for s in shown for line in answers(s)], details)
