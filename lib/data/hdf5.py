"""Reading HDF5 that others wrote: what can't be opened, is a dangling link or of another kind is refused in one line."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lib import InputError


class Reader(h5py.File):
    """A file to read from. Within `with`, values that can't be read (a damaged block, an unknown filter) are an InputError."""

    def __exit__(self, kind, error, trace):
        path = self.filename if self.id else ""
        super().__exit__(kind, error, trace)
        if isinstance(error, OSError) and "read data" in str(error):
            raise InputError(path, f"can't be read: {_short(' '.join(str(error).split()))}") from None


def open_hdf5(path: Path) -> Reader:
    """The file opened to read; InputError if it is missing, locked, forbidden or isn't HDF5."""
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise InputError(path, f"a link to {os.readlink(path)}, which isn't there: fetch the file it stands for")
    if not path.is_file():
        raise InputError(path, f"{('not a file' if path.exists() else 'no such file')}")
    try:
        return Reader(path, "r")
    except OSError as error:
        words = " ".join(str(error).split())
        if "lock file" in words:
            raise InputError(
                path,
                f"locked ({_short(words)}): another process writes it, or its file system has no locks; then set "
                "HDF5_USE_FILE_LOCKING=FALSE in the environment",
            ) from None
        if error.errno:
            raise InputError(path, f"can't be opened: {os.strerror(error.errno)}") from None
        size = path.stat().st_size
        raise InputError(
            path, f"not a readable HDF5 file ({size} bytes; truncated, or another format): {_short(words)}"
        ) from None


def _short(words: str) -> str:
    """HDF5's words without its preamble."""
    return words[words.find("(") + 1 :].rstrip(")")[:100] if "(" in words else words[:100]


def dataset(file: h5py.Group, key: str, kinds: str = "fiubc") -> h5py.Dataset:
    """An array of a file, with all its parts at hand.

    Parameters
    ----------
    file : or group
    key : of the array
    kinds : numpy's letters of the types that are allowed

    Raises
    ------
    InputError
        If there is no such key, for a link that leads nowhere, a group, another type, and a virtual or external array
        without its source.
    """
    path = Path(file.file.filename)
    if key not in set(file):
        raise InputError(path, f"no key {key!r} (found {', '.join(sorted(file)) or 'nothing'})")
    name = f"{file.name}/{key}".lstrip("/")
    try:
        array = file[key]
    except (KeyError, OSError, RuntimeError):
        link = file.get(key, getlink=True)
        to = ":".join(filter(None, (getattr(link, "filename", ""), getattr(link, "path", ""))))
        raise InputError(path, f"{name}: a link to {to or 'something'}, which isn't there") from None
    if not isinstance(array, h5py.Dataset):
        raise InputError(path, f"{name}: a {type(array).__name__.lower()}", "an array")
    if array.shape is None:
        raise InputError(path, f"{name}: holds nothing")
    if array.dtype.kind not in kinds:
        raise InputError(path, f"{name}: type {array.dtype}", f"{_KINDS.get(kinds, 'numbers')}")
    _check_sources(path, name, array)
    return array


_KINDS = {"c": "complex64", "fiu": "real numbers", "fiub": "numbers", "SO": "a text"}


def _check_sources(path: Path, key: str, array: h5py.Dataset) -> None:
    """InputError if a part of an array lies in a file or array that is gone: HDF5 gives zeros there."""
    if not (array.is_virtual or array.external or array.id.get_storage_size()):
        raise InputError(path, f"{key}: shape {array.shape}, but no values are stored in it")
    parts = {(s.file_name, s.dset_name) for s in array.virtual_sources()} if array.is_virtual else set()
    for name, inside in sorted(parts | {(os.fsdecode(part[0]), "") for part in array.external or ()}):
        prefix = os.environ.get("HDF5_VDS_PREFIX", "").replace("${ORIGIN}", str(path.parent))
        places = [path] if name == "." else [Path(f) / name for f in (path.parent, prefix, path.resolve().parent)]
        place = next((p for p in places if p.is_file()), None)
        if "%b" not in name and not (place and _holds(place, inside)):
            raise InputError(f"{path}: {key}: a part of it lies in {name} {inside}".rstrip() + ", which isn't there")
        if name == "." and inside.strip("/") == key:
            raise InputError(path, f"{key}: a part of it is itself")


def _holds(path: Path, key: str) -> bool:
    """Whether a file has such an array; any file where no array is named."""
    if not key:
        return True
    with open_hdf5(path) as file:
        return isinstance(file.get(key), h5py.Dataset)


def number(about: Mapping[str, Any], key: str, path: Path) -> float | None:
    """An attribute as a finite number, also if it is an array of one; None if there is none.

    Parameters
    ----------
    about : the attributes
    key : of the attribute
    path : of the file, for messages
    """
    if key not in about:
        return None
    values = np.ravel(about[key])
    if values.size != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(path, f"attribute {key}: {_told(about[key])}", "one finite number")
    return float(values[0])


def text(about: Mapping[str, Any], key: str, path: Path, default: str = "") -> str:
    """An attribute as a text, also if it is bytes, a number or an array of one.

    Parameters
    ----------
    about : the attributes
    key : of the attribute
    path : of the file, for messages
    default : if there is none
    """
    value = about.get(key, default)
    if isinstance(value, h5py.Empty):
        return default
    if np.size(value) != 1:
        raise InputError(path, f"attribute {key}: {_told(value)}", "one text")
    return one_text(value) or default


def one_text(value: Any) -> str:
    """A text of bytes (UTF-8, else Latin-1), str, a number or an array of one of them."""
    while isinstance(value, np.ndarray | list | tuple):
        value = np.ravel(value)[0] if isinstance(value, np.ndarray) else value[0]
    value = (
        value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    )  # h5py's for other codes
    try:
        return value.decode().strip("\0 ")
    except UnicodeDecodeError:
        return value.decode("latin-1").strip("\0 ")


def _told(value: Any) -> str:
    values = np.asarray(value)
    return f"an array {values.shape} of {values.dtype}" if values.size != 1 else repr(values.item())
