# %% [markdown]
# # What makes a metric, a label and a difference of two search engines worth trusting?
#
# Three assignments on the quality of web search, each a sweep over simulated worlds, thousands at once.
#
# 1. Three metrics of search quality other than the usual ones, and why they can serve as main ones.
# 2. Three methods that improve the quality of relevance labels.
# 3. The p-value of "Google's results for a query are significantly better than Yandex's for the same query".
#
# A metric, a method, a test is chosen on validation worlds and reported on test worlds, which are other draws; n counts seeds,
# each with its own worlds. Judgements come from a file (`--judgements`, an empty one by `--form`), the level of the verdicts from
# `--level`. The file that ships is an example: made up, no engine was asked and no person judged.

# %%
from functools import partial

import pandas as pd

from analysis.core import blocks, labels, report, search, tell
from analysis.core.choice import choose, choose_each
from analysis.core.search import MEASURES, MODELS, OWN
from analysis.core.settings import select, stacked

EXAMPLE = "the example (made up)"
run = report.open(
    "search_quality",
    words={
        "page": {"plain": "plain pages: links alone", "mixed": "mixed pages: blocks, intents, harm"},
        "judgements": lambda name: EXAMPLE if name == "example" else name.replace("\\", "/").rpartition("/")[2],
        "effect": "better by {} grades",
        "bad_share": lambda share: f"{100 * share:g} % bad assessors",
        "gains": {"even": "every query gains", "few": "one query in five gains"},
    },
)  # fmt: skip
part = partial(search.usual, run.asked)
tasks = set(run.asked["task"])


def of(task):
    """The run for a figure of one task: its title counts the seeds of that task."""
    return run.about(run.info.get("data_description", ""), select(run.students, {"task": task}))

level = next(iter(part("pvalue")["level"]), search.ALPHA)
at = f"{100 * level:g} %"

# %% [markdown] tags=["task=metrics"]
# # 1. Metrics
# ## The usual ones
# A judge gives each result a grade g from 0 to 4, worth R = (2^g - 1) / 16: ERR's scale, which part 3 calls exponential. There the claim
# is about pFound as Yandex publishes it, so its grades are worth Yandex's own pRel.
#
# | metric | formula | source |
# | --- | --- | --- |
# | nDCG | Σ (2^g - 1) / log₂(1 + i), over that of the best order | Järvelin and Kekäläinen 2002 |
# | ERR | Σ 1/i · R_i · Π_{j<i} (1 - R_j) | Chapelle et al. 2009 |
# | RBP | (1 - p) Σ g_i/4 · p^(i-1), p = .8 | Moffat and Zobel 2008 |
# | AP | mean precision at the relevant results, g ≥ 2 | TREC |
# | pFound | Σ pLook_i R_i, pLook_i = pLook_(i-1) (1 - R_(i-1)) (1 - pBreak), pBreak = .15 | Yandex, ROMIP |
#
# ## Three of our own
# **Swift success**: Σ pLook_i R_i exp(-C_i / 5), with pFound's looks and C_i the effort up to element i: a plain link or an ad costs
# one look, an answer or an image half. *Why a main one*: users pay in time; a success on the first screen and one after eight links
# are not the same, and its unit (success, discounted by looks) can be measured in a log. *Limits*: costs and patience must be
# measured for each kind of element; it says nothing of harm, nor of people who meant something else. It is kin to time-biased gain
# (Smucker and Clarke 2012). Of the users simulated here only the hurried pay for effort, so it can be a main metric for them alone.
#
# **Block coverage**: Σ_u w_u [1 - Π_{i of intent u} (1 - seen_i · .8^block · R_i)]: of all that people mean by the query, weighted by how
# many mean it, the share that the page serves. Neighbouring images, and neighbouring ads, are one block and seen at one glance; each
# link and each answer is a block of its own; rank counts blocks. *Why a main one*: it is the only one here that reads the page as
# blocks and rewards the first good result for each intent more than the third for the same. *Limits*: intents and their weights
# must be known (here it is told the true ones), and how far each kind of block is seen (a guess here: half overlook ads); it takes looks to be independent, so a result that ends the search takes
# nothing from those below. It is kin to the intent-aware metrics (Agrawal et al. 2009).
#
# **Unharmed success**: Σ pLook_i (1 - h_i) R_i, where a harmful element (broken, stale, misleading) that is looked at ends the
# walk: the share of visits that end in success before any harm, so harm counts by the chance that it is seen. *Why a main one*: a page
# that misleads loses a user, and no other metric here takes anything off for it. *Limits*: harm must be judged beside relevance,
# which costs labels; a judge who misses it turns the metric into pFound. Here judges notice nine tenths of it. Its walk: the first
# element is looked at for sure; after one without harm the share (1 - R)(1 - pBreak) of those who looked goes on, after one with harm nobody.
#
# ## Ours by hand
# One page of six elements; 70 of 100 people mean A, 30 mean B.

