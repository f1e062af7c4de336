"""Folders in the layout of the Medical Segmentation Decathlon or of nnU-Net: imagesTr/, labelsTr/ and, mostly, dataset.json."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib import InputError
from lib.data import nifti
from lib.files import check_path, list_files

IMAGES, LABELS, ABOUT = "imagesTr", "labelsTr", "dataset.json"
ENDINGS = (".nii.gz", ".nii")
CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's image names: the case's name and the channel


def is_decathlon(source: Path) -> bool:
    """Whether a folder holds an imagesTr/."""
    return (Path(source) / IMAGES).is_dir()


def pairs(source: Path) -> dict[str, tuple[Path, Path]]:
    """The images and labels of imagesTr/ and labelsTr/ that belong together, {case: (image, label)}.

    Their names are equal, or the image's has nnU-Net's `_0000` besides. An image without label, a label without image,
    and what dataset.json's `training` lacks or lists in vain is printed, by name, and left out. Hidden files are skipped.

    Raises
    ------
    InputError
        For several channels, naming a file and them, two files of one case, and where no pair is left.
    """
    source = Path(source)
    check_path(source)
    images, labels = _by_name(source / IMAGES), _by_name(source / LABELS)
    _check_channels(source, images, labels)
    named = {_case(name, labels): path for name, path in images.items()}
    both = {case: (path, labels[case]) for case, path in named.items() if case in labels}
    listed = _listed(source)
    if listed is not None:
        _tell(f"listed in {ABOUT}, but not in {IMAGES} and {LABELS}", sorted(listed - both.keys()))
        _tell(f"not listed in {ABOUT}", [both[case][0].name for case in both if case not in listed])
    _tell("images without a label", [path.name for case, path in named.items() if case not in labels])
    _tell("labels without an image", [path.name for case, path in labels.items() if case not in named])
    both = {case: pair for case, pair in both.items() if listed is None or case in listed}
    if not both:
        found = f"{len(images)} images in {IMAGES} and {len(labels)} labels in {LABELS}, none of which belong together"
        raise InputError(source, found, "such as imagesTr/case.nii.gz (or case_0000.nii.gz) and labelsTr/case.nii.gz")
    for image, _ in both.values():
        _check_axes(image)
    return both


def classes(source: Path) -> tuple[str, ...]:
    """The names of the labels 0, 1, 2 … by dataset.json.

    Both forms are read: {"0": "background", "1": "liver"} of the Decathlon and {"background": 0, "liver": 1} of nnU-Net.

    Raises
    ------
    InputError
        If it isn't there, for regions of several labels, nnU-Net's ignore, and labels that aren't numbered one by one from 0.
    """
    labels, path = _about(source).get("labels"), Path(source) / ABOUT
    if labels is None:
        raise InputError("classes", f"missing, and there are no labels in {path}", "names, the background first")
    if not isinstance(labels, dict) or not labels:
        raise InputError(path, f"labels: got {labels!r}", '{"0": "background", "1": "name", …}')
    of_msd = all(str(key).isdigit() for key in labels)
    numbers = labels.items() if of_msd else ((value, name) for name, value in labels.items())
    names = {}
    for number, name in numbers:
        if isinstance(number, list) or not re.fullmatch("[0-9]{1,9}", str(number)):
            raise InputError(path, f"labels: {name} is {number}", "one number per class", "give classes and relabel")
        if name == "ignore" and not of_msd:  # nnU-Net's word for what isn't labeled
            raise InputError(
                path, f"labels: {number} is ignore", "classes only", f"give classes and ignore_index: {number}"
            )
        names[int(number)] = str(name)
    if sorted(names) != list(range(len(labels))):
        found = f"labels: the numbers are {', '.join(map(str, sorted(names)))}"
        raise InputError(path, found, f"0 … {len(labels) - 1}", "give classes and relabel")
    return tuple(names[number] for number in range(len(labels)))


def _by_name(folder: Path) -> dict[str, Path]:
    """{name without ending: file}."""
    if not folder.is_dir():
        raise InputError(folder, "no such folder", f"{IMAGES} and {LABELS} side by side")
    files: dict[str, Path] = {}
    for path in list_files(folder, ENDINGS, deep=False):
        name = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
        if name in files:
            raise InputError(path, f"{files[name].name} has the same name: which one is it?")
        files[name] = path
    return files


def _case(image: str, labels: Iterable[str]) -> str:
    """The case that an image belongs to, by the names of the labels."""
    match = CHANNEL.fullmatch(image)
    return match[1] if match and image not in labels and match[1] in labels else image


def _check_channels(source: Path, images: dict[str, Path], labels: dict[str, Path]) -> None:
    about = _about(source)
    named = about.get("channel_names", about.get("modality", {}))
    if not isinstance(named, dict | list):
        raise InputError(source / ABOUT, f"channel_names: got {named!r}", '{"0": "CT"}')
    if len(named) > 1:
        names = ", ".join(map(str, named.values() if isinstance(named, dict) else named))
        raise InputError(source / ABOUT, f"{len(named)} channels ({names})", "one: several aren't supported")
    channels: dict[str, list[str]] = {}
    for name in images:
        case = _case(name, labels)
        channels.setdefault(case, []).append(name.removeprefix(case) or "no number")
    for case, found in channels.items():
        if len(found) > 1 or found[0] not in ("no number", "_0000"):
            path = next(path for name, path in images.items() if _case(name, labels) == case)
            raise InputError(path, f"channels {', '.join(found)}", "_0000 alone: several aren't supported")


def _check_axes(image: Path) -> None:
    with nifti.reading(image):
        shape = nifti.opened(image).shape
    if len(shape) > 3 and max(shape[3:]) > 1:
        raise InputError(image, f"shape {shape}, {shape[3]} channels", "one: several aren't supported")


def _listed(source: Path) -> set[str] | None:
    """The cases in dataset.json's `training`, by the names of their labels; None if it has no such list."""
    training = _about(source).get("training")
    if not isinstance(training, list):
        return None
    files = (entry.get("label", entry.get("image", "")) if isinstance(entry, dict) else entry for entry in training)
    names = (Path(str(file)).name for file in files)
    return {re.sub(r"\.nii(\.gz)?$", "", name, flags=re.IGNORECASE) for name in names}


def _about(source: Path) -> dict[str, Any]:
    path = Path(source) / ABOUT
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(path, f"can't be read as JSON ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise InputError(path, "no JSON object in it", '{"labels": …}')
    return content


def _tell(what: str, names: list[str]) -> None:
    if names:
        print(f"skipped, {what}: {', '.join(names)}")
