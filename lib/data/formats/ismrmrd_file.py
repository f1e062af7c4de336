"""ISMRMRD raw data (.h5, .mrd): lines with their counters, and a header in XML (Inati et al., Magn Reson Med 77:411, 2017)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib import InputError
from lib.data.formats.lines import (
    COUNTERS,
    Encoding,
    Line,
    check_directions,
    encoding_of,
    first_lines,
    noise_of,
    number_of_coils,
    reader,
    sort,
)
from lib.data.formats.places import affine_of
from lib.data.formats.record import KspaceScan
from lib.data.hdf5 import open_hdf5
from lib.data.header import acquisitions_of, load_ismrmrd
from lib.text import one_line, pluralize

ismrmrd = load_ismrmrd()

INDEX = dict(zip(COUNTERS, (
    "slice", "contrast", "phase", "repetition", "set", "average", "kspace_encode_step_2", "kspace_encode_step_1",
), strict=True))  # fmt: skip
NO_IMAGE = tuple(1 << (getattr(ismrmrd, f"ACQ_IS_{name}") - 1) for name in (
    "NAVIGATION_DATA", "PHASECORR_DATA", "HPFEEDBACK_DATA", "DUMMYSCAN_DATA", "RTFEEDBACK_DATA", "SURFACECOILCORRECTIONSCAN_DATA",
))  # fmt: skip
NOISE, CALIBRATION, REVERSE = (1 << (getattr(ismrmrd, f"ACQ_IS_{name}") - 1) for name in (
    "NOISE_MEASUREMENT", "PARALLEL_CALIBRATION", "REVERSE",
))  # fmt: skip


def read(path: Path, **chosen: int) -> KspaceScan:
    """The k-space of one contrast, phase, repetition and set of a file.

    Parameters
    ----------
    path : of the file
    **chosen : number of the contrast, phase, repetition or set; others: the first

    Raises
    ------
    InputError
        For what isn't Cartesian, EPI, a header that contradicts the lines, and files that can't be read.
    """
    with open_hdf5(path) as file:
        name = acquisitions_of(file)
        if name is None:
            raise InputError(path, "no group with xml and data", "ISMRMRD")
        group = file[name]
        text, heads = group["xml"][0], group["data"].fields("head")[:]
    header = _header(path, text)
    encoding = _encoding(path, header)
    flags = heads["flags"]
    noise = np.flatnonzero(flags & NOISE)
    used = np.flatnonzero(~(flags & (NOISE | sum(NO_IMAGE))).astype(bool))
    check_directions(path, (flags[used] & REVERSE).any())
    lines = [
        Line(
            {name: int(heads["idx"][field][i]) for name, field in INDEX.items()}, int(heads["center_sample"][i]),
            bool(flags[i] & CALIBRATION), int(i), tuple(map(float, heads["position"][i])),
        )
        for i in used
    ]  # fmt: skip
    counts = [int(n) for n in heads["active_channels"][used]]
    count = number_of_coils(path, counts) if counts else 0
    found = sort(path, lines, encoding, chosen)

    def data(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        with open_hdf5(path) as file:
            stored = file[name]["data"].fields("data")
            for i in numbers:
                yield np.asarray(stored[i]).view(np.complex64).reshape(count, -1)

    dwell = [float(heads["sample_time_us"][i] or 1) for i in (*noise[:1], used[0])]
    of_noise = noise_of(list(data(noise.tolist())), dwell[0] / dwell[-1])
    told = [*found.told, of_noise.told]
    read_slice, slices = reader(found, encoding, count, data, of_noise.white)
    rows = min(encoding.encoded[0], encoding.recon[0])
    if rows < encoding.encoded[0]:
        told.append(f"readout oversampling removed: {encoding.encoded[0]} → {rows} samples")
    spacing = _spacing(header, encoding)
    of_slices = first_lines(found)
    directions = tuple(heads[of_slices[0].number][f"{name}_dir"] for name in ("read", "phase", "slice"))
    return KspaceScan(
        path, "ISMRMRD", (slices, count, rows, encoding.encoded[1]), read_slice, tuple(told), found.mask, of_noise.covariance, spacing,
        affine_of(of_slices, directions, (rows, encoding.encoded[1]), spacing) if encoding.encoded[2] == 1 else None, facts=_facts(header) | {"acquired": f"{int(found.mask.sum())} of {pluralize(len(found.mask), 'phase encode')}"},
    )  # fmt: skip


def _header(path: Path, text: Any) -> Any:
    try:
        header = ismrmrd.xsd.CreateFromDocument(text)
    except Exception as error:
        raise InputError(path, f"its header can't be read ({one_line(error)[:120]})") from None
    if not header.encoding:
        raise InputError(path, "its header has no encoding", "one")
    kind = getattr(header.encoding[0].trajectory, "value", header.encoding[0].trajectory)
    if str(kind) != "cartesian":
        raise InputError(path, f"a {kind} trajectory", "cartesian", "grid it to Cartesian k-space first")
    return header


def _encoding(path: Path, header: Any) -> Encoding:
    spaces = header.encoding[0].encodedSpace, header.encoding[0].reconSpace
    encoded, recon = ((s.matrixSize.x, s.matrixSize.y, s.matrixSize.z) for s in spaces)
    limits = header.encoding[0].encodingLimits
    step_1, step_2 = (getattr(limits, f"kspace_encoding_step_{n}", None) for n in (1, 2))
    centers = [step.center if step else None for step in (step_1, step_2)]
    return encoding_of(path, encoded, recon, [s.fieldOfView_mm.x for s in spaces], centers)


def _spacing(header: Any, encoding: Encoding) -> tuple[float, float, float] | None:
    space = header.encoding[0].encodedSpace
    field, recon = space.fieldOfView_mm, header.encoding[0].reconSpace
    if min(field.x, field.y, recon.fieldOfView_mm.z) <= 0:
        return None
    depth = recon.fieldOfView_mm.z / (encoding.encoded[2] if encoding.encoded[2] > 1 else 1)
    return depth, field.x / encoding.encoded[0], field.y / encoding.encoded[1]


def _facts(header: Any) -> dict[str, str]:
    """What a reader wants to know, nothing of whom it is."""
    facts = {}
    system, sequence = header.acquisitionSystemInformation, header.sequenceParameters
    if system and system.systemFieldStrength_T:
        facts["field"] = f"{system.systemFieldStrength_T:.3g} T"
    for name in ("TR", "TE"):
        if sequence and getattr(sequence, name):
            facts[name] = f"{getattr(sequence, name)[0]:.4g} ms"
    parallel = header.encoding[0].parallelImaging
    if parallel:
        facts["acceleration"] = f"{parallel.accelerationFactor.kspace_encoding_step_1} by its header"
    return facts
