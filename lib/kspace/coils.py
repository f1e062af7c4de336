"""Simulated receive coils, object phase and noise: what turns a magnitude image into multi-coil k-space."""

import math

import torch
from torch import Tensor

from lib import InputError
from lib.kspace.fourier import fft2c

LOOP_SEGMENTS = 24  # straight pieces of a loop


def simulate(
    shape: tuple[int, int, int],
    num_coils: int,
    seed: int,
    normalize: bool = True,
    voxel: tuple[float, float, float] = (2.0, 2.0, 2.0),
) -> Tensor:
    """Receive sensitivities of circular loops around the head, by the Biot–Savart law.

    The loops stand on an elliptic cylinder 25 mm outside the field of view, evenly spread with a seeded jitter of
    position, height, tilt and radius (60–70 mm: neighbors overlap), and look at the axis. By reciprocity a coil's
    sensitivity is Bx − i·By of a unit current in it, with B0 along the slices. The maps therefore vary along all
    three axes and carry phase.

    Parameters
    ----------
    shape : (S, H, W)
    num_coils : at least 1
    seed : of the jitter
    normalize : the maps' RSS is 1 everywhere and the first coil's phase remains; False: the largest magnitude is 1
    voxel : mm along S, H, W

    Returns
    -------
    complex64 (S, num_coils, H, W)

    Raises
    ------
    InputError
        For num_coils below 1.

    References
    ----------
    Hoult & Richards, J Magn Reson 1976.
    """
    if num_coils < 1:
        raise InputError("simulate", f"num_coils is {num_coils}", "at least 1")
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand((5, num_coils), generator=generator, dtype=torch.float64) * 2 - 1
    angle = 2 * math.pi * (torch.arange(num_coils) + 0.5 + 0.1 * uniform[0]) / num_coils
    slices, height, width = (
        (torch.arange(n, dtype=torch.float64) - n // 2) * step for n, step in zip(shape, voxel, strict=True)
    )
    half_h, half_w = shape[1] * voxel[1] / 2 + 25, shape[2] * voxel[2] / 2 + 25
    stagger = 25.0 * (-1.0) ** torch.arange(num_coils)
    center = torch.stack([half_w * angle.cos(), half_h * angle.sin(), stagger + 8 * uniform[1]], -1)
    tilt = 0.1 * uniform[2]
    normal = torch.stack([-angle.cos() * tilt.cos(), -angle.sin() * tilt.cos(), tilt.sin()], -1)
    radius = 65 + 5 * uniform[3]

    corners = loop_corners(center, normal, radius, uniform[4])
    maps = torch.empty((shape[0], num_coils, shape[1], shape[2]), dtype=torch.complex64)
    x, y = width.float(), height.float().unsqueeze(-1)
    for s, z in enumerate(slices.float()):
        maps[s] = loop_maps(x, y, z, corners)
    return maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True) if normalize else maps / maps.abs().amax()


def loop_corners(center: Tensor, normal: Tensor, radius: Tensor, spin: Tensor) -> Tensor:
    """Corners of loops, (C, LOOP_SEGMENTS + 1, 3), x y z in mm; the first is the last again.

    Parameters
    ----------
    center : (C, 3), mm
    normal : (C, 3), which a loop lies across
    radius : (C,), mm
    spin : (C,), where on the rim the first corner lies, in corners
    """
    across = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand_as(normal), normal)
    across = across / across.norm(dim=-1, keepdim=True)
    up = torch.linalg.cross(normal, across)
    turn = 2 * math.pi * (torch.arange(LOOP_SEGMENTS + 1) + spin.unsqueeze(-1)) / LOOP_SEGMENTS
    rim = radius[:, None, None] * (turn.cos()[..., None] * across[:, None] + turn.sin()[..., None] * up[:, None])
    return (center[:, None] + rim).float()


def loop_maps(x: Tensor, y: Tensor, z: Tensor, corners: Tensor) -> Tensor:
    """Receive sensitivities Bx − i·By of loops in one plane, complex (C, H, W).

    Parameters
    ----------
    x : (W,), mm
    y : (H, 1), mm
    z : () of the plane, mm
    corners : (C, K + 1, 3) of the loops, mm
    """
    return torch.stack([_transverse_field(x, y, z, loop) for loop in corners])


def _transverse_field(x: Tensor, y: Tensor, z: Tensor, corners: Tensor) -> Tensor:
    """Bx − i·By at (x, y, z) of a unit current through the polygon `corners` (K + 1, 3): Σ dl × r / |r|³."""
    step = corners.diff(dim=0)[:, :, None, None]
    middle = ((corners[1:] + corners[:-1]) / 2)[:, :, None, None]
    rx, ry, rz = x - middle[:, 0], y - middle[:, 1], z - middle[:, 2]
    weight = (rx.square() + ry.square() + rz.square()).pow(-1.5)
    bx = ((step[:, 1] * rz - step[:, 2] * ry) * weight).sum(0)
    by = ((step[:, 2] * rx - step[:, 0] * rz) * weight).sum(0)
    return torch.complex(bx, -by)


def smooth_phase(shape: tuple[int, int, int], seed: int, strength: float = 1.5) -> Tensor:
    """A seeded smooth object phase in radians, (S, H, W): a random quadratic in all three axes.

    It stands for off-resonance and flow, which leave the phase of real images smooth but not constant.

    Parameters
    ----------
    shape : (S, H, W)
    seed : of the quadratic's weights
    strength : root mean square over the volume, in radians
    """
    generator = torch.Generator().manual_seed(seed)
    z, y, x = (torch.linspace(-1, 1, n) for n in shape)
    z, y = z[:, None, None], y[:, None]
    terms = [x, y, z, x * y, x * z, y * z, x * x, y * y]
    weights = torch.randn(len(terms), generator=generator)
    phase = sum((w * t for w, t in zip(weights, terms, strict=True)), torch.zeros(shape))
    phase = phase - phase.mean()
    return phase * (strength / phase.square().mean().sqrt().clamp_min(1e-12))


def acquire(
    image: Tensor,
    maps: Tensor,
    noise_std: float,
    phase: Tensor | None,
    seed: int,
    noise_covariance: Tensor | None = None,
) -> Tensor:
    """K-space that the coils record of an image: F(maps · image · e^{i·phase}) + complex Gaussian noise.

    Parameters
    ----------
    image : real or complex (..., H, W)
    maps : complex (..., C, H, W)
    noise_std : standard deviation of the real and the imaginary part, in the image's units (the FFT is orthonormal)
    phase : (..., H, W) in radians, or None
    seed : of the noise
    noise_covariance : (C, C), Hermitian with a unit diagonal: correlates the coils

    Returns
    -------
    complex (..., C, H, W)
    """
    if phase is not None:
        image = image * torch.exp(1j * phase)
    kspace = fft2c(image.unsqueeze(-3) * maps)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((*kspace.shape, 2), generator=generator)
    noise = torch.view_as_complex(noise) * noise_std
    if noise_covariance is not None:
        factor = torch.linalg.cholesky(noise_covariance.to(noise.dtype))
        noise = torch.einsum("dc,...chw->...dhw", factor, noise)
    return kspace + noise
