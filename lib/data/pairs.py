"""Folders of images and binary masks, in Kaggle's LGG layout or the ResUNet source's, as prepared cases, one a patient."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from lib import InputError
from lib.data.cases import CaseSlices, split_cases, write_case
from lib.data.checks import write_set
from lib.files import replacing

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
CLASSES = ("background", "lesion")
PATIENT = re.compile(r"(TCGA_[A-Z0-9]+_[A-Z0-9]+)_\d+", re.I)


class Pair(NamedTuple):
    """An image and its mask; `person` is Kaggle's patient; of names without one, each image counts as a person's."""

    image: Path
    mask: Path | None
    person: str
    split: str | None


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted; other files are skipped. InputError where there are none."""
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder, expected one with images ({', '.join(ENDINGS)})")
    paths = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in ENDINGS and not p.name.startswith("."))
    if not paths:
        raise InputError(f"{folder}: no images in it, expected {', '.join(ENDINGS)}")
    for first, second in zip(paths, paths[1:], strict=False):
        if first.stem == second.stem:
            raise InputError(f"{second}: {first.name} has the same name: predictions go by it")
    return paths


def find(source: Path) -> list[Pair]:
    """Images and masks under `source`: Kaggle's TCGA_… folders, or train_image/, train_mask/, test_image/, test_mask/.

    InputError naming the file for an image without mask or a mask without image.
    """
    source = Path(source)
    if (source / "train_image").is_dir() or (source / "test_image").is_dir():
        return [p for split in ("train", "test") if (source / f"{split}_image").is_dir() for p in _split(source, split)]
    folders = sorted(p for p in source.iterdir() if p.is_dir()) if source.is_dir() else []
    found = [pair for folder in folders if PATIENT.match(folder.name) for pair in _kaggle(folder)]
    if not found:
        raise InputError(f"{source}: neither TCGA_… folders nor train_image and train_mask in it")
    return found


def _kaggle(folder: Path) -> list[Pair]:
    paths = {p.stem: p for p in images_in(folder)}
    masks = {stem.removesuffix("_mask"): p for stem, p in paths.items() if stem.endswith("_mask")}
    images = {stem: p for stem, p in paths.items() if not stem.endswith("_mask")}
    _check_mates(images, masks)
    person = PATIENT.match(folder.name)[1]
    return [Pair(images[k], masks[k], person, None) for k in sorted(images, key=_number)]


def _split(source: Path, split: str) -> list[Pair]:
    images, masks = ({p.stem: p for p in images_in(source / f"{split}_{part}")} for part in ("image", "mask"))
    masks = {stem.removesuffix("_mask"): p for stem, p in masks.items()}
    _check_mates(images, masks)
    return [Pair(images[k], masks[k], _person(k), split) for k in sorted(images, key=_number)]


def _person(stem: str) -> str:
    match = PATIENT.match(stem)
    return match[1] if match else stem


def _number(stem: str) -> tuple[str, int]:
    match = re.search(r"(\d+)$", stem)
    return (stem[: match.start()], int(match[1])) if match else (stem, 0)


def _check_mates(images: dict[str, Path], masks: dict[str, Path]) -> None:
    for here, there, kind in ((images, masks, "mask"), (masks, images, "image")):
        lost = next((path for stem, path in sorted(here.items()) if stem not in there), None)
        if lost:
            raise InputError(f"{lost}: no {kind} belongs to it, expected one of the same name")


