from dataclasses import replace

import pytest
import torch

from trainables.core import data
from trainables.core.batches import batch_index
from trainables.core.losses import cross_entropy, distillation
from trainables.core.population import Population
from trainables.forgetting import CLASSES, Config, Forgetting, TaskSplits, fisher, layers, penalty

TRAINABLES = (Forgetting,)
PLAIN = Config(
    tasks="two", network="mlp", width=16, optimiser="adam", old_steps=25, steps=12, batch_size=32, memory=0, lr=3e-3,
    remedy="none", strength=0.0, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def datasets():
    digits = data.load("mnist", "sample")
    return {"mnist": {name: values[:: 3 if "train" in name else 4] for name, values in digits.items()}}


def tiny(network, mode="loop", seeds=(0, 1)):
    return Population(layers(network, 8), (1, 12, 12), seeds, [1e-2] * len(seeds), mode=mode, dtype=torch.float64)


def test_every_remedy_of_strength_zero_is_plain_fine_tuning(rig):
    remedies = ("l2", "ewc", "lwf", "freeze_first", "freeze_features", "freeze_readout")
    # one student per remedy stays in force, so that every term is in the sum and only its weight is zero
    pack = [PLAIN] + [replace(PLAIN, remedy=r, strength=s) for r in remedies for s in (0.0, 1e6 if r == "ewc" else 1.0)]
    students, _ = rig.train(*pack)
    plain = rig.weights(students)
    for s, config in enumerate(pack):
        assert (rig.apart(plain, rig.weights(students, s)) < 1e-3) == (config.strength == 0), config
    pack = [replace(PLAIN, remedy="rehearsal", strength=s, memory=20) for s in (0.0, 1.0)]
    students, _ = rig.train(*pack)
    assert rig.apart(plain, rig.weights(students)) < 1e-3 < rig.apart(plain, rig.weights(students, 1))


@pytest.mark.parametrize("mode", ["loop", "stacked"])
@pytest.mark.parametrize("network", ["logistic", "mlp", "cnn"])
def test_the_fisher_is_the_mean_of_squared_gradients_of_single_images(network, mode):
    """The definition, one image and one class at a time: E_x sum_y p(y|x) (d log p(y|x) / dw)^2."""
    students = tiny(network, mode)
    x = torch.randn(5, 1, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slow = [torch.zeros_like(p) for p in students.parameters]
    for image in x:
        for y in range(CLASSES):
            log_p = students.logits(image[None]).log_softmax(-1)[:, 0, y]
            for total, g in zip(slow, torch.autograd.grad(log_p.sum(), students.parameters), strict=True):
                p = log_p.detach().exp().view(-1, *[1] * (g.dim() - 1))
                total += p * g.square() / len(x)
    for fast, reference in zip(fisher(students, x), slow, strict=True):
        assert reference.abs().max() > 0 and torch.allclose(fast, reference, rtol=1e-9, atol=1e-15)


def test_the_fisher_is_the_curvature_of_the_divergence_from_the_old_answers():
    """KL(p_w* || p_w) = 1/2 F (w - w*)^2 to second order, weight by weight: a finite difference of answers alone."""
    students, step = tiny("mlp", seeds=(3,)), 1e-3
    x = torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, old = fisher(students, x), students.logits(x).detach().log_softmax(-1)

    def divergence():
        return float((old.exp() * (old - students.logits(x).detach().log_softmax(-1))).sum(-1).mean())

    for F, p in zip(found, students.parameters, strict=True):
        at = int(F.argmax())
        moved = 0.0
        with torch.no_grad():
            for sign in (1, -2):
                p.view(-1)[at] += sign * step
                moved += divergence()
            p.view(-1)[at] += step
        assert moved / step**2 == pytest.approx(float(F.view(-1)[at]), rel=1e-3)


def test_the_penalty_of_several_tasks_is_the_sum_of_theirs(rig):
    """Importances and centres merge: the gradient is sum_k F_k (w - w_k), L2 holds to the latest weights alone."""
    config = replace(PLAIN, tasks="five", steps=3)
    students, _ = rig.train(*[replace(config, remedy=r, strength=2.0) for r in ("ewc", "l2")], until=0)
    net, sets, terms = students.students, students.sets, []
    for task in (1, 2):
        with torch.no_grad():
            for p in net.parameters:
                p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(task)))
        students.consolidate(task)
        known = sets.to_float(sets.images[students.memories[task - 1][:1000]])
        terms.append((fisher(net, known), [p.detach().clone() for p in net.parameters]))
    with torch.no_grad():
        for p in net.parameters:
            p.mul_(1.1)
    loss = penalty(net.parameters, students.importance, students.centre).sum()
    for i, (p, g) in enumerate(zip(net.parameters, torch.autograd.grad(loss, net.parameters), strict=True)):
        ewc = sum(2.0 * F[i][0] * (p[0] - w[i][0]) for F, w in terms)
        assert torch.allclose(g[0], ewc, rtol=1e-3, atol=1e-6)
        assert torch.allclose(g[1], 2.0 * (p[1] - terms[-1][1][i][1]), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("tasks", ["two", "five"])
def test_what_is_frozen_does_not_move(rig, optimiser, tasks):
    frozen = {"freeze_first": [0, 1], "freeze_features": [0, 1, 2, 3], "freeze_readout": [4, 5], "none": []}
    pack = [replace(PLAIN, remedy=r, strength=float(r != "none"), optimiser=optimiser, tasks=tasks) for r in frozen]
    students, _ = rig.train(*pack)
    for s, still in enumerate(frozen.values()):
        for i, (p, old) in enumerate(zip(students.students.parameters, students.old, strict=True)):
            assert torch.equal(p[s], old[s]) == (i in still)


def test_the_gradient_of_lwf_is_that_of_its_formula(rig):
    """dC/dz = T (softmax(z/T) - softmax(t/T)) / B on the new digits, beside that of plain fine-tuning."""
    students, _ = rig.train(
        replace(PLAIN, remedy="lwf", strength=0.7), replace(PLAIN, remedy="lwf", strength=0.0), until=2
    )
    step, c, sets = students.done_steps, students.common, students.sets
    index = batch_index(sets.pools[1], c.batch_size, step, c.seed, stream=1)
    old = Population(layers(c.network, c.width), sets.shape, [0], [1.0])
    with torch.no_grad():
        for p, w in zip(old.parameters, students.old, strict=True):
            p.copy_(w[:1])
    z, T = students.students.logits(sets.to_float(sets.images[index])), 2.0
    t = old.logits(sets.to_float(sets.images[index])).detach()
    hard = torch.autograd.grad(cross_entropy(z, sets.labels[index]).sum(), z, retain_graph=True)[0]
    soft = T * ((z / T).softmax(-1) - (t / T).softmax(-1)).detach() / len(index)
    by_formula = hard + torch.tensor([0.7, 0.0])[:, None, None] * soft
    expected = torch.autograd.grad(z, students.students.parameters, by_formula)
    for a, b in zip(
        torch.autograd.grad(students.loss(step).sum(), students.students.parameters), expected, strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)
    assert torch.allclose(distillation(t, t, torch.tensor([T])), torch.zeros(1), atol=1e-6)


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_a_student_of_a_pack_is_the_student_alone(rig, network):
    """SGD: Adam amplifies what the order of sums leaves over."""
    pack = [replace(PLAIN, network=network, optimiser="sgd", lr=lr, remedy=r, strength=s) for lr in (0.02, 0.05)
            for r, s in (("none", 0.0), ("l2", 0.3), ("ewc", 10.0), ("lwf", 0.5), ("freeze_features", 1.0))]  # fmt: skip
    together, _ = rig.train(*pack)
    for s, config in enumerate(pack):
        alone, _ = rig.train(config)
        assert rig.apart(rig.weights(together, s), rig.weights(alone)) < 1e-4


def test_a_diverged_student_is_a_failed_row_and_its_neighbours_go_on(rig):
    _, rows = rig.train(replace(PLAIN, remedy="l2", strength=1e30, optimiser="sgd"), replace(PLAIN, optimiser="sgd"))
    assert [row["status"] for row in rows[-2:]] == ["failed", "done"]
    assert "test_accuracy" not in rows[-2] and rows[-1]["probe_accuracy"] > 0.9


@pytest.mark.parametrize("tasks", ["two", "five"])
def test_a_resumed_trial_is_the_same_trial(rig, tasks):
    pack = [
        replace(PLAIN, tasks=tasks, steps=6, memory=20, remedy=r, strength=1.0)
        for r in ("l2", "ewc", "lwf", "rehearsal")
    ]
    assert rig.resumed(*pack, until=3)[1] == rig.train(*pack)[1]


def test_tasks_are_pairs_whose_class_is_the_parity_and_validation_is_never_trained_on(datasets):
    sets = TaskSplits("five", datasets["mnist"], "cpu")
    for k, pool in enumerate(sets.pools):
        assert set(sets.digits[pool].tolist()) == {2 * k, 2 * k + 1} and not set(pool.tolist()) & set(sets.val.tolist())
        assert torch.equal(sets.labels[pool], sets.digits[pool] - 2 * k)
    assert sets.to_float(sets.images[:2]).shape == (2, 1, 32, 32)
    two = TaskSplits("two", datasets["mnist"], "cpu")
    assert two.test_digits.max() == 3 and two.to_float(two.images[:2]).shape == (2, 1, 28, 28)


def test_evaluations_are_log_spaced_from_the_first_step_to_the_last():
    students = [replace(PLAIN, steps=200), replace(PLAIN, steps=375, tasks="five")]
    for config, total in zip(students, (200, 5 * 375), strict=True):
        steps = Forgetting.evaluations(_planned(config))
        assert steps[0] == 1 and steps[-1] == total and steps == sorted(set(steps))


def _planned(config):
    """A pack that knows its plan and has nothing to train."""
    pack = Forgetting.__new__(Forgetting)
    pack.common, pack.first_task = config, int(config.tasks == "two")
    pack.sets = type("Count", (), {"count": 2 if config.tasks == "two" else 5})()
    return pack


@pytest.mark.parametrize(
    ("change", "word"),
    [({"remedy": "prayer"}, "remedy"), ({"strength": -1.0}, "strength"), ({"tasks": "three"}, "tasks"), ({"width": 4}, "width"),
     ({"optimiser": "rmsprop"}, "optimiser"), ({"remedy": "rehearsal"}, "memory"), ({"steps": 0}, "steps")],
)  # fmt: skip
def test_a_config_that_makes_no_sense_names_its_field(change, word):
    with pytest.raises(ValueError, match=word):
        replace(PLAIN, **change)
