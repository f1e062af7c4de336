"""Segmentation: training losses and the metrics shown while training, all called `(output, target)`.

output: logits (N, C, …), C classes by softmax, or one channel by sigmoid. target: class numbers (N, …), one-hot (N, C, …),
or for one channel (N, 1, …) of 0 and 1. Probabilities and sums are in float32. Letters: p probability, y target.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import InputError
from lib.losses import lookup

EPSILON = 1e-7


def probabilities(output: Tensor) -> Tensor:
    """Logits (N, C, …) to probabilities: softmax over the classes, sigmoid where there is one channel; float32."""
    output = output.float()
    return output.sigmoid() if output.shape[1] == 1 else output.softmax(1)


def one_hot(target: Tensor, num_classes: int) -> Tensor:
    """(N, …) class numbers to (N, C, …) 0 and 1; what has a class axis already is only made float32."""
    if target.is_floating_point():
        return target.float()
    return F.one_hot(target, num_classes).movedim(-1, 1).float()


def _pair(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    y = target.float() if output.shape[1] == 1 and target.ndim == output.ndim else one_hot(target, output.shape[1])
    if y.shape != output.shape:
        raise InputError(f"loss: the output is {tuple(output.shape)}, the target {tuple(target.shape)}")
    return probabilities(output), y


def _overlap(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Σ p·y, Σ p and Σ y of every class (C,), over batch and space."""
    p, y = _pair(output, target)
    axes = (0, *range(2, p.ndim))
    return (p * y).sum(axes), p.sum(axes), y.sum(axes)


class CrossEntropy(nn.Module):
    """Mean cross entropy, of one channel binary; `weights`: one a class, None all alike (a weighted mean, as torch's)."""

    def __init__(self, weights: Sequence[float] | None = None):
        super().__init__()
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        output = output.float()
        if output.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(output, _pair(output, target)[1])
        weights = None if self.weights is None else self.weights.to(output.device)
        if weights is not None and len(weights) != output.shape[1]:
            raise InputError(f"class_weights: {len(weights)} of them, the network has {output.shape[1]} classes")
        if target.is_floating_point():
            target = target.argmax(1)
        return F.cross_entropy(output, target, weights)


def dice_loss(output: Tensor, target: Tensor) -> Tensor:
    """1 − mean over classes of 2·Σpy / (Σp + Σy), over batch and space (Milletari et al., 3DV 2016, without squares)."""
    both, p, y = _overlap(output, target)
    return 1 - ((2 * both + EPSILON) / (p + y + EPSILON)).mean()


LOSSES: dict[str, Callable[..., Tensor]] = {"cross_entropy": CrossEntropy(), "dice": dice_loss}


def by_name(name: str, class_weights: Sequence[float] | None = None) -> Callable[..., Tensor]:
    """The loss of that name; class_weights are cross_entropy's. InputError with the nearest name where there is none."""
    loss = lookup("loss", name, LOSSES)
    if class_weights is None:
        return loss
    if not isinstance(loss, CrossEntropy):
        raise InputError(f"class_weights: {name} has none, cross_entropy has")
    return CrossEntropy(class_weights)


def _classes(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted and true class of every pixel (N, …)."""
    if output.shape[1] == 1:
        return (output[:, 0] > 0).long(), (target.reshape(output.shape)[:, 0] > 0.5).long()
    return output.argmax(1), target.argmax(1) if target.is_floating_point() else target


@torch.no_grad()
def dice(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the classes but the background of the batch's hard Dice; a class that neither has counts as 1."""
    predicted, true = _classes(output, target)
    values = []
    for c in range(1, max(output.shape[1], 2)):
        a, b = predicted == c, true == c
        total = a.sum() + b.sum()
        values.append(torch.where(total > 0, 2 * (a & b).sum() / total.clamp(min=1), 1.0))
    return torch.stack(values).mean()


@torch.no_grad()
def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """The share of pixels whose class is right."""
    predicted, true = _classes(output, target)
    return (predicted == true).float().mean()


TRAINING_METRICS: dict[str, Callable[..., Tensor]] = {"dice": dice, "accuracy": accuracy}


def training_metric(name: str) -> Callable[..., Tensor]:
    """The metric shown while training; InputError with the nearest name where there is none."""
    return lookup("metric", name, TRAINING_METRICS)
