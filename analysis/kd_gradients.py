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
# the first step, middle and end are those of the training. Norms and their ratios are drawn as geometric means over seeds, all else as
# means, with Student's 95 % interval; the images are the same for every seed.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from analysis.core import records, report, statistics
from analysis.core.figures.curves import curves
from analysis.core.figures.heatmap import heatmap
from analysis.core.figures.interactive import interactive
from analysis.core.figures.scales import dress, positions
from analysis.core.figures.surface import surface
from analysis.core.slopes import NEAR, at, extrapolated, follows, gaussian_norms, knee, slopes

run = report.start("kd_gradients")
NAMES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
PAPER = "Hinton et al. 2015"
gradients = run.table("gradients").rename(columns={"step": "training_step"})
gradients = gradients[gradients["student"].isin(records.final(run.rows)["student"])]
apart = [
    a for a in run.rows.attrs["axes"] if a not in ("dataset", "temperature", "seed") and gradients[a].nunique() > 1
]


def stages(part):
    """start, middle and end: the first step measured, the one nearest to half of the last, the last."""
    steps = np.sort(part["training_step"].unique())
    chosen = {"start": steps[0], "middle": steps[np.abs(steps - steps[-1] / 2).argmin()], "end": steps[-1]}
    return {name: part[part["training_step"] == step] for name, step in chosen.items()}


# One panel per data set, and per value of any other axis that has several.
panels = {}
for (dataset, *others), part in gradients.groupby(["dataset", *apart], sort=False):
    rest = [f"{name} {value}" for name, value in zip(apart, others, strict=True)]
    panels[", ".join([NAMES[str(dataset)], *rest])] = part
panels = dict(sorted(panels.items(), key=lambda item: [*NAMES.values()].index(item[0].split(",")[0])))
in_logits = {name: part[part["layer"] == "logits"] for name, part in panels.items()}
in_weights = {name: part[part["layer"] == "weights"] for name, part in panels.items()}
STAGES = ("start", "middle", "end")
COLORS = {"start": "#0072B2", "middle": "#007A5A", "end": "#C46200"}


def grid(rows, height, width=6.2, **kwargs):
    """A figure with `rows` rows of one panel per data set; its axes (rows, panels)."""
    size = (width * len(panels), height * rows)
    return plt.subplots(rows, len(panels), figsize=size, squeeze=False, layout="constrained", **kwargs)


def own(part):
    """The gradients at the temperature that each student is trained at."""
    return part[part["probe_temperature"] == part["temperature"]]


def mean(part, column, *by):
    """Mean and interval of a column over seeds, by these columns."""
    values = part.groupby(["seed", *by])[column].mean().reset_index()  # the students of a seed are not independent
    return statistics.summarise(values, by, column).rename(columns={"mean": column})


def log10(part, column, *by):
    """Mean and interval of the log10 of a norm."""
    return mean(part.assign(**{column: np.log10(part[column])}), column, *by)


def geometric(part, column, *by):
    """Geometric mean of a norm and its interval."""
    table = log10(part, column, *by)
    return table.assign(**{name: 10 ** table[name] for name in (column, "low", "high")})


# %% [markdown]
# ## The norm while learning, each student at its own temperature
# Above as it is, below times T². The training step lies on a logarithmic axis that has a 0. Behind the links are the same
# surfaces, to turn; below them the same as numbers.

# %%
LOG = {"soft_norm": "log₁₀ ‖∂C/∂z‖", "scaled_norm": "log₁₀ T² ‖∂C/∂z‖"}
PLANE = ("temperature", "training_step")
tables = {(c, n): log10(own(part), c, *PLANE) for c in LOG for n, part in in_logits.items()}
spans = {}
for column in LOG:
    values = pd.concat([tables[column, name] for name in in_logits])[column]
    spans[column] = (math.floor(2 * values.min()) / 2, math.ceil(2 * values.max()) / 2)
figure, axes = grid(2, 5.6, subplot_kw={"projection": "3d"})
for row, column in zip(axes, LOG, strict=True):
    for (name, _), ax in zip(in_logits.items(), row, strict=True):
        surface(tables[column, name], *PLANE, column, limits=spans[column], colors=spans[column], ax=ax)
        ax.set_zlabel(LOG[column])
        ax.set_title(name, fontsize=11)
figure.suptitle(f"Gradient of the soft loss in the logits, without T² (above) and with it\n{run.subtitle}", fontsize=11)
run.figure(figure, "surfaces")
for (column, name), table in tables.items():
    title = f"{name}: {LOG[column]} over the training and the temperature\n{run.subtitle}"
    told = table.rename(columns={column: LOG[column]})
    turned = interactive(told, *PLANE, LOG[column], title, limits=spans[column], colors=spans[column])
    run.interactive(turned, f"{column}_{name}".replace(", ", "_").replace(" ", "_"), f"{name}, {LOG[column]}")

