"""The cine U-Nets of g2archie/UNet-MRI-Reconstruction (after Hauptmann et al., MRM 2019), which de-alias a series of images.

All four are residual U-Nets over (axis 1, axis 2, time) that never pool time; they differ in the two convolutions of a
block, and `UNet3D_old` in its order of layers too.
"""

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import InputError
from lib.models.blocks import recomputed
from lib.models.registry import Count

NORM_EPS = 1e-3
REGULARIZATION_LAYERS = {  # the parameters of each
    "batch_norm": (), "instance_norm": (), "dropout": ("rate",), "dropblock": ("keep_prob", "block_size"),
}  # fmt: skip
KERNEL_PENALTIES = {"l1": ("l1",), "l2": ("l2",), "l1_l2": ("l1", "l2")}  # see `penalty`


class KerasInstanceNorm(nn.Module):
    """Each channel to mean 0 and deviation 1 over `axes` (of N, C, axis 1, axis 2, T), then a learned scale and shift.

    x ← γ·(x − mean) / (std + 1e-3) + β with the population's std, as in keras-contrib: eps is added to std, not to the
    variance. `axes` are those of the convolution before: the source folds the others into the batch.
    """

    def __init__(self, chans: int, axes: tuple[int, ...]):
        super().__init__()
        self.axes = axes
        self.weight, self.bias = nn.Parameter(torch.ones(chans)), nn.Parameter(torch.zeros(chans))

    def forward(self, x: Tensor) -> Tensor:
        given, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))  # squares of halves overflow
        centered = x - x.mean(self.axes, keepdim=True)
        power = centered.square().mean(self.axes, keepdim=True)
        std = torch.where(power > 0, power, 1).sqrt() * (power > 0)  # the root's gradient at 0 is infinite
        shape = (1, -1, 1, 1, 1)
        return (centered / (std + NORM_EPS) * self.weight.view(shape) + self.bias.view(shape)).to(given)


class DropBlock(nn.Module):
    """In training, zeroes blocks along some axes, each channel its own, and rescales what is left.

    γ = (1 − keep)·ΠS / bⁿ / Π(S − b + 1) is the chance that a block begins at a place, so that about 1 − keep of the
    values are dropped; the rest is multiplied by numel / sum(mask).

    Parameters
    ----------
    keep_prob : share of the values that is kept, above 0 and at most 1
    block_size : values along each of the axes; an axis that is shorter has blocks of its own length
    axes : some of 2, 3, 4 of (N, C, axis 1, axis 2, T)

    References
    ----------
    Ghiasi et al., NeurIPS 2018; the source's tf-dropblock.
    """

    def __init__(self, keep_prob: float, block_size: int, axes: tuple[int, ...]):
        super().__init__()
        self.keep_prob, self.block_size, self.axes = keep_prob, block_size, axes

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.keep_prob == 1:
            return x
        block = [min(self.block_size, x.shape[a]) if a in self.axes else 1 for a in (2, 3, 4)]
        starts = [size - b + 1 for size, b in zip(x.shape[2:], block, strict=True)]
        gamma = (1 - self.keep_prob) * math.prod(x.shape[2:]) / math.prod(block) / math.prod(starts)
        seeds = torch.rand((*x.shape[:2], *starts), device=x.device) < gamma
        before_after = [p for b in reversed(block) for p in (b - 1, b - 1)]
        mask = 1 - F.max_pool3d(F.pad(seeds.to(x.dtype), before_after), block, 1)
        return x * mask * (mask.numel() / mask.sum().clamp(min=1))


def _layer(type: str | None, parameters: list[float], chans: int, kernel: tuple[int, ...]) -> nn.Module:
    """The regularization layer behind a convolution with that kernel over (axis 1, axis 2, T)."""
    axes = tuple(i + 2 for i, size in enumerate(kernel) if size > 1)
    if type == "batch_norm":
        return nn.BatchNorm3d(chans, eps=NORM_EPS, momentum=0.01)  # Keras' momentum .99
    if type == "instance_norm":
        return KerasInstanceNorm(chans, axes)
    if type == "dropout":
        return nn.Dropout(parameters[0])
    if type == "dropblock" and len(axes) > 1:  # the source has none behind convolutions over time alone
        return DropBlock(parameters[0], int(parameters[1]), axes)
    return nn.Identity()


