"""From a scanner's lines to k-space: sorted by slice and phase encode, averaged, pre-whitened, without readout oversampling."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lib import InputError
from lib.kspace import center_crop, fftc, ifftc
from lib.text import pluralize

COUNTERS = ("slice", "contrast", "phase", "repetition", "set", "average", "partition", "line")
CHOSEN = ("contrast", "phase", "repetition", "set")  # of these one is read


class Line(NamedTuple):
    """One readout.

    Parameters
    ----------
    at : number by counter, one of COUNTERS each
    center : sample at the center of k-space
    calibration : whether it is of a calibration scan alone
    number : of the readout in the file
    position : of its slice's middle in mm, (left, back, head) as in DICOM; None: not known
    """

    at: dict[str, int]
    center: int
    calibration: bool
    number: int
    position: tuple[float, float, float] | None = None


class Encoding(NamedTuple):
    """What the header says of the lines.

    Parameters
    ----------
    encoded : samples of a readout, phase encodes, partitions
    recon : the same of the image
    line_center, partition_center : phase encode and partition at the center of k-space
    """

    encoded: tuple[int, int, int]
    recon: tuple[int, int, int]
    line_center: int
    partition_center: int


def encoding_of(
    path: Path, encoded: tuple[int, int, int], recon: tuple[int, int, int], fields: Sequence[float],
    centers: Sequence[int | None],
) -> Encoding:  # fmt: skip
    """The encoding that an (ISMR)MRD header says; InputError for sizes below 1.

    Parameters
    ----------
    path : of the file, for messages
    encoded, recon : matrices, of samples, phase encodes, partitions
    fields : of view along the readout in mm, encoded and of the image, which may have less resolution, too; 0: not known
    centers : phase encode and partition at the center of k-space; None: the middle
    """
    if min(*encoded, *recon) < 1:
        raise InputError(path, f"its header has matrices {encoded} and {recon}", "sizes above 0")
    rows = round(encoded[0] * fields[1] / fields[0]) if min(fields) > 0 else recon[0]
    middles = (n // 2 if center is None else center for center, n in zip(centers, encoded[1:], strict=True))
    return Encoding(encoded, (min(rows, encoded[0]), *recon[1:]), *middles)


def check_directions(path: Path, reversed_ones: bool) -> None:
    """InputError where some readouts are reversed."""
    if reversed_ones:
        raise InputError(path, "EPI: lines run in both directions", "lines in one direction", "reconstruct it first")


def number_of_coils(path: Path, counts: Iterable[int]) -> int:
    """How many coils every readout has; InputError if some have others."""
    different = sorted(set(counts))
    if len(different) > 1:
        raise InputError(path, f"readouts of {' and '.join(map(str, different))} coils", "as many in each")
    return different[0]


class Sorted(NamedTuple):
    """Lines in their order.

    Parameters
    ----------
    lines : by (slice, partition, line)
    slices, partitions : numbers of both
    mask : bool (W,), phase encodes that were acquired in all slices
    told : what was chosen, in short lines
    """

    lines: dict[tuple[int, int, int], list[Line]]
    slices: list[int]
    partitions: int
    mask: np.ndarray
    told: tuple[str, ...]


def sort(path: Path, lines: Sequence[Line], encoding: Encoding, chosen: dict[str, int]) -> Sorted:
    """The lines of one contrast, phase, repetition and set, by where they belong.

    Parameters
    ----------
    path : of the file, for messages
    lines : all but noise and navigators
    encoding : of the header
    chosen : number by counter of CHOSEN; others: the first one

    Raises
    ------
    InputError
        Without lines, for a counter that isn't there, and lines outside of the encoded matrix.
    """
    if not lines:
        raise InputError(path, "holds no lines of an image", "at least one")
    told = []
    for counter in CHOSEN:
        numbers = sorted({line.at[counter] for line in lines})
        wanted = chosen.get(counter, numbers[0])
        if wanted not in numbers:
            raise InputError(path, f"{counter}: got {wanted}", f"one of {', '.join(map(str, numbers[:20]))}")
        if len(numbers) > 1:
            told.append(f"{counter} {wanted} of {len(numbers)} ({counter}=… chooses)")
        lines = [line for line in lines if line.at[counter] == wanted]
    width, depth = encoding.encoded[1:]
    places: dict[tuple[int, int, int], list[Line]] = {}
    for line in lines:
        column = line.at["line"] - encoding.line_center + width // 2
        partition = line.at["partition"] - encoding.partition_center + depth // 2
        if not (0 <= column < width and 0 <= partition < depth):
            raise InputError(
                path, f"readout {line.number}: phase encode {line.at['line']}, partition {line.at['partition']}",
                f"within the header's matrix {encoding.encoded}, its center at {encoding.line_center}",
            )  # fmt: skip
        places.setdefault((line.at["slice"], partition, column), []).append(line)
    for place, found in places.items():  # an image's line before a calibration's
        places[place] = [line for line in found if not line.calibration] or found
    averages = max(len({line.at["average"] for line in found}) for found in places.values())
    if averages > 1:
        told.append(f"{averages} averages: their mean")
    slices = _by_position({place[0]: found[0].position for place, found in sorted(places.items())})
    if slices != sorted(slices):
        told.append("slices in the order of their positions, which isn't that of their numbers")
    present = np.zeros((len(slices) * depth, width), bool)
    for number, partition, column in places:
        present[slices.index(number) * depth + partition, column] = True
    mask = present.all(0)
    if not mask.any():
        raise InputError(path, "no phase encode was acquired in all slices", "one pattern for all slices")
    if (present.any(0) != mask).any():
        told.append(f"{pluralize(int((present.any(0) & ~mask).sum()), 'phase encode')} not in all slices: left out")
    return Sorted(places, slices, depth, mask, tuple(told))


def first_lines(found: Sorted) -> list[Line]:
    """A line of each slice."""
    first: dict[int, Line] = {}
    for (number, *_), lines in found.lines.items():
        first.setdefault(number, lines[0])
    return [first[number] for number in found.slices]


def _by_position(positions: dict[int, tuple[float, float, float] | None]) -> list[int]:
    """Numbers of slices from one end of the stack to the other, toward left, back or head; of unknown or equal places as they are."""
    numbers = list(positions)
    if len(numbers) < 2 or any(place is None for place in positions.values()):
        return numbers
    places = np.array([positions[n] for n in numbers], float)
    direction = np.linalg.svd(places - places.mean(0))[2][0]
    depths = places @ (direction * np.sign(direction[np.abs(direction).argmax()]))
    order = np.argsort(depths, kind="stable")
    return [numbers[i] for i in order] if np.diff(depths[order]).min() > 1e-3 else numbers


def whitening(covariance: np.ndarray) -> np.ndarray:
    """The matrix L⁻¹ with covariance = L Lᴴ: coils times it have noise of variance 1 that isn't correlated.

    Pruessmann et al., Magn Reson Med 46:638 (2001), eq. 11. InputError for a covariance that isn't positive definite.
    """
    try:
        return np.linalg.inv(np.linalg.cholesky(covariance.astype(np.complex128))).astype(np.complex64)
    except np.linalg.LinAlgError:
        raise InputError("noise scan", "a covariance that isn't positive definite", "noise in every coil") from None


def covariance(noise: np.ndarray, dwell_ratio: float = 1.0) -> np.ndarray:
    """The covariance of noise samples (coils, n), for a readout of another dwell time.

    Parameters
    ----------
    noise : complex (coils, n)
    dwell_ratio : the noise scan's time a sample over the image's
    """
    centered = noise - noise.mean(1, keepdims=True)
    return centered @ centered.conj().T / (centered.shape[1] - 1) * dwell_ratio


class Noise(NamedTuple):
    """What a noise scan gives: its covariance and whitening matrix (coils, coils), None without one, and words for it."""

    covariance: np.ndarray | None
    white: np.ndarray | None
    told: str


def noise_of(readouts: Sequence[np.ndarray], dwell_ratio: float = 1.0) -> Noise:
    """Of the noise scan's readouts (coils, n), none if there is no such scan; dwell_ratio: see `covariance`."""
    if not readouts:
        return Noise(None, None, "no noise scan: not pre-whitened")
    samples = np.concatenate(readouts, 1)
    matrix = covariance(samples, dwell_ratio)
    return Noise(matrix, whitening(matrix), f"noise scan of {samples.shape[1]:,} samples: pre-whitened")


