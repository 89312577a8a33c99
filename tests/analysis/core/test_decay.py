"""Numbers of curves by student, what was planned, and their figures, on small tables."""

import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib import pyplot

from analysis.core.decay import (
    area,
    by_task,
    decays,
    first_losses,
    gone,
    half_life,
    lifetime,
    median,
    medians,
    methods,
    tables,
    untaught,
)
from analysis.core.figures.lifetimes import lifetimes, over_rates, over_tasks
from analysis.core.figures.paths import paths, ringed
from analysis.core.records import schema
from analysis.core.report import open_run


def test_half_life_is_where_a_known_curve_crosses_half():
    """accuracy = 1/2 + 1/2 (1 - log2(step) / 8): half of what is above chance is gone at step 16."""
    steps = [2**k for k in range(9)]
    curve = [0.5 + 0.5 * (1 - math.log2(s) / 8) for s in steps]
    assert half_life(steps, curve, 1.0) == pytest.approx(16)
    sparse = [0, 3, 5, 8]
    assert half_life([steps[i] for i in sparse], [curve[i] for i in sparse], 1.0) == pytest.approx(16)
    assert area(steps, curve) == pytest.approx(0.75)
    assert half_life([1, 10], [0.9, 0.8], 1.0) == math.inf
    assert half_life([1, 10], [0.5, 0.5], 1.0) == pytest.approx(0.5), "gone within the first step"
    assert half_life([1, 10, 100], [0.9, 0.5, 0.9], 1.0) < 10, "the first crossing, whatever comes back"


def test_the_median_has_an_interval_though_some_seeds_never_forget():
    """Ten seeds: the second and the ninth, which miss the median with probability 22 / 1024."""
    life = median([10.0, 20, 30, 40, 50, 60, 70, 80, math.inf, math.inf])
    assert (life.mean, life.low, life.high, life.n) == (55, 20, math.inf, 10)
    assert median([math.inf] * 10).mean == math.inf and math.isnan(median([1.0] * 5).low) and median([7.0]).mean == 7
    rng = np.random.default_rng(0)
    found = [median(rng.exponential(size=10)) for _ in range(1000)]
    assert np.mean([i.low <= math.log(2) <= i.high for i in found]) == pytest.approx(1 - 22 / 1024, abs=0.015)


def curves(values):
    """Evaluations at 0, and after 1, 10 and 100 iterations, in no order; what is before 0, or not measured, does not count."""
    order = (100, 0, 10, 1)
    of = {0: 0, 1: 1, 10: 2, 100: 3}
    lines = [{"student": s, "since": t, "known": line[of[t]]} for s, line in values.items() for t in order]
    return pd.DataFrame([*lines, {"student": "a", "since": -5, "known": 0.0}, {"student": "a", "since": 3}])


def test_each_student_has_its_half_life_area_and_backward_transfer():
    """a crosses (0.9 + 0.5) / 2 midway between the decades of 10 and 100; b never does."""
    found = decays(curves({"a": (0.9, 0.9, 0.9, 0.5), "b": (0.8, 0.8, 0.8, 0.8)}), "known")
    assert found.index.tolist() == ["a", "b"]
    assert found["half_life"].tolist() == pytest.approx([10**1.5, math.inf])
    assert found["area"].tolist() == pytest.approx([0.8, 0.8])
    assert found["backward_transfer"].tolist() == pytest.approx([-0.4, 0.0])


def test_what_is_lost_first_is_lost_when_five_points_are_gone():
    found = first_losses(curves({"a": (1.0, 1.0, 1.0, 0.9), "b": (1.0, 1.0, 0.99, 0.98)}), "known")
    assert found.tolist() == pytest.approx([10**1.5, math.inf])


def test_a_student_whose_start_is_not_known_has_no_line():
    table = curves({"a": (0.9, 0.9, 0.9, 0.5), "b": (0.8, 0.8, 0.8, 0.8)})
    assert decays(table[(table["student"] == "a") | (table["since"] > 0)], "known").index.tolist() == ["a"]
    assert decays(table[:0], "known").empty


def test_medians_are_lines_like_means_and_bear_what_never_happened():
    table = pd.DataFrame({"which": ["a"] * 7 + ["b"], "life": [1, 2, 3, 4, math.inf, math.inf, math.inf, 5]})
    found = medians(table, ["which"], "life")
    assert found["life"].tolist() == [4, 5] and found["n"].tolist() == [7, 1]
    assert found.loc[0, ["low", "high"]].tolist() == [1, math.inf] and math.isnan(found.loc[1, "low"])


