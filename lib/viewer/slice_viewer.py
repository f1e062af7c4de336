"""Scroll through the slices of several volumes side by side: one slider, one window, one picture."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from html import escape
from io import BytesIO
from typing import Any

import ipywidgets
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from lib import InputError, plots

HEIGHT, GAP, CLEAR = 260, 6, (1, 2, 3)  # a panel's least height and the gap in pixels; the colour made transparent
GRAY, ERROR = (np.array(colormaps[m](np.arange(256), bytes=True))[:, :3] for m in ("gray", plots.ERROR_CMAP))
COLORS = plots.CLASSES(np.arange(plots.CLASSES.N), bytes=True)[:, :3]
BAD = np.rint(255 * np.array(to_rgb(plots.BAD))).astype(np.uint8)


class _Slices:
    """Volumes (S, H, W) cut into named panels; no widgets. Parameters and errors: see `SliceViewer`."""

    def __init__(
        self,
        volumes: Mapping[str, Any],
        *,
        window: tuple[float, float] | None = None,
        error_of: tuple[str, str] | None = ("output", "truth"),
        gain: float = 5,
        notes: Callable[[int], Mapping[str, str]] | None = None,
        unit: str = "slice",
        overlays: Mapping[str, Any] | None = None,
        classes: Sequence[str] = (),
    ):
        self.unit, self.overlays, self.classes = unit, dict(overlays or {}), list(classes)
        self.volumes, self.notes = dict(volumes), notes or (lambda index: {})
        arrays = {name: volume for name, volume in volumes.items() if plots.is_array(volume)}
        if not arrays:
            found = f"n/a only ({', '.join(volumes)})" if volumes else "no volumes"
            raise InputError(f"SliceViewer: {found}, expected at least one volume (slices, H, W)")
        first = "truth" if "truth" in arrays else next(iter(arrays))
        self.shape = tuple(arrays[first].shape)
        if len(self.shape) != 3 or 0 in self.shape:
            raise InputError(f"SliceViewer: {first!r} has shape {self.shape}, expected (slices, H, W)")
        for name, shape in ((name, tuple(volume.shape)) for name, volume in arrays.items()):
            if shape != self.shape:
                raise InputError(f"SliceViewer: {name!r} has shape {shape}, expected {self.shape} like {first!r}")
        plots.check_names("SliceViewer, overlays", self.overlays, volumes)
        for name, volume in self.overlays.items():
            if tuple(volume.shape) != self.shape:
                raise InputError(
                    f"SliceViewer: the overlay of {name!r} has shape {volume.shape}, expected {self.shape}"
                )
        if not gain > 0:
            raise InputError(f"SliceViewer: gain is {gain}, expected more than 0")
        if error_of == ("output", "truth") and not set(error_of) <= set(volumes):
            error_of = None  # the default, and nothing to compare
        plots.check_names("SliceViewer, error_of", error_of or (), volumes)
        self.error_of = error_of
        self.errors = {f"|{error_of[0]} − {error_of[1]}|": gain} if error_of else {}
        s, h, w = (max(1, n // most) for n, most in zip(self.shape, (32, 256, 256), strict=True))  # enough for a window
        self.window = plots.window_of({name: volume[::s, ::h, ::w] for name, volume in arrays.items()}, window)

    def index(self, index: int | None) -> int:
        """The slice asked for, the middle one by default; InputError outside the volume."""
        index = self.shape[0] // 2 if index is None else index
        if not 0 <= index < self.shape[0]:
            raise InputError(f"SliceViewer: slice {index}, expected 0 to {self.shape[0] - 1}")
        return index

    def panels(self, index: int) -> dict[str, np.ndarray | str | None]:
        """Name → image (H, W), or the reason why there is none; the error last, |difference| without its gain."""
        panels = {n: plots.magnitude(v[index]) if plots.is_array(v) else v for n, v in self.volumes.items()}
        for error in self.errors:
            output, truth = (panels[name] for name in self.error_of)
            missing = [name for name in self.error_of if not plots.is_array(panels[name])]
            with np.errstate(invalid="ignore"):  # inf − inf is marked as not finite
                panels[error] = f"no {missing[0]}" if missing else abs(output - truth)
        return panels

    def figure(self, index: int | None = None) -> Figure:
        """One slice as a static picture."""
        i = self.index(index)
        return plots.montage(
            self.panels(i), self.window, None, f"{self.unit} {i}", errors=self.errors, notes=self.notes(i),
            labels={name: volume[i] for name, volume in self.overlays.items()}, classes=self.classes,
        )  # fmt: skip


def _paint(panel: np.ndarray, low: float, high: float, colors: np.ndarray) -> np.ndarray:
    """Image (H, W) → (H, W, 3) uint8: `low` to `high` through 256 colours, pixels that aren't finite in their own."""
    finite = np.isfinite(panel)
    level = np.where(finite, (panel - low) / (high - low), 0).clip(0, 1)
    return np.where(finite[..., None], colors[np.rint(255 * level).astype(np.uint8)], BAD)


