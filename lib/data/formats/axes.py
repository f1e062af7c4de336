"""Which axis of an array is what: as the user says, or by where its energy lies."""

from typing import NamedTuple

import numpy as np

from lib import InputError
from lib.data.formats.arrays import Stored

NAMES = {"s": "slice", "c": "coil", "y": "readout", "x": "phase encode", "t": "time"}
MOST_COILS = 256
SAMPLE = 1 << 22  # numbers that a guess looks at


class Axes(NamedTuple):
    """The letters of an array's axes, in their order, and what is to be said of it."""

    letters: tuple[str, ...]
    told: tuple[str, ...]


def parse(stored: Stored, axes: str) -> Axes:
    """Axes as the user says, such as "s c y x".

    Parameters
    ----------
    stored : the array
    axes : a letter of NAMES for each axis, with spaces or without

    Raises
    ------
    InputError
        For other letters, one twice, a missing one, and another count than the array has.
    """
    letters = tuple(axes.replace(" ", "").replace(",", ""))
    unknown = [letter for letter in letters if letter not in NAMES]
    if unknown or len(set(letters)) < len(letters) or not {"y", "x"} <= set(letters):
        raise InputError(
            "axes", f"got {axes!r}", f"letters of {', '.join(f'{k} ({v})' for k, v in NAMES.items())}, each once"
        )
    if len(letters) != len(stored.shape):
        raise InputError("axes", f"got {axes!r} for an array {stored.shape}", f"{len(stored.shape)} letters")
    return Axes(letters, ())


def guess(stored: Stored) -> Axes:
    """Of k-space: readout and phase encode are the two axes along which the energy is concentrated in the middle."""
    count = len(stored.shape)
    if count > 4:
        raise InputError(
            stored.path, f"an array {stored.shape} of {count} axes", "at most four", "axes=… and an index choose"
        )
    if count == 2:
        return Axes(("y", "x"), ())
    part = stored.get(
        tuple(np.s_[:: max(1, int(np.prod(stored.shape) // SAMPLE))] if i == 0 else np.s_[:] for i in range(count))
    )
    energy = np.abs(np.nan_to_num(part)).astype(np.float64) ** 2
    shares = [_central(energy.sum(tuple(j for j in range(count) if j != i))) for i in range(count)]
    rows, columns = sorted(np.argsort(shares)[-2:].tolist())
    others = [i for i in range(count) if i not in (rows, columns)]
    letters = ["?"] * count
    letters[rows], letters[columns] = "y", "x"
    names = ["c"] if len(others) == 1 else ["s", "c"] if rows > others[0] else ["c", "s"]
    if len(others) == 1 and stored.shape[others[0]] > MOST_COILS:
        names = ["s"]
    for i, name in zip(others, names, strict=True):
        letters[i] = name
    words = ", ".join(f"{NAMES[letter]} {size}" for letter, size in zip(letters, stored.shape, strict=True))
    told = [f"axes taken as ({words}); axes={' '.join(letters)!r} or another order decides"]
    if others and columns != count - 1:
        told.append("the last axis isn't the phase encode: coils or slices last?")
    return Axes(tuple(letters), tuple(told))


def _central(energy: np.ndarray) -> float:
    """How much more of the energy lies in the middle quarter of an axis than if it were spread evenly."""
    size = len(energy)
    near = np.abs(np.arange(size) - size // 2) <= size / 8
    return float(energy[near].sum() / max(energy.sum(), 1e-300) / near.mean()) if size > 7 else 0.0
