"""The kinds of network: which notebook trains them, on which batches, with which losses and augmentations."""

from typing import NamedTuple


class Family(NamedTuple):
    """What networks of one kind have in common.

    Parameters
    ----------
    notebook : trains them
    losses : the module in `lib.losses` with their losses and training metrics
    batches : what they may be fed, the usual one first
    augmentation : settings that the notebook's parameter of that name may have
    evaluated : the split that `task_type: evaluate` predicts
    """

    notebook: str
    losses: str
    batches: tuple[str, ...]
    augmentation: tuple[str, ...] = ()
    evaluated: str = "val"


_OF_IMAGES = ("flip", "rotate", "crop")
FAMILIES = {
    "cine": Family("20_train_cine", "keras", ("cine",), evaluated="test"),
    "kspace": Family("21_train_kspace", "reconstruction", ("kspace", "image")),
    "cascade": Family(
        "22_train_cascade", "reconstruction", ("cascade",), ("flip", "half_turn", "quarter_turn", "shift", "cutmix")
    ),
    "slices": Family("23_train_slices", "segmentation", ("slices",), _OF_IMAGES),
    "volumes": Family("24_train_volumes", "segmentation", ("volumes",), ("flips", "intensity")),
    "pairs": Family("25_train_pairs", "segmentation", ("pairs",), _OF_IMAGES),
}
