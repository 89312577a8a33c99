"""What the last code cell of a notebook starts: it ends with the notebook, and takes it for no terminal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from analysis.core import anew

ROOT = Path(__file__).parents[3]
STUDY = "import os, sys, time, pathlib\npathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\ntime.sleep(600)"
NOTEBOOK = """import sys
from pathlib import Path
from analysis.core import anew
place, study, pid = sys.argv[1:]
anew._ended([sys.executable, "-c", anew.WATCHED, place, study, pid], Path.cwd())"""


@pytest.fixture
def training(tmp_path):
    """A process in the place of a kernel, a study that it has started and that trains for long, and the folder of its rows."""
    place, study, pid = tmp_path / "place", tmp_path / "study.py", tmp_path / "pid"
    place.mkdir()
    study.write_text(STUDY)
    command = [sys.executable, "-c", NOTEBOOK, place, study, pid]
    kernel = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (pid.is_file() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = psutil.Process(int(pid.read_text()))
    yield kernel, child, place
    for process in (kernel, child):
        if process.pid and psutil.pid_exists(process.pid):
            process.kill()
    kernel.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_study_ends_with_the_notebook_however_that_ends(training, number):
    kernel, child, place = training
    assert child.is_running()
    kernel.send_signal(number)
    kernel.wait(timeout=30)
    gone, alive = psutil.wait_procs([child], timeout=30)
    assert gone and not alive
    assert number == signal.SIGINT or not place.exists(), (
        "what it wrote goes with it, unless the notebook is there to do that"
    )


def test_no_study_takes_a_notebook_for_a_terminal(tmp_path, monkeypatch, capfd):
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"):
        monkeypatch.setenv(name, "1")
    study = tmp_path / "study.py"
    study.write_text(
        "from rich.console import Console\nconsole = Console(stderr=True)\nconsole.print('[red]a word')\nprint(console.is_terminal)"
    )
    assert anew._ended([sys.executable, "-c", anew.WATCHED, str(tmp_path / "place"), str(study)], ROOT) == 0
    said = capfd.readouterr()
    assert said.out == "False\n" and said.err == "a word\n"


@pytest.mark.parametrize(
    ("ours", "new", "dataset", "wrong"),
    [
        ({"data": "own", "data_digest": "a"}, {"data": "own", "data_digest": "a"}, None, ""),
        ({"data": "own", "data_digest": "a"}, {"data": "own", "data_digest": "b"}, None, "their digest is another"),
        ({"data": "own", "data_digest": "a"}, {"data": "sample"}, None, "trained on data that are sample"),
        ({"data": "own", "data_digest": "a"}, {"data": "full"}, "images_32", "trained on data that are full"),
        ({"data": "own", "data_digest": "a"}, {"data": "full"}, "cifar10", ""),
        ({"data": "own"}, {"data": "own", "data_digest": "b"}, None, ""),  # a run of an older version has no digest
        ({"data": "full"}, {"data": "sample"}, "cifar10", "trained on data that are sample"),
        ({"data": "sample"}, {"data": "sample"}, None, ""),
    ],
)
def test_other_data_than_the_runs_are_named(ours, new, dataset, wrong):
    student = pd.Series({"dataset": dataset} if dataset else {"seed": 0})
    found = anew._other_data(anew._data(ours, student), new)
    assert wrong in found if wrong else found == ""
