"""fastai's DataLoaders over torch's own loaders: a batch at hand, and as pictures."""

from collections.abc import Iterable

from fastai.data.core import DataLoaders
from fastai.torch_core import to_device
from matplotlib.figure import Figure
from torch import Tensor

from lib import InputError
from lib.data import pictures


class Batches(DataLoaders):
    """DataLoaders whose `one_batch` and `show_batch` work as fastai's do; batches are tuples, `n_inp` inputs first."""

    def one_batch(self, ds_idx: int = 0) -> tuple[Tensor, ...]:
        """The first batch of the training (0) or validation (1) loader, on the network's device."""
        return tuple(to_device(next(iter(self[ds_idx])), self.device))

    def show_batch(
        self, batch: tuple[Tensor, ...] | None = None, max_n: int = 3, output: Tensor | None = None
    ) -> Figure:
        """A batch's first items as pictures, one row each, as the data set's `panels` draws them.

        Parameters
        ----------
        batch : one of this set; None: a training batch
        max_n : items at most
        output : what the network makes of the batch, shown beside it with its error
        """
        batch = self.one_batch() if batch is None else batch
        numbers = range(min(max_n, len(batch[0])))
        outputs = {i: None if output is None else output[i : i + 1].cpu() for i in numbers}
        return self.show((str(i + 1), [x[i : i + 1].cpu() for x in batch], outputs[i]) for i in numbers)

    def show(self, items: Iterable[pictures.Item]) -> Figure:
        """`show_batch` of items, each a batch of one with its name and output: see `lib.data.pictures.montage`."""
        data = self.valid.dataset
        if not hasattr(data, "panels"):
            raise InputError(
                f"{type(data).__name__} has no `panels`", "name a function of lib.data.pictures, or write one like them"
            )
        return pictures.montage(
            data.panels, items, self.n_inp, getattr(data, "classes", ()), getattr(data, "ignore_index", None)
        )
