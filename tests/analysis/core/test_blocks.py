"""Every block on a small made table: what it draws is what the table says."""

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot, rc_context
from matplotlib.collections import PathCollection
from matplotlib.markers import CARETDOWNBASE
from matplotlib.patches import Rectangle

from analysis.core import blocks, report, statistics
from analysis.core.figures.references import Reference
from analysis.core.figures.scales import HOLE

VIEWS, LABELS, T, W = ("target", "source"), ("500", "all"), (1.0, 4.0, 16.0), (0.0, 0.5, 1.0)
WORDS = {"view": {"target": "sees the image", "source": "sees the digit"}, "labels": "{} labels"}


def accuracy(view, labels, t, w, seed):
    return 0.5 + 0.1 * (labels == "all") + 0.02 * np.log2(t) + 0.05 * w + 0.001 * seed + 0.2 * (view == "source")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A made-up run whose figures are kept, open, in `drawn`, and whose surfaces to turn in `turned`, by name."""
    rows = [
        (*cell, "-".join(map(str, cell)), "done", accuracy(*cell)) for cell in product(VIEWS, LABELS, T, W, range(3))
    ]
    table = pd.DataFrame(
        rows, columns=["view", "labels", "temperature", "kd_weight", "seed", "student", "status", "test_accuracy"]
    )
    table.attrs["axes"] = ["view", "labels", "temperature", "kd_weight", "seed"]
    axes = {"view": VIEWS, "labels": LABELS, "temperature": T, "kd_weight": W, "seed": range(3)}
    made = report.Run(tmp_path, {"axes": axes, "preset": "made", "data": "made up"}, table, table, table, table, WORDS)
    drawn, turned = {}, {}
    monkeypatch.setattr(report.Run, "figure", lambda self, figure, name: drawn.update({name: figure}))
    monkeypatch.setattr(report.Run, "interactive", lambda self, figure, name, caption: turned.update({name: figure}))
    with rc_context({"backend": "agg"}):
        yield made, drawn, turned
        pyplot.close("all")


def panels_of(figure):
    return [ax for ax in figure.axes if ax.get_visible() and ax.get_title()]


def test_panels_lie_in_the_order_of_the_plan_and_say_their_values_in_words(run):
    made, *_ = run
    found = blocks.panels(made, made.cells.sample(frac=1, random_state=0), ["view"], ["labels"])
    assert [(p.title, p.place) for p in found] == [
        ("sees the image, 500 labels", (0, 0)), ("sees the image, all labels", (0, 1)),
        ("sees the digit, 500 labels", (1, 0)), ("sees the digit, all labels", (1, 1)),
    ]  # fmt: skip
    wrapped = blocks.panels(made, made.cells, columns=["view", "labels"], wrap=3)
    assert [p.place for p in wrapped] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert sum(len(p.table) for p in wrapped) == len(made.cells)


def test_a_plane_is_surfaces_numbers_and_something_to_turn(run):
    made, drawn, turned = run
    framed = [{"view": "target", "labels": "500", "temperature": 4.0, "kd_weight": 0.5}]
    cells = made.cells.copy()
    hole = (cells[["view", "labels", "temperature", "kd_weight"]] == ["source", "all", 16.0, 1.0]).all(axis=1)
    cells.loc[hole, "test_accuracy"] = np.nan
    blocks.plane(
        made,
        cells,
        "temperature",
        "kd_weight",
        "test_accuracy",
        "Accuracy",
        rows=["view"],
        columns=["labels"],
        framed=framed,
    )
    assert set(drawn) == {"surfaces", "heatmaps"} and set(turned) == {f"surface_{v}_{n}" for v in VIEWS for n in LABELS}
    first, *_, last = panels_of(drawn["heatmaps"])
    texts = [t.get_text() for t in first.texts]
    assert f"{100 * accuracy('target', '500', 4.0, 0.5, 1):.1f}\n±0.2" in texts
    frames = [p for p in first.patches if isinstance(p, Rectangle) and not p.get_fill()]
    assert [p.get_xy() for p in frames] == [(0.53, 0.53)] and len(last.patches) == 9  # only where it was chosen
    assert [t.get_color() for t in last.texts if t.get_text() == "×"] == [HOLE]
    assert {ax.get_zlim() for ax in panels_of(drawn["surfaces"])} == {(0, 100)}
    title = drawn["heatmaps"].get_suptitle()
    assert all(
        said in title for said in ("Accuracy", "framed: chosen on validation", "n = 3 seeds", "preset made", "made up")
    )


SPREAD = {1: "", 2: "mean and both seeds", 3: "mean and 95 % interval"}
IN_NUMBERS = SPREAD | {3: "mean ± half of the 95 % interval"}
STATES = {"chosen": (T[0], W[0]), "as good": (T[1], W[0]), "open": (T[1], W[1])}
FRAMED = [{"temperature": t, "kd_weight": w, "state": state} for state, (t, w) in STATES.items()]


@pytest.mark.parametrize("seeds", SPREAD)
@pytest.mark.parametrize("heading", ["Share", "Accuracy of what was asked in so many words that it is a line alone"])
def test_a_heading_says_what_is_shown_of_the_seeds_and_the_frames_on_further_lines_where_it_is_long(run, heading, seeds):
    made, drawn, _ = run
    cells = made.cells[made.cells["seed"] < seeds]
    blocks.plane(made, cells, "temperature", "kd_weight", "test_accuracy", heading, framed=FRAMED)
    for name, spread, key in (
        ("surfaces", SPREAD[seeds], "star: chosen on validation; white: as good; grey: open (seeds cannot tell); small dot: worse"),
        ("heatmaps", IN_NUMBERS[seeds], "framed: chosen on validation; thin: as good; dashed: open (seeds cannot tell); no frame: worse"),
    ):
        first = f"{heading}, {spread}" if heading == "Share" else f"{heading}\n{spread}"
        assert drawn[name].get_suptitle().startswith(f"{first if spread else heading}\n{key}\n")


@pytest.mark.parametrize(("seeds", "said"), SPREAD.items())
def test_every_block_says_what_is_shown_of_the_seeds_as_many_as_there_are(run, seeds, said):
    made, drawn, _ = run
    cells, over = made.cells[made.cells["seed"] < seeds], ("temperature", "test_accuracy", "Share")
    blocks.learning(made, cells, *over, per="labels")
    blocks.intervals(made, cells, *over, per="labels")
    blocks.facets(made, cells, lambda ax, panel: None, "Share", name="means", spread=True)
    blocks.facets(made, cells, lambda ax, panel: None, "Share", name="points")
    by_seed = {value: part.groupby("seed")["test_accuracy"].mean() for value, part in cells.groupby("labels")}
    blocks.forest(made, statistics.compare({"all": (by_seed["all"], by_seed["500"])}, ["y"]), "Share", y="y", xlabel="points")
    blocks.ladder(made, [(k, v, "ours") for k, v in by_seed.items()], "test_accuracy", "Share", {"ours": "red"})
    spreads = {name: said for name in ("learning", "intervals", "means", "differences")} | {"points": "", "ladder": IN_NUMBERS[seeds]}
    for name, spread in spreads.items():
        assert drawn[name].get_suptitle().splitlines()[0] == ", ".join(filter(None, ("Share", spread))), name


def test_what_has_no_frame_is_worse_where_frames_have_states_and_a_cell_is_left(run):
    made, drawn, _ = run
    all_framed = [{"temperature": t, "kd_weight": w, "state": "open"} for t, w in product(T, W)]
    for framed, worse in ((all_framed, False), (FRAMED[:1], True), ([{"temperature": 4.0}], False), ([], False)):
        blocks.plane(made, made.cells, "temperature", "kd_weight", "test_accuracy", "Share", framed=framed)
        assert ("no frame: worse" in drawn["heatmaps"].get_suptitle()) == worse


def test_a_plane_over_words_has_no_surface(run):
    made, drawn, turned = run
    cells = made.cells.assign(remedy=pd.Categorical(made.cells["view"], ["source", "target"], ordered=True))
    blocks.plane(made, cells, "temperature", "remedy", "test_accuracy", "Accuracy", columns=["labels"], name="numbers")
    assert set(drawn) == {"numbers"} and not turned
    assert [t.get_text() for t in panels_of(drawn["numbers"])[0].get_yticklabels()] == ["source", "target"]


def test_words_of_a_plane_stand_in_the_order_of_their_categories(run):
    made, drawn, _ = run
    order = ["target", "source"]  # not that of the alphabet
    words = made.cells.assign(view=pd.Categorical(made.cells["view"], order))
    blocks.plane(made, words, "view", "labels", "test_accuracy", "Words")
    ax = drawn["heatmaps"].axes[0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == order


def test_learning_draws_the_means_of_each_line_and_the_levels_of_each_panel(run):
    made, drawn, _ = run
    levels = lambda values: [Reference("level", 42.0)] if values["view"] == "target" else []  # noqa: E731
    blocks.learning(
        made,
        made.cells,
        "temperature",
        "test_accuracy",
        "x",
        per="kd_weight",
        columns=["view", "labels"],
        levels=levels,
    )
    figure = drawn["learning"]
    first, *_, last = panels_of(figure)
    assert first.lines[1].get_ydata() == pytest.approx([100 * accuracy("target", "500", t, 0.5, 1) for t in T])
    assert len(first.lines) == 4 and len(last.lines) == 3 and first.get_ylim() == (0, 101)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["0", "0.5", "1"]


def test_a_hole_of_the_plan_breaks_a_line(run):
    made, drawn, _ = run
    holed = made.cells.assign(test_accuracy=made.cells["test_accuracy"].where(made.cells["temperature"] != 4))
    blocks.learning(made, holed, "temperature", "test_accuracy", "Over T", per="labels")
    blocks.intervals(made, holed, "temperature", "test_accuracy", "Over T", per="labels", join=True)
    for name in ("learning", "intervals"):
        (ax,) = panels_of(drawn[name]) or drawn[name].axes
        lines = [np.asarray(line.get_ydata(), dtype=float) for line in ax.lines if len(line.get_xdata()) == len(T)]
        assert lines and all(np.isnan(y).tolist() == [False, True, False] for y in lines[:2])


def test_facets_draw_each_panel_and_name_what_any_of_them_has_once(run):
    made, drawn, _ = run

    def draw(ax, panel):
        ax.plot(panel.table["temperature"], panel.table["test_accuracy"], "o", label="students")

    blocks.facets(made, made.cells, draw, "Every student", name="own", rows=["view"], columns=["labels"])
    assert [ax.get_title() for ax in panels_of(drawn["own"])] == [
        p.title for p in blocks.panels(made, made.cells, ["view"], ["labels"])
    ]
    assert [text.get_text() for text in drawn["own"].legends[0].get_texts()] == ["students"]
    assert "Every student" in drawn["own"].get_suptitle() and "preset made" in drawn["own"].get_suptitle()


def test_a_pure_drawing_is_drawn_in_panels_and_what_they_share_is_named_once(run):
    made, drawn, _ = run

    def dots(table, x, ax):
        ax.plot(table[x], table["test_accuracy"], "o")
        ax.set_ylabel("accuracy")

    blocks.facets(
        made, made.cells, blocks.drawn(dots, "kd_weight"), "Shared", name="own", columns=["labels"], share=True
    )
    left, right = panels_of(drawn["own"])
    assert sorted(set(left.lines[0].get_xdata())) == sorted(W) and (left.get_ylabel(), right.get_ylabel()) == (
        "accuracy",
        "",
    )


def test_of_a_table_without_lines_nothing_is_drawn(run):
    made, drawn, turned = run
    none, of = made.cells[:0], {"columns": ["labels"]}
    blocks.plane(made, none, "temperature", "kd_weight", "test_accuracy", "Nothing", **of)
    blocks.learning(made, none, "temperature", "test_accuracy", "Nothing", per="kd_weight", **of)
    blocks.intervals(made, none, "temperature", "test_accuracy", "Nothing", per="kd_weight", **of)
    blocks.facets(made, none, lambda ax, panel: None, "Nothing", name="own", **of)
    blocks.forest(made, none, "Nothing", y="view", xlabel="points", **of)
    assert not drawn and not turned


def test_an_open_limit_leaves_room_for_lines_and_levels(run):
    made, drawn, _ = run
    one = made.cells[(made.cells["view"] == "target") & (made.cells["labels"] == "500")]
    high = [Reference("above all lines", 95.0)]
    blocks.learning(made, one, "temperature", "test_accuracy", "x", per="kd_weight", levels=high, limits=(0, None))
    low, top = drawn["learning"].axes[0].get_ylim()
    assert low == 0 and 95 < top < 105
    blocks.plane(made, one, "temperature", "kd_weight", "test_accuracy", "x", levels=high, limits=(0, None))
    assert drawn["surfaces"].axes[0].get_zlim() == pytest.approx((0, 1.15 * 95))


def test_lines_have_a_ring_around_what_was_chosen_and_say_so(run):
    made, drawn, _ = run
    best, other = ({"temperature": 4.0, "kd_weight": 0.5, "state": state} for state in ("chosen", "open"))
    heard = {"kd_weight": 0.0, "state": "chosen"}  # no temperature plays a part: there is no place for a ring
    framed = [{**best, "view": "target", "labels": "500"}, {**other, "view": "target", "labels": "all"}, heard]
    sides = {"per": "kd_weight", "columns": ["view", "labels"], "framed": framed}
    blocks.learning(made, made.cells, "temperature", "test_accuracy", "x", **sides)
    first, *others = panels_of(drawn["learning"])
    (ring,) = [c for c in first.collections if isinstance(c, PathCollection)]
    assert ring.get_offsets()[0].tolist() == pytest.approx([2, 100 * accuracy("target", "500", 4.0, 0.5, 1)])
    assert not [c for ax in others for c in ax.collections if isinstance(c, PathCollection)]
    assert "ring: chosen on validation" in drawn["learning"].get_suptitle()


def test_nought_is_in_sight():
    ax = pyplot.figure().add_subplot()
    ax.plot([0, 1], [-3, -2])
    blocks.nought(ax, None)
    assert ax.get_ylim()[0] < -3 and ax.get_ylim()[1] >= 0 and ax.lines[-1].get_ydata() == [0, 0]
    pyplot.close("all")


def test_facets_have_the_scale_of_their_colours_beside_them(run):
    made, drawn, _ = run
    scale = pyplot.cm.ScalarMappable(pyplot.Normalize(0, 7))
    blocks.facets(made, made.cells, lambda ax, panel: ax.plot([1]), "Colours", name="scaled", scale=scale, unit="bits")
    assert drawn["scaled"].axes[-1].get_ylabel() == "bits" and drawn["scaled"].axes[-1].get_ylim() == (0, 7)


def test_a_ladder_has_every_bar_in_its_place_colour_and_legend(run):
    made, drawn, _ = run
    kinds = {"ours": "#0072B2", "unused": "red"}
    bars = [("good", [0.8, 0.9, 0.85], "ours"), ("poor", pd.Series([0.1, 0.2]), "ours"), ("none", [], "ours")]
    blocks.ladder(made, bars, "test_accuracy", "x", kinds, published={"paper": 0.5225})
    (ax,) = drawn["ladder"].axes
    widths = {t.get_text(): bar.get_width() for t, bar in zip(ax.get_yticklabels(), ax.patches, strict=True)}
    assert widths == pytest.approx({"poor": 15, "paper": 52.25, "good": 85}) and ax.get_xlim() == (0, 100)
    assert {t.get_text() for t in ax.texts} == {"52.25", "85.0 ±12.4", "15.0 (10.0, 20.0)"}
    assert [t.get_text() for t in drawn["ladder"].legends[0].get_texts()] == ["ours", "published"]


def test_a_forest_fills_what_is_told_from_nothing(run):
    made, drawn, _ = run
    base, noise = pd.Series([0.5, 0.51, 0.5, 0.52]), pd.Series([0.001, -0.001, 0.002, 0.0])
    pairs = {
        ("a", "500"): (base - 0.1 + noise, base),
        ("b", "500"): (base + noise, base),
        ("a", "all"): (base + 0.1 + noise, base),
    }
    table = statistics.compare(pairs, ["which", "labels"])
    blocks.forest(made, table, "x", y="which", columns=["labels"], xlabel="points", better="less")
    few, every = panels_of(drawn["differences"])
    points = [line for line in few.lines if line.get_marker() == "o"]
    assert [p.get_xdata()[0] for p in points] == pytest.approx([-9.95, 0.05], abs=0.01)
    assert [p.get_markerfacecolor() for p in points] == [blocks.LESS, "white"]
    assert [line.get_markerfacecolor() for line in every.lines if line.get_marker() == "o"] == [blocks.MORE]
    assert [t.get_text() for t in few.get_yticklabels()] == ["a", "b"]


def test_a_difference_of_shares_ends_at_a_hundred_points(run):
    made, drawn, _ = run
    fall = statistics.compare({"a": (pd.Series([0.01, 0.0, 0.3]), pd.Series([1.0, 0.98, 1.0]))}, ["which"])
    blocks.forest(made, fall, "x", y="which", xlabel="points")
    ends = [x for bars in drawn["differences"].axes[0].collections for part in bars.get_segments() for x, _ in part]
    assert fall["low"][0] < -1 and min(ends) == pytest.approx(-100)


def test_intervals_lie_side_by_side_and_end_in_an_arrow_where_the_axis_cuts_them(run):
    made, drawn, _ = run
    one = made.cells[(made.cells["temperature"] == 1) & (made.cells["kd_weight"] == 0)]
    wide = one.assign(errors=np.where(one["seed"] == 2, 40.0, 1.0))
    blocks.intervals(made, wide, "labels", "errors", "x", per="view", log=True)
    (ax,) = drawn["intervals"].axes
    assert ax.get_yscale() == "log" and ax.get_ylim()[0] > 0
    xs = sorted(x for line in ax.lines if line.get_marker() == "o" for x in line.get_xdata())
    assert len(xs) == 4 and xs == pytest.approx([-0.175, 0.175, 0.825, 1.175])
    narrow = one.assign(errors=10.0 + one["seed"])
    blocks.intervals(made, narrow, "labels", "errors", "x", per="view", log=True, name="narrow")
    arrows = [len([c for c in drawn[n].axes[0].lines if c.get_marker() in (7, 11)]) for n in ("intervals", "narrow")]
    assert arrows[0] >= 1 and arrows[1] == 0


@pytest.fixture
def drawn():
    """The figure that `intervals` makes of errors by seed, {(place, way): shares}."""
    made: list = []
    run: Any = SimpleNamespace(axes={}, words={}, named=str, finish=lambda figure, *words: made.append(figure))

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
