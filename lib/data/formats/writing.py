"""A record of k-space as a file in fastMRI's layout, which everything else here reads."""

from pathlib import Path

import h5py
import numpy as np

from lib import InputError
from lib.data.formats.record import PERSON, KspaceScan
from lib.data.header import header_of
from lib.files import replacing


def write_fastmri(scan: KspaceScan, path: Path) -> Path:
    """Writes k-space slice by slice, its mask, and a header with its sizes; nothing of whom it is: it counts as its file's.

    InputError, and no file, for NaN or inf in it.

    Parameters
    ----------
    scan : of `lib.data.formats.opening.open`
    path : of the new file
    """
    if path.resolve() == scan.path.resolve():
        raise InputError(path, "the file that is read", "another one to write to")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as made, h5py.File(made, "w") as file:
        stored = file.create_dataset("kspace", scan.shape, np.complex64, chunks=(1, *scan.shape[1:]))
        for s in range(scan.shape[0]):
            values = scan.slice(s)
            if not np.isfinite(values).all():
                raise InputError(scan.path, f"slice {s} holds NaN or inf", "finite numbers")
            if scan.mask is not None:
                values = values * scan.mask
            stored[s] = values
        if scan.mask is not None and scan.mask.ndim == 1 and not scan.mask.all():
            file["mask"] = scan.mask.astype(np.uint8)
        file["ismrmrd_header"] = header_of(scan.shape[-2:], scan.spacing, scan.shape[1])
        file.attrs["patient_id"] = path.stem if scan.person == PERSON else scan.person
    return path
