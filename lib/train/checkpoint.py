"""Checkpoints from which a training goes on as if it had never stopped."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.basics import Callback, CancelFitException

from lib import InputError, short
from lib.files import replacing
from lib.models.state import fill, opened
from lib.parallel import ddp, mesh

PARTS = {"model", "optimizer", "epoch", "random", "callbacks"}


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
        saved = self._read()
        fill(self.model, saved["model"], self.path)
        self.opt.load_state_dict(saved["optimizer"])
        for cb in self._with_state():
            cb.load_state(saved["callbacks"][cb.name])
        states = saved["random"] if isinstance(saved["random"], list) else [saved["random"]]  # one: an older checkpoint
        if mesh.current().rank < len(states):
            _set_random_state(states[mesh.current().rank])
        self.learn.first_epoch = saved["epoch"] + 1
        print(f"continuing after epoch {saved['epoch'] + 1} of {self.n_epoch}", flush=True)

    def _read(self) -> dict[str, Any]:
        try:
            saved = opened(self.path, next(self.model.parameters()).device)
            if not isinstance(saved, dict) or not saved.keys() >= PARTS:
                raise InputError(
                    f"{short(self.path)}: no checkpoint of a training, expected {', '.join(sorted(PARTS))}"
                )
        except InputError as error:
            raise InputError(f"{error}; without the file the training begins anew") from None
        return saved

    def after_epoch(self):
        stop = getattr(self.learn, "early_stopping", None)
        stopping = bool(stop) and stop.waited >= stop.patience
        if (self.epoch + 1) % self.interval == 0 or self.epoch + 1 == self.n_epoch or stopping:
            self._save(self.n_epoch - 1 if stopping else self.epoch)
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
