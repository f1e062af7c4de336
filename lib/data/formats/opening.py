"""What is this file? Its format by its content and name, and one record of it, whatever it is."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib import ROOT, InputError
from lib.data.fastmri_file import kspace_file
from lib.data.formats import arrays, dicom, ismrmrd_file, siemens, volumes
from lib.data.formats import axes as letters
from lib.data.formats.arrays import Stored
from lib.data.formats.lines import CHOSEN
from lib.data.formats.record import ImageScan, KspaceScan
from lib.data.hdf5 import open_hdf5
from lib.data.header import acquisitions_of
from lib.data.image_files import ENDINGS
from lib.files import check_path, list_files
from lib.kspace import ifft2c
from lib.text import one_line

Scan = KspaceScan | ImageScan
HDF5 = (".h5", ".hdf5", ".mrd", ".hdf")
ARRAYS = (".npy", ".npz", ".mat", ".cfl", ".hdr")
KNOWN = (*HDF5, *ARRAYS, ".dat", ".nii", ".nii.gz", ".nrrd", ".nhdr", ".dcm", *ENDINGS)


def open(
    path: str | Path, *, kind: str | None = None, key: str | None = None, axes: str | None = None,
    spacing: tuple[float, float, float] | None = None, mask: Any = None, series: int | None = None, **chosen: int,
) -> Scan:  # fmt: skip
    """One record of k-space or of images, whatever file or folder they lie in; `print` it to see what was inferred.

    K-space: fastMRI's and SNU's HDF5, ISMRMRD, Siemens .dat, BART's pairs, and complex arrays in .npy, .npz, .mat and
    HDF5. Images: DICOM files and folders, NIfTI, NRRD, TIFF and PNG stacks, and real arrays.

    Parameters
    ----------
    path : of the file or folder; relative ones count from ROOT
    kind : "image" or "kspace", what a complex array is; None: by its energy
    key : of the array, where a file holds several; "a,b" for real and imaginary parts in two arrays
    axes : letters of an array's axes in their order: s slice, c coil, y readout, x phase encode, such as "y x c s"
    spacing : (slice, row, column) in mm, in place of the file's
    mask : bool (W,) or (H, W), which points were acquired, in place of the file's
    series : number of a series in a folder of DICOM files
    **chosen : contrast, phase, repetition or set, by number, of ISMRMRD and Siemens files

    Raises
    ------
    InputError
        In one line, for what can't be read or isn't what was said.
    """
    path = ROOT / Path(path).expanduser()
    check_path(path)
    unknown = sorted(set(chosen) - set(CHOSEN))
    if unknown:
        raise InputError(
            "open",
            f"unknown argument {unknown[0]!r}",
            ", ".join(("kind", "key", "axes", "spacing", "mask", "series", *CHOSEN)),
        )
    if kind not in (None, "kspace", "image"):
        raise InputError("kind", f"got {kind!r}", "kspace, image or None")
    try:
        scan = _read(path, kind, key, axes, series, chosen)
    except InputError:
        raise
    except Exception as error:  # readers fail in many ways with what is damaged
        raise InputError(path, f"can't be read ({type(error).__name__}: {one_line(error)[:120]})") from None
    if kind and scan.kind != kind:
        raise InputError(path, f"kind: got {kind!r}", f"{scan.kind!r}, as {scan.format} holds")
    if spacing is not None:
        scan = scan._replace(spacing=tuple(map(float, spacing)))
    return scan if mask is None else scan._replace(mask=_mask(scan, mask))


def scan_files(source: Path) -> list[Path]:
    """The files that `open` reads one by one: of a folder those of known formats, or itself if it is one series of images."""
    source = Path(source)
    check_path(source)
    listed = (list_files(source, KNOWN) if source.is_dir() else []) or [source]
    if all(path.suffix in (".dcm", ".tif", ".tiff", ".png") for path in listed):
        return [source]
    return [path for path in listed if path.suffix != ".hdr" or not path.with_suffix(".cfl").exists()]


def _read(
    path: Path, kind: str | None, key: str | None, axes: str | None, series: int | None, chosen: dict[str, int]
) -> Scan:
    name = path.name.lower()
    if path.is_dir():
        return volumes.read_stack(path) if list_files(path, ENDINGS, deep=False) else dicom.read(path, series)
    if name.endswith((".nii", ".nii.gz")):
        return volumes.read_nifti(path)
    if name.endswith((".nrrd", ".nhdr")):
        return volumes.read_nrrd(path)
    if name.endswith(ENDINGS):
        return volumes.read_stack(path)
    if name.endswith(".dat"):
        return siemens.read(path, **chosen)
    if name.endswith(HDF5) and path.is_file():
        with open_hdf5(path) as file:
            ismrmrd, keys = acquisitions_of(file), set(file)
        if ismrmrd:
            return ismrmrd_file.read(path, **chosen)
        if "kspace" in keys and kind != "image" and key is None and axes is None:
            return _fastmri(path)
    if name.endswith((*HDF5, *ARRAYS)):
        return _array(path, arrays.read(path, key), kind, axes)
    if path.is_file() and (name.endswith(".dcm") or dicom.is_dicom(path)):
        return dicom.read(path)
    raise InputError(path, "unknown kind of file", ", ".join(KNOWN))


def _fastmri(path: Path) -> KspaceScan:
    """In fastMRI's or SNU's layout, checked as everywhere."""
    file = kspace_file(path)

    def read(index: int) -> np.ndarray:
        with open_hdf5(path) as data:
            return data["kspace"][index].astype(np.complex64).reshape(file.coils, *file.shape)

    mask = None if file.columns is None else np.array(file.columns)
    return KspaceScan(
        path, file.layout, (file.slices, file.coils, *file.shape), read, file.assumed, mask, spacing=file.spacing
    )


def _array(path: Path, stored: Stored, kind: str | None, axes: str | None) -> Scan:
    """An array of numbers: real ones are images, complex ones k-space or images."""
    name = path.suffix.lstrip(".").upper() if path.suffix not in (".cfl", ".hdr") else "BART"
    told = list(stored.told)
    if not stored.complex:
        if kind == "kspace":
            raise InputError(path, "kind: got 'kspace'", "complex numbers in it, found real ones")
        return _images(path, name, stored, axes, told)
    found = letters.parse(stored, axes) if axes else letters.guess(stored)
    told += found.told
    order = found.letters
    if "t" in order:
        raise InputError(
            "axes", f"got {axes!r}", "s, c, y and x alone for k-space: choose a time with key=… or in your own code"
        )
    sizes = dict(zip(order, stored.shape, strict=True))
    shape = tuple(sizes.get(letter, 1) for letter in "scyx")

    def read(index: int) -> np.ndarray:
        part = stored.get(tuple(index if letter == "s" else np.s_[:] for letter in order))
        rest = [letter for letter in order if letter != "s"]
        part = part.transpose([rest.index(letter) for letter in "cyx" if letter in rest])
        return np.array(part if "c" in rest else part[None], np.complex64, order="C")

    middle = read(shape[0] // 2)
    if kind is None:
        kind, words = _kind(middle)
        told.append(words)
    if kind == "kspace":
        return KspaceScan(path, name, shape, read, (*told, *_doubts(middle)))
    return ImageScan(
        path, name, (shape[0] * shape[1], *shape[2:]), lambda i: read(i // shape[1])[i % shape[1]], tuple(told)
    )


def _images(path: Path, name: str, stored: Stored, axes: str | None, told: list[str]) -> ImageScan:
    """(…, H, W), or by the letters s (or t), y and x."""
    order = letters.parse(stored, axes).letters if axes else tuple("s" * (len(stored.shape) - 2)) + ("y", "x")
    leading = [i for i, letter in enumerate(order) if letter not in "yx"]
    counts = [stored.shape[i] for i in leading]
    turned = order.index("y") > order.index("x")

    def read(index: int) -> np.ndarray:
        at: list[Any] = [np.s_[:]] * len(order)
        for i, number in zip(leading, np.unravel_index(index, counts) if counts else (), strict=True):
            at[i] = int(number)
        part = stored.get(tuple(at))
        return part.T if turned else part

    size = tuple(stored.shape[order.index(letter)] for letter in "yx")
    if not axes and len(order) > 2:
        told.append(f"images of its last two axes, {size[0]} × {size[1]}; axes=… decides otherwise")
    return ImageScan(path, name, (int(np.prod(counts, dtype=int)), *size), read, tuple(told))


def is_kspace(plane: np.ndarray) -> bool:
    """Whether the energy of complex64 (..., H, W) lies in fewer points than its Fourier transform's."""
    values = torch.from_numpy(plane)
    peaks = [float(power.max() / power.mean()) for power in (abs(x).square() for x in (values, ifft2c(values)))]
    return not peaks[0] < peaks[1]


