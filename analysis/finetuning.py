# %% [markdown]
# # What do augmentation, gradual unfreezing and an adaptive learning rate each add to fine-tuning?
#
# A network with pretrained weights gets a new head for the classes of CIFAR-10, or of images of one's own, and is trained on a part
# of them, with three things on or off:
#
# - **augmentation** (`iterative`): images are mirrored, moved, recoloured and partly covered, ever more strongly, in stages;
# - **unfreezing** (`gradual`): the head is trained first, then the stages below it thaw one after another, and each learns more
#   slowly than the one above it (ULMFiT: Howard & Ruder 2018, arXiv 1801.06146); off, all layers are trained at one rate;
# - **adaptive rate** (`one_cycle`): the learning rate rises and then falls to 0 (Smith 2018, arXiv 1803.09820); `plateau`: it falls
#   where the validation loss stalls; off, it is constant.
#
# The assignment asks for four of the eight combinations: plain; unfreezing + adaptive rate; augmentation; all three. All eight
# make a factorial, where the effect of each thing and of each pair can be told apart. A seed has the same training images in the
# same order, and the same first head, in all combinations. Runs of different networks, weights, resolutions or numbers of labels are
# never mixed; where the learning rate or a setting of the unfreezing varies too, validation chose it for each combination.

# %%
import numpy as np
import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choose, choose_each
from analysis.core.factorial import TIMES, effects, factorials, in_pairs, judged
from analysis.core.figures.crossing import crossing
from analysis.core.figures.schedules import frozen
from analysis.core.settings import by_seed, select

run = report.open("finetuning", words={
    "augmentation": {"none": "no augmentation", "iterative": "augmentation", "full": "full augmentation"},
    "unfreezing": {"all": "no unfreezing", "gradual": "unfreezing", "head": "head only"},
    "rate": {"constant": "constant rate", "one_cycle": "adaptive rate", "plateau": "plateau rate"},
})  # fmt: skip
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

# %%
AMONG = [axis for axis in ("lr", "discrimination") if axis in run.axes]
tuned = [axis for axis in AMONG if axis in run.varied()]
settings = run.settings(but=(*OFF, *AMONG))
run.show_classes()


def combined(students):
    """The students with their `combination` in words, what is on; those with fewer things on first."""
    on = [[SAID[line[f]] for f, off in OFF.items() if line[f] != off] for _, line in students.iterrows()]
    told = students.assign(things=[*map(len, on)], combination=[" + ".join(words) or "plain" for words in on])
    return told.sort_values(["things", *OFF], kind="stable")


chosen = {s: choose_each(combined(s.students), "combination", AMONG, margin=run.margin) for s in settings}
finals = {s: pd.concat([choice.students for choice in each.values()]) for s, each in chosen.items()}
ends = {s: f"_{s.title}" * bool(s.axes) for s in settings}  # of the names of files, where a run has several settings


def heading(text, setting):
    """What is drawn, of which network and how many images."""
    c = finals[setting].iloc[0]
    labels = f"{int(c['train_size']):,}" if str(c["train_size"]).isdigit() else c["train_size"]
    network = f"{tell.network(c['network'])}, weights: {tell.start(c['weights'])}, {labels} labels, {c['resolution']} pixels"
    return f"{text}\n{network}; {c['val_images']:,.0f} validation and {c['test_images']:,.0f} test images"


# %% [markdown]
# ## Test accuracy of the eight combinations
# Dark: the four that the assignment asks for. In the table what validation chose for each combination, where several were tried.


# %%
def chooses(combination, axis):
    """Whether validation chose its value of an axis; without gradual unfreezing there is no discrimination to choose."""
    return axis == "lr" or SAID["gradual"] in combination


def line_of(setting, combination, choice):
    """A combination in the table."""
    values = {axis: f"{choice.best[axis]:g}" if chooses(combination, axis) else "" for axis in tuned}
    return {**setting.axes, "combination": combination, **values, "test accuracy": tell.percent(choice.by_seed())}


def edges(axis):
    """Whose chosen value lies at the edge of what was tried, said once of all."""
    each = [(s, name, choice) for s in settings for name, choice in chosen[s].items() if chooses(name, axis)]
    there = [(s, name, choice) for s, name, choice in each if tell.edge(choice, {axis: axis}, run.cells)]
    names = tell.listing([f"{name}, {s.title}" if s.axes else name for s, name, _ in there])
    whose = f"{axis} of {'all combinations' if len(there) == len(each) > 1 else names}"
    return [tell.edge(choice, {axis: whose}, run.cells) for _, _, choice in there[:1]]


