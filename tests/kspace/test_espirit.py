"""ESPIRiT against sigpy's, and against coils that are known."""

import pytest
import torch
from refusals import refused

from lib.kspace import fft2c
from lib.kspace.coils import simulate
from lib.kspace.espirit import center_of, espirit

sigpy_app = pytest.importorskip("sigpy.mri.app")


def scan(noise=0.0):
    """An object, its maps (6 coils), and k-space of both."""
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(64, 56)
    image[12:52, 10:46] = 0.7
    image[20:40, 20:34] = 1.0
    image = image * torch.exp(1j * torch.linspace(-1, 1, 56)) * (1 + 0.3 * torch.rand(64, 56, generator=generator))
    maps = simulate((1, 64, 56), 6, 0)[0]
    kspace = fft2c(image * maps)
    return image, maps, kspace + noise * torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)


def test_maps_are_the_coils_own_but_for_a_phase():
    image, maps, kspace = scan()
    found = espirit(center_of(kspace, torch.ones(56, dtype=torch.bool)), (64, 56))
    inside = image.abs() > 0
    likeness = (found.conj() * maps).sum(0).abs()  # both have RSS 1
    assert float(likeness[inside].min()) > 0.99
    assert float((found.abs().square().sum(0)[inside] - 1).abs().max()) < 1e-4


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_maps_are_sigpys(noise):
    image, _, kspace = scan(noise)
    ours = espirit(center_of(kspace, torch.ones(56, dtype=torch.bool)), (64, 56), crop=0.0)
    theirs = torch.from_numpy(
        sigpy_app.EspiritCalib(kspace.numpy(), calib_width=24, crop=0.0, max_iter=100, show_pbar=False).run()
    )
    inside = image.abs() > 0
    assert float((ours.conj() * theirs).sum(0).abs()[inside].min()) > 0.999
    assert float((ours - theirs).abs()[:, inside].max()) < 0.02


def test_air_has_no_maps():
    image, _, kspace = scan(1e-3)
    found = espirit(center_of(kspace, torch.ones(56, dtype=torch.bool)), (64, 56))
    empty = (found == 0).all(0)
    assert float(empty[image.abs() > 0].float().mean()) < 0.02
    assert float(empty[:4].float().mean()) > 0.3


def test_the_center_is_the_block_that_is_sampled():
    kspace = torch.arange(2 * 30 * 40.0).reshape(2, 30, 40)
    columns = torch.zeros(40, dtype=torch.bool)
    columns[14:26] = columns[::4] = True
    assert torch.equal(center_of(kspace, columns), kspace[:, :, 14:26])
    points = torch.zeros(30, 40, dtype=torch.bool)
    points[10:21, 15:27] = points[::3, ::3] = True
    assert torch.equal(center_of(kspace, points), kspace[:, 10:21, 15:27])
    with refused(found="isn't sampled"):
        center_of(kspace, torch.zeros(40, dtype=torch.bool))


def test_too_small_a_center_is_refused():
    with refused(found="windows of 6×6"):
        espirit(torch.randn(8, 4, 30, dtype=torch.complex64), (64, 56))