def _kind(coils: np.ndarray) -> tuple[str, str]:
    """ "kspace" or "image", and why."""
    if not is_kspace(coils):
        return "image", "taken as images, since its energy is spread out; kind='kspace' decides otherwise"
    return "kspace", "taken as k-space, since its energy lies in few points; kind='image' decides otherwise"


def _doubts(coils: np.ndarray) -> list[str]:
    """What is unlikely in a slice of k-space (C, H, W)."""
    power = (np.abs(np.nan_to_num(coils)) ** 2).sum(0, dtype=np.float64)
    told = []
    for axis, name in ((0, "readout"), (1, "phase encode")):
        energy = power.sum(1 - axis)
        inner = energy[np.abs(np.arange(len(energy)) - len(energy) // 2) <= len(energy) / 4].sum()
        if energy.sum() and inner < 0.25 * energy.sum():
            told.append(
                f"most energy along the {name} lies at the ends: is the zero frequency in the corner? (numpy.fft.fftshift)"
            )
    return told


def _mask(scan: Scan, mask: Any) -> np.ndarray:
    mask = np.squeeze(np.asarray(mask)).astype(bool)
    height, width = scan.shape[-2:]
    if scan.kind != "kspace" or mask.shape not in ((width,), (height, width)) or not mask.any():
        raise InputError(
            "mask",
            f"shape {mask.shape}",
            f"({width},) or ({height}, {width}) with points that are acquired, of k-space",
        )
    return mask
