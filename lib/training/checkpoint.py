"""Checkpoints from which a training goes on as if it had never stopped."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.basics import Callback, CancelFitException

from lib import InputError
from lib.files import replacing
from lib.models.state_dict import fill, read_torch_file
from lib.parallel import gradients, mesh
from lib.text import short

CHECKPOINT_KEYS = {"model", "optimizer", "epoch", "random", "callbacks"}


class Checkpoint(Callback):
    """Saves everything that training continues from, after every `interval` epochs and the last, and restores it.

    run/checkpoints/last.pt holds model, optimizer, the epoch, every process's random states and the state of every
    callback that has one, as tensors and plain values only. `before_fit` continues from it if it is there: the
    weights at the end equal those of a run that was never stopped. The schedule follows from the epoch and from how
    many there are now: of a run that is given more epochs, it goes on where the longer schedule is at this epoch.
    What early stopping ended stays ended, unless it is given more epochs, more patience, or no early stopping: with
    more epochs it waits again.

    Parameters
    ----------
    run : its folder
    interval : epochs from one file to the next
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
            if cb.name in saved["callbacks"]:  # else it is new in the run
                cb.load_state(saved["callbacks"][cb.name])
        states = saved["random"] if isinstance(saved["random"], list) else [saved["random"]]  # one: an older checkpoint
        if mesh.current().rank < len(states):
            _set_random_state(states[mesh.current().rank], self._place)
        done = self.learn.first_epoch = saved["epoch"] + 1
        stop, was_of = self._stop, saved.get("stopped_early_of")
        if stop and was_of and stop.waited >= stop.patience:
            if was_of == self.n_epoch:
                self.learn.first_epoch = self.n_epoch
                print(f"stopped early after epoch {done} of {was_of}: nothing left to do", flush=True)
                return
            stop.waited = 0
        print(f"continuing after epoch {done} of {self.n_epoch}", flush=True)

    def _read(self) -> dict[str, Any]:
        try:
            saved = read_torch_file(self.path)  # on the CPU, where Adam's count of steps belongs
            if not isinstance(saved, dict) or not saved.keys() >= CHECKPOINT_KEYS:
                raise InputError(
                    f"{short(self.path)}", "no checkpoint of a training", ", ".join(sorted(CHECKPOINT_KEYS))
                )
        except InputError as error:
            raise InputError(f"{error}; without the file the training begins anew") from None
        return saved

    def after_epoch(self):
        stop = self._stop
        stopping = bool(stop) and stop.waited >= stop.patience
        if (self.epoch + 1) % self.interval == 0 or self.epoch + 1 == self.n_epoch or stopping:
            self._save(stopping)
        if stopping:
            print(f"stopping early: {stop.monitor} has not improved for {stop.waited} epochs", flush=True)
            raise CancelFitException

    @property
    def _place(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def _stop(self) -> Callback | None:
        return getattr(self.learn, "early_stopping", None)

    def _save(self, stopping: bool) -> None:
        state = {
            "model": self.model.state_dict(), "optimizer": self.opt.state_dict(), "epoch": self.epoch,
            "stopped_early_of": self.n_epoch if stopping else None, "random": gradients.gathered(_random_state(self._place)),
            "callbacks": {cb.name: cb.state() for cb in self._with_state()},
        }  # fmt: skip
        if not mesh.current().rank:
            with replacing(self.path) as partial:
                torch.save(state, partial)

    def _with_state(self) -> Iterable[Callback]:
        return [cb for cb in self.learn.cbs if hasattr(type(cb), "load_state")]


def _random_state(place: torch.device) -> dict[str, Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    state = {
        "torch": torch.get_rng_state(), "python": json.dumps([version, internal, gauss]),
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
    }  # fmt: skip
    if place.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(place)
    return state


def _set_random_state(state: dict[str, Any], place: torch.device) -> None:
    """Puts the states back; the GPU's to the one that trains now, whatever its number was."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = json.loads(state["python"])
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    if "cuda" in state and place.type == "cuda":
        given = state["cuda"]
        if isinstance(given, list):  # an older checkpoint: of all GPUs that were visible
            given = given[min(place.index or 0, len(given) - 1)]
        torch.cuda.set_rng_state(given, place)
