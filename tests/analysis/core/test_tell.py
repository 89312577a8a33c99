import math
from itertools import product

import pandas as pd
import pytest

from analysis.core import tell
from analysis.core.choice import choose
from analysis.core.statistics import Interval, compare, interval, paired
from trainables.core.nets import NETWORKS, PRETRAINED

KNOWN = interval([0.81, 0.82, 0.83])  # half of its interval: 4.303 x .01 / sqrt(3)
NONE = pd.Series([0.0, 0.0, 0.0])
CLEAR = {"a": [0.90, 0.91, 0.905], "b": [0.50, 0.51, 0.503], "c": [0.40, 0.41, 0.402]}


def cells(values, **columns):
    rows = [(cell, seed, v, v) for cell, of in values.items() for seed, v in enumerate(of)]
    return pd.DataFrame(rows, columns=["cell", "seed", "val_accuracy", "test_accuracy"]).assign(**columns)


def name(cell):
    return f"cell {cell['cell']}"


def test_a_share_is_told_in_per_cent_within_its_ends():
    assert tell.percent(KNOWN) == "82.0 % (79.5 to 84.5, n = 3)"
    assert tell.percent(pd.Series([0.81, 0.82, 0.83]), 2) == "82.00 % (79.52 to 84.48, n = 3)"
    assert tell.percent(interval([0.97, 0.98, 1.0])) == "98.3 % (94.5 to 100.0, n = 3)"
    assert tell.percent(interval([0.5])) == "50.0 % (n = 1)" and tell.share(KNOWN) == "82 % (80 to 84)"


def test_two_seeds_are_told_as_their_two_values():
    a, b = pd.Series([0.592, 0.67]), pd.Series([0.58, 0.61])
    assert tell.percent(a) == "63.1 % (59.2 and 67.0, n = 2)" and tell.share(a) == "63 % (59 and 67)"
    assert tell.number(100 * a, 1, n=True) == "63.1 (59.2 and 67.0, n = 2)" and tell.points(a - b) == "+3.6 points (+1.2 and +6.0)"
    assert tell.difference(a, b) == "+3.6 points (+1.2 and +6.0): too few seeds to tell"
    assert tell.percent(interval([0.592, 0.67])).startswith("63.1 % (13.5 to 100.0"), "of an interval nothing more is known"


def test_a_difference_is_told_in_points_with_its_direction():
    a, b = pd.Series([0.80, 0.81, 0.80]), pd.Series([0.70, 0.70, 0.71])
    assert tell.difference(a, b) == "+10.0 points (+7.5 to +12.5): a gain"
    assert tell.difference(b, a, 2, more="more errors", less="fewer errors").endswith("): fewer errors")
    assert tell.difference(a, a).endswith("not distinguishable from no difference")
    assert (
        tell.difference(a[:1], b[:1]) == "+10.0 points (n = 1, no interval): one seed, so nothing is known of the noise"
    )
    assert tell.difference(a[:2], a[:2] - 0.1).endswith("the same in both seeds, so nothing is known of the noise")
    assert tell.points(paired(a + 0.0002, a - 0.0002)) == "+0.04 points (+0.04 to +0.04)"  # a digit more than +0.0
    assert tell.points(a - b) == "+10.0 points (+7.5 to +12.5)"  # by seed as well


def test_an_interval_of_a_difference_of_shares_ends_where_such_a_difference_can():
    fall = pd.Series([-0.99, -0.98, -0.7])
    assert tell.points(fall) == "-89.0 points (-100.0 to -48.1)" and tell.points(-fall) == "+89.0 points (+48.1 to +100.0)"


def test_what_is_judged_together_is_said_each_with_its_corrected_p():
    base = pd.Series([0.70, 0.70, 0.71, 0.70])
    gains = {"better": pd.Series([0.10, 0.11, 0.10, 0.11]), "alike": pd.Series([0.01, -0.01, 0.01, -0.01])}
    said = tell.against({name: base + gain for name, gain in gains.items()}, base, "more")
    assert (
        list(said) == ["better", "alike"]
        and said["better"].startswith("+10.5 points (")
        and "): more (p " in said["better"]
    )
    assert said["alike"].endswith("): not told (p = 1)") and tell.against({}, base) == {}


def test_every_network_has_a_name_of_its_own():
    names = [tell.network(name) for name in (*NETWORKS, *PRETRAINED)]
    assert len({*names}) == len(names) and not any("_" in name for name in names)
    assert tell.network("cnn_norm") == "CNN, normalised" and tell.network("photos_net") == "photos_net"


