"""NIfTI and npy files as they lie in the world: their values, axes and affines."""

import contextlib
import gzip
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from lib import InputError
from lib.data.grids import turned
from lib.data.hdf5 import LARGEST_MM
from lib.files import check_claim, check_no_pipe

EXPECTED_AXES = {2: "one slice (H, W)", 3: "three axes (x, y, z)"}


class NiftiVolume(NamedTuple):
    """A file's volume and how it lies.

    Parameters
    ----------
    volume : (S, H, W), or (T, S, H, W) of a series
    spacing : (z, y, x) in mm
    affine : (4, 4), of (slice, row, column, 1) to mm; None of a series
    anatomical : whether slices are axial, the front on top; a series isn't
    """

    volume: np.ndarray
    spacing: tuple[float, ...]
    affine: np.ndarray | None
    anatomical: bool


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong within becomes an InputError in one line, with the system's words where it refuses the file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        refused = isinstance(error, OSError) and error.errno
        reason = (
            error.strerror
            if refused
            else " ".join(str(error).replace(f'"{path}"', "it").split())[:120] or type(error).__name__
        )
        kind = "npy" if path.suffix == ".npy" else "NIfTI"
        raise InputError(path, f"can't be read as {kind} ({reason}{'' if refused else '; truncated?'})") from None


def opened(path: Path) -> nibabel.Nifti1Image:
    """A NIfTI file, of either byte order, gzipped or not whatever its name says; InputError if it isn't one, or too short."""
    check_no_pipe(path)
    with reading(path):
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            kind, expected = _claimed(path, file.read(540), zipped)
            if zipped == (path.suffix == ".gz"):
                return nibabel.load(path)
            file.seek(0)
            content = file.read(expected)
        if len(content) < expected:
            raise EOFError(f"{len(content)} bytes, expected {expected}")
        return kind.from_bytes(content)


def _claimed(path: Path, head: bytes, zipped: bool) -> tuple[type, int]:
    """The kind of a NIfTI file and its size by its header, before any memory is taken for it.

    Parameters
    ----------
    path : of the file
    head : its first 540 bytes, not compressed
    zipped : whether the file is
    """
    second = 540 in (int.from_bytes(head[:4], order) for order in ("little", "big"))
    kind, length = (nibabel.Nifti2Image, 540) if second else (nibabel.Nifti1Image, 348)
    header, size = kind.header_class(head[:length], check=False), path.stat().st_size
    shape, offset = tuple(map(int, header.get_data_shape())), float(header["vox_offset"])
    if not (0 <= offset < 1 << 40) or any(n < 0 for n in shape):
        raise InputError(path, f"an array {shape} from byte {offset:g} on, by its header", "sizes of at least 0")
    expected = int(offset) + math.prod(shape) * header.get_data_dtype().itemsize
    if zipped:
        check_claim(path, f"an array {shape} of {header.get_data_dtype()}", expected, size)
    elif size < expected:
        raise EOFError(f"{size} bytes, expected {expected}")
    return kind, expected


def load_npy(path: Path) -> np.ndarray:
    """A .npy file's array, read where it is used; InputError if it isn't one of plain values, or shorter than it says."""
    check_no_pipe(path)
    with reading(path):
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            heads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = heads.get(version, heads[2, 0])(file)
            claimed, left = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
        if dtype.hasobject:
            raise InputError(path, f"an array of {dtype}", "numbers")
        if claimed > left:
            raise InputError(
                path, f"an array {shape} of {dtype} takes {claimed:,} bytes, {left:,} are there; truncated?"
            )
        return np.load(path, mmap_mode="r" if claimed else None, allow_pickle=False)


def kept(path: Path, shape: Sequence[int], axes: int) -> list[int]:
    """Which axes of a file are kept: those of 1 go, the last ones first.

    Three axes of a NIfTI file are its first three, those that its affine describes.

    Parameters
    ----------
    path : of the file
    shape : of its array
    axes : how many are wanted, 2 or 3

    Raises
    ------
    InputError
        Naming the shape, for others, such as time points, channels and one-hot classes.
    """
    left = list(range(len(shape)))
    for axis in reversed(range(axes if axes == 3 and path.suffix != ".npy" else 0, len(shape))):
        if len(left) > axes and shape[axis] == 1:
            left.remove(axis)
    if len(left) != axes or 0 in shape:
        raise InputError(path, f"shape {tuple(shape)}", f"{EXPECTED_AXES[axes]} and no further axes but of 1")
    return left


