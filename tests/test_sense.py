"""SENSE against dense least squares, TV against scikit-image and its own optimality, maps against the true ones."""

import numpy as np
import pytest
import torch

from lib import InputError, coils, sense
from lib.kspace import fft2c, ifftc, rss
from lib.sampling import make_mask


def scan(height=24, width=20, num_coils=4, slices=1, seed=0):
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(slices, height, width, generator=draw)
    maps = coils.simulate((slices, height, width), num_coils, seed, voxel=(5.0, 8.0, 8.0))
    kspace = fft2c(image.unsqueeze(1) * maps)
    return image, maps, kspace


def test_encoding_has_its_adjoint():
    _, maps, _ = scan()
    mask = make_mask("equispaced", 20, 4, num_low_frequencies=4, seed=0).columns
    encoding = sense.Encoding(maps.to(torch.complex128), mask)
    x, y = torch.randn(1, 24, 20, dtype=torch.complex128), torch.randn(1, 4, 24, 20, dtype=torch.complex128)
    assert torch.allclose(
        torch.vdot(y.flatten(), encoding(x).flatten()), torch.vdot(encoding.adjoint(y).flatten(), x.flatten())
    )
    assert encoding(x).shape == y.shape and encoding.adjoint(y).shape == x.shape


def test_divergence_is_minus_the_adjoint_of_the_gradient():
    x, p = torch.randn(3, 7, 5, dtype=torch.complex128), torch.randn(2, 3, 7, 5, dtype=torch.complex128)
    left, right = (
        torch.vdot(p.flatten(), sense.gradient(x).flatten()),
        torch.vdot(sense.divergence(p).flatten(), x.flatten()),
    )
    assert torch.allclose(left, -right)


def test_cg_sense_equals_dense_least_squares():
    image, maps, kspace = scan(8, 6, 3)
    mask = torch.tensor([1, 0, 1, 1, 0, 1]).bool()
    weight = 0.05
    found = sense.cg_sense((kspace * mask).to(torch.complex128), maps.to(torch.complex128), mask, 60, weight)[0]
    columns = []  # the dense matrix, column by column, through numpy's FFT
    for i in range(48):
        unit = np.zeros((8, 6))
        unit.flat[i] = 1
        seen = np.fft.fftshift(
            np.fft.fft2(np.fft.ifftshift(unit * maps[0].numpy(), axes=(-2, -1)), norm="ortho"), axes=(-2, -1)
        )
        columns.append((seen * mask.numpy()).ravel())
    dense = np.array(columns).T
    right = dense.conj().T @ (kspace * mask)[0].numpy().ravel()
    expected = np.linalg.solve(dense.conj().T @ dense + weight * np.eye(48), right).reshape(8, 6)
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_cg_sense_recovers_the_image_and_slices_do_not_mix():
    image, maps, kspace = scan(slices=3)
    mask = make_mask("equispaced", 20, 2, num_low_frequencies=4, seed=0).columns
    together = sense.cg_sense(kspace * mask, maps, mask, 40, 1e-6)
    assert torch.allclose(together.abs(), image, atol=1e-2)
    alone = sense.cg_sense(kspace[1:2] * mask, maps[1:2], mask, 40, 1e-6)
    assert torch.allclose(together[1:2], alone, atol=1e-4)
    zero = sense.cg_sense(0 * kspace, maps, mask)
    assert zero.isfinite().all() and not zero.any()


def test_fully_sampled_tv_is_total_variation_denoising():
    # With all lines, ½‖x − y‖² + λ·TV(x): skimage's denoise_tv_chambolle minimises the same with weight λ.
    from skimage.restoration import denoise_tv_chambolle

    draw = torch.Generator().manual_seed(1)
    clean = torch.zeros(1, 32, 30)
    clean[:, 8:22, 6:20] = 1.0
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=draw)
    maps = torch.ones(1, 1, 32, 30, dtype=torch.complex64)
    weight = 0.15
    kspace = fft2c(noisy.unsqueeze(1).to(torch.complex64))
    found = sense.tv_sense(kspace, maps, torch.ones(30).bool(), 400, weight / float(noisy.abs().max())).real[0]
    expected = denoise_tv_chambolle(noisy[0].numpy(), weight=weight, eps=1e-9, max_num_iter=4000)

    def objective(x):
        x = torch.as_tensor(x)
        step = torch.linalg.vector_norm(sense.gradient(x), dim=0)
        return float(0.5 * (x - noisy[0]).square().sum() + weight * step.sum())

    assert objective(found) <= 1.001 * objective(expected)
    assert np.abs(found.numpy() - expected).max() < 0.02


def test_tv_helps_over_zero_filled_and_scales():
    image, maps, kspace = scan(32, 30, 4)
    image = (image > 0.5).float() * 0 + torch.zeros_like(image)
    image[:, 8:24, 8:20] = 1
    kspace = fft2c(image.unsqueeze(1) * maps)
    mask = make_mask("random", 30, 2, num_low_frequencies=6, seed=3).columns
    masked = kspace * mask
    found = sense.tv_sense(masked, maps, mask)
    start = sense.Encoding(maps, mask).adjoint(ifftc(masked, (-2,)))
    assert (found.abs() - image).norm() < 0.5 * (start.abs() - image).norm()
    scaled = sense.tv_sense(1e-5 * masked, maps, mask)
    assert float((scaled * 1e5 - found).norm() / found.norm()) < 1e-4


def test_maps_estimated_from_the_centre_are_near_the_true_ones():
    draw = torch.Generator().manual_seed(0)
    image = 0.5 + torch.rand(2, 8, 8, generator=draw).repeat_interleave(8, 1).repeat_interleave(7, 2)
    maps = coils.simulate((2, 64, 56), 6, 0, voxel=(5.0, 3.5, 3.5))
    kspace = fft2c(image.unsqueeze(1) * maps)
    mask = make_mask("equispaced", 56, 4, num_low_frequencies=16, seed=0).columns
    found = sense.estimate_maps(kspace * mask, mask)
    assert torch.allclose(rss(found, 1), torch.ones(2, 64, 56), atol=1e-4)
    agreement = (found * maps.conj()).sum(1).abs()[:, 8:56, 8:48]
    assert agreement.mean() > 0.98
    zero = sense.estimate_maps(0 * kspace, mask)
    assert zero.isfinite().all() and not zero.any()


def test_a_mask_of_another_width_is_refused():
    _, maps, kspace = scan()
    with pytest.raises(InputError, match=r"mask of shape \(7,\), expected \(20,\)"):
        sense.cg_sense(kspace, maps, torch.ones(7).bool())
