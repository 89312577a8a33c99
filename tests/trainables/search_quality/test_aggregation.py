import importlib.util
import json
from pathlib import Path

import krippendorff as library
import numpy as np
import pytest

from trainables.search_quality.aggregation import (
    Labels,
    bradley_terry,
    dawid_skene,
    expected,
    glad,
    krippendorff,
    majority,
    reliability,
    typed,
    types,
)

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("crowdkit_reference", HERE / "crowdkit_reference.py")
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
STORED = json.loads(reference.FILE.read_text())
MODELS = {"dawid_skene": dawid_skene, "glad": glad, "types": typed}


@pytest.fixture(scope="module", params=["stored", "live"])
def theirs(request):
    """What crowd-kit makes of the small inputs: as it was written down, and computed here if it is there."""
    if request.param == "stored":
        return STORED
    if importlib.util.find_spec("crowdkit") is None:
        pytest.skip("crowd-kit is not installed, which it need not be")
    return reference.compute()


def small(name):
    given = reference.INPUTS[name]
    return Labels(*reference.answers(**given), 1, given["documents"], given["assessors"], given["grades"])


def crowd(worlds, documents=40, assessors=12, grades=4, each=5, seed=0, right=(0.3, 0.95), truth=None):
    """Assessors who are right with a chance of their own and else say anything; labels, and truth (worlds, documents)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(grades, size=(worlds, documents)) if truth is None else truth
    skill = rng.uniform(*right, (worlds, assessors))
    who = np.argsort(rng.random((worlds, documents, assessors)), -1)[..., :each]
    w, d = np.arange(worlds)[:, None, None], np.arange(documents)[:, None]
    hit = rng.random(who.shape) < skill[w, who]
    grade = np.where(hit, truth[..., None], rng.integers(grades, size=who.shape))
    document = np.broadcast_to(w * documents + d, who.shape)
    lists = (document.ravel(), (w * assessors + who).ravel(), grade.ravel())
    return Labels(*lists, worlds, documents, assessors, grades), truth


def test_dawid_skene_is_that_of_crowdkit(theirs):
    ours = dawid_skene(small("dawid_skene"), most=reference.DAWID_SKENE_STEPS, tolerance=0)
    np.testing.assert_allclose(ours.posterior[0], theirs["dawid_skene"], atol=1e-6)


def test_glad_is_that_of_crowdkit(theirs):
    """Both at their maximum, which crowd-kit seeks by conjugate gradients."""
    ours = glad(small("glad"), most=3000, tolerance=1e-9)
    np.testing.assert_allclose(ours.posterior[0], theirs["glad"], atol=2e-3)
    np.testing.assert_allclose(ours.trust[0], theirs["glad_abilities"], atol=2e-3)


def test_bradley_terry_is_that_of_crowdkit_and_of_the_sum_of_wins(theirs):
    """At the maximum the expected wins of each are its wins."""
    won, lost = reference.duels(**reference.INPUTS["bradley_terry"])
    wins = np.zeros((1, 8, 8))
    np.add.at(wins[0], (won, lost), 1)
    scores, _ = bradley_terry(wins, precision=1e-9, most=200, tolerance=1e-12)
    worth = np.exp(scores[0])
    np.testing.assert_allclose(worth / worth.sum(), theirs["bradley_terry"], atol=1e-6)
    chance = worth[:, None] / (worth[:, None] + worth)
    np.testing.assert_allclose(((wins[0] + wins[0].T) * chance * (1 - np.eye(8))).sum(1), wins[0].sum(1), atol=1e-5)


def test_alpha_is_that_of_the_library():
    labels, _ = crowd(worlds=6, documents=15, assessors=7, each=3, seed=4)
    ours = krippendorff(labels.votes())
    for w in range(6):
        mine = labels.document // 15 == w
        said = np.full((7, 15), np.nan)
        said[labels.assessor[mine] % 7, labels.document[mine] % 15] = labels.grade[mine]
        theirs = library.alpha(said, level_of_measurement="ordinal", value_domain=list(range(4)))
        assert ours[w] == pytest.approx(theirs, abs=1e-12)


def test_alpha_of_those_who_agree_is_1_and_of_those_who_say_anything_is_0():
    truth = np.random.default_rng(0).integers(4, size=(3, 50))
    assert krippendorff(3 * np.eye(4)[truth]) == pytest.approx(1)
    labels, _ = crowd(worlds=200, right=(0, 0), seed=1)
    alphas = krippendorff(labels.votes())
    assert abs(alphas.mean()) < 4 * alphas.std() / np.sqrt(200)
    assert np.isnan(krippendorff(np.eye(4)[truth])).all()  # one label of each document says nothing


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_raises_never_falls(name):
    labels, _ = crowd(worlds=30, seed=2)
    history = MODELS[name](labels, most=60, tolerance=0).history
    assert len(history) == 60
    assert (np.diff(history, axis=0) > -1e-7 * np.abs(history[:-1])).all()
    assert (history[-1] > history[0]).all()


@pytest.mark.parametrize("name", MODELS)
def test_assessors_and_documents_have_no_order(name):
    labels, _ = crowd(worlds=1, seed=3)
    rng = np.random.default_rng(0)
    people, documents, lines = rng.permutation(12), rng.permutation(40), rng.permutation(len(labels.grade))
    other = Labels(documents[labels.document][lines], people[labels.assessor][lines], labels.grade[lines], 1, 40, 12, 4)
    one, two = (MODELS[name](each, most=20, tolerance=0) for each in (labels, other))
    np.testing.assert_allclose(two.posterior[0, documents], one.posterior[0], atol=1e-8)
    np.testing.assert_allclose(two.trust[0, people], one.trust[0], atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_names_of_grades_mean_nothing_beyond_their_order(name):
    """The typed model knows the order of grades, so there they are turned round; elsewhere anyhow."""
    labels, _ = crowd(worlds=2, seed=5)
    names = np.array([3, 2, 1, 0]) if name == "types" else np.array([2, 0, 3, 1])
    other = Labels(labels.document, labels.assessor, names[labels.grade], 2, 40, 12, 4)
    one, two = (MODELS[name](each, most=20, tolerance=0).posterior for each in (labels, other))
    np.testing.assert_allclose(two[..., names], one, atol=1e-8)
    np.testing.assert_allclose(majority(other)[..., names], majority(labels))


@pytest.mark.parametrize("name", MODELS)
def test_worlds_do_not_see_each_other(name):
    labels, _ = crowd(worlds=5, seed=6)
    together = MODELS[name](labels, most=15, tolerance=0).posterior
    for w in range(5):
        mine = labels.document // 40 == w
        alone = Labels(labels.document[mine] - 40 * w, labels.assessor[mine] - 12 * w, labels.grade[mine], 1, 40, 12, 4)
        np.testing.assert_allclose(MODELS[name](alone, most=15, tolerance=0).posterior[0], together[w], atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_perfect_assessors_are_believed_and_many_poor_ones_are_enough(name):
    for assessors, each, right in ((6, 3, (1, 1)), (150, 150, (0.4, 0.9))):
        labels, truth = crowd(worlds=4, assessors=assessors, each=each, right=right, seed=7)
        found = MODELS[name](labels).posterior.argmax(-1)
        assert (found == truth).all()


def test_dawid_skene_finds_the_confusion_matrices():
    labels, truth = crowd(worlds=3, documents=2000, assessors=8, each=8, right=(0.5, 0.9), seed=8)
    fit = dawid_skene(labels)
    for w in range(3):
        for a in range(8):
            mine = labels.assessor == 8 * w + a
            said = np.zeros((4, 4))
            np.add.at(said, (labels.grade[mine], truth[w][labels.document[mine] % 2000]), 1)
            assert np.abs(fit.trust[w, a] - said / said.sum(0)).max() < 0.08


def test_gold_tells_a_spammer_from_a_reader():
    """Ten gold documents, of which two assessors read one right and one says 3 always."""
    truth = np.arange(10) % 4
    said = np.stack([truth, truth, np.full(10, 3)], 1)
    document, assessor = (axis.ravel() for axis in np.indices((10, 3)))
    fit = typed(Labels(document, assessor, said.ravel(), 1, 10, 3, 4), known=truth[None])
    trusted = reliability(fit.trust, 4)[0]
    assert trusted[:2].min() > 0.85 and trusted[2] < 0.35
    assert (fit.posterior[0].argmax(-1) == truth).all()


def test_types_are_distributions():
    np.testing.assert_allclose(types(4).sum(1), 1)
    assert expected(4).sum() == pytest.approx(1) and len(expected(4)) == len(types(4))


def test_a_strong_prior_is_kept_and_comparisons_move_a_weak_one():
    wins = np.zeros((1, 3, 3))
    wins[0, 0, 1] = wins[0, 1, 2] = 5
    mean = np.array([[1.0, 2.0, 3.0]])
    kept, _ = bradley_terry(wins, mean=mean, precision=1e6)
    moved, sd = bradley_terry(wins, mean=mean, precision=0.1)
    np.testing.assert_allclose(kept, mean, atol=1e-4)
    assert moved[0, 0] > moved[0, 1] > moved[0, 2] and (sd < 0.1**-0.5).all()
