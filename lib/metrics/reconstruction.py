"""How close a reconstruction is to the truth: image metrics of one volume, in float64.

Volumes are numpy arrays or torch tensors of any type and layout, (slices, H, W) or one slice (H, W), real, always `(output, target)` in that
order. `data_range` is the value that counts as full scale: the target volume's maximum where None, whatever slice is
asked about. `where`, a bool array of the volume's shape, restricts a metric to a region such as `foreground(truth)`.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from scipy import ndimage
from torch import Tensor

from lib import InputError, array

WINDOW = 7
UNBIASED = WINDOW**2 / (WINDOW**2 - 1)
K1, K2 = 0.01, 0.03
CHALLENGE_THRESHOLD = 5e-5  # in fastMRI's units


def ssim(
    output: ArrayLike, target: ArrayLike, data_range: float | None = None, *, where: ArrayLike | None = None
) -> float:
    """Structural similarity as fastMRI reports it (Wang et al., IEEE TIP 2004): 1 at best.

    Window uniform 7×7 in the slice, K .01 and .03, sample covariance (× 49/48), pixels whose window lies in the image.
    Data range: the volume's maximum. Reduction: mean over slices; with `where`, mean over its pixels in all slices.
    """
    output, target, data_range = _volumes("ssim", output, target, data_range)
    return _slicewise(output, target, data_range, where, box_mean, WINDOW // 2, UNBIASED)


def ssim_gaussian(output: ArrayLike, target: ArrayLike, data_range: float | None = None) -> float:
    """Structural similarity with the window of Wang et al. 2004 (and of TensorFlow): 1 at best.

    Window Gaussian 11×11, σ 1.5, in the slice, K .01 and .03, population covariance, pixels whose window lies in the
    image. Data range: the volume's maximum (the cine source uses 1). Reduction: mean over slices.
    """
    output, target, data_range = _volumes("ssim_gaussian", output, target, data_range)
    return _slicewise(output, target, data_range, None, gaussian_mean, 5, 1.0)


def ssim3d(output: ArrayLike, target: ArrayLike, data_range: float | None = None) -> float:
    """Structural similarity of a series as one block (…, …, …) whose three axes count alike: 1 at best.

    Window uniform 7×7×7, K .01 and .03, sample covariance (× 343/342), points whose window lies in the block.
    Data range: the block's maximum. Reduction: mean over the block. It is what the cine source reports.
    """
    output, target, data_range = _volumes("ssim3d", output, target, data_range)
    if min(output.shape) < WINDOW:
        raise InputError("ssim3d", f"{tuple(output.shape)} is smaller than the 7×7×7 window")
    return float(ssim_map(output, target, data_range, lambda x: box_mean(x, 3), WINDOW**3 / (WINDOW**3 - 1)).mean())


def ssim_foreground(
    output: ArrayLike, target: ArrayLike, data_range: float | None = None, threshold: float = CHALLENGE_THRESHOLD
) -> float:
    """`ssim` of both volumes with the background set to zero, as the SNU fastMRI Challenge 2022 scores: 1 at best.

    Foreground: `challenge_foreground` of the target, its threshold in the data's units. Window uniform 7×7. Data range:
    the volume's maximum. Reduction: mean over slices, the zeroed background included (there both agree).
    """
    output, target, data_range = _volumes("ssim_foreground", output, target, data_range)
    mask = challenge_foreground(target, threshold)
    return _slicewise(output * mask, target * mask, data_range, None, box_mean, WINDOW // 2, UNBIASED)


def psnr(
    output: ArrayLike, target: ArrayLike, data_range: float | None = None, *, where: ArrayLike | None = None
) -> float:
    """Peak signal to noise ratio, 10·log₁₀(data range² / mean squared error), in dB; infinite for equal volumes.

    Data range: the volume's maximum. Reduction: one mean squared error over the volume (or over `where`), fastMRI's.
    """
    output, target, data_range = _volumes("psnr", output, target, data_range)
    output, target = _restricted(output, target, where)
    error = float(((output - target) ** 2).mean())
    return 10 * math.log10(data_range**2 / error) if error else math.inf


def nmse(
    output: ArrayLike, target: ArrayLike, data_range: float | None = None, *, where: ArrayLike | None = None
) -> float:
    """Squared error over the target's energy, ‖output − target‖² / ‖target‖²: 0 at best.

    Reduction: both sums over the volume (or over `where`), fastMRI's. It has no data range; the argument is there so
    that all metrics are called alike.
    """
    output, target, _ = _volumes("nmse", output, target, 1.0)
    output, target = _restricted(output, target, where)
    energy = float((target**2).sum())
    if not energy:
        raise InputError("nmse", "the target is zero everywhere that it is compared")
    return float(((output - target) ** 2).sum()) / energy


def nrmse(
    output: ArrayLike, target: ArrayLike, data_range: float | None = None, *, where: ArrayLike | None = None
) -> float:
    """‖output − target‖ / ‖target‖, the square root of `nmse`: 0 at best. The cine source reports it."""
    return nmse(output, target, data_range, where=where) ** 0.5


def per_slice(
    metric: Callable[..., float], output: ArrayLike, target: ArrayLike, data_range: float | None = None
) -> np.ndarray:
    """`metric` of each slice alone (slices,), all with the volume's data range.

    Only for the SSIMs of a slice is their mean the volume's value.
    """
    output, target, data_range = _volumes("per_slice", output, target, data_range)
    return np.array([metric(o, t, data_range) for o, t in zip(output, target, strict=True)])


def foreground(target: ArrayLike) -> np.ndarray:
    """Where the object is: bool, of the target's shape; draw it from the noise-free truth where there is one.

    Rule: above a tenth of the volume's 99th percentile, the biggest connected piece (face neighbors, through the
    slices), holes filled slice by slice.
    """
    target = _array(target).numpy()
    pieces, count = ndimage.label(target > 0.1 * np.percentile(target, 99))
    if not count:
        return np.zeros(target.shape, dtype=bool)
    biggest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    slices = biggest.reshape(-1, *target.shape[-2:])
    return np.stack([ndimage.binary_fill_holes(s) for s in slices]).reshape(target.shape)


def challenge_foreground(target: Tensor, threshold: float = CHALLENGE_THRESHOLD) -> Tensor:
    """The SNU challenge's foreground of target (N, H, W), as 0 and 1 of its type.

    Pixels above the threshold, eroded once by a 3×3 square, dilated 15 times, eroded 14 times; beyond the border an
    erosion sees foreground and a dilation background.
    """
    mask = (target > threshold).to(target.dtype).unsqueeze(1)
    return _eroded(_dilated(_eroded(mask, 1), 15), 14).squeeze(1)


def ssim_map(
    x: Tensor, y: Tensor, data_range: float | Tensor, mean: Callable[[Tensor], Tensor], unbiased: float
) -> Tensor:
    """Structural similarity at every place of the window; x, y real (…), float32 or float64, differentiable.

    data_range broadcasts against x. mean: the window's weighted mean over the last axes, valid region. unbiased: factor
    of the covariances. Wang et al. 2004, equation 13, on data divided by their range: at MR's 1e-6 the products of four
    small numbers would leave float32's range.
    """
    x, y = x / data_range, y / data_range
    mean_x, mean_y, power, product = mean(torch.stack((x, y, x * x + y * y, x * y)))
    means = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    numerator = (2 * means + K1**2) * (2 * unbiased * (product - means) + K2**2)
    return numerator / ((squares + K1**2) * (unbiased * (power - squares) + K2**2))


class _BoxMean(torch.autograd.Function):
    """Sums by doubling (1 + 1, 2 + 2, 4 + 2 + 1): faster and closer than a convolution, and never in TF32."""

    @staticmethod
    def forward(ctx, x: Tensor, axes: int) -> Tensor:
        ctx.axes = axes
        for axis in range(-axes, 0):
            n = x.shape[axis] - WINDOW + 1
            two = x.narrow(axis, 0, n + 5) + x.narrow(axis, 1, n + 5)
            four = two.narrow(axis, 0, n + 3) + two.narrow(axis, 2, n + 3)
            x = four.narrow(axis, 0, n) + two.narrow(axis, 4, n) + x.narrow(axis, 6, n)
        return x / WINDOW**axes

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return _BoxMean.apply(F.pad(gradient, (WINDOW - 1,) * (2 * ctx.axes)), ctx.axes), None


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


def _slicewise(output, target, data_range, where, mean, margin: int, unbiased: float) -> float:
    """Mean SSIM over slices, one at a time: a slice's maps fit into the cache."""
    if min(output.shape[1:]) <= 2 * margin:
        raise InputError(
            "ssim", f"a slice of {tuple(output.shape[1:])} is smaller than the {2 * margin + 1}-pixel window"
        )
    maps = (ssim_map(o, t, data_range, mean, unbiased) for o, t in zip(output, target, strict=True))
    if where is None:
        return float(torch.stack([m.mean() for m in maps]).mean())
    inner = _region(where, output)[:, margin:-margin, margin:-margin]
    if not inner.any():
        raise InputError("ssim", "`where` holds no pixel whose window lies in the image")
    return float(torch.cat([m[w] for m, w in zip(maps, inner, strict=True)]).mean())