def without_oversampling(kspace: np.ndarray, rows: int) -> np.ndarray:
    """K-space (..., H, W) of the central `rows` of its image: exact, as the whole readout is sampled."""
    if rows >= kspace.shape[-2]:
        return kspace
    image = ifftc(torch.from_numpy(kspace), (-2,))
    return fftc(center_crop(image, (rows, kspace.shape[-1])), (-2,)).numpy()


def reader(
    found: Sorted,
    encoding: Encoding,
    coils: int,
    data: Callable[[Sequence[int]], Iterable[np.ndarray]],
    white: np.ndarray | None,
):
    """Slice → k-space complex64 (coils, H, W), and how many slices there are.

    Parameters
    ----------
    found, encoding : of the file
    coils : of its readouts
    data : numbers of readouts → complex (coils, samples) of each
    white : whitening matrix (coils, coils), or None
    """
    samples, width = encoding.encoded[:2]

    def plane(number: int, partition: int) -> np.ndarray:
        kspace = np.zeros((coils, samples, width), np.complex64)
        columns = np.flatnonzero(found.mask).tolist()
        lines = [(column, line) for column in columns for line in found.lines[number, partition, column]]
        for (column, line), values in zip(lines, data([line.number for _, line in lines]), strict=True):
            start, count = samples // 2 - line.center, len(found.lines[number, partition, column])
            first, last = max(start, 0), min(start + values.shape[1], samples)
            kspace[:, first:last, column] += values[:, first - start : last - start] / count
        return kspace if white is None else np.einsum("ij,jhw->ihw", white, kspace)

    @lru_cache(1)
    def volume(number: int) -> np.ndarray:
        """(partitions, coils, H, W), of a 3-D scan, its images along the partitions."""
        planes = np.stack([plane(number, partition) for partition in range(found.partitions)])
        return ifftc(torch.from_numpy(planes), (0,)).numpy()

    def read(index: int) -> np.ndarray:
        number, partition = divmod(index, found.partitions)
        number = found.slices[number]
        kspace = volume(number)[partition] if found.partitions > 1 else plane(number, 0)
        return without_oversampling(kspace, encoding.recon[0])

    return read, len(found.slices) * found.partitions
