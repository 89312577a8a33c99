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
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.patches import Patch

from analysis.core import records, report, statistics, tell
from analysis.core.factorial import TIMES, effects, judged
from analysis.core.figures.bars import bars
from analysis.core.figures.curves import curves

run = report.start("finetuning")
METRIC = "test_accuracy"
OFF = {"augmentation": "none", "unfreezing": "all", "rate": "constant"}
SAID = {
    "iterative": "augmentation", "full": "full augmentation", "gradual": "unfreezing", "head": "head only",
    "one_cycle": "adaptive rate", "plateau": "plateau rate",
}  # fmt: skip
FACTOR = {"augmentation": "augmentation", "unfreezing": "unfreezing", "rate": "adaptive rate"}
ASKED = ("plain", "unfreezing + adaptive rate", "augmentation", "augmentation + unfreezing + adaptive rate")
BLUE, ORANGE, PALE, GREY = "#0072B2", "#D55E00", "#9FC7E0", "0.45"
PAPER = "arXiv 1801.06146, Table 7"
# validation errors in per cent of a text classifier on IMDb, TREC-6, AG: trained whole, unfrozen gradually with discriminative
# rates, and the same with a slanted triangular rate
FULL, FREEZ_DISCR, FREEZ_DISCR_STLR = (6.87, 6.86, 5.81), (5.39, 5.86, 6.04), (5.00, 5.69, 5.38)
PUBLISHED = {
    "unfreezing": np.subtract(FULL, FREEZ_DISCR),
    "adaptive rate": np.subtract(FREEZ_DISCR, FREEZ_DISCR_STLR),
}

# %% [markdown]
# ## What is compared
# Runs of different networks, weights, resolutions or numbers of labels are never mixed. Where the learning rate or a setting of
# the unfreezing varies too, each combination has the one that validation chose for it.

# %%
TUNED = [a for a in ("lr", "discrimination") if a in run.rows and run.rows[a].nunique() > 1]
OTHERS = [a for a in run.rows.attrs["axes"] if a not in (*OFF, *TUNED, "seed") and run.rows[a].nunique() > 1]


def said(line):
    """The combination of a line in words: what is on."""
    return " + ".join(SAID[line[f]] for f, off in OFF.items() if line[f] != off) or "plain"


def settings():
    """{name: rows of its students, of each combination the setting with the best validation}."""
    done, found = records.final(run.rows), {}
    for values, part in done.groupby(OTHERS, sort=True) if OTHERS else [((), done)]:
        keep = []
        for _, cells in part.groupby([*OFF], sort=False):
            if TUNED:
                tried = cells.groupby(TUNED, sort=True)["val_accuracy"].agg(["size", "mean"])
                full = tried[tried["size"] == tried["size"].max()]  # a rate that lost seeds does not win by luck
                best = full["mean"].idxmax()
                wanted = dict(zip(TUNED, best if isinstance(best, tuple) else (best,), strict=True))
                cells = cells[(cells[TUNED] == pd.Series(wanted)).all(axis=1)]
            keep.append(cells.drop_duplicates("student"))
        final = pd.concat(keep, ignore_index=True)
        final["combination"] = final.apply(said, axis=1)
        final["things"] = sum((final[f] != off).astype(int) for f, off in OFF.items())
        name = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in zip(OTHERS, values, strict=True))
        found[name] = final.sort_values(["things", *OFF], ignore_index=True)
    return found


SETTINGS = settings()


def name(figure, setting):
    return figure + "".join(c if c.isalnum() else "_" for c in f" {setting}") if setting else figure


def heading(text, setting):
    """The figure's title: what, of which network and how many images, data, seeds, run."""
    first = SETTINGS[setting].iloc[0]
    images = (
        f"{first['network']}, weights {first['weights']}, {first['train_size']} labels, {first['resolution']} pixels; "
        f"{first['val_images']:.0f} validation and {first['test_images']:.0f} test images"
    )
    return f"{text}\n{images}\n{run.subtitle}"


def of(final, combination, metric=METRIC):
    """A metric of one combination by seed."""
    return final[final["combination"] == combination].set_index("seed")[metric].dropna()


def factorials(final):
    """{column: (off, on)} of every full factorial in the run: one, unless a factor has several values that are on."""
    on = [[v for v in SAID if v != off and v in set(final[f])] for f, off in OFF.items()]
    for values in itertools.product(*on):
        factors = {f: (off, v) for (f, off), v in zip(OFF.items(), values, strict=True)}
        if len(effects(final, factors, METRIC)):
            yield factors


