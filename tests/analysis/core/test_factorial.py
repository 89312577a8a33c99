import itertools

import pandas as pd
import pytest

from analysis.core.factorial import effects, factorials, in_pairs, judged

FACTORS = {"a": ("no", "yes"), "b": (0, 3), "c": ("x", "y")}
NAMES = {"a": "first", "b": "second", "c": "third"}


def made_up(answer, seeds=(0, 1, 2)):
    """A full factorial: answer(a, b, c, seed), the factors as 0 (off) or 1 (on)."""
    lines = []
    for on in itertools.product((0, 1), repeat=3):
        cell = {name: pair[i] for (name, pair), i in zip(FACTORS.items(), on, strict=True)}
        lines += [{**cell, "seed": seed, "value": answer(*on, seed)} for seed in seeds]
    return pd.DataFrame(lines)


def test_effects_are_what_switching_on_adds():
    found = effects(made_up(lambda a, b, c, seed: 10 + 2 * a - 3 * b + 5 * seed), FACTORS, "value")
    assert list(found) == ["a", "b", "c", "a × b", "a × c", "b × c", "a × b × c"] and list(found.index) == [0, 1, 2]
    for seed in range(3):
        assert found.loc[seed].tolist() == pytest.approx([2, -3, 0, 0, 0, 0, 0])


def test_an_interaction_is_half_of_what_an_effect_gains():
    """b adds 4 only where a is on: in the mean 2, and so does a; a's effect gains 4 by b."""
    found = effects(made_up(lambda a, b, c, seed: 4 * a * b), FACTORS, "value").mean()
    assert found.tolist() == pytest.approx([2, 2, 0, 2, 0, 0, 0])


def test_what_a_seed_does_to_all_combinations_cancels():
    noisy = effects(made_up(lambda a, b, c, seed: c + 100 * seed), FACTORS, "value")
    line = judged(noisy, NAMES).iloc[2]
    assert line["effect"] == "third" and line["mean"] == pytest.approx(1) and line["n"] == 3 and line["told"] == "more"


def test_a_seed_that_lacks_a_combination_and_values_of_no_factor_are_left_out():
    table = made_up(lambda a, b, c, seed: a)
    other = table.assign(b=7, value=99.0)
    found = effects(pd.concat([table.iloc[1:], other]), FACTORS, "value")
    assert list(found.index) == [1, 2] and found["a"].tolist() == pytest.approx([1, 1])


def test_seven_tests_are_corrected_as_seven():
    values = {0: 0.9, 1: 1.0, 2: 1.1}
    found = judged(effects(made_up(lambda a, b, c, seed: a * values[seed]), FACTORS, "value"), NAMES)
    first = found.iloc[0]
    assert first["p"] == pytest.approx(min(1, 7 * first["difference"].p)) and len(found) == 7


def test_every_full_factorial_is_found_and_no_other():
    table = made_up(lambda a, b, c, seed: a)
    second, alone = table[table["b"] == 3].assign(b=5), table.iloc[:1].assign(c="z")
    found = factorials(pd.concat([table, second, alone]), {"a": "no", "b": 0, "c": "x"}, "value")
    assert found == [{**FACTORS, "b": (0, on)} for on in (3, 5)]


def test_pairs_are_means_over_the_other_factors():
    """c adds 8 where it is on, in the mean over it 4; a and b add 1 together alone."""
    found = in_pairs(made_up(lambda a, b, c, seed: a * b + 8 * c + 100 * seed), FACTORS, "value", NAMES)
    assert list(dict.fromkeys(found["pair"])) == ["first × second", "first × third", "second × third"]
    means = found[found["seed"] == 2].set_index(["pair", "first", "second"])["value"]
    assert means["first × second"].to_dict() == {
        ("off", "off"): 204, ("off", "on"): 204, ("on", "off"): 204, ("on", "on"): 205
    }  # fmt: skip
    assert means["first × third", "on", "off"] == 200.5 and means["first × third", "off", "on"] == 208
