"""The 3-D U-Net (Çiçek et al., MICCAI 2016) of TensorFlow's LiTS system: 19,073,795 parameters as published."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import InputError
from lib.models.blocks import GroupNorm, recomputed
from lib.models.registry import Count


def _norm(kind: str, chans: int, momentum: float) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm3d(chans, eps=1e-3, momentum=1 - momentum)
    if kind == "instance":
        return nn.InstanceNorm3d(chans, affine=True)
    return GroupNorm(min(8, chans), chans)


def _stage(in_chans: int, middle: int, chans: int, norm: str, momentum: float) -> nn.Sequential:
    """Two 3³ convolutions, each with normalization and ReLU."""
    layers = []
    for i, o in ((in_chans, middle), (middle, chans)):
        layers += [nn.Conv3d(i, o, 3, padding=1), _norm(norm, o, momentum), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class VolumeUNet(nn.Module):
    """Volumes (N, in_chans, D, H, W) of any size to the logits of classes (N, num_classes, D, H, W), float32.

    Level d has base_filters · 2^d, then twice as many channels, which are concatenated on the way up; max pooling 2
    between levels. A size that pooling doesn't divide is padded with zeros inside. The source applies a softmax in
    float32 here; losses and predictions do that.

    Parameters
    ----------
    in_chans : channels of the input
    num_classes : channels of the output
    base_filters : channels of the first convolution; of groups a multiple of 8, if it is larger
    depth : number of levels
    norm : "batch" (eps .001), "instance" or "group" (8 groups), each with scale and shift
    up : "transposed" convolutions 2³ that keep the channels, or "nearest" (no parameters)
    norm_momentum : of batch norms as Keras counts it, the share of the old statistics, in [0, 1)
    checkpointing : a level's activations are computed again in the backward pass

    Raises
    ------
    InputError
        For settings out of range.

    References
    ----------
    Çiçek et al., MICCAI 2016; TensorFlow's LiTS system.
    """

    def __init__(
        self, in_chans: Count = 1, num_classes: Count = 3, base_filters: Count = 32, depth: Count = 4,
        norm: Literal["batch", "instance", "group"] = "batch", up: Literal["transposed", "nearest"] = "transposed",
        norm_momentum: float = 0.99, checkpointing: bool = False,
    ):  # fmt: skip
        if not 0 <= norm_momentum < 1:
            raise InputError("VolumeUNet", f"norm_momentum is {norm_momentum!r}", "a number of at least 0, below 1")
        if norm == "group" and base_filters % min(8, base_filters):
            raise InputError("VolumeUNet", f"norm group: base_filters {base_filters}", "a multiple of 8")
        super().__init__()
        self.norm, self.checkpointing = norm, checkpointing
        narrow = [base_filters * 2**d for d in range(depth)]
        wide = [2 * w for w in narrow]
        options = (norm, norm_momentum)
        self.down = nn.ModuleList(
            _stage(i, n, w, *options) for i, n, w in zip([in_chans, *wide], narrow, wide, strict=False)
        )
        self.pool = nn.MaxPool3d(2)
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(w, w, 2, 2) if up == "transposed" else nn.Upsample(scale_factor=2) for w in wide[:0:-1]
        )
        self.merge = nn.ModuleList(
            _stage(below + w, w, w, *options) for below, w in zip(wide[:0:-1], wide[-2::-1], strict=True)
        )
        self.head = nn.Conv3d(wide[0], num_classes, 1)

    def _level(self, stage: nn.Module, x: Tensor) -> Tensor:
        return recomputed(stage, x) if self.checkpointing else stage(x)

    def forward(self, volume: Tensor) -> Tensor:
        size, step = volume.shape[2:], 2 ** len(self.up)
        padding = [n for extent in reversed(size) for n in (0, -extent % step)]
        x = F.pad(volume, padding) if any(padding) else volume
        if x.device.type == "cpu" and self.norm == "batch":  # its convolutions are nearly twice as fast so
            x = x.contiguous(memory_format=torch.channels_last_3d)
        skips = []
        for stage in self.down:
            x = self._level(stage, self.pool(x) if skips else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = self._level(merge, torch.cat((up(x), skip), 1))
        return self.head(x)[..., : size[0], : size[1], : size[2]].float()
