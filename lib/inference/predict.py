"""Reconstruct the slices or series of a set with a network, streamed to result.h5; other layouts of it."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib import InputError, runs
from lib.data import lgg
from lib.data.case_files import CaseSlices, normalise
from lib.data.cine import Case as SeriesCase
from lib.data.cine import CineSeries
from lib.data.fastmri import KINDS, Case, KspaceSlices
from lib.data.hdf5 import dataset, open_hdf5
from lib.data.loaders import workers
from lib.data.names import path_names
from lib.data.reading import reading, without_kspace
from lib.files import replacing
from lib.kspace import center_crop
from lib.losses import segmentation
from lib.text import value_or_error


def outputs(model: nn.Module, slices: KspaceSlices, indices: Iterable[int], device="cpu") -> Tensor:
    """The network's images (N, h, w), in the data's units, of slices that have one size; on the CPU."""
    return by_network(model, slices, [slices.case(i) for i in indices], device)


@torch.no_grad()
def by_network(model: nn.Module, slices: KspaceSlices, cases: list[Case], device="cpu") -> Tensor:
    """`outputs` of cases that are read already; `slices` says how the network gets them."""
    columns = [torch.stack(values) for values in zip(*map(slices.item, cases), strict=True)]
    image = model(*(x.to(device) for x in columns[: KINDS[slices.kind]])).float().cpu()
    if slices.kind == "image":
        mean, std = columns[-2:]
        image = image.squeeze(1) * std.view(-1, 1, 1) + mean.view(-1, 1, 1)
    return center_crop(image, tuple(cases[0].zero_filled.shape))


def volumes(slices: KspaceSlices) -> Iterator[tuple[str, list[int]]]:
    """(name of the case, indices of its slices), file by file."""
    start = 0
    for file in slices.files:
        yield slices.names[file.path], list(range(start, start + file.slices))
        start += file.slices


@torch.no_grad()
def reconstruct(
    model: nn.Module, slices: KspaceSlices, path: Path, device="cpu", batch_size: int = 1, num_workers: int | None = 0
) -> Path:
    """Write result.h5: one group a file with `input` (zero-filled), `output`, and `truth`, `noise_free` if known.

    All are (S, h, w) float32; attributes: person, file, maximum, mask (W,), acceleration asked for and achieved.
    Prints a line a file; written under a temporary name and renamed. num_workers: processes that read; None: 4 on a GPU, 0
    on a CPU. Returns the path.
    """
    model = model.to(device).eval()
    cases = reading(slices, list(range(len(slices))), workers(num_workers, device))
    with replacing(path) as partial, h5py.File(partial, "w", track_order=True) as result:
        for name, indices in volumes(slices):
            known, images = [], []
            for start in range(0, len(indices), batch_size):
                batch = list(itertools.islice(cases, min(batch_size, len(indices) - start)))
                images.append(by_network(model, slices, batch, device))
                known += map(without_kspace, batch)
            write_case(result, name, known, {"output": torch.cat(images)})
            print(f"reconstructed {name}: {len(indices)} slices", flush=True)
    return Path(path)


def write_case(result: h5py.File, name: str, cases: list[Case], images: dict[str, Tensor | np.ndarray]) -> None:
    """One file's group: zero-filled input, the `images` (S, h, w) of one or more methods, what is known of the truth."""
    first = cases[0]
    images = {"input": torch.stack([c.zero_filled for c in cases]), **images}
    if first.target is not None:
        images["truth"] = torch.stack([c.target for c in cases])
    if first.noise_free is not None:
        images["noise_free"] = torch.stack([c.noise_free for c in cases])
    group = result.create_group(name, track_order=True)
    for key, volume in images.items():
        group.create_dataset(key, data=np.asarray(volume, dtype=np.float32))
    group.attrs["person"], group.attrs["file"], group.attrs["maximum"] = first.person, str(first.file), first.maximum
    group.attrs["mask"], group.attrs["acceleration_achieved"] = first.mask.columns.numpy(), first.mask.achieved
    group.attrs["acceleration"], group.attrs["mask_kind"] = first.mask.acceleration, first.mask.kind
    if first.spacing:
        group.attrs["spacing"] = first.spacing


