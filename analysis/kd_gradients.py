# %% [markdown]
# # How large are the gradients of distillation at every temperature?
#
# A student's logits z and its teacher's v are softened, q = softmax(z/T) and p = softmax(v/T), and the soft loss is
# C = KL(p ‖ q). Hinton et al. 2015 (arXiv 1503.02531) give its gradient, ∂C/∂z = (q − p)/T (eq. 2), and for T far above the
# logits and centred logits of N classes its limit (z − v)/(N T²) (eq. 4). Hence their factor T² before the soft loss: it
# keeps the soft gradient level while T changes. Asked: from which T on that is so.
#
# Students learn by (1 − λ) cross-entropy + λ T² C, each at its own temperature. While they learn, the gradients of the soft loss at
# every probe temperature and of the hard loss (cross-entropy with the labels, T = 1) are measured on a fixed batch of held-out
# images. *In the logits* a norm is the mean over these images; *in weights* it is that of the batch's mean loss. Start is before
# the first step, middle and end are those of the training. Norms and their ratios are geometric means over seeds, all else means; the
# images are the same for every seed.

# %%
import numpy as np
import pandas as pd

from analysis.core import blocks, report, slopes, statistics, tell
from analysis.core.figures.gradients import DEVIATIONS, EXACT, LIMIT, SCALED, gaussian, theory
from analysis.core.figures.scales import decades, positions
from analysis.core.settings import select, stacked

MEASURES = {"log_soft_norm": "without T²", "log_scaled_norm": "with T²", "log_ratio": "length", "cosine": "angle"}
STAGES = {"start": "#0072B2", "middle": "#007A5A", "end": "#C46200"}
NORMS = ["soft_norm", "scaled_norm", "hard_norm", "formula_norm", "limit_norm", "ratio"]
run = report.open("kd_gradients", words={"dataset": tell.data, "measure": MEASURES, "stage": "{}"})
PANEL = ["dataset", *run.varied(but=("dataset", "temperature"))]

probed = run.table("gradients").rename(columns={"step": "training_step", "exact_norm": "formula_norm"})
done = probed[probed["student"].isin(run.students["student"])]
gradients = done.assign(**{f"log_{norm}": np.log10(done[norm]) for norm in NORMS})
logits, weights = gradients[gradients["layer"] == "logits"], gradients[gradients["layer"] == "weights"]
as_trained = gradients[gradients["probe_temperature"] == gradients["temperature"]]
panels = [panel.values for panel in blocks.panels(run, gradients, columns=PANEL)]


def own(layer):
    """A layer of each student at the temperature that it is trained at, a line for each step and planned grid point."""
    steps = gradients.groupby(PANEL)["training_step"].unique().explode().astype(int).reset_index()
    planned = run.cells[[*PANEL, "temperature", "seed"]].merge(steps, on=PANEL)
    return planned.merge(select(as_trained, {"layer": layer}), how="left")


# %% [markdown]
# ## The norm while learning, each student at its own temperature
# Without T² and with it. The training step lies on a logarithmic axis that has a 0.

# %%
PLANE = ("temperature", "training_step")
WHAT = {"log_soft_norm": "‖∂C/∂z‖", "log_scaled_norm": "T² ‖∂C/∂z‖"}
learnt = own("logits")
for suffix, measure in {"": "log_soft_norm", "_scaled": "log_scaled_norm"}.items():
    title = f"Soft gradient in the logits, {MEASURES[measure]}"
    blocks.plane(run, learnt, *PLANE, measure, title, suffix=suffix, columns=PANEL, digits=2)

cold = logits[logits["probe_temperature"] == 1]  # the hard loss has no temperature
hard_losses = slopes.seed_means(cold, [*PANEL, "training_step"], ["log_hard_norm"])


def hard(ax, panel):
    line = statistics.summarise(select(hard_losses, panel.values), ["training_step"], "log_hard_norm")
    ax.plot(positions(line["training_step"], "training_step"), line["log_hard_norm"], "k--", label="hard loss")
    decades(ax.yaxis, WHAT[panel.values["measure"]])


blocks.learning(
    run, stacked(learnt, "measure", "value", [*WHAT]), "training_step", "value", "Gradient in the logits over the training",
    per="temperature", rows=["measure"], columns=PANEL, share="row", name="lines", also=hard,
)  # fmt: skip

