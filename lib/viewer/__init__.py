"""Widgets for notebooks; the only part of lib that knows ipywidgets."""

from lib.inference.results import case_names, result_of
from lib.viewer.kspace_playground import KSpacePlayground
from lib.viewer.loading import case
from lib.viewer.prediction import show_prediction
from lib.viewer.run_comparison import RunComparison, show_case
from lib.viewer.run_picker import RunPicker
from lib.viewer.slice_viewer import SliceViewer, link, show

__all__ = [
    "KSpacePlayground",
    "RunComparison",
    "RunPicker",
    "SliceViewer",
    "case",
    "case_names",
    "link",
    "result_of",
    "show",
    "show_case",
    "show_prediction",
]


def __getattr__(name: str):
    if name == "LiveChart":  # fastai's import takes seconds, which only those who train should wait for
        from lib.viewer.live_chart import LiveChart

        return LiveChart
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
