"""Scans of one's own by every method, kept scan by scan: a result.h5 to look at, NIfTI and DICOM to take along."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from lib.data.formats.export import write_dicom, write_nifti
from lib.data.formats.opening import Scan
from lib.evaluation.kept import Kept, Progress
from lib.evaluation.reconstruction import identity
from lib.files import file_name
from lib.inference.own_scans import Images, reconstruct
from lib.text import short


def reconstruct_all(
    scans: dict[str, Scan], run: Path, folder: Path, mask: dict[str, Any], methods: dict[str, Callable[..., Tensor]],
    networks: dict[str, nn.Module], device="cpu",
) -> tuple[Path, dict[str, dict[str, Any]]]:  # fmt: skip
    """Writes each scan's images to run/predictions/, as soon as they are done; what an earlier try has done stays.

    Memory holds one scan's images. Prints a line per method and per scan, with the time left.

    Parameters
    ----------
    scans : of `lib.inference.own_scans.scans`
    run : a run folder
    folder : where k-space goes, a file a scan
    mask, methods, networks, device : of `lib.inference.own_scans.reconstruct`

    Returns
    -------
    The path of the result.h5, and of each scan what each method gave: the images' shape, or why there are none.
    """
    path = Path(run) / "predictions" / "result.h5"
    about = {"mask": mask, "methods": list(methods), "networks": {name: identity(n) for name, n in networks.items()}}
    kept, progress = Kept(path, about), Progress(len(scans))
    for name, scan in scans.items():
        state = [str(scan.path), scan.path.stat().st_mtime_ns, list(scan.shape)]
        if kept.has(name, state):
            progress.kept(1)
            continue
        images = reconstruct(scan, folder / file_name(f"{name}.h5"), mask, methods, networks, device)
        export(images, scan, path.parent / file_name(name), name)
        arrays = {method: image for method, image in images.items() if isinstance(image, np.ndarray)}
        given = {method: getattr(image, "shape", image) for method, image in images.items()}
        whose = {"file": str(scan.path), "person": scan.person, "spacing": scan.spacing}
        kept.add(name, state, {"given": given}, lambda result, n=name, a=arrays, w=whose: result.add(n, a, **w))
        progress.done(f"{name}: {', '.join(arrays)} → {short(path.parent / file_name(name))}")
    records = kept.join(list(scans))
    return path, {name: record["given"] for name, record in zip(scans, records, strict=True)}


def export(images: Images, scan: Scan, folder: Path, name: str) -> None:
    """Writes every image as NIfTI and as a DICOM series of its own, where the scan's file says that it lies.

    Parameters
    ----------
    images : of `lib.inference.own_scans.reconstruct`
    scan : that they are of
    folder : where they go, by method
    name : of the scan, in the series' description
    """
    for method, image in images.items():
        if isinstance(image, np.ndarray):
            place = folder / method.replace(" ", "_")
            write_nifti(place.with_suffix(".nii.gz"), image, scan.affine, scan.spacing)
            write_dicom(place, image, scan.affine, scan.spacing, f"{name} {method}")
