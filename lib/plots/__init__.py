"""Figures with matplotlib: montage, curves, boxes; a first picture while the rest is made."""

from lib.plots.charts import boxes, curves
from lib.plots.figures import montage
from lib.plots.preview import preview
from lib.plots.style import BAD, CLASSES, ERROR_CMAP, MARKERS, PALETTE, UNLABELED, save

__all__ = [
    "BAD", "CLASSES", "ERROR_CMAP", "MARKERS", "PALETTE", "UNLABELED", "boxes", "curves", "montage", "preview", "save",
]  # fmt: skip
