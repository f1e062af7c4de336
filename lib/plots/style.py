"""The look of every figure: colors, fonts, line breaks, and how a figure is saved."""

import re
import textwrap
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from lib import InputError
from lib.files import replacing

# Okabe & Ito's colors without the yellow, too faint on white. Bad pixels are sky blue, which no image map contains.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS, DASHES = "osD^vPX<>p", ("-", "--", "-.", ":")
CLASSES = ListedColormap((*PALETTE[1:5], "#F0E442", PALETTE[0]))  # over dark images the yellow is well seen
UNLABELED = "#B0B0B0"  # of hatches, where nothing is labeled
BAD, ERROR_CMAP = "#56B4E9", "magma"
LABEL = 60  # characters of a name in a legend, at most
MUTED, FAINT, DPI, WIDTH = "#595959", "#F2F2F2", 120, 9.0
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9, "figure.titlesize": 12,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": MUTED, "axes.axisbelow": True,
    "xtick.color": MUTED, "ytick.color": MUTED, "grid.color": "#E6E6E6", "legend.frameon": False,
    "figure.dpi": DPI, "savefig.dpi": "figure", "text.parse_math": False,  # dollars in names are dollars
}  # fmt: skip


def look(i: int) -> dict[str, str]:
    """Color, marker and line of the ith of several curves: no two of them alike by color alone."""
    dash = DASHES[i // len(PALETTE) % len(DASHES)]
    return {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)], "linestyle": dash}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the house style, whatever the reader's matplotlibrc says, and take the figure off pyplot's list."""

    @wraps(draw)
    def in_style(*args: Any, **kwargs: Any) -> Figure:
        with plt.style.context(["default", STYLE]):
            fig = draw(*args, **kwargs)
            plt.close(fig)
            return fig

    return in_style


def clean(text: object, most: int | None = None) -> str:
    """A text as a figure can draw it: control characters and halves of characters replaced, `most` characters of it."""
    shown = re.sub(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", re.sub(r"[\t\v\f\r]", " ", str(text)))
    return shown if most is None or len(shown) <= most else f"{shown[: most - 1]}…"


def wrap(text: str | None, inches: float, points: float = 10) -> str:
    """`text`, each of its lines broken into lines that fit `inches` at `points`; an average letter is 0.6 em wide."""
    width = max(int(inches * 72 / (0.6 * points)), 8)
    lines = [line for part in clean(text or "").splitlines() for line in textwrap.wrap(part, width)]
    return "\n".join(line.removesuffix(" ·") for line in lines)


def save(fig: Figure, path: str | Path, dpi: float | None = None) -> Path:
    """Write a figure as PNG, whole or not at all, close it and return the path.

    Parameters
    ----------
    fig : of this package
    path : ends in .png; folders are made
    dpi : None: the figure's own
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError("save", f"{path} ends in {path.suffix!r}", "'.png'")
    try:
        with replacing(path) as partial:
            fig.savefig(partial, format="png", dpi=dpi or "figure", metadata={"Software": None})
    finally:
        plt.close(fig)
    return path
