"""Move a slider, see what undersampling does: image and error of a sample slice, mask, k-space and point spread."""

import math
import threading
from typing import Any

import ipywidgets

from lib.text import one_line
from lib.viewer.controls import STYLE, bar, button, choice, tell
from lib.viewer.html_box import HtmlBox
from lib.viewer.labels import status
from lib.viewer.playground import (
    CHOICES,
    ERROR,
    KSPACE,
    MASK,
    METHODS,
    SPREAD,
    TRUTH,
    Playground,
    PlaygroundView,
    Settings,
    check,
    describe,
)
from lib.viewer.slice_viewer import SliceViewer

SNRS = (5.0, 10.0, 20.0, 50.0, 100.0, float("inf"))
LABELS = {
    "shown": "image", "kind": "mask", "acceleration": "acceleration", "num_low_frequencies": "center lines",
    "snr": "noise (SNR)", "num_coils": "coils", "seed": "another mask",
}  # fmt: skip
IMAGE = "image"
PRESETS = {  # what is chosen, and what there is to notice
    "a good one": (
        Settings("equispaced", 2, 24, 50.0, 8, "GRAPPA"),
        "Half of the lines are missing, and the error shows little but noise: eight coils tell two copies apart.",
    ),
    "aliasing": (
        Settings("equispaced", 4, 0, math.inf, 8, "zero-filled"),
        "Each of the point spread's four equal peaks is a copy of the head, 64 pixels from the next.",
    ),
    "too few center lines": (
        Settings("equispaced", 4, 5, 50.0, 8, "GRAPPA"),
        "GRAPPA learns its kernel from the center lines: from five it learns the noise with it. Move them up to 24.",
    ),
    "noise": (
        Settings("equispaced", 6, 24, 20.0, 8, "GRAPPA"),
        "Where coils hardly tell the copies apart, in the middle of the head, GRAPPA enlarges the noise.",
    ),
    "a mask that moves": (
        Settings("random", 4, 24, 50.0, 8, "zero-filled"),
        'Move "another mask": the streaks change with every mask, the head doesn\'t: they are not anatomy.',
    ),
}


class KSpacePlayground(ipywidgets.VBox):
    """Presets, controls, and in a SliceViewer what `Playground` makes of them: the image first, then what was acquired.

    Each move is answered in a thread of its own. While it works, only the newest move is kept; an image other than
    the zero-filled one that is out of date when it is done isn't drawn. What can't be done is told in the line above the
    pictures. Attributes `controls` {field of Settings: widget}, `viewer` and `line` (HTML) are the widgets.

    Parameters
    ----------
    playground : the scan
    start : what the controls say at first

    Raises
    ------
    InputError
        For a start that no control has.
    """

    def __init__(self, playground: Playground, start: Settings = Settings()):  # noqa: B008 (immutable)
        self.playground, self.controls, self.hint = playground, _controls(start), ""
        self.panels: dict[str, Any] = {}
        self.notes: dict[str, str] = {}
        self.line, self._frozen = HtmlBox(layout={"margin": "0"}), False
        self.line.add_class("playground-line")
        self._lock, self._newest, self._worker = threading.Lock(), None, None
        result = playground.result(start)
        self._draw(result, playground.scan(start))
        self._told(start, result)
        windows = dict.fromkeys((IMAGE, TRUTH, KSPACE, SPREAD), (0.0, 1.0))
        self.viewer = SliceViewer(
            self.panels, window={n: w for n, w in windows.items() if not isinstance(self.panels[n], str)},
            gain=playground.gain, error_of=(IMAGE, TRUTH), scores=lambda index: {}, title=getattr(playground, "name", ""),
        )  # fmt: skip
        presets = [button(name, lambda _, name=name: self.preset(name), hint) for name, (_, hint) in PRESETS.items()]
        kinds, numbers = ("shown", "kind"), [n for n in LABELS if n not in ("shown", "kind")]
        super().__init__([
            bar([ipywidgets.Label("start from"), *presets]), bar([self.controls[n] for n in kinds]),
            bar([self.controls[n] for n in numbers]), self.line, self.viewer,
        ])  # fmt: skip
        for name, control in self.controls.items():
            control.add_class(f"playground-{name.replace('_', '-')}")
            control.observe(self._move, "value")

    @property
    def settings(self) -> Settings:
        """What the controls say now."""
        return Settings(**{name: control.value for name, control in self.controls.items()})

    def preset(self, name: str) -> None:
        """All controls at once."""
        settings, self.hint = PRESETS[name]
        self._frozen = True
        for field, control in self.controls.items():
            control.value = getattr(settings, field)
        self._frozen = False
        self._move()

    def settle(self) -> None:
        """Waits until the newest move is answered."""
        while worker := self._worker:
            worker.join()

    def _move(self, change: Any = None) -> None:
        if self._frozen:
            return
        if change is not None and change.name == "value" and change.owner is not self.controls["seed"]:
            self.hint = ""
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
        slow = settings.shown != METHODS[0]
        if slow:
            self._draw(scan=self.playground.scan(settings))
            self._say(f"{settings.shown} is working …")
        result = self.playground.result(settings)
        if slow and self._newest is not None:
            return
        self._draw(result, None if slow else self.playground.scan(settings))
        self._told(settings, result)

    def _told(self, settings: Settings, result: PlaygroundView) -> None:
        if result.problem:
            tell(self.line, f"{settings.shown}: {result.problem}")
        else:
            self._say(f"{settings.shown} · {describe(settings)}{' · ' * bool(self.hint)}{self.hint}")

    def _draw(self, result: PlaygroundView | None = None, scan: PlaygroundView | None = None) -> None:
        """Other panels in the viewer."""
        if result:
            method = next(iter(result.panels))
            self.panels |= {IMAGE: result.panels[method], TRUTH: result.panels[TRUTH]}
            error = result.notes.get(ERROR, "")
            self.notes |= {IMAGE: " · ".join(filter(None, (method, result.notes.get(method)))), ERROR: error}
            self.notes[TRUTH] = result.notes.get(TRUTH, "")
        if scan:
            self.panels |= {name: scan.panels[name] for name in (MASK, KSPACE, SPREAD)}
            self.notes |= {name: scan.notes.get(name, "") for name in (MASK, KSPACE, SPREAD)}
        if hasattr(self, "viewer"):
            self.viewer.update(self.panels, self.notes)

    def _say(self, text: str) -> None:
        self.line.value = status(text, "padding:4px 0")


def _controls(start: Settings) -> dict[str, Any]:
    """A labeled control for each field of Settings, at its start: buttons for kinds, sliders for numbers."""
    check(start)
    controls = {}
    for name, label in LABELS.items():
        value = getattr(start, name)
        if name in ("shown", "kind"):
            controls[name] = choice(label, CHOICES[name], value)
        elif name == "snr":
            options = [("none" if snr == math.inf else f"{snr:g}", snr) for snr in sorted({*SNRS, value})]
            controls[name] = choice(label, dict(options), value)
        else:
            low, high = CHOICES[name][0], CHOICES[name][-1]
            layout = {"width": "300px", "max_width": "100%"}
            controls[name] = ipywidgets.IntSlider(value, low, high, description=label, style=STYLE, layout=layout)
    return controls
