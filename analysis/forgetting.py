# %% [markdown]
# # How does a model forget?
#
# A network with two outputs learns the digits 0 and 1, then goes on to the next pair: 2 as class 0, 3 as class 1. No old digit is
# shown any more, save to rehearsal. How long does it keep what it knew, which of 0 and 1 goes first, and what holds it? The
# loss is CE(new digits) + strength × remedy; the remedies are L2 towards the old weights, EWC (the same, weighted by the
# Fisher information), LwF (the old network's answers on the new digits), rehearsal of a few old digits, and frozen layers.
#
# The strength of a remedy is chosen on validation by the mean accuracy over the tasks at the end; a strength that lost seeds is
# ranked on those it has left. Everything shown is measured on test. Every number is a mean over seeds with Student's 95 % interval;
# differences are paired by seed.

# %%
import math
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display

from analysis.core import records, report, statistics, tell
from analysis.core.decay import area, half_life, median
from analysis.core.figures.bars import bars
from analysis.core.figures.curves import curves
from analysis.core.figures.heatmap import heatmap
from analysis.core.figures.interactive import interactive
from analysis.core.figures.references import Reference
from analysis.core.figures.scales import HOLE
from analysis.core.figures.surface import surface

run = report.start("forgetting")
COLORS = {
    "none": "#000000", "l2": "#E69F00", "ewc": "#56B4E9", "lwf": "#009E73", "rehearsal": "#0072B2",
    "freeze_first": "#CC79A7", "freeze_features": "#D55E00", "freeze_readout": "#999999",
}  # fmt: skip
SETTING = ("tasks", "network", "width", "optimiser", "lr", "old_steps", "steps", "batch_size")
PAPER = "arXiv 1810.12488, Table 2"
# of the same protocol, mean over ten runs, in per cent; our optimiser and method, or none where we have no such method
PUBLISHED = {
    "Adam": (55.16, ("adam", "none")), "SGD": (63.20, ("sgd", "none")), "L2": (66.00, ("adam", "l2")), "EWC": (58.85, ("adam", "ewc")),
    "SI": (64.76, ("", "")), "MAS": (68.57, ("", "")), "LwF": (71.02, ("adam", "lwf")), "naive rehearsal": (95.16, ("adam", "rehearsal 1100")),
    "naive rehearsal-C": (97.11, ("adam", "rehearsal 4400")), "offline": (98.59, ("", "")),
}  # fmt: skip

rows = run.rows.drop_duplicates(["student", "step"])  # cells that share a student are one
# logistic regression has one layer: freezing it is not learning at all
rows = rows[(rows["network"] != "logistic") | ~rows["remedy"].str.startswith("freeze")].copy()
several = rows["memory"].nunique() > 1
rows["method"] = rows["remedy"] + np.where(
    several & (rows["remedy"] == "rehearsal"), " " + rows["memory"].astype(str), ""
)
rows.loc[rows["network"] == "logistic", "width"] = 0
rows.loc[rows["remedy"] == "none", "strength"] = 0.0
rows.loc[rows["remedy"].str.startswith("freeze"), "strength"] = 1.0
for pair in range(5):  # digits of a pair count alike, whatever their numbers
    rows[f"task_{pair}"] = rows[[f"accuracy_{2 * pair}", f"accuracy_{2 * pair + 1}"]].mean(axis=1, skipna=False)
varying = [name for name in SETTING if rows[name].nunique() > 1]
done = records.final(rows, [*SETTING, "method", "strength", "seed"])
starts = run.table("starts")
memories = sorted(rows.loc[rows["remedy"] == "rehearsal", "memory"].unique())
palette = {
    m: c
    for name, c in COLORS.items()
    for m, c in ([(f"{name} {k}", ["#0072B2", "#00305C", "#6BAED6"][i % 3]) for i, k in enumerate(memories)]
                 if several and name == "rehearsal" else [(name, c)])
}  # fmt: skip


