"""HipMRI's folders of 2-D NIfTI slices (CSIRO, doi 10.25919/45t8-p065) as prepared cases, one per patient and week."""

import itertools
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nibabel.affines import voxel_sizes
from tqdm import tqdm

from lib import InputError
from lib.data import grids, nifti
from lib.data.case_files import write_case
from lib.data.classes import check_ignore_index, check_named, whole
from lib.data.index import write_set, writes_set
from lib.data.people import pseudonyms
from lib.files import check_path, list_files

CLASSES = ("background", "body", "bones", "bladder", "rectum", "prostate")
FOLDERS = {"train": "train", "val": "validate", "test": "test"}
NAME = re.compile(r"(case|seg)_(\d+)_week_(\d+)_slice_(\d+)\.nii(\.gz)?$", re.I)


class Slice(NamedTuple):
    """The two files of one slice; `label` is None if there is none."""

    image: Path
    label: Path | None
    patient: str
    week: str
    number: int


def is_hipmri(source: Path) -> bool:
    """Whether a folder holds one of HipMRI's."""
    return any(
        (Path(source) / f"keras_slices_{part}{word}").is_dir() for word in FOLDERS.values() for part in ("", "seg_")
    )


def find(source: Path) -> dict[str, list[Slice]]:
    """The slices of source/keras_slices_{train,validate,test}, by split, with their keras_slices_seg_… labels.

    Files of other names are refused. InputError: no such folders, an image without label or a label without image (in
    train and validate; a test folder without any label is for prediction), an empty folder, a patient in two splits.
    """
    source, splits = Path(source), {}
    check_path(source)
    for split, word in FOLDERS.items():
        images = _named(source / f"keras_slices_{word}", "case")
        labels = _named(source / f"keras_slices_seg_{word}", "seg")
        if not images and not labels:
            continue
        unlabeled = split == "test" and not labels
        for kind, other, ours in (("label", images, labels), ("image", labels, images)):
            lost = next((key for key in other if key not in ours), None)
            if lost and not unlabeled:
                raise InputError(other[lost], f"no {kind} beside it in keras_slices_{'seg_' * (kind == 'label')}{word}")
        splits[split] = [Slice(path, labels.get(key), key[0], key[1], key[2]) for key, path in sorted(images.items())]
    if not splits:
        raise InputError(source, "no keras_slices_train, _validate or _test in it", "HipMRI's folders")
    owner: dict[str, tuple[str, Path]] = {}
    for split, slices in splits.items():
        for s in slices:
            first, image = owner.setdefault(s.patient, (split, s.image))
            if first != split:
                raise InputError(s.image, f"its patient is in {first}, too: {image.name}", hint="split by patient")
    return splits


def _named(folder: Path, kind: str) -> dict[tuple[str, str, int], Path]:
    if not folder.is_dir():
        return {}
    paths = list_files(folder, (".nii", ".nii.gz"), deep=False)
    if not paths:
        raise InputError(folder, "empty", f"{kind}_PPP_week_W_slice_S.nii.gz files")
    paths_by_slice = {}
    for path in paths:
        match = NAME.fullmatch(path.name)
        if not match or match[1].lower() != kind:
            raise InputError(path, "", f"a name like {kind}_004_week_0_slice_7.nii.gz")
        paths_by_slice[match[2], match[3], int(match[4])] = path
    return paths_by_slice


