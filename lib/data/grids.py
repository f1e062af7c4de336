"""Where voxels lie: axes and affines, and whether two files share one grid."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import inv_ornt_aff, io_orientation

from lib import InputError

TOLERANCE = 0.05  # of a voxel's shortest side, at the voxel that lies farthest off: within it affines are the same
AFFINE_FROM = ("both", "image", "label")


def canonical(shape: Sequence[int], affine: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a grid (i, j, k) once it is turned to the nearest axes x, y, z."""
    turn = io_orientation(affine)
    return tuple(shape[axis] for axis in turn[:, 0].argsort()), affine @ inv_ornt_aff(turn, shape)


def apart(shape: Sequence[int], affine: np.ndarray, other: np.ndarray) -> float:
    """How many mm the farthest voxel of a grid lies elsewhere by another affine.

    Parameters
    ----------
    shape : of the grid
    affine, other : (4, axes + 1), of its indices to mm

    Returns
    -------
    mm; 0 within `TOLERANCE`.
    """
    corners = np.array([[*at, 1] for at in np.ndindex((2,) * len(shape))]) * [*(n - 1 for n in shape), 1]
    away = float(np.linalg.norm((corners @ (affine - other).T)[:, :3], axis=1).max())
    return away if away > TOLERANCE * voxel_sizes(affine).min() else 0.0


def agreed(image: Path, label: Path, first, second, affine_from: str = "both") -> tuple[np.ndarray, np.ndarray]:
    """The affines of an image and its label, which cover one grid.

    Volumes may be stored along other axes, such as a label from left to right of an image from right to left.

    Parameters
    ----------
    image, label : the files
    first, second : their `header`s
    affine_from : whose affine counts if they differ, "image" or "label"; "both": that is refused

    Raises
    ------
    InputError
        Naming both files.
    """
    if affine_from not in AFFINE_FROM:
        raise InputError("affine_from", f"got {affine_from!r}", f"one of {', '.join(AFFINE_FROM)}")
    (shape, affine), (label_shape, label_affine) = first, second
    if shape == label_shape and not apart(shape, affine, label_affine):
        return affine, affine
    if len(shape) == 3:
        (turned, one), (label_turned, other) = canonical(shape, affine), canonical(label_shape, label_affine)
        if turned == label_turned and not apart(turned, one, other):
            return affine, label_affine
    if shape != label_shape:
        raise InputError(label, f"{label_shape}, its image is {shape} ({image})")
    if affine_from == "both":
        words = "expected the same, or affine_from image or label where one of them is known to be wrong"
        away = f"differs by up to {apart(shape, affine, label_affine):.3g} mm from its image's"
        raise InputError(label, f"its affine {away} ({image}): {words}")
    return (affine,) * 2 if affine_from == "image" else (label_affine,) * 2


def is_lost(shape: Sequence[int], affine: np.ndarray) -> bool:
    """Whether an affine is the identity but for signs, or nibabel's of files without one: 1 mm about the middle."""
    axes, at = abs(affine[:3, :-1]), abs(affine[:3, -1])
    unit = np.isin(axes, (0, 1)).all() and (axes.sum(0) == 1).all()
    return bool(unit and (not at.any() or np.isin(at, [0, *((n - 1) / 2 for n in shape)]).all()))


def turned(shape: Sequence[int]) -> np.ndarray:
    """(4, 4): from indices (slice, row, column, 1) of a volume (…, H, W) turned by 180° to those before."""
    matrix = np.diag([1.0, -1, -1, 1])
    matrix[1:3, 3] = [n - 1 for n in shape[-2:]]
    return matrix
