"""GRAPPA against pygrappa, CG-SENSE, plane waves that it must predict exactly, and what it refuses, and why."""

import functools

import pytest
import torch
from refusals import refused
from skimage.data import shepp_logan_phantom
from skimage.transform import resize

from lib import InputError, metrics
from lib.kspace import coils, ifft2c, rss, sense
from lib.kspace.grappa import apply_kernel, grappa
from lib.kspace.grappa_grid import center_block, find_grid
from lib.kspace.grappa_kernels import LEAST_RIDGE, MOST_RIDGE
from lib.kspace.sampling import make_mask


@functools.cache
def head(slices=1, num_coils=8, height=64, width=60, noise=0.002):
    """K-space of ellipses seen by simulated coils (S, C, H, W), and the coils' maps."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    image = (x**2 / 0.6 + y**2 / 0.7 < 1).float() + 0.5 * ((x - 0.2) ** 2 + (y + 0.1) ** 2 < 0.06).float()
    image = torch.stack(
        [image * (1 - 0.1 * s) - 0.3 * ((x + 0.3) ** 2 + y**2 < 0.02 * (s + 1)).float() for s in range(slices)]
    )
    maps = coils.simulate((slices, height, width), num_coils, 0, voxel=(5.0, 200 / height, 180 / width))
    return coils.acquire(image, maps, noise, coils.smooth_phase((slices, height, width), 0), 0), maps


def grid(width, step, offset, center):
    columns = torch.zeros(width, dtype=torch.bool)
    columns[offset::step] = True
    columns[(width - center + 1) // 2 : (width - center + 1) // 2 + center] = True
    return columns


def image_error(filled, full):
    return metrics.nmse(rss(ifft2c(filled), -3), rss(ifft2c(full), -3))


@pytest.mark.parametrize("step", range(2, 9))
def test_every_offset_fills_far_better_than_zeros(step):
    full, _ = head()
    for offset in range(step):
        mask = grid(60, step, offset, 24)
        filled = grappa(full * mask, mask)
        assert torch.equal(filled[..., mask], full[..., mask])  # bit for bit
        assert image_error(filled, full) < (0.35 if step < 7 else 0.7) * image_error(full * mask, full), offset


@pytest.mark.parametrize("kernel", [(5, 2), (3, 3), (1, 4)])
@pytest.mark.parametrize(("step", "offset"), [(2, 1), (3, 0), (4, 3), (8, 5)])
def test_plane_waves_are_predicted_exactly(step, offset, kernel):
    # Point sources: every line is one combination of any two others, so missing lines with all their sources are exact.
    draw = torch.Generator().manual_seed(step)
    gains, frequency = torch.randn(6, 2, generator=draw, dtype=torch.complex128), torch.tensor([0.3, -1.1])
    y, x = torch.arange(40.0, dtype=torch.float64), torch.arange(96.0, dtype=torch.float64)
    waves = torch.exp(1j * (frequency[:, None, None] * y[:, None] + frequency.flip(0)[:, None, None] * 0.9 * x))
    full = torch.einsum("cp,phw->chw", gains, waves)
    mask = grid(96, step, offset, 48)
    filled, report = grappa(full * mask, mask, kernel, regularization=1e-10, return_report=True)
    assert report.kernel == kernel and report.offset == offset
    reach = step * kernel[1]
    inner = slice(kernel[0] // 2, 40 - kernel[0] // 2), slice(reach, 96 - reach)
    assert torch.allclose(filled[:, *inner], full[:, *inner], atol=1e-6)
    assert filled.dtype == torch.complex128


def test_twofold_without_noise_is_near_sense_with_the_true_maps():
    full, maps = head(noise=0.0)
    mask = grid(60, 2, 0, 20)
    ours = rss(ifft2c(grappa(full * mask, mask)), -3)
    oracle = sense.cg_sense(full * mask, maps, mask, 60, 1e-6).abs()
    assert metrics.nmse(ours, oracle) < 1e-3


@pytest.mark.parametrize("window", [(5, 5), (5, 13)])
def test_at_least_as_good_as_pygrappa(window):
    from pygrappa import grappa as peer

    full, _ = head(noise=0.01)
    mask = grid(60, 4, 0, 20)
    masked = full * mask
    theirs = peer(masked[0].numpy(), full[0, ..., 20:40].numpy(), kernel_size=window, coil_axis=0)
    expected = image_error(torch.from_numpy(theirs).to(torch.complex64)[None], full)
    assert image_error(grappa(masked, mask), full) <= 1.05 * expected


def test_at_least_as_good_as_pygrappa_in_the_same_window():
    from pygrappa import grappa as peer

    full, _ = head(num_coils=4, height=96, width=80)
    mask = grid(80, 4, 0, 36)
    filled, report = grappa(full * mask, mask, (5, 4), return_report=True)
    assert report.kernel == (5, 4)
    theirs = peer((full * mask)[0].numpy(), full[0, ..., 22:58].numpy(), kernel_size=(5, 13), coil_axis=0)
    assert image_error(filled, full) <= 1.05 * image_error(torch.from_numpy(theirs).to(torch.complex64)[None], full)


@functools.cache
def phantom(num_coils, height, width, noise):
    """K-space (C, H, W) of scikit-image's Shepp–Logan phantom without noise, and with it."""
    image = torch.from_numpy(resize(shepp_logan_phantom(), (height, width), order=1, anti_aliasing=True)).float()
    maps = coils.simulate((1, height, width), num_coils, 1)[0]
    phase = coils.smooth_phase((1, height, width), 1)[0]
    clean, noisy = (coils.acquire(image / image.max(), maps, std, phase, 1) for std in (0.0, noise))
    return clean, noisy


