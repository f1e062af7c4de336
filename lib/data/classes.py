"""Class numbers as label files hold them: whole numbers from 0, each with a name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lib import InputError

# How far from a whole number: programs that store labels as scaled integers are off by up to .004
ROUNDING_TOLERANCE = 0.01


def whole(what: Any, values: np.ndarray, kind: type = np.uint8) -> np.ndarray:
    """Values as class numbers, rounded if they are within `ROUNDING_TOLERANCE` of them.

    Parameters
    ----------
    what : a file, or a name, for the message
    values : any shape
    kind : numpy's type of the class numbers

    Raises
    ------
    InputError
        With the first value that isn't one: a fraction, negative, complex, NaN, too high.
    """
    label, most = np.empty(values.shape, kind), np.iinfo(kind).max
    for plane, into in zip(values, label, strict=True) if values.ndim > 2 else ((values, label),):  # little memory
        near = plane if plane.dtype.kind in "bui" else np.rint(plane.real.astype(np.float64))
        right = (near >= 0) & (near <= most)
        if near is not plane:
            right &= abs(plane - near) <= ROUNDING_TOLERANCE
        if not right.all():
            first = plane[~right][0]
            top = f" {most}" if first.real > most else ""
            raise InputError(what, f"holds {first:.9g}", f"class numbers 0, 1, 2 …{top}")
        into[...] = near
    return label


def check_ignore_index(ignore_index: int | None, classes: Sequence[str]) -> None:
    """InputError unless `ignore_index`, the label of what isn't labeled, is None or a number behind the classes'."""
    if ignore_index is not None and not len(classes) <= ignore_index <= 255:
        raise InputError("ignore_index", f"got {ignore_index}", f"None, or {len(classes)} … 255, behind the classes")


def class_table(relabel: Mapping[int, int] | None, count: int) -> np.ndarray:
    """The class of each label 0 … 255: itself but for `relabel` {label: class}; InputError for another class than 0 … count − 1."""
    table = np.arange(256)
    for value, c in (relabel or {}).items():
        if not (str(value).isdigit() and int(value) < 256 and isinstance(c, int) and 0 <= c < count):
            raise InputError("relabel", f"{value}: {c}", f"labels 0 … 255 and classes 0 … {count - 1}")
        table[int(value)] = c
    return table


def check_named(
    what: Any, counts: np.ndarray, table: np.ndarray, classes: Sequence[str], hint: str = "",
    ignore_index: int | None = None,
) -> None:  # fmt: skip
    """InputError naming all values that have no class.

    Parameters
    ----------
    what : a file, or a name, for the message
    counts : of each value
    table : the class of each value
    classes : names
    hint : what to do
    ignore_index : the value of what isn't labeled; None: all is
    """
    found = (value for value in np.flatnonzero(counts) if table[value] != ignore_index)
    lost = [f"{value} ({counts[value]} times)" for value in found if table[value] >= len(classes)]
    if lost:
        named = f"0 … {len(classes) - 1} ({', '.join(classes)}){hint}"
        unlabeled = "ignore_index names the label that means not labeled"
        raise InputError(what, f"holds label {', '.join(lost[:8])}{' …' * (len(lost) > 8)}", named, hint=unlabeled)
