"""GRAPPA against pygrappa and against the truth, on every grid; what it refuses, and why."""

import pytest
import torch

from lib import InputError, coils, metrics
from lib.grappa import apply_kernel, find_grid, grappa
from lib.kspace import ifft2c, rss
from lib.sampling import make_mask


def head(slices=2, num_coils=8, height=64, width=60, noise=0.002, seed=0):
    """K-space of ellipses seen by simulated coils: (S, C, H, W)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    image = (x**2 / 0.6 + y**2 / 0.7 < 1).float() + 0.5 * ((x - 0.2) ** 2 + (y + 0.1) ** 2 < 0.06).float()
    image = torch.stack(
        [image * (1 - 0.1 * s) - 0.3 * ((x + 0.3) ** 2 + y**2 < 0.02 * (s + 1)).float() for s in range(slices)]
    )
    maps = coils.simulate((slices, height, width), num_coils, seed, voxel=(5.0, 200 / height, 180 / width))
    return coils.acquire(image, maps, noise, coils.smooth_phase((slices, height, width), seed), seed)


def grid(width, step, offset, center):
    columns = torch.zeros(width, dtype=torch.bool)
    columns[offset::step] = True
    columns[(width - center + 1) // 2 : (width - center + 1) // 2 + center] = True
    return columns


def image_error(filled, full):
    return metrics.nmse(rss(ifft2c(filled), -3), rss(ifft2c(full), -3))


@pytest.mark.parametrize("step", [2, 3, 4, 5, 6, 8])
def test_every_offset_fills_far_better_than_zeros(step):
    full = head(1)
    for offset in range(step):
        mask = grid(60, step, offset, 24)
        filled = grappa(full * mask, mask)
        assert torch.equal(filled[..., mask], full[..., mask])  # bit for bit
        assert image_error(filled, full) < 0.35 * image_error(full * mask, full), offset
        assert filled.isfinite().all()


def test_twofold_is_nearly_exact_without_noise():
    full = head(1, noise=0.0)
    mask = grid(60, 2, 0, 20)
    assert image_error(grappa(full * mask, mask), full) < 1e-3


@pytest.mark.parametrize("window", [(5, 5), (5, 13)])
def test_at_least_as_good_as_pygrappa(window):
    from pygrappa import grappa as peer

    full = head(1, noise=0.01)[0]
    mask = grid(60, 4, 0, 20)
    masked = full * mask
    theirs = peer(masked.numpy(), full[..., 20:40].numpy(), kernel_size=window, coil_axis=0)
    expected = image_error(torch.from_numpy(theirs).to(torch.complex64), full)
    assert image_error(grappa(masked, mask), full) <= 1.05 * expected


def test_batches_equal_slices_and_leading_axes_stay():
    full = head(3)
    mask = grid(60, 4, 1, 20)
    together = grappa((full * mask).reshape(3, 1, 8, 64, 60), mask)
    assert together.shape == (3, 1, 8, 64, 60)
    for s in range(3):
        alone = grappa(full[s] * mask, mask)
        assert torch.allclose(together[s, 0], alone, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e6])
def test_scaled_data_give_scaled_images(scale):
    full = head(1)
    mask = grid(60, 4, 2, 20)
    plain, scaled = grappa(full * mask, mask), grappa(scale * full * mask, mask)
    assert float((scaled / scale - plain).norm() / plain.norm()) < 1e-4


def test_zero_coils_and_zero_slices_stay_finite():
    full = head(2)
    full[:, 3] = 0
    full[1] = 0
    mask = grid(60, 4, 0, 20)
    filled = grappa(full * mask, mask)
    assert filled.isfinite().all() and not filled[1].any() and not filled[0, 3].any()


def test_fully_sampled_comes_back_as_it_is():
    full = head(1)
    assert torch.equal(grappa(full, torch.ones(60, dtype=torch.bool)), full)


@pytest.mark.parametrize("num_coils", [1, 2, 15])
def test_any_number_of_coils(num_coils):
    full = head(1, num_coils)
    mask = grid(60, 2, 1, 24)
    assert image_error(grappa(full * mask, mask), full) < image_error(full * mask, full)


def test_report_names_the_grid_and_the_kernel_that_fitted():
    full = head(1)
    mask = grid(60, 4, 3, 20)
    _, report = grappa(full * mask, mask, return_report=True)
    assert (report.kernel, report.acceleration, report.offset) == ((5, 4), 4, 3)
    assert mask[report.center[0] : report.center[1]].all() and report.condition > 1
    mask = grid(60, 6, 0, 12)
    _, narrow = grappa(full * mask, mask, return_report=True)
    assert narrow.kernel[1] < 4  # four lines at R 6 would span 19


def test_too_few_centre_lines_say_how_many_are_needed():
    full = head(1)
    mask = grid(60, 6, 0, 4)
    with pytest.raises(InputError, match=r"too few for GRAPPA .* needs \d+ lines"):
        grappa(full * mask, mask)


def test_masks_that_are_no_grid_name_the_gap():
    full = head(1)
    mask = grid(60, 4, 0, 16)
    mask[52] = False
    with pytest.raises(InputError, match="lines 48 and 56 are 8 apart where the others are 4"):
        grappa(full * mask, mask)
    random = make_mask("random", 60, 4, num_low_frequencies=16, seed=1).columns
    with pytest.raises(InputError, match="apart"):
        grappa(full * random, random)
    with pytest.raises(InputError, match="none is acquired"):
        grappa(full * 0, torch.zeros(60, dtype=torch.bool))


def test_padding_columns_are_not_made_up():
    full = head(1)
    full[..., :8] = full[..., 52:] = 0
    mask = grid(60, 4, 0, 16)
    mask[:8] = mask[52:] = False
    filled = grappa(full * mask, mask)
    assert find_grid(mask).acceleration == 4
    assert not filled[..., :5].any() and not filled[..., 56:].any()


def test_separate_calibration_equals_the_centre_it_is_taken_from():
    full = head(1, noise=0.0)
    mask = torch.zeros(60, dtype=torch.bool)
    mask[::2] = True
    filled = grappa(full * mask, mask, calibration=full[..., 18:42])
    assert image_error(filled, full) < 5e-3


def test_values_that_are_not_finite_are_refused():
    full = head(1)
    full[0, 0, 30, 30] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        grappa(full, grid(60, 4, 2, 20))


def test_the_convolution_has_its_adjoint():
    draw = torch.Generator().manual_seed(0)
    lines = torch.randn(3, 10, 7, dtype=torch.complex128, generator=draw, requires_grad=True)
    weights = torch.randn(2, 3, 3, 5, 4, dtype=torch.complex128, generator=draw)
    made = apply_kernel(lines, weights)
    other = torch.randn(made.shape, dtype=torch.complex128, generator=draw)
    (back,) = torch.autograd.grad(made, lines, other)  # autograd gives Aᴴ·other
    left, right = (
        torch.vdot(other.flatten(), made.detach().flatten()),
        torch.vdot(back.flatten(), lines.detach().flatten()),
    )
    assert torch.allclose(left, right, rtol=1e-10)
    doubled = apply_kernel(2 * lines.detach() + 1j * lines.detach(), weights)
    assert torch.allclose(doubled, (2 + 1j) * made.detach())  # linear
