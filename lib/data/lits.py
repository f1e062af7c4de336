"""Volumes and segmentations, NIfTI or npy, as prepared cases, one each, and labels back on the original grid.

Cases are (D, H, W) = (z, y, x): inferior to superior, posterior to anterior, left to right, the axes of the file that
lie closest. `affine` maps indices (z, y, x, 1) of a case to mm (x, y, z, 1); a file's own maps its indices (i, j, k,
1).
"""

import gzip
import sys
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.affines import voxel_sizes
from scipy import ndimage
from tqdm import tqdm

from lib import InputError
from lib.data.case_files import write_case
from lib.data.classes import check_ignore_index, check_named, class_table, whole
from lib.data.hdf5 import open_hdf5
from lib.data.index import write_set, writes_set
from lib.data.lits_matching import Patterns, find
from lib.data.people import pseudonyms
from lib.data.volume_images import canonical, check_windows, cuts_of, prepared_image
from lib.data.volume_labels import CLASSES, channel_names, classes_of  # noqa: F401  (for others)
from lib.data.volume_places import placed
from lib.files import write

CHUNK_SIDE = 32  # of what is read at once, voxels
SLAB_VOXELS = 1 << 22  # voxels that go back to the original grid at once


@writes_set
def prepare(
    source: Path, folder: Path, volume_files: Patterns = None,
    segmentation_files: str | Mapping[str, str] | None = None, split: Mapping[str, Any] | None = None,
    persons: Mapping[str, str] | None = None, *, classes: Sequence[str] | None = None,
    relabel: Mapping[int, int] | None = None, window: Sequence[float] | str | None = "auto",
    size: Sequence[int] | None = None, spacing: Sequence[float] | None = None, npy_voxel: Sequence[float] = (1, 1, 1),
    affine_from: str = "both", identity_voxel: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    ignore_index: int | None = None, real_ids: bool = False, **about: Any,
) -> Path:  # fmt: skip
    """Write the cases that `find` finds to folder/<split>/<id>.h5, and folder/set.json, with a bar.

    image (D, H, W), of several channels (D, C, H, W), float32 is resampled by cubic splines between the voxels' outer edges, edge values going on outside,
    no smoothing before (the source: between the outer voxels' centers); label uint8 by the nearest voxel. Besides the
    attributes of every case: original_shape, original_affine, source (the file's name), boxes (C, 3, 2), each class's
    first voxels and those behind its last ones (zeros: not there), window [low, high] unless None, and fill, what
    stands outside the image: 0 in a window, else the file's minimum. All names and headers are checked first. One
    volume is in memory at a time: at most 12 bytes per voxel of the file.

    Parameters
    ----------
    source : the folder of the files
    folder : of the prepared set
    volume_files, segmentation_files, split, persons : see `find`
    classes : names, the background first; None: a Decathlon's by its dataset.json, of LiTS's names LiTS's, else label 1,
        label 2 … as they are found
    relabel : {value: class} of labels
    window : [low, high] → 0 … 1, cut off there, or a list of them, one per channel; "auto": −160 … 240 HU of CT, of others the least value to the 99.9th
        percentile, as `lib.data.windows` tells them apart; None: values as they are, as the LiTS source has them. What
        it cuts off is printed, with a warning if a given one cuts off over 1 %
    size : [d, h, w] of all cases
    spacing : [d, h, w] in mm, about: the extent is kept, the number of voxels whole
    npy_voxel : mm along x, y, z of npy files, which can't say
    affine_from, identity_voxel : see `placed`
    ignore_index : the label of voxels that aren't labeled, in no box and not counted; None: all are
    real_ids : see `lib.data.people.pseudonyms`
    **about : further entries of set.json; "shared_persons" may stand in two splits

    Returns
    -------
    The path of set.json.

    Raises
    ------
    InputError
        Naming the file: not readable, not three axes, image and label not on one grid in one place, a value that is NaN
        or inf or has no class (labels within .01 of a whole number are rounded), another person in two splits.
    """
    check_windows(window)
    if size and spacing:
        raise InputError(f"size {list(size)} and spacing {list(spacing)}", "give one of them")
    for name, three, kind in (("size", size, int), ("spacing", spacing, Real), ("npy_voxel", npy_voxel, Real)):
        if three and not (_numbers(three, 3, kind) and min(three) > 0):
            words = "whole numbers" if kind is int else "numbers"
            raise InputError(name, f"got {list(three)}", f"three {words} above 0")
    splits = find(source, volume_files, segmentation_files, split, persons)
    jobs = [(name, pair) for name, pairs in splits.items() for pair in pairs]
    channels = channel_names(source, volume_files, [pair for _, pair in jobs])
    cuts = cuts_of(window, channels)
    classes = classes or classes_of(source, volume_files, [pair for _, pair in jobs], ignore_index)
    check_ignore_index(ignore_index, classes)
    table = class_table(relabel, len(classes))
    affines = placed(jobs, about.get("shared_persons", ()), npy_voxel, affine_from, identity_voxel)
    people = pseudonyms(folder, ((pair.id, pair.person) for _, pair in jobs), real_ids)
    entries = []
    bar = tqdm(jobs, desc="reading", unit="volume", file=sys.stdout, mininterval=1)
    for (name, pair), (affine, label_affine) in zip(bar, affines, strict=True):
        image, affine, original = prepared_image(pair, affine, cuts, size, spacing)
        shape = (image.shape[0], *image.shape[-2:])
        label, boxes, counts = None, np.zeros((len(classes), 3, 2), int), None
        if pair.segmentation:
            label = _nearest(_classes(pair.segmentation, label_affine, table, classes, ignore_index), shape)
            for c, box in enumerate(ndimage.find_objects(label, len(classes) - 1), 1):
                boxes[c] = [(s.start, s.stop) for s in box] if box else 0
            counts = _counts(label)[: len(classes)].tolist()
        path = folder / name / f"{pair.id}.h5"
        write_case(
            path, image, label, person=people[pair.person], classes=classes, names=[str(z) for z in range(shape[0])],
            spacing=voxel_sizes(affine), affine=affine, chunks=tuple(min(n, CHUNK_SIDE) for n in image.shape), source=pair.volume.name, boxes=boxes,
            ignore_index=ignore_index, **original,
        )  # fmt: skip
        whose = {"person": people[pair.person], "shape": shape, "voxels": counts}
        entries.append({"split": name, "path": f"{name}/{path.name}"} | whose)
    for cut in cuts:
        cut.tell()
    return write_set(
        folder, str(source), "labeled volumes", entries, people=people, unit="mm", classes=list(classes), channels=channels, relabel=dict(relabel or {}),
        window=window, size=size, spacing=spacing, affine_from=affine_from, identity_voxel=identity_voxel, ignore_index=ignore_index, **about,
    )  # fmt: skip


