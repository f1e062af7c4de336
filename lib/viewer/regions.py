"""Regions and lines drawn on panels: mean, SD, SNR and contrast of each, and the values along a line."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from lib import InputError
from lib.viewer.slice_model import SliceModel
from lib.viewer.view import View

KINDS = ("rectangle", "ellipse", "profile")
MOST_SHAPES = 100


class Shape(NamedTuple):
    """What was drawn on the panels of a plane.

    Parameters
    ----------
    kind : one of KINDS
    box : (x0, y0, x1, y1) in pixels from the image's upper left corner, whose pixel's center is (.5, .5); a profile runs
        from (x0, y0) to (x1, y1)
    name : a letter; "" of a profile
    plane : its name
    background : whether noise is taken from it
    """

    kind: str
    box: tuple[float, float, float, float]
    name: str
    plane: str
    background: bool = False


def parse_shapes(shapes: Sequence[Mapping[str, Any]]) -> list[Shape]:
    """Shapes from what a saved state holds. InputError if it is none."""
    try:
        parsed = [Shape(**{**shape, "box": tuple(map(float, shape["box"]))}) for shape in shapes]
        good = all(s.kind in KINDS and len(s.box) == 4 and np.isfinite(s.box).all() for s in parsed)
    except (TypeError, KeyError, ValueError):
        good = False
    if not good or len(parsed) > MOST_SHAPES:
        expected = f"at most {MOST_SHAPES} of {{kind: {', '.join(KINDS)}, box: four numbers, name, plane}}"
        raise InputError("SliceViewer", f"shapes are {str(shapes)[:80]}", expected)
    return parsed


def inside(shape: Shape, height: int, width: int) -> np.ndarray:
    """bool (height, width): the pixels whose centers lie in a rectangle or an ellipse."""
    x0, y0, x1, y1 = shape.box
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    if shape.kind == "rectangle":
        return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 <= 1


def region_table(images: Mapping[str, np.ndarray | str | None], shapes: Sequence[Shape]) -> pd.DataFrame:
    """What regions hold in every panel that has an image; pixels that aren't finite are left out.

    Parameters
    ----------
    images : (H, W) by panel
    shapes : those drawn; profiles are passed over

    Returns
    -------
    A row for each panel and region: pixels, mean, SD (of a sample, n − 1); SNR, mean over the background's SD; contrast
    to the first region that isn't background, (m − m₁) / (m + m₁), and CNR, |m − m₁| over the background's SD. NaN
    without a background or for the region itself.
    """
    regions, rows = [shape for shape in shapes if shape.kind != "profile"], []
    for panel, image in images.items():
        if isinstance(image, str) or image is None:
            continue
        values = {shape.name: image[inside(shape, *image.shape)].astype(np.float64) for shape in regions}
        values = {name: found[np.isfinite(found)] for name, found in values.items()}
        noise = next((_deviation(values[s.name]) for s in regions if s.background), np.nan)
        first = next((s.name for s in regions if not s.background), None)
        for shape in regions:
            found, signal = values[shape.name], _mean(values[shape.name])
            row = {"panel": panel, "region": shape.name, "pixels": found.size, "mean": signal, "SD": _deviation(found)}
            row |= {"SNR": np.nan if shape.background else _ratio(signal, noise), "contrast": np.nan, "CNR": np.nan}
            if not shape.background and shape.name != first:
                other = _mean(values[first])
                row["contrast"] = _ratio(signal - other, signal + other)
                row["CNR"] = _ratio(abs(signal - other), noise)
            rows.append(row)
    columns = ("panel", "region", "pixels", "mean", "SD", "SNR", "contrast", "CNR")
    return pd.DataFrame(rows, columns=columns)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else np.nan


def _ratio(above: float, below: float) -> float:
    return above / below if below else np.nan


def line_profile(image: np.ndarray, shape: Shape) -> np.ndarray:
    """Values along a line (n,), a pixel or less apart, both ends included, linear between the pixels' centers."""
    x0, y0, x1, y1 = shape.box
    count = int(np.ceil(np.hypot(x1 - x0, y1 - y0))) + 1
    points = np.linspace(y0, y1, count) - 0.5, np.linspace(x0, x1, count) - 0.5
    return ndimage.map_coordinates(image.astype(np.float64), points, order=1, mode="nearest")


def measured(slices: SliceModel, view: View, shapes: Sequence[Shape]) -> dict[str, Any]:
    """What a viewer's browser shows of the shapes drawn on a view's plane.

    Returns
    -------
    {columns, rows: of `region_table` without those that hold nothing, profile: {lines: {panel: values}, length, unit}},
    the profile's of the images, not their errors.
    """
    shapes, images = [shape for shape in shapes if shape.plane == view.plane], slices.images(view)
    found = region_table(images, shapes).dropna(axis=1, how="all")
    rows = found.astype(object).where(found.notna(), None).to_numpy().tolist()
    line = next((shape for shape in shapes if shape.kind == "profile"), None)
    if line is None:
        return {"columns": list(found), "rows": rows, "profile": {}}
    drawn = {n: image for n, image in images.items() if isinstance(image, np.ndarray) and n not in slices.errors}
    lines = {n: [v if np.isfinite(v) else None for v in line_profile(i, line).tolist()] for n, i in drawn.items()}
    known, axis = slices.millimeters, slices.planes.index(view.plane)
    tall, wide = [step for i, step in enumerate(known) if i != axis] if known else (1, 1)
    x0, y0, x1, y1 = line.box
    length = float(np.hypot((x1 - x0) * wide, (y1 - y0) * tall))
    profile = {"lines": lines, "length": length, "unit": "mm" if known else "px"}
    return {"columns": list(found), "rows": rows, "profile": profile}
