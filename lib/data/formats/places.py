"""Where slices lie, by their readouts' headers."""

from collections.abc import Sequence

import numpy as np

from lib.data.formats.lines import Line
from lib.data.formats.record import LPS_TO_RAS

Direction = Sequence[float]  # (left, back, head) as in DICOM, of length 1; zeros: not known


def affine_of(
    lines: Sequence[Line], directions: tuple[Direction, Direction, Direction], shape: tuple[int, int],
    spacing: tuple[float, float, float] | None,
) -> np.ndarray | None:  # fmt: skip
    """Of (slice, row, column, 1) to mm (right, front, head); None if the headers don't say it.

    Parameters
    ----------
    lines : of each slice, from the first to the last, with their positions
    directions : along the readout, the phase encodes and the slices
    shape : (H, W) of the image, rows along the readout
    spacing : (slice, row, column) in mm; None: not known
    """
    read, phase, normal = (np.asarray(direction, float) for direction in directions)
    if spacing is None or min(map(np.linalg.norm, (read, phase, normal))) < 0.5:
        return None
    first, last = (np.asarray(lines[i].position, float) for i in (0, -1))
    step = (last - first) / (len(lines) - 1) if len(lines) > 1 else normal * spacing[0]
    if not step.any():
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.stack([step, read * spacing[1], phase * spacing[2]], 1)
    affine[:3, 3] = first - affine[:3, 1] * (shape[0] // 2) - affine[:3, 2] * (shape[1] // 2)
    return LPS_TO_RAS @ affine
