"""Points with intervals on a logarithmic axis: what does not fit on it is still seen."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.markers import CARETDOWNBASE

from analysis.core import blocks


@pytest.fixture
def drawn():
    """The figure that `intervals` makes of errors by seed, {(place, way): shares}."""
    made = []
    run: Any = SimpleNamespace(
        axes={}, named=str, title=lambda *words: "", figure=lambda figure, name: made.append(figure)
    )

    def draw(values, **how):
        lines = [(x, way, v) for (x, way), found in values.items() for v in found]
        table = pd.DataFrame(lines, columns=["digit", "way", "test_error"])
        blocks.intervals(run, table, "digit", "test_error", "", per="way", **how)
        return made[-1].axes

    yield draw
    pyplot.close("all")


def markers(ax, kind):
    return [line for line in ax.lines if line.get_marker() == kind and len(line.get_xdata())]


def test_an_interval_that_leaves_a_logarithmic_axis_ends_in_an_arrow_and_keeps_its_other_end(drawn):
    ax = drawn({("3", "a"): [0.0, 0.4, 0.5, 0.02], ("4", "a"): [0.4, 0.41, 0.42]}, log=True)[0]
    bottom, top = ax.get_ylim()
    (arrow,) = markers(ax, CARETDOWNBASE)
    assert list(arrow.get_xdata()) == [0.0] and bottom < arrow.get_ydata()[0] < 1.5 * bottom
    ends = np.concatenate([segment[:, 1] for c in ax.collections for segment in c.get_segments()])
    assert 60 < ends.max() < top and ends.min() > bottom


def test_a_mean_of_nought_stands_at_the_edge_of_a_logarithmic_axis(drawn):
    ax = drawn({("3", "a"): [0.0, 0.0], ("3", "b"): [0.2, 0.3]}, log=True)[0]
    (triangle,) = markers(ax, "v")
    assert ax.get_ylim()[0] < triangle.get_ydata()[0] < 25 and triangle.get_xdata()[0] == blocks.beside(0, 2)


def test_a_linear_axis_needs_no_arrow(drawn):
    ax = drawn({("3", "a"): [0.0, 0.4, 0.5, 0.02], ("4", "a"): [0.0, 0.0]})[0]
    assert not markers(ax, CARETDOWNBASE) and not markers(ax, "v")
