"""The end-to-end variational network (Sriram et al., MICCAI 2020, arXiv 2004.06688), with fastMRI's weights.

Same weights and same output as fastMRI's, up to rounding, for less work:

* A Cartesian mask doesn't vary along the readout, so the readout is transformed once, before the cascades.
* The phase encodes are reordered and given a linear phase once; from then on `torch.fft` transforms them without shifts.
* Each cascade takes k ← k − w·M(k − k₀) − F·S·u, with S the sensitivities, F the phase-encode FFT, M the mask and u the
  U-Net's image. S and M are the same in all cascades, so k − k₀ = −F·S·a + M·F·S·b at every one of them, where
  a ← a + u and b ← b + w·(a − b) start at 0: two images take the place of all coils' k-space.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import InputError
from lib.kspace import ifftc, rss
from lib.models.blocks import check_counts
from lib.models.unet import UNet


class NormUNet(nn.Module):
    """A U-Net on complex images (N, H, W): real and imaginary part as channels, each normalised and padded around it."""

    def __init__(self, chans: int, pools: int):
        super().__init__()
        self.unet = UNet(2, 2, chans, pools)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.view_as_real(image).movedim(-1, 1).contiguous()
        std, mean = torch.std_mean(x, (2, 3), keepdim=True)
        x = (x - mean) / torch.where(std > 0, std, 1)  # a constant part has no scale; no eps, as images may be of 1e-6
        (top, bottom), (left, right) = (_margins(size) for size in image.shape[-2:])
        x = self.unet(F.pad(x, (left, right, top, bottom)))
        x = x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right] * std + mean  # float32 again after autocast
        return torch.complex(x[:, 0], x[:, 1])


def _margins(size: int) -> tuple[int, int]:
    """Zeros before and after that make `size` a multiple of 16."""
    missing = -size % 16
    return missing // 2, missing - missing // 2


class _SensitivityNet(nn.Module):
    def __init__(self, chans: int, pools: int):
        super().__init__()
        self.norm_unet = NormUNet(chans, pools)


class _Cascade(nn.Module):
    def __init__(self, chans: int, pools: int):
        super().__init__()
        self.model = NormUNet(chans, pools)
        self.dc_weight = nn.Parameter(torch.ones(1))


class VarNet(nn.Module):
    """Undersampled multi-coil k-space to an image; sensitivities from the centre lines, then unrolled cascades.

    num_cascades cascades with a U-Net of `chans` channels and `pools` poolings; the sensitivities' U-Net has sens_chans
    and sens_pools. full_mask_center: how a fully sampled half of k-space counts when centre lines are looked for: False,
    as the original, as no lines (so a full mask has one centre line), True as all its lines.
    Weights of fastMRI's `VarNet` load with strict=True. Raises InputError for settings out of range.
    """

    def __init__(
        self,
        num_cascades: int = 12,
        chans: int = 18,
        pools: int = 4,
        sens_chans: int = 8,
        sens_pools: int = 4,
        full_mask_center: bool = False,
    ):
        check_counts(
            "VarNet", num_cascades=num_cascades, chans=chans, pools=pools, sens_chans=sens_chans, sens_pools=sens_pools
        )
        super().__init__()
        self.full_mask_center = full_mask_center
        self.sens_net = _SensitivityNet(sens_chans, sens_pools)
        self.cascades = nn.ModuleList(_Cascade(chans, pools) for _ in range(num_cascades))

    def forward(self, masked_kspace: Tensor, mask: Tensor, num_low_frequencies: int | Tensor | None = None) -> Tensor:
        """K-space (N, C, H, W) complex, zero where not sampled, to the image (N, H, W), real, in the units of the coils.

        mask: (N, 1, 1, W) bool, True where sampled; samples may differ. num_low_frequencies: sampled lines around the
        centre, one count or (N,) of them; None or 0: the mask tells. Computes in float32 but for the U-Nets, which
        follow autocast. Scaling the k-space scales the image. Raises InputError for other shapes and types.
        """
        self._check(masked_kspace, mask)
        hybrid, mask = _to_hybrid(masked_kspace), mask
        maps = self._maps(hybrid, center_lines(mask, num_low_frequencies, self.full_mask_center))
        unsampled = ~torch.fft.ifftshift(mask, -1)
        coils = torch.fft.ifft(hybrid, norm="ortho")
        conj = maps.conj().resolve_conj()
        start = (coils * conj).sum(1)
        power = (maps * conj).real.sum(1)  # 1, or 0 where no coil sees anything

        def resample(image: Tensor) -> Tensor:
            lines = torch.fft.fft(image.unsqueeze(1) * maps, norm="ortho")
            return torch.fft.ifft(lines.masked_fill_(unsampled, 0), norm="ortho")

        a = b = torch.zeros_like(start)
        for index, cascade in enumerate(self.cascades):
            image = start - power * a
            if index > 1:  # b is 0 before
                image = image + (resample(b) * conj).sum(1)
            b = b + cascade.dc_weight * (a - b)
            a = a + cascade.model(image)
        return rss(coils - a.unsqueeze(1) * maps + resample(b), 1)

    def sensitivities(
        self, masked_kspace: Tensor, mask: Tensor, num_low_frequencies: int | Tensor | None = None
    ) -> Tensor:
        """The coil sensitivities (N, C, H, W), complex, that `forward` uses on the same arguments; RSS 1, or 0."""
        self._check(masked_kspace, mask)
        return self._maps(_to_hybrid(masked_kspace), center_lines(mask, num_low_frequencies, self.full_mask_center))

    def _maps(self, hybrid: Tensor, center: Tensor) -> Tensor:
        center = torch.fft.ifftshift(center, -1)
        images = torch.fft.ifft(hybrid.masked_fill(~center, 0), norm="ortho")
        maps = self.sens_net.norm_unet(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        total = rss(maps, 1).unsqueeze(1)
        return maps / torch.where(total > 0, total, 1)

    def _check(self, kspace: Tensor, mask: Tensor) -> None:
        if kspace.ndim != 4 or not kspace.is_complex():
            raise InputError(
                f"VarNet: k-space is {tuple(kspace.shape)} {kspace.dtype}, expected (N, C, H, W) of complex numbers"
            )
        shapes = [(n, 1, 1, kspace.shape[3]) for n in (1, kspace.shape[0])]
        if mask.dtype != torch.bool or tuple(mask.shape) not in shapes:
            raise InputError(f"VarNet: the mask is {tuple(mask.shape)} {mask.dtype}, expected {shapes[1]} torch.bool")


def center_lines(mask: Tensor, num_low_frequencies: int | Tensor | None, full_mask_center: bool) -> Tensor:
    """The lines that the sensitivities are estimated from, as a mask of `mask`'s (N, 1, 1, W), bool.

    A block of the given count; None or 0: twice the shorter of the two runs of sampled lines that meet at the centre,
    or 1. full_mask_center: see VarNet.
    """
    sampled, width = mask[:, 0, 0], mask.shape[-1]
    half = width // 2
    left = sampled[:, :half].flip(1).cumprod(1).sum(1)
    right = sampled[:, half:].cumprod(1).sum(1)
    if not full_mask_center:
        left, right = left * (left < half), right * (right < width - half)
    count = (2 * torch.minimum(left, right)).clamp(min=1)
    if full_mask_center:
        count = torch.where(sampled.all(1), width, count)
    if num_low_frequencies is not None:
        given = torch.as_tensor(num_low_frequencies, device=mask.device).expand(len(mask))
        count = torch.where(given > 0, given, count)
    first = ((width - count + 1) // 2)[:, None]
    line = torch.arange(width, device=mask.device)
    return ((line >= first) & (line < first + count[:, None]))[:, None, None]


def _to_hybrid(kspace: Tensor) -> Tensor:
    """K-space (N, C, H, W) to rows of the image whose plain inverse FFT along W is the image, centre in the middle."""
    width = kspace.shape[-1]
    line = torch.arange(width, device=kspace.device, dtype=torch.float64)
    phase = torch.polar(torch.ones_like(line), -2 * torch.pi * (line * (width // 2) % width) / width).to(kspace.dtype)
    return torch.fft.ifftshift(ifftc(kspace, (-2,)), -1) * phase
