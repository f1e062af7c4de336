"""How well a segmentation agrees with its label: Dice, Hausdorff distance, confusion.

Predictions and labels are whole numbers 0 … num_classes − 1 of any type, numpy arrays or torch tensors of one shape, a
slice (H, W) or a volume (S, H, W) or (D, H, W). Class 0 is the background.

Empty classes: where prediction and label both lack a class, its Dice is 1 and its Hausdorff distance 0; where only one
has it, they are 0 and infinite. `both_empty` counts the first, since many of them lift a mean.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lib import InputError, array


def confusion(prediction: ArrayLike, label: ArrayLike, num_classes: int) -> np.ndarray:
    """(num_classes, num_classes) counts: row the label's class, column the prediction's. InputError for other values."""
    prediction, label = _pair(prediction, label, num_classes)
    return np.bincount(label.ravel() * num_classes + prediction.ravel(), minlength=num_classes**2).reshape(
        num_classes, -1
    )


def dice(prediction: ArrayLike, label: ArrayLike, num_classes: int) -> np.ndarray:
    """(num_classes,) Dice coefficients 2·|A ∩ B| / (|A| + |B|), one per class, over the whole array: 1 at best."""
    return dice_of(confusion(prediction, label, num_classes))


def dice_of(counts: np.ndarray) -> np.ndarray:
    """`dice` from a confusion matrix (or several, (…, classes, classes))."""
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    total = counts.sum(-1) + counts.sum(-2)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)


def both_empty(counts: np.ndarray) -> np.ndarray:
    """(…, classes) True where neither label nor prediction has the class, from confusion matrices."""
    return counts.sum(-1) + counts.sum(-2) == 0


def hausdorff95(
    prediction: ArrayLike, label: ArrayLike, num_classes: int, spacing: Sequence[float] | None = None
) -> np.ndarray:
    """The 95th percentile of the distances between two surfaces, (num_classes,): 0 at best.

    MONAI's, the larger of both directions; the background's is NaN.

    Parameters
    ----------
    prediction, label : whole numbers 0 … num_classes − 1, of one shape
    num_classes : with the background
    spacing : of the voxels along each axis, in whose unit the result is; None: pixels
    """
    from monai.metrics import compute_hausdorff_distance

    prediction, label = _pair(prediction, label, num_classes)
    distances = np.full(num_classes, np.nan)
    for c in range(1, num_classes):
        a, b = prediction == c, label == c
        if not a.any() or not b.any():
            distances[c] = 0.0 if a.any() == b.any() else np.inf
            continue
        one_hot = (np.stack((~m, m))[None] for m in (a, b))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            distance = compute_hausdorff_distance(*one_hot, percentile=95, spacing=spacing)
        distances[c] = float(distance[0, 0])
    return distances


def _pair(prediction: ArrayLike, label: ArrayLike, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    arrays = [array(x) for x in (prediction, label)]
    if arrays[0].shape != arrays[1].shape or not arrays[0].size:
        raise InputError("segmentation", f"the prediction is {arrays[0].shape}, the label {arrays[1].shape}")
    for name, x in zip(("prediction", "label"), arrays, strict=True):
        numbers, expected = x.dtype.kind in "iubf", f"whole numbers 0 … {num_classes - 1}"
        if not numbers or x.min() < 0 or x.max() >= num_classes:
            found = f" {x.min()} … {x.max()}" if numbers else ""
            raise InputError("segmentation", f"the {name} holds {x.dtype}{found}", expected)
        if x.dtype.kind == "f" and (broken := x != np.rint(x)).any():
            raise InputError("segmentation", f"the {name} holds {x[broken][0]:.9g}", expected)
    return arrays[0].astype(np.int64), arrays[1].astype(np.int64)
