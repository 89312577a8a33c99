# %% [markdown]
# # How does a model forget?
#
# A network with two outputs learns the digits 0 and 1, then goes on to the next pair: 2 as class 0, 3 as class 1. No old digit is
# shown any more, save to rehearsal. How long does it keep what it knew, which of 0 and 1 goes first, and what holds it? The
# loss is CE(new digits) + strength × remedy; the remedies are L2 towards the old weights, EWC (the same, weighted by the
# Fisher information), LwF (the old network's answers on the new digits), rehearsal of a few old digits, and frozen layers.
#
# Remedies are compared, each at its best strength, where all else is equal (a setting); every memory of rehearsal is a remedy of its
# own. The strength is chosen on validation by the mean accuracy over the tasks at the end.

# %%
from collections import Counter

import pandas as pd

from analysis.core import blocks, decay, report, statistics, tell
from analysis.core.choice import choose, choose_each
from analysis.core.figures.lifetimes import lifetimes, over_rates, over_tasks
from analysis.core.figures.paths import paths
from analysis.core.figures.references import levels
from analysis.core.figures.scales import palette
from analysis.core.settings import by_seed, select, stacked

OPTIMISERS = {"adam": "Adam", "sgd": "SGD"}
WORDS: report.Words = {"lr": "lr {:g}", "tasks": "{} tasks", "network": tell.network, "optimiser": OPTIMISERS}
run = report.open("forgetting", words={**WORDS, "width": lambda units: f"width {units}" * bool(units)})
cells, history = decay.tables(run.asked, run.history, run.table("starts"), run.axes)
LOSSES = {"none": "#000000", "L2": "#E69F00", "EWC": "#56B4E9", "LwF": "#009E73"}
FROZEN = {"freeze first": "#CC79A7", "freeze features": "#D55E00", "freeze readout": "#999999"}
REHEARSALS = [name for name in cells["method"].cat.categories if name.startswith("rehearsal")]
BLUES = dict(zip(REHEARSALS, len(REHEARSALS) * ("#0072B2", "#00305C", "#6BAED6"), strict=False))
COLORS = {**LOSSES, **BLUES, **FROZEN}
FIXED = ("none", *FROZEN)  # have no strength

# %%
OTHER = ("remedy", "strength", "memory")
parts = run.settings(but=OTHER, first=["network"], cells=cells, canonical=True)
settings = {s.title: s for s in parts if len(s.done)}
best = {title: choose_each(s.students, "method", ["strength"], margin=run.margin) for title, s in settings.items()}
many = cells["lr"].nunique() > 2  # then what has no remedy is drawn over the learning rate instead
shown = [title for title in settings if not many or set(best[title]) != {"none"}]


def label(title, method):
    """`EWC, strength 1,000`, `freeze first`"""
    return method if method in FIXED else f"{method}, strength {best[title][method].best['strength']:,g}"


nobody = cells[:0].assign(setting="", label="")
ends = pd.concat([nobody, *(settings[title].cells.assign(setting=title) for title in shown)])
picked = [(title, method, choice) for title in shown for method, choice in best[title].items()]
chosen = pd.concat([nobody, *(c.students.assign(setting=title, label=label(title, m)) for title, m, c in picked)])
watched = chosen[["student", "setting", "method", "start_probe_untrained"]].merge(history, on="student")

# %% [markdown]
# ## What is left of the first task
# Accuracy on the digits 0 and 1 over the iterations, each remedy at its chosen strength; iteration 0 is the network before its first
# step, and the scale is not even: it gives more room to high accuracies. Half-lives are the iterations until half of what was known above chance is
# gone: the median over the seeds with its interval, which needs no distribution but six seeds, and bears those that did not forget so
# much within the training (an arrow). Area: the mean accuracy over the logarithm of the iterations. Differences are Holm-corrected in
# each setting.


# %%
def kept(title):
    """A line for each remedy at its chosen strength: what it keeps, and how much more than none does."""
    old = {method: choice.by_seed("task_0") for method, choice in best[title].items()}
    base = old.get("none", pd.Series(dtype=float))
    gains = tell.against({m: left for m, left in old.items() if m != "none"}, base, "it keeps more", "it keeps less")
    for method in settings[title].cells["method"].unique():
        line = {"setting": title, "remedy": method, "0 and 1 at the end": "no student has a result"}
        if choice := best[title].get(method):
            line |= {"remedy": label(title, method), "0 and 1 at the end": tell.percent(old[method])}
            line |= {"more than none": gains.get(method, ""), "mean over tasks": tell.percent(choice.by_seed())}
            line["half-life, iterations"] = decay.lifetime(choice.students)
            line["area"] = f"{choice.by_seed('area').mean():.3f}"
            line["backward transfer"] = tell.points(choice.by_seed("backward_transfer"))
        yield line


