"""GRAPPA: missing phase-encode lines filled from acquired ones by weights fitted to the fully sampled centre.

K-space is (..., C, H, W): coils, readout, phase encode. The acquired lines are a regular grid (every R-th line) and a
contiguous block of centre lines (ACS). Source: Griswold et al., MRM 2002, with a Tikhonov term in the fit.

Two things differ from the textbook. Windows that reach out of the centre block are fitted too where all that they
need was acquired. And every equation is divided by its sources' magnitude to the power 3/4: the kernel's error grows
with the signal, so an unweighted fit is ruled by the few samples around the centre of k-space and amplifies noise
everywhere else (the reason for high-pass GRAPPA: Huang et al., MRM 2008).
"""

from collections import Counter
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lib import InputError, count

FLOOR = 1e-3  # of the mean energy: below it noise rules, and all equations count alike
ENOUGH = 16  # equations per unknown from which on a kernel of more than two lines pays


class Grid(NamedTuple):
    """The sampling pattern of a mask: lines offset, offset + R, … and the block center[0] … center[1] − 1."""

    acceleration: int
    offset: int
    center: tuple[int, int]
    reach: tuple[int, int]  # the columns to be filled lie in reach[0] … reach[1] − 1


class Report(NamedTuple):
    """What a GRAPPA run used: `center` are the lines fitted to, `condition` is the worst regularised normal matrix's."""

    kernel: tuple[int, int]  # readout points, acquired lines; (0, 0) where nothing was missing
    acceleration: int
    offset: int
    center: tuple[int, int]
    condition: float


