"""fastai's averages of losses and metrics, kept where the network is: a GPU's numbers are waited for at an epoch's end alone."""

import torch
from fastai.basics import AvgLoss, AvgMetric, Learner
from fastai.learner import AvgSmoothLoss


class _SmoothLoss(AvgSmoothLoss):
    def accumulate(self, learn):
        loss = learn.loss.detach().mean()
        self.count, self.val = self.count + 1, torch.lerp(loss, self.val.to(loss), self.beta)


class _Loss(AvgLoss):
    def accumulate(self, learn):
        n = len(learn.yb[0])
        self.total, self.count = self.total + learn.loss.detach().mean() * n, self.count + n


class _Metric(AvgMetric):
    def accumulate(self, learn):
        n = len(learn.yb[0])
        self.total, self.count = self.total + self.func(learn.pred, *learn.yb).detach() * n, self.count + n


def keep_on_device(learn: Learner) -> None:
    """The same sums as fastai's, in the same order, of a Learner that trains in one process."""
    recorder = learn.recorder
    recorder.loss, recorder.smooth_loss = _Loss(), _SmoothLoss(beta=recorder.smooth_loss.beta)
    learn.metrics = [_Metric(m.func) if type(m) is AvgMetric else m for m in learn.metrics]
