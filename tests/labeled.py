"""Folders in HipMRI's and Kaggle's LGG layouts, named and shaped as the real ones, for the tests of segmentation."""

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image


def hipmri_layout(folder: Path, slices: int = 2, size: tuple[int, int] = (256, 128), odd: bool = True) -> Path:
    """Patients 004, 019 (one week of 256×144) and 035 train, 036 validates, 040 tests; some files have a trailing axis."""
    rng = np.random.default_rng(0)
    people = {"train": [("004", 0), ("004", 1), ("019", 2), ("035", 0)], "validate": [("036", 0)], "test": [("040", 3)]}
    for split, weeks in people.items():
        for patient, week in weeks:
            shape = (size[0], size[1] + 16) if odd and patient == "019" else size
            for s in range(slices):
                label = np.zeros(shape)
                for c in range(1, 6):  # nested boxes: body, bones, bladder, rectum, prostate
                    label[8 * c : -8 * c, 8 * c + s : -8 * c] = c
                image = (label * 50 + rng.uniform(0, 40, shape)).astype(np.float32)
                extra = patient == "035"
                for kind, prefix, values in (("", "case", image), ("seg_", "seg", label)):
                    path = folder / f"keras_slices_{kind}{split}" / f"{prefix}_{patient}_week_{week}_slice_{s}.nii.gz"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    nibabel.save(nibabel.Nifti1Image(values[..., None] if extra else values, np.eye(4)), path)
    return folder


def kaggle_layout(folder: Path, patients: int = 10, slices: int = 3, size: int = 256) -> Path:
    """Kaggle's folders of `patients`, with the files that lie beside them."""
    rng = np.random.default_rng(0)
    for p in range(patients):
        name = f"TCGA_CS_{4941 + p}_199609{p + 10}"
        (folder / name).mkdir(parents=True)
        for s in range(1, slices + 1):
            mask = np.zeros((size, size), np.uint8)
            if s > 1:  # the first slice has no lesion
                mask[size // 3 : size // 2, size // 4 : size // 2 + s] = 255
            image = rng.integers(0, 120, (size, size, 3), dtype=np.uint8) + (mask // 2)[..., None]
            Image.fromarray(image.astype(np.uint8)).save(folder / name / f"{name}_{s}.tif")
            Image.fromarray(mask).save(folder / name / f"{name}_{s}_mask.tif")
    (folder / "data.csv").write_text("Patient,age\n")
    (folder / "README.md").write_text("about")
    return folder


def source_layout(folder: Path, size: int = 40) -> Path:
    """train_image/, train_mask/, test_image/, test_mask/ with gray images, and files that are no images."""
    for split, count in (("train", 6), ("test", 2)):
        for n in range(count):
            mask = np.zeros((size, size), np.uint8)
            mask[5 : 20 + n, 8:30] = 255
            for part, values in (("image", mask // 2 + 30), ("mask", mask)):
                (folder / f"{split}_{part}").mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(folder / f"{split}_{part}" / f"{split}_{n}.png")
        (folder / f"{split}_image" / "Thumbs.db").write_bytes(b"x")
    return folder
