"""What was found in the headers of a prepared set's k-space files, kept beside it: a set of thousands opens at once."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib.data import fastmri_file, header, plausible
from lib.data.fastmri_file import KspaceFile, kspace_file, twin_of
from lib.files import read, state, write

KEPT = ".headers.json"
SETTLED = 2  # seconds after which a change of a file changes its time, too
TYPES = {
    "layout": str, "slices": int, "coils": int, "shape": list, "target": str | None, "target_shape": list,
    "maximum": float | int | None, "columns": list | None, "padding": list, "assumed": list, "spacing": list | None,
    "points": bool,
}  # fmt: skip


def kspace_files(folder: Path, entries: Iterable[dict[str, Any]]) -> list[KspaceFile]:
    """The checked files of a prepared set's entries.

    The header of one that this or another process has checked before, and whose size and times are as they were, isn't
    read again. Neither persons nor paths are kept.

    Parameters
    ----------
    folder : of the set
    entries : of its set.json

    Raises
    ------
    InputError
        For a file that can't be used.
    """
    kept, code, files = _kept(folder), [state(Path(m.__file__)) for m in (fastmri_file, header, plausible)], []
    known = kept.get("files", {}) if kept.get("code") == code else {}
    fresh = dict(known)
    for entry in entries:
        path = folder / entry["path"]
        twin = twin_of(path)
        states = [state(p) for p in (path, twin) if p is not None]
        record = known.get(entry["path"])
        file = _file(path, twin, record[1]) if record and record[0] == states else None
        if file is None:
            file = kspace_file(path)
            if time.time() - max(max(s[1:]) for s in states) / 1e9 > SETTLED:
                fresh[entry["path"]] = [states, _record(file)]
        files.append(file._replace(person=entry["person"], maximum=file.maximum or entry.get("maximum")))
    if fresh != known:
        with contextlib.suppress(OSError):  # where nothing may be written, each process reads the headers
            write(folder / KEPT, {"code": code, "files": fresh})
    return files


def _kept(folder: Path) -> dict[str, Any]:
    try:
        return dict(read(folder / KEPT))
    except (OSError, ValueError, TypeError):
        return {}


def _record(file: KspaceFile) -> dict[str, Any]:
    about = {name: getattr(file, name) for name in TYPES}
    return about | {"own": file.target_path == file.path, "grappa": file.grappa_path is not None}


def _file(path: Path, twin: Path | None, record: dict[str, Any]) -> KspaceFile | None:
    """A file by what was kept of it; None of what isn't as it should be."""
    if not all(isinstance(record.get(name), kind) for name, kind in TYPES.items()):
        return None
    about = {name: tuple(value) if isinstance(value := record[name], list) else value for name in TYPES}
    target_path = None if about["target"] is None else path if record.get("own") else twin
    return KspaceFile(
        path=path, person="", target_path=target_path, grappa_path=twin if record.get("grappa") else None, **about
    )
