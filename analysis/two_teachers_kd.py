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

from analysis.core import report, statistics, tell
from analysis.core.blocks import Planes
from analysis.core.figures.bars import bars
from analysis.core.figures.curves import curves
from analysis.core.figures.references import Reference
from analysis.core.settings import PLANE, by_seed, select, split

METRIC = "test_accuracy"
PLAIN = "zeros"
FIXED = {"lifting": PLAIN, "temperature": 4.0, "kd_weight": 0.5}
PUBLISHED = "DAFL: one teacher of all digits, LeNet-5 to half of it [arXiv 1904.01186, repository]", 0.982
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#B35900", "#007A5A", "#9E4F80", "0.55"
ENTITLED = {
    "real": "real images, unlabelled (upper bound)", "generator": "images of a generator", "strokes": "drawn strokes",
    "fashion": "Fashion-MNIST", "noise": "noise",
}  # fmt: skip

run = report.start("two_teachers_kd")
regimes = split(run.rows, ["inputs", "lifting"], run.info.get("axes", {}))
teachers = run.table("teachers")
groups = list(dict.fromkeys(regime.axes["inputs"] for regime in regimes))
done = {name: pd.concat([r.done for r in regimes if r.axes["inputs"] == name]) for name in groups}
CELL = ["lifting", *PLANE]
verdicts = {
    name: statistics.stands_out(table, CELL, "val_accuracy", METRIC)
    for name, table in done.items()
    if len(table.dropna(subset=["val_accuracy", METRIC]))
}
chosen = {regime.name: verdict.best for regime in regimes if (verdict := regime.verdict("val_accuracy", METRIC))}


def of_teachers(metric):
    """A metric of the teachers by seed; they are the same for all inputs."""
    return by_seed(teachers.drop_duplicates("seed"), metric) if len(teachers) else pd.Series(dtype=float)


JOINED = {how: of_teachers(f"joined_{how}_test_accuracy") for how in ("probability", "entropy", "logit", "energy")}


def references(regime):
    """Levels in per cent: what one teacher can reach at most, and both without a student."""
    if not len(teachers):
        return []
    first = of_teachers("first_share").mean()
    return [
        Reference("test digits 0 to 4", 100 * first, color=ORANGE),
        Reference("joined by probability", 100 * JOINED["probability"].mean(), color=GREEN),
    ]


def title(regime):
    rest = [f"{k} {v}" for k, v in regime.axes.items() if k not in ("inputs", "lifting")]
    return ", ".join([ENTITLED[regime.axes["inputs"]], regime.axes["lifting"], *rest])


def named(cell):
    return f"{cell['lifting']}, T = {cell['temperature']:.3g}, λ = {cell['kd_weight']:.3g}"


def planes(which, suffix, columns):
    return Planes(run, which, "inputs", title, lambda regime: chosen.get(regime.name), columns=columns, suffix=suffix)


# %% [markdown]
# ## The images
# Twenty of every sort, and the digit that the surer teacher sees in each, with its probability in per cent. From what was found or
# made, as many are taken of each digit as the teachers see.

# %%
images = run.table("images")
if len(images):
    shown = images[images["seed"] == images["seed"].min()]
    figure = plt.figure(figsize=(10.5, 2.6 * len(groups) + 0.8), layout="constrained")
    for name, strip in zip(groups, figure.subfigures(len(groups), 1, squeeze=False)[:, 0], strict=True):
        strip.suptitle(ENTITLED[name], x=0.01, ha="left", fontsize=11, fontweight="bold")
        for place, ax in enumerate(strip.subplots(2, 10).flat):
            ax.axis("off")
            for _, picture in shown[(shown["inputs"] == name) & (shown["number"] == place)].iterrows():
                ax.imshow(np.frombuffer(picture["image"], np.uint8).reshape(28, 28), cmap="gray", vmin=0, vmax=255)
                ax.set_title(f"{picture['said']} ({100 * picture['probability']:.0f})", fontsize=8.5, pad=2)
    figure.suptitle(f"What the teachers are asked about, and what they say\n{run.subtitle}", fontsize=11)
    run.figure(figure, "images")

# %% [markdown]
# ## The assignment's answer: test accuracy over temperature and λ, plain loss
# One surface for every sort of images. The star is the cell chosen on validation; whiskers are intervals. At λ = 1 the student
# hears the teacher of 0 to 4 only, at λ = 0 that of 5 to 9 only: a student that says what its one teacher says can be right on
# one half of the digits alone, whose share of the test set is the lower plane.