def of_factors(text, factors):
    """A heading that names the values that are on, where they are not the usual ones."""
    unusual = [f"{f} {on}" for f, (_, on) in factors.items() if on not in ("iterative", "gradual", "one_cycle")]
    return text + "".join(f", {u}" for u in unusual)


def effect_words(effect):
    return TIMES.join(FACTOR[f] for f in effect.split(TIMES))


# %% [markdown]
# ## Test accuracy of the eight combinations
# Dark: the four that the assignment asks for.

# %%
for setting, final in SETTINGS.items():
    table = statistics.summarise(final, ["things", "combination"], METRIC).rename(columns={"mean": METRIC})
    table[[METRIC, "low", "high"]] *= 100
    order = list(dict.fromkeys(final["combination"]))
    table = table.sort_values("combination", key=lambda column: column.map(order.index))
    table["color"] = np.where(table["combination"].isin(ASKED), BLUE, PALE)
    figure, ax = plt.subplots(figsize=(9.5, 0.5 * len(table) + 2), layout="constrained")
    bars(table, "combination", METRIC, hue="color", ax=ax)
    patches = [Patch(color=BLUE, label="asked for"), Patch(color=PALE, label="the rest of the factorial")]
    figure.legend(handles=patches, loc="outside lower center", ncols=2, fontsize=8.5)
    figure.suptitle(heading("Test accuracy, mean and 95 % interval", setting), fontsize=10.5)
    run.figure(figure, name("combinations", setting))

# %% [markdown]
# ## What each thing does, and what they do together
# The effect of a thing is the mean over the combinations where it is on less the mean where it is off; an interaction is half of what one
# effect gains when the other thing is switched on. Computed by seed, then averaged. Open marks: published effects on the
# errors of text classifiers, at one setting of the other things (Howard & Ruder 2018, Table 7).

# %%
for setting, final in SETTINGS.items():
    for i, factors in enumerate(factorials(final)):
        found = judged(effects(final, factors, METRIC))
        figure, ax = plt.subplots(figsize=(9.5, 5), layout="constrained")
        for y, (effect, d, p) in zip(range(len(found), 0, -1), found, strict=True):
            half = [[100 * (d.mean - d.low)], [100 * (d.high - d.mean)]] if d.n > 1 else None
            told = d.n > 1 and p < 1 - statistics.LEVEL
            ax.errorbar(
                100 * d.mean, y, xerr=half, fmt="o", capsize=4, color=BLUE, markerfacecolor=BLUE if told else "white"
            )
            ax.annotate(f"{100 * d.mean:+.1f}", (100 * d.mean, y), (0, 7), textcoords="offset points", ha="center", fontsize=8.5)  # fmt: skip
            if effect_words(effect) in PUBLISHED:
                ax.plot(PUBLISHED[effect_words(effect)], [y - 0.32] * 3, "d", color=GREY, markerfacecolor="none", markersize=5)  # fmt: skip
        ax.plot([], [], "o", color=BLUE, label="told from 0 (Holm over the seven)")
        ax.plot([], [], "o", color=BLUE, markerfacecolor="white", label="not told from 0")
        ax.plot([], [], "d", color=GREY, markerfacecolor="none", label=f"published: text, three data sets ({PAPER})")
        ax.axvline(0, color="0.3", linewidth=0.8, zorder=0)
        ax.set_yticks(range(len(found), 0, -1), [effect_words(effect) for effect, _, _ in found])
        ax.set(ylim=(0.3, len(found) + 0.6), xlabel="effect on test accuracy, points")
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
        text = of_factors("Effects and interactions, mean over seeds and 95 % interval", factors)
        figure.suptitle(heading(text, setting), fontsize=10.5)
        run.figure(figure, name("effects" + (f"_{i + 1}" if i else ""), setting))

# %% [markdown]
# Each pair of things, averaged over the third: parallel lines do not interact. The axis is cut, for the differences are small
# beside the accuracies; the bars above are not.

