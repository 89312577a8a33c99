import numpy as np
import pandas as pd
import pytest

from analysis.core import biases
from analysis.core.choice import choose_each

SHIFTS = np.arange(-2.0, 4.01, 0.5)


def curve(student="a", seed=0, learnt=2.0, test=0.0):
    """A student whose digit is found the better the higher its bias, up to `learnt`, and the others the worse; `test`: how much
    further up its test digits lie."""
    lines = []
    for split, moved in (("val", 0.0), ("test", test)):
        at = SHIFTS - learnt - moved
        own, rest = np.maximum(-20 * at, 0), 50 + np.maximum(10 * (SHIFTS - 1), 0) + np.maximum(100 * at, 0)
        columns = {"split": split, "bias": SHIFTS, "omitted_errors": own.astype(int), "other_errors": rest.astype(int)}
        lines.append(pd.DataFrame({"student": student, "seed": seed, "omitted": "3", **columns}))
    return pd.concat(lines, ignore_index=True)


def test_each_way_chooses_by_what_it_may_see():
    found = biases.shifts(curve(learnt=2.0, test=1.0))
    assert found == {biases.LEARNT: 0, biases.VALIDATION: 2, biases.KEPT: 1, biases.TEST: 3}


def test_the_test_set_moves_no_other_way_than_its_own():
    near, far = biases.shifts(curve(test=0.0)), biases.shifts(curve(test=1.5))
    assert [way for way in biases.WAYS if near[way] != far[way]] == [biases.TEST]


def test_of_equal_shifts_the_smallest_is_chosen():
    flat = curve().assign(omitted_errors=5, other_errors=5)
    assert set(biases.shifts(flat).values()) == {0.0}


def test_every_student_answers_for_itself():
    students = [curve("a", 0, learnt=1.0), curve("b", 1, learnt=3.0)]
    both, alone = biases.raised(pd.concat(students)), pd.concat(map(biases.raised, students), ignore_index=True)
    pd.testing.assert_frame_equal(both, alone)
    at = both.pivot(index="student", columns="way", values="bias")
    assert at[biases.VALIDATION].to_dict() == {"a": 1.0, "b": 3.0}
    assert both["way"].tolist() == [*biases.WAYS] * 2


def test_a_shift_is_reported_on_test_and_remembers_its_validation():
    line = biases.raised(curve(learnt=2.0, test=1.0)).set_index("way").loc[biases.VALIDATION]
    assert line["split"] == "test" and (line["omitted_errors"], line["other_errors"]) == (20, 60)
    assert line["errors"] == 80 and line["val_errors"] == 60


def test_a_student_that_saw_every_digit_is_measured_on_the_same_two_sides():
    digits = pd.DataFrame({"student": "s", "seed": 4, "digit": range(10), "images": 100, "errors": np.arange(10) ** 2})
    one = biases.told_apart(digits, "3").iloc[0]
    assert (one["seed"], one["omitted_errors"], one["other_errors"]) == (4, 9, 285 - 9)
    assert biases.told_apart(digits, "01234569")["other_errors"].tolist() == [49 + 64]


def test_the_share_of_a_side_is_of_its_own_images():
    table = pd.DataFrame({"omitted": ["3", "012"], "omitted_errors": [50, 30], "other_errors": [90, 70]})
    found = biases.by_side(table, lambda omitted: 100 * len(omitted), 1000)
    assert found["test_error"].tolist() == pytest.approx([0.5, 0.1, 0.1, 0.1])
    assert found.groupby("side", sort=False)["errors"].sum().to_dict() == dict(
        zip(biases.SIDES, (80, 160), strict=True)
    )


def test_single_digits_share_a_choice_that_a_lost_seed_does_not_make():
    """Of digit 7 the good cell lost a seed on which all do badly: on the seeds that both have the other one is better."""
    errors = {("3", 0): (10, 12), ("3", 1): (11, 13), ("7", 0): (40, 39), ("7", 1): (None, 300), ("78", 0): (9, 5)}
    lines = [
        {
            "omitted": o,
            "seed": s,
            "student": f"{o}{s}{w}",
            "kd_weight": w,
            "way": way,
            "val_errors": e,
            "test_accuracy": 0.5,
        }
        for (o, s), both in errors.items()
        for w, e in zip((1.0, 10.0), both, strict=True)
        for way in biases.WAYS
        if e is not None
    ]
    tried = biases.repetitions(pd.DataFrame(lines))
    chosen = choose_each(tried, "kind", ["kd_weight"], by="-val_errors")
    assert {kind: choice.best["kd_weight"] for kind, choice in chosen.items()} == {"single": 1.0, "78": 10.0}
    swapped = tried.assign(val_errors=tried["val_errors"].where(tried["kd_weight"] == 10, tried["val_errors"] + 5))
    assert choose_each(swapped, "kind", ["kd_weight"], by="-val_errors")["single"].best == {"kd_weight": 10.0}


def test_where_nobody_lacked_a_digit_there_is_nothing_to_choose():
    assert choose_each(biases.repetitions(biases.raised(pd.DataFrame())), "kind", ["kd_weight"], by="-val_errors") == {}
