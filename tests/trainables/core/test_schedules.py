import math

import numpy as np
import pytest
import torch

from trainables.core.schedules import Plateau, log_spaced, one_cycle, stairs

FRACTIONS = np.linspace(0, 1, 1001)


def optimiser():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def test_one_cycle_is_that_of_torch():
    steps, reference, given = 1000, optimiser(), []
    schedule = torch.optim.lr_scheduler.OneCycleLR(reference, max_lr=1.0, total_steps=steps)
    for _ in range(steps - 1):
        given.append(reference.param_groups[0]["lr"])
        reference.step()
        schedule.step()
    ours = [one_cycle(step / steps) for step in range(steps - 1)]
    assert np.allclose(ours, given, atol=0.006), "torch counts the legs in whole steps"


def test_one_cycle_starts_low_peaks_at_one_and_ends_at_nothing():
    rate = np.array([one_cycle(f) for f in FRACTIONS])
    assert math.isclose(rate[0], 1 / 25) and math.isclose(rate.max(), 1) and math.isclose(rate[-1], 0, abs_tol=1e-12)
    peak = int(rate.argmax())
    assert peak == 300 and (np.diff(rate[: peak + 1]) > 0).all() and (np.diff(rate[peak:]) < 0).all()


@pytest.mark.parametrize("stages", [2, 4, 7])
def test_stairs_climb_from_nothing_to_all_in_flights_of_equal_length(stages):
    levels = [stairs(step / (12 * stages), stages) for step in range(12 * stages)]
    assert levels == sorted(levels) and levels[0] == 0 and levels[-1] == stairs(1.0, stages) == 1
    assert [levels.count(level) for level in sorted(set(levels))] == [12] * stages


@pytest.mark.parametrize("patience", [0, 2])
def test_a_plateau_lowers_the_rate_when_torch_would(patience):
    losses = [*np.random.default_rng(0).random(60).tolist(), 0.0, 0.0, 0.0, 0.0]
    ours, reference = Plateau(patience=patience), optimiser()
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        reference, factor=ours.factor, patience=patience, threshold=0, eps=0
    )
    for loss in losses:
        ours.look(loss)
        schedule.step(loss)
        assert math.isclose(ours.scale, reference.param_groups[0]["lr"])
    assert ours.scale < 1


def test_a_loss_that_falls_keeps_the_rate():
    plateau = Plateau()
    for loss in (3.0, 2.0, 1.0):
        plateau.look(loss)
    assert plateau.scale == 1


def test_the_log_spaced_schedule_starts_at_one_and_ends_at_the_end():
    for end in (1, 2, 7, 200, 375, 10_000):
        steps = log_spaced(end, 5)
        assert steps[0] == 1 and steps[-1] == end and steps == sorted(set(steps))
    ratios = np.diff(np.log10([s for s in log_spaced(10_000, 5) if s >= 10]))
    assert np.allclose(ratios, 0.2, atol=0.03)
