"""What a Learner makes of its data, as pictures: results and worst cases."""

from typing import Any

from fastai.basics import Callback
from matplotlib.figure import Figure


class WorstItems(Callback):
    """Keeps the `count` items of a validation pass whose loss, each by itself, is highest; worst first in `kept`."""

    order = 90

    def __init__(self, count: int):
        self.count, self.kept = count, []

    def after_loss(self):
        for i in range(len(self.yb[0])):
            one = [x[i : i + 1].detach().cpu() for x in (*self.xb, *self.yb)]
            targets = [y[i : i + 1] for y in self.yb]
            loss = float(self.loss_func(self.pred[i : i + 1], *targets))
            self.kept.append((loss, one, self.pred[i : i + 1].detach().cpu()))
        self.kept = sorted(self.kept, key=lambda item: -item[0])[: self.count]


class Showing:
    """fastai's show_results, and worst_cases in place of Interpretation.plot_top_losses; for `lib.training.Learner`."""

    def show_results(self, ds_idx: int = 1, max_n: int = 3) -> Figure:
        """The first items of the validation set (0: of training): input, output, truth and, of images, the error."""
        batch = self.dls.one_batch(ds_idx)
        return self.dls.show_batch(batch, max_n, self.get_preds(dl=[batch])[0])

    def worst_cases(self, n: int = 3, ds_idx: int = 1) -> Figure:
        """The n items of the validation set (0: of training) whose loss is highest, drawn as `show_results` does."""
        worst: Any = WorstItems(n)
        with self.no_bar(), self.validation_context(cbs=[worst]):
            self._do_epoch_validate(ds_idx)
        return self.dls.show((f"loss {loss:.3g}", batch, output) for loss, batch, output in worst.kept)
