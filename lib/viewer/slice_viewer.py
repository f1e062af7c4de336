"""Look at several volumes side by side: the picture is drawn in the browser, which asks the kernel for slices."""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from lib import RUNS, InputError
from lib.evaluation import slice_scores
from lib.files import file_name, replacing
from lib.plots.panels import check_names
from lib.text import one_line
from lib.viewer import transport
from lib.viewer.grid import ShapeError
from lib.viewer.regions import measured, parse_shapes, region_table
from lib.viewer.slice_model import SliceModel
from lib.viewer.state import check_state
from lib.viewer.still import figure, first_view
from lib.viewer.view import View

PLACES: dict[str, Callable[[int], int]] = {"worst": lambda n: 0, "median": lambda n: n // 2, "best": lambda n: n - 1}
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
Load = Callable[[str], tuple[Mapping[str, Any], Mapping[str, Any]]]


class SliceViewer(anywidget.AnyWidget):
    """All volumes' slices of one place side by side, in gray windows that a hand can move.

    The wheel turns slices; Ctrl + wheel zooms, a drag moves, a right drag sets window and level; "Keys and mouse" below
    the controls lists the rest. Volumes have one shape and, by their affines, one place, else the viewer says so and
    offers to resample. Pixels that aren't finite in float32 are blue and counted. Of complex data magnitude (also in
    dB), phase, real and imaginary part and k-space are shown, of real data their spectrum. What can't be shown is told
    in the viewer, in one line, not raised; `show(..., interactive=False)` raises it.

    `state` is all that a reader has chosen, as a dict that can be stored and given again; `regions` the table of what
    was measured in the regions drawn.

    Parameters
    ----------
    volumes : {name: volume}, or one volume, or a list: (S, H, W), or images (H, W), numpy, torch or h5py, real or
        complex, or the path of a NIfTI, HDF5 ("file.h5:case/output") or .npy file; bool is a mask, also (W,) or (H, W),
        white where True; None or a text if there is none, shown as "n/a: text"
    start : the first slice; None: the middle one
    window : (low, high); {volume: (low, high)} for windows of their own; None: by "truth"
    gain : of the errors
    save_to : the folder for "Save PNG"; None: runs/views
    cases : names of which one is chosen in the viewer, by `load`
    load : case → (volumes, settings)
    **settings : of `lib.viewer.slice_model.SliceModel`: error_of, overlays, classes, unit, planes, spacing, title,
        scores …
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    about, measured = traitlets.Dict().tag(sync=True), traitlets.Dict().tag(sync=True)
    # An echo of these would undo what a hand has done meanwhile.
    place, look = (traitlets.Dict().tag(sync=True, echo_update=False) for _ in range(2))
    shapes = traitlets.List().tag(sync=True, echo_update=False)
    message = traitlets.Unicode().tag(sync=True)
    colors = traitlets.Bytes().tag(sync=True)

    def __init__(
        self, volumes: Any, *, start: int | None = None, window: Any = None, gain: float = 5,
        save_to: Path | str | None = None, cases: Sequence[str] = (), load: Load | None = None, **settings: Any,
    ):  # fmt: skip
        self.save_to, self.slices = Path(save_to or RUNS / "views"), None
        self.version = self.data = 0  # of the description, and of the volumes
        self._ranges: dict[tuple, transport.Range] = {}  # of the steps that slices are sent in
        self._lock = threading.Lock()  # volumes and their number change together
        self.cases, self.case, self.load, self._again = list(cases), settings.get("title", ""), load, None
        super().__init__(colors=transport.tables())
        self.on_msg(self._receive)
        self._build(volumes, start, window, gain, settings)

    def _build(self, volumes: Any, start: Any, window: Any, gain: Any, settings: Mapping[str, Any]) -> None:
        try:
            slices = SliceModel(volumes, **settings)
            self._show(slices, first_view(slices, start, window, gain))
        except Exception as error:  # a value that nothing can be made of, a file that can't be read
            self.message, self._again = one_line(error), None
            if isinstance(error, ShapeError):
                print(one_line(error))  # an executed notebook keeps it
                self._again = lambda: self._build(volumes, start, window, gain, {**settings, "resample": True})
            self.about = {"resample": self._again is not None, **self._versions()}

    def _show(self, slices: SliceModel, view: View) -> None:
        self.slices, self._again, self.message, self.data = slices, None, "", self.data + 1
        described = self._described(view)
        with self.hold_sync():
            self.place, self.look, self.shapes = transport.place(view), described["look"], []
            self.about = described

    def _versions(self) -> dict[str, int]:
        self.version += 1
        return {"version": self.version, "data": self.data}

    def _described(self, view: View) -> dict[str, Any]:
        described = transport.describe(self.slices, view)
        return described | {"cases": self.cases, "case": self.case, "resample": False, **self._versions()}

    # What the browser asks for

    def _receive(self, _: Any, content: Any, buffers: Sequence[memoryview]) -> None:
        """Answers, and tells in a line what it fails with, such as a file that was closed meanwhile."""
        kinds = {
            "cuts": self._send_cuts, "scores": self._send_scores, "measure": self._measure, "jump": self._jump,
            "errors": self._compare, "case": self._open, "save": self._save, "resample": lambda _: self._again and self._again(),
        }  # fmt: skip
        try:
            kind = content.get("kind")
            if kind in kinds and (self.slices or kind == "resample"):
                kinds[kind](content, *([buffers] if kind == "save" else []))
        except Exception as error:
            self.message = one_line(error)

    def _send_cuts(self, content: Mapping[str, Any]) -> None:
        with self._lock:
            asked = content["cuts"] if content["data"] == self.data else ()  # else of volumes that are gone
            found = [self._cut(key) for key in asked]
        answer = {"kind": "cuts", "number": content["number"], "data": content["data"]}
        self.send(answer | {"cuts": [about for about, _ in found]}, [numbers for _, numbers in found])

    def _cut(self, key: Sequence[Any]) -> tuple[dict[str, Any], bytes]:
        try:
            return transport.encode(self.slices, key, self._ranges)
        except Exception as error:
            self.message = one_line(error)
            return {"key": key[:4], "reason": one_line(error), "detail": transport.Detail.EXACT}, b""

    def _send_scores(self, content: Mapping[str, Any]) -> None:
        answer = {"kind": "scores", "index": content["index"], "version": self.version, "notes": {}, "metrics": {}}
        try:
            answer["notes"] = self.slices.scored(content["index"])
            answer["metrics"] = {panel: list(found) for panel, found in self.slices.scores(content["index"]).items()}
        finally:
            self.send(answer)

    def _jump(self, content: Mapping[str, Any]) -> None:
        """To the worst, median or best slice."""
        self.message = "scoring every slice …"
        order = slice_scores.ranked(self.slices.scores, self.slices.shape[0], *content["by"])
        self.message = "" if order else "no slice has this score"
        if order:
            at = [order[PLACES[content["place"]](len(order))], *self.place["at"][1:]]
            self.place = {**self.place, "at": at, "plane": self.slices.planes[0], "together": False}

    def _compare(self, content: Mapping[str, Any]) -> None:
        """Other errors: of a volume or of all, against another one."""
        self.slices.compare(content["of"], content["against"])
        described = self._described(self._view())
        described["errorOf"] = [content["of"], content["against"]]
        described["look"] = self.about["look"]
        known = [panel["name"] for panel in described["panels"]]
        with self.hold_sync():
            self.look = {**self.look, "hidden": [name for name in self.look["hidden"] if name in known]}
            self.about = described

    def _open(self, content: Mapping[str, Any]) -> None:
        """Another case; what was chosen stays where it fits."""
        check_names("case", [content["name"]], self.cases)
        volumes, settings = self.load(content["name"])
        slices = SliceModel(volumes, **{"title": content["name"], **settings})
        view, look, place, before = (
            first_view(slices, None, None, self.look["gain"]),
            self.look,
            self.place,
            self.slices,
        )
        kept, self.case = ("gain", "signed", "cmap", "opacity", "contours", "smooth", "fps"), content["name"]
        with self.hold_sync():
            self._show(slices, view)
            self.look = {**self.look, **{key: look[key] for key in kept}}
            if (slices.shape, slices.planes) == (before.shape, before.planes):
                self.place = place

    def update(self, volumes: Mapping[str, Any], notes: Mapping[str, str]) -> None:
        """Other volumes of the same names and shape, and what to say of each, in the same view."""
        with self._lock:
            self.slices.replace(volumes, notes)
            self.data += 1
        self.about = self._described(self._view()) | {"look": self.about["look"]}

    # What a reader has chosen and measured

    @property
    def state(self) -> dict[str, Any]:
        """Place, look and regions, which can be stored as JSON and given to a viewer of the same panels."""
        if self.slices is None:
            raise InputError("SliceViewer", f"it has nothing to show ({self.message or 'it is closed'})")
        view = self._view()
        return {**self.place, "at": list(view.at), "plane": view.plane, **self.look, "shapes": list(self.shapes)}

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        known = self.state
        check_names("SliceViewer, state", state, known)
        merged = {**known, **state}
        shapes = merged.pop("shapes")
        parse_shapes(shapes)
        place = {key: merged[key] for key in self.place}
        look = {key: merged[key] for key in self.look}
        check_state(self.slices, place, look)
        place["at"], look["windows"] = [int(i) for i in place["at"]], [[float(v) for v in w] for w in look["windows"]]
        with self.hold_sync():
            self.place, self.look, self.shapes = place, look, list(shapes)

    def _view(self, place: Mapping[str, Any] | None = None, look: Mapping[str, Any] | None = None) -> View:
        """What the browser shows; of a linked viewer's place what fits, as there."""
        place, look, slices = place or self.place, look or self.look, self.slices
        at = tuple(min(i, n - 1) for i, n in zip(place["at"], slices.shape, strict=True))
        plane = place["plane"] if place["plane"] in slices.planes else slices.planes[0]
        return View(
            at, plane, tuple(map(tuple, look["windows"])), look["gain"], look["signed"], look["part"], look["cmap"],
            look["opacity"], look["contours"], tuple(look["hidden"]),
        )  # fmt: skip

    @property
    def regions(self) -> pd.DataFrame:
        """Mean, SD, SNR, contrast and CNR of each region in every panel, see `lib.viewer.regions.region_table`."""
        plane = self.state["plane"]
        shapes = [shape for shape in parse_shapes(self.shapes) if shape.plane == plane]
        return region_table(self.slices.images(self._view()), shapes)

    def _measure(self, content: Mapping[str, Any]) -> None:
        view = self._view(content["place"], content["look"])
        found = measured(self.slices, view, parse_shapes(content["shapes"]))
        self.measured = found | {"of": content.get("of", "")}

    # Pictures

    def _save(self, content: Mapping[str, Any], buffers: Sequence[memoryview]) -> None:
        """The picture that the browser has drawn."""
        picture = bytes(buffers[0])
        if not picture.startswith(PNG_HEAD):
            raise InputError("Save PNG", "the browser sent no picture")
        plane, part, index = content["words"]
        words = (self.slices.title, plane, part, f"{index + 1:03d}", time.strftime("%Y%m%d-%H%M%S"))
        name = file_name(re.sub(r"[^\w-]+", "_", "_".join(map(str, filter(None, words)))) + ".png")
        try:
            with replacing(self.save_to / name) as made:
                made.write_bytes(picture)
            self.message = f"saved {self.save_to / name}"
        except OSError as error:
            self.message = f"not saved: {error}"

    def static(self) -> Figure:
        """What is shown now, as a picture."""
        return figure(self.slices, self._view())

    def close(self) -> None:
        """Frees the volumes."""
        self.slices = self.load = self._again = None
        self.on_msg(self._receive, remove=True)
        self.layout.close()
        super().close()


def link(one: SliceViewer, other: SliceViewer) -> list[ipywidgets.Widget]:
    """Two viewers that move together, in the browser, without the kernel; `.unlink()` each to part them.

    They share slice, plane and zoom, as far as the smaller one goes, and of the same panels also windows, colors, gain ….
    """
    alike = all(one.about.get(key) == other.about.get(key) for key in ("groupNames", "parts"))
    names = [[panel["name"] for panel in viewer.about.get("panels", ())] for viewer in (one, other)]
    traits = ("place", "look") if alike and names[0] == names[1] else ("place",)
    return [ipywidgets.jslink((one, trait), (other, trait)) for trait in traits]


def show(
    volumes: Any, interactive: bool, start: int | None = None, window: Any = None, gain: float = 5,
    save_to: Path | str | None = None, cases: Sequence[str] = (), load: Load | None = None, **settings: Any,
) -> SliceViewer | Figure:  # fmt: skip
    """A live `SliceViewer`, or its first picture and no widget.

    Parameters
    ----------
    volumes : see `SliceViewer`
    interactive : whether it is live
    start, window, gain, save_to, cases, load : see `SliceViewer`
    **settings : of `lib.viewer.slice_model.SliceModel`: error_of, overlays, classes, unit, planes, spacing, title,
        scores …

    Raises
    ------
    InputError
        For what can't be shown, if it isn't live.
    """
    if interactive:
        return SliceViewer(
            volumes, start=start, window=window, gain=gain, save_to=save_to, cases=cases, load=load, **settings
        )
    slices = SliceModel(volumes, **settings)
    return figure(slices, first_view(slices, start, window, gain))