def _lay(pixels: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 3) uint8, where a label (H, W) isn't 0 half in the colour of its class."""
    label = np.asarray(label)
    colors = COLORS[(label - 1) % len(COLORS)]
    return np.where(label[..., None] > 0, (pixels.astype(np.uint16) + colors) // 2, pixels).astype(np.uint8)


class SliceViewer(ipywidgets.VBox):
    """A slider over slices, and under it every volume's slice in one grey window, labelled above.

    volumes: {name: (S, H, W) numpy, torch or h5py, real or complex (magnitude); None or a text where there is none, shown
    as "n/a: text"}, all of one shape. window: (low, high), by default from "truth". error_of: the two volumes whose
    |difference| × gain stands last, on the window's width; None for no such panel. start: the first slice, by default
    the middle. notes: slice index → {panel: text such as "SSIM 0.95"}. unit: what the slider counts, such as
    "frame". overlays: {panel: (S, H, W) class numbers} laid over the images, each of `classes` but the first in its colour.
    Pixels that aren't finite are blue and counted.
    InputError: no volume, shapes that differ or aren't (S, H, W), unknown names, a slice outside, gain or window empty.
    Attributes `slider`, `image` (PNG), `labels` (HTML) are the widgets.
    """

    def __init__(self, volumes: Mapping[str, Any], *, start: int | None = None, **settings: Any):
        self.slices = _Slices(volumes, **settings)
        depth, height, width = self.slices.shape
        self.scale, self.count = -(-HEIGHT // height), len(self.slices.volumes) + len(self.slices.errors)
        self.width = self.count * (width * self.scale + GAP) - GAP
        self.frame = lru_cache(maxsize=128)(self._frame)
        self.slider = ipywidgets.IntSlider(self.slices.index(start), 0, depth - 1, description=self.slices.unit)
        self.slider.layout = {"width": "640px", "max_width": "calc(100% - 4px)"}  # less its margins
        self.slider.style.description_width, self.slider.disabled = "initial", depth == 1
        fit = {"width": f"{self.width}px", "max_width": "100%", "margin": "0"}
        self.image, self.labels = ipywidgets.Image(format="png", layout=fit), ipywidgets.HTML(layout=fit)
        super().__init__([self.slider, self.labels, self.image])
        for name in ("slider", "image", "labels"):
            getattr(self, name).add_class(f"slice-{name}")
        self.slider.observe(self._show, "value")
        self._show()

    def _show(self, change: Any = None) -> None:
        self.image.value, self.labels.value = self.frame(self.slider.value)

    def _frame(self, index: int) -> tuple[bytes, str]:
        """One slice as (PNG, labels in HTML): each panel enlarged by a whole factor to `HEIGHT` pixels or more."""
        (low, high), (_, height, width) = self.slices.window, self.slices.shape
        panels, notes = self.slices.panels(index), self.slices.notes(index)
        plots.check_names("SliceViewer, notes", notes, panels)
        canvas = np.full((height * self.scale, self.width, 3), CLEAR, np.uint8)
        cells = []
        for i, (name, panel) in enumerate(panels.items()):
            gain, note = self.slices.errors.get(name), notes.get(name, "")
            if plots.is_array(panel):
                pixels = _paint(panel, 0, (high - low) / gain, ERROR) if gain else _paint(panel, low, high, GRAY)
                if name in self.slices.overlays:
                    pixels = _lay(pixels, self.slices.overlays[name][index])
                left = i * (width * self.scale + GAP)
                canvas[:, left : left + width * self.scale] = pixels.repeat(self.scale, 0).repeat(self.scale, 1)
                if bad := np.count_nonzero(~np.isfinite(panel)):
                    note = f"{note} · {bad} px not finite".strip(" ·")
            else:
                note = plots.unavailable(panel, note)
            cells.append((f"{name} ×{gain:g}" if gain else name, note))
        file = BytesIO()
        Image.fromarray(canvas).save(file, "PNG", compress_level=1, transparency=CLEAR)
        grid = f"display:grid;grid-template-columns:repeat({self.count},minmax(0,1fr));column-gap:{100 * GAP / self.width}%"
        text = "text-align:center;line-height:1.35;overflow-wrap:anywhere;color:var(--jp-ui-font-color1,inherit)"
        texts = (f"<div><b>{escape(name)}</b><br><small>{escape(note)}</small></div>" for name, note in cells)
        key = "".join(
            f'<span style="margin:0 8px"><span style="color:rgb{tuple(map(int, COLORS[c % len(COLORS)]))}">■</span> {escape(n)}</span>'
            for c, n in enumerate(self.slices.classes[1:])
        )
        return file.getvalue(), f'<div style="{grid};{text}">{"".join(texts)}</div><div style="{text}">{key}</div>'

    def static(self, index: int | None = None) -> Figure:
        """The slice now shown, or `index`, as a static picture."""
        return self.slices.figure(self.slider.value if index is None else index)


def show(
    volumes: Mapping[str, Any], interactive: bool, start: int | None = None, **settings: Any
) -> SliceViewer | Figure:
    """A live `SliceViewer`, or without `interactive` its first picture and no widget; settings as there."""
    return SliceViewer(volumes, start=start, **settings) if interactive else _Slices(volumes, **settings).figure(start)
