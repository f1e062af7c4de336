"""How well a segmentation agrees with its label: Dice, Hausdorff distance, confusion.

Predictions and labels are whole numbers 0 … num_classes − 1 of any type, numpy arrays or torch tensors of one shape, a
slice (H, W) or a volume (S, H, W) or (D, H, W). Class 0 is the background. Where the label is `ignore_index` nothing is
labeled and nothing is counted, whatever the prediction.

Empty classes: where prediction and label both lack a class, its Dice is 1 and its Hausdorff distance 0; where only one
has it, they are 0 and infinite. `both_empty` counts the first, since many of them lift a mean.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial import KDTree

from lib import InputError, array


def confusion(
    prediction: ArrayLike, label: ArrayLike, num_classes: int, ignore_index: int | None = None
) -> np.ndarray:  # fmt: skip
    """Counts of each pair of classes.

    Parameters
    ----------
    prediction, label : whole numbers 0 … num_classes − 1, of one shape
    num_classes : with the background
    ignore_index : the label of pixels that aren't labeled; None: all are

    Returns
    -------
    (num_classes, num_classes): row the label's class, column the prediction's.

    Raises
    ------
    InputError
        For other values.
    """
    prediction, label, labeled = _pair(prediction, label, num_classes, ignore_index)
    pairs = (label.astype(np.int64) * num_classes + prediction)[labeled]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, -1)


def dice(prediction: ArrayLike, label: ArrayLike, num_classes: int, ignore_index: int | None = None) -> np.ndarray:
    """Dice coefficients 2·|A ∩ B| / (|A| + |B|), one per class, over the whole array: 1 at best.

    Parameters
    ----------
    prediction, label, num_classes, ignore_index : of `confusion`

    Returns
    -------
    (num_classes,)
    """
    return dice_of(confusion(prediction, label, num_classes, ignore_index))


def dice_of(counts: np.ndarray) -> np.ndarray:
    """`dice` from a confusion matrix (or several, (…, classes, classes))."""
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    total = counts.sum(-1) + counts.sum(-2)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)


def both_empty(counts: np.ndarray) -> np.ndarray:
    """(…, classes) True where neither label nor prediction has the class, from confusion matrices."""
    return counts.sum(-1) + counts.sum(-2) == 0


def hausdorff95(
    prediction: ArrayLike, label: ArrayLike, num_classes: int, spacing: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> np.ndarray:  # fmt: skip
    """The 95th percentile of the distances between two surfaces, (num_classes,): 0 at best.

    Equal to MONAI's, the larger of both directions; the background's is NaN. What isn't labeled is background in both.
    Surfaces are looked for in the box that holds both; their common voxels are 0 apart without being searched.

    Parameters
    ----------
    prediction, label, num_classes : of `confusion`
    spacing : of the voxels along each axis, in whose unit the result is; None: pixels
    ignore_index : of `confusion`
    """
    prediction, label, labeled = _pair(prediction, label, num_classes, ignore_index)
    prediction = prediction * labeled
    distances = np.full(num_classes, np.nan)
    boxes = zip(*(ndimage.find_objects(x, num_classes - 1) for x in (prediction, label)), strict=True)
    for c, both in enumerate(boxes, 1):
        if None in both:
            distances[c] = 0.0 if both == (None, None) else np.inf
            continue
        box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(*both, strict=True))
        surfaces = [_surface(x[box] == c) for x in (prediction, label)]
        distances[c] = _distance95(
            *surfaces, np.ones(prediction.ndim) if spacing is None else np.asarray(spacing, float)
        )
    return distances


def _surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask with a neighbor outside of it, or of the array."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        part, whole = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        part[1:] &= whole[:-1]
        part[:-1] &= whole[1:]
        part[0] = part[-1] = False
    return mask & ~inner


def _distance95(one: np.ndarray, other: np.ndarray, spacing: np.ndarray) -> float:
    """The 95th percentile of the distances from one surface's voxels to the nearest of the other's; the larger direction's."""
    points = [np.argwhere(surface) * spacing for surface in (one, other)]
    apart = [points[0][~other[one]], points[1][~one[other]]]
    found = []
    for mine, others, moved in zip(points, points[::-1], apart, strict=True):
        distances = np.zeros(len(mine))
        if len(moved):
            distances[: len(moved)] = KDTree(others, leafsize=32).query(moved, workers=-1)[0]
        found.append(float(np.percentile(distances, 95)))
    return max(found)


def _pair(
    prediction: ArrayLike, label: ArrayLike, num_classes: int, ignore_index: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Prediction, label (0 where there is none), and where there is one."""
    arrays = [array(x) for x in (prediction, label)]
    labeled = np.ones(arrays[1].shape, bool) if ignore_index is None else arrays[1] != ignore_index
    arrays[1] = arrays[1] if ignore_index is None else np.where(labeled, arrays[1], 0)
    if arrays[0].shape != arrays[1].shape or not arrays[0].size:
        raise InputError("segmentation", f"the prediction is {arrays[0].shape}, the label {arrays[1].shape}")
    for name, x in zip(("prediction", "label"), arrays, strict=True):
        numbers, expected = x.dtype.kind in "iubf", f"whole numbers 0 … {num_classes - 1}"
        if not numbers or x.min() < 0 or x.max() >= num_classes:
            found = f" {x.min()} … {x.max()}" if numbers else ""
            hint = "" if name == "prediction" else "ignore_index names the label of what isn't labeled"
            raise InputError("segmentation", f"the {name} holds {x.dtype}{found}", expected, hint=hint)
        if x.dtype.kind == "f" and (broken := x != np.rint(x)).any():
            raise InputError("segmentation", f"the {name} holds {x[broken][0]:.9g}", expected)
    small = np.uint8 if num_classes <= 256 else np.int64
    return arrays[0].astype(small, copy=False), arrays[1].astype(small, copy=False), labeled
