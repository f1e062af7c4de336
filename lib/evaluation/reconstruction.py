"""Reconstruction methods side by side on the same slices, and their scores."""

import contextlib
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib import InputError, metrics, models, runs
from lib.data.cine import CineSeries, Pair
from lib.data.fastmri import Case, KspaceSlices, inputs_of
from lib.data.fastmri_file import KspaceFile
from lib.data.grappa_cache import image as grappa_image
from lib.data.loaders import workers
from lib.data.reading import reading, without_kspace
from lib.evaluation.baselines import BASELINES, SERIES_BASELINES, zero_filled
from lib.evaluation.kept import Kept, Progress
from lib.evaluation.ladder import check_ladder, ladder, per_person  # noqa: F401  (for notebooks)
from lib.evaluation.scoring import lesion_contrast, lesions, score, score_result, score_series  # noqa: F401  (for notebooks)
from lib.files import read
from lib.inference.reconstruct import by_network, series_output, volumes, write_case, write_series
from lib.inference.results import Writer
from lib.kspace import center_crop
from lib.memory import most_held
from lib.models.varnet_rcan import SelfEnsemble, VarNetRCAN


def sampled_at(scores: pd.DataFrame) -> str:
    """For titles: the mean acceleration achieved, '' where it isn't known."""
    return "" if scores.achieved.isna().all() else f", {scores.achieved.mean():.2f}× achieved"


class Comparison(NamedTuple):
    """`scores`: one row per file, method and acceleration. `seconds`: median per slice. `held`: the most bytes that a slice's
    arrays hold at a time. `reasons`: what couldn't be done. Of a cine: a series in place of a slice.
    """

    scores: pd.DataFrame
    seconds: dict[str, float]
    held: dict[str, int]
    reasons: dict[str, str]


def compare(
    files: list[KspaceFile], mask: dict[str, Any], accelerations: list[int], networks: dict[str, nn.Module], path: Path,
    device="cpu", foreground_threshold: float = metrics.CHALLENGE_THRESHOLD, baselines: Sequence[str] | None = None,
    num_workers: int | None = 0,
) -> Comparison:  # fmt: skip
    """Every baseline and network on every file at every acceleration; all images to a result.h5 at `path`.

    networks: by name. baselines: names of BASELINES; None: all. Groups are named as the cases (`KspaceSlices.names`), or
    `<case> <acceleration>x` where there are several. Slices are read once, by num_workers processes (None: 4 on a GPU, 0 on
    a CPU), and reconstructed one by one, as a scanner delivers them, on `device`. What is done is kept (`lib.evaluation.kept`):
    called again with the same settings, networks and files, this goes on where it was stopped. Prints a line a file and
    acceleration, and one a minute. A method that the data or the mask doesn't allow is left out, with the reason.
    Seconds are those from masked k-space in memory to the image, of all methods; a cascade's include GRAPPA's.
    foreground_threshold: see `score`.
    """
    baselines = list(BASELINES) if baselines is None else list(baselines)
    about = {"mask": mask, "baselines": baselines, "foreground_threshold": foreground_threshold}
    kept = Kept(path, about | {"networks": {name: identity(network) for name, network in networks.items()}})
    progress, reasons, names = Progress(len(files) * len(accelerations)), {}, []
    for nominal in accelerations:
        slices = KspaceSlices(files, {**mask, "acceleration": nominal})
        groups = {(f"{n} {nominal}x" if len(accelerations) > 1 else n): its for n, its in volumes(slices)}
        states = dict(zip(groups, (_state(file) for file in files), strict=True))
        todo = {name: its for name, its in groups.items() if not kept.has(name, states[name])}
        names += groups
        progress.kept(len(groups) - len(todo))
        calls = _methods(slices, networks, baselines, device, reasons) if todo else {}
        cases = reading(slices, list(itertools.chain(*todo.values())), workers(num_workers, device))
        for name, indices in todo.items():
            measured = {m for record in kept.records.values() for m in record["held"]}
            known, images, record = _reconstruct(name, itertools.islice(cases, len(indices)), calls, measured, progress)
            first = known[0]
            row = {"person": first.person, "group": first.person, "case": name}
            row |= {"acceleration": nominal, "achieved": first.mask.achieved}
            record["rows"] = [row | {"method": m} | score(i, known, foreground_threshold) for m, i in images.items()]
            kept.add(name, states[name], record, partial(write_case, name=name, cases=known, images=images))
            done = f"{name}: {len(known)} slices, {len(images)} methods"
            progress.done(f"R {nominal}, {first.mask.achieved:.2f}× achieved · {done}")
    return _together(kept.join(names), [*baselines, *networks], reasons)