def reconstruct_series(model: nn.Module, series: CineSeries, path: Path, device="cpu") -> Path:
    """Write result.h5 of cine series: one group a series with `input`, `output`, and `truth` if known.

    All are (T, axis 1, axis 2) float32, frames first as slices are; attributes: person, file. Written under a temporary
    name and renamed. Returns the path.
    """
    model = model.to(device).eval()
    with replacing(path) as partial, h5py.File(partial, "w", track_order=True) as result:
        for i in range(len(series)):
            case = series.case(i)
            images = {"output": series_output(model, case.input, device)}
            write_series(result, case, images, series.index[i][0].person)
            if (i + 1) % 8 == 0 or i + 1 == len(series):
                print(f"reconstructed {i + 1} of {len(series)} series", flush=True)
    return Path(path)


@torch.no_grad()
def series_output(model: nn.Module, series: Tensor, device="cpu") -> Tensor:
    """A network's series (T, axis 1, axis 2), on the CPU, from an aliased one (axis 1, axis 2, T)."""
    return model(series[None].to(device))[0].float().cpu().movedim(-1, 0)


def write_series(result: h5py.File, case: SeriesCase, images: dict[str, Tensor], kind: str) -> None:
    """One series' group: the aliased input, the `images` (T, axis 1, axis 2) of one or more methods, and the truth.

    kind: of series, such as simulated hearts.
    """
    result.attrs["first_axis"] = "time"
    group = result.create_group(case.id, track_order=True)
    images = {"input": case.input.movedim(-1, 0), **images}
    if case.truth is not None:
        images["truth"] = case.truth.movedim(-1, 0)
    for key, series in images.items():
        group.create_dataset(key, data=np.asarray(series, dtype=np.float32))
    group.attrs["person"], group.attrs["file"], group.attrs["kind"] = case.person, str(case.file), kind


