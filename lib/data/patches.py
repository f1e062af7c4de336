"""Patches of prepared volumes as batches: random ones around an organ, a grid that covers all, or anywhere.

Only what a patch needs is read from the case files. Letters: D, H, W of the volume, d, h, w of the patch.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.utils.data import Dataset

from lib import InputError
from lib.data import pictures
from lib.data.case_files import CaseFile, split_cases
from lib.data.hdf5 import open_hdf5
from lib.data.lits import attributes, middle
from lib.data.loaders import loaders
from lib.data.slice_augment import contrast, drawn_power, posed
from lib.data.volume_images import padded, window_of

CROPS = ("around", "grid", "uniform")
PATCHES_PER_VOLUME = 54  # the LiTS source's


class Patch(NamedTuple):
    """One patch, with everything by name.

    Parameters
    ----------
    image : float32 (C, d, h, w)
    label : int64 (d, h, w); None if unknown
    id, person : of the case
    origin : its first voxel in the volume (negative: in the padding)
    file : the case file
    """

    image: Tensor
    label: Tensor | None
    id: str
    person: str
    origin: tuple[int, int, int]
    file: Path


def grid(shape: Sequence[int], size: Sequence[int], overlap: float = 0.0) -> list[tuple[int, ...]]:
    """First voxels of as few patches as cover a volume, evenly spaced.

    The LiTS source's grid of 3×3×3 crops of 128³ in 192³ has an overlap of 0.75.

    Parameters
    ----------
    shape : of the volume
    size : of the patches
    overlap : the share that neighbors have in common along each axis, at least; 0 … below 1
    """
    starts = []
    for n, s in zip(shape, size, strict=True):
        steps = int(np.ceil(max(n - s, 0) / max(s * (1 - overlap), 1) - 1e-9))
        starts.append([round(i * (n - s) / steps) for i in range(steps + 1)] if steps else [min((n - s) // 2, 0)])
    return list(itertools.product(*starts))


def augment_patch(
    image: Tensor, label: Tensor, rng: np.random.Generator, flips: Sequence[float] = (0, 0, 0), intensity: float = 0.0,
    *, rotate: float = 0.0, scale: float = 0.0, gamma: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A patch and its label, flipped, in a new pose and contrast: linear for the image, nearest for the label.

    Parameters
    ----------
    image : (C, d, h, w)
    label : (d, h, w)
    rng : what everything is drawn from
    flips : the probability of a flip along each axis
    intensity : deviation of a factor, normal about 1 and cut off at twice that: 0.05 is the LiTS source's, 0.9 … 1.1
    rotate : the turns about the three axes are by up to ± so many degrees; voxels count as cubes
    scale : the image is enlarged or made smaller by up to this share
    gamma : as of `lib.data.slice_augment.augment_slice`

    Returns
    -------
    (image, label)
    """
    axes = [axis - 3 for axis, drawn in enumerate(rng.uniform(size=3)) if drawn < flips[axis]]
    factor = 1 + intensity * float(np.clip(rng.standard_normal(), -2, 2))
    image, label = image.flip(axes) * factor, label.flip(axes)
    if rotate or scale:
        turn = Rotation.from_euler("xyz", rng.uniform(-rotate, rotate, 3), degrees=True).as_matrix()
        image, label = _posed(image, label, turn / (1 + rng.uniform(-scale, scale)))
    return contrast(image, drawn_power(gamma, rng)) if gamma else image, label


def _posed(image: Tensor, label: Tensor, matrix: np.ndarray) -> tuple[Tensor, Tensor]:
    """Image (C, d, h, w) and label (d, h, w), whose voxel at offset v (W, H, D) from the middle comes from `matrix` v."""
    sizes = np.array(label.shape[::-1])  # affine_grid counts W, H, D, in halves of the patch
    theta = torch.from_numpy(np.pad(matrix * sizes / sizes[:, None], ((0, 0), (0, 1)))).float()
    return posed(image, label, theta[None])


