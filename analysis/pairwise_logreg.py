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
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from analysis.core import blocks, pairs, report, tell
from analysis.core.choice import choices
from analysis.core.figures import pairs as figures
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


drawn: Any = next((s for f in ("pixels", "pooled") for s in settings if s.axes["features"] == f), None)
student: Any = chosen[drawn.name].students.iloc[0] if drawn else None
seen: Any = pairs.view(view_of(student)) if drawn else None
which = f"{name[drawn.name]}, l2 = {student['l2']:g}, seed {student['seed']}" if drawn else ""
order: Any = pairs.clustered(seen.correlation) if drawn else None


weights = pairs.estimates(own("weights", student["student"]), seen.class_means) if drawn else {}
accuracy, hardest = pairs.accuracies(own("pairs", student["student"])) if drawn else ({}, [])

# %% [markdown]
# ## The features' covariance
# Of the training digits, and scaled to correlation. In the order of the grid, neighbours in a row lie side by side; in
# clustered order (average linkage on 1 - |r|) what varies together does.


# %%
def finish(figure, heading, file, note=""):
    figure.suptitle(run.title(heading, note), fontsize=11)
    run.figure(figure, file)


if drawn:
    varying = f"{len(seen.kept)} {name[drawn.name]} that vary, {seen.constant} constant ones dropped"
    finish(figures.covariances(seen, order), f"Covariance of the features: {varying}", "covariance")
    heading = f"Correlation of a pixel (cross) with all others: {name[drawn.name]}"
    finish(figures.correlation_maps(seen), heading, "correlation_maps")

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


strong = selections() if drawn else {}
if drawn:
    over = "Dependencies between pixels over the mean digit: red positive, blue negative"
    finish(figures.dependencies(seen, strong), over, "dependencies")

# %% [markdown]
# ## Covariance of the estimated weights
# The inverse Fisher information of the hardest pair (on validation), scaled to correlation: neighbouring weights are
# estimated against each other. With a penalty it is the covariance of Laplace's approximation.


# %%
def weight_covariance(shared):
    pair, every = shared.index[0], seen.links()
    r = np.frombuffer(shared.iloc[0]["correlation"], np.float16).astype(float).reshape(len(seen.kept) + 1, -1)[:-1, :-1]
    top = pairs.strongest(r[every["first"], every["second"]], every["often"], LINKS)
    error, z = (weights[of][pair] for of in ("error", "z"))
    figure = figures.weight_covariance(seen, r, order, error, z, top, seen.class_means[list(pair)].mean(0))
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
COLOURS = "red speaks for the second digit, blue for the first"
if drawn:
    titles = {p: f"{p[0]} against {p[1]}: {100 * accuracy[p].mean:.1f} %" for p in (*hardest[:4], *hardest[-2:])}
    maps = "Weights of the four hardest and two easiest pairs, test accuracy, each map on its own scale"
    finish(figures.weight_maps(seen, weights, titles), f"{maps}: {which}", "weights", COLOURS)
    most = "Twenty most significant weights, 95 % Wald intervals; n.s.: not after Benjamini-Hochberg"
    finish(figures.wald(seen, weights, hardest[:3]), f"{most}\n{which}", "wald", COLOURS)

# %% [markdown]
# ## All pairs in one picture
# Below the diagonal the weights (red speaks for the row's digit, blue for the column's), on it the mean digits, above it the
# test accuracy in per cent.


# %%
if drawn:
    all_pairs = f"45 pairs: weights below the diagonal, test accuracy above: {which}"
    note = "red speaks for the digit of the row, blue for that of the column"
    finish(figures.mosaic(seen, weights["weight"], accuracy), all_pairs, "mosaic", note)

# %% [markdown]
# ## The hardest pairs and their errors
# Chosen on validation. The test digits that each model gets most wrong, surest error first; the number is the probability it
# gives to the other digit.


# %%
def missed(pair):
    wrong, n = round((1 - accuracy[pair].mean) * accuracy[pair].n), accuracy[pair].n
    return f"{pair[0]} / {pair[1]}\n{wrong} of {n}\nwrong"


wrongs: Any = own("errors", student["student"]) if drawn else []
listed = {p: missed(p) for p in [p for p in hardest if len(wrongs) and p in wrongs.index][:5]}
if listed:
    surest = "Test digits that the hardest pairs get most wrong, and the probability of the wrong answer"
    finish(figures.worst(wrongs, listed), f"{surest}\n{which}", "errors")

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
    tried = choice.cells["l2"]
    mean, vote = (tell.percent(choice.by_seed(metric)) for metric in ("test_accuracy", "vote_accuracy"))
    worth = tell.choice(choice, lambda cell: f"l2 = {cell['l2']:g}", most=9, lead=False)
    return (
        f"**{tell.capital(name[setting.name])}**: validation chooses l2 = {choice.best['l2']:g}; mean test accuracy of the 45 pairs "
        f"{mean}; ten classes by vote {vote}. {worth} {tell.edge(choice, {'l2': f'l2 (tried {tried.min():g} to {tried.max():g})'})}".strip()
    )


# %%
def comparison_sentence(a, b):
    difference = tell.difference(chosen[a.name].by_seed(), chosen[b.name].by_seed())
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


# %%
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
strongest = ("strongest correlations", "strongest partial correlations") if drawn else ()
run.close(
    [*map(strength_sentence, settings), *(pair_sentences() if drawn else ()), *map(separability_sentence, settings)],
    [
        *map(feature_sentence, settings),
        *(comparison_sentence(a, b) for a, b in combinations(settings, 2)),
        *map(significance_sentence, settings),
        *map(dependency_sentence, strongest),
        published,
    ],
)
