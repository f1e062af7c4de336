"""Where slices lie, by their readouts' headers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lib.data.formats.record import LPS_TO_RAS


class Place(NamedTuple):
    """Where a slice lies: its middle in mm and three directions of length 1, each (left, back, head) as in DICOM.

    Parameters
    ----------
    position : its middle in mm
    read, phase, normal : along the readout, the phase encodes and the slices; zeros where they aren't known
    """

    position: tuple[float, float, float]
    read: tuple[float, float, float]
    phase: tuple[float, float, float]
    normal: tuple[float, float, float]


def affine_of(
    places: Sequence[Place], shape: tuple[int, int], spacing: tuple[float, float, float] | None
) -> np.ndarray | None:
    """Of (slice, row, column, 1) to mm (right, front, head); None if the places don't say it.

    Parameters
    ----------
    places : of each slice, from the first to the last
    shape : (H, W) of the image, rows along the readout
    spacing : (slice, row, column) in mm; None: not known
    """
    read, phase, normal = (np.asarray(direction, float) for direction in places[0][1:])
    if spacing is None or min(map(np.linalg.norm, (read, phase, normal))) < 0.5:
        return None
    first, last = (np.asarray(places[i].position, float) for i in (0, -1))
    step = (last - first) / (len(places) - 1) if len(places) > 1 else normal * spacing[0]
    if not step.any():
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.stack([step, read * spacing[1], phase * spacing[2]], 1)
    affine[:3, 3] = first - affine[:3, 1] * (shape[0] // 2) - affine[:3, 2] * (shape[1] // 2)
    return LPS_TO_RAS @ affine
