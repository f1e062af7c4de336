"""Curves of a training history, and boxes of a value by method and person."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from lib import InputError
from lib.plots.panels import check_names, magnitude
from lib.plots.style import FAINT, LABEL, MUTED, clean, look, styled, wrap


@styled
def curves(
    history: Any,
    columns: Sequence[str] | None = None,
    x: str = "epoch",
    xlabel: str | None = None,
    ylabel: str | None = None,
    title: str | None = None,
    log: bool = False,
    bands: Mapping[str, Any] | None = None,
) -> Figure:
    """Lines of a training history, or of {name: (x, y)} in one axes.

    Of a history, the losses are drawn together, any other column in an axes of its own.

    Parameters
    ----------
    history : a DataFrame with a row per epoch, or {name: (x, y)}
    columns : names to draw; None: all with numbers
    x : the column they are drawn against, else the index
    xlabel, ylabel, title : texts
    log : logarithmic y
    bands : {name: (low, high)}, drawn about the lines of these names

    Raises
    ------
    InputError
        For an unknown column, and no numbers.
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
        fig.suptitle(wrap(title, size[0], 12))
    for ax, names in zip(fig.subplots(rows, across, squeeze=False).flat, groups, strict=False):
        for i, name in enumerate(names):
            at, values = map(np.asarray, lines[name])
            how = look(i) if len(values) <= 30 else look(i) | {"marker": None}
            ax.plot(at, values, markersize=4, label=clean(name, LABEL), **how)
            if name in (bands or ()):
                ax.fill_between(at, *bands[name], color=how["color"], alpha=0.15, linewidth=0)
            if (at == np.round(at)).all():  # epochs and steps: no tick at 2.5
                ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        ax.set(xlabel=clean(xlabel or "", LABEL), ylabel=clean(ylabel or "", LABEL), yscale="log" if log else "linear")
        if log:  # its labels are formulas by default
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.4)))
        ax.grid(axis="y")
        if len(names) > 1:
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=_across(names), borderaxespad=0.2)
        else:
            ax.set_title(clean(names[0], LABEL), loc="left")
    for ax in fig.axes[len(groups) :]:
        ax.remove()
    return fig


@styled
def boxes(
    table: Any,
    value: str,
    method: str = "method",
    person: str = "person",
    xlabel: str | None = None,
    title: str | None = None,
) -> Figure:
    """A value by method, one dot per person, with the same color, marker and height in every method's row.

    From five persons on a box gives the quartiles and its whiskers the extremes, of two to four a bar the median: the
    axis says so. Values that aren't finite are left out; n counts the rest.

    Parameters
    ----------
    table : a DataFrame (or a mapping of columns) with one row for each method and person
    value, method, person : its columns
    xlabel : None: the value's name
    title : text above

    Raises
    ------
    InputError
        For a missing column, no rows, and two values for one person and method.
    """
    check_names("boxes", (value, method, person), table)
    rows = list(zip(table[method], table[person], np.asarray(table[value], float).tolist(), strict=True))
    cells = {(m, p): v for m, p, v in rows}
    if not rows or len(cells) < len(rows):
        found = f"{len(rows)} rows for {len(cells)} pairs of {method} and {person}"
        raise InputError("boxes", found, f"one value of {value!r} for each, such as a volume's")
    methods, people = (list(dict.fromkeys(row[i] for row in rows)) for i in (0, 1))
    values = {m: [v for v in (cells.get((m, p), np.nan) for p in people) if np.isfinite(v)] for m in methods}
    names = [wrap(m, 2.0) + (f"\nn = {len(values[m])}" if values[m] else "\nn/a") for m in methods]
    across = -(-len(people) // 20)
    height = max(sum(0.36 + 0.17 * n.count("\n") for n in names) + 1.1, 0.2 * -(-len(people) // across) + 0.7)
    fig = plt.figure(figsize=(6.3 + 1.2 * across, height), layout="constrained")
    if title:
        fig.suptitle(wrap(title, 6.3, 12))
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
        how = look(i) | {"linestyle": "", "markeredgecolor": "white"}
        ax.plot(*zip(*dots, strict=True), markersize=6.5, label=clean(p, LABEL // 2), zorder=3, **how)
    ax.set_yticks(range(len(methods)), names, color="black")
    sizes = [len(numbers) for numbers in values.values()]
    drawn = ["box: quartiles, whiskers: extremes"] * (max(sizes) >= 5) + ["bar: median"] * any(1 < n < 5 for n in sizes)
    ax.set(
        ylim=(len(methods) - 0.45, -0.55), xlabel=clean(xlabel or value, LABEL) + f" ({'; '.join(drawn)})" * bool(drawn)
    )
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.legend(
        title=clean(person, LABEL // 2),
        loc="upper left",
        bbox_to_anchor=(1, 1),
        ncols=across,
        alignment="left",
        title_fontsize=9,
    )
    return fig


def _across(names: Iterable[str]) -> int:
    """How many of a legend's names fit beside each other: three short ones, one that is long."""
    return min(len(list(names)), 3, max(1, 66 // (8 + max(map(len, names)))))