def read_image(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """An image (3, H, W) uint8, grey ones repeated; resized to `size` (h, w) by bilinear interpolation."""
    image = _open(path)
    if image.mode.startswith(("I", "F")):
        raise InputError(f"{path}: {image.mode} pixels of more than 8 bits, expected 8-bit grey or colour")
    image = image.convert("RGB")
    if size and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def read_mask(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """A grey mask (H, W) uint8 of 0 and 1 (whatever isn't 0); resized to `size` by its nearest pixel. InputError: colours."""
    mask = _open(path)
    _check_grey(path, mask.mode)
    if size and mask.size != size[::-1]:
        mask = mask.resize(size[::-1], Image.Resampling.NEAREST)
    return (np.asarray(mask) > 0).astype(np.uint8)


def _open(path: Path) -> Image.Image:
    try:
        with path.open("rb") as file:
            image = Image.open(file)
            image.load()
            return image
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: not a readable image ({type(error).__name__}; truncated?)") from None


def split_persons(
    pairs: list[Pair], seed: int, test: float = 0.1, val: float = 0.1, by: str = "patient"
) -> dict[Path, str]:
    """{image: train | val | test}. What the folders say stands; otherwise `test` of the patients (or images) are drawn,
    and `val` of the others validate; with val 0 the test split validates too, as in the source.
    """
    if by not in ("patient", "image"):
        raise InputError(f"split_by: got {by!r}, expected patient or image")
    if not (0 <= val < 1 and 0 < test < 1):
        raise InputError(f"val: got {val:g}, expected a share of at least 0 and below 1")
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
            f"{min(held).parent}: patient {min(both)} is among the training images too: set split_by to image"
        )
    if "train" not in place.values():
        raise InputError(f"{len(set(key.values()))} {by}s are too few: none is left to train on")
    return place


def prepare(
    source: Path, folder: Path, size: tuple[int, int] = (256, 256), split_by: str = "patient", val: float = 0.1,
    seed: int = 0, place: dict[str, str] | None = None, field: tuple[float, float] | None = None, **about: Any,
) -> Path:  # fmt: skip
    """Write every patient's images and masks, resized, to folder/<split>/<patient>.h5, and folder/set.json, with a bar.

    split_by: patient, or image as the source does (one patient's slices then fall on both sides; set.json says so).
    val 0: the test split validates. place: {person: split} decides instead. field: height and width of all images in mm,
    if known; else distances are in pixels. InputError naming the file for pairs of
    different size. Returns set.json's path.
    """
    pairs = find(source)
    for pair in pairs:  # headers only
        _check(pair)
    drawn = {p.image: place[p.person] for p in pairs} if place else split_persons(pairs, seed, val=val, by=split_by)
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((drawn[pair.image], pair.person), []).append(pair)
    entries = []
    for (split, person), group in tqdm(
        sorted(groups.items()), desc="reading", unit="patient", file=sys.stdout, mininterval=1
    ):
        entry = write_patient(folder, split, person, group, size, field or size)
        entries += [entry] + ([entry | {"split": "val"}] if split == "test" and not val and not place else [])
    splits: dict[str, set[str]] = {}
    for entry in entries:
        splits.setdefault(entry["person"], set()).add(entry["split"])
    shared = sorted(person for person, found in splits.items() if len(found) > 1)
    return write_set(
        folder, str(source), "pairs", entries, classes=list(CLASSES), size=list(size), split_by=split_by,
        shared_persons=shared, unit="mm" if field else "pixels", **about,
    )  # fmt: skip


def write_patient(
    folder: Path, split: str, person: str, pairs: list[Pair], size: tuple[int, int], field: tuple[float, float]
) -> dict[str, Any]:
    """One patient's case file; its entry of set.json."""
    images, masks = (
        np.stack(arrays)
        for arrays in zip(*((read_image(p.image, size), read_mask(p.mask, size)) for p in pairs), strict=True)
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


def _check(pair: Pair) -> None:
    """InputError where the headers of an image and its mask don't fit together."""
    (size, _), (mask_size, mode) = (_header(path) for path in (pair.image, pair.mask))
    if size != mask_size:
        raise InputError(f"{pair.mask}: {mask_size[::-1]}, its image is {size[::-1]}")
    _check_grey(pair.mask, mode)


def _header(path: Path) -> tuple[tuple[int, int], str]:
    try:
        with Image.open(path) as image:
            return image.size, image.mode
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable image ({type(error).__name__}; truncated?)") from None


def _check_grey(path: Path, mode: str) -> None:
    if mode not in ("1", "L", "I", "I;16", "P"):
        raise InputError(f"{path}: a mask of {Image.getmodebands(mode)} channels ({mode}), expected a grey one")


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
