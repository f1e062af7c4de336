"""GRAPPA: missing phase-encode lines filled from acquired ones by weights fitted to the fully sampled center.

K-space is (..., C, H, W): coils, readout, phase encode. The acquired lines are a regular grid (every R-th line) and a
contiguous block of center lines (ACS). Source: Griswold et al., MRM 2002, with a Tikhonov term in the fit.

Three things differ from the textbook. Windows that reach out of the center block are fitted too where all that they
need was acquired. The equations are weighted, and the Tikhonov term follows the noise: see `lib.kspace.grappa_kernels`. And
gaps beside the center block or an edge have kernels of their own, made from the acquired lines nearest to them.
"""

import functools
import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lib import InputError
from lib.kspace.grappa_grid import Grid, find_grid
from lib.kspace.grappa_kernels import (
    MOST_EQUATIONS,
    Pattern,
    Windows,
    calibrate,
    energy,
    find_windows,
    mean_energy,
    nearest,
    noise_energy,
    regular,
)
from lib.text import pluralize

KERNEL = (7, 4)  # what does best on the validation slab
EQUATIONS_PER_UNKNOWN = 16  # equations per unknown from which on a kernel of more than two lines pays
EQUATIONS_IF_WIDE = 6  # the same, where the center block is three times as wide as the kernel
LINES_AT_EDGES = 2  # lines that fill a gap at the center block or an edge: those next to it; more gained nothing


class Report(NamedTuple):
    """What a GRAPPA run used; of several slices and kinds of line, the largest of the last three.

    Parameters
    ----------
    kernel : readout points, acquired lines; (0, 0) where nothing was missing
    acceleration, offset : of the grid
    center : the block of lines fitted to
    ridge : Tikhonov term of the grid's kernel, as a fraction of the mean eigenvalue
    noise : standard deviation of a complex sample, estimated from the center lines
    unexplained : share of the center lines' energy, weighted as the equations are, that the grid's kernel doesn't predict
    """

    kernel: tuple[int, int]
    acceleration: int
    offset: int
    center: tuple[int, int]
    ridge: float
    noise: float
    unexplained: float


