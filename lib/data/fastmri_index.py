"""The index of a user's k-space files: checked, and divided into splits by folder names or by person."""

import re
from pathlib import Path

import numpy as np

from lib import ROOT, InputError
from lib.data.fastmri_file import KspaceFile, kspace_file, source_files
from lib.data.index import SPLIT_WORDS, check_persons, write_set, writes_set
from lib.data.names import path_names
from lib.data.people import pseudonyms
from lib.text import pluralize


@writes_set
def index(
    source: Path, folder: Path, seed: int = 0, real_ids: bool = False, origin: Path | None = None
) -> Path:  # fmt: skip
    """Check every k-space file of a folder (all values are read), print what is assumed, and write set.json.

    Headers, splits and persons come first, for all files, before any values are read. Splits come from folder names
    with the words train, val (validation) or test (leaderboard); if no folder has any, persons are divided 80/10/10
    (fewer than three persons: all test). Which rule was used is printed. The files stay where they are.

    Parameters
    ----------
    source : the folder, of fastMRI's or SNU's layout
    folder : where set.json is written
    seed : of the persons' division
    real_ids : see `lib.data.people.pseudonyms`; the project's own samples keep their names
    origin : where the files were converted from; None: `source` itself

    Returns
    -------
    The path of set.json.

    Raises
    ------
    InputError
        For a file that can't be used, and if only some files are in folders of splits.
    """
    source = Path(source).absolute()
    paths = source_files(source)
    print(f"{pluralize(len(paths), 'file')}: headers first, then all values", flush=True)
    files = [kspace_file(path) for path in paths]
    split = _splits(files, source, seed)
    check_persons(folder, [{"split": split[f.path], "path": f.path, "person": f.person} for f in files])
    owners = [(str(f.path.relative_to(source.parent).with_suffix("")), f.person) for f in files]
    people = pseudonyms(folder, owners, real_ids or source.is_relative_to(ROOT / "data" / "samples"))
    for part in set(split.values()):
        path_names([path for path, name in split.items() if name == part])
    for i, file in enumerate(files):  # what takes long comes last
        files[i] = file = kspace_file(file.path, values=True)
        about = f"{file.layout}, {file.slices} slices, {file.coils} coils, {file.shape[0]}×{file.shape[1]}"
        print(f"[{i + 1}/{len(files)}] {file.path.name}: {about}{''.join(f'; {a}' for a in file.assumed)}", flush=True)
    listed = [
        {"split": split[f.path], "path": str(f.path), "person": people[f.person], "slices": f.slices, "layout": f.layout,
         "coils": f.coils, "shape": f.shape, "target": f.target, "maximum": f.maximum, "assumed": f.assumed}
        for f in files
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    return write_set(
        folder, str((origin or source).absolute()), "measured k-space", listed, people=people, parameters={"seed": seed}
    )


def _splits(files: list[KspaceFile], source: Path, seed: int) -> dict[Path, str]:
    named = {}
    for f in files:
        words = re.split(r"[^a-z]+", " ".join([source.name, *f.path.relative_to(source).parts[:-1]]).lower())
        named[f.path] = next((SPLIT_WORDS[w] for w in reversed(words) if w in SPLIT_WORDS), None)
    if all(named.values()):
        print("splits: by the names of folders", flush=True)
        return named
    if any(named.values()):
        lost = next(p for p, split in named.items() if not split)
        raise InputError(lost, f"in no folder named train, val or test, as other files of {source} are: move it")
    print(f"splits: no folder is named train, val or test: persons are drawn with seed {seed}", flush=True)
    persons = sorted({f.person for f in files})
    order = np.random.default_rng(seed).permutation(len(persons))
    held = max(1, len(persons) // 10) if len(persons) > 2 else len(persons)
    place = {persons[p]: "test" if i < held else "val" if i < 2 * held else "train" for i, p in enumerate(order)}
    return {f.path: place[f.person] for f in files}
