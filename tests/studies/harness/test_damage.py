"""What a run folder holds is checked: damage is named in one line, and nothing that is wrong gets into results."""

import errno
import io
import json
import os
import pickle
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from toys import Toy, study

from analysis.core import records
from analysis.core.report import open_run
from studies.harness import folder as folders
from studies.harness.command import run
from studies.harness.folder import RunFolder
from studies.harness.plan import Plan

TOY = study()
AXES = list(TOY.axes)
COLUMNS = [*AXES, "student", "val_accuracy", "test_accuracy"]


@pytest.fixture
def go(tmp_path, capsys):
    """Runs the toy inline; what it said."""

    def go(*words, code=0, storage=tmp_path):
        capsys.readouterr()
        ended = run(TOY, ["--address", "inline", "--num-cpus", "1", "--no-report", "--storage", str(storage), *words])
        said = capsys.readouterr().err
        assert ended == code, said
        return said

    return go


def at_step(monkeypatch, number, what):
    """Does something at the so-manieth step or preparation."""
    calls = iter(range(10**6))
    monkeypatch.setattr(Toy, "before", staticmethod(lambda: what() if next(calls) == number else None))


def interrupt():
    raise KeyboardInterrupt


def folder_of(storage):
    return next(iter(Path(storage).glob("toy/*")))


def results(folder):
    """What the rows say, by cell."""
    return records.final(records.read(folder))[COLUMNS].sort_values(AXES, ignore_index=True)


def last(said):
    return said.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    storage = tmp_path_factory.mktemp("whole")
    assert run(TOY, ["--address", "inline", "--num-cpus", "1", "--no-report", "--storage", str(storage)]) == 0
    return results(folder_of(storage))


class Stuck:
    """A file system that deletes so many files and no more."""

    def __init__(self, fs, left):
        self.fs, self.left = fs, left

    def __getattr__(self, name):
        return getattr(self.fs, name)

    def delete_file(self, path):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.EIO, "Input/output error")
        self.fs.delete_file(path)


def test_rows_of_a_finished_run_lie_in_one_file_and_a_fault_on_the_way_doubles_nothing(
    go, tmp_path, monkeypatch, expected
):
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "put_together", lambda self, tables: None)
        go()
    folder, lying = folder_of(tmp_path), RunFolder(str(tmp_path), "toy", folder_of(tmp_path).name)
    before, count, fs = records.read(folder), len(list((folder / "rows").iterdir())), lying.fs
    sort = [*AXES, "step"]
    for left in (0, 3, 100):
        lying.fs = Stuck(fs, left)
        lying.put_together(["rows"])
        assert sum(map(len, records.load(fs, str(folder), "rows"))) == len(before), left
        assert (
            records.read(folder)
            .sort_values(sort, ignore_index=True)
            .equals(before.sort_values(sort, ignore_index=True))
        )
    assert count > 3 and len(list((folder / "rows").iterdir())) == 1
    go("--extend", "latest", "--seeds", "3")
    assert results(folder)[lambda t: t["seed"] < 2].reset_index(drop=True).equals(expected)


def test_a_reader_that_meets_the_putting_together_lists_again(go, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "put_together", lambda self, tables: None)
        go()
    folder, load, calls = folder_of(tmp_path), records._load, iter(range(10**6))
    before = records.read(folder)

    def meanwhile(*given):
        if next(calls) == 2:
            monkeypatch.setattr(records, "_load", load)
            RunFolder(str(tmp_path), "toy", folder.name).put_together(["rows"])
        return load(*given)

    monkeypatch.setattr(records, "_load", meanwhile)
    assert len(records.read(folder)) == len(before)


def test_a_metric_that_never_varies_leaves_a_run_that_can_be_read(go, monkeypatch):
    monkeypatch.setattr(Toy, "measure", staticmethod(lambda config: (1.0, 1.0)))
    go()
    go("--extend", "latest", "--seeds", "3")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("PWNED",)


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


def malicious(content):
    buffer = io.BytesIO()
    torch.save({"trial": Evil(), "evaluations": 1, "packs": []}, buffer)
    return buffer.getvalue()


