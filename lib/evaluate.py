"""Reconstruction methods side by side on the same slices, and their scores."""

import contextlib
import time
from collections.abc import Callable, Iterable
from functools import partial as partial_call
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib import InputError, metrics, runs
from lib.baselines import BASELINES, SERIES_BASELINES
from lib.data.checks import KspaceFile
from lib.data.cine import CineSeries, Pair
from lib.data.kspace import Case, KspaceSlices, inputs_of
from lib.files import read, replacing
from lib.kspace import center_crop
from lib.memory import most_held
from lib.models.cascade import SelfEnsemble, VarNetRCAN
from lib.models.cine import CineUNet
from lib.predict import outputs, read_result, series_output, volumes, write_case, write_series
from lib.tasks import choose


def by_network(model: nn.Module, slices: KspaceSlices, indices: list[int], device="cpu") -> Tensor:
    """A network's images (S, h, w) of one file's slices, one by one as a scanner delivers them."""
    return torch.cat([outputs(model, slices, [i], device) for i in indices])


def sampled_at(scores: pd.DataFrame) -> str:
    """For titles: the mean acceleration achieved, '' where it isn't known."""
    return "" if scores.achieved.isna().all() else f", {scores.achieved.mean():.2f}× achieved"


class Comparison(NamedTuple):
    """`scores`: a row a person, method and acceleration. `seconds`: median a slice. `held`: the most bytes that a slice's
    arrays hold at a time. `reasons`: what couldn't be done. Of a cine: a series in place of a slice.
    """

    scores: pd.DataFrame
    seconds: dict[str, float]
    held: dict[str, int]
    reasons: dict[str, str]


def compare(
    files: list[KspaceFile], mask: dict[str, Any], accelerations: list[int], networks: dict[str, nn.Module], path: Path,
    device="cpu", foreground_threshold: float = metrics.CHALLENGE_THRESHOLD,
) -> Comparison:  # fmt: skip
    """Every baseline and network on every file at every acceleration; all images to a result.h5 at `path`.

    networks: by name. Groups are named `<file>`, or `<file> <acceleration>x` where there are
    several. Prints a line a file and acceleration. A method that the data or the mask doesn't allow is left out, with
    the reason. A cascade's seconds include GRAPPA's. foreground_threshold: see `score`.
    """
    rows, seconds, held, reasons = [], {m: [] for m in [*BASELINES, *networks]}, {}, {}
    owners = [f.person for f in files]
    labels = {f.path: f.person if owners.count(f.person) == 1 else f"{f.person} {f.path.stem}" for f in files}
    with replacing(path) as partial, h5py.File(partial, "w", track_order=True) as result:
        for nominal in accelerations:
            settings = {**mask, "acceleration": nominal}
            slices = KspaceSlices(files, settings)
            views = {}
            for method, network in networks.items():
                with _noting(reasons, f"{method}, R {nominal}"):
                    views[method] = KspaceSlices(files, settings, **inputs_of(network))
            for name, indices in volumes(slices):
                cases, images = [slices.case(i) for i in indices], {}
                calls, one_slice = (_calls(networks, views, cases[:n], indices[:n], device) for n in (None, 1))
                for method, call in calls.items():
                    begun = time.perf_counter()
                    with _noting(reasons, f"{method}, {name}, R {nominal}"):
                        images[method] = center_crop(call(), cases[0].target.shape)
                    if method not in images:
                        continue
                    seconds[method].append((time.perf_counter() - begun) / len(cases))
                    if method not in held:
                        held[method] = most_held(one_slice[method])
                    if method in views and views[method].grappa and seconds["GRAPPA"]:  # read here, but made before
                        seconds[method][-1] += seconds["GRAPPA"][-1]
                        held[method] = max(held[method], held["GRAPPA"])
                    about = dict.fromkeys(("person", "group"), labels[cases[0].file]) | {"method": method}
                    about["acceleration"] = nominal
                    values = score(images[method], cases, foreground_threshold)
                    rows.append(about | {"achieved": cases[0].mask.achieved} | values)
                write_case(result, f"{name} {nominal}x" if len(accelerations) > 1 else name, cases, images)
                achieved = f"{cases[0].mask.achieved:.2f}× achieved"
                print(f"R {nominal}, {achieved} · {name}: {len(cases)} slices, {len(images)} methods", flush=True)
    return Comparison(pd.DataFrame(rows), {m: float(np.median(v)) for m, v in seconds.items() if v}, held, reasons)


