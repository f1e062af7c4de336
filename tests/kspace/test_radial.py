"""Real-time sampling: exact discrete Fourier sums, full sampling gives the truth, filters worked by hand."""

import math

import numpy as np
import pytest
import torch
from torchkbnufft import KbNufft

from lib import InputError
from lib.kspace import coils, radial
from lib.phantoms.heart import contraction, heart

N = 32


@pytest.fixture(scope="module")
def fine():
    return torch.from_numpy(heart(2 * N, 4, 3)).permute(2, 0, 1)


@pytest.fixture(scope="module")
def maps():
    return coils.simulate((1, 2 * N, 2 * N), 3, 0, voxel=(8.0, 2.8, 2.8))[0]


def test_the_nonuniform_transform_equals_its_sum(fine, maps):
    sampled = radial.sampling("radial", N, 4)
    trajectory, _ = radial._spokes(sampled.angles, N)
    images = (fine[:, None] * maps)[:2]
    found = KbNufft(im_size=tuple(images.shape[-2:]))(images, trajectory[:2] / 2)
    place, k = torch.arange(2 * N) - N, (trajectory[:2] / 2).double()
    along_y, along_x = (torch.exp(-1j * k[:, axis, :, None] * place) for axis in (0, 1))
    exact = torch.einsum("tky,tkx,tcyx->tck", along_y, along_x, images.to(torch.complex128))
    assert (found - exact).norm() / exact.norm() < 1e-3


def test_full_radial_sampling_gives_the_image(fine, maps):
    angles = (torch.arange(4 * N) * math.pi / (4 * N)).double().expand(4, -1)
    seen = radial.aliased(fine, maps, radial.Sampling("radial", angles, None, 1.0))
    truth = radial.fully_sampled(fine)
    assert (seen - truth).norm() / truth.norm() < 0.08  # what lies in the corners of k-space is missing
    assert seen.mean() / truth.mean() == pytest.approx(1, abs=0.05)


def test_full_cartesian_sampling_gives_the_image_of_each_coil_combined(fine, maps):
    sampled = radial.sampling("cartesian", N, 4, 1.0)
    assert sampled.columns.all() and sampled.achieved == 1
    truth = radial.fully_sampled(fine)
    assert (radial.aliased(fine, maps, sampled) - truth).norm() / truth.norm() < 0.05  # maps vary within a pixel


def test_truth_is_the_central_k_space():
    """A wave that the coarse grid holds comes out unchanged, one beyond it vanishes."""
    x = torch.arange(2 * N) - N
    low, high = (torch.cos(2 * math.pi * f * x / (2 * N)).expand(1, 2 * N, -1) for f in (3, 20))
    expected = torch.cos(2 * math.pi * 3 * (torch.arange(N) - N // 2) / N).abs().expand(1, N, -1)
    assert torch.allclose(radial.fully_sampled(low), expected, atol=1e-5)
    assert radial.fully_sampled(high).abs().max() < 1e-5


def test_spokes_turn_by_the_tiny_golden_angle():
    sampled = radial.sampling("radial", 64, 3, 13.0)
    assert sampled.angles.shape == (3, 8) and sampled.achieved == pytest.approx(101 / 8)
    steps = torch.diff(sampled.angles.flatten()) % math.pi
    assert torch.allclose(steps, torch.tensor(math.radians(23.628)).double(), atol=1e-4)


def test_cartesian_columns_differ_from_frame_to_frame():
    sampled = radial.sampling("cartesian", 128, 20, 13.0, seed=1)
    assert (sampled.columns.sum(1) == 10).all() and sampled.columns[:, 63:65].all()
    assert len({tuple(f.tolist()) for f in sampled.columns}) > 10
    near = sampled.columns[:, 44:84].float().mean()
    assert near > 2 * sampled.columns[:, :20].float().mean()


def test_noise_has_the_level_asked_for(maps):
    """Of an empty object the combined image is noise: complex, RSS-1 maps keep its level, so its magnitude is Rayleigh."""
    nothing, one = torch.zeros(8, 2 * N, 2 * N), torch.ones(1, 2 * N, 2 * N, dtype=torch.complex64)
    for kind in radial.KINDS:
        seen = radial.aliased(nothing, one, radial.sampling(kind, N, 8, 1.0), noise=0.5)
        assert seen.square().mean().sqrt().item() == pytest.approx(0.5 * math.sqrt(2), rel=0.05), kind
    few = radial.aliased(nothing, one, radial.sampling("radial", N, 8, 4.0), noise=0.5)
    assert few.square().mean().sqrt().item() == pytest.approx(math.sqrt(2), rel=0.08)  # a quarter of the spokes


@pytest.mark.parametrize(
    ("settings", "words"),
    [(("spiral", 64, 4), "trajectory 'spiral': .*expected one of radial"), (("radial", 16, 4, 13.0), "2 lines")],
)
def test_bad_settings(settings, words):
    with pytest.raises(InputError, match=words):
        radial.sampling(*settings)


def test_filters_by_hand():
    series = torch.tensor([1.0, 5.0, 3.0, 9.0]).view(4, 1, 1)
    assert radial.sliding_window(series, 3).flatten().tolist() == pytest.approx([3, 3, 17 / 3, 6])
    assert radial.temporal_median(series, 3).flatten().tolist() == [1, 3, 5, 3]


def test_a_line_over_time_is_about_square():
    series = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert radial.line_over_time(series).tolist() == [[4, 4, 16, 16], [5, 5, 17, 17], [6, 6, 18, 18], [7, 7, 19, 19]]


def test_hearts_differ_beat_and_repeat_by_their_seed():
    one, two = heart(48, 8, (0, 1)), heart(48, 8, (0, 2))
    assert one.shape == (48, 48, 8) and one.dtype == np.float32 and one.min() >= 0 and one.max() == 1
    assert np.array_equal(one, heart(48, 8, (0, 1))) and np.abs(one - two).mean() > 0.02
    assert np.abs(np.diff(one, axis=2)).max() > 0.2  # something moves


def test_contraction_begins_and_ends_at_rest():
    assert (
        contraction(0) == 0
        and contraction(0.35) == pytest.approx(1)
        and contraction(0.99) == pytest.approx(0, abs=1e-9)
    )