class Setting:
    """The rows of one combination of network, rates and tasks. chosen: the strength of each method, by validation."""

    def __init__(self, values: dict) -> None:
        self.values = values
        here = rows[np.logical_and.reduce([rows[k] == v for k, v in values.items()])]
        self.rows = here[here["student"].isin(done["student"])]  # neither failures nor what was left half-way
        self.asked = here[["method", "strength"]].drop_duplicates()
        self.done = done[np.logical_and.reduce([done[k] == v for k, v in values.items()])]
        self.chosen = {m: self._chosen_strength(m) for m in palette if m in set(self.done["method"])}
        self.lost = [m for m in palette if m in set(here["method"]) and m not in self.chosen]
        self.five = values["tasks"] == "five"
        self.offset = values["steps"] if self.five else 0  # of the first step on new digits
        self.last = ("task_4", "8 and 9") if self.five else ("task_1", "2 and 3")

    def _chosen_strength(self, method: str) -> float:
        """The strength that validation chooses; one with failed seeds is compared on the seeds it has left."""
        of_method = self.done[self.done["method"] == method].set_index("seed")
        scores = statistics.scores({s: part["val_accuracy"] for s, part in of_method.groupby("strength")})
        return max(scores, key=lambda strength: scores[strength])

    @property
    def scaled(self) -> list[str]:
        """The methods that have a strength."""
        return [m for m in self.chosen if m != "none" and not m.startswith("freeze")]

    @property
    def winner(self) -> str:
        """The remedy with a strength that validation chooses."""
        scores = statistics.scores({m: self.by_seed(m, "val_accuracy") for m in self.scaled})
        return max(scores, key=lambda method: scores[method])

    def plane(self, metric: str) -> pd.DataFrame:
        """Every method with a strength: mean, low, high in per cent, n; NaN where no student is done. `remedy` numbers the
        methods from below."""
        cells = self.asked[self.asked["method"].isin(self.scaled)]
        table = cells.merge(summary(self.done, ["method", "strength"], metric), how="left", on=["method", "strength"])
        return table.assign(n=table["n"].fillna(0), remedy=[self.scaled[::-1].index(m) for m in table["method"]])

    def named(self, *without: str) -> str:
        """What tells this setting from the others of the run, without these axes."""
        told = {k: self.values[k] for k in varying if k not in without and not (k == "width" and self.values[k] == 0)}
        said = {k: v if isinstance(v, str) else f"{k} {v:g}" for k, v in told.items()}
        return ", ".join(f"{v} tasks" if k == "tasks" else v for k, v in said.items())

    @property
    def name(self) -> str:
        return self.named() or self.values["network"]

    def best(self, method: str, table: pd.DataFrame | None = None) -> pd.DataFrame:
        table = self.rows if table is None else table
        return table[(table["method"] == method) & (table["strength"] == self.chosen[method])]

    def label(self, method: str) -> str:
        plain = method == "none" or method.startswith("freeze")
        return method.replace("_", " ") + ("" if plain else f", {self.chosen[method]:g}")

    def by_seed(self, method: str, metric: str) -> pd.Series:
        return self.best(method, self.done).set_index("seed")[metric]

    def start(self, metric: str) -> pd.Series:
        """A metric of the network before the new digits came, by seed."""
        if self.five:
            return self.rows[self.rows["step"] == self.offset].groupby("seed")[metric].mean()
        same = {k: self.values[k] for k in ("tasks", "network", "width", "old_steps")}
        table = starts[np.logical_and.reduce([starts[k] == v for k, v in same.items()])].set_index("seed")
        return table[["accuracy_0", "accuracy_1"]].mean(axis=1) if metric == "task_0" else table[metric]

    def decays(self, method: str) -> pd.DataFrame:
        """half_life, area and backward_transfer of the first task, one line per seed."""
        known, lines = self.start("task_0"), {}
        for seed, line in self.best(method).dropna(subset=["task_0"]).sort_values("step").groupby("seed"):
            line = line[line["step"] > self.offset]
            curve = list(line["step"] - self.offset), list(line["task_0"])
            lines[seed] = {
                "half_life": half_life(*curve, known[seed]),
                "area": area(*curve),
                "backward_transfer": line["task_0"].iloc[-1] - known[seed],
            }
        return pd.DataFrame.from_dict(lines, orient="index")


combinations = rows[list(SETTING)].drop_duplicates()
settings = [Setting(values) for values in combinations.to_dict("records")]
NETWORKS = ("mlp", "cnn", "logistic")
settings = sorted((s for s in settings if s.chosen), key=lambda s: (s.five, NETWORKS.index(s.values["network"]), *(s.values[k] for k in SETTING[2:])))  # fmt: skip
# a run over learning rates has figures of its own instead of a panel for each of what has no remedy
rates = rows["lr"].nunique() > 2
shown = [s for s in settings if not rates or set(s.chosen) != {"none"}]
compared = [s for s in shown if s.scaled]


def title(heading: str, note: str = "") -> str:
    return "\n".join(filter(None, (heading, run.subtitle, note)))


