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
# sequences that are right in every bit (exact). A long sequence costs more than a short one, so quality is shown by iterations
# and by time steps seen. Validation sequences choose, test sequences report. Every number is a mean over seeds with
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
from analysis.core.settings import select

COLORS = {
    "short first": "#0072B2", "long first": "#D55E00", "uniform": "#009E73", "target only": "#000000",
    "linear window": "#CC79A7", "combined": "#56B4E9", "look back and forward": "#E69F00", "bandit": "#7A5195",
}  # fmt: skip
ASKED = ["short first", "long first"]
THRESHOLD = 0.95
BY = {"step": "iterations", "tokens": "million time steps"}
WORDS: dict = {
    "max_length": "lengths 1 to {}", "repeats": lambda n: tell.count(n, "repeat"), "bits": lambda n: tell.count(n, "bit"),
    **dict.fromkeys(("task", "what", "over", "curriculum"), "{}"),
}  # fmt: skip
run = report.open("repeat_copy", words=WORDS)

# %% [markdown]
# ## What is compared
# Runs of different tasks (longest length, repeats, width) are never mixed. Where other axes vary too (learning rate, cells,
# ...), each schedule has what validation chose for it: most exact sequences, then fewest bits; what lost seeds is ranked on
# those it has left. Otherwise all schedules have the same settings, tuned for none of them. The learning rate falls to 0 over the
# training whatever the schedule, so what is admitted late is learnt in smaller steps.

# %%
TASK = ["max_length", "repeats", "bits"]
TUNED = run.varied(but=[*TASK, "schedule"])
named = run.students.assign(curriculum=run.students["schedule"].str.replace("_", " "))
students = named.sort_values("curriculum", key=lambda names: names.map([*COLORS].index), kind="stable")
tasks = run.settings(but=[a for a in run.axes if a not in TASK], first=TASK, cells=students, canonical=True)
said = {task.name: {axis: n for axis, n in task.axes.items() if axis != "repeats" or n > 1} for task in tasks}
title = {name: run.named(axes) for name, axes in said.items()}
how = {"by": ("val_exact", "-val_bits"), "report": "test_exact"}
best = {task.name: choose_each(task.students, "curriculum", [*TUNED, "curriculum"], **how) for task in tasks}
final = pd.concat([c.students.assign(task=title[name]) for name, choices in best.items() for c in choices.values()])
mine = final[["student", "curriculum", "task"]]
history = mine.merge(run.history, on="student").assign(tokens=lambda t: t["tokens"] / 1e6)
lengths = mine.merge(run.table("lengths").drop_duplicates(["student", "step", "length"]), on="student")
trained = lengths[lengths["length"] <= lengths["max_length"]]
tested = lengths.dropna(subset=["test_exact"])
MANY = ["task"] * (len(tasks) > 1)  # small panels name it only then

# %% [markdown]
# ## Quality by iterations, and by time steps
# The two schedules of the assignment and no schedule. By time steps the lines are read off at equal numbers of them.

# %%
QUALITIES = {"bits per target bit (1 is chance)": ("bits", 1), "exact sequences, %": ("exact", 100)}
equally_far = curricula.at_common_points(history, "tokens", ["val_bits", "val_exact"], ["task", "curriculum"])
curves = pd.concat([t.assign(at=t[x], over=BY[x]) for x, t in (("step", history), ("tokens", equally_far))])


def qualities(table, of):
    """The table once for each quality `of` validation or test, in the columns `what` and `value`."""
    each = QUALITIES.items()
    return pd.concat([table.assign(what=what, value=scale * table[f"{of}_{q}"]) for what, (q, scale) in each])


def framed(ax, panel):
    """Axes from 0, of each panel its own: a length not yet trained costs more than chance."""
    what, highest = panel.values["what"], panel.table.groupby(["curriculum", "at"])["value"].mean().max()
    xlabel = panel.values.get("over", "length of the sequence")
    ax.set(ylim=(0, 1.05 * max(QUALITIES[what][1], highest)), xlabel=xlabel, ylabel=what)
    ax.grid(alpha=0.25)


asked = curves[curves["curriculum"].isin([*ASKED, "uniform"])]
blocks.learning(
    run, qualities(asked if len(asked) else curves, "val"), "at", "value",
    "Validation quality while learning, mean over lengths and seeds, 95 % band", per="curriculum", rows=["task", "what"],
    columns=["over"], colors=COLORS, marker="", legend="", also=framed, share=False, name="quality",
)  # fmt: skip

# %% [markdown]
# ## Every schedule on its own
# Exact sequences on validation, beside uniform where the run has it.


# %%
def spare(ax, panel):
    ax.grid(alpha=0.25)
    ax.xaxis.set_major_locator(MaxNLocator(4))


