"""What training reports as it goes, and when it stops early."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from fastai.basics import Callback

from lib import InputError, losses, progress
from lib.files import write
from lib.parallel import mesh
from lib.text import one_of
from lib.training.averages import items


class History(Callback):
    """One line per epoch (losses, metrics, learning rate, time left), history.csv and TensorBoard's event files.

    Epochs count from 1. With `learn.recorder.train_metrics` the metrics of the training batches stand there, too, as
    train_<name>.

    Parameters
    ----------
    run : its folder
    beat : seconds after which a line tells the step between epochs
    tensorboard : whether to write event files
    """

    order = 60

    def __init__(self, run: Path, beat: float = 5.0, tensorboard: bool = True):
        self.run, self.beat, self.tensorboard, self.rows = Path(run), beat, tensorboard, []

    def before_fit(self):
        self.begun, self.writer = time.monotonic(), None

    def before_epoch(self):
        if self.tensorboard and not self.writer and not mesh.current().rank:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.run / "logs"), purge_step=self.epoch + 1 if self.epoch else None)
        self.epoch_begun = self.reported = time.monotonic()
        self.total, self.count, self.losses = 0.0, 0, []

    def after_batch(self):
        progress.made()
        now = time.monotonic()
        if self.training:
            self.losses.append((self.loss.detach(), items(self.learn)))
        if now - self.reported > self.beat:
            self.reported = now
            self._add_up()
            stage = f"loss {self.total / self.count:.4f}" if self.training else "validating"
            print(f"  epoch {self.epoch + 1}/{self.n_epoch} · step {self.iter + 1}/{self.n_iter} · {stage}", flush=True)

    def _add_up(self) -> None:
        """The losses so far into the sum: on a GPU that waits for the last one."""
        for loss, count in self.losses:
            self.total, self.count = self.total + float(loss) * count, self.count + count
        self.losses.clear()

    def after_epoch(self):
        now = time.monotonic()
        self._add_up()
        self.total, self.count = mesh.total(
            torch.tensor([self.total, self.count], dtype=torch.float64, device=mesh.current().device)
        ).tolist()
        valid, *metrics = self.recorder.final_record[-(1 + len(self.metrics)) :]
        row = {"epoch": self.epoch + 1, "train_loss": self.total / self.count, "valid_loss": float(valid)}
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
        if self.rows and self.rows[0]["epoch"] == 0:  # an older checkpoint: it counted from 0
            self.rows = [row | {"epoch": row["epoch"] + 1} for row in self.rows]


class EarlyStopping(Callback):
    """Stops training when a value no longer improves.

    Parameters
    ----------
    monitor : a metric, or a loss
    patience : epochs without improvement
    min_delta : what counts as one
    mode : "max" if it should rise, "min" if it should fall; None: see `lib.losses.rises`

    Raises
    ------
    InputError
        Before training, for an unknown monitor.
    """

    order = 65

    def __init__(self, monitor: str = "valid_loss", patience: int = 2, min_delta: float = 0.0, mode: str | None = None):
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
        self.best, self.waited = None, 0

    def before_fit(self):
        names = {_plain(name): name for name in ("train_loss", "valid_loss", *(m.name for m in self.metrics))}
        if _plain(self.monitor) not in names:
            raise InputError(f"early_stopping monitor {self.monitor!r}", *one_of(self.monitor, names.values()))
        self.column = names[_plain(self.monitor)]
        self.rises = self.mode == "max" if self.mode else losses.rises(self.column)

    def after_epoch(self):
        value = self.history.rows[-1][self.column]
        value = value if self.rises else -value
        first = self.best is None or (math.isnan(self.best) and not math.isnan(value))
        if first or value > self.best + self.min_delta:
            self.best, self.waited = value, 0
        else:
            self.waited += 1

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "monitor": self.monitor}

    def load_state(self, state: dict[str, Any]) -> None:
        if state.get("monitor", self.monitor) == self.monitor:  # else it is another's best
            self.best, self.waited = state["best"], state["waited"]


def _plain(metric: str) -> str:
    return metric.lower().removesuffix("_slices")
