# %% [markdown]
# # Should an LSTM that learns to copy see long sequences first, or short ones?
#
# The network reads a sequence of random bit vectors and must say it again, then mark its end (repeat-copy of the Neural Turing
# Machine, arXiv 1410.5401; the number of repeats is constant). A schedule chooses the length of every training batch:
#
# - short first: the shortest alone, then ever longer ones too, until all lengths come equally often; long first: its mirror;
# - uniform: all lengths equally often, always; target only: the longest alone;
# - linear window: a window over a third of the lengths slides from short to long;
# - combined (Zaremba, Sutskever, arXiv 1410.4615): half at the frontier of a curriculum, half uniform;
#   look back and forward (Collier, Beel 2018): 80 % at the frontier;
# - bandit (Graves et al., arXiv 1704.03003): Exp3.S, paid in prediction gain.
#
# Quality is measured on held-out sequences, all lengths counting alike: bits per target bit (1 is chance) and the share of
# sequences that are right in every bit. A long sequence costs more than a short one, so quality is shown by iterations
# and by time steps seen (tokens). Validation sequences choose, test sequences report. Every number is a mean over seeds with
# Student's 95 % interval; seeds share initial weights and random numbers across schedules, so differences are paired.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from analysis.core import blocks, curricula, report, statistics, tell
from analysis.core.choice import choose_each
from analysis.core.figures.heatmap import raster
from analysis.core.figures.lifetimes import arrivals
from analysis.core.figures.scales import MAP

COLORS = {
    "short first": "#0072B2", "long first": "#D55E00", "uniform": "#009E73", "target only": "#000000",
    "linear window": "#CC79A7", "combined": "#56B4E9", "look back and forward": "#E69F00", "bandit": "#7A5195",
}  # fmt: skip
ASKED = ["short first", "long first"]
THRESHOLD = 0.95
BY = {"step": "iterations", "tokens": "time steps seen, million"}
run = report.open("repeat_copy", words=dict.fromkeys(("task", "what", "over", "curriculum"), "{}"))

# %% [markdown]
# ## What is compared
# Runs of different tasks (longest length, repeats, width) are never mixed. Where other axes vary too (learning rate, cells,
# ...), each schedule has what validation chose for it: most exact sequences, then fewest bits; what lost seeds is ranked on
# those it has left.

# %%
TASK = ["max_length", "repeats", "bits"]
TUNED = run.varied(but=[*TASK, "schedule"])


def said(setting):
    """`lengths 1 to 12, 4 bits`"""
    repeats = f", {setting.axes['repeats']} repeats" if setting.axes["repeats"] > 1 else ""
    return f"lengths 1 to {setting.axes['max_length']}, {tell.count(setting.axes['bits'], 'bit')}{repeats}"


def chosen(setting):
    """{schedule: what validation chose for it}, in the order of COLORS."""
    how = {"by": ("val_exact", "-val_bits"), "report": "test_exact"}
    found = choose_each(setting.students, "curriculum", [*TUNED, "curriculum"], **how)
    return {schedule: found[schedule] for schedule in COLORS if schedule in found}


called = run.students.assign(curriculum=run.students["schedule"].str.replace("_", " "))
rest = [axis for axis in run.axes if axis not in TASK]
tasks = run.settings(but=rest, first=TASK, cells=called, canonical=True)
MANY = ["task"] * (len(tasks) > 1)  # small panels name it only then
best = {task.name: chosen(task) for task in tasks}
final = pd.concat([c.students.assign(task=said(task)) for task in tasks for c in best[task.name].values()])
mine = final[["student", "curriculum", "task"]]
history = mine.merge(run.history, on="student").assign(tokens=lambda t: t["tokens"] / 1e6)
looked = run.table("lengths").drop_duplicates(["student", "step", "length"])
lengths = mine.merge(looked, on="student")
trained = lengths[lengths["length"] <= lengths["max_length"]]

# %% [markdown]
# ## Quality by iterations, and by tokens
# The two schedules of the assignment and no schedule. By tokens the lines are read off at equal numbers of time steps.

# %%
QUALITIES = {"bits per target bit (1 is chance)": ("bits", 1), "exact sequences, %": ("exact", 100)}


def over(metric, x):
    """A metric by schedule, seed and task at equal iterations or equal time steps, which are then called `at`."""
    if x == "step":
        return history.assign(at=history["step"])
    parts = [
        curricula.at_common_points(t, x, metric, "curriculum").assign(task=task)
        for task, t in history.groupby("task", sort=False)
    ]
    return pd.concat(parts).rename(columns={x: "at"})


