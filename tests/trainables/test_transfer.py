"""Heads on cached features are the frozen network's heads; what freezes, thaws and resumes does so as it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import students_of

from analysis.core import records
from studies.cifar10_transfer import STUDY
from studies.harness.command import run
from studies.harness.plan import cells_of, packs_of
from trainables.core.batches import batch_index
from trainables.core.data import DataError, load
from trainables.core.losses import cross_entropy
from trainables.core.network import Network
from trainables.core.pretrained import build, resized, weights_file
from trainables.core.splits import Splits
from trainables.transfer import ORDER, Config, Transfer

RNG = np.random.default_rng(0)
TINY = {
    f"{part}_{what}": RNG.integers(256 if what == "images" else 10, size=(count, *shape), dtype=np.uint8)
    for part, count in (("train", 240), ("test", 40))
    for what, shape in (("images", (3, 32, 32)), ("labels", ()))
}
DATA = {"cifar10": TINY}
BASE = Config(
    "airbench_small", "random", "head", 32, "60", "none", 1, 1, "sgd", "fp32", 2, 20, 0.0, lr=0.01, weight_decay=0.1,
    head_start="uniform", seed=0,
)  # fmt: skip


def pack_of(*configs):
    answers, _ = Transfer.prepare(Transfer.artifact(configs[0]), DATA, "cpu")
    return Transfer(configs, DATA, answers, "cpu").pack


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_head_on_cached_features_takes_the_steps_of_the_frozen_network(optimiser):
    config = replace(BASE, optimiser=optimiser)
    pack = pack_of(config, replace(config, lr=0.1))
    pack.mean, pack.deviation = torch.tensor(0.0), torch.tensor(1.0)  # the reference does not standardise
    model = build(config.network, 10, "random", 0, pack.sets.images[pack.sets.train])
    network = Network(model, 32, optimiser, config.lr, config.weight_decay)
    network.thaw(1)
    with torch.no_grad():
        model.head.weight.copy_(pack.students.parameters[0][0].T)
        model.head.bias.copy_(pack.students.parameters[1][0, 0])
    for step in range(3):
        pack.update(pack.loss(step), rate=0.5)
        index = batch_index(pack.pool, config.batch_size, step, config.seed, stream=ORDER)
        x = resized(torch.from_numpy(TINY["train_images"])[index], 32)
        network.step(cross_entropy(network.logits(x), pack.sets.labels[index]), 0.5)
    torch.testing.assert_close(pack.students.parameters[0][0].T, model.head.weight, rtol=0, atol=2e-4)
    torch.testing.assert_close(pack.students.parameters[1][0, 0], model.head.bias, rtol=0, atol=2e-4)


def test_every_image_is_mirrored_in_one_of_two_passes():
    pack = pack_of(replace(BASE, unfreezing="all", augmentation="flip"))
    images = torch.from_numpy(TINY["train_images"])
    seen = []
    for turn in range(4):
        for step in range(turn * pack.steps_per_pass, (turn + 1) * pack.steps_per_pass):
            index = batch_index(pack.pool, BASE.batch_size, step, BASE.seed, stream=ORDER)
            for i, x in zip(index.tolist(), pack.shown(index, step), strict=True):
                assert torch.equal(x, images[i]) or torch.equal(x, images[i].flip(-1))
                seen.append((turn, i, torch.equal(x, images[i])))
    straight = [{i for t, i, as_it_is in seen if t == turn and as_it_is} for turn in range(4)]
    assert straight[0] == straight[2] and straight[1] == straight[3]
    assert straight[0] | straight[1] == set(pack.pool.tolist()) and not straight[0] & straight[1]
    assert 15 < len(straight[0]) < 45  # of 60


def test_images_are_moved_by_up_to_a_sixteenth():
    """Marked on a black image, the middle shows how far: 2 of 32 pixels either way, all of them equally likely."""
    marked = np.zeros((240, 3, 32, 32), np.uint8)
    marked[:, :, 15, 15] = 255
    data = {"cifar10": {**TINY, "train_images": marked}}
    config = replace(BASE, network="mobilenet_v3_small", unfreezing="all", augmentation="flip_shift", batch_size=60)
    pack = Transfer([config], data, {}, "cpu").pack
    found = torch.cat([pack.shown(pack.pool, step)[:, 0].nonzero() for step in range(20)])
    rows, columns = found[:, 1] - 15, found[:, 2] - 15  # mirrored, the mark is in column 16
    assert rows.unique().tolist() == [-2, -1, 0, 1, 2] and columns.unique().tolist() == [-2, -1, 0, 1, 2, 3]


def test_two_test_views_average_the_logits_of_an_image_and_its_mirror_image():
    pack = pack_of(replace(BASE, unfreezing="all", test_views=2))
    x, y = pack.sets.test_images, pack.sets.test_labels
    while not pack.finished:
        row = pack.step()[0]
    z = sum(pack.students.answers(view)[0] for view in (x, x.flip(-1)))
    assert row["test_accuracy"] == pytest.approx((z.argmax(-1) == y).float().mean().item())
    assert torch.equal(pack.students.accuracy(x, y, True), pack.students.accuracy(x.flip(-1), y, True))


@pytest.mark.parametrize("unfreezing", ["head", "all"])
def test_label_smoothing_reaches_the_loss(unfreezing):
    config = replace(BASE, unfreezing=unfreezing)
    plain, smooth = pack_of(config), pack_of(replace(config, label_smoothing=0.5))
    before = plain.loss(0)
    index = batch_index(plain.pool, config.batch_size, 0, config.seed, stream=ORDER)
    seen = plain.standardised(plain.views[0, index]) if unfreezing == "head" else resized(plain.shown(index, 0), 32)
    z, y = plain.students.logits(seen), plain.sets.labels[index]
    torch.testing.assert_close(smooth.loss(0) - before, cross_entropy(z, y, 0.5) - cross_entropy(z, y))


def test_features_are_made_once_and_views_are_of_the_same_image(monkeypatch):
    artifact = Transfer.artifact(replace(BASE, network="mobilenet_v3_small", augmentation="flip", views=2))
    answers, row = Transfer.prepare(artifact, DATA, "cpu")
    assert answers["train"].shape == (2, 240, 1024) and row["cached"] == 1
    monkeypatch.setattr("trainables.transfer.features", lambda *_: pytest.fail("made again"))
    again, _ = Transfer.prepare(artifact, DATA, "cpu")
    assert np.array_equal(answers["train"], again["train"])
    mirrored = {"cifar10": {**TINY, "train_images": TINY["train_images"][..., ::-1].copy()}}
    monkeypatch.undo()
    other, _ = Transfer.prepare(artifact, mirrored, "cpu")
    assert np.array_equal(other["train"], answers["train"][::-1])


@pytest.mark.parametrize("unfreezing", ["head", "last_block", "gradual"])
def test_a_resumed_pack_is_the_same_pack(unfreezing):
    config = replace(BASE, unfreezing=unfreezing, passes=4, augmentation="flip_shift", lr=1e-3, optimiser="adamw")
    whole, first, second = pack_of(config), pack_of(config), pack_of(config)
    whole.step(), first.step()
    second.load_state_dict(first.state_dict())
    while not whole.finished:
        a, b = whole.step()[0], second.step()[0]
    assert second.finished
    clocks = ("seconds", "pass_seconds")
    assert {k: v for k, v in a.items() if k not in clocks} == {k: v for k, v in b.items() if k not in clocks}
    assert 0 < a["pass_seconds"] < a["seconds"]


def test_gradual_training_ends_with_all_trained_and_last_block_with_two_stages():
    counts = {}
    for unfreezing in ("last_block", "gradual", "all"):
        pack = pack_of(replace(BASE, unfreezing=unfreezing, passes=4))
        while not pack.finished:
            row = pack.step()[0]
        counts[unfreezing] = row["trained_parameters"]
        assert row["cached"] == 0 and row["status"] == "done" and 0 <= row["test_accuracy"] <= 1
    assert counts["last_block"] < counts["gradual"] == counts["all"]


def test_a_head_that_starts_from_zero_is_unsure_of_everything():
    pack = pack_of(replace(BASE, head_start="zero"), BASE)
    loss = pack.loss(0)
    assert loss[0].item() == pytest.approx(np.log(10), abs=1e-5) and loss[1].item() != pytest.approx(loss[0].item())


def test_networks_train_alone_and_heads_together():
    with pytest.raises(ValueError, match="packs of one"):
        pack_of(replace(BASE, unfreezing="all"), replace(BASE, unfreezing="all", lr=1.0))
    cells = cells_of(STUDY, STUDY.chosen("smoke", "full", {"lr": (0.1, 0.2)}))
    sizes = {c[0]["unfreezing"]: len(c) for c in packs_of(STUDY, students_of(STUDY, cells).values(), 8)}
    assert sizes["all"] == 1 and sizes["head"] > 1


def test_configs_that_make_no_sense_are_refused():
    for wrong in (
        {"network": "resnet10"},
        {"unfreezing": "some"},
        {"train_size": "5"},
        {"resolution": 16},
        {"lr": 0.0},
        {"label_smoothing": 1.0},
        {"test_views": 2},  # of a head
        {"test_views": 3, "unfreezing": "all"},
    ):
        with pytest.raises(ValueError):
            replace(BASE, **wrong)


def test_what_is_the_same_mathematics_is_one_student():
    config = {**cells_of(STUDY, STUDY.grids("course", "full", {})[0])[0].config, "views": 3}
    assert STUDY.canonical({**config, "unfreezing": "all"})["views"] == 1
    assert STUDY.canonical({**config, "unfreezing": "head", "test_views": 2})["test_views"] == 1
    assert STUDY.canonical({**config, "unfreezing": "head", "augmentation": "flip"})["views"] == 2
    assert STUDY.canonical({**config, "train_size": "50000"})["train_size"] == "all"


def test_absent_weights_end_a_run_before_any_work(tmp_path, capsys, monkeypatch):
    with pytest.raises(DataError):
        Transfer.require([replace(BASE, weights=str(tmp_path / "none.pt"))])
    words = ["--preset", "smoke", "--data", "sample", "--address", "inline", "--storage", str(tmp_path / "results")]
    assert run(STUDY, [*words, "--weights", str(tmp_path / "none.pt")]) == 2
    assert run(STUDY, [*words, "--weights", "imagenet", "--network", "airbench"]) == 2
    assert run(STUDY, [*words, "--weights", "imagenet", "--network", "airbench", "--dry-run"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert any("none.pt: there is no such file" in line for line in said)
    assert sum("airbench has no ImageNet weights" in line for line in said) == 2
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert run(STUDY, [*words, "--weights", "imagenet", "--network", "resnet18", "--dry-run"]) == 0
    assert "a run must download them: the ImageNet weights of resnet18" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_kept_student_is_the_network_that_was_measured_and_a_source_for_the_next_run(tmp_path, monkeypatch, capsys):
    small = ["--preset", "smoke", "--data", "sample", "--address", "inline", "--no-report", "--seeds", "1"]
    words = [*small, "--network", "airbench_small", "--storage", str(tmp_path), "--unfreezing"]
    assert run(STUDY, [*words, "head", "all", "--keep-weights"]) == 0
    (folder,) = (tmp_path / "cifar10_transfer").iterdir()
    rows = records.final(records.read(folder))
    monkeypatch.setenv("STILLROOM_RESULTS", str(tmp_path))
    test = Splits(load("cifar10", "sample", None), torch.device("cpu"))
    for row in rows.itertuples():
        state = torch.load(weights_file(row.network, f"run:{folder.name}/{row.student}"))
        model = build(row.network, 10, "random", 1)
        model.load_state_dict(state)
        with torch.no_grad():
            right = model.eval()(resized(test.test_images, row.resolution)).argmax(1) == test.test_labels
        assert right.float().mean().item() == pytest.approx(
            row.test_accuracy, abs=2.1 / len(right)
        )  # features are in fp16
    assert run(STUDY, [*words, "all", "--weights", f"run:{folder.name}/{rows.student.iloc[0]}"]) == 0
    assert run(STUDY, [*words, "all", "--weights", f"run:{folder.name}/none"]) == 2
    assert f"{folder.name}/weights/*_none.pt" in capsys.readouterr().err
    named = {path.name for path in (folder / "weights").iterdir()}
    of = "unfreezing={r.unfreezing}_lr={r.lr:g}_weight_decay={r.weight_decay:g}_seed=0_{r.student}.pt"
    assert named == {of.format(r=row) for row in rows.itertuples()}


def test_a_source_of_this_project_trains_on(tmp_path):
    torch.save(build("airbench_small", 10, "random", 5).state_dict(), tmp_path / "source.pt")
    pack = pack_of(replace(BASE, weights=str(tmp_path / "source.pt"), unfreezing="all"))
    source = build("airbench_small", 10, "random", 5)
    assert torch.equal(pack.students.model.stage_4[0].weight, source.stage_4[0].weight)