def schedules(unit, name):
    table = curves[curves["over"] == unit]
    known = [schedule for schedule in COLORS if schedule in set(table["curriculum"])]
    each = [table[table["curriculum"].isin([schedule, "uniform"])].assign(what=schedule) for schedule in known]
    against = " against uniform" * ("uniform" in known and len(known) > 1)
    blocks.learning(
        run, pd.concat(each), "at", "val_exact", f"Every schedule{against}, by {unit}, 95 % band", per="curriculum",
        columns=[*MANY, "what"], wrap=4, colors=COLORS, marker="", legend="", xlabel=unit,
        ylabel="exact validation sequences, %", size=(3.6, 2.8), name=name, also=spare,
    )  # fmt: skip


schedules("iterations", "schedules")
schedules("million time steps", "schedules_by_tokens")

# %% [markdown]
# ## Which length is learnt when
# Exact validation sequences of every length. Below, what each schedule trained: the share of every length in the batches
# between two evaluations. For the bandit this is what it chose.


# %%
def rasters(name, metric, heading, norm):
    def draw(ax, panel):
        raster(statistics.summarise(panel.table, ["step", "length"], metric), "step", "length", metric, norm, ax)
        ax.set(xlabel="iterations", ylabel="length of the sequence" if panel.place[1] == 0 else "")
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))

    scale = plt.cm.ScalarMappable(norm, MAP)
    sides: dict = {"columns": [*MANY, "curriculum"], "wrap": 4, "size": (3.6, 2.7)}
    blocks.facets(run, trained, draw, f"{heading}, mean over seeds", name=name, scale=scale, **sides)


rasters("lengths", "val_exact", "Exact validation sequences by length and iteration", plt.Normalize(0, 100))
# uniform has a twelfth each, which a linear scale would not tell from nothing
rasters("shares", "share", "What was trained: share of every length in the batches", PowerNorm(0.5, 0, 100))

# %% [markdown]
# ## How fast
# The first evaluation at which at least 95 % of the validation sequences are exact, all lengths counting alike: a dot per seed,
# and the mean with its interval where all seeds get there. A cross at the right edge counts those that never do. The table also
# has the mean length that was trained in the first and the last fifth of the training.

# %%
reached = final[[*mine, "seed"]].join(curricula.first_at(history, "val_exact", THRESHOLD, [*BY]), on="student")
ends = history.groupby("task")[[*BY]].max()


def arrive(ax, panel):
    arrivals(panel.table, "curriculum", "there", panel.table["end"].iloc[0], COLORS, ax)
    ax.set_xlabel(panel.values["over"])


def pace(task, schedule):
    """A line of the table: what a schedule trained, and when it got there if all seeds did."""
    which = {"task": title[task.name], "curriculum": schedule}
    length, there = curricula.mean_lengths(select(trained, which)), select(reached, which)
    moved, arrived = statistics.paired(length["last"], length["first"]), there["step"].notna()
    return {
        "task": title[task.name], "schedule": schedule, "mean length at first": f"{length['first'].mean():.1f}", "at last": f"{length['last'].mean():.1f}",
        "change": f"{tell.number(moved, 1, signed=True)}: {tell.moves(moved, 'longer', 'shorter')}",
        "of uniform": f"{(task.axes['max_length'] + 1) / 2:.1f}",
        "seeds that get there": f"{arrived.sum()} of {len(there)}",
        "iterations": tell.number(there["step"]) if arrived.all() else "",
        "million time steps": tell.number(there["tokens"], 2) if arrived.all() else "",
    }  # fmt: skip


goal = f"{100 * THRESHOLD:.0f} % exact validation sequences"
arrivals_by = [reached.assign(over=unit, there=reached[x], end=reached["task"].map(ends[x])) for x, unit in BY.items()]
blocks.facets(
    run, pd.concat(arrivals_by), arrive, f"Iterations and time steps to {goal}", name="speed", rows=["task"], columns=["over"],
    size=(7, 4.2), note="×: never",
)  # fmt: skip
every = int(np.median(np.diff(np.unique(history["step"]))))
run.show([pace(task, s) for task in tasks for s in best[task.name]], f"To {goal}, looked at every {every} iterations")

# %% [markdown]
# ## At the end, and beyond the longest trained length
# Test sequences of every length after the last iteration, up to twice the longest trained one.


# %%
def bordered(ax, panel):
    framed(ax, panel)
    ax.axvline(panel.table["max_length"].iloc[0] + 0.5, color="0.3", linestyle=":")


blocks.learning(
    run, qualities(tested.assign(at=tested["length"]), "test"), "at", "value", "Test sequences of every length after training",
    per="curriculum", rows=["task"], columns=["what"], colors=COLORS, legend="", also=bordered, share=False, size=(7, 4.2),
    name="generalisation", note="dotted: the longest trained length",
)  # fmt: skip


# %%
def exact(task, schedule, first, last):
    """Exact test sequences by seed, mean over the lengths first..last."""
    lines = select(tested, {"task": title[task.name], "curriculum": schedule})
    return lines[lines["length"].between(first, last)].groupby("seed")["test_exact"].mean()


