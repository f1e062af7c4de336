"""FFTs against numpy, adjoints by the dot-product test, coil combination, cropping."""

import numpy as np
import pytest
import torch

from lib import kspace

SHAPES = [(8, 8), (7, 8), (8, 7), (5, 9), (1, 6)]


def random(*shape, seed=0, dtype=torch.complex128):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def assert_adjoint(forward, adjoint, x, y):
    """⟨A x, y⟩ = ⟨x, A* y⟩, and the shapes fit."""
    assert forward(x).shape == y.shape and adjoint(y).shape == x.shape
    left, right = torch.vdot(forward(x).flatten(), y.flatten()), torch.vdot(x.flatten(), adjoint(y).flatten())
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_fft2c_equals_numpy(shape):
    x = random(2, 3, *shape)
    axes = (-2, -1)
    centered = np.fft.ifftshift(x.numpy(), axes=axes)
    expected = np.fft.fftshift(np.fft.fft2(centered, norm="ortho"), axes=axes)
    np.testing.assert_allclose(kspace.fft2c(x).numpy(), expected, atol=1e-12)
    expected = np.fft.fftshift(np.fft.ifft2(centered, norm="ortho"), axes=axes)
    np.testing.assert_allclose(kspace.ifft2c(x).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("size", [8, 9])
def test_zero_frequency_and_image_center_are_in_the_middle(size):
    constant = torch.zeros(size, size, dtype=torch.complex128)
    constant[size // 2, size // 2] = size
    torch.testing.assert_close(kspace.fft2c(torch.ones(size, size)).to(torch.complex128), constant, atol=1e-5, rtol=0)
    torch.testing.assert_close(kspace.fft2c(constant), torch.ones_like(constant))
    torch.testing.assert_close(kspace.ifft2c(constant), torch.ones_like(constant))


@pytest.mark.parametrize("shape", SHAPES)
def test_transforms_are_unitary(shape):
    x, y = random(2, *shape), random(2, *shape, seed=1)
    for forward, inverse in (
        (kspace.fft2c, kspace.ifft2c),
        (lambda v: kspace.fftc(v, (-1,)), lambda v: kspace.ifftc(v, (-1,))),
        (lambda v: kspace.fftc(v, (0, 2)), lambda v: kspace.ifftc(v, (0, 2))),
    ):
        torch.testing.assert_close(inverse(forward(x)), x)
        torch.testing.assert_close(forward(inverse(x)), x)
        torch.testing.assert_close(forward(x).norm(), x.norm())
        assert_adjoint(forward, inverse, x, y)
        assert_adjoint(inverse, forward, x, y)


def test_one_axis_after_the_other_is_both():
    x = random(3, 6, 5)
    torch.testing.assert_close(kspace.fftc(kspace.fftc(x, (-1,)), (-2,)), kspace.fft2c(x))


def test_single_precision_stays_single():
    x = random(4, 6, dtype=torch.complex64)
    assert kspace.fft2c(x).dtype == kspace.ifft2c(x).dtype == torch.complex64
    assert kspace.rss(x, 0).dtype == torch.float32


@pytest.mark.parametrize("shape", SHAPES)
def test_sensitivities_are_adjoint(shape):
    maps = random(2, 4, *shape, seed=2)
    assert_adjoint(
        lambda image: kspace.sens_expand(image, maps),
        lambda k: kspace.sens_reduce(k, maps),
        random(2, *shape),
        random(2, 4, *shape, seed=1),
    )


def test_normalized_sensitivities_give_the_image_back():
    maps = random(3, 6, 7)
    maps = maps / kspace.rss(maps)
    image = random(6, 7, seed=1)
    torch.testing.assert_close(kspace.sens_reduce(kspace.sens_expand(image, maps), maps), image)
    torch.testing.assert_close(kspace.rss(kspace.ifft2c(kspace.sens_expand(image, maps))), image.abs())


def test_a_mask_is_a_self_adjoint_projection():
    columns = torch.tensor([True, False, True, True, False])

    def masked(k):
        return k * columns

    x, y = random(2, 4, 5), random(2, 4, 5, seed=1)
    assert_adjoint(masked, masked, x, y)
    assert torch.equal(masked(masked(x)), masked(x))
    # Hence the whole undersampled scan's adjoint is expand's with the mask in between.
    maps = random(2, 4, 5, seed=2)
    assert_adjoint(
        lambda image: masked(kspace.sens_expand(image, maps)), lambda k: kspace.sens_reduce(masked(k), maps), x[0], y
    )


def test_rss_by_hand():
    coils = torch.tensor([3 + 0j, 4j])[:, None, None]
    assert kspace.rss(coils).item() == 5
    assert kspace.rss(coils.squeeze(), 0).item() == 5
    assert kspace.rss(torch.zeros(2, 3, 3)).eq(0).all()
    assert kspace.rss(torch.tensor([[torch.nan, torch.inf], [0.0, 3.0]]), 0).isnan().tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.complex128, torch.float64])
def test_rss_is_torchs_norm_with_its_gradient(dtype):
    x = torch.randn(2, 3, 4, 5, dtype=dtype)
    x[0, :, 1] = 0
    ours, norm = x.clone().requires_grad_(), x.clone().requires_grad_()
    for dim in (-3, 1):
        found, expected = kspace.rss(ours, dim), torch.linalg.vector_norm(norm, dim=dim)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found.sum(), ours), torch.autograd.grad(expected.sum(), norm))
    torch.testing.assert_close(kspace.rss(x.mT.conj(), 2), torch.linalg.vector_norm(x.mT, dim=2))


def test_center_crop_keeps_the_center():
    for size in (6, 7):
        for crop in range(1, size + 1):
            x = torch.arange(size * size).reshape(1, size, size)
            cropped = kspace.center_crop(x, (crop, size))
            top = (size - crop) // 2  # fastMRI's
            assert torch.equal(cropped, x[:, top : top + crop])
            assert torch.equal(kspace.center_crop(x, (size, crop)), x[..., top : top + crop])


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (0, 4), (4, -1)])
def test_center_crop_refuses_what_does_not_fit(shape):
    with pytest.raises(ValueError, match="does not fit into an image of 8×8"):
        kspace.center_crop(torch.zeros(2, 8, 8), shape)
