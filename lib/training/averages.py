"""fastai's averages of losses and metrics, kept where the network is: a GPU's numbers are waited for at an epoch's end alone.

The same sums in the same order as fastai's; where several processes train, a batch counts by all its items.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fastai.basics import AvgLoss, AvgMetric, Callback, Learner
from fastai.learner import AvgSmoothLoss

from lib.parallel import mesh


def items(learn: Learner) -> int:
    """How many items the batch has in all processes."""
    return learn.dl.batch_sampler.lengths[learn.iter] if mesh.current().world > 1 else len(learn.yb[0])


class _SmoothLoss(AvgSmoothLoss):
    def accumulate(self, learn):
        loss = learn.to_detach(learn.loss.mean(), cpu=False)
        self.count, self.val = self.count + 1, torch.lerp(loss, self.val.to(loss), self.beta)


class _Loss(AvgLoss):
    def accumulate(self, learn):
        n = items(learn)
        self.total, self.count = self.total + learn.to_detach(learn.loss.mean(), cpu=False) * n, self.count + n


class _Metric(AvgMetric):
    def accumulate(self, learn):
        n = items(learn)
        value = learn.to_detach(self.func(learn.pred, *learn.yb), cpu=False)
        self.total, self.count = self.total + value * n, self.count + n


class LossesToCPU(Callback):
    """Takes the recorded losses of each epoch from the device, where each holds a block of memory."""

    order = 55  # behind the Recorder

    def before_fit(self):
        self.done = 0

    def after_train(self):
        losses: list[Any] = self.recorder.losses
        if new := losses[self.done :]:
            losses[self.done :] = torch.stack(new).cpu().unbind()
        self.done = len(losses)


@contextmanager
def on_device(learn: Learner) -> Iterator[None]:
    """Within, a Learner's losses and metrics are added up on its device."""
    recorder, metrics = vars(learn.recorder), learn.metrics  # by attribute fastai would warn of names that both have
    before = {name: recorder[name] for name in ("loss", "smooth_loss")}
    recorder.update({"loss": _Loss(), "smooth_loss": _SmoothLoss(beta=learn.recorder.smooth_loss.beta)})
    learn.metrics = [_Metric(m.func) if type(m) is AvgMetric else m for m in learn.metrics]
    try:
        yield
    finally:
        recorder.update(before)
        learn.metrics = metrics
