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
from scipy.stats import norm

from analysis.core import blocks, pairs, report, tell
from analysis.core.choice import choices
from analysis.core.figures.pixels import digit, links, matrix, picture, pixel_map
from analysis.core.figures.references import Reference
from analysis.core.figures.scales import dress, positions
from analysis.core.settings import select

NAMES = {"pixels": "pixels", "pooled": "means of 2 x 2 pixels", "pca": "principal components"}
run = report.open("pairwise_logreg")
views = run.table("features")


def called(axes):
    """A view in words: `64 principal components`."""
    return f"{axes['components']} {NAMES['pca']}" if axes["features"] == "pca" else NAMES[axes["features"]]


settings = run.settings(but=["l2"], first=["features", "components"], canonical=True)
chosen = choices(settings, ["l2"])
name = {s.name: called(s.axes) for s in settings}
asked = run.students.assign(view=[called(line) for line in run.students[["features", "components"]].to_dict("records")])

# %% [markdown]
# ## Accuracy over the penalty
# Mean test accuracy of the 45 models; the accuracy of the hardest pair; ten classes by vote, each model having one vote, where dashed
# lines are published linear classifiers. The star is the penalty chosen on validation.

# %%
SOURCE = "LeCun et al. 1998, the table on the MNIST page"
PUBLISHED = [
    Reference("pairwise linear classifier, deskewed", 92.4, SOURCE, "0.45"),
    Reference("linear classifier", 88.0, SOURCE, "0.45"),
]
WHAT = {
    "mean of 45 pairs": "test_accuracy",
    "hardest pair": "worst_test_accuracy",
    "ten classes by vote": "vote_accuracy",
}


def star(ax, panel):
    """The penalty that validation chose for each view."""
    for setting in settings:
        best = {"view": name[setting.name], **chosen[setting.name].best}
        height = 100 * select(panel.table, best)["accuracy"].mean()
        at = positions([best["l2"]], "l2")
        ax.plot(at, [height], "*", color="white", markeredgecolor="black", markersize=14, zorder=5)
    if panel.values["what"] == "ten classes by vote":
        ax.set_ylim(min(87.5, 100 * panel.table["accuracy"].min() - 0.5), None)


told = [asked.assign(what=what, accuracy=asked[metric]) for what, metric in WHAT.items()]
blocks.learning(
    run, pd.concat(told, ignore_index=True), "l2", "accuracy", "Test accuracy over the penalty, mean over seeds and 95 % interval", per="view",
    columns=["what"], levels=lambda panel: PUBLISHED * (panel["what"] == "ten classes by vote"), limits=(None, None), also=star,
    name="strength", ylabel="test accuracy, %", legend="", share=False, note="star: chosen on validation",
)  # fmt: skip

# %% [markdown]
# ## What is drawn below
# Pixels where the run has them (else means of 2 x 2), at the penalty chosen on validation, of the first seed. A run of principal
# components alone has no pixels to draw.


# %%
def own(table, student):
    """The lines of a further table that belong to a student, by pair."""
    lines = run.table(table)
    return select(lines, {"student": student}).set_index(["first", "second"]).sort_index() if len(lines) else lines


def view_of(line):
    """The line of the table of views that a student saw."""
    return select(views, {k: line[k] for k in ("features", "components", "seed")}).iloc[0]


drawn = next((s for f in ("pixels", "pooled") for s in settings if s.axes["features"] == f), None)
student = chosen[drawn.name].students.iloc[0] if drawn else None
seen = pairs.view(view_of(student)) if drawn else None
which = f"{name[drawn.name]}, l2 = {student['l2']:g}, seed {student['seed']}" if drawn else ""
order = pairs.clustered(seen.correlation) if drawn else None


def estimates():
    """By pair: weights, their standard errors, those over data sets, Wald's z, and which are significant; (F,) each."""
    lines = own("weights", student["student"])
    z, found = pairs.tested(lines, seen.class_means)
    arrays = {
        k: [np.asarray(line, float)[:-1] for line in lines.loc[pairs.PAIRS, k]]
        for k in ("weight", "error", "sampling_error")
    }
    return {k: dict(zip(pairs.PAIRS, v, strict=True)) for k, v in {**arrays, "z": z, "significant": found}.items()}


