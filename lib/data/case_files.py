"""Segmentation cases as HDF5 files, and their slices as batches: streamed, so memory holds a batch and not the set.

A case file holds `image` (S, H, W) or (S, C, H, W) and, if known, `label` (S, H, W) uint8, with the attributes id,
person, spacing (slice, row, column, in mm), affine (4, 4), classes (names), names (of the slices) and, where pixels may
be unlabeled, ignore_index (their label). Letters: S slices, C channels.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lib import InputError
from lib.data import pictures
from lib.data.classes import check_ignore_index
from lib.data.hdf5 import dataset, has, listed, numbers, open_hdf5, spacing_of, text
from lib.data.index import entries
from lib.data.loaders import loaders
from lib.data.names import case_id
from lib.data.slice_augment import augment_slice
from lib.files import replacing

NORMALIZE = ("none", "z_score", "percentile", "unit")


class CaseFile(NamedTuple):
    """What a case file holds.

    Parameters
    ----------
    path : of the file
    id, person : the case's name, and whose it is
    slices : S
    channels : C; 0 if its images have no channel axis
    size : (H, W)
    label : whether it has one
    classes : names, the background first
    spacing : (slice, row, column) in mm
    names : of the slices
    fill : the value outside the image, of each channel; None if it isn't stored
    ignore_index : the label of pixels that aren't labeled; None: all are
    """

    path: Path
    id: str
    person: str
    slices: int
    channels: int
    size: tuple[int, int]
    label: bool
    classes: tuple[str, ...]
    spacing: tuple[float, ...]
    names: tuple[str, ...]
    fill: tuple[float, ...] | None = None
    ignore_index: int | None = None


class LabeledSlice(NamedTuple):
    """One slice of a case, with everything by name.

    Parameters
    ----------
    image : float32 (C, H, W), as the network gets it
    raw : float32 (C, H, W), as it is stored
    label : int64 (H, W); None if unknown
    id, name, person : of the case, of the slice, and whose it is
    slice : its number in the case
    file : the case file
    """

    image: Tensor
    raw: Tensor
    label: Tensor | None
    id: str
    name: str
    person: str
    slice: int
    file: Path


def write_case(
    path: Path, image: np.ndarray, label: np.ndarray | None, *, person: str, classes: Sequence[str],
    names: Sequence[str], spacing: Sequence[float] = (1.0, 1.0, 1.0), affine: np.ndarray | None = None,
    chunks: tuple[int, ...] | None = None, fill: float | Sequence[float] | None = None, ignore_index: int | None = None,
    **attributes: Any,
) -> None:  # fmt: skip
    """Write one case.

    Parameters
    ----------
    path : of the file; its stem is the case's id
    image : (S, H, W) or (S, C, H, W)
    label : class numbers (S, H, W), or None
    person : whose case it is
    classes : names, the background first
    names : of the slices
    spacing : (slice, row, column) in mm
    affine : (4, 4), of indices (slice, row, column, 1) to mm
    chunks : of the image in the file; None: one per slice
    fill : the value outside the image, or one per channel; None: the least value of each channel
    ignore_index : the label of pixels that aren't labeled; None: all are
    **attributes : what else is known of the case

    Raises
    ------
    InputError
        If image and label don't fit, a label has no class, or the image or the spacing isn't finite.
    """
    if label is not None and (label.shape[0], *label.shape[-2:]) != (image.shape[0], *image.shape[-2:]):
        raise InputError(path.stem, f"the image is {image.shape}, its label {label.shape}")
    spacing_of({"spacing": spacing}, path)
    if image.dtype.kind == "f" and not all(np.isfinite(part).all() for part in image):
        raise InputError(path.stem, "the image holds NaN or inf values", "finite numbers")
    check_ignore_index(ignore_index, classes)
    named = () if label is None else label[label != ignore_index] if ignore_index else label
    if np.size(named) and (named.min() < 0 or named.max() >= len(classes)):
        hint, expected = "ignore_index names the label that means not labeled", f"0 … {len(classes) - 1}"
        raise InputError(
            path.stem, f"labels {named.min()} … {named.max()} found", f"{expected} ({', '.join(classes)})", hint
        )
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        chunks = chunks or (1, *image.shape[1:])
        file.create_dataset("image", data=image, chunks=chunks)
        if label is not None:
            chunks = (chunks[0], *chunks[-2:])
            file.create_dataset("label", data=label.astype(np.uint8), chunks=chunks, compression="gzip")
        file.attrs["id"], file.attrs["person"], file.attrs["spacing"] = path.stem, person, spacing
        file.attrs["affine"] = np.eye(4) if affine is None else affine
        file.attrs["classes"], file.attrs["names"] = list(classes), list(names)
        file.attrs["fill"] = image.min((0, -2, -1)) if fill is None else fill
        file.attrs.update(attributes if ignore_index is None else attributes | {"ignore_index": ignore_index})


def case_file(path: Path) -> CaseFile:
    """What a prepared case holds; InputError if it isn't one."""
    with open_hdf5(path) as file:
        if not has(file, "image") or not {"classes", "names", "spacing"} <= set(file.attrs):
            raise InputError(path, f"no prepared case (found {listed(file)})", "image and label")
        shape, attrs = dataset(file, "image", "fiub").shape, file.attrs
        if len(shape) not in (3, 4):
            raise InputError(path, f"image: shape {shape}", "(slices, H, W) or (slices, channels, H, W)")
        return CaseFile(
            path, case_id(path, text(attrs, "id", path, path.stem)), text(attrs, "person", path, path.stem), shape[0], shape[1] if len(shape) == 4 else 0,
            tuple(shape[-2:]), has(file, "label"), tuple(attrs["classes"]), spacing_of(attrs, path),
            tuple(attrs["names"]), numbers(attrs, "fill", path) if "fill" in attrs else None,
            int(attrs["ignore_index"]) if "ignore_index" in attrs else None,
        )  # fmt: skip


