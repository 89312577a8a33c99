# %% [markdown]
# # How does a model forget?
#
# A network with two outputs learns the digits 0 and 1, then goes on to the next pair: 2 as class 0, 3 as class 1. No old digit is
# shown any more, save to rehearsal. How long does it keep what it knew, which of 0 and 1 goes first, and what holds it? The
# loss is CE(new digits) + strength × remedy; the remedies are L2 towards the old weights, EWC (the same, weighted by the
# Fisher information), LwF (the old network's answers on the new digits), rehearsal of a few old digits, and frozen layers.
#
# The strength of a remedy is chosen on validation by the mean accuracy over the tasks at the end; a strength that lost seeds is
# ranked on those it has left. Everything shown is measured on test. Every number is a mean over seeds with Student's 95 % interval;
# differences are paired by seed.

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
from analysis.core.figures.scales import palette, positions
from analysis.core.settings import select

SHORT = {"width": "width {:g}", "lr": "lr {:g}", "tasks": "{} tasks"}
WORDS = dict.fromkeys(("network", "optimiser", "setting", "what", "method"), "{}")
run = report.open("forgetting", words=SHORT | WORDS)
sizes = sorted(run.asked.loc[run.asked["remedy"] == "rehearsal", "memory"].unique())
REHEARSALS = [f"rehearsal {size}" for size in sizes] if len(sizes) > 1 else ["rehearsal"]
LOSSES = {"none": "#000000", "l2": "#E69F00", "ewc": "#56B4E9", "lwf": "#009E73"}
FROZEN = {"freeze first": "#CC79A7", "freeze features": "#D55E00", "freeze readout": "#999999"}
COLORS = {**LOSSES, **dict(zip(REHEARSALS, cycle(("#0072B2", "#00305C", "#6BAED6")), strict=False)), **FROZEN}

# %% [markdown]
# ## What is compared
# Remedies, each at its best strength, where all else is equal; every memory of rehearsal is a remedy of its own. What has no remedy
# at many learning rates is drawn over the learning rate instead.


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
starts = history[history["since"] == 0].set_index("student").add_prefix("start_")
times = {f"lost_{digit}": decay.first_losses(history, f"accuracy_{digit}") for digit in (0, 1)}
known = starts.join(decay.decays(history, "task_0")).assign(**times)
cells = prepared(run.asked).join(known, on="student")
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
SIDES: dict = {"rows": ["setting"], "columns": ["what"]}


def label(setting, method):
    """`ewc, 1000`, `freeze first`"""
    fixed = method == "none" or method in FROZEN
    return method if fixed else f"{method}, {best[setting.name][method].best['strength']:g}"


def winners(setting):
    """The students at the strengths that were chosen."""
    each = best[setting.name].items()
    return [c.students.assign(setting=title[setting.name], label=label(setting, m)) for m, c in each]


nobody = cells[:0].assign(setting="", label="")
ends = pd.concat([nobody, *(s.cells.assign(setting=title[s.name]) for s in shown)])
chosen = pd.concat([nobody, *(part for s in shown for part in winners(s))])
framed = chosen[["setting", "method", "strength"]].drop_duplicates().to_dict("records")
watched = chosen[["student", "setting"]].merge(history, on="student").join(known["start_probe_untrained"], on="student")

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


def over_iterations(table, heading, per, name, columns=("setting",), **more):
    """What is left of 0 and 1 in a table of evaluations; of five tasks, which need a linear axis, in a figure apart."""
    for tasks, part in table.groupby("tasks", sort=False):
        x, over = TIME[tasks]
        suffix = "_five" * (tasks == "five" and table["tasks"].nunique() > 1)
        limits = tens(part["task_0"]), 100.3
        blocks.learning(
            run, part, x, "task_0", heading, per=per, columns=columns, limits=limits, also=dress, xlabel=over,
            ylabel="test accuracy on 0 and 1, %", name=name + suffix, **more,
        )  # fmt: skip


