"""What a viewer's kernel tells its browser: a description of the panels, and slices as raw numbers."""

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np

from lib import plots
from lib.plots.panels import is_array
from lib.viewer.complex_parts import FOURIER, is_mask, part_of
from lib.viewer.pixels import BAD, CLASS_COLORS, UNLABELED, colors
from lib.viewer.slice_model import SliceModel
from lib.viewer.view import CMAPS, PHASE_CMAP, SIGNED_CMAP, View

GAINS = (1, 2, 5, 10, 20, 50)
TABLES = (*CMAPS, plots.ERROR_CMAP, SIGNED_CMAP, PHASE_CMAP)
LEAST_SHARE = 16  # of a range, that a slice has to fill to have its steps from it
FPS = 10
MOST = float(np.finfo(np.float32).max)
Range = tuple[float, float]


class Detail(IntEnum):
    """How exactly a slice's numbers are sent: as bytes, as 16 bits, as float32."""

    COARSE, FINE, EXACT = range(3)


STEPS = {Detail.COARSE: 254, Detail.FINE: 65534}  # in a range; one more is not finite, where there are gaps


@cache
def tables() -> bytes:
    """The 256 colors of each of TABLES, three bytes each."""
    return b"".join(np.ascontiguousarray(colors(name)).tobytes() for name in TABLES)


def look(view: View) -> dict[str, Any]:
    """How a view is painted, as the browser keeps it."""
    return {
        "part": view.part, "windows": [list(window) for window in view.windows], "gain": view.gain,
        "signed": view.signed, "cmap": view.cmap, "opacity": view.opacity, "contours": view.contours, "smooth": False,
        "hidden": list(view.hidden), "pair": [], "mode": "", "curtain": 0.5, "fps": FPS,
    }  # fmt: skip


def place(view: View) -> dict[str, Any]:
    """Where a view is, as the browser keeps it."""
    return {"plane": view.plane, "at": list(view.at), "together": False, "zoom": 1, "center": [0.5, 0.5]}


def describe(slices: SliceModel, view: View) -> dict[str, Any]:
    """All that the browser has to know of the volumes before it asks for slices."""
    names = [name for name, volume in slices.volumes.items() if is_array(volume)]
    compared = [name for name in names if not is_mask(slices.volumes[name]) and not slices.overlays]
    errors = list(slices.errors.values())
    of = errors[0][0] if len(errors) == 1 else ""
    against = errors[0][1] if errors else ("truth" if "truth" in compared else (compared or [""])[-1])
    pair = errors[0] if errors else (names + names)[:2]
    return {
        "title": slices.title, "unit": slices.unit, "shape": list(slices.shape), "spacing": slices.millimeters,
        "affine": None if slices.grid.affine is None else np.asarray(slices.grid.affine).tolist(),
        "planes": [_plane(slices, name) for name in slices.planes], "panels": _panels(slices),
        "groupNames": slices.group_names(), "parts": list(slices.parts),
        "gains": sorted({*GAINS, view.gain}), "cmaps": list(TABLES), "plain": list(CMAPS), "error": plots.ERROR_CMAP,
        "signed": SIGNED_CMAP, "phase": PHASE_CMAP, "bad": BAD.tolist(), "gray": UNLABELED.tolist(),
        "palette": CLASS_COLORS.tolist(), "classes": slices.classes, "unlabeled": slices.ignore_index,
        "references": compared, "errorOf": [of, against], "look": look(view) | {"pair": list(pair)},
    }  # fmt: skip


def _plane(slices: SliceModel, name: str) -> dict[str, Any]:
    axis = slices.planes.index(name)
    rows, columns = (i for i in range(3) if i != axis)
    over_time = slices.unit == "frame" and axis > 0
    if over_time:
        rows, columns = columns, rows
    return {
        "name": name, "axis": axis, "rows": rows, "columns": columns, "flip": axis > 0 and not over_time,
        "size": [slices.shape[rows], slices.shape[columns]], "pixel": [slices.spacing[rows], slices.spacing[columns]],
    }  # fmt: skip


