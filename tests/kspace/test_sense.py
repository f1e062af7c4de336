"""SENSE against dense least squares, TV against scikit-image and a general minimizer."""

import numpy as np
import pytest
import torch
from refusals import refused

from lib.kspace import coils, fft2c, ifftc, rss, sense
from lib.kspace.espirit import center_of, espirit
from lib.kspace.sampling import make_mask


def scan(height=24, width=20, num_coils=4, slices=1):
    """A random image, maps and full k-space."""
    image = torch.rand(slices, height, width, generator=torch.Generator().manual_seed(0))
    maps = coils.simulate((slices, height, width), num_coils, 0, voxel=(5.0, 8.0, 8.0))
    return image, maps, fft2c(image.unsqueeze(1) * maps)


def box(height=32, width=30, num_coils=4):
    """A box, maps and full k-space."""
    image = torch.zeros(1, height, width)
    image[:, height // 4 : -height // 4, width // 4 : -width // 3] = 1
    maps = coils.simulate((1, height, width), num_coils, 0, voxel=(5.0, 8.0, 8.0))
    return image, maps, fft2c(image.unsqueeze(1) * maps)


def dense(maps, mask):
    """A as a matrix, column by column, through numpy's FFT; maps (C, H, W)."""
    units = np.eye(maps[0].numel()).reshape(-1, 1, *maps.shape[1:])
    seen = np.fft.ifftshift(units * maps.numpy(), axes=(-2, -1))
    seen = np.fft.fftshift(np.fft.fft2(seen, norm="ortho"), axes=(-2, -1)) * mask.numpy()
    return seen.reshape(len(units), -1).T


def inner(a, b):
    return torch.vdot(a.flatten(), b.flatten())


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (5, 8)])
def test_encoding_its_adjoint_and_the_normal_operator_agree(size):
    draw = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 3, *size, dtype=torch.complex128, generator=draw)
    mask = torch.rand(size[1], generator=draw) < 0.6
    encoding = sense.Encoding(maps, mask)
    x = torch.randn(2, *size, dtype=torch.complex128, generator=draw)
    y = torch.randn(maps.shape, dtype=torch.complex128, generator=draw)
    assert encoding(x).shape == y.shape and encoding.adjoint(y).shape == x.shape
    assert torch.allclose(inner(y, encoding(x)), inner(encoding.adjoint(y), x))
    matrix = torch.from_numpy(dense(maps[1], mask))
    normal = (matrix.mH @ matrix @ x[1].flatten()).view(size)
    assert torch.allclose(encoding.normal(x)[1], normal)


@pytest.mark.parametrize("points", [False, True])
def test_several_sets_of_maps_are_encoded_together(points):
    draw = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 3, 4, 6, 8, dtype=torch.complex128, generator=draw)  # slices, sets, coils
    mask = torch.rand((6, 8) if points else (8,), generator=draw) < 0.6
    encoding = sense.Encoding(maps, mask, sets=True)
    x = torch.randn(2, 3, 6, 8, dtype=torch.complex128, generator=draw)
    each = sum(sense.Encoding(maps[:, i], mask)(x[:, i]) for i in range(3))
    assert torch.allclose(encoding(x), each)
    y = torch.randn(2, 4, 6, 8, dtype=torch.complex128, generator=draw)
    assert torch.allclose(inner(y, encoding(x)), inner(encoding.adjoint(y), x))
    assert torch.allclose(encoding.normal(x), encoding.adjoint(encoding(x)))


def test_an_object_wider_than_the_field_of_view_needs_two_sets_of_maps():
    draw = torch.Generator().manual_seed(0)
    wide = torch.nn.functional.pad(0.5 + torch.rand(12, 14, generator=draw), (2, 2, 2, 2)).repeat_interleave(4, 0)
    wide = wide.repeat_interleave(4, 1)  # 64 × 72, seen in a field of view of 48 columns
    seen = torch.zeros(8, 64, 48, dtype=torch.complex64)
    for column, part in enumerate((wide * coils.simulate((1, 64, 72), 8, 0, voxel=(5.0, 3.0, 3.0))[0]).unbind(-1)):
        seen[..., (column - 12) % 48] += part
    kspace, truth = fft2c(seen), rss(seen, 0)
    mask = make_mask("equispaced", 48, 2, num_low_frequencies=16, seed=0).columns
    errors = []
    for crop in ((0.0,), (0.0, 0.9)):
        maps = espirit(center_of(kspace, mask), (64, 48), crop=crop)
        image = rss(sense.cg_sense(kspace * mask, maps, mask, 60, 1e-4), 0)
        errors.append(float((image - truth).norm() / truth.norm()))
    assert errors[1] < 0.5 * errors[0]


def test_divergence_is_minus_the_adjoint_of_the_gradient():
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(3, 7, 5, dtype=torch.complex128, generator=draw)
    p = torch.randn(2, 3, 7, 5, dtype=torch.complex128, generator=draw)
    assert torch.allclose(inner(p, sense.gradient(x)), -inner(sense.divergence(p), x))


def test_cg_sense_equals_dense_least_squares():
    _, maps, kspace = scan(8, 6, 3)
    maps, kspace = maps.to(torch.complex128), kspace.to(torch.complex128)
    mask = torch.tensor([1, 0, 1, 1, 0, 1]).bool()
    found = sense.cg_sense(kspace * mask, maps, mask, 60, 0.05)[0]
    matrix = dense(maps[0], mask)
    right = matrix.conj().T @ (kspace * mask)[0].numpy().ravel()
    expected = np.linalg.solve(matrix.conj().T @ matrix + 0.05 * np.eye(48), right).reshape(8, 6)
    assert np.allclose(found.numpy(), expected, atol=1e-9)