def panels(height: float, columns: int | None = None, **kwargs):
    count = len(shown)
    columns = columns or min(count, 3)
    shape = math.ceil(count / columns), columns
    figure, axes = plt.subplots(*shape, figsize=(5.6 * columns, height * shape[0] + 0.9), squeeze=False, layout="constrained", **kwargs)  # fmt: skip
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, list(axes.flat[:count])


def summary(table: pd.DataFrame, by: list[str], metric: str, percent: bool = True) -> pd.DataFrame:
    lines = statistics.summarise(table, by, metric)
    if percent:
        lines[["mean", "low", "high"]] *= 100
    return lines.rename(columns={"mean": metric})


def iterations(ax, setting) -> None:
    """The axis of the iterations: logarithmic, save over five tasks, whose borders are drawn."""
    if setting.five:
        for k in range(1, 5):
            ax.axvline(k * setting.offset, color="0.8", linewidth=0.8, zorder=0)
        ax.set_xlabel("iteration over all five tasks")
    else:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_xlabel("fine-tuning iteration")


# %% [markdown]
# ## What is left of the first task, iteration by iteration
# Accuracy on the digits 0 and 1, each remedy at its chosen strength (named in the legend).

# %%
if shown:
    figure, axes = panels(4.6, sharey=True)
    for setting, ax in zip(shown, axes, strict=True):
        best = pd.concat([setting.best(m).assign(shown=setting.label(m)) for m in setting.chosen])
        colors = {setting.label(m): palette[m] for m in setting.chosen}
        curves(summary(best, ["shown", "step"], "task_0"), "step", "task_0", "shown", ax=ax, colors=colors)
        iterations(ax, setting)
        ax.set(ylim=(0, 102), ylabel="test accuracy on 0 and 1, %")
        ax.set_title(setting.name, fontsize=10.5)
        ax.legend(fontsize=7.5, loc="lower left")
    figure.suptitle(title("Forgetting 0 and 1, mean and 95 % interval"), fontsize=11)
    run.figure(figure, "curves")

# %% [markdown]
# ## Old against new
# At the end, one point per strength and one line per remedy. The ring is the strength that validation chose. Up and to the
# right is better.

# %%
if shown:
    figure, axes = panels(4.8)
    for setting, ax in zip(shown, axes, strict=True):
        last = "task_4" if setting.five else "task_1"
        for method in setting.chosen:
            part = setting.done[setting.done["method"] == method]
            old, new = (summary(part, ["strength"], metric) for metric in ("task_0", last))
            half = [[(side["high"] - side["low"]) / 2] for side in (new, old)]
            ax.errorbar(
                new[last], old["task_0"], np.nan_to_num(half[1][0]), np.nan_to_num(half[0][0]), marker="o", markersize=4,
                linewidth=1.2, elinewidth=0.7, color=palette[method], label=method.replace("_", " "),
            )  # fmt: skip
            at = old["strength"] == setting.chosen[method]
            ax.scatter(new[last][at], old["task_0"][at], s=110, facecolors="none", edgecolors=palette[method], zorder=5)
        ax.set(
            xlabel=f"test accuracy on {'8 and 9' if setting.five else '2 and 3'}, %",
            ylabel="test accuracy on 0 and 1, %",
        )
        ax.set_title(setting.name, fontsize=10.5)
    axes[0].legend(fontsize=8, loc="lower left")
    figure.suptitle(title("What the new costs the old, at the end"), fontsize=11)
    run.figure(figure, "tradeoff")

# %% [markdown]
# ## Strength by remedy
# Mean over the tasks, the first task, and the last, at the end. As a table, where what validation chose is outlined, and as
# surfaces over the same plane.

# %%
SURFACES = (("test_accuracy", "mean over tasks"), ("task_0", "0 and 1"))
if compared:
    columns = [[*SURFACES, setting.last] for setting in compared]
    planes = {(s, metric): s.plane(metric) for s, of in zip(compared, columns, strict=True) for metric, _ in of}
    span = 10 * math.floor(min(plane[metric].min() for (_, metric), plane in planes.items()) / 10), 100
    figure, axes = plt.subplots(
        len(compared), 3, figsize=(18, 3.4 * len(compared) + 1.2), squeeze=False, layout="constrained"
    )
    for setting, line, of in zip(compared, axes, columns, strict=True):
        for ax, (metric, what) in zip(line, of, strict=True):
            table = planes[setting, metric]
            heatmap(table, "strength", "remedy", metric, limits=span, ax=ax)
            strengths = sorted(table["strength"].unique())
            for y, m in enumerate(reversed(setting.scaled)):
                cell = strengths.index(setting.chosen[m]) - 0.47, y - 0.47
                ax.add_patch(plt.Rectangle(cell, 0.94, 0.94, fill=False, edgecolor=HOLE, linewidth=2.5, zorder=5))
            ax.set_yticks(range(len(setting.scaled)), setting.scaled[::-1])
            ax.set_title(f"{setting.name}: {what}", fontsize=10.5)
            ax.set_ylabel("")
    figure.suptitle(title("Test accuracy by remedy and strength, %: mean, half of the 95 % interval"), fontsize=11)
    run.figure(figure, "heatmaps")

