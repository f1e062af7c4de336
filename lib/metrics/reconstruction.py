"""How close a reconstruction is to the truth: image metrics of one volume, in float64.

Volumes are numpy arrays or torch tensors of any type and layout, real, (slices, H, W) or one slice (H, W), always
`(output, target)` in that order. `data_range` is the value that counts as full scale: the target volume's maximum if it
is None, whatever slice is asked about. `where`, a bool array of the volume's shape, restricts a metric to a region such
as `foreground(truth)`.
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
from lib.metrics.similarity import SSIM_WINDOW, box_mean, box_ssim_map, gaussian_mean, ssim_map

CHALLENGE_THRESHOLD = 5e-5  # in fastMRI's units


def ssim(
    output: ArrayLike, target: ArrayLike, data_range: float | None = None, *, where: ArrayLike | None = None
) -> float:
    """Structural similarity as fastMRI reports it: 1 at best.

    Window uniform 7×7 in the slice, K .01 and .03, sample covariance (× 49/48), pixels whose window lies in the
    image. Reduction: mean over slices; with `where`, mean over its pixels in all slices.

    Parameters
    ----------
    output, target : real (slices, H, W) or (H, W)
    data_range : full scale; None: the target's maximum
    where : bool of the same shape, the pixels that count

    Raises
    ------
    InputError
        For other shapes, slices smaller than the window, and an empty target or region.

    References
    ----------
    Wang et al., IEEE TIP 2004, equation 13.
    """
    output, target, data_range = _volumes("ssim", output, target, data_range)
    return _slicewise(output, target, data_range, where, box_ssim_map, SSIM_WINDOW // 2)


def ssim_gaussian(output: ArrayLike, target: ArrayLike, data_range: float | None = None) -> float:
    """Structural similarity with the window of Wang et al. 2004 (and of TensorFlow): 1 at best.

    Window Gaussian 11×11, σ 1.5, in the slice, K .01 and .03, population covariance, pixels whose window lies in the
    image. Reduction: mean over slices.

    Parameters
    ----------
    output, target : real (slices, H, W) or (H, W)
    data_range : full scale; None: the target's maximum; the cine source uses 1
    """
    output, target, data_range = _volumes("ssim_gaussian", output, target, data_range)
    return _slicewise(output, target, data_range, None, lambda *slices: ssim_map(*slices, gaussian_mean, 1.0), 5)


def ssim3d(output: ArrayLike, target: ArrayLike, data_range: float | None = None) -> float:
    """Structural similarity of a series as one block whose axes count alike, as the cine source reports it: 1 at best.

    Window uniform 7×7×7, K .01 and .03, sample covariance (× 343/342), points whose window lies in the block.
    Reduction: mean over the block.

    Parameters
    ----------
    output, target : real (…, …, …), at least 7 along each axis
    data_range : full scale; None: the target's maximum
    """
    output, target, data_range = _volumes("ssim3d", output, target, data_range)
    if min(output.shape) < SSIM_WINDOW:
        raise InputError("ssim3d", f"{tuple(output.shape)} is smaller than the 7×7×7 window")
    return float(
        ssim_map(output, target, data_range, lambda x: box_mean(x, 3), SSIM_WINDOW**3 / (SSIM_WINDOW**3 - 1)).mean()
    )


def ssim_foreground(
    output: ArrayLike, target: ArrayLike, data_range: float | None = None, threshold: float = CHALLENGE_THRESHOLD
) -> float:
    """`ssim` of both volumes with the background set to zero, as the SNU fastMRI Challenge 2022 scores: 1 at best.

    Reduction: mean over slices, the zeroed background included (there both agree).

    Parameters
    ----------
    output, target : real (slices, H, W) or (H, W)
    data_range : full scale; None: the target's maximum
    threshold : of `challenge_foreground`, in the data's units
    """
    output, target, data_range = _volumes("ssim_foreground", output, target, data_range)
    mask = challenge_foreground(target, threshold)
    return _slicewise(output * mask, target * mask, data_range, None, box_ssim_map, SSIM_WINDOW // 2)


def psnr(
    output: ArrayLike, target: ArrayLike, data_range: float | None = None, *, where: ArrayLike | None = None
) -> float:
    """Peak signal to noise ratio, 10·log₁₀(data range² / mean squared error), in dB; infinite for equal volumes.

    Reduction: one mean squared error over the volume (or over `where`), fastMRI's.

    Parameters
    ----------
    output, target : real (slices, H, W) or (H, W)
    data_range : full scale; None: the target's maximum
    where : bool of the same shape, the pixels that count
    """
    output, target, data_range = _volumes("psnr", output, target, data_range)
    output, target = _restricted(output, target, where)
    error = float(((output - target) ** 2).mean())
    return 10 * math.log10(data_range**2 / error) if error else math.inf


def nmse(
    output: ArrayLike, target: ArrayLike, data_range: float | None = None, *, where: ArrayLike | None = None
) -> float:
    """Squared error over the target's energy, ‖output − target‖² / ‖target‖²: 0 at best.

    Reduction: both sums over the volume (or over `where`), fastMRI's.

    Parameters
    ----------
    output, target : real (slices, H, W) or (H, W)
    data_range : not used; all metrics are called alike
    where : bool of the same shape, the pixels that count
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
    """‖output − target‖ / ‖target‖, the square root of `nmse`: 0 at best. The cine source reports it.

    Parameters
    ----------
    output, target, data_range, where : see `nmse`
    """
    return nmse(output, target, data_range, where=where) ** 0.5


def per_slice(
    metric: Callable[..., float], output: ArrayLike, target: ArrayLike, data_range: float | None = None
) -> np.ndarray:
    """A metric of each slice alone, (slices,), all with the volume's data range.

    Only for the SSIMs of a slice is their mean the volume's value.

    Parameters
    ----------
    metric : called as (output, target, data_range)
    output, target : real (slices, H, W)
    data_range : full scale; None: the volume's maximum
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


def _slicewise(output, target, data_range, where, similarity: Callable[..., Tensor], margin: int) -> float:
    """Mean SSIM over slices, one at a time: a slice's maps fit into the cache."""
    if min(output.shape[1:]) <= 2 * margin:
        raise InputError(
            "ssim", f"a slice of {tuple(output.shape[1:])} is smaller than the {2 * margin + 1}-pixel window"
        )
    maps = (similarity(o, t, data_range) for o, t in zip(output, target, strict=True))
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
