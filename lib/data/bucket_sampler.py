"""Batches of equal size from data of mixed sizes, in an order that depends on (seed, epoch) alone."""

import itertools
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from lib import InputError

Key = tuple[int, int]


class BucketSampler(Sampler):
    """Batches of (epoch, index) for DataLoader's `batch_sampler`; all items of a batch have one size.

    Items come in a permutation drawn from (seed, epoch); one size's items make a batch as soon as there are enough of
    them, and batches are shuffled, too. Set `.epoch` before each epoch. A batch that can't be divided evenly among
    processes goes to each of them whole, so that means over processes stay means over the batch.

    Parameters
    ----------
    sizes : of every item, in order
    batch_size : items in a batch
    seed : of the order
    steps : batches per epoch, cut from a pass or going on with the next; None: one pass, every item once
    drop_last : leave out what is left of a size at the end of a pass, rather than make a smaller batch of it
    shuffle : else items come as they stand
    share, shares : the process's number and how many there are; it gets every shares-th item of each batch

    Raises
    ------
    InputError
        If there would be no batch at all.
    """

    def __init__(
        self, sizes: Sequence[Hashable], batch_size: int = 1, seed: int = 0, steps: int | None = None,
        drop_last: bool = False, shuffle: bool = True, share: int = 0, shares: int = 1,
    ):  # fmt: skip
        self.sizes, self.batch_size, self.seed, self.steps = list(sizes), batch_size, seed, steps
        self.drop_last, self.shuffle, self.share, self.shares, self.epoch = drop_last, shuffle, share, shares, 0
        counts = Counter(self.sizes)
        most = max(counts.values(), default=0)
        if not most:
            raise InputError("BucketSampler", "got no items", "at least one")
        if drop_last and most < batch_size and not (steps and len(counts) == 1):
            raise InputError(
                "drop_last",
                f"no batch is full: batch_size is {batch_size}, and of the {len(counts)} sizes the commonest has "
                f"{most} items: expected a batch_size of at most {most}, or drop_last: false",
            )

    def __len__(self) -> int:
        if self.steps:
            return self.steps
        counts = Counter(self.sizes).values()
        return sum(n // self.batch_size if self.drop_last else -(-n // self.batch_size) for n in counts)

    def __iter__(self) -> Iterator[list[Key]]:
        batches = self._endless() if self.steps else self._pass(0)
        self.lengths = []  # of the whole batches
        for batch in itertools.islice(batches, len(self)):
            self.lengths.append(len(batch))
            yield batch if len(batch) % self.shares else batch[self.share :: self.shares]

    def _order(self, turn: int) -> Iterator[Key]:
        count = len(self.sizes)
        order = (
            np.random.default_rng((self.seed, self.epoch, turn)).permutation(count) if self.shuffle else range(count)
        )
        yield from ((self.epoch, int(i)) for i in order)

    def _pass(self, turn: int) -> list[list[Key]]:
        waiting: dict[Hashable, list[Key]] = {}
        batches = []
        for key in self._order(turn):
            batch = waiting.setdefault(self.sizes[key[1]], [])
            batch.append(key)
            if len(batch) == self.batch_size:
                batches.append(waiting.pop(self.sizes[key[1]]))
        batches += [] if self.drop_last else waiting.values()
        if self.shuffle and len(set(self.sizes)) > 1:  # else the smaller ones always come last
            order = np.random.default_rng((self.seed, self.epoch, turn, 1)).permutation(len(batches))
            batches = [batches[i] for i in order]
        return batches

    def _endless(self) -> Iterator[list[Key]]:
        """Pass after pass; of one size a batch may begin in one and end in the next, so that all are full."""
        if len(set(self.sizes)) == 1:
            keys = itertools.chain.from_iterable(self._order(turn) for turn in itertools.count())
            while True:
                yield list(itertools.islice(keys, self.batch_size))
        for turn in itertools.count():
            yield from self._pass(turn)