def of_volume(about: Mapping[str, Any]) -> bool:
    """Whether attributes, of a prepared case or of a result.h5's group, are those of a volume along the body's axes."""
    return bool(about.get("volume", False)) or "original_affine" in about


def to_radiological(image: np.ndarray, about: Mapping[str, Any]) -> np.ndarray:
    """(…, H, W) as it is looked at: of a volume the front on top and the person's right on the left, others as they are."""
    return image[..., ::-1, ::-1] if of_volume(about) else image


def split_cases(folder: Path, split: str, need_label: bool = True) -> list[CaseFile]:
    """The cases of one split of a prepared set.

    Parameters
    ----------
    folder : of the set
    split : train, val or test
    need_label : whether each must have one

    Raises
    ------
    InputError
        If there are none, or labels are missing.
    """
    folder = Path(folder)
    cases = [case_file(folder / e["path"]) for e in entries(folder, split)[0]]
    without = [c.path.name for c in cases if not c.label]
    if need_label and without:
        raise InputError(folder / without[0], f"no label ({len(without)} files of {split}): needed to train or score")
    return cases


def normalize(image: Tensor, how: str) -> Tensor:
    """An image with each channel normalized by itself; one without contrast is only shifted.

    Parameters
    ----------
    image : (C, H, W)
    how : "none", as it is; "z_score", to mean 0 and deviation 1; "percentile", its 1st to 99th percentile to 0 … 1, cut
        off there; "unit", divided by 255
    """
    if how == "none":
        return image
    if how == "unit":
        return image / 255
    flat = image.flatten(1)
    if how == "z_score":
        low, width = flat.mean(1), flat.std(1)
    else:
        low, high = torch.quantile(flat, torch.tensor([0.01, 0.99]), dim=1)
        width = high - low
    x = (image - low[:, None, None]) / torch.where(width > 0, width, 1)[:, None, None]
    return x.clamp(0, 1) if how == "percentile" else x


