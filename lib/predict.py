"""Reconstruct the slices of a set with a network, streamed to result.h5."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from lib import InputError
from lib.data.kspace import KINDS, Case, KspaceSlices
from lib.files import replacing
from lib.kspace import center_crop


@torch.no_grad()
def outputs(model: nn.Module, slices: KspaceSlices, indices: Iterable[int], device="cpu") -> Tensor:
    """The network's images (N, h, w), in the data's units, of slices that have one size; on the CPU."""
    indices = list(indices)
    inputs, *rest = _inputs(slices, indices)
    image = model(*(x.to(device) for x in inputs)).float().cpu()
    if slices.kind == "image":
        mean, std = rest[0][-2:]
        image = image.squeeze(1) * std.view(-1, 1, 1) + mean.view(-1, 1, 1)
    return center_crop(image, slices.index[indices[0]][0].target_shape)


def _inputs(slices: KspaceSlices, indices: list[int]) -> tuple[list[Tensor], list[Tensor]]:
    columns = [torch.stack(values) for values in zip(*(slices[i] for i in indices), strict=True)]
    count = KINDS[slices.kind]
    return columns[:count], columns[count:]


def volumes(slices: KspaceSlices) -> Iterator[tuple[str, list[int]]]:
    """(file name without ending, indices of its slices), file by file."""
    start = 0
    for file in slices.files:
        yield file.path.stem, list(range(start, start + file.slices))
        start += file.slices


def reconstruct(model: nn.Module, slices: KspaceSlices, path: Path, device="cpu", batch_size: int = 1) -> Path:
    """Write result.h5: one group a file with `input` (zero-filled), `output`, and `truth`, `noise_free` if known.

    All are (S, h, w) float32; attributes: person, file, maximum, mask (W,), acceleration asked for and achieved.
    Prints a line a file; written under a temporary name and renamed. Returns the path.
    """
    model = model.to(device).eval()
    with replacing(path) as partial, h5py.File(partial, "w") as result:
        for name, indices in volumes(slices):
            cases = [slices.case(i) for i in indices]
            parts = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
            images = {"output": torch.cat([outputs(model, slices, part, device) for part in parts])}
            write_case(result, name, cases, images)
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
    group = result.create_group(name)
    for key, volume in images.items():
        group.create_dataset(key, data=np.asarray(volume, dtype=np.float32))
    group.attrs["person"], group.attrs["file"], group.attrs["maximum"] = first.person, str(first.file), first.maximum
    group.attrs["mask"], group.attrs["acceleration_achieved"] = first.mask.columns.numpy(), first.mask.achieved
    group.attrs["acceleration"], group.attrs["mask_kind"] = first.mask.acceleration, first.mask.kind


def read_result(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """{case: {name: volume (S, h, w)}} of a result.h5; InputError where it isn't one."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; a training or evaluation run writes it")
    try:
        with h5py.File(path, "r") as file:
            cases = {case: {key: group[key][:] for key in group} for case, group in file.items()}
    except (OSError, AttributeError):
        raise InputError(f"{path}: not a result.h5, expected one HDF5 group a case with input, output, truth") from None
    if not cases:
        raise InputError(f"{path}: holds no cases")
    return cases