# %%
if compared:
    # no layout engine sees the planes' names
    height = 5.4 * len(compared) + 1.6
    figure, axes = plt.subplots(
        len(compared), 3, figsize=(20, height), squeeze=False, subplot_kw={"projection": "3d"},
        gridspec_kw={"left": 0.06, "right": 0.96, "bottom": 0.4 / height, "top": 1 - 1.6 / height, "wspace": 0.22, "hspace": 0.12},
    )  # fmt: skip
    for setting, line, of in zip(compared, axes, columns, strict=True):
        names, winner = setting.scaled[::-1], setting.winner
        star = {"strength": setting.chosen[winner], "remedy": names.index(winner)}
        for ax, (metric, what) in zip(line, of, strict=True):
            level = (
                [Reference("none", 100 * setting.by_seed("none", metric).mean())] if "none" in setting.chosen else []
            )
            table = planes[setting, metric]
            surface(table, "strength", "remedy", metric, level, star, colors=span, ax=ax)
            ax.set_yticks(range(len(names)), names, fontsize=8.5)
            ax.set_ylabel("")
            ax.set_zlabel("test accuracy, %")
            ax.set_title(f"{setting.name}: {what}", fontsize=10.5)
            if metric == "test_accuracy":
                turned = interactive(
                    table, "strength", "remedy", metric, title(f"{setting.name}: {what}"), level, star, colors=span
                )
                turned.update_layout(scene_yaxis={"tickvals": list(range(len(names))), "ticktext": names})
                name = "_".join(["surface", *re.findall(r"[\w.]+", setting.name)])
                run.interactive(turned, name, f"The surface of {setting.name}")
    note = "plane: no remedy; star: the remedy and strength that validation chose; strengths on a log axis"
    figure.suptitle(title("Test accuracy over strength and remedy, mean and 95 % interval", note), fontsize=11)
    run.figure(figure, "surfaces")

# %% [markdown]
# ## Half-lives
# Iterations until half of what was known of 0 and 1 above chance is gone, at the chosen strength: the median over the seeds and
# its interval, which needs no distribution and bears seeds that did not forget so much within the training (an arrow).

# %%
if shown:
    figure, axes = panels(3.8)
    for setting, ax in zip(shown, axes, strict=True):
        end = setting.rows["step"].max() - setting.offset
        for y, method in enumerate(reversed(setting.chosen)):
            life, beyond = median(list(setting.decays(method)["half_life"])), 1.5 * end
            low, high = (min(v, beyond) for v in (life.low, life.high))
            if not math.isnan(low):
                ax.plot([low, high], [y, y], color=palette[method], linewidth=1.6)
            if math.isfinite(life.mean):
                ax.plot(life.mean, y, "o", color=palette[method])
            if math.isinf(life.high) or math.isinf(life.mean):
                ax.plot(beyond, y, ">", color=palette[method])
            text = f"{life.mean:.0f}" if math.isfinite(life.mean) else f"> {end}"
            ax.annotate(text, (max(v for v in (min(life.mean, beyond), high) if not math.isnan(v)), y), (8, 0),
                        textcoords="offset points", va="center", fontsize=8.5)  # fmt: skip
        ax.axvline(end, color="0.8", linewidth=0.8, zorder=0)
        ax.set_yticks(range(len(setting.chosen)), [setting.label(m) for m in reversed(setting.chosen)])
        ax.set(xscale="log", xlim=(1, 4 * end), ylim=(-0.6, len(setting.chosen) - 0.4), xlabel="half-life, iterations")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_title(setting.name, fontsize=10.5)
    figure.suptitle(title("Half-life of the first task: median over seeds, 95 % interval"), fontsize=11)
    run.figure(figure, "half_life")

# %% [markdown]
# ## Lost, or only not said?
# A linear probe (ridge regression in closed form on 2,000 training digits 0 and 1) reads the penultimate features; solid is what
# the network's own readout says. Dotted: a probe on the untrained network, which is what the features need not have learnt.

