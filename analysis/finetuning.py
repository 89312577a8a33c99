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
from matplotlib.colors import LogNorm

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choose, choose_each
from analysis.core.factorial import TIMES, effects, factorials, judged
from analysis.core.figures.scales import reach
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
def rates_of_stages(lines, norm, ax):
    wide = lines.pivot_table(index="depth", columns="share", values="rate_used", aggfunc="mean")
    edges, used = [*wide.columns, 100.0], np.ma.masked_less_equal(wide.to_numpy(), 0)
    ax.set_facecolor("0.93")
    ax.patch.set(hatch="///", edgecolor="0.7")
    ax.set_yticks(wide.index, lines.groupby("depth")["stage"].first()[wide.index], fontsize=8)
    mesh = ax.pcolormesh(edges, np.arange(len(wide) + 1) - 0.5, used, norm=norm, cmap="viridis", rasterized=True)
    ax.invert_yaxis()
    return mesh


def strengths(lines, ax):
    for kind, color, style in zip(("none", "iterative", "full"), (GREY, ORANGE, BLUE), "--:", strict=True):
        part = select(lines, {"augmentation": kind}).groupby("share")["strength"].first()
        if len(part):
            ax.step([*part.index, 100], [*part, part.iloc[-1]], style, where="post", color=color, label=kind)
    ax.set(ylim=(-0.08, 1.08), xlabel="share of the training, %", ylabel="strength")
    ax.legend(title="augmentation", fontsize=7.5, title_fontsize=7.5)


def frozen(setting, end):
    lines = scheduled(setting, {})
    norm = LogNorm(lines["rate_used"].max() / 1e4, lines["rate_used"].max())
    kinds = [k for k in ("all", "gradual", "head") if k in set(lines["unfreezing"])]
    rates = [r for r in ("constant", "one_cycle", "plateau") if r in set(lines["rate"])]
    size, heights = (6.2 * len(rates) + 1, 2.9 * len(kinds) + 2.4), [2.0] * len(kinds) + [1.0]
    look: dict = {"figsize": size, "height_ratios": heights, "squeeze": False, "sharex": True, "layout": "constrained"}
    figure, axes = plt.subplots(len(heights), len(rates), **look)
    for (kind, rate), ax in zip(itertools.product(kinds, rates), axes[:-1].flat, strict=True):
        mesh = rates_of_stages(select(lines, {"unfreezing": kind, "rate": rate}), norm, ax)
        ax.set_title(f"unfreezing {kind}, rate {rate}", fontsize=10)
    for rate, ax in zip(rates, axes[-1], strict=True):
        strengths(select(lines, {"rate": rate}), ax)
    figure.colorbar(mesh, ax=axes[:-1], label="learning rate (hatched: frozen)", shrink=0.8, extend="min")
    figure.suptitle(run.title(heading("What was frozen when, mean over seeds", setting)), fontsize=11)
    run.figure(figure, "frozen" + end)


if len(schedules):
    draw(frozen)

# %% [markdown]
# ## What came out
# Computed from the rows. A winner that the seeds cannot tell from its rivals is called a tie.


# %%
def verdicts(found, name="effect"):
    lines = [line for _, line in found.iterrows()]
    return tell.listing([f"{line[name]} {tell.points(line['difference'])}, {tell.verdict(line)}" for line in lines])


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
def effect_sentences(setting):
    for _, found, unusual, _ in judgements(setting):
        mixed = found["effect"].str.contains(TIMES)
        together, largest = found[mixed & (found["told"] != "open")], found.loc[found.loc[mixed, "mean"].abs().idxmax()]
        text = f"Effects over the factorial (p by Holm over {len(found)}, intervals uncorrected){unusual}"
        yield f"{text}: {verdicts(found[~mixed])}."
        if len(together):
            yield f"Interactions told from 0: {verdicts(together)}."
        elif largest["n"] > 1:
            size = f"{largest['effect']}, {tell.points(largest['difference'])}"
            yield f"No interaction is told from 0; the largest is {size}, so what the three things add is not shown to depend on each other."


def cost_sentences(setting):
    """Seconds of training by unfreezing, the evaluations included."""
    seconds = finals[setting.name].groupby(["seed", "unfreezing"])["seconds"].mean().unstack()
    if {"gradual", "all"} <= set(seconds) and len(both := seconds[["gradual", "all"]].dropna()):
        yield (
            f"Frozen stages save their backward pass: with unfreezing a student takes {tell.number(both['gradual'] / both['all'], 2)} times the "
            f"time, {both['gradual'].mean():.2g} s against {both['all'].mean():.2g} s, evaluations included."
        )


# %%
def tuned_sentences(setting):
    """What validation chose for each combination; without gradual unfreezing there is no discrimination."""
    tuned, each, outer = [axis for axis in AMONG if axis in run.varied()], [], []
    if not tuned:
        yield "All combinations share one peak learning rate; it was not tuned for each of them."
        return
    for name, choice in chosen[setting.name].items():
        free = [a for a in tuned if a == "lr" or SAID["gradual"] in name]
        each += [f"{name} {', '.join(f'{choice.best[a]:g}' for a in free)}"] * bool(free)
        outer += [name] * bool(tell.edge(choice, dict(zip(free, free, strict=True)), run.cells))
    tried = " and ".join(f"{a} of {', '.join(f'{v:g}' for v in sorted(run.axes[a]))}" for a in tuned)
    where = f" ({run.named(setting.axes)})" if setting.axes else ""
    beyond = f"At the edge of these, so that better ones may lie outside: {tell.listing(outer, most=8)}."
    each_said = tell.listing(each, most=8)
    yield f"Validation chose for each combination its {tried}{where}: {each_said}. {beyond if outer else 'None is at the edge of these.'}"


def further_sentences():
    text = [f"{what} {', '.join(f'{v:+.2f}' for v in values)}" for what, values in PUBLISHED.items()]
    yield (
        f"Published, on the errors of text classifiers (IMDb, TREC-6, AG; {PAPER}), in points: {'; '.join(text)} (the rate with "
        "unfreezing on; slanted triangular). Another kind of data and network: a comparison in sign, not in size."
    )
    counts = sorted({int(n) for final in finals.values() for n in final["test_images"]})
    yield (
        f"Test accuracy is that of {' and '.join(map(str, counts))} test images, the same for all students: their own sampling "
        "error is common to all combinations and not in the intervals."
    )


answer = [sentence for s in settings for sentence in (*asked_sentences(s), *conclusions(s))]
more = [
    sentence for s in settings for tells in (effect_sentences, cost_sentences, tuned_sentences) for sentence in tells(s)
]
run.close(answer, [*more, *further_sentences()])
