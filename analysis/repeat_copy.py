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
# sequences that are right in every bit. A long sequence costs more than a short one, so quality is shown by iterations and by time
# steps seen (tokens). Seeds share initial weights and random numbers across schedules.

# %%
import numpy as np
import pandas as pd

from analysis.core import blocks, curricula, report, statistics, tell
from analysis.core.choice import choose_each
from analysis.core.figures.heatmap import raster
from analysis.core.figures.lifetimes import arrivals
from analysis.core.figures.scales import MAP
from analysis.core.settings import stacked

# isort: split
import matplotlib.pyplot as plt
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

COLORS = {
    "short first": "#0072B2", "long first": "#D55E00", "uniform": "#009E73", "target only": "#000000",
    "linear window": "#CC79A7", "combined": "#56B4E9", "look back and forward": "#E69F00", "bandit": "#7A5195",
}  # fmt: skip
ASKED = ["short first", "long first"]
THRESHOLD = 0.95
BY = {"step": "iterations", "tokens": "million time steps"}
run = report.open("repeat_copy", words=dict.fromkeys(("task", "what", "over", "curriculum"), "{}"))

# %% [markdown]
# ## What is compared
# Runs of different tasks (longest length, repeats, width) are never mixed. Where other axes vary too (learning rate, cells, ...),
# each schedule has what validation chose for it: most exact sequences, then fewest bits.

# %%
TASK = ["max_length", "repeats", "bits"]
TUNED = run.varied(but=[*TASK, "schedule"])


def chosen(setting):
    """The students of each schedule on one task (`lengths 1 to 12, 4 bits`), as validation chose their other axes."""
    n, repeats, bits = setting.axes.values()
    told = f"lengths 1 to {n}, {tell.count(bits, 'bit')}" + f", {repeats} repeats" * (repeats > 1)
    how = {"by": ("val_exact", "-val_bits"), "report": "test_exact"}
    best = choose_each(setting.students, "curriculum", [*TUNED, "curriculum"], **how)
    return pd.concat([choice.students for choice in best.values()]).assign(task=told)


words = run.students["schedule"].str.replace("_", " ")
called = run.students.assign(curriculum=words, order=words.map([*COLORS].index)).sort_values("order", kind="stable")
settings = run.settings(but=[axis for axis in run.axes if axis not in TASK], first=TASK, cells=called, canonical=True)
students = pd.concat(map(chosen, settings))
MANY = ["task"] * (len(settings) > 1)  # small panels name it only then
mine = students[["student", "seed", "curriculum", "task"]]
history = mine.merge(run.history, on=["student", "seed"]).assign(tokens=lambda t: t["tokens"] / 1e6)
lengths = mine.merge(run.table("lengths").drop_duplicates(["student", "step", "length"]), on=["student", "seed"])
trained = lengths[lengths["length"] <= lengths["max_length"]]
tested = lengths.dropna(subset=["test_exact"])

# %% [markdown]
# ## Quality by iterations, and by tokens
# The two schedules of the assignment, beside uniform where the run has it. By tokens the lines are read off at equal numbers of
# time steps.

# %%
EXACT, BITS = "exact sequences, %", "bits per target bit (1 is chance)"
equally_far = curricula.at_common_points(history, "tokens", ["val_bits", "val_exact"], ["task", "curriculum"])
curves = pd.concat([t.assign(at=t[x], over=BY[x]) for x, t in (("step", history), ("tokens", equally_far))])


def qualities(table, measured):
    """Bits and exact sequences (`what`) on "val" or "test" as one column `value`."""
    both = {BITS: f"{measured}_bits", EXACT: f"{measured}_exact"}
    found = stacked(table, "what", "value", both)
    return found.assign(value=found["value"] * found["what"].map({BITS: 1, EXACT: 100}))


def framed(ax, panel):
    """Labels of a panel that has its own axes; a length not yet trained costs more than chance."""
    highest = panel.table.groupby(["curriculum", "at"])["value"].mean().max()
    top = 100.5 if panel.values["what"] == EXACT else 1.05 * max(1, highest)
    ax.set(ylim=(0, top), xlabel=panel.values.get("over", "length of the sequence"), ylabel=panel.values["what"])
    ax.grid(alpha=0.25)


asked = curves[curves["curriculum"].isin([*ASKED, "uniform"])]
lines: dict = {"per": "curriculum", "colors": COLORS, "legend": ""}
blocks.learning(
    run, qualities(asked if len(asked) else curves, "val"), "at", "value", "Validation quality while learning, all lengths counting alike",
    rows=[*MANY, "what"], columns=["over"], marker="", also=framed, share=False, name="quality", **lines,
)  # fmt: skip

