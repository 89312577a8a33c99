"""Whatever dies on the way: students and their metrics are those of a run without the fault, and no row is there twice.

The study is arithmetic (toys.py), so what is compared is what the harness does. `pytest -m faults -s` prints a line for each fault, of which the
table in docs/faults.md is made.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest
import toys

from analysis.core import records
from studies.harness.command import run as run_here
from studies.harness.folder import filesystem

ROOT = Path(__file__).parents[3]
KEY = ["view", "temperature", "kd_weight", "seed", "step"]
DRIVER = """
import sys
import toys
from studies.harness.command import run
sys.exit(run(toys.study(seeds=2), sys.argv[1:]))
"""
DIES_IN_A_FLUSH = """
import os
import signal
import pyarrow.fs
from pathlib import Path
from studies.harness.folder import RunFolder

plain, number = RunFolder._write_once, iter(range(100))

def dies(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)

def write(self, path, content):
    if "/rows/" in path and path.endswith(".parquet") and next(number) == 5:
        Path.replace = dies  # whole, and not yet under its name
        pyarrow.fs.copy_files = lambda source, *more: dies()
    plain(self, path, content)

RunFolder._write_once = write
"""


def raw(storage):
    """All rows as they lie in the files, sorted; none is there twice."""
    fs, root = filesystem(str(storage))
    (folder,) = [f.path for f in fs.get_file_info(pafs.FileSelector(f"{root}/toy"))]
    files = records.files(fs, folder, "rows")
    table = ds.dataset(files, filesystem=fs).to_table().to_pandas() if files else pd.DataFrame(columns=KEY)
    assert not table.duplicated(KEY).any(), "a row is there twice"
    return table.sort_values(KEY, ignore_index=True)[[*KEY, "student", "status", "val_accuracy", "test_accuracy"]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The rows of a run without any fault, of four evaluations."""
    storage = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toys.Toy, "evaluations", 4)
        words = ["--address", "inline", "--num-cpus", "1", "--no-report", "--storage", str(storage)]
        assert run_here(toys.study(seeds=2), words) == 0
    return raw(storage)


@pytest.fixture
def part(whole):
    """Those of one trial."""
    return whole[(whole["view"] == "a") & (whole["seed"] == 0)].reset_index(drop=True)


