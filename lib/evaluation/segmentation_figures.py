"""Pictures of segmentations: a slice of a result.h5, three planes of a volume, samples of a masks.h5."""

from pathlib import Path
from typing import Any

import numpy as np

from lib import plots
from lib.data import image_files, lgg, lits
from lib.data.case_files import to_radiological
from lib.data.hdf5 import open_hdf5
from lib.evaluation.segmentation import Score, slices_by_dice
from lib.inference import results
from lib.plots.panels import window_of

OUTLINES = "outlines"


def picture(path: Path, scores: list[Score], which: str = "median"):
    """A figure of one slice: image, label, prediction, outlines; without truths, the middle slice of the first case.

    Parameters
    ----------
    path : of the result.h5
    scores : of its cases
    which : "worst", "median" or "best" by `slices_by_dice`
    """
    order = slices_by_dice(scores)
    if order:
        value, name, s = order[{"worst": 0, "median": len(order) // 2, "best": -1}[which]]
        case = results.case(path, name)
        slice_name = str(case.slice_names[s])
        place = f"{name}, slice {slice_name}" if slice_name.isdigit() else slice_name
        title = f"{which}: {place}, Dice {value:.3f}"
    else:
        case = results.case(path)
        s, title = len(case["output"]) // 2, f"{case.name}, no label"
    names = {"input": "image", "truth": "label", "output": "prediction"}
    seen = {n: to_radiological(case.part(key, s), case.about) for key, n in names.items() if key in case.images}
    image = seen.pop("image")
    panels = dict.fromkeys(("image", *seen), image)
    if len(seen) > 1:
        panels[OUTLINES] = image
    outlines = {OUTLINES: seen} if len(seen) > 1 else {}
    about = {"labels": seen, "outlines": outlines, "classes": list(case.classes), "ignore_index": case.ignore_index}
    return plots.montage(panels, window_of({"image": image}), title=title, **about)


def planes(
    image: Any, labels: dict[str, Any], classes: list[str], spacing=(1.0, 1.0, 1.0), at=None, title: str | None = None,
    ignore_index: int | None = None,
):  # fmt: skip
    """A figure of three planes of a volume, with each label laid over it in a column.

    Parameters
    ----------
    image : (D, H, W)
    labels : class numbers (D, H, W), by name
    classes : names, the background first
    spacing : (z, y, x) in mm
    at : voxel (z, y, x) through which the planes go; None: the middle of what the last label shows, or of the volume
    title : above the figure
    ignore_index : the label of voxels that aren't labeled; None: all are
    """
    labels = {name: np.asarray(label) for name, label in labels.items()}
    if at is None:
        last = [*labels.values()][-1]
        where = np.argwhere((last > 0) & (last != ignore_index))
        at = np.median(where, axis=0) if len(where) else np.array(image.shape) // 2
    shown = lits.planes(np.asarray(image), spacing, at)
    cut = {name: lits.planes(label, spacing, at) for name, label in labels.items()}
    panels = {f"{plane}: {name}": shown[plane] for plane in shown for name in cut}
    over = {f"{plane}: {name}": cut[name][plane] for plane in shown for name in cut}
    window, columns = tuple(np.percentile(image, (0.5, 99.5))), len(cut) if len(cut) > 1 else 3
    return plots.montage(panels, window, columns, title, labels=over, classes=classes, ignore_index=ignore_index)


def case_planes(path: Path, name: str | None = None, title: str | None = None):
    """`planes` of a case of volumes: the prediction and, if known, the label.

    Parameters
    ----------
    path : of the result.h5
    name : of the case; None: the first
    title : above the figure; None: the case's name
    """
    case = results.case(path, name)
    labels = {"prediction": case["output"]} | ({"label": case["truth"]} if "truth" in case.images else {})
    about = {"title": title or case.name, "ignore_index": case.ignore_index}
    return planes(case["input"], labels, list(case.classes), case.spacing, **about)


def mask_table(masks: Path, source: Path, count: int = 4):
    """A figure of samples of a masks.h5, evenly chosen: input, prediction and, if it is known, label and outlines.

    Parameters
    ----------
    masks : the masks.h5
    source : the result.h5 beside it, or the folder of the images
    count : samples at most
    """
    panels, labels, outlines = {}, {}, {}
    with open_hdf5(masks) as file:
        names, classes = list(file), tuple(map(str, file.attrs.get("classes", ()))) or lgg.CLASSES
        names = [names[i] for i in sorted({round(q) for q in np.linspace(0, len(names) - 1, count)})]
        masks_shown = {name: file[name][0] for name in names}
    if source.is_dir():
        paths = {p.stem: p for p in image_files.images_in(source)}
        inputs = {name: (image_files.read_image(paths[name], masks_shown[name].shape)[1], None) for name in names}
    else:
        inputs = _inputs(source, names)
    for name in names:
        image, truth = inputs[name]
        laid = ({} if truth is None else {"label": truth}) | {"prediction": masks_shown[name].round()}
        rows = ("image", *laid, *([] if truth is None else [OUTLINES]))
        panels |= {f"{name}: {row}": image / max(float(image.max()), 1) for row in rows}
        labels |= {f"{name}: {row}": label for row, label in laid.items()}
        outlines |= {} if truth is None else {f"{name}: {OUTLINES}": laid}
    about = {"columns": len(panels) // len(names), "labels": labels, "outlines": outlines, "classes": classes}
    return plots.montage(panels, window=(0, 1), **about)


def _inputs(path: Path, names: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    inputs = {}
    for case in results.cases(path).values():
        for s, name in enumerate(case.slice_names):
            if name in names:
                inputs[name] = (case.part("input", s), case.part("truth", s) if "truth" in case.images else None)
    return inputs
