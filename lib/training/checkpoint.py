"""Checkpoints from which a training goes on as if it had never stopped."""

import json
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.basics import Callback, CancelFitException

from lib import InputError, accelerators
from lib.files import checksum, read, replacing, write
from lib.models.state_dict import fill, read_torch_file
from lib.parallel import gradients, mesh
from lib.text import one_line, short

SUMS = "checksums.json"  # of last.pt and former.pt, and of the one that is just being written
CHECKPOINT_KEYS = {"model", "optimizer", "epoch", "random", "callbacks"}


class Checkpoint(Callback):
    """Saves everything that training continues from, after every `interval` epochs and the last, and restores it.

    run/checkpoints/last.pt holds model, optimizer, the epoch, every process's random states and the state of every
    callback that has one, as tensors and plain values only; former.pt is the one before it. `before_fit` continues from
    last.pt if it is there: the weights at the end equal those of a run that was never stopped. If it is damaged or
    another training's, that is said and former.pt is used; if both are, it is an InputError. The schedule follows from
    the epoch and from how many there are now: of a run that is given more epochs, it goes on where the longer schedule
    is at this epoch.
    What early stopping ended stays ended, unless it is given more epochs, more patience, or no early stopping: with
    more epochs it waits again.

    Parameters
    ----------
    run : its folder
    interval : epochs from one file to the next

    Its `done` is the number of epochs behind the file; 0: there is none.
    """

    order = 70

    def __init__(self, run: Path, interval: int = 1):
        self.path, self.interval, self.done = Path(run) / "checkpoints" / "last.pt", interval, 0
        self.former, self.keep = self.path.with_name("former.pt"), True

    def before_fit(self):
        problems = []
        for path in filter(Path.exists, (self.path, self.former)):
            try:
                saved = self._read(path)
                self._restore(path, saved)
            except InputError as problem:
                problems.append(str(problem))
                continue
            if problems:
                self.keep = False  # else the damaged one would become the former one
                print(f"{problems[0]}; in its place {short(path)} of epoch {saved['epoch'] + 1} is used", flush=True)
            return self._go_on(saved)
        if problems:
            raise InputError(
                "; ".join(problems),
                hint=f"put a good copy back, or delete the folder {short(self.path.parent)} to begin anew",
            )

    def _read(self, path: Path) -> dict[str, Any]:
        sums = _sums(path.parent)
        if sums and checksum(path) not in sums:
            raise InputError(short(path), f"damaged: {path.stat().st_size} bytes of another checksum than was written")
        saved = read_torch_file(path)  # on the CPU, where Adam's count of steps belongs
        if not isinstance(saved, dict) or not saved.keys() >= CHECKPOINT_KEYS:
            raise InputError(short(path), "no checkpoint of a training", ", ".join(sorted(CHECKPOINT_KEYS)))
        if type(saved["epoch"]) is not int or not 0 <= saved["epoch"] < self.n_epoch:
            raise InputError(
                short(path), f"epoch {saved['epoch']!r}", f"0 … {self.n_epoch - 1}, as this training has them"
            )
        return saved

    def _restore(self, path: Path, saved: dict[str, Any]) -> None:
        try:
            fill(self.model, saved["model"], path)
            if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
                raise InputError(short(path), "holds weights that are NaN or inf", "finite ones")
            self.opt.load_state_dict(saved["optimizer"])
            self._lay_out_states()
            for cb in self._with_state():
                if cb.name in saved["callbacks"]:  # else it is new in the run
                    cb.load_state(saved["callbacks"][cb.name])
            states = saved["random"] if isinstance(saved["random"], list) else [saved["random"]]  # an older checkpoint
            if mesh.current().rank < len(states):
                _set_random_state(states[mesh.current().rank], self._place)
        except InputError:
            raise
        except Exception as error:  # optimizers, callbacks and generators refuse in their own ways
            raise InputError(short(path), f"doesn't fit this training ({one_line(error)[:120]})") from None

    def _lay_out_states(self) -> None:
        """The optimizer's states in their weights' order in memory, which fused steps go by: `speedups` may have changed."""
        for weight, state in self.opt.opt.state.items():
            for key, value in state.items():
                if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                    state[key] = torch.empty_like(weight, dtype=value.dtype).copy_(value)

    def _go_on(self, saved: dict[str, Any]) -> None:
        done = self.done = self.learn.first_epoch = saved["epoch"] + 1
        stop, was_of = self._stop, saved.get("stopped_early_of")
        if stop and was_of and stop.waited >= stop.patience:
            if was_of == self.n_epoch:
                self.learn.first_epoch = self.n_epoch
                print(f"stopped early after epoch {done} of {was_of}: nothing left to do", flush=True)
                return
            stop.waited = 0
        print(f"continuing after epoch {done} of {self.n_epoch}", flush=True)

    def after_epoch(self):
        stop = self._stop
        stopping = bool(stop) and stop.waited >= stop.patience
        if (self.epoch + 1) % self.interval == 0 or self.epoch + 1 == self.n_epoch or stopping:
            self._save(stopping)
            self.done = self.epoch + 1
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
                write(self.path.parent / SUMS, [checksum(partial), *_sums(self.path.parent)][:3])
                if self.keep and self.path.exists():
                    _move_aside(self.path, self.former)
            self.keep = True

    def _with_state(self) -> Iterable[Callback]:
        return [cb for cb in self.learn.cbs if hasattr(type(cb), "load_state")]


def _sums(folder: Path) -> list[str]:
    """The checksums of the files that were written, the newest first; [] where that isn't known."""
    try:
        return [digest for digest in read(folder / SUMS) if isinstance(digest, str)]
    except (OSError, ValueError, TypeError):
        return []


def _move_aside(path: Path, name: Path) -> None:
    """Renames a file, which stays under its own name, too, where a file can have two."""
    try:
        second = name.with_name(f".{name.name}")
        second.unlink(missing_ok=True)
        os.link(path, second)
        os.replace(second, name)
    except OSError:
        os.replace(path, name)


def _random_state(place: torch.device) -> dict[str, Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    state = {
        "torch": torch.get_rng_state(), "python": json.dumps([version, internal, gauss]),
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
    }  # fmt: skip
    own = accelerators.random_state(place)
    return state if own is None else state | {place.type: own}


def _set_random_state(state: dict[str, Any], place: torch.device) -> None:
    """Puts the states back; the GPU's to the one that trains now, whatever its number was."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = json.loads(state["python"])
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    if accelerators.is_accelerator(place) and place.type in state:
        given = state[place.type]
        if isinstance(given, list):  # an older checkpoint: of all GPUs that were visible
            given = given[min(place.index or 0, len(given) - 1)]
        accelerators.set_random_state(place, given)
