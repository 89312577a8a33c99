"""What TensorBoard gets to read."""

import struct

import pyarrow.fs as pafs
import pytest
import toys
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tensorboardX.record_writer import RecordWriter

from analysis.core import records
from studies.harness import command, ray_adapter
from studies.harness.curves import _framed
from studies.harness.folder import RunFolder
from studies.harness.students import student_hash


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    words = ["--address", "inline", "--storage", str(folder), "--no-report", "--pack", "2"]
    assert command.run(toys.study(), words) == 0
    return records.find_run("toy", root=folder)


def events(file):
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def test_a_record_is_what_tensorboardx_would_write(tmp_path):
    parts = [b"", b"x", bytes(range(256)) * 9]
    writer = RecordWriter(str(tmp_path / "reference"))
    for part in parts:
        writer.write(part)
    writer.close()
    assert (tmp_path / "reference").read_bytes() == b"".join(map(_framed, parts))


def test_each_student_is_a_run_of_its_own_with_its_curves_and_hyperparameters(run):
    rows = records.read(run)
    students = records.students(run)
    configs = {
        line["student"]: {a: line[a] for a in ("view", "temperature", "kd_weight", "seed")}
        for line in students.to_dict("records")
    }
    template = "view={view}_temperature={temperature:g}_kd_weight={kd_weight:g}_seed={seed}"
    names = {template.format(**config): s for s, config in configs.items()}
    folders = {path.name: path for path in (run / "tensorboard").iterdir()}
    assert set(folders) == set(names) and all(student_hash(config) == s for s, config in configs.items())
    for name, folder in folders.items():
        (file,) = folder.iterdir()
        values = [(e.step, v) for e in events(file) for v in e.summary.value]
        own = rows[rows["student"] == names[name]].drop_duplicates("step").sort_values("step")
        for metric in ("val_accuracy", "test_accuracy"):
            curve = [(step, v.simple_value) for step, v in values if v.tag == metric]
            assert [step for step, _ in curve] == list(own["step"]) and [v for _, v in curve] == pytest.approx(
                list(own[metric])
            )
        about = [
            HParamsPluginData.FromString(v.metadata.plugin_data.content)
            for _, v in values
            if v.metadata.plugin_data.content
        ]
        assert [part.WhichOneof("data") for part in about] == ["experiment", "session_start_info", "session_end_info"]
        told = {
            k: v.string_value if v.HasField("string_value") else v.number_value
            for k, v in about[1].session_start_info.hparams.items()
        }
        assert told == configs[names[name]]
        assert {m.name.tag for m in about[0].experiment.metric_infos} == {"val_accuracy", "test_accuracy"}


def test_a_failed_student_has_a_run_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_WITHOUT", "b")
    assert command.run(toys.study(), ["--address", "inline", "--storage", str(tmp_path), "--no-report"]) == 1
    run = records.find_run("toy", root=tmp_path)
    failed = [
        events(next(path.iterdir())) for path in (run / "tensorboard").iterdir() if path.name.startswith("view=b")
    ]
    assert failed and not any(
        v.simple_value or "end_info" in v.tag for of in failed for e in of for v in e.summary.value
    )


def test_in_an_object_store_a_run_has_no_curves(s3):
    assert not RunFolder(s3.uri, "toy", "x").local
    words = ["--address", "inline", "--storage", s3.uri, "--no-report"]
    assert command.run(toys.study(views=("a",), seeds=1), words) == 0
    found = s3.fs.get_file_info(pafs.FileSelector(s3.bucket, recursive=True))
    assert [f for f in found if f.base_name == "run.json"] and not [f for f in found if "tensorboard" in f.path]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "cat ~/.ray/auth_token"),
        ({"RAY_AUTH_TOKEN_PATH": "/a b/token"}, "cat '/a b/token'"),
        ({"RAY_AUTH_TOKEN": "of the user"}, "echo $RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_TOKEN": ray_adapter.OWN_TOKEN}, ray_adapter.OWN_TOKEN),
    ],
    ids=["home", "path", "theirs", "ours"],  # the token is another in every process
)
def test_a_user_is_told_how_to_get_the_token_and_his_own_is_not_printed(monkeypatch, environment, said):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ray_adapter.token_from() == said