@pytest.mark.parametrize("noise", [0.0, 0.003, 0.01, 0.03])
@pytest.mark.parametrize(
    ("num_coils", "height", "width", "step", "offset", "center"),
    [(6, 44, 49, 2, 1, 20), (4, 48, 48, 3, 0, 18), (8, 41, 52, 4, 1, 22)],
)
def test_noise_or_not_it_is_at_least_as_good_as_pygrappa(num_coils, height, width, step, offset, center, noise):
    from pygrappa import grappa as peer

    truth, full = phantom(num_coils, height, width, noise)
    mask = grid(width, step, offset, center)
    start = (width - center + 1) // 2
    masked, block = (full * mask).numpy(), full[..., start : start + center].numpy()
    ours = grappa(full * mask, mask)
    for window in ((5, 5), (5, 3 * step + 1 + step % 2)):  # the default, and one that sees four acquired lines
        theirs = torch.from_numpy(peer(masked, block, kernel_size=window, coil_axis=0)).to(torch.complex64)
        theirs = torch.where(mask, full, theirs)
        behind = 20 * torch.log10((ours - truth).norm() / (theirs - truth).norm())
        assert behind < (0 if window == (5, 5) else 0.5), window  # dB; at R 3 and .003 the wide one is .46 ahead
        expected = metrics.ssim(rss(ifft2c(theirs))[None], rss(ifft2c(truth))[None])
        assert metrics.ssim(rss(ifft2c(ours))[None], rss(ifft2c(truth))[None]) >= expected - 5e-4, window


@pytest.mark.parametrize("num_coils", [2, 8, 16])
def test_the_report_states_the_noise_and_the_ridge_that_follows_from_it(num_coils):
    mask = grid(60, 3, 0, 24)
    ridges, unexplained = [], []
    for std in (5e-4, 1e-3, 0.003, 0.01, 0.03):
        _, full = phantom(num_coils, 56, 60, std)
        full = full.clone()
        full[1:2] *= num_coils == 2  # a coil without signal says nothing about the noise
        _, report = grappa(full * mask, mask, return_report=True)
        if std >= 0.003:  # less hides behind the model's error
            assert report.noise == pytest.approx(std * 2**0.5, rel=0.25)
        _, scaled = grappa(1e6 * full * mask, mask, return_report=True)
        assert scaled.noise == pytest.approx(1e6 * report.noise, rel=1e-3)
        ridges.append(report.ridge)
        unexplained.append(report.unexplained)
    assert ridges[0] < ridges[1] and ridges == sorted(ridges) and ridges[-1] == pytest.approx(LEAST_RIDGE + MOST_RIDGE)
    assert unexplained == sorted(unexplained) and unexplained[0] < 0.1 < unexplained[-1]
    clean, _ = phantom(num_coils, 56, 60, 0.0)
    _, report = grappa(clean * mask, mask, return_report=True)
    assert report.noise < 1e-3 and report.ridge < ridges[0]
    assert grappa(full * mask, mask, regularization=0.02, return_report=True)[1].ridge == 0.02


