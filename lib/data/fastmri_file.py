"""Is a k-space file what it should be? fastMRI's and SNU's layouts, checked before anything is read from them."""

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from lib import InputError
from lib.data.hdf5 import dataset, has, number, open_hdf5, text
from lib.data.header import acquisitions_of, read_header
from lib.files import check_path, list_files

OWN = "kspace"  # the target of a fully sampled file without images: the RSS of its own k-space


class KspaceFile(NamedTuple):
    """What a k-space file holds.

    Parameters
    ----------
    path : of the file
    layout : "fastMRI" or "SNU"
    slices : S
    coils : C; 1 for single-coil files
    shape : (H, W) of k-space
    target, target_path, target_shape : the array's key or OWN, the file that holds it, and its (h, w), to which images are
        cropped; None without a target, but for the size
    maximum : of the target; None without one, and of a target OWN whose values weren't read
    columns : (W,), whether each is acquired, by the file's mask or since k-space without one has empty columns; None:
        all are
    padding : columns on each side that the scanner never encoded
    person : whose it is
    assumed : what had to be assumed, in words
    grappa_path : SNU's image/ file, if that holds an `image_grappa`
    spacing : (slice thickness, H, W) in mm, by the header
    points : whether k-space was sampled at points of a plane, with holes along both axes
    """

    path: Path
    layout: str
    slices: int
    coils: int
    shape: tuple[int, int]
    target: str | None
    target_path: Path | None
    target_shape: tuple[int, int]
    maximum: float | None
    columns: tuple[bool, ...] | None
    padding: tuple[int, int]
    person: str
    assumed: tuple[str, ...]
    grappa_path: Path | None = None
    spacing: tuple[float, float, float] | None = None
    points: bool = False

    @property
    def mask(self) -> bool:
        """Whether the file comes undersampled."""
        return self.columns is not None or self.points


def find(source: Path) -> list[KspaceFile]:
    """The k-space files below `source`, their headers checked; InputError for the first that can't be used."""
    return [kspace_file(path) for path in source_files(source)]


def source_files(source: Path) -> list[Path]:
    """The k-space files under a folder of fastMRI's or SNU's layout, or the one file; InputError if there are none."""
    source = Path(source)
    check_path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(source, "no such file or folder", "fastMRI's or SNU's k-space files")
    paths = [p for p in list_files(source, (".h5", ".hdf5")) if p.parent.name not in ("image", "grappa")]
    if not paths:
        raise InputError(source, "no .h5 files in it", "fastMRI's or SNU's k-space files")
    return paths


def kspace_file(path: Path, values: bool = False) -> KspaceFile:
    """Check one k-space file in fastMRI's or SNU's layout and say what it holds.

    Parameters
    ----------
    path : of the file
    values : read every slice, too, refuse NaN, inf and all-zero k-space, and compare one slice with what k-space and
        its target should be (`lib.data.plausible`)

    Raises
    ------
    InputError
        In one line, for what can't be used.
    """
    import lib.data.plausible as plausible  # with torch, which planning does without

    path = Path(path)
    with open_hdf5(path) as file:
        kspace = _kspace(path, file)
        slices, (height, width) = kspace.shape[0], kspace.shape[-2:]
        coils = kspace.shape[1] if kspace.ndim == 4 else 1
        assumed = []
        recon, padding, spacing = (height, width), (0, 0), None
        if has(file, "ismrmrd_header"):
            header = read_header(path, dataset(file, "ismrmrd_header", "SO")[()], width)
            plausible.check_rows(path, kspace.shape, header)
            recon, spacing = header.recon, header.spacing
            if header.padding is None:
                assumed.append(f"no kspace_encoding_step_1 in its header: all {width} columns measured")
            padding = header.padding or padding
        else:
            assumed.append(f"no ismrmrd_header: all {width} columns measured, image not cropped")
        target, target_path, target_shape, maximum, layout = _target(path, file, kspace)
        if target is None:
            target_shape = _input_shape(twin_of(path), (height, width)) or (min(recon[0], height), min(recon[1], width))
        own = _own_mask(path, file, (height, width)) if has(file, "mask") else None
        columns, padding, more, holes = plausible.acquired_columns(kspace, own, padding)
        if target is None and columns is None and not holes:
            target, target_path = OWN, path
            assumed.append("no target: the RSS of its k-space, taken as fully sampled, is the truth")
        elif target is None:
            assumed.append("no target: it can be reconstructed, not trained on or scored")
        assumed += more + holes
        if values:
            assumed += plausible.check_values(path, kspace)
            if target == OWN:
                maximum = plausible.largest_rss(kspace)
            elif target:
                assumed += plausible.check_target(kspace, target_path, target, maximum)
        person = text(file.attrs, "patient_id", path, path.stem)
    grappa_path = _grappa(twin_of(path), slices, target_shape)
    return KspaceFile(
        path, layout, slices, coils, (height, width), target, target_path, target_shape, maximum, columns, padding,
        person, tuple(assumed), grappa_path, spacing, columns is None and bool(holes),
    )  # fmt: skip


