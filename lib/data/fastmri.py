"""Multi-coil k-space in fastMRI's or SNU's layout as batches for fastai, and as named cases for people.

Letters: C coils, H readout, W phase encode, (h, w) the target's size.
"""

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lib import InputError, models
from lib.data import pictures
from lib.data.fastmri_file import OWN, KspaceFile
from lib.data.grappa_cache import GRAPPA_KEY, grappa_file, grappa_image
from lib.data.hdf5 import open_hdf5
from lib.data.index import entries
from lib.data.kspace_augment import SliceTransform, check_cutmix, check_turns, draw_move
from lib.data.kspace_case import KspaceCase, stored
from lib.data.kspace_headers import kspace_files
from lib.data.kspace_masks import check_columns, file_mask, points_mask
from lib.data.loaders import check_sizes, loaders
from lib.data.names import path_names
from lib.kspace import center_crop, flip_count, ifft2c, rss
from lib.kspace.sampling import KINDS_2D, Mask, make_mask

INPUT_COUNTS = {"kspace": 3, "image": 1, "cascade": 4}  # how many tensors a network of that kind takes
SIMULATION_ARRAYS = {"noise_free": np.float32, "sensitivity_maps": np.complex64}  # arrays of our own simulation


def sizes_of(file: KspaceFile) -> tuple[int, ...]:
    """What must be equal within a batch: coils, size of k-space and of the target."""
    return (file.coils, *file.shape, *file.target_shape)