def test_cg_sense_recovers_the_image_and_slices_do_not_mix():
    image, maps, kspace = scan(slices=3)
    mask = make_mask("equispaced", 20, 2, num_low_frequencies=4, seed=0).columns
    kspace[2] = 0
    together = sense.cg_sense(kspace * mask, maps, mask, 40, 1e-6)
    assert torch.allclose(together[:2].abs(), image[:2], atol=1e-2)
    assert torch.allclose(together[1], sense.cg_sense(kspace[1] * mask, maps[1], mask, 40, 1e-6), atol=1e-5)
    assert not together[2].any()


def test_cg_sense_stops_by_itself_when_all_is_sampled():
    image, maps, kspace = scan()
    found = sense.cg_sense(kspace, maps, torch.ones(20).bool(), 50, 0.0)
    assert torch.allclose(found, image.to(found), atol=1e-6)


@pytest.mark.parametrize("solver", [sense.cg_sense, sense.tv_sense])
@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_scaled_data_give_scaled_images(solver, scale):
    _, maps, kspace = box()
    mask = make_mask("equispaced", 30, 3, num_low_frequencies=6, seed=0).columns
    plain, scaled = solver(kspace * mask, maps, mask), solver(scale * kspace * mask, maps, mask)
    assert float((scaled / scale - plain).norm() / plain.norm()) < 1e-4


def objective(x, data, weight, smooth=0.0):
    """½‖data(x)‖² + weight · TV(x), with TV's corners rounded by `smooth`."""
    right, down = np.zeros_like(x), np.zeros_like(x)
    right[:, :-1], down[:-1] = np.diff(x, axis=1), np.diff(x, axis=0)
    length = np.sqrt(np.abs(right) ** 2 + np.abs(down) ** 2 + smooth**2)
    return 0.5 * np.linalg.norm(data(x)) ** 2 + weight * length.sum()


def test_fully_sampled_tv_is_total_variation_denoising():
    from skimage.restoration import denoise_tv_chambolle  # minimizes the same: its weight is our λ

    clean, _, _ = box()
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    maps = torch.ones(1, 1, 32, 30, dtype=torch.complex64)
    kspace = fft2c(noisy.unsqueeze(1) * maps)
    relative = 0.15 / float(noisy.abs().max())
    found = sense.tv_sense(kspace, maps, torch.ones(30).bool(), 400, relative).real[0].numpy()
    expected = denoise_tv_chambolle(noisy[0].numpy(), weight=0.15, eps=1e-9, max_num_iter=4000)
    both = [objective(x, lambda x: x - noisy[0].numpy(), 0.15) for x in (found, expected)]
    assert both[0] <= 1.001 * both[1]
    assert np.abs(found - expected).max() < 0.02


def test_undersampled_tv_reaches_the_minimum_of_a_general_minimizer():
    from scipy.optimize import minimize

    image, maps, kspace = box(9, 8, 3)
    kspace = kspace + 0.05 * torch.randn(kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(3))
    mask = torch.tensor([0, 1, 0, 1, 1, 0, 1, 0]).bool()
    matrix, measured = dense(maps[0], mask), (kspace * mask)[0].numpy().ravel()
    weight = 0.02 * np.abs(matrix.conj().T @ measured).max()

    def data(x):
        return matrix @ x.ravel() - measured

    def smoothed(v, smooth=1e-4):
        x = (v[:72] + 1j * v[72:]).reshape(9, 8)
        x = torch.tensor(x, requires_grad=True)
        length = (torch.view_as_real(sense.gradient(x)).square().sum((0, -1)) + smooth**2).sqrt()
        value = 0.5 * (torch.from_numpy(matrix) @ x.flatten() - torch.from_numpy(measured)).abs().square().sum()
        value = value + weight * length.sum()
        value.backward()
        return value.item(), torch.cat([x.grad.real.flatten(), x.grad.imag.flatten()]).numpy()

    best = minimize(smoothed, np.zeros(144), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "maxfun": 10000}).x
    lowest = objective((best[:72] + 1j * best[72:]).reshape(9, 8), data, weight)
    found = objective(sense.tv_sense(kspace * mask, maps, mask, 400, 0.02)[0].numpy(), data, weight)
    default = objective(sense.tv_sense(kspace * mask, maps, mask, regularization=0.02)[0].numpy(), data, weight)
    assert found <= lowest * (1 + 1e-4)
    assert default <= lowest * 1.01


def test_tv_halves_the_error_and_slices_do_not_mix():
    image, maps, kspace = box()
    mask = make_mask("random", 30, 2, num_low_frequencies=6, seed=3).columns
    masked = kspace * mask
    found = sense.tv_sense(torch.stack([masked, 0 * masked, 3 * masked]), maps.expand(3, 1, -1, -1, -1), mask)
    start = sense.Encoding(maps, mask).adjoint(ifftc(masked, (-2,)))
    assert (found[0].abs() - image).norm() < 0.5 * (start.abs() - image).norm()
    assert torch.allclose(found[0, 0], sense.tv_sense(masked[0], maps[0], mask), atol=1e-6)
    assert not found[1].any() and torch.allclose(found[2], 3 * found[0], atol=1e-4)


def test_what_does_not_fit_is_refused():
    _, maps, kspace = scan()
    mask = torch.ones(20).bool()
    with refused(where="mask", found=r"shape \(7,\)", expected=r"\(20,\)"):
        sense.cg_sense(kspace, maps, mask[:7])
    with refused(found=r"k-space \(1, 4, 24, 20\) and maps \(1, 3, 24, 20\)"):
        sense.tv_sense(kspace, maps[:, :3], mask)
    with refused(found="regularization is 0"):
        sense.tv_sense(kspace, maps, mask, regularization=0)
