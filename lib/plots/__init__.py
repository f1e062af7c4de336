"""Figures with matplotlib: montage, curves, boxes."""

from lib.plots.charts import boxes, curves
from lib.plots.figures import montage
from lib.plots.style import BAD, CLASSES, ERROR_CMAP, MARKERS, PALETTE, save

__all__ = [
    "BAD", "CLASSES", "ERROR_CMAP", "MARKERS", "PALETTE", "boxes", "curves", "montage", "save",
]  # fmt: skip
