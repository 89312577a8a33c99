# %% [markdown]
# # Do a network's own answers replace labels?
#
# A classifier has labels for few images, answers to the others, and learns from its answers (pseudo-labels) where they are sure
# enough (`threshold`):
#
# - `supervised`: the labelled images alone, as they are; `supervised_weak`, `supervised_strong`: the same images augmented;
# - `pseudo_label` (Lee 2013): asked in every step about the very image that it learns from, with a rising weight;
# - `self_training`: asked by the network as it was when the round began; round 0 has labels only;
# - `fixmatch` (Sohn et al. 2020, arXiv 2001.07685): asked about a weakly augmented image, it learns on a strongly augmented one.
#
# All have the same labels, initial weights, number of steps and order of the labelled images, so differences are paired by seed.
# Training images without a label keep their true one hidden: it only judges the pseudo-labels. The threshold is chosen on held-out
# validation images and the test images only report, as the assignment's train-val-test split has it; what a user with so few labels
# could choose by is asked at the end. Every number is a mean over seeds with Student's 95 % interval.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from analysis.core import records, report, statistics, tell
from analysis.core.figures.curves import curves
from analysis.core.figures.heatmap import heatmap
from analysis.core.figures.interactive import interactive
from analysis.core.figures.references import Reference, lines
from analysis.core.figures.surface import surface
from analysis.core.settings import by_seed, select, split

run = report.start("pseudo_labels")
run.rows["test_error"] = 1 - run.rows["test_accuracy"]
regimes = split(run.rows, ["dataset", "network"], run.info.get("axes", {}), within=("method", "labels", "threshold"))

COLORS = {
    "supervised": "0.3", "supervised_weak": "0.65", "supervised_strong": "#9E4F80",
    "pseudo_label": "#D55E00", "self_training": "#0072B2", "fixmatch": "#009E73",
}  # fmt: skip
TAUGHT = ("pseudo_label", "self_training", "fixmatch")  # by their own answers
METRIC = "test_error"
PLANE = ("threshold", "labels")
LEE, FIXMATCH = "Lee 2013, read in a later table", "arXiv 2001.07685"
PUBLISHED = {  # test errors: data set, {labels: (name, error, source)}
    "mnist": {1000: ("Lee 2013, 1,000 labels", 0.0346, LEE)},
    "cifar10": {
        40: ("FixMatch, 40 labels", 1 - 0.8619, FIXMATCH),
        250: ("FixMatch, 250 labels", 1 - 0.9493, FIXMATCH),
        4000: ("FixMatch, 4,000 labels", 1 - 0.9574, FIXMATCH),
    },
}


def title(regime):
    rest = [
        f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}"
        for k, v in regime.axes.items()
        if k not in ("dataset", "network")
    ]
    return ", ".join([regime.axes["dataset"], regime.axes["network"], *rest])


def suffix(regime):
    return f"_{regime.name}" if len(regimes) > 1 else ""


def counts(regime):
    """The numbers of labels of a regime, ascending."""
    return sorted(regime.done["labels"].unique())


def cells(regime, labels, methods):
    """Students of some methods with so many labels, each once."""
    done = regime.done[(regime.done["labels"] == labels) & regime.done["method"].isin(methods)]
    return done.drop_duplicates(["student", "seed"])


def verdict(regime, labels, methods):
    """The method and threshold that validation chooses among some methods; None where none is done."""
    found = cells(regime, labels, methods).dropna(subset=["val_accuracy", METRIC])
    if found.empty:
        return None
    return statistics.stands_out(
        found.assign(accuracy=1 - found[METRIC]), ["method", "threshold"], "val_accuracy", "accuracy"
    )


def chosen(regime, labels, method):
    """Rows of the students of one method at the threshold that validation chooses, or none."""
    best = verdict(regime, labels, [method])
    return select(cells(regime, labels, [method]), best.best) if best else regime.done[:0]


def methods(regime):
    return [m for m in COLORS if m in set(regime.done["method"])]


def taught(regime):
    return [m for m in methods(regime) if m in TAUGHT]


def references(regime, only=None):
    known = PUBLISHED.get(regime.axes["dataset"], {})
    return [
        Reference(name, 100 * error, source, "0.45", digits=2)
        for labels, (name, error, source) in known.items() if labels in counts(regime) and only in (None, labels)
    ]  # fmt: skip


