"""Tests keep their cache to themselves and use no network."""

import os
import signal

import pytest


def pytest_configure(config):
    """Tests that interrupt need what they start to hear it, also where the tests run in the background or under nohup."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    os.environ["STILLROOM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("full") and not os.environ.get("STILLROOM_TEST_DATA"):
            item.add_marker(pytest.mark.skip(reason="STILLROOM_TEST_DATA names no folder with the full data"))
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
