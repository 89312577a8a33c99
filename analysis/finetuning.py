# %% [markdown]
# # What do augmentation, gradual unfreezing and an adaptive learning rate each add to fine-tuning?
#
# A network with pretrained weights gets a new head for the ten classes of CIFAR-10 and is trained on a part of its images, with
# three things on or off:
#
# - **augmentation** (`iterative`): images are mirrored, moved, recoloured and partly covered, ever more strongly, in stages;
# - **unfreezing** (`gradual`): the head is trained first, then the stages below it thaw one after another, and each learns more
#   slowly than the one above it (ULMFiT: Howard & Ruder 2018, arXiv 1801.06146); off, all layers are trained at one rate;
# - **adaptive rate** (`one_cycle`): the learning rate rises and then falls to 0 (Smith 2018, arXiv 1803.09820); `plateau`: it falls
#   where the validation loss stalls; off, it is constant.
#
# The assignment asks for four of the eight combinations: plain; unfreezing + adaptive rate; augmentation; all three. All eight
# make a factorial, where the effect of each thing and of each pair can be told apart. Validation images choose, test images
# report. Every number is a mean over seeds with Student's 95 % interval; a seed has the same training images in the same order, and
# the same first head, in all combinations, so differences are paired.

# %%
import itertools
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choose, choose_each
from analysis.core.factorial import TIMES, effects, factorials, judged
from analysis.core.figures.scales import reach
from analysis.core.figures.schedules import frozen
from analysis.core.settings import select

run = report.open("finetuning")
METRIC = "test_accuracy"
OFF = {"augmentation": "none", "unfreezing": "all", "rate": "constant"}
SAID = {
    "iterative": "augmentation", "full": "full augmentation", "gradual": "unfreezing", "head": "head only",
    "one_cycle": "adaptive rate", "plateau": "plateau rate",
}  # fmt: skip
FACTOR = {"augmentation": "augmentation", "unfreezing": "unfreezing", "rate": "adaptive rate"}
ASKED = ("plain", "unfreezing + adaptive rate", "augmentation", "augmentation + unfreezing + adaptive rate")
KINDS = {"asked for": "#0072B2", "the rest of the factorial": "#9FC7E0"}
GREY, ORANGE, BLUE = "0.45", "#D55E00", "#0072B2"
# validation errors in per cent of a text classifier on IMDb, TREC-6, AG: trained whole, unfrozen gradually with discriminative
# rates, and the same with a slanted triangular rate
PAPER = "arXiv 1801.06146, Table 7"
FULL, FREEZ_DISCR, FREEZ_DISCR_STLR = (6.87, 6.86, 5.81), (5.39, 5.86, 6.04), (5.00, 5.69, 5.38)
PUBLISHED = {"unfreezing": np.subtract(FULL, FREEZ_DISCR), "adaptive rate": np.subtract(FREEZ_DISCR, FREEZ_DISCR_STLR)}

# %% [markdown]
# ## What is compared
# Runs of different networks, weights, resolutions or numbers of labels are never mixed. Where the learning rate or a setting of
# the unfreezing varies too, each combination has the one that validation chose for it.

# %%
AMONG = [axis for axis in ("lr", "discrimination") if axis in run.axes]
settings = run.settings(but=(*OFF, *AMONG))


def said(line):
    """The combination of a line in words: what is on."""
    return " + ".join(SAID[line[f]] for f, off in OFF.items() if line[f] != off) or "plain"


def combined(students):
    """The students with their `combination` in words, those with fewer things on first."""
    things = sum((students[f] != off).astype(int) for f, off in OFF.items())
    words = students.apply(said, axis=1)
    return students.assign(things=things, combination=words).sort_values(["things", *OFF], kind="stable")


chosen = {s.name: choose_each(combined(s.students), "combination", AMONG) for s in settings}
finals = {name: pd.concat([choice.students for choice in each.values()]) for name, each in chosen.items()}


def heading(text, setting):
    """What is drawn, of which network and how many images."""
    first = finals[setting.name].iloc[0]
    network = (
        f"{first['network']}, weights {first['weights']}, {first['train_size']} labels, {first['resolution']} pixels"
    )
    return f"{text}\n{network}; {first['val_images']:.0f} validation and {first['test_images']:.0f} test images"


