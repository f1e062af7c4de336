"""Training ends where it goes wrong: at the first loss that isn't a finite number."""

import math

from fastai.basics import Callback

from lib import InputError
from lib.text import short


class StopAtNonFinite(Callback):
    """InputError at the first batch, of training or of validation, whose loss isn't finite; before the optimizer's step.

    Parameters
    ----------
    loss : its name, for the message
    """

    order = 50  # behind what adds to the loss

    def __init__(self, loss: str = ""):
        self.loss_name = loss

    def after_loss(self):
        if math.isfinite(float(self.loss_grad.detach() + self.loss.detach())):  # one wait for the GPU
            return
        kind = "training" if self.training else "validation"
        value, shown = float(self.loss_grad.detach()), float(self.loss.detach())
        if math.isfinite(value) and math.isfinite(shown):
            return  # it was their sum
        added = ", with its penalty," if math.isfinite(shown) else ""
        raise InputError(
            f"epoch {self.epoch + 1} of {self.n_epoch}, batch {self.iter + 1} of {self.n_iter}",
            f"the {kind} loss {self.loss_name}".rstrip() + f"{added} is {value if added else shown} at learning rate "
            f"{float(self.opt.hypers[-1]['lr']):.3g}",
            "a finite number",
            f"{self._last_good()}; a lower learning rate or gradient_clip may help, or a look at the data",
        )

    def _last_good(self) -> str:
        saved = getattr(self.learn, "checkpoint", None)
        if not saved or not saved.done:
            return "no checkpoint was saved before"
        return f"the last good checkpoint is of epoch {saved.done}, {short(saved.path)}"