# %%
steps = max(len(table["training_step"].unique()) for table in tables.values())
figure, axes = grid(2, 0.42 * steps + 1.2, 7.4)
for row, column in zip(axes, LOG, strict=True):
    for name, ax in zip(in_logits, row, strict=True):
        heatmap(tables[column, name], *PLANE, column, limits=spans[column], digits=2, ax=ax)
        ax.set_title(f"{name}: {LOG[column]}", fontsize=11)
        ax.set_ylabel("training step")
figure.suptitle(f"The same as numbers: mean ± half of the interval\n{run.subtitle}", fontsize=12)
run.figure(figure, "heatmaps")

# %% [markdown]
# The same as lines, one per temperature.

# %%
WHAT = {"soft_norm": "‖∂C/∂z‖", "scaled_norm": "T² ‖∂C/∂z‖"}
figure, axes = grid(2, 4.2, sharey="row")
for row, column in zip(axes, WHAT, strict=True):
    for (name, part), ax in zip(in_logits.items(), row, strict=True):
        table = geometric(own(part), column, "temperature", "training_step")
        curves(table, "training_step", column, "temperature", ax=ax)
        hard = geometric(part[part["probe_temperature"] == 1], "hard_norm", "training_step")
        ax.plot(positions(hard["training_step"], "training_step"), hard["hard_norm"], "k--", label="hard loss")
        ax.set(yscale="log", xlabel="training step", ylabel=WHAT[column], title=name)
handles, labels = axes[0, 0].get_legend_handles_labels()
figure.legend(handles, labels, title="temperature T", loc="outside lower center", ncols=len(labels))
figure.suptitle(f"Gradient in the logits over the training, mean and 95 % interval\n{run.subtitle}", fontsize=11)
run.figure(figure, "lines")

# %% [markdown]
# ## The norm over the temperature, against the theory
# Every student probed at every temperature, averaged over the students of a seed. Crosses: ‖q − p‖/T computed from the logits, without
# autograd. Dashed: the limit ‖z − v‖/(N T²). Dotted and named: the knee, from which on the slope follows the limit.

# %%
measured = {}  # (panel, stage) -> slopes in the logits, by seed
for name, part in in_logits.items():
    for stage, rows in stages(part).items():
        measured[name, stage] = slopes(rows, "soft_norm")

figure, axes = grid(2, 4.6)
for row, column in zip(axes, WHAT, strict=True):
    for (name, part), ax in zip(in_logits.items(), row, strict=True):
        for stage, rows in stages(part).items():
            line = geometric(rows, column, "probe_temperature")
            x = positions(line["probe_temperature"], "probe_temperature")
            power = line["probe_temperature"] ** (2 if column == "scaled_norm" else 0)
            label = f"{stage} (step {rows['training_step'].iloc[0]})"
            ax.plot(x, line[column], color=COLORS[stage], linewidth=1.6, label=label)
            ax.fill_between(x, line["low"], line["high"], color=COLORS[stage], alpha=0.15, linewidth=0)
            exact, limit = (geometric(rows, c, "probe_temperature")[c] for c in ("exact_norm", "limit_norm"))
            ax.plot(x, power * exact, "x", color=COLORS[stage], markersize=6)
            ax.plot(x, power * limit, "--", color=COLORS[stage], linewidth=1)
            bend = knee(measured[name, stage], -2)
            if bend is not None and column == "scaled_norm":
                ax.axvline(positions(bend, "probe_temperature"), color=COLORS[stage], linestyle=":", linewidth=1.3)
                where = (positions(bend, "probe_temperature"), 0.02 + 0.07 * STAGES.index(stage))
                ax.annotate(
                    f" knee, {stage}: T = {bend:g}", where, xycoords=("data", "axes fraction"), fontsize=9, color=COLORS[stage],
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
                )  # fmt: skip
        if column == "scaled_norm":
            reached = part["scaled_norm"]
            ax.set_ylim(reached.min() / 4, 8 * reached.max())
        dress(ax.xaxis, part["probe_temperature"], "probe_temperature")
        ax.set(yscale="log", ylabel=WHAT[column], title=name)
        ax.legend(fontsize=9, loc="lower left" if column == "soft_norm" else "upper left")
figure.suptitle(
    f"Gradient in the logits; × (q − p)/T, dashed (z − v)/(N T²) [{PAPER}, eq. 2 and 4]\n{run.subtitle}", fontsize=11
)
run.figure(figure, "knee")

