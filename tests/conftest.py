"""Tests keep their cache to themselves and use no network."""

import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

# Two test processes on two cores, each with two threads of OpenMP that wait by spinning, take seven times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config):
    """Tests that interrupt need what they start to hear it, also where the tests run in the background or under nohup."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    os.environ["STILLROOM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def without_bf16(monkeypatch):
    """`--precision auto` is fp32 in every test, whatever processor it runs on; what a test starts names a precision, as smoke does."""
    monkeypatch.setattr("trainables.core.precision.instructions", lambda device: False)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("full") and not os.environ.get("STILLROOM_TEST_DATA"):
            item.add_marker(pytest.mark.skip(reason="STILLROOM_TEST_DATA names no folder with the full data"))
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def s3(request, monkeypatch, tmp_path):
    """An S3 on this machine with one bucket, which the environment names; at another address, if it is given one: uri, bucket, fs (pyarrow), and the server, a process."""
    pytest.importorskip("moto", reason="moto is not installed")
    host = getattr(request, "param", "127.0.0.1")
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    with (tmp_path / "s3.log").open("w") as log:
        command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    known = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
    for name, value in {**known, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    import pyarrow.fs as pafs

    fs = pafs.S3FileSystem(endpoint_override=f"http://{host}:{port}", allow_bucket_creation=True)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                break
        time.sleep(0.2)
    fs.create_dir("students")
    yield SimpleNamespace(uri="s3://students/results", bucket="students", fs=fs, port=port, server=server)
    server.kill()
    server.wait()
