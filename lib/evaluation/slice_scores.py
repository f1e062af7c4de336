"""Scores of single slices, for what is looked at slice by slice: how good this one is, and which is the worst."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from lib import InputError, metrics
from lib.metrics import segmentation
from lib.plots.panels import is_array, magnitude

Scores = Callable[[int], dict[str, dict[str, float]]]


def reconstruction_scores(volumes: Mapping[str, Any], truth: str = "truth") -> Scores | None:
    """A function of a slice's number that scores the slice of each volume by the standard metrics.

    Parameters
    ----------
    volumes : (S, H, W) each, by name; masks and those of another shape than the truth aren't scored
    truth : name of the one to compare with

    Returns
    -------
    slice → {volume: {the metric's title: value}}, NaN if a slice can't be scored; the data range is the maximum of the
    whole truth's finite values. None without a truth.
    """
    if not is_array(volumes.get(truth)):
        return None
    fitting = {n: v for n, v in volumes.items() if n != truth and is_array(v) and v.shape == volumes[truth].shape}
    others = {name: volume for name, volume in fitting.items() if "bool" not in str(volume.dtype)}  # no masks

    @cache
    def peak() -> float:
        return max(map(_highest, volumes[truth]))

    def of(index: int) -> dict[str, dict[str, float]]:
        target, by_volume = magnitude(volumes[truth][index]), {}
        for name, volume in others.items():
            output = magnitude(volume[index])
            calls = [metrics.METRICS[metric] for metric in metrics.standard()]
            by_volume[name] = {call.title: _value(call, output, target, peak()) for call in calls}
        return by_volume

    return of


def _highest(plane: Any) -> float:
    """The largest magnitude that is finite, 0 at least."""
    plane = magnitude(plane)
    top = float(plane.max())
    return top if math.isfinite(top) else float(plane[np.isfinite(plane)].max(initial=0))


def _value(metric: Callable[..., float], output: np.ndarray, target: np.ndarray, peak: float) -> float:
    if not (np.isfinite(output).all() and np.isfinite(target).all()):
        return math.nan
    try:
        return metric(output, target, peak)
    except InputError:  # nothing to compare with
        return math.nan


def segmentation_scores(
    labels: Mapping[str, Any], truth: Any, classes: Sequence[str], ignore_index: int | None = None
) -> Scores:  # fmt: skip
    """A function of a slice's number that gives the Dice of each label's slice.

    Parameters
    ----------
    labels : class numbers (S, H, W), by panel; those of another shape than the truth aren't scored
    truth : class numbers (S, H, W)
    classes : names, the background, which isn't counted, first
    ignore_index : the truth of pixels that aren't labeled; None: all are

    Returns
    -------
    slice → {panel: {"mean Dice": over the classes that one of them has, "Dice <class>": its own, NaN if neither has
    it}}.
    """
    labels = {name: label for name, label in labels.items() if label.shape == truth.shape}

    def of(index: int) -> dict[str, dict[str, float]]:
        by_panel = {}
        for name, label in labels.items():
            counts = segmentation.confusion(label[index], truth[index], len(classes), ignore_index)
            dice = np.where(segmentation.both_empty(counts), np.nan, segmentation.dice_of(counts))[1:]
            present = dice[np.isfinite(dice)]
            mean = {"mean Dice": float(present.mean()) if present.size else math.nan} if len(dice) > 1 else {}
            by_panel[name] = mean | dict(zip((f"Dice {c}" for c in classes[1:]), dice.tolist(), strict=True))
        return by_panel

    return of


def ranked(scores: Scores, count: int, panel: str, metric: str) -> list[int]:
    """The slices that have a finite score, the worst first.

    Parameters
    ----------
    scores : slice → {panel: {metric: value}}
    count : of slices
    panel, metric : what they are ranked by
    """
    values = {i: scores(i).get(panel, {}).get(metric, math.nan) for i in range(count)}
    finite = [i for i in values if math.isfinite(values[i])]
    return sorted(finite, key=values.get, reverse=metrics.lower_is_better(metric))
