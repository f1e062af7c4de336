"""Volumes cut into labeled slices, a case file each: what `lib.data.lits_matching` finds, along one of three planes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from tqdm import tqdm

from lib import InputError
from lib.data import decathlon, hipmri, lits, nifti
from lib.data.case_files import write_case
from lib.data.classes import check_ignore_index, check_named, whole
from lib.data.index import write_set, writes_set
from lib.data.lits_matching import find as find_volumes
from lib.data.lits_matching import placed
from lib.data.people import pseudonyms
from lib.text import one_of

PLANES = ("axial", "coronal", "sagittal")  # in the order of a volume's axes (z, y, x)


def find(source: Path, split: Mapping[str, Any] | None = None, persons: Mapping[str, str] | None = None):
    """The files of a folder with imagesTr/ and labelsTr/, else of HipMRI's folders; InputError as their readers raise it.

    Parameters
    ----------
    source : the folder
    split, persons : of volumes, see `lib.data.lits_matching.find`
    """
    if decathlon.is_decathlon(source):
        return find_volumes(source, split=split, persons=persons)
    return hipmri.find(source)


@writes_set
def prepare(
    source: Path, folder: Path, plane: str = "axial", split: Mapping[str, Any] | None = None,
    persons: Mapping[str, str] | None = None, *, classes: Sequence[str] | None = None, affine_from: str = "both",
    ignore_index: int | None = None, real_ids: bool = False, **about: Any,
) -> Path:  # fmt: skip
    """Write every volume of imagesTr/ to folder/<split>/<id>.h5 as slices, and folder/set.json, with a bar.

    All slices of a volume are in one split. Values and pixels are as they are; images are padded evenly to the largest
    height and width with their volume's least value, labels with 0. The head or front is up, the person's right (or
    front) on the left, as in `lib.data.lits.planes`. One volume is in memory at a time.

    Parameters
    ----------
    source : the folder
    folder : of the prepared set
    plane : one of PLANES
    split, persons : see `lib.data.lits_matching.find`
    classes : names, the background first; None: dataset.json's
    affine_from : see `lib.data.nifti.agreed`
    ignore_index : the label of pixels that aren't labeled; None: all are
    real_ids : see `lib.data.people.pseudonyms`
    **about : further entries of set.json

    Returns
    -------
    The path of set.json.

    Raises
    ------
    InputError
        As `lib.data.lits.prepare`, and for another plane.
    """
    if plane not in PLANES:
        raise InputError(f"plane {plane!r}", *one_of(plane, PLANES))
    axis, classes = PLANES.index(plane), decathlon.classes(source) if classes is None else classes
    check_ignore_index(ignore_index, classes)
    splits = find_volumes(source, split=split, persons=persons)
    jobs = [(name, pair) for name, pairs in splits.items() for pair in pairs]
    affines = placed(jobs, affine_from=affine_from)
    shapes = [nifti.header(pair.volume)[0] for _, pair in jobs]
    grids = [nifti.canonical(shape, affine)[0] for shape, (affine, _) in zip(shapes, affines, strict=True)]
    size = np.delete(np.max(grids, 0)[::-1], axis)  # (z, y, x) without the plane's axis
    entries, people = [], pseudonyms(folder, ((pair.id, pair.person) for _, pair in jobs), real_ids)
    bar = tqdm(jobs, desc="reading", unit="volume", file=sys.stdout, mininterval=1)
    for (name, pair), (affine, label_affine) in zip(bar, affines, strict=True):
        image, affine, _ = lits.canonical(pair.volume, affine)
        label = whole(pair.segmentation, lits.canonical(pair.segmentation, label_affine)[0])
        counts = np.bincount(label.ravel(), minlength=256)
        check_named(pair.segmentation, counts, np.arange(256), classes, ignore_index=ignore_index)
        image, label = (np.moveaxis(volume, axis, 0)[:, ::-1, ::-1] for volume in (image, label))
        affine = affine[:, [axis, *np.delete(range(3), axis), 3]] @ nifti.turned(image.shape)
        margins = [(0, 0), *((m // 2, m - m // 2) for m in size - image.shape[1:])]
        affine = affine @ _moved([-before for before, _ in margins])
        path = folder / name / f"{pair.id}.h5"
        write_case(
            path, np.pad(image, margins, constant_values=image.min()), np.pad(label, margins), person=people[pair.person],
            classes=classes, names=list(map(str, range(len(image)))), spacing=voxel_sizes(affine), affine=affine,
            source=pair.volume.name, ignore_index=ignore_index,
        )  # fmt: skip
        entries.append(
            {"split": name, "path": f"{name}/{path.name}", "person": people[pair.person], "slices": len(image)}
        )
    return write_set(
        folder, str(source), "labeled slices", entries, people=people, unit="mm", classes=list(classes), plane=plane,
        size=size.tolist(), affine_from=affine_from, ignore_index=ignore_index, **about,
    )  # fmt: skip


def _moved(by: Sequence[int]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix
