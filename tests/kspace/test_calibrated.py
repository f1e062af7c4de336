"""The images that a slice's own center lines lead to: how bright, how near, from which coils."""

import pytest
import torch

from lib import metrics
from lib.kspace import calibrated, fft2c, ifft2c, rss
from lib.kspace.coils import simulate
from lib.kspace.sampling import make_mask

NOISE = 0.02


def scan(num_coils=6, acceleration=3, noise=NOISE):
    """A disc in air: its fully sampled RSS, where there is air, masked k-space, mask."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 72), torch.linspace(-1, 1, 64), indexing="ij")
    image = (x**2 + y**2 < 0.5).float() * (1 + 0.3 * torch.sin(9 * x))
    kspace = fft2c(image * simulate((1, 72, 64), num_coils, 0, voxel=(5.0, 3.0, 3.0))[0])
    kspace = kspace + noise * torch.randn(kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(0))
    mask = make_mask("equispaced", 64, acceleration, num_low_frequencies=20, seed=0).columns
    return rss(ifft2c(kspace), 0), x**2 + y**2 > 0.7, kspace * mask, mask


@pytest.mark.parametrize("num_coils", [4, 16])
def test_air_is_as_bright_as_in_an_rss_of_all_coils(num_coils):
    truth, air, kspace, mask = scan(num_coils)
    found = calibrated.calibrated(kspace, mask)
    assert found.noise == pytest.approx(NOISE, rel=0.1) and found.coils == num_coils
    image = calibrated.by_tv(found)
    assert float(image[air].mean() / truth[air].mean()) == pytest.approx(1, abs=0.2)
    bare = calibrated.tv_images(found).abs().square().sum(0).sqrt()
    assert float(bare[air].mean() / truth[air].mean()) < 0.5


def test_tv_sense_is_nearer_than_grappa_with_noise_and_without():
    for noise in (1e-4, 0.02, 0.06):
        truth, _, kspace, mask = scan(noise=noise)
        found = calibrated.calibrated(kspace, mask)
        grappa, tv = (metrics.psnr(x, truth) for x in (rss(found.filled, 0), calibrated.by_tv(found)))
        assert tv > grappa - 0.1 and (noise < 0.01 or tv > grappa + 1)


def test_twelve_virtual_coils_do_for_thirty():
    truth, _, kspace, mask = scan(30, noise=1e-3)
    found = calibrated.calibrated(kspace, mask)
    assert found.kspace.shape == (calibrated.COILS, 72, 64) and found.maps.shape == (2, calibrated.COILS, 72, 64)
    assert float(rss(found.kspace, 0).square().sum() / rss(kspace, 0).square().sum()) > 0.99
    assert metrics.psnr(calibrated.by_tv(found), truth) > metrics.psnr(rss(found.filled, 0), truth)


def test_without_a_grid_there_is_no_grappa_to_start_from():
    _, _, kspace, _ = scan()
    points = torch.from_numpy(make_mask("poisson", 64, 3, height=72, num_low_frequencies=20, seed=0).sampled.numpy())
    for sampled in (make_mask("random", 64, 3, num_low_frequencies=12, seed=1).columns, points):
        found = calibrated.calibrated(kspace * sampled, sampled)
        assert found.filled is None and found.start is None and found.report is None
        assert calibrated.by_tv(found).shape == (72, 64)
