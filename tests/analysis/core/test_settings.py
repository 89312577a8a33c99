"""Tables split and compared, on made-up lines."""

import numpy as np
import pandas as pd
import pytest

from analysis.core.settings import by_seed, changed, each_against, each_further, split, stacked

LINES = pd.DataFrame(
    [("off", 1, 0, 0.5), ("off", 1, 1, 0.6), ("on", 1, 0, 0.7), ("on", 1, 1, 0.9), ("on", 2, 0, 0.4)],
    columns=["method", "labels", "seed", "metric"],
)


def test_each_combination_is_compared_with_the_base_where_all_else_is_alike():
    found = [(cell, mine.to_dict(), base.to_dict()) for cell, (mine, base) in each_against(
        LINES, {"method": "off"}, ["method"], ["labels"], "metric"
    )]  # fmt: skip
    assert found == [
        ({"labels": 1, "method": "on"}, {0: 0.7, 1: 0.9}, {0: 0.5, 1: 0.6}),
        ({"labels": 2, "method": "on"}, {0: 0.4}, {}),
    ]


def test_a_table_is_stacked_once_for_each_metric():
    table = pd.DataFrame({"seed": [0, 1], "a": [0.1, 0.2], "b": [0.3, 0.4]})
    found = stacked(table, "what", "value", {"first": "a", "second": "b"})
    assert found["what"].tolist() == ["first"] * 2 + ["second"] * 2 and found["value"].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert found["seed"].tolist() == [0, 1, 0, 1] and list(table) == ["seed", "a", "b"]
    assert stacked(table, "what", "value", ["a", "b"])["what"].tolist() == ["a", "a", "b", "b"]


def test_a_setting_has_its_axes_as_its_title_and_no_two_are_one():
    cells = LINES.assign(status="done")
    found = split(
        cells, cells, ["method"], {"labels": [1, 2], "method": ["off", "on"]}, named=lambda axes: f"{axes} said"
    )
    assert [s.title for s in found] == ["{'labels': 1} said", "{'labels': 2} said"]
    assert len({*found, *split(cells, cells, ["method"], {"labels": [1, 2]})}) == 4, "keys of tables, each itself alone"


def test_a_table_without_lines_has_nothing_by_seed_and_one_without_the_column_is_an_error():
    assert by_seed(pd.DataFrame(), "metric").empty
    with pytest.raises(KeyError):
        by_seed(LINES, "another")


def test_each_further_value_is_compared_with_the_first_where_all_else_is_alike():
    (found,) = each_further(LINES[LINES["labels"] == 1], {"method": "off"}, ["method", "labels"], "metric")
    axis, value, rest, (mine, first) = found
    assert (axis, value, rest) == ("method", "on", {"labels": 1})
    assert mine.to_dict() == {0: 0.7, 1: 0.9} and first.to_dict() == {0: 0.5, 1: 0.6}


def test_a_change_is_of_the_line_that_is_alike():
    found = changed(LINES, {"method": "off"}, ["labels", "seed"], "metric")
    assert found[:4].to_list() == pytest.approx([0, 0, 0.2, 0.3]) and np.isnan(found[4])
