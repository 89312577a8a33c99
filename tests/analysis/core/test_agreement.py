import numpy as np
import pandas as pd
import pytest

from analysis.core.agreement import agreement

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
