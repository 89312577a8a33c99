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
import matplotlib.pyplot as plt
import pandas as pd

from analysis.core import report, statistics, tell
from analysis.core.blocks import Planes
from analysis.core.figures.bars import bars
from analysis.core.figures.curves import curves
from analysis.core.figures.references import Reference
from analysis.core.settings import PLANE, by_seed, select, split

run = report.start("mnist_kd")
run.rows["test_error"] = 1 - run.rows["test_accuracy"]
regimes = split(run.rows, ["train_size", "network"], run.info.get("axes", {}))

# %% [markdown]
# ## What it is read against
# Our own Teacher and Student, and Hinton et al. 2015, section 3: 67 test errors of 10,000 for a teacher of 2 x 1200 with dropout,
# max-norm and jitter, 146 for a student of 2 x 800 on labels only, 74 for the same student distilled at T = 20.

# %%
PAPER = "arXiv 1503.02531"
METRIC = "test_error"
PUBLISHED = {"teacher, 67 errors": 0.0067, "student, 146 errors": 0.0146, "distilled at T = 20, 74 errors": 0.0074}
BLUE, ORANGE, GREEN = "#0072B2", "#B35900", "#007A5A"
RECIPE = ("teacher", "teacher_steps")
teachers = run.table("teachers")


def teacher(regime):
    """Test error by seed of the regime's teachers."""
    recipe = {name: regime.rows[name].iloc[0] for name in RECIPE}
    found = select(teachers, recipe)
    return 1 - by_seed(found, "test_accuracy") if len(found) else pd.Series(dtype=float)


def student(regime):
    """Test error by seed on labels only, kd_weight 0; neither the convention nor the teacher plays a part."""
    fixed = {k: v for k, v in regime.axes.items() if k not in ("convention", *RECIPE)}
    return by_seed(pd.concat([select(r.done, {**fixed, "kd_weight": 0}) for r in regimes]), METRIC)


def distilled(regime):
    """The choice of validation among the students that hear the teacher, or None."""
    heard = regime.done[regime.done["kd_weight"] > 0].dropna(subset=["val_accuracy", "test_accuracy"])
    if heard.empty:
        return None
    return statistics.stands_out(heard, PLANE, "val_accuracy", "test_accuracy")


verdicts = {regime.name: distilled(regime) for regime in regimes}


def best(regime):
    verdict = verdicts[regime.name]
    return verdict.best if verdict else None


def digits(regime):
    size = regime.axes["train_size"]
    return "all digits" if size == "all" else f"{int(size):,} digits"


def title(regime):
    rest = [f"{k} {v}" for k, v in regime.axes.items() if k not in ("train_size", "network")]
    return ", ".join([f"two layers of {regime.axes['network'].removeprefix('mlp_')}", digits(regime), *rest])


def references(regime):
    """Levels in per cent, those that were measured."""
    levels = [("Teacher", teacher(regime), BLUE), ("Student", student(regime), ORANGE)]
    return [Reference(name, 100 * v.mean(), color=color, digits=2) for name, v, color in levels if len(v)]


planes = Planes(run, regimes, "train_size", title, best, digits=2)
whole = all(r.done["kd_weight"].nunique() > 2 and r.done["temperature"].nunique() > 1 for r in regimes)
top = 1.15 * max(100 * run.rows[METRIC].max(), *(level.value for r in regimes for level in references(r)))

# %% [markdown]
# ## Test errors over temperature and weight
# Lower is better. The star is the λ > 0 and T that validation chose; planes are our Teacher and Student; whiskers are intervals; a
# cross is a cell without a result. Behind the links are the same surfaces, to turn.

# %%
if whole:
    planes.surfaces(METRIC, "Test errors on MNIST", references, limits=(0, top))
    planes.heatmaps(METRIC, "heatmaps", "Test errors on MNIST")
    planes.over_temperature(METRIC, "Test errors on MNIST", references, top=top)

# %% [markdown]
# ## The temperature, by width
# What the teacher's answers change against labels only of the same seed, in points of test error; below zero is a gain. One λ > 0
# per panel, chosen on validation.


