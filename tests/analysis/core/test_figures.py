import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot, rc_context
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.core.figures.bars import bars
from analysis.core.figures.crossing import crossing
from analysis.core.figures.curves import curves
from analysis.core.figures.gradients import DEVIATIONS, EXACT, LIMIT, PROBE, SCALED, gaussian, theory
from analysis.core.figures.heatmap import confusion, heatmap, raster, scatter
from analysis.core.figures.interactive import interactive
from analysis.core.figures.measures import measures
from analysis.core.figures.references import Reference, levels, spread
from analysis.core.figures.scales import decades, palette, positions, reach, whiskers
from analysis.core.figures.surface import surface
from analysis.core.statistics import summarise

GRID = [1.0, 4.0, 16.0]
COLUMNS = ("temperature", "kd_weight", "accuracy")


@pytest.fixture(autouse=True)
def canvas():
    with rc_context({"backend": "agg"}):
        yield
        pyplot.close("all")


@pytest.fixture
def table():
    rows = [(t, w, 80 + w, 79 + w, 81 + w, 3) for t in GRID for w in (0.0, 0.5, 1.0)]
    return pd.DataFrame(rows, columns=[*COLUMNS, "low", "high", "n"])


def hole(table: pd.DataFrame) -> pd.DataFrame:
    table = table.copy()
    table.loc[4, ["accuracy", "low", "high"]] = np.nan
    return table


def test_the_z_axis_is_not_cut(table):
    assert surface(table, *COLUMNS).get_zlim() == (0, 100)
    assert tuple(interactive(table, *COLUMNS, "").layout.scene.zaxis.range) == (0, 100)


def test_temperatures_lie_at_their_log2_with_ticks_at_grid_points(table):
    for axis in (surface(table, *COLUMNS).xaxis, curves(table, *COLUMNS[::2], "kd_weight").xaxis):
        assert list(axis.get_ticklocs()) == [0, 2, 4]
        assert [text.get_text() for text in axis.get_ticklabels()] == ["1", "4", "16"]
    axis = interactive(table, *COLUMNS, "").layout.scene.xaxis
    assert list(axis.tickvals) == [0, 2, 4] and list(axis.ticktext) == ["1", "4", "16"]


def test_every_halving_of_the_doubt_is_as_long_on_the_axis_of_thresholds():
    assert np.allclose(positions([0.0, 0.5, 0.75, 0.875], "threshold"), [0, 1, 2, 3])


def test_a_hole_tears_the_surface_and_is_never_a_low_point(table):
    def faces(t):
        return len(surface(t, *COLUMNS).collections[0].get_facecolor())

    assert faces(table) == 4 and faces(hole(table).drop(index=[0])) == 0
    texts = [t.get_text() for t in heatmap(hole(table), *COLUMNS).texts]
    assert texts.count("×") == 1 and len(texts) == 9
    drawn = next(trace for trace in interactive(hole(table), *COLUMNS, "").data if trace.name.startswith("cells"))
    assert len(drawn.z) == 8


def test_what_turns_shows_of_two_seeds_both_values(table):
    names = {}
    for n in (2, 3):
        cells = next(trace for trace in interactive(table.assign(n=n), *COLUMNS, "").data if trace.name.startswith("cells"))
        names[n], reach = cells.name, cells.customdata[0][3] - cells.customdata[0][2]
        assert reach == pytest.approx(2.0 if n == 3 else 2.0 / 12.706, rel=1e-3)
    assert names == {2: "cells, both seeds", 3: "cells, 95 % intervals"}


def test_a_heatmap_says_mean_half_interval_and_missing_seeds(table):
    table["n"] = [3, 3, 2, *[4] * 6]
    texts = [t.get_text() for t in heatmap(table, *COLUMNS).texts]
    assert texts[0] == "80.0\n±1.0 n=3" and texts[1] == "80.5\n±1.0 n=3" and texts[3] == "80.0\n±1.0"
    assert texts[2] == "81.0\n80.9, 81.1"


