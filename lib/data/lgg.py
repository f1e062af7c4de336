"""Images and binary masks in Kaggle's LGG layout or the ResUNet source's, as prepared cases, one per patient."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from lib import InputError
from lib.data.case_files import CaseSlices, split_cases, write_case
from lib.data.image_files import check_image, half_of, images_in, is_graded, mask_values, read_image, read_mask
from lib.data.index import write_set
from lib.files import replacing
from lib.text import pluralize

CLASSES = ("background", "lesion")
PATIENT = re.compile(r"(TCGA_[A-Z0-9]+_[A-Z0-9]+)_\d+", re.I)


class ImagePair(NamedTuple):
    """An image and its mask.

    Parameters
    ----------
    image, mask : the files; mask None if there is none
    person : Kaggle's patient; if names have none, each image counts as a person's
    split : that the folders say, or None
    """

    image: Path
    mask: Path | None
    person: str
    split: str | None


def find(source: Path) -> list[ImagePair]:
    """Images and masks under `source`: Kaggle's TCGA_… folders, or train_image/, train_mask/, test_image/, test_mask/.

    Kaggle's archive has its folders in kaggle_3m/, and all once more in lgg-mri-segmentation/. InputError naming the
    file for an image without mask or a mask without image.
    """
    source = Path(source)
    if (source / "train_image").is_dir() or (source / "test_image").is_dir():
        return [p for split in ("train", "test") if (source / f"{split}_image").is_dir() for p in _split(source, split)]
    for place in (source, source / "kaggle_3m", source / "lgg-mri-segmentation" / "kaggle_3m"):
        folders = sorted(p for p in place.iterdir() if p.is_dir()) if place.is_dir() else []
        if pairs := [pair for folder in folders if PATIENT.match(folder.name) for pair in _kaggle(folder)]:
            return pairs
    raise InputError(source, "neither TCGA_… folders nor train_image and train_mask in it")


def _kaggle(folder: Path) -> list[ImagePair]:
    paths = {p.stem: p for p in images_in(folder)}
    masks = {stem.removesuffix("_mask"): p for stem, p in paths.items() if stem.endswith("_mask")}
    images = {stem: p for stem, p in paths.items() if not stem.endswith("_mask")}
    _check_mates(images, masks)
    person = PATIENT.match(folder.name)[1]
    return [ImagePair(images[k], masks[k], person, None) for k in sorted(images, key=_number)]


def _split(source: Path, split: str) -> list[ImagePair]:
    images, masks = ({p.stem: p for p in images_in(source / f"{split}_{part}")} for part in ("image", "mask"))
    masks = {stem.removesuffix("_mask"): p for stem, p in masks.items()}
    _check_mates(images, masks)
    return [ImagePair(images[k], masks[k], _person(k), split) for k in sorted(images, key=_number)]


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


def split_persons(
    pairs: list[ImagePair], seed: int, test: float = 0.1, val: float = 0.1, by: str = "patient"
) -> dict[Path, str]:
    """Divide images into splits; what the folders say stands.

    Parameters
    ----------
    pairs : images and masks
    seed : of the draw
    test : share that is tested on, above 0 and below 1
    val : share of the others that validates; 0: the test split validates, too, as in the source
    by : "patient", or "image" as in the source

    Returns
    -------
    {image: train, val or test}

    Raises
    ------
    InputError
        For settings out of range, a patient in two splits, and if none is left to train on.
    """
    if by not in ("patient", "image"):
        raise InputError("split_by", f"got {by!r}", "patient or image")
    if not (0 <= val < 1 and 0 < test < 1):
        raise InputError("val", f"got {val:g}", "a share of at least 0 and below 1")
    rng = np.random.default_rng(seed)
    key = {p.image: p.person if by == "patient" else str(p.image) for p in pairs}

    def draw(share: float, among: list[Path]) -> set[Path]:
        names = sorted({key[image] for image in among})
        drawn = set(rng.permutation(names)[: max(1, round(share * len(names)))].tolist()) if share and names else set()
        return {image for image in among if key[image] in drawn}

    given = {p.image for p in pairs if p.split == "test"}
    held = given or draw(test, [p.image for p in pairs])
    validating = draw(val, [p.image for p in pairs if p.image not in held])
    place = {i: "test" if i in held else "val" if i in validating else "train" for i in key}
    both = {key[i] for i in held} & {key[i] for i in key if i not in held}
    if both:
        raise InputError(
            min(held).parent, f"patient {min(both)} is among the training images too: set split_by to image"
        )
    if "train" not in place.values():
        raise InputError(f"{len(set(key.values()))} {by}s are too few", "none is left to train on")
    return place


def prepare(
    source: Path, folder: Path, size: tuple[int, int] = (256, 256), split_by: str = "patient", val: float = 0.1,
    seed: int = 0, place: dict[str, str] | None = None, field: tuple[float, float] | None = None, **about: Any,
) -> Path:  # fmt: skip
    """Write every patient's images and masks, resized, to folder/<split>/<patient>.h5, and folder/set.json, with a bar.

    Parameters
    ----------
    source : the folder, of Kaggle's layout or the ResUNet source's
    folder : of the prepared set
    size : (h, w) of all images
    split_by : "patient", or "image" as the source does (one patient's slices then fall on both sides; set.json says so)
    val : share that validates; 0: the test split does
    seed : of the splits
    place : {person: split} decides instead
    field : height and width of all images in mm; None: unknown, distances are in pixels
    **about : further entries of set.json

    Returns
    -------
    The path of set.json.

    Raises
    ------
    InputError
        Naming the file, if an image or a mask is refused or the two differ in size; nothing is written then.
    """
    pairs = find(source)
    top = _check(pairs)
    drawn = {p.image: place[p.person] for p in pairs} if place else split_persons(pairs, seed, val=val, by=split_by)
    groups: dict[tuple[str, str], list[ImagePair]] = {}
    for pair in pairs:
        groups.setdefault((drawn[pair.image], pair.person), []).append(pair)
    entries = []
    for (split, person), group in tqdm(
        sorted(groups.items()), desc="reading", unit="patient", file=sys.stdout, mininterval=1
    ):
        entry = write_patient(folder, split, person, group, size, field or size, top)
        entries += [entry] + ([entry | {"split": "val"}] if split == "test" and not val and not place else [])
    splits: dict[str, set[str]] = {}
    for entry in entries:
        splits.setdefault(entry["person"], set()).add(entry["split"])
    shared = sorted(person for person, names in splits.items() if len(names) > 1)
    return write_set(
        folder, str(source), "pairs", entries, classes=list(CLASSES), size=list(size), split_by=split_by,
        shared_persons=shared, unit="mm" if field else "pixels", mask_threshold=top and top / 2, **about,
    )  # fmt: skip


def write_patient(
    folder: Path, split: str, person: str, pairs: list[ImagePair], size: tuple[int, int], field: tuple[float, float],
    top: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write one patient's case file.

    Parameters
    ----------
    folder : of the prepared set
    split : train, val or test
    person : the patient
    pairs : images and masks
    size : (h, w) of all images
    field : their height and width, in mm or pixels
    top : see `read_mask`

    Returns
    -------
    Its entry of set.json.
    """
    images, masks = (
        np.stack(arrays)
        for arrays in zip(*((read_image(p.image, size), read_mask(p.mask, size, top)) for p in pairs), strict=True)
    )
    path = folder / split / f"{person}.h5"
    write_case(
        path,
        images,
        masks,
        person=person,
        classes=CLASSES,
        names=[p.image.stem for p in pairs],
        spacing=(1.0, *(f / s for f, s in zip(field, size, strict=True))),
    )
    return {"split": split, "path": f"{split}/{path.name}", "person": person, "slices": len(pairs)}


def _check(pairs: list[ImagePair]) -> float | None:
    """The maximum of all masks of more than two values, None if there are none; says so once, with a bar before.

    InputError if an image, a mask, or the two together aren't what they should be: before anything is written.
    """
    tops = {}
    for pair in tqdm(pairs, desc="checking", unit="mask", file=sys.stdout, mininterval=1):
        size, values = check_image(pair.image), mask_values(pair.mask)
        if size != values.shape:
            raise InputError(pair.mask, f"{values.shape}, its image is {size}")
        if is_graded(values):
            tops[pair.mask] = float(values.max())
    if not tops:
        return None
    first, top = next(iter(tops)), max(tops.values())
    said = f"more than two values, such as {first.name}: lesion is above half of their maximum, {half_of(first, top):g}"
    print(f"{len(tops)} of {pluralize(len(pairs), 'mask')} have {said}", flush=True)
    return top


def write_sample(folder: Path, count: int = 4) -> list[Path]:
    """Write `count` images of a prepared set's test split, evenly chosen, as folder/sample/<name>.png, without masks."""
    cases = CaseSlices(split_cases(folder, "test"), channels=3)
    chosen = sorted({round(q) for q in np.linspace(0, len(cases) - 1, count)})
    paths = []
    shutil.rmtree(folder / "sample", ignore_errors=True)
    (folder / "sample").mkdir()
    for case in map(cases.case, chosen):
        paths.append(folder / "sample" / f"{case.name}.png")
        with replacing(paths[-1]) as partial:
            Image.fromarray(case.raw.permute(1, 2, 0).byte().numpy()).save(partial, "PNG")
    return paths
