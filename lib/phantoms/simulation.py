"""The physics of a simulated scan: coils, phase, noise and the edges of k-space, all drawn anew for each slice.

A magnitude image becomes what a scanner might have recorded of it. The ranges are wide on purpose: a network that has
seen all of them has to learn what undersampling does, whatever the coils and the object.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.kspace import fft2c, ifft2c, rss
from lib.kspace.coils import loop_corners, loop_maps

COARSE = 40  # points along the longer side at which coil maps are computed: they are smooth
GEOMETRIES = {"around": 0.5, "array": 0.2, "birdcage": 0.15, "pair": 0.15}


class Physics(NamedTuple):
    """How one slice is recorded.

    Parameters
    ----------
    num_coils : that the k-space has, after compression
    geometry : loops `around` the object, an `array` on one side, `birdcage` (the modes of a ring), or a `pair` of large
        loops on both sides
    compressed : from how many coils the virtual ones are made; 0: they are no virtual ones
    phase : root mean square of the object's phase, rad
    snr : mean foreground over the standard deviation of the noise's real part
    correlation : of the noise of two coils, 0 … 1
    rows, columns : zero-filled lines (before, after) of readout and phase encode
    wrap : extent of the object over the field of view along the phase encode; 1: it fits
    """

    num_coils: int
    geometry: str
    compressed: int
    phase: float
    snr: float
    correlation: float
    rows: tuple[int, int]
    columns: tuple[int, int]
    wrap: float


def draw_physics(num_coils: int, shape: tuple[int, int], rng: np.random.Generator) -> Physics:
    """Random physics for k-space (num_coils, *shape)."""
    compressed = int(rng.integers(num_coils + 1, 3 * num_coils + 4)) if num_coils > 2 and rng.random() < 0.3 else 0
    geometry = (
        str(rng.choice(list(GEOMETRIES), p=list(GEOMETRIES.values()))) if max(num_coils, compressed) > 2 else "pair"
    )
    snr = (
        10 ** rng.uniform(math.log10(300), 3.2)
        if rng.random() < 0.15
        else 10 ** rng.uniform(math.log10(10), math.log10(300))
    )
    return Physics(
        num_coils, geometry, compressed,
        phase=float(rng.uniform(0.1, 2.5)),
        snr=float(snr),
        correlation=float(rng.uniform(0, 0.5)) if rng.random() < 0.5 else 0.0,
        rows=_margins(shape[0], rng),
        columns=_margins(shape[1], rng),
        wrap=float(rng.uniform(1.05, 1.35)) if rng.random() < 0.15 else 1.0,
    )  # fmt: skip


def _margins(size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Zero-filled lines before and after: mostly none, at times some on both sides, at times more on one."""
    kind = rng.random()
    if kind < 0.7:
        return 0, 0
    share = rng.uniform(0.02, 0.12) if kind < 0.85 else 0.0
    more = rng.uniform(0.05, 0.22) if kind >= 0.85 else 0.0
    ends = round(size * share), round(size * (share + more))
    return ends if rng.random() < 0.5 else ends[::-1]


