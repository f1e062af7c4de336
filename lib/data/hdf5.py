"""Reading HDF5 that others wrote: what can't be opened, is a dangling link or of another kind is refused in one line."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from h5py import h5f

from lib import InputError, progress
from lib.data.hdf5_reach import check_reach
from lib.files import check_file

DAMAGE = (RuntimeError, ValueError, UnicodeDecodeError)  # what h5py raises for what makes no sense
LARGEST_MM = 10_000  # of a voxel; the smallest is its inverse


class Reader(h5py.File):
    """A file to read from. Within `with`, what HDF5 can't read (a damaged block, links in a circle) is an InputError."""

    def __exit__(self, kind, error, trace):
        path = self.filename if self.id else ""
        super().__exit__(kind, error, trace)
        _check_damage(path, error)


def _check_damage(path: Path | str, error: BaseException | None) -> None:
    """InputError if an error says that HDF5 can't read what is in a file."""
    unread = isinstance(error, OSError) and "read data" in str(error)
    if unread or type(error) in DAMAGE and _in_hdf5(error.__traceback__):
        raise InputError(path, f"can't be read: {_short(' '.join(str(error).split()))}") from None


def _in_hdf5(trace: TracebackType) -> bool:
    """Whether an error comes from within h5py."""
    while trace.tb_next:
        trace = trace.tb_next
    return "h5py" in trace.tb_frame.f_code.co_filename


def open_hdf5(path: Path) -> Reader:
    """The file opened to read: the one way to open HDF5 here.

    InputError if it is missing, no regular file, locked, forbidden or not HDF5, and if it reaches outside itself or claims
    more than it can hold (`lib.data.hdf5_reach`).
    """
    progress.made()
    path = Path(path)
    check_file(path)
    try:
        file = Reader(path, "r")
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
    try:
        check_reach(path, file)
    except BaseException as error:
        file.close()
        _check_damage(path, error)
        raise
    return file


def _short(words: str) -> str:
    """HDF5's words without its preamble."""
    return words[words.find("(") + 1 :].rstrip(")")[:100] if "(" in words else words[:100]


def has(file: h5py.Group, key: str) -> bool:
    """Whether a file, or a group, has something of this name (no path), be it a link that leads nowhere.

    A damaged group may list what it can't find, which isn't the same as if it weren't there.
    """
    return key.isidentifier() and file.id.links.exists(key.encode()) or key in set(file)


def listed(file: Iterable[str | bytes]) -> str:
    """The names of a file's arrays and groups, sorted, for a message; those that no text can be made of are bytes."""
    return ", ".join(sorted(map(str, file))) or "nothing"


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
        If there is no such key, for a link that leads nowhere, a group, another type, and an array without values.
    """
    path = Path(os.fsdecode(h5f.get_name(file.id)))
    if not has(file, key):
        raise InputError(path, f"no key {key!r} (found {listed(file)})")
    name = f"{file.name}/{key}".lstrip("/")
    try:
        array = file[key]
    except (KeyError, OSError, RuntimeError):
        to = getattr(file.get(key, getlink=True), "path", "something")
        raise InputError(path, f"{name}: a link to {to}, which isn't there") from None
    if not isinstance(array, h5py.Dataset):
        raise InputError(path, f"{name}: a {type(array).__name__.lower()}", "an array")
    if array.shape is None:
        raise InputError(path, f"{name}: holds nothing")
    if array.dtype.kind not in kinds:
        raise InputError(path, f"{name}: type {array.dtype}", f"{_KINDS.get(kinds, 'numbers')}")
    if not (array.id.get_storage_size() or array.is_virtual):
        raise InputError(path, f"{name}: shape {array.shape}, but no values are stored in it")
    return array


_KINDS = {"c": "complex64", "fiu": "real numbers", "fiub": "numbers", "SO": "a text"}


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


def numbers(
    about: Mapping[str, Any], key: str, path: Path, count: int | None = None, above: float = -np.inf
) -> tuple[float, ...]:
    """An attribute as finite numbers, such as sizes in mm.

    Parameters
    ----------
    about : the attributes
    key : of the attribute
    path : of the file, for messages
    count : how many there must be; None: any
    above : what each must be above
    """
    values = np.ravel(about[key])
    right = values.dtype.kind in "fiu" and (count or values.size) == values.size
    if not (right and (np.isfinite(values) & (values > above)).all()):
        told = _told(about[key]) if values.size > 8 else str(values.tolist())
        words = f"{count} finite numbers" if count else "finite numbers"
        raise InputError(path, f"attribute {key}: {told}", f"{words} above {above:g}" if np.isfinite(above) else words)
    return tuple(map(float, values))


def spacing_of(about: Mapping[str, Any], path: Path) -> tuple[float, ...]:
    """The attribute `spacing`, (slice, row, column) in mm; InputError for sizes that no voxel has."""
    sizes = numbers(about, "spacing", path, 3, 0)
    if not 1 / LARGEST_MM < min(sizes) <= max(sizes) < LARGEST_MM:
        raise InputError(path, f"attribute spacing: {list(sizes)}", f"1/{LARGEST_MM} to {LARGEST_MM} mm")
    return sizes


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
