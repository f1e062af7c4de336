"""What stands in a panel of a picture: an image and its window, or the reason why there is none. No matplotlib."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lib import InputError, array
from lib.text import did_you_mean

WHITE = 99.5  # the percentile that is shown white


def magnitude(x: Any) -> np.ndarray:
    """numpy or torch array of any shape, type and device → float32 numpy, the magnitude where it is complex."""
    x = array(x)
    return (np.abs(x) if np.iscomplexobj(x) else x).astype(np.float32)


def is_array(panel: Any) -> bool:
    """Whether a panel holds an image; else it is None or the text that says why there is none."""
    return panel is not None and not isinstance(panel, str)


def is_painted(panel: Any) -> bool:
    """Whether a panel is pixels already, (H, W, 3) uint8."""
    return getattr(panel, "ndim", 0) == 3 and str(panel.dtype) == "uint8" and panel.shape[-1] == 3


def unavailable(panel: str | None, note: str | None = None) -> str:
    """What is shown in place of an image: "n/a: reason", the reason being the panel's own text or its note."""
    return f"n/a: {panel or note}" if panel or note else "n/a"


def white_point(image: Any) -> float:
    """The value that is shown white where 0 is black: the 99.5th percentile of the magnitude, above 0."""
    return max(float(np.percentile(magnitude(image), WHITE)), 1e-12)


def window_of(images: Mapping[str, Any], window: tuple[float, float] | None = None) -> tuple[float, float]:
    """`window` (low, high), else percentiles 0 and WHITE of the finite values of "truth", or of all without a truth."""
    if window is None:
        chosen = [images["truth"]] if is_array(images.get("truth")) else filter(is_array, images.values())
        values = np.concatenate([np.empty(0), *(a[np.isfinite(a)] for a in map(magnitude, chosen))])
        low, high = map(float, np.percentile(values, (0, WHITE))) if values.size else (0.0, 1.0)
        window = low, high if high > low else low + 1.0
    try:
        low, high = map(float, window)
    except (TypeError, ValueError):
        low = high = np.nan
    if not -np.inf < low < high < np.inf:
        raise InputError(f"window is {window}, expected (low, high) with low < high")
    return low, high


def check_names(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    """InputError for the first of `names` that `known` hasn't got, with the nearest of them."""
    known = list(map(str, known))
    for name in map(str, names):
        if name not in known:
            raise InputError(
                where, f"unknown name {name!r}; {did_you_mean(name, known)}expected one of {', '.join(known)}"
            )
