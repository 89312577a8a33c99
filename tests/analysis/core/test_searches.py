import numpy as np
import pandas as pd

from analysis.core import searches


def points(n=24):
    rng = np.random.default_rng(0)
    lr, width = 10 ** rng.uniform(-4, -1, n), rng.uniform(1, 4, n)
    lines = pd.DataFrame({"lr": lr, "width": width, "steps": 40})
    both = pd.concat(
        [lines.assign(seed=s, val_accuracy=0.9 - 0.1 * (np.log10(lr) + 2.5) ** 2 + 0.01 * s) for s in (0, 1)]
    )
    return both.sort_index(kind="stable").reset_index(drop=True)


def test_what_was_drawn_is_what_no_grid_has():
    assert searches.drawn(points(), {"lr": [0.1], "width": [2.0], "steps": [40], "seed": [0]}) == ["lr", "width"]
    assert searches.drawn(points(), {"lr": list(points()["lr"]), "steps": [40, 80]}) == []


def test_the_axis_that_matters_is_the_more_important_and_the_best_of_the_history_is_the_best():
    table = points()
    found = searches.figures(table, ["lr", "width", "steps"], "val_accuracy", "max")
    assert set(found) == {"history", "slice", "parallel coordinates", "importance", "contour"}
    bars = found["importance"].data[0]
    rated = dict(zip(bars.y, bars.x, strict=True))
    assert set(rated) == {"lr", "width"} and rated["lr"] > rated["width"], "steps never varied, and width does nothing"
    line = next(trace for trace in found["history"].data if trace.name == "Best Value")
    means = table.groupby("lr", sort=False)["val_accuracy"].mean()
    assert np.allclose(line.y, means.cummax()), "in the order of the search, over seeds"


def test_too_few_points_make_no_figure():
    assert searches.figures(points(3), ["lr", "width"], "val_accuracy", "max") == {}
    assert set(searches.figures(points(), ["lr", "steps"], "val_accuracy", "max")) == {
        "history",
        "slice",
        "parallel coordinates",
    }
