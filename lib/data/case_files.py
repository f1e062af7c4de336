"""Segmentation cases as HDF5 files, and their slices as batches: streamed, so memory holds a batch and not the set.

A case file holds `image` (S, H, W) or (S, C, H, W) and, if known, `label` (S, H, W) uint8, with the attributes id, person,
spacing (mm a slice, row, column), affine (4, 4), classes (names) and names (of the slices). Letters: S slices, C channels.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from lib import InputError
from lib.data import pictures
from lib.data.hdf5 import dataset, open_hdf5, text
from lib.data.index import entries
from lib.data.loaders import loaders
from lib.files import replacing

NORMALIZE = ("none", "z_score", "percentile", "unit")


class CaseFile(NamedTuple):
    """What a case file holds; channels 0 where its images have no channel axis, fill None where it isn't stored."""

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


class Case(NamedTuple):
    """One slice by name: image (C, H, W) as the network gets it, raw (C, H, W) as it is stored, label (H, W) or None."""

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
    chunks: tuple[int, ...] | None = None, fill: float | None = None, **attributes: Any,
) -> None:  # fmt: skip
    """Write one case, a chunk a slice (or `chunks`), and any further attributes. fill: None for the image's least value, of
    each channel. InputError where image and label don't fit, or a label has no class.
    """
    if label is not None and (label.shape[0], *label.shape[-2:]) != (image.shape[0], *image.shape[-2:]):
        raise InputError(path.stem, f"the image is {image.shape}, its label {label.shape}")
    if label is not None and (label.min() < 0 or label.max() >= len(classes)):
        raise InputError(
            path.stem, f"labels {label.min()} … {label.max()} found", f"0 … {len(classes) - 1} ({', '.join(classes)})"
        )
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        file.create_dataset("image", data=image, chunks=chunks or (1, *image.shape[1:]))
        if label is not None:
            chunks = chunks or (1, *label.shape[1:])
            file.create_dataset("label", data=label.astype(np.uint8), chunks=chunks, compression="gzip")
        file.attrs["id"], file.attrs["person"], file.attrs["spacing"] = path.stem, person, spacing
        file.attrs["affine"] = np.eye(4) if affine is None else affine
        file.attrs["classes"], file.attrs["names"] = list(classes), list(names)
        file.attrs["fill"] = image.min((0, -2, -1)) if fill is None else fill
        file.attrs.update(attributes)


def case_file(path: Path) -> CaseFile:
    """What a prepared case holds; InputError where it isn't one."""
    with open_hdf5(path) as file:
        if "image" not in set(file) or not {"classes", "names", "spacing"} <= set(file.attrs):
            raise InputError(path, f"no prepared case (found {', '.join(file) or 'nothing'})", "image and label")
        shape, attrs = dataset(file, "image", "fiub").shape, file.attrs
        if len(shape) not in (3, 4):
            raise InputError(path, f"image: shape {shape}", "(slices, H, W) or (slices, channels, H, W)")
        return CaseFile(
            path, text(attrs, "id", path, path.stem), text(attrs, "person", path, path.stem), shape[0], shape[1] if len(shape) == 4 else 0,
            tuple(shape[-2:]), "label" in set(file), tuple(attrs["classes"]), tuple(map(float, attrs["spacing"])),
            tuple(attrs["names"]), tuple(np.ravel(attrs["fill"]).tolist()) if "fill" in attrs else None,
        )  # fmt: skip


def of_volume(about: Mapping[str, Any]) -> bool:
    """Whether attributes, of a prepared case or of a result.h5's group, are those of a volume along the body's axes."""
    return bool(about.get("volume", False)) or "original_affine" in about


def to_radiological(image: np.ndarray, about: Mapping[str, Any]) -> np.ndarray:
    """(…, H, W) as it is looked at: of a volume the front on top and the person's right on the left, others as they are."""
    return image[..., ::-1, ::-1] if of_volume(about) else image


def split_cases(folder: Path, split: str, need_label: bool = True) -> list[CaseFile]:
    """The cases of one split of a prepared set; InputError where there are none, or labels are missing."""
    folder = Path(folder)
    found = [case_file(folder / e["path"]) for e in entries(folder, split)]
    without = [c.path.name for c in found if not c.label]
    if need_label and without:
        raise InputError(folder / without[0], f"no label ({len(without)} files of {split}): needed to train or score")
    return found