# %% [markdown]
# ## Every schedule on its own
# Exact sequences on validation, beside uniform where the run has it.

# %%
names = students["curriculum"].unique()
pairs = pd.concat([curves[curves["curriculum"].isin([name, "uniform"])].assign(what=name) for name in names])
for unit, figure in zip(BY.values(), ("schedules", "schedules_by_tokens"), strict=True):
    blocks.learning(
        run, pairs[pairs["over"] == unit], "at", "val_exact", f"Every schedule, by {unit}", columns=[*MANY, "what"], wrap=4,
        marker="", xlabel=unit, size=(3.6, 2.8), name=figure,
        also=lambda ax, panel: ax.grid(alpha=0.25), **lines,
    )  # fmt: skip

# %% [markdown]
# ## Which length is learnt when
# Exact validation sequences of every length; below, the share of every length in the batches between two evaluations. For the
# bandit this is what it chose; for uniform all are alike.


# %%
def rasters(name, metric, heading, norm):
    def draw(ax, panel):
        mean = statistics.summarise(panel.table, ["step", "length"], metric)
        raster(mean, "step", "length", metric, norm, ax)
        ax.set(xlabel="iterations", ylabel="length of the sequence" if panel.place[1] == 0 else "")
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))

    sides: dict = {"columns": [*MANY, "curriculum"], "wrap": 4, "size": (3.6, 2.7)}
    scale = plt.cm.ScalarMappable(norm, MAP)
    blocks.facets(run, trained, draw, f"{heading}, mean over seeds", name=name, scale=scale, **sides)


rasters("lengths", "val_exact", "Exact validation sequences by length and iteration", plt.Normalize(0, 100))
rasters("shares", "share", "What was trained: share of every length in the batches", PowerNorm(0.5, 0, 100))

# %% [markdown]
# ## How fast
# The first evaluation at which at least 95 % of the validation sequences are exact, all lengths counting alike: a dot per seed, and
# the mean with its interval where all seeds get there. A cross counts those that never do.

# %%
reached = mine.join(curricula.first_at(history, "val_exact", THRESHOLD, [*BY]), on="student")
ends = history.groupby("task")[[*BY]].max()
timed = [reached.assign(over=unit, at=reached[x], end=reached["task"].map(ends[x])) for x, unit in BY.items()]


def arrival(ax, panel):
    arrivals(panel.table, "curriculum", "at", panel.table["end"].iloc[0], COLORS, ax)
    ax.set_xlabel(panel.values["over"])


def first_there(part):
    """When a schedule gets there, if all its seeds do."""
    never = f"never for {part['step'].isna().sum()} of {tell.count(len(part), 'seed')}"
    told = [tell.number(part["step"]), tell.number(part["tokens"], 2)] if part["step"].notna().all() else [never, never]
    return dict(zip(BY.values(), told, strict=True))


goal = f"{100 * THRESHOLD:.0f} % exact validation sequences"
sides: dict = {"rows": ["task"], "columns": ["over"], "size": (7, 4.2), "note": "×: never", "spread": True}
blocks.facets(run, pd.concat(timed), arrival, f"Iterations and time steps to {goal}", name="speed", **sides)
speeds = [
    {"task": task, "schedule": schedule, **first_there(part)}
    for (task, schedule), part in reached.groupby(["task", "curriculum"], sort=False)
]
run.show(speeds, f"To {goal}, looked at every {np.median(np.diff(np.unique(history['step']))):.0f} iterations")

# %% [markdown]
# ## At the end, and beyond the longest trained length
# Test sequences of every length after the last iteration, up to twice the longest trained one (dotted).


# %%
def bordered(ax, panel):
    framed(ax, panel)
    ax.axvline(panel.table["max_length"].iloc[0] + 0.5, color="0.3", linestyle=":")


blocks.learning(
    run, qualities(tested.assign(at=tested["length"]), "test"), "at", "value", "Test sequences of every length after training",
    rows=MANY, columns=["what"], also=bordered, share=False, size=(7, 4.2), name="generalisation",
    note="dotted: the longest trained length", **lines,
)  # fmt: skip
few = min(10, tested["max_length"].max())
ranges = curricula.over_ranges(tested, "test_exact", few)
final = students.join(ranges, on="student")
results = {key: part.set_index("seed") for key, part in final.groupby(["task", "curriculum"], sort=False)}


