"""Segmentation averaged over flips of its input: what a network finds mirrored is mirrored back, and the mean counts."""

from collections.abc import Sequence
from itertools import chain, combinations

import torch
from torch import Tensor, nn

from lib import InputError
from lib.losses.segmentation import probabilities
from lib.text import one_of

SMALLEST = 1e-12  # probability, so that its logarithm is a number


class FlipAverage(nn.Module):
    """A network's mean probabilities over all combinations of flips, as logits: what softmax or sigmoid makes them again.

    Parameters
    ----------
    model : from (N, 1, …) to logits (N, C, …), C classes by softmax, or one channel by sigmoid
    axes : of the input (N, C, …), counted from its end, such as -1 for W
    """

    def __init__(self, model: nn.Module, axes: Sequence[int]):
        super().__init__()
        self.model = model
        self.flips = list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))

    def forward(self, x: Tensor) -> Tensor:
        p = sum(probabilities(self.model(x.flip(axes))).flip(axes) for axes in self.flips) / len(self.flips)
        p = p.clamp(SMALLEST, 1 - torch.finfo(p.dtype).eps if p.shape[1] == 1 else 1)
        return p.logit() if p.shape[1] == 1 else p.log()


def flip_average(model: nn.Module, flips: Sequence[str], letters: str) -> nn.Module:
    """The network, averaged over flips if there are any.

    Parameters
    ----------
    model : see `FlipAverage`
    flips : the axes to flip, such as ["W"]; []: none, the network as it is
    letters : of the axes of an image, HW or DHW

    Raises
    ------
    InputError
        For another axis, or one twice.
    """
    for axis in flips:
        if axis not in tuple(letters):
            raise InputError(f"test_time_flips: {axis!r}", *one_of(axis, letters))
    if len(set(flips)) < len(flips):
        raise InputError("test_time_flips", f"got {list(flips)}", "each axis once")
    return FlipAverage(model, [letters.index(axis) - len(letters) for axis in flips]) if flips else model
