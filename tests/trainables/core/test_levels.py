"""Scalar quantisers: the exact ones are exact, codes survive, tables measure what decoding does."""

from itertools import combinations, pairwise

import ckwrap
import kmeans1d
import numpy as np
import pytest

from trainables.core import levels
from trainables.core.levels import MOST_BITS, allocate, best, exact, lloyd, mixed, quantile, uniform

GAUSSIAN = {1: 0.36338, 2: 0.11748, 3: 0.03455, 4: 0.00950}  # least distortion of N(0, 1) (Max 1960, table 1)


def samples(n, seed=0):
    """Components of many shapes, (n, 6): normal, skewed, with ties and a peak at 0, two humps, few values, constant."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(n, 6))
    humps = normal[:, 3] + 6 * (rng.random(n) < 0.3)
    few = rng.integers(0, 5, n)
    columns = [normal[:, 0], rng.exponential(size=n), np.maximum(normal[:, 2], 0), humps, few, np.full(n, 2.5)]
    return np.stack(columns, axis=1).astype(np.float32)


def error(codebook, x):
    """Mean squared error of each component."""
    return ((codebook.decode(codebook.encode(x)).astype(float) - x) ** 2).mean(0)


def by_brute_force(values, cells):
    """The least summed squared error of all ways to cut sorted values into so many cells."""
    values, n = np.sort(values.astype(float)), len(values)
    cuts = ((0, *inner, n) for inner in combinations(range(1, n), min(cells, n) - 1))
    return min(sum(((v := values[a:b]) - v.mean()) @ (v - v.mean()) for a, b in pairwise(c)) for c in cuts)


def test_exact_is_the_best_of_all_partitions():
    x = samples(11)
    _, errors = exact(x, 3)
    for d, b in np.ndindex(*errors.shape):
        assert errors[d, b] * len(x) == pytest.approx(by_brute_force(x[:, d], 2**b), abs=1e-9)


@pytest.mark.parametrize("bits", [1, 3, 5, 7])
def test_exact_agrees_with_the_libraries(bits):
    x = samples(1500)[:, :4].astype(float)
    codebook = best(exact(x, bits)[0], bits)
    for d, found in enumerate(error(codebook, x)):
        ours = found * len(x)
        first = kmeans1d.cluster(x[:, d], 2**bits)
        theirs = ((x[:, d] - np.array(first.centroids)[first.clusters]) ** 2).sum()
        second = ckwrap.ckmeans(x[:, d], 2**bits)
        assert ours == pytest.approx(theirs, rel=1e-5) and ours == pytest.approx(second.withinss.sum(), rel=1e-5)


def test_exact_is_never_worse_in_any_component():
    x = samples(900, seed=1)
    solved, errors = exact(x)
    for bits in range(1, MOST_BITS + 1):
        least = error(best(solved, bits), x)
        assert least == pytest.approx(errors[:, bits], rel=1e-4, abs=1e-9)
        for other in (uniform(x, bits), quantile(x, bits), lloyd(x, bits, seed=0)):
            assert (least <= error(other, x) * (1 + 1e-5) + 1e-9).all()


def test_a_bit_more_is_never_worse_and_few_values_cost_nothing():
    _, errors = exact(samples(700))
    assert (np.diff(errors, axis=1) <= 1e-12).all()
    assert errors[4, 3] == pytest.approx(0, abs=1e-9) and errors[5, 0] == pytest.approx(
        0, abs=1e-9
    )  # 5 values; 1 value


def test_the_normal_distribution_has_its_published_distortion():
    """The exact optimum of a sample is below the distribution's, and comes to it from below."""
    from scipy.stats import norm

    grid = norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None]  # as even a sample as there is
    _, errors = exact(grid, 4)
    for bits, published in GAUSSIAN.items():
        assert errors[0, bits] == pytest.approx(published, rel=0.004)


def test_several_starts_of_lloyd_are_fixed_points():
    """A level is the mean of its cell, wherever Lloyd's rounds end."""
    x = samples(600)[:, :4]
    codebook = lloyd(x, 2, seed=0)
    codes = codebook.encode(x)
    for d, k in np.ndindex(4, 4):
        assert codebook.levels[d, k] == pytest.approx(x[codes[:, d] == k, d].mean(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_codes_survive_packing_and_decoding(bits):
    x = samples(300)
    for codebook in (uniform(x, bits), best(exact(x)[0], bits)):
        codes = codebook.encode(x)
        packed = codebook.pack(codes)
        assert packed.shape == (300, codebook.bytes) and codebook.bytes == -(-6 * bits // 8)
        assert (codebook.unpack(packed) == codes).all()
        again = codebook.decode(codebook.encode(codebook.decode(codes)))
        assert (again == codebook.decode(codes)).all(), "a level is its own nearest level"


def test_components_of_different_bits_are_those_of_their_own_codebooks():
    x = samples(400)
    solved, errors = exact(x)
    bits = np.array([0, 3, 1, 8, 2, 0])
    codebook = mixed(solved, bits)
    assert error(codebook, x) == pytest.approx(errors[np.arange(6), bits], rel=1e-4, abs=1e-9)
    assert codebook.bytes == 2 and (codebook.unpack(codebook.pack(codebook.encode(x))) == codebook.encode(x)).all()


def test_thresholds_ascend_where_there_are_fewer_values_than_levels():
    for codebook in (quantile(samples(100), 8), uniform(samples(100), 8), lloyd(samples(100), 8, seed=0)):
        assert (np.diff(codebook.thresholds, axis=1) >= 0).all()


def test_a_table_measures_the_distance_to_the_decoded_vector():
    x, queries = samples(200), samples(7, seed=3)
    for codebook in (quantile(x, 3), mixed(exact(x)[0], np.array([4, 1, 2, 0, 3, 0]))):
        codes = codebook.encode(x)
        plain = ((queries[:, None] - codebook.decode(codes)[None]) ** 2).sum(2)
        assert codebook.distances(queries, codes) == pytest.approx(plain, rel=1e-4, abs=1e-4)


def test_allocation_is_the_best_of_all_with_its_sum():
    rng = np.random.default_rng(0)
    errors = np.sort(rng.exponential(size=(4, 4)), axis=1)[:, ::-1]  # any that fall, convex or not
    for total in range(13):
        bits = allocate(errors, total)
        options = [c for c in np.ndindex(4, 4, 4, 4) if sum(c) == total]
        least = min(sum(errors[d, b] for d, b in enumerate(c)) for c in options)
        assert bits.sum() == total and errors[np.arange(4), bits].sum() == pytest.approx(least)
    with pytest.raises(ValueError, match="cannot have 13 bits"):
        allocate(errors, 13)


def test_allocation_is_never_worse_than_the_same_bits_for_all_and_gives_a_bit_for_each_doubling():
    grid = np.random.default_rng(0).normal(size=(4000, 4)) * [1, 2, 4, 8]
    _, errors = exact(grid, 8)
    assert errors[np.arange(4), allocate(errors, 16)].sum() <= errors[:, 4].sum()
    assert allocate(errors, 14).tolist() == [2, 3, 4, 5]


def test_the_sweep_and_the_halving_visit_every_point_after_its_neighbours():
    for m in (1, 2, 7, 64, 100):
        for halving in (True, False):
            visits = levels._visits(m, halving)
            assert sorted(visits[:, 0]) == list(range(m))
            seen = {-1}
            for i, left, right in visits.tolist():
                assert {left, right} <= seen
                seen.add(i)