def at_the_end(task, schedule):
    """A line of the table: exact test sequences of a schedule by length, and against uniform."""
    n, choice, uniform = task.axes["max_length"], best[task.name][schedule], best[task.name].get("uniform")
    spans = {
        "shorter than the longest": (1, n - 1),
        "the longest": (n, n),
        "one longer": (n + 1, n + 1),
        "all longer": (n + 1, 2 * n),
    }
    line = {"task": title[task.name], "schedule": schedule, **{axis: choice.best[axis] for axis in TUNED}}
    line["all trained lengths"] = tell.percent(choice.by_seed())
    line |= {what: tell.percent(exact(task, schedule, *span)) for what, span in spans.items()}
    if uniform and choice is not uniform:
        line["all trained, less uniform (uncorrected)"] = tell.difference(choice.by_seed(), uniform.by_seed())
    return line


run.show([at_the_end(task, s) for task in tasks for s in best[task.name]], "Exact test sequences by length")

# %% [markdown]
# ## Short first against long first
# At the end, at the longest length alone, after equally many time steps, and on average over the whole validation curve.


# %%
def long_against_short(task):
    """Lines of the table: the exact sequences of both schedules, and their difference by seed."""
    n, both = (
        task.axes["max_length"],
        history[(history["task"] == title[task.name]) & history["curriculum"].isin(ASKED)],
    )
    by_step, by_tokens = (curricula.to_common_end(both, x, "val_exact", "curriculum") for x in BY)
    equal = both.groupby("student")["tokens"].max().min()
    measures = {
        "test, all trained lengths": [best[task.name][schedule].by_seed() for schedule in ASKED],
        f"test, length {n}": [exact(task, schedule, n, n) for schedule in ASKED],
        f"validation, after {equal:.2f} million time steps": [by_tokens.loc[schedule, "last"] for schedule in ASKED],
        "validation, mean over iterations": [by_step.loc[schedule, "mean"] for schedule in ASKED],
        "validation, mean over time steps": [by_tokens.loc[schedule, "mean"] for schedule in ASKED],
    }
    for what, (short, long) in measures.items():
        yield {
            "task": title[task.name], "exact sequences": what, "short first": tell.percent(short), "long first": tell.percent(long),
            "short less long": tell.difference(short, long),
        }  # fmt: skip


compared = [task for task in tasks if set(ASKED) <= set(best[task.name])]
if compared:
    run.show([line for task in compared for line in long_against_short(task)])

# %% [markdown]
# ## What came out
# Computed from the rows. A rival of what was chosen is as good (within half a point), worse, or open, by intervals that hold for all together.
#
# Published, in kind: training on the target alone fails, uniform is a strong baseline, prediction gain is slightly faster
# (Graves et al., arXiv 1704.03003, lengths and repeats 1 to 13); look back and forward is the best syllabus made by hand and
# prediction gain competitive (Collier, Beel 2018); combined or mixed is nearly always best (Zaremba, Sutskever, arXiv 1410.4615,
# on programs). Their curricula advance when the network has learnt a stage; ours advance by the clock.

# %%
winner = choose_each(final, "task", ["curriculum"], by="val_exact", report="test_exact")


def asked_sentence(task):
    """The assignment's question: long against short."""
    short, long = (best[task.name][schedule] for schedule in ASKED)
    bits = statistics.paired(short.by_seed("test_bits"), long.by_seed("test_bits"))
    ratio = (long.by_seed("tokens") / short.by_seed("tokens")).mean()
    return (
        f"Priority to short sequences against priority to long ones, at the end: {tell.percent(short.by_seed())} against "
        f"{tell.percent(long.by_seed())} exact test sequences over lengths 1 to {task.axes['max_length']}; short first less long first, "
        f"paired by seed, {tell.difference(short.by_seed(), long.by_seed())}; in bits per target bit "
        f"{tell.number(bits, 3, signed=True, n=True)}. In as many iterations long first saw {ratio:.2f} times as many time steps."
    )


def goal_sentence(task):
    """Who copies short sequences."""
    last = min(10, task.axes["max_length"])
    found = {schedule: exact(task, schedule, 1, last) for schedule in best[task.name]}
    got = [f"{schedule} {tell.percent(values)}" for schedule, values in found.items() if values.mean() >= 0.99]
    what = f"99 % exact test sequences at lengths 1 to {last}"
    if got:
        return f"{len(got)} of {tell.count(len(found), 'schedule')} reach {what}: {tell.listing(got, most=8)}."
    top = max(found, key=lambda schedule: found[schedule].mean())
    return f"No schedule reaches {what}; the best is {top} with {tell.percent(found[top])}."


def winner_sentence(task):
    found = winner[title[task.name]]
    told = tell.choice(found, lambda cell: cell["curriculum"], most=8)
    return (
        f"Validation chooses {found.best['curriculum']}: {tell.percent(found.by_seed())} exact test sequences. {told}"
    )


# %%
head = {task.name: f"**{tell.capital(title[task.name])}**: " * (len(tasks) > 1) for task in tasks}
asked_first = [head[task.name] + asked_sentence(task) for task in compared]
others = [head[task.name] + sentence(task) for task in tasks for sentence in (goal_sentence, winner_sentence)]
run.close([*asked_first, *others])
