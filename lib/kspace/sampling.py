"""Which phase-encode lines a scan acquires: fastMRI's five kinds of Cartesian mask.

Every kind samples a block of center lines and adds lines outside it. Lines are counted along W, with the zero frequency
at index W // 2 and the center block of n lines at (W − n + 1) // 2. With the same seed and no padding each kind equals
the class of the fastMRI package that it names, so `seed=file_name` gives the masks that published results were measured
with.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib import InputError
from lib.kspace.fourier import ifftc
from lib.kspace.poisson import poisson_disc, random_points
from lib.text import one_of

Seed = int | str | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Mask:
    """A sampling mask and how it came about.

    Parameters
    ----------
    sampled : bool, True where acquired: (W,), whole columns, or (H, W), points, of a kind in KINDS_2D
    kind : one of KINDS or KINDS_2D; "file" if a file brought it along
    acceleration : the one asked for; `achieved` is the real one
    num_low_frequencies : center lines; of points, the side of the center square
    offset : first line of the grid, None where there is no grid
    padding : (left, right) columns that the scanner never encoded
    seed : gives the same mask again, also if none was asked for
    """

    sampled: Tensor
    kind: str
    acceleration: float
    num_low_frequencies: int
    offset: int | None
    padding: tuple[int, int]
    seed: Seed

    @property
    def achieved(self) -> float:
        """Encoded columns (or points) / acquired ones; padding counts as neither. Infinite where nothing is acquired."""
        acquired = int(self.sampled.sum())
        padding = sum(self.padding) * (1 if self.sampled.ndim == 1 else len(self.sampled))
        return (self.sampled.numel() - padding) / acquired if acquired else math.inf

    @property
    def columns(self) -> Tensor:
        """(W,) bool, the acquired columns; InputError for a mask of points."""
        if self.sampled.ndim != 1:
            raise InputError(
                f"{self.kind} mask {tuple(self.sampled.shape)}",
                "samples single points, not whole columns",
                f"a mask of columns ({', '.join(KINDS)}); points are for zero-filled, SENSE and TV-SENSE",
            )
        return self.sampled

    @property
    def center_count(self) -> int:
        """The center lines that VarNet is given, as in fastMRI: those that the mask was made with.

        0, "look for them in the columns", of a mask that wasn't made here.
        """
        return self.num_low_frequencies if self.kind in _GRIDS else 0


def make_mask(
    kind: str,
    width: int,
    acceleration: float,
    center_fraction: float | None = None,
    num_low_frequencies: int | None = None,
    offset: int | None = None,
    padding: tuple[int, int] = (0, 0),
    seed: Seed | None = None,
    height: int | None = None,
) -> Mask:
    """A mask over `width` lines, or over the points of a plane, with a fully sampled center.

    random: each outer line with one probability, W / acceleration lines expected · equispaced: every acceleration-th
    line, a true GRAPPA grid; with the center the achieved acceleration is lower · equispaced_fraction: a wider step,
    rounded to lines, that reaches the acceleration; not equidistant · magic: two grids, offset to interleave under
    conjugate symmetry · magic_fraction: magic with a wider step. If the center alone reaches the acceleration, random
    and the two fraction kinds sample the center only.

    Of the points of a plane (both phase encodes of a 3-D scan) · poisson: a Poisson disc, points at distances that grow
    outwards · random_2d: outer points with one probability. Both reach the acceleration, center included.

    Parameters
    ----------
    kind : one of KINDS, or of KINDS_2D
    width : number of lines, W
    acceleration : at least 1; a whole number for equispaced and magic
    center_fraction : center lines as a fraction of W, 0 to 1 (magic_fraction: of at most W / acceleration lines)
    num_low_frequencies : center lines as a count; give one of the two. Of points: the side of the center square
    offset : the grid's first line, 0 to step − 1; None: drawn
    padding : (left, right) counts of outer columns that are not sampled
    seed : an int, ints, or a text such as the file's name (its code points); None draws one, which the mask names
    height : of the plane, H; for KINDS_2D only

    Raises
    ------
    InputError
        For anything out of range.

    References
    ----------
    fastMRI's subsample.py: Zbontar et al., arXiv 1811.08839. Magic: Defazio, arXiv 1912.01101.
    """
    if kind not in (*KINDS, *KINDS_2D):
        raise InputError(f"mask kind {kind!r}", *one_of(kind, (*KINDS, *KINDS_2D)))
    if width < 1:
        raise InputError(f"mask width {width}", "", "at least 1 column")
    if not 1 <= acceleration < math.inf:
        raise InputError(f"mask acceleration {acceleration}", "", "a number of at least 1")
    lines = _center_lines(kind, width, acceleration, center_fraction, num_low_frequencies)
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    if kind in KINDS_2D:
        return _points(kind, (height, width), acceleration, lines, offset, padding, seed)

    grid, offset = _GRIDS[kind](width, acceleration, lines, offset, _generator(seed))
    start = (width - lines + 1) // 2
    grid[start : start + lines] = True
    left, right = padding
    if not (left >= 0 and right >= 0 and left + right < width):
        raise InputError(f"mask padding {(left, right)}", "", f"two counts that leave some of the {width} columns")
    if lines and (left > start or width - right < start + lines):
        raise InputError(
            f"mask padding {(left, right)}",
            f"cuts into the {lines} center lines {start} to {start + lines - 1} of {width}",
        )
    grid[:left] = grid[width - right :] = False
    return Mask(torch.from_numpy(grid), kind, acceleration, lines, offset, (left, right), seed)


def _points(
    kind: str,
    shape: tuple[int | None, int],
    acceleration: float,
    side: int,
    offset: int | None,
    padding: tuple[int, int],
    seed: Seed,
) -> Mask:
    if not shape[0] or offset is not None or any(padding):
        raise InputError(
            f"{kind} mask",
            f"height {shape[0]}, offset {offset}, padding {padding}",
            "a height, and neither of the others",
        )
    wanted = round(shape[0] * shape[1] / acceleration)
    if side > min(shape) or side**2 > wanted:
        raise InputError(
            f"{kind} mask",
            f"a center of {side}×{side} points in {shape[0]}×{shape[1]} at acceleration {acceleration:g}",
            f"at most {math.isqrt(min(wanted, min(shape) ** 2))}",
        )
    points = {"poisson": poisson_disc, "random_2d": random_points}[kind](shape, wanted, side, _generator(seed))
    return Mask(torch.from_numpy(points), kind, acceleration, side, None, (0, 0), seed)


def point_spread(columns: Tensor) -> Tensor:
    """What one point becomes along W when only `columns` (W,) are acquired: magnitude (W,), centered, peak 1."""
    if not columns.any():
        raise InputError("point_spread", f"none of the {columns.numel()} columns is acquired")
    spread = ifftc(columns.to(torch.float32), (-1,)).abs()
    return spread / spread.max()


def _center_lines(kind: str, width: int, acceleration: float, fraction: float | None, count: int | None) -> int:
    if (fraction is None) == (count is None):
        raise InputError(
            "mask center", f"give one of center_fraction and num_low_frequencies, found {fraction} and {count}"
        )
    if count is not None:
        if not 0 <= count <= width:
            raise InputError(f"mask num_low_frequencies {count}", "", f"0 to the width, {width}")
        return int(count)
    if not 0 <= fraction <= 1:
        raise InputError(f"mask center_fraction {fraction}", "", "0 to 1")
    lines = round(width * fraction)
    return max(min(lines, round(width / acceleration)), 1) if kind == "magic_fraction" else lines


def _generator(seed: Seed) -> np.random.RandomState:
    """numpy's legacy generator, whose streams are frozen and which fastMRI's masks are drawn from."""
    try:
        rng = np.random.RandomState(tuple(map(ord, seed)) if isinstance(seed, str) else seed)
    except (TypeError, ValueError):
        raise InputError(f"mask seed {seed!r}", "", "an int or ints in 0…2³²−1, or some text") from None
    rng.randint(1)  # fastMRI picks one of its list of accelerations first
    return rng


def _offset(offset: int | None, step: int, rng: np.random.RandomState) -> int:
    if offset is None:
        return int(rng.randint(0, high=step))
    if not 0 <= offset < step:
        raise InputError(f"mask offset {offset}", "", f"0 to {step - 1}, less than the grid's step")
    return int(offset)


def _whole(kind: str, acceleration: float) -> int:
    if acceleration != int(acceleration):
        raise InputError(f"mask acceleration {acceleration}", f"{kind} needs a whole number, the grid's step")
    return int(acceleration)


def _random(width, acceleration, lines, offset, rng):
    if offset is not None:
        raise InputError(f"mask offset {offset}", "a random mask has no grid and takes none")
    outside = width - lines
    probability = (width / acceleration - lines) / outside if outside else 0
    return rng.uniform(size=width) < probability, None


def _equispaced(width, acceleration, lines, offset, rng):
    step = _whole("equispaced", acceleration)
    offset = _offset(offset, step, rng)
    return np.arange(width) % step == offset, offset


def _equispaced_fraction(width, acceleration, lines, offset, rng):
    grid = np.zeros(width, dtype=bool)
    if lines * acceleration >= width:
        return grid, None
    step = acceleration * (lines - width) / (lines * acceleration - width)
    offset = _offset(offset, round(step), rng)
    grid[np.around(np.arange(offset, width - 1, step)).astype(int)] = True
    return grid, offset


def _magic(width, acceleration, lines, offset, rng):
    step = _whole("magic", acceleration)
    offset = _offset(offset, step, rng)
    positive, negative = (offset + 1, offset + 2) if offset % 2 == 0 else (offset + 2, offset - 1)
    # Frequencies 0, 1, … take the first grid; −1, −2, … take the second, counted from the zero frequency outwards.
    grid = np.zeros(width, dtype=bool)
    half = (width + 1) // 2
    grid[positive:half:step] = True
    grid[half:] = np.isin(np.arange(width - half), np.arange(negative, width - half, step))[::-1]
    return np.fft.fftshift(grid), offset


def _magic_fraction(width, acceleration, lines, offset, rng):
    outer = round(width / acceleration) - lines
    if outer <= 0:
        return np.zeros(width, dtype=bool), None
    return _magic(width, round(width / outer), lines, offset, rng)


# width, acceleration, center lines, offset or None, generator → (W,) bool of the lines outside the center, offset used
_GRIDS: dict[str, Callable[..., tuple[np.ndarray, int | None]]] = {
    "random": _random,
    "equispaced": _equispaced,
    "equispaced_fraction": _equispaced_fraction,
    "magic": _magic,
    "magic_fraction": _magic_fraction,
}
KINDS = tuple(_GRIDS)
KINDS_2D = ("poisson", "random_2d")
