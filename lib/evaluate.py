"""Reconstruction methods side by side on the same slices, and their scores."""

import time
from collections.abc import Callable
from functools import partial as partial_call
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib import InputError, metrics
from lib.data.checks import KspaceFile
from lib.data.kspace import INPUT, Case, KspaceSlices
from lib.files import replacing
from lib.grappa import grappa
from lib.kspace import center_crop, ifft2c, rss
from lib.predict import outputs, volumes, write_case
from lib.sense import cg_sense, estimate_maps, tv_sense


def _stack(cases: list[Case], maps: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
    """Masked k-space (S, C, H, W), mask (W,) and, if asked for, the true maps of one file's slices."""
    columns = cases[0].mask.columns
    if any(not torch.equal(columns, c.mask.columns) for c in cases):
        raise InputError(f"{cases[0].file}: its slices have different masks, expected one a file")
    if maps and cases[0].sensitivity_maps is None:
        raise InputError("the true coil maps are not known")
    known = torch.stack([c.sensitivity_maps for c in cases]) if maps else None
    return torch.stack([c.masked_kspace for c in cases]), columns, known


def zero_filled(cases: list[Case]) -> Tensor:
    """RSS of the acquired lines alone, (S, h, w)."""
    return torch.stack([c.zero_filled for c in cases])


def by_grappa(cases: list[Case]) -> Tensor:
    """RSS of k-space filled by GRAPPA; 7 readout points by 4 lines did best on the validation slab."""
    kspace, columns, _ = _stack(cases)
    return rss(ifft2c(grappa(kspace, columns, kernel_size=(7, 4))))


def by_cg_sense(cases: list[Case]) -> Tensor:
    """CG-SENSE with the true maps of the simulation: an oracle that no scanner has."""
    kspace, columns, maps = _stack(cases, maps=True)
    return cg_sense(kspace, maps, columns).abs()


def by_tv(cases: list[Case]) -> Tensor:
    """Compressed sensing: SENSE with total variation, maps estimated from the centre lines."""
    kspace, columns, _ = _stack(cases)
    return tv_sense(kspace, estimate_maps(kspace, columns), columns).abs()


BASELINES: dict[str, Callable[[list[Case]], Tensor]] = {
    "zero-filled": zero_filled,
    "GRAPPA": by_grappa,
    "TV-SENSE": by_tv,
    "CG-SENSE (oracle maps)": by_cg_sense,
}


def by_network(model: nn.Module, slices: KspaceSlices, indices: list[int], device="cpu") -> Tensor:
    """A network's images (S, h, w) of one file's slices, one by one as a scanner delivers them."""
    return torch.cat([outputs(model, slices, [i], device) for i in indices])


class Comparison(NamedTuple):
    """`scores`: a row a person, method and acceleration. `seconds`: median a slice. `reasons`: what couldn't be done."""

    scores: pd.DataFrame
    seconds: dict[str, float]
    reasons: dict[str, str]


def compare(
    files: list[KspaceFile], mask: dict[str, Any], accelerations: list[int], networks: dict[str, nn.Module], path: Path,
    device="cpu",
) -> Comparison:  # fmt: skip
    """Every baseline and network on every file at every acceleration; all images to a result.h5 at `path`.

    networks: by the name of their class. Groups are named `<file>`, or `<file> <acceleration>x` where there are
    several. Prints a line a file and acceleration. A method that the data or the mask doesn't allow is left out, with
    the reason.
    """
    rows, seconds, reasons = [], {m: [] for m in [*BASELINES, *networks]}, {}
    with replacing(path) as partial, h5py.File(partial, "w") as result:
        for nominal in accelerations:
            settings = {**mask, "acceleration": nominal}
            slices = KspaceSlices(files, settings)
            views = {m: KspaceSlices(files, settings, INPUT[m]) for m in networks}
            for name, indices in volumes(slices):
                cases, images = [slices.case(i) for i in indices], {}
                calls = {m: partial_call(f, cases) for m, f in BASELINES.items()}
                calls |= {m: partial_call(by_network, n, views[m], indices, device) for m, n in networks.items()}
                for method, call in calls.items():
                    begun = time.perf_counter()
                    try:
                        images[method] = center_crop(call(), cases[0].target.shape)
                    except InputError as error:
                        reasons[f"{method}, {name}, R {nominal}"] = str(error)
                        continue
                    seconds[method].append((time.perf_counter() - begun) / len(cases))
                    about = {"person": cases[0].person, "method": method, "acceleration": nominal}
                    rows.append(about | {"achieved": cases[0].mask.achieved} | score(images[method], cases))
                write_case(result, f"{name} {nominal}x" if len(accelerations) > 1 else name, cases, images)
                achieved = f"{cases[0].mask.achieved:.2f}× achieved"
                print(f"R {nominal}, {achieved} · {name}: {len(cases)} slices, {len(images)} methods", flush=True)
    return Comparison(pd.DataFrame(rows), {m: float(np.median(v)) for m, v in seconds.items() if v}, reasons)


def score(output: Tensor, cases: list[Case]) -> dict[str, Any]:
    """Volume SSIM, PSNR and NMSE of one person's slices, by fastMRI's definitions.

    Against the target as recorded (noisy RSS) and, where it is known, the noise-free truth (`_noise_free`), there also
    over the foreground alone (`_foreground`). `ssim_slices` lists the slices' values, `ssim_interval` is a
    block-bootstrap interval of their mean: it tells how much the choice of slices matters, not how other people do.
    """
    target = torch.stack([c.target for c in cases])
    names = ("ssim", "psnr", "nmse")
    values: dict[str, Any] = {n: metrics.METRICS[n](output, target) for n in names}
    values["ssim_slices"] = metrics.per_slice(metrics.ssim, output, target, float(target.max())).tolist()
    values["ssim_interval"] = metrics.bootstrap_interval(values["ssim_slices"])
    if cases[0].noise_free is not None:
        truth = torch.stack([c.noise_free for c in cases])
        where = metrics.foreground(truth)
        values |= {f"{n}_noise_free": metrics.METRICS[n](output, truth) for n in names}
        values |= {f"{n}_foreground": metrics.METRICS[n](output, truth, where=where) for n in names}
    return values


def lesion_contrast(volume: Tensor | np.ndarray, lesion: np.ndarray, rim: int = 3) -> float:
    """(mean in the lesion − mean in the rim around it) / mean in the rim; the rim is `rim` pixels wide, in the slice."""
    from scipy.ndimage import binary_dilation

    ring = np.stack([binary_dilation(s, iterations=rim + 1) & ~binary_dilation(s) if s.any() else s for s in lesion])
    volume = np.asarray(volume)
    return float((volume[lesion].mean() - volume[ring].mean()) / volume[ring].mean())
