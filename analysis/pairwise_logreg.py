# %% [markdown]
# # What tells two digits apart, and how sure can a linear model be?
#
# Binary logistic regression on every pair of MNIST classes: 45 problems, solved together. A pair with n training digits
# minimises its mean log loss + l2/2 |w|² (scikit-learn's C is 1 / (n l2)) on standardised features: pixels, means of 2 x 2
# pixels, or principal components.
#
# l2 is chosen on 5,000 held-out training digits, and the test set only reports. Two intervals are kept apart. Over seeds
# (which digits are held out) it is Student's, and small, since the training sets overlap in ten elevenths. Of one pair's
# accuracy it is Wilson's, over its test digits, and says what another test set would change.

# %%
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.stats import norm

from analysis.core import records, report, statistics, tell
from analysis.core.figures.curves import curves
from analysis.core.figures.pixels import digit, links, matrix, picture, pixel_map
from analysis.core.figures.references import Reference, lines
from analysis.core.figures.scales import dress, positions

run = report.start("pairwise_logreg")
done = records.final(run.rows)
pairs, views = run.table("pairs"), run.table("features")
PAIRS = list(combinations(range(10), 2))
BLUE, ORANGE, GREY = "#0072B2", "#B35900", "0.45"
PUBLISHED = {"pairwise linear classifier, deskewed": 92.4, "linear classifier": 88.0}
SOURCE = "LeCun et al. 1998, the table on the MNIST page"
names = {"pixels": "pixels", "pooled": "means of 2 x 2 pixels", "pca": "principal components"}


def named(features, components):
    """A view in words: `64 principal components`."""
    return f"{components} {names[features]}" if features == "pca" else names[features]


groups: dict[str, pd.DataFrame] = {}
for key, part in done.groupby(["features", "components"], sort=False):
    groups.setdefault(named(*key), part)
order = [named(f, c) for f in run.info["axes"]["features"] for c in run.info["axes"]["components"]]
groups = {name: groups[name] for name in dict.fromkeys(order) if name in groups}
verdicts = {name: statistics.stands_out(part, ["l2"], "val_accuracy", "test_accuracy") for name, part in groups.items()}
chosen = {name: groups[name][groups[name]["l2"] == verdict.best["l2"]] for name, verdict in verdicts.items()}

# %% [markdown]
# ## Accuracy over the penalty
# Left: mean test accuracy of the 45 models. Middle: its lowest. Right: ten classes by vote, each model having one; dashed are
# published linear classifiers. The star is the penalty chosen on validation.

# %%
figure, axes = plt.subplots(1, 3, figsize=(16, 4.8), layout="constrained")
panels = {
    "test_accuracy": "mean of 45 pairs",
    "worst_test_accuracy": "hardest pair",
    "vote_accuracy": "ten classes by vote",
}
for ax, (metric, title) in zip(axes, panels.items(), strict=True):
    table = pd.concat(statistics.summarise(part, ["l2"], metric).assign(features=name) for name, part in groups.items())
    table[["mean", "low", "high"]] *= 100
    curves(table.rename(columns={"mean": metric}), "l2", metric, "features", ax=ax)
    for name, verdict in verdicts.items():
        best = table[(table["features"] == name) & (table["l2"] == verdict.best["l2"])]
        ax.plot(positions(best["l2"], "l2"), best["mean"], "*", color="white", markeredgecolor="black", markersize=14)
    ax.set(title=title, ylabel="test accuracy, %")
    if metric == "vote_accuracy":
        ax.set_ylim(min(87.5, table["low"].min() - 0.5), None)
        lines([Reference(name, value, SOURCE, GREY) for name, value in PUBLISHED.items()], ax)
axes[0].legend(fontsize=9)
figure.suptitle(f"Test accuracy over the penalty, mean over seeds and 95 % interval\n{run.subtitle}", fontsize=11)
run.figure(figure, "strength")

