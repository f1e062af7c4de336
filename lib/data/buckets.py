"""Batches of equal size from data of mixed sizes, in an order that depends on (seed, epoch) alone."""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int]


class BucketSampler(Sampler):
    """Batches of (epoch, index) for DataLoader's `batch_sampler`; all items of a batch have one size.

    sizes: of every item, in order. Items come in a permutation drawn from (seed, epoch), or as they stand without
    `shuffle`; a batch is given as soon as one size has `batch_size` of them. An epoch is one pass, every item once, what
    is left of a size in a smaller batch (`drop_last`: left out), or `steps` batches, passes going on where they are
    shorter. Set `.epoch` before each epoch. rank of `world` processes gets every world-th batch of a pass, none twice;
    with `drop_last` all get equally many, as training together needs.
    """

    def __init__(
        self, sizes: Sequence[Hashable], batch_size: int = 1, seed: int = 0, steps: int | None = None,
        drop_last: bool = False, shuffle: bool = True, rank: int = 0, world: int = 1,
    ):  # fmt: skip
        self.sizes, self.batch_size, self.seed, self.steps = list(sizes), batch_size, seed, steps
        self.drop_last, self.shuffle, self.rank, self.world, self.epoch = drop_last, shuffle, rank, world, 0

    def __len__(self) -> int:
        if self.steps:
            return self.steps
        counts = [self.sizes.count(size) for size in set(self.sizes)]
        batches = sum(n // self.batch_size if self.drop_last else -(-n // self.batch_size) for n in counts)
        return batches // self.world if self.drop_last else len(range(self.rank, batches, self.world))

    def __iter__(self) -> Iterator[list[Key]]:
        if self.steps:
            batches = self._full(endless=True)
            for number in range(self.steps * self.world):
                batch = next(batches)
                if number % self.world == self.rank:
                    yield batch
            return
        batches = list(self._full(endless=False))
        if self.shuffle and len(set(self.sizes)) > 1:  # else the smaller ones always come last
            batches = [batches[i] for i in np.random.default_rng((self.seed, self.epoch)).permutation(len(batches))]
        yield from batches[self.rank :: self.world][: len(self)]

    def _order(self, turn: int) -> Iterator[int]:
        count = len(self.sizes)
        yield from (
            np.random.default_rng((self.seed, self.epoch, turn)).permutation(count) if self.shuffle else range(count)
        )

    def _full(self, endless: bool) -> Iterator[list[Key]]:
        waiting: dict[Hashable, list[Key]] = {}
        turn = 0
        while turn == 0 or endless:
            for i in self._order(turn):
                batch = waiting.setdefault(self.sizes[i], [])
                batch.append((self.epoch, int(i)))
                if len(batch) == self.batch_size:
                    yield waiting.pop(self.sizes[i])
            turn += 1
        if not self.drop_last:
            yield from waiting.values()