def of_another(content):
    buffer = io.BytesIO()
    torch.save({**torch.load(io.BytesIO(content), weights_only=True), "trial": "0-0123456789"}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: flipped(content, content.index(b"steps") + 2), lambda content: content[:200], lambda content: b"",
        malicious, of_another, lambda content: pickle.dumps(Evil()),
    ],
    ids=["a bit", "cut", "empty", "malicious", "of another trial", "a pickle"],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_gone_on_from_is_named_and_set_aside(go, tmp_path, monkeypatch, expected, damage):
    at_step(monkeypatch, 7, interrupt)
    monkeypatch.setattr(Toy, "evaluations", 4)
    go(code=130)
    monkeypatch.chdir(tmp_path)
    checkpoint = max(folder_of(tmp_path).glob("tune/*/*/state.pt"), key=lambda path: path.stat().st_mtime_ns)
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    said = go("--resume", "latest")
    assert str(checkpoint) in said and "set aside" in said and "Traceback" not in said
    assert results(folder_of(tmp_path)).equals(expected) and not (tmp_path / "PWNED").exists()


def test_where_the_folder_is_removed_meanwhile_the_run_stops_and_writes_no_other(go, tmp_path, monkeypatch):
    at_step(monkeypatch, 5, lambda: shutil.rmtree(folder_of(tmp_path)))
    said = go(code=1)
    assert "was removed while this run wrote it" in last(said) and not list(tmp_path.glob("toy/*/rows"))


@pytest.mark.parametrize(("times", "code"), [(3, 0), (10**6, 1)])
def test_a_storage_that_does_not_answer_is_waited_for(go, tmp_path, monkeypatch, expected, times, code):
    write, left = RunFolder._write_once, iter(range(times))

    def silent(self, path, content):
        if self.begun and "rows/" in path and next(left, None) is not None:
            raise OSError(errno.EIO, "Input/output error")
        write(self, path, content)

    monkeypatch.setattr(RunFolder, "_write_once", silent)
    monkeypatch.setattr(folders, "PATIENCE", 0.2)
    said = go(code=code)
    if code:
        assert "cannot be written (Input/output error)" in said and "--resume" in last(said)
        assert json.loads((folder_of(tmp_path) / "run.json").read_text())["status"] == "failed"
    else:
        assert results(folder_of(tmp_path)).equals(expected)


def test_a_run_is_not_done_where_rows_are_gone(go, tmp_path, monkeypatch, expected):
    def lose():
        for number, file in (("002", 0), ("001", 1)):
            sorted((folder_of(tmp_path) / "rows").glob(f"*-{number}.parquet"))[file].unlink()

    at_step(monkeypatch, 8, lose)
    said = go(code=1)
    assert "-001.parquet is not there any more" in said and "lost " in said and "--resume" in last(said)
    monkeypatch.undo()
    go("--resume", "latest")
    assert results(folder_of(tmp_path)).equals(expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda info: [1, 2], "is not of type 'object'"),
        (lambda info: {k: v for k, v in info.items() if k != "axes"}, "'axes' is a required property"),
        (lambda info: {k: v for k, v in info.items() if k != "search"}, "'search' is a required property"),
        (lambda info: {**info, "preset": "gone"}, "has a preset that this version of the study has not: gone"),
        (lambda info: {**info, "samples": "many"}, "samples: 'many' is not of type"),
        (lambda info: {**info, "axes": {**info["axes"], "view": ["elsewhere"]}}, "--view elsewhere, which cannot be"),
        (lambda info: {**info, "grids": [{**info["axes"], "seed": [0.5]}]}, "--seed 0.5, which cannot be"),
        (lambda info: {**info, "grids": [{**info["axes"], "seed": [*range(200_000)]}]}, "cells, and a run may have at most"),
        (lambda info: {**info, "address": "198.51.100.1:6379"}, "ran on --address 198.51.100.1:6379; say that again"),
        (lambda info: {**info, "metric": "test_accuracy", "digest": info["digest"]}, "has not the digest that it names"),
    ],
)  # fmt: skip
def test_a_run_json_that_cannot_be_is_one_line_and_stops_no_other_run(go, tmp_path, capsys, change, said, expected):
    go("--seeds", "1")
    odd = folder_of(tmp_path).rename(tmp_path / "toy" / "19990101-000000-00")
    info = json.loads((odd / "run.json").read_text())
    sealed = change({k: v for k, v in info.items() if k != "digest"} if "digest" not in said else info)
    (odd / "run.json").write_text(json.dumps(sealed))
    capsys.readouterr()
    assert run(TOY, ["--resume", odd.name, "--storage", str(tmp_path)]) == 2
    text = capsys.readouterr().err
    assert said in text and len(text.splitlines()) == 1
    go()  # the estimate looks at all runs
    go("--resume", "latest")
    found = records.find_run("toy", root=tmp_path)
    assert found.name != odd.name and results(found).equals(expected)


