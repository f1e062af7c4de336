"""What is to be seen of volumes, and the panels that are painted of it."""

from typing import NamedTuple

import numpy as np

CMAPS = ("gray", "viridis", "cividis", "inferno", "magma")  # all grow brighter evenly, for the color-blind too


class View(NamedTuple):
    """What is to be seen, and how it is painted.

    Parameters
    ----------
    index, plane : the slice, and of which plane
    window : (low, high), the values painted darkest and brightest
    gain : of the errors
    part : of the data, see `lib.viewer.complex_parts`
    cmap : one of CMAPS
    opacity, contours : of overlays
    rows, columns : the box of the plane that is seen; None: all
    hidden : panels that aren't seen
    across : panels in a line, at most
    size : how many times as large as usual
    """

    index: int
    plane: str
    window: tuple[float, float]
    gain: float = 5
    part: str = "image"
    cmap: str = "gray"
    opacity: float = 0.5
    contours: bool = False
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None
    hidden: tuple[str, ...] = ()
    across: int = 5
    size: int = 1


class Tile(NamedTuple):
    """A panel's pixels, uint8 (height, width, 3), None if there is no image, and what is to be said of them, or why."""

    pixels: np.ndarray | None
    note: str
