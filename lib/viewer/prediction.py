"""What one network has made of a case, in the viewer or as a picture."""

from os import PathLike
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lib import ROOT
from lib.evaluation.segmentation_figures import mask_table
from lib.inference.results import case_names
from lib.viewer.loading import case
from lib.viewer.slice_viewer import SliceViewer, show


def show_prediction(
    result: PathLike | str, interactive: bool, name: str | None = None, images: PathLike | str | None = None,
    **settings: Any,
) -> SliceViewer | Figure:  # fmt: skip
    """A case of a result.h5: input, output, truth and error; of a segmentation image, prediction and label.

    Parameters
    ----------
    result : a task, a run folder or a result.h5
    interactive : the live viewer; False: a picture
    name : the case; None: the first
    images : the folder of images that `result`, then a masks.h5, was made from: a table of a few of them is returned
    **settings : of `show`
    """
    if images:
        return mask_table(Path(result), ROOT / images)
    name = name or case_names(result)[0]
    found = case(result, name)
    settings = {"spacing": found.spacing, "planes": found.planes, "unit": found.unit, "title": name} | settings
    if not found.classes:
        shown = {key: found.volumes[key] for key in ("input", "output", "truth") if key in found.volumes}
        return show(shown, interactive, error_of=("output", "truth") if "truth" in shown else None, **settings)
    overlays = {"prediction": found.volumes["output"]}
    overlays |= {"label": found.volumes["truth"]} if "truth" in found.volumes else {}
    shown = dict.fromkeys(("image", *overlays), found.volumes["input"])
    largest = int((overlays["prediction"] > 0).sum((1, 2)).argmax())  # the middle may show nothing
    settings |= {"start": largest, "error_of": None, "overlays": overlays}
    settings |= {"classes": found.classes, "ignore_index": found.ignore_index}
    return show(shown, interactive, **settings)
