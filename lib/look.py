"""What is this file? Its kind in words, and its mask, zero-filled, GRAPPA and network images in one figure."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lib import ROOT, InputError, count, plots
from lib.data.checks import kspace_file
from lib.data.hdf5 import arrays, dataset, open_hdf5
from lib.data.kspace import Case, KspaceSlices
from lib.data.nifti import looked_at
from lib.grappa import grappa
from lib.kspace import center_crop, ifft2c, rss
from lib.weights import load_weights, settings_of


def look(path: str | Path, slice: int | None = None, weights: str | Path = "runs/weights/demo_varnet") -> Figure:
    """Print what a file is and show one slice of it.

    path: k-space in fastMRI's or SNU's layout, or an array in .npy, .nii, .nii.gz or HDF5 (the first one in it);
    a complex array is taken as k-space (H, W), (coils, H, W) or (slices, coils, H, W), a real one as images (…, H, W).
    Relative paths count from ROOT. K-space without a mask is fully sampled: an
    equispaced mask of every 4th line is put on it to show what the methods make of it. weights: folder of a trained
    VarNet, or a .pt file with fastMRI's published ones. InputError where the file is none of these.
    """
    path = ROOT / Path(path).expanduser()
    if path.suffix in (".h5", ".hdf5"):
        with open_hdf5(path) as file:
            if "kspace" in set(file):
                return _look_at_kspace(path, slice, weights)
    array = _array(path)
    print(f"{path.name}: an array {array.shape} of {array.dtype}, {'k-space' if np.iscomplexobj(array) else 'images'}")
    if array.ndim < 2:
        raise InputError(f"{path}: an array {array.shape}, expected at least two axes")
    if np.iscomplexobj(array):
        if array.ndim > 4:
            raise InputError(f"{path}: complex, {array.shape}: expected (H, W), (coils, H, W) or (slices, coils, H, W)")
        array = array.reshape((1,) * (4 - array.ndim) + array.shape)
        print(
            f"taken as {count(len(array), 'slice')}, {count(array.shape[1], 'coil')}, {array.shape[2]} readout × {array.shape[3]} phase encodes"
        )
        index = _checked(path, slice, len(array))
        return plots.montage(
            {"RSS of the inverse FFT": rss(ifft2c(torch.from_numpy(array[index].astype(np.complex64))))}
        )
    images = array.reshape(-1, *array.shape[-2:])
    return plots.montage(
        {f"image {i}": images[i] for i in np.linspace(0, len(images) - 1, min(4, len(images))).astype(int)}
    )


def _checked(path: Path, index: int | None, slices: int) -> int:
    """The slice to show, the middle one where None."""
    if index is not None and not 0 <= index < slices:
        raise InputError(f"{path}: slice: got {index}, expected 0 to {slices - 1}")
    return slices // 2 if index is None else index


def _array(path: Path) -> np.ndarray:
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.name.endswith((".nii", ".nii.gz")):
            return looked_at(path).volume
        if path.suffix in (".h5", ".hdf5"):
            with open_hdf5(path) as file:
                first = arrays(file)[0]
                return dataset(first.parent, first.name.split("/")[-1])[:]
    except IndexError:
        raise InputError(f"{path}: holds no array of two axes or more") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({' '.join(str(error).split())[:80]})") from None
    raise InputError(f"{path}: unknown kind of file, expected .h5, .hdf5, .npy, .nii or .nii.gz")


def _look_at_kspace(path: Path, index: int | None, weights: str | Path) -> Figure:
    file = kspace_file(path)
    height, width = file.shape
    center = max(round(0.08 * width), 16 if width >= 64 else 4)
    settings = {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": center}
    slices = KspaceSlices([file], settings)
    case = slices.case(_checked(path, index, file.slices))
    print(
        f"{path.name}: {file.layout} layout · {count(file.slices, 'slice')} · {count(file.coils, 'coil')} · {height} readout × {width} phase "
        f"encodes · person {file.person} · target {file.target or 'none'}\n"
        f"slice {case.slice} · mask: {'its own' if file.mask else 'put on here'}, {case.mask.achieved:.2f}× achieved"
    )
    for assumption in file.assumed:
        print(f"assumed: {assumption}")
    panels: dict[str, Any] = {"mask": case.mask.columns.float().expand(file.shape) * float(case.zero_filled.max())}
    panels |= {"zero-filled": case.zero_filled, "GRAPPA": _try(_grappa, case), "VarNet": _try(_varnet, case, weights)}
    if case.target is not None or not file.mask:
        full = case.target if case.target is not None else rss(ifft2c(case.kspace))
        panels["truth"] = center_crop(full, tuple(case.zero_filled.shape))
    return plots.montage(panels, columns=len(panels), title=f"{path.name}, slice {case.slice}")


def _try(method, *arguments) -> Tensor | str:
    try:
        return method(*arguments)
    except InputError as error:
        return str(error)


def _grappa(case: Case) -> Tensor:
    return center_crop(rss(ifft2c(grappa(case.masked_kspace, case.mask.columns))), tuple(case.zero_filled.shape))


@torch.no_grad()
def _varnet(case: Case, weights: str | Path) -> Tensor:
    from lib.models import build

    model = load_weights(build("VarNet", **settings_of(weights, "VarNet")), weights)
    image = model.eval()(case.masked_kspace[None], case.mask.columns.view(1, 1, 1, -1), case.mask.center_count)[0]
    return center_crop(image, tuple(case.zero_filled.shape))
