"""Cine series of a prepared set, or of a user's files: pairs of an aliased and a true one (`lib.data.cine_files`).

A set has one file with inputs (x) and one with truths (y) for each of train, val and test, or several such pairs; a set
that is only predicted from needs no truth.
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lib import InputError
from lib.data import pictures
from lib.data.cine_files import DATA_KEYS, SeriesFile, pair
from lib.data.hdf5 import open_hdf5
from lib.data.index import entries
from lib.data.loaders import loaders


class CineCase(NamedTuple):
    """One series with everything by name.

    Parameters
    ----------
    input : float32 (axis 1, axis 2, time), aliased
    truth : likewise; None if unknown
    id : its name in the set, which no other series has
    person : whose heart it is, as set.json tells; if it doesn't, each series counts as a person's
    file : the file of inputs
    """

    input: Tensor
    truth: Tensor | None
    id: str
    person: str
    file: Path


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
    pairs, (listed,) = [], entries(folder, split)
    for x in (e for e in listed if e["side"] == "x"):
        y = next((e for e in listed if e["side"] == "y" and e["person"] == x["person"]), None)
        if need_truth and y is None:
            raise InputError(folder / x["path"], "no file of truths beside it: needed to train or score")
        inputs, truths = pair(folder / x["path"], y and folder / y["path"])
        inputs = inputs._replace(names=tuple(x["names"]), persons=tuple(x.get("persons", ())))
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
            with open_hdf5(file.path) as data:
                arrays.append(torch.from_numpy(data[DATA_KEYS[side]][n].astype(np.float32)))
        person = files.inputs.persons[n] if files.inputs.persons else self.names[i]
        return CineCase(*arrays, self.names[i], person, files.inputs.path)

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
