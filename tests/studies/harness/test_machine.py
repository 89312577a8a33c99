"""The machine's faults end in one line with a remedy: Ray that does not start or dies, no locks, no home, no room for a socket."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from toys import Toy, hear, study

from studies.harness import machine
from studies.harness.command import run
from studies.harness.study import InputError

ROOT = Path(__file__).parents[3]
TINY = [
    *("studies/mnistm_kd.py", "--data", "sample", "--preset", "smoke", "--no-report", "--seeds", "1", "--target-labels", "500"),
    *("--temperature", "1", "--kd-weight", "0", "--teacher-steps", "8", "--batch-size", "32"),
]  # fmt: skip
LAST = ["--steps", "8"]


def start(storage, *words, before=(), **environment):
    """A run under way; its stderr holds stdout too."""
    env = {**os.environ, **environment}
    words = [*before, sys.executable, *TINY, "--storage", str(storage), *words]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=env, preexec_fn=hear
    )


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOENT])
def test_without_locks_a_run_goes_on_and_says_so(tmp_path, monkeypatch, capsys, number):
    def refuse(fd, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert run(study(), ["--address", "inline", "--no-report", "--storage", str(tmp_path)]) == 0
    assert "has no locks" in capsys.readouterr().err


def test_what_nohup_ignores_stays_ignored(tmp_path, monkeypatch):
    """Who closes the terminal under nohup means the run to go on; SIGINT is ignored in the background of a script."""
    from studies.harness import ray_adapter

    monkeypatch.setattr(Toy, "before", staticmethod(lambda: os.kill(os.getpid(), signal.SIGHUP)))
    ignored = (signal.SIGHUP, signal.SIGINT)
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    try:
        assert run(study(), ["--address", "inline", "--no-report", "--storage", str(tmp_path)]) == 0
        with ray_adapter.stoppable(ray_adapter.Recorder(None, None, searched=False)):
            assert {signal.getsignal(number) for number in ignored} == {signal.SIG_IGN}
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    finally:
        for number, handler in zip(ignored, before, strict=True):
            signal.signal(number, handler)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_ray_that_is_slow_is_tried_twice(monkeypatch, failures):
    from studies.harness import ray_adapter

    calls = []

    def init(address, **options):
        calls.append(address)
        if len(calls) <= failures:
            raise Exception("The current node timed out during startup. This could\nhappen")
        return "context"

    monkeypatch.setattr(ray_adapter.ray, "init", init)
    if failures == 1:
        assert ray_adapter._started("local", {}) == "context"
    else:
        with pytest.raises(
            InputError, match=r"timed out during startup\. This could; if .* busy, try again; or --address inline"
        ):
            ray_adapter._started("local", {})
    assert len(calls) == 2


@pytest.mark.faults
def test_a_socket_whose_path_is_too_long_is_one_line_and_no_run(tmp_path):
    long = tmp_path / ("x" * 110)
    long.mkdir()
    process = start(tmp_path / "runs", *LAST, TMPDIR=str(long))
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 2 and "set TMPDIR to a short one" in said.splitlines()[-1], said
    assert not list((tmp_path / "runs").glob("*/*"))


@pytest.mark.faults
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become a user whom the system does not know")
@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_a_user_without_a_home_runs_studies(tmp_path_factory, home):
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(folder, 54321, 54321)
    with_home = ["-u", "HOME"] if home is None else [f"HOME={home}"]
    before = [
        "setpriv",
        "--reuid",
        "54321",
        "--regid",
        "54321",
        "--clear-groups",
        "env",
        "-u",
        "STILLROOM_CACHE",
        *with_home,
    ]
    reads = subprocess.run([*before, sys.executable, "-c", "import torch"], capture_output=True, cwd=ROOT)
    if reads.returncode:
        pytest.skip("another user may not read this installation")
    process = start(folder, *LAST, before=before)
    said = process.communicate(timeout=180)[0]
    shutil.rmtree(folder)
    assert process.returncode == 0 and "Traceback" not in said, said


@pytest.mark.faults
def test_a_dead_raylet_is_one_line_and_noted_in_run_json(tmp_path):
    process = start(tmp_path, "--steps", "100000")
    assert any(line.startswith("preparing") for line in process.stdout)
    time.sleep(3)
    (raylet,) = [p for p in psutil.Process(process.pid).children() if p.name() == "raylet"]
    raylet.send_signal(signal.SIGKILL)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and len(said.splitlines()) <= 3, said
    assert "Ray died" in said.splitlines()[-1] and "--resume" in said.splitlines()[-1]
    assert '"status": "failed"' in next(tmp_path.glob("*/*/run.json")).read_text()


@pytest.mark.faults
def test_whoever_has_no_token_is_refused_and_nothing_is_left_behind(tmp_path):
    """Ray's servers listen on every interface."""
    process = start(tmp_path / "runs", "--steps", "100000", HOME=str(tmp_path), TMPDIR="/tmp")
    assert any(line.startswith("preparing") for line in process.stdout)
    family = psutil.Process(process.pid).children()
    (gcs,) = [p for p in family if p.name() == "gcs_server"]
    port = next(c.laddr.port for c in gcs.net_connections() if c.status == psutil.CONN_LISTEN)
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600
    (session,) = Path("/tmp/ray").glob(f"session_*_{process.pid}")
    code = f"import ray; ray.init('127.0.0.1:{port}'); print('joined')"
    stranger = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=stranger, timeout=120)
    assert other.returncode and "joined" not in other.stdout and "auth" in other.stderr.lower(), other.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130 and not session.exists()


def test_a_file_that_git_does_not_know_is_a_change(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "studies" / "harness").mkdir(parents=True)
    (tmp_path / "studies" / "known.py").write_text("")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "studies" / "harness" / "machine.py"))
    clean = machine.commit()
    (tmp_path / "results").write_text("no code")
    assert machine.commit() == clean and clean.isalnum()
    (tmp_path / "studies" / "new.py").write_text("")
    assert machine.commit() == f"{clean}+changes"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_process_takes_the_threads_it_is_given_whatever_the_environment_says(threads):
    """Tests run with OMP_NUM_THREADS=1, users without."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    code = f"from studies.harness.engine import prepare_process; prepare_process({threads}); import torch; print(torch.get_num_threads())"
    for env in (environment, {**environment, "OMP_NUM_THREADS": "7"}):
        said = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
        assert said.stdout.split() == [str(threads)]
