"""The 2-D U-Net (Ronneberger et al., MICCAI 2015) of the HipMRI system: 3×3 convolutions and ReLU."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.blocks import InstanceNorm, channels_last
from lib.models.registry import Count


def _stage(in_chans: int, chans: int, norm: str) -> nn.Sequential:
    """Two 3×3 convolutions, each with its norm, if any, and ReLU."""
    layers = []
    for i in (in_chans, chans):
        layers += [nn.Conv2d(i, chans, 3, padding=1), *([InstanceNorm()] if norm == "instance" else [])]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class UNet2D(nn.Module):
    """Images (N, in_chans, H, W) of any size to the logits of classes (N, num_classes, H, W).

    Max pooling 2 between levels, transposed convolutions 2×2 on the way up, skips concatenated. A size that pooling
    doesn't divide is padded with zeros inside. The source applies a softmax here; losses and predictions do that.

    Parameters
    ----------
    in_chans : channels of the input
    num_classes : channels of the output
    base_filters : channels of the first level, doubled at each
    depth : number of levels
    norm : none (the source), or instance: each channel of each image to mean 0 and variance 1 after each convolution

    References
    ----------
    Ronneberger et al., MICCAI 2015; the HipMRI system.
    """

    def __init__(
        self,
        in_chans: Count = 1,
        num_classes: Count = 6,
        base_filters: Count = 64,
        depth: Count = 5,
        norm: Literal["none", "instance"] = "none",
    ):
        super().__init__()
        widths = [base_filters * 2**d for d in range(depth)]
        self.down = nn.ModuleList(_stage(i, o, norm) for i, o in zip([in_chans, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths[:-1]))
        self.merge = nn.ModuleList(_stage(2 * w, w, norm) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(base_filters, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        step = 2 ** len(self.up)
        x = channels_last(F.pad(image, (0, -width % step, 0, -height % step)))
        skips = []
        for stage in self.down:
            x = stage(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat((skip, up(x)), 1))
        return self.head(x)[..., :height, :width]
