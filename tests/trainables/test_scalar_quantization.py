"""Quantisers beside each other: the same bytes, the same vectors, and numbers that agree with slow ones."""

import sys

import numpy as np
import pytest

from trainables.core import embeddings as source
from trainables.core.data import load
from trainables.core.files import DataError
from trainables.scalar_quantization import (
    Config,
    ScalarQuantization,
    by_faiss,
    nearest_of,
    rotation,
    shared_neighbours,
    subspaces,
    votes,
)

METRICS = ("train_distortion", "distortion", "bytes", "test_recall_10", "val_recall_100", "test_accuracy")


def vectors(n, seed=0, dimension=16):
    """Correlated vectors with deviations from 1 to 8, (n, D)."""
    rng = np.random.default_rng(seed)
    mix = np.linalg.qr(np.random.default_rng(9).normal(size=(dimension, dimension)))[0]
    return (rng.normal(size=(n, dimension)) * np.geomspace(1, 8, dimension) @ mix).astype(np.float32)


@pytest.fixture(scope="module")
def answers():
    made = {"train": vectors(900), "val": vectors(40, 1), "test": vectors(50, 2)}
    return made | {f"{split}_labels": (made[split][:, 0] > 0).astype(int) for split in list(made)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path))


def config(method, bits, rotation="none", seed=0):
    return Config("mnist", method, rotation, bits, seed)


def test_students_do_not_see_each_other(answers):
    configs = [config("lloyd", 2), config("exact", 3, "pca"), config("allocated", 2), config("faiss_pq", 2, "opq")]
    together = ScalarQuantization(configs, {}, answers, "cpu").step()
    for c, row in zip(configs, together, strict=True):
        (alone,) = ScalarQuantization([c], {}, answers, "cpu").step()
        assert {m: alone[m] for m in METRICS} == {m: row[m] for m in METRICS}


def test_what_teaches_is_not_in_the_database(answers):
    pack = ScalarQuantization([config("uniform", 1)], {}, answers, "cpu")
    other = ScalarQuantization([config("uniform", 1, seed=1)], {}, answers, "cpu")
    both = np.concatenate([pack.teaching, pack.database])
    assert len(pack.teaching) == 300 and len(np.unique(both, axis=0)) == 900
    assert not np.array_equal(pack.teaching, other.teaching)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_all_methods_have_the_same_bytes(answers, bits):
    methods = ["exact", "allocated", "faiss_pq", *(["faiss_sq"] if bits in (4, 6, 8) else [])]
    rows = ScalarQuantization([config(m, bits) for m in methods], {}, answers, "cpu").step()
    assert {row["bytes"] for row in rows} == {16 * bits / 8}


def test_exact_thresholds_are_never_worse_than_those_of_faiss_on_what_taught(answers):
    """From 5 bits on faiss_pq is M = D too: k-means of every component from drawn levels."""
    methods = [("exact", 6), ("faiss_sq", 6), ("faiss_pq", 6), ("uniform", 6)]
    least, *others = ScalarQuantization([config(*m) for m in methods], {}, answers, "cpu").step()
    assert all(least["train_distortion"] < row["train_distortion"] for row in others)


def test_allocated_bits_lower_the_error_of_vectors_that_taught_nothing_and_a_turn_more(answers):
    rows = ScalarQuantization(
        [config("exact", 2), config("allocated", 2), config("allocated", 2, "pca")], {}, answers, "cpu"
    ).step()
    assert rows[2]["distortion"] < rows[1]["distortion"] <= rows[0]["distortion"]
    assert sum(rows[2]["tables"]["components"][0]["component_bits"]) == 32


@pytest.mark.parametrize("parts", [0, 2, 4])
def test_a_rotation_keeps_distances_and_deals_variances_evenly(parts):
    x = vectors(2000)
    turn = rotation(x, parts)
    assert turn.T @ turn == pytest.approx(np.eye(16), abs=1e-5)
    variances = (x @ turn).var(0)
    if not parts:
        assert (np.diff(variances) < 1e-4).all()
        assert np.corrcoef((x @ turn).T) == pytest.approx(np.eye(16), abs=1e-3)
    else:
        products = np.log(variances).reshape(parts, -1).sum(1)
        assert np.ptp(products) < 0.1 * np.ptp(np.log(np.sort(variances)).reshape(parts, -1).sum(1))


def test_recall_and_votes_are_those_of_a_slow_count():
    rng = np.random.default_rng(0)
    queries, database, labels = vectors(30, 3), vectors(400, 4), rng.integers(0, 10, 400)
    plain = np.argsort(((queries[:, None] - database[None]) ** 2).sum(2), axis=1)[:, :100]
    found = nearest_of(queries, database)
    assert (found == plain).mean() > 0.99  # rounding swaps some that are as far
    other = np.stack([rng.permutation(400)[:10] for _ in queries])
    slow = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(other, plain[:, :10], strict=True)])
    assert shared_neighbours(other, plain[:, :10]) == pytest.approx(slow)
    assert shared_neighbours(plain[:, ::-1][:, -10:], plain[:, :10]) == 1
    assert votes(np.array([[3, 5, 5, 3, 1], [2, 2, 7, 7, 7]])).tolist() == [3, 7]
    assert len(votes(labels[found[:, :10]])) == 30


@pytest.mark.parametrize("method, bits", [("faiss_pq", 2), ("faiss_sq", 8)])
def test_faiss_finds_what_distances_to_its_decoded_vectors_find(method, bits):
    import faiss

    x, queries = vectors(600), vectors(20, 5)
    made = by_faiss(config(method, bits), x, x)
    kind = (
        faiss.IndexPQ(16, 4, 8)
        if method == "faiss_pq"
        else faiss.IndexScalarQuantizer(16, faiss.ScalarQuantizer.QT_8bit)
    )
    if method == "faiss_pq":
        kind.pq.cp.seed, kind.pq.cp.min_points_per_centroid = 1, 1
    kind.train(x)
    kind.add(x)
    _, theirs = kind.search(queries, 10)
    assert shared_neighbours(nearest_of(queries, made.restored)[:, :10], theirs) > 0.97  # ties of equal codes


def test_a_code_of_faiss_fits_a_byte():
    for bits in range(1, 9):
        size = 16 // subspaces(bits, 16)
        assert size * bits <= 8 and 16 // size * size == 16


@pytest.mark.parametrize(
    "values, words",
    [
        (("faiss_sq", 3), "4, 6 or 8 bits"),
        (("exact", 2, "opq"), "none or pca"),
        (("exact", 9), r"bits must be in \[1, 8\]"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(values, words):
    with pytest.raises(ValueError, match=words):
        config(*values)


def test_without_faiss_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    ScalarQuantization.require([config("exact", 2)])
    with pytest.raises(DataError, match=r"stillroom\[quantization\]"):
        ScalarQuantization.require([config("faiss_pq", 2)])


def test_embeddings_are_of_images_that_their_split_has(monkeypatch):
    monkeypatch.setattr(source, "STEPS", 2)
    arrays = load("mnist", "sample", None)
    made = source.embeddings("mnist", arrays, "cpu")
    train, val = made["train_ids"], made["val_ids"]
    assert not set(train) & set(val) and len(train) == 5500 and len(val) == 500
    assert (arrays["train_labels"][train] == made["train_labels"]).all()
    assert (arrays["test_labels"][made["test_ids"]] == made["test_labels"]).all()
    assert made["test"].shape == (1000, source.DIMENSIONS["mnist"]) and (made["test"] >= 0).all() and made["test"].any()