# %%
if shown:
    figure, axes = panels(4.0, sharey=True)
    for setting, ax in zip(shown, axes, strict=True):
        for method in ("none", "lwf", "freeze_features"):
            if method not in setting.chosen:
                continue
            for metric, style in (("task_0", "-"), ("probe_accuracy", "--")):
                line = summary(setting.best(method), ["step"], metric)
                ax.plot(line["step"], line[metric], style, marker="o" if style == "--" else None, markersize=4, color=palette[method],
                        label=f"{method.replace('_', ' ')}, {'readout' if style == '-' else 'probe'}")  # fmt: skip
                ax.fill_between(line["step"], line["low"], line["high"], color=palette[method], alpha=0.14, linewidth=0)
        if not starts.empty and not setting.five:
            ax.axhline(100 * setting.start("probe_untrained").mean(), color="0.3", linestyle=":", linewidth=1)
        iterations(ax, setting)
        ax.set(ylim=(0, 102), ylabel="test accuracy on 0 and 1, %")
        ax.set_title(setting.name, fontsize=10.5)
        ax.legend(fontsize=7.5, loc="lower left")
    figure.suptitle(title("0 and 1: what the readout says, and what a probe reads from the features"), fontsize=11)
    run.figure(figure, "probe")

# %% [markdown]
# ## Which of 0 and 1 suffers, and why
# Without a remedy: accuracy on each digit; the margin (right logit less wrong); and, before the first step, what one
# step of plain gradient descent on a new digit does to the margin of an old one (per unit of learning rate). Negative: it is
# pushed towards the wrong class.

# %%
plain = [s for s in shown if "none" in s.chosen and not s.five]
DIGITS = {"0": "#0072B2", "1": "#D55E00", "2": "#56B4E9", "3": "#E69F00"}
if plain:
    figure, axes = plt.subplots(len(plain), 3, figsize=(16, 3.6 * len(plain) + 1), squeeze=False, layout="constrained")
    for setting, (left, middle, right) in zip(plain, axes, strict=True):
        for ax, metric, digits in ((left, "accuracy", "0123"), (middle, "margin", "01")):
            parts = [setting.best("none").assign(digit=d, value=setting.best("none")[f"{metric}_{d}"]) for d in digits]
            table = summary(pd.concat(parts), ["digit", "step"], "value", percent=metric == "accuracy")
            curves(table, "step", "value", "digit", ax=ax, colors=DIGITS)
            iterations(ax, setting)
            ax.set_ylabel("test accuracy, %" if metric == "accuracy" else "margin, nats")
            if metric == "accuracy":
                ax.set_ylim(0, 102)
            ax.set_title(f"{setting.name}: {metric} by digit", fontsize=10.5)
            ax.legend(fontsize=8, title="digit")
        middle.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        pulls = [(o, n, statistics.interval(setting.start(f"pull_{o}_{n}"))) for o in (0, 1) for n in (2, 3)]
        for x, (o, _, pull) in enumerate(pulls):
            whisker = 0 if math.isnan(pull.low) else pull.high - pull.mean
            right.bar(x, pull.mean, yerr=whisker, capsize=3, color=DIGITS[str(o)])
        right.set_xticks(range(4), [f"{n} on {o}" for o, n, _ in pulls])
        right.axhline(0, color="0.3", linewidth=0.8)
        right.set(ylabel="change of the old margin / lr")
        right.set_title(f"{setting.name}: first-order pull of the new on the old", fontsize=10.5)
    figure.suptitle(title("Which of 0 and 1 suffers without a remedy, and what pulls it"), fontsize=11)
    run.figure(figure, "digits")

# %% [markdown]
# ## Five tasks, beside the published table
# Mean accuracy over the five tasks at the end. Pale bars are Hsu et al. 2018, Table 2, of the same protocol: five pairs
# in turn, one head of two outputs, MLP 2 x 400 on 32 x 32 images, batches of 128, four epochs a task, Adam at 0.001 (SGD at 0.01) that
# keeps its moments between tasks, a memory of 1,100 or 4,400 digits. Where we differ: 1/12 of the training digits are held out
# and choose the strength (their published code has one coefficient each, 0.5 for L2 and 100 for EWC, which are strengths 1 and 200 here);
# rehearsal takes 128 old digits beside 128 new ones (theirs mixes both in batches of 128, so it takes twice as many steps); EWC
# has the exact Fisher information of 1,000 digits (theirs squares gradients of whole batches at the predicted class).

