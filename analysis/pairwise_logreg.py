# %% [markdown]
# # What tells two digits apart, and how sure can a linear model be?
#
# Binary logistic regression on every pair of MNIST classes: 45 problems, solved together. A pair with n training digits
# minimises its mean log loss + l2/2 |w|² (scikit-learn's C is 1 / (n l2)) on standardised features: pixels, means of 2 x 2
# pixels, or principal components.
#
# l2 is chosen on a twelfth of the training digits, which is held out. Two intervals are kept apart. Over seeds (which digits are
# held out) it is Student's, and small, since the training sets overlap in ten elevenths. Of one pair's accuracy it is Wilson's,
# over its test digits, and says what another test set would change.

# %%
from itertools import combinations

import numpy as np

from analysis.core import blocks, pairs, report, tell
from analysis.core.choice import choices
from analysis.core.figures import pairs as figures
from analysis.core.figures.references import Reference
from analysis.core.settings import select, stacked

NAMES = {"pixels": "pixels", "pooled": "means of 2 x 2 pixels", "pca": "principal components"}
run = report.open("pairwise_logreg")


def called(axes):
    """A view in words: `64 principal components`."""
    return f"{axes['components']} {NAMES['pca']}" if axes["features"] == "pca" else NAMES[axes["features"]]


settings = run.settings(but=["l2"], first=["features", "components"], canonical=True)
made = choices(settings, ["l2"], margin=run.margin)
chosen = {called(s.axes): choice for s, choice in made.items()}
first = {view: choice.students.iloc[0] for view, choice in chosen.items()}  # of the chosen penalty, the first seed
students = run.students.assign(view=[called(line) for line in run.students.to_dict("records")])

# %% [markdown]
# ## Accuracy over the penalty
# Mean test accuracy of the 45 models; the accuracy of the hardest pair; ten classes by vote, each model having one vote.

# %%
SOURCE = "LeCun et al. 1998, the table on the MNIST page"
PUBLISHED = [
    Reference("pairwise linear classifier, deskewed", 92.4, SOURCE, "0.45"),
    Reference("linear classifier", 88.0, SOURCE, "0.45"),
]
VOTE = "ten classes by vote"
WHAT = {"mean of 45 pairs": "test_accuracy", "hardest pair": "worst_test_accuracy", VOTE: "vote_accuracy"}


framed = [{"view": view, **choice.best, "state": "chosen"} for view, choice in chosen.items()]
blocks.learning(
    run, stacked(students, "what", "accuracy", WHAT), "l2", "accuracy", "Test accuracy over the penalty",
    per="view", columns=["what"], levels=lambda panel: PUBLISHED * (panel["what"] == VOTE), limits=(None, None), framed=framed,
    name="strength", ylabel="test accuracy, %", legend="", share=False,
)  # fmt: skip

# %% [markdown]
# ## The features' covariance
# From here on pixels are drawn where the run has them (else means of 2 x 2), at the penalty chosen on validation, of the first
# seed. A run of principal components alone has no pixels to draw. In the order of the grid, neighbours in a row lie side by
# side; in clustered order (average linkage on 1 - |r|) what varies together does.


# %%
def own(table, student):
    """The lines of a further table that belong to a student, by pair."""
    lines = select(run.table(table), {"student": student["student"]})
    return lines.set_index(["first", "second"]).sort_index() if len(lines) else lines


def features(student):
    """The line of the table of features that a student saw."""
    return select(run.table("features"), dict(student[["features", "components", "seed"]])).iloc[0]


drawn = next((view for view in (NAMES["pixels"], NAMES["pooled"]) if view in first), "")
if drawn:
    student = first[drawn]
    seen = pairs.view(features(student))
    which = f"{drawn}, l2 = {student['l2']:g}, seed {student['seed']}"
    varying = f"{len(seen.kept)} {drawn} that vary, {seen.constant} constant ones dropped"
    run.finish(figures.covariances(seen), "covariance", f"Covariance of the features: {varying}")
    run.finish(figures.correlation_maps(seen), "correlation_maps", f"Correlation of a pixel (cross) with all: {drawn}")

# %% [markdown]
# ## The strongest dependencies
# Correlations are strongest between neighbours, so some panels show those at least a quarter of the grid apart; behind them is
# the mean digit. Partial correlations hold all other pixels fixed: what two pixels share that no third one tells (from the inverse
# correlation matrix with a ridge, since it is nearly singular).

# %%
RIDGE, LINKS, FAR = 0.01, 120, 40


