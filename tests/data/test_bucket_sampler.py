"""BucketSampler: one size a batch, every item once, shares of a batch that don't overlap; with fastai and workers."""

from collections import Counter

import pytest
import torch
from refusals import refused
from torch.utils.data import DataLoader, Dataset

from lib.data.bucket_sampler import BucketSampler
from lib.data.loaders import loaders

SIZES = [(4, 8)] * 7 + [(6, 8)] * 4 + [(4, 9)] * 2


class Mixed(Dataset):
    """Items (tensor of its size, index)."""

    sizes = SIZES

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, key):
        return torch.full(self.sizes[key[1]], float(key[1])), torch.tensor(key[1])


def indices(sampler):
    return [[i for _, i in batch] for batch in sampler]


def test_batches_hold_one_size_and_every_item_comes_once():
    sampler = BucketSampler(SIZES, 3)
    batches = indices(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(13)) and len(sampler) == len(batches) == 6
    assert all(len({SIZES[i] for i in batch}) == 1 for batch in batches)
    assert sorted(map(len, batches)) == [1, 1, 2, 3, 3, 3]


def test_drop_last_leaves_out_the_smaller_batches():
    sampler = BucketSampler(SIZES, 3, drop_last=True)
    assert [len(b) for b in indices(sampler)] == [3, 3, 3] and len(sampler) == 3


@pytest.mark.parametrize("steps", [None, 5])
def test_an_epoch_without_a_batch_is_refused(steps):
    with refused(found="batch_size is 8, .* the 3 sizes the commonest has 7 items"):
        BucketSampler(SIZES, 8, drop_last=True, steps=steps)
    with refused(found="no items"):
        BucketSampler([], 8, steps=steps)
    assert len(indices(BucketSampler(SIZES, 8, steps=5))) == 5


def test_one_size_fills_its_batches_from_the_next_pass():
    assert indices(BucketSampler([0, 0], 3, steps=2, drop_last=True, shuffle=False)) == [[0, 1, 0], [1, 0, 1]]


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = BucketSampler(SIZES, 2, seed)
        sampler.epoch = epoch
        assert all(e == epoch for batch in sampler for e, _ in batch)
        return indices(sampler)

    assert order(0, 1) == order(0, 1) != order(0, 2) != order(1, 2)


def test_batches_are_shuffled_not_only_items():
    first = Counter()
    for epoch in range(200):
        sampler = BucketSampler(SIZES, 3)
        sampler.epoch = epoch
        first[len(indices(sampler)[0])] += 1
    assert first[1] > 30 and first[2] > 10  # the rests aren't always last


@pytest.mark.parametrize("shares", [1, 2, 4])
def test_processes_share_each_batch_without_overlap(shares):
    whole = indices(BucketSampler(SIZES, 4))
    parts = [indices(BucketSampler(SIZES, 4, share=s, shares=shares)) for s in range(shares)]
    for batch, *mine in zip(whole, *parts, strict=True):
        if len(batch) % shares:  # what can't be divided is done by all, so that means stay those of the batch
            assert all(part == batch for part in mine)
        else:
            assert sorted(i for part in mine for i in part) == sorted(batch)
            assert {len(part) for part in mine} == {len(batch) // shares}
    even = [indices(BucketSampler(SIZES, 4, drop_last=True, share=s, shares=shares)) for s in range(shares)]
    seen = [i for part in even for batch in part for i in batch]
    assert len(seen) == len(set(seen)) == 8


def test_steps_cut_or_lengthen_an_epoch():
    assert len(indices(BucketSampler(SIZES, 3, steps=2))) == len(BucketSampler(SIZES, 3, steps=2)) == 2
    long = indices(BucketSampler(SIZES, 3, steps=20))
    assert len(long) == 20 and {i for b in long for i in b} == set(range(13))
    assert all(len(set(batch)) == len(batch) for batch in long)  # no batch of one item's copies
    shards = [indices(BucketSampler([0] * 12, 4, steps=3, share=s, shares=2)) for s in range(2)]
    assert sorted(i for s in shards for b in s for i in b) == list(range(12))


def test_rare_sizes_come_up_as_often_as_others():
    sizes, seen = ["often"] * 60 + ["rare"] * 2, Counter()
    for epoch in range(60):
        sampler = BucketSampler(sizes, 4, steps=4)
        sampler.epoch = epoch
        seen.update(sizes[i] for batch in indices(sampler) for i in batch)
    assert seen["rare"] / (seen["often"] + seen["rare"]) == pytest.approx(2 / 62, rel=0.5)


def test_one_size_is_a_plain_shuffle():
    batches = indices(BucketSampler([0] * 8, 3, seed=5))
    assert [len(b) for b in batches] == [3, 3, 2] and sum(batches, []) != list(range(8))
    assert indices(BucketSampler([0] * 5, 2, shuffle=False)) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_pinned_memory_give_the_same_batches(workers):
    loader = DataLoader(
        Mixed(), batch_sampler=BucketSampler(SIZES, 3), num_workers=workers, pin_memory=torch.cuda.is_available()
    )
    assert [i.tolist() for _, i in loader] == indices(BucketSampler(SIZES, 3))
    assert max(len(x) for x, _ in loader) == 3  # more than one sample, from data of mixed sizes


def test_a_batch_of_several_sizes_is_refused_by_the_samplers_name(tmp_path):
    with refused(found=r"3 sizes, \(4, 8\) and \(4, 9\), can't share a batch: use BucketSampler"):
        loaders(Mixed(), Mixed(), 1, tmp_path, batch_size=2)
    dls = loaders(Mixed(), Mixed(), 1, tmp_path, batch_size=2, bucket_sampling=True)
    assert sum(len(i) for _, i in dls.train) == 13 and sum(len(i) for _, i in dls.valid) == 13
