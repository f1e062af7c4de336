"""Scores of whole volumes and series against what is known of the truth, and of lesions in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib import InputError, metrics
from lib.data.fastmri import KspaceCase
from lib.data.hdf5 import dataset, open_hdf5
from lib.inference import results


def score_result(path: Path) -> pd.DataFrame:
    """Every image of a run's result.h5 against its own truth: a row per case and method, the standard metrics."""
    rows = []
    run = Path(path).parent.parent
    for name, case in results.cases(path).items():
        truth = case["truth"] if "truth" in case.images else None
        for method in case.outputs if truth is not None else ():
            scores = {m: metrics.METRICS[m](case[method], truth) for m in metrics.standard()}
            rows.append({"file": f"{run.parent.name} {run.name}", "case": name, "method": method} | scores)
    return pd.DataFrame(rows)


def training_scores(path: Path, training_metrics: dict[str, Callable[[Tensor, Tensor], Tensor]]) -> pd.DataFrame:
    """The output of each series that has a truth, scored as in training.

    Parameters
    ----------
    path : of the result.h5
    training_metrics : functions of (output, truth), both (1, axis 1, axis 2, T), by name

    Returns
    -------
    A row per series, a column per metric; an empty table if there are no truths.
    """
    rows = {}
    for name, case in results.cases(path).items():
        if "truth" in case.images:
            output, truth = (torch.from_numpy(case[key]).movedim(0, -1)[None] for key in ("output", "truth"))
            rows[name] = {m: metric(output, truth).item() for m, metric in training_metrics.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def over_people(table: pd.DataFrame, path: Path) -> dict[str, float]:
    """{column: mean over people} of a table with a row per case of a result.h5: a person's cases count as one."""
    people = {name: case.person for name, case in results.cases(path).items()}
    return table.groupby(people).mean().mean().to_dict()


def score_series(output: Tensor, truth: Tensor) -> dict[str, Any]:
    """A series' metrics, frames as slices: those of METRICS for cine.

    Parameters
    ----------
    output, truth : (T, axis 1, axis 2)

    Returns
    -------
    By name; ssim3d is NaN for series smaller than its window. ssim_slices, ssim_interval: see `score`.
    """
    fits = min(truth.shape) >= metrics.SSIM_WINDOW  # a series of fewer frames has no 3-D window
    values: dict[str, Any] = {}
    for name in metrics.scored("cine"):
        values[name] = metrics.METRICS[name](output, truth) if fits or name != "ssim3d" else float("nan")
    values["ssim_slices"] = metrics.per_slice(metrics.ssim, output, truth, float(truth.max())).tolist()
    return values | {"ssim_interval": metrics.bootstrap_interval(values["ssim_slices"])}


def score(
    output: Tensor, cases: list[KspaceCase], foreground_threshold: float = metrics.CHALLENGE_THRESHOLD
) -> dict[str, Any]:
    """Volume values of one file's slices: METRICS for k-space; ssim_foreground by the SNU challenge's definition.

    Parameters
    ----------
    output : (S, h, w)
    cases : the slices, with targets
    foreground_threshold : of ssim_foreground, in the data's units

    Returns
    -------
    By name, against the target as recorded (noisy RSS) and, if it is known, the noise-free truth (`_noise_free`), there
    also over the foreground alone (`_noise_free_foreground`). ssim_slices: the slices' values; ssim_interval: a
    block-bootstrap interval of their mean, which tells how much the choice of slices matters, not how other people do.
    """
    target = torch.stack([c.target for c in cases])
    values: dict[str, Any] = {n: metrics.METRICS[n](output, target) for n in metrics.scored("kspace")}
    values["ssim_foreground"] = metrics.ssim_foreground(output, target, threshold=foreground_threshold)
    values["ssim_slices"] = metrics.per_slice(metrics.ssim, output, target, float(target.max())).tolist()
    values["ssim_interval"] = metrics.bootstrap_interval(values["ssim_slices"])
    if cases[0].noise_free is not None:
        truth = torch.stack([c.noise_free for c in cases])
        where = metrics.foreground(truth)
        standard = {name: metrics.METRICS[name] for name in metrics.standard()}
        values |= {f"{n}_noise_free": metric(output, truth) for n, metric in standard.items()}
        regional = {name: metric for name, metric in standard.items() if metric.takes_region}
        values |= {f"{n}_noise_free_foreground": metric(output, truth, where=where) for n, metric in regional.items()}
    return values


def lesion_contrast(volume: Tensor | np.ndarray, lesion: np.ndarray, rim: int = 3) -> float:
    """(mean in the lesion − mean in the rim around it) / mean in the rim.

    Parameters
    ----------
    volume : (S, H, W)
    lesion : (S, H, W) bool
    rim : its width within a slice, pixels
    """
    from scipy.ndimage import binary_dilation

    ring = np.stack([binary_dilation(s, iterations=rim + 1) & ~binary_dilation(s) if s.any() else s for s in lesion])
    volume = np.asarray(volume)
    return float((volume[lesion].mean() - volume[ring].mean()) / volume[ring].mean())


def lesions(path: Path, methods: list[str]) -> dict[str, dict[str, float]]:
    """The contrast of the lesions that the k-space files record: `lesion` (S, H, W), not 0 where one is.

    Parameters
    ----------
    path : of the result.h5
    methods : names of its images

    Returns
    -------
    {case: {"truth" and each method: `lesion_contrast`}}, of the cases with a lesion.

    Raises
    ------
    InputError
        If a lesion's mask isn't of the truth's size.
    """
    contrasts = {}
    for name, case in results.cases(path).items():
        with open_hdf5(case.file) as data:
            where = dataset(data, "lesion")[:] > 0 if "lesion" in data else np.zeros(0, bool)
        if not where.any():
            continue
        truth = case["noise_free" if "noise_free" in case.images else "truth"]
        if where.shape != truth.shape:
            raise InputError(case.file, f"lesion is {where.shape}", f"{truth.shape}")
        contrasts[name] = {"truth": lesion_contrast(truth, where)}
        contrasts[name] |= {m: lesion_contrast(case[m], where) for m in methods if m in case.images}
    return contrasts
