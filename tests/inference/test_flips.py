"""Predictions averaged over flips."""

import torch
from refusals import refused
from torch import nn

from lib.inference.flips import FlipAverage, flip_average


class Sided(nn.Module):
    """Logits that depend on where a voxel lies: class 1 likelier the farther along D, H and W."""

    def forward(self, x):
        ramp = sum(
            torch.arange(n).reshape([-1 if i == axis else 1 for i in range(3)]) * 10**axis
            for axis, n in enumerate(x.shape[2:])
        )
        return torch.cat((x, x * 2 + ramp * 0.01), 1)


def test_the_mean_of_what_is_flipped_and_flipped_back():
    x, model = torch.randn(2, 1, 3, 4, 5, generator=torch.Generator().manual_seed(0)), Sided()

    def seen(*axes):  # by hand: flip, predict, flip back
        return model(x.flip(axes)).softmax(1).flip(axes)

    for letters, expected in (
        (["W"], (seen() + seen(4)) / 2),
        (["D"], (seen() + seen(2)) / 2),
        (["H", "W"], (seen() + seen(3) + seen(4) + seen(3, 4)) / 4),
    ):
        found = flip_average(model, letters, "DHW")(x).softmax(1)
        torch.testing.assert_close(found, expected)
        assert not torch.allclose(found, seen(), atol=1e-3)


def test_slices_and_one_channel():
    x = torch.randn(1, 1, 4, 6)
    model = nn.Conv2d(1, 1, 3, padding=1)
    expected = (model(x).sigmoid() + model(x.flip(-1)).sigmoid().flip(-1)) / 2
    torch.testing.assert_close(flip_average(model, ["W"], "HW")(x).sigmoid(), expected)
    certain = FlipAverage(nn.Hardtanh(50, 60), [-1])(torch.full((1, 1, 2, 2), 55.0))
    assert torch.isfinite(certain).all() and (certain > 5).all()


def test_no_flips_leave_the_network_and_unknown_axes_are_named():
    model = nn.Identity()
    assert flip_average(model, [], "HW") is model
    with refused(where="test_time_flips: 'D'", expected="one of H, W"):
        flip_average(model, ["D"], "HW")
    with refused(where="test_time_flips", found=r"\['W', 'W'\]"):
        flip_average(model, ["W", "W"], "HW")


def test_a_pointwise_network_is_as_it_was():
    x = torch.randn(1, 1, 2, 3, 4)
    pointwise = nn.Conv3d(1, 3, 1)
    torch.testing.assert_close(flip_average(pointwise, ["D", "H", "W"], "DHW")(x).softmax(1), pointwise(x).softmax(1))