def center_block(mask: Tensor) -> tuple[int, int]:
    """Start and stop of the contiguous run of acquired lines about W // 2, or nearest to it, of a mask (W,)."""
    lines = mask.flatten().nonzero().flatten().tolist()
    if not lines:
        raise InputError(f"mask of {mask.numel()} lines: none is acquired, expected at least a block of centre lines")
    start = min(lines, key=lambda line: abs(line - mask.numel() // 2))
    stop = start + 1
    while start - 1 in lines:
        start -= 1
    while stop in lines:
        stop += 1
    return start, stop


def find_grid(mask: Tensor) -> Grid:
    """Read the acceleration, offset and centre block off a mask (W,), True or non-zero where a line was acquired.

    A side of k-space on which R lines or more lie beyond the last acquired one was never encoded (zero padding) and is
    out of reach; otherwise the reach goes to the edge. One contiguous block of half the lines or more is a fully
    sampled scan. InputError names the gap that breaks the grid.
    """
    start, stop = center_block(mask)
    width, lines = mask.numel(), mask.flatten().nonzero().flatten().tolist()
    sampled, first, last = set(lines), lines[0], lines[-1]
    outside = [line for line in lines if not start <= line < stop]
    if not outside:
        if 2 * len(lines) < width:
            raise InputError(
                f"mask is not a GRAPPA grid: no line is acquired around the centre block {start}–{stop - 1}"
            )
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


@torch.no_grad()
def grappa(
    kspace: Tensor,
    mask: Tensor,
    kernel_size: tuple[int, int] = (5, 4),
    regularization: float = 3e-3,
    calibration: Tensor | None = None,
    return_report: bool = False,
) -> Tensor | tuple[Tensor, Report]:
    """Fill the missing lines of kspace (..., C, H, W), complex, zero where mask (W,) is False.

    kernel_size: readout points (odd) and the most acquired lines that a missing sample is made from; where the centre
    block gives a wider kernel fewer than ENOUGH equations per unknown, the next smaller even number of lines is used
    (on noisy heads two well-determined lines then beat four). regularization: Tikhonov term, as a fraction of the
    mean eigenvalue of the normal matrix. calibration (..., C, H', Wc): fully sampled lines to fit the weights to,
    instead of the mask's centre block.

    Returns k-space of the same shape, in which acquired samples are unchanged, and the Report if asked for. Sources
    beyond the edges of k-space count as zero; see `find_grid` for the columns that are left zero.
    InputError: mask without a grid, too few centre lines, shapes that don't fit, values that aren't finite.
    """
    points, wanted = kernel_size
    if points < 1 or points % 2 == 0 or wanted < 2:
        raise InputError(f"kernel_size is {kernel_size}, expected an odd number of readout points and at least 2 lines")
    if regularization <= 0:
        raise InputError(f"regularization is {regularization}, expected more than 0")
    if not kspace.is_complex() or kspace.ndim < 3 or mask.shape != kspace.shape[-1:]:
        raise InputError(
            f"k-space is {kspace.dtype} {tuple(kspace.shape)} and mask {tuple(mask.shape)}, "
            "expected complex (..., C, H, W) and (W,)"
        )
    grid = find_grid(mask)
    filled = kspace.resolve_conj().clone(memory_format=torch.contiguous_format)
    if grid.acceleration == 1:
        return (filled, Report((0, 0), 1, grid.offset, grid.center, 1.0)) if return_report else filled

    coils, height, width = kspace.shape[-3:]
    if calibration is None:
        source, sampled, center = filled, mask.cpu().bool(), grid.center
        on_grid = (torch.arange(width) - grid.offset) % grid.acceleration == 0
    else:
        if calibration.shape[:-2] != kspace.shape[:-2]:
            raise InputError(
                f"calibration is {tuple(calibration.shape)}, expected the leading axes and coils of k-space, "
                f"{tuple(kspace.shape[:-2])}, then readout and lines"
            )
        source, center = calibration.resolve_conj().to(kspace), (0, calibration.shape[-1])
        sampled = on_grid = torch.zeros(center[1], dtype=torch.bool)
    per_line = max(source.shape[-2] - points + 1, 0)
    for lines in (wanted, *range((wanted - 1) // 2 * 2, 1, -2)):  # even ones are symmetric about the gap
        windows = _windows(sampled, on_grid, center, grid.acceleration, lines)
        if windows.fewest * per_line >= coils * points * lines * (ENOUGH if lines > 2 else 1):
            break
    else:
        there, need = center[1] - center[0], grid.acceleration + -(-2 * coils * points // max(per_line, 1))
        raise InputError(
            f"{count(there, 'centre line')} of {source.shape[-2]} points {'is' if there == 1 else 'are'} too few for GRAPPA with "
            f"{count(coils, 'coil')} at acceleration {grid.acceleration}: {need} are enough for the smallest "
            f"kernel ({points} × 2 lines)"
        )

    columns, place = (index.to(kspace.device) for index in _missing_columns(mask, grid))
    condition = 1.0
    flat = zip(filled.view(-1, coils, height, width), source.reshape(-1, *source.shape[-3:]), strict=True)
    for number, (target, fitted) in enumerate(flat):
        if not fitted.isfinite().all():
            raise InputError(f"k-space of slice {number} holds values that are not finite")
        level = torch.view_as_real(fitted[..., center[0] : center[1]]).double().square().sum(-1).mean()
        weights, normal = calibrate(
            fitted, windows, grid.acceleration, (points, lines), level + (level == 0), regularization
        )
        made = apply_kernel(target[..., grid.offset :: grid.acceleration], weights)
        target[..., columns] = made.permute(1, 2, 3, 0).flatten(2)[..., place]
        if return_report:
            values = torch.linalg.eigvalsh(normal)
            condition = max(condition, (values[:, -1] / values[:, 0]).max().item())
    report = Report((points, lines), grid.acceleration, grid.offset, center, condition)
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


class Windows(NamedTuple):
    """First source columns of the windows to fit: `shared` serve every kind of missing line, `own[r − 1]` only kind r."""

    shared: Tensor
    own: list[Tensor]

    @property
    def fewest(self) -> int:
        return len(self.shared) + min(map(len, self.own))


def _windows(sampled: Tensor, on_grid: Tensor, center: tuple[int, int], step: int, lines: int) -> Windows:
    """All windows inside the centre block, and those on the grid around it whose target was acquired."""
    span = (lines - 1) * step
    start = torch.arange(max(len(sampled) - span, 0))
    inside = (start >= center[0]) & (start + span < center[1])
    around = on_grid[start] & ~inside
    for line in range(lines):
        around &= sampled[start + line * step]
    target = start + (lines - 1) // 2 * step
    return Windows(start[inside], [start[around & sampled[target + kind]] for kind in range(1, step)])


def calibrate(
    lines: Tensor, windows: Windows, step: int, kernel: tuple[int, int], level: Tensor, regularization: float
) -> tuple[Tensor, Tensor]:
    """Weights (R − 1, C, C, points, n) that predict the samples between grid lines, fitted to lines (C, H, W).

    level: the mean energy of a calibration sample. Minimises Σ w² |source · weights − target|² + λ |weights|², λ being
    `regularization` of the mean eigenvalue; one Cholesky solve in double precision for all kinds. Also returns the
    regularised normal matrices (R − 1, K, K).
    """
    kinds = list(range(1, step))
    gram, right = _normal(lines, windows.shared, step, kernel, kinds, level)
    gram, right = gram.repeat(step - 1, 1, 1), right.unflatten(1, (step - 1, -1)).transpose(0, 1).contiguous()
    for kind, own in zip(kinds, windows.own, strict=True):
        more = _normal(lines, own, step, kernel, [kind], level)
        gram[kind - 1] += more[0]
        right[kind - 1] += more[1]
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    mean = diagonal.real.mean(-1, keepdim=True)
    diagonal += regularization * mean + (mean == 0)  # an empty slice: anything invertible
    weights = torch.cholesky_solve(right, torch.linalg.cholesky(gram)).mT
    return weights.to(lines.dtype).unflatten(-1, (len(lines), *kernel)), gram


def _normal(
    x: Tensor, start: Tensor, step: int, kernel: tuple[int, int], kinds: list[int], level: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted normal matrix (K, K) and right-hand sides (K, kinds · C) of the windows that start at columns `start`."""
    points, count = kernel
    edge = points // 2
    middle = start + (count - 1) // 2 * step
    start = start.unsqueeze(1) + torch.arange(count) * step
    target = middle.unsqueeze(1) + torch.tensor(kinds)
    source = x[..., start.to(x.device)].unfold(1, points, 1)  # C, H', windows, n, points
    source = source.permute(1, 2, 0, 4, 3).flatten(2).flatten(0, 1).to(torch.complex128)
    made = x[:, edge : x.shape[1] - edge][..., target.to(x.device)]  # C, H', windows, kinds
    made = made.permute(1, 2, 3, 0).flatten(2).flatten(0, 1).to(torch.complex128)
    energy = torch.view_as_real(source).square().sum(-1).mean(-1, keepdim=True)
    weight = (energy / level + FLOOR).pow(-0.375)
    source, made = source * weight, made * weight
    return source.mH @ source, source.mH @ made


def _missing_columns(mask: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Columns to be filled, and where apply_kernel's lines, in the order (interval, kind), hold them."""
    step, width = grid.acceleration, len(mask)
    intervals = len(range(grid.offset, width, step)) + 1
    columns = (torch.arange(intervals).unsqueeze(1) - 1) * step + grid.offset + torch.arange(1, step)
    columns = columns.flatten()
    place = ((columns >= grid.reach[0]) & (columns < grid.reach[1])).nonzero().flatten()
    place = place[~mask.cpu().bool()[columns[place]]]
    return columns[place], place
