"""Figures with matplotlib from four primitives: montage, error_map, curves, boxes."""

from lib.plots.charts import boxes, curves
from lib.plots.figures import error_map, montage
from lib.plots.style import BAD, CLASSES, ERROR_CMAP, MARKERS, PALETTE, save

__all__ = [
    "BAD", "CLASSES", "ERROR_CMAP", "MARKERS", "PALETTE", "boxes", "curves", "error_map", "montage", "save",
]  # fmt: skip
