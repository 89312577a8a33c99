# %% [markdown]
# # Does a student of MNIST come near its teacher?
#
# A teacher of two hidden layers of 1,200 units answers for every training digit; a student learns from the labels and from these
# answers, by CE + λ T² C (λ = `kd_weight`, the additive convention of the assignment) or (1 - λ) CE + λ T² C (`convex`), with
# C the cross-entropy between both softmaxes at temperature T (Hinton et al. 2015, arXiv 1503.02531, section 3). At λ = 0 the
# teacher is not heard: the Student. What validation chooses among all λ > 0 is Student2.0.
#
# T and λ are chosen on held-out validation digits. Each seed has its own teacher, initial weights and order of the digits.

# %%
from collections import Counter

import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choices, choose, framed
from analysis.core.figures.references import levels
from analysis.core.settings import by_seed, find, select

PLANE = ("temperature", "kd_weight")
METRIC = "test_error"
WIDTHS = {f"mlp_{units}": f"two layers of {units}" for units in (30, 300, 600, 800, 1200)}
run = report.open(
    "mnist_kd",
    words={"network": WIDTHS, "train_size": lambda n: "all digits" if n == "all" else f"{int(n):,} digits"},
)
settings = run.settings(but=PLANE, first=["network", "train_size"])
chosen = choices(settings, PLANE, lambda students: students[students["kd_weight"] > 0], margin=run.margin)

# %% [markdown]
# ## What it is read against
# Our own Teacher and Student, and Hinton et al. 2015, section 3: 67 test errors of 10,000 for a teacher of 2 x 1200 with dropout,
# max-norm and jitter, 146 for a student of 2 x 800 on labels only, 74 for the same student distilled at T = 20.

# %%
PUBLISHED = {"teacher, 67 errors": 0.0067, "student, 146 errors": 0.0146, "distilled at T = 20, 74 errors": 0.0074}
BLUE, ORANGE = "#0072B2", "#B35900"
RECIPE = ["teacher", "teacher_steps"]


def teacher(setting):
    """Test error by seed of the setting's teachers."""
    recipe = {name: setting.cells[name].iloc[0] for name in RECIPE}
    return 1 - by_seed(select(run.table("teachers"), recipe), "test_accuracy")


def student(setting):
    """Test error by seed on labels only, kd_weight 0; neither the convention nor the teacher plays a part."""
    fixed = {k: v for k, v in setting.axes.items() if k not in ("convention", *RECIPE)}
    return by_seed(select(run.students, {**fixed, "kd_weight": 0}), METRIC)


def measured(axes):
    setting = find(settings, axes)
    return levels({"Teacher": teacher(setting), "Student": student(setting)}, (BLUE, ORANGE), digits=2)


# %% [markdown]
# ## Test errors over temperature and weight
# Lower is better. The star is the λ > 0 and T that validation chose; planes are our Teacher and Student; whiskers are intervals; a
# cross is a cell without a result. The surfaces to turn are the same.

# %%
HEADING = "Test errors on MNIST"
others = [axis for axis in settings[0].axes if axis != "train_size"]
look: dict = {
    "levels": measured,
    "limits": (0, None),
    "framed": framed(chosen),
    "rows": ["train_size"],
    "columns": others,
}
if all(s.done["kd_weight"].nunique() > 2 and s.done["temperature"].nunique() > 1 for s in settings):
    over = f"{HEADING} over the temperature"
    blocks.plane(run, run.cells, *PLANE, METRIC, HEADING, digits=2, **look)
    blocks.learning(run, run.cells, "temperature", METRIC, over, per="kd_weight", name="curves", **look)

# %% [markdown]
# ## The temperature, by width
# What the teacher's answers change against labels only of the same seed, in points of test error; below zero is a gain. One λ > 0
# per width, chosen on validation. In the table Hinton's claims: with 300 units or more all T > 8 are alike, with 30 units T of 2.5 to
# 4 is best; p by Holm.


# %%
def at_weight(setting):
    """The students at the chosen weight, with the change of their test error against labels only."""
    part = select(setting.done, {"kd_weight": chosen[setting].best["kd_weight"]})
    width = run.named({k: v for k, v in setting.axes.items() if k != "train_size"})
    return part.assign(change=part[METRIC] - part["seed"].map(student(setting)), which=width)