def test_batches_equal_slices_and_leading_axes_stay():
    full, _ = head(3)
    mask = grid(60, 4, 1, 20)
    together = grappa((full * mask).reshape(3, 1, 8, 64, 60), mask)
    assert together.shape == (3, 1, 8, 64, 60)
    for s in range(3):
        assert torch.equal(together[s, 0], grappa(full[s] * mask, mask))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaled_data_give_scaled_images(scale):
    full, _ = head()
    mask = grid(60, 4, 2, 20)
    plain, scaled = grappa(full * mask, mask), grappa(scale * full * mask, mask)
    assert float((scaled / scale - plain).norm() / plain.norm()) < 1e-5


def test_layouts_and_mask_types_do_not_matter():
    full, _ = head()
    mask = grid(60, 4, 2, 20)
    expected = grappa(full * mask, mask)
    assert torch.equal(grappa((full * mask).mT.contiguous().mT, mask.int()), expected)
    assert torch.allclose(grappa((full * mask).conj(), mask), expected.conj(), atol=1e-4)


def test_zero_coils_and_zero_slices_stay_zero():
    full = head(2)[0].clone()
    full[:, 3] = 0
    full[1] = 0
    mask = grid(60, 4, 0, 20)
    filled, report = grappa(full * mask, mask, return_report=True)
    assert filled.isfinite().all() and not filled[1].any() and not filled[0, 3].any() and filled[0, 2].all()


def test_fully_sampled_comes_back_as_it_is():
    full, _ = head()
    filled, report = grappa(full, torch.ones(60, dtype=torch.bool), return_report=True)
    assert torch.equal(filled, full) and report.acceleration == 1 and report.kernel == (0, 0)
    padded = torch.ones(60, dtype=torch.bool)
    padded[:6] = padded[55:] = False
    assert torch.equal(grappa(full * padded, padded), full * padded)


@pytest.mark.parametrize("num_coils", [1, 2, 15])
def test_any_number_of_coils(num_coils):
    full, _ = head(num_coils=num_coils)
    mask = grid(60, 2, 1, 24)
    assert image_error(grappa(full * mask, mask), full) < image_error(full * mask, full)


def test_report_names_the_grid_and_the_kernel_that_fitted():
    full, _ = head(num_coils=3)
    mask = grid(60, 4, 3, 20)
    _, report = grappa(full * mask, mask, (3, 4), return_report=True)  # 36 unknowns, some 11 windows of 62 rows
    assert report[:4] == ((3, 4), 4, 3, (19, 40))
    _, narrow = grappa(full * mask, mask, (5, 4), return_report=True)  # 60 unknowns: under 16 × as many equations
    assert narrow.kernel == (5, 2)
    wide = grid(60, 6, 0, 12)
    _, narrow = grappa(full * wide, wide, return_report=True)  # four lines at R 6 span 19
    assert narrow.kernel == (7, 2)


def test_too_few_center_lines_say_how_many_are_needed():
    full, _ = head()
    mask = grid(60, 6, 1, 5)
    # 112 unknowns, 58 rows a window: two windows, that is 6 + 2 lines
    with refused(where="^5 center lines .* 8 coils at acceleration 6", found=r"8 are enough .*\(7 × 2 lines\)$"):
        grappa(full * mask, mask)
    mask = grid(60, 6, 1, 8)
    assert grappa(full * mask, mask, return_report=True)[1].kernel == (7, 2)


