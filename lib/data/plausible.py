"""Is k-space what it is read as? Its columns, the order of its axes, its center and its scale, by one slice, the middle one.

Letters: S slices, C coils, H readout, W phase encode.
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from lib import InputError
from lib.data.hdf5 import dataset, open_hdf5
from lib.data.header import Header
from lib.kspace import center_crop, ifft2c, rss
from lib.text import pluralize

MOST_SCALE_RATIO = 5.0  # how far a target or its maximum may be from k-space's RSS; beyond, it is of another scale


def check_rows(path: Path, shape: Sequence[int], header: Header) -> None:
    """InputError if the readout isn't the rows, which are as many as the header's encoded or reconstructed ones.

    Parameters
    ----------
    path : of the file
    shape : of its k-space
    header : of the file
    """
    height, width = shape[-2:]
    readout, lines = header.encoded
    swapped = width == readout != lines
    if height == readout or (height == header.recon[0] and not swapped):
        return
    raise InputError(
        path,
        f"kspace: shape {tuple(shape)} has {height} rows, its header {readout} readout points: expected the axes "
        "(slices, coils, readout, phase encode)",
    )


def acquired_columns(kspace: h5py.Dataset, own: np.ndarray | None, padding: tuple[int, int]):
    """Which columns of k-space are acquired.

    Columns in the padding count as not acquired, as in fastMRI, and empty ones, too. Without a mask, k-space with empty
    columns between others is undersampled, and its mask is determined here; empty ones outside only are padding.

    Parameters
    ----------
    kspace : (S, C, H, W) or (S, H, W)
    own : (W,) bool, the file's mask, or None
    padding : columns on each side that were never encoded, by the header

    Returns
    -------
    (columns acquired, None for all; padding; what is assumed, in words; what is to be said of holes along both axes)
    """
    width = kspace.shape[-1]
    inside = np.ones(width, bool)
    inside[: padding[0]] = inside[width - padding[1] :] = False
    empty, holes = _empty(kspace, inside if own is None else inside & own)
    if holes and own is None:
        return None, padding, [], holes
    if own is not None:
        told = [f"{pluralize(int((own & ~inside).sum()), 'column')} of its mask never encoded, by its header"]
        told.append(f"{pluralize(int((own & inside & empty).sum()), 'column')} of its mask without data: not acquired")
        return _told(own & inside & ~empty), padding, [t for t in told if not t.startswith("0 ")], holes
    full = np.flatnonzero(inside & ~empty)
    if empty[full[0] : full[-1]].any():
        rate = inside.sum() / len(full)
        told = f"no mask, but {width - len(full)} of {width} columns are zero: undersampled {rate:.2f}×, the others are its mask"
        return _told(inside & ~empty), padding, [told], holes
    outer = (int(full[0]), int(width - 1 - full[-1]))
    told = ["no mask: taken as fully sampled, a mask is applied on reading"]
    if outer != tuple(padding):
        told.append(f"its outer {outer[0]} and {outer[1]} columns are zero: taken as never encoded")
    return None, outer, told, holes


def _told(columns: np.ndarray) -> tuple[bool, ...]:
    return tuple(map(bool, columns))


def _empty(kspace: h5py.Dataset, asked: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(W,) whether nothing is in a column, and what is to be said of holes.

    One row is read, and the whole slice where that row has gaps in `asked` columns.
    """
    middle, row = len(kspace) // 2, kspace.shape[-2] // 2
    empty = ~np.atleast_2d(kspace[middle, ..., row, :]).any(0)
    if not (empty & asked).any():
        return empty, []
    present = kspace[middle].reshape(-1, *kspace.shape[-2:]).any(0)
    empty = ~present.any(0)
    if (empty | ~asked).all():  # a slice without anything says nothing
        return np.zeros_like(empty), []
    return empty, _holes(present)


def largest_rss(kspace: h5py.Dataset) -> float:
    """The largest value of all slices' RSS images."""
    slices = (torch.from_numpy(kspace[s].astype(np.complex64)) for s in range(len(kspace)))
    return max(float(rss(ifft2c(values.reshape(-1, *values.shape[-2:])), 0).max()) for values in slices)