def test_two_seeds_are_shown_as_their_two_values_and_intervals_end_where_the_quantity_does():
    values = [0.5, 0.6], [0.97, 0.98, 1.0]
    rows = pd.DataFrame(
        [(g, s, v) for g, of in enumerate(values) for s, v in enumerate(of)], columns=["t", "seed", "test_accuracy"]
    )
    table = summarise(rows, ["t"], "test_accuracy")
    low, high = whiskers(table, "test_accuracy")
    assert (low[0], high[0]) == pytest.approx((50, 60)) and table["high"][1] > 100 == high[1]
    assert reach(table.assign(low=np.nan, high=np.nan), "test_accuracy").tolist() == [[0, 0], [0, 0]]
    change = pd.DataFrame({"change_accuracy": [-89.0], "low": [-109.0], "high": [-69.0], "n": [3]})
    assert [end[0] for end in whiskers(change, "change_accuracy")] == [-100, -69]


def test_a_raster_has_a_field_per_cell_and_none_for_a_hole(table):
    fields = raster(table.drop(index=[3]), *COLUMNS, Normalize(0, 90)).collections[0]
    values = fields.get_array()
    assert values.shape == (3, 3) and np.isnan(np.ma.filled(values, np.nan)).sum() == 1 and fields.get_clim() == (0, 90)


def test_curves_draw_the_groups_that_have_a_colour_in_that_order(table):
    lines = curves(table, "temperature", "accuracy", "kd_weight", {1.0: "black", 0.0: "red"}).lines
    assert [(line.get_label(), line.get_color()) for line in lines] == [("1", "black"), ("0", "red")]


def test_points_of_a_search_are_drawn_as_points(table):
    rng = np.random.default_rng(0)
    found = table.assign(temperature=2 ** rng.uniform(0, 6, 9), kd_weight=rng.uniform(0, 1, 9))
    assert not any(trace.type == "surface" for trace in interactive(found, *COLUMNS, "").data)
    axes = scatter(found, *COLUMNS, framed=[found.iloc[3][["temperature", "kd_weight"]].to_dict()])
    assert len(axes.collections[0].get_offsets()) == 9
    assert surface(found, *COLUMNS).get_zlim() == (0, 100)


def test_the_best_cell_is_outlined_whole_where_an_axis_plays_no_part(table):
    widths = [heatmap(table, *COLUMNS, framed=[b]).patches[-1].get_width() for b in (
        {"temperature": 4.0, "kd_weight": 0.5}, {"kd_weight": 0.0})]  # fmt: skip
    assert widths == pytest.approx([0.94, 2.94])


def test_figures_draw_on_the_axes_they_are_given_and_touch_nothing_else(table):
    figure, ax = pyplot.subplots()
    before = dict(pyplot.rcParams)
    assert heatmap(table, *COLUMNS, ax=ax) is ax
    assert curves(table, "temperature", "accuracy", "kd_weight", ax=ax) is ax
    assert bars(table.assign(name=list("abcdefghi")), "name", "accuracy", ax=ax) is ax
    assert pyplot.get_fignums() == [figure.number] and dict(pyplot.rcParams) == before


def test_bars_start_at_zero(table):
    named = table.assign(name=list("abcdefghi"))
    assert bars(named, "name", "accuracy").get_xlim() == (0, 100)


def test_labels_of_references_do_not_overlap_and_keep_their_order():
    at = spread([95.5, 95.9, 99.1, 52.0, 95.7], 5, 0, 100)
    assert np.diff(np.sort(at)).min() >= 5 - 1e-9 and at.max() <= 100
    assert list(np.argsort(at)) == list(np.argsort([95.5, 95.9, 99.1, 52.0, 95.7]))


def test_levels_are_the_means_of_what_was_measured_each_in_its_colour():
    values = {"teacher": pd.Series([0.9, 0.92]), "missing": pd.Series(dtype=float), "student": pd.Series([0.8])}
    found = levels(values, ["red", "green", "blue"], digits=2)
    assert [(r.text, r.color) for r in found] == [("teacher 91.00", "red"), ("student 80.00", "blue")]


def test_theory_and_knees_lie_on_what_was_measured():
    """The norm falls as the limit does: crosses and dashes on it, T^2 makes both level, the knee is ringed where it is."""
    probes = np.array([1.0, 2.0, 4.0])
    law = {EXACT: -2 * np.log10(probes), LIMIT: -2 * np.log10(probes), SCALED: 0.0}
    table = pd.concat([pd.DataFrame({"stage": "end", "seed": seed, PROBE: probes, **law}) for seed in (0, 1)])
    ax = pyplot.figure().add_subplot()
    theory(table, SCALED, {"end": 2.0}, {"end": "red"}, ax)
    crosses, dashed, ring = ax.lines[:3]
    assert crosses.get_ydata() == pytest.approx(0) and dashed.get_ydata() == pytest.approx(0)
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (1, 0) and ax.texts[0].get_text() == "knee, end: T = 2"
    plain = pyplot.figure().add_subplot()
    theory(table.assign(norm=0.0), "norm", {"end": 2.0}, {"end": "red"}, plain)
    assert plain.lines[0].get_ydata() == pytest.approx(law[EXACT]) and not plain.texts
    pyplot.close("all")


