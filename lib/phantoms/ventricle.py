"""The left ventricle of five real patients, with manual labels, in the layouts of Kaggle's LGG set and of HipMRI.

Labeled are two frames of each cine, at end-diastole and end-systole: the cavity in both, the wall (myocardium) at
end-diastole of all but the last patient. Where a wall isn't labeled it looks like background in the file.
"""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image
from scipy import ndimage

from lib.phantoms.labeled_scans import write_hipmri
from lib.phantoms.sample_scans import Scan, place, scan_file

PATIENTS = tuple(f"heart_sax_{n}" for n in range(1, 6))
CAVITY, WALL, UNLABELED = 1, 2, 255  # in the files
FIELD = 164.5  # mm, of each slice
WALL_REACH = 20.0  # mm from the cavity, within which the wall lies
QUICK_STEP = 3  # slices
SPLITS = {1: "train", 2: "train", 5: "train", 3: "validate", 4: "test"}  # of cavity and wall: 5 has no wall to test on


def phases(patient: str) -> dict[str, tuple[Scan, Scan]]:
    """The labeled frames of a patient, image and label: {"diastole", "systole": (slices, H, W) each}."""
    files = [nibabel.load(scan_file(name)) for name in (patient, f"{patient}_label")]
    image, label = (np.asarray(file.dataobj).T[:, :, ::-1] for file in files)  # (frames, slices, H, W)
    x, y, z, _ = map(float, files[0].header.get_zooms())
    frames = [t for t in range(len(label)) if (label[t] != UNLABELED).any()]
    frames.sort(key=lambda t: -(label[t] == CAVITY).sum())  # the cavity is larger at end-diastole
    names = zip(("diastole", "systole"), frames, strict=True)
    return {name: tuple(place(Scan(v[t], (z, y, x)), (FIELD, FIELD)) for v in (image, label)) for name, t in names}


def write_pairs(folder: Path, quick: bool = False, seed: int = 0) -> dict[str, Any]:
    """Write slices and masks of the cavity as <folder>/<patient>/<patient>_<phase>_<slice>.tif and …_mask.tif.

    See `lib.phantoms.pairs.write`; nothing is drawn, so `seed` has no effect.
    """
    for patient in PATIENTS:
        (folder / patient).mkdir(parents=True, exist_ok=True)
        for phase, (image, label) in phases(patient).items():
            for s in range(0, len(image.volume), QUICK_STEP if quick else 1):
                path = folder / patient / f"{patient}_{phase}_{s + 1}.tif"
                Image.fromarray(image.volume[s]).save(path)
                mask = (label.volume[s] == CAVITY).astype(np.uint8) * 255
                Image.fromarray(mask).save(path.with_stem(f"{path.stem}_mask"))
    return {
        "classes": ("background", "cavity"), "val_patients": PATIENTS[3:4], "test_patients": PATIENTS[4:],
        "field": (FIELD, FIELD), "sample_data": "left ventricles", "note": "manual labels of two frames of each of five real patients",
    }  # fmt: skip


def write_slices(folder: Path, quick: bool = False) -> dict[str, Any]:
    """Write slices of cavity and wall in HipMRI's folders: patients 1, 2 and 5 train, 3 validates, 4 tests.

    Week 0 is end-diastole, the only one that validates and tests; week 1 is end-systole. Where the wall isn't labeled,
    what lies within WALL_REACH of the cavity is UNLABELED, and only what lies farther away is background.

    Parameters
    ----------
    folder : made if it isn't there
    quick : two slices of each phase

    Returns
    -------
    Arguments of `lib.data.hipmri.prepare`: classes, ignore_index, a note.
    """
    for number, split in SPLITS.items():
        for week, (image, label) in enumerate(phases(PATIENTS[number - 1]).values()):
            if week and split != "train":
                continue
            chosen = slice(None, None, QUICK_STEP if quick else 1)
            labels = label.volume if (label.volume == WALL).any() else _without_wall(label)
            about = {"voxel": image.spacing[1], "week": week}
            write_hipmri(folder, split, number, image.volume[chosen], labels[chosen], **about)
    return {
        "classes": ("background", "cavity", "wall"), "ignore_index": UNLABELED, "sample_data": "left ventricles",
        "note": "manual labels; patients 1, 2, 5 train (5, and end-systole of all, without wall), 3 validates, 4 tests",
    }  # fmt: skip


def _without_wall(label: Scan) -> np.ndarray:
    """Labels (slices, H, W) of the cavity, UNLABELED about it where the wall must be."""
    away = [ndimage.distance_transform_edt(plane != CAVITY, sampling=label.spacing[1:]) for plane in label.volume]
    near = (np.stack(away) <= WALL_REACH) & (label.volume != CAVITY)
    return np.where(near, np.uint8(UNLABELED), label.volume)