def test_two_seeds_are_said_as_their_two_differences():
    a, b = pd.Series([0.71, 0.75]), pd.Series([0.70, 0.71])
    both = "+2.5 points (+1.0 and +4.0)"
    assert tell.points(paired(a, b)) == tell.points(a - b) == both
    assert tell.against({"a": a}, b)["a"].startswith(f"{both}: too few seeds to tell (p = 0.")


def test_the_answer_is_what_validation_chose_what_it_reaches_and_against_what():
    found = choose(cells(CLEAR), ["cell"])
    against = {"the baseline": pd.Series([0.80, 0.81, 0.81]), "nothing": pd.Series(dtype=float)}
    said = tell.answer("500 labels", found, name=name, against=against, more="more", then="So it ends.")
    assert said == (
        "**500 labels**: validation chooses cell a: 90.5 % (89.3 to 91.7, n = 3) on test; against the baseline, "
        "+9.8 points (+9.1 to +10.6): more. It stands out: all 2 rivals are worse. So it ends."
    )
    assert tell.answer("", found, "of them", name=name, metric="val_accuracy", digits=2).startswith(
        "Validation chooses cell a: 90.50 % (89.26 to 91.74, n = 3) of them. It stands out"
    )


def test_an_answer_says_of_differences_that_a_figure_shows_what_the_figure_says():
    found, ours = choose(cells(CLEAR), ["cell"]), pd.Series(CLEAR["a"])
    pairs = {"one": (ours, ours - pd.Series([0.010, 0.012, 0.011])), **{f"{i}": (ours, ours - [0, 0.01, 0.05]) for i in range(9)}}
    judged = compare(pairs, ["base"])
    said = tell.answer("", found, against=judged[judged["base"] == "one"], family=len(judged))
    alone = tell.answer("", found, against={name: base for name, (_, base) in pairs.items() if name in ("one", "0")})
    assert "p by Holm over 10: against one, +1.1 points (+0.9 to +1.3): a gain (p = 0.027)." in said
    assert "p by Holm over 2: against one, +1.1 points (+0.9 to +1.3): a gain (p = 0.0055); against 0, " in alone
    nothing = tell.answer("", found, against=judged[:0], family=10)
    assert nothing == tell.answer("", found)


@pytest.mark.parametrize(("value", "said"), [(0.0514, "0.051"), (1.234, "1.2"), (9.97, "10"), (16.2, "16"), (1234.4, "1,234"), (0, "0")])
def test_of_a_short_time_something_is_left(value, said):
    assert tell.seconds(value) == said


def test_seeds_that_nobody_shares_have_no_difference():
    assert tell.difference(pd.Series([0.8], [1]), pd.Series([0.7], [2])) == "no seed in common"


def test_numbers_that_are_no_shares():
    i = Interval(107.2, -3.0, 132.4, 3)
    assert tell.number(i, least=0) == "107 (0 to 132)" and tell.number(Interval(5.0, math.nan, math.nan, 1)) == "5"
    assert tell.number(i, 1, signed=True, n=True) == "+107.2 (-3.0 to +132.4, n = 3)" and tell.number(i, most=120) == "107 (-3 to 120)"


def test_lists_and_counts():
    assert tell.listing(list("abcd"), 2) == "a; b and 2 more" and tell.listing(["a"]) == "a"
    assert tell.count(1, "seed") == "1 seed" and tell.count(3, "seed") == "3 seeds" and tell.capital("ab c") == "Ab c"
    assert tell.span([19, 17, 17]) == "17 to 19" and tell.span(pd.Series([17, 17])) == "17"


def test_a_cell_without_a_teacher_has_no_temperature():
    assert tell.cell({"temperature": 8.0, "kd_weight": 0.25}) == "T = 8, λ = 0.25"
    assert tell.cell({"lr": 0.01, "batch_size": 32}) == "lr 0.01, batch size 32"
    assert "labels only" in tell.cell({"temperature": 8.0, "kd_weight": 0}) and "T" not in tell.cell(
        {"temperature": 8.0, "kd_weight": 0}
    )


def test_a_choice_that_stands_out_says_so():
    assert tell.choice(choose(cells(CLEAR), ["cell"]), name) == "It stands out: all 2 rivals are worse."
    two = {cell: CLEAR[cell] for cell in "ab"}
    assert tell.choice(choose(cells(two), ["cell"]), name) == "It stands out: its rival is worse."