@torch.no_grad()
def grappa(
    kspace: Tensor,
    mask: Tensor,
    kernel_size: tuple[int, int] = KERNEL,
    regularization: float | None = None,
    calibration: Tensor | None = None,
    return_report: bool = False,
) -> Tensor | tuple[Tensor, Report]:
    """Fill the missing lines of k-space; acquired samples stay unchanged.

    Sources beyond the edges of k-space count as zero; see `find_grid` for the columns that are left zero.

    Parameters
    ----------
    kspace : complex (..., C, H, W), zero where `mask` is False
    mask : (W,) bool, a grid and a block of center lines
    kernel_size : readout points (odd) and the most acquired lines that a missing sample is made from
        On the grid the next smaller even number of lines is used where the center block gives a wider kernel fewer than
        EQUATIONS_PER_UNKNOWN equations, or fewer than EQUATIONS_IF_WIDE though it is three times as wide (two
        well-determined lines then beat four).
    regularization : Tikhonov term as a fraction of the mean eigenvalue of the normal matrix, above 0
        None chooses it for each slice and kernel from the noise in the center lines and the signal in the others.
    calibration : complex (..., C, H', Wc), fully sampled lines to fit to instead of the mask's center block
    return_report : whether to return a Report, too

    Returns
    -------
    K-space of the same shape, and the Report if asked for.

    Raises
    ------
    InputError
        For a mask without a grid, too few center lines, shapes that don't fit, values that aren't finite.

    References
    ----------
    Griswold et al., MRM 2002.
    """
    points, wanted = kernel_size
    if points < 1 or points % 2 == 0 or wanted < 2:
        raise InputError(
            "grappa", f"kernel_size is {kernel_size}", "an odd number of readout points and at least 2 lines"
        )
    if regularization is not None and not regularization > 0:
        raise InputError("grappa", f"regularization is {regularization}", "more than 0, or None")
    if not kspace.is_complex() or kspace.ndim < 3 or mask.shape != kspace.shape[-1:]:
        found = f"k-space is {kspace.dtype} {tuple(kspace.shape)} and mask {tuple(mask.shape)}"
        raise InputError("grappa", found, "complex (..., C, H, W) and (W,)")
    mask = mask.cpu() != 0
    grid = find_grid(mask)
    filled = kspace.resolve_conj().clone(memory_format=torch.contiguous_format)
    if grid.acceleration == 1:
        return (filled, Report((0, 0), 1, grid.offset, grid.center, 0.0, 0.0, 0.0)) if return_report else filled

    coils, height, width = kspace.shape[-3:]
    if calibration is None:
        source, sampled, center = filled, mask, grid.center
    else:
        if calibration.shape[:-2] != kspace.shape[:-2]:
            expected = f"the leading axes and coils of k-space, {tuple(kspace.shape[:-2])}, then readout and lines"
            raise InputError("grappa", f"calibration is {tuple(calibration.shape)}", expected)
        source, center = calibration.resolve_conj().to(kspace), (0, calibration.shape[-1])
        sampled = torch.ones(center[1], dtype=torch.bool)
    low, high = max(center[0] - (wanted - 1) * grid.acceleration, 0), center[1] + (wanted - 1) * grid.acceleration
    block = slice(center[0] - low, center[1] - low)
    usual, *others = _plan(mask, grid, sampled[low:high], center, (coils, source.shape[-2]), kernel_size)
    usual, *others = (part._replace(windows=part.windows.to(kspace.device)) for part in (usual, *others))
    columns, place = (index.to(kspace.device) for index in _missing_columns(mask, grid))
    outer = mask.clone()
    outer[grid.center[0] : grid.center[1]] = False
    outer = outer.nonzero().flatten().to(kspace.device)

    of_slices = []
    flat = zip(filled.view(-1, coils, height, width), source.reshape(-1, *source.shape[-3:]), strict=True)
    for number, (target, fitted) in enumerate(flat):
        if not torch.view_as_real(fitted).isfinite().all():
            raise InputError(f"k-space of slice {number} holds values that are not finite")
        level = mean_energy(fitted[..., center[0] : center[1]])
        level = level + (level == 0)
        fitted = (fitted[..., low:high] / level.sqrt()).mT.contiguous()  # squares stay within single precision
        if regularization is not None:  # it may be too small for single precision
            fitted = fitted.to(torch.complex128)
        noise = noise_energy(fitted[:, block])
        fit = functools.partial(
            calibrate, fitted, energy(fitted).sum(0), points=points, noise=noise, ridge=regularization
        )
        weights, ridge, unexplained = fit(usual.windows, usual.pattern, outer=mean_energy(target[..., outer]) / level)
        filling = apply_kernel(target[..., grid.offset :: grid.acceleration], weights.to(target.dtype))
        target[..., columns] = filling.permute(1, 2, 3, 0).flatten(2)[..., place]
        for windows, pattern, start in others:
            near = torch.stack([target[..., start + i] for i in pattern.sources], -1)
            weights, *_ = fit(windows, pattern, outer=mean_energy(near) / level, most=MOST_EQUATIONS)
            near = F.pad(near, (0, 0, points // 2, points // 2)).unfold(1, points, 1)
            filling = torch.einsum("chnp,kdcpn->kdh", near, weights.to(target.dtype))
            for line, values in zip(pattern.targets, filling, strict=True):
                target[..., start + line] = values
        if return_report:
            of_slices.append(torch.stack((ridge.max(), (noise * level).sqrt(), unexplained.max())))
    if not return_report:
        return filled
    lines = len(usual.pattern.sources)
    worst = torch.stack(of_slices).amax(0).cpu().tolist() if of_slices else (0.0, 0.0, 0.0)
    return filled, Report((points, lines), grid.acceleration, grid.offset, grid.center, *worst)


@torch.no_grad()
def estimate_noise(block: Tensor) -> float:
    """The standard deviation of a complex sample's noise, from fully sampled lines of k-space (C, H, W)."""
    block = block.mT.contiguous()
    level = mean_energy(block)
    level = level + (level == 0)
    return float((noise_energy(block / level.sqrt()) * level).sqrt())


class Part(NamedTuple):
    """A kernel: the windows that it is fitted to, its pattern, and the column of the first source where it is applied."""

    windows: Windows
    pattern: Pattern
    start: int


def _plan(
    mask: Tensor,
    grid: Grid,
    sampled: Tensor,
    center: tuple[int, int],
    size: tuple[int, int],
    kernel_size: tuple[int, int],
) -> list[Part]:
    """The kernel of the grid, then one for each gap at the center block or an edge that has other lines beside it.

    size: coils, and readouts of the calibration. InputError: too few center lines.
    """
    (coils, height), (points, wanted), step = size, kernel_size, grid.acceleration
    per_line = max(height - points + 1, 0)

    def plenty(windows: Windows, lines: int, enough: int = 1) -> bool:
        return windows.fewest * per_line >= coils * points * lines * (enough if lines > 2 else 1)

    for lines in (wanted, *range((wanted - 1) // 2 * 2, 1, -2)):  # even ones are symmetric about the gap
        pattern = regular(step, lines)
        windows = find_windows(sampled, pattern)
        wide = len(windows.shared[0]) >= 2 * pattern.sources[-1]
        if plenty(windows, lines, EQUATIONS_IF_WIDE if wide else EQUATIONS_PER_UNKNOWN):
            break
    else:
        center_lines, need = center[1] - center[0], step + -(-2 * coils * points // max(per_line, 1))
        raise InputError(
            f"{pluralize(center_lines, 'center line')} of {height} points {'is' if center_lines == 1 else 'are'} too few for "
            f"GRAPPA with {pluralize(coils, 'coil')} at acceleration {step}",
            f"{need} are enough for the smallest kernel ({points} × 2 lines)",
        )
    parts, acquired = [Part(windows, pattern, 0)], mask.nonzero().flatten().tolist()
    ends = [-1] * (grid.reach[0] == 0), [len(mask)] * (grid.reach[1] == len(mask))
    for gap in itertools.pairwise((*ends[0], *acquired, *ends[1])):
        first = gap[0] - (lines - 1) // 2 * step
        on_grid = gap[1] - gap[0] == step and {*gap, *range(first, first + lines * step, step)}.issubset(acquired)
        if gap[1] - gap[0] == 1 or on_grid:
            continue
        for fewer in range(min(wanted, LINES_AT_EDGES), 0, -1):
            other, start = nearest(acquired, gap, step, fewer)
            windows = find_windows(sampled, other)._replace(own=[])
            if plenty(windows, len(other.sources)):
                parts.append(Part(windows, other, start))
                break
    return parts


def apply_kernel(lines: Tensor, weights: Tensor) -> Tensor:
    """GRAPPA's convolution, from grid lines to the missing lines between them; linear in both arguments.

    Parameters
    ----------
    lines : complex (C, H, G), the acquired lines of the grid; zeros stand for samples beyond the edges
    weights : (R − 1, C, C, points, n) of `calibrate`

    Returns
    -------
    (R − 1, C, H, G + 1): [r − 1, …, j] is the line r places after grid line j − 1, r = 1 … R − 1.
    """
    kinds, coils, _, points, count = weights.shape
    before = (count + 1) // 2
    padded = F.pad(lines, (before, count - before, points // 2, points // 2))
    return F.conv2d(padded.unsqueeze(0), weights.flatten(0, 1))[0].unflatten(0, (kinds, coils))


def _missing_columns(mask: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Columns to be filled, and where apply_kernel's lines, in the order (interval, kind), hold them."""
    step, width = grid.acceleration, len(mask)
    intervals = len(range(grid.offset, width, step)) + 1
    columns = (torch.arange(intervals).unsqueeze(1) - 1) * step + grid.offset + torch.arange(1, step)
    columns = columns.flatten()
    place = ((columns >= grid.reach[0]) & (columns < grid.reach[1])).nonzero().flatten()
    place = place[~mask[columns[place]]]
    return columns[place], place
