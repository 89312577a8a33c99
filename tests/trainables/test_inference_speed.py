"""Techniques beside each other: the same answers, each in turn; and what is said where this machine lacks something."""

import importlib.util
import itertools
import json
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from trainables import inference_speed as speed
from trainables.core.files import DataError
from trainables.core.pretrained import IMAGENET, Normalised, build
from trainables.inference_speed import BASELINE, TECHNIQUES, Config, check, networks, pack, runtimes
from trainables.inference_speed.pack import InferenceSpeed, agreement, measured
from trainables.inference_speed.runtimes import Task
from trainables.inference_speed.server import Failed, Server

SIDE = 32
ROUNDED = {
    "bf16": 0.05, "fp16": 0.01, "openvino_default": 0.05, "onnx_int8": 0.25, "openvino_int8": 0.25, "fx_int8": 0.25, "dynamic_int8": 0.1,
    "onnx_dynamic_int8": 0.25,
}  # fmt: skip
"""Of techniques that round: how far a logit may be off, over the largest; what is not named here is exact to 1e-4."""


def config(**other):
    values = {
        "network": "mobilenet_v3_small", "weights": "random", "resolution": SIDE, "train_size": 20, "val_size": 10, "test_size": 10, "passes": 1, "kept": 0.5,
        "threads": 1, "rounds": 2, "technique": "eager", "batch_size": 2, "seed": 0,
    }  # fmt: skip
    return Config(**{**values, **other})


def absent(name):
    return [p for p in TECHNIQUES[name].needs if importlib.util.find_spec(p) is None]


