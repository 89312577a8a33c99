"""Several differences judged together, and what is said of them."""

import pandas as pd
import pytest

from analysis.core import statistics as st
from analysis.core import tell

NONE = pd.Series([0.0, 0.0, 0.0])


def compared(**differences):
    return st.compare({name: (pd.Series(d), NONE) for name, d in differences.items()}, ["name"]).set_index("name")


def test_a_verdict_has_the_p_value_that_is_corrected_for_all_comparisons():
    d = [0.9, 1.0, 1.1]
    alone, three = compared(a=d).loc["a"], compared(a=d, b=[1.0, -1.0, 0.1], c=[0.5, -0.3, -0.1]).loc["a"]
    assert alone["p"] == pytest.approx(st.paired(pd.Series(d), NONE).p) and three["p"] == pytest.approx(3 * alone["p"])
    assert tell.verdict(alone) == "a gain (p = 0.0033)" and tell.verdict(three) == "a gain (p = 0.01)"


def test_a_verdict_says_gain_loss_tie_or_that_nothing_is_known():
    found = compared(loss=[-1.0, -1.0, -1.00001], tie=[1.0, -1.0, 0.1], short=[1.0])
    assert tell.verdict(found.loc["loss"], less="fewer errors") == "fewer errors (p < 0.0001)"
    assert tell.verdict(found.loc["tie"]).startswith("a tie (p = ")
    assert tell.verdict(found.loc["short"]) == "one seed, so nothing is known of the noise"