def normalize(image: Tensor, how: str) -> Tensor:
    """An image (C, H, W), each channel by itself: as it is ("none"), to mean 0 and deviation 1 ("z_score"), its 1st to 99th
    percentile to 0 … 1, cut off there ("percentile"), or divided by 255 ("unit"). One without contrast is only shifted.
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


def augment(image: Tensor, label: Tensor, seed: tuple[int, ...], flip=0.0, rotate=0.0, crop=None, fill=None):
    """(image, label) (C, H, W) and (H, W) after flips (each axis with that probability), a turn by up to ±rotate degrees
    and a random crop to (h, w): bilinear for the image, nearest for the label. Drawn from `seed`.

    fill: the image's value outside, one or one a channel (None: the least of each channel here), such as −1000 HU of air;
    the label's is 0, the background.
    """
    rng = np.random.default_rng(seed)
    axes = [axis for axis, drawn in zip((-2, -1), rng.uniform(size=2), strict=True) if drawn < flip]
    image, label = image.flip(axes), label.flip(axes)
    if rotate:
        angle = np.deg2rad(rng.uniform(-rotate, rotate))
        h, w = label.shape
        matrix = [[np.cos(angle), -np.sin(angle) * h / w, 0], [np.sin(angle) * w / h, np.cos(angle), 0]]
        grid = F.affine_grid(torch.tensor([matrix], dtype=torch.float32), [1, 1, h, w], align_corners=False)
        outside = image.amin((1, 2)) if fill is None else image.new_tensor(fill)
        outside = outside.reshape(-1, 1, 1)
        image = F.grid_sample((image - outside)[None], grid, align_corners=False)[0] + outside  # zeros from outside
        label = F.grid_sample(label[None, None].float(), grid, mode="nearest", align_corners=False)[0, 0].to(
            label.dtype
        )
    if crop:
        top, left = (int(rng.integers(0, size - c + 1)) for size, c in zip(label.shape, crop, strict=True))
        image, label = (x[..., top : top + crop[0], left : left + crop[1]] for x in (image, label))
    return image, label


class CaseSlices(Dataset):
    """Slices of cases. An item is image (C, H, W) float32 and the target that `target` makes of the label (H, W) int64.

    normalize: one of NORMALIZE. channels: 3 repeats a gray image. augmentation: settings of `augment`, drawn from (seed,
    epoch, index). preload: keep all in memory. Items are asked for by index, or by (epoch, index).
    """

    panels = staticmethod(pictures.labels)

    def __init__(
        self, cases: list[CaseFile], normalize: str = "none", target: Callable[[Tensor], Tensor] | None = None, *,
        channels: int = 1, augmentation: dict[str, Any] | None = None, preload: bool = False, seed: int = 0,
    ):  # fmt: skip
        if normalize not in NORMALIZE:
            raise InputError("normalize", f"got {normalize!r}", f"one of {', '.join(NORMALIZE)}")
        self.cases, self.normalize, self.target, self.seed = cases, normalize, target or (lambda label: label), seed
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
        self.classes = cases[0].classes if cases else ()

    def __len__(self) -> int:
        return len(self.index)

    def _read(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        case, s = self.index[i]
        with h5py.File(case.path, "r") as file:
            return file["image"][s], file["label"][s] if case.label else None

    def case(self, i: int) -> Case:
        """The i-th slice by name, without augmentation."""
        case, s = self.index[i]
        image, label = self.kept[i] if self.kept else self._read(i)
        raw = torch.from_numpy(image.astype(np.float32)).reshape(-1, *case.size)
        raw = raw.expand(self.channels, -1, -1)
        label = None if label is None else torch.from_numpy(label.astype(np.int64))
        return Case(normalize(raw, self.normalize), raw, label, case.id, case.names[s], case.person, s, case.path)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, i = key if isinstance(key, tuple) else (0, key)
        case, fill = self.case(i), self.index[i][0].fill
        if case.label is None:
            return (case.image,)
        if not self.augmentation:
            return case.image.contiguous(), self.target(case.label)
        raw, label = augment(case.raw, case.label, (self.seed, epoch, i), fill=fill, **self.augmentation)
        return normalize(raw, self.normalize).contiguous(), self.target(label)


def dataloaders(
    folder: Path, normalize: str, target: Callable[[Tensor], Tensor] | None = None, *, channels: int = 1,
    augmentation: dict[str, Any] | None = None, preload: bool = False, seed: int = 0, **settings: Any,
):  # fmt: skip
    """fastai DataLoaders of a prepared set's train and val slices: image (N, C, H, W) | target; only training is augmented.

    Settings as in `lib.data.loaders.loaders`.
    """
    common = {"channels": channels, "preload": preload, "seed": seed}
    train = CaseSlices(split_cases(folder, "train"), normalize, target, augmentation=augmentation, **common)
    valid = CaseSlices(split_cases(folder, "val"), normalize, target, **common)
    return loaders(train, valid, 1, folder, seed=seed, **settings)
