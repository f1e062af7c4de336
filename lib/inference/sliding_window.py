"""Whole-volume prediction by overlapping windows with Gaussian weights (MONAI's), slab by slab.

Only the planes that later windows still touch are kept: memory is bounded by one window's depth, not by classes ×
volume.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import numpy as np
import torch
from torch import Tensor, nn

from lib import InputError, progress
from lib.data.volume_images import padded, window_of
from lib.losses.segmentation import probabilities
from lib.models.blocks import autocast

PLANES = 16  # of a slab, at most


@torch.no_grad()
def slabs(
    model: nn.Module, volume, patch: Sequence[int], overlap: float = 0.5, batch_size: int = 1, device="cpu",
    outside: float | Sequence[float] = 0.0, precision: str = "fp32",
) -> Iterator[tuple[int, Tensor]]:  # fmt: skip
    """The class probabilities of a volume, slab by slab, from its first plane to its last.

    They are means over windows, as MONAI's `sliding_window_inference` gives them, in float32.

    Parameters
    ----------
    model : from (N, channels, d, h, w) to logits (N, C, d, h, w)
    volume : (D, H, W), or (D, channels, H, W), an array or an HDF5 data set, read window by window
    patch : (d, h, w) of a window
    overlap : the share of a window that the next one covers, at least 0 and below 1
    batch_size : windows at once
    device : where the network runs
    outside : fills up a volume smaller than a window, on both sides; of several channels one for each
    precision : of the network alone: fp32, bf16 or, on a GPU, fp16

    Yields
    ------
    (number of the slab's first plane, probabilities (C, planes, H, W) on the CPU)

    Raises
    ------
    InputError
        For an overlap outside its range.
    """
    from monai.data.utils import compute_importance_map, dense_patch_slices  # seconds

    if not 0 <= overlap < 1:
        raise InputError("overlap", f"got {overlap}", "a share of at least 0 and below 1")
    model, patch = model.to(device).eval(), tuple(patch)
    shape = (volume.shape[0], *volume.shape[-2:])
    size = tuple(max(extent, p) for extent, p in zip(shape, patch, strict=True))
    before = [(s - extent) // 2 for s, extent in zip(size, shape, strict=True)]
    kept = [slice(b, b + extent) for b, extent in zip(before, shape, strict=True)]
    weight = compute_importance_map(patch, mode="gaussian", device=device)
    weight = weight.clamp(min=max(weight[weight > 0].min().item(), 1e-3))
    step = [max(int(p * (1 - overlap)), 1) for p in patch]
    starts = [
        [w[0].start for w in dense_patch_slices((s,), (p,), (n,))] for s, p, n in zip(size, patch, step, strict=True)
    ]
    corners = list(product(*starts[1:]))
    totals = weights = None
    for z, following in pairwise([*starts[0], size[0]]):
        for i in range(0, len(corners), batch_size):
            part = corners[i : i + batch_size]
            windows = [_window(volume, (z, *c), patch, before, outside) for c in part]
            windows = windows[0].unsqueeze(0) if len(windows) == 1 else torch.stack(windows)
            with autocast(torch.device(device).type, precision):
                output = model(windows.to(device))
            window_probabilities = probabilities(output.float())
            if totals is None:
                totals = torch.zeros(window_probabilities.shape[1], patch[0], *size[1:], device=device)
                weights = torch.zeros(patch[0], *size[1:], device=device)
            for (y, x), p in zip(part, window_probabilities, strict=True):
                totals[:, :, y : y + patch[1], x : x + patch[2]].addcmul_(p, weight)
                weights[:, y : y + patch[1], x : x + patch[2]] += weight
        first, last = max(z, kept[0].start), min(following, kept[0].stop)
        for plane in range(first, last, PLANES):
            at = (slice(plane - z, min(plane + PLANES, last) - z), *kept[1:])
            progress.made()
            yield plane - kept[0].start, (totals[:, *at] / weights[at]).cpu()
        for sums in (totals, weights):
            _move_up(sums, following - z)


def _move_up(sums: Tensor, planes: int) -> None:
    """Moves (…, d, H, W) up by so many planes, in place, zeros behind."""
    depth = sums.shape[-3]
    for plane in range(planes, depth, planes):  # no piece overlaps its place
        count = min(planes, depth - plane)
        sums[..., plane - planes : plane - planes + count, :, :] = sums[..., plane : plane + count, :, :]
    sums[..., depth - planes :, :, :] = 0


def _window(volume, start: Sequence[int], patch: Sequence[int], before: Sequence[int], outside) -> Tensor:
    """The window (channels, d, h, w) at `start` of the volume with `before` voxels in front, `outside` where there is none."""
    ranges = [(s - b, s - b + p) for s, p, b in zip(start, patch, before, strict=True)]
    shape = (volume.shape[0], *volume.shape[-2:])
    inner = tuple(slice(max(a, 0), min(b, n)) for (a, b), n in zip(ranges, shape, strict=True))
    widths = [(i.start - a, b - i.stop) for i, (a, b) in zip(inner, ranges, strict=True)]
    window = np.array(window_of(volume, inner), np.float32)
    return torch.from_numpy(padded(window, widths, outside) if np.any(widths) else window)
