"""What is to be seen of volumes, and the panels that are painted of it."""

from typing import NamedTuple

import numpy as np

CMAPS = ("gray", "viridis", "cividis", "inferno", "magma")  # all grow brighter evenly, for the color-blind too
SIGNED_CMAP, PHASE_CMAP = "RdBu_r", "twilight"  # of differences with their sign, and of phases


class View(NamedTuple):
    """What is to be seen, and how it is painted.

    Parameters
    ----------
    at : the voxel (slice, row, column) through which the planes are cut
    plane : the one that is seen
    windows : (low, high) of each group of panels, see `SliceModel.groups`: the values painted darkest and brightest
    gain, signed : of the errors: enlarged by, and whether with their sign
    part : of the data, see `lib.viewer.complex_parts`
    cmap : one of CMAPS
    opacity, contours : of overlays
    hidden : panels that aren't seen
    """

    at: tuple[int, ...]
    plane: str
    windows: tuple[tuple[float, float], ...]
    gain: float = 5
    signed: bool = False
    part: str = "image"
    cmap: str = "gray"
    opacity: float = 0.5
    contours: bool = False
    hidden: tuple[str, ...] = ()


class Tile(NamedTuple):
    """A panel's pixels, uint8 (height, width, 3), None if there is no image, and what is to be said of them, or why."""

    pixels: np.ndarray | None
    note: str
