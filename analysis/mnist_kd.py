# %% [markdown]
# # Does a student of MNIST come near its teacher?
#
# A teacher of two hidden layers of 1,200 units answers for every training digit; a student learns from the labels and from these
# answers, by CE + λ T² C (λ = `kd_weight`, the additive convention of the assignment) or (1 - λ) CE + λ T² C (`convex`), with
# C the cross-entropy between both softmaxes at temperature T (Hinton et al. 2015, arXiv 1503.02531, section 3). At λ = 0 the
# teacher is not heard: the Student. What validation chooses among all λ > 0 is Student2.0.
#
# T and λ are chosen on held-out validation digits; the test set only reports. Every number is a mean over seeds with Student's
# 95 % interval; each seed has its own teacher, initial weights and order of the digits, and differences are paired by seed.

# %%
import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choices
from analysis.core.figures.references import Reference
from analysis.core.settings import by_seed, find, select

PLANE = ("temperature", "kd_weight")
METRIC = "test_error"
WIDTHS = {f"mlp_{units}": f"two layers of {units}" for units in (30, 300, 600, 800, 1200)}
run = report.open(
    "mnist_kd",
    words={"network": WIDTHS, "train_size": lambda n: "all digits" if n == "all" else f"{int(n):,} digits"},
)
settings = run.settings(but=PLANE, first=["network", "train_size"])

# %% [markdown]
# ## What it is read against
# Our own Teacher and Student, and Hinton et al. 2015, section 3: 67 test errors of 10,000 for a teacher of 2 x 1200 with dropout,
# max-norm and jitter, 146 for a student of 2 x 800 on labels only, 74 for the same student distilled at T = 20.

# %%
PAPER = "arXiv 1503.02531"
PUBLISHED = {"teacher, 67 errors": 0.0067, "student, 146 errors": 0.0146, "distilled at T = 20, 74 errors": 0.0074}
BLUE, ORANGE = "#0072B2", "#B35900"
RECIPE = ["teacher", "teacher_steps"]


def teacher(setting):
    """Test error by seed of the setting's teachers."""
    recipe = {name: setting.cells[name].iloc[0] for name in RECIPE}
    found = select(run.table("teachers"), recipe)
    return 1 - by_seed(found, "test_accuracy") if len(found) else pd.Series(dtype=float)


def student(setting):
    """Test error by seed on labels only, kd_weight 0; neither the convention nor the teacher plays a part."""
    fixed = {k: v for k, v in setting.axes.items() if k not in ("convention", *RECIPE)}
    return by_seed(select(run.students, {**fixed, "kd_weight": 0}), METRIC)


def levels(axes):
    """Levels in per cent, those that were measured."""
    setting = find(settings, axes)
    found = [("Teacher", teacher(setting), BLUE), ("Student", student(setting), ORANGE)]
    return [Reference(name, 100 * v.mean(), color=color, digits=2) for name, v, color in found if len(v)]


chosen = choices(settings, PLANE, lambda students: students[students["kd_weight"] > 0], margin=run.margin)
titles = {s.name: run.named(s.axes) for s in settings}

# %% [markdown]
# ## Test errors over temperature and weight
# Lower is better. The star is the λ > 0 and T that validation chose; planes are our Teacher and Student; whiskers are intervals; a
# cross is a cell without a result. The surfaces to turn are the same.

# %%
HEADING = "Test errors on MNIST"
panels: dict = {"rows": ["train_size"], "columns": [a for a in settings[0].axes if a != "train_size"], "levels": levels}
whole = all(s.done["kd_weight"].nunique() > 2 and s.done["temperature"].nunique() > 1 for s in settings)
top = 1.15 * max(100 * run.cells[METRIC].max(), *(level.value for s in settings for level in levels(s.axes)))
if whole:
    framed = [frame for s in settings if s.name in chosen for frame in chosen[s.name].frames(s.axes)]
    blocks.plane(run, run.cells, *PLANE, METRIC, HEADING, framed=framed, limits=(0, top), digits=2, **panels)
    over = f"{HEADING} over the temperature, mean and 95 % interval"
    blocks.learning(
        run, run.cells, "temperature", METRIC, over, per="kd_weight", limits=(0, top), name="curves", **panels
    )

# %% [markdown]
# ## The temperature, by width
# What the teacher's answers change against labels only of the same seed, in points of test error; below zero is a gain. One λ > 0
# per width, chosen on validation.


# %%
def slices(setting):
    """Change of the test error against labels only by temperature and seed, at the weight that was chosen."""
    baseline, weight = student(setting), chosen[setting.name].best["kd_weight"]
    part = setting.done[(setting.done["kd_weight"] == weight) & setting.done["seed"].isin(baseline.index)]
    which = run.named({k: v for k, v in setting.axes.items() if k != "train_size"})
    return part.assign(change=part[METRIC] - part["seed"].map(baseline), which=which)


sliced = [s for s in settings if s.name in chosen and len(student(s)) and s.done["temperature"].nunique() > 2]
if sliced:
    changes = pd.concat(map(slices, sliced))
    changes["which"] = pd.Categorical(changes["which"], changes["which"].unique(), ordered=True)
    blocks.learning(
        run, changes, "temperature", "change", "What distillation changes, over the temperature", per="which", name="slices",
        columns=["train_size"], ylabel="change of test error, points", legend="", share=False, limits=(None, None),
        also=lambda ax, panel: ax.axhline(0, color="0.3", linewidth=1, label="Student (labels only)"),
    )  # fmt: skip

# %% [markdown]
# ## In one row
# Student, Student2.0 and Teacher of each setting, and the paper's three (pale).

# %%
KINDS = {"Student2.0": BLUE, "Student": "#C46200", "Teacher": "0.55", "published": "0.85"}


