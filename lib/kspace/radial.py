"""Real-time k-t sampling of a moving object, frame by frame, and the aliased series that gridding makes of it.

Radial samples pass through torchkbnufft (Muckley et al., ISMRM 2020); Cartesian ones through exact FFTs.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib import InputError
from lib.kspace.fourier import center_crop, fft2c, ifft2c
from lib.text import one_of

KINDS = ("radial", "cartesian")
TINY_GOLDEN_ANGLE = math.pi / ((1 + math.sqrt(5)) / 2 + 6)  # the 7th, 23.6°: Wundrak et al., MRM 2016


class Sampling(NamedTuple):
    """What is sampled in each of T frames.

    Parameters
    ----------
    kind : one of KINDS
    angles : radial: (T, spokes) in radians, else None
    columns : Cartesian: (T, size) bool, else None
    achieved : full sampling over what is sampled; fully sampled are ⌈π/2·size⌉ spokes, or all columns
    """

    kind: str
    angles: Tensor | None
    columns: Tensor | None
    achieved: float


def sampling(
    kind: str, size: int, frames: int, acceleration: float = 13.0, seed: int | tuple[int, ...] = 0
) -> Sampling:
    """The k-t sampling of a series of images (size, size).

    radial: spokes turn by the tiny golden angle from one to the next, through all frames, from a seeded start.
    cartesian: two columns around the center and others drawn again for each frame, density falling with the square of
    the distance.

    Parameters
    ----------
    kind : radial or cartesian
    size : pixels along each axis
    frames : T
    acceleration : about which the achieved one is, at least 1
    seed : of the first angle, or of the columns

    Raises
    ------
    InputError
        For an unknown kind and an acceleration that leaves fewer than 3 lines per frame.

    References
    ----------
    Wundrak et al., MRM 2016.
    """
    if kind not in KINDS:
        raise InputError(f"trajectory {kind!r}", *one_of(kind, KINDS))
    random = np.random.default_rng(seed)
    full = _full(kind, size)
    lines = round(full / acceleration) if acceleration >= 1 else 0
    if lines < 3:
        raise InputError(f"acceleration {acceleration:g} at {size} pixels", f"{lines} lines per frame", "at least 3")
    if kind == "radial":
        turns = torch.arange(frames * lines, dtype=torch.float64) * TINY_GOLDEN_ANGLE + random.uniform(0, math.pi)
        return Sampling(kind, (turns % math.pi).view(frames, lines), None, full / lines)
    columns = torch.zeros(frames, size, dtype=torch.bool)
    columns[:, size // 2 - 1 : size // 2 + 1] = True
    density = 1 / (1 + (np.abs(np.arange(size) - size // 2) / (0.1 * size)) ** 2)
    density[columns[0].numpy()] = 0
    for frame in columns:
        frame[random.choice(size, lines - 2, replace=False, p=density / density.sum())] = True
    return Sampling(kind, None, columns, full / lines)


def _full(kind: str, size: int) -> int:
    return math.ceil(math.pi / 2 * size) if kind == "radial" else size


def aliased(series: Tensor, maps: Tensor, sampled: Sampling, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Samples a fine series and reconstructs it, frame by frame, by gridding or inverse FFT and the coil maps.

    Parameters
    ----------
    series : real or complex object (T, 2n, 2n)
        On twice the grid that is reconstructed, so that the data hold more than the image can show.
    maps : coil sensitivities (C, 2n, 2n), RSS 1
    sampled : of `sampling`
    noise : standard deviation of each coil image's real and imaginary part when fully sampled, in the object's units
    seed : of the noise

    Returns
    -------
    Magnitude (T, n, n).

    References
    ----------
    Roemer et al., MRM 1990.
    """
    size, generator = series.shape[-1] // 2, torch.Generator().manual_seed(seed)
    coils = series.to(torch.complex64).unsqueeze(1) * maps
    coarse = maps[:, ::2, ::2]
    if sampled.kind == "cartesian":
        kspace = center_crop(fft2c(coils), (size, size)) / 2
        kspace = (kspace + noise * _normal(kspace.shape, generator)) * sampled.columns[:, None, None, :]
        return (ifft2c(kspace) * coarse.conj()).sum(1).abs()
    from torchkbnufft import KbNufft, KbNufftAdjoint

    trajectory, weights = _spokes(sampled.angles, size)
    samples = KbNufft(im_size=tuple(coils.shape[-2:]))(coils, trajectory / 2)
    # Of white noise in the samples gridding makes √Σw² / 4n² in each pixel; Σw² falls with the number of spokes.
    spread = weights.square().sum() * sampled.angles.shape[1] / _full(sampled.kind, size)
    samples = samples + 4 * size**2 * noise / spread.sqrt() * _normal(samples.shape, generator)
    images = KbNufftAdjoint(im_size=(size, size))(samples * weights, trajectory) / (4 * size**2)
    return (images * coarse.conj()).sum(1).abs()


def fully_sampled(series: Tensor) -> Tensor:
    """The truth that goes with `aliased`: the fine series' magnitude at the resolution of the k-space center (T, n, n)."""
    size = series.shape[-1] // 2
    return ifft2c(center_crop(fft2c(series.to(torch.complex64)), (size, size)) / 2).abs()


def sliding_window(series: Tensor, width: int = 5) -> Tensor:
    """The mean over `width` neighboring frames of a series (T, …), fewer at the ends: the simplest temporal filter."""
    frames, half = len(series), width // 2
    return torch.stack([series[max(t - half, 0) : min(t + half + 1, frames)].mean(0) for t in range(frames)])


def temporal_median(series: Tensor, width: int = 5) -> Tensor:
    """The median over `width` neighboring frames of a series (T, …), fewer at the ends: it keeps edges in time."""
    frames, half = len(series), width // 2
    return torch.stack([series[max(t - half, 0) : min(t + half + 1, frames)].median(0).values for t in range(frames)])


def line_over_time(series: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """The middle image row of a series (T, H, W) over time: (W, about W), frames to the right.

    Each frame's line is repeated so that the picture is about square: an x–t profile.
    """
    line = series[:, series.shape[1] // 2]
    frames, width = line.shape
    return line.T[:, np.repeat(np.arange(frames), -(-width // frames))]


def _normal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.complex(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))


def _spokes(angles: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Coordinates (T, 2, K) in radians per pixel of the n×n image, and the k-space area (K,) of a sample in its units.

    A spoke has 2n samples, half a unit of 1/FOV apart; the area of a ring of the radius r is shared by its samples.
    """
    radius = (torch.arange(2 * size, dtype=torch.float64) - size) / 2
    along = torch.stack((angles.sin(), angles.cos()), 1)[..., None] * radius  # (T, 2, spokes, samples)
    area = math.pi / angles.shape[1] * torch.where(radius == 0, 1 / 16, radius.abs() / 2)
    area[0] /= 2  # the outermost sample's ring ends with it
    return (along.flatten(2) * 2 * math.pi / size).float(), area.repeat(angles.shape[1]).float()