over_iterations(watched, "Forgetting 0 and 1, mean and 95 % interval", "method", "curves", colors=COLORS, legend="")

# %% [markdown]
# ## Old against new
# At the end, one point per strength and one line per remedy. The ring is the strength that validation chose. Up and to the
# right is better.


# %%
def tradeoff():
    places = blocks.panels(run, ends, columns=["setting"])
    figure, axes = blocks.grid(places, 5.6, 4.2)
    for panel, ax in zip(places, axes, strict=True):
        rings = [frame for frame in framed if frame["setting"] == panel.values["setting"]]
        paths(panel.table, "task_last", "task_0", "strength", "method", COLORS, rings, ax)
        ax.set(xlabel=f"test accuracy on {LAST}, %", ylabel="test accuracy on 0 and 1, %")
    fullest = max((ax.get_legend_handles_labels() for ax in axes), key=lambda legend: len(legend[1]))
    figure.legend(*fullest, loc="outside lower center", ncols=4 * len(axes), fontsize=9)
    figure.suptitle(run.title("What the new costs the old, at the end"), fontsize=11)
    run.figure(figure, "tradeoff")


if len(ends):
    tradeoff()

# %% [markdown]
# ## Strength by remedy
# Mean over the tasks, the first task, and the last, at the end: as numbers, where what validation chose is outlined and a cross
# is a strength without a result, and as lines over the strength, where it is ringed.

# %%
MEASURES = {"mean over tasks": "test_accuracy", "0 and 1": "task_0", LAST: "task_last"}
measured = pd.concat([ends.assign(what=what, test_accuracy=ends[metric]) for what, metric in MEASURES.items()])
scaled = measured[~measured["method"].isin(["none", *FROZEN])]
upward = scaled.assign(method=pd.Categorical(scaled["method"], [*COLORS][::-1], ordered=True))


def none(panel):
    """What is reached without a remedy."""
    found = select(measured, {**panel, "method": "none"})["test_accuracy"].dropna()
    return [Reference("none", 100 * found.mean(), color=COLORS["none"])] * bool(len(found))


def ring(ax, panel):
    for frame in framed:
        at = select(panel.table, frame).dropna(subset=["test_accuracy"])
        x, y = positions(at["strength"][:1], "strength"), [100 * at["test_accuracy"].mean()] * bool(len(at))
        ax.scatter(x, y, s=110, facecolors="none", edgecolors=COLORS[frame["method"]], zorder=5)


if len(scaled):
    by_remedy, over = "Test accuracy by remedy and strength", "Test accuracy over the strength, mean and 95 % interval"
    outlined = [frame for frame in framed if frame["method"] in set(scaled["method"])]
    blocks.plane(run, upward, "strength", "method", "test_accuracy", by_remedy, framed=outlined, **SIDES)
    blocks.learning(
        run, scaled, "strength", "test_accuracy", over, per="method", colors=COLORS, levels=none, limits=(tens(scaled["test_accuracy"]), 101), also=ring,
        name="strengths", legend="", note="ring: chosen on validation", **SIDES,
    )  # fmt: skip

# %% [markdown]
# ## Half-lives
# Iterations until half of what was known of 0 and 1 above chance is gone, at the chosen strength: the median over the seeds and
# its interval, which needs no distribution and bears seeds that did not forget so much within the training (an arrow).


# %%
def half_lives():
    places = blocks.panels(run, chosen, columns=["setting"])
    figure, axes = blocks.grid(places, 6, 3.6)
    for setting, panel, ax in zip(shown, places, axes, strict=True):
        life = decay.medians(panel.table, ["method", "label"], "half_life")
        life = life.sort_values("method", key=lambda names: names.map([*COLORS].index))
        lifetimes(life, "label", "half_life", end[setting.name], list(life["method"].map(COLORS)), ax)
        ax.set_xlabel("half-life, iterations")
    figure.suptitle(run.title("Half-life of the first task: median over seeds, 95 % interval"), fontsize=11)
    run.figure(figure, "half_life")