def framed(ax, panel):
    """Labels of a panel that has its own axes; a length not yet trained costs more than chance."""
    top = (
        105
        if panel.values["what"].startswith("exact")
        else 1.05 * max(1, panel.table.groupby(["curriculum", "at"])["value"].mean().max())
    )
    ax.set(ylim=(0, top), xlabel=panel.values.get("over", "length of the sequence"), ylabel=panel.values["what"])
    ax.grid(alpha=0.25)


def quality():
    each = [
        over(f"val_{metric}", x).assign(what=what, over=unit, value=lambda t, m=metric, k=scale: k * t[f"val_{m}"])
        for what, (metric, scale) in QUALITIES.items() for x, unit in BY.items()
    ]  # fmt: skip
    table = pd.concat(each)
    compared = table[table["curriculum"].isin([*ASKED, "uniform"])]
    blocks.learning(
        run, compared if len(compared) else table, "at", "value", "Validation quality while learning, mean over lengths and seeds, 95 % band",
        per="curriculum", rows=["task", "what"], columns=["over"], colors=COLORS, marker="", legend="", also=framed, share=False, name="quality",
    )  # fmt: skip


quality()

# %% [markdown]
# ## Every schedule on its own
# Exact sequences on validation, beside uniform where the run has it.


# %%
def spare(ax, panel):
    ax.grid(alpha=0.25)
    ax.xaxis.set_major_locator(MaxNLocator(4))


def schedules():
    together = final["curriculum"].eq("uniform").any() and final["curriculum"].nunique() > 1
    heading = "Every schedule against uniform" if together else "Every schedule"
    for x, unit in BY.items():
        table = over("val_exact", x)
        names = [name for name in COLORS if name in set(table["curriculum"])]
        each = [table[table["curriculum"].isin([name, "uniform"])].assign(what=name) for name in names]
        blocks.learning(
            run, pd.concat(each), "at", "val_exact", f"{heading}, by {unit.split(',')[0]}, 95 % band", per="curriculum", columns=[*MANY, "what"], wrap=4,
            colors=COLORS, marker="", legend="", xlabel=unit, ylabel="exact validation sequences, %", size=(3.6, 2.8),
            name={"step": "schedules", "tokens": "schedules_by_tokens"}[x], also=spare,
        )  # fmt: skip


schedules()

# %% [markdown]
# ## Which length is learnt when
# Exact validation sequences of every length. Below, what each schedule trained: the share of every length in the batches
# between two evaluations (means over seeds). For the bandit this is what it chose.


# %%
def rasters(name, metric, heading, norm):
    places = blocks.panels(run, trained, columns=[*MANY, "curriculum"], wrap=4)
    figure, axes = blocks.grid(places, 3.6, 2.7)
    for panel, ax in zip(places, axes, strict=True):
        raster(
            statistics.summarise(panel.table, ["step", "length"], metric), "step", "length", metric, norm.vmax, ax, norm
        )
        ax.set(xlabel="", ylabel="")
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.colorbar(plt.cm.ScalarMappable(norm, MAP), ax=axes, label="%", shrink=0.8)
    figure.supxlabel("iterations", fontsize=10)
    figure.supylabel("length of the sequence", fontsize=10)
    figure.suptitle(run.title(heading), fontsize=11)
    run.figure(figure, name)


LEARNT = "Exact validation sequences by length and iteration, mean over seeds"
TRAINED = "What was trained: share of every length in the batches, mean over seeds"
rasters("lengths", "val_exact", LEARNT, plt.Normalize(0, 100))
rasters("shares", "share", TRAINED, PowerNorm(0.5, 0, 100))  # uniform has a twelfth each

# %% [markdown]
# ## How fast
# The first evaluation at which at least 95 % of the validation sequences are exact, all lengths counting alike: a dot per seed,
# and the mean with its interval where all seeds get there. A cross at the right edge counts those that never do.

# %%
reached = mine.assign(seed=final["seed"].to_numpy()).join(
    curricula.first_at(history, "val_exact", THRESHOLD, [*BY]), on="student"
)


def speed():
    places = blocks.panels(run, pd.concat([reached.assign(over=unit) for unit in BY.values()]), ["task"], ["over"])
    figure, axes = blocks.grid(places, 7, 4.2)
    for panel, ax in zip(places, axes, strict=True):
        x = [*BY][panel.place[1]]
        end = history.loc[history["task"] == panel.values["task"], x].max()
        arrivals(panel.table, "curriculum", x, end, COLORS, ax)
        ax.set_xlabel(BY[x])
    heading = f"Iterations and time steps to {100 * THRESHOLD:.0f} % exact validation sequences"
    figure.suptitle(run.title(heading, "×: never"), fontsize=11)
    run.figure(figure, "speed")


speed()

# %% [markdown]
# ## At the end, and beyond the longest trained length
# Test sequences of every length after the last iteration, up to twice the longest trained one (dotted).

