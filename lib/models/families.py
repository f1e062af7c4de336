"""The kinds of network: which notebook trains them, on which data and batches, with which losses and settings."""

from typing import NamedTuple

PREDICT = "26_predict"  # the notebook that predicts with networks of all families


class Family(NamedTuple):
    """What networks of one kind have in common.

    Parameters
    ----------
    notebook : trains them
    losses : the module in `lib.losses` with their losses and training metrics
    batches : what they may be fed, the usual one first
    data : words in the `kind` of a prepared set that fits them
    predict : the parameters of PREDICT that are for them
    augmentation : settings that the notebook's parameter of that name may have
    """

    notebook: str
    losses: str
    batches: tuple[str, ...]
    data: str
    predict: tuple[str, ...]
    augmentation: tuple[str, ...] = ()


_OF_KSPACE = ("mask", "eval_batch_size", "num_workers")
_OF_IMAGES = ("flip", "rotate", "scale", "shift", "gamma", "crop")
FAMILIES = {
    "cine": Family("20_train_cine", "keras", ("cine",), "cine", ("files", "metrics", "serving")),
    "kspace": Family("21_train_kspace", "reconstruction", ("kspace", "image"), "k-space", _OF_KSPACE),
    "cascade": Family(
        "22_train_cascade", "reconstruction", ("cascade",), "k-space", (*_OF_KSPACE, "self_ensemble"),
        ("flip", "half_turn", "quarter_turn", "shift", "cutmix"),
    ),
    "slices": Family(
        "23_train_slices", "segmentation", ("slices",), "labeled slices", 
        ("normalize", "eval_batch_size", "test_time_flips"), _OF_IMAGES,
    ),
    "volumes": Family(
        "24_train_volumes", "segmentation", ("volumes",), "labeled volumes",
        ("patch", "overlap", "precision", "eval_batch_size", "test_time_flips"), ("flips", "intensity", "rotate", "scale", "gamma"),
    ),
    "pairs": Family(
        "25_train_pairs", "segmentation", ("pairs",), "pairs", ("images", "normalize", "size", "eval_batch_size"),
        _OF_IMAGES,
    ),
}  # fmt: skip