for setting, each in chosen.items():
    if len(each) < 2:
        continue  # candidates for the architecture, below
    asked, rest = KINDS
    bars = [(name, choice.by_seed(), asked if name in ASKED else rest) for name, choice in each.items()]
    text = heading("Test accuracy", setting)
    blocks.ladder(run, bars, METRIC, text, KINDS, descending=None, name="combinations" + ends[setting])
tried = " and ".join(f"{axis} of {', '.join(f'{v:g}' for v in sorted(run.axes[axis]))}" for axis in tuned)
about = f"Chosen for each combination: {tried}" if tuned else "All share one peak learning rate, not tuned for each"
above = ". ".join([about, *(sentence for axis in tuned for sentence in edges(axis))])
run.show([line_of(s, name, choice) for s in settings for name, choice in chosen[s].items()], above)

# %% [markdown]
# ## Which network
# Candidates for the architecture: what each takes, and what it reaches on test with what validation chose for it. The preset
# `architectures` compares them at equal labels and steps: heads on frozen features of pretrained networks, and an own network from random
# weights, all of it trained. Multiplications are of one image. So is the time: the least of five times that the network took for 100
# images at once, before students were trained.

# %%
networks = run.table("networks")
preferred = {s: choice for s in settings if (choice := choose(finals[s], ["combination"], margin=run.margin))}
several = run.cells["network"].nunique() > 1
candidates = pd.concat([c.students for c in preferred.values()]) if several and preferred else pd.DataFrame()


def candidate(choice):
    """A network, what it takes and what it reaches."""
    one, known = choice.students.iloc[0], ("network", "weights", "resolution")
    source = select(networks, {axis: one[axis] for axis in known})
    takes = {
        f"million {what}": f"{source[what].iloc[0] / 1e6:.2f}"
        for what in ("parameters", "multiplications")
        if what in source
    }
    if "image_ms" in source:
        takes["ms per image"] = f"{source['image_ms'].iloc[0]:.2f}"
    reached = {"trained": choice.best["combination"], "test accuracy": tell.percent(choice.by_seed())}
    return {axis: one[axis] for axis in known} | {"network": tell.network(one["network"])} | takes | reached


run.show([candidate(choice) for choice in preferred.values()])
if several and len(candidates):
    steps = [(tell.network(str(name)), by_seed(part, METRIC), "candidates") for name, part in candidates.groupby("network")]
    blocks.ladder(run, steps, METRIC, "Test accuracy of the candidates", {"candidates": BLUE}, descending=True, name="candidates")

# %% [markdown]
# ## What each thing does, and what they do together
# The effect of a thing is the mean over the combinations where it is on less the mean where it is off; an interaction is half of what one
# effect gains when the other thing is switched on. Computed by seed, then averaged; p by Holm over all effects of a factorial,
# intervals uncorrected. Open diamonds: published effects on the errors of text classifiers (IMDb, TREC-6, AG), at one setting of
# the other things (Howard & Ruder 2018, Table 7; the rate's with unfreezing on and slanted triangular): a comparison in sign, not in size.
#
# Then each pair of things, averaged over the third: parallel lines do not interact. That axis is cut, for the differences are small
# beside the accuracies; the bars above are not.


# %%
def judgements(setting):
    """Every full factorial: its factors, its effects judged, what its headings add where other values are on than the usual ones, and
    what the names of its files add."""
    final, usual = finals[setting], ("iterative", "gradual", "one_cycle")
    for number, factors in enumerate(factorials(final, OFF, METRIC), 1):
        unusual = "".join(f", {f} {on}" for f, (_, on) in factors.items() if on not in usual)
        found = judged(effects(final, factors, METRIC), FACTOR)
        yield setting, factors, found, unusual, f"_{number}" * (number > 1) + ends[setting]


tested = [found for setting in settings for found in judgements(setting)]


def publish(ax, panel):
    """The effects in numbers, and the published ones."""
    style = {"color": GREY, "markerfacecolor": "none", "markersize": 5, "label": f"published: text ({PAPER})"}
    for at, (_, line) in enumerate(panel.table.iterrows()):
        mean, values = 100 * line["mean"], PUBLISHED.get(line["effect"], [])
        text = f"{round(mean, 1) + 0:+.1f}"
        clear = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # of the line at 0
        ax.annotate(text, (mean, -at), (0, 6), textcoords="offset points", ha="center", fontsize=8.5, bbox=clear)
        ax.plot(values, [-at - 0.3] * len(values), "d", **style)


def draw_pair(ax, panel):
    means = statistics.summarise(panel.table, ["first", "second"], METRIC)
    crossing(means, METRIC, panel.values["pair"].split(TIMES)[0], (GREY, ORANGE), ax)
    ax.set_ylabel("test accuracy, %" if panel.place == (0, 0) else "")


