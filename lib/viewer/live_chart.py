"""Watch a training: losses and metrics as they come, and what the network makes of one validation case."""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import ipywidgets
import numpy as np
import torch
from fastai.basics import Callback
from IPython.display import display
from torch import nn

from lib import InputError, accelerators, plots
from lib.data.pictures import ERROR, GAIN
from lib.kspace import center_crop
from lib.markup import tag
from lib.runs.listing import duration
from lib.viewer.html_box import HtmlBox
from lib.viewer.labels import TEXT, labels_of, status
from lib.viewer.line_chart import charts
from lib.viewer.pixels import GAP, beside, lay, paint, png, resize

MOST_SHARE = 0.02  # of the training's time that drawing may take
GUESSED_SECONDS = 0.05  # of the first drawing
STEP_SECONDS = 1.0  # between two lines that tell the step
CANDIDATES = 8  # validation items, of which one is shown
WIDTH, HEIGHT = 930, 320  # pixels of the preview, at most
FLUSH = {"margin": "0", "max_width": "none"}
PLACEHOLDER = tag(
    "div", "curves and the first picture come after the first epoch", class_="live-placeholder",
    style=f"{TEXT};width:{WIDTH}px;height:{HEIGHT // 2}px;line-height:{HEIGHT // 2}px;"
    "text-align:center;border:1px dashed var(--jp-border-color1,#bbb)",
)  # fmt: skip


