"""Cine series in the source's layout: aliased `imagesRecon` and true `imagesTrue`, (series, axis 1, axis 2, time).

A set has one file with inputs (x) and one with truths (y) for each of train, val and test; `test` may have further
pairs, and a set that is only predicted from needs no truth.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lib import ROOT, InputError
from lib.data import pictures
from lib.data.hdf5 import dataset, one_text, open_hdf5
from lib.data.index import SPLITS, entries, write_set
from lib.data.loaders import loaders
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
    warning : what is unusual about its values, if anything
    """

    path: Path
    shape: tuple[int, int, int, int]
    names: tuple[str, ...]
    warning: str | None


class CineCase(NamedTuple):
    """One series with everything by name.

    Parameters
    ----------
    input : float32 (axis 1, axis 2, time), aliased
    truth : likewise; None if unknown
    id : its name in the set, which no other series has
    person : whose heart it is; each series counts as a person's
    file : the file of inputs
    """

    input: Tensor
    truth: Tensor | None
    id: str
    person: str
    file: Path


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
        names = file.attrs.get("names", ())
    names = tuple(map(one_text, () if isinstance(names, h5py.Empty) else np.ravel(names)))
    far = low < USUAL_VALUES[0] or high > USUAL_VALUES[1]
    warning = f"{path}: {key}: values from {low:.3g} to {high:.3g}, expected about 0 to 1" if values and far else None
    if len(set(names)) != shape[0] or len(names) != shape[0] or any("/" in n or not n.strip(".") for n in names):
        names = tuple(f"{path.stem}_{n:04d}" for n in range(shape[0]))
    return SeriesFile(path, tuple(shape), names, warning)


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


def index(files: dict[str, Any], folder: Path, needed: dict[str, bool]) -> Path:
    """Check a user's files (all values are read) and say what they hold; they stay where they are.

    Parameters
    ----------
    files : see `check_files`
    folder : where set.json is written
    needed : see `check_files`

    Returns
    -------
    The path of set.json.
    """
    paths = check_files(files, needed)
    entries = []
    for name, path in paths.items():
        side, _, split = name.partition("_")
        file = series_file(path, side, values=True)
        print(f"{name}: {path.name}, {file.shape[0]} series of {'×'.join(map(str, file.shape[1:]))}")
        if file.warning:
            print(f"warning: {file.warning}", flush=True)
        entries.append(_entry(file, side, split, str(path.resolve()), f"the {split} files' people"))
    folder.mkdir(parents=True, exist_ok=True)
    return write_set(folder, "files of the user", "cine", entries)


def _entry(file: SeriesFile, side: str, split: str, path: str, person: str) -> dict[str, Any]:
    about = {"split": split, "path": path, "person": person, "side": side, "shape": file.shape}
    return about | {"slices": file.shape[0] if side == "x" else 0, "names": file.names}


class SeriesPair(NamedTuple):
    """A checked pair of files of a prepared set.

    Parameters
    ----------
    inputs : the aliased series
    truths : the true ones; None if unknown
    person : of what or whom they are, such as "real patient"
    simulated : whether a program has drawn what they show
    """

    inputs: SeriesFile
    truths: SeriesFile | None
    person: str | None
    simulated: bool = False


def split_pairs(folder: Path, split: str, need_truth: bool = True) -> list[SeriesPair]:
    """The pairs of files of one split of a prepared set.

    Parameters
    ----------
    folder : of the set
    split : train, val or test
    need_truth : whether each must have one

    Raises
    ------
    InputError
        If there are none, or truths are missing.
    """
    folder = Path(folder)
    pairs, listed = [], entries(folder, split)
    for x in (e for e in listed if e["side"] == "x"):
        y = next((e for e in listed if e["side"] == "y" and e["person"] == x["person"]), None)
        if need_truth and y is None:
            raise InputError(folder / x["path"], "no file of truths beside it: needed to train or score")
        inputs, truths = pair(folder / x["path"], y and folder / y["path"])
        pairs.append(SeriesPair(inputs, truths, x["person"], x.get("simulated", False)))
    return pairs


class CineSeries(Dataset):
    """Series of pairs of files; items are asked for by index, or by (epoch, index) as `BucketSampler` gives them."""

    panels = staticmethod(pictures.series)

    def __init__(self, pairs: list[SeriesPair]):
        self.pairs = pairs
        self.index = [(p, n) for p in pairs for n in range(p.inputs.shape[0])]
        self.sizes = [p.inputs.shape[1:] for p, _ in self.index]
        names = [(p.inputs.path.stem, p.inputs.names[n]) for p, n in self.index]
        count = Counter(name for _, name in names)
        self.names = [name if count[name] == 1 else f"{stem}_{name}" for stem, name in names]  # two files may have it

    def __len__(self) -> int:
        return len(self.index)

    def case(self, i: int) -> CineCase:
        """The i-th series by name."""
        files, n = self.index[i]
        arrays = []
        for side, file in (("x", files.inputs), ("y", files.truths)):
            if file is None:
                arrays.append(None)
                continue
            with h5py.File(file.path, "r") as data:
                arrays.append(torch.from_numpy(data[DATA_KEYS[side]][n].astype(np.float32)))
        return CineCase(*arrays, self.names[i], self.names[i], files.inputs.path)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, ...]:
        case = self.case(key[1] if isinstance(key, tuple) else key)
        return (case.input,) if case.truth is None else (case.input, case.truth)


def dataloaders(folder: Path, **settings: Any):
    """fastai DataLoaders of a prepared set's train and val series; a batch is input, truth, both (N, axis 1, axis 2, T).

    Parameters
    ----------
    folder : of the prepared set
    **settings : of `lib.data.loaders.loaders`, such as batch_size
    """
    train, valid = (CineSeries(split_pairs(folder, split)) for split in ("train", "val"))
    return loaders(train, valid, 1, folder, **settings)


def write_pair(
    folder: Path, split: str, stem: str, person: str, names: list[str], pairs: Iterable[tuple[Tensor, Tensor]],
    simulated: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Write a file of inputs and one of truths.

    Parameters
    ----------
    folder : of the set
    split : train, val or test
    stem : the files are x_<stem>.h5 and y_<stem>.h5
    person : of what or whom the series are
    names : of the series
    pairs : (aliased, truth) of each series, (T, n, n)
    simulated : whether a program has drawn what they show

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
                    file.attrs["names"] = names
                file[DATA_KEYS[side]][n] = series
    about = {"simulated": simulated}
    return [_entry(series_file(path, side), side, split, path.name, person) | about for side, path in paths.items()]
