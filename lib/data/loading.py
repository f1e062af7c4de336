"""fastai's DataLoaders from data sets whose items may be asked for by (epoch, index)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lib import InputError


class EpochSampler(Sampler):
    """Yields (epoch, index): a permutation drawn from (seed, epoch), cut to `length`; set `.epoch` before each epoch."""

    def __init__(self, count: int, seed: int, length: int | None = None):
        self.count, self.seed, self.epoch = count, seed, 0
        self.length = count if length is None else length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for i in range(self.length):  # more than one pass where an epoch is longer than the set
            turn, place = divmod(i, self.count)
            if place == 0:
                order = np.random.default_rng((self.seed, self.epoch, turn)).permutation(self.count)
            yield self.epoch, int(order[place])


def loaders(
    train: Dataset, valid: Dataset, inputs: int, folder: Path, batch_size: int = 1, eval_batch_size: int | None = None,
    num_workers: int = 0, steps_per_epoch: int | None = None, seed: int = 0, device: torch.device | str = "cpu",
):  # fmt: skip
    """fastai DataLoaders whose batches are tuples, `inputs` network inputs first.

    Training is shuffled by (seed, epoch); steps_per_epoch None: one pass. A data set's `sizes` are the different sizes of
    its items: InputError naming the folder where a batch would hold several.
    """
    from fastai.data.core import DataLoaders

    eval_batch_size = eval_batch_size or batch_size
    for data, size in ((train, batch_size), (valid, eval_batch_size)):
        if size > 1 and len(data.sizes) > 1:
            first, second, *_ = sorted(data.sizes)
            raise InputError(f"{folder}: data of {len(data.sizes)} sizes, {first} and {second}: set batch_size to 1")
    sampler = EpochSampler(len(train), seed, steps_per_epoch and steps_per_epoch * batch_size)
    options = {"num_workers": num_workers, "pin_memory": torch.device(device).type == "cuda"}
    dls = DataLoaders(
        DataLoader(train, batch_size, sampler=sampler, persistent_workers=num_workers > 0, **options),
        DataLoader(valid, eval_batch_size, **options),
        device=torch.device(device),
    )
    dls.n_inp = inputs
    return dls
