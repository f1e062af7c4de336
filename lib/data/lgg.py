"""Images and binary masks in Kaggle's LGG layout or the ResUNet source's, as prepared cases, one per patient."""

import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from lib import InputError
from lib.data.case_files import CaseSlices, split_cases, write_case
from lib.data.image_files import check_image, half_of, is_graded, mask_values, read_image, read_mask
from lib.data.index import write_set, writes_set
from lib.data.lgg_matching import ImagePair, find
from lib.data.people import pseudonyms
from lib.files import file_name, replacing
from lib.text import one_of, pluralize

CLASSES = ("background", "lesion")


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
    validating = {p.image for p in pairs if p.split == "val"} or draw(
        val, [p.image for p in pairs if p.image not in held]
    )
    place = {i: "test" if i in held else "val" if i in validating else "train" for i in key}
    both = {key[i] for i in held} & {key[i] for i in key if i not in held}
    if both:
        raise InputError(
            min(i for i in held if key[i] in both),
            "its patient is among the training images too: set split_by to image",
        )
    if "train" not in place.values():
        raise InputError(f"{len(set(key.values()))} {by}s are too few", "none is left to train on")
    return place


def split_by_names(pairs: list[ImagePair], val: Sequence[str], test: Sequence[str]) -> dict[Path, str]:
    """Divide images into splits by the names of the patients.

    Parameters
    ----------
    pairs : images and masks
    val, test : patients, at least one each; all others train

    Returns
    -------
    {image: train, val or test}

    Raises
    ------
    InputError
        For a name that isn't a patient's or is in both, for no name, and if none is left to train on.
    """
    persons = sorted({pair.person for pair in pairs})
    for key, names in (("val_patients", val), ("test_patients", test)):
        if not names:
            raise InputError(key, "names no patient", f"some of {', '.join(persons)}")
        for name in names:
            if name not in persons:
                raise InputError(f"{key} {name!r}", *one_of(name, persons))
    if both := sorted({*val} & {*test}):
        raise InputError("val_patients", f"{both[0]} is among test_patients, too", "other patients")
    if {*val, *test} == {*persons}:
        raise InputError("val_patients, test_patients", "name all patients", "some that are left to train on")
    return {p.image: "val" if p.person in val else "test" if p.person in test else "train" for p in pairs}


@writes_set
def prepare(
    source: Path, folder: Path, size: tuple[int, int] = (256, 256), split_by: str = "patient", val: float = 0.1,
    seed: int = 0, *, val_patients: Sequence[str] | None = None, test_patients: Sequence[str] | None = None,
    classes: Sequence[str] = CLASSES, field: tuple[float, float] | None = None, real_ids: bool = False, **about: Any,
) -> Path:  # fmt: skip
    """Write every patient's images and masks, resized, to folder/<split>/<person>.h5, and folder/set.json, with a bar.

    Parameters
    ----------
    source : the folder, of Kaggle's layout or the ResUNet source's
    folder : of the prepared set
    size : (h, w) of all images
    split_by : "patient", or "image" as the source does (one patient's slices then fall on both sides; set.json says so)
    val : share that validates; 0: the test split does
    seed : of the splits
    val_patients, test_patients : true ids or pseudonyms for `split_by_names`, which decides if one is given
    classes : names of the background and of what the masks show
    field : height and width of all images in mm; None: unknown, distances are in pixels
    real_ids : see `lib.data.people.pseudonyms`; without, a person's slices are numbered
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
    if len(classes) != 2:
        raise InputError("classes", f"got {list(classes)}", "two: the background and what the masks show")
    people = pseudonyms(folder, (("", p.person) for p in pairs), real_ids)
    drawn = None if val_patients or test_patients else split_persons(pairs, seed, val=val, by=split_by)
    pairs, named = pairs if real_ids else _anonymous(pairs, people), drawn is None
    if named:
        drawn = split_by_names(pairs, *([people.get(n, n) for n in ns or ()] for ns in (val_patients, test_patients)))
    top = _check(pairs)
    groups: dict[tuple[str, str], list[ImagePair]] = {}
    for pair in pairs:
        groups.setdefault((drawn[pair.image], pair.person), []).append(pair)
    entries = []
    for (split, person), group in tqdm(
        sorted(groups.items()), desc="reading", unit="patient", file=sys.stdout, mininterval=1
    ):
        entry = write_patient(folder, split, person, group, size, field or size, classes, top)
        entries += [entry] + ([entry | {"split": "val"}] if split == "test" and not val and not named else [])
    splits: dict[str, set[str]] = {}
    for entry in entries:
        splits.setdefault(entry["person"], set()).add(entry["split"])
    shared = sorted(person for person, names in splits.items() if len(names) > 1)
    return write_set(
        folder, str(source), "pairs", entries, classes=list(classes), size=list(size), split_by=split_by,
        people=people, shared_persons=shared, unit="mm" if field else "pixels", mask_threshold=top and top / 2, **about,
    )  # fmt: skip


def _anonymous(pairs: list[ImagePair], people: Mapping[str, str]) -> list[ImagePair]:
    """With pseudonyms, and slices that are numbered in each person's order."""
    count, named = Counter(), []
    for pair in pairs:
        count[pair.person] += 1
        person = people[pair.person]
        named.append(pair._replace(person=person, name=f"{person}_{count[pair.person]}"))
    return named


def write_patient(
    folder: Path, split: str, person: str, pairs: list[ImagePair], size: tuple[int, int], field: tuple[float, float],
    classes: Sequence[str] = CLASSES, top: float | None = None,
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
    classes : names of the background and of what the masks show
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
        classes=classes,
        names=[p.name for p in pairs],
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
        paths.append(folder / "sample" / file_name(f"{case.name}.png"))
        with replacing(paths[-1]) as partial:
            Image.fromarray(case.raw.permute(1, 2, 0).byte().numpy()).save(partial, "PNG")
    return paths
