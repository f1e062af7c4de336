"""GRAPPA's kernels: which acquired lines fill a gap, and weights fitted to fully sampled lines.

Every equation is divided by its sources' magnitude to the power 3/4: the kernel's error grows with the signal, so an
unweighted fit is ruled by the few samples around the center of k-space and amplifies noise everywhere else (the
reason for high-pass GRAPPA: Huang et al., MRM 2008).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

ENERGY_FLOOR = 1e-3  # of the mean energy: below it noise rules, and all equations count alike
LEAST_RIDGE = 1e-4  # the ridge without noise
MOST_RIDGE = 0.1  # that noise adds: more smooths away what it should fill (validation: 17 kinds of scan)
EXTRAPOLATION_RIDGE = (
    0.1  # of the unexplained share of the energy: what is added to the ridge where a kernel extrapolates
)
MOST_EQUATIONS = 8  # equations per unknown from which on every n-th readout will do for a kernel of one gap
NOISE_WINDOW = 100  # the most samples, over all coils, of a window that shows the noise


class Pattern(NamedTuple):
    """Columns that a kernel reads and makes, counted from the first one that it reads."""

    sources: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def extrapolates(self) -> bool:
        return self.targets[0] < 0 or self.targets[-1] > self.sources[-1]


class Windows(NamedTuple):
    """Columns of the windows to fit, sources (N, n) and targets (N, kinds): `shared` serve all kinds, `own` one each."""

    shared: tuple[Tensor, Tensor]
    own: list[tuple[Tensor, Tensor]]

    @property
    def fewest(self) -> int:
        """How many there are for the kind that has the fewest."""
        return len(self.shared[0]) + min((len(sources) for sources, _ in self.own), default=0)

    def to(self, device: torch.device) -> "Windows":
        shared, *own = [(sources.to(device), targets.to(device)) for sources, targets in (self.shared, *self.own)]
        return Windows(shared, own)


def regular(step: int, lines: int) -> Pattern:
    """The kernel of a gap amid `lines` lines of the grid, every step-th."""
    before = (lines - 1) // 2 * step
    return Pattern(tuple(range(0, lines * step, step)), tuple(range(before + 1, before + step)))


def nearest(acquired: list[int], gap: tuple[int, int], step: int, lines: int) -> tuple[Pattern, int]:
    """What fills the gap between two lines, and the column of its first source.

    Parameters
    ----------
    acquired : columns of the acquired lines
    gap : columns of the two lines
    step : of the grid
    lines : how many of the acquired ones nearest to the gap are read, none further away than those of `regular`
    """
    first, last = gap
    distance = {line: max(first - line, line - last) for line in acquired}
    near = [line for line in acquired if distance[line] < (lines + 1) // 2 * step]
    near = sorted(sorted(near, key=distance.__getitem__)[:lines])
    return Pattern(tuple(line - near[0] for line in near), tuple(range(first + 1 - near[0], last - near[0]))), near[0]


def find_windows(sampled: Tensor, pattern: Pattern) -> Windows:
    """All windows of a pattern whose sources and targets are `sampled` (W,), bool; those of some targets only are `own`."""
    start = torch.arange(max(len(sampled) - pattern.sources[-1], 0)).unsqueeze(1)
    sources, targets = start + torch.tensor(pattern.sources), start + torch.tensor(pattern.targets)
    inside = (targets >= 0) & (targets < len(sampled))
    usable = sampled[targets.clamp(0, len(sampled) - 1)] & inside & sampled[sources].all(1, keepdim=True)
    every = usable.all(1)
    kinds = [usable[:, kind] & ~every for kind in range(len(pattern.targets))]
    own = [(sources[fits], targets[fits, kind : kind + 1]) for kind, fits in enumerate(kinds)]
    return Windows((sources[every], targets[every]), own)


def energy(x: Tensor) -> Tensor:
    """|x|² of complex x, in double precision."""
    return torch.view_as_real(x).double().square().sum(-1)


def mean_energy(x: Tensor) -> Tensor:
    """The mean of |x|² as a number in double precision."""
    return torch.linalg.vector_norm(x).double().square() / x.numel()


def noise_energy(lines: Tensor) -> Tensor:
    """Energy of the noise in a sample, E|n|², of fully sampled lines (C, W, H), from the null space of their windows.

    With smooth coils some combination of the samples in a small window holds no signal (Uecker et al., MRM 2014): the
    smallest eigenvalue of the windows' covariance is the noise's energy, but for the factor of Marchenko and Pastur's
    law. Coils without any signal are left out.
    """
    coils, width, height = lines.shape
    side = max(min(math.isqrt(NOISE_WINDOW // coils), width // 2, height // 2, 7), 1)
    windows = lines.unfold(1, side, 1).unfold(2, side, 1)  # C, H', W', side, side
    every = max(windows.shape[1] * windows.shape[2] // (16 * coils * side**2), 1)
    windows = windows[:, :, ::every].permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1).to(torch.complex128)
    count, size = windows.shape
    gram = windows.mH @ windows / count
    diagonal = gram.diagonal().real
    total = diagonal.sum()
    gram = gram + torch.diag((diagonal == 0) * (total + (total == 0)))
    smallest = torch.linalg.eigvalsh(gram)[0].clamp_min(0) * (total > 0)
    return smallest / (1 - min(math.sqrt(size / count), 0.7)) ** 2


def calibrate(
    lines: Tensor,
    power: Tensor,
    windows: Windows,
    pattern: Pattern,
    points: int,
    noise: Tensor,
    outer: Tensor,
    ridge: float | None = None,
    most: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (kinds, C, C, points, n) that predict a pattern's targets from its sources.

    Minimizes Σ w² |source · weights − target|² + λ |weights|², λ being `ridge` of the mean eigenvalue, by Cholesky
    solves in double precision (the sums before are in that of the lines).

    Parameters
    ----------
    lines : complex (C, W, H), center lines of mean energy 1
    power : the lines' energy over coils, (W, H)
    windows : of `find_windows`, on the lines' device; without `own`, all kinds share one normal matrix
    pattern : columns that the kernel reads and makes
    points : readout points, odd
    noise : mean energy per sample of the noise
    outer : mean energy per sample of the samples that the weights will be applied to
    ridge : None chooses it; a kernel that extrapolates gets more in any case
        Model errors fall with the signal, noise doesn't, and the sources to be applied to are weaker than those fitted
        to; to weigh the two as they will be there, noise / outer − noise / fitted is missing from the normal matrix.
    most : limit of equations per unknown

    Returns
    -------
    The weights, and for each of the normal matrices the ridge and the share of the weighted targets' energy that the fit
    leaves unexplained.
    """
    coils, kinds = len(lines), len(windows.own) or 1
    gram, right, square, total = _normal(lines, power, windows.shared, points, most)
    gram, right = gram.repeat(kinds, 1, 1), right.unflatten(1, (kinds, -1)).transpose(0, 1).contiguous()
    square, total = square.unflatten(0, (kinds, -1)).sum(1), total.repeat(kinds)
    for kind, own in enumerate(windows.own):
        if len(own[0]):
            more = _normal(lines, power, own, points, most)
            gram[kind] += more[0]
            right[kind] += more[1]
            square[kind] += more[2].sum()
            total[kind] += more[3]
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    mean = diagonal.real.mean(-1)
    mean = mean + (mean == 0)  # an empty slice: anything invertible
    if ridge is None:
        signal, fitted = (outer - noise).clamp_min(0.1 * noise), mean / total
        missing = noise / (signal + (signal == 0)) - noise / fitted
        ridges = LEAST_RIDGE + missing.clamp(0, MOST_RIDGE)
    else:
        ridges = torch.full_like(mean, ridge)
    diagonal += (ridges * mean).unsqueeze(-1)
    weights = _solve(gram, right)
    explained = (weights.conj() * right).real.sum((1, 2)) / (square + (square == 0))
    unexplained = (1 - explained).clamp(0, 1)
    if pattern.extrapolates:
        more = EXTRAPOLATION_RIDGE * unexplained
        diagonal += (more * mean).unsqueeze(-1)
        ridges = ridges + more
        weights = _solve(gram, right)
    return weights.mT.reshape(-1, coils, coils, points, len(pattern.sources)), ridges, unexplained


