"""Paired timing in one process: A B A B …, the ratio pair by pair."""

import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import nn

from lib import InputError, runs
from lib.files import read
from lib.plots.style import MUTED, PALETTE, WIDTH, styled, wrap

DEMO = {"num_cascades": 4, "chans": 8, "pools": 3, "sens_chans": 4, "sens_pools": 3}  # the demo's VarNet


def pair(ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int = 5) -> dict[str, float]:
    """Time two calls in turn, after one warm-up of each.

    Parameters
    ----------
    ours, theirs : what is timed
    pairs : how often

    Returns
    -------
    Median seconds of both, and of the ratio theirs / ours: above 1 ours is faster. The ratio's least and greatest pair
    show how quiet the machine was.
    """
    ours(), theirs()
    rows = [(seconds(ours), seconds(theirs)) for _ in range(pairs)]
    ratios = sorted(b / a for a, b in rows)
    return {
        "ours_seconds": statistics.median(a for a, _ in rows), "theirs_seconds": statistics.median(b for _, b in rows),
        "ratio": statistics.median(ratios), "ratio_min": ratios[0], "ratio_max": ratios[-1], "pairs": pairs,
    }  # fmt: skip


def quiet(call: Callable[[], Any]) -> Callable[[], Any]:
    """A peer's call without the warnings that it gives, such as of its own next version."""

    def silent() -> Any:
        with warnings.catch_warnings(action="ignore"):
            return call()

    return silent


def papermill_share(tasks: Iterable[str]) -> float:
    """What papermill and the kernels' start took of the newest good runs of tasks; NaN unless each of them has one."""
    whole = cells = 0.0
    for task in tasks:
        try:
            notebook = read(runs.find(task) / "notebook.ipynb")
        except InputError:
            return math.nan
        whole += notebook["metadata"]["papermill"]["duration"]
        cells += sum((cell["metadata"].get("papermill") or {}).get("duration") or 0 for cell in notebook["cells"])
    return 1 - cells / whole


def step(network: nn.Module, *given: torch.Tensor) -> None:
    """A training step, forward and backward, without an optimizer."""
    network.zero_grad(set_to_none=True)
    network(*given).square().mean().backward()


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


@styled
def chart(results: Mapping[str, Mapping[str, float]]) -> Figure:
    """Each row's median ratio and the range of its pairs, and a tick at what was asked for, on a logarithmic axis."""
    names = [wrap(name, 3.4) for name in results]
    fig, ax = plt.subplots(figsize=(WIDTH, 0.34 * len(names) + 0.8), layout="constrained")
    for y, row in enumerate(results.values()):
        ax.plot([row["ratio_min"], row["ratio_max"]], [y, y], color=PALETTE[0], linewidth=2)
        ax.plot(row["ratio"], y, "o", color=PALETTE[0], label="median and range" if not y else None)
        ax.plot(row["asked"], y, "|", color=PALETTE[1], markersize=12, markeredgewidth=2, label="" if y else "asked")
        ax.annotate(
            f"{row['ratio']:.2g}", (row["ratio"], y), (0, 5), textcoords="offset points", ha="center", fontsize=8
        )
    ax.axvline(1, color=MUTED, linewidth=1)
    ax.set(xscale="log", yticks=range(len(names)), xlabel="times as fast as the peer")
    ax.set_yticklabels(names, fontsize=9)
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.legend(loc="lower right")
    return fig
