"""Which files of a folder are images and which are their labels, guessed from the words in their names."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lib import InputError
from lib.files import list_files

LABEL_WORDS = {
    "seg", "segs", "segmentation", "segmentations", "label", "labels", "labelstr", "mask", "masks", "gt", "groundtruth",
    "annotation", "annotations", "contour", "contours", "labelmap",
}  # fmt: skip
MOST_CHANNELS = 4
FEW = 5  # so many folders aren't kinds of data any more, such as benign and malignant
# patient7_slice_12, case 03-4: whose it is ends before the last number
OWNER = re.compile(r"(.*\d.*?)[ _.-]*(?:(?:slice|sl|frame|image|img|ses(?:sion)?|z|s|f)[ _.-]*|[ _.-])\d+", re.I)


class Guess(NamedTuple):
    """Patterns below a folder, such as images/*_img.nii.gz; what their `*` stand for says what belongs together.

    Parameters
    ----------
    images : one, or one per channel
    labels : of the labels
    names : of the channels; () of one
    """

    images: tuple[str, ...]
    labels: str
    names: tuple[str, ...] = ()


def same_count(channels: Mapping[Path, int]) -> int:
    """How many channels all images have, {image: channels}, 1 of none; InputError where some have others."""
    first: dict[int, Path] = {}
    for path, count in channels.items():
        first.setdefault(count, path)
    if len(first) > 1:
        (count, path), (other, second) = list(first.items())[:2]
        raise InputError(second, f"{other} channels, {path.name} has {count}", "as many in all images")
    return next(iter(first), 1)


def guess(source: Path, endings: Sequence[str]) -> Guess | None:
    """The patterns of a folder's images and labels; None where names don't tell them apart, or don't match in number.

    Parameters
    ----------
    source : the folder
    endings : of the files that count, such as .nii.gz
    """
    files = [path.relative_to(source) for path in list_files(source, tuple(endings))]
    labels = [path for path in files if _words(path) & LABEL_WORDS]
    images = [path for path in files if path not in labels]
    if not labels or not images or len(images) % len(labels):
        return None
    groups = [images] if len(images) == len(labels) else _channels(images, len(labels))
    patterns = [_pattern(group, endings) for group in (*groups, labels)]
    if not groups or not all(patterns):
        return None
    stars = [matches(source, pattern, endings, patterns[-1]).keys() for pattern in patterns[:-1]]
    if any(found != matches(source, patterns[-1], endings).keys() or len(found) != len(labels) for found in stars):
        return None
    names = tuple(_last_word(group[0], endings) for group in groups) if len(groups) > 1 else ()
    return Guess(tuple(patterns[:-1]), patterns[-1], names)


def _words(path: Path) -> set[str]:
    return {word for word in re.split(r"[^a-z]+", path.as_posix().lower()) if word}


def _stem(path: Path, endings: Sequence[str]) -> str:
    ending = next((e for e in endings if path.name.lower().endswith(e)), "")
    return path.name[: len(path.name) - len(ending)]


def _last_word(path: Path, endings: Sequence[str]) -> str:
    return re.split(r"[_.\-]", _stem(path, endings))[-1]


def _channels(images: list[Path], count: int) -> list[list[Path]]:
    """The images by what ends their names, such as flair and t1, if there are as many of each; else []."""
    groups = defaultdict(list)
    for path in images:
        stem = path.name.split(".")[0]
        groups[re.split(r"[_\-]", stem)[-1]].append(path)
    equal = 2 <= len(groups) <= MOST_CHANNELS and all(len(group) == count for group in groups.values())
    return [groups[name] for name in sorted(groups)] if equal else []


def _pattern(paths: list[Path], endings: Sequence[str]) -> str:
    """The one pattern that fits all paths: what differs becomes `*`; "" where they lie at different depths."""
    if len({len(path.parts) for path in paths}) > 1:
        return ""
    folders = [
        parts[0] if len(set(parts)) == 1 else "*" for parts in zip(*(path.parts[:-1] for path in paths), strict=True)
    ]
    stems, tails = [_stem(path, endings) for path in paths], {path.name[len(_stem(path, endings)) :] for path in paths}
    tail = tails.pop() if len(tails) == 1 else ""
    if len(set(stems)) == 1:
        return "/".join([*folders, stems[0] + tail])
    before = os.path.commonprefix(stems).rstrip("0123456789")
    if not all(stem[len(before) :][:1].isdigit() for stem in stems):
        before = re.sub(r"[^_.\-]*$", "", before)
    after = re.sub(r"^[^_.\-]*", "", os.path.commonprefix([stem[len(before) :][::-1] for stem in stems])[::-1])
    return "/".join([*folders, f"{before}*{after}{tail}"])


def owners(names: Mapping[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """Whose a file is, by what the `*` of a pattern stand for.

    The first of several `*`, a folder, is a person if it has a number in it or there are more than a few; else the name tells,
    as patient7_slice_12 does, or the file counts as a person's.

    Parameters
    ----------
    names : of the cases, by their `*`
    """
    folders = {stars[0] for stars in names if len(stars) > 1}
    are_people = len(folders) >= FEW or (folders and all(re.search(r"\d", folder) for folder in folders))
    whose = {}
    for stars, name in names.items():
        found = OWNER.fullmatch(name)
        whose[stars] = stars[0] if len(stars) > 1 and are_people else found[1] if found else name
    return whose


def matches(source: Path, pattern: str, endings: Sequence[str], without: str = "") -> dict[tuple[str, ...], Path]:
    """The files below a folder that a pattern of `guess` fits, and `without` doesn't, by what its `*` stand for."""
    left_out = set(matches(source, without, endings).values()) if without else set()
    ends = "|".join(map(re.escape, endings))
    words = "/".join(re.escape(part).replace(r"\*", "([^/]*)") for part in pattern.split("/"))
    regex = re.compile(words if pattern.lower().endswith(tuple(endings)) else f"{words}(?:{ends})", re.IGNORECASE)
    paths = (path.relative_to(source).as_posix() for path in list_files(source, tuple(endings)))
    found = {match.groups(): source / path for path in paths if (match := regex.fullmatch(path))}
    return {stars: path for stars, path in found.items() if path not in left_out}