class KspaceSlices(Dataset):
    """Slices of k-space files, undersampled on reading.

    Items are asked for by index, or by (epoch, index) as `BucketSampler` gives them: nothing depends on which worker
    reads what, or when.

    Parameters
    ----------
    files : checked ones
    mask : settings of `make_mask` (kind, acceleration, num_low_frequencies or center_fraction), for files without a
        mask of their own; `acceleration` may be a list to draw from
    kind : what an item is, see `dataloaders`: kspace, image or cascade
    seed : of masks and augmentation
    fresh : draw masks from (seed, epoch, index), otherwise from the file's name as in fastMRI, so that a file always
        has the same
    grappa : settings of `lib.kspace.grappa.grappa`; each file's GRAPPA images, which belong to one mask, are then made
        (or found) first
    augmentation : settings of `lib.data.kspace_augment.draw_move`, for items, not for cases; there is no shift along an
        axis that the target is cropped along

    Raises
    ------
    InputError
        For an unknown kind, fresh masks with GRAPPA, and files that can't be turned as the augmentation says.
    """

    panels = staticmethod(pictures.reconstruction)

    def __init__(
        self, files: list[KspaceFile], mask: dict[str, Any], kind: str = "kspace", seed: int = 0, fresh: bool = False,
        grappa: dict[str, Any] | None = None, augmentation: dict[str, Any] | None = None,
    ):  # fmt: skip
        if kind not in INPUT_COUNTS:
            raise InputError("kind", f"{kind!r}", f"one of {', '.join(INPUT_COUNTS)}")
        if grappa and fresh:
            raise InputError("fresh", "GRAPPA images belong to one mask per file", "false")
        self.files, self.mask, self.kind, self.seed, self.fresh = files, mask, kind, seed, fresh
        self.grappa, self.augmentation = grappa, augmentation or {}
        self.names = {path: "_".join(name) for path, name in path_names(f.path for f in files).items()}
        self.index = [(f, s) for f in files for s in range(f.slices)]
        self.sizes = [sizes_of(f) for f, _ in self.index]
        for file in files:
            check_turns(file, **self.augmentation)
        self.grappa_paths = {f.path: grappa_file(f, self.mask_of(f), grappa) for f in files} if grappa else {}

    def __len__(self) -> int:
        return len(self.index)

    def case(self, i: int, epoch: int = 0) -> KspaceCase:
        """The i-th slice by name, with the mask of that epoch, without augmentation."""
        return self._read(i, epoch, SIMULATION_ARRAYS, True)

    def _read(
        self, i: int, epoch: int, extras: dict[str, type], zero_filled: bool, whole: bool = True
    ) -> KspaceCase:  # fmt: skip
        """A case with those of the file's arrays in `extras`, as their type.

        What nobody needs isn't made: its zero-filled image, and without `whole` a copy of its k-space, which is masked itself.
        """
        file, s = self.index[i]
        with open_hdf5(file.path) as data:
            kspace = stored(data["kspace"], s, np.complex64)
            kspace = kspace if kspace.ndim == 3 else kspace.unsqueeze(0)
            extra = {k: stored(data[k], s, kind) for k, kind in extras.items() if k in data}
            target = self._target(file, s, kspace, data)
        mask = self.mask_of(file, i, epoch)
        masked = kspace * mask.sampled if whole else kspace.mul_(mask.sampled)
        filled = self.grappa_image(file.path, s) if self.grappa else None
        seen = center_crop(rss(ifft2c(masked)), file.target_shape) if zero_filled or target is None else None
        maximum = float((target if target is not None else seen).max()) if file.maximum is None else file.maximum
        return KspaceCase(
            kspace, mask, masked, filled, seen, target, extra.get("noise_free"), extra.get("sensitivity_maps"), maximum,
            self.names[file.path], s, file.person, file.path, file.spacing,
        )  # fmt: skip

    def _target(self, file: KspaceFile, s: int, kspace: Tensor, data: h5py.File) -> Tensor | None:
        """The truth (h, w) of slice s, from the file, open as `data`, or from its fully sampled k-space (C, H, W)."""
        if file.target is None:
            return None
        if file.target == OWN:
            return center_crop(rss(ifft2c(kspace)), file.target_shape)
        with nullcontext(data) if file.target_path == file.path else open_hdf5(file.target_path) as source:
            return center_crop(stored(source[file.target], s, np.float32), file.target_shape)

    def grappa_image(self, path: Path, s: int) -> Tensor:
        """GRAPPA's image (h, w) of slice s of a file, as it was made before."""
        with open_hdf5(self.grappa_paths[path]) as data:
            return stored(data[GRAPPA_KEY], s, np.float32)

    def mask_of(self, file: KspaceFile, i: int = 0, epoch: int = 0) -> Mask:
        """The file's own mask, or the one drawn for slice i in `epoch`."""
        if file.columns:
            return file_mask(torch.tensor(file.columns), file.padding)
        if file.points:
            return points_mask(file.path)
        seed = (self.seed, epoch, i) if self.fresh else tuple(map(ord, file.path.name))
        settings = dict(self.mask)
        choices = settings["acceleration"]
        if isinstance(choices, list | tuple):
            settings["acceleration"] = choices[int(np.random.default_rng(seed).integers(len(choices)))]
        more = {"height": file.shape[0]} if settings.get("kind") in KINDS_2D else {"padding": file.padding}
        return make_mask(width=file.shape[1], seed=seed, **more, **settings)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, i = key if isinstance(key, tuple) else (0, key)
        seen = self.kind == "image" or (self.kind == "cascade" and not self.grappa)
        moved = bool(self.augmentation)
        case = self._read(i, epoch, {}, seen and not moved, whole=moved)
        if moved:
            case = self._moved(
                case, self.index[i][0].target_shape, draw_move((self.seed, epoch, i), **self.augmentation), seen
            )
        return self.item(case)

    def item(self, case: KspaceCase) -> tuple[Tensor, ...]:
        """A case as the network gets it: its inputs, the target if there is one, the maximum and, of images, mean and std."""
        maximum = torch.tensor(case.maximum, dtype=torch.float32)
        target = () if case.target is None else (case.target,)
        sampled, count = (case.masked_kspace, case.mask.columns.reshape(1, 1, -1)), torch.tensor(case.mask.center_count)
        if self.kind == "kspace":
            return (*sampled, count, *target, maximum)
        if self.kind == "cascade":
            return (*sampled, case.zero_filled if case.grappa is None else case.grappa, count, *target, maximum)
        image = case.zero_filled
        mean, std = image.mean(), image.std()
        image = ((image - mean) / (std + 1e-11)).clamp(-6, 6)
        return (image.unsqueeze(0), *target, maximum, mean, std)

    def _moved(self, case: KspaceCase, shape: tuple[int, int], move: SliceTransform, seen: bool) -> KspaceCase:
        """The case after `move`, zero-filled if `seen`; a quarter turn acts on full k-space, mask and GRAPPA come after."""
        # Where the target is a crop, a shift would bring in what it doesn't hold.
        sizes = zip(move.shift, shape, case.kspace.shape[-2:], strict=True)
        move = move._replace(shift=tuple(d if s == w else 0 for d, s, w in sizes))
        columns, count = move.mask(case.mask.columns), case.mask.num_low_frequencies
        count = count if move.quarter_turn else flip_count(count, move.axes)
        full = case.kspace if move.quarter_turn else case.masked_kspace
        masked = move.kspace(full, shape) * columns
        filled = case.grappa
        if filled is not None:
            filled = grappa_image(masked, columns, shape, self.grappa) if move.quarter_turn else move.image(filled)
        return case._replace(
            masked_kspace=masked, grappa=filled,
            mask=dataclasses.replace(case.mask, sampled=columns, num_low_frequencies=count),
            zero_filled=center_crop(rss(ifft2c(masked)), shape) if seen else None,
            target=None if case.target is None else move.image(case.target),
        )  # fmt: skip