def test_what_outlives_the_training_is_an_arrow_and_what_is_over_at_once_stays_on_the_axis():
    lives = {"long": [50] * 3 + [math.inf] * 4, "short": [0.1] * 3 + [0.2] * 3 + [3]}
    lines = [{"which": w, "name": f"{w}, 1", "half_life": v, "watched": 100} for w in lives for v in lives[w]]
    ax = lifetimes(pd.DataFrame(lines[::-1]), "which", "name", {"long": "red", "short": "blue"})
    assert [text.get_text() for text in ax.texts] == ["> 100", "below 1"]
    assert all(ax.get_xlim()[0] < x < ax.get_xlim()[1] for line in ax.lines[:-1] for x in line.get_xdata())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["long, 1", "short, 1"], "in the order of the colours"


def test_a_half_life_is_said_with_its_interval_and_as_far_as_anyone_looked():
    def said(lives, how=lifetime):
        return how(pd.DataFrame({"half_life": lives, "watched": 200.0}))

    assert said([97.0]) == "97" and said([1.44]) == "1.4" and said([0.3]) == "below 1"
    assert said([math.inf] * 7) == "beyond 200 (beyond 200 to beyond 200)"
    some = [42.0, 42, 42, 97, 98, math.inf, math.inf]
    assert said(some) == "97 (42 to beyond 200)" and said(some, gone) == "is gone after 97 iterations (42 to beyond 200)"
    assert said([0.3], gone) == "is gone within the first iteration" and said([math.inf], gone) == "is not gone within 200 iterations"


def test_a_remedy_is_named_with_its_memory_where_there_are_several():
    table = pd.DataFrame({"remedy": ["freeze_first", "rehearsal", "rehearsal", "none"], "memory": [0, 1100, 110, 0]})
    found = methods(table)
    assert found.tolist() == ["freeze first", "rehearsal 1100", "rehearsal 110", "none"]
    assert found.sort_values().tolist() == ["none", "rehearsal 110", "rehearsal 1100", "freeze first"]
    assert methods(table.assign(memory=110)).tolist()[1:3] == ["rehearsal"] * 2


def test_the_study_is_its_students_with_what_they_knew_and_its_evaluations_from_the_start():
    """Both know 0 and 1 to 90 % and fall to 50 % after ten iterations; the frozen logistic regression is left out."""
    axes = {"tasks": "two", "network": "mlp", "width": 32, "old_steps": 30, "steps": 10, "memory": 0, "seed": 0}
    digits = [f"accuracy_{d}" for d in range(10)]
    plans = [
        ("a", {"remedy": "l2"}),
        ("b", {"remedy": "none"}),
        ("c", {"network": "logistic", "remedy": "freeze_readout"}),
    ]
    ends = pd.DataFrame([{"student": n, **axes, **plan, "step": 10, **dict.fromkeys(digits, 0.5)} for n, plan in plans])
    key = {name: axes[name] for name in ("tasks", "old_steps", "seed")}
    networks = (("mlp", 32), ("logistic", 0))
    starts = pd.DataFrame([{**key, "network": n, "width": w, **dict.fromkeys(digits, 0.9)} for n, w in networks])
    students, history = tables(ends, ends, starts, [*axes, "remedy"])
    assert students[["student", "method"]].values.tolist() == [["b", "none"], ["a", "L2"]]
    assert students["start_task_0"].tolist() == pytest.approx([0.9] * 2) and students["watched"].tolist() == [10] * 2
    assert students["backward_transfer"].tolist() == pytest.approx([-0.4] * 2)
    assert sorted(history.loc[history["student"] == "a", "since"]) == [0, 10]


def test_two_tasks_begin_wide_apart_and_each_of_five_is_marked():
    lines = [{"which": "a", "seed": 0, "steps": 10, "step": s, "training_step": s, "task_0": 0.9} for s in (0, 10, 50)]
    two, five = (over_tasks(pd.DataFrame(lines).assign(tasks=t), "which", {"a": "red"}) for t in ("two", "five"))
    assert two.lines[0].get_xdata().tolist() == pytest.approx([math.log2(1 + s) for s in (0, 10, 50)])
    assert five.lines[0].get_xdata().tolist() == [0, 10, 50]
    assert [line.get_xdata()[0] for line in five.lines[1:]] == [10, 20, 30, 40] and len(two.lines) == 1
    low, high = two.transScale.transform([(0, 90), (0, 96)])[:, 1]
    assert two.transScale.transform((0, 99))[1] - high == pytest.approx(high - low), "102 less 90, 96, 99: halved"


def test_over_the_learning_rate_half_lives_are_medians_and_shares_means():
    """Half of the seeds at 0.1 outlast the 20 iterations, so their median lies above the grey line."""
    lives = {0.1: [10, math.inf, math.inf], 1.0: [2, 4, 9]}
    lines = [
        {"kind": "sgd", "seed": seed, "lr": lr, "half_life": life, "task_0": 0.5 + 0.1 * seed, "watched": 20}
        for lr, found in lives.items()
        for seed, life in enumerate(found)
    ]
    half = over_rates(pd.DataFrame(lines), "half_life", "kind", {"sgd": "red"})
    grey, line = half.lines
    assert grey.get_ydata()[0] == 20 and line.get_ydata().tolist() == [40, 4] and line.get_linestyle() == "--"
    share = over_rates(pd.DataFrame(lines), "task_0", "kind", {"sgd": "red"})
    assert share.lines[0].get_ydata().tolist() == pytest.approx([60, 60])