def record(image: Tensor, physics: Physics, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """K-space (C, H, W), complex64, of a magnitude image, and the same without noise.

    image (H, W'), W' = the phase encodes' number × `physics.wrap`, even; the field of view is its middle, what lies
    outside folds in.
    """
    height, extent = image.shape
    width = round(extent / physics.wrap / 2) * 2
    coil_images = image * torch.exp(1j * _phase((height, extent), physics.phase, rng)) * _maps(image, physics, rng)
    kspace = fft2c(_folded(coil_images, width))
    foreground = image[image > 0.1]
    level = float(foreground.mean()) if len(foreground) else 1.0
    noise = torch.view_as_complex(torch.from_numpy(rng.standard_normal((*kspace.shape, 2), dtype=np.float32)))
    noise = noise * (level / physics.snr)
    if physics.correlation:
        mixed = torch.from_numpy(_mixing(len(kspace), physics.correlation, rng))
        noise = torch.einsum("dc,chw->dhw", mixed, noise)
    noisy = kspace + noise
    if physics.compressed:
        values, vectors = torch.linalg.eigh(torch.einsum("chw,dhw->cd", noisy, noisy.conj()))
        best = vectors[:, values.argsort(descending=True)[: physics.num_coils]].mH
        kspace, noisy = (torch.einsum("dc,chw->dhw", best, k) for k in (kspace, noisy))
    for axis, (before, after) in ((-2, physics.rows), (-1, physics.columns)):
        for k in (kspace, noisy):
            k.narrow(axis, 0, before).zero_()
            k.narrow(axis, k.shape[axis] - after, after).zero_()
    return noisy, kspace


def target(noisy: Tensor, clean: Tensor, noise: float) -> Tensor:
    """The RSS image (H, W) of fully sampled k-space with `noise` (0…1) of its noise: 1, as recorded; 0, without any."""
    return rss(ifft2c(torch.lerp(clean, noisy, noise)), 0)


def _folded(images: Tensor, width: int) -> Tensor:
    """Images (C, H, W') seen in a field of view of `width` columns: those outside come in at the other side."""
    extent = images.shape[-1]
    left = extent // 2 - width // 2
    place = (torch.arange(extent) - left) % width
    return torch.zeros((*images.shape[:-1], width), dtype=images.dtype).index_add_(-1, place, images)


def _maps(image: Tensor, physics: Physics, rng: np.random.Generator) -> Tensor:
    """Sensitivities (C, H, W') whose RSS is 1 on the mean over the object; each coil with a gain and a phase of its own."""
    height, width = image.shape
    count, longer = physics.compressed or physics.num_coils, max(height, width)
    coarse = [max(round(n * COARSE / longer), 4) for n in (height, width)]
    field = rng.uniform(180, 300)  # mm along the longer side
    y, x = (torch.linspace(-0.5, 0.5, n) * field * m / longer for n, m in zip(coarse, (height, width), strict=True))
    if count == 1:
        maps = torch.ones(1, *coarse, dtype=torch.complex64) * torch.polar(
            1 + 0.4 * _waves(coarse, rng), 1.5 * _waves(coarse, rng)
        )
    else:
        corners = _loops(physics.geometry, count, field * height / longer / 2, field * width / longer / 2, rng)
        maps = loop_maps(x, y[:, None], torch.tensor(0.0), corners)
    if physics.geometry == "birdcage":
        maps = torch.fft.fft(maps, dim=0, norm="ortho")
    gain = rng.uniform(0.6, 1.4, count) * np.exp(2j * np.pi * rng.random(count))
    maps = maps / maps.abs().amax() * torch.from_numpy(gain.astype(np.complex64))[:, None, None]
    parts = torch.stack([maps.real, maps.imag])
    maps = torch.complex(*F.interpolate(parts, size=(height, width), mode="bicubic", align_corners=True))
    inside = image > 0.05
    total = rss(maps, 0)
    return maps / (total[inside].mean() if inside.any() else total.mean())


def _loops(geometry: str, count: int, half_height: float, half_width: float, rng: np.random.Generator) -> Tensor:
    """Corners of `count` loops around a field of view of those half sides in mm (`loop_corners`)."""
    uniform = rng.uniform(-1, 1, (5, count))
    gap = rng.uniform(20, 80)
    if geometry == "array":  # two rows of loops, bent a little, on one side
        middle, spread = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.1)
        angle = middle + spread * (np.linspace(-1, 1, count) if count > 1 else np.zeros(1)) + 0.05 * uniform[0]
    elif geometry == "pair":
        angle = rng.uniform(0, 2 * np.pi) + np.pi * np.arange(count) + 0.4 * uniform[0]
    else:
        angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi * (np.arange(count) + 0.1 * uniform[0]) / count
    height = rng.uniform(0, 40) * (-1.0) ** np.arange(count) + 10 * uniform[1] + rng.uniform(-30, 30)
    a, b = half_width + gap, half_height + gap
    around = np.pi * (a + b) * (1 if geometry in ("around", "birdcage") else 0.4) / count
    radius = np.clip(around * rng.uniform(0.5, 0.9), 25, 110) * (1 + 0.08 * uniform[3])
    tilt = 0.15 * uniform[2]
    center = np.stack([a * np.cos(angle), b * np.sin(angle), height], -1)
    normal = np.stack([-np.cos(angle) * np.cos(tilt), -np.sin(angle) * np.cos(tilt), np.sin(tilt)], -1)
    return loop_corners(*(torch.from_numpy(v) for v in (center, normal, radius, uniform[4])))


def _phase(shape: tuple[int, int], strength: float, rng: np.random.Generator) -> Tensor:
    """The object's phase (H, W) in rad: slow waves of rms `strength`, and in some a few spots, as of flow or air."""
    phase = _waves(shape, rng)
    phase = phase * (strength / float(phase.square().mean().sqrt().clamp_min(1e-6)))
    if rng.random() < 0.5:
        y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
        for _ in range(int(rng.integers(1, 6))):
            cy, cx = rng.uniform(-0.7, 0.7, 2)
            radius = rng.uniform(0.02, 0.25)
            phase = phase + rng.uniform(-3, 3) * torch.exp(-((y - cy).square() + (x - cx).square()) / radius**2)
    return phase


def _waves(shape: tuple[int, int] | list[int], rng: np.random.Generator) -> Tensor:
    """A smooth random field (H, W), about −1…1: a slope and a few cosines of at most one and a half periods."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    field = float(rng.normal()) * y + float(rng.normal()) * x
    for _ in range(int(rng.integers(1, 5))):
        b, c, start = rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5), rng.uniform(0, 2 * np.pi)
        field = field + float(rng.normal()) * torch.cos(np.pi * (b * y + c * x) + start)
    return field / field.abs().amax().clamp_min(1e-6)


def _mixing(count: int, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Cholesky factor (C, C) of a noise covariance: unit variances, correlated at random up to about `correlation`."""
    waves = rng.standard_normal((count, count)) + 1j * rng.standard_normal((count, count))
    random = waves @ waves.conj().T
    scale = np.sqrt(np.diag(random).real)
    covariance = (1 - correlation) * np.eye(count) + correlation * random / np.outer(scale, scale)
    return np.linalg.cholesky(covariance).astype(np.complex64)
