"""The runs chosen in a RunPicker, side by side: settings, curves, metrics, and the same case in one linked viewer."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from lib import InputError, plots
from lib.evaluation import paired, run_comparison
from lib.evaluation.run_comparison import Images
from lib.markup import Html, table, tag
from lib.text import one_line
from lib.viewer import loading
from lib.viewer.controls import choice, message, tell
from lib.viewer.html_box import HtmlBox
from lib.viewer.labels import TEXT, status
from lib.viewer.run_picker import RunPicker
from lib.viewer.slice_viewer import SliceViewer, show

NO_CHOICE = {"–": ""}  # where there is nothing to choose


def show_case(
    compared: Mapping[str, Images], case: str, interactive: bool, gain: float = 5, start: int | None = None,
    cases: Sequence[str] = (),
) -> SliceViewer | Figure:  # fmt: skip
    """One viewer of the same case of several runs, as `show` makes: each one's output, the truth, each one's error.

    Segmentations are laid over the image, with Dice.

    Parameters
    ----------
    compared : each run's images, as `run_comparison.images` gives them
    case : its name
    interactive : whether the viewer is live
    gain : of the errors
    start : the first slice; None: the middle one
    cases : those that may be chosen in the viewer

    Raises
    ------
    InputError
        If classes or truths differ and, if it isn't live, the shapes of cases without a truth.
    """
    volumes, settings = _shown(compared, case)
    live = {"cases": cases, "load": lambda name: _shown(compared, name)} if interactive else {}
    return show(volumes, interactive, start=start, gain=gain, **live, **settings)


def _shown(compared: Mapping[str, Images], case: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The volumes of a case, and how they are shown."""
    cases = {path: loading.case(path, case) for path in dict.fromkeys(source.path for source in compared.values())}
    classes, by_name = run_comparison.classes(compared), {name: cases[source.path] for name, source in compared.items()}
    outputs = {name: by_name[name].volumes[source.image] for name, source in compared.items()}
    first = next(iter(by_name.values()))
    settings: dict[str, Any] = {"unit": first.unit, "spacing": first.spacing, "planes": first.planes}
    settings["title"] = case
    truth = first.volumes.get("truth")
    truths = (each.volumes["truth"] for each in cases.values() if "truth" in each.volumes)
    paired.check_truths(case, map(paired.hash_of, truths))
    if classes:
        labels = outputs | ({} if truth is None else {"truth": truth})
        if "input" not in first.volumes:
            raise InputError(case, "its first run has no input to lay the labels over")
        settings |= {"error_of": None, "overlays": labels, "classes": classes}
        settings["ignore_index"] = first.ignore_index
        return dict.fromkeys(labels, first.volumes["input"]), settings
    volumes = outputs | {"truth": "not known" if truth is None else truth}
    errors = None if truth is None else [(name, "truth") for name in outputs]
    return volumes, settings | {"error_of": errors}


