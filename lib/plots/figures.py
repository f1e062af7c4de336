"""Every figure of the suite from four primitives: montage, error_map, curves, boxes.

Each returns a matplotlib Figure that pyplot has already let go of, so that a notebook shows it once, as a cell's last
value. Images are numpy or torch, (H, W), real or complex (shown as magnitude). The window comes from the truth.
"""

import os
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lib import InputError
from lib.plots.panels import check_names, is_array, is_painted, magnitude, unavailable, window_of

# Okabe & Ito's colours without the yellow, too faint on white. Bad pixels are sky blue, which no image map contains.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS, DASHES = "osD^vPX<>p", ("-", "--", "-.", ":")
CLASSES = ListedColormap((*PALETTE[1:5], "#F0E442", PALETTE[0]))  # over dark images the yellow is well seen
BAD, ERROR_CMAP = "#56B4E9", "magma"
MUTED, FAINT, DPI, WIDTH = "#595959", "#F2F2F2", 120, 9.0
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9, "figure.titlesize": 12,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": MUTED, "axes.axisbelow": True,
    "xtick.color": MUTED, "ytick.color": MUTED, "grid.color": "#E6E6E6", "legend.frameon": False,
    "figure.dpi": DPI, "savefig.dpi": "figure",
}  # fmt: skip


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the house style, whatever the reader's matplotlibrc says, and take the figure off pyplot's list."""

    @wraps(draw)
    def styled(*args: Any, **kwargs: Any) -> Figure:
        with plt.style.context(["default", STYLE]):
            fig = draw(*args, **kwargs)
            plt.close(fig)
            return fig

    return styled


def _wrap(text: str | None, inches: float, points: float = 10) -> str:
    """`text` broken into lines that fit `inches` at `points`; a mean letter is 0.6 em wide."""
    lines = textwrap.wrap(str(text or ""), max(int(inches * 72 / (0.6 * points)), 8))
    return "\n".join(line.removesuffix(" ·") for line in lines)


@_styled
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
    """Images (H, W) side by side in one window, a label above each panel and its note below.

    labels: by panel, class numbers (H, W) that are laid over the image, each class but 0 in a colour of its own; the names
    of all `classes` but the first stand below.

    A panel of pixels, (H, W, 3) uint8, is shown as it is.

    Panels named in `errors` are differences, shown as magnitude × gain on the window's width. A panel that is None
    or a text is shown as "n/a: reason"; pixels that aren't finite are blue and counted. InputError: no panels, a shape
    that isn't (H, W), a gain that isn't positive, a name in `errors` or `notes` that isn't a panel's.
    """
    errors, notes, over = errors or {}, notes or {}, labels or {}
    images = _checked(panels, errors, notes, over)
    low, high = window_of({n: p for n, p in images.items() if n not in errors and not is_painted(p)}, window)
    rows = -(-len(panels) // (columns or 4))
    columns = min(columns or -(-len(panels) // rows), len(panels))
    wide = min(2.8 if columns > 1 else 4.2, WIDTH / columns)
    above = {n: _wrap(f"{n} ×{errors[n]:g}" if n in errors else n, wide) for n in panels}
    below = {n: _wrap(notes.get(n) if n in images else None, wide, 9) for n in panels}
    for name, image in images.items():
        if bad := int((~np.isfinite(image)).sum()):
            below[name] = f"{below[name]}\n{bad} px not finite".strip()
    tall, title = _heights(list(panels), images, columns, wide), _wrap(title, columns * wide, 12)
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
    """Pixels as they are; an image through the colour map, `label`'s classes over it."""
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
    lines, most = _wrap(text, 0.9 * wide).splitlines(), max(1, int(tall / 0.17) - 1)
    text = "\n".join(lines if len(lines) <= most else [*lines[: most - 1], "…"])
    ax.text(wide / 2, tall / 2, text, ha="center", va="center", color=MUTED)