def _restricted(output: Tensor, target: Tensor, where: ArrayLike | None) -> tuple[Tensor, Tensor]:
    if where is None:
        return output, target
    where = _region(where, output)
    if not where.any():
        raise InputError("metrics", "`where` is empty")
    return output[where], target[where]


def _region(where: ArrayLike, volume: Tensor) -> Tensor:
    where = array(where)
    where = where[None] if where.ndim == 2 else where
    if where.dtype != bool or where.shape != volume.shape:
        raise InputError("metrics", f"`where` is {where.dtype} {where.shape}", f"bool {tuple(volume.shape)}")
    return torch.from_numpy(np.require(where, bool, "CW"))


def _array(x: ArrayLike) -> Tensor:
    x = array(x)
    if x.dtype.kind not in "biuf" or x.ndim not in (2, 3) or not x.size:
        raise InputError("metrics", f"found {x.dtype} {x.shape}", "a real volume (slices, H, W) or slice (H, W)")
    return torch.from_numpy(np.require(x, np.float64, "CAW"))  # views and byte orders that torch refuses are copied


def _volumes(name: str, output: ArrayLike, target: ArrayLike, data_range: float | None) -> tuple[Tensor, Tensor, float]:
    output, target = _array(output), _array(target)
    if output.shape != target.shape:
        raise InputError(name, f"the output is {tuple(output.shape)}, the target {tuple(target.shape)}")
    data_range = float(target.max() if data_range is None else data_range)
    if data_range <= 0:
        raise InputError(name, f"data range {data_range}", "more than 0 (is the target empty?)")
    return (output[None], target[None], data_range) if output.ndim == 2 else (output, target, data_range)


def _dilated(mask: Tensor, times: int) -> Tensor:
    size = 2 * times + 1
    mask = F.max_pool2d(mask, (size, 1), 1, (times, 0))
    return F.max_pool2d(mask, (1, size), 1, (0, times))


def _eroded(mask: Tensor, times: int) -> Tensor:
    return -_dilated(-mask, times)
