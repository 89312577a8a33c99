"""What the board says of a run that is being written."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from matplotlib import colors, image

from analysis.core import live, records
from analysis.core.figures.scales import HOLE
from analysis.core.statistics import summarise


def accuracy(view, labels, t, w, seed):
    return None if (view, w, t) == ("source", 0.5, 1) else 0.6 + 0.1 * w + 0.01 * seed


@pytest.fixture
def growing(tmp_path, made_up_run):
    """A run whose rows come in thirty flushes: its folder, and what adds the next."""
    run = made_up_run(tmp_path, accuracy)
    whole = pq.read_table(run / "rows" / "a.parquet")
    (run / "rows" / "a.parquet").unlink()
    cuts = np.linspace(0, len(whole), 31).astype(int)

    def flush(i):
        pq.write_table(whole.slice(cuts[i], cuts[i + 1] - cuts[i]), run / "rows" / f"0-{i:010x}-001.parquet")

    return run, flush


def test_a_run_that_grows_is_read_as_if_it_were_read_anew_and_no_file_is_read_twice(growing, monkeypatch):
    run, flush = growing
    watched, loads = records.Watched(run), []
    whole = records._load
    for i in range(30):
        flush(i)
        fresh = records.read(run), records.students(run), records.cells(run)
        with monkeypatch.context() as counted:
            counted.setattr(records, "_load", lambda *how: loads.append(how[1]) or whole(*how))
            for ours, theirs in zip(
                (records.read(watched), records.students(watched), records.cells(watched)), fresh, strict=True
            ):
                pd.testing.assert_frame_equal(ours, theirs)
    assert len(loads) == len({*loads}) == 32  # students and cells are one file each
    last = run / "rows" / "0-000000001d-001.parquet"
    half = pq.read_table(last).slice(0, 1)
    pq.write_table(half, last)  # written anew
    pd.testing.assert_frame_equal(records.read(watched), records.read(run))
    together = records.together(records.load(*records.open_folder(run), "rows"), "")
    old = sorted(file.name for file in (run / "rows").iterdir())
    metadata = {**together.schema.metadata, b"replaces": json.dumps(old)}
    pq.write_table(together.replace_schema_metadata(metadata), run / "rows" / "all-0.parquet")
    pd.testing.assert_frame_equal(records.read(watched), records.read(run))  # beside those that it replaces
    for name in old:
        (run / "rows" / name).unlink()
    pd.testing.assert_frame_equal(records.read(watched), records.read(run))
    last = next((run / "rows").iterdir())
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(records.RecordsError, match=r"all-0\.parquet is damaged"):
        records.read(watched)


def scheduled(workers, seconds):
    """Students in packs of four, of two kinds that cost so many seconds each, as so many workers train them one pack after another:
    their table, and of each when its pack began and ended."""
    kinds = ["a" if i % 3 else "b" for i in range(40)]
    students = pd.DataFrame({"student": [f"{i}-{j}" for i in range(40) for j in range(4)], "seed": 0})
    students["pack"], students["view"] = (np.repeat(of, 4) for of in ([*range(40)], kinds))
    free, begun = [0.0] * workers, []
    for kind in kinds:
        worker = free.index(min(free))
        begun.append(free[worker])
        free[worker] += 4 * seconds[kind]
    students["begin"] = np.repeat(begun, 4)
    students["end"] = students["begin"] + 4 * students["view"].map(seconds)
    return students


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seconds", [{"a": 10.0, "b": 10.0}, {"a": 2.0, "b": 50.0}])
def test_the_end_is_foreseen_once_each_kind_of_student_was_seen(workers, seconds):
    students = scheduled(workers, seconds)
    end, start = students["end"].max(), 1_000_000.0
    began = datetime.fromtimestamp(start, UTC).isoformat()
    info = {
        "status": "running",
        "workers": workers,
        "trial_axes": ["view"],
        "students": 160,
        "sessions": [{"start": began}],
    }
    seen = students.groupby("view")["end"].min().max()
    for now in np.linspace(seen, end, 9)[:-1]:
        begun = students[students["begin"] <= now].assign(step=1, error="")
        done = begun["end"] <= now
        begun["status"] = np.where(done, "done", "running")
        begun["seconds"] = np.where(done, begun["view"].map(seconds), (now - begun["begin"]) / 4)
        known = live.progress(info, begun, students, start + now)
        assert known.done == done.sum() and known.total == 160
        assert known.per_minute == pytest.approx(60 * done.sum() / now)
        longest = 4 * max(seconds.values())  # workers that end before the last pack does
        assert abs(known.left - (end - now)) <= longest
        assert np.isnan(live.progress({**info, "status": "done"}, begun, students, start + now).left)


def test_nothing_is_foreseen_where_nothing_is_known():
    students = scheduled(1, {"a": 1.0, "b": 1.0})
    begun = students.head(4).assign(status="running", step=1, seconds=0.1, error="")
    strange = {"status": "running", "students": "many", "workers": -3, "trial_axes": 7}
    for info in (
        {"status": "running"},
        {**strange, "sessions": [{"start": "no date"}]},
        {**strange, "sessions": [{"start": "0001-01-01"}]},
    ):
        known = live.progress(info, begun, students, 5.0)
        assert (known.total, known.ended) == (160, 0) and np.isnan(known.left) and np.isnan(known.per_minute)
        some = live.progress(info, begun.assign(status="done"), students, 5.0)
        assert (some.done, some.failed) == (4, 0) and some.left > 0 and np.isnan(some.per_minute)


def test_of_a_session_that_goes_on_with_a_run_only_its_own_students_are_its_speed():
    students = scheduled(1, {"a": 1.0, "b": 1.0})
    done = students.head(60).assign(status="done", step=1, seconds=1.0, error="")
    sessions = [{"seconds": 1e6}, {"done": 40, "seconds": 120.0}]
    assert live.progress({"sessions": sessions}, done, students, 0).per_minute == 10.0
    del sessions[1]["done"]  # as in older versions
    assert np.isnan(live.progress({"sessions": sessions}, done, students, 0).per_minute)


def test_failed_students_are_named_once_with_their_reason_and_not_when_a_later_trial_was_done(tmp_path, made_up_run):
    made_up_run(tmp_path, accuracy)
    results = live.Results(str(tmp_path))
    (entry,) = results.entries()
    look = results.look(entry)
    rows = look.run.rows
    planned = set(rows.loc[rows["status"] == "failed", "student"])
    assert set(look.failures["student"]) == planned and len(look.failures) == len(planned) == look.progress.failed > 0
    assert set(look.failures["error"]) == {"RuntimeError: made up"}
    again = rows[rows["student"] == min(planned)].head(1).assign(status="done")
    assert min(planned) not in set(live.failures(pd.concat([rows, again]).__finalize__(rows))["student"])


@pytest.mark.parametrize("prefix", ["", "file://"])
@pytest.mark.parametrize("root", ["", "mnistm_kd", "mnistm_kd/made-up"])
def test_results_a_study_and_a_run_are_found_and_what_is_no_run_is_named(tmp_path, made_up_run, root, prefix):
    made_up_run(tmp_path, accuracy)
    (tmp_path / "mnistm_kd" / "figures").mkdir()
    bad = tmp_path / "mnistm_kd" / "<b>bad" / "run.json"
    bad.parent.mkdir()
    bad.write_text("[]")
    entries = live.Results(f"{prefix}{tmp_path / root}/").entries()
    assert live.Results(f"{prefix}{tmp_path / root}/").look(entries[0]).progress.done > 0
    assert [entry.key.rsplit("/")[-1] for entry in entries] == ["made-up", *["<b>bad"] * (root != "mnistm_kd/made-up")]
    assert all("is not of a run" in entry.problem for entry in entries[1:])


def look(folder):
    results = live.Results(str(folder))
    return results.look(results.entries()[0])


@pytest.mark.parametrize("asked", [{"z": "train_loss"}, {"panel": 2}])
def test_a_plane_is_that_of_the_pages_and_holes_are_told_from_what_is_to_come(tmp_path, made_up_run, asked):
    """A cross is for what failed; cells that nobody has trained yet stay white."""
    first = {}
    for name, of, reached in (
        ("whole", accuracy, lambda *cell: True),
        ("failed", lambda *cell: None if cell[2:4] == (4, 0.5) else accuracy(*cell), lambda *cell: True),
        ("half", lambda view, labels, t, w, seed: 0.6 + w / 10 + seed / 100, lambda view, labels, t, w, seed: t < 16),
    ):
        made_up_run(tmp_path / name, of, reached=reached)
        run = look(tmp_path / name).run
        view = live.selected(run, asked)
        (tmp_path / f"{name}.png").write_bytes(live.picture(run, view, {}))
        drawn = image.imread(tmp_path / f"{name}.png")[..., :3]
        first[name] = np.isclose(drawn, colors.to_rgb(HOLE), atol=0.01).all(axis=2).sum()
    assert first["half"] == 0 < first["failed"]


def test_what_is_best_so_far_is_what_the_pages_would_choose(tmp_path, made_up_run):
    made_up_run(tmp_path, accuracy)
    run = look(tmp_path).run
    view = live.selected(run, {})
    assert (view.x, view.y, view.z) == ("temperature", "kd_weight", "val_accuracy")
    chosen = live.best(run, view)
    assert len(chosen) == len(live.panels(run, view)) == 4
    for setting, choice in chosen.items():
        means = summarise(setting.students, ["temperature", "kd_weight"], "val_accuracy")
        assert choice.best["kd_weight"] == means.loc[means["val_accuracy"].idxmax(), "kd_weight"] == 1
    told = live.said(run, chosen)
    assert [line["of"] for line in told] == [run.named(axes) for axes in live.panels(run, view)]
    assert all("n = 3" in line["test accuracy, %"] for line in told)
    alone = replace(view, panel=2)
    assert live.said(run, live.best(run, alone)) == [told[2]]


@pytest.fixture
def figures(monkeypatch):
    """What is drawn, before it is a PNG."""
    drawn, png = [], live.png
    monkeypatch.setattr(live, "png", lambda figure: drawn.append(figure) or png(figure))
    return drawn


def test_a_figure_names_the_panel_that_is_asked_for_and_counts_its_seeds_alone(tmp_path, made_up_run, figures):
    made_up_run(tmp_path, accuracy, reached=lambda view, labels, t, w, seed: view == "target" or (seed == 0 and labels != "all"))
    run = look(tmp_path).run
    view = live.selected(run, {})
    for panel, seeds in ((None, "1 to 3 seeds"), (0, "3 seeds"), (2, "1 seed")):
        live.picture(run, replace(view, panel=panel), {})
        assert f"n = {seeds}, " in figures[-1].get_suptitle()
        titles = [run.named(axes) for axes in live.panels(run, view)]
        shown = [ax.get_title().replace("\N{NO-BREAK SPACE}", " ") for ax in figures[-1].axes[:-1]]
        assert shown == (titles if panel is None else [titles[panel]])
    nothing = run.cells["teacher_view"] == "source"
    cells = run.cells.assign(status=run.cells["status"].mask(nothing, "missing"), val_accuracy=run.cells["val_accuracy"].mask(nothing))
    live.picture(replace(run, cells=cells), replace(view, panel=2), {})
    assert figures[-1].get_suptitle().startswith("Validation accuracy: nothing yet\n")


def test_it_is_best_so_far_until_the_run_is_done(tmp_path, made_up_run, figures):
    for status, so_far in (("running", " so far"), ("interrupted", " so far"), ("done", "")):
        made_up_run(tmp_path / status, accuracy, status=status)
        run = look(tmp_path / status).run
        shown = live.show(run, live.selected(run, {}))
        assert shown.heading.startswith(f"Best{so_far}: chosen on validation") and f"chosen{so_far}" in shown.best[0]
        assert f"framed: chosen on validation{so_far}" in figures[-1].get_suptitle()
        assert ("so far" in f"{shown.heading} {shown.best} {figures[-1].get_suptitle()}") == bool(so_far)


def test_words_below_cells_do_not_lie_on_each_other(tmp_path, made_up_run, figures):
    made_up_run(tmp_path, accuracy)
    run = look(tmp_path).run
    for words, turned in ((("freeze_features", "freeze_readout", "rehearsal"), 0), (("short", "incomprehensible", "a_third"), 40)):
        named = run.cells["temperature"].map(dict(zip((1.0, 4.0, 16.0), words, strict=True)))
        live.picture(replace(run, cells=run.cells.assign(temperature=named)), live.selected(run, {}), {})
        for ax in figures[-1].axes[:-1]:
            texts = ax.get_xticklabels()
            assert [text.get_text().replace("\n", " ") for text in texts] == sorted(word.replace("_", " ") for word in words)
            assert {text.get_rotation() for text in texts} == {turned}
            ends = [(box.x0, box.x1) for box in map(type(texts[0]).get_window_extent, texts)]
            assert turned or all(left[1] < right[0] for left, right in pairwise(ends))


@pytest.mark.parametrize(("copies", "beside"), [(1, 2), (2, 1)])
def test_a_figure_is_no_wider_than_a_page_can_show(tmp_path, made_up_run, figures, copies, beside):
    made_up_run(tmp_path, accuracy)
    run = look(tmp_path).run
    further = [run.cells.assign(temperature=run.cells["temperature"] + i / 2, teacher_view=run.cells["teacher_view"] + f" {j}")
               for i in range(copies) for j in range(2)]  # fmt: skip
    info = {**run.info, "axes": {**run.axes, "teacher_view": [f"{view} {j}" for view in run.axes["teacher_view"] for j in range(2)]}}
    live.picture(replace(run, cells=pd.concat(further), info=info), live.selected(run, {}), {})
    panels = figures[-1].axes[:-1]
    assert len(panels) == 8 and {ax.get_gridspec().ncols for ax in panels} == {beside}
    assert figures[-1].get_figwidth() < 12


def test_points_of_a_search_are_no_wide_grid_and_the_best_is_ringed(tmp_path, made_up_run, figures):
    run = look(made_up_run(tmp_path, accuracy)).run
    view, rng = live.selected(run, {}), np.random.default_rng(0)
    points = run.cells.drop_duplicates(["teacher_view", "target_labels", "temperature", "kd_weight"])
    points = points.assign(temperature=1 + 15 * rng.random(len(points)), kd_weight=rng.random(len(points)), status="done", val_accuracy=0.5)
    points.iloc[-1, points.columns.get_loc("status")] = "missing"  # suggested, not trained yet
    found = replace(run, cells=points, info={**run.info, "search": "random"})
    best = [{"temperature": points["temperature"].iloc[0], "kd_weight": points["kd_weight"].iloc[0], "state": "chosen"}]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(live, "framed", lambda chosen: best)
        live.picture(found, view, {})
    figure = figures[-1]
    first, *others = figure.axes[:-1]
    assert "marked: chosen on validation" in figure.get_suptitle() and figure.get_figwidth() < 14
    assert sum(len(ax.collections[0].get_offsets()) for ax in (first, *others)) == len(points) - 1
    assert len(first.collections) == 3 and all(len(ax.collections) == 2 for ax in others)  # done, failed, ringed


def test_where_an_axis_is_too_long_for_a_page_it_goes_upwards(tmp_path, made_up_run):
    run = look(made_up_run(tmp_path, accuracy)).run
    for values, first in (((1, 2), "temperature"), (range(20), "kd_weight")):
        planned = replace(run, info={**run.info, "axes": {**run.axes, "temperature": [*map(float, values)]}})
        assert live.first_view(planned).x == first


def test_the_time_that_is_left_shrinks_while_no_rows_come_and_what_is_overdue_is_not_said():
    seen = live.Look(live.Entry("a", "a", {}), live.Progress(10, done=4, left=100.0), pd.DataFrame(), None, 1000.0)
    assert "about 1 min of training left" in live.numbers(seen, 1040.0) and "about 10 s" in live.numbers(seen, 1090.0)
    assert live.numbers(seen, 1101.0) == live.numbers(replace(seen, progress=live.Progress(10, done=4)), 1000.0) == "4 done, 6 to come"


@pytest.mark.parametrize(
    "asked", [{"x": "rm -rf", "y": 3}, {"x": "seed", "y": "seed"}, {"z": "student"}, {"panel": 99}, {"panel": "<b>"}]
)
def test_a_view_that_the_run_has_not_is_the_first_one(tmp_path, made_up_run, asked):
    made_up_run(tmp_path, accuracy)
    run = look(tmp_path).run
    assert live.selected(run, asked) == live.first_view(run)


def test_a_run_is_looked_at_again_only_when_something_was_written(growing):
    run, flush = growing
    results = live.Results(str(run))
    assert results.look(results.entries()[0]).progress.ended == 0
    flush(0)
    flush(1)
    before = results.look(results.entries()[0])
    assert before.run is not None and results.look(results.entries()[0]) is before
    flush(2)
    after = results.look(results.entries()[0])
    assert after.progress.ended > before.progress.ended and after.written >= before.written
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"status": "interrupted"}))
    os.utime(run / "run.json", (1, 1))
    assert results.look(results.entries()[0]).entry.info["status"] == "interrupted"
