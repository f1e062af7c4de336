"""What fastai's Learner needs here: optimizers, schedules, precision, history and checkpoints that resume exactly."""

import json
import random
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.basics import (
    AvgLoss,
    AvgMetric,
    Callback,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    OptimWrapper,
)  # fmt: skip
from fastai.basics import Learner as FastaiLearner
from fastai.callback.all import ParamScheduler, combined_cos
from torch import Tensor, nn

from lib import InputError, memory, runs
from lib.files import replacing, write
from lib.kspace import center_crop
from lib.parallel import ddp, mesh

OPTIMIZERS = {name: getattr(torch.optim, name) for name in ("Adam", "AdamW", "RMSprop", "SGD")}


class Learner(FastaiLearner):
    """fastai's Learner, whose epochs begin at `first_epoch` (set by `Checkpoint` when a run is resumed)."""

    first_epoch = 0

    def _do_fit(self):
        for epoch in range(self.first_epoch, self.n_epoch):
            self.epoch = epoch
            self._with_events(self._do_epoch, "epoch", CancelEpochException)


def device(devices: str | int | list = "auto") -> torch.device:
    """Where this process's network is: `auto` (the GPU if there is one), `cpu`, a count or a list of GPUs' ids or "cpu".

    Of several devices it is the first, and in a process that `fit` has started its own.
    """
    if mesh.current().device:
        return mesh.current().device
    if mesh.on_cpu(devices):
        return torch.device("cpu")
    number = devices[0] if isinstance(devices, list) else 0
    if number >= torch.cuda.device_count():
        raise InputError(f"devices: GPU {number} asked for, this machine has {torch.cuda.device_count()}")
    return torch.device("cuda", number)


def optimizer(type: str = "Adam", learning_rate: float = 1e-3, **settings: Any) -> Callable[..., OptimWrapper]:
    """One of torch's optimizers for `Learner(opt_func=...)`, with torch's own defaults (fastai's differ)."""
    if type not in OPTIMIZERS:
        raise InputError(f"optimizer type: {type!r}, expected one of {', '.join(OPTIMIZERS)}")
    return partial(_wrap, cls=OPTIMIZERS[type], settings=settings, lr=learning_rate)


def _wrap(params, lr, cls, settings):
    return OptimWrapper(
        [p for group in params for p in group] if isinstance(params[0], list) else params, cls, lr=lr, **settings
    )


def schedule(
    type: str = "constant", learning_rate: float = 1e-3, epochs: int = 1, *, step_size: int = 40, gamma: float = 0.1,
    staircase: bool = True, pct_start: float = 0.25, div: float = 25.0, div_final: float = 1e5,
) -> ParamScheduler:  # fmt: skip
    """The learning rate over training, as a callback for `fit`.

    constant · step (× gamma every step_size epochs) · exponential (× gamma every epoch, or, not `staircase`, a little every
    step) · one_cycle (cosine from learning_rate / div up to learning_rate in the first pct_start, then down to
    learning_rate / div_final; Smith 2018). Momentum is left alone.
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
        raise InputError(f"scheduler type: {type!r}, expected one of {', '.join(shapes)}")
    return ParamScheduler({"lr": shapes[type]})


def fit(run: runs.Run, learn: Learner, epochs: int, callbacks: list[Callback]) -> None:
    """`learn.fit(epochs, cbs=callbacks)`, without fastai's bars; with several `devices`, in a process on each.

    Such a process runs the notebook's cells up to here (`lib.parallel.ddp`) and this notebook gets its weights. Writes
    into the manifest which precision really ran and the peak of memory (of the first process).
    """
    devices, place = run.parameters.get("devices", "auto"), mesh.current()
    if mesh.count(devices) > place.world:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        ddp.launch(run.path, devices)
        saved = torch.load(run / "checkpoints" / "last.pt", map_location=device(devices), weights_only=True)
        learn.model.load_state_dict(saved["model"])
        return
    if place.world > 1:
        if not place.rank:
            sys.stdout = sys.__stdout__
        callbacks = [*callbacks, Together()]
        learn.recorder.loss, learn.metrics = _Loss(), [_Metric(m.func) for m in learn.metrics]
        ddp.distribute(learn.model)
        torch.manual_seed(run.parameters.get("seed", 0) + place.share)  # for dropout; the weights are drawn
    peak = memory.Peak(device(devices))
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, cbs=callbacks)
    if learn.precision.ran:  # None where a resumed run had nothing left to do
        run.record(precision_ran=learn.precision.ran, peak_bytes_of_training=peak.bytes(), processes=place.world)
    if place.world > 1:
        raise ddp.Trained


class Together(Callback):
    """Averages gradients over the processes that train together, before they are unscaled, clipped and used."""

    order = 5

    def before_step(self):
        ddp.average_gradients(self.model)


def _items(learn: Learner) -> int:
    """How many items the batch has in all processes."""
    return learn.dl.batch_sampler.lengths[learn.iter] if mesh.current().world > 1 else len(learn.yb[0])


class _Loss(AvgLoss):
    """Weighs a batch by all its items: a process may have a share of it, or all where it couldn't be shared."""

    def accumulate(self, learn):
        n = _items(learn)
        self.total, self.count = self.total + learn.to_detach(learn.loss.mean()) * n, self.count + n