if len(chosen):
    half_lives()

# %% [markdown]
# ## Lost, or only not said?
# A linear probe (ridge regression in closed form on 2,000 training digits 0 and 1) reads the penultimate features, beside what
# the network's own readout says. Grey: a probe on the untrained network, which is what the features need not have learnt.

# %%
READERS = {"readout": ("#7A5195", "task_0"), "probe": ("#E7298A", "probe_accuracy"), "untrained network, probe": ("0.6", "start_probe_untrained")}  # fmt: skip
READ = "0 and 1: what the readout says, and what a probe reads from the features"
read = pd.concat([watched.assign(reader=reader, task_0=watched[metric]) for reader, (_, metric) in READERS.items()])
over_iterations(
    read[read["method"].isin(["none", "lwf", "freeze features"])], READ, "reader", "probe", columns=["setting", "method"],
    colors={reader: color for reader, (color, _) in READERS.items()}, legend="",
)  # fmt: skip

# %% [markdown]
# ## Which of 0 and 1 suffers, and why
# Without a remedy: accuracy on each digit; the margin (right logit less wrong); and, before the first step, what one
# step of plain gradient descent on a new digit does to the margin of an old one (per unit of learning rate). Negative: it is
# pushed towards the wrong class.

# %%
OLD, NEW = {"0": "#0072B2", "1": "#D55E00"}, {"2": "#56B4E9", "3": "#E69F00"}
alone = watched[(watched["method"] == "none") & (watched["tasks"] == "two")]