def _state(file: KspaceFile) -> list[Any]:
    """What tells whether a file has changed."""
    return [str(file.path), file.path.stat().st_size, file.path.stat().st_mtime_ns]


def identity(network: nn.Module) -> str:
    """A checksum of a network's weights and settings."""
    told = hashlib.sha256(repr(network).encode())
    for module in network.modules():
        plain = {k: v for k, v in vars(module).items() if isinstance(v, (str, int, float, list, dict, tuple))}
        told.update(repr({k: v for k, v in plain.items() if k[0] != "_" and k != "training"}).encode())
    for name, tensor in network.state_dict().items():
        told.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return told.hexdigest()


class Method(NamedTuple):
    """prepare: what is read for a case before its time counts; image: (1, h, w) of the case; before: GRAPPA, or nothing."""

    image: Callable[[Case], Tensor]
    prepare: Callable[[Case], Case] = lambda case: case
    before: Callable[[Case], Any] | None = None


def _methods(slices, networks, baselines, device, reasons: dict[str, str]) -> dict[str, Method]:
    """All methods by name; those that these files don't allow get a reason."""
    found = {m: Method(partial(lambda call, case: call([case], device), BASELINES[m])) for m in baselines}
    for name, network in networks.items():
        with _noting(reasons, f"{name}, R {slices.mask['acceleration']}"):
            view = KspaceSlices(slices.files, slices.mask, **inputs_of(network))
            found[name] = Method(partial(_by_network, network, view, device=device))
            if view.grappa:  # made and kept when the view was
                found[name] = found[name]._replace(
                    prepare=lambda case, v=view: case._replace(grappa=v.grappa_image(case.file, case.slice)),
                    before=lambda case, v=view: grappa_image(
                        case.masked_kspace.to(device), case.mask.columns, tuple(case.target.shape), v.grappa
                    ).cpu(),
                )
    return found


def _by_network(network: nn.Module, view: KspaceSlices, case: Case, device) -> Tensor:
    if view.kind == "image":  # as the scanner's computer would have to
        image = center_crop(zero_filled([case], device)[0], tuple(case.zero_filled.shape))
        case = case._replace(zero_filled=image)
    return by_network(network, view, [case], device)


def _reconstruct(name: str, cases: Iterable[Case], methods: dict[str, Method], measured: set[str], progress):
    """A file's cases without k-space, each method's images (S, h, w), and their record: seconds, held, reasons.

    measured: methods whose memory is known already.
    """
    known, images, seconds, extra = [], {m: [] for m in methods}, {m: [] for m in methods}, {}
    held, reasons = {}, {}
    for case in cases:
        progress.within(f"{name}: slice {len(known) + 1}")
        for m in [m for m in methods if m not in reasons]:
            method = methods[m]
            with _noting(reasons, m):
                given = method.prepare(case)
                if not known and method.before:
                    extra[m] = _timed(method.before, given)[1]
                image, spent = _timed(method.image, given)
                images[m].append(center_crop(image[0], tuple(case.zero_filled.shape)))
                seconds[m].append(spent)
                if not known and m not in measured:
                    calls = [method.image, *filter(None, [method.before])]
                    held[m] = max(most_held(partial(call, given)) for call in calls)
        known.append(without_kspace(case))
    images = {m: torch.stack(volume) for m, volume in images.items() if m not in reasons}
    seconds = {m: float(np.median(seconds[m])) + extra.get(m, 0.0) for m in images}
    where = f"{name}, R {known[0].mask.acceleration:g}"
    record = {"seconds": seconds, "held": held, "reasons": {f"{m}, {where}": why for m, why in reasons.items()}}
    return known, images, record