# %% [markdown]
# ## The norm over the temperature, against the theory
# Every student probed at every temperature, averaged over the students of a seed. Crosses: ‖q − p‖/T computed from the logits, without
# autograd. Dashed: the limit ‖z − v‖/(N T²). Ringed and named: the knee, from which on the slope follows the limit.

# %%
by_probe = slopes.seed_means(
    slopes.staged(logits, PANEL), [*PANEL, "stage", "probe_temperature"], ["log_soft_norm", SCALED, EXACT, LIMIT]
)


def steep(panel, stage, part=logits):
    """Slopes by seed and probe temperature."""
    return slopes.slopes(select(slopes.staged(select(part, panel), PANEL), {"stage": stage}), "soft_norm")


knees = [{stage: slopes.knee(steep(panel, stage), -2) for stage in STAGES} for panel in panels]


def expected(ax, panel):
    """What the theory says of each stage, and the knee where T² shows it."""
    axes = {axis: panel.values[axis] for axis in PANEL}
    theory(select(by_probe, axes), panel.values["measure"], knees[panels.index(axes)], STAGES, ax)
    decades(ax.yaxis, WHAT[panel.values["measure"]])
    if panel.values["measure"] == SCALED:  # room for the knees' names
        ax.set_ylim(by_probe[SCALED].min() - 0.7, by_probe[SCALED].max() + 0.3)


blocks.learning(
    run, stacked(by_probe, "measure", "value", [*WHAT]), "probe_temperature", "value", "Gradient in the logits, measured and as the theory has it",
    per="stage", rows=["measure"], columns=PANEL, colors=STAGES, marker="", share="row", name="knee", legend="", also=expected,
    note="theory: Hinton et al. 2015, eq. 2 and 4; ringed: the knee, from which on T² keeps the gradient level",
)  # fmt: skip

# %% [markdown]
# ## The slope between neighbouring temperatures
# −2 is the limit's power law; with T² it would be 0. Grey: independent Gaussian logits of ten classes, whose deviation decides where
# the law begins. Thin: Gaussian logits with the deviations measured here. What trained networks show beyond them is that student
# and teacher agree and that their logits are not Gaussian.

# %%
deviations = slopes.seed_means(slopes.staged(logits, PANEL), [*PANEL, "stage"], DEVIATIONS)


def of_gaussian_logits(ax, panel):
    probes = np.unique(select(logits, panel.values)["probe_temperature"])
    gaussian(select(deviations, panel.values), probes, STAGES, ax)


between = pd.concat([steep(panel, stage).assign(**panel, stage=stage) for panel in panels for stage in STAGES])
blocks.learning(
    run, between.assign(probe_temperature=between["between"]), "probe_temperature", "slope",
    "Slope of the soft gradient between neighbouring temperatures", per="stage", columns=PANEL,
    colors=STAGES, ylabel="slope d log ‖∂C/∂z‖ / d log T", name="slopes", legend="", also=of_gaussian_logits,
)  # fmt: skip

# %% [markdown]
# The slopes at the highest temperatures that were probed (with T² each is larger by 2), and extrapolated to 1/T = 0, where the
# limit is exact; the steepest of all where it is steeper than the law. As T doubles, both what separates the slope from −2, a
# remainder of order 1/T, and its spread over seeds halve, so that −2 may stay just outside the interval at any T.


# %%
def slope_line(panel, stage):
    lines, spread = steep(panel, stage), select(deviations, {**panel, "stage": stage})
    at = {T: slopes.at(lines, T) for T in np.unique(lines["probe_temperature"])}
    top, steepest = max(at), min(at, key=lambda T: at[T].mean)
    last = {"in the logits": at[top], "in all weights": slopes.at(steep(panel, stage, weights), top)}
    overshoot = f"{tell.number(at[steepest], 2, n=True)}, T = {steepest:g} to {2 * steepest:g}"
    return {
        "where": f"{run.named(panel)}, {stage}, T = {top:g} to {2 * top:g}",
        **{of: f"{tell.number(slope, 4, n=True)}: {slopes.holds(slope, -2)}" for of, slope in last.items()},
        "in the logits at 1/T = 0": tell.number(slopes.extrapolated(lines), 4, n=True),
        "steepest in the logits": overshoot if at[steepest].mean < -2 - slopes.NEAR else "",
        **{who.replace("_", "'s logits, "): tell.number(spread[who], 1, n=True) for who in DEVIATIONS},
    }


