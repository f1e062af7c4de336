"""SENSE reconstruction with given coil maps: least squares by conjugate gradients, and with total variation.

The encoding A takes an image to the acquired samples of every coil's k-space, A x = M·F(S·x). A mask of columns does not
vary along the readout, so k-space is transformed there once, F is a 1-D FFT along the phase encode, and AᴴA is one
W × W block per row of the image. With a mask of points F is the 2-D FFT.
"""

import torch
from torch import Tensor

from lib import InputError
from lib.kspace.fourier import fftc, ifft2c, ifftc, rss
from lib.kspace.grappa_grid import center_block

LONGER = 4


class Encoding:
    """A and its adjoint, from images (..., H, W) to k-space (..., C, H, W), which `enter` takes k-space to.

    Parameters
    ----------
    maps : complex (..., C, H, W)
    mask : (W,) bool, k-space is transformed along W only; or (H, W) bool, along both
    """

    def __init__(self, maps: Tensor, mask: Tensor):
        if mask.ndim not in (1, 2) or mask.shape != maps.shape[-mask.ndim :]:
            height, width = maps.shape[-2:]
            raise InputError(
                "mask",
                f"shape {tuple(mask.shape)}",
                f"({width},), the maps' columns, or ({height}, {width}), their points",
            )
        self.maps, self.mask = maps, (mask != 0).to(maps.device)
        self.axes = (-1,) if mask.ndim == 1 else (-2, -1)
        self._shifted = torch.fft.ifftshift(self.mask).to(maps.real)

    def enter(self, kspace: Tensor) -> Tensor:
        """K-space (..., C, H, W), transformed along the axes that the mask doesn't vary along."""
        return ifftc(kspace, (-2,)) if self.mask.ndim == 1 else kspace

    def __call__(self, image: Tensor) -> Tensor:
        return fftc(image.unsqueeze(-3) * self.maps, self.axes) * self.mask

    def adjoint(self, hybrid: Tensor) -> Tensor:
        return torch.linalg.vecdot(self.maps, ifftc(hybrid * self.mask, self.axes), dim=-3)

    def normal(self, image: Tensor) -> Tensor:
        """AᴴA x; F⁻¹MF is a circular convolution, which centering both its sides leaves as it is."""
        hybrid = torch.fft.fftn(image.unsqueeze(-3) * self.maps, dim=self.axes) * self._shifted
        return torch.linalg.vecdot(self.maps, torch.fft.ifftn(hybrid, dim=self.axes), dim=-3)

    def blocks(self) -> Tensor:
        """AᴴA of a mask of columns as dense blocks (..., H, W, W): the convolution times the coils' Σ S̄ᵢSⱼ."""
        line = torch.eye(len(self.mask)).to(self.maps)
        convolution = ifftc(fftc(line, (0,)) * self.mask.unsqueeze(-1), (0,))
        rows = self.maps.movedim(-3, -1)  # ..., H, W, C
        return (rows.conj() @ rows.mT) * convolution


def cg_sense(kspace: Tensor, maps: Tensor, mask: Tensor, iterations: int = 20, regularization: float = 1e-2) -> Tensor:
    """The image that solves (AᴴA + λ) x = Aᴴ k, by conjugate gradients; leading axes are solved side by side.

    Parameters
    ----------
    kspace : complex (..., C, H, W), zero where not sampled
    maps : complex (..., C, H, W), on whose scale λ is: RSS 1
    mask : (W,) or (H, W) bool
    iterations : at most; rounding ends it earlier
    regularization : λ, at least 0

    Returns
    -------
    complex (..., H, W)

    References
    ----------
    Pruessmann et al., MRM 2001.
    """
    encoding = _encoding(kspace, maps, mask)
    residual = encoding.adjoint(encoding.enter(kspace))
    image, direction, power = torch.zeros_like(residual), residual, _inner(residual, residual)
    negligible = power * torch.finfo(power.dtype).eps ** 2  # rounding rules below, and an empty slice is solved at once
    for _ in range(iterations):
        applied = encoding.normal(direction) + regularization * direction
        going = power > negligible
        step = torch.where(going, power / _inner(direction, applied), 0)
        image = image + step * direction
        residual = residual - step * applied
        previous, power = power, _inner(residual, residual)
        direction = residual + torch.where(going, power / previous, 0) * direction
    return image