def draw_effects(setting, factors, found, unusual, end):
    text = heading(f"Effects and interactions{unusual}", setting)
    over, note = "effect on test accuracy, points", "told from 0: after Holm's correction over all"
    blocks.forest(run, found, text, y="effect", xlabel=over, also=publish, name="effects" + end, note=note)
    text = heading(f"Pairs of things, averaged over the third{unusual}", setting)
    look: dict = {"columns": ["pair"], "name": "interactions" + end, "size": (4.4, 4.2), "share": True, "spread": True}
    blocks.facets(run, in_pairs(finals[setting], factors, METRIC, FACTOR), draw_pair, text, **look)


# %%
def differences(found):
    """Each in points, and what that is worth."""
    return [f"{tell.points(line['difference'])}, {tell.verdict(line)}" for _, line in found.iterrows()]


def in_numbers(setting, _, found, unusual, end):
    """A line for each effect."""
    published = [", ".join(f"{v:+.2f}" for v in PUBLISHED.get(effect, [])) for effect in found["effect"]]
    told = {"effect": found["effect"] + unusual, "test accuracy": differences(found), f"published, {PAPER}": published}
    return pd.DataFrame({**setting.axes, **told})


for judgement in tested:
    draw_effects(*judgement)
if tested:
    run.show(pd.concat(in_numbers(*each) for each in tested), "Effects and interactions")

# %% [markdown]
# ## While learning, and what was frozen when
# Validation accuracy over the training; dotted, the moments at which a stage thaws, from the head's neighbour down to the stem.
# Then, as recorded while training, the learning rate of every stage, hatched where it was frozen, and the strength of the augmentation.

# %%
schedules = run.table("schedules")


def scheduled(students):
    """Their lines of the table of schedules, with `share`: how much of the training is over, in per cent."""
    lines = schedules[schedules["student"].isin(students["student"])]
    return lines.assign(share=100 * lines["at"] / lines["steps"], stage=lines["stage"].str.replace("_", " "))


def thaw(ax, panel):
    """The moments at which stages are first trained; those trained from the start are left out."""
    lines = scheduled(panel.table[panel.table["unfreezing"] == "gradual"])
    first = lines[lines["trained"] > 0].groupby(["depth", "stage"])["share"].min()
    for (_, stage), at in first[first > 0].items():
        ax.axvline(at, color=ORANGE, linestyle=":", linewidth=1, zorder=0)
        ax.text(at + 0.5, 3, stage, rotation=90, fontsize=7, color=ORANGE)


for s, final in finals.items():
    if len(chosen[s]) < 2:
        continue
    history = run.history[run.history["student"].isin(final["student"])]
    blocks.learning(
        run, history.assign(share=100 * history["step"] / history["steps"]), "share", "val_accuracy",
        heading("Learning", s), per="unfreezing", note="dotted: a stage thaws" * (len(schedules) > 0),
        columns=["augmentation", "rate"], colors={"all": GREY, "gradual": ORANGE, "head": BLUE}, wrap=2, name="learning" + ends[s],
        also=thaw if len(schedules) else None, xlabel="share of the training, %", ylabel="validation accuracy, %",
    )  # fmt: skip
    if len(schedules):
        figure = frozen(scheduled(final), {"none": GREY, "iterative": ORANGE, "full": BLUE}, run.named)
        run.finish(figure, "frozen" + ends[s], heading("What was frozen when, mean over seeds", s))

# %% [markdown]
# ## What is taken for what
# Of the combination that validation chose, all seeds together.

# %%
for of_setting, winner in preferred.items():
    if len(chosen[of_setting]) > 1:
        of_classes: dict = {"classes": tell.CIFAR, "name": "confusions" + ends[of_setting]}
        blocks.confusions(run, winner.students, heading("What is taken for what", of_setting), **of_classes)

# %% [markdown]
# ## What came out


# %%
def verdict_of(line):
    """`unfreezing: yes, +5.0 points (...)`, of a line of `statistics.compare`"""
    return f"{line['effect']}: {tell.plainly(line, 'yes', 'no, it hurts')}, {tell.points(line['difference'])}"


def asked_for(setting):
    """Those of the combinations asked for that are there, by seed, without plain."""
    return {c: chosen[setting][c].by_seed() for c in ASKED[1:] if c in chosen[setting]}


