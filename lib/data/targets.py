"""A label as a loss takes it: class numbers, one-hot, or one channel of 0 and 1."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from lib import InputError
from lib.losses.segmentation import one_hot


def target_of(targets: str, num_classes: int, ignore_index: int | None = None) -> Callable[[Tensor], Tensor]:
    """A function that makes a loss's target of a label (H, W).

    Parameters
    ----------
    targets : "index", the label as it is; "one_hot", float32 (C, H, W); "binary", float32 (1, H, W) of 0 and 1
    num_classes : C
    ignore_index : the label of pixels that aren't labeled, which stays in all channels; None: all are
    """
    one_hot_of = partial(_one_hot, num_classes=num_classes, ignore_index=ignore_index)
    functions = {"index": _index, "one_hot": one_hot_of, "binary": partial(_binary, ignore_index=ignore_index)}
    if targets not in functions:
        raise InputError("targets", f"got {targets!r}", f"one of {', '.join(functions)}")
    return functions[targets]  # whole functions: workers that are not forked get them pickled


def _index(label: Tensor) -> Tensor:
    return label


def _one_hot(label: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    if ignore_index is None:
        return one_hot(label[None], num_classes)[0]
    ignored = label == ignore_index
    return _one_hot(label.masked_fill(ignored, 0), num_classes, None).masked_fill(ignored, ignore_index)


def _binary(label: Tensor, ignore_index: int | None) -> Tensor:
    binary = (label > 0).float()
    return (binary if ignore_index is None else binary.masked_fill(label == ignore_index, ignore_index))[None]
