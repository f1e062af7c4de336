"""Which values of a volume become 0 … 1, by what kind of image it is, and how many are cut off by that."""

import sys
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

CT_WINDOW = (-160.0, 240.0)  # HU
FAT_HU, FAT_SHARE = -100, 0.01  # CT has at least that share of its voxels at or below (fat and air; MR hardly any)
TOP_PERCENTILE = 99.9  # percentile
MOST_CUT_OFF = 0.01  # of the voxels that a given window may cut off without a warning


def is_ct(image: np.ndarray) -> bool:
    """Whether an image's values are HU: at least 1 % of the voxels at or below −100."""
    return bool((image <= FAT_HU).mean() >= FAT_SHARE)


def auto_window(image: np.ndarray) -> tuple[float, float]:
    """(low, high) of an image: −160 … 240 HU for CT, else from its least value to its 99.9th percentile."""
    if is_ct(image):
        return CT_WINDOW
    low, high, top = float(image.min()), float(np.percentile(image, TOP_PERCENTILE)), float(image.max())
    return low, next((value for value in (high, top) if value > low), low + 1)


class Cuts:
    """Counts what windows cut off, and prints it: a warning at once, where a given window cuts off over 1 % of a volume."""

    def __init__(self, window: Sequence[float] | str, channel: str = ""):
        self.window, self.channel, self.kinds, self.warned = window, channel, {}, False

    def choose(self, name: str, image: np.ndarray) -> tuple[float, float]:
        """The window (low, high) of one volume."""
        auto, ct = self.window == "auto", is_ct(image)
        low, high = auto_window(image) if auto else map(float, self.window)
        below, above = float((image < low).mean()), float((image > high).mean())
        kind = ("CT by its values" if ct else "not CT by its values") if auto else "as given"
        self.kinds.setdefault(kind, []).append((below, above, low, high))
        if not auto and below + above > MOST_CUT_OFF and not self.warned:
            hint = "" if ct else "; its values don't look like HU: window auto takes its own range"
            words = f"window {_range(low, high)} cuts off {below + above:.1%}: {_shares(below, above)}{hint}"
            tqdm.write(f"warning: {name}: {words}", file=sys.stdout)
            self.warned = True
        return low, high

    def tell(self) -> None:
        """Print a line for each kind of volume."""
        for kind, rows in self.kinds.items():
            below, above, low, high = np.transpose(rows)
            one = np.ptp(low) == np.ptp(high) == 0
            window = _range(low[0], high[0]) if one else "each one's least value to its 99.9th percentile"
            of = f"{self.channel}: " if self.channel else ""
            print(f"{of}window ({kind}, {len(rows)} volumes): {window}; {_shares(below.mean(), above.mean())}")


def _range(low: float, high: float) -> str:
    return f"{low:g} … {high:g}"


def _shares(below: float, above: float) -> str:
    return f"{below:.1%} of the voxels lie below it and {above:.1%} above"