def inputs_of(network: nn.Module | str) -> dict[str, Any]:
    """`kind`, and for a cascade its `grappa` settings: what `KspaceSlices` and `dataloaders` need to feed a network.

    Parameters
    ----------
    network : one, or its name in MODELS, whose line says which batch it is fed

    Raises
    ------
    InputError
        For one that isn't for k-space.
    """
    if isinstance(network, str):
        with torch.device("meta"):  # no memory, no time
            network = models.build(network)
    network = getattr(network, "model", network)  # inside a SelfEnsemble
    kind = models.entry(network).batch
    if kind not in INPUT_COUNTS:
        known = [name for name in models.MODELS if models.entry(name).batch in INPUT_COUNTS]
        raise InputError(
            models.name_of(network), "no network for k-space by its line in MODELS", f"one of {', '.join(known)}"
        )
    return {"kind": kind, "grappa": network.grappa if getattr(network, "use_grappa", False) else None}


def split_files(folder: Path, split: str, need_target: bool = True) -> list[KspaceFile]:
    """The checked files of one split of a prepared set.

    Parameters
    ----------
    folder : of the set
    split : train, val or test
    need_target : whether each must have one

    Raises
    ------
    InputError
        If there are none, or targets are missing.
    """
    return _files(Path(folder), split, need_target=need_target)[0]


def _files(folder: Path, *splits: str, need_target: bool = True) -> list[list[KspaceFile]]:
    """`split_files` of several splits, whose index is read once."""
    found = kspace_files(folder, *entries(folder, *splits))
    for split, files in zip(splits, found, strict=True):
        without = [f.path.name for f in files if f.target is None]
        if need_target and without:
            raise InputError(
                folder / without[0], f"no target ({len(without)} files of {split}): needed to train or score"
            )
    return found


def dataloaders(
    folder: Path, mask: dict[str, Any], kind: str = "kspace", *, seed: int = 0, grappa: dict[str, Any] | None = None,
    augmentation: dict[str, Any] | None = None, train: KspaceSlices | None = None, **settings: Any,
):  # fmt: skip
    """fastai DataLoaders of a prepared set's train and val slices; a batch is the network's inputs | targets:

    "kspace" (VarNet): kspace (N, C, H, W) complex64, mask (N, 1, 1, W) bool, center lines (N,) as the masks were made
    with, 0 of a file's own mask, as in fastMRI | target (N, h, w), max (N,);
    "image" (UNet): zero-filled RSS (N, 1, h, w), of mean 0 and std 1, clamped to ±6 | target, max, mean, std;
    "cascade" (VarNetRCAN): kspace, mask, GRAPPA's image (N, h, w) (without `grappa`: the zero-filled one), center
    lines | target, max.

    Masks are fresh each epoch, but in a cascade, where each file has one.

    Parameters
    ----------
    folder : of the prepared set
    mask : see `KspaceSlices`
    kind : kspace, image or cascade; `inputs_of` gives a network's
    seed : of order, masks and augmentation
    grappa : see `KspaceSlices`
    augmentation : see `KspaceSlices`; only training is augmented
    train : other slices to train on than the set's, such as `lib.phantoms.simulated_kspace`'s
    **settings : of `lib.data.loaders.loaders`, such as batch_size

    Raises
    ------
    InputError
        If the set has no such split or no targets, and for batches that can't be made.
    """
    files, held_out = ([], split_files(folder, "val")) if train else _files(Path(folder), "train", "val")
    batch_size = settings.get("batch_size", 1)
    check_columns([*files, *held_out], mask, kind)
    check_cutmix((augmentation or {}).get("cutmix", 0.0), batch_size)
    for part, size in ((files, batch_size), (held_out, settings.get("eval_batch_size") or batch_size)):
        check_sizes(folder, map(sizes_of, part), size, settings.get("bucket_sampling", False))  # before GRAPPA is made
    train = train or KspaceSlices(files, mask, kind, seed, kind != "cascade", grappa, augmentation)
    valid = KspaceSlices(held_out, mask, kind, seed, grappa=grappa)
    return loaders(train, valid, INPUT_COUNTS[kind], folder, seed=seed, **settings)
