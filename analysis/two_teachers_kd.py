# %% [markdown]
# # Can two teachers, each of half of the digits, teach all ten without the data?
#
# MNIST is unavailable; what is left are two teachers, one trained on the digits 0 to 4 only, one on 5 to 9 only. A student of
# all ten digits is trained on their answers by λ Dist₁ + (1 - λ) Dist₂, each Dist = T² KL(teacher ‖ student) at temperature T
# (Hinton et al. 2015, arXiv 1503.02531), λ = `kd_weight`. No label and, save for `inputs = real`, no image of MNIST trains it.
#
# **What the teachers are asked about** (`inputs`), and what each sort of image brings along:
#
# - `real`: MNIST's own training images, unlabelled. Not in the setting; the upper bound.
# - `generator`: pictures of a network that holds a pen: it is given random strokes and a digit, and moves the strokes' points. It is
#   trained against the two teachers, to be claimed by the one that owns the digit (DAFL, arXiv 1904.01186), to fool a student
#   that learns along (ZSKT, arXiv 1905.09768) and to have the feature statistics that the teachers' batch normalisations
#   gathered from their data (DeepInversion, arXiv 1912.08795). It brings what `strokes` bring, and needs the teachers' gradients
#   and statistics, not their answers alone.
# - `strokes`: random pen strokes, drawn by a program. They bring much: what writing looks like, its size and its place.
# - `fashion`: Fashion-MNIST's training images: real, centred, but no lines and no digits.
# - `noise`: random fields from coarse to fine, pushed to black and white. They bring smoothness alone.
#
# **How five classes are put on ten outputs** (`lifting`): `zeros`, the assignment's plain loss: a teacher says 0 for the classes
# it does not know; `mask`: each teacher speaks about its own classes only; `confidence`, `energy`: as zeros, but per image the
# teacher that knows it better speaks louder, by the odds of its first answer or by its logits' logsumexp, with λ as the prior.
#
# T, λ and the lifting are chosen on held-out digits of MNIST with labels. The setting has no such digits, so the page also shows
# one cell that this choice has no part in: the plain loss at T = 4, λ = 0.5. How the teachers are trained (deformed digits, smoothed
# labels), how strokes are drawn and that pools hold as many of each class as of any other were settled in probes with seed 0 that
# looked at test digits: of these, the accuracies are not independent. The generator starts from these strokes; it took the place of
# one of pixels whose test accuracy had been seen. Its loss was settled with seed 0 and no test digit: by how close its pictures come
# to the teachers' statistics, how evenly the teachers see the digits in them, and two looks at validation digits. Every number is a mean over seeds with Student's 95 % interval.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from analysis.core import blocks, report, tell
from analysis.core.choice import choices, choose, choose_each
from analysis.core.figures.references import Reference
from analysis.core.settings import by_seed, select

METRIC, PLAIN, PLANE = "test_accuracy", "zeros", ("temperature", "kd_weight")
CELL = ["lifting", *PLANE]
FIXED = {"lifting": PLAIN, "temperature": 4.0, "kd_weight": 0.5}
ENTITLED = {
    "real": "real images, unlabelled (upper bound)", "generator": "images of a generator", "strokes": "drawn strokes",
    "fashion": "Fashion-MNIST", "noise": "noise",
}  # fmt: skip
run = report.open("two_teachers_kd", words={"inputs": ENTITLED, "lifting": "{}"})
settings = run.settings(but=PLANE, first=["inputs", "lifting"])
chosen = choices(settings, PLANE)
done = run.cells[run.cells["status"] == "done"]
best = choose_each(done.sort_values("inputs", key=lambda c: c.map([*ENTITLED].index), kind="stable"), "inputs", CELL)

# %% [markdown]
# ## What it is read against
# What one teacher can reach at most, and both teachers joined without a student: the surer one speaks, by its probability, the
# entropy of its answer, its logit, or its energy.

# %%
BLUE, ORANGE, GREEN = "#0072B2", "#B35900", "#007A5A"
teachers = run.table("teachers").drop_duplicates("seed") if len(run.table("teachers")) else pd.DataFrame()


def of_teachers(metric):
    """A metric of the teachers by seed; they are the same for all inputs."""
    return by_seed(teachers, metric) if len(teachers) else pd.Series(dtype=float)


JOINED = {how: of_teachers(f"joined_{how}_test_accuracy") for how in ("probability", "entropy", "logit", "energy")}
levels = [
    Reference("test digits 0 to 4", 100 * of_teachers("first_share").mean(), color=ORANGE),
    Reference("joined by probability", 100 * JOINED["probability"].mean(), color=GREEN),
] * bool(len(teachers))

# %% [markdown]
# ## The images
# Twenty of every sort, and the digit that the surer teacher sees in each, with its probability in per cent. From what was found or
# made, as many are taken of each digit as the teachers see.


