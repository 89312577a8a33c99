# %% [markdown]
# # Should an LSTM that learns to copy see long sequences first, or short ones?
#
# The network reads a sequence of random bit vectors and must say it again, then mark its end (repeat-copy of the Neural Turing
# Machine, arXiv 1410.5401; the number of repeats is constant). A schedule chooses the length of every training batch:
#
# - `short_first`: the shortest alone, then ever longer ones too, until all lengths come equally often; `long_first`: its mirror;
# - `uniform`: all lengths equally often, always; `target_only`: the longest alone;
# - `linear_window`: a window over a third of the lengths slides from short to long;
# - `combined` (Zaremba, Sutskever, arXiv 1410.4615): half at the frontier of a curriculum, half uniform;
#   `look_back_and_forward` (Collier, Beel 2018): 80 % at the frontier;
# - `bandit` (Graves et al., arXiv 1704.03003): Exp3.S, paid in prediction gain.
#
# Quality is measured on held-out sequences, all lengths counting alike: bits per target bit (1 is chance) and the share of
# sequences that are right in every bit. A long sequence costs more than a short one, so quality is shown by iterations
# and by time steps seen (tokens). Validation sequences choose, test sequences report. Every number is a mean over seeds with
# Student's 95 % interval; seeds share initial weights and random numbers across schedules, so differences are paired.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from analysis.core import records, report, statistics, tell
from analysis.core.figures.curves import curves
from analysis.core.figures.heatmap import raster

run = report.start("repeat_copy")
lengths = run.table("lengths")

COLORS = {
    "short_first": "#0072B2", "long_first": "#D55E00", "uniform": "#009E73", "target_only": "#000000",
    "linear_window": "#CC79A7", "combined": "#56B4E9", "look_back_and_forward": "#E69F00", "bandit": "#7A5195",
}  # fmt: skip
ASKED = ("short_first", "long_first", "uniform")  # the assignment's two, and no schedule
TASK = ["max_length", "repeats", "bits"]
THRESHOLD = 0.95

# %% [markdown]
# ## What is compared
# Runs of different tasks (longest length, repeats, width) are never mixed. Where other axes vary too (learning rate, cells,
# ...), each schedule has the setting that validation chose for it; a setting that lost seeds is ranked on
# those it has left.

# %%
done = records.final(run.rows)
TUNED = [a for a in run.rows.attrs["axes"] if a not in (*TASK, "schedule", "seed") and run.rows[a].nunique() > 1]


def chosen():
    """{task: rows of its students, of each schedule the setting with the best validation}, tasks in order.

    Best is most exact sequences, then fewest bits."""
    tasks = {}
    for task, part in done.groupby(TASK, sort=True):
        keep = []
        for schedule in (s for s in COLORS if s in set(part["schedule"])):
            cells = part[part["schedule"] == schedule]
            if TUNED:
                parts = {key: part.set_index("seed") for key, part in cells.groupby(TUNED, sort=True)}
                exact = statistics.scores({key: part["val_exact"] for key, part in parts.items()})
                bits = statistics.scores({key: -part["val_bits"] for key, part in parts.items()})
                cells = parts[max(exact, key=lambda key: (exact[key], bits[key]))].reset_index()
            keep.append(cells)
        tasks[task] = pd.concat(keep, ignore_index=True)
    return tasks


TASKS = chosen()


def said(task):
    """`lengths 1 to 12, 4 bits`"""
    n, repeats, bits = task
    return f"lengths 1 to {n}, {tell.count(bits, 'bit')}" + (f", {repeats} repeats" if repeats > 1 else "")


def colors(final):
    return {s: c for s, c in COLORS.items() if s in set(final["schedule"])}


def history(final):
    """All evaluations of these students, each once though cells may share a student."""
    rows = run.rows[run.rows["student"].isin(final["student"]) & (run.rows["status"] != "failed")]
    return rows.drop_duplicates(["student", "step"])


def of(final, schedule, metric):
    """A metric of one schedule by seed."""
    return final[final["schedule"] == schedule].set_index("seed")[metric].dropna()


