import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables import repeat_copy
from trainables.repeat_copy import BANDIT, SCHEDULES, Config, Exp3S, RepeatCopy, bits_per_answer, encode, quality

TRAINABLES = (RepeatCopy,)
PLAIN = Config(
    schedule="uniform", max_length=5, repeats=1, bits=3, cells=16, ramp=0.5, steps=20, batch_size=8, lr=1e-2, seed=0,
)  # fmt: skip
PROGRESS = np.linspace(0, 1, 101)


@pytest.fixture(scope="module")
def datasets():
    return {}


def slowly(bits, repeats):
    """Input, target and what is asked for of one sequence, symbol by symbol, as the task is told."""
    width = len(bits[0])
    silence, x, y = [0.0] * (width + 2), [], []
    x.append([0.0] * width + [1.0, 0.0])
    for vector in bits:
        x.append([1.0 if bit else -1.0 for bit in vector] + [0.0, 0.0])
    x.append([0.0] * width + [0.0, float(repeats)])
    for _ in range(repeats):
        for vector in bits:
            x.append(silence)
            y.append([float(bit) for bit in vector] + [0.0])
    x.append(silence)
    y.append([None] * width + [1.0])
    return x, y


@pytest.mark.parametrize(("length", "repeats", "width"), [(1, 1, 1), (3, 2, 4), (6, 1, 8), (2, 5, 3)])
def test_sequences_are_those_of_the_slow_reference(length, repeats, width):
    bits = torch.randint(0, 2, (length, 7, width), generator=torch.Generator().manual_seed(length)).float()
    x, y, mask = encode(bits, repeats)
    for b in range(7):
        slow_x, slow_y = slowly(bits[:, b].tolist(), repeats)
        assert x[:, b].tolist() == slow_x
        asked = mask[:, 0].tolist()
        answer = y[:, b].tolist()
        assert [[v if a else None for v, a in zip(*r, strict=True)] for r in zip(answer, asked, strict=True)] == slow_y
    # every target bit and, at every step of the answer, whether this is the end
    assert mask.sum() == repeats * length * width + repeats * length + 1


def test_nothing_of_the_answer_is_shown_while_it_is_asked_for():
    x, y, _ = encode(torch.ones(4, 2, 3), 2)
    assert not x[-len(y) :].any() and x[: -len(y)].abs().sum((1, 2)).min() > 0


def test_a_perfect_copier_scores_no_bits_and_a_guesser_one():
    y, mask = encode(torch.randint(0, 2, (6, 50, 4)).float(), 2)[1:]
    bits, exact = quality(400 * (y - 0.5), y, mask)
    assert bits < 1e-40 and exact == 1
    bits, exact = quality(torch.zeros_like(y), y, mask)
    assert math.isclose(bits, 1, rel_tol=1e-6) and exact == 0
    assert math.isclose(float(bits_per_answer(torch.zeros_like(y), y, mask)), 1, rel_tol=1e-6)


def test_one_wrong_bit_or_end_spoils_a_sequence_and_what_is_not_asked_for_spoils_none():
    y, mask = encode(torch.ones(3, 10, 4), 1)[1:]
    for place, spoils in (((1, 0, 2), True), ((-1, 0, -1), True), ((0, 0, -1), True), ((-1, 0, 2), False)):
        z = 200 * (y - 0.5)
        z[place] = 100 * (1 if z[place] < 0 else -1)
        bits, exact = quality(z, y, mask)
        assert math.isclose(exact, 0.9 if spoils else 1.0, rel_tol=1e-6)
        assert (bits > 0.01) == (place == (1, 0, 2)), "the end marker is no target bit"


def test_an_untrained_network_needs_a_bit_per_bit(rig):
    students = rig.build(replace(PLAIN, cells=64))
    assert abs(students.loss(0).item() - 1) < 0.02
    assert abs(float(students.measure()["val_bits"]) - 1) < 0.02


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("n", [2, 7, 12])
def test_a_schedule_is_a_distribution_over_the_lengths_at_every_moment(name, n):
    for progress in PROGRESS:
        p = SCHEDULES[name](progress, n)
        assert p.shape == (n,) and p.min() >= 0 and math.isclose(p.sum(), 1)


def mean_lengths(name, n=12):
    return np.array([SCHEDULES[name](progress, n) @ np.arange(1, n + 1) for progress in PROGRESS])


@pytest.mark.parametrize("name", ["short_first", "linear_window", "combined", "look_back_and_forward"])
def test_a_curriculum_never_goes_back_to_shorter_sequences(name):
    assert (np.diff(mean_lengths(name)) >= -1e-12).all() and mean_lengths(name)[-1] > mean_lengths(name)[0]


def test_long_first_is_the_mirror_of_short_first_and_both_end_uniform():
    for progress in PROGRESS:
        short, long = (SCHEDULES[name](progress, 12) for name in ("short_first", "long_first"))
        assert np.array_equal(short, long[::-1]) and short @ np.arange(12) <= long @ np.arange(12) + 1e-12
    uniform = SCHEDULES["uniform"](0.0, 12)
    assert np.allclose(short, uniform) and np.allclose(long, uniform)
    assert SCHEDULES["short_first"](0.0, 12)[0] == SCHEDULES["long_first"](0.0, 12)[-1] == 1
    assert SCHEDULES["target_only"](0.3, 12)[-1] == 1


