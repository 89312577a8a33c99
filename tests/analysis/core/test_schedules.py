"""Schedules drawn from made-up lines."""

import itertools

import numpy as np
import pandas as pd

from analysis.core.figures.schedules import frozen

LINES = pd.DataFrame(
    [
        (
            kind,
            "constant",
            "iterative",
            depth,
            f"stage {depth}",
            share,
            0.1 * (kind == "all" or depth == 0),
            share / 100,
        )
        for kind, depth, share in itertools.product(("all", "gradual"), (0, 1), (0.0, 50.0))
    ],
    columns=["unfreezing", "rate", "augmentation", "depth", "stage", "share", "rate_used", "strength"],
)


def test_frozen_stages_have_no_rate_and_strengths_stand_below():
    figure = frozen(LINES, {"none": "0.5", "iterative": "red"}, lambda values: ", ".join(values.values()))
    every, gradual, strength = figure.axes[:3]
    assert [ax.get_title() for ax in (every, gradual)] == [
        "all, constant",
        "gradual, constant",
    ]
    hidden = [np.ma.getmaskarray(ax.collections[0].get_array()).reshape(2, 2).tolist() for ax in (every, gradual)]
    assert hidden == [[[False, False], [False, False]], [[False, False], [True, True]]]
    (line,) = strength.lines
    assert line.get_label() == "iterative" and list(line.get_ydata()) == [0, 0.5, 0.5]
