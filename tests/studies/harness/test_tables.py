"""The tables of what is planned, over new, interrupted, resumed and extended runs. An arithmetic toy stands in for training."""

import dataclasses
import importlib
import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from toys import Toy, canonical, students_of, study

from analysis.core import interpreter, records
from studies.harness.arguments import parse
from studies.harness.command import run
from studies.harness.earlier import Earlier
from studies.harness.folder import RunFolder
from studies.harness.plan import Plan, cells_of
from studies.harness.students import student_hash

STUDIES = sorted(p.stem for p in (Path(__file__).parents[3] / "studies").glob("*.py") if p.stem != "__init__")


TOY = study()
AXES = list(TOY.axes)


@pytest.fixture
def go(tmp_path, monkeypatch):
    """Runs the toy inline; the run folder."""
    monkeypatch.setattr(Toy, "trained", [])

    def go(*words, code=0):
        common = ["--address", "inline", "--num-cpus", "1", "--no-report", "--storage", str(tmp_path)]
        assert run(TOY, [*common, *words]) == code
        return next(iter(tmp_path.glob("toy/*")))

    return go


def lines(folder, table):
    """A table as it lies in the files."""
    return ds.dataset(folder / table, format="parquet").to_table().to_pylist()


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes() for t in ("students", "cells") for path in folder.glob(f"{t}/*")
    }


def foreign(table):
    """A table as others would write it, without a digest."""
    return table.replace_schema_metadata({b"axes": table.schema.metadata[b"axes"]})


def assert_whole(folder):
    """Each student and each cell once, each cell with its student, and rows of no other and of all."""
    cells, students = lines(folder, "cells"), lines(folder, "students")
    points = [tuple(c[a] for a in AXES) for c in cells]
    assert len(points) == len(set(points)) and len(students) == len({s["student"] for s in students})
    known = {s["student"]: {a: s[a] for a in AXES} for s in students}
    for cell in cells:
        assert known[cell["student"]] == canonical({a: cell[a] for a in AXES})
    assert all(student_hash(config) == student for student, config in known.items())
    rows = records.final(records.read(folder))
    assert {(*(r[a] for a in AXES), r["student"]) for r in rows.to_dict("records")} == {
        (*point, cell["student"]) for point, cell in zip(points, cells, strict=True)
    }
    return cells, students, rows


def interrupt(monkeypatch, after):
    calls = itertools.count()

    def before():
        if next(calls) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Toy, "before", staticmethod(before))


def test_students_and_cells_are_written_before_anything_is_trained(go, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Toy, "before", staticmethod(lambda: seen.append(files(next(iter(tmp_path.glob("toy/*")))))))
    folder = go()
    assert {path.parts[0] for path in seen[0]} == {"students", "cells"} and seen[0] == files(folder)
    cells, students, rows = assert_whole(folder)
    assert len(cells) == 2 * 3 * 3 * 2 and len(students) == 2 * (1 + 2 * 3) * 2
    assert rows.set_index("student").trial.to_dict() == {s["student"]: s["pack"] for s in students}


def test_an_interrupted_run_that_is_resumed_writes_the_same_tables_and_trains_the_rest(go, monkeypatch):
    interrupt(monkeypatch, 9)
    folder = go(code=130)
    before, done = files(folder), set(records.final(records.read(folder))["student"])
    assert 0 < len(done) < 28
    monkeypatch.setattr(Toy, "before", staticmethod(lambda: None))
    Toy.trained.clear()
    assert go("--resume", "latest") == folder
    assert files(folder) == before and not done & set(Toy.trained)
    assert_whole(folder)


