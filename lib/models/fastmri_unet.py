"""The U-Net of fastMRI: the baseline on magnitude images, and the regularizer inside VarNet."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import InputError
from lib.models.blocks import InstanceNorm, channels_last
from lib.models.registry import Count


class _Layers(nn.Module):
    """A sequence one name deeper, `layers.0` and so on, as fastMRI's weights are stored."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _conv_block(in_chans: int, out_chans: int, drop_prob: float) -> _Layers:
    rest = InstanceNorm(), nn.LeakyReLU(0.2, inplace=True), nn.Dropout2d(drop_prob)
    first = nn.Conv2d(in_chans, out_chans, 3, padding=1, bias=False)
    second = nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False)
    return _Layers(first, *rest, second, *rest)


class UNet(nn.Module):
    """The U-Net of Ronneberger et al. as fastMRI has it; weights of fastMRI's `Unet` load with strict=True.

    Parameters
    ----------
    in_chans : channels of the input image
    out_chans : channels of the output image
    chans : channels at full resolution, doubled at each pooling
    num_pool_layers : average poolings
    drop_prob : chance in [0, 1) that dropout zeroes a channel

    Raises
    ------
    InputError
        For a drop_prob out of range, and, in `forward`, for images smaller than 2^num_pool_layers.

    References
    ----------
    Ronneberger et al., MICCAI 2015; Zbontar et al., arXiv 1811.08839.
    """

    def __init__(
        self,
        in_chans: Count = 1,
        out_chans: Count = 1,
        chans: Count = 32,
        num_pool_layers: Count = 4,
        drop_prob: float = 0.0,
    ):
        if not 0 <= drop_prob < 1:
            raise InputError("UNet", f"drop_prob is {drop_prob!r}", "a chance from 0 to below 1")
        super().__init__()
        self.smallest = 2**num_pool_layers
        widths = [chans * 2**level for level in range(num_pool_layers + 1)]
        self.down_sample_layers = nn.ModuleList(
            _conv_block(before, width, drop_prob)
            for before, width in zip([in_chans, *widths[:-2]], widths[:-1], strict=True)
        )
        self.conv = _conv_block(widths[-2], widths[-1], drop_prob)
        self.up_conv, self.up_transpose_conv = nn.ModuleList(), nn.ModuleList()
        for width in reversed(widths[:-1]):
            up = nn.ConvTranspose2d(2 * width, width, 2, stride=2, bias=False)
            self.up_transpose_conv.append(_Layers(up, InstanceNorm(), nn.LeakyReLU(0.2, inplace=True)))
            self.up_conv.append(_conv_block(2 * width, width, drop_prob))
        self.up_conv[-1] = nn.Sequential(self.up_conv[-1], nn.Conv2d(chans, out_chans, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, in_chans, H, W) to (N, out_chans, H, W); H and W at least 2^num_pool_layers, else InputError."""
        if min(image.shape[-2:]) < self.smallest:
            found, least = f"{image.shape[-2]}×{image.shape[-1]}", f"{self.smallest}×{self.smallest}"
            raise InputError("UNet", f"an image of {found} is too small for its poolings", f"at least {least}")
        image, skips = channels_last(image), []
        for layer in self.down_sample_layers:
            image = layer(image)
            skips.append(image)
            image = F.avg_pool2d(image, 2)
        image = self.conv(image)
        for up, conv in zip(self.up_transpose_conv, self.up_conv, strict=True):
            skip, image = skips.pop(), up(image)
            bottom, right = skip.shape[-2] - image.shape[-2], skip.shape[-1] - image.shape[-1]
            if bottom or right:  # pooling dropped the last row or column of an odd size
                image = F.pad(image, (0, right, 0, bottom), "reflect")
            image = conv(torch.cat((image, skip), 1))
        return image.contiguous()
