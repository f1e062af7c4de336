"""NIfTI as a radiologist looks at it."""

from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np


class Looked(NamedTuple):
    """volume (S, H, W), or (T, S, H, W); spacing (z, y, x) in mm; affine (4, 4) of (slice, row, column, 1) to mm.

    anatomical: slices are axial, the front on top. A series has no affine and isn't anatomical.
    """

    volume: np.ndarray
    spacing: tuple[float, ...]
    affine: np.ndarray | None
    anatomical: bool


def looked_at(path: Path) -> Looked:
    """A file, in the nearest canonical orientation: slices from the feet up, the front on top, the person's right on the left."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    volume, (columns, rows) = np.asanyarray(image.dataobj).transpose(), image.shape[:2]
    over_time = volume.ndim == 4 and volume.shape[0] > 1
    if volume.ndim == 4 and 1 in volume.shape[:2]:  # one time, or one slice over time
        volume = volume.squeeze(volume.shape.index(1))
    turn = np.array([[0, 0, -1, columns - 1], [0, -1, 0, rows - 1], [1, 0, 0, 0], [0, 0, 0, 1]])
    affine = None if over_time else image.affine @ turn
    spacing = tuple(map(float, image.header.get_zooms()[:3][::-1]))
    return Looked(volume[..., ::-1, ::-1], spacing, affine, not over_time)