# %%
plain = [regime for regime in regimes if regime.axes["lifting"] == PLAIN]
if plain:
    planes(plain, "", 3).surfaces(METRIC, "Test accuracy, plain loss", references)
    planes(plain, "", 3).heatmaps(METRIC, "heatmaps", "Test accuracy, plain loss")

# %% [markdown]
# ## Each half over λ
# The plain loss, at the temperature that validation chose for it: as λ moves, one half of the digits is paid for with the other.

# %%
if plain:
    figure, axes = planes(plain, "", 3).panels(3.6, 5.0, sharey=True)
    for regime, ax in zip(plain, axes, strict=True):
        if regime.name not in chosen:
            continue
        T = chosen[regime.name]["temperature"]
        halves = {"0 to 4": "test_accuracy_0_4", "5 to 9": "test_accuracy_5_9", "all ten": METRIC}
        parts = [
            statistics.summarise(select(regime.done, {"temperature": T}), ["kd_weight"], metric).assign(digits=name)
            for name, metric in halves.items()
        ]
        table = pd.concat(parts, ignore_index=True)
        table[["mean", "low", "high"]] *= 100
        curves(table.rename(columns={"mean": METRIC}), "kd_weight", METRIC, "digits", ax=ax)
        ax.set(ylim=(0, 101))
        ax.set_title(f"{title(regime)}, T = {T:.3g}", fontsize=10.5)
        ax.legend(fontsize=8.5, loc="lower center")
    figure.suptitle(f"Test accuracy on each half of the digits\n{run.subtitle}", fontsize=11)
    run.figure(figure, "halves")

# %% [markdown]
# ## Other liftings
# For each sort of images the four liftings, as surfaces and as numbers. At λ = 0 and 1 `confidence` and `energy` have nothing to
# weigh and are the plain loss.

# %%
for name in groups:
    those = planes([regime for regime in regimes if regime.axes["inputs"] == name], f"_{name}", 2)
    those.surfaces(METRIC, "Test accuracy", references, turn=False)
    those.heatmaps(METRIC, "heatmaps", "Test accuracy")

# %% [markdown]
# ## In one row
# The best cell of every sort of images (dark: chosen on validation over lifting, T and λ; pale: a cell that nothing chose),
# between the teachers joined without a student and the published neighbour, which has one teacher of all digits.

# %%
ladder = [(PUBLISHED[0].replace(", ", ",\n", 1), statistics.interval([PUBLISHED[1]]), "0.85")]
ladder += [(f"no student: both teachers joined by {how}", statistics.interval(v), GREY) for how, v in JOINED.items()]
for name, verdict in verdicts.items():
    color, pale = (ORANGE, "#E8C49A") if name == "real" else (BLUE, "#A9CDE3")
    accuracy = by_seed(select(done[name], verdict.best), METRIC)
    ladder.append((f"{ENTITLED[name]}\n{named(verdict.best)}", statistics.interval(accuracy), color))
    fixed = by_seed(select(done[name], FIXED), METRIC)
    ladder.append((f"{ENTITLED[name]}\nnot chosen: {named(FIXED)}", statistics.interval(fixed), pale))
rungs = sorted(((n, 100 * i.mean, 100 * i.low, 100 * i.high, c) for n, i, c in ladder if i.n), key=lambda rung: rung[1])
table = pd.DataFrame(rungs, columns=["name", METRIC, "low", "high", "color"])
figure, ax = plt.subplots(figsize=(11, 0.5 * len(table) + 1), layout="constrained")
bars(table, "name", METRIC, hue="color", ax=ax)
figure.suptitle(f"Test accuracy on all ten digits\n{run.subtitle}", fontsize=10.5)
run.figure(figure, "ladder")

# %% [markdown]
# ## What came out
# Computed from the rows. A winner that the seeds cannot tell from its rivals is called a tie.


# %%
def percent(values):
    return tell.percent(statistics.interval(values))


def teacher_sentences():
    if not len(teachers):
        yield "This run has no rows of its teachers, so the baselines are missing."
        return
    yield (
        f"On its own half of the test digits the teacher of 0 to 4 reaches {percent(of_teachers('first_test_accuracy'))}, that of "
        f"5 to 9 {percent(of_teachers('second_test_accuracy'))}. Joined without a student, the surer one speaking: "
        + "; ".join(f"by {how} {percent(values)}" for how, values in JOINED.items())
        + "."
    )


