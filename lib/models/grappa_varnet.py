"""A variational network that starts from GRAPPA's k-space instead of zeros, and knows how noisy the scan is.

VarNet's cascades (`lib.models.varnet`) work on any k-space in which the acquired samples are as measured. GRAPPA's is such
k-space. With U-Nets whose corrections begin as 0 the untrained network gives GRAPPA's image, but for rounding; training
has to find out where that can be improved, and where not.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import InputError
from lib.kspace.grappa import estimate_noise, grappa
from lib.models.fastmri_unet import UNet
from lib.models.registry import Count
from lib.models.varnet import VarNet, center_lines, margins, to_hybrid

FEATURES = 4  # of a scan, from which the size of the corrections is told
HIDDEN = 16


class ResidualUNet(nn.Module):
    """A U-Net's correction of images (N, C, H, W), to (N, out, H, W), 0 before training, in the images' units.

    The channels are scaled by the deviation of all of them together and nothing is subtracted; `gain` (N,) multiplies the
    correction.

    Parameters
    ----------
    in_chans, out_chans : channels of the images and of the correction
    chans : channels of the U-Net at full resolution
    pools : its poolings
    """

    def __init__(self, in_chans: int, out_chans: int, chans: int, pools: int):
        super().__init__()
        self.unet = UNet(in_chans, out_chans, chans, pools)
        last = self.unet.up_conv[-1][-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, images: Tensor, gain: Tensor) -> Tensor:
        std = images.std((1, 2, 3), keepdim=True)
        x = images / torch.where(std > 0, std, 1)
        (top, bottom), (left, right) = (margins(size) for size in images.shape[-2:])
        x = self.unet(F.pad(x, (left, right, top, bottom)))
        return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right] * (std * gain.view(-1, 1, 1, 1))


class GrappaVarNet(VarNet):
    """Undersampled multi-coil k-space to an image: GRAPPA, sensitivities, unrolled cascades, a last look at the magnitude.

    How large corrections are follows from the scan's noise, acceleration and coils. If the mask has no GRAPPA grid, or
    too few center lines, the network starts from zeros as VarNet does.

    Parameters
    ----------
    num_cascades, chans, pools, sens_chans, sens_pools : as VarNet's
    refine_chans : channels of a U-Net that corrects the final magnitude (coils hold noise that no sensitivity explains,
        and their RSS is brighter for it); 0: none
    """

    def __init__(
        self,
        num_cascades: Count = 4,
        chans: Count = 12,
        pools: Count = 3,
        sens_chans: Count = 6,
        sens_pools: Count = 3,
        refine_chans: int = 12,
    ):
        super().__init__(num_cascades, chans, pools, sens_chans, sens_pools)
        if refine_chans < 0:
            raise InputError("GrappaVarNet", f"refine_chans={refine_chans!r}", "a whole number of at least 0")
        for cascade in self.cascades:
            cascade.model = ResidualUNet(2, 2, chans, pools)
        self.refine = ResidualUNet(3, 1, refine_chans, pools) if refine_chans else None
        self.gains = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, num_cascades + 1))
        nn.init.zeros_(self.gains[-1].weight)
        nn.init.zeros_(self.gains[-1].bias)

    def forward(self, masked_kspace: Tensor, mask: Tensor, num_low_frequencies: int | Tensor | None = None) -> Tensor:
        """K-space (N, C, H, W) complex, zero where not sampled, to the image (N, H, W): as VarNet's."""
        mask = self._checked(masked_kspace, mask)
        filled, features = fill(masked_kspace, mask)
        hybrid = to_hybrid(filled)
        maps = self._maps(hybrid, center_lines(mask, num_low_frequencies, self.full_mask_center))
        gains = self.gains(features).exp()

        def correct(model: ResidualUNet, gain: Tensor, image: Tensor) -> Tensor:
            x = model(torch.stack((image.real, image.imag), 1), gain)
            return torch.complex(x[:, 0], x[:, 1])

        corrections = [
            functools.partial(correct, cascade.model, gains[:, i]) for i, cascade in enumerate(self.cascades)
        ]
        image = self._unroll(hybrid, maps, mask, corrections)
        if self.refine is None:
            return image
        coils = torch.fft.ifft(hybrid, norm="ortho")
        start, combined = torch.linalg.vector_norm(coils, dim=1), (coils * maps.conj()).sum(1).abs()
        image = image + self.refine(torch.stack((image, start, combined), 1), gains[:, -1])[:, 0]
        return image.clamp_min(0)


@torch.no_grad()
def fill(masked_kspace: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """K-space (N, C, H, W) filled by GRAPPA if that can be done, and what the size of corrections follows from.

    Those are FEATURES numbers per sample, about −2 … 2: the logarithm of noise over signal at the center, the
    acceleration, the number of coils, and whether GRAPPA filled it.
    """
    filled, features = masked_kspace.clone(), []
    for sample, columns in zip(filled, mask[:, 0, 0], strict=True):
        level = float(torch.linalg.vector_norm(sample)) / sample[0].numel() ** 0.5
        noise = math.log10(max(estimate_noise(sample, columns) / level, 1e-4)) if level else 0.0
        rate = len(columns) / max(int(columns.sum()), 1)
        try:
            sample[:] = grappa(sample, columns)
            on_grid = 1.0
        except InputError:
            on_grid = 0.0
        features.append((noise + 1, rate / 4, math.log2(len(sample)) / 2 - 1, on_grid))
    return filled, torch.tensor(features, dtype=filled.real.dtype, device=filled.device)