def _calls(networks, views, cases: list[Case], indices: list[int], device) -> dict[str, Callable[[], Tensor]]:
    """Every method, ready to be called on these slices of one file."""
    calls = {m: partial_call(f, cases) for m, f in BASELINES.items()}
    return calls | {m: partial_call(by_network, networks[m], v, indices, device) for m, v in views.items()}


@contextlib.contextmanager
def _noting(reasons: dict[str, str], what: str):
    try:
        yield
    except InputError as error:
        reasons[what] = str(error)


def load(inputs: list[str], self_ensemble: dict[str, Any] | None = None) -> dict[str, nn.Module]:
    """The networks of runs, by their label or class, or by their task where two are called the same.

    self_ensemble: settings of `SelfEnsemble`; each cascade is there a second time with them.
    """
    found = list(dict.fromkeys(map(runs.find, inputs)))
    models = [runs.load_model(run) for run in found]
    names = [getattr(model, "label", type(model).__name__) for model in models]
    for better in (lambda run: run.parent.name, lambda run: f"{run.parent.name} {run.name}"):
        names = [better(run) if names.count(name) > 1 else name for name, run in zip(names, found, strict=True)]
    for model, run in zip(models, found, strict=True):
        model.run = run
    networks = dict(zip(names, models, strict=True))
    for name, model in zip(names, models, strict=True):
        if self_ensemble and isinstance(model, VarNetRCAN):
            networks[f"{name} + self-ensemble"] = SelfEnsemble(model, **self_ensemble)
    if self_ensemble and len(networks) == len(models):
        raise InputError("self_ensemble: none of the inputs is a cascade (VarNetRCAN)")
    return networks


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
        rows[name] = part[["ssim", "psnr", "ssim3d", "nrmse"]].mean().to_dict()
        rows[name] |= {"parameters": sum(p.numel() for p in model.parameters())} | training_cost(model)
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.sort_values("ssim", ascending=False) if rows else table


def training_cost(model: nn.Module) -> dict[str, float]:
    """Minutes and peak MiB that training a network of `load` took; what isn't known is NaN."""
    seconds = peak = float("nan")
    if hasattr(model, "run") and (model.run / "history.csv").is_file():
        seconds = pd.read_csv(model.run / "history.csv").seconds.sum()
        peak = read(model.run / "manifest.json").get("peak_bytes_of_training") or peak
    return {"training, min": seconds / 60, "training, peak MiB": peak / 2**20}


def check_ladder(steps: list[str], networks: Iterable[str]) -> None:
    """InputError for a step that is neither a baseline nor one of the networks."""
    known = [*BASELINES, *networks]
    for step in steps:
        if step not in known:
            raise InputError(f"ladder: {choose(step, known)}")


def ladder(scores: pd.DataFrame, steps: list[str]) -> pd.DataFrame:
    """What each method of `steps` adds to the one before it, a row an acceleration and step.

    `gain` is in SSIM, mean over people, `low` and `high` its paired block-bootstrap interval over slices; `people` says
    for how many of them the step is better. helps: yes or no where the interval lies on one side of 0, else unclear;
    n/a where one of the two couldn't be done.
    """
    rows = []
    for nominal, part in scores.groupby("acceleration", sort=False):
        for before, method in zip([None, *steps], steps, strict=False):
            mine = part[part.method == method].set_index("person")
            if mine.empty:
                rows.append({"acceleration": nominal, "method": method, "helps": "n/a"})
                continue
            row = {"acceleration": nominal, "achieved": mine.achieved.mean(), "method": method}
            row |= mine[["ssim", "ssim_foreground", "psnr"]].mean().to_dict()
            if before:
                base = part[part.method == before].set_index("person")
                both = mine.index.intersection(base.index)  # a method may be n/a for somebody
                if both.empty:
                    rows.append(row | {"helps": "n/a"})
                    continue
                mine, base = mine.loc[both], base.loc[both]
                gain, low, high = metrics.paired_gain(mine.ssim_slices, base.ssim_slices)
                helps = "yes" if low > 0 else "no" if high < 0 else "unclear"
                row |= {"gain": gain, "low": low, "high": high, "helps": helps}
                row["people"] = f"{int((mine.ssim > base.ssim).sum())} of {len(mine)}"
            rows.append(row)
    return pd.DataFrame(rows)


