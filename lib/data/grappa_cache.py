"""GRAPPA images of whole files: read from SNU's `image_grappa`, or computed once and kept beside the data."""

import contextlib
import glob
import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from lib import InputError
from lib.data.fastmri_file import KspaceFile
from lib.data.hdf5 import open_hdf5
from lib.files import fingerprint, is_whole, replacing
from lib.kspace import center_crop, fft2c, ifft2c, rss
from lib.kspace.grappa import grappa
from lib.kspace.grappa_grid import center_block
from lib.kspace.sampling import Mask

GRAPPA_KEY = "image_grappa"
METHOD_VERSION = 2  # counts the changes of what `lib.kspace.grappa` makes from the same settings
LEAST_CORRELATION = 0.9  # correlation of the low-resolution images; one case has .99, two heads have .5 to .8


def grappa_image(kspace: Tensor, columns: Tensor, shape: tuple[int, int], settings: dict[str, Any]) -> Tensor:
    """The GRAPPA image of undersampled k-space: RSS, cropped.

    Parameters
    ----------
    kspace : complex64 (C, H, W), 0 where not sampled
    columns : (W,) bool, the mask
    shape : (h, w) of the image
    settings : of `lib.kspace.grappa.grappa`
    """
    kernel = {**settings, "kernel_size": tuple(settings["kernel_size"])}
    return center_crop(rss(ifft2c(grappa(kspace, columns, **kernel))), shape)


def grappa_file(file: KspaceFile, mask: Mask, settings: dict[str, Any]) -> Path:
    """The HDF5 file whose `image_grappa` (S, h, w), float32, belongs to a file's k-space under its mask.

    It is SNU's own if the file has its mask from there. Else it is <folder>/grappa/<name>-<key>.h5, made here with a
    line of progress if it isn't there: the key is a checksum of the mask, the settings, METHOD_VERSION and the file, so
    whatever changes, another file is made, and those of an older state of the k-space are deleted.

    Parameters
    ----------
    file : a checked one
    mask : that it is undersampled with
    settings : of `lib.kspace.grappa.grappa`

    Returns
    -------
    The path of the HDF5 file.

    Raises
    ------
    InputError
        If GRAPPA can't be done or kept, and if SNU's images are another case's.
    """
    if file.grappa_path and file.mask:
        _check_case(file, mask)
        return file.grappa_path
    state = fingerprint(file.path)
    if not is_whole(file.path):  # a large file's checksum is of samples: its time counts too
        state += f" {file.path.stat().st_mtime_ns}"
    columns = "".join("01"[int(c)] for c in mask.columns)
    about = {
        "method": METHOD_VERSION,
        "mask": columns,
        "settings": settings,
        "shape": list(file.target_shape),
        "kspace": state,
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    name = file.path.name.removesuffix(".h5")  # a.hdf5 beside a.h5 has its own
    path = file.path.parent / "grappa" / f"{name}-{key}.h5"
    if path.exists():
        return path
    try:
        with open_hdf5(file.path) as data:
            slices = [torch.from_numpy(k.astype(np.complex64)) for k in data["kspace"]]
        slices = [k if k.ndim == 3 else k.unsqueeze(0) for k in slices]
        images = [grappa_image(k * mask.columns, mask.columns, file.target_shape, settings) for k in slices]
    except InputError as error:
        raise InputError(file.path, f"GRAPPA: {error}") from None
    try:
        with replacing(path) as partial, h5py.File(partial, "w") as data:
            data[GRAPPA_KEY] = torch.stack(images).numpy()
            data.attrs["kspace"] = state
        _clear(path, name, state)
    except OSError as error:
        raise InputError(path.parent, f"GRAPPA images can't be kept there: {error.strerror or error}") from None
    print(f"GRAPPA of {file.path.name}: {len(images)} slices, {mask.achieved:.2f}× achieved", flush=True)
    return path


def _clear(path: Path, name: str, state: str) -> None:
    """Deletes images of an older state of the k-space."""
    for old in path.parent.glob(f"{glob.escape(name)}-{'?' * 16}.h5"):
        try:
            with open_hdf5(old) as data:
                stale = data.attrs.get("kspace") != state
        except InputError:  # damaged
            stale = True
        with contextlib.suppress(FileNotFoundError):  # another run may clear too
            if stale:
                old.unlink()


def _check_case(file: KspaceFile, mask: Mask) -> None:
    """InputError if a file's GRAPPA image shows something else than its center lines do."""
    start, stop = center_block(mask.columns)
    center = torch.zeros(file.shape[1])
    center[start:stop] = 1
    s = file.slices // 2
    with open_hdf5(file.path) as data, open_hdf5(file.grappa_path) as images:
        kspace = torch.from_numpy(data["kspace"][s].astype(np.complex64)) * center
        shown = torch.from_numpy(images[GRAPPA_KEY][s].astype(np.complex64))
    seen = center_crop(rss(ifft2c(kspace if kspace.ndim == 3 else kspace.unsqueeze(0))), file.target_shape)
    pad = file.shape[1] - shown.shape[-1]
    shown = torch.nn.functional.pad(shown, (pad // 2, pad - pad // 2))
    shown = center_crop(ifft2c(fft2c(shown) * center).abs(), file.target_shape)
    correlation = float(torch.corrcoef(torch.stack((seen.flatten(), shown.flatten())))[0, 1])
    if not correlation > LEAST_CORRELATION:
        raise InputError(
            file.grappa_path,
            f"{GRAPPA_KEY}: slice {s} resembles the k-space of {file.path.name} by {correlation:.2f}",
            f"more than {LEAST_CORRELATION}: is it another case's?",
        )
