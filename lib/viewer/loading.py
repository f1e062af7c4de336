"""Where a viewer's volumes come from: arrays as they are, files of NIfTI, HDF5 and NumPy, cases of a run."""

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from lib import ROOT, InputError
from lib.data.case_files import of_volume, to_radiological
from lib.data.grids import turned
from lib.data.hdf5 import open_hdf5, spacing_of
from lib.data.nifti import load_npy, read_radiological
from lib.files import check_path
from lib.inference import results
from lib.plots.panels import is_array
from lib.text import one_line, value_or_error

PLANES = {"slice": ("slice", "row", "column"), "frame": ("frames", "x–t", "y–t")}  # what stays the same in a plane
ANATOMICAL = ("axial", "coronal", "sagittal")


class Source(NamedTuple):
    """A volume, or the reason why there is none, and how it lies, if that is known.

    Parameters
    ----------
    volume : (S, H, W), or the reason
    spacing : (z, y, x) in mm
    affine : (4, 4), of (slice, row, column, 1) to mm
    anatomical : whether slices are axial, the front on top
    file : where it is from
    """

    volume: Any
    spacing: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    anatomical: bool = False
    file: Path | None = None


def read(name: str, source: Any, like: Path | None = None) -> Source:
    """Read what is to be shown.

    Parameters
    ----------
    name : of the volume, for messages
    source : an array or list; a file: .nii, .nii.gz, .npy, or HDF5 as "file.h5:case/output", relative to the
        repository; or a reason why there is none, which is given back as it is
    like : see `lib.data.nifti.read_radiological`

    Raises
    ------
    InputError
        If there is no such file or data set, for another ending, and for what isn't numbers.
    """
    if isinstance(source, PathLike) or (isinstance(source, str) and _is_path(source)):
        loaded = _file(name, str(source), like)
    elif isinstance(source, (list, tuple)):
        try:
            loaded = Source(np.asarray(source))
        except ValueError:
            raise InputError("SliceViewer", f"{name!r} is a list of uneven lengths", "(slices, H, W)") from None
    else:
        loaded = Source(source)
    if not is_array(loaded.volume):
        return loaded
    if not hasattr(loaded.volume, "dtype"):
        kind = type(loaded.volume).__name__
        raise InputError("SliceViewer", f"{name!r} is a {kind}", "an array or a file's path")
    if getattr(loaded.volume.dtype, "kind", "f") not in "biufc":  # torch's have no kind
        raise InputError("SliceViewer", f"{name!r} holds {loaded.volume.dtype}", "numbers")
    return loaded


def named(volumes: Any) -> Mapping[str, Any]:
    """{name: volume} of what a viewer is given: that, one volume or image, or a list of them.

    Raises
    ------
    InputError
        For what is none of these.
    """
    if isinstance(volumes, Mapping):
        return volumes
    if isinstance(volumes, ViewedCase):
        raise InputError("SliceViewer", "volumes are a Case: give its .volumes", "{name: volume}")
    if isinstance(volumes, list | tuple) and volumes and all(_is_panel(volume) for volume in volumes):
        return {f"image {i + 1}": volume for i, volume in enumerate(volumes)}
    if not isinstance(volumes, str | PathLike | list | tuple) and not hasattr(volumes, "ndim"):
        raise InputError("SliceViewer", f"volumes are a {type(volumes).__name__}", "{name: volume}, an array or a list")
    return {"image": volumes}


def _is_panel(volume: Any) -> bool:
    return isinstance(volume, str | PathLike) or getattr(volume, "ndim", 0) >= 2


def _is_path(text: str) -> bool:
    """Whether a text is a path and not the reason why there is no volume."""
    if not re.search(r"\s", text.strip()):
        return text.lower() != "n/a" and ("/" in text or bool(re.search(r"\.\w{2,5}(:|$)", text)))
    if ": " in text or not re.search(r"\.\w{2,5}(\.gz|:\S.*)?$", text.strip()):
        return False  # a reason may name a file, too: with blanks only what is there, or begins as a path does
    path = re.sub(r"(?<=\.h5):.*", "", text.strip())
    return ("/" in path and not re.search(r"\s", path.split("/")[0])) or (ROOT / Path(path).expanduser()).is_file()


