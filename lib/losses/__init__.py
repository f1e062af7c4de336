"""What training minimizes, and the metrics shown while it does."""

from lib.losses.reconstruction import (
    LOSSES,
    TRAINING_METRICS,
    L1Loss,
    MSELoss,
    SSIMLoss,
    nmse_slices,
    psnr_slices,
    ssim_slices,
    unnormalize,
)
from lib.losses.registry import by_name, rises, training_metric

__all__ = [
    "L1Loss", "LOSSES", "MSELoss", "SSIMLoss", "TRAINING_METRICS", "by_name", "nmse_slices", "psnr_slices", "rises",
    "ssim_slices", "training_metric", "unnormalize",
]  # fmt: skip
