import pytest
import torch
import torch.nn.functional as F

from trainables.core.losses import cross_entropy, distillation, mixed

S, B, C = 3, 7, 10


@pytest.fixture
def logits():
    g = torch.Generator().manual_seed(0)
    z = 4 * torch.randn(S, B, C, generator=g, dtype=torch.float64)
    t = 4 * torch.randn(B, C, generator=g, dtype=torch.float64)
    y = torch.randint(C, (B,), generator=g)
    return z.requires_grad_(), t, y


def temperatures(T):
    return torch.full((S,), float(T), dtype=torch.float64)


def gradient(loss, z):
    return torch.autograd.grad(loss.sum(), z)[0]


def test_losses_agree_with_torch_one_student_at_a_time(logits):
    z, t, y = logits
    T = torch.tensor([1.0, 3.0, 20.0], dtype=torch.float64)
    hard, soft = cross_entropy(z, y), distillation(z, t, T)
    smooth = cross_entropy(z, y, 0.3)
    for s in range(S):
        assert torch.isclose(hard[s], F.cross_entropy(z[s], y))
        assert torch.isclose(smooth[s], F.cross_entropy(z[s], y, label_smoothing=0.3))
        kl = F.kl_div(F.log_softmax(z[s] / T[s], 1), F.softmax(t / T[s], 1), reduction="batchmean")
        assert torch.isclose(soft[s], T[s] ** 2 * kl)


@pytest.mark.parametrize("T", [0.5, 1, 4, 32])
def test_the_gradient_is_T_times_q_minus_p(logits, T):
    z, t, _ = logits
    q, p = F.softmax(z / T, -1), F.softmax(t / T, -1)
    assert torch.allclose(gradient(distillation(z, t, temperatures(T)), z), T * (q - p) / B)


def test_hot_distillation_is_logit_matching(logits):
    """T -> infinity: the gradient tends to (z - v) / N for centred logits (Hinton et al. 2015, eq. 4, times T^2)."""
    z, t, _ = logits
    centred = lambda x: x - x.mean(-1, keepdim=True)  # noqa: E731
    limit = (centred(z) - centred(t)) / C / B
    errors = [
        (gradient(distillation(z, t, temperatures(T)), z) - limit).norm() / limit.norm() for T in (100, 1000, 10000)
    ]
    assert errors[2] < 1e-3 and errors[0] > 5 * errors[1] > 25 * errors[2], "the error must fall as 1/T"


def test_cold_distillation_is_label_matching(logits):
    """T -> 0: T^2 KL / T tends to the gap between the student's own winner and its logit of the teacher's winner."""
    z, t, _ = logits
    T = 1e-3
    gap = z.max(-1).values - z.gather(-1, t.argmax(-1).expand(S, -1)[..., None])[..., 0]
    assert torch.allclose(distillation(z, t, temperatures(T)) / T, gap.mean(-1), atol=1e-4)


def test_kd_weight_zero_is_plain_cross_entropy_and_one_reads_no_label(logits):
    z, t, y = logits
    weight = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    T = temperatures(4)
    loss = lambda t, y: gradient(mixed(cross_entropy(z, y), distillation(z, t, T), weight), z)  # noqa: E731
    base, other_teacher, other_labels = loss(t, y), loss(-t, y), loss(t, (y + 1) % C)
    assert torch.equal(base[0], other_teacher[0]) and torch.equal(base[2], other_labels[2])
    assert not torch.allclose(base[1], other_teacher[1]) and not torch.allclose(base[1], other_labels[1])
    assert torch.equal(base[0], gradient(cross_entropy(z, y), z)[0])
