"""A volume's channels as one array on the axes (z, y, x): turned, windowed, resampled."""

from collections.abc import Sequence
from itertools import cycle
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, io_orientation
from scipy import ndimage

from lib import InputError
from lib.data import grids, nifti
from lib.data.lits_matching import VolumePair
from lib.data.windows import Cuts

Window = Sequence[float] | Sequence[Sequence[float]] | str | None


def _windows(window: Window) -> list[Any]:
    """A window per channel, or one for all."""
    several = isinstance(window, list | tuple) and window and isinstance(window[0], list | tuple)
    return list(window) if several else [window]


def check_windows(window: Window) -> None:
    """InputError unless it is [low, high], a list of such, "auto" or None."""
    for one in _windows(window) if window and window != "auto" else ():
        numbers = isinstance(one, list | tuple) and len(one) == 2 and all(isinstance(v, Real) for v in one)
        if not numbers or not one[0] < one[1]:
            raise InputError("window", f"got {window}", "[low, high], auto or None, or a [low, high] per channel")


def cuts_of(window: Window, channels: Sequence[str]) -> list[Cuts]:
    """What chooses and counts each channel's window; [] where values stay as they are. InputError for another number."""
    windows, count = _windows(window), max(len(channels), 1)
    if len(windows) not in (1, count):
        raise InputError("window", f"{len(windows)} for {count} channels", "one, or one per channel")
    names = channels or [""]
    return [Cuts(one, name) for one, name in zip(cycle(windows), names, strict=False)] if window else []


def prepared_image(
    pair: VolumePair, affine: np.ndarray, cuts: list[Cuts], size: Sequence[int] | None, spacing: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """A pair's image as its case holds it.

    Parameters
    ----------
    pair : its files, on one grid
    affine : of the files
    cuts : of `cuts_of`
    size : [d, h, w] to resample to; None: by `spacing`
    spacing : [d, h, w] in mm to resample to, about; None: as it is

    Returns
    -------
    The image (D, H, W), of several channels (D, C, H, W), its affine, and further attributes of the case: fill, window, and
    what brings it back to the file's grid.
    """
    images, windows, fill = [], [], []
    for c, (path, channel) in enumerate(pair.channels):
        image, turned, about = canonical(path, affine, channel)
        windows += [cuts[c].choose(path.name, image)] if cuts else []
        fill.append(0.0 if cuts else float(image.min()))
        shape = tuple(size) if size else image.shape
        if spacing:
            extent = np.multiply(image.shape, voxel_sizes(turned))
            shape = tuple(max(1, round(mm / wanted)) for mm, wanted in zip(extent, spacing, strict=True))
        image, turned = _resampled(image, turned, shape, windows[c] if cuts else None)
        images.append(image)
    one = len(images) == 1
    about |= {"fill": fill[0] if one else fill} | ({"window": windows[0] if one else windows} if cuts else {})
    return images[0] if one else np.stack(images, 1), turned, about


def canonical(
    path: Path, affine: np.ndarray, channel: int | None = None
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:  # fmt: skip
    """Values (z, y, x) float32, of one channel, their affine, and what brings them back to the file's grid."""
    values = nifti.values(path, channel=channel)
    turned = apply_orientation(values, io_orientation(affine)).transpose(2, 1, 0)
    original = {"original_shape": values.shape, "original_affine": affine}
    return turned, grids.canonical(values.shape, affine)[1][:, [2, 1, 0, 3]], original


def _resampled(
    image: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], window: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray]:
    if window:
        np.clip(image, *window, out=image)
        image -= window[0]
        image /= window[1] - window[0]
    if shape == image.shape:
        return image, affine
    steps = np.divide(image.shape, shape)
    image = np.stack([_zoom(plane, shape[1:]) for plane in image])
    image = np.stack([_zoom(rows, (shape[0], shape[2])) for rows in image.transpose(1, 0, 2)], 1)
    if window:
        np.clip(image, 0, 1, out=image)  # splines overshoot
    moved = np.diag([*steps, 1.0])
    moved[:3, 3] = (steps - 1) / 2
    return image, affine @ moved


def _zoom(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """By cubic splines; of a volume plane by plane, then along the third axis: the same as all at once, in less memory."""
    if plane.shape == shape:
        return plane
    return ndimage.zoom(plane, np.divide(shape, plane.shape), order=3, mode="nearest", grid_mode=True)


def padded(window: np.ndarray, margins: Sequence[tuple[int, int]], fill: float | Sequence[float]) -> np.ndarray:
    """A window (C, d, h, w) with `margins` before and behind each axis, which hold `fill`, of each channel its own."""
    fills = np.broadcast_to(fill, len(window))
    return np.stack([np.pad(x, margins, constant_values=f) for x, f in zip(window, fills, strict=True)])


def window_of(image: Any, where: tuple[slice, slice, slice]) -> np.ndarray:
    """A window (C, d, h, w) of a volume (D, H, W) or (D, C, H, W), an array or a case's data set."""
    return image[where][None] if image.ndim == 3 else np.moveaxis(image[where[0], :, where[1], where[2]], 1, 0)
