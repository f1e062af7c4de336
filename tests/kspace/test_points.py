"""Masks of points: how they lie, and what reconstructs from them."""

import pytest
import torch
from refusals import refused

from lib.kspace import fft2c, ifft2c, rss
from lib.kspace.coils import simulate
from lib.kspace.sampling import KINDS_2D, make_mask
from lib.kspace.sense import cg_sense, tv_sense


@pytest.mark.parametrize("kind", KINDS_2D)
@pytest.mark.parametrize("acceleration", [3, 8])
def test_points_reach_the_acceleration_and_hold_the_center(kind, acceleration):
    mask = make_mask(kind, 96, acceleration, num_low_frequencies=12, seed=3, height=80)
    assert mask.sampled.shape == (80, 96) and mask.achieved == pytest.approx(acceleration, rel=0.03)
    assert mask.sampled[34:46, 42:54].all() and mask.center_count == 0
    again = make_mask(kind, 96, acceleration, num_low_frequencies=12, seed=3, height=80)
    assert torch.equal(mask.sampled, again.sampled)
    assert not torch.equal(
        mask.sampled, make_mask(kind, 96, acceleration, num_low_frequencies=12, seed=4, height=80).sampled
    )


def test_a_poisson_disc_keeps_distances_that_grow_outwards():
    points = make_mask("poisson", 128, 6, num_low_frequencies=0, seed=0, height=128).sampled.nonzero().double()
    distance = torch.cdist(points, points).fill_diagonal_(torch.inf).amin(1)
    outside = (points - 64).norm(dim=1) / 64
    assert float(distance[outside > 0.8].mean()) > 1.5 * float(distance[outside < 0.3].mean())
    random = make_mask("random_2d", 128, 6, num_low_frequencies=0, seed=0, height=128).sampled.nonzero().double()
    nearest = torch.cdist(random, random).fill_diagonal_(torch.inf).amin(1)
    assert float(distance[outside > 0.8].min()) > 2 > float(nearest.min())


def test_points_are_no_columns():
    mask = make_mask("poisson", 64, 4, num_low_frequencies=8, seed=0, height=64)
    with refused(found="single points, not whole columns"):
        mask.columns  # noqa: B018
    for wrong in ({"height": None}, {"height": 64, "offset": 1}, {"height": 64, "padding": (2, 0)}):
        with refused(where="poisson mask"):
            make_mask("poisson", 64, 4, num_low_frequencies=8, seed=0, **wrong)
    with refused(expected="at most 22"):
        make_mask("random_2d", 64, 8, num_low_frequencies=40, seed=0, height=64)


def scan(size=(12, 10), coils=3):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(size, dtype=torch.complex128, generator=generator)
    maps = simulate((1, *size), coils, 0)[0].to(torch.complex128)
    mask = torch.rand(size, generator=generator) < 0.5
    return image, maps, mask, fft2c(image * maps) * mask


def test_cg_sense_of_points_solves_the_normal_equations():
    image, maps, mask, kspace = scan()
    found = cg_sense(kspace, maps, mask, iterations=400, regularization=1e-2)
    units = torch.eye(120, dtype=torch.complex128).view(120, 12, 10)
    dense = torch.stack([(fft2c(unit * maps) * mask).flatten() for unit in units], 1)
    expected = torch.linalg.solve(dense.mH @ dense + 1e-2 * torch.eye(120), dense.mH @ kspace.flatten()).view(12, 10)
    assert torch.allclose(found, expected, atol=1e-8)


def test_columns_given_as_points_give_the_same():
    image, maps, _, _ = scan((24, 20))
    columns = torch.zeros(20, dtype=torch.bool)
    columns[::2] = columns[7:13] = True
    kspace = fft2c(image * maps) * columns
    points = columns.expand(24, 20)
    assert torch.allclose(cg_sense(kspace, maps, points), cg_sense(kspace, maps, columns), atol=1e-9)
    exact, gradient = (tv_sense(kspace, maps, m, iterations=800, regularization=1e-2) for m in (columns, points))
    assert float((exact - gradient).abs().max() / exact.abs().max()) < 2e-3


def test_a_poisson_scan_is_reconstructed_better_than_by_zeros():
    image = torch.zeros(64, 64)
    image[12:52, 16:48] = 1.0
    image[24:36, 24:40] = 0.3
    maps = simulate((1, 64, 64), 6, 0)[0]
    mask = make_mask("poisson", 64, 4, num_low_frequencies=16, seed=0, height=64).sampled
    kspace = fft2c(image * maps) * mask
    error = {
        "zeros": rss(ifft2c(kspace), 0) - image,
        "cg": cg_sense(kspace, maps, mask).abs() - image,
        "tv": tv_sense(kspace, maps, mask).abs() - image,
    }
    size = {name: float(e.norm() / image.norm()) for name, e in error.items()}
    assert size["tv"] < 0.5 * size["cg"] < 0.25 * size["zeros"]