class CaseSlices(Dataset):
    """Slices of cases; items are asked for by index, or by (epoch, index).

    An item is image (C, H, W) float32 and the target.

    Parameters
    ----------
    cases : prepared ones
    normalize : one of NORMALIZE
    target : makes the target of a label (H, W) int64; None: the label itself
    channels : of the images; 3 repeats a gray one
    augmentation : settings of `augment_slice`, drawn from (seed, epoch, index)
    preload : keep all in memory
    seed : of the augmentation

    Raises
    ------
    InputError
        For an unknown normalization, a crop larger than a case, and images of other channels.
    """

    def __init__(
        self, cases: list[CaseFile], normalize: str = "none", target: Callable[[Tensor], Tensor] | None = None, *,
        channels: int = 1, augmentation: dict[str, Any] | None = None, preload: bool = False, seed: int = 0,
    ):  # fmt: skip
        if normalize not in NORMALIZE:
            raise InputError("normalize", f"got {normalize!r}", f"one of {', '.join(NORMALIZE)}")
        self.cases, self.normalize, self.target, self.seed = cases, normalize, target or nn.Identity(), seed
        self.channels, self.augmentation = channels, augmentation or {}
        self.index = [(c, s) for c in cases for s in range(c.slices)]
        crop = self.augmentation.get("crop")
        for case in cases:
            if crop and any(c > size for c, size in zip(crop, case.size, strict=True)):
                raise InputError(case.path, f"augmentation: crop {crop} is larger than its {case.size}")
            if (case.channels or 1) not in (1, channels):
                raise InputError(case.path, f"images of {case.channels} channels, the network takes {channels}")
        self.sizes = [tuple(crop) if crop else c.size for c, _ in self.index]
        self.kept = [self._read(i) for i in range(len(self.index))] if preload else None
        self.classes, self.ignore_index = (cases[0].classes, cases[0].ignore_index) if cases else ((), None)
        self.panels = partial(pictures.labels, ignore_index=self.ignore_index)

    def __len__(self) -> int:
        return len(self.index)

    def _read(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        case, s = self.index[i]
        with open_hdf5(case.path) as file:
            return file["image"][s], file["label"][s] if case.label else None

    def case(self, i: int) -> LabeledSlice:
        """The i-th slice by name, without augmentation."""
        case, s = self.index[i]
        image, label = self.kept[i] if self.kept else self._read(i)
        raw = torch.from_numpy(image.astype(np.float32)).reshape(-1, *case.size)
        raw = raw.expand(self.channels, -1, -1)
        label = None if label is None else torch.from_numpy(label.astype(np.int64))
        return LabeledSlice(
            normalize(raw, self.normalize), raw, label, case.id, case.names[s], case.person, s, case.path
        )

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, i = key if isinstance(key, tuple) else (0, key)
        case, fill = self.case(i), self.index[i][0].fill
        if case.label is None:
            return (case.image,)
        if not self.augmentation:
            return case.image.contiguous(), self.target(case.label)
        raw, label = augment_slice(case.raw, case.label, (self.seed, epoch, i), fill=fill, **self.augmentation)
        return normalize(raw, self.normalize).contiguous(), self.target(label)


def dataloaders(
    folder: Path, normalize: str, target: Callable[[Tensor], Tensor] | None = None, *, channels: int = 1,
    augmentation: dict[str, Any] | None = None, preload: bool = False, seed: int = 0, **settings: Any,
):  # fmt: skip
    """fastai DataLoaders of a prepared set's train and val slices; a batch is image (N, C, H, W), target.

    Parameters
    ----------
    folder : of the prepared set
    normalize, target, channels : of `CaseSlices`
    augmentation : of `CaseSlices`; only training is augmented
    preload, seed : of `CaseSlices`
    **settings : of `lib.data.loaders.loaders`, such as batch_size
    """
    common = {"channels": channels, "preload": preload, "seed": seed}
    train = CaseSlices(split_cases(folder, "train"), normalize, target, augmentation=augmentation, **common)
    valid = CaseSlices(split_cases(folder, "val"), normalize, target, **common)
    return loaders(train, valid, 1, folder, seed=seed, **settings)
