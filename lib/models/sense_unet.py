"""A U-Net that corrects the image of TV-SENSE, and leaves it alone where it can be trusted.

The classical image comes first (`lib.kspace.calibrated`): GRAPPA, then SENSE with total variation. With a U-Net whose correction
begins as 0 the untrained network gives that image; training has to find out where it can be improved, and where not.
"""

import math

import torch
from torch import Tensor, nn

from lib import InputError
from lib.kspace import calibrated, fft2c, ifft2c, rss
from lib.models.fastmri_unet import UNet
from lib.models.registry import Count
from lib.models.varnet import expanded, on_multiples

SEEN = ("TV-SENSE", "TV-SENSE, samples as measured", "GRAPPA or zero-filled")  # by the U-Net
FEATURES = 6  # of a scan, from which the size of the correction is told
HIDDEN = 16
LEAST = 1e-4  # that a share is told as


class SenseUNet(nn.Module):
    """Undersampled multi-coil k-space to an image, as large as an RSS of all coils: TV-SENSE's plus a U-Net's correction.

    The U-Net sees three images: TV-SENSE's; the same with the acquired samples as they were measured, noise and all; and
    GRAPPA's, or the zero-filled one where there is none. The correction is on the scale of what GRAPPA can't predict of
    the center lines, times what a small network makes of noise, acceleration and coils: what is nearly exact stays.

    Parameters
    ----------
    chans : channels of the U-Net at full resolution
    pools : its poolings
    """

    def __init__(self, chans: Count = 16, pools: Count = 3):
        super().__init__()
        self.unet = UNet(len(SEEN), 1, chans, pools)
        self.gain = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, 1))
        for layer in (self.unet.up_conv[-1][-1], self.gain[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, masked_kspace: Tensor, mask: Tensor, num_low_frequencies: int | Tensor | None = None) -> Tensor:
        """K-space to an image in the units of its coils; scaled k-space gives a scaled image.

        Parameters
        ----------
        masked_kspace : complex (N, C, H, W), zero where not sampled
        mask : (N, 1, 1, W) bool, True where sampled; samples may differ
        num_low_frequencies : not needed: the mask shows them

        Returns
        -------
        Real (N, H, W).

        Raises
        ------
        InputError
            For other shapes and types, and for too small a center.
        """
        if masked_kspace.ndim != 4 or not masked_kspace.is_complex():
            found = f"k-space is {tuple(masked_kspace.shape)} {masked_kspace.dtype}"
            raise InputError("SenseUNet", found, "complex (samples, coils, readout, phase encode)")
        columns = expanded(mask, masked_kspace, "SenseUNet")[:, 0, 0]
        seen = [look(k, m) for k, m in zip(masked_kspace, columns, strict=True)]
        images, features, unexplained = (torch.stack(parts) for parts in zip(*seen, strict=True))
        gain = self.gain(features)[:, 0].exp() * unexplained.sqrt()
        std = images.std((1, 2, 3), keepdim=True)
        x = images / torch.where(std > 0, std, 1)
        x = on_multiples(self.unet, x) * (std * gain.view(-1, 1, 1, 1))
        return (images[:, 0] + x[:, 0]).clamp_min(0)


@torch.no_grad()
def look(kspace: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the network sees of a slice (C, H, W) whose `columns` (W,) were acquired.

    Returns
    -------
    The images SEEN, (3, H, W); FEATURES numbers, about −2 … 2: the logarithms of noise over signal, of the share of the
    center lines that GRAPPA's kernel doesn't predict and of the share of energy that it filled in, the acceleration, the
    number of coils, and whether there was a GRAPPA; and that unpredicted share, 1 without GRAPPA.
    """
    scan = calibrated.calibrated(kspace, columns)
    images = calibrated.tv_images(scan)
    predicted = fft2c((scan.maps * images.unsqueeze(1)).sum(0))
    measured = rss(ifft2c(torch.where(scan.sampled.to(kspace.device), scan.kspace, predicted)), 0)
    start = rss(ifft2c(kspace) if scan.filled is None else scan.filled, 0)
    energy, filled = (float(torch.linalg.vector_norm(x)) ** 2 or 1.0 for x in (kspace, start))
    report = scan.report
    unexplained = max(report.unexplained, LEAST) if report else 1.0
    noise = scan.noise / (energy / kspace[0].numel()) ** 0.5
    logs = (math.log10(max(share, LEAST)) for share in (noise, unexplained, filled / energy - 1))
    rate = len(columns) / max(int(columns.sum()), 1)
    features = (*(1 + x / 2 for x in logs), rate / 4, math.log2(len(kspace)) / 2 - 1, float(report is not None))
    seen = torch.stack((calibrated.as_rss(images, scan), measured, start))
    return seen, torch.tensor(features).to(seen), torch.tensor(unexplained).to(seen)