# %%
def pictures(images):
    sorts = [name for name in ENTITLED if name in set(images["inputs"])]
    figure = plt.figure(figsize=(10.5, 2.6 * len(sorts) + 0.9), layout="constrained")
    for name, strip in zip(sorts, figure.subfigures(len(sorts), 1, squeeze=False)[:, 0], strict=True):
        strip.suptitle(ENTITLED[name], x=0.01, ha="left", fontsize=11, fontweight="bold")
        part = images[images["inputs"] == name].set_index("number")
        for place, ax in enumerate(strip.subplots(2, 10).flat):
            ax.axis("off")
            if place in part.index:
                picture = part.loc[place]
                ax.imshow(np.frombuffer(picture["image"], np.uint8).reshape(28, 28), cmap="gray", vmin=0, vmax=255)
                ax.set_title(f"{picture['said']} ({100 * picture['probability']:.0f})", fontsize=8.5, pad=2)
    figure.suptitle(run.title("What the teachers are asked about, and what they say"), fontsize=11)
    run.figure(figure, "images")


if len(run.table("images")):
    pictures(select(run.table("images"), {"seed": run.table("images")["seed"].min()}))

# %% [markdown]
# ## The assignment's answer: test accuracy over temperature and λ, plain loss
# One surface for every sort of images. The star is the cell chosen on validation; whiskers are intervals. At λ = 1 the student
# hears the teacher of 0 to 4 only, at λ = 0 that of 5 to 9 only: a student that says what its one teacher says can be right on
# one half of the digits alone, whose share of the test set is the lower plane.

# %%
plain = [s for s in settings if s.axes["lifting"] == PLAIN]
framed = [{**s.axes, **chosen[s.name].best} for s in settings if s.name in chosen]
rest = [axis for axis in settings[0].axes if axis not in ("inputs", "lifting")]
panels: dict = {"columns": ["inputs", *rest], "levels": levels, "framed": framed}
loss = select(run.cells, {"lifting": PLAIN})
if plain:
    blocks.plane(run, loss, *PLANE, METRIC, "Test accuracy, plain loss", **panels)

# %% [markdown]
# ## Each half over λ
# The plain loss, at the temperature that validation chose for it: as λ moves, one half of the digits is paid for with the other.

# %%
HALVES = {"0 to 4": "test_accuracy_0_4", "5 to 9": "test_accuracy_5_9", "all ten": METRIC}
COLORS = {"0 to 4": ORANGE, "5 to 9": "#56B4E9", "all ten": "#000000"}


def halves(setting):
    """The accuracy on each half at the chosen temperature."""
    T = chosen[setting.name].best["temperature"]
    part = select(setting.done, {"temperature": T}).assign(at=f"{run.named(setting.axes)}, T = {T:.3g}")
    return pd.concat([part.assign(digits=name, accuracy=part[metric]) for name, metric in HALVES.items()])


decided = [s for s in plain if s.name in chosen]
if decided:
    blocks.learning(
        run, pd.concat(map(halves, decided)), "kd_weight", "accuracy", "Test accuracy on each half of the digits", per="digits",
        columns=["at"], colors=COLORS, name="halves", ylabel="test accuracy, %", legend="", size=(5.2, 3.8),
    )  # fmt: skip

# %% [markdown]
# ## Other liftings
# For each sort of images the four liftings, as surfaces and as numbers. At λ = 0 and 1 `confidence` and `energy` have nothing to
# weigh and are the plain loss.


# %%
def of_inputs(name):
    by: dict = {**panels, "columns": ["lifting", *rest]}
    here = select(run.cells, {"inputs": name})
    by["framed"] = [frame for frame in framed if frame["inputs"] == name]
    blocks.plane(
        run, here, *PLANE, METRIC, f"Test accuracy, {ENTITLED[name]}", suffix=f"_{name}", turn=False, wrap=2, **by
    )


for sort in best:
    of_inputs(sort)

# %% [markdown]
# ## In one row
# The best cell of every sort of images (chosen on validation over lifting, T and λ; pale: a cell that nothing chose),
# between the teachers joined without a student and the published neighbour, which has one teacher of all digits.

# %%
PUBLISHED = "DAFL: one teacher of all digits, LeNet-5 to half of it [arXiv 1904.01186, repository]", 0.982
KINDS = {
    "chosen on validation": BLUE, "real images": ORANGE, "a cell that nothing chose": "#A9CDE3", "of real images": "#E8C49A",
    "no student": "0.55", "published": "0.85",
}  # fmt: skip


def named(cell):
    return f"{cell['lifting']}, T = {cell['temperature']:.3g}, λ = {cell['kd_weight']:.3g}"


def unchosen(name):
    """Of a sort of images the cell that nothing chose, by seed."""
    return by_seed(select(done, {"inputs": name, **FIXED}), METRIC)


