"""SENSE reconstruction with given coil maps: least squares by conjugate gradients, and with total variation.

The encoding A takes an image to the acquired lines of every coil's k-space, A x = M·F(S·x). A Cartesian mask does not
vary along the readout, so k-space is transformed there once and F is one 1-D FFT along the phase encode.
"""

import torch
from torch import Tensor

from lib import InputError
from lib.grappa import find_grid
from lib.kspace import fftc, ifft2c, ifftc, rss


class Encoding:
    """A and its adjoint for maps (..., C, H, W) and mask (W,); images (..., H, W), hybrid k-space (..., C, H, W)."""

    def __init__(self, maps: Tensor, mask: Tensor):
        if mask.shape != maps.shape[-1:]:
            raise InputError(f"mask of shape {tuple(mask.shape)}, expected ({maps.shape[-1]},), the maps' columns")
        self.maps, self.mask = maps, mask

    def __call__(self, image: Tensor) -> Tensor:
        return fftc(image.unsqueeze(-3) * self.maps, (-1,)) * self.mask

    def adjoint(self, hybrid: Tensor) -> Tensor:
        return (ifftc(hybrid * self.mask, (-1,)) * self.maps.conj()).sum(-3)

    def normal(self, image: Tensor) -> Tensor:
        return self.adjoint(self(image))


def cg_sense(
    kspace: Tensor, maps: Tensor, mask: Tensor, iterations: int = 15, regularization: float = 1e-2
) -> Tensor:
    """The complex image (..., H, W) that solves (AᴴA + λ) x = Aᴴ k, by conjugate gradients (Pruessmann, MRM 2001).

    kspace and maps (..., C, H, W), mask (W,) bool; `regularization` is λ, on the scale of maps whose RSS is 1. Leading
    axes are solved side by side, each with its own steps.
    """
    encoding = Encoding(maps, mask)
    residual = encoding.adjoint(ifftc(kspace, (-2,)))
    image, direction, power = torch.zeros_like(residual), residual, _energy(residual)
    for _ in range(iterations):
        applied = encoding.normal(direction) + regularization * direction
        step = power / _inner(direction, applied).clamp_min(torch.finfo(power.dtype).tiny)
        image = image + step * direction
        residual = residual - step * applied
        previous, power = power, _energy(residual)
        direction = residual + power / previous.clamp_min(torch.finfo(power.dtype).tiny) * direction
    return image


def tv_sense(
    kspace: Tensor, maps: Tensor, mask: Tensor, iterations: int = 60, regularization: float = 1e-3
) -> Tensor:
    """The complex image (..., H, W) that minimises ½‖A x − k‖² + λ·TV(x): compressed sensing (Lustig, MRM 2007).

    TV is the isotropic total variation of the complex image; λ is `regularization` times the largest magnitude of Aᴴk
    in each slice. Solved by the primal-dual method of Condat (J Optim Theory Appl 2013) and Vũ, whose steps here fit
    maps with an RSS of at most 1 (then ‖AᴴA‖ ≤ 1; ‖∇‖² ≤ 8).
    """
    encoding = Encoding(maps, mask)
    start = encoding.adjoint(ifftc(kspace, (-2,)))
    weight = regularization * start.abs().amax((-2, -1), keepdim=True)
    image, dual = start, torch.zeros((2, *start.shape), dtype=start.dtype, device=start.device)
    tau, sigma = 1.0, 1 / 16  # 1/τ − σ‖∇‖² ≥ ‖AᴴA‖ / 2
    for _ in range(iterations):
        updated = image - tau * (encoding.normal(image) - start - divergence(dual))
        dual = dual + sigma * gradient(2 * updated - image)
        length = torch.linalg.vector_norm(dual, dim=0)
        dual = dual * (weight / torch.maximum(length, weight).clamp_min(torch.finfo(length.dtype).tiny))
        image = updated
    return image


def gradient(image: Tensor) -> Tensor:
    """Forward differences along H and W of (..., H, W), zero at the far edge: (2, ..., H, W)."""
    result = torch.zeros((2, *image.shape), dtype=image.dtype, device=image.device)
    result[0, ..., :-1, :] = image.diff(dim=-2)
    result[1, ..., :, :-1] = image.diff(dim=-1)
    return result


def divergence(field: Tensor) -> Tensor:
    """Minus the adjoint of `gradient`: (2, ..., H, W) to (..., H, W)."""
    result = torch.zeros_like(field[0])
    result[..., :-1, :] += field[0, ..., :-1, :]
    result[..., 1:, :] -= field[0, ..., :-1, :]
    result[..., :, :-1] += field[1, ..., :, :-1]
    result[..., :, 1:] -= field[1, ..., :, :-1]
    return result


def estimate_maps(kspace: Tensor, mask: Tensor) -> Tensor:
    """Coil maps (..., C, H, W) from the centre lines alone: a low-resolution image of each coil over their RSS.

    A Hann window, on as many readout points as centre lines too, keeps ringing low. Where there is no signal the maps
    carry noise; their RSS is 1 everywhere but where all coils are zero. (McKenzie et al., MRM 2002.)
    """
    start, stop = find_grid(mask).center
    height, width, count = *kspace.shape[-2:], stop - start
    window = torch.zeros(width, device=kspace.device)
    window[start:stop] = torch.hann_window(count + 2, periodic=False, device=kspace.device)[1:-1]
    rows, middle = torch.arange(height, device=kspace.device) - height // 2, count / 2 * height / width
    readout = torch.cos(torch.pi * rows / (2 * middle + 1)).square() * (rows.abs() <= middle)
    images = ifft2c(kspace * window * readout.unsqueeze(-1))
    norm = rss(images, -3).unsqueeze(-3)
    return images / torch.where(norm > 0, norm, 1)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real.sum((-2, -1), keepdim=True)


def _energy(a: Tensor) -> Tensor:
    return _inner(a, a)
