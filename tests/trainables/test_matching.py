from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables.core import data, distilled
from trainables.core.augment import differentiably
from trainables.core.distilled import CHOSEN, EFFORTS, Recipe, centres, recipe, standardised
from trainables.core.splits import Splits
from trainables.matching import Config, Matching

TRAINABLES = (Matching,)
PLAIN = Config(
    dataset="mnist", method="mtt", per_class=1, network="perceptron_32", effort="smoke", learner="perceptron_32", networks=3, steps=6,
    lr=0.03, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def datasets():
    return {"mnist": data.load("mnist", "sample")}


def made(datasets, method, per_class=1, **other):
    r = recipe("mnist", method, per_class, "perceptron_32", "smoke", 0)
    return distilled.distilled(replace(r, **other), datasets["mnist"], "cpu")


def test_random_sets_are_training_images_and_no_other(datasets):
    arrays, to_input = datasets["mnist"], standardised("mnist")
    sets, images = Splits(arrays, "cpu"), made(datasets, "random", 4)["images"]
    known, held_out = ({x.numpy().tobytes() for x in to_input(sets.images[part])} for part in (sets.train, sets.val))
    ours = {x.tobytes() for x in images}
    assert len(ours) == 40 and ours <= known and not ours & held_out


def test_one_mean_and_one_centre_are_the_class_mean(datasets):
    sets, to_input = Splits(datasets["mnist"], "cpu"), standardised("mnist")
    members = [sets.train[sets.labels[sets.train] == k] for k in range(10)]
    means = torch.stack([to_input(sets.images[m]).mean(0) for m in members]).numpy()
    for method in ("class_means", "kmeans"):
        assert np.allclose(made(datasets, method)["images"], means, atol=1e-4)


def test_centres_are_where_lloyd_stands_still():
    """Four heaps far apart: each centre is the mean of its heap, whatever the start."""
    g = torch.Generator().manual_seed(0)
    heaps = torch.tensor([[0.0, 0], [9, 0], [0, 9], [9, 9]])
    x = (heaps[:, None] + torch.randn(4, 50, 2, generator=g)).flatten(0, 1).view(-1, 1, 1, 2)
    found = centres(x, 4, g).flatten(1)
    expected = x.view(4, 50, 2).mean(1)
    assert torch.allclose(found[found.sum(1).argsort()][[0, 3]], expected[[0, 3]], atol=1e-5)
    assert torch.cdist(found, expected).min(0).values.max() < 1e-5


@pytest.mark.parametrize("method", distilled.METHODS)
def test_a_set_has_its_images_class_by_class(datasets, method):
    found = made(datasets, method, 2)
    assert found["images"].shape == (20, 1, 28, 28) and found["labels"].tolist() == [
        k for k in range(10) for _ in (0, 1)
    ]
    assert np.isfinite(found["images"]).all()


def test_every_image_that_was_read_is_counted_as_often_as_it_was():
    e = EFFORTS["smoke"]
    counts = {
        m: distilled.images_seen(recipe("mnist", m, 2, "perceptron_32", "smoke", 0), 5500) for m in distilled.METHODS
    }
    assert counts["random"] == 20 and counts["kmeans"] == counts["class_means"] == 5500
    assert counts["mtt"] == 5500 + e.experts * e.every * (e.latest + e.span) * 256
    assert counts["dm"] == counts["kip"] == 5500 + e.iterations * 10 * 64


@pytest.mark.parametrize("method", distilled.LEARNT)
def test_learnt_sets_start_from_kmeans_and_are_the_best_look(datasets, method):
    found = made(datasets, method)
    assert np.array_equal(found["images_then"][0], made(datasets, "kmeans")["images"])
    assert found["chosen"] == found["val_accuracy"].argmax()
    assert np.array_equal(found["images"], found["images_then"][found["chosen"]])
    assert not np.array_equal(found["images_then"][0], found["images_then"][-1])


def test_distribution_matching_is_done_where_the_synthetic_images_are_the_real_ones(datasets):
    """With all images of a class in the batch, the class means of features agree and nothing pulls."""
    arrays = datasets["mnist"]
    few = {**arrays, "train_images": arrays["train_images"][:400], "train_labels": arrays["train_labels"][:400]}
    sets = Splits(few, "cpu")
    members = [sets.train[sets.labels[sets.train] == k][: distilled.REAL_BATCH] for k in range(10)]
    count = min(map(len, members))
    sets.train = torch.cat([m[:count] for m in members])
    pull = distilled._dm(Recipe("mnist", "dm", count, "perceptron_32", "smoke", 0), sets)
    real = standardised("mnist")(sets.images[sets.train])
    for images, done in ((real, True), (real.flip(-1), False)):
        loss, gradient, _ = pull(0, images, torch.tensor(1.0))
        assert bool(loss < 1e-8) == bool(gradient.abs().max() < 1e-5) == done


def test_experts_descend_and_are_trained_once(datasets, monkeypatch):
    r = recipe("mnist", "mtt", 1, "perceptron_32", "smoke", 0)
    found, e = distilled.experts(r, datasets["mnist"], "cpu"), EFFORTS["smoke"]
    assert found["00"].shape[:2] == (e.latest + e.span + 1, e.experts) and found["val_accuracy"] > 0.3
    assert not np.array_equal(found["00"][0, 0], found["00"][0, 1]), "each starts from its own draw"
    monkeypatch.setattr(distilled, "Population", lambda *_, **__: pytest.fail("trained again"))
    assert np.array_equal(distilled.experts(replace(r, per_class=10), datasets["mnist"], "cpu")["00"], found["00"])


def test_a_class_that_has_too_few_images_is_named(datasets):
    with pytest.raises(ValueError, match="100000 images per class were asked for, and class 0 has"):
        distilled.chosen(Recipe("mnist", "random", 100_000, "", "", 0), Splits(datasets["mnist"], "cpu"))


def test_augmentation_lets_gradients_through_at_any_brightness():
    x = (9 * torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))).requires_grad_()
    (g,) = torch.autograd.grad(differentiably(x, torch.Generator().manual_seed(1)).square().sum(), x)
    assert (g != 0).flatten(1).float().mean(1).min() > 0.3  # what is moved out or covered has none