# %%
RATES = {"adam": 1e-3, "sgd": 1e-2}  # theirs
five = {
    s.values["optimiser"]: s
    for s in settings
    if s.five and s.values["network"] == "mlp" and s.values["lr"] == RATES[s.values["optimiser"]]
}
beside: list[tuple[str, float, Setting | None, str, statistics.Interval]] = []
for name, (value, (optimiser, method)) in PUBLISHED.items():
    there = five.get(optimiser)
    there = there if there and method in there.chosen else None
    got = statistics.interval(there.by_seed(method, "test_accuracy") if there else [])
    beside.append((name, value, there, method, got))
if five:
    beside.sort(key=lambda line: line[1])
    rungs = []
    for name, value, there, method, got in beside:
        rungs.append((f"{name}, published", value, math.nan, math.nan, "0.85"))
        if there:
            here = (100 * got.mean, 100 * got.low, 100 * got.high, palette[method])
            rungs.append((f"{there.values['optimiser']}, {there.label(method)}", *here))
    table = pd.DataFrame(rungs, columns=["name", "test_accuracy", "low", "high", "color"])
    figure, ax = plt.subplots(figsize=(10, 0.36 * len(table) + 1.4), layout="constrained")
    bars(table, "name", "test_accuracy", hue="color", ax=ax)
    ax.set_title(title("Five tasks: mean test accuracy at the end", f"pale: {PAPER}"), fontsize=10.5)
    run.figure(figure, "five")
    lines = [
        {
            "published": name, "%": f"{value:.2f}", "ours": there.label(method) if there else "",
            "mean, %": f"{100 * got.mean:.2f}" if there else "",
            "95 % interval": f"{100 * got.low:.2f} to {100 * got.high:.2f}" if got.n > 1 else "", "n": got.n or "",
            "difference": f"{100 * got.mean - value:+.2f}" if there else "",
        }
        for name, value, there, method, got in beside
    ]  # fmt: skip
    display(pd.DataFrame(lines).style.hide(axis="index"))

# %% [markdown]
# ## Learning rates, optimisers, widths
# Drawn where the run has many learning rates, for plain fine-tuning: how long the old lasts, and at what price the new is
# learnt. Half-lives are medians over seeds.

# %%
plainly = [s for s in settings if "none" in s.chosen and not s.five] if rates else []
# by network, then by what else tells settings apart; they differ in the learning rate
groups: dict[str, dict[str, list[Setting]]] = {}
for setting in plainly:
    kind = setting.named("lr", "network") or setting.values["optimiser"]
    groups.setdefault(setting.values["network"], {}).setdefault(kind, []).append(setting)
if plainly:
    end = max(s.values["steps"] for s in plainly)
    figure, axes = plt.subplots(3, len(groups), figsize=(5.6 * len(groups), 11), squeeze=False, sharex=True, sharey="row", layout="constrained")  # fmt: skip
    WHAT = {"half-life": "half-life, iterations", "task_0": "0 and 1 at the end, %", "task_1": "2 and 3 at the end, %"}
    for (network, kinds), column in zip(groups.items(), axes.T, strict=True):
        shades = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(kinds)))
        for (metric, text), ax in zip(WHAT.items(), column, strict=True):
            for (kind, drawn), shade in zip(kinds.items(), shades, strict=True):
                ends = [
                    median(list(s.decays("none")["half_life"])) if metric == "half-life"
                    else statistics.interval(100 * s.by_seed("none", metric))
                    for s in drawn
                ]  # fmt: skip
                found = pd.DataFrame(
                    [(s.values["lr"], i.mean, i.low, i.high) for s, i in zip(drawn, ends, strict=True)]
                )
                over, middle, low, high = (values for _, values in found.replace(math.inf, 2 * end).items())
                ax.plot(over, middle, "--" if "sgd" in kind else "-", marker="o", markersize=4, color=shade, label=kind)
                ax.fill_between(over, low, high, color=shade, alpha=0.14, linewidth=0)
            ax.set(xscale="log", ylabel=text, ylim=None if metric == "half-life" else (0, 102))
        column[0].set(yscale="log", title=network)
        column[0].axhline(end, color="0.8", linewidth=0.8, zorder=0)
        column[0].legend(fontsize=8)
        column[-1].set_xlabel("learning rate")
    note = f"above the grey line: half of the seeds or more did not lose half within {end} iterations"
    figure.suptitle(title("Plain fine-tuning over the learning rate, 95 % intervals", note), fontsize=11)
    run.figure(figure, "rates")

