"""Images side by side: `montage`.

Figures are matplotlib's, already let go of by pyplot, so that a notebook shows each once, as a cell's last value. Images
are numpy or torch, (H, W), real or complex (shown as magnitude). The window comes from the truth.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lib import InputError
from lib.plots.panels import check_names, is_array, is_painted, magnitude, unavailable, window_of
from lib.plots.style import BAD, CLASSES, ERROR_CMAP, FAINT, MUTED, WIDTH, styled, wrap


@styled
def montage(
    panels: Mapping[str, Any],
    window: tuple[float, float] | None = None,
    columns: int | None = None,
    title: str | None = None,
    errors: Mapping[str, float] | None = None,
    notes: Mapping[str, str] | None = None,
    labels: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (),
) -> Figure:
    """Images side by side in one window, a label above each panel and its note below.

    Parameters
    ----------
    panels : {name: panel}
        An image (H, W); pixels (H, W, 3) uint8, shown as they are; None or a text, shown as "n/a: reason". Pixels that
        aren't finite are blue and counted.
    window : (low, high); None: from the truth (see `panels.window_of`)
    columns : panels beside each other
    title : text above all
    errors : {name: gain} of panels that are differences, shown as magnitude × gain on the window's width
    notes : {name: text}
    labels : {name: class numbers (H, W)}, laid over the image, each class but 0 in a color of its own
    classes : names of the classes; those of all but the first stand below

    Raises
    ------
    InputError
        For no panels, a shape that isn't (H, W), a gain that isn't positive, a name that isn't a panel's.
    """
    errors, notes, over = errors or {}, notes or {}, labels or {}
    images = _checked(panels, errors, notes, over)
    low, high = window_of({n: p for n, p in images.items() if n not in errors and not is_painted(p)}, window)
    rows = -(-len(panels) // (columns or 4))
    columns = min(columns or -(-len(panels) // rows), len(panels))
    wide = min(2.8 if columns > 1 else 4.2, WIDTH / columns)
    above = {n: wrap(f"{n} ×{errors[n]:g}" if n in errors else n, wide) for n in panels}
    below = {n: wrap(notes.get(n) if n in images else None, wide, 9) for n in panels}
    for name, image in images.items():
        if bad := int((~np.isfinite(image)).sum()):
            below[name] = f"{below[name]}\n{bad} px not finite".strip()
    tall, title = _heights(list(panels), images, columns, wide), wrap(title, columns * wide, 12)
    heads, feet = ([t.count("\n") + bool(t) for t in texts.values()] for texts in (above, below))
    words = sum(max(lines[i : i + columns]) for lines in (heads, feet) for i in range(0, len(panels), columns))
    height = sum(tall) + 0.17 * words + 0.18 * rows + (0.22 * (title.count("\n") + 1) + 0.08 if title else 0.0)
    many = max(1, int(columns * wide / (0.6 + 0.075 * max(map(len, classes), default=0))))  # classes in a line
    height += 0.12 + 0.2 * -(-(len(classes) - 1) // many) if classes else 0.0
    fig = plt.figure(figsize=(columns * wide, height), layout="constrained")
    fig.get_layout_engine().set(w_pad=0.03, h_pad=0.05, wspace=0, hspace=0)
    if title:
        fig.suptitle(title)
    axes = fig.subplots(rows, columns, squeeze=False, height_ratios=tall)
    for ax, (i, (name, panel)) in zip(axes.flat, enumerate(panels.items()), strict=False):
        ax.set_title(above[name], pad=4)
        ax.set_xlabel(below[name], fontsize=9, color=MUTED, labelpad=4)
        if name in images:
            scale = (0, (high - low) / errors[name]) if name in errors else (low, high)
            _show(ax, images[name], scale, ERROR_CMAP if name in errors else "gray", over.get(name))
        else:
            _show_reason(ax, unavailable(panel, notes.get(name)), wide, tall[i // columns])
        ax.spines[:].set_visible(False)
        ax.set(xticks=[], yticks=[])
    for ax in fig.axes[len(panels) :]:
        ax.remove()
    if classes:
        patches = [Patch(color=CLASSES(i % CLASSES.N), alpha=0.7, label=c) for i, c in enumerate(classes[1:])]
        fig.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), many), fontsize=9)
    return fig


def _checked(
    panels: Mapping[str, Any], errors: Mapping[str, float], *named: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The images among a montage's panels, as magnitudes unless they are pixels; InputError: see there."""
    if not panels:
        raise InputError("montage", "no panels", "at least one name with an image (H, W)")
    for what, names in zip(("errors", "notes", "labels"), (errors, *named), strict=True):
        check_names(f"montage, {what}", names, panels)
    images = {n: p if is_painted(p) else magnitude(p) for n, p in panels.items() if is_array(p)}
    for name, image in images.items():
        if image.ndim != 2 + is_painted(image) or not image.size:
            raise InputError("montage", f"panel {name!r} has shape {image.shape}", "(H, W)")
        if not errors.get(name, 1) > 0:
            raise InputError("montage", f"the gain of {name!r} is {errors[name]}", "more than 0")
    return images


def _heights(names: list[str], images: Mapping[str, np.ndarray], columns: int, wide: float) -> list[float]:
    """Inches of each line of panels `wide` inches wide: of its tallest image, without one of the tallest of all."""
    ratio = {name: image.shape[0] / image.shape[1] for name, image in images.items()}
    lines = [[ratio[n] for n in names[i : i + columns] if n in ratio] for i in range(0, len(names), columns)]
    return [wide * min(max(line, default=max(ratio.values(), default=1.0)), 2.5) for line in lines]


def _show(ax: Any, image: np.ndarray, scale: tuple[float, float], cmap: str, label: Any = None) -> None:
    """Pixels as they are; an image through the color map, `label`'s classes over it."""
    if is_painted(image):
        ax.imshow(image)
        return
    colors = plt.get_cmap(cmap).with_extremes(bad=BAD)
    ax.imshow(
        np.ma.masked_invalid(abs(image) if cmap == ERROR_CMAP else image), cmap=colors, vmin=scale[0], vmax=scale[1]
    )
    if label is not None:
        shown = np.ma.masked_equal(magnitude(label), 0)
        ax.imshow(shown, cmap=CLASSES, vmin=0.5, vmax=CLASSES.N + 0.5, alpha=0.5, interpolation="nearest")


def _show_reason(ax: Any, text: str, wide: float, tall: float) -> None:
    ax.set(xlim=(0, wide), ylim=(0, tall), aspect="equal", facecolor=FAINT)
    lines, most = wrap(text, 0.9 * wide).splitlines(), max(1, int(tall / 0.17) - 1)
    text = "\n".join(lines if len(lines) <= most else [*lines[: most - 1], "…"])
    ax.text(wide / 2, tall / 2, text, ha="center", va="center", color=MUTED)
