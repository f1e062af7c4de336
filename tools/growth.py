"""How time and memory grow with a size: what `53_benchmark_growth` measures, as curves with fitted exponents."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from lib import memory, models
from lib.kspace.grappa import grappa
from lib.plots.style import MUTED, WIDTH, look, styled
from tools import benchmark


class Point(NamedTuple):
    """What is timed at a size, and the bytes that it holds; None: not counted."""

    call: Callable[[], Any]
    bytes: int | None


def varnet_step(coils: int = 4, side: int = 96, cascades: int = 2) -> Point:
    """A training step of a VarNet on one slice of a square image, without the optimizer."""
    return _training_step(
        lambda: models.build("VarNet", **benchmark.DEMO | {"num_cascades": cascades}),
        torch.randn(1, coils, side, side, dtype=torch.complex64),
        torch.ones(1, 1, 1, side, dtype=torch.bool),
    )


def volume_step(side: int, base_filters: int = 8) -> Point:
    """A training step of a VolumeUNet on one cube, without the optimizer."""
    return _training_step(lambda: models.build("VolumeUNet", base_filters=base_filters), torch.randn(1, 1, *[side] * 3))


def cine_step(frames: int, side: int = 48, base_filters: int = 8) -> Point:
    """A training step of a UNet3D on one series, without the optimizer."""
    return _training_step(
        lambda: models.build("UNet3D", base_filters=base_filters, depth=4), torch.rand(1, side, side, frames)
    )


def _training_step(build: Callable[[], torch.nn.Module], *given: torch.Tensor) -> Point:
    return Point(partial(benchmark.step, build().train(), *given), memory.training_bytes(build, *given)["activations"])


def grappa_slice(coils: int, side: int = 192) -> Point:
    """GRAPPA of one slice, every 4th line and 16 in the middle."""
    columns = torch.zeros(side, dtype=torch.bool)
    columns[::4] = columns[side // 2 - 8 : side // 2 + 8] = True
    kspace = torch.randn(coils, side, side, dtype=torch.complex64) * columns

    fill = partial(grappa, kspace, columns)
    return Point(fill, memory.peak_memory(fill))


def measure(points: Mapping[float, Callable[[], Point]], repeats: int = 5) -> dict[str, Any]:
    """Times each size in turn, round after round, so that a disturbance meets all of them.

    Parameters
    ----------
    points : size → what makes its Point
    repeats : rounds, after one to warm up

    Returns
    -------
    {"size": …, "seconds": medians, "bytes": …, "time_exponent", "memory_exponent"}; memory is None where it isn't counted.
    """
    made = {size: make() for size, make in points.items()}
    times: dict[float, list[float]] = {size: [] for size in made}
    for turn in range(repeats + 1):
        for size, point in made.items():
            taken = benchmark.seconds(point.call)
            if turn:
                times[size].append(taken)
    sizes, seconds = list(made), [statistics.median(times[size]) for size in made]
    held = [point.bytes for point in made.values()]
    counted = held if None not in held else None
    return {
        "size": sizes, "seconds": seconds, "bytes": counted, "time_exponent": exponent(sizes, seconds),
        "memory_exponent": exponent(sizes, counted) if counted else None,
    }  # fmt: skip


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """k of values ≈ c · sizeᵏ: the slope of the straight line that fits their logarithms best."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


@styled
def chart(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Time and memory over size, both as multiples of the smallest size's; the dashed line is growth in proportion."""
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH, 4.2), layout="constrained", sharex=True)
    longest = max(curve["size"][-1] / curve["size"][0] for curve in curves.values())
    for ax, kind, title in zip(axes, ("seconds", "bytes"), ("time", "memory"), strict=True):
        ax.plot([1, longest], [1, longest], color=MUTED, linestyle="--", linewidth=1)
        for i, (name, curve) in enumerate(curves.items()):
            if curve[kind] is None:
                continue
            power = curve["time_exponent" if kind == "seconds" else "memory_exponent"]
            x, y = (np.array(curve[key], float) / curve[key][0] for key in ("size", kind))
            ax.plot(x, y, label=f"{name}: {power:.2f}", **look(i))
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        ax.set(title=f"{title} (exponent)", xlabel="size / smallest size", ylabel=f"{title} / smallest size's")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.legend(loc="upper left")
    return fig
