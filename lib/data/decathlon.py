"""Folders in the layout of the Medical Segmentation Decathlon or of nnU-Net: imagesTr/, labelsTr/ and, mostly, dataset.json."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib import InputError
from lib.data import nifti
from lib.data.pairing import MOST_CHANNELS, same_count
from lib.files import check_path, list_files

IMAGES, LABELS, ABOUT = "imagesTr", "labelsTr", "dataset.json"
ENDINGS = (".nii.gz", ".nii")
CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's image names: the case's name and the channel


def is_decathlon(source: Path) -> bool:
    """Whether a folder holds an imagesTr/."""
    return (Path(source) / IMAGES).is_dir()


def pairs(source: Path) -> dict[str, tuple[tuple[Path, ...], Path]]:
    """The images and labels of imagesTr/ and labelsTr/ that belong together, {case: (a file per channel, label)}.

    Their names are equal, or the images' have nnU-Net's `_0000`, `_0001` … besides, one for each channel. Where dataset.json
    names several channels and the files have a fourth axis of them, the file is there once for each. An image without label, a label without image,
    and what dataset.json's `training` lacks or lists in vain is printed, by name, and left out. Hidden files are skipped.

    Raises
    ------
    InputError
        For channels that aren't all there or aren't those of dataset.json, naming a file and them, more than four, two
        files of one case, and where no pair is left.
    """
    source = Path(source)
    check_path(source)
    images, labels = _by_name(source / IMAGES), _by_name(source / LABELS)
    named = _by_case(images, labels)
    both = {case: (path, labels[case]) for case, path in named.items() if case in labels}
    listed = _listed(source)
    if listed is not None:
        _tell(f"listed in {ABOUT}, but not in {IMAGES} and {LABELS}", sorted(listed - both.keys()))
        _tell(f"not listed in {ABOUT}", [both[case][0][0].name for case in both if case not in listed])
    _tell(
        "images without a label", [path.name for case, paths in named.items() if case not in labels for path in paths]
    )
    _tell("labels without an image", [path.name for case, path in labels.items() if case not in named])
    both = {case: pair for case, pair in both.items() if listed is None or case in listed}
    if not both:
        found = f"{len(images)} images in {IMAGES} and {len(labels)} labels in {LABELS}, none of which belong together"
        raise InputError(source, found, "such as imagesTr/case.nii.gz (or case_0000.nii.gz) and labelsTr/case.nii.gz")
    return _with_channels(source, both)


def channels(source: Path) -> tuple[str, ...]:
    """The names of the images' channels by dataset.json; () if it doesn't say."""
    about = _about(source)
    named = about.get("channel_names", about.get("modality", {}))
    if not isinstance(named, dict | list):
        raise InputError(Path(source) / ABOUT, f"channel_names: got {named!r}", '{"0": "CT"}')
    return tuple(map(str, named.values() if isinstance(named, dict) else named))


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


def _by_case(images: dict[str, Path], labels: dict[str, Path]) -> dict[str, tuple[Path, ...]]:
    """The images of each case in the order of their channels, which are _0000, _0001 … without a gap, or one without number."""
    numbered: dict[str, dict[str, Path]] = {}
    for name, path in sorted(images.items()):
        case = _case(name, labels)
        numbered.setdefault(case, {})[name.removeprefix(case)] = path
    for found in numbered.values():
        wanted = [f"_{number:04}" for number in range(len(found))]
        if list(found) not in ([""], wanted):
            names = ", ".join(name or "no number" for name in found)
            raise InputError(next(iter(found.values())), f"channels {names}", ", ".join(wanted))
    return {case: tuple(found.values()) for case, found in numbered.items()}


def _with_channels(
    source: Path, both: dict[str, tuple[tuple[Path, ...], Path]]
) -> dict[str, tuple[tuple[Path, ...], Path]]:
    """The pairs, files with a fourth axis once for each channel; InputError unless all have those of dataset.json."""
    named, counts, full = channels(source), {}, {}
    for case, (images, label) in both.items():
        count = len(images) if len(images) > 1 else nifti.channels_in(images[0])
        full[case] = (images if len(images) > 1 else images * count, label)
        counts[images[0]] = count
        if count > MOST_CHANNELS:
            raise InputError(images[0], f"{count} channels", f"at most {MOST_CHANNELS}")
        if len(named) > 1 and count != len(named):
            raise InputError(images[0], f"{count} channels", f"{len(named)}, as {ABOUT} has them ({', '.join(named)})")
        if len(images) == 1 and count > 1 and len(named) < 2:
            raise InputError(images[0], f"a fourth axis of {count}", "one channel", f"{ABOUT} names no channels")
    same_count(counts)
    return full


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