# %% [markdown]
# ## The slope between neighbouring temperatures
# −2 is the limit's power law; with T² it would be 0. Grey: independent Gaussian logits of ten classes with deviations 2, 5 and 10 for
# student and teacher, as an anchor; the deviation of the logits decides where the law begins. Thin: Gaussian logits with the
# deviations measured here. What trained networks show beyond them is that student and teacher agree and that
# their logits are not Gaussian.


# %%
def gaussian_slopes(student, teacher, T):
    norms = gaussian_norms(student, teacher, T.tolist())
    return np.sqrt(T[1:] * T[:-1]), np.diff(np.log2(norms)) / np.diff(np.log2(T))


figure, axes = grid(1, 5, sharey=True)
for (name, part), ax in zip(in_logits.items(), axes[0], strict=True):
    probes = np.sort(part["probe_temperature"].unique())
    for deviation, style in zip((2, 5, 10), (":", "-.", "--"), strict=True):
        x, y = gaussian_slopes(deviation, deviation, probes)
        ax.plot(np.log2(x), y, style, color="0.6", linewidth=1.2, label=f"Gaussian logits, deviation {deviation}")
    for stage, rows in stages(part).items():
        lines = statistics.summarise(measured[name, stage], ["between"], "slope")
        at_x = np.log2(lines["between"].astype(float))
        spread = [rows.groupby("seed")[f"{who}_deviation"].mean().mean() for who in ("student", "teacher")]
        x, y = gaussian_slopes(spread[0], spread[1], probes)
        ax.plot(np.log2(x), y, color=COLORS[stage], linewidth=0.7)
        half = ((lines["high"] - lines["low"]) / 2).fillna(0)
        label = f"{stage}: deviation {spread[0]:.1f} (student), {spread[1]:.1f} (teacher)"
        ax.errorbar(at_x, lines["mean"], half, fmt="o-", markersize=4, capsize=3, color=COLORS[stage], label=label)
    ax.axhline(-2, color="black", linewidth=0.8)
    dress(ax.xaxis, probes, "probe_temperature")
    ax.set(title=name, ylabel="slope d log ‖∂C/∂z‖ / d log T")
    ax.legend(fontsize=8)
figure.suptitle(f"Slope between neighbouring temperatures, mean and 95 % interval\n{run.subtitle}", fontsize=11)
run.figure(figure, "slopes")

# %% [markdown]
# ## By layer
# Norm of T² times the soft gradient in each layer's weights, in all of them, and in the logits.

# %%
layers = {}
for name, part in panels.items():
    for stage, rows in stages(part).items():
        named = rows.replace({"layer": {"weights": "all weights"}})
        layers[name, stage] = log10(named, "scaled_norm", "probe_temperature", "layer")
values = pd.concat(layers.values())["scaled_norm"]
span = (math.floor(2 * values.min()) / 2, math.ceil(2 * values.max()) / 2)
figure, axes = grid(3, 0.45 * max(len(t["layer"].unique()) for t in layers.values()) + 1.3, 8.2)
for row, stage in zip(axes, STAGES, strict=True):
    for name, ax in zip(panels, row, strict=True):
        heatmap(layers[name, stage], "probe_temperature", "layer", "scaled_norm", limits=span, digits=2, ax=ax)
        ax.set_title(f"{name}, {stage}", fontsize=11)
figure.suptitle(f"log₁₀ of T² × the soft gradient's norm, mean ± half of the interval\n{run.subtitle}", fontsize=12)
run.figure(figure, "layers")

# %% [markdown]
# ## Soft against hard, in all weights
# Each student at its own temperature: how many times longer T² times the soft gradient is than the hard one, and the cosine of the
# angle between them.

# %%
figure, axes = grid(2, 4.2, sharey="row")
for (name, part), top, bottom in zip(in_weights.items(), axes[0], axes[1], strict=True):
    for column, averaged, ax in (("ratio", geometric, top), ("cosine", mean, bottom)):
        table = averaged(own(part), column, "temperature", "training_step")
        curves(table, "training_step", column, "temperature", ax=ax)
        ax.axhline(1 if column == "ratio" else 0, color="black", linewidth=0.8)
    top.set(yscale="log", title=name, xlabel="training step", ylabel="T² ‖soft‖ / ‖hard‖")
    bottom.set(xlabel="training step", ylabel="cosine of soft and hard", ylim=(-1, 1))
handles, labels = axes[0, 0].get_legend_handles_labels()
figure.legend(handles, labels, title="temperature T", loc="outside lower center", ncols=len(labels))
figure.suptitle(f"Soft and hard gradient in all weights, mean and 95 % interval\n{run.subtitle}", fontsize=11)
run.figure(figure, "soft_and_hard")