def test_slopes_of_gaussian_logits_near_the_law_and_name_their_deviations():
    probes, ax = np.array([1.0, 2.0, 64.0, 128.0]), pyplot.figure().add_subplot()
    found = pd.DataFrame({"stage": "end", "seed": [0, 1], DEVIATIONS[0]: [1.0, 3.0], DEVIATIONS[1]: [3.0, 5.0]})
    gaussian(found, probes, {"end": "red"}, ax)
    assert ax.lines[3].get_ydata()[-1] == pytest.approx(-2, abs=0.02) and len(ax.lines) == 5
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["end: deviation 2.0 (student), 4.0 (teacher)"]
    pyplot.close("all")


def test_published_references_say_so(table):
    ours, theirs = Reference("oracle", 95.5), Reference("DANN", 76.66, "arXiv 1505.07818")
    assert (ours.style, theirs.style) == ("-", "--") and "published" in theirs.text
    names = [trace.name for trace in interactive(table, *COLUMNS, "", [ours, theirs]).data]
    assert any("1505.07818" in name for name in names)


def test_words_have_colours_and_numbers_have_shades():
    words, numbers = palette(["b", "a", "b"]), palette([4.0, 1.0])
    assert list(words) == ["b", "a"] and words["b"] == "#0072B2" and list(numbers) == [1.0, 4.0]


@pytest.mark.parametrize(
    ("span", "texts"),
    [([-2.0, 1.0], ["10⁻²", "", "", "10¹"]), ([-1.5, 0.4], ["0.01", "0.02", "0.05", "10"])],
)
def test_an_axis_of_logarithms_is_read_as_what_they_are_of(span, texts):
    ax = Figure().add_subplot()
    ax.set_ylim(*span)
    decades(ax.yaxis, "norm")
    name = ax.yaxis.get_major_formatter()
    assert [name(np.log10(v)) for v in (0.01, 0.02, 0.05, 10)] == texts and ax.get_ylabel() == "norm"


def test_lines_of_a_pair_begin_where_the_first_thing_is_off():
    lines = [("on", "on", 9.0), ("off", "on", 4.0), ("on", "off", 2.0), ("off", "off", 1.0)]
    means = pd.DataFrame(lines, columns=["first", "second", "accuracy"]).assign(low=0.0, high=10.0, n=3)
    ax = pyplot.figure().add_subplot()
    crossing(means, "accuracy", "rate", ("0.4", "red"), ax)
    drawn = {text: list(bars[0].get_ydata()) for bars, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    assert drawn == {"the other thing off": [1.0, 2.0], "the other thing on": [4.0, 9.0]}
    assert [text.get_text() for text in ax.get_xticklabels()] == ["rate off", "rate on"]


def test_measures_are_points_in_the_colour_of_their_kind_and_chosen_ones_are_marked():
    table = pd.DataFrame({"x": [0.1, 0.5], "test_accuracy": [20.0, 80.0], "kind": ["weak", "strong"]})
    table = table.assign(low=0.0, high=100.0, n=3, color=["red", "blue"], hollow=[True, False])
    ax = measures(table, "x", "test_accuracy", {"chosen": table[1:]})
    handles, texts = ax.get_legend_handles_labels()
    assert set(texts) == {"weak", "strong", "chosen"} and ax.get_ylim() == (0, 100)
    faces = {text: bars[0].get_markerfacecolor() for bars, text in zip(handles, texts, strict=True) if text != "chosen"}
    assert faces == {"weak": "white", "strong": "blue"}
    assert handles[texts.index("chosen")].get_offsets().tolist() == [[0.5, 80.0]]


def test_a_class_that_is_never_named_right_has_a_0_and_one_without_images_nothing():
    ax = pyplot.figure().add_subplot()
    confusion(np.array([[0.0, 1.0, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 0.0]]), ["a", "b", "c"], ax)
    numbers = {text.get_position(): text.get_text() for text in ax.texts}
    assert numbers == {(0, 0): "0.0", (1, 0): "100.0", (0, 1): "25.0", (1, 1): "75.0"}