def tv_sense(kspace: Tensor, maps: Tensor, mask: Tensor, iterations: int = 40, regularization: float = 3e-3) -> Tensor:
    """The image that minimizes ½‖A x − k‖² + λ·TV(x), isotropic total variation: compressed sensing, slice by slice.

    With a mask of columns the proximal step of the data term is exact, since its matrix falls into a W × W block per
    row: H·W²·8 bytes for the inverses of a slice.

    Parameters
    ----------
    kspace : complex (..., C, H, W), zero where not sampled
    maps : complex (..., C, H, W), RSS 1
    mask : (W,) or (H, W) bool
    iterations : primal-dual steps; with a mask of points, whose data term only has its gradient, LONGER times as many
    regularization : λ as a fraction of the largest magnitude of Aᴴk in each slice, above 0

    Returns
    -------
    complex (..., H, W)

    References
    ----------
    Lustig et al., MRM 2007; Chambolle & Pock, J Math Imaging Vis 2011, algorithm 1; Condat, J Optim Theory Appl 2013.
    """
    if regularization <= 0:
        raise InputError("tv_sense", f"regularization is {regularization}", "more than 0", "cg_sense does without")
    encoding = _encoding(kspace, maps, mask)
    start = encoding.adjoint(encoding.enter(kspace))
    flat = zip(start.flatten(0, -3), maps.flatten(0, -4), strict=True) if start.ndim > 2 else [(start, maps)]
    solve = _primal_dual if mask.ndim == 1 else _primal_dual_by_gradient
    images = [solve(x, Encoding(coils, mask), iterations, regularization) for x, coils in flat]
    return torch.stack(images).view(start.shape)


def _primal_dual(start: Tensor, encoding: Encoding, iterations: int, regularization: float) -> Tensor:
    """tv_sense for one slice; start = Aᴴk (H, W)."""
    peak = start.abs().amax()
    start = start / torch.where(peak > 0, peak, 1)
    tau = 0.05 / regularization  # λ bounds the dual variable, so τ / σ must fall with λ²; 0.05 measured to be quickest
    sigma = 1 / (8 * tau)  # τσ‖∇‖² ≤ 1
    identity = torch.eye(start.shape[-1]).to(start)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(identity + tau * encoding.blocks()))
    image = ahead = start
    dual = torch.zeros((2, *start.shape), dtype=start.dtype, device=start.device)
    for _ in range(iterations):
        dual = shrink(dual + sigma * gradient(ahead), regularization)
        right = image + tau * (start + divergence(dual))
        updated = (right.conj().unsqueeze(-2) @ inverse).squeeze(-2).conj()  # Hermitian: 4 × as fast as inverse @ right
        image, ahead = updated, 2 * updated - image
    return image * peak


def _primal_dual_by_gradient(start: Tensor, encoding: Encoding, iterations: int, regularization: float) -> Tensor:
    """tv_sense for one slice and a mask of points: Condat's algorithm, whose data term takes a gradient step (‖AᴴA‖ ≤ 1)."""
    peak = start.abs().amax()
    start = start / torch.where(peak > 0, peak, 1)
    sigma = 1 / 16
    tau = 1 / (0.5 + 8 * sigma)  # 1/τ − σ‖∇‖² ≥ ‖AᴴA‖ / 2
    image, dual = start, torch.zeros((2, *start.shape), dtype=start.dtype, device=start.device)
    for _ in range(LONGER * iterations):
        updated = image - tau * (encoding.normal(image) - start - divergence(dual))
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


def estimate_maps(kspace: Tensor, mask: Tensor) -> Tensor:
    """Coil maps from the center lines alone: a low-resolution image of each coil over their RSS.

    The window, along both axes the central two thirds of a Hann window 1.5 times as wide as the center block, keeps
    ringing low at little loss of resolution. Where there is no signal the maps carry noise.

    Parameters
    ----------
    kspace : complex (..., C, H, W)
    mask : (W,) bool

    Returns
    -------
    complex (..., C, H, W), RSS 1, or 0 where all coils are zero.

    References
    ----------
    McKenzie et al., MRM 2002.
    """
    height, width = kspace.shape[-2:]
    start, stop = center_block(mask)
    half = (stop - start) / 2
    columns = (torch.arange(width) - (start + stop - 1) / 2) / half
    rows = (torch.arange(height) - height // 2) * (width / height / half)
    hann = [torch.cos(torch.pi / 3 * x).square() * (x.abs() < 1) for x in (rows, columns)]
    images = ifft2c(kspace * (hann[0].unsqueeze(-1) * hann[1]).to(kspace.device))
    norm = rss(images, -3).unsqueeze(-3)
    return images / torch.where(norm > 0, norm, 1)


def _encoding(kspace: Tensor, maps: Tensor, mask: Tensor) -> Encoding:
    if kspace.shape != maps.shape or kspace.ndim < 3:
        found = f"k-space {tuple(kspace.shape)} and maps {tuple(maps.shape)}"
        raise InputError("sense", found, "both (..., C, H, W)")
    return Encoding(maps, mask)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real.sum((-2, -1), keepdim=True)