def _timed(call: Callable[[Case], Tensor], case: Case) -> tuple[Tensor, float]:
    begun = time.perf_counter()
    return call(case), time.perf_counter() - begun


def _together(records: list[dict[str, Any]], methods: list[str], reasons: dict[str, str]) -> Comparison:
    """All files' records as one."""
    seconds = {m: [r["seconds"][m] for r in records if m in r["seconds"]] for m in methods}
    held = {m: max(r["held"].get(m, 0) for r in records) for m in methods if seconds[m]}
    for record in records:
        reasons |= record["reasons"]
    rows = pd.DataFrame([row for record in records for row in record["rows"]])
    return Comparison(rows, {m: float(np.median(v)) for m, v in seconds.items() if v}, held, reasons)


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
        raise InputError("self_ensemble", "none of the inputs is a cascade (VarNetRCAN)")
    return networks


def check_kind(networks: dict[str, nn.Module], kind: str, cine: bool) -> None:
    """InputError if a set's `kind` or a network is for cine where k-space is expected, or the other way round."""
    if (kind == "cine") != cine:
        notebook = "31_evaluate_cine" if kind == "cine" else "30_evaluate_kspace"
        raise InputError("data", f"a set of {kind}", "cine" if cine else "k-space", f"{notebook} evaluates it")
    for name, model in networks.items():
        if (models.entry(getattr(model, "model", model)).family == "cine") != cine:  # inside a SelfEnsemble
            raise InputError(
                "inputs", f"{name} is a network for {'k-space' if cine else 'cine'}, this set is the other kind"
            )


def ranking(scores: pd.DataFrame, networks: dict[str, nn.Module]) -> pd.DataFrame:
    """Networks by mean SSIM over the largest group of series: quality, parameters, minutes and peak MiB of training.

    What isn't known of a network's training is NaN.
    """
    rows, groups = {}, list(scores.group)
    largest = max(dict.fromkeys(groups), key=groups.count, default=None)
    for name, model in networks.items():
        part = scores[(scores.method == name) & (scores.group == largest)]
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


def compare_series(
    pairs: list[Pair], networks: dict[str, nn.Module], path: Path, sampled: tuple[float, float], device="cpu",
    baselines: Sequence[str] | None = None,
) -> Comparison:  # fmt: skip
    """`compare` for cine: baselines in time and networks on every series; `seconds` are for a series.

    sampled: nominal and achieved acceleration of the set, NaN where they aren't known.
    """
    baselines = list(SERIES_BASELINES) if baselines is None else baselines
    rows, seconds, held = [], {m: [] for m in [*baselines, *networks]}, {}
    series = CineSeries(pairs)
    with Writer(path, first_axis="time") as result:
        for i in range(len(series)):
            case, images = series.case(i), {}
            x, truth = case.input.movedim(-1, 0), case.truth.movedim(-1, 0)
            calls = {m: partial(SERIES_BASELINES[m], x) for m in baselines}
            calls |= {m: partial(series_output, n, case.input, device) for m, n in networks.items()}
            for method, call in calls.items():
                begun = time.perf_counter()
                images[method] = call()
                seconds[method].append(time.perf_counter() - begun)
                if method not in held:
                    held[method] = most_held(call)
                about = {"person": case.person, "group": series.index[i][0].person, "case": case.id, "method": method}
                about |= {"acceleration": sampled[0], "achieved": sampled[1]}
                rows.append(about | score_series(images[method], truth))
            write_series(result, case, images, series.index[i][0].person)
            if (i + 1) % 4 == 0 or i + 1 == len(series):
                print(f"{i + 1} of {len(series)} series, {len(images)} methods", flush=True)
    return Comparison(pd.DataFrame(rows), {m: float(np.median(v)) for m, v in seconds.items()}, held, {})
