"""fastMRI's U-Net (Zbontar et al., arXiv 1811.08839; after Ronneberger et al., MICCAI 2015), key for key."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InstanceNorm(nn.Module):
    """Instance norm without affine, eps 1e-5; written as a group norm, which torch runs far faster on CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, x.shape[1])


def _normed(conv: nn.Module, drop_prob: float | None = None) -> list[nn.Module]:
    layers = [conv, InstanceNorm(), nn.LeakyReLU(0.2, inplace=True)]
    return layers if drop_prob is None else [*layers, nn.Dropout2d(drop_prob)]


class ConvBlock(nn.Module):
    """2 × (3×3 convolution without bias, instance norm, LeakyReLU .2, dropout of channels)."""

    def __init__(self, in_chans: int, out_chans: int, drop_prob: float):
        super().__init__()
        self.layers = nn.Sequential(
            *_normed(nn.Conv2d(in_chans, out_chans, 3, padding=1, bias=False), drop_prob),
            *_normed(nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False), drop_prob),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class UpBlock(nn.Module):
    """Transposed 2×2 convolution of stride 2 without bias, instance norm, LeakyReLU .2: twice the size."""

    def __init__(self, in_chans: int, out_chans: int):
        super().__init__()
        self.layers = nn.Sequential(*_normed(nn.ConvTranspose2d(in_chans, out_chans, 2, stride=2, bias=False)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class UNet(nn.Module):
    """(N, in_chans, H, W) → (N, out_chans, H, W); odd sizes are padded by reflection on the way up.

    chans: channels of the first level, doubled at each of num_pool_layers levels. `state_dict` has fastMRI's keys.
    """

    def __init__(
        self, in_chans: int = 1, out_chans: int = 1, chans: int = 32, num_pool_layers: int = 4, drop_prob: float = 0.0
    ):
        super().__init__()
        widths = [chans * 2**level for level in range(num_pool_layers + 1)]
        self.down_sample_layers = nn.ModuleList(
            ConvBlock(a, b, drop_prob) for a, b in zip([in_chans, *widths[:-2]], widths[:-1], strict=True)
        )
        self.conv = ConvBlock(widths[-2], widths[-1], drop_prob)
        self.up_conv = nn.ModuleList(ConvBlock(2 * w, w, drop_prob) for w in widths[-2:0:-1])
        self.up_conv.append(nn.Sequential(ConvBlock(2 * chans, chans, drop_prob), nn.Conv2d(chans, out_chans, 1)))
        self.up_transpose_conv = nn.ModuleList(UpBlock(2 * w, w) for w in widths[-2::-1])

    def forward(self, image: Tensor) -> Tensor:
        skips, x = [], image
        for block in self.down_sample_layers:
            x = block(x)
            skips.append(x)
            x = F.avg_pool2d(x, 2)
        x = self.conv(x)
        for enlarge, block in zip(self.up_transpose_conv, self.up_conv, strict=True):
            x, skip = enlarge(x), skips.pop()
            if x.shape != skip.shape:
                x = F.pad(x, (0, skip.shape[-1] - x.shape[-1], 0, skip.shape[-2] - x.shape[-2]), "reflect")
            x = block(torch.cat([x, skip], 1))
        return x