# Random damage


def bit(content, rng):
    return flipped(content, rng.randrange(len(content)))


def cut(content, rng):
    return content[: rng.randrange(len(content))]


def overwritten(content, rng):
    at = rng.randrange(max(1, len(content) - 16))
    return content[:at] + rng.randbytes(16) + content[at + 16 :]


def column(content, rng):
    """Another table of the same lines, as others might have written it, or with what this one knew of itself."""
    table = pq.read_table(io.BytesIO(content))
    name = rng.choice(table.column_names)
    index, values = table.column_names.index(name), table[name]
    table = rng.choice([
        lambda: table.drop_columns([name]),
        lambda: table.append_column("foreign", pa.array([1] * len(table))),
        lambda: table.set_column(index, name, pa.array([None] * len(table))),
        lambda: table.set_column(index, name, values.cast(pa.string())),
        lambda: table.set_column(index, name, values.take(pa.array([0] * len(table)))),
    ])()  # fmt: skip
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A finished run and an interrupted one."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Toy, "evaluations", 3)
        patch.setattr(folders, "new_name", lambda: "19990101-000000-00")  # so that all that is shown may be compared
        for name, step, code in (("done", None, 0), ("interrupted", 9, 130)):
            storage = tmp_path_factory.mktemp(name)
            at_step(patch, step, interrupt)
            assert run(TOY, ["--address", "inline", "--no-report", "--storage", str(storage)]) == code
            found[name] = storage
    return found


def stripped(content, rng=None):
    """The same without its digest."""
    if content[:1] == b"{":
        return json.dumps({key: value for key, value in json.loads(content).items() if key != "digest"}).encode()
    table, sink = pq.read_table(io.BytesIO(content)), io.BytesIO()
    kept = {key: value for key, value in table.schema.metadata.items() if key != b"digest"}
    pq.write_table(table.replace_schema_metadata(kept), sink)
    return sink.getvalue()


OF_A_SESSION = ("start", "end", "seconds", "sessions", "command", "core_seconds_per_student", "digest")


def everything(folder):
    """What a page shows and a resume starts from: tables, run.json but for its clocks, sentences."""
    shown = open_run(folder)
    keep = [*COLUMNS, "step", "status"]
    tables = {
        "rows": shown.rows[keep], "cells": shown.cells[[*keep[:-2], "status"]], "students": shown.students[keep], "history": shown.history[keep],
        "planned": records.cells(folder, shown.rows), "canonical": records.students(folder, shown.rows).drop(columns="pack"), "teachers": shown.table("teachers"),
    }  # fmt: skip
    text = {}
    for name, table in tables.items():
        columns = sorted(set(table) - {"run"})
        text[name] = sorted(repr([line[c] for c in columns]) for line in table.to_dict("records"))
    about = {key: value for key, value in shown.info.items() if key not in OF_A_SESSION}
    about |= {"noise": round(about["noise"], 12)} if "noise" in about else {}  # a sum in the order of the files
    return {
        **text,
        "run.json": about,
        "subtitle": shown.subtitle,
        "axes": shown.axes,
        "told": [*shown.warnings(), *shown.caveats()],
    }


