"""Images side by side: `montage`.

Figures are matplotlib's, already let go of by pyplot, so that a notebook shows each once, as a cell's last value. Images
are numpy or torch, (H, W), real or complex (shown as magnitude). The window comes from the truth.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import ndimage

from lib import InputError
from lib.plots.panels import check_names, is_array, is_painted, magnitude, unavailable, window_of
from lib.plots.style import BAD, CLASSES, ERROR_CMAP, FAINT, LABEL, MUTED, UNLABELED, WIDTH, clean, styled, wrap

HATCH = "////"
STROKES = ("-", (0, (2, 2)))  # of outlines: the first label's, the second's


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
    ignore_index: int | None = None,
    outlines: Mapping[str, Mapping[str, Any]] | None = None,
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
    ignore_index : the label of pixels that aren't labeled, which are hatched in gray; None: all are
    outlines : {panel: {name: class numbers (H, W)}}; the classes' edges, of the first name in their colors, of the
        second in white dashes

    Raises
    ------
    InputError
        For no panels, a shape that isn't (H, W), a gain that isn't positive, a name that isn't a panel's.
    """
    errors, notes, over, edges = errors or {}, notes or {}, labels or {}, outlines or {}
    images = _checked(panels, errors, notes, over, edges)
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
    hatched = ignore_index is not None and any((magnitude(label) == ignore_index).any() for label in over.values())
    hatched |= ignore_index is not None and not over  # of pixels it isn't known
    keys = _keys(classes, hatched, next(iter(edges.values()), ()))
    many = max(1, int(columns * wide / (0.6 + 0.075 * max((len(k.get_label()) for k in keys), default=0))))  # in a line
    height += 0.12 + 0.2 * -(-len(keys) // many) if keys else 0.0
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
            _show(ax, images[name], scale, ERROR_CMAP if name in errors else "gray", over.get(name), ignore_index)
            _outline(ax, edges.get(name, {}), ignore_index)
        else:
            _show_reason(ax, unavailable(panel, notes.get(name)), wide, tall[i // columns])
        ax.spines[:].set_visible(False)
        ax.set(xticks=[], yticks=[])
    for ax in fig.axes[len(panels) :]:
        ax.remove()
    if keys:
        fig.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), many), fontsize=9)
    return fig


def _keys(classes: Sequence[str], hatched: bool, outlined: Iterable[str]) -> list[Patch | Line2D]:
    """The legend of labels: each class but the first, hatches of what isn't labeled, and whose outlines are which."""
    keys: list[Patch | Line2D] = [
        Patch(color=CLASSES(i % CLASSES.N), alpha=0.7, label=clean(c, LABEL)) for i, c in enumerate(classes[1:])
    ]
    look = {"facecolor": "none", "edgecolor": UNLABELED, "hatch": HATCH, "label": "not labeled"}
    keys += [Patch(**look)] if hatched else []
    lines = ({"ls": s, "label": f"{clean(n, LABEL)}, outline"} for n, s in zip(outlined, STROKES, strict=False))
    return keys + [Line2D([], [], color=MUTED, lw=1.5, **line) for line in lines]


def _outline(ax: Any, labels: Mapping[str, Any], ignore_index: int | None) -> None:
    """The outer edges of the classes, of the first label in their colors, of the second in white dashes."""
    for i, (label, stroke) in enumerate(zip(map(magnitude, labels.values()), STROKES, strict=False)):
        for c in set(np.unique(label).astype(int).tolist()) - {0, ignore_index}:
            color = "white" if i else CLASSES((c - 1) % CLASSES.N)
            filled = ndimage.binary_fill_holes(label == c)  # else a ring's inner edge lies over what it surrounds
            ax.contour(filled, levels=[0.5], colors=[color], linestyles=[stroke], linewidths=1.5)


def _checked(
    panels: Mapping[str, Any], errors: Mapping[str, float], *named: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The images among a montage's panels, as magnitudes unless they are pixels; InputError: see there."""
    if not panels:
        raise InputError("montage", "no panels", "at least one name with an image (H, W)")
    for what, names in zip(("errors", "notes", "labels", "outlines"), (errors, *named), strict=True):
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


def _show(
    ax: Any, image: np.ndarray, scale: tuple[float, float], cmap: str, label: Any = None, ignore_index: int | None = None
) -> None:  # fmt: skip
    """Pixels as they are; an image through the color map, `label`'s classes over it, hatches where it is `ignore_index`."""
    if is_painted(image):
        ax.imshow(image)
        return
    colors = plt.get_cmap(cmap).with_extremes(bad=BAD)
    ax.imshow(
        np.ma.masked_invalid(abs(image) if cmap == ERROR_CMAP else image), cmap=colors, vmin=scale[0], vmax=scale[1]
    )
    if label is not None:
        label = magnitude(label)
        ignored = np.zeros(label.shape, bool) if ignore_index is None else label == ignore_index
        if ignored.any():
            hatched = ax.contourf(ignored, levels=(0.5, 1.5), colors="none", hatches=[HATCH])
            hatched.set(edgecolor=UNLABELED, linewidth=0)
        shown = np.ma.masked_where(ignored | (label == 0), label)
        ax.imshow(shown, cmap=CLASSES, vmin=0.5, vmax=CLASSES.N + 0.5, alpha=0.5, interpolation="nearest")


def _show_reason(ax: Any, text: str, wide: float, tall: float) -> None:
    ax.set(xlim=(0, wide), ylim=(0, tall), aspect="equal", facecolor=FAINT)
    lines, most = wrap(text, 0.9 * wide).splitlines(), max(1, int(tall / 0.17) - 1)
    text = "\n".join(lines if len(lines) <= most else [*lines[: most - 1], "…"])
    ax.text(wide / 2, tall / 2, text, ha="center", va="center", color=MUTED)