class _Up(nn.ConvTranspose3d):
    """A transposed convolution with stride (2, 2, 1) whose output has twice the size and as many frames: Keras' 'same'."""

    def __init__(self, in_chans: int, out_chans: int, kernel: int):
        super().__init__(in_chans, out_chans, kernel, stride=(2, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        height, width, frames = 2 * x.shape[2], 2 * x.shape[3], x.shape[4]
        first = (self.kernel_size[2] - 1) // 2
        return super().forward(x)[:, :, :height, :width, first : first + frames]


class _Conv(nn.Sequential):
    """Convolution → regularization → ReLU, or, `late`, convolution → ReLU → regularization."""

    def __init__(self, conv: nn.Module, layer: nn.Module, relu: bool = True, late: bool = False):
        activation = nn.ReLU() if relu else nn.Identity()
        super().__init__(conv, *((activation, layer) if late else (layer, activation)))


def check_regularization(type: str | None, parameters: list[float] | None) -> list[float]:
    """The parameters as a list; InputError unless REGULARIZATION_LAYERS or KERNEL_PENALTIES has such a type with as many."""
    known, parameters = REGULARIZATION_LAYERS | KERNEL_PENALTIES, list(parameters or ())
    if type is not None and type not in known:
        raise InputError("regularization", f"type is {type!r}", f"one of {', '.join(known)} or null")
    names = known.get(type, ())
    if len(parameters) != len(names):
        expected = f"{len(names)}: {', '.join(names)}" if names else "none"
        raise InputError("regularization", f"{type} has {len(parameters)} parameters", expected)
    limits = {"rate": (0, 1 - 1e-9), "keep_prob": (1e-9, 1), "block_size": (1, math.inf)}
    for name, value in zip(names, parameters, strict=True):
        low, high = limits.get(name, (0, math.inf))
        whole = name != "block_size" or value == int(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or not whole:
            words = {"rate": "from 0 to below 1", "keep_prob": "above 0 and at most 1", "block_size": "1, 2, 3 …"}
            raise InputError(
                "regularization", f"{name} of {type} is {value!r}", f"a number {words.get(name, 'of at least 0')}"
            )
    return parameters


class CineUNet(nn.Module):
    """What the four cine U-Nets share; see UNet3D.

    Parameters
    ----------
    base_filters : channels of the first level, doubled at each
    depth : number of levels
    head : "relu", the source's, whose correction can only add to the image, or "linear"
    regularization : {type, parameters} as in REGULARIZATION_LAYERS or KERNEL_PENALTIES
        The layers stand behind every convolution; penalties are the training's business (`penalty`).
    regularize_head : whether such a layer stands behind the one-channel head, too
    checkpointing : blocks are computed again in the backward pass instead of being kept

    Raises
    ------
    InputError
        For a regularization that doesn't exist, or parameters out of range.

    References
    ----------
    Hauptmann et al., MRM 2019; g2archie/UNet-MRI-Reconstruction.
    """

    kernels: tuple[tuple[int, int, int], ...]  # of a block's two convolutions, over (axis 1, axis 2, T)
    up_kernel, late, relu_on_head, relu_on_last_up = 2, False, True, True

    def __init__(
        self,
        base_filters: Count = 32,
        depth: Count = 5,
        head: Literal["relu", "linear"] = "relu",
        regularization: dict[str, Any] | None = None,
        regularize_head: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__()
        kind = (regularization or {}).get("type")
        parameters = check_regularization(kind, (regularization or {}).get("parameters"))
        self.multiple, self.checkpointing = 2 ** (depth - 1), checkpointing

        def layer(chans: int, kernel: tuple[int, ...]) -> nn.Module:
            return _layer(kind, parameters, chans, kernel)

        def conv(before: int, after: int, kernel: tuple[int, ...]) -> nn.Module:
            return nn.Conv3d(before, after, kernel, padding=tuple(k // 2 for k in kernel))

        def block(before: int, after: int) -> nn.Sequential:
            first, second = self.kernels
            return nn.Sequential(
                _Conv(conv(before, after, first), layer(after, first), late=self.late),
                _Conv(conv(after, after, second), layer(after, second), late=self.late),
            )

        widths = [base_filters * 2**level for level in range(depth)]
        self.down = nn.ModuleList(block(a, b) for a, b in zip([1, *widths[:-1]], widths, strict=True))
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        three = (3, 3, 3)
        for level, width in reversed(list(enumerate(widths[:-1]))):
            up, relu = _Up(2 * width, width, self.up_kernel), level > 0 or self.relu_on_last_up
            self.up.append(_Conv(up, layer(width, three), relu, self.late))
            self.merge.append(block(2 * width, width))
        relu, last = head == "relu" and self.relu_on_head, layer(1, three) if regularize_head else nn.Identity()
        self.head = _Conv(conv(base_filters, 1, three), last, relu, self.late)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.xavier_uniform_(module.weight)  # Keras' glorot_uniform
                nn.init.zeros_(module.bias)

    def forward(self, series: Tensor) -> Tensor:
        """Aliased magnitude (N, axis 1, axis 2, T), about 0 to 1, to the same shape, at least 0; any size of an image.

        Sizes that the poolings don't divide are padded with zeros and cropped again. InputError for another rank.
        """
        return F.relu(series + self.correction(series))

    def correction(self, series: Tensor) -> Tensor:
        """What the network adds to the series, of its shape; with a "relu" head at least 0."""
        if series.ndim != 4 or series.is_complex():
            found = f"{tuple(series.shape)} {series.dtype}"
            raise InputError(type(self).__name__, f"the series is {found}", "real (N, axis 1, axis 2, T)")
        height, width = series.shape[1:3]
        bottom, right = -height % self.multiple, -width % self.multiple
        x, skips = F.pad(series.unsqueeze(1), (0, 0, 0, right, 0, bottom)), []
        for level, block in enumerate(self.down):
            x = self._run(block, F.max_pool3d(x, (2, 2, 1)) if level else x)
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = self._run(merge, torch.cat((skips.pop(), self._run(up, x)), 1))
        return self.head(x)[:, 0, :height, :width]

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        return recomputed(block, x) if self.checkpointing else block(x)


class UNet3D(CineUNet):
    """Two convolutions 3×3×3 per block: 22,576,161 parameters at the published settings."""

    kernels = ((3, 3, 3), (3, 3, 3))


class UNet2D1D(CineUNet):
    """A convolution 3×3 over each frame, then one of 3 over time at each pixel: 5,839,329 parameters."""

    kernels = ((3, 3, 1), (1, 1, 3))


class UNet2D2D(CineUNet):
    """A convolution 3×3 over (axis 1, time), then one over (axis 2, time), none within a frame: 8,456,673 parameters."""

    kernels = ((3, 1, 3), (1, 3, 3))


class UNet3D_old(CineUNet):
    """The source's first network: 25,883,681 parameters.

    Regularization after the ReLU, 3×3×3 up-convolutions, no ReLU on the last of them nor on the head.
    """

    kernels = ((3, 3, 3), (3, 3, 3))
    up_kernel, late, relu_on_head, relu_on_last_up = 3, True, False, False


@torch.no_grad()
def head_is_dead(model: nn.Module, inputs: Iterable[Tensor]) -> bool:
    """Whether the network adds nothing to any of the batches of series: its head's ReLU never opens, output = input.

    The batches may lie anywhere, such as on the CPU while the network is on a GPU. Other networks have no such head: False.
    """
    if not isinstance(model, CineUNet):
        return False
    place = next(model.parameters()).device
    return not any(bool(model.correction(x.to(place)).any()) for x in inputs)


def penalty(model: nn.Module, type: str | None = None, parameters: list[float] | None = None) -> Tensor | float:
    """Keras' kernel regularization of a network: Σ over kernels of l1·Σ|w| + l2·Σw²; 0 for other types."""
    weights = dict(zip(KERNEL_PENALTIES.get(type, ()), parameters or (), strict=False))
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    total = 0.0
    if weights.get("l1"):
        total = total + weights["l1"] * sum(w.abs().sum() for w in kernels)
    if weights.get("l2"):
        total = total + weights["l2"] * sum(w.square().sum() for w in kernels)
    return total