def _numbers(values: Sequence[Any], count: int, kind: type = Real) -> bool:
    return len(values) == count and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)


def _classes(
    path: Path, affine: np.ndarray, table: np.ndarray, classes: Sequence[str], ignore_index: int | None
) -> np.ndarray:  # fmt: skip
    """Classes (z, y, x) uint8 of a segmentation; InputError for a value without one."""
    label = whole(path, canonical(path, affine)[0])
    check_named(path, _counts(label), table, classes, ", or relabel", ignore_index)
    return table.astype(np.uint8)[label]


def _counts(label: np.ndarray) -> np.ndarray:
    """Voxels of each value 0 … 255, plane by plane: bincount takes 8 bytes per voxel."""
    return sum(np.bincount(plane.ravel(), minlength=256) for plane in label)


def _nearest(label: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The voxel in which each new voxel's center lies."""
    where = [((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(label.shape, shape, strict=True)]
    return label[np.ix_(*where)]


def attributes(path: Path) -> dict[str, Any]:
    """All attributes of a case, as `to_original` needs them; InputError if it isn't a volume's."""
    with open_hdf5(path) as file:
        if "original_affine" not in file.attrs:
            raise InputError(path, "no prepared volume", "one that `prepare` wrote")
        return dict(file.attrs)


def to_original(labels: Any, case: Mapping[str, Any]) -> np.ndarray:
    """Labels of a case on the grid of the file that it was made of.

    It is the class whose share, interpolated linearly, is largest (of equal ones the first): exact if nothing was
    resampled. Slab by slab of the last axis: memory holds the result and a slab.

    Parameters
    ----------
    labels : (D, H, W), an array or an HDF5 data set
    case : the case's attributes

    Returns
    -------
    uint8, of the file's shape and axes.

    Raises
    ------
    InputError
        For another shape.
    """
    matrix = np.linalg.inv(case["affine"]) @ case["original_affine"]
    shape = tuple(map(int, case["original_shape"]))
    axes = abs(matrix[:3, :3]).argmax(0)  # the case's axis along which each of the file's goes
    expected = tuple(np.rint(abs(matrix[:3, :3]) @ shape).astype(int).tolist())
    if tuple(labels.shape) != expected:
        raise InputError(case["source"], f"labels of {tuple(labels.shape)}, its prepared case is {expected}")
    where = [
        (matrix[axis, i] * np.arange(n) + matrix[axis, 3]).clip(0, expected[axis] - 1)
        for i, (axis, n) in enumerate(zip(axes, shape, strict=True))
    ]
    out, count = np.empty(shape, np.uint8), max(1, SLAB_VOXELS // (shape[0] * shape[1]))
    for first in range(0, shape[2], count):
        at = where[2][first : first + count]
        low, high = int(at.min()), int(np.ceil(at.max())) + 1
        box = np.asarray(labels[(slice(None),) * axes[2] + (slice(low, high),)]).transpose(axes)
        out[..., first : first + count] = _at(box, [*where[:2], at - low])
    return out


def _at(box: np.ndarray, where: list[np.ndarray]) -> np.ndarray:
    best, result = 0.0, np.uint8(0)
    for c in np.unique(box):
        share = (box == c).astype(np.float32)
        for axis, at in enumerate(where):
            below = at.astype(int)
            above = np.minimum(below + 1, box.shape[axis] - 1)
            weight = (at - below).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
            share = share.take(below, axis) * (1 - weight) + share.take(above, axis) * weight
        result = np.where(share > best, c, result)
        best = np.maximum(share, best)
    return result


def save_nifti(path: Path, labels: np.ndarray, case: Mapping[str, Any]) -> None:
    """Write labels on the original grid as .nii or .nii.gz, uint8, with the affine of the file that the case was made of.

    Parameters
    ----------
    path : of the new file
    labels : as `to_original` gives them
    case : the case's attributes
    """
    shape = tuple(map(int, case["original_shape"]))
    if labels.shape != shape:
        raise InputError(path, f"labels of {labels.shape}, {case['source']} is {shape}")
    image = nibabel.Nifti1Image(labels.astype(np.uint8), case["original_affine"])
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    write(path, gzip.compress(content, mtime=0) if Path(path).suffix == ".gz" else content)


def middle(boxes: np.ndarray) -> np.ndarray | None:
    """The middle voxel (3,) of the box around all `boxes` (K, 3, 2): (first + last) // 2, as the LiTS source rounds."""
    boxes = boxes[boxes[:, 0, 1] > 0]
    return (boxes[..., 0].min(0) + boxes[..., 1].max(0) - 1) // 2 if len(boxes) else None


def planes(volume: Any, spacing: Sequence[float], at: Sequence[int] | None = None) -> dict[str, np.ndarray]:
    """Three planes of a volume as they are looked at: head or front up, the person's right (or front) on the left.

    Parameters
    ----------
    volume : (D, H, W)
    spacing : (z, y, x) in mm; pixels are square, as wide as the smallest one
    at : the voxel (z, y, x) through which they go; None: the middle

    Returns
    -------
    {"axial", "coronal", "sagittal": image}
    """
    z, y, x = (n // 2 for n in volume.shape) if at is None else map(int, at)
    cuts = {"axial": (volume[z], (1, 2)), "coronal": (volume[:, y], (0, 2)), "sagittal": (volume[:, :, x], (0, 1))}
    shown = {}
    for name, (plane, axes) in cuts.items():
        shape = tuple(round(volume.shape[axis] * spacing[axis] / min(spacing)) for axis in axes)
        shown[name] = _nearest(plane, shape)[::-1, ::-1]
    return shown
