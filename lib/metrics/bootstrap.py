"""How much a mean depends on which slices of the same people were measured: moving-block bootstrap intervals."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lib import InputError
from lib.metrics.segmentation import both_empty, dice_of


def bootstrap_interval(
    values_per_slice: ArrayLike, block: int | None = None, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean over one person's slices, by the moving-block bootstrap.

    It tells how the mean depends on which slices of this person were measured, and says nothing of how other people
    would come out.

    Parameters
    ----------
    values_per_slice : (S,), in slice order
    block : neighboring slices drawn together, since they resemble each other, 1 to S; None: the cube root of S
    samples : resampled means
    seed : of the draws
    level : the share of resampled means inside

    Returns
    -------
    low, high

    References
    ----------
    Künsch, Ann Stat 1989.
    """
    low, high = np.quantile(_resampled(values_per_slice, block, samples, seed), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_gain(
    better: Sequence[ArrayLike], base: Sequence[ArrayLike], samples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean over people of better − base, and its block-bootstrap interval, slice paired with slice.

    Each person's slices are resampled as in `bootstrap_interval`; the people stay the same, so the interval says
    nothing of other people.

    Parameters
    ----------
    better, base : one (S,) per person
    samples, seed, level : see `bootstrap_interval`

    Returns
    -------
    gain, low, high
    """
    differences = [np.subtract(b, a) for b, a in zip(better, base, strict=True)]
    means = np.mean([_resampled(d, None, samples, seed + i) for i, d in enumerate(differences)], axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(np.mean([d.mean() for d in differences])), float(low), float(high)


def _resampled(values_per_slice: ArrayLike, block: int | None, samples: int, seed: int) -> np.ndarray:
    """Means (samples,) of slices drawn in blocks."""
    values = np.asarray(values_per_slice, dtype=np.float64)
    if values.ndim != 1:
        raise InputError("bootstrap_interval", f"values {values.shape}", "(S,)")
    return values[moving_blocks(values.size, block, samples, seed)].mean(1)


def moving_blocks(count: int, block: int | None, samples: int, seed: int | tuple[int, ...]) -> np.ndarray:
    """Slice numbers (samples, count), drawn with replacement in blocks of neighbors.

    Parameters
    ----------
    count : slices
    block : their length, 1 to count; None: the cube root of count
    samples : draws
    seed : of the draws

    Raises
    ------
    InputError
        For a block that doesn't fit.
    """
    block = max(1, round(count ** (1 / 3))) if block is None else block
    if not 1 <= block <= count:
        raise InputError("bootstrap", f"block {block}", f"1 ≤ block ≤ {count} slices")
    starts = np.random.default_rng(seed).integers(0, count - block + 1, size=(samples, -(-count // block)))
    return (starts[..., None] + np.arange(block)).reshape(samples, -1)[:, :count]


def dice_interval(people: Sequence[np.ndarray], samples: int = 2000, seed: int = 0, level: float = 0.95) -> np.ndarray:
    """Interval of the mean over people of the Dice of each one's slices together, by a moving-block bootstrap.

    A person's draws that hold none of a class that the person has say nothing of its Dice: they aren't counted. The
    interval tells how the value depends on which slices of these people were taken, and says nothing of other people.

    Parameters
    ----------
    people : confusion matrices (S, C, C) in slice order, one array per person; blocks are the cube root of S long
    samples, seed, level : see `bootstrap_interval`

    Returns
    -------
    (C, 2) low and high
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
