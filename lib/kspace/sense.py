"""SENSE reconstruction with given coil maps: least squares by conjugate gradients, and with total variation.

The encoding A takes an image to the acquired samples of every coil's k-space, A x = M·F(S·x). A mask of columns does not
vary along the readout: k-space is transformed there once, and F is a 1-D FFT along the phase encode. With a mask of points
F is the 2-D FFT.

With several sets of maps there is an image for each, A x = M·F(Σ Sᵢ·xᵢ), whose RSS is the result: where the object is wider
than the field of view, two of its parts lie on one pixel, and need maps of their own (soft SENSE: Uecker et al., MRM 2014).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lib import InputError
from lib.kspace.fourier import fftc, ifftc


class Encoding:
    """A and its adjoint, from images (..., [sets,] H, W) to k-space (..., C, H, W), which `enter` takes k-space to.

    Parameters
    ----------
    maps : complex (..., C, H, W), or with `sets` (..., sets, C, H, W)
    mask : (W,) bool, k-space is transformed along W only; or (H, W) bool, along both
    sets : whether there are several sets of maps
    """

    def __init__(self, maps: Tensor, mask: Tensor, sets: bool = False):
        if mask.ndim not in (1, 2) or mask.shape != maps.shape[-mask.ndim :]:
            height, width = maps.shape[-2:]
            raise InputError(
                "mask",
                f"shape {tuple(mask.shape)}",
                f"({width},), the maps' columns, or ({height}, {width}), their points",
            )
        self.maps, self.mask, self.sets = maps, (mask != 0).to(maps.device), sets
        self._conjugate = maps.conj().resolve_conj()
        self.axes = (-1,) if mask.ndim == 1 else (-2, -1)
        self._shifted = torch.fft.ifftshift(self.mask).to(maps.real)

    def enter(self, kspace: Tensor) -> Tensor:
        """K-space (..., C, H, W), transformed along the axes that the mask doesn't vary along."""
        return ifftc(kspace, (-2,)) if self.mask.ndim == 1 else kspace

    def __call__(self, image: Tensor) -> Tensor:
        return fftc(self._coils(image), self.axes) * self.mask

    def adjoint(self, hybrid: Tensor) -> Tensor:
        return self._combined(ifftc(hybrid * self.mask, self.axes))

    def normal(self, image: Tensor) -> Tensor:
        """AᴴA x; F⁻¹MF is a circular convolution, which centering both its sides leaves as it is."""
        hybrid = torch.fft.fftn(self._coils(image), dim=self.axes).mul_(self._shifted)
        return self._combined(torch.fft.ifftn(hybrid, dim=self.axes))

    def _coils(self, image: Tensor) -> Tensor:
        image = image.unsqueeze(-3)
        if not self.sets:
            return image * self.maps
        return _sum_of_products(image.unbind(-4), self.maps.unbind(-4))

    def _combined(self, coils: Tensor) -> Tensor:
        coils = coils.unsqueeze(-4) if self.sets else coils
        return _sum_of_products(coils.unbind(-3), self._conjugate.unbind(-3))