@pytest.mark.parametrize("again", [False, True])
def test_who_stops_a_run_is_told_at_once_and_how_to_go_on_before_anything_is_drawn(tmp_path, monkeypatch, capsys, again):
    """And whoever does not want to wait for the drawing loses nothing but that."""
    interrupt(monkeypatch, 9)
    heard = []

    def draw(command, **_):
        heard.append(capsys.readouterr().err)
        if again:
            raise KeyboardInterrupt
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("studies.harness.run.subprocess", SimpleNamespace(run=draw))
    toy = dataclasses.replace(TOY, name="mnistm_kd")  # one with a page
    assert run(toy, ["--address", "inline", "--num-cpus", "1", "--storage", str(tmp_path)]) == 130
    (before,), after = heard, capsys.readouterr().err
    (folder,) = tmp_path.glob("mnistm_kd/*")
    said = ["stopping  what is done is kept", "interrupted ", f"--resume {folder.name}", "drawing   figures and report (Ctrl-C"]
    places = [before.index(words) for words in said]
    assert places == sorted(places) and all(before.count(words) == 1 for words in said)
    assert "--resume" not in after and (f"to draw: {interpreter()} analysis/mnistm_kd.py" in after) == again
    assert records.info(folder)["status"] == "interrupted" and len(records.final(records.read(folder)))


def test_a_failure_after_a_resume_takes_no_measurement_away_and_the_best_is_of_all_sessions(go, monkeypatch, capsys):
    interrupt(monkeypatch, 9)
    folder = go(code=130)
    before = {(row["student"], row["step"]) for row in lines(folder, "rows")}
    finished = {row["student"]: row["val_accuracy"] for row in lines(folder, "rows") if row["status"] == "done"}
    begun = {student for student, _ in before} - set(finished)
    assert finished and begun

    def refuse(*_):
        raise RuntimeError("no more")

    monkeypatch.setattr(Toy, "__init__", refuse)
    go("--resume", "latest", code=1)
    rows = lines(folder, "rows")
    assert before < {(row["student"], row["step"]) for row in rows}
    failed = {row["student"] for row in rows if row["status"] == "failed"}
    assert begun <= failed and failed | set(finished) == {s["student"] for s in lines(folder, "students")}
    assert f"best val_accuracy {max(finished.values()):.4f}" in capsys.readouterr().err


@pytest.mark.parametrize("lost", [("students", "cells"), ("students",), ("cells",)])
def test_a_run_without_its_tables_is_read_resumed_and_extended(go, monkeypatch, lost):
    """As are runs from before there were tables, whose run.json also has an older word."""
    interrupt(monkeypatch, 9)
    folder = go("--kd-weight", "0", "0.5", code=130)
    monkeypatch.setattr(Toy, "before", staticmethod(lambda: None))
    for table in lost:
        shutil.rmtree(folder / table)
    info = json.loads((folder / "run.json").read_text())
    info["given"] = info.pop("overrides")
    del info["digest"]
    (folder / "run.json").write_text(json.dumps(info))
    read = records.read(folder)
    assert set(read["student"]) <= set(records.students(folder)["student"])
    assert (
        not read.merge(records.cells(folder), how="left", on=[*AXES, "student"], indicator=True)
        ._merge.eq("left_only")
        .any()
    )
    go("--resume", "latest")
    cells, students, _ = assert_whole(folder)
    assert all(s["pack"] for s in students) and {c["kd_weight"] for c in cells} == {0, 0.5}
    for table in lost:
        shutil.rmtree(folder / table)
    go("--extend", "latest", "--seeds", "3")
    cells, _, _ = assert_whole(folder)
    assert {c["seed"] for c in cells} == {0, 1, 2} and {c["kd_weight"] for c in cells} == {0, 0.5}


def test_an_extension_adds_lines_for_what_is_new_and_answers_cells_of_known_students(go):
    folder = go()
    before = {table: lines(folder, table) for table in ("students", "cells")}
    Toy.trained.clear()
    go("--extend", "latest", "--temperature", "8")
    assert all(line in lines(folder, table) for table, known in before.items() for line in known)
    cells, students, _ = assert_whole(folder)
    new = [s["student"] for s in students if s["temperature"] == 8]
    assert sorted(set(Toy.trained)) == sorted(new) and len(new) == 2 * 2 * 2
    assert sum(c["temperature"] == 8 for c in cells) == 2 * 3 * 2, (
        "kd_weight 0 is a cell of its own with a known student"
    )


