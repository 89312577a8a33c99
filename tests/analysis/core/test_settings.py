"""Tables split and compared, on made-up lines."""

import pandas as pd

from analysis.core.settings import each_against, stacked

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
