"""What fastai's Learner needs here: optimizers, schedules, precision, history and checkpoints that resume exactly."""

from lib.training.checkpoint import Checkpoint
from lib.training.history import EarlyStopping, History
from lib.training.learner import CropToTarget, Learner, Penalty, SetSamplerEpoch, device, fit, optimizer, schedule
from lib.training.precision import GradientClip, Precision
from lib.training.speedups import Speedups

__all__ = [
    "Checkpoint", "CropToTarget", "EarlyStopping", "GradientClip", "History", "Learner", "Penalty", "Precision",
    "SetSamplerEpoch", "Speedups", "device", "fit", "optimizer", "schedule",
]  # fmt: skip
