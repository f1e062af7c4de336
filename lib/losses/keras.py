"""Losses and metrics of cine networks by Keras' names, in torch, and the cine source's own.

All are called `(output, truth)` on series (N, axis 1, axis 2, T) of one shape, in float32 at least, and give a mean over
the batch. Names match without regard to case and underscores: mse, MSE, mean_squared_error and MeanSquaredError are one.
Keras' losses of classes, such as hinge and categorical cross entropy, mean nothing for images and are left out.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lib import InputError, metrics
from lib.losses.registry import training_metric

EPSILON = 1e-7  # Keras' backend epsilon
Loss = Callable[[Tensor, Tensor], Tensor]


def ssim(output: Tensor, truth: Tensor) -> Tensor:
    """`metrics.ssim_gaussian` with data range 1, mean over frames: tf.image.ssim with the frames as channels."""
    output, truth = output.movedim(-1, 1), truth.movedim(-1, 1)
    if min(output.shape[-2:]) < 11:
        raise InputError("ssim", f"images of {tuple(output.shape[-2:])} are smaller than the 11×11 window")
    return metrics.ssim_map(output, truth, 1.0, metrics.gaussian_mean, 1.0).mean()


def psnr(output: Tensor, truth: Tensor) -> Tensor:
    """10·log₁₀(1 / mean squared error) of each series with data range 1, in dB; mean over the batch."""
    error = (output - truth).square().flatten(1).mean(1)
    return -10 * error.clamp_min(torch.finfo(torch.float32).tiny).log10().mean()


def nrmse(output: Tensor, truth: Tensor) -> Tensor:
    """‖output − truth‖ / ‖truth‖ of each series (scikit-image's Euclidean normalization); mean over the batch."""
    return ((output - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1).clamp_min(EPSILON)).mean()


def ssim3d(output: Tensor, truth: Tensor) -> Tensor:
    """`metrics.ssim3d` of each series with data range 1 (uniform 7×7×7); mean over the batch."""
    if min(output.shape[1:]) < metrics.SSIM_WINDOW:
        raise InputError("ssim3d", f"series of {tuple(output.shape[1:])} are smaller than the 7×7×7 window")
    count = metrics.SSIM_WINDOW**3
    return metrics.ssim_map(output, truth, 1.0, lambda x: metrics.box_mean(x, 3), count / (count - 1)).mean()


def _percentage(p: Tensor, y: Tensor) -> Tensor:
    return 100 * ((y - p) / y.abs().clamp_min(EPSILON)).abs().mean()


def _log_squared(p: Tensor, y: Tensor) -> Tensor:
    return (torch.log1p(p.clamp_min(EPSILON)) - torch.log1p(y.clamp_min(EPSILON))).square().mean()


def _binary(p: Tensor, y: Tensor) -> Tensor:
    p = p.clamp(EPSILON, 1 - EPSILON)
    return -(y * (p + EPSILON).log() + (1 - y) * (1 - p + EPSILON).log()).mean()


def _checked(name: str, function: Loss) -> Loss:
    def value(output: Tensor, truth: Tensor) -> Tensor:
        if output.shape != truth.shape:
            raise InputError("loss", f"the output is {tuple(output.shape)}, the truth {tuple(truth.shape)}")
        dtype = torch.promote_types(output.dtype, torch.float32)
        return function(output.to(dtype), truth.to(dtype))

    value.__name__ = name
    return value


LOSSES: dict[str, Loss] = {
    "mean_squared_error": F.mse_loss,
    "mean_absolute_error": F.l1_loss,
    "mean_absolute_percentage_error": _percentage,
    "mean_squared_logarithmic_error": _log_squared,
    "log_cosh": lambda p, y: ((p - y) + F.softplus(-2 * (p - y)) - math.log(2)).mean(),
    "huber": F.huber_loss,
    "binary_crossentropy": _binary,
    "ssim_loss": lambda p, y: 1 - ssim(p, y),
    "psnr_loss": lambda p, y: -psnr(p, y),
}
ALIASES = {
    "mse": "mean_squared_error", "mae": "mean_absolute_error", "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error", "bce": "binary_crossentropy", "huber_loss": "huber",
}  # fmt: skip
TRAINING_METRICS = {"ssim": ssim, "psnr": psnr, "nrmse": nrmse, "ssim3d": ssim3d} | LOSSES
LOSSES = {name: _checked(name, function) for name, function in LOSSES.items()}
TRAINING_METRICS = {name: torch.no_grad()(_checked(name, f)) for name, f in TRAINING_METRICS.items()}


def check_sizes(names: list[str], shape: tuple[int, ...]) -> None:
    """InputError where one of the losses and metrics `names` can't be computed on series (axis 1, axis 2, T)."""
    for name in names:
        training_metric(name, "cine")(torch.ones(1, *shape), torch.ones(1, *shape))