class Block(nn.Module):
    """Convolutions that share their channels with what they are added to."""

    def __init__(self):
        super().__init__()
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.flat = nn.Conv2d(16, 16, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()

    def forward(self, x):
        return x + self.norm2(self.flat(self.relu(self.norm(self.deep(x)))))


def tiny(network="", classes=10, weights="", seed=0, images=None):
    """A network in the stages of `core.pretrained`, small enough to be compiled in a test."""
    torch.manual_seed(seed)
    stem = nn.Sequential(Normalised(*IMAGENET), nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    top = nn.Sequential(Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential()
    for name, part in (("stage_1", stem), ("stage_2", top), ("head", nn.Linear(16, classes))):
        model.add_module(name, part)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setattr(networks, "build", tiny)
    monkeypatch.setattr(pack, "build", tiny)
    return tiny()


def images(n=6, side=SIDE, seed=1):
    return np.random.default_rng(seed).random((n, 3, side, side), dtype=np.float32)


def task(name, folder, model, **other):
    np.savez(folder / "state.npz", **networks.state_of(model))
    np.save(folder / "calibration.npy", images(32, seed=2))
    return Task(
        **{
            "technique": name,
            "network": "tiny",
            "resolution": SIDE,
            "batch_sizes": (6,),
            "threads": 1,
            "device": "cpu",
            "folder": str(folder),
            **other,
        }
    )


# The answers


OF_A_CPU = [
    pytest.param(name, marks=[pytest.mark.faults] if t.compiles else [])  # a compiler takes its time
    for name, t in TECHNIQUES.items()
    if not t.gpu and t.network == "whole"
]


@pytest.mark.parametrize("name", OF_A_CPU)
def test_a_technique_answers_as_pytorch_does(name, tmp_path, own):
    if lacking := absent(name):
        pytest.skip(f"{name} needs {', '.join(lacking)}")
    if TECHNIQUES[name].compiles and speed.compiler() is None:
        pytest.skip(f"{name} needs a C++ compiler")
    if name in ("fx_int8", "dynamic_int8") and "onednn" not in torch.backends.quantized.supported_engines:
        pytest.skip(f"{name} needs a quantised engine of torch")
    t, x = task(name, tmp_path, own), images()
    with torch.no_grad():
        expected = own(torch.from_numpy(x)).numpy()
    with runtimes.quiet():
        if first := TECHNIQUES[name].made_from:
            runtimes.make(task(first, tmp_path, own))
        if TECHNIQUES[name].made:
            assert all((tmp_path / file).exists() for file in runtimes.make(t))
        run = runtimes.load(t)
        got, one = run(x), run(x[:1]) if name != "compile" else run(x)[:1]
    apart = np.abs(got - expected).max() / np.abs(expected).max()
    assert apart < ROUNDED.get(name, 1e-4), apart
    assert got.dtype == np.float32 and np.abs(one - got[:1]).max() < max(ROUNDED.get(name, 0), 1e-2) * np.abs(got).max()
    assert runtimes.size(t) > 1000


@pytest.mark.parametrize("dots, most", [(False, 64), (True, 128)])
def test_where_sums_of_products_may_overflow_weights_have_seven_bits(dots, most, tmp_path, own, monkeypatch):
    if lacking := absent("onnx_int8"):
        pytest.skip(f"needs {', '.join(lacking)}")
    import onnx

    monkeypatch.setattr(runtimes, "dot_products", lambda: dots)
    with runtimes.quiet():
        runtimes.make(task("onnx", tmp_path, own))
        runtimes.make(task("onnx_int8", tmp_path, own))
    held = [onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "model.onnx").graph.initializer]
    largest = max(int(np.abs(a.astype(int)).max()) for a in held if a.dtype == np.int8)
    assert most / 2 < largest <= most


# The networks


def test_fusing_leaves_no_batch_normalisation_and_the_same_function():
    model = tiny()
    with torch.no_grad():
        fused, x = networks.fused(model), torch.from_numpy(images())
        assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
        assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 3
        assert (fused(x) - model(x)).abs().max() < 1e-5


def test_padding_is_settled_as_it_was_worked_out():
    pytest.importorskip("efficientnet_lite_pytorch")
    model = build("efficientnet_lite0", 10, "random", 0)
    with torch.no_grad():
        plain, x = networks.settled(model, 48), torch.from_numpy(images(2, 48))
        assert not any(type(m).__name__ == "Conv2dDynamicSamePadding" for m in plain.modules())
        assert (plain(x) - model(x)).abs().max() < 1e-4
        assert (networks.fused(plain)(x) - model(x)).abs().max() < 1e-4


@pytest.mark.parametrize("network", ["mobilenet_v3_small", "resnet18", "airbench_small"])
def test_a_state_is_the_network_again(network):
    model, x = build(network, 7, "random", 3), torch.from_numpy(images())
    with torch.no_grad():
        assert torch.equal(
            networks.rebuilt(network, networks.state_of(model))(x), model.to(memory_format=torch.contiguous_format)(x)
        )


@pytest.mark.parametrize("kept", [0.5, 0.75])
def test_pruning_removes_channels_and_its_state_is_the_pruned_network_again(kept, own, monkeypatch):
    pytest.importorskip("torch_pruning")
    monkeypatch.setattr(networks, "ROUND_TO", 4)
    networks._cut(own, kept, SIDE)
    again = networks.rebuilt("", networks.state_of(own))
    assert again[1][0].deep.groups == again[1][0].deep.out_channels == again[0][1].out_channels == 16 * kept
    assert (
        sum(p.numel() for p in again.parameters())
        == sum(p.numel() for p in own.parameters())
        < sum(p.numel() for p in tiny().parameters())
    )
    x = torch.from_numpy(images())
    with torch.no_grad():
        assert torch.allclose(again(x), own(x), atol=1e-6)


def test_what_is_trained_learns(own):
    """Bright images from dark ones, which a few steps tell apart; the small network, too, from the answers alone."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 2, 128))
    shown = (torch.from_numpy(rng.integers(0, 80, (128, 3, 32, 32))) + 150 * labels[:, None, None, None]).byte()

    def right(model):
        return float((networks.answered(model, shown, SIDE).argmax(1) == labels).float().mean())

    whole = networks.fine_tuned("", "random", SIDE, 100, shown, labels, 10)
    assert right(networks.rebuilt("", whole)) > 0.9 > right(tiny())
    cut = (
        networks.pruned("", whole, 0.5, SIDE, 30, shown, labels) if importlib.util.find_spec("torch_pruning") else whole
    )
    assert right(networks.rebuilt("", cut)) > 0.9


# Turns


class Fake:
    """A process that takes no time and remembers who asked."""

    asked: ClassVar[list] = []

    def __init__(self, task):
        self.task = task

    def ask(self, what, **how):
        Fake.asked.append((self.task.technique, how.get("batch")))
        speedup = {"eager": 1.0, "fused": 2.0}.get(self.task.technique, 4.0)
        return {"ms": [8.0 / speedup] * 3, "cpu_ms": 1.0, "cpu_seconds": 0.0, "memory_mib": 10.0}

    def close(self):
        pass


def faked(configs):
    students = InferenceSpeed(configs, {}, {}, "cpu")
    students.servers = {name: Fake(Task(name, "tiny", SIDE, (2,), 1, "cpu", "")) for name in students.techniques}
    students.about = {name: {"test_accuracy": 0.5} for name in students.techniques}
    Fake.asked = []
    return students


def test_techniques_take_turns_and_each_is_asked_once_a_round():
    names = ["fused", "jit", "bf16", "channels_last"]
    students = faked([config(technique=n, batch_size=b, rounds=6, seed=1) for n in names for b in (2, 4)])
    orders = []
    while not students.finished:
        before = len(Fake.asked)
        rows = students.step()
        turns = Fake.asked[before:]
        assert sorted(turns) == sorted(itertools.product([BASELINE, *names], (2, 4)))
        orders.append(tuple(turns))
    assert len(set(orders)) > 3  # no technique always follows the same one
    assert [row["speedup"] for row in rows] == [2.0, 2.0, *[4.0] * 6] and rows[0]["calls"] == 18
    assert {row["status"] for row in rows} == {"done"}


def test_a_technique_that_fails_is_a_hole_and_the_others_go_on():
    students = faked([config(technique=n, seed=1) for n in ("fused", "jit")])

    def dies(what, **how):
        raise Failed("its process ended with code -9: it said nothing")

    students.servers["jit"].ask = dies
    fused, jit = students.step()
    assert fused["status"] == "running" and jit["status"] == "failed" and "code -9" in jit["error"]
    fused, jit = students.step()
    assert fused["status"] == "done" and fused["speedup"] == 2 and jit["status"] == "failed"


def test_a_resumed_pack_has_the_turns_that_were_taken(monkeypatch):
    whole, half = (faked([config(technique="fused", rounds=4, seed=3)]) for _ in range(2))
    rows = [whole.step()[0] for _ in range(4)]
    half.step(), half.step()
    state = json.loads(json.dumps(half.state_dict()))
    rest = faked([config(technique="fused", rounds=4, seed=3)])
    rest.load_state_dict(state)
    rest.step()
    (last,) = rest.step()
    assert rest.finished and {k: last[k] for k in ("calls", "speedup", "latency_ms")} == {
        k: rows[-1][k] for k in ("calls", "speedup", "latency_ms")
    }


def test_a_ratio_is_of_turns_in_the_same_round():
    """A round in which everything was ten times slower leaves the ratio as it is."""

    def turns(*ms):
        return [{"ms": [m, m, m], "cpu_ms": m, "memory_mib": m, "wall": 1.0, "others": 0.0} for m in ms]

    found = measured(turns(1, 10, 1), turns(3, 30, 3), batch=2)
    assert found["speedup"] == pytest.approx(3) and found["latency_ms"] == 1 and found["images_per_second"] == 2000
    assert found["memory_mib"] == 10 and found["calls"] == 9


def test_agreement_counts_answers_and_nan_agrees_with_nothing():
    z = np.eye(4, dtype=np.float32)
    other, labels = z.copy(), np.array([0, 1, 2, 0])
    other[2] = [9, 0, 0, 0]
    found = agreement(other, z, labels, 2)
    assert found["val_accuracy"] == found["val_agreement"] == 1
    assert found["test_accuracy"] == 0 and found["test_agreement"] == 0.5 and found["max_difference"] == 9
    assert agreement(np.full((4, 4), np.nan, np.float32), z, labels, 2)["test_agreement"] == 0


def test_a_process_answers_says_what_went_wrong_and_is_asked_again(tmp_path, monkeypatch):
    t = task("eager", tmp_path, build("airbench_small", 10, "random", 0), network="airbench_small", batch_sizes=(2,))
    np.save(tmp_path / "images.npy", images())
    server = Server(t)
    try:
        with pytest.raises(Failed, match="No such file"):
            server.ask("load", images=str(tmp_path / "nothing.npy"))
        assert server.ask("load", images=str(tmp_path / "images.npy"))["bytes"] > 1000
        turn = server.ask("turn", batch=2, seconds=0.01)
        assert turn["ms"] and turn["memory_mib"] > 10 and turn["cpu_ms"] > 0
        server.ask("answers", batch=4)
        assert np.load(tmp_path / "answers.npy").shape == (6, 10)
        lines = server.ask("profile", batch=2)
        assert any("conv" in line["operator"] for line in lines["operators"]) and lines["trace"]
        server.process.kill()
        with pytest.raises(Failed, match="ended with code -9"):
            server.ask("turn", batch=2, seconds=0.01)
    finally:
        server.close()
    assert server.process.poll() is not None


# Refusals


def test_without_a_gpu_a_line_says_so():
    with pytest.raises(
        DataError, match=r"onnx_cuda and tensorrt need an NVIDIA GPU, and torch sees none here; or --technique eager$"
    ):
        check([config(technique=n) for n in ("eager", "onnx_cuda", "tensorrt")], gpu=False)


def test_without_an_extra_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        DataError,
        match=r"onnx needs an extra \(onnx, onnxscript, onnxruntime\): pip install 'stillroom\[inference\]'; or --technique eager$",
    ):
        check([config(technique=n) for n in ("eager", "onnx")], gpu=False)
    check([config(technique=n) for n in ("eager", "channels_last", "fused", "jit", "bf16")], gpu=False)


def test_tensorrt_alone_is_installed_apart(monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorrt" else there("sys") or sys)
    with pytest.raises(DataError, match="pip install tensorrt"):
        check([config(technique="tensorrt")], gpu=True)


def test_without_a_compiler_a_line_says_so(monkeypatch):
    monkeypatch.setattr(speed, "compiler", lambda: None)
    with pytest.raises(DataError, match=r"compile and aot need a C\+\+ compiler, .*; or --technique fused$"):
        check([config(technique=n) for n in ("compile", "aot", "fused")], gpu=False)


def test_more_threads_than_cores_are_refused():
    with pytest.raises(DataError, match=r"threads 4096: this machine has \d+"):
        check([config(threads=4096)], gpu=False)


def test_techniques_of_cpus_are_refused_on_a_gpu_and_those_of_gpus_without():
    with pytest.raises(ValueError, match="onnx is a technique of CPUs"):
        InferenceSpeed([config(technique="onnx")], {}, {}, "cuda")
    with pytest.raises(ValueError, match="tensorrt is a technique of GPUs: give --num-gpus 1"):
        InferenceSpeed([config(technique="tensorrt")], {}, {}, "cpu")


@pytest.mark.parametrize("values, words", [({"kept": 0.0}, r"kept must be in \(0, 1\]"), ({"technique": "magic"}, "technique must be one of eager"), ({"threads": 0}, "threads must be above 0")])  # fmt: skip
def test_what_makes_no_sense_is_said_in_a_line(values, words):
    with pytest.raises(ValueError, match=words):
        config(**values)
