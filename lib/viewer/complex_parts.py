"""Parts of the data of a cut: magnitude, phase, real and imaginary part, k-space or spectrum."""

from typing import Any

import numpy as np

from lib.kspace import fft2c
from lib.plots.panels import magnitude

REAL = ("image", "spectrum")  # parts of the data; the spectrum: of an image whose phase is lost
COMPLEX = ("magnitude", "phase", "real", "imaginary", "log magnitude", "k-space")
FOURIER = ("spectrum", "k-space")
LOGARITHMIC = (*FOURIER, "log magnitude")
DECIBELS = (-80.0, 0.0)  # shown of what is logarithmic


def is_mask(volume: Any) -> bool:
    """Whether a volume is bool: black and white whatever the window."""
    return str(volume.dtype) in ("bool", "torch.bool")


def is_complex(volume: Any) -> bool:
    """Of numpy, h5py or torch."""
    return volume.is_complex() if hasattr(volume, "is_complex") else np.dtype(volume.dtype).kind == "c"


def part_of(cut: np.ndarray, part: str) -> np.ndarray | str:
    """A part of the data of a cut.

    Parameters
    ----------
    cut : (H, W), real or complex; a mask is the same whatever the part
    part : one of REAL or COMPLEX

    Returns
    -------
    float32 (H, W): magnitude, real and imaginary part in the data's units, phase in radians, others in dB of the
    maximum; or why there is no such part.
    """
    if cut.dtype == bool:
        return cut.astype(np.float32)
    if part in ("magnitude", "image"):
        return magnitude(cut)
    if part in LOGARITHMIC:
        strength = magnitude(cut) if part == "log magnitude" else abs(fft2c(_tensor(cut))).numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            top = np.where(np.isfinite(strength), strength, 0).max()
            return np.maximum(20 * np.log10(strength / max(top, 1e-30)), DECIBELS[0])
    if not np.iscomplexobj(cut):
        return cut.astype(np.float32) if part == "real" else f"real data have no {part}{' part' * (part != 'phase')}"
    return {"phase": np.angle, "real": np.real, "imaginary": np.imag}[part](cut).astype(np.float32)


def _tensor(cut: np.ndarray):
    import torch

    return torch.from_numpy(np.ascontiguousarray(cut, np.complex64))
