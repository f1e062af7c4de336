"""What a reader has chosen in a viewer, checked before it is shown again."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from lib import InputError
from lib.plots.panels import check_names
from lib.viewer.slice_model import SliceModel
from lib.viewer.view import CMAPS

MODES = ("", "blink", "curtain")  # of a pair of panels


def check_state(slices: SliceModel, place: Mapping[str, Any], look: Mapping[str, Any]) -> None:
    """InputError for a state that can't be shown."""
    for key, value, known in (
        ("plane", place["plane"], slices.planes),
        ("part", look["part"], slices.parts),
        ("cmap", look["cmap"], CMAPS),
        ("mode", look["mode"], MODES),
    ):
        if value not in known:
            raise InputError("SliceViewer", f"{key} is {value!r}", f"one of {', '.join(map(repr, known))}")
    panels = slices.panels()
    for key in ("hidden", "pair"):
        if not isinstance(look[key], list | tuple):
            raise InputError("SliceViewer", f"{key} is {look[key]!r}", "a list of panels")
        check_names(f"SliceViewer, {key}", look[key], panels)
    if len(set(look["hidden"])) == len(panels):
        raise InputError("SliceViewer", "every panel is hidden", "one to be seen at least")
    at, shape = place["at"], slices.shape
    if not _numbers(at, 3, Integral) or not all(0 <= i < n for i, n in zip(at, shape, strict=True)):
        raise InputError("SliceViewer", f"at is {at}", f"a voxel of {shape}")
    count, given = len(slices.windows), look["windows"]
    pairs = isinstance(given, list | tuple) and len(given) == count and all(_numbers(pair, 2) for pair in given)
    if not pairs or not all(low < high for low, high in given):
        raise InputError("SliceViewer", f"windows are {given}", f"{count} of (low, high) with low < high")
    if not _numbers(place["center"], 2):
        raise InputError("SliceViewer", f"center is {place['center']}", "two numbers, 0 to 1")
    limits = {"zoom": (1, 64), "gain": (0, np.inf), "fps": (0, 60), "opacity": (0, 1), "curtain": (0, 1)}
    for key, (low, high) in limits.items():
        value = (place | look)[key]
        if not _numbers([value], 1) or not low <= value <= high or (value == 0 and key in ("gain", "fps")):
            expected = "more than 0" if key == "gain" else f"{low} to {high}"
            raise InputError("SliceViewer", f"{key} is {value!r}", expected)
    for key in ("together", "signed", "contours", "smooth"):
        if not isinstance((place | look)[key], bool):
            raise InputError("SliceViewer", f"{key} is {(place | look)[key]!r}", "true or false")


def _numbers(values: Any, count: int, kind: type = Real) -> bool:
    """Whether it is so many finite numbers."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return False
    return all(isinstance(v, kind) and not isinstance(v, bool) and np.isfinite(v) for v in values)
