"""Finished images and labels against the truth."""

from lib.metrics.bootstrap import bootstrap_interval, paired_gain
from lib.metrics.reconstruction import (
    CHALLENGE_THRESHOLD,
    DEFINITIONS,
    METRICS,
    WINDOW,
    box_mean,
    challenge_foreground,
    foreground,
    gaussian_mean,
    nmse,
    per_slice,
    psnr,
    ssim,
    ssim3d,
    ssim_foreground,
    ssim_gaussian,
    ssim_map,
)  # fmt: skip
from lib.metrics.segmentation import dice, hausdorff95

__all__ = [
    "CHALLENGE_THRESHOLD", "DEFINITIONS", "METRICS", "WINDOW", "bootstrap_interval", "box_mean", "challenge_foreground",
    "dice", "foreground", "gaussian_mean", "hausdorff95", "nmse", "paired_gain", "per_slice", "psnr", "ssim", "ssim3d",
    "ssim_foreground", "ssim_gaussian", "ssim_map",
]  # fmt: skip