def _panels(slices: SliceModel) -> list[dict[str, Any]]:
    """Each panel: its name, of which volumes it is the error, its group, whether a mask or labeled, a note or reason."""
    panels = []
    for name in slices.panels():
        pair = slices.errors.get(name)
        volumes = [slices.volumes[n] for n in pair or (name,)]
        missing = not all(map(is_array, volumes))
        reason = None
        if missing:
            reason = next(f"no {n}" for n in pair if not is_array(slices.volumes[n])) if pair else volumes[0] or ""
        panels.append({
            "name": name, "of": list(pair) if pair else None, "group": slices.groups.get((pair or (name,))[-1], 0),
            "labeled": name in slices.overlays, "mask": not pair and not missing and is_mask(volumes[0]),
            "reason": reason, "note": slices.note(name),
        })  # fmt: skip
    return panels


def encode(slices: SliceModel, key: Sequence[Any], ranges: dict[tuple, Range]) -> tuple[dict[str, Any], bytes]:
    """A slice as the browser reads it: {key, size, type, low, step, gaps, complex, detail} and its numbers.

    Whole numbers that span at most 16 bits go as they are, others in STEPS of a range; exact ones as float32. Of complex
    numbers the real parts go first.

    Parameters
    ----------
    slices : the volumes
    key : [volume, plane, index, "image" (its numbers), "fourier" (decibels) or "label", detail]
    ranges : of each volume's steps, which are kept here: slices with the same ones are painted through the same table
    """
    name, plane, index, space, detail = key
    source = slices.overlays if space == "label" else slices.volumes
    cut = slices.cut(source[name], plane, index)
    about = {"key": list(key[:4]), "mask": cut.dtype == bool}
    if space == "fourier":
        cut = part_of(cut, FOURIER[1])
    about |= {"size": list(cut.shape), "complex": bool(np.iscomplexobj(cut)), "detail": Detail.EXACT}
    values = np.stack([cut.real, cut.imag]) if about["complex"] else cut
    if values.dtype == bool or (values.dtype.kind in "ui" and values.min() >= 0 and values.max() <= 255):
        return about | {"type": "uint8"}, values.astype(np.uint8).tobytes()
    if values.dtype.kind in "ui" and int(values.max()) - (low := int(values.min())) <= 65535:
        steps = (values.astype(np.int64) - low).astype(np.uint16)
        return about | {"type": "uint16", "low": low, "step": 1}, steps.tobytes()
    values = np.ascontiguousarray(values, np.float32)
    finite = np.isfinite(values)
    every = bool(finite.all())
    low, high = (float(f(values if every else values[finite])) if finite.any() else 0.0 for f in (np.min, np.max))
    if detail == Detail.EXACT or not finite.any() or high - low > MOST:
        return about | {"type": "float32"}, values.tobytes()
    if detail != Detail.COARSE:  # few steps are a slice's own
        low, high = _range(low, high, (name, space), ranges)
    count, kind = STEPS[detail], "uint8" if detail == Detail.COARSE else "uint16"
    step = (high - low) / count or 1.0
    scaled = ((values - np.float32(low)) * np.float32(1 / step) + np.float32(0.5)).clip(0, count)
    steps = (scaled if every else np.where(finite, scaled, count + 1)).astype(kind)
    about |= {"type": kind, "low": low, "step": step, "detail": detail, "gaps": not every}
    return about, steps.tobytes()


def _range(low: float, high: float, key: tuple, ranges: dict[tuple, Range]) -> Range:
    """The range of a slice's steps: its volume's, widened with room for the next ones, or its own if it fills too little."""
    known = ranges.setdefault(key, (low, high))
    if high - low < (known[1] - known[0]) / LEAST_SHARE:
        return low, high
    room = (high - low) / 4
    ranges[key] = low - room if low < known[0] else known[0], high + room if high > known[1] else known[1]
    return ranges[key]
