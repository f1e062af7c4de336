"""Volumes cut into the panels that a viewer shows: planes, parts of complex data, error maps. No widgets."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from lib import InputError, array
from lib.data.classes import whole
from lib.evaluation import slice_scores
from lib.evaluation.slice_scores import Scores
from lib.plots.panels import check_names, is_array
from lib.viewer import windows
from lib.viewer.complex_parts import COMPLEX, LOGARITHMIC, REAL, is_complex, is_mask, part_of
from lib.viewer.grid import place
from lib.viewer.loading import ANATOMICAL, PLANES, Source, named, read
from lib.viewer.view import View

MOST_ANISOTROPY = 100  # of a voxel, longest to shortest side


class SliceModel:
    """Volumes (S, H, W) and what is to be seen of them.

    Parameters
    ----------
    volumes : see `SliceViewer`
    error_of : the two volumes whose |difference| × gain stands behind them, on the window's width; a list of such
        pairs, or None
    overlays : {panel: class numbers (S, H, W)} laid over the images
    classes : their names; each but the first has its color (the seventh like the first)
    ignore_index : the overlays' number where nothing is labeled, which is hatched in gray and not scored; None: all is
    unit : what the slider counts: "slice", or "frame" of a cine, whose first axis is time
    planes : names of the three planes; None: axial, coronal, sagittal of NIfTI and of segmented volumes, frames, x–t,
        y–t of a cine, slice, row, column of what has no known pose
    spacing : (z, y, x) in mm, in which pixels are shown square; None: the file's, or 1
    title : what is looked at, such as the case
    scores : slice → {panel: {metric: value}}, shown above the panels, by which the worst, median and best slice can be
        jumped to; None: SSIM, PSNR and NMSE against the truth of `error_of` or "truth", or Dice of the overlays against
        that of "label" or "truth"
    resample : volumes of other shape or place are resampled to the truth's, by their affines if both are known, else
        stretched; extents that are known in mm must be equal
    affine_from : "image" if NIfTI files' affines are known to be wrong: those of the truth's shape then have its affine

    Raises
    ------
    InputError
        For what can't be shown.
    """

    def __init__(
        self,
        volumes: Mapping[str, Any],
        *,
        error_of: tuple[str, str] | Sequence[tuple[str, str]] | None = ("output", "truth"),
        overlays: Mapping[str, Any] | None = None,
        classes: Sequence[str] = (),
        ignore_index: int | None = None,
        unit: str = "slice",
        planes: Sequence[str] | None = None,
        spacing: Sequence[float] | None = None,
        title: str = "",
        scores: Scores | None = None,
        resample: bool = False,
        affine_from: str = "both",
    ):
        volumes = named(volumes)
        if not isinstance(overlays, Mapping | None):
            raise InputError("SliceViewer", f"overlays are a {type(overlays).__name__}", "{panel: class numbers}")
        if odd := [name for name in volumes if not isinstance(name, str)]:
            raise InputError("SliceViewer", f"the name {odd[0]!r} is a {type(odd[0]).__name__}", "a text")
        sources = {name: read(name, volume) for name, volume in volumes.items()}
        self.volumes = {name: source.volume for name, source in sources.items()}
        arrays = {name: volume for name, volume in self.volumes.items() if is_array(volume)}
        self.flat = max((volume.ndim for volume in arrays.values()), default=0) == 2  # images, not volumes
        if self.flat:
            arrays = {name: _raised(volume) for name, volume in arrays.items()}
            sources = {name: s._replace(volume=arrays.get(name, s.volume)) for name, s in sources.items()}
        if not arrays:
            found = f"n/a only ({', '.join(volumes)})" if volumes else "no volumes"
            raise InputError("SliceViewer", found, "at least one volume (slices, H, W)")
        self.first = "truth" if "truth" in arrays else max(arrays, key=lambda name: arrays[name].ndim)
        self.shape, self.resampled, self.notes = tuple(arrays[self.first].shape), set(), {}
        if len(self.shape) != 3 or 0 in self.shape:
            hint = ": of a batch v[0]" if len(self.shape) == 4 else ""
            raise InputError("SliceViewer", f"{self.first!r} has shape {self.shape}", f"(slices, H, W){hint}")
        if affine_from not in ("both", "image"):
            raise InputError("SliceViewer", f"affine_from: got {affine_from!r}", "both or image")
        self.grid, self.classes, self.ignore_index = sources[self.first], list(classes), ignore_index
        self.like = self.grid.file if affine_from == "image" else None
        if self.like:
            sources = {name: read(name, volume, self.like) for name, volume in volumes.items()}
            self.volumes = {name: source.volume for name, source in sources.items()}
        self.volumes |= {name: self._on_grid(repr(name), name, sources[name], resample) for name in arrays}
        self.overlays = self._labels(overlays or {}, resample)
        known = self.grid.spacing if spacing is None else spacing
        self.spacing = self._spaced(known, unit)
        self.millimeters = None if known is None or unit == "frame" else list(self.spacing)
        self.errors = {f"|{output} − {truth}|": (output, truth) for output, truth in self._pairs(error_of)}
        self.unit, self.title, self.given = unit, title, scores
        self.scores = cache(scores or self._scored())
        usual = ANATOMICAL if self.grid.anatomical and unit != "frame" else PLANES.get(unit, PLANES["slice"])
        self.planes = tuple(planes or usual)
        if len({*self.planes}) != 3:
            raise InputError("SliceViewer", f"planes are {self.planes}", "three different names")
        self.parts = COMPLEX if any(is_complex(volume) for volume in arrays.values()) else REAL

    def _labels(self, overlays: Mapping[str, Any], resample: bool) -> dict[str, Any]:
        check_names("SliceViewer, overlays", overlays, self.volumes)
        labels = {}
        for name, label in ((name, read(name, label, self.like)) for name, label in overlays.items()):
            what = f"the overlay of {name!r}"
            if not is_array(label.volume):
                raise InputError("SliceViewer", f"{what} is {label.volume!r}", f"class numbers {self.shape}")
            stored = array(label.volume)
            numbers = whole(f"SliceViewer: {what}", stored, np.int32)
            named = numbers if self.ignore_index is None else numbers[numbers != self.ignore_index]
            if (top := int(named.max(initial=0))) >= len(self.classes) > 0:
                named = f"{len(self.classes)} classes are named, 0 to {len(self.classes) - 1}"
                hint = "ignore_index names the number of what isn't labeled"
                raise InputError("SliceViewer", f"{what} holds class {top}, {named}", hint=hint)
            label = label._replace(volume=stored if stored.dtype.kind in "bui" else numbers)
            label = label._replace(volume=_raised(label.volume)) if self.flat else label
            labels[name] = self._on_grid(what, name, label, resample, order=0)
        return labels

    def _spaced(self, spacing: Sequence[float] | None, unit: str) -> tuple[float, ...]:
        given, spacing = spacing, (1.0, 1.0, 1.0) if spacing is None else spacing
        try:
            spacing = tuple(map(float, spacing))
        except (TypeError, ValueError):
            spacing = ()
        if len(spacing) != 3 or not all(0 < s < np.inf for s in spacing):
            raise InputError("SliceViewer", f"spacing is {given}", "three millimeters (z, y, x)")
        if max(spacing) > MOST_ANISOTROPY * min(spacing):
            raise InputError("SliceViewer", f"spacing is {given}, one more than {MOST_ANISOTROPY} times another")
        if unit == "frame":  # time has no millimeters: x–t is about as wide as the image
            return (spacing[2] * max(1, round(self.shape[2] / self.shape[0])), *spacing[1:])
        return spacing

    def _pairs(self, error_of: Sequence[Any] | None) -> list[tuple[str, str]]:
        pairs = [error_of] if error_of and isinstance(error_of[0], str) else list(error_of or ())
        if any(len(pair) != 2 for pair in pairs):
            raise InputError("SliceViewer", f"error_of is {error_of}", "(output, truth) or a list of such pairs")
        if pairs == [("output", "truth")] and not {"output", "truth"} <= set(self.volumes):
            return []  # the default, and nothing to compare
        check_names("SliceViewer, error_of", (name for pair in pairs for name in pair), self.volumes)
        return pairs

    def _scored(self) -> Scores:
        """Dice of every overlay against "label" or "truth", else SSIM, PSNR, NMSE of every volume against the truth."""
        label = next((name for name in ("label", "truth") if name in self.overlays), None)
        if label and self.classes:
            others = {name: overlay for name, overlay in self.overlays.items() if name != label}
            return slice_scores.segmentation_scores(others, self.overlays[label], self.classes, self.ignore_index)
        truth = next((truth for _, truth in self.errors.values()), "truth")
        return slice_scores.reconstruction_scores(self.volumes, truth) or (lambda index: {})

    def _on_grid(self, what: str, name: str, source: Source, resample: bool, order: int = 1) -> Any:
        volume, resampled = place(what, source, self.first, self.grid, resample, order)
        if resampled:
            self.resampled.add(name)
        return volume

    def set_windows(self, window: Any = None) -> None:
        """Which volumes share a gray window, and the windows, see `lib.viewer.windows.groups`."""
        self.groups, self.windows = windows.groups(self._sample(), self.errors.values(), window)

    def group_names(self) -> list[str]:
        """The volumes of each group, in words."""
        return [", ".join(n for n, g in self.groups.items() if g == i) for i in range(len(self.windows))]

    def compare(self, output: str, truth: str) -> None:
        """Shows the errors of a volume, or "" for all, against another one, and scores against that one."""
        check_names("SliceViewer", [truth, *([output] if output else [])], self.volumes)
        others = [n for n, v in self.volumes.items() if n != truth and is_array(v) and not is_mask(v)]
        chosen = [name for name in others if output in ("", name)]
        self.errors = {f"|{name} − {truth}|": (name, truth) for name in chosen}
        self.scores = cache(self.given or self._scored())

    def _sample(self) -> dict[str, Any]:
        """Some voxels of every volume but masks."""
        part = tuple(slice(None, None, max(1, n // most)) for n, most in zip(self.shape, (16, 128, 128), strict=True))
        arrays = {n: v for n, v in self.volumes.items() if is_array(v) and not is_mask(v)}
        return {name: volume[part] for name, volume in arrays.items()}

    def _turn(self, image: np.ndarray, plane: str) -> np.ndarray:
        """A cut as it is looked at: time to the right; the last slice, nearest the head, on top."""
        if plane == self.planes[0]:
            return image
        return image.T if self.unit == "frame" else image[::-1]

    def cut(self, volume: Any, plane: str, index: int) -> np.ndarray:
        """A slice (H, W) of a plane, turned as it is looked at."""
        at: list[Any] = [slice(None)] * 3
        at[self.planes.index(plane)] = index
        return self._turn(array(volume[tuple(at)]), plane)

    def index(self, view: View) -> int:
        """The number of the slice that is seen."""
        return view.at[self.planes.index(view.plane)]

    def images(self, view: View) -> dict[str, np.ndarray | str | None]:
        """Name → the whole real image (H, W) of a part, or the reason why there is none; differences without gain."""
        index, size = self.index(view), np.positive if view.signed else abs
        cuts = {n: self.cut(v, view.plane, index) if is_array(v) else v for n, v in self.volumes.items()}
        images = {name: part_of(cut, view.part) if is_array(cut) else cut for name, cut in cuts.items()}
        for error, pair in self.errors.items():
            missing = [name for name in pair if not is_array(images[name])]
            with np.errstate(invalid="ignore"):  # inf − inf is marked as not finite
                if missing:
                    images[error] = images[missing[0]] if is_array(cuts[missing[0]]) else f"no {missing[0]}"
                elif view.part in LOGARITHMIC:
                    images[error] = "of images only"
                elif view.part == "phase":
                    images[error] = size(np.angle(cuts[pair[0]] * np.conj(cuts[pair[1]])))
                else:
                    images[error] = size(images[pair[0]] - images[pair[1]])
        return {name: images[name] for name in self.panels() if name not in view.hidden}

    def panels(self) -> list[str]:
        """The names of volumes and errors; an error stands behind those that it is of."""
        names = list(self.volumes)
        for error, pair in self.errors.items():
            place = max(map(names.index, pair)) + 1
            while place < len(names) and names[place] in self.errors:
                place += 1
            names.insert(place, error)
        return names

    def replace(self, volumes: Mapping[str, Any], notes: Mapping[str, str]) -> None:
        """Other volumes of the same names and shapes, or reasons, each with its note."""
        self.volumes = {**self.volumes, **{n: _raised(v) if is_array(v) else v for n, v in volumes.items()}}
        self.notes, self.scores = dict(notes), cache(self.given or self._scored())

    def note(self, name: str) -> str:
        """What is to be said of a volume, whatever the slice."""
        resampled = f"resampled to {' × '.join(map(str, self.shape))}" if name in self.resampled else ""
        return self.notes.get(name, resampled)

    def scored(self, index: int) -> dict[str, str]:
        """Each panel's scores in a slice of the first plane, in words."""
        return {
            panel: " · ".join(text_of(*score) for score in scores.items())
            for panel, scores in self.scores(index).items()
        }


def _raised(volume: Any) -> Any:
    """An image (H, W) as a volume of one slice; a row (W,) as it is."""
    return (volume if hasattr(volume, "detach") else array(volume))[None] if volume.ndim == 2 else volume


def text_of(metric: str, value: float) -> str:
    """Such as "SSIM 0.953" or "PSNR 31.2 dB", which doesn't break within."""
    number = {"PSNR": f"{value:.1f} dB", "NMSE": f"{value:.2g}"}.get(metric, f"{value:.3f}")
    return f"{metric} {number if not np.isnan(value) else '–'}".replace(" ", "\u00a0")
