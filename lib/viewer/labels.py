"""A view as lines of panels: their labels in HTML, and the same as a still picture. No widgets."""

from collections.abc import Mapping, Sequence
from html import escape
from numbers import Integral

from matplotlib.figure import Figure

from lib import InputError, plots
from lib.viewer.complex_parts import LOGARITHMIC
from lib.viewer.pixels import CLASS_COLORS, GAP
from lib.viewer.slice_model import SliceModel
from lib.viewer.view import Tile, View

TEXT = "line-height:1.35;overflow-wrap:anywhere;color:var(--jp-ui-font-color1,inherit)"


def first_view(slices: SliceModel, start: int | None, window: tuple[float, float] | None, gain: float) -> View:
    """What is shown first.

    Parameters
    ----------
    slices : what can be
    start : number of the slice; None: the middle one
    window : (low, high); None: see `SliceModel.window`
    gain : of the errors, above 0

    Raises
    ------
    InputError
        For a slice that isn't there, and for what is no gain.
    """
    if not isinstance(gain, int | float) or not gain > 0:
        raise InputError("SliceViewer", f"gain is {gain!r}", "more than 0")
    if start is not None and not isinstance(start, Integral):
        raise InputError("SliceViewer", f"start is {start!r}", "a slice's number")
    start = slices.shape[0] // 2 if start is None else start
    if not 0 <= start < slices.shape[0]:
        raise InputError("SliceViewer", f"slice {start}", f"0 to {slices.shape[0] - 1}")
    return View(start, slices.planes[0], slices.window(window), gain, slices.parts[0])


def lines(tiles: dict[str, Tile], most: int) -> list[dict[str, Tile]]:
    """Tiles in lines of nearly the same length, `most` at most."""
    across, items = -(-len(tiles) // -(-len(tiles) // most)), list(tiles.items())
    return [dict(items[i : i + across]) for i in range(0, len(items), across)]


def labels_of(cells: Mapping[str, str], count: int, width: int) -> str:
    """Labels over a line of panels, in HTML.

    Parameters
    ----------
    cells : {name: note}
    count : panels in a line
    width : of the picture beneath, pixels
    """
    grid = f"display:grid;grid-template-columns:repeat({count},minmax(0,1fr));column-gap:{100 * GAP / width}%"
    texts = (f"<div><b>{_unbroken(name)}</b><br><small>{_pieces(note)}</small></div>" for name, note in cells.items())
    return f'<div style="{grid};{TEXT};text-align:center;margin-top:8px">{"".join(texts)}</div>'


def _unbroken(name: str) -> str:
    """A name that breaks, if it must, before the sign of a difference and not behind it."""
    return escape(name).replace(" ×", "\u00a0×").replace("− ", "−\u00a0")


def _pieces(note: str) -> str:
    """The parts of a note, each kept together where it fits, without a dot at the end of a line."""
    parts = (f'<span style="display:inline-block;margin:0 .5em">{escape(part)}</span>' for part in note.split(" · "))
    return "".join(parts) if note else ""


def status(text: str, style: str = "") -> str:
    """A line of HTML that screen readers announce."""
    return f'<div role="status" style="{TEXT};{style}">{escape(text)}</div>'


def caption(slices: SliceModel, view: View) -> str:
    """What a view is, in a line: case, slice, plane, part, window."""
    place = f"{slices.unit if view.plane == slices.planes[0] else view.plane} {view.index}"
    low, high = slices.scale(view)
    unit = {"phase": " rad"}.get(view.part, " dB" if view.part in LOGARITHMIC else "")
    part = "" if view.part == slices.parts[0] else f" · {view.part}"
    return f"{slices.title}{': ' * bool(slices.title)}{place}{part} · window {_level(low, high - low)} to {_level(high, high - low)}{unit}"


def _level(value: float, width: float) -> str:
    """Three digits, whole numbers from 100 on, 0 for what is less than a thousandth of the window's width."""
    return "0" if abs(value) < width / 1000 else f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def legend(classes: Sequence[str]) -> str:
    """The color of every class but the first, in HTML."""
    return f'<div style="{TEXT}">' + "".join(
        f'<span style="margin-right:16px"><span style="color:rgb{color(c)}">■</span> {escape(name)}</span>'
        for c, name in enumerate(classes[1:])
    ) + "</div>"  # fmt: skip


def color(number: int) -> tuple[int, ...]:
    """Red, green and blue of a class, which is its number less one."""
    return tuple(map(int, CLASS_COLORS[number % len(CLASS_COLORS)]))


def figure(slices: SliceModel, view: View) -> Figure:
    """A view as a still picture, as wide as a page."""
    tiles = slices.tiles(view)
    notes = {name: note for name, note in slices.notes(view, tiles).items() if tiles[name].pixels is not None}
    panels = {name: _reason(tile) if tile.pixels is None else tile.pixels for name, tile in tiles.items()}
    return plots.montage(
        panels, columns=len(lines(tiles, view.across)[0]), title=caption(slices, view), notes=notes,
        classes=slices.classes if slices.overlays else (),
    )  # fmt: skip


def sharp(picture: Figure, width: int) -> float:
    """The dots per inch at which each pixel of a `figure` is drawn at least twice, unblurred.

    Parameters
    ----------
    picture : the figure
    width : of its tiles, pixels
    """
    shown = [image for ax in picture.axes for image in ax.images]
    for image in shown:
        image.set_interpolation("nearest")
    picture.draw_without_rendering()  # lays out
    return picture.dpi * max([1, *(2 * width / image.axes.get_window_extent().width for image in shown)])


def _reason(tile: Tile) -> str | None:
    return tile.note.removeprefix("n/a").removeprefix(": ") or None
