import math

import torch

from trainables.core.metrics import entropy, information


def test_an_answer_that_never_changes_tells_nothing_and_sure_balanced_answers_tell_all():
    same = torch.randn(1, 1, 10, generator=torch.Generator().manual_seed(0)).expand(1, 50, 10)
    sure = 100 * torch.eye(10).repeat(5, 1)[None]
    flat = torch.zeros(1, 50, 10)
    told = information(torch.cat([same, sure, flat]))
    assert torch.allclose(told, torch.tensor([0, math.log(10), 0]), atol=1e-5)
    assert torch.allclose(entropy(torch.cat([sure, flat])), torch.tensor([0, math.log(10)]), atol=1e-5)


def test_students_are_measured_apart():
    z = torch.randn(3, 40, 10, generator=torch.Generator().manual_seed(1))
    for measure in (entropy, information):
        assert torch.allclose(measure(z), torch.cat([measure(z[s : s + 1]) for s in range(3)]))
