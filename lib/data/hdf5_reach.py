"""An HDF5 file stays within itself and holds what it claims: checked before anything of it is read.

Values that lie in other files (links, external storage) are refused, as anybody who writes such a file could name any file
of yours. Virtual data sets, whose values lie in other arrays, are read only if the environment has
ECHOTRAIN_VIRTUAL_DATASETS=1, and only from arrays of their own folder that hold their values themselves.
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
from h5py import h5d, h5g, h5l, h5o

from lib import InputError
from lib.files import check_claim, state
from lib.text import pluralize

VIRTUAL = "ECHOTRAIN_VIRTUAL_DATASETS"
MOST_OBJECTS, MOST_LEVELS = 100_000, 32
_checked: dict[str, list[Any]] = {}  # the state of a file that was checked, by its path


def check_reach(path: Path, file: h5py.File) -> None:
    """InputError, naming the object at fault, for a file that reaches outside itself or claims more than it can hold.

    A file that this process has checked before, and whose size and times are the same, isn't checked again.
    """
    known = state(path)
    if _checked.get(str(path)) != known and not _check(path, file, os.environ.get(VIRTUAL) == "1"):
        _checked[str(path)] = known


def _check(path: Path, file: h5py.File, virtual: bool) -> bool:
    """As `check_reach`. Whether there are virtual data sets, which is for each opening to check.

    Parameters
    ----------
    path : of the file
    file : it, open
    virtual : whether virtual data sets are allowed
    """
    size, found = path.stat().st_size, False
    for name, array in _arrays(path, file):
        layout = array.get_create_plist()
        if layout.get_external_count():
            other = os.fsdecode(layout.get_external(0)[0])
            raise InputError(
                path, f"{name}: its values lie in another file, {other}", "an array that holds them itself"
            )
        stored = min(array.get_storage_size(), size)
        if layout.get_layout() == h5d.VIRTUAL:
            found, stored = True, _virtual(path, file, name, layout, virtual)
        _check_claim(path, name, array, layout, stored)
    return found


def _arrays(path: Path, file: h5py.File) -> Iterator[tuple[str, h5d.DatasetID]]:
    """(name, array) of all in a file, each once, also if groups contain themselves; links are checked and not followed."""
    waiting, seen = [("", file.id, 0)], set()
    while waiting:
        above, group, level = waiting.pop()
        for name, kind, place in _links(path, group, len(seen)):
            full = f"{above}{name}"
            if kind != h5l.TYPE_HARD:
                if kind != h5l.TYPE_SOFT:
                    to = (
                        ":".join(map(os.fsdecode, group.links.get_val(os.fsencode(name))))
                        if kind == h5l.TYPE_EXTERNAL
                        else ""
                    )
                    raise InputError(
                        path, f"{full}: a link to another file{f', {to}' if to else ''}", "arrays of its own"
                    )
                continue
            if place in seen:
                continue
            seen.add(place)
            try:
                item = h5o.open(group, os.fsencode(name))
            except (OSError, RuntimeError, KeyError, ValueError):
                continue  # damaged: whoever reads it says so
            if isinstance(item, h5d.DatasetID):
                yield full, item
            elif isinstance(item, h5g.GroupID):
                if level == MOST_LEVELS:
                    raise InputError(path, f"{full[:80]}: groups within groups", f"{MOST_LEVELS} levels at most")
                waiting.append((f"{full}/", item, level + 1))


def _links(path: Path, group: h5g.GroupID, before: int) -> list[tuple[str, int, Any]]:
    """(name, type, place of the object) of a group's links; InputError if a file has too many."""
    links: list[tuple[str, int, Any]] = []

    def take(name: bytes, link: h5l.LinkInfo) -> bool:
        links.append((os.fsdecode(name), link.type, link.u))
        return len(links) + before > MOST_OBJECTS

    try:
        many = group.links.iterate(take, info=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(path, f"a group of it can't be read: {' '.join(str(error).split())[:100]}") from None
    if many[0] if isinstance(many, tuple) else many:
        raise InputError(path, f"holds more than {MOST_OBJECTS} objects", "fewer")
    return links


def _check_claim(path: Path, name: str, array: h5d.DatasetID, layout: Any, stored: int) -> None:
    """InputError if an array, or one chunk of it, would be far larger in memory than what is stored can tell."""
    try:
        shape, each = array.shape, array.get_type().get_size()
    except (OSError, RuntimeError, ValueError):
        return  # damaged: whoever reads it says so
    chunk = layout.get_chunk() if layout.get_layout() == h5d.CHUNKED else ()
    chunks = f" in chunks {chunk}" if chunk else ""
    claimed = each * max(math.prod(shape or (0,)), math.prod(chunk or (0,)))
    check_claim(path, f"{name}: an array {shape}{chunks}", claimed, stored)


def _virtual(path: Path, file: h5py.File, name: str, layout: Any, allowed: bool) -> int:
    """The sizes of the files that a virtual data set's values lie in; InputError if any part of it can't be had from there."""
    count = layout.get_virtual_count()
    parts = {(layout.get_virtual_filename(i), layout.get_virtual_dsetname(i)) for i in range(min(count, MOST_OBJECTS))}
    places = sorted({part[0] for part in parts})
    if not allowed:
        several = f" in {places[0]}" if places else " nowhere"
        several += f" and {pluralize(len(places) - 1, 'more file')}" if len(places) > 1 else ""
        hint = f"{VIRTUAL}=1 in the environment allows parts that lie in the file's own folder"
        raise InputError(path, f"{name}: a virtual data set, its values lie{several}", "an array that holds them", hint)
    if os.environ.get("HDF5_VDS_PREFIX", "") not in ("", "${ORIGIN}"):
        raise InputError(
            path, f"{name}: a virtual data set, and HDF5_VDS_PREFIX leads elsewhere", "parts in the file's own folder"
        )
    sizes = 0
    for place in places:
        inside = sorted(key for other, key in parts if other == place)
        if place == ".":
            _check_parts(path, name, path, file, inside)
            sizes += path.stat().st_size
        for source in _sources(path, name, place) if place != "." else ():
            with h5py.File(source, "r") as other:
                _check(source, other, False)
                _check_parts(path, name, source, other, inside)
            sizes += source.stat().st_size
    return sizes


def _sources(path: Path, name: str, place: str) -> list[Path]:
    """The files of a folder that a part of a virtual data set names; %b in the name stands for numbers."""
    if Path(place).name != place:
        raise InputError(path, f"{name}: a part of it lies in {place}", "files in its own folder")
    pattern = re.compile(r"\d+".join(re.escape(piece) for piece in place.split("%b")))
    names = (
        [p for p in path.parent.iterdir() if pattern.fullmatch(p.name)] if "%b" in place else [path.with_name(place)]
    )
    for source in names:
        if (
            source.is_symlink()
            or (source.exists() and not source.is_file())
            or (source.is_file() and source.samefile(path))
        ):
            raise InputError(path, f"{name}: a part of it lies in {source.name}", "another file, which is no link")
        if not source.is_file() or not h5py.is_hdf5(source):
            raise InputError(path, f"{name}: a part of it lies in {source.name}, which isn't there")
    return names


def _check_parts(path: Path, name: str, source: Path, file: h5py.File, inside: list[str]) -> None:
    """InputError unless arrays that a virtual data set is made of are there and hold their values themselves."""
    where = "" if source == path else f"{source.name} "
    for key in inside:
        try:
            item = h5o.open(file.id, os.fsencode(key))
        except (OSError, RuntimeError, KeyError, ValueError):
            item = None
        if not isinstance(item, h5d.DatasetID):
            raise InputError(path, f"{name}: a part of it lies in {where}{key}, which isn't there")
        if item.get_create_plist().get_layout() == h5d.VIRTUAL:
            itself = where == "" and key.strip("/") == name
            words = "is itself" if itself else f"lies in {where}{key}, a virtual data set"
            raise InputError(path, f"{name}: a part of it {words}", "arrays that hold their values")