def damaged_at_random(folder, rng, among):
    """Changes a file of a run, or swaps two; which, and how."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix in among and path.name[0] != "."
    )
    change = rng.choice([bit, cut, overwritten, column, stripped, None])
    kinds = {column: (".parquet",), stripped: (".parquet", ".json")}.get(change, among)
    damaged = [rng.choice([path for path in files if path.suffix in kinds])]
    if change:
        damaged[0].write_bytes(change(damaged[0].read_bytes(), rng))
    else:
        damaged.append(rng.choice(files))
        contents = [path.read_bytes() for path in reversed(damaged)]
        for path, content in zip(damaged, contents, strict=True):
            path.write_bytes(content)
    return damaged, change


@pytest.mark.parametrize("base", ["done", "interrupted"])
@pytest.mark.parametrize("use", ["resumed", "read"])
def test_whatever_is_damaged_is_named_or_changes_nothing(bases, tmp_path, capsys, monkeypatch, base, use):
    """75 cases each of random bits, cuts, lost blocks, swapped files, foreign columns and lost digests."""
    monkeypatch.setattr(Toy, "evaluations", 3)
    monkeypatch.setattr(Plan, "_told", lambda self: [])  # half of the time of a resume, and only a line of it
    source = bases[base]
    undamaged = everything(folder_of(bases["done"] if use == "resumed" else source))
    rng = random.Random(f"{base} {use}")
    named = 0
    for case in range(75):
        storage = Path(shutil.copytree(source, tmp_path / str(case)))
        folder = folder_of(storage)
        damaged, change = damaged_at_random(folder, rng, (".parquet", ".json", *[".pt"] * (use == "resumed")))
        capsys.readouterr()
        code, said = 0, ""
        if use == "resumed":
            code = run(TOY, ["--resume", "latest", "--address", "inline", "--no-report", "--storage", str(storage)])
            said = capsys.readouterr().err
        if not code:
            try:
                found = everything(folder)
            except records.RecordsError as error:
                code, said = 2, str(error)
        about = f"case {case}: {change and change.__name__} of {[str(path.relative_to(folder)) for path in damaged]}: {said}"
        assert "Traceback" not in said, about
        tables = [path.parent.name if path.suffix == ".parquet" else path.name for path in damaged]
        if code:
            named_in = [str(where) for path in damaged for where in (path, f"{path.parent}:")]  # a file, or its table
            assert code == 2 and any(where in last(said) for where in named_in), about
        else:
            told = [line for line in found["told"] if line not in undamaged["told"]]
            told += [line for line in said.splitlines() if "without a digest" in line]
            if change is stripped:
                assert any(f"ithout a digest, as in runs of older versions: {tables[0]}" in line for line in told), (
                    about
                )
            for line in told:  # drawn with a caveat; a bit may also hit the name of the digest
                assert tables[0] in line and (
                    "ithout a digest" in line or line.startswith("**run.json is damaged or was changed")
                ), about
            changed = {name for name in undamaged if found[name] != undamaged[name]} - {"told"}
            assert changed <= ({"run.json", "axes", "subtitle"} if told and tables[0] == "run.json" else set()), (
                about,
                changed,
            )
        named += bool(code) or change is stripped
        shutil.rmtree(storage)
    assert named > 20


@pytest.mark.parametrize("name", ["run.json", "rows", "students", "cells", "teachers"])
def test_a_file_without_its_digest_is_read_and_said_to_be_unchecked(bases, tmp_path, capsys, monkeypatch, name):
    """So it is with all files of older versions: whoever changes one and takes its digest away is believed, and that is said, also
    after a resume, which seals no table that it did not write."""
    monkeypatch.setattr(Toy, "evaluations", 3)
    folder = folder_of(shutil.copytree(bases["interrupted"], tmp_path / "runs"))
    file = folder / name if name == "run.json" else min((folder / name).iterdir())
    file.write_bytes(stripped(file.read_bytes()))
    line = f"ithout a digest, as in runs of older versions: {name}"
    assert any(line in told for told in open_run(folder).caveats())
    assert (
        run(TOY, ["--resume", "latest", "--address", "inline", "--no-report", "--storage", str(tmp_path / "runs")]) == 0
    )
    assert line in capsys.readouterr().err
    found, whole = everything(folder), everything(folder_of(bases["done"]))
    assert any(line in told for told in found.pop("told")) == (name != "run.json") and not whole.pop("told")
    assert found == whole