def test_a_choice_among_others_says_which_are_as_good_which_are_open_and_how_many_are_worse():
    close = {**CLEAR, "d": [0.8995, 0.91, 0.9045], "e": [0.8993, 0.9099, 0.9044], "f": [0.85, 0.95, 0.89]}
    said = tell.choice(choose(cells(close), ["cell"]), name, most=1)
    assert said == (
        "Of its 5 rivals: 2 worse; 2 as good (within 0.5 points): cell d and 1 more; 1 open (3 seeds cannot tell): cell f."
    )
    short = "Of its 5 rivals: 2 worse; 2 as good (within 0.5 points); 1 open (3 seeds cannot tell)."
    assert tell.choice(choose(cells(close), ["cell"]), name, most=0) == short


def planes(good, best=(4.0, 0.5)):
    """A plane over T and kd_weight where the cells `good` are a little below the best and others far below."""
    lines = [
        (
            t,
            w,
            seed,
            0.9 - (0.0 if (t, w) == best else 0.001 if good(t, w) else 0.1) + 0.0001 * ((7 * seed + 3 * i) % 5),
        )
        for i, (t, w) in enumerate(product((1.0, 2.0, 4.0, 8.0, 16.0), (0.0, 0.25, 0.5, 1.0)))
        for seed in range(4)
    ]
    table = pd.DataFrame(lines, columns=["temperature", "kd_weight", "seed", "val_accuracy"])
    return choose(table.assign(test_accuracy=table["val_accuracy"]), ["temperature", "kd_weight"])


def test_regions_of_the_grid_are_named_by_ranges():
    box = planes(lambda t, w: 2 <= t <= 8 and 0.25 <= w <= 0.5)
    assert tell.region(box, "as good") == "T 2 to 8 with λ 0.25 to 0.5"
    assert tell.region(planes(lambda t, w: w == 0.5), "as good") == "λ 0.5 at any T"
    cross = tell.region(planes(lambda t, w: w == 0.5 or t == 4), "as good")
    assert cross == "λ 0.5 at any T; T 4 at any λ"
    assert tell.region(planes(lambda t, w: True), "as good") == "any T and λ"
    few = planes(lambda t, w: (t, w) in ((1.0, 0.0), (16.0, 1.0)))
    assert tell.region(few, "as good") == "T = 16, λ = 1; labels only (λ = 0)"


def test_a_region_holds_no_cell_of_another_state():
    hole = planes(lambda t, w: 2 <= t <= 8 and 0.25 <= w <= 0.5 and (t, w) != (2.0, 0.5))
    assert tell.region(hole, "as good") == "T 4 to 8 with λ 0.25 to 0.5; T 2 with λ 0.25"


def test_a_choice_without_noise_or_rivals_is_no_verdict():
    assert tell.choice(choose(cells({"a": [0.5, 0.6]}), ["cell"]), name) == "It has no rival."
    one = tell.choice(choose(cells({"a": [0.5], "b": [0.4]}), ["cell"]), name)
    assert one == "One seed says nothing about noise, so this is no verdict."
    assert not tell.choice(choose(cells(CLEAR | {"d": [0.9, 0.8, 0.95]}), ["cell"]), name, 0).count(":") > 1
    noisy = choose(cells({"a": [0.5, 0.9], "b": [0.4, 0.8], "c": [0.7, 0.6]}), ["cell"])
    assert tell.choice(noisy, name) == "2 seeds cannot rank it and its 2 rivals."


@pytest.mark.parametrize(("best", "said"), [(1, "T at the edge"), (2, ""), (4, "T at the edge")])
def test_the_edge_of_the_grid_is_told(best, said):
    rows = cells({T: [0.5 + 0.1 * (best == T)] * 3 for T in (1, 2, 4)}, network="mlp")
    told = tell.edge(choose(rows, ["cell", "network"]), {"cell": "T", "network": "network"})
    assert told.startswith(said) and bool(told) == bool(said)
    assert tell.capital("λ at the edge") == "λ at the edge" and tell.capital("teacher") == "Teacher"
    two = rows[rows["cell"].isin([best, 2])]
    assert tell.edge(choose(two, ["cell", "network"]), {"cell": "T"}) == ""  # two values have nothing but ends


def test_ours_beside_what_is_published():
    said = tell.published("Adam", KNOWN, 83.5, "arXiv 1810.12488")
    assert (
        said
        == "82.0 % (79.5 to 84.5, n = 3); published for Adam 83.50 % (arXiv 1810.12488), a difference of -1.5 points"
    )


