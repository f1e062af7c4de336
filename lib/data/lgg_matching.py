"""Which image belongs to which mask and to whom, in Kaggle's LGG folders or the ResUNet source's."""

import re
from pathlib import Path
from typing import NamedTuple

from lib import InputError
from lib.data.image_files import images_in
from lib.files import check_path

PATIENT = re.compile(r"(TCGA_[A-Z0-9]+_[A-Z0-9]+)_\d+", re.I)


class ImagePair(NamedTuple):
    """An image and its mask.

    Parameters
    ----------
    image, mask : the files; mask None if there is none
    person : Kaggle's patient; if names have none, each image counts as a person's
    split : that the folders say, or None
    name : of the slice
    """

    image: Path
    mask: Path | None
    person: str
    split: str | None
    name: str


def find(source: Path) -> list[ImagePair]:
    """Images and masks under `source`: Kaggle's TCGA_… folders, or train_image/, train_mask/, test_image/, test_mask/.

    Folders of other names count as Kaggle's, a patient each, if there are masks (…_mask) in them and no TCGA_… beside.
    Kaggle's archive has its folders in kaggle_3m/, and all once more in lgg-mri-segmentation/. InputError naming the
    file for an image without mask or a mask without image.
    """
    source = Path(source)
    check_path(source)
    if (source / "train_image").is_dir() or (source / "test_image").is_dir():
        return [p for split in ("train", "test") if (source / f"{split}_image").is_dir() for p in _split(source, split)]
    for place in (source, source / "kaggle_3m", source / "lgg-mri-segmentation" / "kaggle_3m"):
        folders = sorted(p for p in place.iterdir() if p.is_dir()) if place.is_dir() else []
        patients = [f for f in folders if PATIENT.match(f.name)] or [f for f in folders if any(f.glob("*_mask.*"))]
        if pairs := [pair for folder in patients for pair in _kaggle(folder)]:
            return pairs
    raise InputError(source, "neither TCGA_… folders nor train_image and train_mask in it")


def _kaggle(folder: Path) -> list[ImagePair]:
    paths = {p.stem: p for p in images_in(folder)}
    masks = {stem.removesuffix("_mask"): p for stem, p in paths.items() if stem.endswith("_mask")}
    images = {stem: p for stem, p in paths.items() if not stem.endswith("_mask")}
    _check_mates(images, masks)
    person = _person(folder.name)
    return [ImagePair(images[k], masks[k], person, None, k) for k in sorted(images, key=_number)]


def _split(source: Path, split: str) -> list[ImagePair]:
    images, masks = ({p.stem: p for p in images_in(source / f"{split}_{part}")} for part in ("image", "mask"))
    masks = {stem.removesuffix("_mask"): p for stem, p in masks.items()}
    _check_mates(images, masks)
    return [ImagePair(images[k], masks[k], _person(k), split, k) for k in sorted(images, key=_number)]


def _person(stem: str) -> str:
    match = PATIENT.match(stem)
    return match[1] if match else stem


def _number(stem: str) -> tuple[str, int]:
    match = re.search(r"(\d+)$", stem)
    return (stem[: match.start()], int(match[1])) if match else (stem, 0)


def _check_mates(images: dict[str, Path], masks: dict[str, Path]) -> None:
    for paths, mates, kind in ((images, masks, "mask"), (masks, images, "image")):
        lost = next((path for stem, path in sorted(paths.items()) if stem not in mates), None)
        if lost:
            raise InputError(lost, f"no {kind} belongs to it", "one of the same name")
