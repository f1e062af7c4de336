"""HipMRI's folders of 2-D NIfTI slices (CSIRO, doi 10.25919/45t8-p065) as prepared cases, a case a patient and week."""

import itertools
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from tqdm import tqdm

from lib import InputError
from lib.data.cases import write_case
from lib.data.checks import write_set
from lib.files import list_files

CLASSES = ("background", "body", "bones", "bladder", "rectum", "prostate")
FOLDERS = {"train": "train", "val": "validate", "test": "test"}
NAME = re.compile(r"(case|seg)_(\d+)_week_(\d+)_slice_(\d+)\.nii(\.gz)?$", re.I)


class Slice(NamedTuple):
    """The two files of one slice; `label` is None where there is none."""

    image: Path
    label: Path | None
    patient: str
    week: str
    number: int


def read_slice(path: Path) -> np.ndarray:
    """A NIfTI slice (H, W); of trailing axes beyond two, index 0 is taken. InputError where it can't be read."""
    try:
        values = np.asanyarray(nibabel.load(path).dataobj)
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: not a readable NIfTI file ({reason}; truncated?)") from None
    while values.ndim > 2:
        values = values[..., 0]
    if values.ndim != 2 or not np.isfinite(values).all():
        raise InputError(f"{path}: shape {values.shape}, expected one slice (H, W) of finite values")
    return values


def find(source: Path) -> dict[str, list[Slice]]:
    """The slices of source/keras_slices_{train,validate,test}, by split, with their keras_slices_seg_… labels.

    Files of other names are refused. InputError: no such folders, an image without label or a label without image (in
    train and validate; a test folder without any label is for prediction), an empty folder, a patient in two splits.
    """
    source, found = Path(source), {}
    for split, word in FOLDERS.items():
        images = _named(source / f"keras_slices_{word}", "case")
        labels = _named(source / f"keras_slices_seg_{word}", "seg")
        if not images and not labels:
            continue
        unlabelled = split == "test" and not labels
        for kind, other, ours in (("label", images, labels), ("image", labels, images)):
            lost = next((key for key in other if key not in ours), None)
            if lost and not unlabelled:
                raise InputError(
                    f"{other[lost]}: no {kind} beside it in keras_slices_{'seg_' * (kind == 'label')}{word}"
                )
        found[split] = [Slice(path, labels.get(key), key[0], key[1], key[2]) for key, path in sorted(images.items())]
    if not found:
        raise InputError(f"{source}: no keras_slices_train, _validate or _test in it, expected HipMRI's folders")
    owner: dict[str, str] = {}
    for split, slices in found.items():
        for patient in {s.patient for s in slices}:
            if owner.setdefault(patient, split) != split:
                raise InputError(
                    f"{source}: patient {patient} is in both {owner[patient]} and {split}: split by patient"
                )
    return found


def _named(folder: Path, kind: str) -> dict[tuple[str, str, int], Path]:
    if not folder.is_dir():
        return {}
    paths = list_files(folder, (".nii", ".nii.gz"), deep=False)
    if not paths:
        raise InputError(f"{folder}: empty, expected {kind}_PPP_week_W_slice_S.nii.gz files")
    found = {}
    for path in paths:
        match = NAME.fullmatch(path.name)
        if not match or match[1].lower() != kind:
            raise InputError(f"{path}: expected a name like {kind}_004_week_0_slice_7.nii.gz")
        found[match[2], match[3], int(match[4])] = path
    return found


def prepare(source: Path, folder: Path, classes: Sequence[str] = CLASSES, odd: str = "pad", **about: Any) -> Path:
    """Write every case of HipMRI's folders to folder/<split>/case_PPP_week_W.h5 and folder/set.json, with a bar a split.

    odd: what becomes of slices whose size isn't the most common one: "pad" brings all to the largest height and width,
    the case's least value on both sides (of labels 0); "drop" leaves them out, as the source does. Only one case is in memory at a time.
    InputError names the file for sizes that differ within a pair and labels outside the classes. Returns set.json's path.
    """
    if odd not in ("pad", "drop"):
        raise InputError(f"odd: got {odd!r}, expected pad or drop")
    found = find(source)
    shapes = {s.image: _shape(s.image) for slices in found.values() for s in slices}
    counts = Counter(shapes.values())
    usual = counts.most_common(1)[0][0]
    size = usual if odd == "drop" else tuple(max(shape[axis] for shape in counts) for axis in (0, 1))
    entries, dropped = [], 0
    for split, slices in found.items():
        with tqdm(total=len(slices), desc=f"reading {split}", unit="slice", file=sys.stdout, mininterval=1) as bar:
            for (patient, week), group in itertools.groupby(slices, lambda s: (s.patient, s.week)):
                group = list(group)
                kept = [s for s in group if odd == "pad" or shapes[s.image] == usual]
                dropped += len(group) - len(kept)
                if kept:
                    entries.append(_write(folder, split, f"case_{patient}_week_{week}", kept, classes, size))
                bar.update(len(group))
    print(
        f"{sum(counts.values()) - dropped} slices of {size[0]}×{size[1]}, {dropped} dropped; sizes found: {dict(counts)}"
    )
    return write_set(
        folder, str(source), "labelled slices", entries, unit="mm", classes=list(classes), size=list(size), odd=odd,
        dropped=dropped, sizes={"×".join(map(str, k)): v for k, v in counts.items()}, **about,
    )  # fmt: skip


def _shape(path: Path) -> tuple[int, int]:
    try:
        return tuple(nibabel.load(path).shape[:2])
    except Exception as error:
        raise InputError(f"{path}: not a readable NIfTI file ({type(error).__name__}; truncated?)") from None


def _write(folder: Path, split: str, name: str, slices: list[Slice], classes: Sequence[str], size) -> dict[str, Any]:
    images, labels = [], []
    for s in slices:
        image = read_slice(s.image)
        images.append(image.astype(np.float32))
        if s.label:
            label = read_slice(s.label)
            if label.shape != image.shape:
                raise InputError(f"{s.label}: {label.shape}, its image is {image.shape}")
            whole = label.astype(np.int64)
            if (whole != label).any() or whole.min() < 0 or whole.max() >= len(classes):
                raise InputError(
                    f"{s.label}: labels {label.min():g} … {label.max():g}, expected whole numbers 0 … {len(classes) - 1}"
                )
            labels.append(_padded(whole, size))
    path = folder / split / f"{name}.h5"
    first = nibabel.load(slices[0].image)
    zooms = [float(z) for z in first.header.get_zooms()[:2]]
    label = np.stack(labels) if labels else None
    names = [str(s.number) for s in slices]
    person = slices[0].patient
    write_case(
        path,
        np.stack([_padded(image, size, min(i.min() for i in images)) for image in images]),
        label,
        person=person,
        classes=classes,
        names=names,
        spacing=(1.0, *zooms),
        affine=first.affine,
    )
    about = {"slices": len(slices), "label": label is not None}
    return {"split": split, "path": f"{split}/{path.name}", "person": person, **about}


def _padded(image: np.ndarray, size: tuple[int, int], fill: float = 0) -> np.ndarray:
    margins = [(size[axis] - image.shape[axis]) for axis in (0, 1)]
    return np.pad(image, [(m // 2, m - m // 2) for m in margins], constant_values=fill)
