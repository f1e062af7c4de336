"""Figures with matplotlib: montages of images, curves, boxes, error maps."""

from lib.plots.figures import BAD, CLASSES, ERROR_CMAP, MARKERS, PALETTE, boxes, curves, error_map, montage, save

__all__ = [
    "BAD", "CLASSES", "ERROR_CMAP", "MARKERS", "PALETTE", "boxes", "curves", "error_map", "montage", "save",
]  # fmt: skip