# %%
if plainly:
    most = max(map(len, groups.values()))
    figure, axes = plt.subplots(most, len(groups), figsize=(5.6 * len(groups), 3.5 * most + 1), squeeze=False, sharey=True, layout="constrained")  # fmt: skip
    for (network, kinds), column in zip(groups.items(), axes.T, strict=True):
        for (kind, drawn), ax in zip(kinds.items(), column, strict=False):
            table = pd.concat([s.best("none") for s in drawn])
            curves(summary(table, ["lr", "step"], "task_0"), "step", "task_0", "lr", ax=ax)
            iterations(ax, drawn[0])
            ax.set(ylim=(0, 102), ylabel="test accuracy on 0 and 1, %")
            ax.set_title(f"{network}, {kind}", fontsize=10.5)
            ax.legend(fontsize=7.5, title="learning rate", title_fontsize=8, loc="lower left")
        for ax in column[len(kinds) :]:
            ax.set_visible(False)
    figure.suptitle(title("Plain fine-tuning: what is left of 0 and 1, by learning rate"), fontsize=11)
    run.figure(figure, "rate_curves")

# %% [markdown]
# ## What came out
# Computed from the rows. Differences are paired by seed; p values are Holm-corrected over the remedies of a network.


# %%
def life_words(setting, method):
    life, end = median(list(setting.decays(method)["half_life"])), int(setting.rows["step"].max() - setting.offset)
    value, low, high = (brief(v) if math.isfinite(v) else f"beyond {end}" for v in (life.mean, life.low, life.high))
    between = f"{low} to {high}" if math.isfinite(life.low) else low
    return f"median half-life {value} iterations" + ("" if math.isnan(life.low) else f" (95 % interval {between})")


def brief(iterations):
    """`97`, `1.4`, `below 1`"""
    return f"{iterations:.0f}" if iterations >= 9.95 else f"{iterations:.1f}" if iterations >= 1 else "below 1"


def setting_sentences(setting):
    plain = "none" in setting.chosen
    head = f"**{setting.name}**"
    remedies = [m for m in setting.chosen if m != "none"]
    if plain:
        decays = setting.decays("none")
        yield (
            f"{head}: from {tell.percent(statistics.interval(setting.start('task_0')))} on 0 and 1, plain fine-tuning ends at "
            f"{tell.percent(statistics.interval(setting.by_seed('none', 'task_0')))}; {life_words(setting, 'none')}; backward "
            f"transfer {tell.points(statistics.interval(decays['backward_transfer']))}; area {statistics.interval(decays['area']).mean:.3f}."
        )
    pairs = (
        {m: statistics.paired(setting.by_seed(m, "task_0"), setting.by_seed("none", "task_0")) for m in remedies}
        if plain
        else {}
    )
    corrected = dict(zip(pairs, statistics.holm([d.p for d in pairs.values()]), strict=True))
    for method in remedies:
        said = [
            f"{head}, {setting.label(method)}: 0 and 1 end at {tell.percent(statistics.interval(setting.by_seed(method, 'task_0')))}"
        ]
        said.append(
            f", the mean over tasks at {tell.percent(statistics.interval(setting.by_seed(method, 'test_accuracy')))}"
        )
        if method in pairs and pairs[method].n > 1:
            kept = "keeps more than none" if pairs[method].mean > 0 else "keeps less than none"
            told = kept if corrected[method] < 0.05 else "not told from none"
            said.append(f"; against none {tell.points(pairs[method])} on 0 and 1: {told}")
        yield "".join(said) + f"; {life_words(setting, method)}."
    if setting.lost:
        yield f"{head}: no student of {tell.listing(setting.lost, most=8)} has a result."
    best = pd.concat([setting.best(m, setting.done) for m in setting.chosen])
    verdict = statistics.stands_out(best, ["method"], "val_accuracy", "test_accuracy")
    if verdict.rivals:
        chosen = setting.label(verdict.best["method"])
        told = tell.verdict(verdict, lambda cell: cell["method"].replace("_", " "), most=8)
        yield f"{head}: validation chooses {chosen} by the mean over tasks. {told}"


