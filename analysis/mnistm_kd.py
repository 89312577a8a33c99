# %% [markdown]
# # Can a teacher of MNIST teach MNIST-M?
#
# A teacher is trained on MNIST. A student learns MNIST-M from the teacher's answers and from some labels, by
# (1 - λ) cross-entropy + λ T² KL(teacher ‖ student), with the temperature T and the weight λ = `kd_weight` (Hinton et al. 2015,
# arXiv 1503.02531): at λ = 0 the teacher is not heard, at λ = 1 no MNIST-M label trains the student. Read as domain adaptation: how
# much of the way from the teacher alone (*source only*) to a student with all labels (the *oracle*) do the teacher's answers go?
# With `teacher_view = target` the teacher is shown the MNIST-M image itself: adaptation, with a weak teacher. With `source` it is
# shown the clean digit behind the image: transfer between pairs, which few applications have.
#
# T and λ are chosen on held-out digits of MNIST-M that have labels, so "no labels" means none to train on.

# %%
import pandas as pd

from analysis.core import blocks, report, statistics, tell
from analysis.core.agreement import without_labels
from analysis.core.choice import choices, choose, framed
from analysis.core.figures.measures import measures
from analysis.core.figures.references import Reference, levels, lines
from analysis.core.figures.scales import ordered, palette
from analysis.core.settings import by_seed, find, select, varied

PLANE, METRIC = ("temperature", "kd_weight"), "test_accuracy"
VIEWS = {"source": "teacher sees the clean digit", "target": "teacher sees the MNIST-M image"}
run = report.open("mnistm_kd", words={"teacher_view": VIEWS, "target_labels": "{} labels", "temperature": "T = {:.3g}"})
ONE_ROUND = {"rounds": 1, "adaptation": "none", "filtering": "none", "augmentation": "none"}
unlabelled = select(run.students, {"kd_weight": 1, "teacher_view": "target"})
several = not ONE_ROUND.keys().isdisjoint(run.varied()) and len(unlabelled) > 0
held = ONE_ROUND if several else {}
settings = run.settings(PLANE, ["teacher_view", "target_labels"], select(run.cells, held))
planes = [s for s in settings if not several or s.cells["kd_weight"].nunique() > 1]  # a run of rounds alone has none
chosen = choices(planes, PLANE, margin=run.margin)
heard = {setting: choice for setting, choice in chosen.items() if choice.best["kd_weight"] > 0}

# %% [markdown]
# ## What it is read against
# Our own levels: the teacher on MNIST test and on MNIST-M test (source only), the student on labels only, with those of its setting
# and with all (the oracle); without source only or the oracle a run has no share of the gap. Published, dashed: Ganin et al. 2016
# (DANN, arXiv 1505.07818), Table 2, without target labels, with another network and another copy of MNIST-M. DANN's 76.66 % closes
# 55.8 % of the gap from 52.25 (source only) to 95.96 % (trained on target) by the formula used here; the table prints 52.9 %.

# %%
PAPER = "arXiv 1505.07818"
PUBLISHED = {"source only": 0.5225, "DANN": 0.7666, "trained on target": 0.9596}
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#B35900", "#007A5A", "#9E4F80", "0.45"
lessons = run.table("teachers")  # and the students that became teachers, as teachers of their rounds
teachers = select(lessons, {"rounds": 1, "adaptation": "none"}).dropna(axis="columns", how="all")


def teacher(domain, setting):
    """Accuracy of the setting's teachers on a domain's test digits, by seed; a single teacher counts for every seed."""
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
    found |= {"oracle: all labels": labels_only(setting, "all")}
    return found if own == "all" else {**found, f"labels only ({own})": labels_only(setting, own)}


def all_levels(*names):
    """The levels of a panel in per cent: ours, and these published ones."""
    ours = (BLUE, ORANGE, GREEN, PURPLE)
    return lambda axes: [*levels(measured(find(planes, axes)), ours), *published(*names)]


if planes:
    known = [{"level": name, "ours": tell.percent(v)} for name, v in measured(planes[0]).items() if len(v)]
    run.show(known, f"Our levels on test, {planes[0].title}")

# %% [markdown]
# ## Test accuracy over temperature and weight
# One surface per setting on the same axes, and the same as numbers: mean, half of the interval. The star, or the frame, is the cell
# chosen on validation, all T where the teacher is not heard; whiskers are intervals; a cross is a cell without a result. Then over the
# temperature, one line per weight, and what the student knows of clean MNIST, of which it was shown no image: accuracy on its test digits.