def percent(table, *names):
    return table.assign(**{name: 100 * table[name] for name in names if name in table})


def summary(rows, by, metric):
    """By group: a metric in per cent (as `metric`), its interval cut at 0 and 100, and n."""
    table = percent(statistics.summarise(rows, by, metric), "mean", "low", "high").rename(columns={"mean": metric})
    return table.assign(low=table["low"].clip(lower=0), high=table["high"].clip(upper=100))


def panels(rows, columns, width, height, **kwargs):
    return plt.subplots(
        rows, columns, figsize=(width * columns, height * rows + 1), squeeze=False, layout="constrained", **kwargs
    )


# %% [markdown]
# ## Test errors over the number of labels
# Each method at the threshold that validation chose for it at each number of labels. Dashed: published, with other networks and
# far longer training; Lee's 3.46 % errors come after a denoising autoencoder saw all images.

# %%
figure, axes = panels(1, len(regimes), 8.6, 5)
for regime, ax in zip(regimes, axes[0], strict=True):
    rows = pd.concat([chosen(regime, n, m) for n in counts(regime) for m in methods(regime)])
    table = summary(rows, ["method", "labels"], METRIC)
    curves(table, "labels", METRIC, "method", COLORS, ax=ax)
    ax.set(ylim=(0, 1.05 * table["high"].fillna(table[METRIC]).max()), title=title(regime))
    lines(references(regime), ax)
handles, names = axes[0][0].get_legend_handles_labels()
figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=9)
figure.suptitle(f"Test errors over the number of labels, mean and 95 % interval\n{run.subtitle}", fontsize=11)
run.figure(figure, "labels")

# %% [markdown]
# ## Threshold x labels
# Test errors of each method that learns from its answers. The axis of the threshold is -log2(1 - threshold), so that each halving of
# the doubt is as long. Heatmaps: the same numbers, then the difference from `supervised` with the same labels (below zero: fewer
# errors); outlined is the threshold that validation chose.


# %%
def plane(regime, method):
    """(threshold, labels) cells of a method: test errors, low, high in per cent and n; NaN where no student is done."""
    grid = regime.rows[regime.rows["method"] == method][[*PLANE]].drop_duplicates()
    found = select(regime.done, {"method": method})
    table = percent(statistics.summarise(found, PLANE, METRIC), "mean", "low", "high").rename(columns={"mean": METRIC})
    return grid.merge(table, how="left", on=[*PLANE]).sort_values([*PLANE], ignore_index=True).fillna({"n": 0})


def gained(regime):
    """The regime's rows with `change`: test error less that of supervised with the same labels and seed."""
    plain = select(regime.done, {"method": "supervised"}).drop_duplicates(["student", "seed"])
    base = plain.set_index(["labels", "seed"])[METRIC]
    index = pd.MultiIndex.from_frame(regime.done[["labels", "seed"]])
    return regime.done.assign(change=regime.done[METRIC].to_numpy() - base.reindex(index).to_numpy())


def outline(regime, method, ax):
    """Frames around the cells that validation chose."""
    found = select(regime.rows, {"method": method})
    columns, rows = np.unique(found["threshold"]), np.unique(found["labels"])
    for j, labels in enumerate(rows):
        best = verdict(regime, labels, [method])
        if best:
            i = np.searchsorted(columns, best.best["threshold"])
            ax.add_patch(
                Rectangle((i - 0.47, j - 0.47), 0.94, 0.94, fill=False, edgecolor="#D55E00", linewidth=2.5, zorder=5)
            )


