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
# to the teachers' statistics, how evenly the teachers see the digits in them, and two looks at validation digits.

# %%
import numpy as np
import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.choice import choices, choose, choose_each, framed
from analysis.core.figures.references import levels
from analysis.core.settings import by_seed, select, stacked

# isort: split
import matplotlib.pyplot as plt

PLANE, METRIC, PLAIN = ("temperature", "kd_weight"), "test_accuracy", "zeros"
FIXED = {"lifting": PLAIN, "temperature": 4.0, "kd_weight": 0.5}
DAFL = "DAFL: one teacher of all digits", "LeNet-5 to half of it [arXiv 1904.01186, repository]", 0.982
ENTITLED = {
    "real": "real images, unlabelled (upper bound)", "generator": "images of a generator", "strokes": "drawn strokes",
    "fashion": "Fashion-MNIST", "noise": "noise",
}  # fmt: skip
LIFTED = {"zeros": "plain loss", "mask": "own classes only", "confidence": "weighed by confidence", "energy": "weighed by energy"}
WORDS: dict = {"inputs": ENTITLED, "lifting": LIFTED, "temperature": "T = {:.3g}", "kd_weight": "λ = {:.3g}"}
run = report.open("two_teachers_kd", words=WORDS)
settings = run.settings(PLANE, ["inputs", "lifting"])
chosen = choices(settings, PLANE, margin=run.margin)
groups = list(dict.fromkeys(s.axes["inputs"] for s in settings))
CELL = ["lifting", *PLANE, *(a for a in settings[0].axes if a not in ("inputs", "lifting"))]
found = choose_each(run.students, "inputs", CELL, margin=run.margin)
best = {name: found[name] for name in groups if name in found}

# %% [markdown]
# ## The images
# Twenty of every sort, and the digit that the surer teacher sees in each, with its probability in per cent. From what was found or
# made, as many are taken of each digit as the teachers see.


# %%
def draw_images(images):
    """images.png: a strip of twenty for each sort, of the first seed."""
    figure = plt.figure(figsize=(10.5, 2.6 * len(groups) + 0.8), layout="constrained")
    for name, strip in zip(groups, figure.subfigures(len(groups), 1, squeeze=False)[:, 0], strict=True):
        strip.suptitle(ENTITLED[name], x=0.01, ha="left", fontsize=11, fontweight="bold")
        shown = images[(images["inputs"] == name) & (images["seed"] == images["seed"].min())]
        for place, ax in enumerate(strip.subplots(2, 10).flat):
            ax.axis("off")
            for _, picture in shown[shown["number"] == place].iterrows():
                ax.imshow(np.frombuffer(picture["image"], np.uint8).reshape(28, 28), cmap="gray", vmin=0, vmax=255)
                ax.set_title(f"{picture['said']} ({100 * picture['probability']:.0f})", fontsize=8.5, pad=2)
    run.finish(figure, "images", "What the teachers are asked about, and what they say")


if len(run.table("images")):
    draw_images(run.table("images"))

# %% [markdown]
# ## The assignment's answer: test accuracy over temperature and λ, plain loss
# One surface for every sort of images. The star is the cell chosen on validation; whiskers are intervals. At λ = 1 the student
# hears the teacher of 0 to 4 only, at λ = 0 that of 5 to 9 only: a student that says what its one teacher says can be right on
# one half of the digits alone, whose share of the test set is the lower plane.

# %%
LOW, HIGH, JOINT = "#B35900", "#0072B2", "#007A5A"  # the digits 0 to 4, 5 to 9; both teachers together
teachers = run.table("teachers")
plain = [s for s in settings if s.axes["lifting"] == PLAIN]


def of_teachers(metric):
    """A metric of the teachers by seed; they are the same for all inputs."""
    return by_seed(teachers, metric)


JOINED = {how: of_teachers(f"joined_{how}_test_accuracy") for how in ("probability", "entropy", "logit", "energy")}
HEARD = {"digits of one teacher": of_teachers("first_share"), "joined by probability": JOINED["probability"]}


def planes(which, heading, **how):
    """Surfaces and numbers of some settings, two in a line."""
    how |= {"columns": [*which[0].axes], "framed": framed((s, chosen[s]) for s in which if s in chosen), "wrap": 2}
    cells = pd.concat([s.cells for s in which])
    blocks.plane(run, cells, *PLANE, METRIC, heading, levels=levels(HEARD, (LOW, JOINT)), **how)


if plain:
    planes(plain, "Test accuracy, plain loss")

# %% [markdown]
# ## Each half over λ
# The plain loss, at the temperature that validation chose for it: as λ moves, one half of the digits is paid for with the other.

