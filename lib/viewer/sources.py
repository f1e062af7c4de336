"""Where a viewer's volumes come from: arrays as they are, files of NIfTI, HDF5 and NumPy, cases of a run."""

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from lib import ROOT, InputError, plots, said
from lib.predict import case_names


def read(name: str, source: Any) -> tuple[Any, Sequence[float] | None]:
    """(volume, spacing (z, y, x) in mm or None) of an array, a file, or a reason why there is none (given back as it is).

    A file is .nii, .nii.gz, .npy, or HDF5 as "file.h5:case/output"; relative paths count from the repository. Lists become
    arrays. InputError: no such file or dataset, another ending, not numbers.
    """
    text = str(source)
    if isinstance(source, PathLike) or (isinstance(source, str) and _is_path(text)):
        return _file(name, text)
    if isinstance(source, (list, tuple)):
        source = np.asarray(source)
    if plots.is_array(source) and not hasattr(source, "dtype"):
        raise InputError(f"SliceViewer: {name!r} is a {type(source).__name__}, expected an array or a file's path")
    if isinstance(source, np.ndarray) and source.dtype.kind not in "biufc":
        raise InputError(f"SliceViewer: {name!r} holds {source.dtype}, expected numbers")
    return source, None


def _is_path(text: str) -> bool:
    """Whether a text is a path and not the reason why there is no volume."""
    return not re.search(r"\s", text.strip()) and ("/" in text or re.search(r"\.\w{2,5}(:|$)", text) is not None)


def _file(name: str, text: str) -> tuple[Any, Sequence[float] | None]:
    path, _, key = text.partition(".h5:") if ".h5:" in text else (text, "", "")
    path = ROOT / Path(f"{path}.h5" if key else path).expanduser()
    if not path.is_file():
        raise InputError(f"SliceViewer: {name!r}: {path}: no such file")
    if not path.name.endswith((".nii", ".nii.gz", ".npy", ".h5")):
        raise InputError(f"SliceViewer: {name!r}: {path}: expected .nii, .nii.gz, .npy or .h5:dataset")
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r"), None
        return _hdf5(path, key) if path.suffix == ".h5" else _nifti(path)
    except Exception as error:  # readers fail in many ways with what isn't such a file
        raise InputError(f"SliceViewer: {name!r}: {path}: can't be read ({said(error)[:160]})") from None


def _nifti(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """(S, H, W) as a radiologist looks at it: slices from the feet up, the front on top, the person's right on the left."""
    import nibabel

    image = nibabel.as_closest_canonical(nibabel.load(path))
    volume = np.asanyarray(image.dataobj).transpose()
    if volume.ndim == 4 and 1 in volume.shape[:2]:  # one time, or one slice over time
        volume = volume.squeeze(volume.shape.index(1))
    volume = volume[..., ::-1, ::-1]
    return volume, tuple(map(float, image.header.get_zooms()[:3][::-1]))


def _hdf5(path: Path, key: str) -> tuple[np.ndarray, Sequence[float] | None]:
    with h5py.File(path, "r") as file:
        found = file.get(key) if key else None
        if not isinstance(found, h5py.Dataset):
            names: list[str] = []
            file.visititems(lambda n, o: names.append(n) if isinstance(o, h5py.Dataset) else None)
            raise InputError(f"no dataset {key!r}, expected one of {', '.join(names[:8])}")
        spacing = found.parent.attrs.get("spacing")
        return found[:], None if spacing is None else tuple(map(float, spacing))


class Case(NamedTuple):
    """One case of a result.h5: its volumes by name (S, H, W), what its slices are, its spacing (z, y, x), its classes."""

    volumes: dict[str, np.ndarray]
    unit: str
    spacing: tuple[float, ...] | None
    classes: list[str]


def case(path: Path, name: str | None = None) -> Case:
    """A case of a run's result.h5 (the first where None), as it is looked at; InputError where it isn't there.

    Segmented volumes, stored along the body's axes, get the front on top and the person's right on the left.
    """
    names = case_names(path)
    plots.check_names(str(path), [name or names[0]], names)
    with h5py.File(path, "r") as file:
        group, unit = file[name or names[0]], "frame" if file.attrs.get("first_axis") == "time" else "slice"
        turn = (..., slice(None, None, -1), slice(None, None, -1)) if group.attrs.get("volume", False) else ...
        spacing = tuple(map(float, group.attrs["spacing"])) if "spacing" in group.attrs else None
        volumes = {key: group[key][:][turn] for key in group}
        return Case(volumes, unit, spacing, [str(c) for c in group.attrs.get("classes", ())])