for regime in regimes:
    shown = [m for m in taught(regime) if min(plane(regime, m)[name].nunique() for name in PLANE) > 1]
    if not shown:
        continue
    planes = {m: plane(regime, m) for m in shown}
    top = min(100, 1.1 * max(float(p["high"].fillna(p[METRIC]).max()) for p in planes.values()))
    figure, axes = plt.subplots(
        1, len(shown), figsize=(7.2 * len(shown), 6.6), squeeze=False, subplot_kw={"projection": "3d"}
    )
    width = figure.get_figwidth()  # the margins hold the names of the references, and those of the axis
    figure.subplots_adjust(2.2 / width, 0.04, 1 - 0.9 / width, 0.8, wspace=0.45)
    for method, ax in zip(shown, axes[0], strict=True):
        surface(planes[method], *PLANE, METRIC, references(regime), limits=(0, top), colors=(0, top), ax=ax)
        ax.set_zlabel("test errors, %")
        ax.set_title(method, fontsize=11)
        said, limits = f"{method}: {title(regime)}\n{run.subtitle}", (0, top)
        turned = interactive(planes[method], *PLANE, METRIC, said, references(regime), limits=limits, colors=limits)
        run.interactive(turned, f"surface_{method}{suffix(regime)}", f"{method}, {title(regime)}")
    figure.suptitle(f"Test errors over threshold and labels: {title(regime)}\n{run.subtitle}", fontsize=11)
    run.figure(figure, f"surfaces{suffix(regime)}")

    if "supervised" not in methods(regime):
        continue
    changes = gained(regime)
    figure, axes = panels(2, len(shown), 5.6, 3.7)
    for method, above, below in zip(shown, *axes, strict=True):
        heatmap(planes[method], *PLANE, METRIC, limits=(0, top), digits=2, ax=above)
        table = statistics.summarise(select(changes, {"method": method}), PLANE, "change")
        table = percent(table, "mean", "low", "high").rename(columns={"mean": "change"})
        largest = float(np.abs(table["change"]).max()) or 1.0
        heatmap(table, *PLANE, "change", limits=(-largest, largest), digits=2, ax=below)
        for ax in (above, below):
            outline(regime, method, ax)
        above.set_title(f"{method}: test errors, %", fontsize=10.5)
        below.set_title("less those of supervised, points", fontsize=10.5)
    figure.suptitle(f"Test errors over threshold and labels: {title(regime)}\n{run.subtitle}", fontsize=11)
    run.figure(figure, f"heatmaps{suffix(regime)}")

# %% [markdown]
# ## The pseudo-labels while learning
# Asked about the same clean unlabelled images at every evaluation: how many answers pass the threshold, how many of these are right,
# and the expected calibration error of all answers (ECE: mean distance of confidence and accuracy over ten bins of confidence). All
# at one threshold. `supervised` does not learn from its answers; they are asked for comparison. Dotted: where a round of
# `self_training` begins, whose labels are the answers there.


# %%
ASKED = 0.95  # the threshold at which methods without one are asked about unlabelled images


def one_threshold(regime):
    """The threshold that curves over the training are drawn at: the one nearest to that which supervised is asked at."""
    grid = sorted(regime.rows.loc[regime.rows["method"].isin(TAUGHT), "threshold"].unique())
    return min(grid, key=lambda t: abs(t - ASKED), default=ASKED)


def at_threshold(regime, rows):
    """Rows of all methods at that threshold; those without a threshold once."""
    free = ~rows["method"].isin(TAUGHT)
    return rows[free | (rows["threshold"] == one_threshold(regime))].drop_duplicates(["student", "seed", "step"])


