import math

import torch

from trainables.core.metrics import confusions, entropy, information


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


def test_confusions_count_every_image_once_and_the_diagonal_is_the_accuracy():
    g = torch.Generator().manual_seed(0)
    named, labels = torch.randint(4, (3, 50), generator=g), torch.randint(4, (50,), generator=g)
    for student, lines in zip(named, confusions(named, labels), strict=True):
        assert sum(line["images"] for line in lines) == 50 and len({(x["truth"], x["answer"]) for x in lines}) == len(lines)
        right = sum(line["images"] for line in lines if line["truth"] == line["answer"])
        assert right == (student == labels).sum()
        for line in lines:
            assert line["images"] == ((labels == line["truth"]) & (student == line["answer"])).sum() > 0