# %%
HALVES = {"0 to 4": "test_accuracy_0_4", "5 to 9": "test_accuracy_5_9", "all ten": METRIC}
at_best = [select(s.done, {"temperature": chosen[s].best["temperature"]}) for s in plain if s in chosen]


def name_temperature(ax, panel):
    ax.set_title(f"{panel.title}, T = {panel.table['temperature'].iloc[0]:.3g}", fontsize=10.5)


if at_best:
    blocks.learning(
        run, stacked(pd.concat(at_best), "digits", METRIC, HALVES), "kd_weight", METRIC, "Test accuracy on each half of the digits",
        per="digits", columns=list(plain[0].axes), colors={"0 to 4": LOW, "5 to 9": HIGH, "all ten": "black"}, name="halves",
        also=name_temperature, size=(5.0, 3.8),
    )  # fmt: skip

# %% [markdown]
# ## Other liftings
# For each sort of images the liftings that were tried, as surfaces and as numbers. At λ = 0 and 1 `confidence` and `energy` have
# nothing to weigh and are the plain loss.

# %%
for name in groups:
    of_sort = [s for s in settings if s.axes["inputs"] == name]
    planes(of_sort, "Test accuracy", suffix=f"_{name}", turn=False, framing="chosen on validation for this lifting")

# %% [markdown]
# ## In one row
# The best cell of every sort of images (dark: chosen on validation over lifting, T and λ; pale: the plain loss at T = 4,
# λ = 0.5 for all of them, whatever validation says), between the teachers joined without a student and the published neighbour, which
# has one teacher of all digits.

# %%
KINDS = {
    "chosen on validation": "#7A5195", "not chosen": "#CDBBD6", "upper bound, chosen": "#8C6D1F",
    "upper bound, not chosen": "#DCC98F", "no student: both teachers": JOINT,
}  # fmt: skip
fixed = {name: by_seed(select(run.students, {"inputs": name, **FIXED}), METRIC) for name in groups}  # without any choice


def bars(name, choice):
    """The chosen cell of a sort of images, and the fixed one."""
    chose, other = [*KINDS][2:4] if name == "real" else [*KINDS][:2]
    yield f"{ENTITLED[name]}\n{run.named(choice.best)}", choice.by_seed(), chose
    yield f"{ENTITLED[name]}\nnot chosen: {run.named(FIXED)}", fixed[name], other


joined = [(f"both teachers joined by {how}", v, "no student: both teachers") for how, v in JOINED.items()]
ours = [bar for each in best.items() for bar in bars(*each)]
theirs = {",\n".join(DAFL[:2]): DAFL[2]}
blocks.ladder(run, [*joined, *ours], METRIC, "Test accuracy on all ten digits", KINDS, published=theirs)

# %% [markdown]
# ## What is taken for what
# Of the cells that validation chose, all seeds together. No teacher has seen digits of both halves, so none knows what tells 4 from 9.

# %%
if best:
    everyone = pd.concat([choice.students for choice in best.values()])
    blocks.confusions(run, everyone, "Which digit is taken for which, by the images asked about", columns=["inputs"])

# %% [markdown]
# ## What came out


# %%
def teacher_sentence():
    if not len(teachers):
        return "This run has no rows of its teachers, so the baselines are missing."
    joined = "; ".join(f"by {how} {tell.percent(accuracy)}" for how, accuracy in JOINED.items())
    return (
        f"On its own half of the test digits the teacher of 0 to 4 reaches {tell.percent(of_teachers('first_test_accuracy'))}, that of "
        f"5 to 9 {tell.percent(of_teachers('second_test_accuracy'))}. Joined without a student, the surer one speaking: {joined}."
    )


def end_sentences():
    """Why the plain loss ends where it ends, as far as it was run with one teacher only."""
    first = of_teachers("first_share").mean()
    for weight, half, other, share in ((1.0, "0 to 4", "5 to 9", first), (0.0, "5 to 9", "0 to 4", 1 - first)):
        table = select(run.students, {"lifting": PLAIN, "kd_weight": weight})
        if top := choose(table, ["inputs", "temperature"], by=METRIC) if plain and len(teachers) else None:
            yield (
                f"Plain loss at λ = {weight:g}: only the teacher of {half} is heard, and it says 0 for every other digit, so no "
                f"student that follows it can be right on more than the {100 * share:.2f} % of the test digits that are {half}. "
                f"Measured: at most {tell.percent(top.by_seed())} ({run.named(top.best)}); over all sorts of images and T, "
                f"{100 * table[HALVES[half]].mean():.1f} % of the digits {half} and {100 * table[HALVES[other]].mean():.2f} % of the "
                "others are right."
            )