def score_result(path: Path) -> pd.DataFrame:
    """Every image of a result.h5 against its own truth: a row a case and method, fastMRI's three metrics."""
    rows = []
    for case, images in read_result(path).items():
        for name in (n for n in images if n not in ("input", "truth", "noise_free") and "truth" in images):
            scores = {m: metrics.METRICS[m](images[name], images["truth"]) for m in ("ssim", "psnr", "nmse")}
            run = Path(path).parent.parent
            rows.append({"file": f"{run.parent.name} {run.name}", "case": case, "method": name} | scores)
    return pd.DataFrame(rows)


def compare_series(
    pairs: list[Pair], networks: dict[str, nn.Module], path: Path, sampled: tuple[float, float], device="cpu"
) -> Comparison:
    """`compare` for cine: baselines in time and networks on every series; `seconds` are for a series.

    sampled: nominal and achieved acceleration of the set, NaN where they aren't known.
    """
    rows, seconds, held = [], {m: [] for m in [*SERIES_BASELINES, *networks]}, {}
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
                if method not in held:
                    held[method] = most_held(call)
                about = {"person": case.person, "group": series.index[i][0].person, "method": method}
                about |= {"acceleration": sampled[0], "achieved": sampled[1]}
                rows.append(about | score_series(images[method], truth))
            write_series(result, case, images, series.index[i][0].person)
            if (i + 1) % 4 == 0 or i + 1 == len(series):
                print(f"{i + 1} of {len(series)} series, {len(images)} methods", flush=True)
    return Comparison(pd.DataFrame(rows), {m: float(np.median(v)) for m, v in seconds.items()}, held, {})


def score_series(output: Tensor, truth: Tensor) -> dict[str, Any]:
    """A series' metrics, frames as slices: fastMRI's three, and `ssim3d` and `nrmse`, which the cine source reports."""
    values: dict[str, Any] = {n: metrics.METRICS[n](output, truth) for n in ("ssim", "psnr", "nmse")}
    fits = min(truth.shape) >= metrics.WINDOW  # a series of fewer frames has no 3-D window
    values["ssim3d"] = metrics.ssim3d(output, truth) if fits else float("nan")
    values["nrmse"] = values["nmse"] ** 0.5
    values["ssim_slices"] = metrics.per_slice(metrics.ssim, output, truth, float(truth.max())).tolist()
    return values | {"ssim_interval": metrics.bootstrap_interval(values["ssim_slices"])}


def score(
    output: Tensor, cases: list[Case], foreground_threshold: float = metrics.CHALLENGE_THRESHOLD
) -> dict[str, Any]:
    """Volume SSIM, PSNR and NMSE of one person's slices, by fastMRI's definitions; ssim_foreground by the SNU challenge's.

    Against the target as recorded (noisy RSS) and, where it is known, the noise-free truth (`_noise_free`), there also
    over the foreground alone (`_noise_free_foreground`). foreground_threshold: of ssim_foreground, in the data's units. `ssim_slices` lists the slices' values, `ssim_interval` is a
    block-bootstrap interval of their mean: it tells how much the choice of slices matters, not how other people do.
    """
    target = torch.stack([c.target for c in cases])
    names = ("ssim", "psnr", "nmse")
    values: dict[str, Any] = {n: metrics.METRICS[n](output, target) for n in names}
    values["ssim_foreground"] = metrics.ssim_foreground(output, target, threshold=foreground_threshold)
    values["ssim_slices"] = metrics.per_slice(metrics.ssim, output, target, float(target.max())).tolist()
    values["ssim_interval"] = metrics.bootstrap_interval(values["ssim_slices"])
    if cases[0].noise_free is not None:
        truth = torch.stack([c.noise_free for c in cases])
        where = metrics.foreground(truth)
        values |= {f"{n}_noise_free": metrics.METRICS[n](output, truth) for n in names}
        values |= {f"{n}_noise_free_foreground": metrics.METRICS[n](output, truth, where=where) for n in names}
    return values


def lesion_contrast(volume: Tensor | np.ndarray, lesion: np.ndarray, rim: int = 3) -> float:
    """(mean in the lesion − mean in the rim around it) / mean in the rim; the rim is `rim` pixels wide, in the slice."""
    from scipy.ndimage import binary_dilation

    ring = np.stack([binary_dilation(s, iterations=rim + 1) & ~binary_dilation(s) if s.any() else s for s in lesion])
    volume = np.asarray(volume)
    return float((volume[lesion].mean() - volume[ring].mean()) / volume[ring].mean())