# %% tags=["task=metrics"]
page, by_hand = search.by_hand()
sums = [{"metric": MEASURES[name], "value": f"{value:.3f}", "is": search.SUMS[name]} for name, value in by_hand.items()]
if "metrics" in tasks:
    run.show(page.round(3).rename(columns=search.BY_HAND), "Element by element")
    run.show(sums, "What they add up to")

# %% [markdown] tags=["task=metrics"]
# ## Does a metric agree with users?
# Simulated users click by five models and leave satisfied or not, exactly computed. Of each two pages for one query: how often
# does the metric order them as satisfaction does? One half is chance. Plain pages have no blocks, one intent and no harm: there
# unharmed success is pFound, our other metrics differ from the usual by how looks and effort fall with the rank alone, and the federated
# model (blocks draw looks) is the position based.
# On mixed pages these users get nothing from a harmful element, and half of those who click on one leave; grades know nothing of it. So
# the lead of unharmed success says how much such users would be missed by the others, not that real users are such. Hurried users are
# DBN users who pay for effort: a success counts exp(-cost / 4), links cost 1, answers .4, images .6, ads .9. Swift success does not
# know these numbers and guesses others; its lead says as much, and as little.

# %% tags=["task=metrics"]
if "metrics" in tasks:
    blocks.intervals(
        of("metrics"), part("metrics", "page", "click_model"), "clicks", "test_users_agreement", "Agreement with users' satisfaction",
        per="metric", columns=["page"], name="agreement", size=(8.5, 5.0), xlabel="how users click",
        note="50 %: chance", also=lambda ax, panel: ax.set_xlim(-0.5, len(MODELS) - 0.5),
    )  # fmt: skip


def choices_for(page):
    """{users: the metric that validation chooses for them, and what it is worth}"""
    lines = part("metrics", "click_model", page=page)
    how = {"by": "val_users_agreement", "report": "test_users_agreement", "margin": run.margin}
    return choose_each(lines.sort_values("clicks"), "clicks", ["metric"], **how)


for_whom = {page: choices_for(page) for page in ("mixed", "plain") if page in set(part("metrics", "page")["page"])}
run.show(
    [
        {
            "pages": run.word("page", kind_of_page), "users": str(users), "validation chooses": str(choice.best["metric"]),
            "ordered as users do": tell.percent(choice.by_seed()), "not told worse": ", ".join(map(str, choice.ties["metric"])),
        }
        for kind_of_page, of_users in for_whom.items() for users, choice in of_users.items()
    ],
    "Which metric, for whom",
)  # fmt: skip

# %% [markdown] tags=["task=metrics"]
# ## What a metric must do
# Pairs of pages, and of systems by their means over 50 queries, ordered as by users; pairs of systems that a paired t-test tells apart
# at 5 % (discriminative power), and pairs not told apart the wrong way round; pairs of pages ordered with every fifth judgement
# missing as without; and ordered with a low as with a high value of the metric's own parameter, which the table names.

# %% tags=["task=metrics"]
DUTIES = {
    "as users:\npages": "test_users_agreement", "as users:\nsystems": "test_system_agreement",
    "told apart": "test_separated_share", "not\nwrongly": "right_share", "judgements\nmissing": "test_kept_share", "parameter\nchanged": "test_parameter_share",
}  # fmt: skip
if "metrics" in tasks:
    some = part("metrics", missing=0.2)
    each = stacked(some.assign(right_share=1 - some["test_wrong_share"]), "duty", "share", DUTIES)
    duty = each.assign(duty=pd.Categorical(each["duty"], list(DUTIES)))
    blocks.plane(
        of("metrics"), duty, "duty", "metric", "share", "What a metric must do: shares of pairs, more is better", name="duties",
        note="of all columns every fifth judgement is missing; parameter: see the table",
    )  # fmt: skip
    run.show(
        [
            {"metric": MEASURES[m], "its parameter": what, "low": f"{least:g}", "high": f"{most:g}"}
            for m, (what, least, most) in search.PARAMETERS.items()
        ],
        "What 'parameter changed' changes",
    )