def check_values(path: Path, kspace: h5py.Dataset) -> list[str]:
    """Reads all slices; InputError for NaN, inf, nothing but zeros and a wrong order or center.

    Returns what is to be said of single slices.
    """
    energy = np.zeros(len(kspace))
    for s in range(len(kspace)):
        values = kspace[s]
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise InputError(path, f"kspace: slice {s} holds {bad} NaN or inf values", "finite numbers")
        energy[s] = np.square(np.abs(values), dtype=np.float64).sum()
    if not energy.any():
        raise InputError(path, f"kspace: all {len(kspace)} slices are zero")
    power = np.square(np.abs(kspace[len(kspace) // 2]), dtype=np.float64)
    power = power.reshape(-1, *power.shape[-2:])
    told = []
    if power.any():
        told = _check_axes(path, kspace.shape, energy, power)
    zero = np.flatnonzero(energy == 0)
    return told + [f"slice {s} is zero" for s in zero]


def _check_axes(path: Path, shape: tuple[int, ...], energy: np.ndarray, power: np.ndarray) -> list[str]:
    """Along readout and phase encode most energy lies in the central half, along slices and coils it is spread.

    Returns what is to be said where there is less than in k-space of any object.
    """
    coils, rows, columns = (_central(power.sum(axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    if max(_central(energy), coils) > 0.95 and min(rows, columns) < 0.75:
        raise InputError(
            path,
            f"kspace: shape {shape}: the energy along its axes isn't that of (slices, coils, readout, phase encode): "
            "are the coils or slices last? Expected the axes in this order",
        )
    for axis, share in (("readout", rows), ("phase encode", columns)):
        if share < 0.25:
            raise InputError(
                path,
                f"kspace: {1 - share:.0%} of the energy lies in the outer half along the {axis}: is the zero "
                "frequency in the corner? Expected it in the center (numpy.fft.fftshift)",
            )
    low = [f"{s:.0%} along the {a}" for a, s in (("readout", rows), ("phase encode", columns)) if s < 0.9]
    return [f"energy in the central half: {', '.join(low)}; is this k-space, along both axes?"] if low else []


def _central(energy: np.ndarray) -> float:
    """The share in the central half of an axis; of less than 8 points it says nothing (.5)."""
    size = len(energy)
    if size < 8:
        return 0.5
    return float(energy[np.abs(np.arange(size) - size // 2) <= size / 4].sum() / energy.sum())


def _holes(present: np.ndarray) -> list[str]:
    """[], or what is to be said where points (H, W) are missing between others of their row and of their column."""
    present = present[present.any(1)][:, present.any(0)]
    between = [
        np.cumsum(present, a, dtype=int) * np.cumsum(present[::-1, ::-1], a, dtype=int)[::-1, ::-1] for a in (0, 1)
    ]
    share = float((~present & (between[0] > 0) & (between[1] > 0)).mean())
    if share <= 0.02:
        return []
    return [
        f"{(~present).mean():.0%} of the points are zero, in holes along both axes: undersampled at points, the others are its mask"
    ]


def check_target(kspace: h5py.Dataset, path: Path, key: str, maximum: float) -> list[str]:
    """Compare a target with k-space's RSS, and with its maximum.

    Parameters
    ----------
    kspace : (S, C, H, W) or (S, H, W)
    path, key : the file with the target, and its array's key
    maximum : that the file states

    Returns
    -------
    What is to be said of it.

    Raises
    ------
    InputError
        For NaN, inf and another scale.
    """
    s = len(kspace) // 2
    with open_hdf5(path) as file:
        target = dataset(file, key, "fiu")
        largest, told = 0.0, []
        for i in range(len(target)):
            image = target[i].astype(np.float64)
            if not np.isfinite(image).all():
                raise InputError(path, f"{key}: slice {i} holds NaN or inf values", "finite numbers")
            largest = max(largest, float(image.max()))
            told += [] if image.any() else [f"{key}: slice {i} is zero"]
            if i == s:
                truth = torch.from_numpy(image)
    values = torch.from_numpy(kspace[s].astype(np.complex64))
    shape = tuple(map(min, truth.shape, values.shape[-2:]))
    seen = center_crop(rss(ifft2c(values.reshape(-1, *values.shape[-2:]))), shape).double()
    width, truth = truth.shape[1], center_crop(truth, shape)
    return [
        *told,
        *[f"{key} of {width} columns is cropped to k-space's {shape[1]}"] * (width > shape[1]),
        *_scale(path, f"{key}: slice {s}", float(truth.norm()), "its k-space's RSS", float(seen.norm()), 1.25),
        *_scale(path, "attribute max", maximum, f"the largest value of {key}", largest, 1.02),
        *_alike(key, s, truth, seen),
    ]


def _scale(path: Path, name: str, found: float, what: str, expected: float, near: float) -> list[str]:
    """[], or what is to be said where one isn't `near` the other."""
    if not (found > 0 and expected > 0):
        return [] if found == expected else [f"{name} is {found:.3g}, {what} {expected:.3g}"]
    ratio = found / expected
    if not 1 / MOST_SCALE_RATIO < ratio < MOST_SCALE_RATIO:
        raise InputError(
            path,
            f"{name} is of another scale than {what}: {ratio:.3g} times",
            "1 (it is the data range of every score, and what networks are trained to give)",
        )
    return [] if 1 / near < ratio < near else [f"{name} is {ratio:.3g} times {what}"]


def _alike(key: str, s: int, truth: torch.Tensor, seen: torch.Tensor) -> list[str]:
    """What is to be said where a target shows something else than its k-space."""
    images = torch.stack((truth.flatten(), seen.flatten()))
    if not (images.std(1) > 1e-6 * images.abs().amax(1)).all():
        return []
    alike = float(torch.corrcoef(images)[0, 1])
    return (
        []
        if alike > 0.8
        else [f"{key}: slice {s} resembles its k-space's RSS by {alike:.2f} only: flipped, shifted or another's?"]
    )
