"""Training ends where it goes wrong: at the first loss that isn't a finite number."""

import math

import torch
from fastai.basics import Callback

from lib import InputError
from lib.text import short

EVERY = 10  # batches


class StopAtNonFinite(Callback):
    """InputError for the first batch, of training or of validation, whose loss isn't finite.

    On a CPU before the optimizer's step; on a GPU, which each look would wait for, one in EVERY batches, and before anything
    of the epoch is kept.

    Parameters
    ----------
    loss : its name, for the message
    """

    order = 50  # behind what adds to the loss, before what keeps it

    def __init__(self, loss: str = ""):
        self.loss_name = loss

    def before_epoch(self):
        self.waiting = []

    def after_loss(self):
        rate = self.opt.hypers[-1]["lr"]
        self.waiting.append((self.iter, rate, self.loss_grad.detach(), self.loss.detach()))
        if self.loss.device.type == "cpu":
            self._look(1)
        elif len(self.waiting) > EVERY:
            self._look(EVERY)  # not at the last one, so that the device has something to do meanwhile

    def after_train(self):
        self._look(len(self.waiting))

    def after_validate(self):
        self._look(len(self.waiting))

    def after_epoch(self):  # of a training that was cancelled, too
        self._look(len(self.waiting))

    def _look(self, count: int) -> None:
        """At the first losses that wait, all at once."""
        looked, self.waiting = self.waiting[:count], self.waiting[count:]
        if not looked:
            return
        losses = torch.stack([loss for _, _, *both in looked for loss in both]).cpu().tolist()
        for (batch, rate, *_), value, shown in zip(looked, losses[::2], losses[1::2], strict=True):
            if not (math.isfinite(value) and math.isfinite(shown)):
                self._refuse(batch, rate, value, shown)

    def _refuse(self, batch: int, rate: float, value: float, shown: float) -> None:
        kind = "training" if self.training else "validation"
        added = ", with its penalty," if math.isfinite(shown) else ""
        raise InputError(
            f"epoch {self.epoch + 1} of {self.n_epoch}, batch {batch + 1} of {self.n_iter}",
            f"the {kind} loss {self.loss_name}".rstrip() + f"{added} is {value if added else shown} at learning rate "
            f"{float(rate):.3g}",
            "a finite number",
            f"{self._last_good()}; a lower learning rate or gradient_clip may help, or a look at the data"
            + ("" if self.loss.device.type == "cpu" else "; this Learner's network may be spoiled: make it anew"),
        )

    def _last_good(self) -> str:
        saved = getattr(self.learn, "checkpoint", None)
        if not saved or not saved.done:
            return "no checkpoint was saved before"
        return f"the last good checkpoint is of epoch {saved.done}, {short(saved.path)}"