def by_length(task, schedule):
    """A line of the table: exact test sequences of a schedule over ranges of lengths, and against uniform."""
    found, uniform = results[task, schedule], results.get((task, "uniform"))
    line = {"task": task, "schedule": schedule, **found[TUNED].iloc[0]}
    line |= {name: tell.percent(found[name]) for name in ranges}
    if uniform is not None:
        less = tell.difference(found["test_exact"], uniform["test_exact"]) if schedule != "uniform" else ""
        line["all trained, less uniform (uncorrected)"] = less
    return line


run.show([by_length(*key) for key in results], "Exact test sequences by length")

# %% [markdown]
# ## What came out
# Published, in kind: training on the target alone fails, uniform is a strong baseline, prediction gain is slightly faster (Graves et
# al., lengths and repeats 1 to 13); look back and forward is the best made by hand and prediction gain competitive (Collier, Beel);
# combined or mixed is nearly always best (Zaremba, Sutskever, on programs). Their curricula advance when a stage is learnt, ours by
# the clock. Our learning rate falls to 0 whatever the schedule, so what is admitted late is learnt in smaller steps; unless the run
# says otherwise all schedules have the same settings, tuned for none of them.

# %%
winner = choose_each(final, "task", ["curriculum"], by="val_exact", report="test_exact", margin=run.margin)
compared = [task for task in winner if all((task, schedule) in results for schedule in ASKED)]


def question(task):
    """The assignment's: a line for each way to compare exact sequences of short first and long first, paired by seed."""
    both = history[(history["task"] == task) & history["curriculum"].isin(ASKED)]
    ways = {"test, the longest length": [results[task, s]["the longest"] for s in ASKED]}
    for x, unit in BY.items():
        end = both.groupby("student")[x].max().min()
        found = curricula.to_common_end(both, x, "val_exact", "curriculum")
        for how, column in (("after", "last"), ("mean up to", "mean")):
            ways[f"validation, {how} {round(end, 2):g} {unit}"] = [found.loc[s, column] for s in ASKED]
    for way, pair in ways.items():
        told = dict(zip(ASKED, map(tell.percent, pair), strict=True))
        yield {"task": task, "exact sequences": way, **told, "short first less long first": tell.difference(*pair)}


if compared:
    run.show([line for task in compared for line in question(task)], "Short sequences first, or long ones?")


# %%
def answers(task):
    """Short first against long first, who reaches the goal, and what validation chooses."""
    has = {schedule: part for (told, schedule), part in results.items() if told == task}
    if task in compared:
        (short, long), bits, (less, more) = ([has[s][m] for s in ASKED] for m in ("test_exact", "test_bits", "tokens"))
        yield (
            f"Priority to short sequences against priority to long ones, at the end: {tell.percent(short)} against {tell.percent(long)} exact "
            f"test sequences over the trained lengths; short first less long first, paired by seed, {tell.difference(short, long)}; in bits "
            f"per target bit {tell.number(statistics.paired(*bits), 3, signed=True, n=True)}. In as many iterations long first saw "
            f"{(more / less).mean():.2f} times as many time steps."
        )
    exact = pd.Series({schedule: part[f"trained up to {few}"].mean() for schedule, part in has.items()})
    longest = min(few, next(iter(has.values()))["max_length"].iloc[0])
    got = list(exact.index[exact >= 0.99])
    names = tell.listing(got, most=8) or f"the best is {exact.idxmax()} with {100 * exact.max():.1f} %"
    yield f"99 % exact test sequences at trained lengths up to {longest}: {len(got)} of {tell.count(len(has), 'schedule')}: {names}."
    yield tell.answer("", winner[task], "exact test sequences", name=lambda cell: cell["curriculum"], most=8)


def bandit_sentence(task):
    """What the bandit chose, early and late."""
    chose = trained[(trained["task"] == task) & (trained["curriculum"] == "bandit")]
    mean = curricula.mean_lengths(chose)
    moved = statistics.paired(mean["last"], mean["first"])
    return (
        f"The bandit chose a mean length of {mean['first'].mean():.1f} in the first fifth of the training and {mean['last'].mean():.1f} in the last, "
        f"{tell.number(moved, 1, signed=True)} ({tell.moves(moved, 'longer', 'shorter')}); equal shares would have {chose['length'].unique().mean():.1f}."
    )


head = {task: f"**{tell.capital(task)}**: " * (len(winner) > 1) for task in winner}
details = [head[task] + bandit_sentence(task) for task in winner if (task, "bandit") in results]
run.close([head[task] + line for task in winner for line in answers(task)], details)