left, lives = blocks.drawn(over_tasks, "method", COLORS), blocks.drawn(lifetimes, "method", "label", COLORS)
spans = decay.medians(chosen, ["setting", "method"], "half_life")["low"].notna()
half = "Half-life of the first task, median over seeds" + " and 95 % interval" * bool(spans.any())
FEW = "the median of fewer than six seeds has no 95 % interval" * (not spans.all())
over_time: dict = {"columns": ["setting"], "share": True}
blocks.facets(run, watched, left, "Forgetting 0 and 1", name="curves", spread=True, **over_time)
blocks.facets(run, chosen, lives, half, name="half_lives", columns=["setting"], size=(6, 3.6), note=FEW)
run.show([line for title in shown for line in kept(title)], "Remedies at their chosen strengths")

# %% [markdown]
# ## Strength by remedy
# At the end: old against new, one point per strength and one line per remedy (up and to the right is better); then the mean over
# the tasks, the first and the last pair (2 and 3, or 8 and 9 of five) as numbers, where a cross is a strength without a result, and
# as lines. What validation chose is framed boldly and ringed; other frames are strengths whose mean over the tasks is as good, or open.

# %%
ENDS = {"mean over tasks": "test_accuracy", "0 and 1": "task_0", "last pair": "task_last"}
measured = stacked(ends, "what", "test_accuracy", ENDS)
scaled = measured[~measured["method"].isin(FIXED)]
upward = scaled.assign(method=scaled["method"].cat.reorder_categories([*COLORS][::-1]))
frames = [frame for title, method, choice in picked for frame in choice.frames({"setting": title, "method": method})]
rings = [frame for frame in frames if frame["state"] == "chosen"]
framed = [frame for frame in frames if frame["method"] in set(scaled["method"])]
RULE = "chosen on validation by the mean over tasks"


def none(panel):
    """What is reached without a remedy."""
    found = select(measured, {**panel, "method": "none"})
    return levels({"none": by_seed(found, "test_accuracy")}, [COLORS["none"]])


def remedies(ax, panel):
    ax.set_ylabel("remedy" if panel.place[1] == 0 else "")


tradeoff = blocks.drawn(paths, "task_last", "task_0", "strength", "method", COLORS, rings)
blocks.facets(
    run, ends, tradeoff, "What the new costs the old, at the end", name="tradeoff", columns=["setting"], spread=True,
    note=f"ring: {RULE}, or without a strength",
)  # fmt: skip
for which in shown:  # a figure each: beside each other their numbers would be too small to read
    blocks.plane(
        run, select(upward, {"setting": which}), "strength", "method", "test_accuracy", f"Test accuracy by remedy and strength, {which}",
        rows=["what"], framed=[frame for frame in framed if frame["setting"] == which], framing=RULE, also=remedies,
        suffix=f"_{settings[which].name}" * (len(shown) > 1),
    )  # fmt: skip
blocks.learning(
    run, scaled, "strength", "test_accuracy", "Test accuracy over the strength", per="method", colors=COLORS,
    limits=(None, 101), levels=none, legend="", name="strengths", rows=["setting"], columns=["what"], framed=framed,
)  # fmt: skip

# %% [markdown]
# ## Lost, or only not said?
# A linear probe (ridge regression in closed form on 2,000 training digits 0 and 1) reads the penultimate features (of logistic
# regression the pixels), beside what the network's own readout says; differences are each on its own. Grey: a probe on the
# untrained network, which is what the features need not have learnt.

# %%
READERS = {"readout": "task_0", "probe": "probe_accuracy", "untrained network, probe": "start_probe_untrained"}
TINTS = dict(zip(READERS, ("#7A5195", "#E7298A", "0.6"), strict=True))
read = stacked(watched[watched["method"].isin(["none", "LwF", "freeze features"])], "reader", "task_0", READERS)
reading = "0 and 1: what the readout says, and what a probe reads from the features"
by_reader, apart = blocks.drawn(over_tasks, "reader", TINTS), ["setting", "method"]
blocks.facets(run, read, by_reader, reading, name="probe", columns=apart, share=True, spread=True)


