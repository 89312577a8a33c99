"""Which precision `--precision auto` comes to."""

import itertools

import pytest
import torch

from trainables.core import precision
from trainables.core.nets import graph
from trainables.core.precision import against_bf16, instructions, preferred, step_seconds


@pytest.mark.parametrize("ratios", list(itertools.product((0.5, 0.89, 0.91, 2.0), repeat=2)))
def test_bf16_is_preferred_where_every_network_is_faster_with_it_by_a_tenth(ratios):
    timed = [(name, {"fp32": 0.004, "bf16": 0.004 * r}) for name, r in zip(("one", "two"), ratios, strict=True)]
    value, why = preferred(timed)
    assert (value == "bf16") == all(r < 0.9 for r in ratios)
    assert why.startswith(f"{value}: one, ") and "; two, " in why and "ms of the processor" in why


@pytest.mark.parametrize(
    ("flags", "has"),
    [("flags : fpu avx512_bf16 avx512_vnni", True), ("flags : amx_tile amx_bf16", True), ("Features : fp asimd bf16", True),
     ("flags : fpu avx2 avx512f avx512_vnni", False), (None, False)],
)  # fmt: skip
def test_instructions_are_what_the_processor_says_and_none_where_it_says_nothing(flags, has, tmp_path, monkeypatch):
    if flags:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(precision, "Path", lambda path: tmp_path / "cpuinfo")
    assert instructions("cpu") == has


def test_nothing_is_timed_where_a_network_was_not_compared_or_the_processor_has_no_bf16(monkeypatch):
    (study, network), *_ = sorted(precision.EQUAL)
    assert "has no bf16" in against_bf16(study, [network], "cpu")
    monkeypatch.setattr(precision, "instructions", lambda device: True)
    assert not against_bf16(study, [network], "cpu")
    assert against_bf16(study, [network, "other"], "cpu").endswith("for other")
    assert against_bf16("another", [network], "cpu").endswith(f"for {network}")


@pytest.mark.parametrize(("network", "shape"), [("cnn_small_norm", (1, 28, 28)), ("mlp_30", (784,))])
def test_steps_are_timed_in_each_precision_and_no_random_number_is_taken(network, shape, monkeypatch):
    before = torch.get_rng_state()
    for limit in (0.0, 60.0):  # at least one step is timed
        monkeypatch.setattr(precision, "LIMIT", limit)
        seconds = step_seconds(graph(network, 10), shape, 8, [("fp32", 2), ("bf16", 2), ("fp32", 1)], "cpu")
        assert len(seconds) == 3 and min(seconds) > 0
    assert torch.equal(torch.get_rng_state(), before)
