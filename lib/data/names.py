"""What files are called as cases, so that two files of one name stay two cases."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lib import InputError
from lib.files import file_name


def case_id(path: Path, name: str) -> str:
    """The name of the case in a file, by which files and groups of results are called; InputError if it can't name one."""
    if name not in (path.stem, file_name(name)):
        raise InputError(path, f"attribute id: {name!r}", f"the name of a file, such as {path.stem}")
    return name


def path_names(paths: Iterable[Path]) -> dict[Path, tuple[str, ...]]:
    """Each file's name as a case: the shortest end of its path, as parts, that no other file has.

    Without the name's ending (unless two files differ in it alone) and SNU's folder kspace: brain, or acc4, brain where
    acc8 has one, too. Joined by "_" the names are different, whatever the parts hold. InputError if they can't be.
    """
    paths = list(dict.fromkeys(paths))
    twins = Counter(path.with_suffix("") for path in paths)
    ends, depth = {}, dict.fromkeys(paths, 1)
    for path in paths:
        folders = path.parent.parts[1:-1] if path.parent.name == "kspace" else path.parent.parts[1:]
        ends[path] = (*folders, path.stem if twins[path.with_suffix("")] == 1 else path.name)
    while True:
        names = {path: ends[path][-depth[path] :] for path in paths}
        count = Counter("_".join(name) for name in names.values())
        again = [path for path in paths if count["_".join(names[path])] > 1]
        if not again:
            return names
        if all(depth[path] >= len(ends[path]) for path in again):
            raise InputError(f"{again[0]} and {again[1]}", "can't be told apart by their names: rename one")
        for path in again:
            depth[path] += 1
