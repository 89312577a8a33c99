# %% [markdown]
# # Which metrics of a classifier are sensitive to class imbalance?
#
# 1. Which metrics move when positives become rare?
# 2. What is F_β, and when is β other than 1 better?
# 3. ROC-AUC by hand.
# 4. Precision and recall in micro-averages, against weighted ones.
#
# A classifier gives scores; what reaches a threshold is called positive. T (true positive rate, recall) is the share of positives
# that are called so, F (false positive rate) the share of negatives. Both are said within a class, so the **prevalence** π, the share
# of positives, does not enter them. It enters what mixes the classes: of all cases q = π T + (1 - π) F are called positive.

# %%
import numpy as np
import pandas as pd

from analysis.core import blocks, imbalance, report, statistics, tell
from analysis.core.figures import imbalance as figures
from analysis.core.figures.scales import ordered, palette, positions
from analysis.core.imbalance import TERMS
from analysis.core.settings import select, stacked

# isort: split
import matplotlib.pyplot as plt

RULES = {
    "fixed": "fixed threshold",
    "calibrated": "probability of one half",
    "best_f1": "most F1 on validation",
    "break_even": "as many as there are",
}
SOURCES = {"simulation": "Simulation", "mnist": tell.data("mnist")}
WORDS: report.Words = {"rule": RULES, "source": SOURCES, "positive": "digit {}", "separability": "d' = {:g}"}
run = report.open("metric_imbalance", WORDS)
students = run.students[run.students["status"] == "done"]
names = {term[0]: f"test_{metric}" for metric, term in TERMS.items()}
metric_of = {term[0]: metric for metric, term in TERMS.items()}
drawn = students["source"] == "simulation"
simulation = run.about("Simulated scores: no data set", students[drawn])
largest = students.loc[drawn, "size"].max()  # test sets of other sizes are in the figure of deviations alone
table = stacked(students[~drawn | (students["size"] == largest)], "metric", "value", names).assign(metric=lambda t: pd.Categorical(t["metric"], list(names)))
simulated, digits = (select(table, {"source": source}) for source in SOURCES)
low, balance = table["prevalence"].min(), table["prevalence"].max()
middle = ordered(simulated["separability"])[len(ordered(simulated["separability"])) // 2] if len(simulated) else np.nan

# %% [markdown]
# ## 1. The same classifier, ever fewer positives
# The threshold stays where 5 % of the negatives of a balanced set lie above it. Points: means over simulated test sets; dashed: theory
# (normal scores, d' deviations apart). A level line means that the prevalence does not matter.

# %%
tints = palette(ordered(simulated["separability"])) if len(simulated) else {}
fine = np.geomspace(low, balance, 40)


def theory(ax, panel):
    """What endless test sets would have, for each d'; and an axis on which noise is no fall."""
    for d, color in tints.items():
        values = [imbalance.theory("fixed", d, pi)[metric_of[panel.values["metric"]]] for pi in fine]
        ax.plot(positions(fine, "prevalence"), values, "--", color=color)
    least, most = ax.get_ylim()
    if most - least < 0.1:
        ax.set_ylim((least + most) / 2 - 0.05, (least + most) / 2 + 0.05)


fixed = select(simulated, {"rule": "fixed"})
blocks.learning(
    simulation, fixed, "prevalence", "value", "Simulation: metrics of one classifier over the prevalence", per="separability", columns=["metric"],
    colors=tints, limits=(None, None), also=theory, name="curves", xlabel="prevalence π", ylabel="value",
    legend="separability d'", size=(4.2, 2.7), share=False, note=f"dashed: theory; test sets of {largest:,} cases",
)  # fmt: skip

# %% [markdown]
# ## How sensitive is each?
# The value where positives are rarest over the value at balance, by seed: 1 is insensitive. It is said so where the interval lies
# within 0.95 and 1.05, sensitive where it lies outside. With a fixed threshold only the mixture of classes moves. Where the
# threshold follows the prevalence, T and F move too, and with them what is said within the classes.

# %%
WITHIN = (0.95, 1.05)


def sensitivity(part):
    """Of each metric and rule the ratio of its value at the lowest prevalence to that at the highest, with a verdict."""
    ends, lines = part["prevalence"].agg(["min", "max"]), []
    for (rule, metric), each in part.groupby(["rule", "metric"], sort=False, observed=True):
        first, last = (select(each, {"prevalence": pi}).groupby("seed")["value"].mean() for pi in ends)
        ratio = statistics.interval(first / last)
        inside, outside = WITHIN[0] < ratio.low and ratio.high < WITHIN[1], ratio.low > WITHIN[1] or ratio.high < WITHIN[0]
        verdict = "insensitive" if inside else "sensitive" if outside else "open"
        values = {"mean": ratio.mean, "low": ratio.low, "high": ratio.high, "n": ratio.n, "verdict": verdict}
        lines.append({"rule": rule, "metric": metric, **values, "at_low": first.mean(), "at_high": last.mean()})
    return pd.DataFrame(lines)


one = select(simulated, {"separability": middle})
sensitive = {name: sensitivity(part) for name, part in {"simulation": one, "mnist": digits}.items() if len(part)}
beside = imbalance.against_theory(fixed)
for source, ratios in sensitive.items():
    ends = select(table, {"source": source})["prevalence"].agg(["min", "max"])
    which = f"{SOURCES[source]}, " + (f"d' = {middle:g}" if source == "simulation" else "mean of the digits")
    blocks.facets(
        simulation if source == "simulation" else run, ratios.assign(rule=pd.Categorical(ratios["rule"], run.axes["rule"])), blocks.drawn(figures.ratios, list(names), WITHIN),
        f"Value at prevalence {ends['min']:g} over value at {ends['max']:g}: {which}", name=f"sensitivity_{source}", columns=["rule"],
        size=(4.4, 5.6), wrap=4, share=True, spread=True, note=f"grey band: within 5 %, insensitive; what is below {figures.LEAST:g} is drawn there",
    )  # fmt: skip

# %% [markdown]
# The terms: T and F are those above; q is the share that is called positive; p is the probability of a positive.
#
# - What has neither π nor q in its formula cannot move under a fixed threshold.
# - Accuracy is 1 - F + π (T - (1 - F)). It hears the prevalence only as far as recall and specificity differ.
# - Brier score and log loss have π in their formulas. In the simulation they stay all the same, for both classes have the same mean loss
#   there. With MNIST's digits the classes differ, and both scores move.


# %%
def expected(name):
    """The ratio of `sensitivity` with endless test sets, fixed threshold."""
    rare, even = (imbalance.theory("fixed", middle, pi)[metric_of[name]] for pi in (low, balance))
    return rare / even


MARKS = {"insensitive": " =", "sensitive": "", "open": " ?"}


def term_line(name, formula):
    """A metric, its formula, and of each rule its ratio; of the fixed one the values too."""
    line = {"metric": name, "is": formula}
    for source, ratios in sensitive.items():
        for _, found in select(ratios, {"metric": name}).iterrows():
            values = f"{found['at_high']:.3f} to {found['at_low']:.3f}, " * (found["rule"] == "fixed")
            line[f"{SOURCES[source]}: {RULES[found['rule']]}"] = f"{values}x {found['mean']:.3g}{MARKS[found['verdict']]}"
    if len(simulated):
        line["theory: fixed threshold"] = f"x {expected(name):.3g}"
    return line


run.show([term_line(*term) for term in TERMS.values()], "x: value at the lowest prevalence over that at balance; =: insensitive, ?: open")

# %% [markdown]
# ## Thresholds that follow the prevalence
# Recall and specificity are insensitive as long as nobody moves the threshold. A classifier that calls positive what is more
# probable than not calls ever less so, the rarer positives are.

# %%
FEW = ["recall (TPR)", "precision (PPV)", "accuracy", "balanced accuracy", "F1", "MCC"]
rules = one[one["metric"].isin(FEW)].assign(metric=lambda t: pd.Categorical(t["metric"].astype(str), FEW))
blocks.learning(
    simulation, rules.assign(rule=rules["rule"].map(RULES)), "prevalence", "value", f"Simulation, d' = {middle}: metrics by rule of the threshold",
    per="rule", columns=["metric"], limits=(0, 1.02), name="rules", xlabel="prevalence π", ylabel="value", legend="",
    size=(4.2, 3.0),
)  # fmt: skip

# %% [markdown]
# ## Prevalence and separability
# How far prevalence pulls a metric depends on how well the classes are told apart: with few false positives it pulls late.

# %%
MIXED = ["precision (PPV)", "F1", "MCC", "PR-AUC (average precision)"]
mixed = fixed[fixed["metric"].isin(MIXED)].assign(metric=lambda t: pd.Categorical(t["metric"].astype(str), MIXED))
blocks.plane(
    simulation, mixed, "prevalence", "separability", "value", "Simulation, fixed threshold: metrics over prevalence and separability", columns=["metric"],
    limits=(0, 1), colors=(0, 1), digits=2, wrap=2,
)  # fmt: skip

# %% [markdown]
# ## Real scores: a digit of MNIST against the rest
# Logistic regression; the test digits are thinned to the prevalence. The threshold is fixed.

# %%
real = select(digits, {"rule": "fixed"}).assign(digit=lambda t: t["positive"].map("{}".format))
blocks.learning(
    run, real, "prevalence", "value", "A digit of MNIST against the others, fixed threshold", per="digit", columns=["metric"],
    limits=(None, None), name="digits", xlabel="prevalence π", ylabel="value", legend="positive digit", size=(4.2, 2.7), share=False,
)  # fmt: skip

# %% [markdown]
# ## How much one test set says
# The deviation of a metric from one test set to the next. A metric that stays in the mean need not be well known.
#
# - Recall is a share of the positives. Where these are few, it is a share of few cases: its deviation is √(T (1 - T) / (π n)).
# - At balance positives are many. Then the threshold's own noise counts as well: it is set on as many validation cases, and it doubles
#   the deviation.
# - Average precision of ten positives is, besides, too high in the mean: in the first figure its lowest prevalence lies above the theory.

# %%
spreads = {name: f"spread_{metric_of[name]}" for name in ("recall (TPR)", "specificity (TNR)", *MIXED, "ROC-AUC", "accuracy")}
per = "size" if select(students, {"source": "simulation"})["size"].nunique() > 1 else "metric"
spread = stacked(select(students, {"source": "simulation", "rule": "fixed", "separability": middle}), "metric", "deviation", spreads)
blocks.learning(
    simulation, spread, "prevalence", "deviation", "Simulation, fixed threshold: deviation of a metric from one test set to the next", per=per,
    columns=["metric"] if per == "size" else [], limits=(0, None), name="spread", xlabel="prevalence π",
    ylabel="deviation between test sets", legend="cases in a test set" if per == "size" else "", size=(7.5, 4.4) if per == "metric" else (4.2, 3.0),
)  # fmt: skip

# %% [markdown]
# ## 2. F_β
# F_β = (1 + β²) P R / (β² P + R), with P precision and R recall: the weighted harmonic mean in which recall counts β times as much as
# precision (van Rijsbergen 1979). β → 0 gives precision, β → ∞ recall. In counts it is (1 + β²) TP / ((1 + β²) TP + β² FN + FP): a miss
# costs β² false alarms. β > 1 is better where a miss is dear (screening for a disease: the healthy are tested again), β < 1 where an
# alarm is (spam: a letter that is lost). So β² = cost of a miss over cost of a false alarm is the first guess: β = 7 where a miss costs 50
# alarms. It is a guess only: F_β knows no true negatives and is a ratio, costs add up. Where costs are known, use them.
#
# Three examples are in the table below. In the third, **fraud**, a bank blocks what it takes for fraud: 10 % of the payments that it
# looks at are fraud, and an honest payment that is blocked costs as much as a fraud that passes. Then the least cost is at a probability
# of one half. By F_β the best threshold is at a probability of F_β / (1 + β²), with the best F_β that can be reached: .53 for F0.5, but
# .31 for F1 and .14 for F2. So with equal costs F0.5 comes nearest, not F1: F1 blocks too much, though it is called the balanced one.
#
# Lines join precisions and recalls of equal F_β. The curve is what a classifier with d' = 2 reaches at prevalence 0.1; the star is
# its best threshold by that F_β.

# %%
BETAS = (0.5, 1.0, 2.0)
figure, axes = plt.subplots(1, len(BETAS), figsize=(13, 4.6), sharey=True, layout="constrained")
for beta, ax in zip(BETAS, axes, strict=True):
    figures.f_lines(beta, ax)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
figure.suptitle("Lines of equal F_β, and where each β puts the threshold (theory, d' = 2, prevalence 0.1)")
run.figure(figure, "f_beta")

# %%
EXAMPLES = {
    "screening: 1 % ill, a miss costs 50 false alarms": (0.01, 50.0, 1.0),
    "spam: 40 % spam, a lost letter costs 20 spams read": (0.4, 1.0, 20.0),
    "fraud, costs alike, 10 % positive": (0.1, 1.0, 1.0),
}


def example_line(name, pi, miss, alarm):
    """Expected cost of 1,000 cases at the best threshold by each F_β, and at the best of all."""
    found = {f"F{b:g}": imbalance.cost(2.0, pi, imbalance.best_threshold(2.0, pi, b), miss, alarm) for b in BETAS}
    guess = np.sqrt(miss / alarm)
    by_guess = imbalance.cost(2.0, pi, imbalance.best_threshold(2.0, pi, guess), miss, alarm)
    least = imbalance.cost(2.0, pi, (np.log(alarm / miss) - np.log(pi / (1 - pi))) / 2.0, miss, alarm)
    cells = {**{k: f"{v:.1f}" for k, v in found.items()}, "β = √(miss / alarm)": f"{by_guess:.1f} (β = {guess:.2g})", "least possible": f"{least:.1f}"}
    return {"example": name, **cells, "best of the three": min(found, key=lambda b: found[b])}


examples = [example_line(name, *how) for name, how in EXAMPLES.items()]
run.show(examples, "Cost of 1,000 cases (in the cheaper error) with the threshold that is best by each F_β; classifier with d' = 2, theory")

# %% [markdown]
# ## 3. ROC-AUC by hand
# Eight predictions, four positives, one tie. ROC-AUC is the share of the pairs of a positive and a negative in which the positive
# scores higher; a tie counts a half (Mann and Whitney 1947). That is the area under the staircase: lower the threshold step by step;
# each positive is a step up, each negative a step to the right, a tie a slope.

# %%
SCORES, LABELS = (0.9, 0.8, 0.7, 0.6, 0.6, 0.4, 0.3, 0.1), (1, 1, 0, 1, 0, 0, 1, 0)
pairs, steps = imbalance.pairs(SCORES, LABELS), imbalance.staircase(SCORES, LABELS)
run.show([{"": "score", **{f"{i}": f"{s:g}" for i, s in enumerate(SCORES, 1)}}, {"": "label", **{f"{i}": f"{y}" for i, y in enumerate(LABELS, 1)}}], "The predictions")
auc, area = pairs["counts"].mean(), np.trapezoid(steps["tpr"], steps["fpr"])
counted = pairs.pivot_table(index="positive", columns="negative", values="counts").sort_index(ascending=False)
sums = " + ".join(f"{total:g}" for total in counted.sum(axis=1))
run.show(counted.assign(sum=counted.sum(axis=1)).reset_index().rename(columns={"positive": "positive \\ negative"}), f"What each pair counts: {sums} = {pairs['counts'].sum():g} of {len(pairs)}, {auc:.5f}")
run.show(steps.round(3), "The staircase, threshold by threshold")
figure_by_hand, ax_by_hand = plt.subplots(figsize=(6, 5), layout="constrained")
figures.stairs(steps, ax_by_hand)
figure_by_hand.suptitle(f"ROC-AUC by hand: {pairs['counts'].sum():g} of {len(pairs)} pairs = {auc:.5f}")
run.figure(figure_by_hand, "roc_by_hand")

# %% [markdown]
# ## 4. Micro, macro and weighted averages
# A classifier of three classes with 80, 15 and 5 cases; rows are the truth. **Micro** adds up the counts of all classes first, so every
# case counts alike; **macro** takes the mean over classes, so every class does; **weighted** takes it with the classes' sizes.
# Micro precision is Σ TP / Σ (TP + FP), micro recall Σ TP / Σ (TP + FN), over the classes that count.
# Where each case has one class and one answer, a false positive of one class is a false negative of another: micro precision = micro
# recall = micro F1 = accuracy. Weighted recall is the accuracy too, Σ (n_k / n)(hits_k / n_k); weighted precision is not.

# %%
MATRIX = np.array([[71, 6, 3], [3, 10, 2], [1, 1, 3]])
accuracy = np.trace(MATRIX) / MATRIX.sum()
of_all, of_rare = imbalance.averages(MATRIX), imbalance.averages(MATRIX, classes=[1, 2])
run.show([{"truth": f"class {k}", **{f"called {j}": n for j, n in enumerate(line)}} for k, line in enumerate(MATRIX)], "The confusion matrix")
hits, calls, sizes = np.diag(MATRIX), MATRIX.sum(axis=0), MATRIX.sum(axis=1)
run.show(
    [{"": f"class {k}", "TP": hits[k], "TP + FP": calls[k], "TP + FN": sizes[k], "precision": f"{hits[k]}/{calls[k]} = {hits[k] / calls[k]:.3f}", "recall": f"{hits[k]}/{sizes[k]} = {hits[k] / sizes[k]:.3f}"} for k in range(3)],
    "By class",
)  # fmt: skip
run.show(
    [{"average": how, **{k: f"{v:.3f}" for k, v in of_all[how].items()}, **{f"{k}, of classes 1 and 2": f"{v:.3f}" for k, v in of_rare[how].items()}} for how in of_all],
    f"Averages; accuracy is {accuracy:.3f}",
)  # fmt: skip

# %% [markdown]
# ## What came out
# Computed from the rows.


# %%
def moved(source, name, ratio):
    """By what a metric is multiplied; and in theory, where that is another number."""
    said = f"{name} x {ratio:.2g}"
    other = source == "simulation" and abs(ratio / expected(name) - 1) > 0.1
    return f"{said} (theory x {expected(name):.2g})" if other else said


# %%
def theory_sentence():
    """Where the simulation leaves the theory of endless test sets, fixed threshold."""
    off = beside[(beside["ratio"] - 1).abs() > 0.05]
    said = (
        f"**Theory**, fixed threshold: {len(beside) - len(off)} of {len(beside)} simulated means differ from the theory of endless test sets "
        "by 5 % at most."
    )
    if off.empty:
        return said
    worst = off.loc[(off["ratio"] - 1).abs().groupby(off["metric"], observed=True).idxmax()]
    which = ", ".join(f"{line['metric']} (up to x {line['ratio']:.2g})" for _, line in worst.iterrows())
    return f"{said} {tell.count(len(off), 'mean')} differ{'s' * (len(off) == 1)} by more, at a prevalence of {off['prevalence'].max():g} or less: {which}."


# %%
def sensitivity_sentence(source, ratios):
    """Which metrics stay and which move, under the fixed threshold."""
    found = select(ratios, {"rule": "fixed"})
    ends = select(table, {"source": source})["prevalence"].agg(["min", "max"])
    stay = ", ".join(found.loc[found["verdict"] == "insensitive", "metric"])
    move = ", ".join(moved(source, line["metric"], line["mean"]) for _, line in found[found["verdict"] == "sensitive"].iterrows())
    unsure = ", ".join(found.loc[found["verdict"] == "open", "metric"])
    head = f"**{SOURCES[source]}, fixed threshold, prevalence {ends['max']:g} to {ends['min']:g}** (n = {tell.span(found['n'])})"
    return f"{head}: insensitive: {stay or 'none'}. Sensitive: {move or 'none'}." + f" Open: {unsure}." * bool(unsure)


def rule_sentence():
    """What a threshold that follows the prevalence does to what was insensitive."""
    values = {rule: select(sensitive["simulation"], {"rule": rule}).set_index("metric") for rule in ("fixed", "calibrated")}
    recall, auc = (values["calibrated"].loc[name] for name in ("recall (TPR)", "ROC-AUC"))
    right = values["calibrated"].loc["accuracy"]
    nothing = f", that of calling nothing positive ({1 - low:g})" * bool(abs(right["at_low"] - (1 - low)) < 0.001)

    def way(line, digits):
        return f"{'falls' if line['at_low'] < line['at_high'] else 'rises'} from {line['at_high']:.2f} to {line['at_low']:.{digits}f}"

    return (
        f"**A threshold that follows the prevalence moves the insensitive ones too**: at a probability of one half recall {way(recall, 3)} (d' = {middle:g}), "
        f"accuracy {way(right, 4)}{nothing}; ROC-AUC, which has no threshold, is {auc['at_low']:.3f} ({auc['at_high']:.3f} at balance). So say which threshold, and set it on validation."
    )


def spread_sentence():
    part = select(spread, {"metric": "recall (TPR)"})
    ends = {pi: select(part, {"prevalence": pi})["deviation"].mean() for pi in (low, balance)}
    return (
        f"**One test set says little of rare positives**: from one to the next recall deviates by {ends[balance]:.3f} at prevalence {balance:g} and by "
        f"{ends[low]:.3f} at {low:g} (test sets of {tell.span(part['size'])} cases)."
    )


# %%
best = ", ".join(f"{line['best of the three']} for {line['example'].split(':')[0].split(',')[0]}" for line in examples)
told = [sensitivity_sentence(*each) for each in sensitive.items()]
ruled = [rule_sentence(), spread_sentence(), theory_sentence()] if {"fixed", "calibrated"} <= set(one["rule"]) else []
by_hand = [
    f"**F_β**: recall counts β times as much as precision; of F0.5, F1 and F2 the least cost comes with {best}.",
    f"**ROC-AUC by hand**: {pairs['counts'].sum():g} of {len(pairs)} pairs, {auc:.5f}; the area under the staircase is {area:.5f}.",
    f"**Averages**: micro precision = micro recall = accuracy = {of_all['micro']['recall']:.3f}, weighted recall {of_all['weighted']['recall']:.3f}, weighted precision "
    f"{of_all['weighted']['precision']:.3f}, macro recall {of_all['macro']['recall']:.3f}. The identity fails where a class is left out (classes 1 and 2 alone: micro "
    f"precision {of_rare['micro']['precision']:.3f}, recall {of_rare['micro']['recall']:.3f}) or a case has several labels.",
]


# %%
def few_words(source, ratios):
    """How many metrics are sensitive under the fixed threshold, which stay, and what becomes of three that many use."""
    found = select(ratios, {"rule": "fixed"}).set_index("metric")
    ends = select(table, {"source": source})["prevalence"].agg(["min", "max"])
    moves, stay, unsure = (found[found["verdict"] == verdict] for verdict in ("sensitive", "insensitive", "open"))
    fall = [f"{name} x {ratio:.2g}" for name, ratio in moves["mean"].items() if name in ("precision (PPV)", "F1", "MCC")]
    head = f"**{SOURCES[source]}: {len(moves)} of {len(found)} metrics are sensitive to imbalance**"
    said = f"{head} when positives fall from {100 * ends['max']:g} to {100 * ends['min']:g} % and the threshold stays"
    said += f" ({', '.join(fall)}; {tell.count(int(found['n'].min()), 'seed')})" * bool(fall)
    return f"{said}. Insensitive: {', '.join(stay.index) or 'none'}." + f" Open: {', '.join(unsure.index)}." * len(unsure[:1])


def follows():
    """What a threshold that follows the prevalence does to recall."""
    line = select(sensitive["simulation"], {"rule": "calibrated", "metric": "recall (TPR)"}).iloc[0]
    return (
        f"**Where the threshold follows the prevalence** (called positive: what is more probable than not), recall too goes "
        f"from {line['at_high']:.2f} to {line['at_low']:.3f}."
    )


computed = (
    f"**By hand**: ROC-AUC {auc:.5f}, of {len(pairs)} pairs; micro precision = micro recall = accuracy = {of_all['micro']['recall']:.3f}, "
    f"weighted precision {of_all['weighted']['precision']:.3f}."
)
costs = f"**F_β** counts recall β times as much as precision: of F0.5, F1 and F2 the least cost comes with {best}."
answer = [*(few_words(*each) for each in sensitive.items()), *([follows()] if ruled else []), costs, computed]
run.close(answer, [*told, *ruled, *by_hand])