def probed(title, method, choice):
    """What a probe reads at the end, beside what the readout says."""
    said, reads, blank = (choice.by_seed(metric) for metric in READERS.values())
    gap = tell.difference(reads, said, more="the readout lost more than the features", less="the readout knows more")
    line = {"setting": title, "remedy": label(title, method), "probe": tell.percent(reads), "probe less readout": gap}
    return line | ({"untrained network, probe": tell.percent(blank)} if len(blank) else {})


reads = [probed(*each) for each in picked if len(each[2].by_seed("probe_accuracy"))]
run.show(reads, "0 and 1 at the end, read by a probe")

# %% [markdown]
# ## Which of 0 and 1 suffers, and why
# Without a remedy: accuracy on each digit; the margin (right logit less wrong); and, before the first step, what one step of plain
# gradient descent on a new digit does to the margin of an old one (per unit of learning rate). Negative: it is pushed towards the
# wrong class, as by new digits that the old network takes for it. The digit that is pushed more in all should go first.

# %%
OLD, NEW = {"0": "#0072B2", "1": "#D55E00"}, {"2": "#56B4E9", "3": "#E69F00"}
alone = watched[(watched["method"] == "none") & (watched["tasks"] == "two")]
accuracies = stacked(alone, "digit", "accuracy", {digit: f"accuracy_{digit}" for digit in OLD | NEW})
margins = stacked(alone, "digit", "margin", {digit: f"margin_{digit}" for digit in OLD})
pulls = [stacked(alone, "new", "pull", {f"a new {n}": f"pull_{o}_{n}" for n in NEW}).assign(digit=f"old digit {o}") for o in OLD]
how: dict = {"per": "digit", "columns": ["setting"]}
by_digit: dict = {**how, "xlabel": "fine-tuning iteration", "legend": "digit"}
blocks.learning(
    run, accuracies, "training_step", "accuracy", "Accuracy of each digit without a remedy", ylabel="test accuracy, %", name="digits",
    colors=OLD | NEW, **by_digit,
)  # fmt: skip
blocks.learning(
    run, margins, "training_step", "margin", "Margin of each digit without a remedy", ylabel="margin, nats", name="margins",
    colors=OLD, also=blocks.nought, share=False, **by_digit,
)  # fmt: skip
blocks.intervals(
    run, pd.concat(pulls), "new", "pull", "First-order pull of a new digit on the margin of an old one", name="pulls",
    colors={f"old digit {o}": tint for o, tint in OLD.items()}, xlabel="one step on", ylabel="change of the old margin / lr", also=blocks.nought, share=False, **how,
)  # fmt: skip


def suffering(title):
    """A line for each old digit: what it lost, what pushed it, and how often it went first."""
    of = best[title]["none"].by_seed
    loss = {d: of(f"start_accuracy_{d}") - of(f"accuracy_{d}") for d in OLD}
    for digit, other, taken in (("0", "1", "3"), ("1", "0", "2")):
        first = of(f"lost_{digit}") < of(f"lost_{other}")
        yield {
            "setting": title, "digit": digit, "lost": tell.points(loss[digit]), "first to lose 5 points": f"{first.sum()} of {len(first)} seeds",
            "more than the other": tell.difference(loss[digit], loss[other], more="beyond noise", less="beyond noise"),
            **{f"a new {n} moves its margin / lr": f"{of(f'start_pull_{digit}_{n}').mean():.0f}" for n in NEW},
            "wrongly called its class before": f"{100 * (1 - of(f'start_accuracy_{taken}').mean()):.0f} % of the {taken}s",
        }  # fmt: skip


run.show([line for title in alone["setting"].unique() for line in suffering(title)], "The old digits without a remedy")

# %% [markdown]
# ## Five tasks, beside the published table
# Mean accuracy over the five tasks at the end. Pale bars are Hsu et al. 2018, Table 2, of the same protocol: five pairs
# in turn, one head of two outputs, MLP 2 x 400 on 32 x 32 images, batches of 128, four epochs a task, Adam at 0.001 (SGD at 0.01) that
# keeps its moments between tasks, a memory of 1,100 or 4,400 digits. Where we differ: 1/12 of the training digits are held out
# and choose the strength (their published code has one coefficient each, 0.5 for L2 and 100 for EWC, which are strengths 1 and 200 here);
# rehearsal takes 128 old digits beside 128 new ones (theirs mixes both in batches of 128, so it takes twice as many steps); EWC
# has the exact Fisher information of 1,000 digits (theirs squares gradients of whole batches at the predicted class).