# %%
HEADING = "Test accuracy on MNIST-M"
if planes:
    drawn = pd.concat([s.cells for s in planes])
    place: dict = {"rows": ["teacher_view"], "columns": [a for a in planes[0].axes if a != "teacher_view"]}
    how: dict = {"framed": framed(chosen), **place}
    further = published("source only", "trained on target")
    blocks.plane(run, drawn, *PLANE, METRIC, HEADING, levels=all_levels("DANN"), more=further, **how)
    lined: dict = {"per": "kd_weight", "name": "curves", "levels": all_levels(*PUBLISHED), "limits": (None, 101), **how}
    blocks.learning(run, drawn, "temperature", METRIC, f"{HEADING} over the temperature", **lined)
    marked = [{k: v for k, v in frame.items() if k != "state"} for frame in framed(chosen) if frame["state"] == "chosen"]
    clean: dict = {"name": "clean_mnist", "surfaces": False, **how, "framed": marked, "framing": "chosen on validation of MNIST-M"}
    blocks.plane(run, drawn, *PLANE, "source_accuracy", "Accuracy on clean MNIST, of which the student was shown no image", **clean)

# %% [markdown]
# ## While learning, and in one row
# Validation accuracy of the chosen cell and of labels only, at every evaluation. Then the chosen cell of each setting, where it is not
# labels only, between our levels (grey) and the published ones (pale).


# %%
def evaluations(setting):
    cells = {"chosen on validation": chosen[setting].best, "labels only": {"kd_weight": 0}}
    return pd.concat([setting.history({**held, **cell}).assign(which=name) for name, cell in cells.items()])


def name_chosen(ax, panel):
    cell = tell.cell(chosen[find([*chosen], panel.values)].best)
    ax.set_title(f"{panel.title}\nchosen: {cell}", fontsize=10.5)
    ax.lines[0].set(linewidth=4.5, alpha=0.7)  # labels only, seen where it is what was chosen


ALONE = "teacher or labels alone"
KINDS = {VIEWS["source"]: "#56B4E9", VIEWS["target"]: "#E69F00", ALONE: "0.55"}
if chosen:
    blocks.learning(
        run, pd.concat(map(evaluations, chosen)), "step", "val_accuracy", "Learning", per="which", legend="",
        colors={"labels only": PURPLE, "chosen on validation": "black"}, also=name_chosen, ylabel="validation accuracy, %",
        limits=(None, None), **place,
    )  # fmt: skip
if planes:
    sizes = dict.fromkeys(s.axes["target_labels"] for s in planes)
    alone = [(f"labels only, {n}", labels_only(planes[0], n), ALONE) for n in sizes]
    source = "source only: the teacher", teacher("target", planes[0]), ALONE
    ours = [(f"{s.title}\n{tell.cell(c.best)}", c.by_seed(), VIEWS[s.axes["teacher_view"]]) for s, c in heard.items()]
    theirs = {f"{name} [{PAPER}]": value for name, value in PUBLISHED.items()}
    blocks.ladder(run, [*alone, source, *ours], METRIC, HEADING, KINDS, published=theirs)

# %% [markdown]
# ## What is taken for what
# Of the chosen cells, all seeds together.

# %%
if chosen:
    best = pd.concat([choice.students.assign(**s.axes) for s, choice in chosen.items()])
    blocks.confusions(run, best, "Which digit of MNIST-M test is taken for which", columns=[*planes[0].axes] if planes else [])

# %% [markdown]
# ## Without target labels: rounds and adaptation
# Ways to go further at λ = 1, with a teacher that is shown the MNIST-M image: `adaptation` (the teacher's batch-normalisation
# statistics re-estimated on MNIST-M: Li et al. 2016, arXiv 1603.04779), `rounds` (the student becomes the next teacher; round 0 is
# the teacher itself) with `filtering` (only confident answers teach), and `augmentation`, which is no part of distillation: every second
# image in inverted colours, since |digit - photo| is bright on dark or dark on bright. The figures above are of one round without these.
# The rule reads no label: it takes the cell whose students of different seeds, each with a teacher of its own, agree most on
# validation images (Cohen's κ, so that naming one class always is no agreement); at every point of the first figure it chooses T.
# Another needs no seeds: it takes the largest information of the answers, H(mean answer) - mean H(answer); students that are sure of
# what is wrong deceive it. Second figure: a rule worth having rises from left to right; hollow: the student saw inverted images.
#
# First table: the cell that each way to choose takes, the range of its seeds, what it loses to the choice of validation labels, and the
# rank correlation (Spearman) of what it chooses by with test accuracy. Second: what a further value of an axis changes.