def _sum_of_products(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Σ left · right, one after the other: as exact as torch's reductions, which take several times as long along an outer axis."""
    total = left[0] * right[0]
    for a, b in zip(left[1:], right[1:], strict=True):
        total = torch.addcmul(total, a, b)
    return total


def cg_sense(kspace: Tensor, maps: Tensor, mask: Tensor, iterations: int = 20, regularization: float = 1e-2) -> Tensor:
    """The image that solves (AᴴA + λ) x = Aᴴ k, by conjugate gradients; leading axes are solved side by side.

    Parameters
    ----------
    kspace : complex (..., C, H, W), zero where not sampled
    maps : complex (..., C, H, W), on whose scale λ is: RSS 1; or several sets of them, (..., sets, C, H, W)
    mask : (W,) or (H, W) bool
    iterations : at most; rounding ends it earlier
    regularization : λ, at least 0

    Returns
    -------
    complex (..., H, W), or an image per set, (..., sets, H, W)

    References
    ----------
    Pruessmann et al., MRM 2001.
    """
    encoding = _encoding(kspace, maps, mask)
    axes = (-3, -2, -1) if encoding.sets else (-2, -1)
    residual = encoding.adjoint(encoding.enter(kspace))
    image, direction, power = torch.zeros_like(residual), residual, _inner(residual, residual, axes)
    negligible = power * torch.finfo(power.dtype).eps ** 2  # rounding rules below, and an empty slice is solved at once
    for _ in range(iterations):
        applied = encoding.normal(direction) + regularization * direction
        going = power > negligible
        step = torch.where(going, power / _inner(direction, applied, axes), 0)
        image = image + step * direction
        residual = residual - step * applied
        previous, power = power, _inner(residual, residual, axes)
        direction = residual + torch.where(going, power / previous, 0) * direction
    return image


def tv_sense(
    kspace: Tensor,
    maps: Tensor,
    mask: Tensor,
    iterations: int = 160,
    regularization: float = 3e-3,
    start: Tensor | None = None,
) -> Tensor:
    """The image that minimizes ½‖A x − k‖² + λ·TV(x), isotropic total variation: compressed sensing.

    Parameters
    ----------
    kspace : complex (..., C, H, W), zero where not sampled
    maps : complex (..., C, H, W), RSS 1; or several sets of them, (..., sets, C, H, W)
    mask : (W,) or (H, W) bool
    iterations : primal-dual steps
    regularization : λ as a fraction of the largest magnitude of Aᴴk in each slice, above 0
    start : the image that the first step starts from, shaped as the result; None: Aᴴk

    Returns
    -------
    complex (..., H, W), or an image per set, (..., sets, H, W)

    References
    ----------
    Lustig et al., MRM 2007; Condat, J Optim Theory Appl 2013, whose data term takes a gradient step (‖AᴴA‖ ≤ 1).
    """
    if regularization <= 0:
        raise InputError("tv_sense", f"regularization is {regularization}", "more than 0", "cg_sense does without")
    encoding = _encoding(kspace, maps, mask)
    back = encoding.adjoint(encoding.enter(kspace))
    peak = back.abs().amax((-3, -2, -1) if encoding.sets else (-2, -1), keepdim=True)
    scale = 1 / torch.where(peak > 0, peak, 1)
    back = back * scale
    sigma = 1 / 16
    tau = 1 / (0.5 + 8 * sigma)  # 1/τ − σ‖∇‖² ≥ ‖AᴴA‖ / 2
    image = back if start is None else start * scale
    dual = torch.zeros((2, *back.shape), dtype=back.dtype, device=back.device)
    for _ in range(iterations):
        updated = image - tau * (encoding.normal(image) - back - divergence(dual))
        dual = shrink(dual + sigma * gradient(2 * updated - image), regularization)
        image = updated
    return image * peak


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


def shrink(field: Tensor, radius: float) -> Tensor:
    """The complex vectors of field (2, ...) cut to length `radius`."""
    length = torch.view_as_real(field.resolve_conj()).square().sum((0, -1)).sqrt()
    return field * (radius / length.clamp_min(radius))


def _encoding(kspace: Tensor, maps: Tensor, mask: Tensor) -> Encoding:
    sets = maps.ndim == kspace.ndim + 1
    if kspace.ndim < 3 or kspace.shape != (maps.select(-4, 0) if sets else maps).shape:
        found = f"k-space {tuple(kspace.shape)} and maps {tuple(maps.shape)}"
        raise InputError("sense", found, "both (..., C, H, W), or the maps with sets before C")
    return Encoding(maps, mask, sets)


def _inner(a: Tensor, b: Tensor, axes: tuple[int, ...]) -> Tensor:
    return (a.conj() * b).real.sum(axes, keepdim=True)
