"""An MRD stream as a scanner sends it (ISMRM Raw Data, version 2): acquisitions to k-space, and images back.

By `mrd`, the format's own library. A stream is a header, then acquisitions; images go out as they are reconstructed.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mrd
import numpy as np

from lib import InputError
from lib.data.formats.lines import (
    CHOSEN,
    Encoding,
    Line,
    check_directions,
    encoding_of,
    noise_of,
    number_of_coils,
    reader,
    sort,
)  # fmt: skip
from lib.data.formats.record import KspaceScan

NAME = Path("stream")
PLACE = {
    "position": "position",
    "line_dir": "read_dir",
    "col_dir": "phase_dir",
    "slice_dir": "slice_dir",
}  # of an image
FLAGS = mrd.AcquisitionFlags
NO_IMAGE = (
    FLAGS.IS_NAVIGATION_DATA | FLAGS.IS_PHASECORR_DATA | FLAGS.IS_HPFEEDBACK_DATA | FLAGS.IS_DUMMYSCAN_DATA
    | FLAGS.IS_RTFEEDBACK_DATA | FLAGS.IS_SURFACECOILCORRECTIONSCAN_DATA
)  # fmt: skip


class Series(NamedTuple):
    """The lines of one contrast, phase, repetition and set.

    Parameters
    ----------
    scan : its k-space
    at : number by counter
    first : by slice, the head of its first readout
    """

    scan: KspaceScan
    at: dict[str, int]
    first: list[mrd.AcquisitionHeader]


def series(header: mrd.Header | None, items: Iterable[Any]) -> Iterator[Series]:
    """The series of a stream, when it has ended.

    Parameters
    ----------
    header : of the stream
    items : what it holds; of it the acquisitions

    Raises
    ------
    InputError
        Without a header or acquisitions, for other than Cartesian ones and EPI.
    """
    if header is None or not header.encoding:
        raise InputError(NAME, "no header with an encoding", "one before the acquisitions")
    encoding = _encoding(header.encoding[0])
    every = [item.value for item in items if isinstance(item, mrd.StreamItem.Acquisition)]
    noise = [a for a in every if a.head.flags & FLAGS.IS_NOISE_MEASUREMENT]
    used = [a for a in every if not a.head.flags & (FLAGS.IS_NOISE_MEASUREMENT | NO_IMAGE)]
    check_directions(NAME, any(a.head.flags & FLAGS.IS_REVERSE for a in used))
    if not used:
        raise InputError(NAME, "no acquisition of an image", "at least one")
    coils = number_of_coils(NAME, (len(a.data) for a in used))
    lines = [_line(number, acquisition) for number, acquisition in enumerate(used)]
    scans = sorted({tuple(line.at[name] for name in CHOSEN) for line in lines})
    dwell = [a.head.sample_time_us or 1.0 for a in (*noise[:1], used[0])]
    of_noise = noise_of([a.data for a in noise], dwell[0] / dwell[-1])

    def data(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        return (used[number].data for number in numbers)

    for chosen in scans:
        at = dict(zip(CHOSEN, chosen, strict=True))
        found = sort(NAME, [line for line in lines if all(line.at[k] == v for k, v in at.items())], encoding, at)
        read, slices = reader(found, encoding, coils, data, of_noise.white)
        shape = (slices, coils, encoding.recon[0], encoding.encoded[1])
        heads = [used[next(i.number for key, (i, *_) in found.lines.items() if key[0] == n)].head for n in found.slices]
        told = (*found.told, of_noise.told)
        yield Series(KspaceScan(NAME, "MRD stream", shape, read, told, found.mask, of_noise.covariance), at, heads)


def images(volume: np.ndarray, of: Series, header: mrd.Header, index: int) -> Iterator[mrd.StreamItem]:
    """A series' images, a slice each, where its lines said that it lies.

    Parameters
    ----------
    volume : float (slices, h, w), readout along h
    of : what it was made of
    header : of the stream
    index : of the series among those that go out
    """
    field = header.encoding[0].recon_space.field_of_view_mm
    for s, image in enumerate(volume):
        source = of.first[min(s, len(of.first) - 1)]
        head = mrd.ImageHeader(
            image_type=mrd.ImageType.MAGNITUDE, slice=s, image_index=s, image_series_index=index, **of.at
        )
        head.field_of_view[:] = field.x, field.y, field.z
        for name, of_readout in PLACE.items():
            getattr(head, name)[:] = getattr(source, of_readout)
        yield mrd.StreamItem.ImageFloat(mrd.Image(head=head, data=np.ascontiguousarray(image, np.float32)[None, None]))


def _line(number: int, acquisition: mrd.Acquisition) -> Line:
    head, idx = acquisition.head, acquisition.head.idx
    at = {name: int(getattr(idx, name) or 0) for name in ("slice", "contrast", "phase", "repetition", "set", "average")}
    at |= {"partition": int(idx.kspace_encode_step_2 or 0), "line": int(idx.kspace_encode_step_1 or 0)}
    center = acquisition.data.shape[1] // 2 if head.center_sample is None else int(head.center_sample)
    calibration = bool(head.flags & FLAGS.IS_PARALLEL_CALIBRATION)
    return Line(at, center, calibration, number, tuple(map(float, head.position)))


def _encoding(encoding: mrd.EncodingType) -> Encoding:
    if encoding.trajectory != mrd.Trajectory.CARTESIAN:
        raise InputError(NAME, f"a {encoding.trajectory.name.lower()} trajectory", "cartesian")
    spaces = (encoding.encoded_space, encoding.recon_space)
    if any(space is None or space.matrix_size is None for space in spaces):
        raise InputError(NAME, "no matrix sizes in its header", "those of the encoded and the recon space")
    encoded, recon = ((s.matrix_size.x, s.matrix_size.y, s.matrix_size.z) for s in spaces)
    wide = [space.field_of_view_mm.x if space.field_of_view_mm else 0 for space in spaces]
    limits = encoding.encoding_limits
    steps = (getattr(limits, f"kspace_encoding_step_{n}", None) for n in (1, 2))
    return encoding_of(NAME, encoded, recon, wide, [step.center if step else None for step in steps])
