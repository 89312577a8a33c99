import pandas as pd
import pytest

from analysis.core.labels import WAYS, leads, told


def table(ahead):
    """Five seeds, two budgets: gold is ahead of the majority by so much at each."""
    lines = []
    for budget, more in zip((3, 5), ahead, strict=True):
        for seed in range(5):
            base = 0.6 + 0.01 * seed  # what a seed does to both cancels
            for method, accuracy in (("majority", base), ("gold", base + more + 0.001 * (seed % 2))):
                lines.append(
                    {
                        "labels": budget,
                        "seed": seed,
                        "method": method,
                        "test_accuracy": accuracy,
                        "student": f"{budget}{method}{seed}",
                    }
                )
    return pd.DataFrame(lines)


def test_a_lead_is_paired_by_seed():
    found = leads(table((0.1, -0.1)), ["labels"], "test_accuracy")
    assert set(found["way"]) == {WAYS["gold"]} and set(found["base"]) == {"against majority vote"}
    means = found.groupby("labels")["lead_accuracy"].mean()
    assert means[3] == pytest.approx(0.1004) and means[5] == pytest.approx(-0.0996)


def test_what_is_told_is_told_on_its_side():
    found = told(table((0.1, -0.1)), ["labels"], "test_accuracy").set_index("labels")
    assert found["told"].to_dict() == {3: "more", 5: "less"}


def test_methods_that_did_not_run_are_left_out():
    assert not len(leads(table((0.1, 0.1)).query("method == 'gold'"), ["labels"], "test_accuracy"))
    assert not len(told(table((0.1, 0.1)).query("method == 'gold'"), ["labels"], "test_accuracy"))