# %%
def slices(regime, weight):
    """Change of the test error against labels only by temperature and seed, at one weight."""
    baseline = student(regime)
    part = regime.done[(regime.done["kd_weight"] == weight) & regime.done["seed"].isin(baseline.index)]
    return part.assign(change=part[METRIC] - part["seed"].map(baseline))


sliced = [r for r in regimes if best(r) and len(student(r)) and r.done["temperature"].nunique() > 2]
if sliced:
    sizes = list(dict.fromkeys(r.axes["train_size"] for r in sliced))
    figure, axes = plt.subplots(1, len(sizes), figsize=(7 * len(sizes), 4.8), squeeze=False, layout="constrained")
    for size, ax in zip(sizes, axes[0], strict=True):
        here = [r for r in sliced if r.axes["train_size"] == size]
        parts = [slices(r, best(r)["kd_weight"]).assign(which=title(r).replace(f", {digits(r)}", "")) for r in here]
        table = statistics.summarise(pd.concat(parts), ["which", "temperature"], "change")
        table[["mean", "low", "high"]] *= 100
        table["which"] = pd.Categorical(table["which"], [part["which"].iloc[0] for part in parts], ordered=True)
        curves(table.rename(columns={"mean": "change"}), "temperature", "change", "which", ax=ax)
        ax.axhline(0, color=ORANGE, linewidth=1, label="Student (labels only)")
        ax.set(ylabel="change of test error, points", title=digits(here[0]))
        ax.legend(fontsize=8.5)
    figure.suptitle(f"What distillation changes, over the temperature\n{run.subtitle}", fontsize=11)
    run.figure(figure, "slices")

# %% [markdown]
# ## In one row
# Student, Student2.0 and Teacher of each regime, and the paper's three (pale).

# %%
ladder = []
for regime in regimes:
    for name, values, color in (
        ("Teacher", teacher(regime), "0.55"),
        ("Student", student(regime), "#C46200"),
        ("Student2.0", regime.by_seed(METRIC, best(regime)) if best(regime) else pd.Series(dtype=float), BLUE),
    ):
        said = f"{name}, {title(regime)}" if name != "Teacher" else f"Teacher ({regime.rows['teacher'].iloc[0]})"
        said += f"\n{tell.cell(best(regime))}" if name == "Student2.0" and best(regime) else ""
        ladder.append((said, statistics.interval(values), color))
ladder += [(f"{name} [{PAPER}]", statistics.interval([value]), "0.85") for name, value in PUBLISHED.items()]
rungs = [(n, 100 * i.mean, 100 * i.low, 100 * i.high, c) for n, i, c in ladder if i.n]
table = pd.DataFrame(rungs, columns=["name", METRIC, "low", "high", "color"]).drop_duplicates(ignore_index=True)
table = table.sort_values(METRIC, ascending=False, ignore_index=True)
figure, ax = plt.subplots(figsize=(10, 0.55 * len(table) + 1.2), layout="constrained")
widest = 1.25 * float(table["high"].fillna(table[METRIC]).max())
bars(table, "name", METRIC, hue="color", limit=widest, ax=ax, digits=2)
ax.set_title(f"Test errors on MNIST\n{run.subtitle}", fontsize=10.5)
run.figure(figure, "ladder")

# %% [markdown]
# ## What came out
# Computed from the rows. A winner that the seeds cannot tell from its rivals is called a tie.


# %%
def percent(values):
    return tell.percent(statistics.interval(values), 2)


def against(a, b):
    """A difference of errors in words."""
    difference = statistics.paired(a, b)
    verdict = tell.moves(difference)
    return f"{tell.points(difference, 2)}: {dict(gain='more errors', loss='fewer errors').get(verdict[2:], verdict)}"


def regime_sentence(regime):
    verdict, alone, above = verdicts[regime.name], student(regime), teacher(regime)
    said = [f"**{title(regime)[0].upper()}{title(regime)[1:]}**: "]
    if len(above):
        said.append(f"Teacher {percent(above)} test errors; ")
    if len(alone):
        said.append(f"Student {percent(alone)}; ")
    if verdict is None:
        return "".join(said).removesuffix("; ") + "; no student that hears the teacher is done."
    errors = regime.by_seed(METRIC, verdict.best)
    said.append(f"validation chooses {tell.cell(verdict.best)} for Student2.0: {percent(errors)}")
    if len(alone):
        said.append(f"; against the Student, paired by seed, {against(errors, alone)}")
    if len(above):
        said.append(f"; against the Teacher {against(errors, above)}")
    share = statistics.share_of_gap(-errors, -alone, -above)
    if len(share) and share.notna().all():
        said.append(f"; it closes {tell.share(statistics.interval(share))} of the gap between Student and Teacher")
    return "".join(said) + ". " + tell.verdict(verdict) + edge_sentence(regime, verdict.best)


