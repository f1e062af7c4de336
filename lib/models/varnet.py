"""E2E-VarNet (Sriram et al., MICCAI 2020): fastMRI's weights and outputs, in a faster form.

A Cartesian mask does not vary along the readout, so the readout is transformed once and the cascades work in hybrid
space, with 1-D transforms along the phase encode. Shifts are made once too: k-space runs there in the FFT's own order
and carries a factor e^{−2πi·k·⌊W/2⌋/W} (±1 for even W), which keeps images centred without shifting them.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.kspace import ifftc, rss
from lib.models.unet import UNet


class NormUnet(nn.Module):
    """A U-Net on complex images (N, H, W): real and imaginary part as channels, each normalised by its mean and std.

    Padded with zeros to multiples of 16, as fastMRI does whatever the number of pools.
    """

    def __init__(self, chans: int, num_pools: int):
        super().__init__()
        self.unet = UNet(2, 2, chans, num_pools)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.view_as_real(image).permute(0, 3, 1, 2)
        var, mean = torch.var_mean(x, (2, 3), keepdim=True)
        std = torch.where(var > 0, var, 1).sqrt()  # a constant component is left at zero, with a finite gradient
        x = (x - mean) / std
        (h, w), (down, across) = x.shape[-2:], (-x.shape[-2] % 16, -x.shape[-1] % 16)
        top, left = down // 2, across // 2
        x = F.pad(x, (left, across - left, top, down - top))
        x = self.unet(x).float()[..., top : top + h, left : left + w]
        return torch.view_as_complex((x * std + mean).permute(0, 2, 3, 1).contiguous())


class SensitivityModel(nn.Module):
    """Coil sensitivities (N, C, H, W) from images of the centre lines: each coil through one U-Net, divided by RSS."""

    def __init__(self, chans: int, num_pools: int):
        super().__init__()
        self.norm_unet = NormUnet(chans, num_pools)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm_unet(images.flatten(0, 1)).view_as(images)
        norm = rss(maps, 1).unsqueeze(1)
        return maps / torch.where(norm > 0, norm, 1)


class VarNetBlock(nn.Module):
    """k ← k − w·M(k − k₀) − F·E(U-Net(R·F⁻¹k)), in hybrid space; w starts at 1."""

    def __init__(self, chans: int, num_pools: int):
        super().__init__()
        self.model = NormUnet(chans, num_pools)
        self.dc_weight = nn.Parameter(torch.ones(1))

    def forward(self, current: Tensor, measured: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        image = (_to_image(current) * maps.conj()).sum(1)
        refined = _to_hybrid(self.model(image).unsqueeze(1) * maps)
        return current - (current - measured) * (mask * self.dc_weight) - refined


class VarNet(nn.Module):
    """Undersampled k-space to an image, by unrolled gradient descent with a U-Net as regulariser in each cascade.

    chans, pools: U-Nets of the cascades; sens_chans, sens_pools: U-Net of the sensitivities. `state_dict` has fastMRI's
    keys, so its published weights load. The centre lines that the sensitivities come from are counted in the mask; in a
    mask without a gap the original counts one, `count_full=True` counts all.
    """

    def __init__(
        self, num_cascades: int = 12, chans: int = 18, pools: int = 4, sens_chans: int = 8, sens_pools: int = 4,
        count_full: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.count_full = count_full
        self.sens_net = SensitivityModel(sens_chans, sens_pools)
        self.cascades = nn.ModuleList(VarNetBlock(chans, pools) for _ in range(num_cascades))

    def forward(self, masked_kspace: Tensor, mask: Tensor, num_low_frequencies: int | Tensor | None = None) -> Tensor:
        """masked_kspace (N, C, H, W) complex64, mask (N, 1, 1, W) bool → magnitude images (N, H, W), same units.

        num_low_frequencies: centre lines, one number or (N,); None counts them. Masks may differ within the batch.
        """
        measured = _enter(masked_kspace)
        maps = self._sensitivities(measured, mask, num_low_frequencies)
        current, sampled = measured, torch.fft.ifftshift(mask, dim=-1)
        for cascade in self.cascades:
            current = cascade(current, measured, sampled, maps)
        return rss(_to_image(current), 1)

    def sensitivities(self, masked_kspace: Tensor, mask: Tensor, num_low_frequencies=None) -> Tensor:
        """The coil sensitivities (N, C, H, W) that the network works with; arguments as in `forward`."""
        return self._sensitivities(_enter(masked_kspace), mask, num_low_frequencies)

    def _sensitivities(self, measured: Tensor, mask: Tensor, count: int | Tensor | None) -> Tensor:
        center = center_lines(mask, count, self.count_full)
        return self.sens_net(_to_image(measured * torch.fft.ifftshift(center, dim=-1)))


def center_lines(mask: Tensor, count: int | Tensor | None = None, count_full: bool = False) -> Tensor:
    """The centre lines of masks (N, 1, 1, W), as a mask: `count` of them, or the sampled run around W // 2.

    The run is 2 · min(left, right) lines, at least one, from (W − n + 1) // 2 on.
    """
    lines = mask.flatten(1).bool()
    width = lines.shape[1]
    if count is None:
        left = lines[:, : width // 2].flip(1).int().cumprod(1).sum(1)
        right = lines[:, width // 2 :].int().cumprod(1).sum(1)
        full = lines[:, : width // 2].all(1), lines[:, width // 2 :].all(1)
        # the original looks for the first gap on each side, and finds none at 0
        left, right = torch.where(full[0], 0, left), torch.where(full[1], 0, right)
        count = (2 * torch.minimum(left, right)).clamp_min(1)
        if count_full:
            count = torch.where(lines.all(1), width, count)
    count = torch.as_tensor(count, device=mask.device).expand(len(lines)).unsqueeze(1)
    start, column = (width - count + 1) // 2, torch.arange(width, device=mask.device)
    return ((column >= start) & (column < start + count)).view(-1, 1, 1, width)


def _enter(kspace: Tensor) -> Tensor:
    """Centred k-space (…, H, W) to hybrid space: images along H, k-space in the FFT's order with the factor along W."""
    width = kspace.shape[-1]
    turn = torch.arange(width, device=kspace.device, dtype=torch.float64) * (width // 2) % width / width
    factor = torch.polar(torch.ones_like(turn), -2 * math.pi * turn).to(kspace.dtype)
    return torch.fft.ifftshift(ifftc(kspace, (-2,)), dim=-1) * factor


def _to_image(hybrid: Tensor) -> Tensor:
    return torch.fft.ifft(hybrid, norm="ortho")


def _to_hybrid(image: Tensor) -> Tensor:
    return torch.fft.fft(image, norm="ortho")
