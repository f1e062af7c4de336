"""What fastai's Learner needs here: optimizers, schedules, precision, history and checkpoints that resume exactly."""

from lib.training.checkpoint import Checkpoint
from lib.training.history import EarlyStopping, History
from lib.training.learner import EpochOrder, FitToTarget, Learner, Penalty, device, fit, optimizer, schedule
from lib.training.precision import Precision, Step

__all__ = [
    "Checkpoint", "EarlyStopping", "EpochOrder", "FitToTarget", "History", "Learner", "Penalty", "Precision", "Step", "device",
    "fit", "optimizer", "schedule",
]  # fmt: skip
