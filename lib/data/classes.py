"""Class numbers as label files hold them: whole numbers from 0, each with a name."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lib import InputError

ROUNDED = 0.01  # how far from a whole number: programs that store labels as scaled integers are off by up to .004


def whole(what: Any, values: np.ndarray, kind: type = np.uint8) -> np.ndarray:
    """Values as class numbers of type `kind`, rounded where they are within `ROUNDED` of them.

    InputError: `what` (a file, or a name), and the first value that isn't one: a fraction, negative, complex, NaN, too high.
    """
    label, most = np.empty(values.shape, kind), np.iinfo(kind).max
    for plane, into in zip(values, label, strict=True) if values.ndim > 2 else ((values, label),):  # little memory
        near = plane if plane.dtype.kind in "bui" else np.rint(plane.real.astype(np.float64))
        right = (near >= 0) & (near <= most)
        if near is not plane:
            right &= abs(plane - near) <= ROUNDED
        if not right.all():
            first = plane[~right][0]
            top = f" {most}" if first.real > most else ""
            raise InputError(f"{what} holds {first:.9g}, expected class numbers 0, 1, 2 …{top}")
        into[...] = near
    return label


def check_named(what: Any, counts: np.ndarray, table: np.ndarray, classes: Sequence[str], hint: str = "") -> None:
    """InputError naming all values that have no class: counts of each value, table of each value's class."""
    lost = [f"{value} ({counts[value]} times)" for value in np.flatnonzero(counts) if table[value] >= len(classes)]
    if lost:
        named = f"expected 0 … {len(classes) - 1} ({', '.join(classes)}){hint}"
        raise InputError(f"{what} holds label {', '.join(lost[:8])}{' …' * (len(lost) > 8)}, {named}")