# %%
def answer(name):
    """What validation chooses for a sort of images, what the plain loss reaches, and what the fixed cell."""
    choice, then = best[name], []
    plain_loss = choose(select(run.students, {"inputs": name, "lifting": PLAIN}), CELL)
    if plain_loss and plain and choice.best["lifting"] != PLAIN:
        then += [f"Plain loss: {tell.percent(plain_loss.by_seed())} at {run.named(plain_loss.best)}."]
    if len(fixed[name]):
        then += [f"Without any choice, at {run.named(FIXED)}: {tell.percent(fixed[name])}."]
    joined = {"the teachers joined by probability": JOINED["probability"]}
    how: dict = {"name": run.named, "most": 3, "against": joined, "then": " ".join(then)}
    return tell.answer(ENTITLED[name], choice, "test accuracy", **how)


def across():
    """How many of the errors take a digit of one half for one of the other."""
    counts = run.table("confusions")
    for name, choice in best.items() if len(counts) else ():
        wrong = counts[counts["student"].isin(choice.students["student"]) & (counts["truth"] != counts["answer"])]
        if len(wrong):
            other = (wrong["truth"] < 5) != (wrong["answer"] < 5)
            yield f"{ENTITLED[name]} {100 * wrong.loc[other, 'images'].sum() / wrong['images'].sum():.0f} %"


def summary():
    """The best without a real image, and what is lost to the upper bound."""
    if top := made():
        less = tell.difference(top.by_seed(), best["real"].by_seed()) if "real" in best else ""
        real = f"; less that of real images, {less}" * bool(less)
        yield f"Without any photographed or scanned image the best are {run.named(top.best)}: {tell.percent(top.by_seed())}{real}."


# %%
def made():
    """The choice among images that no camera and no pen made."""
    some = [choice.students for name, choice in best.items() if name not in ("real", "fashion")]
    return choose(pd.concat(some), ["inputs"]) if some else None


def verdict(top):
    """What the study asks: whether such a student knows more than either teacher could teach it, and what real images add."""
    reached, half = top.by_seed(), of_teachers("first_share")
    alone = half.where(half > 0.5, 1 - half)  # of one teacher
    said = tell.stands(statistics.paired(reached, alone), "yes", "no") if len(alone) else "this run has no rows of its teachers"
    yield (
        f"**Can two teachers, each of half of the digits, teach all ten without the data?** {tell.capital(said)}. A student that learns "
        f"from {run.named(top.best)} names {tell.percent(reached)} of all ten digits right"
        + f"; one teacher alone could teach at most {100 * alone.mean():.1f} %" * bool(len(alone))
        + "."
    )


# %%
def in_short():
    """Against both teachers without a student, against real images, the other sorts of images, and what choosing is worth."""
    top = made()
    if not top:
        return
    yield from verdict(top)
    name, reached = top.best["inputs"], top.by_seed()
    above = {"Both teachers joined, without a student, name": JOINED["probability"]}
    above |= {"A student of MNIST's own images, unlabelled, names": best["real"].by_seed()} if "real" in best else {}
    for what, values in above.items():
        if len(less := (reached - values).dropna()):
            yield f"{what} {tell.percent(values)}; the student less that: {tell.points(less)}, {tell.stands(statistics.paired(reached, values))}."
    others = [f"{ENTITLED[n]} {tell.percent(choice.by_seed())}" for n, choice in best.items() if n not in (name, "real")]
    if others:
        yield f"**Other images**: {'; '.join(others)}."
    if len(fixed[name]):
        at = run.named({axis: FIXED[axis] for axis in PLANE})
        yield f"Loss, T and λ are chosen on digits with labels, which the setting has not; the plain loss at {at}, without choosing: {tell.percent(fixed[name])}."


nearest = (
    f"No published number was found for two teachers of half of MNIST without data. The nearest, {DAFL[0]}, {DAFL[1]}: "
    f"{100 * DAFL[2]:.1f} %; its teacher knows every digit, while here neither knows the other's, so even real images do not bring "
    "the student to its teachers' level."
)
shares = "; ".join(across())
crossed = [f"How many of the errors take a digit of one half for one of the other (by chance 5 of 9, 56 %): {shares}."] * bool(shares)
details = [*summary(), teacher_sentence(), *end_sentences(), *crossed, *map(answer, best), nearest]
none = [f"{ENTITLED[name]} {tell.percent(choice.by_seed())}" for name, choice in best.items()]
open_yet = f"**No student here has learnt from drawn images or noise, so the question is open.** Test accuracy: {'; '.join(none) or 'none yet'}."
run.close([*in_short()] or [open_yet], details)
