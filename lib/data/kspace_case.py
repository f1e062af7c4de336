"""One slice of k-space with everything that is known of it, by name."""

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from lib.kspace.sampling import Mask


class KspaceCase(NamedTuple):
    """One slice with everything by name; what is unknown is None.

    Parameters
    ----------
    kspace : complex64 (C, H, W), as the file has it
    mask : its own, or the one drawn
    masked_kspace : complex64 (C, H, W), 0 where not sampled
    grappa, zero_filled, target, noise_free : float32 (h, w)
    sensitivity_maps : complex64 (C, h, w)
    maximum : of the file's target, the data range of the scores
    id : the file's `path_names`, joined by _, so that no two files of a split share it
    slice : its number in the file
    person, file : whose it is, and where it lies
    spacing : (slice thickness, H, W) in mm
    """

    kspace: Tensor
    mask: Mask
    masked_kspace: Tensor
    grappa: Tensor | None
    zero_filled: Tensor
    target: Tensor | None
    noise_free: Tensor | None
    sensitivity_maps: Tensor | None
    maximum: float
    id: str
    slice: int
    person: str
    file: Path
    spacing: tuple[float, float, float] | None


def stored(array: h5py.Dataset, s: int, kind: type) -> Tensor:
    """Slice s of an array, as a type."""
    if array.dtype != kind:
        return torch.from_numpy(array[s].astype(kind))
    values = np.empty(array.shape[1:], kind)
    array.read_direct(values, np.s_[s])  # `array[s]` would fill it with zeros first
    return torch.from_numpy(values)
