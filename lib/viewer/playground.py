"""One slice of a sample scan, undersampled and reconstructed as a reader chooses: what the k-space playground shows.

The image is real; coils, object phase and noise are simulated. All is in the truth's window: 0 is black, 1 white.
"""

import os
from functools import lru_cache
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lib import InputError, metrics, models, plots
from lib.kspace import calibrated, coils, ifft2c, rss
from lib.kspace.grappa import grappa
from lib.kspace.sampling import KINDS, Mask, make_mask, point_spread
from lib.phantoms import sample_scans
from lib.plots.panels import white_point
from lib.runs.weights import load, network_name
from lib.text import one_line, pluralize

SIZE = 256  # lines and readout points of the field of view
DECADES = 4  # of k-space that are shown
FLOOR_DB, GRID_DB = -60.0, -20.0  # of the point spread's picture: its bottom, and the spacing of its lines
METHODS = ("zero-filled", "GRAPPA", "TV-SENSE", "network")
MASK, KSPACE, SPREAD, TRUTH, ERROR = (
    "mask",
    "k-space × mask",
    "point spread, lines 20 dB apart",
    "truth",
    "|image − truth|",
)


class Settings(NamedTuple):
    """What a reader chooses; `check` says what is allowed.

    Parameters
    ----------
    kind, acceleration, num_low_frequencies : of the mask, see `make_mask`
    snr : mean signal of the head over the noise, above 0; inf: no noise
    num_coils : simulated ones
    shown : the method, one of METHODS
    seed : of the mask, with the playground's own
    """

    kind: str = "equispaced"
    acceleration: int = 4
    num_low_frequencies: int = 24
    snr: float = 50.0
    num_coils: int = 8
    shown: str = "zero-filled"
    seed: int = 0


CHOICES = {  # what a reader may choose; of snr anything above 0
    "kind": KINDS, "acceleration": range(1, 13), "num_low_frequencies": range(65), "num_coils": range(1, 17),
    "shown": METHODS, "seed": range(21),
}  # fmt: skip


def check(settings: Settings) -> None:
    """InputError for the first setting that isn't among CHOICES."""
    for name, values in CHOICES.items():
        if getattr(settings, name) not in values:
            expected = f"{values[0]} to {values[-1]}" if isinstance(values, range) else f"one of {', '.join(values)}"
            raise InputError(name, f"{getattr(settings, name)!r}", expected)
    if not settings.snr > 0:
        raise InputError("snr", f"{settings.snr!r}", "more than 0")


class PlaygroundView(NamedTuple):
    """What is shown.

    Parameters
    ----------
    panels : by name, (SIZE, SIZE) in 0 … 1, or why there is none
    notes : to the panels
    problem : what to tell the reader, if anything
    """

    panels: dict[str, np.ndarray | str]
    notes: dict[str, str]
    problem: str = ""


