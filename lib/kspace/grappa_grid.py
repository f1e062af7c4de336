"""The grid of a GRAPPA scan: every R-th line and a block of center lines, read off a mask."""

from collections import Counter
from typing import NamedTuple

from torch import Tensor

from lib import InputError


class Grid(NamedTuple):
    """The sampling pattern of a mask.

    Parameters
    ----------
    acceleration : R; 1 of a fully sampled scan
    offset : lines offset, offset + R, … are acquired
    center : the block center[0] … center[1] − 1 is fully sampled
    reach : the columns to be filled lie in reach[0] … reach[1] − 1
    """

    acceleration: int
    offset: int
    center: tuple[int, int]
    reach: tuple[int, int]  # the columns to be filled lie in reach[0] … reach[1] − 1


def center_block(mask: Tensor) -> tuple[int, int]:
    """Start and stop of the contiguous run of acquired lines about W // 2, or nearest to it, of a mask (W,)."""
    lines = mask.flatten().nonzero().flatten().tolist()
    if not lines:
        raise InputError(f"mask of {mask.numel()} lines", "none is acquired", "at least a block of center lines")
    start = min(lines, key=lambda line: abs(line - mask.numel() // 2))
    stop = start + 1
    while start - 1 in lines:
        start -= 1
    while stop in lines:
        stop += 1
    return start, stop


def find_grid(mask: Tensor) -> Grid:
    """Read the acceleration, offset and center block off a mask (W,), True or non-zero where a line was acquired.

    A side of k-space on which R lines or more lie beyond the last acquired one was never encoded (zero padding) and
    is out of reach; otherwise the reach goes to the edge. One contiguous block of half the lines or more is a fully
    sampled scan. InputError names the gap that breaks the grid.
    """
    start, stop = center_block(mask)
    width, lines = mask.numel(), mask.flatten().nonzero().flatten().tolist()
    sampled, first, last = set(lines), lines[0], lines[-1]
    outside = [line for line in lines if not start <= line < stop]
    if not outside:
        if 2 * len(lines) < width:
            raise InputError(
                "mask is not a GRAPPA grid", f"no line is acquired around the center block {start}–{stop - 1}"
            )
        return Grid(1, 0, (start, stop), (first, last + 1))
    for step in range(2, width):
        offset = outside[0] % step
        if all(line % step == offset for line in outside) and sampled.issuperset(
            range(first + (offset - first) % step, last + 1, step)
        ):
            reach = (0 if first < step else first, width if width - 1 - last < step else last + 1)
            return Grid(step, offset, (start, stop), reach)
    raise InputError("mask is not a GRAPPA grid", f"{_broken(outside, start, stop)}")


def _broken(outside: list[int], start: int, stop: int) -> str:
    """Say which gap or which change of phase across the center block start … stop − 1 keeps lines from being a grid."""
    before = [line for line in outside if line < start]
    after = [line for line in outside if line >= stop]
    pairs = [*zip(before, before[1:], strict=False), *zip(after, after[1:], strict=False)]
    usual = Counter(b - a for a, b in pairs).most_common(1)[0][0] if pairs else 0
    beside = [*zip(before[-1:], [start], strict=False), *zip([stop - 1], after[:1], strict=False)]
    wrong = [(a, b) for a, b in pairs if b - a != usual] + [(a, b) for a, b in beside if usual and b - a > usual]
    if wrong:
        a, b = min(wrong)
        return f"lines {a} and {b} are {b - a} apart where the others are {usual}"
    return (
        f"the lines before the center block {start}–{stop - 1} (… {before[-1]}) and after it ({after[0]} …) "
        f"are not on one grid of every {usual or 'R'}-th line"
    )
