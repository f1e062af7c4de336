"""The index (set.json) of every prepared set: its files by split and person, whole and unchanged."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lib import ROOT, InputError, locks
from lib.data.people import write_table
from lib.files import check_path, compact, fingerprint, is_settled, read, remember, state, write

SPLITS = ("train", "val", "test")
SPLIT_WORDS = {s: s for s in SPLITS} | {
    "training": "train",
    "validation": "val",
    "valid": "val",
    "leaderboard": "test",
}  # in names of folders and files
VERIFIED = ".verified.json"
ENTRY = {"path": str, "split": str, "bytes": int, "sha256": str}  # of set.json's files


def prepared(data: str | Path, quick: bool = False) -> Path:
    """The folder of a prepared set.

    Parameters
    ----------
    data : its path; relative ones count from ROOT
    quick : quick runs have a set of their own, <data>-quick
    """
    folder = ROOT / data
    return folder.with_name(folder.name + "-quick") if quick else folder


def writes_set(function: Callable[..., Path]) -> Callable[..., Path]:
    """For a function that writes the set in its argument `folder`: no other process does meanwhile; InputError if one does."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def alone(*given: Any, **settings: Any) -> Path:
        with locks.writing(Path(signature.bind(*given, **settings).arguments["folder"])):
            return function(*given, **settings)

    return alone


def check_persons(folder: Path, files: list[dict[str, Any]], shared: Iterable[str] = ()) -> None:
    """InputError, naming files and no one, if a person is in two splits.

    Parameters
    ----------
    folder : of the set, for the message
    files : entries with `split`, `path` and `person`, or `persons` if a file is of several
    shared : persons who may be
    """
    owner: dict[str, dict[str, Any]] = {}
    for entry in files:
        for person in _persons(entry):
            first = owner.setdefault(person, entry)
            if first["split"] != entry["split"] and person not in shared:
                both = " and ".join(f"{e['path']} ({e['split']})" for e in (first, entry))
                raise InputError(folder, f"{both} are of one person: split by person")


def _persons(entry: dict[str, Any]) -> Iterable[str]:
    return entry.get("persons") or [entry["person"]]


def check_source(folder: Path, source: str) -> None:
    """InputError where a set of somebody's own data would be replaced by one from another source."""
    try:
        content = read(folder / "set.json")
        former, of_samples = content["source"], content.get("sample_data")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    if former != source and not of_samples and "data/samples" not in str(former):
        raise InputError(folder / "set.json", f"the set here was made from {former}", f"another folder for {source}")


def write_set(
    folder: Path, source: str, kind: str, files: list[dict[str, Any]], *, people: Mapping[str, str] | None = None,
    **about: Any,
) -> Path:  # fmt: skip
    """Write set.json: where a set comes from, its files by split and person, their checksums.

    Parameters
    ----------
    folder : of the set
    source : where it comes from, in words
    kind : of data, such as "labeled slices"
    files : entries with `split`, `path` (relative to the folder, or absolute) and `person` (or `persons`, see
        `check_persons`); size and checksum are added here
    people : {true id: pseudonym} that `person` stands for, for the table beside set.json; None: no table
    **about : further entries of set.json; "shared_persons" may stand in two splits

    Returns
    -------
    The path of set.json.

    Raises
    ------
    InputError
        For another person in two splits.
    """
    if shared := about.get("shared_persons", ()):
        about["shared_persons"] = shared = [(people or {}).get(person, person) for person in shared]
    check_persons(folder, files, shared)
    check_source(folder, source)
    for entry in files:
        path = folder / entry["path"]
        entry |= {"bytes": path.stat().st_size, "sha256": fingerprint(path)}
    if people and any(person != name for person, name in people.items()):
        write_table(folder, people)
    counts = {s: sum(e.get("slices", 1) for e in files if e["split"] == s) for s in SPLITS}
    content = {
        "source": source, "kind": kind, "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": counts, "persons": {s: sorted({p for e in files if e["split"] == s for p in _persons(e)}) for s in SPLITS},
        **about, "files": files,
    }  # fmt: skip
    target = folder / "set.json"
    write(target, content)
    _keep(folder, {name: kept for e in files for name, kept in _settled(folder / e["path"], e).items()})
    return target


def entries(folder: Path, *splits: str) -> list[list[dict[str, Any]]]:
    """The checked entries of each of a prepared set's splits that are asked for; InputError if one has none."""
    files = read_set(folder)["files"]
    listed = [[entry for entry in files if entry["split"] == split] for split in splits]
    if not all(listed):
        raise InputError(folder, f"its set.json lists no files for {splits[listed.index([])]}")
    return listed


def number_of_channels(content: Mapping[str, Any]) -> int:
    """How many channels the images of a set have, by its set.json."""
    return len(content.get("channels") or ()) or 1


def read_set(folder: Path) -> dict[str, Any]:
    """The checked set.json of a prepared set; InputError if it, or a file it lists, is missing or changed.

    A file is read when its size or a time isn't as it was when it was last read (kept in .verified.json).
    """
    folder = Path(folder)
    path = folder / "set.json"
    check_path(path)
    if not path.exists():
        raise InputError(folder, "no set.json here: prepare the data first, by the notebook of this data set")
    try:
        content = read(path)
        files = content["files"]
        right = all(isinstance(e[key], kind) for e in files for key, kind in ENTRY.items())
        if not isinstance(files, list) or not right or not all(e["split"] in SPLITS for e in files):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(path, "not a valid index: prepare the set anew") from None
    verified = _verified(folder)
    known = dict(verified)
    for entry in files:
        file = folder / entry["path"]
        try:
            seen = state(file)
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(file, f"listed in {path} but gone: restore it or prepare the set anew") from None
        except (OSError, ValueError):
            check_path(file)
            raise
        if verified.get(entry["path"]) == [*seen, entry["sha256"]]:
            remember(file, seen, entry["sha256"])
        elif seen[0] != entry["bytes"] or fingerprint(file) != entry["sha256"]:
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
    return {entry["path"]: [*known, entry["sha256"]]} if is_settled(known) else {}


def _keep(folder: Path, known: dict[str, list[Any]]) -> None:
    with contextlib.suppress(OSError):  # where nothing may be written, files are read again by each process
        write(folder / VERIFIED, compact(known))
