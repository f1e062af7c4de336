"""Which image belongs to which mask and to whom: in Kaggle's LGG folders, the ResUNet source's, or by their names."""

import re
from pathlib import Path
from typing import NamedTuple

from lib import InputError
from lib.data import pairing
from lib.data.image_files import ENDINGS, images_in
from lib.data.index import SPLIT_WORDS
from lib.files import check_path, list_files
from lib.text import pluralize

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
    """Images and masks under `source`: Kaggle's TCGA_… folders, train_image/, train_mask/, test_image/ and test_mask/, or any.

    Folders of other names count as Kaggle's, a patient each, if there are masks (…_mask) in them and no TCGA_… beside.
    Other files are told apart by words such as mask and seg in their names or folders (`lib.data.pairing`), which is
    printed, with whose they are by their names. Kaggle's archive has its folders in kaggle_3m/, and all once more in lgg-mri-segmentation/. InputError naming the
    file for an image without mask or a mask without image.
    """
    source = Path(source)
    check_path(source)
    if (source / "train_image").is_dir() or (source / "test_image").is_dir():
        return [p for split in ("train", "test") if (source / f"{split}_image").is_dir() for p in _split(source, split)]
    for place in (source, source / "kaggle_3m", source / "lgg-mri-segmentation" / "kaggle_3m"):
        folders = sorted(p for p in place.iterdir() if p.is_dir()) if place.is_dir() else []
        patients = [f for f in folders if PATIENT.match(f.name)] or [f for f in folders if _holds_both(f)]
        if pairs := [pair for folder in patients for pair in _kaggle(folder)]:
            return pairs
    if pairs := _guessed(source):
        return pairs
    raise InputError(
        source, "neither TCGA_… folders nor train_image and train_mask in it",
        hint="nor images and masks of equal names that a word such as mask tells apart",
    )  # fmt: skip


def _guessed(source: Path) -> list[ImagePair]:
    """The pairs of other folders; [] if names don't tell images and masks apart."""
    found = pairing.guess(source, ENDINGS) if source.is_dir() else None
    if found is None or len(found.images) > 1:
        return []
    images = pairing.matches(source, found.images[0], ENDINGS, found.labels)
    masks = pairing.matches(source, found.labels, ENDINGS)
    heads = [part.partition("*")[0] for part in found.images[0].split("/") if "*" in part]
    names = {
        stars: "_".join(map("".join, zip(heads, stars, strict=True))) or path.stem for stars, path in images.items()
    }
    splits = {stars: SPLIT_WORDS.get(stars[0].lower()) if len(stars) > 1 else None for stars in images}
    by_folder = all(splits.values())  # train/…, val/…, test/…: no persons
    people = pairing.owners({(name,) if by_folder else stars: name for stars, name in names.items()})
    people = {stars: people[(name,) if by_folder else stars] for stars, name in names.items()}
    count = len(set(people.values()))
    whose = "each a person's" if count == len(images) else f"of {pluralize(count, 'person')} by their names"
    told = ", in the splits of their folders" if by_folder else ""
    print(f"{source}: {len(images)} images {found.images[0]} and masks {found.labels}, {whose}{told}")
    order = sorted(images, key=lambda stars: _number(names[stars]))
    return [
        ImagePair(images[stars], masks[stars], people[stars], splits[stars] if by_folder else None, names[stars])
        for stars in order
    ]


def _holds_both(folder: Path) -> bool:
    """Whether there are masks (…_mask) in a folder, and images beside them."""
    stems = [path.stem for path in list_files(folder, ENDINGS, deep=False)]
    return 0 < sum(stem.endswith("_mask") for stem in stems) < len(stems)


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