# %% [markdown] tags=["task=metrics"]
# ## Noisy judges and missing judgements

# %% tags=["task=metrics"]
if "metrics" in tasks:
    noisy = part("metrics", "noise", "missing")
    shown = noisy[noisy["metric"].isin([MEASURES[name] for name in ("ndcg", "ap", "pfound", *OWN)])]
    blocks.plane(
        of("metrics"), shown, "noise", "missing", "test_users_agreement", "Agreement with users", columns=["metric"], limits=(50, 90),
        turn=False,
    )  # fmt: skip
    deep = search.swept(part("metrics", "depth"), "depth")
    blocks.learning(
        of("metrics"), deep, "depth", "test_users_agreement", "Agreement with users over the results judged", per="metric",
        name="depth", limits=(None, None), legend="", xlabel="results judged",
    )  # fmt: skip

# %% [markdown] tags=["task=labels"]
# # 2. Labels
# ## Assessors who are not all good
# Four grades (shares .45, .27, .18, .10), 10 queries of 10 documents, 15 assessors, simulated. A document has a relevance on a scale;
# an assessor sees it with noise (skill) and a bias, and says the grade in which it falls. The bad ones, each with a fault of their own
# if the crew is mixed: *careless* (four times the noise), *biased* (towards high or low grades), *lazy* (half to nine tenths of
# the time they repeat a habitual grade), *drifting* (the bias grows over the session, and the noise), *spammers* (anything, or one
# grade always). The budget is labels per document in the mean; an answer to a gold task and a comparison cost as much as a label.
# No method sees the truth. Here n counts seeds, each of as many validation as test worlds (60 by default).
#
# **Usual**: *majority vote*; *Dawid-Skene* (1979): a confusion matrix for each assessor, by EM; *GLAD* (2009): an ability for each
# assessor, a difficulty for each document.
# **Control**: all three methods of ours read labels by one Bayesian model, *trust by types*: an assessor is a reader of some bias and
# noise (5 x 4 types), or says one grade always, or anything; types and grades are inferred together (Kim and Ghahramani 2012,
# Venanzi et al. 2014). Fifteen grades of one person are too few for Dawid-Skene's twelve free numbers; they are enough to
# tell 25 types apart. What the model gains is not our devices' merit: so it stands apart, and each of them is judged against it. The simulated
# assessors are of the same family as its readers, which Dawid-Skene is not told: on real people its lead will be smaller.

# %% [markdown] tags=["task=labels"]
# ## Three methods of ours
# Each has one parameter, the share of the budget that its device takes, chosen on validation worlds.
#
# **Gold tasks with Bayesian trust.** An exam at the beginning: documents whose grade experts settled. Answers give the probability of
# each type, so even two of them tell something, and who is expected to be right less than half of the time gets no more work
# (as long as two more assessors than labels of a document are left). *Why it can work*: not buying a bad label is worth more than
# weighting it down later. *When it fails*: few bad assessors (the exam buys nothing), few labels (two questions err about people),
# assessors who are good at the exam and drift afterwards, gold that spammers recognise (not simulated), and experts' time, which
# is not counted here, for one gold set serves many jobs.
#
# **Adaptive labels.** All documents get some labels; the rest goes, a quarter of the documents at a time, to those whose
# posterior has the greatest entropy. *Why it can work*: most documents are settled by two labels that agree; the budget is better spent where
# they do not. *When it fails*: documents on the border of two grades stay uncertain whatever is paid, and where the model is sure and
# wrong nobody looks again; bad assessors sow doubt everywhere, and one label of each document is no record to doubt by.
#
# **Comparisons instead of grades.** After some grades assessors say which of two neighbours of a query is better. Scores by Bradley
# and Terry (1952), each assessor's heed estimated (after Chen et al. 2013); the grades give the prior, the comparisons shift it. *Why
# it can work*: a bias acts on both documents alike and cancels, and nobody needs to remember where a grade begins. *When it fails*: an answer is one
# bit where a grade is two, and it says which is better, not how good; documents of one grade are told apart, which only moves them.
# A comparison costs as much and is as noisy here; where it is cheaper or surer (Carterette et al. 2008) it will do better.

# %% [markdown] tags=["task=labels"]
# ## Accuracy over the budget

