"""Widgets for notebooks; the only part of lib that knows ipywidgets."""

from lib.viewer.kspace_playground import KSpacePlayground
from lib.viewer.run_comparison import RunComparison, show_case
from lib.viewer.run_picker import RunPicker
from lib.viewer.slice_viewer import SliceViewer, show
from lib.viewer.sources import case, case_names

__all__ = ["KSpacePlayground", "RunComparison", "RunPicker", "SliceViewer", "case", "case_names", "show", "show_case"]
