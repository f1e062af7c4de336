"""In which precision a network runs: autocast, the fp16 scaler, and the step that may be skipped."""

from functools import partial
from typing import Any

import torch
from fastai.basics import Callback, CancelStepException
from torch import Tensor, nn

from lib import InputError
from lib.models.blocks import autocast


class Precision(Callback):
    """Runs the network under autocast, or not at all (fp32); losses get float32.

    fastai's own callback knows CUDA only; this one follows the model's device. The attribute `ran` is the type in
    which the first convolution really computed. On a CPU, bf16 convolutions of fewer planes (D) than their kernel has
    run in float32: their weights' gradient holds memory that was never written (torch 2.15).

    Parameters
    ----------
    precision : "fp32", "bf16", or "fp16", whose loss is scaled

    Raises
    ------
    InputError
        Before training, for fp16 on a CPU.
    """

    order = 10

    def __init__(self, precision: str = "fp32"):
        self.precision, self.ran, self.entered = precision, None, False

    def before_fit(self):
        self.kind = next(self.model.parameters()).device.type
        if self.precision == "fp16" and self.kind == "cpu":
            raise InputError("precision", "fp16 needs a GPU, this run is on a CPU: use fp32 or bf16")
        self.scaler = torch.amp.GradScaler(self.kind, enabled=self.precision == "fp16")
        self.autocast = autocast(self.kind, self.precision)
        first = next(m for m in self.model.modules() if isinstance(m, nn.modules.conv._ConvNd))
        self.hook = first.register_forward_hook(self._note)
        if self.kind == "cpu" and self.precision != "fp32":
            for conv in (m for m in self.model.modules() if isinstance(m, nn.Conv3d)):
                conv.forward = partial(_convolve, conv)

    def _note(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.ran = str(output.dtype).removeprefix("torch.")
        self.hook.remove()

    def before_batch(self):
        self.autocast.__enter__()
        self.entered = True

    def after_pred(self):
        self._exit()
        self.learn.pred = self.pred.float()

    def _exit(self) -> None:
        if self.entered:
            self.entered = False
            self.autocast.__exit__(None, None, None)

    def before_backward(self):
        self.learn.loss_grad = self.scaler.scale(self.loss_grad)

    def before_step(self):
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.opt.opt)

    def leave(self) -> None:
        """Leaves the network as it was, also after an exception within the forward pass."""
        self._exit()
        if hasattr(self, "hook"):
            self.hook.remove()
        for conv in (m for m in self.model.modules() if isinstance(m, nn.Conv3d)):
            vars(conv).pop("forward", None)

    after_fit = leave

    def state(self) -> dict[str, Any]:
        return self.scaler.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        self.scaler.load_state_dict(state)


def _convolve(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """The convolution, without autocast where x has fewer planes than the kernel."""
    thin = x.shape[2] < conv.kernel_size[0]
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.is_autocast_enabled("cpu") and not thin):
        return type(conv).forward(conv, x.float() if thin else x)


class GradientClip(Callback):
    """Clips the gradient's norm, and lets the fp16 scaler skip steps that overflowed.

    Parameters
    ----------
    clip : the largest norm; None: no clipping
    """

    order = 20

    def __init__(self, clip: float | None = None):
        self.clip = clip

    def before_step(self):
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        scaler = getattr(self.learn, "precision", None) and self.learn.precision.scaler
        if scaler and scaler.is_enabled():
            scaler.step(self.opt.opt)
            scaler.update()
            raise CancelStepException  # the scaler has made the step
