"""What a table of techniques says, and the figures of it."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.core import speed
from analysis.core.figures import speed as figures

SPEEDUPS = {"eager": (1.0, 1.0, 1.0), "fast": (4.0, 5.0, 6.25), "wrong": (9.0, 9.0, 9.0), "slow": (0.5, 0.5, 0.5)}
ACCURACY = {"eager": 0.80, "fast": 0.796, "wrong": 0.41, "slow": 0.80}


def table():
    return pd.DataFrame([
        {"technique": t, "seed": s, "speedup": v, "latency_ms": 20 / v, "val_accuracy": ACCURACY[t], "val_agreement": 0.95 if t == "fast" else ACCURACY[t] / 0.8, "test_accuracy": ACCURACY[t]}
        for t, values in SPEEDUPS.items() for s, v in enumerate(values)
    ])  # fmt: skip


def test_ratios_are_averaged_as_ratios():
    assert speed.ratio(pd.Series([0.5, 2.0])).mean == pytest.approx(1)
    i, inverse = speed.ratio(pd.Series([4.0, 5.0, 6.25])), speed.ratio(1 / pd.Series([4.0, 5.0, 6.25]))
    assert i.mean == pytest.approx(5) and (inverse.low, inverse.high) == pytest.approx((1 / i.high, 1 / i.low))
    assert math.isnan(speed.ratio(pd.Series([3.0])).low)


def test_the_fastest_is_looked_for_among_those_that_lose_nothing():
    lines = table()
    assert speed.lossless(lines, 0.005) == ["eager", "fast", "slow"]
    assert speed.lossless(lines, 0.001) == ["eager", "slow"]
    assert speed.lossless(lines, 0.005, floor=0.99) == ["eager", "slow"]
    assert speed.lossless(lines[lines["technique"] != "eager"], 0.005) == []
    assert speed.fastest(lines, speed.lossless(lines, 0.005)) == "fast"
    assert speed.fastest(lines, ["eager", "slow"]) == "eager"


def test_the_frontier_is_what_nothing_beats_in_both():
    points = pd.DataFrame({"cost": [1, 2, 2, 3, 4], "value": [5, 6, 6, 5, 9]})
    assert speed.frontier(points, "cost", "value").tolist() == [True, True, True, False, True]
    rng = np.random.default_rng(0)
    cloud = pd.DataFrame({"cost": rng.random(60), "value": rng.random(60)})
    slow = [not any((b.cost < a.cost and b.value >= a.value) or (b.cost <= a.cost and b.value > a.value) for b in cloud.itertuples()) for a in cloud.itertuples()]  # fmt: skip
    assert speed.frontier(cloud, "cost", "value").tolist() == slow


def test_factors_of_a_waterfall_multiply_to_the_whole():
    means = speed.summary(table())
    found = speed.waterfall(means, ["eager", "absent", "fast", "wrong"])
    assert found["technique"].tolist() == ["eager", "fast", "wrong"] and found["factor"].iloc[0] == 1
    assert found["factor"].prod() == pytest.approx(9) == found["ms"].iloc[0] / found["ms"].iloc[-1]
    assert speed.waterfall(means, ["absent"]).empty


def test_a_summary_draws_two_seeds_between_their_values():
    three, two = speed.summary(table()), speed.summary(table().query("seed < 2"))
    line = two[two["technique"] == "fast"].iloc[0]
    assert (line["least"], line["most"], line["n"]) == (4, 5, 2) and line["low"] < 4
    line = three[three["technique"] == "fast"].iloc[0]
    assert line["least"] == line["low"] < 5 < line["high"] == line["most"]


@pytest.mark.parametrize(
    "name, kind",
    [
        ("aten::mkldnn_convolution", "convolution"), ("Conv", "convolution"), ("FusedConv", "convolution"), ("QLinearConv", "convolution"), ("QLinearAdd", "sum"), ("mkl::_mkl_linear", "matrix product"),
        ("aten::native_batch_norm", "batch normalisation"), ("aten::addmm", "matrix product"), ("QuantizeLinear", "quantise, dequantise"),
        ("aten::copy_", "copies between layouts"), ("ReorderInput", "copies between layouts"), ("aten::hardtanh_", "activation"),
        ("aten::constant_pad_nd", "padding"), ("GlobalAveragePool", "pooling"), ("aten::add_", "sum"), ("something", "other"),
    ],
)  # fmt: skip
def test_operators_of_every_runtime_have_a_kind(name, kind):
    assert speed.kinds(name) == kind


def test_a_profile_keeps_all_milliseconds():
    lines = pd.DataFrame({"technique": "eager", "operator": ["aten::conv2d", "Conv", "strange"], "ms": [1.0, 2.0, 4.0]})
    found = speed.profile(lines, ["technique"]).set_index("kind")["ms"]
    assert found.to_dict() == {"convolution": 3.0, "other": 4.0}


def test_names_stay_clear_of_points_and_of_each_other_when_a_legend_shrinks_the_axes():
    from matplotlib import pyplot

    means = speed.summary(table()).assign(family="PyTorch", best=False, told=True)
    means = pd.concat([means.assign(name=means["technique"] + f" {i}", latency_ms=means["latency_ms"] * (1 + i / 8)) for i in range(3)])
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 4), layout="constrained")
    for ax in axes:
        figures.pareto(means, {"PyTorch": "#0072B2"}, ax)
    ends = [ax.get_window_extent().x1 for ax in axes]
    figure.legend(handles=[pyplot.Line2D([], [], label="all that is drawn " * 5)], loc="outside right upper")
    figure.canvas.draw()
    assert axes[1].get_window_extent().x1 < 0.8 * ends[1]
    for ax in axes:
        boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
        points = ax.transData.transform(np.column_stack([means["latency_ms"], 100 * means["test_accuracy"]]))
        assert len(boxes) == len(means) and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert not any(box.contains(*point) for box in boxes for point in points)
    pyplot.close(figure)


def test_figures_show_every_technique_and_its_number():
    from matplotlib import pyplot

    means = speed.summary(table()).assign(family="PyTorch")
    means = means.assign(name=means["technique"], best=speed.frontier(means, "latency_ms", "test_accuracy"), told=True)
    colors = {"PyTorch": "#0072B2"}
    _, (one, two, three) = pyplot.subplots(1, 3, figsize=(20, 6))
    figures.ratios(means, colors, one)
    assert [t.get_text() for t in one.get_yticklabels()] == list(SPEEDUPS)
    assert [t.get_text() for t in one.texts] == ["1", "5", "9", "0.5"]
    assert [round(patch.get_x() + patch.get_width(), 6) for patch in one.patches] == [1, 5, 9, 0.5]
    figures.pareto(means, colors, two)
    named = [text for text in two.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in named]
    assert {text.get_text() for text in named} == set(SPEEDUPS)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    falls = speed.waterfall(means, ["eager", "fast", "slow"])
    figures.steps(falls.assign(name=falls["technique"]), three)
    assert [text.get_text() for text in three.texts] == ["20 ms", "÷ 5.00\n4 ms", "× 10.00\n40 ms"]
    pyplot.close("all")