# %%
PUBLISHED = {  # mean over ten runs, in per cent; our optimiser and method, or none where we have no such method
    "Adam": (55.16, "adam", "none"), "EWC": (58.85, "adam", "EWC"), "SGD": (63.20, "sgd", "none"), "SI": (64.76, "", ""),
    "L2": (66.00, "adam", "L2"), "MAS": (68.57, "", ""), "LwF": (71.02, "adam", "LwF"), "naive rehearsal": (95.16, "adam", "rehearsal 1100"),
    "naive rehearsal-C": (97.11, "adam", "rehearsal 4400"), "offline": (98.59, "", ""),
}  # fmt: skip
THEIRS = {"adam": 1e-3, "sgd": 1e-2}
recipes = {name: {"tasks": "five", "network": "mlp", "optimiser": name, "lr": lr} for name, lr in THEIRS.items()}
alike = {name: title for name in recipes for title, s in settings.items() if len(select(s.cells, recipes[name]))}
ours = {(name, method): best[title][method] for name, title in alike.items() for method in best[title]}


def beside(name, value, optimiser, method):
    """A published number and ours: the bars, and a line to read."""
    bars: list = [(f"{name}, published", [value / 100], blocks.PUBLISHED)]
    line = {"published": name, "%": f"{value:.2f}"}
    if choice := ours.get((optimiser, method)):
        told, got = f"{OPTIMISERS[optimiser]}, {label(alike[optimiser], method)}", choice.by_seed()
        bars.append((told, got, method))
        line |= {"ours": told, "mean, %": tell.percent(got, 2), "difference": f"{100 * got.mean() - value:+.2f}"}
    return bars, line


if alike:
    compared = [beside(name, *numbers) for name, numbers in PUBLISHED.items()]
    blocks.ladder(
        run, [bar for bars, _ in compared for bar in bars], "test_accuracy", "Five tasks: test accuracy over all of them at the end",
        COLORS, descending=None, name="five", note="pale: arXiv 1810.12488, Table 2",
    )  # fmt: skip
    run.show([line for _, line in compared])

# %% [markdown]
# ## Learning rates, optimisers, widths
# Where the run has many, for plain fine-tuning: how long the old lasts (half-lives: medians over seeds), and the price of the new.

# %%
SHARES = {"0 and 1 at the end, %": "task_0", "2 and 3 at the end, %": "task_1"}
PRICE = {"half-life, iterations": "half_life", **SHARES}
untreated = cells[(cells["method"] == "none") & (cells["tasks"] == "two") & many]
by_rate = run.settings(but=(*OTHER, "lr"), first=["network", "optimiser"], cells=untreated, canonical=True)
groups = {g.title: g for g in by_rate if len(g.done)}
fastest = {title: choice for title, g in groups.items() if (choice := choose(g.students, ["lr"]))}
kind = {title: run.named({k: v for k, v in g.axes.items() if k != "network"}) for title, g in groups.items()}
lines = pd.concat([nobody.assign(kind=""), *(g.students.assign(setting=t, kind=kind[t]) for t, g in groups.items())])
shades = dict(zip(dict.fromkeys(kind.values()), palette(range(len({*kind.values()}))).values(), strict=True))


def price(ax, panel):
    over_rates(panel.table, PRICE[panel.values["what"]], "kind", shades, ax)
    ax.set(title=tell.network(panel.values["network"]), ylabel=panel.values["what"])


blocks.facets(
    run, pd.concat([lines.assign(what=what) for what in PRICE]), price, "Plain fine-tuning over the learning rate", rows=["what"],
    columns=["network"], share="row", name="rates", spread=True,
    note="half-lives: medians; above the grey line: half of the seeds or more did not lose half within the training",
)  # fmt: skip
blocks.facets(
    run, lines[["student", "setting"]].merge(history, on="student"), blocks.drawn(over_tasks, "lr", palette(lines["lr"])),
    "Plain fine-tuning: what is left of 0 and 1, by learning rate", name="rate_curves", legend="learning rate", spread=True,
    wrap=lines.groupby("network")["setting"].nunique().max(), **over_time,
)  # fmt: skip