def panels(height, columns, rows=1, width=7.0, **kwargs):
    """A figure with `rows` x `columns` panels per task, and the panels of each task as a flat array."""
    shape = (rows * len(TASKS), columns)
    figure, axes = plt.subplots(
        *shape, figsize=(width * columns, height * shape[0] + 0.9), squeeze=False, layout="constrained", **kwargs
    )
    return figure, list(axes.reshape(len(TASKS), -1))


def multiples(**kwargs):
    """A figure with a small panel for every schedule, and for every task its {schedule: panel}."""
    most = max(final["schedule"].nunique() for final in TASKS.values())
    columns = min(most, 4)
    figure, blocks = panels(2.7, columns, -(-most // columns), 3.5, **kwargs)
    placed = []
    for (task, final), block in zip(TASKS.items(), blocks, strict=True):
        placed.append(dict(zip(colors(final), block, strict=False)))
        for schedule, ax in placed[-1].items():
            ax.set_title(schedule + (f" ({said(task)})" if len(TASKS) > 1 else ""), fontsize=10)
        for ax in block[len(placed[-1]) :]:
            ax.set_visible(False)
    return figure, placed


def heading(text):
    return f"{text}\n{run.subtitle}"


# %% [markdown]
# ## Quality by iterations, and by tokens
# The two schedules of the assignment and no schedule. By tokens the lines are read off at equal numbers of time steps.


# %%
def over(final, x, metric, scale=1.0):
    """metric (times scale) over "step" or "tokens": mean, low, high, n per schedule, as `curves` draws them. By tokens each
    student's line is interpolated at common points, up to where the schedule's first student ends."""
    table = history(final)[["schedule", "seed", "step", "tokens", metric]].copy()
    if x == "tokens":
        lines = []
        for schedule, part in table.groupby("schedule"):
            at = np.linspace(part.groupby("seed")["tokens"].min().max(), part.groupby("seed")["tokens"].max().min(), 25)
            for seed, line in part.groupby("seed"):
                line = line.sort_values("tokens")
                values = np.interp(at, line["tokens"], line[metric])
                lines.append(pd.DataFrame({"schedule": schedule, "seed": seed, "tokens": at, metric: values}))
        table = pd.concat(lines, ignore_index=True)
    summary = statistics.summarise(table, ["schedule", x], metric).rename(columns={"mean": metric})
    summary[[metric, "low", "high"]] *= scale
    if x == "tokens":
        summary["tokens"] /= 1e6
    return summary


QUALITIES = {"val_bits": ("bits per target bit (1 is chance)", 1.0), "val_exact": ("exact sequences, %", 100.0)}
BY = {"step": "iterations", "tokens": "time steps seen, million"}
figure, blocks = panels(3.6, 2, 2)
for (task, final), block in zip(TASKS.items(), blocks, strict=True):
    asked = {s: c for s, c in colors(final).items() if s in ASKED} or colors(final)
    for ax, (metric, x) in zip(block, [(m, x) for m in QUALITIES for x in BY], strict=True):
        text, scale = QUALITIES[metric]
        table = over(final, x, metric, scale)
        curves(table, x, metric, "schedule", asked, "", ax)
        most = table.loc[table["schedule"].isin(asked), metric].max()  # a length not yet trained costs more than chance
        ax.set(ylim=(0, 1.05 * max(scale, most)), xlabel=BY[x], ylabel=text)
        ax.grid(alpha=0.25)
    block[0].set_title(said(task), fontsize=10)
    block[0].legend(fontsize=9)
figure.suptitle(heading("Validation quality while learning, mean over lengths and seeds, 95 % band"), fontsize=11)
run.figure(figure, "quality")

# %% [markdown]
# ## Every schedule against uniform
# Exact sequences on validation; uniform is the green line.

# %%
for x, unit in BY.items():
    figure, blocks = multiples(sharex=True, sharey=True)
    for final, block in zip(TASKS.values(), blocks, strict=True):
        table = over(final, x, "val_exact", 100)
        for schedule, ax in block.items():
            pair = {s: c for s, c in colors(final).items() if s in ("uniform", schedule)}
            curves(table, x, "val_exact", "schedule", pair, "", ax)
            ax.set(ylim=(0, 105), xlabel="", ylabel="")
            ax.grid(alpha=0.25)
    figure.supxlabel(unit, fontsize=10)
    figure.supylabel("exact validation sequences, %", fontsize=10)
    figure.suptitle(heading(f"Every schedule against uniform (green), by {unit.split(',')[0]}, 95 % band"), fontsize=11)
    run.figure(figure, {"step": "schedules", "tokens": "schedules_by_tokens"}[x])

# %% [markdown]
# ## Which length is learnt when
# Exact validation sequences of every length. Below, what each schedule trained: the share of every length in the batches
# between two evaluations (means over seeds). For the bandit this is what it chose.


# %%
def rasters(name, metric, text, top):
    figure, blocks = multiples()
    for (task, final), block in zip(TASKS.items(), blocks, strict=True):
        lines = lengths[lengths["student"].isin(final["student"]) & (lengths["length"] <= task[0])]
        table = statistics.summarise(lines, ["schedule", "step", "length"], metric).rename(columns={"mean": metric})
        table[metric] *= 100
        for schedule, ax in block.items():
            raster(table[table["schedule"] == schedule], "step", "length", metric, (0, top), ax)
            ax.set(xlabel="", ylabel="")
            ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    shown = [ax for block in blocks for ax in block.values()]
    scale = plt.cm.ScalarMappable(plt.Normalize(0, top), "viridis")
    figure.colorbar(scale, ax=shown, label="%", shrink=0.8, extend="max" if top < 100 else "neither")
    figure.supxlabel("iterations", fontsize=10)
    figure.supylabel("length of the sequence", fontsize=10)
    figure.suptitle(heading(text), fontsize=11)
    run.figure(figure, name)


rasters("lengths", "val_exact", "Exact validation sequences by length and iteration, mean over seeds", 100)

# %%
rasters("shares", "share", "What was trained: share of every length in the batches, mean over seeds", 30)


# %% [markdown]
# ## How fast
# The first evaluation at which at least 95 % of the validation sequences are exact, all lengths counting alike: a dot per seed,
# and the mean with its interval where all seeds get there. A cross at the right edge counts those that never do.


# %%
def reached(final):
    """Per student: schedule, seed, and the step and tokens of its first evaluation above THRESHOLD; NaN if there is none."""
    table = history(final).sort_values("step")
    first = table[table["val_exact"] >= THRESHOLD].drop_duplicates("student")
    return final[["schedule", "seed", "student"]].merge(first[["student", *BY]], how="left", on="student")


def speeds(final, x, scale, ax):
    """One line per schedule, the first on top."""
    table, end = reached(final), history(final)[x].max() / scale
    for y, (schedule, color) in zip(range(final["schedule"].nunique(), 0, -1), colors(final).items(), strict=True):
        values = table.loc[table["schedule"] == schedule, x] / scale
        there, never = values.dropna(), int(values.isna().sum())
        ax.scatter(there, [y] * len(there), color=color, s=22, alpha=0.6)
        i = statistics.interval(there)
        if not never:
            half = [[i.mean - i.low], [i.high - i.mean]] if i.n > 1 else None
            ax.errorbar(i.mean, y - 0.25, xerr=half, fmt="|", color=color, markersize=9, capsize=3)
            ax.annotate(
                f"{i.mean:.3g}" if scale > 1 else f"{i.mean:.0f}",
                (i.mean, y - 0.25),
                (0, -5),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=8,
            )
        else:
            ax.scatter(1.06 * end, y, marker="x", color=color)
            ax.annotate(
                f"{never} of {len(values)}",
                (1.06 * end, y),
                (8, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    ax.axvline(end, color="0.5", linewidth=0.8)
    ax.set_yticks(range(final["schedule"].nunique(), 0, -1), list(colors(final)))
    ax.set(xlim=(0, 1.22 * end), ylim=(0.3, final["schedule"].nunique() + 0.5))
    ax.grid(alpha=0.25)


figure, blocks = panels(4.4, 2)
for (task, final), row in zip(TASKS.items(), blocks, strict=True):
    for ax, (x, unit) in zip(row, BY.items(), strict=True):
        speeds(final, x, 1e6 if x == "tokens" else 1, ax)
        ax.set_xlabel(unit)
        ax.set_title(said(task), fontsize=10)
figure.suptitle(
    heading(f"Iterations and time steps to {100 * THRESHOLD:.0f} % exact validation sequences; ×: never"), fontsize=11
)
run.figure(figure, "speed")

# %% [markdown]
# ## At the end, and beyond the longest trained length
# Test sequences of every length after the last iteration, up to twice the longest trained one (dotted).

# %%
figure, blocks = panels(4.2, 2)
for (task, final), row in zip(TASKS.items(), blocks, strict=True):
    tested = lengths[lengths["student"].isin(final["student"])].dropna(subset=["test_exact"])
    for ax, (metric, text, scale) in zip(
        row,
        (("test_exact", "exact sequences, %", 100), ("test_bits", "bits per target bit (1 is chance)", 1)),
        strict=True,
    ):
        table = statistics.summarise(tested, ["schedule", "length"], metric).rename(columns={"mean": metric})
        table[[metric, "low", "high"]] *= scale
        curves(table, "length", metric, "schedule", colors(final), ax=ax)
        ax.axvline(task[0] + 0.5, color="0.3", linestyle=":")
        ax.set(xlabel="length of the sequence", ylabel=text, ylim=(0, 105 if scale == 100 else None))
        ax.grid(alpha=0.25)
    row[0].set_title(said(task), fontsize=10)
    row[0].legend(fontsize=8.5)
figure.suptitle(
    heading("Test sequences of every length after training; dotted: the longest trained length"), fontsize=11
)
run.figure(figure, "generalisation")

# %% [markdown]
# ## What came out
# Computed from the rows. A winner that the seeds cannot tell from its rivals is called a tie.


# %%
def by_length(final, schedule, metric, first, last):
    """Mean of a test metric over lengths first..last, by seed."""
    tested = lengths[lengths["student"].isin(final.loc[final["schedule"] == schedule, "student"])]
    tested = tested[tested["length"].between(first, last)].dropna(subset=[metric])
    return tested.groupby("seed")[metric].mean()


def along(final, schedule, x, at):
    """val_exact of a schedule at points of "step" or "tokens": a line per seed, (seeds, points). Untrained it is 0."""
    table = history(final[final["schedule"] == schedule]).sort_values(x)
    lines = {seed: np.interp(at, [0, *line[x]], [0, *line["val_exact"]]) for seed, line in table.groupby("seed")}
    return pd.DataFrame.from_dict(lines, orient="index")


def bits_apart(d):
    """`-0.012 bits (-0.020 to -0.004)`"""
    return f"{d.mean:+.3f} bits" + (f" ({d.low:+.3f} to {d.high:+.3f})" if d.n > 1 else f" (n = {d.n}, no interval)")


def goal_sentence(task, final):
    last = min(10, task[0])
    exact = {s: statistics.interval(by_length(final, s, "test_exact", 1, last)) for s in colors(final)}
    got = [s for s, i in exact.items() if i.mean >= 0.99]
    best = max(exact, key=lambda s: exact[s].mean)
    what = f"99 % exact test sequences at lengths 1 to {last}"
    if got:
        each = tell.listing([f"{s} {tell.percent(exact[s])}" for s in got], most=8)
        return f"{tell.count(len(got), 'schedule')} of {len(exact)} {'reaches' if len(got) == 1 else 'reach'} {what}: {each}."
    return f"No schedule reaches {what}; the best is {best} with {tell.percent(exact[best])}."


def asked_sentences(task, final):
    """The assignment's question: long against short."""
    if not {"short_first", "long_first"} <= set(final["schedule"]):
        return
    both = [of(final, s, "test_exact") for s in ("short_first", "long_first")]
    end = statistics.paired(*both)
    yield (
        f"Priority to short sequences against priority to long ones, at the end: {tell.percent(statistics.interval(both[0]))} "
        f"against {tell.percent(statistics.interval(both[1]))} exact test sequences over lengths 1 to {task[0]}; short_first less long_first, "
        f"paired by seed, {tell.points(end)}: {tell.moves(end)}; in bits per target bit "
        f"{bits_apart(statistics.paired(*(of(final, s, 'test_bits') for s in ('short_first', 'long_first'))))}."
    )
    longest = [by_length(final, s, "test_exact", task[0], task[0]) for s in ("short_first", "long_first")]
    d = statistics.paired(*longest)
    yield (
        f"At the longest length alone ({task[0]}): {tell.percent(statistics.interval(longest[0]))} against "
        f"{tell.percent(statistics.interval(longest[1]))}, {tell.points(d)}: {tell.moves(d)}."
    )
    asked = final[final["schedule"].isin(["short_first", "long_first"])]
    means = {}
    for x in BY:
        at = np.linspace(0, asked[x].min(), 200)
        lines = [along(asked, s, x, at) for s in ("short_first", "long_first")]
        means[x] = statistics.paired(*(line.mean(axis=1) for line in lines))
    last = [line.iloc[:, -1] for line in lines]  # by tokens
    equal = statistics.paired(*last)
    ratio = of(final, "long_first", "tokens") / of(final, "short_first", "tokens")
    yield (
        f"In as many iterations long_first saw {ratio.mean():.2f} times as many time steps. After equally many "
        f"({asked['tokens'].min() / 1e6:.2f} million) it is {tell.percent(statistics.interval(last[0]))} against "
        f"{tell.percent(statistics.interval(last[1]))} exact validation sequences, {tell.points(equal)}: {tell.moves(equal)}."
    )
    yield (
        f"Averaged over all of the validation curve, short_first less long_first is {tell.points(means['step'])} "
        f"by iterations ({tell.moves(means['step'])}) and {tell.points(means['tokens'])} by time steps ({tell.moves(means['tokens'])})."
    )


def winner_sentence(final):
    verdict = statistics.stands_out(final, ["schedule"], "val_exact", "test_exact")
    best = verdict.best["schedule"]
    head = f"Validation chooses {best}: {tell.percent(statistics.interval(of(final, best, 'test_exact')))} exact test sequences"
    if verdict.lead is None or verdict.runner_up is None:
        return head + "; it has no rival."
    lead = f"{tell.points(verdict.lead)} ahead of {verdict.runner_up['schedule']}"
    if verdict.n < 2:
        return f"{head}, {lead}; one seed says nothing about noise, so this is no verdict."
    if verdict.stands_out:
        return (
            f"{head}, {lead}; it stands out from its {tell.count(verdict.rivals, 'rival')} (paired t, Holm-corrected)."
        )
    ties = tell.listing([t["schedule"] for t in verdict.ties], most=8)
    return (
        f"{head}, {lead}. It is a tie: {len(verdict.ties)} of {tell.count(verdict.rivals, 'rival')} cannot be told from it "
        f"(paired t, Holm-corrected): {ties}."
    )


def against_uniform_sentence(final):
    if "uniform" not in set(final["schedule"]) or final["schedule"].nunique() < 2:
        return
    parts = []
    for schedule in colors(final):
        if schedule != "uniform":
            d = statistics.paired(of(final, schedule, "test_exact"), of(final, "uniform", "test_exact"))
            parts.append(f"{schedule} {tell.points(d)}, {tell.moves(d)}")
    level = tell.percent(statistics.interval(of(final, "uniform", "test_exact")))
    yield f"Against uniform ({level} exact test sequences), paired by seed, uncorrected: {tell.listing(parts, most=8)}."


def speed_sentence(final):
    table = reached(final)
    parts = []
    for schedule in colors(final):
        values = table[table["schedule"] == schedule]
        i, t = statistics.interval(values["step"]), statistics.interval(values["tokens"] / 1e6)
        if i.n < len(values):
            parts.append(f"{schedule} never for {len(values) - i.n} of {tell.count(len(values), 'seed')}")
        else:
            spread = f" ({i.low:.0f} to {i.high:.0f})" if i.n > 1 else ""
            parts.append(f"{schedule} {i.mean:.0f}{spread}, {t.mean:.2f} million")
    every = int(history(final)["step"].drop_duplicates().sort_values().diff().median())
    return (
        f"Iterations, and time steps, to {100 * THRESHOLD:.0f} % exact validation sequences (looked at every {every} iterations): "
        f"{tell.listing(parts, most=8)}."
    )


def beyond_sentence(task, final):
    n = task[0]
    exact = {s: statistics.interval(by_length(final, s, "test_exact", n + 1, 2 * n)) for s in colors(final)}
    one = {s: statistics.interval(by_length(final, s, "test_exact", n + 1, n + 1)) for s in colors(final)}
    best, nearest = max(exact, key=lambda s: exact[s].mean), max(one, key=lambda s: one[s].mean)
    return (
        f"Beyond the longest trained length ({n + 1} to {2 * n}) the best schedule, {best}, gets {tell.percent(exact[best])} exact test "
        f"sequences; one vector longer than trained, {nearest} gets {tell.percent(one[nearest])}."
    )


def target_sentence(task, final):
    if "target_only" not in set(final["schedule"]):
        return
    at, below = (
        by_length(final, "target_only", "test_exact", *span) for span in ((task[0], task[0]), (1, task[0] - 1))
    )
    yield (
        f"Trained on length {task[0]} alone, the network gets {tell.percent(statistics.interval(at))} exact test sequences there and "
        f"{tell.percent(statistics.interval(below))} at lengths 1 to {task[0] - 1}."
    )


def bandit_sentence(task, final):
    if "bandit" not in set(final["schedule"]):
        return
    lines = lengths[lengths["student"].isin(final.loc[final["schedule"] == "bandit", "student"])]
    lines = lines[lines["length"] <= task[0]]
    mean = lines.assign(part=lines["share"] * lines["length"]).groupby(["seed", "step"])["part"].sum().unstack("step")
    fifth = max(1, mean.shape[1] // 5)
    first, last = (statistics.interval(m.mean(axis=1)) for m in (mean.iloc[:, :fifth], mean.iloc[:, -fifth:]))
    d = statistics.paired(mean.iloc[:, -fifth:].mean(axis=1), mean.iloc[:, :fifth].mean(axis=1))
    moved = f"{d.mean:+.1f}" + (f" ({d.low:+.1f} to {d.high:+.1f})" if d.n > 1 else "")
    yield (
        f"The bandit chose a mean length of {first.mean:.1f} in the first fifth of the training and {last.mean:.1f} in the last, {moved} "
        f"({tell.moves(d).replace('a gain', 'longer').replace('a loss', 'shorter')}); uniform has {(task[0] + 1) / 2:.1f}."
    )


def published_sentences():
    yield (
        "Published, in kind: training on the target alone fails, uniform is a strong baseline, prediction gain is slightly faster "
        "(Graves et al., arXiv 1704.03003, lengths and repeats 1 to 13); look back and forward is the best syllabus made by hand and "
        "prediction gain competitive (Collier, Beel 2018); combined or mixed is nearly always best (Zaremba, Sutskever, arXiv "
        "1410.4615, on programs). Their curricula advance when the network has learnt a stage; ours advance by the clock."
    )


def caveat_sentences():
    yield (
        "The learning rate falls to 0 over the training whatever the schedule, so what is admitted late is learnt in smaller "
        "steps; and all schedules have the same settings unless the run says otherwise, tuned for none of them."
    )
    if TUNED:
        yield f"Each schedule has the {', '.join(TUNED)} that validation chose for it."
    yield from run.caveats()


def sentences():
    for task, final in TASKS.items():
        if len(TASKS) > 1:
            yield f"**{said(task)[0].upper()}{said(task)[1:]}**:"
        yield goal_sentence(task, final)
        yield from asked_sentences(task, final)
        yield winner_sentence(final)
        yield from against_uniform_sentence(final)
        yield speed_sentence(final)
        yield beyond_sentence(task, final)
        yield from target_sentence(task, final)
        yield from bandit_sentence(task, final)
    yield from published_sentences()
    yield from caveat_sentences()


run.close(sentences())