def channels_in(path: Path) -> int:
    """How many entries a NIfTI file's fourth axis has, of its only one beyond space; 1 if there is none."""
    with reading(path):
        shape = opened(path).shape
    return shape[3] if len(shape) > 3 and math.prod(shape[3:]) == shape[3] else 1


def header(
    path: Path, axes: int = 3, voxel: Sequence[float] = (1, 1, 1), channels: int = 1
) -> tuple[tuple[int, ...], np.ndarray]:  # fmt: skip
    """A file's shape and affine, without reading its values.

    Parameters
    ----------
    path : of the file
    axes : how many it has, 2 or 3, but for those of 1
    voxel : mm along x, y, z of npy files
    channels : of the image, for which a file may have a fourth axis

    Returns
    -------
    Its shape without channels, and the affine (4, axes + 1) of its indices to mm.

    Raises
    ------
    InputError
        If it can't be read, for another number of axes, and an affine without an inverse.
    """
    with reading(path):
        if path.suffix == ".npy":
            whole, affine = load_npy(path).shape, np.diag([*voxel, 1.0])
        else:
            image = opened(path)
            whole, affine = image.shape, image.affine
            if channels > 1 and whole[3:] == (channels,):
                whole = whole[:3]
    which = kept(path, whole, axes)
    affine = affine[:, [*(range(axes) if path.suffix == ".npy" else which), 3]]
    _check_affine(path, affine)
    return tuple(whole[axis] for axis in which), affine


def _check_affine(path: Path, affine: np.ndarray) -> None:
    """InputError for one (4, axes + 1) without an inverse, of voxels without size among others."""
    sizes = voxel_sizes(affine) if np.isfinite(affine).all() else np.full(3, np.nan)
    if np.isnan(sizes).any() or np.linalg.svd(affine[:3, :-1], compute_uv=False).prod() < 1e-9:
        raise InputError(path, f"its affine {affine[:3].tolist()} has no inverse")
    if not ((sizes > 1 / LARGEST_MM) & (sizes < LARGEST_MM)).all():
        raise InputError(
            path, f"voxels of {' × '.join(f'{size:.3g}' for size in sizes)} mm", f"1/{LARGEST_MM} to {LARGEST_MM} mm"
        )


def values(path: Path, axes: int = 3, channel: int | None = None) -> np.ndarray:
    """A file's values with its `axes` axes, float32; channel: that place of its fourth axis alone.

    InputError: not to be read, another number of axes, NaN or inf.
    """
    with reading(path):
        if path.suffix == ".npy":
            array = load_npy(path).astype(np.float32)
        else:
            image = opened(path)
            image = image if channel is None else image.slicer[..., channel : channel + 1]
            array = image.get_fdata(dtype=np.float32, caching="unchanged")
    array = array.reshape([array.shape[axis] for axis in kept(path, array.shape, axes)])
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise InputError(path, f"{bad} of {array.size} values are NaN or inf", "numbers")
    return array


def read_radiological(path: Path, like: Path | None = None) -> NiftiVolume:
    """A file, in the nearest canonical orientation: slices from the feet up, the front on top, the person's right on the left.

    Axes of 1 beyond the third go. A single slice of another plane comes as one slice; of one over time its axis is
    time.

    Parameters
    ----------
    path : a NIfTI file
    like : one whose affine counts, if this one's is known to be wrong and their axes are equally long
    """
    with reading(path):
        image = opened(path)
        space = (*image.shape[:3], *[1] * (3 - image.ndim))
        volume = np.asanyarray(image.dataobj).reshape([*space, *(n for n in image.shape[3:] if n > 1)])
        other = opened(like) if like and like.name.endswith((".nii", ".nii.gz")) else image
        affine = other.affine if other.shape[:3] == image.shape[:3] else image.affine
        _check_affine(path, affine)
        turn = io_orientation(affine)
        volume, affine = apply_orientation(volume, turn), affine @ inv_ornt_aff(turn, space)
    space, over_time = volume.shape[:3], volume.ndim == 4
    order = sorted(
        range(3), key=lambda axis: (space[axis] > 1, -axis)
    )  # the axis of a single slice first, else z, y, x
    volume = volume.transpose(*reversed(range(3, volume.ndim)), *order)[..., ::-1, ::-1]
    if over_time and volume.shape[1] == 1:
        volume = volume.squeeze(1)
    affine = affine[:, [*order, 3]] @ turned(volume.shape)
    anatomical = not over_time and order == [2, 1, 0]
    return NiftiVolume(volume, tuple(voxel_sizes(affine).tolist()), None if over_time else affine, anatomical)
