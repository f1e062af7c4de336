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

from lib import ROOT, InputError, metrics
from lib.data.cine import CineSeries, SeriesPair
from lib.data.fastmri import KspaceCase, KspaceSlices, inputs_of
from lib.data.fastmri_file import KspaceFile
from lib.data.grappa_cache import grappa_image
from lib.data.loaders import workers
from lib.data.reading import reading, without_kspace
from lib.evaluation.baselines import BASELINES, SERIES_BASELINES, zero_filled
from lib.evaluation.kept import Kept, Progress
from lib.evaluation.ladder import check_ladder, ladder, per_person  # noqa: F401  (for notebooks)
from lib.evaluation.scoring import lesions, score, score_result, score_series  # noqa: F401  (for notebooks)
from lib.evaluation.trained import check_kind, load, of_real_people, ranking, training_cost  # noqa: F401  (for notebooks)
from lib.inference.reconstruct import by_network, series_output, slices_by_file, write_kspace_case, write_series
from lib.inference.results import Writer
from lib.kspace import center_crop
from lib.memory import peak_memory


def sampled_at(scores: pd.DataFrame) -> str:
    """For titles: the mean acceleration achieved, '' where it isn't known."""
    return "" if scores.achieved.isna().all() else f", {scores.achieved.mean():.2f}× achieved"


class Comparison(NamedTuple):
    """What methods reach; for a cine, "series" stands for "slice".

    Parameters
    ----------
    scores : one row per file, method and acceleration
    seconds_per_slice : by method, the median
    peak_bytes : by method, the most bytes that a slice's arrays hold at a time
    reasons : why something couldn't be done, by method and file
    """

    scores: pd.DataFrame
    seconds_per_slice: dict[str, float]
    peak_bytes: dict[str, int]
    reasons: dict[str, str]


def compare(
    files: list[KspaceFile], mask: dict[str, Any], accelerations: list[int], networks: dict[str, nn.Module], path: Path,
    device="cpu", foreground_threshold: float = metrics.CHALLENGE_THRESHOLD, baselines: Sequence[str] | None = None,
    num_workers: int | None = 0,
) -> Comparison:  # fmt: skip
    """Every baseline and network on every file at every acceleration; all images go to a result.h5.

    Slices are read once, and reconstructed one by one, as a scanner delivers them. What is done is kept
    (`lib.evaluation.kept`): called again with the same settings, networks and files, this goes on where it was stopped.
    Prints a line per file and acceleration, and one per minute. A method that the data or the mask doesn't allow is
    left out, with the reason. Seconds are those from masked k-space in memory to the image; a cascade's include
    GRAPPA's.

    Parameters
    ----------
    files : of k-space, with targets
    mask : settings of `make_mask`, without the acceleration
    accelerations : nominal ones
    networks : by name, on `device`
    path : of the result.h5, whose groups are named as the cases (`KspaceSlices.names`), or `<case> <acceleration>x` if
        there are several accelerations
    device : where everything is reconstructed
    foreground_threshold : see `score`
    baselines : names of BASELINES; None: all
    num_workers : processes that read; None: 4 on a GPU, 0 on a CPU
    """
    baselines = list(BASELINES) if baselines is None else list(baselines)
    about = {"mask": mask, "baselines": baselines, "foreground_threshold": foreground_threshold}
    kept = Kept(path, about | {"networks": {name: identity(network) for name, network in networks.items()}})
    progress, reasons, names = Progress(len(files) * len(accelerations)), {}, []
    for nominal in accelerations:
        slices = KspaceSlices(files, {**mask, "acceleration": nominal})
        groups = {
            (f"{n} {nominal}x" if len(accelerations) > 1 else n): indices for n, indices in slices_by_file(slices)
        }
        states = dict(zip(groups, (_state(file) for file in files), strict=True))
        todo = {name: indices for name, indices in groups.items() if not kept.has(name, states[name])}
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
            kept.add(name, states[name], record, partial(write_kspace_case, name=name, cases=known, images=images))
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

    image: Callable[[KspaceCase], Tensor]
    prepare: Callable[[KspaceCase], KspaceCase] = lambda case: case
    before: Callable[[KspaceCase], Any] | None = None