near = f"Slopes; one whose interval lies within {slopes.NEAR} of the law counts as following it"
run.show([slope_line(panel, stage) for panel in panels for stage in STAGES], near)

# %% [markdown]
# ## By layer
# Norm of T² times the soft gradient in each layer's weights, in all of them, and in the logits.

# %%
AT = [*PANEL, "stage", "layer", "probe_temperature"]
by_layer = slopes.seed_means(slopes.staged(gradients, PANEL), AT, ["log_scaled_norm"])
blocks.plane(
    run, by_layer.replace({"layer": {"weights": "all weights"}}), "probe_temperature", "layer", "log_scaled_norm",
    "T² × the soft gradient by layer", rows=["stage"], columns=PANEL, digits=2, name="layers",
)  # fmt: skip

# %% [markdown]
# ## Soft against hard, in all weights
# Each student at its own temperature: how many times longer T² times the soft gradient is than the hard one, and the cosine of the
# angle between them.


# %%
def balanced(ax, panel):
    """Where soft and hard gradient are as long, or at right angles."""
    ax.axhline(0, color="black", linewidth=0.8)
    if panel.values["measure"] == "cosine":
        ax.set(ylim=(-1, 1), ylabel="cosine of soft and hard")
    else:
        decades(ax.yaxis, "T² ‖soft‖ / ‖hard‖")
    for band in ax.collections[1:-1]:  # ten of them would hide each other
        band.set_visible(False)


blocks.learning(
    run, stacked(own("weights"), "measure", "value", ["log_ratio", "cosine"]), "training_step", "value",
    "Soft and hard gradient in all weights", per="temperature", rows=["measure"], columns=PANEL, share="row", name="soft_and_hard",
    also=balanced, note="bands at the lowest and the highest T alone",
)  # fmt: skip


# %%
def balance_line(panel, temperature):
    """Ratio and cosine at start and end, of the students that are trained at this temperature."""
    staged = slopes.staged(select(as_trained, {**panel, "layer": "weights", "temperature": temperature}), PANEL)
    line = {"students": f"{run.named(panel)}, trained at T = {temperature:g}"}
    for stage in ("start", "end"):
        mine = select(staged, {"stage": stage})
        ratio, cosine = (statistics.interval(mine[of]) for of in ("log_ratio", "cosine"))
        line[f"T² soft / hard, {stage}"] = tell.number(slopes.geometric(ratio), 2, n=True)
        line[f"cosine, {stage}"] = tell.number(cosine, 2, n=True)
    return line


ends = [(panel, T) for panel in panels for T in select(as_trained, panel)["temperature"].agg(["min", "max"])]
run.show([balance_line(panel, T) for panel, T in ends], "Soft against hard, in all weights")

# %% [markdown]
# ## What came out

# %%
PLACE = {"start": "at the start", "middle": "in the middle", "end": "at the end of the training"}


def level_sentence(panel, found):
    """From which temperature on T² does what it is for."""
    steps = slopes.stages(select(logits, panel)["training_step"])
    from_on = {stage: "at no T probed" if T is None else f"from T = {T:g} on" for stage, T in found.items()}
    said = [f"{from_on[stage]} {PLACE[stage]} (step {step})" for stage, step in steps.items()]
    return f"**{run.named(panel)}**: multiplied by T², the gradient of the teacher's term stays the same {', '.join(said)}."


difference = (logits["soft_norm"] / logits["formula_norm"] - 1).abs().max()
error = (logits["limit_norm"] / logits["soft_norm"] - 1).abs().groupby(logits["probe_temperature"]).mean()
exact = f"Measured by autograd and computed as (q − p)/T, the norms differ by at most {difference:.0e} of their size."
limit = (
    f"The limit (z − v)/(N T²) is off by {100 * error.iloc[0]:.0f} % in the mean at T = {error.index[0]:g} and by "
    f"{100 * error.iloc[-1]:.2g} % at T = {error.index[-1]:g}, where twice the T makes it {error.iloc[-2] / error.iloc[-1]:.2f} times "
    "smaller; it falls as 1/T where that is 2."
)
agree = f"Autograd and the formula (q − p)/T agree to {difference:.0e}; the limit for large T is off by {100 * error.iloc[0]:.0f} % at T = {error.index[0]:g}."
run.close([*map(level_sentence, panels, knees), agree], [exact, limit])