# %%
tested = lengths.dropna(subset=["test_exact"])


def generalisation():
    each = [
        tested.assign(what=what, at=tested["length"], value=scale * tested[f"test_{metric}"])
        for what, (metric, scale) in QUALITIES.items()
    ]

    def bordered(ax, panel):
        framed(ax, panel)
        ax.axvline(panel.table["max_length"].iloc[0] + 0.5, color="0.3", linestyle=":")

    blocks.learning(
        run, pd.concat(each[::-1]), "at", "value", "Test sequences of every length after training", per="curriculum", rows=["task"], columns=["what"],
        colors=COLORS, legend="", also=bordered, share=False, size=(7, 4.2), name="generalisation", note="dotted: the longest trained length",
    )  # fmt: skip


generalisation()

# %% [markdown]
# ## What came out
# Computed from the rows. A rival of what was chosen is as good (within half a point), worse, or open; all of a choice hold together.


# %%
def values(task, schedule, metric="test_exact"):
    return best[task.name][schedule].by_seed(metric)


def by_length(task, schedule, first, last, metric="test_exact"):
    """Mean of a test metric over lengths first..last, by seed."""
    lines = tested[(tested["task"] == said(task)) & (tested["curriculum"] == schedule)]
    return lines[lines["length"].between(first, last)].groupby("seed")[metric].mean()


def goal_sentence(task):
    last = min(10, task.axes["max_length"])
    exact = {s: statistics.interval(by_length(task, s, 1, last)) for s in best[task.name]}
    got = [f"{s} {tell.percent(i)}" for s, i in exact.items() if i.mean >= 0.99]
    top = max(exact, key=lambda s: exact[s].mean)
    what = f"99 % exact test sequences at lengths 1 to {last}"
    if got:
        reach = "reaches" if len(got) == 1 else "reach"
        return f"{tell.count(len(got), 'schedule')} of {len(exact)} {reach} {what}: {tell.listing(got, most=8)}."
    return f"No schedule reaches {what}; the best is {top} with {tell.percent(exact[top])}."


# %%
def asked_sentence(task):
    """The assignment's question: long against short."""
    short, long = (values(task, s) for s in ASKED)
    bits = statistics.paired(*(values(task, s, "test_bits") for s in ASKED))
    return (
        f"Priority to short sequences against priority to long ones, at the end: {tell.percent(short)} against {tell.percent(long)} exact "
        f"test sequences over lengths 1 to {task.axes['max_length']}; short first less long first, paired by seed, "
        f"{tell.difference(short, long)}; in bits per target bit {bits_apart(bits)}."
    )


def bits_apart(d):
    """`-0.012 bits (-0.020 to -0.004)`"""
    return f"{d.mean:+.3f} bits" + (f" ({d.low:+.3f} to {d.high:+.3f})" if d.n > 1 else f" (n = {d.n}, no interval)")


def asked_details(task):
    """Long against short at the longest length, after equally many time steps, and along the whole curve."""
    last, both = task.axes["max_length"], history[(history["task"] == said(task)) & history["curriculum"].isin(ASKED)]
    at_last = [by_length(task, s, last, last) for s in ASKED]
    yield (
        f"At the longest length alone ({last}): {tell.percent(at_last[0])} against {tell.percent(at_last[1])}, {tell.difference(at_last[0], at_last[1])}."
    )
    ends = {x: both.groupby("student")[x].max().min() for x in BY}
    lines = {
        x: [
            curricula.curve_from_0(both[both["curriculum"] == s], x, "val_exact", np.linspace(0, end, 200))
            for s in ASKED
        ]
        for x, end in ends.items()
    }
    equal = [line.iloc[:, -1] for line in lines["tokens"]]
    ratio = values(task, "long first", "tokens") / values(task, "short first", "tokens")
    yield (
        f"In as many iterations long first saw {ratio.mean():.2f} times as many time steps. After equally many ({ends['tokens']:.2f} million) "
        f"it is {tell.percent(equal[0])} against {tell.percent(equal[1])} exact validation sequences, {tell.difference(equal[0], equal[1])}."
    )
    apart = {x: statistics.paired(one.mean(axis=1), other.mean(axis=1)) for x, (one, other) in lines.items()}
    by_step, by_tokens = (f"{tell.points(d)} by {BY[x].split(' seen')[0]} ({tell.moves(d)})" for x, d in apart.items())
    yield f"Averaged over all of the validation curve, short first less long first is {by_step} and {by_tokens}."


# %%
winner = choose_each(final, "task", ["curriculum"], by="val_exact", report="test_exact")