# %% tags=["task=labels"]
labelled, usually = part("labels", "labels", "bad_share"), part("labels").head(1)
crew = "".join(f"{100 * share:.0f} % bad assessors" for share in usually["bad_share"])
budget = "".join(f"{tell.count(count, 'label')} per document, {crew}" for count in usually["labels"])
if "labels" in tasks:
    blocks.learning(
        of("labels"), labelled, "labels", "test_accuracy", "Labels that are true, over the budget", per="way", columns=["bad_share"], wrap=2,
        name="labels", limits=(40, 95), legend="", xlabel="labels per document",
    )  # fmt: skip
    blocks.plane(
        of("labels"), labelled[labelled["method"] != "glad"], "labels", "bad_share", "test_accuracy", "Labels that are true", columns=["way"],
        colors=(40, 90), suffix="_labels",
    )  # fmt: skip
    run.show(labels.summary(part("labels")), f"{tell.capital(budget)}, in per cent")

# %% [markdown] tags=["task=labels"]
# ## Where each method wins, and where it loses
# Points of accuracy by which a method is ahead of majority vote, of Dawid-Skene, and of the control (the same model without its device), in
# the same worlds. Framed: told from 0 (paired t-test over seeds, Holm over all cells). Below, by fault of the bad assessors.

# %% tags=["task=labels"]
GRID = ["labels", "bad_share"]
told_labels = labels.told(labelled, GRID, "test_accuracy")
if "labels" in tasks:
    blocks.plane(
        of("labels"), labels.leads(labelled, GRID, "test_accuracy"), "labels", "bad_share", "lead_accuracy", "Ahead (+) or behind (-), points of accuracy",
        rows=["way"], columns=["base"], framed=[dict(line) for _, line in told_labels[told_labels["told"] != "open"].iterrows()],
        framing="told from 0 (Holm)", surfaces=False, name="labels_leads",
    )  # fmt: skip
    faults = part("labels", "fault")
    blocks.forest(
        of("labels"), labels.told(faults, ["fault"], "test_accuracy"), f"{tell.capital(budget)}: by their fault", y="fault", rows=["way"],
        columns=["base"], xlabel="points of accuracy", better="more", name="labels_faults",
    )  # fmt: skip

# %% [markdown] tags=["task=labels"]
# ## What labels are for, and agreement
# The error of an engine's nDCG for a query that is computed on the labels, and how often two of six engines are ordered as by the truth;
# Krippendorff's α (ordinal) of the answers that were bought, and of the labels that two crews came to for the same documents.
# The α of the answers judges the people, not the labels: it is the same for all who ask evenly; an exam raises it, for it sends people
# away; adaptive labels lower it, for they go where people disagree, while the labels of two crews agree more.

# %% tags=["task=labels"]
USES = {"error of nDCG, %": "test_ndcg_error", "engines ordered rightly, %": "test_order_accuracy"}
ALPHAS = {"α of the answers": "test_alpha", "α of two crews' labels": "test_crews_alpha"}
if "labels" in tasks:
    for which, uses, value in (("What labels are worth", USES, "share"), ("Agreement", ALPHAS, "alpha")):
        worths = stacked(part("labels", "labels"), "of", value, uses).dropna(subset=[value])
        blocks.learning(
            of("labels"), worths, "labels", value, f"{which}, {crew}", per="way", columns=["of"], name=f"labels_{value}",
            legend="", xlabel="labels per document", ylabel=" ", limits=(None, None), share=False,
        )  # fmt: skip

# %% [markdown] tags=["task=pvalue"]
# # 3. The p-value
# The claim: Google's results for a query are better than Yandex's. The level is chosen before looking, by `--level` (5 % unless named),
# one-sided. The statistic: pFound of Google's results less that of Yandex's. The test, chosen before looking: the permutation of all judged results over all places, for
# it is a test of that statistic. Student's t asks another question, whether results are better in the mean over ranks, the first as
# important as the last; to ask about pFound costs power, for few places carry most of it (how much: below, by test).
# Which question a test asks is not the same for all:
#
# | test, one query | its null hypothesis | to whom a verdict applies |
# | --- | --- | --- |
# | permutation | the 2K judged results might as well stand in any order in the 2K places of both engines | to these results |
# | swap at each rank | at each rank the two results might as well change places | to these results |
# | bootstrap | assessors drawn anew see no difference between these very pages | to other assessors, not to engines |
# | t, Wilcoxon, sign | differences of pRel at equal ranks have mean, median 0, the first as important as the last | to ranks, as if independent |
#
# With many queries the queries are the sample: permutation changes the engines' places in each query or not (paired randomisation),
# and the bootstrap draws queries anew. Only then does a verdict hold for queries that were not judged.
#
# A test that counts arrangements cannot give every p: the tables say the least that it could give of these very judgements, had the
# results stood where google profits most. Where that is above the level no result could be told, and the verdict is "cannot tell".


