"""Files of cine series in the source's layout: checked, indexed, written.

`imagesRecon` holds aliased series, `imagesTrue` true ones, (series, axis 1, axis 2, time). The attribute `names` may name
the series, `persons` say whose they are.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from torch import Tensor

from lib import ROOT, InputError
from lib.data.hdf5 import dataset, one_text, open_hdf5
from lib.data.index import SPLITS, write_set, writes_set
from lib.data.people import pseudonyms
from lib.files import replacing

DATA_KEYS = {"x": "imagesRecon", "y": "imagesTrue"}
FILE_NAMES = tuple(f"{side}_{split}" for split in SPLITS for side in "xy")
USUAL_VALUES = (-0.5, 2.0)  # values beyond are far from 0 … 1


class SeriesFile(NamedTuple):
    """A checked file of series.

    Parameters
    ----------
    path : where it lies
    shape : (series, axis 1, axis 2, time)
    names : one per series
    persons : one per series, whose it is; () if the file doesn't tell
    warning : what is unusual about its values, if anything
    """

    path: Path
    shape: tuple[int, int, int, int]
    names: tuple[str, ...]
    persons: tuple[str, ...]
    warning: str | None


def series_file(path: Path, side: str, values: bool = False) -> SeriesFile:
    """Check one file of series; values far outside 0 … 1 are a warning.

    Parameters
    ----------
    path : HDF5 with `imagesRecon` or `imagesTrue`, (series, axis 1, axis 2, time)
    side : "x" for inputs, "y" for truths
    values : read all, and refuse NaN and inf

    Raises
    ------
    InputError
        Naming the file, the key and what is expected.
    """
    path, key = Path(path), DATA_KEYS[side]
    with open_hdf5(path) as file:
        data = dataset(file, key, "fiu")
        shape = data.shape
        if len(shape) != 4 or 0 in shape:
            raise InputError(path, f"{key}: shape {shape}", "(series, axis 1, axis 2, time)")
        if shape[3] < 2:
            raise InputError(path, f"{key}: {shape[3]} frame in {shape}", "at least 2 in the last axis")
        low, high = np.inf, -np.inf
        for n in range(len(data) if values else 0):
            block = data[n]
            if not np.isfinite(block).all():
                bad = int((~np.isfinite(block)).sum())
                raise InputError(path, f"{key}: series {n} holds {bad} NaN or inf values", "finite numbers")
            low, high = min(low, float(block.min())), max(high, float(block.max()))
        names, persons = _texts(file, "names"), _texts(file, "persons")
    if len(persons) not in (0, shape[0]):
        raise InputError(path, f"attribute persons: {len(persons)} for {shape[0]} series", "one per series")
    far = low < USUAL_VALUES[0] or high > USUAL_VALUES[1]
    warning = f"{path}: {key}: values from {low:.3g} to {high:.3g}, expected about 0 to 1" if values and far else None
    if len(set(names)) != shape[0] or len(names) != shape[0] or any("/" in n or not n.strip(".") for n in names):
        names = _numbered(path, shape[0])
    return SeriesFile(path, tuple(shape), names, persons, warning)


def _numbered(path: Path, count: int) -> tuple[str, ...]:
    return tuple(f"{path.stem}_{n:04d}" for n in range(count))


def _texts(file: h5py.File, name: str) -> tuple[str, ...]:
    """An attribute's texts; () if it isn't there."""
    values = file.attrs.get(name, ())
    return tuple(map(one_text, () if isinstance(values, h5py.Empty) else np.ravel(values)))


def pair(x: Path, y: Path | None) -> tuple[SeriesFile, SeriesFile | None]:
    """Check a file of inputs and its file of truths; InputError if count or shape differ."""
    inputs, truths = series_file(x, "x"), y and series_file(y, "y")
    if truths and truths.shape != inputs.shape:
        raise InputError(y, f"{DATA_KEYS['y']} is {truths.shape}", f"{inputs.shape} as {DATA_KEYS['x']} of {x}")
    return inputs, truths


def check_files(files: dict[str, Any], needed: dict[str, bool]) -> dict[str, Path]:
    """The files that are given, as paths.

    Parameters
    ----------
    files : some of x_train, y_train, x_val, y_val, x_test, y_test: a path each, or None; relative ones count from ROOT
    needed : {split: whether its truths are needed, too}

    Raises
    ------
    InputError
        For a file that is missing or wrong.
    """
    for name, path in files.items():
        if name not in FILE_NAMES:
            raise InputError("files", f"got {name!r}", f"some of {', '.join(FILE_NAMES)}")
        if path is not None and not isinstance(path, str | Path):
            raise InputError("files", f"{name}: got {path!r}", "a path")
    paths = {name: ROOT / path for name, path in files.items() if path}
    names = [f"{side}_{split}" for split, truths in needed.items() for side in ("xy" if truths else "x")]
    for name in names:
        if name not in paths:
            raise InputError("files", f"{name} is missing", f"at least {', '.join(names)}")
    for split in SPLITS:
        if f"x_{split}" in paths:
            pair(paths[f"x_{split}"], paths.get(f"y_{split}"))
        elif f"y_{split}" in paths:
            raise InputError("files", f"y_{split} is there without x_{split}")
    return paths


@writes_set
def index(
    files: dict[str, Any], folder: Path, needed: dict[str, bool], real_ids: bool = False, table: bool = True
) -> Path:
    """Check a user's files (all values are read) and say what they hold; they stay where they are.

    Parameters
    ----------
    files : see `check_files`
    folder : where set.json is written
    needed : see `check_files`
    real_ids : see `lib.data.people.pseudonyms`; without, series are called by their file and number
    table : write the table of pseudonyms

    Returns
    -------
    The path of set.json.
    """
    paths = check_files(files, needed)
    entries, series = [], {name: series_file(path, name[0], values=True) for name, path in paths.items()}
    owners = ((path.stem, person) for name, path in paths.items() for person in series[name].persons)
    people = pseudonyms(folder, dict.fromkeys(owners), real_ids)
    for name, path in paths.items():
        side, _, split = name.partition("_")
        file = series[name]._replace(persons=tuple(people[p] for p in series[name].persons))
        file = file if real_ids else file._replace(names=_numbered(path, file.shape[0]))
        print(f"{name}: {path.name}, {file.shape[0]} series of {'×'.join(map(str, file.shape[1:]))}")
        if file.warning:
            print(f"warning: {file.warning}", flush=True)
        entries.append(_entry(file, side, split, str(path.resolve()), f"the {split} files' people"))
    folder.mkdir(parents=True, exist_ok=True)
    return write_set(folder, "files of the user", "cine", entries, people=people if table else None)


def _entry(file: SeriesFile, side: str, split: str, path: str, person: str) -> dict[str, Any]:
    about = {"split": split, "path": path, "person": person, "side": side, "shape": file.shape}
    about |= {"slices": file.shape[0] if side == "x" else 0, "names": file.names}
    return about | ({"persons": file.persons} if file.persons else {})


def write_pair(
    folder: Path, split: str, stem: str, person: str, names: list[str], pairs: Iterable[tuple[Tensor, Tensor]],
    simulated: bool = False, persons: list[str] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Write a file of inputs and one of truths.

    Parameters
    ----------
    folder : of the set
    split : train, val or test
    stem : the files are x_<stem>.h5 and y_<stem>.h5
    person : of what or whom the series are, in a word or two
    names : of the series
    pairs : (aliased, truth) of each series, (T, n, n)
    simulated : whether a program has drawn what they show
    persons : whose each series is; None: each is a person's

    Returns
    -------
    Their entries of set.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {side: folder / f"{side}_{stem}.h5" for side in "xy"}
    with (
        replacing(paths["x"]) as x_part,
        replacing(paths["y"]) as y_part,
        h5py.File(x_part, "w") as x,
        h5py.File(y_part, "w") as y,
    ):
        for n, images in enumerate(pairs):
            for file, side, image in zip((x, y), "xy", images, strict=True):
                series = image.permute(1, 2, 0).numpy()
                if n == 0:
                    shape = (len(names), *series.shape)
                    file.create_dataset(DATA_KEYS[side], shape, np.float32, chunks=(1, *series.shape))
                    file.attrs.update({"names": names, "persons": persons or names})
                file[DATA_KEYS[side]][n] = series
    about = {"simulated": simulated}
    return [_entry(series_file(path, side), side, split, path.name, person) | about for side, path in paths.items()]