def _solve(gram: Tensor, right: Tensor) -> Tensor:
    return torch.cholesky_solve(right, torch.linalg.cholesky_ex(gram)[0])


def _normal(
    x: Tensor, power: Tensor, windows: tuple[Tensor, Tensor], points: int, most: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weighted normal matrix (K, K), right-hand sides (K, kinds · C), targets' squares (kinds · C,) and sum of weights.

    x (C, W, H), its energy over coils `power` (W, H), windows' columns (N, n) and (N, kinds).
    """
    sources, targets = windows
    rows, unknowns = x.shape[-1] - points + 1, len(x) * points * sources.shape[1]
    every = 1 if most is None else max(len(sources) * rows // (most * unknowns), 1)
    source = x[:, sources].unfold(-1, points, every)  # C, windows, n, H', points
    source = source.permute(0, 4, 2, 1, 3).flatten(3).flatten(0, 2)
    target = x[:, targets][..., points // 2 : points // 2 + rows : every]  # C, windows, kinds, H'
    target = target.permute(2, 0, 1, 3).flatten(2).flatten(0, 1)
    seen = power[sources].sum(1).unfold(-1, points, every).sum(-1).flatten() / unknowns
    weight = (seen + ENERGY_FLOOR).pow(-0.75)
    weighted = (source * weight.to(x.real.dtype)).conj()
    gram, right = ((weighted @ y.mT).to(torch.complex128) for y in (source, target))
    return gram, right, energy(target) @ weight, weight.sum()
