"""Real people's beating hearts as fine series, as they were recorded or in another pose, contrast and tempo.

What is real: the magnitude images. Whatever is sampled from them (`lib.phantoms.cine`) is simulated.
"""

from typing import NamedTuple

import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib import InputError
from lib.data.index import SPLITS
from lib.phantoms.sample_scans import scan_file


class Heart(NamedTuple):
    """Whose heart it is, and what of it is used.

    Parameters
    ----------
    split : train, val or test
    middle : row and column that a smaller cut has in its middle
    extent : pixels along each axis
    slices : planes
    """

    split: str
    middle: tuple[int, int]
    extent: int
    slices: int = 1


SHORT_AXIS = ((64, 64), 128, 6)  # cut to the left ventricle already
HEARTS = {f"heart_sax_{n}": Heart("train" if n < 4 else "val" if n == 4 else "test", *SHORT_AXIS) for n in range(1, 6)}
HEARTS |= {"heart_cine": Heart("test", (156, 127), 256), "heart_long_axis_b": Heart("test", (72, 72), 144)}


def people(training: bool, size: int) -> dict[str, list[str]]:
    """The people of each split whose hearts have the 2·size pixels that a series needs; of the others a line is printed.

    Only those who test if not `training`, when networks train and are validated on drawn hearts.
    """
    found = {split: [] for split in (SPLITS if training else SPLITS[-1:])}
    for name, heart in HEARTS.items():
        if heart.split in found and 2 * size > heart.extent:
            print(f"{name} is left out: size {size} needs {2 * size} pixels, it has {heart.extent}", flush=True)
        elif heart.split in found:
            found[heart.split].append(name)
    return found


def check_size(size: int) -> None:
    """InputError for a size at which a person who trains or validates has too few pixels."""
    for name, heart in HEARTS.items():
        if heart.split != SPLITS[-1] and 2 * size > heart.extent:
            found = f"{name} has {heart.extent} pixels, its series needs twice the size"
            raise InputError(f"size {size}", found, f"at most {heart.extent // 2}, or hearts: drawn")


def planes(name: str, copies: int, middle_only: bool = False) -> dict[str, tuple[int, int]]:
    """{name of the series: (slice, copy)} of a heart; copies: of each slice, 0 for one as it was recorded."""
    count = HEARTS[name].slices
    chosen = [count // 2] if middle_only else range(count)
    named = {(f"{name}_slice_{s}" if count > 1 else name): s for s in chosen}
    if not copies:
        return {series: (s, 0) for series, s in named.items()}
    return {f"{series}_copy_{copy:02d}": (s, copy) for copy in range(copies) for series, s in named.items()}


def recorded(name: str, size: int, frames: int | None = None) -> tuple[Tensor, float]:
    """A heart as it was recorded, around its middle: (slices, T, 2·size, 2·size) in 0 … 1, and its pixel in mm.

    Rows and columns are y and x of the file, in its order, T the first `frames` frames, or all that there are.
    """
    image, heart = nibabel.load(scan_file(name)), HEARTS[name]
    series = np.asarray(image.dataobj).transpose(2, 3, 1, 0)[:, :frames].astype(np.float32)
    if 2 * size > heart.extent:
        raise InputError(f"size {size}", f"{name} has {heart.extent} pixels", f"at most {heart.extent // 2}")
    rows, columns = (
        slice(first := min(max(m - size, 0), heart.extent - 2 * size), first + 2 * size) for m in heart.middle
    )
    series = torch.from_numpy(series[..., rows, columns].copy())
    return series / series.max(), float(image.header.get_zooms()[1])


def varied(series: Tensor, size: int, frames: int, rng: np.random.Generator) -> Tensor:
    """One slice's whole beat (T, H, W) in 0 … 1 in another pose, contrast and tempo: (at most `frames`, 2·size, 2·size).

    It begins at another frame, half of the time at 0.7 to 2 times the rate (between two frames linearly); it is mirrored,
    turned by any angle, 0.85 to 1.4 times as large, moved by up to a tenth; beyond its edges it is mirrored. A power of
    0.6 to 1.6 and a smooth shading change its contrast.

    Parameters
    ----------
    series : without the frame that would begin the next beat
    size : of the image that is made of it, in pixels
    frames : at most so many, and no more than there are
    rng : what is drawn from
    """
    rate = 1.0 if rng.random() < 0.5 else rng.uniform(0.7, 2.0)
    at = torch.from_numpy(rng.integers(len(series)) + rate * np.arange(min(frames, len(series))))
    before, share = at.long(), (at - at.floor()).float()[:, None, None]
    moving = torch.lerp(series[before % len(series)], series[(before + 1) % len(series)], share)
    turn, zoom, (down, right) = rng.uniform(0, 2 * np.pi), rng.uniform(0.85, 1.4), rng.uniform(-0.2, 0.2, 2)
    scale = 2 * size / series.shape[-1] / zoom  # of the cut within the whole, whose half width is 1
    flip = rng.choice([-1.0, 1.0])
    matrix = [
        [scale * np.cos(turn), -scale * np.sin(turn), right],
        [flip * scale * np.sin(turn), flip * scale * np.cos(turn), down],
    ]
    grid = F.affine_grid(torch.tensor([matrix], dtype=torch.float32), (1, 1, 2 * size, 2 * size), align_corners=False)
    posed = F.grid_sample(moving[None], grid, "bicubic", "reflection", align_corners=False)[0].clamp(0, 1)
    return posed ** float(rng.uniform(0.6, 1.6)) * _shading(2 * size, rng)


def _shading(extent: int, rng: np.random.Generator) -> Tensor:
    """A smooth brightness (extent, extent) around 1, as receive coils leave it: ± 30 % at most."""
    coarse = torch.from_numpy(rng.uniform(-0.3, 0.3, (1, 1, 3, 3)).astype(np.float32))
    return 1 + F.interpolate(coarse, (extent, extent), mode="bicubic", align_corners=True)[0, 0].clamp(-0.3, 0.3)
