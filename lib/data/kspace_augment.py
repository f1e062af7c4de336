"""Augmentation of k-space on loading: flips, turns and shifts, the same for k-space, mask, GRAPPA image and target.

Everything is drawn from (seed, epoch, index).
"""

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from lib import InputError
from lib.kspace import flip_kspace, flip_mask, shift_kspace


class SliceTransform(NamedTuple):
    """What happens to one slice.

    Parameters
    ----------
    quarter_turn : first, by 90°
    axes : then flips along these of −2, −1
    shift : then rolls by pixels (rows, columns)
    """

    quarter_turn: bool = False
    axes: tuple[int, ...] = ()
    shift: tuple[int, int] = (0, 0)

    def kspace(self, kspace: Tensor, shape: tuple[int, int]) -> Tensor:
        """K-space of the moved image.

        Parameters
        ----------
        kspace : complex (C, H, W), fully sampled if there is a quarter turn
        shape : (h, w) of the image's crop
        """
        if self.quarter_turn:
            kspace = _turned(kspace, shape)
        kspace = flip_kspace(kspace, self.axes, shape)
        for axis, pixels in zip((-2, -1), self.shift, strict=True):
            kspace = shift_kspace(kspace, axis, pixels) if pixels else kspace
        return kspace

    def mask(self, columns: Tensor) -> Tensor:
        """The mask (W,) that belongs to the moved k-space; after a quarter turn that is the mask itself, applied after."""
        return columns if self.quarter_turn else flip_mask(columns, self.axes)

    def image(self, image: Tensor) -> Tensor:
        """Image (H, W); what leaves it by a shift comes in at the other side."""
        image = image.rot90(1, (-2, -1)) if self.quarter_turn else image
        return image.flip(self.axes).roll(self.shift, (-2, -1))


def _turned(kspace: Tensor, shape: tuple[int, int]) -> Tensor:
    """K-space (C, N, N) of the image whose crop is turned by 90° as torch.rot90 does: axes swapped, then rows reversed."""
    return flip_kspace(kspace.transpose(-2, -1), (-2,), shape)


def draw_move(
    seed: tuple[int, ...], flip: float = 0.0, half_turn: float = 0.0, quarter_turn: float = 0.0, shift: int = 0,
    cutmix: float = 0.0,
) -> SliceTransform:  # fmt: skip
    """Draw the move of one slice.

    Parameters
    ----------
    seed : what it is drawn from, such as (seed, epoch, index)
    flip : probability of a flip along each axis
    half_turn, quarter_turn : probability of a turn by 180° and 90°
    shift : rolls by up to ± so many pixels along each axis
    cutmix : `CutMix`'s, not used here
    """
    rng = np.random.default_rng((*seed, 1))  # not the mask's stream
    flips = rng.uniform(size=2) < flip
    if rng.uniform() < half_turn:
        flips = ~flips
    turned = rng.uniform() < quarter_turn
    rows, columns = (int(d) for d in rng.integers(-shift, shift + 1, size=2))
    return SliceTransform(
        bool(turned), tuple(axis for axis, f in zip((-2, -1), flips, strict=True) if f), (rows, columns)
    )


def check_turns(file: Any, quarter_turn: float = 0.0, **others: Any) -> None:
    """InputError if a 90° turn would have to move the phase encode of a KspaceFile that isn't fully sampled or square."""
    if quarter_turn and file.mask:
        raise InputError(file.path, "augmentation: quarter_turn needs fully sampled k-space, this file has a mask")
    if quarter_turn and not (file.shape[0] == file.shape[1] and file.target_shape[0] == file.target_shape[1]):
        raise InputError(file.path, f"augmentation: quarter_turn needs square k-space, this is {file.shape}")


def check_cutmix(probability: float, batch_size: int) -> None:
    """InputError if `cutmix` is asked for of batches of one sample."""
    if probability and batch_size < 2:
        raise InputError("augmentation", "cutmix mixes samples of a batch: set batch_size to 2 at least")