def digits():
    each = [alone.assign(digit=d, accuracy=alone[f"accuracy_{d}"], margin=alone[f"margin_{d}"]) for d in OLD | NEW]
    pulled = [alone.assign(digit=o, new=f"a new {n}", pull=alone[f"pull_{o}_{n}"]) for o in OLD for n in NEW]
    about: dict = {"per": "digit", "columns": ["setting"], "colors": OLD}
    over = {**about, "xlabel": "fine-tuning iteration", "legend": "digit"}
    every = {**over, "colors": OLD | NEW}
    accuracy, margin = "Accuracy on each digit without a remedy", "Margins of the old digits without a remedy"
    blocks.learning(
        run, pd.concat(each), "training_step", "accuracy", accuracy, ylabel="test accuracy, %", name="digits", **every
    )
    blocks.learning(
        run, pd.concat(each[:2]), "training_step", "margin", margin, ylabel="margin, nats", name="margins", share=False,
        also=lambda ax, panel: ax.axhline(0, color="0.6", linewidth=0.8, zorder=0), **over,
    )  # fmt: skip
    blocks.intervals(
        run, pd.concat(pulled), "new", "pull", "First-order pull of a new digit on the margin of an old one", name="pulls", share=False,
        xlabel="one step on", ylabel="change of the old margin / lr", also=lambda ax, panel: ax.axhline(0, color="0.3", linewidth=0.8), **about,
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
ours = {
    name: (f"{optimiser}, {label(alike[optimiser], method)}", best[alike[optimiser].name][method], method)
    for name, (_, (optimiser, method)) in PUBLISHED.items()
    if optimiser in alike and method in best[alike[optimiser].name]
}


def beside():
    rungs, lines = [], []
    for name, (value, _) in sorted(PUBLISHED.items(), key=lambda line: line[1]):
        rungs.append(blocks.rung(f"{name}, published", [value / 100], "published", "test_accuracy"))
        line = {"published": name, "%": f"{value:.2f}", "ours": "", "mean, %": "", "difference": ""}
        if name in ours:
            told, choice, method = ours[name]
            got = statistics.interval(choice.by_seed())
            rungs.append(blocks.rung(told, choice.by_seed(), method, "test_accuracy"))
            line |= {"ours": told, "mean, %": tell.percent(got, 2), "difference": f"{100 * got.mean - value:+.2f}"}
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
most = max((list(network.values()).count(n) for n in network.values()), default=1)
SHARES = {"0 and 1 at the end, %": "task_0", "2 and 3 at the end, %": "task_1"}


# %%
def over_rates():
    lines = pd.concat([g.students.assign(kind=kind[g.name], setting=called[g.name]) for g in groups])
    watched = lines[["student", "kind", "setting"]].merge(history, on="student")
    last = int(watched["since"].max())
    lived = lines.assign(what="half-life, iterations", value=lines["half_life"])
    rows = [lived, *(lines.assign(what=what, value=100 * lines[metric]) for what, metric in SHARES.items())]
    kinds = [*dict.fromkeys(kind.values())]
    shades = dict(zip(kinds, palette(range(len(kinds))).values(), strict=True))

    def middle(table, by, metric):
        if table["what"].iloc[0] in SHARES:
            return statistics.summarise(table, by, metric)
        return decay.medians(table, by, metric).replace(math.inf, 2 * last)

    def side(ax, panel):
        ax.set(ylabel=panel.values["what"], title=panel.values["network"])
        for line in ax.lines:
            line.set_linestyle("--" if "sgd" in str(line.get_label()) else "-")
        if panel.place[0] == 0:
            ax.set_yscale("log")
            ax.axhline(last, color="0.8", linewidth=0.8, zorder=0)
        else:
            ax.set_ylim(0, 101)

    note = f"above the grey line: half of the seeds or more did not lose half within {last} iterations"
    blocks.learning(
        run, pd.concat(rows), "lr", "value", "Plain fine-tuning over the learning rate, 95 % intervals", per="kind", rows=["what"],
        columns=["network"], colors=shades, also=side, summary=middle, xlabel="learning rate", legend="", name="rates",
        note=note, share="row",
    )  # fmt: skip
    heading = "Plain fine-tuning: what is left of 0 and 1, by learning rate"
    over_iterations(watched, heading, "lr", "rate_curves", legend="learning rate", wrap=most)


if groups:
    over_rates()

# %% [markdown]
# ## What came out
# Computed from the rows. Differences are paired by seed; of the remedies of a network they are Holm-corrected together.


# %%
def values(setting, method, metric):
    return best[setting.name][method].by_seed(metric)


def brief(iterations):
    """`97`, `1.4`, `below 1`"""
    return f"{iterations:.0f}" if iterations >= 9.95 else f"{iterations:.1f}" if iterations >= 1 else "below 1"


def life(setting, method):
    found = decay.median(values(setting, method, "half_life"))
    middle, low, high = (
        brief(v) if math.isfinite(v) else f"beyond {end[setting.name]}" for v in (found.mean, found.low, found.high)
    )
    between = f"{low} to {high}" if math.isfinite(found.low) else low
    return f"median half-life {middle} iterations" + f" (95 % interval {between})" * (not math.isnan(found.low))


overall = choose_each(chosen, "setting", ["method"])


def answers(setting):
    """What plain fine-tuning does, and which remedy validation chooses."""
    head = f"**{title[setting.name]}**"
    if "none" in best[setting.name]:
        known, left, lost, area = (
            values(setting, "none", m) for m in ("start_task_0", "task_0", "backward_transfer", "area")
        )
        yield (
            f"{head}: from {tell.percent(known)} on 0 and 1, plain fine-tuning ends at {tell.percent(left)}; {life(setting, 'none')}; "
            f"backward transfer {tell.points(statistics.interval(lost))}; area {area.mean():.3f}."
        )
    verdict = overall[title[setting.name]]
    if len(verdict.rivals):
        told = tell.choice(verdict, lambda cell: cell["method"], most=8)
        yield f"{head}: validation chooses {label(setting, verdict.best['method'])} by the mean over tasks. {told}"


# %%
def remedies(setting):
    """What each remedy keeps, against none."""
    head, held = f"**{title[setting.name]}**", [m for m in best[setting.name] if m != "none"]
    with_none = held if len(held) < len(best[setting.name]) else []
    pairs = {m: (values(setting, m, "task_0"), values(setting, "none", "task_0")) for m in with_none}
    against = statistics.compare(pairs, ["method"]).set_index("method")
    words = {"more": "keeps more than none", "less": "keeps less than none", "open": "not told from none"}
    for method in held:
        left, mean = (tell.percent(values(setting, method, metric)) for metric in ("task_0", "test_accuracy"))
        said = f"{head}, {label(setting, method)}: 0 and 1 end at {left}, the mean over tasks at {mean}"
        if method in against.index and against["n"][method] > 1:
            gain = tell.points(against["difference"][method])
            said += f"; against none {gain} on 0 and 1: {words[against['told'][method]]}"
        yield f"{said}; {life(setting, method)}."
    lost = [method for method in dict.fromkeys(setting.cells["method"]) if method not in best[setting.name]]
    if lost:
        yield f"{head}: no student of {tell.listing(lost, most=8)} has a result."


# %%
def digit_sentence(setting):
    """Which old digit suffers, and whether it is the one that is pulled."""

    def plain(metric):
        return values(setting, "none", metric)

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
    untrained = "" if five[setting.name] else f" (untrained features: {tell.percent(blank)})"
    where = "so the readout lost more than the features" if gap.low > 0 else "not told from the readout"
    return (
        f"**{title[setting.name]}**: without a remedy a linear probe still reads 0 and 1 from the features at {tell.percent(read)}{untrained}, "
        f"{tell.points(gap)} above the readout: {where}."
    )


# %%
fastest = choices(groups, ["lr"])


def rate_sentence(group):
    """How long the old lasts over the learning rates of a network and optimiser, and the rate that validation chooses."""
    lives = decay.medians(group.students, ["lr"], "half_life").set_index("lr")["half_life"]
    kept = ", ".join(f"{lr:g}" for lr in lives.index[np.isinf(lives)])
    said = [f"the shortest half-life is {brief(lives.min())} iterations (lr {lives.idxmin():g})"] * bool(
        lives.min() < math.inf
    )
    said += [f"at lr {kept} half of the seeds or more keep more than half"] * bool(kept)
    old, new = (tell.percent(fastest[group.name].by_seed(metric)) for metric in ("task_0", "task_1"))
    return (
        f"**{called[group.name]}**: {'; '.join(said)}. By the mean over tasks validation chooses lr "
        f"{fastest[group.name].best['lr']:g}, where 0 and 1 end at {old} and 2 and 3 at {new}."
    )


# %%
def optimiser_sentences():
    for adam in groups:
        twin = {**adam.axes, "optimiser": "sgd"}
        for sgd in (g for g in groups if "adam" in adam.axes.values() and g.axes == twin):
            a, b = fastest[sgd.name], fastest[adam.name]
            old, new = (statistics.paired(a.by_seed(metric), b.by_seed(metric)) for metric in ("task_0", "task_1"))
            yield (
                f"**{called[adam.name]}**: SGD less Adam, each at its chosen lr, uncorrected: {tell.points(old)} on 0 and 1 "
                f"({tell.moves(old)}), {tell.points(new)} on 2 and 3 ({tell.moves(new)})."
            )
    if groups:
        without = tell.count(len(settings) - len(shown), "setting")
        yield (
            f"{without} of {len(settings)} have no remedy: they are lines under learning rates, and the figures above have no panel of them."
        )


plainly = [s for s in shown if "none" in best[s.name]]
answer = [line for s in shown for line in answers(s)] + [rate_sentence(g) for g in groups]
details = [
    *(line for s in shown for line in remedies(s)),
    *(digit_sentence(s) for s in plainly if not five[s.name]),
    *(probe_sentence(s) for s in plainly if s.cells["network"].iloc[0] != "logistic"),
    *(f"Five tasks, {told}: {tell.published(name, choice.by_seed(), PUBLISHED[name][0], PAPER)}." for name, (told, choice, _) in ours.items()),
    *optimiser_sentences(),
]  # fmt: skip
run.close(answer, details)