class LiveChart(Callback):
    """Draws after an epoch, as often as takes at most MOST_SHARE of the training's time, and always at its end.

    It is for `training.fit`, beside `training.History`, whose rows it draws (on resuming, those before, too). Until its
    first picture a placeholder stands there, and in between a line tells the step, every STEP_SECONDS. The case is the
    validation item of most contrast of CANDIDATES, drawn by its data set's `panels` (lib.data.pictures). It leaves no
    trace: random states, modes and buffers stay as they are. Attributes: `seconds`, what it took so far, and `share` of
    the time from the training's begin to its last drawing.

    Parameters
    ----------
    interactive : if not, or in one of several processes that train together, it does nothing

    Raises
    ------
    InputError
        If there is no History among the callbacks.
    """

    order = 66  # after History, before Checkpoint may stop the training

    def __init__(self, interactive: bool):
        self.draws = interactive and "RANK" not in os.environ
        self.seconds, self.batch, self.cost = 0.0, None, {"chart": GUESSED_SECONDS / 10, "preview": GUESSED_SECONDS}
        self.drawn: dict[str, int] = {}  # the epoch that each shows

    @property
    def share(self) -> float:
        return self.seconds / (self.until - self.begun) if self.seconds else 0.0

    def before_fit(self):
        if not self.draws:
            return
        if not hasattr(self.learn, "history"):
            raise InputError("LiveChart", "no training.History among the callbacks, which it draws")
        self.begun = time.perf_counter()
        names = "chart", "labels", "image", "line"
        self.widgets = {
            name: ipywidgets.Image(format="png", layout=FLUSH) if name == "image" else HtmlBox(layout=FLUSH)
            for name in names
        }
        for name, widget in self.widgets.items():
            widget.add_class(f"live-{name}")
        self.widgets["labels"].value, self.widgets["image"].layout.display = PLACEHOLDER, "none"  # else a broken image
        self._say("the first epoch is running")
        display(ipywidgets.VBox(list(self.widgets.values())))
        with undisturbed(self.learn.model), contextlib.suppress(Exception):  # else the preview says why
            self._pick()
        self.until = self.told = time.perf_counter()
        self.seconds += self.until - self.begun

    def before_train(self):
        if self.draws:
            self.epoch_begun = time.perf_counter()

    def after_batch(self):
        if self.draws and (now := time.perf_counter()) - self.told > STEP_SECONDS:
            self.told, done = now, self.iter + 1
            left = (now - self.epoch_begun) / done * (self.n_iter - done)
            rest = f"{duration(left)} to its validation" if self.training else "validating"
            self._say(f"epoch {self.epoch + 1} of {self.n_epoch} · step {done} of {self.n_iter} · {rest}")

    def after_epoch(self):
        if self.draws:
            self._draw(MOST_SHARE * (time.perf_counter() - self.begun) - self.seconds)

    def after_fit(self):
        if self.draws and self.history.rows:
            self._draw(float("inf"))
            self._say(f"{self.history.rows[-1]['epoch']} epochs done; this chart took {self.share:.1%} of the time")

    def _draw(self, spare: float) -> None:
        """Draws what is expected to take no longer than `spare` seconds."""
        epoch = self.history.rows[-1]["epoch"]  # a resumed run that had nothing left to do has no epoch of its own
        for name, draw in (("chart", self._draw_chart), ("preview", self._draw_preview)):
            if self.cost[name] <= spare and self.drawn.get(name) != epoch:
                begun = time.perf_counter()
                draw()
                self.drawn[name] = epoch
                self.cost[name] = time.perf_counter() - begun
                self.until = begun + self.cost[name]
                self.seconds, spare = self.seconds + self.cost[name], spare - self.cost[name]

    def _draw_chart(self) -> None:
        self.widgets["chart"].value = charts(self.history.rows, self.n_epoch)
        self._say(f"epoch {self.history.rows[-1]['epoch']} of {self.n_epoch}")

    def _draw_preview(self) -> None:
        with undisturbed(self.learn.model):
            try:
                panels = self.dls.valid.dataset.panels(*self._predicted())
            except Exception as error:  # a picture must not end a training
                self.widgets["labels"].value = tag("div", f"no preview: {error}", style=TEXT)
                return
        height, width = next(iter(panels.values()))[0].shape
        scale = min((WIDTH - (len(panels) - 1) * GAP) / len(panels) / width, HEIGHT / height)
        shape = max(1, int(height * scale)), max(1, int(width * scale))
        tiles = [resize(_tile(name, *panel, self._ignored), *shape) for name, panel in panels.items()]
        self.widgets["image"].value, self.widgets["image"].layout.display = png(beside(tiles, *shape)), None
        cells = {f"{name} ×{GAIN:g}" if name == ERROR else name: "" for name in panels}
        width = len(panels) * (shape[1] + GAP) - GAP
        self.widgets["image"].layout.width = self.widgets["labels"].layout.width = f"{width}px"
        self.widgets["labels"].value = labels_of(cells, len(panels), width)

    def _pick(self) -> None:
        """Reads the case: of CANDIDATES validation items the one of most contrast in the target."""
        loader = self.dls.valid
        picks = np.unique(np.linspace(0, len(loader.dataset) - 1, CANDIDATES).astype(int)).tolist()
        items = (loader.dataset[i] for i in picks)
        self.batch = loader.collate_fn([max(items, key=lambda item: self._contrast(item[self.dls.n_inp]))])

    @property
    def _ignored(self) -> int | None:
        return getattr(self.dls.valid.dataset, "ignore_index", None)

    def _contrast(self, target: torch.Tensor) -> float:
        """Its deviation; what isn't labeled counts as background."""
        return float((target if self._ignored is None else target.where(target != self._ignored, 0)).float().std())

    def _predicted(self) -> tuple[tuple, tuple, torch.Tensor]:
        """Inputs, targets and output of the case; the output in float32 and cropped to the target."""
        if self.batch is None:
            self._pick()
        count = self.dls.n_inp
        place = next(self.learn.model.parameters()).device
        batch = [x.to(place) for x in self.batch]
        with self.precision.autocast if hasattr(self.learn, "precision") else contextlib.nullcontext():
            output = self.learn.model(*batch[:count]).float()
        size = tuple(batch[count].shape[-2:])
        cropped = output if output.shape[-2:] == size else center_crop(output, size)
        return tuple(batch[:count]), tuple(batch[count:]), cropped

    def _say(self, text: str) -> None:
        self.widgets["line"].value = status(text)


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """The model in eval mode without gradients; every random state and every module's mode are put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    drawn: tuple[Any, Any] = random.getstate(), np.random.get_state()
    place = next(model.parameters()).device
    with accelerators.random_states_kept(place), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            random.setstate(drawn[0])
            np.random.set_state(drawn[1])


def _tile(name: str, image: np.ndarray, label: np.ndarray | None, ignore_index: int | None) -> np.ndarray:
    """A panel's pixels (H, W, 3): gray, errors in their own colors, classes laid over it half."""
    pixels = paint(image, 0, 1 / GAIN, plots.ERROR_CMAP) if name == ERROR else paint(image, 0, 1)
    return pixels if label is None else lay(pixels, label, ignore_index=ignore_index)
