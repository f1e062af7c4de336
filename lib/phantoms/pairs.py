"""The samples of images and binary masks, by name."""

from pathlib import Path
from typing import Any

from lib import InputError
from lib.phantoms import lesions, ventricle
from lib.text import one_of

SAMPLES = {"ventricle": ventricle.write_pairs, "lesions": lesions.write_pairs}


def write(sample: str, folder: Path, quick: bool = False, seed: int = 0) -> dict[str, Any]:
    """Write a sample in the layout of Kaggle's LGG set.

    Parameters
    ----------
    sample : one of SAMPLES
    folder : made if it isn't there
    quick : few images
    seed : of what is drawn

    Returns
    -------
    Arguments of `lib.data.lgg.prepare`: classes, the patients that validate and test, the field of view, a note.
    """
    if sample not in SAMPLES:
        raise InputError(f"sample {sample!r}", *one_of(sample, SAMPLES))
    return SAMPLES[sample](folder, quick, seed) | {"real_ids": True}
