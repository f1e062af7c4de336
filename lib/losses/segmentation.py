"""Segmentation: training losses and the metrics shown while training, all called `(output, target)`.

output: logits (N, C, …), C classes by softmax, or one channel by sigmoid. target: class numbers (N, …), one-hot (N, C, …),
or for one channel (N, 1, …) of 0 and 1. Pixels whose target is `ignore_index` (in all channels of a one-hot one) aren't
labeled: they count in no sum and get no gradient. Probabilities and sums are in float32. Letters: p probability, y
target, ε 1e-7. The background is a class like the others, but in the hard `dice`. Sums "over batch and space" are over all processes that
train together, sums "over space" over all parts of a volume.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import InputError
from lib.parallel import mesh

EPSILON = 1e-7
IGNORED = -100  # what torch's cross entropy leaves out


def probabilities(output: Tensor) -> Tensor:
    """Logits (N, C, …) to probabilities: softmax over the classes, sigmoid where there is one channel; float32."""
    output = output.float()
    return output.sigmoid() if output.shape[1] == 1 else output.softmax(1)


def one_hot(target: Tensor, num_classes: int) -> Tensor:
    """(N, …) class numbers to (N, C, …) 0 and 1; what has a class axis already is only made float32."""
    if target.is_floating_point():
        return target.float()
    return F.one_hot(target, num_classes).movedim(-1, 1).float()


def _labeled(output: Tensor, target: Tensor, ignore_index: int | None) -> Tensor:
    """Which pixels have a label, bool (N, …)."""
    first = target[:, 0] if target.ndim == output.ndim else target
    return torch.ones_like(first, dtype=torch.bool) if ignore_index is None else first != ignore_index


def _pair(output: Tensor, target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """p and y (N, C, …), both 0 where nothing is labeled."""
    if ignore_index is not None:
        labeled = _labeled(output, target, ignore_index)[:, None]
        return tuple(x.where(labeled, 0) for x in _pair(output, target.masked_fill(target == ignore_index, 0), None))
    y = target.float() if output.shape[1] == 1 and target.ndim == output.ndim else one_hot(target, output.shape[1])
    if y.shape != output.shape:
        raise InputError("loss", f"the output is {tuple(output.shape)}, the target {tuple(target.shape)}")
    return probabilities(output), y


def _overlap(output: Tensor, target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Σ p·y, Σ p and Σ y of every class (C,), over batch and space."""
    return tuple(mesh.total(_sums(output, target, ignore_index).sum(1)))


def _by_sample(output: Tensor, target: Tensor, ignore_index: int | None) -> Tensor:
    """Σ p·y, Σ p and Σ y of every sample and class (3, N, C), over space."""
    return mesh.over_volume(_sums(output, target, ignore_index))


def _sums(output: Tensor, target: Tensor, ignore_index: int | None) -> Tensor:
    p, y = (x.flatten(2) for x in _pair(output, target, ignore_index))
    return torch.stack(((p * y).sum(2), p.sum(2), y.sum(2)))


class CrossEntropy(nn.Module):
    """Mean cross entropy over the labeled pixels, 0 if there are none; of one channel binary.

    Parameters
    ----------
    class_weights : one per class, for a weighted mean, as torch's; None: all alike
    ignore_index : the target of pixels that aren't labeled, as torch's; None: all are
    """

    def __init__(self, class_weights: Sequence[float] | None = None, ignore_index: int | None = None):
        super().__init__()
        self.ignore_index = ignore_index
        self.weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        output = output.float()
        if output.shape[1] == 1:
            return self._binary(output, target)
        weights = None if self.weights is None else self.weights.to(output.device)
        if weights is not None and len(weights) != output.shape[1]:
            raise InputError("class_weights", f"{len(weights)} of them, the network has {output.shape[1]} classes")
        labeled = _labeled(output, target, self.ignore_index)
        if target.is_floating_point():
            target = target.argmax(1)
        if weights is None and self.ignore_index is None:
            return F.cross_entropy(output, target)
        weights = output.new_ones(output.shape[1]) if weights is None else weights
        target = target.where(labeled, IGNORED)
        error = F.cross_entropy(output, target, weights, ignore_index=IGNORED, reduction="sum")
        return _mean(error, weights[target.where(labeled, 0)].where(labeled, 0).sum())

    def _binary(self, output: Tensor, target: Tensor) -> Tensor:
        y = _pair(output, target, self.ignore_index)[1]
        if self.ignore_index is None:
            return F.binary_cross_entropy_with_logits(output, y)
        labeled = _labeled(output, target, self.ignore_index)[:, None]
        error = F.binary_cross_entropy_with_logits(output, y, reduction="none").where(labeled, 0)
        return _mean(error.sum(), labeled.sum())


def _mean(error: Tensor, weight: Tensor) -> Tensor:
    """error / weight, both summed over the processes; 0 if nothing is labeled."""
    error, weight = mesh.total(torch.stack((error, weight.to(error.dtype))))
    return error / weight.where(weight > 0, 1)


