"""Scroll through the slices of several volumes side by side: one slider, one window, one picture."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from lib import RUNS, plots
from lib.evaluation import slice_scores
from lib.text import one_line
from lib.viewer.controls import SLIDER_CSS, Controls, bar, button, choice, message, tell
from lib.viewer.grid import ShapeError
from lib.viewer.labels import TEXT, caption, figure, first_view, labels_of, legend, lines, sharp
from lib.viewer.pixels import beside, png
from lib.viewer.slice_model import SliceModel
from lib.viewer.view import Tile, View

FRAMES_KEPT = 32  # pictures kept, of up to a megabyte each


class SliceViewer(ipywidgets.VBox):
    """A slider over slices, and under it every volume's slice in one gray window, labeled above.

    All volumes have one shape and, by their affines, one place, else the viewer says so and offers to resample. Pixels
    that aren't finite in float32 are blue and counted. Of complex data magnitude (also in dB), phase, real and
    imaginary part and k-space are shown, of real data their spectrum. What can't be shown is told in the viewer, in one
    line, not raised; `show(..., interactive=False)` raises it. Attributes `slider`, `labels` (HTML) and `images` (PNG),
    one of each per row of panels, are the widgets.

    Parameters
    ----------
    volumes : {name: volume}, (S, H, W) numpy, torch or h5py, real or complex, or the path of a NIfTI, HDF5
        ("file.h5:case/output") or .npy file; bool is a mask, also (W,) or (H, W), white where True; None or a text if
        there is none, shown as "n/a: text"
    start : the first slice; None: the middle one
    window : (low, high); None: by "truth"
    gain : of the errors
    save_to : the folder for "Save PNG"; None: runs/views
    **settings : of `lib.viewer.slice_model.SliceModel`: error_of, overlays, classes, unit, planes, spacing, title,
        scores …
    """

    def __init__(
        self, volumes: Mapping[str, Any], *, start: int | None = None, window: tuple[float, float] | None = None,
        gain: float = 5, save_to: Path | str | None = None, **settings: Any,
    ):  # fmt: skip
        self.save_to, self.message = Path(save_to or RUNS / "views"), message()
        super().__init__()
        self.add_class("slice-viewer")
        self._build(volumes, start, window, gain, settings)

    def _build(self, volumes, start, window, gain, settings) -> None:
        try:
            self.slices = SliceModel(volumes, **settings)
            self._arrange(first_view(self.slices, start, window, gain))
        except Exception as error:  # a value that nothing can be made of, a file that can't be read
            tell(self.message, one_line(error))
            self.children = [self.message]
            if isinstance(error, ShapeError):
                print(one_line(error))  # an executed notebook keeps it
                again = lambda _: self._build(volumes, start, window, gain, settings | {"resample": True})  # noqa: E731
                self.children = [self.message, button("Resample to one grid", again)]

    def _arrange(self, view: View) -> None:
        tiles = self.slices.tiles(view)
        tell(self.message, "")
        self.frame = lru_cache(FRAMES_KEPT)(self._frame)
        self.lines = [_line() for _ in tiles]  # as many as there may be
        self.labels, self.images = zip(*self.lines, strict=True)
        self.caption = ipywidgets.HTML(layout={"margin": "0"})
        self.caption.add_class("slice-caption")
        self.controls = Controls(self.slices, view, lambda view: self._try(self._show, view))
        self.slider = self.controls.slider
        save = button("Save PNG", self._save, "Write what is shown now as a picture")
        bars = [bar(widgets) for widgets in ([*self.controls.tools, save], self._jumps(view)) if widgets]
        pictures = [widget for line in self.lines for widget in line]
        scroll = ipywidgets.HBox(self.controls.scroll) if len(self.controls.scroll) > 1 else self.slider
        sheet = ipywidgets.HTML(SLIDER_CSS, layout={"display": "none"})
        self.children = [sheet, scroll, *bars, self.controls.drawer, self.message, self.caption, *pictures]
        self._try(self._show, view)

    def _jumps(self, view: View) -> list[ipywidgets.Widget]:
        """A choice of what to rank by, and a button each for the worst, median and best slice; nothing without scores."""
        try:
            scores = self.slices.scores(view.index)
        except Exception:  # told by `_show`
            return []
        options = {f"{panel}: {metric}": (panel, metric) for panel, ms in scores.items() for metric in ms}
        if not options or self.slices.shape[0] == 1:
            return []
        outputs = [output for output, _ in self.slices.errors.values() if output in scores]
        first = outputs[0] if outputs else list(scores)[-1]
        rank_by = choice("rank by", options, (first, next(iter(scores[first]))), 320)

        def jump(place: Callable[[int], int]) -> None:
            tell(self.message, "scoring every slice …")
            order = slice_scores.ranked(self.slices.scores, self.slices.shape[0], *rank_by.value)
            tell(self.message, "" if order else "no slice has this score")
            if order:
                self.controls.go(self.slices.planes[0], order[place(len(order))])

        places = {"worst": lambda n: 0, "median": lambda n: n // 2, "best": lambda n: n - 1}
        buttons = (button(n, lambda _, p=p: self._try(jump, p), f"Go to the {n} slice") for n, p in places.items())
        return [rank_by, *buttons]

    def _try(self, call: Callable[[Any], None], value: Any) -> None:
        """Calls, and tells in a line what it fails with, such as a file that was closed meanwhile."""
        try:
            call(value)
        except Exception as error:
            tell(self.message, one_line(error))

    def _show(self, view: View) -> None:
        """Images first, then their scores, which take longer than a picture."""
        frame, key = self.frame(view), legend(self.slices.classes) if self.slices.overlays else ""
        self.caption.value = f'<div style="{TEXT};opacity:.75">{escape(caption(self.slices, view))}</div>{key}'
        for i, line in enumerate(self.lines):
            picture, _, width = frame[i] if i < len(frame) else (line[1].value, {}, 0)
            for widget in line:
                widget.layout.width, widget.layout.display = f"{width}px", None if i < len(frame) else "none"
            line[1].value = picture
        for (labels, _), (_, tiles, width) in zip(self.lines, frame, strict=False):
            labels.value = labels_of(self.slices.notes(view, tiles), max(len(t) for _, t, _ in frame), width)

    def _frame(self, view: View) -> list[tuple[bytes, dict[str, Tile], int]]:
        """A view in lines of (PNG, its tiles, width in pixels), all of one scale."""
        drawn, (height, width) = [], self.slices.shown(view)
        rows = lines(self.slices.tiles(view), view.across)
        for line in rows:
            pixels = beside([t.pixels for t in line.values()] + [None] * (len(rows[0]) - len(line)), height, width)
            drawn.append((png(pixels), line, pixels.shape[1]))
        return drawn

    def _save(self, _: Any) -> None:
        view = self.controls.view()
        words = (self.slices.title, view.plane, view.part, f"{view.index:03d}", time.strftime("%Y%m%d-%H%M%S"))
        name = re.sub(r"[^\w-]+", "_", "_".join(filter(None, words))) + ".png"
        try:
            picture = self.static()
            saved = plots.save(picture, self.save_to / name, sharp(picture, self.slices.shown(view)[1]))
            tell(self.message, f"saved {saved}")
        except OSError as error:
            tell(self.message, f"not saved: {error}")

    def close(self) -> None:
        """Frees the volumes: all controls go, those too that are not to be seen."""
        for widget in (*(self.controls.all if hasattr(self, "controls") else ()), *_below(self)):
            widget.close()
        super().close()

    def static(self) -> Figure:
        """What is shown now, as a picture."""
        return figure(self.slices, self.controls.view())


def _below(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    for child in getattr(widget, "children", ()):
        yield from (*_below(child), child)


def _line() -> tuple[ipywidgets.HTML, ipywidgets.Image]:
    """Labels and the picture beneath them."""
    fit = {"max_width": "100%", "margin": "0"}
    labels, image = ipywidgets.HTML(layout=fit), ipywidgets.Image(format="png", layout=fit)
    labels.add_class("slice-labels")
    image.add_class("slice-image")
    return labels, image


def show(
    volumes: Mapping[str, Any], interactive: bool, start: int | None = None, window: tuple[float, float] | None = None,
    gain: float = 5, save_to: Path | str | None = None, **settings: Any,
) -> SliceViewer | Figure:  # fmt: skip
    """A live `SliceViewer`, or its first picture and no widget.

    Parameters
    ----------
    volumes : see `SliceViewer`
    interactive : whether it is live
    start, window, gain, save_to : see `SliceViewer`
    **settings : of `lib.viewer.slice_model.SliceModel`: error_of, overlays, classes, unit, planes, spacing, title,
        scores …

    Raises
    ------
    InputError
        For what can't be shown, if it isn't live.
    """
    if interactive:
        return SliceViewer(volumes, start=start, window=window, gain=gain, save_to=save_to, **settings)
    slices = SliceModel(volumes, **settings)
    return figure(slices, first_view(slices, start, window, gain))
