# %% [markdown]
# # Can a teacher of MNIST teach MNIST-M?
#
# A teacher is trained on MNIST. A student learns MNIST-M from the teacher's answers and from some labels, by
# (1 - λ) cross-entropy + λ T² KL(teacher ‖ student), with the temperature T and the weight λ = `kd_weight`
# (Hinton et al. 2015, arXiv 1503.02531). Read as domain adaptation: how much of the way from the teacher alone
# (*source only*) to a student with all labels (the *oracle*) do the teacher's answers go?
#
# Two readings of "the teacher's answer" are kept apart. With `teacher_view = target` the teacher is shown the MNIST-M image
# itself: adaptation, with a weak teacher. With `source` it is shown the clean digit behind the image: transfer between
# pairs, which few applications have. At λ = 1 no MNIST-M label trains the student; at λ = 0 the teacher is not heard.
#
# T and λ are chosen on held-out validation digits of MNIST-M, and the test set only reports. Those digits have labels, so
# "no labels" means none to train on. Every number is a mean over seeds with Student's 95 % interval.
#
# Ways to go further without labels are axes of their own: `adaptation` (the teacher's batch-normalisation statistics
# re-estimated on MNIST-M: Li et al. 2016, arXiv 1603.04779), `rounds` (the student becomes the next teacher) with `filtering` (only
# confident answers teach), and `augmentation`, which is no part of distillation: every second image in inverted colours, since
# |digit - photo| is bright on dark or dark on bright. A run of these axes has the figures under "Without target labels"; the
# surfaces are of one round without any of them.

# %%
import matplotlib.pyplot as plt
import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.agreement import agreement
from analysis.core.choice import choices, choose, choose_each
from analysis.core.figures.references import Reference, lines
from analysis.core.figures.scales import ordered, palette, reach
from analysis.core.settings import by_seed, find, select, varied

PLANE, METRIC = ("temperature", "kd_weight"), "test_accuracy"
VIEWS = {"source": "teacher sees the clean digit", "target": "teacher sees the MNIST-M image"}
WORDS: dict = {"teacher_view": VIEWS, "target_labels": "{} labels", "rounds": lambda n: tell.count(int(n), "round")}
run = report.open("mnistm_kd", words={**WORDS, "temperature": "T = {:.3g}"})
ONE_ROUND = {"rounds": 1, "adaptation": "none", "filtering": "none", "augmentation": "none"}
unlabelled = select(run.students, {"kd_weight": 1, "teacher_view": "target"})
several = not ONE_ROUND.keys().isdisjoint(run.varied()) and len(unlabelled) > 0
held = ONE_ROUND if several else {}
settings = run.settings(PLANE, ["teacher_view", "target_labels"], select(run.cells, held))
planes = [s for s in settings if not several or s.cells["kd_weight"].nunique() > 1]  # a run of rounds alone has none
chosen = choices(planes, PLANE)

# %% [markdown]
# ## What it is read against
# Our own levels: the teacher on MNIST test and on MNIST-M test (source only), and the student on labels only, with the labels of
# its setting and with all (the oracle). Published, drawn dashed: Ganin et al. 2016 (DANN, arXiv 1505.07818), Table 2, MNIST to
# MNIST-M, with another network and another copy of MNIST-M. A run without source only or the oracle (kd_weight = 0 with
# target_labels = all) has no share of the gap; extend it with these cells to have one.

# %%
PAPER = "arXiv 1505.07818"
PUBLISHED = {"source only": 0.5225, "DANN": 0.7666, "trained on target": 0.9596}
ORACLE = "oracle: all labels"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#B35900", "#007A5A", "#9E4F80", "0.45"
lessons = run.table("teachers")  # and the students that became teachers, as teachers of their rounds
teachers = select(lessons, {"rounds": 1, "adaptation": "none"}).dropna(axis="columns", how="all")


def teacher(domain, setting):
    """Accuracy of the setting's teachers on a domain's test digits, by seed; a single teacher counts for every seed."""
    if teachers.empty:
        return pd.Series(dtype=float)
    values = by_seed(select(teachers, setting.axes), f"{domain}_test_accuracy")
    return values if len(values) != 1 else pd.Series(values.iloc[0], sorted(setting.done["seed"].unique()))