def test_where_it_hurts():
    base = pd.Series([0.10, 0.11, 0.10, 0.105])
    noise = pd.Series([0.001, -0.001, 0.0005, 0.0])
    table = compare(
        {"more": (base + 0.05 + noise, base), "fewer": (base - 0.05 + noise, base), "none": (base + noise, base)},
        ["which"],
    )
    said = tell.comparisons(table, lambda line: line["which"], "supervised")
    assert said.startswith("Of 3 comparisons with supervised, 1 have fewer errors, 1 more errors")
    assert "It hurts: more (+5.01 points" in said and tell.uncorrected(table, lambda line: line["which"]) == ""
    nowhere = tell.comparisons(table[table["which"] != "more"], lambda line: line["which"], "supervised")
    assert "It hurts: nowhere that the seeds can tell" in nowhere
    assert "It hurts: fewer (-4.99 points" in tell.comparisons(table, lambda line: line["which"], "x", hurts="less")


def compared(**differences):
    return compare({name: (pd.Series(d), NONE) for name, d in differences.items()}, ["name"]).set_index("name")


def test_a_verdict_has_the_p_value_that_is_corrected_for_all_comparisons():
    d = [0.9, 1.0, 1.1]
    alone, three = compared(a=d).loc["a"], compared(a=d, b=[1.0, -1.0, 0.1], c=[0.5, -0.3, -0.1]).loc["a"]
    assert alone["p"] == pytest.approx(paired(pd.Series(d), NONE).p) and three["p"] == pytest.approx(3 * alone["p"])
    assert tell.verdict(alone) == "a gain (p = 0.0033)" and tell.verdict(three) == "a gain (p = 0.01)"


def test_an_answer_says_better_worse_or_that_the_seeds_cannot_tell():
    sure, noise = pd.Series([0.1, 0.101, 0.102]), pd.Series([0.1, -0.1, 0.01])
    found = compare({"up": (sure, NONE), "down": (NONE, sure), "open": (noise, NONE), "one": (sure[:1], NONE)}, ["name"])
    said = {line["name"]: tell.plainly(line) for _, line in found.iterrows()}
    assert (said["up"], said["down"], said["open"]) == ("better", "worse", "cannot be told by 3 seeds")
    assert "nothing is known" in said["one"]


def test_a_verdict_says_gain_loss_tie_or_that_nothing_is_known():
    found = compared(loss=[-1.0, -1.0, -1.00001], tie=[1.0, -1.0, 0.1], short=[1.0])
    assert tell.verdict(found.loc["loss"], less="fewer errors") == "fewer errors (p < 0.0001)"
    assert tell.verdict(found.loc["tie"]).startswith("not told (p = ")
    assert tell.verdict(found.loc["short"]) == "one seed, so nothing is known of the noise"
    plain = [tell.stands(paired(pd.Series(d), 0 * pd.Series(d))) for d in ([1.0, 1.1, 1.2], [-1.0, -1.1], [-1.0, 1.0, 0.1])]
    assert plain == ["better", "worse", "cannot be told by 3 seeds"]
    assert tell.stands(interval([0.0, 0.0])) == "exactly alike" and "one seed" in tell.stands(interval([1.0]))


ROUNDS = pd.DataFrame(
    [
        {"labels": labels, "network": network, "rounds": rounds, "seed": seed, "test_accuracy": 0.5 + gain * (rounds > 1) + 0.01 * seed}
        for labels, gain in ((500, 0.1), (100, -0.05))
        for network in ("cnn", "mlp")
        for rounds in ((1, 3) if (labels, network) != (100, "mlp") else (1,))
        for seed in range(3)
    ]
)  # fmt: skip


def network(cell):
    return " with ".join(map(str, cell.values()))


def test_what_an_axis_changes_is_said_for_each_combination_that_has_both():
    said = tell.changes(ROUNDS, {"rounds": 1}, ["rounds", "labels", "network"], "test_accuracy", network)
    gain, loss = "+10.0 points (+10.0 to +10.0): a gain", "-5.0 points (-5.0 to -5.0): a loss"
    assert [(line["all else"], line["change"]) for line in said] == [
        ("500 with cnn", gain), ("500 with mlp", gain), ("100 with cnn", loss),
    ]  # fmt: skip


def test_cells_that_share_their_students_do_not_differ():
    students = ROUNDS.assign(student=ROUNDS["labels"].where(ROUNDS["network"] == "cnn", ROUNDS["rounds"]).astype(str))
    said = tell.changes(students, {"rounds": 1}, ["rounds", "labels", "network"], "test_accuracy", network)
    assert ["same students" in line["change"] for line in said] == [line["all else"].endswith("cnn") for line in said]
    assert len(said) == 3


def test_an_axis_of_one_value_changes_nothing():
    keys, one = ["rounds", "labels", "network"], ROUNDS[ROUNDS["rounds"] == 1]
    assert tell.changes(one, {"rounds": 1}, keys, "test_accuracy", network) == []
    assert tell.changes(ROUNDS, {"rounds": 5}, keys, "test_accuracy", network) == []