class _Metric(AvgMetric):
    """Likewise."""

    def accumulate(self, learn):
        n = _items(learn)
        self.total, self.count = self.total + learn.to_detach(self.func(learn.pred, *learn.yb)) * n, self.count + n


class FitToTarget(Callback):
    """Crops the output to the target's size (scanners encode more than they show), as fastMRI does."""

    def after_pred(self):
        if self.yb and self.pred.shape[-2:] != self.yb[0].shape[-2:]:
            self.learn.pred = center_crop(self.pred, tuple(self.yb[0].shape[-2:]))


class EpochOrder(Callback):
    """Tells the training sampler which epoch it is, so that order and masks depend on (seed, epoch) alone."""

    order = -1

    def before_epoch(self):
        self.dls.train.batch_sampler.epoch = self.epoch


class Precision(Callback):
    """Runs the network under autocast in `bf16` or `fp16` (loss scaled), or not at all (`fp32`).

    fastai's own callback knows CUDA only; this one follows the model's device. Losses get float32. `ran` is the type
    in which the first convolution really computed. fp16 on a CPU is refused. There, bf16 convolutions of fewer
    planes (D) than their kernel has run in float32: their weights' gradient holds memory that was never written (torch 2.15).
    """

    order = 10

    def __init__(self, precision: str = "fp32"):
        self.precision, self.ran = precision, None
        self.dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

    def before_fit(self):
        self.kind = next(self.model.parameters()).device.type
        if self.precision == "fp16" and self.kind == "cpu":
            raise InputError("precision: fp16 needs a GPU, this run is on a CPU: use fp32 or bf16")
        self.scaler = torch.amp.GradScaler(self.kind, enabled=self.precision == "fp16")
        self.autocast = torch.autocast(self.kind, self.dtype, enabled=self.dtype is not None)
        first = next(m for m in self.model.modules() if isinstance(m, nn.modules.conv._ConvNd))
        self.hook = first.register_forward_hook(self._note)
        if self.kind == "cpu" and self.dtype:
            for conv in (m for m in self.model.modules() if isinstance(m, nn.Conv3d)):
                conv.forward = partial(_convolve, conv)

    def _note(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.ran = str(output.dtype).removeprefix("torch.")
        self.hook.remove()

    def before_batch(self):
        self.autocast.__enter__()

    def after_pred(self):
        self.autocast.__exit__(None, None, None)
        self.learn.pred = self.pred.float()

    def before_backward(self):
        self.learn.loss_grad = self.scaler.scale(self.loss_grad)

    def before_step(self):
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.opt.opt)

    def after_fit(self):
        self.hook.remove()
        for conv in (m for m in self.model.modules() if isinstance(m, nn.Conv3d)):
            vars(conv).pop("forward", None)

    def state(self) -> dict[str, Any]:
        return self.scaler.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        self.scaler.load_state_dict(state)


