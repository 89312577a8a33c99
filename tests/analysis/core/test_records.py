import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.core import records

AXES = {"temperature": float, "network": str, "seed": int}


def row(**values):
    base = {"study": "s", "run": "r", "student": "a", "seed": 0, "status": "done", "temperature": 2.0, "network": "mlp"}
    return {**base, "step": 1, "accuracy": 0.5, **values}


def store(run: Path, name: str, *rows) -> Path:
    file = run / "rows" / f"{name}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=records.schema(AXES, ["accuracy"])), file)
    return file


def test_rows_survive_the_round_trip(tmp_path):
    store(tmp_path, "a", row(), row(student="b", seed=1, status="failed", error="no", accuracy=None))
    table = records.read(tmp_path)
    assert table.attrs["axes"] == ["temperature", "network", "seed"]
    assert table["seed"].tolist() == [0, 1] and table["seed"].dtype == "int64"
    assert table["accuracy"].isna().tolist() == [False, True]
    assert table["error"].isna().tolist() == [True, False]


def test_a_flush_that_was_rerun_counts_once_and_the_later_file_wins(tmp_path):
    store(tmp_path, "a", row(accuracy=0.1), row(step=2))
    store(tmp_path, "b", row(accuracy=0.2))
    table = records.read(tmp_path).sort_values("step")
    assert table["accuracy"].tolist() == [0.2, 0.5]


def test_cells_that_share_a_student_all_stay(tmp_path):
    store(tmp_path, "a", row(temperature=1.0), row(temperature=2.0))
    assert len(records.read(tmp_path)) == 2


def test_final_is_the_last_evaluation_of_each_cell_that_is_done(tmp_path):
    store(
        tmp_path,
        "a",
        row(status="running", accuracy=0.1),
        row(step=9, accuracy=0.9),
        row(temperature=4.0, status="stopped"),
    )
    assert records.final(records.read(tmp_path))["accuracy"].tolist() == [0.9]


def test_files_of_an_extended_run_may_have_more_columns(tmp_path):
    store(tmp_path, "a", row())
    wider = records.schema({**AXES, "lr": float}, ["accuracy"])
    pq.write_table(pa.Table.from_pylist([row(student="b", lr=0.1)], schema=wider), tmp_path / "rows" / "b.parquet")
    assert records.read(tmp_path)["lr"].isna().tolist() == [True, False]


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b""])
def test_a_damaged_file_is_named_in_one_line(tmp_path, damage):
    store(tmp_path, "a", row())
    broken = store(tmp_path, "b", row())
    broken.write_bytes(damage(broken.read_bytes()))
    with pytest.raises(records.RecordsError) as error:
        records.read(tmp_path)
    assert str(broken) in str(error.value) and "\n" not in str(error.value)


def plan(run: Path, name: str, students=(), cells=()) -> None:
    for table, lines in (("students", students), ("cells", cells)):
        (run / table).mkdir(parents=True, exist_ok=True)
        schema = records.plan_schemas(AXES)[table]
        pq.write_table(pa.Table.from_pylist(list(lines), schema=schema), run / table / f"{name}.parquet")


CANONICAL = {"student": "a", "pack": "p", "temperature": 1.0, "network": "mlp", "seed": 0}
CELLS = [{**CANONICAL, "temperature": t} for t in (2.0, 1.0)]


@pytest.mark.parametrize("rowed", [True, False])
def test_students_and_cells_are_what_was_planned_each_once(tmp_path, rowed):
    plan(tmp_path, "z", [CANONICAL], CELLS)
    plan(tmp_path, "a", [CANONICAL, {**CANONICAL, "student": "b", "seed": 1}], CELLS[:1])
    if rowed:
        store(tmp_path, "r", row(trial="q"), row(trial="q", step=2), row(trial="q", temperature=1.0))
    students, cells = records.students(tmp_path), records.cells(tmp_path)
    assert list(students) == ["student", "seed", "pack", "temperature", "network"]
    assert students.sort_values("student").values.tolist() == [["a", 0, "p", 1.0, "mlp"], ["b", 1, "p", 1.0, "mlp"]]
    assert sorted(cells["temperature"]) == [1.0, 2.0] and set(cells["student"]) == {"a"}
    assert list(cells) == ["student", *AXES] and students.attrs["axes"] == cells.attrs["axes"] == list(AXES)
    assert cells["seed"].dtype == students["seed"].dtype == "int64"
    assert students.equals(records.read(tmp_path, "students")) and cells.equals(records.read(tmp_path, "cells"))


def test_runs_from_before_these_tables_have_the_students_and_cells_of_their_rows(tmp_path):
    with pytest.raises(records.RecordsError, match="has no rows yet"):
        records.students(tmp_path)
    store(
        tmp_path, "r", row(trial="q"), row(trial="q", step=2), row(trial="q", temperature=1.0), row(student="b", seed=1)
    )
    students, cells = records.students(tmp_path), records.cells(tmp_path, records.read(tmp_path))
    assert students[["student", "seed", "temperature"]].values.tolist() == [["a", 0, 2.0], ["b", 1, 2.0]]
    assert students["pack"].tolist()[0] == "q" and students.attrs["axes"] == list(AXES)
    assert cells[["student", "temperature", "seed"]].values.tolist() == [["a", 2.0, 0], ["a", 1.0, 0], ["b", 2.0, 1]]
    plan(tmp_path, "late", [CANONICAL], CELLS[1:])  # as a search of that time has when it was resumed
    assert records.students(tmp_path).set_index("student")["temperature"].to_dict() == {"a": 1.0, "b": 2.0}
    assert len(records.cells(tmp_path)) == 3


def test_a_metric_may_not_hide_an_axis():
    with pytest.raises(ValueError, match="temperature"):
        records.schema(AXES, ["temperature"])


def test_runs_are_found_by_name_by_path_and_by_start(tmp_path):
    for name, start in (("z-first", "2026-01-01"), ("a-last", "2026-01-02")):
        folder = tmp_path / "s" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"start": start, "axes": {}, "preset": "smoke", "data": "full"}))
    assert records.find_run("s", root=tmp_path).name == "a-last"
    assert records.find_run("s", "z-first", tmp_path).name == "z-first"
    assert records.find_run("s", str(tmp_path / "s" / "z-first"), "elsewhere").name == "z-first"
    with pytest.raises(records.RecordsError, match=r"no run 'b' .* z-first"):
        records.find_run("s", "b", tmp_path)
    with pytest.raises(records.RecordsError, match=r"studies/t\.py"):
        records.find_run("t", root=tmp_path)


def test_which_columns_are_shares():
    shares = "test_accuracy val_exact test_error accuracy_3 passing passing_accuracy kept_errors pseudo_ece task_0 change share"
    others = "tasks omitted_errors train_loss bits tokens seconds soft_norm cosine temperature trained_parameters"
    assert all(map(records.is_share, shares.split())) and not any(map(records.is_share, others.split()))


def test_a_digest_is_that_of_the_content_whatever_the_file_format_does_to_it(tmp_path):
    table = pa.table({
        "a": [1, None], "b": [0.1, float("nan")], "c": ["\u03bb", None], "d": [[0.5, 1.0], []], "e": [True, False], "f": [None, None],
        "g": pa.array([[1.0], [2.0]], pa.list_(pa.float32())), "h": pa.array([{"x": 1}, {"x": 2}]),
    }).replace_schema_metadata({"axes": "[]"})  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    read = pq.ParquetFile(tmp_path / "t.parquet").read()
    assert records.digest(read) == records.digest(table)
    changes = [
        table.set_column(0, "a", [[1, 2]]),
        table.rename_columns([*"zbcdefgh"]),
        table.replace_schema_metadata({"axes": "[1]"}),
    ]
    assert len({records.digest(each) for each in [table, *changes]}) == 4
