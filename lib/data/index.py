"""The index (set.json) of every prepared set: its files by split and person, whole and unchanged."""

import contextlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lib import InputError
from lib.files import fingerprint, read, remember, state, write

SPLITS = ("train", "val", "test")
VERIFIED = ".verified.json"


def check_persons(folder: Path, files: list[dict[str, Any]], shared: Iterable[str] = ()) -> None:
    """InputError if a person is in two splits.

    Parameters
    ----------
    folder : of the set, for the message
    files : entries with `split` and `person`
    shared : persons who may be
    """
    owner: dict[str, str] = {}
    for entry in files:
        first = owner.setdefault(entry["person"], entry["split"])
        if first != entry["split"] and entry["person"] not in shared:
            raise InputError(
                folder, f"person {entry['person']} is in both {first} and {entry['split']}: split by person"
            )


def check_source(folder: Path, source: str) -> None:
    """InputError where a set of somebody's own data would be replaced by one from another source."""
    try:
        former = read(folder / "set.json")["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if former != source and "data/samples" not in str(former):
        raise InputError(folder / "set.json", f"the set here was made from {former}", f"another folder for {source}")


def write_set(folder: Path, source: str, kind: str, files: list[dict[str, Any]], **about: Any) -> Path:
    """Write set.json: where a set comes from, its files by split and person, their checksums.

    Parameters
    ----------
    folder : of the set
    source : where it comes from, in words
    kind : of data, such as "labeled slices"
    files : entries with `split`, `path` (relative to the folder, or absolute) and `person`; size and checksum are added
        here
    **about : further entries of set.json; "shared_persons" may stand in two splits

    Returns
    -------
    The path of set.json.

    Raises
    ------
    InputError
        For another person in two splits.
    """
    check_persons(folder, files, about.get("shared_persons", ()))
    check_source(folder, source)
    for entry in files:
        path = folder / entry["path"]
        entry |= {"bytes": path.stat().st_size, "sha256": fingerprint(path)}
    counts = {s: sum(e.get("slices", 1) for e in files if e["split"] == s) for s in SPLITS}
    content = {
        "source": source, "kind": kind, "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": counts, "persons": {s: sorted({e["person"] for e in files if e["split"] == s}) for s in SPLITS},
        **about, "files": files,
    }  # fmt: skip
    target = folder / "set.json"
    write(target, content)
    _keep(folder, {name: kept for e in files for name, kept in _settled(folder / e["path"], e).items()})
    return target


def entries(folder: Path, split: str) -> list[dict[str, Any]]:
    """The checked entries of one split of a prepared set; InputError if there are none."""
    listed = [entry for entry in read_set(folder)["files"] if entry["split"] == split]
    if not listed:
        raise InputError(folder, f"its set.json lists no files for {split}")
    return listed


def read_set(folder: Path) -> dict[str, Any]:
    """The checked set.json of a prepared set; InputError if it, or a file it lists, is missing or changed.

    A file is read when its size or a time isn't as it was when it was last read (kept in .verified.json).
    """
    folder = Path(folder)
    path = folder / "set.json"
    if not path.exists():
        raise InputError(folder, "no set.json here: prepare the data first, by the notebook of this data set")
    try:
        content = read(path)
        files = content["files"]
    except (ValueError, KeyError, TypeError):
        raise InputError(path, "not a valid index: prepare the set anew") from None
    verified = _verified(folder)
    known = dict(verified)
    for entry in files:
        file = folder / entry["path"]
        if not file.exists():
            raise InputError(file, f"listed in {path} but gone: restore it or prepare the set anew")
        if verified.get(entry["path"]) == [*state(file), entry["sha256"]]:
            remember(file, entry["sha256"])
        elif file.stat().st_size != entry["bytes"] or fingerprint(file) != entry["sha256"]:
            raise InputError(file, f"changed since {path} was written: prepare the set anew")
        else:
            known |= _settled(file, entry)
    if known != verified:
        _keep(folder, known)
    return content


def _verified(folder: Path) -> dict[str, list[Any]]:
    """{path of an entry: its file's size, times and fingerprint when it was last read whole}, so that no process need again."""
    try:
        return dict(read(folder / VERIFIED))
    except (OSError, ValueError, TypeError):
        return {}


def _settled(file: Path, entry: dict[str, Any]) -> dict[str, list[Any]]:
    """What `_verified` may keep of a file; of one that changed within the last seconds nothing, as it may within its time."""
    known = state(file)
    return {entry["path"]: [*known, entry["sha256"]]} if time.time() - max(known[1:]) / 1e9 > 2 else {}


def _keep(folder: Path, known: dict[str, list[Any]]) -> None:
    with contextlib.suppress(OSError):  # where nothing may be written, files are read again by each process
        write(folder / VERIFIED, known)