def test_a_pack_that_memory_does_not_hold_is_halved_until_it_does(part, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(toys.Toy, "evaluations", 4)
    words = ["--address", "inline", "--num-cpus", "1", "--pack", "7", "--no-report", "--storage"]
    for holds in (3, 1):
        monkeypatch.setattr(toys.Toy, "holds", holds)
        assert run_here(toys.study(views=("a",), seeds=1), [*words, str(tmp_path / str(holds))]) == 0
        assert raw(tmp_path / str(holds)).equals(part)
        assert "memory does not hold 7 students side by side" in capsys.readouterr().err
    monkeypatch.setattr(toys.Toy, "holds", 0)
    assert run_here(toys.study(views=("a",), seeds=1), [*words, str(tmp_path / "none")]) == 1
    rows = raw(tmp_path / "none")
    failed = set(rows.student[rows.status == "failed"])
    assert failed == set(part.student), "one alone that is too large is a hole, as before"


def test_a_halved_trial_goes_on_from_its_checkpoint(part, tmp_path, monkeypatch):
    """Interrupted when some of its students are done: what is left is another trial, whose rows readers take for those of the first."""
    monkeypatch.setattr(toys.Toy, "evaluations", 4)
    monkeypatch.setattr(toys.Toy, "holds", 3)
    steps = iter(range(1000))

    def interrupt():
        if next(steps) == 11:
            raise KeyboardInterrupt

    monkeypatch.setattr(toys.Toy, "before", staticmethod(interrupt))
    words = ["--address", "inline", "--num-cpus", "1", "--pack", "7", "--no-report", "--storage", str(tmp_path)]
    assert run_here(toys.study(views=("a",), seeds=1), words) == 130
    before = raw(tmp_path)
    assert 0 < before.student[before.status == "done"].nunique() < part.student.nunique()
    monkeypatch.setattr(toys.Toy, "before", staticmethod(lambda: None))
    assert (
        run_here(toys.study(views=("a",), seeds=1), ["--resume", "latest", "--no-report", "--storage", str(tmp_path)])
        == 0
    )
    read = records.read(records.find_run("toy", root=tmp_path)).sort_values(KEY, ignore_index=True)
    assert read[part.columns].equals(part)


# On two nodes


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """The toy takes a second for a step; the file that tells its steps."""
    slow = {"TOY_EVALUATIONS": "4", "TOY_SECONDS": "1", "TOY_LOG": str(tmp_path / "steps.log")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    for name, value in {**slow, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "7" * 64, "PYTHONPATH": path}.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "steps.log"


@pytest.fixture
def nodes(steps, tmp_path):
    """A cluster of a head without cores and two nodes with one each, all on this machine: address, tell (see tests/nodes.py)."""
    with (tmp_path / "nodes.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "nodes.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ
        )  # fmt: skip
    address = process.stdout.readline().strip()

    def tell(words):
        process.stdin.write(f"{words}\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == "done"

    tell("add 1")
    tell("add 1")
    yield SimpleNamespace(address=address, tell=tell)
    family = psutil.Process(process.pid).children(recursive=True)
    process.stdin.close()
    process.stdout.close()
    process.kill()
    process.wait()
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()


def driver(storage, *words, before=""):
    command = [sys.executable, "-c", before + DRIVER, "--no-report", "--storage", str(storage), *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=toys.hear)


def ended(process, code):
    said = process.communicate(timeout=200)[1]
    assert process.returncode == code and "Traceback" not in said, said
    return said


def when_there_are_rows(storage, number=2):
    """Waits until so many flushes are written."""
    fs, root = filesystem(str(storage))
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found = fs.get_file_info(pafs.FileSelector(f"{root}/toy", recursive=True, allow_not_found=True))
        if sum("/rows/" in f.path and f.path.endswith(".parquet") for f in found) >= number:
            return
        time.sleep(0.1)
    pytest.fail("no rows")


def told(fault, log, struck, storage, whole):
    """Prints what a fault has cost and checks that it is no student and no row."""
    rows = raw(storage)
    steps = pd.read_csv(log, sep=" ", names=["time", "student", "step", "process"])
    again = len(steps) - len(steps.drop_duplicates(["student", "step"]))
    before, after = (steps[when].groupby("student") for when in (steps.time <= struck, steps.time > struck))
    under_way = before.step.max()[lambda last: last < 4].index
    gap = (after.time.min()[under_way] - struck).max() if len(under_way) else steps.time.min() - struck
    lost = len(set(whole.student) - set(rows.student[rows.status == "done"]))
    cost = f"{lost} lost | 0 doubled | {again} of {len(whole)} steps of students repeated"
    print(f"\nfault | {fault} | {cost} | {len(under_way)} students under way, the last trained on after {gap:.0f} s")
    assert rows.equals(whole)


def test_one_that_is_lost_would_be_seen(whole, tmp_path):
    """The comparison of these tests fails where a row is missing, doubled or another."""
    assert not whole.iloc[1:].reset_index(drop=True).equals(whole)
    assert not whole.assign(val_accuracy=whole.val_accuracy + 1e-9).equals(whole)
    assert pd.concat([whole, whole.iloc[:1]]).duplicated(KEY).any()


ON_TWO = ("--num-cpus", "2", "--pack", "4", "--address")


@pytest.mark.faults
@pytest.mark.parametrize("where", ["folder", "s3"])
def test_a_killed_node_costs_nothing_but_time(whole, nodes, steps, tmp_path, s3, where):
    storage = s3.uri if where == "s3" else tmp_path / "runs"
    process = driver(storage, *ON_TWO, nodes.address)
    when_there_are_rows(storage)
    nodes.tell("kill")
    struck = time.time()
    said = ended(process, 0)
    assert "lost): 0 trials" in said and "moved     " in said
    told(f"node killed, {where}", steps, struck, storage, whole)


@pytest.mark.faults
def test_a_cluster_without_what_is_asked_or_with_another_token_is_one_line(nodes, tmp_path, monkeypatch):
    said = ended(driver(tmp_path / "runs", "--num-cpus", "3", "--wait", "0.05", "--address", nodes.address), 2)
    assert "--num-cpus 3: the cluster at" in said.splitlines()[-1] and "after 0.05 minutes" in said.splitlines()[-1]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "8" * 64)
    said = ended(driver(tmp_path / "runs", "--num-cpus", "1", "--address", nodes.address), 2)
    assert "is ~/.ray/auth_token here the one of its nodes?" in said.splitlines()[-1]
    assert not list((tmp_path / "runs").glob("*/*")), "what never began is no run"


@pytest.mark.faults
def test_a_node_that_comes_takes_its_share(whole, nodes, steps, tmp_path):
    process = driver(tmp_path / "runs", "--num-cpus", "3", "--pack", "4", "--address", nodes.address)
    assert any(line.startswith("waiting   for 3 cores") for line in process.stderr)
    nodes.tell("add 1")
    struck = time.time()
    said = ended(process, 0)
    trials = [int(number) for number in re.findall(r"(\d+) trials ended there", said)]
    assert sum(number > 0 for number in trials) == 3 and sum(trials) == 8, said
    told("node added", steps, struck, tmp_path / "runs", whole)


@pytest.mark.faults
def test_a_killed_driver_of_two_nodes_is_resumed(whole, nodes, steps, tmp_path, s3):
    process = driver(s3.uri, *ON_TWO, nodes.address)
    when_there_are_rows(s3.uri)
    process.kill()
    process.communicate()
    struck = time.time()
    time.sleep(3)
    ended(driver(s3.uri, "--resume", "latest", "--address", nodes.address), 0)
    told("driver killed, resumed, s3", steps, struck, s3.uri, whole)


@pytest.mark.faults
def test_a_killed_worker_of_two_nodes_is_replaced(whole, nodes, steps, tmp_path, s3):
    process = driver(s3.uri, *ON_TWO, nodes.address)
    when_there_are_rows(s3.uri)
    os.kill(int(steps.read_text().split()[3]), signal.SIGKILL)
    struck = time.time()
    ended(process, 0)
    told("worker killed, s3", steps, struck, s3.uri, whole)


@pytest.mark.faults
@pytest.mark.parametrize("where", ["folder", "s3"])
@pytest.mark.parametrize("engine", ["inline", "nodes"])
def test_a_driver_killed_while_it_writes_rows_leaves_none_by_half(whole, request, steps, tmp_path, s3, where, engine):
    storage = s3.uri if where == "s3" else tmp_path / "runs"
    address = "inline" if engine == "inline" else request.getfixturevalue("nodes").address
    there = ["--pack", "4", "--address", "inline"] if engine == "inline" else [*ON_TWO, address]
    process = driver(storage, *there, before=DIES_IN_A_FLUSH)
    assert process.wait(timeout=200) == -signal.SIGKILL
    process.stderr.close()
    struck = time.time()
    assert len(raw(storage)) > 0
    time.sleep(3)
    ended(driver(storage, "--resume", "latest", "--address", address), 0)
    told(f"driver killed in a flush, {engine}, {where}", steps, struck, storage, whole)


@pytest.mark.faults
def test_a_storage_that_is_away_for_a_while_is_waited_for(whole, nodes, steps, tmp_path, s3):
    process = driver(s3.uri, *ON_TWO, nodes.address)
    when_there_are_rows(s3.uri)
    s3.server.send_signal(signal.SIGSTOP)
    struck = time.time()
    time.sleep(60)
    s3.server.send_signal(signal.SIGCONT)
    ended(process, 0)
    told("storage silent for a minute", steps, struck, s3.uri, whole)


@pytest.mark.faults
def test_a_storage_that_stays_away_ends_the_run_which_is_resumed(whole, nodes, steps, tmp_path, s3, monkeypatch):
    monkeypatch.setenv("STILLROOM_PATIENCE", "5")
    process = driver(s3.uri, *ON_TWO, nodes.address)
    when_there_are_rows(s3.uri)
    s3.server.send_signal(signal.SIGSTOP)
    struck = time.time()
    said = process.communicate(timeout=250)[1]
    s3.server.send_signal(signal.SIGCONT)
    assert process.returncode == 1 and "Traceback" not in said and "cannot be written" in said and "--resume" in said, (
        said
    )
    ended(driver(s3.uri, "--resume", "latest", "--address", nodes.address), 0)
    told("storage silent until the run ends, resumed", steps, struck, s3.uri, whole)
