"""GRAPPA: missing phase-encode lines filled from acquired ones by weights fitted to the fully sampled centre.

K-space is (..., C, H, W): coils, readout, phase encode. The acquired lines are a regular grid (every R-th line) and a
contiguous block of centre lines (ACS). Source: Griswold et al., MRM 2002; Tikhonov-regularised fit.
"""

from collections import Counter
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lib import InputError

ENERGY_POWER = 0.25  # an equation's weight is its source energy to minus this power: see _equations
ENERGY_FLOOR = 1e-3  # of the mean energy; below it noise rules and all equations count alike
ENOUGH = 6  # equations per unknown from which on a kernel of more lines is worth its unknowns


class Grid(NamedTuple):
    """The sampling pattern of a mask: lines offset, offset + R, … and the block center[0] … center[1] − 1."""

    acceleration: int
    offset: int
    center: tuple[int, int]
    reach: tuple[int, int]  # the columns to be filled lie in reach[0] … reach[1] − 1


class Report(NamedTuple):
    """What a GRAPPA run used; `condition` is the worst of its regularised normal matrices."""

    kernel: tuple[int, int]  # readout points, acquired lines; (0, 0) where nothing was missing
    acceleration: int
    offset: int
    center: tuple[int, int]
    condition: float


def find_grid(mask: Tensor) -> Grid:
    """Read the acceleration, offset and centre block off a mask (W,), True or non-zero where a line was acquired.

    The centre block is the contiguous run of lines about W // 2. A side of k-space on which R lines or more lie
    beyond the last acquired one was never encoded (zero padding) and is out of reach; otherwise the reach goes to
    the edge. InputError names the gap that breaks the grid.
    """
    width = mask.numel()
    lines = mask.flatten().nonzero().flatten().tolist()
    if not lines:
        raise InputError(f"mask of {width} lines: none is acquired, GRAPPA needs a grid and a block of centre lines")
    sampled, first, last = set(lines), lines[0], lines[-1]
    start = min(lines, key=lambda line: abs(line - width // 2))
    stop = start + 1
    while start - 1 in sampled:
        start -= 1
    while stop in sampled:
        stop += 1
    outside = [line for line in lines if not start <= line < stop]
    if not outside:
        return Grid(1, 0, (start, stop), (first, last + 1))
    for step in range(2, width):
        offset = outside[0] % step
        if all(line % step == offset for line in outside) and sampled.issuperset(
            range(first + (offset - first) % step, last + 1, step)
        ):
            reach = (0 if first < step else first, width if width - 1 - last < step else last + 1)
            return Grid(step, offset, (start, stop), reach)
    raise InputError(f"mask is not a GRAPPA grid: {_broken(outside, start, stop)}")


def _broken(outside: list[int], start: int, stop: int) -> str:
    """Say which gap or which change of phase across the centre block start … stop − 1 keeps lines from being a grid."""
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
        f"the lines before the centre block {start}–{stop - 1} (… {before[-1]}) and after it ({after[0]} …) "
        f"are not on one grid of every {usual or 'R'}-th line"
    )


def grappa(
    kspace: Tensor,
    mask: Tensor,
    kernel_size: tuple[int, int] = (5, 4),
    regularization: float = 1e-2,
    calibration: Tensor | None = None,
    return_report: bool = False,
) -> Tensor | tuple[Tensor, Report]:
    """Fill the missing lines of kspace (..., C, H, W), complex, zero where mask (W,) is False.

    kernel_size: readout points (odd) and number of acquired lines that a missing sample is made from; where the
    centre block is too short for that many lines, the most that fit are used. regularization: Tikhonov term, as a
    fraction of the mean eigenvalue of the normal matrix. calibration (..., C, H', Wc): fully sampled lines to fit
    the weights to, instead of the mask's centre block.

    Returns k-space of the same shape, in which acquired samples are unchanged, and the Report if asked for. Sources
    beyond the edges of k-space count as zero; see `find_grid` for the columns that are left zero.
    InputError: mask without a grid, too few centre lines, shapes that don't fit, values that aren't finite.
    """
    points, wanted = kernel_size
    if points < 1 or points % 2 == 0 or wanted < 2:
        raise InputError(f"kernel_size is {kernel_size}, expected an odd number of readout points and at least 2 lines")
    if not kspace.is_complex() or kspace.ndim < 3 or mask.shape != kspace.shape[-1:]:
        raise InputError(
            f"k-space is {kspace.dtype} {tuple(kspace.shape)} and mask {tuple(mask.shape)}, "
            "expected complex (..., C, H, W) and (W,)"
        )
    grid = find_grid(mask)
    filled = kspace.clone()
    if grid.acceleration == 1:
        return (filled, Report((0, 0), 1, grid.offset, grid.center, 1.0)) if return_report else filled

    coils, height, width = kspace.shape[-3:]
    if calibration is None:
        source, sampled, center = kspace, mask.cpu().bool(), grid.center
        on_grid = (torch.arange(width) - grid.offset) % grid.acceleration == 0
    else:
        if calibration.shape[:-2] != kspace.shape[:-2]:
            raise InputError(
                f"calibration is {tuple(calibration.shape)}, expected the leading axes and coils of k-space, "
                f"{tuple(kspace.shape[:-2])}, then readout and lines"
            )
        source, center = calibration.to(kspace), (0, calibration.shape[-1])
        sampled = on_grid = torch.zeros(center[1], dtype=torch.bool)
    per_line = max(source.shape[-2] - points + 1, 0)
    for lines in range(wanted, 1, -1):
        starts = _window_starts(sampled, on_grid, center, grid.acceleration, lines)
        ratio = min(map(len, starts)) * per_line / (coils * points * lines)
        if ratio >= (ENOUGH if lines > 2 else 1):
            break
    else:
        need = grid.acceleration + -(-2 * coils * points // max(per_line, 1))
        raise InputError(
            f"{center[1] - center[0]} centre lines of {source.shape[-2]} points are too few for GRAPPA with {coils} "
            f"coils at acceleration {grid.acceleration}: the smallest kernel ({points} × 2 lines) needs {need} lines"
        )

    columns, missing = _missing_columns(mask, grid)
    condition = 1.0
    slices = zip(
        filled.view(-1, coils, height, width), source.reshape(-1, coils, *source.shape[-2:]), strict=True
    )
    for target, fitted in slices:
        weights, worst = _fit(fitted, starts, grid.acceleration, center, (points, lines), regularization, return_report)
        condition = max(condition, worst)
        made = apply_kernel(target[..., grid.offset :: grid.acceleration], weights)
        target[..., columns] = made.permute(1, 2, 3, 0).flatten(2)[..., missing]
    report = Report((points, lines), grid.acceleration, grid.offset, grid.center, condition)
    return (filled, report) if return_report else filled


def apply_kernel(lines: Tensor, weights: Tensor) -> Tensor:
    """GRAPPA's convolution, from grid lines to the missing lines between them; linear in both arguments.

    lines (C, H, G): the acquired lines of the grid; weights (R − 1, C, C, points, n) from `calibrate`
    → (R − 1, C, H, G + 1): [r − 1, …, j] is the line r places after grid line j − 1, r = 1 … R − 1. Zeros stand for
    samples beyond the edges.
    """
    kinds, coils, _, points, count = weights.shape
    before = (count + 1) // 2
    padded = F.pad(lines, (before, count - before, points // 2, points // 2))
    return F.conv2d(padded.unsqueeze(0), weights.flatten(0, 1))[0].unflatten(0, (kinds, coils))


def _window_starts(sampled: Tensor, on_grid: Tensor, center: tuple[int, int], step: int, lines: int) -> list[Tensor]:
    """First source columns of the windows that the weights of each kind of missing line can be fitted to.

    All windows inside the centre block serve every kind. A window on the grid may reach out of the block, as its
    sources are acquired anyway; it serves the kinds whose target is.
    """
    span = (lines - 1) * step
    first = torch.arange(max(len(sampled) - span, 0))
    inside = (first >= center[0]) & (first + span < center[1])
    aligned = on_grid[first].clone()
    for line in range(lines):
        aligned &= sampled[first + line * step]
    target = first + ((lines + 1) // 2 - 1) * step
    return [first[inside | aligned & sampled[target + kind]] for kind in range(1, step)]


def _missing_columns(mask: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Columns to be filled, and where apply_kernel's lines, in the order (interval, kind), hold them."""
    step, width = grid.acceleration, len(mask)
    intervals = len(range(grid.offset, width, step)) + 1
    columns = (torch.arange(intervals).unsqueeze(1) - 1) * step + grid.offset + torch.arange(1, step)
    columns = columns.flatten()
    place = ((columns >= grid.reach[0]) & (columns < grid.reach[1])).nonzero().flatten()
    place = place[~mask.cpu().bool()[columns[place]]]
    return columns[place], place