def _convolve(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """The convolution, without autocast where x has fewer planes than the kernel."""
    thin = x.shape[2] < conv.kernel_size[0]
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.is_autocast_enabled("cpu") and not thin):
        return type(conv).forward(conv, x.float() if thin else x)


class Step(Callback):
    """Clips the gradient's norm to `clip` (none: no clipping), and lets the fp16 scaler skip steps that overflowed."""

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


class Penalty(Callback):
    """Adds `penalty(model)` to what training minimises; the losses that are shown stay without it."""

    def __init__(self, penalty: Callable[[nn.Module], Tensor | float]):
        self.penalty = penalty

    def after_loss(self):
        if self.training:
            self.learn.loss_grad = self.loss_grad + self.penalty(self.model)


class History(Callback):
    """One line an epoch (losses, metrics, learning rate, time left), history.csv and TensorBoard's event files.

    With `learn.recorder.train_metrics` metrics of the training batches stand there too, as train_<name>. Between epochs a line tells the step at least every `beat` seconds.
    """

    order = 60

    def __init__(self, run: Path, beat: float = 5.0, tensorboard: bool = True):
        self.run, self.beat, self.tensorboard, self.rows = Path(run), beat, tensorboard, []

    def before_fit(self):
        self.begun, self.writer = time.monotonic(), None

    def before_epoch(self):
        if self.tensorboard and not self.writer and not mesh.current().rank:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.run / "logs"), purge_step=self.epoch or None)
        self.epoch_begun = self.told = time.monotonic()
        self.total, self.count = 0.0, 0

    def after_batch(self):
        now = time.monotonic()
        if self.training:
            self.total += float(self.loss.detach()) * _items(self.learn)
            self.count += _items(self.learn)
        if now - self.told > self.beat:
            self.told = now
            stage = f"loss {self.total / self.count:.4f}" if self.training else "validating"
            print(f"  epoch {self.epoch + 1}/{self.n_epoch} · step {self.iter + 1}/{self.n_iter} · {stage}", flush=True)

    def after_epoch(self):
        now = time.monotonic()
        self.total, self.count = mesh.total(
            torch.tensor([self.total, self.count], dtype=torch.float64, device=mesh.current().device)
        ).tolist()
        valid, *metrics = self.recorder.final_record[-(1 + len(self.metrics)) :]
        row = {"epoch": self.epoch, "train_loss": self.total / self.count, "valid_loss": float(valid)}
        row |= {m.name: float(v) for m, v in zip(self.metrics, metrics, strict=True)}
        if self.recorder.train_metrics:  # of the training batches too
            mine = self.recorder.final_record[1 : 1 + len(self.metrics)]
            row |= {f"train_{m.name}": float(v) for m, v in zip(self.metrics, mine, strict=True)}
        row |= {"learning_rate": float(self.opt.hypers[-1]["lr"]), "seconds": round(now - self.epoch_begun, 3)}
        self.rows.append(row)
        self._write(row)
        left = (now - self.begun) / (self.epoch + 1 - self.learn.first_epoch) * (self.n_epoch - self.epoch - 1)
        numbers = " · ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in ("epoch", "seconds"))
        print(
            f"epoch {self.epoch + 1}/{self.n_epoch} · {numbers} · {row['seconds']:.0f} s · {left:.0f} s left",
            flush=True,
        )

    def _write(self, row: dict[str, float]) -> None:
        if mesh.current().rank:
            return
        lines = [",".join(row), *(",".join(repr(v) for v in r.values()) for r in self.rows)]
        write(self.run / "history.csv", "\n".join(lines) + "\n")
        if self.writer:
            for key, value in row.items():
                if key != "epoch":
                    self.writer.add_scalar(key, value, row["epoch"])
            self.writer.flush()

    def after_fit(self):
        if self.writer:
            self.writer.close()

    def state(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]


