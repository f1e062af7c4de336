"""The genuine raw scans among the samples, as a k-space set: fully sampled, each with either axis as the phase encode."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from lib import InputError
from lib.data.hdf5 import open_hdf5
from lib.data.index import write_set, writes_set
from lib.files import replacing
from lib.kspace import ifft2c, rss
from lib.phantoms.sample_scans import FOLDER
from lib.text import one_of

SCANS = {  # person: split and file
    "brain_d": ("val", "research_only/brain_d_raw_4ch.h5"),
    "brain_e": ("val", "research_only/brain_e_raw_8ch_wrapped.h5"),
    "phantom": ("test", "phantom_raw_kspace.h5"),
}


def check(scans: str) -> None:
    """InputError if a notebook's parameter `scans` is neither "simulated" nor "raw"."""
    if scans not in ("simulated", "raw"):
        raise InputError(f"scans {scans!r}", *one_of(scans, ("simulated", "raw")))


def first() -> Path:
    """The first of SCANS that is there."""
    return next(FOLDER / name for _, name in SCANS.values() if (FOLDER / name).exists())


@writes_set
def write(folder: Path) -> Path:
    """folder/<split>/<person>_{columns,rows}.h5 in fastMRI's layout, and set.json, whose path is returned.

    The target is the RSS of all lines. Networks choose their settings on the brains in val. Where data/samples has no
    `research_only`, that is said, and the phantom validates.
    """
    there = {person: place for person, place in SCANS.items() if (FOLDER / place[1]).exists()}
    for person in SCANS.keys() - there.keys():
        print(f"{person}: data/samples/{SCANS[person][1]} isn't there; its license is for research only", flush=True)
    entries = []
    for person, (split, name) in there.items():
        split = split if any(s == "val" for s, _ in there.values()) else "val"
        for axis in ("columns", "rows"):
            entries.append(_write(folder, split, person, FOLDER / name, axis))
    return write_set(folder, "data/samples", "measured k-space (sample data)", entries)


def _write(folder: Path, split: str, person: str, source: Path, axis: str) -> dict[str, Any]:
    with open_hdf5(source) as file:
        kspace = torch.from_numpy(file["kspace"][:].astype(np.complex64))
        acquisition = file.attrs["acquisition"]
    kspace = kspace if axis == "columns" else kspace.mT.contiguous()
    target = rss(ifft2c(kspace))
    path = folder / split / f"{person}_{axis}.h5"
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        file["kspace"], file["reconstruction_rss"] = kspace, target
        file.attrs["max"], file.attrs["patient_id"] = float(target.max()), person
        file.attrs["acquisition"] = f"{acquisition}, undersampled along its {axis}"
    return {
        "split": split, "path": f"{split}/{path.name}", "person": person, "slices": len(kspace),
        "name": path.stem, "source": f"data/samples/{source.relative_to(FOLDER)}", "axis": axis,
    }  # fmt: skip