def edge_sentence(regime, cell):
    grids = {"T": regime.done["temperature"], "λ": regime.done.loc[regime.done["kd_weight"] > 0, "kd_weight"]}
    values = {"T": cell["temperature"], "λ": cell["kd_weight"]}
    ends = [k for k, grid in grids.items() if grid.nunique() > 2 and values[k] in (grid.min(), grid.max())]
    return f" {' and '.join(ends)} at the edge of what was tried: better ones may lie outside." if ends else ""


def by_temperature(regime):
    """Test errors by temperature (columns) and seed at the weight that validation chose."""
    part = regime.done[regime.done["kd_weight"] == best(regime)["kd_weight"]]
    return part.pivot_table(index="seed", columns="temperature", values=METRIC)


def warm_sentence(regime):
    """Hinton's claims: with 300 or more units all T > 8 are alike, with 30 units T of 2.5 to 4 is best."""
    units, errors = int(regime.axes["network"].removeprefix("mlp_")), by_temperature(regime)
    hot = [T for T in errors if T >= 8]
    warm = [T for T in errors if 2.5 <= T <= 4]
    if units >= 300 and len(hot) > 1:
        span = errors[hot].mean()
        differences = [statistics.paired(errors[hot[0]], errors[T]) for T in hot[1:]]
        p = statistics.holm([d.p for d in differences])
        told = [f"T = {T:g}" for T, each in zip(hot[1:], p, strict=True) if each < 0.05]
        verdict = f"{tell.listing(told)} differ from T = {hot[0]:g}" if told else f"none is told from T = {hot[0]:g}"
        yield (
            f"Hinton's first claim, all T > 8 alike for 300 units or more, {title(regime)}: over T = "
            f"{', '.join(f'{T:g}' for T in hot)} the mean test error spans {100 * span.min():.2f} to {100 * span.max():.2f} %; "
            f"{verdict} (paired t, Holm-corrected, {len(errors)} seeds)."
        )
    if units < 300 and warm and len(errors.columns) > len(warm):
        mean = errors.mean()
        chosen = mean[warm].idxmin()
        others = [T for T in errors if T not in warm]
        found = {T: statistics.paired(errors[chosen], errors[T]) for T in others}
        said = "; ".join(f"T = {T:g} {tell.points(d, 2)}" for T, d in found.items())
        yield (
            f"Hinton's second claim, T of 2.5 to 4 best for 30 units, {title(regime)}: T = {chosen:g} "
            f"has {100 * mean[chosen]:.2f} % test errors; less the errors at {said} (paired by seed, {len(errors)} seeds); "
            f"{'the lowest mean of all T' if mean.idxmin() in warm else f'but T = {mean.idxmin():g} has the lowest mean'}."
        )


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
    rates = sorted({r.axes["lr"] for r in regimes if "lr" in r.axes})
    for rate in rates[1:]:
        for slow in (r for r in regimes if r.axes["lr"] == rates[0] and best(r)):
            fast = next((r for r in regimes if r.axes == {**slow.axes, "lr": rate}), None)
            if fast is not None and len(student(fast)):
                errors = slow.by_seed(METRIC, best(slow))
                yield (
                    f"Without a teacher, a step of {rate / rates[0]:g} times the size takes the Student to {percent(student(fast))}; "
                    f"Student2.0 at lr {rates[0]:g} less that: {against(errors, student(fast))}."
                )


warm_sentences = [sentence for r in sliced for sentence in warm_sentence(r)]
run.close(
    [
        *map(regime_sentence, regimes),
        *step_sentences(),
        *warm_sentences,
        *paper_sentences(),
        *run.caveats(),
    ]
)
