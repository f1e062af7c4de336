"""The metrics by name: how each is computed, which way is better, its title, and what a table says about it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib.metrics import reconstruction, segmentation

IMAGE_KINDS = ("kspace", "cine")


@dataclass(frozen=True)
class Metric:
    """A line of METRICS, called as its function is.

    Parameters
    ----------
    function : of images (output, target, data_range=None) to a number, see `lib.metrics.reconstruction`
    title : its name in tables
    unit : of its values
    lower_is_better : which way is better
    window, data_range, reduction : its definition
    scored : the kinds of data on which every evaluation computes it (kspace, cine; labels)
        One of all images is shown wherever results are.
    """

    function: Callable[..., Any]
    title: str
    unit: str = ""
    lower_is_better: bool = False
    window: str | None = None
    data_range: str | None = "volume maximum"
    reduction: str = "volume"
    scored: tuple[str, ...] = IMAGE_KINDS

    def __call__(self, *arrays: Any, **settings: Any) -> Any:
        return self.function(*arrays, **settings)

    @property
    def label(self) -> str:
        """The title with its unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def takes_region(self) -> bool:
        """Whether it can be restricted to a region, by `where`."""
        return "where" in inspect.signature(self.function).parameters


_UNIFORM = "uniform 7×7"
METRICS: dict[str, Metric] = {
    "ssim": Metric(reconstruction.ssim, "SSIM", window=_UNIFORM, reduction="mean over slices"),
    "psnr": Metric(reconstruction.psnr, "PSNR", "dB"),
    "nmse": Metric(reconstruction.nmse, "NMSE", lower_is_better=True, data_range=None),
    "ssim_gaussian": Metric(
        reconstruction.ssim_gaussian, "Gaussian SSIM", window="Gaussian 11×11, σ 1.5", reduction="mean over slices",
        scored=(),
    ),
    "ssim3d": Metric(reconstruction.ssim3d, "3-D SSIM", window="uniform 7×7×7", scored=("cine",)),
    "nrmse": Metric(reconstruction.nrmse, "NRMSE", lower_is_better=True, data_range=None, scored=("cine",)),
    "ssim_foreground": Metric(
        reconstruction.ssim_foreground, "SSIM, SNU foreground", reduction="mean over slices", scored=(),
        window=f"{_UNIFORM}, images zeroed outside the SNU foreground",
    ),
    "dice": Metric(segmentation.dice, "Dice", data_range=None, reduction="volume, per class", scored=("labels",)),
    "hausdorff95": Metric(
        segmentation.hausdorff95, "95 % Hausdorff distance", lower_is_better=True, data_range=None,
        reduction="volume, per class", scored=(),
    ),
}  # fmt: skip


def scored(kind: str) -> list[str]:
    """The metrics that every evaluation of this kind of data computes: "kspace", "cine" or "labels"."""
    return [name for name, metric in METRICS.items() if kind in metric.scored]


def standard() -> list[str]:
    """The metrics of all images, of volumes and of single slices: those shown wherever results are."""
    return [name for name, metric in METRICS.items() if set(IMAGE_KINDS) <= set(metric.scored)]


def lower_is_better(label: str) -> bool:
    """Whether less is better of what a table calls `label`: a metric's title, and maybe more behind it ("NMSE at 4×")."""
    titles = {metric.title: metric for metric in METRICS.values() if label.startswith(metric.title)}
    return titles[max(titles, key=len)].lower_is_better if titles else False


def definitions() -> dict[str, dict[str, str | None]]:
    """Window, data range and reduction of every metric: what a table that shows it has to say."""
    return {n: {"window": m.window, "data_range": m.data_range, "reduction": m.reduction} for n, m in METRICS.items()}