def claimed(setting):
    """Lines for Hinton's claim about a width: the errors at each temperature, less those at the first hot or the best warm one."""
    errors = at_weight(setting).pivot_table(index="seed", columns="temperature", values=METRIC)
    wide = int(setting.axes["network"].removeprefix("mlp_")) >= 300
    own = [T for T in errors if (T >= 8 if wide else 2.5 <= T <= 4)]
    if own:
        claim, base = ("T of 8 and more alike", own[0]) if wide else ("T of 2.5 to 4 best", errors[own].mean().idxmin())
        rest = {T: errors[T] for T in (own if wide else errors) if base != T}
        less = tell.against(rest, errors[base], "more errors", "fewer errors", digits=2)
        for T in (base, *rest) if rest else ():
            said = {"test errors": tell.percent(errors[T], 2), "less those at the first T": less.get(T, "")}
            yield {"setting": setting.title, "claim": claim, "T": f"{T:g}", **said}


sliced = [s for s in chosen if len(student(s)) and s.done["temperature"].nunique() > 2]
if sliced:
    changes = pd.concat(map(at_weight, sliced))
    changes["which"] = pd.Categorical(changes["which"], changes["which"].unique(), ordered=True)
    blocks.learning(
        run, changes, "temperature", "change", "What distillation changes, over the temperature, at the chosen lambda", per="which", name="slices",
        columns=["train_size"], ylabel="change of test errors, points (0: labels only)", legend="", share=False, limits=(None, None), also=blocks.nought,
    )  # fmt: skip
    run.show([line for s in sliced for line in claimed(s)], "Hinton's claims about the temperature")

# %% [markdown]
# ## In one row
# Student, Student2.0 and Teacher of each setting, and the paper's three (pale).

# %%
KINDS = {"Student2.0": BLUE, "Student": "#C46200", "Teacher": "0.55"}


def bars(setting):
    """Teacher, Student and Student2.0 of one setting."""
    yield f"Teacher ({setting.cells['teacher'].iloc[0]})", teacher(setting), "Teacher"
    yield f"Student, {setting.title}", student(setting), "Student"
    if choice := chosen.get(setting):
        yield f"Student2.0, {setting.title}\n{tell.cell(choice.best)}", choice.by_seed(METRIC), "Student2.0"


theirs = {f"{name} [arXiv 1503.02531]": value for name, value in PUBLISHED.items()}
ours = [bar for s in settings for bar in bars(s)]
blocks.ladder(run, ours, METRIC, HEADING, KINDS, published=theirs, digits=2, descending=True)

# %% [markdown]
# ## What is taken for what
# Of the Student2.0 that validation prefers to all others, all seeds together.

# %%
every = pd.concat([choice.students for choice in chosen.values()]) if chosen else run.students[:0]
if best := choose(every, [*settings[0].axes, *PLANE]):
    of_best = run.named({axis: best.best[axis] for axis in settings[0].axes})
    blocks.confusions(run, best.students, f"Which digit is taken for which, {of_best}, {tell.cell({axis: best.best[axis] for axis in PLANE})}")

# %% [markdown]
# ## What came out
# The table has the test errors of all three, and the differences and the share of the gap over the seeds that they have in common.

# %%
WORSE: dict = {"digits": 2, "more": "more errors", "less": "fewer errors"}


def gap_closed(setting):
    """By seed, which share of the errors between Student and Teacher Student2.0 does not have; nothing where a Student has no more errors
    than its Teacher."""
    errors = chosen[setting].by_seed(METRIC)
    closed = statistics.share_of_gap(-errors, -student(setting), -teacher(setting))
    return closed if closed.notna().all() else closed[:0]


def line(setting):
    """Student, Student2.0 and Teacher of one setting."""
    alone, above = student(setting), teacher(setting)
    told = {"setting": setting.title, "Teacher": above, "Student": alone}
    if choice := chosen.get(setting):
        errors = choice.by_seed(METRIC)
        told |= {"Student2.0": errors, "less the Student": tell.difference(errors, alone, **WORSE)}
        told |= {"less the Teacher": tell.difference(errors, above, **WORSE)}
        if len(closed := gap_closed(setting)):
            told["gap between Student and Teacher closed"] = tell.share(closed)
    return {k: v if isinstance(v, str) else tell.percent(v, 2) * bool(len(v)) for k, v in told.items()}