# %% tags=["task=pvalue"]
ALL = ""  # in the place of a query: all together
asked = run.table("verdicts").assign(least=lambda table: table.get("least", float("nan")))  # older runs have none
found = asked[asked["student"].isin(part("pvalue")["student"])] if len(asked) else asked


def pages_of(stamp, query):
    """The judged results of both engines side by side, and their mean grades."""
    pages = select(run.table("judged"), {"judgements": stamp, "query": query}).set_index("rank")
    shown = [column for column in ("url", "grade", "pRel") if column in pages]  # older runs have no pRel
    sides = [select(pages, {"engine": e})[shown].add_prefix(f"{e}: ") for e in search.ENGINES]
    return pd.concat(sides, axis=1).round(2).reset_index()


# %% tags=["task=pvalue"]
sources = {}
for stamp, lines in found.groupby("judgements", sort=False) if len(found) else ():
    whose, first = run.word("judgements", stamp), lines["query"].iloc[0]
    single = lines[lines["query"] != ALL]
    sources[stamp] = search.by_query(single[single["test"] == "permutation"])
    run.show(pages_of(stamp, first), f"{whose}: what was judged for '{first}', means over assessors; pRel on Yandex's scale")
    run.show(search.by_test(single[single["query"] == first], False, level), f"{whose}: is google better for '{first}'?")
    run.show(search.query_lines(sources[stamp]), f"{whose}: pFound, and p by permutation, by query")
    several_queries = f"{whose}: is google better on queries like these {len(sources[stamp])}?"
    run.show(search.by_test(lines[lines["query"] == ALL], True, level), several_queries)

# %% [markdown] tags=["task=pvalue"]
# ## The many ways to the same p
# The claim rests on choices that nobody is forced to: how many results, how soon users give up (pBreak), and what the grades 0 to 4 are worth
# (pRel: Yandex's published scale 0, .07, .14, .41, .61; ERR's exponential 0, .06, .19, .44, .94; linear 0, .2, .4, .6, .8; relevant or
# not 0, 0, .4, .4, .4). A verdict that one of them turns is none: the answer says so.

# %% tags=["task=pvalue"]
many = part("pvalue", "depth", "grading", "p_break")


def tried(stamp):
    """The choices under which p of a file's first query was computed, a whole grid; depths beyond the file's results are no choices."""
    lines = many[(many["judgements"] == stamp) & (many["test"] == "permutation")].dropna(subset=["p_value"])
    first = select(asked, {"judgements": stamp, "query": sources[stamp]["query"].iloc[0]})
    lines = lines.assign(least=lines["student"].map(first.groupby("student")["least"].first()))
    reached = lines["depth"] <= max(first["results"].max(), lines["depth"].min())
    return search.crossed(lines[reached], "depth", "grading")


for number, source in enumerate(sources, 1):
    universe, name = tried(source), run.word("judgements", source)
    p_of = universe.groupby(["results", "grading", "p_break"], observed=True)["p_value"].mean()
    low = p_of[p_of <= level].index.to_frame(index=False).to_dict("records")
    blocks.plane(
        run.about(f"Judgements: {name}; a seed draws rearrangements of them, no data", universe), universe, "p_break", "grading", "p_value",
        f"{run.word('judgements', source)}: p of '{sources[source]['query'].iloc[0]}', by permutation", columns=["results"],
        colors=(0, 1), digits=3, name="multiverse", suffix=f"_{number}", framed=low, framing=f"p at most {level:g}",
    )  # fmt: skip

# %% [markdown] tags=["task=pvalue"]
# ## Does a test keep its level?
# In worlds where both engines are alike, a test may find a difference in as large a share of them as its level is. The bootstrap of
# assessors does in far more: alike engines show different pages, and assessors agree that these differ. It is an answer, but to the other
# question. And few people can say little. A assessors are drawn in A^A ways, all as likely: 4 for two, 27 for three. (Many of them are
# the same crew in another order: 3 and 10 differ in whom they have how often.) p counts these ways and the one seen, so it is never
# below 1/5 of two assessors, 1/28 of three.