def _file(name: str, text: str, like: Path | None) -> Source:
    path, _, key = text.partition(".h5:") if ".h5:" in text else (text, "", "")
    path = ROOT / Path(f"{path}.h5" if key else path).expanduser()
    check_path(path)
    if not path.is_file():
        raise InputError("SliceViewer", f"{name!r}: {path}: no such file")
    if not path.name.endswith((".nii", ".nii.gz", ".npy", ".h5")):
        raise InputError("SliceViewer", f"{name!r}: {path}: expected .nii, .nii.gz, .npy or .h5:dataset")
    try:
        if path.suffix == ".npy":
            return Source(load_npy(path), file=path)
        return (_hdf5(path, key) if path.suffix == ".h5" else Source(*read_radiological(path, like)))._replace(
            file=path
        )
    except InputError as error:
        raise InputError("SliceViewer", f"{name!r}: {path}: {str(error).removeprefix(f'{path}: ')}") from None
    except Exception as error:  # readers fail in many ways with what isn't such a file
        raise InputError("SliceViewer", f"{name!r}: {path}: can't be read ({one_line(error)[:160]})") from None


def _hdf5(path: Path, key: str) -> Source:
    opened, why = value_or_error(open_hdf5, path)
    if why:
        raise InputError(f"can't be read ({why.removeprefix(f'{path}: ')})")
    with opened as file:
        array = file.get(key) if key else None
        if not isinstance(array, h5py.Dataset):
            names: list[str] = []
            file.visititems(lambda n, o: names.append(n) if isinstance(o, h5py.Dataset) else None)
            mine = [name for name in names if key and name.split("/")[0] == key.split("/")[0]] or names
            more = f" … ({len(names)} in all)" if len(mine) < len(names) or len(mine) > 8 else ""
            raise InputError(f"no dataset {key!r}, expected one of {', '.join(mine[:8])}{more}")
        about = array.parent.attrs
        spacing = spacing_of(about, path) if "spacing" in about else None
        affine = about["affine"] @ turned(array.shape) if of_volume(about) and "affine" in about else None
        return Source(to_radiological(array[:], about), spacing, affine, of_volume(about))


class ViewedCase(NamedTuple):
    """One case of a result.h5 as it is looked at, with what `SliceViewer` needs to know of it.

    Parameters
    ----------
    volumes : (S, H, W) each, by name
    unit : what its first axis counts
    spacing : (z, y, x) in mm; None if unknown
    classes : names of a segmentation's, the background first
    planes : names of the three planes
    mask : (W,) bool, the columns sampled, or (H, W), the points; None of what isn't k-space
    achieved : the acceleration that the mask has achieved; None likewise
    ignore_index : the truth of pixels that aren't labeled; None: all are
    """

    volumes: dict[str, np.ndarray]
    unit: str
    spacing: tuple[float, ...] | None
    classes: list[str]
    planes: tuple[str, ...]
    mask: np.ndarray | None
    achieved: float | None
    ignore_index: int | None = None

    def __repr__(self) -> str:
        volumes = ", ".join(f"{name} {volume.shape}" for name, volume in self.volumes.items())
        return f"ViewedCase({volumes}; {self.unit}s, spacing {self.spacing} mm{', classes ' * bool(self.classes)}{', '.join(self.classes)})"


def case(source: PathLike | str, name: str | None = None) -> ViewedCase:
    """One case as it is looked at.

    Parameters
    ----------
    source : a task (its newest good run), a run folder or a result.h5
    name : of the case; None: the first

    Raises
    ------
    InputError
        If it isn't there.
    """
    stored = results.case(source, name)
    anatomical = of_volume(stored.about)
    return ViewedCase(
        {image: to_radiological(volume, stored.about) for image, volume in stored.volumes().items()}, stored.unit, stored.spacing,
        list(stored.classes), ANATOMICAL if anatomical else PLANES[stored.unit], stored.mask, stored.achieved,
        stored.ignore_index,
    )  # fmt: skip