# %%
def variant(table):
    return table["teacher"] + table["adaptation"].map({"none": "", "batch_norm": ", re-estimated"})


if several:
    apart = ["teacher", "adaptation", "augmentation", "rounds"]
    keys = [*apart, *varied(unlabelled, [axis for axis in run.axes if axis not in (*apart, "temperature")])]
    judged = without_labels(unlabelled, keys, "temperature", run.table("answers"))
    start = select(lessons, {"rounds": 1}).assign(rounds=0, **{METRIC: lambda table: table["target_test_accuracy"]})
    both = pd.concat([judged.picked, *(start.assign(augmentation=a) for a in judged.picked["augmentation"].unique())])
    tints = palette(ordered(variant(both)))
    heading = f"{HEADING} without target labels, filtering {' and '.join(judged.picked['filtering'].unique())}"
    blocks.learning(
        run, both.assign(variant=variant), "rounds", METRIC, heading, per="variant", colors=tints,
        columns=["augmentation"], levels=published(*PUBLISHED), name="rounds", legend="teacher",
        xlabel="rounds (0: the teacher itself)", also=lambda ax, panel: ax.set_xticks(sorted(both["rounds"].unique())),
    )  # fmt: skip


# %%
def against_truth(ax, panel):
    marked = {f"chosen by {who}": select(panel.table, judged.choices[who].best) for who in list(judged.choices)[:2]}
    measures(panel.table, judged.rule, METRIC, marked, ax)
    lines(published("DANN"), ax)


def choice_line(who):
    choice, accuracy, cells = judged.choices[who], judged.choices[who].by_seed(), judged.by_cell(who)
    return {
        "chosen by": who, "cell": run.named(choice.best), "test accuracy": tell.percent(accuracy),
        "seeds": f"{100 * accuracy.min():.1f} to {100 * accuracy.max():.1f} %, {(accuracy > PUBLISHED['DANN']).sum()} above DANN",
        "less the choice of validation labels": tell.difference(accuracy, judged.choices["validation labels"].by_seed()),
        "rank correlation with test accuracy": f"{cells['score'].corr(cells[METRIC], 'spearman'):.2f} of {len(cells)} cells",
        "rivals": tell.choice(choice, run.named),
    }  # fmt: skip


if several:
    points = judged.by_cell("rule").rename(columns={"score": judged.rule})
    points["kind"], points["color"] = variant(points) + ", " + points["augmentation"], variant(points).map(tints)
    points["hollow"] = points["augmentation"] != "none"
    blocks.facets(run, points, against_truth, "The rule of choice against test accuracy", name="rule", spread=True)
    run.show(map(choice_line, judged.choices), "What each way to choose takes")
    ends = judged.picked[judged.picked["rounds"].isin([min(run.axes["rounds"]), max(run.axes["rounds"])])]
    firsts = {axis: run.axes[axis][0] for axis in ("adaptation", "rounds", "augmentation")}
    changes = tell.changes(ends, firsts, keys, METRIC, run.named)
    run.show(changes, "Against the first value of an axis, in the first and the last round")

# %% [markdown]
# ## What came out
# Share of the gap: (accuracy - source only) / (oracle - source only), by seed. In the table what was chosen among the students at λ = 1
# alone, which no MNIST-M label trained, and whether a choice lies at the edge of the grid.


# %%
def gap(accuracy, setting):
    """What share of the gap between source only and the oracle is closed; "" where a level is missing."""
    share = statistics.share_of_gap(accuracy, teacher("target", setting), labels_only(setting, "all"))
    if share.isna().any():
        return "not defined, for the oracle is not above source only for every seed"
    above = ", more than all: it is above that student" * bool(share.mean() > 1)
    return (tell.share(share) + above) * bool(len(share))


def against_labels(choice):
    """The chosen cell less labels only on test, by the interval that holds for all its rivals, and what this says; nothing where
    labels only was chosen or not trained."""
    if choice.best["kd_weight"] == 0 or (alone := select(choice.rivals, {"kd_weight": 0})).empty:
        return None, ""
    line = alone.iloc[0]
    if line["high"] < 0:
        return line["difference"], "a loss"
    seeds = f"{tell.count(choice.n, 'seed')} cannot tell"
    return line["difference"], {"worse": "a gain", "as good": "as good", "open": seeds}[line["state"]]


