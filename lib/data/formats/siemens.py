"""Siemens raw data (.dat of VB to XA software), read by twixtools: the last measurement in the file, the scans before are its preparation."""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from lib import InputError
from lib.data.formats.lines import Encoding, Line, check_directions, first_lines, noise_of, reader, sort
from lib.data.formats.places import Direction, affine_of
from lib.data.formats.record import KspaceScan
from lib.files import check_file
from lib.text import one_line, pluralize

COUNTER = {
    "slice": "cSlc", "contrast": "cEco", "phase": "cPhs", "repetition": "cRep", "set": "cSet", "average": "cAve",
    "partition": "cPar", "line": "cLin",
}  # fmt: skip
NO_IMAGE = {"RTFEEDBACK", "HPFEEDBACK", "PHASCOR", "PHASESTABSCAN", "REFPHASESTABSCAN", "dummy", "SYNCDATA"}
OVERSAMPLING = 2  # of the readout, always
CARTESIAN = 1  # of ucTrajectory


def read(path: Path, **chosen: int) -> KspaceScan:
    """The k-space of one contrast, phase, repetition and set of a file.

    Parameters
    ----------
    path : of the file
    **chosen : number of the contrast, phase, repetition or set; others: the first

    Raises
    ------
    InputError
        For what isn't Cartesian, EPI, and files that can't be read.
    """
    scans = _scans(path)
    scan = scans[-1]
    protocol = scan["hdr"]["MeasYaps"]
    if protocol["sKSpace"].get("ucTrajectory", CARTESIAN) != CARTESIAN:
        raise InputError(
            path, "no Cartesian trajectory by its protocol", "cartesian", "grid it to Cartesian k-space first"
        )
    readouts = scan["mdb"]
    used = [i for i, one in enumerate(readouts) if one.is_image_scan() and not NO_IMAGE & {*one.get_active_flags()}]
    used += [
        i for i, one in enumerate(readouts) if one.is_flag_set("PATREFSCAN") and not one.is_flag_set("NOISEADJSCAN")
    ]
    used = sorted(set(used))
    check_directions(path, any(readouts[i].is_flag_set("REFLECT") for i in used))
    lines = [_line(readouts[i], i) for i in used]
    if not lines:
        raise InputError(path, "holds no lines of an image", "at least one")
    first = readouts[used[0]]
    coils, samples = first.data.shape
    encoding = _encoding(protocol["sKSpace"], first, samples, lines)
    found = sort(path, lines, encoding, chosen)
    noisy = [one.data for other in scans for one in other["mdb"] if one.is_flag_set("NOISEADJSCAN")]
    noise = noise_of([data for data in noisy if len(data) == coils])
    told = (*found.told, noise.told, f"readout oversampling removed: {samples} → {encoding.recon[0]} samples")
    read_slice, slices = reader(
        found, encoding, coils, lambda numbers: (readouts[i].data for i in numbers), noise.white
    )
    height, width = encoding.recon[0], encoding.encoded[1]
    facts = {"acquired": f"{int(found.mask.sum())} of {pluralize(width, 'phase encode')}"}
    spacing = _spacing(protocol, height, width)
    of_slices = first_lines(found)
    directions = _directions(readouts[of_slices[0].number])
    return KspaceScan(
        path, "Siemens", (slices, coils, height, width), read_slice, told, found.mask, noise.covariance,
        spacing, affine_of(of_slices, directions, (height, width), spacing) if encoding.encoded[2] == 1 else None, facts=facts,
    )  # fmt: skip


def _scans(path: Path) -> list[dict[str, Any]]:
    check_file(path)
    try:
        import twixtools
    except ImportError:
        raise InputError(path, "Siemens raw data need twixtools", hint="pip install twixtools") from None
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it talks
            scans = twixtools.read_twix(
                str(path), verbose=False, parse_pmu=False, parse_geometry=False, keep_acqend=True
            )
        scans = [scan for scan in scans if isinstance(scan, dict) and scan.get("mdb")]
        if scans:
            scans[-1]["hdr"]["MeasYaps"]["sKSpace"]  # a protocol that can be used
            if scans[-1]["mdb"][-1].is_flag_set("ACQEND"):
                return scans
            raise InputError(
                path, f"ends after {len(scans[-1]['mdb'])} readouts, without the mark of its end", "a whole file"
            )
    except InputError:
        raise
    except Exception as error:
        raise InputError(path, f"can't be read as Siemens raw data ({one_line(error)[:120]})") from None
    raise InputError(path, "holds no measurement", "Siemens raw data")


def _line(readout: Any, number: int) -> Line:
    at = {counter: int(getattr(readout, name)) for counter, name in COUNTER.items()}
    calibration = readout.is_flag_set("PATREFSCAN") and not readout.is_flag_set("PATREFANDIMASCAN")
    place = readout.mdh.SliceData.SlicePos
    return Line(
        at, int(readout.mdh.CenterCol), calibration, number, (float(place.Sag), float(place.Cor), float(place.Tra))
    )


def _directions(readout: Any) -> tuple[Direction, Direction, Direction]:
    """By the readout's quaternion, of which the first number is the real one: the columns of its rotation are phase, readout, slice.

    siemens_to_ismrmrd reads it the same way: a file and what was converted from it lie at one place.
    """
    quaternion = np.array(readout.mdh.SliceData.Quaternion[:], float)
    if not 0.9 < np.linalg.norm(quaternion) < 1.1:
        return (np.zeros(3),) * 3
    phase, read, normal = Rotation.from_quat(quaternion, scalar_first=True).as_matrix().T
    return read, phase, normal


def _encoding(protocol: Any, first: Any, samples: int, lines: list[Line]) -> Encoding:
    """Sizes by the protocol, or as far as lines go: partial Fourier leaves them out at one end."""
    center, depth_center = int(first.mdh.CenterLin), int(first.mdh.CenterPar)
    width = max(int(protocol["lPhaseEncodingLines"]), 2 * center, 1 + max(line.at["line"] for line in lines))
    partitions = 1 + max(line.at["partition"] for line in lines)
    depth = max(int(protocol.get("lPartitions", 1)), partitions) if partitions > 1 else 1
    samples = max(samples, 2 * int(first.mdh.CenterCol))  # a readout that begins late
    rows = samples // OVERSAMPLING
    return Encoding((samples, width, depth), (rows, width, depth), center, depth_center if depth > 1 else 0)


def _spacing(protocol: Any, height: int, width: int) -> tuple[float, float, float] | None:
    try:
        about = protocol["sSliceArray"]["asSlice"][0]
        return float(about["dThickness"]), float(about["dReadoutFOV"]) / height, float(about["dPhaseFOV"]) / width
    except (KeyError, IndexError, TypeError):
        return None