def test_digits_of_a_pair_count_alike_and_iterations_count_from_the_new_digits():
    digits = {f"accuracy_{d}": [0.1 * d] * 2 for d in range(10)}
    found = by_task(pd.DataFrame({"tasks": ["two", "five"], "step": 7, "steps": 5, **digits}))
    assert found["task_0"].tolist() == pytest.approx([0.05] * 2)
    assert found["task_last"].tolist() == pytest.approx([0.25, 0.85])
    assert found["since"].tolist() == [7, 2]


def test_students_start_as_their_network_and_logistic_regression_has_no_width():
    axes = {"tasks": "two", "old_steps": 30, "seed": 0}
    students = pd.DataFrame(
        [
            {"student": "a", "network": "mlp", "width": 32, "remedy": "l2", **axes},
            {"student": "b", "network": "logistic", "width": 32, "remedy": "l2", **axes},
        ]
    )
    starts = pd.DataFrame(
        [{"network": n, "width": w, "accuracy_0": a, **axes} for n, w, a in (("mlp", 32, 0.9), ("logistic", 0, 0.8))]
    )
    found = untaught(students, starts)
    assert found[["student", "step", "accuracy_0", "remedy"]].values.tolist() == [
        ["a", 0, 0.9, "l2"],
        ["b", 0, 0.8, "l2"],
    ]


def test_a_path_goes_through_the_means_of_both_and_ends_at_100():
    lines = [{"which": "a", "dose": d, "seed": s, "x_accuracy": 0.5 + 0.2 * d, "y_accuracy": 1 - 0.1 * d - 0.02 * s} for d in (0, 1) for s in (0, 1)]  # fmt: skip
    ax = paths(
        pd.DataFrame(lines), "x_accuracy", "y_accuracy", "dose", "which", {"a": "red"}, [{"which": "a", "dose": 1}]
    )
    assert ax.lines[0].get_xydata().tolist() == [pytest.approx([50, 99]), pytest.approx([70, 89])]
    assert ax.collections[-1].get_offsets().tolist() == [pytest.approx([70, 89])]
    assert ax.get_ylim()[1] <= 101


def test_rings_lie_around_the_means_of_the_framed_cells_that_the_table_has():
    table = pd.DataFrame({"where": "here", "which": "a", "strength": [1.0, 4, 4], "test_accuracy": [0.1, 0.6, 0.8]})
    cell = {"which": "a", "strength": 4.0, "state": "chosen"}
    frames = [{**cell, "where": "here"}, {**cell, "where": "there"}]
    ax = ringed(table, "strength", "test_accuracy", "which", {"a": "red"}, frames, pyplot.figure().add_subplot())
    assert [ring.get_offsets().tolist() for ring in ax.collections] == [[pytest.approx([2, 70])]]


def test_what_was_planned_is_asked_once_under_its_canonical_config_and_is_a_hole_where_it_is_not_done(tmp_path):
    """b answers two cells, which mean one config; c has no row yet."""
    axes = {"strength": float, "seed": int}
    row = {"study": "s", "run": "r", "seed": 0, "step": 9, "status": "done"}
    rows = [{**row, "student": "a", "strength": 1.0, "test_accuracy": 0.9}] + [
        {**row, "student": "b", "strength": s, "test_accuracy": 0.8} for s in (2.0, 3.0)
    ]
    tables = {
        "rows": pa.Table.from_pylist(rows, schema(axes, ["test_accuracy"])),
        "students": pa.Table.from_pylist([{"student": n, "strength": s, "seed": 0} for n, s in (("a", 1.0), ("b", 0.0), ("c", 4.0))]),
        "cells": pa.Table.from_pylist(
            [{"student": n, "strength": s, "seed": 0} for n, s in (("a", 1.0), ("b", 2.0), ("b", 3.0), ("c", 4.0))]
        ),
    }  # fmt: skip
    for name, table in tables.items():
        (tmp_path / name).mkdir()
        known = table if name == "rows" else table.replace_schema_metadata({"axes": json.dumps([*axes])})
        pq.write_table(known, tmp_path / name / "a.parquet")
    (tmp_path / "run.json").write_text(json.dumps({"preset": "smoke", "data": "full", "axes": {}}))
    asked = open_run(tmp_path).asked.set_index("student")
    assert asked["strength"].to_dict() == {"a": 1.0, "b": 0.0, "c": 4.0}
    assert asked["status"].to_dict() == {"a": "done", "b": "done", "c": "missing"}
    assert asked["test_error"].tolist()[:2] == pytest.approx([0.1, 0.2]) and math.isnan(asked["test_accuracy"]["c"])
