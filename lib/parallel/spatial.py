"""One volume over several processes: each works on a slab of it, and the network computes what one process would.

`partition` swaps a network's modules in place: convolutions, pools and upsampling ask the neighbors for the planes that
they need (zeros outside the volume), norms take their statistics over all slabs. Parameters, buffers and their names stay,
so a partitioned network's checkpoint is the plain network's. All slabs have the same extent.

Gradients: every backward pass here is the true adjoint for the sum of all ranks' losses; `total` and `gather`, too, sum
what the ranks send back. So a loss may be made of slabs, of totals or of a gathered output alike. Averaging gradients over
all ranks gives the gradient of the MEAN of the ranks' losses: our training's convention, where a loss made of global sums
is the same on every rank and its own mean. `reduce_grads` gives that of the SUM, for losses that are each slab's share.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from lib import InputError
from lib.models import blocks
from lib.parallel import halo_layers, synced_norms
from lib.parallel.guard import Guard
from lib.parallel.synced_norms import Part, Slab, summed


def _ruled(rule: type[Slab], *classes: type[nn.Module]) -> dict[type, type]:
    """{class: the same with a rule}; one that ends in 2d or 3d takes as many spatial axes."""
    axes = {"2d": 4, "3d": 5}
    return {c: type(c.__name__, (rule, c), {"ndim": axes.get(c.__name__[-2:])}) for c in classes}


RULES = {
    **_ruled(halo_layers.Conv, nn.Conv2d, nn.Conv3d),
    **_ruled(halo_layers.ConvTranspose, nn.ConvTranspose2d, nn.ConvTranspose3d),
    **_ruled(halo_layers.Pool, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d),
    **_ruled(halo_layers.Upsample, nn.Upsample),
    **_ruled(halo_layers.Dropout, nn.Dropout),
    **_ruled(halo_layers.ChannelDropout, nn.Dropout2d, nn.Dropout3d),
    **_ruled(synced_norms.SyncedBatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    **_ruled(synced_norms.SyncedInstanceNorm, nn.InstanceNorm2d, nn.InstanceNorm3d),
    **_ruled(synced_norms.SyncedBareInstanceNorm, blocks.InstanceNorm),
    **_ruled(synced_norms.SyncedGroupNorm, nn.GroupNorm, blocks.GroupNorm),
}
LOCAL = {  # each value by itself, or the channels of each position; and containers, which may be empty
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.GLU,
    nn.Sigmoid, nn.LogSigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Hardshrink, nn.Softshrink, nn.Tanh,
    nn.Tanhshrink, nn.Softplus, nn.Softsign, nn.Threshold, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d,
    nn.Sequential, nn.ModuleList, nn.ModuleDict,
}  # fmt: skip


class _Guarded:
    def __call__(self, *args, **kwargs):
        with Guard(type(self).__name__, [part.axis for part in self._parts]):
            return super().__call__(*args, **kwargs)


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Module, type[Slab] | None]]:
    """(its name in messages, the module, its class with a rule) of all modules."""
    for path, module in model.named_modules():
        rule = type(module) if isinstance(module, Slab) else RULES.get(type(module))
        yield f"{path or 'the network'} ({type(module).__name__})", module, rule


def partition(
    model: nn.Module, axis: int, group: dist.ProcessGroup | None = None, batch_group: dist.ProcessGroup | None = None
) -> nn.Module:
    """The model, changed in place to work on slabs of (N, C, D, H, W) or (N, C, H, W).

    A second call, with a group across the first, splits another axis, too.

    Parameters
    ----------
    model : of modules that RULES and LOCAL list
    axis : 2, 3 or 4, along which the input is split
    group : the processes that hold one volume, by rank; None: all
    batch_group : those that share the statistics of batch norms; None: group

    Raises
    ------
    InputError
        For a module without a rule, one whose slabs don't fit, and an axis that is split already; the model is as it was.
    """
    if axis not in (2, 3, 4):
        raise InputError("axis", f"got {axis!r}", "2, 3 or 4 of (N, C, D, H, W)")
    part, ruled = Part(axis, group), {}
    if part.size == 1:
        return model if batch_group is None else synchronize(model, batch_group)
    for name, module, rule in _named(model):
        for p in getattr(module, "_parts", ()):
            if p.axis == axis or len(p.members() & part.members()) > 1:
                raise InputError(
                    name, f"split along axis {p.axis} already; another axis needs a group across the first"
                )
        if not rule and type(module) not in LOCAL and next(module.children(), None) is None:
            raise InputError(name, "no rule for slabs of it; lib.parallel.spatial.RULES and LOCAL list what has one")
        if rule:
            try:
                rule.halo(module, axis)
            except InputError as error:
                raise InputError(name, error) from None
            ruled[module] = rule, name
    for module, (rule, name) in ruled.items():
        module.__class__, module._path = rule, name
    for module in {**ruled, model: ()}:
        module._parts = (*getattr(module, "_parts", ()), part)
    if not isinstance(model, _Guarded):
        model.__class__ = type(type(model).__name__, (_Guarded, type(model)), {})
    return synchronize(model, batch_group or group)


def synchronize(model: nn.Module, group: dist.ProcessGroup | None = None) -> nn.Module:
    """The model, its batch norms changed in place to take their statistics over a group (too): for data parallelism."""
    part = Part(0, group)
    for name, module, rule in _named(model) if part.size > 1 else ():
        if rule and issubclass(rule, synced_norms.SyncedBatchNorm):
            module.__class__, module._path = rule, name
            if not any(part.members() <= p.members() for p in module._ranks):  # none is counted twice
                module._ranks = (*(p for p in module._ranks if not p.members() <= part.members()), part)
    return model


def check(extent: int, parts: int, step: int = 1, axis: int | None = None) -> None:
    """InputError unless an extent can be split.

    Parameters
    ----------
    extent : voxels along the axis
    parts : slabs
    step : what divides a slab's extent, such as all of a network's pooling
    axis : named in the message
    """
    if extent % (parts * step):
        low = extent // (parts * step) * parts * step
        raise InputError(
            f"{'' if axis is None else f'axis {axis}: '}extent {extent} isn't divisible by {parts} parts × {step}; "
            f"{f'{low} and ' if low else ''}{low + parts * step} are"
        )


def split(x: Tensor, axis: int, group: dist.ProcessGroup | None = None) -> Tensor:
    """This rank's slab of a tensor that every rank has; InputError unless its extent divides."""
    part = Part(axis, group)
    check(x.shape[axis], part.size, axis=axis)
    return x.chunk(part.size, axis)[part.rank].contiguous()


def gather(x: Tensor, axis: int, group: dist.ProcessGroup | None = None) -> Tensor:
    """The whole tensor of every rank's slab; backward, a slab gets its part of the sum of all ranks' gradients."""
    part, n = Part(axis, group), x.shape[axis]
    return total(F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [part.rank * n, (part.size - 1 - part.rank) * n]), group)


def total(x: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """x summed over the ranks; backward, its gradient is summed over them, too."""
    part = Part(0, group)

    def over_ranks(x: Tensor) -> Tensor:
        return summed(x.clone(memory_format=torch.contiguous_format), (part,))

    return halo_layers.Linear.apply(x, over_ranks, over_ranks) if part.size > 1 else x


def reduce_grads(model: nn.Module, group: dist.ProcessGroup | None = None) -> None:
    """Sums the gradients of the parameters over the group, in one message."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    if grads:
        whole = summed(torch.cat([g.flatten() for g in grads]), (Part(0, group),))
        for grad, piece in zip(grads, whole.split([g.numel() for g in grads]), strict=True):
            grad.copy_(piece.view_as(grad))
