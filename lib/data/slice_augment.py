"""Augmentation of labeled slices on loading: flips, turns and crops, the same for image and label."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def augment_slice(
    image: Tensor, label: Tensor, seed: tuple[int, ...], flip: float = 0.0, rotate: float = 0.0,
    crop: Sequence[int] | None = None, fill: float | Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A slice and its label after flips, a turn and a crop: bilinear for the image, nearest for the label.

    Parameters
    ----------
    image : (C, H, W)
    label : (H, W)
    seed : what everything is drawn from
    flip : the probability of a flip along each axis
    rotate : the turn is by up to ± so many degrees
    crop : (h, w) of a random crop; None: none
    fill : the image's value outside, one or one per channel, such as −1000 HU of air; None: the least of each channel
        here. The label's is 0, the background

    Returns
    -------
    (image, label)
    """
    rng = np.random.default_rng(seed)
    axes = [axis for axis, drawn in zip((-2, -1), rng.uniform(size=2), strict=True) if drawn < flip]
    image, label = image.flip(axes), label.flip(axes)
    if rotate:
        angle = np.deg2rad(rng.uniform(-rotate, rotate))
        h, w = label.shape
        matrix = [[np.cos(angle), -np.sin(angle) * h / w, 0], [np.sin(angle) * w / h, np.cos(angle), 0]]
        grid = F.affine_grid(torch.tensor([matrix], dtype=torch.float32), [1, 1, h, w], align_corners=False)
        outside = image.amin((1, 2)) if fill is None else image.new_tensor(fill)
        outside = outside.reshape(-1, 1, 1)
        image = F.grid_sample((image - outside)[None], grid, align_corners=False)[0] + outside  # zeros from outside
        label = F.grid_sample(label[None, None].float(), grid, mode="nearest", align_corners=False)[0, 0].to(
            label.dtype
        )
    if crop:
        top, left = (int(rng.integers(0, size - c + 1)) for size, c in zip(label.shape, crop, strict=True))
        image, label = (x[..., top : top + crop[0], left : left + crop[1]] for x in (image, label))
    return image, label