def draw(figure):
    """Draws a figure for each setting; the names of its files end as the setting is called."""
    for setting in settings:
        words = f" {run.named(setting.axes)}" if setting.axes else ""
        figure(setting, "".join(c if c.isalnum() else "_" for c in words))


# %% [markdown]
# ## Test accuracy of the eight combinations
# Dark: the four that the assignment asks for.


# %%
def combinations(setting, end):
    asked, rest = KINDS
    bars = [blocks.rung(c, v.by_seed(), asked if c in ASKED else rest, METRIC) for c, v in chosen[setting.name].items()]
    text = heading("Test accuracy, mean and 95 % interval", setting)
    blocks.ladder(run, bars, METRIC, text, KINDS, descending=None, name="combinations" + end)


draw(combinations)

# %% [markdown]
# What validation chose for each combination, where several were tried.

# %%
tuned = [axis for axis in AMONG if axis in run.varied()]


def line_of(setting, combination, choice):
    """Without gradual unfreezing there is no discrimination to choose."""
    free: dict[str, str] = {axis: axis for axis in tuned if axis == "lr" or SAID["gradual"] in combination}
    edge = tell.edge(choice, free, run.cells)
    values = {axis: f"{choice.best[axis]:g}" if axis in free else "" for axis in tuned}
    return {
        **setting.axes,
        "combination": combination,
        **values,
        "": edge,
        "test accuracy": tell.percent(choice.by_seed()),
    }


tried = " and ".join(f"{axis} of {', '.join(f'{v:g}' for v in sorted(run.axes[axis]))}" for axis in tuned)
worth = [line_of(s, name, choice) for s in settings for name, choice in chosen[s.name].items()]
run.show(
    worth,
    f"Chosen for each combination: {tried}"
    if tuned
    else "All share one peak learning rate, which was not tuned for each",
)

# %% [markdown]
# ## What each thing does, and what they do together
# The effect of a thing is the mean over the combinations where it is on less the mean where it is off; an interaction is half of what one
# effect gains when the other thing is switched on. Computed by seed, then averaged. Open diamonds: published effects on the
# errors of text classifiers, at one setting of the other things (Howard & Ruder 2018, Table 7).


# %%
def judgements(setting):
    """Every full factorial: its factors, its effects judged, what its headings add where other values are on than the usual ones, and
    what the names of its files add."""
    final = finals[setting.name]
    for number, factors in enumerate(factorials(final, OFF, METRIC), 1):
        found = judged(effects(final, factors, METRIC))
        words = [TIMES.join(FACTOR[f] for f in effect.split(TIMES)) for effect in found["effect"]]
        usual = ("iterative", "gradual", "one_cycle")
        unusual = "".join(f", {f} {on}" for f, (_, on) in factors.items() if on not in usual)
        yield factors, found.assign(effect=words), unusual, f"_{number}" * (number > 1)


def publish(ax, panel):
    """The effects in numbers, and the published ones."""
    style = {"color": GREY, "markerfacecolor": "none", "markersize": 5, "label": f"published: text ({PAPER})"}
    for at, (_, line) in enumerate(panel.table.iterrows()):
        mean, values = 100 * line["mean"], PUBLISHED.get(line["effect"], [])
        said_at = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 8.5}
        ax.annotate(f"{round(mean, 1) + 0:+.1f}", (mean, -at), **said_at)
        ax.plot(values, [-at - 0.3] * len(values), "d", **style)


def draw_effects(setting, end):
    look: dict = {"y": "effect", "xlabel": "effect on test accuracy, points", "also": publish}
    for _, found, unusual, number in judgements(setting):
        text = heading(f"Effects and interactions, mean over seeds and 95 % interval{unusual}", setting)
        blocks.forest(
            run, found, text, name=f"effects{number}{end}", note="told from 0: after Holm's correction over all", **look
        )


draw(draw_effects)

# %% [markdown]
# Effects in points, p by Holm over all effects of a factorial, intervals uncorrected; published ones are on the errors of text classifiers
# (IMDb, TREC-6, AG), the rate's with unfreezing on and slanted triangular: a comparison in sign, not in size.


