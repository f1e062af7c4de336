"""How well a segmentation agrees with its label: Dice, Hausdorff distance, confusion.

Predictions and labels are whole numbers 0 … num_classes − 1 of any type, numpy arrays or torch tensors of one shape, a slice (H, W)
or a volume (S, H, W) or (D, H, W). Class 0 is the background.

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
    """(num_classes,) Dice coefficients 2·|A ∩ B| / (|A| + |B|), one a class, over the whole array: 1 at best."""
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
    """(num_classes,) the 95th percentile of the distances between the two surfaces, in `spacing`'s unit (pixels): 0 at best.

    MONAI's, the larger of both directions; the background's is NaN. spacing: one number an axis.
    """
    from monai.metrics import compute_hausdorff_distance

    prediction, label = _pair(prediction, label, num_classes)
    found = np.full(num_classes, np.nan)
    for c in range(1, num_classes):
        a, b = prediction == c, label == c
        if not a.any() or not b.any():
            found[c] = 0.0 if a.any() == b.any() else np.inf
            continue
        one_hot = (np.stack((~m, m))[None] for m in (a, b))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            distance = compute_hausdorff_distance(*one_hot, percentile=95, spacing=spacing)
        found[c] = float(distance[0, 0])
    return found


def _pair(prediction: ArrayLike, label: ArrayLike, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    arrays = [array(x) for x in (prediction, label)]
    if arrays[0].shape != arrays[1].shape or not arrays[0].size:
        raise InputError(f"segmentation: the prediction is {arrays[0].shape}, the label {arrays[1].shape}")
    for name, x in zip(("prediction", "label"), arrays, strict=True):
        numbers, expected = x.dtype.kind in "iubf", f"expected whole numbers 0 … {num_classes - 1}"
        if not numbers or x.min() < 0 or x.max() >= num_classes:
            found = f" {x.min()} … {x.max()}" if numbers else ""
            raise InputError(f"segmentation: the {name} holds {x.dtype}{found}, {expected}")
        if x.dtype.kind == "f" and (broken := x != np.rint(x)).any():
            raise InputError(f"segmentation: the {name} holds {x[broken][0]:.9g}, {expected}")
    return arrays[0].astype(np.int64), arrays[1].astype(np.int64)


def moving_blocks(count: int, block: int | None, samples: int, seed: int | tuple[int, ...]) -> np.ndarray:
    """(samples, count) slice numbers, drawn with replacement in blocks of neighbours (Künsch, Ann Stat 1989).

    block: their length, the cube root of `count` where None. InputError for a block that doesn't fit.
    """
    block = max(1, round(count ** (1 / 3))) if block is None else block
    if not 1 <= block <= count:
        raise InputError(f"bootstrap: block {block}, expected 1 ≤ block ≤ {count} slices")
    starts = np.random.default_rng(seed).integers(0, count - block + 1, size=(samples, -(-count // block)))
    return (starts[..., None] + np.arange(block)).reshape(samples, -1)[:, :count]


def dice_interval(people: Sequence[np.ndarray], samples: int = 2000, seed: int = 0, level: float = 0.95) -> np.ndarray:
    """(C, 2) low and high of the mean over people of the Dice of each one's slices together, by a moving-block bootstrap.

    A person's draws that hold none of a class that the person has say nothing of its Dice: they aren't counted.

    people: confusion matrices (S, C, C) in slice order, one array a person; blocks are the cube root of S long. It tells
    how the value depends on which slices of these people were taken, and says nothing of other people.
    """
    means = 0
    for n, counts in enumerate(people):
        drawn = moving_blocks(len(counts), None, samples, (seed, n))
        total = counts[drawn].sum(1)
        means = means + _redrawn(dice_of(total), both_empty(total)) / len(people)
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).T


def _redrawn(values: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """values (samples, C) whose `empty` ones are replaced by the others of the column in turn; as they are where all are."""
    values = values.copy()
    for column, without in zip(values.T, empty.T, strict=True):
        if without.any() and not without.all():
            column[without] = np.resize(column[~without], without.sum())
    return values
