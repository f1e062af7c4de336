"""DICOM files and folders of one series: sorted by where and when, in the units that their rescaling says.

Names, birth dates and numbers of people stay in the files: nothing of them is kept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lib import InputError
from lib.data.formats.record import LPS_TO_RAS, ImageScan
from lib.files import check_file, list_files
from lib.text import one_line, pluralize

NEAR = 1e-3  # of directions; of positions in mm
WHEN = ("TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "InstanceNumber")


class Frame(NamedTuple):
    """One image of a file.

    Parameters
    ----------
    path, number : where it lies, and which of the file's frames
    size : (H, W)
    position, directions : of its first pixel (3,) in mm, and of its rows and columns (6,); None: not known
    spacing : between rows, and between columns, in mm; None: not known
    thickness : in mm, or None
    slope, intercept : value = slope × stored + intercept
    when : what orders those of one position
    """

    path: Path
    number: int
    size: tuple[int, int]
    position: np.ndarray | None
    directions: np.ndarray | None
    spacing: tuple[float, float] | None
    thickness: float | None
    slope: float
    intercept: float
    when: tuple[float, ...]


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's mark."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read(path: Path, series: int | None = None) -> ImageScan:
    """The images of a file, or of one series of a folder.

    Parameters
    ----------
    path : of the file or folder
    series : its number, if a folder holds several

    Raises
    ------
    InputError
        Without images, for several series, color, slices of different sizes or directions, and pixels that can't be read.
    """
    heads = _chosen(path, _heads(path), series)
    frames = [frame for file, head in heads for frame in _frames(file, head)]
    _check_alike(path, frames)
    frames, times, told = _sorted(path, frames)
    head = heads[0][1]
    affine, spacing = _geometry(frames, times)
    if affine is None:
        told.append("no positions: in the order of their numbers, where it lies isn't known")
    slopes = {(frame.slope, frame.intercept) for frame in frames}
    if slopes != {(1.0, 0.0)}:
        told.append("rescaled by the file's slope and intercept" + ", which differ by slice" * (len(slopes) > 1))
    facts = {name: f"{float(head[tag].value):.4g} ms" for name, tag in (("TR", "RepetitionTime"), ("TE", "EchoTime"))
             if head.get(tag) not in (None, "")}  # fmt: skip
    if head.get("Modality"):
        facts = {"modality": str(head.Modality)} | facts
    return ImageScan(
        path, "DICOM", (len(frames), *frames[0].size), lambda i: _values(frames[i]), tuple(told), spacing, affine, times,
        facts=facts,
    )  # fmt: skip


def _heads(path: Path) -> list[tuple[Path, Any]]:
    """The headers of all images in a file or a folder, whatever their names."""
    import pydicom

    if not path.is_dir():
        check_file(path)
    files = [path] if not path.is_dir() else [p for p in list_files(path, ("",)) if p.name != "DICOMDIR"]
    heads = []
    for file in files:
        try:
            head = pydicom.dcmread(file, stop_before_pixels=True, force=not path.is_dir())
        except Exception as error:
            if not path.is_dir():
                raise InputError(file, f"can't be read as DICOM ({one_line(error)[:120]})") from None
            continue  # a readme among the images
        if head.get("Rows") and head.get("Columns"):
            heads.append((file, head))
    if not heads:
        raise InputError(path, "no DICOM images in it", "at least one file with rows and columns")
    return heads


def _chosen(path: Path, heads: Sequence[tuple[Path, Any]], series: int | None) -> list[tuple[Path, Any]]:
    """Those of one series."""
    known: dict[str, list[tuple[Path, Any]]] = {}
    for file, head in heads:
        known.setdefault(str(head.get("SeriesInstanceUID", "")), []).append((file, head))
    groups = sorted(known.values(), key=lambda group: (int(group[0][1].get("SeriesNumber") or 0), str(group[0][0])))
    numbers = [int(group[0][1].get("SeriesNumber") or 0) for group in groups]
    if series is None and len(groups) == 1:
        return groups[0]
    told = ", ".join(f"{n} ({pluralize(len(g), 'file')})" for n, g in zip(numbers[:12], groups, strict=False))
    if series is None:
        raise InputError(path, f"{len(groups)} series in one folder: {told}", "one", "series=… chooses by number")
    matching = [group for n, group in zip(numbers, groups, strict=True) if n == series]
    if len(matching) != 1:
        raise InputError(path, f"series: got {series}", f"one of {told}")
    return matching[0]


def _frames(path: Path, head: Any) -> list[Frame]:
    """The images of a file; of an enhanced one where each frame says it lies."""
    if int(head.get("SamplesPerPixel", 1)) != 1:
        raise InputError(path, f"colors ({head.get('PhotometricInterpretation')})", "gray values")
    each = head.get("PerFrameFunctionalGroupsSequence")
    shared = (head.get("SharedFunctionalGroupsSequence") or [None])[0]
    count = int(head.get("NumberOfFrames") or 1)
    try:
        return [_frame(path, head, n, (each[n] if each else None, shared)) for n in range(count)]
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(path, f"its header can't be used ({one_line(error)[:100]})") from None


def _frame(path: Path, head: Any, number: int, groups: tuple[Any, Any]) -> Frame:
    def find(tag: str, sequence: str) -> Any:
        for group in groups:
            if group is not None and sequence in group and tag in group[sequence][0]:
                return group[sequence][0].get(tag)
        return head.get(tag)

    def numbers(tag: str, sequence: str, count: int) -> np.ndarray | None:
        value = find(tag, sequence)
        return np.array(value, float) if value is not None and np.size(value) == count else None

    spacing = numbers("PixelSpacing", "PixelMeasuresSequence", 2)
    thickness = find("SpacingBetweenSlices", "PixelMeasuresSequence") or find("SliceThickness", "PixelMeasuresSequence")
    when = tuple(float(head.get(tag) or 0) for tag in WHEN)
    return Frame(
        path, number, (int(head.Rows), int(head.Columns)), numbers("ImagePositionPatient", "PlanePositionSequence", 3),
        numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6), None if spacing is None else tuple(spacing.tolist()),
        None if not thickness else abs(float(thickness)), float(find("RescaleSlope", "PixelValueTransformationSequence") or 1),
        float(find("RescaleIntercept", "PixelValueTransformationSequence") or 0), (*when, number),
    )  # fmt: skip


def _check_alike(path: Path, frames: Sequence[Frame]) -> None:
    first = frames[0]
    for frame in frames:
        if frame.size != first.size:
            raise InputError(frame.path, f"an image of {frame.size}", f"{first.size} as {first.path.name}")
        turned = (frame.directions is None) != (first.directions is None)
        if turned or (first.directions is not None and abs(frame.directions - first.directions).max() > NEAR):
            raise InputError(
                frame.path, "lies in another direction", f"one direction, as {first.path.name}: is it a localizer?"
            )


def _sorted(path: Path, frames: list[Frame]) -> tuple[list[Frame], int, list[str]]:
    """By time, then along the normal; how many times there are, and what is to be said."""
    if any(frame.position is None or frame.directions is None for frame in frames):
        return sorted(frames, key=lambda frame: frame.when), 1, []
    normal = np.cross(frames[0].directions[:3], frames[0].directions[3:])
    places: dict[float, list[Frame]] = {}
    for frame in frames:
        depth = float(normal @ frame.position)
        near = next((known for known in places if abs(known - depth) < NEAR), depth)
        places.setdefault(near, []).append(frame)
    counts = {len(found) for found in places.values()}
    if len(counts) > 1:
        raise InputError(path, f"positions with {min(counts)} to {max(counts)} images each", "as many at each position")
    (times,) = counts
    ordered = [sorted(places[depth], key=lambda frame: frame.when) for depth in sorted(places)]
    told = [f"{times} images at each position: taken as times"] if times > 1 else []
    steps = np.diff(sorted(places))
    if len(steps) and steps.max() - steps.min() > 0.01 * steps.mean():
        told.append(f"slices {steps.min():.3g} to {steps.max():.3g} mm apart: is one missing?")
    return [found[t] for t in range(times) for found in ordered], times, told


def _geometry(frames: Sequence[Frame], times: int) -> tuple[np.ndarray | None, tuple[float, float, float] | None]:
    """Affine of (slice, row, column, 1) to mm (right, front, head), and spacing."""
    first, last, count = frames[0], frames[len(frames) // times - 1], len(frames) // times
    if first.position is None or first.directions is None or first.spacing is None:
        return None, None
    normal = np.cross(first.directions[:3], first.directions[3:])
    step = (last.position - first.position) / (count - 1) if count > 1 else normal * (first.thickness or 1.0)
    affine = np.eye(4)
    affine[:3] = np.stack(
        [step, first.directions[3:] * first.spacing[0], first.directions[:3] * first.spacing[1], first.position], 1
    )
    return LPS_TO_RAS @ affine, (float(np.linalg.norm(step)), *first.spacing)


def _values(frame: Frame) -> np.ndarray:
    import pydicom

    try:
        stored = pydicom.dcmread(frame.path).pixel_array
    except Exception as error:  # no reader of its compression, or damaged
        raise InputError(frame.path, f"its pixels can't be read ({one_line(error)[:160]})") from None
    stored = stored[frame.number] if stored.ndim == 3 else stored
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return stored
    return stored.astype(np.float32) * np.float32(frame.slope) + np.float32(frame.intercept)
