"""The layers of a network that works on slabs: what each asks of its neighbors, and its true adjoint.

A convolution, a pool or an upsampling pads its slab with the neighbors' planes (zeros, or the edge, outside the volume),
computes as ever, and cuts off what isn't its own.
"""

import functools
import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from lib import InputError
from lib.parallel.synced_norms import Part, Slab

# A part, the planes before and after that it needs, and the value outside the volume ("edge": the volume's edge plane).
Halo = tuple[Part, int, int, float | str]


def _pad(x: Tensor, halos: list[Halo]) -> Tensor:
    """A slab with its neighbors' planes; one axis after another, so that corners come along."""
    for part, left, right, value in halos:
        axis, n = part.axis, x.shape[part.axis]
        if max(left, right) > n:
            raise InputError(f"axis {axis}", f"a slab of {n} planes, its neighbors need {max(left, right)} of it")
        got = part.swap(x.narrow(axis, 0, right), x.narrow(axis, n - left, left))
        if value == "edge":
            got = [x.narrow(axis, i, 1) if p is None else p for i, p in zip((0, n - 1), got, strict=True)]
            value = 0.0
        x = F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [left, right], value=value)  # keeps the memory format
        for start, planes in zip((0, left + n), got, strict=True):
            if planes is not None:
                x.narrow(axis, start, planes.shape[axis]).copy_(planes)
    return x


def _fold(x: Tensor, halos: list[Halo]) -> Tensor:
    """The adjoint of `_pad`: the halo's planes go back to the rank that they came from, and are added there."""
    for part, left, right, value in reversed(halos):
        axis, n = part.axis, x.shape[part.axis] - left - right
        sent = x.narrow(axis, 0, left), x.narrow(axis, left + n, right)
        got = part.swap(*sent)
        if value == "edge":
            got = [own if planes is None else planes for own, planes in zip(sent, got, strict=True)]
        x = x.narrow(axis, left, n).clone()
        for side, planes in enumerate(got):
            if planes is not None:
                x.narrow(axis, side * (n - planes.shape[axis]), planes.shape[axis]).add_(planes)
    return x