class EarlyStopping(Callback):
    """Stops when `monitor` (a metric, or a loss) has not improved by `min_delta` for `patience` epochs.

    mode: `max` if it should rise, `min` if it should fall; None: metrics named in `rising` rise, everything else falls.
    InputError before training for an unknown monitor.
    """

    order, rising = 65, ("ssim", "psnr", "ssim3d", "dice", "accuracy", "generalized_dice", "jaccard", "tversky")

    def __init__(self, monitor: str = "valid_loss", patience: int = 2, min_delta: float = 0.0, mode: str | None = None):
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
        self.best, self.waited = None, 0

    def before_fit(self):
        names = {_plain(name): name for name in ("train_loss", "valid_loss", *(m.name for m in self.metrics))}
        if _plain(self.monitor) not in names:
            raise InputError(f"early_stopping monitor: {self.monitor!r}, expected one of {', '.join(names.values())}")
        self.column = names[_plain(self.monitor)]
        self.rises = self.mode == "max" if self.mode else _plain(self.column) in self.rising

    def after_epoch(self):
        value = self.history.rows[-1][self.column]
        value = value if self.rises else -value
        if self.best is None or value > self.best + self.min_delta:
            self.best, self.waited = value, 0
        else:
            self.waited += 1

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]


def _plain(metric: str) -> str:
    return metric.lower().removesuffix("_slices")


class Checkpoint(Callback):
    """Saves everything that training continues from, after every `interval` epochs and the last, and restores it.

    run/checkpoints/last.pt holds model, optimizer, the epoch, every process's random states and the state of every
    callback that has one, as tensors and plain values only. `before_fit` continues from it if it is there: the weights at the end equal
    those of a run that was never stopped. The schedule follows from the epoch.
    """

    order = 70

    def __init__(self, run: Path, interval: int = 1):
        self.path, self.interval = Path(run) / "checkpoints" / "last.pt", interval

    def before_fit(self):
        if not self.path.exists():
            return
        saved = torch.load(self.path, map_location=next(self.model.parameters()).device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.opt.load_state_dict(saved["optimizer"])
        for cb in self._with_state():
            cb.load_state(saved["callbacks"][cb.name])
        states = saved["random"] if isinstance(saved["random"], list) else [saved["random"]]  # one: an older checkpoint
        if mesh.current().rank < len(states):
            _set_random_state(states[mesh.current().rank])
        self.learn.first_epoch = saved["epoch"] + 1
        print(f"continuing after epoch {saved['epoch'] + 1} of {self.n_epoch}", flush=True)

    def after_epoch(self):
        stop = getattr(self.learn, "early_stopping", None)
        stopping = bool(stop) and stop.waited >= stop.patience
        if (self.epoch + 1) % self.interval == 0 or self.epoch + 1 == self.n_epoch or stopping:
            self._save(self.n_epoch if stopping else self.epoch)
        if stopping:
            print(f"stopping early: {stop.monitor} has not improved for {stop.waited} epochs", flush=True)
            raise CancelFitException

    def _save(self, epoch: int) -> None:
        state = {
            "model": self.model.state_dict(), "optimizer": self.opt.state_dict(), "epoch": epoch,
            "random": ddp.gathered(_random_state()), "callbacks": {cb.name: cb.state() for cb in self._with_state()},
        }  # fmt: skip
        if not mesh.current().rank:
            with replacing(self.path) as partial:
                torch.save(state, partial)

    def _with_state(self) -> Iterable[Callback]:
        return [cb for cb in self.learn.cbs if hasattr(type(cb), "load_state")]


def _random_state() -> dict[str, Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    state = {
        "torch": torch.get_rng_state(), "python": json.dumps([version, internal, gauss]),
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
    }  # fmt: skip
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    version, internal, gauss = json.loads(state["python"])
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