# %% [markdown]
# ## What came out
# Computed from the rows.


# %%
def number(value, digits=4):
    if math.isnan(value.low):
        return f"{value.mean:.{digits}f} (n = {value.n})"
    return f"{value.mean:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f}, n = {value.n})"


def holds(slope, law):
    if math.isnan(slope.low):
        return "one seed, so there is no interval"
    if slope.low <= law <= slope.high:
        return f"{law:g} lies in the interval"
    distance = min(abs(slope.low - law), abs(slope.high - law))
    return (
        f"{law:g} lies {distance:.1e} outside the interval{'' if follows(slope, law) else ': the law is not reached'}"
    )


def slope_sentence(name, stage):
    rows, lines = stages(in_logits[name])[stage], measured[name, stage]
    top = lines["probe_temperature"].max()
    plain, scaled = at(lines, top), at(slopes(rows, "scaled_norm"), top)
    weights = at(slopes(stages(in_weights[name])[stage], "soft_norm"), top)
    bend = knee(lines, -2)
    student, teacher = (
        statistics.interval(rows.groupby("seed")[f"{who}_deviation"].mean()) for who in ("student", "teacher")
    )
    where = "is not reached" if bend is None else f"is at T = {bend:g}"
    steepest = min(lines["probe_temperature"].unique(), key=lambda T: at(lines, T).mean)
    overshoot = ""
    if at(lines, steepest).mean < -2 - NEAR:
        overshoot = (
            f", after a steepest slope of {number(at(lines, steepest), 2)} from T = {steepest:g} to {2 * steepest:g}"
        )
    return (
        f"**{name}, {stage}** (step {rows['training_step'].iloc[0]}): from T = {top:g} to {2 * top:g} the slope in the logits is "
        f"{number(plain)} without T² ({holds(plain, -2)}) and {number(scaled)} with it ({holds(scaled, 0)}); extrapolated to "
        f"1/T = 0 it is {number(extrapolated(lines))}. In all weights it is {number(weights)} ({holds(weights, -2)}). The knee {where}{overshoot}; the logits' deviation is {number(student, 1)} of the student and "
        f"{number(teacher, 1)} of the teacher."
    )


def theory_sentences():
    rows = pd.concat(in_logits.values())
    difference = (rows["soft_norm"] / rows["exact_norm"] - 1).abs().max()
    yield f"Measured by autograd and computed as (q − p)/T, the norms differ by at most {difference:.0e} of their size."
    error = (rows["limit_norm"] / rows["soft_norm"] - 1).abs().groupby(rows["probe_temperature"]).mean()
    T, factor = error.index[-1], error.iloc[-2] / error.iloc[-1]
    yield (
        f"The limit (z − v)/(N T²) is off by {100 * error.iloc[0]:.0f} % in the mean at T = {error.index[0]:g} and by "
        f"{100 * error.iloc[-1]:.2g} % at T = {T:g}; doubling T there divides its error by {factor:.2f} (2 where it falls as 1/T)."
    )


def balance_sentence(name):
    def said(stage, column, averaged, which):
        line = averaged(own(stages(in_weights[name])[stage]), column, "temperature").iloc[which]
        return number(statistics.Interval(line[column], line["low"], line["high"], int(line["n"])), 2)

    trained = in_weights[name]["temperature"]
    cold, hot = trained.min(), trained.max()
    return (
        f"**{name}, soft against hard** in all weights, each student at its own T: T² times the soft gradient is "
        f"{said('start', 'ratio', geometric, 0)} of the hard one at T = {cold:g} and {said('start', 'ratio', geometric, -1)} at "
        f"T = {hot:g} at the start, {said('end', 'ratio', geometric, 0)} and {said('end', 'ratio', geometric, -1)} at the end; their "
        f"cosine {said('start', 'cosine', mean, 0)} and {said('start', 'cosine', mean, -1)} at the start, "
        f"{said('end', 'cosine', mean, 0)} and {said('end', 'cosine', mean, -1)} at the end."
    )


def caveat_sentences():
    yield (
        "As T doubles, both what separates the slope from −2, a remainder of order 1/T, and its spread over seeds halve, so that "
        f"−2 may stay just outside the interval at any T; therefore a slope whose interval lies within {NEAR} of the law counts as "
        "following it."
    )
    yield from run.caveats()


run.close(
    [
        *(slope_sentence(name, stage) for name in panels for stage in STAGES),
        *theory_sentences(),
        *(balance_sentence(name) for name in panels),
        *caveat_sentences(),
    ]
)
