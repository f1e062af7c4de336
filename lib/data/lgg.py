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
from lib.data.case_files import CaseSlices, split_cases, write_case
from lib.data.index import write_set
from lib.files import list_files, replacing
from lib.text import pluralize

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
CLASSES = ("background", "lesion")
MOST_CLASSES = 16  # whole numbers below it are classes, from it on shades of gray
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
        raise InputError(folder, "no such folder", f"one with images ({', '.join(ENDINGS)})")
    paths = list_files(folder, ENDINGS, deep=False)
    if not paths:
        raise InputError(folder, "no images in it", f"{', '.join(ENDINGS)}")
    for first, second in zip(paths, paths[1:], strict=False):
        if first.stem == second.stem:
            raise InputError(second, f"{first.name} has the same name: predictions go by it")
    return paths


def find(source: Path) -> list[Pair]:
    """Images and masks under `source`: Kaggle's TCGA_… folders, or train_image/, train_mask/, test_image/, test_mask/.

    Kaggle's archive has its folders in kaggle_3m/, and all once more in lgg-mri-segmentation/. InputError naming the
    file for an image without mask or a mask without image.
    """
    source = Path(source)
    if (source / "train_image").is_dir() or (source / "test_image").is_dir():
        return [p for split in ("train", "test") if (source / f"{split}_image").is_dir() for p in _split(source, split)]
    for place in (source, source / "kaggle_3m", source / "lgg-mri-segmentation" / "kaggle_3m"):
        folders = sorted(p for p in place.iterdir() if p.is_dir()) if place.is_dir() else []
        if found := [pair for folder in folders if PATIENT.match(folder.name) for pair in _kaggle(folder)]:
            return found
    raise InputError(source, "neither TCGA_… folders nor train_image and train_mask in it")


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
            raise InputError(lost, f"no {kind} belongs to it", "one of the same name")


def read_image(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """An image (3, H, W) uint8, gray ones repeated; resized to `size` (h, w) by bilinear interpolation."""
    image = _open(path)
    image = image.convert("RGBA").convert("RGB") if "transparency" in image.info else image.convert("RGB")
    if size and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def check_image(path: Path) -> tuple[int, int]:
    """An image's (H, W); InputError where `read_image` would refuse it."""
    return _open(path).size[::-1]


def read_mask(path: Path, size: tuple[int, int] | None = None, top: float | None = None) -> np.ndarray:
    """A mask (H, W) uint8, 1 where it is brighter than half of its maximum; resized to `size` by its nearest pixel.

    top: the maximum that counts for a mask of more than two values, by default its own. A palette counts by its colors:
    grays, or black and one color, which is 1. InputError: several channels or colors, classes, negative values, NaN.
    """
    values = _values(path)
    half = _half(path, top or float(values.max())) if _is_graded(values) else values.max() / 2
    mask = Image.fromarray((values > half).astype(np.uint8))
    if size and mask.size != size[::-1]:
        mask = mask.resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(mask)


def _values(path: Path) -> np.ndarray:
    """What a mask's pixels say (H, W): 0 is background, the highest value a lesion."""
    image = _open(path, mask=True)
    if image.mode != "P":
        values = np.asarray(image)
        if (wrong := ~(np.isfinite(values) & (values >= 0))).any():
            raise InputError(path, f"the mask holds {values[wrong][0]:g}", "0 for background, more for lesion")
        return values
    *colors, alpha = np.moveaxis(np.asarray(image.convert("RGBA")), -1, 0)
    if (alpha < 255).any():
        raise InputError(path, "a palette with transparent colors", "opaque ones")
    if all((color == colors[0]).all() for color in colors):
        return colors[0]
    found = np.unique(np.stack(colors, -1).reshape(-1, 3), axis=0)
    if len(found) > 2 or found[0].any():
        raise InputError(path, f"a palette of {pluralize(len(found), 'color')}", "grays, or black and one color")
    return np.any(colors, axis=0)


def _is_graded(values: np.ndarray) -> bool:
    """Whether there are more than two values, as a JPEG's or a smooth edge's."""
    return bool(((values > values.min()) & (values < values.max())).any())


def _half(path: Path, top: float) -> float:
    """Half of the maximum of masks of more than two values; InputError where it is a class's number."""
    if top in range(2, MOST_CLASSES):
        raise InputError(path, f"a mask of more than two values up to {top:g}: classes? expected lesion or none")
    return top / 2


def _open(path: Path, mask: bool = False) -> Image.Image:
    """An image file; InputError where it isn't one image of a type that is read."""
    try:
        with path.open("rb") as file:
            image = Image.open(file)
            frames, stored = getattr(image, "n_frames", 1), str(image.tile)
            image.load()
    except Exception as error:  # Pillow fails in many ways with what isn't an image
        why = getattr(error, "strerror", None) or f"{type(error).__name__}; truncated, or pixels of a rare type?"
        raise InputError(path, f"not a readable image ({why})") from None
    if frames > 1:
        raise InputError(path, f"{frames} images in one file", "one")
    mode, gray = image.mode, image.mode.startswith(("I", "F"))
    if mask and not (gray or mode in ("1", "L", "P")):
        raise InputError(path, f"a mask of {Image.getmodebands(mode)} channels ({mode})", "a gray one")
    if not mask and (gray or re.search(r"(RGB[AX]?|LA);16", stored)):
        raise InputError(path, f"{mode} pixels of more than 8 bits", "8-bit gray or color")
    return image


def split_persons(
    pairs: list[Pair], seed: int, test: float = 0.1, val: float = 0.1, by: str = "patient"
) -> dict[Path, str]:
    """{image: train | val | test}. What the folders say stands; otherwise `test` of the patients (or images) are drawn,
    and `val` of the others validate; with val 0 the test split validates too, as in the source.
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

    split_by: patient, or image as the source does (one patient's slices then fall on both sides; set.json says so).
    val 0: the test split validates. place: {person: split} decides instead. field: height and width of all images in mm,
    if known; else distances are in pixels. InputError naming the file where an image or a mask is refused, or the two
    differ in size; nothing is written then. Returns set.json's path.
    """
    pairs = find(source)
    top = _check(pairs)
    drawn = {p.image: place[p.person] for p in pairs} if place else split_persons(pairs, seed, val=val, by=split_by)
    groups: dict[tuple[str, str], list[Pair]] = {}
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
    shared = sorted(person for person, found in splits.items() if len(found) > 1)
    return write_set(
        folder, str(source), "pairs", entries, classes=list(CLASSES), size=list(size), split_by=split_by,
        shared_persons=shared, unit="mm" if field else "pixels", mask_threshold=top and top / 2, **about,
    )  # fmt: skip


def write_patient(
    folder: Path, split: str, person: str, pairs: list[Pair], size: tuple[int, int], field: tuple[float, float],
    top: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One patient's case file; its entry of set.json."""
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


def _check(pairs: list[Pair]) -> float | None:
    """The maximum of all masks of more than two values, None where there are none; says so once, with a bar before.

    InputError where an image, a mask, or the two together aren't what they should be: before anything is written.
    """
    tops = {}
    for pair in tqdm(pairs, desc="checking", unit="mask", file=sys.stdout, mininterval=1):
        size, values = check_image(pair.image), _values(pair.mask)
        if size != values.shape:
            raise InputError(pair.mask, f"{values.shape}, its image is {size}")
        if _is_graded(values):
            tops[pair.mask] = float(values.max())
    if not tops:
        return None
    first, top = next(iter(tops)), max(tops.values())
    said = f"more than two values, such as {first.name}: lesion is above half of their maximum, {_half(first, top):g}"
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