def test_tables_that_nobody_knows_do_no_harm(go):
    folder = go("--seeds", "1")
    for table, content in (("odd", b"no parquet"), ("students/deeper", b"neither")):
        (folder / table).mkdir()
        (folder / table / "x.parquet").write_bytes(content)
    pq.write_table(pa.table({"x": [1]}), folder / "odd" / "y.parquet")
    go("--resume", "latest")
    go("--extend", "latest", "--seeds", "2")
    assert len(records.students(folder)) == 28 and len(records.cells(folder)) == 36


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.set_column(t.column_names.index("kd_weight"), "kd_weight", pa.array([0.25] * len(t))),
            "not the name",
        ),
        (lambda t: t.drop_columns(["kd_weight"]), "no column kd_weight"),
        (None, "is damaged"),
    ],
)
def test_tables_that_cannot_be_are_refused_in_one_line(go, change, said, capsys):
    folder = go("--seeds", "1")
    (file,) = (folder / "students").glob("*.parquet")
    if change:
        pq.write_table(foreign(change(pq.read_table(file))), file)
    else:
        file.write_bytes(file.read_bytes()[:99])
    capsys.readouterr()
    go("--resume", "latest", code=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("toy: ") and said in line and "delete" in line
    for table in ("students", "cells"):
        shutil.rmtree(folder / table)
    go("--resume", "latest")
    assert_whole(folder)


def test_what_a_race_appends_is_written_down_and_trained_when_the_rest_has_ended(go, monkeypatch):
    handed_out, more = [], Plan.more

    def race(self):
        """A second seed, once, for the views whose students of the first were best."""
        trials = more(self)
        if not trials and len(handed_out) == 1:
            self.add(cells_of(self.study, {**self.values, "view": ("b",), "seed": (1,)}))
            trials = more(self)
        if trials:
            handed_out.append({(c["view"], c["seed"]) for t in trials for c in t.students})
        return trials

    monkeypatch.setattr(Plan, "more", race)
    folder = go("--seeds", "1")
    assert handed_out == [{("a", 0), ("b", 0)}, {("b", 1)}]
    cells, students, _ = assert_whole(folder)
    assert {(c["view"], c["seed"]) for c in cells} == {("a", 0), ("b", 0), ("b", 1)} and len(cells) == 27
    info = json.loads((folder / "run.json").read_text())
    assert (info["students"], info["cells"]) == (len(students), len(cells))
    monkeypatch.setattr(Plan, "more", more)
    before = files(folder)
    Toy.trained.clear()
    go("--resume", "latest")
    assert files(folder) == before and not Toy.trained, "the race's cells are the run's"
    assert json.loads((folder / "run.json").read_text())["cells"] == 27


@pytest.mark.parametrize("name", STUDIES)
def test_every_students_config_survives_its_line_in_the_table(name):
    study = importlib.import_module(f"studies.{name}").STUDY
    schema = records.plan_schemas({axis: of.type for axis, of in study.axes.items()})["students"]
    for preset, data in itertools.product(study.presets, ("sample", "full")):
        for values in study.grids(preset, data, {}):
            values = {axis: of[:1] + of[-1:] if len(of) > 2 and axis != "remedy" else of for axis, of in values.items()}
            students = students_of(study, cells_of(study, values))
            table = pa.Table.from_pylist([{"student": s, **c} for s, c in students.items()], schema=schema)
            for line in table.to_pylist():
                assert student_hash({axis: line[axis] for axis in study.axes}) == line["student"]


def test_what_cannot_be_prepared_fails_its_students_alone(go, monkeypatch):
    def prepare(cls, artifact, datasets, device):
        if artifact == "b":
            raise ValueError("features are not finite")
        return None, {"teacher": artifact, "seconds": 0.0}

    monkeypatch.setattr(Toy, "prepare", classmethod(prepare))
    rows = records.read(go(code=1))
    failed = rows[rows["status"] == "failed"]
    assert set(failed["view"]) == {"b"} and set(rows.loc[rows["status"] == "done", "view"]) == {"a"}
    assert set(failed["error"]) == {"ValueError: features are not finite"}


@pytest.mark.parametrize("start", ["/data/" + "deep/" * 900, "лампы?\0 "])
def test_artifacts_with_very_long_or_odd_names_have_files(go, monkeypatch, start):
    """As the path of a checkpoint, which a study may start from, can be."""
    made = classmethod(lambda cls, artifact, *_: (None, {"teacher": f"{start}{artifact}.pt", "seconds": 0.0}))
    monkeypatch.setattr(Toy, "prepare", made)
    folder = go()
    assert set(records.read(folder, "teachers")["teacher"]) == {f"{start}{view}.pt" for view in "ab"}


def test_a_run_of_a_part_grows_into_the_whole_and_trains_what_it_has_not(go):
    folder = go("--preset", "tour")
    before = list(Toy.trained)
    go("--extend", "latest", "--preset", "course", "--kd-weight", "2", code=2)
    go("--extend", "latest", "--preset", "course")
    _, students, _ = assert_whole(folder)
    assert {s["student"] for s in students} == set(students_of(TOY, Plan(TOY, parse(TOY, []), "full", Earlier()).cells))
    assert before and not set(before) & set(Toy.trained[len(before) :]), "none again"
    assert records.info(folder)["preset"] == "course" and "4.0" in str(records.info(folder)["axes"]["temperature"])
    go("--extend", "latest", "--preset", "tour", code=2)


def test_an_extension_that_adds_nothing_says_so_and_what_would_add(go, capsys):
    go()
    trained = len(Toy.trained)
    for words, said in (
        (["--seeds", "1"], "the run has seeds 0 and 1; --seeds 3 adds one"),
        (["--temperature", "4"], "the run has temperature 1 and 2 and 4; other values add to it"),
        ([], "the run has all of preset course; --seeds 3 or other values of an axis add to it"),
    ):
        capsys.readouterr()
        go("--extend", "latest", *words)
        told = capsys.readouterr().err
        assert f"NOTE      nothing is added: {said}\n" in told and "estimate" not in told
    assert len(Toy.trained) == trained
    go("--extend", "latest", "--seeds", "3")
    told = capsys.readouterr().err
    assert "nothing is added" not in told and "estimate" in told and len(Toy.trained) > trained


def test_students_that_have_no_lines_of_a_table_leave_no_file_that_lacks_its_columns(tmp_path):
    folder = RunFolder(str(tmp_path), "toy", "r")
    folder.write_rows("thresholds", "a-001", [], keys=["bits"])
    assert not (tmp_path / "toy" / "r" / "thresholds").exists()
    folder.write_rows("thresholds", "b-001", [{"data": "sample", "bits": 2}], keys=["bits"])
    assert records.read(tmp_path / "toy" / "r", "thresholds")["bits"].tolist() == [2]


def test_vectors_come_back_as_lists_of_fixed_size_and_a_changed_number_shows(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float16)
    folder = RunFolder(str(tmp_path), "toy", "r")
    folder.write_columns("embeddings", "one", {"data": "sample", "id": np.arange(50), "vector": vectors})
    path = tmp_path / "toy" / "r"
    (file,) = (path / "embeddings").iterdir()
    assert pq.read_schema(file).field("vector").type == pa.list_(pa.float16(), 7)
    found = records.read(path, "embeddings")
    assert np.array_equal(np.stack(found["vector"]), vectors) and set(found["data"]) == {"sample"}
    whole = pq.read_table(file)
    vectors[3, 4] += 1
    other = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 7)
    pq.write_table(whole.set_column(2, whole.field("vector"), other), file)
    with pytest.raises(records.RecordsError, match="damaged"):
        records.read(path, "embeddings")