def accuracies():
    """By pair: test accuracy with Wilson's interval; and the pairs from the hardest on, by validation."""
    results = own("pairs", student["student"])
    found = {
        p: pairs.wilson(round(r["test_accuracy"] * r["test_digits"]), int(r["test_digits"]))
        for p, r in results.iterrows()
    }
    return found, sorted(pairs.PAIRS, key=lambda p: results.loc[p, "val_accuracy"])


weights = estimates() if drawn else {}
accuracy, hardest = accuracies() if drawn else ({}, [])

# %% [markdown]
# ## The features' covariance
# Of the training digits, and scaled to correlation. In the order of the grid, neighbours in a row lie side by side; in
# clustered order (average linkage on 1 - |r|) what varies together does.


# %%
def finish(figure, heading, file, note=""):
    figure.suptitle(run.title(heading, note), fontsize=11)
    run.figure(figure, file)


def covariance():
    figure, axes = plt.subplots(1, 3, figsize=(17, 6), layout="constrained")
    bound, r = np.quantile(np.abs(seen.covariance), 0.995), seen.correlation
    for ax, values, limit, title in (
        (axes[0], seen.covariance, bound, "covariance, order of the grid (row by row)"),
        (axes[1], r, 1, "correlation, order of the grid"),
        (axes[2], r[np.ix_(order, order)], 1, "correlation, clustered order"),
    ):
        figure.colorbar(matrix(values, ax, limit), ax=ax, shrink=0.75)
        ax.set_title(title, fontsize=11)
    what = f"{len(seen.kept)} {name[drawn.name]} that vary, {seen.constant} constant ones dropped"
    finish(figure, f"Covariance of the features: {what}", "covariance")


def correlation_maps():
    places = [round(seen.side * f) for f in (0.3, 0.5, 0.7)]
    figure, axes = plt.subplots(3, 3, figsize=(10.5, 11), layout="constrained")
    for ax, (y, x) in zip(axes.flat, [(y, x) for y in places for x in places], strict=True):
        pixel = seen.nearest(y, x)
        image = pixel_map(seen.correlation[pixel], seen.kept, seen.side, ax, 1)
        ax.plot(seen.column[pixel], seen.row[pixel], "x", color="black", markersize=9, markeredgewidth=2)
        ax.set_title(f"row {seen.row[pixel]}, column {seen.column[pixel]}", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.5, label="correlation")
    finish(figure, f"Correlation of a pixel (cross) with all others: {name[drawn.name]}", "correlation_maps")


if drawn:
    covariance()
    correlation_maps()

# %% [markdown]
# ## The strongest dependencies
# Lines join pixels. Correlations are strongest between neighbours, so some panels show those at least a quarter of the grid
# apart. Partial correlations hold all other pixels fixed: what two pixels share that no third one tells (from the inverse
# correlation matrix with a ridge, since it is nearly singular).

# %%
RIDGE, LINKS, FAR = 0.01, 120, 40


def selections():
    """{what: (strength of every link, the strongest)}, of correlations and partial correlations, near and far."""
    every, found = seen.links(), {}
    for kind, values in (("", seen.correlation), ("partial ", pairs.partial_correlations(seen.correlation, RIDGE))):
        strength, far = values[every["first"], every["second"]], every["apart"] >= seen.side // 4
        found[f"strongest {kind}correlations"] = strength, pairs.strongest(strength, every["often"], LINKS)
        where = f"strongest {kind}correlations at least {seen.side // 4} pixels apart"
        found[where] = strength, pairs.strongest(strength, every["often"] & far, FAR)
    return found


def linked(strength, top, background, ax):
    ax.imshow(picture(background, seen.kept, seen.side), cmap="Greys", alpha=0.45)
    links(seen.links()[["first", "second"]].to_numpy()[top], strength[top], seen.kept, seen.side, ax)


