from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from trainables import logistic
from trainables.core import data
from trainables.logistic import (
    PAIRS,
    Config,
    PairwiseLogistic,
    Problems,
    certificate,
    sampling_errors,
    separability,
    solve,
    wald,
)

PLAIN = Config(features="pooled", components=64, l2=1e-2, seed=0)


@pytest.fixture(scope="module")
def datasets():
    torch.set_num_threads(1)
    return {"mnist": data.load("mnist", "sample")}


@pytest.fixture(scope="module")
def digits(datasets):
    """Features of the sample's training digits by class, (n_k, D + 1)."""
    sets = logistic.PairwiseSplits(datasets["mnist"], "cpu")
    return sets.by_class(sets.train, logistic.view(PLAIN, sets.images[sets.train]))


def problems(xs, pairs, l2):
    return Problems(xs, torch.tensor(pairs), xs[0].new_full((len(pairs),), l2))


def solved(p, **how):
    return solve(p, torch.zeros_like(p.penalty), **how)[0]


def finished(pack):
    """The rows of a pack's last step."""
    while not pack.finished:
        rows = pack.step()
    return rows


def cloud(n, centre, seed):
    """Images of a class of normal features with their column of ones, fp64."""
    x = torch.randn(n, len(centre), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.cat([x + torch.tensor(centre, dtype=torch.float64), torch.ones(n, 1, dtype=torch.float64)], 1)


@pytest.mark.parametrize("l2", [1e-2, 1e-4])
def test_the_optimum_is_scikit_learns(digits, l2):
    three = [(0, 1), (4, 9), (3, 8)]
    p = problems(digits, three, l2)
    w = solved(p)
    ours = p.objective(p.margins(w), w)
    for i, (first, second) in enumerate(three):
        x = torch.cat([digits[first], digits[second]])[:, :-1].double().numpy()
        y = np.repeat([0, 1], [len(digits[first]), len(digits[second])])
        reference = LogisticRegression(C=1 / (len(y) * l2), tol=1e-8, max_iter=5000).fit(x, y)
        theirs = torch.from_numpy(np.append(reference.coef_, reference.intercept_)).to(w)[None]
        one = p.only(torch.tensor([i]))
        assert float(ours[i]) == pytest.approx(float(one.objective(one.margins(theirs), theirs)), abs=1e-5)


@pytest.mark.parametrize("l2", [1.0, 1e-4])
def test_an_objective_ends_no_further_above_its_minimum_than_asked(digits, l2):
    exact = problems([x.double() for x in digits], PAIRS, l2)
    value = lambda w: exact.objective(exact.margins(w.double()), w.double())  # noqa: E731
    least = value(solved(exact, gap=1e-12))
    for gap in (1e-3, 1e-5):
        assert (value(solved(problems(digits, PAIRS, l2), gap=gap)) - least).max() <= gap


def test_the_gradient_is_that_of_the_objective_and_vanishes_at_the_optimum(digits):
    p = problems(digits, PAIRS, 1e-3)
    w = torch.randn_like(p.penalty, generator=None).mul_(0.01).requires_grad_()
    p.objective(p.margins(w), w).sum().backward()
    assert torch.allclose(w.grad, p.gradient(p.margins(w), w), atol=1e-6)
    w = solved(p)
    assert p.gradient(p.margins(w), w).norm(dim=1).max() <= (2 * logistic.GAP * 1e-3) ** 0.5
    xs = [x.double() for x in digits]
    p = problems(xs, PAIRS[:3], 1e-3)
    w = solved(p, gap=1e-16)
    assert p.gradient(p.margins(w), w).norm(dim=1).max() < 1e-9


def test_problems_solved_together_are_the_problems_solved_one_by_one(digits):
    xs = [x.double() for x in digits]
    together = solved(problems(xs, PAIRS[:12], 1e-3), gap=1e-14)
    for i, pair in enumerate(PAIRS[:12]):
        alone = solved(problems(xs, [pair], 1e-3), gap=1e-14)
        assert (together[i] - alone[0]).norm() < 1e-5


def test_the_start_does_not_move_the_optimum(digits):
    p = problems([x.double() for x in digits], PAIRS[:5], 1e-2)
    a = solved(p, gap=1e-14)
    b, _ = solve(p, a + 1, gap=1e-14)
    assert (a - b).norm(dim=1).max() < 1e-5


def test_the_wald_covariance_is_the_inverse_hessian():
    xs = [cloud(80, [0.0, 0.0, 0.0], 0), cloud(70, [1.0, 0.5, 0.0], 1), cloud(60, [0.0, 2.0, 0.0], 2)]
    p = problems(xs, list(combinations(range(3), 2)), 1e-2)
    w = solved(p)
    for i in range(3):
        one = p.only(torch.tensor([i]))

        def total(v, one=one):
            return (one.n * one.objective(one.margins(v[None]), v[None]))[0]

        hessian = torch.autograd.functional.hessian(total, w[i])
        assert torch.allclose(wald(p, p.margins(w), i), torch.linalg.inv(hessian), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("l2", [1e-6, 0.2])
def test_wald_intervals_agree_with_a_bootstrap(l2):
    """Without a penalty to speak of both errors do. With one the sampling error is the nearer, and neither too small."""
    xs, g = [cloud(300, [0.0, 0.0], 3), cloud(300, [1.2, 0.3], 4)], torch.Generator().manual_seed(5)
    p = problems(xs, [(0, 1)], l2)
    w = solved(p)
    covariance = wald(p, p.margins(w), 0)
    errors, sampling = covariance.diagonal().sqrt(), sampling_errors(covariance, p.penalty[0], p.n[0])
    drawn = []
    for _ in range(200):
        again = problems([x[torch.randint(len(x), (len(x),), generator=g)] for x in xs], [(0, 1)], l2)
        drawn.append(solve(again, w)[0][0])
    spread = torch.stack(drawn).std(0)
    ratio = (spread / sampling)[:-1]  # not of the intercept: it knows the classes' sizes, which were not drawn
    assert ((ratio > (0.85 if l2 < 1e-3 else 0.7)) & (ratio < 1.2)).all(), ratio
    assert torch.allclose(errors, sampling, rtol=1e-3) if l2 < 1e-3 else (errors[:-1] > 1.1 * sampling[:-1]).all()


def test_a_hyperplane_with_positive_margins_is_found_where_there_is_one():
    apart = [cloud(50, [0.0, 0.0], 0), cloud(50, [12.0, 0.0], 1)]
    p = problems(apart, [(0, 1)], 1e-2)
    (line,) = separability(p, solved(p))
    assert line["separable"] and 0 < line["margin"] <= line["margin_bound"] < 12


def test_where_there_is_none_the_bound_of_its_margin_goes_to_nought():
    mixed = [cloud(60, [0.0, 0.0], 0), cloud(60, [1.0, 0.0], 1)]
    p = problems(mixed, [(0, 1)], 1e-2)
    (line,) = separability(p, solved(p))
    assert not line["separable"] and line["margin"] < 0 and line["margin_bound"] < 1e-4 and line["at_l2"] < 1e-7


def test_the_certificate_holds_the_largest_margin_between_its_bounds():
    one = lambda *x: torch.tensor([[v, 1.0] for v in x], dtype=torch.float64)  # noqa: E731
    p = problems([one(-3.0, -1.0), one(2.0, 5.0)], [(0, 1)], 1e-6)
    w = solved(p)
    lower, upper = certificate(p, w, p.margins(w), 0)
    assert lower <= 1.5 <= upper + 1e-12 and upper - lower < 0.2


def test_features_are_standardised_and_constant_ones_are_dropped(datasets):
    sets = logistic.PairwiseSplits(datasets["mnist"], "cpu")
    images = sets.images[sets.train]
    for features in logistic.FEATURES:
        seen = logistic.view(replace(PLAIN, features=features), images)
        x = seen(images)[:, :-1].double()
        assert x.mean(0).abs().max() < 1e-4 and (x.std(0, correction=0) - 1).abs().max() < 1e-3
        assert len(seen.kept) < (196 if seen.pooled else 784)
    c = x.T @ x / len(x)  # of pca, the last
    assert c.shape == (64, 64) and (c - torch.eye(64)).abs().max() < 1e-3


def test_a_student_of_a_pack_is_the_student_alone_and_rows_come_in_its_order(datasets, monkeypatch):
    monkeypatch.setattr(logistic, "FLOOR", 1.0)  # separability is another test's
    pack = [replace(PLAIN, l2=v) for v in (1e-2, 1.0, 0.1)]
    together = finished(PairwiseLogistic(pack, datasets, {}, "cpu"))
    for config, row in zip(pack, together, strict=True):
        (alone,) = PairwiseLogistic([config], datasets, {}, "cpu").step()
        assert alone["train_loss"] == pytest.approx(row["train_loss"], abs=1e-5)
        assert alone["test_accuracy"] == pytest.approx(row["test_accuracy"], abs=2e-3)
    assert together[1]["train_loss"] > together[2]["train_loss"] > together[0]["train_loss"]
    assert [("separability" in row["tables"]) for row in together] == [True, False, False]


def test_a_pack_resumed_between_two_penalties_is_the_pack(datasets, monkeypatch):
    monkeypatch.setattr(logistic, "FLOOR", 1.0)  # separability is another test's
    configs = [replace(PLAIN, l2=v) for v in (1e-2, 1.0, 0.1)]
    whole = PairwiseLogistic(configs, datasets, {}, "cpu")
    rows = finished(whole)
    interrupted, again = (PairwiseLogistic(configs, datasets, {}, "cpu") for _ in range(2))
    interrupted.step()
    again.load_state_dict(interrupted.state_dict())
    assert not again.finished
    for row, same in zip(rows, finished(again), strict=True):
        assert row["tables"]["pairs"] == same["tables"]["pairs"]
        assert {k: v for k, v in row.items() if k not in ("tables", "seconds")} == {
            k: v for k, v in same.items() if k not in ("tables", "seconds")
        }
    assert torch.equal(again.weights, whole.weights) and again.seconds > interrupted.seconds


def test_tables_hold_what_the_row_averages(datasets):
    (row,) = PairwiseLogistic([PLAIN], datasets, {}, "cpu").step()
    pairs = row["tables"]["pairs"]
    assert [(line["first"], line["second"]) for line in pairs] == PAIRS
    assert np.mean([line["test_accuracy"] for line in pairs]) == pytest.approx(row["test_accuracy"], abs=1e-6)
    assert min(line["test_accuracy"] for line in pairs) == pytest.approx(row["worst_test_accuracy"], abs=1e-6)
    assert row["vote_accuracy"] < row["test_accuracy"]
    for error in row["tables"]["errors"]:
        assert error["probability"] > 0.5 and len(error["image"]) == 28 * 28
        assert datasets["mnist"]["test_images"][error["position"]].tobytes() == error["image"]


@pytest.mark.parametrize(("change", "word"), [({"l2": 0.0}, "l2"), ({"features": "edges"}, "features"), ({"components": 0}, "components")])  # fmt: skip
def test_a_config_that_makes_no_sense_names_its_field(change, word):
    with pytest.raises(ValueError, match=word):
        replace(PLAIN, **change)


def test_a_preconditioner_is_definite_where_rounding_made_its_hessian_indefinite():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 200, generator=g, dtype=torch.float64)  # fewer rows than columns: 150 eigenvalues are 0
    h = rows.T @ rows
    noise = torch.randn(200, 200, generator=g, dtype=torch.float64) * 1e-4
    rounded = h + noise + noise.T
    assert torch.linalg.eigvalsh(rounded).min() < -1e-5 * h.diagonal().mean()
    inverse = logistic._inverse(rounded.clone())
    assert torch.linalg.eigvalsh(inverse).min() > 0
