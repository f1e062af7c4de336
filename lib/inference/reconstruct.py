"""Reconstruct the slices or series of a set with a network, streamed to result.h5."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib.data.cine import CineCase, CineSeries, SeriesPair
from lib.data.fastmri import INPUT_COUNTS, KspaceCase, KspaceSlices
from lib.data.loaders import workers
from lib.data.reading import reading, without_kspace
from lib.inference.results import Writer
from lib.kspace import center_crop
from lib.losses import unnormalize


@torch.no_grad()
def by_network(model: nn.Module, slices: KspaceSlices, cases: list[KspaceCase], device="cpu") -> Tensor:
    """A network's images of slices of one size.

    Parameters
    ----------
    model : on `device`, in eval mode
    slices : says what the network is fed with
    cases : the slices, as `slices.case` gives them
    device : where the network is

    Returns
    -------
    float32 (N, h, w) on the CPU, in the data's units.
    """
    columns = [torch.stack(values) for values in zip(*map(slices.item, cases), strict=True)]
    image = model(*(x.to(device) for x in columns[: INPUT_COUNTS[slices.kind]])).float().cpu()
    if slices.kind == "image":
        image = unnormalize(image.squeeze(1), *columns[-2:])
    return center_crop(image, tuple(cases[0].zero_filled.shape))


def slices_by_file(slices: KspaceSlices) -> Iterator[tuple[str, list[int]]]:
    """(name of the case, indices of its slices), file by file."""
    start = 0
    for file in slices.files:
        yield slices.names[file.path], list(range(start, start + file.slices))
        start += file.slices


@torch.no_grad()
def reconstruct(
    model: nn.Module, slices: KspaceSlices, path: Path, device="cpu", batch_size: int = 1, num_workers: int | None = 0
) -> Path:
    """Write result.h5: one group per file with `input` (zero-filled), `output`, and `truth`, `noise_free` if known.

    All are (S, h, w) float32; attributes: person, file, maximum, mask (W,) or (H, W), acceleration asked for and achieved.
    Prints a line per file; written under a temporary name and renamed.

    Parameters
    ----------
    model : a network for k-space
    slices : what is reconstructed, and what the network is fed with
    path : of the result.h5
    device : where the network runs
    batch_size : slices of a file at once
    num_workers : processes that read; None: 4 on a GPU, 0 on a CPU

    Returns
    -------
    The path.
    """
    model = model.to(device).eval()
    cases = reading(slices, list(range(len(slices))), workers(num_workers, device))
    with Writer(path) as result:
        for name, indices in slices_by_file(slices):
            known, images = [], []
            for start in range(0, len(indices), batch_size):
                batch = list(itertools.islice(cases, min(batch_size, len(indices) - start)))
                images.append(by_network(model, slices, batch, device))
                known += map(without_kspace, batch)
            write_kspace_case(result, name, known, {"output": torch.cat(images)})
            print(f"reconstructed {name}: {len(indices)} slices", flush=True)
    return Path(path)


def write_kspace_case(
    result: Writer, name: str, cases: list[KspaceCase], images: dict[str, Tensor | np.ndarray]
) -> None:
    """One file's group: zero-filled input, the images of one or more methods, what is known of the truth.

    Parameters
    ----------
    result : where it is written
    name : of the group
    cases : the file's slices
    images : (S, h, w) by method
    """
    first, mask = cases[0], cases[0].mask
    images = {"input": torch.stack([c.zero_filled for c in cases]), **images}
    if first.target is not None:
        images["truth"] = torch.stack([c.target for c in cases])
    if first.noise_free is not None:
        images["noise_free"] = torch.stack([c.noise_free for c in cases])
    result.add(
        name, images, person=first.person, file=str(first.file), maximum=first.maximum, spacing=first.spacing,
        mask=mask.sampled.numpy(), mask_kind=mask.kind, acceleration=mask.acceleration,
        acceleration_achieved=mask.achieved,
    )  # fmt: skip


def reconstruct_series(model: nn.Module, series: CineSeries, path: Path, device="cpu") -> Path:
    """Write result.h5 of cine series: one group per series with `input`, `output`, and `truth` if known.

    All are (T, axis 1, axis 2) float32, frames first as slices are; attributes: person, file, kind, simulated. Written
    under a temporary name and renamed.

    Parameters
    ----------
    model : a network for cine
    series : what is reconstructed
    path : of the result.h5
    device : where the network runs

    Returns
    -------
    The path.
    """
    model = model.to(device).eval()
    with Writer(path, first_axis="time") as result:
        for i in range(len(series)):
            case = series.case(i)
            images = {"output": series_output(model, case.input, device)}
            write_series(result, case, images, series.index[i][0])
            if (i + 1) % 8 == 0 or i + 1 == len(series):
                print(f"reconstructed {i + 1} of {len(series)} series", flush=True)
    return Path(path)


@torch.no_grad()
def series_output(model: nn.Module, series: Tensor, device="cpu") -> Tensor:
    """A network's series (T, axis 1, axis 2), on the CPU, from an aliased one (axis 1, axis 2, T)."""
    return model(series[None].to(device))[0].float().cpu().movedim(-1, 0)


def write_series(result: Writer, case: CineCase, images: dict[str, Tensor], pair: SeriesPair) -> None:
    """One series' group: the aliased input, the images of one or more methods, and the truth.

    Parameters
    ----------
    result : where it is written
    case : the series
    images : (T, axis 1, axis 2) by method
    pair : the files that the series is from
    """
    images = {"input": case.input.movedim(-1, 0), **images}
    if case.truth is not None:
        images["truth"] = case.truth.movedim(-1, 0)
    about = {"kind": pair.person, "simulated": pair.simulated}
    result.add(case.id, images, person=case.person, file=str(case.file), **about)
