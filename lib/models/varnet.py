"""The end-to-end variational network (Sriram et al., MICCAI 2020, arXiv 2004.06688), with fastMRI's weights.

Same weights and same output as fastMRI's, up to rounding, for less work:

* A Cartesian mask doesn't vary along the readout, so the readout is transformed once, before the cascades.
* The phase encodes are reordered and given a linear phase once; from then on `torch.fft` transforms them without shifts.
* Each cascade takes k ← k − w·M(k − k₀) − F·S·u, with S the sensitivities, F the phase-encode FFT, M the mask, w the
  cascade's weight and u its U-Net's image. S and M are the same in all cascades, so each has k = k₀ − F·S·a + M·F·S·b,
  where the images a ← a + u and b ← b + w·(a − b) start at 0 and take the place of all coils' k-space.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib import InputError
from lib.kspace import ifftc, rss
from lib.models.fastmri_unet import UNet
from lib.models.registry import Count

COILS_AT_ONCE = 4  # in the sensitivities' network, where memory is saved


class NormUNet(nn.Module):
    """A U-Net on complex images (N, H, W): real and imaginary part are channels, each normalized on the way in.

    A part that is the same everywhere has no scale and comes out as it went in.
    """

    def __init__(self, chans: int, pools: int):
        super().__init__()
        self.unet = UNet(2, 2, chans, pools)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.stack((image.real, image.imag), 1)
        std, mean = torch.std_mean(x, (2, 3), keepdim=True)
        x = (x - mean) / torch.where(std > 0, std, 1)  # never an eps: k-space comes in units of 1e-6 and of 1e6
        x = on_multiples(self.unet, x) * std + mean  # float32, also after autocast
        return torch.complex(x[:, 0], x[:, 1])


def margins(size: int) -> tuple[int, int]:
    """Zeros before and after that make `size` a multiple of 16."""
    missing = -size % 16
    return missing // 2, missing - missing // 2


def on_multiples(unet: nn.Module, images: Tensor) -> Tensor:
    """What a U-Net makes of images (N, C, H, W) that are padded with zeros to multiples of 16, cut back to H × W."""
    (top, bottom), (left, right) = (margins(size) for size in images.shape[-2:])
    x = unet(F.pad(images, (left, right, top, bottom)))
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def expanded(mask: Tensor, kspace: Tensor, network: str) -> Tensor:
    """The mask of each sample, (N, 1, 1, W); InputError that names the network where it is no such mask."""
    shape = (len(kspace), 1, 1, kspace.shape[-1])
    if mask.dtype != torch.bool or tuple(mask.shape) not in (shape, (1, *shape[1:])):
        raise InputError(network, f"the mask is {tuple(mask.shape)} {mask.dtype}", f"{shape} torch.bool")
    return mask.expand(shape)


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
    """Undersampled multi-coil k-space to an image: sensitivities from the center lines, then unrolled cascades.

    Weights of fastMRI's `VarNet` load with strict=True.

    Parameters
    ----------
    num_cascades : unrolled iterations
    chans : channels of each cascade's U-Net at full resolution
    pools : its poolings
    sens_chans : channels of the sensitivities' U-Net
    sens_pools : its poolings
    full_mask_center : how a fully sampled half of k-space counts where center lines are looked for
        False, as in the original, as no lines (so a full mask has one center line), True as all its lines.
    checkpointing : each cascade, and the sensitivities' network for a few coils at a time, keeps only its input and is
        computed again in the backward pass; the result is the same up to rounding
    readout_crop : rows of the image that are kept, about its center (one more where that isn't centered), as many as the
        target has at least; 0: all
        Scanners sample twice as many as are looked at. The readout is sampled whole, so that what is cut off takes no
        part in data consistency; the U-Nets see less around the object. Published weights were trained without.

    References
    ----------
    Sriram et al., MICCAI 2020, arXiv 2004.06688; Chen et al., arXiv 1604.06174 (checkpointing).
    """

    def __init__(
        self,
        num_cascades: Count = 12,
        chans: Count = 18,
        pools: Count = 4,
        sens_chans: Count = 8,
        sens_pools: Count = 4,
        full_mask_center: bool = False,
        checkpointing: bool = False,
        readout_crop: int = 0,
    ):
        super().__init__()
        if readout_crop < 0:
            raise InputError("VarNet", f"readout_crop is {readout_crop}", "the rows that are kept, or 0 for all")
        self.full_mask_center, self.checkpointing, self.readout_crop = full_mask_center, checkpointing, readout_crop
        self.sens_net = _SensitivityNet(sens_chans, sens_pools)
        self.cascades = nn.ModuleList(_Cascade(chans, pools) for _ in range(num_cascades))

    def forward(self, masked_kspace: Tensor, mask: Tensor, num_low_frequencies: int | Tensor | None = None) -> Tensor:
        """K-space to an image in the units of its coils; scaled k-space gives a scaled image.

        The U-Nets follow autocast, all else is done in k-space's precision.

        Parameters
        ----------
        masked_kspace : complex (N, C, H, W), zero where not sampled
        mask : (N, 1, 1, W) bool, True where sampled; samples may differ
        num_low_frequencies : sampled lines around the center, one count or (N,); None or 0: as many as the mask shows

        Returns
        -------
        Real (N, H, W), with `readout_crop` of so many rows.

        Raises
        ------
        InputError
            For other shapes and types.
        """
        mask = self._checked(masked_kspace, mask)
        hybrid = self._rows(to_hybrid(masked_kspace))
        maps = self._maps(hybrid, center_lines(mask, num_low_frequencies, self.full_mask_center))
        return self._unroll(hybrid, maps, mask, [cascade.model for cascade in self.cascades])

    def _unroll(
        self, hybrid: Tensor, maps: Tensor, mask: Tensor, corrections: Sequence[Callable[[Tensor], Tensor]]
    ) -> Tensor:
        """The cascades from k-space `hybrid` whose sampled lines are as measured; corrections: a cascade's u of its image."""
        conj = maps.conj().resolve_conj()  # maps·conj sums to 1 over the coils (an empty sample is 0 throughout)
        unsampled = ~torch.fft.ifftshift(mask, -1)

        def resample(image: Tensor) -> Tensor:
            lines = torch.fft.fft(image.unsqueeze(1) * maps, norm="ortho")
            return torch.fft.ifft(lines.masked_fill_(unsampled, 0), norm="ortho")

        coils = torch.fft.ifft(hybrid, norm="ortho")
        start = (coils * conj).sum(1)

        def step(index: int, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
            image = start - a
            if index > 1:  # b is 0 before
                image = image + (resample(b) * conj).sum(1)
            return a + corrections[index](image), b + self.cascades[index].dc_weight * (a - b)

        a = b = torch.zeros_like(start)
        for index in range(len(self.cascades)):
            a, b = self._kept_small(step, index, a, b)
        return rss(coils - a.unsqueeze(1) * maps + resample(b))

    def _rows(self, hybrid: Tensor) -> Tensor:
        """Those of the rows that are kept, by `readout_crop`."""
        spare = max(0, hybrid.shape[-2] - self.readout_crop) // 2 if self.readout_crop else 0
        return hybrid[..., spare : hybrid.shape[-2] - spare, :]

    def _kept_small(self, call: Callable[..., Any], *given: Any) -> Any:
        """What a call gives; with `checkpointing` only what it was given is kept for the backward pass."""
        if not self.checkpointing:
            return call(*given)
        return checkpoint(call, *given, use_reentrant=False, preserve_rng_state=False)  # nothing is drawn within

    def sensitivities(
        self, masked_kspace: Tensor, mask: Tensor, num_low_frequencies: int | Tensor | None = None
    ) -> Tensor:
        """The coil sensitivities (N, C, H, W), complex, that `forward` uses with these arguments; their RSS is 1 or 0."""
        mask = self._checked(masked_kspace, mask)
        return self._maps(
            self._rows(to_hybrid(masked_kspace)), center_lines(mask, num_low_frequencies, self.full_mask_center)
        )

    @torch.no_grad()
    def after_each_cascade(
        self, masked_kspace: Tensor, mask: Tensor, num_low_frequencies: int | Tensor | None = None
    ) -> list[Tensor]:
        """The image (N, H, W) that the first 1, 2, … cascades make; the last is `forward`'s. Arguments as there."""
        whole, images = self.cascades, []
        try:
            for count in range(1, len(whole) + 1):
                self.cascades = whole[:count]
                images.append(self(masked_kspace, mask, num_low_frequencies))
        finally:
            self.cascades = whole
        return images

    def _maps(self, hybrid: Tensor, center: Tensor) -> Tensor:
        images = torch.fft.ifft(hybrid.masked_fill(~torch.fft.ifftshift(center, -1), 0), norm="ortho")
        net, coils = self.sens_net.norm_unet, images.flatten(0, 1)
        if self.checkpointing:
            maps = torch.cat([self._kept_small(net, part) for part in coils.split(COILS_AT_ONCE)])
        else:
            maps = net(coils)
        maps = maps.unflatten(0, images.shape[:2])
        total = rss(maps).unsqueeze(1)
        return maps / torch.where(total > 0, total, 1)

    def _checked(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """The mask of each sample; InputError where the two don't fit the network."""
        dtype = self.cascades[0].dc_weight.dtype
        expected = torch.complex128 if dtype == torch.float64 else torch.complex64
        if kspace.ndim != 4 or kspace.dtype != expected:
            found = f"{tuple(kspace.shape)} {kspace.dtype}"
            raise InputError("VarNet", f"k-space is {found}", f"(samples, coils, readout, phase encode) {expected}")
        return expanded(mask, kspace, "VarNet")


def center_lines(
    mask: Tensor, num_low_frequencies: int | Tensor | None = None, full_mask_center: bool = False
) -> Tensor:
    """The lines that sensitivities are estimated from, as a mask (N, 1, 1, W) bool, by fastMRI's rule.

    The block of n lines that starts at (W − n + 1) // 2.

    Parameters
    ----------
    mask : (N, 1, 1, W) bool
    num_low_frequencies : n, one count or (N,) counts
        None or 0: twice the shorter of the two runs of sampled lines that meet at the center, at least 1.
    full_mask_center : see VarNet

    Raises
    ------
    InputError
        For other counts.
    """
    sampled, width = mask[:, 0, 0], mask.shape[-1]
    half = width // 2
    left, right = sampled[:, :half].flip(1).cumprod(1).sum(1), sampled[:, half:].cumprod(1).sum(1)
    if not full_mask_center:
        left, right = left * (left < half), right * (right < width - half)
    count = (2 * torch.minimum(left, right)).clamp(min=1)
    if full_mask_center:
        count = torch.where(sampled.all(1), width, count)
    if num_low_frequencies is not None:
        given = torch.as_tensor(num_low_frequencies)
        fits = given.dtype in (torch.int64, torch.int32) and given.shape in ((), (1,), (len(mask),))
        # A look at a GPU's numbers would wait for it.
        if not fits or (given.device.type == "cpu" and not 0 <= given.min() <= given.max() <= width):
            expected = f"a whole number from 0 to {width} or one per sample"
            raise InputError("VarNet", f"num_low_frequencies is {num_low_frequencies!r}", expected)
        given = given.to(mask.device)
        count = torch.where(given > 0, given, count)
    first, line = ((width - count + 1) // 2)[:, None], torch.arange(width, device=mask.device)
    return ((line >= first) & (line < first + count[:, None]))[:, None, None]


def to_hybrid(kspace: Tensor) -> Tensor:
    """K-space to (N, C, H, W) whose rows, inverse transformed as they are, give the image with its center in the middle."""
    width = kspace.shape[-1]
    turns = torch.arange(width, dtype=torch.float64) * (width // 2) % width / width  # in float64: the odd W's are no ±1
    phase = torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)
    return torch.fft.ifftshift(ifftc(kspace, (-2,)), -1) * phase.to(kspace)