def dependency_line(what, links):
    size, touching, positive = links["strength"].abs(), links["apart"] < 1.5, links["strength"] > 0
    return {
        "links": f"{len(links)} {what}",
        "size": f"{size.min():.2f} to {size.max():.2f}",
        "join touching pixels": f"{100 * touching.mean():.0f} %",
        "positive": f"{100 * positive.mean():.0f} %",
    }


if drawn:
    far, strong = seen.side // 4, {}
    partial = pairs.partial_correlations(seen.correlation, RIDGE)
    for what, r in {"correlations": seen.correlation, "partial correlations": partial}.items():
        strong[f"strongest {what}"] = seen.strongest(r, LINKS)
        strong[f"strongest {what} at least {far} pixels apart"] = seen.strongest(r, FAR, least=far)
    signs = "red positive, blue negative"
    run.finish(figures.dependencies(seen, strong), "dependencies", f"Dependencies of pixels, seed {student['seed']}: {signs}")
    run.show([dependency_line(*found) for found in strong.items()])

# %% [markdown]
# ## Weights and their uncertainty
# Pairs are ordered by validation. Of the hardest pair the inverse Fisher information is shown, scaled to correlation: neighbouring
# weights are estimated against each other. With a penalty it is the covariance of Laplace's approximation.
#
# Wald's z is the weight over its standard error, grey where too few digits have ink. That standard error is of the penalised
# weight over data sets, H⁻¹JH⁻¹ with the Fisher information J, so the question is whether endless data would give this weight
# under this penalty. Weights are significant after Benjamini-Hochberg at 5 % over all 45 models.

# %%
COLOURS = "red speaks for the second digit, blue for the first"
if drawn:
    weights = pairs.estimates(own("weights", student), seen.class_means)
    accuracy, hardest = pairs.accuracies(own("pairs", student))
    for p, shared in own("weight_correlations", student).iterrows():
        covariance = figures.weight_covariance(seen, p, pairs.weight_correlation(shared), weights, LINKS)
        of_pair = f"Covariance of the estimated weights, {p[0]} against {p[1]}: {which}"
        run.finish(covariance, "weight_covariance", of_pair)
    shown = {pair: accuracy[pair] for pair in (*hardest[:4], *hardest[-2:])}
    maps = "Weights of the four hardest and two easiest pairs, test accuracy, each map on its own scale"
    run.finish(figures.weight_maps(seen, weights, shown), "weights", f"{maps}: {which}", COLOURS)
    most, ns = "Twenty most significant weights, 95 % Wald intervals", "n.s.: not significant after Benjamini-Hochberg, if any"
    run.finish(figures.wald(seen, weights, hardest[:3]), "wald", f"{most}\n{which}", f"{COLOURS}; {ns}")
    all_pairs = f"45 pairs: weights below the diagonal, test accuracy above: {which}"
    note = "red speaks for the digit of the row, blue for that of the column"
    run.finish(figures.mosaic(seen, weights["weight"], accuracy), "mosaic", all_pairs, note)


# %%
def view_line(view):
    """What a view keeps of the digits, and which weights are significant; components have no ink, so all are tested."""
    one = first[view]
    line, of_seeds = features(one), select(run.table("features"), dict(one[["features", "components"]]))
    z, found = pairs.tested(own("weights", one), None if one["features"] == "pca" else pairs.inks(line))
    tested, (a, b) = np.isfinite(z).sum(), pairs.PAIRS[found.sum(1).argmax()]
    return {
        "view": f"{view}, l2 = {one['l2']:g}, seed {one['seed']}",
        "constant (by seed), dropped": f"{tell.span(of_seeds['constant'])} of {line['side'] ** 2}",
        "variance held": f"{100 * line['explained']:.1f} %",
        "significant weights": f"{found.sum():,} of {tested:,} tested ({100 * found.sum() / tested:.0f} %)",
        "most of one pair": f"{found.sum(1).max()} ({a}/{b})",
    }


run.show(map(view_line, first), "Features of each view, and weights of the 45 models")

# %% [markdown]
# ## The hardest pairs and their errors
# The test digits that each model gets most wrong, surest error first; then accuracies with Wilson's interval.

# %%
if drawn:
    wrong = own("errors", student)
    failing = {pair: accuracy[pair] for pair in [pair for pair in hardest if pair in wrong.index][:5]}
    surest = "Test digits that the hardest pairs get most wrong, and the probability of the wrong answer"
    if failing:
        run.finish(figures.worst(wrong, failing), "errors", f"{surest}\n{which}")
    ends = [*hardest[:5], *hardest[:-4:-1]]
    accuracies = [{"pair": f"{a}/{b}", "test accuracy": tell.percent(accuracy[a, b])} for a, b in ends]
    run.show(accuracies, f"The five hardest pairs, then the three easiest: {which}")

