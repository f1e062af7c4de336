"""Arrays of numbers in files of every kind that holds them: .npy, .npz, .mat, HDF5 and BART, read part by part."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from lib import InputError
from lib.data.formats import bart
from lib.data.hdf5 import dataset, open_hdf5
from lib.data.nifti import load_npy
from lib.files import check_file
from lib.text import did_you_mean, one_line

FIELDS = (("real", "imag"), ("real", "imaginary"), ("re", "im"), ("r", "i"))  # of records of complex numbers
PAIRS = (("real", "imag"), ("re", "im"), ("r", "i"))  # how the names of two arrays of one k-space end
MOST_BYTES = 1 << 34


class Stored(NamedTuple):
    """An array in a file.

    Parameters
    ----------
    path, name : where it lies; the name is "" where a file holds one array
    shape : of it, without an axis of real and imaginary parts
    complex : whether it holds complex numbers
    get : leading indices → that part
    told : what was inferred, in short lines
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    complex: bool
    get: Callable[[tuple[Any, ...]], np.ndarray]
    told: tuple[str, ...] = ()


def read(path: Path, key: str | None = None) -> Stored:
    """The array of a file: the one named, else the largest complex one, else the largest.

    Parameters
    ----------
    path : of the file
    key : of the array, where a file holds several; "a,b" for real and imaginary parts in two arrays

    Raises
    ------
    InputError
        For files that can't be read, without arrays of two axes or more, and for a key that isn't there.
    """
    check_file(path)
    if path.suffix == ".npy":
        found: Mapping[str, Any] = {"": load_npy(path)}
    elif path.suffix in (".cfl", ".hdr"):
        found = {"": bart.read(path)}
    elif path.suffix == ".npz":
        found = _loaded(path, _npz)
    elif path.suffix == ".mat" and not h5py.is_hdf5(path):
        found = _loaded(path, _matlab)
    else:
        with open_hdf5(path) as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            arrays = {name: _lazy(path, name, file[name]) for name in names if not name.startswith("#refs#")}
        return _chosen(path, {n: a for n, a in arrays.items() if a}, key)
    return _chosen(path, {name: _stored(path, name, array.shape, array.dtype, array.__getitem__)
                          for name, array in found.items() if _numbers(array.shape, array.dtype)}, key)  # fmt: skip


def _loaded(path: Path, load: Callable[[Path], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    try:
        return load(path)
    except InputError:
        raise
    except Exception as error:  # readers fail in many ways with what isn't such a file
        raise InputError(path, f"can't be read ({one_line(error)[:120]})") from None


def _npz(path: Path) -> Mapping[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        size = sum(info.file_size for info in file.zip.infolist())
        if size > MOST_BYTES:
            raise InputError(path, f"{size:,} bytes unpacked", f"at most {MOST_BYTES:,}")
        return {name: file[name] for name in file.files}


def _matlab(path: Path) -> Mapping[str, np.ndarray]:
    from scipy.io import loadmat, whosmat

    names = [
        name for name, _, kind in whosmat(path) if kind in ("double", "single", "int16", "uint16", "int32", "uint8")
    ]
    return {name: np.asarray(array) for name, array in loadmat(path, variable_names=names).items() if name in names}


def _numbers(shape: tuple[int, ...] | None, dtype: np.dtype) -> bool:
    fields = tuple(map(str.lower, dtype.names or ()))
    return bool(shape) and len(shape) > 1 and 0 not in shape and (dtype.kind in "fiubc" or fields in FIELDS)


def _lazy(path: Path, name: str, array: h5py.Dataset) -> Stored | None:
    if not _numbers(array.shape, array.dtype):
        return None

    def get(at: tuple[Any, ...]) -> np.ndarray:
        group, _, last = name.rpartition("/")
        with open_hdf5(path) as file:
            return dataset(file[group] if group else file, last, "fiubcV")[at]

    return _stored(path, name, array.shape, array.dtype, get)


def _stored(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, get: Callable[..., Any]) -> Stored:
    """With real and imaginary parts, as records or along a last axis of 2, made complex numbers."""
    if dtype.names:
        real, imaginary = dtype.names

        def record(at: tuple[Any, ...]) -> np.ndarray:
            part = np.asarray(get(at))
            return part[real] + 1j * part[imaginary]

        return Stored(path, name, shape, True, record)
    if dtype.kind == "f" and shape[-1] == 2 and len(shape) > 2:

        def last(at: tuple[Any, ...]) -> np.ndarray:
            part = np.asarray(get(at))
            return part[..., 0] + 1j * part[..., 1]

        return Stored(path, name, shape[:-1], True, last, ("the last axis of 2 taken as real and imaginary part",))
    return Stored(path, name, shape, dtype.kind == "c", lambda at: np.asarray(get(at)))


def _chosen(path: Path, arrays: Mapping[str, Stored], key: str | None) -> Stored:
    if not arrays:
        raise InputError(path, "holds no array of two axes or more with numbers")
    if key is not None:
        names = [name.strip() for name in key.split(",")]
        for name in names:
            if name not in arrays:
                raise InputError(
                    path, f"no array {name!r}; {did_you_mean(name, arrays)}", f"one of {', '.join(sorted(arrays)[:12])}"
                )
        return _paired(*(arrays[name] for name in names)) if len(names) == 2 else arrays[names[0]]
    for real, imaginary in PAIRS:
        for name in sorted(arrays):
            other = name[: -len(real)] + imaginary
            if name.endswith(f"_{real}") and other in arrays and arrays[other].shape == arrays[name].shape:
                return _paired(arrays[name], arrays[other])
    best = max(arrays.values(), key=lambda array: (array.complex, np.prod(array.shape, dtype=float)))
    others = [f"{name} {arrays[name].shape}" for name in sorted(arrays) if name != best.name]
    told = (f"array {best.name!r}, not {', '.join(others[:4])} (key=… chooses)",) if others else ()
    return best._replace(told=(*told, *best.told))


def _paired(real: Stored, imaginary: Stored) -> Stored:
    if real.shape != imaginary.shape:
        raise InputError(real.path, f"{real.name}: {real.shape}, {imaginary.name}: {imaginary.shape}", "one shape")
    return Stored(
        real.path, f"{real.name}, {imaginary.name}", real.shape, True, lambda at: real.get(at) + 1j * imaginary.get(at),
        (f"{real.name} and {imaginary.name} taken as real and imaginary part",),
    )  # fmt: skip
