"""Scores of single slices, for what is looked at slice by slice: how good this one is, and which is the worst."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from lib import InputError, metrics
from lib.metrics import segmentation as overlap
from lib.plots.panels import is_array, magnitude

Scores = Callable[[int], dict[str, dict[str, float]]]


def reconstruction(volumes: Mapping[str, Any], truth: str = "truth") -> Scores | None:
    """slice → {volume: {title: value of each standard metric}} of each volume (S, H, W) against `volumes[truth]`; None without a truth.

    The metrics of one slice; the data range is the maximum of the whole truth's finite values. NaN where a slice
    can't be scored.
    """
    if not is_array(volumes.get(truth)):
        return None
    fitting = {n: v for n, v in volumes.items() if n != truth and is_array(v) and v.shape == volumes[truth].shape}
    others = {name: volume for name, volume in fitting.items() if "bool" not in str(volume.dtype)}  # no masks

    @cache
    def peak() -> float:
        return max(float(np.nan_to_num(magnitude(plane), posinf=0).max()) for plane in volumes[truth])

    def of(index: int) -> dict[str, dict[str, float]]:
        target, found = magnitude(volumes[truth][index]), {}
        for name, volume in others.items():
            output = magnitude(volume[index])
            calls = [metrics.METRICS[metric] for metric in metrics.standard()]
            found[name] = {call.title: _value(call, output, target, peak()) for call in calls}
        return found

    return of


def _value(metric: Callable[..., float], output: np.ndarray, target: np.ndarray, peak: float) -> float:
    if not (np.isfinite(output).all() and np.isfinite(target).all()):
        return math.nan
    try:
        return metric(output, target, peak)
    except InputError:  # nothing to compare with
        return math.nan


def segmentation(labels: Mapping[str, Any], truth: Any, classes: Sequence[str]) -> Scores:
    """slice → {panel: {"mean Dice": the mean over the classes that are there, each class: its Dice}} of labels (S, H, W).

    The background isn't counted; NaN for a class that neither has in the slice. Labels of another shape aren't scored.
    """
    labels = {name: label for name, label in labels.items() if label.shape == truth.shape}

    def of(index: int) -> dict[str, dict[str, float]]:
        found = {}
        for name, label in labels.items():
            counts = overlap.confusion(label[index], truth[index], len(classes))
            dice = np.where(overlap.both_empty(counts), np.nan, overlap.dice_of(counts))[1:]
            there = dice[np.isfinite(dice)]
            mean = {"mean Dice": float(there.mean()) if there.size else math.nan} if len(dice) > 1 else {}
            found[name] = mean | dict(zip((f"Dice {c}" for c in classes[1:]), dice.tolist(), strict=True))
        return found

    return of


def ranked(scores: Scores, count: int, panel: str, metric: str) -> list[int]:
    """The slices that have a finite score, the worst first."""
    values = {i: scores(i).get(panel, {}).get(metric, math.nan) for i in range(count)}
    finite = [i for i in values if math.isfinite(values[i])]
    return sorted(finite, key=values.get, reverse=metrics.lower_is_better(metric))