class Linear(Function):
    """A linear map of x, with its adjoint for the backward pass."""

    @staticmethod
    def forward(ctx, x, forward, adjoint):
        ctx.adjoint = adjoint
        return forward(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return ctx.adjoint(grad), None, None


def _padded(x: Tensor, halos: list[Halo]) -> Tensor:
    """`_pad` with its gradient."""
    return Linear.apply(x, lambda x: _pad(x, halos), lambda grad: _fold(grad, halos)) if halos else x


class _Convolve(Function):
    """A convolution that saves its slab without the halo, and asks for the halo again in the backward pass."""

    @staticmethod
    def forward(ctx, x, weight, bias, halos, *geometry):
        ctx.save_for_backward(x, weight)
        ctx.halos, ctx.geometry, ctx.bias = halos, geometry, None if bias is None else bias.shape
        return torch.ops.aten.convolution(_pad(x, halos), weight, bias, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x, weight), needed = ctx.saved_tensors, ctx.needs_input_grad
        padded = _pad(x, ctx.halos)
        grads = torch.ops.aten.convolution_backward(grad, padded, weight, ctx.bias, *ctx.geometry, needed[:3])
        return _fold(grads[0], ctx.halos) if needed[0] else None, *grads[1:], *[None] * (len(needed) - 3)


def _at(value: Any, axis: int) -> Any:
    """A module's setting on an axis, of a value for all or one for each."""
    return value[axis - 2] if isinstance(value, tuple | list) else value


def _halos(module: Slab, value: float | str = 0.0) -> list[Halo]:
    halos = [(part, *module.halo(module, part.axis), value) for part in module._parts]
    return [halo for halo in halos if halo[1] or halo[2]]


def _inside(module: Slab, padding: Any, ndim: int) -> list[int]:
    """The padding of every spatial axis, 0 of one that is split: `_pad` has seen to it."""
    split = [part.axis for part in module._parts]
    return [0 if axis in split else _at(padding, axis) for axis in range(2, ndim)]


def _autocast(*tensors: Tensor | None) -> list[Tensor | None]:
    """What autocast makes of a convolution's operands: it doesn't see those of an autograd function."""
    device = tensors[0].device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return [t if t is None or dtype is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors]


def _cut(x: Tensor, cuts: list[tuple[int, int, int]]) -> Tensor:
    """`length` planes from `start` on each axis, in memory of their own."""
    y = functools.reduce(lambda y, cut: y.narrow(*cut), cuts, x)
    return x if y.shape == x.shape else y.clone()


class _Window(Slab):
    """Convolutions and pools: a kernel, stride, padding and dilation on each axis."""

    @staticmethod
    def sides(module: nn.Module, axis: int) -> tuple[int, int]:
        """Padding before and after the volume."""
        return (_at(module.padding, axis),) * 2

    @classmethod
    def halo(cls, module: nn.Module, axis: int) -> tuple[int, int]:
        kernel, stride, dilation = (_at(getattr(module, n, 1), axis) for n in ("kernel_size", "stride", "dilation"))
        (left, right), reach = cls.sides(module, axis), dilation * (kernel - 1) + 1
        ceil = getattr(module, "ceil_mode", False)  # then windows mustn't reach beyond the padding
        if not -stride <= left + right - reach <= (-stride if ceil else -1):
            raise InputError(
                f"axis {axis}",
                f"kernel {kernel}, stride {stride}, dilation {dilation}, padding {left} and "
                f"{right}{', ceil_mode' * ceil}: n planes don't give n / {stride}, window by window",
            )
        return left, max(0, reach - stride - left)

    def check(self, x: Tensor) -> None:
        for part in self._parts:
            n, stride = x.shape[part.axis], _at(self.stride, part.axis)
            if n % stride:
                raise InputError(f"axis {part.axis}", f"a slab of {n} planes isn't divisible by the stride {stride}")


class Conv(_Window):
    """A convolution whose zero padding is halos between slabs."""

    @staticmethod
    def sides(module: nn.Module, axis: int) -> tuple[int, int]:
        if module.padding_mode != "zeros":
            raise InputError("", f"padding_mode {module.padding_mode!r}", "'zeros'")
        sides = module._reversed_padding_repeated_twice
        return sides[-2::-2][axis - 2], sides[-1::-2][axis - 2]

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        sides = self._reversed_padding_repeated_twice
        left, right = (_inside(self, sides[i::-2], x.ndim) for i in (-2, -1))
        if left != right:  # "same" of an even kernel
            x = F.pad(x, [n for l, r in zip(left[::-1], right[::-1], strict=True) for n in (0, r - l)])
        geometry = self.stride, left, self.dilation, False, [0] * len(left), self.groups
        return _Convolve.apply(*_autocast(x, self.weight, self.bias), _halos(self), *geometry)


class ConvTranspose(Slab):
    """A transposed convolution that turns n planes into stride · n."""

    @classmethod
    def halo(cls, module: nn.Module, axis: int) -> tuple[int, int]:
        names = ("kernel_size", "dilation", "stride", "padding", "output_padding")
        kernel, dilation, stride, padding, more = (_at(getattr(module, n), axis) for n in names)
        reach = dilation * (kernel - 1) + 1
        if reach + more != stride + 2 * padding:
            raise InputError(
                f"axis {axis}",
                f"kernel {kernel}, stride {stride}, dilation {dilation}, padding {padding}, output_padding {more}: n "
                f"planes don't give {stride} n",
            )
        return (reach - 1 - padding) // stride, -(-padding // stride)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None:
            raise InputError("output_size", "that of the volume", "output_padding")
        cuts = []
        for axis in (part.axis for part in self._parts):
            stride, (left, _) = _at(self.stride, axis), self.halo(self, axis)
            cuts.append((axis, left * stride + _at(self.padding, axis), x.shape[axis] * stride))
        padding = _inside(self, self.padding, x.ndim)
        geometry = self.stride, padding, self.dilation, True, self.output_padding, self.groups
        return _cut(_Convolve.apply(*_autocast(x, self.weight, self.bias), _halos(self), *geometry), cuts)


class Pool(_Window):
    """Maximum or average pooling."""

    @classmethod
    def halo(cls, module: nn.Module, axis: int) -> tuple[int, int]:
        if getattr(module, "return_indices", False):
            raise InputError("return_indices", "positions in a slab aren't those in the volume")
        if _at(module.padding, axis) and not getattr(module, "count_include_pad", True):
            raise InputError(f"axis {axis}", f"padding {_at(module.padding, axis)} with count_include_pad=False")
        return super().halo(module, axis)

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        flat, greatest, padding = x.ndim == 4, hasattr(self, "return_indices"), _inside(self, self.padding, x.ndim)
        x = _padded(x, _halos(self, -math.inf if greatest else 0.0))
        window = x, self.kernel_size, self.stride, padding
        if greatest:
            return (F.max_pool2d if flat else F.max_pool3d)(*window, self.dilation, self.ceil_mode)
        options = self.ceil_mode, self.count_include_pad, self.divisor_override
        return (F.avg_pool2d if flat else F.avg_pool3d)(*window, *options)


class Upsample(Slab):
    """Upsampling by a whole factor, nearest or linear."""

    @classmethod
    def halo(cls, module: nn.Module, axis: int) -> tuple[int, int]:
        scale, linear = module.scale_factor and _at(module.scale_factor, axis), module.mode in ("bilinear", "trilinear")
        if not scale or scale != int(scale):
            raise InputError(f"axis {axis}", f"size {module.size}, scale_factor {scale}", "a whole scale_factor")
        if module.align_corners or not (linear or module.mode.startswith("nearest")):
            raise InputError(f"mode {module.mode!r} with align_corners={module.align_corners} has no rule")
        return (1, 1) if linear else (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        halos = _halos(self, "edge")
        scales = [(part.axis, int(_at(self.scale_factor, part.axis))) for part, *_ in halos]
        return _cut(super().forward(_padded(x, halos)), [(axis, s, s * x.shape[axis]) for axis, s in scales])


class Dropout(Slab):
    """Drops other values on every slab, though the ranks' random states are equal."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        place = functools.reduce(lambda n, part: n * part.size + part.rank, self._parts, 0)
        generator = torch.Generator(x.device).manual_seed(int(torch.randint(2**62, (), device="cpu")) + place)
        kept = torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - self.p, generator=generator)
        return x * kept / (1 - self.p or 1)


class ChannelDropout(Slab):
    """Drops the same channels on every slab, even where the ranks' random states differ."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = torch.empty(x.shape[:2], device=x.device).bernoulli_(1 - self.p)
        for part in self._parts:
            dist.broadcast(kept, dist.get_global_rank(part.group, 0), group=part.group)
        return x * kept.view(*kept.shape, *[1] * (x.ndim - 2)).to(x.dtype) / (1 - self.p or 1)
