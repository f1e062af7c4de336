"""The map of structural similarity, and the windows that its means are taken over."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_WINDOW = 7
SAMPLE_COVARIANCE = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # of a window: n / (n − 1)
K1, K2 = 0.01, 0.03
STRIP = 128  # rows


def ssim_map(
    x: Tensor, y: Tensor, data_range: float | Tensor, mean: Callable[[Tensor], Tensor], unbiased: float
) -> Tensor:
    """Structural similarity at every place of the window; differentiable.

    Computed on data divided by their range: at MR's 1e-6 the products of four small numbers would leave float32's
    range.

    Parameters
    ----------
    x, y : real (…), float32 or float64
    data_range : full scale, broadcast against x
    mean : the window's weighted mean over the last axes, valid region
    unbiased : factor of the covariances

    References
    ----------
    Wang et al., IEEE TIP 2004, equation 13.
    """
    x, y = x / data_range, y / data_range
    mean_x, mean_y, power, product = mean(torch.stack((x, y, x * x + y * y, x * y)))
    means = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    numerator = (2 * means + K1**2) * (2 * unbiased * (product - means) + K2**2)
    return numerator / ((squares + K1**2) * (unbiased * (power - squares) + K2**2))


def box_ssim_map(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """`ssim_map` of one slice by `box_mean`, for metrics: no gradient, each window's sums in a third of the time.

    With p = x + y and q = x − y the formula needs windows' sums of p, q, p² and q² alone. Rows lie one behind the other,
    so that a shifted slice is one piece of memory, and are taken in strips that fit into the cache.

    Parameters
    ----------
    x, y : real (H, W), contiguous, of one type, both sides at least 7
    data_range : full scale

    Returns
    -------
    (H − 6, W − 6) of the same type
    """
    height, width = x.shape
    tops, rows = range(0, height - SSIM_WINDOW + 1, STRIP), STRIP + SSIM_WINDOW - 1
    return torch.cat([_strip(*(a[top : top + rows].flatten() for a in (x, y)), width, data_range) for top in tops])


def _strip(x: Tensor, y: Tensor, width: int, data_range: float) -> Tensor:
    """`box_ssim_map` of some rows, flattened; what a shift carries over the end of a row is cut off at last."""
    count, edge = SSIM_WINDOW**2, SSIM_WINDOW - 1
    f = x.new_empty(4, len(x))
    torch.add(x, y, out=f[0])
    torch.sub(x, y, out=f[1])
    torch.square(f[:2].div_(data_range), out=f[2:])
    for step in (1, width):
        f = _sums(f, -1, step)
    means = f[:2] * f[:2]  # × count² here, as all that follows
    spreads = f[2:].mul_(count).sub_(means)
    one, two = 2 * (K1 * count) ** 2, 2 * (K2 * count) ** 2 / SAMPLE_COVARIANCE
    top = (means[0] - means[1]).add_(one).mul_((spreads[0] - spreads[1]).add_(two))
    below = means[0].add_(means[1]).add_(one).mul_(spreads[0].add_(spreads[1]).add_(two))
    return top.div_(below).as_strided((len(x) // width - edge, width - edge), (width, 1))


def _sums(x: Tensor, axis: int, step: int = 1) -> Tensor:
    """Sums of seven neighbors along an axis, `step` apart, by doubling (1 + 1, 2 + 2, 4 + 2 + 1).

    Faster and closer than a convolution, and never in TF32.
    """
    n = x.shape[axis] - (SSIM_WINDOW - 1) * step
    two = x.narrow(axis, 0, n + 5 * step) + x.narrow(axis, step, n + 5 * step)
    four = two.narrow(axis, 0, n + 3 * step) + two.narrow(axis, 2 * step, n + 3 * step)
    return four.narrow(axis, 0, n).add_(two.narrow(axis, 4 * step, n)).add_(x.narrow(axis, 6 * step, n))


class _BoxMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, axes: int) -> Tensor:
        ctx.axes = axes
        for axis in range(-axes, 0):
            x = _sums(x, axis)
        return x / SSIM_WINDOW**axes

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return _BoxMean.apply(F.pad(gradient, (SSIM_WINDOW - 1,) * (2 * ctx.axes)), ctx.axes), None


def box_mean(x: Tensor, axes: int = 2) -> Tensor:
    """Mean over the 7-wide window in each of the last `axes` axes, valid region; differentiable."""
    return _BoxMean.apply(x, axes)


def gaussian_mean(x: Tensor) -> Tensor:
    """Weighted mean over an 11×11 window, σ 1.5, valid region."""
    weights = [math.exp(-0.5 * (d / 1.5) ** 2) for d in range(-5, 6)]
    for axis in (-2, -1):
        n = x.shape[axis] - 10
        mean = torch.zeros_like(x.narrow(axis, 0, n))
        for start, weight in enumerate(weights):
            mean.add_(x.narrow(axis, start, n), alpha=weight / sum(weights))
        x = mean
    return x