@pytest.mark.parametrize("name", [*SCHEDULES, BANDIT])
def test_training_draws_the_lengths_that_the_schedule_allows(rig, name):
    students = rig.build(replace(PLAIN, schedule=name, steps=40, cells=4))
    for step in range(40):
        before = students.plays.copy()
        students.students.step(students.loss(step))
        (length,) = np.flatnonzero((students.plays - before)[0]) + 1
        if name != BANDIT:
            assert SCHEDULES[name](min(step / 20, 1), 5)[length - 1] > 0
    assert students.plays.sum() == 40
    assert students.tokens == [int(8 * (students.plays[0] @ (2 * np.arange(1, 6) + 3)))]


def test_schedules_of_one_seed_see_the_same_draws(rig):
    one, two = rig.build(replace(PLAIN, schedule="short_first")), rig.build(replace(PLAIN, schedule="uniform"))
    for step in range(10, 20):  # the ramp is over
        assert torch.equal(one.loss(step), two.loss(step))


def test_a_bandit_turns_to_where_progress_is_and_keeps_every_length_within_reach():
    bandit, rng = Exp3S(6), np.random.default_rng(0)
    for _ in range(3000):
        length = 1 + int(rng.choice(6, p=bandit.probabilities()))
        bandit.update(length, (1.0 if length == 4 else 0.0) + 0.1 * rng.standard_normal())
    p = bandit.probabilities()
    assert p.argmax() == 3 and p[3] > 0.5 and p.min() >= Exp3S.EPSILON / 6 and math.isclose(p.sum(), 1)


def test_a_bandit_does_not_see_the_unit_of_its_reward():
    rng, rewards = np.random.default_rng(1), np.random.default_rng(2).standard_normal(200)
    a, b = Exp3S(4), Exp3S(4)
    for reward in rewards:
        length = 1 + int(rng.integers(4))
        a.update(length, reward)
        b.update(length, 1e-6 * reward + 5)
    assert np.allclose(a.probabilities(), b.probabilities(), atol=1e-6)


@pytest.mark.parametrize("schedule", ["short_first", BANDIT])
def test_a_resumed_trial_is_the_same_trial(rig, schedule):
    config = replace(PLAIN, schedule=schedule, steps=50)
    whole, rows = rig.train(config)
    again, same = rig.resumed(config, until=9)
    assert same == rows
    if schedule == BANDIT:
        assert again.bandits[0].state_dict() == whole.bandits[0].state_dict()
        assert len(whole.bandits[0].rewards) == 49, "the last batch is not paid for"


def test_the_bandit_is_paid_what_the_step_gained_on_its_own_batch(rig):
    students = rig.build(replace(PLAIN, schedule=BANDIT))
    loss = students.loss(0)
    length = students.bandits[0].pending[0]
    students.students.step(loss)
    g = students._generator(0)
    torch.rand((), generator=g, dtype=torch.float64)
    after = students._on_batch(0, length, g).item()
    students.loss(1)
    assert students.bandits[0].rewards == [(loss.item() - after) / (2 * length + 3)]


def test_a_student_of_a_pack_is_the_student_alone(rig):
    for schedule in ("uniform", BANDIT):
        pack = [replace(PLAIN, schedule=schedule, lr=lr) for lr in (1e-3, 2e-2)]
        _, together = rig.train(*pack)
        for s, config in enumerate(pack):
            assert together[s::2] == rig.train(config)[1]


def test_without_a_curriculum_every_ramp_is_the_same_student(rig):
    """What the study calls one student (`same`) is one."""
    rows = lambda **changes: rig.train(replace(PLAIN, **changes))[1]  # noqa: E731
    for schedule in ("uniform", "target_only", BANDIT):
        assert rows(schedule=schedule) == rows(schedule=schedule, ramp=0.9)
    assert rows(schedule="short_first") != rows(schedule="short_first", ramp=0.9)


def test_a_small_network_learns_to_copy_and_test_sequences_speak_only_at_the_end(rig):
    _, rows = rig.train(replace(PLAIN, max_length=2, bits=1, cells=24, steps=250, lr=2e-2, batch_size=32))
    assert rows[-1]["test_exact"] == 1 and rows[-1]["val_bits"] < 0.1 < rows[0]["val_bits"]
    assert all("test_exact" not in row for row in rows[:-1])
    assert [line["length"] for line in rows[-1]["tables"]["lengths"]] == [1, 2, 3, 4]
    for row in rows:
        lines = row["tables"]["lengths"][:2]
        assert math.isclose(sum(line["share"] for line in lines), 1)
        assert math.isclose(np.mean([line["val_exact"] for line in lines]), row["val_exact"])


def test_validation_and_test_sequences_differ():
    answers, row = RepeatCopy.prepare(repeat_copy.Task(16, 8), {}, "cpu")
    seen = {s[:16].tobytes() for split in answers.values() for s in split}
    assert len(seen) == row["val_sequences"] + row["test_sequences"]


def test_a_diverged_student_is_a_failed_row(rig):
    with np.errstate(invalid="ignore"):
        _, rows = rig.train(replace(PLAIN, lr=1e38, schedule=BANDIT), replace(PLAIN, schedule=BANDIT))
    assert [row["status"] for row in rows[-2:]] == ["failed", "done"] and "loss" in rows[-2]["error"]


@pytest.mark.parametrize(
    ("change", "word"),
    [({"schedule": "random"}, "schedule"), ({"max_length": 1}, "max_length"), ({"repeats": 0}, "repeats"),
     ({"ramp": 0.0}, "ramp"), ({"steps": 0}, "steps"), ({"lr": 0.0}, "lr")],
)  # fmt: skip
def test_a_config_that_makes_no_sense_names_its_field(change, word):
    with pytest.raises(ValueError, match=word):
        replace(PLAIN, **change)
