"""Figures with matplotlib: montage, curves, boxes."""

from lib.plots.charts import boxes, curves
from lib.plots.figures import montage
from lib.plots.style import BAD, CLASSES, ERROR_CMAP, MARKERS, PALETTE, UNLABELED, save

__all__ = [
    "BAD", "CLASSES", "ERROR_CMAP", "MARKERS", "PALETTE", "UNLABELED", "boxes", "curves", "montage", "save",
]  # fmt: skip
