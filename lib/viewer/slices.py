"""Volumes cut into the panels that a viewer shows: planes, parts of complex data, error maps, zoom. No widgets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from skimage import transform

from lib import InputError, plots
from lib.kspace import fft2c
from lib.viewer.paint import lay, paint, resize
from lib.viewer.sources import read

PLANES = {"slice": ("axial", "coronal", "sagittal"), "frame": ("frames", "x–t", "y–t")}
PARTS = ("magnitude", "phase", "real", "imaginary", "k-space")
CMAPS = ("gray", "viridis", "cividis", "inferno", "magma")  # all grow brighter evenly, for the colour-blind too
LEAST, MOST, DECIBELS = 260, 480, (-80.0, 0.0)  # a panel's height, and the width up to which it grows; of k-space
Scores = Callable[[int], Mapping[str, Mapping[str, float]]]


class View(NamedTuple):
    """What is to be seen: which slice of which plane, and how it is painted. `rows`, `columns`: the box, of the plane."""

    index: int
    plane: str
    window: tuple[float, float]
    gain: float = 5
    part: str = "magnitude"
    cmap: str = "gray"
    opacity: float = 0.5
    contours: bool = False
    rows: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None
    hidden: tuple[str, ...] = ()


class Slices:
    """Volumes (S, H, W) and what is to be seen of them; parameters and errors: see `SliceViewer`."""

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
        scores: Scores | None = None,
        resample: bool = False,
    ):
        sources = {name: read(name, volume) for name, volume in volumes.items()}
        self.volumes = {name: volume for name, (volume, _) in sources.items()}
        arrays = {name: volume for name, volume in self.volumes.items() if plots.is_array(volume)}
        if not arrays:
            found = f"n/a only ({', '.join(volumes)})" if volumes else "no volumes"
            raise InputError(f"SliceViewer: {found}, expected at least one volume (slices, H, W)")
        self.first = "truth" if "truth" in arrays else max(arrays, key=lambda name: arrays[name].ndim)
        self.shape = tuple(arrays[self.first].shape)
        if len(self.shape) != 3 or 0 in self.shape:
            raise InputError(f"SliceViewer: {self.first!r} has shape {self.shape}, expected (slices, H, W)")
        self.overlays = {name: read(name, label)[0] for name, label in (overlays or {}).items()}
        plots.check_names("SliceViewer, overlays", self.overlays, volumes)
        self.resampled = set()
        for kind, group in (("", self.volumes), ("the overlay of ", self.overlays)):
            for name, volume in group.items():
                if plots.is_array(volume):
                    group[name] = self._on_grid(f"{kind}{name!r}", name, volume, resample)
        if not spacing:
            spacing = sources[self.first][1] or (1.0, 1.0, 1.0)
        if len(spacing) != 3 or not all(s > 0 for s in spacing):
            raise InputError(f"SliceViewer: spacing is {spacing}, expected three millimetres (z, y, x)")
        if unit == "frame":  # time has no millimetres: x–t is about as wide as the image
            spacing = (spacing[2] * max(1, round(self.shape[2] / self.shape[0])), *spacing[1:])
        self.spacing = tuple(spacing)
        pairs = [error_of] if error_of and isinstance(error_of[0], str) else list(error_of or ())
        if pairs == [("output", "truth")] and not {"output", "truth"} <= set(volumes):
            pairs = []  # the default, and nothing to compare
        plots.check_names("SliceViewer, error_of", (name for pair in pairs for name in pair), volumes)
        self.errors = {f"|{output} − {truth}|": (output, truth) for output, truth in pairs}
        self.unit, self.classes, self.scores = unit, list(classes), scores or (lambda index: {})
        self.planes = tuple(planes or PLANES.get(unit, PLANES["slice"]))
        self.complex = any(_is_complex(volume) for volume in arrays.values())

    def _on_grid(self, what: str, name: str, volume: Any, resample: bool) -> Any:
        """The volume on the grid of the first: masks (W,) and (H, W) repeated, others of its shape, or resampled to it."""
        shape = tuple(volume.shape)
        if _is_mask(volume) and shape in (self.shape[1:], self.shape[2:]):
            return np.broadcast_to(np.asarray(volume), self.shape)
        if shape == self.shape:
            return volume
        if not resample or len(shape) != 3:
            raise ShapeError(f"SliceViewer: {what} has shape {shape}, expected {self.shape} like {self.first!r}")
        self.resampled.add(name)
        whole = np.asarray(volume)
        if whole.dtype.kind in "bui":  # classes: nearest, no values between
            return transform.resize(whole, self.shape, order=0, preserve_range=True, anti_aliasing=False).astype(
                whole.dtype
            )
        return transform.resize(plots.magnitude(whole), self.shape, order=1, preserve_range=True)

    def window(self, window: tuple[float, float] | None = None) -> tuple[float, float]:
        """`window`, or the truth's (without a truth that of all volumes but masks), from a part of the voxels."""
        return plots.window_of(self._sample(), window)

    def limits(self, window: tuple[float, float]) -> tuple[float, float]:
        """The smallest and largest value that a window may have: 0, the data's and the first window's own."""
        values = [v[np.isfinite(v)] for v in map(plots.magnitude, self._sample().values())]
        return tuple(float(f([0.0, *window, *(f(v) for v in values if v.size)])) for f in (min, max))

    def _sample(self) -> dict[str, Any]:
        """Some voxels of every volume but masks."""
        part = tuple(slice(None, None, max(1, n // most)) for n, most in zip(self.shape, (32, 256, 256), strict=True))
        arrays = {n: v for n, v in self.volumes.items() if plots.is_array(v) and not _is_mask(v)}
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
        image = image.detach().cpu().numpy() if hasattr(image, "detach") else np.asarray(image)
        return self._turn(image, view.plane)

    def images(self, view: View) -> dict[str, np.ndarray | str | None]:
        """Name → the whole real image (H, W) of a part, or the reason why there is none; |differences| last, without gain."""
        cuts = {n: self._cut(v, view) if plots.is_array(v) else v for n, v in self.volumes.items()}
        images = {name: _part(cut, view.part) if plots.is_array(cut) else cut for name, cut in cuts.items()}
        for error, pair in self.errors.items():
            missing = [name for name in pair if not plots.is_array(images[name])]
            with np.errstate(invalid="ignore"):  # inf − inf is marked as not finite
                if missing:
                    images[error] = f"no {missing[0]}"
                elif view.part == "k-space":
                    images[error] = "of images only"
                elif view.part == "phase":
                    images[error] = abs(np.angle(cuts[pair[0]] * np.conj(cuts[pair[1]])))
                else:
                    images[error] = abs(images[pair[0]] - images[pair[1]])
        return {name: image for name, image in images.items() if name not in view.hidden}

    def tiles(self, view: View) -> dict[str, "Tile"]:
        """Name (an error's with its gain) → what is painted, all of one size, with the text that stands beneath the name."""
        rows, columns = (slice(*b) if b else slice(None) for b in (view.rows, view.columns))
        low, high = scale = {"phase": (-np.pi, np.pi), "k-space": DECIBELS}.get(view.part, view.window)
        if view.part in ("real", "imaginary"):
            scale = (-high, high)
        cmap = "twilight" if view.part == "phase" else view.cmap
        scored = self.scores(view.index) if view.plane == self.planes[0] and view.part == "magnitude" else {}
        height, width, tiles = *self.shown(view), {}
        for name, image in self.images(view).items():
            label = f"{name} ×{view.gain:g}" if name in self.errors else name
            notes = [text_of(metric, value) for metric, value in scored.get(name, {}).items()]
            if name in self.resampled:
                notes.append(f"resampled to {' × '.join(map(str, self.shape))}")
            if not plots.is_array(image):
                tiles[label] = Tile(None, plots.unavailable(image))
                continue
            if bad := np.count_nonzero(~np.isfinite(image)):
                notes.append(f"{bad} px not finite")
            box = image[rows, columns]
            if name in self.errors:
                pixels = paint(box, 0, (high - low) / view.gain, plots.ERROR_CMAP)
            else:
                masked = _is_mask(self.volumes[name])
                pixels = paint(box, *((0, 1) if masked else scale), "gray" if masked else cmap)
            pixels = resize(pixels, height, width)
            if name in self.overlays:
                label_box = resize(self._cut(self.overlays[name], view)[rows, columns], height, width)
                pixels = lay(pixels, label_box, view.opacity, view.contours)
            tiles[label] = Tile(pixels, " · ".join(notes))
        return tiles

    def shown(self, view: View) -> tuple[int, int]:
        """Height and width of a tile: pixels square in millimetres, enlarged by a whole factor to `LEAST` rows, if it fits."""
        spacing = [s for i, s in enumerate(self.spacing) if i != self.planes.index(view.plane)]
        if self.unit == "frame" and view.plane != self.planes[0]:
            spacing = spacing[::-1]
        box = [b[1] - b[0] if b else n for b, n in zip((view.rows, view.columns), self.size(view.plane), strict=True)]
        height, width = (n * s / min(spacing) for n, s in zip(box, spacing, strict=True))
        factor = max(1, min(-(-LEAST // height), MOST // width))
        return max(1, round(height * factor)), max(1, round(width * factor))


class ShapeError(InputError):
    """Volumes of different shape: what `resample` mends."""


class Tile(NamedTuple):
    """A panel's pixels (height, width, 3) uint8, None where there is no image, and the text beneath its name."""

    pixels: np.ndarray | None
    note: str


def text_of(metric: str, value: float) -> str:
    """Such as "SSIM 0.953" or "PSNR 31.2 dB", which doesn't break within."""
    number = {"PSNR": f"{value:.1f} dB", "NMSE": f"{value:.2g}"}.get(metric, f"{value:.3f}")
    return f"{metric} {number if not np.isnan(value) else '–'}".replace(" ", "\u00a0")


def _is_mask(volume: Any) -> bool:
    return str(volume.dtype) in ("bool", "torch.bool")


def _is_complex(volume: Any) -> bool:
    return volume.is_complex() if hasattr(volume, "is_complex") else np.dtype(volume.dtype).kind == "c"


def _part(cut: np.ndarray, part: str) -> np.ndarray | str:
    """A part of a cut (H, W): magnitude, real and imaginary in its units, phase in radians, k-space in dB of its maximum."""
    if cut.dtype == bool:
        return cut.astype(np.float32)
    if part == "magnitude":
        return plots.magnitude(cut)
    if part == "k-space":
        spectrum = abs(fft2c(_complex_tensor(cut))).numpy()
        with np.errstate(divide="ignore"):
            return np.maximum(20 * np.log10(spectrum / max(spectrum.max(), 1e-30)), DECIBELS[0])
    if not np.iscomplexobj(cut):
        return cut.astype(np.float32) if part == "real" else f"real data have no {part}{' part' * (part != 'phase')}"
    return {"phase": np.angle, "real": np.real, "imaginary": np.imag}[part](cut).astype(np.float32)


def _complex_tensor(cut: np.ndarray):
    import torch

    return torch.from_numpy(np.ascontiguousarray(cut)).to(torch.complex64)
