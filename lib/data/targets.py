"""A label as a loss takes it: class numbers, one-hot, or one channel of 0 and 1."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from lib import InputError
from lib.losses.segmentation import one_hot


def target_of(targets: str, num_classes: int) -> Callable[[Tensor], Tensor]:
    """A function that makes a loss's target of a label (H, W).

    Parameters
    ----------
    targets : "index", the label as it is; "one_hot", float32 (C, H, W); "binary", float32 (1, H, W) of 0 and 1
    num_classes : C
    """
    functions = {"index": _index, "one_hot": partial(_one_hot, num_classes=num_classes), "binary": _binary}
    if targets not in functions:
        raise InputError("targets", f"got {targets!r}", f"one of {', '.join(functions)}")
    return functions[targets]  # whole functions: workers that are not forked get them pickled


def _index(label: Tensor) -> Tensor:
    return label


def _one_hot(label: Tensor, num_classes: int) -> Tensor:
    return one_hot(label[None], num_classes)[0]


def _binary(label: Tensor) -> Tensor:
    return (label > 0).float()[None]