def dependencies():
    figure, axes = plt.subplots(1, 4, figsize=(20, 6), layout="constrained")
    for ax, (title, (strength, top)) in zip(axes, strong.items(), strict=True):
        linked(strength, top, seen.class_means.mean(0), ax)
        sizes = np.abs(strength[top])
        ax.set_title(f"{len(top)} {title}\n|r| {sizes.min():.2f} to {sizes.max():.2f}", fontsize=10.5)
    finish(figure, "Dependencies between pixels over the mean digit: red positive, blue negative", "dependencies")


strong = selections() if drawn else {}
if drawn:
    dependencies()

# %% [markdown]
# ## Covariance of the estimated weights
# The inverse Fisher information of the hardest pair (on validation), scaled to correlation: neighbouring weights are
# estimated against each other. With a penalty it is the covariance of Laplace's approximation.


# %%
def weight_covariance(shared):
    pair, every = shared.index[0], seen.links()
    r = np.frombuffer(shared.iloc[0]["correlation"], np.float16).astype(float).reshape(len(seen.kept) + 1, -1)[:-1, :-1]
    strength = r[every["first"], every["second"]]
    figure, axes = plt.subplots(1, 4, figsize=(20, 5.6), layout="constrained")
    image = matrix(r[np.ix_(order, order)], axes[0], np.quantile(np.abs(strength), 0.999))
    errors = axes[1].imshow(picture(weights["error"][pair], seen.kept, seen.side), cmap="viridis")
    axes[1].set(xticks=[], yticks=[], facecolor="0.82")
    pixel = np.nanargmax(np.abs(weights["z"][pair]))
    around = np.where(np.arange(len(seen.kept)) == pixel, np.nan, r[pixel])
    for ax, shown in zip(axes, (image, errors, pixel_map(around, seen.kept, seen.side, axes[2])), strict=False):
        figure.colorbar(shown, ax=ax, shrink=0.75)
    axes[2].plot(seen.column[pixel], seen.row[pixel], "x", color="black", markersize=9, markeredgewidth=2)
    linked(strength, pairs.strongest(strength, every["often"], LINKS), seen.class_means[list(pair)].mean(0), axes[3])
    for ax, title in zip(axes, (
        "correlation of the weights, order clustered as above", "standard error of each weight",
        "correlation with the most significant weight (cross)", f"{LINKS} strongest correlations of weights",
    ), strict=True):  # fmt: skip
        ax.set_title(title, fontsize=10.5)
    finish(figure, f"Covariance of the estimated weights, {pair[0]} against {pair[1]}: {which}", "weight_covariance")


if drawn and len(own("weight_correlations", student["student"])):
    weight_covariance(own("weight_correlations", student["student"]))

# %% [markdown]
# ## Weights, intervals, significance
# The hardest pairs, then the easiest. Above: the weights, red speaks for the second digit, blue for the first. Middle: weight
# over standard error, grey where too few digits have ink. Below: only weights that are significant after
# Benjamini-Hochberg at 5 % over all 45 models. The standard error is that of the penalised weight over data sets,
# H⁻¹JH⁻¹ with the Fisher information J, so the question is whether endless data would give this weight under this penalty.


# %%
def weight_maps():
    shown = [*hardest[:4], *hardest[-2:]]
    figure, axes = plt.subplots(3, len(shown), figsize=(3.1 * len(shown), 9.6), layout="constrained")
    for column, p in zip(axes.T, shown, strict=True):
        w, significant = weights["weight"][p], weights["significant"][p]
        pixel_map(w, seen.kept, seen.side, column[0])
        image = pixel_map(weights["z"][p], seen.kept, seen.side, column[1], 10)
        pixel_map(np.where(significant, w, 0), seen.kept, seen.side, column[2])
        column[0].set_title(f"{p[0]} against {p[1]}: {100 * accuracy[p].mean:.1f} %", fontsize=11)
        column[2].set_title(f"{significant.sum()} of {len(seen.kept)} significant", fontsize=10)
    figure.colorbar(image, ax=axes[1], shrink=0.9, label="weight / standard error")
    for ax, text in zip(axes[:, 0], ("weights", "Wald z", "significant weights"), strict=True):
        ax.set_ylabel(text, fontsize=11)
    heading = "Weights of the four hardest and two easiest pairs, test accuracy, each map on its own scale"
    finish(figure, f"{heading}: {which}", "weights", "red speaks for the second digit, blue for the first")