def _methods(slices, networks, baselines, device, reasons: dict[str, str]) -> dict[str, Method]:
    """All methods by name; those that these files don't allow get a reason."""
    methods = {m: Method(partial(lambda call, case: call([case], device), BASELINES[m])) for m in baselines}
    for name, network in networks.items():
        with _noting(reasons, f"{name}, R {slices.mask['acceleration']}"):
            view = KspaceSlices(slices.files, slices.mask, **inputs_of(network))
            methods[name] = Method(partial(_by_network, network, view, device=device))
            if view.grappa:  # made and kept when the view was
                methods[name] = methods[name]._replace(
                    prepare=lambda case, v=view: case._replace(grappa=v.grappa_image(case.file, case.slice)),
                    before=lambda case, v=view: grappa_image(
                        case.masked_kspace.to(device), case.mask.columns, tuple(case.target.shape), v.grappa
                    ).cpu(),
                )
    return methods


def _by_network(network: nn.Module, view: KspaceSlices, case: KspaceCase, device) -> Tensor:
    if view.kind == "image":  # as the scanner's computer would have to
        image = center_crop(zero_filled([case], device)[0], tuple(case.zero_filled.shape))
        case = case._replace(zero_filled=image)
    return by_network(network, view, [case], device)


def _reconstruct(name: str, cases: Iterable[KspaceCase], methods: dict[str, Method], measured: set[str], progress):
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
                    held[m] = max(peak_memory(partial(call, given)) for call in calls)
        known.append(without_kspace(case))
    images = {m: torch.stack(volume) for m, volume in images.items() if m not in reasons}
    seconds = {m: float(np.median(seconds[m])) + extra.get(m, 0.0) for m in images}
    where = f"{name}, R {known[0].mask.acceleration:g}"
    record = {"seconds": seconds, "held": held, "reasons": {f"{m}, {where}": why for m, why in reasons.items()}}
    return known, images, record


def _timed(call: Callable[[KspaceCase], Tensor], case: KspaceCase) -> tuple[Tensor, float]:
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
        reasons[what] = str(error).replace(f"{ROOT}/", "")  # results travel


def compare_series(
    pairs: list[SeriesPair], networks: dict[str, nn.Module], path: Path, sampled: tuple[float, float], device="cpu",
    baselines: Sequence[str] | None = None,
) -> Comparison:  # fmt: skip
    """`compare` for cine: filters over time and networks on every series; all series go to a result.h5.

    Parameters
    ----------
    pairs : the files of series, with truths
    networks : by name, on `device`
    path : of the result.h5
    sampled : nominal and achieved acceleration of the set, NaN if they aren't known
    device : where the networks run
    baselines : names of SERIES_BASELINES; None: all
    """
    baselines = list(SERIES_BASELINES) if baselines is None else baselines
    rows, seconds, held = [], {m: [] for m in [*baselines, *networks]}, {}
    series = CineSeries(pairs)
    with Writer(path, first_axis="time") as result:
        for i in range(len(series)):
            case, images, pair = series.case(i), {}, series.index[i][0]
            x, truth = case.input.movedim(-1, 0), case.truth.movedim(-1, 0)
            calls = {m: partial(SERIES_BASELINES[m], x) for m in baselines}
            calls |= {m: partial(series_output, n, case.input, device) for m, n in networks.items()}
            for method, call in calls.items():
                begun = time.perf_counter()
                images[method] = call()
                seconds[method].append(time.perf_counter() - begun)
                if method not in held:
                    held[method] = peak_memory(call)
                about = {"person": case.person, "group": pair.person, "case": case.id, "method": method}
                about |= {"simulated": pair.simulated, "acceleration": sampled[0], "achieved": sampled[1]}
                rows.append(about | score_series(images[method], truth))
            write_series(result, case, images, pair)
            if (i + 1) % 4 == 0 or i + 1 == len(series):
                print(f"{i + 1} of {len(series)} series, {len(images)} methods", flush=True)
    return Comparison(pd.DataFrame(rows), {m: float(np.median(v)) for m, v in seconds.items()}, held, {})
