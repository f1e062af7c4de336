"""What every reader of a file gives: one record of k-space, or one of images, read slice by slice."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib import InputError
from lib.text import pluralize

LPS_TO_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))  # from DICOM's axes (left, back, head) to NIfTI's
PERSON = "person_001"  # whose a file is, as long as nobody has asked for the name in it


class KspaceScan(NamedTuple):
    """K-space of a file, whatever its format.

    Parameters
    ----------
    path : of the file or folder
    format : its name, such as "ISMRMRD"
    shape : (slices, coils, H, W), readout along H, phase encode along W
    read : slice → complex64 (coils, H, W), pre-whitened where the file has a noise scan
    told : what was inferred, in short lines
    mask : bool (W,) or (H, W), which points were acquired; None: by the zeros in it
    noise : covariance (coils, coils) of the noise scan; None without one
    spacing : (slice, row, column) in mm; None: not known
    affine : (4, 4), of (slice, row, column, 1) to mm (right, front, head); None: not known
    person : a pseudonym
    facts : of the header, by name, such as repetition time
    """

    path: Path
    format: str
    shape: tuple[int, int, int, int]
    read: Callable[[int], np.ndarray]
    told: tuple[str, ...] = ()
    mask: np.ndarray | None = None
    noise: np.ndarray | None = None
    spacing: tuple[float, float, float] | None = None
    affine: np.ndarray | None = None
    person: str = PERSON
    facts: dict[str, str] = {}

    kind = "kspace"

    def middle(self) -> "KspaceScan":
        """Its middle slice alone."""
        return self._replace(shape=(1, *self.shape[1:]), read=lambda _: self.slice(self.shape[0] // 2))

    def slice(self, index: int) -> np.ndarray:
        """complex64 (coils, H, W) of a slice; InputError if there is none."""
        return self.read(_checked(self.path, index, self.shape[0]))

    def __str__(self) -> str:
        slices, coils, height, width = self.shape
        size = f"{pluralize(slices, 'slice')}, {pluralize(coils, 'coil')}, {height} readout × {width} phase encodes"
        return "\n".join((f"{self.path.name}: k-space, {self.format} · {size}", *_lines(self)))


class ImageScan(NamedTuple):
    """Images of a file or folder, whatever its format.

    Parameters
    ----------
    path : of the file or folder
    format : its name, such as "DICOM"
    shape : (slices, H, W)
    read : slice → (H, W), real or complex
    told : what was inferred, in short lines
    spacing : (slice, row, column) in mm; None: not known
    affine : (4, 4), of (slice, row, column, 1) to mm (right, front, head); None: not known
    times : how many of each slice there are, one after another: all slices of the first time, then of the next
    person : a pseudonym
    facts : of the header, by name
    """

    path: Path
    format: str
    shape: tuple[int, int, int]
    read: Callable[[int], np.ndarray]
    told: tuple[str, ...] = ()
    spacing: tuple[float, float, float] | None = None
    affine: np.ndarray | None = None
    times: int = 1
    person: str = PERSON
    facts: dict[str, str] = {}

    kind = "image"

    def middle(self) -> "ImageScan":
        """Its middle slice alone, whose place isn't kept."""
        return self._replace(
            shape=(1, *self.shape[1:]), read=lambda _: self.slice(self.shape[0] // 2), affine=None, times=1
        )

    def slice(self, index: int) -> np.ndarray:
        """(H, W) of a slice; InputError if there is none."""
        return self.read(_checked(self.path, index, self.shape[0]))

    def __str__(self) -> str:
        slices, height, width = self.shape
        times = f" at {self.times} times" if self.times > 1 else ""
        size = f"{pluralize(slices // self.times, 'slice')}{times} of {height} × {width}"
        return "\n".join((f"{self.path.name}: images, {self.format} · {size}", *_lines(self)))


def _lines(scan: KspaceScan | ImageScan) -> list[str]:
    spacing = [f"voxels of {' × '.join(f'{size:.3g}' for size in scan.spacing)} mm"] if scan.spacing else []
    return [f"  {line}" for line in (*spacing, *(f"{k}: {v}" for k, v in scan.facts.items()), *scan.told)]


def _checked(path: Path, index: int, count: int) -> int:
    if not 0 <= index < count:
        raise InputError(path, f"slice: got {index}", f"0 to {count - 1}")
    return index
