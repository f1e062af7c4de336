"""Volumes on one grid: what lies elsewhere or has another shape is refused or resampled, by affines where they are known."""

from typing import Any

import numpy as np
from scipy import ndimage
from skimage import transform

from lib import InputError, array
from lib.data.grids import apart
from lib.plots.panels import magnitude
from lib.viewer.complex_parts import is_mask
from lib.viewer.loading import Source


class ShapeError(InputError):
    """Volumes of different shape or place: what `resample` mends."""


def place(what: str, source: Source, name: str, first: Source, resample: bool, order: int = 1) -> tuple[Any, bool]:
    """A volume on the grid of another; masks (W,) and (H, W) are repeated.

    Parameters
    ----------
    what : the volume, in messages
    source : the volume
    name : of the other one, in messages
    first : the other one, (S, H, W)
    resample : whether it may be
    order : of interpolation; 0 for class numbers

    Returns
    -------
    (the volume, whether it was resampled)

    Raises
    ------
    ShapeError
        If it has another shape or lies elsewhere, and isn't to be resampled.
    """
    volume, shape, expected = source.volume, tuple(source.volume.shape), tuple(first.volume.shape)
    if is_mask(volume) and shape in (expected[1:], expected[2:]):
        return np.broadcast_to(array(volume), expected), False
    known = shape == expected and source.affine is not None and first.affine is not None
    away = apart(shape, first.affine, source.affine) if known else 0.0
    if shape == expected and not away:
        return volume, False
    kind = ShapeError if len(shape) == 3 else InputError
    if not resample or kind is InputError:
        paths = [str(s.file) for s in (source, first) if s.file]
        files = f" ({' and '.join(paths)})" if paths else ""
        if shape == expected:
            words = f"{what} lies up to {away:.1f} mm away from {name!r}, by the files' affines"
            raise kind("SliceViewer", f"{words}{files}")
        raise kind("SliceViewer", f"{what} has shape {shape}", f"{expected} like {name!r}{files}")
    return _resampled(what, source, name, first, order), True


def _resampled(what: str, source: Source, name: str, first: Source, order: int) -> np.ndarray:
    """By the affines where both are known; else stretched, which is refused where the extents are known to differ."""
    whole, shape = array(source.volume), tuple(first.volume.shape)
    classes, order = order == 0, 0 if whole.dtype.kind in "bui" else order  # nearest: no values between
    values = whole.astype(np.float32) if order == 0 else magnitude(whole)
    if source.affine is not None and first.affine is not None:
        matrix = np.linalg.inv(source.affine) @ first.affine
        how = (matrix[:3, :3], matrix[:3, 3], shape)
        held = ndimage.affine_transform(np.ones(whole.shape, np.uint8), *how, order=0, mode="grid-constant")
        if not held.any():
            raise InputError("SliceViewer", f"{what} and {name!r} share no place, by the files' affines")
        outside = 0.0 if classes else float(np.nan_to_num(values).min())
        values = np.where(held, ndimage.affine_transform(values, *how, order=order, mode="nearest"), outside)
    else:
        extents = [np.multiply(s.spacing, s.volume.shape) for s in (source, first) if s.spacing]
        if len(extents) == 2 and not np.allclose(*extents, rtol=0.05):
            said = (" × ".join(f"{e:.0f}" for e in extent) for extent in extents)
            raise InputError("SliceViewer", f"{what} covers {next(said)} mm, {name!r} {next(said)}")
        values = transform.resize(values, shape, order=order, preserve_range=True, anti_aliasing=order > 0)
    return values.astype(whole.dtype) if order == 0 else values