class VolumePatches(Dataset):
    """Patches of volumes; items are asked for by index, or by (epoch, index).

    An item is image (C, d, h, w) float32 and the target. More batches per epoch than the patches give begin them again,
    with the same draws. A volume smaller than the patch is padded evenly, its image with its `fill`, its label with 0.

    Parameters
    ----------
    cases : prepared volumes
    size : (d, h, w) of a patch
    crops : "around" the middle of the organ's box, moved along each axis by a normal deviate of a sixth of the patch's
        size, cut off at a quarter, then into the volume, as the LiTS source does; "uniform", anywhere in the volume; or
        the covering "grid"
    target : makes the target of a label (d, h, w) int64; None: the label itself
    count : patches per volume; None: 54, of a grid all; of a grid at most so many, evenly chosen
    organ : the class to crop around; None: all but the background
    overlap : of the grid
    fresh : draw from (seed, epoch, index), else from (seed, index), so that each epoch has the same, as the source's
        files
    augmentation : settings of `augment_patch`
    seed : of all draws

    Raises
    ------
    InputError
        For settings out of range, and naming the file, if there is no voxel to crop around.
    """

    def __init__(
        self, cases: list[CaseFile], size: Sequence[int], crops: str = "around",
        target: Callable[[Tensor], Tensor] | None = None, *, count: int | None = None, organ: str | None = None,
        overlap: float = 0.0, fresh: bool = True, augmentation: dict[str, Any] | None = None, seed: int = 0,
    ):  # fmt: skip
        if crops not in CROPS:
            raise InputError("crops", f"got {crops!r}", f"one of {', '.join(CROPS)}")
        if len(size) != 3 or min(size) < 1 or not 0 <= overlap < 1:
            raise InputError(f"patch of {list(size)}, overlap {overlap}", "", "three sizes of at least 1, 0 … below 1")
        self.cases, self.size, self.crops, self.target = cases, tuple(size), crops, target
        self.fresh, self.augmentation, self.seed = fresh, augmentation or {}, seed
        self.classes, self.ignore_index = (cases[0].classes, cases[0].ignore_index) if cases else ((), None)
        self.panels = partial(pictures.labels, ignore_index=self.ignore_index)
        about = [attributes(c.path) for c in cases]
        self.shapes = [(c.slices, *c.size) for c in cases]
        self.fill = [np.float32(a["fill"]) for a in about]
        self.centers = [
            _center(c, a["boxes"], organ) if crops == "around" else None for c, a in zip(cases, about, strict=True)
        ]
        self.index: list[tuple[int, tuple[int, ...] | None]] = []
        for c, shape in enumerate(self.shapes):
            places = grid(shape, self.size, overlap) if crops == "grid" else [None] * (count or PATCHES_PER_VOLUME)
            chosen = np.linspace(0, len(places) - 1, min(count or len(places), len(places))).round().astype(int)
            self.index += [(c, places[i]) for i in chosen]
        self.sizes = [self.size] * len(self.index)
        small = [c for c, shape in zip(cases, self.shapes, strict=True) if any(np.less(shape, self.size))]
        if small:
            first, shape = small[0].path, (small[0].slices, *small[0].size)
            words = f"{len(small)} of {len(cases)} volumes, such as {first.name} of {_times(shape)}"
            print(f"{first.parent}: {words}, are smaller than a patch of {_times(self.size)}: padded")

    def __len__(self) -> int:
        return len(self.index)

    def _origin(self, i: int, rng: np.random.Generator) -> tuple[int, ...]:
        c, place = self.index[i]
        if place:
            return place
        size, shape = np.array(self.size), np.array(self.shapes[c])
        last = shape - size
        if self.crops == "around":
            center = self.centers[c] + (rng.standard_normal(3) * size / 6).clip(-size / 4, size / 4)
            first = np.floor(center).astype(int) - size // 2
        else:
            first = rng.integers(0, last.clip(0) + 1)
        return tuple(np.where(last < 0, last // 2, first.clip(0, last.clip(0))).tolist())

    def _read(self, c: int, origin: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray | None]:
        low, high = np.maximum(origin, 0), np.minimum(np.add(origin, self.size), self.shapes[c])
        where = tuple(map(slice, low, high))
        with open_hdf5(self.cases[c].path) as file:
            image, label = window_of(file["image"], where), file["label"][where] if self.cases[c].label else None
        if image.shape[1:] != self.size:
            margins = list(zip(low - origin, np.add(origin, self.size) - high, strict=True))
            image = padded(image, margins, self.fill[c])
            label = None if label is None else np.pad(label, margins)
        return image, label

    def case(self, i: int, epoch: int = 0) -> Patch:
        """The i-th patch by name, without augmentation."""
        return self._case(i, self._rng(i, epoch))

    def _rng(self, i: int, epoch: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch if self.fresh else 0, i))

    def _case(self, i: int, rng: np.random.Generator) -> Patch:
        case, origin = self.cases[self.index[i][0]], self._origin(i, rng)
        image, label = self._read(self.index[i][0], origin)
        image = torch.from_numpy(image.astype(np.float32))
        label = None if label is None else torch.from_numpy(label.astype(np.int64))
        return Patch(image, label, case.id, case.person, origin, case.path)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, i = key if isinstance(key, tuple) else (0, key)
        rng = self._rng(i, epoch)
        image, label, *_ = self._case(i, rng)
        if label is None:
            return (image,)
        if self.augmentation:
            image, label = augment_patch(image, label, rng, **self.augmentation)
        return image, self.target(label) if self.target else label


def _center(case: CaseFile, boxes: np.ndarray, organ: str | None) -> np.ndarray:
    if organ is not None and organ not in case.classes[1:]:
        raise InputError("organ", f"got {organ!r}, {case.path} has {', '.join(case.classes[1:])}")
    center = middle(boxes[1:] if organ is None else boxes[[case.classes.index(organ)]])
    if center is None:
        raise InputError(case.path, f"no voxel of {organ or 'any class'} to crop around: use crops grid or uniform")
    return center


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def dataloaders(
    folder: Path, size: Sequence[int], target: Callable[[Tensor], Tensor] | None = None, *, crops: str = "around",
    count: int | None = None, organ: str | None = None, overlap: float = 0.0, fresh: bool = True,
    augmentation: dict[str, Any] | None = None, train_cases: int | None = None, seed: int = 0, **settings: Any,
):  # fmt: skip
    """fastai DataLoaders of a prepared set's patches; a batch is image (N, C, d, h, w), target.

    Training patches are as `VolumePatches` makes them; of each val volume it is the covering grid, not augmented.

    Parameters
    ----------
    folder : of the prepared set
    size, target, crops, count, organ, overlap, fresh, augmentation : of `VolumePatches`
    train_cases : train on the first so many volumes; None: all
    seed : of `VolumePatches`
    **settings : of `lib.data.loaders.loaders`, such as batch_size

    Raises
    ------
    InputError
        If there are fewer volumes than `train_cases`.
    """
    train, val = (split_cases(folder, split) for split in ("train", "val"))
    if train_cases is not None and not 1 <= train_cases <= len(train):
        raise InputError("train_cases", f"got {train_cases}", f"1 … {len(train)}, as {folder} has them")
    train = train[:train_cases]
    extra = {"count": count, "organ": organ, "fresh": fresh, "augmentation": augmentation}
    train = VolumePatches(train, size, crops, target, overlap=overlap, seed=seed, **extra)
    valid = VolumePatches(val, size, "grid", target, overlap=overlap, seed=seed)
    return loaders(train, valid, 1, folder, seed=seed, **settings)
