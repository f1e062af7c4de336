"""fastai's Learner, its optimizers and schedules, and `fit`, which trains in one process or several."""

import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from fastai.basics import Callback, CancelEpochException, OptimWrapper
from fastai.basics import Learner as FastaiLearner
from fastai.callback.all import ParamScheduler, combined_cos
from fastai.torch_core import to_device
from torch import Tensor, nn

from lib import InputError, accelerators, memory, runs
from lib.kspace import center_crop
from lib.models.stages import stages
from lib.parallel import gradients, mesh
from lib.text import one_of
from lib.training import averages, distributed
from lib.training.finite import StopAtNonFinite
from lib.training.showing import Showing

OPTIMIZERS = {name: getattr(torch.optim, name) for name in ("Adam", "AdamW", "RMSprop", "SGD")}


class Learner(Showing, FastaiLearner):
    """fastai's Learner, whose epochs begin at `first_epoch` (set by `Checkpoint` when a run is resumed).

    The network goes to the device of the DataLoaders, or stays where it is if they have none: left to itself, fastai
    would put it on the first GPU that it finds.

    Parameters
    ----------
    dls : DataLoaders of `lib.data`, or fastai's
    model : the network
    *more, **settings : fastai's, such as loss_func, opt_func, metrics
    """

    first_epoch = 0

    def __init__(self, dls: Any, model: nn.Module, *more: Any, **settings: Any):
        if not hasattr(dls, "_device"):
            dls._device = next(model.parameters()).device
        super().__init__(dls, model.to(dls._device), *more, **settings)

    def fit(self, *how_long: Any, **settings: Any) -> None:
        """fastai's; its callbacks leave network and torch as they were, also after an exception, when fastai calls none."""
        try:
            super().fit(*how_long, **settings)
        finally:
            for callback in self.cbs:
                if hasattr(type(callback), "leave"):
                    callback.leave()

    def _do_fit(self):
        for epoch in range(self.first_epoch, self.n_epoch):
            self.epoch = epoch
            self._with_events(self._do_epoch, "epoch", CancelEpochException)

    def _set_device(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A batch on the network's device; out of pinned memory it is copied without waiting."""
        place = next(self.model.parameters()).device
        return to_device(batch, place, non_blocking=accelerators.pins(place))

    def get_preds(self, ds_idx: int = 1, dl: Any = None, **settings: Any) -> tuple[Tensor, ...]:
        """fastai's: outputs and targets of the validation set (0: of training), in one tensor each: items of one size."""
        return super().get_preds(ds_idx, self.dls[ds_idx] if dl is None else dl, **settings)

    def lr_find(self, **settings: Any) -> Any:
        """fastai's: a mock training with a rising learning rate, drawn; the network is left as it was."""
        place = self.path
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fastai reads the weights by numpy's old names
            self.path = Path(folder)  # it keeps them in a file meanwhile
            try:
                return super().lr_find(**settings)
            finally:
                self.path = place

    def summary(self) -> pd.DataFrame:
        """One row per part of the network: what it makes of one item of a batch, and its parameters."""
        batch = self.dls.one_batch()[: self.dls.n_inp]
        return stages(self.model, *(x[:1] for x in batch))

    def export(self, *_: Any, **__: Any) -> None:
        """InputError: a pickled Learner breaks with the next version of anything; it says what is written instead."""
        raise InputError(
            "export",
            "a Learner is not pickled here; runs.save_model(run, name, settings, learn.model) writes safetensors, "
            "which runs.load_model(run) reads, and lib.inference.onnx.serve writes ONNX",
        )


def device(devices: str | int | list = "auto") -> torch.device:
    """Where this process's network is; a GPU becomes torch's current one.

    Of several devices it is the first, and in a process that `fit` has started its own.

    Parameters
    ----------
    devices : "auto" (the GPU if there is one), "cpu", a count, or a list of GPUs' ids or "cpu"

    Raises
    ------
    InputError
        For a GPU that this machine doesn't have.
    """
    if mesh.current().device:
        return mesh.current().device
    if mesh.on_cpu(devices):
        return torch.device("cpu")
    number = devices[0] if isinstance(devices, list) else 0
    if number >= accelerators.count():
        raise InputError("devices", f"GPU {number} asked for, this machine has {accelerators.count()}")
    return accelerators.use(number)


def optimizer(type: str = "Adam", learning_rate: float = 1e-3, **settings: Any) -> Callable[..., OptimWrapper]:
    """One of torch's optimizers for `Learner(opt_func=...)`, with torch's own defaults (fastai's differ).

    Parameters
    ----------
    type : one of OPTIMIZERS
    learning_rate : above 0
    **settings : the optimizer's own

    Raises
    ------
    InputError
        For another type.
    """
    if type not in OPTIMIZERS:
        raise InputError(f"optimizer type {type!r}", *one_of(type, OPTIMIZERS))
    return partial(_wrap, cls=OPTIMIZERS[type], settings=settings, lr=learning_rate)


def _wrap(params, lr, cls, settings):
    return OptimWrapper(
        [p for group in params for p in group] if isinstance(params[0], list) else params, cls, lr=lr, **settings
    )


def schedule(
    type: str = "constant", learning_rate: float = 1e-3, epochs: int = 1, *, step_size: int = 40, gamma: float = 0.1,
    staircase: bool = True, pct_start: float = 0.25, div: float = 25.0, div_final: float = 1e5,
) -> ParamScheduler:  # fmt: skip
    """The learning rate over training, as a callback for `fit`; momentum is left alone.

    Parameters
    ----------
    type : "constant", "step", "exponential", or "one_cycle"
        one_cycle: a cosine from learning_rate / div up to learning_rate, then down to learning_rate / div_final.
    learning_rate : at the start, of one_cycle the highest
    epochs : of the whole training
    step_size : step: epochs after which the rate is multiplied by gamma
    gamma : step and exponential: factor, of exponential per epoch
    staircase : exponential: after each epoch; False: a little after every step
    pct_start : one_cycle: share of training in which the rate rises
    div, div_final : one_cycle: factors below learning_rate at the start and the end

    Raises
    ------
    InputError
        For another type.

    References
    ----------
    Smith, arXiv 1803.09820.
    """

    def epoch(position: float) -> int:
        return int(position * epochs + 1e-6)

    shapes = {
        "constant": lambda position: learning_rate,
        "step": lambda position: learning_rate * gamma ** (epoch(position) // step_size),
        "exponential": lambda position: learning_rate * gamma ** (epoch(position) if staircase else position * epochs),
        "one_cycle": combined_cos(pct_start, learning_rate / div, learning_rate, learning_rate / div_final),
    }
    if type not in shapes:
        raise InputError(f"scheduler type {type!r}", *one_of(type, shapes))
    return ParamScheduler({"lr": shapes[type]})


def fit(run: runs.Run, learn: Learner, epochs: int, callbacks: list[Callback]) -> None:
    """`learn.fit` without fastai's bars; with several `devices`, in a process on each.

    Such a process runs the notebook's cells up to here (`lib.training.distributed`) and this notebook gets its
    weights. Writes into the manifest which precision and speedups really ran and the peak of memory (of the first process).
    InputError at the first loss that isn't finite.

    Parameters
    ----------
    run : whose parameters name the devices and the seed
    learn : the Learner
    epochs : in all, those before a resume included
    callbacks : among them a `Precision`
    """
    devices, place = run.parameters.get("devices", "auto"), mesh.current()
    if mesh.count(devices) > place.world:
        accelerators.empty_cache()
        distributed.launch(run.path, devices)
        saved = torch.load(run / "checkpoints" / "last.pt", map_location="cpu", weights_only=True)
        learn.model.load_state_dict(saved["model"])
        return
    callbacks = [*callbacks, StopAtNonFinite(str(run.parameters.get("loss") or "")), averages.LossesToCPU()]
    if place.world > 1:
        if not place.rank:
            sys.stdout = sys.__stdout__
        callbacks = [*callbacks, AverageGradients()]
        gradients.distribute(learn.model)
        torch.manual_seed(run.parameters.get("seed", 0) + place.data_rank)  # for dropout; the weights are drawn
    peak = memory.Peak(device(devices))
    with averages.on_device(learn), learn.no_bar(), learn.no_logging():
        learn.fit(epochs, cbs=callbacks)
    if learn.precision.ran:  # None where a resumed run had nothing left to do
        run.record(precision_ran=learn.precision.ran, peak_bytes_of_training=peak.bytes(), processes=place.world)
        if hasattr(learn, "speedups"):
            run.record(speedups_ran=learn.speedups.ran)
    if place.world > 1:
        raise distributed.Trained


class AverageGradients(Callback):
    """Averages gradients over the processes that train together, before they are unscaled, clipped and used."""

    order = 5

    def before_step(self):
        gradients.average_gradients(self.model)


class CropToTarget(Callback):
    """Crops the output to the target's size (scanners encode more than they show), as fastMRI does."""

    def after_pred(self):
        if not self.yb or self.pred.shape[-2:] == self.yb[0].shape[-2:]:
            return
        made, wanted = (tuple(x.shape[-2:]) for x in (self.pred, self.yb[0]))
        if any(m < w for m, w in zip(made, wanted, strict=True)):
            hint = "readout_crop may be at fault" if getattr(self.model, "readout_crop", 0) else ""
            raise InputError("the network", f"images of {made}", f"at least the targets' {wanted}", hint)
        self.learn.pred = center_crop(self.pred, wanted)


class SetSamplerEpoch(Callback):
    """Tells the training sampler which epoch it is, so that order and masks depend on (seed, epoch) alone."""

    order = -1

    def before_epoch(self):
        self.dls.train.batch_sampler.epoch = self.epoch


class Penalty(Callback):
    """Adds `penalty(model)` to what training minimizes; the losses that are shown stay without it."""

    def __init__(self, penalty: Callable[[nn.Module], Tensor | float]):
        self.penalty = penalty

    def after_loss(self):
        if self.training:
            self.learn.loss_grad = self.loss_grad + self.penalty(self.model)
