"""A view as a still picture: the panels' pixels, painted as the browser paints them, and a figure of them. No widgets."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lib import InputError, plots
from lib.plots.panels import is_array, unavailable
from lib.viewer.complex_parts import DECIBELS, FOURIER, LOGARITHMIC, is_mask
from lib.viewer.pixels import lay, paint, resize
from lib.viewer.slice_model import SliceModel
from lib.viewer.view import PHASE_CMAP, SIGNED_CMAP, Tile, View

LEAST_HEIGHT, MOST_WIDTH, LINE_WIDTH = 260, 480, 960  # of a panel, up to which it grows, and of few panels in a line
ACROSS = 5  # panels in a line, at most


def first_view(slices: SliceModel, start: int | None, window: Any, gain: float) -> View:
    """What is shown first.

    Parameters
    ----------
    slices : what can be
    start : number of the slice; None: the middle one
    window : see `lib.viewer.windows.groups`
    gain : of the errors, above 0

    Raises
    ------
    InputError
        For a slice that isn't there, a window that is none, and for what is no gain.
    """
    if not isinstance(gain, int | float) or not 0 < gain < np.inf:
        raise InputError("SliceViewer", f"gain is {gain!r}", "more than 0")
    if start is not None and not isinstance(start, Integral):
        raise InputError("SliceViewer", f"start is {start!r}", "a slice's number")
    start = slices.shape[0] // 2 if start is None else int(start)
    if not 0 <= start < slices.shape[0]:
        raise InputError("SliceViewer", f"slice {start}", f"0 to {slices.shape[0] - 1}")
    slices.set_windows(window)
    at = start, slices.shape[1] // 2, slices.shape[2] // 2
    return View(at, slices.planes[0], tuple(slices.windows), gain, part=slices.parts[0])


def scale(slices: SliceModel, view: View, name: str) -> tuple[float, float]:
    """The values of a panel that are painted darkest and brightest."""
    if is_array(slices.volumes.get(name)) and is_mask(slices.volumes[name]):
        return 0.0, 1.0
    volume = slices.errors.get(name, (name, name))[1]
    low, high = window = view.windows[slices.groups.get(volume, 0)]
    top = max(map(abs, window))
    of_part = dict.fromkeys(LOGARITHMIC, DECIBELS) | dict.fromkeys(("real", "imaginary"), (-top, top))
    low, high = (of_part | {"phase": (-np.pi, np.pi)}).get(view.part, window)
    if name not in slices.errors:
        return low, high
    reach = (high - low) / view.gain
    return (-reach if view.signed else 0.0), reach


def tiles(slices: SliceModel, view: View) -> dict[str, Tile]:
    """Name (an error's with its gain) → what is painted, all of one size."""
    height, width, drawn = *shown(slices, view), {}
    for name, image in slices.images(view).items():
        label = f"{difference(slices, name, view)} ×{view.gain:g}" if name in slices.errors else name
        notes = [slices.note(name)] if slices.note(name) else []
        if not is_array(image):
            drawn[label] = Tile(None, unavailable(image))
            continue
        if bad := np.count_nonzero(~np.isfinite(image)):
            notes.append(f"{bad} px not finite")
        pixels = paint(image, *scale(slices, view, name), _cmap(slices, view, name))
        if name in slices.overlays and view.part not in FOURIER:
            classes = slices.cut(slices.overlays[name], view.plane, slices.index(view))
            pixels = lay(pixels, classes, view.opacity, view.contours, slices.ignore_index)
        pixels = resize(pixels, height, width)
        drawn[label] = Tile(pixels, " · ".join(notes))
    return drawn


def _cmap(slices: SliceModel, view: View, name: str) -> str:
    if name in slices.errors:
        return SIGNED_CMAP if view.signed else plots.ERROR_CMAP
    return "gray" if is_mask(slices.volumes[name]) else PHASE_CMAP if view.part == "phase" else view.cmap


def difference(slices: SliceModel, error: str, view: View) -> str:
    """An error's name: of complex data it is the magnitudes' difference that is shown, not the difference's magnitude."""
    names = [f"|{n}|" if view.part == "magnitude" else n for n in slices.errors[error]]
    return " − ".join(names) if view.signed else f"|{' − '.join(names)}|"


def notes(slices: SliceModel, view: View, painted: Mapping[str, Tile]) -> dict[str, str]:
    """What stands beneath each tile's name: a volume's scores in a slice of the first plane, then the tile's own note."""
    first = view.plane == slices.planes[0] and view.part == slices.parts[0]
    scored = slices.scored(slices.index(view)) if first else {}
    return {name: " · ".join(filter(None, (scored.get(name), tile.note))) for name, tile in painted.items()}


def shown(slices: SliceModel, view: View) -> tuple[int, int]:
    """Height and width of a tile: pixels square in millimeters, enlarged by a whole factor to `LEAST_HEIGHT` rows if the width allows it."""
    axis = slices.planes.index(view.plane)
    size, spacing = ([n for i, n in enumerate(each) if i != axis] for each in (slices.shape, slices.spacing))
    if slices.unit == "frame" and axis > 0:
        size, spacing = size[::-1], spacing[::-1]
    height, width = (n * s / min(spacing) for n, s in zip(size, spacing, strict=True))
    panels = min(ACROSS, len(slices.volumes) + len(slices.errors) - len(view.hidden))
    most = max(MOST_WIDTH, LINE_WIDTH / panels)
    factor = int(max(1, min(-(-LEAST_HEIGHT // height), most // width)))
    return max(1, round(height * factor)), max(1, round(width * factor))


def caption(slices: SliceModel, view: View) -> str:
    """What a view is, in a line: case, slice, plane, part, window."""
    place = slices.unit if view.plane == slices.planes[0] else view.plane
    count = slices.shape[slices.planes.index(view.plane)]
    place = f"{place} {slices.index(view) + 1} of {count}" if count > 1 else ""
    unit = {"phase": " rad"}.get(view.part, " dB" if view.part in LOGARITHMIC else "")
    part = "" if view.part == slices.parts[0] else f" · {view.part}"
    names = [name for name in slices.groups if name not in view.hidden]
    windows = dict.fromkeys(scale(slices, view, name) for name in names) or {view.windows[0]: None}
    words = " or ".join(f"{_level(low, high - low)} to {_level(high, high - low)}" for low, high in windows)
    head = ": ".join(filter(None, (slices.title, place))) + part
    return f"{head}{' · ' * bool(head)}window {words}{unit}"


def _level(value: float, width: float) -> str:
    """Three digits, whole numbers from 100 on, 0 for what is less than a thousandth of the window's width."""
    text = "0" if abs(value) < width / 1000 else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text.replace("-", "−")


def figure(slices: SliceModel, view: View) -> Figure:
    """A view as a still picture, as wide as a page."""
    painted = tiles(slices, view)
    below = {name: note for name, note in notes(slices, view, painted).items() if painted[name].pixels is not None}
    panels = {name: _reason(tile) if tile.pixels is None else tile.pixels for name, tile in painted.items()}
    columns = -(-len(painted) // -(-len(painted) // ACROSS))
    return plots.montage(
        panels, columns=columns, title=caption(slices, view), notes=below,
        **{"classes": slices.classes, "ignore_index": slices.ignore_index} if slices.overlays else {},
    )  # fmt: skip


def _reason(tile: Tile) -> str | None:
    return tile.note.removeprefix("n/a").removeprefix(": ") or None
