from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from analysis.core.figures.bars import grouped
from analysis.core.statistics import interval

NAN = float("nan")


@pytest.fixture
def ax():
    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)


def test_bars_stand_side_by_side_in_their_groups_with_marks_of_what_is_published(ax):
    lines = [
        ("a", "head", 60.0, 58.0, 62.0, NAN),
        ("a", "all", 70.0, NAN, NAN, 95.25),
        ("b", "all", 65.0, 60.0, 70.0, NAN),
    ]
    table = pd.DataFrame(lines, columns=["group", "kind", "mean", "low", "high", "published"])
    hole = pd.DataFrame([{"group": "c", "kind": "", "mean": NAN, "published": NAN, "note": "not run"}])
    grouped(pd.concat([table, hole]), ax, {"all": "blue", "head": "red"}, "accuracy, %")
    drawn = [p for p in ax.patches if p.get_height() > 0]
    assert sorted(p.get_height() for p in drawn if not p.get_hatch()) == [60, 65, 70]
    assert len([p for p in drawn if p.get_hatch()]) == 1 and {"not run", "95.25"} <= {t.get_text() for t in ax.texts}
    spans = sorted((p.get_x(), p.get_x() + p.get_width()) for p in drawn)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(spans)), "none hides another"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
    assert any(np.allclose(line.get_ydata(), 95.25) for line in ax.lines if len(line.get_ydata()) == 2)
    assert set(ax.get_legend_handles_labels()[1]) == {"all", "head", "published"}


def test_whiskers_of_two_seeds_end_at_their_values_and_others_where_a_share_does(ax):
    values = {"two": [60.0, 64.0], "three": [97.0, 98.0, 100.0]}
    lines = [{"group": name, "kind": "head", **vars(interval(of))} for name, of in values.items()]
    grouped(pd.DataFrame(lines), ax, {"head": "red"}, "accuracy, %")
    spans = [segment[:, 1] for bars in ax.collections for segment in bars.get_segments()]
    assert [span.max() for span in spans] == pytest.approx([64, 100]) and spans[0].min() == pytest.approx(60)