# %% [markdown]
# ## Separable pairs
# Where a hyperplane separates the training digits, the likelihood has no maximum: it grows as the weights do without end. A
# hyperplane with a positive least margin proves it. Where none is found, the distance of two points in the classes' convex
# hulls bounds the margin, in standard deviations, that one could have. The penalised weights are finite all the same.

# %%
proofs, solved = (run.table(of).merge(students[["student", "view"]], on="student") for of in ("separability", "pairs"))
separable = proofs.groupby(["view", "seed", "first", "second"])["separable"].any()
judged = solved.merge(separable.reset_index())
panels = {view: select(judged, {"view": view, "seed": student["seed"]}) for view, student in first.items()}
run.finish(figures.lengths(panels), "separability", "Length of the 45 weight vectors over the penalty")


def separable_line(view):
    """Which pairs are separable in the first seed; and how large a margin could be where none was found, in any seed."""
    found = separable[view].unstack("seed")
    yes, no = (found.index[found[first[view]["seed"]] == way] for way in (True, False))
    named, others = (", ".join(f"{a}/{b}" for a, b in of) for of in (yes, no))
    never = separable[view].index[~separable[view]]
    proof = select(proofs, {"view": view}).set_index(["seed", "first", "second"]).loc[never]
    margin = f"{proof['margin_bound'].max():.2g} (median {proof['margin_bound'].median():.1g})"
    return {
        "view": view,
        "separable (by seed)": f"{tell.span(found.sum())} of {len(found)} pairs",
        "which": ("all but " + others if len(no) else "all") if len(no) < len(yes) else named,
        "of the others, all seeds": f"none down to l2 = {proof['at_l2'].min():.0e}, margin at most {margin}" if len(proof) else "",
    }


run.show(map(separable_line, first), "Separable pairs; which, in the first seed")

# %% [markdown]
# ## What came out
# A pair that can be separated has no finite maximum-likelihood solution; what is reported is the penalised one.


# %%
def answer(view, choice):
    low, high = choice.cells["l2"].min(), choice.cells["l2"].max()
    vote = f"Ten classes by vote: {tell.percent(choice.by_seed('vote_accuracy'))}."
    edge = tell.edge(choice, {"l2": f"l2 (tried {low:g} to {high:g})"})
    how: dict = {"name": lambda cell: f"l2 = {cell['l2']:g}", "most": 9, "then": f"{vote} {edge}"}
    return tell.answer(view, choice, "mean test accuracy of the 45 pairs", **how)


SHORT = 3  # views of which the answer speaks
tests = {view: choice.by_seed() for view, choice in chosen.items()}
less = [{"view": a, "less": b, "difference": tell.difference(tests[a], tests[b])} for a, b in combinations(tests, 2)]
run.show(less, "Views against each other, mean test accuracy of the 45 pairs")
counts = "; ".join(f"{tell.span(separable[view].groupby('seed').sum())} with {view}" for view in first)
top = max(chosen, key=lambda view: chosen[view].by_seed("val_accuracy").mean(), default="")
views = [f"**{tell.capital(view)}**: {tell.percent(values)}; ten classes by vote {tell.percent(chosen[view].by_seed('vote_accuracy'))}." for view, values in tests.items()]
sentences = [
    f"**A linear model tells two digits apart in {100 * tests[top].mean():.1f} % of the test images**, the mean of 45 pairs with {top}{f', the view that validation prefers of {len(chosen)}' * (len(chosen) > 1)}."
] * bool(chosen) + views[:SHORT]
ranked = []
if drawn:
    hard, easy = (f"{a}/{b}, {tell.percent(accuracy[a, b])}" for a, b in (hardest[0], hardest[-1]))
    sentences[1:1] = [f"How sure, with {drawn}: the hardest pair is {hard}, the easiest {easy}; in brackets what as many other test images leave possible (95 %)."]
    ranked.append(f"Hardest pair by validation ({which}): {hard} on test; easiest by validation: {easy} (Wilson intervals).")
published = "error 12.0 % for a linear classifier, 7.6 % for a pairwise one on deskewed digits; ours are not deskewed"
apart = f"Training digits that a hyperplane separates, of 45 pairs: {counts}."
run.close(sentences, [*map(answer, chosen, chosen.values()), *views[SHORT:], *[apart] * bool(counts), *ranked, f"Published, {SOURCE}: {published}."])
