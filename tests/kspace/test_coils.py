"""Coil maps against the on-axis law of a loop; phase and noise against their stated statistics."""

import math

import pytest
import torch

from lib.kspace import coils, fft2c, ifft2c, rss


def test_field_on_the_axis_of_a_loop_follows_biot_savart():
    # A loop of radius R around the x-axis at x = 0: B(x) ∝ 2πR² / (x² + R²)^1.5, along x only.
    radius, segments = 50.0, 400
    turn = 2 * math.pi * torch.arange(segments + 1, dtype=torch.float64) / segments
    rim = radius * torch.stack([torch.zeros_like(turn), turn.cos(), turn.sin()], -1)
    x = torch.tensor([0.0, 30.0, 80.0])
    field = coils._transverse_field(x, torch.zeros(1, 1), torch.tensor(0.0), rim.float())[0]
    expected = 2 * math.pi * radius**2 / (x**2 + radius**2) ** 1.5
    assert torch.allclose(field.real.abs(), expected, rtol=1e-3)
    assert field.imag.abs().max() < 1e-4 * expected.max()


def test_maps_have_unit_rss_and_vary_along_all_axes():
    maps = coils.simulate((6, 32, 24), 5, seed=3, voxel=(10.0, 6.0, 6.0))
    assert maps.shape == (6, 5, 32, 24) and maps.dtype == torch.complex64
    assert torch.allclose(rss(maps, 1), torch.ones(6, 32, 24), atol=1e-5)
    center = maps[:, :, 8:24, 6:18]
    for axis in (0, 2, 3):
        assert center.diff(dim=axis).abs().mean() > 1e-3
    assert torch.equal(maps, coils.simulate((6, 32, 24), 5, seed=3, voxel=(10.0, 6.0, 6.0)))
    assert not torch.allclose(maps, coils.simulate((6, 32, 24), 5, seed=4, voxel=(10.0, 6.0, 6.0)), atol=0.1)


def test_each_coil_sees_best_what_is_near_it():
    raw = coils.simulate((1, 40, 40), 4, seed=0, normalize=False)[0].abs()
    brightest = [divmod(int(m.argmax()), 40) for m in raw]
    assert len({(h < 20, w < 20) for h, w in brightest}) >= 3  # four coils, spread around


def test_smooth_phase_has_the_stated_strength_and_is_smooth():
    phase = coils.smooth_phase((4, 30, 20), seed=1, strength=0.7)
    assert phase.square().mean().sqrt() == pytest.approx(0.7, rel=1e-5)
    assert abs(float(phase.mean())) < 1e-4
    assert phase.diff(dim=1).abs().max() < 0.5


def test_acquire_without_noise_is_the_fft_of_what_the_coils_see():
    image, maps = torch.rand(3, 16, 12), coils.simulate((3, 16, 12), 4, 0)
    phase = coils.smooth_phase((3, 16, 12), 0)
    kspace = coils.acquire(image, maps, 0.0, phase, seed=0)
    expected = fft2c(image.unsqueeze(1) * torch.exp(1j * phase).unsqueeze(1) * maps)
    assert torch.allclose(kspace, expected, atol=1e-6)
    assert torch.allclose(rss(ifft2c(kspace), 1), image, atol=1e-5)


def test_noise_has_the_stated_deviation_and_covariance():
    maps = torch.zeros(40, 2, 32, 32, dtype=torch.complex64)
    covariance = torch.tensor([[1.0, 0.6j], [-0.6j, 1.0]], dtype=torch.complex64)
    noise = coils.acquire(torch.zeros(40, 32, 32), maps, 0.3, None, 5, covariance)
    assert noise.real.std() == pytest.approx(0.3, rel=0.02) and noise.imag.std() == pytest.approx(0.3, rel=0.02)
    flat = noise.movedim(1, 0).reshape(2, -1)
    found = flat @ flat.conj().T / flat.shape[1] / (2 * 0.3**2)
    assert torch.allclose(found, covariance, atol=0.03)


def test_no_coils_are_refused():
    with pytest.raises(ValueError, match="num_coils is 0"):
        coils.simulate((1, 8, 8), 0, 0)
