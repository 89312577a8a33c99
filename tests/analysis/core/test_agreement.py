import numpy as np
import pandas as pd
import pytest

from analysis.core.agreement import AGREEMENT, INFORMATION, agreement, without_labels

STUDENTS = pd.DataFrame({"student": [*"abcde"], "teacher": ["cnn", "cnn", "cnn", "mlp", "mlp"]}, index=[7, 5, 3, 2, 1])


def answers(**named: str) -> pd.DataFrame:
    return pd.DataFrame({"student": named.keys(), "named": named.values()})


def test_students_of_a_cell_are_compared_with_each_other_only():
    found = agreement(STUDENTS, ["teacher"], answers(a="0011", b="0011", c="0101", d="0123", e="0123"))
    assert found.to_dict() == pytest.approx({7: 0.5, 5: 0.5, 3: 0.0, 2: 1.0, 1: 1.0})  # kappa a, b 1; a, c and b, c 0


def test_naming_one_class_always_is_no_agreement():
    assert (agreement(STUDENTS, ["teacher"], answers(a="00", b="00", c="00", d="00", e="00")) == 0).all()


def test_who_has_no_answers_or_no_other_seed_has_no_agreement():
    found = agreement(STUDENTS, ["teacher"], answers(a="01", c="01", d="01"))
    assert found[[7, 3]].to_list() == [1.0, 1.0] and np.isnan(found[[5, 2, 1]]).all()
    assert agreement(STUDENTS, ["teacher"], pd.DataFrame()).isna().all()


def cells(**named: tuple[float, float, float]) -> pd.DataFrame:
    """Two seeds each of cells `teacher` and T, with (information, validation accuracy, test accuracy)."""
    lines = [
        {"student": f"{cell}{seed}", "teacher": cell[0], "temperature": float(cell[1]), "augmentation": cell[2:], "seed": seed,
         "val_information": values[0], "val_accuracy": values[1], "test_accuracy": values[2] + 0.01 * seed}
        for cell, values in named.items() for seed in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(lines)


STUDENTS_OF_T = cells(
    a1none=(0.1, 0.9, 0.6), a2none=(0.3, 0.5, 0.5), b1none=(0.2, 0.6, 0.4), b2inverted=(0.0, 0.7, 0.7)
)


def test_rules_choose_by_agreement_by_labels_and_by_information():
    named = {
        "a1none": ("0011", "0101"),
        "a2none": ("0011", "0011"),
        "b1none": ("01", "10"),
        "b2inverted": ("0123", "0123"),
    }
    texts = {f"{cell}{seed}": text for cell, both in named.items() for seed, text in enumerate(both)}
    found = without_labels(STUDENTS_OF_T, ["teacher", "augmentation"], "temperature", answers(**texts))
    best = {who: (c.best["teacher"], c.best["temperature"]) for who, c in found.choices.items()}
    assert found.rule == AGREEMENT and best["rule"] in {("a", 2.0), ("b", 2.0)}
    assert best["validation labels"] == ("a", 1.0) and best["information"] == ("a", 2.0)
    assert best["rule, without augmentation"] == ("a", 2.0)
    assert set(found.picked["student"]) == {f"{cell}{s}" for cell in ("a2none", "b1none", "b2inverted") for s in (0, 1)}
    scores = found.by_cell("validation labels").set_index(["teacher", "temperature"])
    assert scores.loc[("b", 2.0), ["score", "test_accuracy"]].to_list() == pytest.approx([0.7, 70.5])


def test_without_answers_of_two_seeds_the_rule_chooses_by_information():
    plain = STUDENTS_OF_T[STUDENTS_OF_T["augmentation"] == "none"]
    found = without_labels(plain, ["teacher", "augmentation"], "temperature", pd.DataFrame())
    assert found.rule == INFORMATION and found.choices["rule"].best["temperature"] == 2.0
    assert set(found.choices) == {"rule", "validation labels", "information"}