@_styled
def error_map(
    output: Any, truth: Any, gain: float = 5, window: tuple[float, float] | None = None, title: str | None = None
) -> Figure:
    """Output, truth and |output − truth| × gain, each (H, W), with a bar that gives the error in % of the window."""
    images = {"output": magnitude(output), "truth": magnitude(truth)}
    if images["output"].shape != images["truth"].shape:
        raise InputError(
            "error_map", f"output {images['output'].shape} and truth {images['truth'].shape} differ in shape"
        )
    window = window_of(images, window)
    with np.errstate(invalid="ignore"):  # inf − inf is marked as not finite
        images["error"] = images["output"] - images["truth"]
    fig = montage(images, window, title=title, errors={"error": gain})
    fig.set_size_inches(fig.get_figwidth() + 0.9, fig.get_figheight())
    bar = fig.colorbar(fig.axes[-1].images[0], ax=fig.axes, pad=0.01, aspect=25)
    ticks = np.linspace(0, 1 / gain, 5)
    bar.set_ticks(ticks * (window[1] - window[0]), labels=[f"{100 * tick:.3g} %" for tick in ticks])
    bar.set_label("error, % of the window")
    bar.outline.set_visible(False)
    return fig


@_styled
def curves(
    history: Any,
    columns: Sequence[str] | None = None,
    x: str = "epoch",
    xlabel: str | None = None,
    ylabel: str | None = None,
    title: str | None = None,
    log: bool = False,
) -> Figure:
    """Lines of a training history, or of {name: (x, y)} in one axes.

    A DataFrame's number columns (all but `x`, or `columns`) are drawn against its column `x` (or its
    index): the losses together, any other in an axes of its own. `log`: logarithmic y. InputError: an unknown column, no rows.
    """
    if hasattr(history, "columns"):
        numbers = history.select_dtypes("number")
        check_names("curves", columns or (), numbers.columns)
        steps, xlabel = numbers.get(x, numbers.index), xlabel or (x if x in numbers else None)
        lines = {str(name): (steps, numbers[name]) for name in (columns or numbers.columns) if name != x}
        losses = [name for name in lines if "loss" in name]
        groups = [losses] * bool(losses) + [[name] for name in lines if name not in losses]
    else:
        check_names("curves", columns or (), history)
        lines = {name: tuple(map(magnitude, history[name])) for name in columns or history}
        groups = [list(lines)]
    if not any(len(values) for _, values in lines.values()):
        raise InputError("curves", "the history holds no numbers", "at least one row and one column of them")
    rows = -(-len(groups) // 3)
    across = -(-len(groups) // rows)
    size = (6.5, 4.6, 3.2)[across - 1] * across, 3.2 * rows + 0.2 * ((len(lines) - 1) // _across(lines))
    fig = plt.figure(figsize=size if len(groups) == 1 else (size[0], 3.2 * rows), layout="constrained")
    if title:
        fig.suptitle(_wrap(title, size[0], 12))
    for ax, names in zip(fig.subplots(rows, across, squeeze=False).flat, groups, strict=False):
        for i, name in enumerate(names):
            at, values = map(np.asarray, lines[name])
            marker = MARKERS[i % len(MARKERS)] if len(values) <= 30 else None
            look = {"color": PALETTE[i % len(PALETTE)], "linestyle": DASHES[i // len(PALETTE) % 4], "marker": marker}
            ax.plot(at, values, markersize=4, label=name, **look)
            if (at == np.round(at)).all():  # epochs and steps: no tick at 2.5
                ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
        ax.grid(axis="y")
        if len(names) > 1:
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=_across(names), borderaxespad=0.2)
        else:
            ax.set_title(names[0], loc="left")
    for ax in fig.axes[len(groups) :]:
        ax.remove()
    return fig


@_styled
def boxes(
    table: Any,
    value: str,
    method: str = "method",
    person: str = "person",
    xlabel: str | None = None,
    title: str | None = None,
) -> Figure:
    """`value` by method, one dot a person, with the same colour, marker and height in every method's row.

    table: a DataFrame (or a mapping of columns) with one row for each method and person. From five persons on a box
    gives the quartiles and its whiskers the extremes, of two to four a bar the median: the axis says so. Values that
    aren't finite are left out; n counts the rest. InputError: a missing column, no rows, two values for one person and
    method.
    """
    check_names("boxes", (value, method, person), table)
    rows = list(zip(table[method], table[person], np.asarray(table[value], float).tolist(), strict=True))
    cells = {(m, p): v for m, p, v in rows}
    if not rows or len(cells) < len(rows):
        found = f"{len(rows)} rows for {len(cells)} pairs of {method} and {person}"
        raise InputError("boxes", found, f"one value of {value!r} for each, such as a volume's")
    methods, people = (list(dict.fromkeys(row[i] for row in rows)) for i in (0, 1))
    values = {m: [v for v in (cells.get((m, p), np.nan) for p in people) if np.isfinite(v)] for m in methods}
    names = [_wrap(m, 2.0) + (f"\nn = {len(values[m])}" if values[m] else "\nn/a") for m in methods]
    across = -(-len(people) // 20)
    height = max(sum(0.36 + 0.17 * n.count("\n") for n in names) + 1.1, 0.2 * -(-len(people) // across) + 0.7)
    fig = plt.figure(figsize=(6.3 + 1.2 * across, height), layout="constrained")
    if title:
        fig.suptitle(_wrap(title, 6.3, 12))
    ax = fig.subplots()
    for row, m in enumerate(methods):
        if len(values[m]) >= 5:
            line = {"color": MUTED, "linewidth": 1}
            ax.boxplot(
                [values[m]], positions=[row], orientation="horizontal", widths=0.66, whis=(0, 100), showfliers=False,
                patch_artist=True, boxprops={"facecolor": FAINT, "edgecolor": MUTED}, whiskerprops=line,
                capprops=line, medianprops={"color": "black", "linewidth": 1.6},
            )  # fmt: skip
        elif len(values[m]) > 1:
            ax.vlines(np.median(values[m]), row - 0.33, row + 0.33, color="black", linewidth=1.6)
    for i, p in enumerate(people):
        height = (i + 0.5) / len(people) * 0.56 - 0.28
        dots = [(cells[m, p], row + height) for row, m in enumerate(methods) if (m, p) in cells]
        look = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)], "markeredgecolor": "white"}
        ax.plot(*zip(*dots, strict=True), linestyle="", markersize=6.5, label=str(p), zorder=3, **look)
    ax.set_yticks(range(len(methods)), names, color="black")
    sizes = [len(its) for its in values.values()]
    drawn = ["box: quartiles, whiskers: extremes"] * (max(sizes) >= 5) + ["bar: median"] * any(1 < n < 5 for n in sizes)
    ax.set(ylim=(len(methods) - 0.45, -0.55), xlabel=(xlabel or value) + f" ({'; '.join(drawn)})" * bool(drawn))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.legend(title=person, loc="upper left", bbox_to_anchor=(1, 1), ncols=across, alignment="left", title_fontsize=9)
    return fig


def _across(names: Iterable[str]) -> int:
    """How many of a legend's names fit beside each other: three short ones, one that is long."""
    return min(len(list(names)), 3, max(1, 66 // (8 + max(map(len, names)))))


def save(fig: Figure, path: str | Path, dpi: float | None = None) -> Path:
    """Write `fig` as PNG under `path`, whole or not at all, close it and return the path; folders are made. dpi: its own."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError("save", f"{path} ends in {path.suffix!r}", "'.png'")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        fig.savefig(part, format="png", dpi=dpi or "figure", metadata={"Software": None})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
        plt.close(fig)
    return path
