"""Finished images and labels against the truth."""

from lib.metrics.bootstrap import bootstrap_interval, paired_gain
from lib.metrics.reconstruction import (
    CHALLENGE_THRESHOLD,
    challenge_foreground,
    foreground,
    nmse,
    nrmse,
    per_slice,
    psnr,
    ssim,
    ssim3d,
    ssim_foreground,
    ssim_gaussian,
)
from lib.metrics.registry import METRICS, Metric, definitions, lower_is_better, scored, standard
from lib.metrics.segmentation import dice, hausdorff95
from lib.metrics.similarity import SSIM_WINDOW, box_mean, gaussian_mean, ssim_map

__all__ = [
    "CHALLENGE_THRESHOLD", "METRICS", "Metric", "SSIM_WINDOW", "bootstrap_interval", "box_mean", "challenge_foreground",
    "definitions", "dice", "foreground", "gaussian_mean", "hausdorff95", "lower_is_better", "nmse", "nrmse",
    "paired_gain", "per_slice", "psnr", "scored", "ssim", "ssim3d", "ssim_foreground", "ssim_gaussian", "ssim_map",
    "standard",
]  # fmt: skip
