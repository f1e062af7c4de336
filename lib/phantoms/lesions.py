"""Sample data in Kaggle's LGG layout: two real tumors, and lesions drawn into healthy brains, whose masks are exact."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from lib.phantoms import sample_scans

FIELD = (200.0, 200.0)  # mm, of every image
DATE = "20260101"
VAL, TEST = ["TCGA_DRAWN_BRAINAVAL"], ["TCGA_DRAWN_BRAINB", "TCGA_REAL_TUMOURB"]  # persons in the folders' names


def draw_lesion(image: np.ndarray, tissue: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(image, mask) with a lesion drawn into `tissue` (H, W) bool, or as they were where none fits in 20 attempts.

    Its outline is an ellipse of 3 to 16 pixels' radius with three harmonics, its edge blurred by 1 pixel, its contrast to
    the tissue under it ±25 to 80 %, with a smooth texture; the mask is where more than half of the contrast is there.
    """
    places = np.argwhere(tissue)
    rows, columns = np.indices(image.shape)
    for _ in range(20):
        y, x = places[rng.integers(len(places))]
        radius, stretch, turn = rng.uniform(3, 16), rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
        across = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
        along = ((rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)) / stretch
        angle = np.arctan2(along, across)
        edge = radius * (
            1 + sum(rng.uniform(0, 0.12) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
        )
        share = ndimage.gaussian_filter((np.hypot(across, along) < edge).astype(np.float32), 1.0)
        mask = share > 0.5
        if mask.sum() > 20 and tissue[mask].mean() > 0.9:
            texture = ndimage.gaussian_filter(rng.standard_normal(image.shape), 2.0)
            contrast = rng.choice((-1, 1)) * rng.uniform(0.25, 0.8) * (1 + 0.3 * texture / texture.std())
            return (image * (1 + contrast * share)).clip(0, 255), mask
    return image, np.zeros(image.shape, dtype=bool)


def _drawn(name: str, tissue_name: str, where: slice, count: int, rng: np.random.Generator) -> Iterator:
    """`count` slices of a brain, most of them with one lesion and some with two or none: (image, mask)."""
    scan, tissue = (sample_scans.place(sample_scans.scan(n), FIELD).volume for n in (name, tissue_name))
    inside = np.stack([ndimage.binary_closing(t > 0, iterations=2) for t in tissue])
    usable = [s for s in range(len(scan))[where] if inside[s].sum() > 2000]
    for _ in range(count):
        s = usable[rng.integers(len(usable))]
        image, mask = scan[s], np.zeros(scan[s].shape, dtype=bool)
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            image, more = draw_lesion(image, inside[s] & ~mask, rng)
            mask |= more
        yield image, mask


def _real(name: str) -> Iterator:
    """The slices of a real tumor's scan that have a mask, scaled to 0 … 255: (image, mask)."""
    scan, mask = (sample_scans.place(sample_scans.scan(f"{name}_{part}"), FIELD).volume for part in ("t1c", "mask"))
    scan = scan / np.percentile(scan, 99.8) * 255
    yield from ((image, m > 0) for image, m in zip(scan.clip(0, 255), mask, strict=True) if (m > 0).any())


def write_kaggle(folder: Path, seed: int = 0, count: int = 120) -> dict[str, int]:
    """Write the sample images and masks as <folder>/TCGA_…/…_<slice>.tif and …_mask.tif; returns images per person."""
    rng = np.random.default_rng(seed)
    pairs_of = {
        "TCGA_DRAWN_BRAINA": _drawn("brain_a_t1", "brain_a_tissue", slice(0, 56), count, rng),
        "TCGA_DRAWN_BRAINAVAL": _drawn("brain_a_t1", "brain_a_tissue", slice(66, 76), max(count // 6, 2), rng),
        "TCGA_DRAWN_BRAINB": _drawn("brain_b_t1", "brain_b_aal", slice(0, 80), max(count // 4, 2), rng),
        "TCGA_REAL_TUMOURA": _real("tumour_a"), "TCGA_REAL_TUMOURB": _real("tumour_b"),
    }  # fmt: skip
    counts = {}
    for person, pairs in pairs_of.items():
        place = folder / f"{person}_{DATE}"
        place.mkdir(parents=True, exist_ok=True)
        for n, (image, mask) in enumerate(pairs, 1):
            Image.fromarray(image.round().astype(np.uint8)).save(place / f"{person}_{DATE}_{n}.tif")
            Image.fromarray(mask.astype(np.uint8) * 255).save(place / f"{person}_{DATE}_{n}_mask.tif")
            counts[person] = n
    return counts


def write_pairs(folder: Path, quick: bool = False, seed: int = 0) -> dict[str, Any]:
    """`write_kaggle`, few images if `quick`; returns the arguments of `lib.data.lgg.prepare`."""
    write_kaggle(folder, seed, 8 if quick else 120)
    return {
        "classes": ("background", "lesion"), "val_patients": VAL, "test_patients": TEST, "field": FIELD,
        "sample_data": "drawn lesions and two real tumors", "note": "val: drawn lesions in the training person",
    }  # fmt: skip