# %%
for setting, final in SETTINGS.items():
    for i, factors in enumerate(factorials(final)):
        figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), sharey=True, layout="constrained")
        part = final[np.logical_and.reduce([final[f].isin(pair) for f, pair in factors.items()])]
        for (a, b), ax in zip(itertools.combinations(factors, 2), axes, strict=True):
            means = part.groupby([a, b, "seed"])[METRIC].mean().mul(100).reset_index()
            for value, color, style in zip(factors[b], (GREY, ORANGE), ("--", "-"), strict=True):
                lines = [
                    statistics.interval(means.loc[(means[a] == v) & (means[b] == value), METRIC]) for v in factors[a]
                ]
                whiskers = [line.high - line.mean if line.n > 1 else 0 for line in lines]
                at = np.array([0, 1]) + (0.02 if value == factors[b][1] else -0.02)  # so that whiskers do not coincide
                ax.errorbar(at, [line.mean for line in lines], whiskers, fmt="o" + style, color=color, capsize=4,
                            label=f"{FACTOR[b]} {'on' if value == factors[b][1] else 'off'}")  # fmt: skip
            ax.set_xticks([0, 1], [f"{FACTOR[a]} off", f"{FACTOR[a]} on"])
            ax.set(xlim=(-0.3, 1.3))
            ax.legend(fontsize=8.5)
            ax.grid(axis="y", alpha=0.25)
        axes[0].set_ylabel("test accuracy, %")
        text = of_factors("Pairs of things, mean over the third and over seeds, 95 % interval", factors)
        figure.suptitle(heading(text, setting), fontsize=10.5)
        run.figure(figure, name("interactions" + (f"_{i + 1}" if i else ""), setting))

# %% [markdown]
# ## While learning
# Validation accuracy over the training. Dotted: the moments at which a stage thaws, from the head's neighbour down to the stem.

# %%
schedules = run.table("schedules")


def scheduled(final, unfreezing, rate, augmentation=None):
    """Lines of the table of schedules of such students, with `share`: how much of the training is over, in per cent."""
    part = final[(final["unfreezing"] == unfreezing) & (final["rate"] == rate)]
    if augmentation is not None:
        part = part[part["augmentation"] == augmentation]
    lines = schedules[schedules["student"].isin(part["student"])].copy()
    return lines.assign(share=100 * lines["at"] / lines["steps"])


def moments(lines):
    """When each stage is first trained, in per cent of the training, by name; those trained from the start are left out."""
    first = lines[lines["trained"] > 0].groupby(["depth", "stage"])["share"].min().reset_index()
    return [(line.stage, line.share) for line in first.itertuples() if line.share > 0]


