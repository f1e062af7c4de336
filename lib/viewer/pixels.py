"""Images to pixels to PNG: look-up tables of 256 colors, panels laid side by side. No widgets, no matplotlib figures."""

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from lib import plots

GAP, CLEAR = 6, (1, 2, 3)  # pixels between panels; the color made transparent, which no color map contains
CLASS_COLORS = plots.CLASSES(np.arange(plots.CLASSES.N), bytes=True)[:, :3]
BAD, UNLABELED = (np.rint(255 * np.array(to_rgb(c))).astype(np.uint8) for c in (plots.BAD, plots.UNLABELED))
HATCH = 8  # pixels from one line to the next, where nothing is labeled


@lru_cache
def colors(name: str) -> np.ndarray:
    """The 256 colors (256, 3) uint8 of a color map of matplotlib's."""
    return np.array(colormaps[name](np.arange(256), bytes=True))[:, :3]


def paint(image: np.ndarray, low: float, high: float, cmap: str = "gray") -> np.ndarray:
    """An image in colors, pixels that aren't finite in blue.

    Parameters
    ----------
    image : real (H, W)
    low, high : the values of the color map's ends
    cmap : matplotlib's name of it

    Returns
    -------
    uint8 (H, W, 3)
    """
    with np.errstate(invalid="ignore"):
        level = (np.asarray(image, np.float32) - np.float32(low)) * np.float32(255 / (high - low))
        finite = np.isfinite(level)
        if finite.all():
            return colors(cmap)[_whole(level.clip(0, 255))]
        level = _whole(np.nan_to_num(level, nan=0, posinf=255, neginf=0).clip(0, 255))
    return np.where(np.isfinite(image)[..., None], colors(cmap)[level], BAD)


def _whole(level: np.ndarray) -> np.ndarray:
    """uint8, halves upwards, as the browser rounds."""
    return np.floor(level + np.float32(0.5)).astype(np.uint8)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image of another size, each pixel the nearest of the image, no values between.

    Parameters
    ----------
    image : (H, W, ...)
    height, width : of the result
    """
    h, w = image.shape[:2]
    rows, columns = (np.arange(height) * h) // height, (np.arange(width) * w) // width
    if height % h == 0 and width % w == 0:
        return image.repeat(height // h, 0).repeat(width // w, 1)
    return image[rows][:, columns]


def lay(
    pixels: np.ndarray, label: np.ndarray, opacity: float = 0.5, contours: bool = False, ignore_index: int | None = None
) -> np.ndarray:  # fmt: skip
    """Pixels under the colors of a label's classes.

    Parameters
    ----------
    pixels : uint8 (H, W, 3)
    label : class numbers (H, W)
    opacity : 0 to 1, of the areas
    contours : draw edges alone
    ignore_index : the label of pixels that aren't labeled, which are hatched in gray; None: all are

    Returns
    -------
    uint8 (H, W, 3)
    """
    label = label.astype(np.int64)
    if ignore_index is not None and (ignored := label == ignore_index).any():
        lines = ignored & (np.add.outer(*map(np.arange, label.shape)) % HATCH == 0)
        return lay(np.where(lines[..., None], UNLABELED, pixels), np.where(ignored, 0, label), opacity, contours)
    where = label > 0
    if contours:
        around, (height, width) = np.pad(label, 1, mode="edge"), label.shape
        same = np.ones_like(where)
        for row, column in ((0, 1), (2, 1), (1, 0), (1, 2)):
            same &= around[row : row + height, column : column + width] == label
        where, opacity = where & ~same, 1.0
    laid = (1 - opacity) * pixels + opacity * CLASS_COLORS[(label - 1) % len(CLASS_COLORS)]
    return np.where(where[..., None], np.floor(laid + 0.5), pixels).astype(np.uint8)


def beside(tiles: Sequence[np.ndarray | None], height: int, width: int) -> np.ndarray:
    """Tiles in one row, `GAP` apart.

    Parameters
    ----------
    tiles : uint8 (height, width, 3); None leaves a transparent place
    height, width : of a tile
    """
    canvas = np.full((height, len(tiles) * (width + GAP) - GAP, 3), CLEAR, np.uint8)
    for i, tile in enumerate(tiles):
        if tile is not None:
            canvas[:, i * (width + GAP) : i * (width + GAP) + width] = tile
    return canvas


def png(pixels: np.ndarray) -> bytes:
    """Pixels (H, W, 3) uint8 as PNG, lossless; the color `CLEAR` becomes transparent.

    Rows are not filtered: that takes half the time of Pillow's fastest setting, and less room (PNG specification, 5 and
    9).
    """
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with its filter, 0
    rows[:, 1:] = pixels.reshape(height, -1)
    header, clear = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), struct.pack(">HHH", *CLEAR)
    chunks = {b"IHDR": header, b"tRNS": clear, b"IDAT": zlib.compress(rows, 1), b"IEND": b""}
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