def wald():
    figure, axes = plt.subplots(1, 3, figsize=(15, 6), layout="constrained")
    for ax, p in zip(axes, hardest[:3], strict=True):
        w, spread = weights["weight"][p], norm.ppf(0.975) * weights["sampling_error"][p]
        top = np.argsort(-np.abs(np.nan_to_num(weights["z"][p])))[:20][::-1]
        for y, i in enumerate(top):
            color = "#B2182B" if w[i] > 0 else "#2166AC"
            ax.errorbar(w[i], y, xerr=spread[i], fmt="o", color=color, capsize=3, markersize=4)
        ax.axvline(0, color="0.4", linewidth=0.8)
        marks = ["" if weights["significant"][p][i] else " (n.s.)" for i in top]
        rows = [f"row {seen.row[i]}, col {seen.column[i]}{mark}" for i, mark in zip(top, marks, strict=True)]
        ax.set_yticks(range(len(top)), rows)
        ax.set(title=f"{p[0]} against {p[1]}", xlabel="weight per standard deviation of the pixel")
    heading = "Twenty most significant weights, 95 % Wald intervals; n.s.: not after Benjamini-Hochberg"
    finish(figure, f"{heading}\n{which}", "wald", "red speaks for the second digit, blue for the first")


if drawn:
    weight_maps()
    wald()

# %% [markdown]
# ## All pairs in one picture
# Below the diagonal the weights (red speaks for the row's digit, blue for the column's), on it the mean digits, above it the
# test accuracy in per cent.