def rungs(name, choice):
    dark, pale = (
        ("real images", "of real images") if name == "real" else ("chosen on validation", "a cell that nothing chose")
    )
    yield blocks.rung(f"{ENTITLED[name]}\n{named(choice.best)}", choice.by_seed(), dark, METRIC)
    yield blocks.rung(f"{ENTITLED[name]}\nnot chosen: {named(FIXED)}", unchosen(name), pale, METRIC)


bars = [rung for name, choice in best.items() for rung in rungs(name, choice)]
joined = [blocks.rung(f"both teachers joined by {how}", v, "no student", METRIC) for how, v in JOINED.items()]
theirs = blocks.rung(PUBLISHED[0].replace(", ", ",\n", 1), [PUBLISHED[1]], "published", METRIC)
blocks.ladder(run, [*bars, *joined, theirs], METRIC, "Test accuracy on all ten digits", KINDS)

# %% [markdown]
# ## What came out
# Computed from the rows. A winner that the seeds cannot tell from its rivals is called a tie.


# %%
def input_sentence(name):
    choice = best[name]
    said = f"**{tell.capital(ENTITLED[name])}**: validation chooses {named(choice.best)}; test accuracy {tell.percent(choice.by_seed())}"
    if len(teachers):
        apart = tell.difference(choice.by_seed(), JOINED["probability"])
        said += f"; against the teachers joined by probability, paired by seed, {apart}"
    said += f". {tell.choice(choice, named, 3)}"
    plainly = choose(select(done, {"inputs": name, "lifting": PLAIN}), CELL)
    if plainly and choice.best["lifting"] != PLAIN:
        said += f" Plain loss: {tell.percent(plainly.by_seed())} at {named(plainly.best)}."
    if len(unchosen(name)):
        said += f" Without any choice, at {named(FIXED)}: {tell.percent(unchosen(name))}."
    return said


def summary_sentences():
    """The best without a real image, and what is lost to the upper bound."""
    validation = {n: c.by_seed("val_accuracy").mean() for n, c in best.items() if n not in ("real", "fashion")}
    if validation:
        name = max(validation, key=lambda n: validation[n])
        text = f"Without any photographed or scanned image the best are {ENTITLED[name]}: {tell.percent(best[name].by_seed())}"
        if "real" in best:
            apart = tell.difference(best[name].by_seed(), best["real"].by_seed())
            text += f"; against real images, paired by seed, {apart}"
        yield text + "."


# %%
def teacher_sentences():
    if not len(teachers):
        yield "This run has no rows of its teachers, so the baselines are missing."
        return
    first, second = (tell.percent(of_teachers(f"{which}_test_accuracy")) for which in ("first", "second"))
    each = "; ".join(f"by {how} {tell.percent(values)}" for how, values in JOINED.items())
    yield (
        f"On its own half of the test digits the teacher of 0 to 4 reaches {first}, that of 5 to 9 {second}. Joined without a "
        f"student, the surer one speaking: {each}."
    )


def end_sentence(weight, half, column, other):
    """Why the plain loss ends where it ends, as far as it was run with one teacher only."""
    ends = pd.concat([select(s.done, {"kd_weight": weight}).dropna(subset=[METRIC]) for s in plain] or [done[:0]])
    if ends.empty or not len(teachers):
        return
    means = ends.groupby(["inputs", "temperature"])[METRIC].mean()
    sort, T = means.reset_index().sort_values(METRIC)[["inputs", "temperature"]].iloc[-1]
    share = of_teachers("first_share").mean() if weight else 1 - of_teachers("first_share").mean()
    top = by_seed(select(ends, {"inputs": sort, "temperature": T}), METRIC)
    yield (
        f"Plain loss at λ = {weight:g}: only the teacher of {half} is heard, and it says 0 for every other digit, so no "
        f"student that follows it can be right on more than the {100 * share:.2f} % of the test digits that are {half}. "
        f"Measured: at most {tell.percent(top)} ({ENTITLED[sort]}, T = {T:.3g}); over all sorts of images and T, "
        f"{100 * ends[column].mean():.1f} % of the digits {half} and {100 * ends[other].mean():.2f} % of the others are right."
    )


# %%
no_number = (
    f"No published number was found for two teachers of half of MNIST without data. The nearest, {PUBLISHED[0]}: "
    f"{100 * PUBLISHED[1]:.1f} %; its teacher knows every digit, while here neither knows the other's, so even real "
    "images do not bring the student to its teachers' level."
)
sides = HALVES["0 to 4"], HALVES["5 to 9"]
run.close(
    [*summary_sentences(), *map(input_sentence, best)],
    [*teacher_sentences(), *end_sentence(1.0, "0 to 4", *sides), *end_sentence(0.0, "5 to 9", *sides[::-1]), no_number],
)
