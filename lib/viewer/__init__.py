"""Widgets for notebooks; the only part of lib that knows ipywidgets."""

from lib.viewer.slice_viewer import SliceViewer, show

__all__ = ["SliceViewer", "show"]
