"""What training minimizes, and the metrics shown while it does."""

from lib.losses.reconstruction import (
    LOSSES,
    TRAINING_METRICS,
    L1Loss,
    MSELoss,
    SSIMLoss,
    by_name,
    lookup,
    nmse_slices,
    psnr_slices,
    ssim_slices,
    training_metric,
    unnormalise,
)  # fmt: skip

__all__ = [
    "LOSSES", "TRAINING_METRICS", "L1Loss", "MSELoss", "SSIMLoss", "by_name", "lookup", "nmse_slices", "psnr_slices",
    "ssim_slices", "training_metric", "unnormalise",
]  # fmt: skip
