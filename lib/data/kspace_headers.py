"""What was found in the headers of a prepared set's k-space files, kept beside it: a set of thousands opens at once."""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lib.data import fastmri_file, hdf5, header, plausible
from lib.data.fastmri_file import KspaceFile, kspace_file, twin_of
from lib.files import compact, fingerprint, is_settled, read, state, write

KEPT = ".headers.json"


def _whole(x: Any) -> bool:
    return type(x) is int and x >= 0


def _pair(x: Any) -> bool:
    return isinstance(x, list) and len(x) == 2 and all(map(_whole, x))


def _list(kind: type | tuple[type, ...], length: int | None = None) -> Callable[[Any], bool]:
    return lambda x: isinstance(x, list) and len(x) in (length or len(x),) and all(isinstance(v, kind) for v in x)


FITS: dict[str, Callable[[Any], bool]] = {  # what each part of a record has to be
    "layout": lambda x: isinstance(x, str), "slices": _whole, "coils": _whole, "shape": _pair,
    "target": lambda x: x is None or isinstance(x, str), "target_shape": _pair,
    "maximum": lambda x: x is None or (isinstance(x, float) and 0 < x < math.inf),
    "columns": lambda x: x is None or _list(bool)(x), "padding": _pair, "assumed": _list(str),
    "spacing": lambda x: x is None or _list((int, float), 3)(x), "points": lambda x: isinstance(x, bool),
}  # fmt: skip


def kspace_files(folder: Path, *splits: Iterable[dict[str, Any]]) -> list[list[KspaceFile]]:
    """The checked files of a prepared set's entries, of each split that is given.

    The header of one that this or another process has checked before, and whose size and times are as they were, isn't
    read again. Neither persons nor paths are kept.

    Parameters
    ----------
    folder : of the set
    *splits : entries of its set.json

    Raises
    ------
    InputError
        For a file that can't be used.
    """
    code = [fingerprint(Path(m.__file__)) for m in (fastmri_file, hdf5, header, plausible)]
    known = _kept(folder, code)
    fresh = dict(known)

    def checked(entry: dict[str, Any]) -> KspaceFile:
        path = folder / entry["path"]
        twin = twin_of(path)
        states = [state(p) for p in (path, twin) if p is not None]
        key = hashlib.sha256(str(entry["path"]).encode("utf-8", "surrogateescape")).hexdigest()[:24]
        file = _file(path, twin, states, known.get(key))
        if file is None:
            file = kspace_file(path)
            if all(map(is_settled, states)):
                fresh[key] = [states, _record(file)]
        return file._replace(person=entry["person"], maximum=file.maximum or entry.get("maximum"))

    files = [[checked(entry) for entry in entries] for entries in splits]
    if fresh != known:
        with contextlib.suppress(OSError):  # where nothing may be written, each process reads the headers
            write(folder / KEPT, compact({"code": code, "files": fresh}))
    return files


def _kept(folder: Path, code: list[str]) -> dict[str, Any]:
    """What another start has kept, by the same code."""
    try:
        kept = read(folder / KEPT)
        return dict(kept["files"]) if kept["code"] == code else {}
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def _record(file: KspaceFile) -> dict[str, Any]:
    about = {name: getattr(file, name) for name in FITS}
    return about | {"own": file.target_path == file.path, "grappa": file.grappa_path is not None}


def _file(path: Path, twin: Path | None, states: list[Any], kept: Any) -> KspaceFile | None:
    """A file by what was kept of it; None where that is of another state, or isn't as it should be."""
    try:
        seen, record = kept
        right = seen == states and all(fits(record[name]) for name, fits in FITS.items())
    except (TypeError, ValueError, LookupError):
        return None
    if not right:
        return None
    about = {name: tuple(value) if isinstance(value := record[name], list) else value for name in FITS}
    target_path = None if about["target"] is None else path if record.get("own") else twin
    return KspaceFile(
        path=path, person="", target_path=target_path, grappa_path=twin if record.get("grappa") else None, **about
    )
