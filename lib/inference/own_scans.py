"""What every method makes of a scan of one's own, of whatever format."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import InputError
from lib.data.fastmri import KspaceCase, KspaceSlices, inputs_of
from lib.data.fastmri_file import kspace_file
from lib.data.formats.opening import Scan, open, scan_files
from lib.data.formats.record import KspaceScan
from lib.data.formats.writing import write_fastmri
from lib.files import file_name
from lib.inference.reconstruct import by_network
from lib.kspace import center_crop
from lib.kspace.calibrated import shared
from lib.text import one_line

BETWEEN_LINES = 10  # seconds
Images = dict[str, np.ndarray | str]


def scans(source: Path, **settings: Any) -> dict[str, Scan]:
    """The scans of a file or folder by name, each printed; of a folder those that can't be read are told and left out.

    Parameters
    ----------
    source : a file; a folder of one DICOM series or of images; or a folder of files of any known format
    **settings : of `lib.data.formats.opening.open`, for all of them

    Raises
    ------
    InputError
        If the file can't be read, or nothing in the folder.
    """
    listed = scan_files(source)
    found: dict[str, Scan] = {}
    for path in listed:
        try:
            scan = open(path, **settings)
        except InputError as error:
            if len(listed) == 1:
                raise
            print(f"left out: {one_line(error)}", flush=True)
            continue
        print(scan, flush=True)
        found[_name(path, found)] = scan
    if not found:
        raise InputError(source, f"none of its {len(listed)} files can be read", "at least one")
    return found


def _name(path: Path, taken: dict[str, Scan]) -> str:
    """A case's name: the file's, with as many of its folders' as tell it from others."""
    parts = [*path.parent.parts, path.name.split(".")[0]]
    for count in range(1, len(parts) + 1):
        name = file_name("_".join(part.strip("/\\") for part in parts[-count:]).replace(".", "_"))
        if name not in taken:
            return name
    return file_name(f"{path.name}_{len(taken)}".replace(".", "_"))


def reconstruct(
    scan: Scan, path: Path, mask: dict[str, Any], methods: dict[str, Callable[..., Tensor]],
    networks: dict[str, nn.Module], device="cpu",
) -> Images:  # fmt: skip
    """A scan's images (S, h, w) by method, or the reason why a method can't; of images themselves: "image".

    K-space is written to `path` in fastMRI's layout first; slices are reconstructed one by one, each by all methods, which
    share what they need; a line says so now and then.

    Parameters
    ----------
    scan : of `scans`
    path : of the file that k-space goes to
    mask : settings of `make_mask`, for fully sampled k-space
    methods : one file's slices and a device → images, see `lib.evaluation.baselines.BASELINES`
    networks : by name, on `device`
    device : where they are reconstructed
    """
    if not isinstance(scan, KspaceScan):
        volume = np.stack([np.abs(scan.slice(s)).astype(np.float32) for s in range(scan.shape[0])])
        return {"image": volume}
    file = kspace_file(write_fastmri(scan, path))
    slices = KspaceSlices([file], mask)
    calls: dict[str, Callable[[KspaceCase], Tensor]] = {
        name: lambda case, m=method: m([case], device)[0] for name, method in methods.items()
    }
    for name, network in networks.items():
        fed = KspaceSlices([file], mask, **inputs_of(network))
        calls[name] = lambda case, n=network, f=fed: by_network(n, f, [f.case(case.slice)], device)[0]
    parts: dict[str, list[Tensor]] = {name: [] for name in ("zero-filled", *calls, "truth")}
    reasons: Images = {}
    said = float("-inf")
    for s in range(len(slices)):
        if time.monotonic() - said > BETWEEN_LINES:
            names = ", ".join(name for name in calls if name not in reasons)
            print(f"{scan.path.name}: slice {s + 1} of {len(slices)} by {names} …", flush=True)
            said = time.monotonic()
        case = slices.case(s)
        parts["zero-filled"].append(case.zero_filled)
        parts["truth"] += [] if case.target is None else [case.target]
        with torch.no_grad(), shared():
            for name in (name for name in calls if name not in reasons):
                try:
                    parts[name].append(center_crop(calls[name](case), file.target_shape))
                except InputError as error:  # it can't work on this mask, or these data
                    reasons[name] = one_line(error)
    made = {name: torch.stack(images).cpu().numpy() for name, images in parts.items() if images and name not in reasons}
    return {name: (made | reasons)[name] for name in parts if name in made or name in reasons}