def _kspace(path: Path, file: h5py.File) -> h5py.Dataset:
    if not has(file, "kspace") and acquisitions_of(file):
        raise InputError(
            path, "ISMRMRD", "fastMRI's or SNU's layout", "lib.data.look shows it, docs/data.md brings it in"
        )
    if isinstance(file.get("kspace"), h5py.Group):
        shapes = sorted({str(v.shape) for v in file["kspace"].values() if isinstance(v, h5py.Dataset)})
        kinds = "slices of different size" if len(shapes) > 1 else "a group"
        raise InputError(path, f"kspace: {kinds} {' and '.join(shapes)}; expected one array (slices, coils, H, W)")
    kspace = dataset(file, "kspace", "c")
    if kspace.ndim not in (3, 4):
        raise InputError(path, f"kspace: shape {kspace.shape}", "(slices, coils, H, W) or (slices, H, W)")
    if 0 in kspace.shape:
        raise InputError(path, f"kspace: shape {kspace.shape} is empty")
    return kspace


def _own_mask(path: Path, file: h5py.File, shape: tuple[int, int]) -> np.ndarray | None:
    """A file's mask as (W,) bool; axes of one are no matter. None of one that varies along both axes: k-space tells."""
    mask = dataset(file, "mask", "fiub")
    values, width = mask[()], shape[1]
    if not np.isfinite(values).all():
        raise InputError(path, "mask: holds NaN or inf values", "finite numbers")
    acquired = np.squeeze(values > 0)
    if acquired.shape == shape:
        if not (acquired == acquired[:1]).all():
            return None
        acquired = acquired[0]
    elif mask.size != width or width not in (mask.shape or (1,)):
        raise InputError(path, f"mask: shape {mask.shape}", f"({width},), one value per column of kspace, or {shape}")
    acquired = np.ravel(acquired)
    if not acquired.any():
        raise InputError(path, f"mask: none of its {width} columns is acquired")
    return acquired


def _target(path: Path, file: h5py.File, kspace: h5py.Dataset):
    """(key, file, shape, maximum, layout) of the target: in the file itself, or in SNU's image/ beside kspace/.

    Of one coil it is `reconstruction_esc`: fastMRI's single-coil files hold the RSS of all coils, too. Where k-space
    has fewer columns (some brain FLAIR), the target is cropped to them, as in fastMRI.
    """
    slices, (rows, columns) = len(kspace), kspace.shape[-2:]
    layout, source = ("SNU", twin_of(path)) if twin_of(path) else ("fastMRI", path)
    names = ("reconstruction_rss", "reconstruction_esc")
    names = names[::-1] if kspace.ndim == 3 or kspace.shape[1] == 1 else names
    opened = open_hdf5(source) if source != path else file
    try:
        key = next((k for k in (*names, "image_label") if has(opened, k)), None)
        if key is None:
            return None, None, None, None, layout
        images = dataset(opened, key, "fiu")
        shape = images.shape
        if len(shape) != 3 or shape[0] != slices:
            raise InputError(source, f"{key}: shape {shape}", f"({slices}, H, W), one image per slice of kspace")
        if shape[1] > rows:
            _check_fits(source, key, shape[1:], (rows, columns))
        maximum, what = number(opened.attrs, "max", source), "attribute max"
        if maximum is None:
            maximum, what = float(images[:].max()), f"{key}: its largest value"
        if not 0 < maximum < np.inf:
            raise InputError(source, f"{what} is {maximum:g}", "a finite number above 0")
        return key, source, (shape[1], min(shape[2], columns)), maximum, layout
    finally:
        if source != path:
            opened.close()


def twin_of(path: Path) -> Path | None:
    """SNU's file in image/ beside one in kspace/."""
    if path.parent.name != "kspace":
        return None
    twin = path.parent.parent / "image" / path.name
    return twin if twin.exists() else None


def _input_shape(twin: Path | None, kspace: tuple[int, int]) -> tuple[int, int] | None:
    """The size of SNU's image_input, which files without image_label have too."""
    if twin is None:
        return None
    with open_hdf5(twin) as file:
        if not has(file, "image_input"):
            return None
        shape = dataset(file, "image_input").shape[-2:]
        _check_fits(twin, "image_input", shape, kspace)
        return tuple(shape)


def _check_fits(path: Path, key: str, image: tuple[int, ...], kspace: tuple[int, ...]) -> None:
    if any(i > k for i, k in zip(image, kspace, strict=True)):
        raise InputError(path, f"{key}: images of {tuple(image)}", f"at most the k-space's {tuple(kspace)}")


def _grappa(path: Path | None, slices: int, shape: tuple[int, int]) -> Path | None:
    """SNU's image file, where it holds GRAPPA images; InputError if they are of another size."""
    if path is None:
        return None
    with open_hdf5(path) as file:
        if not has(file, "image_grappa"):
            return None
        stored = dataset(file, "image_grappa", "fiu").shape
        if stored != (slices, *shape):
            raise InputError(path, f"image_grappa: shape {stored}", f"{(slices, *shape)}, as its other images")
    return path