# %% tags=["task=pvalue"]
DESIGNS = {1: "one query", 50: "50 queries"}
EFFECTS = {1: 0.5, 50: 0.4}
designs = part("pvalue", "queries", "effect").assign(design=lambda lines: lines["queries"].map(DESIGNS))
levels = designs[designs["effect"] == designs["queries"].map(EFFECTS)].dropna(subset=["test_false_share"])
blocks.intervals(
    of("pvalue"), levels, "procedure", "test_false_share",
    f"Differences found at {at} where there are none: simulated, {tell.listing([*levels['judges'].unique()])}", per="design", name="level",
    size=(8.5, 4.2), xlabel="test", also=lambda ax, panel: ax.axhline(100 * level, color="0.3", linewidth=1, linestyle="--"),
)  # fmt: skip

# %% [markdown] tags=["task=pvalue"]
# ## How much must be judged?
# The share of simulated comparisons in which a true difference is found at the level. A test that finds too much where there is
# nothing is cut back until it keeps its level, so no test is praised for false alarms. More results of one query need not help the
# permutation: pFound hardly hears deep ones, but a permutation deals them to the top places too, and since grades fall with the rank
# here, that widens what chance makes.

# %% tags=["task=pvalue"]
if "pvalue" in tasks:
    measured = part("pvalue", "depth", "effect", "assessors").dropna(subset=["test_detected_share"])
    one = search.swept(search.crossed(measured, "depth", "effect"), "effect")
    few = one[one["judges"].isin(part("pvalue")["judges"])]
    blocks.plane(
        of("pvalue"), one[one["test"] == "permutation"], "effect", "depth", "test_detected_share",
        "One query: true differences found by permutation", columns=["judges"], limits=(0, 100), colors=(0, 100),
        name="power", suffix="_one", turn=False,
    )  # fmt: skip
    blocks.learning(
        of("pvalue"), few, "effect", "test_detected_share", f"One query, {tell.listing([*few['judges'].unique()])}: true differences found, by test",
        per="procedure", columns=["results"], name="power_one_tests", legend="", limits=(0, 101), xlabel="better by, grades",
    )  # fmt: skip
    several = search.swept(designs[designs["queries"] > 1], "queries")
    blocks.plane(
        of("pvalue"), several[several["test"] == "permutation"], "queries", "effect", "test_detected_share",
        "Many queries: true differences found by permutation", limits=(0, 100), colors=(0, 100), name="power",
        suffix="_many",
    )  # fmt: skip
    blocks.learning(
        of("pvalue"), several, "queries", "test_detected_share", "Many queries: true differences found, by test", per="procedure", columns=["effect"],
        name="power_tests", legend="",
    )  # fmt: skip

# %% [markdown] tags=["task=pvalue", "queries=50"]
# ## In which order do the tests doubt?
# Smucker et al. 2007 compared two systems on 50 topics (mean average precision .258 and .206): two-sided p of the sign test .3222, of
# Wilcoxon's .0560, of randomisation .0138, of the bootstrap .0107, as published. His data are not at hand. Here 50 simulated queries,
# and the median p over many comparisons, one-sided; a gain that few queries have is where counting signs and ranks sees least.

# %% tags=["task=pvalue", "queries=50"]
SMUCKER = {"sign": 0.3222, "Wilcoxon": 0.0560, "permutation": 0.0138, "bootstrap": 0.0107}
doubts = part("pvalue", "gains", queries=50, effect=0.4)
medians = {
    gains: lines.groupby("procedure", observed=True)["test_median_p"].mean() for gains, lines in doubts.groupby("gains")
}
run.show(
    [
        {
            "test": test, **{run.word("gains", gains): f"{p[test]:.4f}" for gains, p in medians.items() if test in p},
            "Smucker et al. 2007, two-sided": f"{published:.4f}",
        }
        for test, published in SMUCKER.items()
    ] if medians else [],
    "Median p of simulated comparisons of 50 queries",
)  # fmt: skip

# %% [markdown]
# ## What came out
# Computed from the rows.


# %%
def metric_sentence(page):
    choice = choose(
        part("metrics", page=page),
        ["metric"],
        by="val_users_agreement",
        report="test_users_agreement",
        margin=run.margin,
    )
    if choice is None:
        return ""
    users = part("metrics", page=page)["clicks"].iloc[0]
    worth = tell.choice(choice, lambda cell: cell["metric"], most=9)
    return (
        f"**Metric, {run.word('page', page)}** ({users} users): validation chooses {choice.best['metric']}, which orders "
        f"{tell.percent(choice.by_seed())} of pairs of test pages as users do. {worth}"
    )