def end_sentences():
    """Why the plain loss ends where it ends, as far as it was run with one teacher only."""
    for weight, half, column in ((1.0, "0 to 4", "test_accuracy_0_4"), (0.0, "5 to 9", "test_accuracy_5_9")):
        ends = [(r, select(r.done, {"kd_weight": weight}).dropna(subset=[METRIC])) for r in plain]
        ends = [(r, table) for r, table in ends if len(table)]
        if not ends or not len(teachers):
            continue
        table = pd.concat(table for _, table in ends)
        share = of_teachers("first_share").mean() if weight else 1 - of_teachers("first_share").mean()
        top = max(ends, key=lambda end: end[1].groupby("temperature")[METRIC].mean().max())
        T = top[1].groupby("temperature")[METRIC].mean().idxmax()
        cell = {"kd_weight": weight, "temperature": T}
        other = "test_accuracy_5_9" if weight else "test_accuracy_0_4"
        yield (
            f"Plain loss at λ = {weight:g}: only the teacher of {half} is heard, and it says 0 for every other digit, so no "
            f"student that follows it can be right on more than the {100 * share:.2f} % of the test digits that are {half}. "
            f"Measured: at most {percent(by_seed(select(top[1], cell), METRIC))} ({ENTITLED[top[0].axes['inputs']]}, T = {T:.3g}); "
            f"over all sorts of images and T, {100 * table[column].mean():.1f} % of the digits {half} and "
            f"{100 * table[other].mean():.2f} % of the others are right."
        )


def input_sentence(name):
    verdict = verdicts[name]
    accuracy = by_seed(select(done[name], verdict.best), METRIC)
    head = ENTITLED[name][0].upper() + ENTITLED[name][1:]
    said = [f"**{head}**: validation chooses {named(verdict.best)}; test accuracy {percent(accuracy)}"]
    if len(teachers):
        difference = statistics.paired(accuracy, JOINED["probability"])
        said.append(
            f"; against the teachers joined by probability, {tell.points(difference)}, "
            f"paired by seed: {tell.moves(difference)}"
        )
    said.append(f". {tell.verdict(verdict, named, 3)}")
    cells = done[name].groupby("lifting")["kd_weight"].count().index
    plain_cells = select(done[name], {"lifting": PLAIN})
    if PLAIN in cells and verdict.best["lifting"] != PLAIN:
        best = statistics.stands_out(plain_cells, CELL, "val_accuracy", METRIC).best
        said.append(f" Plain loss: {percent(by_seed(select(plain_cells, best), METRIC))} at {named(best)}.")
    fixed = by_seed(select(done[name], FIXED), METRIC)
    if len(fixed):
        said.append(f" Without any choice, at {named(FIXED)}: {percent(fixed)}.")
    return "".join(said)


def summary_sentences():
    """The best without a real image, and what is lost to the upper bound."""
    without = {name: verdict for name, verdict in verdicts.items() if name not in ("real", "fashion")}
    if not without:
        return
    validation = {name: by_seed(select(done[name], v.best), "val_accuracy").mean() for name, v in without.items()}
    name = max(validation, key=lambda n: validation[n])
    accuracy = by_seed(select(done[name], without[name].best), METRIC)
    text = f"Without any photographed or scanned image the best are {ENTITLED[name]}: {percent(accuracy)}"
    if "real" in verdicts:
        difference = statistics.paired(accuracy, by_seed(select(done["real"], verdicts["real"].best), METRIC))
        text += f"; against real images {tell.points(difference)}, paired by seed: {tell.moves(difference)}"
    yield text + "."


def caveat_sentences():
    yield (
        f"No published number was found for two teachers of half of MNIST without data. The nearest, {PUBLISHED[0]}: "
        f"{100 * PUBLISHED[1]:.1f} %; its teacher knows every digit, while here neither knows the other's, so even real "
        "images do not bring the student to its teachers' level."
    )
    yield from run.caveats()


run.close(
    [
        *teacher_sentences(),
        *end_sentences(),
        *(input_sentence(name) for name in verdicts),
        *summary_sentences(),
        *caveat_sentences(),
    ]
)