def helps(setting):
    """Whether each thing helps, of every full factorial; where there is none, each combination that was asked for."""
    where = f" ({setting.title})" * bool(setting.axes)
    factorial = [(found, unusual) for s, _, found, unusual, _ in tested if s is setting and found["n"].max() > 1]
    for found, unusual in factorial:
        mixed = found["effect"].str.contains(TIMES)
        each = tell.capital("; ".join(verdict_of(line) for _, line in found[~mixed].iterrows()))
        told = [f"{line['effect']}, {tell.points(line['difference'])}" for _, line in found[mixed & (found["told"] != "open")].iterrows()]
        together = f"Together more or less than their sum: {tell.listing(told)}" if told else "Whether they depend on each other cannot be told"
        yield f"**Does each thing help, with and without the others{where}{unusual}?** {each}. {together}."
    if not factorial and "plain" in chosen[setting]:
        plain = chosen[setting]["plain"].by_seed()
        lines = statistics.compare({c: (values, plain) for c, values in asked_for(setting).items()}, ["effect"])
        if len(lines):
            each = tell.capital("; ".join(verdict_of(line) for _, line in lines.iterrows()))
            yield f"**Does it help{where}, against plain ({tell.percent(plain)})?** {each}."


def best(setting, most):
    """What validation chooses of all combinations, and how plain fine-tuning stands to it."""
    if setting not in preferred or len(chosen[setting]) < 2:
        return
    choice = preferred[setting]
    words = {"worse": ", which is worse,", "as good": ", which is as good,", "open": ", one of the open ones,"}
    of_plain = choice.rivals.loc[choice.rivals["combination"] == "plain", "state"]
    plain = [f"Plain fine-tuning{words[s] * (choice.n > 1)} reaches {tell.percent(chosen[setting]['plain'].by_seed())}." for s in of_plain]
    name = ", ".join(["best", *[setting.title] * bool(setting.axes)])
    yield tell.answer(name, choice, name=lambda cell: cell["combination"], most=most, then=" ".join(plain) * (most == 0))


# %%
def against_plain(setting):
    """The combinations asked for against plain, judged together."""
    others = asked_for(setting)
    if others and "plain" in chosen[setting]:
        plain = chosen[setting]["plain"].by_seed()
        each = tell.listing([f"{c} {gain}" for c, gain in tell.against(others, plain).items()])
        where = f"**{tell.capital(setting.title)}**: " * bool(setting.axes)
        yield f"{where}Plain fine-tuning reaches {tell.percent(plain)} on test. Against it, p by Holm over {len(others)}: {each}."


def conclusions(found, unusual):
    """What the effects of a factorial come to, and whether the things depend on each other."""
    mixed = found["effect"].str.contains(TIMES)
    kinds = {"more": "helps", "less": "hurts", "open": "not told from doing nothing"}
    each = {kind: ", ".join(found.loc[~mixed & (found["told"] == told), "effect"]) for told, kind in kinds.items()}
    if found["n"].max() > 1:
        said = tell.listing([f"{kind}: {names}" for kind, names in each.items() if names])
        together = tell.listing([*found.loc[mixed & (found["told"] != "open"), "effect"]]) or "none"
        asked = f"With these labels and this length of training{unusual}, all combinations with a thing against all without it"
        yield f"{asked}: {said}. Interactions told from 0: {together}."


# %%
def cost(setting):
    """Seconds of training by unfreezing, the evaluations included."""
    seconds = finals[setting].groupby(["seed", "unfreezing"])["seconds"].mean().unstack()
    if {"gradual", "all"} <= set(seconds) and len(both := seconds[["gradual", "all"]].dropna()):
        yield (
            f"Frozen stages save their backward pass: with unfreezing a student takes {tell.number(both['gradual'] / both['all'], 2)} times the "
            f"time, {both['gradual'].mean():.2g} s against {both['all'].mean():.2g} s, evaluations included."
        )


concluded = [sentence for _, _, found, unusual, _ in tested for sentence in conclusions(found, unusual)]
costs = [sentence for setting in settings for sentence in cost(setting)]
counts = " and ".join(sorted({f"{n:,.0f}" for final in finals.values() for n in final["test_images"]}))
size = (
    f"Test accuracy is that of {counts} test images, the same for all students: their own sampling "
    "error is common to all combinations and not in the intervals."
)
architecture = choose(candidates, ["network"], margin=run.margin) if several and len(candidates) else None
which_network = [
    tell.answer("architecture", architecture, name=lambda cell: tell.network(cell["network"]), most=most) for most in (0, 5) if architecture
]
short = [sentence for s in settings for sentence in (*helps(s), *best(s, 0))]
full = [sentence for s in settings for sentence in (*against_plain(s), *best(s, 7))]
run.close([*which_network[:1], *short], [*which_network[1:], *full, *concluded, *costs, size])