def labels_only(setting, labels):
    """Test accuracy by seed of the students that never heard a teacher, whose view plays no part; else as in the setting."""
    axes = {k: v for k, v in setting.axes.items() if k != "teacher_view"}
    return by_seed(select(run.cells, {**held, **axes, "target_labels": labels, "kd_weight": 0}), METRIC)


def published(*names):
    return [Reference(name, 100 * PUBLISHED[name], f"{PAPER}, Table 2", GREY) for name in names]


def measured(setting):
    """Our levels by seed; empty where the run has not measured them."""
    own = setting.axes["target_labels"]
    found = {"teacher on MNIST": teacher("source", setting), "source only": teacher("target", setting)}
    found[ORACLE] = labels_only(setting, "all")
    return found if own == "all" else {**found, f"labels only ({own})": labels_only(setting, own)}


def levels(axes, *names):
    """Our levels in per cent, and published ones."""
    ours = zip(measured(find(planes, axes)).items(), (BLUE, ORANGE, GREEN, PURPLE), strict=False)
    return [Reference(name, 100 * v.mean(), color=color) for (name, v), color in ours if len(v)] + published(*names)


# %%
if planes:
    known = {"source only": PUBLISHED["source only"], ORACLE: PUBLISHED["trained on target"]}
    ours = {name: tell.percent(v) if len(v) else "not in this run" for name, v in measured(planes[0]).items()}
    beside = [(name, told, f"{100 * known[name]:.2f} %" if name in known else "") for name, told in ours.items()]
    run.show(pd.DataFrame(beside, columns=["level", "ours", f"published, {PAPER}"]))

# %% [markdown]
# ## Test accuracy over temperature and weight
# One surface per setting on the same axes, 0 to 100 %, and the same as numbers: mean, half of the interval. The star, or the frame,
# is the cell chosen on validation, all T where the teacher is not heard; whiskers are intervals; a cross is a cell without a result.
# The surfaces to turn are the same. Then over the temperature, one line per weight, and what is forgotten: accuracy on clean MNIST
# test, of which the student saw no image.

