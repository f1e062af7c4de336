"""The labeled sample scans as data for segmentation, in the layouts of the Decathlon, HipMRI and LiTS."""

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from scipy import ndimage

from lib import InputError
from lib.phantoms.sample_scans import FOLDER, Scan, place, scan, scan_file
from lib.text import one_of

TISSUE = ("background", "cortical grey matter", "inside the white surface")
ORGANS = ("background", "liver", "spleen", "kidneys")
HIPPOCAMPUS = ("background", "anterior", "posterior")
QUICK_STEP = 6  # of the 40 hippocampus volumes quick runs take every sixth


def resampled(name: str, voxel: float, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A sample scan and its labels, (slices, H, W) float32 and uint8, resampled in the slice and cut or padded.

    Parameters
    ----------
    name : brain_a (T1 and tissue), abdomen_a or abdomen_b
        CT in HU cut off at −160 … 240 and raised to 0 … 400, and organs (a network's predictions).
    voxel : mm in the slice
    size : (H, W)
    """
    image_name, label_name = {"brain_a": ("brain_a_t1", "brain_a_tissue")}.get(name, (f"{name}_ct", f"{name}_organs"))
    volumes = []
    for part, order in ((image_name, 1), (label_name, 0)):
        original = scan(part)
        volume = original.volume.clip(-160, 240) + 160 if part.endswith("_ct") else original.volume
        factors = (1.0, *(s / voxel for s in original.spacing[1:]))
        volume = ndimage.zoom(volume, factors, order=order, mode="nearest", grid_mode=True)
        volumes.append(
            place(Scan(volume, (original.spacing[0], voxel, voxel)), (size[0] * voxel, size[1] * voxel)).volume
        )
    return volumes[0].astype(np.float32), volumes[1].astype(np.uint8)


def slabs(
    count: int, thickness: float, held_out: int, splits: tuple[str, ...], middle: int, gap_mm: float = 10.0
) -> dict[str, list[int]]:
    """Slices of one person for each split: neighboring ones about the middle to evaluate on, all others train.

    Parameters
    ----------
    count : the person's slices
    thickness : mm from one to the next
    held_out : slices for each of `splits`
    splits : names, side by side
    middle : slice number
    gap_mm : slices that are nearer than that to a held-out one are left out
    """
    gap = int(np.ceil(gap_mm / thickness))
    first = middle - (len(splits) * (held_out + gap) - gap) // 2
    parts = {
        s: [*range(first + i * (held_out + gap), first + i * (held_out + gap) + held_out)] for i, s in enumerate(splits)
    }
    taken = {s + d for part in parts.values() for s in part for d in range(-gap, gap + 1)}
    return {"train": [s for s in range(count) if s not in taken], **parts}


def write_hipmri(
    folder: Path, split: str, patient: int, image: np.ndarray, label: np.ndarray, voxel: float, week: int = 0
) -> None:  # fmt: skip
    """Slices and their labels in HipMRI's folders and file names.

    Parameters
    ----------
    folder : with the folders keras_slices_…
    split : train, validate or test
    patient : number in the file's name
    image, label : (S, H, W)
    voxel : mm in the slice
    week : number in the file's name
    """
    for s, pair in enumerate(zip(image, label, strict=True)):
        for prefix, kind, values in zip(("case", "seg"), ("", "seg_"), pair, strict=True):
            path = folder / f"keras_slices_{kind}{split}" / f"{prefix}_{patient:03d}_week_{week}_slice_{s}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.diag([voxel, voxel, 1, 1])), path)


def volumes(sample: str, folder: Path, quick: bool = False) -> dict[str, Any]:
    """A labeled sample as volumes.

    Parameters
    ----------
    sample : hippocampus (see `hippocampus`) or abdomen (see `write_lits`)
    folder : for copies; made if it isn't there
    quick : few and coarse volumes

    Returns
    -------
    Arguments of `lib.data.lits.prepare`, `source` and `spacing` among them.

    Raises
    ------
    InputError
        For another sample, with the nearest name.
    """
    samples = {"hippocampus": hippocampus, "abdomen": _abdomen}
    if sample not in samples:
        raise InputError(f"sample {sample!r}", *one_of(sample, samples))
    return samples[sample](folder, quick) | {"real_ids": True}


def hippocampus(folder: Path, quick: bool = False) -> dict[str, Any]:
    """The 40 volumes of the hippocampus with manual labels, in the Decathlon's folders.

    In the order of their names 26 train, 4 validate and 10 test.

    Parameters
    ----------
    folder : for copies of a few of them, where quick
    quick : three train, two validate and two test, of 3 mm

    Returns
    -------
    Arguments of `lib.data.lits.prepare`, `source` and `spacing` among them; the checksums of the files are verified.
    """
    source = FOLDER / "hippocampus"
    names = sorted(p.relative_to(source).as_posix().removesuffix(".nii.gz") for p in source.glob("*Tr/*.nii.gz"))
    files = {name: scan_file(f"hippocampus/{name}") for name in names}
    if quick:
        for name, path in files.items():
            if names.index(name) % (len(names) // 2) % QUICK_STEP == 0:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / path.relative_to(source))
    return {
        "source": folder if quick else source, "split": {"val": 2, "test": 2} if quick else {"val": 4, "test": 10},
        "classes": HIPPOCAMPUS, "spacing": [3, 3, 3] if quick else None, "sample_data": "hippocampus",
        "note": "manual labels; blocks of volumes in the order of their names, since neighbors may be two sides of one "
        "person: whose they are isn't recorded",
    }  # fmt: skip


def _abdomen(folder: Path, quick: bool) -> dict[str, Any]:
    return {"source": folder, "spacing": [8, 8, 8] if quick else [3, 3, 3]} | write_lits(folder)


def write_lits(folder: Path, held_out: int = 8) -> dict[str, Any]:
    """Write the abdomens in LiTS's names: volume-<case>.nii.gz in HU and segmentation-<case>.nii.gz.

    abdomen_a's planes from the lowest one with spleen on validate, and what lies below and above them, at least 10 mm
    away, trains; abdomen_b tests. Kidneys count as background, since abdomen_b shows none.

    Parameters
    ----------
    folder : made if it isn't there
    held_out : planes that validate

    Returns
    -------
    Arguments of `lib.data.lits.prepare`: split, persons, classes, which labels count as another class, a note.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ct, organs = (nibabel.load(scan_file(f"abdomen_a_{part}")) for part in ("ct", "organs"))
    first = int((np.asarray(organs.dataobj) == ORGANS.index("spleen")).any((0, 1)).argmax())
    parts = slabs(ct.shape[2], float(ct.header.get_zooms()[2]), held_out, ("val",), first + held_out // 2)
    below = sum(z < first for z in parts["train"])
    cuts = {
        "abdomen_a_lower": slice(below), "abdomen_a_upper": slice(parts["train"][below], None),
        "abdomen_a_slab": slice(first, first + held_out),
    }  # fmt: skip
    for kind, image in (("volume", ct), ("segmentation", organs)):
        for case, planes in cuts.items():
            nibabel.save(image.slicer[:, :, planes], folder / f"{kind}-{case}.nii.gz")
        name = f"abdomen_b_{'ct' if image is ct else 'organs'}"
        shutil.copy(scan_file(name), folder / f"{kind}-abdomen_b.nii.gz")
    return {
        "split": {"val": ["volume-abdomen_a_slab"], "test": ["volume-abdomen_b"]}, "classes": ORGANS[:3],
        "persons": {f"volume-{case}": "abdomen_a" for case in cuts} | {"volume-abdomen_b": "abdomen_b"},
        "relabel": {3: 0}, "shared_persons": ["abdomen_a"], "sample_data": "abdomen",
        "note": "abdomen_a trains, a slab of it validates, at least 10 mm from the training planes; abdomen_b (another "
        "person) tests; a network drew the labels; kidneys count as background",
    }  # fmt: skip