@torch.no_grad()
def segment(model: nn.Module, slices: CaseSlices, path: Path, device="cpu", batch_size: int = 1) -> Path:
    """Write result.h5 of segmented cases: one group a case with `input`, `output` and, if known, `truth`, all (S, H, W).

    input: the image as stored (of three channels the middle one); output and truth: classes, uint8; of a one-channel
    network also `probability` (S, H, W) in 0 … 1. Attributes: person, file, classes, spacing, names (of the slices), and
    probability_of_truth, the mean probability of the right class. Written under a temporary name and renamed.
    """
    model = model.to(device).eval()
    first = 0
    with replacing(path) as partial, h5py.File(partial, "w", track_order=True) as result:
        for case in slices.cases:
            group, found, size = result.create_group(case.id, track_order=True), [], (case.slices, *case.size)
            output = group.create_dataset("output", size, np.uint8, compression="gzip", chunks=(1, *case.size))
            image = group.create_dataset("input", size, np.float32, compression="gzip", chunks=(1, *case.size))
            truth = (
                group.create_dataset("truth", size, np.uint8, compression="gzip", chunks=(1, *case.size))
                if case.label
                else None
            )
            for start in range(0, case.slices, batch_size):
                part = [slices.case(first + s) for s in range(start, min(start + batch_size, case.slices))]
                at = slice(start, start + len(part))
                probabilities = segmentation.probabilities(model(torch.stack([c.image for c in part]).to(device))).cpu()
                if probabilities.shape[1] == 1:
                    group.require_dataset("probability", size, np.float32)[at] = probabilities[:, 0]
                    probabilities = torch.cat((1 - probabilities, probabilities), 1)
                output[at], image[at] = probabilities.argmax(1), torch.stack([c.raw[len(c.raw) // 2] for c in part])
                if truth is not None:
                    label = torch.stack([c.label for c in part])
                    truth[at] = label
                    found.append(probabilities.gather(1, label[:, None]).flatten())
            first += case.slices
            group.attrs["person"], group.attrs["file"], group.attrs["classes"] = (
                case.person,
                str(case.path),
                list(case.classes),
            )
            group.attrs["spacing"], group.attrs["names"] = case.spacing, list(case.names)
            group.attrs["probability_of_truth"] = float(torch.cat(found).mean()) if found else float("nan")
            print(f"segmented {case.id}: {case.slices} slices", flush=True)
    return Path(path)


def score_series(path: Path, metrics: dict[str, Callable[[Tensor, Tensor], Tensor]]) -> pd.DataFrame:
    """A row a series of a result.h5 that has a truth: each of the training `metrics` of its output; else an empty table."""
    rows = {}
    for case, images in read_result(path).items():
        if "truth" in images:
            output, truth = (torch.from_numpy(images[key]).movedim(0, -1)[None] for key in ("output", "truth"))
            rows[case] = {name: metric(output, truth).item() for name, metric in metrics.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def _cine(source: Path) -> Path:
    cases = read_result(source)
    shapes = sorted({volumes["input"].shape for volumes in cases.values()})
    if len(shapes) > 1:
        raise InputError(
            f"{source}: series of {len(shapes)} sizes, {shapes[0]} and {shapes[1]}: one array can't hold them"
        )
    names, path = {"input": "input", "result": "output", "truth": "truth"}, source.with_name("result_cine.h5")
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        for name, key in names.items():
            if all(key in volumes for volumes in cases.values()):
                file[name] = np.stack([np.moveaxis(volumes[key], 0, -1) for volumes in cases.values()])
    return path


def _submission(source: Path) -> Path:
    folder = source.with_name("reconstructions")
    with h5py.File(source, "r") as result:
        names = path_names(Path(group.attrs["file"]) for group in result.values())
        for group in result.values():
            path = folder.joinpath(*names[Path(group.attrs["file"])])
            with replacing(path.with_name(f"{path.name}.h5")) as partial, h5py.File(partial, "w") as file:
                file["reconstruction"] = group["output"][:]
    return folder


def _masks(source: Path) -> Path:
    path = source.with_name("masks.h5")
    with (
        h5py.File(source, "r") as result,
        replacing(path) as partial,
        h5py.File(partial, "w", track_order=True) as file,
    ):
        for group in result.values():
            for name, mask in zip(group.attrs["names"], group["probability"], strict=True):
                file[name] = mask[None]
    return path


LAYOUTS = {"cine": _cine, "submission": _submission, "masks": _masks}


def export(run: os.PathLike | str, layout: str) -> Path:
    """A run's result.h5 once more in a source's layout, beside it; returns the new file's or folder's path.

    cine: `result_cine.h5` with `input`, `result` and, if known, `truth`, each (series, axis 1, axis 2, time).
    submission: fastMRI's and SNU's, `reconstructions/<file>.h5` a file of k-space, with `reconstruction` (S, h, w); of
    files of one name with the folder that sets them apart, as in `reconstructions/acc4/<file>.h5`.
    masks: the ResUNet source's, `masks.h5` with a data set (1, H, W) in 0 … 1 an image, by its name.
    InputError for another layout and for series of different size.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout: got {layout!r}, expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[layout](Path(run) / "predictions" / "result.h5")


@torch.no_grad()
def segment_images(model: nn.Module, folder: Path, path: Path, how: str, size: tuple[int, int], device="cpu") -> Path:
    """Write masks.h5 for a folder of images without masks: a data set (1, h, w) in 0 … 1 an image, by its file's stem.

    Images are resized to `size` and normalised as `how` says. Returns the path; InputError where there are no images
    or one is refused: before any is predicted.
    """
    model = model.to(device).eval()
    found = lgg.images_in(folder)
    for image in found:
        lgg.check_image(image)
    with replacing(path) as partial, h5py.File(partial, "w", track_order=True) as file:
        for image in found:
            x = normalise(torch.from_numpy(lgg.read_image(image, size).astype(np.float32)), how)
            file[image.stem] = segmentation.probabilities(model(x[None].to(device))).cpu().numpy()[0]
    print(f"{len(found)} masks", flush=True)
    return Path(path)


def result_of(source: os.PathLike | str) -> Path:
    """The result.h5 of a run folder or of a task's newest good run; one that is named by its path."""
    path = Path(source)
    return path if path.suffix == ".h5" else runs.find(source) / "predictions" / "result.h5"


def case_names(source: os.PathLike | str) -> list[str]:
    """The cases of a result (see `result_of`); InputError where it isn't one, or is empty."""
    path = result_of(source)
    if not path.exists():
        raise InputError(f"{path}: no such file; a training or evaluation run writes it")
    opened, why = value_or_error(open_hdf5, path)
    if why:
        raise InputError(f"{path}: not a result.h5 that can be read: {why.removeprefix(f'{path}: ')}")
    with opened as file:
        names = list(file)
        whole = all(isinstance(file.get(name), h5py.Group) for name in names)
    if not whole:
        raise InputError(f"{path}: not a result.h5, expected one HDF5 group a case with input, output, truth")
    if not names:
        raise InputError(f"{path}: holds no cases")
    return names


def read_case(path: Path, case: str) -> dict[str, np.ndarray]:
    """{name: volume (S, h, w)} of one case of a result.h5."""
    with open_hdf5(path) as file:
        return {key: dataset(file[case], key)[:] for key in file[case]}


def read_result(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """{case: {name: volume (S, h, w)}} of a result.h5; InputError where it isn't one."""
    return {case: read_case(path, case) for case in case_names(path)}