# %%
def at_rates(title, choice):
    """How long the old lasts over the learning rates, the rate that validation chooses, and there SGD less Adam."""
    adam = fastest.get(run.named({**groups[title].axes, "optimiser": "adam"}), choice)
    lives = decay.medians(groups[title].students, ["lr"], "half_life").set_index("lr")["half_life"]
    watched = groups[title].students["watched"].max()
    line = {"setting": title, "shortest half-life": f"{decay.iterations(lives.min(), watched)} (lr {lives.idxmin():g})"}
    survived = ", ".join(f"{lr:g}" for lr in lives.index[lives > watched])
    line |= {"half of the seeds keep half at lr": survived, "chosen lr": f"{choice.best['lr']:g}"}
    for what, metric in SHARES.items():
        line[what] = tell.percent(choice.by_seed(metric))
        if adam is not choice:
            line[f"SGD less Adam, {what}"] = tell.difference(choice.by_seed(metric), adam.by_seed(metric))
    return line


rates = [at_rates(*each) for each in fastest.items()]
run.show(rates, "Plain fine-tuning by learning rate, the rate chosen by the mean over tasks")

# %% [markdown]
# ## What came out

# %%
overall = choose_each(chosen.astype({"method": str}), "setting", ["method"], margin=run.margin)


def answers(title):
    """What is forgotten without a remedy, and when; which remedy validation chooses."""
    if plain := best[title].get("none"):
        known, left = (plain.by_seed(metric) for metric in ("start_task_0", "task_0"))
        way = "the network falls" if left.mean() < known.mean() else "nothing is lost: the network goes"
        told = f"{way} from {tell.percent(known)} on 0 and 1 to {tell.percent(left)}"
        yield f"**{tell.capital(title)}**: without a remedy {told}; half of what it knew above chance {decay.gone(plain.students)}."
    if title in overall and len(overall[title].rivals):
        named: dict = {"name": lambda cell: label(title, cell["method"]), "most": 8}
        yield tell.answer(title, overall[title], "as the mean over tasks", **named)


# %%
SAID = 4  # settings of which the answer says more
plain = {title: best[title]["none"] for title in shown if "none" in best[title]}
winners = {title: overall[title] for title in shown if title in overall and len(overall[title].rivals)}


def verdict():
    """Whether the old is forgotten, and what holds it best, over all settings."""
    ends, starts = ({t: choice.by_seed(m) for t, choice in plain.items()} for m in ("task_0", "start_task_0"))
    if plain:
        lost = sum(statistics.paired(ends[title], starts[title]).high < 0 for title in plain)
        means = [sorted({f"{100 * v.mean():.1f}" for v in each.values()}, key=float) for each in (starts, ends)]
        before, after = (f"{low} %" if low == high else f"{low} to {high} %" for low, *_, high in ([m[0], *m] for m in means))
        where = f" in {lost} of {len(plain)} settings" * (len(plain) > 1)
        head = f"It forgets{where}" if lost else "That it forgets cannot be told by these seeds"
        yield f"**{head}**: without a remedy the accuracy on 0 and 1 goes from {before} to {after} (guessing has 50 %)."
    for method, count in Counter(choice.best["method"] for choice in winners.values()).most_common(1):
        clear = sum(choice.stands_out for choice in winners.values() if choice.best["method"] == method)
        held = f"Validation chooses {'no remedy' if method == 'none' else method} in {count} of {tell.count(len(winners), 'setting')}"
        yield f"{held}; it is better than every other in {clear}."


def short(title):
    """Of one setting: what is left without a remedy, and with that which validation chooses."""
    left = [f"without a remedy {tell.percent(plain[title].by_seed('task_0'))} of 0 and 1 are right"] * (title in plain)
    if (choice := winners.get(title)) and (method := choice.best["method"]) != "none":
        kept_too = f", {100 * choice.by_seed().mean():.1f} % as the mean over tasks"
        left.append(f"with {label(title, method)}: {tell.percent(best[title][method].by_seed('task_0'))}{kept_too}")
    return f"**{tell.capital(title)}**: {'; '.join(left)}."


def of_rates(title, choice):
    """Of plain fine-tuning: what the best learning rate leaves."""
    return f"**{title}**: at lr {choice.best['lr']:g} {tell.percent(choice.by_seed('task_0'))} on 0 and 1; half of what it knew above chance {decay.gone(choice.students)}."


without = f"{tell.count(len(settings) - len(shown), 'setting')} of {len(settings)} have no remedy and are drawn over learning rates only."
told = [" ".join(verdict()), *map(short, [title for title in shown if title in plain or title in winners][:SAID])]
of_each = [of_rates(*each) for each in fastest.items()] if not shown else []
details = [*(sentence for title in shown for sentence in answers(title)), *of_each[SAID:], *[without] * many]
run.close([*filter(None, told), *of_each[:SAID]], details)