def dice_loss(output: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
    """1 − mean over classes of 2·Σpy / (Σp + Σy), over batch and space.

    References
    ----------
    Milletari et al., 3DV 2016, without squares.
    """
    both, p, y = _overlap(output, target, ignore_index)
    return 1 - ((2 * both + EPSILON) / (p + y + EPSILON)).mean()


def adaptive_dice32(
    output: Tensor, target: Tensor, cap: bool = False, ignore_index: int | None = None
) -> Tensor:  # fmt: skip
    """1 − Σ_c w·d / (C·e⁻¹), d = 2·(Σpy + ε) / (Σ(p + y) + ε) of a class over batch and space, w = exp(−d).

    TensorFlow's LiTS system: poor classes weigh more.

    Parameters
    ----------
    output, target : see the module
    cap : a class that neither has counts as d = 1 (the loss "adaptive_dice32_capped")
        False, as there: d = 2, and so .74 of its share and not all.
    ignore_index : see the module
    """
    both, p, y = _overlap(output, target, ignore_index)
    d = 2 * (both + EPSILON) / (p + y + EPSILON)
    d = d.clamp(max=1) if cap else d
    return 1 - (d * (-d).exp()).mean() * math.e


def generalized_dice(output: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
    """Mean over samples of Σ_c w·(2·Σpy + ε) / Σ_c w·(Σ(p + y) + ε), w ∝ 1 / (Σy)², over space.

    ε is weighed like the voxels, so it counts as little in a large volume as in a small one. A class that a sample
    doesn't have weighs as much as the rarest one that it has, as in MONAI.

    References
    ----------
    Sudre et al., DLMIA 2017.
    """
    both, p, y = _by_sample(output, target, ignore_index)
    rarest = y.where(y > 0, math.inf).amin(1, keepdim=True).nan_to_num(posinf=1.0)
    w = (rarest / y.where(y > 0, rarest)).square()
    return ((w * (2 * both + EPSILON)).sum(1) / (w * (p + y + EPSILON)).sum(1)).mean()


def jaccard(output: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
    """Mean over samples of (Σpy + ε) / (Σp + Σy − Σpy + ε), over space and classes."""
    both, p, y = _by_sample(output, target, ignore_index).sum(2)
    return ((both + EPSILON) / (p + y - both + EPSILON)).mean()


def tversky(
    output: Tensor, target: Tensor, alpha: float = 0.3, beta: float = 0.7, ignore_index: int | None = None
) -> Tensor:  # fmt: skip
    """Mean over samples and classes of (Σpy + ε) / (Σpy + alpha·Σp(1 − y) + beta·Σ(1 − p)y + ε), over space.

    Parameters
    ----------
    output, target : see the module
    alpha : weighs what is found wrongly
    beta : weighs what is missed
    ignore_index : see the module

    References
    ----------
    Salehi et al., MLMI 2017. The source sums over classes.
    """
    both, p, y = _by_sample(output, target, ignore_index)
    return ((both + EPSILON) / (both + alpha * (p - both) + beta * (y - both) + EPSILON)).mean()


def _one_minus(value: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def loss(output: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
        return 1 - value(output, target, ignore_index=ignore_index)

    return loss


LOSSES: dict[str, Callable[..., Tensor] | type[nn.Module]] = {
    "cross_entropy": CrossEntropy,
    "dice": dice_loss,
    "adaptive_dice32": adaptive_dice32,
    "adaptive_dice32_capped": partial(adaptive_dice32, cap=True),
    "generalized_dice": _one_minus(generalized_dice),
    "jaccard": _one_minus(jaccard),
    "tversky": _one_minus(tversky),
}


def _classes(output: Tensor, target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Predicted and true class of every pixel (N, …), IGNORED in both where nothing is labeled."""
    labeled = _labeled(output, target, ignore_index)
    if output.shape[1] == 1:
        both = (output[:, 0] > 0).long(), (target.reshape(output.shape)[:, 0] > 0.5).long()
    else:
        both = output.argmax(1), target.argmax(1) if target.is_floating_point() else target
    return tuple(classes.where(labeled, IGNORED) for classes in both)  # not indexed: a GPU would be waited for


@torch.no_grad()
def dice(output: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
    """Mean over the classes but the background of the batch's hard Dice; a class that neither has counts as 1."""
    predicted, true = _classes(output, target, ignore_index)
    sums = []
    for c in range(1, max(output.shape[1], 2)):
        a, b = predicted == c, true == c
        sums.append(torch.stack(((a & b).sum(), a.sum() + b.sum())))
    both, either = mesh.total(torch.stack(sums, 1).double())
    return torch.where(either > 0, 2 * both / either.clamp(min=1), 1.0).mean().float()


@torch.no_grad()
def accuracy(output: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
    """The share of labeled pixels whose class is right; 1 if nothing is labeled."""
    predicted, true = _classes(output, target, ignore_index)
    return 1 - (predicted != true).float().sum() / (true != IGNORED).sum().clamp(min=1)


@torch.no_grad()
def hamming(output: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
    """The share of one-hot values that differ between the predicted and the true class."""
    return 2 * (1 - accuracy(output, target, ignore_index)) / max(output.shape[1], 2)


@torch.no_grad()
def cross_entropy(output: Tensor, target: Tensor, ignore_index: int | None = None) -> Tensor:
    """The unweighted `CrossEntropy`."""
    return CrossEntropy(ignore_index=ignore_index)(output, target)


TRAINING_METRICS: dict[str, Callable[..., Tensor]] = {
    m.__name__: m for m in (dice, accuracy, hamming, cross_entropy, adaptive_dice32, generalized_dice, jaccard, tversky)
}
HIGHER_IS_BETTER = ("dice", "accuracy", "generalized_dice", "jaccard", "tversky")  # the more the better