# %%
def near(setting):
    """Whether the student that hears its teacher comes near it, in a word."""
    errors = chosen[setting].by_seed(METRIC)
    helped, left = (statistics.paired(errors, base) for base in (student(setting), teacher(setting)))
    if left.n < 2:
        return "one seed cannot tell" if left.n else "its teacher has no result"
    words = {"better": "yes, it is better", "worse": "part of the way" if tell.stands(helped, "worse", "better") == "better" else "no"}
    as_good = f"yes, as far as {left.n} seeds can tell" if helped.n and helped.high < 0 else f"{left.n} seeds cannot tell"
    return words.get(tell.stands(left, "worse", "better"), as_good)


def numbers(setting):
    """Test errors on labels only, with the teacher's answers, and of the teacher, and how much of the gap is gone."""
    named = {"{} test errors on labels only": student(setting), "{} with its teacher's answers": chosen[setting].by_seed(METRIC)}
    named["{}, the teacher's own"] = teacher(setting)
    told = "; ".join(text.format(tell.percent(values, 2)) for text, values in named.items() if len(values))
    closed = gap_closed(setting)
    return told + f". Of the errors between both distillation takes away {tell.share(closed)}" * bool(len(closed))


def in_short():
    """What the study asks, and the three errors of each setting."""
    verdicts = {s: near(s) for s in chosen}
    each = Counter(verdicts.values())
    several = "; ".join(f"{verdict} (in {tell.count(n, 'setting')})" for verdict, n in each.items())
    if len(chosen) == 1:
        return [f"**Does a student come near its teacher?** {tell.capital(v)}: {numbers(s)}." for s, v in verdicts.items()]
    told = [f"**{tell.capital(s.title)}**: {v}. {numbers(s)}." for s, v in verdicts.items()]
    return [f"**Does a student come near its teacher?** {tell.capital(several)}.", *told] if told else []


def which(setting):
    """What validation chooses of T and λ, and what that is worth."""
    edge = tell.edge(chosen[setting], {"temperature": "T", "kd_weight": "λ"})
    return tell.answer("", chosen[setting], "test errors", metric=METRIC, digits=2, most=0, then=edge)


# %%
def answer(setting):
    if setting not in chosen:
        return f"**{tell.capital(setting.title)}**: no student that hears the teacher is done."
    edge = tell.edge(chosen[setting], {"temperature": "T", "kd_weight": "λ"})
    how: dict = {"metric": METRIC, "against": {"the Student's": student(setting)}, "then": edge, **WORSE}
    return tell.answer(setting.title, chosen[setting], "test errors", **how)


# %%
def larger_steps():
    """Labels only at every lr, against Student2.0 at the smallest: how much a larger step does without a teacher."""
    slowest = min(run.axes["lr"])
    for slow in (s for s in chosen if s.axes.get("lr") == slowest):
        for fast in (s for s in settings if s.axes == {**slow.axes, "lr": s.axes["lr"]} and s is not slow):
            if len(student(fast)):
                yield (
                    f"Without a teacher, a step of {fast.axes['lr'] / slowest:g} times the size takes the Student to "
                    f"{tell.percent(student(fast), 2)}; Student2.0 at lr {slowest:g} less that: "
                    f"{tell.difference(chosen[slow].by_seed(METRIC), student(fast), **WORSE)}."
                )


# %%
caution = (
    "SGD without momentum takes a larger step on a larger loss, so in the additive convention λ also lengthens the step: "
    "see what a larger lr alone does (`--preset control`) before crediting the teacher."
)
published = "67 (teacher), 146 (student of 2 x 800) and 74 (the same distilled at T = 20) errors of 10,000"
details = [*map(answer, settings), f"Published, arXiv 1503.02531, section 3: {published}."]
further = [*larger_steps()] or ["Part of this may be the longer steps that SGD takes where λ is larger: `--preset control` tells."] * bool(chosen)
if (run.rows["optimiser"] == "sgd").all():
    details.append(caution)
answers = [*in_short(), *(which(s) for s in chosen if len(chosen) == 1)]
run.show(map(line, settings), "Test errors")
run.close([*answers, *further * (caution in details)] or map(answer, settings), details)
