"""Segment the slices or volumes of a set, or a folder of images, with a network; streamed to the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from lib.data import image_files
from lib.data.case_files import CaseFile, CaseSlices, normalize
from lib.data.hdf5 import open_hdf5
from lib.files import replacing
from lib.inference.results import Writer
from lib.inference.sliding_window import slabs
from lib.losses.segmentation import probabilities


def _begin(result: Writer, case: CaseFile) -> dict[str, h5py.Dataset]:
    """Empty `output`, `input` and, if the case is labeled, `truth`, all (S, H, W)."""
    types = {"output": np.uint8, "input": np.float32} | ({"truth": np.uint8} if case.label else {})
    return result.arrays(case.id, (case.slices, *case.size), types)


def _describe(result: Writer, case: CaseFile, names: Sequence[str], right: float, **about: Any) -> None:
    """right: mean probability of the right class, NaN without a label."""
    about |= {"person": case.person, "file": str(case.path), "classes": list(case.classes), "spacing": case.spacing}
    about["ignore_index"] = case.ignore_index
    result.describe(case.id, **about, names=list(names), probability_of_truth=right)


def _of_truth(p: torch.Tensor, label: torch.Tensor, ignore_index: int | None) -> torch.Tensor:
    """The probability of the right class of every labeled pixel (pixels,): p (N, C, …), label (N, …)."""
    labeled = label != (-1 if ignore_index is None else ignore_index)
    return p.gather(1, label.where(labeled, 0)[:, None])[:, 0][labeled]


@torch.no_grad()
def segment_slices(model: nn.Module, slices: CaseSlices, path: Path, device="cpu", batch_size: int = 1) -> Path:
    """Write result.h5 of segmented cases: one group per case with `input`, `output` and, if known, `truth`, all (S, H, W).

    input: the image as stored (of several channels the middle one); output and truth: classes, uint8; of a one-channel
    network also `probability` (S, H, W) in 0 … 1. Attributes: person, file, classes, spacing, names (of the slices),
    ignore_index (the truth of pixels that aren't labeled), if there is one, and probability_of_truth, the mean
    probability of the right class over the labeled pixels. Prints a line per case; written under a temporary
    name and renamed.

    Parameters
    ----------
    model : a network that segments slices
    slices : what is segmented
    path : of the result.h5
    device : where the network runs
    batch_size : slices of a case at once

    Returns
    -------
    The path.
    """
    model = model.to(device).eval()
    first = 0
    with Writer(path) as result:
        for case in slices.cases:
            arrays, of_truth = _begin(result, case), []
            for start in range(0, case.slices, batch_size):
                part = [slices.case(first + s) for s in range(start, min(start + batch_size, case.slices))]
                at = slice(start, start + len(part))
                p = probabilities(model(torch.stack([c.image for c in part]).to(device))).cpu()
                if p.shape[1] == 1:
                    if "probability" not in arrays:
                        arrays |= result.arrays(case.id, (case.slices, *case.size), {"probability": np.float32})
                    arrays["probability"][at] = p[:, 0]
                    p = torch.cat((1 - p, p), 1)
                arrays["output"][at] = p.argmax(1)
                arrays["input"][at] = torch.stack([c.raw[len(c.raw) // 2] for c in part])
                if case.label:
                    label = torch.stack([c.label for c in part])
                    arrays["truth"][at] = label
                    of_truth.append(_of_truth(p, label, case.ignore_index))
            first += case.slices
            _describe(result, case, case.names, float(torch.cat(of_truth).mean()) if of_truth else float("nan"))
            print(f"segmented {case.id}: {case.slices} slices", flush=True)
    return Path(path)


def segment_volumes(
    model: nn.Module, cases: list[CaseFile], path: Path, patch: Sequence[int], overlap: float = 0.5, batch_size: int = 1,
    device="cpu", precision: str = "fp32",
) -> Path:  # fmt: skip
    """Write result.h5 of whole volumes by overlapping windows: one group per case, as `segment_slices` does for slices.

    The attribute `volume` says that distances are those of volumes. Prints a line per case; written under a temporary
    name and renamed.

    Parameters
    ----------
    model : a network that segments volumes
    cases : prepared volumes
    path : of the result.h5
    patch, overlap, batch_size, device, precision : of `lib.inference.sliding_window.slabs`

    Returns
    -------
    The path.
    """
    with Writer(path) as result:
        for case in cases:
            arrays, right, count = _begin(result, case), 0.0, 0
            with open_hdf5(case.path) as file:
                how = (patch, overlap, batch_size, device, file.attrs["fill"], precision)
                affine = file.attrs["affine"]
                for first, p in slabs(model, file["image"], *how):
                    at = slice(first, first + p.shape[1])
                    image = file["image"][at]
                    arrays["output"][at] = p.argmax(0)
                    arrays["input"][at] = image if image.ndim == 3 else image[:, image.shape[1] // 2]
                    if case.label:
                        arrays["truth"][at] = label = file["label"][at]
                        of_truth = _of_truth(p[None], torch.from_numpy(label.astype(np.int64))[None], case.ignore_index)
                        right, count = right + float(of_truth.double().sum()), count + len(of_truth)
            right = right / count if count else float("nan")
            _describe(result, case, map(str, range(case.slices)), right, affine=affine, volume=True)
            print(f"segmented {case.id}: {'×'.join(map(str, (case.slices, *case.size)))}", flush=True)
    return Path(path)


@torch.no_grad()
def segment_images(
    model: nn.Module, folder: Path, path: Path, how: str, size: tuple[int, int], device="cpu", classes: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Write masks.h5 for a folder of images without masks: one array (1, h, w) in 0 … 1 per image, by its file's stem.

    Parameters
    ----------
    model : a network of three channels in, one out
    folder : of the images
    path : of the masks.h5
    how : the normalization, see `lib.data.case_files.normalize`
    size : (h, w) that the images are resized to
    device : where the network runs
    classes : names of the background and of what the masks show, an attribute of the file

    Returns
    -------
    The path.

    Raises
    ------
    InputError
        If there are no images or one is refused, before any is predicted.
    """
    model = model.to(device).eval()
    images = image_files.images_in(folder)
    for image in images:
        image_files.check_image(image)
    with replacing(path) as partial, h5py.File(partial, "w", track_order=True) as file:
        file.attrs["classes"] = list(classes)
        for image in images:
            x = normalize(torch.from_numpy(image_files.read_image(image, size).astype(np.float32)), how)
            file[image.stem] = probabilities(model(x[None].to(device))).cpu().numpy()[0]
    print(f"{len(images)} masks", flush=True)
    return Path(path)
