"""Volumes cut into labeled slices, a case file each: what `lib.data.lits_matching` finds, along one of three planes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from tqdm import tqdm

from lib import InputError
from lib.data import grids, hipmri, nifti
from lib.data.case_files import write_case
from lib.data.classes import check_ignore_index, check_named, class_table, whole
from lib.data.index import write_set, writes_set
from lib.data.lits_matching import ENDINGS, Patterns
from lib.data.lits_matching import find as find_volumes
from lib.data.people import pseudonyms
from lib.data.volume_images import canonical
from lib.data.volume_labels import channel_names, classes_of
from lib.data.volume_places import placed
from lib.files import list_files
from lib.text import one_of

PLANES = ("axial", "coronal", "sagittal")  # in the order of a volume's axes (z, y, x)


def find(
    source: Path, volume_files: Patterns = None, segmentation_files: str | Mapping[str, str] | None = None,
    split: Mapping[str, Any] | None = None, persons: Mapping[str, str] | None = None,
):  # fmt: skip
    """The files of HipMRI's folders, else volumes and their segmentations; InputError as their readers raise it.

    Parameters
    ----------
    source : the folder
    volume_files, segmentation_files, split, persons : of volumes, see `lib.data.lits_matching.find`
    """
    if hipmri.is_hipmri(source) or not list_files(source, ENDINGS):
        return hipmri.find(source)
    return find_volumes(source, volume_files, segmentation_files, split, persons)


@writes_set
def prepare(
    source: Path, folder: Path, plane: str = "axial", split: Mapping[str, Any] | None = None,
    persons: Mapping[str, str] | None = None, *, volume_files: Patterns = None,
    segmentation_files: str | Mapping[str, str] | None = None, classes: Sequence[str] | None = None,
    relabel: Mapping[int, int] | None = None, affine_from: str = "both", ignore_index: int | None = None, real_ids: bool = False, **about: Any,
) -> Path:  # fmt: skip
    """Write every volume that `find_volumes` finds to folder/<split>/<id>.h5 as slices, and folder/set.json, with a bar.

    All slices of a volume are in one split. Values and pixels are as they are; images are padded evenly to the largest
    height and width with their volume's least value, labels with 0. The head or front is up, the person's right (or
    front) on the left, as in `lib.data.lits.planes`. One volume is in memory at a time.

    Parameters
    ----------
    source : the folder
    folder : of the prepared set
    plane : one of PLANES
    split, persons, volume_files, segmentation_files : see `lib.data.lits_matching.find`
    classes : names, the background first; None: see `lib.data.volume_labels.classes_of`
    relabel : {value: class} of labels
    affine_from : see `lib.data.grids.agreed`
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
    splits = find_volumes(source, volume_files, segmentation_files, split, persons)
    jobs = [(name, pair) for name, pairs in splits.items() for pair in pairs]
    axis, channels = PLANES.index(plane), channel_names(source, volume_files, [pair for _, pair in jobs])
    classes = classes or classes_of(source, volume_files, [pair for _, pair in jobs], ignore_index)
    check_ignore_index(ignore_index, classes)
    table = class_table(relabel, len(classes))
    affines = placed(jobs, affine_from=affine_from)
    shapes = [nifti.header(pair.volume, channels=len(pair.channels))[0] for _, pair in jobs]
    placed_grids = [grids.canonical(shape, affine)[0] for shape, (affine, _) in zip(shapes, affines, strict=True)]
    size = np.delete(np.max(placed_grids, 0)[::-1], axis)  # (z, y, x) without the plane's axis
    entries, people = [], pseudonyms(folder, ((pair.id, pair.person) for _, pair in jobs), real_ids)
    bar = tqdm(jobs, desc="reading", unit="volume", file=sys.stdout, mininterval=1)
    for (name, pair), (affine, label_affine) in zip(bar, affines, strict=True):
        read = [canonical(path, affine, channel) for path, channel in pair.channels]
        images, label, affine = [image for image, _, _ in read], None, read[0][1]
        if pair.segmentation:
            label = whole(pair.segmentation, canonical(pair.segmentation, label_affine)[0])
            counts = np.bincount(label.ravel(), minlength=256)
            check_named(pair.segmentation, counts, table, classes, ", or relabel", ignore_index)
            label = _slices(table.astype(np.uint8)[label], axis)
        images = [_slices(image, axis) for image in images]
        affine = affine[:, [axis, *np.delete(range(3), axis), 3]] @ grids.turned(images[0].shape)
        margins = [(0, 0), *((m // 2, m - m // 2) for m in size - images[0].shape[1:])]
        affine = affine @ _moved([-before for before, _ in margins])
        images = [np.pad(image, margins, constant_values=image.min()) for image in images]
        image, label = np.stack(images, 1) if channels else images[0], None if label is None else np.pad(label, margins)
        path = folder / name / f"{pair.id}.h5"
        write_case(
            path, image, label, person=people[pair.person], classes=classes,
            names=list(map(str, range(len(image)))), spacing=voxel_sizes(affine), affine=affine,
            source=pair.volume.name, ignore_index=ignore_index,
        )  # fmt: skip
        entries.append(
            {"split": name, "path": f"{name}/{path.name}", "person": people[pair.person], "slices": len(image)}
        )
    return write_set(
        folder, str(source), "labeled slices", entries, people=people, unit="mm", classes=list(classes), channels=channels, relabel=dict(relabel or {}), plane=plane,
        size=size.tolist(), affine_from=affine_from, ignore_index=ignore_index, **about,
    )  # fmt: skip


def _slices(volume: np.ndarray, axis: int) -> np.ndarray:
    """(z, y, x) as slices along an axis, each as it is looked at."""
    return np.moveaxis(volume, axis, 0)[:, ::-1, ::-1]


def _moved(by: Sequence[int]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix
