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


def test_a_metric_may_not_hide_an_axis():
    with pytest.raises(ValueError, match="temperature"):
        records.schema(AXES, ["temperature"])


def test_runs_are_found_by_name_by_path_and_by_start(tmp_path):
    for name, start in (("z-first", "2026-01-01"), ("a-last", "2026-01-02")):
        folder = tmp_path / "s" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"start": start}))
    assert records.find_run("s", root=tmp_path).name == "a-last"
    assert records.find_run("s", "z-first", tmp_path).name == "z-first"
    assert records.find_run("s", str(tmp_path / "s" / "z-first"), "elsewhere").name == "z-first"
    with pytest.raises(records.RecordsError, match=r"no run 'b' .* z-first"):
        records.find_run("s", "b", tmp_path)
    with pytest.raises(records.RecordsError, match=r"studies/t\.py"):
        records.find_run("t", root=tmp_path)