# %% tags=["task=metrics"]
def own_sentence(name):
    """For which users one of ours can serve as a main metric: where it is ahead of the best of the usual, on mixed pages."""
    ahead = search.serves(part("metrics", "click_model"), name, run.margin)
    if ahead.empty:
        return ""
    said = [
        f"{line['users']} {tell.points(line['difference'])} over {line['base']}: {tell.verdict(line)}"
        for _, line in ahead.iterrows()
    ]
    who = {side: ", ".join(ahead.loc[ahead["told"] == side, "users"]) for side in ("more", "less", "open")}
    serves = f"it can be a main metric where users are {who['more']}" if who["more"] else "it is shown to be a main metric for none of these users"
    rest = f"; not where they are {who['less']}" * bool(who["less"] and who["more"])
    rest += f"; open where they are {who['open']}" * bool(who["open"])
    return f"**{tell.capital(MEASURES[name])}** against the best of the usual by validation, p by Holm: {'; '.join(said)}. So {serves}{rest}."


def whom_sentence():
    """Which metric to take, by users and pages."""
    parts = []
    for page, found_for in for_whom.items():
        by_metric: dict[str, list[str]] = {}
        for users, choice in found_for.items():
            alike = f" (not told from {tell.listing([*choice.ties['metric'].astype(str)])})" * (not choice.stands_out)
            by_metric.setdefault(str(choice.best["metric"]), []).append(f"{users}{alike}")
        said = "; ".join(f"{metric} where users are {', '.join(who)}" for metric, who in by_metric.items())
        parts.append(f"{run.word('page', page)}: {said}")
    return f"**Which metric, for whom**, by validation: {'. '.join(parts)}. What real users are, logs must say." if parts else ""


# %%
def labels_sentence():
    choice = choose(part("labels"), ["way"], by="val_accuracy", report="test_accuracy", margin=run.margin)
    if choice is None:
        return ""
    worth = tell.choice(choice, lambda cell: cell["way"], most=9)
    return f"**Labels** ({budget}): validation chooses {choice.best['way']}, {tell.percent(choice.by_seed())} true on test worlds. {worth}"


def device_sentence(name):
    """Where one of our methods is ahead and behind, over all budgets and shares of bad assessors."""
    mine, said = select(told_labels, {"way": labels.WAYS[name]} if len(told_labels) else {}), []
    for base, lines in mine.groupby("base", sort=False):
        ends = lines.sort_values("mean").iloc[[0, -1]].to_dict("records")
        span = " to ".join(
            f"{100 * e['mean']:+.1f} (at {tell.count(e['labels'], 'label')}, {100 * e['bad_share']:.0f} % bad)" for e in ends
        )
        ahead, behind = ((lines["told"] == side).sum() for side in ("more", "less"))
        said.append(f"{base} ahead in {ahead} and behind in {behind} of {len(lines)} cells, {span}")
    taken = labelled[labelled["method"] == name].groupby("labels")["device_share"].mean()
    shares = ", ".join(f"{100 * share:.0f} % at {count:g}" for count, share in taken.items())
    return f"**{tell.capital(labels.WAYS[name])}**, points of accuracy: {'; '.join(said)}. Its device takes, by labels per document, {shares}."


# %%
def claim_sentence(stamp):
    first, ways = sources[stamp].iloc[0], tried(stamp).groupby(["depth", "grading", "p_break"])[["p_value", "least"]].mean()
    together = select(found, {"judgements": stamp, "test": "permutation", "query": ALL})[["p", "least"]].mean()
    said = [
        f"pFound {first['google']:.3f} of google, {first['yandex']:.3f} of yandex, by permutation p = {first['p']:.4f}, which says of "
        f"google at the level of {at}: {search.verdict(first['p'], level, first['least'])} (whether yandex is better is another question: "
        "for it the two names in the file are exchanged)"
    ]
    if len(ways) > 1:
        said.append(search.robust(ways["p_value"], level, ways["least"]))
    if together["p"] == together["p"]:
        all_of_them = search.verdict(together["p"], level, together["least"], "queries that differ")
        said.append(f"over its {len(sources[stamp])} queries, by paired randomisation, p = {together['p']:.4f}: {all_of_them}")
    warning = " **Made up: this shows the method and says nothing of Google or Yandex.**" * (stamp == "example")
    return f"**p-value, {run.word('judgements', stamp)}, '{first['query']}'**: {'; '.join(said)}.{warning}"