# %%
def in_numbers(setting):
    """A line for each effect."""
    for _, found, unusual, _ in judgements(setting):
        for _, line in found.iterrows():
            published = ", ".join(f"{v:+.2f}" for v in PUBLISHED.get(line["effect"], []))
            said = {
                "effect": line["effect"] + unusual,
                "test accuracy": tell.points(line["difference"]),
                "verdict": tell.verdict(line),
            }
            yield {**setting.axes, **said, f"published, {PAPER}": published}


run.show([line for setting in settings for line in in_numbers(setting)], "Effects and interactions")

# %% [markdown]
# Each pair of things, averaged over the third: parallel lines do not interact. The axis is cut, for the differences are small
# beside the accuracies; the bars above are not.


# %%
def pair(means, a, b, factors, ax):
    """Test accuracy over a off and on, a line for b off and one for b on, aside so that their whiskers do not coincide."""
    for value, state, color, style, aside in zip(factors[b], ("off", "on"), (GREY, ORANGE), ("--", "-"), (-0.02, 0.02), strict=True):  # fmt: skip
        line = means[means[b] == value].set_index(a).loc[list(factors[a])]
        look = {"fmt": "o" + style, "color": color, "capsize": 4, "label": f"{FACTOR[b]} {state}"}
        ax.errorbar(np.array([aside, 1 + aside]), line[METRIC], reach(line, METRIC), **look)
    ax.set_xticks([0, 1], [f"{FACTOR[a]} off", f"{FACTOR[a]} on"])
    ax.set(xlim=(-0.3, 1.3))
    ax.legend(fontsize=8.5)
    ax.grid(axis="y", alpha=0.25)


def interactions(setting, end):
    for factors, _, unusual, number in judgements(setting):
        part = finals[setting.name]
        part = part[np.logical_and.reduce([part[f].isin(values) for f, values in factors.items()])]
        figure, axes = plt.subplots(1, 3, figsize=(13, 4.8), sharey=True, layout="constrained")
        for (a, b), ax in zip(itertools.combinations(factors, 2), axes, strict=True):
            over_third = part.groupby([a, b, "seed"])[METRIC].mean().reset_index()
            pair(statistics.summarise(over_third, [a, b], METRIC), a, b, factors, ax)
        axes[0].set_ylabel("test accuracy, %")
        text = heading(f"Pairs of things, mean over the third and over seeds, 95 % interval{unusual}", setting)
        figure.suptitle(run.title(text), fontsize=11)
        run.figure(figure, f"interactions{number}{end}")


draw(interactions)

# %% [markdown]
# ## While learning
# Validation accuracy over the training. Dotted: the moments at which a stage thaws, from the head's neighbour down to the stem.

# %%
schedules = run.table("schedules")


def scheduled(setting, cell):
    """Lines of the table of schedules of such students, with `share`: how much of the training is over, in per cent."""
    lines = select(schedules[schedules["student"].isin(finals[setting.name]["student"])], cell)
    return lines.assign(share=100 * lines["at"] / lines["steps"])


def thaw(setting, ax, panel):
    """The moments at which stages are first trained; those trained from the start are left out."""
    lines = scheduled(setting, {"unfreezing": "gradual", **panel.values})
    first = lines[lines["trained"] > 0].groupby(["depth", "stage"])["share"].min()
    for (_, stage), at in first[first > 0].items():
        ax.axvline(at, color=ORANGE, linestyle=":", linewidth=1, zorder=0)
        ax.text(at + 0.5, 3, stage, rotation=90, fontsize=7, color=ORANGE)


def learning(setting, end):
    history = run.history[run.history["student"].isin(finals[setting.name]["student"])]
    blocks.learning(
        run, history.assign(share=100 * history["step"] / history["steps"]), "share", "val_accuracy",
        heading("Learning, mean over seeds and 95 % interval; dotted: a stage thaws", setting), per="unfreezing",
        columns=["augmentation", "rate"], colors={"all": GREY, "gradual": ORANGE, "head": BLUE}, wrap=2, name="learning" + end,
        also=partial(thaw, setting) if len(schedules) else None, xlabel="share of the training, %", ylabel="validation accuracy, %",
    )  # fmt: skip


