"""Scores of whole volumes and series against what is known of the truth, and of lesions in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib import InputError, metrics
from lib.data.fastmri import Case
from lib.data.hdf5 import dataset, open_hdf5
from lib.inference import results


def score_result(path: Path) -> pd.DataFrame:
    """Every image of a result.h5 against its own truth: a row per case and method, the standard metrics."""
    rows = []
    run = Path(path).parent.parent
    for name, case in results.cases(path).items():
        truth = case["truth"] if "truth" in case.images else None
        for method in case.outputs if truth is not None else ():
            scores = {m: metrics.METRICS[m](case[method], truth) for m in metrics.standard()}
            rows.append({"file": f"{run.parent.name} {run.name}", "case": name, "method": method} | scores)
    return pd.DataFrame(rows)


def training_scores(path: Path, training_metrics: dict[str, Callable[[Tensor, Tensor], Tensor]]) -> pd.DataFrame:
    """A row per series of a result.h5 that has a truth: each of the metrics of its output; else an empty table."""
    rows = {}
    for name, case in results.cases(path).items():
        if "truth" in case.images:
            output, truth = (torch.from_numpy(case[key]).movedim(0, -1)[None] for key in ("output", "truth"))
            rows[name] = {m: metric(output, truth).item() for m, metric in training_metrics.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def score_series(output: Tensor, truth: Tensor) -> dict[str, Any]:
    """A series' metrics, frames as slices: those of METRICS for cine."""
    fits = min(truth.shape) >= metrics.WINDOW  # a series of fewer frames has no 3-D window
    values: dict[str, Any] = {}
    for name in metrics.scored("cine"):
        values[name] = metrics.METRICS[name](output, truth) if fits or name != "ssim3d" else float("nan")
    values["ssim_slices"] = metrics.per_slice(metrics.ssim, output, truth, float(truth.max())).tolist()
    return values | {"ssim_interval": metrics.bootstrap_interval(values["ssim_slices"])}


def score(
    output: Tensor, cases: list[Case], foreground_threshold: float = metrics.CHALLENGE_THRESHOLD
) -> dict[str, Any]:
    """Volume values of one person's slices: METRICS for k-space; ssim_foreground by the SNU challenge's definition.

    Against the target as recorded (noisy RSS) and, where it is known, the noise-free truth (`_noise_free`), there also
    over the foreground alone (`_noise_free_foreground`). foreground_threshold: of ssim_foreground, in the data's units. `ssim_slices` lists the slices' values, `ssim_interval` is a
    block-bootstrap interval of their mean: it tells how much the choice of slices matters, not how other people do.
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
    """(mean in the lesion − mean in the rim around it) / mean in the rim; the rim is `rim` pixels wide, in the slice."""
    from scipy.ndimage import binary_dilation

    ring = np.stack([binary_dilation(s, iterations=rim + 1) & ~binary_dilation(s) if s.any() else s for s in lesion])
    volume = np.asarray(volume)
    return float((volume[lesion].mean() - volume[ring].mean()) / volume[ring].mean())


def lesions(path: Path, methods: list[str]) -> dict[str, dict[str, float]]:
    """{case: {"truth" and each method: `lesion_contrast`}} of a result.h5's cases whose k-space files have a `lesion` mask.

    lesion: (S, H, W), of the truth's size, not 0 where the lesion is; the preparation of the samples records it.
    InputError where it is of another size.
    """
    found = {}
    for name, case in results.cases(path).items():
        with open_hdf5(case.file) as data:
            where = dataset(data, "lesion")[:] > 0 if "lesion" in data else np.zeros(0, bool)
        if not where.any():
            continue
        truth = case["noise_free" if "noise_free" in case.images else "truth"]
        if where.shape != truth.shape:
            raise InputError(case.file, f"lesion is {where.shape}", f"{truth.shape}")
        found[name] = {"truth": lesion_contrast(truth, where)}
        found[name] |= {m: lesion_contrast(case[m], where) for m in methods if m in case.images}
    return found
