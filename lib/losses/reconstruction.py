"""Training losses and the metrics shown while training; all are called `(output, *targets)` as a batch gives them.

Targets are `target, max` (the "kspace" and "cascade" batches), `target, max, mean, std` (the "image" batch, whose
network works on normalized images) or `target` alone. output: (N, H, W) or (N, 1, H, W), target: (N, H, W) in the
data's units, max, mean and std: (N,), max the maximum of the slice's file.
"""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor, nn

from lib import InputError, metrics
from lib.metrics.similarity import SAMPLE_COVARIANCE

CLAMP = 6.0  # fastMRI cuts normalized images off at so many standard deviations
EPSILON = 1e-11  # and adds this to them, in the data's units
FLOOR = 1e-6


def unnormalize(output: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalized output (N, …) in the data's units, by each slice's mean and std (N,); float32 at least."""
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    return output * _along(std, output) + _along(mean, output)


class SSIMLoss(nn.Module):
    """1 − `metrics.ssim` with data range `max`: uniform 7×7, sample covariance, mean over slices; in float32.

    An "image" batch's output is un-normalized first.

    References
    ----------
    Wang et al., IEEE TIP 2004, equation 13; Sriram et al., MICCAI 2020 (E2E-VarNet).
    """

    def forward(
        self, output: Tensor, target: Tensor, max: Tensor, mean: Tensor | None = None, std: Tensor | None = None
    ) -> Tensor:
        output, target = _data_units(output, target, mean, std)
        if min(output.shape[-2:]) < metrics.SSIM_WINDOW:
            raise InputError("ssim loss", f"images of {tuple(output.shape[-2:])} are smaller than the 7×7 window")
        return 1 - metrics.ssim_map(output, target, _along(max, output), metrics.box_mean, SAMPLE_COVARIANCE).mean()


class L1Loss(nn.Module):
    """Mean absolute error, in numbers around 1 whatever the data's units.

    "image" batch: between the normalized output and the target normalized by the same mean and std and cut off at ±6,
    as fastMRI trains its U-Net. With `max` alone: as a fraction of it. With neither: as it is.
    """

    def forward(self, output: Tensor, *targets: Tensor) -> Tensor:
        output, target = _network_units(output, *targets)
        return (output - target).abs().mean()


class MSELoss(nn.Module):
    """Mean squared error, in the same units as `L1Loss`."""

    def forward(self, output: Tensor, *targets: Tensor) -> Tensor:
        output, target = _network_units(output, *targets)
        return (output - target).square().mean()


class SSIML1Loss(nn.Module):
    """SSIMLoss + 5 · L1Loss, about the same size each: SSIM alone leaves the brightness free.

    References
    ----------
    Zhao et al., IEEE TCI 2017.
    """

    def forward(self, output: Tensor, *targets: Tensor) -> Tensor:
        return SSIMLoss()(output, *targets) + 5 * L1Loss()(output, *targets)


class LogErrorLoss(nn.Module):
    """Mean over slices of log10(1 − SSIM) + log10(MSE / max²), SSIM as in SSIMLoss.

    A tenth of either error is 1 less, however small it is: a nearly perfect slice counts as much as a poor one. The
    second part is −PSNR / 10 dB. Errors below FLOOR (of the root mean square error, too) count as FLOOR.
    """

    def forward(
        self, output: Tensor, target: Tensor, max: Tensor, mean: Tensor | None = None, std: Tensor | None = None
    ) -> Tensor:
        output, target = _data_units(output, target, mean, std)
        scale = _along(max, output)
        ssim = metrics.ssim_map(output, target, scale, metrics.box_mean, SAMPLE_COVARIANCE).flatten(1).mean(1)
        error = ((output - target) / scale).square().flatten(1).mean(1)
        return ((1 - ssim).clamp_min(FLOOR).log10() + error.clamp_min(FLOOR**2).log10()).mean()


class SSIMForegroundLoss(nn.Module):
    """1 − SSIM of output · m and target · m, m the SNU challenge's foreground of the target (`challenge_foreground`).

    SSIM as in SSIMLoss, the zeroed background included, where both agree.

    Parameters
    ----------
    foreground_threshold : in the data's units; the challenge's is fastMRI's 5e-5
    """

    def __init__(self, foreground_threshold: float = metrics.CHALLENGE_THRESHOLD):
        super().__init__()
        self.threshold = foreground_threshold

    def forward(
        self, output: Tensor, target: Tensor, max: Tensor, mean: Tensor | None = None, std: Tensor | None = None
    ) -> Tensor:
        output, target = _data_units(output, target, mean, std)
        mask = metrics.challenge_foreground(target, self.threshold)
        return SSIMLoss()(output * mask, target * mask, max)


LOSSES: dict[str, type[nn.Module]] = {
    "ssim": SSIMLoss, "l1": L1Loss, "mse": MSELoss, "ssim_l1": SSIML1Loss, "ssim_foreground": SSIMForegroundLoss,
    "log_error": LogErrorLoss,
}  # fmt: skip


def _metric(value: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Of a function of (output, target, max) in the data's units: the metric that is called as a loss is."""

    @wraps(value)
    @torch.no_grad()
    def metric(
        output: Tensor, target: Tensor, max: Tensor, mean: Tensor | None = None, std: Tensor | None = None
    ) -> Tensor:
        return value(*_data_units(output, target, mean, std), max)

    return metric


@_metric
def ssim_slices(output: Tensor, target: Tensor, max: Tensor) -> Tensor:
    """Mean SSIM over the batch's slices, data range `max`: averaged over a set it is fastMRI's SSIM over slices."""
    return 1 - SSIMLoss()(output, target, max)


@_metric
def psnr_slices(output: Tensor, target: Tensor, max: Tensor) -> Tensor:
    """Mean over slices of each slice's own PSNR with data range `max`, in dB, 138 at most; not the volume's PSNR."""
    error = ((output - target) / _along(max, output)).square().flatten(1).mean(1)
    return -10 * error.clamp_min(torch.finfo(torch.float32).eps ** 2).log10().mean()


@_metric
def nmse_slices(output: Tensor, target: Tensor, max: Tensor) -> Tensor:
    """Mean over slices of each slice's own ‖output − target‖² / ‖target‖²; 0 where the target is all zero.

    Not the volume's NMSE: there bright slices weigh more. `max` only keeps the squares in float32's range.
    """
    scale = _along(max, output)
    error = ((output - target) / scale).square().flatten(1).sum(1)
    energy = (target / scale).square().flatten(1).sum(1)
    return torch.where(energy > 0, error / energy, 0).mean()


def by_slice(name: str) -> Callable[..., Tensor]:
    """The metric `name` of `lib.metrics.METRICS` as a mean over slices, data range `max`, if it has no faster form here."""

    def metric(output: Tensor, target: Tensor, max: Tensor) -> Tensor:
        values = [float(metrics.METRICS[name](o, t, float(m))) for o, t, m in zip(output, target, max, strict=True)]
        return output.new_tensor(values).mean()

    metric.__name__ = f"{name}_slices"
    return _metric(metric)


TRAINING_METRICS: dict[str, Callable[..., Tensor]] = {"ssim": ssim_slices, "psnr": psnr_slices, "nmse": nmse_slices}


def _along(values: Tensor, like: Tensor) -> Tensor:
    """(N,) as (N, 1, …), to be broadcast against (N, …)."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def _pair(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 at least, without the output's channel: SSIM of 1e-4-sized data is NaN in half precision."""
    if output.ndim == target.ndim + 1 and output.shape[1] == 1:
        output = output.squeeze(1)
    if output.shape != target.shape:
        raise InputError("loss", f"the output is {tuple(output.shape)}, the target {tuple(target.shape)}")
    dtype = torch.promote_types(output.dtype, torch.float32)
    return output.to(dtype), target.to(dtype)


def _data_units(output: Tensor, target: Tensor, mean: Tensor | None, std: Tensor | None) -> tuple[Tensor, Tensor]:
    output, target = _pair(output, target)
    return (output if mean is None else unnormalize(output, mean, std)), target


def _network_units(
    output: Tensor, target: Tensor, max: Tensor | None = None, mean: Tensor | None = None, std: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    output, target = _pair(output, target)
    if mean is not None:
        return output, ((target - _along(mean, target)) / (_along(std, target) + EPSILON)).clamp(-CLAMP, CLAMP)
    if max is not None:
        return output / _along(max, output), target / _along(max, target)
    return output, target
