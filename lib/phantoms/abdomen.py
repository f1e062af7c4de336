"""Drawn bodies with an organ and lesions in it, in HU, of any size: volumes whose segmentation is exact and can be learned."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

PLANES_AT_ONCE = 16


def phantom(size: Sequence[int], seed: int | tuple[int, ...], noise: float = 15.0) -> tuple[np.ndarray, np.ndarray]:
    """One drawn volume and its labels; the seed decides everything.

    An elliptic body (fat outside, soft tissue within) with a spine, a few round things as bright as the organ, an
    organ with a wavy edge (about 110 HU) and one to four darker lesions inside it (about 50 HU).

    Parameters
    ----------
    size : (D, H, W)
    seed : an int or ints
    noise : standard deviation in HU

    Returns
    -------
    int16 HU (D, H, W), and uint8 labels: 0 background, 1 organ, 2 lesion.
    """
    rng = np.random.default_rng(seed)
    middle, radii = rng.uniform((-0.2, -0.2, -0.3), (0.2, 0.1, -0.05)), rng.uniform((0.35, 0.3, 0.35), (0.5, 0.45, 0.5))
    waves = [(rng.uniform(1, 4, 3), rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.12)) for _ in range(4)]
    lesions = []
    for _ in range(rng.integers(1, 5)):
        away = rng.standard_normal(3)
        lesions.append((middle + away / np.linalg.norm(away) * rng.uniform(0, 0.55) * radii, rng.uniform(0.1, 0.2)))
    others = [(rng.uniform((-0.8, -0.4, 0.2), (0.8, 0.5, 0.6)), rng.uniform(0.08, 0.18)) for _ in range(3)]
    bright, dark = rng.uniform(95, 125), rng.uniform(40, 60)
    axes = [np.linspace(-1, 1, n, endpoint=False) + 1 / n for n in size]
    image, label = np.empty(tuple(size), np.int16), np.empty(tuple(size), np.uint8)
    for first in range(0, size[0], PLANES_AT_ONCE):
        part = slice(first, first + PLANES_AT_ONCE)
        z, y, x = np.meshgrid(axes[0][part], *axes[1:], indexing="ij", sparse=True)

        def square(center: Sequence[float], radius: Sequence[float] | float, at=(z, y, x)) -> np.ndarray:
            return sum(((a - c) / r) ** 2 for a, c, r in zip(at, center, np.broadcast_to(radius, 3), strict=True))

        body = (x / 0.92) ** 2 + (y / 0.7) ** 2 + 0 * z
        values = np.where(body < 1, np.where(body < 0.75, 40.0, -100.0), -1000.0)
        values[(x / 0.12) ** 2 + ((y + 0.5) / 0.12) ** 2 + 0 * z < 1] = 400
        for center, radius in others:
            values[square(center, radius) < 1] = bright
        edge = 1 + sum(s * np.cos(k[0] * z + k[1] * y + k[2] * x + p) for k, p, s in waves)
        organ = (square(middle, radii) < edge) & (body < 0.72)
        lesion = organ & np.any([square(center, radius) < 1 for center, radius in lesions], axis=0)
        values[organ], values[lesion] = bright, dark
        label[part] = organ.astype(np.uint8) + lesion
        image[part] = np.rint(values + noise * rng.standard_normal(values.shape))
    return image, label


def write_lits(
    folder: Path, count: int, size: Sequence[int], spacing: Sequence[float] = (3, 3, 3), seed: int = 0
) -> dict[str, Any]:
    """Write phantoms as folder/volume-<n>.nii and segmentation-<n>.nii.

    Parameters
    ----------
    folder : made if it isn't there
    count : phantoms; a fifth validates, a fifth tests
    size : (D, H, W)
    spacing : mm along D, H, W
    seed : of the first

    Returns
    -------
    Arguments of `lib.data.lits.prepare`: classes, split, a note.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        for name, values in zip(("volume", "segmentation"), phantom(size, (seed, n)), strict=True):
            image = nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([*spacing[::-1], 1]))
            nibabel.save(image, folder / f"{name}-{n}.nii")
    held_out = -(-count // 5)
    return {
        "split": {"val": held_out, "test": held_out}, "classes": ("background", "organ", "lesion"),
        "sample_data": "phantoms", "real_ids": True, "note": "drawn volumes: their segmentations are exact",
    }  # fmt: skip
