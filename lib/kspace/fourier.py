"""Centered orthonormal FFTs, coil combination and cropping.

Arrays are torch tensors, (..., coils, H, W) with H the readout and W the phase encode; k-space and images are
complex, with the zero frequency and the image center at index size // 2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lib import InputError


def fftc(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Centered orthonormal FFT over `dims`; x of any shape, complex or real."""
    x = torch.fft.ifftshift(x, dim=dims)
    return torch.fft.fftshift(torch.fft.fftn(x, dim=dims, norm="ortho"), dim=dims)


def ifftc(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Inverse, and adjoint, of `fftc`."""
    x = torch.fft.ifftshift(x, dim=dims)
    return torch.fft.fftshift(torch.fft.ifftn(x, dim=dims, norm="ortho"), dim=dims)


def fft2c(x: Tensor) -> Tensor:
    """Image (..., H, W) to k-space (..., H, W)."""
    return fftc(x, (-2, -1))


def ifft2c(x: Tensor) -> Tensor:
    """K-space (..., H, W) to image (..., H, W)."""
    return ifftc(x, (-2, -1))


def rss(x: Tensor, dim: int = -3) -> Tensor:
    """Root of the sum of squared magnitudes.

    Its gradient is 0 at 0, as that of torch's vector_norm, which is many times slower over this dimension on a CPU.

    Parameters
    ----------
    x : real or complex, any shape
    dim : the axis of the coils

    Returns
    -------
    Real, without that axis, in x's units.

    References
    ----------
    Roemer et al., MRM 1990.
    """
    parts = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x.unsqueeze(-1)
    power = parts.square().sum((dim - 1 if dim < 0 else dim, -1))
    seen = power != 0  # NaN stays NaN
    return torch.where(seen, power, 1).sqrt() * seen


def sens_expand(image: Tensor, maps: Tensor) -> Tensor:
    """Image (..., H, W) seen by each coil of maps (..., C, H, W), in k-space (..., C, H, W)."""
    return fft2c(image.unsqueeze(-3) * maps)


def sens_reduce(kspace: Tensor, maps: Tensor) -> Tensor:
    """Adjoint of `sens_expand`: k-space (..., C, H, W) to one image (..., H, W)."""
    return (ifft2c(kspace) * maps.conj()).sum(-3)


def center_crop(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """The central `shape` of the last two axes; InputError where x is smaller."""
    (h, w), (top_h, top_w) = shape, x.shape[-2:]
    if not (0 < h <= top_h and 0 < w <= top_w):
        raise InputError("center_crop", f"{h}×{w} does not fit into an image of {top_h}×{top_w}")
    top, left = (top_h - h) // 2, (top_w - w) // 2
    return x[..., top : top + h, left : left + w]


def flip_kspace(kspace: Tensor, axes: Sequence[int], shape: tuple[int, int]) -> Tensor:
    """K-space of the image whose central `shape` is flipped: reversed about the zero frequency.

    Where the two centers differ, a linear phase puts the image back, so the crop is flipped to the pixel.

    Parameters
    ----------
    kspace : complex (..., H, W)
    axes : some of -2 and -1
    shape : (h, w) of the crop, at most (H, W)
    """
    for axis in axes:
        size, kept = kspace.shape[axis], shape[axis]
        last = 2 * ((size - kept) // 2) + kept - 1  # pixel n goes to last − n
        kspace = shift_kspace(_reversed(kspace, axis), axis, last - 2 * (size // 2))
    return kspace


def flip_mask(mask: Tensor, axes: Sequence[int]) -> Tensor:
    """The mask (..., W) of k-space that `flip_kspace` has flipped along `axes`: the readout's direction doesn't matter."""
    return _reversed(mask, -1) if -1 in axes else mask


def flip_count(count: int | Tensor, axes: Sequence[int]) -> int | Tensor:
    """How many of `count` center lines lie in the center block once `flip_mask` has flipped them along `axes`.

    Of an even count one less: the middle of its block isn't the zero frequency.
    """
    return count - (count > 0) * (1 - count % 2) if -1 in axes else count


def _reversed(x: Tensor, axis: int) -> Tensor:
    """x in reverse about the zero frequency, at size // 2, along an axis."""
    size = x.shape[axis]
    return x.index_select(axis, (2 * (size // 2) - torch.arange(size, device=x.device)) % size)


def shift_kspace(kspace: Tensor, axis: int, pixels: int) -> Tensor:
    """K-space (..., H, W) of the image rolled by whole `pixels` along `axis` (-2 or -1), as torch.roll does."""
    size = kspace.shape[axis]
    turns = (torch.arange(size, dtype=torch.float64) - size // 2) * pixels / size
    phase = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns).to(kspace)
    return kspace * (phase if axis == -1 else phase[:, None])
