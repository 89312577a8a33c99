"""Tests keep their cache to themselves and use no network."""

import os

import pytest


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
