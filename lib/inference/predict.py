"""A trained network applied to a split of a prepared set, or to a folder of images, in the way of its family."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import lib.data
from lib import ROOT, InputError, models
from lib.data import cine, cine_files
from lib.data.case_files import CaseSlices, split_cases
from lib.data.fastmri import KspaceSlices, inputs_of, split_files
from lib.data.index import number_of_channels, read_set
from lib.inference import layouts, onnx, reconstruct, segment
from lib.inference.flips import flip_average
from lib.losses import keras
from lib.models import own
from lib.models.varnet_rcan import SelfEnsemble
from lib.runs import Run, prediction, weights
from lib.text import pluralize, short


def source(run: Run, network: str, settings: dict[str, Any]) -> Path:
    """The folder that a run predicts from: a prepared set, the index of the user's own files, or images without masks.

    The checksums of the data go into the run's manifest.

    Parameters
    ----------
    run : of the notebook `models.PREDICT`
    network : its name
    settings : of `lib.runs.prediction.complete`

    Raises
    ------
    InputError
        If the data can't be read, or are for networks of another kind.
    """
    quick, data, images = run.parameters["quick"], settings["data"], settings.get("images")
    if images:
        folder = ROOT / images
        is_of_set = quick and data and folder.is_relative_to(ROOT / data)
        return lib.data.prepared(data, quick) / folder.name if is_of_set else folder
    if settings["files"]:
        needed = {run.parameters["split"]: run.parameters["evaluate"]}
        folder = cine_files.index(settings["files"], run / "data", needed, table=False).parent
    else:
        folder = lib.data.prepared(data, quick)
    prediction.check_kind(folder, network)
    run.record(data={entry["path"]: entry["sha256"] for entry in read_set(folder)["files"]})
    return folder


def network(weights_of: Path | str, name: str, given: dict[str, Any], folder: Path) -> weights.Trained:
    """A network as its run left it, checked against the classes of the data.

    Parameters
    ----------
    weights_of : a task, a run, a folder or a file of weights
    name : the network's
    given : settings of a network whose weights don't tell them
    folder : of a prepared set
    """
    family = models.family_of(name)
    if family == "cascade":
        given = weights.with_varnet(given, [], weights_of)
    if family == "pairs":
        return weights.load(weights_of, name, given, _classes_of(folder), channels=1)
    content = read_set(folder)
    trained = weights.load(weights_of, name, given, content.get("classes", ()))
    found, count = own.inputs(trained.settings), number_of_channels(content)
    if family in ("slices", "volumes") and found not in (None, count):
        raise InputError(
            short(folder), f"images with {pluralize(count, 'channel')}", f"{found}, as the network was trained"
        )
    return trained


def _classes_of(folder: Path) -> Sequence[str]:
    """The classes of a prepared set of pairs; of a folder of images they aren't known."""
    return read_set(folder)["classes"] if (folder / "set.json").exists() else ()


def predict(
    trained: weights.Trained, folder: Path, split: str, run: Path, device: torch.device | str = "cpu",
    need_truth: bool = False, **settings: Any,
) -> Path:  # fmt: skip
    """Write run/predictions/result.h5, and beside it the layouts of the network's source; of images masks.h5 alone.

    Parameters
    ----------
    trained : the network
    folder : as `source` returns it
    split : of a prepared set: train, val or test
    run : a run folder
    device : where the network works
    need_truth : a file without its truth is an InputError
    **settings : of `lib.runs.prediction.complete`

    Returns
    -------
    The path of the result.
    """
    own = {name: value for name, value in settings.items() if name not in ("data", "files")}
    path = Path(run) / "predictions" / "result.h5"
    return BY_FAMILY[models.family_of(trained.name)](trained, folder, split, need_truth, path, device, **own)


def _cine(trained, folder, split, need_truth, path, device, metrics, serving):
    pairs = cine.split_pairs(folder, split, need_truth)
    series = cine.CineSeries(pairs)
    for shape in set(series.sizes):
        keras.check_sizes(metrics, shape)
    if any(pair.truths is None for pair in pairs):
        print(f"no truths for {split}: the series are reconstructed, metrics are left out")
    reconstruct.reconstruct_series(trained.model, series, path, device)
    if len(set(series.sizes)) == 1:
        layouts.export(path.parent.parent, layout="cine")
    if serving:
        onnx.serve(trained.model, trained.name, series.case(0).input[None], path.parent.parent / "serving")
    return path


def _kspace(trained, folder, split, need_truth, path, device, mask, eval_batch_size, num_workers):
    slices = KspaceSlices(split_files(folder, split, need_truth), mask, **inputs_of(trained.model))
    return reconstruct.reconstruct(trained.model, slices, path, device, eval_batch_size, num_workers)


def _cascade(trained, folder, split, need_truth, path, device, self_ensemble, **settings):
    network = SelfEnsemble(trained.model, **self_ensemble)
    for file in split_files(folder, split, need_truth):
        network.check(file.target_shape)
    _kspace(trained._replace(model=network), folder, split, need_truth, path, device, **settings)
    layouts.export(path.parent.parent, layout="submission")
    return path


def _slices(
    trained, folder, split, need_truth, path, device, normalize, eval_batch_size, test_time_flips=(), channels=None
):
    count = channels or number_of_channels(read_set(folder))
    slices = CaseSlices(split_cases(folder, split, need_truth), normalize, channels=count)
    model = flip_average(trained.model, test_time_flips, "HW")
    return segment.segment_slices(model, slices, path, device, eval_batch_size)


def _pairs(trained, folder, split, need_truth, path, device, images, normalize, size, eval_batch_size):
    if images:
        masks = path.with_name("masks.h5")
        return segment.segment_images(trained.model, folder, masks, normalize, tuple(size), device, trained.classes)
    _slices(trained, folder, split, need_truth, path, device, normalize, eval_batch_size, channels=3)
    layouts.export(path.parent.parent, layout="masks")
    return path


def _volumes(
    trained, folder, split, need_truth, path, device, patch, overlap, precision, eval_batch_size, test_time_flips
):  # fmt: skip
    cases, model = split_cases(folder, split, need_truth), flip_average(trained.model, test_time_flips, "DHW")
    segment.segment_volumes(model, cases, path, patch, overlap, eval_batch_size, device, precision)
    layouts.export(path.parent.parent, layout="nifti")
    return path


BY_FAMILY = {
    "cine": _cine, "kspace": _kspace, "cascade": _cascade, "slices": _slices, "volumes": _volumes, "pairs": _pairs,
}  # fmt: skip
