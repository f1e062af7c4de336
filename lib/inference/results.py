"""result.h5, the images that a run has made: written and read here, and nowhere else.

One group per case. Its arrays are (S, H, W), slices or frames first: `input`, `output` (in a comparison one array per
method in its place), and, if known, `truth`, `noise_free` and `probability`. All else that is known of a case stands in
the group's attributes (`Case` lists them).
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lib import InputError, runs
from lib.data.hdf5 import Reader, dataset, number, open_hdf5, spacing_of, text
from lib.files import replacing
from lib.text import did_you_mean

NOT_OUTPUTS = ("input", "truth", "noise_free", "probability")


class Writer:
    """Writes a result.h5: `with Writer(path) as result: result.add(…)`.

    The file is written under a temporary name and renamed when the block ends; after an exception nothing is left.

    Parameters
    ----------
    path : of the result.h5
    first_axis : "time" if the arrays' first axis is time
    """

    def __init__(self, path: os.PathLike | str, first_axis: str = ""):
        self.path, self.first_axis, self._open = Path(path), first_axis, contextlib.ExitStack()

    def __enter__(self) -> "Writer":
        with self._open as opened:
            partial = opened.enter_context(replacing(self.path))
            self.file = opened.enter_context(h5py.File(partial, "w", track_order=True))
            if self.first_axis:
                self.file.attrs["first_axis"] = self.first_axis
            self._open = opened.pop_all()
        return self

    def __exit__(self, *error) -> bool | None:
        return self._open.__exit__(*error)

    def add(self, name: str, images: Mapping[str, Any], **about: Any) -> None:
        """A case's whole arrays and its attributes.

        Parameters
        ----------
        name : of the case
        images : (S, H, W) each, by name; written as float32
        **about : the attributes; those that are None are left out
        """
        group = self._group(name)
        for key, volume in images.items():
            group.create_dataset(key, data=np.asarray(volume, dtype=np.float32))
        self.describe(name, **about)

    def arrays(self, name: str, size: tuple[int, ...], types: Mapping[str, Any]) -> dict[str, h5py.Dataset]:
        """Compressed arrays of a case, to be filled slice by slice.

        Parameters
        ----------
        name : of the case
        size : (S, H, W)
        types : numpy's type by array
        """
        chunks, group = (1, *size[1:]), self._group(name)
        return {k: group.create_dataset(k, size, kind, compression="gzip", chunks=chunks) for k, kind in types.items()}

    def describe(self, name: str, **about: Any) -> None:
        """A case's attributes; those that are None are left out."""
        if np.ndim(about.get("mask")) == 2:  # an attribute holds 64 KiB
            about |= {"mask": np.packbits(about["mask"]), "mask_shape": np.shape(about["mask"])}
        self._group(name).attrs.update({key: value for key, value in about.items() if value is not None})

    def copy(self, name: str, source: Path) -> None:
        """A case as another result.h5 holds it."""
        with open_hdf5(source) as file:
            file.copy(name, self.file)

    def _group(self, name: str) -> h5py.Group:
        return self.file[name] if name in self.file else self.file.create_group(name, track_order=True)