# %% [markdown]
# ## What is drawn below
# Pixels where the run has them (else means of 2 x 2), at the penalty chosen on validation, of the first seed.

# %%
shown = next((f for f in ("pixels", "pooled") if f in set(done["features"])), None)
if shown is None:
    run.close([f"This run has only {tell.listing(list(groups))}: no pixel to draw. Run with --features pixels."])
    raise SystemExit
student = chosen[names[shown]].sort_values("seed").iloc[0]
lesson = views[(views["features"] == shown) & (views["seed"] == student["seed"])].iloc[0]
side, kept = int(lesson["side"]), np.frombuffer(lesson["kept"], np.int16).astype(int)
covariance = np.frombuffer(lesson["covariance"], np.float32).reshape(len(kept), -1).astype(float)
deviation = np.sqrt(np.diag(covariance))
correlation = covariance / deviation / deviation[:, None]
class_means = np.frombuffer(lesson["class_means"], np.float32).reshape(10, -1)


def own(table, student):
    """The lines of a further table that belong to a student, by pair."""
    lines = run.table(table)
    lines = lines[lines["student"] == student["student"]] if len(lines) else lines
    return lines.set_index(["first", "second"]).sort_index() if len(lines) else lines


INK = 0.01  # pixels with less mean ink in both classes are not tested: the normal approximation asks for more digits


def tested(lines, class_means):
    """Wald's z of the weights of the 45 models, NaN where not tested, and which of them differ from 0 after
    Benjamini-Hochberg over all that are tested: (45, F) each. class_means: mean ink by class, (10, F), or None."""
    w, deviation = (np.stack(lines.loc[PAIRS, name]).astype(float)[:, :-1] for name in ("weight", "sampling_error"))
    asked = deviation > 0
    if class_means is not None:
        asked &= np.stack([class_means[list(pair)].max(0) > INK for pair in PAIRS])
    z = np.divide(w, deviation, out=np.full(w.shape, np.nan), where=asked)
    found = np.zeros(z.shape, bool)
    found[asked] = statistics.benjamini_hochberg(2 * norm.sf(np.abs(z[asked]))) < 0.05
    return z, found


results, estimates, errors, shared = (own(t, student) for t in ("pairs", "weights", "errors", "weight_correlations"))
weight, error, spread = (
    {p: np.asarray(line[name], float)[:-1] for p, line in estimates.iterrows()}
    for name in ("weight", "error", "sampling_error")
)
z, significant = (dict(zip(PAIRS, values, strict=True)) for values in tested(estimates, class_means))
accuracy = {
    p: statistics.wilson(round(r["test_accuracy"] * r["test_digits"]), int(r["test_digits"]))
    for p, r in results.iterrows()
}
hardest = sorted(PAIRS, key=lambda p: results.loc[p, "val_accuracy"])
which = f"{names[shown]}, l2 = {student['l2']:g}, seed {student['seed']}"

# %% [markdown]
# ## The features' covariance
# Of the training digits, and scaled to correlation. In the order of the grid, neighbours in a row lie side by side; in
# clustered order (average linkage on 1 - |r|) what varies together does.

# %%
distance = np.maximum(1 - np.abs(correlation), 0)  # rounding makes some correlations exceed 1
np.fill_diagonal(distance, 0)
clustered = leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=len(kept) < 1000))
figure, axes = plt.subplots(1, 3, figsize=(17, 6), layout="constrained")
bound = np.quantile(np.abs(covariance), 0.995)
for ax, values, limit, title in (
    (axes[0], covariance, bound, "covariance, order of the grid (row by row)"),
    (axes[1], correlation, 1, "correlation, order of the grid"),
    (axes[2], correlation[np.ix_(clustered, clustered)], 1, "correlation, clustered order"),
):
    image = matrix(values, ax, limit)
    figure.colorbar(image, ax=ax, shrink=0.75)
    ax.set_title(title, fontsize=11)
