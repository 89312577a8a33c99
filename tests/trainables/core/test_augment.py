import pytest
import torch

from trainables.core.augment import MOVE, PATCH, photographed_otherwise

IMAGES = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def changed(strength, seed=0, x=IMAGES):
    return photographed_otherwise(x, strength, torch.Generator().manual_seed(seed))


def test_no_strength_is_the_identity_to_the_last_bit():
    assert torch.equal(changed(0.0), IMAGES)


def test_the_stronger_the_further_from_the_image():
    distances = [(changed(s) - IMAGES).abs().mean() for s in (0, 1 / 3, 2 / 3, 1)]
    assert distances == sorted(distances) and distances[0] == 0 and distances[1] > 0.01


def test_images_stay_images_and_the_same_draws_give_the_same_ones():
    x = changed(1.0)
    assert x.shape == IMAGES.shape and x.min() >= 0 and x.max() <= 1 and x.isfinite().all()
    assert torch.equal(x, changed(1.0)) and not torch.equal(x, changed(1.0, seed=1))


def test_every_second_image_is_mirrored_at_full_strength():
    """An image that is dark to the left and light to the right, of one brightness otherwise."""
    ramp = torch.linspace(0, 1, 32).expand(400, 3, 32, 32)
    x = changed(1.0, x=ramp)
    mirrored = (x[..., :8].mean((1, 2, 3)) > x[..., -8:].mean((1, 2, 3))).float().mean()
    assert 0.4 < mirrored < 0.6


def test_a_patch_of_one_colour_covers_at_most_a_quarter():
    x = changed(1.0)
    flat = (x[:, :, 1:, 1:] == x[:, :, :-1, :-1]).all(1)  # noise has no equal neighbours
    share = flat.float().mean((1, 2))
    assert share.min() > 0 and share.max() <= PATCH**2


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_an_image_moves_no_further_than_its_share(strength):
    spot = torch.zeros(200, 1, 32, 32)
    spot[:, :, 16, 16] = 1.0
    where = changed(strength, x=spot).flatten(1).argmax(1)
    seen = changed(strength, x=spot).amax((1, 2, 3)) > 0.5  # not covered
    rows = where[seen] // 32
    assert (rows - 16).abs().max() <= strength * MOVE * 32 and rows.unique().numel() > 2