QUALITY = {
    "passing": "pass the threshold, %",
    "passing_accuracy": "of these right, %",
    "pseudo_ece": "ECE of all answers, points",
}
for regime in regimes:
    if not taught(regime):
        continue
    history = at_threshold(regime, regime.rows[regime.rows["status"].isin(["running", "done"])])
    history = history[history["method"].isin(["supervised", *TAUGHT])]
    figure, axes = panels(len(QUALITY), len(counts(regime)), 4.3, 2.9, sharex=True, sharey="row")
    for (metric, said), line in zip(QUALITY.items(), axes, strict=True):
        for labels, ax in zip(counts(regime), line, strict=True):
            part = history[history["labels"] == labels]
            if metric.startswith("passing") and one_threshold(regime) != ASKED:  # its answers were not asked there
                part = part[part["method"] != "supervised"]
            curves(summary(part, ["method", "step"], metric), "step", metric, "method", COLORS, ax=ax)
            for rounds in part.loc[part["method"] == "self_training", "rounds"].unique():
                for k in range(1, rounds + 1):
                    begins = part["step"].max() * k / (rounds + 1)
                    ax.axvline(begins, color=COLORS["self_training"], linestyle=":", linewidth=0.9)
            ax.set(xlabel="step" if ax in axes[-1] else "", ylabel=said if ax is line[0] else "")
            if metric == "passing":
                ax.set_title(f"{labels:,} labels", fontsize=10.5)
    lowest = 100 * history.groupby(["method", "labels", "step"])["passing_accuracy"].mean().min()
    for line, low, high in zip(axes, (0, max(0, 10 * (lowest // 10)), 0), (100.5, 100.5, None), strict=True):
        line[0].set_ylim(low, high)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=9)
    said = f"Pseudo-labels at threshold {one_threshold(regime):g}: {title(regime)}"
    figure.suptitle(f"{said}\n{run.subtitle}", fontsize=11)
    run.figure(figure, f"quality{suffix(regime)}")

# %% [markdown]
# ## How sure, and how right
# Reliability diagrams at the end of the training, on unlabelled training images: accuracy over confidence, a point per bin with at
# least ten images; on the grey diagonal confidence is accuracy, below it answers are surer than right. Below: how many images each
# bin has.

# %%
calibration = run.table("calibration")


def reliability(final, labels, method):
    """By bin: images of all seeds together (and their share of all), mean confidence and accuracy in per cent."""
    students = select(final, {"labels": labels, "method": method})["student"]
    found = calibration[(calibration["split"] == "unlabelled") & calibration["student"].isin(students)]
    weighed = found.assign(**{name: 100 * found[name] * found["images"] for name in ("confidence", "accuracy")})
    table = weighed.groupby("bin")[["images", "confidence", "accuracy"]].sum()
    means = table[["confidence", "accuracy"]].div(table["images"], axis=0)
    return table.assign(share=100 * table["images"] / table["images"].sum(), **means)


for regime in regimes:
    if calibration.empty or not taught(regime):
        continue
    final = at_threshold(regime, regime.done)
    figure, axes = panels(2, len(counts(regime)), 4.3, 3.1, sharex=True, sharey="row", height_ratios=(2, 1))
    for labels, above, below in zip(counts(regime), *axes, strict=True):
        above.plot([0, 100], [0, 100], color="0.8", linewidth=1)
        for method in methods(regime):
            bins = reliability(final, labels, method)
            shown = bins[bins["images"] >= 10]
            ece = 100 * by_seed(select(final, {"labels": labels, "method": method}), "pseudo_ece").mean()
            style = {"color": COLORS[method], "marker": "o", "markersize": 3.5, "linewidth": 1.4}
            above.plot(shown["confidence"], shown["accuracy"], label=f"{method}: ECE {ece:.1f}", **style)
            below.plot(10 * bins.index + 5, bins["share"], **style)
        above.set(title=f"{labels:,} labels", xlim=(0, 103), ylim=(0, 103))
        above.legend(fontsize=7.5, loc="upper left")
        below.set(xlabel="confidence, %", yscale="log")
    axes[0][0].set_ylabel("accuracy, %")
    axes[1][0].set_ylabel("images, %")
    said = f"Reliability of the answers to unlabelled images, threshold {one_threshold(regime):g}: {title(regime)}"
    figure.suptitle(f"{said}\n{run.subtitle}", fontsize=11)
    run.figure(figure, f"calibration{suffix(regime)}")

# %% [markdown]
# ## When it helps, and when it hurts
# Test error less that of `supervised` with the same labels, steps and seeds; 95 % intervals. Coloured where the difference survives
# Holm's correction over all comparisons of the figure.


# %%
def differences(regime):
    """Every method and threshold against supervised, by labels: a table with mean, low, high in points, n, p corrected."""
    found = []
    for labels in counts(regime):
        base = by_seed(cells(regime, labels, ["supervised"]), METRIC)
        others = cells(regime, labels, [m for m in methods(regime) if m != "supervised"])
        for (method, threshold), part in others.groupby(["method", "threshold"], sort=True):
            d = statistics.paired(by_seed(part, METRIC), base)
            if d.n:
                found.append((labels, method, threshold, d, d.p))
    table = pd.DataFrame(found, columns=["labels", "method", "threshold", "difference", "p"])
    return table.assign(p=statistics.holm(table["p"].to_numpy())) if len(table) else table


def named(method, threshold):
    return f"{method}, threshold {threshold:g}" if method in TAUGHT else method


def forest(ax, heights, table):
    """Differences of errors as points with intervals at heights, coloured where they are told from 0."""
    ax.axvline(0, color="0.3", linewidth=1)
    for y, d, p in zip(heights, table["difference"], table["p"], strict=True):
        color = "0.55" if not p < 0.05 else "#009E73" if d.mean < 0 else "#D55E00"
        half = 0 if np.isnan(d.low) else 50 * (d.high - d.low)
        ax.errorbar(100 * d.mean, y, xerr=half, fmt="o", color=color, markersize=4.5, capsize=2.5)
    ax.set_xlabel("change of test errors, points")
    ax.margins(x=0.08)


compared = {regime.name: differences(regime) for regime in regimes}
for regime in regimes:
    table = compared[regime.name]
    if table.empty:
        continue
    keys = sorted(
        {(m, t) for m, t in zip(table["method"], table["threshold"], strict=True)},
        key=lambda k: ([*COLORS].index(k[0]), k[1]),
    )
    at = {key: -i for i, key in enumerate(keys)}
    figure, axes = panels(1, len(counts(regime)), 4.2, 0.5 * len(keys), sharey=True)
    for labels, ax in zip(counts(regime), axes[0], strict=True):
        rows = table[table["labels"] == labels]
        forest(ax, [at[key] for key in zip(rows["method"], rows["threshold"], strict=True)], rows)
        ax.set(title=f"{labels:,} labels", ylim=(0.6 - len(keys), 0.6))
    axes[0][0].set_yticks([*at.values()], [named(*key) for key in keys], fontsize=9)
    said = "green: fewer errors, orange: more (Holm), grey: not told apart"
    figure.suptitle(f"Against supervised with the same labels: {title(regime)}\n{said}\n{run.subtitle}", fontsize=11)
    run.figure(figure, f"differences{suffix(regime)}")

# %% [markdown]
# ## Hard or soft, at once or rising, one round or several
# Drawn where a run has several temperatures of the pseudo-labels, ramps or rounds: test error less that at the first value, all else and
# the seeds alike; 95 % intervals, coloured as above, corrected over all comparisons of the figure.

# %%
VARIED = {"target_temperature": "T", "ramp": "ramp", "rounds": "rounds"}


def variants():
    """Every further value of these axes against the first, all else alike: a table with the comparison in words, its labels,
    difference, n and corrected p. Cells that share their students are compared once."""
    final, found, seen = records.final(run.rows), [], set()
    final = final[final["method"].isin(TAUGHT)].sort_values(["method", "threshold"], kind="stable")
    axes = [axis for axis in run.rows.attrs["axes"] if axis != "seed"]
    for axis, short in VARIED.items():
        rest = [a for a in axes if a != axis]
        first, *others = run.info.get("axes", {}).get(axis, [None])
        for values, part in final.groupby(rest, sort=False):
            cell = dict(zip(rest, values, strict=True))
            base = part[part[axis] == first]
            also = [f"{short2} {cell[a]:g}" for a, short2 in VARIED.items() if a in cell and final[a].nunique() > 1]
            sets = [cell[a] for a in ("dataset", "network") if final[a].nunique() > 1]
            for value in others:
                mine = part[part[axis] == value]
                key = (*mine["student"], *base["student"])
                d = statistics.paired(by_seed(mine, METRIC), by_seed(base, METRIC))
                if not d.n or set(mine["student"]) == set(base["student"]) or key in seen:
                    continue
                seen.add(key)
                said = ", ".join([*sets, named(cell["method"], cell["threshold"]), *also])
                found.append((f"{said}: {short} {value:g} for {first:g}", cell["labels"], d, d.p))
    table = pd.DataFrame(found, columns=["comparison", "labels", "difference", "p"])
    return table.assign(p=statistics.holm(table["p"].to_numpy())) if len(table) else table


varied = variants()
if len(varied):
    names, sizes = [*dict.fromkeys(varied["comparison"])], sorted(varied["labels"].unique())
    figure, axes = panels(1, len(sizes), 4.6, 0.36 * len(names) + 0.6, sharey=True)
    for labels, ax in zip(sizes, axes[0], strict=True):
        rows = varied[varied["labels"] == labels]
        forest(ax, [-names.index(name) for name in rows["comparison"]], rows)
        ax.set(title=f"{labels:,} labels", ylim=(0.6 - len(names), 0.6))
    axes[0][0].set_yticks([-i for i in range(len(names))], names, fontsize=8.5)
    said = "green: fewer errors, orange: more (Holm), grey: not told apart"
    figure.suptitle(f"Against the first value, all else alike\n{said}\n{run.subtitle}", fontsize=11)
    run.figure(figure, "variants")

# %% [markdown]
# ## Confirmation
# Of the unlabelled images that the network named wrongly after an eighth of the training: the share that it still calls by the same
# wrong name at the end. A network that learns from its own errors keeps them.

# %%
figure, axes = panels(1, len(regimes), 8, 4.4)
for regime, ax in zip(regimes, axes[0], strict=True):
    rows = at_threshold(regime, regime.done)
    curves(summary(rows, ["method", "labels"], "kept_errors"), "labels", "kept_errors", "method", COLORS, ax=ax)
    ax.set(ylim=(0, None), ylabel="early errors that are kept, %")
    ax.set_title(f"{title(regime)}, threshold {one_threshold(regime):g}")
    ax.legend(fontsize=8)
figure.suptitle(f"Errors that stay, mean and 95 % interval\n{run.subtitle}", fontsize=11)
run.figure(figure, "confirmation")

# %% [markdown]
# ## What came out
# Computed from the rows. Intervals of single differences are not corrected; which methods have fewer or more errors than `supervised`
# is said after Holm's correction over all comparisons of a data set and network. All seeds share their test images.


# %%
def errors(rows):
    return tell.percent(statistics.interval(by_seed(rows, METRIC)), 2)


def against(a, b):
    """A difference of errors in words."""
    return tell.points(statistics.paired(a, b), 2)


def label_sentence(regime, labels):
    """Each method at its chosen threshold, beside supervised and the best classifier on labels alone."""
    plain = cells(regime, labels, ["supervised"])
    alone = verdict(regime, labels, [m for m in methods(regime) if m not in TAUGHT])
    said, levels = [], []
    if len(plain):
        said, levels = [f"supervised {errors(plain)} test errors"], [("supervised", plain)]
    if alone and alone.best["method"] != "supervised":
        best = chosen(regime, labels, alone.best["method"])
        said.append(f"the best classifier on labels alone, by validation, is {alone.best['method']}: {errors(best)}")
        levels.append((alone.best["method"], best))
    for method in taught(regime):
        rows = chosen(regime, labels, method)
        if len(rows):
            mine = by_seed(rows, METRIC)
            compared = [f"against {name} {against(mine, by_seed(level, METRIC))}" for name, level in levels]
            said.append(", ".join([named(method, rows["threshold"].iloc[0]), errors(rows), *compared]))
    return f"**{title(regime)}, {labels:,} labels**: {'; '.join(said)}."


def winner_sentence(regime):
    """Whether the best of all stands out, at each number of labels."""
    for labels in counts(regime):
        best = verdict(regime, labels, methods(regime))
        if best is None:
            continue
        worth = tell.verdict(best, lambda cell: named(cell["method"], cell["threshold"]), 3)
        yield f"{title(regime)}, {labels:,} labels: of everything, validation chooses {named(best.best['method'], best.best['threshold'])}. {worth}"


def hurt_sentence(regime):
    table = compared[regime.name]
    if table.empty or table["difference"].map(lambda d: d.n).max() < 2:
        return
    mean, low = table["difference"].map(lambda d: d.mean), table["difference"].map(lambda d: d.low)
    told = table["p"] < 0.05

    def listed(rows):
        each = [
            f"{named(r['method'], r['threshold'])} at {r['labels']:,} labels ({tell.points(r['difference'], 2)})"
            for _, r in rows.iterrows()
        ]
        return tell.listing(each, 6)

    alone = listed(table[~told & (low > 0)])
    yield (
        f"{title(regime)}: of {len(table)} comparisons with supervised, {(told & (mean < 0)).sum()} have fewer errors, {(told & (mean > 0)).sum()} "
        f"more, the others are not told from no difference (Holm). It hurts: {listed(table[told & (mean > 0)]) or 'nowhere that the seeds can tell'}."
        + (f" Looked at alone, without correction, there would be more errors for {alone}." if alone else "")
    )


def variant_sentence():
    """What hard or soft pseudo-labels, the ramp and the rounds change."""
    if varied.empty or varied["difference"].map(lambda d: d.n).max() < 2:
        return
    told = varied[varied["p"] < 0.05]
    each = [
        f"{row['comparison']}, at {row['labels']:,} labels: {tell.points(row['difference'], 2)}"
        for _, row in told.iterrows()
    ]
    largest = varied.loc[varied["difference"].map(lambda d: abs(d.mean)).idxmax()]
    yield (
        f"Temperature of the pseudo-labels, ramp and rounds: of {len(varied)} comparisons with the first value {len(told)} are told from no difference "
        f"(Holm){': ' + tell.listing(each, 6) if each else ''}. The largest is {largest['comparison']}, at {largest['labels']:,} labels: "
        f"{tell.points(largest['difference'], 2)}."
    )


def quality_sentence(regime):
    final = at_threshold(regime, regime.done)
    for labels in dict.fromkeys((counts(regime)[0], counts(regime)[-1])):
        said = []
        for method in ("supervised", *taught(regime)):
            part = select(final, {"labels": labels, "method": method})
            if len(part):
                names = ("passing", "passing_accuracy", "pseudo_ece", "kept_errors")
                passing, right, ece, kept = (100 * by_seed(part, name).mean() for name in names)
                of_them = f", {right:.2f} % of them right" if passing else ""
                asked = method in TAUGHT or one_threshold(regime) == ASKED
                passed = f"{passing:.1f} % pass{of_them}, " if asked else ""
                said.append(f"{method} {passed}ECE {ece:.1f} points, {kept:.0f} % of early errors kept")
        at = f"threshold {one_threshold(regime):g}"
        yield f"{title(regime)}, {labels:,} labels, at the end, {at}: {'; '.join(said)} (means of the seeds)."


def own_sentence(regime):
    """What choosing on a validation set of a user's size costs: each seed chooses for itself."""
    said = []
    draws = run.table("draws")
    for labels in counts(regime):
        found = cells(regime, labels, methods(regime)).dropna(subset=["own_val_accuracy", METRIC])
        best = verdict(regime, labels, methods(regime))
        if best is None:
            continue
        own = found.sort_values(["seed", "own_val_accuracy"]).groupby("seed").tail(1)
        # of several cells alike on so few images a user would take any: their mean
        top = found.merge(own[["seed", "own_val_accuracy"]], on=["seed", "own_val_accuracy"])
        d = statistics.paired(top.groupby("seed")[METRIC].mean(), by_seed(select(found, best.best), METRIC))
        size = select(draws, {"dataset": regime.axes["dataset"], "labels": labels})["own_val"]
        said.append(f"{labels:,} labels, {size.iloc[0] if len(size) else '?'} images: {tell.points(d, 2)}")
    held = select(draws, {"dataset": regime.axes["dataset"]})["val"]
    if said and len(held):
        yield (
            f"{title(regime)}: method and threshold were chosen on {held.iloc[0]:,} labelled validation images, more than a user with few labels has. "
            f"Chosen by each seed on its own, on one validation image for five labels, the test errors change by: {'; '.join(said)}."
        )


def published_sentence(regime):
    for reference, labels in ((r, n) for n in counts(regime) for r in references(regime, n)):
        method = {LEE: "pseudo_label", FIXMATCH: "fixmatch"}[reference.source]
        rows = chosen(regime, labels, method) if method in methods(regime) else pd.DataFrame()
        if len(rows):
            yield f"Published: {reference.label}, {reference.value:.2f} % test errors ({reference.source}); here {named(method, rows['threshold'].iloc[0])} has {errors(rows)}, another network and training."


run.close(
    [
        *(label_sentence(regime, n) for regime in regimes for n in counts(regime)),
        *(
            sentence
            for regime in regimes
            for say in (winner_sentence, hurt_sentence, quality_sentence, own_sentence, published_sentence)
            for sentence in say(regime)
        ),
        *variant_sentence(),
        *run.caveats(),
    ]
)