def test_a_student_is_the_mean_of_its_networks(rig):
    """Each trains as it would alone, whatever the loss of the others."""
    three, rows = rig.train(replace(PLAIN, method="random"))
    alone, of_one = rig.train(replace(PLAIN, method="random", networks=1))
    assert rig.apart(rig.weights(alone), rig.weights(three)) < 1e-4
    assert np.isnan(of_one[-1]["spread"]) and rows[-1]["spread"] > 0


def test_students_do_not_see_each_other_and_a_resumed_trial_is_the_same_trial(rig):
    pack = [PLAIN, replace(PLAIN, lr=0.1)]
    assert rig.resumed(*pack, until=1)[1] == rig.train(*pack)[1]
    assert rig.apart(rig.weights(rig.train(PLAIN)[0]), rig.weights(rig.train(*pack)[0])) < 1e-4


def test_the_whole_data_need_no_set(rig):
    whole = replace(PLAIN, method="whole", steps=40)
    assert Matching.artifact(whole) is None
    assert (
        rig.train(whole)[1][-1]["test_accuracy"]
        > rig.train(replace(PLAIN, method="random", steps=40))[1][-1]["test_accuracy"]
    )


def test_what_is_not_learnt_does_not_depend_on_what_learning_may_cost():
    for method in CHOSEN:
        c = replace(PLAIN, method=method)
        assert Matching.artifact(c) == Matching.artifact(replace(c, effort="paper", network="convnet_16"))
    assert Matching.artifact(PLAIN) != Matching.artifact(replace(PLAIN, effort="paper"))


@pytest.mark.parametrize(
    ("change", "word"),
    [({"method": "best"}, "method"), ({"per_class": 0}, "per_class"), ({"network": "mlp_300"}, "network")],
)
def test_a_config_that_makes_no_sense_names_its_field(change, word):
    with pytest.raises(ValueError, match=word):
        replace(PLAIN, **change)
