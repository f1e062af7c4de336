"""Augmentation of labeled slices on loading: flips, poses, contrasts and crops, drawn anew each time."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def augment_slice(
    image: Tensor, label: Tensor, seed: tuple[int, ...], flip: float = 0.0, rotate: float = 0.0,
    crop: Sequence[int] | None = None, fill: float | Sequence[float] | None = None, *, scale: float = 0.0,
    shift: int = 0, gamma: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A slice and its label after flips, a new pose, a new contrast and a crop: bilinear for the image, nearest for the label.

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
    scale : the image is enlarged or made smaller by up to this share
    shift : the move along each axis is by up to ± so many pixels
    gamma : deviation of the logarithm of the power that the image, scaled to 0 … 1, is raised to; cut off at twice that

    Returns
    -------
    (image, label)
    """
    rng = np.random.default_rng(seed)
    axes = [axis for axis, drawn in zip((-2, -1), rng.uniform(size=2), strict=True) if drawn < flip]
    image, label = image.flip(axes), label.flip(axes)
    if rotate or scale or shift:
        angle = np.deg2rad(rng.uniform(-rotate, rotate))
        zoom = 1 / (1 + rng.uniform(-scale, scale)) if scale else 1.0
        move = tuple(rng.uniform(-shift, shift, size=2)) if shift else (0.0, 0.0)
        image, label = _posed(image, label, angle, zoom, move, fill)
    if gamma:
        image = contrast(image, drawn_power(gamma, rng))
    if crop:
        top, left = (int(rng.integers(0, size - c + 1)) for size, c in zip(label.shape, crop, strict=True))
        image, label = (x[..., top : top + crop[0], left : left + crop[1]] for x in (image, label))
    return image, label


def _posed(
    image: Tensor, label: Tensor, angle: float, zoom: float, move: tuple[float, float],
    fill: float | Sequence[float] | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Image and label, turned by `angle`, 1 / zoom as large, and moved by (rows, columns) in pixels."""
    h, w = label.shape
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    rows, columns = 2 * move[0] / h, 2 * move[1] / w  # of half the size
    matrix = torch.tensor([[[c, -s * h / w, columns], [s * w / h, c, rows]]], dtype=torch.float32)
    return posed(image, label, matrix, fill)


def posed(
    image: Tensor, label: Tensor, matrix: Tensor, fill: float | Sequence[float] | None = None
) -> tuple[Tensor, Tensor]:
    """Image and label where `matrix` takes them from: linear for the image, nearest for the label, 0 outside of it.

    Parameters
    ----------
    image : (C, …), of two or three axes
    label : (…)
    matrix : float32 (1, axes, axes + 1), from offsets in the result to offsets in the image, as `affine_grid` counts them
    fill : the image's value outside, see `augment_slice`
    """
    grid = F.affine_grid(matrix, [1, 1, *label.shape], align_corners=False)
    outside = image.flatten(1).amin(1) if fill is None else image.new_tensor(fill)
    outside = outside.reshape(-1, *[1] * label.ndim)
    image = F.grid_sample((image - outside)[None], grid, align_corners=False)[0] + outside  # zeros from outside
    turned = F.grid_sample(label[None, None].float(), grid, mode="nearest", align_corners=False)[0, 0]
    return image, turned.to(label.dtype)


def contrast(image: Tensor, power: float) -> Tensor:
    """The image (C, …), each channel scaled to 0 … 1, to a power, and scaled back."""
    low, high = (x.reshape(-1, *[1] * (image.ndim - 1)) for x in image.flatten(1).aminmax(dim=1))
    width = torch.where(high > low, high - low, 1)
    return ((image - low) / width).clamp(0, 1) ** power * width + low


def drawn_power(deviation: float, rng: np.random.Generator) -> float:
    """A power for `contrast`, whose logarithm is normal with that deviation, cut off at twice it."""
    return float(np.exp(deviation * np.clip(rng.standard_normal(), -2, 2)))