class RunComparison(ipywidgets.VBox):
    """What the runs chosen in a picker have in common and what not; follows the picker.

    What a run lacks is said in a line; nothing is raised. Attributes `curve` is the choice of curves, `viewer` the
    SliceViewer of the cases or None.

    Parameters
    ----------
    picker : in which runs are chosen
    case : shown first, if the runs have it
    gain : of the error panels
    """

    def __init__(self, picker: RunPicker, case: str | None = None, gain: float = 5):
        self.picker, self.first_case, self.gain, self.viewer, self.shown = picker, case, gain, None, []
        self.message = message()
        self.settings, self.metrics = HtmlBox(), HtmlBox()
        self.curve = choice("curve", NO_CHOICE, "")
        self.plot = ipywidgets.Image(format="png", layout={"max_width": "100%", "width": "720px"})
        self.no_curves = HtmlBox(_line("None of these runs has a history: nothing was trained."))
        self.images = ipywidgets.VBox()
        parts = {"Settings that differ": [self.settings], "Curves": [self.curve, self.plot, self.no_curves]}
        parts |= {"Metrics": [self.metrics], "The same case": [self.images]}
        self.parts = [ipywidgets.VBox([_heading(title), *widgets]) for title, widgets in parts.items()]
        super().__init__([self.message, *self.parts])
        self.add_class("run-comparison")
        self.busy = False
        self.curve.observe(lambda _: self._try(self._draw), "value")
        picker.observe(lambda _: self.read(), ["value", "read_at"])
        self.read()

    def read(self) -> None:
        """Compares the runs now chosen."""
        self.named = run_comparison.named(self.picker.value)
        several = len(self.named) > 1
        for part in self.parts:
            part.layout.display = None if several else "none"
        if not several:
            self._clear()
            chosen = "one run" if self.named else "no run"
            tell(self.message, f"{chosen} chosen: tick two or more in the table above to compare them")
            return
        tell(self.message, "reading …")
        self._try(self._read_all)

    def _try(self, call: Callable[[], None]) -> None:
        """Calls, and tells in a line what a damaged run fails with; not while `_read_all` is changing the choice."""
        if self.busy:
            return
        try:
            call()
        except Exception as error:
            tell(self.message, one_line(error))

    def _read_all(self) -> None:
        self.histories, self.compared = run_comparison.histories(self.named), run_comparison.images(self.named)
        differing = run_comparison.settings(self.named)
        self.settings.value = table(differing) if len(differing) else _line("All settings are the same.")
        cases, self.busy = self._cases(), True
        try:
            _choose(self.curve, run_comparison.columns(self.histories, self.named))
        finally:
            self.busy = False
        self.metrics.value = self._metrics()
        remarks = run_comparison.remarks(self.named, self.histories, self.compared)
        if self.first_case and self.first_case not in cases:
            remarks.append(f"case {self.first_case}: not one that all these runs have")
        self.message.value = Html("").join(map(_line, remarks))
        self._try(self._draw)
        self._try(self._look)

    def _draw(self) -> None:
        """The chosen curve of all runs in one axes."""
        lines = run_comparison.curves(self.histories, self.curve.value) if self.curve.value else {}
        self.plot.layout.display, self.no_curves.layout.display = (None, "none") if lines else ("none", None)
        if lines:
            file = BytesIO()
            plots.curves(lines, xlabel="epoch", ylabel=self.curve.label).savefig(file, format="png")
            self.plot.value = file.getvalue()

    def _metrics(self) -> Html:
        try:
            scored = paired.scores(self.compared) if len(self.compared) > 1 else paired.NO_SCORES
        except Exception as error:
            return _line(one_line(error))
        differences = table(paired.in_words(paired.differences(scored))) if len(scored) else Html("")
        return differences + _line(paired.caption(scored))

    def _cases(self) -> list[str]:
        try:
            return run_comparison.cases(self.compared)
        except (InputError, OSError):
            return []

    def _look(self) -> None:
        """The cases of all runs in one viewer; the one before stays where nothing has changed."""
        cases = self._cases()
        shown = [cases, *((n, s, s.path.stat().st_mtime_ns) for n, s in self.compared.items())]
        if self.viewer and shown == self.shown:
            return
        self._clear()
        self.shown = shown
        if not cases:
            self.images.children = [HtmlBox(_line("No case that all these runs have."))]
            return
        first = self.first_case if self.first_case in cases else cases[0]
        try:
            self.viewer = show_case(self.compared, first, True, self.gain, cases=cases)
            self.images.children = [self.viewer]
        except Exception as error:
            self.images.children = [HtmlBox(_line(one_line(error)))]

    def _clear(self) -> None:
        """Frees the viewer and its volumes."""
        if self.viewer:
            self.viewer.close()
        self.viewer, self.images.children = None, ()


def _choose(control: ipywidgets.ToggleButtons, names: Mapping[str, str]) -> None:
    """New options {value: name}, keeping what was chosen where it is still there, else the first."""
    kept = control.value if control.value in names else next(iter(names), "")
    control.options = [(name, value) for value, name in names.items()] or list(NO_CHOICE.items())
    control.value = kept
    control.layout.display = None if names else "none"


def _heading(text: str) -> HtmlBox:
    return HtmlBox(tag("h4", text, style=f"{TEXT};margin:14px 0 4px;font-size:15px;font-weight:600"))


def _line(text: str) -> Html:
    return status(text, "max-width:75em")