for setting, final in SETTINGS.items():
    history = run.rows[run.rows["student"].isin(final["student"]) & (run.rows["status"] != "failed")]
    history = history.drop_duplicates(["student", "step"])
    history = history.assign(share=100 * history["step"] / history["steps"])
    blocks = list(final.groupby(["augmentation", "rate"], sort=False).groups)
    columns = min(2, len(blocks))
    shape = (-(-len(blocks) // columns), columns)
    figure, axes = plt.subplots(
        *shape,
        figsize=(6.5 * columns, 3.7 * shape[0] + 1.2),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for ax in axes.flat[len(blocks) :]:
        ax.set_visible(False)
    shown = {"all": GREY, "gradual": ORANGE, "head": BLUE}
    for (augmentation, rate), ax in zip(blocks, axes.flat, strict=False):
        part = history[(history["augmentation"] == augmentation) & (history["rate"] == rate)]
        table = statistics.summarise(part, ["unfreezing", "share"], "val_accuracy")
        table[["mean", "low", "high"]] *= 100
        table = table.rename(columns={"mean": "val_accuracy"})
        curves(table, "share", "val_accuracy", "unfreezing", colors=shown, ax=ax)
        for stage, at in moments(scheduled(final, "gradual", rate, augmentation)):
            ax.axvline(at, color=ORANGE, linestyle=":", linewidth=1, zorder=0)
            ax.annotate(stage, (at, 3), (2, 0), textcoords="offset points", rotation=90, fontsize=7, color=ORANGE)
        ax.set(xlim=(0, 101), ylim=(0, 100), xlabel="share of the training, %", ylabel="validation accuracy, %")
        ax.set_title(f"augmentation {augmentation}, rate {rate}", fontsize=10)
    axes[0][0].legend(title="unfreezing", fontsize=8.5, loc="lower right")
    figure.suptitle(
        heading("Learning, mean over seeds and 95 % interval; dotted: a stage thaws", setting), fontsize=10.5
    )
    run.figure(figure, name("learning", setting))

# %% [markdown]
# ## What was frozen when
# As recorded while training: the learning rate of every stage, hatched where it was frozen; below, the strength of the augmentation.

# %%
for setting, final in SETTINGS.items():
    if schedules.empty:
        continue
    used = schedules[schedules["student"].isin(final["student"])]
    top = used["rate_used"].max()
    norm = LogNorm(top / 1e4, top)
    kinds = [k for k in ("all", "gradual", "head") if k in set(final["unfreezing"])]
    rates = [r for r in ("constant", "one_cycle", "plateau") if r in set(final["rate"])]
    figure, axes = plt.subplots(
        len(kinds) + 1, len(rates), figsize=(6.2 * len(rates) + 1, 2.9 * len(kinds) + 2.4), squeeze=False, sharex=True,
        height_ratios=[2.0] * len(kinds) + [1.0], layout="constrained",
    )  # fmt: skip
    for (kind, rate), ax in zip(itertools.product(kinds, rates), axes[:-1].flat, strict=True):
        part = scheduled(final, kind, rate)
        wide = part.pivot_table(index="depth", columns="share", values="rate_used", aggfunc="mean")
        edges = [*wide.columns, 100.0]
        grid = np.ma.masked_less_equal(wide.to_numpy(), 0)
        ax.set_facecolor("0.93")
        ax.patch.set(hatch="///", edgecolor="0.7")
        mesh = ax.pcolormesh(edges, np.arange(len(wide) + 1) - 0.5, grid, norm=norm, cmap="viridis", rasterized=True)
        stages = part.drop_duplicates("depth").set_index("depth")["stage"]
        ax.set_yticks(wide.index, [stages[d] for d in wide.index], fontsize=8)
        ax.invert_yaxis()
        ax.set_title(f"unfreezing {kind}, rate {rate}", fontsize=10)
    for rate, ax in zip(rates, axes[-1], strict=True):
        for (kind, color), style in zip({"none": GREY, "iterative": ORANGE, "full": BLUE}.items(), "--:", strict=False):
            part = used[(used["augmentation"] == kind) & (used["rate"] == rate)].drop_duplicates("at").sort_values("at")
            if len(part):
                shares = [*(100 * part["at"] / part["steps"]), 100]
                strengths = [*part["strength"], part["strength"].iloc[-1]]
                ax.step(shares, strengths, style, where="post", color=color, label=kind)
        ax.set(ylim=(-0.08, 1.08), xlabel="share of the training, %", ylabel="strength")
        ax.legend(title="augmentation", fontsize=7.5, title_fontsize=7.5)
    figure.colorbar(mesh, ax=axes[:-1], label="learning rate (hatched: frozen)", shrink=0.8, extend="min")
    figure.suptitle(heading("What was frozen when, mean over seeds", setting), fontsize=10.5)
    run.figure(figure, name("frozen", setting))

# %% [markdown]
# ## What came out
# Computed from the rows. A winner that the seeds cannot tell from its rivals is called a tie.


# %%
def asked_sentences(final):
    """The assignment's comparison: the four combinations, and each against plain."""
    there = [c for c in ASKED if len(of(final, c))]
    each = [f"{c} {tell.percent(statistics.interval(of(final, c)))}" for c in there]
    yield f"Test accuracy of the combinations asked for: {tell.listing(each)}."
    rivals = [c for c in there if c != "plain"]
    if "plain" not in there or not rivals:
        return
    found = [statistics.paired(of(final, c), of(final, "plain")) for c in rivals]
    corrected = statistics.holm([d.p for d in found])
    told = [f"{c} {tell.points(d)}, {verdict(d, p)}" for c, d, p in zip(rivals, found, corrected, strict=True)]
    yield f"Against plain, paired by seed, p by Holm over {len(rivals)}, intervals uncorrected: {tell.listing(told)}."


def verdict(difference, p):
    """What a corrected p says; `moves` where nothing can be said of noise."""
    if math.isnan(difference.p):
        return tell.moves(difference)
    if p >= 1 - statistics.LEVEL:
        return f"a tie (p = {p:.2g})"
    size = f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"
    return f"{'a gain' if difference.mean > 0 else 'a loss'} ({size})"


def effect_sentences(final):
    for factors in factorials(final):
        found = judged(effects(final, factors, METRIC))
        count = len(found)
        single = [(e, d, p) for e, d, p in found if TIMES not in e]
        mixed = [(e, d, p) for e, d, p in found if TIMES in e]
        each = [f"{effect_words(e)} {tell.points(d)}, {verdict(d, p)}" for e, d, p in single]
        yield (
            of_factors(f"Effects over the factorial (p by Holm over {count}, intervals uncorrected)", factors)
            + f": {tell.listing(each)}."
        )
        told = [f"{effect_words(e)} {tell.points(d)}, {verdict(d, p)}" for e, d, p in mixed if p < 1 - statistics.LEVEL]
        if told:
            yield f"Interactions told from 0: {tell.listing(told)}."
        elif single[0][1].n > 1:
            largest = max(mixed, key=lambda m: abs(m[1].mean))
            yield (
                f"No interaction is told from 0; the largest is {effect_words(largest[0])}, {tell.points(largest[1])}, so what the "
                "three things add is not shown to depend on each other."
            )
        if single[0][1].n > 1:
            yield conclusion(single)


def conclusion(single):
    """What the effects come to, in one sentence. single: of each thing its name, difference and corrected p."""
    kinds: dict[str, list[str]] = {"helps": [], "hurts": [], "not told from doing nothing": []}
    for effect, d, p in single:
        kind = 2 if p >= 1 - statistics.LEVEL else int(d.mean < 0)
        list(kinds.values())[kind].append(effect_words(effect))
    told = [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
    return f"So, with these labels and this length of training: {tell.listing(told)}."


def winner_sentence(final):
    found = statistics.stands_out(final, ["combination"], "val_accuracy", METRIC)
    best = found.best["combination"]
    return (
        f"Validation chooses {best}: {tell.percent(statistics.interval(of(final, best)))} on test. "
        f"{tell.verdict(found, lambda cell: cell['combination'], most=7)}"
    )


def cost_sentence(final):
    """Seconds of training by unfreezing, the evaluations included."""
    gradual, whole = (
        final[final["unfreezing"] == kind].groupby("seed")["seconds"].mean() for kind in ("gradual", "all")
    )
    both = pd.concat([gradual, whole], axis=1, join="inner").to_numpy()
    if len(both):
        ratio = statistics.interval(both[:, 0] / both[:, 1])
        spread = f" ({ratio.low:.2f} to {ratio.high:.2f})" if ratio.n > 1 else ""
        yield (
            f"Frozen stages save their backward pass: with unfreezing a student takes {ratio.mean:.2f}{spread} times the time, "
            f"{both[:, 0].mean():.2g} s against {both[:, 1].mean():.2g} s, evaluations included."
        )


def published_sentence(final):
    text = [f"{what} {', '.join(f'{v:+.2f}' for v in values)}" for what, values in PUBLISHED.items()]
    return (
        f"Published, on the errors of text classifiers (IMDb, TREC-6, AG; {PAPER}), in points: {'; '.join(text)} (the rate with "
        "unfreezing on; slanted triangular). Another kind of data and network: a comparison in sign, not in size."
    )


def tuned_sentences():
    for setting, final in SETTINGS.items():
        tuned = {  # of each combination what was chosen; without gradual unfreezing there is no discrimination
            line["combination"]: {a: line[a] for a in TUNED if a != "discrimination" or line["unfreezing"] == "gradual"}
            for _, line in final.drop_duplicates("combination").iterrows()
        }
        each = [f"{name} {', '.join(f'{v:g}' for v in chosen.values())}" for name, chosen in tuned.items() if chosen]
        tried = " and ".join(f"{a} of {', '.join(f'{v:g}' for v in sorted(run.rows[a].unique()))}" for a in TUNED)
        where = f" ({setting})" if setting else ""
        edges = {a: (run.rows[a].min(), run.rows[a].max()) for a in TUNED}
        outer = [name for name, chosen in tuned.items() if any(v in edges[a] for a, v in chosen.items())]
        beyond = (
            f"At the edge of these, so that better ones may lie outside: {tell.listing(outer, most=8)}."
            if outer
            else "None is at the edge of these."
        )
        yield f"Validation chose for each combination its {tried}{where}: {tell.listing(each, most=8)}. {beyond}"


def sentences():
    for setting, final in SETTINGS.items():
        if setting:
            yield f"**{setting[0].upper()}{setting[1:]}**:"
        yield from asked_sentences(final)
        yield from effect_sentences(final)
        yield winner_sentence(final)
        yield from cost_sentence(final)
    yield published_sentence(final)
    if TUNED:
        yield from tuned_sentences()
    else:
        yield "All combinations share one peak learning rate; it was not tuned for each of them."
    counts = sorted({int(n) for final in SETTINGS.values() for n in final["test_images"]})
    yield (
        f"Test accuracy is that of {' and '.join(map(str, counts))} test images, the same for all students: their own sampling "
        "error is common to all combinations and not in the intervals."
    )
    yield from run.caveats()


run.close(sentences())
