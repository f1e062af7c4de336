"""What the channels and the labels of volumes are called: by dataset.json, by LiTS, or by what is found in the files."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib import InputError
from lib.data import decathlon, nifti, pairing
from lib.data.classes import whole
from lib.data.lits_matching import ENDINGS, Patterns, VolumePair

CLASSES = ("background", "liver", "tumor")  # LiTS's


def channel_names(source: Path, volume_files: Patterns, pairs: Sequence[VolumePair]) -> list[str]:
    """The names of the images' channels; [] of one. InputError where some have more than others."""
    count = pairing.same_count({pair.volume: len(pair.channels) for pair in pairs})
    named: Sequence[str] = ()
    if volume_files is None and decathlon.is_decathlon(source):
        named = decathlon.channels(source)
    elif count > 1:  # */*_flair.nii.gz is flair
        named = _last_words(volume_files or pairing.guess(source, ENDINGS).images)
    return [] if count == 1 else list(named) if len(named) == count else [f"channel {c}" for c in range(count)]


def _last_words(patterns: Patterns) -> list[str]:
    """The last word of each channel's pattern, if they are all different."""
    several = next(iter(patterns.values())) if isinstance(patterns, Mapping) else patterns
    words = [re.split(r"[\W_]+", Path(pattern).name.split(".")[0])[-1] for pattern in several]
    return words if all(words) and len(set(words)) == len(words) else []


def labels_in(paths: Sequence[Path]) -> list[int]:
    """All values of some segmentations, in order, with a bar."""
    values: set[int] = set()
    for path in tqdm(paths, desc="labels", unit="file", file=sys.stdout, mininterval=1, leave=False):
        values |= set(np.flatnonzero(np.bincount(whole(path, nifti.values(path)).ravel())).tolist())
    return sorted(values)


def classes_of(
    source: Path, volume_files: Patterns, pairs: Sequence[VolumePair], ignore_index: int | None = None
) -> tuple[str, ...]:  # fmt: skip
    """The names of the labels 0, 1, 2 …, where none are given.

    A Decathlon's are by its dataset.json, those of LiTS's names LiTS's, others "label 1", "label 2" …, as the files have them.

    Parameters
    ----------
    source : the folder
    volume_files : as `lib.data.lits_matching.find` takes it
    pairs : what it found
    ignore_index : the label of what isn't labeled

    Raises
    ------
    InputError
        For labels that aren't numbered one by one.
    """
    if volume_files is None and decathlon.is_decathlon(source):
        return decathlon.classes(source)
    if volume_files is None and all(pair.volume.name.startswith("volume-") for pair in pairs):
        return CLASSES
    paths = [pair.segmentation for pair in pairs if pair.segmentation]
    found = [value for value in labels_in(paths) if value != ignore_index]
    if any(value not in (0, expected) for expected, value in enumerate(found[found[:1] == [0] :], 1)):
        words = f"labels {', '.join(map(str, found[:10]))}{' …' if len(found) > 10 else ''}"
        raise InputError(
            "classes", f"missing, and {source} has {words}", hint="give classes, and relabel {value: class}"
        )
    names = ("background", *(f"label {value}" for value in found if value))
    print(f"{source}: labels 0 to {max(found, default=0)}; give classes to name them")
    return names