def digit_sentences(setting):
    loss = {d: setting.start(f"accuracy_{d}") - setting.by_seed("none", f"accuracy_{d}") for d in (0, 1)}
    more = int(loss[1].mean() > loss[0].mean())
    difference = statistics.paired(loss[more], loss[1 - more])
    told = "beyond noise" if difference.low > 0 else "which the seeds do not tell from equal losses"
    pulls = {d: {n: setting.start(f"pull_{d}_{n}").mean() for n in (2, 3)} for d in (0, 1)}
    due = min(pulls, key=lambda d: sum(pulls[d].values()))
    worst = min(pulls[due], key=lambda n: pulls[due][n])
    lives = {d: first_losses(setting, d) for d in (0, 1)}
    first = sum(lives[due][seed] < lives[1 - due][seed] for seed in lives[due])
    called = {n: 1 - setting.start(f"accuracy_{n}").mean() for n in (2, 3)}
    yield (
        f"**{setting.name}**: without a remedy {more} ends with the larger loss, by {tell.points(difference)}, {told}. The old "
        f"network calls {100 * called[2]:.0f} % of the 2s class 1 and {100 * called[3]:.0f} % of the 3s class 0, wrongly; one step on the {worst}s "
        f"moves the margin of {due} by {pulls[due][worst]:.0f} per unit of learning rate, so {due} should go first: it is the first to "
        f"lose 5 points in {first} of {len(lives[due])} seeds."
    )


def first_losses(setting, digit):
    """Iterations until 5 points of the accuracy on a digit are lost, by seed."""
    known, column = setting.start(f"accuracy_{digit}"), f"accuracy_{digit}"
    lines = setting.best("none").dropna(subset=[column]).sort_values("step").groupby("seed")
    return {
        seed: half_life(list(line["step"]), list(line[column]), known[seed], known[seed] - 0.1) for seed, line in lines
    }


def probe_sentences(setting):
    last = setting.best("none", setting.done).set_index("seed")
    gap = statistics.paired(last["probe_accuracy"], last["task_0"])
    untrained = (
        ""
        if setting.five
        else f" (untrained features: {tell.percent(statistics.interval(setting.start('probe_untrained')))})"
    )
    where = "so the readout lost more than the features" if gap.low > 0 else "not told from the readout"
    yield (
        f"**{setting.name}**: without a remedy a linear probe still reads 0 and 1 from the features at "
        f"{tell.percent(statistics.interval(last['probe_accuracy']))}{untrained}, {tell.points(gap)} above the readout: {where}."
    )


def five_sentences():
    for name, value, there, method, got in beside:
        if there:
            yield (
                f"Five tasks, {there.values['optimiser']}, {there.label(method)}: {tell.percent(got)}; published for {name} "
                f"{value:.2f} % ({PAPER}), a difference of {100 * got.mean - value:+.1f} points."
            )


def rate_sentences():
    for network, kinds in groups.items():
        chosen = {}
        for kind, drawn in kinds.items():
            scores = statistics.scores({i: s.by_seed("none", "val_accuracy") for i, s in enumerate(drawn)})
            best = chosen[kind] = drawn[max(scores, key=lambda i: scores[i])]
            lives = {s.values["lr"]: median(list(s.decays("none")["half_life"])).mean for s in drawn}
            short = min(lives, key=lambda lr: lives[lr])
            kept = ", ".join(f"{lr:g}" for lr, life in lives.items() if math.isinf(life))
            parts = [f"the shortest half-life is {brief(lives[short])} iterations (lr {short:g})"] * math.isfinite(
                lives[short]
            )
            parts += [f"at lr {kept} half of the seeds or more keep more than half"] * bool(kept)
            ends = [tell.percent(statistics.interval(best.by_seed("none", m))) for m in ("task_0", "task_1")]
            yield (
                f"**{network}, {kind}**: {'; '.join(parts)}. By the mean over tasks validation chooses lr {best.values['lr']:g}, where 0 and 1 end at "
                f"{ends[0]} and 2 and 3 at {ends[1]}."
            )
        for kind, adam in chosen.items():
            sgd = chosen.get(kind.replace("adam", "sgd"))
            if "adam" in kind and sgd:
                old, new = (
                    statistics.paired(sgd.by_seed("none", m), adam.by_seed("none", m)) for m in ("task_0", "task_1")
                )
                yield (
                    f"**{network}, {kind}**: SGD less Adam, each at its chosen lr, uncorrected: {tell.points(old)} on 0 and 1 ({tell.moves(old)}), "
                    f"{tell.points(new)} on 2 and 3 ({tell.moves(new)})."
                )
    yield (
        f"{tell.count(len(settings) - len(shown), 'setting')} of {len(settings)} have no remedy: they are lines under learning rates, "
        "and the figures above have no panel of them."
    )


said = [line for setting in shown for line in setting_sentences(setting)]
said += [line for setting in plain for line in digit_sentences(setting)]
said += [
    line
    for setting in shown
    if "none" in setting.chosen and setting.values["network"] != "logistic"
    for line in probe_sentences(setting)
]
said += list(five_sentences()) if five else []
said += list(rate_sentences()) if plainly else []
run.close([*said, *run.caveats()])