def rungs(setting):
    """Teacher, Student and Student2.0 of one setting."""
    told, choice = titles[setting.name], chosen.get(setting.name)
    yield blocks.rung(f"Teacher ({setting.cells['teacher'].iloc[0]})", teacher(setting), "Teacher", METRIC)
    yield blocks.rung(f"Student, {told}", student(setting), "Student", METRIC)
    if choice:
        yield blocks.rung(f"Student2.0, {told}\n{tell.cell(choice.best)}", choice.by_seed(METRIC), "Student2.0", METRIC)


published = [blocks.rung(f"{name} [{PAPER}]", [value], "published", METRIC) for name, value in PUBLISHED.items()]
bars = [rung for s in settings for rung in rungs(s)]
blocks.ladder(run, [*bars, *published], METRIC, HEADING, KINDS, digits=2, descending=True)

# %% [markdown]
# ## What came out
# Computed from the rows. A rival of what was chosen is as good (within half a point), worse, or open, by intervals that hold for all together.


# %%
def against(a, b):
    return tell.difference(a, b, 2, more="more errors", less="fewer errors")


def setting_sentence(setting):
    choice, alone, above = chosen.get(setting.name), student(setting), teacher(setting)
    said = [f"Teacher {tell.percent(above, 2)} test errors"] * bool(len(above))
    said += [f"Student {tell.percent(alone, 2)}"] * bool(len(alone))
    head = f"**{tell.capital(titles[setting.name])}**: "
    if choice is None:
        return head + "; ".join(said) + "; no student that hears the teacher is done."
    errors = choice.by_seed(METRIC)
    said.append(f"validation chooses {tell.cell(choice.best)} for Student2.0: {tell.percent(errors, 2)}")
    if len(alone):
        said.append(f"against the Student, paired by seed, {against(errors, alone)}")
    if len(above):
        said.append(f"against the Teacher {against(errors, above)}")
    share = statistics.share_of_gap(-errors, -alone, -above)
    if len(share) and share.notna().all():
        said.append(f"it closes {tell.share(share)} of the gap between Student and Teacher")
    edge = tell.edge(choice, {"temperature": "T", "kd_weight": "λ"})
    return f"{head}{'; '.join(said)}. {tell.choice(choice)} {edge}".strip()


# %%
def by_temperature(setting):
    """Test errors by temperature (columns) and seed at the weight that validation chose."""
    part = setting.done[setting.done["kd_weight"] == chosen[setting.name].best["kd_weight"]]
    return part.pivot_table(index="seed", columns="temperature", values=METRIC)


def warm_sentences(setting):
    """Hinton's claims: with 300 or more units all T > 8 are alike, with 30 units T of 2.5 to 4 is best."""
    units, errors = int(setting.axes["network"].removeprefix("mlp_")), by_temperature(setting)
    hot, warm = [T for T in errors if T >= 8], [T for T in errors if 2.5 <= T <= 4]
    if units >= 300 and len(hot) > 1:
        span = errors[hot].mean()
        apart = statistics.compare({f"T = {T:g}": (errors[hot[0]], errors[T]) for T in hot[1:]}, ["at"])
        told = tell.listing(list(apart.loc[apart["told"] != "open", "at"]))
        yield (
            f"Hinton's first claim, all T > 8 alike for 300 units or more, {titles[setting.name]}: over T = "
            f"{', '.join(f'{T:g}' for T in hot)} the mean test error spans {100 * span.min():.2f} to {100 * span.max():.2f} %; "
            f"{f'{told} differ from' if told else 'none is told from'} T = {hot[0]:g} (paired t, Holm-corrected, {len(errors)} seeds)."
        )
    if units < 300 and warm and len(errors.columns) > len(warm):
        mean = errors.mean()
        best, least = mean[warm].idxmin(), mean.idxmin()
        found = {T: statistics.paired(errors[best], errors[T]) for T in errors if T not in warm}
        said = "; ".join(f"T = {T:g} {tell.points(d, 2)}" for T, d in found.items())
        yield (
            f"Hinton's second claim, T of 2.5 to 4 best for 30 units, {titles[setting.name]}: T = {best:g} "
            f"has {100 * mean[best]:.2f} % test errors; less the errors at {said} (paired by seed, {len(errors)} seeds); "
            f"{'the lowest mean of all T' if least in warm else f'but T = {least:g} has the lowest mean'}."
        )


# %%
def paper_sentences():
    numbers = "67 (teacher), 146 (student) and 74 (distilled at T = 20) errors of 10,000"
    yield f"Published, {PAPER}, section 3: {numbers}, with a student of 2 x 800."
    if (run.rows["optimiser"] == "sgd").all():
        yield (
            "SGD without momentum takes a larger step on a larger loss, so in the additive convention λ also lengthens the step: "
            "see what a larger lr alone does (`--preset control`) before crediting the teacher."
        )


def step_sentences():
    """Labels only at every lr, against Student2.0 at the smallest: how much a larger step does without a teacher."""
    slowest = min(run.axes["lr"])
    for slow in (s for s in settings if s.axes.get("lr") == slowest and s.name in chosen):
        for fast in (s for s in settings if s.axes == {**slow.axes, "lr": s.axes["lr"]} and s is not slow):
            if len(student(fast)):
                yield (
                    f"Without a teacher, a step of {fast.axes['lr'] / slowest:g} times the size takes the Student to "
                    f"{tell.percent(student(fast), 2)}; Student2.0 at lr {slowest:g} less that: "
                    f"{against(chosen[slow.name].by_seed(METRIC), student(fast))}."
                )


warm = [sentence for s in sliced for sentence in warm_sentences(s)]
run.close(map(setting_sentence, settings), [*step_sentences(), *warm, *paper_sentences()])
