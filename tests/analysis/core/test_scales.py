import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.core.figures.scales import decades


@pytest.mark.parametrize(
    ("span", "texts"),
    [([-2.0, 1.0], ["$10^{-2}$", "", "", "$10^{1}$"]), ([-1.5, 0.4], ["0.01", "0.02", "0.05", "10"])],
)
def test_an_axis_of_logarithms_is_read_as_what_they_are_of(span, texts):
    ax = Figure().add_subplot()
    ax.set_ylim(*span)
    decades(ax.yaxis, "norm")
    name = ax.yaxis.get_major_formatter()
    assert [name(np.log10(v)) for v in (0.01, 0.02, 0.05, 10)] == texts and ax.get_ylabel() == "norm"