class Playground:
    """A slice of a sample scan in a field of view of SIZE × SIZE of its own pixels, never resampled.

    What doesn't change between two calls is kept.

    Parameters
    ----------
    scan : a sample's name
    slice : its number; None: the middle one
    weights : a task, a run folder or a folder of weights of a VarNet or SenseUNet, read when it is first needed
    seed : of coils, phase, noise and masks
    gain : of the error, above 0

    Raises
    ------
    InputError
        If there is no such scan or slice, and for weights of another network.
    """

    def __init__(
        self, scan: str = "brain_c_pd", slice: int | None = None, weights: os.PathLike | str | None = None,
        seed: int = 0, gain: float = 5.0,
    ):  # fmt: skip
        sample = sample_scans.scan(scan)
        number = len(sample.volume) // 2 if slice is None else slice
        if not isinstance(number, Integral) or not 0 <= number < len(sample.volume):
            raise InputError(f"slice {slice} of {scan}", "", f"0 to {len(sample.volume) - 1}")
        if not gain > 0:
            raise InputError("gain", f"got {gain}", "more than 0")
        if weights and models.entry(name := network_name(weights)).batch != "kspace":
            expected = "VarNet or SenseUNet, which get the k-space of all coils and its mask"
            raise InputError("weights", f"{weights}: a {name}", expected)
        placed = sample_scans.place(sample, (SIZE * sample.spacing[1], SIZE * sample.spacing[2])).volume[number]
        self.truth = torch.from_numpy(placed / white_point(placed))
        self.head, self.spacing = metrics.foreground(self.truth), sample.spacing
        self.name, self.weights, self.seed, self.gain = f"{scan}, slice {number}", weights, seed, gain
        self._coils, self._network = lru_cache(3)(self._coils), lru_cache(1)(self._network)
        self._full, self._acquire = lru_cache(3)(self._full), lru_cache(1)(self._acquire)

    def _coils(self, count: int) -> tuple[Tensor, Tensor]:
        """Full k-space (C, H, W) without noise, and noise whose real and imaginary parts have a deviation of 1."""
        maps = coils.simulate((1, SIZE, SIZE), count, self.seed, voxel=self.spacing)[0]
        phase = coils.smooth_phase((1, SIZE, SIZE), self.seed)[0]
        noise = coils.acquire(torch.zeros_like(self.truth), maps, 1.0, None, self.seed)
        return coils.acquire(self.truth, maps, 0.0, phase, self.seed), noise

    def _full(self, snr: float, count: int) -> tuple[Tensor, Tensor]:
        """Full k-space (C, H, W) with noise, and all coils' strength (H, W) from DECADES below the highest: 0 to 1."""
        clean, noise = self._coils(count)
        kspace = clean + float(self.truth[self.truth > 0.1].mean()) / snr * noise
        strength = rss(kspace)
        return kspace, (1 + (strength / strength.max()).clamp_min(1e-12).log10() / DECADES).clamp(0, 1)

    def _network(self) -> torch.nn.Module:
        if self.weights is None:
            raise InputError("no weights given", "", "a task, a run folder or a folder of weights")
        return load(self.weights, network_name(self.weights)).model

    def acquire(self, settings: Settings) -> tuple[Mask, Tensor]:
        """The mask and k-space (C, H, W), zero where it isn't sampled. InputError: see `check`."""
        check(settings)
        return self._acquire(settings._replace(shown=METHODS[0]))

    def _acquire(self, settings: Settings) -> tuple[Mask, Tensor]:
        kind, acceleration, lines, snr, count, _, seed = settings
        mask = make_mask(kind, SIZE, acceleration, num_low_frequencies=lines, seed=self.seed + seed)
        return mask, self._full(snr, count)[0] * mask.columns

    def image(self, settings: Settings) -> Tensor:
        """The image (H, W) by the method `settings.shown`. InputError if the method can't be used."""
        mask, kspace = self.acquire(settings)
        if settings.shown == "TV-SENSE":
            return calibrated.by_tv(calibrated.calibrated(kspace, mask.columns))
        if settings.shown == "network":
            with torch.no_grad():
                return self._network()(kspace[None], mask.columns[None, None, None], mask.center_count)[0]
        return rss(ifft2c(grappa(kspace, mask.columns) if settings.shown == "GRAPPA" else kspace))

    def scan(self, settings: Settings) -> PlaygroundView:
        """What is acquired: mask, k-space of all coils on a logarithmic scale, and the mask's point spread."""
        try:
            mask, strength = self.acquire(settings)[0], self._full(settings.snr, settings.num_coils)[1]
            spread = point_spread(mask.columns).numpy()
        except InputError as error:
            return PlaygroundView(dict.fromkeys((MASK, KSPACE, SPREAD), str(error)), {}, str(error))
        panels = {
            MASK: mask.columns.expand(SIZE, SIZE).numpy(), KSPACE: (strength * mask.columns).numpy(),
            SPREAD: draw_spread(spread, SIZE),
        }  # fmt: skip
        asked = f"{mask.acceleration:g}× asked, {mask.achieved:.2f}× achieved"
        notes = {MASK: f"{int(mask.columns.sum())} of {SIZE} lines · {asked}", SPREAD: describe_spread(spread)}
        return PlaygroundView(
            panels, notes | {KSPACE: f"{pluralize(settings.num_coils, 'coil')} together · {DECADES} decades"}
        )

    def result(self, settings: Settings) -> PlaygroundView:
        """Image, truth and error with the image's scores; where there is no image, the reason in its place."""
        truth, shown = self.truth.numpy(), settings.shown
        seen = {TRUTH: f"{self.name} · without noise"}
        try:
            image = self.image(settings).numpy()
            if not np.isfinite(image).all():
                raise InputError(shown, "the image holds values that are not finite")
        except Exception as error:  # whatever a network's run fails with is for the reader to see
            return PlaygroundView({shown: one_line(error), TRUTH: truth, ERROR: "no image"}, seen, one_line(error))
        ssim, psnr, nmse = (f(image, truth, where=self.head) for f in (metrics.ssim, metrics.psnr, metrics.nmse))
        notes = {shown: f"SSIM {ssim:.3f} · PSNR {psnr:.1f} dB", ERROR: f"NMSE {nmse:.4f} · scores: in the head"}
        return PlaygroundView({shown: image, TRUTH: truth, ERROR: abs(image - truth)}, seen | notes)

    def figure(self, settings: Settings) -> Figure:
        """The six panels as a static picture. InputError: see `check`."""
        check(settings)
        scan, result = self.scan(settings), self.result(settings)
        return plots.montage(
            result.panels | scan.panels, (0, 1), 3, f"{settings.shown}, {describe(settings)}",
            errors={ERROR: self.gain}, notes=scan.notes | result.notes,
        )  # fmt: skip


def describe(settings: Settings) -> str:
    """The settings in one line, without the method."""
    noise = "no noise" if settings.snr == float("inf") else f"SNR {settings.snr:g}"
    return f"{settings.kind} {settings.acceleration:g}×, {settings.num_low_frequencies} center lines, {noise}"


def describe_spread(spread: np.ndarray) -> str:
    """The highest side lobe of a point spread (W,) outside the main lobe: its level and how far away it stands."""
    side = spread[: len(spread) // 2 + 1][::-1]  # the other side is its mirror image
    end = int(np.argmax(np.diff(side, append=np.inf) > 0))  # the main lobe falls until here
    if not side[end:].max() > 10 ** (FLOOR_DB / 20):
        return f"no side lobe above −{-FLOOR_DB:g} dB"
    place = end + int(side[end:].argmax())
    return f"highest side lobe {20 * np.log10(side[place]):.1f} dB at ±{place} px".replace("-", "−")


def draw_spread(spread: np.ndarray, height: int) -> np.ndarray:
    """A point spread as a picture: bars from FLOOR_DB up to 0 dB, with a line every 20 dB.

    Parameters
    ----------
    spread : (W,), peak 1
    height : rows

    Returns
    -------
    float32 (height, W) in 0 … 1
    """
    level = 20 * np.log10(spread.clip(10 ** (FLOOR_DB / 20), None))
    at = np.linspace(0, FLOOR_DB, height)
    picture = np.full((height, len(spread)), 0.08, np.float32)
    for line in np.arange(0, FLOOR_DB, GRID_DB)[1:]:
        picture[abs(at - line).argmin()] = 0.3
    return np.where((at[:, None] <= level) & (level > FLOOR_DB), np.float32(0.85), picture)
