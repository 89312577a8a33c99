"""What p-values say in words, and how much must be judged."""

import numpy as np
import pandas as pd
import pytest

from analysis.core.verdicts import by_query, needed, verdict


def test_a_p_at_the_level_is_significant_and_one_above_it_is_not():
    assert verdict(0.05) == "significantly better" and verdict(0.0501) == "not shown to be better"
    assert verdict(0.01, level=0.001) == "not shown to be better" and "cannot" in verdict(np.nan)


def test_queries_keep_their_order_and_pay_for_being_many():
    lines = [
        {"query": q, "google": 0.5, "yandex": 0.4, "difference": 0.1, "p": p + shift, "results": 10, "judges": 3}
        for q, p in (("b", 0.02), ("a", 0.3), ("c", 0.04))
        for shift in (-0.01, 0.01)
    ]
    found = by_query(pd.DataFrame(lines))
    assert found["query"].tolist() == ["b", "a", "c"] and found["p"].tolist() == pytest.approx([0.02, 0.3, 0.04])
    assert found["holm"].tolist() == pytest.approx([0.06, 0.3, 0.08])


def test_enough_is_where_power_stays_above_the_goal():
    power = {0.2: [0.1, 0.85, 0.7, 0.9], 0.4: [0.8, 0.9, 0.95, 1.0], 0.1: [0.1, 0.2, 0.3, 0.4]}
    lines = [
        {"effect": e, "queries": n, "power": p, "seed": 0}
        for e, row in power.items()
        for n, p in zip((5, 10, 25, 50), row, strict=True)
    ]
    found = needed(pd.DataFrame(lines), "queries", "power", ["effect"]).set_index("effect")
    assert found.loc[0.2, "queries"] == 50 and found.loc[0.4, "queries"] == 5  # a lucky 10 is not enough
    assert np.isnan(found.loc[0.1, "queries"]) and (found["most"] == 50).all()