# %%
def needed_sentence():
    enough = search.needed(
        designs[(designs["queries"] > 1) & (designs["test"] == "permutation")],
        "queries",
        "test_detected_share",
        ["effect"],
    )
    said = [
        f"{line['effect']:g} grades: " + (f"{line['queries']:.0f} queries" if line["queries"] == line["queries"] else f"more than {line['most']:.0f}")
        for _, line in enough.iterrows()
    ]  # fmt: skip
    if not said:
        return ""
    return f"**How many queries** find a difference of the engines at {at} four times in five ({tell.listing([*dict.fromkeys(designs['judges'].astype(str))])}): {'; '.join(said)}."


# %% tags=["task=pvalue"]
def level_sentence():
    chosen = {
        str(design): choose(
            lines, ["procedure"], by="val_detected_share", report="test_detected_share", margin=run.margin
        )
        for design, lines in levels.dropna(subset=["val_detected_share"]).groupby("design")
    }
    for design, choice in chosen.items():
        if choice:
            worth = tell.choice(choice, lambda cell: cell["procedure"], most=9)
            effect = tell.span(levels.loc[levels["design"] == design, "effect"])
            yield f"**Test, {design}, better by {effect} grades**: held to the level of {at}, {choice.best['procedure']} finds most by validation, {tell.percent(choice.by_seed())} on test worlds. {worth}"


# %% tags=["task=metrics"]
def metrics_answer():
    """The metric that agrees most with users, for each kind of pages."""
    said = []
    for kind in for_whom:
        choice = choose(part("metrics", page=kind), ["metric"], by="val_users_agreement", report="test_users_agreement", margin=run.margin)
        if choice:
            head = f"{run.word('page', kind).partition(':')[0]}: {choice.best['metric']}, {tell.percent(choice.by_seed())}"
            said.append(f"{head}, {brief(choice)}")
    return f"**Which metric orders two pages most often as users do?** Of {'; of '.join(said)}." if said else ""


# %%
def brief(choice):
    """What a choice is worth in few words: how many rivals are worse, as good, open."""
    if choice.n < 2 or choice.rivals.empty:
        return tell.choice(choice).removesuffix(".")
    if choice.stands_out:
        return "all its rivals are worse"
    words = {"worse": "worse", "as good": "as good", "open": "not told apart"}
    known = {said: len(choice.state(state)) for state, said in words.items()}
    return f"of {tell.count(len(choice.rivals), 'rival')} " + ", ".join(f"{n} {said}" for said, n in known.items() if n)


def labels_answer():
    """The method whose labels are true most often."""
    choice = choose(part("labels"), ["way"], by="val_accuracy", report="test_accuracy", margin=run.margin)
    how = f"{choice.best['way']}, {tell.percent(choice.by_seed())} of labels true; {brief(choice)}" if choice else ""
    return f"**Labels** ({budget}): {how}." if choice else ""


# %%
def claim_answer(stamp):
    """What is said of the first query of a file."""
    first, ways = sources[stamp].iloc[0], tried(stamp).groupby(["depth", "grading", "p_break"])[["p_value", "least"]].mean()
    verdict = search.verdict(first["p"], level, first["least"])
    turned = " This is no verdict: other depths, gradings or pBreak turn it." * ("not robust" in search.robust(ways["p_value"], level, ways["least"]))
    warning = " **Made up: it says nothing of Google or Yandex.**" * (stamp == "example")
    return f"**Is google better?** {run.word('judgements', stamp)}, '{first['query']}': {verdict} (p = {first['p']:.3f}).{turned}{warning}"


told = "metrics" in tasks
answer = [
    metrics_answer() if told else "",
    labels_answer() if "labels" in tasks else "",
    *map(claim_answer, sources),
    *([needed_sentence()] if designs["test_detected_share"].notna().any() else []),
]
longer = [
    *map(metric_sentence, ("mixed", "plain") if told else ()),
    *map(own_sentence, OWN if told else ()),
    whom_sentence(),
    *([labels_sentence()] if "labels" in tasks else []),
    *map(claim_sentence, sources),
]
devices = map(device_sentence, labels.OWN if len(told_labels) else ())
run.close(filter(None, answer), [*filter(None, longer), *devices, *level_sentence()])