@writes_set
def prepare(
    source: Path, folder: Path, classes: Sequence[str] | None = None, odd: str = "pad", affine_from: str = "both",
    ignore_index: int | None = None, real_ids: bool = False, **about: Any,
) -> Path:  # fmt: skip
    """Write every case of HipMRI's folders to folder/<split>/<person>_week_W.h5, and set.json, with a bar per split.

    Files are (H, W), further axes of 1 allowed. The pixels' size is that of a case's first slice. Only one case is in
    memory at a time.

    Parameters
    ----------
    source : the folder with keras_slices_train and the others
    folder : of the prepared set
    classes : names of the labels' values 0, 1, 2 …; None: CLASSES
    odd : what becomes of slices whose size isn't the most common one: "pad" brings all to the largest height and width,
        the case's least value on both sides (of labels 0); "drop" leaves them out, as the source does
    affine_from : see `lib.data.grids.agreed`
    ignore_index : the label of pixels that aren't labeled; None: all are
    real_ids : see `lib.data.people.pseudonyms`; the files are then case_PPP_week_W.h5
    **about : further entries of set.json

    Returns
    -------
    The path of set.json.

    Raises
    ------
    InputError
        Naming the files: before anything is written, for other axes, sizes or affines within a pair; later, for labels
        without a class (those within .01 of a whole number are rounded).
    """
    classes = classes or CLASSES
    if odd not in ("pad", "drop"):
        raise InputError("odd", f"got {odd!r}", "pad or drop")
    check_ignore_index(ignore_index, classes)
    splits = find(source)
    every = tqdm(
        [s for slices in splits.values() for s in slices], "checking", unit="slice", file=sys.stdout, mininterval=1
    )
    people = pseudonyms(folder, (("", s.patient) for slices in splits.values() for s in slices), real_ids)
    headers = {s.image: _header(s, affine_from) for s in every}
    _tell_lost(headers)
    shapes = {path: shape for path, (shape, _) in headers.items()}
    counts = Counter(shapes.values())
    usual = counts.most_common(1)[0][0]
    size = usual if odd == "drop" else tuple(max(shape[axis] for shape in counts) for axis in (0, 1))
    entries, dropped = [], 0
    for split, slices in splits.items():
        with tqdm(total=len(slices), desc=f"reading {split}", unit="slice", file=sys.stdout, mininterval=1) as bar:
            for (patient, week), group in itertools.groupby(slices, lambda s: (s.patient, s.week)):
                group = list(group)
                kept = [s for s in group if odd == "pad" or shapes[s.image] == usual]
                dropped += len(group) - len(kept)
                if kept:
                    person = people[patient]
                    name = f"{f'case_{patient}' if real_ids else person}_week_{week}"
                    about_it = (name, person, kept, classes, size, headers[kept[0].image][1])
                    entries.append(_write(folder, split, *about_it, ignore_index))
                bar.update(len(group))
    print(
        f"{sum(counts.values()) - dropped} slices of {size[0]}×{size[1]}, {dropped} dropped; sizes found: "
        f"{dict(counts)}"
    )
    return write_set(
        folder, str(source), "labeled slices", entries, unit="mm", classes=list(classes), size=list(size), odd=odd,
        people=people, ignore_index=ignore_index, dropped=dropped, sizes={"×".join(map(str, k)): v for k, v in counts.items()}, **about,
    )  # fmt: skip


def _header(s: Slice, affine_from: str) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape (H, W) of a slice, and its affine (4, 3) that maps (row, column, 1) to mm."""
    shape, affine = nifti.header(s.image, 2)
    if s.label:
        affine, _ = grids.agreed(s.image, s.label, (shape, affine), nifti.header(s.label, 2), affine_from)
    return shape, affine


def _tell_lost(headers: dict[Path, tuple[tuple[int, ...], np.ndarray]]) -> None:
    lost = [path for path, header in headers.items() if grids.is_lost(*header)]
    if lost:
        other = next((f", unlike {path}" for path in headers.keys() - set(lost)), "")
        print(
            f"{lost[0]}: the identity as affine{other} ({len(lost)} of {len(headers)} slices): pixels taken as 1×1 mm"
        )


def _write(
    folder: Path, split: str, name: str, person: str, slices: list[Slice], classes: Sequence[str], size,
    affine: np.ndarray, ignore_index: int | None,
) -> dict[str, Any]:  # fmt: skip
    images = [nifti.values(s.image, 2) for s in slices]
    labels = [_label(s.label, classes, ignore_index) for s in slices if s.label]
    fill, sizes = min(image.min() for image in images), voxel_sizes(affine)
    across = [*np.cross(affine[:3, 0], affine[:3, 1]) / sizes.prod(), 0]  # 1 mm
    path = folder / split / f"{name}.h5"
    write_case(
        path, np.stack([_padded(image, size, fill) for image in images]),
        np.stack([_padded(label, size) for label in labels]) if labels else None, person=person, classes=classes,
        names=[str(s.number) for s in slices], spacing=(1.0, *sizes), affine=np.column_stack([across, affine]),
        ignore_index=ignore_index,
    )  # fmt: skip
    about = {"slices": len(slices), "label": bool(labels)}
    return {"split": split, "path": f"{split}/{path.name}", "person": person, **about}


def _label(path: Path, classes: Sequence[str], ignore_index: int | None) -> np.ndarray:
    label = whole(path, nifti.values(path, 2))
    check_named(path, np.bincount(label.ravel(), minlength=256), np.arange(256), classes, ignore_index=ignore_index)
    return label


def _padded(image: np.ndarray, size: tuple[int, int], fill: float = 0) -> np.ndarray:
    margins = [(size[axis] - image.shape[axis]) for axis in (0, 1)]
    return np.pad(image, [(m // 2, m - m // 2) for m in margins], constant_values=fill)
