"""A run's result.h5 in the source systems' own file layouts, beside it."""

import os
from pathlib import Path

import h5py
import numpy as np

from lib import InputError
from lib.data import lits
from lib.data.names import path_names
from lib.files import file_name, replacing
from lib.inference import results


def _cine(source: Path, cases: list[results.Case]) -> Path:
    shapes = sorted({case["input"].shape for case in cases})
    if len(shapes) > 1:
        found = f"series of {len(shapes)} sizes, {shapes[0]} and {shapes[1]}"
        raise InputError(source, found, hint="one array can't hold them")
    names, path = {"input": "input", "result": "output", "truth": "truth"}, source.with_name("result_cine.h5")
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        for name, key in names.items():
            if all(key in case.images for case in cases):
                file[name] = np.stack([np.moveaxis(case[key], 0, -1) for case in cases])
    return path


def _submission(source: Path, cases: list[results.Case]) -> Path:
    folder = source.with_name("reconstructions")
    names = path_names(case.file for case in cases)
    for case in cases:
        path = folder.joinpath(*map(file_name, names[case.file]))
        with replacing(path.with_name(f"{path.name}.h5")) as partial, h5py.File(partial, "w") as file:
            file["reconstruction"] = case["output"]
    return folder


def _masks(source: Path, cases: list[results.Case]) -> Path:
    path = source.with_name("masks.h5")
    with replacing(path) as partial, h5py.File(partial, "w", track_order=True) as file:
        file.attrs["classes"] = list(cases[0].classes)
        for case in cases:
            for name, mask in zip(case.slice_names, case["probability"], strict=True):
                file[name] = mask[None]
    return path


def _nifti(source: Path, cases: list[results.Case]) -> Path:
    for case in cases:
        about = lits.attributes(case.file)
        labels, name = lits.to_original(case["output"], about), file_name(f"{case.name}.nii.gz")
        lits.save_nifti(source.with_name(name), labels, about)
        print(f"{name}: {labels.shape}, as {about['source']}")
    return source.parent


LAYOUTS = {
    "cine": (_cine, "output"), "submission": (_submission, "output"), "masks": (_masks, "probability"),
    "nifti": (_nifti, "output"),
}  # fmt: skip


def export(run: os.PathLike | str, layout: str) -> Path:
    """Write a run's result.h5 once more in a source's layout, beside it.

    cine: `result_cine.h5` with `input`, `result` and, if known, `truth`, each (series, axis 1, axis 2, time).
    submission: fastMRI's and SNU's, `reconstructions/<file>.h5` per file of k-space, with `reconstruction` (S, h, w); of
    files of one name with the folder that sets them apart, as in `reconstructions/acc4/<file>.h5`.
    masks: the ResUNet source's, `masks.h5` with one array (1, H, W) in 0 … 1 per image, by its name.
    nifti: `<case>.nii.gz` per volume, its labels on the grid of the file that it was made of.

    Parameters
    ----------
    run : a run folder
    layout : cine, submission, masks or nifti

    Returns
    -------
    The path of the new file, or of the folder with them.

    Raises
    ------
    InputError
        For another layout, a result without what the layout holds, such as a comparison of methods, and series of
        different size.
    """
    if layout not in LAYOUTS:
        raise InputError("layout", f"got {layout!r}", f"one of {', '.join(LAYOUTS)}")
    write, needed = LAYOUTS[layout]
    source = Path(run) / "predictions" / "result.h5"
    cases = [*results.cases(source).values()]
    for case in cases:
        if needed not in case.images:
            found = f"{case.name} has no {needed!r} (found {', '.join(case.images)})"
            raise InputError(source, found, hint=f"layout {layout!r} is for the predictions of one network")
    return write(source, cases)