def flipped(line):
    mask = grid(60, 4, 0, 16)
    mask[line] = ~mask[line]
    return mask


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (flipped(52), "lines 48 and 56 are 8 apart where the others are 4"),
        (flipped(5), "lines 4 and 5 are 1 apart where the others are 4"),
        (flipped(16), "lines 12 and 20 are 8 apart where the others are 4"),
        (
            torch.cat([flipped(0)[:38], flipped(0)[37:59]]),
            r"before the center block 22–38 \(… 20\) and after it \(41 …\) are not on one grid of every 4-th line",
        ),
        (make_mask("equispaced_fraction", 60, 4, num_low_frequencies=8, seed=1).columns, "apart where the others are"),
        (make_mask("random", 60, 3, num_low_frequencies=8, seed=1).columns, "apart where the others are"),
        (torch.arange(60).sub(30).abs() < 8, "no line is acquired around the center block 23–37"),
        (torch.zeros(60, dtype=torch.bool), "none is acquired"),
    ],
)
def test_masks_that_are_no_grid_name_the_reason(mask, message):
    with pytest.raises(InputError, match=message):
        grappa(torch.zeros(2, 8, 60, dtype=torch.complex64), mask)


def test_edges_are_filled_but_padding_is_not_made_up():
    full, _ = head()
    mask = grid(60, 4, 3, 20)
    assert grappa(full * mask, mask)[..., [0, 1, 2]].all()  # before the first line of the grid, zeros outside
    mask[:8] = mask[52:] = False
    filled = grappa(full * mask, mask)
    assert find_grid(mask) == (4, 3, (19, 40), (11, 52))
    assert not filled[..., :11].any() and not filled[..., 52:].any() and filled[..., 11:52].all()


def test_center_block_is_the_run_around_the_middle():
    mask = torch.zeros(21, dtype=torch.bool)
    mask[[0, 1, 2, 9, 10, 11, 12, 20]] = True
    assert center_block(mask) == (9, 13)
    assert center_block(mask & (torch.arange(21) != 10)) in ((9, 10), (11, 13))


def test_separate_calibration_stands_in_for_the_center():
    full, _ = head(noise=0.0)
    mask = torch.zeros(60, dtype=torch.bool)
    mask[::2] = True
    assert image_error(grappa(full * mask, mask, calibration=full[..., 10:50, 18:42]), full) < 5e-3
    with refused(found=r"calibration is \(1, 7, 64, 24\)", expected=r".* \(1, 8\)"):
        grappa(full * mask, mask, calibration=full[:, :7, :, 18:42])


def test_what_cannot_be_used_is_refused():
    full, _ = head()
    mask = grid(60, 4, 2, 20)
    spoilt = full.clone()
    for line in (30, 2):
        spoilt[0, 0, 30, line] = torch.nan
        with refused(where="slice 0 holds values that are not finite"):
            grappa(spoilt.where(mask, 0), mask)
        spoilt[0, 0, 30, line] = 0
    with refused(expected="odd number of readout points"):
        grappa(full * mask, mask, (4, 4))
    with refused(expected="at least 2 lines"):
        grappa(full * mask, mask, (5, 1))
    with refused(found="regularization is 0"):
        grappa(full * mask, mask, regularization=0)
    with refused(found=r"mask \(59,\)"):
        grappa(full * mask, mask[:59])
    with refused(found="float32"):
        grappa(full.abs(), mask)


def test_the_convolution_has_its_adjoint():
    draw = torch.Generator().manual_seed(0)
    lines = torch.randn(3, 10, 7, dtype=torch.complex128, generator=draw, requires_grad=True)
    weights = torch.randn(2, 3, 3, 5, 4, dtype=torch.complex128, generator=draw)
    made = apply_kernel(lines, weights)
    assert made.shape == (2, 3, 10, 8)
    other = torch.randn(made.shape, dtype=torch.complex128, generator=draw)
    (back,) = torch.autograd.grad(made, lines, other)  # autograd gives Aᴴ·other
    lines, made = lines.detach(), made.detach()
    left, right = torch.vdot(other.flatten(), made.flatten()), torch.vdot(back.flatten(), lines.flatten())
    assert torch.allclose(left, right, rtol=1e-10)
    assert torch.allclose(apply_kernel((2 + 1j) * lines, weights), (2 + 1j) * made)
    # one output by hand: kind 2, coil 1, readout 4, between lines 2 and 3: lines 1 … 4, readout points 2 … 6
    by_hand = (weights[1, 1] * lines[:, 2:7, 1:5]).sum()
    assert torch.allclose(made[1, 1, 4, 3], by_hand)