def answer(setting):
    if setting not in chosen:
        return f"**{tell.capital(setting.title)}**: no student is done."
    choice = chosen[setting]
    lead, verdict = against_labels(choice)
    if lead and lead.n == 2:  # both differences, for an interval of two says little
        lead = statistics.paired(choice.by_seed(), labels_only(setting, setting.axes["target_labels"]))
    than = f"Against labels only, {tell.points(lead)}: {verdict}. " if verdict else ""
    closed = gap(choice.by_seed(), setting) if setting in heard else ""
    told = f"Of the gap between the teacher itself and a student with all labels it closes {closed}." * bool(closed)
    return tell.answer(setting.title, choice, then=than + told, most=0)


# %%
def worth(setting, choice):
    """What a choice is worth. At weights of 0 and 1 a range has come to its end, and nothing lies outside."""
    weight, line = choice.best["kd_weight"], {"setting": tell.capital(setting.title)}
    words = {"temperature": "T"} | ({"kd_weight": "λ"} if weight < 1 else {})
    line["edge"] = tell.edge(choice, words, setting.done) if weight > 0 else ""
    if alone := choose(select(setting.students, {"kd_weight": 1}), PLANE):  # the same whatever target_labels is
        line |= {"T at λ = 1": f"{alone.best['temperature']:.3g}", "test accuracy there": tell.percent(alone.by_seed())}
        line["share of the gap there"] = gap(alone.by_seed(), setting)
    return line


if chosen:
    first = sum(choice.stands_out for choice in chosen.values())
    stand = f"{first} of {len(chosen)} choices stand out from all their rivals"
    run.show([worth(*each) for each in chosen.items()], stand)
    views = tell.changes(best, {"teacher_view": "target"}, [*planes[0].axes], METRIC, run.named)
    run.show(views, "Best student of a teacher that sees the clean digit, less that of one that sees the MNIST-M image")


# %%
def unheard(setting):
    """What it says that validation chooses labels only, by how the students stand that hear the teacher; nothing where none is planned."""
    hearing = chosen[setting].rivals.query("kd_weight > 0")["state"]
    if hearing.empty:
        return "not known yet, for no student that hears the teacher is done" * bool((setting.cells["kd_weight"] > 0).any())
    if (hearing == "open").any():
        return f"validation chooses labels only, but {tell.count(chosen[setting].n, 'seed')} cannot tell"
    return "no, labels only is " + ("as good" if (hearing == "as good").any() else "better")


def brief():
    """Whether the teacher helps: each setting, the verdict, and both accuracies."""
    words, said = {"a gain": "yes", "a loss": "no, it does harm", "as good": "no, labels only is as good"}, []
    for setting, choice in chosen.items():
        _, verdict = against_labels(choice)
        if verdict:
            ours, alone = (100 * v.mean() for v in (choice.by_seed(), labels_only(setting, setting.axes["target_labels"])))
            helps = f"{words.get(verdict, verdict)} ({ours:.1f} % against {alone:.1f} by labels only)"
            said.append(f"{tell.capital(setting.title)}: {helps}.")
        elif choice.best["kd_weight"] > 0 and 0 in set(setting.cells["kd_weight"]):
            said.append(f"{tell.capital(setting.title)}: not known yet, for labels only is not done.")
    alike: dict[str, list[str]] = {}
    for setting in chosen:
        if setting not in heard and (why := unheard(setting)):
            alike.setdefault(why, []).append(f"{setting.title} ({100 * chosen[setting].by_seed().mean():.1f} %)")
    said += [f"{tell.capital('; '.join(titles))}: {why}." for why, titles in alike.items()]
    return [f"**Does the teacher help?** {' '.join(said)}"] * bool(said)


def ruled(who, choice):
    told = tell.published("DANN", choice.by_seed(), 100 * PUBLISHED["DANN"], PAPER)
    return f"**No target labels**, none to choose by either ({who}): {run.named(choice.best)}; test accuracy {told}."


choices_made = judged.choices.items() if several else ()
rules = [ruled(who, choice) for who, choice in choices_made if who.startswith("rule")]
rivals = [f"**{tell.capital(setting.title)}**: {tell.choice(choice)}" for setting, choice in chosen.items()]
in_short = [answer(setting) for setting in planes if setting in heard or setting not in chosen]
at_length = [answer(setting) for setting in chosen if setting not in heard]
run.close([*brief(), *in_short, *rules], [*at_length, *rivals])