# %%
def mosaic():
    scale = plt.cm.ScalarMappable(plt.Normalize(100 * min(a.mean for a in accuracy.values()), 100), "viridis")
    figure, axes = plt.subplots(10, 10, figsize=(13, 13.8), gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    figure.subplots_adjust(0.04, 0.02, 0.9, 0.89)
    for i, j in np.ndindex(10, 10):
        ax = axes[i, j]
        if i == j:
            digit(picture(seen.class_means[i], seen.kept, seen.side), ax)
        elif i > j:
            pixel_map(weights["weight"][j, i], seen.kept, seen.side, ax)
        else:
            value = 100 * accuracy[i, j].mean
            face = scale.to_rgba(np.array([value]))[0]
            ax.set(facecolor=face, xticks=[], yticks=[], box_aspect=1)
            color = "white" if np.dot(face[:3], (0.299, 0.587, 0.114)) < 0.5 else "black"
            style = {"ha": "center", "va": "center", "fontsize": 13}
            ax.text(0.5, 0.5, f"{value:.1f}", transform=ax.transAxes, color=color, **style)
    for k in range(10):
        axes[0, k].set_title(str(k), fontsize=13, color="#2166AC")
        axes[k, 0].set_ylabel(str(k), fontsize=13, rotation=0, labelpad=12, va="center", color="#B2182B")
    figure.colorbar(scale, cax=figure.add_axes((0.92, 0.3, 0.015, 0.4)), label="test accuracy, %")
    note = "red speaks for the digit of the row, blue for that of the column"
    finish(figure, f"45 pairs: weights below the diagonal, test accuracy above: {which}", "mosaic", note)


if drawn:
    mosaic()

# %% [markdown]
# ## The hardest pairs and their errors
# Chosen on validation. The test digits that each model gets most wrong, surest error first; the number is the probability it
# gives to the other digit.

# %%
ACROSS = 12


def worst(errors, listed):
    size = (14, 1.75 * len(listed) + 1.2)
    figure, axes = plt.subplots(len(listed), ACROSS, figsize=size, layout="constrained", squeeze=False)
    for row, p in zip(axes, listed, strict=True):
        surest = errors.loc[[p]].sort_values("probability", ascending=False).head(ACROSS)
        for ax in row[len(surest) :]:
            ax.set_visible(False)
        for ax, (_, e) in zip(row, surest.iterrows(), strict=False):
            digit(np.frombuffer(e["image"], np.uint8).reshape(28, 28), ax)
            ax.set_title(f"{e['label']} taken for {sum(p) - e['label']}\n{e['probability']:.2f}", fontsize=9)
        wrong = round((1 - accuracy[p].mean) * accuracy[p].n)
        text = f"{p[0]} / {p[1]}\n{wrong} of {accuracy[p].n}\nwrong"
        row[0].set_ylabel(text, fontsize=10, rotation=0, ha="right", va="center", labelpad=8)
    heading = "Test digits that the hardest pairs get most wrong, and the probability of the wrong answer"
    finish(figure, f"{heading}\n{which}", "errors")


wrongs = own("errors", student["student"]) if drawn else []
listed = [p for p in hardest if len(wrongs) and p in wrongs.index][:5]
if listed:
    worst(wrongs, listed)

# %% [markdown]
# ## Separable pairs
# Where a hyperplane separates the training digits, the likelihood has no maximum: it grows as the weights do without end. A
# hyperplane with a positive least margin proves it. Where none is found, the distance of two points in the classes' convex
# hulls bounds the margin that one could have. The penalised weights are finite all the same: their length over the penalty.

# %%
proofs = run.table("separability")
SPLIT = {True: "#B35900", False: "#0072B2"}


def proof_of(setting):
    return proofs[proofs["student"].isin(setting.students["student"])]


def separable(setting):
    """Of the first seed: whether a hyperplane separates each pair."""
    proof = select(proof_of(setting), {"seed": setting.students["seed"].min()})
    return proof.groupby(["first", "second"])["separable"].any()


def lengths():
    """The length of each pair's weights over the penalty, of the first seed."""
    figure, axes = plt.subplots(
        1, len(settings), figsize=(max(9, 6.4 * len(settings)), 5.4), layout="constrained", squeeze=False
    )
    for setting, ax in zip(settings, axes[0], strict=True):
        found, first = separable(setting), setting.students[setting.students["seed"] == setting.students["seed"].min()]
        lines = run.table("pairs").merge(first[["student"]], on="student").sort_values("l2")
        for p, line in lines.groupby(["first", "second"]):
            color = SPLIT[bool(found.get(p, False))]
            ax.plot(positions(line["l2"], "l2"), line["norm"], color=color, alpha=0.6, linewidth=1)
        ax.plot([], [], color=SPLIT[True], label=f"separable: {found.sum()}")
        ax.plot([], [], color=SPLIT[False], label=f"no hyperplane found: {(~found).sum()}")
        dress(ax.xaxis, lines["l2"], "l2")
        ax.set(yscale="log", ylabel="length of the weights |w|", title=name[setting.name])
        ax.legend(fontsize=9)
    finish(figure, "Length of the 45 weight vectors over the penalty", "separability")


lengths()

# %% [markdown]
# ## What came out
# Computed from the rows.


# %%
def pair_list(found):
    return ", ".join(f"{a}/{b}" for a, b in found)


def feature_sentence(setting):
    of = select(views, {k: setting.axes[k] for k in ("features", "components")})
    line, dropped = of.sort_values("seed").iloc[0], sorted(set(of["constant"]))
    count = f"{dropped[0]}" if len(dropped) == 1 else f"{dropped[0]} to {dropped[-1]} (by seed)"
    text = f"**{tell.capital(name[setting.name])}**: {count} of {line['side'] ** 2} are constant over the training digits and dropped"
    if setting.axes["features"] == "pca":
        text += f"; {line['count']} components hold {100 * line['explained']:.1f} % of the variance of the rest"
    return text + "."


def strength_sentence(setting):
    choice = chosen[setting.name]
    mean, vote = (tell.percent(choice.by_seed(metric)) for metric in ("test_accuracy", "vote_accuracy"))
    worth = tell.choice(choice, lambda cell: f"l2 = {cell['l2']:g}", most=9, lead=False)
    return (
        f"**{tell.capital(name[setting.name])}**: validation chooses l2 = {choice.best['l2']:g}; mean test accuracy of the 45 pairs "
        f"{mean}; ten classes by vote {vote}. {worth} {tell.edge(choice, {'l2': 'l2'})}".strip()
    )


def comparison_sentence(a, b):
    difference = tell.difference(*(chosen[s.name].by_seed() for s in (a, b)))
    return (
        f"{tell.capital(name[a.name])} against {name[b.name]}, paired by seed: {difference}, on the mean test accuracy."
    )


def pair_sentences():
    first, last = (
        "; ".join(f"{p[0]}/{p[1]} {tell.percent(accuracy[p])}" for p in those)
        for those in (hardest[:5], hardest[:-4:-1])
    )
    yield f"The hardest pairs by validation ({which}), with test accuracy and Wilson's interval over test digits: {first}."
    yield f"The easiest: {last}."


# %%
def significance_sentence(setting):
    one = chosen[setting.name].students.iloc[0]
    ink = None if one["features"] == "pca" else pairs.inks(view_of(one))
    z, found = pairs.tested(own("weights", one["student"]), ink)
    count, most = int((~np.isnan(z)).sum()), int(found.sum(1).argmax())
    return (
        f"**{tell.capital(name[setting.name])}**, l2 = {one['l2']:g}, seed {one['seed']}: after Benjamini-Hochberg at 5 % over the "
        f"{count:,} weights of the 45 models that are tested, {found.sum():,} are significant ({100 * found.sum() / count:.0f} %); "
        f"most of one pair: {pairs.PAIRS[most][0]}/{pairs.PAIRS[most][1]}, {found[most].sum()}."
    )


def dependency_sentence(title):
    strength, top = strong[title]
    values, near = strength[top], (seen.links()["apart"].to_numpy()[top] < 1.5).mean()
    return (
        f"Of the {LINKS} {title} ({np.abs(values).min():.2f} to {np.abs(values).max():.2f} in size) {100 * near:.0f} % join touching "
        f"pixels and {100 * (values > 0).mean():.0f} % are positive."
    )


def separability_sentence(setting):
    found, proof = separable(setting), proof_of(setting)
    counts = proof.groupby(["seed", "first", "second"])["separable"].any().groupby("seed").sum()
    low, high, rest = int(counts.min()), int(counts.max()), found.index[~found]
    few = f"all but {pair_list(rest)}" if len(rest) < 23 else pair_list(found.index[found])
    text = (
        f"**Separable with {name[setting.name]}**: {low if low == high else f'{low} to {high} (by seed)'} of 45 pairs"
    )
    text += f" ({few}; one seed)" if found.any() and len(rest) else ""
    if found.any():
        text += ": a hyperplane separates their training digits, so they have no finite maximum-likelihood solution, and what is reported is the penalised one"
    if len(rest):
        of = proof.set_index(["first", "second"]).loc[list(rest)]
        text += (
            f". For the others none was found down to l2 = {of['at_l2'].min():.0e}; by the distance of points in their convex "
            f"hulls none has a margin above {of['margin_bound'].max():.2g} standard deviations (median {of['margin_bound'].median():.1g})"
        )
    return text + "."


# %%
published = (
    "Published for comparison: error 12.0 % for a linear classifier and 7.6 % for a pairwise linear classifier on deskewed "
    f"digits ({SOURCE}); ours are not deskewed."
)
titles = ("strongest correlations", "strongest partial correlations") if drawn else ()
run.close(
    [*map(strength_sentence, settings), *(pair_sentences() if drawn else ()), *map(separability_sentence, settings)],
    [
        *map(feature_sentence, settings),
        *(comparison_sentence(a, b) for a, b in combinations(settings, 2)),
        *map(significance_sentence, settings),
        *map(dependency_sentence, titles),
        published,
    ],
)
