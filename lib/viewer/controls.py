"""The viewer's controls: what can be seen, and how it is painted. All have labels and work by the keyboard."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

from lib.viewer.complex_parts import WINDOWED
from lib.viewer.labels import status
from lib.viewer.slice_model import SliceModel
from lib.viewer.view import CMAPS, View

GAINS = (1, 2, 5, 10, 20, 50)
SLIDER_CSS = """<style>
.choice .widget-readout { flex: none; max-width: none; overflow: visible; text-align: left; pointer-events: none; }
.choice .slider-container { min-width: 90px; }
</style>"""
STYLE = {"description_width": "initial"}


def message() -> ipywidgets.HTML:
    """A line for what the reader must know; `tell` fills it."""
    return ipywidgets.HTML(layout={"margin": "0"})


def tell(line: ipywidgets.HTML, text: str) -> None:
    """Shows a text in a `message` line."""
    line.value = status(text, "border-left:4px solid var(--jp-warn-color1,#E69F00);padding:4px 10px") if text else ""


def button(name: str, call: Callable[[Any], None], tooltip: str = "") -> ipywidgets.Button:
    """A button as wide as its name, which calls `call` with itself."""
    widget = ipywidgets.Button(description=name, tooltip=tooltip, layout={"width": "auto", "align_self": "flex-start"})
    widget.on_click(call)
    return widget


def choice(
    name: str, options: Sequence[Any] | Mapping[str, Any], value: Any, width: int = 250
) -> ipywidgets.SelectionSlider:
    """A labeled slider through options; a dropdown's keys would be Lab's own shortcuts.

    Parameters
    ----------
    name : its label
    options : values, or {name: value}
    value : chosen at first
    width : at least, pixels
    """
    options = list(options.items()) if isinstance(options, Mapping) else list(options)
    slider = ipywidgets.SelectionSlider(description=name, options=options, value=value, style=STYLE)
    slider.layout = {"min_width": f"{width}px", "max_width": "calc(100% - 4px)", "align_self": "flex-start"}
    slider.add_class("choice")
    return slider


def buttons(name: str, options: Sequence[str], value: str) -> ipywidgets.HBox:
    """A choice of few, each with a button, after a name; the last child holds the value.

    Parameters
    ----------
    name : its label
    options : what stands on the buttons
    value : chosen at first
    """
    toggles = ipywidgets.ToggleButtons(
        options=options, value=value, layout={"width": "auto"}, style={"button_width": "auto"},
        tooltips=[f"{name}: {option}" for option in options],
    )  # fmt: skip
    return labeled(name, toggles)


def labeled(name: str, widget: ipywidgets.Widget) -> ipywidgets.HBox:
    """A label and, beside it, a widget that has none of its own or would put it above."""
    return ipywidgets.HBox([ipywidgets.Label(name), widget], layout={"align_items": "center"})


def bar(widgets: Sequence[ipywidgets.Widget]) -> ipywidgets.Box:
    """Controls in a line, which wraps where it is narrow."""
    return ipywidgets.Box(
        list(widgets), layout={"flex_flow": "row wrap", "align_items": "center", "grid_gap": "2px 8px"}
    )


class Controls:
    """Holds every control of a viewer.

    `scroll`: the slider (and a player for a cine). `tools`: what is used often. `drawer`: the rest, folded away.

    Parameters
    ----------
    slices : what is shown
    view : the first one
    changed : is called with the new view when a control moves
    """

    def __init__(self, slices: SliceModel, view: View, changed: Callable[[View], None]):
        self.slices, self.first, self.changed, self.busy = slices, view, changed, False
        self.links: list[ipywidgets.Widget] = []
        self.at = {plane: slices.count(plane) // 2 for plane in slices.planes} | {view.plane: view.index}
        self.slider = ipywidgets.IntSlider(view.index, 0, slices.shape[0] - 1, description=slices.unit, style=STYLE)
        self.slider.layout = {"width": "640px", "max_width": "calc(100% - 4px)"}  # less its margins
        self.slider.disabled = slices.shape[0] == 1
        self.slider.add_class("slice-slider")
        planes, parts = buttons("plane", slices.planes, view.plane), buttons("show", slices.parts, view.part)
        self.plane, self.part = planes.children[-1], parts.children[-1]
        self._painting()
        opener = ipywidgets.ToggleButton(
            description="Adjust", tooltip="Window, colors, zoom, panels", layout={"width": "auto"}
        )
        opener.observe(lambda change: setattr(self.drawer.layout, "display", None if change.new else "none"), "value")
        several = [n for n in slices.shape if n > 1]
        self.tools = [*([planes] if len(several) == 3 else []), parts, opener]
        self.player = self._player() if slices.unit == "frame" else None
        self.playing = labeled("play", self.player) if self.player else None
        self.scroll = [self.slider, self.playing] if self.player else [self.slider]
        moving = [self.slider, self.plane, self.part, *self.painting]
        for control in moving:
            control.observe(self._moved, "value")
        self.all = [*moving, *self.links]

    def _painting(self) -> None:
        """Window, gain, colors, overlays, zoom and panels."""
        slices, (dark, bright) = self.slices, self.first.window
        low, high = slices.limits(self.first.window)
        step = (bright - dark) / 200  # the first window lies on steps, or the browser would move it there
        wide = {"width": "390px", "max_width": "calc(100% - 4px)"}
        self.window = ipywidgets.FloatRangeSlider(
            value=self.first.window, min=dark - step * -(-(dark - low) // step),
            max=bright + step * -(-(high - bright) // step), step=step, description="window",
            readout_format=".3g", style=STYLE, layout=wide,
        )  # fmt: skip
        self.gain = choice("error ×", sorted({*GAINS, self.first.gain}), self.first.gain, 210)
        self.cmap = choice("colors", CMAPS, self.first.cmap)
        self.opacity = ipywidgets.FloatSlider(
            value=self.first.opacity, min=0, max=1, step=0.05, description="label opacity", style=STYLE
        )
        self.contours = ipywidgets.Checkbox(description="contours only", indent=False, layout={"width": "auto"})
        self.rows, self.columns = (
            ipywidgets.IntRangeSlider(value=(0, 1), min=0, max=1, description=f"zoom {name}", style=STYLE, layout=wide)
            for name in ("rows", "columns")
        )
        names = [*slices.volumes, *slices.errors]
        self.panels = {
            n: ipywidgets.Checkbox(True, description=n, indent=False, layout={"width": "auto"}) for n in names
        }
        self.across = choice("panels a line", range(1, len(names) + 1), min(self.first.across, len(names)))
        self.size = choice("size ×", (1, 2, 3), self.first.size, 210)
        self.painting = [self.window, self.gain, self.cmap, self.opacity, self.contours, self.rows, self.columns]
        self.painting += [self.across, self.size]
        self.painting += self.panels.values()
        labeled = [self.opacity, self.contours] if slices.overlays else []
        reset = button("Reset", lambda _: self.reset(), "Window, colors, zoom and panels as at first")
        self.drawer = ipywidgets.VBox(
            [
                bar([self.window, *([self.gain] if slices.errors else []), self.cmap]), *([bar(labeled)] if labeled else []),
                bar([self.rows, self.columns, reset]), bar([self.across, self.size]),
                bar([ipywidgets.Label("panels"), *self.panels.values()]),
            ],
            layout={"display": "none", "border": "1px solid var(--jp-border-color2, #ccc)", "padding": "6px 10px"},
        )  # fmt: skip
        self._fit(self.first.plane)

    def _player(self) -> ipywidgets.Play:
        player = ipywidgets.Play(
            value=self.slider.value,
            min=0,
            max=self.slider.max,
            interval=100,
            description="play",
            repeat=True,
            show_repeat=False,
        )
        self.links = [
            ipywidgets.jslink((player, "value"), (self.slider, "value")),
            ipywidgets.jslink((self.slider, "max"), (player, "max")),
        ]
        return player

    def _fit(self, plane: str) -> None:
        """The zoom's sliders to a plane's rows and columns."""
        for box, size in zip((self.rows, self.columns), self.slices.size(plane), strict=True):
            box.max = size
            box.value = 0, size

    def view(self) -> View:
        """What the controls now ask for."""
        low, high = self.window.value
        window = (low, high) if high > low else (low, low + self.window.step)
        hidden = tuple(name for name, shown in self.panels.items() if not shown.value)
        return View(
            self.slider.value, self.plane.value, window, self.gain.value, self.part.value, self.cmap.value,
            self.opacity.value, self.contours.value, _box(self.rows), _box(self.columns), hidden, self.across.value, self.size.value,
        )  # fmt: skip

    def go(self, plane: str, index: int) -> None:
        """Shows a slice of a plane."""
        self.at[plane] = index
        self.plane.value = plane
        self.slider.value = index

    def reset(self) -> None:
        """Everything in the drawer as at first."""
        self.busy = True
        self.window.value, self.gain.value, self.cmap.value = self.first.window, self.first.gain, self.first.cmap
        self.opacity.value, self.contours.value = self.first.opacity, self.first.contours
        self.across.value, self.size.value = min(self.first.across, len(self.panels)), self.first.size
        for shown in self.panels.values():
            shown.value = True
        self._fit(self.plane.value)
        self.busy = False
        self.changed(self.view())

    def _moved(self, change: Any) -> None:
        if self.busy:
            return
        if not any(shown.value for shown in self.panels.values()):
            change.owner.value = True  # one panel stays
            return
        if change.owner is self.plane:
            self._turn(change.old, change.new)
        self.window.disabled, self.cmap.disabled = self.part.value not in WINDOWED, self.part.value == "phase"
        self.changed(self.view())

    def _turn(self, old: str, new: str) -> None:
        """The slider and the zoom to another plane, each plane at the slice that it was left at."""
        self.busy = True
        self.at[old], index = self.slider.value, self.at[new]
        self.slider.max = self.slices.count(new) - 1  # this clips the value
        self.slider.value, self.slider.disabled = index, self.slider.max == 0
        self.slider.description = (
            "line" if new != self.slices.planes[0] and self.slices.unit == "frame" else self.slices.unit
        )
        if self.player:  # only time is played
            self.player.playing = False
            self.playing.layout.display = None if new == self.slices.planes[0] else "none"
        self._fit(new)
        self.busy = False


def _box(slider: ipywidgets.IntRangeSlider) -> tuple[int, int]:
    """What a slider of the zoom asks for, one row or column at least."""
    low = min(slider.value[0], slider.max - 1)
    return low, max(low + 1, slider.value[1])
