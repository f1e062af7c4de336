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

from lib import InputError, metrics, realtime, runs
from lib.data.checks import KspaceFile
from lib.data.cine import CineSeries, Pair
from lib.data.kspace import INPUT, Case, KspaceSlices
from lib.files import read, replacing
from lib.grappa import grappa
from lib.kspace import center_crop, ifft2c, rss
from lib.models.cine import CineUNet
from lib.predict import outputs, read_result, series_output, volumes, write_case, write_series
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


def sampled_at(scores: pd.DataFrame) -> str:
    """For titles: the mean acceleration achieved, '' where it isn't known."""
    return "" if scores.achieved.isna().all() else f", {scores.achieved.mean():.2f}× achieved"


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

    networks: by name. Groups are named `<file>`, or `<file> <acceleration>x` where there are
    several. Prints a line a file and acceleration. A method that the data or the mask doesn't allow is left out, with
    the reason.
    """
    rows, seconds, reasons = [], {m: [] for m in [*BASELINES, *networks]}, {}
    with replacing(path) as partial, h5py.File(partial, "w", track_order=True) as result:
        for nominal in accelerations:
            settings = {**mask, "acceleration": nominal}
            slices = KspaceSlices(files, settings)
            views = {m: KspaceSlices(files, settings, INPUT[type(n).__name__]) for m, n in networks.items()}
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
                    about = {"person": cases[0].person, "group": cases[0].person, "method": method}
                    about["acceleration"] = nominal
                    rows.append(about | {"achieved": cases[0].mask.achieved} | score(images[method], cases))
                write_case(result, f"{name} {nominal}x" if len(accelerations) > 1 else name, cases, images)
                achieved = f"{cases[0].mask.achieved:.2f}× achieved"
                print(f"R {nominal}, {achieved} · {name}: {len(cases)} slices, {len(images)} methods", flush=True)
    return Comparison(pd.DataFrame(rows), {m: float(np.median(v)) for m, v in seconds.items() if v}, reasons)


def load(inputs: list[str]) -> dict[str, nn.Module]:
    """The networks of runs, by the name of their class, or of their task where two have one class."""
    found = list(dict.fromkeys(map(runs.find, inputs)))
    models = [runs.load_model(run) for run in found]
    names = [type(model).__name__ for model in models]
    for better in (lambda run: run.parent.name, lambda run: f"{run.parent.name} {run.name}"):
        names = [better(run) if names.count(name) > 1 else name for name, run in zip(names, found, strict=True)]
    for model, run in zip(models, found, strict=True):
        model.run = run
    return dict(zip(names, models, strict=True))


def check_kind(networks: dict[str, nn.Module], cine: bool) -> None:
    """InputError where a network isn't for this kind of set."""
    for name, model in networks.items():
        if isinstance(model, CineUNet) != cine:
            raise InputError(
                f"inputs: {name} is a network for {'k-space' if cine else 'cine'}, this set is the other kind"
            )


def ranking(scores: pd.DataFrame, networks: dict[str, nn.Module]) -> pd.DataFrame:
    """Networks by mean SSIM over all but the real patients: quality, parameters, minutes and peak MiB of training.

    What isn't known of a network's training is NaN.
    """
    rows = {}
    for name, model in networks.items():
        part = scores[(scores.method == name) & ~scores.group.str.startswith("real")]
        history, manifest = model.run / "history.csv", model.run / "manifest.json"
        seconds = pd.read_csv(history).seconds.sum() if history.is_file() else float("nan")
        peak = (read(manifest) if manifest.is_file() else {}).get("peak_bytes_of_training", float("nan"))
        rows[name] = part[["ssim", "psnr", "ssim3d", "nrmse"]].mean().to_dict() | {
            "parameters": sum(p.numel() for p in model.parameters()), "training, min": seconds / 60,
            "training, peak MiB": peak / 2**20,
        }  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.sort_values("ssim", ascending=False) if rows else table


def score_result(path: Path) -> pd.DataFrame:
    """Every image of a result.h5 against its own truth: a row a case and method, fastMRI's three metrics."""
    rows = []
    for case, images in read_result(path).items():
        for name in (n for n in images if n not in ("input", "truth", "noise_free") and "truth" in images):
            scores = {m: metrics.METRICS[m](images[name], images["truth"]) for m in ("ssim", "psnr", "nmse")}
            rows.append({"file": Path(path).parent.parent.name, "case": case, "method": name} | scores)
    return pd.DataFrame(rows)


SERIES_BASELINES: dict[str, Callable[[Tensor], Tensor]] = {
    "aliased": lambda series: series,
    "sliding window": realtime.sliding_window,
    "temporal median": realtime.temporal_median,
}


def compare_series(
    pairs: list[Pair], networks: dict[str, nn.Module], path: Path, sampled: tuple[float, float], device="cpu"
) -> Comparison:
    """`compare` for cine: baselines in time and networks on every series; `seconds` are for a series.

    sampled: nominal and achieved acceleration of the set, NaN where they aren't known.
    """
    rows, seconds = [], {m: [] for m in [*SERIES_BASELINES, *networks]}
    series = CineSeries(pairs)
    with replacing(path) as partial, h5py.File(partial, "w", track_order=True) as result:
        for i in range(len(series)):
            case, images = series.case(i), {}
            x, truth = case.input.movedim(-1, 0), case.truth.movedim(-1, 0)
            calls = {m: partial_call(f, x) for m, f in SERIES_BASELINES.items()}
            calls |= {m: partial_call(series_output, n, case.input, device) for m, n in networks.items()}
            for method, call in calls.items():
                begun = time.perf_counter()
                images[method] = call()
                seconds[method].append(time.perf_counter() - begun)
                about = {"person": case.person, "group": series.index[i][0].person, "method": method}
                about |= {"acceleration": sampled[0], "achieved": sampled[1]}
                rows.append(about | score_series(images[method], truth))
            write_series(result, case, images)
            if (i + 1) % 4 == 0 or i + 1 == len(series):
                print(f"{i + 1} of {len(series)} series, {len(images)} methods", flush=True)
    return Comparison(pd.DataFrame(rows), {m: float(np.median(v)) for m, v in seconds.items()}, {})


def score_series(output: Tensor, truth: Tensor) -> dict[str, Any]:
    """A series' metrics, frames as slices: fastMRI's three, and `ssim3d` and `nrmse`, which the cine source reports."""
    values: dict[str, Any] = {n: metrics.METRICS[n](output, truth) for n in ("ssim", "psnr", "nmse")}
    fits = min(truth.shape) >= metrics.WINDOW  # a series of fewer frames has no 3-D window
    values["ssim3d"] = metrics.ssim3d(output, truth) if fits else float("nan")
    values["nrmse"] = values["nmse"] ** 0.5
    values["ssim_slices"] = metrics.per_slice(metrics.ssim, output, truth, float(truth.max())).tolist()
    return values | {"ssim_interval": metrics.bootstrap_interval(values["ssim_slices"])}


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
