"""The ISMRMRD header of a k-space file: matrix, field of view and encoding limits are read and written, nothing else is needed."""

import math
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from xml.etree import ElementTree

import h5py

from lib import InputError
from lib.data.hdf5 import LARGEST_MM, one_text

MOST_BYTES = 1 << 24


def load_ismrmrd() -> ModuleType:
    """The library ismrmrd. Its import shows warnings of its own and lets all others be shown from then on; not here."""
    with warnings.catch_warnings(record=True):
        import ismrmrd
    return ismrmrd


def acquisitions_of(file: h5py.File) -> str | None:
    """The name of the group with a header and acquisitions, by which an HDF5 file is ISMRMRD; None: it isn't."""
    own = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    groups = [name for name in own if file.get(name, getclass=True) is h5py.Group]
    return next((name for name in groups if {"xml", "data"} <= set(file[name])), None)


class Header(NamedTuple):
    """What is needed of an ISMRMRD header.

    Parameters
    ----------
    encoded, recon : matrices (readout, phase encode)
    padding : columns on each side that were never encoded; None if the limits aren't given
    spacing : (slice thickness, H, W) in mm; None if a field of view isn't given or is 0
    """

    encoded: tuple[int, int]
    recon: tuple[int, int]
    padding: tuple[int, int] | None
    spacing: tuple[float, float, float] | None


def read_header(path: Path, text: Any, width: int) -> Header:
    """Read the header of a k-space file.

    Parameters
    ----------
    path : of the file, for messages
    text : the header's XML: bytes, a text, or an array of one
    width : columns of k-space

    Raises
    ------
    InputError
        Naming what is wrong.
    """
    try:
        xml = one_text(text).lstrip("\ufeff").encode("utf-8", "replace")
        if len(xml) > MOST_BYTES or b"<!" in xml.replace(b"<!--", b"").replace(b"<![CDATA[", b""):
            raise InputError(
                path, f"ismrmrd_header: {len(xml):,} bytes of XML", f"at most {MOST_BYTES:,} without definitions"
            )
        root = ElementTree.fromstring(xml, ElementTree.XMLParser(encoding="utf-8"))
    except (ElementTree.ParseError, IndexError, RecursionError) as error:
        raise InputError(path, f"ismrmrd_header: not XML ({error})") from None
    encoded, recon = (_matrix(path, root, space) for space in ("encodedSpace", "reconSpace"))
    field = [_number(path, root, f"reconSpace/fieldOfView_mm/{axis}", False) for axis in "zxy"]
    if min((f for f in field if f is not None), default=0) < 0:
        raise InputError(path, f"ismrmrd_header: field of view {field} mm (z, x, y)", "sizes above 0")
    points = (max(_number(path, root, "reconSpace/matrixSize/z", False) or 1, 1), *recon)
    spacing = tuple(f / n for f, n in zip(field, points, strict=True)) if all(field) and min(field) > 0 else None
    if spacing and not 1 / LARGEST_MM < min(spacing) <= max(spacing) < LARGEST_MM:
        raise InputError(path, f"ismrmrd_header: voxels of {spacing} mm", f"1/{LARGEST_MM} to {LARGEST_MM} mm")
    limits = "encodingLimits/kspace_encoding_step_1"
    if root.find(_within(limits)) is None:
        return Header(encoded, recon, None, spacing)
    center, last = (int(_number(path, root, f"{limits}/{name}")) for name in ("center", "maximum"))
    left = encoded[1] // 2 - center
    right = width - (left + last + 1)
    if left < 0 or right < 0 or left + right >= width:
        raise InputError(
            path,
            f"ismrmrd_header: encodes {encoded[1]} lines with center {center} and last {last}, which do not fit into "
            f"the {width} columns of kspace",
        )
    return Header(encoded, recon, (left, right), spacing)


def _within(place: str) -> str:
    """A path below the first encoding, in any name space."""
    return "/".join(f"{{*}}{name}" for name in ("encoding", *place.split("/")))


def _matrix(path: Path, root: ElementTree.Element, space: str) -> tuple[int, int]:
    x, y = (int(_number(path, root, f"{space}/matrixSize/{axis}")) for axis in "xy")
    if min(x, y) < 1:
        raise InputError(path, f"ismrmrd_header: {space}: matrix {x}×{y}", "at least 1×1")
    return x, y


def _number(path: Path, root: ElementTree.Element, place: str, needed: bool = True) -> float | None:
    text = root.findtext(_within(place))
    if text is None and not needed:
        return None
    try:
        value = float(text)
        if math.isfinite(value):
            return value
    except (TypeError, ValueError):
        pass
    told = "is missing" if text is None else f"is {text!r}, expected a number"
    raise InputError(path, f"ismrmrd_header: not a valid ISMRMRD header: encoding/{place} {told}")


def header_of(
    shape: tuple[int, int],
    spacing: tuple[float, float, float] | None,
    coils: int,
    image: tuple[int, int] | None = None,
) -> bytes:
    """A valid ISMRMRD header for Cartesian slices.

    Parameters
    ----------
    shape : (readout, phase encode)
    spacing : (from slice to slice, H, W) in mm; None: not known, the field of view is 0
    coils : at least 1
    image : its (H, W), where not all that is sampled is looked at; None: `shape`
    """
    xsd = load_ismrmrd().xsd
    thickness, height, width = spacing or (0.0, 0.0, 0.0)
    encoded, recon = (
        xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=rows, y=columns, z=1),
            fieldOfView_mm=xsd.fieldOfViewMm(x=rows * height, y=columns * width, z=thickness),
        )
        for rows, columns in (shape, image or shape)
    )
    limits = xsd.encodingLimitsType(
        kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=shape[1] - 1, center=shape[1] // 2)
    )
    encoding = xsd.encodingType(
        encodedSpace=encoded, reconSpace=recon, encodingLimits=limits, trajectory=xsd.trajectoryType.CARTESIAN
    )
    return xsd.ToXML(
        xsd.ismrmrdHeader(
            acquisitionSystemInformation=xsd.acquisitionSystemInformationType(receiverChannels=coils),
            experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=127_740_000),
            encoding=[encoding],
        )
    ).encode()
