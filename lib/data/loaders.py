"""fastai's DataLoaders from data sets whose items may be asked for by (epoch, index)."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from lib import InputError, accelerators
from lib.data.bucket_sampler import BucketSampler
from lib.parallel import mesh


def check_sizes(folder: Path, sizes: Iterable[tuple[int, ...]], batch_size: int, bucket_sampling: bool) -> None:
    """InputError if batches of more than one item would hold items of several sizes.

    Parameters
    ----------
    folder : of the set, for the message
    sizes : of the items
    batch_size : items in a batch
    bucket_sampling : whether items of one size are put together
    """
    different = sorted(set(sizes))
    if batch_size > 1 and len(different) > 1 and not bucket_sampling:
        raise InputError(
            folder,
            f"data of {len(different)} sizes, {different[0]} and {different[1]}, can't share a batch: use BucketSampler "
            "(bucket_sampling: true) or set batch_size to 1",
        )


def loaders(
    train: Dataset, valid: Dataset, inputs: int, folder: Path, batch_size: int = 1, eval_batch_size: int | None = None,
    num_workers: int | None = 0, steps_per_epoch: int | None = None, seed: int = 0, device: torch.device | str = "cpu",
    bucket_sampling: bool = False, drop_last: bool = False,
):  # fmt: skip
    """fastai DataLoaders (`lib.data.batches.Batches`) whose batches are tuples, network inputs first.

    If several processes train together, each reads its share of a batch, and its part of partitioned volumes.

    Parameters
    ----------
    train, valid : data sets, whose `sizes` are those of their items
    inputs : how many tensors of a batch the network takes
    folder : of the set, for messages
    batch_size : items in a training batch
    eval_batch_size : items in a validation batch; None: batch_size
    num_workers : processes that read; None: 4 on a GPU, 0 on a CPU
    steps_per_epoch : training batches; None: one pass
    seed : of the order, which is drawn from (seed, epoch)
    device : where batches go
    bucket_sampling : put items of one size together
    drop_last : see `BucketSampler`

    Raises
    ------
    InputError
        If a batch would hold items of several sizes, or can't be shared by the processes.
    """
    from lib.data.batches import Batches

    eval_batch_size = eval_batch_size or batch_size
    for data, size in ((train, batch_size), (valid, eval_batch_size)):
        check_sizes(folder, data.sizes, size, bucket_sampling)
    if batch_size % mesh.current().data_world_size:
        raise InputError(
            "batch_size", f"{batch_size} can't be shared by {mesh.current().data_world_size} processes evenly"
        )
    num_workers = workers(num_workers, device)
    options = {"num_workers": num_workers, "pin_memory": accelerators.pins(device)}
    parts = {axis: part[:2] for axis, part in mesh.current().parts.items()}
    options |= {"collate_fn": partial(_batch, parts=parts)}  # a worker may know nothing of this process
    mine = {"share": mesh.current().data_rank, "shares": mesh.current().data_world_size}
    order = BucketSampler(train.sizes, batch_size, seed, steps_per_epoch, drop_last, **mine)
    held_out = BucketSampler(valid.sizes, eval_batch_size, shuffle=False, **mine)
    dls = Batches(
        DataLoader(train, batch_sampler=order, persistent_workers=num_workers > 0, **options),
        DataLoader(valid, batch_sampler=held_out, **options),
    )
    dls.n_inp, dls._device = inputs, torch.device(device)  # fastai takes a device with its own loaders only
    return dls


def workers(number: int | None, device: torch.device | str) -> int:
    """How many processes read data: `number`, or, where None, 4 on a GPU and 0 on a CPU."""
    return (4 if accelerators.pins(device) else 0) if number is None else number


def _batch(items: list[tuple[torch.Tensor, ...]], parts: mesh.Parts) -> list[torch.Tensor]:
    """Items put together, one alone without a copy; of volumes this process's part."""
    alone = len(items) == 1 and all(isinstance(x, torch.Tensor) for x in items[0])
    batch = [x.contiguous().unsqueeze(0) for x in items[0]] if alone else default_collate(items)
    return [mesh.slab(x, parts) for x in batch] if parts else batch