def winner_sentence(task):
    found = winner[said(task)]
    told = tell.choice(found, lambda cell: cell["curriculum"], most=8)
    return (
        f"Validation chooses {found.best['curriculum']}: {tell.percent(found.by_seed())} exact test sequences. {told}"
    )


def uniform_sentence(task):
    others = [s for s in best[task.name] if s != "uniform"]
    level = values(task, "uniform")
    parts = [(s, statistics.paired(values(task, s), level)) for s in others]
    each = tell.listing([f"{s} {tell.points(d)}, {tell.moves(d)}" for s, d in parts], most=8)
    return f"Against uniform ({tell.percent(level)} exact test sequences), paired by seed, uncorrected: {each}."


def speed_sentence(task):
    parts = []
    for schedule, line in reached[reached["task"] == said(task)].groupby("curriculum", sort=False):
        never, (steps, tokens) = int(line["step"].isna().sum()), (statistics.interval(line[x]) for x in BY)
        spread = f" ({steps.low:.0f} to {steps.high:.0f})" * (steps.n > 1)
        lost = f"{schedule} never for {never} of {tell.count(len(line), 'seed')}"
        parts.append(lost if never else f"{schedule} {steps.mean:.0f}{spread}, {tokens.mean:.2f} million")
    every = int(np.median(np.diff(np.unique(history["step"]))))
    what = f"to {100 * THRESHOLD:.0f} % exact validation sequences (looked at every {every} iterations)"
    return f"Iterations, and time steps, {what}: {tell.listing(parts, most=8)}."


# %%
def beyond_sentence(task):
    n = task.axes["max_length"]
    all_of, one = ({s: by_length(task, s, n + 1, last) for s in best[task.name]} for last in (2 * n, n + 1))
    top, nearest = (max(exact, key=lambda s: exact[s].mean()) for exact in (all_of, one))
    return (
        f"Beyond the longest trained length ({n + 1} to {2 * n}) the best schedule, {top}, gets {tell.percent(all_of[top])} exact test "
        f"sequences; one vector longer than trained, {nearest} gets {tell.percent(one[nearest])}."
    )


def target_sentence(task):
    n = task.axes["max_length"]
    at, below = (tell.percent(by_length(task, "target only", *span)) for span in ((n, n), (1, n - 1)))
    return f"Trained on length {n} alone, the network gets {at} exact test sequences there and {below} at lengths 1 to {n - 1}."


def bandit_sentence(task):
    mean = curricula.mean_lengths(trained[(trained["task"] == said(task)) & (trained["curriculum"] == "bandit")])
    fifth = max(1, mean.shape[1] // 5)
    first, last = mean.iloc[:, :fifth].mean(axis=1), mean.iloc[:, -fifth:].mean(axis=1)
    moved = statistics.paired(last, first)
    return (
        f"The bandit chose a mean length of {first.mean():.1f} in the first fifth of the training and {last.mean():.1f} in the last, "
        f"{tell.number(moved, 1, signed=True)} ({tell.moves(moved, 'longer', 'shorter')}); uniform has {(task.axes['max_length'] + 1) / 2:.1f}."
    )


# %%
ABOUT = [
    "Published, in kind: training on the target alone fails, uniform is a strong baseline, prediction gain is slightly faster "
    "(Graves et al., arXiv 1704.03003, lengths and repeats 1 to 13); look back and forward is the best syllabus made by hand and "
    "prediction gain competitive (Collier, Beel 2018); combined or mixed is nearly always best (Zaremba, Sutskever, arXiv "
    "1410.4615, on programs). Their curricula advance when the network has learnt a stage; ours advance by the clock.",
    "The learning rate falls to 0 over the training whatever the schedule, so what is admitted late is learnt in smaller "
    "steps; and all schedules have the same settings unless the run says otherwise, tuned for none of them.",
    *[f"Each schedule has the {', '.join(TUNED)} that validation chose for it."] * bool(TUNED),
]


def answer(task):
    yield from [asked_sentence(task)] * (set(ASKED) <= set(best[task.name]))
    yield goal_sentence(task)
    yield winner_sentence(task)


def details(task):
    has = best[task.name]
    yield from asked_details(task) if set(ASKED) <= set(has) else ()
    yield from [uniform_sentence(task)] if "uniform" in has and len(has) > 1 else []
    yield speed_sentence(task)
    yield beyond_sentence(task)
    yield from [target_sentence(task)] if "target only" in has else []
    yield from [bandit_sentence(task)] if "bandit" in has else []


head = {task.name: f"**{tell.capital(said(task))}**: " * (len(tasks) > 1) for task in tasks}
short = [head[task.name] + line for task in tasks for line in answer(task)]
run.close(short, [*(head[task.name] + line for task in tasks for line in details(task)), *ABOUT])
