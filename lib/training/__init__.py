"""What fastai's Learner needs here: optimizers, schedules, precision, history and checkpoints that resume exactly."""

from lib.training.checkpoint import Checkpoint
from lib.training.history import EarlyStopping, History
from lib.training.learner import CropToTarget, Learner, Penalty, SetSamplerEpoch, device, fit, optimizer, schedule
from lib.training.precision import GradientClip, Precision

__all__ = [
    "Checkpoint", "EarlyStopping", "SetSamplerEpoch", "CropToTarget", "History", "Learner", "Penalty", "GradientClip", "Precision", "device",
    "fit", "optimizer", "schedule",
]  # fmt: skip
