"""The samples of labeled slices, by name: slices in HipMRI's folders, or volumes in the Decathlon's."""

from pathlib import Path
from typing import Any

import numpy as np

from lib import InputError
from lib.data.hipmri import FOLDERS
from lib.phantoms import ventricle
from lib.phantoms.labeled_scans import ORGANS, TISSUE, hippocampus, resampled, slabs, write_hipmri
from lib.text import one_of

QUICK = (6.0, (32, 32), 4)  # mm a pixel, size, and every how many slices


def write(sample: str, folder: Path, voxel: float, size: tuple[int, int], quick: bool = False) -> dict[str, Any]:
    """Write a sample in HipMRI's folders; of the hippocampus the volumes are where they are.

    Parameters
    ----------
    sample : one of SAMPLES
    folder : made if it isn't there
    voxel : mm a pixel, of those that are resampled: brain and abdomen
    size : (H, W) of the same
    quick : few slices, and small ones

    Returns
    -------
    Arguments of `lib.data.hipmri.prepare`: classes, ignore_index if there is one, a note. Of the hippocampus those of
    `lib.data.volume_slices.prepare`, source and split among them.
    """
    if sample not in SAMPLES:
        raise InputError(f"sample {sample!r}", *one_of(sample, SAMPLES))
    grid = QUICK if quick else (voxel, tuple(size), 1)
    return {"sample_data": sample, "real_ids": True} | SAMPLES[sample](folder, *grid)


def _brain(folder: Path, voxel: float, size: tuple[int, int], step: int) -> dict[str, Any]:
    """Slabs of one person, which pass for patients 1 to 3."""
    image, label = resampled("brain_a", voxel, size)
    parts = slabs(len(image), 1.0, 8, ("val", "test"), int(np.quantile(label.any((1, 2)).nonzero()[0], 0.5)))
    _write_slabs(folder, parts, image, label, voxel, step)
    return {"classes": TISSUE, "note": "train, val and test are slabs of one person; labels see data/samples"}


def _abdomen(folder: Path, voxel: float, size: tuple[int, int], step: int) -> dict[str, Any]:
    """A person trains, a slab apart validates; another person, patient 21, tests."""
    image, label = resampled("abdomen_a", voxel, size)
    parts = slabs(len(image), 3.0, 12, ("val",), int(np.quantile(label.any((1, 2)).nonzero()[0], 0.2)))
    _write_slabs(folder, parts, image, label, voxel, step)
    image, label = resampled("abdomen_b", voxel, size)
    write_hipmri(folder, "test", 21, image[::step], label[::step], voxel)
    note = "abdomen_a trains, a slab of it validates, abdomen_b (another person) tests; a network drew the labels"
    return {"classes": ORGANS, "note": note}


def _write_slabs(
    folder: Path, parts: dict[str, list[int]], image: np.ndarray, label: np.ndarray, voxel: float, step: int
) -> None:
    for patient, (split, part) in enumerate(parts.items(), 1):
        where = part[::step]
        print(f"{split}: {len(part)} slices, {part[0]} to {part[-1]}")
        write_hipmri(folder, FOLDERS[split], patient, image[where], label[where], voxel)


def _ventricle(folder: Path, voxel: float, size: tuple[int, int], step: int) -> dict[str, Any]:
    """Real hearts at their own pixels."""
    return ventricle.write_slices(folder, quick=step > 1)


def _hippocampus(folder: Path, voxel: float, size: tuple[int, int], step: int) -> dict[str, Any]:
    """Volumes at their own voxels, to be cut into slices."""
    about = hippocampus(folder, quick=step > 1)
    return {name: value for name, value in about.items() if name != "spacing"}


SAMPLES = {"hippocampus": _hippocampus, "brain": _brain, "abdomen": _abdomen, "ventricle": _ventricle}
