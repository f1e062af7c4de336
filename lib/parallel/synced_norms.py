"""Norms whose statistics are those of several processes, and what all modules that work on a part of the data share."""

import functools
import math
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from lib import InputError
from lib.models import blocks


class Part:
    """This process's place, `rank` of `size`, in a group that shares `axis` (0: samples); a deepcopy keeps the group."""

    def __init__(self, axis: int, group: dist.ProcessGroup | None = None):
        self.axis, self.rank, self.size, self.group = axis, 0, 1, group
        if dist.is_initialized():
            self.group = group or dist.group.WORLD
            self.rank, self.size = dist.get_rank(self.group), dist.get_world_size(self.group)

    def __deepcopy__(self, memo: dict) -> "Part":
        return self

    def members(self) -> set[int]:
        return set(dist.get_process_group_ranks(self.group)) if self.group else {0}

    def swap(self, before: Tensor, after: Tensor) -> list[Tensor | None]:
        """Sends to the rank before and the rank after; what those sent here, None where there is no such rank."""
        got, operations = [None, None], []
        for side, (peer, sent, like) in enumerate(((self.rank - 1, before, after), (self.rank + 1, after, before))):
            if 0 <= peer < self.size:
                got[side] = like.new_empty(like.shape)
                peer = dist.get_global_rank(self.group, peer)
                for call, planes in ((dist.isend, sent.contiguous()), (dist.irecv, got[side])):
                    operations += [dist.P2POp(call, planes, peer, self.group)] if planes.numel() else []
        for work in dist.batch_isend_irecv(operations) if operations else ():
            work.wait()
        return got


def summed(x: Tensor, parts: Iterable[Part]) -> Tensor:
    """x, contiguous, summed in place over the ranks of every part."""
    for part in parts:
        if part.size > 1:
            dist.all_reduce(x, group=part.group)
    return x


class Slab:
    """Mixed into a module's class: it takes and gives slabs. InputError, with the module's path, where it can't."""

    ndim: int | None = None
    _parts: tuple[Part, ...] = ()

    @classmethod
    def halo(cls, module: nn.Module, axis: int) -> tuple[int, int]:
        """Planes before and after its slab that a module needs; InputError unless slabs of its input give slabs."""
        return 0, 0

    def __call__(self, x: Tensor, *args, **kwargs):
        try:
            if x.ndim != (self.ndim or x.ndim) or any(x.ndim <= part.axis for part in self._parts):
                expected = f"{self.ndim or self._parts[-1].axis + 1} axes, N, C, …"
                raise InputError("", f"got {tuple(x.shape)}", expected)
            with torch._C.DisableTorchFunction():  # the guard watches what happens between modules
                return super().__call__(x, *args, **kwargs)
        except InputError as error:
            raise InputError(self._path, error) from None


def _over(parts: tuple[Part, ...], batch: bool, width: int, *sums: Tensor) -> tuple[Tensor, ...]:
    """Sums (N, C, 1, …) of slabs, summed over what shares statistics: the parts' ranks, `width` channels, a whole batch.

    They come back with a value for every channel, (N or 1, C, 1, …).
    """
    x = torch.stack(sums).flatten(2).unflatten(2, (-1, width)).sum(-1)
    x = summed(x.sum(1, keepdim=True) if batch else x, parts)
    return x.repeat_interleave(width, 2).reshape(len(sums), -1, *sums[0].shape[1:]).unbind()


class _Normalize(Function):
    """(x - mean) · rstd · weight + bias, where mean and rstd are x's own over `over`; saves x and the statistics only."""

    @staticmethod
    def forward(ctx, x, weight, bias, mean, rstd, count, over):
        ctx.save_for_backward(x, weight, mean, rstd, count)
        ctx.over, shape = over, (-1, *mean.shape[2:])
        y = (x - mean).mul_(rstd if weight is None else rstd * weight.view(shape))
        return (y if bias is None else y.add_(bias.view(shape))).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, mean, rstd, count = ctx.saved_tensors
        dims, grad, normal = tuple(range(2, x.ndim)), grad.to(mean.dtype), (x - mean).mul_(rstd)
        sums, products = grad.sum(dims, keepdim=True), (grad * normal).sum(dims, keepdim=True)
        of_weight, of_bias = (
            t.sum(0).flatten() if needed else None
            for t, needed in zip((products, sums), ctx.needs_input_grad[1:3], strict=True)
        )
        scale = torch.ones_like(mean) if weight is None else weight.view(-1, *mean.shape[2:]).to(mean.dtype)
        sums, products = ctx.over(sums * scale, products * scale)
        grad = normal.mul_(-products / count).addcmul_(grad, scale).sub_(sums / count).mul_(rstd)
        return grad.to(x.dtype), of_weight, of_bias, None, None, None, None


def _normalize(module: nn.Module, x: Tensor, parts: tuple[Part, ...], batch=False, width=1, momentum=None) -> Tensor:
    """x (N, C, …) by its own statistics, in two passes in float32 or more; with a momentum, the running ones follow."""
    over, dims = functools.partial(_over, parts, batch, width), tuple(range(2, x.ndim))
    with torch.no_grad():
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        sums = values.sum(dims, keepdim=True)
        sums, count = over(sums, torch.full_like(sums, math.prod(x.shape[2:])))
        mean = sums / count
        var = over((values - mean).square().sum(dims, keepdim=True))[0] / count
        if momentum is not None:
            for running, new in ((module.running_mean, mean), (module.running_var, var * (count / (count - 1)))):
                running.lerp_(new.mean(0).flatten().to(running.dtype), momentum)
        rstd = (var + getattr(module, "eps", 1e-5)).rsqrt()
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    return _Normalize.apply(x, weight, bias, mean, rstd, count, over)


class SyncedBatchNorm(Slab):
    """Batch normalization with the statistics of all samples of all slabs."""

    _ranks: tuple[Part, ...] = ()  # those that share statistics

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.running_mean is not None:
            return super().forward(x)
        if x.ndim == 2:
            return self.forward(x[..., None])[..., 0]
        self._check_input_dim(x)
        momentum = None
        if self.training and self.track_running_stats:
            self.num_batches_tracked += 1
            momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        return _normalize(self, x, self._ranks, batch=True, momentum=momentum)


class SyncedInstanceNorm(Slab):
    """torch's instance normalization, with the statistics of whole volumes."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.track_running_stats:
            return super().forward(x)
        momentum = None if self.running_mean is None else self.momentum or 0.0
        return _normalize(self, x, self._parts, momentum=momentum)


class SyncedBareInstanceNorm(Slab):
    """`lib.models.blocks.InstanceNorm` with the statistics of whole volumes."""

    def forward(self, x: Tensor) -> Tensor:
        return blocks.channels_last(_normalize(self, x, self._parts))


class SyncedGroupNorm(Slab):
    """Group normalization with the statistics of whole volumes."""

    def forward(self, x: Tensor) -> Tensor:
        return _normalize(self, x, self._parts, width=self.num_channels // self.num_groups)