figure.suptitle(
    f"Covariance of the features: {len(kept)} {names[shown]} that vary, {lesson['constant']} constant ones dropped\n{run.subtitle}",
    fontsize=11,
)
run.figure(figure, "covariance")

# %% [markdown]
# ## Correlations with chosen pixels
# The variable pixel nearest to each of nine places of the grid (cross): its correlation with all others. Grey: constant.

# %%
spread_out = [round(side * f) for f in (0.3, 0.5, 0.7)]
figure, axes = plt.subplots(3, 3, figsize=(10.5, 11), layout="constrained")
for ax, (y, x) in zip(axes.flat, [(y, x) for y in spread_out for x in spread_out], strict=True):
    pixel = np.argmin((kept // side - y) ** 2 + (kept % side - x) ** 2)
    image = pixel_map(correlation[pixel], kept, side, ax, 1)
    ax.plot(kept[pixel] % side, kept[pixel] // side, "x", color="black", markersize=9, markeredgewidth=2)
    ax.set_title(f"row {kept[pixel] // side}, column {kept[pixel] % side}", fontsize=10)
figure.colorbar(image, ax=axes, shrink=0.5, label="correlation")
figure.suptitle(f"Correlation of a pixel (cross) with all others: {names[shown]}\n{run.subtitle}", fontsize=11)
run.figure(figure, "correlation_maps")

# %% [markdown]
# ## The strongest dependencies
# Lines join pixels. Correlations are strongest between neighbours, so the middle shows those at least a quarter of the grid
# apart. Partial correlations hold all other pixels fixed: what two pixels share that no third one tells (from the inverse
# correlation matrix with a ridge, since it is nearly singular).

# %%
RIDGE, LINKS, FAR = 0.01, 120, 40
often = class_means.mean(0) > 0.02  # pixels that are hardly ever inked correlate by a handful of digits
partial = statistics.partial_correlations(correlation, RIDGE)
above = np.triu_indices(len(kept), 1)
pairs_of_pixels = np.stack(above, 1)
usable = often[pairs_of_pixels].all(1)
apart = np.hypot(*(np.stack([kept // side, kept % side])[:, pairs_of_pixels] @ [1, -1]))  # (pairs,) distances in pixels
selections = {
    "strongest correlations": (correlation[above], usable),
    f"strongest correlations at least {side // 4} pixels apart": (correlation[above], usable & (apart >= side // 4)),
    "strongest partial correlations": (partial[above], usable),
    f"strongest partial correlations at least {side // 4} pixels apart": (
        partial[above],
        usable & (apart >= side // 4),
    ),
}
figure, axes = plt.subplots(1, 4, figsize=(20, 6), layout="constrained")
strongest = {}
for ax, (title, (values, allowed)) in zip(axes, selections.items(), strict=True):
    candidates = np.flatnonzero(allowed)
    top = candidates[np.argsort(-np.abs(values[candidates]))[: FAR if "apart" in title else LINKS]]
    strongest[title] = top
    ax.imshow(picture(class_means.mean(0), kept, side), cmap="Greys", alpha=0.45)
    links(pairs_of_pixels[top], values[top], kept, side, ax)
    ax.set_title(
        f"{len(top)} {title}\n|r| {np.abs(values[top]).min():.2f} to {np.abs(values[top]).max():.2f}", fontsize=10.5
    )
figure.suptitle(
    f"Dependencies between pixels over the mean digit: red positive, blue negative\n{run.subtitle}", fontsize=11
)
run.figure(figure, "dependencies")

# %% [markdown]
# ## Covariance of the estimated weights
# The inverse Fisher information of the hardest pair (on validation), scaled to correlation: neighbouring weights are
# estimated against each other. With a penalty it is the covariance of Laplace's approximation.

# %%
if len(shared):
    pair = shared.index[0]
    estimated = np.frombuffer(shared.iloc[0]["correlation"], np.float16).astype(float)
    estimated = estimated.reshape(len(kept) + 1, -1)[:-1, :-1]
    figure, axes = plt.subplots(1, 4, figsize=(20, 5.6), layout="constrained")
    off = np.abs(estimated[above])
    image = matrix(estimated[np.ix_(clustered, clustered)], axes[0], np.quantile(off, 0.999))
    figure.colorbar(image, ax=axes[0], shrink=0.75)
    axes[0].set_title("correlation of the weights, order clustered as above", fontsize=10.5)
    image = axes[1].imshow(picture(error[pair], kept, side), cmap="viridis")
    axes[1].set(xticks=[], yticks=[], facecolor="0.82")
    figure.colorbar(image, ax=axes[1], shrink=0.75)
    axes[1].set_title("standard error of each weight", fontsize=10.5)
    pixel = np.nanargmax(np.abs(z[pair]))
    around = np.where(np.arange(len(kept)) == pixel, np.nan, estimated[pixel])
    figure.colorbar(pixel_map(around, kept, side, axes[2]), ax=axes[2], shrink=0.75)
    axes[2].plot(kept[pixel] % side, kept[pixel] // side, "x", color="black", markersize=9, markeredgewidth=2)
    axes[2].set_title("correlation with the most significant weight (cross)", fontsize=10.5)
    top = np.argsort(-np.where(often[pairs_of_pixels].all(1), off, 0))[:LINKS]
    axes[3].imshow(picture(class_means[list(pair)].mean(0), kept, side), cmap="Greys", alpha=0.45)
    links(pairs_of_pixels[top], estimated[above][top], kept, side, axes[3])
    axes[3].set_title(f"{LINKS} strongest correlations of weights", fontsize=10.5)
    figure.suptitle(
        f"Covariance of the estimated weights, {pair[0]} against {pair[1]}: {which}\n{run.subtitle}", fontsize=11
    )
    run.figure(figure, "weight_covariance")

# %% [markdown]
# ## Weights, intervals, significance
# The hardest pairs, then the easiest. Above: the weights, red speaks for the second digit, blue for the first. Middle: weight
# over standard error, grey where too few digits have ink. Below: only weights that are significant after
# Benjamini-Hochberg at 5 % over all 45 models. The standard error is that of the penalised weight over data sets,
# H⁻¹JH⁻¹ with the Fisher information J, so the question is whether endless data would give this weight under this penalty.

# %%
columns = [*hardest[:4], *hardest[-2:]]
figure, axes = plt.subplots(3, len(columns), figsize=(3.1 * len(columns), 9.6), layout="constrained")
for column, p in zip(axes.T, columns, strict=True):
    pixel_map(weight[p], kept, side, column[0])
    image = pixel_map(z[p], kept, side, column[1], 10)
    pixel_map(np.where(significant[p], weight[p], 0), kept, side, column[2])
    column[0].set_title(f"{p[0]} against {p[1]}: {100 * accuracy[p].mean:.1f} %", fontsize=11)
    column[2].set_title(f"{significant[p].sum()} of {len(kept)} significant", fontsize=10)
figure.colorbar(image, ax=axes[1], shrink=0.9, label="weight / standard error")
for ax, text in zip(axes[:, 0], ("weights", "Wald z", "significant weights"), strict=True):
    ax.set_ylabel(text, fontsize=11)
figure.suptitle(
    f"Weights of the four hardest and two easiest pairs, test accuracy, each map on its own scale: {which}\n{run.subtitle}",
    fontsize=11,
)
run.figure(figure, "weights")

# %% [markdown]
# The most significant weights of the hardest pairs with their 95 % Wald intervals.

# %%
figure, axes = plt.subplots(1, 3, figsize=(15, 6), layout="constrained")
for ax, p in zip(axes, hardest[:3], strict=True):
    top = np.argsort(-np.abs(np.nan_to_num(z[p])))[:20][::-1]
    colors = np.where(weight[p][top] > 0, "#B2182B", "#2166AC")
    for y, (i, color) in enumerate(zip(top, colors, strict=True)):
        ax.errorbar(weight[p][i], y, xerr=norm.ppf(0.975) * spread[p][i], fmt="o", color=color, capsize=3, markersize=4)
    ax.axvline(0, color="0.4", linewidth=0.8)
    ax.set_yticks(
        range(len(top)),
        [f"row {kept[i] // side}, col {kept[i] % side}{'' if significant[p][i] else ' (n.s.)'}" for i in top],
    )
    ax.set(title=f"{p[0]} against {p[1]}", xlabel="weight per standard deviation of the pixel")
figure.suptitle(
    f"Twenty most significant weights, 95 % Wald intervals; n.s.: not after Benjamini-Hochberg\n{which}\n{run.subtitle}",
    fontsize=11,
)
run.figure(figure, "wald")

# %% [markdown]
# ## All pairs in one picture
# Below the diagonal the weights (red speaks for the row's digit, blue for the column's), on it the mean digits, above it the
# test accuracy in per cent.

# %%
low = min(a.mean for a in accuracy.values())
scale = plt.cm.ScalarMappable(plt.Normalize(100 * low, 100), "viridis")
figure, axes = plt.subplots(10, 10, figsize=(13, 13.6), gridspec_kw={"wspace": 0.04, "hspace": 0.04})
figure.subplots_adjust(0.04, 0.02, 0.9, 0.9)
for i, j in np.ndindex(10, 10):
    ax = axes[i, j]
    if i == j:
        digit(picture(class_means[i], kept, side), ax)
    elif i > j:
        pixel_map(weight[j, i], kept, side, ax)
    else:
        value = 100 * accuracy[i, j].mean
        face = scale.to_rgba(np.array([value]))[0]
        ax.set(facecolor=face, xticks=[], yticks=[], box_aspect=1)
        dark = np.dot(face[:3], (0.299, 0.587, 0.114)) < 0.5
        ax.text(
            0.5,
            0.5,
            f"{value:.1f}",
            ha="center",
            va="center",
            transform=ax.transAxes,
            fontsize=13,
            color="white" if dark else "black",
        )
    if i == 0:
        ax.set_title(str(j), fontsize=13)
    if j == 0:
        ax.set_ylabel(str(i), fontsize=13, rotation=0, labelpad=12, va="center")
figure.colorbar(scale, cax=figure.add_axes((0.92, 0.3, 0.015, 0.4)), label="test accuracy, %")
figure.suptitle(f"45 pairs: weights below the diagonal, test accuracy above: {which}\n{run.subtitle}", fontsize=11.5)
run.figure(figure, "mosaic")

# %% [markdown]
# ## The hardest pairs and their errors
# Chosen on validation. The test digits that each model gets most wrong, surest error first; the number is the probability it
# gives to the other digit.

# %%
listed = [p for p in hardest if len(errors) and p in errors.index][:5]
if listed:
    across = 12
    figure, axes = plt.subplots(
        len(listed), across, figsize=(14, 1.75 * len(listed) + 1), layout="constrained", squeeze=False
    )
    for row, p in zip(axes, listed, strict=True):
        worst = errors.loc[[p]].sort_values("probability", ascending=False).head(across)
        for ax in row[len(worst) :]:
            ax.set_visible(False)
        for ax, (_, e) in zip(row, worst.iterrows(), strict=False):
            digit(np.frombuffer(e["image"], np.uint8).reshape(28, 28), ax)
            ax.set_title(f"{e['label']} taken for {sum(p) - e['label']}\n{e['probability']:.2f}", fontsize=9)
        wrong = round((1 - accuracy[p].mean) * accuracy[p].n)
        row[0].set_ylabel(
            f"{p[0]} / {p[1]}\n{wrong} of {accuracy[p].n}\nwrong",
            fontsize=10,
            rotation=0,
            ha="right",
            va="center",
            labelpad=8,
        )
    figure.suptitle(
        f"Test digits that the hardest pairs get most wrong, and the probability of the wrong answer\n{which}\n{run.subtitle}",
        fontsize=11,
    )
    run.figure(figure, "errors")

# %% [markdown]
# ## Separable pairs
# Where a hyperplane separates the training digits, the likelihood has no maximum: it grows as the weights do without end. A
# hyperplane with a positive least margin proves it. Where none is found, the distance of two points in the classes' convex
# hulls bounds the margin that one could have. The penalised weights are finite all the same: their length over the penalty.

# %%
proofs = run.table("separability")
figure, axes = plt.subplots(1, len(groups), figsize=(6.4 * len(groups), 5.4), layout="constrained", squeeze=False)
separable = {}
for ax, (name, part) in zip(axes[0], groups.items(), strict=True):
    seed = part["seed"].min()
    mine = pairs[pairs["student"].isin(part["student"]) & (pairs["seed"] == seed)]
    proof = proofs[proofs["student"].isin(part["student"])]
    separable[name] = proof[proof["seed"] == seed].groupby(["first", "second"])["separable"].any()
    for p, line in mine.sort_values("l2").groupby(["first", "second"]):
        color = ORANGE if separable[name].get(p, False) else BLUE
        ax.plot(positions(line["l2"], "l2"), line["norm"], color=color, alpha=0.6, linewidth=1)
    for color, text in (
        (ORANGE, f"separable: {separable[name].sum()}"),
        (BLUE, f"no hyperplane found: {(~separable[name]).sum()}"),
    ):
        ax.plot([], [], color=color, label=text)
    dress(ax.xaxis, mine["l2"], "l2")
    ax.set(yscale="log", ylabel="length of the weights |w|", title=name)
    ax.legend(fontsize=9)
figure.suptitle(f"Length of the 45 weight vectors over the penalty\n{run.subtitle}", fontsize=11)
run.figure(figure, "separability")

# %% [markdown]
# ## What came out
# Computed from the rows.


# %%
def pair_list(found):
    return ", ".join(f"{a}/{b}" for a, b in found)


def feature_sentences():
    for name, part in groups.items():
        first = part.iloc[0]
        of = views[(views["features"] == first["features"]) & (views["components"] == first["components"])]
        line = of.sort_values("seed").iloc[0]
        dropped = sorted(set(of["constant"]))
        count = f"{dropped[0]}" if len(dropped) == 1 else f"{dropped[0]} to {dropped[-1]} (by seed)"
        text = f"**{name[0].upper()}{name[1:]}**: {count} of {line['side'] ** 2} are constant over the training digits and dropped"
        if first["features"] == "pca":
            text += f"; {line['count']} components hold {100 * line['explained']:.1f} % of the variance of the rest"
        yield text + "."


def strength_sentences():
    for name, verdict in verdicts.items():
        rows = chosen[name]
        text = f"**{name[0].upper()}{name[1:]}**: validation chooses l2 = {verdict.best['l2']:g}; mean test accuracy of the 45 pairs "
        text += f"{tell.percent(statistics.interval(rows['test_accuracy']))}; ten classes by vote {tell.percent(statistics.interval(rows['vote_accuracy']))}. "
        if not verdict.rivals:
            text += "It has no rival."
        elif verdict.n < 2:
            text += "One seed says nothing about noise."
        elif verdict.stands_out:
            text += (
                f"It stands out from its {tell.count(verdict.rivals, 'rival')} (paired t over seeds, Holm-corrected)."
            )
        else:
            tied = ", ".join(f"{cell['l2']:g}" for cell in verdict.ties)
            text += f"It is a tie with {len(verdict.ties)} of {tell.count(verdict.rivals, 'rival')} (paired t over seeds, Holm-corrected): l2 = {tied}."
        edge = groups[name]["l2"]
        if verdict.rivals > 1 and verdict.best["l2"] in (edge.min(), edge.max()):
            text += f" It is at the edge of what was tried ({edge.min():g} to {edge.max():g})."
        yield text


def comparison_sentences():
    for a, b in combinations(groups, 2):
        difference = statistics.paired(*(chosen[n].set_index("seed")["test_accuracy"] for n in (a, b)))
        yield f"{a[0].upper()}{a[1:]} against {b}, paired by seed: {tell.points(difference)} on the mean test accuracy: {tell.moves(difference)}."


def pair_sentences():
    said = "; ".join(f"{p[0]}/{p[1]} {tell.percent(accuracy[p])}" for p in hardest[:5])
    yield f"The hardest pairs by validation ({which}), with test accuracy and Wilson's interval over test digits: {said}."
    easiest = "; ".join(f"{p[0]}/{p[1]} {tell.percent(accuracy[p])}" for p in hardest[:-4:-1])
    yield f"The easiest: {easiest}."
    yield (
        f"Published for comparison: error 12.0 % for a linear classifier and 7.6 % for a pairwise linear classifier on deskewed "
        f"digits ({SOURCE}); ours are not deskewed."
    )


def significance_sentences():
    for name, rows in chosen.items():
        one = rows.sort_values("seed").iloc[0]
        view = views[(views["features"] == one["features"]) & (views["seed"] == one["seed"])].iloc[0]
        ink = None if one["features"] == "pca" else np.frombuffer(view["class_means"], np.float32).reshape(10, -1)
        z, found = tested(own("weights", one), ink)
        asked = int((~np.isnan(z)).sum())
        most = int(found.sum(1).argmax())
        yield (
            f"**{name[0].upper()}{name[1:]}**, l2 = {one['l2']:g}, seed {one['seed']}: after Benjamini-Hochberg at 5 % over the "
            f"{asked:,} weights of the 45 models that are tested, {found.sum():,} are significant ({100 * found.sum() / asked:.0f} %); "
            f"most of one pair: {PAIRS[most][0]}/{PAIRS[most][1]}, {found[most].sum()}."
        )


def dependency_sentences():
    for title in ("strongest correlations", "strongest partial correlations"):
        values = selections[title][0][strongest[title]]
        near = (apart[strongest[title]] < 1.5).mean()
        yield (
            f"Of the {LINKS} {title} ({np.abs(values).min():.2f} to {np.abs(values).max():.2f} in size) {100 * near:.0f} % join touching "
            f"pixels and {100 * (values > 0).mean():.0f} % are positive."
        )


def separability_sentences():
    for name, found in separable.items():
        proof = proofs[proofs["student"].isin(groups[name]["student"])]
        counts = proof.groupby(["seed", "first", "second"])["separable"].any().groupby("seed").sum()
        low, high = int(counts.min()), int(counts.max())
        rest = found.index[~found]
        few = f"all but {pair_list(rest)}" if len(rest) < 23 else pair_list(found.index[found])
        text = f"**Separable with {name}**: {low if low == high else f'{low} to {high} (by seed)'} of 45 pairs"
        text += f" ({few}; one seed)" if found.any() and len(rest) else ""
        if found.any():
            text += ": a hyperplane separates their training digits, so they have no finite maximum-likelihood solution, and what is reported is the penalised one"
        if len(rest):
            of = proof.set_index(["first", "second"]).loc[list(rest)]
            text += (
                f". For the others none was found down to l2 = {of['at_l2'].min():.0e}; by the distance of points in their convex "
                f"hulls none has a margin above {of['margin_bound'].max():.2g} standard deviations (median {of['margin_bound'].median():.1g})"
            )
        yield text + "."


run.close(
    [
        *feature_sentences(),
        *strength_sentences(),
        *comparison_sentences(),
        *pair_sentences(),
        *significance_sentences(),
        *dependency_sentences(),
        *separability_sentences(),
        *run.caveats(),
    ]
)