draw(learning)

# %% [markdown]
# ## What was frozen when
# As recorded while training: the learning rate of every stage, hatched where it was frozen; below, the strength of the augmentation.


# %%
def draw_frozen(setting, end):
    figure = frozen(scheduled(setting, {}), {"none": GREY, "iterative": ORANGE, "full": BLUE})
    figure.suptitle(run.title(heading("What was frozen when, mean over seeds", setting)), fontsize=11)
    run.figure(figure, "frozen" + end)


if len(schedules):
    draw(draw_frozen)

# %% [markdown]
# ## What came out
# Computed from the rows. A rival of what was chosen is as good (within half a point), worse, or open; all of a choice hold together.


# %%
def verdicts(found):
    lines = [line for _, line in found.iterrows()]
    return tell.listing([f"{line['effect']} {tell.points(line['difference'])}, {tell.verdict(line)}" for line in lines])


def asked_sentences(setting):
    """The assignment's comparison: the four combinations, each against plain, and what validation chooses of all."""
    there = {c: chosen[setting.name][c].by_seed() for c in ASKED if c in chosen[setting.name]}
    each = tell.listing([f"{c} {tell.percent(values)}" for c, values in there.items()])
    where = f"**{tell.capital(run.named(setting.axes))}**: " if setting.axes else ""
    yield f"{where}Test accuracy of the combinations asked for: {each}."
    plain = there.pop("plain", None)
    if plain is not None and there:
        found = statistics.compare({c: (values, plain) for c, values in there.items()}, ["effect"])
        yield f"Against plain, paired by seed, p by Holm over {len(there)}, intervals uncorrected: {verdicts(found)}."
    best = choose(finals[setting.name], ["combination"])
    if best:
        worth = tell.choice(best, lambda cell: cell["combination"], most=7)
        yield f"Validation chooses {best.best['combination']}: {tell.percent(best.by_seed())} on test. {worth}"


def conclusions(setting):
    """What the effects come to, in one sentence."""
    for _, found, unusual, _ in judgements(setting):
        single = found[~found["effect"].str.contains(TIMES)]
        if single["n"].max() > 1:
            kinds = {"more": "helps", "less": "hurts", "open": "not told from doing nothing"}
            named = {kind: ", ".join(single.loc[single["told"] == told, "effect"]) for told, kind in kinds.items()}
            each = tell.listing([f"{kind}: {names}" for kind, names in named.items() if names])
            yield f"So, with these labels and this length of training{unusual}: {each}."


# %%
def interaction_sentences(setting):
    for _, found, unusual, _ in judgements(setting):
        mixed = found[found["effect"].str.contains(TIMES)]
        together, largest = mixed[mixed["told"] != "open"], mixed.loc[mixed["mean"].abs().idxmax()]
        if len(together):
            yield f"Interactions told from 0{unusual}: {verdicts(together)}."
        elif largest["n"] > 1:
            size = f"{largest['effect']}, {tell.points(largest['difference'])}"
            yield f"No interaction is told from 0{unusual}; the largest is {size}, so what the three things add is not shown to depend on each other."


def cost_sentences(setting):
    """Seconds of training by unfreezing, the evaluations included."""
    seconds = finals[setting.name].groupby(["seed", "unfreezing"])["seconds"].mean().unstack()
    if {"gradual", "all"} <= set(seconds) and len(both := seconds[["gradual", "all"]].dropna()):
        yield (
            f"Frozen stages save their backward pass: with unfreezing a student takes {tell.number(both['gradual'] / both['all'], 2)} times the "
            f"time, {both['gradual'].mean():.2g} s against {both['all'].mean():.2g} s, evaluations included."
        )


counts = sorted({int(n) for final in finals.values() for n in final["test_images"]})
size = (
    f"Test accuracy is that of {' and '.join(map(str, counts))} test images, the same for all students: their own sampling "
    "error is common to all combinations and not in the intervals."
)
answer = [sentence for s in settings for sentence in (*asked_sentences(s), *conclusions(s))]
more = [sentence for s in settings for sentence in (*interaction_sentences(s), *cost_sentences(s))]
run.close(answer, [*more, size])