@dataclass(frozen=True)
class Case:
    """One case of a result.h5. Arrays are read when they are asked for: `case["output"]` is (S, H, W).

    Parameters
    ----------
    path : the result.h5
    name : of the case
    images : names of its arrays
    unit : what the first axis counts, "slice" or "frame"
    about : its attributes as they are stored
    """

    path: Path
    name: str
    images: tuple[str, ...]
    unit: str
    about: dict[str, Any]

    def __getitem__(self, image: str) -> np.ndarray:
        return self.part(image, slice(None))

    def part(self, image: str, index: int | slice) -> np.ndarray:
        """One slice (H, W) of an array, or several (…, H, W); nothing else of it is read."""
        with open_hdf5(self.path) as file:
            return dataset(file[self.name], image)[index]

    def volumes(self) -> dict[str, np.ndarray]:
        """{image: array (S, H, W)}, all of them."""
        with open_hdf5(self.path) as file:
            return {image: dataset(file[self.name], image)[:] for image in self.images}

    @property
    def outputs(self) -> list[str]:
        """The images that a network or another method has made."""
        return [image for image in self.images if image not in NOT_OUTPUTS]

    @property
    def person(self) -> str:
        return text(self.about, "person", self.path, self.name)

    @property
    def file(self) -> Path:
        """The data file that the case was made of."""
        return Path(text(self.about, "file", self.path))

    @property
    def kind(self) -> str:
        """What sets it apart from others, such as "at 4×" (nominal) or "of simulated hearts"; "" if nothing does.

        A mask that the data file brought has no nominal acceleration.
        """
        if "acceleration" in self.about and text(self.about, "mask_kind", self.path) != "file":
            return f"at {self.about['acceleration']:g}×"
        return f"of {self.about['kind']}" if "kind" in self.about else ""

    @property
    def simulated(self) -> bool:
        """Whether a program has drawn what it shows; older results don't tell."""
        return bool(self.about.get("simulated", False))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of a segmentation, the background first; () of a reconstruction."""
        return tuple(map(str, self.about.get("classes", ())))

    @property
    def ignore_index(self) -> int | None:
        """The truth of pixels that aren't labeled; None: all are."""
        return int(self.about["ignore_index"]) if "ignore_index" in self.about else None

    @property
    def slice_names(self) -> tuple[str, ...]:
        """Names of the slices; without them, their numbers."""
        if "names" in self.about:
            return tuple(map(str, self.about["names"]))
        with open_hdf5(self.path) as file:
            return tuple(map(str, range(len(dataset(file[self.name], self.images[0])))))

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """(z, y, x) in mm."""
        return spacing_of(self.about, self.path) if "spacing" in self.about else None

    @property
    def mask(self) -> np.ndarray | None:
        """The columns sampled, (W,) bool."""
        if "mask_shape" not in self.about:
            return self.about["mask"].astype(bool) if "mask" in self.about else None
        shape = tuple(self.about["mask_shape"])
        return np.unpackbits(self.about["mask"], count=np.prod(shape)).reshape(shape).astype(bool)

    @property
    def achieved(self) -> float | None:
        """The acceleration that the mask has achieved: columns encoded / acquired; padding counts as neither."""
        return number(self.about, "acceleration_achieved", self.path)

    @property
    def is_volume(self) -> bool:
        """Whether it was segmented as a volume, not slice by slice."""
        return bool(self.about.get("volume", False))


def result_of(source: os.PathLike | str) -> Path:
    """The result.h5 of a run folder or of a task's newest good run; one that is named by its path."""
    path = Path(source)
    return path if path.suffix == ".h5" else runs.find(source) / "predictions" / "result.h5"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Reader, list[str]]]:
    """(the file, the names of its cases); InputError if it can't be read, isn't a result.h5, or is empty."""
    with open_hdf5(path) as file:
        names = list(file)
        if not all(isinstance(file.get(name), h5py.Group) for name in names):
            raise InputError(path, "not a result.h5", "one HDF5 group per case with input, output, truth")
        if not names:
            raise InputError(path, "holds no cases")
        yield file, names


def _case(path: Path, file: Reader, name: str) -> Case:
    unit = "frame" if file.attrs.get("first_axis") == "time" else "slice"
    return Case(path, name, tuple(file[name]), unit, dict(file[name].attrs))


def case_names(source: os.PathLike | str) -> list[str]:
    """The cases of a result (see `result_of`); InputError if it can't be read, isn't a result.h5, or is empty."""
    with _opened(result_of(source)) as (_, names):
        return names


def case(source: os.PathLike | str, name: str | None = None) -> Case:
    """One case.

    Parameters
    ----------
    source : a result.h5, a run folder, or a task, of which the newest good run counts
    name : of the case; None: the first

    Raises
    ------
    InputError
        As `case_names` does, and if there is no such case.
    """
    path = result_of(source)
    with _opened(path) as (file, names):
        if name is not None and name not in names:
            near = did_you_mean(name, names)
            raise InputError(path, f"unknown name {name!r}; {near}expected one of {', '.join(names)}")
        return _case(path, file, name or names[0])


def cases(source: os.PathLike | str) -> dict[str, Case]:
    """{name: case}, all of them; InputError as in `case_names`."""
    path = result_of(source)
    with _opened(path) as (file, names):
        return {name: _case(path, file, name) for name in names}


def read(source: os.PathLike | str) -> dict[str, dict[str, np.ndarray]]:
    """{case: {image: array (S, H, W)}}: the whole file; InputError as in `case_names`."""
    return {name: each.volumes() for name, each in cases(source).items()}