# %%
HEADING = "Test accuracy on MNIST-M"
heard = [s for s in planes if s.name in chosen]
if planes:
    drawn = pd.concat([s.cells for s in planes])
    place: dict = {"rows": ["teacher_view"], "columns": [a for a in planes[0].axes if a != "teacher_view"]}
    framed = [frame for s in heard for frame in chosen[s.name].frames(s.axes)]
    blocks.plane(
        run, drawn, *PLANE, METRIC, HEADING, framed=framed, levels=lambda axes: levels(axes, "DANN"),
        more=published("source only", "trained on target"), **place,
    )  # fmt: skip
    means = statistics.summarise(drawn, [*planes[0].axes, *PLANE], METRIC)
    least = min(means[[METRIC, "low"]].min().min(), *(level.value for s in planes for level in levels(s.axes, "DANN")))
    blocks.learning(
        run, drawn, "temperature", METRIC, f"{HEADING} over the temperature, mean and 95 % interval", per="kd_weight", name="curves",
        levels=lambda axes: levels(axes, *PUBLISHED), limits=(max(0, least // 10 * 10), 101), **place,
    )  # fmt: skip
    forgot: dict = {"name": "forgetting", "surfaces": False, "framed": framed, **place}
    blocks.plane(run, drawn, *PLANE, "source_accuracy", "Accuracy on clean MNIST", **forgot)

# %% [markdown]
# ## While learning
# Validation accuracy of the chosen cell and of labels only, at every evaluation.


# %%
def evaluations(setting):
    cells = {"chosen on validation": chosen[setting.name].best, "labels only": {"kd_weight": 0}}
    return pd.concat([setting.history({**held, **cell}).assign(which=name) for name, cell in cells.items()])


def name_chosen(ax, panel):
    cell = tell.cell(chosen[find(heard, panel.values).name].best)
    ax.text(0.98, 0.04, f"chosen: {cell}", transform=ax.transAxes, ha="right", fontsize=9)


if heard:
    blocks.learning(
        run, pd.concat(map(evaluations, heard)), "step", "val_accuracy", "Learning, mean and 95 % interval", per="which", legend="",
        colors={"chosen on validation": "black", "labels only": PURPLE}, also=name_chosen, ylabel="validation accuracy, %", **place,
    )  # fmt: skip

# %% [markdown]
# ## In one row
# The cell of each setting that validation chose, between our levels (grey) and the published ones (pale).

# %%
KINDS = {VIEWS["source"]: "#56B4E9", VIEWS["target"]: "#E69F00", "teacher or labels alone": "0.55", "published": "0.85"}
if planes:
    ALONE, sizes = "teacher or labels alone", dict.fromkeys(s.axes["target_labels"] for s in planes)
    best = {s.name: f"{run.named(s.axes)}\n{tell.cell(chosen[s.name].best)}" for s in heard}
    rungs = [
        *(blocks.rung(f"{name} [{PAPER}]", [value], "published", METRIC) for name, value in PUBLISHED.items()),
        *(blocks.rung(f"labels only, {n}", labels_only(planes[0], n), ALONE, METRIC) for n in sizes),
        blocks.rung("source only: the teacher", teacher("target", planes[0]), ALONE, METRIC),
        *(blocks.rung(best[s.name], chosen[s.name].by_seed(), VIEWS[s.axes["teacher_view"]], METRIC) for s in heard),
    ]
    blocks.ladder(run, rungs, METRIC, HEADING, KINDS)

# %% [markdown]
# ## Without target labels: rounds and adaptation
# At λ = 1, with a teacher that is shown the MNIST-M image. Round 0 is the teacher itself, round 1 its student, round 2 the
# student of that student. At every point T is the one that the rule chooses. The rule reads no label: it takes the cell whose
# students of different seeds, each with a teacher of its own, agree most on validation images (Cohen's κ, so that naming one
# class always is no agreement). A second rule needs no seeds: the largest information that answers give of their images,
# H(mean answer) - mean H(answer); students that are sure of what is wrong deceive it.

# %%
SECOND, ADAPTED = "val_information", {"none": "", "batch_norm": ", re-estimated"}
if several:
    apart = ["teacher", "adaptation", "augmentation", "rounds", "temperature"]
    rest = [a for a in run.axes if a not in (*apart, *PLANE, "teacher_view", "target_labels")]
    keys = [*apart, *varied(unlabelled, rest)]
    agree = agreement(unlabelled, keys, run.table("answers"))
    RULE = SECOND if agree.isna().all() else "val_agreement"
    chain = unlabelled[keys].drop(columns="temperature").astype(str).sum(axis=1)
    chains = unlabelled.assign(val_agreement=agree, chain=chain)
    picked = pd.concat([choice.students for choice in choose_each(chains, "chain", ["temperature"], by=RULE).values()])
    start = select(lessons, {"rounds": 1}).assign(rounds=0, **{METRIC: lambda table: table["target_test_accuracy"]})
    both = pd.concat([picked, *(start.assign(augmentation=a) for a in picked["augmentation"].unique())])
    both["variant"] = both["teacher"] + both["adaptation"].map(ADAPTED)
    tints = palette(ordered(both["variant"]))
    filtering = " and ".join(map(str, picked["filtering"].unique()))
    blocks.learning(
        run, both, "rounds", METRIC, f"{HEADING} without target labels, filtering {filtering}, mean and 95 % interval", per="variant",
        columns=["augmentation"], colors=tints, levels=published(*PUBLISHED), name="rounds", legend="teacher",
        xlabel="rounds (0: the teacher itself)", also=lambda ax, panel: ax.set_xticks(sorted(both["rounds"].unique())),
    )  # fmt: skip

# %% [markdown]
# What the rule sees against what is true of it, one point per cell: a rule worth having rises from left to right.


# %%
def rule_against_truth():
    """rule.png: test accuracy over the rule's measure; hollow where the student saw inverted images."""
    table = statistics.summarise(chains, keys, METRIC).merge(chains.groupby(keys)[RULE].mean().reset_index())
    figure, ax = plt.subplots(figsize=(9.5, 5.2), layout="constrained")
    for (name, adaptation, augmentation), part in table.groupby(["teacher", "adaptation", "augmentation"]):
        variant = f"{name}{ADAPTED[str(adaptation)]}"
        style = {"color": tints[variant], "markerfacecolor": tints[variant] if augmentation == "none" else "white"}
        ax.errorbar(part[RULE], part[METRIC], reach(part, METRIC), fmt="o", label=f"{variant}, {augmentation}", **style)
    marks = {"chosen by the rule": ("rule", "*", 260), "by validation labels": ("labels", "s", 150)}
    for text, (who, marker, size) in marks.items():
        at = select(table, picks[who].best)
        ax.scatter(at[RULE], at[METRIC], size, c="none", marker=marker, edgecolors="black", label=text, zorder=5)
    measure = "agreement of seeds, Cohen's κ" if RULE != SECOND else "information of the answers, nats"
    ax.set(ylim=(0, 100), xlabel=f"{measure}, on validation images (no label read)", ylabel="test accuracy, %")
    lines(published("DANN"), ax)
    figure.legend(title="teacher, augmentation", loc="outside right center", fontsize=8)
    figure.suptitle(run.title("The rule of choice against test accuracy, mean and 95 % interval"), fontsize=11)
    run.figure(figure, "rule")


if several:
    made = {
        who: choose(chains, keys, by=by)
        for who, by in {"rule": RULE, "labels": "val_accuracy", "second": SECOND}.items()
    }
    made["plain"] = choose(select(chains, {"augmentation": "none"}), keys, by=RULE)
    picks = {who: choice for who, choice in made.items() if choice}
    rule_against_truth()

# %% [markdown]
# ## What came out
# Computed from the rows. A rival of what was chosen is as good (within half a point), worse, or open, by intervals that hold for all together.


# %%
titles = {s.name: tell.capital(run.named(s.axes)) for s in planes}


def gap(accuracy, setting):
    """What share of the gap between source only and the oracle is closed, in words; "" where a level is missing."""
    share = statistics.share_of_gap(accuracy, teacher("target", setting), labels_only(setting, "all"))
    if share.isna().any():
        return ", but the oracle is not above source only for every seed, so there is no gap to close"
    return f", which closes {tell.share(share)} of the gap between source only and the oracle" * bool(len(share))


def setting_sentence(setting):
    head, own, choice = titles[setting.name], setting.axes["target_labels"], chosen.get(setting.name)
    if choice is None:
        return f"**{head}**: no student is done."
    accuracy, baseline, hears = choice.by_seed(), labels_only(setting, own), choice.best["kd_weight"] > 0
    beside = f"; against labels only {paired(accuracy, baseline)}" * hears
    if baseline.empty:
        beside = "; labels only (kd_weight = 0) is not in this run to compare with"
    worth = gap(accuracy, setting) if hears or own != "all" else ", which is the oracle"
    return f"**{head}**: validation chooses {tell.cell(choice.best)}; test accuracy {tell.percent(accuracy)}{worth}{beside}."


def paired(a, b):
    difference = statistics.paired(a, b)
    return f"{tell.points(difference)}, paired by seed: {tell.moves(difference)}"


def rivals_sentence(setting):
    """What the choice is worth; at weights of 0 and 1 a range has come to its end, and nothing lies outside."""
    choice, tried, weight = chosen[setting.name], setting.done, chosen[setting.name].best["kd_weight"]
    ends = {"temperature": "T"} if weight else {}
    ends |= {"kd_weight": "λ"} if 0 < weight < 1 else {}
    edge = tell.edge(choice, {a: f"{s} ({tried[a].min():.3g} to {tried[a].max():.3g})" for a, s in ends.items()}, tried)
    return f"{titles[setting.name]}, the rivals of this choice: {tell.choice(choice)} {edge}".strip()


# %%
def reading_line(target, source):
    """What the other view of the teacher changes, at the same labels and all else."""
    at = {axis: value for axis, value in target.axes.items() if axis != "teacher_view"}
    return {"at": run.named(at), "difference": paired(chosen[source.name].by_seed(), chosen[target.name].by_seed())}


both_views = [(t, s) for t in heard for s in heard if {**t.axes, "teacher_view": "source"} == s.axes != t.axes]
if both_views:
    heading = "The best student of a teacher that sees the clean digit, less that of one that sees the MNIST-M image"
    run.show([reading_line(*views) for views in both_views], heading)


def no_label_sentences():
    """kd_weight 1: the same students whatever target_labels is, so each view once."""
    for view, setting in {s.axes["teacher_view"]: s for s in reversed(planes)}.items():
        choice = choose(select(setting.students, {"kd_weight": 1}), PLANE)
        if choice:
            yield (
                f"With no MNIST-M label to train on (kd_weight = 1), {VIEWS[view]}: T = {choice.best['temperature']:.3g} gives "
                f"{tell.percent(choice.by_seed())}{gap(choice.by_seed(), setting)}."
            )


# %%
def chain_sentences():
    """What the rule and what labels choose; first what rounds and adaptation give by themselves."""
    reported = {"plain": "among students without augmentation the rule", "rule": "the rule, which reads no label,"}
    for who, text in {**reported, "labels": "validation labels would"}.items():
        if who not in picks or (who == "plain" and chains["augmentation"].nunique() == 1):
            continue
        choice, verb = picks[who], "choose" if who == "labels" else "chooses"
        accuracy, level = choice.by_seed(), PUBLISHED["DANN"]
        side = tell.moves(statistics.interval(accuracy - level), "the mean is above it", "the mean is below it")
        yield (
            f"Without target labels: {text} {verb} {run.named(choice.best)}; test accuracy {tell.percent(accuracy)}, seeds from "
            f"{100 * accuracy.min():.1f} to {100 * accuracy.max():.1f} %. {(accuracy > level).sum()} of "
            f"{tell.count(choice.n, 'seed')} pass DANN's published {100 * level:.2f} %: {side}. {tell.choice(choice, run.named, lead=False)}"
        )


# %%
def rule_sentences():
    rule, labels = picks["rule"], picks["labels"]
    lacks = tell.points(statistics.paired(rule.by_seed(), labels.by_seed()))
    differ = f"What the rule lacks against validation labels: {lacks}, paired by seed."
    yield differ if rule.best != labels.best else "The rule chooses what validation labels would have chosen."
    means = chains.groupby(keys)[[*dict.fromkeys((RULE, SECOND)), METRIC]].mean()
    rank, second = means.corr(method="spearman")[METRIC], picks["second"]
    yield (
        f"Over the {len(means)} cells the rank correlation of the rule's measure with test accuracy is {rank[RULE]:.2f}; that "
        f"of {SECOND} is {rank[SECOND]:.2f}, and it would choose {run.named(second.best)}, {100 * second.by_seed().mean():.1f} % on test."
    )


def changes():
    """What re-estimation gives in the first round, inversion in the last, and the last round against the first."""
    first, last = chains["rounds"].min(), chains["rounds"].max()
    for axis, before, after, at in (
        ("adaptation", "none", "batch_norm", [first]), ("rounds", first, last, [first, last]), ("augmentation", "none", "inversion", [last]),
    ):  # fmt: skip
        rest = [name for name in keys if name not in (axis, "temperature")]
        yield from tell.changes(picked[picked["rounds"].isin(at)], axis, before, after, rest, METRIC, run.named)


if several:
    run.show(list(changes()), "What one axis changes, paired by seed")

# %%
low, dann, high = (PUBLISHED[name] for name in ("source only", "DANN", "trained on target"))
nearest = (
    f"Published for comparison: DANN {100 * dann:.2f} %, which is {100 * (dann - low) / (high - low):.1f} % of the gap by the formula used "
    f"here on the accuracies of its table (the table prints 52.9 %), with no target label; {PAPER}, Table 2."
)
run.close(
    [*map(setting_sentence, planes), *(chain_sentences() if several else ())],
    [
        *map(rivals_sentence, heard), *no_label_sentences(), *(rule_sentences() if several else ()), nearest,
    ],
)  # fmt: skip
