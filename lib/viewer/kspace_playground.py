"""Move a slider, see what undersampling does: mask, k-space, point spread, image and error of a sample slice."""

import math
import threading
from typing import Any

import ipywidgets
import numpy as np

from lib import plots
from lib.text import one_line
from lib.viewer.controls import tell
from lib.viewer.labels import labels_of, status
from lib.viewer.pixels import GAP, beside, paint, png
from lib.viewer.playground import CHOICES, ERROR, METHODS, SIZE, Playground, PlaygroundView, Settings, check, describe

SNRS = (5.0, 10.0, 20.0, 50.0, 100.0, float("inf"))
LABELS = {
    "shown": "image", "kind": "mask", "acceleration": "acceleration", "num_low_frequencies": "center lines",
    "snr": "noise (SNR)", "num_coils": "coils",
}  # fmt: skip
CONTROL_STYLE: dict[str, Any] = {
    "style": {"description_width": "92px"},
    "layout": {"width": "384px", "max_width": "100%"},
}
CONTROL_COLUMNS = ("shown", "kind", "acceleration"), ("num_low_frequencies", "snr", "num_coils")
WIDTH = 3 * (SIZE + GAP) - GAP


class KSpacePlayground(ipywidgets.VBox):
    """Sliders, and what `Playground` makes of them: what is acquired above, what becomes of it below.

    Each move is answered in a thread of its own. While it works, only the newest move is kept; an image of GRAPPA or a
    network that is out of date when it is done isn't drawn. What can't be done is told in the line above the pictures.
    Attributes `controls` {field of Settings: widget}, `acquired` and `result` (PNG), `line` (HTML) are the widgets.

    Parameters
    ----------
    playground : the scan
    start : what the sliders say at first

    Raises
    ------
    InputError
        For a start that no control has.
    """

    def __init__(self, playground: Playground, start: Settings = Settings()):  # noqa: B008 (immutable)
        self.playground, self.controls = playground, _controls(start)
        fit = {"width": f"{WIDTH}px", "max_width": "100%", "margin": "0"}
        self.acquired, self.result = (ipywidgets.Image(format="png", layout=fit) for _ in range(2))
        self.above, self.below, self.line = (ipywidgets.HTML(layout=fit) for _ in range(3))
        for name in ("acquired", "result", "line"):
            getattr(self, name).add_class(f"playground-{name}")
        columns = [ipywidgets.VBox([self.controls[name] for name in names]) for names in CONTROL_COLUMNS]
        controls = ipywidgets.HBox(columns, layout={"flex_flow": "row wrap"})
        super().__init__([controls, self.line, self.above, self.acquired, self.below, self.result])
        self._lock, self._newest, self._worker = threading.Lock(), None, None
        for name, control in self.controls.items():
            control.add_class(f"playground-{name.replace('_', '-')}")
            control.observe(self._move, "value")
        self._move()
        self.settle()

    @property
    def settings(self) -> Settings:
        """What the controls say now."""
        return Settings(**{name: control.value for name, control in self.controls.items()})

    def settle(self) -> None:
        """Waits until the newest move is answered."""
        while worker := self._worker:
            worker.join()

    def _move(self, change: Any = None) -> None:
        with self._lock:
            self._newest = self.settings
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="playground", daemon=True)
                self._worker.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                settings, self._newest = self._newest, None
                if settings is None:
                    self._worker = None
                    return
            try:
                self._answer(settings)
            except Exception as error:  # a thread's traceback would be lost
                tell(self.line, one_line(error))

    def _answer(self, settings: Settings) -> None:
        slow, gain = settings.shown != METHODS[0], self.playground.gain
        if slow:
            self._draw_scan(settings)
            self._say(f"{settings.shown} is working …")
        result = self.playground.result(settings)
        if slow and self._newest is not None:
            return
        self.result.value, self.below.value = _row(result, gain), _labels(result, {ERROR: gain})
        if not slow:  # after the image, which is waited for
            self._draw_scan(settings)
        if result.problem:
            tell(self.line, f"{settings.shown}: {result.problem}")
        else:
            self._say(f"{settings.shown} · {describe(settings)}")

    def _draw_scan(self, settings: Settings) -> None:
        view = self.playground.scan(settings)
        self.acquired.value, self.above.value = _row(view, 1.0), _labels(view, {})

    def _say(self, text: str) -> None:
        self.line.value = status(text, "padding:8px 0 6px")


def _controls(start: Settings) -> dict[str, ipywidgets.Widget]:
    """A labeled control for each field of Settings, at its start."""
    check(start)
    controls = {}
    for name, values in (CHOICES | {"snr": sorted({*SNRS, start.snr})}).items():
        options = [("no noise" if v == math.inf else f"{v:g}" if name == "snr" else str(v), v) for v in values]
        # All are sliders: Lab's own shortcuts take a dropdown's keys away from it.
        controls[name] = ipywidgets.SelectionSlider(
            options=options, value=getattr(start, name), description=LABELS[name], **CONTROL_STYLE
        )
    return controls


def _row(view: PlaygroundView, gain: float) -> bytes:
    """The panels side by side as PNG; a missing one is left clear."""
    tiles = [
        paint(panel, 0, 1 / gain if name == ERROR else 1, plots.ERROR_CMAP if name == ERROR else "gray")
        if isinstance(panel, np.ndarray) else None
        for name, panel in view.panels.items()
    ]  # fmt: skip
    return png(beside(tiles, SIZE, SIZE))


def _labels(view: PlaygroundView, gains: dict[str, float]) -> str:
    """Each panel's name and note, over it."""
    cells = {}
    for name, panel in view.panels.items():
        head = f"{name} ×{gains[name]:g}" if name in gains else name
        cells[head] = "n/a" if isinstance(panel, str) else view.notes.get(name, "")
    return labels_of(cells, 3, WIDTH)
