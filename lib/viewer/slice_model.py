"""Volumes cut into the panels that a viewer shows: planes, parts of complex data, error maps, zoom. No widgets."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from lib import InputError, array, plots
from lib.data.classes import whole
from lib.evaluation import slice_scores
from lib.evaluation.slice_scores import Scores
from lib.plots.panels import check_names, is_array, magnitude, unavailable, window_of
from lib.viewer.complex_parts import COMPLEX, DECIBELS, FOURIER, LOGARITHMIC, REAL, is_complex, is_mask, part_of
from lib.viewer.grid import place
from lib.viewer.loading import ANATOMICAL, PLANES, Source, ViewedCase, read
from lib.viewer.pixels import lay, paint, resize
from lib.viewer.view import Tile, View

WINDOW_REACH = 10  # the first window's widths that another one may lie away from it
MOST_ANISOTROPY = 100  # of a voxel, longest to shortest side
LEAST_HEIGHT, MOST_WIDTH, LINE_WIDTH = 260, 480, 960  # of a panel, up to which it grows, and of few panels in a line


class SliceModel:
    """Volumes (S, H, W) and what is to be seen of them.

    Parameters
    ----------
    volumes : see `SliceViewer`
    error_of : the two volumes whose |difference| × gain stands last, on the window's width; a list of such pairs, or
        None
    overlays : {panel: class numbers (S, H, W)} laid over the images
    classes : their names; each but the first has its color (the seventh like the first)
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
        unit: str = "slice",
        planes: Sequence[str] | None = None,
        spacing: Sequence[float] | None = None,
        title: str = "",
        scores: Scores | None = None,
        resample: bool = False,
        affine_from: str = "both",
    ):
        if not isinstance(volumes, Mapping):
            kind = "Case: give its .volumes" if isinstance(volumes, ViewedCase) else type(volumes).__name__
            raise InputError("SliceViewer", f"volumes are a {kind}", "{name: volume}")
        if not isinstance(overlays, Mapping | None):
            raise InputError("SliceViewer", f"overlays are a {type(overlays).__name__}", "{panel: class numbers}")
        if odd := [name for name in volumes if not isinstance(name, str)]:
            raise InputError("SliceViewer", f"the name {odd[0]!r} is a {type(odd[0]).__name__}", "a text")
        sources = {name: read(name, volume) for name, volume in volumes.items()}
        self.volumes = {name: source.volume for name, source in sources.items()}
        arrays = {name: volume for name, volume in self.volumes.items() if is_array(volume)}
        if not arrays:
            found = f"n/a only ({', '.join(volumes)})" if volumes else "no volumes"
            raise InputError("SliceViewer", found, "at least one volume (slices, H, W)")
        self.first = "truth" if "truth" in arrays else max(arrays, key=lambda name: arrays[name].ndim)
        self.shape, self.resampled = tuple(arrays[self.first].shape), set()
        if len(self.shape) != 3 or 0 in self.shape:
            hint = {2: ": of one image v[None]", 4: ": of a batch v[0]"}.get(len(self.shape), "")
            raise InputError("SliceViewer", f"{self.first!r} has shape {self.shape}", f"(slices, H, W){hint}")
        if affine_from not in ("both", "image"):
            raise InputError("SliceViewer", f"affine_from: got {affine_from!r}", "both or image")
        self.grid, self.classes = sources[self.first], list(classes)
        self.like = self.grid.file if affine_from == "image" else None
        if self.like:
            sources = {name: read(name, volume, self.like) for name, volume in volumes.items()}
            self.volumes = {name: source.volume for name, source in sources.items()}
        self.volumes |= {name: self._on_grid(repr(name), name, sources[name], resample) for name in arrays}
        self.overlays = self._labels(overlays or {}, resample)
        self.spacing = self._spaced(self.grid.spacing if spacing is None else spacing, unit)
        self.errors = {f"|{output} − {truth}|": (output, truth) for output, truth in self._pairs(error_of)}
        self.unit, self.title, self.scores = unit, title, cache(scores or self._scored())
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
            if (top := int(numbers.max())) >= len(self.classes) > 0:
                named = f"{len(self.classes)} classes are named, 0 to {len(self.classes) - 1}"
                raise InputError("SliceViewer", f"{what} holds class {top}, {named}")
            label = label._replace(volume=stored if stored.dtype.kind in "bui" else numbers)
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
            return slice_scores.segmentation_scores(others, self.overlays[label], self.classes)
        truth = next((truth for _, truth in self.errors.values()), "truth")
        return slice_scores.reconstruction_scores(self.volumes, truth) or (lambda index: {})

    def _on_grid(self, what: str, name: str, source: Source, resample: bool, order: int = 1) -> Any:
        volume, resampled = place(what, source, self.first, self.grid, resample, order)
        if resampled:
            self.resampled.add(name)
        return volume

    def window(self, window: tuple[float, float] | None = None) -> tuple[float, float]:
        """`window`, or the truth's (without a truth that of all volumes but masks), from a part of the voxels."""
        return tuple(window_of(self._sample(), window))

    def limits(self, window: tuple[float, float]) -> tuple[float, float]:
        """The smallest and largest value that a window may have: 0, the data's and the first window's own, within WINDOW_REACH."""
        values = [v[np.isfinite(v)] for v in map(magnitude, self._sample().values())]
        low, high = (float(f([0.0, *window, *(f(v) for v in values if v.size)])) for f in (min, max))
        reach = WINDOW_REACH * (window[1] - window[0])  # a single bright voxel leaves the slider usable
        return max(low, min(0.0, window[0] - reach)), min(high, window[1] + reach)

    def _sample(self) -> dict[str, Any]:
        """Some voxels of every volume but masks."""
        part = tuple(slice(None, None, max(1, n // most)) for n, most in zip(self.shape, (32, 256, 256), strict=True))
        arrays = {n: v for n, v in self.volumes.items() if is_array(v) and not is_mask(v)}
        return {name: volume[part] for name, volume in arrays.items()}

    def count(self, plane: str) -> int:
        """How many slices the plane has."""
        return self.shape[self.planes.index(plane)]

    def size(self, plane: str) -> tuple[int, int]:
        """Rows and columns of an image of the plane."""
        return self._turn(np.empty([n for i, n in enumerate(self.shape) if i != self.planes.index(plane)]), plane).shape

    def _turn(self, image: np.ndarray, plane: str) -> np.ndarray:
        """A cut as it is looked at: time to the right; the last slice, nearest the head, on top."""
        if plane == self.planes[0]:
            return image
        return image.T if self.unit == "frame" else image[::-1]

    def _cut(self, volume: Any, view: View) -> np.ndarray:
        at: list[Any] = [slice(None)] * 3
        at[self.planes.index(view.plane)] = view.index
        image = volume[tuple(at)]
        return self._turn(array(image), view.plane)

    def images(self, view: View) -> dict[str, np.ndarray | str | None]:
        """Name → the whole real image (H, W) of a part, or the reason why there is none; |differences| last, without gain."""
        cuts = {n: self._cut(v, view) if is_array(v) else v for n, v in self.volumes.items()}
        images = {name: part_of(cut, view.part) if is_array(cut) else cut for name, cut in cuts.items()}
        for error, pair in self.errors.items():
            missing = [name for name in pair if not is_array(images[name])]
            with np.errstate(invalid="ignore"):  # inf − inf is marked as not finite
                if missing:
                    images[error] = images[missing[0]] if is_array(cuts[missing[0]]) else f"no {missing[0]}"
                elif view.part in LOGARITHMIC:
                    images[error] = "of images only"
                elif view.part == "phase":
                    images[error] = abs(np.angle(cuts[pair[0]] * np.conj(cuts[pair[1]])))
                else:
                    images[error] = abs(images[pair[0]] - images[pair[1]])
        return {name: image for name, image in images.items() if name not in view.hidden}

    def _difference(self, error: str, part: str) -> str:
        """An error's name: of complex data it is the magnitudes' difference that is shown, not the difference's magnitude."""
        output, truth = self.errors[error]
        return f"||{output}| − |{truth}||" if part == "magnitude" else error

    def tiles(self, view: View) -> dict[str, Tile]:
        """Name (an error's with its gain) → what is painted, all of one size."""
        rows, columns = (slice(*b) if b else slice(None) for b in (view.rows, view.columns))
        low, high = scale = self.scale(view)
        cmap = "twilight" if view.part == "phase" else view.cmap
        height, width, tiles = *self.shown(view), {}
        for name, image in self.images(view).items():
            label = f"{self._difference(name, view.part)} ×{view.gain:g}" if name in self.errors else name
            notes = [f"resampled to {' × '.join(map(str, self.shape))}"] if name in self.resampled else []
            if not is_array(image):
                tiles[label] = Tile(None, unavailable(image))
                continue
            if bad := np.count_nonzero(~np.isfinite(image)):
                notes.append(f"{bad} px not finite")
            box = image[rows, columns]
            if name in self.errors:
                pixels = paint(box, 0, (high - low) / view.gain, plots.ERROR_CMAP)
            else:
                masked = is_mask(self.volumes[name])
                pixels = paint(box, *((0, 1) if masked else scale), "gray" if masked else cmap)
            pixels = resize(pixels, height, width)
            if name in self.overlays and view.part not in FOURIER:
                label_box = resize(self._cut(self.overlays[name], view)[rows, columns], height, width)
                pixels = lay(pixels, label_box, view.opacity, view.contours)
            tiles[label] = Tile(pixels, " · ".join(notes))
        return tiles

    def notes(self, view: View, tiles: Mapping[str, Tile]) -> dict[str, str]:
        """What stands beneath each tile's name: a volume's scores in a slice of the first plane, then the tile's own note."""
        first = view.plane == self.planes[0] and view.part == self.parts[0]
        scored = self.scores(view.index) if first else {}
        texts = {name: [text_of(*score) for score in scored.get(name, {}).items()] for name in tiles}
        return {name: " · ".join([*texts[name], *([tile.note] if tile.note else [])]) for name, tile in tiles.items()}

    def scale(self, view: View) -> tuple[float, float]:
        """The values that are painted darkest and brightest; errors are painted on their distance over the gain."""
        top = max(map(abs, view.window))
        of_part = dict.fromkeys(LOGARITHMIC, DECIBELS) | dict.fromkeys(("real", "imaginary"), (-top, top))
        return (of_part | {"phase": (-np.pi, np.pi)}).get(view.part, view.window)

    def shown(self, view: View) -> tuple[int, int]:
        """Height and width of a tile: pixels square in millimeters, enlarged by a whole factor.

        To `LEAST_HEIGHT` rows if the width allows it; a box of the zoom to about the size of the whole.
        """
        spacing = [s for i, s in enumerate(self.spacing) if i != self.planes.index(view.plane)]
        if self.unit == "frame" and view.plane != self.planes[0]:
            spacing = spacing[::-1]
        size, boxes = self.size(view.plane), (view.rows, view.columns)
        whole = [n * s / min(spacing) for n, s in zip(size, spacing, strict=True)]
        height, width = ((b[1] - b[0]) * n / m if b else n for b, n, m in zip(boxes, whole, size, strict=True))
        panels = min(view.across, len(self.volumes) + len(self.errors) - len(view.hidden))
        most = max(MOST_WIDTH, LINE_WIDTH / panels)
        factor = _factor(*whole, LEAST_HEIGHT, most)
        if (height, width) != tuple(whole):
            factor = max(factor, _factor(height, width, whole[0] * factor, 1.5 * max(most, whole[1] * factor)))
        return max(1, round(height * factor * view.size)), max(1, round(width * factor * view.size))


def _factor(height: float, width: float, least: float, most: float) -> int:
    return int(max(1, min(-(-least // height), most // width)))


def text_of(metric: str, value: float) -> str:
    """Such as "SSIM 0.953" or "PSNR 31.2 dB", which doesn't break within."""
    number = {"PSNR": f"{value:.1f} dB", "NMSE": f"{value:.2g}"}.get(metric, f"{value:.3f}")
    return f"{metric} {number if not np.isnan(value) else '–'}".replace(" ", "\u00a0")
