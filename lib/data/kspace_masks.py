"""Masks that k-space files bring along, and whether a network can work on them."""

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib import InputError
from lib.data.fastmri_file import KspaceFile
from lib.data.hdf5 import open_hdf5
from lib.kspace.espirit import center_of
from lib.kspace.sampling import KINDS_2D, Mask


def file_mask(columns: Tensor, padding: tuple[int, int] = (0, 0)) -> Mask:
    """A mask (W,) that a file brought along; its center lines are the run of sampled columns around W // 2."""
    width, middle = len(columns), len(columns) // 2
    left = int(columns[:middle].flip(0).int().cumprod(0).sum())
    right = int(columns[middle:].int().cumprod(0).sum())
    rate = (width - sum(padding)) / max(int(columns.sum()), 1)
    return Mask(columns, "file", rate, left + right if right else 0, None, padding, 0)


@functools.lru_cache(maxsize=32)
def points_mask(path: Path) -> Mask:
    """The mask (H, W) of a file whose k-space has points missing along both axes: where its middle slice isn't zero.

    Its center square is the largest one about the center that is full.
    """
    with open_hdf5(path) as data:
        kspace = data["kspace"][len(data["kspace"]) // 2]
    sampled = torch.from_numpy((kspace != 0).reshape(-1, *kspace.shape[-2:]).any(0))
    side = min(center_of(sampled.unsqueeze(0), sampled, min(sampled.shape)).shape[-2:])
    return Mask(sampled, "file", sampled.numel() / int(sampled.sum()), side, None, (0, 0), 0)


def check_columns(files: list[KspaceFile], mask: dict[str, Any], kind: str) -> None:
    """InputError if a network of `kind`, which works on columns of k-space unless that is "image", would get points."""
    points = [f.path for f in files if f.points] or [f"mask kind {mask.get('kind')!r}"] * (mask.get("kind") in KINDS_2D)
    if points and kind != "image":
        raise InputError(
            points[0], "k-space is sampled at points", "whole columns; for points there are UNet, SENSE and TV-SENSE"
        )
